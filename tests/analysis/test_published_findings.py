"""The blog's own table: the figures that were counted from it by others must come out."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchlib.analysis import latency_model, significance
from benchlib.analysis.claims import catalogue, findings
from benchlib.analysis.claims.catalogue import Answer
from benchlib.analysis.results import load

RESULTS = Path(__file__).resolve().parents[2] / "results"
PRINTED = "the GFLOPs that the blog printed"
# Smallest to largest image, as the project's requirements state them
RHO = {
    "FP32": [0.93, 0.93, 0.94, 0.95],
    "FP16": [0.74, 0.84, 0.87, 0.91],
    "INT8": [0.03, 0.58, 0.71, 0.73],
}
FIELDS = ["claim", "subset", "test", "estimate", "ci_low", "ci_high", "n", "verdict", "sentence"]


@pytest.fixture(scope="module")
def found(published):
    return findings.findings(published.frame)


@pytest.mark.parametrize("precision", list(RHO))
def test_rank_correlations_with_the_printed_gflops(found, precision):
    cells = [
        one for one in found if one.test.endswith(PRINTED) and one.subset.startswith(precision)
    ]
    assert [round(one.estimate, 2) for one in cells] == RHO[precision]
    assert all(one.n == 13 for one in cells)
    assert all(one.ci_low <= one.estimate <= one.ci_high for one in cells)


def test_where_equal_times_matter_the_sentence_says_so(found):
    noted = {one.subset: one.sentence for one in found if "mean ranks" in one.sentence}
    assert len(noted) == 2
    said = {subset.partition(",")[0]: text for subset, text in noted.items()}
    assert said["FP16 640×480"].endswith("with mean ranks ρ = 0.76.")
    assert said["INT8 640×480"].endswith("with mean ranks ρ = 0.02.")


def test_rank_correlations_with_work_counted_at_the_size(found):
    """Over all 16 networks, by multiply-accumulates at each size."""
    cells = {
        one.subset: round(one.estimate, 2)
        for one in found
        if one.test == "Spearman's ρ of ms against multiply-accumulates" and one.n == 16
    }
    assert [cells[f"FP32 {size}"] for size in ("640×480", "3840×2144")] == [0.91, 0.97]
    assert [cells[f"INT8 {size}"] for size in ("640×480", "3840×2144")] == [0.16, 0.82]


def test_int8_is_slower_than_fp16_in_four_named_cells(found, headline):
    one = headline(found, catalogue.INT8_FP16)
    assert (one.estimate, one.n, one.verdict) == (4 / 64, 64, Answer.PARTLY)
    assert "4 of 64 cells" in one.sentence
    for cell in (
        "mobilenet_v3_small at 640×480",
        "mobilenet_v3_small at 1024×768",
        "regnet_y_400mf at 640×480",
        "shufflenet_v2_x1_5 at 640×480",
    ):
        assert cell in one.sentence


def test_the_range_of_speed_ups(published, found, headline):
    int8 = significance.summary(significance.gains(published.frame, "int8"))
    fp16 = significance.summary(significance.gains(published.frame, "fp16"))
    assert (round(int8.least, 2), round(int8.most, 2), int8.cells) == (1.01, 7.19, 64)
    assert (round(fp16.least, 2), round(fp16.most, 2), fp16.cells) == (1.27, 3.37, 64)
    assert "1.01× to 7.19×" in headline(found, catalogue.INT8).sentence


def test_the_line_through_the_sizes(published):
    fits = latency_model.fit(published.frame)
    assert len(fits) == 48
    assert max(one.largest_error for one in fits) == pytest.approx(0.066, abs=5e-4)
    assert max(one.held_out_error for one in fits) == pytest.approx(0.099, abs=5e-4)
    assert min(one.r2 for one in fits) > 0.996


def test_the_answers(found):
    answers = {one.claim: one.verdict for one in findings.headlines(found)}
    assert answers == {
        catalogue.WORK: Answer.REFUTED,
        catalogue.ORDER: Answer.PARTLY,
        catalogue.PICK: Answer.PARTLY,
        catalogue.FP16: Answer.PARTLY,
        catalogue.INT8: Answer.PARTLY,
        catalogue.CURVE: Answer.REFUTED,
        catalogue.FASTEST: Answer.PARTLY,
        catalogue.INT8_FP16: Answer.PARTLY,
        catalogue.FIXED: Answer.SUPPORTED,
        catalogue.RATE: Answer.REFUTED,
        catalogue.ACTIVATIONS: Answer.CANT_TELL,
        catalogue.DOUBT: Answer.CANT_TELL,
    }


def test_the_same_table_gives_the_same_findings(published, found):
    shuffled = published.frame.sample(frac=1, random_state=3)
    assert findings.findings(published.frame) == found
    assert [one.as_json() for one in findings.findings(shuffled)] == [
        pytest.approx(one.as_json()) for one in found
    ]


def test_json_has_the_nine_fields_and_nothing_that_is_no_number(found):
    plain = [one.as_json() for one in found]
    assert all(list(one) == FIELDS for one in plain)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    endless = replace(found[0], estimate=math.nan, ci_low=-math.inf, ci_high=math.inf).as_json()
    assert [endless[name] for name in FIELDS[3:6]] == [None] * 3


# local is what make report leaves there, a few networks on a CPU
@pytest.mark.parametrize(
    "name", sorted({one.parent.name for one in RESULTS.glob("*/table.csv")} - {"local"})
)
def test_an_interval_holds_its_estimate(name):
    found = findings.findings(load(RESULTS / name).frame)
    bounded = [one for one in found if one.ci_low is not None or one.ci_high is not None]
    assert len(bounded) > 50
    assert [one for one in bounded if not one.ci_low <= one.estimate <= one.ci_high] == []


def test_the_lines_name_every_claim_its_answer_and_every_subset_that_tells(found):
    said = findings.lines(found)
    text = "\n".join(said)
    assert all(claim in said for claim in (*catalogue.BLOG, catalogue.FIXED))
    assert "REFUTED. In 11 of 12 cells" in text
    printed = [one for one in found if PRINTED in one.test]
    told = [one for one in printed if one.verdict is not catalogue.Answer.CANT_TELL]
    assert len(printed) == 12
    assert 0 < len(told) < len(printed)
    assert text.count(PRINTED) == len(told)
    assert "subsets too small to tell" in text


def test_one_cell_is_not_called_cells(found):
    told = replace(found[0], n=1, verdict=catalogue.Answer.REFUTED)
    not_told = replace(told, verdict=catalogue.Answer.CANT_TELL)
    assert findings.lines([told, not_told])[2:] == [
        "    and 1 single cell",
        "    and 1 subset too small to tell",
    ]


def test_the_printed_gflops_are_those_of_the_table(root):
    with (root / "results" / "rtx3090-published" / "source.csv").open(encoding="utf-8") as stream:
        printed = {
            line["model"]: float(line["gflops_224"])
            for line in csv.DictReader(stream)
            if line["gflops_224"]
        }
    assert printed == catalogue.GFLOPS_224


def test_a_winner_that_gives_less_than_the_others_says_so(found):
    one = next(one for one in found if one.claim == catalogue.FASTEST)
    _, segmentation = one.sentence.split("Segmentation: ")
    assert segmentation.endswith(
        " fast_scnn_blog gives 1 class score (logit) at 1/8 of the input size only."
    )
