"""Names at the right end of lines and beside marks, none over another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.transforms import Bbox, blended_transform_factory

_POINTS_PER_INCH = 72
_LEADING = 1.3
"""Height of a line of type over its size."""
_LEADER_INCHES = 0.26


_MARK_POINTS = 9
"""Room for a mark, a little more than the largest that is drawn."""
_MOST_STEPS = 300
"""Steps in which names are moved apart. adjustText stops after a second unless it is told a number,
and what it reaches by then depends on the machine: the picture's bytes would too."""


@dataclass(frozen=True, slots=True)
class Name:
    """``text`` for the mark at ``x``, ``y`` (data units)."""

    x: float
    y: float
    text: str
    color: str
    bold: bool = False


@dataclass(frozen=True, slots=True)
class EndLabel:
    """``text`` for the line that ends at ``x``, ``y`` (data units)."""

    x: float
    y: float
    text: str
    color: str


def beside(axes: Axes, names: Sequence[Name]) -> None:
    """Write ``names`` near their marks, moved until none covers another name or a mark.

    Marks, limits and scales of ``axes`` must be final.
    """
    axes.autoscale_view()  # which matplotlib otherwise puts off, and the transform with it
    FigureCanvasAgg(axes.figure)  # adjustText measures text with the canvas's renderer
    texts = [
        axes.text(
            one.x,
            one.y,
            one.text,
            fontsize=8,
            ha="center",
            va="bottom",
            weight="bold" if one.bold else "normal",
            color=one.color,
        )
        for one in names
    ]
    adjust_text(
        texts,
        x=[one.x for one in names],
        y=[one.y for one in names],
        ax=axes,
        objects=_marks(axes, names),
        expand=(1.15, 1.6),
        force_static=(0.1, 0.5),
        force_explode=(0.05, 1.0),
        arrowprops={"arrowstyle": "-", "color": "#aaaaaa", "lw": 0.6},
        iter_lim=_MOST_STEPS,
    )


def _marks(axes: Axes, names: Sequence[Name]) -> list[Bbox]:
    """Boxes around the marks, in data units, as adjustText takes them."""
    half = _MARK_POINTS / 2 * axes.figure.dpi / _POINTS_PER_INCH
    centers = axes.transData.transform([(one.x, one.y) for one in names])
    to_data = axes.transData.inverted().transform
    return [Bbox(to_data([(x - half, y - half), (x + half, y + half)])) for x, y in centers]


def room(texts: Iterable[str], points: float) -> float:
    """Inches that the longest of ``texts`` needs right of the axes, its leader included."""
    font = FontProperties(family="DejaVu Sans", size=points)
    widths = [TextPath((0, 0), text, prop=font).get_extents().width for text in texts if text]
    return _LEADER_INCHES + max(widths, default=0.0) / _POINTS_PER_INCH + 0.1


def spaced(wanted: list[float], gap: float) -> list[float]:
    """Positions near ``wanted`` (ascending) and at least ``gap`` apart, in the same order.

    Neighbours that come too close are merged into a block centred on the mean of what its
    members wanted, until no two blocks touch.
    """
    blocks: list[tuple[float, int]] = []
    for position in wanted:
        center, size = position, 1
        while blocks:
            before, members = blocks[-1]
            if center - before >= gap * (size + members) / 2:
                break
            center = (before * members + center * size) / (members + size)
            size += members
            blocks.pop()
        blocks.append((center, size))
    return [
        center + gap * (index - (size - 1) / 2) for center, size in blocks for index in range(size)
    ]


def draw(axes: Axes, labels: list[EndLabel], *, points: float = 8.5) -> None:
    """Write ``labels`` right of ``axes`` (y logarithmic, limits set) with thin leaders."""
    low, high = (math.log10(limit) for limit in axes.get_ylim())
    figure_width, figure_height = axes.figure.get_size_inches()
    height = axes.get_position().height * figure_height
    width = axes.get_position().width * figure_width
    gap = (high - low) * points * _LEADING / _POINTS_PER_INCH / height
    ordered = sorted(labels, key=lambda label: label.y)
    placed = spaced([math.log10(label.y) for label in ordered], gap)
    # A block at the edge may hang out of the axes: move it in as far as there is room.
    if placed and placed[0] < low:
        placed = spaced([max(place, low) for place in placed], gap)
    last = max((label.x for label in ordered), default=0.0)
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for label, place in zip(ordered, placed, strict=True):
        axes.annotate(
            label.text,
            xy=(label.x, label.y),
            xytext=(1 + _LEADER_INCHES / width, 10**place),
            textcoords=beside,
            va="center",
            fontsize=points,
            color=label.color,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": label.color,
                "lw": 0.6,
                # A long leader from a point further left is no line of the chart.
                "linestyle": "-" if label.x == last else (0, (1, 4)),
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 3,
            },
        )
