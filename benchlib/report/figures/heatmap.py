"""Frames per second of every network, size and precision in one grid of coloured cells."""

from __future__ import annotations

import pandas as pd

from benchlib.analysis import wording
from benchlib.report import numerals, theme
from benchlib.report.drawing import Absent, Drawing
from benchlib.report.figures import tiles
from benchlib.report.view import View


def draw(view: View) -> Drawing | Absent:
    """Heat map of FPS: networks by mean rank, then size and precision; a dash where none is."""
    name = f"heatmap-{view.slug}"
    rows = view.usable
    if rows.empty:
        return Absent(name, "no usable row.")
    speeds = rows.pivot(index="model", columns=["resolution", "precision"], values="fps")
    speeds = speeds.sort_index(axis=1)
    ranked = list(speeds.rank(ascending=False).mean(axis=1).sort_values().index)
    # Networks that never ran stay in, as rows of dashes: a gap is a result too.
    speeds = speeds.reindex([*ranked, *sorted(set(view.frame["model"]) - set(ranked))])
    with theme.style():
        figure = tiles.draw(speeds, speeds.map(numerals.short), "YlGnBu", "FPS (log)")
    best, worst = rows.loc[rows["fps"].idxmax()], rows.loc[rows["fps"].idxmin()]
    said = (
        f"From {numerals.short(worst['fps'])} FPS ({_cell(worst)}) "
        f"to {numerals.short(best['fps'])} ({_cell(best)}); "
        f"over all cells {ranked[0]} ranks first."
    )
    alt = (
        "Heat map of frames per second, networks down, input size and precision across, darker "
        f"is faster, the number in every cell; {view.label}. {said} "
        "The same cells in ms are in the latency table."
    )
    caption = (
        f"FPS in every cell, {view.label}. Networks by mean rank; a dash where there is no usable "
        f"row. {said}"
    )
    return Drawing(figure, name, alt, caption)


def _cell(row: pd.Series) -> str:
    size = wording.size(row["resolution"])
    return f"{row['model']}, {size}, {theme.precision_label(row['precision'])}"
