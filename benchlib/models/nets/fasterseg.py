"""FasterSeg, the searched student network.

W. Chen, X. Gong, X. Liu, Q. Zhang, Y. Li, Z. Wang: "FasterSeg: Searching for Faster Real-time
Semantic Segmentation", ICLR 2020, arXiv 1912.10917.

In: ``N x 3 x H x W``. Out: logits ``N x classes x H x W``, or ``H/8 x W/8`` with
``full_size=False``. Any size fits, because maps are resized to explicit sizes.

The layers are the authors' published architecture file, decoded. It is trained and evaluated with
bilinear resizes (aligned corners) everywhere, and so it is here; the published 163.9 FPS were
measured with every resize nearest-neighbour. The attention that the authors' fusion builds but
never uses is left out.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from benchlib.models.nets import blocks
from benchlib.models.nets.blocks import ConvBN, ConvBNReLU, conv

to_size = partial(blocks.resize, align_corners=True)


class DoubleConv(nn.Sequential):
    """Two normalised 3x3 convolutions, each activated."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(
            ConvBNReLU(in_channels, out_channels, stride=stride),
            ConvBNReLU(out_channels, out_channels),
        )


class ZoomedConv(nn.Module):
    """One or two 3x3 convolutions at half the size; with stride 1 the size comes back after."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, *, convs: int = 2
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvBN(in_channels, out_channels)]
        if convs == 2:
            layers += [nn.ReLU(), ConvBN(out_channels, out_channels)]
        self.convs = nn.Sequential(*layers)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.convs(to_size(x, (x.shape[2] // 2, x.shape[3] // 2)))
        if self.stride == 1:
            y = to_size(y, x.shape[2:])
        return relu(y)


class Lateral(nn.Module):
    """Narrows a deep map, enlarges it to a tap's size and joins the two."""

    def __init__(self, deep: int, tap: int, out_channels: int) -> None:
        super().__init__()
        self.narrow = ConvBNReLU(deep, out_channels, kernel=1)
        self.join = ConvBNReLU(out_channels + tap, out_channels)

    def forward(self, deep: Tensor, tap: Tensor) -> Tensor:
        deep = to_size(self.narrow(deep), tap.shape[2:])
        return self.join(torch.cat([deep, tap], dim=1))


class FasterSeg(nn.Module):
    """The whole network; names of layers are those of the two branches, A (1/32) and B (1/16)."""

    def __init__(self, num_classes: int = 19, *, full_size: bool = True) -> None:
        super().__init__()
        self.full_size = full_size
        self.stem = nn.Sequential(
            ConvBNReLU(3, 32, stride=2), DoubleConv(32, 64, stride=2), DoubleConv(64, 64, stride=2)
        )
        self.shared = nn.Sequential(DoubleConv(64, 32), DoubleConv(32, 32), ZoomedConv(32, 32))
        self.a16 = nn.Sequential(
            ZoomedConv(32, 128, stride=2, convs=1),
            ZoomedConv(128, 64),
            ZoomedConv(64, 64),
            ZoomedConv(64, 64),
        )
        self.a32 = nn.Sequential(
            ZoomedConv(64, 128, stride=2), ZoomedConv(128, 128), ZoomedConv(128, 256)
        )
        self.b8 = nn.Sequential(ZoomedConv(32, 32), DoubleConv(32, 32))
        self.b16 = nn.Sequential(
            DoubleConv(32, 64, stride=2),
            ZoomedConv(64, 64),
            ZoomedConv(64, 192),
            ZoomedConv(192, 128),
        )
        self.fuse_a16 = Lateral(256, 64, 128)
        self.fuse_a8 = Lateral(128, 32, 64)
        self.fuse_b8 = Lateral(128, 32, 64)
        self.fuse = ConvBNReLU(128, 128, kernel=1)
        self.head = nn.Sequential(ConvBNReLU(128, 128), conv(128, num_classes, 1, bias=True))

    def forward(self, image: Tensor) -> Tensor:
        a8 = self.shared(self.stem(image))
        a16 = self.a16(a8)
        branch_a = self.fuse_a8(self.fuse_a16(self.a32(a16), a16), a8)
        b8 = self.b8(a8)
        branch_b = self.fuse_b8(self.b16(b8), b8)
        logits = self.head(self.fuse(torch.cat([branch_a, branch_b], dim=1)))
        return to_size(logits, image.shape[2:]) if self.full_size else logits


def fasterseg(num_classes: int = 19, *, full_size: bool = True) -> FasterSeg:
    """The published student."""
    return FasterSeg(num_classes, full_size=full_size)
