"""Which network to take: the fastest with ties named, and the Pareto front with accuracy."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchlib.analysis import comparable_groups, significance
from benchlib.analysis.comparable_groups import Cells, Variant
from benchlib.analysis.results import known
from benchlib.case import Int8Method, Precision
from benchlib.errors import InputError
from benchlib.gpu.telemetry import Limit
from benchlib.models import registry

# Which network is fastest, ties named as ties, and whether the order changes with size.


@dataclass(frozen=True, slots=True)
class Fastest:
    """The fastest network at one precision and size and those tied with it, fastest first.

    ``second`` is the fastest one that is not tied and ``next_ratio`` its time over ``latency_ms``;
    None when there is none.
    """

    precision: str
    resolution: str
    models: tuple[str, ...]
    latency_ms: float
    second: str | None
    next_ratio: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Swaps:
    """Pairs of networks whose order at ``large`` is the reverse of that at ``small``, both certain.

    ``share`` is those that ``turned`` over those whose order is ``certain`` at both sizes, with an
    interval over networks.
    """

    precision: str
    small: str
    large: str
    turned: int
    certain: int
    share: float | None
    low: float | None
    high: float | None
    networks: int


def fastest(part: pd.DataFrame | Cells, precision: str, size: str) -> Fastest | None:
    """The fastest of ``part`` at ``precision`` and ``size``; None without rows."""
    cells = Cells.of(part).at(precision, size)
    if not cells.networks:
        return None
    times = significance.Times.of(cells, (slice(None), 0, 0))
    order = np.lexsort((np.arange(len(times.ms)), times.ms))
    tied = ~times.at(order[0]).faster_than(times)[order]
    behind = order[~tied]
    first = float(times.ms[order[0]])
    return Fastest(
        precision=precision,
        resolution=size,
        models=tuple(cells.networks[place] for place in order[tied]),
        latency_ms=first,
        second=cells.networks[behind[0]] if len(behind) else None,
        next_ratio=float(times.ms[behind[0]] / first) if len(behind) else None,
        n=len(order),
    )


MOST_PAIRED = 2000
"""Networks. Pairs grow with their square; two million give a share to a tenth of a percent."""


def swaps(part: pd.DataFrame | Cells, precision: str) -> Swaps | None:
    """Order at the smallest against order at the largest size; None with fewer than two sizes.

    Only networks that have both sizes are compared, at most :data:`MOST_PAIRED`, spread by name.
    """
    cells = Cells.of(part).at(precision)
    if len(cells.sizes) < 2:
        return None
    places = np.flatnonzero((cells.rows[:, 0, [0, -1]] >= 0).all(axis=1))
    places = places[:: -(-len(places) // MOST_PAIRED) or 1]
    n = len(places)
    small, large = (_signs(significance.Times.of(cells, (places, 0, size))) for size in (0, -1))
    product = small * large
    certain = np.abs(product)
    # The matrix holds every pair twice, and a product is -1 where the order is reversed
    count, less = (int(some.sum(dtype=float)) // 2 for some in (certain, product))
    turned = (count - less) // 2
    low = high = None
    if n >= significance.FEWEST:
        drawn = significance.draws(n).astype(np.float32)
        both = [np.einsum("ij,ij->j", drawn, some @ drawn) for some in (product, certain)]
        with np.errstate(invalid="ignore"):
            share = (1 - np.divide(*both, dtype=float)) / 2
        low, high = significance.interval(share) or (None, None)
    return Swaps(
        precision=precision,
        small=cells.sizes[0],
        large=cells.sizes[-1],
        turned=turned,
        certain=count,
        share=turned / count if count else None,
        low=low,
        high=high,
        networks=n,
    )


def _signs(times: significance.Times) -> NDArray[np.float32]:
    """-1 where network i is certainly faster than j, 1 where j is than i, 0 for a tie."""
    wins = significance.significantly_faster_pairs(times).astype(np.float32)
    return wins.T - wins


# Accuracy against latency: the Pareto front, and the fastest network with an accuracy.
#
# A network dominates another only where it is certainly faster. Accuracies are the literature's,
# and two metrics are never ranked together.


def undominated(
    rows: pd.DataFrame,
    cost: significance.Times | None = None,
    threshold: float = significance.REBUILD,
) -> pd.Series:
    """True for rows that no other dominates: is at least as accurate and certainly of less ``cost``
    (default: faster), by the rule of :meth:`significance.Times.faster_than`.

    Two networks of one accuracy and tied times are both kept. One timed without its classifier
    is never True and dominates none: its accuracy takes more time than its row says.
    """
    cost = cost or significance.Times.of(rows)
    whole = ~comparable_groups.without_classifier(rows["model"]).to_numpy(bool)
    # Of the rows at least as accurate, the first whose interval ends
    ends = pd.Series(np.where(whole, cost.high, np.inf)).groupby(rows["accuracy"].to_numpy(float))
    first = ends.min()[::-1].cummin().reindex(rows["accuracy"]).to_numpy()
    beaten = significance.Times(first, first, first).faster_than(cost, threshold)
    return pd.Series(whole & ~beaten, index=rows.index, dtype=bool)


def choose(
    rows: pd.DataFrame, *, least_accuracy: float | None = None, metric: str | None = None
) -> pd.DataFrame:
    """The ``rows`` (one per network) that qualify, fastest first; column ``tied`` says that no
    certain difference separates a row from the first.

    ``least_accuracy`` is in percent. With it or with ``metric``, networks without such an accuracy
    are left out, and those whose classifier was not timed. Raises :class:`InputError` for two rows
    of a network, and for an accuracy without a metric where there are several.
    """
    twice = rows.loc[rows["model"].duplicated(), "model"]
    if len(twice):
        problem = f"{twice.iloc[0]} stands in the rows twice; take one precision and size"
        raise InputError("results", problem)
    some = rows.dropna(subset=["latency_ms"])
    if least_accuracy is not None or metric is not None:
        some = some[~comparable_groups.without_classifier(some["model"])]
    if metric is not None:
        some = some[some["accuracy_metric"] == metric]
    if least_accuracy is not None:
        some = some[some["accuracy"] >= least_accuracy]
        several = sorted(some["accuracy_metric"].dropna().unique())
        if len(several) > 1:
            problem = f"{' and '.join(several)} cannot be ranked together; name one"
            raise InputError("metric", problem)
    some = some.sort_values(["latency_ms", "model"])
    tied = ~significance.significantly_faster_pairs(some)[:1].ravel()
    return some.assign(tied=tied)


# The answer: at every size and precision the fastest of a task, and the fastest of those with an
# accuracy that people know.


MILESTONES: Mapping[str, float] = {"resnet18": 69.758, "resnet50": 80.858}
"""ImageNet top-1 in percent of torchvision's default weights, for a set that lacks the network;
its own figure goes first. A test holds them to torchvision's, whose import takes seconds."""


def check_price(price_per_hour: float | None) -> None:
    """Raise :class:`InputError` for what is no price of an hour of the device, in dollars."""
    if price_per_hour is None:
        return
    if not isinstance(price_per_hour, numbers.Real) or not 0 < price_per_hour < math.inf:
        problem = f"{price_per_hour} is no price; give dollars per hour, such as 3, or leave it out"
        raise InputError("price_per_hour", problem)


@dataclass(frozen=True, slots=True)
class Question:
    """The fastest network of ``task`` (None: a network of unknown task), or with ``model`` the
    fastest that has at least that network's accuracy, ``least_accuracy`` percent."""

    task: str | None
    model: str | None = None
    least_accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One row that answers a question; ``tied`` are the networks not certainly slower than it.

    ``img_s`` is the measured throughput, where none was recorded that of one batch after the
    other. ``gain`` is against FP32, or against FP16 where FP32 was not measured; None where
    neither was.
    """

    model: str
    variant: Variant
    latency_ms: float
    low_ms: float | None
    high_ms: float | None
    img_s: float
    accuracy: float | None
    energy_mj: float | None
    verdict: str | None
    power_limited: bool
    sm_clock_mhz: float | None
    gain: significance.Gain | None
    tied: tuple[str, ...]

    def dollars_per_million(self, price_per_hour: float) -> float:
        """What a million images cost at this throughput."""
        return price_per_hour / (self.img_s * 3600) * 1e6


@dataclass(frozen=True, slots=True)
class Answer:
    """The choices at one size and precision, one for each question; None: no network qualifies.

    INT8 is one precision here, whatever method made it: each choice names its own.
    ``networks`` had a usable row here. ``made_up`` says that INT8 was only made with ranges that
    the builder invents, so that no accuracy can be asked of it.
    """

    resolution: str
    precision: str
    networks: int
    made_up: bool
    choices: tuple[Choice | None, ...]


def questions(frame: pd.DataFrame) -> tuple[Question, ...]:
    """What can be asked of ``frame``: the tasks with a usable row, classification first."""
    tasks = [str(task) for task in sorted(frame["task"].dropna().unique())]
    found = [Question(task) for task in tasks]
    if registry.CLASSIFICATION in tasks:
        found[1:1] = [
            Question(registry.CLASSIFICATION, name, _accuracy_of(frame, name, known))
            for name, known in MILESTONES.items()
        ]
    return (*found, *([Question(None)] if frame["task"].isna().any() else []))


def answers(frame: pd.DataFrame) -> tuple[Answer, ...]:
    """The answers to :func:`questions` for every size and precision of ``frame``, one part of
    :func:`comparable_groups.side_by_side`; smallest size first."""
    frame = frame.dropna(subset=["latency_ms"])
    asked = questions(frame)
    variants = comparable_groups.variants(frame)
    gains = {one: _gains(frame, one) for one in variants}
    found = []
    for size in comparable_groups.sizes(frame):
        for word in dict.fromkeys(one.precision for one in variants):
            rows = frame[(frame["precision"] == word) & (frame["resolution"] == size)]
            made_up = rows["int8_method"] == Int8Method.MADE_UP_RANGES.value
            if not made_up.all():
                rows = rows[~made_up]
            rows = rows.sort_values(["latency_ms", "model"]).drop_duplicates("model")
            if len(rows):
                picked = (
                    None if one.model and made_up.all() else _choice(rows, one, gains)
                    for one in asked
                )
                found.append(Answer(size, word, len(rows), bool(made_up.all()), tuple(picked)))
    return tuple(found)


def _accuracy_of(frame: pd.DataFrame, model: str, otherwise: float) -> float:
    own = frame.loc[frame["model"] == model, "accuracy"].dropna()
    return float(own.iloc[0]) if len(own) else otherwise


def _gains(frame: pd.DataFrame, variant: Variant) -> dict[tuple[str, str], significance.Gain]:
    """The gain of each network and size at ``variant``, over FP32 where there is one."""
    found = {}
    for base in (Precision.FP16.value, Precision.FP32.value):
        if variant.precision not in (base, Precision.FP32.value):
            over = significance.gains(frame, variant, base)
            found |= {(one.model, one.resolution): one for one in over}
    return found


def _choice(
    rows: pd.DataFrame,
    asked: Question,
    gains: Mapping[Variant, Mapping[tuple[str, str], significance.Gain]],
) -> Choice | None:
    mine = rows[rows["task"].isna() if asked.task is None else rows["task"] == asked.task]
    metric = registry.IMAGENET_TOP1 if asked.model else None
    picks = choose(mine, least_accuracy=asked.least_accuracy, metric=metric)
    if picks.empty:
        return None
    row = picks.iloc[0]
    variant = row["variant"] if "variant" in row else Variant(row["precision"])
    img_s = known(row["throughput_img_s"])
    return Choice(
        model=str(row["model"]),
        variant=variant,
        latency_ms=float(row["latency_ms"]),
        low_ms=known(row["latency_ci_low_ms"]),
        high_ms=known(row["latency_ci_high_ms"]),
        img_s=float(row["fps"]) if img_s is None else img_s,
        accuracy=known(row["accuracy"]),
        energy_mj=known(row["energy_mj"]),
        verdict=row["verdict"],
        power_limited=row["limited_by"] == Limit.POWER.value,
        sm_clock_mhz=known(row["sm_clock_mhz"]),
        gain=gains[variant].get((str(row["model"]), str(row["resolution"]))),
        tied=tuple(picks.loc[picks["tied"], "model"][1:]),
    )
