"""The sections of the line-up page: what ``lineup.ipynb`` calls, one line per cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchlib.case import resolution
from benchlib.errors import InputError
from benchlib.models.card import CLASSIFICATION, SEGMENTATION
from benchlib.report import lineup_table
from benchlib.report.document import saved
from benchlib.report.drawing import Absent, Drawing
from benchlib.report.figures import lineup as figures
from benchlib.report.lineup_table import Record
from benchlib.report.section import Section, Styles
from benchlib.report.tables.grid import Table


@dataclass(frozen=True, slots=True, eq=False)
class LineUp:
    """The networks at several sizes, one sequence of records per size.

    ``figures_dir`` is where figures are saved as well; nowhere when it is empty.
    """

    sizes: tuple[tuple[Record, ...], ...]
    figures_dir: str = ""

    def table(self) -> Table:
        """Cost and published accuracy at the first size."""
        return lineup_table.costs(self.sizes[0])

    def facts(self) -> Table:
        """Where the graphs end, and whose the accuracies are."""
        return lineup_table.facts(self.sizes[0])

    def work(self) -> Drawing | Absent:
        """GMACs against megapixels."""
        every = [row for rows in self.sizes for row in rows]
        return saved(figures.work(every), self.figures_dir)

    def accuracies(self) -> Section:
        """Accuracy against parameters, a figure per task: their metrics do not compare."""
        drawn = [figures.accuracy(self.sizes[0], task) for task in (CLASSIFICATION, SEGMENTATION)]
        return Section.of(saved(one, self.figures_dir) for one in drawn)


def read(models: Sequence[str], resolutions: Sequence[str], figures_dir: str = "") -> LineUp:
    """Count ``models`` (all of the line-up when empty) at each ``WIDTHxHEIGHT``.

    Raises :class:`InputError` for an unknown network or size, or when no size is given.
    """
    if not resolutions:
        raise InputError("resolutions", "no size was given; give at least one, like 640x480")
    sizes = (resolution(size) for size in resolutions)
    return LineUp(
        tuple(lineup_table.read_all(models, height, width) for height, width in sizes),
        figures_dir,
    )


def styles() -> Styles:
    """The style of tables and figures; the first thing the notebook shows."""
    return Styles()
