"""The warm-up is as long as it has to be, and what came before is kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchlib.case import Verdict
from benchlib.gpu.telemetry import TelemetrySample
from benchlib.measure import record, store
from benchlib.measure.measurement import stored_runs
from benchlib.measure.runner import Outcome
from benchlib.stats import drift
from benchlib.stats.drift import CEILING_MS, LIMITED_CEILING_MS, Ending, Trial

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
    times: np.ndarray,
    readings: tuple[TelemetrySample, ...] = (),
    warm_up_ms: float = 200,
    asked_s: float = 2.0,
) -> Trial:
    settled = drift.settling(times)
    return drift.judge_warm_up((0, 0), warm_up_ms, asked_s, times, settled, readings, asked_s)


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
        assert (trial.ended_by, trial.cold_ms) == (Ending.NEVER_STEADY, None)


def test_too_few_queries_say_nothing() -> None:
    assert judged(LEVEL[:50]).ended_by is Ending.UNKNOWN
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
    # Too few queries for the times to say anything: what is told is of the clock alone
    trial = judged(LEVEL[:50], clocks(values))
    assert trial.cold_ms == (None if cold_ms is None else pytest.approx(cold_ms))


def test_only_the_counted_part_of_the_telemetry_is_looked_at() -> None:
    readings = clocks([300] * 10 + [1500] * 21)
    assert judged(LEVEL, readings).cold_ms == 0.0
    assert judged(LEVEL, clocks([300, 900, 1200, *[1500] * 17])).ended_by is None


def limited(
    power_w: list[float], clocks_mhz: list[int] | None = None
) -> tuple[TelemetrySample, ...]:
    """Readings 100 ms apart of a card at its power limit."""
    return tuple(
        TelemetrySample(0.1 * index, clock, power_w=power, event_bits=0x4)
        for index, (power, clock) in enumerate(
            zip(power_w, clocks_mhz or [1755] * len(power_w), strict=True)
        )
    )


def test_at_the_power_limit_two_seconds_of_load_come_before_three_of_timing() -> None:
    full = limited([695.0] * 31)
    first = judged(LEVEL, limited([695.0] * 21))
    assert (first.ended_by, first.next_ms, first.least_run_s) == (None, 2000, 3.0)
    short = judged(LEVEL, limited([695.0] * 21), warm_up_ms=2000)
    assert (short.ended_by, short.next_ms, short.too_short) == (None, 2000, True)
    last = judged(LEVEL, full, warm_up_ms=2000, asked_s=3.0)
    assert (last.ended_by, last.power_limited, last.next_ms) == (Ending.STEADY, True, 2000)
    # The same power below the limit asks for nothing
    free = tuple(replace(one, event_bits=0) for one in full)
    assert judged(LEVEL, free, asked_s=3.0).ended_by is Ending.STEADY


def test_at_the_power_limit_power_and_the_seconds_medians_have_to_settle() -> None:
    rising = limited([500.0 + 20 * step for step in range(11)] + [700.0] * 20)
    trial = judged(LEVEL, rising, warm_up_ms=2000, asked_s=3.0)
    assert (trial.ended_by, trial.cold_ms) == (None, pytest.approx(1000, abs=101))
    full = limited([695.0] * 31)
    fast_start = judged(course(0.33, 0.96), full, warm_up_ms=2000, asked_s=3.0)
    assert (fast_start.ended_by, fast_start.cold_ms, fast_start.next_ms) == (None, 1000, 4000)
    at_ceiling = judged(course(0.33, 0.96), full, warm_up_ms=LIMITED_CEILING_MS, asked_s=3.0)
    assert at_ceiling.ended_by is Ending.CEILING


def test_the_limiters_swings_are_no_warm_up() -> None:
    seconds = np.arange(3000) / 1000
    swing = 2.0 * (1 + 0.04 * np.sin(2 * np.pi * seconds / 0.9))
    swinging = [int(1755 * (1 - 0.08 * np.sin(2 * np.pi * step / 9))) for step in range(31)]
    trial = judged(swing, limited([694.0, 698.0, 690.0] * 10 + [695.0], swinging), 2000, 3.0)
    assert (trial.ended_by, trial.cold_ms) == (Ending.STEADY, 0.0)


def test_the_rule_on_the_series_of_h100_cards(root: Path) -> None:
    """NVIDIA's trtexec with 2 s of warm-up: steady, whether or not at the power limit, and never
    at it without the row's note."""
    folder = root / "results" / "h100-trtexec-8.6"
    found = []
    for path in sorted((folder / "rows").glob("*.json")):
        row = record.load_row(path.read_text())
        for run in stored_runs(folder, row):
            series = (run.samples.compute_ms, run.summary.settling, run.readings, run.span_s)
            trial = drift.judge_warm_up((0, 0), 2000, 3.0, *series)
            assert trial.power_limited == ("power_limited" in row.notes), row.key
            found.append((trial.power_limited, trial.ended_by))
    assert Counter(found) == {(True, Ending.STEADY): 15, (False, Ending.STEADY): 25}


def test_what_was_set_aside_at_the_power_limit_is_judged_so_again(root: Path) -> None:
    folder = root / "results" / "h100-tensorrt-8.6"
    (path,) = (folder / "rows").glob("vgg13_bn-fp32-b1-640x480-*.json")
    row = record.load_row(path.read_text())
    warm_ups = []
    for run in stored_runs(folder, row):
        series = (run.samples.compute_ms, run.summary.settling, run.readings, run.span_s)
        again = drift.judge_warm_up((0, run.process), run.trial.warm_up_ms, 3.0, *series)
        assert again == run.trial
        warm_ups.append((again.warm_up_ms, again.ended_by))
    aside = [(2000, None), (4000, None)]
    assert warm_ups[:2] == aside
    assert warm_ups[2:] == 3 * [(8000, Ending.STEADY)]


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
    cold, *counted = store.load_samples(tmp_path / "set" / f"samples/{row.key}.parquet")
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
