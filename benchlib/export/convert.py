"""From the FP32 graph to every other form: FP16, INT8 for ONNX Runtime's kernels and by ModelOpt.

INT8 for ONNX Runtime's CPU kernels is another graph than TensorRT's: activations are uint8 and
asymmetric, biases int32 and every operator that can be is quantised. TensorRT refuses that form,
and ONNX Runtime runs TensorRT's form slower than FP32.

NVIDIA ModelOpt is a second quantiser for TensorRT, to be timed against ours. It pins its own
versions of onnx and ONNX Runtime, so it runs in an interpreter of its own.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from benchlib import process
from benchlib.case import TYPED_SCALES_OPSET, GraphForm, Int8Method
from benchlib.errors import InputError, first_line
from benchlib.export import calibration, qdq, torch_onnx
from benchlib.export.qdq import Census
from benchlib.models import onnx_file
from benchlib.models.macs import RUNTIME_ERRORS

# A graph in FP16: weights, activations and, where the standard allows it, quantisation scales.


LARGEST_HALF = float(np.finfo(np.float16).max)
"""65504, the largest number of FP16."""

SMALLEST_HALF = float(np.finfo(np.float16).smallest_subnormal)
"""2**-24, about 6e-8: the smallest positive number of FP16."""

TELLING_SHARE = 0.01
"""Share of a constant's values that are too small for FP16, from which on it is worth a sentence.
Trained and random weights hold a few such values in a million, which change nothing; a constant
that loses a hundredth of its values, or an epsilon that is its only one, may change the output."""

_KEPT = frozenset(
    {
        *("NonMaxSuppression", "TopK", "RoiAlign", "Range", "CumSum", "Min", "Max"),
        *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli"),
    }
)
"""Operators that stay in FP32 though the standard allows FP16: ONNX Runtime's own list of those
that its kernels do not take in FP16, without Resize, and all that are random."""

_INNER_LIMITS = {"ReduceL2": math.sqrt(LARGEST_HALF), "ReduceLogSumExp": math.log(LARGEST_HALF)}
"""Largest output of operators that TensorRT's parser takes apart, with a larger sum inside: of
squares, of exponentials."""

_HALF, _FULL = ir.DataType.FLOAT16, ir.DataType.FLOAT
_TYPE_ATTRIBUTES = ("to", "dtype", "output_datatype", "output_dtype")
_SHAPES = ("Shape", "Size")
_PAIR = ("QuantizeLinear", "DequantizeLinear")
_ANY_TYPE = ("Cast", *_SHAPES)


@dataclass(frozen=True, slots=True)
class Loss:
    """Values of a constant that FP16 does not hold.

    ``clamped`` were beyond 65504 and became it, ``raised`` were too small and became the
    smallest positive number of FP16, both with their sign; ``shape`` is the constant's.
    """

    tensor: str
    clamped: int
    raised: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of the constant's values."""
        return math.prod(self.shape)

    @property
    def matters(self) -> bool:
        """Whether the loss can be expected to show; tiny biases, which are vectors, never do."""
        too_small = len(self.shape) != 1 and self.raised >= TELLING_SHARE * self.size
        return self.clamped > 0 or (self.raised > 0 and too_small)

    def __str__(self) -> str:
        parts = [f"{self.clamped} beyond 65504 (clamped)"] if self.clamped else []
        parts += [f"{self.raised} below 6e-8 (raised to it)"] if self.raised else []
        return f"{self.tensor}: of {self.size} values {' and '.join(parts)}"


def beyond_half(
    model: onnx.ModelProto,
    input_name: str,
    batches: Iterable[NDArray[np.float32]],
    growth: float = 1,
) -> frozenset[str]:
    """The float32 tensors of ``model`` that hold numbers beyond FP16's on one of ``batches``.

    With ``growth`` those that would if their numbers were so many times as large.
    Their ends are found inside the graph, so that no more activations are held than in any
    inference. Infinity and NaN count for nothing, since FP16 has them too. Not seen are the bodies
    of control flow, and, as nothing of it is, a network that ONNX Runtime does not run.
    """
    tapped = onnx.shape_inference.infer_shapes(_inlined(model))
    graph, names = tapped.graph, torch_onnx.Names(tapped.graph)
    makers = {name: node.op_type for node in graph.node for name in node.output if name}
    found = [
        value.name
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and value.name in makers
    ]
    ends = []
    for tensor, kind in itertools.product(found, ("ReduceMin", "ReduceMax")):
        ends.append(names.free(f"{tensor}_end"))
        graph.node.append(onnx.helper.make_node(kind, [tensor], ends[-1:], keepdims=0))
        graph.output.append(onnx.ValueInfoProto(name=ends[-1]))
    largest = np.zeros(len(found))
    try:
        opened = calibration.graph_session(tapped.SerializeToString())
        for batch in batches if found else ():
            sizes = np.abs(opened.run(ends, {input_name: batch})).reshape(-1, 2)
            sizes[~np.isfinite(sizes)] = 0
            largest = np.maximum(largest, sizes.max(axis=1))
    except RUNTIME_ERRORS:
        return frozenset()
    limits = [_INNER_LIMITS.get(makers[name], LARGEST_HALF) for name in found]
    return frozenset(itertools.compress(found, growth * largest > limits))


def to_half(
    model: onnx.ModelProto, *, half_io: bool = False, beyond: Collection[str] = ()
) -> tuple[onnx.ModelProto, tuple[Loss, ...], tuple[str, ...]]:
    """Return ``model`` with its float32 tensors in FP16, what its constants lost by it, and the
    nodes in FP32 for the sake of ``beyond``.

    ``model`` is left as it is. What makes or takes one of the tensors ``beyond`` stays in FP32, see
    :func:`beyond_half`. Input and output stay float32 behind a Cast each unless
    ``half_io``. The standard decides per operator and slot what can be FP16: Resize's scales,
    and the scales of Q/DQ nodes below opset 19, cannot. Arithmetic on shapes stays in FP32, whose
    products of sizes are soon beyond 65504.
    """
    typed = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(typed)
    names = torch_onnx.Names(model.graph)
    wide = _wide(typed, beyond, names)
    left = tuple(node.name or node.outputs[0].name for node in wide if not _is_int8(node))
    halving = _Halving(typed, names, wide)
    halving.rewrite(typed.graph, _HALF if half_io else _FULL)
    return ir.to_proto(typed), tuple(halving.losses), left


def _wide(model: ir.Model, beyond: Collection[str], taken: torch_onnx.Names) -> dict[ir.Node, None]:
    """The nodes of ``model`` that make or take one of the tensors ``beyond``.

    A Q/DQ pair hands on what it takes. In front of a product that stays in FP32 the pair's end is
    in FP32 as well: with a Cast between the two TensorRT would not compute the product in INT8.
    """
    names, found = set(beyond), {}
    nodes = tuple(ir.traversal.RecursiveGraphIterator(model.graph)) if names else ()
    for node in nodes:
        if not names.isdisjoint(one.name for one in (*node.inputs, *node.outputs) if one):
            found[node] = None
            if node.op_type in _PAIR:
                names.add(node.outputs[0].name)
    for node in nodes:
        readers = set(node.outputs[0].consumers()) if node.op_type == _PAIR[1] else set()
        wide = found.keys() & readers
        if wide and node not in found:
            found[node if wide == readers else _twin(node, wide, taken)] = None
    return found


def _twin(node: ir.Node, readers: Collection[ir.Node], taken: torch_onnx.Names) -> ir.Node:
    """Another node like ``node``, which has one output, behind it and read by ``readers``."""
    old = node.outputs[0]
    new = ir.val(taken.free(f"{old.name}_wide"), dtype=old.dtype, shape=old.shape)
    name = taken.free(f"{node.name}_wide")
    twin = ir.node(node.op_type, node.inputs, node.attributes, outputs=[new], name=name)
    node.graph.insert_after(node, twin)
    for reader in readers:
        for slot, value in enumerate(reader.inputs):
            if value is old:
                reader.replace_input_with(slot, new)
    return twin


def _is_int8(node: ir.Node) -> bool:
    """Whether a node is of a Q/DQ pair, or a product between such, whatever the wider type."""
    makers = [value.producer() for value in node.inputs[:2] if value is not None]
    between = len(makers) > 1 and all(one is not None and one.op_type in _PAIR for one in makers)
    return between or node.op_type in _PAIR


class _Halving:
    """Rewrites one model in place, node by node in its own order."""

    def __init__(self, model: ir.Model, names: torch_onnx.Names, wide: Collection[ir.Node]) -> None:
        self._wide = wide
        self.losses: list[Loss] = []
        self._opsets = model.opset_imports
        self._names = names
        self._kinds: dict[ir.Value, ir.DataType] = {}
        """The precision that each float32 tensor, but for constants, has now."""
        self._constants: dict[ir.Value, ir.Graph] = {}
        """The graph that holds each float32 constant."""
        self._of_shapes: set[ir.Value] = set()
        self._placed: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def rewrite(self, graph: ir.Graph, output_kind: ir.DataType) -> None:
        """Halve ``graph``, whose inputs and outputs become ``output_kind``."""
        for value in graph.inputs:
            if value.dtype == _FULL:
                self._set_kind(value, output_kind)
                if value.const_value is not None and output_kind == _HALF:
                    value.const_value = self._half_tensor(value.name, value.const_value.numpy())
        own = [one for one in graph.initializers.values() if one.dtype == _FULL]
        self._constants |= {one: graph for one in own if not one.is_graph_input()}
        for node in tuple(graph):
            self._rewrite_node(node)
        for index, value in enumerate(graph.outputs):
            if value in self._kinds or value in self._constants:
                placed = self._place(value, output_kind)
                if placed is not value:
                    graph.outputs[index] = placed
                    if value.graph is graph:
                        name, value.name = value.name, self._names.free(f"{value.name}_inner")
                        placed.name = name
        for value in own:
            if not (value.uses() or value.is_graph_output() or value.is_graph_input()):
                del graph.initializers[value.name]
                half = self._placed.get((value, _HALF))
                if half is not None and not half.is_graph_output():
                    half.name = value.name

    def _rewrite_node(self, node: ir.Node) -> None:
        domain = "" if node.domain == "ai.onnx" else node.domain  # two names for the standard's own
        version = self._opsets.get(node.domain, self._opsets.get(domain, 0))
        known = onnx.defs.has(node.op_type, version, domain)
        schema = onnx.defs.get_schema(node.op_type, version, domain) if known else None
        self._complete_types(node, schema)
        of_shapes = self._is_of_shapes(node)
        kept = schema is None or of_shapes or node in self._wide or _is_kept(node)
        for slot, value in enumerate(node.inputs):
            if value in self._kinds or value in self._constants:
                half = not kept and _takes_half(schema.inputs, slot)
                if node.op_type in _ANY_TYPE:  # the one that is there
                    half = self._kinds.get(value, _HALF) == _HALF
                node.replace_input_with(slot, self._place(value, _HALF if half else _FULL))
        for body in _bodies(node):
            if kept:
                self._widen_reads(body)
            else:
                self.rewrite(body, _HALF)
        for slot, value in enumerate(node.outputs):
            if of_shapes:
                self._of_shapes.add(value)
            if value.dtype == _FULL:
                half = not kept and _takes_half(schema.outputs, slot)
                self._set_kind(value, _HALF if half else _FULL)
                if half:
                    self._make_half(node)

    def _complete_types(self, node: ir.Node, schema: onnx.defs.OpSchema | None) -> None:
        """Type what shape inference left open: behind an operator it does not know, all is open.

        Such an operator is taken to make what it takes; of the others the schema has which slots
        agree.
        """
        known: dict[str, ir.DataType] = {}
        for slot, value in enumerate(node.inputs):
            if value is not None and value.dtype is not None:
                kind = _FULL if value in self._kinds else value.dtype
                known.setdefault(_type_of(schema and schema.inputs, slot), kind)
        for slot, value in enumerate(node.outputs):
            kind = known.get(_type_of(schema and schema.outputs, slot))
            if value.name and value.type is None and kind is not None:
                value.dtype = kind

    def _widen_reads(self, body: ir.Graph) -> None:
        """Let all of a body that stays in FP32 read the float32 tensors around it as such."""
        for node in ir.traversal.RecursiveGraphIterator(body):
            for slot, value in enumerate(node.inputs):
                if value in self._kinds or value in self._constants:
                    node.replace_input_with(slot, self._place(value, _FULL))
        for index, value in enumerate(body.outputs):
            if value in self._kinds or value in self._constants:
                body.outputs[index] = self._place(value, _FULL)

    def _set_kind(self, value: ir.Value, kind: ir.DataType) -> None:
        self._kinds[value] = value.dtype = kind

    def _place(self, value: ir.Value, kind: ir.DataType) -> ir.Value:
        """``value`` in precision ``kind``, made where it is not there yet."""
        if self._kinds.get(value, _FULL) == kind:
            return value
        if (value, kind) not in self._placed:
            name = self._names.free(f"{value.name}_{'half' if kind == _HALF else 'float32'}")
            if value in self._constants:
                tensor = self._half_tensor(value.name, value.const_value.numpy())
                placed = ir.val(name, dtype=kind, shape=value.shape, const_value=tensor)
                self._constants[value].register_initializer(placed)
            else:
                placed = _cast(value, name, kind, self._names)
            self._placed[value, kind] = placed
        return self._placed[value, kind]

    def _half_tensor(self, name: str, numbers: NDArray[np.float32]) -> ir.Tensor:
        halves, loss = halved(name, numbers)
        if loss.clamped or loss.raised:
            self.losses.append(loss)
        return ir.tensor(halves)

    def _make_half(self, node: ir.Node) -> None:
        """Turn the attributes that name or hold the output's type."""
        for name in _TYPE_ATTRIBUTES:
            if name in node.attributes and node.attributes[name].value == _FULL:
                node.attributes[name] = ir.AttrInt64(name, _HALF)
        if node.op_type in ("Constant", "ConstantOfShape"):
            tensor = ir.convenience.get_const_tensor(node.outputs[0])
            if node.op_type == "ConstantOfShape":
                tensor = node.attributes["value"].value if node.attributes else None
            numbers = np.zeros(1, np.float32) if tensor is None else tensor.numpy()
            halves = self._half_tensor(node.outputs[0].name, numbers.astype(np.float32))
            node.attributes.clear()
            node.attributes["value"] = ir.AttrTensor("value", halves)

    def _is_of_shapes(self, node: ir.Node) -> bool:
        """Whether a node computes with nothing but sizes and constants."""
        if node.op_type in _SHAPES:
            return True
        inputs = {value for value in node.inputs if value is not None}
        return (
            node.op_type != "ConstantOfShape"
            and bool(inputs & self._of_shapes)
            and all(value.is_initializer() for value in inputs - self._of_shapes)
            and not any(_bodies(node))
        )


def halved(name: str, values: NDArray[np.float32]) -> tuple[NDArray[np.float16], Loss]:
    """``values`` in FP16, and how many of them it cannot hold; NaN and infinity stay."""
    size = np.abs(values)
    beyond = np.isfinite(size) & (size > LARGEST_HALF)
    below = (size > 0) & (size < SMALLEST_HALF)
    bounded = np.where(beyond, np.copysign(LARGEST_HALF, values), values)
    bounded = np.where(below, np.copysign(SMALLEST_HALF, values), bounded)
    loss = Loss(name, int(beyond.sum()), int(below.sum()), values.shape)
    return bounded.astype(np.float16), loss


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an FP16 graph as one in FP32 that rounds to FP16 wherever the given one does.

    ONNX Runtime's kernels on the CPU take FP32. It puts Casts around them and takes those that
    meet out again, so that nothing is rounded on the way, and nothing overflows. Casts that stand
    in the graph already it leaves.
    """
    typed = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    names = torch_onnx.Names(model.graph)
    for graph in tuple(typed.graphs()):
        nodes = tuple(graph)
        for value in graph.initializers.values():
            if value.dtype == _HALF:
                value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32))
                value.dtype = _FULL
        for value in graph.inputs:
            if value.dtype == _HALF:
                _round(value, names)
        for node in nodes:
            if any(value.dtype == _HALF for value in node.outputs):
                _widen_attributes(node)
            for value in node.outputs:
                if value.dtype == _HALF:
                    _round(value, names)
    return ir.to_proto(typed)


def _round(value: ir.Value, names: torch_onnx.Names) -> None:
    """Make ``value`` FP32, and let all that reads it read it through two Casts."""
    value.dtype, name = _FULL, value.name
    if value.producer() is not None:  # an input keeps its name
        value.name = names.free(f"{name}_exact")
    else:
        name = names.free(f"{name}_input")
    rounded = _cast(value, names.free(f"{name}_rounded"), _HALF, names)
    last = _cast(rounded, name, _FULL, names)
    ir.convenience.replace_all_uses_with(value, last, replace_graph_outputs=True)
    rounded.producer().replace_input_with(0, value)


def _cast(value: ir.Value, name: str, kind: ir.DataType, names: torch_onnx.Names) -> ir.Value:
    """``value`` behind a Cast, right after what makes it, so that all its readers see it."""
    placed, node_name = ir.val(name, dtype=kind, shape=value.shape), names.free(f"{name}_cast")
    cast = ir.node("Cast", [value], {"to": kind}, outputs=[placed], name=node_name)
    maker = value.producer()
    if maker is not None:
        maker.graph.insert_after(maker, cast)
    elif len(value.graph):
        value.graph.insert_before(value.graph[0], cast)
    else:
        value.graph.append(cast)
    return placed


def _widen_attributes(node: ir.Node) -> None:
    """Turn the attributes that name or hold the output's type FP16."""
    for name, entry in tuple(node.attributes.items()):
        if name in _TYPE_ATTRIBUTES and entry.value == _HALF:
            node.attributes[name] = ir.AttrInt64(name, _FULL)
        elif entry.type == ir.AttributeType.TENSOR and entry.value.dtype == _HALF:
            whole = ir.tensor(entry.value.numpy().astype(np.float32))
            node.attributes[name] = ir.AttrTensor(name, whole)


def _bodies(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs inside a node: branches of If, bodies of Loop and Scan."""
    for entry in node.attributes.values():
        if entry.type == ir.AttributeType.GRAPH:
            yield entry.as_graph()
        elif entry.type == ir.AttributeType.GRAPHS:
            yield from entry.as_graphs()


def _takes_half(slots: Sequence[onnx.defs.OpSchema.FormalParameter], slot: int) -> bool:
    """Whether the standard allows FP16 there; the last slot may stand for several."""
    return "tensor(float16)" in slots[min(slot, len(slots) - 1)].types


def _type_of(slots: Sequence[onnx.defs.OpSchema.FormalParameter] | None, slot: int) -> str:
    return slots[min(slot, len(slots) - 1)].type_str if slots else "any"


def _is_kept(node: ir.Node) -> bool:
    """Whether all of a node stays in FP32: named so, or it takes or makes sequences."""
    values = (*node.inputs, *node.outputs)
    types = [value.type for value in values if value is not None and value.type is not None]
    return node.op_type in _KEPT or not all(isinstance(one, ir.TensorType) for one in types)


# INT8 by other quantisers than ours.


_SUFFIXES = (
    *("_scale", "_zero_point", "_quantized", "_ReduceMin", "_ReduceMax"),
    *("_QuantizeLinear_Input", "_QuantizeLinear_Output", "_DequantizeLinear_Output"),
)
"""What ONNX Runtime's quantiser puts behind a tensor's name, without a look at who has it."""

_GIVES_UP_WITH = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What it raises itself for a network that it cannot quantise."""


class _Batches(CalibrationDataReader):
    """Hands ONNX Runtime one batch at a time, so that one batch's activations are held."""

    def __init__(self, name: str, batches: Iterable[NDArray[np.float32]]) -> None:
        self._name = name
        self._batches = iter(batches)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


def quantise_for_cpu(
    model: onnx.ModelProto, target: Path, input_name: str, batches: Iterable[NDArray[np.float32]]
) -> None:
    """Write the FP32 graph ``model``, which is changed, as INT8 to ``target``.

    Ranges come from ``batches`` and are minimum to maximum: the other methods of ONNX Runtime
    keep the activations of all images in memory.
    """
    has_bodies = any(True for node in model.graph.node for _ in onnx_file.bodies(node))
    torch_onnx.fold(model, qdq.weights(model.graph))
    _apply_beta(model.graph)
    _make_way(model.graph)
    try:
        with _quiet():
            quantize_static(
                model,
                target,
                _Batches(input_name, batches),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                # It leaves Relu out where a Q node clamps as well, and forgets that a branch may
                # read the Relu's output from before that node.
                extra_options={"QDQKeepRemovableActivations": has_bodies},
            )
    except (*_GIVES_UP_WITH, *RUNTIME_ERRORS) as error:
        raise InputError(
            "int8_method",
            f"ONNX Runtime's quantiser gave the network up ({first_line(error)}); "
            "NaN in the weights is one cause; take fp32",
        ) from error


def _apply_beta(graph: onnx.GraphProto) -> None:
    """Multiply each Gemm's constant bias by its beta: ONNX Runtime's quantiser divides by it."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = torch_onnx.Names(graph)
    for node in graph.node:
        beta = next((entry for entry in node.attribute if entry.name == "beta"), None)
        bias = constants.get(node.input[2]) if len(node.input) > 2 else None
        if node.op_type != "Gemm" or beta is None or bias is None:
            continue
        values = numpy_helper.to_array(bias)
        node.input[2] = names.free(f"{bias.name}_times_beta")
        graph.initializer.append(
            numpy_helper.from_array((values * beta.f).astype(values.dtype), node.input[2])
        )
        node.attribute.remove(beta)


def _make_way(graph: onnx.GraphProto) -> None:
    """Rename the inner tensors whose names the quantiser gives to its own."""
    names = torch_onnx.Names(graph)
    fixed = {value.name for value in (*graph.input, *graph.output)}
    aliases = {
        name: names.free(f"{name}_")
        for name in torch_onnx.names(graph) - fixed
        if name.endswith(_SUFFIXES)
    }
    torch_onnx.rename(graph, aliases)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back its advice to pre-process: the exporter has folded what that would fold."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


MODELOPT_VARIABLE = "BENCHLIB_MODELOPT_PYTHON"
"""Environment variable that names the interpreter which has ModelOpt."""

MODELOPT_LIMIT_S = 1800
_MODELOPT_TAIL = 400  # characters of its output that a message shows
_MODELOPT_INSTALL = (
    "python -m venv modelopt-env && modelopt-env/bin/pip install 'nvidia-modelopt[onnx]' && "
    f"export {MODELOPT_VARIABLE}=$PWD/modelopt-env/bin/python"
)


def modelopt_interpreter() -> str:
    """The Python that has ModelOpt; raises :class:`InputError` with how to get one."""
    named = os.environ.get(MODELOPT_VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise InputError(
                MODELOPT_VARIABLE, f"{named} is not a program; name a Python that has ModelOpt"
            )
        return named
    if find_spec("modelopt") is not None:
        return sys.executable
    raise InputError("int8_method", f"ModelOpt is not installed; get it with: {_MODELOPT_INSTALL}")


def quantise_by_modelopt(
    source: Path, input_name: str, batches: Iterable[NDArray[np.float32]]
) -> onnx.ModelProto:
    """Return the FP32 graph ``source`` with ModelOpt's Q/DQ nodes, the rest in FP32.

    Its output is at opset 19 or later, whatever ``source`` is at. Raises :class:`InputError`
    when ModelOpt is missing or fails.
    """
    python = modelopt_interpreter()
    with tempfile.TemporaryDirectory(prefix="benchlib-modelopt-") as folder:
        images, target = Path(folder, "images.npz"), Path(folder, "quantised.onnx")
        np.savez(images, **{input_name: np.concatenate(list(batches))})
        _run_modelopt(modelopt_command(python, source, target, images), Path(folder, "log"))
        if not target.is_file():
            raise InputError("int8_method", "ModelOpt ended well but wrote no graph; try qdq")
        return onnx.load(str(target))


def modelopt_command(python: str, source: Path, target: Path, images: Path) -> list[str]:
    """The command line that quantises ``source``."""
    return [
        *(python, "-m", "modelopt.onnx.quantization"),
        f"--onnx_path={source}",
        f"--output_path={target}",
        "--quantize_mode=int8",
        "--high_precision_dtype=fp32",
        "--calibration_method=entropy",
        f"--calibration_data={images}",
        "--calibration_eps=cpu",
    ]


def _run_modelopt(arguments: list[str], log: Path) -> None:
    ended = process.run(arguments, log=log, time_limit_s=MODELOPT_LIMIT_S)
    if ended.timed_out:
        raise InputError("int8_method", f"ModelOpt took more than {MODELOPT_LIMIT_S} s; try qdq")
    if ended.code:
        output = log.read_text(encoding="utf-8", errors="replace").strip()[-_MODELOPT_TAIL:]
        raise InputError(
            "int8_method", f"ModelOpt failed ({output}); try qdq, or look at {MODELOPT_VARIABLE}"
        )


METHODS: dict[GraphForm, tuple[Int8Method, ...]] = {
    GraphForm.INT8_QDQ: (Int8Method.QDQ, Int8Method.QDQ_NO_DEPTHWISE, Int8Method.MODELOPT),
    GraphForm.INT8_QDQ_FP16: (Int8Method.QDQ, Int8Method.QDQ_NO_DEPTHWISE, Int8Method.MODELOPT),
    GraphForm.INT8_CPU: (Int8Method.ORT_STATIC,),
}
"""The quantisers that make each INT8 form; the first is taken unless another is asked for."""

BEYOND = "for values beyond FP16's 65504 on the calibration images"

_NAMED = 3  # products or tensors that a sentence names; the graph's facts have them all


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a conversion could not do: products not in INT8, constants beyond FP16, and what stays
    in FP32: nodes around values beyond FP16 and of other domains than the standard's."""

    census: Census | None = None
    losses: tuple[Loss, ...] = ()
    wide: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """All that is not in the precision asked for, with the reason."""
        products = self.census.left_out if self.census is not None else ()
        return (*map(str, products), *(f"{node}: {BEYOND}" for node in self.wide))

    @property
    def remarks(self) -> tuple[str, ...]:
        """A sentence for each thing that whoever reads the graph's time should know."""
        sentences = []
        if self.census is not None:
            unwilling = [str(one) for one in self.census.left_out if not one.on_purpose]
            if unwilling:
                count, others = self.census.quantised, self.census.left_out
                meant = len(others) - len(unwilling)
                besides = f" (besides {meant} on purpose)" if meant else ""
                sentences.append(
                    f"{count} of {count + len(others)} products are INT8; "
                    f"left out{besides}: {_some(unwilling)}"
                )
        if lost := [str(loss) for loss in self.losses if loss.matters]:
            sentences.append(f"FP16 does not hold all constants: {_some(lost)}")
        if self.wide:
            what = "node stays" if len(self.wide) == 1 else "nodes stay"
            sentences.append(f"{BEYOND}, {len(self.wide)} {what} in FP32: {_some(list(self.wide))}")
        if self.foreign:
            sentences.append(f"not ONNX's own and so left in FP32: {_some(list(self.foreign))}")
        return tuple(sentences)


def _some(what: list[str]) -> str:
    more = len(what) - _NAMED
    return "; ".join(what[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def convert(
    source: Path,
    target: Path,
    form: GraphForm,
    *,
    input_name: str,
    batches: Iterable[NDArray[np.float32]] = (),
    calibration_graph: Path | None = None,
    method: Int8Method | None = None,
    half_io: bool = False,
    beyond: Collection[str] = (),
) -> Outcome:
    """Write the FP32 graph ``source`` in another ``form`` to ``target`` and check it.

    ``batches`` (N x 3 x H x W) set the ranges of the INT8 forms; ours are seen on the FP32 graph
    ``calibration_graph`` where one is given, see :func:`benchlib.export.qdq.quantise`. ``method``
    is one of ``METHODS[form]``, ``beyond`` as :func:`to_half` takes it. Raises :class:`InputError`
    when an INT8 form would hold no INT8 product, and :class:`onnx.checker.ValidationError` when the
    result breaks the standard.
    """
    model = _inlined(onnx.load(str(source)))
    census, losses, wide, foreign = None, (), (), ()
    if form is GraphForm.FP16:
        nodes = onnx_file.parts(model, onnx.NodeProto)
        foreign = tuple(node.name or node.op_type for node in nodes if node.domain)
    if form is GraphForm.INT8_CPU:
        quantise_for_cpu(model, target, input_name, batches)
        census = _census(onnx.load(str(target)), form)
    else:
        if method is Int8Method.MODELOPT:
            model = quantise_by_modelopt(source, input_name, batches)
        elif form.is_int8:
            model = qdq.quantise(
                model,
                input_name,
                batches,
                calibration_graph=None
                if calibration_graph is None
                else _inlined(onnx.load(str(calibration_graph))),
                grouped=method is not Int8Method.QDQ_NO_DEPTHWISE,
                stored_weights=form is GraphForm.INT8_QDQ_FP16,
            )
        if form.is_int8:
            census = _census(model, form)
        if form is GraphForm.INT8_QDQ_FP16:
            model = _at_typed_scales(model)
        if form.has_half:
            model, losses, wide = to_half(model, half_io=half_io, beyond=beyond)
        onnx.save(model, str(target))
    try:
        onnx.checker.check_model(str(target), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InputError(
            "form",
            f"the network does not become a valid graph as {form} "
            f"({first_line(error)}); take fp32, or export it at opset 17 in float32",
        ) from error
    return Outcome(census, losses, wide, foreign)


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` without functions of its own: what stands in them would be passed over."""
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _census(model: onnx.ModelProto, form: GraphForm) -> Census:
    """Count the INT8 products; a graph that has none is not INT8 and must not be called so."""
    census = qdq.census(model.graph)
    if census.quantised:
        return census
    why = _some([str(one) for one in census.left_out]) or "it has no convolution or matrix product"
    raise InputError(
        "form",
        f"nothing of this network would be INT8 as {form} ({why}); take fp16, or export it with "
        "its weights as constants",
    )


def _at_typed_scales(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` at an opset that allows FP16 scales; ModelOpt's is there already."""
    if onnx_file.opset(model) >= TYPED_SCALES_OPSET:
        return model
    return onnx.version_converter.convert_version(model, TYPED_SCALES_OPSET)
