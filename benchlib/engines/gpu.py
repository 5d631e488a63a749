"""The GPUs of this machine as NVML tells of them; nothing is changed by asking."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pynvml

_PCI = Path("/sys/bus/pci/devices")
_NVIDIA = "0x10de"
_DISPLAY_CLASSES = ("0x0300", "0x0302")

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; what its driver does not tell is None. Memory in MiB, clock in MHz, power in W."""

    name: str
    capability: str | None
    memory_mib: int | None
    max_sm_clock_mhz: int | None
    power_limit_w: float | None
    persistence_mode: bool | None
    clock_steps: int | None
    """How many graphics clocks the driver would lock to; None when it names none."""


@dataclass(frozen=True, slots=True)
class Gpus:
    """What NVML said: the driver's version and the GPUs, or in ``reason`` why it said nothing."""

    driver: str | None
    devices: tuple[Gpu, ...]
    reason: str | None = None


def examine() -> Gpus:
    """Ask NVML; a machine without driver or GPU gives a reason, never an error."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Gpus(None, (), _why_none(error))
    try:
        driver = _told(pynvml.nvmlSystemGetDriverVersion)
        count = _told(pynvml.nvmlDeviceGetCount) or 0
        devices = tuple(_gpu(pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count))
    except pynvml.NVMLError as error:
        return Gpus(None, (), str(error))
    finally:
        pynvml.nvmlShutdown()
    return Gpus(driver, devices, None if devices else "the NVIDIA driver shows no GPU")


def clocks_lockable(gpus: Gpus) -> tuple[bool | None, str]:
    """Whether clocks can be locked here, and why; None when only trying would tell.

    Locking is the superuser's right, and even he may be refused it in a container or on a shared
    machine.
    """
    if not gpus.devices:
        return False, "there is no GPU"
    if any(gpu.clock_steps is None for gpu in gpus.devices):
        return False, "the driver names no clocks to lock to"
    if sys.platform != "win32" and os.geteuid() != 0:
        return False, "only the superuser may: run it as root, or ask for `nvidia-smi -lgc`"
    return None, "allowed in principle; the driver may still refuse when a run asks"


def on_bus() -> bool:
    """Whether the PCI bus shows an NVIDIA GPU, driver or not; False where it cannot be seen."""
    for device in _PCI.glob("*"):
        try:
            vendor = (device / "vendor").read_text().strip()
            kind = (device / "class").read_text().strip()
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY_CLASSES):
            return True
    return False


def _gpu(handle: object) -> Gpu:
    capability = _told(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    memory = _told(pynvml.nvmlDeviceGetMemoryInfo, handle)
    limit_mw = _told(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    persistence = _told(pynvml.nvmlDeviceGetPersistenceMode, handle)
    return Gpu(
        name=str(_told(pynvml.nvmlDeviceGetName, handle)),
        capability=None if capability is None else "{}.{}".format(*capability),
        memory_mib=None if memory is None else memory.total // 2**20,
        max_sm_clock_mhz=_told(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM),
        power_limit_w=None if limit_mw is None else limit_mw / 1000,
        persistence_mode=None if persistence is None else bool(persistence),
        clock_steps=_clock_steps(handle),
    )


def _clock_steps(handle: object) -> int | None:
    memory_clocks = _told(pynvml.nvmlDeviceGetSupportedMemoryClocks, handle)
    if not memory_clocks:
        return None
    steps = _told(pynvml.nvmlDeviceGetSupportedGraphicsClocks, handle, max(memory_clocks))
    return len(steps) if steps else None


def _told(ask: Callable[..., _Value], *arguments: object) -> _Value | None:
    """What NVML answers, None for what this GPU or driver does not support."""
    try:
        return ask(*arguments)
    except pynvml.NVMLError:
        return None


def _why_none(error: pynvml.NVMLError) -> str:
    if isinstance(error, pynvml.NVMLError_LibraryNotFound):
        return "no NVIDIA driver is installed"
    if isinstance(error, pynvml.NVMLError_DriverNotLoaded):
        return "the NVIDIA driver is installed but not loaded"
    return str(error)
