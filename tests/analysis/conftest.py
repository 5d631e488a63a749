"""Invented tables with answers known beforehand, and the published one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchlib.analysis.claims.catalogue import Finding
from benchlib.analysis.results import MeasuredSet, complete, load

Rows = list[dict[str, Any]]

SIZES = ((480, 640), (768, 1024), (1056, 1920), (2144, 3840))


def invented_row(model: str, ms: float, **other: Any) -> dict[str, Any]:
    """A good row at 640x480 and FP32; ``half`` is half its interval, relative (default 0.5 %)."""
    half = other.pop("half", 0.005)
    row = {
        "key": f"{model}-{other.get('precision', 'fp32')}-{other.get('width', 640)}",
        "model": model,
        "family": f"family of {model}",
        "task": "classification",
        "engine": "trtexec",
        "device": "Invented GPU",
        "precision": "fp32",
        "batch": 1,
        "height": 480,
        "width": 640,
        "shape_mode": "static",
        "status": "ok",
        "verdict": "VALID",
        "latency_ms": ms,
        "latency_ci_low_ms": None if half is None else ms * (1 - half),
        "latency_ci_high_ms": None if half is None else ms * (1 + half),
        "gmacs": 1.0,
        "mactivations": 10.0,
        "params_m": 5.0,
    }
    return {**row, **other}


@pytest.fixture(scope="session")
def row() -> Callable[..., dict[str, Any]]:
    return invented_row


@pytest.fixture(scope="session")
def table() -> Callable[[Iterable[dict[str, Any]]], pd.DataFrame]:
    """Make the frame of a measured set out of rows."""
    return lambda rows: complete(pd.DataFrame(list(rows)).astype(object))


@pytest.fixture(scope="session")
def measured() -> Callable[..., MeasuredSet]:
    """Make a measured set out of rows."""

    def make(rows: Rows, name: str = "mine", **environment: Any) -> MeasuredSet:
        frame = complete(pd.DataFrame(rows).astype(object))
        return MeasuredSet(name, frame, environment, published=False)

    return make


@pytest.fixture(scope="session")
def grid() -> Callable[..., pd.DataFrame]:
    """Rows for every model, precision and size; ``ms(model, precision, megapixels)`` times them.

    ``extra(index, megapixels)`` adds columns for the index-th model.
    """

    def make(
        models: Iterable[str],
        ms: Callable[[int, str, float], float],
        *,
        precisions: Iterable[str] = ("fp32", "fp16", "int8"),
        sizes: Iterable[tuple[int, int]] = SIZES,
        extra: Callable[[int, float], dict[str, Any]] = lambda index, megapixels: {},
    ) -> pd.DataFrame:
        rows = [
            invented_row(
                model,
                ms(index, precision, height * width / 1e6),
                precision=precision,
                height=height,
                width=width,
                **extra(index, height * width / 1e6),
            )
            for index, model in enumerate(models)
            for precision in precisions
            for height, width in sizes
        ]
        return complete(pd.DataFrame(rows).astype(object))

    return make


@pytest.fixture(scope="session")
def published(root: Path) -> MeasuredSet:
    return load(root / "results" / "rtx3090-published")


@pytest.fixture(scope="session")
def headline() -> Callable[[Iterable[Finding], str], Finding]:
    """The first finding of a claim."""
    return lambda found, claim: next(one for one in found if one.claim == claim)
