"""Which network to take, in words: what :func:`benchlib.analysis.pareto.choose` found."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchlib.analysis import wording
from benchlib.analysis.pareto import Pick
from benchlib.report import numerals, theme
from benchlib.sweep import digits


def html(picks: Sequence[Pick], precision: str, size: str, cut: Sequence[str] = ()) -> str:
    """The picks, fastest first, as a sentence and a list.

    ``cut`` are networks that were passed over because the classifier of their accuracy was not
    timed.
    """
    where = f"{theme.precision_label(precision)} at {wording.size(size)}"
    passed = (
        f"<p>Left out: {escape(wording.listed(list(cut)))}, timed without the classifier that "
        "the accuracy needs.</p>"
        if cut
        else ""
    )
    if not picks:
        return f"<p>No network meets these terms in {where}.</p>{passed}"
    best = [one.model for one in picks if one.tied]
    verb = "is fastest" if len(best) == 1 else "are tied for fastest"
    items = "".join(f"<li>{escape(_line(one))}</li>" for one in picks)
    names = escape(wording.listed(best))
    return f"<p><strong>{names}</strong> {verb} in {where}.</p><ol>{items}</ol>{passed}"


def _line(one: Pick) -> str:
    accuracy = "" if one.accuracy is None else f", accuracy {numerals.short(one.accuracy)} %"
    return f"{one.model}: {digits.interval(one.latency_ms, one.low_ms, one.high_ms)} ms{accuracy}"
