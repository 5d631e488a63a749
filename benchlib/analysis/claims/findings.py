"""The findings of a measured set: the blog's claims tested, and what it did not ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace

import numpy as np
import pandas as pd

from benchlib.analysis import comparable_groups
from benchlib.analysis.claims import between_sets, blog, catalogue, choice, observations
from benchlib.analysis.claims.catalogue import ALL, Answer, Finding, cant_tell
from benchlib.analysis.comparable_groups import Cells
from benchlib.analysis.results import MeasuredSet
from benchlib.case import Precision

Test = Callable[[Cells], Iterator[Finding]]

TESTS: tuple[Test, ...] = (
    blog.work,
    blog.order_of_networks,
    blog.picks,
    lambda cells: blog.gain(cells, catalogue.FP16, Precision.FP16.value),
    lambda cells: blog.gain(cells, catalogue.INT8, Precision.INT8.value),
    blog.curve,
    choice.fastest,
    observations.int8_against_fp16,
    choice.power_limit,
    choice.energy,
    observations.fixed_cost,
    observations.rate,
    observations.activations,
    observations.doubt,
)


def of(measured: MeasuredSet, beside: Sequence[MeasuredSet] = ()) -> tuple[Finding, ...]:
    """The :func:`findings` of a set, with what its rows' evidence explains, and what shows when it
    is laid beside others: the same card timed again, or another card."""
    shares = [measured.shares(str(key)) for key in measured.frame["key"]]
    evidence = {
        name: [found.get(word, 0.0) if (found := one.get(kind)) else np.nan for one in shares]
        for name, (kind, word) in observations.EVIDENCE.items()
    }
    found = [findings(measured.frame.assign(**evidence))]
    others = [tuple(between_sets.findings(measured, other)) for other in beside]
    # The headline of a claim is of a set that it can be told beside.
    found += sorted(others, key=lambda one: one[0].verdict is Answer.CANT_TELL)
    return _in_order(one for some in found for one in some)


def findings(frame: pd.DataFrame) -> tuple[Finding, ...]:
    """Test every claim on ``frame``, with the columns of ``MeasuredSet.frame``.

    Claims stand together in the order of :mod:`benchlib.analysis.claims.catalogue`; the first
    finding of a claim is its headline. INVALID rows and networks rebuilt from guesses are left out,
    SUSPECT rows are in and counted. A set with several engines, batches, shape modes, typings or
    INT8 methods is tested part by part, and ``subset`` names the part. What comes out the same with
    every INT8 method (all of FP32 and FP16) is told once, without one. Deterministic.
    """
    rows = comparable_groups.sound(frame)
    unknown = [name for name in observations.EVIDENCE if name not in rows]
    rows = rows.assign(**dict.fromkeys(unknown, np.nan))
    split = comparable_groups.parts(rows)
    if not split:
        reason = "Not to be told: the set has no usable row."
        return tuple(cant_tell(claim, ALL, "none", 0, reason) for claim in catalogue.BLOG)
    several = len(comparable_groups.methods(rows)) > 1
    beside = comparable_groups.side_by_side(rows) if several else ()
    found = [*_tested(TESTS, split), *_tested((observations.tests,), beside)]
    return _in_order(found)


def _in_order(found: Iterable[Finding]) -> tuple[Finding, ...]:
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

    Single cells and subsets that nothing can be told of are only counted; the JSON holds them all.
    """
    said: list[str] = []
    for headline in headlines(found):
        said += headline_lines(headline)
        each = [one for one in found if one.claim == headline.claim]
        told = [one for one in each if one.verdict is not Answer.CANT_TELL]
        several = [one for one in told if one.n > 1]
        said += [f"    {_line(one)}" for one in several]
        if len(several) < len(told):
            said.append(f"    and {len(told) - len(several)} single cells")
        if told and len(told) < len(each):
            said.append(f"    and {len(each) - len(told)} subsets too small to tell")
        said.append("")
    return said[:-1]


def headline_lines(headline: Finding) -> list[str]:
    """The two lines of a claim: itself, then its verdict and what was found."""
    return [headline.claim, f"  {headline.verdict.value.upper()}. {headline.sentence}"]


def _line(one: Finding) -> str:
    bounds = "" if one.ci_low is None else f" [{_number(one.ci_low)}, {_number(one.ci_high)}]"
    figure = "–" if one.estimate is None else f"{_number(one.estimate)}{bounds}"
    return f"{one.subset}: {one.test} = {figure}, n = {one.n}: {one.verdict.value}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"
