"""The recorder and its summary, against a scripted card."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchlib.errors import InputError
from benchlib.gpu import nvml, telemetry
from benchlib.gpu.telemetry import Range, TelemetrySample, TelemetrySummary
from benchlib.measure.store import load_telemetry

SCRIPTED = "scripted_nvml"
HERE = Path(__file__).parents[1]
RESULTS = HERE.parent / "results"


@pytest.fixture
def card(monkeypatch):
    """Returns a function that scripts the card."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def script(**words: object) -> None:
        sys.modules.pop(SCRIPTED, None)
        monkeypatch.setenv("SCRIPTED_NVML", json.dumps(words))

    return script


def series(n: int, every_s: float = 0.05, **fields: object) -> list[TelemetrySample]:
    """``n`` readings; a field given as a function gets the reading's index."""
    return [
        TelemetrySample(
            time_s=100 + index * every_s,
            **{name: value(index) if callable(value) else value for name, value in fields.items()},
        )
        for index in range(n)
    ]


def test_a_recorder_records_at_ten_hertz_or_more(card, tmp_path):
    card(clocks=[345, 1500, 1980], bits=[1, 0, 4])
    deadline = time.monotonic() + 60
    with telemetry.Recorder(tmp_path / "series.jsonl", module=SCRIPTED) as recorder:
        while len(recorder.readings()) < 8 and time.monotonic() < deadline:
            time.sleep(0.05)
    found = telemetry.summarise(recorder.readings())
    assert found.rate_hz >= 10
    assert found.n_readings >= 7
    assert found.sm_clock_mhz == Range(345, 1980, 1980)
    assert found.memory_clock_mhz.median == 2619
    assert found.power_w.median == 300
    assert found.temperature_c.maximum == 55
    assert found.memory_used_mb.minimum == 500
    assert found.throttle == ("idle", "power_cap")
    assert found.foreign == ()


def test_the_first_reading_is_from_before_the_case(card, tmp_path):
    card()
    recorder = telemetry.Recorder(tmp_path / "series.jsonl", module=SCRIPTED)
    recorder.__enter__()
    before = recorder.readings()
    assert before[0].foreign == ()
    recorder.__exit__()
    after = recorder.readings()
    assert len(after) > len(before)
    # Asked to stop, and not killed: it looked at the processes once more
    assert after[-1].foreign == ()


@pytest.mark.parametrize(
    ("script", "module"),
    [({"absent": True}, SCRIPTED), ({}, "no_such_module_of_nvml")],
)
def test_without_a_gpu_everything_is_none(card, tmp_path, script, module):
    card(**script)
    with telemetry.Recorder(tmp_path / "series.jsonl", module=module) as recorder:
        pass
    assert telemetry.summarise(recorder.readings()) == TelemetrySummary()
    values = telemetry.summarise(recorder.readings()).as_json()
    assert values.pop("n_readings") == 0
    assert set(values.values()) == {None}


def test_what_the_card_does_not_tell_is_none_and_not_zero(card, tmp_path):
    card(
        mute=[
            "nvmlDeviceGetPowerUsage",
            "nvmlDeviceGetTotalEnergyConsumption",
            "nvmlDeviceGetComputeRunningProcesses",
        ]
    )
    with telemetry.Recorder(tmp_path / "series.jsonl", module=SCRIPTED) as recorder:
        time.sleep(0.1)
    found = telemetry.summarise(recorder.readings())
    assert (found.power_w, found.energy_j, found.idle_power_w, found.foreign) == (None,) * 4
    assert found.sm_clock_mhz.median == 1500


def test_the_recorder_ends_with_its_parent(card, tmp_path):
    card()
    path = tmp_path / "series.jsonl"
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from benchlib.gpu.telemetry import Recorder\n"
        f"Recorder(Path({str(path)!r}), module={SCRIPTED!r}).__enter__()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    status = subprocess.run([sys.executable, "-c", code]).returncode
    assert status == -signal.SIGKILL
    deadline = time.monotonic() + 10
    size = -1
    while size != path.stat().st_size and time.monotonic() < deadline:
        size = path.stat().st_size
        time.sleep(0.3)
    assert size == path.stat().st_size > 0


def test_foreign_processes_are_those_outside_our_tree(card, tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    try:
        card(pids=[[os.getpid(), child.pid, os.getppid()]])
        with telemetry.Recorder(tmp_path / "series.jsonl", module=SCRIPTED) as recorder:
            pass
    finally:
        child.kill()
        child.wait()
    assert telemetry.summarise(recorder.readings()).foreign == (os.getppid(),)


def test_what_a_daemon_began_for_us_is_ours(tmp_path):
    """As ``docker run … trtexec`` in a script: no descendant of ours, but it names our files."""
    code = "import time; print(flush=True); time.sleep(30)"
    trtexec = [sys.executable, "-c", code, f"--exportTimes={tmp_path}/series/x.json"]
    start = 'mkfifo up; "$@" >up 2>&1 & echo $!; read begun <up'
    begun = ["sh", "-c", start, "sh", *trtexec]
    pid = int(subprocess.run(begun, stdout=subprocess.PIPE, cwd=tmp_path, check=True).stdout)
    try:
        assert telemetry.Foreigners(os.getpid(), tmp_path / "series").among((pid,)) == ()
        assert telemetry.Foreigners(os.getpid(), tmp_path / "serie").among((pid,)) == (pid,)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_the_server_of_mps_is_nobodys_work(tmp_path):
    with subprocess.Popen(["sleep", "30"], stdout=subprocess.DEVNULL) as other:
        foreigners = telemetry.Foreigners(1_000_000_000, tmp_path)
        assert foreigners.among((other.pid,)) == (other.pid,)
        other.kill()
    named = ["nvidia-cuda-mps-server", "30"]
    with subprocess.Popen(named, executable=shutil.which("sleep")) as server:
        assert telemetry.Foreigners(1_000_000_000, tmp_path).among((server.pid,)) == ()
        server.kill()


def test_numbers_of_another_namespace_count_only_if_they_came_first():
    nowhere, later = 2**22 + 1, 2**22 + 2
    foreigners = telemetry.Foreigners(os.getpid(), Path("/no/such"))
    assert foreigners.among((nowhere,)) == (nowhere,)
    assert foreigners.among((nowhere, later)) == (nowhere,)


def test_only_the_timed_part_is_summarised():
    # A second of loading at the idle clock, three of timing, one of tidying up
    clock = [345] * 20 + [1980] * 60 + [345] * 20
    bits = [1] * 20 + [4] * 60 + [1] * 20
    taken = series(
        100,
        sm_clock_mhz=lambda i: clock[i],
        event_bits=lambda i: bits[i],
        power_w=lambda i: i * 1.0,
    )
    whole = telemetry.summarise(taken)
    assert whole.sm_clock_mhz == Range(345, 1980, 1980)
    timed = telemetry.summarise(taken, span_s=2.9)
    assert timed.sm_clock_mhz == Range(1980, 1980, 1980)
    assert timed.throttle == ("power_cap",)
    assert 57 <= timed.n_readings <= 60
    assert timed.idle_power_w == 99  # the one reading that came a whole second after the load
    never_busy = telemetry.summarise(series(5, event_bits=1, sm_clock_mhz=345), span_s=1)
    assert (never_busy.n_readings, never_busy.sm_clock_mhz, never_busy.throttle) == (0, None, None)


def drawn(watts: list[tuple[float, float]], every_s: float = 0.05, **more: object):
    """What a card with NVML's one-second average and ten counter steps a second tells of a draw,
    given as pairs of seconds and watts; before the first pair it drew the first pair's watts."""
    steps = round(sum(length for length, _ in watts) / 0.001)
    truth, ends = [], [sum(length for length, _ in watts[: n + 1]) for n in range(len(watts))]
    for index in range(steps):
        truth.append(next(w for end, (_, w) in zip(ends, watts, strict=True) if index < end * 1e3))
    past = np.array([watts[0][1]] * 1000 + truth)
    average = np.convolve(past, np.ones(1000) / 1000, "valid")
    counter = np.cumsum(truth)  # 1 W for 1 ms is 1 mJ
    step = round(every_s / 0.001)
    return series(
        (steps - 1) // step + 1,
        every_s,
        power_w=lambda i: float(average[i * step]),
        energy_mj=lambda i: int(counter[i * step // 100 * 100]),
        event_bits=0,
        **more,
    )


@pytest.mark.parametrize(
    "before",
    [
        [(1.4, 130.0)],
        [(0.1, 700.0), (1.3, 130.0)],  # another network's load, just over
    ],
)
@pytest.mark.parametrize("after_s", [0.05, 0.35, 1.2])
@pytest.mark.parametrize("span_s", [1.0, 3.0, 12.0])
def test_the_joules_of_a_load_are_found(before, after_s: float, span_s: float):
    # With 400 ms of warm-up; the idle bit shows neither its beginning nor its end
    begin = round(sum(length for length, _ in before) / 0.05)
    under = range(begin, begin + round((0.4 + span_s) / 0.05) + 1)
    clock = {"sm_clock_mhz": lambda i: 1710 if i in under else 1980}
    taken = drawn([*before, (0.4 + span_s, 400.0), (after_s, 130.0)], **clock)
    found = telemetry.summarise(taken, span_s)
    assert found.sm_clock_mhz == Range(1710, 1710, 1710)
    assert found.energy_source == ("counter" if span_s > 10 else "power")
    assert found.energy_j / found.energy_window_s == pytest.approx(400, rel=0.01)
    assert found.energy_mj_per_image(1000) == pytest.approx(400, rel=0.01)
    assert found.power_w.median == pytest.approx(400, rel=0.01)
    assert 0.1 <= found.energy_window_s <= span_s
    inside = telemetry.settled(taken, span_s)
    start = 100 + sum(length for length, _ in before)
    assert start + 1 - 0.06 <= inside[0].time_s
    assert inside[-1].time_s <= start + 0.4 + span_s + 0.06


def test_a_draw_that_moves_is_told_by_its_mean():
    taken = drawn([(1.4, 130.0), (1.4, 300.0), (1.0, 350.0), (1.0, 300.0), (0.4, 130.0)])
    found = telemetry.summarise(taken, 3.0)
    assert found.energy_j / found.energy_window_s == pytest.approx(317, rel=0.03)


def test_no_energy_is_made_up():
    short = drawn([(1.4, 130.0), (0.7, 400.0), (0.5, 130.0)])
    assert telemetry.settled(short, 0.6) == ()
    found = telemetry.summarise(short, 0.6)
    assert (found.energy_j, found.energy_source) == (None, None)
    assert found.energy_mj_per_image(1000) is None
    # A counter that says 30 % more than the power does: neither is believed, and the row shows why
    taken = drawn([(1.4, 130.0), (3.4, 400.0), (0.3, 130.0)])
    more = [replace(one, energy_mj=round(one.energy_mj * 1.3)) for one in taken]
    doubtful = telemetry.summarise(more, 3.0)
    assert (doubtful.energy_j, doubtful.energy_source) == (None, None)
    assert doubtful.energy_disagreement == pytest.approx(0.3, abs=0.03)
    # Without a counter, or with one that stands still, power alone tells
    for counter in (None, 5):
        silent = telemetry.summarise([replace(one, energy_mj=counter) for one in taken], 3.0)
        assert (silent.energy_source, silent.energy_ticks) == ("power", None)
    blind = telemetry.summarise([replace(one, power_w=None) for one in taken], 3.0)
    assert (blind.energy_j, blind.power_w) == (None, None)


def test_the_energy_of_real_cards_is_told_alike_by_counter_and_power():
    """H100 cards, 3 s of timing: the counter's error is a reading's share of its window."""
    for path in sorted((RESULTS / "h100-trtexec-8.6" / "telemetry").glob("*.parquet")):
        taken, *_ = load_telemetry(path, 9)
        found = telemetry.summarise(taken, 3.0)
        assert found.energy_source == "power", path.stem
        assert found.energy_window_s > 1.8
        assert abs(found.energy_disagreement) < telemetry.ENERGY_UNCERTAINTY


def test_bits_in_words():
    assert telemetry.throttle_words(0) == ()
    assert telemetry.throttle_words(0x1 | 0x40 | 0x400) == ("idle", "hardware_thermal", "bit_0x400")


def test_a_series_survives_its_file_and_a_torn_end():
    taken = [
        TelemetrySample(1.0, sm_clock_mhz=1980, foreign=(7,)),
        TelemetrySample(1.1, power_w=300.5),
    ]
    lines = [telemetry.dump_samples(one) for one in taken]
    assert list(telemetry.load_samples(lines)) == taken
    assert list(telemetry.load_samples([lines[0], lines[1][:9]])) == taken[:1]


@pytest.mark.parametrize("damage", ["7", "[1]", '{"time_s": 1, "speed": 2}', '{"foreign": 3}', "{"])
def test_a_series_damaged_in_its_middle_says_what_it_loses(damage, caplog):
    lines = [telemetry.dump_samples(TelemetrySample(1.0 + i)) for i in range(3)]
    assert telemetry.load_samples([lines[0], damage, *lines[1:]]) == (TelemetrySample(1.0),)
    assert "line 2 is no reading; the 2 after it are left out" in caplog.text


@pytest.mark.parametrize(
    ("visible", "handle"),
    [
        (None, "card"),
        ("0", "card"),
        ("GPU-77,0", "GPU-77"),
        ("5", None),
        ("", None),
        ("-1", None),
        ("NoDevFiles", None),
    ],
)
def test_the_card_is_the_one_that_cuda_sees_first(card, visible, handle):
    card()
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    with nvml.opened(SCRIPTED, environ) as device:
        assert (device.handle if device else None) == handle


FIRST, SECOND = (
    "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",
    "GPU-89aaf937-d72c-4106-c12f-20bd9fae0001",
)
SLICES = ["MIG-4c5a27e8-e508-5556-b2ea-7e549465741e", "MIG-4c77aaaa-e508-5556-b2ea-000000000001"]


@pytest.mark.parametrize(
    ("visible", "handle"),
    [
        (FIRST, FIRST),
        ("GPU-8932f937", FIRST),
        ("GPU-893", FIRST),
        (" GPU-8932F937 ,1", FIRST),
        ("GPU-89a", SECOND),
        ("GPU-89", None),  # both begin so
        ("GPU-", None),
        ("GPU-7", None),
        (f"{FIRST}0", None),
        ("MIG-4c5a", None),  # no card is in MIG mode
        ("1", SECOND),
        ("2", None),
    ],
)
def test_a_card_may_be_named_by_what_begins_its_uuid_alone(card, visible, handle):
    card(cards=[FIRST, SECOND])
    with nvml.opened(SCRIPTED, {"CUDA_VISIBLE_DEVICES": visible}) as device:
        assert (device.handle if device else None) == handle


@pytest.mark.parametrize(
    ("visible", "handle", "name"),
    [
        (SLICES[0], SLICES[0], "Scripted Card (MIG 1g.10gb)"),
        ("MIG-4c77", SLICES[1], "Scripted Card (MIG 1g.10gb)"),
        ("MIG-4c", None, None),
        ("MIG-5", None, None),
        # CUDA takes the first slice of a card in MIG mode.
        (None, SLICES[0], "Scripted Card (MIG 1g.10gb)"),
        ("0", SLICES[0], "Scripted Card (MIG 1g.10gb)"),
        ("GPU-8932", SLICES[0], "Scripted Card (MIG 1g.10gb)"),
        ("1", SECOND, "Scripted Card"),
    ],
)
def test_a_slice_is_found_and_says_that_it_is_one(card, visible, handle, name):
    card(cards=[FIRST, SECOND], slices={FIRST: SLICES})
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    with nvml.opened(SCRIPTED, environ) as device:
        assert (device.handle if device else None) == handle
        assert (device.name() if device else None) == name


def test_a_slice_has_its_cards_clock_and_not_its_power(card):
    card(cards=[FIRST], slices={FIRST: SLICES}, clocks=[1410])
    with nvml.opened(SCRIPTED, {"CUDA_VISIBLE_DEVICES": "MIG-4c5a"}) as device:
        assert device.sm_clock_mhz() == 1410
        assert device.power_w() is None


@pytest.mark.parametrize(
    ("script", "environ", "name"),
    [
        ({}, {}, "Scripted Card"),
        ({"virtual": 1}, {}, "Scripted Card"),  # the whole card, passed through
        ({"virtual": 2}, {}, "Scripted Card (vGPU)"),
        ({"cards": [FIRST], "slices": {FIRST: []}}, {}, "Scripted Card (MIG mode)"),
        ({}, {nvml.MPS_SHARE: "25"}, "Scripted Card (MPS 25 %)"),
        ({}, {nvml.MPS_SHARE: "100"}, "Scripted Card"),
        ({}, {nvml.MPS_SHARE: ""}, "Scripted Card"),
        (
            {"cards": [FIRST], "slices": {FIRST: SLICES}},
            {nvml.MPS_SHARE: "50"},
            "Scripted Card (MIG 1g.10gb, MPS 50 %)",
        ),
    ],
)
def test_a_part_of_a_card_is_named_as_one(card, script, environ, name):
    card(**script)
    with nvml.opened(SCRIPTED, environ) as device:
        assert device.name() == name


@pytest.mark.parametrize(
    ("script", "known"),
    [
        ({}, None),
        ({"confidential": 0}, False),
        ({"confidential": 1}, True),
        ({"confidential": 0, "protected_pcie": 0}, False),
        ({"confidential": 0, "protected_pcie": 1}, True),
        ({"protected_pcie": 0}, False),
    ],
)
def test_confidential_computing_is_told_where_the_driver_tells(card, script, known):
    card(**script)
    with nvml.opened(SCRIPTED, {}) as device:
        assert device.confidential_computing() is known


def test_a_visible_device_that_is_nonsense_is_refused(card):
    card()
    with (
        pytest.raises(InputError, match="CUDA_VISIBLE_DEVICES: 'first'"),
        nvml.opened(SCRIPTED, {"CUDA_VISIBLE_DEVICES": "first"}),
    ):
        pass


def test_memory_is_waited_for(card):
    slept = []
    card(memory=[9000, 9000, 520])
    with nvml.opened(SCRIPTED) as device:
        assert nvml.memory_free(device, 500.0, sleep=slept.append) is True
    assert len(slept) == 2
    card(memory=[9000])
    with nvml.opened(SCRIPTED) as device:
        assert nvml.memory_free(device, 500.0, limit_s=1, sleep=slept.append) is False
        assert nvml.memory_free(device, None) is None
    assert nvml.memory_free(None, 500.0) is None


@pytest.mark.parametrize(
    ("bits", "limit"),
    [
        (0x000, "none"),
        (0x001 | 0x002 | 0x100, "none"),
        (0x004, "power"),
        (0x005, "power"),
        (0x004 | 0x008, "hardware"),
        (0x008 | 0x040, "thermal"),
        (0x004 | 0x020, "thermal"),
        (0x008 | 0x080, "power_brake"),
        (0x010, "other"),
        (0x004 | 0x400, "other"),
    ],
)
def test_the_worst_of_what_holds_the_clock_back_is_named(bits: int, limit: str) -> None:
    assert telemetry.limited_by(telemetry.throttle_words(bits)) == limit
