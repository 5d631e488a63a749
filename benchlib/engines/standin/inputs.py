"""The values fed to the network: the same in every run, never all zeros, or read from files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchlib.engines.standin.log import StandinError

MULTIPLIER = 16807
MODULUS = 2**31 - 1
"""The minimal standard generator, C++'s usual default engine, which trtexec fills buffers with."""


def filled(dtype: npt.DTypeLike, shape: tuple[int, ...], seed: int = 1) -> npt.NDArray[np.generic]:
    """Random values as trtexec ranges them, from a generator started anew for every buffer.

    Seeds 0 and 1 are trtexec's own. Floats lie in [-1, 1], signed integers in [-128, 127],
    unsigned 8-bit in [0, 255], booleans are either. Raises :class:`StandinError` for any other
    type.
    """
    kind = np.dtype(dtype)
    unit = _unit_values(math.prod(shape), seed)
    if kind.kind == "f":
        values = unit * np.float32(2) - np.float32(1)
    elif kind.kind == "i":
        values = np.floor(unit.astype(np.float64) * 256) - 128
    elif kind == np.uint8:
        values = np.floor(unit.astype(np.float64) * 256)
    elif kind.kind == "b":
        values = unit >= 0.5
    else:
        raise StandinError(f"No random values are known for tensors of type {kind}")
    return values.astype(kind).reshape(shape)


def from_file(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """Raw values in the tensor's own type; the file's length must be exactly the tensor's."""
    kind = np.dtype(dtype)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StandinError(f"Cannot open file {path}: {error.strerror}") from error
    expected = math.prod(shape) * kind.itemsize
    if len(data) != expected:
        raise StandinError(
            f"{path} holds {len(data)} bytes where {expected} are needed "
            f"({'x'.join(map(str, shape))} of {kind})"
        )
    return np.frombuffer(data, dtype=kind).reshape(shape)


def _unit_values(count: int, seed: int) -> npt.NDArray[np.float32]:
    """``count`` float32 values in [0, 1) from the minimal standard generator."""
    powers = np.empty(max(count, 1), dtype=np.uint64)
    powers[0] = MULTIPLIER
    known = 1
    while known < count:
        more = min(known, count - known)
        powers[known : known + more] = powers[:more] * powers[known - 1] % np.uint64(MODULUS)
        known += more
    states = powers[:count] * np.uint64(seed % MODULUS or 1) % np.uint64(MODULUS)
    unit = (states - np.uint64(1)).astype(np.float32) / np.float32(MODULUS - 1)
    return np.minimum(unit, np.nextafter(np.float32(1), np.float32(0)))
