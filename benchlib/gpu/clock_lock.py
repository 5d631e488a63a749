"""Locking the GPU's clock for the length of a run, when asked and permitted, and unlocking it.

The lock is held by a lock holder process that releases it when its standard input closes. So the
clock is free again after an error, a signal and even SIGKILL to the run itself, after which a
notebook could not do it.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from benchlib.gpu import nvml
from benchlib.gpu.nvml import Device

SUSTAINABLE_SHARE = 0.8
"""Of the highest clock, when the maker names no lower one. Boost clocks of cards from Volta to
Hopper stand 20 to 30 % above what they hold at full load under their power limit."""

RELEASE_LIMIT_S = 10.0
"""Seconds for the lock holder to release the clock; one NVML call takes milliseconds."""


@dataclass(frozen=True, slots=True)
class ClockLock:
    """How the clock stands during a run: locked at ``requested_mhz``, or not and why."""

    locked: bool
    requested_mhz: int | None
    reason: str


NOT_ASKED = ClockLock(False, None, "unlocked: locking was not asked for (lock_clocks)")
NO_GPU = ClockLock(False, None, "unlocked: NVML sees no GPU here")


def sustainable_mhz(device: Device) -> int | None:
    """A settable graphics clock that the card can hold under load; None when it names none.

    The maker's default for applications where that lies below the highest clock, else the
    highest settable one within 80 % of it.
    """
    settable = device.graphics_clocks_mhz()
    if not settable:
        return None
    default = device.default_clock_mhz()
    if default in settable and default < settable[-1]:
        return default
    within = [mhz for mhz in settable if mhz <= SUSTAINABLE_SHARE * settable[-1]]
    return within[-1] if within else settable[0]


@contextmanager
def held(wanted: bool, module: str = nvml.MODULE) -> Iterator[ClockLock]:
    """Hold the clock at :func:`sustainable_mhz` for the length of a ``with`` block, if ``wanted``.

    Refused permission is no error: the state has the reason.
    """
    if not wanted:
        yield NOT_ASKED
        return
    with nvml.opened(module) as device:
        if device is None:
            yield NO_GPU
            return
        mhz = sustainable_mhz(device)
        if mhz is None:
            yield ClockLock(False, None, "unlocked: the card names no clock that could be set")
            return
        lock_holder = _start_lock_holder(mhz, module)
        try:
            yield _state(lock_holder)
        finally:
            if not _release(lock_holder):
                device.unlock_clock()


def _start_lock_holder(mhz: int, module: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchlib.gpu.clock_lock", str(mhz), "--module", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def _state(lock_holder: subprocess.Popen[str]) -> ClockLock:
    """The lock holder's first line; one that ends without a line locked nothing."""
    line = lock_holder.stdout.readline() if lock_holder.stdout else ""
    if not line:
        return ClockLock(False, None, "unlocked: the process that holds the lock did not start")
    return ClockLock(**json.loads(line))


def _release(lock_holder: subprocess.Popen[str]) -> bool:
    """End the lock holder; True when its status shows that the clock is free."""
    try:
        lock_holder.communicate(timeout=RELEASE_LIMIT_S)
    except subprocess.TimeoutExpired:
        lock_holder.kill()
        lock_holder.communicate()
    return lock_holder.returncode == 0


def hold_lock(device: Device, mhz: int) -> None:
    """Lock, print the outcome in one line, wait for standard input to close, unlock."""
    try:
        device.lock_clock(mhz)
        state = ClockLock(True, mhz, f"locked at {mhz} MHz")
    except device.module.NVMLError as error:
        state = ClockLock(False, mhz, f"unlocked: {mhz} MHz was refused ({error})")
    try:
        sys.stdout.write(json.dumps(asdict(state)) + "\n")
        sys.stdout.flush()
        if state.locked:
            sys.stdin.read()
    finally:
        if state.locked:
            device.unlock_clock()


def main() -> int:
    """The lock holder. Ignores signals that ask it to end; it ends when its input closes."""
    parser = argparse.ArgumentParser(prog="python -m benchlib.gpu.clock_lock")
    parser.add_argument("mhz", type=int)
    parser.add_argument("--module", default=nvml.MODULE, help="NVML's Python module")
    words = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with nvml.opened(words.module) as device:
        if device is None:
            return 1
        hold_lock(device, words.mhz)
    return 0


if __name__ == "__main__":
    sys.exit(main())
