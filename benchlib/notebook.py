"""What the notebooks call: where paths begin, parameters read from cells, a run's rows as a table.

The cell that declares the parameters is written from :class:`Parameters` by
``tools/write_generated.py``, so name, type, default and help stand in one place.
"""

from __future__ import annotations

import ast
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchlib import config
from benchlib.case import Status
from benchlib.config import Parameters
from benchlib.errors import InputError
from benchlib.stats.summary import rounded

if TYPE_CHECKING:  # what measures is not needed by the notebooks that show
    from benchlib.measure.record import Row
    from benchlib.measure.runner import Outcome

#: What papermill writes over the cell that it injects.
_INJECTED = "# Parameters"

#: By one of these and its name the folder of the notebooks is known, not one with a user's copy.
_SOURCES = ("benchmark.ipynb", "explore.ipynb")

#: Comes with a preset's file: it says which runs to make, and this notebook is one of them.
_RUNS = "precisions"


def read(namespace: Mapping[str, Any]) -> Parameters:
    """Return the parameters that a notebook's ``globals()`` hold.

    They are what the cell of parameters and the one that papermill injects have set, and nothing
    that an IPython start-up file left in the namespace. papermill injects a misspelt
    ``-p modles …`` with a warning only; here it is refused with an
    :class:`~benchlib.errors.InputError` that names the nearest right one.
    """
    _go_to_top()
    if "In" in namespace:
        names = [name for source in namespace["In"] for name in _parameters_of(source)]
    else:  # no kernel: a script that nbconvert made
        names = list(config.parameter_names())
    return config.read_parameters({name: namespace[name] for name in names if name in namespace})


def begin(namespace: Mapping[str, Any]) -> None:
    """Let relative paths begin at the project's top, and refuse a parameter that papermill injected
    and that the notebook of these ``globals()`` does not declare, by an
    :class:`~benchlib.errors.InputError`.
    """
    _go_to_top()
    declared: set[str] = set()
    injected: set[str] = set()
    for source in namespace.get("In", ()):
        (injected if source.startswith(_INJECTED) else declared).update(_assigned(source))
    for name in sorted(injected - declared) if declared else ():
        nearest = config.nearest(name, tuple(sorted(declared)))
        raise InputError(name, f"this notebook has no such parameter{nearest}")


def _go_to_top() -> None:
    """JupyterLab starts a kernel in the notebook's folder, papermill in the caller's; relative
    paths are meant from the project's top in both."""
    here = Path.cwd()
    if here.name == "notebooks" and any((here / name).is_file() for name in _SOURCES):
        os.chdir("..")


def _assigned(source: str) -> list[str]:
    """The names that a cell sets."""
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
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _parameters_of(source: str) -> list[str]:
    """The names that a cell sets, if it is one of parameters: injected, or it sets a known one."""
    names = _assigned(source)
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
