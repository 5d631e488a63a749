"""Whether two cases' order within a round matters: one network under two names, measured together.

Two copies of a graph, which differ in a name that nothing reads, are two cases of one run through
ONNX Runtime's stand-in, beside others that make the rounds longer. Their ratio is 1 but for what
the machine did; the interval of their ratio has to hold 1 about 95 times of 100.

    python benchmarks/interleaving.py [--runs 10] [--json benchmarks/interleaving.cpu.json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx

from benchlib import config
from benchlib.measure import runner
from benchlib.measure.record import Row

NETWORK = "mobilenet_v3_small"
OTHERS = ("shufflenet_v2_x1_5", "mnasnet1_0")
SIZE = (128, 160)


def copies(folder: Path) -> list[str]:
    """The network's graph as two files with the same nodes and weights."""
    graph = folder / "graph.onnx"
    command = [sys.executable, "-m", "benchlib", "graph", NETWORK, "-o", str(graph)]
    subprocess.run([*command, "--height", str(SIZE[0]), "--width", str(SIZE[1])], check=True)
    model, paths = onnx.load(graph), []
    for name in ("first", "second"):
        model.producer_name = name
        onnx.save(model, folder / f"{name}.onnx")
        paths.append(f"onnx:{folder / name}.onnx")
    return paths


def measured(models: list[str], seed: int, folder: Path) -> tuple[Row, ...]:
    """The rows of one run over ``models``."""
    values = {
        "models": models,
        "resolutions": [f"{SIZE[1]}x{SIZE[0]}"],
        "engine": "onnxruntime_cpu",
        "duration_s": 0.3,
        "warm_up_ms": 100,
        "max_rounds": 8,
        "seed": seed,
        "roofs": False,
        "threads": 1,
        "out_dir": str(folder / f"run{seed}"),
    }
    return runner.run(config.read_parameters(values)).rows


def ratio(first: Row, second: Row) -> tuple[float, float, float]:
    """First over second with the ends of its interval, from those of both in logarithms."""
    centre = math.log(first.latency_ms / second.latency_ms)
    below = math.hypot(_down(first), _up(second))
    above = math.hypot(_up(first), _down(second))
    return math.exp(centre), math.exp(centre - below), math.exp(centre + above)


def _down(row: Row) -> float:
    return math.log(row.latency_ms / row.latency_ci_low_ms)


def _up(row: Row) -> float:
    return math.log(row.latency_ci_high_ms / row.latency_ms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10, help="runs, each with a seed of its own")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = copies(folder)
        for seed in range(args.runs):
            rows = measured([*models, *OTHERS], seed, folder)
            by_name = {row.model: row for row in rows}
            first, second = (by_name[f"onnx:{one}.onnx"] for one in ("first", "second"))
            of_both, low, high = ratio(first, second)
            counted = (
                [run for run in row.detail.runs if not run.get("set_aside")]
                for row in (first, second)
            )
            turns = zip(*counted, strict=False)
            found.append(
                {
                    "seed": seed,
                    "ratio": round(of_both, 4),
                    "low": round(low, 4),
                    "high": round(high, 4),
                    "holds_one": low <= 1 <= high,
                    "rounds": [first.rounds, second.rounds],
                    "first_came_first": sum(a["place"] < b["place"] for a, b in turns),
                    "medians_ms": [
                        [round(one["median"], 4) for one in row.detail.statistics]
                        for row in (first, second)
                    ],
                }
            )
            print({name: value for name, value in found[-1].items() if name != "medians_ms"})
    held = sum(one["holds_one"] for one in found)
    pairs = list(itertools.chain.from_iterable(one["medians_ms"] for one in found))
    print(f"{held} of {len(found)} intervals hold 1; {sum(map(len, pairs))} processes")
    if args.json:
        document = {"network": NETWORK, "height_width": SIZE, "runs": found}
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
