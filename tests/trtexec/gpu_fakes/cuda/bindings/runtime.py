"""A GPU in slow motion: streams, events and graphs on a virtual clock, every call written down.

One launch takes ``COMPUTE_MS`` of virtual time, one copy ``COPY_MS``; a host that waits is moved
on to the event's time. The journal is written to the file named by ``FAKE_GPU_JOURNAL`` at exit.
``FAKE_GPU`` may say ``none`` (no GPU) or ``no-capture`` (graph capture fails).
"""

# ruff: noqa: N801, N802, N815, N816 - the names are CUDA's
import atexit
import ctypes
import json
import os
from enum import IntEnum
from pathlib import Path

COMPUTE_MS = 2.0
COPY_MS = 0.5
HOST_STEP_MS = 0.01

journal = []
state = {"host": 0.0, "capturing": None, "names": 0}
memory = []


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorNoDevice = 100
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1


cudaEventDefault = 0
cudaEventBlockingSync = 1
OK = cudaError_t.cudaSuccess


streams = {}


class Stream:
    def __init__(self):
        state["names"] += 1
        self.number = state["names"]
        self.free_at = 0.0
        streams[self.number] = self

    def __int__(self):
        return self.number

    def work(self, duration_ms):
        self.free_at = max(self.free_at, state["host"]) + duration_ms


class Event:
    def __init__(self, flags):
        state["names"] += 1
        self.number = state["names"]
        self.flags = flags
        self.at = None


class Graph:
    launches = 0


class Properties:
    name = b"Slow Motion GPU\0\0"
    major, minor = 9, 0


def note(call, *details):
    state["host"] += HOST_STEP_MS
    journal.append([call, *details])


@atexit.register
def _leave_journal():
    if "FAKE_GPU_JOURNAL" in os.environ:
        Path(os.environ["FAKE_GPU_JOURNAL"]).write_text(json.dumps(journal))


def launch(stream):
    """What both ways of launching end in; called by the fake tensorrt too."""
    if state["capturing"] is not None:
        state["capturing"].launches += 1
        return os.environ.get("FAKE_GPU") != "no-capture"
    stream.work(COMPUTE_MS)
    return True


def cudaGetErrorString(error):
    return OK, b"no CUDA-capable device is detected" if error == 100 else b"capture invalidated"


def cudaGetDeviceCount():
    if os.environ.get("FAKE_GPU") == "none":
        return cudaError_t.cudaErrorNoDevice, None
    return OK, 1


def cudaSetDevice(index):
    return (OK,)


def cudaGetDeviceProperties(index):
    return OK, Properties()


def cudaHostAlloc(size, flags):
    memory.append(ctypes.create_string_buffer(size))
    return OK, ctypes.addressof(memory[-1])


def cudaMalloc(size):
    return cudaHostAlloc(size, 0)


def cudaMemcpy(target, source, size, kind):
    note("memcpy", kind.name)
    ctypes.memmove(target, source, size)
    return (OK,)


def cudaMemcpyAsync(target, source, size, kind, stream):
    note("copy", kind.name, stream.number)
    ctypes.memmove(target, source, size)
    stream.work(COPY_MS)
    return (OK,)


def cudaStreamCreate():
    return OK, Stream()


def cudaEventCreateWithFlags(flags):
    return OK, Event(flags)


def cudaEventCreate():
    return OK, Event(cudaEventDefault)


def cudaEventRecord(event, stream):
    note("record", event.number, stream.number)
    event.at = max(stream.free_at, state["host"])
    return (OK,)


def cudaStreamWaitEvent(stream, event, flags):
    note("wait", stream.number, event.number)
    stream.free_at = max(stream.free_at, event.at)
    return (OK,)


def cudaEventSynchronize(event):
    note("synchronize", event.number, event.flags)
    state["host"] = max(state["host"], event.at)
    return (OK,)


def cudaStreamSynchronize(stream):
    note("synchronize stream", stream.number)
    state["host"] = max(state["host"], stream.free_at)
    return (OK,)


def cudaEventElapsedTime(first, second):
    return OK, second.at - first.at


def cudaStreamBeginCapture(stream, mode):
    note("begin capture", stream.number, mode.name)
    state["capturing"] = Graph()
    return (OK,)


def cudaStreamEndCapture(stream):
    note("end capture", stream.number)
    graph, state["capturing"] = state["capturing"], None
    if os.environ.get("FAKE_GPU") == "no-capture":
        return cudaError_t.cudaErrorStreamCaptureInvalidated, None
    return OK, graph


def cudaGetLastError():
    note("clear error")
    return (OK,)


def cudaGraphInstantiate(graph, flags):
    note("instantiate", graph.launches)
    return OK, graph


def cudaGraphLaunch(graph, stream):
    note("launch graph", stream.number)
    launch(stream)
    return (OK,)
