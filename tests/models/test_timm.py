"""timm's networks as deployments run them: merged, at the input's size, and what they cost.

Published counts: parameters of the training graph from timm's results-imagenet.csv, work to
the digits that papers and model cards give. Parameters of the deployed graph were counted here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from benchlib.case import GraphForm, Shape
from benchlib.errors import InputError
from benchlib.export.build import make
from benchlib.export.torch_onnx import export
from benchlib.models import macs, registry, torch_network

MERGED = ("repvit_m0_9", "repvit_m1_1", "fastvit_t8", "fastvit_sa12", "mobileone_s0")
SMALL = (64, 96)

# Network: parameters in millions of the training graph and of the deployed one; side of the image
# and multiply-adds in 1e9 where a paper prints them.
PUBLISHED = """\
mobilenetv4_conv_small 3.77 3.774 256 0.2
mobilenetv4_conv_medium 9.72 9.716 - -
mobilenetv4_hybrid_medium 11.07 11.075 - -
convnext_atto 3.70 3.696 - -
convnext_nano 15.59 15.594 - -
convnext_tiny 28.59 28.589 224 4.5
convnextv2_atto 3.71 3.708 224 0.55
vit_small_patch16_224 22.05 22.051 224 4.6
repvit_m0_9 5.49 5.067 224 0.8
repvit_m1_1 8.80 8.244 224 1.3
fastvit_t8 4.03 3.996 256 0.7
fastvit_sa12 11.58 11.545 256 1.9
mobileone_s0 5.29 2.079 224 0.275
mobileone_s1 4.83 4.765 224 0.825
efficientvit_b0 3.41 3.410 224 0.10
efficientvit_b1 9.10 9.102 224 0.52
tf_efficientnetv2_b0 7.14 7.140 224 0.72
tf_efficientnetv2_s 21.46 21.458 - -
regnetx_004 5.16 5.158 224 0.4
regnetx_008 7.26 7.260 224 0.8
hgnetv2_b0 6.00 5.997 - -
starnet_s1 2.87 2.869 224 0.42
""".splitlines()


def parameters(network: nn.Module) -> str:
    return f"{sum(tensor.numel() for tensor in network.parameters()) / 1e6:.3f}"


@pytest.mark.parametrize("line", PUBLISHED, ids=lambda line: line.split()[0])
def test_counts_are_the_published_ones(line: str) -> None:
    name, trained, deployed, side, printed = line.split()
    with torch.device("meta"):
        network = registry.card(name).build()
    assert f"{float(parameters(network)):.2f}" == trained
    side = 224 if side == "-" else int(side)
    cost = macs.of(name, side, side)
    assert f"{cost.params / 1e6:.3f}" == deployed
    if printed != "-":
        digits = len(printed.partition(".")[2])
        assert f"{cost.gmacs:.{digits}f}" == printed


def test_the_table_of_counts_has_every_network() -> None:
    assert [line.split()[0] for line in PUBLISHED] == [card.name for card in registry.TIMM_CARDS]


def parallel_branches(graph: onnx.GraphProto) -> list[str]:
    """Sums of two convolutions or norms of one tensor: what deployment has merged into one."""
    maker = {name: node for node in graph.node for name in node.output}

    def source(name: str) -> str | None:
        node = maker.get(name)
        if node is None:
            return None
        if node.op_type == "Add":
            return next((found for one in node.input if (found := source(one))), None)
        return node.input[0] if node.op_type in ("Conv", "BatchNormalization") else None

    adds = [node for node in graph.node if node.op_type == "Add"]
    sides = [(node.name, *(source(name) for name in node.input)) for node in adds]
    return [name for name, left, right in sides if left is not None and left == right]


def graph_of(network: nn.Module, path: Path) -> onnx.GraphProto:
    export(network, Shape(1, *SMALL), path)
    return onnx.load(str(path)).graph


@pytest.mark.parametrize("name", MERGED)
def test_merged_branches_compute_the_same_in_float64(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)  # of the layers that merging makes, too
    try:
        card = registry.card(name)
        trained = card.build().eval()
        torch_network.enlarge_small(trained)
        torch_network.set_statistics(trained, torch.randn(2, 3, *SMALL))
        merged = card.deploy(trained, SMALL)
        image = torch.randn(1, 3, *SMALL)
        with torch.no_grad():
            wanted, found = trained(image), merged(image)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.linalg.norm(wanted - found) < 1e-9 * torch.linalg.norm(wanted)
    assert parameters(merged) < parameters(trained)
    before, after = (graph_of(one.float(), tmp_path / "net.onnx") for one in (trained, merged))
    assert parallel_branches(before) and not parallel_branches(after)


def test_the_mlps_of_a_convnext_are_convolutions(tmp_path: Path) -> None:
    graph = graph_of(torch_network.build("convnext_tiny"), tmp_path / "net.onnx")
    assert not [node.name for node in graph.node if node.op_type == "MatMul"]


def test_a_vit_is_made_for_its_size_with_the_same_weights() -> None:
    """Ranges are found at a smaller size than is timed, so the two must be one network."""
    small, large = (
        torch_network.build("vit_small_patch16_224", size=s) for s in (SMALL, (96, 128))
    )
    assert small.pos_embed.shape == (1, 25, 384) and large.pos_embed.shape == (1, 49, 384)
    mine, others = dict(small.named_parameters()), dict(large.named_parameters())
    assert all(torch.equal(mine[key], others[key]) for key in mine if key != "pos_embed")
    with torch.no_grad():
        assert large(torch.zeros(1, 3, 96, 128)).shape == (1, 1000)


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "timm:levit_128s", "mobileone_s0"])
def test_a_graph_is_the_deployed_network(name: str) -> None:
    """Also of those that take one size only, and through ``make`` as a run has it."""
    height, width = registry.card(name).native_size
    graph = make(name, GraphForm.FP32, height=height, width=width)
    network = torch_network.build(name, size=(height, width))
    image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = network(image).numpy()
    opened = onnxruntime.InferenceSession(str(graph.path), providers=["CPUExecutionProvider"])
    (found,) = opened.run(None, {"input": image.numpy()})
    assert np.linalg.norm(found - wanted) < 1e-4 * np.linalg.norm(wanted)


def test_a_network_made_for_one_size_has_no_open_graph() -> None:
    with pytest.raises(InputError, match=r"shape_modes: .*one input size.*\[static\]"):
        make("vit_small_patch16_224", GraphForm.FP32, height=64, width=96, dynamic=True)


def test_what_starts_near_zero_is_enlarged_and_nothing_else() -> None:
    network = torch_network.build("convnext_atto")
    scales = [value for key, value in network.named_parameters() if key.endswith("gamma")]
    assert len(scales) == 12 and all(torch.equal(one, torch.ones_like(one)) for one in scales)
    plain = registry.card("resnet18").build()
    before = {key: value.clone() for key, value in plain.named_parameters()}
    torch_network.enlarge_small(plain)
    assert all(torch.equal(value, before[key]) for key, value in plain.named_parameters())
