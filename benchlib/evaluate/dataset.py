"""Labelled images in ImageNet's layout, and the transforms from a photo to a network's input.

Each class is a subfolder; classes and files come in the order of torchvision's ``ImageFolder``.
The meaning of an output index depends on the network, so a folder's name has to lead to one: as one
of ImageNet's thousand, as a number, or through a labels file.

torchvision publishes the transforms with the weights. They end in a square crop (224 pixels,
mostly); a row of another size gets the same enlargement around its own crop, and both are named.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchlib.errors import InputError
from benchlib.export import calibration
from benchlib.models import onnx_file, registry
from benchlib.models.registry import CLASSIFICATION, IMAGENET_CLASSES, Card

log = logging.getLogger(__name__)

FIELD = "images"

LABEL_FILES = ("classes.json", "classes.txt")
_WNID = re.compile(r"n\d{8}")
_INDEX = re.compile(r"[0-9]{1,9}")
"""ASCII digits, and no more than an output index can have."""

_NAMED = 5
"""Folders that a message names at most."""


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One file and the output index of its class; ``name`` is its path within the folder."""

    path: Path
    name: str
    label: int

    def open(self) -> Image.Image:
        """The image as RGB; raises :class:`InputError` for a file that is none."""
        return calibration.read(self.path, FIELD, self.name)


@dataclass(frozen=True)
class ImageFolder:
    """The chosen images of one folder; ``found`` counts all that lie there.

    ``labels_from`` is a phrase: what made class names into output indices.
    """

    name: str
    images: tuple[LabelledImage, ...]
    found: int
    labels_from: str

    @cached_property
    def sha256(self) -> str:
        """Digest of the chosen images: names within the folder, labels and the files' bytes."""
        digest = hashlib.sha256()
        for image in self.images:
            try:
                content = onnx_file.sha256(image.path)
            except OSError as error:
                raise InputError(
                    FIELD, f"{image.name} cannot be read ({error.strerror}); take it out"
                ) from error
            digest.update(os.fsencode(f"{image.name}\0{image.label}\0{content}\n"))
        return digest.hexdigest()

    def as_json(self) -> dict[str, Any]:
        """A result's record of its images: no path of this machine."""
        return {
            "name": self.name,
            "n": len(self.images),
            "found": self.found,
            "selection": "all" if len(self.images) == self.found else "evenly spaced in order",
            "labels_from": self.labels_from,
            "sha256": self.sha256,
        }


def read_folder(folder: Path, limit: int | None = None) -> ImageFolder:
    """List ``folder``; with ``limit`` that many images, evenly spaced over all classes.

    Links are followed; hidden files and folders are passed over. Raises :class:`InputError` for a
    folder without class subfolders, for a class without images, and for classes that no output
    index is known of.
    """
    if not folder.is_dir():
        raise InputError(FIELD, f"{folder} is not a folder; give one with a subfolder per class")
    try:
        classes = sorted(
            entry.name
            for entry in folder.iterdir()
            if _is_class(entry) and not calibration.passed_over(entry.name)
        )
        if not classes:
            raise InputError(
                FIELD,
                f"{folder} has no subfolders; put the images of each class into one of its own",
            )
        # Each image would have two labels
        link = "are one folder through a link; take one of them out"
        _refuse_twins({name: _identity(folder / name) for name in classes}, link)
        files = {name: _files(folder, name) for name in classes}
    except OSError as error:
        raise InputError(FIELD, f"{error.filename} cannot be read ({error.strerror})") from error
    labels, labels_from = _labels(folder, classes)
    _complain_of_empty(folder, files)
    images = [
        LabelledImage(path, path.relative_to(folder).as_posix(), labels[name])
        for name in classes
        for path in files[name]
    ]
    chosen = images if limit is None else _spread(images, limit)
    name = _printable(folder.resolve().name)
    return ImageFolder(name, tuple(chosen), found=len(images), labels_from=labels_from)


def _is_class(entry: Path) -> bool:
    """Whether ``entry`` is a folder, or a link that leads nowhere: a class that is gone."""
    return entry.is_dir() or (entry.is_symlink() and not entry.exists() and not entry.suffix)


def _complain_of_empty(folder: Path, files: Mapping[str, Sequence[Path]]) -> None:
    """Refuse classes without images; a part of ImageNet's thousand may lack some, and is told."""
    empty = [name for name, paths in files.items() if not paths]
    if len(empty) < len(files) == IMAGENET_CLASSES and empty:
        log.warning("%d of %d classes hold no image: %s", len(empty), len(files), _listed(empty))
    elif empty:
        raise InputError(
            FIELD,
            f"{folder} holds no image in {_listed(empty)}; put {', '.join(calibration.SUFFIXES)} "
            "files there, or take the subfolder away",
        )


def _files(folder: Path, name: str) -> list[Path]:
    """The images of class ``name`` at any depth, in torchvision's order.

    No folder is entered twice, through whatever links: it would count images twice or never end.
    """
    entered = {_identity(above) for above in (folder.resolve(), *folder.resolve().parents)}
    by_folder: list[tuple[str, list[Path]]] = []
    others: list[str] = []

    def stop(error: OSError) -> None:
        raise error

    for root, inner, names in os.walk(folder / name, followlinks=True, onerror=stop):
        here = _identity(Path(root))
        if here in entered:
            inner.clear()
            continue
        entered.add(here)
        inner[:] = sorted(one for one in inner if not calibration.passed_over(one))
        paths = (Path(root, one) for one in sorted(names))
        by_folder.append((root, [path for path in paths if calibration.is_image(path)]))
        others += [one for one in names if Path(one).suffix.lower() in calibration.OTHER_SUFFIXES]
    if others:
        kinds = ", ".join(sorted({Path(one).suffix.lower() for one in others}))
        log.warning(
            "%d images in %s are passed over (%s); save them as PNG if they are to count",
            *(len(others), name, kinds),
        )
    return [path for _, paths in sorted(by_folder) for path in paths]


def _identity(folder: Path) -> tuple[int, int]:
    known = folder.stat()
    return known.st_dev, known.st_ino


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _printable(name: str) -> str:
    """``name`` with a mark for each byte that is not UTF-8, as in file names of old systems."""
    return os.fsencode(name).decode(errors="replace")


def _spread(images: Sequence[LabelledImage], limit: int) -> list[LabelledImage]:
    """``limit`` of ``images``: the first ones alone would all be of one class."""
    if limit < 1:
        raise InputError("limit", f"{limit} is not a number of images; give 1 or more")
    count = min(limit, len(images))
    return [images[index * len(images) // count] for index in range(count)]


def _labels(folder: Path, classes: Sequence[str]) -> tuple[Mapping[str, int], str]:
    """Output index by class name, and in words where it is from."""
    for name in LABEL_FILES:
        file = folder / name
        if file.is_file():
            return _from_file(file, classes), name
    seen = {name: _as_seen(name) for name in classes}
    if all(_INDEX.fullmatch(name) for name in seen.values()):
        indices = {name: int(digits) for name, digits in seen.items()}
        _refuse_twins(indices)
        return indices, "subfolders named by class index"
    if len(classes) == IMAGENET_CLASSES and all(map(_WNID.fullmatch, seen.values())):
        _refuse_twins(seen)
        order = {name: index for index, name in enumerate(sorted(classes, key=_as_seen))}
        return order, f"order of ImageNet's {IMAGENET_CLASSES} subfolders"
    raise InputError(
        FIELD,
        f"which outputs the {len(classes)} subfolders of {folder.name} stand for is unknown; name "
        f"them by class index, give all {IMAGENET_CLASSES} of ImageNet by their wnid, or add "
        f"{LABEL_FILES[1]} with lines of subfolder and index",
    )


def _as_seen(name: str) -> str:
    """A name as people see it: how an accent is composed and blanks at the ends do not show."""
    return unicodedata.normalize("NFC", name).strip()


def _refuse_twins(
    meanings: Mapping[str, object], why: str = "mean the same class; put their images into one"
) -> None:
    """Refuse subfolders of one meaning (``1`` and ``01``): they are one class by mistake."""
    first: dict[object, str] = {}
    for name, meaning in meanings.items():
        other = first.setdefault(meaning, name)
        if other != name:
            raise InputError(FIELD, f"the subfolders {other!r} and {name!r} {why}")


def _from_file(file: Path, classes: Sequence[str]) -> dict[str, int]:
    """Read a JSON object, or lines of a subfolder's name and its index.

    Names are compared as people see them, and without regard to case where only one entry and
    only one subfolder differ in nothing else.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        pairs = _json_pairs(text) if file.suffix == ".json" else _lines(text)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            FIELD, f"{file.name} does not map each subfolder to an index ({error}); correct it"
        ) from error
    indices: dict[str, Any] = {}
    for name, index in pairs:
        if _as_seen(name) in indices:
            raise InputError(FIELD, f"{file.name} has {name} twice; take one of them away")
        indices[_as_seen(name)] = index
    _refuse_twins({name: _as_seen(name) for name in classes})
    return {name: _index(name, classes, indices, file.name) for name in classes}


def _index(name: str, classes: Sequence[str], indices: Mapping[str, Any], source: str) -> int:
    """The index of subfolder ``name`` among ``indices`` of file ``source``."""
    seen = _as_seen(name)
    if seen not in indices:
        folded = seen.casefold()
        alike = [entry for entry in indices if entry.casefold() == folded]
        mine = [one for one in classes if _as_seen(one).casefold() == folded]
        if len(alike) == len(mine) == 1:
            seen = alike[0]
    index = indices.get(seen)
    if not isinstance(index, int) or isinstance(index, bool) or not _INDEX.fullmatch(str(index)):
        raise InputError(
            FIELD, f"{source} gives {name} no index from 0 up; add it, or take it away"
        )
    return index


def _json_pairs(text: str) -> list[tuple[str, Any]]:
    """Names and indices of a JSON object, names that stand twice included."""
    pairs = json.loads(text, object_pairs_hook=list)
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        raise ValueError("it is no JSON object")
    return pairs


def _lines(text: str) -> list[tuple[str, int]]:
    """Names and indices of lines; blank lines and those that begin with # are passed over."""
    pairs = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        *name, index = line.rsplit(None, 1)
        if not name or not _INDEX.fullmatch(index):
            raise ValueError(f"line {number} is {line.strip()!r}, no subfolder and index")
        pairs.append((name[0], int(index)))
    return pairs


Tensor = NDArray[np.float32]

_USUAL = "ResNet18_Weights.IMAGENET1K_V1"
"""Of torchvision: for a user's own file, which does not hold how its images are to be prepared."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
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


def preprocessing_refusal(model: str) -> str | None:
    """Why no top-1 can be told of ``model``, in one sentence; None when one can."""
    card = registry.card(model)
    if card.features_only:
        return f"{model} is timed without its classifier and gives no class"
    if card.task not in (CLASSIFICATION, ""):
        return f"{model} does {card.task}, and top-1 is of classification"
    if card.path is None and card.published().weights is None and not card.timm_weights:
        return f"{model} names no weights for ImageNet's classes whose transforms could be taken"
    return None


def preprocessing_of(model: str, height: int, width: int) -> Preprocessing:
    """The transforms for ``model``; :class:`InputError` for a :func:`preprocessing_refusal`."""
    reason = preprocessing_refusal(model)
    if reason is not None:
        raise InputError("key", f"{reason}; choose another row")
    return Preprocessing(*_preset(registry.card(model)), height, width)


def _preset(card: Card) -> tuple[Any, str]:
    from torchvision.models import get_weight

    if card.timm_weights:
        return _timm_preset(card.timm_weights), f"transforms of timm's {card.timm_weights}"
    weights = card.published().weights or _USUAL
    source = f"transforms of {weights}"
    if card.published().weights is None:
        source += ", taken for a file that names none"
    return get_weight(weights).transforms(), source


def _timm_preset(weights: str) -> Any:
    """What timm does before these weights, as one of torchvision's presets."""
    import timm
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    own = timm.get_pretrained_cfg(weights)
    side = own.input_size[-1]
    return ImageClassification(
        crop_size=side,
        resize_size=math.floor(side / own.crop_pct),
        mean=own.mean,
        std=own.std,
        interpolation=InterpolationMode(own.interpolation),
    )
