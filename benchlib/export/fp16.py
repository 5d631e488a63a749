"""A graph in FP16: weights, activations and, where the standard allows it, quantisation scales."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from benchlib.export.torch_onnx import Names

LARGEST = float(np.finfo(np.float16).max)
"""65504, the largest number of FP16."""

SMALLEST = float(np.finfo(np.float16).smallest_subnormal)
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

_HALF, _FULL = ir.DataType.FLOAT16, ir.DataType.FLOAT
_TYPE_ATTRIBUTES = ("to", "dtype", "output_datatype", "output_dtype")
_SHAPES = ("Shape", "Size")
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


def to_half(
    model: onnx.ModelProto, *, half_io: bool = False
) -> tuple[onnx.ModelProto, tuple[Loss, ...]]:
    """Return ``model`` with its float32 tensors in FP16, and what its constants lost by it.

    ``model`` is left as it is. Input and output stay float32 behind a Cast each unless
    ``half_io``. The standard decides per operator and slot what can be FP16: Resize's scales,
    and the scales of Q/DQ nodes below opset 19, cannot. Arithmetic on shapes stays in FP32, whose
    products of sizes are soon beyond 65504.
    """
    typed = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(typed)
    halving = _Halving(typed, Names(model.graph))
    halving.rewrite(typed.graph, _HALF if half_io else _FULL)
    return ir.to_proto(typed), tuple(halving.losses)


class _Halving:
    """Rewrites one model in place, node by node in its own order."""

    def __init__(self, model: ir.Model, names: Names) -> None:
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
        kept = schema is None or of_shapes or _is_kept(node)
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
                placed = self._cast(value, name, kind)
            self._placed[value, kind] = placed
        return self._placed[value, kind]

    def _cast(self, value: ir.Value, name: str, kind: ir.DataType) -> ir.Value:
        """``value`` behind a Cast, right after what makes it, so that all its readers see it."""
        placed = ir.val(name, dtype=kind, shape=value.shape)
        attributes, node_name = {"to": kind}, self._names.free(f"{name}_cast")
        cast = ir.node("Cast", [value], attributes, outputs=[placed], name=node_name)
        maker = value.producer()
        if maker is not None:
            maker.graph.insert_after(maker, cast)
        elif len(value.graph):
            value.graph.insert_before(value.graph[0], cast)
        else:
            value.graph.append(cast)
        return placed

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
    beyond = np.isfinite(size) & (size > LARGEST)
    below = (size > 0) & (size < SMALLEST)
    bounded = np.where(beyond, np.copysign(LARGEST, values), values)
    bounded = np.where(below, np.copysign(SMALLEST, values), bounded)
    loss = Loss(name, int(beyond.sum()), int(below.sum()), values.shape)
    return bounded.astype(np.float16), loss


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
