"""The exact command lines that measure a case: build, profile when asked for, timing.

Building and timing are processes of their own, so a plan can be timed again and a crash of one
does not take the other along. Every command is checked against the flag table of the program
that is to run it before anybody sees it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchlib.case import Case, Engine, Precision, Word
from benchlib.engines.bounds import optimisation_profile
from benchlib.engines.precision import (
    default_typing,
    graph_form,
    int8_method,
    program_typing,
    switches,
    unsupported,
)
from benchlib.engines.program import Program
from benchlib.engines.settings import Settings
from benchlib.errors import InputError

__all__ = [
    "CaseFiles",
    "Command",
    "Phase",
    "commands",
    "default_typing",
    "graph_form",
    "int8_method",
    "program_typing",
    "shell",
    "unsupported",
]

# A profile run stops after every query for the layers' times; a second of them is plenty.
_PROFILE_DURATION_S = 1

# In these there are FP16 tensors for an FP16 input to meet; FP32 has none.
HAVE_HALVES = frozenset({Precision.FP16, Precision.INT8, Precision.FP8})

# The CUDA default of old stacks loads every kernel of the library at start (10 s against 1 s).
_CUDA_ENV = {"CUDA_MODULE_LOADING": "LAZY"}

# Never extra flags: they say what a case is, how it is measured, or where its files lie, and one
# of them changed behind its back would make the row's label untrue.
_OURS = frozenset(
    """
    --onnx --saveEngine --loadEngine --saveEngineSo --loadEngineSo --skipInference --buildOnly
    --getPlanVersionOnly --help -h
    --fp16 --bf16 --int8 --fp8 --int4 --best --calib --stronglyTyped --noTF32
    --precisionConstraints --layerPrecisions --layerOutputTypes --inputIOFormats --outputIOFormats
    --minShapes --optShapes --maxShapes --shapes --profile --useProfile --device
    --useCudaGraph --noCudaGraph --noDataTransfers --includeDataTransfers --useSpinWait
    --noSpinWait --infStreams --streams --avgRuns --duration --warmUp --iterations
    --exportTimes --exportProfile --exportLayerInfo --separateProfileRun --dumpProfile
    --profilingVerbosity --builderOptimizationLevel --memPoolSize --threads --provider --seed
    """.split()  # noqa: SIM905
)

_FILES = frozenset(
    [
        "--onnx",
        "--saveEngine",
        "--loadEngine",
        "--exportTimes",
        "--exportProfile",
        "--exportLayerInfo",
        "--exportOutput",
        "--timingCacheFile",
    ]
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
        return cls(
            engine=folder / f"{key}.engine",
            times=folder / f"{key}.times.json",
            layers=folder / f"{key}.layers.json",
            profile=folder / f"{key}.profile.json",
            output=folder / f"{key}.output.json",
            log=folder / f"{key}.log",
        )


@dataclass(frozen=True, slots=True)
class Command:
    """One process: its whole argv and what is added to its environment."""

    phase: Phase
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, hash=False)

    def flag(self, name: str) -> str | None:
        """The value of ``name``, an empty text for a switch, None when it is absent."""
        for argument in self.argv:
            flag, _, value = argument.partition("=")
            if flag == name:
                return value
        return None

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
    _check_extra(settings.extra_flags)
    profile = optimisation_profile(case, settings, input_name, dynamic)
    if program.on_cpu:
        planned = _on_cpu(settings, program, graph_path, files, profile)
    else:
        planned = _on_gpu(case, settings, program, graph_path, files, profile)
    table = program.flag_table()
    done = []
    for phase, ours in planned:
        arguments = (*ours, *settings.extra_flags)
        table.check(arguments)
        env = dict(program.env) if program.on_cpu else {**_CUDA_ENV, **dict(program.env)}
        done.append(Command(phase, (*program.command, *arguments), env))
    return tuple(done)


def _on_gpu(
    case: Case,
    settings: Settings,
    program: Program,
    graph_path: Path,
    files: CaseFiles,
    profile: Mapping[str, str],
) -> Iterator[tuple[Phase, list[str]]]:
    build = [f"--onnx={graph_path}", f"--saveEngine={files.engine}", "--skipInference"]
    build += switches(case, program.release)
    if not tf32(case, settings):
        build.append("--noTF32")
    if settings.half_io and case.precision in HAVE_HALVES:
        build += ["--inputIOFormats=fp16:chw", "--outputIOFormats=fp16:chw"]
    # Of the shapes, only `--shapes` concerns the timing: it is not stored in the plan.
    build += [f"{name}={text}" for name, text in profile.items() if name != "--shapes"]
    if settings.builder_optimization_level is not None:
        build.append(f"--builderOptimizationLevel={settings.builder_optimization_level}")
    if settings.workspace_mib is not None:
        build.append(f"--memPoolSize=workspace:{settings.workspace_mib}")
    build += [
        f"--profilingVerbosity={settings.profiling_verbosity}",
        f"--exportLayerInfo={files.layers}",
    ]
    build += _device(program)
    yield Phase.BUILD, build

    load = [f"--loadEngine={files.engine}"]
    if "--shapes" in profile:
        load.append(f"--shapes={profile['--shapes']}")
    load += _device(program)
    load += _measuring_switches(settings, program)
    yield from _profiling(settings, load, files)
    yield (
        Phase.TIME,
        [*load, *_loop(settings, settings.duration_s), f"--exportTimes={files.times}"],
    )


def _on_cpu(
    settings: Settings,
    program: Program,
    graph_path: Path,
    files: CaseFiles,
    profile: Mapping[str, str],
) -> Iterator[tuple[Phase, list[str]]]:
    load = [f"--onnx={graph_path}", f"--seed={settings.seed}"]
    if "--shapes" in profile:
        load.append(f"--shapes={profile['--shapes']}")
    if settings.threads is not None:
        load.append(f"--threads={settings.threads}")
    yield from _profiling(settings, load, files)
    yield (
        Phase.TIME,
        [
            *load,
            *_loop(settings, settings.duration_s),
            f"--exportLayerInfo={files.layers}",
            f"--exportTimes={files.times}",
        ],
    )


def _profiling(
    settings: Settings, load: list[str], files: CaseFiles
) -> Iterator[tuple[Phase, list[str]]]:
    """The run that times each layer, when one is asked for: never the timed run itself."""
    if settings.profile:
        # --separateProfileRun, because profiling in the timed run suppresses its own export.
        yield (
            Phase.PROFILE,
            [
                *load,
                *_loop(settings, min(settings.duration_s, _PROFILE_DURATION_S)),
                "--separateProfileRun",
                f"--exportProfile={files.profile}",
            ],
        )


def _loop(settings: Settings, duration_s: float) -> list[str]:
    return [
        f"--avgRuns={settings.avg_runs}",
        f"--duration={duration_s:g}",
        f"--warmUp={settings.warm_up_ms:g}",
        f"--iterations={settings.iterations}",
    ]


def _measuring_switches(settings: Settings, program: Program) -> list[str]:
    """CUDA graph, transfers, spin and streams, said outright whatever the version's default.

    Until 10.16 all three switches are off unless given; from 11.0 they are on, and what turns
    them off has names of its own that older versions do not know.
    """
    table = program.flag_table()
    chosen = (
        (settings.cuda_graph, "--useCudaGraph", "--noCudaGraph"),
        (not settings.transfers, "--noDataTransfers", "--includeDataTransfers"),
        (settings.spin_wait, "--useSpinWait", "--noSpinWait"),
    )
    said = []
    for wanted, positive, negative in chosen:
        if wanted:
            said.append(positive)
        elif negative in table:
            said.append(negative)
    return [*said, f"--infStreams={settings.streams}"]


def _device(program: Program) -> list[str]:
    index = program.device.partition(":")[2]
    return [f"--device={index}"] if index not in ("", "0") else []


def _check_extra(extra: tuple[str, ...]) -> None:
    for argument in extra:
        name = argument.partition("=")[0]
        if name in _OURS:
            raise InputError("extra_flags", f"{name} is set by benchlib; use its own parameter")
