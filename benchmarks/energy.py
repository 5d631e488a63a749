"""Do the energy counter and the power readings tell of the same energy? On stored telemetry:

    python benchmarks/energy.py results/h100-tensorrt-8.6 [SET ...] [--json FILE]

Over the settled part of every timing process (see benchlib.gpu.telemetry.settled) the counter's
joules, from the first reading that saw it step to the last, are set against the power readings
integrated. Printed are the differences by the length of that part, and by row with its processes
together, beside what the counter's window may be off by because a reading sees a step up to a
reading late.

Found on H100 and H200 cards (energy.json, 280 timing processes of 120 rows): the counter is 0.1 %
above power in the median; the standard deviation is 0.7 % over 2 s and more, and over all
processes of a row together, which is well within the 5 % that NVML gives. Where the settled part is
under a second it is 1.6 % and once 10 %, no more than the counter's own window may be off by there,
so that the counter says less than power, of which each reading is the mean of a second already.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchlib.case import Status
from benchlib.gpu import telemetry
from benchlib.measure import record, store

LENGTHS_S = (0.0, 1.0, 2.0, 100.0)
"""Bounds of the classes of settled parts: those of runs of 1 s, of 1.5 s and of 3 s and more."""


@dataclass(frozen=True, slots=True)
class Process:
    """One timing process: watts of its settled part by both ways; ``late`` is what the counter's
    window may be off by, a fraction."""

    key: str
    settled_s: float
    power_w: float
    counter_w: float
    ticks: int
    late: float

    @property
    def difference(self) -> float:
        """Counter over power, less 1."""
        return self.counter_w / self.power_w - 1


def processes(folder: Path) -> Iterator[Process]:
    """The timing processes of a set that count and whose counter stepped twice or more."""
    for path in sorted((folder / "rows").glob("*.json")):
        row = record.read(path)
        watched = folder / f"telemetry/{row.key}.parquet"
        if row.status is not Status.OK or not watched.is_file():
            continue
        kept = [run for run in row.detail.runs if not run.get("set_aside")]
        total = len(store.load_samples(folder / f"samples/{row.key}.parquet"))
        told = store.load_telemetry(watched, total)
        for run, readings in zip(kept, told, strict=False):
            load = telemetry.settled(readings, run["span_s"])
            found = telemetry.summarise(readings, run["span_s"])
            if found.energy_disagreement is None or found.energy_source is None:
                continue
            length = load[-1].time_s - load[0].time_s
            watts = found.energy_j / found.energy_window_s
            if found.energy_source is telemetry.EnergySource.COUNTER:
                watts /= 1 + found.energy_disagreement
            yield Process(
                row.key,
                length,
                watts,
                watts * (1 + found.energy_disagreement),
                found.energy_ticks,
                telemetry.INTERVAL_S / (found.energy_ticks * 0.1),
            )


def summary(differences: Sequence[float]) -> dict[str, float]:
    """Count, median, standard deviation and greatest of some differences."""
    values = np.array(differences)
    return {
        "n": len(values),
        "median": float(np.median(values)),
        "sd": float(values.std()),
        "greatest": float(np.abs(values).max()),
    }


def by_length(found: Sequence[Process]) -> dict[str, dict[str, float]]:
    """The differences of processes by the length of their settled part, and of whole rows."""
    classes = {}
    for low, high in pairwise(LENGTHS_S):
        some = [one for one in found if low <= one.settled_s < high]
        if some:
            name = f"{low:g} s and more" if high == LENGTHS_S[-1] else f"{low:g} to {high:g} s"
            late = float(np.median([one.late for one in some]))
            classes[name] = {**summary([one.difference for one in some]), "late": late}
    rows = {one.key: [other for other in found if other.key == one.key] for one in found}
    pooled = [
        sum(one.counter_w * one.settled_s for one in some)
        / sum(one.power_w * one.settled_s for one in some)
        - 1
        for some in rows.values()
    ]
    return {**classes, "rows, all processes": summary(pooled)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", type=Path, help="measured sets with telemetry")
    parser.add_argument("--json", type=Path, help="file for the results as JSON")
    args = parser.parse_args()
    found = [one for folder in args.sets for one in processes(folder)]
    classes = by_length(found)
    print(f"{'settled part':22} {'n':>4} {'median':>8} {'sd':>7} {'greatest':>9} {'off by':>7}")
    for name, one in classes.items():
        late = f"{100 * one['late']:6.1f}%" if "late" in one else ""
        print(
            f"{name:22} {one['n']:4} {100 * one['median']:+7.2f}% {100 * one['sd']:6.2f}% "
            f"{100 * one['greatest']:8.2f}% {late}"
        )
    if args.json:
        document = {"sets": [folder.name for folder in args.sets], "classes": classes}
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
