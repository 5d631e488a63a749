"""The exporter's process: takes orders over a pipe, answers with graphs and facts.

``python -m benchlib.sweep.exporter FD``; started by :class:`benchlib.sweep.workshop.Exporter`.
An error that is no refusal ends the process. Its traceback is in the exporter's log, as is that of
a library's error that became a refusal.
"""

from __future__ import annotations

import logging
import sys
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path

from benchlib.errors import InputError
from benchlib.graphs import make
from benchlib.graphs.make import Graph
from benchlib.models import complexity, graph_count, lineup
from benchlib.models.graph_count import UncountedError
from benchlib.sweep.workshop import Network, Order, Refusal, Tally


def answer(order: Order | Tally) -> Graph | Network | dict[str, int] | Refusal:
    """Do one order."""
    if isinstance(order, Tally):
        return work(order)
    case = order.case
    batch, height, width = order.shape
    try:
        if order.form is None:
            return network(case.model, case.height, case.width)
        return make.make(
            case.model,
            order.form,
            height=height,
            width=width,
            batch=batch,
            dynamic=order.dynamic,
            int8_method=case.int8_method,
            weights=order.weights,
            seed=order.seed,
            calibration_dir=order.calibration_dir,
            half_io=order.half_io and order.form.has_half,
        )
    except InputError as error:
        return Refusal(error.field, error.problem)


@lru_cache(maxsize=256)
def work(tally: Tally) -> dict[str, int]:
    """Multiply-accumulates of a graph's nodes; none at all rather than a part of them."""
    try:
        return graph_count.by_node(tally.path, *tally.shape)
    except UncountedError:
        return {}


@lru_cache(maxsize=256)
def network(model: str, height: int, width: int) -> Network:
    """The facts of ``model`` at one input size; a count that failed is None with a note."""
    card = lineup.card(model)
    count = complexity.of(model, height, width)
    return Network(
        family=card.family,
        task=card.task or None,
        params_m=None if count.params is None else count.params / 1e6,
        gmacs=count.gmacs,
        mactivations=count.mactivations,
        size_mb=count.size_mb,
        accuracy=card.accuracy,
        accuracy_metric=card.accuracy_metric,
        accuracy_source=card.accuracy_source,
        note=count.reason,
        products=_products(model),
    )


def _products(model: str) -> dict[str, int]:
    if not model.startswith(lineup.ONNX_PREFIX):
        return {}
    return graph_count.products_by_type(Path(model.removeprefix(lineup.ONNX_PREFIX)).expanduser())


def serve(line: Connection) -> None:
    """Answer orders until the other side hangs up."""
    while True:
        try:
            order = line.recv()
        except EOFError:
            return
        line.send(answer(order))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("benchlib").setLevel(logging.DEBUG)
    serve(Connection(int(sys.argv[1])))
