"""The parts that findings, figures and the explorer are made of, on answers known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchlib.analysis import comparable_groups, latency_model, ranking, significance
from benchlib.errors import InputError


class TestOrder:
    @pytest.mark.parametrize(
        ("fast", "slow", "certain"),
        [
            ({"ms": 1.0}, {"ms": 1.1}, True),
            ({"ms": 1.0}, {"ms": 1.015}, False),  # parted, but nobody would notice
            ({"ms": 1.0, "half": 0.06}, {"ms": 1.1, "half": 0.06}, False),  # overlap
            ({"ms": 1.0, "half": None}, {"ms": 1.1, "half": None}, True),
            ({"ms": 1.1}, {"ms": 1.0}, False),
        ],
    )
    def test_certain_only_when_parted_and_worth_it(self, table, row, fast, slow, certain):
        rows = table([row("a", **fast), row("b", **slow)])
        assert bool(significance.significantly_faster_pairs(rows)[0, 1]) is certain


class TestParts:
    def test_what_differs_in_batch_engine_or_shape_is_never_mixed(self, table, row):
        rows = [row("a", 1.0), row("a", 2.0, batch=8), row("a", 3.0, shape_mode="blog")]
        found = comparable_groups.parts(table(rows))
        assert sorted(part.label for part in found) == [
            "batch 1, blog",
            "batch 1, static",
            "batch 8, static",
        ]

    def test_int8_methods_are_told_apart_and_share_the_other_precisions(self, table, row):
        rows = [
            row("a", 4.0),
            row("a", 1.0, precision="int8", int8_method="qdq"),
            row("a", 2.0, precision="int8", int8_method="modelopt"),
        ]
        found = comparable_groups.parts(table(rows))
        assert [sorted(part.frame["latency_ms"]) for part in found] == [[1.0, 4.0], [2.0, 4.0]]

    def test_methods_without_a_case_in_common_are_not_mixed_either(self, table, row):
        rows = [
            row("a", 1.0, precision="int8", int8_method="qdq"),
            row("b", 2.0, precision="int8", int8_method="modelopt"),
        ]
        found = comparable_groups.parts(table(rows))
        assert [list(part.frame["model"]) for part in found] == [["a"], ["b"]]
        assert [part.method for part in found] == ["INT8 by qdq", "INT8 by modelopt"]
        (together,) = comparable_groups.side_by_side(table(rows))
        by = [comparable_groups.Variant("int8", method) for method in ("qdq", "modelopt")]
        assert comparable_groups.variants(together.frame) == by
        assert set(together.frame["precision"]) == {"int8"}

    def test_an_only_part_needs_no_label(self, table, row):
        assert [part.label for part in comparable_groups.parts(table([row("a", 1.0)]))] == [""]

    def test_reconstructions_and_invalid_rows_stay_out_and_suspect_ones_in(self, table, row):
        rows = [
            row("dapspnet", 1.0),
            row("dapspnet@stride", 1.0),
            row("a", 1.0, verdict="INVALID"),
            row("b", 1.0, verdict="SUSPECT"),
            row("c", 1.0, status="failed"),
        ]
        assert list(comparable_groups.sound(table(rows))["model"]) == ["b"]


class TestResampling:
    def test_the_interval_of_a_mean_is_the_textbook_one(self):
        values = np.random.default_rng(5).normal(10, 2, size=(60, 1))
        mean, low, high = significance.over_networks(values, significance.mean)
        half = 1.96 * values.std() / np.sqrt(60)
        assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.1 * half)

    def test_a_resample_gives_what_its_copies_of_the_networks_would(self):
        values = np.random.default_rng(5).normal(10, 2, size=(7, 3))
        values[2, 1] = values[5] = np.nan
        counts = significance.draws(7)[:, :40]
        picked = [values[np.repeat(np.arange(7), some.astype(int))] for some in counts.T]
        for ours, known in ((significance.median, np.nanmedian), (significance.mean, np.nanmean)):
            assert ours(values, counts) == pytest.approx([known(some) for some in picked])

    def test_networks_are_drawn_whole(self):
        """Copies of a network's cells add rows and no knowledge."""
        values = np.random.default_rng(5).normal(10, 2, size=(20, 1))
        once = significance.over_networks(values, significance.mean)
        assert significance.over_networks(
            np.repeat(values, 9, axis=1), significance.mean
        ) == pytest.approx(once)

    def test_five_networks_bear_no_interval(self):
        assert significance.over_networks(np.ones((5, 4)), significance.mean) == (1.0, None, None)
        assert significance.over_networks(np.ones((6, 4)), significance.mean) == (1.0, 1.0, 1.0)


class TestDependence:
    def test_agrees_with_scipy_with_and_without_equal_values(self):
        left = np.array([1.0, 2, 2, 5, 3, 3, 9, 0])
        right = np.array([2.0, 1, 4, 4, 3, 6, 9, 8])
        rho, drawn = latency_model.rank_correlation(left, right)
        assert rho == pytest.approx(spearmanr(left, right).statistic)
        for counts, found in zip(significance.draws(8).T[:9].astype(int), drawn, strict=False):
            picked = np.repeat(np.arange(8), counts)
            assert found == pytest.approx(spearmanr(left[picked], right[picked]).statistic)

    def test_networks_without_a_count_do_not_count(self, table, row):
        rows = [row(f"n{i}", 1.0 + i, gmacs=1.0 + i) for i in range(9)]
        rows.append(row("onnx:mine.onnx", 99.0, gmacs=None))
        (cell,) = latency_model.dependences(table(rows), "gmacs")
        assert (cell.rho, cell.n) == (pytest.approx(1.0), 9)

    def test_no_spread_no_correlation(self, table, row):
        rows = [row(f"n{i}", 1.0 + i, gmacs=1.0) for i in range(9)]
        (cell,) = latency_model.dependences(table(rows), "gmacs")
        assert (cell.rho, cell.low, cell.n) == (None, None, 9)


class TestSpeedup:
    def test_ratio_worst_case_interval_and_certainty(self, table, row):
        rows = [row("a", 4.0, half=0.1), row("a", 2.0, precision="int8", half=0.1)]
        (gain,) = significance.gains(table(rows), "int8")
        assert gain.ratio == 2.0
        assert (gain.low, gain.high) == pytest.approx((3.6 / 2.2, 4.4 / 1.8))
        assert not gain.slower

    def test_slower_only_for_certain(self, table, row):
        rows = [
            row("a", 1.0, precision="fp16"),
            row("a", 1.5, precision="int8"),
            row("b", 1.0, precision="fp16"),
            row("b", 1.01, precision="int8"),
            row("c", 1.0, precision="fp16"),
        ]
        found = significance.gains(table(rows), "int8", base="fp16")
        assert {one.model: one.slower for one in found} == {"a": True, "b": False}

    def test_nothing_in_common_has_no_summary(self, table, row):
        assert significance.summary(significance.gains(table([row("a", 1.0)]), "int8")) is None


class TestScaling:
    def test_recovers_the_line_and_predicts_any_size(self, grid):
        frame = grid(["a"], lambda i, p, mp: 0.4 + 1.5 * mp, precisions=["fp16"])
        (fit,) = latency_model.fit(frame)
        assert (fit.fixed_ms, fit.ms_per_megapixel) == pytest.approx((0.4, 1.5))
        assert fit.predict(3.0) == pytest.approx(4.9)
        assert fit.fixed_share(0.4 / 1.5) == pytest.approx(0.5)
        assert (len(fit.megapixels), fit.r2) == (4, pytest.approx(1.0))
        assert fit.held_out_error == pytest.approx(0, abs=1e-9)

    def test_a_small_image_counts_as_much_as_a_large_one(self, grid):
        """The largest size is 10 % off the line of the others; they must not pay for it."""
        frame = grid(
            ["a"], lambda i, p, mp: (0.4 + 1.5 * mp) * (1.1 if mp > 8 else 1), precisions=["fp16"]
        )
        (fit,) = latency_model.fit(frame)
        assert fit.largest_error < 0.06

    def test_no_term_is_negative(self, grid):
        frame = grid(["a"], lambda i, p, mp: mp**1.5, precisions=["fp16"])
        (fit,) = latency_model.fit(frame)
        assert fit.fixed_ms == 0 and fit.largest_error > 0.2

    def test_two_sizes_make_no_fit_and_three_no_held_out_error(self, grid):
        two = grid(["a"], lambda i, p, mp: mp, sizes=((480, 640), (768, 1024)))
        three = grid(["a"], lambda i, p, mp: mp, sizes=((480, 640), (768, 1024), (1056, 1920)))
        assert latency_model.fit(two) == ()
        assert {one.held_out_error for one in latency_model.fit(three)} == {None}


class TestRanking:
    def test_ties_are_named_as_ties(self, table, row):
        rows = [row("c", 2.0), row("b", 1.01), row("a", 1.0)]
        found = ranking.fastest(table(rows), "fp32", "640x480")
        assert found.models == ("a", "b")
        assert (found.latency_ms, found.next_ratio, found.n) == (1.0, 2.0, 3)

    def test_a_tie_of_all_has_no_next(self, table, row):
        rows = [row("a", 1.0, half=0.5), row("b", 1.4, half=0.5)]
        assert ranking.fastest(table(rows), "fp32", "640x480").next_ratio is None

    def test_pairs_that_turn_round_are_counted(self, grid):
        frame = grid(["a", "b", "c"], lambda i, p, mp: [1 + mp, 0.5 + 2 * mp, 20 + mp][i])
        found = ranking.swaps(frame, "fp32")
        assert (found.turned, found.certain, found.share) == (1, 3, 1 / 3)
        assert found.networks == 3 and found.low is None

    def test_one_size_has_no_order_to_change(self, table, row):
        assert ranking.swaps(table([row("a", 1.0)]), "fp32") is None


def front(frame, task):
    rows = frame[(frame["task"] == task) & frame["accuracy"].notna()]
    return tuple(rows[ranking.undominated(rows)].sort_values("latency_ms")["model"])


class TestPareto:
    def _rows(self, row, half=0.005):
        known = {"accuracy_metric": "ImageNet top-1", "half": half}
        return [
            row("fast", 1.0, accuracy=60.0, **known),
            row("good", 2.0, accuracy=75.0, **known),
            row("beaten", 2.1, accuracy=70.0, **known),
            row("unknown", 0.5),
            row("seg", 0.1, task="segmentation", accuracy=70.0, accuracy_metric="Cityscapes mIoU"),
        ]

    def test_the_front_of_a_task(self, table, row):
        assert front(table(self._rows(row)), "classification") == ("fast", "good")
        assert front(table(self._rows(row)), "segmentation") == ("seg",)

    def test_nobody_is_beaten_while_intervals_overlap(self, table, row):
        rows = table(self._rows(row, half=0.05))
        assert front(rows, "classification") == ("fast", "good", "beaten")

    def test_equal_accuracy_and_certainly_slower_is_beaten(self, table, row):
        rows = [row("a", 1.0, accuracy=70.0), row("b", 2.0, accuracy=70.0)]
        assert front(table(rows), "classification") == ("a",)

    def test_a_network_timed_without_its_classifier_neither_leads_nor_beats(self, table, row):
        known = {"accuracy_metric": "ImageNet top-1"}
        rows = table([row("vgg16_bn", 0.5, accuracy=90.0, **known), *self._rows(row)])
        assert front(rows, "classification") == ("fast", "good")
        of_accuracy = ranking.choose(rows, metric="ImageNet top-1")
        assert list(of_accuracy["model"]) == ["fast", "good", "beaten"]
        assert "vgg16_bn" in set(ranking.choose(rows)["model"])  # only time was asked for

    def test_two_sizes_in_one_choice_are_refused(self, table, row):
        rows = [row("a", 1.0, accuracy=70.0), row("a", 2.0, accuracy=70.0, width=1024)]
        with pytest.raises(InputError, match="one precision and size"):
            ranking.choose(table(rows))

    def test_the_fastest_under_the_terms(self, table, row):
        rows = table(self._rows(row))
        found = ranking.choose(rows, least_accuracy=65, metric="ImageNet top-1")
        assert list(zip(found["model"], found["tied"], strict=True)) == [
            *(("good", True), ("beaten", False))
        ]
        assert list(ranking.choose(rows)["model"]) == ["seg", "unknown", "fast", "good", "beaten"]
        assert ranking.choose(rows, least_accuracy=99, metric="ImageNet top-1").empty

    def test_accuracies_of_two_metrics_are_not_ranked_together(self, table, row):
        with pytest.raises(InputError, match="name one"):
            ranking.choose(table(self._rows(row)), least_accuracy=65)
