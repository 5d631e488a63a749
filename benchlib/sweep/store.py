"""A measured set on disk: rows, raw samples, logs, the table, and the lock."""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchlib import locks
from benchlib.errors import InputError
from benchlib.sweep import environment, schema
from benchlib.sweep.environment import Environment
from benchlib.sweep.row import COLUMNS, Row
from benchlib.sweep.schema import RowError

log = logging.getLogger(__name__)

_PART = ".part"
"""Ending of a file that is being written; one found at the start is left from a killed run."""


class StoreError(Exception):
    """A row could not be saved (full disk, folder turned read-only): the run has to stop."""


@contextmanager
def only_one(directory: Path, name: str = ".lock") -> Iterator[None]:
    """Hold the set in ``directory`` against a second holder of the lock ``name``.

    Raises :class:`InputError` when somebody else holds it or there are no locks, and OSError when
    the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locks.held(directory / name, "out_dir", wait_s=0))
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
    never meets half of one. Rows are written after the samples and the log they point to.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.work = directory / ".work"
        self._rows: dict[str, Row] = {}

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """Hold the set for writing: folders made, lock taken, rows read, leftovers removed.

        Raises :class:`InputError` when the folder cannot be written or another run holds it.
        """
        with ExitStack() as held:
            try:
                for folder in ("rows", "samples", "logs"):
                    (self.directory / folder).mkdir(parents=True, exist_ok=True)
                held.enter_context(only_one(self.directory))
            except OSError as error:
                raise InputError(
                    "out_dir",
                    f"{self.directory} cannot be written ({error.strerror}); choose another folder",
                ) from None
            held.callback(shutil.rmtree, self.work, ignore_errors=True)
            self._clean()
            self._rows = {row.key: row for row in self._read_rows()}
            yield self

    def _clean(self) -> None:
        """Remove what a killed run left half done."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        for folder in (self.directory, *(self.directory / n for n in ("rows", "samples", "logs"))):
            for leftover in folder.glob(f".*{_PART}"):
                leftover.unlink()

    def _read_rows(self) -> Iterator[Row]:
        for path in sorted((self.directory / "rows").glob("*.json")):
            try:
                yield schema.loads(path.read_text(encoding="utf-8"))
            except (RowError, UnicodeDecodeError) as error:
                log.warning("rows/%s is left out and measured again: %s", path.name, error)

    def row(self, key: str) -> Row | None:
        """The stored row of a case, None when there is none that can be read."""
        return self._rows.get(key)

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, in the order of the table: by key."""
        return tuple(self._rows[key] for key in sorted(self._rows))

    def save_samples(self, name: str, text: str) -> str:
        """Keep a raw series compressed as ``samples/NAME.gz``; return the path within the set."""
        path = f"samples/{name}.gz"
        # No time stamp inside: the same samples give the same bytes.
        self._write(path, gzip.compress(text.encode(), mtime=0))
        return path

    def save_log(self, key: str, text: str) -> str:
        """Keep a case's log; return the path within the set."""
        name = f"logs/{key}.log"
        self._write(name, text.encode())
        return name

    def save_row(self, row: Row) -> None:
        """Write the row and bring table.csv up to date; raises :class:`StoreError`."""
        try:
            self._write(f"rows/{row.key}.json", schema.dumps(row).encode())
            self._rows[row.key] = row
            self.save_table()
        except OSError as error:
            raise StoreError(
                f"the row of {row.key} could not be saved in {self.directory.name}: "
                f"{error.strerror}; rows saved before are whole, and the same command goes on "
                "from them"
            ) from error

    def save_table(self) -> None:
        """Rebuild table.csv from the rows."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow(row.as_record())
        self._write("table.csv", text.getvalue().encode())

    def save_environment(self, found: Environment) -> None:
        """Write environment.json."""
        text = json.dumps(found.as_json(), indent=1, allow_nan=False) + "\n"
        self._write("environment.json", text.encode())

    def environment(self) -> Environment | None:
        """What environment.json holds; None when there is none that can be read."""
        path = self.directory / "environment.json"
        if not path.is_file():
            return None
        try:
            return environment.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            log.warning("environment.json is written anew: %s", " ".join(str(error).split()))
            return None

    def _write(self, name: str, content: bytes) -> None:
        path = self.directory / name
        part = path.parent / f".{path.name}{_PART}"
        try:
            with part.open("wb") as sink:
                sink.write(content)
                sink.flush()
                os.fsync(sink.fileno())
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
