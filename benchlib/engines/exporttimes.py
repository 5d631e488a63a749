"""trtexec's ``--exportTimes``: one record per counted query, all numbers in milliseconds.

The format is the same from TensorRT 8.6 to 11.1: a JSON array with one object per line, numbers
with at most six significant digits. Reader and writer live together so that they cannot part.
Standard library only: the stand-ins import this under a bare interpreter.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

_GZIP_MAGIC = b"\x1f\x8b"


class BadTimesError(ValueError):
    """The file is not what ``--exportTimes`` writes; the message says where."""


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


KEYS = (
    "startEnqMs",
    "endEnqMs",
    "startH2dMs",
    "endH2dMs",
    "startComputeMs",
    "endComputeMs",
    "startD2hMs",
    "endD2hMs",
    "h2dMs",
    "computeMs",
    "d2hMs",
    "latencyMs",
)


def read(path: Path) -> tuple[Query, ...]:
    """Read an export, plain or gzipped, in the order of the file.

    Raises :class:`BadTimesError` when it is missing, empty, cut off, or not of this format.
    """
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP_MAGIC):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise BadTimesError(f"{path.name}: {error}") from error
    return loads(data, path.name)


def loads(text: str | bytes, name: str = "exportTimes") -> tuple[Query, ...]:
    """Read the text of an export; ``name`` stands in messages. Raises :class:`BadTimesError`."""
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadTimesError(f"{name}: not whole JSON: {error}") from error
    if not isinstance(records, list) or not records:
        raise BadTimesError(f"{name}: holds no query")
    return tuple(_query(record, f"{name}: query {index}") for index, record in enumerate(records))


def _query(record: Any, where: str) -> Query:
    if not isinstance(record, dict):
        raise BadTimesError(f"{where} is not an object")
    values = []
    for key in KEYS:
        value = record.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadTimesError(f"{where} has no number {key}")
        if not math.isfinite(value):
            raise BadTimesError(f"{where}: {key} is {value}")
        values.append(float(value))
    return Query(*values)


def dumps(queries: Iterable[Query]) -> str:
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


def write(path: Path, queries: Iterable[Query]) -> None:
    """Write an export, by rename: a reader never sees half a file."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(dumps(queries), encoding="ascii")
    temporary.replace(path)


def number(value: float) -> str:
    """A number as C++ streams print it by default: six significant digits, no trailing zeros."""
    return f"{value:.6g}"
