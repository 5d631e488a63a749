"""Stands in for pynvml, in this process or another one: the same functions, a scripted card.

The script is JSON in the environment variable SCRIPTED_NVML:

``absent``    no driver: nvmlInit fails
``name``      what the card is called
``refuse``    locking the clock is not permitted
``mute``      names of functions that this card does not support
``clocks``    SM clocks, one after the other, the last for good
``bits``      clock event reasons, likewise
``energy``    millijoules that the counter gains per question
``pids``      compute processes, a list per question, the last for good
``calls``     a file that gets one line per change of the card
``memory``    megabytes used, one after the other
``cards``     UUIDs, one per card; handles are then these, and only a whole one is known
``slices``    by a card's UUID the UUIDs of its MIG slices, which puts it in MIG mode
``virtual``   nvmlDeviceGetVirtualizationMode
``confidential``  ccFeature of nvmlSystemGetConfComputeState; without it the driver is too old
``protected_pcie``  multiGpuMode of nvmlSystemGetConfComputeSettings, likewise
"""

from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path
from types import SimpleNamespace

_asked: dict[str, int] = {}


class NVMLError(Exception):
    pass


def reset() -> None:
    _asked.clear()


def _script() -> dict:
    return json.loads(os.environ.get("SCRIPTED_NVML", "{}"))


def _next(name: str, default: list) -> object:
    values = _script().get(name, default)
    turn = _asked.get(name, 0)
    _asked[name] = turn + 1
    return values[min(turn, len(values) - 1)]


def _refuse_if_mute(function: str) -> None:
    if function in _script().get("mute", []):
        raise NVMLError("Not Supported")


def _note(line: str) -> None:
    with Path(_script()["calls"]).open("a") as file:
        file.write(line + "\n")


def nvmlInit() -> None:  # noqa: N802
    if _script().get("absent"):
        raise NVMLError("Driver Not Loaded")


def nvmlShutdown() -> None:  # noqa: N802
    pass


def nvmlDeviceGetHandleByIndex(index: int) -> str:  # noqa: N802
    cards = _script().get("cards", ["card"])
    if index >= len(cards):
        raise NVMLError("Invalid Argument")
    return cards[index]


def nvmlDeviceGetCount() -> int:  # noqa: N802
    return len(_script().get("cards", ["card"]))


def nvmlDeviceGetUUID(handle: str) -> str:  # noqa: N802
    return handle


def nvmlDeviceGetHandleByUUID(uuid: str) -> str:  # noqa: N802
    script = _script()
    slices = script.get("slices", {}).values()
    known = [*script.get("cards", []), *(uuid for own in slices for uuid in own)]
    if "cards" in script and uuid not in known:
        raise NVMLError("Not Found")
    return uuid


def nvmlDeviceGetName(handle: str) -> bytes:  # noqa: N802
    name = _script().get("name", "Scripted Card")
    return (f"{name} MIG 1g.10gb" if _card_of(handle) else name).encode()


def _card_of(handle: str) -> str | None:
    slices = _script().get("slices", {})
    return next((card for card, own in slices.items() if handle in own), None)


def nvmlDeviceGetMigMode(handle: str) -> list[int]:  # noqa: N802
    if "slices" not in _script():
        raise NVMLError("Not Supported")
    mode = int(handle in _script()["slices"])
    return [mode, mode]


def nvmlDeviceGetMaxMigDeviceCount(handle: str) -> int:  # noqa: N802
    return 7


def nvmlDeviceGetMigDeviceHandleByIndex(handle: str, index: int) -> str:  # noqa: N802
    own = _script()["slices"][handle]
    if index >= len(own):
        raise NVMLError("Not Found")
    return own[index]


def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle: str) -> str:  # noqa: N802
    return _card_of(handle)


def nvmlDeviceGetVirtualizationMode(handle: str) -> int:  # noqa: N802
    return _script().get("virtual", 0)


def nvmlSystemGetConfComputeState() -> SimpleNamespace:  # noqa: N802
    if "confidential" not in _script():
        raise NVMLError("Function Not Found")
    return SimpleNamespace(environment=2, ccFeature=_script()["confidential"], devToolsMode=0)


class c_nvmlSystemConfComputeSettings_v1_t(ctypes.Structure):  # noqa: N801
    _fields_ = (("ccFeature", ctypes.c_uint), ("multiGpuMode", ctypes.c_uint))


def nvmlSystemGetConfComputeSettings(settings: object) -> int:  # noqa: N802
    if "protected_pcie" not in _script():
        return 13
    settings._obj.multiGpuMode = _script()["protected_pcie"]
    return 0


def nvmlDeviceGetClockInfo(handle: str, kind: int) -> int:  # noqa: N802
    if _card_of(handle):
        raise NVMLError("Not Supported")
    _refuse_if_mute("nvmlDeviceGetClockInfo")
    return _next("clocks", [1500]) if kind == 1 else 2619


def nvmlDeviceGetPowerUsage(handle: str) -> int:  # noqa: N802
    _refuse_if_mute("nvmlDeviceGetPowerUsage")
    if _card_of(handle):
        raise NVMLError("Not Supported")
    return 300_000


def nvmlDeviceGetTemperature(handle: str, sensor: int) -> int:  # noqa: N802
    return 55


def nvmlDeviceGetTotalEnergyConsumption(handle: str) -> int:  # noqa: N802
    _refuse_if_mute("nvmlDeviceGetTotalEnergyConsumption")
    _asked["energy"] = _asked.get("energy", 0) + 1
    return 10**9 + _asked["energy"] * _script().get("energy", 15_000)


def nvmlDeviceGetCurrentClocksThrottleReasons(handle: str) -> int:  # noqa: N802
    return _next("bits", [0])


def nvmlDeviceGetMemoryInfo(handle: str) -> SimpleNamespace:  # noqa: N802
    return SimpleNamespace(used=int(_next("memory", [500]) * 1e6), total=80_000_000_000)


def nvmlDeviceGetComputeRunningProcesses(handle: str) -> list:  # noqa: N802
    _refuse_if_mute("nvmlDeviceGetComputeRunningProcesses")
    return [SimpleNamespace(pid=pid) for pid in _next("pids", [[]])]


def nvmlDeviceGetSupportedMemoryClocks(handle: str) -> list[int]:  # noqa: N802
    _refuse_if_mute("nvmlDeviceGetSupportedMemoryClocks")
    return [1593, 2619]


def nvmlDeviceGetSupportedGraphicsClocks(handle: str, memory: int) -> list[int]:  # noqa: N802
    return list(range(1980, 330, -15)) if memory == 2619 else [345]


def nvmlDeviceGetDefaultApplicationsClock(handle: str, kind: int) -> int:  # noqa: N802
    return _script().get("default_clock", 1980)


def nvmlDeviceSetGpuLockedClocks(handle: str, low: int, high: int) -> None:  # noqa: N802
    if _script().get("refuse"):
        raise NVMLError("Insufficient Permissions")
    _note(f"lock {low} {high}")


def nvmlDeviceResetGpuLockedClocks(handle: str) -> None:  # noqa: N802
    _note("reset")
