"""What ``benchmark.ipynb`` calls: its parameters read from its cells, its rows as a table.

The cell that declares the parameters is written from :class:`Parameters` by
``tools/write_generated.py``, so name, type, default and help stand in one place.
"""

from __future__ import annotations

import ast
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchlib import config
from benchlib.case import Status
from benchlib.config import Parameters
from benchlib.measure.record import Row
from benchlib.measure.runner import Outcome
from benchlib.stats.summary import rounded

#: What papermill writes over the cell that it injects.
_INJECTED = "# Parameters"

#: Comes with a preset's file: it says which runs to make, and this notebook is one of them.
_RUNS = "precisions"


def read(namespace: Mapping[str, Any]) -> Parameters:
    """Return the parameters that a notebook's ``globals()`` hold.

    They are what the cell of parameters and the one that papermill injects have set, and nothing
    that an IPython start-up file left in the namespace. papermill injects a misspelt
    ``-p modles …`` with a warning only; here it is refused with an
    :class:`~benchlib.errors.InputError` that names the nearest right one.
    """
    if (Path.cwd() / "benchmark.ipynb").is_file():
        # JupyterLab starts a kernel in the notebook's folder, papermill in the caller's; the
        # relative paths among the parameters are meant from the project's top in both.
        os.chdir("..")
    names = [name for source in namespace.get("In", ()) for name in _parameters_of(source)]
    return config.read_parameters({name: namespace[name] for name in names if name in namespace})


def _parameters_of(source: str) -> list[str]:
    """The names that a cell sets, if it is one of parameters: injected, or it sets a known one."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return []  # It set nothing.
    targets = [
        target
        for node in body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    if source.startswith(_INJECTED) or set(names) & set(config.parameter_names()):
        return [name for name in names if name != _RUNS]
    return []


def setup_logging() -> None:
    """Let the lines of a run show under its cell: one per case, with the time left."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("benchlib").setLevel(logging.INFO)


def table(outcome: Outcome) -> pd.DataFrame:
    """The rows of a run for the eye: what, how fast with its interval, and how far to believe it.

    Times are milliseconds per batch; a missing one is empty and ``what happened`` says why.
    """
    return pd.DataFrame(
        {
            "model": [row.model for row in outcome.rows],
            "size": [f"{row.width}x{row.height}" for row in outcome.rows],
            "batch": [row.batch for row in outcome.rows],
            "ms": [_interval(row) for row in outcome.rows],
            "images/s": [_number(row.throughput_img_s) for row in outcome.rows],
            "verdict": [str(row.verdict or "") for row in outcome.rows],
            "what happened": [
                row.message or "; ".join([*row.reasons, *row.notes]) for row in outcome.rows
            ],
        }
    ).sort_values(["model", "size", "batch"], ignore_index=True)


def check(outcome: Outcome) -> None:
    """Raise when the run was stopped or measured nothing, so that papermill tells of it."""
    if outcome.interrupted:
        raise InterruptedError(outcome.sentence)
    if outcome.rows and all(row.status is Status.FAILED for row in outcome.rows):
        raise RuntimeError(f"every case failed: {outcome.rows[0].message}")


def _interval(row: Row) -> str:
    if row.latency_ms is None:
        return ""
    low, high = row.latency_ci_low_ms, row.latency_ci_high_ms
    shown = rounded(row.latency_ms, low, high)
    return shown if low is None or high is None else f"{shown} ({low:.4g} to {high:.4g})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
