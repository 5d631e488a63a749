"""trtexec's words, read from stored logs of four releases, and what they mean for a phase."""

from pathlib import Path

import pytest

from benchlib.case import Failure
from benchlib.trtexec import exit_check, exports
from benchlib.trtexec.command import Command, Phase
from benchlib.trtexec.exit_check import Log, PhaseOutcome, judge_phase
from benchlib.trtexec.flags import Version

DATA = Path(__file__).parent / "data"


def stored(name: str) -> Log:
    return exit_check.read_log((DATA / name).read_text())


@pytest.fixture
def good_plan(tmp_path: Path) -> Path:
    path = tmp_path / "good.engine"
    path.write_bytes(b"ftrt" + bytes(20) + bytes([8, 6, 0, 12]) + bytes(100))
    return path


@pytest.mark.parametrize(
    ("name", "version", "built_s"),
    [
        ("8.6/build.log", Version(8, 6), 37.4212),
        ("10.0/build.log", Version(10, 0, 1), 36.1),
        ("11.1/build.log", Version(11, 1), 35.9),
    ],
)
def test_a_build(name: str, version: Version, built_s: float) -> None:
    read = stored(name)
    assert (read.version, read.built_s) == (version, built_s)
    assert read.passed
    assert read.tool == "TensorRT.trtexec"


def test_skipped_tactics_are_counted() -> None:
    assert stored("8.6/build.log").skipped_tactics == 1
    assert stored("10.0/build.log").skipped_tactics == 0


def test_a_timing() -> None:
    read = stored("8.6/time.log")
    assert read.passed
    assert len(read.warnings) == 3
    assert read.warnings[-1].startswith("* GPU compute time is unstable")
    assert read.built_s is None
    assert not read.graph_failed


def test_a_cuda_graph_that_was_given_up_is_seen_though_the_run_passed() -> None:
    read = stored("10.16/time.log")
    assert read.passed
    assert read.graph_failed


def test_an_empty_log_says_nothing() -> None:
    read = exit_check.read_log("")
    assert read.version is None
    assert read.states == ()
    assert (read.built_s, read.warnings) == (None, ())
    assert not read.passed


@pytest.mark.parametrize(
    ("name", "flag", "states"),
    [
        ("8.6/unknown-flag.log", "--cudaGraphs", ("RUNNING", "FAILED")),
        ("11.1/unknown-flag.log", "--fp16", ("RUNNING",)),
    ],
)
def test_an_unknown_flag(name: str, flag: str, states: tuple[str, ...], tmp_path: Path) -> None:
    read = stored(name)
    assert (read.unknown_flag, read.states) == (flag, states)
    judged = judge_phase(Phase.BUILD, 1, read, tmp_path / "none.engine")
    assert judged.failure is Failure.UNSUPPORTED
    assert flag in judged.message
    assert str(read.version) in judged.message


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("8.6/no-gpu.log", -6, "no CUDA-capable device is detected"),
        ("10.16/no-gpu.log", 1, "driver version is insufficient"),
    ],
)
def test_a_cuda_failure(name: str, status: int, words: str, tmp_path: Path) -> None:
    judged = judge_phase(Phase.BUILD, status, stored(name), tmp_path / "none.engine")
    assert judged.failure is Failure.CRASH
    assert words in judged.message


def test_a_build_that_passed_and_died_at_exit_is_good(good_plan: Path) -> None:
    judged = judge_phase(Phase.BUILD, -11, stored("8.6/build.log"), good_plan)
    assert judged.failure is None
    assert "SIGSEGV after PASSED" in judged.message


def test_a_build_that_died_without_passed_is_not(good_plan: Path) -> None:
    cut = (DATA / "8.6/build.log").read_text().replace("&&&& PASSED", "&&&& LOST")
    assert (
        judge_phase(Phase.BUILD, -11, exit_check.read_log(cut), good_plan).failure is Failure.CRASH
    )


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"ftrt", b"<html>" + bytes(100)])
def test_a_pass_without_a_whole_plan_is_bad_output(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x.engine"
    if content is not None:
        path.write_bytes(content)
    judged = judge_phase(Phase.BUILD, 0, stored("10.0/build.log"), path)
    assert judged.failure is Failure.BAD_OUTPUT
    assert "x.engine" in judged.message


def test_a_timing_owes_whole_times(tmp_path: Path) -> None:
    read = stored("8.6/time.log")
    judged = judge_phase(Phase.TIME, 0, read, DATA / "8.6/times.json")
    assert judged.failure is None
    assert judged.queries == exports.read_times(DATA / "8.6/times.json")
    cut = tmp_path / "times.json"
    cut.write_text((DATA / "8.6/times.json").read_text()[:500])
    assert judge_phase(Phase.TIME, 0, read, cut).failure is Failure.BAD_OUTPUT


def test_a_profile_owes_layers(tmp_path: Path) -> None:
    read = stored("8.6/time.log")
    judged = judge_phase(Phase.PROFILE, 0, read, DATA / "8.6/profile.json")
    assert judged.failure is None
    assert judged.profile == exports.read_profile(DATA / "8.6/profile.json")
    assert judge_phase(Phase.PROFILE, 0, read, tmp_path / "x").failure is Failure.BAD_OUTPUT


def judged_error(message: str, phase: Phase = Phase.BUILD, warning: str = "") -> Failure | None:
    text = (
        f"[11/23/2026-18:00:00] [W] [TRT] {warning}\n[11/23/2026-18:00:01] [E] {message}\n"
        "&&&& FAILED TensorRT.trtexec [TensorRT v101601] # trtexec\n"
    )
    return judge_phase(phase, 1, exit_check.read_log(text), Path("none")).failure


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        ("Error Code 1: Cuda Runtime (out of memory)", Failure.OOM_BUILD),
        (
            "Error Code 10: Could not find any implementation for node Conv_0.",
            Failure.NO_TACTIC,
        ),
        ("[onnxParser] No importer registered for op: FancyOp", Failure.UNSUPPORTED),
        ("Error Code 4: API Usage Error (Cannot find plugin: X, version: 1)", Failure.UNSUPPORTED),
        ("Failed to parse onnx file", Failure.UNSUPPORTED),
        ("Engine set up failed: the ONNX file was not parsed", Failure.UNSUPPORTED),
        ("Error Code 1: Cuda Driver (CUDA_ERROR_OUT_OF_MEMORY)", Failure.OOM_BUILD),
        ("could not write the plan: No space left on device", Failure.CRASH),
        ("Uncaught exception detected: Unable to open library: libnvinfer.so.10", "missing"),
    ],
)
def test_errors_have_a_class(message: str, failure: Failure | str) -> None:
    expected = Failure.MISSING_PROGRAM if failure == "missing" else failure
    assert judged_error(message) is expected


ASSERTION = (
    "[TRT] 2: [graphOptimizer.cpp::fusePattern::2112] Error Code 2: Internal Error (Assertion "
    "matchPattern(context, first) && matchBackend(context, first) failed. )"
)


def test_an_internal_error_of_a_builder_that_ends_in_order_is_no_crash() -> None:
    def judged(text: str, phase: Phase = Phase.BUILD, status: int = 1) -> PhaseOutcome:
        lines = "\n".join(f"[11/23/2026-18:00:00] [E] {line}" for line in text.splitlines())
        return judge_phase(phase, status, exit_check.read_log(lines), Path("none"))

    refused = judged(ASSERTION)
    assert refused.failure is Failure.UNSUPPORTED
    assert "fusePattern::2112" in refused.message
    assert refused.message.endswith(
        "another TensorRT version, precision or int8_method may build it"
    )
    long = judged(ASSERTION.replace("context", "context" * 40))
    assert long.message.endswith("may build it") and len(f"build {long.message}") <= 300
    assert judged(ASSERTION, status=-6).failure is Failure.CRASH
    assert judged(ASSERTION, Phase.TIME).failure is Failure.CRASH
    # What follows from another error is not the cause
    cuda = "Error Code 1: Cuda Runtime (an illegal memory access was encountered)"
    assert judged(f"{cuda}\n{ASSERTION}").failure is Failure.CRASH


def test_memory_is_told_apart_by_phase_and_by_skipped_tactics() -> None:
    assert judged_error("out of memory", Phase.TIME) is Failure.OOM_RUN
    none_left = "Could not find any implementation for node Conv_0."
    skipped = "Skipping tactic 0x1 due to: insufficient memory on requested size of 9"
    assert judged_error(none_left, warning=skipped) is Failure.OOM_BUILD


def test_a_jetson_that_is_full_says_so_in_its_own_words(good_plan: Path) -> None:
    """Lines of JetPack 6; its builder tries again with less, and often ends well."""
    full = "NvMapMemAllocInternalTagged: 1075072515 error 12\nNvMapMemHandleAlloc: error 0\n"
    wrong = (
        "[E] Error[1]: [defaultAllocator.cpp::allocate::42] Error Code 1: Cuda Runtime (unknown)"
    )
    log = exit_check.read_log(f"{full}[11/26/2026-10:00:00] {wrong}\n")
    for phase, failure in ((Phase.BUILD, Failure.OOM_BUILD), (Phase.TIME, Failure.OOM_RUN)):
        judged = judge_phase(phase, 1, log, good_plan)
        assert (judged.failure, "allocate::42" in judged.message) == (failure, True)
    assert judge_phase(Phase.BUILD, -9, exit_check.read_log(full), good_plan).failure is (
        Failure.OOM_BUILD
    )
    assert judge_phase(Phase.BUILD, 0, exit_check.read_log(full), good_plan).failure is None


def test_a_skipped_tactic_is_no_error_though_10_calls_it_one(good_plan: Path) -> None:
    read = stored("10.0/skipped-as-errors.log")
    assert (read.skipped_tactics, read.short_of_memory) == (3, False)
    judged = judge_phase(Phase.BUILD, 1, read, good_plan)
    assert judged.failure is Failure.NO_TACTIC
    assert "ForeignNode[/a/Conv.../b/Slice_2]" in judged.message
    # Other reasons for the end are not hidden by a tactic that found too little memory
    text = (DATA / "10.0/skipped-as-errors.log").read_text()
    starved = text.replace("canImplement1", "[x:117] autotuning: User allocator error allocating 9")
    assert judge_phase(Phase.BUILD, 1, exit_check.read_log(starved), good_plan).failure is (
        Failure.OOM_BUILD
    )
    other = starved.replace("Could not find any implementation for node", "No importer registered")
    assert judge_phase(Phase.BUILD, 1, exit_check.read_log(other), good_plan).failure is (
        Failure.UNSUPPORTED
    )


@pytest.mark.parametrize(
    "warning",
    [
        "Skipping tactic 0 due to insuficient memory on requested size of 29147520",
        "Tactic Device request: 2457MB Available: 1024MB. Device memory is insufficient to use "
        "tactic.",
    ],
)
def test_want_of_memory_has_several_spellings(warning: str) -> None:
    none_left = "Could not find any implementation for node Conv_0."
    assert judged_error(none_left, warning=warning) is Failure.OOM_BUILD


def test_a_shell_around_the_program_tells_of_signals_by_its_status(good_plan: Path) -> None:
    cut = exit_check.read_log((DATA / "8.6/build.log").read_text().replace("&&&& PASSED", ""))
    killed = judge_phase(Phase.BUILD, 137, cut, good_plan)
    assert killed == judge_phase(Phase.BUILD, -9, cut, good_plan)
    assert killed.failure is Failure.CRASH
    assert "died of SIGKILL, as the system ends what takes its last memory" in killed.message
    assert "ended with status 255" in judge_phase(Phase.BUILD, 255, cut, good_plan).message


def test_failed_is_believed_whatever_a_script_makes_of_the_status(good_plan: Path) -> None:
    """As with ``trtexec "$@" | tee log``, whose status is that of tee."""
    judged = judge_phase(Phase.BUILD, 0, stored("10.16/out-of-memory.log"), good_plan)
    assert judged.failure is Failure.OOM_BUILD


def test_an_engine_of_another_library_than_the_banners_is_told(good_plan: Path) -> None:
    """The banner has what trtexec was compiled with; the loader may find another libnvinfer."""
    assert judge_phase(Phase.BUILD, 0, stored("8.6/build.log"), good_plan).message == ""
    judged = judge_phase(Phase.BUILD, 0, stored("10.0/build.log"), good_plan)
    assert (judged.failure, judged.message) == (
        None,
        "left an engine of TensorRT 8.6.0: the library that was loaded, not 10.0.1",
    )


def test_the_first_error_is_the_reason(tmp_path: Path) -> None:
    read = stored("10.16/out-of-memory.log")
    judged = judge_phase(Phase.BUILD, 1, read, tmp_path / "none")
    assert judged.failure is Failure.OOM_BUILD
    assert "Cuda Runtime (out of memory)" in judged.message
    assert "\n" not in judged.message


def test_an_empty_plan_is_called_empty(tmp_path: Path) -> None:
    path = tmp_path / "x.engine"
    path.touch()
    with pytest.raises(exports.BadFileError, match="is empty"):
        exports.check_engine(path)


def test_a_phase_is_judged_by_what_it_left_itself(tmp_path: Path) -> None:
    product, log = tmp_path / "times.json", tmp_path / "log"
    product.write_bytes((DATA / "8.6/times.json").read_bytes())
    log.write_text("&&&& PASSED earlier")
    command = Command(Phase.TIME, ("sh", "-c", f"echo {tmp_path}"))
    ran = exit_check.run_phase(
        command, product, log, 30.0, lambda text: text.replace(str(tmp_path), "DIR")
    )
    assert ran.text == "DIR\n"
    assert ran.outcome.failure is Failure.BAD_OUTPUT
    assert "times.json" in ran.outcome.message


@pytest.mark.parametrize("phase", [Phase.BUILD, Phase.TIME])
def test_a_phase_that_outlasts_its_limit_names_the_parameter(phase: Phase, tmp_path: Path) -> None:
    command = Command(phase, ("sleep", "60"))
    ran = exit_check.run_phase(command, tmp_path / "product", tmp_path / "log", 0.2)
    assert ran.outcome.failure is Failure.TIMEOUT
    assert f"raise time_limit_{phase}_s" in ran.outcome.message
