"""How sure each number is: half-width of its interval and its verdict, cell by cell."""

from __future__ import annotations

import pandas as pd

from benchlib.analysis import wording
from benchlib.case import Status, Verdict
from benchlib.report import theme
from benchlib.report.drawing import Absent, Drawing
from benchlib.report.figures import tiles
from benchlib.report.view import View, on_cpu

_FLOOR_PERCENT = 0.01
"""An interval of no width (all samples equal to the clock's step) is drawn as this wide."""


_SCALE_PERCENT = (0.1, 10.0)
"""The same colours in every report: pale is good everywhere."""


def draw(view: View) -> Drawing | Absent:
    """Half-width of the median's 95 % interval in percent of the median, with verdict symbols."""
    name = f"spread-{view.slug}"
    rows = view.frame[view.frame["status"] == Status.OK.value]
    half = 50 * (rows["latency_ci_high_ms"] - rows["latency_ci_low_ms"]) / rows["latency_ms"]
    rows = rows.assign(percent=half.clip(lower=_FLOOR_PERCENT))
    if rows["percent"].notna().sum() == 0 and rows["verdict"].isna().all():
        return Absent(name, "neither an interval nor a verdict is known.")
    keys = {"index": "model", "columns": ["resolution", "precision"]}
    words = rows.assign(word=[_word(row) for row in rows.itertuples(index=False)])
    percents = rows.pivot(**keys, values="percent").sort_index(axis=1)
    said = words.pivot(**keys, values="word").sort_index(axis=1).reindex_like(percents)
    with theme.style():
        figure = tiles.draw(
            percents,
            said.fillna(wording.DASH),
            "Oranges",
            "± % (log)",
            _SCALE_PERCENT,
        )
    finding = _finding(rows)
    alt = (
        "Grid of cells, networks down, input size and precision across: half-width of the 95 % "
        f"interval in percent of the median, darker is less sure; {view.label}. {finding}"
    )
    caption = (
        f"How sure each median is, {view.label}: half its 95 % interval in percent. "
        f"{theme.VERDICT_SYMBOLS[Verdict.SUSPECT.value]} SUSPECT, "
        f"{theme.VERDICT_SYMBOLS[Verdict.INVALID.value]} INVALID, a dash where there is no number. "
        f"{finding}{_builds(view)}"
    )
    return Drawing(figure, name, alt, caption)


def _builds(view: View) -> str:
    """That every engine was built once, where that is known."""
    asked = (view.environment.get("parameters") or {}).values()
    if on_cpu(view) or not asked or any(one.get("builds", 1) > 1 for one in asked):
        return ""
    return " Every engine was built once; the interval does not speak of other builds."


def _word(row: object) -> str:
    number = "?" if pd.isna(row.percent) else f"{row.percent:.1f}"
    return f"{number} {theme.VERDICT_SYMBOLS.get(row.verdict or '', '')}".strip()


def _finding(rows: pd.DataFrame) -> str:
    parts = []
    known = rows["percent"].dropna()
    if len(known):
        worst = rows.loc[known.idxmax()]
        parts.append(
            f"Half of the cells are within ±{known.median():.2f} % of their median; the least sure "
            f"is {worst['model']} at {wording.size(worst['resolution'])}, "
            f"{theme.precision_label(worst['precision'])}, with ±{worst['percent']:.1f} %."
        )
    counts = rows["verdict"].value_counts()
    if len(counts):
        judged = [f"{counts.get(word.value, 0)} {word.value}" for word in Verdict]
        parts.append(f"Verdicts: {', '.join(judged)}.")
    return " ".join(parts)
