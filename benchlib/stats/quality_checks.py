"""How reliable a row is: VALID, SUSPECT or INVALID, with codes and remedies.

There is one rule per reason: a function of what was observed that gives a sentence, which names a
remedy, or None. A rule whose measurement is missing (no telemetry, no layer information) gives
None: unknown is not bad. A verdict is a label and never stops a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from benchlib.case import Engine, Int8Method, Precision, Verdict, Word
from benchlib.gpu.clock_lock import ClockLock
from benchlib.gpu.telemetry import HARMLESS, Limit, TelemetrySummary, limited_by
from benchlib.stats import drift
from benchlib.stats.drift import STEADY_BAND
from benchlib.stats.summary import Summary


class Reason(Word):
    """Why a row is not simply valid."""

    NO_SAMPLES = "no_samples"
    NUMERICS = "numerics"
    FAR_FROM_FP32 = "far_from_fp32"
    IMPOSSIBLE = "impossible"
    CLOCK_MOVED = "clock_moved"
    THROTTLED = "throttled"
    FOREIGN_PROCESS = "foreign_process"
    IMPRECISE = "imprecise"
    DRIFT = "drift"
    WARMING_UP = "warming_up"
    NOT_STEADY = "not_steady"
    TWO_MODES = "two_modes"
    FEW_SAMPLES = "few_samples"
    ENQUEUE_BOUND = "enqueue_bound"
    SHORT_KERNEL = "short_kernel"
    CUDA_GRAPH = "cuda_graph"
    TRANSFERS = "transfers"
    PRECISION = "precision"
    MADE_UP_RANGES = "made_up_ranges"
    CONFIDENTIAL_COMPUTING = "confidential_computing"
    SKIPPED_TACTICS = "skipped_tactics"
    UNWATCHED = "unwatched"
    POWER_LIMITED = "power_limited"
    SPREAD = "spread"
    HOST_GAPS = "host_gaps"
    STREAMS = "streams"


RULES_VERSION = 7
"""Version of the rules below and of the intervals they go by: raised when either would judge a
stored series otherwise. 2: doubt comes from the interval and not from the spread of single
queries, and a card at its power limit is a state and no fault. 3: power and energy are of the
settled part of a run, peak memory is recorded, and notes are separate from reasons. 4: where the
layers were timed, a row's precision is judged by their time. 5: a card that waited for the host is
noted. 6: streams that shared the card are. 7: the clock is that of the load, without what the card
did after it, and no copy made for a layer has that layer's work."""

INVALIDATING = frozenset({Reason.NO_SAMPLES, Reason.NUMERICS, Reason.IMPOSSIBLE})
"""Reasons that make the number unusable."""

NOTES = frozenset(
    {
        *(Reason.SKIPPED_TACTICS, Reason.UNWATCHED, Reason.POWER_LIMITED),
        *(Reason.SPREAD, Reason.HOST_GAPS, Reason.STREAMS),
    }
)
"""Codes that mark a row and do not make it SUSPECT, kept as its notes: the time is right for the
engine built, missing telemetry is no fault, a card at its power limit is how it runs that network,
a wide spread of single queries does not widen the median's interval, the latency does not hold
the time between queries, and several streams were asked for."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of a measured case; None where it is not known.

    ``runs`` has one summary per timing process, ``telemetry`` likewise (empty on a CPU).
    ``half_width`` is half the row's 95 % interval over its latency.
    ``finite`` is whether the outputs were free of NaN and infinity, ``fp32_finite`` whether those
    of the FP32 graph were. ``error`` is the greatest relative L2 of an output against FP32,
    ``disagreement`` the greatest share of unequal values of an output of whole numbers, each
    with that output's name; ``random_weights`` is whether the network was never trained.
    ``floor_ms`` is the least
    time that the card's peak allows for one batch. ``graph_captured`` and ``transfers_seen`` are
    what happened, ``cuda_graph`` and ``transfers`` what was asked for.
    ``confidential`` is whether Confidential Computing was on, ``event_timed`` whether CUDA events
    gave the times. ``back_to_back`` is whether a query followed the one before at once, in one
    stream and without copies, ``waiting`` the share (0 to 1) of the time between queries, and
    ``streams`` how many ran at once.
    ``below`` has, by what it is a share of, the shares by type of what is less than that.
    ``low_precision_share``, ``low_mac_share`` and ``low_time_share`` are the shares of computing
    layers, of multiply-accumulates and of the computing layers' profiled time in the precision
    asked for, or less.
    """

    engine: Engine
    precision: Precision
    runs: tuple[Summary, ...] = ()
    half_width: float | None = None
    int8_method: Int8Method | None = None
    telemetry: tuple[TelemetrySummary, ...] = ()
    lock: ClockLock | None = None
    finite: bool | None = None
    fp32_finite: bool | None = None
    error: float | None = None
    error_of: str | None = None
    disagreement: float | None = None
    disagreement_of: str | None = None
    random_weights: bool = False
    floor_ms: float | None = None
    cuda_graph: bool = False
    graph_captured: bool | None = None
    transfers: bool = False
    transfers_seen: bool | None = None
    low_precision_share: float | None = None
    low_mac_share: float | None = None
    low_time_share: float | None = None
    confidential: bool | None = None
    event_timed: bool = True
    back_to_back: bool = False
    waiting: float | None = None
    streams: int = 1
    below: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    skipped_tactics: int = 0

    @property
    def on_cpu(self) -> bool:
        return self.engine is Engine.ONNXRUNTIME_CPU

    @property
    def limited_by(self) -> Limit | None:
        """What limited the clock in any of the processes; None where that is not known."""
        known = [one.throttle for one in self.telemetry if one.throttle is not None]
        return limited_by(word for words in known for word in words) if known else None

    @property
    def imprecise(self) -> bool:
        """Whether the interval is too wide; False when there is none."""
        limit = CPU_IMPRECISE if self.on_cpu else GPU_IMPRECISE
        return self.half_width is not None and self.half_width > limit

    @property
    def moved_from(self) -> float:
        """The change within a run, a fraction, that begins to matter."""
        return CPU_SHIFT if self.on_cpu else GPU_SHIFT


INT8_ERROR = 0.25
"""Norm of an output's error over the norm of FP32's output, above which an INT8 network with
weights of its own is doubted. Six networks with calibrated statistics were 0.02 to 0.20 off under
the same quantiser (measured here), EfficientNet, which is known to be fragile, the most; at 0.25
the error has a sixteenth of the output's power."""

HALF_ERROR = 0.05
"""The same in FP16, whose conversion was 0.0005 to 0.004 off on the same networks."""

RANDOM_ERROR = 1.0
"""The same for random weights, whose outputs are near-cancelling sums and lie up to 0.53 off in
INT8 (fast_scnn_blog) where the arithmetic is right: above 1 all zeros would have been closer."""

DISAGREEMENT = 0.5
"""Share of an output's whole numbers (classes, indices) that differ from FP32's, above which a
network with weights of its own is doubted. Near ties change places in a right graph too (2 of the
5 largest values of a small network in INT8); where most differ, little of the answer is left."""

CLOCK_MOVE = 0.02
"""Greatest less least SM clock over the median, while timing. Compute time follows the clock one
to one, so 2 % is the width of the steady band; boost steps of 15 MHz are under 1 %."""

FEWEST_READINGS = 3
"""Readings in the timed window below which its clock range says nothing."""

GPU_IMPRECISE = 0.05
"""Half of the 95 % interval over the median on a GPU. Two networks that differ by a tenth, the
least that the blog's table lets one choose by, can then still be distinguished."""

CPU_IMPRECISE = 0.10
"""The same on a CPU, whose machine has other work: pyperf's limit for a shared, interrupted
processor (its "may be unstable"), there of the spread."""

GPU_SHIFT = STEADY_BAND
"""Change within a run, a fraction of the median: what counts as moved elsewhere too. A card at its
power limit stays below it: its times swing in cycles of 0.75 to 1 s, so that the halves of a run of
3 s differ by up to 1.5 % by their phase alone, where three processes agree to 0.4 % (H100 cards,
25 networks and sizes in FP16 and INT8, with 0.4 to 3.2 s of warm-up)."""

CPU_SHIFT = 0.10
"""The same on a CPU. A run that moved by this much has its median off by half of it at most,
which is half of what its interval may be wide."""

TAIL = 0.10
"""95th percentile over the median, minus one, from which the spread is noted: a tenth, above which
the median is no estimate of the percentile."""

SHARE_OF_RUNS = 1 / 3
"""Share of a row's runs that must be unsteady, cold or in two groups. What happens in fewer, as a
slow phase of the machine does, moves their medians against the others', which the interval over
the rounds holds; of one to three runs each counts."""

FEWEST_FOR_TREND = 6
"""Runs in which a trend can be distinguished from chance: with five, even the strictest order has
p = 0.017 (Kendall)."""

DRIFT_CHANCE = 0.01
"""Kendall's p below which a trend is no accident: one false alarm in a hundred level rows."""

FEWEST_EFFECTIVE = 30.0
"""Effective samples. Below it the 95 % interval spans the middle two fifths of all
samples, and its end points move with single queries; that matters where it is too wide."""

ENQUEUE_SHARE = 0.8
"""Enqueue time over median compute time: trtexec's own warning (contract, section 6)."""

WAITING = 0.05
"""Share of the time between queries that follow on one another at once. Of 260 rows on H100s and an
H200 four have more, whose host was busy; the others have 3 % at most, half a per cent in the
median. Energy is no better than 5 % anyway."""

LOW_SHARE = 0.5
"""Share of the computing layers' time in the precision asked for or less. Below half the figure is
mostly one of another precision. Layers were not always timed; then the less of their number's and
their multiply-accumulates' shares stands for it. Of 118 timed engines in FP16 or INT8 (TensorRT
8.6.0, H100) 11 are below half by time: that finds 7 of them and no other, the work alone 3."""

SHORT_KERNEL_MS = 0.1
"""Milliseconds per query under which the Python stand-in may count its own launch time: contract,
section 7.4 (agreement within noise was seen from 0.2 ms on)."""


def _no_samples(seen: Observed) -> str | None:
    if seen.runs:
        return None
    return "No query was counted; the log says what the program did instead."


def _numerics(seen: Observed) -> str | None:
    if seen.fp32_finite is False:
        return "FP32's own output holds NaN or infinity; look at the network's weights."
    if seen.finite is not False:
        return None
    return "The output holds NaN or infinity; keep the overflowing layers in a wider type."


def _far_from_fp32(seen: Observed) -> str | None:
    if seen.random_weights:
        limit = RANDOM_ERROR
    else:
        limit = INT8_ERROR if seen.precision is Precision.INT8 else HALF_ERROR
    remedy = "calibrate on images of its kind, or leave its most sensitive layers in FP16"
    if seen.error is not None and seen.error > limit:
        output = "The output" if seen.error_of is None else f"Output {seen.error_of}"
        return f"{output} is {seen.error:.0%} off FP32 (over {limit:.0%}); {remedy}."
    share = seen.disagreement
    if share is not None and share > DISAGREEMENT and not seen.random_weights:
        return (
            f"{share:.0%} of output {seen.disagreement_of} differ from FP32's (over "
            f"{DISAGREEMENT:.0%}); {remedy}."
        )
    return None


def _impossible(seen: Observed) -> str | None:
    if seen.floor_ms is None or not seen.runs:
        return None
    least = min(run.median for run in seen.runs)
    if least >= seen.floor_ms:
        return None
    return (
        f"{least:.3g} ms is less than the {seen.floor_ms:.3g} ms that the card's peak rate needs "
        "for this many multiplications; look for a network that is not computed or a wrong shape."
    )


def _clock_moved(seen: Observed) -> str | None:
    limited = seen.limited_by is Limit.POWER
    for one in seen.telemetry:
        clock = one.sm_clock_mhz
        if clock is None or one.n_readings < FEWEST_READINGS:
            continue
        # The power limit works through the clock; the times' own rules say whether they settled
        if clock.relative_width > CLOCK_MOVE and not limited:
            return (
                f"The SM clock went between {clock.minimum:.0f} and {clock.maximum:.0f} MHz while "
                "timing; lock it (lock_clocks) or warm up longer."
            )
        asked = seen.lock.requested_mhz if seen.lock and seen.lock.locked else None
        if asked and abs(clock.median - asked) > CLOCK_MOVE * asked:
            return (
                f"The SM clock was locked at {asked} MHz and ran at {clock.median:.0f} MHz; "
                "lock it lower."
            )
    return None


def _throttled(seen: Observed) -> str | None:
    if seen.limited_by in (None, Limit.NONE, Limit.POWER):
        return None
    words = {word for one in seen.telemetry for word in one.throttle or ()} - HARMLESS
    return (
        f"The card held its clock back ({', '.join(sorted(words))}); lock a lower clock, or give "
        "it more cooling or power."
    )


def _power_limited(seen: Observed) -> str | None:
    if seen.limited_by is not Limit.POWER:
        return None
    clocks = [one.sm_clock_mhz.median for one in seen.telemetry if one.sm_clock_mhz]
    at = f" at {median(clocks):.0f} MHz" if clocks else ""
    return (
        f"The card ran at its power limit{at}, which is how it runs this network for long: the "
        "clock swings, and another card or power limit gives another time."
    )


def _foreign_process(seen: Observed) -> str | None:
    pids = {pid for one in seen.telemetry for pid in one.foreign or ()}
    if not pids:
        return None
    count = f"{len(pids)} other process{'es' if len(pids) > 1 else ''}"
    return f"{count} computed on the same card; end them or take another card."


def _imprecise(seen: Observed) -> str | None:
    if not seen.imprecise:
        return None
    remedy = "leave the machine idle or" if seen.on_cpu else "lock the clock or"
    limit = CPU_IMPRECISE if seen.on_cpu else GPU_IMPRECISE
    return (
        f"The median is known to ±{seen.half_width:.0%} only (over {limit:.0%}); {remedy} measure "
        "longer."
    )


def _spread(seen: Observed) -> str | None:
    worst = max((run.p95 / run.median - 1 for run in seen.runs if run.p95), default=0.0)
    if worst <= TAIL:
        return None
    return (
        f"Single queries spread: the 95th percentile is {worst:.0%} over the median. The interval "
        "is that of the median; for a deadline go by latency_p95_ms and latency_p99_ms."
    )


def _host_gaps(seen: Observed) -> str | None:
    if not seen.back_to_back or seen.on_cpu or (seen.waiting or 0.0) <= WAITING:
        return None
    return (
        f"For {seen.waiting:.0%} of the time the card waited for the host: throughput_img_s, "
        "power_w and energy_mj are those of a card kept waiting, latency_ms is not; leave cores of "
        "the host free."
    )


def _streams(seen: Observed) -> str | None:
    if seen.streams == 1:
        return None
    return (
        f"{seen.streams} streams shared the device: latency_ms holds the work of the others, "
        "throughput_img_s is of all of them; take streams 1 for the time of a batch alone."
    )


def _drifts(run: Summary, least: float) -> bool:
    found = run.drift
    return found is not None and abs(found.change) > least and found.p_value < DRIFT_CHANCE


def _starts_apart(run: Summary) -> bool:
    return run.settling is not None and run.settling.starts_apart


def _usual(seen: Observed, found: Sequence[object]) -> bool:
    """Whether enough of the runs have what was ``found`` to make it a property of the case."""
    return len(found) >= max(1, SHARE_OF_RUNS * len(seen.runs))


def _drift(seen: Observed) -> str | None:
    medians = np.array([run.median for run in seen.runs])
    trend = drift.trend(medians) if len(medians) >= FEWEST_FOR_TREND else None
    least = max(seen.moved_from, seen.half_width or 0.0)
    if trend is not None and abs(trend.change) > least and trend.p_value < DRIFT_CHANCE:
        return (
            f"From the first round to the last it grew {abs(trend.change):.1%} "
            f"{'slower' if trend.change > 0 else 'faster'}; cool the machine, or lock the clock."
        )
    changes = [
        run.drift.change
        for run in seen.runs
        if _drifts(run, seen.moved_from) and not _starts_apart(run)
    ]
    if not _usual(seen, changes):
        return None
    worst = max(changes, key=abs)
    word = "slower" if worst > 0 else "faster"
    return (
        f"The run grew {abs(worst):.1%} {word} from start to end; warm up longer or lock the clock."
    )


def _warming_up(seen: Observed) -> str | None:
    starts = [run.settling for run in seen.runs if _starts_apart(run)]
    if not _usual(seen, starts):
        return None
    worst = max(starts, key=lambda settling: settling.steady_from)
    return (
        f"The first {worst.steady_from:.0%} of the run was not yet steady (its start "
        f"{worst.start_excess:+.1%}); raise the warm-up."
    )


def _not_steady(seen: Observed) -> str | None:
    # An interval made of slow swings covers them; halves further apart than it reaches are more
    shifts = [
        run.settling.shift
        for run in seen.runs
        if run.settling is not None
        and not _starts_apart(run)
        and not _drifts(run, seen.moved_from)
        and abs(run.settling.shift) > max(seen.moved_from, run.relative_half_width or 0.0)
    ]
    if not _usual(seen, shifts):
        return None
    worst = max(shifts, key=abs)
    return (
        f"The second half of the run was {abs(worst):.1%} {'slower' if worst > 0 else 'faster'} "
        "than the first, more than its interval reaches; something else ran now and then, or the "
        "clock has no rest: warm up and measure longer."
    )


def _two_modes(seen: Observed) -> str | None:
    if seen.limited_by is Limit.POWER:
        return None  # The limiter's cycle has a fast and a slow part, and the median is of both
    least = max(seen.moved_from, seen.half_width or 0.0)
    found = [run for run in seen.runs if run.modes is not None]
    far = [run.modes for run in found if run.modes.upper - run.modes.lower > least * run.median]
    if not _usual(seen, far):
        return None
    modes = far[0]
    return (
        f"The times fall into two groups, {modes.lower:.3g} and {modes.upper:.3g} ms "
        f"({modes.upper_share:.0%} in the slower); the median describes neither: see the samples."
    )


def _few_samples(seen: Observed) -> str | None:
    if not seen.runs:
        return None
    count = sum(run.n for run in seen.runs)
    worth = sum(run.n_effective for run in seen.runs)
    # A run that moved has a small count too, but more of the same would not help it
    moved = any(run.steady is False for run in seen.runs)
    if worth >= FEWEST_EFFECTIVE or (moved and count >= FEWEST_EFFECTIVE):
        return None
    if seen.half_width is not None and not seen.imprecise:
        return None
    return (
        f"{count} samples are worth {worth:.0f} independent ones, under {FEWEST_EFFECTIVE:.0f}; "
        "raise duration_s, iterations or max_rounds."
    )


def _enqueue_bound(seen: Observed) -> str | None:
    if seen.on_cpu:
        return None
    for run in seen.runs:
        if run.enqueue is not None and run.enqueue > ENQUEUE_SHARE * run.median:
            return (
                f"The host needed {run.enqueue:.3g} ms to launch {run.median:.3g} ms of work, so "
                "the GPU may have waited for it; launch as a CUDA graph or use a larger batch."
            )
    return None


def _short_kernel(seen: Observed) -> str | None:
    if seen.engine is not Engine.TENSORRT_PYTHON or not seen.runs:
        return None
    least = min(run.median for run in seen.runs)
    if least >= SHORT_KERNEL_MS:
        return None
    return (
        f"{least:.3g} ms is short enough for the Python stand-in's launch time to count; "
        "measure it with trtexec or with a larger batch."
    )


def _cuda_graph(seen: Observed) -> str | None:
    if seen.on_cpu or not seen.cuda_graph or seen.graph_captured is not False:
        return None
    return "A CUDA graph was asked for and could not be captured; the launches are in the time."


def _transfers(seen: Observed) -> str | None:
    if seen.transfers_seen is None or seen.transfers_seen == seen.transfers:
        return None
    asked, got = ("with", "without") if seen.transfers else ("without", "with")
    return f"Timing {asked} transfers was asked for and the times are {got} them."


def _precision(seen: Observed) -> str | None:
    return _too_low(seen) or _too_high(seen)


def _too_low(seen: Observed) -> str | None:
    """What computes in less than the row's label says, or in FP64, however little: a network made
    for that precision has nothing of the kind."""
    what = max(seen.below, key=lambda one: sum(seen.below[one].values()), default=None)
    if what is None:
        return None
    types = seen.below[what]
    than = "more" if set(types) == {"fp64"} else "less"
    return (
        f"{_percent(sum(types.values()))} of the {what} are {' and '.join(sorted(types))}, {than} "
        f"than the {seen.precision} that the row is called; give a file made for {seen.precision}, "
        "or ask for the precision that it has."
    )


def _percent(share: float) -> str:
    """A share in per cent; a small one is never called none."""
    return f"{share:.0%}" if share >= 0.01 else "Under 1%"


def _too_high(seen: Observed) -> str | None:
    if seen.precision in (Precision.FP32, Precision.TF32):
        return None
    shares = {"computing layers' time": seen.low_time_share}
    if seen.low_time_share is None:
        shares = {
            "computing layers": seen.low_precision_share,
            "multiply-accumulates": seen.low_mac_share,
        }
    known = {what: share for what, share in shares.items() if share is not None}
    what = min(known, key=known.__getitem__, default=None)
    if what is None or known[what] >= LOW_SHARE:
        return None
    return (
        f"Only {known[what]:.0%} of the {what} ran in {seen.precision} or less, as far as the "
        f"layers' types show (under {LOW_SHARE:.0%}); see them, the rest is what was mostly timed."
    )


def _made_up_ranges(seen: Observed) -> str | None:
    if seen.int8_method is not Int8Method.MADE_UP_RANGES:
        return None
    return (
        "INT8 with ranges that trtexec made up: a speed without an accuracy; use int8_method qdq."
    )


def _skipped_tactics(seen: Observed) -> str | None:
    if not seen.skipped_tactics:
        return None
    return (
        f"The builder skipped {seen.skipped_tactics} tactics, for want of memory as a rule; a "
        "larger workspace may build a faster engine."
    )


def _confidential_computing(seen: Observed) -> str | None:
    if seen.on_cpu or not seen.confidential or not seen.event_timed:
        return None
    return (
        "Confidential Computing was on, under which the times of CUDA events are not to be relied "
        "on; measure with trtexec of TensorRT 11.1 or later, which has another clock there, or "
        "turn it off."
    )


def _unwatched(seen: Observed) -> str | None:
    if seen.on_cpu or not seen.runs:
        return None
    watched = sum(
        one.sm_clock_mhz is not None or one.throttle is not None for one in seen.telemetry
    )
    if watched >= len(seen.runs):
        return None
    return (
        f"In {len(seen.runs) - watched} of {len(seen.runs)} timing processes nobody saw the GPU's "
        "clock or what held it back: NVML showed no such GPU, did not tell, or the run was too "
        "short; see that CUDA_VISIBLE_DEVICES names the card as nvidia-smi -L does. On a Jetson, "
        "tegrastats tells the clock to root alone."
    )


Rule = Callable[[Observed], str | None]

RULES: dict[Reason, Rule] = {
    Reason.NO_SAMPLES: _no_samples,
    Reason.NUMERICS: _numerics,
    Reason.FAR_FROM_FP32: _far_from_fp32,
    Reason.IMPOSSIBLE: _impossible,
    Reason.CLOCK_MOVED: _clock_moved,
    Reason.THROTTLED: _throttled,
    Reason.FOREIGN_PROCESS: _foreign_process,
    Reason.IMPRECISE: _imprecise,
    Reason.DRIFT: _drift,
    Reason.WARMING_UP: _warming_up,
    Reason.NOT_STEADY: _not_steady,
    Reason.TWO_MODES: _two_modes,
    Reason.FEW_SAMPLES: _few_samples,
    Reason.ENQUEUE_BOUND: _enqueue_bound,
    Reason.SHORT_KERNEL: _short_kernel,
    Reason.CUDA_GRAPH: _cuda_graph,
    Reason.TRANSFERS: _transfers,
    Reason.PRECISION: _precision,
    Reason.MADE_UP_RANGES: _made_up_ranges,
    Reason.CONFIDENTIAL_COMPUTING: _confidential_computing,
    Reason.SKIPPED_TACTICS: _skipped_tactics,
    Reason.UNWATCHED: _unwatched,
    Reason.POWER_LIMITED: _power_limited,
    Reason.SPREAD: _spread,
    Reason.HOST_GAPS: _host_gaps,
    Reason.STREAMS: _streams,
}
"""One rule per reason."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, the codes of doubt and those of :data:`NOTES` in the order of :class:`Reason`,
    and one sentence for each."""

    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    sentences: tuple[str, ...] = ()
    notes: tuple[Reason, ...] = ()
    remarks: tuple[str, ...] = ()


def judge(observed: Observed) -> Judgement:
    """Apply every rule."""
    found = {
        reason: sentence
        for reason, rule in RULES.items()
        if (sentence := rule(observed)) is not None
    }
    reasons = tuple(reason for reason in found if reason not in NOTES)
    notes = tuple(reason for reason in found if reason in NOTES)
    verdict = Verdict.SUSPECT if reasons else Verdict.VALID
    if INVALIDATING.intersection(reasons):
        verdict = Verdict.INVALID
    sentences, remarks = (tuple(map(found.__getitem__, some)) for some in (reasons, notes))
    return Judgement(verdict, reasons, sentences, notes, remarks)
