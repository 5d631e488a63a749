"""What each set was measured on: its environment, flattened, sets side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchlib.analysis import wording
from benchlib.analysis.measured import MeasuredSet
from benchlib.report.tables.grid import Cell, Column, Table

_ELSEWHERE = ("notes", "title", "published", "parameters", "packages")
"""Told in the text, or too long for a table of surroundings."""


def build(sets: Sequence[MeasuredSet]) -> Table:
    """One line per fact (``gpu name``, ``driver`` …), one column per set; a dash if unknown."""
    facts = [dict(flat(one.environment)) for one in sets]
    names = list(dict.fromkeys(name for known in facts for name in known))
    return Table(
        sortable=False,
        name="environment",
        caption="What each set was measured on. A dash: not recorded.",
        corner="Fact",
        rows=tuple(names),
        columns=tuple(
            Column("", one.name, tuple(Cell(known.get(name, wording.DASH)) for name in names))
            for one, known in zip(sets, facts, strict=True)
        ),
    )


def flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """``("gpu name", "…")`` and so on; empty values and what is told elsewhere are left out."""
    for key, value in document.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        if (not prefix and key in _ELSEWHERE) or value in (None, "", [], {}):
            continue
        if isinstance(value, Mapping):
            yield from flat(value, name)
        elif isinstance(value, list | tuple):
            yield name, ", ".join(map(str, value))
        else:
            yield name, str(value)
