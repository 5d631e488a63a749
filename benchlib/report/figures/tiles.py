"""A grid of coloured cells with a word in each: networks down, size and precision across."""

from __future__ import annotations

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from benchlib.analysis import parts, wording
from benchlib.report import theme

_GAP = 0.12
"""Room between two sizes, in widths of a cell."""
_EVEN = 0.18
"""Relative luminance at which black and white text have the same contrast (WCAG 2)."""
_EMPTY = "#ffffff"


def draw(
    values: pd.DataFrame,
    words: pd.DataFrame,
    colors: str,
    scale: str,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Colour each cell by its value (logarithmic; white where NaN) and write its word.

    Both frames have networks as index and ``(resolution, precision)`` as columns. ``colors`` names
    a matplotlib colour map, ``scale`` labels its bar, which spans ``limits`` or what there is. Call
    inside :func:`theme.style`.
    """
    edges = _edges(values.columns.get_level_values(0))
    height = 0.32 * len(values) + 1.15
    # A size with one column under it needs that column to be as wide as its own name, a method
    # of INT8 that stands in a heading as wide as that.
    methods = any(parts.base(str(word))[1] for _, word in values.columns)
    single = len(edges) == len(set(values.columns.get_level_values(0)))
    each = 0.98 if single or methods else 0.72
    width = max(5.5, each * len(edges) + 2.9)
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((1.75 / width, 0.12 / height, 1 - 2.75 / width, 1 - 0.9 / height))
    known = values.stack(level=[0, 1], future_stack=True).dropna()
    low, high = limits or (known.min(), known.max())
    norm = LogNorm(low, high, clip=True) if high > low else None
    for row, model in enumerate(values.index):
        for at, edge in enumerate(edges):
            value = values.iat[row, at]
            color = _EMPTY if pd.isna(value) else _color(colors, norm, value)
            tile = Rectangle((edge, row - 0.47), 1.0, 0.94, facecolor=color, edgecolor="none")
            axes.add_patch(tile)
            axes.text(
                edge + 0.5,
                row,
                str(words.at[model, values.columns[at]]),
                ha="center",
                va="center",
                fontsize=8,
                color="black" if _luminance(color) > _EVEN else "white",
            )
    _heads(axes, edges, values.columns)
    axes.set(xlim=(0, edges[-1] + 1), ylim=(len(values) - 0.5, -0.5))
    axes.set_yticks(range(len(values)), values.index)
    axes.set_xticks([])
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if norm is not None:
        slot = figure.add_axes((1 - 0.85 / width, 0.2, 0.14 / width, 0.5))
        bar = figure.colorbar(ScalarMappable(norm, colormaps[colors]), cax=slot)
        bar.set_label(scale)
        bar.outline.set_visible(False)
        slot.grid(False)
        slot.minorticks_off()
        slot.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    return figure


def _heads(axes: Axes, edges: list[float], columns: pd.MultiIndex) -> None:
    above = -1.75 if any(parts.base(str(word))[1] for _, word in columns) else -1.35
    for edge, (_, precision) in zip(edges, columns, strict=True):
        label = theme.precision_label(precision, "\n")
        axes.text(edge + 0.5, -0.68, label, ha="center", va="bottom", fontsize=_head_points(label))
    for size in dict.fromkeys(columns.get_level_values(0)):
        same = [edge for edge, (other, _) in zip(edges, columns, strict=True) if other == size]
        middle = (same[0] + same[-1] + 1) / 2
        axes.text(middle, above, wording.size(size), ha="center", fontsize=9, weight="bold")


def _head_points(label: str) -> float:
    return 6.5 if "\n" in label else 8


def _edges(sizes: pd.Index) -> list[float]:
    """The left edge of each column: columns are 1 wide, with a gap between two sizes."""
    edges, edge = [], 0.0
    for index, size in enumerate(sizes):
        if index and size != sizes[index - 1]:
            edge += _GAP
        edges.append(edge)
        edge += 1.0
    return edges


def _color(colors: str, norm: LogNorm | None, value: float) -> tuple[float, ...]:
    return colormaps[colors](0.4 if norm is None else float(norm(value)))


def _luminance(color: str | tuple[float, ...]) -> float:
    """Relative luminance of an sRGB colour (WCAG 2)."""
    if isinstance(color, str):
        return 1.0
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color[:3]
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
