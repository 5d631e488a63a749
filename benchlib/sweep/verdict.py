"""How far a row can be believed: VALID, SUSPECT or INVALID, with codes and remedies.

A verdict is a label and never stops a sweep.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchlib.case import Verdict
from benchlib.sweep.observed import Observed
from benchlib.sweep.reason import INVALIDATING, NOTES, PASSING, Reason
from benchlib.sweep.rules import RULES

__all__ = ["Judgement", "Observed", "Reason", "judge"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, its codes in the order of :class:`Reason`, and one sentence for each."""

    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    sentences: tuple[str, ...] = ()

    @property
    def worth_retrying(self) -> bool:
        """Whether another attempt could come out better."""
        return self.verdict is not Verdict.VALID and bool(PASSING.intersection(self.reasons))


def judge(observed: Observed) -> Judgement:
    """Apply every rule."""
    found = {
        reason: sentence
        for reason, rule in RULES.items()
        if (sentence := rule(observed)) is not None
    }
    reasons = tuple(found)
    if INVALIDATING.intersection(reasons):
        verdict = Verdict.INVALID
    elif set(reasons) <= NOTES:
        verdict = Verdict.VALID
    else:
        verdict = Verdict.SUSPECT
    return Judgement(verdict, reasons, tuple(found.values()))
