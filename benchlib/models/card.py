"""The card of a network: what is known of it before it is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchlib.errors import InputError

if TYPE_CHECKING:
    from torch import nn

CLASSIFICATION = "classification"
SEGMENTATION = "segmentation"
IMAGENET_TOP1 = "ImageNet top-1"
CITYSCAPES_MIOU = "Cityscapes mIoU"

MINIMUM_SIDE = 32
"""Pixels. Every network of the line-up halves its input five times."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A published accuracy; nothing here is measured by this package.

    ``value`` is in percent and None when nobody published one that we could read. ``metric`` is
    the quantity (two metrics are never ranked together), ``source`` says whose number it is, on
    which split and at which input size. ``weights`` names torchvision's weights it belongs to.
    """

    value: float | None = None
    metric: str | None = None
    source: str | None = None
    weights: str | None = None


def _unknown() -> Accuracy:
    return Accuracy()


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of one network.

    ``build`` makes it with random weights, taking 3xHxW images; ``pretrained`` makes it with
    ImageNet weights and may download them. Both are None where there is no such thing (a user's
    ONNX file has ``path`` instead). ``published`` looks the accuracy up, lazily because
    torchvision's metadata takes seconds to import. ``task`` is "classification", "segmentation"
    or "" where it is not known. ``divisor``: height and width must be its multiples.
    ``fixed_size`` is the only (height, width) it takes, where there is only one.
    ``output`` says in words where the timed graph ends. ``features_only`` marks a network timed
    without its classifier, whose accuracy is nonetheless the whole network's.
    ``reconstruction`` marks a network rebuilt from an incomplete description: such a one stays
    out of the findings.
    """

    name: str
    family: str
    task: str
    title: str
    paper: str
    output: str
    build: Callable[[], nn.Module] | None = None
    pretrained: Callable[[], nn.Module] | None = None
    published: Callable[[], Accuracy] = field(default=_unknown, repr=False)
    blog_name: str | None = None
    divisor: int = 1
    fixed_size: tuple[int, int] | None = None
    path: Path | None = None
    note: str = ""
    features_only: bool = False
    reconstruction: bool = False

    @property
    def accuracy(self) -> float | None:
        """Percent, published by others; None when unknown."""
        return self.published().value

    @property
    def accuracy_metric(self) -> str | None:
        """ "ImageNet top-1" or "Cityscapes mIoU"."""
        return self.published().metric

    @property
    def accuracy_source(self) -> str | None:
        """Whose number it is, on which split and at which input size."""
        return self.published().source

    @property
    def weights_enum(self) -> str | None:
        """torchvision's name of the weights that have the accuracy."""
        return self.published().weights

    def check_size(self, height: int, width: int) -> None:
        """Raise :class:`InputError` when the network cannot take ``height`` x ``width`` pixels."""
        asked = f"{width}x{height}"
        if self.fixed_size is not None:
            if (height, width) != self.fixed_size:
                fixed = f"{self.fixed_size[1]}x{self.fixed_size[0]}"
                raise InputError(
                    "resolutions",
                    f"{asked} cannot be had from {self.name}, whose input is fixed at {fixed}; "
                    f"ask for {fixed}, or for a file exported with dynamic height and width",
                )
            return
        if self.path is None and min(height, width) < MINIMUM_SIDE:
            raise InputError(
                "resolutions", f"{asked} is too small; each side needs {MINIMUM_SIDE} pixels"
            )
        if height % self.divisor or width % self.divisor:
            nearest = "x".join(
                str(max(1, round(side / self.divisor)) * self.divisor) for side in (width, height)
            )
            raise InputError(
                "resolutions",
                f"{asked} does not suit {self.name}, whose width and height must be multiples of "
                f"{self.divisor}; {nearest} does",
            )
