"""Names beside the marks of a scatter chart, each at the free side of its mark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

_GAP_POINTS = 8
_SIDES = (
    (1, 0),
    (1, 1.4),
    (1, -1.4),
    (0, 1.4),
    (0, -1.4),
    (-1, 0),
    (-1, 1.4),
    (-1, -1.4),
)
"""Steps of the gap to the right and up, the best place first."""
_ALIGNED = {-1: "right", 0: "center", 1: "left"}
_POINTS_PER_INCH = 72


@dataclass(frozen=True, slots=True)
class MarkLabel:
    """``text`` for the mark at ``x``, ``y`` (data units)."""

    x: float
    y: float
    text: str
    color: str


def draw(axes: Axes, labels: Sequence[MarkLabel], *, points: float = 8.5) -> None:
    """Write ``labels``, each where it covers least of the marks and of the labels before it.

    Marks and scales of ``axes`` must be final.
    """
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    axes.autoscale_view()  # which matplotlib otherwise puts off, and the transform with it
    pixels = axes.figure.dpi / _POINTS_PER_INCH
    centers = axes.transData.transform([(label.x, label.y) for label in labels])
    half = _GAP_POINTS * pixels / 2
    taken = [Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y in centers]
    for label in labels:
        note = axes.annotate(
            label.text,
            (label.x, label.y),
            xytext=(0, 0),
            textcoords="offset points",
            va="center",
            fontsize=points,
            color=label.color,
        )
        tried = []
        for right, up in _SIDES:
            note.set(
                position=(right * _GAP_POINTS, up * _GAP_POINTS),
                horizontalalignment=_ALIGNED[right],
            )
            box = note.get_window_extent(renderer)
            tried.append((_covered(box, taken) + _outside(box, axes.bbox), (right, up), box))
        _, (right, up), box = min(tried, key=lambda one: one[0])
        note.set(
            position=(right * _GAP_POINTS, up * _GAP_POINTS), horizontalalignment=_ALIGNED[right]
        )
        taken.append(box)


def _covered(box: Bbox, others: Sequence[Bbox]) -> float:
    """Square pixels of ``others`` that ``box`` lies over."""
    overlaps = (Bbox.intersection(box, other) for other in others)
    return sum(overlap.width * overlap.height for overlap in overlaps if overlap is not None)


def _outside(box: Bbox, frame: Bbox) -> float:
    """Square pixels of ``box`` beyond ``frame``."""
    return box.width * box.height - _covered(box, [frame])
