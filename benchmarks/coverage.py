"""How often the 95 % interval over rounds holds the true value, on made-up machines.

The true value is the median over all processes of a process's median. Rounds are ended by the rule
that a run goes by, on its numbers for a CPU; every process is summarised as a run does it. The
rounds of one case among many lie tens of seconds apart; those of a case alone follow one another,
which the last lines tell of: what a machine does for longer than all rounds take they cannot see.

    python benchmarks/coverage.py [--trials 1000] [--json benchmarks/coverage.json]   (five minutes)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from benchlib.stats import replication, summary
from benchlib.stats.replication import CPU_TARGET, Ending, Until

Array = NDArray[np.float64]
Machine = Callable[[np.random.Generator, int], list[Array]]
"""The queries of so many processes of one case, one after another, in milliseconds."""

UNTIL = Until(CPU_TARGET, min_rounds=3, max_rounds=10, time_ceiling_s=1e9)
QUERY_S = 0.02
QUERIES = 25
"""Of a process: half a second of them."""

SPREAD = 0.03
"""Standard deviation of a single query."""

BETWEEN_S = 40.0
"""From the end of a case's process to its next, in a round of some thirty cases."""

ALONE_S = 1.0
"""The same for a case alone: what starting a process takes."""

FOR_THE_TRUTH = 40_000
"""Processes whose median is taken for the true value; it is known to a tenth of a per cent."""

SEED = 14


def processes_apart(spread: float) -> Machine:
    """Each process has a factor of its own, as from its memory layout."""

    def queries(rng: np.random.Generator, count: int) -> list[Array]:
        logs = SPREAD * rng.standard_normal((count, QUERIES))
        return list(np.exp(logs + spread * rng.standard_normal((count, 1))))

    return queries


def long_memory(rho: float) -> Machine:
    """Queries whose logarithms are AR(1): a process sees a piece of a slow swing of 5 %."""

    def queries(rng: np.random.Generator, count: int) -> list[Array]:
        first = rng.standard_normal((count, 1))
        steps = (1 - rho**2) ** 0.5 * rng.standard_normal((count, QUERIES))
        swing = signal.lfilter([1.0], [1.0, -rho], steps, zi=rho * first)[0]
        return list(np.exp(0.05 * swing))

    return queries


def slow_phases(share: float, length_s: float, factor: float, apart_s: float) -> Machine:
    """A machine that is ``factor`` times as slow for this ``share`` of the time, in phases of
    ``length_s`` seconds in the mean."""
    ends, begins = 1 / length_s, share / (1 - share) / length_s

    def queries(rng: np.random.Generator, count: int) -> list[Array]:
        slow = np.empty((count, QUERIES), dtype=bool)
        state, stays = rng.random() < share, np.exp(-(ends + begins) * QUERY_S)
        for process in range(count):
            for query in range(QUERIES):
                slow[process, query] = state
                state = rng.random() < share + (state - share) * stays
            state = rng.random() < share + (state - share) * np.exp(-(ends + begins) * apart_s)
        return list(np.exp(SPREAD * rng.standard_normal((count, QUERIES))) * factor**slow)

    return queries


MACHINES: dict[str, Machine] = {
    "processes 0.3 % apart": processes_apart(0.003),
    "processes 2 % apart": processes_apart(0.02),
    "processes 4.5 % apart": processes_apart(0.045),
    "processes 9 % apart": processes_apart(0.09),
    "AR(1) 0.9": long_memory(0.9),
    "AR(1) 0.99": long_memory(0.99),
    "AR(1) 0.999": long_memory(0.999),
    "slow by 25 % for 2 s, a tenth of the time": slow_phases(0.1, 2, 1.25, BETWEEN_S),
    "slow by 25 % for 2 s, a quarter of the time": slow_phases(0.25, 2, 1.25, BETWEEN_S),
    "slow by 25 % for 5 s, a third of the time": slow_phases(1 / 3, 5, 1.25, BETWEEN_S),
    "slow by 80 % for 5 s, a quarter of the time": slow_phases(0.25, 5, 1.8, BETWEEN_S),
    "alone: slow by 25 % for 2 s, a tenth of the time": slow_phases(0.1, 2, 1.25, ALONE_S),
    "alone: slow by 25 % for 2 s, a quarter of the time": slow_phases(0.25, 2, 1.25, ALONE_S),
}


def rounds(machine: Machine, rng: np.random.Generator) -> tuple[replication.Replication, Ending]:
    """Rounds of one case until the rule ends them."""
    runs = []
    for queries in machine(rng, UNTIL.max_rounds):
        runs.append(summary.summary(queries))
        found = replication.combine([runs], stopped=True)
        ending = UNTIL.ending(len(runs), found.relative_half_width, 0.0)
        if ending is not None:
            break
    return found, ending


def figures(machine: Machine, trials: int) -> dict[str, float]:
    """What came of so many cases on this machine."""
    rng = np.random.default_rng(SEED)
    truth = median(float(np.median(one)) for one in machine(rng, FOR_THE_TRUTH))
    done = [rounds(machine, rng) for _ in range(trials)]
    held = mean(one.ci_low <= truth <= one.ci_high for one, _ in done)
    return {
        "coverage": round(held, 4),
        "standard_error": round((held * (1 - held) / trials) ** 0.5, 4),
        "rounds": round(mean(one.processes for one, _ in done), 2),
        "half_width": round(median(one.relative_half_width for one, _ in done), 4),
        "sure": round(mean(ending is Ending.SURE for _, ending in done), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000, help="cases per machine")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    found = {}
    for name, machine in MACHINES.items():
        found[name] = one = figures(machine, args.trials)
        print(
            f"{name:52} {one['coverage']:6.1%} ± {one['standard_error']:.1%}  "
            f"{one['rounds']:4.1f} rounds  ±{one['half_width']:.1%}  {one['sure']:4.0%} sure",
            flush=True,
        )
    if args.json:
        document = {"trials": args.trials, "seed": SEED, "machines": found}
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
