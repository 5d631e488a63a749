"""The precision that was asked for beside the share of layers that got it."""

from __future__ import annotations

import pandas as pd

from benchlib.analysis import parts
from benchlib.case import Precision
from benchlib.report import numerals, theme
from benchlib.report.tables.grid import Cell, Column, Grid
from benchlib.report.view import View

_LOW = {precision.value for precision in Precision} - {Precision.FP32.value, Precision.TF32.value}


def build(view: View) -> Grid | None:
    """Lowest share over the sizes per network and low precision; None when no share is known."""
    rows = view.usable.dropna(subset=["low_precision_share"])
    rows = rows[[parts.base(str(word))[0] in _LOW for word in rows["precision"]]]
    if rows.empty:
        return None
    shares = rows.groupby(["model", "precision"], observed=True)["low_precision_share"].min()
    models = sorted(set(rows["model"]))
    columns = []
    for precision in [word for word in view.precisions if word in set(rows["precision"])]:
        cells = tuple(_share(shares.get((model, precision))) for model in models)
        columns.append(Column("Share of layers", theme.precision_label(precision), cells))
    if not any(parts.base(word)[1] for word in view.precisions):
        columns.append(_methods(rows, models))
    return Grid(
        name=f"precision-{view.slug}",
        caption=(
            "Asked and got: the share of the engine's layers that run below FP32, the lowest over "
            f"the sizes; {view.label}. A small share means that the time is mostly another "
            "precision's."
        ),
        corner="Network",
        rows=tuple(models),
        columns=tuple(columns),
    )


def _share(share: float | None) -> Cell:
    if share is None or pd.isna(share):
        return Cell(numerals.DASH, note="not known")
    return Cell(f"{100 * share:.0f} %", float(share))


def _methods(rows: pd.DataFrame, models: list[str]) -> Column:
    methods = rows.dropna(subset=["int8_method"]).groupby("model")["int8_method"].first()
    cells = tuple(Cell(str(methods.get(model, numerals.DASH))) for model in models)
    return Column("INT8", "made by", cells)
