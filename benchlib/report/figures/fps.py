"""Frames per second against input size, and speed-up over FP32."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchlib.analysis import ranking, wording
from benchlib.analysis.comparable_groups import Variant
from benchlib.analysis.significance import Gain
from benchlib.analysis.significance import gains as gains_over
from benchlib.case import Precision, Verdict
from benchlib.report import style
from benchlib.report.style import Absent, Drawing
from benchlib.report.view import View, slug, table_of


def ratios(view: View) -> pd.DataFrame:
    """Every :class:`benchlib.analysis.significance.Gain` over FP32 of ``view`` as a row."""
    found = [
        gain
        for one in view.precisions
        if one.precision != Precision.FP32.value
        for gain in gains_over(view.usable, one)
    ]
    return table_of(found, Gain)


def draw_speedup(view: View) -> Drawing | Absent:
    """A dot per network and precision, one panel per size, networks by their best median gain."""
    name = f"speedup-{view.slug}"
    gains = ratios(view)
    if gains.empty:
        return Absent(name, "no cell has both FP32 and another precision.")
    sizes = [size for size in view.sizes if (gains["resolution"] == size).any()]
    models = list(gains.groupby("model")["ratio"].median().sort_values().index)
    precisions = [word for word in view.precisions if (gains["precision"] == word).any()]
    with style.style():
        width = 2.0 + max(2.6 * len(sizes), 4.5)
        height = 0.34 * len(models) + 1.7
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
        for axes, size in zip(grid, sizes, strict=True):
            here = gains[gains["resolution"] == size]
            _panel(axes, here, models, precisions)
            _missing(axes, here, models, precisions, view.at(size=size))
            axes.set_title(wording.size(size))
        grid[0].set_yticks(range(len(models)), models)
        grid[0].set_ylim(-0.6, len(models) - 0.3)
        figure.supxlabel("Speed-up against FP32 of the same network (×, log)", fontsize=10)
        figure.legend(
            handles=style.precision_keys(precisions), loc="upper right", ncols=len(precisions)
        )
        style.tighten(figure, (0, 0, 1, 1 - 0.3 / height))
    summary = " ".join(_sentence(gains, precision) for precision in precisions)
    alt = (
        "Dot plot of the speed-up against FP32, one row per network, one panel per input size; "
        f"{view.label}. {summary}"
    )
    drawn = replace(view, frame=view.frame[view.frame["model"].isin(models)])
    remark = drawn.remarks().replace(
        "the median, for the engine", "the ratio, from both medians' intervals, for the engines"
    )
    caption = f"Speed-up against FP32, {view.label}. {summary} {remark}"
    without = sorted(set(view.usable["model"]) - set(models))
    if without:
        caption += f" Not drawn, because no FP32 stands beside: {wording.listed(without, most=20)}."
    return Drawing(figure, name, alt, caption)


def _sentence(gains: pd.DataFrame, precision: Variant) -> str:
    some = gains[gains["precision"] == precision]
    part, slower = some["ratio"], int(some["slower"].sum())
    tail = f"; slower than FP32 in {slower} of {len(part)} cells" if slower else ""
    return (
        f"{style.precision_label(precision)} is {part.min():.2f}× to {part.max():.2f}× as fast as "
        f"FP32, median {part.median():.2f}×{tail}."
    )


def _panel(axes: Axes, gains: pd.DataFrame, models: list[str], precisions: list[Variant]) -> None:
    axes.axvline(1, color="#444444", linewidth=1)
    place = {model: index for index, model in enumerate(models)}
    for model, dots in gains.groupby("model"):
        far = max(dots["ratio"], key=lambda ratio: abs(np.log(ratio)))
        axes.plot([1, far], [place[model]] * 2, color="#c4c4c4", linewidth=2, zorder=1)
    looks = style.precision_looks(precisions)
    gains = gains.assign(height=gains["model"].map(place))
    colors = [looks[word].color for word in gains["precision"]]
    axes.hlines(gains["height"], gains["low"], gains["high"], color=colors, linewidth=1.2)
    style.dots(axes, gains, "ratio", "height", looks, by="precision")
    axes.set_xscale("log")
    written: dict[tuple[str, int], list[float]] = {}
    for gain in gains.itertuples(index=False):
        # Every second precision below its dot: two dots close together stay readable.
        below = precisions.index(gain.precision) % 2
        side = written.setdefault((gain.model, below), [])
        if any(max(gain.ratio, one) < _NUMBERS_APART * min(gain.ratio, one) for one in side):
            continue
        side.append(gain.ratio)
        axes.annotate(
            _two_digits(gain.ratio),
            (gain.ratio, gain.height),
            xytext=(0, -4.5 if below else 4.5),
            textcoords="offset points",
            ha="center",
            va="top" if below else "bottom",
            fontsize=6.5,
            color="#333333",
        )
    low = min(0.9, gains["ratio"].min() / 1.15, gains["low"].min() / 1.03)
    high = max(1.3, gains["ratio"].max() * 1.18, gains["high"].max() * 1.03)
    axes.set_xlim(low, high)
    ticks = [tick for tick in (0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    axes.minorticks_off()


_NUMBERS_APART = 1.13
"""Two numbers on the same side of a line cover each other when their ratio is below this: on an
axis from 0.7 to 3.5 and 2.2 inches long it is the width of one."""


def _two_digits(ratio: float) -> str:
    """Two significant digits at every size: 0.47, 1.2, 12."""
    return f"{ratio:.{2 if ratio < 0.995 else 1 if ratio < 9.95 else 0}f}"


def _missing(
    axes: Axes,
    gains: pd.DataFrame,
    models: list[str],
    precisions: list[Variant],
    timed: pd.DataFrame,
) -> None:
    """Say in words which precisions a network lacks, right of the dots that it has. Where it has
    none, that is for want of FP32 or because nothing of ``timed``, the rows of the size, is its.

    One of several methods of INT8 has no word where another is there: it would be longer than the
    axis.
    """
    every = list(dict.fromkeys(one.precision for one in precisions))
    for height, model in enumerate(models):
        dots = gains[gains["model"] == model]
        absent = [one for one in every if one not in {dot.precision for dot in dots["precision"]}]
        if absent:
            there = set(timed.loc[timed["model"] == model, "precision"])
            if there and Precision.FP32.value not in there:
                absent = [Precision.FP32.value]
            words = f"no {', '.join(map(style.precision_label, absent))}"
            words = words if there else "not measured"
            axes.annotate(
                words,
                (max([1.0, *dots["ratio"]]), height),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                fontsize=6.5,
                color="#555555",
            )


REAL_TIME_FPS = 30
"""Frames per second of ordinary video, the line most readers look for."""
_POINTS = 8.5
_PANEL_INCHES, _LEAST_INCHES = 2.5, 3.0
"""A panel's width, and its least height; many names make it taller."""
_COLUMNS = 2
"""Panels beside each other: with three, on a repository's page of 900 pixels, names are 6 high."""
_LEFT_INCHES, _NAME_INCHES, _ABOVE_INCHES, _BELOW_INCHES = 0.55, 0.2, 0.4, 0.85
"""Around a panel, for its ticks, the name of the first one's y axis, its title and sizes."""


def draw_fps(view: View, precision: Variant) -> Drawing | Absent:
    """FPS against megapixels at ``precision``, both axes logarithmic, one line per network."""
    name = f"fps-{slug(str(precision))}-{view.slug}"
    rows = view.at(precision)
    if rows.empty:
        return Absent(name, f"no usable row at {style.precision_label(precision)}.")
    if len(rows) == 1:
        return Absent(name, f"one point makes no chart. {finding(view, precision)}")
    with style.style():
        figure = Figure(figsize=(9.5, 6.4))
        axes = figure.subplots()
        right = 1 - style.room(_texts(view, precision).values(), _POINTS) / figure.get_figwidth()
        figure.subplots_adjust(left=0.085, right=right, bottom=0.1, top=0.93)
        _lines(axes, view, precision, _limits(rows))
        axes.set_ylabel("Frames per second (log)")
        axes.set_xlabel("Input size, spaced by megapixels (log)")
        axes.set_title(f"FPS by input size, {style.precision_label(precision)}, batch {view.batch}")
    alt = (
        "Line chart, frames per second against input megapixels, both axes logarithmic, "
        f"{style.precision_label(precision)}, {view.label}. {finding(view, precision)} "
        "The numbers are in the latency table."
    )
    caption = (
        f"FPS by input size at {style.precision_label(precision)}; {view.label}. "
        f"{finding(view, precision)} FPS is 1000 × batch / median latency in ms. "
        f"Colour is the model family. {view.remarks(precision, hollow=True)}"
    )
    return Drawing(figure, name, alt, caption)


def with_lines(view: View) -> list[Variant]:
    """The precisions at which a network has two sizes; all where there is none."""
    every = view.precisions
    return [one for one in every if view.at(one)["model"].duplicated().any()] or every


def panels(view: View) -> Drawing | Absent:
    """The same for every precision on one scale, two beside each other; where any has lines, those
    with points only are left out."""
    name = f"fps-panels-{view.slug}"
    every = view.precisions
    if not every:
        return Absent(name, "no usable row.")
    precisions = with_lines(view)
    rows = view.usable[view.usable["variant"].isin(precisions)]
    limits = _limits(rows)
    columns = min(len(precisions), _COLUMNS)
    lines = math.ceil(len(precisions) / columns)
    labels = max(len(_texts(view, one)) for one in precisions)
    tall = max(_LEAST_INCHES, labels * style.leading(_POINTS))
    pitch = tall + _ABOVE_INCHES + _BELOW_INCHES
    with style.style():
        texts = [_texts(view, one, small=True).values() for one in precisions]
        wide = _LEFT_INCHES + _PANEL_INCHES + max(style.room(one, _POINTS) for one in texts)
        figure = Figure(figsize=(_NAME_INCHES + columns * wide, lines * pitch))
        width, height = figure.get_size_inches()
        for index, precision in enumerate(precisions):
            row, column = divmod(index, columns)
            left = _NAME_INCHES + column * wide + _LEFT_INCHES
            bottom = height - row * pitch - _ABOVE_INCHES - tall
            axes = figure.add_axes(
                (left / width, bottom / height, _PANEL_INCHES / width, tall / height)
            )
            _lines(axes, view, precision, limits, small=True)
            axes.set_title(style.precision_label(precision))
            axes.set_xlabel("Input size (log megapixels)")
            axes.set_ylabel("Frames per second (log)" if column == 0 else "")
    summary = " ".join(finding(view, precision) for precision in precisions)
    alt = (
        f"{len(precisions)} line charts on one scale, frames per second against "
        f"input megapixels, both axes logarithmic, one chart per precision; {view.label}. {summary}"
    )
    points = [style.precision_label(one) for one in every if one not in precisions]
    left_out = f" Without a network at two sizes: {wording.listed(points)}." if points else ""
    drawn = replace(view, frame=view.frame[view.frame["variant"].isin(precisions)])
    caption = (
        f"FPS by input size, every precision on one scale; {view.label}. The number at a name is "
        f"the FPS at {wording.size(view.sizes[-1])}. {drawn.remarks(hollow=True)}{left_out}"
    )
    return Drawing(figure, name, alt, caption)


def finding(view: View, precision: Variant) -> str:
    """The finding of the lines, in a sentence or two."""
    rows = view.at(precision)
    size = str(rows["resolution"].max())
    there = ranking.choose(rows[rows["resolution"] == size])
    best, worst, tied = there.iloc[0], there.iloc[-1], there.loc[there["tied"], "model"][1:]
    where = f"At {wording.size(size)} and {style.precision_label(precision)}"
    if len(there) == 1:
        return f"{where} {best['model']} runs at {wording.short(best['fps'])} FPS."
    enough = int((there["fps"] >= REAL_TIME_FPS).sum())
    ties = f", tied with {wording.listed(tied)}" if len(tied) else ""
    return (
        f"{where} {best['model']} is fastest with {wording.short(best['fps'])} FPS{ties}, "
        f"{worst['model']} slowest with {wording.short(worst['fps'])}; "
        f"{enough} of {len(there)} reach {REAL_TIME_FPS} FPS."
    )


@lru_cache(maxsize=16)
def _texts(view: View, precision: Variant, small: bool = False) -> dict[str, str]:
    """What stands at the end of each network's line: its name and the FPS of its last size. Where
    that is not the largest of all, the size is said too, or in a ``small`` panel neither."""
    texts = {}
    largest = view.sizes[-1]
    for model, points in view.at(precision).sort_values("megapixels").groupby("model"):
        last = points.iloc[-1]
        at = "" if last["resolution"] == largest else f" at {wording.size(last['resolution'])}"
        number = "" if small and at else f"  {wording.short(last['fps'])}{at}"
        texts[str(model)] = f"{model}{number}"
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
    axes: Axes, view: View, precision: Variant, limits: tuple[float, float], small: bool = False
) -> None:
    rows = view.at(precision)
    looks = view.looks()
    known = rows[rows["fps_low"].notna() & rows["fps_high"].notna()]
    colors = [looks[model].color for model in known["model"]]
    axes.vlines(known["megapixels"], known["fps_low"], known["fps_high"], color=colors, lw=1.2)
    style.lines(axes, rows, "megapixels", "fps", looks, small=small)
    suspect = rows[rows["verdict"] == Verdict.SUSPECT.value]
    if len(suspect):
        size = style.mark_points(small)
        style.dots(axes, suspect, "megapixels", "fps", looks, points=size, hollow=True)
    axes.set(xscale="log", yscale="log", ylim=limits)
    _size_ticks(axes, rows, small)
    style.tidy_log_axis(axes.yaxis)
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
    texts = _texts(view, precision, small)
    last = rows.sort_values(["model", "megapixels"]).drop_duplicates("model", keep="last")
    ends = [
        style.Name(row.megapixels, row.fps, texts[row.model], looks[row.model].text)
        for row in last.itertuples(index=False)
    ]
    style.draw(axes, ends, points=_POINTS)


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
