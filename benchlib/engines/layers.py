"""The layers of a built engine, from ``--exportLayerInfo``: the proof of its precision.

Both dialects are read: up to TensorRT 10.16 a tensor has one text ``Format/Datatype``, later a
``Format`` and a ``DataType``. Plans built with ``layer_names_only`` give names alone, and then
nothing is known of precisions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
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
    ("int4", re.compile(r"\bInt4\b", re.IGNORECASE)),
    ("int32", re.compile(r"\bInt32\b", re.IGNORECASE)),
    ("int64", re.compile(r"\bInt64\b", re.IGNORECASE)),
    ("bool", re.compile(r"\bBool\b", re.IGNORECASE)),
    ("fp32", re.compile(r"\b(?:FP32|Float|Float32)\b", re.IGNORECASE)),
)

_EIGHT_BITS = frozenset({"int8", "uint8", "fp8"})

# Layers that only move, convert or name data; their type says nothing about the arithmetic.
_MOVERS = re.compile(
    r"^(?:Reformat|Reorder|NoOp|Constant|Shape|Signal|Wait|Copy|Shuffle|Cast|Identity|"
    r"Quantize|Dequantize|QuantizeLinear|DequantizeLinear|Reshape|Transpose)",
    re.IGNORECASE,
)
_PRODUCTS = re.compile(r"Conv|Gemm|MatMul|MatrixMultiply|MatrixMul|FullyConnected", re.IGNORECASE)

# What counts as "the precision that was asked for, or less".
_LOW = {
    Precision.FP16: frozenset({"fp16", "int8", "uint8", "fp8", "int4", "fp4"}),
    Precision.BF16: frozenset({"bf16", "int8", "uint8", "fp8", "int4", "fp4"}),
    Precision.INT8: frozenset({"int8", "uint8", "int4"}),
    Precision.FP8: frozenset({"fp8", "fp4"}),
}


class BadLayersError(ValueError):
    """The file is not what ``--exportLayerInfo`` writes; the message says why."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the engine.

    ``type`` is TensorRT's word (``CaskConvolution``), ``inputs`` and ``outputs`` the tensors'
    types as short words (``fp16``); all are None or empty in a plan built for names only.
    """

    name: str
    type: str | None = None
    inputs: tuple[str | None, ...] = ()
    outputs: tuple[str | None, ...] = ()
    tactic: str | None = None

    @property
    def computes(self) -> bool:
        """Whether the layer does arithmetic of the network, as far as its type tells."""
        return self.type is None or _MOVERS.match(self.type) is None

    @property
    def precision(self) -> str | None:
        """The type it computes in: that of its output.

        A convolution or matrix product of 8-bit inputs computes in 8 bits even where it hands
        its result on in a wider type.
        """
        if self.inputs and self.inputs[0] in _EIGHT_BITS and self._is_product():
            return self.inputs[0]
        return next((output for output in self.outputs if output is not None), None)

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


def share(
    layers: Sequence[Layer], times: Mapping[str, float] | None = None
) -> dict[str, float] | None:
    """The share (0 to 1) of computing layers in each type; of their time, if ``times`` is given.

    ``times`` are milliseconds by layer name. Layers of unknown type are called ``unknown``.
    None when no layer's type is known, or no layer has a time.
    """
    computing = [layer for layer in layers if layer.computes]
    if all(layer.precision is None for layer in computing):
        return None
    weights: dict[str, float] = {}
    for layer in computing:
        weight = 1.0 if times is None else times.get(layer.name, 0.0)
        word = layer.precision or "unknown"
        weights[word] = weights.get(word, 0.0) + weight
    whole = sum(weights.values())
    if whole == 0:
        return None
    return {word: weight / whole for word, weight in weights.items()}


def low_precision_share(
    layers: Sequence[Layer], precision: Precision, times: Mapping[str, float] | None = None
) -> float | None:
    """The share (0 to 1) of computing layers, or of their time, in ``precision`` or less.

    None for FP32 and TF32, which are not low, and when nothing is known of the layers.
    """
    low = _LOW.get(precision)
    shares = share(layers, times)
    if low is None or shares is None:
        return None
    return sum(value for word, value in shares.items() if word in low)


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
    )


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
