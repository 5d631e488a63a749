"""The input shape a graph is made for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


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

    def within(self, pixels: int, divisor: int) -> Shape:
        """This shape, or one of about the same aspect with at most some ``pixels`` an image.

        Sides are divided by a whole number and rounded to multiples of ``divisor``.
        """
        if self.height * self.width <= pixels:
            return self
        factor = math.ceil(math.sqrt(self.height * self.width / pixels))
        height, width = (
            max(1, round(side / factor / divisor)) * divisor for side in (self.height, self.width)
        )
        return replace(self, height=height, width=width)
