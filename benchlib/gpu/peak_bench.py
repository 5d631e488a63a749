"""Measures the roofs of this machine: what plain matrix products and a plain copy reach on it.

``python -m benchlib.gpu.peak_bench --device cuda:0 --out roofs.json`` does it on a GPU through
PyTorch (cuBLAS), ``--device cpu`` through ONNX Runtime, whose kernels are what a CPU row ran on.
What a device or library cannot do is left out of the file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import torch
from onnx import numpy_helper

from benchlib.gpu.peaks import OPERATIONS_PER_MAC
from benchlib.trtexec.standin.onnxruntime_cpu import ORT_ERRORS, physical_cores

LEAST_S = 0.3
"""Seconds that one product or copy is repeated for; a boosting clock settles within a tenth."""

FEWEST = 5
"""Repeats at least, so that the median leaves out a first slow one."""

MOST = 2000
"""Repeats at most: for what is too short for a clock to see."""

WARM_UP_S = 0.5

GPU_SIZES = (2048, 4096, 8192)
CPU_SIZES = (512, 1024, 2048)
"""Rows and columns of the matrices. The best size counts: small ones do not fill a large card,
large ones make it throttle."""

GPU_COPY_BYTES = 2**30
CPU_COPY_BYTES = 2**28
"""Many times the last cache of what there is today, so that the copy is the memory's."""

SHARE_OF_MEMORY = 8
"""A tensor takes at most one part in this of the free memory."""

Timed = Callable[[], float]
"""Does something once and gives the seconds it took."""


def measure(device: CudaDevice | CpuDevice, say: Callable[[str], None]) -> dict[str, Any]:
    """Rates in 10^12 operations per second, the copy in 10^9 bytes per second, and ``how``.

    By the names that environment.json has.
    """
    rates_by_name: dict[str, Any] = {}
    for name, product in device.products().items():
        rates = list(_rates(device.sizes, product, name, say))
        if rates:
            rates_by_name[name] = _digits(max(rates))
    try:
        once, size = device.copy()
        # Every byte is read and written.
        rates_by_name["memory_gb_s"] = _digits(2 * size / seconds(once) / 1e9)
    except ORT_ERRORS as error:
        say(f"memory_gb_s: {_line(error)}")
    return {**rates_by_name, "how": device.how()}


def seconds(once: Timed) -> float:
    """Median seconds of one repeat."""
    began = time.monotonic()
    while time.monotonic() - began < WARM_UP_S:
        once()
    taken: list[float] = []
    while len(taken) < FEWEST or (sum(taken) < LEAST_S and len(taken) < MOST):
        taken.append(once())
    return statistics.median(taken)


def _rates(
    sizes: Iterable[int], product: Callable[[int], Timed], name: str, say: Callable[[str], None]
) -> Iterable[float]:
    for size in sizes:
        try:
            yield OPERATIONS_PER_MAC * size**3 / seconds(product(size)) / 1e12
        except ORT_ERRORS as error:
            # A card without the unit, or without the memory for this size.
            say(f"{name} at {size}: {_line(error)}")


class CudaDevice:
    """A GPU through PyTorch."""

    def __init__(self, index: int) -> None:
        if not torch.cuda.is_available():
            raise SystemExit("PyTorch sees no GPU; is it a build for CPUs, or the driver too old?")
        self._device = torch.device("cuda", index)
        torch.cuda.set_device(self._device)
        free, _ = torch.cuda.mem_get_info(self._device)
        self._most_bytes = free // SHARE_OF_MEMORY
        self.sizes = tuple(size for size in GPU_SIZES if 4 * size**2 <= self._most_bytes)
        # TensorRT may add up halves in FP16, which GeForce cards do twice as fast.
        if hasattr(torch.backends.cuda.matmul, "allow_fp16_accumulation"):
            torch.backends.cuda.matmul.allow_fp16_accumulation = True

    def products(self) -> dict[str, Callable[[int], Timed]]:
        return {
            "fp32_tflops": lambda size: self._product(size, torch.float32, "highest"),
            "tf32_tflops": lambda size: self._product(size, torch.float32, "high"),
            "fp16_tflops": lambda size: self._product(size, torch.float16),
            "bf16_tflops": lambda size: self._product(size, torch.bfloat16),
            "int8_tops": self._int8,
        }

    def copy(self) -> tuple[Timed, int]:
        size = min(GPU_COPY_BYTES, self._most_bytes)
        source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=self._device)
        target = torch.empty_like(source)
        return self._timed(lambda: target.copy_(source)), size

    def how(self) -> str:
        return (
            f"PyTorch {torch.__version__} on {torch.cuda.get_device_name(self._device)}: square "
            f"matrix products of {_listed(self.sizes)} on random numbers, the best size's median; "
            f"{_COPY}"
        )

    def _product(self, size: int, dtype: torch.dtype, precision: str = "highest") -> Timed:
        torch.set_float32_matmul_precision(precision)
        left, right = (torch.randn(size, size, dtype=dtype, device=self._device) for _ in range(2))
        out = torch.empty_like(left)
        return self._timed(lambda: torch.mm(left, right, out=out))

    def _int8(self, size: int) -> Timed:
        left, right = (
            torch.randint(-127, 128, (size, size), dtype=torch.int8, device=self._device)
            for _ in range(2)
        )
        # The tensor cores take the second matrix by columns only.
        return self._timed(lambda: torch._int_mm(left, right.t()))

    def _timed(self, run: Callable[[], Any]) -> Timed:
        def once() -> float:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            return start.elapsed_time(end) / 1000

        return once


class CpuDevice:
    """The CPU through ONNX Runtime, in as many threads as the rows are timed with."""

    sizes = CPU_SIZES

    def __init__(self, threads: int) -> None:
        self._threads = threads
        torch.set_num_threads(threads)

    def products(self) -> dict[str, Callable[[int], Timed]]:
        return {
            "fp32_tflops": lambda size: self._product(size, "MatMul"),
            "int8_tops": lambda size: self._product(size, "MatMulInteger"),
        }

    def copy(self) -> tuple[Timed, int]:
        source = torch.randint(0, 255, (CPU_COPY_BYTES,), dtype=torch.uint8)
        target = torch.empty_like(source)
        return _timed_on_cpu(lambda: target.copy_(source)), CPU_COPY_BYTES

    def how(self) -> str:
        threads = "1 thread" if self._threads == 1 else f"{self._threads} threads"
        return (
            f"ONNX Runtime {onnxruntime.__version__}, {threads}: square matrix products of "
            f"{_listed(self.sizes)} on random numbers, the best size's median; {_COPY}"
        )

    def _product(self, size: int, kind: str) -> Timed:
        session, left = self._session(size, kind)
        return _timed_on_cpu(lambda: session.run(None, {"left": left}))

    def _session(self, size: int, kind: str) -> tuple[onnxruntime.InferenceSession, Any]:
        """A graph of one product with a constant, as a network's weights are."""
        random = np.random.default_rng(0)
        if kind == "MatMulInteger":
            types = ("uint8", "int32")
            left = random.integers(0, 256, (size, size), dtype=np.uint8)
            right = random.integers(-127, 128, (size, size), dtype=np.int8)
        else:
            types = ("float", "float")
            left, right = (random.standard_normal((size, size), np.float32) for _ in range(2))
        shape = f"[{size}, {size}]"
        model = onnx.parser.parse_model(
            f"""<ir_version: 8, opset_import: ["" : 17]>
            product ({types[0]}{shape} left) => ({types[1]}{shape} out)
            {{ out = {kind}(left, right) }}"""
        )
        model.graph.initializer.append(numpy_helper.from_array(right, "right"))
        onnx.checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        return onnxruntime.InferenceSession(model.SerializeToString(), options), left


_COPY = "a copy of many times the cache, bytes read and written"


def _timed_on_cpu(run: Callable[[], Any]) -> Timed:
    def once() -> float:
        began = time.perf_counter()
        run()
        return time.perf_counter() - began

    return once


def _digits(value: float) -> float:
    """Four digits: more than two runs agree in."""
    return float(f"{value:.4g}")


def _listed(sizes: Iterable[int]) -> str:
    return ", ".join(map(str, sizes))


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main() -> int:
    """Measure and leave the file."""
    parser = argparse.ArgumentParser(prog="python -m benchlib.gpu.peak_bench")
    parser.add_argument("--device", required=True, help="cpu, or cuda:N")
    parser.add_argument("--threads", type=int, help="of a CPU; default: its cores")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    words = parser.parse_args()
    kind, _, index = words.device.partition(":")
    device = (
        CpuDevice(words.threads or physical_cores())
        if kind == "cpu"
        else CudaDevice(int(index or 0))
    )
    rates = measure(device, lambda text: sys.stderr.write(f"{text}\n"))
    words.out.write_text(json.dumps(rates, allow_nan=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
