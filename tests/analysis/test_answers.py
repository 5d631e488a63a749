"""Every claim on invented tables whose answer is known beforehand."""

from __future__ import annotations

import pytest

from benchlib.analysis import wording
from benchlib.analysis.claims import catalogue, findings, observations
from benchlib.analysis.claims.catalogue import Answer

MODELS = [f"net{index:03}" for index in range(12)]
GAIN = {"fp32": 1.0, "fp16": 2.0, "int8": 4.0}
ONE_SIZE = ((480, 640),)


UNORDERED = [f"net{index:03}" for index in range(101)]


def _unordered(index: int) -> float:
    """101 different times without an order: their rank correlation with the index is 0.00."""
    return 1.0 + index * 32 % 101


def _answer(headline, frame, claim):
    return headline(findings.findings(frame), claim).verdict


def _with_work(index, megapixels):
    return {"gmacs": (index + 1) * megapixels, "mactivations": 10 * megapixels}


class TestWork:
    def test_refuted_when_time_follows_work(self, grid, headline):
        frame = grid(MODELS, lambda i, p, mp: (1 + i) * mp / GAIN[p], extra=_with_work)
        one = headline(findings.findings(frame), catalogue.WORK)
        assert (one.verdict, one.n) == (Answer.REFUTED, 12)
        assert one.estimate == pytest.approx(1.0)

    def test_supported_when_many_networks_show_nothing(self, grid, headline):
        frame = grid(
            UNORDERED,
            lambda i, p, mp: _unordered(i),
            precisions=["fp32"],
            sizes=ONE_SIZE,
            extra=_with_work,
        )
        assert _answer(headline, frame, catalogue.WORK) is Answer.SUPPORTED

    def test_partly_when_it_holds_at_one_precision_only(self, grid, headline):
        frame = grid(
            UNORDERED,
            lambda i, p, mp: 1.0 + i if p == "fp32" else _unordered(i),
            precisions=["fp32", "int8"],
            sizes=ONE_SIZE,
            extra=_with_work,
        )
        assert _answer(headline, frame, catalogue.WORK) is Answer.PARTLY

    def test_cant_tell_from_seven_networks(self, grid, headline):
        frame = grid(MODELS[:7], lambda i, p, mp: (1 + i) * mp, extra=_with_work)
        one = headline(findings.findings(frame), catalogue.WORK)
        assert (one.verdict, one.estimate) == (Answer.CANT_TELL, None)
        assert "7 networks" in one.sentence and "8 or more" in one.sentence


class TestOrder:
    def test_supported_when_another_is_fastest_on_the_large_image(self, grid, headline):
        frame = grid(["a", "b", "c", "z"], lambda i, p, mp: [0.5 + 2 * mp, 1 + mp, 1 + mp, 0.1][i])
        # z, timed at one size alone, is no part of it
        frame = frame[(frame["model"] != "z") | (frame["width"] == 640)]
        one = headline(findings.findings(frame), catalogue.ORDER)
        assert one.verdict is Answer.SUPPORTED
        assert (
            "of 3 networks timed at both sizes, the fastest is a at 640×480, b and c at 3840×2144"
        ) in one.sentence

    def test_partly_when_only_those_behind_change_places(self, grid, headline):
        frame = grid(["a", "b", "c"], lambda i, p, mp: [0.1, 1 + mp, 0.5 + 2 * mp][i])
        assert _answer(headline, frame, catalogue.ORDER) is Answer.PARTLY

    def test_refuted_when_nothing_changes(self, grid, headline):
        frame = grid(["a", "b", "c"], lambda i, p, mp: (1 + i) * mp)
        assert _answer(headline, frame, catalogue.ORDER) is Answer.REFUTED

    def test_a_change_within_the_intervals_is_none_and_refutes_nothing(self, grid, headline):
        frame = grid(
            ["a", "b", "c"],
            lambda i, p, mp: [1.0, 1.1, 3.0][i] if mp < 1 else [1.1, 1.0, 3.0][i],
            extra=lambda index, megapixels: {"half": 0.06},
        )
        one = headline(findings.findings(frame), catalogue.ORDER)
        assert one.verdict is Answer.CANT_TELL
        assert "only 2 of 3 pairs of networks differ for certain" in one.sentence

    def test_cant_tell_from_one_size_or_two_networks(self, grid, headline):
        one_size = grid(["a", "b", "c"], lambda i, p, mp: 1.0 + i, sizes=ONE_SIZE)
        two = grid(["a", "b"], lambda i, p, mp: 1.0 + i)
        assert _answer(headline, one_size, catalogue.ORDER) is Answer.CANT_TELL
        assert _answer(headline, two, catalogue.ORDER) is Answer.CANT_TELL


def test_each_precision_has_its_own_rank_correlation(grid, headline):
    """Times go with the work at FP32 and against it at INT8: their mean is nobody's."""
    frame = grid(
        MODELS,
        lambda i, p, mp: 1.0 + i if p == "fp32" else 20.0 - i,
        precisions=["fp32", "int8"],
        extra=lambda i, mp: {"gmacs": 1.0 + i},
    )
    one = headline(findings.findings(frame), catalogue.WORK)
    assert "(mean ρ = 0.00: FP32 1.00, INT8 -1.00)" in one.sentence


class TestPick:
    NAMES = ("mobilenet_v3_small", "resnet18", "fast_scnn", "vgg16_bn")

    @pytest.mark.parametrize(
        ("times", "answer"),
        [
            ({"fp32": (1, 2, 2, 3), "fp16": (9, 1, 1, 3)}, Answer.SUPPORTED),
            ({"fp32": (1, 2, 2, 3), "fp16": (9, 2, 1, 3)}, Answer.PARTLY),
            ({"fp32": (2, 3, 3, 1), "fp16": (2, 3, 3, 1)}, Answer.REFUTED),
        ],
    )
    def test_by_who_is_fastest(self, grid, headline, times, answer):
        frame = grid(self.NAMES, lambda i, p, mp: float(times[p][i]), precisions=list(times))
        assert _answer(headline, frame, catalogue.PICK) is answer

    def test_what_a_pick_is_slower_than_is_named(self, grid, headline):
        """fast_scnn leads on the smallest image, vgg16_bn by more on the others."""
        frame = grid(
            self.NAMES,
            lambda i, p, mp: (2.0, 3.0, 1.8 if mp < 0.5 else 3.0, 3.0 if mp < 0.5 else 1.0)[i],
            precisions=["fp32"],
        )
        one = headline(findings.findings(frame), catalogue.PICK)
        assert one.sentence == (
            "FP32: mobilenet_v3_small is fastest or tied at 0 of 4 sizes and takes up to 2.00× as "
            "long as vgg16_bn."
        )

    def test_networks_that_the_blog_did_not_time_are_no_rivals(self, grid, headline):
        names = ("mobilenetv4_conv_small", *self.NAMES, "my_own")
        times = (0.5, 1, 2, 2, 3, 0.5)
        frame = grid(names, lambda i, p, mp: float(times[i]), precisions=["fp32"])
        one = headline(findings.findings(frame), catalogue.PICK)
        assert (one.verdict, one.estimate) == (Answer.SUPPORTED, 1.0)
        alone = grid(names[:4:3], lambda i, p, mp: 1.0 + i, precisions=["fp32"])
        assert _answer(headline, alone, catalogue.PICK) is Answer.CANT_TELL

    def test_cant_tell_when_they_were_not_measured(self, grid, headline):
        frame = grid(["a", "b", "c"], lambda i, p, mp: 1.0 + i)
        assert _answer(headline, frame, catalogue.PICK) is Answer.CANT_TELL


class TestGain:
    @pytest.mark.parametrize(
        ("inside", "answer"),
        [(12, Answer.SUPPORTED), (8, Answer.PARTLY), (0, Answer.REFUTED)],
    )
    def test_by_the_share_in_the_range(self, grid, headline, inside, answer):
        frame = grid(
            MODELS, lambda i, p, mp: mp / (1 if p == "fp32" else 4.0 if i < inside else 1.2)
        )
        assert _answer(headline, frame, catalogue.INT8) is answer

    def test_cant_tell_from_five_networks_or_without_fp32(self, grid, headline):
        few = grid(MODELS[:5], lambda i, p, mp: mp / GAIN[p])
        no_base = grid(MODELS, lambda i, p, mp: mp / GAIN[p], precisions=["fp16", "int8"])
        assert _answer(headline, few, catalogue.INT8) is Answer.CANT_TELL
        assert _answer(headline, no_base, catalogue.FP16) is Answer.CANT_TELL


class TestCurve:
    def test_refuted_by_a_line(self, grid, headline):
        frame = grid(MODELS, lambda i, p, mp: 0.5 + (1 + i) * mp)
        one = headline(findings.findings(frame), catalogue.CURVE)
        assert one.verdict is Answer.REFUTED
        assert one.estimate == pytest.approx(0, abs=1e-9)
        assert ", and a size left out between others is met within " in one.sentence

    def test_a_network_off_the_line_is_named_and_has_no_fixed_cost(self, grid, headline):
        """As a vision transformer is, whose attention grows with the square of the pixels."""

        def ms(i, p, mp):
            return 0.01 + mp**2 if (i, p) == (4, "int8") else 0.5 + (1 + i) * mp

        found = findings.findings(grid(MODELS, ms))
        one = headline(found, catalogue.CURVE)
        assert one.verdict is Answer.REFUTED and one.n == 3 * len(MODELS)
        assert f" in {one.n - 1} of {one.n} fits (R² from 1.000)" in one.sentence
        assert f" Not so: {MODELS[4]} INT8 (" in one.sentence
        fixed = headline(found, catalogue.FIXED)
        assert fixed.n == one.n - 1 and "from 0 %" not in fixed.sentence

    def test_supported_by_what_no_line_fits(self, grid, headline):
        steps = {0.3072: 1.0, 0.786432: 1.0, 2.02752: 9.0, 8.23296: 9.0}
        frame = grid(MODELS, lambda i, p, mp: steps[round(mp, 6)])
        assert _answer(headline, frame, catalogue.CURVE) is Answer.SUPPORTED

    def test_partly_when_half_the_networks_follow_a_line(self, grid, headline):
        frame = grid(MODELS, lambda i, p, mp: 1 + mp if i % 2 else (1.0 if mp < 1 else 9.0))
        assert _answer(headline, frame, catalogue.CURVE) is Answer.PARTLY

    def test_cant_tell_from_two_sizes(self, grid, headline):
        frame = grid(MODELS, lambda i, p, mp: 1 + mp, sizes=((480, 640), (768, 1024)))
        assert _answer(headline, frame, catalogue.CURVE) is Answer.CANT_TELL


class TestWhatTheBlogDidNotAsk:
    @pytest.mark.parametrize(
        ("slow", "answer"),
        [(0, Answer.SUPPORTED), (2, Answer.PARTLY), (9, Answer.REFUTED)],
    )
    def test_int8_against_fp16(self, grid, headline, slow, answer):
        frame = grid(MODELS, lambda i, p, mp: 1.5 if p == "int8" and i < slow else 1.0)
        assert _answer(headline, frame, catalogue.INT8_FP16) is answer

    @pytest.mark.parametrize(("fixed", "answer"), [(2.0, Answer.SUPPORTED), (0.01, Answer.REFUTED)])
    def test_fixed_cost(self, grid, headline, fixed, answer):
        frame = grid(MODELS, lambda i, p, mp: fixed + mp)
        assert _answer(headline, frame, catalogue.FIXED) is answer

    def test_the_ends_of_the_fixed_cost_say_their_precision(self, grid, headline):
        fixed = {"fp32": 0.1, "fp16": 1.0, "int8": 2.0}
        frame = grid(MODELS, lambda i, p, mp: fixed[p] + (1 + i) * mp)
        said = headline(findings.findings(frame), catalogue.FIXED).sentence
        # The line's slope is 1 to 12 ms per megapixel, the image 0.3072
        assert f"from 2.6 % ({MODELS[11]} FP32) to 87 % ({MODELS[0]} INT8)." in said

    def test_a_rate_has_three_digits(self, grid, headline):
        frame = grid(
            MODELS,
            lambda i, p, mp: mp / (120.8166 if i % 3 == 0 else 3.5725),
            extra=lambda i, mp: {"family": "ABC"[i % 3], "gmacs": mp},
        )
        said = headline(findings.findings(frame), catalogue.RATE).sentence
        assert "A reaches 121,000 GMAC/s and" in said
        assert " 3,570 at FP32 3840×2144, a factor of 33.8" in said

    @pytest.mark.parametrize(("slow", "answer"), [(9, Answer.REFUTED), (1, Answer.SUPPORTED)])
    def test_rate_of_families(self, grid, headline, slow, answer):
        frame = grid(
            MODELS,
            lambda i, p, mp: mp * (slow if i % 3 == 0 else 1),
            extra=lambda i, mp: {"family": "ABC"[i % 3], "gmacs": mp},
        )
        assert _answer(headline, frame, catalogue.RATE) is answer

    def test_activations(self, grid, headline):
        order = [7, 2, 11, 0, 9, 4, 1, 10, 5, 8, 3, 6]
        frame = grid(
            MODELS,
            lambda i, p, mp: (1 + order[i]) * mp,
            extra=lambda i, mp: {"gmacs": (1 + i) * mp, "mactivations": (1 + order[i]) * mp},
        )
        assert _answer(headline, frame, catalogue.ACTIVATIONS) is Answer.SUPPORTED

    def test_nothing_is_told_of_a_count_that_does_not_vary(self, grid, headline):
        frame = grid(
            MODELS,
            lambda i, p, mp: (1 + i) * mp,
            extra=lambda i, mp: {"gmacs": (1 + i) * mp, "mactivations": mp},
        )
        one = headline(findings.findings(frame), catalogue.ACTIVATIONS)
        assert one.verdict is Answer.CANT_TELL
        assert "nan" not in one.sentence

    def test_energy_is_spoken_of_only_where_there_is_any(self, grid, headline):
        plain = grid(MODELS, lambda i, p, mp: 1.0 + i)
        assert all(one.claim != catalogue.ENERGY for one in findings.findings(plain))
        frame = grid(MODELS, lambda i, p, mp: 1.0 + i, extra=lambda i, mp: {"energy_mj": 5.0 + i})
        assert _answer(headline, frame, catalogue.ENERGY) is Answer.SUPPORTED

    def test_suspect_rows_are_used_counted_and_explained(self, grid, headline):
        frame = grid(
            MODELS,
            lambda i, p, mp: 1.0 + i,
            extra=lambda i, mp: {"verdict": "SUSPECT", "reasons": "drift;spread"} if i < 3 else {},
        )
        one = headline(findings.findings(frame), catalogue.DOUBT)
        assert (one.verdict, one.estimate, one.n) == (Answer.PARTLY, 0.25, 144)
        assert "drift 36×" in one.sentence and "Noted, which takes nothing away: spread 36×" in (
            one.sentence
        )


def test_a_set_without_a_good_row_gets_an_answer_for_every_claim(grid):
    frame = grid(["a"], lambda i, p, mp: 1.0, extra=lambda i, mp: {"verdict": "INVALID"})
    found = findings.findings(frame)
    assert {one.claim for one in found} == set(catalogue.BLOG)
    assert {one.verdict for one in found} == {Answer.CANT_TELL}
    assert findings.lines(found)


def test_a_cpu_set_of_two_precisions_and_few_networks_says_what_is_lacking(grid):
    frame = grid(
        ["resnet18", "fast_scnn"],
        lambda i, p, mp: 1 + mp,
        precisions=["fp32", "int8"],
        sizes=ONE_SIZE,
        extra=lambda i, mp: {"engine": "onnxruntime_cpu", "device": "cpu"},
    )
    found = findings.findings(frame)
    assert {one.verdict for one in findings.headlines(found)} <= {
        Answer.CANT_TELL,
        Answer.SUPPORTED,
    }
    assert all(one.sentence for one in found)


@pytest.mark.parametrize(
    ("suspect", "half", "word"),
    [
        *[(0, 0.002, "good"), (1, 0.002, "good"), (4, 0.002, "middling"), (1, 0.03, "middling")],
        *[(8, 0.002, "poor"), (0, 0.06, "poor")],
    ],
)
def test_how_good_the_machine_was_is_one_sentence(measured, row, suspect, half, word):
    doubted = {"verdict": "SUSPECT", "reasons": "not_steady", "notes": "spread"}
    rows = [row(f"n{i}", 1.0, half=half, **(doubted if i < suspect else {})) for i in range(12)]
    said = observations.machine_sentence(measured(rows))
    assert said.startswith(f"As an instrument the machine was {word}: {12 - suspect} of 12 rows")
    assert f"known to ±{wording.percent(half)} or better, the times" in said
    single = observations.machine_sentence(measured([{**one, "rounds": 1} for one in rows]))
    assert "or better, most within one process alone, the times" in single
    assert f"the times of {suspect or 'none'} moved" in said
    be = "is" if suspect < 2 else "are"
    assert f"VALID, {suspect or 'none'} {be} doubted" in said  # all the others
    assert "no other process was seen on the card" in said


def test_what_troubled_the_machine_is_told_and_what_was_asked_is_not_its_fault(measured, row):
    troubles = ["foreign_process", "throttled;drift", "made_up_ranges", "precision"]
    rows = [row(f"n{i}", 1.0, verdict="SUSPECT", reasons=told) for i, told in enumerate(troubles)]
    rows.append(row("limited", 1.0, notes="power_limited", limited_by="power"))
    said = observations.machine_sentence(measured(rows))
    assert "1 of 5 rows is VALID, 2 of the other 4 are doubted for what the machine did" in said
    for words in ("another process was on the card in 1", "throttled in 1", "power limit in 1"):
        assert words in said
    on_cpu = [row("n", 1.0, half=0.025, engine="onnxruntime_cpu", device="cpu")]
    said = observations.machine_sentence(measured(on_cpu))
    assert said.startswith("As an instrument the machine was good") and "card" not in said
    assert observations.machine_sentence(measured([row("n", 1.0, verdict=None)])) == ""
