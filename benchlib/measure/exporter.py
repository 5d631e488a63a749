"""Where graphs come from: the exporter, in a process of its own.

PyTorch takes seconds to import and can take the process down with it (memory, native code), so
one exporter serves the whole run. When it ends over a case, that case fails and the next one starts
it again. :class:`Exporter` is its client. The process, ``python -m benchlib.measure.exporter FD``,
answers requests over a pipe with graphs and facts. An error other than InputError ends it. The
traceback is in its log, as is that of a library's error that became an InputError.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchlib.case import ONNX_PREFIX, Case, Failure, GraphForm, ShapeMode
from benchlib.config import Parameters, Shape
from benchlib.errors import InputError
from benchlib.export import build
from benchlib.export.build import Graph
from benchlib.measure.record import CaseError, export_fault
from benchlib.models import macs, registry
from benchlib.process import SPEAK_UTF8, Ended, dies_with_parent, end_group
from benchlib.trtexec.command import BLOG_MIN

MODULE = "benchlib.measure.exporter"
"""What the exporter's process runs."""

ENDING_S = 10.0
"""Seconds an exporter has to end after its pipe was closed; Python's exit takes under one."""


@dataclass(frozen=True, slots=True)
class Network:
    """What is known of a network at one input size; units as in the row's columns.

    ``products`` counts the convolutions and matrix products of a user's own file by the type that
    they have there; empty for a network that is exported here, in FP32, and when not known.
    """

    family: str | None = None
    task: str | None = None
    params_m: float | None = None
    gmacs: float | None = None
    mactivations: float | None = None
    size_mb: float | None = None
    accuracy: float | None = None
    accuracy_metric: str | None = None
    accuracy_source: str | None = None
    note: str | None = None
    products: Mapping[str, int] = field(default_factory=dict)


def traced_shape(case: Case, parameters: Parameters) -> Shape:
    """Batch, height and width that the graph is traced and calibrated at.

    A dynamic engine serves all sizes, so all its cases have to share one graph: the optimum's,
    or for the blog's engines, which have none, the smallest one's.
    """
    if case.shape_mode is ShapeMode.DYNAMIC and parameters.opt_shape is not None:
        return parameters.opt_shape
    if case.shape_mode is ShapeMode.BLOG:
        return parameters.min_shape or (case.batch, *BLOG_MIN)
    return case.batch, case.height, case.width


class Exporter:
    """Gives a case its network's facts, its graph and the work in the graph's nodes.

    From a process of its own, started when it is first needed. ``log`` collects what that says;
    ``time_limit_s`` bounds one answer.
    """

    def __init__(self, parameters: Parameters, log: Path, time_limit_s: float) -> None:
        self._parameters = parameters
        self._log = log
        self._time_limit_s = time_limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None

    def describe(self, case: Case) -> Network:
        """The network's facts; raises :class:`CaseError` when the exporter ends over it."""
        return self._ask(case, "network", case.model, case.height, case.width)

    def graph(self, case: Case, form: GraphForm) -> Graph:
        """The graph file; raises :class:`CaseError`, or :class:`InputError` as ``make`` does."""
        given = self._parameters
        sizes = dict(zip(("batch", "height", "width"), traced_shape(case, given), strict=True))
        return self._ask(
            case,
            "make",
            case.model,
            form,
            **sizes,
            dynamic=case.shape_mode is not ShapeMode.STATIC,
            int8_method=case.int8_method,
            weights=given.weights,
            seed=given.seed,
            calibration_dir=given.calibration_dir,
            half_io=given.half_io and form.has_half,
        )

    def work(self, case: Case, graph: Graph) -> dict[str, int]:
        """Multiply-accumulates of a batch by name of node; empty for a graph not to be counted."""
        return self._ask(case, "work", graph.path, case.batch, case.height, case.width)

    def close(self) -> None:
        """End the exporter."""
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            end_group(self._process)
        self._line = self._process = None

    def _ask(self, case: Case, job: str, *given: Any, **options: Any) -> Any:
        begun = 0 if self._line is None else self._log.stat().st_size
        line = self._line or self._start()
        try:
            line.send((job, given, options))
            answered = line.poll(self._time_limit_s)
            answer = line.recv() if answered else None
        except (EOFError, ConnectionError):
            raise self._ended(case, begun) from None
        if not answered:
            self.close()
            raise CaseError(
                Failure.TIMEOUT,
                f"export: no answer after {self._time_limit_s:.0f} s; raise time_limit_build_s",
            )
        if isinstance(answer, InputError):
            raise answer
        return answer

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        with self._log.open("wb") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **SPEAK_UTF8},
                start_new_session=True,
                preexec_fn=dies_with_parent(),
            )
        theirs.close()
        self._line = ours
        return ours

    def _ended(self, case: Case, begun: int) -> CaseError:
        """The error for an exporter that ended over ``case``; of its log, all from ``begun`` on."""
        process = self._process
        # It closed the pipe and is ending; its traceback and status are still to come.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(ENDING_S)
        self.close()
        text = self._log.read_bytes()[begun:].decode(errors="replace")
        return export_fault(case.model, Ended(process.returncode), text)


# The process.


@lru_cache(maxsize=256)
def work(graph: Path, batch: int, height: int, width: int) -> dict[str, int]:
    """Multiply-accumulates of a graph's nodes; none at all rather than a part of them."""
    try:
        return macs.macs_by_node(graph, batch, height, width)
    except macs.UncountedError:
        return {}


@lru_cache(maxsize=256)
def network(model: str, height: int, width: int) -> Network:
    """The facts of ``model`` at one input size; a count that failed is None with a note."""
    card = registry.card(model)
    count = macs.of(model, height, width)
    counts, published = ("gmacs", "mactivations", "size_mb"), card.published()
    return Network(
        family=card.family,
        task=card.task or None,
        params_m=None if count.params is None else count.params / 1e6,
        **{name: getattr(count, name) for name in counts},
        accuracy=published.value,
        accuracy_metric=published.metric,
        accuracy_source=published.source,
        note=" ".join(filter(None, (card.note, count.reason))) or None,
        products=_products(model),
    )


def _products(model: str) -> dict[str, int]:
    if not model.startswith(ONNX_PREFIX):
        return {}
    return macs.products_by_type(Path(model.removeprefix(ONNX_PREFIX)).expanduser())


def serve(line: Connection) -> None:
    """Do the jobs that come, each a name and its arguments, until the pipe is closed."""
    jobs = {"network": network, "make": build.make, "work": work}
    while True:
        try:
            job, given, options = line.recv()
        except EOFError:
            return
        try:
            answer = jobs[job](*given, **options)
        except InputError as error:
            answer = error
        line.send(answer)


if __name__ == "__main__":
    # An answer's class must be the module's by its name, which is another than the one here.
    from benchlib.measure import exporter

    # An engine may be built meanwhile, and how long that takes is measured
    os.nice(10)
    # Asked to end, it removes its temporary graphs
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("benchlib").setLevel(logging.DEBUG)
    with contextlib.suppress(SystemExit):
        exporter.serve(Connection(int(sys.argv[1])))
    os._exit(0)  # Python's own end takes PyTorch a second
