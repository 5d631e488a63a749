"""Ticks of a logarithmic axis that can be read over one decade as well as over five."""

from __future__ import annotations

from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

_NARROW = 50.0
"""Highest over lowest value up to which powers of ten alone would leave one tick or none."""


def tidy(axis: Axis) -> None:
    """Put ticks at 1, 2, 5 on a narrow axis and at powers of ten on a wide one; plain numbers."""
    low, high = sorted(axis.get_view_interval())
    steps = (1.0, 2.0, 5.0) if high < low * _NARROW else (1.0,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
