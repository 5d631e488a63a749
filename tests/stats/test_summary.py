"""The summary of one run: interval, percentiles, and the tests for drift, settling and modes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from benchlib.measure import store
from benchlib.stats import drift
from benchlib.stats import summary as stats_summary


def run(rng: np.random.Generator, n: int, rho: float = 0.0, spread: float = 0.01) -> np.ndarray:
    """A log-normal run around 1 ms whose logarithms are AR(1)."""
    steps = rng.standard_normal(n + 300)
    series = signal.lfilter([1.0], [1.0, -rho], steps)[300:]
    return np.exp(spread * series * (1 - rho**2) ** 0.5)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("n", "runs"), [(200, 1000), (1000, 700), (5000, 400)])
def test_the_interval_covers_the_truth_93_to_97_percent_of_the_time(n, runs, rho):
    rng = np.random.default_rng([n, int(10 * rho)])
    held = {"lognormal": 0, "normal": 0}
    for _ in range(runs):
        values = run(rng, n, rho, spread=0.5)
        low, high = stats_summary.median_interval(values)
        held["lognormal"] += low <= 1 <= high
        low, high = stats_summary.median_interval(10 + np.log(values))
        held["normal"] += low <= 10 <= high
    assert 0.93 <= held["lognormal"] / runs <= 0.97
    assert 0.93 <= held["normal"] / runs <= 0.97


def test_an_interval_that_ignored_correlation_would_fail_that_check():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        values = np.sort(run(rng, 1000, 0.9))
        low, high = stats_summary._by_order(values, 1000.0)
        held += low <= 1 <= high
    assert held / 300 < 0.6


def cycle(rng: np.random.Generator, n: int) -> np.ndarray:
    """A card at its power limit: slow for a quarter of each cycle of 0.75 to 1 s, 1800 queries a s.

    The fast level is 1 ms and wanders by 0.3 %; the slow part rises by 1 to 5 %.
    """
    parts = []
    while sum(map(len, parts)) < n + 1800:
        slow = rng.uniform(0.01, 0.05) * np.hanning(int(rng.uniform(340, 450)))
        parts.append(rng.normal(0, 0.003) + np.concatenate([np.zeros(3 * len(slow)), slow]))
    start = int(rng.uniform(0, 1800))
    return np.exp(np.concatenate(parts)[start : start + n] + 0.001 * rng.standard_normal(n))


def test_the_interval_of_a_cycling_card_is_narrow_and_covers():
    rng = np.random.default_rng(0)
    truth = float(np.median(cycle(rng, 2_000_000)))
    runs = [cycle(rng, 5400) for _ in range(150)]
    found = [stats_summary.median_interval(values) for values in runs]
    assert sum(low <= truth <= high for low, high in found) / len(runs) >= 0.92
    assert np.median([(high - low) / 2 / truth for low, high in found]) < 0.01
    # Order statistics, by which the ends were found before, reach into the slow part
    wide = [stats_summary._by_order(v, stats_summary.effective_count(v)) for v in runs]
    assert np.median([high / truth - 1 for _, high in wide]) > 0.02


def test_real_runs_of_a_card_at_its_power_limit_agree_within_their_intervals(root):
    """Three processes each of VGG and ResNet on an H100, 3 s after 2 s of load or more."""
    folder = root / "results" / "h100-tensorrt-8.6" / "samples"
    for key in (
        "vgg11_bn-fp16-b1-1920x1056",
        "vgg16_bn-int8-b1-1920x1056",
        "resnet18-fp16-b1-3840",
    ):
        (path,) = folder.glob(f"{key}*.parquet")
        runs = [stats_summary.summary(one.compute_ms) for one in store.load_samples(path)[:3]]
        level = float(np.median([one.median for one in runs]))
        for one in runs:
            assert one.ci_low <= level <= one.ci_high
            assert one.relative_half_width < 0.02


def test_the_interval_of_a_run_worth_few_samples_covers():
    rng = np.random.default_rng(5)
    runs = [run(rng, 5000, 0.999) for _ in range(250)]
    few = stats_summary.FEWEST_FOR_ORDER
    runs = [values for values in runs if stats_summary.effective_count(values) < few]
    assert len(runs) > 200
    found = [stats_summary.median_interval(values) for values in runs]
    assert sum(low <= 1 <= high for low, high in found) / len(runs) >= 0.92


def test_slow_swings_of_few_samples_keep_their_order_statistics():
    values = run(np.random.default_rng(1), 60, 0.98)
    count = stats_summary.effective_count(values)
    assert count < stats_summary.FEWEST_FOR_ORDER
    assert stats_summary.median_interval(values) == stats_summary._by_order(values, count)


def test_correlated_samples_count_for_less():
    rng = np.random.default_rng(1)
    assert stats_summary.effective_count(run(rng, 4000)) > 3500
    # AR(1) with 0.9: signs are worth one in 13
    assert 200 < stats_summary.effective_count(run(rng, 4000, 0.9)) < 450
    assert stats_summary.effective_count(np.ones(500)) == 500


def test_a_swing_that_neighbours_hardly_show_is_seen_by_the_blocks():
    rng = np.random.default_rng(2)
    counts = [
        stats_summary.effective_count(run(rng, 5000) * run(rng, 5000, 0.99, spread=0.007))
        for _ in range(9)
    ]
    # The truth is about 100; neighbours alone say 230
    assert np.median(counts) < 170


def test_numbers_of_a_plain_run():
    values = np.arange(1.0, 1001.0)
    rng = np.random.default_rng(3)
    summary = stats_summary.summary(rng.permutation(values), np.full(1000, 0.25))
    assert summary.n == 1000
    assert summary.median == 500.5
    assert summary.mean == 500.5
    assert (summary.minimum, summary.maximum) == (1, 1000)
    assert summary.ci_low < 500.5 < summary.ci_high
    # trtexec's index is n - 1 - trunc((1 - p) n): the 950th of the sorted thousand
    assert (summary.p5, summary.p95, summary.p99) == (50, 950, 990)
    # population standard deviation: sqrt((n^2 - 1) / 12)
    assert summary.cov == pytest.approx(((1000**2 - 1) / 12) ** 0.5 / 500.5)
    assert summary.enqueue == 0.25
    assert summary.relative_half_width == pytest.approx((summary.ci_high - summary.ci_low) / 1001)


def test_a_percentile_stands_only_where_the_count_bears_it():
    rng = np.random.default_rng(4)
    assert not stats_summary.supports(95, 71)
    assert stats_summary.supports(95, 72)
    assert stats_summary.supports(5, 72)
    assert not stats_summary.supports(99, 367)
    assert stats_summary.supports(99, 368)
    few = stats_summary.summary(run(rng, 60))
    assert (few.p5, few.p95, few.p99) == (None, None, None)
    some = stats_summary.summary(run(rng, 200))
    assert some.p95 is not None and some.p99 is None
    # 600 samples would bear p99, but these are worth only some fifty
    correlated = stats_summary.summary(run(rng, 600, 0.9))
    assert correlated.p99 is None


def test_five_samples_have_no_interval():
    summary = stats_summary.summary([1.0, 1.1, 0.9, 1.0, 1.2])
    assert (summary.ci_low, summary.ci_high) == (None, None)
    assert summary.relative_half_width is None
    assert summary.median == 1.0
    six = stats_summary.summary([1.0, 1.1, 0.9, 1.0, 1.2, 1.3])
    assert (six.ci_low, six.ci_high) == (0.9, 1.3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "no samples"),
        ([1.0, float("nan")], "1 of 2 samples are negative or not finite.*sample 1"),
        ([1.0, float("inf"), 2.0], "sample 1: inf"),
        ([-0.5, 1.0], "sample 0: -0.5"),
        ([0.0, 1.0], "sample 0 is 0"),
        ([[1.0, 2.0]], "shape"),
    ],
)
def test_samples_that_are_no_times_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        stats_summary.summary(values)


def test_a_level_run_neither_drifts_nor_warms_up():
    rng = np.random.default_rng(5)
    for rho in (0.0, 0.5):
        verdicts = [stats_summary.summary(run(rng, 2000, rho, 0.02)) for _ in range(60)]
        assert sum(abs(one.drift.change) > 0.02 for one in verdicts) == 0
        assert sum(not one.steady for one in verdicts) <= 1
        assert sum(one.modes is not None for one in verdicts) == 0


def test_a_slope_is_drift():
    rng = np.random.default_rng(6)
    found = stats_summary.summary(run(rng, 2000) * np.linspace(1.0, 1.1, 2000)).drift
    assert found.change == pytest.approx(0.09, abs=0.01)
    assert found.p_value < 1e-6


def test_a_slow_start_is_seen_and_placed():
    rng = np.random.default_rng(7)
    values = run(rng, 2000)
    values[:300] *= 1.2
    summary = stats_summary.summary(values)
    assert not summary.steady
    assert summary.settling.steady_from == pytest.approx(0.15)
    assert summary.settling.start_excess == pytest.approx(0.2, abs=0.01)
    assert summary.settling.outside == 0
    assert abs(summary.settling.rest_change) < 0.01


def test_blocks_may_leave_the_band_by_what_their_few_samples_differ_by():
    rng = np.random.default_rng(12)
    found = [drift.settling(run(rng, 400, spread=0.1)) for _ in range(100)]
    assert np.mean([one.steady_from > 0 for one in found]) < 0.1


def test_the_halves_of_a_run_are_compared():
    values = np.repeat([1.0, 3.0, 2.0, 5.0], 100)
    # Medians of the two hundred before and after the middle: 2.0 and 3.5
    assert drift.settling(values).shift == pytest.approx(0.75)


def test_a_run_that_never_settles():
    rng = np.random.default_rng(8)
    values = run(rng, 2000) * np.repeat([1, 1.2, 1, 1.2, 1, 1.2, 1, 1.2, 1, 1.2], 200)
    assert stats_summary.summary(values).settling.outside > 0.3


def test_short_runs_are_not_judged():
    summary = stats_summary.summary(np.linspace(1, 2, 99))
    assert (summary.drift, summary.settling, summary.steady) == (None, None, None)


def test_two_groups_are_two_modes():
    rng = np.random.default_rng(9)
    slow = rng.random(2000) < 0.3
    found = stats_summary.two_modes(run(rng, 2000) * np.where(slow, 1.15, 1.0))
    assert found.lower == pytest.approx(1.0, abs=0.01)
    assert found.upper == pytest.approx(1.15, abs=0.01)
    assert found.upper_share == pytest.approx(0.3, abs=0.03)
    exact = stats_summary.two_modes(np.tile([1.0, 1.0, 2.0], 100))
    assert (round(exact.lower, 2), round(exact.upper, 2)) == (1.0, 2.0)


@pytest.mark.parametrize("step", [0.00003, 0.0005, 0.001024])
@pytest.mark.parametrize("centre", [0.02, 0.05, 0.2286])
def test_the_steps_of_the_event_clock_are_not_modes(step, centre):
    rng = np.random.default_rng(10)
    for spread in (0.0001, 0.0005, 0.001, 0.003):
        for _ in range(5):
            values = centre + spread * rng.standard_normal(3000)
            assert stats_summary.two_modes(np.round(values / step) * step) is None


@pytest.mark.parametrize("n", [60, 300, 2000])
def test_one_hump_is_one_mode_whatever_its_shape(n):
    rng = np.random.default_rng(11)
    size = (60, n)
    narrow = rng.normal(1, 0.01, size)
    shapes = {
        "uniform": rng.uniform(1, 2, size),
        "normal": 10 + rng.standard_normal(size),
        "long tail": np.exp(rng.standard_normal(size)),
        "exponential": 1 + rng.exponential(1, size),
        "few outliers": np.where(rng.random(size) < 0.04, 3, 1) * narrow,
        "tail on a spike": np.where(rng.random(size) < 0.3, 1 + rng.exponential(0.5, size), narrow),
        "correlated": np.array([run(rng, n, 0.9) for _ in range(60)]),
    }
    found = {
        name: sum(stats_summary.two_modes(values) is not None for values in runs)
        for name, runs in shapes.items()
    }
    assert found == dict.fromkeys(shapes, 0)


def test_a_long_run_has_a_coarser_clock():
    assert stats_summary.clock_step_ms(np.full(1000, 1.0)) == stats_summary.EVENT_STEP_MS
    # 60 s of float32 stamps: 0.0039 ms
    assert stats_summary.clock_step_ms(np.full(60000, 1.0)) == pytest.approx(0.0039, abs=1e-4)


def test_block_medians_cover_the_run():
    assert drift.block_medians(np.arange(1.0, 101.0)).tolist() == list(range(3, 101, 5))
