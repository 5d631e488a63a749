"""Small graphs for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from benchlib.case import GraphForm, Shape
from benchlib.export.build import Graph, make
from benchlib.export.torch_onnx import export

SMALL = Shape(1, 192, 256)


@pytest.fixture(scope="session")
def graph_of() -> Callable[..., Graph]:
    """``make`` at 256 x 192 pixels, in the cache that the whole test session shares."""

    def of(model: str, form: GraphForm, **options: object) -> Graph:
        return make(model, form, **({"height": SMALL.height, "width": SMALL.width} | options))

    return of


class TinyNet(nn.Module):
    """Every structure that placement treats in its own way, in a few thousand weights.

    A stem, a residual block with a projected shortcut, a depth-wise convolution, a
    squeeze-excite gate, a Concat, a Resize and a classifier.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.shortcut = nn.Conv2d(8, 8, 1)
        self.identity = nn.Conv2d(8, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.excite = nn.Conv2d(4, 8, 1)
        self.merge = nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        stem = torch.relu(self.stem(images))
        block = torch.relu(self.first(stem))
        block = torch.relu(self.second(block) + self.shortcut(stem))
        block = torch.relu(self.identity(block) + block)
        deep = nn.functional.hardswish(self.depthwise(block))
        gate = torch.relu(self.squeeze(deep.mean((2, 3), keepdim=True)))
        deep = deep * torch.sigmoid(self.excite(gate))
        small = nn.functional.interpolate(deep, scale_factor=0.5, mode="bilinear")
        big = nn.functional.interpolate(small, scale_factor=2.0, mode="nearest")
        merged = torch.relu(self.merge(torch.cat([big, block], 1)))
        return self.head(merged.mean((2, 3)))


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``TinyNet`` as an FP32 graph."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    torch.manual_seed(0)
    export(TinyNet().eval(), SMALL, path)
    return path


@pytest.fixture
def tiny(tiny_path: Path) -> onnx.ModelProto:
    return onnx.load(str(tiny_path))
