"""A set beside others: the same card timed again, another card, with answers known beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchlib.analysis.claims import catalogue
from benchlib.analysis.claims.catalogue import Answer
from benchlib.analysis.claims.findings import lines, of

NAMES = [f"n{place}" for place in range(10)]


def told(found, claim, subset):
    return next(one for one in found if one.claim == claim and one.subset.endswith(subset))


@pytest.fixture
def pair(measured, row):
    """Two sets of ten networks at FP16: ``factors`` are the second's times over the first's."""

    def make(factors, **other):
        first = [row(name, 1.0 + place, precision="fp16") for place, name in enumerate(NAMES)]
        second = [
            {**one, "latency_ms": one["latency_ms"] * factor}
            | {
                f"latency_ci_{end}_ms": one[f"latency_ci_{end}_ms"] * factor
                for end in ("low", "high")
            }
            | other
            for one, factor in zip(first, factors, strict=True)
        ]
        return measured(first, "first"), measured(second, "second")

    return make


class TestTheSameCard:
    def test_times_that_agree_and_the_cell_that_does_not(self, pair):
        factors = [1.0] * 9 + [1 / 1.05]
        found = of(*(lambda one, other: (one, [other]))(*pair(factors, engine="tensorrt_python")))
        one = told(found, catalogue.SAME_TIME, "trtexec beside tensorrt_python: all")
        assert one.estimate == pytest.approx(1.05**0.1)
        assert one.ci_low < one.estimate < one.ci_high < 1.015
        assert (one.n, one.verdict) == (10, Answer.PARTLY)
        assert "5.0 % at most (FP16 640×480 n9). In 1 the times are more than 3 % apart" in (
            one.sentence
        )
        spread = told(found, catalogue.SAME_TIME, "spread")
        assert spread.estimate == pytest.approx(np.log(1.05) / np.sqrt(10))
        assert told(found, catalogue.SAME_TIME, "n9").verdict is Answer.REFUTED
        assert told(found, catalogue.SAME_TIME, "n0").verdict is Answer.SUPPORTED
        first, second = pair([1.0] * 9 + [1 / 1.029])
        assert told(of(first, [second]), catalogue.SAME_TIME, "all").verdict is Answer.SUPPORTED

    def test_cells_of_other_graphs_say_nothing_of_the_programs(self, pair):
        first, second = pair([1.0] * 9 + [1 / 1.2])
        nodes = [122 if name == "n9" else 40 for name in NAMES]
        first = replace(first, frame=first.frame.assign(graph_layers=40))
        second = replace(second, frame=second.frame.assign(graph_layers=nodes))
        one = told(of(first, [second]), catalogue.SAME_TIME, "all")
        assert (one.estimate, one.n, one.verdict) == (1.0, 9, Answer.SUPPORTED)
        assert one.sentence.endswith("Left out: 1 cell with graphs of other numbers of nodes.")
        alone = (replace(each, frame=each.frame[9:]) for each in (first, second))
        none = told(of(next(alone), [next(alone)]), catalogue.SAME_TIME, "all")
        assert (none.n, none.verdict) == (0, Answer.CANT_TELL)
        assert none.sentence == "Not to be told: no cell of one graph was measured for both."

    def test_a_shift_of_all_times_refutes_it_and_five_networks_cannot(self, pair):
        first, second = pair([1.1] * 10)
        assert told(of(first, [second]), catalogue.SAME_TIME, "all").verdict is Answer.REFUTED
        few = replace(first, frame=first.frame[:5])
        one = told(of(few, [second]), catalogue.SAME_TIME, "first beside second: all")
        assert (one.verdict, one.n) == (Answer.CANT_TELL, 5)


class TestAnotherCard:
    def test_one_factor_keeps_the_order(self, pair):
        first, second = pair([2.0] * 10, device="Another GPU")
        found = of(first, [second])
        order = told(found, catalogue.SAME_ORDER, "Invented GPU beside Another GPU: all")
        assert (order.estimate, order.n, order.verdict) == (1.0, 10, Answer.SUPPORTED)
        factor = told(found, catalogue.SAME_FACTOR, "all")
        assert (factor.estimate, factor.ci_low, factor.ci_high) == pytest.approx((0.5, 0.5, 0.5))
        assert factor.verdict is Answer.SUPPORTED

    def test_another_graph_is_said_beside_the_card(self, pair):
        first, second = pair([2.0] * 10, device="Another GPU")
        first = replace(first, frame=first.frame.assign(graph_layers=40))
        second = replace(second, frame=second.frame.assign(graph_layers=[41] + [40] * 9))
        found = of(first, [second])
        for claim in (catalogue.SAME_FACTOR, catalogue.SAME_ORDER):
            sentence = told(found, claim, ": all").sentence
            assert sentence.endswith(". Besides the cards: graphs of other numbers of nodes.")

    def test_a_network_that_moves_is_named(self, pair):
        first, second = pair([20.0] + [2.0] * 9, device="Another GPU")
        found = of(first, [second])
        cell = told(found, catalogue.SAME_ORDER, "FP16 640×480")
        assert cell.estimate == pytest.approx(1 - 6 * (8.5**2 + 8 + 0.25) / 990, abs=0.02)
        # It shares place 9 with n9, which takes as long
        assert "places on Invented GPU and on Another GPU: n0 1 and 9" in cell.sentence
        factor = told(found, catalogue.SAME_FACTOR, "all")
        assert factor.verdict is not Answer.SUPPORTED
        assert "from 0.05 (n0) to 0.50" in factor.sentence.replace("0.050", "0.05")
        assert told(found, catalogue.SAME_FACTOR, "n0").verdict is Answer.REFUTED

    def test_networks_are_held_against_each_other_in_the_same_cells(self, measured, row):
        """INT8 takes twice as long beside FP16 for all alike, and n9 was timed at INT8 alone."""
        first, second = (
            measured(
                [
                    row(name, (1.0 + place) * factor, precision=precision, device=device)
                    for precision, factor in factors.items()
                    for place, name in enumerate(NAMES)
                    if precision == "int8" or name != "n9"
                ],
                device,
            )
            for device, factors in {
                "GPU a": {"fp16": 1.0, "int8": 1.0},
                "GPU b": {"fp16": 4.0, "int8": 2.0},
            }.items()
        )
        one = told(of(first, [second]), catalogue.SAME_FACTOR, ": all")
        mean = np.exp((9 * np.log(0.25) + 10 * np.log(0.5)) / 19)
        assert (one.n, one.verdict) == (19, Answer.SUPPORTED)
        assert one.estimate == pytest.approx(mean)
        assert f"from {mean:.2f} (n" in one.sentence and f"to {mean:.2f} (n" in one.sentence

    def test_a_tie_is_one_place(self):
        here, there = np.array([3.0, 1.0, 2.0, 4.0]), np.array([1.0, 2.0, 2.0, 2.0])
        assert catalogue.movers(["a", "b", "c", "d"], here, there, ("here", "there")) == (
            "places here and there: a 3 and 1 and b 1 and 2"
        )

    def test_the_headline_is_of_the_set_that_it_can_be_told_beside(self, pair):
        first, second = pair([2.0] * 10, device="Another GPU")
        few = replace(second, frame=second.frame[:3].assign(device="A third GPU"))
        for beside in ([few, second], [second, few]):
            found = [one for one in of(first, beside) if one.claim == catalogue.SAME_ORDER]
            assert found[0].verdict is Answer.SUPPORTED
        assert any("and 10 single cells" in line for line in lines(of(first, [second])))

    def test_the_headline_is_of_all_sets_that_it_can_be_told_beside(self, pair):
        first, alike = pair([2.0] * 10, device="Another GPU")
        _, unlike = pair([*([1.0, 4.0] * 5)], device="A third GPU")
        for beside in ([alike, unlike], [unlike, alike]):
            found = [one for one in of(first, beside) if one.claim == catalogue.SAME_FACTOR]
            assert (found[0].subset, found[0].n, found[0].verdict) == ("all", 20, Answer.PARTLY)
            assert found[0].sentence.count(" times as long as A") == 2
            assert {one.verdict for one in found[1:] if one.subset.endswith(": all")} == {
                Answer.SUPPORTED,
                Answer.REFUTED,
            }
        (both, *_) = (
            one for one in of(first, [alike, alike]) if one.claim == catalogue.SAME_FACTOR
        )
        assert both.verdict is Answer.SUPPORTED

    def test_the_blogs_figures_are_met_by_one_row_a_cell(self, measured, row, published):
        """Its INT8 had made-up ranges; where we have few of these, our own method is taken."""
        names = sorted(published.frame["model"].unique())[:9]
        rows = [
            row(name, 1.0 + place, precision="int8", int8_method=method, key=f"{name} {method}")
            for place, name in enumerate(names)
            for method in ("qdq", "made-up ranges")[: 1 + (place < 2)]
        ]
        rows.append({**rows[0], "shape_mode": "blog", "key": "other", "latency_ms": 9.0})
        found = of(measured(rows), [published])
        one = told(found, catalogue.SAME_FACTOR, "RTX 3090: all")
        assert one.n == 9 and "INT8 by qdq, not with made-up ranges" in one.sentence
        assert told(found, catalogue.SAME_ORDER, "RTX 3090: all").n == 9
        turned = told(of(published, [measured(rows)]), catalogue.SAME_FACTOR, "Invented GPU: all")
        assert (turned.n, turned.estimate) == (9, pytest.approx(1 / one.estimate))
