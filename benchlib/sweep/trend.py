"""Whether a run stood still: drift over the whole of it, and where its moving median settles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

BLOCKS = 20
"""Blocks of a moving median: each is 5 % of the run, short enough to see a warm-up tail."""

SHORTEST_BLOCK = 5
"""Samples per block below which a block's median is mostly noise; the run is then not judged."""

STEADY_BAND = 0.02
"""Share of the settled median that a block may differ by. Twice trtexec's 1 % instability rule
for single samples (8.6 to 10.13.2), so that a block median outside it is no accident."""

NOISE_WIDTHS = 3.0
"""Standard errors of a block's median added to the band, so that noisy but level runs pass."""

SETTLED_BY = 0.5
"""Fraction of the run. The median is of the whole run; a start that lasts longer than half of
it is the run."""

SHORTEST_REST = 4
"""Blocks through which a line is drawn; through fewer, one block decides it."""

MEDIAN_ERROR = 1.2533
"""Standard error of a median over that of a mean, normal samples: sqrt(pi / 2)."""

MAD_TO_SD = 1.4826
"""Standard deviation over median absolute deviation, normal samples."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A trend over one run.

    ``change`` is the rise of the fitted line from the first to the last block as a fraction of
    the median (0.03: 3 % slower at the end); Theil-Sen, so a few slow blocks do not make it.
    ``p_value`` is Kendall's, two-sided, of block medians against time.
    """

    change: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Settling:
    """Where the moving median came to rest.

    ``steady_from`` is the fraction of the run after which every block median stays within the
    band around the median of the second half: 0.0 is steady from the start, 1.0 never.
    ``start_excess`` is the first block over that median, minus one. ``outside`` is the
    fraction of blocks of the second half that leave the band. ``rest_change`` is the rise of the
    line through the steady part, a fraction of the median: near 0 for a warm-up that ended, and
    not for a slope that the band merely cut in two; None when less than four blocks are steady.
    """

    steady_from: float
    start_excess: float
    outside: float
    rest_change: float | None

    @property
    def starts_apart(self) -> bool:
        """Whether a start that is unlike the rest ended in a rest: a warm-up that was too short."""
        return (
            0 < self.steady_from <= SETTLED_BY
            and abs(self.start_excess) > STEADY_BAND
            and self.rest_change is not None
            and abs(self.rest_change) <= STEADY_BAND
        )


def block_medians(values: Array) -> Array | None:
    """Medians of consecutive equal blocks, shape [BLOCKS]; None when the run is too short."""
    length = len(values) // BLOCKS
    if length < SHORTEST_BLOCK:
        return None
    return np.median(values[: BLOCKS * length].reshape(BLOCKS, length), axis=1)


def drift(values: Array) -> Drift | None:
    """Trend of ``values`` (shape [n], time order, positive); None below 100 samples."""
    medians = block_medians(values)
    if medians is None:
        return None
    if np.ptp(medians) == 0:
        return Drift(0.0, 1.0)
    p_value = float(stats.kendalltau(np.arange(BLOCKS), medians).pvalue)
    return Drift(_rise(medians) / float(np.median(medians)), p_value)


def settling(values: Array) -> Settling | None:
    """Where ``values`` (shape [n], time order, positive) settle; None below 100 samples."""
    medians = block_medians(values)
    if medians is None:
        return None
    length = len(values) // BLOCKS
    blocks = values[: BLOCKS * length].reshape(BLOCKS, length)
    spread = MAD_TO_SD * float(np.median(np.abs(blocks - medians[:, None])))
    late = medians[BLOCKS // 2 :]
    settled = float(np.median(late))
    noise = NOISE_WIDTHS * MEDIAN_ERROR * spread / length**0.5
    beyond = np.abs(medians - settled) > STEADY_BAND * settled + noise
    last = np.flatnonzero(beyond)
    first_steady = int(last[-1]) + 1 if len(last) else 0
    rest = medians[first_steady:]
    return Settling(
        steady_from=first_steady / BLOCKS,
        start_excess=float(medians[0]) / settled - 1.0,
        outside=float(beyond[BLOCKS // 2 :].mean()),
        rest_change=_rise(rest) / settled if len(rest) >= SHORTEST_REST else None,
    )


def _rise(medians: Array) -> float:
    """From the first to the last of evenly spaced points along the Theil-Sen line."""
    times = np.arange(len(medians))
    return float(stats.theilslopes(medians, times).slope) * (len(medians) - 1)
