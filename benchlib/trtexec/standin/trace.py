"""The queries of a run: when the loop ends, their stamps, and what is said of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from benchlib.trtexec.exports import Query, number
from benchlib.trtexec.standin.program import Log, StandinError

# When the measuring loop ends, and how long the warm-up lasts: trtexec's rule as plain logic.


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


# The stamps of a run, one entry per query, and what trtexec keeps of them.


Stamps = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Trace:
    """Milliseconds as float32, one entry per query, in the order of enqueueing.

    ``start_enq`` and ``end_enq`` are on the host's clock, the rest on the engine's; both are zero
    at the clock event. ``compute`` is the duration between the compute stamps, measured directly
    (their float32 difference is coarser). Without transfers the copy stamps equal the compute
    stamps.
    """

    start_enq: Stamps
    end_enq: Stamps
    start_h2d: Stamps
    end_h2d: Stamps
    start_compute: Stamps
    end_compute: Stamps
    start_d2h: Stamps
    end_d2h: Stamps
    compute: Stamps

    @classmethod
    def without_transfers(
        cls,
        start_enq: npt.ArrayLike,
        end_enq: npt.ArrayLike,
        start_compute: npt.ArrayLike,
        end_compute: npt.ArrayLike,
        compute: npt.ArrayLike,
    ) -> Trace:
        """Make a trace of queries whose data was already in place."""
        start, end = _stamps(start_compute), _stamps(end_compute)
        return cls(
            start_enq=_stamps(start_enq),
            end_enq=_stamps(end_enq),
            start_h2d=start,
            end_h2d=start,
            start_compute=start,
            end_compute=end,
            start_d2h=end,
            end_d2h=end,
            compute=_stamps(compute),
        )

    @property
    def h2d(self) -> Stamps:
        return self.end_h2d - self.start_h2d

    @property
    def d2h(self) -> Stamps:
        return self.end_d2h - self.start_d2h

    @property
    def latency(self) -> Stamps:
        """Input copies, compute and output copies; waiting between them is not in it."""
        return self.h2d + self.compute + self.d2h

    @property
    def span_ms(self) -> np.float32:
        """From the start of the first query to the end of the last."""
        return self.end_d2h[-1] - self.start_h2d[0]

    def __len__(self) -> int:
        return len(self.compute)

    def sorted(self) -> Trace:
        """The same queries in the order in which their input copies began."""
        return self._taken(np.argsort(self.start_h2d, kind="stable"))

    def after_warm_up(self, warm_up_ms: float) -> Trace:
        """Drop everything before the first query whose compute began at or after ``warm_up_ms``.

        No query at all is left when none began so late.
        """
        late = np.flatnonzero(self.start_compute >= np.float32(warm_up_ms))
        return self._taken(slice(int(late[0]) if len(late) else len(self), None))

    def _taken(self, which: npt.NDArray[np.intp] | slice) -> Trace:
        return replace(
            self, **{item.name: getattr(self, item.name)[which] for item in fields(self)}
        )


def _stamps(values: npt.ArrayLike) -> Stamps:
    return np.asarray(values, dtype=np.float32)


# What the log says of the run, and what --exportTimes gets.


def report(log: Log, trace: Trace, warm_up_ms: float) -> Trace:
    """Say in trtexec's words how many queries there were and how long they took.

    Returns the counted queries, in order of their start. Raises :class:`StandinError` when no
    query began after the warm-up.
    """
    ordered = trace.sorted()
    counted = ordered.after_warm_up(warm_up_ms)
    if not len(counted):
        raise StandinError("No query began after the warm-up; raise --iterations or --duration")
    warm_ups = len(ordered) - len(counted)
    log.info(f"Warmup completed {warm_ups} queries over {number(warm_up_ms)} ms")
    seconds = number(counted.span_ms / np.float32(1000))
    log.info(f"Timing trace has {len(counted)} queries over {seconds} s")
    times = counted.compute
    numbers = {"min": times.min(), "max": times.max(), "mean": times.mean()}
    numbers["median"] = np.median(times)
    words = ", ".join(f"{name} = {number(value)} ms" for name, value in numbers.items())
    log.info(f"GPU Compute Time: {words}")
    return counted


def queries(trace: Trace) -> tuple[Query, ...]:
    """The records of ``--exportTimes``."""
    columns = (
        trace.start_enq,
        trace.end_enq,
        trace.start_h2d,
        trace.end_h2d,
        trace.start_compute,
        trace.end_compute,
        trace.start_d2h,
        trace.end_d2h,
        trace.h2d,
        trace.compute,
        trace.d2h,
        trace.latency,
    )
    return tuple(Query(*row) for row in np.stack(columns, axis=1).tolist())
