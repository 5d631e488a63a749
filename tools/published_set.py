"""The blog's RTX 3090 table as a measured set: copied, and marked as published.

``python tools/published_set.py results/rtx3090-published`` rebuilds ``table.csv`` and
``environment.json`` from ``source.csv``, the table as the blog printed it. What the blog did not
print stays empty. Work per network (``gmacs``, ``params_m``, ``mactivations``) is counted by
benchlib at each row's image size, because the blog printed it at 224x224 only.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

from benchlib.case import Case, Engine, Int8Method, Precision, ShapeMode, Status, Typing
from benchlib.measure.record import COLUMNS
from benchlib.models import macs, registry

SOURCE = "source.csv"
TENSORRT = "10.0.1"
_NAMES = {"BiSeNetV2": "bisenetv2_blog", "FASSDNet": "fassdnet_l2", "FastSCNN": "fast_scnn_blog"}
_DEVICE = "NVIDIA GeForce RTX 3090"
_ENVIRONMENT: dict[str, Any] = {
    "name": "rtx3090-published",
    "title": "RTX 3090 (published, not measured here)",
    "published": True,
    "source": "the results table of the blog this project reproduces, kept as source.csv",
    "gpu": {"name": _DEVICE},
    "tensorrt": TENSORRT,
    "notes": [
        "The blog does not say which statistic its milliseconds are, gives no spread and no "
        "sample count, and no clock, driver or CUDA version.",
        "Engines were built with a minimum and a maximum shape and no optimum, so TensorRT tuned "
        "them for 3840x2144 and every smaller size ran those kernels.",
        "INT8 was run without calibration and with random weights; the accuracy is the "
        "literature's and was not measured on these engines.",
        "VGG is its convolutional features only; BiSeNetV2 and FastSCNN differ from their papers; "
        "FASSDNet is the paper's L2 variant.",
        "The code passed --avgRuns, --noDataTransfers and --useSpinWait and no CUDA-graph flag; "
        "TF32 was left at TensorRT's default, on.",
    ],
}


def rows(source: Path) -> list[dict[str, Any]]:
    """One row per line of ``source`` with columns of ``table.csv``; unknown values are None."""
    with source.open(encoding="utf-8", newline="") as stream:
        return [_row(line) for line in csv.DictReader(stream)]


def write(folder: Path) -> None:
    """Write ``table.csv`` and ``environment.json`` into ``folder`` from its ``source.csv``."""
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows(folder / SOURCE))
    text = json.dumps(_ENVIRONMENT, indent=2, ensure_ascii=False)
    (folder / "environment.json").write_text(f"{text}\n", encoding="utf-8")


def _row(line: dict[str, str]) -> dict[str, Any]:
    model = _NAMES.get(line["model"], line["model"])
    card = registry.card(model)
    height, width = int(line["height"]), int(line["width"])
    work = macs.of(model, height, width)
    precision = Precision(line["precision"])
    method = Int8Method.MADE_UP_RANGES if precision is Precision.INT8 else None
    case = Case(
        model=model,
        precision=precision,
        batch=1,
        height=height,
        width=width,
        shape_mode=ShapeMode.BLOG,
        typing=Typing.WEAK,
        engine=Engine.TRTEXEC,
        int8_method=method,
    )
    accuracy = float(line["imagenet_acc1"]) if line["imagenet_acc1"] else None
    return {
        "key": case.key,
        "model": model,
        "family": card.family,
        "task": card.task,
        "engine": case.engine.value,
        "engine_version": TENSORRT,
        "device": _DEVICE,
        "precision": precision.value,
        "typing": case.typing.value,
        "batch": case.batch,
        "height": height,
        "width": width,
        "shape_mode": case.shape_mode.value,
        "status": Status.OK.value,
        "latency_ms": float(line["latency_ms"]),
        "params_m": None if work.params is None else round(work.params / 1e6, 6),
        "gmacs": work.gmacs,
        "mactivations": work.mactivations,
        "size_mb": float(line["size_mb"]),
        "accuracy": accuracy,
        "accuracy_metric": None if accuracy is None else "ImageNet top-1",
        "accuracy_source": None if accuracy is None else "as printed in the blog",
        "cuda_graph": False,
        "transfers": False,
        "spin_wait": True,
        "tf32": True,
        "int8_method": None if method is None else method.value,
        "weights": "random",
    }


if __name__ == "__main__":
    write(Path(sys.argv[1]))
