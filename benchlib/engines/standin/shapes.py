"""How trtexec fills in the shapes that were not given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchlib.engines.standin.log import Log, StandinError
from benchlib.engines.standin.options import dims_text

Dims = tuple[int, ...]
Shapes = Mapping[str, Dims]


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """Shapes by input tensor: the profile's three, and the one that is timed."""

    minimum: Shapes
    optimum: Shapes
    maximum: Shapes
    timed: Shapes

    @property
    def empty(self) -> bool:
        return not (self.minimum or self.optimum or self.maximum or self.timed)


def filled(options: Mapping[str, Any], log: Log) -> ShapeRange:
    """Complete ``--minShapes``, ``--optShapes``, ``--maxShapes`` and ``--shapes`` as trtexec does.

    Without the optimum it becomes the maximum, so an engine for a range of sizes is tuned for
    the largest. ``--shapes`` alone stands for all three. The timed shape is ``--shapes`` if
    given, else the optimum.
    """
    minimum, optimum, maximum, timed = (
        dict(options.get(flag) or {})
        for flag in ("--minShapes", "--optShapes", "--maxShapes", "--shapes")
    )
    if not (minimum or optimum or maximum):
        return ShapeRange(timed, timed, timed, timed)
    if not (minimum and optimum and maximum):
        log.warning("Not all of min, opt and max shapes are given; the others are filled in.")
    if not optimum and minimum and maximum:
        log.warning("--optShapes is missing: maxShapes is broadcast to it and tuned for.")
    optimum = optimum or maximum or minimum
    return ShapeRange(minimum or optimum, optimum, maximum or optimum, timed or optimum)


def settled(name: str, declared: Sequence[object], given: Shapes, log: Log) -> Dims:
    """The dimensions to run input ``name`` with.

    ``declared`` is the model's shape; what is not a positive number in it is dynamic. A dynamic
    dimension without a given shape becomes 1, with a warning. Raises :class:`StandinError` when
    the given shape contradicts the model's.
    """
    fixed = [size if isinstance(size, int) and size >= 0 else None for size in declared]
    dims = given.get(name)
    if dims is None:
        if None in fixed:
            log.warning(f"Dynamic dimensions of {name} become 1; give --shapes={name}:…")
        return tuple(1 if size is None else size for size in fixed)
    if len(dims) != len(fixed) or any(
        size is not None and size != dim for size, dim in zip(fixed, dims, strict=True)
    ):
        model = "x".join("?" if size is None else str(size) for size in fixed)
        raise StandinError(
            f"Shape {dims_text(dims)} does not fit input {name} of the model ({model})"
        )
    return dims


def known(given: Shapes, names: frozenset[str]) -> None:
    """Raise :class:`StandinError` when a shape is given for a tensor that is not an input."""
    for name in given.keys() - names:
        there = ", ".join(sorted(names))
        raise StandinError(f"Cannot find input tensor with name {name}; there is {there}")
