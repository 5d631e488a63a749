"""A bundle: its script under real shells with the fake trtexec, and what collect makes of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fake_trtexec
import pytest
from click.testing import CliRunner
from placeholders import Placeholders

from benchlib import config
from benchlib.case import Failure, Precision, Status
from benchlib.cli import main
from benchlib.errors import InputError, MachineError
from benchlib.gpu import nvml
from benchlib.gpu.telemetry import tegrastats
from benchlib.measure import bundle as bundles
from benchlib.measure import store
from benchlib.measure.bundle import Written
from benchlib.measure.collect import collect, nvidia_smi
from benchlib.measure.exporter import Network
from benchlib.measure.record import CaseError, Row
from benchlib.measure.store import Store
from benchlib.process import ALTERING
from benchlib.trtexec import locate

PATIENCE_S = 120
ROUNDS = 3
Bundler = Callable[..., Written]

# Lines of tegrastats. The form of each is that of public logs and of NVIDIA's table of its
# statistics (Jetson Linux, appendix "tegrastats"); every number is invented.
NANO_R32 = (
    "RAM 2015/3964MB (lfb 98x4MB) SWAP 29/1982MB (cached 3MB) IRAM 0/252kB(lfb 252kB) "
    "CPU [6%@1479,off,off,3%@102] EMC_FREQ 10%@1600 GR3D_FREQ {load}%@921 PLL@28C CPU@31.5C "
    "PMIC@100C GPU@30.5C AO@36C thermal@31.25C POM_5V_IN 4388/2122 POM_5V_GPU 1220/122 "
    "POM_5V_CPU 163/163"
)
XAVIER_R32 = (
    "RAM 2448/31927MB (lfb 6x4MB) SWAP 0/15963MB (cached 0MB) CPU [2%@1190,off] EMC_FREQ 0%@1333 "
    "GR3D_FREQ {load}%@1377 AO@33C GPU@34C Tdiode@36.25C PMIC@100C GPU 930/310 CPU 310/310 "
    "SOC 1240/930 CV 0/0 VDDRQ 310/155 SYS5V 1844/1844"
)
ORIN_NANO_R36 = (
    "11-26-2026 19:38:21 RAM 6712/7620MB (lfb 157x4MB) SWAP 165/3810MB (cached 3MB) "
    "CPU [38%@1497,2%@729] EMC_FREQ 61%@2133 GR3D_FREQ {load}%@[612] NVDEC off NVJPG off VIC off "
    "OFA off APE 200 cpu@57.125C soc2@55.093C gpu@58.625C tj@58.312C cv0@-256C "
    "VDD_IN 16321mW/11204mW VDD_CPU_GPU_CV 7104mW/4944mW VDD_SOC 3120mW/3659mW"
)
AGX_ORIN_R35 = (
    "11-26-2026 19:38:21 RAM 5848/62801MB (lfb 3x4MB) CPU [0%@1728] EMC_FREQ 0%@3199 "
    "GR3D_FREQ {load}%@[1300,1299] VIC_FREQ 729 APE 174 CV0@-256C CPU@41C Tboard@33C tj@41C "
    "VDD_GPU_SOC 5000mW/3176mW VDD_CPU_CV 1000mW/794mW VIN_SYS_5V0 4000mW/3837mW NC 0mW/0mW "
    "VDDQ_VDD2_1V8AO 506mW/506mW"
)
THOR_R38 = (
    "11-26-2026 19:38:21 RAM 9000/125772MB (lfb 2x4MB) GR3D_FREQ @[314,314,314] cpu@40C gpu@39.5C "
    "VDD_GPU 2000mW/2000mW VDD_CPU_SOC_MSS 3000mW/3000mW VIN_SYS_5V0 1000mW/1000mW VIN "
    "14000mW/14000mW"
)
SMI = "2026/11/26 19:38:2{second}.500, 1980, 2619, {power}, 41, 0x0000000000000004, 1024"


in_both_shells = pytest.mark.parametrize("shell", ["dash", "busybox"], indirect=True)


@pytest.fixture
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """A shell as ``SHELL``, and a ``PATH`` with what comes with it and nothing else."""
    name = getattr(request, "param", "dash")
    program = _needed(name)
    if name == "dash":
        return {"SHELL": program, "PATH": "/usr/bin:/bin"}
    tools = tmp_path / "applets"
    tools.mkdir()
    subprocess.run([program, "--install", "-s", str(tools)], check=True)
    (tools / "cmp").unlink()  # Red Hat's base images have none
    return {"SHELL": str(tools / "sh"), "PATH": str(tools)}


def _needed(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        reason = f"{program} is not installed"
        if os.environ.get("BENCHLIB_REQUIRE_SHELLS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture
def bundler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bundler:
    """Write a bundle with placeholders for graphs; parameters as keywords."""
    monkeypatch.setattr(
        bundles, "Exporter", lambda given, log, limit_s: Placeholders(tmp_path / "g", given.seed)
    )

    def write(
        out: str | Path = "on a stick/it's",
        tensorrt: str = "10.3",
        split_mb: float | None = None,
        **values: object,
    ) -> Written:
        given = {"models": ["resnet18", "fast_scnn"], "duration_s": 0.5, **values}
        runs = config.Preset("own", (Precision.FP16,), {}).with_values(given).runs()
        program = locate.planned(runs[0].engine, tensorrt)
        return bundles.write(runs, program, tmp_path / out, rounds=ROUNDS, split_mb=split_mb)

    return write


class Site:
    """The device: a shell, the fake trtexec on PATH, and further programs beside it."""

    def __init__(self, folder: Path, shell: dict[str, str]) -> None:
        self.bin = folder / "device bin"
        fake_trtexec.install(self.bin)
        self.shell = shell
        self.says: dict[str, object] = {"version": "10.3.0"}
        self.environ: dict[str, str] = {}

    def add(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def start(self, bundle: Path, **more: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.shell["SHELL"], str(bundle / "run.sh")],
            cwd="/",
            env={
                "PATH": f"{self.bin}:{self.shell['PATH']}",
                "HOME": str(self.bin),
                "PYTHONPATH": os.pathsep.join(sys.path),
                fake_trtexec.VARIABLE: json.dumps(self.says),
                **dict.fromkeys(ALTERING, "1"),
                **self.environ,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **more,
        )

    def run(self, bundle: Path, **more: object) -> tuple[int, str]:
        process = self.start(bundle, **more)
        said, _ = process.communicate(timeout=PATIENCE_S)
        return process.returncode, said


@pytest.fixture
def site(tmp_path: Path, shell: dict[str, str]) -> Site:
    return Site(tmp_path, shell)


def steps(bundle: Path) -> dict[str, int]:
    """The whole steps and when each got its name."""
    return {path.name: path.stat().st_mtime_ns for path in (bundle / "out").glob("*.log")}


def rows(found: Path) -> dict[str, Row]:
    with Store(found).opened() as store:
        return {row.model: row for row in store.rows}


# --- the way there and back


@in_both_shells
def test_a_bundle_comes_back_as_a_measured_set(
    bundler: Bundler, site: Site, tmp_path: Path
) -> None:
    (folder,) = bundler(profile=True, builds=2).folders
    status, said = site.run(folder)
    assert (status, "12 of 12 timing runs are whole" in said) == (0, True), said
    assert "nobody watches them" in said and "MB are free" in said
    for engine in (folder / "out").glob("*.engine"):
        engine.unlink()  # the script says that they need not be copied
    shutil.rmtree(folder / "graphs")
    found = collect(folder, tmp_path / "set")
    assert not found.missing
    for row in found.rows:
        assert row.status is Status.OK, row.message
        assert row.latency_ms == pytest.approx(2.0, rel=0.01)
        assert (row.engine_version, row.message) == ("10.3.0", None)
        assert row.engine_mb == pytest.approx(0.00416)
        assert (row.family, row.build_s, row.engine_layers) != (None, None, None)
        assert (row.rounds, row.ended_by) == (ROUNDS, "sure")
        assert [(run["build"], run["process"]) for run in row.detail.runs] == [
            *((0, number) for number in range(ROUNDS)),
            *((1, number) for number in range(ROUNDS)),
        ]
        assert len(store.load_samples(tmp_path / f"set/samples/{row.key}.parquet")) == 2 * ROUNDS
        assert row.detail.layers[0]["name"] == "Conv_0"
        first, *_, last = row.detail.commands
        assert first[0] == "trtexec" and "--stronglyTyped" in first
        assert "--exportTimes=out/part/times.json" in last
    for path in (tmp_path / "set").rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path
    environment = json.loads((tmp_path / "set/environment.json").read_text())
    assert environment["system"].startswith("Linux") and environment["cpu_cores"]
    assert list(environment["parameters"]) == ["fp16"]


def test_sizes_of_a_dynamic_engine_share_its_build(
    bundler: Bundler, site: Site, tmp_path: Path
) -> None:
    shapes = {"min_shape": [1, 480, 640], "opt_shape": [1, 480, 640], "max_shape": [1, 768, 1024]}
    sizes = {"resolutions": ["640x480", "1024x512"], "shape_modes": ["dynamic"], **shapes}
    written = bundler(models=["resnet18"], **sizes)
    assert written.as_json()["bundles"][0]["engines"] == 1
    (folder,) = written.folders
    site.says["all"] = {"build": "oom"}
    assert site.run(folder)[0] == 1
    failed = collect(folder, tmp_path / "set").rows
    assert [row.failure for row in failed] == [Failure.OOM_BUILD] * 2
    del site.says["all"]
    status, said = site.run(folder)
    assert (status, said.count("benchlib: build ")) == (0, 1)
    found = collect(folder, tmp_path / "set").rows
    assert [row.status for row in found] == [Status.OK] * 2
    assert sorted(row.detail.engines[0]["reused"] for row in found) == [False, True]
    assert "--shapes=input:1x3x512x1024" in (folder / "run.sh").read_text()


def test_every_round_has_every_engine_in_an_order_of_its_own(bundler: Bundler) -> None:
    (folder,) = bundler(resolutions=["640x480", "1024x512", "1024x768"]).folders
    orders = [
        line.removeprefix("for number in ").partition(";")[0].split()
        for line in (folder / "run.sh").read_text().splitlines()
        if line.startswith("for number in ")
    ]
    assert [sorted(order) for order in orders] == [sorted(orders[0])] * (1 + ROUNDS)
    assert len(set(map(tuple, orders))) == 1 + ROUNDS


@in_both_shells
def test_what_failed_is_told_and_tried_again_and_the_rest_goes_on(
    bundler: Bundler, site: Site, tmp_path: Path
) -> None:
    models = ["resnet18", "fast_scnn", "resnet34", "mnasnet1_0"]
    (folder,) = bundler(models=models, time_limit_time_s=5).folders
    # A build's command line names the network by its graph, whose placeholder says which it is.
    graphs = {one.read_text().split()[0]: one.name for one in (folder / "graphs").iterdir()}
    site.says["cases"] = {
        graphs["resnet18"]: {"build": "oom"},
        "--loadEngine=out/fast_scnn": {"time": "hang"},
        "--loadEngine=out/mnasnet1_0": {"time": "truncated"},
    }
    status, said = site.run(folder)
    assert status == 1
    assert "3 of 12 timing runs are whole" in said and "out of memory" in said
    found = {row.model: row for row in collect(folder, tmp_path / "set").rows}
    assert {model: row.failure for model, row in found.items()} == {
        "resnet18": Failure.OOM_BUILD,
        "fast_scnn": Failure.TIMEOUT,
        "resnet34": None,
        "mnasnet1_0": Failure.BAD_OUTPUT,
    }
    assert "time took more than 5 s; raise time_limit_time_s" in found["fast_scnn"].message
    before = steps(folder)
    del site.says["cases"]
    assert site.run(folder)[0] == 0
    assert before.items() <= steps(folder).items()
    assert not list((folder / "out").glob("*.failed"))
    assert {row.status for row in collect(folder, tmp_path / "set").rows} == {Status.OK}


@pytest.mark.parametrize(
    ("shell", "number"),
    [
        ("dash", signal.SIGKILL),
        ("dash", signal.SIGTERM),
        ("dash", signal.SIGINT),
        ("busybox", signal.SIGTERM),
    ],
    indirect=["shell"],
)
def test_a_stopped_run_goes_on_and_leaves_nothing_running(
    bundler: Bundler, site: Site, tmp_path: Path, number: signal.Signals
) -> None:
    site.says["all"] = {"sleep_s": 0.3}
    site.add("tegrastats", f"while :; do echo '{ORIN_NANO_R36.format(load=9)}'; sleep 0.1; done")
    (folder,) = bundler().folders
    process = site.start(folder)
    _until(lambda: any(".r1.log" in name for name in steps(folder)), process)
    _until((folder / "out/lock/child").exists, process)
    # Not before timeout has started it: busybox's, ended in between, leaves its watcher behind,
    # which has taken process 1 for the program.
    _until(lambda: any(not line.startswith("timeout") for line in _programs(folder)), process)
    before = steps(folder)
    process.send_signal(number)
    said, _ = process.communicate(timeout=PATIENCE_S)
    if number is not signal.SIGKILL:
        assert process.returncode == 128 + number and "goes on from here" in said
        _all_gone(folder)
    assert 0 < len(before) < 8
    found = collect(folder, tmp_path / "set")
    assert len(found.rows) + len(found.missing) == 2 and found.rows
    assert any("rounds are whole" in str(row.message) for row in found.rows)
    assert "interrupted" in {row.ended_by for row in found.rows}
    status, said = site.run(folder)
    assert status == 0, said
    assert before.items() <= steps(folder).items()
    _all_gone(folder)
    again = collect(folder, tmp_path / "set")
    assert [(row.status, row.message, len(row.detail.runs)) for row in again.rows] == [
        (Status.OK, None, ROUNDS)
    ] * 2


def _until(done: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def _programs(folder: Path) -> list[str]:
    """The command lines of the trtexecs that work in the bundle, timeout's own among them."""
    return [line for line in _working(folder) if "--loadEngine" in line]


def _working(folder: Path) -> list[str]:
    """The command line of every process that works in the bundle."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").resolve() == folder:
                found.append((process / "cmdline").read_text())
    return found


def _all_gone(folder: Path) -> None:
    """No program works in the bundle any more, whatever started it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = _working(folder)
        # The sleep of a pretended tegrastats ends by itself
        if not found:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_two_at_a_time_are_refused(bundler: Bundler, site: Site) -> None:
    site.says["all"] = {"sleep_s": 0.3}
    (folder,) = bundler().folders
    first = site.start(folder)
    _until((folder / "out/lock/child").exists, first)
    status, said = site.run(folder)
    assert (status, said.count("\n")) == (2, 1) and "another run.sh" in said
    assert first.wait(PATIENCE_S) == 0


@in_both_shells
def test_a_full_disk_ends_in_words_and_loses_nothing(bundler: Bundler, site: Site) -> None:
    (folder,) = bundler().folders

    def no_room_for_an_engine() -> None:
        # As a file system that is full: the write fails, nobody is killed.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))

    status, said = site.run(folder, preexec_fn=no_room_for_an_engine, restore_signals=False)
    assert status == 1 and "0 of 6 timing runs are whole" in said
    assert not list((folder / "out").glob("*.engine")) and not (folder / "out/lock").exists()
    assert site.run(folder)[0] == 0


@in_both_shells
def test_without_trtexec_or_with_another_one_line_says_what_to_do(
    bundler: Bundler, site: Site
) -> None:
    (folder,) = bundler().folders
    (site.bin / "trtexec").rename(site.bin / "elsewhere")
    status, said = site.run(folder)
    if locate.trtexec_path({}) is None:
        assert (status, said.count("\n")) == (2, 1)
        assert "trtexec was not found" in said and "TRTEXEC=" in said
    site.add("trtexec", "echo 'libnvinfer.so.10: cannot open shared object file' >&2; exit 127")
    status, said = site.run(folder)
    assert (status, said.count("\n")) == (2, 1) and "libnvinfer.so.10: cannot open" in said
    told = " ".join(f"${name}" for name in (*ALTERING, "CUDA_DEVICE_ORDER"))
    site.add("trtexec", f"echo got: {told}; exit 1")
    assert site.run(folder)[1].endswith("does not run: got: PCI_BUS_ID\n")
    (site.bin / "elsewhere").rename(site.bin / "trtexec")
    site.says["version"] = "8.6.1"
    status, said = site.run(folder)
    assert (status, said.count("\n")) == (2, 1) and "--tensorrt" in said
    (older,) = bundler("older", tensorrt="8.6").folders
    site.says["version"] = "8.5.2"  # of JetPack 5, which knows no --skipInference
    status, said = site.run(older)
    assert (status, said.count("\n")) == (2, 1) and "v8502" in said
    site.says["version"] = "10.7.0"
    (folder / "cases.json").rename(folder / "cases")
    status, said = site.run(folder)
    assert (status, said.count("\n")) == (2, 1) and "not the whole bundle" in said


def test_another_power_mode_is_not_mixed_with_the_first(
    bundler: Bundler, site: Site, tmp_path: Path
) -> None:
    (folder,) = bundler().folders
    site.add("nvpmodel", "printf 'NV Power Mode: MODE_30W\\n2\\n'")
    site.add("jetson_clocks", "printf 'cpu0: Online=1\\nGPU MinFreq=3 MaxFreq=6\\nFAN off\\n'")
    assert site.run(folder)[0] == 0
    site.add("nvpmodel", "printf 'NV Power Mode: MAXN\\n0\\n'")
    status, said = site.run(folder)
    assert status == 2 and "MODE_30W 2" in said.splitlines()[-1]
    assert collect(folder, tmp_path / "set").rows[0].device.endswith(" MODE_30W")
    gpu = json.loads((tmp_path / "set/environment.json").read_text())["gpu"]
    assert (gpu["power_mode"], gpu["jetson_clocks"]) == ("MODE_30W", "GPU MinFreq=3 MaxFreq=6")


def test_the_rows_name_the_program_that_answered_as_trtexec(
    bundler: Bundler, site: Site, tmp_path: Path
) -> None:
    (folder,) = bundler(models=["resnet18"], profile=True).folders
    site.says["tool"] = "benchlib.tensorrt_python"
    assert site.run(folder)[0] == 0
    found = collect(folder, tmp_path / "set").rows[0]
    environment = tmp_path / "set/environment.json"
    assert (found.engine, found.status) == ("tensorrt_python", Status.OK)
    assert "-tensorrt_python-" in found.key
    assert json.loads(environment.read_text())["engine"] == "tensorrt_python"
    (folder / "out/device/tool").unlink()  # as scripts of before left it
    assert collect(folder, tmp_path / "set").rows[0].key == found.key
    (folder / "out/device/tool").write_text("TensorRT.trtexec\n")
    with pytest.raises(InputError, match=r"is of tensorrt_python .* and this of trtexec"):
        collect(folder, tmp_path / "set")
    status, said = site.run(folder)
    assert status == 2 and "tool was TensorRT.trtexec" in said.splitlines()[-1]


# --- what watches the device


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (NANO_R32, (921, 1600, 4.388, 30, 2015)),
        (XAVIER_R32, (1377, 1333, 4.634, 34, 2448)),
        (ORIN_NANO_R36, (612, 2133, 16.321, 59, 6712)),
        (AGX_ORIN_R35, (1300, 3199, 10.0, 41, 5848)),
        (THOR_R38, (314, None, 6.0, 40, 9000)),
    ],
)
def test_tegrastats_of_several_generations(line: str, expected: tuple[float, ...]) -> None:
    (seen,) = tegrastats([line.format(load=99)])
    clock, memory_clock, power, celsius, memory = expected
    assert (seen.sm_clock_mhz, seen.memory_clock_mhz) == (clock, memory_clock)
    assert seen.power_w == pytest.approx(power)
    assert (seen.temperature_c, seen.event_bits) == (celsius, None)
    assert seen.memory_used_mb == pytest.approx(memory * 1.048576, abs=0.1)


def test_the_window_of_tegrastats_ends_with_the_gpus_work() -> None:
    loads = [0, 50, 99, 99, 0, 0]
    lines = ["Warning: cannot read a sensor", *(NANO_R32.format(load=load) for load in loads)]
    found = list(tegrastats(lines))
    assert [round(one.time_s, 1) for one in found] == [0.1, 0.2, 0.3, 0.4]
    no_root = ORIN_NANO_R36.format(load=99).replace("@[612]", "").replace("61%@2133", "61%")
    (seen,) = tegrastats([no_root])
    assert (seen.sm_clock_mhz, seen.memory_clock_mhz) == (None, None)


def test_a_gpu_that_rests_throughout_is_watched_too() -> None:
    """As one does whose DLA works."""
    found = list(tegrastats([ORIN_NANO_R36.format(load=0)] * 3))
    assert [one.power_w for one in found] == [16.321] * 3


def test_nvidia_smi_and_who_was_there_before() -> None:
    lines = [SMI.format(second=second, power="300.5") for second in (1, 2)]
    lines += [SMI.format(second=3, power="[N/A]"), "2026/11/26 19:38:24.5"]
    found = nvidia_smi(["# pid 4711", "# pid [Not Found]", *lines])
    assert [round(one.time_s - found[0].time_s, 1) for one in found] == [0, 1, 2]
    assert (found[0].sm_clock_mhz, found[0].memory_clock_mhz, found[0].event_bits) == (
        *(1980, 2619),
        4,
    )
    assert [one.power_w for one in found] == [300.5, 300.5, None]
    assert [one.foreign for one in found] == [(4711,), None, None]


@pytest.mark.parametrize("shell", ["busybox"], indirect=True)
def test_a_jetson_is_watched_by_tegrastats_although_nvidia_smi_is_there(
    bundler: Bundler, site: Site, tmp_path: Path
) -> None:
    (folder,) = bundler(models=["resnet18"]).folders
    site.says["all"] = {"sleep_s": 0.5}
    site.add("nvidia-smi", "echo '[N/A]'")
    site.add("tegrastats", f"while :; do echo '{ORIN_NANO_R36.format(load=99)}'; sleep 0.1; done")
    status, said = site.run(folder)
    assert status == 0 and "nobody watches" not in said
    (row,) = collect(folder, tmp_path / "set").rows
    assert (row.sm_clock_mhz, row.power_w, row.temperature_c) == (612, 16.321, 59)
    assert row.throttle is None and "unwatched" not in row.reasons
    assert (tmp_path / f"set/telemetry/{row.key}.parquet").is_file()


# As nvidia-smi, which takes a card's number and neither a slice nor a shortened UUID.
CARDS = "GPU 0: NVIDIA L4 (UUID: GPU-11aa)\nGPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-22bb)\n"
SLICES = (
    "  MIG 1g.10gb     Device  0: (UUID: MIG-33cc)\n  MIG 2g.20gb     Device  1: (UUID: MIG-44dd)\n"
)
NVIDIA_SMI = f"""case $* in
-L) printf '%s' "$CARDS" ;;
conf-compute*) echo "CC status: ${{CC:-OFF}}" ;;
'-i GPU-2 '* | *MIG*) echo 'No devices were found'; exit 6 ;;
*compute-apps*) echo 4711 ;;
*loop-ms*) while :; do echo '{SMI.format(second=1, power=300)}'; sleep 0.1; done ;;
'-i 0 '*name,driver*) echo 'NVIDIA L4, 570.1, 23034, 72.00, 2040, 6251' ;;
*name,driver*) echo 'NVIDIA H100 80GB HBM3, 570.1, 81559, 700.00, 1980, 2619' ;;
*query-gpu=clocks*) echo 1980 ;;
*) echo '| NVIDIA-SMI 570.1   Driver Version: 570.1   CUDA Version: 12.8 |' ;;
esac"""


@in_both_shells
@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"CARDS": CARDS}, "NVIDIA L4"),
        ({"CARDS": CARDS, "CUDA_VISIBLE_DEVICES": "1,0"}, "NVIDIA H100 80GB HBM3"),
        ({"CARDS": CARDS, "CUDA_VISIBLE_DEVICES": "GPU-2"}, "NVIDIA H100 80GB HBM3"),
        ({"CARDS": CARDS + SLICES}, "NVIDIA L4"),
        (
            {"CARDS": CARDS + SLICES, "CUDA_VISIBLE_DEVICES": "1"},
            "NVIDIA H100 80GB HBM3 (MIG 1g.10gb)",
        ),
        (
            {"CARDS": CARDS + SLICES, "CUDA_VISIBLE_DEVICES": "MIG-44"},
            "NVIDIA H100 80GB HBM3 (MIG 2g.20gb)",
        ),
        (
            {"CARDS": CARDS, nvml.MPS_SHARE: "50", "CUDA_VISIBLE_DEVICES": "GPU-22bb"},
            "NVIDIA H100 80GB HBM3 (MPS 50 %)",
        ),
    ],
)
def test_the_rows_name_the_card_that_cuda_takes_and_the_part_of_it(
    bundler: Bundler, site: Site, tmp_path: Path, environ: dict[str, str], name: str
) -> None:
    (folder,) = bundler(models=["resnet18"]).folders
    site.add("nvidia-smi", NVIDIA_SMI)
    site.says["all"] = {"sleep_s": 0.3}
    site.environ = {**environ, "CC": "ON"}
    status, said = site.run(folder)
    assert (status, "nobody watches" in said) == (0, False), said
    (row,) = collect(folder, tmp_path / "set").rows
    assert (row.device, row.sm_clock_mhz) == (name, 1980)
    # What the whole card draws and holds is that of its other slices too
    alone = "MIG" not in name
    assert [row.power_w is not None, row.peak_memory_mb is not None] == [alone, False]
    assert ("foreign_process" in row.reasons) is alone
    assert "confidential_computing" in row.reasons
    site.environ["CUDA_VISIBLE_DEVICES"] = "0" if "H100" in name else "1"
    status, said = site.run(folder)
    assert status == 2 and "smi was " in said.splitlines()[-1]


def test_without_nvidia_smi_the_rows_have_trtexecs_name_of_the_card(
    bundler: Bundler, site: Site, tmp_path: Path
) -> None:
    """As in a container that was given the GPU for computing alone; else all such were one."""
    (folder,) = bundler(models=["resnet18"]).folders
    assert site.run(folder)[0] == 0
    for log in (folder / "out").glob("*.r*.log"):
        line = "[11/26/2026-14:37:04] [I] Selected Device: NVIDIA A100 MIG 1g.5gb\n"
        log.write_text(line + log.read_text())
    (row,) = collect(folder, tmp_path / "set").rows
    assert row.device == "NVIDIA A100 (MIG 1g.5gb)"
    for log in (folder / "out").glob("*.log"):
        log.rename(log.with_suffix(".failed"))
    collect(folder, tmp_path / "set")  # which another device's name would refuse


def test_the_rows_name_a_green_context(bundler: Bundler, site: Site, tmp_path: Path) -> None:
    flags = ["--greenContext=sm:16"]
    (folder,) = bundler(models=["resnet18"], tensorrt="11.4", extra_flags=flags).folders
    site.says["version"] = "11.4.0"
    assert site.run(folder)[0] == 0
    (row,) = collect(folder, tmp_path / "set").rows
    assert row.device == "unnamed device (green context sm:16)"


def test_a_card_is_watched_by_nvidia_smi(bundler: Bundler, site: Site, tmp_path: Path) -> None:
    (folder,) = bundler(models=["resnet18"]).folders
    site.add("nvidia-smi", NVIDIA_SMI)
    site.environ = {"CARDS": CARDS, "CUDA_VISIBLE_DEVICES": "1"}
    site.says["all"] = {"sleep_s": 0.5}
    assert site.run(folder)[0] == 0
    (row,) = collect(folder, tmp_path / "set").rows
    assert (row.device, row.sm_clock_mhz, row.throttle) == (
        *("NVIDIA H100 80GB HBM3", 1980),
        "power_cap",
    )
    assert "foreign_process" in row.reasons
    environment = json.loads((tmp_path / "set/environment.json").read_text())
    assert (environment["driver"], environment["cuda"]) == ("570.1", "12.8")
    assert environment["gpu"]["memory_mb"] == pytest.approx(85521, abs=1)


# --- what cannot be bundled or collected


def test_shellcheck_has_nothing_to_say(bundler: Bundler) -> None:
    (folder,) = bundler(extra_flags=["--timingCacheFile=it's here.bin"]).folders
    done = subprocess.run(
        [_needed("shellcheck"), "--shell=sh", str(folder / "run.sh")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tensorrt": "ten"}, "not a version"),
        ({"tensorrt": "7.2"}, "too old"),
        ({"engine": "tensorrt_python"}, "measured by trtexec"),
        ({"engine": "onnxruntime_cpu"}, "has no meaning"),
        ({"precisions": ["fp8"]}, "nothing is left to measure: FP8 needs"),
        ({"split_mb": 1e-6}, "split-mb: the graph of"),
        ({"split_mb": math.nan}, "split-mb: nan is no size"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(
    bundler: Bundler, tmp_path: Path, values: dict, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        bundler("new", **values)
    assert not [one for one in tmp_path.iterdir() if "new" in one.name]


def test_a_folder_with_something_in_it_is_left_alone(bundler: Bundler, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert bundler("mine").folders == (tmp_path / "mine",)
    with pytest.raises(InputError, match="not an empty folder"):
        bundler("mine")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        bundler("file/new")


def test_no_room_is_told_before_anything_is_copied(
    bundler: Bundler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(MachineError, match="0 MB are free"):
        bundler("new")
    assert not (tmp_path / "new").exists()


def test_a_network_that_cannot_be_exported_is_a_failed_row(
    bundler: Bundler, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Placeholders.graph

    def graph(self, case, form):
        if case.model == "fast_scnn":
            raise CaseError(Failure.CRASH, "export of fast_scnn died of SIGSEGV")
        return whole(self, case, form)

    monkeypatch.setattr(Placeholders, "graph", graph)
    written = bundler()
    (told,) = written.left_out.values()
    assert "SIGSEGV" in told
    assert site.run(written.folders[0])[0] == 0
    found = {row.model: row for row in collect(written.folders[0], tmp_path / "set").rows}
    assert (found["fast_scnn"].failure, found["fast_scnn"].message) == (Failure.CRASH, told)
    assert found["resnet18"].status is Status.OK


def test_small_media_get_bundles_of_their_own(bundler: Bundler, site: Site, tmp_path: Path) -> None:
    size = 2 * len("fast_scnn fp16 640x480 1 0") / 1e6
    written = bundler(models=["resnet18", "resnet34", "fast_scnn"], split_mb=size)
    assert [folder.name for folder in written.folders] == ["part-1", "part-2"]
    for folder in written.folders:
        assert site.run(folder)[0] == 0
    (written.folders[0].parent / "part-1.zip").touch()  # as it came back
    found = collect(written.folders[0].parent, tmp_path / "set")
    assert sorted(row.model for row in found.rows) == ["fast_scnn", "resnet18", "resnet34"]


def test_who_shares_an_engine_stays_in_one_part(
    bundler: Bundler, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Placeholders.graph

    def graph(self, case, form):
        # As the cache does: one content under a name for each method
        made = whole(self, case, form)
        path = made.path.with_name(f"{case.int8_method}-{made.path.name}")
        return dataclasses.replace(made, path=made.path.rename(path))

    monkeypatch.setattr(Placeholders, "graph", graph)
    methods = ["qdq", "qdq-no-depthwise"]
    written = bundler(precisions=["int8"], int8_methods=methods, split_mb=80e-6)
    for bundle in written.bundles:
        assert {unit.engine for unit in bundle.units} <= {unit.name for unit in bundle.units}
    assert [bundle.engines for bundle in written.bundles] == [1, 1]


def test_collect_refuses_what_is_no_bundle_in_one_line(
    bundler: Bundler, site: Site, tmp_path: Path
) -> None:
    (folder,) = bundler(models=["resnet18"]).folders

    def refused(words: str, out: str = "set") -> None:
        with pytest.raises(InputError, match=words) as told:
            collect(folder, tmp_path / out)
        assert "\n" not in str(told.value) and not (tmp_path / "set").exists()

    refused("run.sh was not run here")
    assert site.run(folder)[0] == 0
    good = (folder / "cases.json").read_bytes()
    (folder / "cases.json").write_bytes(good.replace(b'"seed": 0', b'"seed": 1'))
    refused("not of this cases.json")
    (folder / "cases.json").write_bytes(good[:1000])
    refused("damaged")
    (folder / "cases.json").unlink()
    refused("no cases.json")
    (folder / "cases.json").write_bytes(good)
    collect(folder, tmp_path / "other")
    environment = tmp_path / "other/environment.json"
    environment.write_text(environment.read_text().replace("unnamed device", "NVIDIA H100"))
    refused("give another folder", "other")


def test_torn_files_cost_their_round_only(bundler: Bundler, site: Site, tmp_path: Path) -> None:
    (folder,) = bundler(models=["resnet18"]).folders
    assert site.run(folder)[0] == 0
    for name, keep in (("r1.times.json", 100), ("r2.log", 30)):
        (path,) = (folder / "out").glob(f"*.{name}")
        path.write_bytes(path.read_bytes()[:keep])
    (row,) = collect(folder, tmp_path / "set").rows
    assert (row.status, len(row.detail.runs)) == (Status.OK, 1)
    assert "1 of 3 rounds are whole; round 1 failed: time left no good file" in row.message
    for path in (folder / "out").glob("*.times.json"):
        path.unlink()
    done = CliRunner().invoke(main, ["collect", str(folder), "-o", str(tmp_path / "other")])
    assert (done.exit_code, "1 rows: 1 failed" in done.output) == (1, True)
    assert str(tmp_path) not in (tmp_path / "other/table.csv").read_text()


def test_what_was_odd_in_every_round_is_told_once(
    bundler: Bundler, site: Site, tmp_path: Path
) -> None:
    (folder,) = bundler(models=["resnet18"]).folders
    site.run(folder)
    logs = sorted((folder / "out").glob("*.r*.log"))
    for log in logs:
        log.write_text(log.read_text().replace("benchlib: status=0 ", "benchlib: status=139 "))
    (row,) = collect(folder, tmp_path / "set").rows
    assert (len(logs), row.rounds) == (ROUNDS, ROUNDS)
    assert row.message == "time died of SIGSEGV after PASSED; its file is whole"


def test_the_command_line_says_what_it_takes_and_where_it_goes(
    bundler: Bundler, site: Site, tmp_path: Path
) -> None:
    folder = tmp_path / "jetson"
    given = ("bundle", "--preset", "edge", "-p", "models", "[resnet18]", "-o", str(folder))
    done = CliRunner().invoke(main, [*given, "--tensorrt", "10.3", "--rounds", "1", "--json"])
    (told,) = json.loads(done.stdout)["bundles"]
    # A placeholder says nothing of the INT8 method, so that the two share their engines
    assert (told["cases"], told["engines"], told["rounds"]) == (6, 4, 1)
    assert "--memPoolSize=workspace:" in (folder / "run.sh").read_text()
    assert site.run(folder)[0] == 0
    done = CliRunner().invoke(main, ["collect", str(folder), "-o", str(tmp_path / "set")])
    assert (done.exit_code, "6 rows: 6 ok" in done.output) == (0, True)
    done = CliRunner().invoke(main, ["bundle", "-o", str(tmp_path / "x")])
    assert done.exit_code == 2 and "--tensorrt" in done.output


def test_networks_facts_travel(bundler: Bundler, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Network(family="ResNet", gmacs=1.8, params_m=11.7, products={"float32": 3})
    monkeypatch.setattr(Placeholders, "describe", lambda self, case: known)
    monkeypatch.setattr(Placeholders, "work", lambda self, case, graph: {"Conv_0": 5})
    (folder,) = bundler(models=["resnet18"]).folders
    read = bundles.FORMAT.validate_json((folder / "cases.json").read_bytes())
    assert (read.cases[0].network, read.cases[0].work) == (known, {"Conv_0": 5})
    assert read.cases[0].graph.path == Path("graphs", *read.cases[0].graph.path.parts[1:])
