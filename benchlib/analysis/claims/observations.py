"""What the blog did not ask: fixed cost, activations, energy, and INT8's methods compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchlib.analysis import comparable_groups, latency_model, significance
from benchlib.analysis.claims import catalogue
from benchlib.analysis.claims.catalogue import ALL, Answer, Finding, cant_tell, decided, too_few
from benchlib.analysis.comparable_groups import Cells, Variant
from benchlib.analysis.results import MeasuredSet, known
from benchlib.analysis.significance import Gain
from benchlib.analysis.wording import listed, percent, plural, short, size, times, word
from benchlib.case import Engine, Int8Method, Precision, Verdict
from benchlib.gpu.telemetry import Limit
from benchlib.stats.quality_checks import CPU_IMPRECISE, GPU_IMPRECISE, Reason

# What the data show and the blog did not ask, tested on one part of a measured set.


HALF = 0.5

ALIKE = 2.0
"""Families whose rates differ by less than this factor count as about alike."""

FEWEST_FAMILIES = 3

EVIDENCE = {"moving_share": ("time", "moving"), "fused_layers": ("types", "Myelin")} | {
    f"{word}_{kind}": (kind, word)
    for kind in ("time", "layers")
    for word in ("int8", "fp16", "fp32")
}
"""Columns with shares (0 to 1) of an engine's profiled time and of its layers by type, of the time
that moves or converts data, and the number of its fused layers; each with its kind and word in
:meth:`MeasuredSet.shares` and :meth:`MeasuredSet.layer_types` (``types``)."""


def int8_against_fp16(cells: Cells) -> Iterator[Finding]:
    """Cells where INT8 is slower than FP16, counted and named, the slowest first."""
    test = "share of cells where INT8 is slower than FP16, n counts cells"
    found = significance.gains(cells, Precision.INT8.value, base=Precision.FP16.value)
    networks = len({one.model for one in found})
    slower = sorted((one for one in found if one.slower), key=lambda one: one.ratio)
    # One cell refutes "never"; to support it takes many networks.
    if networks < significance.FEWEST and not slower:
        what, takes = "at both precisions", significance.FEWEST
        yield too_few(catalogue.INT8_FP16, ALL, test, networks, what, takes)
        return
    table = significance.table(found, [float(one.slower) for one in found])
    share, low, high = significance.over_networks(table, significance.mean)
    answer = Answer.PARTLY if slower else Answer.SUPPORTED
    if share > HALF:
        answer = Answer.REFUTED
    why = [_why(cells, one) for one in slower]
    names = listed(
        [
            f"{one.model} at {size(one.resolution)}" + (f" ({brief})" if brief else "")
            for one, (brief, _, _) in zip(slower, why, strict=True)
        ],
    )
    longer = f"up to {times(1 / slower[0].ratio)} as long" if slower else ""
    if len(slower) > 1:  # One network may be far from the others
        typical = float(np.median([1 / one.ratio for one in slower]))
        longer = f"{times(typical)} as long in the median and {longer}"
    text = (
        f"INT8 is slower than FP16 in {len(slower)} of {plural(len(found), 'cell')}"
        + (f", taking {longer}: {names}." if slower else ".")
        + " Moving and computing are by the shares of a profiled run."
        * any(brief for brief, _, _ in why)
        + " What a Myelin layer, many nodes in one, moves inside counts as computing."
        * any(brief and is_fused for brief, _, is_fused in why)
    )
    yield Finding(catalogue.INT8_FP16, ALL, test, share, low, high, len(found), answer, text)
    for one, (_, reason, _) in zip(slower, why, strict=True):
        where, test = f"{one.model} {size(one.resolution)}", "INT8 ms over FP16 ms"
        ratio, text = 1 / one.ratio, f"INT8 takes {times(1 / one.ratio)} as long; {reason}."
        ends = (1 / one.high, 1 / one.low)
        yield Finding(catalogue.INT8_FP16, where, test, ratio, *ends, 1, Answer.REFUTED, text)


def _why(cells: Cells, gain: Gain) -> tuple[str, str, bool]:
    """Where the time goes that INT8 takes more than FP16, in brief and in full: moving data, or
    layers that are not in INT8, by their time or, where that is not known, their number; and
    whether the INT8 engine has layers that are many nodes in one."""
    network, resolution = cells.networks.index(gain.model), cells.sizes.index(gain.resolution)
    int8, fp16 = (
        {
            name: float(cells[name][network, cells.precisions.index(precision), resolution])
            for name in ("latency_ms", *EVIDENCE)
        }
        for precision in (gain.precision, gain.base)
    )
    brief, parts = "", []
    moving, before = (one["moving_share"] * one["latency_ms"] for one in (int8, fp16))
    if np.isfinite([moving, before]).all():
        rest = int8["latency_ms"] - moving - (fp16["latency_ms"] - before)
        # Rounded, and 0.0 added: a zero is then never "-0.000"
        more, rest = (round(one, 3) + 0.0 for one in (moving - before, rest))
        brief = f"moving data {more:+.3f} ms, computing {rest:+.3f} ms"
    kind, first = "layers", "of its layers run in INT8"
    if np.isfinite(moving):
        kind, first = "time", "layers in INT8"
        at_fp16 = f" (at FP16 {percent(fp16['moving_share'])})" if brief else ""
        parts.append(
            f"of a profiled run's time {percent(int8['moving_share'])} is moving and "
            f"converting{at_fp16}"
        )
    ran = {one: int8[f"{one}_{kind}"] for one in ("int8", "fp16", "fp32")}
    if np.isfinite(ran["int8"]):
        parts.append(f"{percent(ran.pop('int8'))} {first}")
        parts += [f"{percent(share)} in {word(one)}" for one, share in ran.items() if share]
    reason = (f"{brief}: " if brief else "") + ", ".join(parts)
    is_fused = int8["fused_layers"] > 0
    if reason and is_fused:
        reason += "; a Myelin layer, many nodes in one, is counted by its output's type"
    unknown = "why is not known, the set keeps neither layers nor a profile"
    return brief, reason or unknown, is_fused


def fixed_cost(cells: Cells) -> Iterator[Finding]:
    """The share of the fixed term at the smallest size, over all and by precision."""
    fits = latency_model.fit(cells)
    yield _fixed(ALL, fits)
    for precision in cells.precisions:
        yield _fixed(word(precision), [one for one in fits if one.precision == precision])


def rate(cells: Cells) -> Iterator[Finding]:
    """Multiply-accumulates per second by family, at the largest size of each precision."""
    for precision in cells.precisions:
        yield _rate(cells.at(precision), precision)


def activations(cells: Cells) -> Iterator[Finding]:
    """Mean ρ of ms against activations less that against multiply-accumulates."""
    yield _activations(cells, ALL)
    for precision in cells.precisions:
        yield _activations(cells.at(precision), word(precision))


def doubt(cells: Cells) -> Iterator[Finding]:
    """How many of the rows used are SUSPECT."""
    test = "share of SUSPECT rows among the rows used, n counts rows"
    frame = cells.frame
    judged = Counter(frame["verdict"].dropna())
    if not judged:
        reason = f"None of the {plural(len(frame), 'row')} has a verdict: nobody watched the run."
        yield cant_tell(catalogue.DOUBT, ALL, test, len(frame), reason)
        return
    n, suspect = judged.total(), judged[Verdict.SUSPECT.value]
    share = suspect / n
    doubts = frame.loc[frame["verdict"] == Verdict.SUSPECT.value, "reasons"].dropna()
    commonest = Counter(code for codes in doubts for code in codes.split(";"))
    why = listed([f"{code} {count}×" for code, count in commonest.most_common(4)])
    noted = Counter(code for codes in frame["notes"].dropna() for code in codes.split(";"))
    notes = listed([f"{code} {count}×" for code, count in noted.most_common()])
    answer = Answer.SUPPORTED if not suspect else Answer.PARTLY
    text = (
        f"{suspect} of {plural(n, 'row')} used {'is' if suspect == 1 else 'are'} SUSPECT"
        + (f" ({why})." if why else ".")
        + (f" Noted, which takes nothing away: {notes}." if notes else "")
    )
    answer = Answer.REFUTED if share > HALF else answer
    yield Finding(catalogue.DOUBT, ALL, test, share, None, None, n, answer, text)


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
    disturbed = sum(not one.isdisjoint(MACHINE) for one in codes)
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
    parts = [f"{valid} of {plural(len(rows), 'row')} {'is' if valid == 1 else 'are'} VALID"]
    others = len(rows) - valid
    among = f" of the other {others}" if disturbed < others else ""  # else nothing is unaccounted
    be = "is" if disturbed < 2 else "are"
    parts.append(f"{disturbed or 'none'}{among} {be} doubted for what the machine did")
    if width is not None:
        # What one process cannot show: others of the same engine differ by more than its queries do
        alone = (rows["rounds"] == 1).mean() > HALF
        within = ", most within one process alone" if alone else ""
        parts.append(f"half of the medians are known to ±{percent(width)} or better{within}")
    moved = sum(not one.isdisjoint(MOVED) for one in codes)
    parts.append(f"the times of {moved or 'none'} moved while they were taken")
    if not on_cpu:
        watched = ~rows["notes"].fillna("").str.contains(Reason.UNWATCHED.value)
        foreign = sum(Reason.FOREIGN_PROCESS.value in one for one in codes)
        seen = f"another process was on the card in {foreign}" if foreign else ""
        if watched.any():
            parts.append(seen or "no other process was seen on the card")
        throttled = sum(Reason.THROTTLED.value in one for one in codes)
        parts += [f"the card was throttled in {throttled}"] * bool(throttled)
        limited = int((rows["limited_by"] == Limit.POWER.value).sum())
        parts += [f"it ran at its power limit in {limited}"] * bool(limited)
    return f"As an instrument the machine was {word}: {listed(parts, most=len(parts))}."


def _fixed(subset: str, fits: Sequence[latency_model.Fit]) -> Finding:
    test = "median share of the fixed term in the fitted time at the smallest size, n counts fits"
    # Where the times are not on the line, its fixed term is nobody's.
    fits = [one for one in fits if one.holds]
    networks = len({one.model for one in fits})
    if networks < significance.FEWEST:
        reason = (
            f"Not to be told: {plural(networks, 'network')} with {latency_model.FEWEST_SIZES} "
            f"sizes or more on a line; it takes {significance.FEWEST}."
        )
        return cant_tell(catalogue.FIXED, subset, test, networks, reason)
    shares = latency_model.by_network(fits, lambda one: one.fixed_share(min(one.megapixels)))
    median, low, high = significance.over_networks(shares, significance.median)
    answer = decided(low, high, HALF)
    answer = Answer.PARTLY if answer is Answer.CANT_TELL else answer
    most = max(fits, key=lambda one: one.fixed_share(min(one.megapixels)))
    least = min(fits, key=lambda one: one.fixed_share(min(one.megapixels)))
    text = (
        f"The fixed time is {percent(median)} of a small image's time in the median, from "
        f"{percent(least.fixed_share(min(least.megapixels)))} ({least.model} "
        f"{word(least.precision)}) to {percent(most.fixed_share(min(most.megapixels)))} "
        f"({most.model} {word(most.precision)})."
    )
    return Finding(catalogue.FIXED, subset, test, median, low, high, len(fits), answer, text)


def _rate(cells: Cells, precision: str) -> Finding:
    test = "best over worst family's median GMAC/s at the largest size"
    name = cells.sizes[-1]
    subset = f"{word(precision)} {size(name)}"
    cells = cells.at(size=name)
    (gmacs, batch, ms), families = (
        [cells[column][:, 0, 0] for column in ("gmacs", "batch", "latency_ms")],
        cells.words("family")[:, 0, 0],
    )
    both = ~np.isnan(gmacs) & (families != None)  # noqa: E711 (one by one)
    names, codes = np.unique(families[both].astype(str), return_inverse=True)
    rates = (gmacs * batch / (ms / 1000))[both]
    if len(rates) < significance.FEWEST or len(names) < FEWEST_FAMILIES:
        kinds = "one family" if len(names) == 1 else f"{len(names)} families"
        counted = f"{plural(len(rates), 'network')} of {kinds}"
        reason = f"Not to be told from {counted} with a count of multiply-accumulates."
        return cant_tell(catalogue.RATE, subset, test, len(rates), reason)
    counts = significance.draws(len(rates))
    groups = [np.flatnonzero(codes == code) for code in range(len(names))]
    drawn = np.array([significance.median(rates[one, None], counts[one]) for one in groups])
    low, high = significance.interval(np.nanmax(drawn, 0) / np.nanmin(drawn, 0)) or (None, None)
    medians = [float(np.median(rates[one])) for one in groups]
    best, worst = int(np.argmax(medians)), int(np.argmin(medians))
    spread = medians[best] / medians[worst]
    answer = decided(low, high, ALIKE, below=True)
    wide = "" if answer is not Answer.CANT_TELL else "; too few networks to tell it from chance"
    text = (
        f"{names[best]} reaches {short(medians[best])} GMAC/s and {names[worst]} "
        f"{short(medians[worst])} at {subset}, a factor of {short(spread)}{wide}."
    )
    return Finding(catalogue.RATE, subset, test, spread, low, high, len(rates), answer, text)


def _activations(cells: Cells, subset: str) -> Finding:
    test = "mean ρ(ms, activations) less mean ρ(ms, multiply-accumulates)"
    times_ms, gmacs = latency_model.tables(cells, "gmacs", "mactivations")
    _, written = latency_model.tables(cells, "mactivations", "gmacs")
    n = len(times_ms)
    if not n:
        reason = "Not to be told: no cell has enough networks with both counts"
        text = f"{reason}; it takes {latency_model.FEWEST_NETWORKS}."
        return cant_tell(catalogue.ACTIVATIONS, subset, test, 0, text)
    (of_written, drawn_written), (of_gmacs, drawn_gmacs) = (
        latency_model.mean_rho(times_ms, side) for side in (written, gmacs)
    )
    if not np.isfinite([of_written, of_gmacs]).all():
        reason = "Not to be told: one of the counts is the same for every network."
        return cant_tell(catalogue.ACTIVATIONS, subset, test, n, reason)
    low, high = significance.interval(drawn_written - drawn_gmacs) or (None, None)
    text = (
        f"Mean ρ is {of_written:.2f} against activations and {of_gmacs:.2f} against "
        "multiply-accumulates."
    )
    ends, answer = (low, high), decided(low, high, 0)
    return Finding(
        catalogue.ACTIVATIONS, subset, test, of_written - of_gmacs, *ends, n, answer, text
    )


# The ways in which INT8 was made, laid beside each other: what each costs and what it gives.


FEWEST = 2
"""Networks. The claims are that nothing is slower, so every cell that is counts by itself; of
one network alone nothing general follows."""

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
    profiled time, or of the engine's computing layers in a part where not all were profiled;
    ``moving`` is the share of the profiled time that only moves or converts data; ``off_fp32`` is
    the relative L2 distance of the graph's output from FP32's; ``build_s`` are seconds. None is
    not known. ``same_as_qdq`` says that nothing was left out, ``doubted`` that the row is SUSPECT.
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
            tuple(_cells(cells, measured)),
            _against(cells, Int8Method.QDQ, Int8Method.MADE_UP_RANGES),
            _left_out(cells),
        )
        for one in split
        if len(_words(cells := Cells.of(one.frame))) > 1
    )


def tests(cells: Cells) -> Iterator[Finding]:
    """The claims about INT8 methods on ``frame``, a part of :func:`parts.side_by_side`.

    Nothing where the methods that a claim compares were not both measured.
    """
    there = set(_words(cells))
    qdq, made_up, spared = Int8Method.QDQ, Int8Method.MADE_UP_RANGES, Int8Method.QDQ_NO_DEPTHWISE
    if {_word(qdq), _word(made_up)} <= there:
        yield _never_slower(catalogue.CALIBRATED, qdq, made_up, _against(cells, qdq, made_up))
    if {_word(spared), _word(qdq)} <= there:
        yield _never_slower(catalogue.DEPTHWISE, spared, qdq, _left_out(cells))


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
        return too_few(claim, ALL, test, networks, "made both ways", FEWEST)
    slower = [one for one in found if one.slower]
    answer = Answer.PARTLY if slower else Answer.SUPPORTED
    if len(slower) > HALF * len(found):
        answer = Answer.REFUTED
    table = significance.table(found, [1 / one.ratio for one in found])
    median, low, high = significance.over_networks(table, significance.median)
    least, most = over(found)
    names = listed([f"{one.model} at {size(one.resolution)}" for one in slower], most=8)
    text = (
        f"It takes {times(least)} to {times(most)} as long and is slower in {len(slower)} of "
        f"{plural(len(found), 'cell')}" + (f": {names}." if slower else ".")
    )
    return Finding(claim, ALL, test, median, low, high, len(found), answer, text)


def _cells(cells: Cells, measured: MeasuredSet) -> Iterator[Made]:
    words = _words(cells)
    gains = {
        (one.model, one.resolution, word): one
        for word in words
        for one in significance.gains(cells, word, Precision.FP16.value)
    }
    nodes = _nodes(cells, Int8Method.QDQ)
    frame = cells.frame
    rows = frame[frame["variant"].isin(words)]
    timed = all(measured.shares(str(key)).get("time") for key in rows["key"])
    for row in rows.sort_values(["model", "resolution", "variant"]).to_dict("records"):
        where = (str(row["model"]), str(row["resolution"]))
        method = Int8Method(row["variant"].method)
        of_time = measured.shares(str(row["key"])).get("time")
        ran = of_time if timed else measured.shares(str(row["key"])).get("layers")
        spared = method is Int8Method.QDQ_NO_DEPTHWISE
        yield Made(
            model=where[0],
            resolution=where[1],
            method=method,
            latency_ms=float(row["latency_ms"]),
            low_ms=known(row["latency_ci_low_ms"]),
            high_ms=known(row["latency_ci_high_ms"]),
            gain=gains.get((*where, row["variant"])),
            int8=_share(ran, "int8", "uint8"),
            fp16=_share(ran, "fp16", "bf16"),
            fp32=_share(ran, "fp32"),
            moving=_share(of_time, "moving"),
            off_fp32=measured.off_fp32(str(row["key"])),
            build_s=known(row["build_s"]),
            same_as_qdq=spared and where in nodes and nodes[where] == row["graph_layers"],
            doubted=row["verdict"] == Verdict.SUSPECT.value,
        )


def _against(cells: Cells, method: Int8Method, base: Int8Method) -> tuple[Gain, ...]:
    return significance.gains(cells, _word(method), _word(base))


def _left_out(cells: Cells) -> tuple[Gain, ...]:
    """Q/DQ without depth-wise convolutions against Q/DQ, where the two graphs differ."""
    spared, qdq = (
        _nodes(cells, method) for method in (Int8Method.QDQ_NO_DEPTHWISE, Int8Method.QDQ)
    )
    return tuple(
        one
        for one in _against(cells, Int8Method.QDQ_NO_DEPTHWISE, Int8Method.QDQ)
        if spared.get((one.model, one.resolution)) != qdq.get((one.model, one.resolution))
    )


def _nodes(cells: Cells, method: Int8Method) -> dict[tuple[str, str], float]:
    """Nodes of the graph by network and size: fewer pairs of Q/DQ are fewer nodes."""
    if _word(method) not in cells.precisions:
        return {}
    nodes = cells["graph_layers"][:, cells.place(_word(method))]
    return {
        (cells.networks[i], cells.sizes[j]): float(nodes[i, j])
        for i, j in np.argwhere(~np.isnan(nodes))
    }


def _words(cells: Cells) -> list[Variant]:
    """The variants of ``cells`` that are INT8 by a method, in order."""
    return [one for one in cells.precisions if isinstance(one, Variant) and one.method]


def _word(method: Int8Method) -> Variant:
    return Variant(Precision.INT8.value, method.value)


def _share(shares: dict[str, float] | None, *words: str) -> float | None:
    return None if shares is None else sum(shares.get(word, 0.0) for word in words)
