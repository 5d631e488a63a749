"""Telling how a run goes: one line per case, with the time left."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO

from tqdm import tqdm

from benchlib.case import Status, Verdict
from benchlib.sweep.row import Row

log = logging.getLogger("benchlib.sweep")


class Progress(Protocol):
    """What a run reports to."""

    def begin(self, total: int, done: int) -> None:
        """``total`` cases there are, ``done`` of them stand already."""

    def start(self, key: str) -> None:
        """A case is begun."""

    def end(self, row: Row) -> None:
        """A case has its row."""

    def say(self, words: str) -> None:
        """Something the user should know."""

    def close(self) -> None:
        """The run is over."""


class Lines:
    """One line per case in the log, with the time left: for notebooks, files and CI."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._total = self._left = self._here = 0
        self._begun = 0.0

    def begin(self, total: int, done: int) -> None:
        self._total, self._left = total, total - done
        self._begun = self._clock()
        if done:
            log.info("%d of %d cases stand already", done, total)

    def start(self, key: str) -> None:
        log.debug("%s begins", key)

    def end(self, row: Row) -> None:
        self._left -= 1
        self._here += 1
        log.info("%s", self.line(row))

    def say(self, words: str) -> None:
        log.warning("%s", words)

    def close(self) -> None:
        """Nothing is held."""

    def line(self, row: Row) -> str:
        """Position, case, outcome, time left."""
        position = self._total - self._left
        return f"{position}/{self._total} {row.key}: {outcome(row)}; {self.time_left()}"

    def time_left(self) -> str:
        """An estimate from the cases done so far in this run."""
        if self._left == 0:
            return "done"
        each_s = (self._clock() - self._begun) / max(self._here, 1)
        return f"about {span(each_s * self._left)} left"


class Bar:
    """A bar in the terminal; lines of other loggers stay readable above it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bar: tqdm[None] | None = None

    def begin(self, total: int, done: int) -> None:
        self._bar = tqdm(total=total, initial=done, unit="case", file=self._stream)

    def start(self, key: str) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(key)

    def end(self, row: Row) -> None:
        if self._bar is not None:
            self._bar.write(f"{row.key}: {outcome(row)}", file=self._stream)
            self._bar.update(1)

    def say(self, words: str) -> None:
        if self._bar is None:
            self._stream.write(words + "\n")
        else:
            self._bar.write(words, file=self._stream)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def suited() -> Progress:
    """A bar when a person is watching a terminal, lines otherwise."""
    return Bar() if sys.stderr.isatty() else Lines()


def outcome(row: Row) -> str:
    """A row in a few words."""
    if row.status is not Status.OK:
        kind = f" ({row.failure})" if row.failure else ""
        return f"{row.status}{kind}: {row.message}"
    words = f"{row.latency_ms:.4g} ms"
    if row.verdict not in (None, Verdict.VALID):
        words += f", {row.verdict} ({';'.join(row.reasons)})"
    return words


def span(seconds: float) -> str:
    """Seconds as people say them: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
