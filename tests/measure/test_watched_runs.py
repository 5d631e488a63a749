"""A run on a scripted card: what NVML told reaches the row, and the clock is let go."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from placeholders import Placeholders

from benchlib import process
from benchlib.case import Case, Engine, GraphForm, Status, Verdict
from benchlib.export.build import FROM_FILE, Graph
from benchlib.export.calibration import Fidelity, OutputFidelity
from benchlib.gpu import nvml
from benchlib.gpu.telemetry import Limit
from benchlib.measure import record, rejudge
from benchlib.measure.exporter import Network
from benchlib.measure.measurement import stored_runs
from benchlib.measure.runner import Lines, Outcome
from benchlib.stats.quality_checks import RULES_VERSION
from benchlib.trtexec.command import Program

Script = Callable[..., None]
Run = Callable[..., Outcome]
Card = Callable[..., Path]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Card:
    """Script the card for this process and its children; returns the file of its changes."""
    here = str(Path(__file__).parents[1])
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", here)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def write(**script: Any) -> Path:
        calls = tmp_path / "calls"
        monkeypatch.setenv("SCRIPTED_NVML", json.dumps({"calls": str(calls), **script}))
        return calls

    return write


def watched(fake_run: Run, **values: Any) -> Any:
    (row,) = fake_run(nvml_module="scripted_nvml", **values).rows
    return row


@pytest.mark.parametrize("nvml_shows", [{"absent": True}, {"mute": ["nvmlDeviceGetClockInfo"]}])
def test_a_jetson_is_watched_by_tegrastats(
    fake_run: Run,
    script: Script,
    card: Card,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    nvml_shows: dict[str, Any],
) -> None:
    """Its NVML shows no GPU (JetPack 5), or one without a clock."""
    line = (
        "RAM 6712/7620MB (lfb 157x4MB) EMC_FREQ 61%@2133 GR3D_FREQ {load}%@[612] gpu@58.625C "
        "VDD_IN 16321mW/11204mW"
    )
    busy, idle = line.format(load=97), line.format(load=0).replace("16321", "5000")
    tegrastats = tmp_path / "bin" / "tegrastats"
    tegrastats.parent.mkdir()
    # Idle before the work and after it, as long as anybody listens
    work = f"for i in 1 2 3 4 5; do echo '{busy}'; sleep 0.1; done"
    rest = f"while echo '{idle}'; do sleep 0.1; done"
    tegrastats.write_text(f"#!/bin/sh\necho '{idle}'\n{work}\n{rest}\n")
    tegrastats.chmod(0o755)
    monkeypatch.setenv("PATH", str(tegrastats.parent), prepend=os.pathsep)
    script(all={"sleep_s": 1.0})
    card(**nvml_shows)
    row = watched(fake_run)
    assert (row.sm_clock_mhz, row.mem_clock_mhz, row.power_w) == (612, 2133, 16.321)
    assert (row.temperature_c, row.throttle) == (59, None)
    assert row.peak_memory_mb == pytest.approx(6712 * 1.048576, abs=0.1)
    assert "unwatched" not in row.notes


def test_clock_power_and_temperature_reach_the_row(
    fake_run: Run, script: Script, card: Card, tmp_path: Path
) -> None:
    script(all={"sleep_s": 0.6})
    card(clocks=[1500], bits=[0], memory=[500], pids=[[]])
    row = watched(fake_run)
    assert row.device == "Scripted Card"
    assert row.sm_clock_mhz == 1500
    assert row.mem_clock_mhz == 2619
    assert row.power_w > 0
    assert row.temperature_c > 0
    assert row.throttle == "none"
    assert row.verdict is Verdict.VALID
    assert row.detail.memory_freed is True
    assert row.detail.telemetry[0]["rate_hz"] >= 10
    assert any("telemetry" in name for name in row.detail.samples)
    environment = json.loads((tmp_path / "set" / "environment.json").read_text())
    assert environment["gpu"]["name"] == "Scripted Card"


@pytest.mark.parametrize(
    ("bits", "limited_by", "verdict", "reason"),
    [
        (0x4, Limit.POWER, Verdict.VALID, "power_limited"),
        (0x4 | 0x40, Limit.THERMAL, Verdict.SUSPECT, "throttled"),
        (0x8, Limit.HARDWARE, Verdict.SUSPECT, "throttled"),
    ],
)
def test_what_held_the_clock_back_is_told(
    bits: int,
    limited_by: Limit,
    verdict: Verdict,
    reason: str,
    fake_run: Run,
    script: Script,
    card: Card,
) -> None:
    script(all={"sleep_s": 0.6})
    card(clocks=[1500], bits=[bits], memory=[500], pids=[[]])
    row = watched(fake_run)
    assert "power_cap" in row.throttle or bits == 0x8
    told = row.notes if verdict is Verdict.VALID else row.reasons
    assert (row.limited_by, row.verdict, told) == (limited_by, verdict, (reason,))


def test_a_row_of_today_is_judged_anew_as_it_was(
    fake_run: Run, script: Script, card: Card, tmp_path: Path
) -> None:
    script(all={"sleep_s": 0.6, "story": "bimodal"})
    card(clocks=[1500, 1700], bits=[0x4], memory=[500], pids=[[41]])
    row = watched(fake_run, min_rounds=2, max_rounds=2)
    folder = tmp_path / "set"
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    before = [path.read_bytes() for path in files]
    outcome = rejudge.rejudge(folder)
    assert [(one.key, one.changed) for one in outcome.rows] == [(row.key, False)]
    assert [path.read_bytes() for path in files] == before
    assert row.detail.rules == RULES_VERSION
    assert ("power_limited" in row.notes) and ("foreign_process" in row.reasons)
    assert row.peak_memory_mb is None  # part of it may be the foreign process's


def facts(monkeypatch: pytest.MonkeyPatch, gmacs: float | None) -> None:
    """Let every network of the fake's runs have ``gmacs``."""
    monkeypatch.setattr(Placeholders, "describe", lambda *_: Network(gmacs=gmacs))


@pytest.mark.parametrize(
    ("name", "gmacs", "values", "impossible"),
    [
        # 67e12 operations per second with 4.4 of margin: 2 ms hold 295 10^9 of them at most.
        ("NVIDIA H200", 300.0, {"tf32": False}, True),
        ("NVIDIA H200", 290.0, {"tf32": False}, False),
        ("NVIDIA H200", 300.0, {"tf32": True}, False),
        ("NVIDIA H200", 150.0, {"tf32": False, "batch_sizes": [2]}, True),
        ("NVIDIA H200", 300.0, {"tf32": False, "extra_flags": ["--sparsity=force"]}, False),
        ("NVIDIA H200", None, {"tf32": False}, False),
        ("Scripted Card", 300.0, {"tf32": False}, False),
    ],
)
def test_a_time_below_the_cards_floor_is_invalid(
    fake_run: Run,
    card: Card,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    gmacs: float | None,
    values: dict[str, Any],
    impossible: bool,
) -> None:
    card(name=name)
    facts(monkeypatch, gmacs)
    row = watched(fake_run, duration_s=0.2, **values)
    assert row.device == name
    assert ("impossible" in row.reasons) is impossible
    assert (row.verdict is Verdict.INVALID) is impossible
    assert row.latency_ms == pytest.approx(2.0, rel=0.01)


def test_a_graph_whose_outputs_are_no_numbers_is_invalid(
    fake_run: Run, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Placeholders.graph

    def broken(self: Placeholders, case: Case, form: GraphForm) -> Graph:
        return replace(made(self, case, form), fidelity=Fidelity(None, None, False, 4))

    card()
    monkeypatch.setattr(Placeholders, "graph", broken)
    row = watched(fake_run, precision="fp16")
    assert row.verdict is Verdict.INVALID
    assert "numerics" in row.reasons


def test_a_graph_far_from_fp32_is_doubted_and_its_remarks_are_told(
    fake_run: Run, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Placeholders.graph
    outputs = (OutputFidelity("good", 0.01, 1.0), OutputFidelity("bad", 0.4, 0.9))

    def coarse(self: Placeholders, case: Case, form: GraphForm) -> Graph:
        return replace(
            made(self, case, form),
            weights=FROM_FILE,
            fidelity=Fidelity(0.4, 0.9, True, 2, outputs=outputs),
            int8_products=1,
            left_out=("b: it stands in the body of If",),
            remarks=("1 of 2 products are INT8",),
        )

    card()
    monkeypatch.setattr(Placeholders, "graph", coarse)
    row = watched(fake_run, precision="fp16")
    assert row.verdict is Verdict.SUSPECT
    assert "far_from_fp32" in row.reasons
    assert row.message == "1 of 2 products are INT8"
    graph = row.detail.graph.model_dump()
    assert graph["left_out"] == ["b: it stands in the body of If"]
    assert graph["fidelity"]["outputs"][1]["name"] == "bad"
    assert record.load_row(record.dump_row(row)).detail.graph == row.detail.graph


def test_without_nvml_the_columns_are_empty_not_zero(fake_run: Run, card: Card) -> None:
    card(absent=True)
    row = watched(fake_run)
    assert row.device == "cuda:0"
    for name in ("sm_clock_mhz", "mem_clock_mhz", "power_w", "energy_mj", "temperature_c"):
        assert getattr(row, name) is None, name
    assert row.throttle is None
    assert row.detail.memory_freed is None


def test_the_clock_is_locked_only_when_asked_and_let_go(fake_run: Run, card: Card) -> None:
    calls = card(clocks=[1200], bits=[0], memory=[500], pids=[[]])
    row = watched(fake_run)
    assert not calls.exists()
    assert not row.detail.clock_lock["locked"]
    row = watched(fake_run, lock_clocks=True)
    assert row.detail.clock_lock["locked"]
    lines = calls.read_text().split("\n")
    assert len([line for line in lines if line]) == 2


def test_the_clock_is_let_go_after_ctrl_c(
    fake_run: Run, script: Script, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = card(clocks=[1200], bits=[0], memory=[500], pids=[[]])
    monkeypatch.setattr(
        "benchlib.measure.store.Store.save_row",
        lambda *_: os.kill(os.getpid(), 15),
    )
    with pytest.raises(KeyboardInterrupt):
        watched(fake_run, lock_clocks=True)
    assert len(calls.read_text().splitlines()) == 2


def test_a_run_that_nobody_watched_says_so(
    fake_run: Run, script: Script, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(all={"sleep_s": 0.3})
    card(cards=["GPU-8932f937", "GPU-8932ffff"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f")
    row = watched(fake_run)
    assert (row.device, row.sm_clock_mhz) == ("cuda:0", None)
    assert (row.verdict, row.reasons, row.notes) == (Verdict.VALID, (), ("unwatched",))
    assert "CUDA_VISIBLE_DEVICES" in row.detail.notes[0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f9")
    row = watched(fake_run)
    assert (row.device, row.sm_clock_mhz, row.notes) == ("Scripted Card", 1500, ())


def test_a_round_that_nobody_watched_is_told_and_the_others_stay_watched(
    fake_run: Run, script: Script, card: Card, tmp_path: Path
) -> None:
    class BlindInRound2(Lines):
        def round(self, number: int, left: int) -> None:
            card(**({"absent": True} if number == 2 else {}))

    script(all={"sleep_s": 0.3})
    card()
    row = watched(fake_run, min_rounds=3, max_rounds=3, progress=BlindInRound2())
    assert (row.rounds, row.verdict, row.notes) == (3, Verdict.VALID, ("unwatched",))
    assert "In 1 of 3 timing processes nobody saw" in row.detail.notes[0]
    assert (row.sm_clock_mhz, len(row.detail.telemetry)) == (1500, 2)
    runs = stored_runs(tmp_path / "set", row)
    assert [bool(run.readings) for run in runs] == [True, False, True]


@pytest.mark.parametrize(
    ("version", "state", "doubted"),
    [
        ("10.16.1", 1, True),
        ("11.0", 1, True),
        ("11.1", 1, False),
        ("11.5", 1, False),
        ("10.16.1", 0, False),
        ("10.16.1", None, False),
    ],
)
def test_times_of_events_under_confidential_computing_are_doubted(
    fake_run: Run,
    fake: Program,
    script: Script,
    card: Card,
    tmp_path: Path,
    version: str,
    state: int | None,
    doubted: bool,
) -> None:
    script(version=version, all={"sleep_s": 0.3})
    card(**({} if state is None else {"confidential": state}))
    row = watched(fake_run, program=replace(fake, version=version))
    assert ("confidential_computing" in row.reasons) is doubted
    assert row.verdict is (Verdict.SUSPECT if doubted else Verdict.VALID)
    known = None if state is None else bool(state)
    assert row.detail.confidential_computing is known
    environment = json.loads((tmp_path / "set" / "environment.json").read_text())
    assert environment["gpu"]["confidential_computing"] is known


@pytest.mark.parametrize(
    ("engine", "version", "event_timed"),
    [
        (Engine.TRTEXEC, "10.16.1", True),
        (Engine.TRTEXEC, "11.0.3", True),
        (Engine.TRTEXEC, "11.1", False),
        (Engine.TENSORRT_PYTHON, "11.5", True),
    ],
)
def test_which_program_times_by_events(engine: Engine, version: str, event_timed: bool) -> None:
    assert Program(engine, ("x",), version, "cuda:0").event_timed is event_timed
    assert not Program(Engine.ONNXRUNTIME_CPU, ("x",), "1.20", "cpu").event_timed


def test_a_part_of_a_card_is_another_device_and_is_measured_anew(
    fake_run: Run, fake: Program, script: Script, card: Card, tmp_path: Path
) -> None:
    script(version="11.5", all={"sleep_s": 0.3})
    later = replace(fake, version="11.5")
    card()
    whole = watched(fake_run, program=later)
    context = ["--greenContext=sm:16,cosched:8"]
    part = watched(fake_run, program=later, extra_flags=context)
    assert whole.device == "Scripted Card"
    assert part.device == "Scripted Card (green context sm:16,cosched:8)"
    assert any(context[0] in argv for argv in part.detail.commands)
    card(cards=["GPU-1"], slices={"GPU-1": ["MIG-1"]})
    sliced = watched(fake_run, program=later)
    assert sliced.device == "Scripted Card (MIG 1g.10gb)"
    assert sliced.started_at > part.started_at > whole.started_at
    environment = json.loads((tmp_path / "set" / "environment.json").read_text())
    assert environment["device"] == environment["gpu"]["name"] == sliced.device


def test_a_run_waits_with_a_word_for_a_card_that_another_has(
    fake_run: Run,
    card: Card,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    card(cards=["GPU-1"], clocks=[1500], bits=[0], memory=[500], pids=[[]])
    with ThreadPoolExecutor(1) as other:
        with process.lock_held(tmp_path / "benchlib-GPU-1.lock", "TMPDIR"):
            run = other.submit(watched, fake_run)
            until = time.monotonic() + 60
            while "waits for it" not in caplog.text and time.monotonic() < until:
                time.sleep(0.05)
            assert not list((tmp_path / "set" / "rows").glob("*.json"))
        row = run.result(60)
    assert "another run has the GPU GPU-1" in caplog.text
    assert (row.status, row.gpu_uuid, row.host) == (Status.OK, "GPU-1", None)


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        (None, ["GPU-1", "GPU-2"]),
        ("1", ["GPU-2"]),
        ("GPU-2,GPU-1", ["GPU-2", "GPU-1"]),
        ("", []),
    ],
)
def test_a_fleet_of_this_host_has_the_visible_cards(
    card: Card, visible: str | None, uuids: list[str]
) -> None:
    card(cards=["GPU-1", "GPU-2"])
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert nvml.visible_uuids("scripted_nvml", environ) == uuids
