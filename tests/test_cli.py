"""The command line as a user meets it: output, errors and exit status."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from benchlib.cli import main
from benchlib.trtexec import flags
from benchlib.trtexec.flags import parse_version

COMMANDS = (
    *("doctor", "models", "graph", "plan", "run", "bundle", "collect", "report", "findings"),
    *("compare", "accuracy"),
)
PLAN_KEYS = "key model precision batch height width shape_mode typing engine".split()  # noqa: SIM905

MODEL_KEYS = (
    *("name", "family", "task", "params", "gmacs", "mactivations", "size_mb"),
    *("accuracy", "accuracy_metric", "accuracy_source"),
)


def benchlib(*argv: str) -> Result:
    return CliRunner().invoke(main, argv)


def plan(*argv: str) -> list[dict]:
    done = benchlib("plan", *argv, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    done = benchlib(command, "--help")
    assert done.exit_code == 0
    assert f"Example: benchlib {command}" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("plan", "-p", "models", "[resnet81]"), "did you mean resnet18?"),
        (("plan", "-p", "precision", "fp17"), "did you mean fp16?"),
        (("plan", "-p", "modles", "[resnet18]"), "did you mean models?"),
        (("plan", "-p", "resolutions", "[650x480]", "-p", "models", "[bisenetv2]"), "640x480 does"),
        (("plan", "-p", "resolutions", "[640by480]"), "not WIDTHxHEIGHT"),
        (("plan", "-p", "resolutions", "[320]"), "'320' is not WIDTHxHEIGHT"),
        (("plan", "-p", "batch_sizes", "[0]"), "batch_sizes: 0"),
        (("plan", "-p", "models", "[unclosed"), "models: '[unclosed' is not YAML"),
        (("plan", "--preset", "quik"), "blog, edge, full, modern, quick"),
        (("plan", "--tensorrt", "ten"), "not a version"),
        (
            ("plan", "--tensorrt", "11.1", "-p", "typing", "weak", "-p", "shape_modes", "[blgo]"),
            "blog",
        ),
        (("plan", "-p", "models", "[resnet18]", "-p", "models", "[vgg11_bn]"), "given twice"),
        (("report", "results/rtx3090-published", "--price-per-hour", "nan"), "nan is no price"),
        (("plan", "--engine", "trtexec", "-p", "engine", "trtexec"), "given twice"),
        (("plan", "--preset", "quick", "--preset", "blog"), "preset: it is given twice"),
        (("plan", "--preset", ""), "preset: it is empty"),
        (("findings", ""), "measured: it is empty"),
        (("report", "results/rtx3090-published", ""), "sets: it is empty"),
        (("plan", "-p", "resolutions", "0x64"), "'100' is not WIDTHxHEIGHT"),
        (("plan", "-p", "threads", "100000"), "threads: 100000"),
        (
            ("run", "-p", "precisions", "[int8]", "-p", "calibration_dir", "/none", "-o", "x"),
            "calibration_dir: /none is not a folder",
        ),
        (("run", "-o", "a", "--preset", "quick", "--out", "b"), "out: it is given twice"),
        (("plan", "-p", "out_dir", "x"), "use -o"),
        (("run", "-p", "out_dir", "x"), "use -o"),
        (("run", "-p", "preset", "x"), "use --preset"),
        (("plan", "-p", "precision", "fp16", "-p", "precisions", "[fp32]"), "keep one of the two"),
        (("graph", "resnet18", "--precision", "fp16", "--form", "fp32", "-o", "x"), "--precision"),
        (("graph", "resnet18", "--calibration-dir", "x", "-o", "x"), "is not calibrated"),
        (("graph", "onnx:a.onnx", "--weights", "imagenet", "-o", "x"), "has its own"),
        (("findings", "nowhere"), "no table.csv in nowhere"),
        (("run", "-p", "precisions", "[fp99]"), "precision"),
        (("graph", "onnx:missing.onnx", "-o", "x.onnx"), "missing.onnx"),
    ],
)
def test_bad_input_is_one_line_that_names_the_remedy(argv, words):
    done = benchlib(*argv)
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("benchlib: ")
    assert words in done.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (MemoryError(), "memory ran out"),
        (KeyError("a fault of ours"), "KeyError: 'a fault of ours'; benchlib -v says where"),
    ],
)
def test_no_traceback_reaches_a_user(monkeypatch, error, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("benchlib.export.build.make", fail)
    done = benchlib("graph", "resnet18", "-o", "x.onnx")
    assert done.exit_code == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert words in done.stderr


TRT = ("--tensorrt", "10.0")
CPU = ("--engine", "onnxruntime_cpu")


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        ((*TRT, "-p", "threads", "3"), ["threads"]),
        ((*CPU, "-p", "streams", "2", "-p", "workspace_mib", "9"), ["streams", "workspace_mib"]),
        ((*CPU, "-p", "threads", "3"), []),
        ((*TRT, "-p", "min_shape", "[1, 64, 64]"), ["min_shape"]),
        ((*TRT, "-p", "shape_modes", "[blog]", "-p", "opt_shape", "[1, 64, 64]"), ["opt_shape"]),
        ((*TRT, "-p", "int8_methods", "[qdq]"), ["int8_methods"]),
        ((*TRT, "-p", "precision", "int8", "-p", "int8_methods", "[qdq]"), []),
        ((*TRT, "-p", "calibration_dir", "photos"), ["calibration_dir"]),
        ((*TRT, "-p", "precision", "int8", "-p", "calibration_dir", "photos"), []),
        (
            ("--tensorrt", "8.6", "-p", "precision", "int8", "-p", "calibration_dir", "photos"),
            ["calibration_dir"],
        ),
        ((*TRT, "-p", "half_io", "true"), ["half_io"]),
        ((*TRT, "-p", "precision", "tf32", "-p", "tf32", "false"), ["tf32"]),
        (TRT, []),
    ],
)
def test_what_is_set_in_vain_is_said(argv, names, caplog):
    fp32 = () if "precision" in argv else ("-p", "precision", "fp32")
    done = benchlib("plan", "-p", "models", "[resnet18]", *fp32, *argv)
    assert done.exit_code == 0, done.output
    said = [message for message in caplog.messages if "is not used" in message]
    assert [message.split()[1] for message in said] == names


def test_a_preset_with_an_unknown_key_names_file_and_key(tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text("precisions: [fp32]\nresolution: [640x480]\n")
    done = benchlib("plan", "--preset", str(preset))
    assert done.exit_code == 2
    assert "mine.yaml" in done.stderr
    assert "did you mean resolutions?" in done.stderr


def test_a_truncated_onnx_file_is_named(tmp_path):
    path = tmp_path / "cut.onnx"
    path.write_bytes(b"\x08\x07\x12\x07pytorch\x1a\x05")
    done = benchlib("plan", "-p", "models", f"['onnx:{path}']")
    assert done.exit_code == 2
    assert "cut.onnx" in done.stderr


@pytest.mark.parametrize("version", ["8.6", "10.0", "10.16", "11.1"])
def test_plan_prints_commands_that_the_version_takes(version):
    steps = plan("--preset", "blog", "--tensorrt", version, "-p", "models", "[resnet18]")
    table = flags.table(parse_version(version))
    assert len(steps) == 3 * 4
    for step in steps:
        assert set(PLAN_KEYS) <= set(step)
        build, timing = step["commands"]
        assert build[0] == "trtexec"
        table.check(build[1:])
        table.check(timing[1:])
        for flag in ("--useCudaGraph", "--noDataTransfers", "--useSpinWait", "--avgRuns=50"):
            assert flag in timing
        assert any(argument.startswith("--exportTimes=") for argument in timing)


def test_plan_reproduces_the_blogs_own_commands():
    (step,) = plan(
        *("--tensorrt", "10.0", "--preset", "blog", "-p", "models", "[resnet18]"),
        *("-p", "precisions", "[int8]", "-p", "typing", "weak", "-p", "shape_modes", "[blog]"),
        *("-p", "resolutions", "[640x480]"),
        *("-p", "min_shape", "[1, 480, 640]", "-p", "max_shape", "[1, 2144, 3840]"),
    )
    build, timing = step["commands"]
    assert {"--fp16", "--int8"} <= set(build)
    assert "--minShapes=input:1x3x480x640" in build
    assert "--maxShapes=input:1x3x2144x3840" in build
    assert not any(argument.startswith("--optShapes") for argument in build)
    assert "--shapes=input:1x3x480x640" in timing
    assert step["int8_method"] == "made-up ranges"


def test_all_sizes_of_a_dynamic_engine_share_one_graph():
    done = benchlib(
        *("plan", "--preset", "blog", "--tensorrt", "8.6", "-p", "models", "[resnet18]"),
        *("-p", "precisions", "[fp16]", "-p", "shape_modes", "[blog]"),
    )
    graphs = [line for line in done.stdout.splitlines() if line.startswith("benchlib graph")]
    assert len(graphs) == 1
    assert done.stdout.count("--loadEngine") == 4


def test_the_script_can_be_read_by_a_shell():
    done = benchlib("plan", "-p", "models", "[resnet18]", "--tensorrt", "8.6")
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    assert lines[0] == "mkdir -p plan"
    assert all(shlex.split(line) for line in lines)
    assert any(line.startswith("benchlib graph resnet18 --form fp32") for line in lines)


def test_graph_does_not_write_over_the_network_it_reads(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"mine")
    (tmp_path / "link.onnx").symlink_to(path)
    for out in (path, tmp_path / "link.onnx"):
        done = benchlib("graph", f"onnx:{path}", "--form", "fp32", "-o", str(out))
        assert done.exit_code == 2 and "is the network itself" in done.stderr
    assert path.read_bytes() == b"mine"


def test_graph_writes_what_it_says(tmp_path):
    path = tmp_path / "net.onnx"
    done = benchlib(
        *("graph", "mobilenet_v3_small", "--precision", "fp16", "--height", "64"),
        *("--width", "96", "-o", str(path), "--json"),
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    model = onnx.load(path)
    assert said["opset"] == model.opset_import[0].version == 17
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == [1, 3, 64, 96]
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds


def test_models_json_has_the_promised_names():
    done = benchlib("models", "--height", "224", "--width", "224", "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert set(MODEL_KEYS) <= set(rows["resnet18"])
    assert rows["resnet18"]["params"] == 11_689_512
    assert rows["resnet18"]["gmacs"] == pytest.approx(1.814, abs=5e-4)
    assert rows["dapspnet"]["accuracy"] is None


def test_doctor_tells_what_will_be_used():
    done = benchlib("doctor", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    assert benchlib("doctor").stdout.count("\n") > 3


def test_findings_speak_of_the_published_table(root):
    done = benchlib("findings", str(root / "results" / "rtx3090-published"), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    names = "claim subset test estimate ci_low ci_high n verdict sentence".split()  # noqa: SIM905
    assert all(list(one) == names for one in found)


def test_a_set_compared_with_itself_is_the_same(root):
    published = str(root / "results" / "rtx3090-published")
    done = benchlib("compare", published, published, "--fail-on-slower")
    assert done.exit_code == 0, done.output
    assert Path(published).name in done.stdout


def test_a_gate_that_compared_nothing_does_not_pass(root):
    published, ours = (
        str(root / "results" / n) for n in ("rtx3090-published", "h200-tensorrt-8.6")
    )
    for first, words in ((published, "no case of"), (ours, "holds the measurements of")):
        done = benchlib("compare", first, ours, "--fail-on-slower")
        assert done.exit_code == 2
        assert words in done.stderr


def test_a_version_beyond_the_tables_is_planned_with_a_note():
    done = benchlib("plan", "-p", "models", "[resnet18]", "--tensorrt", "12.0")
    assert done.exit_code == 0
    assert "TensorRT 12.0.0 is newer than the newest flags known here" in done.stderr
    assert benchlib("plan", "-p", "models", "[resnet18]", "--tensorrt", "11.1").stderr == ""


def test_a_program_that_is_not_here_is_refused_before_a_kernel_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("TRTEXEC", str(tmp_path / "nothing"))
    done = benchlib("run", "--engine", "trtexec", "-o", str(tmp_path / "set"))
    assert done.exit_code == 2
    assert not (tmp_path / "set").exists()


def test_a_limit_that_is_no_size_is_refused_before_a_kernel_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHLIB_ENGINES_GB", "20GB")
    done = benchlib("run", "--engine", "onnxruntime_cpu", "-o", str(tmp_path / "set"))
    assert done.exit_code == 2
    assert "BENCHLIB_ENGINES_GB: '20GB' is no number of gigabytes" in done.stderr
    assert not (tmp_path / "set").exists()
