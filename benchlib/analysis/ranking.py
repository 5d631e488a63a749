"""Which network is fastest, ties named as ties, and whether the order changes with size."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from benchlib.analysis import order, parts, resampling


@dataclass(frozen=True, slots=True)
class Fastest:
    """The fastest network at one precision and size and those tied with it, fastest first.

    ``next_ratio`` is the time of the fastest one that is not tied over ``latency_ms``, None when
    there is none.
    """

    precision: str
    resolution: str
    models: tuple[str, ...]
    latency_ms: float
    next_ratio: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Swaps:
    """Pairs of networks whose order at ``small`` turns round at ``large``, both times certain.

    ``share`` is swapped pairs over pairs whose order is certain at both sizes, with an interval
    over networks.
    """

    precision: str
    small: str
    large: str
    pairs: tuple[tuple[str, str], ...]
    certain: int
    share: float | None
    low: float | None
    high: float | None
    networks: int


def fastest(frame: pd.DataFrame, precision: str, size: str) -> Fastest | None:
    """The fastest of ``frame`` (one part) at ``precision`` and ``size``; None without rows."""
    rows = parts.at(frame, precision, size).sort_values(["latency_ms", "model"])
    if rows.empty:
        return None
    first = rows.iloc[0]
    tied = ~order.beaten(rows)[0]
    behind = rows.loc[~tied, "latency_ms"]
    return Fastest(
        precision=precision,
        resolution=size,
        models=tuple(rows.loc[tied, "model"]),
        latency_ms=float(first["latency_ms"]),
        next_ratio=float(behind.iloc[0] / first["latency_ms"]) if len(behind) else None,
        n=len(rows),
    )


def table(frame: pd.DataFrame) -> tuple[Fastest, ...]:
    """Which network to pick: :func:`fastest` for every precision and size of ``frame``."""
    found = (
        fastest(frame, precision, size)
        for precision in parts.precisions(frame)
        for size in parts.sizes(parts.at(frame, precision))
    )
    return tuple(one for one in found if one is not None)


def swaps(frame: pd.DataFrame, precision: str) -> Swaps | None:
    """Order at the smallest against order at the largest size; None with fewer than two sizes.

    Only networks that have both sizes are compared.
    """
    rows = parts.at(frame, precision)
    sizes = parts.sizes(rows)
    if len(sizes) < 2:
        return None
    small, large = (rows[rows["resolution"] == size].set_index("model") for size in _ends(sizes))
    models = sorted(set(small.index) & set(large.index))
    product = _signs(small.loc[models]) * _signs(large.loc[models])
    turned = [pair for pair in combinations(range(len(models)), 2) if product[pair] < 0]
    certain = int(np.count_nonzero(np.triu(product)))
    low = high = None
    if len(models) >= resampling.FEWEST:
        picked = resampling.draws(len(models))
        ends = resampling.interval(
            np.array([_share(product[np.ix_(some, some)]) for some in picked])
        )
        low, high = ends or (None, None)
    return Swaps(
        precision=precision,
        small=sizes[0],
        large=sizes[-1],
        pairs=tuple((models[i], models[j]) for i, j in turned),
        certain=certain,
        share=_share(product) if certain else None,
        low=low,
        high=high,
        networks=len(models),
    )


def _ends(sizes: list[str]) -> tuple[str, str]:
    return sizes[0], sizes[-1]


def _signs(rows: pd.DataFrame) -> resampling.Array:
    """-1 where row i beats row j for certain, 1 where j beats i, 0 for a tie."""
    wins = order.beaten(rows)
    return wins.T.astype(float) - wins


def _share(product: resampling.Array) -> float:
    certain = np.count_nonzero(product)
    return float(np.count_nonzero(product < 0) / certain) if certain else float("nan")
