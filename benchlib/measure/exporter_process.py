"""The exporter's process: takes requests over a pipe, answers with graphs and facts.

``python -m benchlib.measure.exporter_process FD``; started by
:class:`benchlib.measure.exporter.Exporter`. An error that is no refusal ends the process. Its
traceback is in the exporter's log, as is that of a library's error that became a refusal.
"""

from __future__ import annotations

import logging
import sys
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path

from benchlib import case
from benchlib.errors import InputError
from benchlib.export import build
from benchlib.measure.exporter import Network
from benchlib.models import macs, onnx_macs, registry
from benchlib.models.onnx_macs import UncountedError


@lru_cache(maxsize=256)
def work(graph: Path, batch: int, height: int, width: int) -> dict[str, int]:
    """Multiply-accumulates of a graph's nodes; none at all rather than a part of them."""
    try:
        return onnx_macs.macs_by_node(graph, batch, height, width)
    except UncountedError:
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
    if not model.startswith(case.ONNX_PREFIX):
        return {}
    return onnx_macs.products_by_type(Path(model.removeprefix(case.ONNX_PREFIX)).expanduser())


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
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("benchlib").setLevel(logging.DEBUG)
    serve(Connection(int(sys.argv[1])))
