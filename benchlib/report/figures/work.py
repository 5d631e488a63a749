"""Latency against the arithmetic a network does: is time explained by GMACs?"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchlib.analysis import dependence, parts, wording
from benchlib.report import theme
from benchlib.report.drawing import Absent, Drawing
from benchlib.report.figures import logaxis
from benchlib.report.view import View


def draw(view: View) -> Drawing | Absent:
    """Small multiples: precisions down, sizes across, ms against GMACs, both logarithmic."""
    name = f"work-{view.slug}"
    rows = view.usable.dropna(subset=["gmacs"])
    if rows.empty:
        return Absent(name, "no usable row with a count of multiply-accumulates.")
    precisions = [word for word in view.precisions if (rows["precision"] == word).any()]
    sizes = [size for size in view.sizes if (rows["resolution"] == size).any()]
    looks = view.looks()
    found = {(one.precision, one.resolution): one for one in dependence.dependences(rows, "gmacs")}
    with theme.style():
        width, height = max(6.0, 2.9 * len(sizes) + 0.6), 2.5 * len(precisions) + 1.3
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(len(precisions), len(sizes), squeeze=False, sharey="row")
        for line, precision in zip(grid, precisions, strict=True):
            for axes, size in zip(line, sizes, strict=True):
                part = rows[(rows["precision"] == precision) & (rows["resolution"] == size)]
                if part.empty:
                    axes.set_visible(False)
                    continue
                _panel(axes, part, looks)
                told = _rho(found.get((precision, size)))
                # A title with a method's name in it is too long for one line.
                between = "\n" if parts.base(precision)[1] else " "
                label = theme.precision_label(precision)
                axes.set_title(f"{label}{between}{wording.size(size)}{told}")
                axes.title.set_fontsize(9)
        for axes in filter(Axes.get_visible, grid.flat):
            logaxis.tidy(axes.xaxis)
            logaxis.tidy(axes.yaxis)
        figure.supxlabel("GMACs per image at that size (log)", fontsize=10, y=0.5 / height)
        figure.supylabel("Median latency, ms per batch (log)", fontsize=10)
        families = sorted({looks[model].family for model in rows["model"]})
        figure.legend(
            handles=[_dot(family) for family in families],
            loc="lower center",
            ncols=min(len(families), max(3, int(width / 1.45))),
            fontsize=8.5,
        )
        figure.tight_layout(rect=(0.005, 0.45 / height, 1, 1))
    said = " ".join(
        _finding(precision, [found[key] for key in found if key[0] == precision])
        for precision in precisions
    )
    alt = (
        "Scatter plots of latency in ms against GMACs, both logarithmic, precisions down and input "
        f"sizes across, a dot per network coloured by family; {view.label}. {said}"
    )
    caption = (
        f"Latency against multiply-accumulates at each size; {view.label}. ρ is Spearman's rank "
        f"correlation over a panel's networks, with a 95 % interval over networks. {said} "
        f"{view.remarks()}"
    )
    return Drawing(figure, name, alt, caption)


def _rho(one: dependence.Dependence | None) -> str:
    return "" if one is None or one.rho is None else f"  ρ = {one.rho:.2f}"


def _finding(precision: str, found: list[dependence.Dependence]) -> str:
    told = [
        f"{one.rho:.2f}" + (f" ({one.low:.2f} to {one.high:.2f})" if one.low is not None else "")
        for one in found
        if one.rho is not None
    ]
    if not told:
        return f"{theme.precision_label(precision)}: too few networks for a rank correlation."
    where = " from the smallest to the largest size" if len(told) > 1 else ""
    return f"{theme.precision_label(precision)}: ρ = {', '.join(told)}{where}."


def _dot(family: str) -> Line2D:
    color = theme.swatch(family).line
    return Line2D([], [], linestyle="none", marker="o", color=color, label=family)


def _panel(axes: Axes, rows: pd.DataFrame, looks: dict[str, theme.Look]) -> None:
    axes.set(xscale="log", yscale="log")
    for row in rows.itertuples(index=False):
        look = looks[row.model]
        axes.vlines(
            row.gmacs, row.latency_ci_low_ms, row.latency_ci_high_ms, color=look.color, lw=1.1
        )
        axes.plot(
            row.gmacs,
            row.latency_ms,
            linestyle="none",
            marker=look.marker,
            markersize=5.5,
            color=look.color,
            markeredgecolor="white",
            markeredgewidth=0.5,
        )
