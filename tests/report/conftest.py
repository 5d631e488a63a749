"""An invented measured set with everything a report has to cope with, and the published one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, sync_playwright

from benchlib.analysis.results import MeasuredSet, load
from benchlib.measure.record import COLUMNS
from benchlib.report import html
from benchlib.report.view import View, views

NETWORKS = {
    # model: family, task, GMACs per megapixel, fixed ms, accuracy, metric
    "resnet18": ("ResNet", "classification", 36.0, 0.30, 69.758, "ImageNet top-1"),
    "resnet50": ("ResNet", "classification", 81.0, 0.80, 80.858, "ImageNet top-1"),
    "mobilenet_v3_small": ("MobileNet", "classification", 1.1, 0.35, 67.668, "ImageNet top-1"),
    "efficientnet_b0": ("EfficientNet", "classification", 7.7, 0.90, 77.692, "ImageNet top-1"),
    "vgg11_bn": ("VGG", "classification", 149.0, 0.20, 70.370, "ImageNet top-1"),
    "fast_scnn": ("Real-time segmentation", "segmentation", 3.2, 0.25, 68.0, "Cityscapes mIoU"),
    "ddrnet23_slim": ("Real-time segmentation", "segmentation", 17.3, 0.7, 77.4, "Cityscapes mIoU"),
    "onnx:mine.onnx": (None, None, None, 0.5, None, None),
}
SIZES = ((480, 640), (768, 1024), (1056, 1920))
GAINS = {"fp32": 1.0, "fp16": 2.4, "int8": 3.6}


def invented_rows() -> pd.DataFrame:
    """Times from a formula and a seeded generator: nothing here was measured."""
    noise = np.random.default_rng(7)
    rows = []
    for model, (family, task, work, fixed, accuracy, metric) in NETWORKS.items():
        for height, width in SIZES:
            for precision, gain in GAINS.items():
                megapixels = height * width / 1e6
                clean = fixed + (work or 10.0) * megapixels / 12.0 / gain
                latency = clean * float(noise.uniform(0.98, 1.02))
                half = latency * float(noise.uniform(0.002, 0.01))
                rows.append(
                    {
                        "key": f"{model}-{precision}-{width}x{height}",
                        "model": model,
                        "family": family,
                        "task": task,
                        "engine": "trtexec",
                        "engine_version": "10.0.1",
                        "device": "Invented GPU",
                        "precision": precision,
                        "typing": "weak",
                        "batch": 1,
                        "height": height,
                        "width": width,
                        "shape_mode": "static",
                        "status": "ok",
                        "verdict": "VALID",
                        "latency_ms": latency,
                        "latency_ci_low_ms": latency - half,
                        "latency_ci_high_ms": latency + half,
                        "cov": 0.01,
                        "n_samples": 400,
                        "params_m": 5.0,
                        "gmacs": None if work is None else work * megapixels,
                        "mactivations": None if work is None else 10 * megapixels,
                        "size_mb": 20.0 + len(model),
                        "accuracy": accuracy,
                        "accuracy_metric": metric,
                        "accuracy_source": "invented",
                        "low_precision_share": {"fp32": 0.0, "fp16": 0.97, "int8": 0.91}[precision],
                        "cuda_graph": True,
                        "transfers": False,
                        "spin_wait": True,
                        "tf32": False,
                        "int8_method": "qdq" if precision == "int8" else None,
                        "weights": "random",
                        "seed": 0,
                        "attempt": 1,
                    }
                )
    frame = pd.DataFrame(rows).reindex(columns=list(COLUMNS)).astype(object)
    _spoil(frame)
    return frame


def _spoil(frame: pd.DataFrame) -> None:
    """Make one row SUSPECT, one INVALID, one failed and one skipped."""

    def where(model: str, precision: str, width: int) -> int:
        hit = (
            (frame["model"] == model)
            & (frame["precision"] == precision)
            & (frame["width"] == width)
        )
        return int(frame.index[hit][0])

    numbers = ["latency_ms", "latency_ci_low_ms", "latency_ci_high_ms", "cov", "n_samples"]
    at = where("resnet18", "fp16", 1024)
    frame.loc[at, ["verdict", "reasons"]] = ["SUSPECT", "throttled;drift"]
    at = where("efficientnet_b0", "fp32", 1024)
    frame.loc[at, ["verdict", "reasons"]] = ["INVALID", "foreign_process"]
    at = where("vgg11_bn", "int8", 1920)
    frame.loc[at, ["status", "failure", "message", "log"]] = [
        *("failed", "timeout", "no end after 900 s", "logs/vgg.log")
    ]
    frame.loc[at, ["verdict", *numbers]] = None
    at = where("onnx:mine.onnx", "int8", 640)
    frame.loc[at, ["status", "failure", "message"]] = [
        *("skipped", "unsupported", "no calibration images <here>")
    ]
    frame.loc[at, ["verdict", *numbers]] = None


def write_set(folder: Path, frame: pd.DataFrame, environment: dict | None = None) -> Path:
    """Leave a measured set in ``folder`` as a run does."""
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "table.csv", index=False)
    known = environment or {"title": "Invented numbers", "gpu": {"name": "Invented GPU"}}
    (folder / "environment.json").write_text(json.dumps(known), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def invented_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "invented", invented_rows())


@pytest.fixture(scope="session")
def invented(invented_dir: Path) -> MeasuredSet:
    return load(invented_dir)


@pytest.fixture(scope="session")
def invented_view(invented: MeasuredSet) -> View:
    return views(invented)[0]


@pytest.fixture(scope="session")
def published_dir(root: Path) -> Path:
    return root / "results" / "rtx3090-published"


@pytest.fixture(scope="session")
def published_view(published_dir: Path) -> View:
    return views(load(published_dir))[0]


@pytest.fixture
def rows() -> pd.DataFrame:
    """The invented rows, to be changed at will."""
    return invented_rows()


@pytest.fixture
def view_of(tmp_path: Path) -> Callable[[pd.DataFrame], View]:
    """Write rows as a set, load it, and give its first view."""

    def make(frame: pd.DataFrame, environment: dict | None = None) -> View:
        return views(load(write_set(tmp_path / "mine", frame, environment)))[0]

    return make


@pytest.fixture
def write() -> Callable[..., Path]:
    return write_set


@pytest.fixture(scope="session")
def chromium() -> Path:
    """A Chromium of this machine; without one the test is skipped, or fails if one is required."""
    found = html.chromium()
    if found is None:
        reason = f"no Chromium on the path and none named in {html.CHROMIUM_VARIABLE}"
        if os.environ.get("BENCHLIB_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def browser(chromium: Path) -> Iterator[Browser]:
    """That Chromium, driven by Playwright, which downloads nothing."""
    # Chromium has no sandbox for root, as in most containers.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="session")
def h100_first() -> MeasuredSet:
    """The first 29 cells of the H100 set, seven networks at 640x480: what was added later changes
    no sentence of theirs."""
    whole = load(Path(__file__).parents[2] / "results" / "h100-tensorrt-8.6")
    early = whole.frame["started_at"] < "2026-11-26"
    return replace(whole, frame=whole.frame[early].reset_index(drop=True))
