"""Which network to take at a precision and size, whether it runs at the card's power limit, and
what energy an image takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from benchlib.analysis import latency_model, ranking, significance
from benchlib.analysis.claims import catalogue
from benchlib.analysis.claims.blog import FEWEST_TO_PICK
from benchlib.analysis.claims.catalogue import ALL, Answer, Finding, cant_tell, decided, too_few
from benchlib.analysis.claims.observations import HALF
from benchlib.analysis.comparable_groups import Cells
from benchlib.analysis.significance import Array, Times
from benchlib.analysis.wording import listed, percent, plural, short, size, times, word
from benchlib.gpu.telemetry import Limit

ENERGY_ERROR = 0.05
"""Relative. NVIDIA calls the power readings of a card good to 5 %."""


_COST = "time of one network everywhere over the fastest's, geometric mean, n counts cells"


def fastest(cells: Cells) -> Iterator[Finding]:
    """The fastest network at every precision and size, task by task, and what it costs to take
    one network everywhere."""
    words = cells.words("task")
    tasks: dict[str, list[bool]] = {}
    for name in sorted({one for one in words.flat if one is not None}):
        tasks[name] = list((words == name).any(axis=(1, 2)))
    found = [_fastest(cells.of_networks(np.array(own)), task) for task, own in tasks.items()]
    found = sorted((some for some in found if some), key=len, reverse=True)
    if not found:
        reason = f"Not to be told: no task has {FEWEST_TO_PICK} networks at one precision and size."
        yield cant_tell(catalogue.FASTEST, ALL, _COST, 0, reason)
        return
    worst = max((some[0] for some in found), key=lambda one: one.estimate or 0)
    answers = {some[0].verdict for some in found}
    yield Finding(
        *(catalogue.FASTEST, ALL, f"{_COST} (worst task)"),
        *(worst.estimate, worst.ci_low, worst.ci_high, sum(some[0].n for some in found)),
        answers.pop() if len(answers) == 1 else Answer.PARTLY,
        " ".join(some[0].sentence for some in found),
    )
    for some in found:
        yield from some


def _fastest(cells: Cells, task: str) -> list[Finding]:
    """The headline of one task, then a finding per cell; nothing without a cell of enough."""
    test = "time of the fastest network that is not tied over the fastest's"
    spans = Times.of(cells)
    known = (~np.isnan(spans.ms)).sum(axis=0) >= FEWEST_TO_PICK
    if not known.any():
        return []
    first = spans.at(_fastest_places(np.where(known, spans.ms, np.inf)))
    exact = np.isnan(cells["latency_ci_low_ms"]).all()
    tied = ~first.faster_than(spans) & ~np.isnan(spans.ms) & known
    # The one to take everywhere is there in the most cells, then costs the least.
    behind = np.where(known, spans.ms / first.ms, np.nan)
    costs = _geometric(behind)
    leader = int(np.lexsort((costs, -(~np.isnan(behind)).sum(axis=(1, 2))))[0])
    mine = spans.at(leader)
    own = known & ~np.isnan(mine.ms)
    itself = mine.ms == first.ms
    ends = [
        float(_geometric(np.where(own, np.where(itself, 1.0, ratio), np.nan)[None])[0])
        for ratio in (mine.low / first.high, mine.high / first.low)
    ]
    wins, cost = int((tied[leader] & own).sum()), float(np.nanmax(behind[leader]))
    count = int(own.sum())
    answer = Answer.PARTLY if wins >= HALF * count else Answer.REFUTED
    name = cells.networks[leader]
    found, winners = [], []
    for i, precision in enumerate(cells.precisions):
        for j, resolution in enumerate(cells.sizes):
            if not known[i, j]:
                continue
            best = ranking.fastest(cells, precision, resolution)
            winners.append((word(precision), resolution, listed(best.models)))
            behind_ends = (None, None)
            if best.second and not exact:
                second = spans.at((cells.networks.index(best.second), i, j))
                one = first.at((i, j))
                behind_ends = (float(second.low / one.high), float(second.high / one.low))
            then = f"; next is {best.second} at {times(best.next_ratio)}" if best.second else ""
            alike = f", tied with {listed(best.models[1:])}" if len(best.models) > 1 else ""
            found.append(
                Finding(
                    *(catalogue.FASTEST, f"{task}, {word(precision)} {size(resolution)}", test),
                    *(best.next_ratio, *behind_ends, best.n),
                    Answer.SUPPORTED if tied[leader, i, j] else Answer.REFUTED,
                    f"{best.models[0]} is the fastest of {best.n} ({short(best.latency_ms)} ms)"
                    f"{alike}{then}.",
                )
            )
    everywhere = (
        f"{name} is fastest or tied in all {plural(count, 'cell')}"
        if wins == count
        else f"always {name} would take {times(float(costs[leader]))} as long in the geometric "
        f"mean and {times(cost)} at most"
    )
    text = f"{task.capitalize()}: {_listed_winners(winners)}; {everywhere}."
    headline = Finding(
        *(catalogue.FASTEST, f"{task}, all"),
        _COST,
        *(float(costs[leader]), *((None, None) if exact else ends), count),
        Answer.SUPPORTED if wins == count else answer,
        text,
    )
    return [headline, *found]


def _fastest_places(ms: Array) -> tuple[Array, ...]:
    """The place in [networks, precisions, sizes] of the least of each precision and size."""
    least = np.nanargmin(np.where(np.isnan(ms), np.inf, ms), axis=0)
    return (least, *np.indices(least.shape))


def _geometric(ratios: Array) -> Array:
    """Geometric mean of the known ratios of each network."""
    known = ~np.isnan(ratios)
    logs = np.where(known, np.log(np.where(known, ratios, 1.0)), 0.0).sum(
        axis=tuple(range(1, ratios.ndim))
    )
    count = known.sum(axis=tuple(range(1, ratios.ndim)))
    return np.exp(np.divide(logs, count, out=np.full(len(logs), np.inf), where=count > 0))


def _listed_winners(winners: Sequence[tuple[str, str, str]]) -> str:
    """``FP16 a at 640×480, b from 1024×768 to 3840×2144``, precision by precision."""
    texts = []
    for precision, cells in groupby(winners, key=lambda one: one[0]):
        runs = [
            (names, [size(one[1]) for one in run])
            for names, run in groupby(cells, key=lambda one: one[2])
        ]
        texts.append(
            f"{precision} "
            + ", ".join(
                f"{names} "
                + (f"from {some[0]} to {some[-1]}" if len(some) > 1 else f"at {some[0]}")
                for names, some in runs
            )
        )
    return "; ".join(texts)


# The card's power limit.


def power_limit(cells: Cells) -> Iterator[Finding]:
    """Which networks run at the card's power limit; nothing where no row says what limits it."""
    if not (cells.words("limited_by") != None).any():  # noqa: E711 (one by one)
        return
    yield _power_limit(cells, ALL)
    for precision in cells.precisions:
        yield _power_limit(cells.at(precision), word(precision))


def _power_limit(cells: Cells, subset: str) -> Finding:
    test = "share of cells at the card's power limit, n counts cells"
    words = cells.words("limited_by")
    known = words != None  # noqa: E711 (one by one)
    limited = words == Limit.POWER.value
    count, n = int(limited.sum()), int(known.sum())
    networks = int(known.any(axis=(1, 2)).sum())
    if not n or (networks < significance.FEWEST and not count):
        what = "whose limit is known"
        return too_few(catalogue.POWER, subset, test, networks, what, significance.FEWEST)
    shares = np.where(known, limited, np.nan).astype(float).reshape(len(words), -1)
    shares = shares[known.any(axis=(1, 2))]
    answer = Answer.PARTLY if count else Answer.SUPPORTED
    named = (
        _limited(cells.at(precision), precision if len(cells.precisions) > 1 else "")
        for precision in cells.precisions
    )
    at_it = cells["power_w"][limited]
    watts = f" They draw {short(float(np.nanmedian(at_it)))} W in the median." if count else ""
    return Finding(
        *(catalogue.POWER, subset, test, *significance.over_networks(shares, significance.mean), n),
        Answer.REFUTED if count > HALF * n else answer,
        f"{count} of {plural(n, 'cell')} {'runs' if count == 1 else 'run'} at it"
        + (f": {'; '.join(filter(None, named))}.{watts}" if count else "."),
    )


def _limited(cells: Cells, precision: str) -> str:
    """``FP16 a from 1024×768 up, b at every size measured``."""
    words = cells.words("limited_by")[:, 0]
    texts = []
    for name, mine in zip(cells.networks, words, strict=True):
        sizes = [
            (size(one), limit == Limit.POWER.value)
            for one, limit in zip(cells.sizes, mine, strict=True)
            if limit is not None
        ]
        at_it = [one for one, limited in sizes if limited]
        if not at_it:
            continue
        if len(at_it) == len(sizes) > 1:
            texts.append(f"{name} at every size measured")
        elif len(at_it) > 1 and [one for one, _ in sizes[-len(at_it) :]] == at_it:
            texts.append(f"{name} from {at_it[0]} up")
        else:
            texts.append(f"{name} at {listed(at_it)}")
    return f"{word(precision)} {listed(texts, most=len(texts))}".strip() if texts else ""


# Energy per image.


def energy(cells: Cells) -> Iterator[Finding]:
    """ρ of energy against time, over all and by cell; nothing at all where no row has energy."""
    watts = cells["energy_mj"] * cells["batch"] / cells["latency_ms"]
    if np.isnan(watts).all():
        return
    test = "Spearman's ρ of mJ per image against ms"
    ends = [np.unravel_index(find(watts), watts.shape) for find in (np.nanargmin, np.nanargmax)]
    least, most = (
        f"{short(watts[i, j, k])} W ({cells.networks[i]} {word(cells.precisions[j])} "
        f"{size(cells.sizes[k])})"
        for i, j, k in ends
    )
    note = f" What milliseconds hide: the card draws from {least} to {most}."
    mean = latency_model.mean(cells, "energy_mj")
    yield _ranked(mean, ALL, f"{test}, mean over precisions and sizes", note)
    for cell in latency_model.dependences(cells, "energy_mj"):
        if cell.n:
            subset = f"{word(cell.precision)} {size(cell.resolution)}"
            note = _joules(cells.at(cell.precision, cell.resolution))
            yield _ranked(cell, subset, test, note)


def _ranked(cell: latency_model.Dependence, subset: str, test: str, note: str) -> Finding:
    if cell.rho is None or cell.low is None or cell.high is None:
        takes = latency_model.FEWEST_NETWORKS
        one = too_few(catalogue.ENERGY, subset, test, cell.n, "with an energy", takes)
        return replace(one, sentence=f"{one.sentence}{note}")
    return Finding(
        *(catalogue.ENERGY, subset, test, cell.rho, cell.low, cell.high, cell.n),
        decided(cell.low, cell.high, 0),
        f"Energy and time rank the networks alike with ρ = {cell.rho:.2f}.{note}",
    )


def _joules(cells: Cells) -> str:
    """The fastest and the network with the least energy of one precision and size, in ms and mJ."""
    joules, ms = (cells[name][:, 0, 0] for name in ("energy_mj", "latency_ms"))
    ms = np.where(np.isnan(joules), np.nan, ms)
    fast, least = int(np.nanargmin(ms)), int(np.nanargmin(joules))
    name = cells.networks[fast]
    text = f" {name} is the fastest with {short(ms[fast])} ms and takes {short(joules[fast])} mJ"
    if joules[least] >= joules[fast] * (1 - ENERGY_ERROR):
        return f"{text}, the least or within {percent(ENERGY_ERROR)} of it."
    other = cells.networks[least]
    return f"{text}; {other} takes {short(joules[least])} mJ in {short(ms[least])} ms."
