"""The recorder: a process of its own that looks at the GPU while a case is measured.

A process and not a thread, so that neither this interpreter's lock nor a busy measuring loop
delays a reading. It ends when its standard input closes, hence also when its parent is killed.

    with Recorder(path) as recorder:
        ...run the case...
    readings = recorder.readings()
"""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import psutil

from benchlib.sweep import nvml
from benchlib.sweep.nvml import Device
from benchlib.sweep.readings import Reading, TelemetrySummary, dumps, loads, summarise

INTERVAL_S = 0.05
"""Seconds between readings: 20 Hz, twice what is asked for, because a reading of a busy card may
itself take tens of milliseconds."""

PROCESSES_EVERY_S = 0.5
"""Seconds between looks at the process list, which costs more than all the rest."""

START_LIMIT_S = 10.0
"""Seconds to wait for the first reading; starting Python and NVML takes well under one."""

STOP_LIMIT_S = 5.0

NO_DEVICE = 3
"""Exit status: there is no GPU to look at."""


class Recorder:
    """Starts the recorder, waits for its first reading, and stops it.

    The first reading is thus one from before the case. ``path`` gets the series, one JSON object
    per line. Without a GPU or NVML nothing is recorded and nothing is raised.
    """

    def __init__(
        self, path: Path, interval_s: float = INTERVAL_S, module: str = nvml.MODULE
    ) -> None:
        self.path = path
        self._interval_s = interval_s
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Recorder:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start recording; returns when the first reading stands in the file or none will."""
        command = [sys.executable, "-m", "benchlib.sweep.telemetry"]
        command += ["--root", str(os.getpid()), "--interval", str(self._interval_s)]
        command += ["--module", self._module, str(self.path)]
        self.path.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_LIMIT_S
        while self._process.poll() is None and time.monotonic() < deadline:
            if self.path.exists() and self.path.stat().st_size > 0:
                return
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop recording; a second call does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def readings(self) -> tuple[Reading, ...]:
        """All readings so far; empty when nothing was recorded."""
        try:
            with self.path.open(encoding="utf-8", errors="replace") as lines:
                return loads(lines)
        except FileNotFoundError:
            return ()

    def summary(self, span_s: float | None = None) -> TelemetrySummary:
        """The summary of the last ``span_s`` busy seconds, or of everything."""
        return summarise(self.readings(), span_s)


class Foreigners:
    """Tells other people's processes on the card from ours.

    Ours are ``root`` and whatever descends from it, remembered after it has ended. A process is
    foreign when it can be seen and is not ours. In a container the driver may give numbers that
    mean nothing here; such a one is foreign only if it was there before our case began.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._own: set[int] = set()
        self._earlier: frozenset[int] | None = None

    def among(self, pids: tuple[int, ...]) -> tuple[int, ...]:
        """The foreign ones of ``pids``."""
        self._own |= _descendants(self._root)
        others = frozenset(pids) - self._own
        if self._earlier is None:
            self._earlier = others
        return tuple(
            sorted(pid for pid in others if pid in self._earlier or psutil.pid_exists(pid))
        )


def _descendants(root: int) -> set[int]:
    try:
        process = psutil.Process(root)
        return {root, *(child.pid for child in process.children(recursive=True))}
    except psutil.Error:
        return {root}


def look(device: Device, foreigners: Foreigners | None, now_s: float) -> Reading:
    """Take one reading; ``foreigners`` None leaves the process list out."""
    pids = None if foreigners is None else device.compute_pids()
    return Reading(
        time_s=now_s,
        sm_clock_mhz=device.sm_clock_mhz(),
        memory_clock_mhz=device.memory_clock_mhz(),
        power_w=device.power_w(),
        temperature_c=device.temperature_c(),
        energy_mj=device.energy_mj(),
        event_bits=device.clock_event_bits(),
        memory_used_mb=device.memory_used_mb(),
        foreign=None if foreigners is None or pids is None else foreigners.among(pids),
    )


def watch(
    device: Device, root: int, interval_s: float, rest: Callable[[float], bool]
) -> Iterator[Reading]:
    """Yield readings every ``interval_s`` seconds until ``rest`` (seconds) says that it is over.

    The last one looks at the processes again, so that they are known before, during and after.
    """
    foreigners = Foreigners(root)
    next_look = next_processes = time.monotonic()
    over = False
    while not over:
        now = time.monotonic()
        with_processes = now >= next_processes
        if with_processes:
            next_processes = now + PROCESSES_EVERY_S
        yield look(device, foreigners if with_processes else None, now)
        next_look = max(next_look + interval_s, time.monotonic())
        over = rest(next_look - time.monotonic())
    yield look(device, foreigners, time.monotonic())


def main() -> int:
    """Record until standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m benchlib.sweep.telemetry")
    parser.add_argument("path", type=Path)
    parser.add_argument("--root", type=int, required=True, help="process whose children are ours")
    parser.add_argument("--interval", type=float, default=INTERVAL_S, help="seconds")
    parser.add_argument("--module", default=nvml.MODULE, help="NVML's Python module")
    words = parser.parse_args()

    def stdin_closed(seconds: float) -> bool:
        return bool(select.select([sys.stdin], [], [], max(seconds, 0.0))[0])

    with nvml.opened(words.module) as device:
        if device is None:
            return NO_DEVICE
        with words.path.open("w", encoding="utf-8", buffering=1) as file:
            for reading in watch(device, words.root, words.interval, stdin_closed):
                file.write(dumps(reading) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
