"""The installed TensorRT: its module, its version, and what it can and cannot do."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchlib.engines.standin.log import Log, StandinError
from benchlib.engines.version import Version, parse

RTX = "tensorrt_rtx"

NUMPY_TYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}
"""Types of inputs and outputs that numpy has too, by TensorRT's names."""


@dataclass(frozen=True, slots=True)
class Library:
    """``trt`` is the module ``tensorrt`` or ``tensorrt_rtx``, ``name`` says which."""

    trt: Any
    name: str
    version: Version

    @property
    def is_rtx(self) -> bool:
        return self.name == RTX

    def member(self, enum: str, member: str, flag: str) -> Any:
        """``trt.ENUM.MEMBER``; raises :class:`StandinError` naming ``flag`` where it is missing.

        So a flag that this version cannot serve is an error and never passed over.
        """
        found = getattr(getattr(self.trt, enum, None), member, None)
        if found is None:
            raise StandinError(
                f"{flag} is not supported by {self.name} {self.version}: it has no {enum}.{member}"
            )
        return found

    def logger(self, log: Log) -> Any:
        """A TensorRT logger that writes to ``log``; it must outlive all that is made with it."""
        return _logger_class(self.trt)(log)

    def register_plugins(self, logger: Any) -> None:
        """Make TensorRT's own plugins known, as trtexec does; TensorRT-RTX has none.

        Raises :class:`StandinError` when they cannot be registered.
        """
        register = getattr(self.trt, "init_libnvinfer_plugins", None)
        if register is not None and not register(logger, ""):
            raise StandinError("Could not load library libnvinfer_plugin: no plugin is registered")


def load(name: str) -> Library:
    """Import TensorRT; raises :class:`StandinError` when that fails."""
    try:
        trt = importlib.import_module(name)
    except ImportError as error:
        raise StandinError(f"Could not load library {name}: {error}") from error
    return Library(trt, name, parse(trt.__version__))


def dims(value: Iterable[int]) -> tuple[int, ...]:
    """TensorRT's dimensions as a tuple; -1 stands for a dynamic one."""
    return tuple(int(size) for size in value)


def _logger_class(trt: Any) -> type:
    severity = trt.ILogger.Severity
    failures = (severity.INTERNAL_ERROR, severity.ERROR)

    class Logger(trt.ILogger):
        """Called from the builder's threads: short, and it raises nothing."""

        def __init__(self, log: Log) -> None:
            trt.ILogger.__init__(self)
            self._target = log

        def log(self, severity_: Any, message: str) -> None:
            line = f"[TRT] {message}"
            if severity_ in failures:
                self._target.error(line)
            elif severity_ == severity.WARNING:
                self._target.warning(line)
            elif severity_ == severity.INFO:
                self._target.info(line)
            else:
                self._target.detail(line)

    return Logger
