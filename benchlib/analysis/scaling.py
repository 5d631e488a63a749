"""The latency model: a fixed time and a time per megapixel, which predicts any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls

from benchlib.analysis import parts

Array = NDArray[np.float64]

FEWEST_SIZES = 3
"""Through two sizes there is always a line."""


@dataclass(frozen=True, slots=True)
class Fit:
    """ms = ``fixed_ms`` + ``ms_per_megapixel`` * megapixels, for one network and precision.

    Both terms are at least 0. ``r2`` is of the milliseconds; ``largest_error`` is the largest
    relative error at a fitted size, ``held_out_error`` the largest when a size between the
    smallest and the largest is predicted from the others (None below four sizes).
    ``megapixels`` are those of the sizes fitted.
    """

    model: str
    precision: str
    fixed_ms: float
    ms_per_megapixel: float
    r2: float
    largest_error: float
    held_out_error: float | None
    megapixels: tuple[float, ...]

    @property
    def n(self) -> int:
        """Sizes fitted."""
        return len(self.megapixels)

    def predict(self, megapixels: float) -> float:
        """Milliseconds per batch at an image of this many megapixels."""
        return self.fixed_ms + self.ms_per_megapixel * megapixels

    def fixed_share(self, megapixels: float) -> float:
        """Share of the predicted time that the fixed term is, 0 to 1."""
        return self.fixed_ms / self.predict(megapixels)


def fit(frame: pd.DataFrame) -> tuple[Fit, ...]:
    """A fit for every network and precision of ``frame`` (one part) with three sizes or more.

    Relative errors are minimised, so a small image counts as much as a large one.
    """
    fits = []
    for precision in parts.precisions(frame):
        for model, rows in parts.at(frame, precision).groupby("model", sort=True):
            sizes = rows.sort_values("megapixels")
            megapixels = sizes["megapixels"].to_numpy(float)
            if len(set(megapixels)) >= FEWEST_SIZES:
                times = sizes["latency_ms"].to_numpy(float)
                fits.append(_fit(str(model), precision, megapixels, times))
    return tuple(fits)


def by_network(fits: Sequence[Fit], value: Callable[[Fit], float]) -> Array:
    """``value`` of every fit as [networks, precisions]; NaN where a fit is missing."""
    cells = pd.DataFrame(
        {
            "model": [one.model for one in fits],
            "precision": [one.precision for one in fits],
            "value": [value(one) for one in fits],
        }
    )
    return cells.pivot(index="model", columns="precision", values="value").to_numpy(float)


def _fit(model: str, precision: str, megapixels: Array, times: Array) -> Fit:
    fixed, slope = _terms(megapixels, times)
    predicted = fixed + slope * megapixels
    residual = float(((times - predicted) ** 2).sum())
    total = float(((times - times.mean()) ** 2).sum())
    return Fit(
        model=model,
        precision=precision,
        fixed_ms=fixed,
        ms_per_megapixel=slope,
        r2=1 - residual / total if total else 1.0,
        largest_error=float(np.abs(predicted / times - 1).max()),
        held_out_error=_held_out(megapixels, times),
        megapixels=tuple(map(float, megapixels)),
    )


def _terms(megapixels: Array, times: Array) -> tuple[float, float]:
    weighted = np.column_stack([1 / times, megapixels / times])
    fixed, slope = nnls(weighted, np.ones(len(times)))[0]
    return float(fixed), float(slope)


def _held_out(megapixels: Array, times: Array) -> float | None:
    if len(times) <= FEWEST_SIZES:
        return None
    errors = []
    for index in range(1, len(times) - 1):
        rest = np.arange(len(times)) != index
        fixed, slope = _terms(megapixels[rest], times[rest])
        errors.append(abs((fixed + slope * megapixels[index]) / times[index] - 1))
    return float(max(errors))
