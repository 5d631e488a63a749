"""A whole run with the fake trtexec: what it leaves, and how it goes on."""

from __future__ import annotations

import csv
import json
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from getpass import getuser
from pathlib import Path
from typing import Any

import fake_trtexec
import numpy as np
import pytest
from logged import started
from placeholders import Placeholders

from benchlib.case import Case, Engine, Failure, GraphForm, Status, Verdict
from benchlib.config import read_parameters
from benchlib.errors import InputError
from benchlib.export.build import Graph
from benchlib.measure import environment, matrix, record, runner, store
from benchlib.measure.case_runner import CaseRunner
from benchlib.measure.record import COLUMNS, Fault
from benchlib.measure.runner import Outcome
from benchlib.stats import drift
from benchlib.trtexec import exit_check, exports
from benchlib.trtexec.command import Program

Script = Callable[..., None]
Run = Callable[..., Outcome]

NETWORKS = ["resnet18", "resnet34", "fast_scnn"]


def test_every_case_gets_a_row_and_its_files(fake_run: Run, tmp_path: Path) -> None:
    outcome = fake_run(models=NETWORKS, resolutions=["640x480", "1024x768"])
    assert outcome.total == outcome.measured == len(outcome.rows) == 6
    assert not outcome.count(Status.FAILED)
    folder = tmp_path / "set"
    with (folder / "table.csv").open(newline="") as lines:
        records = list(csv.DictReader(lines))
    assert tuple(records[0]) == COLUMNS
    assert [record["key"] for record in records] == sorted(row.key for row in outcome.rows)
    for row in outcome.rows:
        assert (row.status, row.verdict, row.attempt) == (Status.OK, Verdict.VALID, 1)
        assert row.latency_ms == pytest.approx(2.0, rel=0.01)
        assert row.latency_ci_low_ms < row.latency_ms < row.latency_ci_high_ms
        assert row.throughput_img_s == pytest.approx(500, rel=0.01)
        assert (row.family, row.build_s, row.engine_layers) != (None, None, None)
        (samples,) = store.load_samples(folder / f"samples/{row.key}.parquet")
        assert len(samples.compute_ms) == row.n_samples
        assert np.median(samples.compute_ms) == pytest.approx(row.latency_ms, rel=1e-6)
        assert "PASSED" in (folder / row.log).read_text()
        build, timing = row.detail.commands
        assert any(flag.startswith("--saveEngine=") for flag in build)
        assert any(flag.startswith("--exportTimes=") for flag in timing)


@pytest.mark.usefixtures("fake_run")  # for the placeholders of graphs
def test_the_plan_that_was_shown_is_the_one_that_runs(fake: Program, tmp_path: Path) -> None:
    given = {"engine": "trtexec", "roofs": False, "duration_s": 0.5, "seed": 1}
    given |= {"min_rounds": 1, "max_rounds": 1}
    parameters = read_parameters({**given, "out_dir": str(tmp_path)})
    (planned,) = matrix.steps(parameters, fake)
    marked = [replace(one, argv=(*one.argv, "--verbose")) for one in planned.commands]
    steps = (replace(planned, commands=tuple(marked)),)
    (row,) = runner.run(parameters, program=fake, steps=steps).rows
    assert [argv[-1] for argv in row.detail.commands] == ["--verbose", "--verbose"]
    skipped = (replace(planned, commands=(), skipped="not today"),)
    (row,) = runner.run(parameters.model_copy(update={"seed": 2}), program=fake, steps=skipped).rows
    assert (row.status, row.message) == (Status.SKIPPED, "not today")


def flags(argv: list[str]) -> list[str]:
    return [word for word in argv if word.startswith("--")]


@pytest.mark.parametrize("name", ["h100-tensorrt-8.6", "h100-trtexec-8.6", "h200-tensorrt-8.6"])
def test_the_commands_of_committed_rows_agree_with_their_logs(root: Path, name: str) -> None:
    for path in (root / "results" / name / "rows").glob("*.json"):
        row = record.read(path)
        log = store.read_log(path.parents[1] / row.log)
        assert [flags(argv) for argv in row.detail.commands] == started(log), path.name


@pytest.mark.parametrize("builds", [1, 2])
def test_a_row_lists_the_commands_that_ran_and_no_others(
    fake_run: Run, tmp_path: Path, builds: int
) -> None:
    def measured(**values: Any) -> list[str]:
        outcome = fake_run(min_rounds=3, max_rounds=3, builds=builds, profile=True, **values)
        (row,) = outcome.rows
        log = store.read_log(tmp_path / "set" / row.log)
        assert [flags(argv) for argv in row.detail.commands] == started(log)
        products = ("--saveEngine=", "--exportProfile=", "--exportTimes=")
        return [
            next(word for word in products if any(flag.startswith(word) for flag in argv))
            for argv in row.detail.commands
        ]

    build, profile, timing = "--saveEngine=", "--exportProfile=", "--exportTimes="
    assert measured() == [*[build] * builds, profile, *[timing] * 3 * builds]
    # Another number of samples needs no other engine.
    again = measured(iterations=20)
    assert again == [profile, *[timing] * 3 * builds]


def test_throughput_counts_images_not_batches(fake_run: Run) -> None:
    (row,) = fake_run(batch_sizes=[8]).rows
    assert row.throughput_img_s == pytest.approx(8 * 500, rel=0.01)
    assert row.latency_ms == pytest.approx(2.0, rel=0.01)


def test_a_second_run_measures_only_what_is_missing(fake_run: Run) -> None:
    fake_run(models=NETWORKS[:2])
    outcome = fake_run(models=NETWORKS)
    assert (outcome.measured, outcome.total) == (1, 3)
    assert len(outcome.rows) == 3


def test_other_settings_are_measured_anew(fake_run: Run) -> None:
    (before,) = fake_run(duration_s=0.5).rows
    (after,) = fake_run(duration_s=0.6).rows
    assert before.key == after.key
    assert after.n_samples > before.n_samples


def test_a_failed_row_is_tried_again_and_an_ok_one_is_not(fake_run: Run, script: Script) -> None:
    script(cases={"resnet34": {"time": "oom"}})
    first = fake_run(models=NETWORKS)
    assert first.count(Status.FAILED) == 1
    script()
    second = fake_run(models=NETWORKS)
    assert second.measured == 1
    assert not second.count(Status.FAILED)


def test_an_engine_is_built_once_and_timed_again(fake_run: Run) -> None:
    (before,) = fake_run(duration_s=0.5).rows
    (after,) = fake_run(duration_s=0.6).rows
    first, second = before.detail.engines[0], after.detail.engines[0]
    assert first["key"] == second["key"]
    assert (first["reused"], second["reused"]) == (False, True)
    assert before.build_s == after.build_s == 0.25


def test_an_engine_of_another_library_is_told_each_time_it_is_used(
    fake_run: Run, script: Script
) -> None:
    script(library="10.9.0")
    (before,) = fake_run(duration_s=0.5).rows
    (after,) = fake_run(duration_s=0.6).rows
    assert after.detail.engines[0]["reused"]
    words = "build left an engine of TensorRT 10.9.0: the library that was loaded, not 10.16.1"
    assert (before.message, after.message) == (words, words)


def test_a_dynamic_engine_serves_all_sizes(fake_run: Run) -> None:
    outcome = fake_run(
        resolutions=["640x480", "1024x768"],
        shape_modes=["dynamic", "blog"],
        min_shape=[1, 480, 640],
        opt_shape=[1, 768, 1024],
        max_shape=[1, 768, 1024],
    )
    engines = {(row.shape_mode, row.detail.engines[0]["key"]) for row in outcome.rows}
    assert len(outcome.rows) == 4
    assert len(engines) == 2


def test_half_built_engines_of_a_killed_run_are_removed(fake_run: Run, tmp_path: Path) -> None:
    orphan = tmp_path / "cache" / "plans" / ".case.b0.999999999"
    orphan.mkdir(parents=True)
    fake_run()
    assert not orphan.exists()


def test_an_empty_calibration_folder_is_refused_at_once(fake_run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="calibration_dir"):
        fake_run(precision="int8", calibration_dir=str(tmp_path))


def test_other_build_flags_are_another_engine(fake_run: Run) -> None:
    (before,) = fake_run().rows
    (after,) = fake_run(builder_optimization_level=1).rows
    assert not after.detail.engines[0]["reused"]
    assert before.detail.engines[0]["key"] != after.detail.engines[0]["key"]


def test_builds_and_processes_are_replicated_and_told_apart(fake_run: Run, tmp_path: Path) -> None:
    (row,) = fake_run(builds=2, min_rounds=3, max_rounds=3).rows
    assert len({engine["key"] for engine in row.detail.engines}) == 2
    turns = [(run["process"], run["build"]) for run in row.detail.runs]
    assert sorted(turns) == [(number, build) for number in range(3) for build in range(2)]
    assert [number for number, _ in turns] == [0, 0, 1, 1, 2, 2]
    assert (row.rounds, row.ended_by) == (3, "ceiling" if row.half_width > 0.005 else "sure")
    replication = row.detail.replication
    assert (replication["builds"], replication["processes"]) == (2, 6)
    assert row.n_samples == sum(run["n"] for run in row.detail.runs)
    (name,) = row.detail.samples
    kept = store.load_samples(tmp_path / "set" / name)
    assert [len(one.compute_ms) for one in kept] == [run["n"] for run in row.detail.runs]


def test_raw_times_are_kept_where_they_are_asked_for(fake_run: Run, tmp_path: Path) -> None:
    (row,) = fake_run(min_rounds=2, max_rounds=2, keep_raw=True).rows
    samples, *raw = row.detail.samples
    kept = store.load_samples(tmp_path / "set" / samples)
    for name, one in zip(raw, kept, strict=True):
        queries = exports.read_times(tmp_path / "set" / name)
        assert [query.compute_ms for query in queries] == pytest.approx(one.compute_ms, rel=1e-6)


def test_what_ended_the_timing_is_told(fake_run: Run) -> None:
    (row,) = fake_run(duration_s=0.5, iterations=10).rows
    assert [run["stopped_by"] for run in row.detail.runs] == ["time"]
    (row,) = fake_run(duration_s=0.5, iterations=400).rows
    assert [run["stopped_by"] for run in row.detail.runs] == ["count"]


@pytest.mark.parametrize(("story", "reason"), [("bimodal", "two_modes"), ("throttle", "imprecise")])
def test_a_story_reaches_the_verdict(
    fake_run: Run, script: Script, story: str, reason: str
) -> None:
    script(all={"story": story})
    (row,) = fake_run().rows
    assert row.verdict is Verdict.SUSPECT
    assert reason in row.reasons


def test_what_a_program_cannot_do_is_a_skipped_row(fake_run: Run) -> None:
    cpu = Program(Engine.ONNXRUNTIME_CPU, ("missing",), "1.20.0", "cpu")
    outcome = fake_run(program=cpu, precision="fp16", engine="auto")
    (row,) = outcome.rows
    assert (row.status, row.latency_ms, row.failure) == (Status.SKIPPED, None, None)
    assert "FP16" in row.message
    assert not outcome.count(Status.FAILED)
    assert fake_run(program=cpu, precision="fp16", engine="auto").measured == 0


def test_settings_that_no_command_can_be_made_of_are_refused_at_once(
    fake_run: Run, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="min_shape"):
        fake_run(shape_modes=["dynamic"])
    with pytest.raises(InputError, match="--useSpinLock"):
        fake_run(extra_flags=["--useSpinLock"])
    assert not (tmp_path / "set").exists()


def test_nothing_of_this_machine_is_published(
    fake_run: Run, script: Script, tmp_path: Path
) -> None:
    script(cases={"resnet34": {"time": "segfault"}})
    fake_run(models=["resnet18", "resnet34"])
    folder = tmp_path / "set"
    files = [*folder.rglob("*.json"), *folder.rglob("*.log"), folder / "table.csv"]
    assert len(files) >= 4
    secrets = [str(tmp_path), str(Path.home()) + "/", socket.gethostname(), f"/{getuser()}/"]
    for path in files:
        text = path.read_text()
        for secret in secrets:
            assert secret not in text, (path.name, secret)


def test_the_environment_names_what_matters(fake_run: Run, tmp_path: Path) -> None:
    fake_run(precision="fp32", preset="quick")
    fake_run(precision="fp16", preset="quick")
    document = json.loads((tmp_path / "set" / "environment.json").read_text())
    assert set(document["parameters"]) == {"fp32", "fp16"}
    assert document["tensorrt"] == "10.16.1"
    assert document["packages"]["torch"]
    for name in ("cpu", "cpu_cores", "python", "git_commit", "date", "preset"):
        assert document[name], name
    assert "out_dir" not in document["parameters"]["fp32"]
    assert environment.load_environment(json.dumps(document)).engine is Engine.TRTEXEC
    with pytest.raises(ValueError, match="extra"):
        environment.load_environment(json.dumps({**document, "user": "somebody"}))


def test_a_missing_program_is_a_failed_row(fake_run: Run) -> None:
    gone = Program(Engine.TRTEXEC, ("no-such-program",), "10.16.1", "cuda:0")
    (row,) = fake_run(program=gone).rows
    assert (row.status, row.failure) == (Status.FAILED, Failure.MISSING_PROGRAM)
    assert "no-such-program" in row.message


def test_a_cpu_row_has_no_enqueue_time_and_no_card(fake_run: Run) -> None:
    """The stand-in on a CPU has no enqueue of its own; what its file holds there is no such."""

    code = (
        f"import sys; sys.path.insert(0, {str(Path(fake_trtexec.__file__).parent)!r})\n"
        "from fake_trtexec import main\n"
        "sys.exit(main([one for one in sys.argv[1:] if not one.startswith('--seed=')]))"
    )
    cpu = Program(Engine.ONNXRUNTIME_CPU, (sys.executable, "-c", code), "1.20.0", "cpu")
    (row,) = fake_run(program=cpu, engine="onnxruntime_cpu").rows
    assert (row.status, row.device, row.message) == (Status.OK, "cpu", None)
    assert row.enqueue_ms is None
    assert row.as_record()["enqueue_ms"] is None
    assert [one["enqueue"] for one in row.detail.statistics] == [None]
    assert (row.cuda_graph, row.transfers, row.spin_wait) == (None, None, None)
    assert "enqueue_bound" not in row.reasons


def test_what_a_program_leaves_is_read_once(fake_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(module: object, name: str) -> None:
        original = getattr(module, name)

        def call(*values: object) -> object:
            read.append(name)
            return original(*values)

        monkeypatch.setattr(module, name, call)

    counted(exports, "read_times")
    counted(exports, "read_profile")
    counted(exit_check, "read_log")
    counted(drift, "settling")
    (row,) = fake_run(min_rounds=2, max_rounds=2, profile=True).rows
    assert row.status is Status.OK
    # One build, one profile, and the timing processes, of which one may have begun cold.
    timings = len(row.detail.warm_up)
    assert read.count("read_times") == timings
    assert read.count("read_profile") == 1
    assert read.count("read_log") == 2 + timings
    # One per timing process, and one after each round of all samples as one series.
    assert read.count("settling") == timings + row.rounds


def test_the_next_graph_is_made_while_a_card_builds(
    fake_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a run on a CPU it is not: that would take processors from layers that are profiled."""
    seen: list[str] = []
    second = threading.Event()
    graph, do = Placeholders.graph, CaseRunner.do

    def made(self: Placeholders, case: Case, form: GraphForm) -> Graph:
        seen.append("graph")
        if seen.count("graph") == 2:
            second.set()
        return graph(self, case, form)

    def done(self: CaseRunner, *given: Any) -> Fault | None:
        if given[-1] is None and "build" not in seen and not self.program.on_cpu:
            assert second.wait(60)
        seen.append("build" if given[-1] is None else "time")
        return do(self, *given)

    monkeypatch.setattr(Placeholders, "graph", made)
    monkeypatch.setattr(CaseRunner, "do", done)
    sizes = ["64x64", "96x96", "128x128"]
    assert len(fake_run(resolutions=sizes, precision="fp32").rows) == 3
    assert seen.count("graph") == seen.count("build") == 3

    seen.clear()
    command = (sys.executable, fake_trtexec.__file__)
    program = Program(Engine.ONNXRUNTIME_CPU, command, "1.32.0", "cpu")
    fake_run(program, resolutions=sizes, precision="fp32", seed=1, engine="onnxruntime_cpu")
    assert seen == [*("graph", "build") * 3, *("time",) * 3]


def test_a_set_is_not_gone_on_with_on_another_processor(
    fake_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "raise SystemExit(1)"
    cpu = Program(Engine.ONNXRUNTIME_CPU, (sys.executable, "-c", code), "1.20.0", "cpu")
    again = {"program": cpu, "engine": "onnxruntime_cpu"}
    monkeypatch.setattr(environment, "cpu_model", lambda: "One")
    fake_run(**again)
    before = (tmp_path / "set" / "environment.json").read_text()
    monkeypatch.setattr(environment, "cpu_model", lambda: "Another")
    with pytest.raises(InputError, match=r"out: .* timed on One, and this machine has Another"):
        fake_run(**again)
    assert (tmp_path / "set" / "environment.json").read_text() == before
    monkeypatch.setattr(environment, "cpu_model", lambda: None)  # as on some ARM machines
    assert len(fake_run(**again).rows) == 1
