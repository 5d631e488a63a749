"""The thirteen torchvision networks of the line-up.

torchvision is imported only when a network is built or its accuracy is looked up: the line-up
can be listed without waiting for torch.
"""

from __future__ import annotations

from functools import cache, partial
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from benchlib.errors import InputError
from benchlib.models.card import CLASSIFICATION, IMAGENET_TOP1, Accuracy, Card

if TYPE_CHECKING:
    from torch import nn
    from torchvision.models import WeightsEnum

_SCORES = "1000 class scores (logits); no softmax"
_FEATURES = "512-channel feature map at 1/32 of the input size; no classifier"
_FEATURES_NOTE = (
    "Convolutional features only, as the blog timed it; the accuracy belongs to the whole "
    "network, classifier included."
)

_RESNET = "He et al. 2016, arXiv 1512.03385"
_VGG = "Simonyan and Zisserman 2015, arXiv 1409.1556"
_MOBILENET = "Howard et al. 2019, arXiv 1905.02244"
_MNASNET = "Tan et al. 2019, arXiv 1807.11626"
_EFFICIENTNET = "Tan and Le 2019, arXiv 1905.11946"
_REGNET = "Radosavovic et al. 2020, arXiv 2003.13678"
_SHUFFLENET = "Ma et al. 2018, arXiv 1807.11164"


def build(name: str) -> nn.Module:
    """Return torchvision's ``name`` with random weights; of a VGG only its features."""
    from torchvision import models

    return _timed_part(name, models.get_model(name, weights=None))


def pretrained(name: str) -> nn.Module:
    """Return torchvision's ``name`` with its default ImageNet weights.

    Raises :class:`InputError` when the weights are neither in torch's cache nor to be downloaded.
    """
    from torchvision import models

    weights = _default_weights(name)
    network = models.get_model(name, weights=None)
    network.load_state_dict(_state(weights))
    return _timed_part(name, network)


@cache
def accuracy(name: str) -> Accuracy:
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


def _timed_part(name: str, network: nn.Module) -> nn.Module:
    return network.features if name.startswith("vgg") else network


def _card(name: str, family: str, title: str, paper: str) -> Card:
    features = family == "VGG"
    return Card(
        name=name,
        family=family,
        task=CLASSIFICATION,
        title=title,
        paper=paper,
        output=_FEATURES if features else _SCORES,
        build=partial(build, name),
        pretrained=partial(pretrained, name),
        published=partial(accuracy, name),
        blog_name=name,
        note=_FEATURES_NOTE if features else "",
        features_only=features,
    )


CARDS: tuple[Card, ...] = (
    _card("resnet18", "ResNet", "ResNet-18", _RESNET),
    _card("resnet34", "ResNet", "ResNet-34", _RESNET),
    _card("resnet50", "ResNet", "ResNet-50", _RESNET),
    _card("vgg11_bn", "VGG", "VGG-11 features", _VGG),
    _card("vgg13_bn", "VGG", "VGG-13 features", _VGG),
    _card("vgg16_bn", "VGG", "VGG-16 features", _VGG),
    _card("mobilenet_v3_small", "MobileNet", "MobileNetV3 small", _MOBILENET),
    _card("mobilenet_v3_large", "MobileNet", "MobileNetV3 large", _MOBILENET),
    _card("mnasnet1_0", "MNASNet", "MNASNet 1.0", _MNASNET),
    _card("mnasnet1_3", "MNASNet", "MNASNet 1.3", _MNASNET),
    _card("efficientnet_b0", "EfficientNet", "EfficientNet-B0", _EFFICIENTNET),
    _card("regnet_y_400mf", "RegNet", "RegNetY-400MF", _REGNET),
    _card("shufflenet_v2_x1_5", "ShuffleNet", "ShuffleNetV2 1.5x", _SHUFFLENET),
)
