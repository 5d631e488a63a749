"""The stamps of a run, one entry per query, and what trtexec keeps of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

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
    def enqueue(self) -> Stamps:
        return self.end_enq - self.start_enq

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
