"""Accuracy against latency: who is beaten by nobody, and whom to take under given terms.

Dominance is called only when intervals part. Accuracies are the literature's and two metrics
are never ranked together.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from benchlib.analysis import order, parts
from benchlib.analysis.measured import known
from benchlib.errors import InputError


@dataclass(frozen=True, slots=True)
class Pick:
    """A network that meets the terms; ``tied`` says that nothing parts it from the fastest.

    ``low_ms`` and ``high_ms`` bound ``latency_ms`` and are None when not known, ``accuracy``
    (percent) likewise.
    """

    model: str
    latency_ms: float
    low_ms: float | None
    high_ms: float | None
    accuracy: float | None
    tied: bool


def front(frame: pd.DataFrame, task: str) -> tuple[str, ...]:
    """Networks of ``task`` that no other beats for certain, fastest first.

    ``frame`` holds one row per network, thus one part at one precision and size; networks
    without an accuracy are left out. Raises :class:`InputError` when a network stands in it
    twice or the task's accuracies are of several metrics.
    """
    rows = frame[(frame["task"] == task) & frame["accuracy"].notna()]
    rows = rows[rows["latency_ms"].notna()]
    _check(rows, metrics=1)
    leading = rows[undominated(rows)].sort_values(["latency_ms", "model"])
    return tuple(leading["model"])


def undominated(rows: pd.DataFrame) -> pd.Series:
    """True for rows that no other beats: is at least as accurate and certainly faster.

    Two networks of one accuracy and tied times are both kept. One timed without its classifier
    neither leads nor beats another: its accuracy takes more time than its row says.
    """
    accuracy = rows["accuracy"].to_numpy(float)
    whole = ~parts.without_classifier(rows["model"]).to_numpy(bool)
    beaten = order.beaten(rows, threshold=0.0) & (accuracy[:, None] >= accuracy) & whole[:, None]
    return pd.Series(whole & ~beaten.any(axis=0), index=rows.index, dtype=bool)


def choose(
    rows: pd.DataFrame,
    *,
    most_ms: float | None = None,
    least_accuracy: float | None = None,
    metric: str | None = None,
) -> tuple[Pick, ...]:
    """Networks of ``rows`` (one per network) that meet the terms, fastest first.

    ``most_ms`` bounds the median latency of a batch. ``least_accuracy`` is in percent; with it
    or with ``metric``, networks without such an accuracy are left out, and those of
    :func:`passed_over`. Raises :class:`InputError` for an accuracy asked for without a metric
    where there are several.
    """
    _check(rows, metrics=None)
    some = rows.dropna(subset=["latency_ms"])
    some = some[~some["model"].isin(passed_over(some, least_accuracy, metric))]
    if metric is not None:
        some = some[some["accuracy_metric"] == metric]
    if least_accuracy is not None:
        some = some[some["accuracy"] >= least_accuracy]
        _check(some, metrics=1)
    if most_ms is not None:
        some = some[some["latency_ms"] <= most_ms]
    some = some.sort_values(["latency_ms", "model"])
    tied = ~order.beaten(some)[0] if len(some) else []
    return tuple(
        Pick(
            model=str(row["model"]),
            latency_ms=float(row["latency_ms"]),
            low_ms=known(row["latency_ci_low_ms"]),
            high_ms=known(row["latency_ci_high_ms"]),
            accuracy=known(row["accuracy"]),
            tied=bool(level),
        )
        for (_, row), level in zip(some.iterrows(), tied, strict=True)
    )


def passed_over(
    rows: pd.DataFrame, least_accuracy: float | None, metric: str | None
) -> tuple[str, ...]:
    """Networks of ``rows`` that no accuracy can be asked of: its classifier was not timed.

    None where none is asked for.
    """
    if least_accuracy is None and metric is None:
        return ()
    return tuple(sorted(rows.loc[parts.without_classifier(rows["model"]), "model"].unique()))


def _check(rows: pd.DataFrame, metrics: int | None) -> None:
    twice = rows.loc[rows["model"].duplicated(), "model"]
    if len(twice):
        raise InputError(
            "results", f"{twice.iloc[0]} stands in the rows twice; take one precision and size"
        )
    several = sorted(rows["accuracy_metric"].dropna().unique())
    if metrics is not None and len(several) > metrics:
        raise InputError("metric", f"{' and '.join(several)} cannot be ranked together; name one")
