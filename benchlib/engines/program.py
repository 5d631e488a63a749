"""A program that measures: how it is started, what it is and which flags it knows."""

from __future__ import annotations

from dataclasses import dataclass

from benchlib.case import Engine
from benchlib.engines import flags
from benchlib.engines.flags import FlagTable
from benchlib.engines.version import Version, parse

CPU = "cpu"

TIMED_OTHERWISE = Version(11, 1)
"""The first trtexec that times by a kernel that reads %globaltimer where Confidential Computing
makes the times of CUDA events unreliable."""


@dataclass(frozen=True, slots=True)
class Program:
    """One engine program, ready to be started or only planned for.

    ``command`` is the start of its argv. ``version`` is TensorRT's, or ONNX Runtime's for the
    CPU engine, as text. ``device`` is ``cuda:0`` or ``cpu``. ``path`` is the executable where it
    was found, None when it is only planned for. ``env`` is what it needs in its environment.
    """

    engine: Engine
    command: tuple[str, ...]
    version: str
    device: str
    path: str | None = None
    env: tuple[tuple[str, str], ...] = ()

    @property
    def on_cpu(self) -> bool:
        """Whether no GPU is concerned, so that CUDA flags and precisions do not exist."""
        return self.device == CPU

    @property
    def release(self) -> Version:
        """``version`` as numbers."""
        return parse(self.version)

    @property
    def event_timed(self) -> bool:
        """Whether CUDA events give the times, and not under Confidential Computing another clock.

        trtexec from 11.1 on has such a one; the stand-in has not, whatever its version.
        """
        stamped = self.engine is not Engine.TENSORRT_PYTHON and self.release >= TIMED_OTHERWISE
        return not (self.on_cpu or stamped)

    def flag_table(self) -> FlagTable:
        """The flags this program knows."""
        return flags.onnxruntime_cpu() if self.on_cpu else flags.table(self.release)
