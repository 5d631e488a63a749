"""A measured set: the rows one run left in a folder, read back for analysis and report."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from itertools import repeat
from pathlib import Path
from typing import Any, get_args

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from benchlib.analysis.wording import slug
from benchlib.case import ONNX_PREFIX, Case, Precision, Status, Verdict, file_name, with_digest
from benchlib.errors import InputError, first_line
from benchlib.measure.record import (
    COLUMNS,
    Detail,
    LayerEvidence,
    Row,
    layers_file,
    load_layers,
    with_notes_apart,
)
from benchlib.stats.quality_checks import NOTES

log = logging.getLogger(__name__)

TABLE = "table.csv"
ENVIRONMENT = "environment.json"

_NEEDED = ("model", "precision", "height", "width", "status", "latency_ms")
_NEVER_EMPTY = ("model", "precision", "height", "width", "status")
_CASE = ("key", *(one.name for one in fields(Case)))
_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""As programs write numbers: no thousands separator, no decimal comma, no ``nan`` or ``inf``."""

_COMPARED = (
    *("precision", "batch", "height", "width", "status", "verdict"),
    *("latency_ms", "latency_ci_low_ms", "latency_ci_high_ms"),
)
"""The cells by which a figure would be wrong, where the table has others than its rows."""

_ROUNDED = 1e-3
"""Relative difference that rounding by hand or by a spreadsheet explains: four digits shown."""

_YES_NO = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def _kind(column: FieldInfo) -> type:
    """What a column holds: its type in :class:`Row`, None apart."""
    known = [one for one in get_args(column.annotation) if one is not type(None)]
    kind = known[0] if type(None) in get_args(column.annotation) else column.annotation
    return kind if isinstance(kind, type) else str


_KINDS = {name: _kind(Row.model_fields[name]) for name in COLUMNS}
_NUMBERS = tuple(name for name, kind in _KINDS.items() if kind in (int, float))
_SWITCHES = tuple(name for name, kind in _KINDS.items() if kind is bool)
_TEXT = tuple(name for name in COLUMNS if name not in (*_NUMBERS, *_SWITCHES))


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredSet:
    """One run's rows and surroundings.

    ``frame`` has the columns of ``table.csv`` (a missing one is there and empty), where a
    ``model`` is one network: two files of one name have two names. Four more are made from
    them: ``resolution`` (``WIDTHxHEIGHT``, ordered by pixels), ``megapixels`` of one image,
    and ``fps`` with ``fps_low`` and ``fps_high``: images per second at the median latency and at
    the ends of its interval. ``precision`` is an ordered categorical. ``published`` says that the
    numbers were copied from a publication and measured by nobody here. ``folder`` is where the
    set lies; it must not reach a page. ``details`` is the evidence that ``rows/`` holds, by key.
    ``damaged`` has a sentence for each file there that cannot be read; what only that file holds
    is missing.
    """

    name: str
    frame: pd.DataFrame = field(repr=False)
    environment: dict[str, Any] = field(repr=False)
    published: bool
    folder: Path | None = None
    details: Mapping[str, Detail] = field(default_factory=dict, repr=False)
    damaged: tuple[str, ...] = ()

    def commands(self, key: str) -> tuple[tuple[str, ...], ...]:
        """The argv lists that row ``key`` was made with, build first; empty when not kept."""
        return self._detail(key).commands or ()

    def doubts(self, key: str) -> tuple[str, ...]:
        """A sentence for each reason code of row ``key``, in their order; empty when not kept."""
        return self._detail(key).reasons or ()

    def remarks(self, key: str) -> tuple[str, ...]:
        """A sentence for each note of row ``key``, in their order; empty when not kept."""
        return self._detail(key).notes or ()

    def shares(self, key: str) -> dict[str, dict[str, float] | None]:
        """Shares (0 to 1) of ``layers``, ``macs`` and ``time`` by type in the engine of row
        ``key``; a kind that is not known is None or missing."""
        return self._detail(key).shares or {}

    def layer_types(self, key: str) -> dict[str, int]:
        """How many layers of each of TensorRT's types the engine of row ``key`` has; empty when
        not kept."""
        return self._detail(key).layer_types or {}

    def off_fp32(self, key: str) -> float | None:
        """Relative L2 distance of the graph's output of row ``key`` from FP32's, on real images;
        None where it was not measured, as with ranges that the builder makes up."""
        graph = self._detail(key).graph
        return None if graph is None or graph.fidelity is None else graph.fidelity.relative_l2

    def layers(self, key: str) -> tuple[LayerEvidence, ...]:
        """The engine's layers of row ``key``, each with ``name``, ``type``, ``precision``,
        ``macs`` and ``time_ms`` (None: not known); empty when not kept or not readable."""
        kept = self._detail(key).layers
        if kept is not None or self.folder is None:
            return kept or ()
        path = self.folder / layers_file(key)
        try:
            return load_layers(path.read_bytes())
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:
            why = first_line(error)
            log.warning("%s: %s cannot be read (%s)", self.name, layers_file(key), why)
            return ()

    def _detail(self, key: str) -> Detail:
        return self.details.get(key) or Detail()


class _File(BaseModel):
    """``rows/KEY.json``, of whatever version; what the table has too is in ``model_extra``."""

    model_config = ConfigDict(coerce_numbers_to_str=True, extra="allow")

    key: str | None = None
    detail: Detail | None = None


def _read_file(path: Path) -> _File:
    """The row in ``path``; raises ValueError, with one line, where it cannot be read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(document, dict):
            document = with_notes_apart(document)
        found = _File.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}".removeprefix(": ")) from None
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not whole JSON: {error}") from None
    if found.key not in (None, path.stem):
        raise ValueError(f"it is the row of {found.key}")
    return found


def _details(folder: Path, frame: pd.DataFrame) -> tuple[dict[str, Detail], tuple[str, ...]]:
    """What ``rows/`` holds, each file read once, and a sentence for each that cannot be read or
    that the table lacks, and for cells in which the two differ."""
    cells = frame[["key", *_COMPARED]].astype(object).to_dict("records")
    known = {str(one.pop("key")): one for one in cells}
    details, found, unlike = {}, [], []
    for path in sorted((folder / "rows").glob("*.json")):
        try:
            file = _read_file(path)
            details[path.stem] = file.detail or Detail()
            if path.stem in known:
                unlike += _differences(path.stem, known[path.stem], file.model_extra or {})
            problem = ""
        except ValueError as error:
            problem = f"rows/{path.name} cannot be read ({error})"
        if path.stem in known:
            if problem:
                found.append(
                    f"{problem}; its commands, layers and shares are left out, and its numbers are "
                    f"those of {TABLE}"
                )
        elif problem:
            found.append(f"{problem}; its row is left out")
        else:
            found.append(
                f"rows/{path.name} has no line in {TABLE}; its row is left out until benchlib run "
                "writes the table again"
            )
    if unlike:
        count = "1 cell" if len(unlike) == 1 else f"{len(unlike)} cells"
        found.append(
            f"{TABLE} and rows/ differ in {count}, the first {unlike[0]}; the numbers are those of "
            f"{TABLE}, and benchlib rejudge writes it again from rows/"
        )
    return details, tuple(found)


def _counted(detail: Detail) -> list[dict[str, Any]]:
    """The timing processes that a row's numbers are of."""
    return [one for one in detail.runs or () if not one.get("set_aside")]


def _differences(key: str, cells: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """What the table has otherwise than ``row``: a cell that was mended by hand, or that a
    spreadsheet took for another number."""
    found = []
    for name, cell in cells.items():
        given = None if pd.isna(cell) else cell
        stored = row.get(name, given)
        are_numbers = all(isinstance(one, (int, float)) for one in (given, stored))
        if not (math.isclose(given, stored, rel_tol=_ROUNDED) if are_numbers else given == stored):
            words = ["nothing" if one is None else str(one) for one in (given, stored)]
            found.append(f"{name} of {key}: {words[0]} in the table, {words[1]} in its row")
    return found


def codes(row: Any) -> list[str]:
    """The codes of a row of the frame: of doubt first, then its notes."""
    cells = (row.reasons, row.notes)
    return [code for cell in cells if not pd.isna(cell) for code in str(cell).split(";") if code]


def known(value: float) -> float | None:
    """A number of a frame, None where it is empty."""
    return None if pd.isna(value) else float(value)


def load(path: str | Path) -> MeasuredSet:
    """Read the set in folder ``path`` (or with table ``path``).

    Raises :class:`InputError` when there is no table, or one that cannot be read, that lacks a
    required column, or that has a cell which its column cannot hold. A row's own file that cannot
    be read is logged, and the rest is taken.
    """
    given = Path(path)
    table = given / TABLE if given.is_dir() else given
    folder = table.parent
    if not table.is_file():
        raise InputError("results", f"no {TABLE} in {path}; give the folder of a measured set")
    environment = _environment(folder / ENVIRONMENT)
    frame = _frame(table)
    details, damaged = _details(folder, frame)
    for sentence in damaged:
        log.warning("%s: %s", folder.resolve().name, sentence)
    # Rows from before there were rounds have their timing processes in their evidence alone
    runs = {key: len(_counted(one)) for key, one in details.items() if one.runs}
    frame["rounds"] = frame["rounds"].fillna(frame["key"].map(runs).astype(float))
    return MeasuredSet(
        name=str(environment.get("name") or folder.resolve().name),
        frame=frame,
        environment=environment,
        published=bool(environment.get("published", False)),
        folder=folder,
        details=details,
        damaged=damaged,
    )


def load_sets(paths: str | Path | Sequence[str | Path]) -> tuple[MeasuredSet, ...]:
    """Read the measured sets; raise :class:`InputError` for none, for sets that all lack rows, and
    for two of one name.

    A path alone is one set: ``papermill -p results DIR`` gives a text where a list is declared.
    """
    sets = tuple(load(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths))
    if not sets:
        raise InputError("results", "no measured set was named; give at least one folder")
    if not any(len(one.frame) for one in sets):
        raise InputError("results", f"no rows in {sets[0].name}; give a set that holds some")
    names = [one.name for one in sets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError("results", f"two sets are called {twice[0]!r}; rename one folder")
    files: dict[str, str] = {}
    for name in names:
        if (other := files.setdefault(slug(name), name)) != name:
            raise InputError(
                "results",
                f"the sets {other!r} and {name!r} would share names of files; rename one folder",
            )
    return sets


def usable(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with a latency to draw or to compute with: status ok and not INVALID."""
    good = (frame["status"] == Status.OK.value) & frame["latency_ms"].notna()
    return frame[good & (frame["verdict"] != Verdict.INVALID.value)]


def complete(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with every column of :class:`MeasuredSet` and their types; rows as they stand."""
    columns: dict[str, pd.Series] = {}
    for name in _TEXT:
        words = _column(frame, name).astype(object)
        columns[name] = words.where(words.notna() & (words != ""), None)
    columns |= _notes_apart(columns["reasons"], columns["notes"])
    for name in _NUMBERS:
        columns[name] = pd.to_numeric(_column(frame, name)).astype(float)
    for name in _SWITCHES:
        columns[name] = _column(frame, name).map(_switch).astype("boolean")
    rest = {name: frame[name] for name in frame.columns if name not in columns}
    whole = pd.DataFrame({**columns, **rest})
    whole["batch"] = whole["batch"].fillna(1.0)
    # Before there was such a rest, and in publications, queries came back to back
    whole["idle_ms"] = whole["idle_ms"].fillna(0.0)
    whole["model"] = _distinct_names(whole["model"], whole["model_digest"])
    order = [precision.value for precision in Precision]
    whole["precision"] = pd.Categorical(whole["precision"], categories=order, ordered=True)
    whole["megapixels"] = whole["height"] * whole["width"] / 1e6
    whole["resolution"] = _resolutions(whole)
    for name, latency in (
        ("fps", "latency_ms"),
        ("fps_low", "latency_ci_high_ms"),
        ("fps_high", "latency_ci_low_ms"),
    ):
        whole[name] = 1000.0 * whole["batch"] / whole[latency]
    return whole


def _notes_apart(reasons: pd.Series, notes: pd.Series) -> dict[str, pd.Series]:
    """As :func:`benchlib.measure.record.with_notes_apart`, for the cells of a table."""
    split: dict[str, list[str | None]] = {"reasons": [], "notes": []}
    for cells in zip(reasons, notes, strict=True):
        known = [code for cell in cells if cell for code in str(cell).split(";")]
        for name, kept in split.items():
            some = [code for code in known if (code in NOTES) is (name == "notes")]
            kept.append(";".join(some) or None)
    return {
        name: pd.Series(kept, index=reasons.index, dtype=object) for name, kept in split.items()
    }


def files(frame: pd.DataFrame) -> pd.Series:
    """``onnx:FILE`` for each network that is a user's file, without what distinguishes it from
    another of the same name in its set; the model for the others."""
    pairs = zip(frame["model"], frame["model_digest"], strict=True)
    return pd.Series([_file(*pair) for pair in pairs], index=frame.index, dtype=object)


def _file(model: str | None, digest: str | None) -> str | None:
    name = None if model is None else file_name(model, digest)
    return model if name is None else f"{ONNX_PREFIX}{name}"


def _distinct_names(models: pd.Series, digests: pd.Series) -> pd.Series:
    """One name for each network: its shortest that is no other's, else with digits of its content.

    A network is a file's name and content. Rows without a digest keep their names.
    """
    rows = list(zip(models, digests, strict=True))
    names: dict[tuple[str, str], set[str]] = {}
    owners: dict[str, set[str | None]] = {}
    for model, digest in rows:
        owners.setdefault(model, set()).add(digest)
        if digest is not None:
            names.setdefault((_file(model, digest), digest), set()).add(model)
    chosen = {}
    for (name, digest), recorded in names.items():
        own = sorted(
            (one for one in recorded if owners[one] == {digest}), key=lambda n: (len(n), n)
        )
        chosen[name, digest] = own[0] if own else with_digest(name, digest)
    return pd.Series(
        [chosen.get((_file(model, digest), digest), model) for model, digest in rows],
        index=models.index,
        dtype=object,
    )


def _frame(table: Path) -> pd.DataFrame:
    header, records = _records(table)
    _refuse_duplicates(table, header, records)
    columns = dict(zip(header, zip(*(record for _, record in records), strict=True), strict=False))
    # Each value once: a column repeats most
    wrong = {
        name: {cell: why for cell in set(column) if (why := _problem(name, cell)) is not None}
        for name, column in columns.items()
    }
    some = [columns.get(name) or repeat("") for name in _CONTRADICTING]
    for (line, record), *cells in zip(records, *some, strict=False):
        for name, cell in zip(header, record, strict=True) if any(wrong.values()) else ():
            if cell in wrong[name]:
                raise InputError(
                    "results", f"{table}, line {line}, column {name}: {wrong[name][cell]}"
                )
        problem = _contradiction(*cells)
        if problem is not None:
            raise InputError("results", f"{table}, line {line}, {problem}")
    raw = pd.DataFrame([record for _, record in records], columns=list(header), dtype=str)
    # Only an empty field is missing: the words "None" and "NA" are words.
    return complete(raw.mask(raw == ""))


def _refuse_duplicates(
    table: Path, header: Sequence[str], records: Sequence[tuple[int, list[str]]]
) -> None:
    """Refuse two lines of one case, and two of one key: all but one would be dropped later."""
    if "key" not in header:
        return
    places = [header.index(name) for name in _CASE if name in header]
    first: dict[tuple[str, ...], int] = {}
    for line, record in records:
        case = tuple(record[place] for place in places)
        if first.setdefault(case, line) != line:
            raise InputError(
                "results",
                f"{table}, line {line}: its case stands in line {first[case]} already "
                f"({record[header.index('key')]}); take one of them out, or give the tables of "
                "two sets apart",
            )
    owners: dict[str, int] = {}
    kept = {path.stem for path in (table.parent / "rows").glob("*.json")}
    for line, record in records:
        key = record[header.index("key")]
        if key in kept and owners.setdefault(key, line) != line:
            raise InputError(
                "results",
                f"{table}, line {line}, column key: line {owners[key]} has {key!r} too, and a "
                "row's evidence is found by it; give each row a key of its own",
            )


def _records(table: Path) -> tuple[Sequence[str], list[tuple[int, list[str]]]]:
    """The header of ``table``, and its rows with the line each begins in."""
    try:
        # The mark that spreadsheets put before UTF-8 is no part of the first column's name.
        text = table.read_text(encoding="utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [name.strip() for name in next(reader, [])]
        records, line = [], reader.line_num + 1
        for cells in reader:
            if any(map(str.strip, cells)):
                records.append((line, cells))
            line = reader.line_num + 1
    except (OSError, UnicodeError, csv.Error) as error:
        raise _unreadable(table, " ".join(str(error).split())) from None
    if not any(header):
        raise _unreadable(table, "its first line names no columns")
    _check_header(table, header)
    for line, cells in records:
        if len(cells) != len(header):
            raise InputError(
                "results",
                f"{table}, line {line}: {len(cells)} cells under {len(header)} columns; a decimal "
                "comma, a missing quote or a torn line does that: mend it, or take the line out",
            )
    known = [index for index, name in enumerate(header) if name in _KINDS]
    for _, cells in records:
        for index in known:
            cells[index] = cells[index].strip()
    # As pandas calls a column without a name, such as the index that it writes itself.
    return [name or f"Unnamed: {index}" for index, name in enumerate(header)], records


def _unreadable(table: Path, problem: str) -> InputError:
    return InputError(
        "results",
        f"{table.name} is not a readable CSV ({problem}); give a measured set: its "
        f"folder, or the {TABLE} in it, in UTF-8 and with commas",
    )


def _check_header(table: Path, header: Sequence[str]) -> None:
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(
            "results", f"{table}, line 1: two columns are called {twice[0]}; take one of them away"
        )
    missing = [name for name in _NEEDED if name not in header]
    if not missing:
        return
    for delimiter, word in _OTHER_DELIMITERS.items():
        split = [name.strip(' "') for name in ",".join(header).split(delimiter)]
        if set(_NEEDED) <= set(split):
            raise InputError(
                "results", f"{table} separates its cells by {word}; save it with commas"
            )
    raise InputError(
        "results", f"{table} lacks the columns {', '.join(missing)}; give a measured set"
    )


def _problem(name: str, cell: str) -> str | None:
    """Why ``cell`` cannot stand in column ``name``, and the remedy; None where it can."""
    kind = _KINDS.get(name, str)
    if cell == "":
        return "is empty; fill it in, or take the row out" if name in _NEVER_EMPTY else None
    if kind in (int, float):
        return _no_number(cell, kind, Row.model_fields[name].metadata)
    if kind is bool and cell.lower() not in _YES_NO:
        return f"{cell!r} is neither True nor False"
    if issubclass(kind, Enum) and cell not in {member.value for member in kind}:
        return f"{cell!r} is not one of {', '.join(member.value for member in kind)}"
    return None


_CONTRADICTING = ("status", "verdict", "latency_ms", "latency_ci_low_ms", "latency_ci_high_ms")


def _contradiction(status: str, verdict: str, ms: str, low: str, high: str) -> str | None:
    """In which column a row contradicts another of its cells, and how; each cell is valid alone.

    A row that is ok and has no latency would be left out of figures and findings silently.
    """
    if ms == "" and status == Status.OK.value and verdict != Verdict.INVALID.value:
        return "column latency_ms: is empty though the row is ok; fill it in, or take the row out"
    if low and high and float(low) > float(high):
        return f"column latency_ci_low_ms: {low!r} is more than {high!r}, its upper end"
    if ms and low and high and not float(low) <= float(ms) <= float(high):
        return f"column latency_ms: {ms!r} is outside of its interval, {low} to {high}"
    return None


def _no_number(cell: str, kind: type, bounds: Sequence[Any]) -> str | None:
    if not _NUMBER.fullmatch(cell):
        return (
            f"{cell!r} is no number; write digits with a decimal point and nothing else, or leave "
            "the cell empty"
        )
    value = float(cell)
    if not math.isfinite(value):
        return f"{cell!r} is too large for a number"
    if kind is int and not value.is_integer():
        return f"{cell!r} is no whole number"
    for bound in bounds:
        for sign, word, holds in (
            ("gt", "greater than", float.__gt__),
            ("ge", "at least", float.__ge__),
            ("le", "at most", float.__le__),
        ):
            limit = getattr(bound, sign, None)
            if limit is not None and not holds(value, float(limit)):
                return f"{cell!r} is not {word} {limit}"
    return None


def _environment(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("results", f"{path} is not a JSON object: {error}") from None
    if not isinstance(document, dict):
        raise InputError("results", f"{path} is not a JSON object")
    if not isinstance(document.get("published", False), bool):
        raise InputError(
            "results", f"{path}: published is {document['published']!r}; write true or false"
        )
    return document


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    if name in frame.columns:
        return frame[name]
    return pd.Series([None] * len(frame), index=frame.index, dtype=object)


def _switch(value: object) -> object:
    return _YES_NO.get(str(value).strip().lower(), pd.NA)


def _resolutions(frame: pd.DataFrame) -> pd.Categorical:
    sizes = sorted({(h * w, h, w) for h, w in zip(frame["height"], frame["width"], strict=True)})
    names = [f"{w:.0f}x{h:.0f}" for _, h, w in sizes]
    each = [f"{w:.0f}x{h:.0f}" for h, w in zip(frame["height"], frame["width"], strict=True)]
    return pd.Categorical(each, categories=names, ordered=True)
