"""The bridge between :class:`Parameters` and the cell of ``benchmark.ipynb`` that declares them.

The cell is written from the model, so name, type, default and help stand in one place;
``python -m benchlib.notebook`` rewrites it, and a test compares the two.
"""

from __future__ import annotations

import ast
import logging
import os
import sys
import types
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import nbformat
import pandas as pd

from benchlib import config
from benchlib.case import Status
from benchlib.config import Parameters
from benchlib.measure.record import Row
from benchlib.measure.runner import Outcome
from benchlib.stats import rounding

TAG = "parameters"

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
            "what happened": [row.message or "; ".join(row.reasons) for row in outcome.rows],
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
    shown = rounding.text(row.latency_ms, low, high)
    return shown if low is None or high is None else f"{shown} ({low:.4g} to {high:.4g})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def cell() -> str:
    """The source of the cell tagged ``parameters``, as ``papermill --help-notebook`` reads it."""
    lines = []
    for name, field in Parameters.model_fields.items():
        value = _plain(field.get_default(call_default_factory=True))
        annotation = _annotation(field.annotation)
        lines.append(f"{name}: {annotation} = {_literal(value)}  # {field.description}")
    return "\n".join(lines)


def write(path: Path) -> bool:
    """Put :func:`cell` into the notebook at ``path``; return whether that changed it."""
    notebook = nbformat.read(path, as_version=4)
    tagged = [one for one in notebook.cells if TAG in one.metadata.get("tags", ())]
    if len(tagged) != 1:
        raise ValueError(f"{path.name} has {len(tagged)} cells tagged {TAG!r}; it needs one")
    changed = tagged[0].source != cell()
    tagged[0].source = cell()
    nbformat.write(notebook, path)
    return changed


def _annotation(annotation: Any) -> str:
    """The type in words that papermill's reader knows: it stops at ``|`` and at ``Literal``."""
    options = [one for one in _members(annotation) if one is not types.NoneType]
    if any(get_origin(one) is tuple for one in options):
        inner = get_args(options[0])[0]
        return f"list[{_annotation(inner)}]"
    first = options[0]
    if isinstance(first, str) or (isinstance(first, type) and issubclass(first, Enum)):
        return "str"
    return first.__name__


def _members(annotation: Any) -> tuple[Any, ...]:
    return (
        (annotation,)
        if isinstance(annotation, type) or _is_tuple(annotation)
        else _args(annotation)
    )


def _is_tuple(annotation: Any) -> bool:
    return get_origin(annotation) is tuple


def _args(annotation: Any) -> tuple[Any, ...]:
    flat: list[Any] = []
    for one in get_args(annotation):
        flat.extend(_members(one) if get_args(one) and not _is_tuple(one) else (one,))
    return tuple(flat)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _literal(value: Any) -> str:
    """Python source in the double quotes that the formatter would choose."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(_literal(one) for one in value) + "]"
    return repr(value)


def main() -> None:
    """Rewrite the parameters cell of the notebooks named on the command line."""
    for name in sys.argv[1:] or ["notebooks/benchmark.ipynb"]:
        write(Path(name))


if __name__ == "__main__":
    main()
