"""The errors that users are meant to read."""

from __future__ import annotations

import errno
import re

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system answers when there is no room: a full disk, a quota, a limit on file sizes."""

_ADDED = re.compile(
    r"\x1b\[[0-9;]*m|\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .* failed:"
)
"""Colours for terminals, which PyTorch's exporter writes, and what ONNX Runtime puts before every
message: its numbers, and a path of this machine."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that names the field and the remedy, for instance
    ``models: no network is called 'resnet81'; did you mean resnet18?``. The command line prints
    it as it stands and exits with status 2; notebooks let it rise.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str]]:
        return InputError, (self.field, self.problem)  # between processes; a subclass as its base


def first_line(error: BaseException) -> str:
    """The first line of text of what led to ``error``; its class where there is none.

    Of an error that was raised from another the other counts: libraries wrap a short cause in
    pages of advice.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    lines = (line.strip() for line in _ADDED.sub("", str(error)).splitlines())
    return next(filter(None, lines), type(error).__name__)


class MachineError(Exception):
    """The machine stops the work, and nothing that the user gave is wrong.

    The message is one line; the command line prints it and exits with status 1. What was
    measured before stays.
    """


def os_words(error: OSError) -> str:
    """An error of the system in one line, with the file it is about."""
    reason = error.strerror or str(error) or type(error).__name__
    text = f"there is no room left ({reason})" if error.errno in FULL else reason
    return f"{error.filename}: {text}" if error.filename else text
