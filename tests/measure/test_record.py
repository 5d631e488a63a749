"""The row: its columns, its schema, and reading older versions."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import write_generated
from pydantic import ValidationError

from benchlib.case import Status, Verdict
from benchlib.measure import record
from benchlib.measure.record import COLUMNS, SCHEMA_VERSION, Row, RowError

RESULTS = Path(__file__).parents[2] / "results"

DESIGN = """key, model, family, task, engine, engine_version, device, host, gpu_uuid, precision,
typing, batch, height, width, shape_mode, status, failure, message, verdict, reasons, notes,
latency_ms, latency_ci_low_ms, latency_ci_high_ms, latency_mean_ms, latency_p5_ms, latency_p95_ms,
latency_p99_ms, cov, n_samples, rounds, ended_by, throughput_img_s, enqueue_ms, build_s,
engine_mb, params_m, gmacs, mactivations, size_mb, accuracy, accuracy_metric, accuracy_source,
graph_layers, engine_layers, low_precision_share, cuda_graph, transfers, spin_wait, idle_ms, tf32,
sm_clock_mhz, mem_clock_mhz, power_w, energy_mj, energy_source, peak_memory_mb, temperature_c,
throttle, limited_by, int8_method, weights, seed, attempt, started_at, log, model_digest"""


def row(**values: Any) -> Row:
    return Row(
        **{
            "key": "a",
            "model": "resnet18",
            "engine": "trtexec",
            "precision": "fp32",
            "typing": "strong",
            "batch": 1,
            "height": 480,
            "width": 640,
            "shape_mode": "static",
            "status": "ok",
            "weights": "random",
            "seed": 0,
            "started_at": datetime(2026, 1, 1, tzinfo=timezone.utc),
            **values,
        }
    )


def test_the_columns_are_the_contracts_in_its_order() -> None:
    assert tuple(re.split(r",\s+", DESIGN)) == COLUMNS


def test_a_row_survives_the_trip_through_json() -> None:
    told = {"reasons": ("drift",), "notes": ("spread",)}
    one = row(latency_ms=1.5, verdict=Verdict.SUSPECT, **told)
    assert record.load_row(record.dump_row(one)) == one


def test_a_rows_half_width_is_a_share_of_its_latency() -> None:
    assert row(latency_ms=2.0).half_width is None
    one = row(latency_ms=2.0, latency_ci_low_ms=1.9, latency_ci_high_ms=2.2)
    assert one.half_width == pytest.approx(0.075)


def test_unknown_is_an_empty_cell_and_reasons_are_joined() -> None:
    record = row(reasons=("drift", "spread")).as_record()
    assert tuple(record) == COLUMNS
    assert record["reasons"] == "drift;spread"
    assert record["latency_ms"] is None
    assert record["status"] == Status.OK.value


@pytest.mark.parametrize(
    "wrong",
    [
        {"latency_ms": float("nan")},
        {"latency_ms": 0.0},
        {"power_w": float("nan")},
        {"gmacs": float("inf")},
        {"low_precision_share": 1.2},
        {"status": "good"},
        {"n_samples": 0},
        {"latncy_ms": 1.0},
    ],
)
def test_a_row_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        row(**wrong)


def test_the_published_schema_is_current() -> None:
    """Run ``make generated`` when this fails."""
    assert write_generated.SCHEMA.read_text(encoding="utf-8") == write_generated.json_schema()


def test_every_column_is_described() -> None:
    properties = json.loads(write_generated.json_schema())["properties"]
    for name in COLUMNS:
        assert properties[name].get("description"), name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": SCHEMA_VERSION + 1}, "update benchlib"),
        ({"schema_version": SCHEMA_VERSION - 1}, "no way is known"),
        ({"schema_version": None}, "no schema_version"),
        ({"status": "good"}, "status"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(change: dict[str, Any], words: str) -> None:
    document = {**json.loads(record.dump_row(row())), **change}
    with pytest.raises(RowError, match=words):
        record.load_row(json.dumps(document))


def test_notes_among_the_reasons_of_an_older_row_are_moved() -> None:
    told = {"reasons": ["drift", "power_limited", "spread"]}
    sentences = {"reasons": ["It drifts.", "At its limit.", "Wide."], "rules": 2}
    document = json.loads(record.dump_row(row())) | told | {"detail": sentences}
    del document["notes"]
    one = record.load_row(json.dumps(document))
    assert (one.reasons, one.notes) == (("drift",), ("power_limited", "spread"))
    assert (one.detail.reasons, one.detail.notes) == (("It drifts.",), ("At its limit.", "Wide."))
    assert one.as_record()["notes"] == "power_limited;spread"
    again = json.loads(record.dump_row(one))
    assert record.with_notes_apart(again) == again
    # Sentences that do not fit the codes stay where they are
    document["detail"] = {"reasons": ["Alone."]}
    assert record.load_row(json.dumps(document)).detail.reasons == ("Alone.",)


@pytest.mark.parametrize("text", ["", "{", "[]", '"row"'])
def test_torn_text_is_refused(text: str) -> None:
    with pytest.raises(RowError):
        record.load_row(text)


def test_the_evidence_of_committed_rows_is_kept_as_it_stands() -> None:
    files = sorted(RESULTS.glob("*/rows/*.json"))
    assert len(files) >= 120
    for path in files:
        text = path.read_text(encoding="utf-8")
        again = json.loads(record.dump_row(record.load_row(text)))
        assert again["detail"] == json.loads(text)["detail"], path.name


def test_what_evidence_another_version_writes_is_kept() -> None:
    detail = {"commands": [["trtexec"]], "graph": {"sha256": "a", "colour": 3}, "rounds": [1, 2]}
    document = json.loads(record.dump_row(row())) | {"detail": detail}
    one = record.load_row(json.dumps(document))
    assert one.detail.commands == (("trtexec",),)
    assert one.detail.layers is None
    assert json.loads(record.dump_row(one))["detail"] == detail
    assert one.detail.but(ended_by="accepted").model_dump(mode="json") == {
        **detail,
        "ended_by": "accepted",
    }
