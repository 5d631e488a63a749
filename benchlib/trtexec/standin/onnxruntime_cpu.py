"""A stand-in for trtexec on plain CPUs: ONNX Runtime behind trtexec's command line.

``python -m benchlib.trtexec.standin.onnxruntime_cpu --onnx=net.onnx --shapes=input:1x3x480x640``
prints trtexec's lines and leaves trtexec's files. One query is one call of
``InferenceSession.run``; the warm-up and the end of the loop follow trtexec's rule. Precision
stands in the graph. Its own flags are ``--threads=N``, ``--provider`` and ``--seed`` (of the
input values).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

from benchlib.trtexec import exports, flags
from benchlib.trtexec.flags import Version, parse_version
from benchlib.trtexec.standin import tensor_io
from benchlib.trtexec.standin.program import (
    COMMON_FLAGS,
    COMMON_MEANINGS,
    Exports,
    Log,
    LoopBound,
    Measuring,
    Program,
    StandinError,
    Trace,
    dims_text,
    input_files,
    no_collection,
    path_of,
    report,
)
from benchlib.trtexec.standin.tensor_io import LayerTimes

TOPOLOGY = Path("/sys/devices/system/cpu")

_KINDS = [kind for kind in vars(native).values() if isinstance(kind, type)]
ORT_ERRORS = (
    *(kind for kind in _KINDS if issubclass(kind, Exception)),
    *(MemoryError, RuntimeError, ValueError),
)
"""What ONNX Runtime raises; its own classes have no common base."""

UNSUPPORTED = (native.InvalidGraph, native.NotImplemented)
"""Raised for operators that are unknown or have no kernel for their types."""

TYPES = {
    "float": ("FP32", np.float32),
    "float16": ("FP16", np.float16),
    "double": ("FP64", np.float64),
    "int8": ("Int8", np.int8),
    "uint8": ("UInt8", np.uint8),
    "int32": ("Int32", np.int32),
    "int64": ("Int64", np.int64),
    "bool": ("Bool", np.bool_),
}
"""ONNX Runtime's type names in the words of TensorRT's engine inspector, and numpy's types."""

NUMPY_TYPES = {f"tensor({name})": kind for name, (_, kind) in TYPES.items()}


@dataclass(frozen=True, slots=True)
class Model:
    """A session and what it is fed."""

    session: onnxruntime.InferenceSession
    feeds: Mapping[str, npt.NDArray[np.generic]]

    @property
    def outputs(self) -> list[str]:
        return [output.name for output in self.session.get_outputs()]

    def run(self) -> dict[str, npt.NDArray[np.generic]]:
        """Run one query and return its outputs by name."""
        return dict(zip(self.outputs, self.session.run(None, self.feeds), strict=True))


def physical_cores() -> int:
    """Cores this process may use, hyper-threads of one core counted once."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    siblings = {
        path.read_text(encoding="ascii").strip()
        for path in (TOPOLOGY / f"cpu{core}/topology/thread_siblings_list" for core in allowed)
        if path.exists()
    }
    return len(siblings) or len(allowed)


def open_session(
    path: Path, options: Mapping[str, Any], profile_prefix: Path | None = None
) -> onnxruntime.InferenceSession:
    """Load and optimise a graph for the threads and provider of ``options``.

    With ``profile_prefix`` the session writes ONNX Runtime's profile to a file named after it.
    Raises :class:`StandinError` for a file, operator or provider that cannot be used.
    """
    threads = options["--threads"] or physical_cores()
    provider = options["--provider"]
    if threads < 0:
        raise StandinError("--threads must be at least 1")
    if provider not in onnxruntime.get_available_providers():
        there = ", ".join(onnxruntime.get_available_providers())
        raise StandinError(f"--provider {provider} is not in this ONNX Runtime; there is {there}")
    if not path.is_file():
        raise StandinError(f"Could not open file {path}")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.log_severity_level = 3
    if profile_prefix is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(profile_prefix)
    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=[provider])
    except ORT_ERRORS as error:
        what = "the graph is not supported: " if isinstance(error, UNSUPPORTED) else ""
        raise StandinError(f"Engine set up failed: {what}{line(error)}") from error


def feeds_of(
    session: onnxruntime.InferenceSession,
    options: Mapping[str, Any],
    given: tensor_io.Shapes,
    log: Log,
) -> dict[str, npt.NDArray[np.generic]]:
    """The inputs, from the files of ``--loadInputs`` or made up, in the ``given`` shapes.

    Raises :class:`StandinError` for a shape, file or type that does not fit.
    """
    tensors = {tensor.name: tensor for tensor in session.get_inputs()}
    names = frozenset(tensors)
    tensor_io.known_shapes(given, names)
    files = input_files(options, names)
    feeds = {}
    for name, tensor in tensors.items():
        dtype = NUMPY_TYPES.get(tensor.type)
        if dtype is None:
            raise StandinError(f"Input {name} has a type that cannot be filled: {tensor.type}")
        dims = tensor_io.settled_shapes(name, tensor.shape, given, log)
        log.info(f"Input {name}: {dims_text(dims)} {np.dtype(dtype)}")
        if name in files:
            feeds[name] = tensor_io.values_from_file(files[name], dtype, dims)
        else:
            feeds[name] = tensor_io.filled_values(dtype, dims, options["--seed"])
    return feeds


def line(error: Exception) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())


_SUFFIX = "_kernel_time"
_RUN = "model_run"


@dataclass(frozen=True, slots=True)
class OrtProfile:
    """Times and description of every node that ran; ``bindings`` are the network's tensors."""

    layers: tuple[LayerTimes, ...]
    nodes: tuple[dict[str, Any], ...]
    bindings: tuple[str, ...]

    def layer_information(self) -> dict[str, Any]:
        """What ``--exportLayerInfo`` holds, in the shape TensorRT up to 10.16 gives it."""
        return {"Layers": list(self.nodes), "Bindings": list(self.bindings)}


def read_ort_profile(text: str, bindings: Sequence[str], skip: int) -> OrtProfile:
    """Read the profiler's JSON; the first ``skip`` runs are left out as warm-up."""
    times: dict[str, list[float]] = {}
    nodes: dict[str, dict[str, Any]] = {}
    run = 0
    for event in json.loads(text):
        if event.get("name") == _RUN:
            run += 1
        if event.get("cat") != "Node" or not event["name"].endswith(_SUFFIX):
            continue
        details = event["args"]
        name = (
            event["name"].removesuffix(_SUFFIX) or f"{details['op_name']}_{details['node_index']}"
        )
        nodes.setdefault(name, _node(name, details))
        if run >= skip:
            times.setdefault(name, []).append(event["dur"] / 1000)
    layers = tuple(LayerTimes(name, tuple(values)) for name, values in times.items())
    return OrtProfile(layers, tuple(nodes.values()), tuple(bindings))


def _node(name: str, details: dict[str, Any]) -> dict[str, Any]:
    return {
        "Name": name,
        "LayerType": details["op_name"],
        "Inputs": _tensors(name, "in", details.get("input_type_shape", [])),
        "Outputs": _tensors(name, "out", details.get("output_type_shape", [])),
        "Provider": details.get("provider", ""),
    }


def _tensors(
    node: str, side: str, types_shapes: list[dict[str, list[int]]]
) -> list[dict[str, Any]]:
    """One record per tensor; the profiler knows types and shapes, but no tensor names."""
    return [
        {
            "Name": f"{node}:{side}{index}",
            "Location": "Host",
            "Dimensions": dims,
            "Format/Datatype": TYPES.get(kind, (kind,))[0],
        }
        for index, record in enumerate(types_shapes)
        for kind, dims in record.items()
    ]


NEWEST_TABLE = Version(11, 1)
SERVED = COMMON_FLAGS | {"--threads", "--provider", "--seed"}

MEANINGS = {
    **COMMON_MEANINGS,
    "--useCudaGraph": "there is no CUDA graph on a CPU; each query is one call of session.run",
    "--noCudaGraph": "there is no CUDA graph on a CPU anyway",
    "--noDataTransfers": "there are no transfers on a CPU; inputs lie in host memory",
    "--includeDataTransfers": "there are no transfers on a CPU; inputs lie in host memory",
    "--useSpinWait": "a query ends when session.run returns; nothing is waited for",
    "--noSpinWait": "a query ends when session.run returns; nothing is waited for",
    "--exposeDMA": "queries never overlap on a CPU",
    "--separateProfileRun": "layers are always profiled in a session and run of their own",
    "--stronglyTyped": "the precision is always the graph's own",
    "--noTF32": "FP32 is plain FP32 on a CPU",
    "--profilingVerbosity": "layer information always has types and shapes",
    "--builderOptimizationLevel": "ONNX Runtime optimises the graph at its highest level",
    "--avgTiming": "ONNX Runtime times no kernels to choose among them",
    "--memPoolSize": "ONNX Runtime takes the memory it needs",
    "--device": "the device is the CPU",
    "--timingCacheFile": "ONNX Runtime times no kernels, so no cache is written",
}


def table() -> flags.FlagTable:
    """The newest trtexec's flags, and this program's own, which go first."""
    own = flags.onnxruntime_cpu()
    return flags.FlagTable(own.program, {**flags.table(NEWEST_TABLE).flags, **own.flags})


def measure(log: Log, options: flags.Options) -> None:
    """Do all the command line asks for; raise :class:`StandinError` when something fails."""
    measuring, files = Measuring.read(options), Exports.read(options)
    path = path_of(options, "--onnx")
    if path is None:
        raise StandinError("Model missing: give --onnx=FILE")
    begin = time.perf_counter()
    session = open_session(path, options)
    log.info(f"Engine built in {exports.number(time.perf_counter() - begin)} sec.")
    given = tensor_io.filled_shapes(options, log).timed
    model = Model(session, feeds_of(session, options, given, log))
    try:
        if options["--skipInference"]:
            log.info("Skipped inference phase since --skipInference is added.")
        else:
            log.info("Starting inference")
            counted = report(log, _trace(model, measuring), measuring.warm_up_ms)
            tensor_io.leave_times(files, counted)
        _describe(log, path, options, model, measuring, files)
    except ORT_ERRORS as error:
        raise StandinError(f"Error occurred during inference: {line(error)}") from error


def _trace(model: Model, measuring: Measuring) -> Trace:
    """Run the queries and stamp them; a synchronous call has no enqueue time of its own."""
    run, feeds, clock = model.session.run, model.feeds, time.perf_counter_ns
    bound = LoopBound(measuring)
    starts: list[int] = []
    ends: list[int] = []
    with no_collection():
        zero = clock()
        while bound.more():
            start = clock()
            run(None, feeds)
            end = clock()
            starts.append(start - zero)
            ends.append(end - zero)
            bound.passed((start - zero) / 1e6)
            bound.rest()
    start_ms, end_ms = (np.array(stamps, dtype=np.float64) / 1e6 for stamps in (starts, ends))
    return Trace.of(start_ms, start_ms, start_ms, end_ms, end_ms - start_ms)


def _describe(
    log: Log, path: Path, options: flags.Options, model: Model, measuring: Measuring, files: Exports
) -> None:
    """Leave outputs, layers and profile; nothing of it touches the session that was timed."""
    if files.tensors and not options["--skipInference"]:
        tensor_io.leave_tensors(files, log, model.feeds, model.run())
    if not (files.profiling or files.layers is not None or files.dump_layers):
        return
    runs = max(measuring.iterations, 1) if files.profiling else 1
    profile = _profile(path, options, model.feeds, runs)
    layers = json.dumps(profile.layer_information(), indent=1)
    if files.layers is not None:
        tensor_io.write_text(files.layers, layers + "\n")
    if files.dump_layers:
        log.info(layers)
    tensor_io.leave_profile(files, log, profile.layers, runs)


def _profile(
    path: Path, options: flags.Options, feeds: Mapping[str, npt.NDArray[np.generic]], runs: int
) -> OrtProfile:
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(path, options, Path(folder) / "profile")
        for _ in range(runs + 1):
            session.run(None, feeds)
        text = Path(session.end_profiling()).read_text(encoding="utf-8")
    names = [tensor.name for tensor in (*session.get_inputs(), *session.get_outputs())]
    return read_ort_profile(text, names, skip=1)


def program() -> Program:
    """This stand-in, speaking for the installed ONNX Runtime."""
    return Program(
        tool="benchlib.onnxruntime_cpu",
        version=parse_version(onnxruntime.__version__),
        table=table(),
        work=measure,
        about=__doc__ or "",
        served=SERVED,
        meanings=MEANINGS,
        otherwise="ONNX Runtime has no such thing",
    )


if __name__ == "__main__":
    sys.exit(program().run(sys.argv[1:], Log()))
