"""FASSD-Net and its lighter forms L1 and L2.

L. Rosas-Arias, G. Benitez-Garcia, J. Portillo-Portillo, G. Sanchez-Perez, K. Yanai: "Fast and
Accurate Real-Time Semantic Segmentation with Dilated Asymmetric Convolutions", ICPR 2020,
DOI 10.1109/ICPR48806.2021.9413176; journal version in IEEE T-ITS, 2022. The encoder is the
HarDNet of P. Chao et al., arXiv 1909.00948.

In: ``N x 3 x H x W``. Out: logits ``N x classes x H x W``; with ``full_size=False`` they stay at
1/4 (FASSD-Net), 1/6 (L1) or 1/8 (L2). Any size fits, because maps are resized to explicit sizes.

All follows the authors' code, so nothing had to be chosen. The odd channel counts and the many
concatenations belong to the network. The blog timed L2 exactly as it is here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchlib.models.nets.blocks import ConvBNReLU, conv, resize

GROWTH_MULTIPLIER = 1.7
ENCODER = ((10, 4, 64), (16, 4, 96), (18, 8, 160), (24, 8, 224))  # growth, layers, transition
DECODER = ((8, 18, 8), (4, 16, 4), (2, 10, 4))  # dilation, growth, layers; deep to shallow
LIGHT_WIDTH = 64
DILATIONS = (12, 24, 36)


def harmonic_links(layer: int) -> list[int]:
    """Return the layers that feed ``layer`` (from 1), nearest first; 0 is the block's input."""
    powers = [1 << bit for bit in range(layer.bit_length())]
    return [layer - power for power in powers if layer % power == 0]


def harmonic_width(layer: int, growth: int) -> int:
    """Return the channels of ``layer``: the growth, widened for each further link, made even."""
    width = float(growth)
    for _ in harmonic_links(layer)[1:]:
        width *= GROWTH_MULTIPLIER
    return int(width + 1) // 2 * 2


class HarDBlock(nn.Module):
    """Harmonic dense block; gives ``out_channels`` maps: its odd layers and its last."""

    def __init__(self, in_channels: int, growth: int, layers: int) -> None:
        super().__init__()
        widths = [in_channels] + [harmonic_width(n, growth) for n in range(1, layers + 1)]
        self.links = [harmonic_links(n) for n in range(1, layers + 1)]
        self.layers = nn.ModuleList(
            ConvBNReLU(sum(widths[link] for link in links), width)
            for links, width in zip(self.links, widths[1:], strict=True)
        )
        self.kept = [n for n in range(1, layers + 1) if n % 2 == 1 or n == layers]
        self.out_channels = sum(widths[n] for n in self.kept)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for links, layer in zip(self.links, self.layers, strict=True):
            maps.append(layer(join([maps[link] for link in links])))
        return join([maps[n] for n in self.kept])


def join(maps: list[Tensor]) -> Tensor:
    """Concatenate channels; one map alone stays as it is, with no node in the graph."""
    return torch.cat(maps, dim=1) if len(maps) > 1 else maps[0]


class DilatedPyramid(nn.Module):
    """DAPF: one plain and three dilated asymmetric branches, joined; channels unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branches = nn.ModuleList([ConvBNReLU(channels, half, kernel=1)])
        for dilation in DILATIONS:
            self.branches.append(
                nn.Sequential(
                    ConvBNReLU(channels, half, (3, 1), dilation=(dilation, 1)),
                    ConvBNReLU(half, half, (1, 3), dilation=(1, dilation)),
                )
            )
        self.join = ConvBNReLU(4 * half, channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([branch(x) for branch in self.branches], dim=1))


class BNPReLU(nn.Sequential):
    """Batch normalisation (eps 1e-3), then a PReLU with one slope per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.BatchNorm2d(channels, eps=1e-3), nn.PReLU(channels))


class DilatedAsymmetric(nn.Module):
    """MDA: a plain and a dilated asymmetric branch at half the width, added to the input."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        half = channels // 2
        self.reduce = nn.Sequential(BNPReLU(channels), conv(channels, half), BNPReLU(half))
        self.plain = nn.Sequential(conv(half, half), BNPReLU(half))
        self.dilated = nn.Sequential(
            conv(half, half, (3, 1), dilation=(dilation, 1)),
            BNPReLU(half),
            conv(half, half, (1, 3), dilation=(1, dilation)),
            BNPReLU(half),
        )
        self.expand = nn.Sequential(BNPReLU(half), conv(half, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.reduce(x)
        return x + self.expand(self.plain(reduced) + self.dilated(reduced))


class DecoderStage(nn.Module):
    """Joins the deeper map, enlarged, with an encoder's; ``out_channels`` maps at its size."""

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        dilation: int,
        growth: int,
        layers: int,
        *,
        light: bool,
    ) -> None:
        super().__init__()
        half = (in_channels + skip_channels) // 2
        self.halve = ConvBNReLU(in_channels + skip_channels, half, kernel=1)
        self.mda = DilatedAsymmetric(half, dilation)
        if light:
            self.block = ConvBNReLU(half, LIGHT_WIDTH)
            self.out_channels = LIGHT_WIDTH
        else:
            self.block = HarDBlock(half, growth, layers)
            self.out_channels = self.block.out_channels

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = resize(x, skip.shape[2:], align_corners=True)
        return self.block(self.mda(self.halve(torch.cat([x, skip], dim=1))))


class FASSDNet(nn.Module):
    """The whole network; ``strides`` are the stem's four, ``light`` its decoder without blocks."""

    def __init__(
        self,
        num_classes: int = 19,
        *,
        full_size: bool = True,
        strides: tuple[int, int, int, int] = (2, 1, 2, 1),
        light: bool = False,
    ) -> None:
        super().__init__()
        self.full_size = full_size
        widths = (3, 16, 24, 32, 48)
        self.stem = nn.Sequential(
            *(
                ConvBNReLU(i, o, stride=stride)
                for i, o, stride in zip(widths[:-1], widths[1:], strides, strict=True)
            )
        )
        self.blocks, self.transitions = nn.ModuleList(), nn.ModuleList()
        channels = widths[-1]
        for growth, layers, out_channels in ENCODER:
            block = HarDBlock(channels, growth, layers)
            self.blocks.append(block)
            self.transitions.append(ConvBNReLU(block.out_channels, out_channels, kernel=1))
            channels = out_channels
        self.pool = nn.AvgPool2d(2)
        self.pyramid = DilatedPyramid(channels)
        self.decoder = nn.ModuleList()
        skips = [block.out_channels for block in self.blocks][-2::-1]
        for skip, (dilation, growth, layers) in zip(skips, DECODER, strict=True):
            stage = DecoderStage(channels, skip, dilation, growth, layers, light=light)
            self.decoder.append(stage)
            channels = stage.out_channels
        self.head = conv(channels, num_classes, 1, bias=True)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        skips = []
        for block, transition in zip(self.blocks, self.transitions, strict=True):
            if skips:
                x = self.pool(x)
            x = block(x)
            skips.append(x)
            x = transition(x)
        x = self.pyramid(x)
        for stage, skip in zip(self.decoder, skips[-2::-1], strict=True):
            x = stage(x, skip)
        logits = self.head(x)
        return resize(logits, image.shape[2:], align_corners=True) if self.full_size else logits


def fassdnet(num_classes: int = 19, *, full_size: bool = True) -> FASSDNet:
    """FASSD-Net: decodes at 1/4."""
    return FASSDNet(num_classes, full_size=full_size)


def fassdnet_l1(num_classes: int = 19, *, full_size: bool = True) -> FASSDNet:
    """L1: the same layers at 1/6."""
    return FASSDNet(num_classes, full_size=full_size, strides=(3, 1, 2, 1))


def fassdnet_l2(num_classes: int = 19, *, full_size: bool = True) -> FASSDNet:
    """L2: 1/8, and single convolutions in the decoder; the one that the blog timed."""
    return FASSDNet(num_classes, full_size=full_size, strides=(2, 2, 2, 1), light=True)
