"""The line-up drawn: work against input size, and accuracy against parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchlib.analysis import wording
from benchlib.report import numerals, theme
from benchlib.report.drawing import Absent, Drawing
from benchlib.report.figures import labels
from benchlib.report.lineup_table import Record


def work(rows: Sequence[Record]) -> Drawing | Absent:
    """GMACs against megapixels, both logarithmic; a line joins the sizes of one network."""
    name = "lineup-work"
    counted = sorted((row for row in rows if row.gmacs), key=lambda row: (row.name, row.megapixels))
    if not counted:
        return Absent(name, "no network could be counted.")
    looks = _looks(rows)
    ends = []
    with theme.style():
        figure = Figure(figsize=(9.5, 8))
        axes = figure.subplots()
        figure.subplots_adjust(left=0.085, right=0.76, bottom=0.085, top=0.94)
        axes.set(xscale="log", yscale="log")
        for model, group in groupby(counted, key=lambda row: row.name):
            points, look = list(group), looks[model]
            axes.plot(
                [row.megapixels for row in points],
                [row.gmacs for row in points],
                color=look.color,
                linestyle=look.dash,
                marker=look.marker,
                markersize=5.5,
                linewidth=1.9,
            )
            last = points[-1]
            written = f"{last.label}  {numerals.short(last.gmacs)}"
            ends.append(labels.EndLabel(last.megapixels, last.gmacs, written, look.text))
        _size_ticks(axes, counted)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.set_ylabel("GMACs per image (log)")
        axes.set_xlabel("Input size, spaced by megapixels (log)")
        axes.set_title("Work by input size")
        labels.draw(axes, ends)
    said = _work_finding(counted)
    return Drawing(
        figure,
        name,
        alt=(
            "Line chart, billions of multiply-adds per image against input megapixels, both axes "
            f"logarithmic, one line per network. {said} The numbers are in the line-up table."
        ),
        caption=(
            f"Multiply-adds by input size; {said} {_slopes(counted)}Colour is the model family."
        ),
    )


def accuracy(rows: Sequence[Record], task: str) -> Drawing | Absent:
    """Published accuracy against parameters for the networks of ``task``, at any one size."""
    name = f"lineup-accuracy-{task}"
    known = list({row.name: row for row in rows if _has_both(row) and row.task == task}.values())
    if not known:
        return Absent(name, f"no accuracy is known for {task}.")
    looks = _looks(rows)
    metric = known[0].accuracy_metric
    with theme.style():
        figure = Figure(figsize=(8.5, 5.2))
        axes = figure.subplots()
        figure.subplots_adjust(left=0.09, right=0.97, bottom=0.11, top=0.92)
        axes.set_xscale("log")
        for row in known:
            look = looks[row.name]
            axes.plot(
                row.params / 1e6,
                row.accuracy,
                linestyle="none",
                marker=look.marker,
                markersize=8,
                markerfacecolor="white" if row.features_only else look.color,
                markeredgecolor=look.color,
            )
        axes.margins(0.16, 0.12)
        axes.tick_params(which="both", pad=5)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.xaxis.set_minor_formatter(
            lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""
        )
        axes.set_xlabel("Parameters, millions (log)")
        axes.set_ylabel(f"{metric}, %")
        axes.set_title(f"Published accuracy by parameters, {task}")
        names = [
            labels.Name(row.params / 1e6, row.accuracy, row.label, looks[row.name].text)
            for row in known
        ]
        labels.beside(axes, names)
    said = _accuracy_finding(known, task)
    hollow = (
        " Hollow: the accuracy belongs to the whole network with its classifier, the parameters "
        "are those of the timed features alone."
        if any(row.features_only for row in known)
        else ""
    )
    return Drawing(
        figure,
        name,
        alt=(
            f"Scatter chart, {metric} in percent against parameters in millions, logarithmic, "
            f"{task}. {said} The numbers are in the line-up table."
        ),
        caption=(
            f"{metric} as published against parameters. {said}{hollow} Training recipes and test "
            "sizes differ between publications, so small differences mean nothing."
        ),
    )


def _has_both(row: Record) -> bool:
    return row.accuracy is not None and row.params is not None


def _looks(rows: Sequence[Record]) -> dict[str, theme.Look]:
    return theme.looks(
        pd.DataFrame({"model": [r.name for r in rows], "family": [r.family for r in rows]})
    )


def _size_ticks(axes: Axes, rows: Sequence[Record]) -> None:
    sizes = sorted({(row.megapixels, f"{row.width}x{row.height}") for row in rows})
    axes.set_xticks(
        [megapixels for megapixels, _ in sizes], [wording.size(size) for _, size in sizes]
    )
    axes.minorticks_off()


def _work_finding(counted: Sequence[Record]) -> str:
    most = max(row.megapixels for row in counted)
    there = sorted((row for row in counted if row.megapixels == most), key=lambda row: row.gmacs)
    size = wording.size(f"{there[0].width}x{there[0].height}")
    least, largest = there[0], there[-1]
    if least is largest:
        return f"at {size} {least.name} takes {numerals.short(least.gmacs)} GMACs."
    return (
        f"at {size} {least.name} takes least with {numerals.short(least.gmacs)} GMACs, "
        f"{largest.name} most with {numerals.short(largest.gmacs)}."
    )


def _slopes(counted: Sequence[Record]) -> str:
    """How steep the lines are, between the smallest and the largest size of each network."""
    slopes = []
    for _, group in groupby(counted, key=lambda row: row.name):
        points = list(group)
        if points[-1].megapixels > points[0].megapixels:
            pixels = math.log(points[-1].megapixels / points[0].megapixels)
            slopes.append(math.log(points[-1].gmacs / points[0].gmacs) / pixels)
    if not slopes:
        return ""
    least, most = (f"{10**slope:.1f}" for slope in (min(slopes), max(slopes)))
    cost = least if least == most else f"{least} to {most}"
    return f"Ten times the pixels cost {cost} times the work. "


def _accuracy_finding(known: Sequence[Record], task: str) -> str:
    best = max(known, key=lambda row: row.accuracy)
    return (
        f"{best.name} has the highest with {best.accuracy:.1f} % at "
        f"{numerals.short(best.params / 1e6)} million parameters; "
        f"{wording.plural(len(known), 'network')} of {task} have a published one."
    )
