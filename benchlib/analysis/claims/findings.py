"""The findings of a measured set: the blog's claims tested, and what it did not ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace

import pandas as pd

from benchlib.analysis import comparable_groups
from benchlib.analysis.claims import blog, catalogue, observations
from benchlib.analysis.claims.catalogue import ALL, Answer, Finding, cant_tell
from benchlib.analysis.comparable_groups import Cells
from benchlib.case import Precision

Test = Callable[[Cells], Iterator[Finding]]

TESTS: tuple[Test, ...] = (
    blog.work,
    blog.order_of_networks,
    blog.picks,
    lambda cells: blog.gain(cells, catalogue.FP16, Precision.FP16.value),
    lambda cells: blog.gain(cells, catalogue.INT8, Precision.INT8.value),
    blog.curve,
    observations.int8_against_fp16,
    observations.fixed_cost,
    observations.rate,
    observations.activations,
    observations.energy,
    observations.doubt,
)


def findings(frame: pd.DataFrame) -> tuple[Finding, ...]:
    """Test every claim on ``frame``, with the columns of ``MeasuredSet.frame``.

    Claims stand together in the order of :mod:`benchlib.analysis.claims.catalogue`; the first
    finding of a claim is its headline. INVALID rows and networks rebuilt from guesses are left out,
    SUSPECT rows are in and counted. A set with several engines, batches, shape modes, typings or
    INT8 methods is tested part by part, and ``subset`` names the part. What comes out the same with
    every INT8 method (all of FP32 and FP16) is told once, without one. Deterministic.
    """
    rows = comparable_groups.sound(frame)
    split = comparable_groups.parts(rows)
    if not split:
        reason = "Not to be told: the set has no usable row."
        return tuple(cant_tell(claim, ALL, "none", 0, reason) for claim in catalogue.BLOG)
    several = len(comparable_groups.methods(rows)) > 1
    beside = comparable_groups.side_by_side(rows) if several else ()
    found = [*_tested(TESTS, split), *_tested((observations.tests,), beside)]
    order = {claim: place for place, claim in enumerate((*catalogue.BLOG, *catalogue.OURS))}
    return tuple(sorted(found, key=lambda one: order[one.claim]))


def _tested(tests: Sequence[Test], split: Sequence[comparable_groups.Part]) -> Iterator[Finding]:
    # Part by part, so that what one test has reckoned the next can take
    each = [(part, [one for test in tests for one in test(Cells.of(part.frame))]) for part in split]
    said = [set(map(_said, found)) for _, found in each]
    alike: dict[str, list[int]] = {}
    for place, (part, _) in enumerate(each):
        alike.setdefault(part.surroundings, []).append(place)
    for place, (part, found) in enumerate(each):
        same = alike[part.surroundings]
        for one in found:
            shared = all(_said(one) in said[other] for other in same)
            if shared and place != same[0]:
                continue
            label = part.surroundings if shared else part.label
            subset = f"{label}: {one.subset}" if label else one.subset
            method = "" if shared else part.method
            yield replace(one, subset=subset, sentence=_by(method, one.sentence))


def _by(method: str, sentence: str) -> str:
    """``sentence`` with the INT8 method that it speaks of, where there are several."""
    return f"With {method}: {sentence}" if method else sentence


def _said(one: Finding) -> object:
    """What ``one`` says, with an unknown that equals an unknown."""
    return tuple(one.as_json().values())


def frame(found: Sequence[Finding]) -> pd.DataFrame:
    """``found`` as a DataFrame, with the fields of :class:`Finding` as columns."""
    names = [one.name for one in fields(Finding)]
    made = pd.DataFrame([one.as_json() for one in found], columns=names)
    return made.astype(dict.fromkeys(("estimate", "ci_low", "ci_high"), float))


def headlines(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """The first finding of each claim: of all rows, or of the largest part."""
    first: dict[str, Finding] = {}
    for one in found:
        first.setdefault(one.claim, one)
    return tuple(first.values())


def lines(found: Sequence[Finding]) -> list[str]:
    """``found`` as text: per claim its verdict and sentence, then every subset on a line.

    Subsets that nothing can be told of are only counted; the JSON holds them all.
    """
    said: list[str] = []
    for headline in headlines(found):
        said += [
            f"{headline.claim}",
            f"  {headline.verdict.value.upper()}. {headline.sentence}",
        ]
        each = [one for one in found if one.claim == headline.claim]
        told = [one for one in each if one.verdict is not Answer.CANT_TELL]
        said += [f"    {_line(one)}" for one in told]
        if told and len(told) < len(each):
            said.append(f"    and {len(each) - len(told)} subsets too small to tell")
        said.append("")
    return said[:-1]


def _line(one: Finding) -> str:
    bounds = "" if one.ci_low is None else f" [{_number(one.ci_low)}, {_number(one.ci_high)}]"
    figure = "–" if one.estimate is None else f"{_number(one.estimate)}{bounds}"
    return f"{one.subset}: {one.test} = {figure}, n = {one.n}: {one.verdict.value}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"
