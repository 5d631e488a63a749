"""BiSeNetV2, and the blog's own version of it.

C. Yu, C. Gao, J. Wang, G. Yu, C. Shen, N. Sang: "BiSeNet V2: Bilateral Network with Guided
Aggregation for Real-time Semantic Segmentation", arXiv 2004.02147, IJCV 2021.

In: ``N x 3 x H x W``, H and W multiples of 32. Out: logits ``N x classes x H x W``, or
``H/8 x W/8`` with ``full_size=False``.

The authors published no code. Where the public implementations differ, :func:`bisenetv2` follows
the ones with published accuracy: head width 1024, a gather-and-expansion layer whose first
convolution keeps its width, ReLU after its last depthwise convolution, normalised pooling in the
context embedding, and bilinear resizing in the aggregation (with the sigmoid after it). It costs
24.60 GMAC at 512x1024 where the paper states 21.15, which no public implementation reproduces.

:func:`bisenetv2_blog` differs as the blog's code does: a 128 channels wide second detail stage,
head width 768, one output class, biases on all convolutions, LeakyReLU, no activation after the
depthwise convolutions, a plainer context embedding and aggregation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchlib.models.nets.blocks import Activation, ConvBN, conv, require_multiple, upsample

DIVISOR = 32  # the 1/32 map is enlarged by a fixed factor and added to the 1/8 map
EXPANSION = 6


@dataclass(frozen=True, slots=True)
class Variant:
    """Where implementations of this network differ; the defaults are the standard network.

    ``stage2_width`` counts the channels of the second detail stage, ``head_width`` those of the
    head. ``embedding_norms`` normalises the pooled vector and the last convolution of the context
    embedding.
    """

    stage2_width: int = 64
    head_width: int = 1024
    conv_bias: bool = False
    activation: Activation = nn.ReLU
    activate_depthwise: bool = True
    embedding_norms: bool = True
    activate_fusion: bool = True
    sigmoid_before_resize: bool = False

    def conv_bn(self, *channels: int, activate: bool = True, **options: int) -> ConvBN:
        """A normalised convolution with this variant's bias and activation."""
        activation = self.activation if activate else None
        return ConvBN(*channels, bias=self.conv_bias, activation=activation, **options)


BLOG = Variant(
    stage2_width=128,
    head_width=768,
    conv_bias=True,
    activation=nn.LeakyReLU,
    activate_depthwise=False,
    embedding_norms=False,
    activate_fusion=False,
    sigmoid_before_resize=True,
)


class DetailBranch(nn.Sequential):
    """Wide and shallow: 3 channels to 128 at 1/8."""

    def __init__(self, variant: Variant) -> None:
        width = variant.stage2_width
        super().__init__(
            variant.conv_bn(3, 64, stride=2),
            variant.conv_bn(64, 64),
            variant.conv_bn(64, width, stride=2),
            variant.conv_bn(width, width),
            variant.conv_bn(width, width),
            variant.conv_bn(width, 128, stride=2),
            variant.conv_bn(128, 128),
            variant.conv_bn(128, 128),
        )


class Stem(nn.Module):
    """The semantic branch's entrance: 3 channels to 16 at 1/4, by convolution and by pooling."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.entrance = variant.conv_bn(3, 16, stride=2)
        self.left = nn.Sequential(
            variant.conv_bn(16, 8, kernel=1), variant.conv_bn(8, 16, stride=2)
        )
        self.right = nn.MaxPool2d(3, stride=2, padding=1)
        self.fuse = variant.conv_bn(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.entrance(x)
        return self.fuse(torch.cat([self.left(x), self.right(x)], dim=1))


class GatherExpand(nn.Module):
    """Gather-and-expansion layer; with stride 2 it has a second depthwise step and a shortcut."""

    def __init__(
        self, variant: Variant, in_channels: int, out_channels: int, stride: int = 1
    ) -> None:
        super().__init__()
        expanded = EXPANSION * in_channels
        layers = [variant.conv_bn(in_channels, in_channels)]
        if stride == 2:
            layers.append(
                variant.conv_bn(in_channels, expanded, stride=2, groups=in_channels, activate=False)
            )
        gathered = expanded if stride == 2 else in_channels
        layers += [
            variant.conv_bn(
                gathered, expanded, groups=gathered, activate=variant.activate_depthwise
            ),
            variant.conv_bn(expanded, out_channels, kernel=1, activate=False),
        ]
        self.main = nn.Sequential(*layers)
        self.shortcut = nn.Identity()
        if stride == 2:
            self.shortcut = nn.Sequential(
                variant.conv_bn(
                    in_channels, in_channels, stride=2, groups=in_channels, activate=False
                ),
                variant.conv_bn(in_channels, out_channels, kernel=1, activate=False),
            )
        self.activation = variant.activation()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.main(x) + self.shortcut(x))


class ContextEmbedding(nn.Module):
    """Adds what the whole map says to each of its points; shape unchanged."""

    def __init__(self, variant: Variant, channels: int = 128) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels) if variant.embedding_norms else nn.Identity()
        self.squeeze = variant.conv_bn(channels, channels, kernel=1)
        self.last = (
            variant.conv_bn(channels, channels)
            if variant.embedding_norms
            else conv(channels, channels, bias=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        whole = self.norm(x.mean((2, 3), keepdim=True))
        return self.last(x + self.squeeze(whole))


class SemanticBranch(nn.Module):
    """Narrow and deep: 3 channels to 128 at 1/32."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.stem = Stem(variant)
        self.stage3 = nn.Sequential(
            GatherExpand(variant, 16, 32, stride=2), GatherExpand(variant, 32, 32)
        )
        self.stage4 = nn.Sequential(
            GatherExpand(variant, 32, 64, stride=2), GatherExpand(variant, 64, 64)
        )
        self.stage5 = nn.Sequential(
            GatherExpand(variant, 64, 128, stride=2),
            *(GatherExpand(variant, 128, 128) for _ in range(3)),
        )
        self.embedding = ContextEmbedding(variant)

    def forward(self, x: Tensor) -> Tensor:
        return self.embedding(self.stage5(self.stage4(self.stage3(self.stem(x)))))


class GuidedAggregation(nn.Module):
    """Detail (1/8) and semantics (1/32), each 128 channels, guide each other; out at 1/8."""

    def __init__(self, variant: Variant, channels: int = 128) -> None:
        super().__init__()
        self.detail_keep = self._keep(variant, channels)
        self.detail_down = nn.Sequential(
            variant.conv_bn(channels, channels, stride=2, activate=False),
            nn.AvgPool2d(3, stride=2, padding=1),
        )
        self.semantic_up = variant.conv_bn(channels, channels, activate=False)
        self.semantic_keep = self._keep(variant, channels)
        self.fuse = variant.conv_bn(channels, channels, activate=variant.activate_fusion)
        self.sigmoid_before_resize = variant.sigmoid_before_resize

    @staticmethod
    def _keep(variant: Variant, channels: int) -> nn.Sequential:
        return nn.Sequential(
            variant.conv_bn(channels, channels, groups=channels, activate=False),
            conv(channels, channels, 1, bias=variant.conv_bias),
        )

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        up = self.semantic_up(semantic)
        if self.sigmoid_before_resize:
            guide = upsample(torch.sigmoid(up), 4)
        else:
            guide = torch.sigmoid(upsample(up, 4))
        left = self.detail_keep(detail) * guide
        right = self.detail_down(detail) * torch.sigmoid(self.semantic_keep(semantic))
        return self.fuse(left + upsample(right, 4))


class BiSeNetV2(nn.Module):
    """The whole network; see the module's docstring for shapes."""

    def __init__(
        self, num_classes: int = 19, *, full_size: bool = True, variant: Variant | None = None
    ) -> None:
        super().__init__()
        variant = variant or Variant()
        self.full_size = full_size
        self.detail = DetailBranch(variant)
        self.semantic = SemanticBranch(variant)
        self.aggregation = GuidedAggregation(variant)
        self.head = nn.Sequential(
            variant.conv_bn(128, variant.head_width),
            conv(variant.head_width, num_classes, 1, bias=True),
        )

    def forward(self, image: Tensor) -> Tensor:
        require_multiple(image, DIVISOR)
        logits = self.head(self.aggregation(self.detail(image), self.semantic(image)))
        return upsample(logits, 8) if self.full_size else logits


def bisenetv2(num_classes: int = 19, *, full_size: bool = True) -> BiSeNetV2:
    """The standard network."""
    return BiSeNetV2(num_classes, full_size=full_size)


def bisenetv2_blog(num_classes: int = 1, *, full_size: bool = True) -> BiSeNetV2:
    """The network that the blog timed, with its one output class."""
    return BiSeNetV2(num_classes, full_size=full_size, variant=BLOG)
