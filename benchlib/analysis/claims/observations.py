"""What the blog did not ask: fixed cost, activations, energy, and INT8's methods compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchlib.analysis import comparable_groups, latency_model, significance
from benchlib.analysis.claims import catalogue
from benchlib.analysis.claims.catalogue import ALL, Answer, Finding, cant_tell
from benchlib.analysis.results import MeasuredSet, known
from benchlib.analysis.significance import Gain
from benchlib.analysis.wording import listed, percent, plural, size, times, word
from benchlib.case import Engine, Int8Method, Precision, Verdict
from benchlib.gpu.telemetry import Limit
from benchlib.stats.quality_checks import CPU_IMPRECISE, GPU_IMPRECISE, Reason

# What the data show and the blog did not ask, tested on one part of a measured set.


HALF = 0.5

ALIKE = 2.0
"""Families whose rates differ by less than this factor count as about alike."""

FEWEST_FAMILIES = 3


def int8_against_fp16(frame: pd.DataFrame) -> Iterator[Finding]:
    """Cells where INT8 is slower than FP16, counted and named."""
    test = "share of cells where INT8 is slower than FP16, n counts cells"
    found = significance.gains(frame, Precision.INT8.value, base=Precision.FP16.value)
    networks = len({one.model for one in found})
    slower = [one for one in found if one.slower]
    # "Never" falls with one cell; that it holds takes many networks.
    if networks < significance.FEWEST and not slower:
        reason = f"Not to be told from {plural(networks, 'network')} at both precisions"
        yield cant_tell(
            catalogue.INT8_FP16, ALL, test, networks, f"{reason}; it takes {significance.FEWEST}."
        )
        return
    table = significance.table(found, [float(one.slower) for one in found])
    share, low, high = significance.over_networks(table, np.nanmean)
    answer = Answer.PARTLY if slower else Answer.SUPPORTED
    if share > HALF:
        answer = Answer.REFUTED
    names = listed([f"{one.model} at {size(one.resolution)}" for one in slower], most=8)
    yield Finding(
        *(catalogue.INT8_FP16, ALL, test, share, low, high, len(found), answer),
        f"INT8 is slower than FP16 in {len(slower)} of {plural(len(found), 'cell')}"
        + (f": {names}." if slower else "."),
    )


def fixed_cost(frame: pd.DataFrame) -> Iterator[Finding]:
    """The share of the fixed term at the smallest size, over all and by precision."""
    yield _fixed(ALL, latency_model.fit(frame))
    for precision in comparable_groups.precisions(frame):
        yield _fixed(word(precision), latency_model.fit(comparable_groups.at(frame, precision)))


def rate(frame: pd.DataFrame) -> Iterator[Finding]:
    """Multiply-accumulates per second by family, at the largest size of each precision."""
    for precision in comparable_groups.precisions(frame):
        yield _rate(frame, precision)


def activations(frame: pd.DataFrame) -> Iterator[Finding]:
    """Mean ρ of ms against activations less that against multiply-accumulates."""
    yield _activations(frame, ALL)
    for precision in comparable_groups.precisions(frame):
        yield _activations(comparable_groups.at(frame, precision), word(precision))


def energy(frame: pd.DataFrame) -> Iterator[Finding]:
    """ρ of energy against time; nothing at all where no row has energy."""
    for cell in latency_model.dependences(frame.dropna(subset=["energy_mj"]), "energy_mj"):
        subset = f"{word(cell.precision)} {size(cell.resolution)}"
        test = "Spearman's ρ of mJ against ms"
        if cell.rho is None or cell.low is None or cell.high is None:
            reason = f"Not to be told from {plural(cell.n, 'network')} with an energy."
            yield cant_tell(catalogue.ENERGY, subset, test, cell.n, reason)
            continue
        answer = Answer.CANT_TELL
        if cell.low > 0:
            answer = Answer.SUPPORTED
        elif cell.high < 0:
            answer = Answer.REFUTED
        yield Finding(
            *(catalogue.ENERGY, subset, test, cell.rho, cell.low, cell.high, cell.n, answer),
            f"Energy and time rank the networks alike with ρ = {cell.rho:.2f}.",
        )


def doubt(frame: pd.DataFrame) -> Iterator[Finding]:
    """How many of the rows used are SUSPECT."""
    test = "share of SUSPECT rows among the rows used, n counts rows"
    judged = frame[frame["verdict"].notna()]
    if judged.empty:
        reason = f"None of the {plural(len(frame), 'row')} has a verdict: nobody watched the run."
        yield cant_tell(catalogue.DOUBT, ALL, test, len(frame), reason)
        return
    suspect = int((judged["verdict"] == Verdict.SUSPECT.value).sum())
    share = suspect / len(judged)
    reasons = (
        judged.loc[judged["verdict"] == Verdict.SUSPECT.value, "reasons"].dropna().str.split(";")
    )
    commonest = reasons.explode().value_counts(sort=True)
    why = listed([f"{code} {count}×" for code, count in commonest.head(4).items()])
    noted = judged["notes"].dropna().str.split(";").explode().value_counts(sort=True)
    notes = listed([f"{code} {count}×" for code, count in noted.items()])
    answer = Answer.SUPPORTED if not suspect else Answer.PARTLY
    yield Finding(
        *(catalogue.DOUBT, ALL, test, share, None, None, len(judged)),
        Answer.REFUTED if share > HALF else answer,
        f"{suspect} of {plural(len(judged), 'row')} used {'is' if suspect == 1 else 'are'} SUSPECT"
        + (f" ({why})." if why else ".")
        + (f" Noted, which takes nothing away: {notes}." if notes else ""),
    )


MACHINE = (
    Reason.THROTTLED,
    Reason.CLOCK_MOVED,
    Reason.FOREIGN_PROCESS,
    Reason.IMPRECISE,
    Reason.DRIFT,
    Reason.WARMING_UP,
    Reason.NOT_STEADY,
    Reason.TWO_MODES,
    Reason.FEW_SAMPLES,
)
"""Doubts that the machine and its other work bring, and not the network or what was asked."""

MOVED = (Reason.DRIFT, Reason.WARMING_UP, Reason.NOT_STEADY, Reason.TWO_MODES)
"""Those among them of times that moved while they were taken."""

GOOD_SHARE = 0.9
"""Share of rows without a doubt of :data:`MACHINE` from which it was a good instrument; under half
of it most of a table's rankings would rest on doubted rows, and it was a poor one."""

GOOD_WIDTH = {False: 0.01, True: 0.03}
"""Median half-width over latency up to which it was a good instrument, on a GPU and on a CPU: a
tenth between two networks is then three to ten half-widths."""


def machine_sentence(results: MeasuredSet) -> str:
    """How good the machine was as an instrument, in one sentence, by the checks of its rows.

    Empty where no row was checked, as in a publication.
    """
    rows = results.frame[results.frame["verdict"].notna()]
    if rows.empty:
        return ""
    on_cpu = set(rows["engine"]) == {Engine.ONNXRUNTIME_CPU.value}
    codes = [set(str(cell or "").split(";")) for cell in rows["reasons"]]
    disturbed = sum(not told.isdisjoint(MACHINE) for told in codes)
    clean = 1 - disturbed / len(rows)
    reach = (rows["latency_ci_high_ms"] - rows["latency_ci_low_ms"]) / 2 / rows["latency_ms"]
    width = known(reach.median())
    tight = width is not None and width <= GOOD_WIDTH[on_cpu]
    limit = CPU_IMPRECISE if on_cpu else GPU_IMPRECISE
    if clean < HALF * GOOD_SHARE or (width is not None and width > limit):
        word = "poor"
    else:
        word = "good" if clean >= GOOD_SHARE and tight else "middling"
    valid = int((rows["verdict"] == Verdict.VALID.value).sum())
    said = [f"{valid} of {plural(len(rows), 'row')} {'is' if valid == 1 else 'are'} VALID"]
    be = "is" if disturbed < 2 else "are"
    said.append(f"{disturbed or 'none'} {be} doubted for what the machine did")
    if width is not None:
        said.append(f"half of the medians are known to ±{percent(width)} or better")
    moved = sum(not told.isdisjoint(MOVED) for told in codes)
    said.append(f"the times of {moved or 'none'} moved while they were taken")
    if not on_cpu:
        watched = ~rows["notes"].fillna("").str.contains(Reason.UNWATCHED.value)
        foreign = sum(Reason.FOREIGN_PROCESS.value in told for told in codes)
        seen = f"another process was on the card in {foreign}" if foreign else ""
        if watched.any():
            said.append(seen or "no other process was seen on the card")
        throttled = sum(Reason.THROTTLED.value in told for told in codes)
        said += [f"the card was throttled in {throttled}"] * bool(throttled)
        limited = int((rows["limited_by"] == Limit.POWER.value).sum())
        said += [f"it ran at its power limit in {limited}"] * bool(limited)
    return f"As an instrument the machine was {word}: {listed(said, most=len(said))}."


def _fixed(subset: str, fits: Sequence[latency_model.Fit]) -> Finding:
    test = "median share of the fixed term in the fitted time at the smallest size, n counts fits"
    networks = len({one.model for one in fits})
    if networks < significance.FEWEST:
        reason = (
            f"Not to be told: {plural(networks, 'network')} with {latency_model.FEWEST_SIZES} "
            f"sizes or more; it takes {significance.FEWEST}."
        )
        return cant_tell(catalogue.FIXED, subset, test, networks, reason)
    shares = latency_model.by_network(fits, lambda one: one.fixed_share(min(one.megapixels)))
    median, low, high = significance.over_networks(shares, np.nanmedian)
    answer = Answer.PARTLY
    if low is not None and high is not None and (low > HALF or high < HALF):
        answer = Answer.SUPPORTED if low > HALF else Answer.REFUTED
    most = max(fits, key=lambda one: one.fixed_share(min(one.megapixels)))
    least = min(fits, key=lambda one: one.fixed_share(min(one.megapixels)))
    return Finding(
        *(catalogue.FIXED, subset, test, median, low, high, len(fits), answer),
        f"The fixed time is {percent(median)} of a small image's time in the median, from "
        f"{percent(least.fixed_share(min(least.megapixels)))} ({least.model}) to "
        f"{percent(most.fixed_share(min(most.megapixels)))} ({most.model}).",
    )


def _rate(frame: pd.DataFrame, precision: str) -> Finding:
    test = "best over worst family's median GMAC/s at the largest size"
    name = comparable_groups.sizes(comparable_groups.at(frame, precision))[-1]
    subset = f"{word(precision)} {size(name)}"
    rows = comparable_groups.at(frame, precision, name).dropna(subset=["gmacs", "family"])
    families = rows["family"].nunique()
    if len(rows) < significance.FEWEST or families < FEWEST_FAMILIES:
        kinds = "one family" if families == 1 else f"{families} families"
        counted = f"{plural(len(rows), 'network')} of {kinds}"
        reason = f"Not to be told from {counted} with a count of multiply-accumulates."
        return cant_tell(catalogue.RATE, subset, test, len(rows), reason)
    rates = rows["gmacs"] * rows["batch"] / (rows["latency_ms"] / 1000)
    codes, names = pd.factorize(rows["family"], sort=True)
    spread = _spread(rates.to_numpy(float), codes)
    ends = significance.interval(
        np.array(
            [
                _spread(rates.to_numpy(float)[some], codes[some])
                for some in significance.draws(len(rows))
            ]
        )
    )
    low, high = ends or (None, None)
    answer = Answer.CANT_TELL
    if low is not None and high is not None:
        if low > ALIKE:
            answer = Answer.REFUTED
        elif high < ALIKE:
            answer = Answer.SUPPORTED
    wide = "" if answer is not Answer.CANT_TELL else "; too few networks to tell it from chance"
    medians = pd.Series(rates.to_numpy(float)).groupby(codes).median()
    best, worst = medians.idxmax(), medians.idxmin()
    return Finding(
        *(catalogue.RATE, subset, test, spread, low, high, len(rows), answer),
        f"{names[best]} reaches {medians[best]:,.0f} GMAC/s and {names[worst]} "
        f"{medians[worst]:,.0f} at {subset}, a factor of {spread:.1f}{wide}.",
    )


def _spread(rates: significance.Array, codes: significance.Draws) -> float:
    medians = [np.median(rates[codes == code]) for code in np.unique(codes)]
    return float(max(medians) / min(medians))


def _activations(frame: pd.DataFrame, subset: str) -> Finding:
    test = "mean ρ(ms, activations) less mean ρ(ms, multiply-accumulates)"
    known = frame.dropna(subset=["gmacs", "mactivations"])
    times_ms, gmacs = latency_model.tables(known, "gmacs")
    _, written = latency_model.tables(known, "mactivations")
    n = len(times_ms)
    if n < latency_model.FEWEST_NETWORKS or gmacs.shape != written.shape:
        reason = f"Not to be told from {plural(n, 'network')} with both counts in every cell"
        return cant_tell(
            catalogue.ACTIVATIONS,
            subset,
            test,
            n,
            f"{reason}; it takes {latency_model.FEWEST_NETWORKS}.",
        )
    everyone, picked = np.arange(n)[None], significance.draws(n)
    both = [latency_model.mean_rho(times_ms, side, everyone)[0] for side in (written, gmacs)]
    if not np.isfinite(both).all():
        reason = "Not to be told: one of the counts is the same for every network."
        return cant_tell(catalogue.ACTIVATIONS, subset, test, n, reason)
    drawn = [latency_model.mean_rho(times_ms, side, picked) for side in (written, gmacs)]
    ends = significance.interval(drawn[0] - drawn[1])
    low, high = ends or (None, None)
    answer = Answer.CANT_TELL
    if low is not None and high is not None and (low > 0 or high < 0):
        answer = Answer.SUPPORTED if low > 0 else Answer.REFUTED
    return Finding(
        *(catalogue.ACTIVATIONS, subset, test, float(both[0] - both[1]), low, high, n, answer),
        f"Mean ρ is {both[0]:.2f} against activations and {both[1]:.2f} against "
        "multiply-accumulates.",
    )


# The ways in which INT8 was made, laid beside each other: what each costs and what it gives.


FEWEST = 2
"""Networks. The claims are that nothing is slower, so every cell that is counts by itself; of
one network alone nothing general is said."""

NAMES = {
    Int8Method.QDQ: "calibrated Q/DQ",
    Int8Method.QDQ_NO_DEPTHWISE: "Q/DQ without depth-wise convolutions",
    Int8Method.MADE_UP_RANGES: "made-up ranges",
    Int8Method.MODELOPT: "ModelOpt's Q/DQ",
    Int8Method.ORT_STATIC: "ONNX Runtime's quantiser",
}


@dataclass(frozen=True, slots=True)
class Made:
    """INT8 of one network at one size, made in one way.

    ``latency_ms`` is the median of a batch, ``low_ms`` and ``high_ms`` bound it, ``gain`` is how
    many times as fast as FP16 it is. ``int8``, ``fp16`` and ``fp32`` are shares (0 to 1) of the
    engine's computing layers, ``moving`` the share of the profiled time that only moves or
    converts data; ``off_fp32`` is the relative L2 distance of the graph's output from FP32's;
    ``build_s`` are seconds. None is not known. ``same_as_qdq`` says that nothing was left out,
    ``doubted`` that the row is SUSPECT.
    """

    model: str
    resolution: str
    method: Int8Method
    latency_ms: float
    low_ms: float | None
    high_ms: float | None
    gain: Gain | None
    int8: float | None
    fp16: float | None
    fp32: float | None
    moving: float | None
    off_fp32: float | None
    build_s: float | None
    same_as_qdq: bool
    doubted: bool


@dataclass(frozen=True, slots=True)
class Part:
    """The INT8 cells of one comparable part of a set: networks, then sizes, then methods.

    ``over_made_up`` and ``over_qdq`` compare calibrated Q/DQ with made-up ranges, and Q/DQ
    without depth-wise convolutions with Q/DQ, where something was left out.
    """

    label: str
    cells: tuple[Made, ...]
    over_made_up: tuple[Gain, ...]
    over_qdq: tuple[Gain, ...]


def made(measured: MeasuredSet) -> tuple[Part, ...]:
    """The parts of ``measured`` that have INT8 made in several ways.

    Networks rebuilt from guesses and INVALID rows are left out.
    """
    split = comparable_groups.side_by_side(comparable_groups.sound(measured.frame))
    return tuple(
        Part(
            one.label,
            tuple(_cells(one.frame, measured)),
            _against(one.frame, Int8Method.QDQ, Int8Method.MADE_UP_RANGES),
            _left_out(one.frame),
        )
        for one in split
        if len(_words(one.frame)) > 1
    )


def tests(frame: pd.DataFrame) -> Iterator[Finding]:
    """The claims about INT8 methods on ``frame``, a part of :func:`parts.side_by_side`.

    Nothing where the methods that a claim compares were not both measured.
    """
    there = set(_words(frame))
    qdq, made_up, spared = Int8Method.QDQ, Int8Method.MADE_UP_RANGES, Int8Method.QDQ_NO_DEPTHWISE
    if {_word(qdq), _word(made_up)} <= there:
        yield _never_slower(catalogue.CALIBRATED, qdq, made_up, _against(frame, qdq, made_up))
    if {_word(spared), _word(qdq)} <= there:
        yield _never_slower(catalogue.DEPTHWISE, spared, qdq, _left_out(frame))


def over(found: tuple[Gain, ...]) -> tuple[float, float]:
    """The least and the greatest time over the base's time."""
    ratios = [1 / one.ratio for one in found]
    return min(ratios), max(ratios)


def _never_slower(
    claim: str, method: Int8Method, base: Int8Method, found: tuple[Gain, ...]
) -> Finding:
    test = f"median of {NAMES[method]} ms over {NAMES[base]} ms, n counts cells"
    networks = len({one.model for one in found})
    if networks < FEWEST:
        reason = f"Not to be told from {plural(networks, 'network')} made both ways"
        return cant_tell(claim, ALL, test, networks, f"{reason}; it takes {FEWEST}.")
    slower = [one for one in found if one.slower]
    answer = Answer.PARTLY if slower else Answer.SUPPORTED
    if len(slower) > HALF * len(found):
        answer = Answer.REFUTED
    table = significance.table(found, [1 / one.ratio for one in found])
    median, low, high = significance.over_networks(table, np.nanmedian)
    least, most = over(found)
    names = listed([f"{one.model} at {size(one.resolution)}" for one in slower], most=8)
    return Finding(
        *(claim, ALL, test, median, low, high, len(found), answer),
        f"It takes {times(least)} to {times(most)} as long and is slower in {len(slower)} of "
        f"{plural(len(found), 'cell')}" + (f": {names}." if slower else "."),
    )


def _cells(frame: pd.DataFrame, measured: MeasuredSet) -> Iterator[Made]:
    words = _words(frame)
    gains = {
        (one.model, one.resolution, word): one
        for word in words
        for one in significance.gains(frame, word, Precision.FP16.value)
    }
    rows = frame[frame["precision"].isin(words)]
    for row in rows.sort_values(["model", "resolution", "precision"]).to_dict("records"):
        where = (str(row["model"]), str(row["resolution"]))
        method = Int8Method(comparable_groups.base(str(row["precision"]))[1])
        shares = measured.shares(str(row["key"]))
        spared = method is Int8Method.QDQ_NO_DEPTHWISE
        nodes = _nodes(frame, where, Int8Method.QDQ)
        yield Made(
            model=where[0],
            resolution=where[1],
            method=method,
            latency_ms=float(row["latency_ms"]),
            low_ms=known(row["latency_ci_low_ms"]),
            high_ms=known(row["latency_ci_high_ms"]),
            gain=gains.get((*where, str(row["precision"]))),
            int8=_share(shares.get("layers"), "int8", "uint8"),
            fp16=_share(shares.get("layers"), "fp16", "bf16"),
            fp32=_share(shares.get("layers"), "fp32"),
            moving=_share(shares.get("time"), "moving"),
            off_fp32=measured.off_fp32(str(row["key"])),
            build_s=known(row["build_s"]),
            same_as_qdq=spared and nodes is not None and nodes == row["graph_layers"],
            doubted=row["verdict"] == Verdict.SUSPECT.value,
        )


def _against(frame: pd.DataFrame, method: Int8Method, base: Int8Method) -> tuple[Gain, ...]:
    return significance.gains(frame, _word(method), _word(base))


def _left_out(frame: pd.DataFrame) -> tuple[Gain, ...]:
    """Q/DQ without depth-wise convolutions against Q/DQ, where the two graphs differ."""
    return tuple(
        one
        for one in _against(frame, Int8Method.QDQ_NO_DEPTHWISE, Int8Method.QDQ)
        if _nodes(frame, (one.model, one.resolution), Int8Method.QDQ_NO_DEPTHWISE)
        != _nodes(frame, (one.model, one.resolution), Int8Method.QDQ)
    )


def _nodes(frame: pd.DataFrame, where: tuple[str, str], method: Int8Method) -> float | None:
    """Nodes of the graph of one cell: fewer pairs of Q/DQ are fewer nodes."""
    rows = comparable_groups.at(frame, _word(method), where[1])
    found = rows.loc[rows["model"] == where[0], "graph_layers"].dropna()
    return None if found.empty else float(found.iloc[0])


def _words(frame: pd.DataFrame) -> list[str]:
    """The precisions of ``frame`` that are INT8 by a method, in order."""
    return [word for word in comparable_groups.precisions(frame) if comparable_groups.base(word)[1]]


def _word(method: Int8Method) -> str:
    return comparable_groups.by_method(Precision.INT8.value, method.value)


def _share(shares: dict[str, float] | None, *words: str) -> float | None:
    return None if shares is None else sum(shares.get(word, 0.0) for word in words)
