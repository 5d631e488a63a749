"""How a whole run ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchlib.case import Status
from benchlib.sweep.row import Row

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the rows of its cases, which were measured now, whether it was stopped."""

    directory: Path
    rows: tuple[Row, ...]
    measured: int
    total: int
    interrupted: bool

    def count(self, status: Status) -> int:
        return sum(row.status is status for row in self.rows)

    @property
    def complete(self) -> bool:
        """Whether every case has its row."""
        return len(self.rows) == self.total

    @property
    def exit_status(self) -> int:
        """0 when every case was measured or skipped with a reason, 1 when one failed."""
        if self.interrupted:
            return INTERRUPTED
        return 1 if self.count(Status.FAILED) or not self.complete else 0

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        counts = [f"{self.count(status)} {status}" for status in Status if self.count(status)]
        end = "; stopped, the same command goes on from here" if self.interrupted else ""
        return f"{len(self.rows)} of {self.total} cases: {', '.join(counts) or 'none yet'}{end}"
