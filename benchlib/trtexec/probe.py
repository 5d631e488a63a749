"""Asks an interpreter, from inside, what of CUDA and TensorRT it has; prints one JSON object.

Run as a file in a process of its own, with a time limit: importing TensorRT can fail in ways
that end a process, and 8.6 ends by a segmentation fault when used without a GPU. So the CUDA
driver is asked first, and TensorRT is imported only to learn its version. Standard library only
and nothing of benchlib, because the interpreter may be another one.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import json
import sys

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NAME_BYTES = 256


def cuda() -> dict[str, object]:
    """The driver's CUDA version and its devices' names; ``cuda_reason`` is why there are none."""
    known: dict[str, object] = {"cuda_version": None, "devices": [], "cuda_reason": None}
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return {**known, "cuda_reason": f"no CUDA driver ({_DRIVER} cannot be loaded)"}
    status = driver.cuInit(0)
    if status != 0:
        return {**known, "cuda_reason": f"the CUDA driver does not start: {_error(driver, status)}"}
    number = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(number)) == 0:
        known["cuda_version"] = f"{number.value // 1000}.{number.value % 1000 // 10}"
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    known["devices"] = [_device_name(driver, index) for index in range(count.value)]
    if count.value == 0:
        known["cuda_reason"] = "the CUDA driver shows no GPU"
    return known


def _device_name(driver: ctypes.CDLL, index: int) -> str:
    handle = ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    driver.cuDeviceGet(ctypes.byref(handle), index)
    driver.cuDeviceGetName(name, _NAME_BYTES, handle)
    return name.value.decode(errors="replace")


def _error(driver: ctypes.CDLL, status: int) -> str:
    text = ctypes.c_char_p()
    if driver.cuGetErrorString(status, ctypes.byref(text)) == 0 and text.value:
        return text.value.decode(errors="replace")
    return f"error {status}"


def tensorrt() -> dict[str, object]:
    """TensorRT's version, or why it cannot be imported."""
    if importlib.util.find_spec("tensorrt") is None:
        return {"tensorrt": None, "tensorrt_reason": "no wheel called tensorrt"}
    try:
        version = importlib.import_module("tensorrt").__version__
    except (ImportError, OSError, AttributeError) as error:
        return {"tensorrt": None, "tensorrt_reason": f"tensorrt cannot be imported: {error}"}
    return {"tensorrt": version, "tensorrt_reason": None}


def installed(*distributions: str) -> str | None:
    """The version of the first of these that is installed, by its metadata alone."""
    for distribution in distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def main() -> None:
    facts = {
        "python": ".".join(map(str, sys.version_info[:3])),
        **cuda(),
        **tensorrt(),
        "tensorrt_rtx": installed("tensorrt-rtx", "tensorrt_rtx", "tensorrt-rtx-cu12"),
        "cuda_bindings": installed("cuda-bindings", "cuda-python"),
        "numpy": installed("numpy"),
    }
    # On a line of its own: an import may have printed something before.
    sys.stdout.write("\n" + json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
