"""The table of the blog: networks down, size and precision across, ms in the cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from benchlib.analysis import wording
from benchlib.case import Status, Verdict
from benchlib.report import numerals, theme
from benchlib.report.tables.grid import Cell, Column, Mark, Table
from benchlib.report.view import View
from benchlib.sweep import digits

_NOT_RUN = "not in this run"
_METRIC_TITLES = {"ImageNet top-1": "Top-1 %", "Cityscapes mIoU": "mIoU %"}


def build(view: View) -> Table:
    """Median latency in ms per batch, beside what is known of each network.

    Best and worst of a column are marked among usable rows. ImageNet and Cityscapes accuracies
    are two columns, so the one is never ranked against the other.
    """
    frame = view.frame
    models = _by_family(frame)
    footnotes = _Footnotes()
    columns = _facts(frame, models)
    sizes = frame["resolution"].cat.remove_unused_categories().cat.categories
    precisions = frame["precision"].cat.remove_unused_categories().cat.categories
    by_cell = {
        (row.model, str(row.resolution), str(row.precision)): row
        for row in frame.itertuples(index=False)
    }
    for size in sizes:
        for precision in precisions:
            rows = [by_cell.get((model, size, precision)) for model in models]
            if not any(rows):
                continue
            cells = tuple(_latency(row, footnotes, view.published) for row in rows)
            title = theme.precision_label(precision)
            columns.append(Column(wording.size(size), title, _marked(cells, low_is_best=True)))
    return Table(
        name=f"latency-{view.slug}",
        caption=_caption(view, columns),
        corner="Network",
        rows=tuple(models),
        columns=tuple(columns),
        footnotes=tuple(footnotes.lines()),
    )


def _caption(view: View, columns: list[Column]) -> str:
    cells = [cell for column in columns for cell in column.cells]
    parts = [
        f"Median latency in ms per batch of {view.batch}; {view.label}.",
        "Green and bold: best of the column; red and italic: worst.",
    ]
    if view.frame["latency_ci_low_ms"].notna().any():
        parts.append(
            "Digits are cut to what the interval supports; rest the pointer on a cell for the "
            "full value and its interval."
        )
    if any(cell.reference and cell.value is None for cell in cells):
        parts.append("A dash has its reason below the table.")
    for verdict, meaning in (
        (Verdict.SUSPECT, "marks SUSPECT rows"),
        (Verdict.INVALID, "marks INVALID rows, which are not ranked"),
    ):
        if (view.frame["verdict"] == verdict.value).any():
            parts.append(f"{theme.VERDICT_SYMBOLS[verdict.value]} {meaning}.")
    return " ".join([*parts, "Press a heading to sort."])


def _by_family(frame: pd.DataFrame) -> list[str]:
    """Families in the palette's order, networks of one family by name."""
    order = {family: index for index, family in enumerate(theme.FAMILIES)}
    pairs = frame[["model", "family"]].drop_duplicates("model")
    ranked = sorted(
        (order.get(family, len(order)), str(family), model)
        for model, family in pairs.itertuples(index=False)
    )
    return [model for _, _, model in ranked]


class _Footnotes:
    """Letters for the distinct reasons behind dashes and marks, in order of appearance."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    def letter(self, reason: str) -> str:
        if reason not in self._letters:
            index = len(self._letters)
            self._letters[reason] = ("" if index < 26 else chr(96 + index // 26)) + chr(
                97 + index % 26
            )
        return self._letters[reason]

    def lines(self) -> list[str]:
        return [f"{letter}: {reason}" for reason, letter in self._letters.items()]


def _facts(frame: pd.DataFrame, models: list[str]) -> list[Column]:
    size = frame["resolution"].cat.remove_unused_categories().cat.categories[0]
    smallest = frame[frame["resolution"] == size]
    columns = [
        _fact(smallest, models, "gmacs", f"GMACs at {wording.size(size)}", low_is_best=True),
        _fact(frame, models, "size_mb", "MB", low_is_best=True),
    ]
    for metric, rows in frame.groupby("accuracy_metric", sort=True):
        title = _METRIC_TITLES.get(str(metric), str(metric))
        columns.append(_fact(rows, models, "accuracy", title, low_is_best=False))
    return [column for column in columns if any(cell.value is not None for cell in column.cells)]


def _fact(
    frame: pd.DataFrame, models: list[str], name: str, title: str, *, low_is_best: bool
) -> Column:
    values = frame.dropna(subset=[name]).drop_duplicates("model").set_index("model")
    cells = []
    for model in models:
        if model not in values.index:
            cells.append(Cell(wording.DASH, note="not known"))
            continue
        value = float(values.at[model, name])
        source = values.at[model, "accuracy_source"] if name == "accuracy" else None
        cells.append(Cell(numerals.short(value), value, note=source or ""))
    return Column("Network", title, _marked(tuple(cells), low_is_best=low_is_best))


def _latency(row: object | None, footnotes: _Footnotes, published: bool) -> Cell:
    if row is None:
        return Cell(wording.DASH, note=_NOT_RUN, reference=footnotes.letter(_NOT_RUN))
    if row.status != Status.OK.value or pd.isna(row.latency_ms):
        what = f"{row.status} ({row.failure})" if row.failure else str(row.status)
        reason = f"{what}: {row.message}" if row.message else what
        return Cell(wording.DASH, note=reason, reference=footnotes.letter(reason))
    value = float(row.latency_ms)
    low, high = row.latency_ci_low_ms, row.latency_ci_high_ms
    interval = ""
    if pd.notna(low) and pd.notna(high):
        text = digits.text(value, low, high)
        interval = f"median {value:.6g} ms, 95 % interval {low:.6g} to {high:.6g} ms"
    else:
        # A publication's digits are its own; ours are cut where nothing bears them.
        text = numerals.short(value) if published else digits.text(value)
    symbol = theme.VERDICT_SYMBOLS.get(row.verdict or "", "")
    if not symbol:
        return Cell(text, value, note=interval)
    mark = Mark.REJECTED if row.verdict == Verdict.INVALID.value else Mark.DOUBTED
    reason = f"{row.verdict}: {(row.reasons or 'no reason given').replace(';', ', ')}"
    note = f"{reason}; {interval}" if interval else reason
    return Cell(f"{text} {symbol}", value, mark, note, footnotes.letter(reason))


def _marked(cells: tuple[Cell, ...], *, low_is_best: bool) -> tuple[Cell, ...]:
    ranked = [
        cell.value for cell in cells if cell.value is not None and cell.mark is not Mark.REJECTED
    ]
    if len(set(ranked)) < 2:
        return cells
    best: Callable[[list[float]], float] = min if low_is_best else max
    worst: Callable[[list[float]], float] = max if low_is_best else min
    marks = {best(ranked): Mark.BEST, worst(ranked): Mark.WORST}
    return tuple(
        cell
        if cell.value is None or cell.mark is Mark.REJECTED
        else replace(cell, mark=marks.get(cell.value, cell.mark))
        for cell in cells
    )
