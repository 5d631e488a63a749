"""DAPSPNet: a reconstruction, not the authors' network.

"DAPSPNet: Deep Aggregation Pyramid Strip Pooling Network for Real-time and Accurate Segmentation",
IEEE Xplore document 10365437, 2023. No code is public and only the abstract could be read: a
dual-resolution network for road scenes, to whose multi-scale module pooling over strips of length
5, 9 and 17 and width 1 is added. Those lengths are the windows of DDRNet's DAPPM, so this is
DDRNet-23-slim with strips in that module, by the simplest reading: each square average has the two
strip averages added. It cannot be checked against published parameters, GFLOPs or accuracy.

In: ``N x 3 x H x W``, H and W multiples of 8. Out: logits ``N x classes x H x W``, or
``H/8 x W/8`` with ``full_size=False``.
"""

from __future__ import annotations

from torch import Tensor, nn

from benchlib.models.nets.ddrnet import WINDOWS, DualResolution, GlobalAverage


class StripPool(nn.Module):
    """The sum of the averages over a lying and a standing strip; both axes are strided."""

    def __init__(self, length: int, stride: int) -> None:
        super().__init__()
        self.lying = nn.AvgPool2d((1, length), stride, (0, length // 2))
        self.standing = nn.AvgPool2d((length, 1), stride, (length // 2, 0))

    def forward(self, x: Tensor) -> Tensor:
        return self.lying(x) + self.standing(x)


class SquareAndStripPool(nn.Module):
    """The average over a square plus those over the strips of its length."""

    def __init__(self, length: int, stride: int) -> None:
        super().__init__()
        self.square = nn.AvgPool2d(length, stride, length // 2)
        self.strips = StripPool(length, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.square(x) + self.strips(x)


def dapspnet(num_classes: int = 19, *, full_size: bool = True) -> DualResolution:
    """The reconstruction of DAPSPNet; see the module's docstring."""
    pools = [*(SquareAndStripPool(length, stride) for length, stride in WINDOWS), GlobalAverage()]
    return DualResolution(num_classes, full_size=full_size, pools=pools)
