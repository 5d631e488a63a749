"""The line-up: what is in it, what its cards say, and what it answers to names it does not know."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from benchlib.case import Shape
from benchlib.errors import InputError
from benchlib.models import registry
from benchlib.models.registry import CITYSCAPES_MIOU, IMAGENET_TOP1


def _convolution(path: Path, shape: tuple[int | str, ...] = (1, 3, 32, 32)) -> Path:
    """Write a graph of one 3x3 convolution, 3 -> 4 channels, over an input of ``shape``."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, (4, 3, 3, 3), [0.1] * 108)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w"], ["scores"], pads=[1, 1, 1, 1])],
        "one convolution",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ("n", 4, "y", "x"))],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_names_and_cards_come_without_torch() -> None:
    """`benchlib plan` asks for cards and must not wait seconds for torch."""
    script = (
        "import sys\n"
        "from benchlib.models import registry\n"
        "[registry.card(name).check_size(480, 640) for name in registry.names()]\n"
        "assert 'torch' not in sys.modules and 'onnx' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=dict(os.environ))


def test_the_blog_is_in_the_lineup() -> None:
    assert len(set(registry.BLOG)) == 16
    assert set(registry.BLOG) <= set(registry.names())
    assert all(registry.card(name).blog_name for name in registry.BLOG)


def test_blog_names_are_given_once() -> None:
    blog_names = [registry.card(name).blog_name for name in registry.names()]
    assert sum(name is not None for name in blog_names) == 16
    assert len(set(blog_names)) == 17  # sixteen and None


def test_every_network_has_the_year_of_its_paper() -> None:
    years = {name: registry.card(name).year for name in registry.names()}
    assert (years["vgg11_bn"], years["resnet18"], years["bisenetv2"]) == (2015, 2016, 2021)
    assert all(2015 <= year <= 2024 for year in years.values())


@pytest.mark.parametrize(
    ("name", "percent", "weights"),
    [
        ("resnet18", 69.758, "ResNet18_Weights.IMAGENET1K_V1"),
        ("resnet50", 80.858, "ResNet50_Weights.IMAGENET1K_V2"),
        ("vgg16_bn", 73.360, "VGG16_BN_Weights.IMAGENET1K_V1"),
        ("mnasnet1_3", 76.506, "MNASNet1_3_Weights.IMAGENET1K_V1"),
        ("shufflenet_v2_x1_5", 72.996, "ShuffleNet_V2_X1_5_Weights.IMAGENET1K_V1"),
    ],
)
def test_accuracy_of_the_default_weights(name: str, percent: float, weights: str) -> None:
    card = registry.card(name)
    assert card.published().value == pytest.approx(percent, abs=0.05)
    assert card.published().metric == IMAGENET_TOP1
    assert card.published().weights == weights
    assert weights in card.published().source
    assert registry.size_named(card.published().source) == card.made_for == "224x224"


def test_vgg_says_that_its_classifier_is_missing() -> None:
    card = registry.card("vgg11_bn")
    assert "no classifier" in card.output
    assert "accuracy belongs to the whole network" in card.note


@pytest.mark.parametrize("name", ["fassdnet_l1", "dapspnet", "bisenetv2_blog", "fast_scnn_blog"])
def test_an_accuracy_nobody_published_is_unknown(name: str) -> None:
    card = registry.card(name)
    assert card.published().value is None and card.published().metric is None
    assert card.note


def test_only_networks_that_leave_the_last_resize_out_give_less_than_the_input_size() -> None:
    less = {name for name in registry.names() if registry.reduced_output(name)}
    assert less == {"fast_scnn_blog"}
    assert registry.reduced_output("fast_scnn_blog") == (
        "1 class score (logit) at 1/8 of the input size"
    )
    assert registry.reduced_output("fassdnet@stride").startswith("19 class scores (logits) at 1/4")
    assert registry.reduced_output("vgg11_bn") is registry.reduced_output("onnx:a.onnx") is None


def test_segmentation_accuracy_has_split_and_size() -> None:
    cards = [registry.card(name) for name in registry.names()]
    known = [
        card for card in cards if card.task == "segmentation" and card.published().value is not None
    ]
    assert len(known) == 6
    for card in known:
        assert card.published().metric == CITYSCAPES_MIOU
        assert "val" in card.published().source and "1024" in card.published().source


def test_only_dapspnet_is_a_reconstruction() -> None:
    marked = [name for name in registry.names() if registry.card(name).reconstruction]
    assert marked == ["dapspnet"]


def test_stride_form_leaves_out_the_last_resize() -> None:
    full, strided = registry.card("fasterseg"), registry.card("fasterseg@stride")
    assert "input size" in full.output and "1/8" in strided.output
    assert strided.build().full_size is False and full.build().full_size is True
    assert strided.published().value == full.published().value
    assert "fasterseg@stride" not in registry.names()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet81", "did you mean resnet18"),
        ("Fast-SCNN", "did you mean fast_scnn"),
        ("mobilenetv4", "did you mean mobilenetv4_conv_small or mobilenetv4_conv_medium or"),
        ("ViT", "did you mean vit_small_patch16_224 or repvit"),
        ("", "benchlib models"),
        ("qqqq", "benchlib models"),
        ("resnet18@stride", "ask for resnet18"),
        ("fast_scnn_blog@stride", "ask for fast_scnn_blog"),
    ],
)
def test_an_unknown_name_is_answered_with_a_remedy(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        registry.card(name)


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("bisenetv2", (1080, 1920), "multiples of 32; 1920x1088 does"),
        ("ddrnet23_slim", (480, 650), "multiples of 32; 640x480 does"),
        ("resnet18", (16, 640), "too small"),
    ],
)
def test_a_size_the_network_cannot_take(name: str, size: tuple[int, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        registry.card(name).check_size(*size)


def test_a_size_any_network_takes() -> None:
    for name in registry.names():
        registry.card(name).check_size(1056, 1920)
    registry.card("fassdnet_l2").check_size(1080, 1920)


def test_onnx_file_of_one_size(tmp_path: Path) -> None:
    card = registry.card(f"onnx:{_convolution(tmp_path / 'net.onnx')}")
    assert (card.title, card.task, card.published().value, card.build) == ("net", "", None, None)
    card.check_size(32, 32)
    with pytest.raises(InputError, match=r"64x48 .* fixed at 32x32; ask for 32x32"):
        card.check_size(48, 64)
    card.check_shape(Shape(1, 32, 32))
    with pytest.raises(InputError, match=r"batch_sizes: .*net.onnx is fixed to batch 1, not 8"):
        card.check_shape(Shape(8, 32, 32))
    with pytest.raises(InputError, match=r"shape_modes: .*fixed batch and height and width; take"):
        card.check_shape(Shape(1, 32, 32, dynamic=True))


def test_onnx_file_of_any_size(tmp_path: Path) -> None:
    path = _convolution(tmp_path / "net.onnx", ("n", 3, "h", "w"))
    card = registry.card(f"onnx:{path}")
    card.check_size(48, 65)
    card.check_shape(Shape(8, 48, 65, dynamic=True))


def test_onnx_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file .*gone\.onnx"):
        registry.card(f"onnx:{tmp_path / 'gone.onnx'}")


@pytest.mark.parametrize("kept", [0, 40, 200, -1])
def test_onnx_file_that_is_truncated(tmp_path: Path, kept: int) -> None:
    path = _convolution(tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"net\.onnx .*again"):
        registry.card(f"onnx:{path}")


def test_onnx_file_that_takes_no_image(tmp_path: Path) -> None:
    path = _convolution(tmp_path / "net.onnx", (1, 1, 32, 32))
    with pytest.raises(InputError, match=r"1x1x32x32.*batch x 3 x height x width"):
        registry.card(f"onnx:{path}")


def test_timm_is_asked_for_by_its_pip_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchlib.models.registry.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install timm"):
        registry.card("timm:convnext_tiny")


def test_timm_names_are_checked() -> None:
    with pytest.raises(InputError, match="did you mean timm:convnext_tiny"):
        registry.card("timm:convnext_tinny")
    with pytest.raises(InputError, match=r"'resnet18\.a4_in1k'; the nearest are timm:resnet18\.a"):
        registry.card("timm:resnet18.a4_in1k")


@pytest.mark.parametrize(
    ("name", "taken", "refused", "said"),
    [
        # timm's config says that these have one size; the networks say otherwise.
        ("vit_tiny_patch16_224", (480, 640), (480, 650), "multiples of 16; 656x480 does"),
        ("vit_small_patch16_dinov3", (480, 640), (500, 640), "multiples of 16; 640x496 does"),
        ("vit_small_patch14_dinov2", (476, 644), (480, 640), "multiples of 14; 644x476 does"),
        # Its config has no word of a fixed size; the network has one.
        ("levit_128s", (224, 224), (480, 640), "it is built for 224x224"),
        ("mixer_s32_224", (224, 224), (480, 640), r"match model \(224\).*built for 224x224"),
        ("maxvit_tiny_tf_224", (480, 640), (500, 640), "must be divisible by window"),
    ],
)
def test_a_timm_network_is_asked_which_sizes_it_takes(
    name: str, taken: tuple[int, int], refused: tuple[int, int], said: str
) -> None:
    card = registry.card(f"timm:{name}")
    card.check_size(*taken)
    with pytest.raises(InputError, match=said):
        card.check_size(*refused)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("timm:repghostnet_080", "branches merged"),
        ("timm:convnextv2_femto", "conv_mlp=True"),
        ("timm:vit_tiny_patch16_224", "position embedding is resampled"),
        ("repvit_m0_9", "branches merged"),
        ("convnext_tiny", "conv_mlp=True"),
    ],
)
def test_a_card_says_what_is_done_for_deployment(name: str, note: str) -> None:
    assert note in registry.card(name).note
    assert note not in registry.card("timm:resnet18").note


def test_timm_cards_tell_weights_size_licence_and_year() -> None:
    card = registry.card("fastvit_t8")
    assert card.weights_licence == "fastvit-license" and card.year == 2023
    assert card.published().value == 77.170 and card.published().metric == IMAGENET_TOP1
    assert "fastvit_t8.apple_dist_in1k" in card.published().source
    assert "256x256" in card.published().source


def test_licences_and_tags_are_those_of_timm() -> None:
    import timm

    for card in registry.TIMM_CARDS:
        (weights,) = [word for word in card.published().source.split(", ") if "." in word][-1:]
        settings = timm.get_pretrained_cfg(weights)
        assert settings is not None and settings.tag == weights.partition(".")[2]
        assert settings.license == card.weights_licence
        assert card.year is not None and card.family and card.task == "classification"
