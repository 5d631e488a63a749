"""The claim that compute time does not depend on work or size, tested on one part of a set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from benchlib.analysis import claims, dependence, parts
from benchlib.analysis.dependence import Dependence
from benchlib.analysis.finding import ALL, Answer, Finding, cant_tell
from benchlib.analysis.wording import listed, plural, size, word

NEGLIGIBLE_RHO = 0.3
"""Below it, work would explain less than a tenth of the order of times (ρ² = 0.09)."""

_FEWEST = f"{dependence.FEWEST_NETWORKS} or more"


def work(frame: pd.DataFrame) -> Iterator[Finding]:
    """Spearman's ρ of ms against work and size: over all cells, then cell by cell."""
    for predictor in ("gmacs", "params_m"):
        cells = dependence.dependences(frame, predictor)
        yield _work_headline(dependence.mean(frame, predictor), cells)
    yield from _printed(frame)
    for predictor in dependence.PREDICTORS:
        yield from map(_work_cell, dependence.dependences(frame, predictor))


def _answer_of_rho(low: float, high: float) -> Answer:
    if low > -NEGLIGIBLE_RHO and high < NEGLIGIBLE_RHO:
        return Answer.PARTLY if low > 0 or high < 0 else Answer.SUPPORTED
    return Answer.REFUTED if low > 0 or high < 0 else Answer.CANT_TELL


def _work_cell(cell: Dependence, against: str = "", subset: str = "", note: str = "") -> Finding:
    against = against or dependence.PREDICTORS[cell.predictor]
    test = f"Spearman's ρ of ms against {against}"
    subset = subset or f"{word(cell.precision)} {size(cell.resolution)}"
    if cell.rho is None or cell.low is None or cell.high is None:
        reason = f"Not to be told from {plural(cell.n, 'network')} with a figure"
        return cant_tell(claims.WORK, subset, test, cell.n, f"{reason}; it takes {_FEWEST}.")
    answer = _answer_of_rho(cell.low, cell.high)
    said = {
        Answer.REFUTED: f"Time rises with {against}"
        if cell.rho > 0
        else f"Time falls with {against}",
        Answer.PARTLY: f"Time goes with {against}, but weakly",
        Answer.SUPPORTED: f"Time does not go with {against}",
        Answer.CANT_TELL: f"The interval leaves open whether time goes with {against}",
    }[answer]
    return Finding(
        *(claims.WORK, subset, test, cell.rho, cell.low, cell.high, cell.n, answer),
        f"{said} (ρ = {cell.rho:.2f}).{note}",
    )


def _work_headline(mean: Dependence, cells: Sequence[Dependence]) -> Finding:
    against = dependence.PREDICTORS[mean.predictor]
    test = f"Spearman's ρ of ms against {against}, mean over precisions and sizes"
    told = [_work_cell(cell) for cell in cells]
    tested = [one for one in told if one.estimate is not None]
    if mean.rho is None or mean.low is None or mean.high is None:
        reason = f"Not to be told: {plural(mean.n, 'network')} with a figure in every cell"
        return cant_tell(claims.WORK, ALL, test, mean.n, f"{reason}; it takes {_FEWEST}.")
    answer = _answer_of_rho(mean.low, mean.high)
    against_it = [one for one in tested if one.verdict is Answer.REFUTED]
    if answer is Answer.CANT_TELL and against_it:
        answer = Answer.PARTLY
    if answer is Answer.REFUTED and any(one.verdict is Answer.SUPPORTED for one in tested):
        answer = Answer.PARTLY
    rest = [one.subset for one in tested if one.verdict is not Answer.REFUTED]
    but = f"; not for certain at {listed(rest)}" if rest and against_it else ""
    return Finding(
        *(claims.WORK, ALL, test, mean.rho, mean.low, mean.high, mean.n, answer),
        f"In {len(against_it)} of {len(tested)} cells time goes with {against} "
        f"(mean ρ = {mean.rho:.2f}){but}.",
    )


def _printed(frame: pd.DataFrame) -> Iterator[Finding]:
    """ρ against the GFLOPs that the blog printed, computed as its faults were counted.

    Its times are rounded to 0.01 ms, so some are equal; these are ranked by name. With mean
    ranks, as Spearman's ρ is defined, two of the twelve figures differ, and the sentence says so.
    """
    known = frame[frame["model"].isin(claims.GFLOPS_224)]
    known = known.assign(printed=known["model"].map(claims.GFLOPS_224).astype(float))
    if known["model"].nunique() < dependence.FEWEST_NETWORKS:
        return
    for precision in parts.precisions(known):
        for name in parts.sizes(parts.at(known, precision)):
            rows = parts.at(known, precision, name)
            cell = dependence.one(rows, "printed", precision, name, ties="ordinal")
            mean = dependence.one(rows, "printed", precision, name)
            note = ""
            if cell.rho is not None and mean.rho is not None and abs(cell.rho - mean.rho) > 5e-4:
                note = f" Equal times are ranked by name; with mean ranks ρ = {mean.rho:.2f}."
            subset = f"{word(precision)} {size(name)}, networks with a figure in the blog"
            yield _work_cell(cell, "the GFLOPs that the blog printed", subset, note)
