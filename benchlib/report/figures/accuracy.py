"""Accuracy against latency, and the line-up drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchlib.analysis import comparable_groups, ranking, wording
from benchlib.analysis.comparable_groups import Variant
from benchlib.analysis.significance import WITHIN
from benchlib.case import Int8Method
from benchlib.report import style
from benchlib.report.style import Absent, Drawing
from benchlib.report.tables.lineup import Record
from benchlib.report.view import View, slug


def work(rows: Sequence[Record]) -> Drawing | Absent:
    """GMACs against megapixels, both logarithmic; a line joins the sizes of one network."""
    name = "lineup-work"
    counted = sorted((row for row in rows if row.gmacs), key=lambda row: (row.name, row.megapixels))
    if not counted:
        return Absent(name, "no network could be counted.")
    looks = _looks(rows)
    with style.style():
        figure = Figure(figsize=(9.5, 8))
        axes = figure.subplots()
        figure.subplots_adjust(left=0.085, right=0.76, bottom=0.085, top=0.94)
        frame = pd.DataFrame([(row.name, row.megapixels, row.gmacs) for row in counted])
        frame.columns = ["model", "megapixels", "gmacs"]
        style.lines(axes, frame, "megapixels", "gmacs", looks)
        axes.set(xscale="log", yscale="log")
        _size_ticks(axes, counted)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.set_ylabel("GMACs per image (log)")
        axes.set_xlabel("Input size, spaced by megapixels (log)")
        axes.set_title("Work by input size")
        ends = []
        for row in {row.name: row for row in counted}.values():  # the last of a name: its largest
            written = f"{row.label}  {wording.short(row.gmacs)}"
            look = looks[row.name]
            ends.append(style.Name(row.megapixels, row.gmacs, written, look.text))
        style.draw(axes, ends)
    finding = _work_finding(counted)
    return Drawing(
        figure,
        name,
        alt=(
            "Line chart, billions of multiply-adds per image against input megapixels, both axes "
            f"logarithmic, one line per network. {finding} The numbers are in the line-up table."
        ),
        caption=(
            f"Multiply-adds by input size; {finding} {_slopes(counted)}Colour is the model family."
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
    with style.style():
        figure = Figure(figsize=(8.5, 5.2))
        axes = figure.subplots()
        figure.subplots_adjust(left=0.09, right=0.97, bottom=0.11, top=0.92)
        frame = pd.DataFrame([(row.name, row.params / 1e6, row.accuracy) for row in known])
        frame.columns = ["model", "params", "accuracy"]
        cut = [row.features_only for row in known]
        style.dots(axes, frame, "params", "accuracy", looks, points=8, hollow=cut)
        axes.set_xscale("log")
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
            style.Name(row.params / 1e6, row.accuracy, row.label, looks[row.name].text)
            for row in known
        ]
        style.beside(axes, names)
    finding = _accuracy_finding(known, task)
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
            f"{task}. {finding} The numbers are in the line-up table."
        ),
        caption=(
            f"{metric} as published against parameters. {finding}{hollow} Training recipes and "
            "test sizes differ between publications, so small differences mean nothing."
        ),
    )


def _has_both(row: Record) -> bool:
    return row.accuracy is not None and row.params is not None


def _looks(rows: Sequence[Record]) -> dict[str, style.Look]:
    return style.looks(
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
        return f"at {size} {least.name} takes {wording.short(least.gmacs)} GMACs."
    return (
        f"at {size} {least.name} takes least with {wording.short(least.gmacs)} GMACs, "
        f"{largest.name} most with {wording.short(largest.gmacs)}."
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
        f"{wording.short(best.params / 1e6)} million parameters; "
        f"{wording.plural(len(known), 'network')} of {task} have a published one."
    )


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
    2048x1024, so the size nearest to that in pixels. Sizes without a front come last.
    """
    rows = view.usable[view.usable["accuracy_metric"] == metric].dropna(subset="accuracy")
    sizes = rows.drop_duplicates("resolution").sort_values("megapixels")
    fronts = [bool(_with_front(rows[rows["resolution"] == size])) for size in sizes["resolution"]]
    sizes = sizes[fronts] if any(fronts) else sizes
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
    fronts = _with_front(known)
    precisions = [word for word in view.precisions if word in fronts]
    if not precisions:
        few = f"fewer than {_FEWEST} networks with {metric} at {wording.size(size)}"
        return Absent(name, f"{few} at any precision: there is no front.")
    known = known[known["variant"].isin(precisions)]
    columns = min(2, len(precisions))
    lines = math.ceil(len(precisions) / columns)
    looks = view.looks()
    room = max(1.0, 0.08 * (known["accuracy"].max() - known["accuracy"].min()))
    with style.style():
        figure = Figure(figsize=(_PANEL[0] * columns + 0.4, _PANEL[1] * lines))
        grid = list(figure.subplots(lines, columns, squeeze=False, sharey=True).flat)
        for axes, precision in zip(grid, precisions, strict=False):
            _panel(axes, known[known["variant"] == precision], looks)
            axes.set_ylim(known["accuracy"].min() - room, known["accuracy"].max() + room)
            axes.set_title(f"{style.precision_label(precision)}, {wording.size(size)}")
            axes.set_xlabel("Latency, ms per batch (log); left is faster")
        for axes in grid[::columns]:
            axes.set_ylabel(f"{metric}, %")
        for axes in (free := grid[len(precisions) :]):
            axes.set_visible(False)
        keys = style.family_keys(looks, known["model"])
        top = 1.0 if free else 1 - 0.5 / (_PANEL[1] * lines)
        style.tighten(figure, (0, 0, 1, top), pad=2.0)
        if free:  # the keys stand where no panel does
            place = free[0].get_position()
            figure.legend(handles=keys, loc="center", bbox_to_anchor=place, ncols=2)
        else:
            figure.legend(handles=keys, loc="upper center", ncols=min(4 * columns, len(keys)))
        for axes, precision in zip(grid, precisions, strict=False):
            _names(axes, known[known["variant"] == precision])
    finding = " ".join(
        _finding(known[known["variant"] == precision], precision) for precision in precisions
    )
    alt = (
        f"Scatter of {metric} against latency at {wording.size(size)}, one panel per "
        f"precision; {view.label}. {finding}"
    )
    made_up = bool((known["int8_method"] == Int8Method.MADE_UP_RANGES.value).any())
    at_size = (view.frame["resolution"] == size) & (view.frame["accuracy_metric"] == metric)
    drawn = replace(view, frame=view.frame[at_size & view.frame["variant"].isin(precisions)])
    caption = (
        f"{metric} against latency at {wording.size(size)}; {view.label}. {finding} Line: Pareto "
        "front of the medians. Black edge and bold: no network is both at least as accurate and "
        f"faster by more than {WITHIN} beyond both intervals, as far as a rebuilt engine may be "
        "off. The accuracy is the literature's at its own input size, "
        f"not measured on these engines. {_hollow(known)}{_MADE_UP * made_up}{drawn.remarks()}"
    )
    return Drawing(figure, name, alt, caption)


_MADE_UP = (
    "INT8 with made-up ranges has a speed and no accuracy: it is drawn as if it lost nothing. "
)


def _with_front(rows: pd.DataFrame) -> set[Variant]:
    """The precisions with enough networks, those timed without their classifier left out."""
    whole = rows.loc[~comparable_groups.without_classifier(rows["model"])]
    counts = whole["variant"].value_counts()
    return set(counts.index[counts >= _FEWEST])


def _hollow(rows: pd.DataFrame) -> str:
    """What a hollow mark means, where there is one."""
    cut = sorted(set(rows.loc[comparable_groups.without_classifier(rows["model"]), "model"]))
    if not cut:
        return ""
    return (
        f"Hollow and not on the front: {wording.listed(cut)}, timed without the classifier that "
        "the accuracy needs. "
    )


def _finding(rows: pd.DataFrame, precision: Variant) -> str:
    front = rows[ranking.undominated(rows)].sort_values("latency_ms")
    names = wording.listed(list(front["model"]), most=12)
    return f"{style.precision_label(precision)}: {names} on the front."


def _panel(axes: Axes, rows: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    cut = comparable_groups.without_classifier(rows["model"])
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
    leads = ranking.undominated(rows)
    style.dots(
        axes,
        rows,
        "latency_ms",
        "accuracy",
        looks,
        points=np.where(leads, 8.5, 5.5),
        hollow=cut,
        edgecolor=np.where(leads, "black", "white"),
        linewidth=np.where(leads, 1.1, 0.6),
    )
    axes.set_xscale("log")
    low, high = style.widened_limits(
        rows["latency_ms"].min() / 1.25, rows["latency_ms"].max() * 1.6
    )
    axes.set_xlim(low, high)
    ticks = [
        digit * 10.0**power
        for power in range(-4, 6)
        for digit in (1, 2, 5)
        if low <= digit * 10.0**power <= high
    ]
    axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
    axes.minorticks_off()


def _names(axes: Axes, rows: pd.DataFrame) -> None:
    names = [
        style.Name(
            row.latency_ms, row.accuracy, row.model, "black" if leads else "#555555", bold=leads
        )
        for row, leads in zip(rows.itertuples(index=False), ranking.undominated(rows), strict=True)
    ]
    style.beside(axes, names)
