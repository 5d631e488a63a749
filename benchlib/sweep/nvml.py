"""One GPU through NVML, every answer a plain number or None.

NVML answers each question on its own terms: a card may know its power but not its energy, a
container may hide processes, a MIG slice has no clock. So each question that cannot be answered
gives None, and nothing here raises :class:`NVMLError` except the two requests that change the
card, where the caller has to know.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchlib.errors import InputError

MODULE = "pynvml"
"""Import name of NVIDIA's binding (package nvidia-ml-py); tests give the name of a fake."""

GRAPHICS_CLOCK, SM_CLOCK, MEMORY_CLOCK = 0, 1, 2
"""nvmlClockType_t."""

TEMPERATURE_GPU = 0
"""nvmlTemperatureSensors_t: the die."""

BYTES_PER_MB = 1e6
MEMORY_TOLERANCE_MB = 64.0
"""Megabytes over the earlier use that still count as freed: one page table and a display."""

MEMORY_LIMIT_S = 30.0
"""Seconds to wait for it. The driver frees a killed process's memory within a second or two;
ten times that, and something else holds it."""

MEMORY_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU: NVML's module, and its handle of the card."""

    module: Any
    handle: Any

    def name(self) -> str | None:
        answer = self._ask("nvmlDeviceGetName")
        return answer.decode() if isinstance(answer, bytes) else answer

    def sm_clock_mhz(self) -> int | None:
        return self._ask("nvmlDeviceGetClockInfo", SM_CLOCK)

    def memory_clock_mhz(self) -> int | None:
        return self._ask("nvmlDeviceGetClockInfo", MEMORY_CLOCK)

    def power_w(self) -> float | None:
        milliwatts = self._ask("nvmlDeviceGetPowerUsage")
        return None if milliwatts is None else milliwatts / 1000

    def temperature_c(self) -> int | None:
        return self._ask("nvmlDeviceGetTemperature", TEMPERATURE_GPU)

    def energy_mj(self) -> int | None:
        """Millijoules since the driver was loaded (Volta and later)."""
        return self._ask("nvmlDeviceGetTotalEnergyConsumption")

    def clock_event_bits(self) -> int | None:
        """Why the clock is where it is; older bindings call the same thing throttle reasons."""
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        return self._ask("nvmlDeviceGetCurrentClocksThrottleReasons") if bits is None else bits

    def memory_used_mb(self) -> float | None:
        answer = self._ask("nvmlDeviceGetMemoryInfo")
        return None if answer is None else answer.used / BYTES_PER_MB

    def compute_pids(self) -> tuple[int, ...] | None:
        """Processes with a compute context on the card, in the driver's process numbers."""
        answer = self._ask("nvmlDeviceGetComputeRunningProcesses")
        return None if answer is None else tuple(sorted(int(entry.pid) for entry in answer))

    def graphics_clocks_mhz(self) -> tuple[int, ...]:
        """Settable graphics clocks at the highest memory clock, ascending; empty if unknown."""
        memory = self._ask("nvmlDeviceGetSupportedMemoryClocks")
        if not memory:
            return ()
        return tuple(sorted(self._ask("nvmlDeviceGetSupportedGraphicsClocks", max(memory)) or ()))

    def default_clock_mhz(self) -> int | None:
        """The graphics clock that the maker set for applications."""
        return self._ask("nvmlDeviceGetDefaultApplicationsClock", GRAPHICS_CLOCK)

    def lock_clock(self, mhz: int) -> None:
        """Pin the graphics clock. Raises the module's NVMLError when that is not permitted."""
        self.module.nvmlDeviceSetGpuLockedClocks(self.handle, mhz, mhz)

    def unlock_clock(self) -> None:
        """Let the graphics clock go. Raises the module's NVMLError likewise."""
        self.module.nvmlDeviceResetGpuLockedClocks(self.handle)

    def _ask(self, question: str, *words: Any) -> Any:
        function = getattr(self.module, question, None)
        if function is None:
            return None
        try:
            return function(self.handle, *words)
        except self.module.NVMLError:
            return None


@contextmanager
def opened(
    module: str = MODULE, environ: Mapping[str, str] = os.environ
) -> Iterator[Device | None]:
    """Yield the GPU that CUDA would call device 0, or None when there is none to be seen.

    Heeds ``CUDA_VISIBLE_DEVICES``. CUDA may number unlike cards by speed and NVML numbers them
    by bus, so on a machine with unlike cards a UUID there is the safe way.
    """
    try:
        nvml = importlib.import_module(module)
    except ImportError:
        yield None
        return
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        yield None
        return
    try:
        yield _first_visible(nvml, environ)
    finally:
        nvml.nvmlShutdown()


def _first_visible(nvml: Any, environ: Mapping[str, str]) -> Device | None:
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    first = "0" if visible is None else visible.split(",")[0].strip()
    try:
        if first.isdecimal():
            return Device(nvml, nvml.nvmlDeviceGetHandleByIndex(int(first)))
        if first.startswith(("GPU-", "MIG-")):
            return Device(nvml, nvml.nvmlDeviceGetHandleByUUID(first))
    except nvml.NVMLError:
        return None
    if first in ("", "-1"):
        return None
    raise InputError(
        "CUDA_VISIBLE_DEVICES", f"{first!r} is no GPU's number or UUID; give one, like 0 or GPU-…"
    )


def memory_free(
    device: Device | None,
    earlier_mb: float | None,
    limit_s: float = MEMORY_LIMIT_S,
    sleep: Callable[[float], None] = time.sleep,
) -> bool | None:
    """Wait until the card uses no more memory than before a case.

    ``earlier_mb`` is :meth:`Device.memory_used_mb` from then. True once it is freed, False when
    it is not within ``limit_s``, None when there is no card or it does not say.
    """
    if device is None or earlier_mb is None:
        return None
    for _ in range(max(1, round(limit_s / MEMORY_POLL_S))):
        used = device.memory_used_mb()
        if used is None:
            return None
        if used <= earlier_mb + MEMORY_TOLERANCE_MB:
            return True
        sleep(MEMORY_POLL_S)
    return False
