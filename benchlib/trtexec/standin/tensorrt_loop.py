"""Running an engine: CUDA's calls, bound tensors, and trtexec's measuring loop.

Two queries are in flight. While the GPU runs one, the host puts the next one behind it and only
then waits for the first, so the GPU is never idle as long as enqueueing takes less time than
computing. Start event, launch and end event follow one another with nothing between.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cuda.bindings import runtime

from benchlib.trtexec.flags import Options
from benchlib.trtexec.standin import tensor_io
from benchlib.trtexec.standin.program import (
    CudaError,
    Log,
    LoopBound,
    Measuring,
    StandinError,
    Trace,
    dims_text,
    input_files,
    no_collection,
)
from benchlib.trtexec.standin.tensorrt_build import NUMPY_TYPES, Library, dims

SUCCESS = runtime.cudaError_t.cudaSuccess


def checked(result: tuple[Any, ...]) -> Any:
    """The value of a call, or None for a call without one; raises :class:`CudaError`."""
    error, *values = result
    if error != SUCCESS:
        raise CudaError(explain(error))
    return values[0] if values else None


def explain(error: Any) -> str:
    """CUDA's own sentence for an error code."""
    status, text = runtime.cudaGetErrorString(error)
    return text.decode() if status == SUCCESS else str(error)


def choose_device(index: int) -> tuple[str, str]:
    """Make GPU ``index``, as CUDA counts, the current one; its name and compute capability.

    Raises :class:`CudaError` when there is no driver or no GPU, :class:`StandinError` when there
    is none of that number. Nothing of TensorRT may be made before: 8.6 crashes without a GPU.
    """
    count = checked(runtime.cudaGetDeviceCount())
    if index not in range(count):
        raise StandinError(f"Cannot find device ID {index}!")
    checked(runtime.cudaSetDevice(index))
    properties = checked(runtime.cudaGetDeviceProperties(index))
    name = properties.name.split(b"\0")[0].decode()
    return name, f"{properties.major}.{properties.minor}"


class Tensor:
    """A network's tensor: page-locked memory on the host and as much on the device."""

    __slots__ = ("_address", "device", "host", "is_input", "name")

    def __init__(
        self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike, is_input: bool
    ) -> None:
        count = int(np.prod(shape, dtype=np.int64))
        size = max(count * np.dtype(dtype).itemsize, 1)
        pinned = int(checked(runtime.cudaHostAlloc(size, 0)))
        memory = (ctypes.c_byte * size).from_address(pinned)
        self._address = pinned
        self.name = name
        self.is_input = is_input
        self.host: npt.NDArray[Any] = np.frombuffer(memory, dtype=dtype, count=count).reshape(shape)
        self.device = int(checked(runtime.cudaMalloc(size)))

    def upload(self) -> None:
        """Copy host to device and wait for it."""
        kind = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        checked(runtime.cudaMemcpy(self.device, self._address, self.host.nbytes, kind))

    def download(self) -> None:
        """Copy device to host and wait for it."""
        kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        checked(runtime.cudaMemcpy(self._address, self.device, self.host.nbytes, kind))

    def copy_on(self, stream: Any) -> None:
        """Copy in the tensor's direction on ``stream`` without waiting."""
        target, source = self._address, self.device
        kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        if self.is_input:
            target, source = source, target
            kind = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        checked(runtime.cudaMemcpyAsync(target, source, self.host.nbytes, kind, stream))


def new_stream() -> Any:
    """A new ordinary stream."""
    return checked(runtime.cudaStreamCreate())


def new_event(*, spin: bool) -> Any:
    """A new event that takes time stamps; who waits for it spins, or sleeps."""
    flags = runtime.cudaEventDefault if spin else runtime.cudaEventBlockingSync
    return checked(runtime.cudaEventCreateWithFlags(flags))


DYNAMIC = -1


@dataclass(frozen=True, slots=True)
class Bound:
    """A context whose inputs are on the device and whose outputs have room there.

    ``engine`` is held because it must outlive the context.
    """

    engine: Any
    context: Any
    tensors: tuple[Tensor, ...]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in self.tensors if tensor.is_input)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in self.tensors if not tensor.is_input)


def bind(
    library: Library, engine: Any, given: tensor_io.Shapes, options: Options, log: Log
) -> Bound:
    """Make a context for the ``given`` input shapes and fill its inputs as ``options`` ask.

    Raises :class:`StandinError` when memory does not suffice, a shape or file does not fit, or a
    tensor is of a kind that cannot be bound here.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    wanted = library.trt.TensorIOMode.INPUT
    going_in = [name for name in names if engine.get_tensor_mode(name) == wanted]
    files = input_files(options, frozenset(going_in))
    context = engine.create_execution_context()
    if context is None:
        raise StandinError("Inference set up failed: no execution context; its reason is above")
    tensor_io.known_shapes(given, frozenset(going_in))
    for name in going_in:
        declared = dims(engine.get_tensor_shape(name))
        settled = tensor_io.settled_shapes(name, declared, given, log)
        if DYNAMIC in declared and not context.set_input_shape(name, settled):
            raise StandinError(f"Inference set up failed: {name} cannot be {dims_text(settled)}")
    missing = context.infer_shapes()
    if missing:
        raise StandinError(f"Inference set up failed: shapes of {', '.join(missing)} are unknown")
    tensors = tuple(_tensor(library, engine, context, name, name in going_in) for name in names)
    for tensor in tensors:
        if not context.set_tensor_address(tensor.name, tensor.device):
            raise StandinError(f"Inference set up failed: {tensor.name} cannot be bound")
        if tensor.is_input:
            _fill(tensor, files)
            tensor.upload()
        side = "Input" if tensor.is_input else "Output"
        log.info(f"{side} {tensor.name}: {dims_text(tensor.host.shape)} {tensor.host.dtype}")
    return Bound(engine, context, tensors)


def run_once(bound: Bound, stream: Any) -> None:
    """Enqueue one query on ``stream`` and wait for it; raises :class:`StandinError`."""
    if not bound.context.execute_async_v3(int(stream)):
        raise StandinError("Error occurred during inference: the query was not enqueued")
    checked(runtime.cudaStreamSynchronize(stream))


def _tensor(library: Library, engine: Any, context: Any, name: str, is_input: bool) -> Tensor:
    kind = engine.get_tensor_dtype(name).name
    shape = dims(context.get_tensor_shape(name))
    if kind not in NUMPY_TYPES:
        raise StandinError(f"Tensor {name} is of type {kind}, which cannot be bound here")
    if engine.is_shape_inference_io(name) or DYNAMIC in shape:
        raise StandinError(f"Tensor {name} has or is a shape known only at run time")
    if engine.get_tensor_format(name) != library.trt.TensorFormat.LINEAR:
        raise StandinError(f"Tensor {name} is not linear; build with --inputIOFormats=TYPE:chw")
    return Tensor(name, shape, NUMPY_TYPES[kind], is_input)


def _fill(tensor: Tensor, files: Mapping[str, Path]) -> None:
    shape, dtype = tensor.host.shape, tensor.host.dtype
    path = files.get(tensor.name)
    tensor.host[...] = (
        tensor_io.filled_values(dtype, shape)
        if path is None
        else tensor_io.values_from_file(path, dtype, shape)
    )


NANOSECONDS = 1e6
"""Nanoseconds in a millisecond."""


Launch = Callable[[], Any]
"""The call that hands one query to the compute stream."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Zero of both clocks: a host time in nanoseconds, and an event recorded right after it."""

    host_ns: int
    event: Any

    @classmethod
    def start(cls, *, spin: bool) -> Clock:
        """Start the clocks. The warm-up runs from here, so a slow graph capture eats of it."""
        stream, event = new_stream(), new_event(spin=spin)
        host_ns = time.perf_counter_ns()
        checked(runtime.cudaEventRecord(event, stream))
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
        copies = np.array(self.copies).T if self.copies else None
        return Trace.of(before, after, start, end, compute, copies)


class Slot:
    """Room for one query in flight, whose data stays on the device."""

    __slots__ = ("_after", "_before", "_compute", "_end", "_launch", "_start", "_zero", "busy")

    def __init__(self, compute: Any, launch: Launch, clock: Clock, *, spin: bool) -> None:
        self._compute = compute
        self._launch = launch
        self._zero = clock.event
        self._start = new_event(spin=spin)
        self._end = new_event(spin=spin)
        self._before = self._after = 0
        self.busy = False

    def put(self) -> None:
        """Enqueue a query between its two events; raises :class:`StandinError` on failure."""
        record, clock = runtime.cudaEventRecord, time.perf_counter_ns
        start, end, stream = self._start, self._end, self._compute
        launch = self._launch
        started = record(start, stream)
        before = clock()
        launched = launch()
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
        self._copies = tuple(new_event(spin=spin) for _ in range(4))

    def put(self) -> None:
        input_start, input_end, output_start, output_end = self._copies
        self._copy(self._input, input_start, input_end, inputs=True)
        checked(runtime.cudaStreamWaitEvent(self._compute, input_end, 0))
        super().put()
        checked(runtime.cudaStreamWaitEvent(self._output, self._end, 0))
        self._copy(self._output, output_start, output_end, inputs=False)

    def collect(self, stamps: Stamps) -> float:
        start = super().collect(stamps)
        first, second, third, fourth = (_elapsed(self._zero, event) for event in self._copies)
        stamps.copies.append((first, second, third, fourth))
        return start

    def _copy(self, stream: Any, start: Any, end: Any, *, inputs: bool) -> None:
        checked(runtime.cudaEventRecord(start, stream))
        for tensor in self._tensors:
            if tensor.is_input == inputs:
                tensor.copy_on(stream)
        checked(runtime.cudaEventRecord(end, stream))

    def _last(self) -> Any:
        return self._copies[-1]


def measure(bound: Bound, measuring: Measuring, log: Log) -> Trace:
    """Time queries as ``measuring`` asks and return all of them, warm-up included."""
    spin = measuring.spin_wait
    clock = Clock.start(spin=spin)
    streams = incoming, compute, outgoing = tuple(new_stream() for _ in range(3))
    for stream in streams:
        checked(runtime.cudaStreamWaitEvent(stream, clock.event, 0))
    launch = direct(bound, compute)
    if measuring.cuda_graph:
        launch = captured(bound, compute, log) or launch
    depth = 2 if measuring.overlap else 1
    slot = partial(Slot, compute, launch, clock, spin=spin)
    if measuring.transfers:
        copying = {"streams": (incoming, outgoing), "tensors": bound.tensors}
        slot = partial(TransferSlot, compute, launch, clock, spin=spin, **copying)
    return run(tuple(slot() for _ in range(depth)), measuring).trace(clock.host_ns)


def run(slots: tuple[Slot, ...], measuring: Measuring) -> Stamps:
    """Put and collect in turn until enough has been measured; leaves no query in flight."""
    bound, stamps, current = LoopBound(measuring), Stamps(), 0
    with no_collection():
        while bound.more():
            slots[current].put()
            current = (current + 1) % len(slots)
            older = slots[current]
            bound.passed(older.collect(stamps) if older.busy else None)
            bound.rest()
        for offset in range(len(slots)):
            older = slots[(current + offset) % len(slots)]
            if older.busy:
                older.collect(stamps)
    return stamps


def direct(bound: Bound, stream: Any) -> Launch:
    """Launching by the context's own enqueue."""
    return partial(bound.context.execute_async_v3, int(stream))


def captured(bound: Bound, stream: Any, log: Log) -> Launch | None:
    """Launching a CUDA graph of one enqueue; None, with a warning, when it cannot be captured.

    The context is enqueued once beforehand, because lazy set-up must not fall into the capture.
    """
    enqueue = direct(bound, stream)
    _check_launch(enqueue())
    checked(runtime.cudaStreamSynchronize(stream))
    mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    checked(runtime.cudaStreamBeginCapture(stream, mode))
    enqueued = enqueue()
    error, graph = runtime.cudaStreamEndCapture(stream)
    if not enqueued or error != SUCCESS:
        runtime.cudaGetLastError()
        log.warning("CUDA graph capture on the stream has failed.")
        log.warning("The engine is not permitted under CUDA graph capture mode: no graph is used.")
        return None
    executable = checked(runtime.cudaGraphInstantiate(graph, 0))
    log.info("Successfully captured CUDA graph for stream 0")
    return partial(runtime.cudaGraphLaunch, executable, stream)


def _check_launch(result: Any) -> None:
    """Take the result of either way of launching: a truth value, or CUDA's tuple."""
    if isinstance(result, tuple):
        checked(result)
    elif not result:
        raise StandinError("Error occurred during inference: the query was not enqueued")


def _elapsed(first: Any, second: Any) -> float:
    return float(checked(runtime.cudaEventElapsedTime(first, second)))
