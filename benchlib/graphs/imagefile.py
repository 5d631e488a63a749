"""One image file as the 8-bit RGB picture that calibration and accuracy take.

Colours are made as ``torchvision.datasets.ImageFolder`` and timm make them, because the published
accuracies rest on it: ``Image.convert("RGB")``. Hence an EXIF orientation does not turn the
picture, transparency is dropped and not laid over a background, CMYK is converted without its
colour profile, and of several pictures in one file the first counts. Beyond eight bits Pillow's
conversion clips to white; here 16-bit grey is scaled, and what has no known scale is refused.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from benchlib.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""torchvision's."""

LEFT_BY_SYSTEMS = frozenset(
    {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)
"""Folders that archivers, network storage and operating systems put among a user's own; some hold
thumbnails under the images' names."""

DARKEST_DEEP = 16
"""Of 255. A file of 16 bits per channel whose brightest value stays below this fills at most 12
of its bits: it counts in a scale of its own (12-bit cameras, masks) and would come out black."""

_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
"""TIFF 6.0, section 8."""


def passed_over(name: str) -> bool:
    """Whether a file or folder is hidden or a system's own: ``.ipynb_checkpoints``, ``._a.jpg``."""
    return name.startswith(".") or name in LEFT_BY_SYSTEMS


def is_image(path: Path) -> bool:
    """Whether ``path`` is called like an image and is a file, or a link that leads nowhere.

    Such a link counts, so that reading it complains of it: it stands for an image that is gone.
    """
    if passed_over(path.name) or path.suffix.lower() not in SUFFIXES:
        return False
    return path.is_file() or (path.is_symlink() and not path.exists())


def read(path: Path, field: str, name: str) -> Image.Image:
    """The picture in ``path`` as RGB, 8 bits per channel.

    Raises :class:`InputError` on ``field``, which calls the file ``name``, for a file that cannot
    be read and for one whose values have no known scale.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures and of palettes; both are read rightly.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return _rgb(image)
    except _ScaleError as error:
        raise InputError(field, f"{name} {error}") from None
    except Exception as error:  # Pillow's readers raise nearly anything for a damaged file
        raise InputError(
            field, f"{name} cannot be read as an image ({_said(error)}); take it out"
        ) from error


class _ScaleError(Exception):
    """Nobody knows which value of the picture is white; the message says what to do."""


def _rgb(image: Image.Image) -> Image.Image:
    deep = any(";16" in str(tile) for tile in image.tile)
    image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        # Pillow below 11 calls 16-bit PNG "I"; PPM's reader scales any depth to 16 bits.
        picture = Image.fromarray(_high_byte(image))
    elif image.mode in ("I", "F"):
        kind = "floating-point numbers" if image.mode == "F" else "signed or 32-bit numbers"
        raise _ScaleError(
            f"holds {kind}, and which of them is white is unknown; save it with 8 or 16 bits per "
            "channel"
        )
    else:
        picture = image
    rgb = picture.convert("RGB")
    if deep and max(high for _, high in rgb.getextrema()) < DARKEST_DEEP:
        raise _ScaleError(
            f"has 16 bits per channel and fills less than 1 / {256 // DARKEST_DEEP} of their "
            "range, so which value is white is unknown; save it with 8 bits per channel"
        )
    return rgb


def _high_byte(image: Image.Image) -> np.ndarray:
    """The upper 8 bits of grey values, as Pillow itself takes them of 16-bit colour."""
    values = np.asarray(image).astype(np.int64)
    bits, white_is_zero = 16, False
    if image.format == "TIFF":
        (bits,) = image.tag_v2.get(_BITS_PER_SAMPLE, (16,))
        white_is_zero = image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    scaled = np.clip(values >> (bits - 8), 0, 255)
    return (255 - scaled if white_is_zero else scaled).astype(np.uint8)


def _said(error: Exception) -> str:
    """The first line of what a reader says, without the path; its kind where it says nothing."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).splitlines()), "") or type(error).__name__
