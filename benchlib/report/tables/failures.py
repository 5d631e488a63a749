"""What did not run, or ran and is not believed: one line per row with its reason."""

from __future__ import annotations

import pandas as pd

from benchlib.analysis import wording
from benchlib.case import Status, Verdict
from benchlib.report import theme
from benchlib.report.tables.grid import Cell, Column, Table
from benchlib.report.view import shown, slug


def build(name: str, frame: pd.DataFrame) -> Table:
    """Failed, skipped, INVALID and SUSPECT rows of ``frame``; an empty grid when there is none."""
    bad = frame[
        (frame["status"] != Status.OK.value)
        | frame["verdict"].isin([Verdict.SUSPECT.value, Verdict.INVALID.value])
    ].sort_values(["status", "model", "precision", "resolution"])
    return Table(
        sortable=False,
        name=f"failures-{slug(name)}",
        caption=f"{len(bad)} of {len(frame)} rows of {name} failed, were skipped or are doubted.",
        corner="Network",
        rows=tuple(shown(model) for model in bad["model"]),
        columns=(
            _words("Size", [wording.size(size) for size in bad["resolution"]]),
            _words("Precision", [theme.precision_label(word) for word in bad["precision"]]),
            _words("Batch", [f"{batch:.0f}" for batch in bad["batch"]]),
            _words("Outcome", [_outcome(row) for row in bad.itertuples(index=False)]),
            _words("Reason", [_reason(row) for row in bad.itertuples(index=False)]),
            _words("Log", [log or "" for log in bad["log"]]),
        ),
    )


def _words(title: str, words: list[str]) -> Column:
    return Column("", title, tuple(Cell(word) for word in words))


def _outcome(row: object) -> str:
    return str(row.verdict if row.status == Status.OK.value else row.status)


def _reason(row: object) -> str:
    if row.status == Status.OK.value:
        return (row.reasons or "").replace(";", ", ")
    return ": ".join(part for part in (row.failure, row.message) if part) or "no reason recorded"
