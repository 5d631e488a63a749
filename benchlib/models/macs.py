"""What a network costs at a size: parameters, multiply-adds, written elements, bytes.

Counted at batch 1. Multiply-adds are those of convolutions and matrix products; batch norms,
activations, pooling, resizing and biases count nothing, which is the convention of torchvision's
published numbers (it calls them GFLOPS).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchlib.errors import InputError
from benchlib.models import registry

if TYPE_CHECKING:
    from torch import nn

FP32_BYTES = 4


@dataclass(frozen=True, slots=True)
class Complexity:
    """``params`` in elements, ``gmacs`` in 1e9 multiply-adds, ``mactivations`` in 1e6 elements
    written by convolutions and matrix products, all for one image.

    A count that failed is None and ``reason`` says why; it is never 0.
    """

    params: int | None
    gmacs: float | None
    mactivations: float | None
    reason: str | None = None

    @property
    def size_mb(self) -> float | None:
        """The parameters as float32, in 1e6 bytes."""
        return None if self.params is None else self.params * FP32_BYTES / 1e6


def of(name: str, height: int, width: int) -> Complexity:
    """The cost of a network of the line-up, of ``onnx:PATH`` or of ``timm:NAME``.

    Line-up networks are counted once per process. Raises :class:`InputError` for an unknown name
    or an unusable file; a size that the network cannot take is a failed count.
    """
    card = registry.card(name)
    if card.path is not None:
        return of_onnx(card.path, height, width)
    return _of_built(name, height, width)


def of_onnx(path: Path, height: int, width: int) -> Complexity:
    """The cost of the graph at ``path`` for one 3 x ``height`` x ``width`` image.

    Multiply-adds and activations equal those of the network it was exported from. Parameters are
    the graph's own weights: where the exporter folded batch norms away they are fewer.
    """
    from benchlib.models import onnx_macs

    try:
        counts = onnx_macs.count_graph(path, height, width)
    except onnx_macs.UncountedError as error:
        return Complexity(error.params, None, None, str(error))
    return _complexity(counts.params, counts.macs, counts.written)


@cache
def _of_built(name: str, height: int, width: int) -> Complexity:
    card, network = registry.card(name), _without_values(name)
    try:
        card.check_size(height, width)
    except InputError as error:
        return Complexity(_parameters(network), None, None, error.problem)
    if card.one_size:
        network = card.deploy(network, (height, width))
    return of_network(network, height, width)


@cache
def _without_values(name: str) -> nn.Module:
    """The network as deployed, on the meta device; the random state is left as it was."""
    import torch

    card = registry.card(name)
    with torch.random.fork_rng(devices=[]):
        network = card.build().to("meta").eval()
    return network if card.deploy is None else card.deploy(network, None)


def of_network(network: nn.Module, height: int, width: int) -> Complexity:
    """The cost of a ``network`` on the meta device for one 3 x ``height`` x ``width`` image."""
    from benchlib.models import torch_network

    params = _parameters(network)
    try:
        macs, written = torch_network.count_network(network, height, width)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        # What a foreign network raises for a size it cannot take, or for values it wants to see.
        problem = next(iter(str(error).strip().splitlines()), "")
        return Complexity(params, None, None, f"{type(error).__name__}: {problem}")
    return _complexity(params, macs, written)


def _parameters(network: nn.Module) -> int:
    return sum(tensor.numel() for tensor in network.parameters())


def _complexity(params: int, macs: int, written: int) -> Complexity:
    if macs == 0:
        return Complexity(params, None, None, "no convolution or matrix product was seen")
    return Complexity(params, macs / 1e9, written / 1e6)
