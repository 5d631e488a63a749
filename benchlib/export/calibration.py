"""Real images, and what a graph does on them: ranges for calibration, error against FP32.

Colours are made as ``torchvision.datasets.ImageFolder`` and timm make them, because the published
accuracies rest on it: ``Image.convert("RGB")``. Hence an EXIF orientation does not turn the
picture, transparency is dropped and not laid over a background, CMYK is converted without its
colour profile, and of several pictures in one file the first counts. Beyond eight bits Pillow's
conversion clips to white; here 16-bit grey is scaled, and what has no known scale is refused.

The bundled photos come with scikit-image, which states their licence: all are CC0 or public
domain. The photos that measure the error are not those that set the ranges.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from benchlib.errors import InputError, first_line
from benchlib.models.macs import RUNTIME_ERRORS

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""torchvision's."""

OTHER_SUFFIXES = frozenset({".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl"})
"""Of images that torchvision, and so this, passes over."""

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
    """It is unknown which value of the picture is white; the message has the remedy."""


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
    """The first line of a reader's message, without the path; its kind where it is empty."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).splitlines()), "") or type(error).__name__


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
    """A row's calibration: set, number of images, digest of their pixels."""

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
    right, bottom = min(left + cut_width, float(columns)), min(top + cut_height, float(rows))
    box = (max(left, 0.0), max(top, 0.0), right, bottom)
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
    """The user's own images: those that :func:`files_of` names.

    Raises :class:`InputError` as that does, and for a file that cannot be read.
    """
    photos = (np.asarray(read(file, FIELD, str(file)), np.uint8) for file in files_of(path))
    return ImageSet(path.name, tuple(photos))


def files_of(path: Path) -> list[Path]:
    """Up to ``MAX_FILES`` images of a folder in order of name; hidden files are passed over.

    Raises :class:`InputError` for a folder that is missing or holds no image.
    """
    if not path.is_dir():
        raise InputError(FIELD, f"{path} is not a folder; give one that holds images")
    try:
        files = sorted(file for file in path.iterdir() if is_image(file))[:MAX_FILES]
    except OSError as error:
        raise InputError(FIELD, f"{path} cannot be read ({error.strerror})") from error
    if not files:
        raise InputError(FIELD, f"{path} holds no image; put {', '.join(SUFFIXES)} files there")
    return files


PERCENTILE = 99.99
"""Percent of a batch's values that the range must hold: a single outlier costs all the others."""

_SAMPLE = 400_000
"""Values per tensor and batch that decide its percentile; evenly spaced when there are more."""


def amplitudes(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    input_name: str,
    batches: Iterable[NDArray[np.float32]],
) -> dict[str, float]:
    """Largest absolute value of each tensor, up to ``PERCENTILE`` of each batch's values.

    The activations of one batch are held at a time.
    """
    inner = [name for name in tensors if name != input_name]
    opened = _ranges_session(model, inner)
    largest = dict.fromkeys(tensors, 0.0)
    for batch in batches:
        values = opened.run(inner, {input_name: batch}) if inner else []
        for name, value in zip((*inner, input_name), (*values, batch), strict=True):
            if name in largest:
                largest[name] = max(largest[name], amplitude(value))
    return largest


def amplitude(values: NDArray[np.float32]) -> float:
    """The absolute value that ``PERCENTILE`` percent of the finite ``values`` do not exceed."""
    size = np.abs(values).ravel()
    size = size[np.isfinite(size)]
    if not size.size:
        return 0.0
    size = size[:: max(1, size.size // _SAMPLE)]
    rank = min(size.size - 1, int(size.size * PERCENTILE / 100))
    return float(np.partition(size, rank)[rank])


def _ranges_session(model: onnx.ModelProto, tensors: Sequence[str]) -> onnxruntime.InferenceSession:
    """``model`` on the CPU with ``tensors`` as further outputs."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    known = {value.name for value in tapped.graph.output}
    for name in tensors:
        if name not in known:
            tapped.graph.output.append(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            )
    try:
        return graph_session(tapped.SerializeToString())
    except RUNTIME_ERRORS as error:
        raise InputError(
            "form",
            "INT8 ranges are seen by running the network, and ONNX Runtime does not run it "
            f"({first_line(error)}); take fp32 or fp16",
        ) from error


Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class OutputFidelity:
    """One output's agreement with FP32's.

    ``not_finite`` counts its values that are NaN or infinite, ``fp32_not_finite`` those of
    FP32's. ``relative_l2`` and ``cosine`` are as in :class:`Fidelity` and None for integers and
    truth values, which have ``disagreement`` instead: the share of values that are not equal.
    ``note`` is the reason where there is no figure.
    """

    name: str
    relative_l2: float | None = None
    cosine: float | None = None
    disagreement: float | None = None
    not_finite: int = 0
    fp32_not_finite: int = 0
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Agreement with FP32 over ``images`` images, and all ``outputs``.

    ``relative_l2`` is the norm of the difference over the norm of FP32's output, ``cosine``
    that between the outputs, both over all images at once and of the output that is worst,
    None when no output can be compared: because it holds a NaN or an infinity (``finite`` is
    false then, for whichever output), because FP32's is zero everywhere, or because there are
    integers only. ``fp32_finite`` is whether FP32's own outputs are free of both; of an FP32
    graph nothing else is known. With random weights the figures are of the arithmetic, not of
    accuracy. Rows of old have the first four fields only.
    """

    relative_l2: float | None
    cosine: float | None
    finite: bool
    images: int
    fp32_finite: bool = True
    outputs: tuple[OutputFidelity, ...] = ()

    @property
    def worst(self) -> OutputFidelity | None:
        """The output with the greatest relative L2; None when none has one."""
        known = [one for one in self.outputs if one.relative_l2 is not None]
        return max(known, key=lambda one: one.relative_l2 or 0.0, default=None)

    @property
    def least_agreeing(self) -> OutputFidelity | None:
        """The output of whole numbers of which the largest share differs; None without one."""
        known = [one for one in self.outputs if one.disagreement is not None]
        return max(known, key=lambda one: one.disagreement or 0.0, default=None)

    @property
    def remarks(self) -> tuple[str, ...]:
        """A sentence for each output that holds no numbers or could not be compared."""
        sentences = []
        for one in self.outputs:
            if one.not_finite or one.fp32_not_finite:
                sentences.append(
                    f"output {one.name} holds {one.not_finite} values that are NaN or infinite, "
                    f"FP32's {one.fp32_not_finite}"
                )
            if one.note is not None:
                sentences.append(f"output {one.name} cannot be compared with FP32: {one.note}")
        return tuple(sentences)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Fidelity:
        """What :func:`dataclasses.asdict` made, with the outputs' types."""
        outputs = tuple(OutputFidelity(**one) for one in document.get("outputs", ()))
        return cls(**{**document, "outputs": outputs})


def graph_session(graph: Path | bytes) -> onnxruntime.InferenceSession:
    """Open a graph, a file or the bytes of one, on the CPU.

    ONNX Runtime's fusion of attention is left out: it takes an FP16 constant for an FP32 one and
    gives the graph up.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it complains of is raised as well
    return onnxruntime.InferenceSession(
        graph if isinstance(graph, bytes) else str(graph),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["AttentionFusion"],
    )


def measure_fidelity(
    reference: Path, path: Path, batches: Iterable[Array], *, images: int
) -> Fidelity:
    """Compare ``path`` with the FP32 graph ``reference`` on ``batches``, in all outputs.

    An FP16 graph is given as :func:`benchlib.export.convert.widened`, since ONNX Runtime would
    compute it in FP32. ``images`` counts distinct images.
    """
    exact = graph_session(reference)
    coarse = graph_session(path)
    tallies = [_Tally(entry.name) for entry in exact.get_outputs()]
    for batch in batches:
        pairs = zip(tallies, _outputs(exact, batch), _outputs(coarse, batch), strict=True)
        for tally, wanted, given in pairs:
            tally.add(wanted, given)
    return _summary(tallies, images)


def own(reference: Path, batches: Iterable[Array], *, images: int) -> Fidelity:
    """Whether the outputs of the FP32 graph ``reference`` are numbers on ``batches``."""
    opened = graph_session(reference)
    counts = dict.fromkeys((entry.name for entry in opened.get_outputs()), 0)
    for batch in batches:
        for name, value in zip(counts, _outputs(opened, batch), strict=True):
            counts[name] += _not_finite(value)
    finite = not any(counts.values())
    outputs = tuple(
        OutputFidelity(name, not_finite=count, fp32_not_finite=count)
        for name, count in counts.items()
    )
    return Fidelity(None, None, finite, images, fp32_finite=finite, outputs=outputs)


def _summary(tallies: Sequence[_Tally], images: int) -> Fidelity:
    outputs = tuple(tally.result() for tally in tallies)
    fidelity = Fidelity(
        relative_l2=None,
        cosine=None,
        finite=not any(one.not_finite for one in outputs),
        images=images,
        fp32_finite=not any(one.fp32_not_finite for one in outputs),
        outputs=outputs,
    )
    worst = fidelity.worst
    if worst is None:
        return fidelity
    return replace(fidelity, relative_l2=worst.relative_l2, cosine=worst.cosine)


def _outputs(opened: onnxruntime.InferenceSession, batch: Array) -> list[Any]:
    (entry,) = opened.get_inputs()
    return opened.run(None, {entry.name: batch})


def _not_finite(value: Any) -> int:
    """How many numbers of an output are NaN or infinite; those of a sequence are not looked at."""
    if not _is_float(value):
        return 0
    return int(np.count_nonzero(~np.isfinite(value)))


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating)


@dataclass(slots=True)
class _Tally:
    """What is summed up of one output, batch after batch."""

    name: str
    sums: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("difference", "wanted", "given", "product"), 0.0)
    )
    unequal: int = 0
    size: int = 0
    whole: bool = False
    not_finite: int = 0
    fp32_not_finite: int = 0
    note: str | None = None

    def add(self, wanted: Any, given: Any) -> None:
        self.not_finite += _not_finite(given)
        self.fp32_not_finite += _not_finite(wanted)
        if not (isinstance(wanted, np.ndarray) and isinstance(given, np.ndarray)):
            self.note = "it is no tensor"
        elif wanted.shape != given.shape:
            self.note = f"its shape depends on the data, {_shape(wanted)} and {_shape(given)}"
        elif _is_float(wanted) and _is_float(given):
            self.size += wanted.size
            self._add_floats(wanted, given)
        elif wanted.dtype == given.dtype:
            self.whole = True
            self.size += wanted.size
            self.unequal += int(np.count_nonzero(wanted != given))
        else:
            self.note = f"its type is {given.dtype}, FP32's is {wanted.dtype}"

    def _add_floats(self, wanted: NDArray, given: NDArray) -> None:
        left, right = (side.ravel().astype(np.float64) for side in (wanted, given))
        with np.errstate(invalid="ignore", over="ignore"):
            self.sums["difference"] += float(np.sum((left - right) ** 2))
            self.sums["wanted"] += float(left @ left)
            self.sums["given"] += float(right @ right)
            self.sums["product"] += float(left @ right)

    def result(self) -> OutputFidelity:
        output = OutputFidelity(
            self.name, not_finite=self.not_finite, fp32_not_finite=self.fp32_not_finite
        )
        if self.note is not None:
            return replace(output, note=self.note)
        if not self.size:
            return replace(output, note="it holds no elements")
        if self.whole:
            return replace(output, disagreement=self.unequal / self.size)
        if self.not_finite or self.fp32_not_finite:
            return output  # counted and judged; a distance from NaN is none
        difference, wanted, given, product = self.sums.values()
        if wanted == 0 and difference > 0:
            return replace(output, note="FP32's is zero everywhere")
        cosine = product / math.sqrt(wanted * given) if wanted and given else None
        error = math.sqrt(difference / wanted) if wanted else 0.0
        return replace(output, relative_l2=error, cosine=cosine)


def _shape(value: NDArray) -> str:
    return "x".join(map(str, value.shape)) or "scalar"
