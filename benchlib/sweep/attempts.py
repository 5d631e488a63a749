"""The attempts at one case: what each brought, and why the last was the last."""

from __future__ import annotations

from typing import Any

from benchlib.case import Status, Word
from benchlib.engines.settings import Settings
from benchlib.sweep.row import Row


class Ending(Word):
    """Why a case was not measured once more."""

    ACCEPTED = "accepted"
    CEILING = "ceiling"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


MEANINGS = {
    Ending.ACCEPTED: "the least time and count were met and nothing is left to mend by repeating",
    Ending.CEILING: "the retries are used up",
    Ending.FAILED: "the attempt failed",
    Ending.INTERRUPTED: "a stop was asked for",
}


def as_json(row: Row, settings: Settings) -> dict[str, Any]:
    """What a row keeps of one attempt at its case."""
    return {
        "attempt": row.attempt,
        "duration_s": settings.duration_s,
        "iterations": settings.iterations,
        "warm_up_ms": settings.warm_up_ms,
        "status": row.status.value,
        "verdict": row.verdict and row.verdict.value,
        "reasons": list(row.reasons),
        "latency_ms": row.latency_ms,
    }


def last(row: Row, earlier: Row | None, told: list[dict[str, Any]], ending: Ending) -> Row:
    """The row that stands: the last attempt's, or the one before where that failed.

    A doubtful number is worth more than none. ``told`` has every attempt, in order.
    """
    if row.status is Status.FAILED and earlier is not None:
        words = f"attempt {row.attempt} failed: {row.message}"
        row = earlier.model_copy(update={"attempt": row.attempt, "message": words})
    detail = {**row.detail, "attempts": told, "ended_by": f"{ending}: {MEANINGS[ending]}"}
    return row.model_copy(update={"detail": detail})


def in_order(row: Row, seed: int, place: int, total: int) -> Row:
    """``row`` with its place, from 0, in the matrix of ``total`` cases shuffled by ``seed``.

    All processes and builds of a case run one after another: a case has one place.
    """
    order = {"seed": seed, "place": place, "of": total}
    return row.model_copy(update={"detail": {**row.detail, "order": order}})
