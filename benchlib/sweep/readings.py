"""What the GPU was doing while a case was timed: readings in, one summary out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

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

IDLE_BIT = 0x001

FEWEST_TICKS = 100
"""Steps of the energy counter in a window. Either end may fall anywhere within a step, so that
100 of them keep the error near 1 %."""

ENERGY_TOLERANCE = 0.15
"""Difference between counter and integrated power, as a fraction of the latter, beyond which no
energy is given. NVML calls power good to 5 %; the rest is its averaging over up to a second."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the card. ``time_s`` is CLOCK_MONOTONIC; what it did not tell is None.

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
        """Whether the card had work, as far as it says; one that does not say counts as busy."""
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
    and after the window included. ``energy_j`` is the counter's difference over
    ``energy_window_s`` seconds, None when the window holds under 100 of its ``energy_ticks`` or
    ``energy_disagreement`` (counter against integrated power, a fraction) is too large.
    ``idle_power_w`` is the median power of the series' idle readings.
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
    energy_ticks: int | None = None
    energy_disagreement: float | None = None
    idle_power_w: float | None = None

    def energy_mj_per_image(self, throughput_img_s: float) -> float | None:
        """Millijoules per image at ``throughput_img_s`` images per second; None if unknown."""
        if self.energy_j is None or self.energy_window_s is None:
            return None
        return 1000 * self.energy_j / self.energy_window_s / throughput_img_s

    def as_json(self) -> dict[str, Any]:
        """Plain numbers and nested objects, ready for JSON."""
        return asdict(self)


def words(bits: int) -> tuple[str, ...]:
    """The set bits in words; one without a known meaning as ``bit_0x400``."""
    known = tuple(word for bit, word in THROTTLE_BITS.items() if bits & bit)
    rest = bits & ~sum(THROTTLE_BITS)
    unknown = tuple(f"bit_{1 << n:#x}" for n in range(rest.bit_length()) if rest >> n & 1)
    return known + unknown


def timed_window(readings: Sequence[Reading], span_s: float) -> tuple[Reading, ...]:
    """The readings of the last ``span_s`` seconds in which the card was busy.

    Timing is the last thing that a measuring program does, so the window ends with the last busy
    reading; loading and warm-up, with their low clocks, come before it. With no busy reading
    (the run was shorter than a reading) the result is empty.
    """
    busy = [reading.time_s for reading in readings if reading.busy]
    if not busy:
        return ()
    end = busy[-1]
    return tuple(one for one in readings if end - span_s <= one.time_s <= end)


def summarise(readings: Sequence[Reading], span_s: float | None = None) -> TelemetrySummary:
    """Summarise a series; ``span_s`` is the timed part's length in seconds, None for all of it."""
    window = tuple(readings) if span_s is None else timed_window(readings, span_s)
    if not readings:
        return TelemetrySummary()
    bits = [reading.event_bits for reading in window if reading.event_bits is not None]
    asked = [reading.foreign for reading in readings if reading.foreign is not None]
    energy, ticks, disagreement, length = _energy(window)
    idle = [one.power_w for one in readings if not one.busy and one.power_w is not None]
    return TelemetrySummary(
        n_readings=len(window),
        rate_hz=_rate(readings),
        sm_clock_mhz=_range(window, lambda one: one.sm_clock_mhz),
        memory_clock_mhz=_range(window, lambda one: one.memory_clock_mhz),
        power_w=_range(window, lambda one: one.power_w),
        temperature_c=_range(window, lambda one: one.temperature_c),
        memory_used_mb=_range(window, lambda one: one.memory_used_mb),
        throttle=words(int(np.bitwise_or.reduce(bits))) if bits else None,
        foreign=tuple(sorted(set().union(*asked))) if asked else None,
        energy_j=energy,
        energy_window_s=length,
        energy_ticks=ticks,
        energy_disagreement=disagreement,
        idle_power_w=median(idle) if idle else None,
    )


def dumps(reading: Reading) -> str:
    """One line of the series' file, without its newline."""
    return json.dumps({key: value for key, value in asdict(reading).items() if value is not None})


def loads(lines: Iterable[str]) -> tuple[Reading, ...]:
    """The readings of a series' file, up to the first line that is none.

    A killed recorder leaves a torn last line, which is dropped; more than that is told of.
    """
    found = []
    rest = iter(lines)
    for line in rest:
        try:
            fields = json.loads(line)
            if "foreign" in fields:
                fields["foreign"] = tuple(fields["foreign"])
            found.append(Reading(**fields))
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


def _rate(readings: Sequence[Reading]) -> float | None:
    length = readings[-1].time_s - readings[0].time_s
    return (len(readings) - 1) / length if length > 0 else None


def _range(readings: Sequence[Reading], value: Callable[[Reading], float | None]) -> Range | None:
    known = [number for number in map(value, readings) if number is not None]
    return Range(min(known), median(known), max(known)) if known else None


def _energy(
    window: Sequence[Reading],
) -> tuple[float | None, int | None, float | None, float | None]:
    """Joules, counter steps, disagreement with integrated power, seconds; None where unknown."""
    counted = [one for one in window if one.energy_mj is not None and one.power_w is not None]
    if len(counted) < 2:
        return None, None, None, None
    times = np.array([one.time_s for one in counted])
    counter = np.array([one.energy_mj for one in counted], dtype=np.float64)
    power = np.array([one.power_w for one in counted], dtype=np.float64)
    ticks = int(np.count_nonzero(np.diff(counter)))
    length = float(times[-1] - times[0])
    joules = float(counter[-1] - counter[0]) / 1000
    integrated = float(np.sum(np.diff(times) * (power[1:] + power[:-1]) / 2))
    disagreement = joules / integrated - 1 if integrated > 0 else None
    trusted = (
        ticks >= FEWEST_TICKS and disagreement is not None and abs(disagreement) <= ENERGY_TOLERANCE
    )
    return (joules if trusted else None), ticks, disagreement, length
