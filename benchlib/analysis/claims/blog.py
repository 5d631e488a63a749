"""The blog's claims, tested on one part of a measured set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from benchlib.analysis import latency_model, ranking, significance
from benchlib.analysis.claims import catalogue
from benchlib.analysis.claims.catalogue import ALL, Answer, Finding, cant_tell, too_few
from benchlib.analysis.comparable_groups import Cells
from benchlib.analysis.latency_model import Dependence
from benchlib.analysis.wording import listed, percent, plural, size, times, word
from benchlib.models import registry

# The claim that compute time does not depend on work or size, tested on one part of a set.


NEGLIGIBLE_RHO = 0.3
"""Below it, work would explain less than a tenth of the order of times (ρ² = 0.09)."""

_FEWEST = f"{latency_model.FEWEST_NETWORKS} or more"


def work(cells: Cells) -> Iterator[Finding]:
    """Spearman's ρ of ms against work and size: over all cells, then cell by cell."""
    for predictor in ("gmacs", "params_m"):
        each = latency_model.dependences(cells, predictor)
        yield _work_headline(latency_model.mean(cells, predictor), each)
    yield from _printed(cells)
    for predictor in latency_model.PREDICTORS:
        yield from map(_work_cell, latency_model.dependences(cells, predictor))


def _answer_of_rho(low: float, high: float) -> Answer:
    if low > -NEGLIGIBLE_RHO and high < NEGLIGIBLE_RHO:
        return Answer.PARTLY if low > 0 or high < 0 else Answer.SUPPORTED
    return Answer.REFUTED if low > 0 or high < 0 else Answer.CANT_TELL


def _work_cell(cell: Dependence, against: str = "", subset: str = "", note: str = "") -> Finding:
    against = against or latency_model.PREDICTORS[cell.predictor]
    test = f"Spearman's ρ of ms against {against}"
    subset = subset or f"{word(cell.precision)} {size(cell.resolution)}"
    if cell.rho is None or cell.low is None or cell.high is None:
        return too_few(catalogue.WORK, subset, test, cell.n, "with a figure", _FEWEST)
    answer = _answer_of_rho(cell.low, cell.high)
    text = {
        Answer.REFUTED: f"Time rises with {against}"
        if cell.rho > 0
        else f"Time falls with {against}",
        Answer.PARTLY: f"Time goes with {against}, but weakly",
        Answer.SUPPORTED: f"Time does not go with {against}",
        Answer.CANT_TELL: f"The interval leaves open whether time goes with {against}",
    }[answer]
    found, text = (cell.rho, cell.low, cell.high), f"{text} (ρ = {cell.rho:.2f}).{note}"
    return Finding(catalogue.WORK, subset, test, *found, cell.n, answer, text)


def _work_headline(mean: Dependence, cells: Sequence[Dependence]) -> Finding:
    against = latency_model.PREDICTORS[mean.predictor]
    test = f"Spearman's ρ of ms against {against}, mean over precisions and sizes"
    tested = [one for one in map(_work_cell, cells) if one.estimate is not None]
    if mean.rho is None or mean.low is None or mean.high is None:
        reason = f"Not to be told: {plural(mean.n, 'network')} with a figure in one cell"
        return cant_tell(catalogue.WORK, ALL, test, mean.n, f"{reason}; it takes {_FEWEST}.")
    answer = _answer_of_rho(mean.low, mean.high)
    against_it = [one for one in tested if one.verdict is Answer.REFUTED]
    if answer is Answer.CANT_TELL and against_it:
        answer = Answer.PARTLY
    if answer is Answer.REFUTED and any(one.verdict is Answer.SUPPORTED for one in tested):
        answer = Answer.PARTLY
    rest = [one.subset for one in tested if one.verdict is not Answer.REFUTED]
    but = f"; not for certain at {listed(rest)}" if rest and against_it else ""
    by: dict[str, list[float]] = {}
    for one in cells:
        if one.rho is not None:
            by.setdefault(word(one.precision), []).append(one.rho)
    # One mean may be of precisions in which work tells much and in which it tells nothing
    means = [f"{precision} {np.mean(some):.2f}" for precision, some in by.items()]
    each = f": {', '.join(means)}" if len(means) > 1 else ""
    text = (
        f"In {len(against_it)} of {len(tested)} cells time goes with {against} "
        f"(mean ρ = {mean.rho:.2f}{each}){but}."
    )
    return Finding(catalogue.WORK, ALL, test, mean.rho, mean.low, mean.high, mean.n, answer, text)


def _printed(cells: Cells) -> Iterator[Finding]:
    """ρ against the GFLOPs that the blog printed, computed as its faults were counted.

    Its times are rounded to 0.01 ms, so some are equal; these are ranked by name. With mean
    ranks, as Spearman's ρ is defined, two of the twelve figures differ, and the sentence says so.
    """
    printed = np.array([catalogue.GFLOPS_224.get(name, np.nan) for name in cells.networks])
    known = ~np.isnan(printed)
    if known.sum() < latency_model.FEWEST_NETWORKS:
        return
    times = cells["latency_ms"][known]
    for i, precision in enumerate(cells.precisions):
        for j, name in enumerate(cells.sizes):
            given = (times[:, i, j], printed[known], "printed", precision, name)
            if np.isnan(given[0]).all():
                continue
            cell = latency_model.one(*given, ties="ordinal")
            mean = latency_model.one(*given)
            note = ""
            if cell.rho is not None and mean.rho is not None and abs(cell.rho - mean.rho) > 5e-4:
                note = f" Equal times are ranked by name; with mean ranks ρ = {mean.rho:.2f}."
            subset = f"{word(precision)} {size(name)}, networks with a figure in the blog"
            yield _work_cell(cell, "the GFLOPs that the blog printed", subset, note)


# The blog's claims, tested on one part of a measured set.
#
# Each function gives the headline finding of its claim first, then one for every subset.


FEWEST_TO_PICK = 3
"""Networks. Of fewer there is no choice."""

MOST_PAIRS = 0.9
"""Share of pairs whose order has to be certain before "none changes" means something."""

MOSTLY = 0.9
"""Share of fits that have to be good (or bad) for an answer about all."""


def order_of_networks(cells: Cells) -> Iterator[Finding]:
    """The fastest on the smallest and on the largest image, and which pairs change order."""
    found = [
        _order(cells, swap)
        for precision in cells.precisions
        if (swap := ranking.swaps(cells, precision)) is not None
    ]
    test = "share of pairs of networks that change order from the smallest to the largest image"
    answers = {one.verdict for one in found} - {Answer.CANT_TELL}
    if not answers:
        reason = f"fewer than two sizes, or fewer than {FEWEST_TO_PICK} networks at both"
        text = found[0].sentence if found else f"Not to be told: {reason}."
        yield cant_tell(catalogue.ORDER, ALL, test, 0, text)
        return
    decided = [one for one in found if one.verdict is not Answer.CANT_TELL]
    # "Need not be" is true when it happens once
    best = next(a for a in (Answer.SUPPORTED, Answer.PARTLY, Answer.REFUTED) if a in answers)
    leading = next(one for one in decided if one.verdict is best)
    text = {
        Answer.SUPPORTED: "It happens here.",
        Answer.PARTLY: "The fastest network stays the fastest or tied in every precision; only "
        "networks behind it change places.",
        Answer.REFUTED: "No two networks change places for certain.",
    }[best]
    yield replace(
        leading,
        subset=ALL,
        test=f"{test} ({leading.subset})",
        sentence=f"{text} {leading.sentence}",
    )
    yield from found


_BEHIND = "time of the recommended network over that of the blog's fastest, mean over sizes"


def picks(cells: Cells) -> Iterator[Finding]:
    """Are the networks that the blog recommends the fastest of its own at every size?"""
    named = {name for groups in catalogue.PICKS.values() for group in groups for name in group}
    its_own = np.array([name in named.union(registry.BLOG) for name in cells.networks])
    cells = cells.of_networks(its_own)
    found = [
        _pick(cells.at(precision), precision, groups)
        for precision, groups in catalogue.PICKS.items()
        if precision in cells.precisions
    ]
    decided = [one for one in found if one.verdict is not Answer.CANT_TELL]
    if not decided:
        reason = "the recommended networks were not measured beside enough others"
        yield cant_tell(catalogue.PICK, ALL, _BEHIND, 0, f"Not to be told: {reason}.")
        return
    worst = max(decided, key=lambda one: one.estimate or 0)
    yield catalogue.together(worst, decided, f"{_BEHIND} (worst precision)")
    yield from found


def gain(cells: Cells, claim: str, precision: str) -> Iterator[Finding]:
    """Speed-up of ``precision`` over FP32 against the blog's range, over all and by size."""
    found = significance.gains(cells, precision)
    yield _gain(claim, precision, ALL, found)
    by_size: dict[str, list[significance.Gain]] = {name: [] for name in cells.sizes}
    for one in found:
        by_size[one.resolution].append(one)
    for name, some in by_size.items():
        if some:
            yield _gain(claim, precision, size(name), tuple(some))


def curve(cells: Cells) -> Iterator[Finding]:
    """Does a fixed time plus a time per megapixel predict the milliseconds?"""
    fits = latency_model.fit(cells)
    yield _curve(ALL, fits)
    for precision in cells.precisions:
        yield _curve(word(precision), [one for one in fits if one.precision == precision])


def _order(cells: Cells, swap: ranking.Swaps) -> Finding:
    test = "share of pairs of networks that change order"
    subset = f"{word(swap.precision)}, {size(swap.small)} against {size(swap.large)}"
    both = cells.at(swap.precision).with_all_of((swap.small, swap.large))
    ends = [ranking.fastest(both, swap.precision, name) for name in (swap.small, swap.large)]
    small, large = ends
    if swap.networks < FEWEST_TO_PICK or small is None or large is None or swap.share is None:
        reason = f"Not to be told from {plural(swap.networks, 'network')} at both sizes."
        return cant_tell(catalogue.ORDER, subset, test, swap.networks, reason)
    changed = not set(small.models) & set(large.models)
    if changed:
        answer = Answer.SUPPORTED
        text = f"{listed(small.models)} at {size(swap.small)}, {listed(large.models)} at "
        text += f"{size(swap.large)}"
    else:
        pairs = swap.networks * (swap.networks - 1) // 2
        if not swap.turned and swap.certain < MOST_PAIRS * pairs:
            # No change seen where few orders are certain is no evidence that there is none.
            text = (
                f"Not to be told: only {swap.certain} of {plural(pairs, 'pair')} of networks "
                "differ for certain at both sizes, and none of those changes order."
            )
            return cant_tell(catalogue.ORDER, subset, test, swap.networks, text)
        answer = Answer.PARTLY if swap.turned else Answer.REFUTED
        stays = [name for name in small.models if name in large.models]
        text = f"{listed(stays)} at both"
    text = (
        f"{word(swap.precision)}: of {plural(swap.networks, 'network')} timed at both sizes, the "
        f"fastest is {text}; {swap.turned} of {plural(swap.certain, 'pair')} change order."
    )
    share = (swap.share, swap.low, swap.high)
    return Finding(catalogue.ORDER, subset, test, *share, swap.networks, answer, text)


def _pick(cells: Cells, precision: str, groups: Sequence[Sequence[str]]) -> Finding:
    label = word(precision)
    names = [next((name for name in group if name in cells.networks), None) for group in groups]
    networks = len(cells.networks)
    if None in names or networks < FEWEST_TO_PICK:
        what = f"{plural(networks, 'network')} of the blog's at {label}"
        missing = [group[0] for group, name in zip(groups, names, strict=True) if name is None]
        why = f", without {listed(missing)}" if missing else ""
        return cant_tell(
            catalogue.PICK, label, _BEHIND, networks, f"Not to be told from {what}{why}."
        )
    texts, ratios, wins = [], [], {}
    spans = significance.Times.of(cells, (slice(None), 0))
    places = np.nanargmin(spans.ms, axis=0)
    first = spans.at((places, np.arange(len(cells.sizes))))
    for name in map(str, names):
        mine = spans.at(cells.networks.index(name))
        behind = mine.ms / first.ms
        known = ~np.isnan(behind)
        itself = mine.ms == first.ms
        ends = (
            np.where(itself, 1, mine.low / first.high),
            np.where(itself, 1, mine.high / first.low),
        )
        ratios.append([float(np.exp(np.mean(np.log(one[known])))) for one in (behind, *ends)])
        wins[name] = int((known & ~first.faster_than(mine)).sum())
        texts.append(
            f"{name} is fastest or tied at {wins[name]} of {plural(int(known.sum()), 'size')}"
            + (
                ""
                if wins[name] == known.sum()
                else f" and takes up to {times(np.nanmax(behind))} as long as "
                f"{cells.networks[places[np.nanargmax(behind)]]}"
            )
        )
    sizes = len(cells.sizes)
    if all(count == sizes for count in wins.values()):
        answer = Answer.SUPPORTED
    else:
        answer = Answer.PARTLY if any(wins.values()) else Answer.REFUTED
    worst, low, high = max(ratios)
    if np.isnan(cells["latency_ci_low_ms"]).all():
        low = high = None
    text = f"{label}: {'; '.join(texts)}."
    return Finding(catalogue.PICK, label, _BEHIND, worst, low, high, sizes, answer, text)


def _gain(claim: str, precision: str, subset: str, found: tuple[significance.Gain, ...]) -> Finding:
    test = f"median of FP32 ms over {word(precision)} ms"
    whole = significance.summary(found)
    if whole is None or whole.networks < significance.FEWEST:
        count = 0 if whole is None else whole.networks
        what = f"at FP32 and {word(precision)}"
        return too_few(claim, subset, test, count, what, significance.FEWEST)
    inside = [
        sum(one.high >= reading.low and one.low <= reading.high for one in found)
        for reading in catalogue.READINGS[claim]
    ]
    best = int(np.argmax(inside))
    share = inside[best] / whole.cells
    answer = Answer.SUPPORTED if share == 1 else Answer.PARTLY if share >= 0.5 else Answer.REFUTED
    counted = "; ".join(
        f"{count} of {whole.cells} cells are {reading.words}"
        for count, reading in zip(inside, catalogue.READINGS[claim], strict=True)
    )
    text = (
        f"{word(precision)} is {times(whole.least)} to {times(whole.most)} as fast as FP32, "
        f"median {times(whole.median)}; {counted}."
    )
    median, test = (whole.median, whole.low, whole.high), f"{test}, n counts cells"
    return Finding(claim, subset, test, *median, whole.cells, answer, text)


def _curve(subset: str, fits: Sequence[latency_model.Fit]) -> Finding:
    test = "median over networks and precisions of the largest relative error of the fit"
    networks = len({one.model for one in fits})
    if networks < FEWEST_TO_PICK:
        reason = (
            f"Not to be told: {plural(networks, 'network')} with {latency_model.FEWEST_SIZES} "
            f"sizes or more; it takes {FEWEST_TO_PICK}."
        )
        return cant_tell(catalogue.CURVE, subset, test, networks, reason)
    median, low, high = significance.over_networks(
        latency_model.by_network(fits, lambda fit: fit.largest_error), significance.median
    )
    good = [one for one in fits if one.holds]
    share = len(good) / len(fits)
    if share >= MOSTLY:
        answer = Answer.REFUTED
    else:
        answer = Answer.SUPPORTED if share <= 1 - MOSTLY else Answer.PARTLY
    bad = sorted((one for one in fits if not one.holds), key=lambda one: -one.error)
    worst = listed([f"{one.model} {word(one.precision)} ({percent(one.error)} off)" for one in bad])
    if answer is Answer.REFUTED:
        within = percent(max(one.largest_error for one in good))
        counted = f"{len(good)} of " * bool(bad) + plural(len(fits), "fit")
        held_out = [one.held_out_error for one in good if one.held_out_error is not None]
        # Beyond the sizes fitted a line is less good, and was not tried
        off = percent(max(held_out, default=0))
        left_out = f", and a size left out between others is met within {off}"
        sentence = (
            f"ms = fixed + per megapixel holds within {within} in {counted} "
            f"(R² from {min(one.r2 for one in good):.3f}){left_out * bool(held_out)}: "
            f"FPS curves only because it is a reciprocal.{f' Not so: {worst}.' * bool(bad)}"
        )
    else:
        sentence = (
            f"ms = fixed + per megapixel predicts within {percent(latency_model.PREDICTABLE)} in "
            f"{percent(share)} of {plural(len(fits), 'fit')}; not {worst}."
        )
    test = f"{test}, n counts fits"
    return Finding(catalogue.CURVE, subset, test, median, low, high, len(fits), answer, sentence)
