"""The exact commands of a case, for each release and choice."""

import itertools
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchlib.case import Case, Engine, GraphForm, Int8Method, Precision, ShapeMode, Typing
from benchlib.config import Settings
from benchlib.errors import InputError
from benchlib.trtexec.command import (
    CaseFiles,
    Command,
    Phase,
    Program,
    commands,
    default_typing,
    graph_form,
    int8_method,
    program_typing,
    shell,
    tf32,
    unsupported,
)
from benchlib.trtexec.flags import parse_version

KNOWN = ("8.6", "10.0", "10.16", "11.1")
GRAPH = Path("graphs/resnet18.onnx")
FILES = CaseFiles.within(Path("out"), "key")
CPU = Program(Engine.ONNXRUNTIME_CPU, ("python", "-m", "ort"), "1.32.0", "cpu")
PRECISION_SWITCHES = {"--fp16", "--bf16", "--int8", "--fp8", "--stronglyTyped"}


def trtexec(version: str) -> Program:
    return Program(Engine.TRTEXEC, ("trtexec",), version, "cuda:0")


def case(
    precision: str = "fp16", typing: str = "strong", mode: str = "static", **fields: object
) -> Case:
    plain = Case(
        model="resnet18",
        precision=Precision(precision),
        batch=1,
        height=480,
        width=640,
        shape_mode=ShapeMode(mode),
        typing=Typing(typing),
        engine=Engine.TRTEXEC,
    )
    return replace(plain, **fields)


def flags_of(command: Command) -> set[str]:
    return set(command.argv[1:])


def switches(version: str, precision: str, typing: str, **fields: object) -> set[str]:
    build, _ = commands(
        case(precision, typing, **fields), Settings(), trtexec(version), GRAPH, FILES
    )
    return flags_of(build) & PRECISION_SWITCHES


def test_the_whole_of_one_plan() -> None:
    """The blog's precision with the measuring flags it meant, as they would be pasted."""
    planned = commands(case("fp16", "weak"), Settings(), trtexec("8.6"), GRAPH, FILES)
    assert [shell(command) for command in planned] == [
        "CUDA_MODULE_LOADING=LAZY CUDA_DEVICE_ORDER=PCI_BUS_ID trtexec "
        "--onnx=graphs/resnet18.onnx --saveEngine=out/key.engine --skipInference --fp16 "
        "--profilingVerbosity=detailed --exportLayerInfo=out/key.layers.json",
        "CUDA_MODULE_LOADING=LAZY CUDA_DEVICE_ORDER=PCI_BUS_ID trtexec "
        "--loadEngine=out/key.engine --useCudaGraph "
        "--noDataTransfers --useSpinWait --infStreams=1 --avgRuns=50 --duration=3 --warmUp=200 "
        "--iterations=10 --exportTimes=out/key.times.json",
    ]
    assert [command.phase for command in planned] == ["build", "time"]


@pytest.mark.parametrize(
    ("version", "precision", "typing", "expected"),
    [
        ("8.6", "fp32", "weak", set()),
        ("8.6", "fp16", "weak", {"--fp16"}),
        ("8.6", "int8", "weak", {"--fp16", "--int8"}),
        # No strong typing there: the typed graph, and the switches that let it be.
        ("8.6", "fp16", "strong", {"--fp16"}),
        ("8.6", "int8", "strong", {"--fp16", "--int8"}),
        ("10.0", "fp16", "weak", {"--fp16"}),
        ("10.0", "bf16", "weak", {"--bf16"}),
        ("10.0", "fp32", "strong", {"--stronglyTyped"}),
        ("10.16", "int8", "strong", {"--stronglyTyped"}),
        ("11.0", "int8", "strong", set()),
        ("11.1", "fp16", "strong", set()),
    ],
)
def test_precision_switches(version: str, precision: str, typing: str, expected: set[str]) -> None:
    assert switches(version, precision, typing) == expected


@pytest.mark.parametrize(
    ("version", "precision", "typing", "method", "form"),
    [
        ("8.6", "fp16", "weak", None, GraphForm.FP32),
        ("8.6", "int8", "weak", None, GraphForm.FP32),
        ("8.6", "int8", "weak", Int8Method.MADE_UP_RANGES, GraphForm.FP32),
        ("8.6", "int8", "weak", Int8Method.QDQ, GraphForm.INT8_QDQ),
        ("8.6", "int8", "strong", None, GraphForm.INT8_QDQ),
        ("8.6", "fp16", "strong", None, GraphForm.FP16),
        ("10.16", "int8", "strong", None, GraphForm.INT8_QDQ_FP16),
        ("11.1", "int8", "strong", Int8Method.MODELOPT, GraphForm.INT8_QDQ_FP16),
        ("11.1", "fp32", "strong", None, GraphForm.FP32),
        ("11.1", "tf32", "strong", None, GraphForm.FP32),
    ],
)
def test_graph_forms(
    version: str, precision: str, typing: str, method: Int8Method | None, form: GraphForm
) -> None:
    assert graph_form(case(precision, typing, int8_method=method), parse_version(version)) is form


def test_int8_without_calibration_is_called_by_its_name() -> None:
    assert int8_method(case("int8", "weak")) is Int8Method.MADE_UP_RANGES
    assert int8_method(case("int8", "strong")) is Int8Method.QDQ
    assert int8_method(case("int8", engine=Engine.ONNXRUNTIME_CPU)) is Int8Method.ORT_STATIC
    assert int8_method(case("fp16", "weak")) is None


@pytest.mark.parametrize(
    ("version", "typing"),
    [("8.6", "weak"), ("9.1", "strong"), ("10.0.1", "strong"), ("11.0", "strong")],
)
def test_typing_is_strong_where_the_release_has_it(version: str, typing: str) -> None:
    assert default_typing(parse_version(version)) == typing
    assert program_typing(trtexec(version)) == typing


def test_a_cpu_is_typed_by_its_graph() -> None:
    assert program_typing(CPU) is Typing.STRONG


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_weak_typing_is_refused_from_11_with_the_reason(precision: str) -> None:
    weak = case(precision, "weak")
    with pytest.raises(InputError, match=r"11\.1\.0 has no weak typing.*use typing=strong"):
        commands(weak, Settings(), trtexec("11.1"), GRAPH, FILES)
    assert "no weak typing" in (unsupported(weak, trtexec("11.0")) or "")
    assert unsupported(weak, trtexec("10.16")) is None


@pytest.mark.parametrize(
    ("version", "wrong", "reason"),
    [
        ("8.6", case("bf16", "weak"), "does not know --bf16"),
        ("8.6", case("bf16", "strong"), "does not know BF16"),
        ("10.16", case("bf16", "strong"), "no BF16 graph; use typing=weak"),
        ("11.1", case("bf16", "strong"), "no BF16 graph; give one as onnx:PATH"),
        ("10.16", case("fp8", "weak"), "FP8 needs Q/DQ"),
        ("11.1", case("fp8", "strong"), "FP8 needs Q/DQ"),
        ("10.16", case("int8", int8_method=Int8Method.ORT_STATIC), "int8_method=qdq"),
        ("10.16", case("int8", int8_method=Int8Method.MADE_UP_RANGES), "typing=weak"),
    ],
)
def test_cases_that_would_be_mislabelled_are_refused(
    version: str, wrong: Case, reason: str
) -> None:
    assert reason in (unsupported(wrong, trtexec(version)) or "")


def test_a_users_own_graph_may_hold_what_we_do_not_write() -> None:
    own = case("fp8", "weak", model="onnx:mine.onnx")
    assert unsupported(own, trtexec("10.16")) is None
    assert switches("10.16", "fp8", "weak", model="onnx:mine.onnx") == {"--fp16", "--fp8"}
    assert switches("11.1", "bf16", "strong", model="onnx:mine.onnx") == set()


@pytest.mark.parametrize("precision", ["fp16", "bf16", "tf32", "fp8"])
def test_the_cpu_refuses_what_it_would_only_pretend(precision: str) -> None:
    assert unsupported(case(precision, engine=Engine.ONNXRUNTIME_CPU), CPU)


def test_the_cpu_says_why_not_fp16() -> None:
    reason = unsupported(case("fp16", engine=Engine.ONNXRUNTIME_CPU), CPU)
    assert "FP32 with casts" in (reason or "")


def test_the_cpu_has_one_command_without_an_engine_file() -> None:
    (only,) = commands(
        case("int8", engine=Engine.ONNXRUNTIME_CPU),
        Settings(threads=2, seed=7),
        CPU,
        GRAPH,
        FILES,
    )
    assert only.phase is Phase.TIME
    assert only.argv[:3] == CPU.command
    assert {"--threads=2", "--seed=7", f"--exportTimes={FILES.times}"} <= set(only.argv)
    assert only.flag("--saveEngine") is None
    assert only.flag("--useCudaGraph") is None
    assert only.env == {}


MEASURING = ("--useCudaGraph", "--noDataTransfers", "--useSpinWait")
OPPOSITES = ("--noCudaGraph", "--includeDataTransfers", "--noSpinWait")


@pytest.mark.parametrize("version", KNOWN)
def test_measuring_flags_are_said_outright(version: str) -> None:
    _, timing = commands(case("fp32"), Settings(), trtexec(version), GRAPH, FILES)
    assert set(MEASURING) <= flags_of(timing)
    assert not set(OPPOSITES) & flags_of(timing)


@pytest.mark.parametrize("version", KNOWN)
def test_measuring_flags_are_turned_off_in_each_releases_way(version: str) -> None:
    off = Settings(cuda_graph=False, transfers=True, spin_wait=False)
    _, timing = commands(case("fp32"), off, trtexec(version), GRAPH, FILES)
    assert not set(MEASURING) & flags_of(timing)
    assert (set(OPPOSITES) & flags_of(timing)) == (set(OPPOSITES) if version == "11.1" else set())


@pytest.mark.parametrize("version", KNOWN)
def test_a_rest_between_queries_is_of_the_timing_alone(version: str) -> None:
    given = Settings(idle_ms=33.3, profile=True)
    for asked, program in (
        (case(typing="strong" if version != "8.6" else "weak"), trtexec(version)),
        (case("fp32", engine=Engine.ONNXRUNTIME_CPU), CPU),
    ):
        *others, timing = commands(asked, given, program, GRAPH, FILES)
        assert timing.flag("--idleTime") == "33.3"
        assert all(one.flag("--idleTime") is None for one in others)
        back_to_back = commands(
            asked, given.model_copy(update={"idle_ms": 0}), program, GRAPH, FILES
        )
        assert all(one.flag("--idleTime") is None for one in back_to_back)
    with pytest.raises(InputError, match="--idleTime is set by benchlib"):
        commands(case(), Settings(extra_flags=("--idleTime=5",)), trtexec("10.0"), GRAPH, FILES)


def test_tf32_is_a_choice_of_the_build() -> None:
    build, timing = commands(case("fp32"), Settings(tf32=False), trtexec("11.1"), GRAPH, FILES)
    assert "--noTF32" in build.argv
    assert "--noTF32" not in timing.argv
    assert tf32(case("fp32"), Settings(tf32=False)) is False
    assert tf32(case("tf32"), Settings(tf32=False)) is True
    assert tf32(case("fp32", engine=Engine.ONNXRUNTIME_CPU), Settings()) is None


def shape_flags(command: Command) -> dict[str, str]:
    return {
        name: value.removeprefix("input:")
        for name, value in (flag.split("=", 1) for flag in command.argv if "hapes=" in flag)
    }


BOUNDS = Settings(min_shape=(1, 240, 320), opt_shape=(1, 480, 640), max_shape=(4, 960, 1280))


def shaped(mode: str, settings: Settings, dynamic: bool) -> tuple[dict[str, str], dict[str, str]]:
    build, timing = commands(
        case("fp32", "strong", mode), settings, trtexec("10.0"), GRAPH, FILES, dynamic=dynamic
    )
    return shape_flags(build), shape_flags(timing)


def test_a_static_graph_gets_no_shape_flag() -> None:
    assert shaped("static", Settings(), dynamic=False) == ({}, {})


def test_a_static_engine_of_a_dynamic_graph_is_bounded_to_one_shape() -> None:
    one = "1x3x480x640"
    assert shaped("static", Settings(), dynamic=True) == (
        {"--minShapes": one, "--optShapes": one, "--maxShapes": one},
        {"--shapes": one},
    )


def test_a_dynamic_engine_has_all_three_and_its_timing_shape() -> None:
    assert shaped("dynamic", BOUNDS, dynamic=True) == (
        {
            "--minShapes": "1x3x240x320",
            "--optShapes": "1x3x480x640",
            "--maxShapes": "4x3x960x1280",
        },
        {"--shapes": "1x3x480x640"},
    )


def test_the_blogs_engine_has_no_optimum() -> None:
    assert shaped("blog", Settings(), dynamic=True) == (
        {"--minShapes": "1x3x480x640", "--maxShapes": "1x3x2144x3840"},
        {"--shapes": "1x3x480x640"},
    )


@pytest.mark.parametrize(
    ("mode", "settings", "dynamic", "field"),
    [
        ("dynamic", BOUNDS.model_copy(update={"opt_shape": None}), True, "opt_shape"),
        ("dynamic", BOUNDS, False, "shape_mode"),
        ("blog", Settings(), False, "shape_mode"),
        ("dynamic", BOUNDS.model_copy(update={"min_shape": (1, 500, 320)}), True, "max_shape"),
        ("blog", Settings(max_shape=(1, 480, 600)), True, "max_shape"),
        ("blog", Settings(max_shape=(1, 479, 640), min_shape=(1, 1, 1)), True, "max_shape"),
    ],
)
def test_shapes_that_cannot_be_are_refused(
    mode: str, settings: Settings, dynamic: bool, field: str
) -> None:
    with pytest.raises(InputError) as caught:
        shaped(mode, settings, dynamic)
    assert caught.value.field == field


def test_a_name_with_a_colon_is_quoted() -> None:
    build, _ = commands(
        case("fp32"),
        Settings(),
        trtexec("11.1"),
        GRAPH,
        FILES,
        input_name="net:0",
        dynamic=True,
    )
    assert build.flag("--minShapes") == "'net:0':1x3x480x640"


def test_a_profile_run_is_a_process_of_its_own() -> None:
    planned = commands(case("fp32"), Settings(profile=True), trtexec("8.6"), GRAPH, FILES)
    assert [command.phase for command in planned] == ["build", "profile", "time"]
    profiled, timed = planned[1:]
    # On <= 10.16 a profile in the timed run would keep --exportTimes from being written.
    assert profiled.flag("--separateProfileRun") == ""
    assert profiled.flag("--exportTimes") is None
    assert timed.flag("--exportProfile") is None


def test_half_inputs_are_for_precisions_that_have_halves() -> None:
    halves = Settings(half_io=True)
    build, _ = commands(case("fp32"), halves, trtexec("10.0"), GRAPH, FILES)
    assert build.flag("--inputIOFormats") is None
    for typing, version, formats in (
        ("weak", "10.0", "fp16:chw"),
        ("strong", "8.6", "fp16:chw"),
        # There the graph's own input is FP16, and a strongly typed network takes no type
        ("strong", "10.0", None),
        ("strong", "11.1", None),
    ):
        build, _ = commands(case("int8", typing), halves, trtexec(version), GRAPH, FILES)
        assert build.flag("--inputIOFormats") == formats, (typing, version)
        assert build.flag("--outputIOFormats") == formats, (typing, version)


def test_building_choices_reach_the_build() -> None:
    chosen = Settings(
        builder_optimization_level=1,
        workspace_mib=4096,
        half_io=True,
        extra_flags=("--avgTiming=16", "--verbose"),
    )
    build, timing = commands(case(typing="weak"), chosen, trtexec("10.0"), GRAPH, FILES)
    assert {
        "--builderOptimizationLevel=1",
        "--memPoolSize=workspace:4096",
        "--inputIOFormats=fp16:chw",
        "--outputIOFormats=fp16:chw",
        "--profilingVerbosity=detailed",
        "--avgTiming=16",
    } <= flags_of(build)
    assert "--verbose" in timing.argv


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        (("--fp16",), "extra_flags"),
        (("--iterations=5",), "extra_flags"),
        (("--cudaGraphs",), "flags"),
        (("--bogus=1",), "flags"),
        (("--verbose", "--verbose"), "flags"),
    ],
)
def test_extra_flags_cannot_change_what_a_row_says(extra: tuple[str, ...], field: str) -> None:
    with pytest.raises(InputError) as caught:
        commands(case(), Settings(extra_flags=extra), trtexec("10.0"), GRAPH, FILES)
    assert caught.value.field == field
    assert extra[-1].partition("=")[0] in str(caught.value)


@pytest.mark.parametrize("input_name", ["input", "net:0"])
@pytest.mark.parametrize("mode", ["static", "dynamic", "blog"])
@pytest.mark.parametrize("version", ["8.6", "11.1", "cpu"])
def test_a_planned_command_placed_is_the_one_made_for_its_place(
    version: str, mode: str, input_name: str
) -> None:
    choices = {"profile": True, "duration_s": 0.4, "extra_flags": ("--verbose",)}
    first = BOUNDS.model_copy(update=choices)
    longer = first.model_copy(update={"duration_s": 0.8, "iterations": 20, "warm_up_ms": 400})
    engine = Engine.ONNXRUNTIME_CPU if version == "cpu" else Engine.TRTEXEC
    one = case("fp32", mode=mode, engine=engine)
    program = CPU if version == "cpu" else trtexec(version)
    dynamic = mode != "static"
    planned = commands(one, first, program, Path("plan/a.onnx"), FILES, dynamic=dynamic)
    graph, files = Path("/b.onnx"), CaseFiles.within(Path("/other"), "name")
    placed = [command.placed(longer, graph, files, input_name) for command in planned]
    made = commands(one, longer, program, graph, files, input_name=input_name, dynamic=dynamic)
    assert tuple(placed) == made != planned


def test_another_gpu_is_named_in_every_command() -> None:
    second = replace(trtexec("10.0"), device="cuda:1")
    for command in commands(case(), Settings(profile=True), second, GRAPH, FILES):
        assert command.flag("--device") == "1"


def test_every_release_takes_every_command_it_is_offered() -> None:
    offered = 0
    for version, precision, typing, wanted in itertools.product(
        KNOWN, Precision, Typing, (True, False)
    ):
        one = case(precision.value, typing.value)
        if unsupported(one, trtexec(version)) is not None:
            continue
        chosen = Settings(
            cuda_graph=wanted, transfers=wanted, tf32=wanted, half_io=wanted, profile=True
        )
        # commands() checks against the release's table and raises for an unknown flag.
        offered += len(commands(one, chosen, trtexec(version), GRAPH, FILES))
    cases = {"8.6": 4 + 4, "10.0": 5 + 4, "10.16": 5 + 4, "11.1": 0 + 4}
    assert offered == sum(cases.values()) * len((True, False)) * len(Phase)


def test_a_plan_can_be_built_under_another_name() -> None:
    build, _ = commands(case(), Settings(), trtexec("10.0"), GRAPH, FILES)
    renamed = build.with_flag("--saveEngine", "out/key.part")
    assert renamed.flag("--saveEngine") == "out/key.part"
    assert len(renamed.argv) == len(build.argv)
    with pytest.raises(KeyError):
        build.with_flag("--loadEngine", "x")


def test_choices_tell_engines_apart_and_not_their_places() -> None:
    build, _ = commands(case(), Settings(), trtexec("10.0"), GRAPH, FILES)
    elsewhere = CaseFiles.within(Path("/other"), "name")
    moved, _ = commands(case(), Settings(), trtexec("10.0"), Path("b.onnx"), elsewhere)
    plain, _ = commands(case(), Settings(tf32=False), trtexec("10.0"), GRAPH, FILES)
    assert build.choices() == moved.choices()
    assert build.choices() != plain.choices()


words = st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text)


@given(st.lists(words, min_size=1, max_size=5), words)
def test_a_printed_command_is_the_command(argv: list[str], value: str) -> None:
    line = shell(Command(Phase.TIME, tuple(argv), {"NAME": value}))
    assert shlex.split(line) == [f"NAME={value}", *argv]
