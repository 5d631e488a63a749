"""The main job for real: papermill, kernels, ONNX Runtime, the report; and how it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import onnx
import pandas as pd
import pytest
from onnx import helper

from benchlib import pipeline
from benchlib.measure import store

TINY = (
    *("-p", "models", "[mobilenet_v3_small, fast_scnn]", "-p", "resolutions", "[128x96]"),
    *("-p", "duration_s", "0.2", "-p", "warm_up_ms", "20"),
    *("-p", "min_rounds", "1", "-p", "max_rounds", "1"),
    *("-p", "roofs", "false"),
)
PATIENCE_S = 120


def command(*argv: str) -> list[str]:
    return [sys.executable, "-m", "benchlib", "run", *argv, "--json"]


def run(out: Path, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*argv, "-o", str(out)),
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny set, measured by ONNX Runtime through papermill, with its report."""
    out = tmp_path_factory.mktemp("tiny") / "set"
    done = run(out, *TINY, "-p", "precisions", "[fp32, int8, fp16]")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["ok"]
    assert said["rows"] == {"ok": 4, "skipped": 2}
    assert said["report"] == str(out / "report.html")
    # One line per case and per round, with the time left.
    assert "1/2 " in done.stderr
    assert "is prepared; about" in done.stderr
    assert "round 1: 2 of 2 cases still to be made sure" in done.stderr
    return out


def test_leaves_the_files_of_a_measured_set(measured):
    names = {path.name for path in measured.iterdir()}
    assert {"environment.json", "table.csv", "rows", "samples", "logs", "report.html"} <= names
    assert {f"benchmark_{p}.ipynb" for p in ("fp32", "int8", "fp16")} <= names
    table = pd.read_csv(measured / "table.csv")
    ok = table[table["status"] == "ok"]
    assert (ok["latency_ms"] > 0).all()
    assert (ok["latency_ci_low_ms"] <= ok["latency_ms"]).all()
    assert (ok["gmacs"] > 0).all()
    assert set(ok["weights"]) == {"random"}
    skipped = table[table["status"] == "skipped"]
    assert set(skipped["precision"]) == {"fp16"}
    assert skipped["message"].str.contains("FP32 with casts").all()
    assert skipped["latency_ms"].isna().all()
    for key in ok["key"]:
        assert (measured / "rows" / f"{key}.json").is_file()
        assert (measured / "samples" / f"{key}.parquet").is_file()
        (log,) = (measured / "logs").glob(f"{key}.log*")
        assert "PASSED" in store.read_log(log)


def test_the_executed_notebooks_say_what_was_run(measured):
    executed = nbformat.read(measured / "benchmark_int8.ipynb", as_version=4)
    tags = [tag for cell in executed.cells for tag in cell.metadata.get("tags", ())]
    assert "injected-parameters" in tags
    said = "\n".join(str(output) for cell in executed.cells for output in cell.get("outputs", ()))
    assert "--exportTimes" in said
    assert "error" not in {
        output["output_type"] for c in executed.cells for output in c.get("outputs", ())
    }


def test_says_that_it_is_a_cpu_run(measured):
    page = (measured / "report.html").read_text()
    assert "no GPU and no TensorRT" in page


def test_no_path_of_this_machine_stands_in_what_a_user_may_publish(measured):
    for path in measured.rglob("*"):
        if path.suffix in (".json", ".csv", ".log"):
            text = path.read_text()
            assert str(Path.home()) + "/" not in text, path.name
            assert str(measured) not in text, path.name


def test_a_second_run_measures_nothing(measured):
    before = {path: path.stat().st_mtime_ns for path in (measured / "rows").iterdir()}
    done = run(measured, *TINY, "-p", "precisions", "[fp32]", "--no-report")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 cases stand already" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in (measured / "rows").iterdir()} == before


@pytest.mark.usefixtures("installed")
def test_papermills_own_command_line_refuses_a_misspelling(root, tmp_path):
    """What it does with right names: ``test_the_papermill_line_of_the_readme_works…``."""
    base = [sys.executable, "-m", "papermill", "notebooks/benchmark.ipynb"]
    given = ("-p", "modles", "[resnet34]", "-p", "engine", "trtexec", "-p", "out_dir")
    done = subprocess.run(
        [*base, str(tmp_path / "out.ipynb"), "-k", "python3", *given, str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 1, done.stderr
    assert "did you mean models?" in done.stderr


def networks(folder: Path, *names: str) -> str:
    """Files of one node each in ``folder``; the value of ``models`` that names them from there."""
    for name in names:
        node = helper.make_node("Relu", ["image"], [name])
        ends = [
            helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, [1, 3, 64, 64])
            for end in ("image", name)
        ]
        graph = helper.make_graph([node], "own", ends[:1], ends[1:])
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        onnx.save(model, folder / f"{name}.onnx")
    return json.dumps([f"onnx:{name}.onnx" for name in names])


@pytest.mark.usefixtures("installed")
def test_a_relative_path_means_what_it_means_in_the_shell_and_a_failed_case_is_told(tmp_path):
    fails = {"cases": {"second": {"time": "segfault"}}}
    done = subprocess.run(
        command(
            *("-p", "models", networks(tmp_path, "first", "second"), "-o", "set"),
            *("-p", "precisions", "[fp32]", "-p", "resolutions", "[64x64]", "-p", "roofs", "false"),
            *("-p", "duration_s", "0.05", "--engine", "trtexec", "--no-report"),
        ),
        cwd=tmp_path,
        env={**os.environ, "BENCHLIB_FAKE": json.dumps(fails)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["rows"] == {"ok": 1, "failed": 1}
    (ok,) = (tmp_path / "set" / "rows").glob("*first*.json")
    assert json.loads(ok.read_text())["status"] == "ok"


@pytest.mark.usefixtures("installed")
def test_ctrl_c_finishes_the_running_case_and_the_next_run_goes_on(tmp_path):
    out = tmp_path / "set"
    argv = [
        *("--engine", "trtexec", "-p", "models", networks(tmp_path, "first", "second", "third")),
        *("-p", "resolutions", "[64x64]", "-p", "duration_s", "0.2", "-p", "roofs", "false"),
        *("-p", "min_rounds", "2", "-p", "max_rounds", "2", "--no-report", "-o", str(out)),
    ]
    timing = {"cases": {"--exportTimes": {"sleep_s": 1.0}}}
    running = subprocess.Popen(
        command(*argv, "-p", "precisions", "[fp32, fp16]"),
        cwd=tmp_path,
        env={**os.environ, "BENCHLIB_FAKE": json.dumps(timing)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE_S
    while not list((out / "rows").glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    # As a terminal does it: the signal goes to the whole process group.
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130, errors
    left = [json.loads(path.read_text()) for path in (out / "rows").glob("*.json")]
    assert {(one["rounds"], one["ended_by"]) for one in left} == {(1, "interrupted")}
    assert 1 <= len(left) < 3, "what was timed stays, and no further process was begun"
    assert not (out / "benchmark_fp16.ipynb").exists()
    done = subprocess.run(
        command(*argv, "-p", "precisions", "[fp32]"),
        cwd=tmp_path,
        env={**os.environ, "BENCHLIB_FAKE": "{}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == {"ok": 3}
    for one in left:
        row = json.loads((out / "rows" / f"{one['key']}.json").read_text())
        assert row["detail"]["runs"][0] == one["detail"]["runs"][0]


@pytest.mark.usefixtures("installed")
def test_a_folder_that_cannot_be_written_is_refused_before_a_kernel_starts(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    done = run(blocked / "set", "--engine", "trtexec")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.fixture
def one_cell(tmp_path, monkeypatch):
    """A measuring notebook of one cell of parameters, whose kernel complains as it ends."""
    source = "value = 1\nimport atexit, os\natexit.register(os.write, 2, b'bad socket')"
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "x"}
    nbformat.write(notebook, tmp_path / "benchmark.ipynb")
    monkeypatch.setenv("BENCHLIB_NOTEBOOKS", str(tmp_path))


def execute(tmp_path: Path) -> pipeline.Execution:
    return pipeline.execute("benchmark.ipynb", tmp_path / "done.ipynb", {"value": 2})


@pytest.mark.usefixtures("one_cell")
@pytest.mark.parametrize(("ends", "starts"), [(1, 2), (2, 3), (9, 3)])
def test_a_kernel_that_ends_while_it_starts_is_started_again(tmp_path, monkeypatch, ends, starts):
    """As one does whose port another kernel took in the moment between choosing and binding."""
    started = []

    class Unlucky(pipeline.OwnKernel):
        async def _async_launch_kernel(self, kernel_cmd: list[str], **how: object) -> None:
            started.append(kernel_cmd)
            dead = [sys.executable, "-c", "import no_such_library"]
            await super()._async_launch_kernel(dead if len(started) <= ends else kernel_cmd, **how)

    monkeypatch.setattr(pipeline, "OwnKernel", Unlucky)
    done = execute(tmp_path)
    assert done.ok is (ends < starts)
    assert done.ok or "Kernel died before replying" in done.problem
    assert done.ok or done.problem.endswith("No module named 'no_such_library'")
    assert len(started) == starts


@pytest.mark.usefixtures("one_cell")
def test_a_kernel_is_not_interrupted_when_it_is_shut_down(tmp_path, monkeypatch):
    sent = []

    class Watched(pipeline.OwnKernel):
        async def _async_signal_kernel(self, signum: int) -> None:
            sent.append(signum)
            await super()._async_signal_kernel(signum)

    monkeypatch.setattr(pipeline, "OwnKernel", Watched)
    assert execute(tmp_path).ok
    assert signal.SIGINT not in sent


@pytest.mark.usefixtures("one_cell")
def test_what_threads_say_as_a_kernel_is_shut_down_is_not_the_users(tmp_path, capfd):
    assert execute(tmp_path).ok
    assert capfd.readouterr().err == ""
