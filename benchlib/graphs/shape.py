"""The input shape a graph is made for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """Images per batch and pixels high and wide.

    ``dynamic`` leaves all three open in the graph; they are then the shape it is traced and
    calibrated at.
    """

    batch: int
    height: int
    width: int
    dynamic: bool = False

    @property
    def nchw(self) -> tuple[int, int, int, int]:
        return self.batch, 3, self.height, self.width
