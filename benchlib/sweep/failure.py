"""What went wrong with a case: a class and a sentence, for its row.

How an engine program failed is read by :mod:`benchlib.engines.outcome`; here stands what has no
log to read: time limits, files, the exporter, and the one place where an exception becomes a
fault.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchlib.case import Failure
from benchlib.errors import FULL, InputError
from benchlib.sweep.process import Ended, ProgramMissingError

MESSAGE_CHARACTERS = 300
"""A row's message stays one readable line; the log holds the rest."""

_MEMORY = re.compile(r"out of memory|MemoryError|bad_alloc|can't allocate memory", re.IGNORECASE)
_TRACEBACK = "Traceback (most recent call last):"
_FULL_DISK = re.compile(r"no space left on device|disk quota exceeded|file too large", re.I)


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


def timeout(phase: str, ended: Ended) -> CaseError:
    """The error for a program that was ended at its time limit."""
    parameter = f"time_limit_{'build' if phase == 'build' else 'time'}_s"
    return CaseError(
        Failure.TIMEOUT, f"{phase} took more than {ended.seconds:.0f} s; raise {parameter}"
    )


def disk_full(log: str) -> bool:
    """Whether a program complained of a full disk."""
    return _FULL_DISK.search(log) is not None


def of_export(model: str, ended: Ended, log: str) -> CaseError:
    """The error for an exporter that died over ``model``; ``log`` is what it said meanwhile."""
    said = _cause(log)
    kind = _of_words(said)
    # The kernel's out-of-memory killer is what kills an exporter from outside.
    if kind is None and ended.signal == 9:
        kind = Failure.OOM_BUILD
    return CaseError(kind or Failure.CRASH, f"export of {model} {ended.words}: {said}")


def _cause(log: str) -> str:
    """The first line of the last exception in ``log``, or its last line where there is none.

    An exception's later lines are the libraries' context and advice.
    """
    lines = [line for line in log.splitlines() if line.strip()]
    begun = [index for index, line in enumerate(lines) if line == _TRACEBACK]
    after = lines[begun[-1] + 1 :] if begun else []
    # The frames are indented, the exception is not.
    first = next((line for line in after if not line[0].isspace()), None)
    return first or (lines[-1] if lines else "it said nothing")


def _of_words(said: str) -> Failure | None:
    """The class of an error that speaks of a full disk or of too little memory."""
    if disk_full(said):
        return Failure.BAD_OUTPUT
    return Failure.OOM_BUILD if _MEMORY.search(said) else None


def of_error(error: BaseException) -> Fault:
    """The fault that an exception stands for: the one place where one becomes the other."""
    if isinstance(error, CaseError):
        return error.fault
    if isinstance(error, ProgramMissingError):
        return Fault(Failure.MISSING_PROGRAM, one_line(f"{error}; see benchlib doctor"))
    if isinstance(error, MemoryError):
        return Fault(Failure.OOM_BUILD, "memory ran out while the case was prepared")
    if isinstance(error, InputError):
        return Fault(_of_words(str(error)) or Failure.UNSUPPORTED, one_line(str(error)))
    if isinstance(error, OSError):
        if error.errno in FULL:
            return Fault(Failure.BAD_OUTPUT, f"the disk is full: {error.strerror}")
        return Fault(Failure.BAD_OUTPUT, one_line(f"a file could not be used: {error.strerror}"))
    return Fault(Failure.CRASH, one_line(f"{type(error).__name__}: {error}"))
