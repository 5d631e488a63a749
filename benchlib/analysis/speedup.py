"""How many times as fast a network runs at a lower precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchlib.analysis import order, parts, resampling


@dataclass(frozen=True, slots=True)
class Gain:
    """One cell: ``ratio`` is ms at ``base`` over ms at ``precision``, so above 1 is faster.

    ``low`` and ``high`` take both intervals at their worst and are ``ratio`` without intervals.
    ``slower`` and ``faster`` say that the cell is so, against ``base``, for certain.
    """

    model: str
    resolution: str
    precision: str
    base: str
    ratio: float
    low: float
    high: float
    slower: bool
    faster: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """The gains of many cells: range, and median with an interval over networks."""

    median: float
    low: float | None
    high: float | None
    least: float
    most: float
    cells: int
    networks: int


def gains(frame: pd.DataFrame, precision: str, base: str = "fp32") -> tuple[Gain, ...]:
    """One gain per network and size that ``frame`` (one part) has at both precisions."""
    cell = ["model", "resolution"]
    bases = parts.at(frame, base).set_index(cell)
    found = []
    for row in parts.at(frame, precision).to_dict("records"):
        key = (row["model"], row["resolution"])
        if key not in bases.index:
            continue
        fast, slow = pd.Series(row), bases.loc[key]
        found.append(
            Gain(
                model=str(row["model"]),
                resolution=str(row["resolution"]),
                precision=precision,
                base=base,
                ratio=float(slow["latency_ms"] / fast["latency_ms"]),
                low=order.low(slow) / order.high(fast),
                high=order.high(slow) / order.low(fast),
                slower=order.beats(slow, fast),
                faster=order.beats(fast, slow),
            )
        )
    return tuple(found)


def summary(found: tuple[Gain, ...]) -> Summary | None:
    """Range and median of ``found``; None when there is none."""
    if not found:
        return None
    ratios = [gain.ratio for gain in found]
    wide = table(found, ratios)
    median, low, high = resampling.over_networks(wide, np.nanmedian)
    return Summary(median, low, high, min(ratios), max(ratios), len(ratios), len(wide))


def table(found: tuple[Gain, ...], values: list[float]) -> resampling.Array:
    """``values``, one per gain, as [networks, sizes]; NaN where a cell is missing."""
    cells = pd.DataFrame(
        {
            "model": [gain.model for gain in found],
            "resolution": [gain.resolution for gain in found],
            "value": values,
        }
    )
    return cells.pivot(index="model", columns="resolution", values="value").to_numpy(float)
