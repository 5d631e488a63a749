"""The roofs: measured for real on this CPU, kept with the set, and done without where need be."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchlib import config
from benchlib.analysis import roofline
from benchlib.analysis.results import load
from benchlib.case import Engine
from benchlib.gpu import peak_bench, peaks
from benchlib.gpu.peaks import Roofs
from benchlib.measure import runner
from benchlib.measure.store import Store
from benchlib.trtexec import locate
from benchlib.trtexec.command import Program

CPU = Program(Engine.ONNXRUNTIME_CPU, (sys.executable,), "1.20.0", "cpu")
GPU = Program(Engine.TRTEXEC, ("trtexec",), "10.16.1", "cuda:0")


class Invented:
    """A device whose times are set: a product of ``n`` takes ``took[n]`` seconds."""

    sizes = (10, 100, 1000)

    def __init__(self, took: dict[int, float]) -> None:
        self._took = took

    def products(self) -> dict[str, Callable[[int], peak_bench.Timed]]:
        def product(size: int) -> peak_bench.Timed:
            if size not in self._took:
                raise RuntimeError("no such\nunit")
            return lambda: self._took[size]

        return {"fp16_tflops": product, "int8_tops": product}

    def copy(self) -> tuple[peak_bench.Timed, int]:
        return lambda: 0.5, 10**9

    def how(self) -> str:
        return "invented"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_bench, "WARM_UP_S", 0.0)
    monkeypatch.setattr(peak_bench, "LEAST_S", 0.01)


def test_the_best_size_counts_and_a_copied_byte_counts_twice(quick: None) -> None:
    said: list[str] = []
    # 2 * 100³ operations in 1 µs are 2 * 10^12 a second; the larger size is slower.
    found = peak_bench.measure(Invented({10: 1.0, 100: 1e-6, 1000: 1e-2}), said.append)
    assert found["fp16_tflops"] == pytest.approx(2.0)
    assert found["memory_gb_s"] == pytest.approx(4.0)
    assert (found["how"], said) == ("invented", [])


def test_a_size_that_fails_leaves_the_others(quick: None) -> None:
    said: list[str] = []
    assert peak_bench.measure(Invented({10: 1e-9}), said.append)["int8_tops"] == pytest.approx(2.0)
    assert "int8_tops at 1000: no such unit" in said
    nothing = peak_bench.measure(Invented({}), said.append)
    assert nothing == {"memory_gb_s": 4.0, "how": "invented"}
    assert Roofs.model_validate(nothing).fp16_tflops is None


def test_the_median_leaves_out_a_slow_first_repeat(quick: None) -> None:
    times = iter([5.0, *[1.0] * 100])
    assert peak_bench.seconds(lambda: next(times)) == 1.0


def test_this_cpu_has_roofs(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_bench.CpuDevice, "sizes", (64, 256))
    monkeypatch.setattr(peak_bench, "CPU_COPY_BYTES", 2**24)
    said: list[str] = []
    found = Roofs.model_validate(peak_bench.measure(peak_bench.CpuDevice(1), said.append))
    assert said == []
    assert found.fp32_tflops and found.int8_tops and found.memory_gb_s
    assert (found.fp16_tflops, found.tf32_tflops) == (None, None)
    # No core adds and multiplies a thousand numbers a cycle, and none takes a second for a million.
    assert 1e-4 < found.fp32_tflops < 5
    assert "ONNX Runtime" in found.how and "1 thread:" in found.how


def test_without_a_gpu_the_reason_is_said_and_nothing_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    said: list[str] = []
    assert peaks.measure_roofs(GPU, None, tmp_path, said.append) is None
    assert "PyTorch sees no GPU" in said[-1]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit(3)", "status 3"),
        ("import os; os.abort()", "SIGABRT"),
        ("", "No such file"),
        ("open(OUT, 'w').write('{\"how\": 3}')", "how"),
        ("import time; time.sleep(60)", "time limit"),
    ],
)
def test_a_meter_that_fails_costs_the_roofs_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    module = tmp_path / "meter.py"
    module.write_text(f"OUT = {str(tmp_path / 'roofs.json')!r}\n{code}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(peaks, "BENCH_MODULE", "meter")
    monkeypatch.setattr(peaks, "BENCH_LIMIT_S", 1.0 if reason == "time limit" else 60.0)
    (tmp_path / "roofs.log").write_text("what an earlier one said\n")
    said: list[str] = []
    assert peaks.measure_roofs(CPU, 1, tmp_path, said.append) is None
    assert said[-1].startswith("no roofs of the device are known")
    assert reason in said[-1]


def test_a_set_keeps_its_roofs_and_its_report_draws_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small_bench.py").write_text(
        "import sys\n"
        "from benchlib.gpu import peak_bench as bench\n"
        "bench.WARM_UP_S, bench.LEAST_S, bench.CPU_COPY_BYTES = 0.0, 0.01, 2**24\n"
        "bench.CpuDevice.sizes = (256,)\n"
        "sys.exit(bench.main())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(peaks, "BENCH_MODULE", "small_bench")
    given = {
        "models": ["mobilenet_v3_small"],
        "resolutions": ["64x64"],
        "duration_s": 0.05,
        "min_rounds": 1,
        "max_rounds": 1,
        "threads": 1,
        "out_dir": str(tmp_path / "set"),
    }
    program = locate.find("onnxruntime_cpu")
    runner.run(config.read_parameters(given), program=program)
    first = json.loads((tmp_path / "set/environment.json").read_text())["roofs"]
    measured = load(tmp_path / "set")
    roof = roofline.roofs(measured, "fp32")
    assert roof is not None and roof.measured
    assert (roof.tera_ops, roof.memory_gb_s) == (first["fp32_tflops"], first["memory_gb_s"])
    (point,) = roofline.points(measured)
    # Roof and row were measured one after the other, perhaps on a busy machine.
    assert point.share and 0 < point.share < 20

    monkeypatch.setattr(peaks, "measure_roofs", lambda *_: pytest.fail("measured a second time"))
    runner.run(config.read_parameters(given | {"duration_s": 0.06}), program=program)
    with Store(tmp_path / "set").opened() as store:
        assert store.environment().roofs.model_dump() == first


def test_roofs_of_another_device_do_not_stay(fake_run: Callable, tmp_path: Path) -> None:
    """The fake engine has none of its own, so a set that it goes on with is left without."""
    fake_run()
    path = tmp_path / "set/environment.json"
    document = json.loads(path.read_text())
    for device, kept in ((document["device"], 7.0), ("another card", None)):
        roof = {"fp32_tflops": 7.0, "memory_gb_s": 1.0, "how": "by hand"}
        given = {"device": device, "roofs": roof, "notes": ["Seen by nobody."]}
        path.write_text(json.dumps(document | given))
        fake_run(duration_s=0.6)
        after = json.loads(path.read_text())
        assert (after["roofs"] and after["roofs"]["fp32_tflops"]) == kept
        assert after["notes"] == ["Seen by nobody."]
