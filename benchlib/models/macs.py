"""What a network costs at a size: parameters, multiply-adds, written elements, bytes.

Counted at batch 1. Multiply-adds are those of convolutions and matrix products; batch norms,
activations, pooling, resizing and biases count nothing, which is the convention of torchvision's
published numbers (it calls them GFLOPS).

A graph's shapes are had from ONNX Runtime, which writes out its basically optimised model at the
fixed size: plain shape inference leaves the shapes of some networks open, and a counter that passes
over them comes out far too low.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx.inliner
import onnxruntime
from google.protobuf.message import DecodeError, EncodeError
from onnxruntime.capi import onnxruntime_pybind11_state

from benchlib.errors import InputError, first_line
from benchlib.models import onnx_file, registry

if TYPE_CHECKING:
    from torch import nn

FP32_BYTES = 4

# Position of the weight among a convolution's inputs.
_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
# Matrix products; the left factor comes first in all of them.
_PRODUCTS = frozenset({"Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"}) | frozenset(
    {"FusedGemm", "FusedMatMul", "MatMulNBits", "MatMulIntegerToFloat"}
    | {"DynamicQuantizeMatMul", "QGemm"}
)
_UNCOUNTED = frozenset({"DeformConv", "GRU", "LSTM", "RNN", "If", "Loop", "Scan"})
_QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_OWN = ("", "ai.onnx")  # the domain of ONNX's own operators
_ATTENTION = "Attention"  # stands in the name of every operator that is one
_NUMBERS = frozenset(
    map(
        onnx.TensorProto.DataType.Value,
        ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8", "FLOAT8E4M3FN", "FLOAT8E5M2"),
    )
)
# The two factors among the inputs of what multiplies and adds. Some quantise their first factor
# themselves; what they compute in is the type of the second.
_FACTORS = {
    **dict.fromkeys(("Conv", "ConvInteger", "ConvTranspose", "DeformConv", "FusedConv"), (0, 1)),
    **dict.fromkeys(_PRODUCTS | {"MatMulIntegerToFloat", "Einsum", "Attention"}, (0, 1)),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), (0, 1)),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm"), (0, 3)),
    **dict.fromkeys(("DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulNBits"), (1, 1)),
}
# Between a dequantiser and the product it serves.
_SEEN_THROUGH = frozenset({"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})
_TYPE_WORDS = {
    onnx.TensorProto.DataType.Value(name): word
    for name, word in (
        *(("FLOAT", "fp32"), ("DOUBLE", "fp64"), ("FLOAT16", "fp16"), ("BFLOAT16", "bf16")),
        *(("FLOAT8E4M3FN", "fp8"), ("FLOAT8E5M2", "fp8"), ("INT4", "int4"), ("UINT4", "int4")),
        *(("INT8", "int8"), ("UINT8", "uint8")),
    )
}
_NARROW_WORDS = frozenset({"int8", "uint8", "fp8", "int4"})
_LOG_FATAL_ONLY = 4  # what ONNX Runtime complains of comes back as an exception as well
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    *(
        kind
        for kind in vars(onnxruntime_pybind11_state).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
    RuntimeError,
    onnx.shape_inference.InferenceError,
    EncodeError,
)
"""What ONNX Runtime raises, whose own classes have no common base, and onnx beside it."""


@dataclass(frozen=True, slots=True)
class Complexity:
    """``params`` in elements, ``gmacs`` in 1e9 multiply-adds, ``mactivations`` in 1e6 elements
    written by convolutions and matrix products, all for one image.

    A count that failed is None and ``reason`` says why; it is never 0.
    """

    params: int | None
    gmacs: float | None
    mactivations: float | None
    reason: str | None = None

    @property
    def size_mb(self) -> float | None:
        """The parameters as float32, in 1e6 bytes."""
        return None if self.params is None else self.params * FP32_BYTES / 1e6


def of(name: str, height: int, width: int) -> Complexity:
    """The cost of a network of the line-up, of ``onnx:PATH`` or of ``timm:NAME``.

    Line-up networks are counted once per process. Raises :class:`InputError` for an unknown name
    or an unusable file; a size that the network cannot take is a failed count.
    """
    card = registry.card(name)
    if card.path is not None:
        return of_onnx(card.path, height, width)
    return _of_built(name, height, width)


def of_onnx(path: Path, height: int, width: int) -> Complexity:
    """The cost of the graph at ``path`` for one 3 x ``height`` x ``width`` image.

    Multiply-adds and activations equal those of the network it was exported from. Parameters are
    the graph's own weights: where the exporter folded batch norms away they are fewer.
    """
    try:
        counts = count_graph(path, height, width)
    except UncountedError as error:
        return Complexity(error.params, None, None, str(error))
    return _complexity(counts.params, counts.macs, counts.written)


@cache
def _of_built(name: str, height: int, width: int) -> Complexity:
    card, network = registry.card(name), _without_values(name)
    try:
        card.check_size(height, width)
    except InputError as error:
        return Complexity(_parameters(network), None, None, error.problem)
    if card.one_size:
        network = card.deploy(network, (height, width))
    return of_network(network, height, width)


@cache
def _without_values(name: str) -> nn.Module:
    """The network as deployed, on the meta device; the random state is left as it was."""
    import torch

    card = registry.card(name)
    with torch.random.fork_rng(devices=[]):
        network = card.build().to("meta").eval()
    return network if card.deploy is None else card.deploy(network, None)


def of_network(network: nn.Module, height: int, width: int) -> Complexity:
    """The cost of a ``network`` on the meta device for one 3 x ``height`` x ``width`` image."""
    from benchlib.models import torch_network

    params = _parameters(network)
    try:
        macs, written = torch_network.count_network(network, height, width)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        # What a foreign network raises for a size it cannot take, or for values it wants to see.
        problem = next(iter(str(error).strip().splitlines()), "")
        return Complexity(params, None, None, f"{type(error).__name__}: {problem}")
    return _complexity(params, macs, written)


def _parameters(network: nn.Module) -> int:
    return sum(tensor.numel() for tensor in network.parameters())


def _complexity(params: int, macs: int, written: int) -> Complexity:
    if macs == 0:
        return Complexity(params, None, None, "no convolution or matrix product was seen")
    return Complexity(params, macs / 1e9, written / 1e6)


# The counts of an ONNX graph, in all or by its nodes.


class UncountedError(Exception):
    """A graph that cannot be counted; ``params`` is known nonetheless, mostly."""

    def __init__(self, problem: str, params: int | None = None) -> None:
        super().__init__(problem)
        self.params = params


@dataclass(frozen=True, slots=True)
class GraphCounts:
    """Of one image: multiply-adds, elements written by what does them, and weights' elements."""

    macs: int
    written: int
    params: int


def count_graph(path: Path, height: int, width: int) -> GraphCounts:
    """Count the graph at ``path`` for one 3 x ``height`` x ``width`` image.

    Raises :class:`UncountedError` when ONNX Runtime refuses the graph at that size, when a shape
    stays unknown, or when there is an operator whose work is not counted here, and
    :class:`InputError` when the file is not a usable graph.
    """
    image = onnx_file.read(path)
    model = onnx_file.load(path)
    params = count_parameters(model)
    if height != (image.height or height) or width != (image.width or width):
        fixed = f"{image.width or '?'}x{image.height or '?'}"
        raise UncountedError(f"the input of {path.name} is fixed at {fixed}", params)
    batch = image.batch or 1
    macs = written = 0
    for one in _counted(path.name, model, image.name, (batch, 3, height, width), params):
        macs += one.macs
        written += one.written
    return GraphCounts(macs // batch, written // batch, params)


def macs_by_node(path: Path, batch: int, height: int, width: int) -> dict[str, int]:
    """Multiply-adds of one batch, by the name of the node that does them.

    Nodes without a name are left out. Raises as :func:`count_graph` does.
    """
    model = onnx.load(path)
    name = onnx_file.read(path).name
    found: dict[str, int] = {}
    for one in _counted(path.name, model, name, (batch, 3, height, width)):
        if one.name:
            found[one.name] = found.get(one.name, 0) + one.macs
    return found


def macs_of_model(model: onnx.ModelProto, name: str, shape: tuple[int, ...]) -> int:
    """Multiply-adds of one inference with the input ``name`` at ``shape``; raises as
    :func:`count_graph` does. ``model`` is left as it is."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return sum(one.macs for one in _counted("the graph", copy, name, shape))


@dataclass(frozen=True, slots=True)
class _Node:
    """A node that multiplies and adds: how often, and how many elements it writes."""

    name: str
    macs: int
    written: int


def _counted(
    file: str, model: onnx.ModelProto, name: str, shape: tuple[int, ...], params: int | None = None
) -> Iterator[_Node]:
    """Every node of ``model`` that multiplies and adds, with its input ``name`` at ``shape``."""
    try:
        graph = _with_shapes(model, name, shape)
    except RUNTIME_ERRORS as error:
        raise UncountedError(
            f"ONNX Runtime refuses {file} at {shape[-1]}x{shape[-2]}: {first_line(error)}", params
        ) from error
    shapes = _shapes(graph)
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1}
    for node in graph.node:
        if not _is_countable(node, weights):
            raise UncountedError(f"{file} has {node.op_type}, which is not counted", params)
        try:
            macs = _macs(node, shapes)
        except KeyError as error:
            raise UncountedError(
                f"the shape of {error.args[0]!r} in {file} stays unknown", params
            ) from error
        if macs is not None:
            yield _Node(node.name, macs, _written(node, shapes))


def _is_countable(node: onnx.NodeProto, weights: Collection[str]) -> bool:
    """Whether it is known here if, and how often, ``node`` multiplies and adds.

    An operator that is not ONNX's own and reads ``weights`` may well do so.
    """
    if node.op_type in _CONVOLUTIONS or node.op_type in _PRODUCTS:
        return True
    if node.op_type in _UNCOUNTED or (_ATTENTION in node.op_type and not _is_attention(node)):
        return False
    if node.op_type == "Einsum":
        return len(node.input) < 3 and "." not in _equation(node)
    return (
        node.domain in _OWN
        or node.op_type in _QUANTISERS
        or all(name not in weights for name in node.input)
    )


def count_parameters(model: onnx.ModelProto) -> int:
    """The elements of the model's weights and biases, in whatever type they are stored.

    Branches, bodies and functions are looked into. Left out are running statistics, scales and
    zero points of quantisers, scalars, and whole numbers that are shapes or indices.
    """
    sizes: list[tuple[str, int, Sequence[int]]] = []
    quantised: set[str] = set()
    others: set[str] = set()
    for graph in onnx_file.parts(model, onnx.GraphProto):
        sizes += [(one.name, one.data_type, one.dims) for one in graph.initializer]
        for sparse in graph.sparse_initializer:
            sizes.append((sparse.values.name, sparse.values.data_type, sparse.dims))
    for node in onnx_file.parts(model, onnx.NodeProto):
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            sizes.append((node.output[0], node.attribute[0].t.data_type, node.attribute[0].t.dims))
        if node.op_type == "DequantizeLinear":
            quantised.add(node.input[0])
        others.update(_not_weights(node))
    return sum(
        math.prod(dims)
        for name, kind, dims in sizes
        if dims and name not in others and (kind in _NUMBERS or name in quantised)
    )


def products_by_type(path: Path) -> dict[str, int]:
    """How many convolutions and matrix products the file has, by the type they compute in there.

    A product between dequantisers of its input and its weights is one of their type. Functions
    of the file are looked into, and so are the branches and bodies of its control flow. Products
    whose type stays unknown are left out, and so are those that no output depends on; a file that
    cannot be looked through gives none.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        onnx_file.drop_unused(model.graph)
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (OSError, DecodeError, ValueError, *RUNTIME_ERRORS):
        return {}
    return dict(Counter(_product_types(graph, {}, {})))


def _product_types(
    graph: onnx.GraphProto, outer: Mapping[str, str], makers: Mapping[str, onnx.NodeProto]
) -> Iterator[str]:
    """The type of each product in ``graph``; ``outer`` and ``makers`` are its surroundings'."""
    types = {**outer, **_tensor_types(graph)}
    makers = {**makers, **{name: node for node in graph.node for name in node.output}}
    for node in graph.node:
        for inner in onnx_file.bodies(node):
            yield from _product_types(inner, types, makers)
        places = _FACTORS.get(node.op_type)
        if places is None or len(node.input) <= max(places):
            continue
        factors = [node.input[place] for place in places]
        stored = [_stored_type(name, types, makers) for name in factors]
        # Weights alone in a narrow type are widened before they are multiplied.
        whole = stored if _NARROW_WORDS.issuperset(stored) else map(types.get, factors)
        found = next(filter(None, whole), None)
        if found is not None:
            yield found


def _tensor_types(graph: onnx.GraphProto) -> dict[str, str]:
    types = {tensor.name: _TYPE_WORDS.get(tensor.data_type) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = _TYPE_WORDS.get(value.type.tensor_type.elem_type)
    return {name: word for name, word in types.items() if word is not None}


def _stored_type(
    name: str, types: Mapping[str, str], makers: Mapping[str, onnx.NodeProto]
) -> str | None:
    """The type of a tensor, or of what it is dequantised from."""
    maker = makers.get(name)
    while maker is not None and maker.op_type in _SEEN_THROUGH:
        name = maker.input[0]
        maker = makers.get(name)
    if maker is not None and maker.op_type == "DequantizeLinear":
        return types.get(maker.input[0])
    return types.get(name)


def _not_weights(node: onnx.NodeProto) -> list[str]:
    """The names of those inputs of ``node`` that hold settings rather than weights."""
    if node.op_type == "BatchNormalization":
        return list(node.input[3:])
    if node.op_type == "QLinearConv":
        return [*node.input[1:3], *node.input[4:8]]
    if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Resize", "Upsample", "Pad", "Clip"):
        return list(node.input[1:])
    return []


def _with_shapes(model: onnx.ModelProto, name: str, shape: tuple[int, ...]) -> onnx.GraphProto:
    """``model``, changed in place, with its input ``name`` at ``shape``: optimised, with shapes."""
    _fix_input(model.graph, name, shape)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = _LOG_FATAL_ONLY
    with tempfile.TemporaryDirectory() as folder:
        fixed, optimised = Path(folder, "fixed.onnx"), Path(folder, "optimised.onnx")
        # A file beside its weights, because one protobuf message cannot hold a large network.
        onnx.save(model, fixed, save_as_external_data=True, location="weights.bin")
        options.optimized_model_filepath = str(optimised)
        onnxruntime.InferenceSession(str(fixed), options, providers=["CPUExecutionProvider"])
        # What is left in the optimised model is plain enough for ONNX's own shape inference.
        plain = onnx.shape_inference.infer_shapes(onnx.load(optimised), data_prop=True)
        if any(node.domain for node in plain.graph.node):
            _add_shapes_of_others(plain, optimised, options)
        return plain.graph


def _add_shapes_of_others(
    model: onnx.ModelProto, path: Path, options: onnxruntime.SessionOptions
) -> None:
    """Add the shapes behind operators that only ONNX Runtime knows, as it infers them."""
    known = _shapes(model.graph)
    unknown = [
        name for node in model.graph.node for name in node.output if name and name not in known
    ]
    tapped = onnx.load(path)
    del tapped.graph.output[:]
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in unknown)
    onnx.save(tapped, path, save_as_external_data=True, location="tapped.bin")
    options.optimized_model_filepath = ""
    opened = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for value in opened.get_outputs():
        if all(isinstance(size, int) for size in value.shape):
            model.graph.value_info.append(
                onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, value.shape)
            )


def _fix_input(graph: onnx.GraphProto, name: str, shape: tuple[int, ...]) -> None:
    value = next(value for value in graph.input if value.name == name)
    for dim, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
        dim.dim_value = size
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    del graph.value_info[:]  # they may speak of other sizes


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor for which each size is known."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if not value.type.tensor_type.HasField("shape"):
            continue
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def _macs(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int | None:
    """Multiply-adds of ``node``, or None if it does none; KeyError names an unknown shape."""
    if node.op_type in _CONVOLUTIONS:
        weight = shapes[node.input[_CONVOLUTIONS[node.op_type]]]
        return math.prod(shapes[node.output[0]]) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type in _PRODUCTS:
        left = shapes[node.input[0]]
        transposed = any(item.name == "transA" and item.i for item in node.attribute)
        inner = left[-2] if transposed else left[-1]
        return math.prod(shapes[node.output[0]]) * inner
    if _is_attention(node):
        # Queries by keys, then the scores by values; keys of before come first.
        factors = shapes[node.input[0]], shapes[node.output[0]]
        return sum(map(math.prod, factors)) * _keys(node, shapes)
    if node.op_type == "Einsum" and len(node.input) == 2:
        given, _, asked = _equation(node).partition("->")
        factors = given.split(",")
        sizes = {
            letter: size
            for name, letters in zip(node.input, factors, strict=True)
            for letter, size in zip(letters, shapes[name], strict=True)
        }
        # What one factor alone has and the result has not is summed up before.
        lone = set.symmetric_difference(*map(set, factors)) - set(asked)
        return math.prod(size for letter, size in sizes.items() if letter not in lone)
    return None


def _is_attention(node: onnx.NodeProto) -> bool:
    """Whether ``node`` is ONNX's own attention: its two products, without those before and behind
    that the operators of ONNX Runtime have in them."""
    return node.op_type == _ATTENTION and node.domain in _OWN


def _keys(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """How many keys each query of an attention meets."""
    before = node.input[4:5]
    return sum(shapes[name][-2] for name in (node.input[1], *filter(None, before)))


def _written(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """The elements that the products of ``node`` write: those of attention, its scores as well."""
    result = math.prod(shapes[node.output[0]])
    if not _is_attention(node):
        return result
    queries = shapes[node.input[0]]
    heads = next((item.i for item in node.attribute if item.name == "q_num_heads"), 1)
    rows = math.prod(queries[:-1]) * (heads if len(queries) == 3 else 1)
    return result + rows * _keys(node, shapes)


def _equation(node: onnx.NodeProto) -> str:
    """An Einsum's equation without spaces, its result written out."""
    (text,) = (
        item.s.decode().replace(" ", "") for item in node.attribute if item.name == "equation"
    )
    if "->" in text:
        return text
    once = sorted(letter for letter in set(text) - {","} if text.count(letter) == 1)
    return f"{text}->{''.join(once)}"
