"""Grids of coloured cells: frames per second, and how sure each number is."""

from __future__ import annotations

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from benchlib.analysis import comparable_groups, wording
from benchlib.case import Status, Verdict
from benchlib.report import style
from benchlib.report.style import Absent, Drawing
from benchlib.report.view import View, on_cpu

# A grid of coloured cells with a word in each: networks down, size and precision across.


_GAP = 0.12
"""Room between two sizes, in widths of a cell."""
_EVEN = 0.18
"""Relative luminance at which black and white text have the same contrast (WCAG 2)."""
_EMPTY = "#ffffff"


def draw_tiles(
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
    methods = any(comparable_groups.base(str(word))[1] for _, word in values.columns)
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
    above = -1.75 if any(comparable_groups.base(str(word))[1] for _, word in columns) else -1.35
    for edge, (_, precision) in zip(edges, columns, strict=True):
        label = style.precision_label(precision, "\n")
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


# Frames per second of every network, size and precision in one grid of coloured cells.


def draw_fps(view: View) -> Drawing | Absent:
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
    with style.style():
        figure = draw_tiles(speeds, speeds.map(wording.short), "YlGnBu", "FPS (log)")
    best, worst = rows.loc[rows["fps"].idxmax()], rows.loc[rows["fps"].idxmin()]
    said = (
        f"From {wording.short(worst['fps'])} FPS ({_cell(worst)}) "
        f"to {wording.short(best['fps'])} ({_cell(best)}); "
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
    return f"{row['model']}, {size}, {style.precision_label(row['precision'])}"


# How sure each number is: half-width of its interval and its verdict, cell by cell.


_FLOOR_PERCENT = 0.01
"""An interval of no width (all samples equal to the clock's step) is drawn as this wide."""


_SCALE_PERCENT = (0.1, 10.0)
"""The same colours in every report: pale is good everywhere."""


def draw_spread(view: View) -> Drawing | Absent:
    """Half-width of the median's 95 % interval in percent of the median, with verdict symbols."""
    name = f"spread-{view.slug}"
    rows = view.frame[view.frame["status"] == Status.OK.value]
    half = 50 * (rows["latency_ci_high_ms"] - rows["latency_ci_low_ms"]) / rows["latency_ms"]
    rows = rows.assign(percent=half.clip(lower=_FLOOR_PERCENT))
    if rows["percent"].notna().sum() == 0 and rows["verdict"].isna().all():
        return Absent(name, "neither an interval nor a verdict is known.")
    keys = {"index": "model", "columns": ["resolution", "precision"]}
    words = rows.assign(word=[_word(row) for row in rows.itertuples(index=False)])
    percents = rows.pivot(**keys, values="percent").sort_index(axis=1)
    said = words.pivot(**keys, values="word").sort_index(axis=1).reindex_like(percents)
    with style.style():
        figure = draw_tiles(
            percents,
            said.fillna(wording.DASH),
            "Oranges",
            "± % (log)",
            _SCALE_PERCENT,
        )
    finding = _finding(rows)
    alt = (
        "Grid of cells, networks down, input size and precision across: half-width of the 95 % "
        f"interval in percent of the median, darker is less sure; {view.label}. {finding}"
    )
    caption = (
        f"How sure each median is, {view.label}: half its 95 % interval in percent. "
        f"{style.VERDICT_SYMBOLS[Verdict.SUSPECT.value]} SUSPECT, "
        f"{style.VERDICT_SYMBOLS[Verdict.INVALID.value]} INVALID, a dash where there is no number. "
        f"{finding}{_builds(view)}"
    )
    return Drawing(figure, name, alt, caption)


def _builds(view: View) -> str:
    """That every engine was built once, where that is known."""
    asked = (view.environment.get("parameters") or {}).values()
    if on_cpu(view) or not asked or any(one.get("builds", 1) > 1 for one in asked):
        return ""
    return " Every engine was built once; the interval does not speak of other builds."


def _word(row: object) -> str:
    number = "?" if pd.isna(row.percent) else f"{row.percent:.1f}"
    return f"{number} {style.VERDICT_SYMBOLS.get(row.verdict or '', '')}".strip()


def _finding(rows: pd.DataFrame) -> str:
    parts = []
    known = rows["percent"].dropna()
    if len(known):
        worst = rows.loc[known.idxmax()]
        parts.append(
            f"Half of the cells are within ±{known.median():.2f} % of their median; the least sure "
            f"is {worst['model']} at {wording.size(worst['resolution'])}, "
            f"{style.precision_label(worst['precision'])}, with ±{worst['percent']:.1f} %."
        )
    counts = rows["verdict"].value_counts()
    if len(counts):
        judged = [f"{counts.get(word.value, 0)} {word.value}" for word in Verdict]
        parts.append(f"Verdicts: {', '.join(judged)}.")
    return " ".join(parts)
