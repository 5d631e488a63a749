"""What needs no engine: when to stop, what to feed, which shapes, how lines and files look."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchlib.trtexec import exports, flags
from benchlib.trtexec.flags import Version, version_from_banner
from benchlib.trtexec.standin import onnxruntime_cpu, tensor_io
from benchlib.trtexec.standin.program import Log, LoopBound, Measuring, StandinError, banner_code
from benchlib.trtexec.standin.tensor_io import LayerTimes


def looped(bound: LoopBound, query_ms: float, depth: int) -> list[float]:
    """The starts of all queries when each takes ``query_ms`` and ``depth`` are in flight."""
    starts: list[float] = []
    while bound.more():
        starts.append(0.01 + len(starts) * query_ms)
        bound.passed(starts[-depth] if len(starts) >= depth else None)
    return starts


@given(
    iterations=st.integers(1, 40),
    duration_s=st.sampled_from([0.0, 0.01, 0.05]),
    warm_up_ms=st.sampled_from([0.0, 5.0, 30.0]),
    query_ms=st.sampled_from([0.3, 1.7, 12.0]),
    depth=st.sampled_from([1, 2]),
)
def test_iterations_and_duration_are_both_met_after_the_warm_up(
    iterations: int, duration_s: float, warm_up_ms: float, query_ms: float, depth: int
) -> None:
    bound = LoopBound(Measuring(iterations, duration_s, warm_up_ms))
    starts = looped(bound, query_ms, depth)
    counted = [start for start in starts if start >= warm_up_ms]
    assert len(counted) >= iterations
    assert starts[-1] >= warm_up_ms + 1000 * duration_s
    if duration_s == 0 and warm_up_ms:
        assert len(counted) == max(iterations, depth)


def test_floats_are_those_of_the_minimal_standard_generator() -> None:
    filled = tensor_io.filled_values(np.float32, (100, 100)).ravel()
    modulus = 2**31 - 1
    # The C++ standard demands this number as the ten thousandth of its default-seeded engine.
    for index, state in ((0, 16807), (1, 282475249), (9999, 1043618065)):
        assert filled[index] == pytest.approx(2 * (state - 1) / (modulus - 1) - 1, abs=1e-6)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [(np.float16, -1, 1), (np.int8, -128, 127), (np.int64, -128, 127), (np.uint8, 0, 255)],
)
def test_values_fill_their_range_and_are_the_same_each_time(
    dtype: type, low: int, high: int
) -> None:
    filled = tensor_io.filled_values(dtype, (2, 5000))
    assert filled.dtype == dtype
    assert low <= filled.min() < low + (high - low) / 10
    assert high - (high - low) / 10 < filled.max() <= high
    np.testing.assert_array_equal(filled, tensor_io.filled_values(dtype, (2, 5000), seed=0))
    assert (filled != tensor_io.filled_values(dtype, (2, 5000), seed=7)).mean() > 0.9


def test_booleans_are_either_and_other_types_are_refused() -> None:
    assert set(tensor_io.filled_values(np.bool_, (50,)).tolist()) == {True, False}
    assert tensor_io.filled_values(np.float32, ()).shape == ()
    with pytest.raises(StandinError, match="complex64"):
        tensor_io.filled_values(np.complex64, (2,))


def test_input_files_hold_exactly_the_tensor(tmp_path: Path) -> None:
    path = tmp_path / "in.bin"
    path.write_bytes(np.arange(6, dtype=np.int32).tobytes())
    assert tensor_io.values_from_file(path, np.int32, (2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(StandinError, match="holds 24 bytes where 12 are needed"):
        tensor_io.values_from_file(path, np.float16, (2, 3))
    with pytest.raises(StandinError, match="Cannot open"):
        tensor_io.values_from_file(tmp_path / "none", np.float16, (2, 3))


SMALL, MIDDLE, LARGE = (1, 3, 8, 8), (1, 3, 16, 16), (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"opt": MIDDLE}, (MIDDLE, MIDDLE, MIDDLE, MIDDLE)),
        ({"min": SMALL}, (SMALL, SMALL, SMALL, SMALL)),
        ({"max": LARGE}, (LARGE, LARGE, LARGE, LARGE)),
        ({"min": SMALL, "opt": MIDDLE}, (SMALL, MIDDLE, MIDDLE, MIDDLE)),
        ({"opt": MIDDLE, "max": LARGE}, (MIDDLE, MIDDLE, LARGE, MIDDLE)),
        ({"min": SMALL, "max": LARGE}, (SMALL, LARGE, LARGE, LARGE)),
        ({"timed": MIDDLE}, (MIDDLE, MIDDLE, MIDDLE, MIDDLE)),
        ({"timed": MIDDLE, "min": SMALL, "max": LARGE}, (SMALL, LARGE, LARGE, MIDDLE)),
        ({"min": SMALL, "opt": MIDDLE, "max": LARGE}, (SMALL, MIDDLE, LARGE, MIDDLE)),
    ],
)
def test_missing_shapes_are_filled_in_as_trtexec_does(
    asked: dict[str, tuple[int, ...]], expected: tuple[tuple[int, ...], ...]
) -> None:
    names = {"min": "--minShapes", "opt": "--optShapes", "max": "--maxShapes", "timed": "--shapes"}
    options = {names[key]: {"input": dims} for key, dims in asked.items()}
    err = io.StringIO()
    made = tensor_io.filled_shapes(options, Log(io.StringIO(), err))
    corners = (made.minimum, made.optimum, made.maximum, made.timed)
    assert tuple(corner["input"] for corner in corners) == expected
    complete = len(asked.keys() - {"timed"}) in (0, 3)
    assert bool(err.getvalue()) is not complete


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"--duration": -1.0}, "--duration"),
        ({"--duration": 0.0, "--iterations": 0}, "nothing to measure"),
        ({"--warmUp": -1.0}, "--warmUp"),
        ({"--infStreams": 4}, "--infStreams"),
    ],
)
def test_measuring_without_sense_is_refused(change: dict[str, object], problem: str) -> None:
    options = flags.table(Version(8, 6)).parse([])
    Measuring.read(options)
    with pytest.raises(StandinError, match=problem):
        Measuring.read({**options, **change})


def test_measuring_switches_turned_round_in_11_0() -> None:
    trio = ["--useCudaGraph", "--noDataTransfers", "--useSpinWait"]
    old, new = flags.table(Version(10, 13)), flags.table(Version(11, 1))
    fast = (True, True, False)
    slow = (False, False, True)
    for table, argv, expected in (
        (old, [], slow),
        (old, trio, fast),
        (new, [], fast),
        (new, trio, fast),
        (new, ["--noCudaGraph", "--includeDataTransfers", "--noSpinWait"], slow),
    ):
        read = Measuring.read(table.parse(argv))
        assert (read.cuda_graph, read.spin_wait, read.transfers) == expected, argv


@pytest.mark.parametrize(
    ("version", "code"),
    [(Version(8, 6), "8600"), (Version(10, 0, 1), "100001"), (Version(1, 32, 0), "13200")],
)
def test_banner_codes_read_back(version: Version, code: str) -> None:
    assert banner_code(version) == code
    assert version_from_banner(int(code)) == version


def test_exports_are_valid_json_whatever_the_names(tmp_path: Path) -> None:
    name = 'conv "1"\\2'
    path = tmp_path / "p.json"
    tensor_io.write_text(path, tensor_io.profile_json([LayerTimes(name, (1.0, 3.0, 2.0))], 3))
    count, layer = json.loads(path.read_text())
    assert count == {"count": 3}
    assert (layer["name"], layer["timeMs"], layer["averageMs"]) == (name, 6.0, 2.0)
    assert (layer["medianMs"], layer["percentage"]) == (2.0, 100.0)
    assert exports.read_profile(path)
    tensors = {name: np.array([[1.23456789, np.nan, np.inf]], dtype=np.float32)}
    (output,) = json.loads(tensor_io.output_json(tensors))
    assert (output["name"], output["dimensions"]) == (name, "1x3")
    assert output["values"][0] == 1.23457
    assert np.isnan(output["values"][1])


def test_the_profilers_first_run_is_left_out() -> None:
    def event(name: str, duration: int) -> dict[str, object]:
        details = {"op_name": "Conv", "node_index": "0", "output_type_shape": [{"float16": [1, 2]}]}
        category = "Session" if name == "model_run" else "Node"
        return {"cat": category, "name": name, "dur": duration, "args": details}

    events = [
        event("conv_kernel_time", 900),
        event("model_run", 900),
        event("conv_kernel_time", 10),
        event("model_run", 10),
        event("conv_kernel_time", 20),
        event("model_run", 20),
    ]
    read = onnxruntime_cpu.read_ort_profile(json.dumps(events), ["input", "output"], skip=1)
    assert read.layers == (LayerTimes("conv", (0.01, 0.02)),)
    (node,) = read.layer_information()["Layers"]
    assert node["Outputs"][0]["Format/Datatype"] == "FP16"
