"""Rounds: every case prepared, then one process of each in an order of its own, until sure."""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from logged import started
from placeholders import Placeholders

from benchlib import config
from benchlib.case import Case, Engine, Failure, Status, Verdict
from benchlib.measure import matrix, record, runner, store
from benchlib.measure.case_runner import CaseRunner
from benchlib.measure.engine_cache import EngineCache
from benchlib.measure.environment import Redactor
from benchlib.measure.measurement import Measurement
from benchlib.measure.record import Row
from benchlib.measure.runner import Lines, Outcome
from benchlib.stats.replication import Ending, Until
from benchlib.trtexec.command import Program

Script = Callable[..., None]
Run = Callable[..., Outcome]

NETWORKS = ["resnet18", "resnet34", "fast_scnn"]
THREE = {"min_rounds": 3, "max_rounds": 3}


class AtRound(Lines):
    """Does something when a round begins."""

    def __init__(self, number: int, what: Callable[[], None]) -> None:
        super().__init__()
        self._at, self._what = number, what

    def round(self, number: int, left: int) -> None:
        super().round(number, left)
        if number == self._at:
            self._what()


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("rounds", "half_width", "timing_s", "ending"),
    [
        (2, 0.001, 999, None),
        (3, 0.005, 1, Ending.SURE),
        (3, 0.006, 1, None),
        (3, 0.006, 60, Ending.CEILING),
        (3, None, 1, None),
        (9, 0.006, 59, None),
        (10, 0.006, 1, Ending.CEILING),
        (10, 0.004, 99, Ending.SURE),
        (10, None, 1, Ending.CEILING),
    ],
)
def test_when_a_case_leaves_the_rounds(
    rounds: int, half_width: float | None, timing_s: float, ending: Ending | None
) -> None:
    assert Until(0.005, 3, 10, 60.0).ending(rounds, half_width, timing_s) is ending


def test_a_case_goes_on_until_it_is_sure(fake_run: Run, script: Script) -> None:
    script(cases={"resnet34": {"spread": 0.04, "median_ms": 20}})
    outcome = fake_run(models=NETWORKS, min_rounds=3, max_rounds=5, target=0.002)
    rows = {row.model: row for row in outcome.rows}
    assert {(row.rounds, row.ended_by) for row in outcome.rows if row.model != "resnet34"} == {
        (3, Ending.SURE)
    }
    assert rows["resnet18"].half_width <= 0.002
    unsure = rows["resnet34"]
    assert (unsure.rounds, unsure.ended_by) == (5, Ending.CEILING)
    assert unsure.half_width > 0.002
    record_of = unsure.as_record()
    assert (record_of["rounds"], record_of["ended_by"]) == (5, "ceiling")
    assert unsure.detail.until == {
        "target": 0.002,
        "min_rounds": 3,
        "max_rounds": 5,
        "time_ceiling_s": 120.0,
    }


def test_seconds_end_the_rounds_too(fake_run: Run, script: Script) -> None:
    script(all={"spread": 0.04, "median_ms": 20, "sleep_s": 0.05})
    (row,) = fake_run(min_rounds=2, max_rounds=50, target=1e-6, time_ceiling_s=0.01).rows
    assert (row.rounds, row.ended_by) == (2, Ending.CEILING)


def test_all_are_prepared_first_and_the_order_is_new_in_each_round(
    fake_run: Run, tmp_path: Path
) -> None:
    sizes = ["640x480", "1024x768"]
    at_round_1: list[int] = []
    plans = tmp_path / "cache" / "plans"
    progress = AtRound(1, lambda: at_round_1.append(len(list(plans.glob("*/engine.plan")))))
    outcome = fake_run(models=NETWORKS, resolutions=sizes, seed=3, progress=progress, **THREE)
    assert at_round_1 == [6]
    orders = []
    for number in range(3):
        turns = [(row.detail.runs[number], row.key) for row in outcome.rows]
        assert {run["process"] for run, _ in turns} == {number}
        assert sorted((run["place"], run["of"]) for run, _ in turns) == [(p, 6) for p in range(6)]
        orders.append([key for _, key in sorted(turns, key=lambda turn: turn[0]["place"])])
    assert len({tuple(order) for order in orders}) == 3
    again = fake_run(
        models=NETWORKS, resolutions=sizes, seed=3, out_dir=str(tmp_path / "again"), **THREE
    )
    places = [[run["place"] for run in row.detail.runs] for row in again.rows]
    assert places == [[run["place"] for run in row.detail.runs] for row in outcome.rows]


def test_ctrl_c_leaves_rounds_to_go_on_with(fake_run: Run, tmp_path: Path) -> None:
    outcome = fake_run(models=NETWORKS, progress=AtRound(3, press_ctrl_c), **THREE)
    assert outcome.interrupted
    assert outcome.measured == 0
    assert "goes on from here" in outcome.sentence
    assert [(row.status, row.rounds, row.ended_by) for row in outcome.rows] == [
        (Status.OK, 2, Ending.INTERRUPTED)
    ] * 3
    before = {row.key: row for row in outcome.rows}
    done = fake_run(models=NETWORKS, **THREE)
    assert (done.measured, done.interrupted) == (3, False)
    for row in done.rows:
        assert (row.rounds, row.started_at) == (3, before[row.key].started_at)
        assert row.detail.runs[:2] == before[row.key].detail.runs
        # Nothing but the third round and its engine's look-up was done
        assert row.detail.commands[:3] == before[row.key].detail.commands
        assert len(row.detail.commands) == 4
        log = (tmp_path / "set" / row.log).read_text()
        assert [flags(argv) for argv in row.detail.commands] == started(log)
    undisturbed = fake_run(models=NETWORKS, out_dir=str(tmp_path / "undisturbed"), **THREE)
    assert [numbers(row) for row in done.rows] == [numbers(row) for row in undisturbed.rows]
    assert fake_run(models=NETWORKS, **THREE).measured == 0


def flags(argv: tuple[str, ...]) -> list[str]:
    return [word for word in argv if word.startswith("--")]


def numbers(row: Row) -> tuple[Any, ...]:
    one = row.as_record()
    return tuple(value for name, value in one.items() if name != "started_at")


def test_the_second_ctrl_c_ends_it_and_keeps_what_is_done(fake_run: Run, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def furious() -> None:
        press_ctrl_c()
        press_ctrl_c()

    with pytest.raises(KeyboardInterrupt):
        fake_run(models=NETWORKS, progress=AtRound(2, furious), **THREE)
    assert signal.getsignal(signal.SIGINT) is before
    rows = [record.read(path) for path in (tmp_path / "set" / "rows").glob("*.json")]
    assert [(row.rounds, row.ended_by) for row in rows] == [(1, Ending.INTERRUPTED)] * 3
    done = fake_run(models=NETWORKS, **THREE)
    assert [len(row.detail.runs) for row in done.rows] == [3, 3, 3]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("hangup_is_heard")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_that_is_raised_where_python_drops_it_ends_the_run_too(
    fake_run: Run, number: int
) -> None:
    class Unheard:
        def __del__(self) -> None:
            os.kill(os.getpid(), number)

    done = fake_run(models=NETWORKS, progress=AtRound(2, lambda: Unheard() and None), **THREE)
    assert done.interrupted
    assert {row.ended_by for row in done.rows} == {Ending.INTERRUPTED}


def test_more_is_asked_of_a_row_that_stands(fake_run: Run) -> None:
    (first,) = fake_run(min_rounds=2, max_rounds=2).rows
    (more,) = fake_run(min_rounds=4, max_rounds=4).rows
    assert more.detail.runs[:2] == first.detail.runs
    assert (more.rounds, more.started_at) == (4, first.started_at)
    # Less than it has is no reason to measure
    assert fake_run(min_rounds=2, max_rounds=3).measured == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [({"time": "segfault"}, "SIGSEGV"), ({"time": "nan"}, "computeMs"), ({"crash_at": 3}, "SEGV")],
)
def test_a_case_that_fails_later_keeps_its_rounds_and_says_so(
    fake_run: Run, script: Script, tmp_path: Path, fault: dict[str, Any], words: str
) -> None:
    script(cases={".p2.": fault})
    (row,) = fake_run(min_rounds=4, max_rounds=4).rows
    assert (row.status, row.verdict, row.failure) == (Status.OK, Verdict.VALID, None)
    assert (row.rounds, row.ended_by) == (2, Ending.INTERRUPTED)
    assert row.latency_ms == pytest.approx(2.0, rel=0.01)
    assert row.message.startswith("round 3 failed: ")
    assert words in row.message
    assert len(row.detail.commands) == 3
    failed = (tmp_path / "set" / "logs" / f"{row.key}.failed.log").read_text()
    assert failed.count("RUNNING") == 1
    # The cause is gone: the same command goes on
    script()
    (row,) = fake_run(min_rounds=4, max_rounds=4).rows
    assert (row.rounds, row.message) == (4, None)


def test_a_failure_in_the_first_round_is_a_failed_row(fake_run: Run, script: Script) -> None:
    script(cases={".b1.p0.": {"time": "segfault"}})
    (row,) = fake_run(builds=2, **THREE).rows
    assert (row.status, row.failure) == (Status.FAILED, Failure.CRASH)
    assert (row.rounds, row.ended_by, row.latency_ms) == (None, None, None)


def test_engines_that_have_unlike_rounds_catch_up(fake_run: Run, script: Script) -> None:
    (key,) = (row.key for row in fake_run(duration_s=0.1).rows)
    script(cases={f"{key}.b1.p1.": {"time": "segfault"}})
    (row,) = fake_run(builds=2, **THREE).rows
    assert (row.status, row.rounds, row.ended_by) == (Status.OK, 1, Ending.INTERRUPTED)
    script()
    (row,) = fake_run(builds=2, **THREE).rows
    turns = sorted((run["process"], run["build"]) for run in row.detail.runs)
    assert turns == [(number, build) for number in range(3) for build in range(2)]
    assert (row.rounds, row.message) == (3, None)


def test_a_prepared_case_can_be_timed_in_another_process(
    fake: Program, script: Script, tmp_path: Path
) -> None:
    given = config.read_parameters({"engine": "trtexec", "duration_s": 0.1})
    (step,) = matrix.steps(given, fake)
    cases = CaseRunner(
        parameters=given,
        program=fake,
        exporter=Placeholders(tmp_path, 0),
        engine_cache=EngineCache(tmp_path / "plans"),
        redactor=Redactor.of(tmp_path),
        work=tmp_path,
        device="cuda:0",
    )
    made = Measurement(step.case, matrix.settings(given))
    made.export(cases.exporter, step.form)
    cases.build(made, step)
    there, there_made, there_step = pickle.loads(pickle.dumps((cases, made, step)))
    there.one_round(there_made, there_step, (0, 0))
    back = pickle.loads(pickle.dumps(there_made))
    assert [len(run.samples.compute_ms) for run in back.runs] == [50]
    assert back.runs[0].summary.median == pytest.approx(2.0, rel=0.01)
    assert len(back.commands) == len(back.logs) == 2


def test_another_engine_begins_the_rounds_anew(
    fake_run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake_run(progress=AtRound(3, press_ctrl_c), **THREE)
    (plan,) = (tmp_path / "cache" / "plans").glob("*/engine.plan")
    plan.unlink()
    (row,) = fake_run(**THREE).rows
    assert any("begins its rounds anew: its engine is another" in one for one in caplog.messages)
    assert len(row.detail.runs) == len(row.detail.commands) - 1 == 3


def test_an_engine_that_goes_during_the_rounds_is_not_replaced_in_silence(
    fake_run: Run, tmp_path: Path
) -> None:
    def remove() -> None:
        for plan in (tmp_path / "cache" / "plans").glob("*/engine.plan"):
            plan.unlink()

    (row,) = fake_run(progress=AtRound(3, remove), **THREE).rows
    assert (row.status, row.rounds, row.ended_by) == (Status.OK, 2, Ending.INTERRUPTED)
    assert "its engine is gone from the cache" in row.message


def test_samples_written_before_the_row_are_no_part_of_it(fake_run: Run, tmp_path: Path) -> None:
    """A kill between the two leaves one run more in the samples than in the row."""
    (row,) = fake_run(progress=AtRound(3, press_ctrl_c), **THREE).rows
    path = tmp_path / "set" / "samples" / f"{row.key}.parquet"
    kept = store.load_samples(path)
    path.write_bytes(store.dump_samples([*kept, kept[0]]))
    (done,) = fake_run(**THREE).rows
    assert len(store.load_samples(path)) == len(done.detail.runs) == 3
    # And samples that are lost are measured again
    path.unlink()
    (more,) = fake_run(min_rounds=4, max_rounds=4).rows
    assert len(more.detail.runs) == 4
    assert more.started_at > done.started_at


def test_rows_from_before_rounds_stand(root: Path) -> None:
    """The fingerprint that a committed set's rows have is that of their parameters of then."""
    folder = root / "results" / "h100-trtexec-8.6"
    rows = [record.read(path) for path in (folder / "rows").glob("*.json")]
    given = json.loads((folder / "environment.json").read_text())["parameters"]["fp16"]
    given = {name: value for name, value in given.items() if name in config.parameter_names()}
    parameters = config.read_parameters(given)
    program = Program(Engine.TRTEXEC, ("trtexec",), "8.6.0", "cuda:0")
    for row in rows:
        names = ("model", "precision", "batch", "height", "width", "shape_mode", "typing", "engine")
        case = Case(**{name: getattr(row, name) for name in names})
        old = runner.fingerprint(case, parameters, program, row.device, processes=1)
        assert row.fingerprint == old
        assert runner.fingerprint(case, parameters, program, row.device) != old


def test_a_row_from_before_rounds_is_not_measured_again(fake_run: Run, tmp_path: Path) -> None:
    (row,) = fake_run(min_rounds=2, max_rounds=2).rows
    (case,) = matrix.cases(
        config.read_parameters({"engine": "trtexec"}), Program(Engine.TRTEXEC, (), "10.16.1", "")
    )
    given = config.read_parameters({"engine": "trtexec", "duration_s": 0.5})
    program = Program(Engine.TRTEXEC, (), "10.16.1", "cuda:0")
    old = runner.fingerprint(case, given, program, row.device, processes=2)
    before = row.model_copy(update={"rounds": None, "ended_by": None, "fingerprint": old})
    path = tmp_path / "set" / "rows" / f"{row.key}.json"
    path.write_text(record.dump_row(before))
    assert fake_run(**THREE).measured == 0
    assert path.read_text() == record.dump_row(before)


def test_rows_of_other_settings_are_told_of(
    fake_run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    (row,) = fake_run().rows
    assert fake_run(duration_s=0.6).measured == 1
    (line,) = (one for one in caplog.messages if "measured under other settings" in one)
    assert line.endswith(f"1 of 1 cases, the first is {row.key}")


def test_lines_for_preparing_rounds_and_ends(
    fake_run: Run, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    script(cases={"resnet34": {"spread": 0.04, "median_ms": 20}})
    with caplog.at_level(logging.INFO, logger="benchlib.measure"):
        outcome = fake_run(models=NETWORKS, min_rounds=2, max_rounds=3, target=0.01)
    said = caplog.messages
    assert sum("is prepared; " in line for line in said) == 3
    assert any(line.endswith("is prepared; all are") for line in said)
    rounds = [line for line in said if line.startswith("round ")]
    assert rounds[0] == "round 1: 3 of 3 cases still to be made sure"
    assert rounds[2].startswith("round 3: 1 of 3 cases still to be made sure; the last took ")
    ends = [line for line in said if line.startswith(("1/3 ", "2/3 ", "3/3 ")) and " ms" in line]
    assert len(ends) == 3
    assert "ceiling after 3 rounds" in ends[2]
    assert all(any(row.key in line for line in ends) for row in outcome.rows)


def test_the_others_go_on_when_the_case_with_the_fewest_rounds_fails(
    fake_run: Run, script: Script
) -> None:
    fake_run(progress=AtRound(3, press_ctrl_c), models=["resnet18"], **THREE)
    script(cases={"resnet34": {"time": "segfault"}})
    rows = {row.model: row for row in fake_run(models=["resnet18", "resnet34"], **THREE).rows}
    assert rows["resnet34"].status is Status.FAILED
    assert (rows["resnet18"].rounds, rows["resnet18"].ended_by) == (3, Ending.SURE)
