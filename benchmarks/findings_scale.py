"""How long the findings take on synthetic sets of growing size, and whether that is linear.

    python benchmarks/findings_scale.py [ROWS ...] [--json FILE]     (default 2000 20000 100000)

A set grows in one of four ways, each with the blog's line-up as its start: more networks, more
batch sizes (each a part that is tested by itself), more image sizes, and all three at once with
INT8 made in three ways, rows that failed and rows in doubt. Times are of one process: reading the
table, testing every claim, writing the text. ``seconds`` is the wall clock, ``processor_s`` what
the processor was busy, which other work on the machine does not change.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchlib.analysis import results
from benchlib.analysis.claims import findings
from benchlib.measure.record import COLUMNS
from benchlib.models import registry

ROWS = (2000, 20_000, 100_000)
PRECISIONS = ("fp32", "fp16", "int8")
SPEED = {"fp32": 1.0, "fp16": 2.0, "int8": 2.8}
SIZES = ((480, 640), (768, 1024), (1056, 1920), (2144, 3840))
LINE_UP = 16
"""Networks of the blog's table."""

METHODS = ("qdq", "qdq-no-depthwise", "made-up ranges")
SEED = 4

Shape = dict[str, int]
"""How many ``networks``, ``sizes``, ``batches`` and INT8 ``methods`` a set has."""


def shapes(rows: int) -> dict[str, Shape]:
    """The ways to come to about ``rows`` rows."""
    base = {"networks": LINE_UP, "sizes": len(SIZES), "batches": 1, "methods": 1}
    cells = LINE_UP * len(SIZES) * len(PRECISIONS)
    many = max(1, round(rows / cells))
    third = max(1, round((rows * len(PRECISIONS) / (cells * 5)) ** (1 / 3)))
    return {
        "networks": base | {"networks": LINE_UP * many},
        "batches": base | {"batches": many},
        "sizes": base | {"sizes": len(SIZES) * many},
        "all": {
            "networks": LINE_UP * third,
            "sizes": len(SIZES) * third,
            "batches": third,
            "methods": len(METHODS),
        },
    }


def table(shape: Shape) -> pd.DataFrame:
    """A table.csv of this shape, with numbers like those of a card."""
    return pd.DataFrame(list(_rows(shape)), columns=list(COLUMNS))


def _rows(shape: Shape) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(SEED)
    cards = [registry.card(name) for name in registry.names()][:LINE_UP]
    sizes = [
        (height + 32 * (place // len(SIZES)), width)
        for place, (height, width) in zip(range(shape["sizes"]), itertools.cycle(SIZES))
    ]
    for place in range(shape["networks"]):
        card = cards[place % len(cards)]
        copy = place // len(cards)
        name = f"{card.name}_{copy}" if copy else card.name
        gmacs, written, share = rng.lognormal([0.5, 2.5, -1.5], [1.0, 0.7, 0.4])
        for batch, (height, width) in itertools.product(
            [2**power if power < 6 else 8 * power for power in range(shape["batches"])], sizes
        ):
            pixels = batch * height * width / 307_200
            for precision in PRECISIONS:
                for method in METHODS[: shape["methods"]] if precision == "int8" else (None,):
                    ms = (share + 0.1 * gmacs * pixels) / SPEED[precision] * rng.normal(1, 0.03)
                    ok = rng.random() > 0.01
                    doubted = ok and rng.random() < 0.05
                    yield {
                        "key": f"{name}-{precision}-b{batch}-{width}x{height}-{method}",
                        **{"model": name, "family": card.family, "task": card.task},
                        **{"engine": "trtexec", "engine_version": "8.6.0", "device": "Card"},
                        **{"precision": precision, "typing": "weak", "batch": batch},
                        **{"height": height, "width": width, "shape_mode": "static"},
                        "status": "ok" if ok else "failed",
                        "failure": None if ok else "crash",
                        "verdict": ("SUSPECT" if doubted else "VALID") if ok else None,
                        "reasons": "imprecise" if doubted else None,
                        "latency_ms": ms if ok else None,
                        "latency_ci_low_ms": 0.998 * ms if ok else None,
                        "latency_ci_high_ms": 1.002 * ms if ok else None,
                        "params_m": 3 * gmacs**0.7,
                        "gmacs": gmacs * height * width / 307_200,
                        "mactivations": written * height * width / 307_200,
                        "power_w": 300.0 if ok else None,
                        "energy_mj": 300.0 * ms / batch if ok else None,
                        "limited_by": "none" if ok else None,
                        "int8_method": method,
                        **{"weights": "random", "seed": 0, "attempt": 1},
                        "started_at": "2026-11-25T13:14:04Z",
                    }


def timed(frame: pd.DataFrame) -> dict[str, float]:
    """Seconds that the findings of this table take, and how many there are."""
    with tempfile.TemporaryDirectory() as folder:
        frame.to_csv(Path(folder, results.TABLE), index=False)
        start = (time.perf_counter(), time.process_time())
        found = findings.of(results.load(folder))
        findings.lines(found)
        ended = (time.perf_counter(), time.process_time())
    return {
        "rows": len(frame),
        "findings": len(found),
        "seconds": round(ended[0] - start[0], 2),
        "processor_s": round(ended[1] - start[1], 2),
    }


def main() -> None:
    """Print a line per set; write the figures to the file named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rows", nargs="*", type=int, default=list(ROWS))
    parser.add_argument("--only", choices=list(shapes(ROWS[0])), help="this way of growing")
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    told = []
    for rows in asked.rows:
        for name, shape in shapes(rows).items():
            if asked.only in (None, name):
                told.append({"grows_by": name, **shape, **timed(table(shape))})
                print(json.dumps(told[-1]), flush=True)
    if asked.json:
        document = {"python": sys.version.split()[0], "cores": os.cpu_count()}
        # Of other work: above the number of cores, seconds are more than a quiet machine takes
        document |= {"load_average": round(os.getloadavg()[2], 1), "sets": told}
        asked.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
