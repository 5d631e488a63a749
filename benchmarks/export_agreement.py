"""Does every network's ONNX graph compute what the PyTorch network computes, at the blog's sizes?

    python benchmarks/export_agreement.py [NAME ...] [--sizes 640x480 3840x2144] [--dynamic]

Exports each network at each size (or once with open dimensions), runs both on the same seeded
input in float32 and prints the relative L2 error. Some minutes for the whole line-up; 3840x2144
wants 10 GB of memory. The tests check the small sizes; this is for all of them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchlib.case import Shape, resolution
from benchlib.export.torch_onnx import export
from benchlib.models import registry, torch_network

BLOG_SIZES = ("640x480", "1024x768", "1920x1056", "3840x2144")
TRACED = "640x480"


def relative_error(network: torch.nn.Module, path: Path, height: int, width: int) -> float:
    """Relative L2 distance of ONNX Runtime's output from PyTorch's, one image, float32."""
    image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = network(image).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def main() -> None:
    """Print a line per network and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="networks; default: the whole line-up")
    parser.add_argument("--sizes", nargs="+", default=BLOG_SIZES, metavar="WIDTHxHEIGHT")
    parser.add_argument("--dynamic", action="store_true", help="one graph with open dimensions")
    given = parser.parse_args()
    print(f"{'network':20} " + " ".join(f"{size:>10}" for size in given.sizes), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in given.names or registry.names():
            network = torch_network.build(name)
            cells = []
            for index, size in enumerate(given.sizes):
                height, width = resolution(size)
                path = Path(folder) / f"{name}.onnx"
                if not given.dynamic:
                    export(network, Shape(1, height, width, False), path)
                elif index == 0:
                    export(network, Shape(1, *resolution(TRACED), True), path)
                cells.append(f"{relative_error(network, path, height, width):10.1e}")
            print(f"{name:20} " + " ".join(cells), flush=True)


if __name__ == "__main__":
    main()
