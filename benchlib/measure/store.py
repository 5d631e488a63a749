"""A measured set on disk: rows, raw samples, logs, the table, and the lock.

The series of a case (the time of every query, what the GPU did meanwhile) are Parquet with zstd:
6,100 queries take some 7 KB, where trtexec's own JSON takes 177 KB compressed. Times are float32,
which holds the six digits that trtexec prints.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import logging
import lzma
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchlib import process
from benchlib.errors import InputError
from benchlib.gpu.telemetry import TelemetrySample
from benchlib.measure import environment, record
from benchlib.measure.environment import Environment
from benchlib.measure.record import COLUMNS, NewerRowError, Row, RowError

log = logging.getLogger(__name__)

_FOLDERS = ("rows", "layers", "samples", "telemetry", "logs")

LONG_LOG = 4096
"""Bytes of a log from which it is compressed: the block that a file takes on most disks, so that
a shorter one gains nothing."""

_DAMAGED = ".damaged"
"""Added to the name of a file that cannot be read before another takes its place."""


class StoreError(Exception):
    """A row could not be saved (full disk, folder turned read-only): the run has to stop."""


def read_log(path: Path) -> str:
    """What :meth:`Store.save_log` kept."""
    content = path.read_bytes()
    text = lzma.decompress(content) if path.suffix == ".xz" else content
    return text.decode(errors="replace")


@contextmanager
def only_one(directory: Path, name: str = ".lock") -> Iterator[None]:
    """Hold the set in ``directory`` against a second holder of the lock ``name``.

    Raises :class:`InputError` when somebody else holds it or there are no locks, and OSError when
    the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(process.lock_held(directory / name, "out_dir", wait_s=0))
        except TimeoutError:
            raise InputError(
                "out_dir",
                f"another run is writing to {directory.name}; wait for it, or give this one "
                "a folder of its own",
            ) from None
        yield


class Store:
    """The folder of one measured set.

    Every file is written under another name, flushed to the disk and renamed, so that a reader
    never meets half of one. Rows are written after the samples and the log they point to. What
    cannot be read is never written over: it keeps its line in the table and stays where it is, or
    beside what takes its place.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.work = directory / ".work"
        self._rows: dict[str, Row] = {}
        self._unreadable: dict[str, RowError] = {}
        self._lines: list[dict[str, str]] | None = None

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """Hold the set for writing: folders made, lock taken, rows read, leftovers removed.

        Raises :class:`InputError` when the folder cannot be written or another run holds it.
        """
        with ExitStack() as held:
            try:
                for folder in _FOLDERS:
                    (self.directory / folder).mkdir(parents=True, exist_ok=True)
                held.enter_context(only_one(self.directory))
            except OSError as error:
                raise InputError(
                    "out_dir",
                    f"{self.directory} cannot be written ({error.strerror}); choose another folder",
                ) from None
            held.callback(shutil.rmtree, self.work, ignore_errors=True)
            self._clean()
            self._read_rows()
            yield self

    def _clean(self) -> None:
        """Remove what a killed run left half done."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        for folder in (self.directory, *(self.directory / n for n in _FOLDERS)):
            for leftover in folder.glob(f".*{process.PART}"):
                leftover.unlink()

    def _read_rows(self) -> None:
        self._rows, self._unreadable, self._lines = {}, {}, None
        for path in sorted((self.directory / "rows").glob("*.json")):
            try:
                self._rows[path.stem] = record.read(path)
            except RowError as error:
                self._unreadable[path.stem] = error
                log.warning("rows/%s cannot be read and stays as it is: %s", path.name, error)

    def row(self, key: str) -> Row | None:
        """The stored row of a case, None when there is none that can be read."""
        return self._rows.get(key)

    def newer(self, key: str) -> str | None:
        """Why the case's row must not be replaced: a later benchlib wrote it; None otherwise."""
        error = self._unreadable.get(key)
        return f"rows/{key}.json: {error}" if isinstance(error, NewerRowError) else None

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, in the order of the table: by key."""
        return tuple(self._rows[key] for key in sorted(self._rows))

    def save_series(self, path: str, content: bytes) -> str:
        """Keep a series under ``path`` within the set, and return that."""
        self._write(path, content)
        return path

    def save_log(self, key: str, text: str) -> str | None:
        """Keep a case's log, a long one compressed (xzcat shows it); return the path within the
        set, None when there is nothing to keep or no space for it."""
        if not text:
            return None
        content, names = text.encode(), [f"logs/{key}.log", f"logs/{key}.log.xz"]
        if len(content) > LONG_LOG:
            content = lzma.compress(content, preset=9)
            names.reverse()
        try:
            self._write(names[0], content)
            (self.directory / names[1]).unlink(missing_ok=True)
        except OSError as error:
            log.warning("the log %s is lost: %s", key, error.strerror)
            return None
        return names[0]

    def log(self, row: Row) -> str:
        """The log of a row; empty where it has none."""
        return "" if row.log is None else read_log(self.directory / row.log)

    def save_row(self, row: Row) -> None:
        """Write the row and bring table.csv up to date; raises :class:`StoreError`."""
        try:
            if row.key in self._unreadable:
                self._set_aside(self.directory / "rows" / f"{row.key}.json")
                del self._unreadable[row.key]
            self._save_layers(row)
            bare = row.model_copy(update={"detail": row.detail.without_layers()})
            self._write(f"rows/{row.key}.json", record.dump_row(bare).encode())
            self._rows[row.key] = row
            self.save_table()
        except OSError as error:
            raise StoreError(
                f"the row of {row.key} could not be saved in {self.directory.name}: "
                f"{error.strerror}; rows saved before are whole, and the same command goes on "
                "from them"
            ) from error

    def _save_layers(self, row: Row) -> None:
        """Write the layers of a row that was measured; one that was read has none of its own."""
        name = record.layers_file(row.key)
        if row.detail.layers:
            self._write(name, record.dump_layers(row.detail.layers))
        elif row.detail.layers is not None:
            (self.directory / name).unlink(missing_ok=True)

    def save_table(self) -> None:
        """Rebuild table.csv from the rows; lines whose row cannot be read stay as they are."""
        if self._lines is None:
            self._lines = self._lines_without_row()
        kept = [line for line in self._lines if line["key"] not in self._rows]
        # Of a later version, or of the user's own making.
        more = dict.fromkeys(name for line in kept for name in line if name not in COLUMNS)
        records = [*(row.as_record() for row in self.rows), *kept]
        text = io.StringIO()
        writer = csv.DictWriter(text, [*COLUMNS, *more], lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(records, key=lambda record: record["key"]))
        self._write("table.csv", text.getvalue().encode())

    def _lines_without_row(self) -> list[dict[str, str]]:
        """The lines of the present table.csv for which there is no row; logs what is wrong."""
        path = self.directory / "table.csv"
        lines: list[dict[str, str]] = []
        problem = ""
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                reader = csv.DictReader(stream, strict=True)
                lines = list(reader)
            ragged = any(None in line or None in line.values() for line in lines)
            if ragged or "key" not in (reader.fieldnames or ("key",)):
                problem = "its lines do not fit a header with a key"
        except FileNotFoundError:
            pass
        except (OSError, UnicodeError, csv.Error) as error:
            problem = " ".join(str(error).split())
        if problem:
            lines = []
            aside = self._set_aside(path)
            log.warning("table.csv cannot be read (%s) and is kept as %s", problem, aside.name)
        lines = [line for line in lines if line["key"] not in self._rows]
        keys = {line["key"] for line in lines}
        alone = sorted(keys - self._unreadable.keys())
        if alone:
            log.warning(
                "table.csv keeps %d lines that have no file in rows/, the first of %s; take them "
                "out of it if they are to go",
                len(alone),
                alone[0],
            )
        for key in sorted(self._unreadable.keys() - keys):
            log.warning("table.csv lacks the row of rows/%s.json, which cannot be read", key)
        return lines

    def _set_aside(self, path: Path) -> Path:
        """Rename what cannot be read, so that nothing is written over it; return its new path."""
        names = (f"{path.name}{_DAMAGED}{number or ''}" for number in itertools.count())
        aside = next(
            one for one in map(path.with_name, names) if not (one.exists() or one.is_symlink())
        )
        path.rename(aside)
        return aside

    def save_environment(self, found: Environment) -> None:
        """Write environment.json."""
        text = json.dumps(found.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
        self._write("environment.json", text.encode())

    def environment(self) -> Environment | None:
        """What environment.json holds; one that cannot be read is set aside, and None given."""
        path = self.directory / "environment.json"
        try:
            return environment.load_environment(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            why = " ".join(str(error).split())
            aside = self._set_aside(path)
            log.warning("environment.json cannot be read (%s) and is kept as %s", why, aside.name)
            return None

    def add_note(self, sentence: str, instead_of: str | None = None) -> None:
        """Add a sentence to the notes of environment.json, whatever else it holds, once.

        It takes the place of those that begin with the words ``instead_of``.
        One that is missing or cannot be read stays as it is.
        """
        path = self.directory / "environment.json"
        try:
            document = json.loads(path.read_text(encoding="utf-8-sig"))
            notes = document.setdefault("notes", [])
        except (OSError, ValueError, AttributeError) as error:
            log.warning("environment.json gets no note: %s", " ".join(str(error).split()))
            return
        if sentence not in notes:
            if instead_of is not None:
                notes[:] = [one for one in notes if not str(one).startswith(instead_of)]
            notes.append(sentence)
            text = json.dumps(document, indent=1, allow_nan=False) + "\n"
            self._write(path.name, text.encode())

    def _write(self, name: str, content: bytes) -> None:
        process.write_whole(self.directory / name, content)


# The series of a case as Parquet.


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
"""Steadily rising values take half the space this way; these columns are half of such a file."""


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
    """The samples of each of the ``runs`` of a file; empty for a run without telemetry."""
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
