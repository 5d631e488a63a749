"""The cards of the real-time segmentation networks, which this package writes out itself.

Every timed graph ends at the class scores at the size of the input image, without argmax, so
that the networks are compared over the same work; the publications ended in different places.
The scores at a network's own output stride are the second choice (``NAME@stride``). One entry
differs: ``fast_scnn_blog`` ends at 1/8, as the blog timed it, so that its table can be repeated.

Accuracies are the publications', on the validation split where it is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from benchlib.models.card import CITYSCAPES_MIOU, SEGMENTATION, Accuracy, Card

if TYPE_CHECKING:
    from torch import nn

FAMILY = "Real-time segmentation"
STRIDE_SUFFIX = "@stride"

_BISENETV2 = "Yu et al. 2021 (BiSeNet V2), arXiv 2004.02147"
_FAST_SCNN = "Poudel et al. 2019 (Fast-SCNN), arXiv 1902.04502"
_FASSDNET = "Rosas-Arias et al. 2020 (FASSD-Net), doi 10.1109/ICPR48806.2021.9413176"
_DDRNET = "Hong et al. 2021 (DDRNet), arXiv 2101.06085"
_DAPSPNET = "Wang, Xiong et al. 2023 (DAPSPNet), IEEE Xplore 10365437"
_FASTERSEG = "Chen et al. 2020 (FasterSeg), arXiv 1912.10917"
_VAL = "Cityscapes val, 2048x1024"
_BLOG_VARIANT = (
    "The blog's own variant, which differs from the paper's network and has one output class; "
    "no accuracy was published for it."
)


@dataclass(frozen=True, slots=True)
class _Net:
    """One network: ``module`` holds its builder, which has the network's name.

    ``stride`` is input size over size of the last scores before the final resize, and
    ``full_size`` says whether there is such a resize.
    """

    name: str
    module: str
    title: str
    paper: str
    stride: int
    full_size: bool = True
    divisor: int = 32
    classes: int = 19
    mean_iou: float | None = None
    source: str | None = None
    blog_name: str | None = None
    note: str = ""
    reconstruction: bool = False


_NETS = (
    _Net(
        "bisenetv2",
        "bisenetv2",
        "BiSeNetV2",
        _BISENETV2,
        stride=8,
        mean_iou=73.36,
        source=f"{_BISENETV2}; Cityscapes val, images resized to 1024x512; read in a transcription",
        note="The common implementation; the paper's own expansion and head are not public.",
    ),
    _Net(
        "bisenetv2_blog",
        "bisenetv2",
        "BiSeNetV2 (blog)",
        _BISENETV2,
        stride=8,
        classes=1,
        blog_name="BiSeNetV2",
        note=_BLOG_VARIANT,
    ),
    _Net(
        "fast_scnn",
        "fast_scnn",
        "Fast-SCNN",
        _FAST_SCNN,
        stride=8,
        mean_iou=68.62,
        source=f"{_FAST_SCNN}; {_VAL}; read in a transcription",
    ),
    _Net(
        "fast_scnn_blog",
        "fast_scnn",
        "Fast-SCNN (blog)",
        _FAST_SCNN,
        stride=8,
        full_size=False,
        classes=1,
        blog_name="FastSCNN",
        note=_BLOG_VARIANT,
    ),
    _Net(
        "fassdnet",
        "fassdnet",
        "FASSD-Net",
        _FASSDNET,
        stride=4,
        divisor=1,
        mean_iou=78.8,
        source=f"{_FASSDNET}; {_VAL}",
    ),
    _Net(
        "fassdnet_l1",
        "fassdnet",
        "FASSD-Net-L1",
        _FASSDNET,
        stride=6,
        divisor=1,
        note="No accuracy of this variant could be read anywhere.",
    ),
    _Net(
        "fassdnet_l2",
        "fassdnet",
        "FASSD-Net-L2",
        _FASSDNET,
        stride=8,
        divisor=1,
        mean_iou=74.1,
        source=f"{_FASSDNET}; {_VAL}; the abstract's light version, taken to be L2 by its speed",
        blog_name="FASSDNet",
    ),
    _Net(
        "ddrnet23_slim",
        "ddrnet",
        "DDRNet-23-slim",
        _DDRNET,
        stride=8,
        mean_iou=77.8,
        source=f"{_DDRNET}; {_VAL}",
    ),
    _Net(
        "dapspnet",
        "dapspnet",
        "DAPSPNet (reconstruction)",
        _DAPSPNET,
        stride=8,
        note=(
            "DDRNet-23-slim with strip pooling: our reconstruction from the abstract, since "
            "neither code nor a readable paper exists; left out of the findings."
        ),
        reconstruction=True,
    ),
    _Net(
        "fasterseg",
        "fasterseg",
        "FasterSeg",
        _FASTERSEG,
        stride=8,
        mean_iou=73.1,
        source=f"{_FASTERSEG}; {_VAL}",
    ),
)


def build(module: str, name: str, full_size: bool) -> nn.Module:
    """Call the builder ``name`` of ``benchlib.models.<module>``, importing torch only now."""
    return getattr(import_module(f"benchlib.models.{module}"), name)(full_size=full_size)


def _output(net: _Net) -> str:
    scores = "1 class score (logit)" if net.classes == 1 else f"{net.classes} class scores (logits)"
    if net.full_size:
        return f"{scores} per pixel of the input size; no argmax"
    return f"{scores} at 1/{net.stride} of the input size; no last resize, no argmax"


def _published(net: _Net) -> Accuracy:
    if net.mean_iou is None:
        return Accuracy()
    return Accuracy(value=net.mean_iou, metric=CITYSCAPES_MIOU, source=net.source)


def _card(net: _Net) -> Card:
    return Card(
        name=net.name,
        family=FAMILY,
        task=SEGMENTATION,
        title=net.title,
        paper=net.paper,
        output=_output(net),
        build=partial(build, net.module, net.name, net.full_size),
        published=partial(_published, net),
        blog_name=net.blog_name,
        divisor=net.divisor,
        note=net.note,
        reconstruction=net.reconstruction,
    )


def _card_at_stride(net: _Net) -> Card:
    """The same network with its scores left at its own output stride."""
    return replace(
        _card(net),
        name=net.name + STRIDE_SUFFIX,
        title=f"{net.title} at 1/{net.stride}",
        output=_output(replace(net, full_size=False)),
        build=partial(build, net.module, net.name, False),
        blog_name=None,
    )


CARDS: tuple[Card, ...] = tuple(_card(net) for net in _NETS)
CARDS_AT_STRIDE: tuple[Card, ...] = tuple(_card_at_stride(net) for net in _NETS if net.full_size)
