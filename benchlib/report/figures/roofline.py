"""What each network reaches of what the card could do."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchlib.analysis import parts, roofline, wording
from benchlib.analysis.roofline import Point, Roofs
from benchlib.report import numerals, theme
from benchlib.report.drawing import Absent, Drawing
from benchlib.report.figures import logaxis
from benchlib.report.view import View

_MOST_ACROSS = 3
"""Panels in a row; more make labels too small to read on a page."""


def draw(view: View) -> Drawing | Absent:
    """A panel per precision: rate reached against operations per byte, under the roof if known."""
    name = f"roofline-{view.slug}"
    points = _points(view)
    if not points:
        return Absent(name, "no row has counts of work, activations and weights.")
    precisions = [word for word in view.precisions if any(p.precision == word for p in points)]
    roofs = {word: roofline.roofs(view.at_plain(word), parts.base(word)[0]) for word in precisions}
    looks = view.looks()
    sizes = [size for size in view.sizes if any(p.resolution == size for p in points)]
    with theme.style():
        columns = min(len(precisions), _MOST_ACROSS)
        lines = math.ceil(len(precisions) / columns)
        width, height = max(6.5, 4.4 * columns), 4.4 * lines + 0.8
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for spare in grid.flat[len(precisions) :]:
            spare.set_visible(False)
        panels = list(grid.flat)[: len(precisions)]
        for axes, precision in zip(panels, precisions, strict=True):
            mine = [point for point in points if point.precision == precision]
            _panel(axes, mine, roofs[precision], looks, sizes)
            axes.set_title(theme.precision_label(precision))
            axes.set_xlabel("Operations per byte (log)")
        for axes in panels:
            logaxis.tidy(axes.xaxis)
            logaxis.tidy(axes.yaxis)
        for axes in grid[:, 0]:
            axes.set_ylabel("Reached, 10¹² operations per second (log)")
        families = sorted({looks[point.model].family for point in points})
        handles = [_dot(theme.swatch(family).line, 6, family) for family in families]
        handles += [
            _dot("#777777", _size(index), wording.size(size)) for index, size in enumerate(sizes)
        ]
        figure.legend(handles=handles, loc="lower center", ncols=6, fontsize=8.5)
        figure.tight_layout(rect=(0, 0.5 / height, 1, 1))
    said = " ".join(_finding(points, word, roofs[word]) for word in precisions)
    alt = (
        "Roofline, one panel per precision: rate reached against operations per byte, both "
        f"logarithmic, a dot per network and size, larger for larger images; {view.label}. {said}"
    )
    how = {_source(one) for one in roofs.values() if one is not None}
    caption = (
        f"Rate reached against arithmetic per byte; {view.label}. {said} "
        f"{' '.join(sorted(how)) or 'No roof is known for this device.'} Bytes are counted as if "
        "every activation were written and read once; fused layers move less, so a dot may lie "
        "above the sloping roof. A multiply-accumulate is two operations."
    )
    return Drawing(figure, name, alt, caption)


def _points(view: View) -> tuple[Point, ...]:
    """All points, each under the precision of the view, which may name an INT8 method."""
    return tuple(
        replace(point, precision=word)
        for word in view.precisions
        for point in roofline.points(view.at_plain(word))
    )


def _panel(
    axes: Axes,
    points: list[Point],
    roof: Roofs | None,
    looks: dict[str, theme.Look],
    sizes: list[str],
) -> None:
    axes.set(xscale="log", yscale="log")
    for point in points:
        axes.plot(
            point.intensity,
            point.tera_ops,
            linestyle="none",
            marker=looks[point.model].marker,
            color=looks[point.model].color,
            markersize=_size(sizes.index(point.resolution)),
            markeredgecolor="white",
            markeredgewidth=0.5,
        )
    if roof is not None:
        reach = [point.intensity for point in points] + [roof.ridge]
        x = np.geomspace(min(reach) / 2, max(reach) * 2, 60)
        style = "-" if roof.measured else "--"
        axes.plot(x, [roof.at(at) for at in x], color="#333333", linestyle=style, linewidth=1.4)


def _size(index: int) -> float:
    return 4.0 + 1.5 * index


def _dot(color: str, size: float, label: str) -> Line2D:
    return Line2D([], [], linestyle="none", marker="o", color=color, markersize=size, label=label)


def _source(roof: Roofs) -> str:
    kind = "Solid roof: measured" if roof.measured else "Dashed roof: not measured, taken from the"
    return f"{kind} ({roof.how})." if roof.measured else f"{kind} {roof.how}."


def _finding(points: tuple[Point, ...], precision: str, roof: Roofs | None) -> str:
    mine = [point for point in points if point.precision == precision]
    best = max(mine, key=lambda point: point.tera_ops)
    said = (
        f"{theme.precision_label(precision)}: {best.model} at {wording.size(best.resolution)} "
        f"reaches most, {numerals.short(best.tera_ops)} × 10¹² operations per second"
    )
    shares = [point.share for point in mine if point.share is not None]
    if roof is None or not shares:
        return f"{said}."
    return f"{said}; the median row reaches {100 * float(np.median(shares)):.0f} % of its roof."
