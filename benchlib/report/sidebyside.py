"""Several measured sets in one report: ratios per cell, and what differs around them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from benchlib.analysis import literature, parts, wording
from benchlib.analysis.compare import Comparison, Outcome, compare
from benchlib.analysis.literature import Beside
from benchlib.analysis.measured import MeasuredSet
from benchlib.report import numerals, theme
from benchlib.report.section import Bullets, Folded, Heading, Part, Section, Words
from benchlib.report.tables.grid import Cell, Column, Table
from benchlib.report.view import shown, slug, title

_NOTHING_SHARED = Words("The two sets share no case.")


def side_by_side(sets: Sequence[MeasuredSet]) -> Section:
    """Measured sets against each other in their order, and each beside published figures."""
    measured = [one for one in sets if not one.published]
    published = [one for one in sets if one.published]
    compared = [_compared(first, second) for first, second in pairwise(measured)]
    compared += [_beside(one, other) for one in measured for other in published]
    if not compared:
        text = "This report has no second set to lay beside the first."
        return Section((Words(text, "absent"),))
    return Section.of(part for some in compared for part in some)


def _compared(first: MeasuredSet, second: MeasuredSet) -> list[Part | None]:
    found = compare(first, second)
    heading = _heading(f"{title(second)} against {title(first)}", second, first)
    if found.mean_ratio is None:
        return [heading, _NOTHING_SHARED]
    counted = ", ".join(f"{len(found.of(word))} {word.value}" for word in Outcome)
    mean = numerals.short(found.mean_ratio)
    low, high = numerals.short(found.low), numerals.short(found.high)
    bounds = (
        ", too few networks for an interval"
        if found.low is None
        else f" with a 95 % interval over networks of {low} to {high}"
    )
    said = (
        f"Over {wording.plural(len(found.rows), 'case')} in both, {found.second} takes {mean} "
        f"times as long as {found.first} (geometric mean{bounds}); {counted}."
    )
    return [heading, Words(said), _folded("case", _cases(found)), _surroundings(found)]


def _cases(found: Comparison) -> Table:
    rows = found.rows
    return Table(
        name=f"compare-{slug(found.first)}-{slug(found.second)}",
        caption=f"Times in ms of one batch; a ratio below 1: {found.second} is faster.",
        corner="Network",
        rows=tuple(shown(row.model) for row in rows),
        columns=(
            Column("Case", "Size", tuple(Cell(f"{row.width}×{row.height}") for row in rows)),
            Column(
                "Case",
                "Precision",
                tuple(_precision(row.precision, row.int8_method) for row in rows),
            ),
            Column("ms", found.first, tuple(_number(row.first_ms) for row in rows)),
            Column("ms", found.second, tuple(_number(row.second_ms) for row in rows)),
            Column(
                f"{found.second} over {found.first}",
                "ratio",
                tuple(_number(row.ratio) for row in rows),
            ),
            Column(
                f"{found.second} over {found.first}",
                "",
                tuple(Cell(row.outcome.value) for row in rows),
            ),
        ),
    )


def _surroundings(found: Comparison) -> Table | None:
    if not found.differences:
        return None
    return Table(
        sortable=False,
        name=f"differences-{slug(found.first)}-{slug(found.second)}",
        caption="What else differs between the two sets.",
        corner="Fact",
        rows=tuple(one.field for one in found.differences),
        columns=(
            Column("", found.first, tuple(_word(one.first) for one in found.differences)),
            Column("", found.second, tuple(_word(one.second) for one in found.differences)),
        ),
    )


def _beside(measured: MeasuredSet, published: MeasuredSet) -> list[Part | None]:
    found = literature.beside(measured, published)
    heading = _heading(f"{title(measured)} beside {title(published)}", measured, published)
    if not found:
        return [heading, _NOTHING_SHARED]
    ratios = sorted(one.ratio for one in found)
    reasons = list(dict.fromkeys(reason for one in found for reason in one.reasons))
    said = (
        f"{wording.plural(len(found), 'cell')} in both: ours takes {numerals.short(ratios[0])} to "
        f"{numerals.short(ratios[-1])} times as long, {numerals.short(ratios[len(ratios) // 2])} "
        "in the median."
    )
    listed = [Words("Known differences:"), Bullets(reasons)] if reasons else []
    folded = _folded("cell", _cells(measured, published, found))
    return [heading, Words(said), *listed, folded]


def _cells(measured: MeasuredSet, published: MeasuredSet, found: Sequence[Beside]) -> Table:
    return Table(
        name=f"beside-{slug(measured.name)}-{slug(published.name)}",
        caption="Times in ms of one batch, and ours over the published figure.",
        corner="Network",
        rows=tuple(shown(one.model) for one in found),
        columns=(
            Column("Case", "Size", tuple(Cell(wording.size(one.resolution)) for one in found)),
            Column(
                "Case",
                "Precision",
                tuple(_precision(one.precision, one.int8_method) for one in found),
            ),
            Column("ms", "ours", tuple(_number(one.ours_ms) for one in found)),
            Column("ms", "published", tuple(_number(one.published_ms) for one in found)),
            Column("", "ratio", tuple(_number(one.ratio) for one in found)),
            Column("", "published as", tuple(Cell(one.published_model) for one in found)),
        ),
    )


def _heading(text: str, *sets: MeasuredSet) -> Heading:
    return Heading(text, f"beside-{'-'.join(slug(one.name) for one in sets)}")


def _folded(noun: str, table: Table) -> Folded:
    return Folded(f"Every {noun} ({len(table.rows)})", (table,))


def _precision(word: str, method: str | None) -> Cell:
    return Cell(theme.precision_label(parts.by_method(word, method) if method else word))


def _number(value: float) -> Cell:
    return Cell(numerals.short(value), value)


def _word(value: object) -> Cell:
    return Cell(wording.DASH if value in (None, "") else str(value))
