"""Ticks of a logarithmic axis that can be read over one decade as well as over five."""

from __future__ import annotations

import math

from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

_NARROW = 50.0
"""Highest over lowest value up to which powers of ten alone would leave one tick or none."""


_LEAST = 4.0
"""Highest over lowest value that an axis shows, so that at least one tick of 1, 2, 5 falls in
and a difference of a percent does not fill the figure."""


def tidy(axis: Axis) -> None:
    """Put ticks at 1, 2, 5 on a narrow axis and at powers of ten on a wide one; plain numbers.

    An axis narrower than a factor of four is widened to that around its middle.
    """
    low, high = widened(*sorted(axis.get_view_interval()))
    set_limits = axis.axes.set_xlim if axis.axis_name == "x" else axis.axes.set_ylim
    set_limits(low, high)
    steps = (1.0, 2.0, 5.0) if high < low * _NARROW else (1.0,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def widened(low: float, high: float) -> tuple[float, float]:
    """``low`` and ``high`` when they lie a factor of four apart, else limits that do."""
    if high >= low * _LEAST:
        return low, high
    middle, reach = math.sqrt(low * high), math.sqrt(_LEAST)
    return middle / reach, middle * reach
