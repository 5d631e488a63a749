"""INT8 by explicit Q/DQ nodes, in the form TensorRT takes: symmetric, weights per channel."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from benchlib.graphs import placement, ranges, surgery
from benchlib.graphs.surgery import Names

LEVELS = 127
"""Largest INT8 magnitude in use; -128 is left out so that zero stays in the middle."""

SMALLEST_SCALE = 2.0**-22
"""About 2.4e-7, for tensors that are zero throughout: TensorRT takes positive scales only, and
FP16 holds this one."""


def quantise(
    model: onnx.ModelProto,
    input_name: str,
    batches: Iterable[NDArray[np.float32]],
    *,
    witness: onnx.ModelProto | None = None,
    grouped: bool = True,
    stored_weights: bool = False,
    percentile: float = ranges.PERCENTILE,
) -> onnx.ModelProto:
    """Return ``model`` with Q/DQ pairs, scales in float32; ``model`` is left as it is.

    ``batches`` run through ``witness`` where there is one: the same network at a smaller size,
    whose tensors have the same names. ``grouped``: see
    :func:`benchlib.graphs.placement.place`. ``stored_weights`` keeps INT8 weights behind a
    DequantizeLinear; otherwise they stay float32 behind both nodes, which is what TensorRT 8.6
    is documented to read.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    surgery.lift_constants(result.graph)
    surgery.fold(result, placement.weights(result.graph))
    where = placement.place(result.graph, grouped=grouped)
    found = ranges.amplitudes(witness or result, where.tensors, input_name, batches, percentile)
    scales = {name: scale(np.array(found[name])) for name in where.tensors}
    _insert(result.graph, where, scales, stored_weights=stored_weights)
    return result


def scale(amplitude: NDArray[np.floating]) -> NDArray[np.float32]:
    """The step that spreads ``amplitude`` over ``LEVELS``, rounded up to an FP16 value.

    So the FP32 graph and the FP16 one made from it hold the same INT8 numbers. A step that FP16
    does not reach stays as it is.
    """
    exact = np.maximum(amplitude / LEVELS, SMALLEST_SCALE)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float16)
        up = np.nextafter(rounded, np.float16(np.inf))
    steps = np.where(rounded.astype(exact.dtype) < exact, up, rounded).astype(np.float32)
    return np.where(np.isfinite(steps), steps, exact).astype(np.float32)


def _insert(
    graph: onnx.GraphProto,
    where: placement.Placement,
    scales: dict[str, NDArray[np.float32]],
    *,
    stored_weights: bool,
) -> None:
    names = Names(graph)
    pairs = {name: _activation_pair(graph, names, name, scales[name]) for name in where.tensors}
    for edge in where.edges:
        graph.node[edge.node].input[edge.slot] = pairs[edge.tensor][1].output[0]
    nodes = _quantise_weights(graph, names, where.products, stored=stored_weights)
    produced = {name for node in graph.node for name in node.output}
    nodes += [node for name, pair in pairs.items() if name not in produced for node in pair]
    for node in graph.node:
        nodes.append(node)
        for name in node.output:
            nodes += pairs.get(name, ())
    surgery.replace_nodes(graph, nodes)
    surgery.drop_unused(graph)


def _activation_pair(
    graph: onnx.GraphProto, names: Names, name: str, step: NDArray[np.float32]
) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    parameters = _parameters(graph, names, name, step)
    low, back = names.free(f"{name}_quantised"), names.free(f"{name}_dequantised")
    return (
        _node("QuantizeLinear", names, [name, *parameters], low),
        _node("DequantizeLinear", names, [low, *parameters], back),
    )


def _quantise_weights(
    graph: onnx.GraphProto, names: Names, products: tuple[int, ...], *, stored: bool
) -> list[onnx.NodeProto]:
    """Put DQ, or Q and DQ, in front of the products' weights; return those nodes."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    done: dict[tuple[str, int | None], str] = {}
    nodes = []
    for index in products:
        product = graph.node[index]
        name, values = product.input[1], numpy_helper.to_array(constants[product.input[1]])
        axis = channel_axis(product, values.ndim)
        if (name, axis) not in done:
            made = _weight_nodes(graph, names, name, values, axis, stored=stored)
            nodes += made
            done[name, axis] = made[-1].output[0]
        product.input[1] = done[name, axis]
    return nodes


def channel_axis(product: onnx.NodeProto, rank: int) -> int | None:
    """The axis of the weights that counts output channels.

    None for a grouped ConvTranspose, where no axis does: its weights get one scale.
    """
    if product.op_type == "Conv":
        return 0
    if product.op_type == "ConvTranspose":
        return 1 if placement.groups(product) == 1 else None
    if product.op_type == "Gemm":
        return 0 if any(entry.name == "transB" and entry.i for entry in product.attribute) else 1
    return rank - 1


def _weight_nodes(
    graph: onnx.GraphProto,
    names: Names,
    name: str,
    values: NDArray[np.float32],
    axis: int | None,
    *,
    stored: bool,
) -> list[onnx.NodeProto]:
    others = tuple(place for place in range(values.ndim) if place != axis)
    step = scale(np.abs(values).max(axis=others))
    label = name if axis is None else f"{name}_axis{axis}"
    parameters = _parameters(graph, names, label, step)
    along = {} if axis is None else {"axis": axis}
    low, back = names.free(f"{label}_quantised"), names.free(f"{label}_dequantised")
    nodes = [_node("DequantizeLinear", names, [low, *parameters], back, **along)]
    if not stored:
        return [_node("QuantizeLinear", names, [name, *parameters], low, **along), *nodes]
    shape = [-1 if place == axis else 1 for place in range(values.ndim)]
    levels = np.clip(np.rint(values / step.reshape(shape)), -LEVELS, LEVELS).astype(np.int8)
    graph.initializer.append(numpy_helper.from_array(levels, low))
    return nodes


def _parameters(
    graph: onnx.GraphProto, names: Names, name: str, step: NDArray[np.float32]
) -> tuple[str, str]:
    """Add scale and zero point (always zero) as initialisers and return their names."""
    zero = np.zeros(step.shape, np.int8)
    made = names.free(f"{name}_scale"), names.free(f"{name}_zero")
    for label, value in zip(made, (step, zero), strict=True):
        graph.initializer.append(numpy_helper.from_array(value, label))
    return made


def _node(
    kind: str, names: Names, inputs: list[str], output: str, **attributes: int
) -> onnx.NodeProto:
    name = names.free(f"{output}_node")
    return helper.make_node(kind, inputs, [output], name=name, **attributes)
