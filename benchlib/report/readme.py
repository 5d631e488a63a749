"""The measured table in README.md, written from a measured set so that it cannot go stale.

``python -m benchlib.report.readme`` rewrites the lines between the markers; a test compares them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from benchlib.analysis import measured
from benchlib.case import Int8Method, Precision, Verdict
from benchlib.sweep import digits

SET = "results/h200-tensorrt-8.6"
BEGIN = f"<!-- table of {SET}, written by: python -m benchlib.report.readme -->"
END = "<!-- end of the table -->"

_COLUMNS = (
    ("FP32 (TF32 on)", Precision.FP32, None),
    ("FP16", Precision.FP16, None),
    ("INT8, calibrated Q/DQ", Precision.INT8, Int8Method.QDQ),
    ("INT8, made-up ranges", Precision.INT8, Int8Method.MADE_UP_RANGES),
)


def table(frame: pd.DataFrame) -> str:
    """Median milliseconds per image as a Markdown table; ``†`` marks a SUSPECT row."""
    header = ["network", "size", *(name for name, _, _ in _COLUMNS)]
    lines = ["| " + " | ".join(header) + " |", "|---|---|" + "--:|" * len(_COLUMNS)]
    rows = measured.usable(frame)
    for (model, resolution), group in rows.groupby(["model", "resolution"], observed=True):
        cells = [_cell(group, precision, method) for _, precision, method in _COLUMNS]
        lines.append("| " + " | ".join([model, str(resolution), *cells]) + " |")
    return "\n".join(lines)


def rewritten(text: str, frame: pd.DataFrame) -> str:
    """``text`` with the table between the markers replaced; raises ValueError without markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("README.md has no markers for the table")
    return f"{before}{BEGIN}\n{table(frame)}\n{END}{after}"


def _cell(group: pd.DataFrame, precision: Precision, method: Int8Method | None) -> str:
    chosen = group[group["precision"] == precision.value]
    if method is not None:
        chosen = chosen[chosen["int8_method"] == method.value]
    if chosen.empty:
        return "–"
    row = chosen.iloc[0]
    low, high = row["latency_ci_low_ms"], row["latency_ci_high_ms"]
    mark = " †" if row["verdict"] == Verdict.SUSPECT.value else ""
    return digits.text(row["latency_ms"], low, high) + mark


def main() -> None:
    """Rewrite the README named on the command line, by default the one here."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "README.md")
    frame = measured.load(path.parent / SET).frame
    path.write_text(rewritten(path.read_text(encoding="utf-8"), frame), encoding="utf-8")


if __name__ == "__main__":
    main()
