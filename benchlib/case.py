"""The words every room uses: the closed sets, and the case, one point of the matrix.

Stands below the rooms because graphs, engines and sweep all speak of precisions and cases.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import PurePath
from typing import Any

from benchlib.errors import InputError

_RESOLUTION = re.compile(r"(\d+)x(\d+)")
_UNSAFE = re.compile(r"[^A-Za-z0-9_]+")

ONNX_PREFIX = "onnx:"
"""What a model begins with that is a user's own file."""

LONGEST_KEY = 120
"""Letters of a key. File systems take names of 255 bytes, and the longest file of a case adds its
run and its endings, some 40 letters, to the key; the rest is room for what others add."""

_DIGITS = 8
"""Hex digits of a digest that stand in a name; 32 bits keep the thousands of a set apart."""


class Word(str, Enum):
    """A closed set of words that reads and writes as plain text."""

    __str__ = str.__str__

    @classmethod
    def read(cls, field: str, text: str) -> Word:
        """Return the member called ``text``; raise :class:`InputError` naming ``field``."""
        try:
            return cls(text)
        except ValueError:
            known = ", ".join(member.value for member in cls)
            raise InputError(field, f"{text!r} is not one of {known}") from None


class Precision(Word):
    """The precision that was asked for; ``int8`` means INT8 with FP16 fallback."""

    FP32 = "fp32"
    TF32 = "tf32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    FP8 = "fp8"


class Typing(Word):
    """Where the precision stands: in the graph (strong) or in builder switches (weak)."""

    WEAK = "weak"
    STRONG = "strong"


class ShapeMode(Word):
    """How the engine's input shapes were fixed.

    ``blog`` gives minimum and maximum only, as the blog did: trtexec then tunes for the maximum.
    """

    STATIC = "static"
    DYNAMIC = "dynamic"
    BLOG = "blog"


class Engine(Word):
    """The program that measures; every one speaks trtexec's command line."""

    TRTEXEC = "trtexec"
    TENSORRT_PYTHON = "tensorrt_python"
    ONNXRUNTIME_CPU = "onnxruntime_cpu"


_PARTITIONS = ("MIG", "vGPU", "MPS", "green context")
"""How a card may be shared out, as the names of devices have it."""


def device_name(card: str, partitions: Iterable[str] = ()) -> str:
    """What a row calls a card of which only a part was used: ``NVIDIA H100 (MIG 1g.10gb)``.

    ``card`` may name a part already, of which ``partitions`` are then parts.
    """
    whole = partition(card)
    told = ", ".join([*filter(None, [whole]), *partitions])
    name = card.removesuffix(f" ({whole})").removesuffix(f" {whole}") if whole else card
    return f"{name} ({told})" if told else name


def partition(device: str | None) -> str:
    """The part of a card that ``device`` names as :func:`device_name` does; empty for a whole.

    The driver's own name of a slice, ``NVIDIA H100 MIG 1g.10gb``, says it without brackets.
    """
    _, bracket, told = str(device or "").removesuffix(")").rpartition(" (")
    if bracket and told.startswith(_PARTITIONS):
        return told
    _, mark, profile = str(device or "").partition(" MIG ")
    return f"MIG {profile}" if mark else ""


class Int8Method(Word):
    """How INT8 came about.

    ``qdq``: our Q/DQ nodes on every convolution that TensorRT has an INT8 kernel for;
    ``qdq-no-depthwise``: grouped and squeeze-excite convolutions left out; ``modelopt``: NVIDIA's
    quantiser; ``made-up ranges``: no calibration, the ranges trtexec invents (weak typing);
    ``ort-static``: ONNX Runtime's own quantiser in the form its CPU kernels like.
    """

    QDQ = "qdq"
    QDQ_NO_DEPTHWISE = "qdq-no-depthwise"
    MODELOPT = "modelopt"
    MADE_UP_RANGES = "made-up ranges"
    ORT_STATIC = "ort-static"


OPSET = 17
"""The newest opset that TensorRT 8.6 reads; its parser misreads ReduceMean from 18 on."""

TYPED_SCALES_OPSET = 19
"""The first opset in which a quantisation scale may be FP16."""


class GraphForm(Word):
    """Which numbers the graph computes with, and for which reader it is laid out.

    ``int8-qdq``: INT8 convolutions behind explicit Q/DQ, FP32 scales, the rest FP32, for weak
    typing (TensorRT 8.6 with ``--int8 --fp16``); ``int8-qdq-fp16``: the same INT8 values with
    the rest in FP16, for strong typing (TensorRT 10 and later); ``int8-cpu``: the asymmetric
    form that ONNX Runtime's CPU kernels like and TensorRT refuses. In both forms with
    FP16 the nodes around values beyond it stay in FP32; the graph names them.
    """

    FP32 = "fp32"
    FP16 = "fp16"
    INT8_QDQ = "int8-qdq"
    INT8_QDQ_FP16 = "int8-qdq-fp16"
    INT8_CPU = "int8-cpu"

    @property
    def is_int8(self) -> bool:
        """Whether the graph needs a calibration set."""
        return self in (GraphForm.INT8_QDQ, GraphForm.INT8_QDQ_FP16, GraphForm.INT8_CPU)

    @property
    def has_half(self) -> bool:
        """Whether FP16 tensors stand in the graph, so that its input and output may be FP16."""
        return self in (GraphForm.FP16, GraphForm.INT8_QDQ_FP16)


@dataclass(frozen=True, slots=True)
class Shape:
    """Images per batch and pixels high and wide.

    ``dynamic`` leaves all three open in the graph; they are then the shape it is traced and
    calibrated at.
    """

    batch: int
    height: int
    width: int
    dynamic: bool = False

    @property
    def nchw(self) -> tuple[int, int, int, int]:
        return self.batch, 3, self.height, self.width

    def within(self, pixels: int, divisor: int) -> Shape:
        """This shape, or one of about the same aspect with at most some ``pixels`` an image.

        Sides are divided by a whole number and rounded to multiples of ``divisor``.
        """
        if self.height * self.width <= pixels:
            return self
        factor = math.ceil(math.sqrt(self.height * self.width / pixels))
        height, width = (
            max(1, round(side / factor / divisor)) * divisor for side in (self.height, self.width)
        )
        return replace(self, height=height, width=width)


class Status(Word):
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class Failure(Word):
    """Why a row failed.

    ``unsupported``: a program, a parser or a builder that ended in order refuses what it was given,
    a builder's internal error included; another version or method may take it. ``crash``: a process
    that a signal ended, or an error that is none of the others.
    """

    OOM_BUILD = "oom_build"
    OOM_RUN = "oom_run"
    UNSUPPORTED = "unsupported"
    TIMEOUT = "timeout"
    CRASH = "crash"
    NO_TACTIC = "no_tactic"
    NUMERICS = "numerics"
    MISSING_PROGRAM = "missing_program"
    BAD_OUTPUT = "bad_output"


class Verdict(Word):
    VALID = "VALID"
    SUSPECT = "SUSPECT"
    INVALID = "INVALID"


def resolution(text: str) -> tuple[int, int]:
    """Read ``WIDTHxHEIGHT`` and return ``(height, width)`` in pixels."""
    match = _RESOLUTION.fullmatch(str(text).strip())
    if match is None or "0" in match.groups():
        raise InputError("resolutions", f"{text!r} is not WIDTHxHEIGHT in pixels, like 640x480")
    width, height = (int(number) for number in match.groups())
    return height, width


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """One point of the matrix.

    ``model`` is a name of the line-up, ``onnx:PATH`` or ``timm:NAME``; ``height`` and ``width``
    are pixels; ``int8_method`` is None unless ``precision`` is INT8. ``model_digest`` is of the
    content of a user's own file, None for any other network.
    """

    model: str
    precision: Precision
    batch: int
    height: int
    width: int
    shape_mode: ShapeMode
    typing: Typing
    engine: Engine
    int8_method: Int8Method | None = None
    model_digest: str | None = None

    @property
    def resolution(self) -> str:
        """``WIDTHxHEIGHT``, the way people name image sizes."""
        return f"{self.width}x{self.height}"

    @property
    def key(self) -> str:
        """A name for this case's files: readable, safe on every file system, unique.

        A model given by path is named by its file, and the digits at the end keep two files of
        one name apart. A name that would make the key longer than :data:`LONGEST_KEY` is cut.
        """
        words = [
            self.precision,
            f"b{self.batch}",
            self.resolution,
            self.shape_mode,
            self.typing,
            self.engine,
        ]
        text = repr(sorted(self.identity().items())).encode()
        digest = hashlib.sha256(text).hexdigest()[:_DIGITS]
        rest = "-".join([*map(str, words), digest])
        return f"{self._readable[: LONGEST_KEY - len(rest) - 1]}-{rest}"

    @property
    def network(self) -> str:
        """A name for files of this network alone, such as its graphs: as safe as the key."""
        if self.model_digest is None:
            return self._readable[:LONGEST_KEY]
        digits = self.model_digest[:_DIGITS]
        return f"{self._readable[: LONGEST_KEY - len(digits) - 1]}-{digits}"

    @property
    def _readable(self) -> str:
        name = file_name(self.model)
        return _UNSAFE.sub("_", self.model if name is None else PurePath(name).stem)

    def identity(self) -> dict[str, Any]:
        """The fields that make this case another one than the next.

        Of a user's file these are its name and its content, wherever it lies.
        """
        fields = self.as_json()
        if self.model_digest is not None:
            fields["model"] = without_folders(self.model)
        return fields

    def as_json(self) -> dict[str, Any]:
        """The fields as plain text and numbers; ``model_digest`` only where there is one."""
        fields = {
            name: value.value if isinstance(value, Enum) else value
            for name, value in asdict(self).items()
        }
        if self.model_digest is None:
            del fields["model_digest"]
        return fields


def file_name(model: str, digest: str | None = None) -> str | None:
    """The name of a user's own file without its folders, None for any other network.

    ``digest`` is of its content; what :func:`with_digest` put behind the name is left out.
    """
    if not model.startswith(ONNX_PREFIX):
        return None
    return PurePath(without_digest(model, digest).removeprefix(ONNX_PREFIX)).name


def without_folders(model: str) -> str:
    """A user's own file by its name alone; any other network as it is called."""
    name = file_name(model)
    return model if name is None else f"{ONNX_PREFIX}{name}"


def with_digest(model: str, digest: str) -> str:
    """The name of a user's own file that only its content tells from another."""
    return f"{model}#{digest[:_DIGITS]}"


def without_digest(model: str, digest: str | None) -> str:
    """The model before :func:`with_digest`."""
    return model.removesuffix(f"#{digest[:_DIGITS]}") if digest else model
