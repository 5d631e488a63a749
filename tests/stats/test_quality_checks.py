"""Every reason is given where it applies, not elsewhere, and weighs what it should."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from benchlib.case import Engine, Int8Method, Precision, Verdict
from benchlib.gpu import peaks
from benchlib.gpu.clock_lock import ClockLock
from benchlib.gpu.telemetry import Range, TelemetrySummary
from benchlib.stats import quality_checks, summary
from benchlib.stats.quality_checks import Observed, Reason, judge

RNG = np.random.default_rng(0)
LEVEL = 2 * np.exp(0.005 * RNG.standard_normal(1000))
RUN = summary.summary(LEVEL, np.full(1000, 0.1))
QUIET = TelemetrySummary(
    n_readings=60,
    rate_hz=20,
    sm_clock_mhz=Range(1965, 1980, 1980),
    throttle=("application_clock",),
    foreign=(),
)
GOOD = Observed(
    engine=Engine.TRTEXEC,
    precision=Precision.FP16,
    runs=(RUN,),
    telemetry=(QUIET,) * 3,
    lock=ClockLock(True, 1980, "locked at 1980 MHz"),
    finite=True,
    floor_ms=1.5,
    cuda_graph=True,
    graph_captured=True,
    transfers_seen=False,
    low_precision_share=0.9,
)


def run_of(values: np.ndarray, enqueue: float = 0.1) -> summary.Summary:
    return summary.summary(values, np.full(len(values), enqueue))


def test_a_good_row_is_valid():
    assert judge(GOOD) == quality_checks.Judgement(Verdict.VALID)


def test_what_is_not_known_is_not_held_against_a_row():
    bare = Observed(Engine.ONNXRUNTIME_CPU, Precision.FP32, (summary.summary(LEVEL),))
    assert judge(bare) == quality_checks.Judgement(Verdict.VALID)
    silent = replace(GOOD, telemetry=(TelemetrySummary(),), lock=None, finite=None)
    assert judge(silent).verdict is Verdict.VALID


def off(error: float | None, precision: Precision, *, random: bool = False) -> Observed:
    return replace(GOOD, precision=precision, error=error, error_of="logits", random_weights=random)


@pytest.mark.parametrize(
    ("seen", "doubted"),
    [
        (off(0.25, Precision.INT8), False),
        (off(0.26, Precision.INT8), True),
        (off(0.05, Precision.FP16), False),
        (off(0.06, Precision.FP16), True),
        (off(None, Precision.INT8), False),
        # What the committed rows hold, whose weights are random and whose arithmetic is right
        (off(0.54, Precision.INT8, random=True), False),
        (off(1.01, Precision.INT8, random=True), True),
    ],
)
def test_an_error_that_is_gross_is_doubted(seen: Observed, doubted: bool) -> None:
    judged = judge(seen)
    assert (judged.reasons == (Reason.FAR_FROM_FP32,)) is doubted
    assert judged.verdict is (Verdict.SUSPECT if doubted else Verdict.VALID)
    if doubted:
        assert re.match(rf"Output logits is {seen.error:.0%} off FP32", judged.sentences[0])


@pytest.mark.parametrize(
    ("share", "random", "doubted"), [(0.5, False, False), (0.51, False, True), (0.9, True, False)]
)
def test_whole_numbers_that_mostly_differ_are_doubted(
    share: float, random: bool, doubted: bool
) -> None:
    judged = judge(
        replace(GOOD, disagreement=share, disagreement_of="classes", random_weights=random)
    )
    assert (judged.reasons == (Reason.FAR_FROM_FP32,)) is doubted
    if doubted:
        assert judged.sentences[0].startswith("51% of output classes differ from FP32's")


def test_fp32_that_is_not_finite_is_invalid_and_says_whose_fault_it_is() -> None:
    judged = judge(replace(GOOD, finite=True, fp32_finite=False))
    assert judged.verdict is Verdict.INVALID
    assert judged.reasons == (Reason.NUMERICS,)
    assert "FP32's own output" in judged.sentences[0]


def telemetry(**fields: object) -> Observed:
    return replace(GOOD, telemetry=(QUIET, replace(QUIET, **fields)))


SLOPE = LEVEL * np.linspace(1, 1.05, 1000)
SLOW_START = LEVEL * np.where(np.arange(1000) < 200, 1.1, 1.0)
# Two levels that come and go, the slow one more often at the very start and in the second half
OFTEN = np.where((np.arange(1000) >= 50) & (np.arange(1000) < 500), 0.35, 0.65)
HALVES = LEVEL * np.where(RNG.random(1000) < OFTEN, 1.04, 1.0)
TAILED = LEVEL * np.where(np.arange(1000) % 15 == 7, 1.2, 1.0)
MODES = LEVEL * np.where(RNG.random(1000) < 0.3, 1.05, 1.0)


@pytest.mark.parametrize(
    ("observed", "reason", "weight", "words"),
    [
        (replace(GOOD, runs=()), Reason.NO_SAMPLES, "INVALID", "log"),
        (replace(GOOD, finite=False), Reason.NUMERICS, "INVALID", "NaN"),
        (replace(GOOD, floor_ms=2.5), Reason.IMPOSSIBLE, "INVALID", "2 ms .* 2.5 ms"),
        (
            telemetry(sm_clock_mhz=Range(1700, 1980, 1980)),
            Reason.CLOCK_MOVED,
            "SUSPECT",
            "between 1700 and 1980 MHz.*lock_clocks",
        ),
        (
            telemetry(sm_clock_mhz=Range(1410, 1410, 1410)),
            Reason.CLOCK_MOVED,
            "SUSPECT",
            "locked at 1980 MHz and ran at 1410",
        ),
        (
            telemetry(throttle=("idle", "power_cap", "hardware_thermal")),
            Reason.THROTTLED,
            "SUSPECT",
            r"\(hardware_thermal, power_cap\)",
        ),
        (
            replace(
                telemetry(throttle=("power_cap",), sm_clock_mhz=Range(1485, 1800, 1980)), lock=None
            ),
            Reason.POWER_LIMITED,
            "VALID",
            "at 1890 MHz",
        ),
        (
            replace(GOOD, lock=None, telemetry=(TelemetrySummary(throttle=("power_cap",)),) * 2),
            Reason.POWER_LIMITED,
            "VALID",
            "its power limit, which",
        ),
        (telemetry(foreign=(41, 42)), Reason.FOREIGN_PROCESS, "SUSPECT", "2 other processes"),
        (replace(GOOD, half_width=0.051), Reason.IMPRECISE, "SUSPECT", "±5%.*lock"),
        (replace(GOOD, runs=(RUN, run_of(TAILED))), Reason.SPREAD, "VALID", "20% over.*p95"),
        (replace(GOOD, back_to_back=True, waiting=0.24), Reason.HOST_GAPS, "VALID", "For 24% .*mj"),
        (replace(GOOD, streams=4), Reason.STREAMS, "VALID", "4 streams shared .* streams 1"),
        (replace(GOOD, runs=(run_of(SLOPE),)), Reason.DRIFT, "SUSPECT", "slower.*warm up"),
        (
            replace(GOOD, runs=(run_of(SLOW_START),)),
            Reason.WARMING_UP,
            "SUSPECT",
            r"first 20%.*\+1\d\.\d%.*warm-up",
        ),
        (replace(GOOD, runs=(run_of(HALVES),)), Reason.NOT_STEADY, "SUSPECT", r"\d\.\d% slower"),
        (replace(GOOD, runs=(run_of(MODES),)), Reason.TWO_MODES, "SUSPECT", "2 and 2.1 ms"),
        (replace(GOOD, runs=(run_of(LEVEL[:20]),)), Reason.FEW_SAMPLES, "SUSPECT", "duration_s"),
        (
            replace(GOOD, runs=(run_of(LEVEL, 1.7),)),
            Reason.ENQUEUE_BOUND,
            "SUSPECT",
            "CUDA graph",
        ),
        (
            replace(
                GOOD, engine=Engine.TENSORRT_PYTHON, runs=(run_of(LEVEL / 25, 0.01),), floor_ms=0
            ),
            Reason.SHORT_KERNEL,
            "SUSPECT",
            "trtexec",
        ),
        (replace(GOOD, graph_captured=False), Reason.CUDA_GRAPH, "SUSPECT", "could not be"),
        (replace(GOOD, transfers_seen=True), Reason.TRANSFERS, "SUSPECT", "without transfers was"),
        (replace(GOOD, low_precision_share=0.2), Reason.PRECISION, "SUSPECT", "20%.*fp16"),
        (replace(GOOD, low_mac_share=0.3), Reason.PRECISION, "SUSPECT", "30%.*multiply-acc.*fp16"),
        (
            replace(GOOD, low_precision_share=0.5, low_time_share=0.02),
            Reason.PRECISION,
            "SUSPECT",
            "^Only 2% of the computing layers' time ran in fp16",
        ),
        (
            replace(
                GOOD,
                precision=Precision.FP32,
                low_precision_share=0.02,
                below={
                    "computing layers": {"int8": 0.02},
                    "multiply-accumulates": {"int8": 0.004},
                },
            ),
            Reason.PRECISION,
            "SUSPECT",
            "^2% of the computing layers are int8, less than the fp32",
        ),
        (
            replace(GOOD, precision=Precision.TF32, below={"file's products": {"fp16": 0.004}}),
            Reason.PRECISION,
            "SUSPECT",
            "^Under 1% of the file's products are fp16, less than the tf32",
        ),
        (
            replace(GOOD, below={"computing layers": {"uint8": 0.2, "int8": 0.1}}),
            Reason.PRECISION,
            "SUSPECT",
            "^30% .* are int8 and uint8, less than the fp16",
        ),
        (
            replace(GOOD, precision=Precision.INT8, int8_method=Int8Method.MADE_UP_RANGES),
            Reason.MADE_UP_RANGES,
            "SUSPECT",
            "qdq",
        ),
        (
            replace(GOOD, confidential=True),
            Reason.CONFIDENTIAL_COMPUTING,
            "SUSPECT",
            "CUDA events.*11.1",
        ),
        (replace(GOOD, telemetry=()), Reason.UNWATCHED, "VALID", "1 of 1.*CUDA_VISIBLE_DEVICES"),
        (
            replace(GOOD, runs=(RUN,) * 3, telemetry=(QUIET,) * 2),
            Reason.UNWATCHED,
            "VALID",
            "1 of 3",
        ),
        (
            replace(GOOD, telemetry=(replace(QUIET, sm_clock_mhz=None, throttle=None),)),
            Reason.UNWATCHED,
            "VALID",
            "did not tell",
        ),
        (replace(GOOD, skipped_tactics=3), Reason.SKIPPED_TACTICS, "VALID", "3 tactics"),
    ],
)
def test_each_reason(observed, reason, weight, words):
    found = judge(observed)
    told = dict(zip(found.reasons, found.sentences, strict=True))
    noted = dict(zip(found.notes, found.remarks, strict=True))
    assert found.verdict == weight
    sentence = (noted if weight == "VALID" else told)[reason]
    assert re.search(words, sentence), sentence
    # Groups come with halves; nothing else may come along unbidden
    companions = {Reason.TWO_MODES, Reason.NOT_STEADY}
    assert set(found.reasons) - {reason} <= companions


def test_time_decides_alone_where_the_layers_were_timed():
    # Many small layers, or the work, in another precision that take little time
    few = replace(GOOD, low_precision_share=0.2, low_mac_share=0.3)
    assert judge(few).reasons == (Reason.PRECISION,)
    assert judge(replace(few, low_time_share=0.5)).verdict is Verdict.VALID
    assert judge(replace(few, low_time_share=0.49)).reasons == (Reason.PRECISION,)
    timed = replace(GOOD, precision=Precision.FP32, low_time_share=0.0)
    assert judge(timed).verdict is Verdict.VALID


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.TF32])
def test_fp32_with_nothing_below_it_is_not_doubted(precision):
    # With TF32 the products are rounded to 10 bits; that is what the row's tf32 says.
    plain = replace(GOOD, precision=precision, low_precision_share=0.0, low_mac_share=0.0)
    assert judge(plain).verdict is Verdict.VALID


def test_every_reason_has_a_rule():
    assert list(quality_checks.RULES) == list(Reason)


@pytest.mark.parametrize(
    "fields",
    [
        {"sm_clock_mhz": Range(1950, 1980, 1980)},
        {"sm_clock_mhz": Range(345, 1980, 1980), "n_readings": 2},
        {"throttle": ("idle", "application_clock", "display_clock")},
        {"throttle": None, "foreign": None, "sm_clock_mhz": None},
    ],
)
def test_harmless_telemetry(fields):
    assert judge(replace(GOOD, telemetry=(replace(QUIET, **fields),))).verdict is Verdict.VALID


@pytest.mark.parametrize(
    "fields",
    [
        {"confidential": True, "event_timed": False},
        {"confidential": False},
        {"confidential": None},
    ],
)
def test_confidential_computing_doubts_only_what_events_timed_under_it(fields):
    assert judge(replace(GOOD, **fields)) == quality_checks.Judgement(Verdict.VALID)


def test_a_cpu_has_rules_of_its_own():
    noisy = summary.summary(20 * np.exp(0.05 * RNG.standard_normal(400)), np.full(400, 19.9))
    on_cpu = Observed(
        Engine.ONNXRUNTIME_CPU, Precision.FP32, (noisy,), cuda_graph=True, graph_captured=False
    )
    assert judge(on_cpu) == quality_checks.Judgement(Verdict.VALID)
    assert judge(replace(on_cpu, half_width=0.09)).verdict is Verdict.VALID
    found = judge(replace(on_cpu, half_width=0.11))
    assert found.reasons == (Reason.IMPRECISE,)
    assert "idle" in found.sentences[0]
    # What a GPU's run may not do: half of such a shift, and of the modes' distance, is in ±10 %
    for values in (SLOPE, MODES):
        assert judge(replace(on_cpu, runs=(summary.summary(values),))).verdict is Verdict.VALID
        assert judge(replace(GOOD, runs=(run_of(values),))).verdict is Verdict.SUSPECT


def of_runs(*runs: summary.Summary, **fields: object) -> Observed:
    return replace(GOOD, runs=runs, telemetry=(QUIET,) * len(runs), **fields)


def test_what_a_few_runs_have_is_left_to_the_interval_over_the_rounds():
    assert judge(of_runs(*(RUN,) * 7, run_of(SLOPE), run_of(MODES))).reasons == ()
    assert judge(of_runs(*(RUN,) * 6, *(run_of(SLOPE),) * 3)).reasons == (Reason.DRIFT,)


def test_a_trend_over_the_rounds_is_doubted_unless_the_interval_holds_it():
    rising = tuple(run_of(LEVEL * factor) for factor in (1, 1.01, 1.02, 1.03, 1.04, 1.05))
    found = judge(of_runs(*rising))
    assert found.reasons == (Reason.DRIFT,)
    assert re.match("From the first round to the last it grew 4.9% slower", found.sentences[0])
    assert judge(of_runs(*rising, half_width=0.051)).reasons == (Reason.IMPRECISE,)
    assert judge(of_runs(*(rising[index] for index in (3, 0, 5, 1, 4, 2)))).reasons == ()
    assert judge(of_runs(*rising[:5])).reasons == ()


def test_one_bad_process_of_three_is_enough():
    found = judge(replace(GOOD, runs=(RUN, run_of(SLOPE), RUN)))
    assert found.reasons == (Reason.DRIFT,)


@pytest.mark.parametrize(
    ("device", "precision", "tf32", "expected"),
    [
        # 2 * 100 GMAC over 67 T/s, 1.1 times the clock, 4 times Winograd
        ("NVIDIA H200", Precision.FP32, False, 200 / 67 / 4.4),
        ("NVIDIA H200", Precision.FP32, True, 200 / 495 / 4.4),
        ("NVIDIA H100 80GB HBM3", Precision.FP16, True, 200 / 990 / 4.4),
        ("NVIDIA GeForce RTX 3090", Precision.INT8, True, 200 / 284 / 1.1),
        ("NVIDIA GeForce RTX 3090 Ti", Precision.INT8, True, None),
        ("NVIDIA RTX A1000", Precision.FP16, True, None),
        (None, Precision.FP16, True, None),
    ],
)
def test_the_floor_of_known_cards(device, precision, tf32, expected):
    assert peaks.floor_ms(device, precision, tf32, 25.0, 4) == (
        None if expected is None else pytest.approx(expected)
    )
    assert peaks.floor_ms("NVIDIA H200", precision, tf32, None, 4) is None


def test_what_was_seen_on_an_h200_is_above_its_floor():
    # resnet18 at 640x480, FP16: 0.2286 ms in three processes; 11.1 GMACs
    assert peaks.floor_ms("NVIDIA H200", Precision.FP16, True, 11.1, 1) < 0.2286
