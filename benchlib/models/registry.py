"""The line-up: every network that can be asked for by name, and what is known of it."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, partial
from http.client import HTTPException
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchlib.case import ONNX_PREFIX, Shape
from benchlib.errors import InputError, first_line

if TYPE_CHECKING:
    from torch import nn
    from torchvision.models import WeightsEnum

    from benchlib.models.onnx_file import ImageInput

# The card of a network: what is known of it before it is measured.


CLASSIFICATION = "classification"
SEGMENTATION = "segmentation"
IMAGENET_TOP1 = "ImageNet top-1"
CITYSCAPES_MIOU = "Cityscapes mIoU"

MINIMUM_SIDE = 32
"""Pixels. Every network of the line-up halves its input five times."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A published accuracy; nothing here is measured by this package.

    ``value`` is in percent and None when nobody published one that we could read. ``metric`` is
    the quantity (two metrics are never ranked together), ``source`` says whose number it is, on
    which split and at which input size. ``weights`` names torchvision's weights it belongs to.
    """

    value: float | None = None
    metric: str | None = None
    source: str | None = None
    weights: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of one network.

    ``build`` makes it with random weights, taking 3xHxW images; ``pretrained`` makes it with
    ImageNet weights and may download them. Both are None where there is no such thing; a user's
    ONNX file has ``path`` instead, and ``image``, what it takes. Both make the network as it is
    trained: where deployments run another form, ``deploy`` gives that, for images of a (height,
    width). ``published`` looks the accuracy up, lazily because torchvision's metadata takes seconds
    to import. ``task`` is "classification", "segmentation" or "" where it is not known.
    ``divisor``: height and width must be its multiples. ``fixed_size`` is the only (height, width)
    it takes, where there is only one; ``obstacle`` says what else keeps it from a size.
    ``native_size`` is the one it is built for, and ``one_size`` says that each of its graphs is for
    one size, never open. ``output`` says in words where the timed graph ends. ``features_only``
    marks a network timed without its classifier, whose accuracy is nonetheless the whole network's.
    ``reconstruction`` marks a network rebuilt from an incomplete description: such a one stays out
    of the findings. ``made_for`` is the ``WIDTHxHEIGHT`` of the images its accuracy is of, empty
    where it is not known. ``timm_weights`` are timm's, where they tell ImageNet's thousand classes.
    """

    name: str
    family: str
    task: str
    title: str
    paper: str
    output: str
    build: Callable[[], nn.Module] | None = None
    pretrained: Callable[[], nn.Module] | None = None
    deploy: Callable[[nn.Module, tuple[int, int] | None], nn.Module] | None = None
    published: Callable[[], Accuracy] = field(default=Accuracy, repr=False)
    blog_name: str | None = None
    divisor: int = 1
    fixed_size: tuple[int, int] | None = None
    native_size: tuple[int, int] | None = None
    one_size: bool = False
    obstacle: Callable[[int, int], str | None] | None = None
    path: Path | None = None
    image: ImageInput | None = None
    note: str = ""
    weights_licence: str = ""
    timm_weights: str = ""
    features_only: bool = False
    reconstruction: bool = False
    made_for: str = ""

    @property
    def year(self) -> int | None:
        """Of the paper; None for a network of the user's."""
        found = re.search(r"\b(?:19|20)\d\d\b", self.paper)
        return int(found.group()) if found else None

    def check_shape(self, shape: Shape) -> None:
        """Raise :class:`InputError` when the network cannot take ``shape``, or a user's file cannot
        be had with it open."""
        self.check_size(shape.height, shape.width)
        if self.path is not None and self.image is not None:
            self.image.check(self.path, shape)

    def check_size(self, height: int, width: int) -> None:
        """Raise :class:`InputError` when the network cannot take ``height`` x ``width`` pixels."""
        asked = f"{width}x{height}"
        if self.fixed_size is not None:
            if (height, width) != self.fixed_size:
                fixed = f"{self.fixed_size[1]}x{self.fixed_size[0]}"
                raise InputError(
                    "resolutions",
                    f"{asked} cannot be had from {self.name}, whose input is fixed at {fixed}; "
                    f"ask for {fixed}, or for a file exported with dynamic height and width",
                )
            return
        if self.path is None and min(height, width) < MINIMUM_SIDE:
            raise InputError(
                "resolutions", f"{asked} is too small; each side needs {MINIMUM_SIDE} pixels"
            )
        if height % self.divisor or width % self.divisor:
            nearest = "x".join(
                str(max(1, round(side / self.divisor)) * self.divisor) for side in (width, height)
            )
            raise InputError(
                "resolutions",
                f"{asked} does not suit {self.name}, whose width and height must be multiples of "
                f"{self.divisor}; {nearest} does",
            )
        if self.obstacle is not None and (problem := self.obstacle(height, width)):
            native = self.native_size
            remedy = f"it is built for {native[1]}x{native[0]}" if native else "try another size"
            raise InputError(
                "resolutions", f"{self.name} does not run at {asked} ({problem}); {remedy}"
            )


# The thirteen torchvision networks of the line-up.
#
# torchvision is imported only when a network is built or its accuracy is looked up: the line-up
# can be listed without waiting for torch.


IMAGENET_CLASSES = 1000
_SCORES = f"{IMAGENET_CLASSES} class scores (logits); no softmax"
_FEATURES = "512-channel feature map at 1/32 of the input size; no classifier"
_FEATURES_NOTE = (
    "Convolutional features only, as the blog timed it; the accuracy belongs to the whole "
    "network, classifier included."
)

_IMAGENET_CROP = "224x224"
"""Of the default weights of all thirteen; a test asks torchvision, whose import takes seconds."""

_RESNET = "He et al. 2016, arXiv 1512.03385"
_VGG = "Simonyan and Zisserman 2015, arXiv 1409.1556"
_MOBILENET = "Howard et al. 2019, arXiv 1905.02244"
_MNASNET = "Tan et al. 2019, arXiv 1807.11626"
_EFFICIENTNET = "Tan and Le 2019, arXiv 1905.11946"
_REGNET = "Radosavovic et al. 2020, arXiv 2003.13678"
_SHUFFLENET = "Ma et al. 2018, arXiv 1807.11164"


def _torchvision(name: str, *, pretrained: bool = False) -> nn.Module:
    """Return torchvision's ``name``, of a VGG only its features, with random weights or its own.

    Raises :class:`InputError` when these are neither in torch's cache nor to be downloaded.
    """
    from torchvision import models

    network = models.get_model(name, weights=None)
    if pretrained:
        network.load_state_dict(_state(_default_weights(name)))
    return network.features if name.startswith("vgg") else network


@cache
def torchvision_accuracy(name: str) -> Accuracy:
    """Top-1 accuracy of the default weights, out of torchvision's metadata."""
    import torchvision

    weights = _default_weights(name)
    version = torchvision.__version__.partition("+")[0]
    crop = weights.transforms.keywords["crop_size"]
    return Accuracy(
        value=weights.meta["_metrics"]["ImageNet-1K"]["acc@1"],
        metric=IMAGENET_TOP1,
        source=f"torchvision {version}, {weights}, ImageNet val, {crop}x{crop}",
        weights=str(weights),
    )


def _default_weights(name: str) -> WeightsEnum:
    from torchvision import models

    return models.get_model_weights(name).DEFAULT


def _state(weights: WeightsEnum) -> dict[str, Any]:
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, HTTPException, RuntimeError) as error:
        # RuntimeError is what torch raises for a download whose hash is wrong.
        raise InputError(
            "weights",
            f"{weights} could not be fetched from {weights.url} ({error}); "
            "put that file into TORCH_HOME/hub/checkpoints, or take weights=random",
        ) from error


def _torchvision_card(name: str, family: str, title: str, paper: str) -> Card:
    features = family == "VGG"
    return Card(
        name=name,
        family=family,
        task=CLASSIFICATION,
        title=title,
        paper=paper,
        output=_FEATURES if features else _SCORES,
        build=partial(_torchvision, name),
        pretrained=partial(_torchvision, name, pretrained=True),
        published=partial(torchvision_accuracy, name),
        blog_name=name,
        note=_FEATURES_NOTE if features else "",
        features_only=features,
        made_for=_IMAGENET_CROP,
    )


TORCHVISION_CARDS: tuple[Card, ...] = (
    _torchvision_card("resnet18", "ResNet", "ResNet-18", _RESNET),
    _torchvision_card("resnet34", "ResNet", "ResNet-34", _RESNET),
    _torchvision_card("resnet50", "ResNet", "ResNet-50", _RESNET),
    _torchvision_card("vgg11_bn", "VGG", "VGG-11 features", _VGG),
    _torchvision_card("vgg13_bn", "VGG", "VGG-13 features", _VGG),
    _torchvision_card("vgg16_bn", "VGG", "VGG-16 features", _VGG),
    _torchvision_card("mobilenet_v3_small", "MobileNet", "MobileNetV3 small", _MOBILENET),
    _torchvision_card("mobilenet_v3_large", "MobileNet", "MobileNetV3 large", _MOBILENET),
    _torchvision_card("mnasnet1_0", "MNASNet", "MNASNet 1.0", _MNASNET),
    _torchvision_card("mnasnet1_3", "MNASNet", "MNASNet 1.3", _MNASNET),
    _torchvision_card("efficientnet_b0", "EfficientNet", "EfficientNet-B0", _EFFICIENTNET),
    _torchvision_card("regnet_y_400mf", "RegNet", "RegNetY-400MF", _REGNET),
    _torchvision_card("shufflenet_v2_x1_5", "ShuffleNet", "ShuffleNetV2 1.5x", _SHUFFLENET),
)


# Networks of the timm package, as deployments run them.
#
# timm makes the graph that is trained. Before a network is exported or counted, branches that run
# side by side in training are merged into one convolution, and what is made for one input size is
# made for the size asked for. A ConvNeXt's MLP is built of 1x1 convolutions: the default form
# moves channels behind width and back in every block.


TIMM_PREFIX = "timm:"

_MERGED = "Parallel branches merged as for deployment (timm.utils.reparameterize_model)."
_CONVOLUTIONAL = "Built with conv_mlp=True: its MLPs are 1x1 convolutions."
_RESAMPLED = "Its position embedding is resampled to the input's size and grows with it."


def timm_card(name: str) -> Card:
    """The card of timm's network ``name``, asked of the network itself.

    Raises :class:`InputError` when timm is not installed or has no such network.
    """
    if find_spec("timm") is None:
        raise InputError("models", f"{TIMM_PREFIX}{name} needs the timm package; pip install timm")
    import timm

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        near = [f"{TIMM_PREFIX}{one}" for one in _near(architecture, timm.list_models())]
        remedy = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them"
        raise InputError("models", f"timm has no network called {name!r}; {remedy}")
    tagged = timm.models.get_arch_pretrained_cfgs(architecture)
    if "." in name and name not in tagged:
        near = get_close_matches(name, tagged, n=1, cutoff=0) or [architecture]
        raise InputError(
            "models", f"timm has no weights called {name!r}; the nearest are {TIMM_PREFIX}{near[0]}"
        )
    settings = timm.get_pretrained_cfg(name, allow_unregistered=True)
    network = _timm_without_values(name)
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    if patch is None or getattr(network.patch_embed, "dynamic_img_pad", False):
        patch = 1
    resizes = hasattr(network, "set_input_size")
    merged = len(list(deploy_timm(network, None).modules())) != len(list(network.modules()))
    done = [
        f"Built by timm {timm.__version__}.",
        *([_MERGED] if merged else []),
        *([_CONVOLUTIONAL] if _is_convnext(name) else []),
        *([_RESAMPLED] if resizes and getattr(network, "pos_embed", None) is not None else []),
    ]
    return Card(
        name=TIMM_PREFIX + name,
        family="Other",
        task=CLASSIFICATION,
        title=f"{name} (timm)",
        paper="",
        output="class scores (logits); no softmax",
        build=partial(build_timm, name),
        pretrained=partial(_pretrained_timm, name),
        deploy=deploy_timm,
        divisor=patch if isinstance(patch, int) else max(patch),
        native_size=tuple(settings.input_size[-2:]) if settings else None,
        one_size=resizes,
        obstacle=partial(_timm_obstacle, name),
        note=" ".join(done),
        weights_licence=(settings and settings.license) or "",
        timm_weights=name if settings and settings.num_classes == IMAGENET_CLASSES else "",
    )


def build_timm(name: str) -> nn.Module:
    """timm's ``name`` with random weights, as it is trained."""
    return _timm(name, pretrained=False)


def deploy_timm(network: nn.Module, size: tuple[int, int] | None) -> nn.Module:
    """A copy of ``network`` without parallel branches, for images of ``size`` (height, width)."""
    from timm.utils import reparameterize_model

    with next(network.parameters()).device:  # where it makes the merged layers
        deployed = reparameterize_model(network)
    if size is not None and hasattr(deployed, "set_input_size"):
        deployed.set_input_size(img_size=size)
    return deployed


def _timm(name: str, *, pretrained: bool) -> nn.Module:
    import timm

    options = {"conv_mlp": True} if _is_convnext(name) else {}
    return timm.create_model(name, pretrained=pretrained, exportable=True, **options)


def _is_convnext(name: str) -> bool:
    import timm

    return timm.models.is_model_in_modules(name.partition(".")[0], {"convnext"})


@cache
def _timm_without_values(name: str) -> nn.Module:
    """The network on the meta device: its structure, in milliseconds and no memory."""
    import torch

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return build_timm(name).eval()


@cache
def _timm_obstacle(name: str, height: int, width: int) -> str | None:
    """Why the network does not run on images of that size, in its own words; None when it does.

    None as well where it does not run without values, which its native size shows.
    """
    import timm

    problem = _timm_problem(name, height, width)
    if problem is None:
        return None
    settings = timm.get_pretrained_cfg(name, allow_unregistered=True)
    native = settings and _timm_problem(name, *settings.input_size[-2:]) is None
    return problem if native else None


def _timm_problem(name: str, height: int, width: int) -> str | None:
    import torch

    try:
        network = deploy_timm(_timm_without_values(name), (height, width))
        with torch.no_grad():
            network(torch.empty(1, 3, height, width, device="meta"))
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        return f"{type(error).__name__}: {first_line(error)}"
    return None


def _pretrained_timm(name: str) -> nn.Module:
    try:
        return _timm(name, pretrained=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            "weights", f"timm's weights of {name} could not be had ({error}); take weights=random"
        ) from error


_KINDS = {
    "mobilenetv4": ("MobileNet", "Qin et al. 2024 (MobileNetV4), arXiv 2404.10518", ""),
    "convnext": ("ConvNeXt", "Liu et al. 2022, arXiv 2201.03545", _CONVOLUTIONAL),
    "convnextv2": ("ConvNeXt", "Woo et al. 2023 (V2), arXiv 2301.00808", _CONVOLUTIONAL),
    "vit": ("ViT", "Dosovitskiy et al. 2021, arXiv 2010.11929", _RESAMPLED),
    "repvit": ("RepViT", "Wang et al. 2024, arXiv 2307.09283", _MERGED),
    "fastvit": ("FastViT", "Vasu et al. 2023, arXiv 2303.14189", _MERGED),
    "mobileone": ("MobileOne", "Vasu et al. 2023, arXiv 2206.04040", _MERGED),
    "efficientvit": ("EfficientViT", "Cai et al. 2023, arXiv 2205.14756", ""),
    "tf": ("EfficientNet", "Tan and Le 2021 (EfficientNetV2), arXiv 2104.00298", ""),
    "regnetx": ("RegNet", _REGNET, ""),
    "hgnetv2": ("HGNet", "PaddleClas 2023 (PP-HGNetV2); no paper", ""),
    "starnet": ("StarNet", "Ma et al. 2024, arXiv 2403.19967", ""),
}
"""Family, paper and note, by the first word of timm's name."""

_TIMM_TABLE = """\
mobilenetv4_conv_small    e2400_r224_in1k      256 74.644 apache-2.0        MobileNetV4 conv S
mobilenetv4_conv_medium   e500_r256_in1k       256 79.916 apache-2.0        MobileNetV4 conv M
mobilenetv4_hybrid_medium ix_e550_r256_in1k    320 82.500 apache-2.0        MobileNetV4 hybrid M
convnext_atto             d2_in1k              224 75.672 apache-2.0        ConvNeXt-Atto
convnext_nano             d1h_in1k             288 81.474 apache-2.0        ConvNeXt-Nano
convnext_tiny             in12k_ft_in1k        224 84.192 apache-2.0        ConvNeXt-Tiny
convnextv2_atto           fcmae_ft_in1k        224 76.644 cc-by-nc-4.0      ConvNeXt V2-Atto
vit_small_patch16_224     augreg_in21k_ft_in1k 224 81.402 apache-2.0        ViT-S/16
repvit_m0_9               dist_450e_in1k       224 79.058 apache-2.0        RepViT-M0.9
repvit_m1_1               dist_450e_in1k       224 81.314 apache-2.0        RepViT-M1.1
fastvit_t8                apple_dist_in1k      256 77.170 fastvit-license   FastViT-T8
fastvit_sa12              apple_dist_in1k      256 81.838 fastvit-license   FastViT-SA12
mobileone_s0              apple_in1k           224 71.398 mobileone-license MobileOne-S0
mobileone_s1              apple_in1k           224 75.760 mobileone-license MobileOne-S1
efficientvit_b0           r224_in1k            224 71.408 apache-2.0        EfficientViT-B0
efficientvit_b1           r224_in1k            224 79.254 apache-2.0        EfficientViT-B1
tf_efficientnetv2_b0      in1k                 224 78.386 apache-2.0        EfficientNetV2-B0
tf_efficientnetv2_s       in1k                 300 83.162 apache-2.0        EfficientNetV2-S
regnetx_004               pycls_in1k           224 72.482 mit               RegNetX-400MF
regnetx_008               tv2_in1k             224 77.294 bsd-3-clause      RegNetX-800MF
hgnetv2_b0                ssld_stage2_ft_in1k  224 77.362 apache-2.0        PP-HGNetV2-B0
starnet_s1                in1k                 224 73.532 apache-2.0        StarNet-S1
"""
"""A network a line: timm's name, the tag of the weights with the accuracy, side of the square
images it was evaluated on, top-1 in percent (timm 1.0.31, results-imagenet.csv), licence of those
weights as timm states it (the code is under Apache-2.0), title."""


def _timm_lineup_card(line: str) -> Card:
    name, tag, side, top1, licence, title = line.split(maxsplit=5)
    family, paper, note = _KINDS[name.partition("_")[0]]
    patch = 16 if "_patch16_" in name else 1
    weights = f"{name}.{tag}"
    source = f"timm 1.0.31, results-imagenet.csv, {weights}, ImageNet val, {side}x{side}"
    return Card(
        name=name,
        family=family,
        task=CLASSIFICATION,
        title=title,
        paper=paper,
        output=_SCORES,
        build=partial(build_timm, name),
        pretrained=partial(_pretrained_timm, weights),
        deploy=deploy_timm,
        published=partial(Accuracy, float(top1), IMAGENET_TOP1, source),
        divisor=patch,
        native_size=(int(side), int(side)),
        one_size=patch > 1,
        note=note,
        weights_licence=licence,
        timm_weights=weights,
    )


TIMM_CARDS: tuple[Card, ...] = tuple(map(_timm_lineup_card, _TIMM_TABLE.splitlines()))


# The cards of the real-time segmentation networks, which this package writes out itself.
#
# Every timed graph ends at the class scores at the size of the input image, without argmax, so
# that the networks are compared over the same work; the publications ended in different places.
# The scores at a network's own output stride are the second choice (``NAME@stride``). One entry
# differs: ``fast_scnn_blog`` ends at 1/8, as the blog timed it, so that its table can be repeated.
#
# Accuracies are the publications', on the validation split where it is known.


FAMILY = "Real-time segmentation"
STRIDE_SUFFIX = "@stride"

_BISENETV2 = "Yu et al. 2021 (BiSeNet V2), arXiv 2004.02147"
_FAST_SCNN = "Poudel et al. 2019 (Fast-SCNN), arXiv 1902.04502"
_FASSDNET = "Rosas-Arias et al. 2020 (FASSD-Net), doi 10.1109/ICPR48806.2021.9413176"
_DDRNET = "Hong et al. 2021 (DDRNet), arXiv 2101.06085"
_DAPSPNET = "Wang, Xiong et al. 2023 (DAPSPNet), IEEE Xplore 10365437"
_FASTERSEG = "Chen et al. 2020 (FasterSeg), arXiv 1912.10917"
_VAL = "Cityscapes val, 2048x1024"
_BLOG_VARIANT = (
    "The blog's own variant, which differs from the paper's network and has one output class; "
    "no accuracy was published for it."
)


def size_named(source: str | None) -> str | None:
    """The ``WIDTHxHEIGHT`` that an accuracy's source names, the last where there are several."""
    found = re.findall(r"\b\d{2,5}x\d{2,5}\b", source or "")
    return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class _Net:
    """One network: ``module`` holds its builder, which has the network's name.

    ``stride`` is input size over size of the last scores before the final resize, and
    ``full_size`` says whether there is such a resize. ``of`` is what the mIoU belongs to.
    """

    name: str
    module: str
    title: str
    paper: str
    stride: int = 8
    full_size: bool = True
    divisor: int = 32
    classes: int = 19
    mean_iou: float | None = None
    of: str = _VAL
    blog_name: str | None = None
    note: str = ""
    reconstruction: bool = False

    def card(self, full_size: bool) -> Card:
        """The network with its scores at the input's size, or left at its own output stride."""
        s = "s" if self.classes > 1 else ""
        scores = f"{self.classes} class score{s} (logit{s})"
        end = f"at 1/{self.stride} of the input size; no last resize, no argmax"
        accuracy = Accuracy()
        if self.mean_iou is not None:
            accuracy = Accuracy(self.mean_iou, CITYSCAPES_MIOU, f"{self.paper}; {self.of}")
        plain = full_size == self.full_size
        return Card(
            name=self.name if plain else self.name + STRIDE_SUFFIX,
            family=FAMILY,
            task=SEGMENTATION,
            title=self.title if plain else f"{self.title} at 1/{self.stride}",
            paper=self.paper,
            output=f"{scores} {'per pixel of the input size; no argmax' if full_size else end}",
            build=partial(_segmentation, self.module, self.name, full_size),
            published=lambda: accuracy,
            blog_name=self.blog_name if plain else None,
            divisor=self.divisor,
            note=self.note,
            reconstruction=self.reconstruction,
            made_for=size_named(accuracy.source) or "",
        )


def _segmentation(module: str, name: str, full_size: bool) -> nn.Module:
    """Call the builder ``name`` of a module of ``nets``, importing torch only now."""
    return getattr(import_module(f"benchlib.models.nets.{module}"), name)(full_size=full_size)


_NETS = (
    _Net(
        *("bisenetv2", "bisenetv2", "BiSeNetV2", _BISENETV2),
        mean_iou=73.36,
        of="Cityscapes val, images resized to 1024x512; read in a transcription",
        note="The common implementation; the paper's own expansion and head are not public.",
    ),
    _Net(
        *("bisenetv2_blog", "bisenetv2", "BiSeNetV2 (blog)", _BISENETV2),
        classes=1,
        blog_name="BiSeNetV2",
        note=_BLOG_VARIANT,
    ),
    _Net(
        "fast_scnn",
        "fast_scnn",
        "Fast-SCNN",
        _FAST_SCNN,
        mean_iou=68.62,
        of=f"{_VAL}; read in a transcription",
    ),
    _Net(
        "fast_scnn_blog",
        "fast_scnn",
        "Fast-SCNN (blog)",
        _FAST_SCNN,
        full_size=False,
        classes=1,
        blog_name="FastSCNN",
        note=_BLOG_VARIANT,
    ),
    _Net("fassdnet", "fassdnet", "FASSD-Net", _FASSDNET, stride=4, divisor=1, mean_iou=78.8),
    _Net(
        "fassdnet_l1",
        "fassdnet",
        "FASSD-Net-L1",
        _FASSDNET,
        stride=6,
        divisor=1,
        note="No accuracy of this variant could be read anywhere.",
    ),
    _Net(
        "fassdnet_l2",
        "fassdnet",
        "FASSD-Net-L2",
        _FASSDNET,
        divisor=1,
        mean_iou=74.1,
        of=f"{_VAL}; the abstract's light version, taken to be L2 by its speed",
        blog_name="FASSDNet",
    ),
    _Net("ddrnet23_slim", "ddrnet", "DDRNet-23-slim", _DDRNET, mean_iou=77.8),
    _Net(
        "dapspnet",
        "ddrnet",
        "DAPSPNet (reconstruction)",
        _DAPSPNET,
        note=(
            "DDRNet-23-slim with strip pooling: our reconstruction from the abstract, since "
            "neither code nor a readable paper exists; left out of the findings."
        ),
        reconstruction=True,
    ),
    _Net("fasterseg", "fasterseg", "FasterSeg", _FASTERSEG, mean_iou=73.1),
)

# The line-up: every network that can be asked for, by name.
#
# Importing this module and listing the names needs no torch.


BLOG = tuple(
    """
    bisenetv2_blog fassdnet_l2 fast_scnn_blog efficientnet_b0 mnasnet1_0 mnasnet1_3
    mobilenet_v3_large mobilenet_v3_small regnet_y_400mf resnet18 resnet34 resnet50
    vgg11_bn vgg13_bn vgg16_bn shufflenet_v2_x1_5
    """.split()  # noqa: SIM905
)
"""The sixteen networks of the blog's table, in its order."""

_OWN = (net.card(net.full_size) for net in _NETS)
_CARDS: dict[str, Card] = {card.name: card for card in (*TORCHVISION_CARDS, *TIMM_CARDS, *_OWN)}
_AT_STRIDE = {card.name: card for card in (net.card(False) for net in _NETS if net.full_size)}


def reduced_output(name: str) -> str | None:
    """What network ``name`` of the line-up gives, where that is scores at less than its input's
    size, which are less work than the others' are; None for the others."""
    found = (_CARDS | _AT_STRIDE).get(name)
    scores = "" if found is None or found.task != SEGMENTATION else found.output.partition(";")[0]
    return scores if " at 1/" in scores else None


def reduced_outputs(names: Iterable[str]) -> list[str]:
    """Which of the networks ``names`` have a :func:`reduced_output`, and what, in words."""
    told = ((name, reduced_output(name)) for name in sorted(names))
    return [f"{name} gives {scores} only" for name, scores in told if scores]


def names() -> tuple[str, ...]:
    """Every network of the line-up; the ``@stride`` forms are left out."""
    return tuple(_CARDS)


@cache
def published_latencies() -> tuple[dict[str, str], ...]:
    """The times in ms of one image that others published of the line-up's networks.

    ``kind`` is "phone", "embedded" or "card"; what a source does not state is empty.
    """
    text = (files("benchlib.models") / "published_latencies.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def card(name: str) -> Card:
    """The card of a network of the line-up, of ``onnx:PATH`` or of ``timm:NAME``.

    Raises :class:`InputError`, with the nearest name, when there is no such network.
    """
    if name.startswith(ONNX_PREFIX):
        return _onnx_card(name)
    if name.startswith(TIMM_PREFIX):
        return timm_card(name.removeprefix(TIMM_PREFIX))
    known = _CARDS | _AT_STRIDE
    if name in known:
        return known[name]
    base = name.removesuffix(STRIDE_SUFFIX)
    if base in _CARDS:
        raise InputError(
            "models", f"{base} has no final resize to leave out; ask for {base} itself"
        )
    near = _near(name, known)
    remedy = (
        f"did you mean {' or '.join(near)}?"
        if near
        else "`benchlib models` lists them; onnx:PATH and timm:NAME work too"
    )
    raise InputError("models", f"no network is called {name!r}; {remedy}")


_MOST_NEAR = 3


def _near(name: str, known: Iterable[str]) -> list[str]:
    """What a user may have meant: the first names that have ``name`` in them, beginning with it
    before others, else the one most like it."""
    part, names = name.lower(), list(known)
    inside = [one for one in names if part and part in one]
    inside.sort(key=lambda one: not one.startswith(part))
    return inside[:_MOST_NEAR] or get_close_matches(part, names, n=1)


def _onnx_card(name: str) -> Card:
    from benchlib.models import onnx_file

    path = Path(name.removeprefix(ONNX_PREFIX)).expanduser()
    image = onnx_file.read(path)
    fixed = None
    if image.height is not None and image.width is not None:
        fixed = (image.height, image.width)
    return Card(
        name=name,
        family="Other",
        task="",
        title=path.stem,
        paper="",
        output="as the file ends",
        fixed_size=fixed,
        path=path,
        image=image,
        note="A file of the user's; its weights are as they come.",
    )
