"""What a run is told: its parameters, which of them are settings of a case, and presets."""

from __future__ import annotations

import difflib
import os
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from benchlib.case import Engine, Int8Method, Precision, ShapeMode, Typing, resolution
from benchlib.errors import InputError

Positive = Annotated[int, Field(ge=1)]

Shape = tuple[Positive, Positive, Positive]
"""Batch, height and width of one input; the three colour planes are understood."""


# The parameters of one run: what ``benchmark.ipynb`` takes and ``-p NAME VALUE`` sets.


AUTO = "auto"


_GONE = frozenset({"processes", "retries", "cool_down_s"})
"""Parameters of earlier versions, in whose place rounds are."""

_LISTS = ("models", "resolutions", "batch_sizes", "shape_modes", "int8_methods", "extra_flags")
_WORDS: dict[str, tuple[str, ...]] = {
    "precision": tuple(Precision),
    "engine": (AUTO, *Engine),
    "typing": (AUTO, *Typing),
    "shape_modes": tuple(ShapeMode),
    "int8_methods": (AUTO, *Int8Method),
    "weights": ("random", "imagenet"),
}


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which refuses a key that stands twice: the first value would be lost."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            # Keys merged in by << may be set again: that is what they are for.
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"{key.value} stands twice; keep one of them",
                        problem_mark=key.start_mark,
                    )
                seen.add(key.value)
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number; one like ``016``, which YAML reads as 14, is refused."""
        number = super().construct_yaml_int(node)
        digits = node.value.lstrip("+-").replace("_", "")
        if digits.isdigit() and int(digits) != abs(number):
            raise yaml.MarkedYAMLError(
                problem=f"{node.value} is {number} in YAML, where a zero in front makes it octal; "
                f"write {int(digits)} or {number}",
                problem_mark=node.start_mark,
            )
        return number


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def read_yaml(text: str | bytes) -> Any:
    """The value that ``text`` is in YAML; raises ValueError with one line that names the place."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        problem = error.problem or error.context or "not YAML"
        if "'\\t'" in problem:
            problem = "a tab where YAML takes spaces only"
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise ValueError(where + " ".join(problem.split())) from None
    except yaml.reader.ReaderError as error:
        raise ValueError(f"{error.reason} at character {error.position}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class Matrix(BaseModel):
    """What is measured: the parameters that make the cases."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    precision: Precision = Field(
        Precision.FP32, description="fp32, tf32, fp16, bf16, int8 (with FP16 fallback) or fp8"
    )
    models: tuple[str, ...] = Field(
        ("resnet18",), min_length=1, description="line-up names, onnx:PATH or timm:NAME"
    )
    resolutions: tuple[str, ...] = Field(
        ("640x480",), min_length=1, description="input sizes in pixels, WIDTHxHEIGHT"
    )
    batch_sizes: tuple[Positive, ...] = Field((1,), min_length=1, description="images per query")
    engine: Literal["auto"] | Engine = Field(
        AUTO, description="auto, trtexec, tensorrt_python or onnxruntime_cpu"
    )
    typing: Literal["auto"] | Typing = Field(
        AUTO, description="strong: types in the graph; weak: builder switches; auto: by version"
    )
    shape_modes: tuple[ShapeMode, ...] = Field(
        (ShapeMode.STATIC,), min_length=1, description="static, dynamic or blog"
    )
    int8_methods: tuple[Literal["auto"] | Int8Method, ...] = Field(
        (AUTO,), min_length=1, description="how INT8 comes about; used at precision int8 only"
    )
    weights: Literal["random", "imagenet"] = Field("random", description="random or imagenet")


class Settings(BaseModel):
    """How each case is built and timed: the parameters that become flags of its commands.

    A run goes on until ``iterations`` queries *and* ``duration_s`` seconds are both done, after
    ``warm_up_ms``. The three shapes bound a dynamic engine and are unused by static ones.
    """

    model_config = Matrix.model_config

    seed: int = Field(0, ge=0, description="of random weights, inputs and the order of cases")
    duration_s: float = Field(3.0, gt=0, description="least seconds of timing per round")
    warm_up_ms: int = Field(200, ge=0, description="milliseconds before timing, longer if cold")
    iterations: int = Field(10, ge=1, description="least queries per process")
    avg_runs: int = Field(50, ge=1, description="queries per averaged line of the log, no more")
    tf32: bool = Field(True, description="whether FP32 may use TF32 (false: --noTF32)")
    cuda_graph: bool = Field(True, description="launch the network as one CUDA graph")
    transfers: bool = Field(False, description="time the copies to and from the GPU too")
    spin_wait: bool = Field(True, description="wait for the GPU by polling, not by sleeping")
    streams: int = Field(1, ge=1, description="inference streams")
    idle_ms: float = Field(0.0, ge=0, description="milliseconds of rest after each query")
    builder_optimization_level: int | None = Field(
        None, ge=0, le=5, description="TensorRT's builder optimization level; none: its default"
    )
    workspace_mib: int | None = Field(None, ge=1, description="limit of TensorRT's workspace")
    half_io: bool = Field(False, description="FP16 inputs and outputs instead of FP32")
    profile: bool = Field(False, description="a further run that times each layer")
    extra_flags: tuple[str, ...] = Field((), description="further flags for the engine program")
    threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads; none: the engine's choice"
    )
    min_shape: Shape | None = Field(None, description="[batch, height, width], dynamic and blog")
    opt_shape: Shape | None = Field(None, description="[batch, height, width], dynamic only")
    max_shape: Shape | None = Field(None, description="[batch, height, width], dynamic and blog")

    def as_json(self) -> dict[str, Any]:
        """What a row keeps of how it was measured, and what its fingerprint is made of."""
        # No parameter, and named all the same: the fingerprints of the rows that stand have it.
        found = {**self.model_dump(mode="json"), "profiling_verbosity": PROFILING_VERBOSITY}
        if not self.idle_ms:
            del found["idle_ms"]  # Nor have they this, of queries back to back
        return found


PROFILING_VERBOSITY = "detailed"
"""Only a plan built so can say which precision each layer got. Its price is a slower enqueue, and
with a CUDA graph the enqueue is no part of the GPU time we report."""


class Parameters(Settings, Matrix):
    """One run of the benchmark notebook: one precision over a matrix of networks and sizes."""

    target: float | None = Field(
        None, gt=0, description="half-width over latency to reach; none: 0.005, on a CPU 0.03"
    )
    min_rounds: int = Field(3, ge=1, description="least timing processes per engine")
    max_rounds: int = Field(
        10, ge=1, validate_default=True, description="most timing processes per engine"
    )
    time_ceiling_s: float = Field(120.0, gt=0, description="no round after so many seconds")
    builds: int = Field(1, ge=1, description="engines built per case")
    fleet: str | None = Field(
        None,
        min_length=1,
        description="local, tcp://HOST:PORT of a Dask scheduler, or a cluster's YAML file",
    )
    exclusive_host: bool = Field(False, description="a fleet times on one card of a host at a time")
    time_limit_build_s: float = Field(1800.0, gt=0, description="seconds one build may take")
    time_limit_time_s: float = Field(300.0, gt=0, description="seconds one timing may take")
    lock_clocks: bool = Field(False, description="lock the GPU's clocks while measuring")
    keep_raw: bool = Field(False, description="keep every run's exportTimes as JSON too")
    roofs: bool = Field(True, description="measure the device's roofs once per set")
    calibration_dir: str | None = Field(
        None, min_length=1, description="folder of images for INT8; none: scikit-image's photos"
    )
    out_dir: str = Field("results/local", min_length=1, description="folder of the measured set")
    preset: str | None = Field(None, description="name of the preset, for the record")

    @field_validator(*_LISTS, mode="before")
    @classmethod
    def _a_list(cls, value: Any) -> Any:
        """Take ``640x480`` and ``"[a, b]"`` for lists: the papermill command line sends text."""
        if isinstance(value, str):
            value = read_yaml(value) if value.lstrip().startswith("[") else [value]
        if isinstance(value, int) and not isinstance(value, bool):
            value = [value]
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """``yes`` and ``true`` are no number, and would silently be taken for 1."""
        switches = [one for one in (value if isinstance(value, list) else [value]) if one is True]
        if switches and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("is a switch; give a value of another kind")
        return value

    @field_validator("resolutions", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """YAML reads ``[640]`` and ``0x64`` as numbers; as text they get a message of their own."""
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return [str(one) for one in value] if isinstance(value, (list, tuple)) else value

    @field_validator("resolutions")
    @classmethod
    def _readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            resolution(text)
        return value

    @field_validator(*_LISTS)
    @classmethod
    def _without_repeats(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("max_rounds")
    @classmethod
    def _not_below_the_least(cls, value: int, info: ValidationInfo) -> int:
        least = info.data.get("min_rounds", value)
        if value < least:
            raise InputError(
                "max_rounds", f"{value} is less than min_rounds, {least}; raise it or lower that"
            )
        return value

    @field_validator("lock_clocks")
    @classmethod
    def _not_of_a_fleet(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("fleet") is not None:
            raise InputError(
                "lock_clocks",
                "a fleet locks no clocks; lock them on each host (nvidia-smi -lgc) instead",
            )
        return value

    def as_json(self) -> dict[str, Any]:
        """The parameters as plain text and numbers."""
        return self.model_dump(mode="json")


def parameter_names() -> tuple[str, ...]:
    """Every parameter's name, in the order of the notebook's cell."""
    return tuple(Parameters.model_fields)


def read_parameters(values: Mapping[str, Any], source: str = "parameters") -> Parameters:
    """Check ``values`` and return them as :class:`Parameters`.

    ``source`` (a file or ``parameters``) stands in front of the message. Raises
    :class:`InputError` that names the field, the value, and the nearest right one.
    """
    check_parameter_names(values, parameter_names(), source)
    try:
        return Parameters.model_validate(dict(values))
    except ValidationError as error:
        raise _as_input_error(error, source) from None


def check_parameter_names(values: Mapping[str, Any], known: tuple[str, ...], source: str) -> None:
    """Raise :class:`InputError` for the first name of ``values`` that is not in ``known``."""
    for name in values:
        if name in _GONE:
            raise InputError(
                name,
                f"{said_in(source)}there is none since cases are timed in rounds; use min_rounds "
                "and max_rounds",
            )
        if name not in known:
            shown = _shown(name)
            raise InputError(
                shown, f"{said_in(source)}no parameter has this name{nearest(shown, known)}"
            )


def _as_input_error(error: ValidationError, source: str) -> InputError:
    first = error.errors()[0]
    field = str(first["loc"][0])
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return InputError(cause.field, said_in(source) + cause.problem)
    if field in _WORDS:
        known = _WORDS[field]
        hint = nearest(_shown(first["input"]), known).partition("; the names are")[0]
        return InputError(
            field,
            f"{said_in(source)}{_REPR.repr(first['input'])} is not one of {', '.join(known)}{hint}",
        )
    expected = Parameters.model_fields[field].description
    problem = first["msg"].removeprefix("Value error, ")
    given = _REPR.repr(first["input"])
    return InputError(field, f"{said_in(source)}{given}: {problem} ({expected})")


_REPR = reprlib.Repr()
"""A value in a message, shortened where it is long: a YAML list can even hold itself."""
_REPR.maxstring = _REPR.maxother = 80


def _shown(value: object) -> str:
    """A name or word as the user wrote it, on one line of bounded length."""
    return " ".join(value.split())[:80] if isinstance(value, str) else _REPR.repr(value)


def said_in(source: str) -> str:
    """The beginning of a problem that names the file it is in."""
    return "" if source == "parameters" else f"in {source}: "


def nearest(word: str, known: tuple[str, ...]) -> str:
    """``; did you mean …?``, or the whole list when nothing is near."""
    near = difflib.get_close_matches(word, [str(name) for name in known], n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; the names are {', '.join(str(name) for name in known)}"


# Presets: YAML files of parameters, in ``presets/`` or wherever the user keeps one.
#
# A preset holds parameters of one run, and ``precisions``, the runs to make.


PRESETS_FOLDER = Path(__file__).resolve().parents[1] / "presets"
"""Where the presets of a checkout lie."""

_NO_CHANGE = frozenset({"out_dir", "precision", "preset"})
"""Parameters that do not make it another preset; the precisions are compared as a whole."""

_ELSEWHERE = {"out_dir": "-o (out= in Python)", "preset": "--preset (preset= in Python)"}
"""Parameters of the notebook that the command line has options for."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A checked preset: its name, the precisions to run, and what else it sets."""

    name: str
    precisions: tuple[Precision, ...]
    values: Mapping[str, Any] = field(default_factory=dict)

    def with_values(self, changes: Mapping[str, Any], source: str = "parameters") -> Preset:
        """This preset with ``changes`` (which may name ``precisions``) over it, checked.

        ``precision`` stands for a list of one; beside ``precisions`` it is refused, as are
        ``out_dir`` and ``preset``, which a run takes from its options.
        """
        changes = dict(changes)
        where = said_in(source)
        for name, option in _ELSEWHERE.items():
            if name in changes:
                raise InputError(name, f"{where}it is not set here; use {option}")
        check_parameter_names(changes, known_preset_names(), source)
        if "precision" in changes:
            if "precisions" in changes:
                raise InputError(
                    "precision", f"{where}precisions is set beside it; keep one of the two"
                )
            changes["precisions"] = [changes.pop("precision")]
        precisions = _precisions(changes.pop("precisions", self.precisions), source)
        changed = Preset(self.name, precisions, {**self.values, **changes})
        changed.runs(source)
        return changed

    def told_from(self, base: Preset) -> Preset:
        """This preset under a name that says in which parameters it differs from ``base``."""
        before, after = (one.runs()[0].as_json() for one in (base, self))
        names = [name for name in after if after[name] != before[name] and name not in _NO_CHANGE]
        if self.precisions != base.precisions:
            names.append("precisions")
        if not names:
            return self
        return replace(self, name=f"{self.name}, changed: {', '.join(sorted(names))}")

    def runs(self, source: str = "parameters") -> tuple[Parameters, ...]:
        """The parameters of each papermill run, one per precision."""
        return tuple(
            read_parameters(
                {**self.values, "precision": precision.value, "preset": self.name}, source
            )
            for precision in self.precisions
        )


def known_preset_names() -> tuple[str, ...]:
    """What a preset and ``-p`` may set."""
    return ("precisions", *(name for name in parameter_names() if name not in _ELSEWHERE))


def preset_names() -> tuple[str, ...]:
    """The presets there are."""
    return tuple(sorted(path.stem for path in PRESETS_FOLDER.glob("*.yaml")))


def find_preset(name: str | os.PathLike[str]) -> Preset:
    """The preset called ``name``, or the one in the file ``name`` (ending in .yaml)."""
    name = os.fspath(name)
    path = Path(name) if name.endswith((".yaml", ".yml")) else PRESETS_FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(preset_names()) or "none"
        raise InputError("preset", f"there is no {name!r}; give a .yaml file or one of: {known}")
    return read_preset(path)


def preset_runs(
    name: str | os.PathLike[str] | None, overrides: Mapping[str, Any]
) -> tuple[Parameters, ...]:
    """The runs of a preset, by default ``quick``, with ``overrides``, which its name then tells."""
    base = find_preset(name or "quick")
    return base.with_values(overrides).told_from(base).runs()


def read_preset(path: Path) -> Preset:
    """Read and check a preset; :class:`InputError` names the file and the key."""
    try:
        document = read_yaml(path.read_bytes())
    except OSError as error:
        raise InputError("preset", f"{path} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError("preset", f"{path.name}: {error}") from None
    if not isinstance(document, dict) or not document:
        held = {list: "a list", dict: "nothing", type(None): "nothing"}.get(type(document), "text")
        raise InputError(
            "preset", f"{path.name} holds {held}; write lines like 'models: [resnet18]'"
        )
    empty = Preset(path.stem, (Precision.FP32,))
    return empty.with_values(document, path.name)


def _precisions(given: Any, source: str) -> tuple[Precision, ...]:
    """Each precision once, in the order given."""
    where = said_in(source)
    if isinstance(given, str):
        try:
            given = read_yaml(given) if given.lstrip().startswith("[") else [given]
        except ValueError as error:
            raise InputError("precisions", f"{where}{given!r} is not YAML ({error})") from None
    if not isinstance(given, Sequence) or not given:
        raise InputError("precisions", f"{where}{given!r} is not a list; write [fp32, int8]")
    checked = [read_parameters({"precision": word}, source).precision for word in given]
    return tuple(dict.fromkeys(checked))
