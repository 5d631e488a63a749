"""The line-up: every network that can be asked for, by name.

Importing this module and listing the names needs no torch.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from benchlib.case import ONNX_PREFIX
from benchlib.errors import InputError
from benchlib.models import segmentation_nets, timm_nets, torchvision_nets
from benchlib.models.card import Card

BLOG: tuple[str, ...] = (
    "bisenetv2_blog",
    "fassdnet_l2",
    "fast_scnn_blog",
    "efficientnet_b0",
    "mnasnet1_0",
    "mnasnet1_3",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "resnet34",
    "resnet50",
    "vgg11_bn",
    "vgg13_bn",
    "vgg16_bn",
    "shufflenet_v2_x1_5",
)
"""The sixteen networks of the blog's table, in its order."""

_CARDS: dict[str, Card] = {
    card.name: card for card in (*torchvision_nets.CARDS, *segmentation_nets.CARDS)
}
_AT_STRIDE: dict[str, Card] = {card.name: card for card in segmentation_nets.CARDS_AT_STRIDE}


def names() -> tuple[str, ...]:
    """Every network of the line-up; the ``@stride`` forms are left out."""
    return tuple(_CARDS)


def card(name: str) -> Card:
    """The card of a network of the line-up, of ``onnx:PATH`` or of ``timm:NAME``.

    Raises :class:`InputError`, with the nearest name, when there is no such network.
    """
    if name.startswith(ONNX_PREFIX):
        return _onnx_card(name)
    if name.startswith(timm_nets.PREFIX):
        return timm_nets.card(name.removeprefix(timm_nets.PREFIX))
    known = _CARDS | _AT_STRIDE
    if name in known:
        return known[name]
    base = name.removesuffix(segmentation_nets.STRIDE_SUFFIX)
    if base in _CARDS:
        raise InputError(
            "models", f"{base} has no final resize to leave out; ask for {base} itself"
        )
    near = get_close_matches(name.lower(), known, n=1)
    remedy = (
        f"did you mean {near[0]}?"
        if near
        else "`benchlib models` lists them; onnx:PATH and timm:NAME work too"
    )
    raise InputError("models", f"no network is called {name!r}; {remedy}")


def _onnx_card(name: str) -> Card:
    from benchlib.models import onnx_file

    path = Path(name.removeprefix(ONNX_PREFIX)).expanduser()
    image = onnx_file.read(path)
    fixed = None
    if image.height is not None and image.width is not None:
        fixed = (image.height, image.width)
    return Card(
        name=name,
        family="Other",
        task="",
        title=path.stem,
        paper="",
        output="as the file ends",
        fixed_size=fixed,
        path=path,
        note="A file of the user's; its weights are as they come.",
    )
