"""Accuracy against latency with the Pareto front; one figure per accuracy metric."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchlib.analysis import pareto, parts, wording
from benchlib.report import theme
from benchlib.report.drawing import Absent, Drawing
from benchlib.report.figures import labels, logaxis
from benchlib.report.view import View, slug

_PANEL = (6.4, 4.9)
"""Inches."""
_FEWEST = 2
"""Networks that make a front; one alone is neither better nor worse than another."""
_CITYSCAPES_MEGAPIXELS = 2048 * 1024 / 1e6
"""Where Cityscapes accuracies are measured."""


def metrics(view: View) -> list[str]:
    """The accuracy metrics that usable rows have."""
    return sorted(set(view.usable.dropna(subset=["accuracy"])["accuracy_metric"].dropna()))


def size_for(view: View, metric: str) -> str:
    """The size whose latency stands beside an accuracy: the one nearest to where it was measured.

    ImageNet accuracies are for 224x224 crops, so the smallest size; Cityscapes ones for
    2048x1024, so the size nearest to that in pixels.
    """
    rows = view.usable[view.usable["accuracy_metric"] == metric]
    sizes = rows.drop_duplicates("resolution").sort_values("megapixels")
    if metric.startswith("Cityscapes"):
        away = (sizes["megapixels"] / _CITYSCAPES_MEGAPIXELS).map(
            lambda ratio: abs(math.log(ratio))
        )
        return str(sizes.loc[away.idxmin(), "resolution"])
    return str(sizes["resolution"].iloc[0])


def draw(view: View, metric: str, size: str | None = None) -> Drawing | Absent:
    """One panel per precision at ``size`` (default: :func:`size_for`), latency logarithmic."""
    name = f"pareto-{slug(metric)}-{view.slug}"
    known = view.usable.dropna(subset=["accuracy"])
    known = known[known["accuracy_metric"] == metric]
    if known.empty:
        return Absent(name, f"no usable row with {metric}.")
    size = size or size_for(view, metric)
    known = known[known["resolution"] == size]
    counts = known.loc[~parts.without_classifier(known["model"]), "precision"].value_counts()
    precisions = [word for word in view.precisions if counts.get(word, 0) >= _FEWEST]
    if not precisions:
        few = f"fewer than {_FEWEST} networks with {metric} at {wording.size(size)}"
        return Absent(name, f"{few} at any precision: there is no front.")
    known = known[known["precision"].isin(precisions)]
    columns = min(2, len(precisions))
    lines = math.ceil(len(precisions) / columns)
    looks = view.looks()
    with theme.style():
        figure = Figure(figsize=(_PANEL[0] * columns + 0.4, _PANEL[1] * lines))
        grid = list(figure.subplots(lines, columns, squeeze=False, sharey=True).flat)
        for axes, precision in zip(grid, precisions, strict=False):
            _panel(axes, known[known["precision"] == precision], looks)
            axes.set_title(f"{theme.precision_label(precision)}, {wording.size(size)}")
            axes.set_xlabel("Latency, ms per batch (log); left is faster")
            axes.set_ylabel(f"{metric}, %")
        for axes in grid[len(precisions) :]:
            axes.set_visible(False)
        families = sorted({looks[model].family for model in known["model"]})
        dots = [_dot(family) for family in families]
        if len(precisions) < len(grid):
            figure.legend(handles=dots, loc="lower center", bbox_to_anchor=(0.72, 0.14))
            top = 1.0
        else:
            figure.legend(handles=dots, loc="upper center", ncols=min(4 * columns, len(dots)))
            top = 1 - 0.5 / (_PANEL[1] * lines)
        figure.tight_layout(rect=(0, 0, 1, top), w_pad=2.0, h_pad=2.0)
        for axes, precision in zip(grid, precisions, strict=False):
            _names(axes, known[known["precision"] == precision])
    said = " ".join(
        _finding(known[known["precision"] == precision], precision) for precision in precisions
    )
    alt = (
        f"Scatter of {metric} against latency at {wording.size(size)}, one panel per "
        f"precision; {view.label}. {said}"
    )
    caption = (
        f"{metric} against latency at {wording.size(size)}; {view.label}. {said} Line: Pareto "
        "front of the medians. Black edge and bold: no network is both at least as accurate and "
        "faster beyond the intervals. The accuracy is the literature's at its own input size, "
        f"not measured on these engines. {_hollow(known)}{view.remarks()}"
    )
    return Drawing(figure, name, alt, caption)


def _hollow(rows: pd.DataFrame) -> str:
    """What a hollow mark means, where there is one."""
    cut = sorted(set(rows.loc[parts.without_classifier(rows["model"]), "model"]))
    if not cut:
        return ""
    return (
        f"Hollow and not on the front: {wording.listed(cut)}, timed without the classifier that "
        "the accuracy needs. "
    )


def _finding(rows: pd.DataFrame, precision: str) -> str:
    front = rows[pareto.undominated(rows)].sort_values("latency_ms")
    names = wording.listed(list(front["model"]), most=12)
    return f"{theme.precision_label(precision)}: {names} on the front."


def _dot(family: str) -> Line2D:
    color = theme.swatch(family).line
    return Line2D([], [], linestyle="none", marker="o", color=color, label=family)


def _panel(axes: Axes, rows: pd.DataFrame, looks: dict[str, theme.Look]) -> None:
    axes.set_xscale("log")
    cut = parts.without_classifier(rows["model"])
    strict = rows[~cut].sort_values(["latency_ms", "accuracy"], ascending=[True, False])
    strict = strict[strict["accuracy"] > strict["accuracy"].cummax().shift(fill_value=-1.0)]
    axes.plot(
        strict["latency_ms"],
        strict["accuracy"],
        drawstyle="steps-post",
        color="#444444",
        linewidth=1.2,
        zorder=1,
    )
    axes.hlines(
        rows["accuracy"],
        rows["latency_ci_low_ms"],
        rows["latency_ci_high_ms"],
        color="#999999",
        linewidth=1.2,
        zorder=1,
    )
    front = pareto.undominated(rows)
    for row, leads, is_cut in zip(rows.itertuples(index=False), front, cut, strict=True):
        look = looks[row.model]
        axes.plot(
            row.latency_ms,
            row.accuracy,
            marker=look.marker,
            color=look.color,
            markersize=8.5 if leads else 5.5,
            markerfacecolor="white" if is_cut else look.color,
            markeredgecolor="black" if leads else look.color if is_cut else "white",
            markeredgewidth=1.1 if leads or is_cut else 0.6,
            linestyle="none",
        )
    low, high = logaxis.widened(rows["latency_ms"].min() / 1.25, rows["latency_ms"].max() * 1.6)
    axes.set_xlim(low, high)
    ticks = [
        digit * 10.0**power
        for power in range(-4, 6)
        for digit in (1, 2, 5)
        if low <= digit * 10.0**power <= high
    ]
    axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
    axes.minorticks_off()
    room = max(1.0, 0.08 * (rows["accuracy"].max() - rows["accuracy"].min()))
    axes.set_ylim(rows["accuracy"].min() - room, rows["accuracy"].max() + room)


def _names(axes: Axes, rows: pd.DataFrame) -> None:
    names = [
        labels.Name(
            row.latency_ms, row.accuracy, row.model, "black" if leads else "#555555", bold=leads
        )
        for row, leads in zip(rows.itertuples(index=False), pareto.undominated(rows), strict=True)
    ]
    labels.beside(axes, names)
