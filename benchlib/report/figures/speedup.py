"""Speed-up of each precision against FP32 of the same network and size."""

from __future__ import annotations

from dataclasses import asdict, fields

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchlib.analysis import parts, wording
from benchlib.analysis.speedup import Gain
from benchlib.analysis.speedup import gains as gains_over
from benchlib.case import Precision
from benchlib.report import theme
from benchlib.report.drawing import Absent, Drawing
from benchlib.report.view import View


def ratios(view: View) -> pd.DataFrame:
    """Every :class:`benchlib.analysis.speedup.Gain` over FP32 of ``view`` as a row."""
    found = [
        asdict(gain)
        for precision in view.precisions
        if precision != Precision.FP32.value
        for gain in gains_over(view.usable, precision)
    ]
    return pd.DataFrame(found, columns=[field.name for field in fields(Gain)])


def draw(view: View) -> Drawing | Absent:
    """A dot per network and precision, one panel per size, networks by their best median gain."""
    name = f"speedup-{view.slug}"
    gains = ratios(view)
    if gains.empty:
        return Absent(name, "no cell has both FP32 and another precision.")
    sizes = [size for size in view.sizes if (gains["resolution"] == size).any()]
    models = list(gains.groupby("model")["ratio"].median().sort_values().index)
    precisions = [word for word in view.precisions if (gains["precision"] == word).any()]
    with theme.style():
        width = 2.0 + max(2.6 * len(sizes), 4.5)
        height = 0.34 * len(models) + 1.7
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
        for axes, size in zip(grid, sizes, strict=True):
            _panel(axes, gains[gains["resolution"] == size], models, precisions)
            axes.set_title(wording.size(size))
        grid[0].set_yticks(range(len(models)), models)
        grid[0].set_ylim(-0.6, len(models) - 0.3)
        figure.supxlabel("Speed-up against FP32 of the same network (×, log)", fontsize=10)
        figure.legend(
            handles=[_handle(precision) for precision in precisions],
            loc="upper right",
            ncols=len(precisions),
        )
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / height))
    said = " ".join(_sentence(gains, precision) for precision in precisions)
    alt = (
        "Dot plot of the speed-up against FP32, one row per network, one panel per input size; "
        f"{view.label}. {said}"
    )
    remark = view.remarks().replace("of the median", "of the ratio, from both medians' intervals")
    caption = f"Speed-up against FP32, {view.label}. {said} {remark}"
    return Drawing(figure, name, alt, caption)


def _sentence(gains: pd.DataFrame, precision: str) -> str:
    part = gains.loc[gains["precision"] == precision, "ratio"]
    slower = int((part < 1).sum())
    tail = f"; slower than FP32 in {slower} of {len(part)} cells" if slower else ""
    return (
        f"{theme.precision_label(precision)} is {part.min():.2f}× to {part.max():.2f}× as fast as "
        f"FP32, median {part.median():.2f}×{tail}."
    )


def _handle(precision: str) -> Line2D:
    color, mark = theme.precision_look(precision)
    label = theme.precision_label(precision)
    return Line2D([], [], linestyle="none", color=color, marker=mark, label=label)


def _panel(axes: Axes, gains: pd.DataFrame, models: list[str], precisions: list[str]) -> None:
    axes.set_xscale("log")
    axes.axvline(1, color="#444444", linewidth=1)
    place = {model: index for index, model in enumerate(models)}
    for model, dots in gains.groupby("model"):
        far = max(dots["ratio"], key=lambda ratio: abs(np.log(ratio)))
        axes.plot([1, far], [place[model]] * 2, color="#c4c4c4", linewidth=2, zorder=1)
    for precision in precisions:
        dots = gains[gains["precision"] == precision]
        color, mark = theme.precision_look(precision)
        heights = dots["model"].map(place)
        axes.hlines(heights, dots["low"], dots["high"], color=color, linewidth=1.2)
        axes.plot(
            dots["ratio"],
            heights,
            linestyle="none",
            marker=mark,
            markersize=5.5,
            color=color,
            markeredgecolor="white",
            markeredgewidth=0.6,
        )
        for ratio, height in zip(dots["ratio"], heights, strict=True):
            axes.annotate(
                _two_digits(ratio),
                (ratio, height),
                # Every second precision below its dot: two dots close together stay readable.
                xytext=(0, -4.5 if precisions.index(precision) % 2 else 4.5),
                textcoords="offset points",
                ha="center",
                va="top" if precisions.index(precision) % 2 else "bottom",
                fontsize=6.5,
                color="#333333",
            )
    _missing(axes, gains, models, precisions)
    low = min(0.9, gains["ratio"].min() / 1.15, gains["low"].min() / 1.03)
    high = max(1.3, gains["ratio"].max() * 1.18, gains["high"].max() * 1.03)
    axes.set_xlim(low, high)
    ticks = [tick for tick in (0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    axes.minorticks_off()


def _two_digits(ratio: float) -> str:
    """Two significant digits at every size: 0.47, 1.2, 12."""
    return f"{ratio:.{2 if ratio < 0.995 else 1 if ratio < 9.95 else 0}f}"


def _missing(axes: Axes, gains: pd.DataFrame, models: list[str], precisions: list[str]) -> None:
    """Say in words which dots a network lacks, right of those it has."""
    for height, model in enumerate(models):
        dots = gains[gains["model"] == model]
        absent = [word for word in precisions if word not in set(dots["precision"])]
        if absent:
            axes.annotate(
                _without(absent, precisions),
                (max([1.0, *dots["ratio"]]), height),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                fontsize=6.5,
                color="#555555",
            )


def _without(absent: list[str], precisions: list[str]) -> str:
    """``no INT8`` rather than every method of it, where all of them are absent."""
    if absent == precisions:
        return "not measured"
    words = []
    for word in absent:
        base, _ = parts.base(word)
        family = [one for one in precisions if parts.base(one)[0] == base]
        words.append(base if set(family) <= set(absent) else word)
    return f"no {', '.join(map(theme.precision_label, dict.fromkeys(words)))}"
