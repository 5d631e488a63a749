"""INT8 by explicit Q/DQ nodes in the form TensorRT takes: where the pairs go, and the rewrite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchlib.export import calibration, torch_onnx
from benchlib.export.torch_onnx import Names
from benchlib.models import onnx_file

# Where Q/DQ pairs go, as TensorRT wants them.
#
# A pair stands in front of every convolution and matrix product that is quantised, and in front of
# the shortcut of a residual Add. None stands on a convolution's way to its activation or Add, where
# it would keep the two from being fused. Resize, Concat, pooling, hard-swish and the gate of a
# squeeze-excite block get none of their own: TensorRT moves a pair across those that only
# move or select values, and the others hold little arithmetic. Biases are never quantised.
#
# LayerNorm, GELU, Softmax and a global response norm have no INT8 form: they stay in FP16 (FP32
# where the graph has no FP16), and the pair stands behind them, at the product that reads them.
# The two products of an attention stay there with them, see ATTENTION. Residual streams of
# transformer blocks get no pair: no convolution swallows their Add. Depth-wise convolutions of any
# kernel size and squeeze-excite gates are quantised or not as the method says, so that both can be
# timed.


_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_WEIGHT = 1  # the slot of the weights in each of them
_INTEGER_PRODUCTS = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
_OTHER_PRODUCTS = (
    *("Einsum", "DeformConv", "LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention"),
    *("FusedConv", "FusedGemm", "FusedMatMul"),
)
_GLOBAL_POOLS = ("GlobalAveragePool", "GlobalMaxPool")
_GROWING = ("Resize", "Upsample", "Expand", "Tile", "ConvTranspose")


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """The input ``slot`` of the node at index ``node``, reading ``tensor``."""

    node: int
    slot: int
    tensor: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Nodes (by index) whose weights are quantised, and the edges that get a Q/DQ pair."""

    products: tuple[int, ...]
    edges: tuple[Edge, ...]

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors whose ranges are needed, in the order they are read."""
        return tuple(dict.fromkeys(edge.tensor for edge in self.edges))


BY_METHOD = "the method leaves it out"
WIDENING = "depth-wise and making several channels of each: TensorRT 8.6 has no INT8 kernel for it"
ATTENTION = "both its factors are computed, as in attention"
"""Why a product may be left out on purpose; all other reasons lie in the graph.

TensorRT fuses an attention in INT8 up to 512 tokens only; with Q/DQ around a longer one it falls
apart into three kernels, slower than the fused FP16 one (NVIDIA/TensorRT issues 3714 and 4167).
640 x 480 pixels in patches of 16 are 1200 tokens. ModelOpt leaves the same ones out."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A product that is not computed in INT8, and why."""

    node: str
    why: str

    @property
    def on_purpose(self) -> bool:
        return self.why in (BY_METHOD, WIDENING, ATTENTION)

    def __str__(self) -> str:
        return f"{self.node}: {self.why}"


@dataclass(frozen=True, slots=True)
class Census:
    """How many convolutions and matrix products of a graph are INT8, and which are not."""

    quantised: int
    left_out: tuple[LeftOut, ...]


class _Wiring:
    """Who writes and who reads each tensor of a graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes = graph.node
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = {value.name for value in graph.output}
        self.producer = {name: i for i, node in enumerate(graph.node) for name in node.output}
        self.readers: dict[str, int] = {}
        for node in graph.node:
            for name in torch_onnx.reads(node):
                self.readers[name] = self.readers.get(name, 0) + 1

    def is_private(self, tensor: str) -> bool:
        """Whether one node alone reads ``tensor``."""
        return self.readers.get(tensor) == 1 and tensor not in self.outputs

    def is_dequantised(self, tensor: str) -> bool:
        """Whether a Q/DQ pair stands there already."""
        index = self.producer.get(tensor)
        return index is not None and self.nodes[index].op_type == "DequantizeLinear"


def place(graph: onnx.GraphProto, *, grouped: bool = True) -> Placement:
    """Choose the edges of ``graph``, whose weights must be initialisers.

    Depth-wise convolutions that make several channels of each are always left out. With
    ``grouped`` false, all grouped (depth-wise) convolutions are, and those that work on a
    globally pooled map, as in squeeze-excite blocks. TensorRT 8.6.0 runs those in FP32 where FP16
    is allowed; casting them to FP16 in the graph hardly changes that (tried on an H100: 12 of 14
    in Fast-SCNN and all 17 in MNASNet stay in FP32).
    """
    wiring = _Wiring(graph)
    left_out = _widening(graph)
    if not grouped:
        left_out |= _grouped(graph) | _on_pooled_maps(wiring)
    chosen = [
        index
        for index, node in enumerate(graph.node)
        if node.op_type in _PRODUCTS and _obstacle(wiring, node) is None and index not in left_out
    ]
    edges = [Edge(index, 0, graph.node[index].input[0]) for index in chosen]
    edges += _shortcuts(wiring, frozenset(chosen))
    return Placement(
        tuple(i for i in chosen if not wiring.is_dequantised(graph.node[i].input[_WEIGHT])),
        tuple(sorted(edge for edge in edges if not wiring.is_dequantised(edge.tensor))),
    )


def weights(graph: onnx.GraphProto) -> Iterator[str]:
    """The tensors that products take as weights or biases, or would if they were constants."""
    for node in graph.node:
        if node.op_type in _PRODUCTS:
            yield from node.input


def census(graph: onnx.GraphProto) -> Census:
    """Count the products of a finished graph, whoever quantised it."""
    quantised, left_out = _count(graph, None)
    return Census(quantised, tuple(left_out))


def _count(graph: onnx.GraphProto, around: onnx.NodeProto | None) -> tuple[int, list[LeftOut]]:
    wiring, widening = _Wiring(graph), _widening(graph)
    quantised, left_out = 0, []
    for index, node in enumerate(graph.node):
        for body in onnx_file.bodies(node):
            more, others = _count(body, node)
            quantised += more
            left_out += others
        name = node.name or node.output[0]
        if node.op_type in _INTEGER_PRODUCTS:
            quantised += 1
        elif node.op_type in _OTHER_PRODUCTS:
            left_out.append(LeftOut(name, f"{node.op_type} is not quantised here"))
        elif node.op_type in _PRODUCTS:
            if all(wiring.is_dequantised(tensor) for tensor in node.input[:2]):
                quantised += 1
            elif around is not None:
                left_out.append(LeftOut(name, f"it stands in the body of {around.op_type}"))
            else:
                usual = WIDENING if index in widening else BY_METHOD
                left_out.append(LeftOut(name, _obstacle(wiring, node) or usual))
    return quantised, left_out


def _obstacle(wiring: _Wiring, node: onnx.NodeProto) -> str | None:
    """What in the graph keeps a product from being quantised; None when nothing does."""
    data, weight = node.input[0], node.input[_WEIGHT]
    if data in wiring.constants:
        return "its constant is on the left" if weight not in wiring.constants else "it is constant"
    if wiring.is_dequantised(weight):
        return None
    if weight not in wiring.constants:
        return ATTENTION if node.op_type == "MatMul" else "its weights are computed while it runs"
    tensor = wiring.constants[weight]
    if tensor.data_type != TensorProto.FLOAT:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name
        return f"its weights are {kind}, not float32"
    if len(tensor.dims) < 2:
        return "its weights are a vector"
    if 0 in tensor.dims:
        return "its weights hold no elements"
    if not np.isfinite(numpy_helper.to_array(tensor)).all():
        return "its weights hold NaN or infinity"
    return None


def _grouped(graph: onnx.GraphProto) -> set[int]:
    return {
        index
        for index, node in enumerate(graph.node)
        if node.op_type in ("Conv", "ConvTranspose") and groups(node) > 1
    }


def _widening(graph: onnx.GraphProto) -> set[int]:
    """Depth-wise convolutions that make several channels of each, as BiSeNetV2's do.

    TensorRT 8.6.0 has no INT8 kernel for them (seen on an H100) and gives the whole engine up.
    """
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    found = set()
    for index in _grouped(graph):
        node = graph.node[index]
        first, second = (*shapes.get(node.input[_WEIGHT], ()), 1, 1)[:2]
        inward, outward = second, first // groups(node)
        if node.op_type == "ConvTranspose":
            inward, outward = first // groups(node), second
        if inward == 1 and outward > 1:
            found.add(index)
    return found


def groups(node: onnx.NodeProto) -> int:
    """The number of groups of a convolution, 1 unless it says otherwise."""
    return next((entry.i for entry in node.attribute if entry.name == "group"), 1)


def _on_pooled_maps(wiring: _Wiring) -> set[int]:
    """Convolutions whose input is one value per channel, followed from the pooling on."""
    pooled: set[str] = set()
    found = set()
    for index, node in enumerate(wiring.nodes):
        data = [name for name in node.input if name and name not in wiring.constants]
        if node.op_type in _GLOBAL_POOLS or _averages_map(node):
            pooled.update(node.output)
        elif data and all(name in pooled for name in data) and node.op_type not in _GROWING:
            pooled.update(node.output)
            if node.op_type == "Conv":
                found.add(index)
    return found


def _averages_map(node: onnx.NodeProto) -> bool:
    """Whether the node is a mean over height and width written as ReduceMean."""
    axes = next((list(entry.ints) for entry in node.attribute if entry.name == "axes"), [])
    return node.op_type == "ReduceMean" and sorted(axis % 4 for axis in axes) == [2, 3]


def _shortcuts(wiring: _Wiring, products: frozenset[int]) -> list[Edge]:
    """One input of every residual Add: the one that is not the fused convolution's."""
    edges = []
    for index, node in enumerate(wiring.nodes):
        if node.op_type != "Add" or any(name in wiring.constants for name in node.input):
            continue
        fused = [
            wiring.is_private(name) and wiring.producer.get(name) in products for name in node.input
        ]
        if all(fused):
            slot = min((0, 1), key=lambda slot: _depth(wiring, node.input[slot]))
        elif any(fused):
            slot = fused.index(False)
        else:
            continue
        edges.append(Edge(index, slot, node.input[slot]))
    return edges


def _depth(wiring: _Wiring, tensor: str) -> int:
    """Convolutions on the way back from ``tensor`` to the last Add: the shortcut has fewer."""
    depth = 0
    while (index := wiring.producer.get(tensor)) is not None:
        node = wiring.nodes[index]
        if node.op_type == "Add" or not node.input:
            break
        depth += node.op_type == "Conv"
        tensor = node.input[0]
    return depth


# INT8 by explicit Q/DQ nodes, in the form TensorRT takes: symmetric, weights per channel.


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
    calibration_graph: onnx.ModelProto | None = None,
    grouped: bool = True,
    stored_weights: bool = False,
) -> onnx.ModelProto:
    """Return ``model`` with Q/DQ pairs, scales in float32; ``model`` is left as it is.

    ``batches`` run through ``calibration_graph`` where there is one: the same network at a smaller
    size, whose tensors have the same names. ``grouped``: see :func:`benchlib.export.qdq.place`.
    ``stored_weights`` keeps INT8 weights behind a DequantizeLinear; otherwise they stay float32
    behind both nodes, which is what TensorRT 8.6 is documented to read.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    torch_onnx.lift_constants(result)
    torch_onnx.fold(result, weights(result.graph))
    where = place(result.graph, grouped=grouped)
    found = calibration.amplitudes(calibration_graph or result, where.tensors, input_name, batches)
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
    where: Placement,
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
    onnx_file.replace_nodes(graph, nodes)
    onnx_file.drop_unused(graph)


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
    """Put DQ, or Q and DQ, in front of the products' weights; return those nodes.

    Products of one weight have a copy and nodes each, as ModelOpt makes them
    (``duplicate_shared_constants``): TensorRT fuses a weight's nodes into the one product behind
    them. Of the networks tried with 8.6.0 RepViT alone had such weights (its zero ones, which the
    exporter merges), and it alone failed in that fusing, as NVIDIA/TensorRT issue 2719 tells it.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    taken: set[str] = set()
    nodes = []
    for index in products:
        product = graph.node[index]
        name, values = product.input[1], numpy_helper.to_array(constants[product.input[1]])
        if name in taken:
            copy = graph.initializer.add()
            copy.CopyFrom(constants[name])
            name = copy.name = names.free(name)
        taken.add(name)
        axis = channel_axis(product, values.ndim)
        made = _weight_nodes(graph, names, name, values, axis, stored=stored)
        nodes += made
        product.input[1] = made[-1].output[0]
    return nodes


def channel_axis(product: onnx.NodeProto, rank: int) -> int | None:
    """The axis of the weights that counts output channels.

    None for a grouped ConvTranspose, where no axis does: its weights get one scale.
    """
    if product.op_type == "Conv":
        return 0
    if product.op_type == "ConvTranspose":
        return 1 if groups(product) == 1 else None
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
