"""Multiply-adds and written elements of a torch network, by running it without values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

FLOPS_PER_MAC = 2


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one image: multiply-adds, and elements that convolutions and matrix products write."""

    macs: int
    written: int


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


def count(network: nn.Module, height: int, width: int) -> Counts:
    """Run ``network``, which lies on the meta device in eval mode, over one image.

    Raises whatever the network raises for a size that it cannot take.
    """
    image = torch.empty(1, 3, height, width, device="meta")
    flops = FlopCounterMode(display=False)
    written = _WrittenElements()
    # Attention is taken apart into its two products, which is how it stands in an ONNX graph.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), written, flops:
        network(image)
    return Counts(flops.get_total_flops() // FLOPS_PER_MAC, written.total)
