"""A finding: a claim, how it was tested, and what came of it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from benchlib.case import Word

ALL = "all"
"""The subset of a headline: every row of the set, or of its part."""


class Answer(Word):
    """What a test says of a claim. ``CANT_TELL`` is an answer: the data do not bear another."""

    SUPPORTED = "supported"
    PARTLY = "partly"
    REFUTED = "refuted"
    CANT_TELL = "can't tell"


@dataclass(frozen=True, slots=True)
class Finding:
    """One test of one claim on one subset of rows.

    ``test`` names the quantity that ``estimate`` is, ``ci_low`` and ``ci_high`` bound it with
    95 % confidence (None where nothing could be computed), ``n`` counts what was tested:
    networks, or cells (one network at one size and precision) where ``test`` says so.
    """

    claim: str
    subset: str
    test: str
    estimate: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    verdict: Answer
    sentence: str

    def as_json(self) -> dict[str, Any]:
        """The nine fields under their names; a number that is not finite is None."""
        fields = asdict(self)
        for name in ("estimate", "ci_low", "ci_high"):
            value = fields[name]
            fields[name] = None if value is None or not math.isfinite(value) else float(value)
        return {**fields, "verdict": self.verdict.value}


def cant_tell(claim: str, subset: str, test: str, n: int, reason: str) -> Finding:
    """The finding of a test that could not be done, with the reason."""
    return Finding(claim, subset, test, None, None, None, n, Answer.CANT_TELL, reason)
