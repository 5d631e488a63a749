"""The papers' networks against the numbers of their reference implementations.

Parameters, multiply-adds, fingerprints and intermediate maps were recorded from the authors' code
or, where there is none, from the public implementations; those of DAPSPNet are our own
reconstruction's and only hold it still.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from fingerprint import fill, fill_network, gmacs, parameters
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torch.utils.flop_counter import FlopCounterMode

from benchlib.models.nets import bisenetv2, ddrnet, fassdnet, fast_scnn, fasterseg

SIZES = ((1024, 2048), (512, 1024), (480, 640))
IMAGE = (1, 3, 256, 512)
BLOG_MAPS = ((15, 20), (24, 32), (33, 60), (67, 120))  # 1/32 of the blog's four sizes


@dataclass(frozen=True, slots=True)
class Reference:
    """What one network must show.

    ``gmacs`` at ``SIZES``; ``fingerprint`` is mean, population standard deviation, and the values
    at the first, the middle and the last point of the last channel (the first point: of the
    first), for ``IMAGE``, whose output is ``output`` high and wide.
    """

    build: Callable[..., nn.Module]
    parameters: int
    gmacs: tuple[float, float, float]
    fingerprint: tuple[float, float, float, float, float]
    classes: int = 19
    output: tuple[int, int] = (256, 512)


REFERENCES = {
    "bisenetv2": Reference(
        bisenetv2.bisenetv2,
        3_358_627,
        (98.4132, 24.6033, 14.4160),
        (-1.71874417e-01, 1.34091989e00, 4.49167605e-01, 6.67538369e-01, 9.27980542e-04),
    ),
    "bisenetv2_blog": Reference(
        bisenetv2.bisenetv2_blog,
        3_384_873,
        (124.3759, 31.0940, 18.2191),
        (4.48866780e00, 9.72406028e-01, 2.93148144e00, 4.57771095e00, 2.56594387e00),
        classes=1,
    ),
    "bisenetv2_blog 19": Reference(
        partial(bisenetv2.bisenetv2_blog, 19),
        3_398_715,
        (124.8289, 31.2072, 18.2855),
        (-1.69145055e-01, 2.95004716e00, 2.93148144e00, -8.87701233e-01, 3.83233078e-01),
    ),
    "fast_scnn": Reference(
        fast_scnn.fast_scnn,
        1_138_051,
        (6.7096, 1.6776, 0.9830),
        (-1.32994751e02, 4.81322569e02, -4.42677912e01, 5.04878381e01, -2.83057250e01),
    ),
    "fast_scnn_blog": Reference(
        fast_scnn.fast_scnn_blog,
        1_571_569,
        (7.5735, 1.8934, 1.1094),
        (-2.68800851e02, 4.20555521e02, 1.57464747e02, -8.59929110e02, -5.13124461e02),
        classes=1,
        output=(32, 64),
    ),
    "fast_scnn_blog 19": Reference(
        partial(fast_scnn.fast_scnn_blog, 19),
        1_573_891,
        (7.6490, 1.9122, 1.1205),
        (4.13949752e02, 1.98101308e03, 1.57464747e02, 1.03768563e03, -1.47212811e02),
        output=(32, 64),
    ),
    "fassdnet": Reference(
        fassdnet.fassdnet,
        2_845_351,
        (44.6840, 11.1710, 6.5455),
        (8.74052213e-01, 3.26516490e00, 1.72966260e-01, 2.44347808e00, -9.07983030e-01),
    ),
    "fassdnet_l1": Reference(
        fassdnet.fassdnet_l1,
        2_845_351,
        (19.7674, 4.9376, 2.8888),
        (7.74326566e-01, 3.10709841e00, 8.06001011e-02, 2.88439592e00, -8.64217485e-01),
    ),
    "fassdnet_l2": Reference(
        fassdnet.fassdnet_l2,
        2_289_454,
        (8.5612, 2.1403, 1.2484),
        (6.92338452e-01, 3.04683010e00, 7.22499784e-01, 3.48250585e-01, 7.27570833e-01),
    ),
    "ddrnet23_slim": Reference(
        ddrnet.ddrnet23_slim,
        5_695_987,
        (36.2813, 9.0704, 5.3232),
        (3.49506092e01, 5.44835023e02, -2.36066883e01, 1.07894776e02, -1.75715227e02),
    ),
    "ddrnet23_slim stride": Reference(
        partial(ddrnet.ddrnet23_slim, full_size=False),
        5_695_987,
        (36.2813, 9.0704, 5.3232),
        (3.49506092e01, 5.46001818e02, -2.36066883e01, 1.57753607e02, -1.75715227e02),
        output=(32, 64),
    ),
    "dapspnet": Reference(
        ddrnet.dapspnet,
        5_695_987,
        (36.2813, 9.0704, 5.3232),
        (3.40120069e01, 7.03597482e02, -4.17251454e01, 3.97409196e02, -1.78984849e02),
    ),
    "fasterseg": Reference(
        fasterseg.fasterseg,
        3_421_875,
        (27.7705, 6.9426, 4.0620),
        (8.07988844e-02, 4.88573267e-01, 2.97121174e-02, -2.93694513e-01, -2.38921146e-01),
    ),
}

# Layer, shape of its output (None: not recorded), mean, population standard deviation.
Checkpoint = tuple[str, tuple[int, int, int] | None, float, float]
INTERMEDIATES: dict[str, tuple[Checkpoint, ...]] = {
    "bisenetv2": (
        ("detail", (128, 32, 64), 2.59103526e-01, 3.99889487e-01),
        ("semantic.stem", (16, 64, 128), 7.98684937e-01, 1.09791634e00),
        ("semantic.stage3", (32, 32, 64), 3.53156259e00, 4.04886025e00),
        ("semantic.stage4", (64, 16, 32), 1.52714960e01, 2.15097693e01),
        ("semantic.stage5", (128, 8, 16), 1.62280945e02, 2.25749221e02),
        ("semantic.embedding", (128, 8, 16), 2.09797142e02, 3.33088928e02),
        ("aggregation", (128, 32, 64), 4.62993664e-01, 6.29152412e-01),
        ("head", (19, 32, 64), -1.71874417e-01, 1.36746174e00),
    ),
    "fast_scnn": (
        ("downsample", (64, 32, 64), 4.53694232e-01, 7.16972273e-01),
        ("features", (128, 8, 16), -9.10948643e00, 1.35536126e02),
        ("pyramid", (128, 8, 16), 6.88526762e01, 1.05476054e02),
        ("fusion.depthwise", (128, 32, 64), 3.69065118e01, 1.06342981e02),
        ("separable", (128, 32, 64), 1.54151780e02, 2.55968058e02),
        ("classifier", (19, 32, 64), -1.32994751e02, 4.82292919e02),
    ),
    "fassdnet": (
        ("stem", None, 2.87414830e-01, 4.43605957e-01),
        ("blocks.0", None, 2.88618329e-01, 3.81559120e-01),
        ("blocks.1", None, 2.81427044e-01, 4.58116997e-01),
        ("blocks.2", None, 2.53458685e-01, 3.89009413e-01),
        ("blocks.3", None, 2.23898151e-01, 3.33571494e-01),
        ("transitions.3", None, 1.78438818e-01, 2.98155248e-01),
        ("pyramid", None, 8.82157299e-02, 1.41340834e-01),
        ("decoder.0.halve", None, 1.90574246e-01, 2.75319322e-01),
        ("decoder.0.mda", None, 1.60230350e-01, 6.36677750e-01),
        ("decoder.0.block", None, 3.38620962e-01, 5.00758866e-01),
        ("decoder.1.block", None, 5.90832399e-01, 1.01689636e00),
        ("decoder.2.block", None, 1.15563208e00, 1.79766030e00),
        ("head", None, 8.63139663e-01, 3.26405621e00),
    ),
    "fassdnet_l2": (
        ("stem", (48, 32, 64), 2.82628467e-01, 4.38163770e-01),
        ("blocks.0", (48, 32, 64), 2.82513424e-01, 3.75049212e-01),
        ("blocks.1", (78, 16, 32), 2.67066095e-01, 4.38638804e-01),
        ("blocks.2", (160, 8, 16), 2.33563698e-01, 3.60097558e-01),
        ("blocks.3", (214, 4, 8), 1.88850560e-01, 2.79808989e-01),
        ("transitions.3", (224, 4, 8), 1.56959204e-01, 2.53598193e-01),
        ("pyramid", (224, 4, 8), 7.43867530e-02, 1.19240972e-01),
        ("decoder.0.halve", (192, 8, 16), 1.72007090e-01, 2.50120019e-01),
        ("decoder.0.mda", (192, 8, 16), 1.46461947e-01, 5.15752080e-01),
        ("decoder.0.block", (64, 8, 16), 2.33358438e-01, 3.91330496e-01),
        ("decoder.1.block", (64, 16, 32), 5.03718707e-01, 7.63814526e-01),
        ("decoder.2.block", (64, 32, 64), 1.03328277e00, 2.01509754e00),
        ("head", (19, 32, 64), 6.84216883e-01, 3.02019656e00),
    ),
    "ddrnet23_slim": (
        ("stem", (32, 64, 128), 3.44802090e-01, 5.16759664e-01),
        ("layer1", (32, 64, 128), 4.64435954e-01, 2.61237899e00),
        ("layer2", (64, 32, 64), 5.42594340e-01, 6.45334309e00),
        ("low3", (128, 16, 32), 4.51564340e00, 1.51864253e01),
        ("high3", (64, 32, 64), 2.85952478e00, 2.38339745e01),
        ("low4", (256, 8, 16), 1.34290494e01, 4.47638620e01),
        ("high4", (64, 32, 64), 1.58728858e01, 1.15389991e02),
        ("high5", (128, 32, 64), 3.43846340e01, 2.40207878e02),
        ("low5", (512, 4, 8), 6.76689832e00, 2.14249009e02),
        ("pyramid", (128, 4, 8), -2.94448467e01, 3.77964120e02),
    ),
    "fasterseg": (
        ("stem", (64, 32, 64), 3.40325179e-01, 5.22665991e-01),
        ("shared", (32, 32, 64), 3.28163483e-01, 4.40514602e-01),
        ("a16.0", (128, 16, 32), 2.76308576e-01, 4.13072235e-01),
        ("a16", (64, 16, 32), 1.22525405e-01, 1.74304185e-01),
        ("a32.0", (128, 8, 16), 9.51379325e-02, 1.51152705e-01),
        ("a32", (256, 8, 16), 5.28478461e-02, 8.58870912e-02),
        ("b8", (32, 32, 64), 2.12838528e-01, 3.10783821e-01),
        ("b16.0", (64, 16, 32), 1.68173242e-01, 2.98019832e-01),
        ("b16", (128, 16, 32), 1.22504883e-01, 2.16706269e-01),
        ("fuse_a16", (128, 16, 32), 6.40183219e-02, 1.18524600e-01),
        ("fuse_a8", (64, 32, 64), 1.94087569e-01, 3.13748253e-01),
        ("fuse_b8", (64, 32, 64), 1.53947461e-01, 2.46388946e-01),
        ("fuse", (128, 32, 64), 1.61881817e-01, 2.64667600e-01),
        ("head.0", (128, 32, 64), 1.83539120e-01, 2.78729716e-01),
        ("head", (19, 32, 64), 7.96572755e-02, 4.82688040e-01),
    ),
}

# One builder for each network of the line-up, and the size of its logits where it does not
# enlarge them, for IMAGE.
LINE_UP = {
    bisenetv2.bisenetv2: (32, 64),
    bisenetv2.bisenetv2_blog: (32, 64),
    fast_scnn.fast_scnn: (32, 64),
    fast_scnn.fast_scnn_blog: (32, 64),
    fassdnet.fassdnet: (64, 128),
    fassdnet.fassdnet_l1: (43, 86),
    fassdnet.fassdnet_l2: (32, 64),
    ddrnet.ddrnet23_slim: (32, 64),
    ddrnet.dapspnet: (32, 64),
    fasterseg.fasterseg: (32, 64),
}

references = pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES)
line_up = pytest.mark.parametrize("build", LINE_UP, ids=lambda build: build.__name__)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for one another cost minutes when test files run side by side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Length of the difference over the length of what was expected."""
    return float((found - expected).norm() / expected.norm())


@references
def test_parameters_equal_the_reference(reference: Reference) -> None:
    assert parameters(reference.build()) == reference.parameters


@references
def test_multiply_adds_equal_the_reference(reference: Reference) -> None:
    found = tuple(round(gmacs(reference.build, *size), 4) for size in SIZES)
    assert found == reference.gmacs


@references
def test_fingerprint_equals_the_reference(reference: Reference) -> None:
    network = fill_network(reference.build())
    with torch.no_grad():
        logits = network(fill(IMAGE))
    height, width = reference.output
    assert logits.shape == (1, reference.classes, height, width)
    last = logits[0, -1]
    found = (
        logits.mean(),
        logits.std(unbiased=False),
        logits[0, 0, 0, 0],
        last[height // 2, width // 2],
        last[-1, -1],
    )
    assert [float(value) for value in found] == pytest.approx(reference.fingerprint, rel=1e-6)


@pytest.mark.parametrize("name", INTERMEDIATES)
def test_intermediate_maps_equal_the_reference(name: str) -> None:
    network = fill_network(REFERENCES[name].build())
    maps: dict[str, Tensor] = {}

    def keep(_module: nn.Module, _inputs: object, output: Tensor, layer: str) -> None:
        maps[layer] = output

    for layer, *_ in INTERMEDIATES[name]:
        network.get_submodule(layer).register_forward_hook(partial(keep, layer=layer))
    with torch.no_grad():
        network(fill(IMAGE))
    for layer, shape, mean, deviation in INTERMEDIATES[name]:
        if shape is not None:
            assert maps[layer].shape == (1, *shape), layer
        found = float(maps[layer].mean()), float(maps[layer].std(unbiased=False))
        assert found == pytest.approx((mean, deviation), rel=1e-6), layer


def test_parts_of_bisenetv2_cost_what_they_should() -> None:
    with torch.device("meta"):
        network = bisenetv2.bisenetv2().eval()
        image = torch.empty(1, 3, 512, 1024)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    counts = counter.get_flop_counts()
    parts = ("detail", "semantic", "aggregation", "head")
    found = [round(sum(counts[f"BiSeNetV2.{part}"].values()) / 2e9, 4) for part in parts]
    assert found == [11.7021, 1.3401, 1.7381, 9.8231]


@line_up
def test_every_parameter_reaches_the_output(build: Callable[..., nn.Module]) -> None:
    """Heads that only training needs would be built and stay without a gradient."""
    network = build().eval()
    network(torch.zeros(1, 3, 64, 64)).sum().backward()
    unused = [name for name, weights in network.named_parameters() if weights.grad is None]
    assert unused == []


@line_up
def test_logits_stay_at_the_output_stride_when_asked(build: Callable[..., nn.Module]) -> None:
    with torch.device("meta"):
        shapes = [
            build(7, full_size=full_size).eval()(torch.empty(IMAGE)).shape
            for full_size in (False, True)
        ]
    assert shapes == [(1, 7, *LINE_UP[build]), (1, 7, *IMAGE[2:])]


@pytest.mark.parametrize(
    ("build", "divisor"),
    [
        (bisenetv2.bisenetv2, bisenetv2.DIVISOR),
        (fast_scnn.fast_scnn, fast_scnn.DIVISOR),
        (ddrnet.ddrnet23_slim, ddrnet.DIVISOR),
        (ddrnet.dapspnet, ddrnet.DIVISOR),
        (fassdnet.fassdnet_l1, 1),
        (fasterseg.fasterseg, 1),
    ],
)
def test_multiples_of_the_divisor_fit_and_others_are_refused(
    build: Callable[..., nn.Module], divisor: int
) -> None:
    height, width = 11 * divisor + 96 // divisor, 13 * divisor + 96 // divisor
    with torch.device("meta"):
        network = build().eval()
        fitting = torch.empty(1, 3, divisor * (height // divisor), divisor * (width // divisor))
        assert network(fitting).shape[2:] == fitting.shape[2:]
        if divisor > 1:
            with pytest.raises(ValueError, match=f"multiples of {divisor}"):
                network(torch.empty(1, 3, fitting.shape[2] + divisor // 2, fitting.shape[3]))


def test_harmonic_blocks_have_the_published_widths() -> None:
    widths = {
        growth: [fassdnet.harmonic_width(n, growth) for n in range(1, 9)]
        for growth in (10, 16, 18, 24)
    }
    assert widths[10][:4] == [10, 18, 10, 28]
    assert widths[16][:4] == [16, 28, 16, 46]
    assert widths[18] == [18, 30, 18, 52, 18, 30, 18, 88]
    assert widths[24] == [24, 40, 24, 70, 24, 40, 24, 118]
    inputs = [layer[0].in_channels for layer in fassdnet.HarDBlock(96, 18, 8).layers]
    assert inputs == [96, 114, 30, 144, 52, 70, 30, 196]


@pytest.mark.parametrize("height", [1, 2, 5, 6, 15, 33, 67])
def test_averaging_matrices_equal_adaptive_pooling(
    height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(2, 3, height, 20, dtype=torch.float64)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    for bins, average in zip(fast_scnn.BINS, fast_scnn.bin_averages(x), strict=True):
        torch.testing.assert_close(average, adaptive_avg_pool2d(x, bins), rtol=0, atol=1e-12)


def export(network: nn.Module, image: Tensor, path: Path, *, dynamic: bool = False) -> Counter[str]:
    """Write an ONNX file the way the package does; return how often each operator is in it."""
    axes = {0: "batch", 2: "height", 3: "width"}
    with torch.no_grad():
        torch.onnx.export(
            network,
            (image,),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": axes, "output": axes} if dynamic else None,
        )
    return Counter(node.op_type for node in onnx.load(str(path)).graph.node)


def run(path: Path, image: Tensor) -> Tensor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(np.asarray(session.run(None, {"input": image.numpy()})[0]))


# The tracing exporter says that it will go away, and warns of each size and constant it records.
quiet = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:Converting a tensor", "ignore:torch.tensor results"
)


@quiet
@line_up
def test_export_agrees(build: Callable[..., nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, image = build().eval(), torch.rand(1, 3, 192, 256)
    export(network, image, tmp_path / "network.onnx")
    with torch.no_grad():
        expected = network(image)
    assert relative_error(run(tmp_path / "network.onnx", image), expected) < 2e-6


@quiet
@line_up
def test_dynamic_export_agrees_at_other_sizes(
    build: Callable[..., nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = build().eval()
    export(network, torch.rand(1, 3, 96, 128), tmp_path / "network.onnx", dynamic=True)
    for shape in ((2, 3, 160, 96), (1, 3, 224, 256)):
        image = torch.rand(shape)
        with torch.no_grad():
            expected = network(image)
        assert relative_error(run(tmp_path / "network.onnx", image), expected) < 2e-6


@quiet
def test_fast_scnn_exports_without_unrolled_pooling(tmp_path: Path) -> None:
    network, image = fast_scnn.fast_scnn().eval(), torch.rand(1, 3, 96, 160)
    fixed = export(network, image, tmp_path / "fixed.onnx")
    kept = {"Conv": 45, "Relu": 30, "Add": 7, "Resize": 6, "MatMul": 2}
    assert {name: fixed[name] for name in kept} == kept
    # Both matrices are constants: nothing is left of what computes them.
    assert not fixed.keys() & {"Gather", "Range", "Div", "Cast", "Mul", "Less", "AveragePool"}
    dynamic = export(network, image, tmp_path / "dynamic.onnx", dynamic=True)
    assert {name: dynamic[name] for name in ("Conv", "Relu", "Resize", "MatMul")} == {
        name: kept[name] for name in ("Conv", "Relu", "Resize", "MatMul")
    }
    assert dynamic["Range"] == 2
    assert dynamic["Gather"] <= 4


@quiet
@pytest.mark.parametrize("size", BLOG_MAPS)
def test_pyramid_exports_at_the_blogs_sizes(size: tuple[int, int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    pyramid = fast_scnn.PyramidPooling(align_corners=False).eval()
    x = torch.rand(1, 128, *size)
    nodes = export(pyramid, x, tmp_path / "pyramid.onnx")
    assert nodes["MatMul"] == 2
    assert nodes["Gather"] == 0
    with torch.no_grad():
        expected = pyramid(x)
    assert relative_error(run(tmp_path / "pyramid.onnx", x), expected) < 2e-6
