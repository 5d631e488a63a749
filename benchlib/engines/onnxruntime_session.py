"""A network in ONNX Runtime: the session, what it is fed, and what can go wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

from benchlib.engines.standin import inputs, shapes
from benchlib.engines.standin.log import Log, StandinError
from benchlib.engines.standin.options import dims_text, input_files

TOPOLOGY = Path("/sys/devices/system/cpu")

ORT_ERRORS = (
    native.EPFail,
    native.Fail,
    native.InvalidArgument,
    native.InvalidGraph,
    native.InvalidProtobuf,
    native.NoSuchFile,
    native.NotImplemented,
    native.RuntimeException,
    MemoryError,
    RuntimeError,
    ValueError,
)
"""What ONNX Runtime raises; its own classes have no common base."""

UNSUPPORTED = (native.InvalidGraph, native.NotImplemented)
"""Raised for operators that are unknown or have no kernel for their types."""

NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


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
    given: shapes.Shapes,
    log: Log,
) -> dict[str, npt.NDArray[np.generic]]:
    """The inputs, from the files of ``--loadInputs`` or made up, in the ``given`` shapes.

    Raises :class:`StandinError` for a shape, file or type that does not fit.
    """
    tensors = {tensor.name: tensor for tensor in session.get_inputs()}
    names = frozenset(tensors)
    shapes.known(given, names)
    files = input_files(options, names)
    feeds = {}
    for name, tensor in tensors.items():
        dtype = NUMPY_TYPES.get(tensor.type)
        if dtype is None:
            raise StandinError(f"Input {name} has a type that cannot be filled: {tensor.type}")
        dims = shapes.settled(name, tensor.shape, given, log)
        log.info(f"Input {name}: {dims_text(dims)} {np.dtype(dtype)}")
        if name in files:
            feeds[name] = inputs.from_file(files[name], dtype, dims)
        else:
            feeds[name] = inputs.filled(dtype, dims, options["--seed"])
    return feeds


def line(error: Exception) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())
