"""Where the time goes: each engine's profiled time by what its layers do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchlib.analysis import roofline, wording
from benchlib.analysis.comparable_groups import Variant
from benchlib.analysis.roofline import Breakdown, Kind
from benchlib.report import style
from benchlib.report.style import Absent, Drawing
from benchlib.report.view import View

# Family and precision colours are taken, so greys; what is out of proportion stands out.
_FILLS = {
    Kind.WORK: {"facecolor": "#4d4d4d"},
    Kind.COMPUTING: {"facecolor": "#6e6e6e", "edgecolor": "#4d4d4d", "hatch": "xx"},
    Kind.COSTLY: {"facecolor": "#fcd5ce", "edgecolor": "#67000d", "hatch": "////"},
    Kind.OTHER: {"facecolor": "#a3a3a3"},
    Kind.MOVING: {"facecolor": "#e3e3e3", "edgecolor": "#8c8c8c", "hatch": ".."},
}
_LABELS = {
    Kind.WORK: "layers with multiply-accumulates",
    Kind.COMPUTING: "computing layers, work not known",
    Kind.COSTLY: f"those out of proportion: time over work {roofline.COSTLY:.0f}× or more",
    Kind.OTHER: "computing layers without multiply-accumulates",
    Kind.MOVING: "moving or converting data",
}
_MOST_ACROSS = 3
_WORTH_SAYING = 1 / 3
"""Share of the time from which a network's moving or other layers are named."""
_COSTLY_WORTH_SAYING = 0.2
_STRETCHED = 1.25
"""Sum of the layers' times over the latency from which stopping between them shows."""
_ROOM = 0.11
"""Share of the time that is wide enough for its own number."""


def draw(view: View, every: Sequence[Breakdown]) -> Drawing | Absent:
    """A bar per network and a panel per precision, at the size with most profiled rows; beside
    each other stand three panels at most, with the networks that any of them has.

    ``every`` are the breakdowns of the view's rows.
    """
    name = f"layertimes-{view.slug}"
    if not every:
        return Absent(name, "no row's layers were timed; -p profile true times them.")
    counts = {size: sum(one.resolution == size for one in every) for size in view.sizes}
    size = max(view.sizes, key=lambda one: (counts[one], view.sizes.index(one)))
    drawn = [one for one in every if one.resolution == size]
    precisions = [word for word in view.precisions if any(o.precision == word for o in drawn)]
    timed = view.usable[view.usable["resolution"] == size]
    kinds = [kind for kind in _FILLS if any(one.share(kind) for one in drawn)]
    with style.style():
        # Four in a square: the last would stand alone under three.
        across = 2 if len(precisions) == 4 else min(len(precisions), _MOST_ACROSS)
        lines = [precisions[at : at + across] for at in range(0, len(precisions), across)]
        beside = [_ordered(drawn, line) for line in lines]
        below = 0.24 * len(kinds) + 0.15
        width = 2.0 + max(3.4 * across, 5.0)
        heights = [0.34 * len(models) + 0.85 for models in beside]
        height = sum(heights) + below
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(
            len(lines), across, sharey="row", squeeze=False, height_ratios=heights
        )
        for spare in grid.flat[len(precisions) :]:
            spare.set_visible(False)
        for axes, precision in zip(grid.flat, precisions, strict=False):
            some = [one for one in drawn if one.precision == precision]
            models = beside[precisions.index(precision) // across]
            _panel(axes, some, models, kinds, set(timed["model"][timed["variant"] == precision]))
            axes.set_title(style.precision_label(precision))
            axes.set_xlabel("Share of the profiled time")
        handles = [Patch(label=_LABELS[kind], **_look(kind)) for kind in kinds]
        figure.legend(handles=handles, loc="lower center", fontsize=8.5)
        style.tighten(figure, (0, below / height, 1, 1))
    remarks = " ".join(sentences(drawn))
    alt = (
        "Stacked bars, one per network, one panel per precision: share of the profiled time by "
        f"what the layers do; {view.label}, {wording.size(size)}. {remarks}"
    )
    where = f"Where the time goes at {wording.size(size)}, {view.label}."
    caption = " ".join(filter(None, (where, remarks, _stretched([one.stretched for one in drawn]))))
    return Drawing(figure, name, alt, caption)


def sentences(drawn: Iterable[Breakdown]) -> list[str]:
    """What stands out: layers out of proportion, moving, layers without multiply-accumulates."""
    by_model: dict[str, list[Breakdown]] = {}
    for one in drawn:
        by_model.setdefault(one.model, []).append(one)
    lines = [
        _costly(model, some)
        for model, some in by_model.items()
        if max(one.share(Kind.COSTLY) for one in some) >= _COSTLY_WORTH_SAYING
    ]
    for kind, words in (
        (Kind.MOVING, "Moving or converting data takes"),
        (Kind.OTHER, "Layers without multiply-accumulates take"),
    ):
        parts = {model: [one.share(kind) for one in some] for model, some in by_model.items()}
        named = [
            f"{model} ({wording.percents(some)})"
            for model, some in parts.items()
            if max(some) >= _WORTH_SAYING
        ]
        if named:
            share = "a third or more of the time in some engine of"
            lines.append(f"{words} {share} {wording.listed(named)}.")
    return lines


def _costly(model: str, some: list[Breakdown]) -> str:
    dear = [one for one in some if one.costly]
    counts = [len(one.costly) for one in dear]
    work = [100 * sum(layer.work or 0.0 for layer in one.costly) for one in dear]
    noun, verb = ("layer", "takes") if max(counts) == 1 else ("layers", "take")
    return (
        f"{model}: {wording.span(min(counts), max(counts), 'd')} {noun} with "
        f"{wording.span(min(work), max(work), '.2g')} % of the multiply-accumulates {verb} "
        f"{wording.percents([one.share(Kind.COSTLY) for one in dear])} of the time "
        f"(counting those of {100 * roofline.NOTICED:.0f} % or more)."
    )


def _stretched(ratios: list[float]) -> str:
    sentence = (
        "The layers' times are from a run apart and add up to "
        f"{wording.span(min(ratios), max(ratios), '.2f')} times the latency"
    )
    if max(ratios) < _STRETCHED:
        return f"{sentence}."
    return f"{sentence}: it stops after every layer, so small ones weigh more than in a free run."


def _ordered(drawn: list[Breakdown], precisions: list[Variant]) -> list[str]:
    """Networks that have a bar at any of ``precisions``, by the mean share of the time that is not
    plain work, least at the top."""
    plain: dict[str, list[float]] = {}
    for one in drawn:
        plain.setdefault(one.model, []).append(one.share(Kind.WORK, Kind.COMPUTING))
    shown = {one.model for one in drawn if one.precision in precisions}
    return sorted(shown, key=lambda model: (float(np.mean(plain[model])), model))


def _panel(
    axes: Axes, some: list[Breakdown], models: list[str], kinds: list[Kind], timed: set[str]
) -> None:
    for model in sorted(set(models) - {one.model for one in some}):
        style = {"va": "center", "fontsize": 7.5, "color": "#555555"}
        words = "not profiled" if model in timed else "not measured"
        axes.text(0.02, models.index(model), words, **style)
    for one in some:
        left = 0.0
        for kind in kinds:
            share = one.share(kind)
            axes.barh(models.index(one.model), share, left=left, height=0.7, **_look(kind))
            if share >= _ROOM:
                _number(axes, left + share / 2, models.index(one.model), share, kind)
            left += share
    axes.set(xlim=(0, 1), ylim=(-0.6, len(models) - 0.4))
    axes.set_yticks(range(len(models)), models)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.grid(visible=False, axis="y")


def _number(axes: Axes, x: float, y: float, share: float, kind: Kind) -> None:
    is_dark = kind is Kind.WORK  # a number on a hatch needs a ground
    color, box = ("white", None) if is_dark else ("black", {"pad": 1, "ec": "none", "fc": "white"})
    axes.text(x, y, f"{100 * share:.0f}", ha="center", va="center", size=7, color=color, bbox=box)


def _look(kind: Kind) -> dict[str, str | float]:
    return {"edgecolor": "white", "linewidth": 0.5} | _FILLS[kind]
