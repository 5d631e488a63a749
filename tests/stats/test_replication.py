"""Spreads within runs, between processes and between builds, and the interval over them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchlib.stats import replication, summary
from benchlib.stats.replication import Level, Until


def run(rng: np.random.Generator, centre: float, n: int = 300, spread: float = 0.01):
    return summary.summary(centre * np.exp(spread * rng.standard_normal(n)))


def builds(rng, shape, of_process=0.0, of_build=0.0, spread=0.01, n=300):
    """Summaries of ``shape`` = (builds, processes) around 2 ms, with these relative effects."""
    found = []
    for _ in range(shape[0]):
        centre = 2 * np.exp(of_build * rng.standard_normal())
        found.append(
            [
                run(rng, centre * np.exp(of_process * rng.standard_normal()), n, spread)
                for _ in range(shape[1])
            ]
        )
    return found


def test_one_run_keeps_its_own_interval_and_says_so():
    only = run(np.random.default_rng(0), 2)
    found = replication.combine([[only]])
    assert (found.latency, found.ci_low, found.ci_high) == (only.median, only.ci_low, only.ci_high)
    assert found.level is Level.RUN
    assert (found.between_processes, found.between_builds) == (None, None)
    # standard error of a median of 300: 1.2533 * 1 % / sqrt(300)
    assert found.within_run == pytest.approx(0.00072, rel=0.4)
    assert "says nothing of other processes" in found.sentence


def test_runs_too_short_for_an_interval_have_none_of_their_own():
    short = summary.summary(np.array([2.0, 2.1, 2.2]))
    found = replication.combine([[short]])
    assert (found.latency, found.ci_low, found.ci_high) == (2.1, None, None)
    assert (found.within_run, found.between_processes, found.between_builds) == (None, None, None)
    found = replication.combine([[short], [replace(short, median=2.3)]])
    assert found.within_run is None
    # Two builds of one process each: all of their spread is between builds
    assert found.between_builds == pytest.approx(np.log(2.3 / 2.1) / 2**0.5)
    assert found.ci_low < 2.1 < 2.3 < found.ci_high


def test_the_three_spreads_are_told_apart():
    rng = np.random.default_rng(1)
    found = replication.combine(builds(rng, (40, 10), of_process=0.02, of_build=0.05))
    assert found.within_run == pytest.approx(0.00072, rel=0.1)
    assert found.between_processes == pytest.approx(0.02, rel=0.1)
    assert found.between_builds == pytest.approx(0.05, rel=0.3)
    assert (found.builds, found.processes, found.level) == (40, 400, Level.BUILD)


def test_what_the_samples_explain_is_not_a_process_effect():
    rng = np.random.default_rng(2)
    found = replication.combine(builds(rng, (20, 10), spread=0.05))
    assert found.between_processes < 0.3 * found.within_run
    assert found.between_builds < 0.3 * found.within_run


@pytest.mark.parametrize(
    ("shape", "effects"),
    [
        ((1, 5), {"of_process": 0.03}),
        ((3, 1), {"of_build": 0.03}),
        ((3, 3), {"of_process": 0.02, "of_build": 0.03}),
        ((5, 2), {"of_process": 0.03}),
    ],
)
def test_the_interval_covers_all_levels(shape, effects):
    rng = np.random.default_rng(sum(shape))
    pool = [run(rng, 1.0, 50) for _ in range(200)]
    held = 0
    for _ in range(400):
        found = replication.combine(drawn(rng, pool, shape, **effects))
        held += found.ci_low <= 2 <= found.ci_high
    assert held / 400 >= 0.93


@pytest.mark.parametrize(
    ("slow_share", "apart"),
    [(0.0, 0.002), (0.0, 0.03), (0.0, 0.045), (0.1, 0.005), (0.25, 0.005), (1 / 3, 0.02)],
)
def test_the_interval_over_rounds_covers_though_its_width_ends_them(slow_share, apart):
    """Processes of 2 ms, some in a slow phase of the machine; the median over all is the truth."""
    rng = np.random.default_rng(10)
    pool = [run(rng, 1.0, 50) for _ in range(100)]
    until = Until(0.03, min_rounds=3, max_rounds=10, time_ceiling_s=60.0)
    cases, held, fewest = 1000, 0, []
    truth = np.median(effects(rng, slow_share, apart, 100_000))
    for _ in range(cases):
        runs = []
        for factor in effects(rng, slow_share, apart, until.max_rounds):
            runs.append(scaled(pool[rng.integers(len(pool))], 2 * factor))
            found = replication.combine([runs], stopped=True)
            if until.ending(len(runs), found.relative_half_width, 0.0):
                break
        held += found.ci_low <= 2 * truth <= found.ci_high
        fewest.append(len(runs))
    # More where the samples' own noise, and not the spread of processes, bounds it
    assert 0.93 <= held / cases <= (1 if apart == 0.002 else 0.985)
    assert min(fewest) == 3
    assert max(fewest) == (3 if apart == 0.002 else 10)


def effects(rng, slow_share, apart, count):
    """Factors of processes tens of seconds apart on a machine that is at times 25 % slower."""
    return np.exp(apart * rng.standard_normal(count)) * 1.25 ** (rng.random(count) < slow_share)


def test_from_six_processes_on_the_interval_is_that_of_their_median():
    """Slow processes on one side move neither the median nor its nearer end."""
    quiet = [run(np.random.default_rng(7), 2 + step / 100, spread=0.001) for step in range(6)]
    found = replication.combine([[*quiet, *(scaled(one, 1.5) for one in quiet[:2])]])
    assert found.latency == pytest.approx(2.035, abs=0.002)
    assert 1.995 < found.ci_low < 2.01
    assert 2.9 < found.ci_high < 3.1


def drawn(rng, pool, shape, of_process=0.0, of_build=0.0):
    """As ``builds``, from ready summaries scaled to the effects: cheap enough to simulate."""
    found = []
    for _ in range(shape[0]):
        centre = 2 * np.exp(of_build * rng.standard_normal())
        runs = []
        for _ in range(shape[1]):
            one = pool[rng.integers(len(pool))]
            runs.append(scaled(one, centre * np.exp(of_process * rng.standard_normal())))
        found.append(runs)
    return found


def scaled(one: summary.Summary, factor: float) -> summary.Summary:
    return replace(
        one, median=one.median * factor, ci_low=one.ci_low * factor, ci_high=one.ci_high * factor
    )


def test_runs_that_agree_by_luck_keep_their_own_noise():
    only = run(np.random.default_rng(3), 2, spread=0.05)
    found = replication.combine([[only, only, only]])
    assert found.level is Level.PROCESS
    assert found.latency == pytest.approx(only.median)
    assert found.between_processes == 0
    half = found.ci_high - found.ci_low
    assert half == pytest.approx((only.ci_high - only.ci_low) / 3**0.5, rel=0.05)


def test_lost_processes_are_left_out():
    rng = np.random.default_rng(4)
    a, b = run(rng, 2), run(rng, 2.1)
    found = replication.combine([[a], [], [b]])
    assert (found.builds, found.processes) == (2, 2)
    with pytest.raises(ValueError, match="no runs to combine"):
        replication.combine([[], []])


def test_runs_without_intervals_still_combine():
    few = [summary.summary([1.0, 1.1, 1.2]), summary.summary([1.1, 1.2, 1.3])]
    found = replication.combine([few])
    assert found.within_run is None
    assert found.ci_low < found.latency < found.ci_high
    assert found.as_json()["level"] == "processes of one build"
