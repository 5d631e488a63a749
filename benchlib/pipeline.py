"""The main job: papermill runs ``benchmark.ipynb`` once per precision, then ``report.ipynb``.

One kernel per precision, strictly one after another: a crash in one precision cannot hurt the
next, and the GPU's memory is really free again. What papermill only warns about (a parameter that
the notebook does not have) is refused here before anything runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import papermill
import psutil
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import CellTimeoutError
from papermill.exceptions import PapermillException, PapermillExecutionError
from traitlets.config import Config

from benchlib import config, process
from benchlib.analysis import ranking, results, wording
from benchlib.case import Status
from benchlib.errors import InputError, MachineError
from benchlib.measure import record, store
from benchlib.report import html

log = logging.getLogger(__name__)

#: The kernel's name for papermill, which needs one; :class:`OwnKernel` starts whatever it is. The
#: name in the notebook cannot be relied upon: JupyterLab users save their kernel's into the file.
KERNEL = "python3"

#: A kernel's ports are chosen before it binds them, and one that finds a port taken meanwhile, as
#: when several runs start at once, ends before any cell has run: it is started again.
KERNEL_STARTS = 3
_DIED_STARTING = "Kernel died before replying to kernel_info"

_LAST_WORDS = "stderr"

#: ipykernel warns that a kernel talks over plain TCP unless it is set to encrypt where it can.
_QUIET = Config({"KernelManager": {"transport_encryption": "auto"}})


class OwnKernel(AsyncKernelManager):
    """Starts this interpreter, in surroundings that no other notebook shares.

    Any folder of JUPYTER_PATH may hold another kernel called python3, and the user's start-up
    files and IPython settings would change what cells do and show. Nothing is written under HOME.
    """

    @property
    def kernel_spec(self) -> KernelSpec:
        if self._kernel_spec is None:
            env = {"IPYTHONDIR": self.ipython_dir, "PYTHONSTARTUP": ""}
            self._kernel_spec = KernelSpec(**get_kernel_dict(), env=env)
        return self._kernel_spec

    @property
    def ipython_dir(self) -> str:
        """A folder of its own beside the file by which the kernel is reached."""
        return str(Path(self.connection_file).parent)

    async def _async_launch_kernel(self, kernel_cmd: list[str], **how: Any) -> None:
        # What a kernel says past its cells is told only of one that died: as it is shut down, its
        # threads log errors at each other's closed sockets.
        with Path(self.ipython_dir, _LAST_WORDS).open("ab") as sink:
            await super()._async_launch_kernel(kernel_cmd, **how, stderr=sink)

    async def _async_interrupt_kernel(self) -> None:
        """Not before a shutdown, whose request follows: the kernel would log an error of it."""
        if not self.shutting_down:
            await super()._async_interrupt_kernel()


class _StandardError:
    """Standard error for papermill: a terminal or a reader that is gone ends no run."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


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


def execute(
    name: str,
    output: Path,
    parameters: Mapping[str, Any],
    before_cell: Callable[..., None] | None = None,
) -> Execution:
    """Run the source notebook ``name`` into ``output``; a failure is returned, not raised.

    Trusts the exception, never the metadata: a killed kernel leaves all cells "completed".
    ``before_cell`` is called before each cell and may raise. Raises OSError, with the name of the
    file, when ``output`` cannot be written.
    """
    source = notebooks_dir() / name
    refuse_unknown(source, parameters)
    output.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(KERNEL_STARTS):
        problem = _execute(source, output, parameters, before_cell)
        if _DIED_STARTING not in problem:
            break
    return Execution(output, record.one_line(problem))


def _execute(
    source: Path,
    output: Path,
    parameters: Mapping[str, Any],
    before_cell: Callable[..., None] | None,
) -> str:
    """What ended the notebook early; empty when it went through."""
    with tempfile.TemporaryDirectory(prefix="benchlib-kernel-") as own:
        last_words = Path(own, _LAST_WORDS)
        last_words.touch()
        try:
            config = Config(_QUIET)
            config.KernelManager.connection_file = str(Path(own, "kernel.json"))
            papermill.execute_notebook(
                _literal(source),
                _literal(output),
                dict(parameters),
                kernel_name=KERNEL,
                kernel_manager_class=OwnKernel,
                # The caller's folder, so that a relative path means what it means in the shell.
                cwd=str(Path.cwd()),
                progress_bar=False,
                # The kernel's own lines, one per case with the time left, as they come.
                stderr_file=_StandardError(),
                execution_timeout=None,  # a measuring cell bounds its own cases
                # A measuring notebook may be looked at meanwhile; the report's grows to megabytes,
                # and to save it twice a cell takes seconds.
                request_save_on_cell_execute=source.name != "report.ipynb",
                on_cell_execute=before_cell,
                config=config,
            )
        except PapermillExecutionError as error:
            is_plain = error.ename in ("InputError", "InterruptedError")
            return error.evalue if is_plain else f"{error.ename}: {error.evalue}".rstrip(": ")
        except OSError as error:
            where = error.filename or str(output)
            raise OSError(error.errno, error.strerror or str(error), where) from error
        except (CellTimeoutError, RuntimeError, PapermillException) as error:
            # jupyter_client and nbclient raise a RuntimeError for a kernel that ended.
            problem = f"{type(error).__name__}: {error}".strip()
            words = last_words.read_text(encoding="utf-8", errors="replace")
            return f"{problem}; {record.cause_in(words)}" if words.strip() else problem
    return ""


def _literal(path: Path) -> str:
    """``path`` for papermill, which fills in parameters where a path has braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def refuse_unknown(source: Path, parameters: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` for a parameter that the notebook does not declare."""
    known = papermill.inspect_notebook(_literal(source))
    for name in parameters:
        if name not in known:
            raise InputError(name, f"{source.name} has no such parameter; it has {sorted(known)}")


@dataclass(frozen=True, slots=True)
class Ended:
    """How the main job ended: each notebook, the rows that stand now, and the report."""

    out: Path
    executions: tuple[Execution, ...]
    counts: Mapping[str, int]
    page: Path | None
    interrupted: bool

    @property
    def ok(self) -> bool:
        """Every notebook went through and no case failed; a skipped case has its reason."""
        return not self.counts.get(Status.FAILED.value) and all(one.ok for one in self.executions)

    def check(self) -> None:
        """Raise unless every notebook went through; log that cases failed.

        KeyboardInterrupt after a stop, else :class:`MachineError` with the first problem.
        """
        if self.interrupted:
            raise KeyboardInterrupt
        for one in self.executions:
            if not one.ok:
                raise MachineError(f"{one.notebook}: {one.problem}")
        if number := self.counts.get(Status.FAILED.value):
            log.warning("%s failed; the rows say why", wording.plural(number, "case"))

    def as_json(self) -> dict[str, Any]:
        """The outcome for a program that called the command."""
        return {
            "out": str(self.out),
            "ok": self.ok and not self.interrupted,
            "interrupted": self.interrupted,
            "rows": dict(self.counts),
            "report": str(self.page) if self.page else None,
            "problems": [one.problem for one in self.executions if not one.ok],
        }

    def lines(self) -> list[str]:
        """The same for a person."""
        counts = ", ".join(f"{number} {status}" for status, number in self.counts.items())
        lines = [f"{self.out / 'table.csv'}: {counts or 'no rows yet'}"]
        lines += [f"{one.notebook}: {one.problem}" for one in self.executions if not one.ok]
        if self.counts.get(Status.FAILED.value):
            lines.append("some cases failed; the report lists them with their logs")
        if self.interrupted:
            lines.append("stopped before the end; run the same command again to go on")
        if self.page:
            lines.append(f"report: {self.page}")
        return lines


def main_job(
    preset_name: str | None, overrides: Mapping[str, Any], out: Path, *, with_report: bool = True
) -> Ended:
    """Measure every precision of a preset into ``out``, then render the report.

    Everything a user can have got wrong is refused by an :class:`InputError` before the first
    kernel starts. A failed precision does not stop the next one.
    """
    # These bring the exporter's libraries, which a report does without.
    from benchlib.export import cache, calibration
    from benchlib.measure import engine_cache, fleet, matrix
    from benchlib.trtexec import locate

    runs = config.preset_runs(preset_name, overrides)
    where = runs[0].fleet
    if where in (None, fleet.LOCAL):  # what other hosts have is known when they are there
        planned = matrix.every(runs, locate.find(runs[0].engine))
        photos = runs[0].calibration_dir
        if photos and any(step.form is not None and step.form.is_int8 for step in planned):
            calibration.files_of(Path(photos))
    _check_writable(out)
    cache.Cache(cache.root()).check()
    engine_cache.limit_bytes()
    out.mkdir(parents=True, exist_ok=True)
    executions: list[Execution] = []
    # The kernel locks the set too, but seconds later, with its notebook already written over.
    # One cluster serves all kernels.
    cluster = fleet.cluster(where) if where else contextlib.nullcontext()
    with store.only_one(out, ".job.lock"), cluster as address, Relay() as relay:
        for parameters in runs:
            if relay.asked:
                break
            log.info("precision %s: papermill runs benchmark.ipynb", parameters.precision)
            given = {**parameters.as_json(), "out_dir": str(out.resolve()), "fleet": address}
            name = f"benchmark_{parameters.precision}.ipynb"
            executions.append(relay.execute("benchmark.ipynb", out / name, given))
    interrupted = relay.asked and not (
        len(executions) == len(runs) and all(one.ok for one in executions)
    )
    counts = _counts(out)
    page = None
    if with_report and counts and not interrupted:
        log.info("the report: papermill runs report.ipynb")
        try:
            page = report([out], out)
        except (InputError, MachineError) as error:
            executions.append(Execution(out / "report.ipynb", str(error)))
    return Ended(out, tuple(executions), counts, page, interrupted)


class _StoppedError(Exception):
    """A stop was asked for while the kernel was starting."""


class Relay:
    """Passes Ctrl-C, SIGTERM and SIGHUP on to the kernel, which sits in a session of its own.

    A kernel that measures lets the running process finish at the first Ctrl-C, and stops at the
    second and at the other two, after which nothing of it is left.
    papermill runs in a thread meanwhile, because it would otherwise take the signal and kill the
    kernel.
    A kernel that is starting up would end with a traceback at the signal, or ignore it, so it gets
    none and its first cell is not begun.
    """

    def __init__(self) -> None:
        self.asked = False
        self._begun = False
        self._signals = contextlib.ExitStack()

    def __enter__(self) -> Relay:
        taken = process.on_signals(self._on_signal, signal.SIGINT, *process.ENDING)
        self._signals.enter_context(taken)
        return self

    def __exit__(self, *_: object) -> None:
        self._signals.close()

    def execute(self, name: str, output: Path, parameters: Mapping[str, Any]) -> Execution:
        """As :func:`execute`, with signals passed on while it runs."""
        self._begun = False
        with ThreadPoolExecutor(max_workers=1) as pool:
            running = pool.submit(execute, name, output, parameters, self._before_cell)
            # Waiting in slices: a plain wait would hold signals back until it is over.
            while not running.done():
                wait([running], timeout=0.2)
            try:
                return running.result()
            except _StoppedError:
                return Execution(output, "stopped before its first cell")

    def _before_cell(self, **_: Any) -> None:
        first, self._begun = not self._begun, True
        if first and self.asked:
            raise _StoppedError

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # The kernel itself logs what it does about it.
        self.asked = True
        if not self._begun:
            return
        order = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "ipykernel_launcher" in " ".join(child.cmdline()):
                    child.send_signal(order)


def _check_writable(out: Path, field: str = "out") -> None:
    """Refuse a folder that takes no files now, not after the first case was measured.

    Makes none: where there is no such folder yet, the one that it would be made in is looked at.
    """
    _check_name(out, field)
    try:
        there = out.absolute()
        while not there.exists() and not there.is_symlink():
            there = there.parent
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(
            field, f"{out} cannot be written ({error.strerror}); choose another folder"
        ) from None


def _check_name(path: Path, field: str) -> None:
    """Refuse bytes that are no text here: they cannot be written into a notebook."""
    try:
        str(path.resolve()).encode()
    except UnicodeEncodeError:
        raise InputError(
            field, f"{path} has a name that is not UTF-8; rename it, or set LC_ALL=C.UTF-8"
        ) from None


def _counts(out: Path) -> dict[str, int]:
    """How many rows of each status stand in the set."""
    if not (out / results.TABLE).is_file():
        return {}
    return {str(k): int(n) for k, n in results.load(out).frame["status"].value_counts().items()}


def report(
    sets: Sequence[Path],
    out: Path | None = None,
    figures: Path | None = None,
    price_per_hour: float | None = None,
) -> Path:
    """Render ``report.ipynb`` over measured sets into ``out``; return the HTML's path.

    Without ``out`` into the first set's folder. ``price_per_hour`` are dollars for the device.

    Raises :class:`InputError` for sets and folders that cannot be used, before any is made, and
    :class:`MachineError` when the notebook stops.
    """
    for one in sets:
        _check_name(one, "results")
    results.load_sets(sets)
    ranking.check_price(price_per_hour)
    out = out or (sets[0] if sets[0].is_dir() else sets[0].parent)
    for folder, field in ((out, "out"), (figures, "figures")):
        if folder is not None:
            _check_writable(folder, field)
    parameters = {
        "results": [str(Path(one).resolve()) for one in sets],
        "figures_dir": str(figures.resolve()) if figures else "",
        "tables_dir": str(out.resolve()),
        "price_per_hour": price_per_hour or 0.0,
    }
    with Relay() as relay:
        execution = relay.execute("report.ipynb", out / "report.ipynb", parameters)
    if relay.asked:
        raise KeyboardInterrupt
    if not execution.ok:
        raise MachineError(f"report.ipynb stopped: {execution.problem}")
    page = out / "report.html"
    html.export(execution.notebook, page)
    return page
