"""Bring a measured set's files into the form that a run writes today, which takes least room.

    python tools/pack_set.py SET...

Raw series (gzipped exportTimes and JSON lines) become Parquet, Parquet telemetry is encoded anew,
the layers leave the rows for ``layers/``, and long logs are compressed. No number of a row is
touched: the row names the new files, and where the series were raw each of its runs gets
``span_s``, the time from its first query's start to its last one's end, which the stamps told and
the new files do not hold. A note in environment.json says what was done. A row whose series do not
agree with its own count and median is left as it is and named; the exit status is then 1. A second
run over the same set changes nothing.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchlib.gpu import telemetry
from benchlib.measure.store import (
    Samples,
    Store,
    dump_samples,
    dump_telemetry,
    load_samples,
    load_telemetry,
)
from benchlib.trtexec import exports

NOTE = (
    "The samples and the telemetry were packed into Parquet afterwards (tools/pack_set.py): "
    "times as float32, without the start and end stamps of each query. No number of a row changed."
)

SMALLER = (
    "The layers of each row were moved to a file of their own, long logs compressed and the "
    "telemetry encoded anew afterwards (tools/pack_set.py). No number changed."
)


def pack(folder: Path) -> list[str]:
    """Pack the set in ``folder``; the problems found, one line each."""
    problems = _pack_series(folder)
    with Store(folder).opened() as store:
        before = {path: path.read_bytes() for path in _files(folder)}
        for row in store.rows:
            for path in sorted((folder / "logs").glob(f"{row.key}*.log")):
                name = store.save_log(path.stem, path.read_text(encoding="utf-8"))
                if row.log == f"logs/{path.name}":
                    row = row.model_copy(update={"log": name})
            watched = f"telemetry/{row.key}.parquet"
            if watched in (row.detail.samples or ()):
                runs = len(load_samples(folder / f"samples/{row.key}.parquet"))
                told = load_telemetry(folder / watched, runs)
                store.save_series(watched, dump_telemetry(told))
            store.save_row(row)
        if {path: path.read_bytes() for path in _files(folder)} != before:
            store.add_note(SMALLER)
    return problems


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*/*")) if path.is_file()]


def _pack_series(folder: Path) -> list[str]:
    """Turn raw series into Parquet; the problems found, one line each."""
    problems, packed = [], False
    for path in sorted((folder / "rows").glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        old = [name for name in (row["detail"] or {}).get("samples", ()) if name.endswith(".gz")]
        if not old:
            continue
        problem = _pack_row(folder, row, old)
        if problem:
            problems.append(f"{path.name}: {problem}")
            continue
        path.write_text(json.dumps(row, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        for name in old:
            (folder / name).unlink()
        packed = True
    if packed:
        _tell(folder / "environment.json")
    return problems


def _pack_row(folder: Path, row: dict[str, Any], old: list[str]) -> str | None:
    """Write the row's new files and name them in ``row``; why not, where that cannot be."""
    key, runs = row["key"], row["detail"]["runs"]
    raw = [name for name in old if ".telemetry." not in name]
    times = [exports.read_times(folder / name) for name in raw]
    if [len(one) for one in times[: len(runs)]] != [run["n"] for run in runs]:
        return "its series have other counts than its runs"
    samples = [_samples(queries) for queries in times]
    middle = float(np.median(np.concatenate([one.compute_ms for one in samples[: len(runs)]])))
    spread = abs(middle / row["latency_ms"] - 1)
    # The headline is the middle of the runs' medians, near the median of all but not the same.
    if spread > 0.02:
        return f"the median of its samples is {middle:.6g} ms, not {row['latency_ms']:.6g}"
    for run, queries in zip(runs, times, strict=False):
        run["span_s"] = round((queries[-1].end_d2h_ms - queries[0].start_h2d_ms) / 1000, 6)
    files = {f"samples/{key}.parquet": dump_samples(samples)}
    watched = [name.replace(".json.gz", ".telemetry.jsonl.gz") for name in raw]
    if any(name in old for name in watched):
        told = [_readings(folder / name) if name in old else () for name in watched]
        files[f"telemetry/{key}.parquet"] = dump_telemetry(told)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    row["detail"]["samples"] = list(files)
    return None


def _samples(queries: tuple[exports.Query, ...]) -> Samples:
    columns = ("compute_ms", "enqueue_ms", "h2d_ms", "d2h_ms")
    return Samples(*(np.array([getattr(one, name) for one in queries]) for name in columns))


def _readings(path: Path) -> tuple[telemetry.TelemetrySample, ...]:
    return telemetry.load_samples(gzip.decompress(path.read_bytes()).decode().splitlines())


def _tell(path: Path) -> None:
    environment = json.loads(path.read_text(encoding="utf-8"))
    notes = environment.setdefault("notes", [])
    if NOTE not in notes:
        notes.append(NOTE)
    path.write_text(json.dumps(environment, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    found = [line for name in sys.argv[1:] for line in pack(Path(name))]
    print("\n".join(found) or "every series is packed")
    sys.exit(bool(found))
