"""From a photo to a network's input: the transforms that belong to its weights.

torchvision publishes them with the weights. They end in a square crop (224 pixels, mostly); a row
of another size gets the same enlargement around its own crop, and the words say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchlib.errors import InputError
from benchlib.models import lineup
from benchlib.models.card import CLASSIFICATION, Card

if TYPE_CHECKING:
    from PIL import Image

Tensor = NDArray[np.float32]

_USUAL = "ResNet18_Weights.IMAGENET1K_V1"
"""Of torchvision: for a user's own file, which does not say how its images are to be prepared."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """torchvision's ``preset`` for images of ``height`` x ``width`` pixels.

    ``source`` names the weights it belongs to.
    """

    preset: Any
    source: str
    height: int
    width: int

    @property
    def published_size(self) -> bool:
        """Whether the size is the one that the weights' accuracy was published at."""
        return [self.height, self.width] == self.preset.crop_size * 2

    @property
    def words(self) -> str:
        """All steps, with the numbers that decide."""
        preset = self.preset
        (crop,), (resize,) = preset.crop_size, preset.resize_size
        size = f"{self.width}x{self.height}"
        if self.published_size:
            sizes = f"shorter side to {resize}, centre crop {size}"
        else:
            sizes = (
                f"to cover {size} times {resize}/{crop}, centre crop {size} "
                f"(the weights' own: shorter side to {resize}, centre crop {crop}x{crop})"
            )
        return (
            f"{self.source}: {sizes}, {preset.interpolation.value}, "
            f"mean {tuple(preset.mean)}, std {tuple(preset.std)}"
        )

    def tensor(self, image: Image.Image) -> Tensor:
        """3 x height x width of an RGB image."""
        from torchvision.transforms import functional

        preset = self.preset
        if self.published_size:
            return preset(image).numpy()
        (crop,), (resize,) = preset.crop_size, preset.resize_size
        scale = resize / crop * max(self.height / image.height, self.width / image.width)
        sides = [
            max(wanted, round(side * scale))
            for side, wanted in ((image.height, self.height), (image.width, self.width))
        ]
        larger = functional.resize(
            image, sides, interpolation=preset.interpolation, antialias=preset.antialias
        )
        cut = functional.center_crop(larger, [self.height, self.width])
        return functional.normalize(functional.to_tensor(cut), preset.mean, preset.std).numpy()


def refusal(model: str) -> str | None:
    """Why no top-1 can be told of ``model``, in one sentence; None when one can."""
    card = lineup.card(model)
    if card.features_only:
        return f"{model} is timed without its classifier and gives no class"
    if card.task not in (CLASSIFICATION, ""):
        return f"{model} does {card.task}, and top-1 is of classification"
    if card.path is None and card.weights_enum is None:
        return f"{model} names no torchvision weights whose transforms could be taken"
    return None


def of(model: str, height: int, width: int) -> Recipe:
    """The recipe for ``model``; raises :class:`InputError` where :func:`refusal` has a reason."""
    reason = refusal(model)
    if reason is not None:
        raise InputError("key", f"{reason}; choose another row")
    return Recipe(*_preset(lineup.card(model)), height, width)


def _preset(card: Card) -> tuple[Any, str]:
    from torchvision.models import get_weight

    weights = card.weights_enum or _USUAL
    said = f"transforms of {weights}"
    if card.weights_enum is None:
        said += ", taken for a file that names none"
    return get_weight(weights).transforms(), said
