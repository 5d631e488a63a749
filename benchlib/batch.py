"""The main job: papermill runs ``benchmark.ipynb`` once per precision, then ``report.ipynb``.

One kernel per precision, strictly one after another: a crash in one precision cannot hurt the
next, and the GPU's memory is really free again. What papermill only warns about (a parameter that
the notebook does not have) is refused here before anything runs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillException, PapermillExecutionError
from traitlets.config import Config

from benchlib.errors import InputError

log = logging.getLogger(__name__)

#: The environment's own kernel: JupyterLab users save their kernel's name into the file, so the
#: name in the notebook cannot be relied upon.
KERNEL = "python3"

#: ipykernel warns that a kernel talks over plain TCP unless it is told to encrypt where it can.
_QUIET = Config({"KernelManager": {"transport_encryption": "auto"}})

#: A cell that has said nothing for this long is dead; a measuring cell bounds its own cases.
_NO_LIMIT = None


@dataclass(frozen=True, slots=True)
class Execution:
    """How one notebook run ended; ``problem`` is empty when it went through."""

    notebook: Path
    problem: str

    @property
    def ok(self) -> bool:
        return not self.problem


def notebooks_dir() -> Path:
    """The folder of the source notebooks: beside the package, or ``BENCHLIB_NOTEBOOKS``."""
    named = os.environ.get("BENCHLIB_NOTEBOOKS")
    folder = Path(named) if named else Path(__file__).resolve().parents[1] / "notebooks"
    if not (folder / "benchmark.ipynb").is_file():
        raise InputError(
            "BENCHLIB_NOTEBOOKS",
            f"no benchmark.ipynb in {folder}; install benchlib from its checkout "
            "(pip install -e .) or name the notebooks' folder in this variable",
        )
    return folder


def execute(name: str, output: Path, parameters: Mapping[str, Any]) -> Execution:
    """Run the source notebook ``name`` into ``output``; failures are told, not raised.

    Trusts the exception, never the metadata: a killed kernel leaves all cells "completed".
    """
    source = notebooks_dir() / name
    refuse_unknown(source, parameters)
    output.parent.mkdir(parents=True, exist_ok=True)
    problem = ""
    try:
        papermill.execute_notebook(
            source,
            output,
            dict(parameters),
            kernel_name=KERNEL,
            cwd=source.parent,
            progress_bar=False,
            log_output=True,
            execution_timeout=_NO_LIMIT,
            config=_QUIET,
        )
    except PapermillExecutionError as error:
        problem = f"{error.ename}: {error.evalue}".strip()
    except (CellTimeoutError, DeadKernelError, PapermillException) as error:
        problem = f"{type(error).__name__}: {error}".strip()
    return Execution(output, problem)


def refuse_unknown(source: Path, parameters: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` for a parameter that the notebook does not declare."""
    known = papermill.inspect_notebook(str(source))
    for name in parameters:
        if name not in known:
            raise InputError(name, f"{source.name} has no such parameter; it has {sorted(known)}")


def run(
    parameters: Mapping[str, Any], precisions: Sequence[str], out: Path
) -> tuple[Execution, ...]:
    """Measure each precision in a kernel of its own; a failed one does not stop the next."""
    executions = []
    for precision in precisions:
        log.info("precision %s: papermill runs benchmark.ipynb", precision)
        executions.append(
            execute(
                "benchmark.ipynb",
                out / f"benchmark_{precision}.ipynb",
                {**parameters, "precision": precision, "out_dir": str(out.resolve())},
            )
        )
    return tuple(executions)


def report(sets: Sequence[Path], out: Path, figures: Path | None = None) -> Path:
    """Render ``report.ipynb`` over measured sets into ``out``; return the HTML's path."""
    from benchlib.report import html

    parameters = {
        "results": [str(Path(one).resolve()) for one in sets],
        "figures_dir": str(figures.resolve()) if figures else "",
    }
    execution = execute("report.ipynb", out / "report.ipynb", parameters)
    if not execution.ok:
        raise InputError("report", f"report.ipynb stopped: {execution.problem}")
    page = out / "report.html"
    html.export(execution.notebook, page)
    return page
