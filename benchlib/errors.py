"""The one error that users are meant to read."""

import re

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


def first_line(error: BaseException) -> str:
    """The first line that says something of what led to ``error``; its class where none does.

    Of an error that was raised from another the other is told: libraries wrap a short cause in
    pages of advice.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    lines = (line.strip() for line in _ADDED.sub("", str(error)).splitlines())
    return next(filter(None, lines), type(error).__name__)
