"""The findings of a measured set: the blog's claims tested, what it did not ask, and what shows
beside another set, of the same card timed again or of another card."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd

from benchlib.analysis import comparable_groups, compare, latency_model, significance
from benchlib.analysis.claims import blog, catalogue, choice, observations
from benchlib.analysis.claims.catalogue import ALL, Answer, Finding, cant_tell, decided, too_few
from benchlib.analysis.comparable_groups import Cells, sound
from benchlib.analysis.compare import Outcome
from benchlib.analysis.results import MeasuredSet
from benchlib.analysis.significance import CONFIDENCE, REBUILD, WITHIN, Array
from benchlib.analysis.wording import percent, plural, short, size, word
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
    choice.newer,
    choice.fronts,
    observations.int8_against_fp16,
    choice.power_limit,
    choice.energy,
    observations.fixed_cost,
    observations.rate,
    observations.activations,
    choice.phones,
    observations.doubt,
)


def of(measured: MeasuredSet, beside: Sequence[MeasuredSet] = ()) -> tuple[Finding, ...]:
    """The :func:`findings` of a set, with reasons from its rows' evidence, and those of the set
    :func:`between` it and others: the same card timed again, or another card."""
    keys = map(str, measured.frame["key"])
    shares = [{**measured.shares(key), "types": measured.layer_types(key)} for key in keys]
    evidence = {
        name: [found.get(word, 0.0) if (found := one.get(kind)) else np.nan for one in shares]
        for name, (kind, word) in observations.EVIDENCE.items()
    }
    found = [findings(measured.frame.assign(**evidence))]
    others = [tuple(between(measured, other)) for other in beside]
    # The headline of a claim is of the sets beside which the claim has an answer.
    others.sort(key=lambda one: one[0].verdict is Answer.CANT_TELL)
    found += [tuple(_together(others)), *others]
    return _in_order(one for some in found for one in some)


def _together(others: Sequence[Sequence[Finding]]) -> Iterator[Finding]:
    """The headline of each claim that was answered beside several sets: what they agree in."""
    each = [one for some in others for one in headlines(some)]
    for claim in dict.fromkeys(one.claim for one in each):
        told = [one for one in each if one.claim == claim and one.verdict is not Answer.CANT_TELL]
        if len(told) > 1:
            none = replace(told[0], estimate=None, ci_low=None, ci_high=None)
            yield catalogue.together(none, told, none.test)


def findings(frame: pd.DataFrame) -> tuple[Finding, ...]:
    """Test every claim on ``frame``, with the columns of ``MeasuredSet.frame``.

    Claims stand together in the order of :mod:`benchlib.analysis.claims.catalogue`; the first
    finding of a claim is its headline. INVALID rows and networks rebuilt from guesses are left out,
    SUSPECT rows are in and counted. A set with several engines, batches, shape modes, typings or
    INT8 methods is tested part by part, and ``subset`` names the part. What is the same with every
    INT8 method (all of FP32 and FP16) is there once, without a method. Deterministic.
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
    # Part by part, so that one test finds in the caches what another has computed
    each = [(part, [one for test in tests for one in test(Cells.of(part.frame))]) for part in split]
    sets = [set(map(_values, found)) for _, found in each]
    alike: dict[str, list[int]] = {}
    for place, (part, _) in enumerate(each):
        alike.setdefault(part.surroundings, []).append(place)
    for place, (part, found) in enumerate(each):
        same = alike[part.surroundings]
        for one in found:
            shared = all(_values(one) in sets[other] for other in same)
            if shared and place != same[0]:
                continue
            label = part.surroundings if shared else part.label
            subset = f"{label}: {one.subset}" if label else one.subset
            method = "" if shared else part.method
            yield replace(one, subset=subset, sentence=_by(method, one.sentence))


def _by(method: str, sentence: str) -> str:
    """``sentence`` with the INT8 method that it speaks of, where there are several."""
    return f"With {method}: {sentence}" if method else sentence


def _values(one: Finding) -> object:
    """The fields of ``one``, in which NaN is None and so equals itself."""
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

    Single cells, and subsets without an answer, are only counted; the JSON holds them all.
    """
    text: list[str] = []
    for headline in headlines(found):
        text += headline_lines(headline)
        each = [one for one in found if one.claim == headline.claim]
        decided_ones = [one for one in each if one.verdict is not Answer.CANT_TELL]
        several = [one for one in decided_ones if one.n > 1]
        text += [f"    {_line(one)}" for one in several]
        if len(several) < len(decided_ones):
            text.append(f"    and {plural(len(decided_ones) - len(several), 'single cell')}")
        if decided_ones and len(decided_ones) < len(each):
            few = plural(len(each) - len(decided_ones), "subset")
            text.append(f"    and {few} too small to tell")
        text.append("")
    return text[:-1]


def headline_lines(headline: Finding) -> list[str]:
    """The two lines of a claim: itself, then its verdict and what was found."""
    return [headline.claim, f"  {headline.verdict.value.upper()}. {headline.sentence}"]


def _line(one: Finding) -> str:
    bounds = "" if one.ci_low is None else f" [{_number(one.ci_low)}, {_number(one.ci_high)}]"
    figure = "–" if one.estimate is None else f"{_number(one.estimate)}{bounds}"
    return f"{one.subset}: {one.test} = {figure}, n = {one.n}: {one.verdict.value}"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


# A set beside another.


USUAL = REBUILD / 2
"""Relative. Two builds of one cell usually differ by this, as standard deviations go; a mean over
networks, of many builds, that is off by more is off for another cause."""

UNLIKE_FACTOR = 0.10
"""Relative. Where one network gains by this much more than another, it is another network that one
takes: neighbours in a ranking differ by about as much."""


OTHER_GRAPHS = "graphs of other numbers of nodes"
"""Why two times of one case may differ that were made from exports of different code."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One case in both sets: ms of a batch, and the first's over the second's with its ends.

    ``where`` is its precision and size, and its batch and INT8 method where there are several;
    ``reasons`` are known differences besides the card and the program.
    """

    model: str
    made: str
    where: str
    first_ms: float
    second_ms: float
    ratio: float
    low: float | None
    high: float | None
    outcome: Outcome
    reasons: tuple[str, ...] = ()


def between(measured: MeasuredSet, other: MeasuredSet) -> Iterator[Finding]:
    """``measured`` beside ``other``: the same times, where their cards are of one kind; else the
    same order and the same factor."""
    cells = _cells(measured, other)
    names = (_name(measured, other), _name(other, measured))
    beside = f"{names[0]} beside {names[1]}"
    tests: tuple[Callable[..., Iterator[Finding]], ...] = (_same_order, _same_factor)
    if _all(measured, "device") == _all(other, "device"):
        tests = (_same_time,)
    for test in tests:
        for one in test(cells, names):
            yield replace(one, subset=f"{beside}: {one.subset}")


def _cells(measured: MeasuredSet, other: MeasuredSet) -> list[Cell]:
    """The cells that both have, by the rules of :mod:`benchlib.analysis.compare`."""
    if measured.published and not other.published:
        return [
            replace(one, first_ms=one.second_ms, second_ms=one.first_ms, ratio=1 / one.ratio)
            for one in _cells(other, measured)
        ]
    first, second = (replace(one, frame=sound(one.frame)) for one in (measured, other))
    found = []
    if other.published:
        first = replace(first, frame=_most(first.frame))
        for one in compare.beside_published(first, second):
            width, height = map(int, one.resolution.split("x"))
            place = (one.precision, one.int8_method or "", one.batch, width * height)
            ends = (one.ours_ms, one.published_ms, one.ratio, None, None, Outcome.UNDECIDED)
            ends = (*ends, tuple(why for why in one.reasons if "another GPU" not in why))
            found.append((place, one.model, one.resolution, ends))
    else:
        for one in compare.compare(second, first).rows:
            place = (one.precision, one.int8_method or "", one.batch, one.width * one.height)
            ends = (one.second_ms, one.first_ms, one.ratio, one.low, one.high, one.outcome)
            ends = (*ends, (OTHER_GRAPHS,) if one.graphs else ())
            found.append((place, one.model, f"{one.width}x{one.height}", ends))
    precisions = [one.value for one in Precision]
    found.sort(key=lambda one: (precisions.index(one[0][0]), *one[0][1:], one[1]))
    methods, batches = ({place[index] for place, *_ in found} for index in (1, 2))
    cells = []
    for (precision, method, batch, _), model, resolution, ends in found:
        # Beside FP32, which has none, two methods are three words
        by = f" by {method}" if method and len(methods - {""}) > 1 else ""
        made = f"{word(precision)}{by}" + (f" batch {batch}" if len(batches) > 1 else "")
        cells.append(Cell(model, made, f"{made} {size(resolution)}", *ends))
    return cells


def _most(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the engine, batch, shapes, typing and INT8 method that most have: one a cell."""
    for names in (["engine", "batch", "shape_mode", "typing"], ["precision", "int8_method"]):
        kinds = frame.groupby(names, dropna=False, observed=True).ngroup()
        of_int8 = frame["int8_method"].notna() | (names[0] == "engine")
        if of_int8.any():
            frame = frame[(kinds == kinds[of_int8].mode().iloc[0]) | ~of_int8]
    return frame


def _all(one: MeasuredSet, column: str) -> set[str]:
    return set(one.frame[column].dropna())


def _name(one: MeasuredSet, other: MeasuredSet) -> str:
    """The name of ``one`` in a sentence: its card, else program, else set, where they differ."""
    for column in ("device", "engine"):
        mine, theirs = _all(one, column), _all(other, column)
        if mine != theirs and len(mine) == 1:
            return mine.pop().removeprefix("NVIDIA ").removeprefix("GeForce ")
    return one.name


def _same_time(cells: Sequence[Cell], names: tuple[str, str]) -> Iterator[Finding]:
    test, claim = "ms over the other's ms", catalogue.SAME_TIME
    measured, cells = cells, [one for one in cells if not one.reasons]
    if not cells:
        none = "of one graph " if measured else ""
        yield cant_tell(
            claim, "all", test, 0, f"Not to be told: no cell {none}was measured for both."
        )
        return
    others = len(measured) - len(cells)
    left_out = f" Left out: {plural(others, 'cell')} with {OTHER_GRAPHS}." if others else ""
    logs = _table(cells)
    networks = len(logs)
    mean, low, high = (_exp(one) for one in significance.over_networks(logs, significance.mean))
    off = np.array([max(one.ratio, 1 / one.ratio) - 1 for one in cells])
    within = float(np.mean(off <= REBUILD))
    counted = f"{test}, geometric mean, n counts cells"
    if low is None or high is None:
        takes = significance.FEWEST
        yield too_few(claim, "all", counted, networks, "in both", takes, len(cells))
    else:
        alike = low > 1 / (1 + USUAL) and high < 1 + USUAL
        answer = Answer.PARTLY if alike else Answer.CANT_TELL
        if alike and within >= CONFIDENCE:
            answer = Answer.SUPPORTED
        elif low > 1 + USUAL or high < 1 / (1 + USUAL):
            answer = Answer.REFUTED
        worst = cells[int(np.argmax(off))]
        beyond = sum(one.outcome in (Outcome.FASTER, Outcome.SLOWER) for one in cells)
        yield Finding(
            *(claim, "all", counted, mean, low, high, len(cells), answer),
            f"In {plural(len(cells), 'cell')} of {plural(networks, 'network')} {names[0]} takes "
            f"{mean:.3f} times as long as {names[1]}, other engines and other cards of the kind "
            f"included; single cells differ by {percent(float(np.median(off)))} in the median and "
            f"by {percent(float(off.max()))} at most ({_named(worst)}). In "
            f"{int((off > REBUILD).sum())} the times are more than {WITHIN} apart, in {beyond} the "
            f"intervals, which is when the other findings call a network faster.{left_out}",
        )
    spread, low, high = significance.over_networks(logs**2, significance.mean)
    yield Finding(
        claim,
        "spread",
        "root mean square of the relative difference of a cell, n counts cells",
        *(None if one is None else float(np.sqrt(one)) for one in (spread, low, high)),
        len(cells),
        decided(low, high, USUAL**2, below=True),
        f"Builds, cards and states of heat part two times of one cell by "
        f"{percent(float(np.sqrt(spread)))}, root mean square.",
    )
    answers = {
        Outcome.SAME: Answer.SUPPORTED,
        Outcome.FASTER: Answer.REFUTED,
        Outcome.SLOWER: Answer.REFUTED,
        Outcome.UNDECIDED: Answer.CANT_TELL,
    }
    for one in cells:
        answer = answers[one.outcome]
        yield Finding(claim, _named(one), test, one.ratio, one.low, one.high, 1, answer, _ms(one))


def _same_order(cells: Sequence[Cell], names: tuple[str, str]) -> Iterator[Finding]:
    test, claim = "Spearman's ρ of ms against the other card's ms", catalogue.SAME_ORDER
    first, second = (_table(cells, name) for name in ("first_ms", "second_ms"))
    first, second = latency_model.enough(first, second, ~np.isnan(first))
    found = []
    for where, some in _grouped(cells, "where").items():
        one = latency_model.one(
            np.array([cell.first_ms for cell in some]),
            np.array([cell.second_ms for cell in some]),
            *("", "", where),
        )
        if one.rho is None or one.low is None or one.high is None:
            takes = latency_model.FEWEST_NETWORKS
            found.append(too_few(claim, where, test, one.n, "in both", takes))
            continue
        found.append(
            catalogue.ordered(claim, where, test, one, f"ρ = {one.rho:.2f}; {_moved(some, names)}.")
        )
    test = f"{test}, mean over precisions and sizes"
    if not len(first):
        reason = f"Not to be told: no cell has {latency_model.FEWEST_NETWORKS} networks in both."
        yield cant_tell(claim, "all", test, 0, reason)
    else:
        rho, drawn = latency_model.mean_rho(first, second)
        low, high = significance.interval(drawn) or (None, None)
        known = [one for one in found if one.estimate is not None]
        worst = min(known, key=lambda one: one.estimate or 0)
        text = (
            f"The orders of the networks on {names[0]} and on {names[1]} go together with a mean ρ "
            f"of {rho:.2f} over {plural(len(known), 'cell')}; least at {worst.subset}: "
            f"{worst.sentence}{_also(cells)}"
        )
        kept = catalogue.order_kept(low, high)
        yield Finding(claim, "all", test, rho, low, high, len(first), kept, text)
    yield from found


def _moved(cells: Sequence[Cell], names: tuple[str, str]) -> str:
    return catalogue.movers(
        [one.model for one in cells],
        np.array([one.first_ms for one in cells]),
        np.array([one.second_ms for one in cells]),
        (f"on {names[0]}", f"on {names[1]}"),
    )


def _same_factor(cells: Sequence[Cell], names: tuple[str, str]) -> Iterator[Finding]:
    yield _factor(cells, "all", names)
    for name in ("made", "where"):
        for subset, some in _grouped(cells, name).items():
            yield _factor(some, subset, names)
    mean = np.exp(np.mean([np.log(one.ratio) for one in cells])) if cells else 1.0
    for one in cells:
        off = max(one.ratio / mean, mean / one.ratio) - 1
        yield Finding(
            catalogue.SAME_FACTOR,
            _named(one),
            "ms over the other card's ms",
            one.ratio,
            one.low,
            one.high,
            1,
            Answer.SUPPORTED if off <= UNLIKE_FACTOR else Answer.REFUTED,
            _ms(one),
        )


def _factor(cells: Sequence[Cell], subset: str, names: tuple[str, str]) -> Finding:
    test = "ms over the other card's ms, geometric mean, n counts cells"
    claim = catalogue.SAME_FACTOR
    logs = _table(cells) if cells else np.empty((0, 0))
    networks = len(logs)
    if networks < significance.FEWEST:
        takes = significance.FEWEST
        return too_few(claim, subset, test, networks, "in both", takes, len(cells))
    mean, low, high = (_exp(one) for one in significance.over_networks(logs, significance.mean))
    # Within a precision and size: a network timed at INT8 alone is no other network for that. One
    # alone in its cell is compared with none.
    away = logs - np.nanmean(logs, axis=0)
    away[:, (~np.isnan(logs)).sum(axis=0) < 2] = np.nan
    ends = significance.over_networks(away**2, significance.mean)[1:]
    answer = decided(*ends, np.log1p(UNLIKE_FACTOR) ** 2, below=True)
    models = np.array(sorted({one.model for one in cells}))
    there = ~np.isnan(away).all(axis=1)
    models, each = models[there], np.nanmean(away[there], axis=1) + np.log(mean)
    least, most = int(np.argmin(each)), int(np.argmax(each))
    alike = ", each beside the others of its precisions and sizes" if logs.shape[1] > 1 else ""
    text = (
        f"{names[0]} takes {short(mean)} times as long as {names[1]} over "
        f"{plural(len(cells), 'cell')} of {plural(networks, 'network')}, from "
        f"{short(_exp(each[least]))} ({models[least]}) to {short(_exp(each[most]))} "
        f"({models[most]}){alike}.{_also(cells) if subset == 'all' else ''}"
    )
    return Finding(claim, subset, test, mean, low, high, len(cells), answer, text)


def _also(cells: Sequence[Cell]) -> str:
    reasons = dict.fromkeys(reason for one in cells for reason in one.reasons)
    return f" Besides the cards: {'; '.join(reasons)}." if reasons else ""


def _grouped(cells: Sequence[Cell], name: str) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for one in cells:
        groups.setdefault(getattr(one, name), []).append(one)
    return groups


def _table(cells: Sequence[Cell], name: str = "") -> Array:
    """Field ``name``, by default the logarithm of the ratio, as [networks, cells]."""
    if not cells:
        return np.empty((0, 0))
    values = [getattr(one, name) if name else float(np.log(one.ratio)) for one in cells]
    return significance.spread_out([(one.model, one.where) for one in cells], values)


def _exp(value: float | None) -> float | None:
    return None if value is None else float(np.exp(value))


def _ms(one: Cell) -> str:
    return f"{short(one.first_ms)} ms and {short(one.second_ms)} ms."


def _named(one: Cell) -> str:
    return f"{one.where} {one.model}"
