"""Names at the right end of lines, pushed apart so that none covers another."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.transforms import blended_transform_factory

_POINTS_PER_INCH = 72
_LEADING = 1.3
"""Height of a line of type over its size."""
_LEADER_INCHES = 0.26


@dataclass(frozen=True, slots=True)
class EndLabel:
    """``text`` for the line that ends at ``x``, ``y`` (data units)."""

    x: float
    y: float
    text: str
    color: str


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
