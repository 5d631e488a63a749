"""The exact command lines that measure a case: precision, shapes, build, profile, timing.

Until TensorRT 10.16 a precision can be asked for by switches over an FP32 graph (weak typing), as
the blog did. From 10.0 the graph itself can carry it (strong typing), and from 11.0 nothing else is
left. 8.6 has no strong typing; there the typed graph with the switches is the nearest.

Building and timing are processes of their own, so a plan can be timed again and a crash of one
does not end the other. Every command is checked against the flag table of its program first.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchlib.case import Case, Engine, GraphForm, Int8Method, Precision, ShapeMode, Typing, Word
from benchlib.config import PROFILING_VERBOSITY, Settings, Shape
from benchlib.errors import InputError
from benchlib.process import NUMBER_AS_NVML
from benchlib.trtexec import flags
from benchlib.trtexec.flags import FlagTable, Version, parse_version

CPU = "cpu"

TIMED_OTHERWISE = Version(11, 1)
"""The first trtexec that times by a kernel that reads %globaltimer where Confidential Computing
makes the times of CUDA events unreliable."""


@dataclass(frozen=True, slots=True)
class Program:
    """One engine program, ready to be started or only planned for.

    ``command`` is the start of its argv. ``version`` is TensorRT's, or ONNX Runtime's for the
    CPU engine, as text. ``device`` is ``cuda:0`` or ``cpu``, ``card`` what CUDA calls that GPU.
    ``path`` is the executable where it was found, None when it is only planned for. ``env`` is what
    it needs in its environment.
    """

    engine: Engine
    command: tuple[str, ...]
    version: str
    device: str
    path: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    card: str | None = None

    @property
    def on_cpu(self) -> bool:
        """Whether no GPU is concerned, so that CUDA flags and precisions do not exist."""
        return self.device == CPU

    @property
    def release(self) -> Version:
        """``version`` as numbers."""
        return parse_version(self.version)

    @property
    def event_timed(self) -> bool:
        """Whether CUDA events give the times, and not under Confidential Computing another clock.

        trtexec from 11.1 on has such a one; the stand-in has not, whatever its version.
        """
        stamped = self.engine is not Engine.TENSORRT_PYTHON and self.release >= TIMED_OTHERWISE
        return not (self.on_cpu or stamped)

    def flag_table(self) -> FlagTable:
        """The flags this program knows."""
        return flags.onnxruntime_cpu() if self.on_cpu else flags.table(self.release)


# Always with --fp16: by itself --int8 lets layers without an INT8 kernel fall back to FP32, and
# the same holds for FP8.
_WEAK_SWITCHES = {
    Precision.FP32: (),
    Precision.TF32: (),
    Precision.FP16: ("--fp16",),
    Precision.BF16: ("--bf16",),
    Precision.INT8: ("--fp16", "--int8"),
    Precision.FP8: ("--fp16", "--fp8"),
}

STRONG_FORMS = {
    Precision.FP32: GraphForm.FP32,
    Precision.TF32: GraphForm.FP32,
    Precision.FP16: GraphForm.FP16,
    Precision.INT8: GraphForm.INT8_QDQ_FP16,
}


def default_typing(version: Version) -> Typing:
    """Strong where trtexec has it, weak below; the CPU engine is strong in any case."""
    return Typing.STRONG if "--stronglyTyped" in flags.table(version) else Typing.WEAK


def program_typing(program: Program) -> Typing:
    """The default typing for ``program``; on a CPU the graph alone decides."""
    return Typing.STRONG if program.on_cpu else default_typing(program.release)


def graph_form(case: Case, version: Version) -> GraphForm:
    """The form of the graph that ``case`` is measured with.

    ``version`` is TensorRT's and is not looked at for the CPU engine. Give only cases for which
    :func:`unsupported` has no objection. BF16 and FP8 are not written by us: a user's own file
    is taken as it is, which is what FP32 means for it.
    """
    if case.engine is Engine.ONNXRUNTIME_CPU:
        return GraphForm.INT8_CPU if case.precision is Precision.INT8 else GraphForm.FP32
    if case.typing is Typing.STRONG:
        form = STRONG_FORMS.get(case.precision, GraphForm.FP32)
        if form is GraphForm.INT8_QDQ_FP16 and default_typing(version) is Typing.WEAK:
            # FP16 scales need opset 19, which 8.6 does not read.
            return GraphForm.INT8_QDQ
        return form
    if case.precision is Precision.INT8 and not _made_up(case):
        return GraphForm.INT8_QDQ
    return GraphForm.FP32


def switches(case: Case, version: Version) -> tuple[str, ...]:
    """The builder's precision switches for ``case``, empty where the graph decides."""
    strong = flags.table(version).flags.get("--stronglyTyped")
    if case.typing is Typing.STRONG and strong is not None:
        # From 11.0 it is always so, and the flag only brings a warning.
        return () if strong.noop else ("--stronglyTyped",)
    return _WEAK_SWITCHES[case.precision]


def _has_typed_io(case: Case, program: Program) -> bool:
    """Whether the graph's inputs and outputs are FP16 already: a strongly typed network has them
    so, and TensorRT refuses to be given a type for one."""
    strong = case.typing is default_typing(program.release) is Typing.STRONG
    return strong and graph_form(case, program.release).has_half


def int8_method(case: Case) -> Int8Method | None:
    """How the INT8 of ``case`` comes about, with the default of its engine; None if not INT8."""
    if case.precision is not Precision.INT8:
        return None
    if case.int8_method is not None:
        return case.int8_method
    if case.engine is Engine.ONNXRUNTIME_CPU:
        return Int8Method.ORT_STATIC
    return Int8Method.MADE_UP_RANGES if case.typing is Typing.WEAK else Int8Method.QDQ


def unsupported(case: Case, program: Program) -> str | None:
    """Why ``program`` cannot honestly run ``case``, in one sentence; None when it can."""
    if program.on_cpu:
        return _unsupported_on_cpu(case)
    version = program.release
    table = flags.table(version)
    if case.typing is Typing.WEAK:
        missing = [flag for flag in ("--fp16", *switches(case, version)) if flag not in table]
        if "--fp16" in missing:
            return (
                f"TensorRT {version} has no weak typing: the precision switches are gone since "
                "11.0; use typing=strong"
            )
        if missing:
            return f"TensorRT {version} does not know {missing[0]}, it came with 9.1"
    if case.precision is Precision.INT8:
        return _unsupported_int8(case)
    own = case.model.startswith("onnx:")
    if case.precision is Precision.FP8 and not own:
        return (
            "FP8 needs Q/DQ nodes of that type in the graph, which benchlib does not write; "
            "give such a graph as onnx:PATH"
        )
    if case.precision is Precision.BF16 and case.typing is Typing.STRONG:
        if "--stronglyTyped" not in table:
            return f"TensorRT {version} does not know BF16, it came with 9.1"
        if not own:
            weak = "use typing=weak, or " if "--bf16" in table else ""
            return f"benchlib writes no BF16 graph; {weak}give one as onnx:PATH"
    return None


def _unsupported_on_cpu(case: Case) -> str | None:
    precision, name = case.precision, case.precision.value.upper()
    if precision in (Precision.FP16, Precision.BF16):
        return (
            f"ONNX Runtime computes {name} on a CPU in FP32 with casts around it, so its time "
            f"would say nothing about {name}"
        )
    if precision in (Precision.TF32, Precision.FP8):
        return f"a CPU has no {name}"
    if precision is Precision.INT8 and case.int8_method not in (None, Int8Method.ORT_STATIC):
        return (
            f"ONNX Runtime on a CPU runs int8_method={case.int8_method} slower than FP32; "
            f"use {Int8Method.ORT_STATIC}"
        )
    return None


def _unsupported_int8(case: Case) -> str | None:
    if case.int8_method is Int8Method.ORT_STATIC:
        return (
            "TensorRT refuses the INT8 form of ONNX Runtime (zero points, INT32 biases); "
            f"use int8_method={Int8Method.QDQ}"
        )
    if case.int8_method is Int8Method.MADE_UP_RANGES and case.typing is Typing.STRONG:
        return (
            "made-up ranges are set by the builder, which strong typing forbids; "
            f"use int8_method={Int8Method.QDQ} or typing=weak"
        )
    return None


def _made_up(case: Case) -> bool:
    return int8_method(case) is Int8Method.MADE_UP_RANGES


_PLANES = 3

# What the blog built every engine for: 480p to 4K, and no optimum.
BLOG_MIN = (480, 640)
BLOG_MAX = (2144, 3840)


def optimisation_profile(
    case: Case, settings: Settings, input_name: str, dynamic: bool
) -> dict[str, str]:
    """The shape flags of ``case`` by name; none for a static graph, which refuses them all.

    ``dynamic``: whether the graph's input has unknown dimensions. ``--shapes`` is what the
    timing runs at and is not stored in the plan; the others bound the plan. Raises
    :class:`InputError` for bounds that are missing or do not hold the case.
    """
    shape: Shape = (case.batch, case.height, case.width)
    if case.shape_mode is ShapeMode.STATIC:
        bounds = {"--minShapes": shape, "--optShapes": shape, "--maxShapes": shape}
        if not dynamic:
            return {}
    elif not dynamic:
        raise InputError("shape_mode", f"{case.shape_mode} needs a graph with dynamic dimensions")
    elif case.shape_mode is ShapeMode.BLOG:
        # No optimum, on purpose: trtexec then tunes for the maximum, as it did for the blog.
        bounds = {
            "--minShapes": settings.min_shape or (case.batch, *BLOG_MIN),
            "--maxShapes": settings.max_shape or (case.batch, *BLOG_MAX),
        }
    else:
        bounds = {}
        for end in ("min", "opt", "max"):
            bounds[f"--{end}Shapes"] = bound = getattr(settings, f"{end}_shape")
            if bound is None:
                need = "is needed with shape_mode=dynamic; give batch, height, width"
                raise InputError(f"{end}_shape", need)
    low, high = bounds["--minShapes"], bounds["--maxShapes"]
    between = [bounds.get("--optShapes", high), shape]
    for inner in between:
        if not all(a <= b <= c for a, b, c in zip(low, inner, high, strict=True)):
            raise InputError("max_shape", f"{inner} (B, H, W) is not within {low} and {high}")
    return {
        name: flags.shapes_text({input_name: (size[0], _PLANES, *size[1:])})
        for name, size in {**bounds, "--shapes": shape}.items()
    }


# A profile run stops after every query for the layers' times; a second of them is plenty.
_PROFILE_DURATION_S = 1

# In these there are FP16 tensors that an FP16 input can feed; FP32 has none.
HAVE_HALVES = frozenset({Precision.FP16, Precision.INT8, Precision.FP8})

# The CUDA default of old stacks loads every kernel of the library at start (10 s against 1 s).
_CUDA_ENV = {"CUDA_MODULE_LOADING": "LAZY", **NUMBER_AS_NVML}

# Never extra flags: they decide what a case is, how it is measured, or where its files are, and one
# of them that differs from the parameters would make the row's label untrue.
_OURS = frozenset(
    """
    --onnx --saveEngine --loadEngine --saveEngineSo --loadEngineSo --skipInference --buildOnly
    --getPlanVersionOnly --help -h
    --fp16 --bf16 --int8 --fp8 --int4 --best --calib --stronglyTyped --noTF32
    --precisionConstraints --layerPrecisions --layerOutputTypes --inputIOFormats --outputIOFormats
    --minShapes --optShapes --maxShapes --shapes --profile --useProfile --device
    --useCudaGraph --noCudaGraph --noDataTransfers --includeDataTransfers --useSpinWait
    --noSpinWait --infStreams --streams --avgRuns --duration --warmUp --iterations --idleTime
    --exportTimes --exportProfile --exportLayerInfo --separateProfileRun --dumpProfile
    --profilingVerbosity --builderOptimizationLevel --memPoolSize --threads --provider --seed
    """.split()  # noqa: SIM905
)

_FILES = frozenset(
    """
    --onnx --saveEngine --loadEngine --exportTimes --exportProfile --exportLayerInfo
    --exportOutput --timingCacheFile
    """.split()  # noqa: SIM905
)


class Phase(Word):
    """What one process of a case does."""

    BUILD = "build"
    PROFILE = "profile"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """Where the programs of one case leave their files."""

    engine: Path
    times: Path
    layers: Path
    profile: Path
    output: Path
    log: Path

    @classmethod
    def within(cls, folder: Path, key: str) -> CaseFiles:
        """Files named after ``key`` in ``folder``."""
        json = {
            name: folder / f"{key}.{name}.json" for name in ("times", "layers", "profile", "output")
        }
        return cls(engine=folder / f"{key}.engine", log=folder / f"{key}.log", **json)


@dataclass(frozen=True, slots=True)
class Command:
    """One process: its whole argv and what is added to its environment."""

    phase: Phase
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, hash=False)

    def flag(self, name: str) -> str | None:
        """The value of ``name``, an empty text for a switch, None when it is absent."""
        parts = (argument.partition("=") for argument in self.argv)
        return next((value for flag, _, value in parts if flag == name), None)

    def with_flag(self, name: str, value: str | Path) -> Command:
        """The same command with another value for a flag that it has.

        So a plan can be built under a temporary name and renamed when it is known to be good: a
        failed build may leave an empty file.
        """
        if self.flag(name) is None:
            raise KeyError(name)
        argv = tuple(
            f"{name}={value}" if argument.partition("=")[0] == name else argument
            for argument in self.argv
        )
        return replace(self, argv=argv)

    def placed(
        self, settings: Settings, graph_path: Path, files: CaseFiles, input_name: str
    ) -> Command:
        """The planned command as it runs: its files, the input's name, how long this attempt times.

        All else stays as planned.
        """
        values: dict[str, object] = {
            "--onnx": graph_path,
            "--saveEngine": files.engine,
            "--loadEngine": files.engine,
            "--exportLayerInfo": files.layers,
            "--exportTimes": files.times,
            "--exportProfile": files.profile,
            **dict(flag.split("=") for flag in _loop(settings, self.phase)),
        }
        argv = []
        for argument in self.argv:
            name, _, value = argument.partition("=")
            if name in ("--minShapes", "--optShapes", "--maxShapes", "--shapes"):
                (shape,) = flags.shapes(value, name).values()
                argument = f"{name}={flags.shapes_text({input_name: shape})}"
            argv.append(f"{name}={values[name]}" if name in values else argument)
        return replace(self, argv=tuple(argv))

    def choices(self) -> tuple[str, ...]:
        """The flags that decide what comes out, sorted: all but the names of files.

        With the graph's content, the library's version and the GPU they make an engine's key.
        """
        return tuple(
            sorted(
                argument
                for argument in self.argv
                if argument.startswith("--") and argument.partition("=")[0] not in _FILES
            )
        )


def shell(command: Command) -> str:
    """The command as one line that can be pasted into a shell."""
    assignments = [f"{name}={shlex.quote(value)}" for name, value in command.env.items()]
    return " ".join([*assignments, shlex.join(command.argv)])


def tf32(case: Case, settings: Settings) -> bool | None:
    """Whether FP32 matrix products may use TF32; None on a CPU, which has none."""
    if case.engine is Engine.ONNXRUNTIME_CPU:
        return None
    return case.precision is Precision.TF32 or settings.tf32


def commands(
    case: Case,
    settings: Settings,
    program: Program,
    graph_path: Path,
    files: CaseFiles,
    *,
    input_name: str = "input",
    dynamic: bool = False,
) -> tuple[Command, ...]:
    """The processes that measure ``case``, in order: build first, timing last.

    ``graph_path`` is the ONNX file in the form :func:`graph_form` names, ``dynamic`` says
    whether its input has unknown dimensions. Nothing is run or looked up, so commands can be
    planned for a TensorRT that is not installed. Raises :class:`InputError` for a case the
    program cannot run, contradicting settings, or an extra flag it does not know.
    """
    reason = unsupported(case, program)
    if reason is not None:
        raise InputError("precisions", f"{case.precision}: {reason}")
    for argument in settings.extra_flags:
        name = argument.partition("=")[0]
        if name in _OURS:
            raise InputError("extra_flags", f"{name} is set by benchlib; use its own parameter")
    profile = optimisation_profile(case, settings, input_name, dynamic)
    table = program.flag_table()
    done = []
    for phase, ours in _planned(case, settings, program, graph_path, files, profile):
        arguments = (*ours, *settings.extra_flags)
        table.check(arguments)
        env = dict(program.env) if program.on_cpu else {**_CUDA_ENV, **dict(program.env)}
        done.append(Command(phase, (*program.command, *arguments), env))
    return tuple(done)


def _planned(
    case: Case,
    settings: Settings,
    program: Program,
    graph_path: Path,
    files: CaseFiles,
    profile: Mapping[str, str],
) -> Iterator[tuple[Phase, list[str]]]:
    """The phases of ``case`` with their flags; of the shapes, only ``--shapes`` is for timing."""
    shapes = [f"--shapes={profile['--shapes']}"] if "--shapes" in profile else []
    leave = [f"--exportTimes={files.times}"]
    if program.on_cpu:
        load = [f"--onnx={graph_path}", f"--seed={settings.seed}", *shapes]
        if settings.threads is not None:
            load.append(f"--threads={settings.threads}")
        leave.insert(0, f"--exportLayerInfo={files.layers}")
    else:
        build = [f"--onnx={graph_path}", f"--saveEngine={files.engine}", "--skipInference"]
        build += switches(case, program.release)
        if not tf32(case, settings):
            build.append("--noTF32")
        if settings.half_io and case.precision in HAVE_HALVES and not _has_typed_io(case, program):
            build += ["--inputIOFormats=fp16:chw", "--outputIOFormats=fp16:chw"]
        build += [f"{name}={text}" for name, text in profile.items() if name != "--shapes"]
        if settings.builder_optimization_level is not None:
            build.append(f"--builderOptimizationLevel={settings.builder_optimization_level}")
        if settings.workspace_mib is not None:
            build.append(f"--memPoolSize=workspace:{settings.workspace_mib}")
        build += [
            f"--profilingVerbosity={PROFILING_VERBOSITY}",
            f"--exportLayerInfo={files.layers}",
        ]
        yield Phase.BUILD, [*build, *_device(program)]
        load = [f"--loadEngine={files.engine}", *shapes, *_device(program)]
        load += _measuring_switches(settings, program)
    if settings.profile:
        # --separateProfileRun, because profiling in the timed run suppresses its own export.
        loop = [*_loop(settings, Phase.PROFILE), "--separateProfileRun"]
        yield Phase.PROFILE, [*load, *loop, f"--exportProfile={files.profile}"]
    yield Phase.TIME, [*load, *_loop(settings, Phase.TIME), *leave]


def _loop(settings: Settings, phase: Phase) -> list[str]:
    profiled = phase is Phase.PROFILE
    duration_s = min(settings.duration_s, _PROFILE_DURATION_S) if profiled else settings.duration_s
    return [
        f"--avgRuns={settings.avg_runs}",
        f"--duration={duration_s:g}",
        f"--warmUp={settings.warm_up_ms:g}",
        f"--iterations={settings.iterations}",
        *([f"--idleTime={settings.idle_ms:g}"] if settings.idle_ms and not profiled else []),
    ]


def _measuring_switches(settings: Settings, program: Program) -> list[str]:
    """CUDA graph, transfers, spin and streams, switched outright whatever the version's default.

    Until 10.16 all three switches are off unless given; from 11.0 they are on, and what turns
    them off has names of its own that older versions do not know.
    """
    table = program.flag_table()
    chosen = (
        (settings.cuda_graph, "--useCudaGraph", "--noCudaGraph"),
        (not settings.transfers, "--noDataTransfers", "--includeDataTransfers"),
        (settings.spin_wait, "--useSpinWait", "--noSpinWait"),
    )
    switched = []
    for wanted, positive, negative in chosen:
        if wanted:
            switched.append(positive)
        elif negative in table:
            switched.append(negative)
    return [*switched, f"--infStreams={settings.streams}"]


def _device(program: Program) -> list[str]:
    index = program.device.partition(":")[2]
    return [f"--device={index}"] if index not in ("", "0") else []
