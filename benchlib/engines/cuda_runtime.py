"""The few calls to CUDA that measuring needs, over ``cuda.bindings``, with errors as exceptions."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from cuda.bindings import runtime

from benchlib.engines.standin.log import StandinError
from benchlib.engines.standin.program import CudaError

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


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU: its index as CUDA counts, its name and its compute capability."""

    index: int
    name: str
    capability: str


def choose(index: int) -> Device:
    """Make GPU ``index`` the current one.

    Raises :class:`CudaError` when there is no driver or no GPU, :class:`StandinError` when there
    is none of that number. Nothing of TensorRT may be created before: its 8.6 dies without a GPU.
    """
    count = checked(runtime.cudaGetDeviceCount())
    if index not in range(count):
        raise StandinError(f"Cannot find device ID {index}!")
    checked(runtime.cudaSetDevice(index))
    properties = checked(runtime.cudaGetDeviceProperties(index))
    name = properties.name.split(b"\0")[0].decode()
    return Device(index, name, f"{properties.major}.{properties.minor}")


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


def stream() -> Any:
    """A new ordinary stream."""
    return checked(runtime.cudaStreamCreate())


def event(*, spin: bool) -> Any:
    """A new event that takes time stamps; who waits for it spins, or sleeps."""
    flags = runtime.cudaEventDefault if spin else runtime.cudaEventBlockingSync
    return checked(runtime.cudaEventCreateWithFlags(flags))


def record(marker: Any, on: Any) -> None:
    """Put an event into a stream."""
    checked(runtime.cudaEventRecord(marker, on))


def wait(waiting: Any, marker: Any) -> None:
    """Let stream ``waiting`` go on only after ``marker``."""
    checked(runtime.cudaStreamWaitEvent(waiting, marker, 0))


def synchronize(on: Any) -> None:
    """Wait for all work of a stream."""
    checked(runtime.cudaStreamSynchronize(on))
