"""Fast-SCNN, and the blog's own version of it.

R. P. K. Poudel, S. Liwicki, R. Cipolla: "Fast-SCNN: Fast Semantic Segmentation Network",
BMVC 2019, arXiv 1902.04502.

In: ``N x 3 x H x W``, H and W multiples of 32. Out: logits ``N x classes x H x W``, or
``H/8 x W/8`` with ``full_size=False``.

The authors' code is not public. :func:`fast_scnn` follows the paper's tables: no activation
between the depthwise and the pointwise convolution of a separable pair, dilation 4 in the fusion,
every resize bilinear without aligned corners, first convolution padded.

:func:`fast_scnn_blog` differs as the blog's code does: four parallel convolutions in the place of
the pyramid's pooling, bottlenecks normalised only after their depthwise convolution, one output
class, no final resize, and the first three points as the public implementations have them.

The pyramid averages the map over 1, 2, 3 and 6 bins a side. Bins do not divide most maps, and
exporters either refuse such pooling or unroll it into hundreds of nodes, so while a graph is
exported the same averages are two matrix products (:func:`averaging_matrix`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, relu

from benchlib.models.nets.blocks import ConvBN, ConvBNReLU, conv, require_multiple, resize, upsample

DIVISOR = 32  # the 1/32 map is enlarged by a fixed factor and added to the 1/8 map
BINS = (1, 2, 3, 6)
EXPANSION = 6


@dataclass(frozen=True, slots=True)
class Variant:
    """Where implementations of this network differ; the defaults follow the paper.

    ``pyramid_pools`` is False where convolutions of growing size take the place of the pooling;
    ``bottleneck_norms`` is False where only a bottleneck's depthwise convolution is normalised.
    """

    activate_depthwise: bool = False
    fusion_dilation: int = 4
    align_corners: bool = False
    pyramid_pools: bool = True
    bottleneck_norms: bool = True


BLOG = Variant(
    activate_depthwise=True,
    fusion_dilation=1,
    align_corners=True,
    pyramid_pools=False,
    bottleneck_norms=False,
)


def averaging_matrix(length: int | Tensor, like: Tensor) -> Tensor:
    """Return the matrix that averages ``length`` values over each bin count of ``BINS``.

    Shape ``sum(BINS) x length``, one row per bin, device and type those of ``like``. Bin ``i`` of
    ``n`` covers the columns from ``floor(i*length/n)`` up to ``ceil((i+1)*length/n)``, as adaptive
    average pooling does. ``length`` may be a value of the graph being traced; if it is not,
    the exporter folds every step here into a constant.
    """
    device = like.device
    bins = torch.tensor([[n] for n in BINS for _ in range(n)], device=device)
    index = torch.tensor([[i] for n in BINS for i in range(n)], device=device)
    column = torch.arange(length, device=device)
    # Nothing is negative, so cutting off is rounding down; it exports as one node.
    start = torch.div(index * length, bins, rounding_mode="trunc")
    end = torch.div((index + 1) * length + bins - 1, bins, rounding_mode="trunc")
    covered = (column + 1 > start).to(like.dtype) * (column < end).to(like.dtype)
    return covered / (end - start).to(like.dtype)


def bin_averages(x: Tensor) -> list[Tensor]:
    """Return the averages of ``N x C x H x W`` over ``n x n`` bins, for each n of ``BINS``."""
    if not torch.onnx.is_in_onnx_export():
        return [adaptive_avg_pool2d(x, n) for n in BINS]
    rows = averaging_matrix(x.shape[2], x)
    columns = averaging_matrix(x.shape[3], x)
    # All bin counts at once, so that the map is read once; only the blocks on the diagonal count.
    averages = rows @ (x @ columns.t())
    ends = [sum(BINS[: place + 1]) for place in range(len(BINS))]
    return [averages[:, :, end - n : end, end - n : end] for n, end in zip(BINS, ends, strict=True)]


class SeparableConv(nn.Sequential):
    """Depthwise 3x3, then pointwise; each normalised."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, *, activate_depthwise: bool
    ) -> None:
        super().__init__(
            (ConvBNReLU if activate_depthwise else ConvBN)(
                in_channels, in_channels, stride=stride, groups=in_channels
            ),
            ConvBNReLU(in_channels, out_channels, kernel=1),
        )


class Bottleneck(nn.Module):
    """Inverted residual: expand six times, depthwise 3x3, project."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, norms: bool) -> None:
        super().__init__()
        inner = EXPANSION * in_channels
        self.block = nn.Sequential(
            ConvBNReLU(in_channels, inner, kernel=1)
            if norms
            else conv(in_channels, inner, 1, bias=True),
            ConvBNReLU(inner, inner, stride=stride, groups=inner),
            ConvBN(inner, out_channels, kernel=1) if norms else conv(inner, out_channels, 1),
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x)
        return x + y if self.residual else y


class PyramidPooling(nn.Module):
    """128 channels in and out: averages over four grids, joined to the map itself."""

    def __init__(self, channels: int = 128, *, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.reduce = nn.ModuleList(
            ConvBNReLU(channels, channels // len(BINS), kernel=1) for _ in BINS
        )
        self.join = ConvBNReLU(2 * channels, channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [
            resize(reduce(average), x.shape[2:], align_corners=self.align_corners)
            for reduce, average in zip(self.reduce, bin_averages(x), strict=True)
        ]
        return self.join(torch.cat([x, *pooled], dim=1))


class PyramidConvolution(nn.Module):
    """The blog's pyramid, 128 channels in and out: kernels of 1, 3, 5 and 7; no pooling."""

    def __init__(self, channels: int = 128) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            ConvBNReLU(channels, channels // 4, kernel) for kernel in (1, 3, 5, 7)
        )
        self.join = ConvBNReLU(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([level(x) for level in self.levels], dim=1))


class FeatureFusion(nn.Module):
    """Adds the enlarged 1/32 map (128 channels) to the 1/8 map (64 channels); out 128 at 1/8."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.align_corners = variant.align_corners
        self.depthwise = ConvBNReLU(128, 128, groups=128, dilation=variant.fusion_dilation)
        self.low = ConvBN(128, 128, kernel=1, bias=True)
        self.high = ConvBN(64, 128, kernel=1, bias=True)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        low = self.depthwise(upsample(low, 4, align_corners=self.align_corners))
        return relu(self.low(low) + self.high(high))


class FastSCNN(nn.Module):
    """The whole network; see the module's docstring for shapes."""

    def __init__(
        self, num_classes: int = 19, *, full_size: bool = True, variant: Variant | None = None
    ) -> None:
        super().__init__()
        variant = variant or Variant()
        inside = variant.activate_depthwise
        self.full_size = full_size
        self.align_corners = variant.align_corners
        self.downsample = nn.Sequential(
            ConvBNReLU(3, 32, stride=2),
            SeparableConv(32, 48, stride=2, activate_depthwise=inside),
            SeparableConv(48, 64, stride=2, activate_depthwise=inside),
        )
        self.features = nn.Sequential(
            *(
                Bottleneck(i, o, stride, norms=variant.bottleneck_norms)
                for i, o, stride in (
                    *((64, 64, 2), (64, 64, 1), (64, 64, 1)),
                    *((64, 96, 2), (96, 96, 1), (96, 96, 1)),
                    *((96, 128, 1), (128, 128, 1), (128, 128, 1)),
                )
            )
        )
        self.pyramid = (
            PyramidPooling(align_corners=variant.align_corners)
            if variant.pyramid_pools
            else PyramidConvolution()
        )
        self.fusion = FeatureFusion(variant)
        self.separable = nn.Sequential(
            SeparableConv(128, 128, activate_depthwise=inside),
            SeparableConv(128, 128, activate_depthwise=inside),
        )
        self.classifier = conv(128, num_classes, 1, bias=True)

    def forward(self, image: Tensor) -> Tensor:
        require_multiple(image, DIVISOR)
        high = self.downsample(image)
        low = self.pyramid(self.features(high))
        logits = self.classifier(self.separable(self.fusion(high, low)))
        return upsample(logits, 8, align_corners=self.align_corners) if self.full_size else logits


def fast_scnn(num_classes: int = 19, *, full_size: bool = True) -> FastSCNN:
    """The network as its paper describes it."""
    return FastSCNN(num_classes, full_size=full_size)


def fast_scnn_blog(num_classes: int = 1, *, full_size: bool = False) -> FastSCNN:
    """The network that the blog timed: one output class, logits left at 1/8."""
    return FastSCNN(num_classes, full_size=full_size, variant=BLOG)
