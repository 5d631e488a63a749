"""The step that packs raw series into Parquet, and the committed sets it was run over."""

from __future__ import annotations

import gzip
import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchlib.gpu.telemetry import TelemetrySample, dump_samples
from benchlib.measure import series
from benchlib.trtexec import exports
from benchlib.trtexec.exports import Query

ROOT = Path(__file__).resolve().parents[2]
SETS = ("h100-tensorrt-8.6", "h200-tensorrt-8.6")


@pytest.fixture(scope="module")
def pack_set() -> ModuleType:
    found = importlib.util.spec_from_file_location("pack", ROOT / "tools" / "pack_set.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def query(at: float, ms: float) -> Query:
    times = dict.fromkeys(("start_enq_ms", "start_h2d_ms", "end_h2d_ms", "start_compute_ms"), at)
    ends = dict.fromkeys(("end_compute_ms", "start_d2h_ms", "end_d2h_ms"), at + ms)
    return Query(
        **times, **ends, end_enq_ms=at + 0.1, h2d_ms=0, compute_ms=ms, d2h_ms=0, latency_ms=ms
    )


@pytest.fixture
def old_set(tmp_path: Path) -> Path:
    """One row of two runs and one set aside, as sets were stored before."""
    for name in ("rows", "samples"):
        (tmp_path / name).mkdir()
    runs = [[query(2.0 * n, 2.0) for n in range(count)] for count in (5, 7, 3)]
    names = ["k.json.gz", "k.b0.p1.json.gz", "k.cold0.json.gz"]
    for name, queries in zip(names, runs, strict=True):
        path = tmp_path / "samples" / name
        path.write_bytes(gzip.compress(exports.dump_times(queries).encode()))
    told = gzip.compress(f"{dump_samples(TelemetrySample(1.0, 1980, power_w=391.5))}\n".encode())
    (tmp_path / "samples" / "k.b0.p1.telemetry.jsonl.gz").write_bytes(told)
    row = {
        "key": "k",
        "latency_ms": 2.0,
        "detail": {
            "runs": [{"n": 5}, {"n": 7}],
            "samples": [f"samples/{n}" for n in (*names[:2], "k.b0.p1.telemetry.jsonl.gz")]
            + [f"samples/{names[2]}"],
        },
    }
    (tmp_path / "rows" / "k.json").write_text(json.dumps(row))
    (tmp_path / "environment.json").write_text("{}")
    return tmp_path


def test_series_are_packed_and_numbers_stay(pack_set: ModuleType, old_set: Path) -> None:
    assert pack_set.pack(old_set) == []
    row = json.loads((old_set / "rows" / "k.json").read_text())
    assert row["latency_ms"] == 2.0
    assert row["detail"]["runs"] == [{"n": 5, "span_s": 0.01}, {"n": 7, "span_s": 0.014}]
    assert row["detail"]["samples"] == ["samples/k.parquet", "telemetry/k.parquet"]
    kept = series.load_samples(old_set / "samples" / "k.parquet")
    assert [len(one.compute_ms) for one in kept] == [5, 7, 3]
    first, second, aside = series.load_telemetry(old_set / "telemetry" / "k.parquet", 3)
    assert (first, aside) == ((), ())
    assert asdict(second[0])["power_w"] == 391.5
    assert not list((old_set / "samples").glob("*.gz"))
    assert pack_set.NOTE in json.loads((old_set / "environment.json").read_text())["notes"]
    assert pack_set.pack(old_set) == []


def test_series_of_another_row_are_left_and_named(pack_set: ModuleType, old_set: Path) -> None:
    path = old_set / "rows" / "k.json"
    row = json.loads(path.read_text())
    row["latency_ms"] = 3.0
    path.write_text(json.dumps(row))
    (problem,) = pack_set.pack(old_set)
    assert problem == "k.json: the median of its samples is 2 ms, not 3"
    assert (old_set / "samples" / "k.json.gz").is_file()


@pytest.mark.parametrize("name", SETS)
def test_the_samples_of_a_committed_set_are_those_of_its_rows(name: str) -> None:
    folder = ROOT / "results" / name
    for path in sorted((folder / "rows").glob("*.json")):
        row = json.loads(path.read_text())
        samples, telemetry = row["detail"]["samples"]
        runs = row["detail"]["runs"]
        kept = series.load_samples(folder / samples)
        assert [len(one.compute_ms) for one in kept[: len(runs)]] == [run["n"] for run in runs]
        stored = [one["median"] for one in row["detail"]["statistics"]]
        medians = [float(np.median(one.compute_ms)) for one in kept[: len(runs)]]
        assert medians == pytest.approx(stored, rel=1e-6)
        assert all(series.load_telemetry(folder / telemetry, len(kept)))
