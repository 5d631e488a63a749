"""Labelled images in ImageNet's layout: one subfolder per class.

Classes and files come in the order of ``torchvision.datasets.ImageFolder``. What an output index
means is the network's business, so a folder's name has to lead to one: as one of ImageNet's
thousand, as a number, or through a labels file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from benchlib.errors import InputError
from benchlib.graphs import cache

FIELD = "images"
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""torchvision's."""

LABEL_FILES = ("classes.json", "classes.txt")
IMAGENET_CLASSES = 1000
_WNID = re.compile(r"n\d{8}")
_INDEX = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One file and the output index of its class; ``name`` is its path within the folder."""

    path: Path
    name: str
    label: int

    def open(self) -> Image.Image:
        """The image as RGB; raises :class:`InputError` for a file that is none."""
        try:
            with Image.open(self.path) as image:
                return image.convert("RGB")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise InputError(
                FIELD, f"{self.name} cannot be read as an image ({error}); take it out"
            ) from error


@dataclass(frozen=True)
class ImageFolder:
    """The chosen images of one folder; ``found`` counts all that lie there.

    ``labels_from`` says in words what made class names into output indices.
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
                content = cache.sha256(image.path)
            except OSError as error:
                raise InputError(
                    FIELD, f"{image.name} cannot be read ({error.strerror})"
                ) from error
            digest.update(f"{image.name}\0{image.label}\0{content}\n".encode())
        return digest.hexdigest()

    def as_json(self) -> dict[str, Any]:
        """What a result says of its images: no path of this machine."""
        return {
            "name": self.name,
            "n": len(self.images),
            "found": self.found,
            "selection": "all" if len(self.images) == self.found else "evenly spaced in order",
            "labels_from": self.labels_from,
            "sha256": self.sha256,
        }


def read(folder: Path, limit: int | None = None) -> ImageFolder:
    """List ``folder``; with ``limit`` that many images, evenly spaced over all classes.

    Raises :class:`InputError` for a folder without class subfolders or images, and for classes
    that no output index is known of.
    """
    if not folder.is_dir():
        raise InputError(FIELD, f"{folder} is not a folder; give one with a subfolder per class")
    classes = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."
    )
    if not classes:
        raise InputError(
            FIELD, f"{folder} has no subfolders; put the images of each class into one of its own"
        )
    labels, labels_from = _labels(folder, classes)
    images = [
        LabelledImage(path, path.relative_to(folder).as_posix(), labels[name])
        for name in classes
        for path in sorted((folder / name).rglob("*"), key=lambda path: (path.parent, path.name))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if not images:
        raise InputError(FIELD, f"{folder} holds no image; its subfolders need {SUFFIXES} files")
    chosen = images if limit is None else _spread(images, limit)
    name = folder.resolve().name
    return ImageFolder(name, tuple(chosen), found=len(images), labels_from=labels_from)


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
    if all(_INDEX.fullmatch(name) for name in classes):
        return {name: int(name) for name in classes}, "subfolders named by class index"
    if len(classes) == IMAGENET_CLASSES and all(_WNID.fullmatch(name) for name in classes):
        order = {name: index for index, name in enumerate(classes)}
        return order, f"order of ImageNet's {IMAGENET_CLASSES} subfolders"
    raise InputError(
        FIELD,
        f"which outputs the {len(classes)} subfolders of {folder.name} stand for is unknown; name "
        f"them by class index, give all {IMAGENET_CLASSES} of ImageNet by their wnid, or add "
        f"{LABEL_FILES[1]} with lines of subfolder and index",
    )


def _from_file(file: Path, classes: Sequence[str]) -> dict[str, int]:
    """Read a JSON object, or lines of a subfolder's name and its index."""
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            pairs = dict(json.loads(text))
        else:
            lines = [line for line in text.splitlines() if line.strip()]
            pairs = {name: int(index) for name, index in (line.rsplit(None, 1) for line in lines)}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            FIELD, f"{file.name} does not map each subfolder to an index ({error}); correct it"
        ) from error
    for name in classes:
        index = pairs.get(name)
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise InputError(
                FIELD, f"{file.name} gives {name} no index from 0 up; add it, or take it away"
            )
    return {name: pairs[name] for name in classes}
