"""What two lists of predictions say: top-1 with its interval, and where they part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

CONFIDENCE = 0.95

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Proportion:
    """``count`` of ``n``, with the Wilson score interval of 95 %; all shares from 0 to 1."""

    count: int
    n: int
    share: float
    low: float
    high: float

    @classmethod
    def of(cls, count: int, n: int) -> Proportion:
        """``n`` is at least 1."""
        interval = binomtest(count, n).proportion_ci(CONFIDENCE, method="wilson")
        return cls(count, n, count / n, float(interval.low), float(interval.high))


@dataclass(frozen=True, slots=True)
class Paired:
    """One engine against FP32 on the same images.

    ``disagreement`` counts images on which the two predictions differ, whichever is right.
    ``lost`` are those that only FP32 gets right, ``gained`` those that only the engine does;
    ``p_value`` is McNemar's exact two-sided one on them, 1 when there are none.
    """

    disagreement: Proportion
    fp32_top1: Proportion
    lost: int
    gained: int
    p_value: float


def top1(predicted: Labels, labels: Labels) -> Proportion:
    """Share of images whose predicted index is their label; both of shape [n]."""
    return Proportion.of(int(np.sum(predicted == labels)), len(labels))


def paired(predicted: Labels, exact: Labels, labels: Labels) -> Paired:
    """Compare ``predicted`` with FP32's ``exact``; all of shape [n], n at least 1."""
    right, exact_right = predicted == labels, exact == labels
    lost = int(np.sum(exact_right & ~right))
    gained = int(np.sum(right & ~exact_right))
    discordant = lost + gained
    return Paired(
        disagreement=Proportion.of(int(np.sum(predicted != exact)), len(labels)),
        fp32_top1=top1(exact, labels),
        lost=lost,
        gained=gained,
        p_value=float(binomtest(lost, discordant).pvalue) if discordant else 1.0,
    )
