"""README.md's table and findings, written from measured sets so that they cannot go stale.

``python tools/readme_tables.py`` rewrites the lines between the markers; a test compares them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from benchlib.analysis import results
from benchlib.analysis.claims import findings as claims
from benchlib.case import Int8Method, Precision, Status, Verdict
from benchlib.gpu.telemetry import Limit
from benchlib.report import view
from benchlib.stats.summary import rounded

Columns = tuple[tuple[str, Precision, Int8Method | None], ...]


TABLE = "results/h100-tensorrt-8.6"
"""The measured set of the table, by its folder in the checkout."""

COLUMNS: Columns = (
    ("FP32 (TF32 on)", Precision.FP32, None),
    ("FP16", Precision.FP16, None),
    ("INT8, calibrated (Q/DQ)", Precision.INT8, Int8Method.QDQ),
    ("the same, depth-wise kept out of INT8", Precision.INT8, Int8Method.QDQ_NO_DEPTHWISE),
    ("INT8, made-up ranges", Precision.INT8, Int8Method.MADE_UP_RANGES),
)
"""What is shown of it."""

BEGIN = f"<!-- table of {TABLE}, written by: python tools/readme_tables.py -->"
END = "<!-- end of the table -->"


def table(frame: pd.DataFrame, columns: Columns) -> str:
    """Median milliseconds per image as a Markdown table, by year; ``†`` marks a SUSPECT row.

    ``‡`` marks one of a card at its power limit, ``✗`` stands for one that failed.
    """
    header = ["year", "network", "accuracy, %", "size", *(name for name, _, _ in columns)]
    lines = ["| " + " | ".join(header) + " |", "|---|---|--:|---|" + "--:|" * len(columns)]
    failed = frame[frame["status"] == Status.FAILED.value]
    rows = pd.concat([results.usable(frame), failed])
    rows["year"] = rows["model"].map(view.year)
    for key, group in rows.groupby(["year", "model", "resolution"], observed=True):
        year, model, resolution = map(str, key)
        cells = [_cell(group, precision, method) for _, precision, method in columns]
        lines.append("| " + " | ".join([year, model, _accuracy(group), resolution, *cells]) + " |")
    return "\n".join(lines)


def _accuracy(group: pd.DataFrame) -> str:
    """Published, as a row of the group has it."""
    row = group.iloc[0]
    if pd.isna(row["accuracy"]):
        return "–"
    return f"{row['accuracy']:.1f} {str(row['accuracy_metric']).split()[-1]}"


FINDINGS = (
    TABLE,
    "results/h100-trtexec-8.6",
    "results/h200-tensorrt-8.6",
    "results/rtx3090-published",
)
"""The set whose findings are told, then those that it is laid beside."""

FINDINGS_BEGIN = "<!-- findings of the sets, written by: python tools/readme_tables.py -->"
FINDINGS_END = "<!-- end of the findings -->"


def findings(root: Path) -> str:
    """The claims and what was found, in the words of ``benchlib findings``, as a Markdown list."""
    measured, *beside = (results.load(root / folder) for folder in FINDINGS)
    told = [claims.headline_lines(one) for one in claims.headlines(claims.of(measured, beside))]
    intro = f"`benchlib findings {' '.join(FINDINGS)}` says, with every test behind it:"
    # Two blanks before a verdict are what a list wants of a line that belongs to its item
    return "\n".join([intro, "", *(f"- {claim}\n{verdict}" for claim, verdict in told)])


def rewritten(text: str, root: Path) -> str:
    """``text`` with the table and the findings between their markers as the sets in ``root`` give
    them.

    Raises ValueError where one has no markers.
    """
    frame = results.load(root / TABLE).frame
    text = _between(text, BEGIN, table(frame, COLUMNS), END)
    return _between(text, FINDINGS_BEGIN, findings(root), FINDINGS_END)


def _between(text: str, begin: str, written: str, end: str) -> str:
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"README.md has no markers {begin} and {end}")
    return f"{before}{begin}\n{written}\n{end}{after}"


def _cell(group: pd.DataFrame, precision: Precision, method: Int8Method | None) -> str:
    chosen = group[group["precision"] == precision.value]
    if method is not None:
        chosen = chosen[chosen["int8_method"] == method.value]
    if chosen.empty:
        return "–"
    row = chosen.iloc[0]
    if row["status"] == Status.FAILED.value:
        return "✗"
    low, high = row["latency_ci_low_ms"], row["latency_ci_high_ms"]
    mark = " †" if row["verdict"] == Verdict.SUSPECT.value else ""
    if row["limited_by"] == Limit.POWER.value:
        mark += " ‡"
    return rounded(row["latency_ms"], low, high) + mark


def main() -> None:
    """Rewrite the README named on the command line, by default the one here."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "README.md")
    path.write_text(rewritten(path.read_text(encoding="utf-8"), path.parent), encoding="utf-8")


if __name__ == "__main__":
    main()
