"""Which network to take: the fastest under a limit of time with at least some accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from benchlib.analysis import order
from benchlib.report import numerals, theme
from benchlib.report.view import View
from benchlib.sweep import digits


@dataclass(frozen=True, slots=True)
class Pick:
    """A network that meets the terms.

    ``tied`` says that the fastest does not beat it for certain.
    """

    model: str
    latency_ms: float
    low_ms: float | None
    high_ms: float | None
    accuracy: float | None
    tied: bool


def pick(
    view: View,
    precision: str,
    size: str,
    *,
    most_ms: float | None = None,
    least_accuracy: float | None = None,
    metric: str | None = None,
) -> tuple[Pick, ...]:
    """Networks of ``view`` that meet the terms, fastest first.

    ``most_ms`` bounds the median latency of a batch. ``least_accuracy`` (percent) applies to
    networks with an accuracy of ``metric``; with it, networks without one are left out.
    """
    rows = view.at(precision, size)
    if metric is not None:
        rows = rows[rows["accuracy_metric"] == metric]
    if least_accuracy is not None:
        rows = rows[rows["accuracy"] >= least_accuracy]
    if most_ms is not None:
        rows = rows[rows["latency_ms"] <= most_ms]
    if rows.empty:
        return ()
    rows = rows.sort_values("latency_ms")
    first = rows.iloc[0]
    return tuple(
        Pick(
            model=str(row["model"]),
            latency_ms=float(row["latency_ms"]),
            low_ms=_known(row["latency_ci_low_ms"]),
            high_ms=_known(row["latency_ci_high_ms"]),
            accuracy=_known(row["accuracy"]),
            tied=not order.beats(first, row),
        )
        for _, row in rows.iterrows()
    )


def html(picks: tuple[Pick, ...], precision: str, size: str) -> str:
    """The picks in a sentence and a list."""
    where = f"{theme.precision_label(precision)} at {theme.size_label(size)}"
    if not picks:
        return f"<p>No network meets these terms in {where}.</p>"
    best = [one.model for one in picks if one.tied]
    verb = "is fastest" if len(best) == 1 else "are tied for fastest"
    items = "".join(f"<li>{escape(_line(one))}</li>" for one in picks)
    names = escape(numerals.listed(best))
    return f"<p><strong>{names}</strong> {verb} in {where}.</p><ol>{items}</ol>"


def _line(one: Pick) -> str:
    accuracy = "" if one.accuracy is None else f", accuracy {numerals.short(one.accuracy)} %"
    return f"{one.model}: {digits.interval(one.latency_ms, one.low_ms, one.high_ms)} ms{accuracy}"


def _known(value: float | None) -> float | None:
    return None if value is None or value != value else float(value)
