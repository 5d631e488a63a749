"""Which network to take, the power limit and energy, on tables with answers known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from benchlib.analysis.claims import catalogue
from benchlib.analysis.claims.catalogue import Answer
from benchlib.analysis.claims.findings import findings, of
from benchlib.measure.record import Detail
from benchlib.models import registry

NAMES = [f"n{place}" for place in range(9)]


def told(found, claim, subset):
    return next(one for one in found if (one.claim, one.subset) == (claim, subset))


class TestFastest:
    def test_the_one_to_take_everywhere_and_what_it_costs(self, grid):
        """n0 leads on the two small images, n1 on the two large ones; n0 costs the least."""
        frame = grid(
            NAMES[:4],
            lambda i, p, mp: [1 + mp, 1.6 + 0.8 * mp, 4 + 4 * mp, 5 + 5 * mp][i],
            precisions=["fp16"],
        )
        found = findings(frame)
        all_sizes = told(found, catalogue.FASTEST, "classification, all")
        ratios = [1.0, 1.0, 1.0, (1 + 8.23296) / 8.186368]
        assert all_sizes.estimate == pytest.approx(np.exp(np.mean(np.log(np.maximum(ratios, 1)))))
        assert all_sizes.ci_low < all_sizes.estimate < all_sizes.ci_high
        assert all_sizes.verdict is Answer.PARTLY
        assert "FP16 n0 from 640×480 to 1920×1056, n1 at 3840×2144" in all_sizes.sentence
        last = told(found, catalogue.FASTEST, "classification, FP16 3840×2144")
        assert (last.verdict, last.n) == (Answer.REFUTED, 4)
        assert last.estimate == pytest.approx(9.23296 / 8.186368)
        assert last.ci_low < last.estimate < last.ci_high
        assert "n1 is the fastest of 4 (8.19 ms); next is n0 at 1.13×" in last.sentence

    def test_a_winner_that_was_not_timed_in_every_cell_is_named(self, grid):
        """n0 might have been the fastest of the largest image too."""
        frame = grid(NAMES[:4], lambda i, p, mp: 1.0 + i + mp, precisions=["fp16"])
        whole = told(findings(frame), catalogue.FASTEST, "classification, all").sentence
        assert "not timed in every cell" not in whole
        without = frame[(frame["model"] != "n0") | (frame["width"] < 3840)]
        one = told(findings(without), catalogue.FASTEST, "classification, all").sentence
        assert "FP16 n0 from 640×480 to 1920×1056, n1 at 3840×2144; " in one
        assert one.endswith(" Winners not timed in every cell: n0 (3 of 4).")

    def test_a_tie_is_named_and_does_not_break_the_claim(self, table, row):
        rows = [row("a", 1.0), row("b", 1.01), row("c", 2.0)]
        (_, headline, cell) = (
            one for one in findings(table(rows)) if one.claim == catalogue.FASTEST
        )
        assert headline.verdict is Answer.SUPPORTED and "a and b" in headline.sentence
        assert "tied with b; next is c at 2.00×" in cell.sentence

    def test_tasks_are_not_raced_against_each_other(self, table, row):
        rows = [row(name, 1.0 + place) for place, name in enumerate("abc")]
        rows += [row(name, 0.1, task="segmentation") for name in "de"]
        found = [one for one in findings(table(rows)) if one.claim == catalogue.FASTEST]
        assert found[0].n == 1 and "d" not in found[0].sentence.split()
        few = findings(table(rows[:2]))
        assert told(few, catalogue.FASTEST, "all").verdict is Answer.CANT_TELL


TOP1 = {"accuracy_metric": "ImageNet top-1"}


class TestNewer:
    """Networks of the line-up with invented times: the blog's, and mobilenetv4_conv_small (s),
    mobilenetv4_conv_medium (m) of 2024; regnetx_004 of 2020 belongs to neither."""

    OLD = (
        ("resnet18", 1.0, 70.0),  # s is as accurate and 1.25 times as fast
        ("mnasnet1_0", 1.2, 74.0),  # s has exactly its accuracy
        ("mnasnet1_3", 0.805, 72.0),  # within 3 % of s: neither is faster
        ("resnet34", 1.6, 75.0),  # m is slower, s less accurate
        ("resnet50", 4.0, 76.0),  # m is as accurate and twice as fast
        ("shufflenet_v2_x1_5", 3.0, 90.0),  # nothing newer is as accurate
        ("vgg16_bn", 0.5, 71.0),  # faster than s, but without its classifier
        ("vgg11_bn", 1.0, 71.0),  # slower than s even without it
        ("fast_scnn_blog", 0.4, None),
        ("regnetx_004", 0.1, 99.0),
    )
    NEW = (("mobilenetv4_conv_small", 0.8, 74.0), ("mobilenetv4_conv_medium", 2.0, 76.0))

    def _found(self, row, table, old=OLD, **other):
        rows = [
            row(
                *(name, ms),
                accuracy=accuracy,
                accuracy_metric="Cityscapes mIoU" if name == "fassdnet_l2" else "ImageNet top-1",
                **other,
            )
            for name, ms, accuracy in (*old, *self.NEW)
        ]
        return findings(table(rows))

    def test_each_is_beside_the_fastest_newer_one_of_at_least_its_accuracy(self, row, table):
        found = self._found(row, table)
        answers = {
            name: told(found, catalogue.NEWER, f"FP32 640×480 {name}").verdict
            for name, _, _ in (*self.OLD[:-1], *self.NEW)
        }
        assert answers == {
            "resnet18": Answer.SUPPORTED,
            "mnasnet1_0": Answer.SUPPORTED,
            "mnasnet1_3": Answer.CANT_TELL,
            "resnet34": Answer.REFUTED,
            "resnet50": Answer.SUPPORTED,
            "shufflenet_v2_x1_5": Answer.CANT_TELL,
            "vgg16_bn": Answer.CANT_TELL,
            "vgg11_bn": Answer.SUPPORTED,
            "fast_scnn_blog": Answer.CANT_TELL,
            "mobilenetv4_conv_small": Answer.SUPPORTED,
            "mobilenetv4_conv_medium": Answer.SUPPORTED,
        }
        one = told(found, catalogue.NEWER, "FP32 640×480 resnet18")
        assert one.estimate == pytest.approx(1.25)
        assert (one.ci_low, one.ci_high) == pytest.approx((0.995 / 0.804, 1.005 / 0.796))
        assert "resnet18 takes 1.000 ms and has 70.0 %, mobilenetv4_conv_small takes 0.800" in (
            one.sentence
        )
        assert all("regnetx_004" not in one.subset for one in found)

    def test_they_are_counted_and_named(self, row, table):
        one = told(self._found(row, table), catalogue.NEWER, "all")
        # Of eight with an accuracy shufflenet has no rival; four of the seven others are beaten
        assert (one.estimate, one.n, one.verdict) == (4 / 7, 7, Answer.PARTLY)
        assert 0 <= one.ci_low < 4 / 7 < one.ci_high <= 1
        assert (
            "in 4 of 7 cells (1.25 to 2.00× as fast): always than mnasnet1_0 (1 of 1), resnet18 "
            "(1 of 1), resnet50 (1 of 1) and vgg11_bn (1 of 1); never than mnasnet1_3 (0 of 1), "
            "resnet34 (0 of 1) and vgg16_bn (0 of 1). One of the blog's is faster than the newer "
            "in 0 of 2 cells: never than"
        ) in one.sentence
        assert (
            "Left out, as no ImageNet top-1 of theirs is known: fast_scnn_blog. Accuracies are"
        ) in one.sentence
        assert "of the newer ones was timed" not in one.sentence
        assert "Accuracies are published" in one.sentence

    def test_where_one_newer_network_alone_was_timed_it_is_named(self, row, table):
        """The slow one is all there is at FP16, so that resnet18 is not beaten there."""
        models = {"resnet18": (1.0, 70.0), "vit_small_patch16_224": (3.0, 81.0)}
        rows = [
            row(name, ms, accuracy=top, precision=precision, **TOP1)
            for precision in ("fp32", "fp16")
            for name, (ms, top) in models.items()
        ]
        lone = told(findings(table(rows)), catalogue.NEWER, "all")
        assert "of the newer ones was timed" not in lone.sentence
        rows.append(row("mobilenetv4_conv_small", 0.5, accuracy=74.0, **TOP1))
        slow = ("vgg11_bn", "vgg13_bn", "vgg16_bn", "resnet34", "mnasnet1_0")
        rows += [row(name, 9.0, accuracy=70.0, **TOP1) for name in slow]
        one = told(findings(table(rows)), catalogue.NEWER, "all")
        # Of FP32 alone, where the fast one beats resnet18 and the five
        assert (one.estimate, one.n) == (1, 6)
        assert "in 6 of 6 cells" in one.sentence
        assert "0 of 1 cell " not in one.sentence
        assert (
            "Not counted: at FP16 640×480 only vit_small_patch16_224 of the newer ones was timed, "
            "and is faster in 0 of 1 cell."
        ) in one.sentence

    def test_sizes_are_counted(self, row, table):
        top1 = {"resnet18": 70.0, "mobilenetv4_conv_small": 74.0, "fast_scnn_blog": None}

        def rows(ms, **size):
            rated = zip(top1.items(), ms, strict=True)
            return [row(name, one, accuracy=top, **TOP1, **size) for (name, top), one in rated]

        small = rows((1.0, 0.8, 0.4))
        large = rows((2.0, 4.0, 1.0), width=1024, height=768)
        alike = [row(f"vgg{i}_bn", 9.0, accuracy=70.0, **TOP1) for i in (11, 13, 16)]
        one = told(findings(table([*small, *large, *alike])), catalogue.NEWER, "all")
        assert "at times than resnet18 (1 of 2)" in one.sentence

    def test_the_reverse_is_counted_too(self, row, table):
        old = (
            ("resnet18", 0.4, 75.0),
            ("mnasnet1_0", 1.0, 70.0),
            ("vgg16_bn", 0.1, 90.0),  # its accuracy takes longer than its row
            ("fassdnet_l2", 0.1, 78.0),  # of another metric
        )
        one = told(self._found(row, table, old), catalogue.NEWER, "all")
        assert (one.estimate, one.ci_low, one.verdict) == (0.5, None, Answer.PARTLY)
        assert "in 1 of 1 cell (2.00× as fast): always than mobilenetv4_conv_small" in (
            one.sentence
        )

    @pytest.mark.parametrize(("count", "answer"), [(5, Answer.CANT_TELL), (6, Answer.SUPPORTED)])
    def test_that_all_are_beaten_takes_many(self, row, table, count, answer):
        old = [(name, 9.0, 70.0) for name in registry.BLOG[3 : 3 + count]]
        one = told(self._found(row, table, old), catalogue.NEWER, "all")
        assert (one.verdict, one.n) == (answer, count)

    def test_nothing_is_told_without_an_accuracy_to_compare(self, row, table):
        made_up = self._found(row, table, precision="int8", int8_method="made-up ranges")
        alone = findings(table([row("resnet18", 1.0, accuracy=70.0, **TOP1)]))
        segments = [row("fassdnet_l2", 1.0, accuracy=70.0, accuracy_metric="Cityscapes mIoU")]
        segments += [row("mobilenetv4_conv_small", 0.5, accuracy=74.0, **TOP1)]
        for found in (made_up, alone, findings(table(segments))):
            assert all(one.claim != catalogue.NEWER for one in found)


class TestFronts:
    def _rows(self, row):
        """a, b, c and d lead by time; by energy b costs more than c, and e, the slowest, least of
        all but a."""
        figures = {
            "a": (1.0, 60.0, 10.0),
            "b": (2.0, 70.0, 50.0),
            "c": (3.0, 71.0, 40.0),
            "d": (4.0, 80.0, 80.0),
            "e": (5.0, 75.0, 30.0),
            "f": (6.0, 59.0, 10.4),  # slower and less accurate; its energy is a's within 7 %
        }
        return [
            row(name, ms, accuracy=accuracy, energy_mj=mj, **TOP1)
            for name, (ms, accuracy, mj) in figures.items()
        ]

    def test_who_is_on_which_front_with_figures(self, row, table):
        found = findings(table(self._rows(row)))
        cell = told(found, catalogue.FRONTS, "FP32 640×480, ImageNet top-1")
        assert (cell.estimate, cell.n, cell.verdict) == (2 / 6, 6, Answer.REFUTED)
        assert cell.sentence == (
            "On both a (60.0 %, 1.000 ms, 10.0 mJ) and d (80.0 %, 4.000 ms, 80.0 mJ); by time "
            "only b (70.0 %, 2.000 ms, 50.0 mJ) and c (71.0 %, 3.000 ms, 40.0 mJ); by energy only "
            "e (75.0 %, 5.000 ms, 30.0 mJ) and f (59.0 %, 6.000 ms, 10.4 mJ)."
        )
        ms, mj = (
            [one for one in found if one.subset == f"FP32 640×480, ImageNet top-1 {name}"]
            for name in "be"
        )
        assert [(one.verdict, one.ci_low, one.estimate, one.ci_high) for one in ms] == [
            (Answer.REFUTED, 1.99, 2.0, pytest.approx(2.01))
        ]
        assert [(one.estimate, one.ci_low, one.ci_high) for one in mj] == [(30.0, 28.5, 31.5)]
        assert "mJ" in mj[0].test and "ms" in ms[0].test

    def test_times_and_energies_that_a_rebuild_may_turn_round_are_on_both_fronts(self, row, table):
        """d, more accurate than e, and g, less, take 2.5 % more time and 5 to 6 % more energy."""
        figures = {"d": (4.1, 80.0, 85.0), "e": (4.0, 75.0, 80.0)}
        rows = [one for one in self._rows(row) if one["model"] not in "de"]
        rows += [
            row(name, ms, accuracy=accuracy, energy_mj=mj, half=0.001, **TOP1)
            for name, (ms, accuracy, mj) in figures.items()
        ]
        rows += [row("g", 4.1, accuracy=74.0, energy_mj=84.0, half=0.001, **TOP1)]
        found = findings(table(rows))
        cell = told(found, catalogue.FRONTS, "FP32 640×480, ImageNet top-1")
        both = cell.sentence.partition(";")[0]
        assert all(f" {name} (" in both for name in "deg")
        assert "within 3 % of each other count as equal, and energies within 7 %" in (
            told(found, catalogue.FRONTS, "all").sentence
        )

    def test_one_front_by_both_takes_many_networks(self, row, table):
        def answer(count):
            rows = [
                row(f"n{i}", 1.0 + i, accuracy=60.0 + i, energy_mj=9.0 + i, **TOP1)
                for i in range(count)
            ]
            return [one.verdict for one in findings(table(rows)) if one.claim == catalogue.FRONTS]

        assert answer(6)[0] is Answer.SUPPORTED and answer(5)[0] is Answer.CANT_TELL
        assert answer(2) == []

    def test_cells_are_counted_and_no_energy_says_nothing(self, row, table):
        rows = [
            *self._rows(row),
            *({**one, "width": 1024, "height": 768} for one in self._rows(row)),
        ]
        one = told(findings(table(rows)), catalogue.FRONTS, "all")
        assert "are the same in 0 of 2 cells; on both a in 2 and d in 2; by time only b" in (
            one.sentence
        )
        assert "Most are compared at FP32 640×480, ImageNet top-1, 6 networks: On both a (60.0" in (
            one.sentence
        )
        plain = table([{**one, "energy_mj": None} for one in rows])
        assert all(one.claim != catalogue.FRONTS for one in findings(plain))


PHONE_MS = {
    line["network"]: float(line["latency_ms"])
    for line in registry.published_latencies()
    if line["device"] == "iPhone 13"
}


class TestPhones:
    def _headline(self, row, table, ms, names):
        rows = [row(name, ms(time)) for name, time in PHONE_MS.items() if name in names]
        found = [one for one in findings(table(rows)) if one.claim == catalogue.PHONE]
        return found[0] if found else None

    def test_the_phone_with_the_most_networks_decides(self, row, table):
        names = set(PHONE_MS)
        same = self._headline(row, table, lambda time: 1 + time, names)
        assert same.subset == "iPhone 13: all" and same.n == len(names) >= 12
        assert same.estimate > 0.9 and same.verdict in (Answer.SUPPORTED, Answer.PARTLY)
        turned = self._headline(row, table, lambda time: 1 / time, names)
        assert turned.verdict is Answer.REFUTED and turned.estimate < -0.9
        assert "networks on the iPhone 13, as published, and here go together" in same.sentence
        assert same.sentence.endswith("at FP32 640×480 no network moves by 2 places or more.")
        slowest = max(PHONE_MS, key=PHONE_MS.__getitem__)
        assert f"places here and on the phone: {slowest} 1 and {len(names)}" in turned.sentence

    def test_two_sources_of_one_network_count_as_their_mean(self, row, table):
        """mobileone_s0 is 0.5 ms in one and 0.7 ms in the other: 0.592 ms."""
        one = self._headline(
            row, table, lambda time: time, {"mobileone_s0", "efficientvit_b1", "efficientnet_b0"}
        )
        assert one.verdict is Answer.CANT_TELL and one.n == 3
        assert "mobileone_s0 0.59 and" in one.sentence and "it takes 8" in one.sentence

    def test_old_networks_alone_are_not_set_beside_a_phone(self, row, table):
        old = {"mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0"}
        assert self._headline(row, table, lambda time: time, old) is None


class TestPowerLimit:
    def test_who_runs_at_it_and_from_which_size(self, grid):
        def extra(index, megapixels):
            limited = (
                index == 0
                or (index == 1 and megapixels > 1)
                or (index, megapixels < 0.4)
                == (
                    2,
                    True,
                )
            )
            return {"limited_by": "power" if limited else "none", "power_w": 100.0 + 590 * limited}

        frame = grid(NAMES[:6], lambda i, p, mp: 1 + i + mp, precisions=["fp16"], extra=extra)
        one = told(findings(frame), catalogue.POWER, "all")
        assert (one.estimate, one.n, one.verdict) == (pytest.approx(7 / 24), 24, Answer.PARTLY)
        assert 0 <= one.ci_low < 7 / 24 < one.ci_high
        assert "n0 at every size measured, n1 from 1920×1056 up and n2 at 640×480" in one.sentence
        assert "690 W" in one.sentence

    def test_none_at_it_takes_many_networks_and_an_unknown_limit_says_nothing(self, grid):
        def sets(count, limit):
            return findings(
                grid(
                    NAMES[:count],
                    lambda i, p, mp: 1 + i + mp,
                    extra=lambda i, mp: {"limited_by": limit},
                )
            )

        assert told(sets(6, "none"), catalogue.POWER, "all").verdict is Answer.SUPPORTED
        assert told(sets(5, "none"), catalogue.POWER, "all").verdict is Answer.CANT_TELL
        assert all(one.claim != catalogue.POWER for one in sets(6, None))


class TestEnergy:
    def test_the_fastest_and_the_thriftiest_are_told_beside_each_other(self, grid):
        """All take energy by time but n0, the fastest, whose card draws ten times the power."""
        frame = grid(
            NAMES,
            lambda i, p, mp: 1 + i + mp,
            precisions=["fp16"],
            sizes=((480, 640),),
            extra=lambda i, mp: {"energy_mj": (1 + i + mp) * (700 if i == 0 else 70)},
        )
        found = findings(frame)
        cell = told(found, catalogue.ENERGY, "FP16 640×480")
        assert cell.n == 9 and 0 < cell.estimate < 1
        assert "n0 is the fastest with 1.31 ms and takes 915 mJ; n1 takes 162 mJ" in cell.sentence
        headline = told(found, catalogue.ENERGY, "all")
        assert "from 70.0 W" in headline.sentence
        assert "to 700 W (n0 FP16 640×480)" in headline.sentence
        # Nine networks are 36 pairs; n0 takes 915 mJ, and n8, the slowest, 652
        assert (
            "In 8 of 36 pairs (22 %) the faster takes more energy, by over 7 %."
            in headline.sentence
        )

    @pytest.mark.parametrize(("powers", "answer"), [({}, "supported"), ({7: 500}, "partly")])
    def test_that_it_holds_takes_an_order_that_is_kept(self, grid, powers, answer):
        """Where one network draws seven times the power, time tells energy, but not every one."""
        frame = grid(
            [f"n{i:02}" for i in range(14)],
            lambda i, p, mp: 1.0 + i,
            precisions=["fp16"],
            sizes=((480, 640),),
            extra=lambda i, mp: {"energy_mj": (1.0 + i) * powers.get(i, 70)},
        )
        one = told(findings(frame), catalogue.ENERGY, "FP16 640×480")
        assert one.verdict.value == answer
        assert one.ci_low > 0

    def test_the_power_is_that_of_the_throughput(self, grid):
        """The host left the card waiting half of the time: 70 mJ an image at 500 images/s."""
        extra = {"energy_mj": 70.0, "throughput_img_s": 500.0}
        frame = grid(
            NAMES,
            lambda i, p, mp: 1.0 + i / 100,
            precisions=["fp16"],
            sizes=((480, 640),),
            extra=lambda i, mp: extra,
        )
        said = told(findings(frame), catalogue.ENERGY, "all").sentence
        assert "from 35.0 W" in said and "to 35.0 W" in said


def test_why_int8_is_slower_is_told_from_layers_and_profile(measured, row):
    rows = [
        row("a", 1.0, precision="fp16", key="fp16"),
        row("a", 1.5, precision="int8", key="int8", int8_method="qdq"),
    ]
    one = measured(rows)

    def why(fp16: dict, int8: dict, **types: int) -> str:
        for key, shares in (("fp16", fp16), ("int8", int8)):
            detail = {"shares": shares, "layer_types": types}
            one.details[key] = Detail.model_validate(detail)
        cell = told(of(one), catalogue.INT8_FP16, "a 640×480")
        assert (cell.estimate, cell.n) == (pytest.approx(1.5), 1)
        return cell.sentence

    before = {"layers": {"fp16": 1.0}, "time": {"moving": 0.1, "fp16": 0.9}}
    layers = {"int8": 0.7, "fp32": 0.3}
    time = {"moving": 0.4, "int8": 0.04, "fp32": 0.56}
    timed = why(before, {"layers": layers, "time": time})
    assert timed.endswith(
        "; moving data +0.500 ms, computing +0.000 ms: of a profiled run's time 40 % is moving and "
        "converting (at FP16 10 %), 4.0 % layers in INT8, 56 % in FP32."
    )
    note = " Moving and computing are by the shares of a profiled run."
    assert told(of(one), catalogue.INT8_FP16, "all").sentence.endswith(
        f"computing +0.000 ms).{note}"
    )
    fused = why(before, {"layers": layers, "time": time}, Myelin=1, CaskConvolution=2)
    assert fused.endswith(
        "56 % in FP32; a Myelin layer, many nodes in one, is counted by its output's type."
    )
    alone = why({"layers": {"fp16": 1.0}}, {"layers": layers, "time": time})
    assert "; of a profiled run's time 40 % is moving and converting, 4.0 % layers" in alone
    counted = why(before, {"layers": layers})
    assert counted.endswith("; 70 % of its layers run in INT8, 30 % in FP32.")
    assert note not in told(of(one), catalogue.INT8_FP16, "all").sentence
    unexplained = told(findings(one.frame), catalogue.INT8_FP16, "a 640×480")
    assert "why is not known" in unexplained.sentence
