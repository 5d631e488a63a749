"""Grids of coloured cells: frames per second, and how sure each number is."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib import colormaps, rcParams
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from seaborn.utils import relative_luminance

from benchlib.analysis import wording
from benchlib.case import Status, Verdict
from benchlib.report import style
from benchlib.report.style import Absent, Drawing
from benchlib.report.view import View, on_cpu

_GAP = 0.12
"""Room between two sizes, in widths of a cell."""
_EVEN = 0.18
"""Relative luminance at which black and white text have the same contrast (WCAG 2); seaborn turns
to white at 0.408."""


def draw_tiles(
    values: pd.DataFrame,
    words: pd.DataFrame,
    colors: str,
    scale: str,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Colour each cell by its value (logarithmic; white where NaN) and write its word.

    Both frames have networks as index and ``(resolution, variant)`` as columns. ``colors`` names
    a matplotlib colour map, ``scale`` labels its bar, which spans ``limits`` or what there is. Call
    inside :func:`style.style`.
    """
    counts = values.columns.get_level_values(0).value_counts(sort=False)
    counts = counts[counts > 0]
    # A size with one column under it needs that column to be as wide as its own name, a method
    # of INT8 that stands in a heading as wide as that.
    methods = any(one.method for _, one in values.columns)
    each = 0.98 if methods or max(counts) == 1 else 0.72
    left = max(1.75, style.room(values.index, rcParams["ytick.labelsize"]))
    width, height = max(5.5, each * len(values.columns) + left + 1.15), 0.32 * len(values) + 1.15
    figure = Figure(figsize=(width, height))
    room = {"left": left / width, "right": 1 - 1 / width, "top": 1 - 0.78 / height}
    room |= {"bottom": 0.12 / height, "wspace": _GAP * len(counts) / len(values.columns)}
    grid = figure.subplots(
        1, len(counts), squeeze=False, width_ratios=list(counts), gridspec_kw=room
    )[0]
    low, high = limits or (values.min(axis=None), values.max(axis=None))
    if high > low:
        slot = figure.add_axes((1 - 0.85 / width, 0.2, 0.14 / width, 0.5))
    else:  # one value has no scale, and a colour from its middle
        slot, low, high = None, low / 2, high * 3
    # seaborn writes nothing in an empty cell, so an empty cell is one below the scale.
    shown = values.clip(low, high).fillna(low / 2)
    for axes, size in zip(grid, counts.index, strict=True):
        labels = [style.precision_label(word, "\n") for word in shown[size].columns]
        sns.heatmap(
            shown[size],
            norm=LogNorm(low, high),
            cmap=colormaps[colors].with_extremes(under="white"),
            annot=words[size],
            fmt="",
            annot_kws={"size": 8},
            linewidths=1.2,
            cbar=slot is not None and axes is grid[0],
            cbar_ax=slot,
            cbar_kws={"label": scale},
            xticklabels=labels,
            yticklabels=list(shown.index) if axes is grid[0] else False,
            ax=axes,
        )
        axes.set(xlabel="", ylabel="")
        axes.set_title(wording.size(size), loc="center", fontsize=9)
        axes.tick_params(length=0, rotation=0, top=False, labeltop=True, labelbottom=False, pad=2)
        for label in axes.get_xticklabels():
            label.set_fontsize(6.5 if "\n" in label.get_text() else 8)
        for text, color in zip(axes.texts, axes.collections[0].get_facecolors(), strict=True):
            text.set_color("black" if relative_luminance(color) > _EVEN else "white")
    if slot is not None:
        slot.grid(False)
        style.log_ticks(slot.yaxis, low, high)
    return figure


def draw_fps(view: View) -> Drawing | Absent:
    """Heat map of FPS: networks by mean rank, then size and precision; a dash where none is."""
    name = f"heatmap-{view.slug}"
    rows = view.usable
    if rows.empty:
        return Absent(name, "no usable row.")
    speeds = rows.pivot(index="model", columns=["resolution", "variant"], values="fps")
    speeds = speeds.sort_index(axis=1)
    ranked = list(speeds.rank(ascending=False).mean(axis=1).sort_values().index)
    # Networks that never ran stay in, as rows of dashes: a gap is a result too.
    speeds = speeds.reindex([*ranked, *sorted(set(view.frame["model"]) - set(ranked))])
    with style.style():
        figure = draw_tiles(speeds, speeds.map(wording.short), "YlGnBu", "FPS (log)")
    best, worst = rows.loc[rows["fps"].idxmax()], rows.loc[rows["fps"].idxmin()]
    summary = (
        f"From {wording.short(worst['fps'])} FPS ({_cell(worst)}) "
        f"to {wording.short(best['fps'])} ({_cell(best)}); "
        f"{ranked[0]} has the best mean rank over its own cells."
    )
    alt = (
        "Heat map of frames per second, networks down, input size and precision across, darker "
        f"is faster, the number in every cell; {view.label}. {summary} "
        "The same cells in ms are in the latency table."
    )
    caption = (
        f"FPS in every cell, {view.label}. Networks by mean rank; a dash where there is no usable "
        f"row. {summary}"
    )
    return Drawing(figure, name, alt, caption)


def _cell(row: pd.Series) -> str:
    size = wording.size(row["resolution"])
    return f"{row['model']}, {size}, {style.precision_label(row['variant'])}"


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
    keys = {"index": "model", "columns": ["resolution", "variant"]}
    words = rows.assign(word=[_word(row) for row in rows.itertuples(index=False)])
    percents = rows.pivot(**keys, values="percent").sort_index(axis=1)
    texts = words.pivot(**keys, values="word").sort_index(axis=1).reindex_like(percents)
    with style.style():
        figure = draw_tiles(
            percents, texts.fillna(wording.DASH), "Oranges", "± % (log)", _SCALE_PERCENT
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
    number = "<0.1" if number == "0.0" else number  # which would read as exact
    return f"{number} {style.VERDICT_SYMBOLS.get(row.verdict or '', '')}".strip()


def _finding(rows: pd.DataFrame) -> str:
    parts = []
    known = rows["percent"].dropna()
    if len(known):
        worst = rows.loc[known.idxmax()]
        parts.append(
            f"Half of the cells are within ±{known.median():.2f} % of their median; the least sure "
            f"is {worst['model']} at {wording.size(worst['resolution'])}, "
            f"{style.precision_label(worst['variant'])}, with ±{worst['percent']:.1f} %."
        )
    counts = rows["verdict"].value_counts()
    if len(counts):
        judged = [f"{counts.get(word.value, 0)} {word.value}" for word in Verdict]
        parts.append(f"Verdicts: {', '.join(judged)}.")
    single = rows[rows["rounds"] == 1]
    if len(single):
        names = wording.listed(dict.fromkeys(single["model"]))
        parts.append(
            f"{wording.plural(len(single), 'row')} ({names}) of one timing process each: their "
            "intervals do not hold how much processes differ."
        )
    return " ".join(parts)
