"""What an engine says about its layers: the inspector's text, and their times in a run apart."""

from __future__ import annotations

import time
from typing import Any

from benchlib.engines import cuda_runtime
from benchlib.engines.standin.exports import LayerTimes
from benchlib.engines.standin.log import StandinError
from benchlib.engines.standin.options import Measuring
from benchlib.engines.tensorrt_context import Bound, run_once
from benchlib.engines.tensorrt_library import Library

WARM_UP_RUNS = 3


def information(library: Library, engine: Any) -> str:
    """The inspector's JSON; how much it holds was fixed by the verbosity of the build."""
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(library.trt.LayerInformationFormat.JSON)
    if not text:
        raise StandinError("The engine inspector gave no layer information")
    return text if text.endswith("\n") else text + "\n"


def profile(
    library: Library, bound: Bound, measuring: Measuring
) -> tuple[tuple[LayerTimes, ...], int]:
    """Times of every layer and the number of runs; never in the context that was timed.

    Each run waits for its layers' times, so they add up to more than the timed queries.
    """
    times: dict[str, list[float]] = {}
    profiler = _profiler_class(library.trt)(times)
    context, stream = bound.context, cuda_runtime.stream()
    context.profiler = profiler
    context.enqueue_emits_profile = False
    runs = -WARM_UP_RUNS
    began = time.perf_counter()
    while runs < max(measuring.iterations, 1) or time.perf_counter() - began < measuring.duration_s:
        if runs == 0:
            times.clear()
            began = time.perf_counter()
        run_once(bound, stream)
        if not context.report_to_profiler():
            raise StandinError("The profiler gave no layer times")
        runs += 1
    return tuple(LayerTimes(name, tuple(values)) for name, values in times.items()), runs


def _profiler_class(trt: Any) -> type:
    class Profiler(trt.IProfiler):
        """Collects milliseconds per layer name."""

        def __init__(self, times: dict[str, list[float]]) -> None:
            trt.IProfiler.__init__(self)
            self._times = times

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self._times.setdefault(layer_name, []).append(ms)

    return Profiler
