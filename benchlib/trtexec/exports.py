"""The files trtexec leaves: query times, layer times, layers, the head of an engine file.

``--exportLayerInfo`` has the layers of a built engine, the proof of its precision. Up to TensorRT
10.16 a tensor there has one text ``Format/Datatype``, later a ``Format`` and a ``DataType``; both
are read. Plans built with ``layer_names_only`` give names alone, and then no precision is known.

``--exportTimes`` has one record per counted query, all numbers in milliseconds with at most six
significant digits. From 8.6 to 11.1 it is a JSON array with one object per line.

``--exportProfile`` has the time of each layer in a separate, profiled run. Under the profiler the
GPU stops after every layer, so the layers add up to more than the real run; the times serve as
shares of the whole and are not comparable with ``computeMs``.

The stand-ins write these files and import this under a bare interpreter: standard library only.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from benchlib.case import Precision
from benchlib.trtexec.flags import Version

# In this order: BFloat16 must not be taken for Float, nor UInt8 for Int8.
_TYPES = (
    ("bf16", re.compile(r"\b(?:BF16|BFloat16)\b", re.IGNORECASE)),
    ("fp16", re.compile(r"\b(?:FP16|Half|Float16)\b", re.IGNORECASE)),
    ("fp8", re.compile(r"\b(?:FP8\w*|Float8\w*)\b", re.IGNORECASE)),
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

# Layers that only move, convert or name data; their type is not that of the arithmetic.
_MOVERS = re.compile(
    r"^(?:Reformat|Reorder|NoOp|Constant|Shape|Signal|Wait|Copy|Shuffle|Cast|Identity|"
    r"Quantize|Dequantize|DynamicQuantizeLinear|Reshape|Transpose)",
    re.IGNORECASE,
)
# What the builders put between the names of nodes they made into one layer.
JOINTS = re.compile(r" \+ | \|\| ")
_ONNX_NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=[\x1e\s]|\[ONNX Layer: |$)")
# ONNX Runtime's own ending for a node that it rewrote.
_REWRITTEN = re.compile(r"_token_\d+$")

UNKNOWN = "unknown"
"""The type of a layer whose type is not in the file."""

MOVING = "moving"
"""What stands for the layers that only move, convert or name data in shares of time."""

UNPLACED = 0.1
"""Share of the profiled time under names that no layer has, above which it tells nothing."""

_PRODUCTS = re.compile(
    # The last is how Myelin begins the name of what it made around a matrix product.
    r"Conv(?!ert)|Gemm|MatMul|MatrixMultiply|MatrixMul|FullyConnected|^__myl_Fc",
    re.IGNORECASE,
)

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

# What is less than the precision that was asked for, and for FP32 what is more: a file that holds
# doubles is slower than the network it was made from.
_BELOW = {
    Precision.FP32: _BELOW_FP32 | {"fp64"},
    Precision.TF32: _BELOW_FP32 | {"fp64"},
    Precision.FP16: _EIGHT_BITS | _FOUR_BITS,
    Precision.BF16: _EIGHT_BITS | _FOUR_BITS,
    Precision.INT8: _FOUR_BITS,
    Precision.FP8: _FOUR_BITS,
}


class BadFileError(ValueError):
    """The file is not what trtexec leaves; the message has its name and the reason."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the engine.

    ``type`` is TensorRT's word (``CaskConvolution``) and ``tactic`` its name of the kernel, which
    alone tells what a ``fusion`` of 10.x is; ``inputs`` and ``outputs`` are the tensors' types as
    short words (``fp16``). All are None or empty in a plan built for names only.
    ``nodes`` are the names of the ONNX nodes that the layer may stand for. ``products`` are the
    multiply-accumulates that the tensors' own dimensions show, None where they show none.
    """

    name: str
    type: str | None = None
    inputs: tuple[str | None, ...] = ()
    outputs: tuple[str | None, ...] = ()
    nodes: tuple[str, ...] = ()
    products: int | None = None
    tactic: str | None = None

    @property
    def computes(self) -> bool:
        """Whether the layer does arithmetic of the network, as far as its type shows."""
        return self.type is None or _MOVERS.match(self.type) is None

    @property
    def precision(self) -> str | None:
        """The type it computes in: that of its output. What the parts of a fused layer (Myelin's
        ForeignNode) compute in is not in the file, and such a layer too has that of its output.

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
        words = (self.type or "", self.name, self.tactic or "")
        return any(_PRODUCTS.search(text) for text in words)


def read(path: Path) -> tuple[Layer, ...]:
    """Read layer information; raise :class:`BadFileError` when it is missing or another thing.

    A plan built with ``--profilingVerbosity=none`` gives no layers.
    """
    return loads(_text(path), path.name)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadFileError(f"{path.name}: {error.strerror}") from error


def loads(text: str, name: str = "exportLayerInfo") -> tuple[Layer, ...]:
    """Read the text of layer information; ``name`` stands in messages."""
    try:
        document = json.loads(text, strict=False)
    except ValueError as error:
        raise BadFileError(f"{name}: not whole JSON: {error}") from error
    records = document.get("Layers") if isinstance(document, dict) else None
    if not isinstance(records, list):
        raise BadFileError(f"{name}: has no list called Layers")
    return tuple(_layer(record) for record in records if isinstance(record, (str, dict)))


def macs(layers: Sequence[Layer], work: Mapping[str, int]) -> tuple[int | None, ...]:
    """Multiply-accumulates of each layer; None where they are not known.

    ``work`` has those of the ONNX graph's nodes by name. A node counts for the first computing
    layer that names it; the copies made for a layer ("Reformatting CopyNode for Input Tensor 0 to
    ...") repeat its name and do none of its work. A computing layer that names none is counted by
    its own tensors, which some engines pad.
    """
    left = dict(work)
    return tuple(_macs(layer, left) if layer.computes else None for layer in layers)


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
    return shared_out(
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
    return shared_out((kinds.get(name, UNKNOWN), time) for name, time in times.items())


def computing_time(shares: Mapping[str, float] | None) -> dict[str, float] | None:
    """The :func:`time_share` of the computing layers alone (0 to 1): moving and converting data has
    no precision. None when not known, or when too much of it is of no known type."""
    computing = {word: share for word, share in (shares or {}).items() if word != MOVING}
    whole = sum(computing.values())
    if computing.get(UNKNOWN, 0.0) > UNPLACED * whole or not whole:
        return None
    return {word: share / whole for word, share in computing.items()}


def shared_out(parts: Iterable[tuple[str, float]]) -> dict[str, float] | None:
    """The share of each word in ``parts``, which are words with weights; None without a type."""
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
    """Those of ``shares`` whose type is less than ``precision``, or FP64 where that is FP32; empty
    when nothing is known."""
    return {word: value for word, value in (shares or {}).items() if word in _BELOW[precision]}


def _layer(record: str | dict[str, Any]) -> Layer:
    if isinstance(record, str):
        return Layer(record)
    return Layer(
        name=str(record.get("Name", "")),
        type=record.get("LayerType"),
        inputs=_tensors(record.get("Inputs")),
        outputs=_tensors(record.get("Outputs")),
        nodes=_nodes(record),
        products=_products(record),
        tactic=str(record.get("TacticName") or "") or None,
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
    # Output channels come first: [M, C / groups, kernel...] and, for a transposed Gemm, [N, K]. A
    # second input of another shape is no weight: TensorRT names the other side of a fused sum
    # there, which has the output's own shape, or the second factor of a product of two tensors.
    if len(output) < 2 or len(weight) != len(output) or weight == output:
        return None
    return math.prod(output) * math.prod(weight[1:]) if 0 < weight[0] == output[1] else None


def _dimensions(records: object, place: int) -> tuple[int, ...]:
    if not isinstance(records, list) or len(records) <= place:
        return ()
    sizes = records[place].get("Dimensions") if isinstance(records[place], dict) else None
    if not isinstance(sizes, list) or not all(isinstance(size, int) for size in sizes):
        return ()
    return tuple(sizes)


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


_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Query:
    """One inference of the whole batch, in milliseconds.

    Enqueue stamps are on the host's clock, all others on the GPU's; the two clocks must not be
    subtracted from one another. Without transfers the copy stamps equal the compute stamps.
    """

    start_enq_ms: float
    end_enq_ms: float
    start_h2d_ms: float
    end_h2d_ms: float
    start_compute_ms: float
    end_compute_ms: float
    start_d2h_ms: float
    end_d2h_ms: float
    h2d_ms: float
    compute_ms: float
    """The number to use: never the difference of the two stamps, which are rounded."""
    d2h_ms: float
    latency_ms: float

    @property
    def enqueue_ms(self) -> float:
        """How long the host took to hand the query over."""
        return self.end_enq_ms - self.start_enq_ms


KEYS = tuple(
    re.sub(r"_(\w)", lambda match: match[1].upper(), field.name) for field in fields(Query)
)
"""Their names in the file: ``startEnqMs`` for ``start_enq_ms``."""


def read_times(path: Path) -> tuple[Query, ...]:
    """Read an export, plain or gzipped, in the order of the file.

    Raises :class:`BadFileError` when it is missing, empty, cut off, or not of this format.
    """
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP_MAGIC):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        # The system's words have the whole path, which rows must not.
        words = getattr(error, "strerror", None) or error
        raise BadFileError(f"{path.name}: {words}") from error
    return load_times(data, path.name)


def load_times(text: str | bytes, name: str = "exportTimes") -> tuple[Query, ...]:
    """Read the text of an export; ``name`` stands in messages. Raises :class:`BadFileError`."""
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFileError(f"{name}: not whole JSON: {error}") from error
    if not isinstance(records, list) or not records:
        raise BadFileError(f"{name}: holds no query")
    return tuple(_query(record, f"{name}: query {index}") for index, record in enumerate(records))


def _query(record: Any, where: str) -> Query:
    if not isinstance(record, dict):
        raise BadFileError(f"{where} is not an object")
    values = []
    for key in KEYS:
        value = record.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadFileError(f"{where} has no number {key}")
        if not math.isfinite(value):
            raise BadFileError(f"{where}: {key} is {value}")
        values.append(float(value))
    return Query(*values)


def dump_times(queries: Iterable[Query]) -> str:
    """Write what trtexec would have written for these queries."""
    lines = [
        "{ "
        + ", ".join(
            f'"{key}" : {number(value)}' for key, value in zip(KEYS, astuple(query), strict=True)
        )
        + " }"
        for query in queries
    ]
    return "[\n  " + "\n, ".join(lines) + "\n]\n"


def number(value: float) -> str:
    """A number as C++ streams print it by default: six significant digits, no trailing zeros."""
    return f"{value:.6g}"


# Layer names are written unescaped, so a quote in one spoils the JSON. Each layer has a line.
_LINE = re.compile(
    r'"name"\s*:\s*"(?P<name>.*)"\s*,\s*"timeMs"\s*:\s*(?P<rest>.*?)\s*}?\s*,?\s*]?$'
)
_COUNT = re.compile(r'"count"\s*:\s*(\d+)')
_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_MEAN = re.compile(rf'"averageMs"\s*:\s*({_NUMBER})')
# What stands for a number, up to the next field or the end of the layer. C++ writes nan and inf,
# -nan where a layer ran no time, and nothing at all where a field is missing.
_VALUE = re.compile(
    r'("(?:timeMs|averageMs|medianMs|percentage)"\s*:\s*)([^"{}\[\]]*?)(?=\s*(?:,\s*"|[}\]\n]|$))'
)


def read_profile(path: Path) -> dict[str, float]:
    """Mean milliseconds of one run by layer name, where known; those of one name add up.

    Raises :class:`BadFileError` when the file is missing, empty or another thing.
    """
    return load_profile(_text(path), path.name)


def load_profile(text: str, name: str = "exportProfile") -> dict[str, float]:
    """Read the text of a profile; ``name`` stands in messages."""
    text = _VALUE.sub(_or_null, text)
    try:
        records = json.loads(text, strict=False)
    except ValueError:
        records = _by_line(text)
    if not isinstance(records, list):
        raise BadFileError(f"{name}: is not a list")
    records = [record for record in records if isinstance(record, dict)]
    count = next((record["count"] for record in records if "count" in record), None)
    layers = [record for record in records if "name" in record]
    if isinstance(count, bool) or not isinstance(count, int) or count < 1 or not layers:
        raise BadFileError(f"{name}: holds no profiled run")
    total: dict[str, float] = {}
    for layer in layers:
        mean, time = _number(layer.get("averageMs")), _number(layer.get("timeMs"))
        if mean is None and time is not None:
            mean = time / count
        if mean is not None:
            name = str(layer["name"])
            total[name] = total.get(name, 0.0) + mean
    return total


def _number(value: object) -> float | None:
    """A time; None for what is none (``-``, ``nan``, ``inf``, less than nothing)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # Compared before it is made a float, which a whole number of 400 digits cannot be.
    return float(value) if 0 <= value <= sys.float_info.max else None


def _or_null(match: re.Match[str]) -> str:
    return match[0] if re.fullmatch(_NUMBER, match[2]) else f"{match[1]}null"


def _by_line(text: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for line in text.splitlines():
        match = _LINE.search(line.rstrip())
        if match is not None:
            time, mean = re.match(_NUMBER, match["rest"]), _MEAN.search(match["rest"])
            record = {"timeMs": time and float(time[0]), "averageMs": mean and float(mean[1])}
            records.append({"name": match["name"], **record})
        elif (count := _COUNT.search(line)) is not None:
            records.append({"count": int(count[1])})
    return records


_HEADER_BYTES = 28
_LIBRARY = slice(24, 27)
"""Major, minor and patch of the library that made the plan."""
_MAKERS = (b"ftrt", b"vtrt")
"""TensorRT, TensorRT-RTX."""


def check_engine(path: Path) -> Version:
    """The library that made the plan; raises :class:`BadFileError` unless one of TensorRT 8.6 or
    later begins the file."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise BadFileError(f"{path.name}: {error.strerror}") from error
    if not header:
        # From 10.13 a failed build can leave an empty file behind.
        raise BadFileError(f"{path.name}: is empty")
    if not header.startswith(_MAKERS) or len(header) < _HEADER_BYTES:
        raise BadFileError(f"{path.name}: does not begin like a plan")
    return Version(*header[_LIBRARY])
