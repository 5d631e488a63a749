"""DDRNet-23-slim, and a reconstruction of DAPSPNet that is made from it.

Y. Hong, H. Pan, W. Sun, Y. Jia: "Deep Dual-resolution Networks for Real-time and Accurate
Semantic Segmentation of Road Scenes", arXiv 2101.06085, 2021; journal version in IEEE T-ITS 2023,
DOI 10.1109/TITS.2022.3228042.

In: ``N x 3 x H x W``, H and W multiples of 8. Out: logits ``N x classes x H x W``, or
``H/8 x W/8`` with ``full_size=False``.

All follows the authors' code, whose network ends at 1/8; their timing enlarges the logits to the
input's size, as is done here. Blocks leave their sums without an activation where both branches
take them up, so the activations stand in :meth:`DualResolution.forward`.

"DAPSPNet: Deep Aggregation Pyramid Strip Pooling Network for Real-time and Accurate Segmentation",
IEEE Xplore document 10365437, 2023. No code is public and only the abstract could be read: a
dual-resolution network for road scenes, to whose multi-scale module pooling over strips of length
5, 9 and 17 and width 1 is added. Those lengths are the windows of DDRNet's DAPPM, so this is
DDRNet-23-slim with strips in that module, by the simplest reading: each square average has the two
strip averages added. It cannot be checked against published parameters, GFLOPs or accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from benchlib.models.nets.blocks import BNReLUConv, ConvBN, ConvBNReLU, require_multiple, resize

DIVISOR = 8  # maps at 1/8 are resized to H // 8 x W // 8
WIDTH = 32


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; ``activate`` says whether the sum is activated."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, *, activate: bool
    ) -> None:
        super().__init__()
        self.main = nn.Sequential(
            ConvBNReLU(in_channels, out_channels, stride=stride), ConvBN(out_channels, out_channels)
        )
        self.shortcut = (
            nn.Identity()
            if stride == 1 and in_channels == out_channels
            else ConvBN(in_channels, out_channels, kernel=1, stride=stride)
        )
        self.activation = nn.ReLU() if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.main(x) + self.shortcut(x))


class BottleneckBlock(nn.Module):
    """1x1, 3x3, 1x1 to twice the width, and a shortcut; the sum is not activated."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            ConvBNReLU(in_channels, width, kernel=1),
            ConvBNReLU(width, width, stride=stride),
            ConvBN(width, 2 * width, kernel=1),
        )
        self.shortcut = ConvBN(in_channels, 2 * width, kernel=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x) + self.shortcut(x)


def pair(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Two basic blocks; the second's sum is left for its consumers to activate."""
    return nn.Sequential(
        BasicBlock(in_channels, out_channels, stride, activate=True),
        BasicBlock(out_channels, out_channels, activate=False),
    )


class GlobalAverage(nn.Module):
    """The mean over height and width, as a 1x1 map."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


WINDOWS = ((5, 2), (9, 4), (17, 8))
"""Side and stride of DAPPM's three windows."""


def square_pools() -> list[nn.Module]:
    """DAPPM's windows, then the whole map."""
    return [*(nn.AvgPool2d(k, s, k // 2) for k, s in WINDOWS), GlobalAverage()]


class AggregationPyramid(nn.Module):
    """DAPPM: the map pooled at several scales, each adding to the one before; size unchanged.

    One branch of ``width`` channels per pool, and one without pooling.
    """

    def __init__(
        self, in_channels: int, width: int, out_channels: int, pools: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.first = BNReLUConv(in_channels, width, 1)
        self.scales = nn.ModuleList(
            nn.Sequential(pool, BNReLUConv(in_channels, width, 1)) for pool in pools
        )
        self.merges = nn.ModuleList(BNReLUConv(width, width, 3) for _ in pools)
        self.compress = BNReLUConv((len(pools) + 1) * width, out_channels, 1)
        self.shortcut = BNReLUConv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.first(x)]
        for scale, merge in zip(self.scales, self.merges, strict=True):
            maps.append(merge(resize(scale(x), x.shape[2:]) + maps[-1]))
        return self.compress(torch.cat(maps, dim=1)) + self.shortcut(x)


class DualResolution(nn.Module):
    """The whole network; ``pools`` are the pyramid's, for networks that change only those."""

    def __init__(
        self,
        num_classes: int = 19,
        *,
        full_size: bool = True,
        pools: Sequence[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.full_size = full_size
        w = WIDTH
        self.stem = nn.Sequential(
            ConvBN(3, w, stride=2, bias=True, activation=nn.ReLU),
            ConvBN(w, w, stride=2, bias=True, activation=nn.ReLU),
        )
        self.layer1 = pair(w, w)
        self.layer2 = pair(w, 2 * w, stride=2)
        self.low3 = pair(2 * w, 4 * w, stride=2)
        self.high3 = pair(2 * w, 2 * w)
        self.down3 = ConvBN(2 * w, 4 * w, stride=2)
        self.up3 = ConvBN(4 * w, 2 * w, kernel=1)
        self.low4 = pair(4 * w, 8 * w, stride=2)
        self.high4 = pair(2 * w, 2 * w)
        self.down4 = nn.Sequential(
            ConvBNReLU(2 * w, 4 * w, stride=2), ConvBN(4 * w, 8 * w, stride=2)
        )
        self.up4 = ConvBN(8 * w, 2 * w, kernel=1)
        self.high5 = BottleneckBlock(2 * w, 2 * w, stride=1)
        self.low5 = BottleneckBlock(8 * w, 8 * w, stride=2)
        self.pyramid = AggregationPyramid(16 * w, 128, 4 * w, pools or square_pools())
        self.head = nn.Sequential(
            BNReLUConv(4 * w, 64, 3), BNReLUConv(64, num_classes, 1, bias=True)
        )

    def forward(self, image: Tensor) -> Tensor:
        require_multiple(image, DIVISOR)
        eighth = (image.shape[2] // 8, image.shape[3] // 8)
        x = relu(self.layer2(relu(self.layer1(self.stem(image)))))

        low, high = self.low3(x), self.high3(x)
        x, high = (
            relu(low + self.down3(relu(high))),
            relu(high + resize(self.up3(relu(low)), eighth)),
        )
        low, high = self.low4(x), self.high4(high)
        x, high = (
            relu(low + self.down4(relu(high))),
            relu(high + resize(self.up4(relu(low)), eighth)),
        )
        low, high = self.pyramid(self.low5(x)), self.high5(high)

        logits = self.head(high + resize(low, eighth))
        return resize(logits, image.shape[2:]) if self.full_size else logits


def ddrnet23_slim(num_classes: int = 19, *, full_size: bool = True) -> DualResolution:
    """The slim network of 23 layers."""
    return DualResolution(num_classes, full_size=full_size)


# DAPSPNet.


class StripPool(nn.Module):
    """The sum of the averages over a lying and a standing strip; both axes are strided."""

    def __init__(self, length: int, stride: int) -> None:
        super().__init__()
        self.lying = nn.AvgPool2d((1, length), stride, (0, length // 2))
        self.standing = nn.AvgPool2d((length, 1), stride, (length // 2, 0))

    def forward(self, x: Tensor) -> Tensor:
        return self.lying(x) + self.standing(x)


class SquareAndStripPool(nn.Module):
    """The average over a square plus those over the strips of its length."""

    def __init__(self, length: int, stride: int) -> None:
        super().__init__()
        self.square = nn.AvgPool2d(length, stride, length // 2)
        self.strips = StripPool(length, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.square(x) + self.strips(x)


def dapspnet(num_classes: int = 19, *, full_size: bool = True) -> DualResolution:
    """The reconstruction of DAPSPNet; see the top of this module."""
    pools = [*(SquareAndStripPool(length, stride) for length, stride in WINDOWS), GlobalAverage()]
    return DualResolution(num_classes, full_size=full_size, pools=pools)
