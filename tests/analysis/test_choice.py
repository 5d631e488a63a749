"""Which network to take, the power limit and energy, on tables with answers known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from benchlib.analysis.claims import catalogue
from benchlib.analysis.claims.catalogue import Answer
from benchlib.analysis.claims.findings import findings, of
from benchlib.measure.record import Detail

NAMES = [f"n{place}" for place in range(9)]


def told(found, claim, subset):
    return next(one for one in found if (one.claim, one.subset) == (claim, subset))


class TestFastest:
    def test_the_one_to_take_everywhere_and_what_it_costs(self, grid):
        """n0 leads on the two small images, n1 on the two large ones; n0 costs the least."""
        frame = grid(
            NAMES[:4],
            lambda i, p, mp: [1 + mp, 1.5 + 0.8 * mp, 4 + 4 * mp, 5 + 5 * mp][i],
            precisions=["fp16"],
        )
        found = findings(frame)
        all_sizes = told(found, catalogue.FASTEST, "classification, all")
        ratios = [1.0, 1.0, (1 + 2.02752) / (1.5 + 0.8 * 2.02752), (1 + 8.23296) / 8.086368]
        assert all_sizes.estimate == pytest.approx(np.exp(np.mean(np.log(np.maximum(ratios, 1)))))
        assert all_sizes.ci_low < all_sizes.estimate < all_sizes.ci_high
        assert all_sizes.verdict is Answer.PARTLY
        assert "FP16 n0 from 640×480 to 1920×1056, n1 at 3840×2144" in all_sizes.sentence
        last = told(found, catalogue.FASTEST, "classification, FP16 3840×2144")
        assert (last.verdict, last.n) == (Answer.REFUTED, 4)
        assert last.estimate == pytest.approx(9.23296 / 8.086368)
        assert last.ci_low < last.estimate < last.ci_high
        assert "n1 is the fastest of 4 (8.09 ms); next is n0 at 1.14×" in last.sentence

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
        said = told(found, catalogue.ENERGY, "all").sentence
        assert "from 70.0 W" in said and "to 700 W (n0 FP16 640×480)" in said


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
    fused = why(before, {"layers": layers, "time": time}, Myelin=1, CaskConvolution=2)
    assert fused.endswith(
        "56 % in FP32; a Myelin layer, many nodes in one, is counted by its output's type."
    )
    alone = why({"layers": {"fp16": 1.0}}, {"layers": layers, "time": time})
    assert "; of a profiled run's time 40 % is moving and converting, 4.0 % layers" in alone
    counted = why(before, {"layers": layers})
    assert counted.endswith("; 70 % of its layers run in INT8, 30 % in FP32.")
    unexplained = told(findings(one.frame), catalogue.INT8_FP16, "a 640×480")
    assert "why is not known" in unexplained.sentence
