"""The report's tables of measured sets.

Each function returns a :class:`~benchlib.report.tables.grid.Table`: ``.frame`` is a DataFrame with
full values, ``.caption`` its words, and a notebook shows it with its marks and footnotes. Where a
set has nothing for it, it returns an :class:`~benchlib.report.style.Absent` with the ``.reason``.

Rows that cannot stand in one table (other batches, engines, ways of fixing shapes) are views of
their own; several give a list, and ``view`` chooses one: 0 is the largest, and a number that no
view has raises :class:`~benchlib.errors.InputError`.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchlib.analysis import roofline
from benchlib.analysis.results import MeasuredSet
from benchlib.report import sections
from benchlib.report.style import Absent
from benchlib.report.tables import latency as latencies
from benchlib.report.tables import lineup as lineups
from benchlib.report.tables.grid import Table
from benchlib.report.view import View, one_or_list, per_view, title

Made = Table | Absent | list[Table | Absent]


def latency(measured: MeasuredSet, *, view: int | None = None) -> Made:
    """Milliseconds of one batch, a row per network, a column per precision and size."""
    return per_view(measured, view, lambda one: [latencies.build(one)])


def precision(measured: MeasuredSet, *, view: int | None = None) -> Made:
    """The share (0 to 1) of each engine that runs in the precision asked for."""
    absent = Absent("precision", "the share of layers in each precision is not known.")
    return per_view(
        measured, view, lambda one: [latencies.build_precision(one, measured) or absent]
    )


def layer_times(measured: MeasuredSet, *, view: int | None = None) -> Made:
    """Shares (0 to 1) of each engine's time; needs rows measured with ``profile``."""
    absent = Absent("layertimes", "no row's layers were timed; -p profile true times them.")

    def build(one: View) -> Table | Absent:
        found = roofline.breakdowns(one.usable, measured)
        return latencies.build_layer_times(one, found) if found else absent

    return per_view(measured, view, lambda one: [build(one)])


def int8_methods(measured: MeasuredSet) -> Made:
    """INT8 by the way it was made, a row per network, size and method."""
    absent = Absent("int8", "the set did not make INT8 in more than one way.")
    return one_or_list(sections.int8_section((measured,)).tables or (absent,))


def failures(measured: MeasuredSet) -> Table:
    """Every row that failed, was skipped or is doubted, with its reason."""
    return latencies.build_failures(title(measured), measured.frame)


def claims(measured: MeasuredSet) -> Table:
    """The tested claims with verdict and sentence; :func:`benchlib.findings` has every test."""
    return sections.findings_section((measured,)).tables[0]


def environment(*sets: MeasuredSet) -> Table:
    """What each set was measured on, a column per set."""
    return sections.environment_table(sets)


def lineup(models: Sequence[str] = (), *, height: int = 480, width: int = 640) -> Table:
    """Counted cost and published accuracy of ``models``, all of the line-up when empty.

    ``height`` and ``width`` are pixels. Raises :class:`~benchlib.errors.InputError` for a network
    that is unknown or cannot take the size.
    """
    return lineups.costs(lineups.read_all(models, height, width))
