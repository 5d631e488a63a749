"""The Q/DQ graph: what stands in it, and that it computes what it should."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchlib.export import calibration, qdq


@pytest.fixture
def batches() -> list[np.ndarray]:
    return list(calibration.bundled().batches(1, 192, 256))[:2]


def initialisers(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("stored", [False, True])
def test_parameters_are_as_tensorrt_wants_them(
    tiny: onnx.ModelProto, batches: list[np.ndarray], stored: bool
) -> None:
    model = qdq.quantise(tiny, "input", batches, stored_weights=stored)
    onnx.checker.check_model(model, full_check=True)
    values = initialisers(model)
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            step, zero = (values[name] for name in node.input[1:])
            assert step.dtype == np.float32
            assert (step > 0).all()
            assert zero.dtype == np.int8
            assert not zero.any()
    counts = Counter(node.op_type for node in model.graph.node)
    products = counts["Conv"] + counts["Gemm"]
    assert counts["DequantizeLinear"] - counts["QuantizeLinear"] == (products if stored else 0)
    originals = {node.input[1] for node in tiny.graph.node if node.op_type in ("Conv", "Gemm")}
    assert originals.isdisjoint(values) == stored, "float32 weights stay only behind a Q node"


def test_weights_have_one_scale_per_output_channel(
    tiny: onnx.ModelProto, batches: list[np.ndarray]
) -> None:
    before = {node.name: node for node in tiny.graph.node}
    weights = initialisers(tiny)
    model = qdq.quantise(tiny, "input", batches, stored_weights=True)
    values = initialisers(model)
    writers = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        dequantise = writers[node.input[1]]
        low, step = (values[name] for name in dequantise.input[:2])
        exact = weights[before[node.name].input[1]]
        assert step.shape == (exact.shape[0],)
        restored = low * step.reshape(-1, *[1] * (exact.ndim - 1))
        assert np.abs(restored - exact).max() <= step.max() * 0.51
        peaks = np.abs(low.reshape(len(low), -1).astype(int)).max(axis=1)
        assert (peaks >= 125).all(), "each channel uses its levels"


def test_equal_scales_in_both_precisions() -> None:
    steps = qdq.scale(np.array([0.0, 1e-6, 0.37, 2.0, 900.0]))
    assert (steps.astype(np.float16).astype(np.float32) == steps).all()
    assert (steps * qdq.LEVELS >= np.array([0.0, 1e-6, 0.37, 2.0, 900.0])).all()
    assert steps[0] == np.float32(qdq.SMALLEST_SCALE)


def test_a_dead_channel_does_not_stop_it(tiny: onnx.ModelProto, batches: list[np.ndarray]) -> None:
    for tensor in tiny.graph.initializer:
        if tensor.name == "depthwise.weight":
            tensor.CopyFrom(
                numpy_helper.from_array(np.zeros((8, 1, 3, 3), np.float32), tensor.name)
            )
    model = qdq.quantise(tiny, "input", batches)
    assert (initialisers(model)["depthwise.weight_axis0_scale"] > 0).all()


def test_weights_behind_identity_are_found() -> None:
    """The exporter merges equal tensors behind Identity; such a weight was once passed over."""
    weight = np.ones((2, 3, 1, 1), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["w"], ["v"]),
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(weight)),
            helper.make_node("Conv", ["input", "v"], ["a"]),
            helper.make_node("Conv", ["input", "c"], ["b"]),
            helper.make_node("Mul", ["a", "b"], ["output"]),
        ],
        "merged",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 2, 4, 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    image = np.ones((1, 3, 4, 4), np.float32)
    kinds = Counter(node.op_type for node in qdq.quantise(model, "input", [image]).graph.node)
    assert kinds == {"QuantizeLinear": 3, "DequantizeLinear": 3, "Conv": 2, "Mul": 1}


@pytest.mark.parametrize("stored", [False, True])
def test_products_of_one_weight_have_a_pair_each(stored: bool) -> None:
    """So that TensorRT can fuse each pair into its product: see issue 2719 of NVIDIA/TensorRT."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((3, 3, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "w"], ["a"]),
            helper.make_node("Conv", ["a", "w"], ["b"]),
            helper.make_node("Conv", ["b", "w"], ["output"]),
        ],
        "shared",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, 4, 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    image = rng.standard_normal((1, 3, 4, 4)).astype(np.float32)
    made = qdq.quantise(model, "input", [image], stored_weights=stored)
    onnx.checker.check_model(made, full_check=True)
    readers = Counter(name for node in made.graph.node for name in node.input)
    constants = initialisers(made)
    back = [node for node in made.graph.node if node.op_type == "DequantizeLinear"]
    weights = [node for node in made.graph.node if node.op_type == "Conv"]
    assert len({conv.input[1] for conv in weights}) == 3
    assert all(readers[node.output[0]] == 1 for node in back)
    values = [name for name, value in constants.items() if value.shape == weight.shape]
    assert len(values) == 3 and all(readers[name] == 1 for name in values)
    if not stored:
        assert all((constants[name] == weight).all() for name in values)
    plain, quantised = (
        ort.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
        for one in (model, made)
    )
    outputs = [one.run(None, {"input": image})[0] for one in (plain, quantised)]
    assert np.linalg.norm(outputs[1] - outputs[0]) < 0.05 * np.linalg.norm(outputs[0])


@pytest.mark.parametrize(
    ("kind", "attributes", "axis"),
    [
        ("Conv", {}, 0),
        ("ConvTranspose", {}, 1),
        ("ConvTranspose", {"group": 4}, None),
        ("Gemm", {"transB": 1}, 0),
        ("Gemm", {}, 1),
        ("MatMul", {}, 1),
    ],
)
def test_output_channels_lie_on_axis(kind: str, attributes: dict, axis: int | None) -> None:
    node = helper.make_node(kind, ["x", "w"], ["y"], **attributes)
    assert qdq.channel_axis(node, 2 if kind in ("Gemm", "MatMul") else 4) == axis


def test_range_leaves_outliers_out() -> None:
    values = np.concatenate([np.linspace(-1, 0.1, 100_000), [-50.0]]).astype(np.float32)
    assert calibration.amplitude(values) == pytest.approx(1, rel=1e-3)


def test_ranges_are_the_largest_over_all_batches(tiny: onnx.ModelProto) -> None:
    small = np.full((1, 3, 192, 256), 0.5, np.float32)
    found = calibration.amplitudes(tiny, ["input"], "input", [small, 4 * small, 2 * small])
    assert found == {"input": 2.0}
