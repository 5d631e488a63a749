"""TensorRT's version numbers, as people write them and as trtexec's banner codes them.

Standard library only: the stand-ins import this under a bare interpreter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchlib.errors import InputError

_DOTTED = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:[.\-+].*)?")

# Up to 9.x the banner packs a version as thousands and hundreds, from 10 as ten-thousands.
_FIRST_OF_LONG_SCHEME = 10_000


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Major, minor and patch; compares as numbers, so 10.16 is later than 10.4."""

    major: int
    minor: int
    patch: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    def banner(self) -> int:
        """The number trtexec's banner shows: 8600 for 8.6.0, 100001 for 10.0.1."""
        if self.major < 10:
            return self.major * 1000 + self.minor * 100 + self.patch
        return self.major * 10_000 + self.minor * 100 + self.patch


def parse(text: str) -> Version:
    """Read ``8.6``, ``10.0.1`` or a wheel's ``8.6.0.12`` (what follows the patch is dropped).

    Raises :class:`InputError` for anything else.
    """
    match = _DOTTED.fullmatch(str(text).strip())
    if match is None:
        raise InputError("tensorrt", f"{text!r} is not a version; write it like 8.6 or 10.16.1")
    return Version(*(int(part or 0) for part in match.groups()))


def from_banner(number: int) -> Version:
    """Decode the number in ``[TensorRT v8600]``; up to 9.x it has four digits, from 10.0 six."""
    if number < _FIRST_OF_LONG_SCHEME:
        return Version(number // 1000, number // 100 % 10, number % 100)
    return Version(number // 10_000, number // 100 % 100, number % 100)
