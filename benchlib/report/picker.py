"""Which network to take, in words: what :func:`benchlib.analysis.pareto.choose` found."""

from __future__ import annotations

from collections.abc import Sequence

from benchlib.analysis import wording
from benchlib.analysis.pareto import Pick
from benchlib.report import numerals, theme
from benchlib.report.section import Bullets, Section, Words
from benchlib.sweep import digits


def section(picks: Sequence[Pick], precision: str, size: str, cut: Sequence[str] = ()) -> Section:
    """The picks, fastest first, as a sentence and a list.

    ``cut`` are networks that were passed over because the classifier of their accuracy was not
    timed.
    """
    where = f"{theme.precision_label(precision)} at {wording.size(size)}"
    names = wording.listed(list(cut))
    passed = Words(f"Left out: {names}, timed without the classifier that the accuracy needs.")
    left_out = passed if cut else None
    if not picks:
        return Section.of([Words(f"No network meets these terms in {where}."), left_out])
    best = [one.model for one in picks if one.tied]
    verb = "is fastest" if len(best) == 1 else "are tied for fastest"
    return Section.of(
        [
            Words(f" {verb} in {where}.", strong=wording.listed(best)),
            Bullets(tuple(map(_line, picks)), ordered=True),
            left_out,
        ]
    )


def _line(one: Pick) -> str:
    accuracy = "" if one.accuracy is None else f", accuracy {numerals.short(one.accuracy)} %"
    return f"{one.model}: {digits.interval(one.latency_ms, one.low_ms, one.high_ms)} ms{accuracy}"
