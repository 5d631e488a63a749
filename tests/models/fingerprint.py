"""What networks are checked by: a fingerprint, and counts.

Weights and image are made from the tensors' shapes alone, so the output depends on the topology
only, whatever the layers are called and in which order they were built.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@cache
def sequence(count: int) -> np.ndarray:
    """The first ``count`` numbers u of the sequence, each in -1 to 1."""
    v = 43758.5453 * np.sin(12.9898 * np.arange(1, count + 1, dtype=np.float64))
    return 2 * (v - np.floor(v)) - 1


def fill(shape: tuple[int, ...], scale: float = 1.0, offset: float = 0.0) -> Tensor:
    """A tensor of ``offset + scale * u``, each starting the sequence anew, in row-major order."""
    values = sequence(1 << 21)[: int(np.prod(shape))]
    return torch.from_numpy(offset + scale * values).reshape(shape)


@torch.no_grad()
def fill_network(network: nn.Module) -> nn.Module:
    """Give every tensor the sequence's values, in float64; return the network in eval mode."""
    network.double().eval()
    filled = 0
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.copy_(fill(module.weight.shape, (6 / fan_in) ** 0.5))
            if module.bias is not None:
                module.bias.copy_(fill(module.bias.shape, 0.1))
        elif isinstance(module, nn.BatchNorm2d):
            for tensor, offset in (
                (module.weight, 1),
                (module.running_var, 1),
                (module.bias, 0),
                (module.running_mean, 0),
            ):
                tensor.copy_(fill(tensor.shape, 0.1, offset))
        elif isinstance(module, nn.PReLU):
            module.weight.copy_(fill(module.weight.shape, 0.1, 0.25))
        else:
            continue
        filled += sum(p.numel() for p in module.parameters(recurse=False))
    assert filled == parameters(network), "a kind of layer that was not filled"
    return network


def parameters(network: nn.Module) -> int:
    """Elements of all trainable tensors."""
    return sum(p.numel() for p in network.parameters())


def gmacs(build: Callable[[], nn.Module], height: int, width: int) -> float:
    """Multiply-adds of convolutions and matrix products, in 1e9; nothing is computed."""
    with torch.device("meta"):
        network = build().eval()
        image = torch.empty(1, 3, height, width)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return counter.get_total_flops() / 2 / 1e9
