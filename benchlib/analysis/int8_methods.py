"""The ways in which INT8 was made, laid beside each other: what each costs and what it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchlib.analysis import claims, parts, resampling, speedup
from benchlib.analysis.finding import ALL, Answer, Finding, cant_tell
from benchlib.analysis.measured import MeasuredSet, known
from benchlib.analysis.speedup import Gain
from benchlib.analysis.wording import listed, plural, size, times
from benchlib.case import Int8Method, Precision, Verdict

HALF = 0.5

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
    split = parts.side_by_side(parts.sound(measured.frame))
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
        yield _never_slower(claims.CALIBRATED, qdq, made_up, _against(frame, qdq, made_up))
    if {_word(spared), _word(qdq)} <= there:
        yield _never_slower(claims.DEPTHWISE, spared, qdq, _left_out(frame))


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
    table = speedup.table(found, [1 / one.ratio for one in found])
    median, low, high = resampling.over_networks(table, np.nanmedian)
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
        for one in speedup.gains(frame, word, Precision.FP16.value)
    }
    rows = frame[frame["precision"].isin(words)]
    for row in rows.sort_values(["model", "resolution", "precision"]).to_dict("records"):
        where = (str(row["model"]), str(row["resolution"]))
        method = Int8Method(parts.base(str(row["precision"]))[1])
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
    return speedup.gains(frame, _word(method), _word(base))


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
    rows = parts.at(frame, _word(method), where[1])
    found = rows.loc[rows["model"] == where[0], "graph_layers"].dropna()
    return None if found.empty else float(found.iloc[0])


def _words(frame: pd.DataFrame) -> list[str]:
    """The precisions of ``frame`` that are INT8 by a method, in order."""
    return [word for word in parts.precisions(frame) if parts.base(word)[1]]


def _word(method: Int8Method) -> str:
    return parts.by_method(Precision.INT8.value, method.value)


def _share(shares: dict[str, float] | None, *words: str) -> float | None:
    return None if shares is None else sum(shares.get(word, 0.0) for word in words)
