"""Parts of a table whose rows may be compared with each other.

Rows are comparable when engine, batch, shape mode, typing and INT8 method agree. A set that
varies one of these is tested part by part, never mixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from benchlib.analysis.measured import usable
from benchlib.case import Precision
from benchlib.models import lineup

_CELL = ["model", "precision", "resolution"]
_SHARED = ["engine", "batch", "shape_mode"]
_WORDS = len(_SHARED) + 2


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """``frame`` has at most one row per model, precision and size; ``label`` names only what
    sets it apart from the other parts of its table, so it is empty for an only one."""

    label: str
    frame: pd.DataFrame


def parts(frame: pd.DataFrame) -> tuple[Part, ...]:
    """The comparable parts of ``frame``, the one with most rows first; none for no rows."""
    found = sorted(_split(frame), key=lambda one: (-len(one[1]), one[0]))
    kinds = [len({words[place] for words, _ in found}) for place in range(_WORDS)]
    return tuple(
        Part(
            ", ".join(word for word, many in zip(words, kinds, strict=True) if many > 1 and word),
            rows.sort_values(_CELL, kind="stable"),
        )
        for words, rows in found
    )


def sound(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that findings rest on: usable, and no network rebuilt from guesses.

    SUSPECT rows are among them; who reports on them says how many.
    """
    good = usable(frame)
    names = good["model"].astype(str).str.removesuffix("@stride")
    return good[~names.isin(reconstructions())]


def reconstructions() -> frozenset[str]:
    """Networks of the line-up that were rebuilt from an incomplete description."""
    return frozenset(name for name in lineup.names() if lineup.card(name).reconstruction)


def precisions(frame: pd.DataFrame) -> list[str]:
    """The precisions that occur in ``frame``, in their order."""
    return [str(word) for word in _present(frame["precision"])]


def sizes(frame: pd.DataFrame) -> list[str]:
    """The image sizes that occur in ``frame``, ``WIDTHxHEIGHT``, smallest first."""
    return [str(word) for word in _present(frame["resolution"])]


def at(frame: pd.DataFrame, precision: str, size: str | None = None) -> pd.DataFrame:
    """The rows of ``frame`` at one precision and, when given, one size."""
    rows = frame[frame["precision"] == precision]
    return rows if size is None else rows[rows["resolution"] == size]


def _present(column: pd.Series) -> list[object]:
    return list(column.cat.remove_unused_categories().cat.categories)


def _split(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Rows that belong together, each with its engine, batch, shapes, typing and INT8 method."""
    for (engine, batch, shapes), rows in frame.groupby(_SHARED, dropna=False, sort=True):
        shared = (_word(engine), f"batch {batch:.0f}", _word(shapes))
        if not rows.duplicated(_CELL).any():
            yield (*shared, "", ""), rows
            continue
        int8 = rows["precision"] == Precision.INT8.value
        for typing in list(rows["typing"].dropna().unique()) or [None]:
            for method in list(rows.loc[int8, "int8_method"].dropna().unique()) or [None]:
                mine = ~int8 | (rows["int8_method"] == method if method else True)
                part = rows[mine & ((rows["typing"] == typing) | rows["typing"].isna())]
                said = (f"{typing} typing" if typing else "", f"INT8 by {method}" if method else "")
                yield (*shared, *said), part.drop_duplicates(_CELL, keep="last")


def _word(value: object) -> str:
    return "" if pd.isna(value) else str(value)
