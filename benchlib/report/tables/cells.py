"""Cells and columns that several tables have."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from benchlib.analysis import wording
from benchlib.report.tables.grid import Cell, Column


def share(value: float | None) -> Cell:
    """A share (0 to 1) in percent, a dash where it is not known."""
    if value is None or pd.isna(value):
        return Cell(wording.DASH, note="not known")
    return Cell(wording.percent(value, tenths=False), float(value))


def only_size(resolutions: Sequence[str]) -> str | None:
    """The size that all rows of a table share, ``640×480``; None where they differ."""
    return wording.size(resolutions[0]) if len(set(resolutions)) == 1 else None


def sizes(resolutions: Sequence[str]) -> tuple[Column, ...]:
    """The column of sizes, or none where :func:`only_size` says it all."""
    if only_size(resolutions) is not None:
        return ()
    return (Column("", "Size", tuple(Cell(wording.size(one)) for one in resolutions)),)
