"""What a fleet's jobs cost beside what they do, and whether that stays so as they grow many:

    python benchmarks/fleet_scale.py [--jobs N] [--json FILE]

``dispatch``: N jobs (100,000) that do nothing, begun and ended one by one on two worker processes
of a local cluster, as benchlib.measure.fleet does it for a run. ``wide``: a tenth of them on 64
workers, each a thread of this process: 64 processes with Dask would take 10 GB. ``whole``: a run of
240 cases, four programs each (a build and three rounds), with the tests' fake engine program and
placeholders for graphs, where most of a job's time is that of starting Python. Everything is given
by tenths of the jobs in their order, so that what grows is seen: milliseconds per job, the memory
of the client, and milliseconds to save a row.

Found on two cores (fleet_scale.json): 7.8 to 9.3 ms per job in each of the last eight tenths of
100,000, when nothing else ran, and no more at the end than before; with 64 workers, beside other
work, later tenths took up to 10 ms, the first 7. The client's memory grows from 293 to 346 MB over
the last 80,000 jobs, 0.7 KB a job; with 64 workers in it, by 28 KB a job, most likely the logs of
their last events, which Dask bounds; that was not followed to its end. A row takes 0.1 s to save,
the 720th as the first; the client grows by 0.04 MB a program, which is the rows and samples that it
holds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from distributed import Client, Scheduler, SpecCluster
from distributed.worker import Worker

from benchlib import config
from benchlib.case import Engine
from benchlib.gpu import nvml
from benchlib.measure import fleet, matrix, runner
from benchlib.measure.fleet import Fleet
from benchlib.measure.measurement import Measurement
from benchlib.measure.store import Store
from benchlib.trtexec import locate

TESTS = Path(__file__).resolve().parent.parent / "tests"
TENTHS = 10
WIDE = 64
"""Workers of one machine."""


def nothing(parameters: object, module: str, made: Measurement, *_: object) -> tuple[Any, None]:
    """A job that does nothing; pickled by value, since it is of the main module."""
    return made, None


def tenths(times_s: Sequence[float]) -> list[float]:
    """Milliseconds in the mean of each tenth."""
    size = max(1, len(times_s) // TENTHS)
    parts = [times_s[first : first + size] for first in range(0, size * TENTHS, size)]
    return [round(1000 * statistics.mean(part), 3) for part in parts if part]


def memory_mb() -> float:
    return round(psutil.Process().memory_info().rss / 1e6, 1)


@contextmanager
def cluster(workers: dict[str, dict[str, Any]]) -> Iterator[str]:
    scheduler = {"host": "127.0.0.1", "dashboard": False}
    specs = {"cls": Scheduler, "options": scheduler}
    with SpecCluster(workers=workers, scheduler=specs, silence_logs=50) as started:
        yield started.scheduler_address


def dispatched(address: str, workers: int, jobs: int) -> dict[str, Any]:
    """Begin and end ``jobs`` on so many workers, each with one at a time."""
    parameters = config.read_parameters({"engine": "trtexec", "models": ["resnet18"]})
    fleet._do = nothing
    step = matrix.steps(parameters, locate.find(parameters.engine))[0]
    with Client(address, set_as_default=False) as client:
        pool = Fleet(client, parameters, nvml.MODULE, print)
        while len(pool.idle()) < workers:
            time.sleep(0.1)
        left, ended, memory = jobs, 0, [memory_mb()]
        marks = [time.monotonic()]
        while ended < jobs:
            for worker in pool.idle():
                if left:
                    left -= 1
                    made = Measurement(step.case, matrix.settings(parameters))
                    pool.start(worker, made, step, None)
            for done in pool.ended():
                assert done.fault is None and not done.lost
                ended += 1
                if ended * TENTHS % jobs == 0:
                    marks.append(time.monotonic())
                    memory.append(memory_mb())
    each = [1000 * TENTHS * (after - at) / jobs for at, after in pairwise(marks)]
    return {
        "jobs": jobs,
        "workers": workers,
        "ms_per_job": round(1000 * (marks[-1] - marks[0]) / jobs, 3),
        "ms_per_job_by_tenth": [round(one, 3) for one in each],
        "client_mb_by_tenth": memory,
    }


def whole(address: str, folder: Path) -> dict[str, Any]:
    """A run with the fake engine program."""
    from placeholders import Placeholders

    def exporter(given: config.Parameters, program: object, work: Path) -> Placeholders:
        return Placeholders(work / "graphs", given.seed)

    runner._exporter = exporter
    saves_s: list[float] = []
    memory = []
    save = Store.save_row

    def timed(self: Store, row: object) -> None:
        begun = time.perf_counter()
        save(self, row)
        saves_s.append(time.perf_counter() - begun)
        memory.append(memory_mb())

    Store.save_row = timed
    given = {
        "models": ["resnet18", "resnet34", "resnet50", "fast_scnn"],
        "resolutions": [f"{64 * size}x64" for size in range(1, 21)],
        "batch_sizes": [1, 2, 4],
        "engine": Engine.TRTEXEC,
        "roofs": False,
        "duration_s": 0.5,
        "min_rounds": 3,
        "max_rounds": 3,
        "fleet": address,
        "out_dir": str(folder / "set"),
    }
    begun = time.monotonic()
    outcome = runner.run(config.read_parameters(given))
    programs = len(outcome.rows) * 4
    seconds = time.monotonic() - begun
    size = len(memory) // TENTHS
    return {
        "cases": len(outcome.rows),
        "ok": sum(row.rounds == 3 for row in outcome.rows),
        "programs": programs,
        "seconds": round(seconds, 1),
        "ms_per_program": round(1000 * seconds / programs, 1),
        "ms_to_save_a_row_by_tenth": tenths(saves_s),
        "client_mb_by_tenth": memory[size - 1 :: size],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    words = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    import fake_trtexec

    found: dict[str, Any] = {"cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.update(fake_trtexec.install(folder / "programs"))
        os.environ["BENCHLIB_CACHE"] = str(folder / "cache")
        two = fleet.worker_specs(["GPU-0", "GPU-1"])
        options = {"nthreads": 1, "resources": {fleet.RESOURCE: 1}, "memory_limit": 0}
        wide = {
            f"GPU-{number}": {"cls": Worker, "options": {"name": f"GPU-{number}", **options}}
            for number in range(WIDE)
        }
        do = fleet._do
        for part, workers, jobs in (
            ("wide", wide, words.jobs // 10),
            ("dispatch", two, words.jobs),
        ):
            with cluster(workers) as address:
                found[part] = dispatched(address, len(workers), jobs)
            print(part, json.dumps(found[part]), flush=True)
        fleet._do = do
        with cluster(two) as address:
            found["whole"] = whole(address, folder)
        print("whole", json.dumps(found["whole"]), flush=True)
    if words.json:
        words.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
