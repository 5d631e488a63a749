"""What NVML says of the GPU before anything runs: what it is and what its driver is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from benchlib.sweep import nvml
from benchlib.sweep.nvml import Device


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. Memory in decimal MB, clocks in MHz, power in watts; None where NVML is silent.

    ``name`` says of which part of a card this is, where it is not a whole one.
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

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def describe(module: str = nvml.MODULE) -> Gpu | None:
    """The GPU that CUDA calls device 0; None when there is no NVML or no GPU.

    ``module`` is the import name of NVML's binding.
    """
    with nvml.opened(module) as device:
        return None if device is None else _describe(device)


def _describe(device: Device) -> Gpu:
    handle = device.handle
    cuda = nvml.asked(device.module, "nvmlSystemGetCudaDriverVersion_v2")
    memory = nvml.asked(device.module, "nvmlDeviceGetMemoryInfo", handle)
    capability = nvml.asked(device.module, "nvmlDeviceGetCudaComputeCapability", handle)
    milliwatts = nvml.asked(device.module, "nvmlDeviceGetPowerManagementLimit", handle)
    return Gpu(
        name=device.name() or "unnamed GPU",
        driver=nvml.asked(device.module, "nvmlSystemGetDriverVersion"),
        cuda=None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        memory_mb=None if memory is None else memory.total / nvml.BYTES_PER_MB,
        compute_capability=None if capability is None else ".".join(map(str, capability)),
        max_sm_clock_mhz=nvml.asked(
            device.module, "nvmlDeviceGetMaxClockInfo", handle, nvml.SM_CLOCK
        ),
        max_memory_clock_mhz=nvml.asked(
            device.module, "nvmlDeviceGetMaxClockInfo", handle, nvml.MEMORY_CLOCK
        ),
        power_limit_w=None if milliwatts is None else milliwatts / 1000,
        confidential_computing=device.confidential_computing(),
    )
