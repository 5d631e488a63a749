"""A graph in FP16: weights, activations and, where the standard allows it, quantisation scales."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchlib.export import torch_onnx
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

_HALF, _FULL = TensorProto.FLOAT16, TensorProto.FLOAT
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
        told = [f"{self.clamped} beyond 65504 (clamped)"] if self.clamped else []
        told += [f"{self.raised} below 6e-8 (raised to it)"] if self.raised else []
        return f"{self.tensor}: of {self.size} values {' and '.join(told)}"


def to_half(
    model: onnx.ModelProto, *, half_io: bool = False
) -> tuple[onnx.ModelProto, tuple[Loss, ...]]:
    """Return ``model`` with its float32 tensors in FP16, and what its constants lost by it.

    ``model`` is left as it is. Input and output stay float32 behind a Cast each unless
    ``half_io``. The standard decides per operator and slot what can be FP16: Resize's scales,
    and the scales of Q/DQ nodes below opset 19, cannot. Arithmetic on shapes stays in FP32, whose
    products of sizes are soon beyond 65504.
    """
    typed = onnx.shape_inference.infer_shapes(model)
    return typed, _Halving(typed).run(half_io=half_io)


class _Scope:
    """The tensors of one graph, by their names before the rewrite, seen through to those around.

    ``places`` has the name that a tensor goes by in each precision, as far as it is there in it;
    ``outputs`` the precision in which each output of this graph has to keep its name.
    """

    def __init__(self, graph: onnx.GraphProto, outer: _Scope | None, output_type: int) -> None:
        values = (*graph.input, *graph.output, *graph.value_info)
        tensors = [value for value in values if value.type.HasField("tensor_type")]
        types = {value.name: value.type.tensor_type.elem_type for value in tensors}
        types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.types: ChainMap[str, int] = _over(outer and outer.types, types)
        self.others: ChainMap[str, None] = _over(
            outer and outer.others, dict.fromkeys(value.name for value in values if value.name)
        )
        for name in types:
            self.others.maps[0].pop(name, None)
        for value in graph.value_info:
            if value.type.WhichOneof("value") is None:
                self.others.maps[0].pop(value.name, None)
        self.fixed: ChainMap[str, None] = _over(
            outer and outer.fixed, dict.fromkeys(tensor.name for tensor in graph.initializer)
        )
        self.of_shapes: ChainMap[str, None] = _over(outer and outer.of_shapes, {})
        self.constants: ChainMap[str, tuple[_Scope, NDArray[np.float32]]] = _over(
            outer and outer.constants, {}
        )
        self.places: dict[int, ChainMap[str, str]] = {
            kind: _over(outer and outer.places[kind], {}) for kind in (_HALF, _FULL)
        }
        self.outputs = {value.name: output_type for value in graph.output}

    def is_float(self, name: str) -> bool:
        return self.types.get(name) == _FULL


def _over(outer: ChainMap | None, own: dict) -> ChainMap:
    return ChainMap(own, *(outer.maps if outer is not None else ()))


class _Halving:
    """Rewrites one model in place, node by node in its own order."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._names = Names(model.graph)
        self._opsets = {_domain(entry.domain): entry.version for entry in model.opset_import}
        self._losses: list[Loss] = []

    def run(self, *, half_io: bool) -> tuple[Loss, ...]:
        self._rewrite(_Scope(self._graph, None, _HALF if half_io else _FULL))
        return tuple(self._losses)

    def _rewrite(self, scope: _Scope) -> None:
        for value in scope.graph.input:
            self._enter_input(scope, value)
        self._enter_constants(scope)
        for node in scope.graph.node:
            if node.output[0] not in scope.constants.maps[0]:
                copy = onnx.NodeProto()
                copy.CopyFrom(node)
                self._rewrite_node(scope, copy)
        for value in scope.graph.output:
            if scope.is_float(value.name):
                kind = scope.outputs[value.name]
                # Another name only where a branch hands on a tensor from outside.
                value.name = self._place(scope, value.name, kind)
                value.type.tensor_type.elem_type = kind
        for value in scope.graph.value_info:
            if scope.is_float(value.name) and scope.places[_HALF].get(value.name) == value.name:
                value.type.tensor_type.elem_type = _HALF
        torch_onnx.replace_nodes(scope.graph, scope.nodes)

    def _enter_input(self, scope: _Scope, value: onnx.ValueInfoProto) -> None:
        """An input has the outputs' precision: float32 outside, FP16 where all is."""
        if not scope.is_float(value.name):
            return
        kind = next(iter(scope.outputs.values()), _HALF)
        value.type.tensor_type.elem_type = kind
        scope.places[kind][value.name] = value.name

    def _enter_constants(self, scope: _Scope) -> None:
        """Take the float32 constants out; they come back in the precisions they are read in."""
        graph = scope.graph
        values = {tensor.name: tensor for tensor in graph.initializer}
        found = {
            name: numpy_helper.to_array(tensor)
            for name, tensor in values.items()
            if tensor.data_type == _FULL
        }
        for node in graph.node:
            value = torch_onnx.constant_value(node)
            if value is None:
                continue
            scope.fixed[node.output[0]] = None
            if value.dtype == np.float32:
                scope.types[node.output[0]] = _FULL
                found[node.output[0]] = value
        kept = [tensor for name, tensor in values.items() if name not in found]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        inputs = {value.name for value in graph.input}
        for name, value in found.items():
            scope.constants[name] = (scope, value)
            if name in inputs:  # a default: it has the input's name and precision
                kind = next(kind for kind, names in scope.places.items() if name in names)
                self._store(scope, name, name, kind)
            elif name in scope.outputs:
                self._store(scope, name, name, scope.outputs[name])

    def _rewrite_node(self, scope: _Scope, node: onnx.NodeProto) -> None:
        schema = self._schema(node)
        _complete_types(scope, node, schema)
        of_shapes = _is_of_shapes(scope, node)
        kept = schema is None or of_shapes or _is_kept(scope, node)
        for slot, name in enumerate(node.input):
            if not scope.is_float(name):
                continue
            half = not kept and _takes_half(schema.inputs, slot)
            if node.op_type in _ANY_TYPE:  # the one that is there
                half = name in scope.places[_HALF] or name in scope.constants
            node.input[slot] = self._place(scope, name, _HALF if half else _FULL)
        for body in torch_onnx.bodies(node):
            if kept:
                read = [
                    name for name in torch_onnx.reads_from_outside(body) if scope.is_float(name)
                ]
                torch_onnx.redirect(body, {name: self._place(scope, name, _FULL) for name in read})
            else:
                self._rewrite(_Scope(body, scope, _HALF))
        scope.nodes.append(node)
        for slot, name in enumerate(node.output):
            if of_shapes:
                scope.of_shapes[name] = None
            if scope.is_float(name):
                half = not kept and _takes_half(schema.outputs, slot)
                if half:
                    _make_half(node)
                self._write(scope, node, slot, _HALF if half else _FULL)

    def _write(self, scope: _Scope, node: onnx.NodeProto, slot: int, kind: int) -> None:
        """Note what ``node`` writes; an output of the graph keeps its name and its precision."""
        name = node.output[slot]
        wanted = scope.outputs.get(name, kind)
        scope.places[wanted][name] = name
        if wanted != kind:
            node.output[slot] = self._names.free(f"{name}_{_word(kind)}")
            scope.places[kind][name] = node.output[slot]
            scope.nodes.append(self._cast(node.output[slot], name, wanted))

    def _place(self, scope: _Scope, name: str, kind: int) -> str:
        """The name of tensor ``name`` in precision ``kind``, made where it is not there yet."""
        if name in scope.places[kind]:
            return scope.places[kind][name]
        wish = f"{name}_{_word(kind)}"
        if name in scope.constants:
            owner, _ = scope.constants[name]
            named = {names.get(name) for names in owner.places.values()}
            is_free = kind == _HALF and name not in named and name not in owner.outputs
            free = name if is_free else self._names.free(wish)
            self._store(owner, name, free, kind)
            return free
        other = _FULL if kind == _HALF else _HALF
        made = self._names.free(wish)
        scope.nodes.append(self._cast(scope.places[other].get(name, name), made, kind))
        scope.places[kind][name] = made
        return made

    def _store(self, scope: _Scope, name: str, placed: str, kind: int) -> None:
        value = scope.constants[name][1]
        if kind == _HALF:
            value, loss = halved(name, value)
            if loss.clamped or loss.raised:
                self._losses.append(loss)
        scope.graph.initializer.append(numpy_helper.from_array(value, placed))
        scope.places[kind][name] = placed

    def _cast(self, source: str, target: str, kind: int) -> onnx.NodeProto:
        name = self._names.free(f"{target}_cast")
        return helper.make_node("Cast", [source], [target], name=name, to=kind)

    def _schema(self, node: onnx.NodeProto) -> onnx.defs.OpSchema | None:
        """The standard's word on an operator; None for one of another house."""
        domain = _domain(node.domain)
        version = self._opsets.get(domain, 0)
        if not onnx.defs.has(node.op_type, version, domain):
            return None
        return onnx.defs.get_schema(node.op_type, version, domain)


def halved(name: str, values: NDArray[np.float32]) -> tuple[NDArray[np.float16], Loss]:
    """``values`` in FP16, and how many of them it cannot hold; NaN and infinity stay."""
    size = np.abs(values)
    beyond = np.isfinite(size) & (size > LARGEST)
    below = (size > 0) & (size < SMALLEST)
    bounded = np.where(beyond, np.copysign(LARGEST, values), values)
    bounded = np.where(below, np.copysign(SMALLEST, values), bounded)
    loss = Loss(name, int(beyond.sum()), int(below.sum()), values.shape)
    return bounded.astype(np.float16), loss


def _domain(name: str) -> str:
    """The standard's own operators have two names for theirs."""
    return "" if name == "ai.onnx" else name


def _word(kind: int) -> str:
    return "half" if kind == _HALF else "float32"


def _takes_half(slots: Sequence[onnx.defs.OpSchema.FormalParameter], slot: int) -> bool:
    """Whether the standard allows FP16 there; the last slot may stand for several."""
    return "tensor(float16)" in slots[min(slot, len(slots) - 1)].types


def _complete_types(scope: _Scope, node: onnx.NodeProto, schema: onnx.defs.OpSchema | None) -> None:
    """Type what shape inference left open: behind an operator it does not know, all is open.

    Such an operator is taken to make what it takes; the others say which of their slots agree.
    """
    known: dict[str, int] = {}
    for slot, name in enumerate(node.input):
        if name in scope.types:
            known.setdefault(_type_of(schema and schema.inputs, slot), scope.types[name])
    for slot, name in enumerate(node.output):
        kind = _type_of(schema and schema.outputs, slot)
        if name and name not in scope.types and kind in known:
            scope.types[name] = known[kind]


def _type_of(slots: Sequence[onnx.defs.OpSchema.FormalParameter] | None, slot: int) -> str:
    return slots[min(slot, len(slots) - 1)].type_str if slots else "any"


def _is_kept(scope: _Scope, node: onnx.NodeProto) -> bool:
    """Whether all of a node stays in FP32: named so, or it takes or makes sequences."""
    return node.op_type in _KEPT or any(
        name in scope.others for name in (*node.input, *node.output)
    )


def _is_of_shapes(scope: _Scope, node: onnx.NodeProto) -> bool:
    """Whether a node computes with nothing but sizes and constants."""
    if node.op_type in _SHAPES:
        return True
    inputs = [name for name in node.input if name]
    return (
        node.op_type != "ConstantOfShape"
        and any(name in scope.of_shapes for name in inputs)
        and all(name in scope.of_shapes or name in scope.fixed for name in inputs)
        and not any(torch_onnx.bodies(node))
    )


def _make_half(node: onnx.NodeProto) -> None:
    """Turn the attributes that name or hold the output's type."""
    named = {entry.name: entry for entry in node.attribute}
    for name in _TYPE_ATTRIBUTES:
        if name in named and named[name].i == _FULL:
            named[name].i = _HALF
    if node.op_type == "ConstantOfShape":
        value = numpy_helper.to_array(named["value"].t) if "value" in named else np.zeros(1)
        tensor = numpy_helper.from_array(halved("value", value.astype(np.float32))[0])
        if "value" in named:
            node.attribute.remove(named["value"])
        node.attribute.append(helper.make_attribute("value", tensor))
