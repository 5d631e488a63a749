"""Real images for calibration and for the fidelity check, named, counted and hashed.

The bundled ones come with scikit-image, which states their licence: all are CC0 or public
domain. The photos that measure the error are not those that set the ranges.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from benchlib.errors import InputError
from benchlib.graphs import imagefile

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's normalisation, the one the weights of the line-up were trained with."""

BUNDLED = ("coffee", "chelsea", "hubble_deep_field", "retina")
"""CC0: coffee (Rachel Michetti), chelsea (Stefan van der Walt), retina (Mikael Häggström);
public domain: hubble_deep_field (NASA)."""

HELD_OUT = ("astronaut", "rocket")
"""Public domain (NASA; SpaceX). Never used for calibration."""

CROPS = (1.0, 0.6)
"""Parts of a photo's height or width that become one image each: all of it, and its centre."""

FIELD = "calibration_dir"
MAX_FILES = 64
"""Images taken from a folder at most, in order of name: more add time, hardly any range."""

Tensor = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a row says of its calibration: set, number of images, digest of their pixels."""

    name: str
    count: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ImageSet:
    """RGB photos (height x width x 3, uint8), each giving one image per crop."""

    name: str
    photos: tuple[Pixels, ...]
    crops: tuple[float, ...] = (1.0,)

    @property
    def count(self) -> int:
        return len(self.photos) * len(self.crops)

    @property
    def identity(self) -> Identity:
        """Name, count and a SHA-256 over crops, sizes and pixels as they were decoded."""
        digest = hashlib.sha256(repr(self.crops).encode())
        for photo in self.photos:
            digest.update(repr(photo.shape).encode() + photo.tobytes())
        return Identity(self.name, self.count, digest.hexdigest())

    def image(self, index: int, height: int, width: int) -> Tensor:
        """The image at ``index`` (counted round and round), 1 x 3 x ``height`` x ``width``."""
        crop, photo = divmod(index % self.count, len(self.photos))
        return tensor(self.photos[photo], height, width, self.crops[crop])

    def batches(self, size: int, height: int, width: int) -> Iterator[Tensor]:
        """Yield ``size`` x 3 x ``height`` x ``width``, normalised, until every image was seen.

        The last batch is filled up with the first images.
        """
        for start in range(0, self.count, size):
            indices = range(start, start + size)
            yield np.concatenate([self.image(index, height, width) for index in indices])


def tensor(photo: Pixels, height: int, width: int, crop: float = 1.0) -> Tensor:
    """Cut the centre of ``photo`` to the asked aspect, resize it, normalise it.

    ``crop`` is the part kept of the largest such cut. Returns 1 x 3 x ``height`` x ``width``.
    """
    rows, columns = photo.shape[:2]
    scale = crop * min(rows / height, columns / width)
    cut_height, cut_width = height * scale, width * scale
    top, left = (rows - cut_height) / 2, (columns - cut_width) / 2
    # Rounding may put an edge some 1e-14 outside of the photo, which Pillow 13 refuses.
    box = (
        max(left, 0.0),
        max(top, 0.0),
        min(left + cut_width, float(columns)),
        min(top + cut_height, float(rows)),
    )
    image = Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR, box=box)
    values = np.asarray(image, dtype=np.float32) / 255
    values = (values - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def bundled() -> ImageSet:
    """The openly licensed photos that calibrate unless a folder is given."""
    return ImageSet("scikit-image", tuple(_photo(name) for name in BUNDLED), CROPS)


def held_out() -> ImageSet:
    """Two photos on which the error against FP32 is measured."""
    return ImageSet("scikit-image held out", tuple(_photo(name) for name in HELD_OUT))


def _photo(name: str) -> Pixels:
    return np.asarray(getattr(skimage.data, name)(), dtype=np.uint8)


def folder(path: Path) -> ImageSet:
    """The user's own images: up to ``MAX_FILES`` of a folder, in order of name.

    Hidden files are passed over. Raises :class:`InputError` for a folder that is missing or holds
    no image, and for a file that cannot be read.
    """
    if not path.is_dir():
        raise InputError(FIELD, f"{path} is not a folder; give one that holds images")
    try:
        files = sorted(file for file in path.iterdir() if imagefile.is_image(file))[:MAX_FILES]
    except OSError as error:
        raise InputError(FIELD, f"{path} cannot be read ({error.strerror})") from error
    if not files:
        raise InputError(
            FIELD, f"{path} holds no image; put {', '.join(imagefile.SUFFIXES)} files there"
        )
    photos = (np.asarray(imagefile.read(file, FIELD, str(file)), np.uint8) for file in files)
    return ImageSet(path.name, tuple(photos))
