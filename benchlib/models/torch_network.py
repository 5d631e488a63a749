"""A torch network ready to be exported (built, weighted, in eval mode), and its work counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import interpolate
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from benchlib.case import Word
from benchlib.errors import InputError
from benchlib.models import registry

# Multiply-adds and written elements of a torch network, by running it without values.


FLOPS_PER_MAC = 2


class _WrittenElements(TorchDispatchMode):
    """Adds up the outputs of the operations that torch's own FLOP counter counts."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += result.numel()
        return result


def count_network(network: nn.Module, height: int, width: int) -> tuple[int, int]:
    """Multiply-adds, and elements that convolutions and matrix products write, for one image.

    ``network`` lies on the meta device in eval mode. Raises whatever it raises for a size that it
    cannot take.
    """
    image = torch.empty(1, 3, height, width, device="meta")
    network.requires_grad_(False)  # the counter would follow the gradients of CaiT's class token
    flops = FlopCounterMode(display=False)
    written = _WrittenElements()
    # Attention is taken apart into its two products, which is how it stands in an ONNX graph.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), written, flops:
        network(image)
    return flops.get_total_flops() // FLOPS_PER_MAC, written.total


# A network ready to be exported: built, weighted, in eval mode.


VARIANCE_FLOOR = 0.01
"""Of a layer's mean variance: dead channels would otherwise be blown up without bound."""

SMALL = 1e-3
"""Largest value of a tensor that starts near zero to grow in training. Layer scales start at 1e-4
or less; the largest value of every other tensor of the line-up is above 1e-2."""

_IMAGES = 8
_SIDE = 256  # pixels; every network of the line-up takes it
_DETAIL = (4, 16, 64, _SIDE)  # sides of the noise summed up, coarse to fine: photos have all scales
_AMPLITUDE = 0.6  # of each, so that the sum has about the spread of normalised photos


class Weights(Word):
    """Where the weights come from."""

    RANDOM = "random"
    IMAGENET = "imagenet"


def build(
    name: str, weights: str = Weights.RANDOM, seed: int = 0, size: tuple[int, int] | None = None
) -> nn.Module:
    """Return network ``name`` as it is deployed, in eval mode, taking N x 3 x H x W float32 images.

    ``size`` is their (height, width), for the few networks that are made for one; the weights of
    one seed are the same at every size. Random weights are the initialisation of the network's own
    library under ``seed``, after which every batch norm is given the statistics of what reaches
    it: as they come, some random networks output zeros, and nothing could be said of a precision's
    error. The global random state is left alone.

    Raises :class:`InputError` for an unknown name, for a user's ONNX file (a finished graph), and
    for ImageNet weights that do not exist or cannot be fetched.
    """
    card = registry.card(name)
    chosen = Weights.read("weights", weights)
    if card.build is None:
        raise InputError("models", f"{name} is a finished graph; use the file as it is")
    if chosen is Weights.IMAGENET:
        if card.pretrained is None:
            raise InputError("weights", f"{name} has no ImageNet weights; take weights=random")
        return _deployed(card, card.pretrained().eval(), size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = card.build().eval()
    enlarge_small(network)
    set_statistics(network, _images(seed, card.fixed_size or card.native_size or (_SIDE, _SIDE)))
    return _deployed(card, network, size)


def _deployed(card: registry.Card, network: nn.Module, size: tuple[int, int] | None) -> nn.Module:
    return network if card.deploy is None else card.deploy(network, size)


def enlarge_small(network: nn.Module) -> None:
    """Scale up, in place, what starts near zero: each such tensor, until its largest value is 1.

    Layer scales start at 1e-5 or 1e-6 so that a deep network trains, class tokens likewise. In a
    network that is not trained every block would vanish from the output, and with it all error
    of a precision.
    """
    with torch.no_grad():
        for tensor in network.parameters():
            largest = tensor.abs().max()
            if 0 < largest < SMALL:
                tensor.div_(largest)


def set_statistics(network: nn.Module, images: torch.Tensor) -> None:
    """Give every batch norm the mean and variance of what reaches it, in one eval-mode pass.

    Works in place, layer after layer, so that each sees what the ones before it now let through.
    """
    hooks = [
        layer.register_forward_pre_hook(_take_statistics)
        for layer in network.modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    ]
    try:
        with torch.no_grad():
            if hooks:
                network(images)
    finally:
        for hook in hooks:
            hook.remove()


def _take_statistics(layer: _BatchNorm, inputs: tuple[torch.Tensor, ...]) -> None:
    values = inputs[0]
    axes = [axis for axis in range(values.dim()) if axis != 1]
    variance, mean = torch.var_mean(values, dim=axes, correction=0)
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance.clamp_min(VARIANCE_FLOOR * variance.mean()))


def _images(seed: int, size: tuple[int, int]) -> torch.Tensor:
    """Seeded images of ``size`` (height, width) with detail at every scale: N x 3 x H x W."""
    generator = torch.Generator().manual_seed(seed)
    layers = (
        interpolate(
            torch.randn(_IMAGES, 3, side, side, generator=generator), size=size, mode="bilinear"
        )
        for side in _DETAIL
    )
    return _AMPLITUDE * sum(layers)
