"""A case's series on disk: what every query took, and what the GPU did meanwhile.

Parquet with zstd: 6,100 queries take some 7 KB, where trtexec's own JSON takes 177 KB compressed.
Times are float32, which holds the six digits that trtexec prints.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchlib.gpu.telemetry import TelemetrySample

_RUN = pa.field("run", pa.int16(), nullable=False)
_TIMES = ("compute_ms", "enqueue_ms", "h2d_ms", "d2h_ms")
_COPIES = frozenset({"h2d_ms", "d2h_ms"})
"""Left out where every value is 0, as without transfers."""

_TELEMETRY = pa.schema(
    [
        _RUN,
        ("time_s", pa.float64()),
        ("sm_clock_mhz", pa.int32()),
        ("memory_clock_mhz", pa.int32()),
        ("power_w", pa.float64()),
        ("temperature_c", pa.int16()),
        ("energy_mj", pa.int64()),
        ("event_bits", pa.int64()),
        ("memory_used_mb", pa.float64()),
        ("foreign", pa.list_(pa.int64())),
    ]
)

_ENCODINGS = {"time_s": "BYTE_STREAM_SPLIT", "energy_mj": "DELTA_BINARY_PACKED"}
"""What rises steadily takes half the room so: these columns are half of a telemetry file."""


@dataclass(frozen=True, slots=True)
class Samples:
    """The queries of one run in the order of their start, milliseconds, arrays of shape [n].

    The copies to and from the GPU are None where none was timed.
    """

    compute_ms: NDArray[np.floating]
    enqueue_ms: NDArray[np.floating]
    h2d_ms: NDArray[np.floating] | None = None
    d2h_ms: NDArray[np.floating] | None = None


def dump_samples(runs: Sequence[Samples]) -> bytes:
    """The runs one below the other, each under its number."""
    columns = {
        "run": pa.array(np.repeat(np.arange(len(runs)), [len(one.compute_ms) for one in runs]))
    }
    for name in _TIMES:
        series = [getattr(one, name) for one in runs]
        if name in _COPIES and not any(one is not None and np.any(one) for one in series):
            continue
        filled = [
            np.zeros(len(run.compute_ms)) if one is None else one
            for run, one in zip(runs, series, strict=True)
        ]
        columns[name] = pa.array(np.concatenate(filled).astype(np.float32))
    schema = pa.schema([_RUN, *(pa.field(name, pa.float32()) for name in list(columns)[1:])])
    return _dumped(pa.table(columns).cast(schema), use_dictionary=True)


def load_samples(path: Path) -> tuple[Samples, ...]:
    """The runs of a file; raises OSError or ValueError (pyarrow's) where it cannot be read."""
    frame = pq.read_table(path).to_pandas()
    return tuple(
        Samples(**{name: run[name].to_numpy() for name in _TIMES if name in frame})
        for _, run in frame.groupby("run", sort=True)
    )


def dump_telemetry(runs: Sequence[Sequence[TelemetrySample]]) -> bytes:
    """The readings of the runs one below the other, each run under its number."""
    rows = [
        {"run": number, **asdict(reading)} for number, run in enumerate(runs) for reading in run
    ]
    names = [name for name in _TELEMETRY.names if name not in _ENCODINGS]
    table = pa.Table.from_pylist(rows, schema=_TELEMETRY)
    return _dumped(table, use_dictionary=names, column_encoding=_ENCODINGS)


def load_telemetry(path: Path, runs: int) -> tuple[tuple[TelemetrySample, ...], ...]:
    """The readings of each of the ``runs`` of a file; empty for a run that nobody watched."""
    found: list[list[TelemetrySample]] = [[] for _ in range(runs)]
    for row in pq.read_table(path).to_pylist():
        foreign = row.pop("foreign")
        number = row.pop("run")
        found[number].append(
            TelemetrySample(**row, foreign=None if foreign is None else tuple(foreign))
        )
    return tuple(map(tuple, found))


def _dumped(table: pa.Table, **how: Any) -> bytes:
    """Without statistics and the schema's second copy, which take as much as a short series."""
    how |= {"compression": "zstd", "compression_level": 19}
    sink = io.BytesIO()
    pq.write_table(table, sink, write_statistics=False, store_schema=False, **how)
    return sink.getvalue()
