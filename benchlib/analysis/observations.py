"""What the data show and the blog did not ask, tested on one part of a measured set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from benchlib.analysis import claims, dependence, parts, resampling, scaling, speedup
from benchlib.analysis.finding import ALL, Answer, Finding, cant_tell
from benchlib.analysis.wording import listed, percent, plural, size, word
from benchlib.case import Precision, Verdict

HALF = 0.5

ALIKE = 2.0
"""Families whose rates differ by less than this factor count as about alike."""

FEWEST_FAMILIES = 3


def int8_against_fp16(frame: pd.DataFrame) -> Iterator[Finding]:
    """Cells where INT8 is slower than FP16, counted and named."""
    test = "share of cells where INT8 is slower than FP16, n counts cells"
    found = speedup.gains(frame, Precision.INT8.value, base=Precision.FP16.value)
    networks = len({one.model for one in found})
    slower = [one for one in found if one.slower]
    # "Never" falls with one cell; that it holds takes many networks.
    if networks < resampling.FEWEST and not slower:
        reason = f"Not to be told from {plural(networks, 'network')} at both precisions"
        yield cant_tell(
            claims.INT8_FP16, ALL, test, networks, f"{reason}; it takes {resampling.FEWEST}."
        )
        return
    table = speedup.table(found, [float(one.slower) for one in found])
    share, low, high = resampling.over_networks(table, np.nanmean)
    answer = Answer.PARTLY if slower else Answer.SUPPORTED
    if share > HALF:
        answer = Answer.REFUTED
    names = listed([f"{one.model} at {size(one.resolution)}" for one in slower], most=8)
    yield Finding(
        *(claims.INT8_FP16, ALL, test, share, low, high, len(found), answer),
        f"INT8 is slower than FP16 in {len(slower)} of {plural(len(found), 'cell')}"
        + (f": {names}." if slower else "."),
    )


def fixed_cost(frame: pd.DataFrame) -> Iterator[Finding]:
    """The share of the fixed term at the smallest size, over all and by precision."""
    yield _fixed(ALL, scaling.fit(frame))
    for precision in parts.precisions(frame):
        yield _fixed(word(precision), scaling.fit(parts.at(frame, precision)))


def rate(frame: pd.DataFrame) -> Iterator[Finding]:
    """Multiply-accumulates per second by family, at the largest size of each precision."""
    for precision in parts.precisions(frame):
        yield _rate(frame, precision)


def activations(frame: pd.DataFrame) -> Iterator[Finding]:
    """Mean ρ of ms against activations less that against multiply-accumulates."""
    yield _activations(frame, ALL)
    for precision in parts.precisions(frame):
        yield _activations(parts.at(frame, precision), word(precision))


def energy(frame: pd.DataFrame) -> Iterator[Finding]:
    """ρ of energy against time; nothing at all where no row has energy."""
    for cell in dependence.dependences(frame.dropna(subset=["energy_mj"]), "energy_mj"):
        subset = f"{word(cell.precision)} {size(cell.resolution)}"
        test = "Spearman's ρ of mJ against ms"
        if cell.rho is None or cell.low is None or cell.high is None:
            reason = f"Not to be told from {plural(cell.n, 'network')} with an energy."
            yield cant_tell(claims.ENERGY, subset, test, cell.n, reason)
            continue
        answer = Answer.CANT_TELL
        if cell.low > 0:
            answer = Answer.SUPPORTED
        elif cell.high < 0:
            answer = Answer.REFUTED
        yield Finding(
            *(claims.ENERGY, subset, test, cell.rho, cell.low, cell.high, cell.n, answer),
            f"Energy and time rank the networks alike with ρ = {cell.rho:.2f}.",
        )


def doubt(frame: pd.DataFrame) -> Iterator[Finding]:
    """How many of the rows used are SUSPECT."""
    test = "share of SUSPECT rows among the rows used, n counts rows"
    judged = frame[frame["verdict"].notna()]
    if judged.empty:
        reason = f"None of the {plural(len(frame), 'row')} has a verdict: nobody watched the run."
        yield cant_tell(claims.DOUBT, ALL, test, len(frame), reason)
        return
    suspect = int((judged["verdict"] == Verdict.SUSPECT.value).sum())
    share = suspect / len(judged)
    reasons = (
        judged.loc[judged["verdict"] == Verdict.SUSPECT.value, "reasons"].dropna().str.split(";")
    )
    commonest = reasons.explode().value_counts(sort=True)
    why = listed([f"{code} {count}×" for code, count in commonest.head(4).items()])
    answer = Answer.SUPPORTED if not suspect else Answer.PARTLY
    yield Finding(
        *(claims.DOUBT, ALL, test, share, None, None, len(judged)),
        Answer.REFUTED if share > HALF else answer,
        f"{suspect} of {plural(len(judged), 'row')} used {'is' if suspect == 1 else 'are'} SUSPECT"
        + (f" ({why})." if why else "."),
    )


def _fixed(subset: str, fits: Sequence[scaling.Fit]) -> Finding:
    test = "median share of the fixed term in the fitted time at the smallest size, n counts fits"
    networks = len({one.model for one in fits})
    if networks < resampling.FEWEST:
        reason = (
            f"Not to be told: {plural(networks, 'network')} with {scaling.FEWEST_SIZES} sizes or "
            f"more; it takes {resampling.FEWEST}."
        )
        return cant_tell(claims.FIXED, subset, test, networks, reason)
    shares = scaling.by_network(fits, lambda one: one.fixed_share(min(one.megapixels)))
    median, low, high = resampling.over_networks(shares, np.nanmedian)
    answer = Answer.PARTLY
    if low is not None and high is not None and (low > HALF or high < HALF):
        answer = Answer.SUPPORTED if low > HALF else Answer.REFUTED
    most = max(fits, key=lambda one: one.fixed_share(min(one.megapixels)))
    least = min(fits, key=lambda one: one.fixed_share(min(one.megapixels)))
    return Finding(
        *(claims.FIXED, subset, test, median, low, high, len(fits), answer),
        f"The fixed time is {percent(median)} of a small image's time in the median, from "
        f"{percent(least.fixed_share(min(least.megapixels)))} ({least.model}) to "
        f"{percent(most.fixed_share(min(most.megapixels)))} ({most.model}).",
    )


def _rate(frame: pd.DataFrame, precision: str) -> Finding:
    test = "best over worst family's median GMAC/s at the largest size"
    name = parts.sizes(parts.at(frame, precision))[-1]
    subset = f"{word(precision)} {size(name)}"
    rows = parts.at(frame, precision, name).dropna(subset=["gmacs", "family"])
    families = rows["family"].nunique()
    if len(rows) < resampling.FEWEST or families < FEWEST_FAMILIES:
        kinds = "one family" if families == 1 else f"{families} families"
        counted = f"{plural(len(rows), 'network')} of {kinds}"
        reason = f"Not to be told from {counted} with a count of multiply-accumulates."
        return cant_tell(claims.RATE, subset, test, len(rows), reason)
    rates = rows["gmacs"] * rows["batch"] / (rows["latency_ms"] / 1000)
    codes, names = pd.factorize(rows["family"], sort=True)
    spread = _spread(rates.to_numpy(float), codes)
    ends = resampling.interval(
        np.array(
            [
                _spread(rates.to_numpy(float)[some], codes[some])
                for some in resampling.draws(len(rows))
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
        *(claims.RATE, subset, test, spread, low, high, len(rows), answer),
        f"{names[best]} reaches {medians[best]:,.0f} GMAC/s and {names[worst]} "
        f"{medians[worst]:,.0f} at {subset}, a factor of {spread:.1f}{wide}.",
    )


def _spread(rates: resampling.Array, codes: resampling.Draws) -> float:
    medians = [np.median(rates[codes == code]) for code in np.unique(codes)]
    return float(max(medians) / min(medians))


def _activations(frame: pd.DataFrame, subset: str) -> Finding:
    test = "mean ρ(ms, activations) less mean ρ(ms, multiply-accumulates)"
    known = frame.dropna(subset=["gmacs", "mactivations"])
    times_ms, gmacs = dependence.tables(known, "gmacs")
    _, written = dependence.tables(known, "mactivations")
    n = len(times_ms)
    if n < dependence.FEWEST_NETWORKS or gmacs.shape != written.shape:
        reason = f"Not to be told from {plural(n, 'network')} with both counts in every cell"
        return cant_tell(
            claims.ACTIVATIONS, subset, test, n, f"{reason}; it takes {dependence.FEWEST_NETWORKS}."
        )
    everyone, picked = np.arange(n)[None], resampling.draws(n)
    both = [dependence.mean_rho(times_ms, side, everyone)[0] for side in (written, gmacs)]
    if not np.isfinite(both).all():
        reason = "Not to be told: one of the counts is the same for every network."
        return cant_tell(claims.ACTIVATIONS, subset, test, n, reason)
    drawn = [dependence.mean_rho(times_ms, side, picked) for side in (written, gmacs)]
    ends = resampling.interval(drawn[0] - drawn[1])
    low, high = ends or (None, None)
    answer = Answer.CANT_TELL
    if low is not None and high is not None and (low > 0 or high < 0):
        answer = Answer.SUPPORTED if low > 0 else Answer.REFUTED
    return Finding(
        *(claims.ACTIVATIONS, subset, test, float(both[0] - both[1]), low, high, n, answer),
        f"Mean ρ is {both[0]:.2f} against activations and {both[1]:.2f} against "
        "multiply-accumulates.",
    )
