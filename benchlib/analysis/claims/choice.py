"""Which network to take at a precision and size, by time and at an accuracy, whether it runs at the
card's power limit, and what energy an image takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from operator import attrgetter

import numpy as np
import pandas as pd

from benchlib.analysis import comparable_groups, latency_model, ranking, significance
from benchlib.analysis.claims import catalogue
from benchlib.analysis.claims.blog import FEWEST_TO_PICK
from benchlib.analysis.claims.catalogue import ALL, Answer, Finding, cant_tell, too_few
from benchlib.analysis.claims.observations import HALF
from benchlib.analysis.comparable_groups import Cells
from benchlib.analysis.results import known
from benchlib.analysis.significance import ENERGY_REBUILD, WITHIN, Array, Times
from benchlib.analysis.wording import listed, percent, plural, short, size, span, times, word
from benchlib.case import Int8Method
from benchlib.gpu.telemetry import ENERGY_UNCERTAINTY, Limit
from benchlib.models import registry

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
    each = [some[0] for some in found]
    worst = max(each, key=lambda one: one.estimate or 0)
    yield catalogue.together(worst, each, f"{_COST} (worst task)")
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
    found, winners, won = [], [], {}
    for i, precision in enumerate(cells.precisions):
        for j, resolution in enumerate(cells.sizes):
            if not known[i, j]:
                continue
            best = ranking.fastest(cells, precision, resolution)
            winners.append((word(precision), resolution, listed(best.models)))
            won[word(precision), resolution] = best.models
            behind_ends = (None, None)
            if best.second and not exact:
                second = spans.at((cells.networks.index(best.second), i, j))
                one = first.at((i, j))
                behind_ends = (float(second.low / one.high), float(second.high / one.low))
            then = f"; next is {best.second} at {times(best.next_ratio)}" if best.second else ""
            alike = f", tied with {listed(best.models[1:])}" if len(best.models) > 1 else ""
            found.append(
                Finding(
                    catalogue.FASTEST,
                    f"{task}, {word(precision)} {size(resolution)}",
                    test,
                    best.next_ratio,
                    *behind_ends,
                    best.n,
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
    # Who is fastest where a winner of another cell was not timed might be another
    names = {name for precision, resolution, _ in winners for name in won[precision, resolution]}
    absent = [
        f"{name} ({there} of {int(known.sum())})"
        for name in sorted(names)
        if (there := int((~np.isnan(behind[cells.networks.index(name)])).sum())) < known.sum()
    ]
    text = f"{task.capitalize()}: {_listed_winners(winners)}; {everywhere}."
    text += "".join(f" {less}." for less in registry.reduced_outputs(names))
    text += f" Winners not timed in every cell: {listed(absent)}." * bool(absent)
    mean = (float(costs[leader]), *((None, None) if exact else ends))
    answer = Answer.SUPPORTED if wins == count else answer
    headline = Finding(catalogue.FASTEST, f"{task}, all", _COST, *mean, count, answer, text)
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


# At an accuracy: the backbones that came after the blog's, and the fronts by time and by energy.


NEWER_SINCE = 2021
"""Year of the paper: those of the blog's classification networks are of 2015 to 2020."""


@dataclass(frozen=True, slots=True)
class _Beside:
    """A network at one precision and size beside ``rival``, the fastest of the other generation
    with at least its accuracy; of all of them where its own is not known."""

    name: str
    where: str
    rival: str
    known: bool
    finding: Finding


def newer(cells: Cells) -> Iterator[Finding]:
    """Each network of the blog's against the newer ones of at least its accuracy, and the reverse;
    nothing in a set without such a pair."""
    blog, later = _generations()
    forth, back = [], []
    choice: dict[str, list[str]] = {}
    for where, rows in _rated(cells):
        old = rows[rows["model"].isin(blog)]
        new = rows[rows["model"].isin(later)].dropna(subset="accuracy")
        if len(new):
            choice[where] = list(new["model"])
            forth += [_beside(where, row, new, "newer network") for _, row in old.iterrows()]
            old = old[old["whole"]]
            back += [_beside(where, row, old, "network of the blog's") for _, row in new.iterrows()]
    if not any(one.known and one.rival for one in (*forth, *back)):
        return
    yield _newer(ALL, forth, back, choice)
    for where in dict.fromkeys(one.where for one in forth):
        yield _newer(
            where, *([one for one in some if one.where == where] for some in (forth, back)), choice
        )
    yield from (one.finding for one in (*forth, *back))


@cache
def _generations() -> tuple[frozenset[str], frozenset[str]]:
    """The blog's networks, and those of the line-up that classify and came later."""
    cards = [registry.card(name) for name in registry.names()]
    later = [
        one.name
        for one in cards
        if one.task == registry.CLASSIFICATION and (one.year or 0) >= NEWER_SINCE
    ]
    return frozenset(one.name for one in cards if one.blog_name), frozenset(later)


def _rated(cells: Cells) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows at each precision and size. INT8 with made-up ranges has no accuracy; ``whole`` are
    those timed with the classifier that theirs is of."""
    for i, precision in enumerate(cells.precisions):
        for j, resolution in enumerate(cells.sizes):
            there = cells.rows[:, i, j]
            rows = cells.frame[_RATED].iloc[there[there >= 0]]
            made_up = rows["int8_method"] == Int8Method.MADE_UP_RANGES.value
            rows = rows.assign(
                model=rows["model"].astype(str),
                accuracy=rows["accuracy"].mask(made_up),
                whole=~comparable_groups.without_classifier(rows["model"]),
            )
            yield f"{word(precision)} {size(resolution)}", rows


_RATED = [
    *("model", "int8_method", "accuracy", "accuracy_metric", "energy_mj"),
    *("latency_ms", "latency_ci_low_ms", "latency_ci_high_ms"),
]


def _beside(where: str, row: pd.Series, others: pd.DataFrame, kind: str) -> _Beside:
    rated = row["accuracy_metric"] == registry.IMAGENET_TOP1 and pd.notna(row["accuracy"])
    if rated:
        alike = others["accuracy_metric"] == registry.IMAGENET_TOP1
        others = others[alike & (others["accuracy"] >= row["accuracy"])]
    name, limit = row["model"], " of at least its accuracy" if rated else ", whatever its accuracy"
    head = (catalogue.NEWER, f"{where} {name}", f"ms over that of the fastest {kind}{limit}")
    if others.empty:
        text = f"No {kind} measured here is known to be as accurate as {name}."
        return _Beside(name, where, "", False, cant_tell(*head, 0, text))
    rival = others.loc[others["latency_ms"].idxmin()]
    mine, best, theirs = map(Times.of, (row, rival, others))
    faster, slower = theirs.faster_than(mine).any(), mine.faster_than(theirs).all()
    answers = (Answer.SUPPORTED, Answer.REFUTED)
    yes, no = answers if kind.startswith("newer") else answers[::-1]
    answer = yes if rated and faster else no if rated and slower and row["whole"] else None
    text = ", ".join(
        f"{one['model']} takes {one['latency_ms']:.3f} ms"
        + (f" and has {one['accuracy']:.1f} %" if pd.notna(one["accuracy"]) else "")
        for one in (row, rival)
    )
    text += "" if rated else f"; no {registry.IMAGENET_TOP1} of {name} is known"
    text += "" if row["whole"] else f"; {name} was timed without its classifier"
    ratios = map(float, (mine.ms / best.ms, mine.low / best.high, mine.high / best.low))
    found = Finding(*head, *ratios, 1, answer or Answer.CANT_TELL, f"{text}.")
    return _Beside(name, where, rival["model"], rated, found)


def _newer(
    subset: str,
    forth: Sequence[_Beside],
    back: Sequence[_Beside],
    choice: Mapping[str, Sequence[str]],
) -> Finding:
    test = "share of cells of the blog's where a newer network of at least the accuracy is faster"
    alone = [one for one in forth if one.rival and not one.known]
    forth, back = ([one for one in some if one.known] for some in (forth, back))
    lone = _lone(forth, choice) if subset == ALL else set()
    apart = [one for one in forth if one.where in lone]
    forth, back = ([one for one in some if one.where not in lone] for some in (forth, back))
    beaten = [one for one in forth if one.finding.verdict is Answer.SUPPORTED]
    lost = [one for one in back if one.finding.verdict is Answer.REFUTED]
    networks = len({one.name for one in forth})
    head = (catalogue.NEWER, subset, f"{test}, n counts cells")
    if not forth or (networks < significance.FEWEST and len(beaten) in (0, len(forth))):
        what = "of the blog's beside a newer one of at least its accuracy"
        return too_few(*head, networks, what, significance.FEWEST, len(forth))
    table = significance.spread_out(
        [(one.name, one.where) for one in forth], [float(one in beaten) for one in forth]
    )
    share, *ends = significance.over_networks(table, significance.mean)
    answer = Answer.SUPPORTED if share == 1 else Answer.PARTLY if share >= HALF else Answer.REFUTED
    text = (
        f"A newer network of at least the accuracy is faster than the blog's in "
        f"{_of(beaten, forth)}. One of the blog's is faster than the newer in {_of(lost, back)}."
    )
    if subset == ALL:
        text += _told_apart(apart, choice)
        if alone:
            names = listed(dict.fromkeys(one.name for one in alone))
            text += f" Left out, as no {registry.IMAGENET_TOP1} of theirs is known: {names}."
        text += (
            " Accuracies are published, of each network's own training and image size, and not of "
            "these weights, sizes and precisions."
        )
    return Finding(*head, share, *ends, len(forth), answer, text)


def _lone(every: Sequence[_Beside], choice: Mapping[str, Sequence[str]]) -> set[str]:
    """Where one newer network alone was timed, and others elsewhere: they might have done better
    there. Not where that would leave nothing."""
    places = {one.where for one in every}
    lone = {where for where in places if len(choice[where]) == 1}
    timed = {name for names in choice.values() for name in names}
    return lone if len(timed) > 1 and lone < places else set()


def _told_apart(apart: Sequence[_Beside], choice: Mapping[str, Sequence[str]]) -> str:
    """What :func:`_lone` left out of the count, place by place, in whose order ``apart`` is."""
    text = ""
    for where, some in groupby(apart, key=attrgetter("where")):
        answers = [one.finding.verdict for one in some]
        text += (
            f" Not counted: at {where} only {choice[where][0]} of the newer ones was timed, and is "
            f"faster in {answers.count(Answer.SUPPORTED)} of {plural(len(answers), 'cell')}."
        )
    return text


def _of(some: Sequence[_Beside], every: Sequence[_Beside]) -> str:
    """``3 of 6 cells (1.20 to 1.50× as fast): always than a (2 of 2); at times than b (1 of 2);
    never than c (0 of 2)``."""
    groups: dict[str, list[str]] = {"always": [], "at times": [], "never": []}
    for name in sorted({one.name for one in every}):
        there, of = (sum(one.name == name for one in them) for them in (some, every))
        when = "at times" if 0 < there < of else "always" if there else "never"
        # "Always" in one cell is no rule
        groups[when].append(f"{name} ({there} of {of})")
    named = "; ".join(
        f"{when} than {listed(names, most=len(names))}" for when, names in groups.items() if names
    )
    gains = [one.finding.estimate or np.nan for one in some]
    by = f" ({span(min(gains), max(gains), '.2f')}× as fast)" if gains else ""
    count = f"{len(some)} of {plural(len(every), 'cell')}{by}"
    return f"{count}: {named}" if named else count


def fronts(cells: Cells) -> Iterator[Finding]:
    """Which networks no other beats in accuracy and time, and which in accuracy and energy; nothing
    where no precision and size has enough networks with both."""
    found = []
    for where, rows in _rated(cells):
        rows = rows[rows["whole"]].dropna(subset=["accuracy", "energy_mj"])
        for metric, some in rows.groupby("accuracy_metric", observed=True):
            if len(some) >= FEWEST_TO_PICK:
                mj = some["energy_mj"].to_numpy(float)
                by_ms = ranking.undominated(some)
                by_mj = ranking.undominated(some, Times(mj, mj, mj), ENERGY_REBUILD)
                some = some.assign(by_ms=by_ms, by_mj=by_mj, n=len(some))
                found.append(some[by_ms | by_mj].assign(where=f"{where}, {metric}"))
    if not found:
        return
    every = pd.concat(found)
    whole = _front(ALL, every)
    each = [_front(some["where"].iloc[0], some) for some in found]
    most, one = max(zip(found, each, strict=True), key=lambda pair: pair[0]["n"].iloc[0])
    if len(each) > 1:
        text = f"Most are compared at {one.subset}, {most['n'].iloc[0]} networks: {one.sentence}"
        whole = replace(whole, sentence=f"{whole.sentence} {text}")
    note = (
        f"Times whose intervals are within {WITHIN} of each other count as "
        f"equal, and energies within {percent(ENERGY_REBUILD, tenths=False)}: a rebuilt engine may "
        "differ as much."
    )
    yield replace(whole, sentence=f"{whole.sentence} {note}")
    yield from each
    for row in every.itertuples():
        answer = Answer.SUPPORTED if row.by_ms and row.by_mj else Answer.REFUTED
        text = f"{row.model} has {row.accuracy:.1f} % and takes {row.latency_ms:.3f} ms and "
        head = (catalogue.FRONTS, f"{row.where} {row.model}")
        tail = (1, answer, f"{text}{short(row.energy_mj)} mJ.")
        if row.by_ms:
            ms = (row.latency_ms, known(row.latency_ci_low_ms), known(row.latency_ci_high_ms))
            yield Finding(*head, "ms on the front of accuracy against time", *ms, *tail)
        if row.by_mj:
            mj = [
                row.energy_mj * (1 + side) for side in (0, -ENERGY_UNCERTAINTY, ENERGY_UNCERTAINTY)
            ]
            yield Finding(*head, "mJ on the front of accuracy against energy", *mj, *tail)


_FRONTS = (
    "share of the networks on a front by time or energy that are on both, n counts them by cell"
)


def _front(subset: str, rows: pd.DataFrame) -> Finding:
    both = rows["by_ms"] & rows["by_mj"]
    places = list(zip(rows["model"], rows["where"], strict=True))
    table = significance.spread_out(places, list(both.astype(float)))
    share, *ends = significance.over_networks(table, significance.mean)
    answer = Answer.PARTLY if share >= HALF else Answer.REFUTED
    if share == 1:
        # That few networks have one front is no evidence that many would
        many = rows["n"].max() >= significance.FEWEST
        answer = Answer.SUPPORTED if many else Answer.CANT_TELL
    cells = rows["where"].nunique()
    kinds = {
        "on both": rows[both],
        "by time only": rows[rows["by_ms"] & ~both],
        "by energy only": rows[rows["by_mj"] & ~both],
    }
    texts = []
    for kind, some in kinds.items():
        names = [f"{name} in {count}" for name, count in some["model"].value_counts().items()]
        if cells == 1:
            names = [
                f"{row.model} ({row.accuracy:.1f} %, {row.latency_ms:.3f} ms, "
                f"{short(row.energy_mj)} mJ)"
                for row in some.sort_values("latency_ms").itertuples()
            ]
        most = 4 if cells > 1 else len(names)  # each cell names all of its own
        texts += [f"{kind} {listed(names, most=most)}"] * bool(names)
    text = "; ".join(texts)
    if cells > 1:
        same = sum(one.all() for _, one in both.groupby(rows["where"]))
        text = f"the fronts by time and by energy are the same in {same} of {cells} cells; {text}"
    text = f"{text[:1].upper()}{text[1:]}."
    return Finding(catalogue.FRONTS, subset, _FRONTS, share, *ends, len(rows), answer, text)


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
    text = f"{count} of {plural(n, 'cell')} {'runs' if count == 1 else 'run'} at it" + (
        f": {'; '.join(filter(None, named))}.{watts}" if count else "."
    )
    share = significance.over_networks(shares, significance.mean)
    answer = Answer.REFUTED if count > HALF * n else answer
    return Finding(catalogue.POWER, subset, test, *share, n, answer, text)


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
    """ρ of energy against time, over all and by cell, and in how many pairs the faster network
    takes more; nothing at all where no row has energy."""
    # By the rate at which images came: energy holds the gaps between queries, a latency does not
    rate = cells["throughput_img_s"]
    rate = np.where(np.isnan(rate), 1000 * cells["batch"] / cells["latency_ms"], rate)
    watts = cells["energy_mj"] * rate / 1000
    if np.isnan(watts).all():
        return
    test = "Spearman's ρ of mJ per image against ms"
    ends = [np.unravel_index(find(watts), watts.shape) for find in (np.nanargmin, np.nanargmax)]
    least, most = (
        f"{short(watts[i, j, k])} W ({cells.networks[i]} {word(cells.precisions[j])} "
        f"{size(cells.sizes[k])})"
        for i, j, k in ends
    )
    note = f"{_turned(cells)} What milliseconds hide: the card draws from {least} to {most}."
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
    text = f"Energy and time rank the networks alike with ρ = {cell.rho:.2f}.{note}"
    return catalogue.ordered(catalogue.ENERGY, subset, test, cell, text)


def _turned(cells: Cells) -> str:
    """In how many pairs of networks the faster takes more energy, at one precision and size."""
    spans, mj = Times.of(cells), cells["energy_mj"]
    pairs = turned = 0
    for i, j in np.ndindex(mj.shape[1:]):
        places = np.flatnonzero(~np.isnan(mj[:, i, j]))
        places = places[:: -(-len(places) // ranking.MOST_PAIRED) or 1]
        faster = significance.significantly_faster_pairs(spans.at((places, i, j)))
        joules = mj[places, i, j]
        more = joules[:, None] > joules * (1 + ENERGY_REBUILD)
        pairs, turned = pairs + int(faster.sum()), turned + int((faster & more).sum())
    if not pairs:
        return ""
    return (
        f" In {turned:,} of {pairs:,} pairs ({percent(turned / pairs, tenths=False)}) the faster "
        f"takes more energy, by over {percent(ENERGY_REBUILD, tenths=False)}."
    )


def _joules(cells: Cells) -> str:
    """The fastest and the network with the least energy of one precision and size, in ms and mJ."""
    joules, ms = (cells[name][:, 0, 0] for name in ("energy_mj", "latency_ms"))
    ms = np.where(np.isnan(joules), np.nan, ms)
    fast, least = int(np.nanargmin(ms)), int(np.nanargmin(joules))
    name = cells.networks[fast]
    text = f" {name} is the fastest with {short(ms[fast])} ms and takes {short(joules[fast])} mJ"
    if joules[least] * (1 + ENERGY_REBUILD) >= joules[fast]:
        return f"{text}, the least or within {percent(ENERGY_REBUILD, tenths=False)} of it."
    other = cells.networks[least]
    return f"{text}; {other} takes {short(joules[least])} mJ in {short(ms[least])} ms."


# Phones, for which the newer backbones were made.


def phones(cells: Cells) -> Iterator[Finding]:
    """ρ of the time here against that on each phone of which enough was published, that with the
    most networks first; nothing in a set without a backbone newer than the blog's, or of none."""
    if not set(cells.networks) & _generations()[1]:
        return
    published = pd.DataFrame(registry.published_latencies()).query("kind == 'phone'")
    ms = published["latency_ms"].astype(float)
    each = []
    for device, lines in published.groupby("device"):
        # Where several timed a network on one phone: their geometric mean
        there = np.exp(np.log(ms[lines.index]).groupby(lines["network"]).mean())
        column = cells.frame["model"].astype(str).map(there)
        timed = replace(cells, frame=cells.frame.assign(phone_ms=column), columns={})
        each.append((latency_model.mean(timed, "phone_ms"), device, timed))
    each.sort(key=lambda one: -one[0].n)
    if not each[0][0].n:
        return
    for place, (mean, device, timed) in enumerate(each):
        test = f"Spearman's ρ of ms against the {device}'s ms"
        if mean.rho is None and not place:
            yield _few_phones(timed, device, test)
        if mean.rho is None:
            continue
        both = f"networks on the {device}, as published, and here go together with"
        i, j = _most_timed(timed)
        yield catalogue.ordered(
            catalogue.PHONE,
            f"{device}: all",
            f"{test}, mean over precisions and sizes",
            mean,
            f"The orders of {mean.n} {both} a mean ρ of {mean.rho:.2f}; "
            f"at {_where(timed, i, j)} {_moved(timed, i, j)}.",
        )
        for cell in latency_model.dependences(timed, "phone_ms"):
            if cell.rho is not None:
                i = timed.precisions.index(cell.precision)
                j = timed.sizes.index(cell.resolution)
                moved = _moved(timed, i, j)
                sentence = f"The orders of {cell.n} {both} ρ = {cell.rho:.2f}; {moved}."
                where = f"{device}: {_where(timed, i, j)}"
                yield catalogue.ordered(catalogue.PHONE, where, test, cell, sentence)


def _moved(timed: Cells, i: int, j: int) -> str:
    """Who stands elsewhere here than on the phone, at precision ``i`` and size ``j``."""
    here, there = timed["latency_ms"][:, i, j], timed["phone_ms"][:, i, j]
    both = np.flatnonzero(~np.isnan(here + there))
    names = [timed.networks[k] for k in both]
    return catalogue.movers(names, here[both], there[both], ("here", "on the phone"))


def _most_timed(timed: Cells) -> tuple[int, int]:
    """The precision and size with the most networks that have a time on the phone."""
    there = ~np.isnan(timed["phone_ms"])
    i, j = np.unravel_index(there.sum(axis=0).argmax(), there.shape[1:])
    return int(i), int(j)


def _where(timed: Cells, i: int, j: int) -> str:
    return f"{word(timed.precisions[i])} {size(timed.sizes[j])}"


def _few_phones(timed: Cells, device: str, test: str) -> Finding:
    i, j = _most_timed(timed)
    takes = latency_model.FEWEST_NETWORKS
    names = [
        f"{timed.networks[place]} {short(timed['phone_ms'][place, i, j])} and "
        f"{timed['latency_ms'][place, i, j]:.3f} ms"
        for place in np.flatnonzero(~np.isnan(timed["phone_ms"][:, i, j]))
    ]
    text = (
        f"Not to be told from the {plural(len(names), 'network')} timed here at "
        f"{_where(timed, i, j)} whose time "
        f"on the {device} is published, the most of any phone; it takes {takes}. On the phone and "
        f"here: {listed(names, most=takes)}."
    )
    return cant_tell(catalogue.PHONE, f"{device}: all", test, len(names), text)
