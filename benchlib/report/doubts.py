"""What the reason codes of a set mean, and how much of the set they put in doubt."""

from __future__ import annotations

from collections import Counter

from benchlib.analysis import wording
from benchlib.analysis.measured import MeasuredSet, usable
from benchlib.case import Verdict
from benchlib.report.section import Definitions, Words

_MANY = 0.5
"""Share of SUSPECT rows from which a reader is warned before anything else."""


def meanings(measured: MeasuredSet) -> dict[str, str]:
    """Every reason code that occurs, commonest first, with the sentence one row has for it.

    The sentence is the rule's own, with that row's numbers and a remedy. Empty where the set kept
    none.
    """
    frame = measured.frame[measured.frame["reasons"].notna()]
    counts: Counter[str] = Counter()
    said: dict[str, str] = {}
    for key, reasons in zip(frame["key"], frame["reasons"], strict=True):
        codes = str(reasons).split(";")
        counts.update(codes)
        sentences = () if set(codes) <= set(said) else measured.doubts(str(key))
        if len(sentences) == len(codes):
            said = {**dict(zip(codes, sentences, strict=True)), **said}
    return {code: said.get(code, "") for code, _ in counts.most_common()}


def legend(measured: MeasuredSet) -> Definitions | None:
    """The reason codes, each with its meaning and remedy; None when there is none."""
    found = meanings(measured)
    if not found:
        return None
    unknown = "its sentence was not kept with this set"
    return Definitions(
        "What the reasons mean, by the example of one row each",
        tuple((code, sentence or unknown) for code, sentence in found.items()),
        codes=True,
    )


def warning(measured: MeasuredSet) -> Words | None:
    """One sentence when half of the rows or more are SUSPECT, else None."""
    rows = usable(measured.frame)
    doubted = rows[rows["verdict"] == Verdict.SUSPECT.value]
    if not len(doubted) or len(doubted) < _MANY * len(rows):
        return None
    text = (
        f"{len(doubted)} of {wording.plural(len(rows), 'row')} are doubted; do not choose from "
        "this run."
    )
    code, sentence = next(iter(meanings(measured).items()), ("", ""))
    if code:
        text += f" The commonest reason is {code}"
        text += f"; of one row: {sentence}" if sentence else "."
    return Words(text, "notice")
