"""The lines a stand-in writes: stamped messages and the ``&&&&`` banners.

Information goes to standard output, warnings and errors to standard error, as with trtexec.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Protocol

from benchlib.engines.version import Version

TENSORRT_MAJORS = range(8, 100)


class StandinError(Exception):
    """The asked-for work cannot be done; the message is one line for the log."""


class Sink(Protocol):
    """Where lines go: a text stream."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


def banner_code(version: Version) -> str:
    """Code a version as the banner does: TensorRT 8.6.0 is 8600, ONNX Runtime 1.32.0 is 13200.

    Programs that number from 1 take the coding TensorRT has had since 10.0. The old one has no
    room for a minor version of two digits.
    """
    if version.major in TENSORRT_MAJORS:
        return str(version.banner())
    return str(version.major * 10_000 + version.minor * 100 + version.patch)


@dataclass(frozen=True, slots=True)
class Log:
    """Writes trtexec's log dialect.

    ``out`` takes banners, information and (with ``verbose``) details; ``err`` takes warnings and
    errors. Each line is flushed, so that a process that dies leaves all it said.
    """

    out: Sink = field(default_factory=lambda: sys.stdout)
    err: Sink = field(default_factory=lambda: sys.stderr)
    verbose: bool = False

    def banner(self, state: str, tool: str, code: str, command: str) -> None:
        """Write ``&&&& STATE TOOL [TensorRT vCODE] # COMMAND``."""
        self._write(self.out, f"&&&& {state} {tool} [TensorRT v{code}] # {command}")

    def info(self, message: str = "") -> None:
        self._stamped(self.out, "I", message)

    def detail(self, message: str) -> None:
        """Write a line that is shown only with ``--verbose``."""
        if self.verbose:
            self._stamped(self.out, "V", message)

    def warning(self, message: str) -> None:
        self._stamped(self.err, "W", message)

    def error(self, message: str) -> None:
        self._stamped(self.err, "E", message)

    def plain(self, text: str) -> None:
        """Write ``text`` to standard output without a stamp."""
        self._write(self.out, text)

    def bare_error(self, text: str) -> None:
        """Write ``text`` to standard error without a stamp, as CUDA failures are."""
        self._write(self.err, text)

    def _stamped(self, stream: Sink, severity: str, message: str) -> None:
        stamp = time.strftime("%m/%d/%Y-%H:%M:%S")
        self._write(stream, f"[{stamp}] [{severity}] {message}")

    @staticmethod
    def _write(stream: Sink, line: str) -> None:
        stream.write(line + "\n")
        stream.flush()
