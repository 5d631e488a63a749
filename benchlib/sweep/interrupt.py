"""Ctrl-C: the first lets the running case finish, the second ends it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

Handler = Callable[[int, FrameType | None], object] | int | None


class Interrupt:
    """While entered, watches for SIGINT and SIGTERM; ``asked`` says that the run should stop.

    A second SIGINT, and the first SIGTERM, raise KeyboardInterrupt, which ends the running
    program on its way out. Outside the main thread, where Python delivers no signals, it only
    serves as a flag that :meth:`ask` sets.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._before: dict[signal.Signals, Handler] = {}
        self.asked = False

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            # None: it was installed from C, and Python cannot put it back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def ask(self) -> None:
        """Ask for a stop after the running case."""
        self.asked = True
        self._say("the running case is finished first; once more ends it at once")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked or number == signal.SIGTERM:
            raise KeyboardInterrupt
        self.ask()
