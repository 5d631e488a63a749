"""The warm-up is as long as it has to be, and what came before is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchlib.case import Verdict
from benchlib.gpu.telemetry import TelemetrySample
from benchlib.measure import series
from benchlib.measure.runner import Outcome
from benchlib.stats import drift
from benchlib.stats.drift import CEILING_MS, Ending, Trial

Script = Callable[..., None]
Run = Callable[..., Outcome]

LEVEL = np.random.default_rng(1).normal(2.0, 0.004, 1000)


def course(cold: float, factor: float = 1.2) -> np.ndarray:
    """A level run whose first part, a fraction of it, is slower."""
    return np.where(np.arange(len(LEVEL)) < cold * len(LEVEL), factor * LEVEL, LEVEL)


def clocks(values: list[int]) -> tuple[TelemetrySample, ...]:
    """Readings 100 ms apart."""
    return tuple(TelemetrySample(0.1 * index, clock) for index, clock in enumerate(values))


def judged(
    times: np.ndarray, readings: tuple[TelemetrySample, ...] = (), warm_up_ms: float = 200
) -> Trial:
    return drift.judge_warm_up((0, 0), warm_up_ms, drift.settling(times), readings, span_s=2.0)


def test_a_steady_run_ends_the_warm_up() -> None:
    trial = judged(LEVEL)
    assert (trial.ended_by, trial.cold_ms, trial.next_ms) == (Ending.STEADY, 0.0, 200)


def test_a_cold_start_lengthens_it_by_what_was_cold_and_at_least_doubles_it() -> None:
    trial = judged(course(0.2))
    assert trial.ended_by is None
    assert trial.cold_ms == pytest.approx(400, abs=101)
    assert trial.next_ms == 200 + trial.cold_ms
    assert judged(course(0.2), warm_up_ms=1000).next_ms == 2000
    assert judged(course(0.2), warm_up_ms=0).next_ms == trial.cold_ms


def test_a_start_faster_than_the_rest_is_cold_too() -> None:
    assert judged(course(0.1, 0.8)).ended_by is None


def test_the_ceiling_ends_it() -> None:
    assert judged(course(0.2), warm_up_ms=0.6 * CEILING_MS).next_ms == CEILING_MS
    last = judged(course(0.2), warm_up_ms=CEILING_MS)
    assert (last.ended_by, last.next_ms) == (Ending.CEILING, CEILING_MS)
    assert judged(course(0.2), warm_up_ms=9000).next_ms == 9000


def test_a_run_without_rest_is_left_to_the_verdict() -> None:
    for times in (LEVEL * np.linspace(0.9, 1.1, len(LEVEL)), course(0.8)):
        trial = judged(times)
        assert (trial.ended_by, trial.cold_ms) == (Ending.RESTLESS, None)


def test_too_few_queries_say_nothing() -> None:
    assert judged(LEVEL[:50]).ended_by is Ending.UNTOLD
    assert judged(LEVEL[:50], clocks([1000] * 5 + [1500] * 15)).ended_by is None


@pytest.mark.parametrize(
    ("values", "cold_ms"),
    [
        ([1500] * 20, 0.0),
        ([1490] * 5 + [1500] * 15, 0.0),
        ([300, 900, 1200, *[1500] * 17], 300.0),
        # After its rise the clock goes down again: it has no rest.
        ([300, *[1500] * 12, *[1200, 1500] * 4], 0.0),
        ([300] * 3 + [1500] * 3, None),
        ([], None),
    ],
)
def test_the_clock_has_to_be_up(values: list[int], cold_ms: float | None) -> None:
    found = drift.clock_rise_ms(clocks(values), span_s=2.0)
    assert found == (None if cold_ms is None else pytest.approx(cold_ms))


def test_only_the_counted_part_of_the_telemetry_is_looked_at() -> None:
    readings = clocks([300] * 10 + [1500] * 21)
    assert drift.clock_rise_ms(readings, span_s=2.0) == 0.0
    assert judged(LEVEL, clocks([300, 900, 1200, *[1500] * 17])).ended_by is None


def flags(row: object, name: str) -> list[str]:
    return [
        one.partition("=")[2]
        for command in row.detail.commands
        for one in command
        if one.startswith(f"{name}=")
    ]


def test_a_cold_process_is_set_aside_kept_and_timed_again(
    fake_run: Run, script: Script, tmp_path: Path
) -> None:
    script(all={"cold_ms": 300})
    (row,) = fake_run(min_rounds=2, max_rounds=2).rows
    assert row.verdict is Verdict.VALID
    assert flags(row, "--warmUp") == ["200", "400", "400"]
    assert [one["ended_by"] for one in row.detail.warm_up] == [None, "steady", "steady"]
    assert [one.get("set_aside", False) for one in row.detail.runs] == [True, False, False]
    assert (row.rounds, row.ended_by) == (2, "sure")
    assert row.latency_mean_ms == pytest.approx(2.0, rel=0.005)
    cold, *counted = series.load_samples(tmp_path / "set" / f"samples/{row.key}.parquet")
    assert len(counted) == 2
    assert max(cold.compute_ms) > 2.3


def test_what_never_warms_up_ends_at_the_ceiling_and_says_so(fake_run: Run, script: Script) -> None:
    script(all={"story": "warming"})
    (row,) = fake_run().rows
    assert row.verdict is Verdict.SUSPECT
    assert "warming_up" in row.reasons
    assert row.detail.warm_up[-1]["ended_by"] == "ceiling"
    assert flags(row, "--warmUp") == ["200", "400", "800", "1600", "3200"]
    assert json.dumps(row.detail.warm_up)
