"""The other files trtexec leaves: outputs, layer times, layer information. Always valid JSON."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from benchlib.engines.exporttimes import number
from benchlib.engines.standin.log import Log, StandinError

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


def write_text(path: Path, text: str) -> None:
    """Write a whole file by rename; raise :class:`StandinError` when that cannot be done."""
    _write(path, text.encode("utf-8"))


def write_array(path: Path, values: npt.NDArray[np.generic]) -> None:
    """Write values as ``.npy``, by rename; raise :class:`StandinError` when that cannot be done."""
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    _write(path, content.getvalue())


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise StandinError(f"Cannot write {path}: {error.strerror}") from error


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
    whole = math.fsum(layer.total_ms for layer in layers)
    records: list[dict[str, Any]] = [{"count": count}]
    records += [
        {
            "name": layer.name,
            "timeMs": float(number(layer.total_ms)),
            "averageMs": float(number(layer.total_ms / count)),
            "medianMs": float(number(median(layer.times_ms))),
            "percentage": float(number(100 * layer.total_ms / whole)) if whole else 0.0,
        }
        for layer in layers
    ]
    return "[\n  " + "\n, ".join(json.dumps(record) for record in records) + "\n]\n"


def log_profile(log: Log, layers: Sequence[LayerTimes], count: int) -> None:
    """Write the table of ``--dumpProfile``."""
    whole = math.fsum(layer.total_ms for layer in layers)
    log.info(f"=== Profile ({count} iterations ) ===")
    log.info("   Time(ms)     Avg.(ms)   Median(ms)   Time(%)   Layer")
    for layer in layers:
        share = 100 * layer.total_ms / whole if whole else 0.0
        log.info(
            f"{layer.total_ms:11.2f}  {layer.total_ms / count:11.4f}  "
            f"{median(layer.times_ms):11.4f}  {share:8.1f}   {layer.name}"
        )
    log.info()


def log_output(log: Log, tensors: Tensors) -> None:
    """Write the values of ``--dumpOutput``."""
    log.info("Output Tensors:")
    for name, tensor in tensors.items():
        log.info(f"{name}: ({_dimensions(tensor)})")
        log.info(" ".join(map(_value, tensor.ravel().tolist())))


def write_raw(folder: Path, kind: str, tensors: Tensors) -> tuple[Path, ...]:
    """``--dumpRawBindingsToFile``: each tensor's bytes at full precision in a file of its own.

    The file is ``KIND_NAME.DIMENSIONS.TYPE.raw`` in ``folder``, with what is unsafe in a file
    name replaced by underscores.
    """
    paths = []
    for name, tensor in tensors.items():
        dimensions = _dimensions(tensor).replace("x", ".")
        path = folder / f"{kind}_{_UNSAFE.sub('_', name)}.{dimensions}.{tensor.dtype}.raw"
        try:
            path.write_bytes(np.ascontiguousarray(tensor).tobytes())
        except OSError as error:
            raise StandinError(f"Cannot write {path}: {error.strerror}") from error
        paths.append(path)
    return tuple(paths)


def _dimensions(tensor: npt.NDArray[np.generic]) -> str:
    return "x".join(map(str, tensor.shape))


def _value(value: float | bool) -> str:
    if math.isfinite(value):
        return number(value)
    return json.dumps(float(value))
