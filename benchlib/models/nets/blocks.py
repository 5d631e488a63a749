"""What the papers' networks are made of: a normalised convolution, two resizes, a size check.

Maps are ``batch x channels x height x width``. Every network here is for inference: nothing that
only training needs (auxiliary heads, dropout) is built.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

Activation = Callable[[], nn.Module]


def conv(
    in_channels: int,
    out_channels: int,
    kernel: int | tuple[int, int] = 3,
    stride: int = 1,
    *,
    groups: int = 1,
    dilation: int | tuple[int, int] = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """A convolution padded so that stride 1 keeps the size; no bias unless asked for."""
    kernels = (kernel, kernel) if isinstance(kernel, int) else kernel
    dilations = (dilation, dilation) if isinstance(dilation, int) else dilation
    padding = tuple(d * (k - 1) // 2 for k, d in zip(kernels, dilations, strict=True))
    return nn.Conv2d(
        in_channels, out_channels, kernels, stride, padding, dilations, groups, bias=bias
    )


class ConvBN(nn.Sequential):
    """Convolution (as :func:`conv` makes it), batch normalisation and the activation, if any."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int] = 3,
        stride: int = 1,
        *,
        activation: Activation | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            conv(in_channels, out_channels, kernel, stride, **options),
            nn.BatchNorm2d(out_channels),
            *([] if activation is None else [activation()]),
        )


ConvBNReLU = partial(ConvBN, activation=nn.ReLU)
"""Convolution, batch normalisation, ReLU."""


class BNReLUConv(nn.Sequential):
    """The pre-activation order: batch normalisation, ReLU, convolution."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, bias: bool = False):
        super().__init__(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(),
            conv(in_channels, out_channels, kernel, bias=bias),
        )


def upsample(x: Tensor, factor: int, *, align_corners: bool = False) -> Tensor:
    """Enlarge both sides by a whole ``factor``, bilinearly."""
    return interpolate(x, scale_factor=factor, mode="bilinear", align_corners=align_corners)


def resize(x: Tensor, size: tuple[int, int] | torch.Size, *, align_corners: bool = False) -> Tensor:
    """Bring ``x`` to ``size``, given as (height, width), bilinearly."""
    return interpolate(x, size=size, mode="bilinear", align_corners=align_corners)


def require_multiple(image: Tensor, divisor: int) -> None:
    """Raise ``ValueError`` unless the image's height and width are multiples of ``divisor``.

    While a graph is traced the sizes are values of that graph, so nothing is checked then.
    """
    if torch.jit.is_tracing():
        return
    height, width = image.shape[-2:]
    if height % divisor or width % divisor:
        raise ValueError(
            f"the image is {height} high and {width} wide; "
            f"this network needs multiples of {divisor}"
        )
