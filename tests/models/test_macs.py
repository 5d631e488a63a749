"""Complexity against the values published for these networks, and graphs against networks."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from benchlib.models import macs, registry

SIZES = (
    (224, 224),
    (480, 640),
    (512, 1024),
    (768, 1024),
    (1056, 1920),
    (1024, 2048),
    (2144, 3840),
)

# Network: params, MB of float32, and multiply-adds in 1e9 at each of SIZES, as printed in the
# reference table they were computed for.
REFERENCE = """\
resnet18 11689512 46.76 1.814 11.104 18.950 28.425 73.283 75.800 297.573
resnet34 21797672 87.19 3.664 22.429 38.278 57.416 148.026 153.109 601.072
resnet50 25557032 102.23 4.089 25.025 42.708 64.062 165.156 170.828 670.626
vgg11_bn 9225984 36.90 7.485 45.829 78.215 117.323 302.474 312.862 1228.226
vgg13_bn 9410880 37.64 11.185 68.479 116.870 175.305 451.959 467.480 1835.226
vgg16_bn 14723136 58.89 15.347 93.959 160.357 240.535 620.129 641.427 2518.100
mobilenet_v3_small 2542856 10.17 0.057 0.335 0.571 0.855 2.202 2.277 8.934
mobilenet_v3_large 5483032 21.93 0.217 1.305 2.225 3.336 8.594 8.889 34.883
mnasnet1_0 4383312 17.53 0.314 1.918 3.273 4.909 12.655 13.089 51.381
mnasnet1_3 6282256 25.13 0.526 3.216 5.488 8.231 21.219 21.948 86.158
efficientnet_b0 5288548 21.15 0.386 2.352 4.013 6.019 15.515 16.048 62.994
regnet_y_400mf 4344144 17.38 0.402 2.455 4.188 6.282 16.194 16.750 65.755
shufflenet_v2_x1_5 3503624 14.01 0.296 1.806 3.081 4.621 11.911 12.320 48.362
""".splitlines()


@pytest.mark.parametrize("line", REFERENCE, ids=lambda line: line.split()[0])
def test_torchvision_networks_to_the_digits_printed(line: str) -> None:
    name, *printed = line.split()
    costs = [macs.of(name, *size) for size in SIZES]
    counted = [str(costs[0].params), f"{costs[0].size_mb:.2f}"]
    assert [*counted, *(f"{cost.gmacs:.3f}" for cost in costs)] == printed


def test_multiply_adds_agree_with_torchvision() -> None:
    from torchvision import models

    published = models.get_model_weights("efficientnet_b0").DEFAULT.meta["_ops"]
    assert macs.of("efficientnet_b0", 224, 224).gmacs == pytest.approx(published, abs=5e-4)


def cost_of(network: nn.Module, height: int, width: int) -> macs.Complexity:
    return macs.of_network(network.to("meta").eval(), height, width)


def test_a_class_token_that_is_a_parameter_is_counted_through() -> None:
    counted = macs.of("timm:cait_xxs24_224", 224, 224)
    assert counted.gmacs == pytest.approx(2.53, rel=0.005)  # timm's own table
    assert counted.params == pytest.approx(11.96e6, rel=0.001)


def test_counts_by_hand() -> None:
    """Conv 3->8, 3x3, stride 2, on 16x12: 8*8*6 outputs of 27 products; then 384 -> 10."""
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(384, 10)
    )
    cost = cost_of(network, 16, 12)
    assert cost.params == 8 * 27 + 8 + 384 * 10 + 10
    assert cost.gmacs == (384 * 27 + 3840) / 1e9
    assert cost.mactivations == (384 + 10) / 1e6
    assert cost.size_mb == cost.params * 4 / 1e6


def test_a_size_the_network_cannot_take_is_empty_with_a_reason() -> None:
    cost = macs.of("bisenetv2", 1080, 1920)
    assert (cost.gmacs, cost.mactivations) == (None, None)
    assert cost.params and "multiples of 32" in cost.reason


def test_a_network_that_fails_is_empty_with_a_reason() -> None:
    cost = cost_of(nn.Sequential(nn.Flatten(), nn.Linear(7, 3)), 32, 32)
    assert cost.gmacs is None and cost.params == 24
    assert "RuntimeError" in cost.reason


class _Particular(nn.Module):
    """Takes one size only and says so as torch.jit-friendly code does."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        torch._assert(images.shape[2] == 224, "input height does not match")
        return images


def test_an_assertion_of_the_network_is_a_reason() -> None:
    cost = cost_of(_Particular(), 32, 32)
    assert cost.gmacs is None and "input height does not match" in cost.reason


def test_a_network_without_products_is_not_said_to_cost_nothing() -> None:
    cost = cost_of(nn.MaxPool2d(2), 32, 32)
    assert cost.gmacs is None and cost.reason


def test_counting_leaves_the_random_state_alone() -> None:
    macs._without_values.cache_clear()
    macs._of_built.cache_clear()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    macs.of("mobilenet_v3_small", 32, 32)
    assert torch.equal(torch.rand(1), expected)


def _export(network: nn.Module, path: Path, *, dynamic: bool, batch: int = 1) -> Path:
    axes = {"input": {0: "n", 2: "h", 3: "w"}} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is the older one
        torch.onnx.export(
            network,
            torch.zeros(batch, 3, 96, 64),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["input"],
            dynamic_axes=axes,
        )
    return path


@pytest.mark.parametrize("name", ["shufflenet_v2_x1_5", "resnet18", "fassdnet_l2"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_a_graph_counts_as_its_network_does(name: str, dynamic: bool, tmp_path: Path) -> None:
    path = _export(registry.card(name).build().eval(), tmp_path / "net.onnx", dynamic=dynamic)
    size = (480, 640) if dynamic else (96, 64)
    graph, network = macs.of(f"onnx:{path}", *size), macs.of(name, *size)
    assert (graph.gmacs, graph.mactivations) == (network.gmacs, network.mactivations)
    assert graph.params == pytest.approx(network.params, rel=0.02)  # folded batch norms


def test_a_graph_of_fixed_batch_counts_for_one_image(tmp_path: Path) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ConvTranspose2d(6, 4, 2, stride=2),
        nn.Flatten(2),
        nn.Linear(23312, 5),
    ).eval()
    path = _export(network, tmp_path / "net.onnx", dynamic=False, batch=2)
    graph = macs.of_onnx(path, 96, 64)
    counted = cost_of(network, 96, 64)
    assert graph == counted


def test_a_graph_of_another_fixed_size_is_empty_with_a_reason(tmp_path: Path) -> None:
    path = _export(nn.Conv2d(3, 4, 3), tmp_path / "net.onnx", dynamic=False)
    cost = macs.of_onnx(path, 480, 640)
    assert cost.gmacs is None and cost.params == 112
    assert "fixed at 64x96" in cost.reason


def test_a_graph_that_onnx_runtime_refuses_is_empty_with_a_reason(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 94 * 62, 2))
    path = _export(network, tmp_path / "net.onnx", dynamic=True)
    cost = macs.of_onnx(path, 128, 128)
    assert cost.gmacs is None and "net.onnx at 128x128" in cost.reason


ODD = """<ir_version: 10, opset_import: ["": 23, "com.microsoft": 1, "own": 1]>
    g (float[n,3,h,w] x) => (float[n,a,b,c] y) {"""
CONV = "c = Conv <pads = [1, 1, 1, 1]> (x, k)"  # of 4 x 6 pixels: 24 * 8 * 27 multiply-adds
OF_CONV = 24 * 8 * 27


def _of_text(folder: Path, body: str, **weights: tuple[int, ...] | np.ndarray) -> macs.Complexity:
    model = onnx.parser.parse_model(f"{ODD} {CONV} {body} }}")
    for name, value in {"k": (8, 3, 3, 3), **weights}.items():
        array = np.zeros(value, np.float32) if isinstance(value, tuple) else value
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(model, folder / "net.onnx")
    return macs.of_onnx(folder / "net.onnx", 4, 6)


@pytest.mark.parametrize(
    ("body", "more"),
    [
        ('y = Einsum <equation = "nchw, cd -> ndhw"> (c, m)', 24 * 8 * 5),
        ('y = Einsum <equation = "ncij,ncik"> (c, c)', 8 * 4 * 6 * 6),
        ('s = Einsum <equation = "nchw,cd->nd"> (c, m)  y = Unsqueeze (s, at)', 8 * 5),
        ('y = Einsum <equation = "nchw->nhwc"> (c)', 0),
        ("y = com.microsoft.Gelu (c)", 0),
        ("g = com.microsoft.Gelu (c)  y = MatMul (g, r)", 24 * 8 * 7),
        ("y = com.microsoft.FusedMatMul <transA = 1> (c, c)", 8 * 6 * 4 * 6),
        ("y = com.microsoft.DynamicQuantizeMatMul (c, q, step)", 24 * 8 * 7),
        (
            "y = com.microsoft.MatMulNBits <K = 6, N = 7, bits = 4, block_size = 16> (c, p, o)",
            24 * 8 * 7,
        ),
    ],
)
def test_einsum_and_operators_of_onnx_runtime_by_hand(tmp_path: Path, body: str, more: int) -> None:
    byte = np.ones((6, 7), np.int8)
    cost = _of_text(
        tmp_path,
        body,
        **{"m": (8, 5), "r": (6, 7), "q": byte, "o": (7,), "p": np.ones((7, 1, 8), np.uint8)},
        **{"step": np.array(0.1, np.float32), "at": np.array([2, 3])},
    )
    assert cost.reason is None
    assert cost.gmacs == (OF_CONV + more) / 1e9


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('y = Einsum <equation = "nchw,cd,de->nehw"> (c, m, v)', "Einsum"),
        ('t = Reshape (c, to)  y = com.microsoft.CDist <metric = "euclidean"> (t, far)', "CDist"),
        (
            "t = Squeeze (c, at)  y = com.microsoft.MultiHeadAttention <num_heads = 2> (t, t, t)",
            "MultiHeadAttention",
        ),
    ],
)
def test_what_is_not_counted_is_a_reason(tmp_path: Path, body: str, name: str) -> None:
    to, at = np.array([-1, 6]), np.array([0])
    cost = _of_text(tmp_path, body, m=(8, 5), v=(5, 2), far=(7, 6), to=to, at=at)
    assert cost.gmacs is None
    assert name in cost.reason


@pytest.mark.parametrize(
    ("queries", "keys", "past", "attributes"),
    [
        ((1, 2, 5, 4), (1, 2, 7, 4), (), ""),
        ((1, 5, 8), (1, 7, 8), (), "<q_num_heads = 2, kv_num_heads = 2>"),
        ((1, 2, 5, 4), (1, 2, 3, 4), (1, 2, 4, 4), ""),
    ],
)
def test_attention_counts_as_its_two_products(tmp_path, queries, keys, past, attributes):
    """5 queries meet 7 keys of 4 numbers in 2 heads; values are as long as keys."""
    more = ", , pk, pv" if past else ""
    body = f"""s = ReduceSum <keepdims = 0> (c)  q = Add (s, qs)
        a = Attention {attributes} (q, ks, ks{more})  y = Reshape (a, four)"""
    given = {"qs": queries, "ks": keys} | ({"pk": past, "pv": past} if past else {})
    cost = _of_text(tmp_path, body, **given, four=np.array([1, 1, 5, 8]))
    assert cost.reason is None
    assert cost.gmacs == (OF_CONV + 2 * (2 * 5 * 7 * 4)) / 1e9
    assert cost.mactivations == (24 * 8 + 2 * 5 * 7 + 5 * 8) / 1e6


def test_weights_in_branches_functions_and_sparse_ones_are_parameters(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 21, "own": 1]>
        g (float[1,3,8,8] x, bool c) => (float[1,4,8,8] y) { y = If (c) <
          then_branch = t () => (float[1,4,8,8] a) <float[4,3,1,1] w = {1,1,1,1,1,1,1,1,1,1,1,1}>
          { a = Conv (x, w) },
          else_branch = e () => (float[1,4,8,8] b) { b = own.conv (x) }> }
        <opset_import: ["": 21], domain: "own"> conv (a) => (b)
        { w = Constant <value = float[4,3,1,1] {1,1,1,1,1,1,1,1,1,1,1,1}> ()  b = Conv (a, w) }"""
    model = onnx.parser.parse_model(text)
    dense = np.ones(20, np.float32)
    sparse = numpy_helper.from_array(dense[:2], "s"), numpy_helper.from_array(np.array([0, 7]), "i")
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(*sparse, [4, 5]))
    assert macs.count_parameters(model) == 12 + 12 + 20
