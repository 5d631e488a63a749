"""The measuring loop: two queries in flight, time stamps by CUDA events, trtexec's rule to end.

While the GPU runs one query the host puts the next one behind it and only then waits for the
first, so the GPU never idles as long as enqueueing takes less time than computing. Start event,
launch and end event follow one another with nothing between.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cuda.bindings import runtime

from benchlib.engines import cuda_runtime
from benchlib.engines.cuda_runtime import SUCCESS, Tensor, checked
from benchlib.engines.standin.bound import LoopBound
from benchlib.engines.standin.log import Log, StandinError
from benchlib.engines.standin.options import Measuring
from benchlib.engines.standin.trace import Trace
from benchlib.engines.tensorrt_context import Bound

NANOSECONDS = 1e6
"""Nanoseconds in a millisecond."""


@dataclass(frozen=True, slots=True)
class Launch:
    """The call that hands one query to the compute stream, ready to be made."""

    call: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Clock:
    """Zero of both clocks: a host time in nanoseconds, and an event recorded right after it."""

    host_ns: int
    event: Any

    @classmethod
    def start(cls, *, spin: bool) -> Clock:
        """Start the clocks. The warm-up runs from here, so a slow graph capture eats of it."""
        stream, event = cuda_runtime.stream(), cuda_runtime.event(spin=spin)
        host_ns = time.perf_counter_ns()
        cuda_runtime.record(event, stream)
        return cls(host_ns, event)


@dataclass(slots=True)
class Stamps:
    """What has been read so far: host times in nanoseconds, GPU times in milliseconds.

    ``copies`` has four GPU stamps per query (input start and end, output start and end) when
    data is transferred, and stays empty otherwise.
    """

    before_ns: list[int] = field(default_factory=list)
    after_ns: list[int] = field(default_factory=list)
    start_ms: list[float] = field(default_factory=list)
    compute_ms: list[float] = field(default_factory=list)
    copies: list[tuple[float, float, float, float]] = field(default_factory=list)

    def trace(self, zero_ns: int) -> Trace:
        """All queries as arrays."""
        before, after = (
            (np.array(times, dtype=np.int64) - zero_ns) / NANOSECONDS
            for times in (self.before_ns, self.after_ns)
        )
        start, compute = np.array(self.start_ms), np.array(self.compute_ms)
        end = start + compute
        if not self.copies:
            return Trace.without_transfers(before, after, start, end, compute)
        copies = np.array(self.copies).T
        columns = (before, after, copies[0], copies[1], start, end, copies[2], copies[3], compute)
        return Trace(*(column.astype(np.float32) for column in columns))


class Slot:
    """Room for one query in flight, whose data stays on the device."""

    __slots__ = ("_after", "_before", "_compute", "_end", "_launch", "_start", "_zero", "busy")

    def __init__(self, compute: Any, launch: Launch, clock: Clock, *, spin: bool) -> None:
        self._compute = compute
        self._launch = launch
        self._zero = clock.event
        self._start = cuda_runtime.event(spin=spin)
        self._end = cuda_runtime.event(spin=spin)
        self._before = self._after = 0
        self.busy = False

    def put(self) -> None:
        """Enqueue a query between its two events; raises :class:`StandinError` on failure."""
        record, clock = runtime.cudaEventRecord, time.perf_counter_ns
        start, end, stream = self._start, self._end, self._compute
        call, arguments = self._launch.call, self._launch.arguments
        started = record(start, stream)
        before = clock()
        launched = call(*arguments)
        after = clock()
        ended = record(end, stream)
        checked(started)
        _check_launch(launched)
        checked(ended)
        self._before, self._after = before, after
        self.busy = True

    def collect(self, stamps: Stamps) -> float:
        """Wait for the query, note its stamps, return its compute start in milliseconds."""
        checked(runtime.cudaEventSynchronize(self._last()))
        start = _elapsed(self._zero, self._start)
        stamps.before_ns.append(self._before)
        stamps.after_ns.append(self._after)
        stamps.start_ms.append(start)
        stamps.compute_ms.append(_elapsed(self._start, self._end))
        self.busy = False
        return start

    def _last(self) -> Any:
        return self._end


class TransferSlot(Slot):
    """Room for one query whose inputs are copied in and outputs copied out, on own streams."""

    __slots__ = ("_copies", "_input", "_output", "_tensors")

    def __init__(
        self,
        compute: Any,
        launch: Launch,
        clock: Clock,
        *,
        spin: bool,
        streams: tuple[Any, Any],
        tensors: tuple[Tensor, ...],
    ) -> None:
        super().__init__(compute, launch, clock, spin=spin)
        self._input, self._output = streams
        self._tensors = tensors
        self._copies = tuple(cuda_runtime.event(spin=spin) for _ in range(4))

    def put(self) -> None:
        input_start, input_end, output_start, output_end = self._copies
        self._copy(self._input, input_start, input_end, inputs=True)
        cuda_runtime.wait(self._compute, input_end)
        super().put()
        cuda_runtime.wait(self._output, self._end)
        self._copy(self._output, output_start, output_end, inputs=False)

    def collect(self, stamps: Stamps) -> float:
        start = super().collect(stamps)
        first, second, third, fourth = (_elapsed(self._zero, event) for event in self._copies)
        stamps.copies.append((first, second, third, fourth))
        return start

    def _copy(self, stream: Any, start: Any, end: Any, *, inputs: bool) -> None:
        cuda_runtime.record(start, stream)
        for tensor in self._tensors:
            if tensor.is_input == inputs:
                tensor.copy_on(stream)
        cuda_runtime.record(end, stream)

    def _last(self) -> Any:
        return self._copies[-1]


def measure(bound: Bound, measuring: Measuring, log: Log) -> Trace:
    """Time queries as ``measuring`` says and return all of them, warm-up included."""
    spin = measuring.spin_wait
    clock = Clock.start(spin=spin)
    streams = incoming, compute, outgoing = tuple(cuda_runtime.stream() for _ in range(3))
    for stream in streams:
        cuda_runtime.wait(stream, clock.event)
    launch = direct(bound, compute)
    if measuring.cuda_graph:
        launch = captured(bound, compute, log) or launch
    depth = 2 if measuring.overlap else 1
    if measuring.transfers:
        slots = tuple(
            TransferSlot(
                compute,
                launch,
                clock,
                spin=spin,
                streams=(incoming, outgoing),
                tensors=bound.tensors,
            )
            for _ in range(depth)
        )
    else:
        slots = tuple(Slot(compute, launch, clock, spin=spin) for _ in range(depth))
    stamps = run(slots, measuring)
    return stamps.trace(clock.host_ns)


def run(slots: tuple[Slot, ...], measuring: Measuring) -> Stamps:
    """Put and collect in turn until enough has been measured; leaves no query in flight."""
    bound = LoopBound(
        iterations=measuring.iterations,
        duration_s=measuring.duration_s,
        warm_up_ms=measuring.warm_up_ms,
    )
    stamps = Stamps()
    current = 0
    collecting = gc.isenabled()
    gc.disable()
    try:
        while bound.more():
            slots[current].put()
            current = (current + 1) % len(slots)
            older = slots[current]
            bound.passed(older.collect(stamps) if older.busy else None)
            if measuring.idle_ms and not bound.warming_up:
                time.sleep(measuring.idle_ms / 1000)
        for offset in range(len(slots)):
            older = slots[(current + offset) % len(slots)]
            if older.busy:
                older.collect(stamps)
    finally:
        if collecting:
            gc.enable()
    return stamps


def direct(bound: Bound, stream: Any) -> Launch:
    """Launching by the context's own enqueue."""
    return Launch(bound.context.execute_async_v3, (int(stream),))


def captured(bound: Bound, stream: Any, log: Log) -> Launch | None:
    """Launching a CUDA graph of one enqueue; None, with a warning, when it cannot be captured.

    The context is enqueued once beforehand, because lazy set-up must not fall into the capture.
    """
    enqueue = direct(bound, stream)
    _check_launch(enqueue.call(*enqueue.arguments))
    cuda_runtime.synchronize(stream)
    mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    checked(runtime.cudaStreamBeginCapture(stream, mode))
    enqueued = enqueue.call(*enqueue.arguments)
    error, graph = runtime.cudaStreamEndCapture(stream)
    if not enqueued or error != SUCCESS:
        runtime.cudaGetLastError()
        log.warning("CUDA graph capture on the stream has failed.")
        log.warning("The engine is not permitted under CUDA graph capture mode: no graph is used.")
        return None
    executable = checked(runtime.cudaGraphInstantiate(graph, 0))
    log.info("Successfully captured CUDA graph for stream 0")
    return Launch(runtime.cudaGraphLaunch, (executable, stream))


def _check_launch(result: Any) -> None:
    """Take the result of either way of launching: a truth value, or CUDA's tuple."""
    if isinstance(result, tuple):
        checked(result)
    elif not result:
        raise StandinError("Error occurred during inference: the query was not enqueued")


def _elapsed(first: Any, second: Any) -> float:
    return float(checked(runtime.cudaEventElapsedTime(first, second)))
