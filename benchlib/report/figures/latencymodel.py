"""Latency as a fixed cost plus a cost per megapixel, network by network."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchlib.analysis import scaling
from benchlib.report import numerals, theme
from benchlib.report.drawing import Absent, Drawing
from benchlib.report.figures import logaxis
from benchlib.report.view import View


def draw(view: View) -> Drawing | Absent:
    """Two panels with a row per network: the fixed cost, and the cost per megapixel."""
    name = f"latency-model-{view.slug}"
    lines = pd.DataFrame([asdict(one) for one in scaling.fit(view.usable)])
    if lines.empty:
        return Absent(name, "no network has three sizes, so no line can be tested.")
    slopes = lines.groupby("model")["ms_per_megapixel"].min()
    models = list(slopes.sort_values(ascending=False).index)
    precisions = [word for word in view.precisions if (lines["precision"] == word).any()]
    with theme.style():
        height = 0.3 * len(models) + 1.6
        figure = Figure(figsize=(10.5, height))
        left, right = figure.subplots(1, 2, sharey=True)
        _panel(left, lines, models, precisions, "fixed_ms")
        _panel(right, lines, models, precisions, "ms_per_megapixel")
        left.axvline(0, color="#444444", linewidth=1)
        left.set_xlabel("Fixed cost, ms per batch")
        right.set_xscale("log")
        right.set_xlabel("Cost of a megapixel, ms (log)")
        logaxis.tidy(right.xaxis)
        left.set_yticks(range(len(models)), models)
        left.set_ylim(-0.6, len(models) - 0.4)
        figure.legend(
            handles=[_dot(word) for word in precisions], loc="upper right", ncols=len(precisions)
        )
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / height))
    said = " ".join(_finding(lines[lines["precision"] == word], word) for word in precisions)
    alt = (
        "Dot plot with a row per network: left the fixed part of the latency in ms, right the "
        f"part per megapixel, logarithmic; {view.label}. {said}"
    )
    caption = (
        "A line through each network's latencies over the sizes, by least relative error: "
        f"ms = fixed + slope × megapixels; {view.label}. {said} Neither part can be below zero."
    )
    return Drawing(figure, name, alt, caption)


def _finding(lines: pd.DataFrame, precision: str) -> str:
    worst = lines.loc[lines["largest_error"].idxmax()]
    return (
        f"{theme.precision_label(precision)}: fixed cost {numerals.short(lines['fixed_ms'].min())} "
        f"to {numerals.short(lines['fixed_ms'].max())} ms; the line misses a time by "
        f"{100 * lines['largest_error'].median():.0f} % in the median network, "
        f"{100 * worst['largest_error']:.0f} % in the worst ({worst['model']})."
    )


def _dot(precision: str) -> Line2D:
    color, mark = theme.precision_look(precision)
    label = theme.precision_label(precision)
    return Line2D([], [], linestyle="none", color=color, marker=mark, label=label)


def _panel(
    axes: Axes, lines: pd.DataFrame, models: list[str], precisions: list[str], column: str
) -> None:
    place = {model: index for index, model in enumerate(models)}
    for precision in precisions:
        dots = lines[lines["precision"] == precision]
        color, mark = theme.precision_look(precision)
        axes.plot(
            dots[column],
            dots["model"].map(place),
            linestyle="none",
            marker=mark,
            color=color,
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.6,
        )
