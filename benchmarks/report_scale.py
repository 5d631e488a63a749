"""How long the report takes, and how large its page is: of 192 cells, and of all committed sets.

    python benchmarks/report_scale.py [--times N] [--json FILE]

``published`` are the blog's 192 cells, which have no intervals; ``measured`` are as many with
intervals, energy and verdicts, made up by findings_scale.py; ``committed`` is every set in
results/. Each report is a process of its own, as a user starts it: ``seconds`` is the least wall
clock of ``times``, ``all_seconds`` has each. ``processor_s`` is the least that its processes kept
a core busy, which other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import findings_scale

ROOT = Path(__file__).resolve().parents[1]
COMMITTED = sorted(path.parent for path in (ROOT / "results").glob("*/table.csv"))


def sets(folder: Path) -> dict[str, list[Path]]:
    """The measured sets of each report; the made-up one is written into ``folder``."""
    made = folder / "measured"
    made.mkdir()
    shape = findings_scale.shapes(1)["networks"]
    findings_scale.table(shape).to_csv(made / "table.csv", index=False)
    return {
        "published": [ROOT / "results" / "rtx3090-published"],
        "measured": [made],
        "committed": COMMITTED,
    }


def timed(given: list[Path], out: Path, times: int) -> dict[str, Any]:
    """The seconds of ``times`` reports of these sets, one after the other, and the page's size."""
    command = [sys.executable, "-m", "benchlib", "report", *map(str, given), "-o", str(out)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    seconds, busy = [], []
    for _ in range(times):
        start = (time.perf_counter(), _children_s())
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        seconds.append(round(time.perf_counter() - start[0], 2))
        busy.append(round(_children_s() - start[1], 2))
    rows = sum(len((one / "table.csv").read_text("utf-8").splitlines()) - 1 for one in given)
    size = round((out / "report.html").stat().st_size / 1e6, 2)
    told = {"rows": rows, "seconds": min(seconds), "all_seconds": seconds}
    return told | {"processor_s": min(busy), "page_mb": size}


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print a line per report; write the figures to the file named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    document = {"python": sys.version.split()[0], "cores": os.cpu_count()}
    # Of other work before the first report: a quiet machine has close to 0
    document |= {"load_average": round(os.getloadavg()[0], 1), "reports": []}
    with tempfile.TemporaryDirectory() as folder:
        for name, given in sets(Path(folder)).items():
            told = {"of": name, **timed(given, Path(folder, f"{name}-report"), asked.times)}
            document["reports"].append(told)
            print(json.dumps(told), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
