"""What the GPU does while a case is timed: sampled by a process of its own, summed up per run."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from benchlib.case import Word
from benchlib.gpu import nvml
from benchlib.gpu.nvml import Device
from benchlib.process import dies_with_parent

log = logging.getLogger(__name__)

THROTTLE_BITS: dict[int, str] = {
    0x001: "idle",
    0x002: "application_clock",
    0x004: "power_cap",
    0x008: "hardware_slowdown",
    0x010: "sync_boost",
    0x020: "software_thermal",
    0x040: "hardware_thermal",
    0x080: "power_brake",
    0x100: "display_clock",
}
"""nvmlClocksEventReasons of nvml.h, in words."""

HARMLESS = frozenset({"idle", "application_clock", "display_clock"})
"""Reasons that take nothing from the card: nothing to do, or a clock that somebody asked for."""


class Limit(Word):
    """What held the card's clock back."""

    NONE = "none"
    POWER = "power"
    THERMAL = "thermal"
    POWER_BRAKE = "power_brake"
    HARDWARE = "hardware"
    OTHER = "other"


_LIMITS = {
    "software_thermal": Limit.THERMAL,
    "hardware_thermal": Limit.THERMAL,
    "power_brake": Limit.POWER_BRAKE,
    "hardware_slowdown": Limit.HARDWARE,
    "power_cap": Limit.POWER,
}


def limited_by(words: Iterable[str]) -> Limit:
    """The most serious limit that the throttle ``words`` name.

    A hardware slow-down mostly comes with heat or a power brake, which are then its cause; power is
    the card's own limit, which a demanding workload reaches, and the least serious.
    """
    found = {_LIMITS.get(word, Limit.OTHER) for word in set(words) - HARMLESS}
    order = (Limit.THERMAL, Limit.POWER_BRAKE, Limit.HARDWARE, Limit.OTHER, Limit.POWER)
    return next((limit for limit in order if limit in found), Limit.NONE)


IDLE_BIT = 0x001


class EnergySource(Word):
    """What an energy comes from: the card's counter, or its power readings over time."""

    COUNTER = "counter"
    POWER = "power"


ENERGY_UNCERTAINTY = 0.05
"""NVML's own word for its power readings (nvmlDeviceGetPowerUsage: accurate to 5 %), which holds
for an energy made of them. The counter agrees with them far better: over 2 s and more it is 0.1 %
above them in the median and 0.7 % apart in the standard deviation (155 timing processes on H100
cards: benchmarks/energy.py)."""

AVERAGING_S = 1.0
"""Seconds over which NVML averages a power reading (H100 cards: it climbs for one second after a
load began, and falls for one after it ended; NVML says the same of Ampere and later)."""

STEP_S = 0.1
"""Seconds between two of NVML's values, so that a reading is up to this old (H100 and H200 cards;
power shows the end of a load so much later than the counter does: benchmarks/energy.py)."""

VISIBLE_LOAD = 0.1
"""Rise of the power readings, as a share of their level, from which a load's beginning and end can
be seen in them; where they rise by less, where it begins makes no difference to speak of."""

FEWEST_SETTLED = 3
"""Settled readings that an energy takes. Each is the mean of a whole second already."""

FEWEST_TICKS = 100
"""Steps of the energy counter in a window from which it is gone by. The ends fall where a reading
first saw a step, up to a reading late, so that at 10 steps and 20 readings a second 100 of them
keep the error under 1 %."""

ENERGY_TOLERANCE = 0.15
"""Difference between counter and integrated power, as a fraction of the latter, beyond which no
energy is given, with what the window's ends may be off added to it. NVML calls power good to
5 %; the rest is for what neither of them says."""


@dataclass(frozen=True, slots=True)
class TelemetrySample:
    """One sample of the card. ``time_s`` is CLOCK_MONOTONIC; what is not known is None.

    ``foreign`` are process numbers that use the card and are not ours; None when this reading
    did not ask (it is asked less often).
    """

    time_s: float
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    power_w: float | None = None
    temperature_c: int | None = None
    energy_mj: int | None = None
    event_bits: int | None = None
    memory_used_mb: float | None = None
    foreign: tuple[int, ...] | None = None

    @property
    def busy(self) -> bool:
        """Whether the card had work; True where that is not known."""
        return self.event_bits is None or not self.event_bits & IDLE_BIT


@dataclass(frozen=True, slots=True)
class Range:
    """Least, middle and greatest of some readings."""

    minimum: float
    median: float
    maximum: float

    @property
    def relative_width(self) -> float:
        """Greatest less least over the middle; 0.0 when the middle is 0."""
        return (self.maximum - self.minimum) / self.median if self.median else 0.0


@dataclass(frozen=True, slots=True)
class TelemetrySummary:
    """The card during one timed window; every field None or empty when nothing was seen.

    ``rate_hz`` is readings per second. ``throttle`` holds the words of every bit seen in the
    window, harmless ones too; ``foreign`` the process numbers seen in the whole series, before
    and after the window included. ``power_w`` is of the settled readings (:func:`settled`), or of
    the window where there are none. ``energy_j`` are the joules of ``energy_window_s`` seconds of
    the settled part, by ``energy_source``: the counter where it made ``FEWEST_TICKS`` steps
    (``energy_ticks``), else power integrated. None where too little is settled, or the two are
    further apart than ``ENERGY_TOLERANCE`` (``energy_disagreement``, counter against power, a
    fraction). ``idle_power_w`` is the median of readings whose whole averaging time was idle,
    ``peak_memory_mb`` the most memory in use on the card in the whole series, the driver's share
    and the CUDA context included.
    """

    n_readings: int = 0
    rate_hz: float | None = None
    sm_clock_mhz: Range | None = None
    memory_clock_mhz: Range | None = None
    power_w: Range | None = None
    temperature_c: Range | None = None
    memory_used_mb: Range | None = None
    throttle: tuple[str, ...] | None = None
    foreign: tuple[int, ...] | None = None
    energy_j: float | None = None
    energy_window_s: float | None = None
    energy_source: EnergySource | None = None
    energy_ticks: int | None = None
    energy_disagreement: float | None = None
    idle_power_w: float | None = None
    peak_memory_mb: float | None = None

    def energy_mj_per_image(self, throughput_img_s: float) -> float | None:
        """Millijoules per image at ``throughput_img_s`` images per second; None if unknown."""
        if self.energy_j is None or self.energy_window_s is None:
            return None
        return 1000 * self.energy_j / self.energy_window_s / throughput_img_s

    def as_json(self) -> dict[str, Any]:
        """Plain numbers and nested objects, ready for JSON."""
        return asdict(self)


def throttle_words(bits: int) -> tuple[str, ...]:
    """The set bits in words; one without a known meaning as ``bit_0x400``."""
    known = tuple(word for bit, word in THROTTLE_BITS.items() if bits & bit)
    rest = bits & ~sum(THROTTLE_BITS)
    unknown = tuple(f"bit_{1 << n:#x}" for n in range(rest.bit_length()) if rest >> n & 1)
    return known + unknown


def timed_window(
    readings: Sequence[TelemetrySample], span_s: float, of_load: bool = False
) -> tuple[TelemetrySample, ...]:
    """The readings of the last ``span_s`` seconds in which the card was busy.

    Timing is the last thing that a measuring program does, so the window ends with the last busy
    reading; loading and warm-up, with their low clocks, come before it. With no busy reading
    (the run was shorter than a reading) the result is empty. The idle bit changes up to a second
    late, as power does; with ``of_load`` the window ends where the power shows that the load did,
    after which a clock held down by the power limit is up again.
    """
    busy = [reading.time_s for reading in readings if reading.busy]
    if not busy:
        return ()
    load = _load(readings) if of_load else None
    end = busy[-1] if load is None else min(busy[-1], load[1])
    return tuple(one for one in readings if end - span_s <= one.time_s <= end)


def _load(readings: Sequence[TelemetrySample]) -> tuple[float, float] | None:
    """From when on power readings are of the load alone, and when it ended; None where they rise by
    too little to show it.

    A power reading is the mean of the second before it: it passes half of its rise half a second
    after the load began, and half of its fall half a second after it ended, so that the readings
    from half a second after the one to half a second before the other are of the load alone, less
    the age of a reading. A series that ends before that shows how far the power had fallen. The
    first second of a series is partly of what ran before.
    """
    known = [one for one in readings if one.power_w is not None]
    begin = readings[0].time_s + AVERAGING_S
    own = [one.power_w for one in known if one.busy and one.time_s >= begin]
    if not own:
        return None
    # Near the top and not at it: the level of a load that fills a tenth of the readings
    level, base = float(np.quantile(own, 0.9)), min(one.power_w for one in known)
    if level - base <= VISIBLE_LOAD * level:
        return None
    half = (level + base) / 2
    last = [one for one in known if one.power_w >= half][-1]
    fallen = (level - last.power_w) / (level - base)
    end = last.time_s - AVERAGING_S * min(max(fallen, 0.0), 0.5) - STEP_S
    before = [one.time_s for one in known if one.power_w < half and one.time_s < end]
    return max(begin, before[-1] + AVERAGING_S / 2) if before else begin, end


def settled(
    readings: Sequence[TelemetrySample], span_s: float | None = None
) -> tuple[TelemetrySample, ...]:
    """The busy readings of the timed part whose power is that of the load alone.

    Empty where there are too few (:func:`_load`). A load of under a second never fills a reading.
    """
    known = [one for one in readings if one.power_w is not None and one.busy]
    if not known or (span_s is not None and span_s < 0.99 * AVERAGING_S):
        return ()
    begin, end = _load(readings) or (readings[0].time_s + AVERAGING_S, readings[-1].time_s)
    if span_s is not None:
        begin = max(begin, end - span_s)
    found = tuple(one for one in known if begin <= one.time_s <= end)
    return found if len(found) >= FEWEST_SETTLED else ()


def summarise(readings: Sequence[TelemetrySample], span_s: float | None = None) -> TelemetrySummary:
    """Summarise a series; ``span_s`` is the timed part's length in seconds, None for all of it."""
    window = tuple(readings) if span_s is None else timed_window(readings, span_s, of_load=True)
    if not readings:
        return TelemetrySummary()
    bits = [reading.event_bits for reading in window if reading.event_bits is not None]
    asked = [reading.foreign for reading in readings if reading.foreign is not None]
    load = settled(readings, span_s)
    memory = _range(readings, lambda one: one.memory_used_mb)
    return TelemetrySummary(
        n_readings=len(window),
        rate_hz=_rate(readings),
        sm_clock_mhz=_range(window, lambda one: one.sm_clock_mhz),
        memory_clock_mhz=_range(window, lambda one: one.memory_clock_mhz),
        power_w=_range(load or window, lambda one: one.power_w),
        temperature_c=_range(window, lambda one: one.temperature_c),
        memory_used_mb=_range(window, lambda one: one.memory_used_mb),
        throttle=throttle_words(int(np.bitwise_or.reduce(bits))) if bits else None,
        foreign=tuple(sorted(set().union(*asked))) if asked else None,
        **_energy(load),
        idle_power_w=_idle_power(readings),
        peak_memory_mb=None if memory is None else memory.maximum,
    )


def dump_samples(reading: TelemetrySample) -> str:
    """One line of the series' file, without its newline."""
    return json.dumps({key: value for key, value in asdict(reading).items() if value is not None})


def load_samples(lines: Iterable[str]) -> tuple[TelemetrySample, ...]:
    """The readings of a series' file, up to the first line that is none.

    A killed recorder leaves a torn last line, which is dropped; more than that is logged.
    """
    found = []
    rest = iter(lines)
    for line in rest:
        try:
            fields = json.loads(line)
            if "foreign" in fields:
                fields["foreign"] = tuple(fields["foreign"])
            found.append(TelemetrySample(**fields))
        except (ValueError, TypeError, RecursionError):
            lost = sum(1 for _ in rest)
            if lost:
                log.warning(
                    "telemetry: line %d is no reading; the %d after it are left out",
                    len(found) + 1,
                    lost,
                )
            break
    return tuple(found)


def _rate(readings: Sequence[TelemetrySample]) -> float | None:
    length = readings[-1].time_s - readings[0].time_s
    return (len(readings) - 1) / length if length > 0 else None


def _range(
    readings: Sequence[TelemetrySample], value: Callable[[TelemetrySample], float | None]
) -> Range | None:
    known = [number for number in map(value, readings) if number is not None]
    return Range(min(known), median(known), max(known)) if known else None


def _idle_power(readings: Sequence[TelemetrySample]) -> float | None:
    """Median power of the readings that came a whole averaging time after the last busy one."""
    since, found = readings[0].time_s, []
    for one in readings:
        if one.busy:
            since = one.time_s
        elif one.power_w is not None and one.time_s - since >= AVERAGING_S:
            found.append(one.power_w)
    return median(found) if found else None


def _energy(load: Sequence[TelemetrySample]) -> dict[str, Any]:
    """The fields of :class:`TelemetrySummary` on energy, from settled readings."""
    if not load:
        return {}
    times = np.array([one.time_s for one in load])
    power = np.array([one.power_w for one in load], dtype=np.float64)
    length = float(times[-1] - times[0])
    joules = float(np.sum(np.diff(times) * (power[1:] + power[:-1]) / 2))
    by_power = {"energy_j": joules, "energy_window_s": length, "energy_source": EnergySource.POWER}
    if any(one.energy_mj is None for one in load):
        return by_power
    counter = np.array([one.energy_mj for one in load], dtype=np.float64) / 1000
    # From the first reading that saw a step to the last that did: ends within a step are less exact
    steps = np.flatnonzero(np.diff(counter)) + 1
    if len(steps) < 2:
        return by_power
    first, last = steps[0], steps[-1]
    counted, counted_s = float(counter[last] - counter[first]), float(times[last] - times[first])
    ticks = len(steps) - 1
    disagreement = counted / counted_s / (joules / length) - 1 if joules > 0 else None
    found = {"energy_ticks": ticks, "energy_disagreement": disagreement}
    late = length / (len(load) - 1) / counted_s
    if disagreement is None or abs(disagreement) > ENERGY_TOLERANCE + late:
        return found
    if ticks >= FEWEST_TICKS:
        by_power = {
            "energy_j": counted,
            "energy_window_s": counted_s,
            "energy_source": EnergySource.COUNTER,
        }
    return by_power | found


# A Jetson, whose NVML tells no clocks: what tegrastats prints (Jetson Linux, "tegrastats Utility").

TEGRASTATS = "tegrastats"
TEGRASTATS_S = 0.1
"""Seconds between two of its lines."""

MIB_MB = 1.048576
"""Both count in units of 2^20 bytes: an 8 GB module has 7620 "MB" in tegrastats."""

_WHOLE_RAILS = ("VDD_IN", "POM_5V_IN")
"""Rails that feed the whole module."""

_NO_PART = frozenset({"NC", "VIN", "VDDQ_VDD2_1V8AO"})
"""Not connected, the board's own input, and one that VIN_SYS_5V0 feeds: not to be added up."""

_GPU_LOAD = re.compile(r"\bGR3D(?:_FREQ)? (?:(?P<load>\d+)%)?(?:@\[?(?P<mhz>\d+(?:,\d+)*))?")
_MEMORY_CLOCK = re.compile(r"\bEMC(?:_FREQ)? (?:\d+%)?@(\d+)")
_MEMORY = re.compile(r"\bRAM (\d+)/\d+MB")
_TEMPERATURE = re.compile(r"\b(gpu|tj)@(-?\d+(?:\.\d+)?)C", re.IGNORECASE)
_RAIL = re.compile(r"\b([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/\d+(?:mW)?(?=\s|$)")
_ABSENT_C = -100
"""A sensor that is off reads -256 degrees."""


def tegrastats(
    lines: Iterable[str], now_s: Callable[[], float] | None = None
) -> Iterator[TelemetrySample]:
    """Its lines, taken every :data:`TEGRASTATS_S` seconds, or read as they come by ``now_s``.

    The stamps of newer releases are whole seconds and older ones have none, so that a line's
    place gives its time. Lines after the GPU's last work are left out. Clocks
    are absent where it was not started as root.
    """
    held: list[TelemetrySample] = []
    first, ever_busy = True, False
    for number, line in enumerate(lines):
        load = _GPU_LOAD.search(line)
        memory = _MEMORY.search(line)
        if load is None or memory is None:
            continue
        clocks = [int(mhz) for mhz in (load["mhz"] or "").split(",") if mhz]
        emc = _MEMORY_CLOCK.search(line)
        degrees = {name.lower(): float(value) for name, value in _TEMPERATURE.findall(line)}
        celsius = degrees.get("gpu", degrees.get("tj"))
        held.append(
            TelemetrySample(
                time_s=number * TEGRASTATS_S if now_s is None else now_s(),
                sm_clock_mhz=max(clocks, default=0) or None,
                memory_clock_mhz=None if emc is None else int(emc[1]),
                power_w=_module_w(line),
                temperature_c=None if celsius is None or celsius < _ABSENT_C else round(celsius),
                memory_used_mb=round(int(memory[1]) * MIB_MB, 1),
            )
        )
        busy = load["load"] != "0"
        if first or busy:
            yield from held
            held, first, ever_busy = [], False, ever_busy or busy
    if not ever_busy:  # As where the work is a DLA's
        yield from held


def _module_w(line: str) -> float | None:
    """Watts of the module now: of the rail that feeds it all, else of its rails together."""
    rails = {name: int(now) for name, now in _RAIL.findall(line)}
    whole = next((rails[name] for name in _WHOLE_RAILS if name in rails), None)
    if whole is None:
        parts = [now for name, now in rails.items() if name not in _NO_PART]
        whole = sum(parts) if parts else None
    return None if whole is None else whole / 1000


def watch_jetson() -> Iterator[TelemetrySample]:
    """Yield the readings of a tegrastats of our own until standard input closes."""
    with subprocess.Popen(
        [TEGRASTATS, "--interval", f"{1000 * TEGRASTATS_S:.0f}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        preexec_fn=dies_with_parent(),
    ) as printer:

        def end() -> None:
            sys.stdin.read()
            printer.terminate()

        threading.Thread(target=end, daemon=True).start()
        yield from tegrastats(printer.stdout, time.monotonic)


# The recorder: a process of its own that looks at the GPU while a case is measured.
#
# A process and not a thread, so that neither this interpreter's lock nor a busy measuring loop
# delays a reading. It ends when its standard input closes, hence also when its parent is killed.
#
#     with Recorder(path, nvml.MODULE) as recorder:
#         ...run the case...
#     readings = recorder.readings()


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

    def __init__(self, path: Path, module: str) -> None:
        self.path = path
        self._module = module

    def __enter__(self) -> Recorder:
        """Start recording; returns when the first sample is in the file or none will be."""
        command = [sys.executable, "-m", "benchlib.gpu.telemetry"]
        command += ["--root", str(os.getpid()), "--module", self._module, str(self.path)]
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
                break
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def readings(self) -> tuple[TelemetrySample, ...]:
        """All readings so far; empty when nothing was recorded."""
        try:
            with self.path.open(encoding="utf-8", errors="replace") as lines:
                return load_samples(lines)
        except FileNotFoundError:
            return ()


_MPS = "nvidia-cuda-mps-server"
"""The server of CUDA's MPS has a context on the card; the work is that of its clients."""


class Foreigners:
    """Tells other people's processes on the card from ours.

    Ours are ``root`` and whatever descends from it, and what names a file in ``folder`` when it is
    started, as a trtexec begun by a container's daemon; remembered after it has ended, as is MPS's
    server. A process is foreign when it can be seen and is not ours. In a container the driver may
    give numbers that mean nothing here; such a one is foreign only if it was there before our case
    began.
    """

    def __init__(self, root: int, folder: Path) -> None:
        self._root = root
        self._folder = f"{folder}{os.sep}"
        self._own: set[int] = set()
        self._earlier: frozenset[int] | None = None

    def among(self, pids: tuple[int, ...]) -> tuple[int, ...]:
        """The foreign ones of ``pids``."""
        self._own |= _descendants(self._root)
        unknown = {pid: _command_line(pid) for pid in set(pids) - self._own}
        self._own |= {pid for pid, line in unknown.items() if self._folder in line or _MPS in line}
        others = frozenset(pids) - self._own
        if self._earlier is None:
            self._earlier = others
        return tuple(
            sorted(pid for pid in others if pid in self._earlier or psutil.pid_exists(pid))
        )


def _command_line(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def _descendants(root: int) -> set[int]:
    try:
        process = psutil.Process(root)
        return {root, *(child.pid for child in process.children(recursive=True))}
    except psutil.Error:
        return {root}


_ASKED = (
    "sm_clock_mhz",
    "memory_clock_mhz",
    "power_w",
    "temperature_c",
    "energy_mj",
    "event_bits",
    "memory_used_mb",
)


def look(device: Device, foreigners: Foreigners | None, now_s: float) -> TelemetrySample:
    """Take one reading; ``foreigners`` None leaves the process list out."""
    pids = None if foreigners is None else device.compute_pids()
    return TelemetrySample(
        time_s=now_s,
        **{name: getattr(device, name)() for name in _ASKED},
        foreign=None if foreigners is None or pids is None else foreigners.among(pids),
    )


def watch(
    device: Device, foreigners: Foreigners, interval_s: float, rest: Callable[[float], bool]
) -> Iterator[TelemetrySample]:
    """Yield readings every ``interval_s`` seconds until ``rest`` (seconds) says that it is over.

    The last one looks at the processes again, so that they are known before, during and after.
    """
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
    parser = argparse.ArgumentParser(prog="python -m benchlib.gpu.telemetry")
    parser.add_argument("path", type=Path)
    parser.add_argument("--root", type=int, required=True, help="process whose children are ours")
    parser.add_argument("--module", required=True, help="NVML's Python module")
    words = parser.parse_args()

    def stdin_closed(seconds: float) -> bool:
        return bool(select.select([sys.stdin], [], [], max(seconds, 0.0))[0])

    with nvml.opened(words.module) as device:
        if shutil.which(TEGRASTATS) and (device is None or device.sm_clock_mhz() is None):
            series = watch_jetson()
        elif device is None:
            return NO_DEVICE
        else:
            foreigners = Foreigners(words.root, words.path.parent)
            series = watch(device, foreigners, INTERVAL_S, stdin_closed)
        with words.path.open("w", encoding="utf-8", buffering=1) as file:
            for reading in series:
                file.write(dump_samples(reading) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
