"""Does the TensorRT stand-in measure what trtexec measures? On a GPU, with built engines:

    python benchmarks/standin_vs_trtexec.py resnet18.engine mobilenet.engine

Each engine is timed in several fresh processes by the stand-in, by trtexec where one is found,
and by a bare event loop written for this comparison, in turn, so that drift of the clocks
meets all alike. Printed are the medians of computeMs, their spread over the processes, and the
ratio of the stand-in to each other; ``--json FILE`` leaves the same for machines. The aim is a
ratio within 0.5 % and a spread below 0.3 %.

The stand-in and the bare loop run under the interpreter of ``BENCHLIB_TENSORRT_PYTHON``, by
default this one. Engines must have static shapes and linear inputs.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchlib.trtexec import exports

STANDIN, TRTEXEC, BARE = "stand-in", "trtexec", "bare loop"
WARM_UP_S = 0.2
SWITCHES = ("--useCudaGraph", "--noDataTransfers", "--useSpinWait")


@dataclass(frozen=True, slots=True)
class Timed:
    """One program on one engine: the median computeMs of each process, in milliseconds."""

    engine: str
    program: str
    medians_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        return statistics.median(self.medians_ms)

    @property
    def spread(self) -> float:
        """Highest minus lowest process, as a share of the median."""
        return (max(self.medians_ms) - min(self.medians_ms)) / self.median_ms


def by_exported_times(command: Sequence[str], engine: Path, duration_s: float) -> float:
    """Median computeMs of a program with trtexec's command line."""
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times.json"
        argv = [
            *command,
            f"--loadEngine={engine}",
            *SWITCHES,
            f"--duration={duration_s:g}",
            f"--warmUp={1000 * WARM_UP_S:g}",
            f"--exportTimes={times}",
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if not times.exists():
            raise SystemExit(f"{' '.join(argv)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return statistics.median(query.compute_ms for query in exports.read_times(times))


def by_bare_loop(python: str, engine: Path, duration_s: float) -> float:
    """Median of the event pairs of :func:`bare_loop` in a process of its own."""
    argv = [python, __file__, "--bare", str(engine), f"--duration={duration_s:g}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}\n{done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def bare_loop(engine_path: Path, duration_s: float) -> float:
    """Record, launch, record; wait for the query before; nothing else. Milliseconds.

    Shares no code with the stand-in on purpose: a mistake in one would show as a difference.
    """
    import tensorrt as trt
    from cuda.bindings import runtime as cuda

    def value(result: tuple[Any, ...]) -> Any:
        if int(result[0]) != 0:
            raise SystemExit(f"CUDA: {result[0]}")
        return result[-1]

    value(cuda.cudaSetDevice(0))
    logger = trt.Logger(trt.Logger.ERROR)
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(engine_path.read_bytes())
    context = engine.create_execution_context()
    random = np.random.default_rng(0)
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape = tuple(engine.get_tensor_shape(name))
        dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
        data = random.uniform(-1, 1, shape).astype(dtype)
        address = value(cuda.cudaMalloc(data.nbytes))
        kind = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        value(cuda.cudaMemcpy(address, data.ctypes.data, data.nbytes, kind))
        context.set_tensor_address(name, int(address))
    stream = value(cuda.cudaStreamCreate())
    context.execute_async_v3(int(stream))
    value(cuda.cudaStreamSynchronize(stream))
    mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    value(cuda.cudaStreamBeginCapture(stream, mode))
    context.execute_async_v3(int(stream))
    graph = value(cuda.cudaGraphInstantiate(value(cuda.cudaStreamEndCapture(stream)), 0))
    pairs = [
        (value(cuda.cudaEventCreate()), value(cuda.cudaEventCreate())),
        (value(cuda.cudaEventCreate()), value(cuda.cudaEventCreate())),
    ]

    def put(pair: tuple[Any, Any]) -> None:
        cuda.cudaEventRecord(pair[0], stream)
        cuda.cudaGraphLaunch(graph, stream)
        cuda.cudaEventRecord(pair[1], stream)

    times = []
    gc.disable()
    put(pairs[1])
    begin = time.perf_counter()
    while (now := time.perf_counter() - begin) < WARM_UP_S + duration_s:
        pairs.reverse()
        put(pairs[1])
        value(cuda.cudaEventSynchronize(pairs[0][1]))
        if now >= WARM_UP_S:
            times.append(value(cuda.cudaEventElapsedTime(*pairs[0])))
    value(cuda.cudaStreamSynchronize(stream))
    return float(np.median(times))


def compare(
    engine: Path, python: str, trtexec: str | None, args: argparse.Namespace
) -> list[Timed]:
    """Time one engine by every program in turn, ``args.processes`` times each."""
    standin = (python, "-m", "benchlib.trtexec.standin.tensorrt_python")
    medians: dict[str, list[float]] = {STANDIN: [], BARE: []}
    if trtexec:
        medians[TRTEXEC] = []
    for _ in range(args.processes):
        medians[STANDIN].append(by_exported_times(standin, engine, args.duration))
        medians[BARE].append(by_bare_loop(python, engine, args.duration))
        if trtexec:
            medians[TRTEXEC].append(by_exported_times((trtexec,), engine, args.duration))
    return [Timed(engine.name, program, tuple(values)) for program, values in medians.items()]


def table(results: Sequence[Timed]) -> str:
    """The results as fixed-width text, one line per engine and program."""
    own = {timed.engine: timed.median_ms for timed in results if timed.program == STANDIN}
    lines = [f"{'engine':32} {'program':10} {'median ms':>10} {'spread':>8} {'stand-in is':>12}"]
    for timed in results:
        ratio = own[timed.engine] / timed.median_ms
        lines.append(
            f"{timed.engine:32} {timed.program:10} {timed.median_ms:10.4f} "
            f"{100 * timed.spread:7.2f}% {100 * (ratio - 1):+11.2f}%"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engines", nargs="+", type=Path, help="built engine files")
    parser.add_argument("--processes", type=int, default=5, help="processes per program")
    parser.add_argument("--duration", type=float, default=3.0, help="seconds measured in each")
    parser.add_argument("--trtexec", default=os.environ.get("TRTEXEC"), help="path of trtexec")
    parser.add_argument("--json", type=Path, help="file for the results as JSON")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        print(bare_loop(args.engines[0], args.duration))
        return
    python = os.environ.get("BENCHLIB_TENSORRT_PYTHON", sys.executable)
    trtexec = args.trtexec or shutil.which("trtexec")
    results: list[Timed] = []
    for engine in args.engines:
        results += compare(engine.resolve(), python, trtexec, args)
        print(table(results[-3 if trtexec else -2 :]), flush=True)
    if args.json:
        records = [
            {**asdict(timed), "median_ms": timed.median_ms, "spread": timed.spread}
            for timed in results
        ]
        args.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
