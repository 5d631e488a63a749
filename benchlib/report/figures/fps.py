"""Frames per second against input size: one figure per precision, and all side by side."""

from __future__ import annotations

import itertools
import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchlib.analysis import wording
from benchlib.report import numerals, theme
from benchlib.report.drawing import Absent, Drawing
from benchlib.report.figures import labels, logaxis
from benchlib.report.view import View, slug

REAL_TIME_FPS = 30
"""Frames per second of ordinary video, the line most readers look for."""
_POINTS = 8.5
_SMALL_POINTS = 7.0
_PANEL_INCHES = 2.3


def draw(view: View, precision: str) -> Drawing | Absent:
    """FPS against megapixels at ``precision``, both axes logarithmic, one line per network."""
    name = f"fps-{slug(precision)}-{view.slug}"
    rows = view.at(precision)
    if rows.empty:
        return Absent(name, f"no usable row at {theme.precision_label(precision)}.")
    if len(rows) == 1:
        return Absent(name, f"one point makes no chart. {finding(view, precision)}")
    with theme.style():
        figure = Figure(figsize=(9.5, 6.4))
        axes = figure.subplots()
        right = 1 - labels.room(_texts(view, precision).values(), _POINTS) / figure.get_figwidth()
        figure.subplots_adjust(left=0.085, right=right, bottom=0.1, top=0.93)
        _lines(axes, view, precision, _limits(rows))
        axes.set_ylabel("Frames per second (log)")
        axes.set_xlabel("Input size, spaced by megapixels (log)")
        axes.set_title(f"FPS by input size, {theme.precision_label(precision)}, batch {view.batch}")
    alt = (
        "Line chart, frames per second against input megapixels, both axes logarithmic, "
        f"{theme.precision_label(precision)}, {view.label}. {finding(view, precision)} "
        "The numbers are in the latency table."
    )
    caption = (
        f"FPS by input size at {theme.precision_label(precision)}; {view.label}. "
        f"{finding(view, precision)} FPS is 1000 × batch / median latency in ms. "
        f"Colour is the model family. {view.remarks(precision, hollow=True)}"
    )
    return Drawing(figure, name, alt, caption)


def panels(view: View) -> Drawing | Absent:
    """The same for all precisions side by side on one scale."""
    name = f"fps-panels-{view.slug}"
    precisions = view.precisions
    if not precisions:
        return Absent(name, "no usable row.")
    limits = _limits(view.usable)
    with theme.style():
        texts = [text for word in precisions for text in _texts(view, word).values()]
        beside = labels.room(texts, _SMALL_POINTS)
        width = 0.8 + len(precisions) * _PANEL_INCHES + (len(precisions) - 1) * 0.45
        width += len(precisions) * beside
        figure = Figure(figsize=(width, 5.6))
        grid = figure.subplots(1, len(precisions), squeeze=False)[0]
        figure.subplots_adjust(
            left=0.8 / width,
            right=1 - beside / width,
            bottom=0.15,
            top=0.92,
            wspace=(beside + 0.45) / _PANEL_INCHES,
        )
        for axes, precision in zip(grid, precisions, strict=True):
            _lines(axes, view, precision, limits, small=True)
            axes.set_title(theme.precision_label(precision))
            axes.set_xlabel("Input size (log megapixels)")
        grid[0].set_ylabel("Frames per second (log)")
    said = " ".join(finding(view, precision) for precision in precisions)
    alt = (
        f"{len(precisions)} line charts side by side on one scale, frames per second against "
        f"input megapixels, both axes logarithmic, one chart per precision; {view.label}. {said}"
    )
    caption = (
        f"The same for every precision on one scale; {view.label}. {view.remarks(hollow=True)}"
    )
    return Drawing(figure, name, alt, caption)


def finding(view: View, precision: str) -> str:
    """What the lines say, in a sentence or two."""
    rows = view.at(precision)
    size = str(rows["resolution"].max())
    there = rows[rows["resolution"] == size]
    best, worst = there.loc[there["fps"].idxmax()], there.loc[there["fps"].idxmin()]
    where = f"At {wording.size(size)} and {theme.precision_label(precision)}"
    if len(there) == 1:
        return f"{where} {best['model']} runs at {numerals.short(best['fps'])} FPS."
    enough = int((there["fps"] >= REAL_TIME_FPS).sum())
    return (
        f"{where} {best['model']} is fastest with {numerals.short(best['fps'])} FPS, "
        f"{worst['model']} slowest with {numerals.short(worst['fps'])}; "
        f"{enough} of {len(there)} reach {REAL_TIME_FPS} FPS."
    )


def _texts(view: View, precision: str) -> dict[str, str]:
    """What stands at the end of each network's line: its name and the FPS of its last size."""
    texts = {}
    for model, points in view.at(precision).sort_values("megapixels").groupby("model"):
        only = ", one size" if len(points) == 1 and len(view.sizes) > 1 else ""
        texts[str(model)] = f"{model}  {numerals.short(points['fps'].iloc[-1])}{only}"
    return texts


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    low, high = rows["fps"].min() / 1.35, rows["fps"].max() * 1.35
    # The real-time line is worth some empty room, not half the figure.
    if high < REAL_TIME_FPS < high * 3:
        high = REAL_TIME_FPS * 1.2
    if low > REAL_TIME_FPS > low / 3:
        low = REAL_TIME_FPS / 1.2
    return low, high


def _lines(
    axes: Axes, view: View, precision: str, limits: tuple[float, float], small: bool = False
) -> None:
    rows = view.at(precision)
    looks = view.looks()
    axes.set(xscale="log", yscale="log", ylim=limits)
    ends = []
    texts = _texts(view, precision)
    for model, points in rows.sort_values("megapixels").groupby("model", sort=True):
        look = looks[str(model)]
        axes.plot(
            points["megapixels"],
            points["fps"],
            color=look.color,
            linestyle=look.dash,
            linewidth=1.4 if small else 1.9,
        )
        _marks(axes, points, look, 4.0 if small else 5.5)
        last = points.iloc[-1]
        text = texts[str(model)]
        ends.append(labels.EndLabel(last["megapixels"], last["fps"], text, look.text))
    _size_ticks(axes, rows, small)
    logaxis.tidy(axes.yaxis)
    if limits[0] < REAL_TIME_FPS < limits[1]:
        axes.axhline(REAL_TIME_FPS, color="#777777", linestyle=":", linewidth=1.1)
        axes.annotate(
            f"{REAL_TIME_FPS} FPS",
            (0.01, REAL_TIME_FPS),
            xycoords=("axes fraction", "data"),
            va="bottom",
            fontsize=7.5,
            color="#555555",
        )
    labels.draw(axes, ends, points=_SMALL_POINTS if small else _POINTS)


def _marks(axes: Axes, points: pd.DataFrame, look: theme.Look, size: float) -> None:
    known = points[points["fps_low"].notna() & points["fps_high"].notna()]
    axes.vlines(known["megapixels"], known["fps_low"], known["fps_high"], color=look.color, lw=1.2)
    for suspect, some in points.groupby(points["verdict"] == "SUSPECT"):
        axes.plot(
            some["megapixels"],
            some["fps"],
            linestyle="none",
            marker=look.marker,
            markersize=size,
            markerfacecolor="white" if suspect else look.color,
            markeredgecolor=look.color if suspect else "white",
            markeredgewidth=1.2 if suspect else 0.6,
        )


def _size_ticks(axes: Axes, rows: pd.DataFrame, small: bool) -> None:
    sizes = rows.drop_duplicates("resolution").sort_values("megapixels")
    places = sizes["megapixels"].tolist()
    names = [wording.size(size) for size in sizes["resolution"]]
    # A single size stands near its labels, in a margin that still shows it to be one.
    low, high = places[0] / (1.12 if len(places) > 1 else 1.6), places[-1] * 1.03
    axes.set_xlim(low, high)
    crowded = small or any(
        math.log(after / before) < 0.14 * math.log(high / low)
        for before, after in itertools.pairwise(places)
    )
    axes.set_xticks(
        places, names, rotation=30 if crowded else 0, ha="right" if crowded else "center"
    )
    axes.minorticks_off()
