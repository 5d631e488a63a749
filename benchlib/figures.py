"""The report's figures of one measured set.

Each function returns a :class:`~benchlib.report.style.Drawing`: ``.figure`` is the matplotlib
Figure, ``.caption`` and ``.alt`` are its words, ``.save(folder)`` writes SVG and PNG, and a
notebook shows it. Where a set has nothing to draw it returns an
:class:`~benchlib.report.style.Absent` with the ``.reason``.

Rows that cannot stand in one figure (other batches, engines, ways of fixing shapes) are views of
their own; several give a list, and ``view`` chooses one: 0 is the largest. An unknown ``view``,
precision or metric raises :class:`~benchlib.errors.InputError`.
"""

from __future__ import annotations

from benchlib.analysis import roofline as rooflines
from benchlib.analysis.results import MeasuredSet
from benchlib.errors import InputError
from benchlib.report.figures import accuracy as accuracies
from benchlib.report.figures import fps as speeds
from benchlib.report.figures import layer_times as layers
from benchlib.report.figures import scatter as scatters
from benchlib.report.figures import tiles
from benchlib.report.style import Absent, Drawing
from benchlib.report.view import View, per_view

Drawn = Drawing | Absent | list[Drawing | Absent]


def fps(measured: MeasuredSet, precision: str | None = None, *, view: int | None = None) -> Drawn:
    """Frames per second against image size: a panel per precision on one scale, or one alone.

    ``precision`` is a word of the set such as ``fp16``, with the method behind it where INT8 was
    made in several ways: ``int8/qdq``.
    """

    def draw(one: View) -> Drawing | Absent:
        if precision is not None:
            known = {str(variant): variant for variant in one.precisions}
            return speeds.draw_fps(one, known[_known("precision", precision, list(known))])
        if len(one.precisions) == 1:
            return speeds.draw_fps(one, one.precisions[0])
        return speeds.panels(one)

    return per_view(measured, view, lambda one: [draw(one.drawable())])


def heatmap(measured: MeasuredSet, *, view: int | None = None) -> Drawn:
    """Frames per second of every network, size and precision as tiles."""
    return per_view(measured, view, lambda one: [tiles.draw_fps(one.drawable())])


def speedup(measured: MeasuredSet, *, view: int | None = None) -> Drawn:
    """How many times as fast each network is as in FP32."""
    return per_view(measured, view, lambda one: [speeds.draw_speedup(one.drawable())])


def accuracy(measured: MeasuredSet, metric: str | None = None, *, view: int | None = None) -> Drawn:
    """The literature's accuracy (%) against latency (ms), a figure per metric.

    ``metric`` chooses one: ``ImageNet top-1`` or ``Cityscapes mIoU``.
    """

    def draw(one: View) -> list[Drawing | Absent]:
        known = accuracies.metrics(one)
        if metric is not None:
            known = [_known("metric", metric, known)]
        absent = Absent("accuracy", "no usable row has an accuracy.")
        return [accuracies.draw(one, word) for word in known] or [absent]

    return per_view(measured, view, lambda one: draw(one.drawable()))


def work(measured: MeasuredSet, *, view: int | None = None) -> Drawn:
    """Latency (ms) against multiply-accumulates (10^9)."""
    return per_view(measured, view, lambda one: [scatters.draw_work(one.drawable())])


def roofline(measured: MeasuredSet, *, view: int | None = None) -> Drawn:
    """Operations per second against operations per byte, under what the device could do."""
    return per_view(measured, view, lambda one: [scatters.draw_roofline(one.drawable())])


def latency_model(measured: MeasuredSet, *, view: int | None = None) -> Drawn:
    """A fixed cost (ms) and a cost per megapixel, network by network."""
    return per_view(measured, view, lambda one: [scatters.draw_latency_model(one.drawable())])


def layer_times(measured: MeasuredSet, *, view: int | None = None) -> Drawn:
    """Where each engine's time goes; needs rows measured with ``profile``."""

    def draw(one: View) -> Drawing | Absent:
        return layers.draw(one, rooflines.breakdowns(one.usable, measured))

    return per_view(measured, view, lambda one: [draw(one.drawable())])


def spread(measured: MeasuredSet, *, view: int | None = None) -> Drawn:
    """The width of every interval, and the verdicts."""
    return per_view(measured, view, lambda one: [tiles.draw_spread(one.drawable())])


def _known(field: str, word: str, known: list[str]) -> str:
    if word not in known:
        raise InputError(field, f"{word!r} is not here; take one of: {', '.join(known) or 'none'}")
    return word
