"""Shapes and values fed to the network, and the files of outputs and layers that come out."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from benchlib import process
from benchlib.trtexec.exports import dump_times, number
from benchlib.trtexec.standin.program import (
    Exports,
    Log,
    StandinError,
    Trace,
    dims_text,
    queries,
)

Dims = tuple[int, ...]
Shapes = Mapping[str, Dims]


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """Shapes by input tensor: the profile's three, and the one that is timed."""

    minimum: Shapes
    optimum: Shapes
    maximum: Shapes
    timed: Shapes

    @property
    def empty(self) -> bool:
        return not (self.minimum or self.optimum or self.maximum or self.timed)


def filled_shapes(options: Mapping[str, Any], log: Log) -> ShapeRange:
    """Complete ``--minShapes``, ``--optShapes``, ``--maxShapes`` and ``--shapes`` as trtexec does.

    Without the optimum it becomes the maximum, so an engine for a range of sizes is tuned for
    the largest. ``--shapes`` alone stands for all three. The timed shape is ``--shapes`` if
    given, else the optimum.
    """
    minimum, optimum, maximum, timed = (
        dict(options.get(flag) or {})
        for flag in ("--minShapes", "--optShapes", "--maxShapes", "--shapes")
    )
    if not (minimum or optimum or maximum):
        return ShapeRange(timed, timed, timed, timed)
    if not (minimum and optimum and maximum):
        log.warning("Not all of min, opt and max shapes are given; the others are filled in.")
    if not optimum and minimum and maximum:
        log.warning("--optShapes is missing: maxShapes is broadcast to it and tuned for.")
    optimum = optimum or maximum or minimum
    return ShapeRange(minimum or optimum, optimum, maximum or optimum, timed or optimum)


def settled_shapes(name: str, declared: Sequence[object], given: Shapes, log: Log) -> Dims:
    """The dimensions to run input ``name`` with.

    ``declared`` is the model's shape; what is not a positive number in it is dynamic. A dynamic
    dimension without a given shape becomes 1, with a warning. Raises :class:`StandinError` when
    the given shape contradicts the model's.
    """
    fixed = [size if isinstance(size, int) and size >= 0 else None for size in declared]
    dims = given.get(name)
    if dims is None:
        if None in fixed:
            log.warning(f"Dynamic dimensions of {name} become 1; give --shapes={name}:…")
        return tuple(1 if size is None else size for size in fixed)
    if len(dims) != len(fixed) or any(
        size is not None and size != dim for size, dim in zip(fixed, dims, strict=True)
    ):
        model = "x".join("?" if size is None else str(size) for size in fixed)
        raise StandinError(
            f"Shape {dims_text(dims)} does not fit input {name} of the model ({model})"
        )
    return dims


def known_shapes(given: Shapes, names: frozenset[str]) -> None:
    """Raise :class:`StandinError` when a shape is given for a tensor that is not an input."""
    for name in given.keys() - names:
        there = ", ".join(sorted(names))
        raise StandinError(f"Cannot find input tensor with name {name}; there is {there}")


MULTIPLIER = 16807
MODULUS = 2**31 - 1
"""The minimal standard generator, C++'s usual default engine, which trtexec fills buffers with."""


def filled_values(
    dtype: npt.DTypeLike, shape: tuple[int, ...], seed: int = 1
) -> npt.NDArray[np.generic]:
    """Random values as trtexec ranges them, from a generator started anew for every buffer.

    Seeds 0 and 1 are trtexec's own. Floats lie in [-1, 1], signed integers in [-128, 127],
    unsigned 8-bit in [0, 255], booleans are either. Raises :class:`StandinError` for any other
    type.
    """
    kind = np.dtype(dtype)
    unit = _unit_values(math.prod(shape), seed)
    if kind.kind == "f":
        values = unit * np.float32(2) - np.float32(1)
    elif kind.kind == "i":
        values = np.floor(unit.astype(np.float64) * 256) - 128
    elif kind == np.uint8:
        values = np.floor(unit.astype(np.float64) * 256)
    elif kind.kind == "b":
        values = unit >= 0.5
    else:
        raise StandinError(f"No random values are known for tensors of type {kind}")
    return values.astype(kind).reshape(shape)


def values_from_file(
    path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]
) -> npt.NDArray[np.generic]:
    """Raw values in the tensor's own type; the file's length must be exactly the tensor's."""
    kind = np.dtype(dtype)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StandinError(f"Cannot open file {path}: {error.strerror}") from error
    expected = math.prod(shape) * kind.itemsize
    if len(data) != expected:
        raise StandinError(
            f"{path} holds {len(data)} bytes where {expected} are needed "
            f"({'x'.join(map(str, shape))} of {kind})"
        )
    return np.frombuffer(data, dtype=kind).reshape(shape)


def _unit_values(count: int, seed: int) -> npt.NDArray[np.float32]:
    """``count`` float32 values in [0, 1) from the minimal standard generator."""
    powers = np.empty(max(count, 1), dtype=np.uint64)
    powers[0] = MULTIPLIER
    known = 1
    while known < count:
        more = min(known, count - known)
        powers[known : known + more] = powers[:more] * powers[known - 1] % np.uint64(MODULUS)
        known += more
    states = powers[:count] * np.uint64(seed % MODULUS or 1) % np.uint64(MODULUS)
    unit = (states - np.uint64(1)).astype(np.float32) / np.float32(MODULUS - 1)
    return np.minimum(unit, np.nextafter(np.float32(1), np.float32(0)))


Tensors = Mapping[str, npt.NDArray[np.generic]]

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class LayerTimes:
    """One layer's times in milliseconds, one per profiled run."""

    name: str
    times_ms: tuple[float, ...]

    @property
    def total_ms(self) -> float:
        return math.fsum(self.times_ms)


def _shares(layers: Sequence[LayerTimes], count: int) -> Iterator[tuple[str, list[float]]]:
    """Each layer's name, milliseconds together, in the mean and in the median, and percentage."""
    whole = math.fsum(layer.total_ms for layer in layers)
    for layer in layers:
        total = layer.total_ms
        percent = 100 * total / whole if whole else 0.0
        yield layer.name, [total, total / count, median(layer.times_ms), percent]


def write_text(path: Path, text: str) -> None:
    """As :func:`write`."""
    write(path, text.encode("utf-8"))


def write_array(path: Path, values: npt.NDArray[np.generic]) -> None:
    """Write values as ``.npy``, as :func:`write` does."""
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    write(path, content.getvalue())


def write(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all; raise :class:`StandinError` when that cannot be done."""
    try:
        process.write_whole(path, content)
    except OSError as error:
        raise StandinError(f"Cannot write {path}: {error.strerror}") from error


def leave_times(files: Exports, trace: Trace) -> None:
    """Leave the counted queries where ``--exportTimes`` asks for them."""
    if files.times is not None:
        write_text(files.times, dump_times(queries(trace)))


def leave_tensors(files: Exports, log: Log, inputs: Tensors, outputs: Tensors) -> None:
    """Leave the values of the last query where, and as, that was asked for."""
    if files.output is not None:
        write_text(files.output, output_json(outputs))
    if files.dump_output:
        log_output(log, outputs)
    if files.raw_bindings:
        write_raw(Path.cwd(), "input", inputs)
        write_raw(Path.cwd(), "output", outputs)


def leave_profile(files: Exports, log: Log, layers: Sequence[LayerTimes], count: int) -> None:
    """Leave the layers' times of ``count`` profiled runs where that was asked for."""
    if files.profile is not None:
        write_text(files.profile, profile_json(layers, count))
    if files.dump_profile:
        log_profile(log, layers, count)


def output_json(tensors: Tensors) -> str:
    """``--exportOutput``: every tensor with its dimensions and values of six digits.

    Values that are not finite are written as ``NaN`` and ``Infinity``, which Python's reader takes.
    """
    records = [
        "{ "
        f'"name" : {json.dumps(name)}, '
        f'"dimensions" : "{_dimensions(tensor)}", '
        f'"values" : [ {", ".join(map(_value, tensor.ravel().tolist()))} ]'
        " }"
        for name, tensor in tensors.items()
    ]
    return "[\n  " + "\n, ".join(records) + "\n]\n"


def profile_json(layers: Sequence[LayerTimes], count: int) -> str:
    """``--exportProfile``: the number of profiled runs, then one record per layer."""
    records: list[dict[str, Any]] = [{"count": count}]
    names = ("timeMs", "averageMs", "medianMs", "percentage")
    for layer, values in _shares(layers, count):
        digits = (float(number(value)) for value in values)
        records.append({"name": layer, **dict(zip(names, digits, strict=True))})
    return "[\n  " + "\n, ".join(json.dumps(record) for record in records) + "\n]\n"


def log_profile(log: Log, layers: Sequence[LayerTimes], count: int) -> None:
    """Write the table of ``--dumpProfile``."""
    log.info(f"=== Profile ({count} iterations ) ===")
    log.info("   Time(ms)     Avg.(ms)   Median(ms)   Time(%)   Layer")
    for layer, (total, mean, middle, share) in _shares(layers, count):
        log.info(f"{total:11.2f}  {mean:11.4f}  {middle:11.4f}  {share:8.1f}   {layer}")
    log.info()


def log_output(log: Log, tensors: Tensors) -> None:
    """Write the values of ``--dumpOutput``."""
    log.info("Output Tensors:")
    for name, tensor in tensors.items():
        log.info(f"{name}: ({_dimensions(tensor)})")
        log.info(" ".join(map(_value, tensor.ravel().tolist())))


def write_raw(folder: Path, kind: str, tensors: Tensors) -> None:
    """``--dumpRawBindingsToFile``: each tensor's bytes at full precision in a file of its own.

    The file is ``KIND_NAME.DIMENSIONS.TYPE.raw`` in ``folder``, with what is unsafe in a file
    name replaced by underscores.
    """
    for name, tensor in tensors.items():
        dimensions = _dimensions(tensor).replace("x", ".")
        path = folder / f"{kind}_{_UNSAFE.sub('_', name)}.{dimensions}.{tensor.dtype}.raw"
        write(path, np.ascontiguousarray(tensor).tobytes())


def _dimensions(tensor: npt.NDArray[np.generic]) -> str:
    return "x".join(map(str, tensor.shape))


def _value(value: float | bool) -> str:
    if math.isfinite(value):
        return number(value)
    return json.dumps(float(value))
