"""The first bytes of a plan file, enough to refuse a foreign or empty one without TensorRT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchlib.engines.version import Version

_HEADER_BYTES = 28
_MAKERS = {b"ftrt": "TensorRT", b"vtrt": "TensorRT-RTX"}


class BadPlanError(ValueError):
    """The file is no plan; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which library wrote a plan; it loads only with exactly that version, on the same GPU."""

    maker: str
    version: Version
    size_bytes: int


def read(path: Path) -> Plan:
    """Read the header of a plan of TensorRT 8.6 or later; raise :class:`BadPlanError`."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise BadPlanError(f"{path.name}: {error.strerror}") from error
    if not header:
        # From 10.13 a failed build can leave an empty file behind.
        raise BadPlanError(f"{path.name}: is empty")
    maker = _MAKERS.get(header[:4])
    if maker is None or len(header) < _HEADER_BYTES:
        raise BadPlanError(f"{path.name}: does not begin like a plan")
    return Plan(maker, Version(*header[24:27]), size)
