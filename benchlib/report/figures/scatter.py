"""Latency against size, work and what the card could do."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchlib.analysis import latency_model, roofline, wording
from benchlib.analysis.comparable_groups import Variant
from benchlib.analysis.results import MeasuredSet
from benchlib.analysis.roofline import Point, Roofs
from benchlib.report import style
from benchlib.report.style import Absent, Drawing
from benchlib.report.view import View, table_of


def draw_work(view: View) -> Drawing | Absent:
    """Small multiples: precisions down, sizes across, ms against GMACs, both logarithmic."""
    name = f"work-{view.slug}"
    rows = view.usable.dropna(subset=["gmacs"])
    if rows.empty:
        return Absent(name, "no usable row with a count of multiply-accumulates.")
    precisions = [word for word in view.precisions if (rows["variant"] == word).any()]
    sizes = [size for size in view.sizes if (rows["resolution"] == size).any()]
    looks = view.looks()
    dependences = {
        (one.precision, one.resolution): one for one in latency_model.dependences(rows, "gmacs")
    }
    with style.style():
        width, height = max(6.0, 2.9 * len(sizes) + 0.6), 2.5 * len(precisions) + 1.3
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(len(precisions), len(sizes), squeeze=False, sharey="row")
        for line, precision in zip(grid, precisions, strict=True):
            for axes, size in zip(line, sizes, strict=True):
                part = rows[(rows["variant"] == precision) & (rows["resolution"] == size)]
                if part.empty:
                    axes.set_visible(False)
                    continue
                _against_work(axes, part, looks)
                rho = _rho(dependences.get((precision, size)))
                # A title with a method's name in it is too long for one line.
                between = "\n" if precision.method else " "
                label = style.precision_label(precision)
                axes.set_title(f"{label}{between}{wording.size(size)}{rho}")
                axes.title.set_fontsize(9)
        for axes in filter(Axes.get_visible, grid.flat):
            style.tidy_log_axis(axes.xaxis)
            style.tidy_log_axis(axes.yaxis)
        figure.supxlabel("GMACs per image at that size (log)", fontsize=10, y=0.5 / height)
        figure.supylabel("Median latency, ms per batch (log)", fontsize=10)
        keys = style.family_keys(looks, rows["model"])
        figure.legend(
            handles=keys,
            loc="lower center",
            ncols=min(len(keys), max(3, int(width / 1.45))),
            fontsize=8.5,
        )
        style.tighten(figure, (0.005, 0.45 / height, 1, 1))
    summary = " ".join(
        _correlations(precision, [dependences[key] for key in dependences if key[0] == precision])
        for precision in precisions
    )
    alt = (
        "Scatter plots of latency in ms against GMACs, both logarithmic, precisions down and input "
        f"sizes across, a dot per network coloured by family; {view.label}. {summary}"
    )
    caption = (
        f"Latency against multiply-accumulates at each size; {view.label}. ρ is Spearman's rank "
        f"correlation over a panel's networks, with a 95 % interval over networks. {summary} "
        f"{view.remarks()}"
    )
    return Drawing(figure, name, alt, caption)


def _rho(one: latency_model.Dependence | None) -> str:
    return "" if one is None or one.rho is None else f"  ρ = {_hundredths(one.rho)}"


def _hundredths(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # the sum, since what rounds to zero keeps its minus


def _correlations(precision: Variant, dependences: list[latency_model.Dependence]) -> str:
    values = [
        _hundredths(one.rho)
        + (f" ({_hundredths(one.low)} to {_hundredths(one.high)})" if one.low is not None else "")
        for one in dependences
        if one.rho is not None
    ]
    if not values:
        return f"{style.precision_label(precision)}: too few networks for a rank correlation."
    where = " from the smallest to the largest size" if len(values) > 1 else ""
    return f"{style.precision_label(precision)}: ρ = {', '.join(values)}{where}."


def _against_work(axes: Axes, rows: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    axes.set(xscale="log", yscale="log")
    known = rows.dropna(subset=["latency_ci_low_ms", "latency_ci_high_ms"])
    colors = [looks[model].color for model in known["model"]]
    ends = (known["latency_ci_low_ms"], known["latency_ci_high_ms"])
    axes.vlines(known["gmacs"], *ends, color=colors, lw=1.1)
    style.dots(axes, rows, "gmacs", "latency_ms", looks)
    axes.set_xlim(rows["gmacs"].min() / 1.25, rows["gmacs"].max() * 1.25)


def draw_latency_model(view: View) -> Drawing | Absent:
    """Two panels with a row per network: the fixed cost, and the cost per megapixel."""
    name = f"latency-model-{view.slug}"
    fits = latency_model.fit(view.usable)
    if not fits:
        return Absent(name, "no network has three sizes, so no line can be tested.")
    bad = [f"{one.model} {style.precision_label(one.precision)}" for one in fits if not one.holds]
    missed = f"by more than {wording.percent(latency_model.PREDICTABLE)}"
    lines = table_of([one for one in fits if one.holds], latency_model.Fit)
    if lines.empty:
        return Absent(name, f"a line misses the times of every network {missed}.")
    slopes = lines.groupby("model")["ms_per_megapixel"].min()
    models = list(slopes.sort_values(ascending=False).index)
    precisions = [word for word in view.precisions if (lines["precision"] == word).any()]
    with style.style():
        height = 0.3 * len(models) + 1.6
        figure = Figure(figsize=(10.5, height))
        left, right = figure.subplots(1, 2, sharey=True)
        lines["place"] = lines["model"].map(models.index)
        precision_looks = style.precision_looks(precisions)
        for axes, cost in ((left, "fixed_ms"), (right, "ms_per_megapixel")):
            style.dots(axes, lines, cost, "place", precision_looks, by="precision", points=6)
        left.axvline(0, color="#444444", linewidth=1)
        left.set_xlabel("Fixed cost, ms per batch")
        right.set_xscale("log")
        right.set_xlabel("Cost of a megapixel, ms (log)")
        style.tidy_log_axis(right.xaxis)
        left.set_yticks(range(len(models)), models)
        left.set_ylim(-0.6, len(models) - 0.4)
        figure.legend(
            handles=style.precision_keys(precisions), loc="upper right", ncols=len(precisions)
        )
        style.tighten(figure, (0, 0, 1, 1 - 0.35 / height))
    summary = " ".join(_costs(lines[lines["precision"] == word], word) for word in precisions)
    alt = (
        "Dot plot with a row per network: left the fixed part of the latency in ms, right the "
        f"part per megapixel, logarithmic; {view.label}. {summary}"
    )
    left_out = f" Not drawn, because the line misses {missed}: {wording.listed(bad)}."
    caption = (
        "A line through each network's latencies over the sizes, by least relative error: "
        f"ms = fixed + slope × megapixels; {view.label}. {summary} Neither part can be below zero."
        f"{left_out * bool(bad)}"
    )
    return Drawing(figure, name, alt, caption)


def _costs(lines: pd.DataFrame, precision: Variant) -> str:
    worst = lines.loc[lines["largest_error"].idxmax()]
    if len(lines) == 1:
        return (
            f"{style.precision_label(precision)}: fixed cost {wording.short(worst['fixed_ms'])} ms "
            f"({worst['model']}); the line misses a time by {100 * worst['largest_error']:.0f} %."
        )
    return (
        f"{style.precision_label(precision)}: fixed cost {wording.short(lines['fixed_ms'].min())} "
        f"to {wording.short(lines['fixed_ms'].max())} ms; the line misses a time by "
        f"{100 * lines['largest_error'].median():.0f} % in the median network, "
        f"{100 * worst['largest_error']:.0f} % in the worst ({worst['model']})."
    )


_MOST_ACROSS = 3
"""Panels in a row; more make labels too small to read on a page."""

_KEYS_ACROSS = 6
_KEY_INCHES = 1.6
"""Width that a column of the legend takes in the mean, that of real-time segmentation among them;
more columns than have this would be cut at both ends of the figure."""


def draw_roofline(view: View) -> Drawing | Absent:
    """A panel per precision: rate reached against operations per byte, under the roof if known."""
    name = f"roofline-{view.slug}"
    measured = MeasuredSet(view.label, view.usable, view.environment, view.published)
    points = roofline.points(measured)
    if not points:
        return Absent(name, "no row has counts of work, activations and weights.")
    precisions = [word for word in view.precisions if any(p.precision == word for p in points)]
    roofs = {one: roofline.roofs(measured, one.precision) for one in precisions}
    looks = view.looks()
    sizes = [size for size in view.sizes if any(p.resolution == size for p in points)]
    with style.style():
        columns = min(len(precisions), _MOST_ACROSS)
        lines = math.ceil(len(precisions) / columns)
        handles = style.family_keys(looks, [point.model for point in points])
        handles += [
            style.key(wording.size(size), "#777777", points=_mark_points(index))
            for index, size in enumerate(sizes)
        ]
        width = max(6.5, 4.4 * columns)
        across = min(_KEYS_ACROSS, int(width / _KEY_INCHES))
        keys = 0.18 * math.ceil(len(handles) / across) + 0.15
        height = 4.4 * lines + keys + 0.3
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for spare in grid.flat[len(precisions) :]:
            spare.set_visible(False)
        panels = list(grid.flat)[: len(precisions)]
        for axes, precision in zip(panels, precisions, strict=True):
            mine = [point for point in points if point.precision == precision]
            _under_roof(axes, mine, roofs[precision], looks, sizes)
            axes.set_title(style.precision_label(precision))
            axes.set_xlabel("Operations per byte (log)")
        for axes in panels:
            style.tidy_log_axis(axes.xaxis)
            style.tidy_log_axis(axes.yaxis)
        for axes in grid[:, 0]:
            axes.set_ylabel("Reached, 10¹² operations per second (log)")
        figure.legend(handles=handles, loc="lower center", ncols=across, fontsize=8.5)
        style.tighten(figure, (0, keys / height, 1, 1))
    summary = " ".join(_reached(points, word, roofs[word]) for word in precisions)
    alt = (
        "Roofline, one panel per precision: rate reached against operations per byte, both "
        f"logarithmic, a dot per network and size, larger for larger images; {view.label}. "
        f"{summary}"
    )
    how = {_source(one) for one in roofs.values() if one is not None}
    is_beaten = any(
        roof is not None and roof.measured and point.tera_ops > roof.tera_ops
        for point in points
        if (roof := roofs[point.precision])
    )
    over = " One above the flat roof runs kernels faster than those that measured it." * is_beaten
    caption = (
        f"Rate reached against arithmetic per byte; {view.label}. {summary} "
        f"{' '.join(sorted(how)) or 'No roof is known for this device.'} Bytes are counted as if "
        "every activation were written and read once; fused layers move less, so a dot may lie "
        f"above the sloping roof.{over} A multiply-accumulate is two operations."
    )
    return Drawing(figure, name, alt, caption)


def _under_roof(
    axes: Axes,
    points: list[Point],
    roof: Roofs | None,
    looks: dict[str, style.Look],
    sizes: list[str],
) -> None:
    axes.set(xscale="log", yscale="log")
    rows = table_of(points, Point)
    marks = [_mark_points(sizes.index(size)) for size in rows["resolution"]]
    style.dots(axes, rows, "intensity", "tera_ops", looks, points=marks)
    if roof is not None:
        reach = [point.intensity for point in points] + [roof.ridge]
        x = np.geomspace(min(reach) / 2, max(reach) * 2, 60)
        dash = "-" if roof.measured else "--"
        axes.plot(x, [roof.at(at) for at in x], color="#333333", linestyle=dash, linewidth=1.4)


def _mark_points(index: int) -> float:
    return 4.0 + 1.5 * index


def _source(roof: Roofs) -> str:
    kind = "Solid roof: measured" if roof.measured else "Dashed roof: taken from the"
    return f"{kind} ({roof.how})." if roof.measured else f"{kind} {roof.how}."


def _reached(points: tuple[Point, ...], precision: Variant, roof: Roofs | None) -> str:
    mine = [point for point in points if point.precision == precision]
    best = max(mine, key=lambda point: point.tera_ops)
    sentence = (
        f"{style.precision_label(precision)}: {best.model} at {wording.size(best.resolution)} "
        f"reaches most, {wording.short(best.tera_ops)} × 10¹² operations per second"
    )
    shares = [point.share for point in mine if point.share is not None]
    if roof is None or not shares:
        return f"{sentence}."
    return f"{sentence}; the median row reaches {100 * float(np.median(shares)):.0f} % of its roof."
