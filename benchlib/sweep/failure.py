"""What went wrong with a case: a class, a sentence, and the last words of the log.

The patterns name what TensorRT, CUDA and ONNX Runtime print; the first that matches wins.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

from benchlib.case import Failure
from benchlib.errors import InputError
from benchlib.sweep.process import Ended, ProgramMissingError

MESSAGE_CHARACTERS = 300
"""A row's message stays one readable line; the log holds the rest."""

_NO_TACTIC = re.compile(
    r"could not find any implementation for node|no tactic|Error Code 10\b", re.IGNORECASE
)
_MEMORY = re.compile(
    r"out of memory|OutOfMemory|OUT_OF_MEMORY|bad_alloc|MemoryError|(?:failed|unable) to allocate",
    re.IGNORECASE,
)
_UNSUPPORTED = re.compile(
    r"no importer registered for op|UNSUPPORTED_NODE|unsupported (?:onnx|data ?type|operator)"
    r"|NOT_IMPLEMENTED|is not a registered (?:function|op)|plugin not found|unknown option",
    re.IGNORECASE,
)
_MISSING = re.compile(
    r"error while loading shared libraries|unable to open library|no module named", re.IGNORECASE
)
_FULL_DISK = re.compile(r"no space left on device|file too large|disk quota", re.IGNORECASE)
_ERROR_LINE = re.compile(r"\[[EF]\] (?P<words>.*)|^(?P<cuda>Cuda failure.*)$", re.MULTILINE)
_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure's class and its sentence."""

    failure: Failure
    message: str


class CaseError(Exception):
    """A case could not be measured; carries the :class:`Fault` for its row."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(f"{failure}: {message}")
        self.fault = Fault(failure, one_line(message))


def one_line(text: str) -> str:
    """``text`` on one line of bounded length."""
    words = " ".join(text.split())
    if len(words) <= MESSAGE_CHARACTERS:
        return words
    return words[: MESSAGE_CHARACTERS - 1] + "…"


def last_words(log: str) -> str:
    """The first error line of a log, or its last line when none is marked as one.

    The first, because TensorRT's later ones only repeat that something failed.
    """
    match = _ERROR_LINE.search(log)
    if match:
        return one_line(match["words"] or match["cuda"])
    lines = [line for line in log.splitlines() if line.strip()]
    return one_line(lines[-1]) if lines else "the program said nothing"


def classify(phase: str, ended: Ended, log: str) -> Fault:
    """The fault of a program that did not end well, from how it ended and what it said.

    ``phase`` is ``build``, ``time`` or ``profile``.
    """
    if ended.timed_out:
        return Fault(
            Failure.TIMEOUT,
            f"{phase}: {ended.words}; raise time_limit_{'build' if phase == 'build' else 'time'}_s",
        )
    words = f"{phase}: {ended.words}: {last_words(log)}"
    if _NO_TACTIC.search(log):
        kind = Failure.NO_TACTIC
    elif _MEMORY.search(log):
        kind = Failure.OOM_BUILD if phase == "build" else Failure.OOM_RUN
    elif _UNSUPPORTED.search(log):
        kind = Failure.UNSUPPORTED
    elif _MISSING.search(log) or ended.status == 127:
        kind = Failure.MISSING_PROGRAM
    elif _FULL_DISK.search(log):
        kind = Failure.BAD_OUTPUT
    else:
        kind = Failure.CRASH
        if ended.signal == 9:
            words = f"{phase}: killed by SIGKILL from outside, as a system short of memory does"
    return Fault(kind, one_line(words))


def of_error(error: BaseException) -> Fault:
    """The fault that an exception stands for: the one place where one becomes the other."""
    if isinstance(error, CaseError):
        return error.fault
    if isinstance(error, ProgramMissingError):
        return Fault(Failure.MISSING_PROGRAM, one_line(f"{error}; benchlib doctor says what is"))
    if isinstance(error, MemoryError):
        return Fault(Failure.OOM_BUILD, "memory ran out while the case was prepared")
    if isinstance(error, InputError):
        return Fault(Failure.UNSUPPORTED, one_line(str(error)))
    if isinstance(error, OSError):
        if error.errno in _FULL_ERRNOS:
            return Fault(Failure.BAD_OUTPUT, f"the disk is full: {error.strerror}")
        return Fault(Failure.BAD_OUTPUT, one_line(f"a file could not be used: {error.strerror}"))
    return Fault(Failure.CRASH, one_line(f"{type(error).__name__}: {error}"))
