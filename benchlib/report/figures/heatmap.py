"""Frames per second of every network, size and precision in one grid of coloured cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from benchlib.report import numerals, theme
from benchlib.report.drawing import Absent, Drawing
from benchlib.report.view import View

_MIDDLE = 0.18
"""Relative luminance where black and white text have about the same contrast."""


def draw(view: View) -> Drawing | Absent:
    """Heat map of FPS: networks by mean rank, then size and precision; a dash where none is."""
    name = f"heatmap-{view.slug}"
    rows = view.usable
    if rows.empty:
        return Absent(name, "no usable row.")
    grid = rows.pivot_table(
        index="model", columns=["resolution", "precision"], values="fps", observed=True
    )
    # Networks that never ran stay in, as rows of dashes: a gap is a result too.
    grid = grid.reindex([*grid.rank(ascending=False).mean(axis=1).sort_values().index])
    grid = grid.reindex([*grid.index, *sorted(set(view.frame["model"]) - set(grid.index))])
    gaps = _gaps(grid.columns.get_level_values("resolution"))
    with theme.style():
        figure = _figure(grid, gaps)
    best = rows.loc[rows["fps"].idxmax()]
    worst = rows.loc[rows["fps"].idxmin()]
    said = (
        f"From {numerals.short(worst['fps'])} FPS ({_cell(worst)}) "
        f"to {numerals.short(best['fps'])} ({_cell(best)}); "
        f"over all cells {grid.index[0]} ranks first."
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
    size = theme.size_label(row["resolution"])
    return f"{row['model']}, {size}, {theme.precision_label(row['precision'])}"


def _gaps(sizes: pd.Index) -> list[float]:
    """The left edge of each column: columns are 1 wide, with room between two sizes."""
    edges, edge = [], 0.0
    for index, size in enumerate(sizes):
        if index and size != sizes[index - 1]:
            edge += 0.12
        edges.append(edge)
        edge += 1.0
    return edges


def _figure(grid: pd.DataFrame, edges: list[float]) -> Figure:
    height = 0.32 * len(grid) + 1.0
    width = max(5.5, 0.72 * len(edges) + 2.9)
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((1.75 / width, 0.12 / height, 1 - 2.75 / width, 1 - 0.75 / height))
    colors = colormaps["YlGnBu"]
    norm = LogNorm(np.nanmin(grid.to_numpy()), max(np.nanmax(grid.to_numpy()), 1e-9))
    for row, values in enumerate(grid.to_numpy()):
        for edge, value in zip(edges, values, strict=True):
            if not np.isfinite(value):
                axes.text(edge + 0.5, row, numerals.DASH, ha="center", va="center", fontsize=9)
                continue
            color = colors(float(norm(value)))
            tile = Rectangle((edge, row - 0.47), 1.0, 0.94, facecolor=color, edgecolor="none")
            axes.add_patch(tile)
            axes.text(
                edge + 0.5,
                row,
                numerals.short(value),
                ha="center",
                va="center",
                fontsize=8,
                color="black" if _luminance(color) > _MIDDLE else "white",
            )
    for edge, (size, precision) in zip(edges, grid.columns, strict=True):
        axes.text(edge + 0.5, -0.75, theme.precision_label(precision), ha="center", fontsize=8)
        same = [at for at, (other, _) in zip(edges, grid.columns, strict=True) if other == size]
        if edge == same[0]:
            middle = (same[0] + same[-1] + 1) / 2
            axes.text(middle, -1.35, theme.size_label(size), ha="center", fontsize=9, weight="bold")
    axes.set(xlim=(0, edges[-1] + 1), ylim=(len(grid) - 0.5, -0.5))
    axes.set_yticks(range(len(grid)), grid.index)
    axes.set_xticks([])
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _scale(figure, norm, width, height)
    return figure


def _scale(figure: Figure, norm: LogNorm, width: float, height: float) -> None:
    slot = figure.add_axes((1 - 0.85 / width, 0.2, 0.14 / width, 0.5))
    bar = figure.colorbar(ScalarMappable(norm, colormaps["YlGnBu"]), cax=slot)
    bar.set_label("FPS (log)")
    bar.outline.set_visible(False)
    slot.grid(False)
    slot.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")


def _luminance(color: tuple[float, ...]) -> float:
    """Relative luminance of an sRGB colour (WCAG 2)."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color[:3]
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
