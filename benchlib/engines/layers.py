"""The layers of a built engine, from ``--exportLayerInfo``: the proof of its precision.

Both dialects are read: up to TensorRT 10.16 a tensor has one text ``Format/Datatype``, later a
``Format`` and a ``DataType``. Plans built with ``layer_names_only`` give names alone, and then
nothing is known of precisions.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchlib.case import Precision

# In this order: BFloat16 must not be taken for Float, nor UInt8 for Int8.
_TYPES = (
    ("bf16", re.compile(r"\b(?:BF16|BFloat16)\b", re.IGNORECASE)),
    ("fp16", re.compile(r"\b(?:FP16|Half|Float16)\b", re.IGNORECASE)),
    ("fp8", re.compile(r"\b(?:FP8|Float8\w*)\b", re.IGNORECASE)),
    ("fp4", re.compile(r"\b(?:FP4\w*|Float4\w*)\b", re.IGNORECASE)),
    ("uint8", re.compile(r"\bUInt8\b", re.IGNORECASE)),
    ("int8", re.compile(r"\bInt8\b", re.IGNORECASE)),
    ("int4", re.compile(r"\bU?Int4\b", re.IGNORECASE)),
    ("int32", re.compile(r"\bInt32\b", re.IGNORECASE)),
    ("int64", re.compile(r"\bInt64\b", re.IGNORECASE)),
    ("bool", re.compile(r"\bBool\b", re.IGNORECASE)),
    ("fp32", re.compile(r"\b(?:FP32|Float|Float32)\b", re.IGNORECASE)),
)

_EIGHT_BITS = frozenset({"int8", "uint8", "fp8"})
_FOUR_BITS = frozenset({"int4", "fp4"})

# Layers that only move, convert or name data; their type says nothing about the arithmetic.
_MOVERS = re.compile(
    r"^(?:Reformat|Reorder|NoOp|Constant|Shape|Signal|Wait|Copy|Shuffle|Cast|Identity|"
    r"Quantize|Dequantize|DynamicQuantizeLinear|Reshape|Transpose)",
    re.IGNORECASE,
)
# What the builders put between the names of nodes they made into one layer.
JOINTS = re.compile(r" \+ | \|\| ")
_ONNX_NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=[\x1e\s]|$)")
# ONNX Runtime's own ending for a node that it rewrote.
_REWRITTEN = re.compile(r"_token_\d+$")

UNKNOWN = "unknown"
"""The type of a layer that does not tell it."""

MOVING = "moving"
"""What stands for the layers that only move, convert or name data in shares of time."""

_PRODUCTS = re.compile(r"Conv|Gemm|MatMul|MatrixMultiply|MatrixMul|FullyConnected", re.IGNORECASE)

_FLOATS = frozenset({"fp32", "fp16", "bf16"})
_BELOW_FP32 = frozenset({"bf16", "fp16"}) | _EIGHT_BITS | _FOUR_BITS

# What counts as "the precision that was asked for, or less"; for FP32 and TF32, less only.
_LOW = {
    Precision.FP32: _BELOW_FP32,
    Precision.TF32: _BELOW_FP32,
    Precision.FP16: frozenset({"fp16", "int8", "uint8", "fp8", "int4", "fp4"}),
    Precision.BF16: frozenset({"bf16", "int8", "uint8", "fp8", "int4", "fp4"}),
    Precision.INT8: frozenset({"int8", "uint8", "int4"}),
    Precision.FP8: frozenset({"fp8", "fp4"}),
}

# What is less than the precision that was asked for.
_BELOW = {
    Precision.FP32: _BELOW_FP32,
    Precision.TF32: _BELOW_FP32,
    Precision.FP16: _EIGHT_BITS | _FOUR_BITS,
    Precision.BF16: _EIGHT_BITS | _FOUR_BITS,
    Precision.INT8: _FOUR_BITS,
    Precision.FP8: _FOUR_BITS,
}


class BadLayersError(ValueError):
    """The file is not what ``--exportLayerInfo`` writes; the message says why."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the engine.

    ``type`` is TensorRT's word (``CaskConvolution``), ``inputs`` and ``outputs`` the tensors'
    types as short words (``fp16``); all are None or empty in a plan built for names only.
    ``nodes`` are the names of the ONNX nodes that the layer may stand for. ``products`` are the
    multiply-accumulates that the tensors' own dimensions show, None where they show none.
    """

    name: str
    type: str | None = None
    inputs: tuple[str | None, ...] = ()
    outputs: tuple[str | None, ...] = ()
    tactic: str | None = None
    nodes: tuple[str, ...] = ()
    products: int | None = None

    @property
    def computes(self) -> bool:
        """Whether the layer does arithmetic of the network, as far as its type tells."""
        return self.type is None or _MOVERS.match(self.type) is None

    @property
    def precision(self) -> str | None:
        """The type it computes in: that of its output.

        A convolution or matrix product of 8-bit inputs computes in 8 bits even where it hands
        its result on in a wider type; so does one that makes its input so itself and shows only
        its weights in 8 bits. A layer that takes wider numbers and gives UINT8, as for an image
        or a mask, converts its result at the end.
        """
        if self._is_product():
            narrow = next((one for one in self.inputs[:2] if one in _EIGHT_BITS | _FOUR_BITS), None)
            if narrow is not None:
                return narrow
        computed = next((output for output in self.outputs if output is not None), None)
        if computed == "uint8" and self.inputs and self.inputs[0] in _FLOATS:
            return self.inputs[0]
        return computed

    @property
    def is_quantised(self) -> bool:
        """Whether it does the arithmetic of a quantised network, in eight bits or fewer.

        A mask that is scaled up in UINT8 has the type and is nothing of the kind.
        """
        narrow = self.computes and self.precision in _EIGHT_BITS | _FOUR_BITS
        return narrow and (
            self.precision != "uint8" or self._is_product() or "QLinear" in (self.type or "")
        )

    def _is_product(self) -> bool:
        return any(_PRODUCTS.search(text) for text in (self.type or "", self.name))


def read(path: Path) -> tuple[Layer, ...]:
    """Read layer information; raise :class:`BadLayersError` when it is missing or another thing.

    A plan built with ``--profilingVerbosity=none`` gives no layers.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadLayersError(f"{path.name}: {error.strerror}") from error
    return loads(text, path.name)


def loads(text: str, name: str = "exportLayerInfo") -> tuple[Layer, ...]:
    """Read the text of layer information; ``name`` stands in messages."""
    try:
        document = json.loads(text, strict=False)
    except ValueError as error:
        raise BadLayersError(f"{name}: not whole JSON: {error}") from error
    records = document.get("Layers") if isinstance(document, dict) else None
    if not isinstance(records, list):
        raise BadLayersError(f"{name}: has no list called Layers")
    return tuple(_layer(record) for record in records if isinstance(record, (str, dict)))


def macs(layers: Sequence[Layer], work: Mapping[str, int]) -> tuple[int | None, ...]:
    """Multiply-accumulates of each layer; None where nothing tells.

    ``work`` has those of the ONNX graph's nodes by name. A node counts for the first layer that
    names it. A layer that names none is counted by its own tensors, which some engines pad.
    """
    left = dict(work)
    return tuple(_macs(layer, left) for layer in layers)


def _macs(layer: Layer, left: dict[str, int]) -> int | None:
    named = [left.pop(node) for node in dict.fromkeys(layer.nodes) if node in left]
    return sum(named) if named else layer.products


def share(
    layers: Sequence[Layer], weights: Sequence[float | None] | None = None
) -> dict[str, float] | None:
    """The share (0 to 1) of computing layers in each type, each layer counting its weight.

    ``weights`` are what is shared out, multiply-accumulates for instance, one per layer; without
    them layers are counted. Layers of unknown type are called ``unknown``. None when no layer's
    type is known, or all weights are nothing.
    """
    counted = [1.0] * len(layers) if weights is None else [weight or 0.0 for weight in weights]
    return _shared_out(
        (layer.precision or UNKNOWN, weight)
        for layer, weight in zip(layers, counted, strict=True)
        if layer.computes
    )


def time_share(layers: Sequence[Layer], times: Mapping[str, float]) -> dict[str, float] | None:
    """The share (0 to 1) of a profiled run's time in each type.

    ``times`` are milliseconds by layer name. The time of layers that only move or convert data
    is called ``moving``; that of names unknown here, ``unknown``. None when no type is known.
    """
    kinds = {
        layer.name: (layer.precision or UNKNOWN) if layer.computes else MOVING for layer in layers
    }
    return _shared_out((kinds.get(name, UNKNOWN), time) for name, time in times.items())


def _shared_out(parts: Iterable[tuple[str, float]]) -> dict[str, float] | None:
    weights: dict[str, float] = {}
    for word, weight in parts:
        if weight:
            weights[word] = weights.get(word, 0.0) + weight
    whole = sum(weights.values())
    if whole == 0 or not weights.keys() - {UNKNOWN, MOVING}:
        return None
    return {word: weight / whole for word, weight in weights.items()}


def low(shares: Mapping[str, float] | None, precision: Precision) -> float | None:
    """The part of ``shares`` in ``precision`` or less; None when nothing is known.

    FP32 and TF32 are not low: of them, the part in less.
    """
    if shares is None:
        return None
    return sum(value for word, value in shares.items() if word in _LOW[precision])


def below(shares: Mapping[str, float] | None, precision: Precision) -> dict[str, float]:
    """Those of ``shares`` whose type is less than ``precision``; empty when nothing is known."""
    return {word: value for word, value in (shares or {}).items() if word in _BELOW[precision]}


def _layer(record: str | dict[str, Any]) -> Layer:
    if isinstance(record, str):
        return Layer(record)
    tactic = record.get("TacticName") or record.get("TacticValue")
    return Layer(
        name=str(record.get("Name", "")),
        type=record.get("LayerType"),
        inputs=_tensors(record.get("Inputs")),
        outputs=_tensors(record.get("Outputs")),
        tactic=None if tactic is None else str(tactic),
        nodes=_nodes(record),
        products=_products(record),
    )


def _nodes(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of ONNX nodes: as the metadata list them, else as the layer's own name does."""
    listed = _ONNX_NODE.findall(str(record.get("Metadata") or ""))
    if listed:
        return tuple(listed)
    return tuple(
        _REWRITTEN.sub("", part) for part in JOINTS.split(str(record.get("Name", ""))) if part
    )


def _products(record: Mapping[str, Any]) -> int | None:
    """Multiply-accumulates of a convolution or matrix product whose weights' shape is shown."""
    if not _PRODUCTS.search(str(record.get("LayerType") or "")):
        return None
    output = _dimensions(record.get("Outputs"), 0)
    weight = _dimensions(record.get("Inputs"), 1)
    if not output or len(weight) != len(output) or weight[0] == 0:
        return None
    # Output channels come first: [M, C / groups, kernel...] and, for a transposed Gemm, [N, K].
    return math.prod(output) * math.prod(weight[1:])


def _dimensions(records: object, place: int) -> tuple[int, ...]:
    if not isinstance(records, list) or len(records) <= place:
        return ()
    found = records[place].get("Dimensions") if isinstance(records[place], dict) else None
    if not isinstance(found, list) or not all(isinstance(size, int) for size in found):
        return ()
    return tuple(found)


def _tensors(records: object) -> tuple[str | None, ...]:
    if not isinstance(records, list):
        return ()
    return tuple(_type(record) for record in records if isinstance(record, dict))


def _type(record: Mapping[str, Any]) -> str | None:
    for key in ("DataType", "Datatype", "Type", "Format/Datatype", "Format"):
        text = record.get(key)
        if isinstance(text, str):
            for word, pattern in _TYPES:
                if pattern.search(text):
                    return word
    return None
