"""The ONNX Runtime stand-in as users run it: a process, its lines, its files, its status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchlib.trtexec import exports
from benchlib.trtexec.standin import onnxruntime_cpu

QUICK = ("--duration=0", "--warmUp=1", "--iterations=12")


@dataclass(frozen=True)
class Finished:
    status: int
    out: str
    err: str


def run(folder: Path, *argv: str) -> Finished:
    command = [sys.executable, "-m", "benchlib.trtexec.standin.onnxruntime_cpu", *argv]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    return Finished(done.returncode, done.stdout, done.stderr)


def model(operator: str = "Relu", height: object = "h") -> onnx.ModelProto:
    """``output = operator(2 * input)`` for an input of 1x3xHx4."""
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["input", "two"], ["doubled"], name="double"),
            helper.make_node(operator, ["doubled"], ["output"], name="last"),
        ],
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, height, 4])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.float32(2), "two")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(model(), path)
    return path


def test_one_command_line_of_trtexec_gives_lines_and_all_four_files(net: Path) -> None:
    folder = net.parent
    done = run(
        folder,
        "--onnx=net.onnx",
        "--shapes=input:1x3x8x4",
        *QUICK,
        "--avgRuns=6",
        "--useCudaGraph",
        "--noDataTransfers",
        "--useSpinWait",
        "--exportTimes=times.json",
        "--exportOutput=output.json",
        "--exportProfile=profile.json",
        "--exportLayerInfo=layers.json",
    )
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("&&&& RUNNING benchlib.onnxruntime_cpu [TensorRT v")
    assert lines[-1].startswith("&&&& PASSED benchlib.onnxruntime_cpu [TensorRT v")
    assert "--useCudaGraph: there is no CUDA graph" in done.out
    assert "--avgRuns: no group averages are printed" in done.out
    assert done.out.count("GPU Compute Time: ") == 1
    assert "[I] GPU Compute Time: min = " in done.out

    times = exports.read_times(folder / "times.json")
    assert len(times) == 12
    assert all(query.compute_ms > 0 for query in times)
    assert times[0].start_compute_ms >= 1

    (output,) = json.loads((folder / "output.json").read_text())
    assert (output["name"], output["dimensions"]) == ("output", "1x3x8x4")
    assert len(output["values"]) == 96
    assert max(output["values"]) > 0

    count, *profiled = json.loads((folder / "profile.json").read_text())
    assert count == {"count": 12}
    assert sum(layer["percentage"] for layer in profiled) == pytest.approx(100, abs=0.1)
    layers = json.loads((folder / "layers.json").read_text())
    assert layers["Bindings"] == ["input", "output"]
    assert {"Mul", "Relu"} == {layer["LayerType"] for layer in layers["Layers"]}
    assert layers["Layers"][0]["Outputs"][0]["Format/Datatype"] == "FP32"


def test_inputs_from_a_file_reach_the_network_and_raw_outputs_leave_it(net: Path) -> None:
    folder = net.parent
    values = np.arange(24, dtype=np.float32).reshape(1, 3, 2, 4) - 3
    (folder / "in.bin").write_bytes(values.tobytes())
    done = run(
        folder,
        "--onnx=net.onnx",
        "--shapes=input:1x3x2x4",
        "--loadInputs=input:in.bin",
        "--dumpRawBindingsToFile",
        *QUICK,
    )
    assert done.status == 0, done.err
    raw = np.fromfile(folder / "output_output.1.3.2.4.float32.raw", dtype=np.float32)
    np.testing.assert_array_equal(raw, np.maximum(2 * values, 0).ravel())


def test_both_duration_and_iterations_must_be_met(net: Path) -> None:
    done = run(
        net.parent,
        "--onnx=net.onnx",
        "--shapes=input:1x3x2x4",
        "--duration=0.2",
        "--warmUp=20",
        "--iterations=1",
        "--exportTimes=times.json",
    )
    assert done.status == 0, done.err
    times = exports.read_times(net.parent / "times.json")
    assert times[0].start_compute_ms >= 20
    assert times[-1].start_compute_ms >= 220


def test_the_same_inputs_are_made_in_every_process_unless_the_seed_differs(net: Path) -> None:
    outputs = []
    for seed in ("0", "0", "5"):
        run(
            net.parent,
            "--onnx=net.onnx",
            "--shapes=input:1x3x2x4",
            *QUICK,
            f"--seed={seed}",
            "--exportOutput=o.json",
        )
        outputs.append(json.loads((net.parent / "o.json").read_text()))
    assert outputs[0] == outputs[1] != outputs[2]


@pytest.mark.parametrize("flag", ["--fp16", "--cudaGraphs", "--useSpinLock=1"])
def test_an_unknown_flag_is_answered_as_trtexec_answers(tmp_path: Path, flag: str) -> None:
    done = run(tmp_path, "--onnx=net.onnx", flag)
    name, _, value = flag.partition("=")
    assert done.status == 1
    assert done.err.rstrip("\n").endswith(f"[E] Unknown option: {name} {value}")
    assert "--exportTimes=<path>" in done.out
    assert done.out.splitlines()[-1].startswith("&&&& FAILED benchlib.onnxruntime_cpu ")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--onnx=cut.onnx",), "Engine set up failed"),
        (("--onnx=odd.onnx",), "the graph is not supported"),
        (("--onnx=missing.onnx",), "Could not open file missing.onnx"),
        ((*QUICK,), "Model missing"),
        (("--onnx=net.onnx", "--saveEngine=net.plan"), "--saveEngine is not supported"),
        (("--onnx=net.onnx", "--shapes=image:1x3x2x4"), "Cannot find input tensor"),
        (("--onnx=net.onnx", "--shapes=input:1x4x2x4"), "does not fit input"),
        (("--onnx=net.onnx", "--loadInputs=input:net.onnx"), "bytes where"),
        (("--onnx=net.onnx", "--duration=0", "--iterations=0"), "nothing to measure"),
        (("--onnx=net.onnx", "--provider=Nowhere"), "--provider Nowhere is not in this"),
        (("--onnx=net.onnx", "--infStreams=2"), "--infStreams must be 1"),
        (("--onnx=net.onnx", *QUICK, "--exportTimes=no/t.json"), "Cannot write no/t.json"),
    ],
)
def test_what_cannot_be_done_is_an_error_line_and_status_1(
    net: Path, argv: tuple[str, ...], message: str
) -> None:
    (net.parent / "cut.onnx").write_bytes(net.read_bytes()[:60])
    onnx.save(model("NoSuchOperator"), net.parent / "odd.onnx")
    done = run(net.parent, *argv)
    assert done.status == 1
    assert "[E] " in done.err
    assert message in done.err
    assert "Traceback" not in done.err
    assert done.out.splitlines()[-1].startswith("&&&& FAILED ")


def test_help_ends_well_without_a_second_banner(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.status == 0
    assert "--threads=<int>" in done.out
    assert done.out.count("&&&&") == 1


def test_a_static_model_is_timed_at_its_own_shape_and_a_dynamic_one_warns(tmp_path: Path) -> None:
    onnx.save(model(height=5), tmp_path / "static.onnx")
    done = run(tmp_path, "--onnx=static.onnx", *QUICK)
    assert "[I] Input input: 1x3x5x4 float32" in done.out
    onnx.save(model(), tmp_path / "dynamic.onnx")
    done = run(tmp_path, "--onnx=dynamic.onnx", *QUICK)
    assert done.status == 0
    assert "[W] Dynamic dimensions of input become 1" in done.err


def test_every_flag_that_is_served_or_explained_exists() -> None:
    program = onnxruntime_cpu.program()
    assert program.known <= program.table.flags.keys()


def test_physical_cores_are_at_most_the_ones_allowed() -> None:
    assert onnxruntime_cpu.physical_cores() in range(1, (os.cpu_count() or 1) + 1)
