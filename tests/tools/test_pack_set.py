"""The step that packs raw series into Parquet, and the committed sets it was run over."""

from __future__ import annotations

import gzip
import importlib.util
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchlib.analysis.results import load
from benchlib.gpu.telemetry import TelemetrySample, dump_samples
from benchlib.measure import record, store
from benchlib.measure.store import read_log
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
    kept = store.load_samples(old_set / "samples" / "k.parquet")
    assert [len(one.compute_ms) for one in kept] == [5, 7, 3]
    first, second, aside = store.load_telemetry(old_set / "telemetry" / "k.parquet", 3)
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


def test_a_set_of_whole_files_is_made_smaller_and_says_the_same(
    pack_set: ModuleType, tmp_path: Path
) -> None:
    """A committed row as rows were written before: layers in it, its log as text."""
    source, folder = ROOT / "results" / "h100-trtexec-8.6", tmp_path / "set"
    path = next((source / "rows").glob("vgg11_bn-fp16-b1-640x480*"))
    row = json.loads(path.read_text())
    layers = record.load_layers((source / record.layers_file(path.stem)).read_bytes())
    log = read_log(source / row["log"])
    watched = store.load_telemetry(source / f"telemetry/{path.stem}.parquet", 1)
    for name in ("rows", "logs", "samples", "telemetry"):
        (folder / name).mkdir(parents=True)
    for name in (f"samples/{path.stem}.parquet", f"telemetry/{path.stem}.parquet"):
        shutil.copy(source / name, folder / name)
    row["detail"]["layers"], row["log"] = list(layers), f"logs/{path.stem}.log"
    (folder / row["log"]).write_text(log)
    (folder / "rows" / path.name).write_text(json.dumps(row, indent=1))
    (folder / "environment.json").write_text("{}")
    assert pack_set.pack(folder) == []
    (packed,) = (record.read(one) for one in (folder / "rows").glob("*.json"))
    before = record.load_row(json.dumps(row))
    bare = before.model_copy(update={"log": packed.log, "detail": before.detail.without_layers()})
    assert packed == bare
    assert packed.log.endswith(".log.xz") and read_log(folder / packed.log) == log
    assert load(folder).layers(path.stem) == layers
    assert store.load_telemetry(folder / f"telemetry/{path.stem}.parquet", 1) == watched
    kept = {one: one.read_bytes() for one in folder.glob("*/*")}
    assert pack_set.pack(folder) == []
    assert {one: one.read_bytes() for one in folder.glob("*/*")} == kept
    assert json.loads((folder / "environment.json").read_text())["notes"] == [pack_set.SMALLER]


@pytest.mark.parametrize("name", SETS)
def test_the_samples_of_a_committed_set_are_those_of_its_rows(name: str) -> None:
    folder = ROOT / "results" / name
    for path in sorted((folder / "rows").glob("*.json")):
        row = json.loads(path.read_text())
        if row["status"] == "failed":
            continue
        samples, telemetry = row["detail"]["samples"]
        runs = row["detail"]["runs"]
        kept = store.load_samples(folder / samples)
        assert [len(one.compute_ms) for one in kept[: len(runs)]] == [run["n"] for run in runs]
        stored = [one["median"] for one in row["detail"]["statistics"]]
        medians = [
            float(np.median(one.compute_ms))
            for one, run in zip(kept, runs, strict=False)
            if not run.get("set_aside")
        ]
        assert medians == pytest.approx(stored, rel=1e-6)
        assert all(store.load_telemetry(folder / telemetry, len(kept)))
