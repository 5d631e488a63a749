"""The TensorRT stand-in over a fake GPU and a fake TensorRT, and over the real TensorRT-RTX.

The fakes keep a journal of every call, so what is tested here is what the GPU would be told and
in which order; that the times are right can only be seen on a real one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchlib.trtexec import exports

FAKES = Path(__file__).parent / "gpu_fakes"
REPOSITORY = Path(__file__).parents[2]
TRIO = ("--useCudaGraph", "--noDataTransfers", "--useSpinWait")
SHORT = ("--duration=0", "--warmUp=20", "--iterations=10")


@dataclass(frozen=True)
class Finished:
    status: int
    out: str
    err: str
    journal: list[list[Any]]

    def calls(self, *names: str) -> list[list[Any]]:
        """The journal's entries of these names, without the numbers of streams and events."""
        return [entry for entry in self.journal if entry[0] in names]


def run(folder: Path, *argv: str, **fakes: str) -> Finished:
    journal = folder / "journal.json"
    journal.unlink(missing_ok=True)
    environment = {
        **os.environ,
        **fakes,
        "PYTHONPATH": os.pathsep.join((str(FAKES), str(REPOSITORY))),
        "FAKE_GPU_JOURNAL": str(journal),
    }
    command = [sys.executable, "-m", "benchlib.trtexec.standin.tensorrt_python", *argv]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    written = json.loads(journal.read_text()) if journal.exists() else []
    return Finished(done.returncode, done.stdout, done.stderr, written)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.onnx").write_bytes(b"read by the fake parser")
    (tmp_path / "bad.onnx").write_bytes(b"")
    (tmp_path / "net.plan").write_bytes(b"ftrt plan")
    return tmp_path


def test_two_queries_are_in_flight_and_only_the_older_is_waited_for(folder: Path) -> None:
    done = run(folder, "--loadEngine=net.plan", *TRIO, *SHORT, "--exportTimes=t.json")
    assert done.status == 0, done.err
    begin = next(i for i, entry in enumerate(done.journal) if entry[0] == "instantiate") + 1
    loop = done.journal[begin:]
    first, second = [entry[1] for entry in loop if entry[0] == "synchronize"][:2]
    assert first != second
    names = [entry[0] for entry in loop]
    assert names[:3] == ["record", "launch graph", "record"]
    in_flight = most = 0
    for name, *details in loop:
        if name == "launch graph":
            in_flight += 1
        elif name == "synchronize":
            in_flight -= 1
            assert details[1] == 0, "spinning needs events without the blocking flag"
        most = max(most, in_flight)
    assert (most, in_flight) == (2, 0)
    for index, name in enumerate(names):
        if name == "launch graph":
            assert (names[index - 1], names[index + 1]) == ("record", "record")


def test_the_clock_starts_before_the_capture_and_the_capture_is_prepared(folder: Path) -> None:
    done = run(folder, "--loadEngine=net.plan", *TRIO, *SHORT)
    names = [entry[0] for entry in done.journal]
    start = names.index("record")
    assert names[start : start + 10] == [
        "record",
        "wait",
        "wait",
        "wait",
        "enqueue",
        "synchronize stream",
        "begin capture",
        "enqueue",
        "end capture",
        "instantiate",
    ]
    assert done.calls("begin capture")[0][2] == "cudaStreamCaptureModeThreadLocal"
    assert "[I] Successfully captured CUDA graph" in done.out
    assert len(done.calls("enqueue")) == 2


def test_the_export_holds_the_counted_queries_with_the_gpus_times(folder: Path) -> None:
    done = run(folder, "--loadEngine=net.plan", *TRIO, *SHORT, "--exportTimes=t.json")
    times = exports.read_times(folder / "t.json")
    assert len(times) == 10
    assert {query.compute_ms for query in times} == {2.0}
    assert times[0].start_compute_ms >= 20
    assert times[0].latency_ms == 2.0
    assert "GPU Compute Time: min = 2 ms, max = 2 ms, mean = 2 ms, median = 2 ms" in done.out


def test_transfers_run_on_streams_of_their_own_and_are_stamped(folder: Path) -> None:
    done = run(folder, "--loadEngine=net.plan", *SHORT, "--exportTimes=t.json")
    assert done.status == 0, done.err
    assert not done.calls("launch graph")
    times = exports.read_times(folder / "t.json")
    # The fake's host takes a hundredth of a millisecond per call, also between two records.
    for query in times:
        assert (query.compute_ms, query.d2h_ms) == (2.0, 0.5)
        assert query.h2d_ms == pytest.approx(0.51, abs=1e-4)
        assert query.latency_ms == pytest.approx(3.01, abs=1e-4)
    copies = {(kind, stream) for _, kind, stream in done.calls("copy")}
    assert len(copies) == 2
    assert len({stream for _, stream in copies}) == 2
    assert all(flags == 1 for _, _, flags in done.calls("synchronize")), "waiting must not spin"


def test_exposed_copies_leave_one_query_in_flight(folder: Path) -> None:
    done = run(folder, "--loadEngine=net.plan", *TRIO, *SHORT, "--exposeDMA")
    names = [entry[0] for entry in done.journal]
    begin = names.index("instantiate") + 1
    assert names[begin : begin + 8] == ["record", "launch graph", "record", "synchronize"] * 2


def test_without_capture_it_goes_on_with_a_warning(folder: Path) -> None:
    done = run(folder, "--loadEngine=net.plan", *TRIO, *SHORT, FAKE_GPU="no-capture")
    assert done.status == 0
    assert "[W] CUDA graph capture on the stream has failed." in done.err
    names = [entry[0] for entry in done.journal]
    assert names.index("end capture") < names.index("clear error")
    assert not done.calls("launch graph")


def test_no_gpu_is_a_cuda_failure_before_tensorrt_is_touched(folder: Path) -> None:
    done = run(folder, "--onnx=net.onnx", FAKE_GPU="none")
    assert done.status == 1
    assert "Cuda failure: no CUDA-capable device is detected" in done.err.splitlines()
    assert done.out.splitlines()[-1].startswith("&&&& FAILED benchlib.tensorrt_python ")
    assert not done.journal


def test_a_build_carries_the_flags_over_and_leaves_plan_and_layers(folder: Path) -> None:
    done = run(
        folder,
        "--onnx=net.onnx",
        "--saveEngine=new.plan",
        "--skipInference",
        "--fp16",
        "--noTF32",
        "--memPoolSize=workspace:64",
        "--builderOptimizationLevel=1",
        "--profilingVerbosity=detailed",
        "--timingCacheFile=cache.bin",
        "--exportLayerInfo=layers.json",
    )
    assert done.status == 0, done.err
    assert (folder / "new.plan").read_bytes() == b"ftrt plan"
    assert json.loads((folder / "layers.json").read_text())["Layers"] == ["convolution", "pooling"]
    assert (folder / "cache.bin").read_bytes() == b"timings"
    for entry in (
        ["plugins"],
        ["network", 1],
        ["config", "avg_timing_iterations", 8],
        ["config", "builder_optimization_level", 1],
        ["config", "profiling_verbosity", "DETAILED"],
        ["pool", "WORKSPACE", 64 * 2**20],
        ["clear", "TF32"],
        ["set", "FP16"],
        ["build", "FLOAT", 1],
    ):
        assert entry in done.journal, entry
    assert not done.calls("launch graph", "enqueue", "range")
    assert done.out.splitlines()[-1].startswith("&&&& PASSED benchlib.tensorrt_python ")


def test_int8_without_calibration_gets_trtexecs_made_up_ranges(folder: Path) -> None:
    done = run(folder, "--onnx=net.onnx", "--int8", "--fp16", "--skipInference")
    assert done.calls("range") == [
        ["range", "input", -2.0, 2.0],
        ["range", "middle", -4.0, 4.0],
        ["range", "side", -4.0, 4.0],
        ["range", "joined", -4.0, 4.0],
        ["range", "output", -2.0, 2.0],
    ]
    assert "[W] INT8 without calibration: 5 ranges were made up" in done.err


@pytest.mark.parametrize(
    ("version", "flag", "message"),
    [
        ("8.6.0", "--bf16", "Unknown option: --bf16"),
        ("8.6.0", "--stronglyTyped", "Unknown option: --stronglyTyped"),
        ("11.1.0", "--fp16", "Unknown option: --fp16"),
        ("8.6.0", "--calib=x", "--calib is not supported by benchlib.tensorrt_python"),
        ("8.6.0", "--best", "--best is not supported by benchlib.tensorrt_python"),
        ("8.6.0", "--inputIOFormats=fp16:chw32", "--inputIOFormats=fp16:chw32 is not supported"),
        ("10.0.1", "--inputIOFormats=bf16:chw", "it has no DataType.BF16"),
        ("8.6.0", "--memPoolSize=workspace:4G", "bare number of MiB"),
        ("8.6.0", "--memPoolSize=tacticSharedMem:4", "it has no MemoryPoolType"),
        ("8.6.0", "--shapes=input:1x3x8x4", "The model is static"),
    ],
)
def test_what_this_version_cannot_do_is_an_error(
    folder: Path, version: str, flag: str, message: str
) -> None:
    done = run(folder, "--onnx=net.onnx", "--skipInference", flag, FAKE_TENSORRT=version)
    assert done.status == 1
    assert message in done.err
    assert not done.calls("build")


@pytest.mark.parametrize(
    ("version", "network", "io_form"),
    [("8.6.0", 1, 1), ("10.13.3", 3, 0xFFFF), ("11.1.0", 1, 0xFFFF)],
)
def test_the_network_is_created_as_each_version_wants_it(
    folder: Path, version: str, network: int, io_form: int
) -> None:
    typed = () if version.startswith("8.") else ("--stronglyTyped",)
    done = run(folder, "--onnx=net.onnx", "--skipInference", *typed, FAKE_TENSORRT=version)
    assert done.status == 0, done.err
    assert ["network", network] in done.journal
    assert ["build", "FLOAT", io_form] in done.journal


def test_a_dynamic_network_gets_trtexecs_profile_and_is_timed_at_the_asked_shape(
    folder: Path,
) -> None:
    shapes = ("--minShapes=input:1x3x4x4", "--maxShapes=input:1x3x16x4")
    done = run(
        folder,
        "--onnx=net.onnx",
        *shapes,
        "--shapes=input:1x3x6x4",
        *SHORT,
        "--exportOutput=o.json",
        FAKE_NETWORK="dynamic",
    )
    assert done.status == 0, done.err
    assert ["profile", "input", [1, 3, 4, 4], [1, 3, 16, 4], [1, 3, 16, 4]] in done.journal
    assert "maxShapes is broadcast" in done.err
    assert "[I] Input input: 1x3x6x4 float32" in done.out
    (output,) = json.loads((folder / "o.json").read_text())
    assert output["dimensions"] == "1x2x6x4"


def test_a_folder_of_inputs_is_answered_in_one_process_in_a_context_that_is_not_timed(
    folder: Path,
) -> None:
    asked = folder / "asked"
    asked.mkdir()
    values = np.random.default_rng(5).random((3, 1, 3, 8, 4), dtype=np.float32)
    for name, one in zip(("b", "a", "c"), values, strict=True):
        one.tofile(asked / f"{name}.raw")
    done = run(folder, "--loadEngine=net.plan", *TRIO, *SHORT, "--answer=asked")
    assert done.status == 0, done.err
    assert "[I] Answered 3 inputs of asked" in done.out
    for name, one in zip(("b", "a", "c"), values, strict=True):
        found = np.load(asked / f"{name}.npy")
        assert found.shape == (1, 2, 8, 4)
        np.testing.assert_array_equal(found.ravel(), 10 * one.ravel()[:64])
    names = [entry[0] for entry in done.journal]
    begin = len(names) - names[::-1].index("context")
    # Each is copied in, run and waited for, and copied out before the next one.
    uploads = ["memcpy", "enqueue", "synchronize stream", "memcpy"]
    assert names[begin:] == ["memcpy", *(uploads * 3)]
    assert not list(asked.glob("*.part"))


def test_inputs_that_cannot_be_answered_are_named(folder: Path) -> None:
    asked = folder / "asked"
    asked.mkdir()
    done = run(folder, "--loadEngine=net.plan", *SHORT, "--answer=asked")
    assert (done.status, "there is no *.raw file in asked" in done.err) == (1, True)
    (asked / "short.raw").write_bytes(bytes(8))
    done = run(folder, "--loadEngine=net.plan", *SHORT, "--answer=asked")
    assert done.status == 1
    assert "short.raw holds 8 bytes where 384 are needed" in done.err


def test_layers_are_profiled_in_a_context_that_is_not_timed(folder: Path) -> None:
    done = run(
        folder,
        "--loadEngine=net.plan",
        *TRIO,
        *SHORT,
        "--exportProfile=p.json",
        "--exportTimes=t.json",
    )
    assert len(done.calls("context")) == 2
    count, *layers = json.loads((folder / "p.json").read_text())
    assert count == {"count": 10}
    assert [(layer["name"], layer["timeMs"], layer["percentage"]) for layer in layers] == [
        ("convolution", 15.0, 75.0),
        ("pooling", 5.0, 25.0),
    ]
    assert exports.read_times(folder / "t.json")


@pytest.mark.parametrize(
    ("argv", "fakes", "message"),
    [
        (("--onnx=bad.onnx",), {}, "[E] Node 7: no such operator"),
        (("--onnx=missing.onnx",), {}, "Could not open file missing.onnx"),
        (("--loadEngine=bad.onnx",), {}, "[E] [TRT] The plan is of another version"),
        (("--loadEngine=missing",), {}, "Error opening engine file missing"),
        (("--loadEngine=net.plan", "--saveEngine=b"), {}, "are incompatible"),
        (("--skipInference",), {}, "Model missing"),
        (("--onnx=net.onnx", "--device=3"), {}, "Cannot find device ID 3!"),
        (
            ("--onnx=net.onnx", "--saveEngine=b"),
            {"FAKE_NETWORK": "unbuildable"},
            "[E] [TRT] Could not find any implementation",
        ),
    ],
)
def test_failures_are_told_and_end_with_status_1(
    folder: Path, argv: tuple[str, ...], fakes: dict[str, str], message: str
) -> None:
    done = run(folder, *argv, **fakes)
    assert done.status == 1
    assert message in done.err
    assert "Traceback" not in done.err
    assert done.out.splitlines()[-1].startswith("&&&& FAILED ")
    assert not (folder / "b").exists()


def test_the_benchmark_compares_stand_in_and_bare_loop(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(FAKES), str(REPOSITORY)))}
    environment.pop("BENCHLIB_TENSORRT_PYTHON", None)
    command = [sys.executable, str(REPOSITORY / "benchmarks/standin_vs_trtexec.py"), "net.plan"]
    options = ["--processes=2", "--duration=0.2", "--trtexec=", "--json=out.json"]
    done = subprocess.run(
        [*command, *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    records = json.loads((folder / "out.json").read_text())
    assert {"stand-in", "bare loop"} <= {record["program"] for record in records}
    for record in records:
        assert record["medians_ms"] == pytest.approx([2.0, 2.0], abs=1e-6)
        assert record["spread"] == pytest.approx(0, abs=1e-6)
    assert "+0.00%" in done.stdout


def test_an_unreadable_module_is_told(tmp_path: Path) -> None:
    done = run(tmp_path, "--module=tensorflow", "--help")
    assert done.status == 1
    assert "--module is one of tensorrt, tensorrt_rtx" in done.err


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="needs the tensorrt-rtx wheel"
)
def test_the_real_rtx_builder_builds_without_a_gpu(tmp_path: Path) -> None:
    onnx.save(three_convolutions(), tmp_path / "net.onnx")
    command = [
        sys.executable,
        "-m",
        "benchlib.trtexec.standin.tensorrt_python",
        "--module=tensorrt_rtx",
    ]
    build = [*command, "--onnx=net.onnx", "--saveEngine=net.plan", "--skipInference"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    plan = (tmp_path / "net.plan").read_bytes()
    assert plan[:4] == b"vtrt"
    assert "Created engine with size: " in done.stdout
    (tmp_path / "net.onnx").write_bytes((tmp_path / "net.onnx").read_bytes()[:300])
    (tmp_path / "net.plan").unlink()
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "[E] Engine set up failed: the ONNX file was not parsed" in done.stderr
    assert not (tmp_path / "net.plan").exists()


def three_convolutions() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    nodes, weights, name, channels = [], [], "input", 3
    for index, width in enumerate((8, 8, 4)):
        values = rng.standard_normal((width, channels, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{index}"))
        output = "output" if index == 2 else f"c{index}"
        nodes.append(helper.make_node("Conv", [name, f"w{index}"], [output], pads=[1] * 4))
        name, channels = output, width
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 4, 32, 32])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
