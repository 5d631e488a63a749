"""ONNX Runtime's profiler file as layer times and layer information."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchlib.engines.standin.exports import LayerTimes

_SUFFIX = "_kernel_time"
_RUN = "model_run"

TYPES = {
    "float": "FP32",
    "float16": "FP16",
    "double": "FP64",
    "int8": "Int8",
    "uint8": "UInt8",
    "int32": "Int32",
    "int64": "Int64",
    "bool": "Bool",
}
"""ONNX Runtime's type names in the words of TensorRT's engine inspector."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Times and description of every node that ran; ``bindings`` are the network's tensors."""

    layers: tuple[LayerTimes, ...]
    nodes: tuple[dict[str, Any], ...]
    bindings: tuple[str, ...]

    def layer_information(self) -> dict[str, Any]:
        """What ``--exportLayerInfo`` holds, in the shape TensorRT up to 10.16 gives it."""
        return {"Layers": list(self.nodes), "Bindings": list(self.bindings)}


def read(text: str, bindings: Sequence[str], skip: int) -> Profile:
    """Read the profiler's JSON; the first ``skip`` runs are left out as warm-up."""
    times: dict[str, list[float]] = {}
    nodes: dict[str, dict[str, Any]] = {}
    run = 0
    for event in json.loads(text):
        if event.get("name") == _RUN:
            run += 1
        if event.get("cat") != "Node" or not event["name"].endswith(_SUFFIX):
            continue
        details = event["args"]
        name = (
            event["name"].removesuffix(_SUFFIX) or f"{details['op_name']}_{details['node_index']}"
        )
        nodes.setdefault(name, _node(name, details))
        if run >= skip:
            times.setdefault(name, []).append(event["dur"] / 1000)
    layers = tuple(LayerTimes(name, tuple(values)) for name, values in times.items())
    return Profile(layers, tuple(nodes.values()), tuple(bindings))


def _node(name: str, details: dict[str, Any]) -> dict[str, Any]:
    return {
        "Name": name,
        "LayerType": details["op_name"],
        "Inputs": _tensors(name, "in", details.get("input_type_shape", [])),
        "Outputs": _tensors(name, "out", details.get("output_type_shape", [])),
        "Provider": details.get("provider", ""),
    }


def _tensors(
    node: str, side: str, types_shapes: list[dict[str, list[int]]]
) -> list[dict[str, Any]]:
    """One record per tensor; the profiler knows types and shapes, but no tensor names."""
    return [
        {
            "Name": f"{node}:{side}{index}",
            "Location": "Host",
            "Dimensions": dims,
            "Format/Datatype": TYPES.get(kind, kind),
        }
        for index, record in enumerate(types_shapes)
        for kind, dims in record.items()
    ]
