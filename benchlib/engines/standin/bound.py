"""When the measuring loop ends, and how long the warm-up lasts: trtexec's rule as plain logic."""

from __future__ import annotations

import math


class LoopBound:
    """Counts loop passes until both the iterations and the duration are met after the warm-up.

    The caller runs one pass while :meth:`more` says so, then reports with :meth:`passed` the
    latest compute start it has read, in milliseconds since the clock event, or None when the
    pass completed no query yet. Passes that end within the warm-up do not count as iterations.
    """

    __slots__ = ("_count", "_iterations", "_latest_ms", "_limit_ms", "_skipped", "_warm_up_ms")

    def __init__(self, *, iterations: int, duration_s: float, warm_up_ms: float) -> None:
        self._iterations = iterations
        self._warm_up_ms = warm_up_ms
        self._limit_ms = math.inf if duration_s < 0 else 1000.0 * duration_s + warm_up_ms
        self._latest_ms = 0.0
        self._skipped = 0
        self._count = 0

    @property
    def warming_up(self) -> bool:
        return self._latest_ms < self._warm_up_ms

    def more(self) -> bool:
        """Whether another pass has to be made."""
        return self._count < self._iterations + self._skipped or self._latest_ms < self._limit_ms

    def passed(self, start_ms: float | None) -> None:
        """Take note of a finished pass and of the query it completed, if any."""
        self._count += 1
        if start_ms is not None and start_ms > self._latest_ms:
            self._latest_ms = start_ms
        if self._latest_ms < self._warm_up_ms and self._latest_ms:
            self._skipped += 1
