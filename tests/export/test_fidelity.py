"""How far a graph is from FP32: over all outputs, whatever they hold."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from benchlib.case import GraphForm
from benchlib.export import calibration
from benchlib.export.build import make
from benchlib.export.calibration import Fidelity

IMAGES = [np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 2, 2) * k for k in (1, 2)]


def write(path: Path, text: str, **constants: float) -> Path:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    for name, value in constants.items():
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(model, str(path))
    return path


def compared(folder: Path, outputs: str, body: str, exact: float, coarse: float) -> Fidelity:
    """A network with constant ``c``, once ``exact`` and once ``coarse``."""
    text = f"g (float[1,3,2,2] x) => ({outputs}) {{ {body} }}"
    paths = [
        write(folder / f"{name}.onnx", text, c=value)
        for name, value in (("exact", exact), ("coarse", coarse))
    ]
    return calibration.measure_fidelity(*paths, IMAGES, images=2)


def test_the_worst_of_all_outputs_is_told_and_named(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        "float[1,3,2,2] same, float[1,3,2,2] little, float[1,3,2,2] much",
        "same = Relu(x)  little = Add(x, c)  much = Mul(x, c)",
        exact=2.0,
        coarse=1.0,
    )
    assert [one.name for one in found.outputs] == ["same", "little", "much"]
    assert found.outputs[0].relative_l2 == 0
    assert found.relative_l2 == pytest.approx(0.5)
    assert found.worst is not None
    assert found.worst.name == "much"
    assert 0 < found.outputs[1].relative_l2 < 0.5


def test_what_is_not_finite_is_counted_in_every_output(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        "float[1,3,2,2] good, float[1,3,2,2] bad",
        "good = Relu(x)  bad = Div(x, c)",
        exact=1.0,
        coarse=0.0,
    )
    assert (found.finite, found.fp32_finite) == (False, True)
    assert [one.not_finite for one in found.outputs] == [0, 24]
    assert [one.fp32_not_finite for one in found.outputs] == [0, 0]
    assert found.outputs[1].relative_l2 is None
    assert found.remarks == ("output bad holds 24 values that are NaN or infinite, FP32's 0",)


def test_nan_of_fp32_itself_is_told_where_the_other_has_none(tmp_path: Path) -> None:
    found = compared(tmp_path, "float[1,3,2,2] y", "y = Div(x, c)", exact=0.0, coarse=1.0)
    assert (found.finite, found.fp32_finite) == (True, False)
    assert found.outputs[0].fp32_not_finite == 24


def test_integers_and_truth_values_are_compared_by_their_share(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        "int64[1,3,2,2] at, bool[1,3,2,2] over",
        "m = Mul(x, c)  at = Cast<to = 7>(m)  over = Greater(x, c)",
        exact=0.6,
        coarse=6.0,
    )
    at, over = found.outputs
    assert at.disagreement == pytest.approx(22 / 24)
    assert over.disagreement == pytest.approx(7 / 24)
    assert found.relative_l2 is None
    assert found.least_agreeing is at
    assert found.remarks == ()


def test_shapes_that_depend_on_the_data_are_said_to(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        "int64[4,N] at, float[M] values, float[1,3,2,2] y",
        """o = Greater(x, c)  at = NonZero(o)  all = Constant<value_ints = [-1]> ()
        k = Reshape(o, all)  values = Compress(x, k)  y = Relu(x)""",
        exact=0.0,
        coarse=0.5,
    )
    assert found.relative_l2 == 0
    assert [one.note is None for one in found.outputs] == [False, False, True]
    assert found.remarks[0].startswith(
        "output at cannot be compared with FP32: its shape depends on the data, 4x6 and"
    )


def test_sequences_and_outputs_without_elements_are_said_to_be_none(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        "seq(float[1,3,2,2]) s, float[0] e",
        """s = SequenceConstruct(x, c)  none = Constant<value_ints = [0]> ()
        e = ConstantOfShape(none)""",
        exact=0.0,
        coarse=0.5,
    )
    assert [one.note for one in found.outputs] == ["it is no tensor", "it holds no elements"]
    assert found.finite
    assert found.worst is found.least_agreeing is None


def test_zeros_throughout_are_as_far_off_as_the_output_is_large(tmp_path: Path) -> None:
    found = compared(tmp_path, "float[1,3,2,2] y", "y = Mul(x, c)", exact=1.0, coarse=0.0)
    assert found.relative_l2 == 1
    assert found.cosine is None
    found = compared(tmp_path, "float[1,3,2,2] y", "y = Mul(x, c)", exact=0.0, coarse=1.0)
    assert found.relative_l2 is None
    assert found.remarks == ("output y cannot be compared with FP32: FP32's is zero everywhere",)


def test_facts_go_through_json_and_old_ones_are_read(tmp_path: Path) -> None:
    found = compared(tmp_path, "float[1,3,2,2] y", "y = Mul(x, c)", exact=1.0, coarse=0.9)
    assert Fidelity.from_json(json.loads(json.dumps(asdict(found)))) == found
    old = {"relative_l2": 0.3, "cosine": 0.9, "finite": True, "images": 2}
    assert Fidelity.from_json(old) == Fidelity(0.3, 0.9, True, 2)


NAN = """g (float[1,3,32,32] x) => (float[1,3,32,32] a, float[1,3,32,32] y) {
    a = Relu(x)  y = Mul(x, c) }"""


@pytest.mark.parametrize("value", [1.0, np.nan, np.inf])
def test_fp32_is_looked_at_itself(value: float, tmp_path: Path) -> None:
    path = write(tmp_path / "own.onnx", NAN, c=value)
    graph = make(f"onnx:{path}", GraphForm.FP32, height=32, width=32, cache_dir=tmp_path / "cache")
    assert graph.fidelity is not None
    assert graph.fidelity.relative_l2 is None
    assert graph.fidelity.finite is graph.fidelity.fp32_finite is bool(np.isfinite(value))
    assert bool(graph.fidelity.outputs[1].not_finite) is not np.isfinite(value)
    assert graph.fidelity.outputs[0].not_finite == 0


def test_a_graph_that_onnx_runtime_does_not_run_is_written_with_a_remark(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    g (float[1,3,32,32] x) => (float[1,3,32,32] y) { y = own.Plugin(x) }"""
    path = tmp_path / "plugin.onnx"
    onnx.save(onnx.parser.parse_model(text), str(path))
    graph = make(f"onnx:{path}", GraphForm.FP32, height=32, width=32, cache_dir=tmp_path / "cache")
    assert graph.fidelity is None
    (remark,) = graph.remarks
    assert remark.startswith("ONNX Runtime does not run the graph, so its error is not known (")
    assert remark.endswith("(Fatal error: own:Plugin(-1) is not a registered function/op)")
    assert str(tmp_path) not in remark
