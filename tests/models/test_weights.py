"""Networks ready for export: repeatable, alive, and with the weights that were asked for."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
import torch
from torch import nn

from benchlib.errors import InputError
from benchlib.models import registry, torch_network

# Two that output nothing of use as torch initialises them, one with PReLU, one with a batch norm
# on a pooled vector.
NETWORKS = ["mobilenet_v3_small", "shufflenet_v2_x1_5", "fassdnet_l2", "bisenetv2"]


def _images() -> torch.Tensor:
    return torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", NETWORKS)
def test_random_networks_tell_images_apart(name: str) -> None:
    network = torch_network.build(name)
    assert not network.training
    with torch.no_grad():
        one, other = network(_images())
    assert torch.isfinite(one).all()
    assert one.std() > 0.01
    assert (one - other).norm() > 0.05 * one.norm()
    assert one.abs().max() < 1000  # well inside half precision


def test_as_they_come_some_networks_are_degenerate() -> None:
    """Why the statistics are set at all; if torch ever changes this, that step can go."""
    network = registry.card("mobilenet_v3_small").build().eval()
    with torch.no_grad():
        one, other = network(_images())
    assert (one - other).norm() < 1e-3 * one.norm() or one.std() < 1e-3


def test_a_seed_gives_the_same_network_and_another_seed_another() -> None:
    first, again, other = (
        torch_network.build("mobilenet_v3_small", seed=seed) for seed in (1, 1, 2)
    )
    pairs = zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    assert not torch.equal(first.classifier[0].weight, other.classifier[0].weight)


def test_building_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    torch_network.build("fast_scnn_blog")
    assert torch.equal(torch.rand(1), expected)


def test_statistics_are_of_what_reaches_each_layer() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.PReLU(8), nn.Flatten(), nn.BatchNorm1d(8 * 36)
    ).eval()
    torch_network.set_statistics(network, 5 + 3 * torch.randn(256, 3, 8, 8))
    images = 5 + 3 * torch.randn(256, 3, 8, 8)
    with torch.no_grad():
        normalised = network[1](network[0](images))
        flat = network(images)
    for values in (normalised, flat):
        assert values.mean().abs() < 0.05
        assert values.std() == pytest.approx(1, abs=0.1)
    assert not network[1]._forward_pre_hooks


def test_a_dead_channel_is_not_blown_up() -> None:
    norm = nn.BatchNorm2d(2).eval()
    images = torch.randn(8, 2, 4, 4)
    images[:, 0] = 7.0
    torch_network.set_statistics(norm, images)
    assert norm.running_var[0] == pytest.approx(float(norm.running_var.max()) / 200, rel=0.02)


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that reaches nothing, with an empty torch cache; returns the cache's folder."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    # The first urlopen of a process keeps its proxies for all that follow: forget them before
    # this test and after it.
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def test_imagenet_weights_that_cannot_be_reached(no_network: Path) -> None:
    with pytest.raises(InputError, match=r"MobileNet_V3_Small_Weights.*weights=random"):
        torch_network.build("mobilenet_v3_small", "imagenet")


def test_imagenet_weights_come_from_the_cache(no_network: Path) -> None:
    from torchvision import models

    torch.manual_seed(9)
    stored = models.mobilenet_v3_small(weights=None)
    no_network.mkdir(parents=True)
    address = models.MobileNet_V3_Small_Weights.DEFAULT.url
    torch.save(stored.state_dict(), no_network / address.rsplit("/", 1)[1])
    network = torch_network.build("mobilenet_v3_small", "imagenet")
    assert torch.equal(network.classifier[3].weight, stored.classifier[3].weight)
    assert torch.equal(network.features[0][1].running_mean, torch.zeros(16))  # left as stored
    assert not network.training


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("fast_scnn", "imagenet", "no ImageNet weights"),
        ("resnet18", "imagnet", "not one of random, imagenet"),
    ],
)
def test_weights_that_do_not_exist(name: str, source: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        torch_network.build(name, source)
