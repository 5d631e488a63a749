"""Every network of preset ``modern`` in every form: is it right, how exact is it, is it built?

    python benchmarks/modern_forms.py [NAME ...] [--json benchmarks/modern_forms.json]

Needs no GPU. For each network, with random weights: relative L2 error of its FP32 graph in ONNX
Runtime against PyTorch on a photo, at the preset's three sizes. At the first of them, for each
form: the error against FP32 on held-out photos, how many products are INT8, the others by reason,
and what TensorRT-RTX's parser and builder say (``megabytes`` of the engine, or class and sentence
of the refusal). Errors are of random weights: they compare forms, not networks. Half an hour on
two cores; 1920x1056 wants 8 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt_rtx as trt
import torch

from benchlib import config
from benchlib.case import Failure, GraphForm, Int8Method, resolution
from benchlib.errors import InputError
from benchlib.export import calibration
from benchlib.export.build import make
from benchlib.models import macs, registry, torch_network

PRESET = config.find_preset("modern").runs()[0]
FORMS = (
    (GraphForm.FP32, None),
    (GraphForm.FP16, None),
    (GraphForm.INT8_QDQ, Int8Method.QDQ),
    (GraphForm.INT8_QDQ, Int8Method.QDQ_NO_DEPTHWISE),
    (GraphForm.INT8_QDQ_FP16, Int8Method.QDQ),
)


def built(path: Path) -> dict[str, Any]:
    """The size of the engine that TensorRT-RTX makes of a graph, or why it makes none."""
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    begin = time.perf_counter()
    if not parser.parse_from_file(str(path)):
        return {"refused": Failure.UNSUPPORTED.value, "message": parser.get_error(0).desc()}
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    if plan is None:
        return {"refused": Failure.NO_TACTIC.value, "message": "the builder gave no engine"}
    return {
        "megabytes": round(plan.nbytes / 1e6, 1),
        "seconds": round(time.perf_counter() - begin, 1),
    }


def form_facts(name: str, form: GraphForm, method: Int8Method | None) -> dict[str, Any]:
    """What is known of one network in one form."""
    height, width = resolution(PRESET.resolutions[0])
    facts: dict[str, Any] = {"form": form.value, "method": method and method.value}
    try:
        graph = make(name, form, height=height, width=width, int8_method=method)
    except InputError as error:
        return facts | {"refused": Failure.UNSUPPORTED.value, "message": error.problem}
    left_out = Counter(one.partition(": ")[2] for one in graph.left_out)
    error = graph.fidelity and graph.fidelity.relative_l2
    return facts | {
        "relative_l2": error and float(f"{error:.3g}"),
        "int8_products": graph.int8_products,
        "left_out": dict(left_out),
        "remarks": list(graph.remarks),
        "tensorrt_rtx": built(graph.path),
    }


def agreement(name: str, size: str) -> float:
    """Error of the FP32 graph in ONNX Runtime against the PyTorch network, on a held-out photo.

    A photo, because on noise a random EfficientNetV2 is not even itself in float64: its rounding
    errors grow a thousandfold.
    """
    height, width = resolution(size)
    network = torch_network.build(name, size=(height, width))
    graph = make(name, GraphForm.FP32, height=height, width=width)
    image = calibration.held_out().image(0, height, width)
    with torch.no_grad():
        wanted = network(torch.from_numpy(image)).numpy()
    opened = calibration.graph_session(graph.path)
    (found,) = opened.run(None, {opened.get_inputs()[0].name: image})
    return float(f"{np.linalg.norm(found - wanted) / np.linalg.norm(wanted):.2g}")


def facts_of(name: str) -> dict[str, Any]:
    """All that is told of one network."""
    height, width = resolution(PRESET.resolutions[0])
    cost = macs.of(name, height, width)
    return {
        "network": name,
        "done": registry.card(name).note,
        "params": cost.params,
        "gmacs": round(cost.gmacs, 3),
        "onnxruntime_against_torch": {size: agreement(name, size) for size in PRESET.resolutions},
        "forms": [form_facts(name, form, method) for form, method in FORMS],
    }


def main() -> None:
    """Print a line per network and form; leave all in a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="networks; default: preset modern")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    document = {"tensorrt_rtx": trt.__version__, "size": PRESET.resolutions[0], "networks": []}
    for name in given.names or PRESET.models:
        facts = facts_of(name)
        document["networks"].append(facts)
        print(name, facts["onnxruntime_against_torch"], flush=True)
        for one in facts["forms"]:
            words = (one["form"], one["method"] or "", one.get("relative_l2"), one["tensorrt_rtx"])
            print("   ", *words, flush=True)
        given.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
