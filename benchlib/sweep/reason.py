"""The reasons for which a row is not simply valid, and what each of them weighs."""

from __future__ import annotations

from benchlib.case import Word


class Reason(Word):
    """Why a row is not simply valid."""

    NO_SAMPLES = "no_samples"
    NUMERICS = "numerics"
    FAR_FROM_FP32 = "far_from_fp32"
    IMPOSSIBLE = "impossible"
    CLOCK_MOVED = "clock_moved"
    THROTTLED = "throttled"
    FOREIGN_PROCESS = "foreign_process"
    SPREAD = "spread"
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


INVALIDATING = frozenset({Reason.NO_SAMPLES, Reason.NUMERICS, Reason.IMPOSSIBLE})
"""Reasons that leave no number to believe."""

NOTES = frozenset({Reason.SKIPPED_TACTICS, Reason.UNWATCHED})
"""Reasons that mark a row and take nothing from it: the time is right for the engine built, and
what nobody saw is not held against it."""

PASSING = frozenset(
    {
        Reason.CLOCK_MOVED,
        Reason.THROTTLED,
        Reason.FOREIGN_PROCESS,
        Reason.SPREAD,
        Reason.DRIFT,
        Reason.WARMING_UP,
        Reason.NOT_STEADY,
        Reason.TWO_MODES,
        Reason.FEW_SAMPLES,
    }
)
"""Reasons that may be gone at another attempt; the others come back each time."""
