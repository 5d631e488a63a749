"""Any two columns against each other: the free figure of the explore notebook."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchlib.report import theme
from benchlib.report.drawing import Absent, Drawing
from benchlib.report.figures import logaxis
from benchlib.report.view import View

AXES: dict[str, str] = {
    "gmacs": "GMACs per image (log)",
    "params_m": "Parameters, millions (log)",
    "mactivations": "Activations, millions per image (log)",
    "size_mb": "Weights, MB (log)",
    "megapixels": "Input, megapixels (log)",
    "latency_ms": "Median latency, ms per batch (log)",
    "fps": "Frames per second (log)",
    "throughput_img_s": "Throughput, images per second (log)",
    "accuracy": "Accuracy, %",
    "power_w": "Board power, W (log)",
    "energy_mj": "Energy per image, mJ (log)",
    "build_s": "Build time, s (log)",
    "engine_mb": "Engine, MB (log)",
}
"""Columns that make an axis, with their labels."""


def draw(view: View, x: str, y: str) -> Drawing | Absent:
    """``y`` against ``x``: a dot per row, colour the family, precision the mark."""
    name = f"scatter-{x}-{y}-{view.slug}"
    rows = view.usable.dropna(subset=[x, y])
    if rows.empty:
        return Absent(name, f"no usable row has both {x} and {y}.")
    looks = view.looks()
    precisions = [word for word in view.precisions if (rows["precision"] == word).any()]
    with theme.style():
        figure = Figure(figsize=(9.5, 5.6))
        axes = figure.subplots()
        figure.subplots_adjust(left=0.09, right=0.73, bottom=0.12, top=0.95)
        for (precision, model), dots in rows.groupby(["precision", "model"], observed=True):
            axes.plot(
                dots[x],
                dots[y],
                linestyle="none",
                marker=theme.precision_look(str(precision))[1],
                color=looks[str(model)].color,
                markersize=6.5,
                markeredgecolor="white",
                markeredgewidth=0.5,
            )
        for column, scale, axis in (
            (x, axes.set_xscale, axes.xaxis),
            (y, axes.set_yscale, axes.yaxis),
        ):
            if "(log)" in AXES[column] and (rows[column] > 0).all():
                scale("log")
                logaxis.tidy(axis)
        axes.set(xlabel=AXES[x], ylabel=AXES[y])
        families = sorted({looks[model].family for model in rows["model"]})
        handles = [_dot("o", theme.swatch(family).line, family) for family in families]
        handles += [
            _dot(theme.precision_look(word)[1], "#777777", theme.precision_label(word))
            for word in precisions
        ]
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1), fontsize=9)
    said = f"{len(rows)} rows of {rows['model'].nunique()} networks."
    alt = f"Scatter of {AXES[y]} against {AXES[x]}; {view.label}. {said}"
    return Drawing(figure, name, alt, f"{AXES[y]} against {AXES[x]}; {view.label}. {said}")


def _dot(marker: str, color: str, label: str) -> Line2D:
    return Line2D([], [], linestyle="none", marker=marker, color=color, label=label)
