"""Every kind of network in every form through NVIDIA's own parser and builder, without a GPU.

TensorRT-RTX is a sibling of TensorRT: that it builds a graph says nothing of speed, but it reads
ONNX with the same parser and is strict about types and Q/DQ. No network is refused in any form;
the one refusal there is, of the form made for CPUs, is tested at the end.

Images are small: what parser and builder refuse does not depend on the size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

from benchlib.case import GraphForm, Int8Method, Shape
from benchlib.export import calibration, convert
from benchlib.export.build import make
from benchlib.models import registry

trt = pytest.importorskip("tensorrt_rtx", reason="its wheels are for Linux on x86-64 only")

SMALL = Shape(1, 192, 256)
FORMS = (GraphForm.FP32, GraphForm.FP16, GraphForm.INT8_QDQ, GraphForm.INT8_QDQ_FP16)
UNLIKE = (
    *("resnet18", "mobilenet_v3_small", "regnet_y_400mf", "shufflenet_v2_x1_5", "bisenetv2"),
    *("convnext_atto", "vit_small_patch16_224", "efficientvit_b0", "fastvit_t8"),
)
"""One network of each kind of structure, built in every form."""
DEEPER = {
    *("resnet34", "vgg13_bn", "vgg16_bn", "mnasnet1_3", "mobilenetv4_conv_medium", "regnetx_008"),
    *("convnext_nano", "convnext_tiny", "repvit_m1_1", "mobileone_s1", "efficientvit_b1"),
    *("tf_efficientnetv2_s",),
}
"""The same blocks as a smaller network of the line-up, more of them or wider: left out."""
PROFILE = ((1, 3, 192, 256), (1, 3, 480, 640), (4, 3, 1088, 1920))
INT8_LAYERS = (trt.LayerType.QUANTIZE, trt.LayerType.DEQUANTIZE)


class _Logger(trt.ILogger):
    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, message: str) -> None:
        if severity <= trt.ILogger.Severity.ERROR:
            self.errors.append(message)


@dataclass(frozen=True)
class Built:
    """What the parser made of a graph (``types`` of its layers) and the plan's size in bytes."""

    types: list[trt.LayerType]
    plan_bytes: int
    errors: list[str]


def build(path: Path, profile: tuple[tuple[int, ...], ...] | None = None) -> Built:
    logger = _Logger()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        return Built([], 0, errors)
    config = builder.create_builder_config()
    if profile is not None:
        shapes = builder.create_optimization_profile()
        shapes.set_shape(network.get_input(0).name, *profile)
        config.add_optimization_profile(shapes)
    plan = builder.build_serialized_network(network, config)
    types = [network.get_layer(index).type for index in range(network.num_layers)]
    return Built(types, 0 if plan is None else plan.nbytes, logger.errors)


@pytest.fixture
def graph_file(tmp_path: Path) -> Callable[..., Path]:
    """The graph in a form, INT8 ranges from one photo: the builder looks at none of them."""

    def file(
        network: str, form: GraphForm, method: Int8Method | None = None, dynamic: bool = False
    ) -> Path:
        size = {"height": SMALL.height, "width": SMALL.width}
        full = make(network, GraphForm.FP32, dynamic=dynamic, **size)
        if form is GraphForm.FP32:
            return full.path
        path = tmp_path / "graph.onnx"
        images = [calibration.bundled().image(0, SMALL.height, SMALL.width)]
        convert.convert(
            full.path,
            path,
            form,
            input_name=full.input_name,
            batches=images,
            method=method,
            beyond=convert.beyond_half(onnx.load(str(full.path)), full.input_name, images),
        )
        return path

    return file


@pytest.mark.slow
@pytest.mark.parametrize("network", [one for one in registry.names() if one not in DEEPER])
def test_parses_and_builds(network: str, graph_file: Callable[..., Path]) -> None:
    """The last form holds what the others do: each operator, in FP16, with Q/DQ where it is."""
    for form in FORMS if network in UNLIKE else FORMS[-1:]:
        built = build(graph_file(network, form))
        assert (form, built.errors) == (form, [])
        assert built.plan_bytes > 0
        assert any(kind in built.types for kind in INT8_LAYERS) == form.is_int8


@pytest.mark.slow
@pytest.mark.parametrize("form", [FORMS[0], FORMS[-1]])
@pytest.mark.parametrize("network", ["shufflenet_v2_x1_5", "bisenetv2"])
def test_dynamic_graph_builds_for_a_profile(
    network: str, form: GraphForm, graph_file: Callable[..., Path]
) -> None:
    built = build(graph_file(network, form, dynamic=True), PROFILE)
    assert built.errors == []
    assert built.plan_bytes > 0


def test_int8_and_fp16_shrink_the_plan(graph_file: Callable[..., Path]) -> None:
    """The builder took the types: a plan holds the weights as they are computed with."""
    sizes = {form: build(graph_file("resnet18", form)).plan_bytes for form in FORMS}
    assert sizes[GraphForm.FP16] < 0.6 * sizes[GraphForm.FP32]
    assert sizes[GraphForm.INT8_QDQ] < 0.4 * sizes[GraphForm.FP32]


def test_depthwise_convolutions_can_stay_out_of_int8(graph_file: Callable[..., Path]) -> None:
    """RTX blows quantised depth-wise convolutions up in a static plan; without them it is small."""
    form = GraphForm.INT8_QDQ_FP16
    everything = build(graph_file("mobilenet_v3_small", form))
    without = build(graph_file("mobilenet_v3_small", form, Int8Method.QDQ_NO_DEPTHWISE))
    assert without.errors == []
    assert 0 < without.plan_bytes < everything.plan_bytes


def test_form_for_cpus_is_refused(graph_file: Callable[..., Path]) -> None:
    """TensorRT takes no integer biases and no zero point but zero; the parser names the node."""
    built = build(graph_file("resnet18", GraphForm.INT8_CPU))
    assert built.plan_bytes == 0
    assert "_DequantizeLinear" in built.errors[0]
