"""The flag tables, the strict check of our command lines, and trtexec's own way of reading."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchlib.errors import InputError
from benchlib.trtexec import flags
from benchlib.trtexec.flags import BadFlagError, UnknownFlagError, parse_version

KNOWN = ("8.6", "10.0", "10.16", "11.1")


def table(version: str) -> flags.FlagTable:
    return flags.table(parse_version(version))


@pytest.mark.parametrize(
    ("version", "flag", "known"),
    [
        ("8.6", "--buildOnly", True),
        ("10.0", "--buildOnly", False),
        ("8.6.1", "--bf16", False),
        ("9.1", "--bf16", True),
        ("9.3", "--stronglyTyped", True),
        ("10.0", "--int4", False),
        ("10.1", "--int4", True),
        ("10.3", "--maxTactics", False),
        ("10.4.1", "--maxTactics", True),
        ("10.16.2", "--noSpinWait", False),
        # Nearer to 10.16's table by number, but 11.0 is the release that took precision away.
        ("11.0", "--fp16", False),
        ("11.0", "--noCudaGraph", True),
        ("11.5", "--fp16", False),
        ("13.0", "--int8", False),
        ("11.1", "--greenContext", False),
        ("11.2", "--greenContext", False),
        ("11.3", "--dumpCheckerBlob", False),
        ("11.4", "--greenContext", True),
        ("11.4", "--dlaWorkspaceAllocationStrategy", True),
        ("11.4", "--dumpCheckerBlob", True),
        ("11.4", "--dumpKernelText", True),
        ("11.4", "--reference", True),
        ("11.4", "--loadCheckerBlob", True),
        ("11.4", "--remoteConfig", True),
        ("11.4.1", "--remoteAutoTuningConfig", True),
        ("11.4.1", "--independentWeightLayouts", False),
        ("11.4", "--saveEngineSo", False),
        ("11.5", "--independentWeightLayouts", True),
        ("11.5", "--saveEngineSo", True),
        ("11.5", "--loadEngineSo", True),
        ("11.5.0.9", "--greenContext", True),
        ("12.0", "--greenContext", True),
    ],
)
def test_a_release_knows_what_it_knows(version: str, flag: str, known: bool) -> None:
    assert (flag in table(version)) is known


@pytest.mark.parametrize("version", ["11.2", "11.3", "11.4", "11.4.1", "11.5", "12.0"])
def test_no_flag_of_11_1_went_away_after_it(version: str) -> None:
    known = table("11.1").flags
    later = table(version).flags
    assert {name: later[name] for name in known} == known


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("8.6", None),
        ("10.9", None),
        ("11.1", None),
        ("11.1.1", "those of 11.1.0, and what is known from NVIDIA's documentation"),
        ("11.2", "TensorRT 11.2.0 are assumed: those of 11.1.0"),
        ("11.3", "documentation"),
        ("11.4.1", "documentation"),
        ("11.5.2", "documentation"),
        ("11.6", "11.6.0 is newer than the newest flags known here, those of 11.5.0"),
        ("12.0", "newer than the newest flags known"),
    ],
)
def test_what_is_assumed_is_said(version: str, words: str | None) -> None:
    said = flags.assumed(parse_version(version))
    assert said is None if words is None else words in said


def test_what_was_not_read_off_a_parser_names_its_source() -> None:
    later = {
        version: entries
        for version, entries in flags._load("trtexec-flags.json").items()
        if parse_version(version) > flags.newest()
    }
    assert sorted(later) == ["11.4", "11.5"]
    for entries in later.values():
        assert all(entry["source"] for entry in entries.values())


@pytest.mark.parametrize(
    "argument",
    [
        "--greenContext=sm:16,cosched:8",
        "--dlaWorkspaceAllocationStrategy=sharedStatic",
        "--independentWeightLayouts",
        "--independentWeightLayouts=1",
        "--saveEngineSo=engine.so",
        "--dumpCheckerBlob",
    ],
)
def test_the_flags_of_11_5_are_taken(argument: str) -> None:
    table("11.5").check([argument])
    with pytest.raises(UnknownFlagError):
        table("11.1").check([argument])


@pytest.mark.parametrize(
    "argument",
    ["--greenContext", "--dlaWorkspaceAllocationStrategy=shared", "--reference=yes"],
)
def test_a_later_flag_given_wrongly_is_refused(argument: str) -> None:
    with pytest.raises(BadFlagError):
        table("11.5").check([argument])


def test_a_release_before_the_first_known_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"8\.5\.3 is too old"):
        table("8.5.3")


@pytest.mark.parametrize("version", KNOWN)
@pytest.mark.parametrize("flag", ["--cudaGraphs", "--noDataTransfer", "--useSpinLock"])
def test_the_blogs_invented_flags_are_refused_with_the_real_name(version: str, flag: str) -> None:
    with pytest.raises(UnknownFlagError) as caught:
        table(version).check([flag])
    assert caught.value.flag == flag
    assert f"TensorRT {parse_version(version)}" in str(caught.value)
    assert "; use --use" in str(caught.value) or "; use --noDataTransfers" in str(caught.value)


@pytest.mark.parametrize("flag", ["--fp16", "--int8", "--bf16", "--best"])
def test_precision_switches_on_11_say_where_precision_went(flag: str) -> None:
    with pytest.raises(UnknownFlagError, match=r"11\.1\.0 .* in the ONNX file"):
        table("11.1").check([flag])


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--onnx", "a.onnx"], "--onnx needs a value"),
        (["a.onnx"], "joined to its flag by ="),
        (["--fp16=false"], "--fp16 is a switch and would be on even so; drop =false"),
        (["--fp16="], "is a switch"),
        (["--fp16", "--fp16"], "--fp16 is given twice"),
        (["--iterations=1e3"], "needs a plain int, not '1e3'"),
        (["--iterations=10.7"], "needs a plain int"),
        (["--duration=x"], "needs a plain float"),
        (["--exportTimes="], "--exportTimes needs a value"),
        (["--sparsity=yes"], "is one of disable, enable, force, not 'yes'"),
        (["--shapes=input:1x3xHxW"], "needs dimensions"),
        (["--shapes=1x3x4x5"], "needs NAME:VALUE"),
        (["--memPoolSize=workspace:4G"], "bare number of MiB for workspace, not '4G'"),
        (["--memPoolSize=workspace:4096M"], "bare number of MiB"),
        (["--FP16"], "does not know --FP16"),
        (["-v"], "does not know -v"),
    ],
)
@pytest.mark.parametrize("version", ["8.6", "10.16"])
def test_a_line_that_would_not_mean_what_it_says_is_refused(
    version: str, argv: list[str], problem: str
) -> None:
    with pytest.raises(InputError, match=r"^flags: ") as caught:
        table(version).check(argv)
    assert problem in str(caught.value)


@pytest.mark.parametrize("version", KNOWN)
def test_a_line_that_is_right_passes(version: str) -> None:
    table(version).check(
        [
            "--onnx=a=b.onnx",
            "--useCudaGraph",
            "--shapes='a:b':1x3x480x640,c:scalar",
            "--duration=0.5",
            "--plugins=one.so",
            "--plugins=two.so",
            "--memPoolSize=workspace:4096",
        ]
    )


def test_parsing_reads_as_trtexec_does() -> None:
    options = table("8.6").parse(
        ["--onnx=a=b.onnx", "--fp16=false", "--iterations=10.7", "--percentile=50,99.5"]
    )
    assert options["--onnx"] == "a=b.onnx"
    assert options["--fp16"] is True
    assert options["--iterations"] == 10
    assert options["--percentile"] == (50.0, 99.5)
    assert options["--warmUp"] == 200
    assert options["--shapes"] is None
    assert options["--plugins"] == ()
    assert options.given == ("--onnx", "--fp16", "--iterations", "--percentile")


def test_parsing_reports_the_second_of_two_as_unknown() -> None:
    with pytest.raises(UnknownFlagError) as caught:
        table("8.6").parse(["--onnx=a", "--onnx=b"])
    assert (caught.value.flag, caught.value.value) == ("--onnx", "b")


@pytest.mark.parametrize(("argument", "word"), [("--avgRuns=x", "stoi"), ("--duration=", "stof")])
def test_bad_numbers_are_answered_in_trtexecs_word(argument: str, word: str) -> None:
    with pytest.raises(BadFlagError, match=f"{word}$"):
        table("10.0").parse([argument])


names = st.text("abcdef:/._0123456789", min_size=1, max_size=12)
dims = st.lists(st.integers(0, 99_999), max_size=5).map(tuple)


@given(st.dictionaries(names, dims, min_size=1, max_size=3))
def test_shapes_read_back(shapes: dict[str, tuple[int, ...]]) -> None:
    assert flags.shapes(flags.shapes_text(shapes)) == shapes


def test_the_cpu_stand_in_has_flags_of_its_own_and_no_cuda() -> None:
    known = flags.onnxruntime_cpu()
    known.check(["--onnx=a", "--threads=2", "--provider=CPUExecutionProvider"])
    for flag in ("--saveEngine=x", "--fp16", "--useCudaGraph"):
        with pytest.raises(UnknownFlagError):
            known.check([flag])
