"""The GPUs through NVML: what they are, their state, every answer a plain value or None.

NVML answers each question by itself: a card may know its power but not its energy, a container may
hide processes, a MIG slice has no clock. So each question that cannot be answered gives None, and
nothing here raises NVMLError except the two requests that change the card, where the caller has to
know.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchlib.case import device_name
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

MIG_ENABLED = 1
"""NVML_DEVICE_MIG_ENABLE."""

VIRTUAL_GPU = 2
"""NVML_GPU_VIRTUALIZATION_MODE_VGPU: a share of a card; 1, the whole card passed through, is
none."""

CONFIDENTIAL = 1
"""NVML_CC_SYSTEM_FEATURE_ENABLED."""

NO_DEVICES = "NoDevFiles"
"""What Slurm and PBS set CUDA_VISIBLE_DEVICES to for a job without GPUs."""

_NO_DRIVER = {
    "NVMLError_LibraryNotFound": "no NVIDIA driver is installed",
    "NVMLError_DriverNotLoaded": "the NVIDIA driver is installed but not loaded",
}
"""In words, by the class of NVML's error."""

UUID_SHOWN = 8
"""Last characters of a UUID: enough to distinguish the cards of a set."""

MPS_SHARE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
"""Environment variable: percent of the card's multiprocessors that CUDA's MPS gives a process."""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU: NVML's module, and its handle of the card or of a MIG slice of it.

    ``card`` is the handle of the whole card where ``handle`` is a slice's; a slice has no clock,
    temperature or throttling of its own. ``share`` is the percentage that CUDA's MPS leaves us.
    """

    module: Any
    handle: Any
    card: Any = None
    is_slice: bool = False
    share: str | None = None

    def name(self) -> str | None:
        """The card's name, with what part of it this is."""
        name = _text(self._ask("nvmlDeviceGetName"))
        if name is None:
            return None
        card, _, profile = name.partition(" MIG ")
        parts = []
        if self.is_slice or profile:
            parts.append(f"MIG {profile}".strip())
        elif self._mig_mode():
            parts.append("MIG mode")
        if self._ask("nvmlDeviceGetVirtualizationMode") == VIRTUAL_GPU:
            parts.append("vGPU")
        if self.share is not None:
            parts.append(f"MPS {self.share} %")
        return device_name(card, parts)

    def uuid(self) -> str | None:
        """The card's UUID, or that of the slice of it."""
        return _text(self._ask("nvmlDeviceGetUUID"))

    def confidential_computing(self) -> bool | None:
        """Whether Confidential Computing or Protected PCIe is on; None where it is not known."""
        answers = [asked(self.module, "nvmlSystemGetConfComputeState")]
        # The later question, which knows Protected PCIe as well; its answer is an argument
        kind = getattr(self.module, "c_nvmlSystemConfComputeSettings_v1_t", None)
        if kind is not None:
            later = kind()
            if asked(self.module, "nvmlSystemGetConfComputeSettings", ctypes.byref(later)) == 0:
                answers.append(later)
        known = [one for one in answers if one is not None]
        on = any(one.ccFeature == CONFIDENTIAL or getattr(one, "multiGpuMode", 0) for one in known)
        return on if known else None

    def _mig_mode(self) -> bool:
        return (self._ask("nvmlDeviceGetMigMode") or [0])[0] == MIG_ENABLED

    def sm_clock_mhz(self) -> int | None:
        return self._ask_card("nvmlDeviceGetClockInfo", SM_CLOCK)

    def memory_clock_mhz(self) -> int | None:
        return self._ask_card("nvmlDeviceGetClockInfo", MEMORY_CLOCK)

    def power_w(self) -> float | None:
        milliwatts = self._ask("nvmlDeviceGetPowerUsage")
        return None if milliwatts is None else milliwatts / 1000

    def temperature_c(self) -> int | None:
        return self._ask_card("nvmlDeviceGetTemperature", TEMPERATURE_GPU)

    def energy_mj(self) -> int | None:
        """Millijoules since the driver was loaded (Volta and later)."""
        return self._ask("nvmlDeviceGetTotalEnergyConsumption")

    def event_bits(self) -> int | None:
        """Why the clock is where it is; older bindings call the same thing throttle reasons."""
        bits = self._ask_card("nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:
            bits = self._ask_card("nvmlDeviceGetCurrentClocksThrottleReasons")
        return bits

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
        return asked(self.module, question, self.handle, *words)

    def _ask_card(self, question: str, *words: Any) -> Any:
        """As :meth:`_ask`; what NVML does not know of a slice, it may of its card."""
        answer = self._ask(question, *words)
        if answer is None and self.card is not None:
            return asked(self.module, question, self.card, *words)
        return answer


def asked(module: Any, question: str, *words: Any) -> Any:
    """NVML's answer; None where this binding, driver or GPU does not know."""
    function = getattr(module, question, None)
    if function is None:
        return None
    try:
        return function(*words)
    except module.NVMLError:
        return None


def _text(answer: str | bytes | None) -> str | None:
    """Older bindings answer in bytes."""
    return answer.decode() if isinstance(answer, bytes) else answer


@contextmanager
def opened(
    module: str = MODULE, environ: Mapping[str, str] = os.environ
) -> Iterator[Device | None]:
    """Yield the GPU that CUDA would call device 0, or None when there is none to be seen.

    Heeds ``CUDA_VISIBLE_DEVICES``: a number, a UUID, or a beginning of one that no other device
    shares; anything else there hides all devices from CUDA too. On a card in MIG mode CUDA's
    device is a slice: the one named, else the first. Numbers are NVML's, by bus, for the programs
    begun here too (:data:`benchlib.process.NUMBER_AS_NVML`).
    """
    with _started(module) as (nvml, _):
        yield None if nvml is None else _first_visible(nvml, environ)


@contextmanager
def _started(module: str) -> Iterator[tuple[Any, str | None]]:
    """Yield NVML's module for the length of a ``with`` block, or None and why it cannot be had."""
    try:
        nvml = importlib.import_module(module)
    except ImportError as error:
        yield None, str(error)
        return
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        yield None, _NO_DRIVER.get(type(error).__name__, str(error))
        return
    try:
        yield nvml, None
    finally:
        nvml.nvmlShutdown()


def _first_visible(nvml: Any, environ: Mapping[str, str]) -> Device | None:
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    first = "0" if visible is None else visible.split(",")[0].strip()
    share = environ.get(MPS_SHARE, "").strip()
    share = share if _is_part(share) else None
    if first.isdecimal():
        card = asked(nvml, "nvmlDeviceGetHandleByIndex", int(first))
        return None if card is None else _as_cuda_sees(nvml, card, share)
    if first.startswith(("GPU-", "MIG-")):
        return _by_uuid(nvml, first, share)
    if first in ("", "-1", NO_DEVICES):
        return None
    raise InputError(
        "CUDA_VISIBLE_DEVICES", f"{first!r} is no GPU's number or UUID; give one, like 0 or GPU-…"
    )


def _is_part(percent: str) -> bool:
    try:
        return 0 < float(percent) < 100
    except ValueError:
        return False


def _as_cuda_sees(nvml: Any, card: Any, share: str | None) -> Device:
    """The whole card, or in MIG mode its first slice."""
    first = next(_slices(nvml, card), None)
    if first is None:
        return Device(nvml, card, share=share)
    return Device(nvml, first, card, is_slice=True, share=share)


def _by_uuid(nvml: Any, uuid: str, share: str | None) -> Device | None:
    """The device that ``uuid`` names whole, or alone begins so; None when none or several do."""
    whole = asked(nvml, "nvmlDeviceGetHandleByUUID", uuid)
    if whole is not None and uuid.startswith("GPU-"):
        return _as_cuda_sees(nvml, whole, share)
    if whole is not None:
        card = asked(nvml, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", whole)
        return Device(nvml, whole, card, is_slice=True, share=share)
    devices = []
    for index in range(asked(nvml, "nvmlDeviceGetCount") or 0):
        card = asked(nvml, "nvmlDeviceGetHandleByIndex", index)
        if card is None:
            continue
        if _begins(nvml, card, uuid):
            devices.append(_as_cuda_sees(nvml, card, share))
        devices += [
            Device(nvml, one, card, is_slice=True, share=share)
            for one in _slices(nvml, card)
            if _begins(nvml, one, uuid)
        ]
    return devices[0] if len(devices) == 1 else None


def _begins(nvml: Any, handle: Any, prefix: str) -> bool:
    uuid = _text(asked(nvml, "nvmlDeviceGetUUID", handle)) or ""
    return uuid.lower().startswith(prefix.lower())


def _slices(nvml: Any, card: Any) -> Iterator[Any]:
    """Handles of the card's MIG slices, in order."""
    if (asked(nvml, "nvmlDeviceGetMigMode", card) or [0])[0] != MIG_ENABLED:
        return
    for index in range(asked(nvml, "nvmlDeviceGetMaxMigDeviceCount", card) or 0):
        handle = asked(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", card, index)
        if handle is not None:
            yield handle


def memory_free(
    device: Device | None,
    earlier_mb: float | None,
    limit_s: float = MEMORY_LIMIT_S,
    sleep: Callable[[float], None] = time.sleep,
) -> bool | None:
    """Wait until the card uses no more memory than before a case.

    ``earlier_mb`` is :meth:`Device.memory_used_mb` from then. True once it is freed, False when
    it is not within ``limit_s``, None when there is no card or its use is not known.
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


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. Memory in decimal MB, clocks in MHz, power in watts; None where NVML has no answer.

    ``name`` has the part of a card that this is, where it is not a whole one. ``clock_steps`` is
    how many graphics clocks the driver would lock to.
    """

    name: str
    driver: str | None
    cuda: str | None
    memory_mb: float | None
    compute_capability: str | None
    max_sm_clock_mhz: float | None
    max_memory_clock_mhz: float | None
    power_limit_w: float | None
    confidential_computing: bool | None = None
    clock_steps: int | None = None


def describe_gpu(module: str = MODULE) -> Gpu | None:
    """The GPU that CUDA calls device 0; None when there is no NVML or no GPU.

    ``module`` is the import name of NVML's binding.
    """
    with opened(module) as device:
        return None if device is None else _describe_gpu(device)


def _describe_gpu(device: Device) -> Gpu:
    handle, ask = device.handle, partial(asked, device.module)
    cuda = ask("nvmlSystemGetCudaDriverVersion_v2")
    memory = ask("nvmlDeviceGetMemoryInfo", handle)
    capability = ask("nvmlDeviceGetCudaComputeCapability", handle)
    milliwatts = ask("nvmlDeviceGetPowerManagementLimit", handle)
    return Gpu(
        name=device.name() or "unnamed GPU",
        driver=_text(ask("nvmlSystemGetDriverVersion")),
        cuda=None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        memory_mb=None if memory is None else memory.total / BYTES_PER_MB,
        compute_capability=None if capability is None else ".".join(map(str, capability)),
        max_sm_clock_mhz=ask("nvmlDeviceGetMaxClockInfo", handle, SM_CLOCK),
        max_memory_clock_mhz=ask("nvmlDeviceGetMaxClockInfo", handle, MEMORY_CLOCK),
        power_limit_w=None if milliwatts is None else milliwatts / 1000,
        confidential_computing=device.confidential_computing(),
        clock_steps=len(device.graphics_clocks_mhz()) or None,
    )


_PCI_DEVICES = Path("/sys/bus/pci/devices")
_NVIDIA = "0x10de"
_DISPLAY_CLASSES = ("0x0300", "0x0302")


@dataclass(frozen=True, slots=True)
class Gpus:
    """NVML's answer: the driver's version and the GPUs, or in ``reason`` why there is none."""

    driver: str | None
    devices: tuple[Gpu, ...]
    reason: str | None = None


def examine_gpus() -> Gpus:
    """Ask NVML; a machine without driver or GPU gives a reason, never an error."""
    with _started(MODULE) as (nvml, reason):
        if nvml is None:
            return Gpus(None, (), reason)
        try:
            handles = map(nvml.nvmlDeviceGetHandleByIndex, range(nvml.nvmlDeviceGetCount()))
            devices = tuple(_describe_gpu(Device(nvml, handle)) for handle in handles)
        except nvml.NVMLError as error:
            return Gpus(None, (), str(error))
        driver = _text(asked(nvml, "nvmlSystemGetDriverVersion"))
    return Gpus(driver, devices, None if devices else "the NVIDIA driver shows no GPU")


def visible_uuids(module: str = MODULE, environ: Mapping[str, str] = os.environ) -> list[str]:
    """The UUIDs of the GPUs that a program begun here may use, in the order of NVML."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    with _started(module) as (nvml, _):
        if nvml is None:
            return []
        named = (
            map(str, range(nvml.nvmlDeviceGetCount())) if visible is None else visible.split(",")
        )
        devices = [_first_visible(nvml, {**environ, "CUDA_VISIBLE_DEVICES": one}) for one in named]
        return [uuid for one in devices if one is not None and (uuid := one.uuid()) is not None]


def clocks_lockable(gpus: Gpus) -> tuple[bool | None, str]:
    """Whether clocks can be locked here, and why; None when only an attempt shows it.

    Only the superuser may lock, and even that may be refused in a container or on a shared
    machine.
    """
    if not gpus.devices:
        return False, "there is no GPU"
    if any(gpu.clock_steps is None for gpu in gpus.devices):
        return False, "the driver names no clocks to lock to"
    if sys.platform != "win32" and os.geteuid() != 0:
        return False, "only the superuser may: run it as root, or ask for `nvidia-smi -lgc`"
    return None, "allowed in principle; the driver may still refuse when a run asks"


def gpu_on_bus() -> bool:
    """Whether the PCI bus shows an NVIDIA GPU, driver or not; False where it cannot be seen."""
    for device in _PCI_DEVICES.glob("*"):
        try:
            vendor = (device / "vendor").read_text().strip()
            kind = (device / "class").read_text().strip()
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY_CLASSES):
            return True
    return False
