"""Every way to fail, provoked: each becomes a row with a class, a sentence and a log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchlib import config
from benchlib.case import Engine, Failure, GraphForm, Status
from benchlib.errors import InputError
from benchlib.measure import matrix, record
from benchlib.measure.exporter import Exporter
from benchlib.measure.runner import Outcome
from benchlib.trtexec.command import Program

Script = Callable[..., None]
Run = Callable[..., Outcome]

FAULTS = [
    ({"build": "unknown-operator"}, Failure.UNSUPPORTED, "No importer registered"),
    ({"build": "oom"}, Failure.OOM_BUILD, "out of memory"),
    ({"time": "oom"}, Failure.OOM_RUN, "out of memory"),
    ({"build": "no-tactic"}, Failure.NO_TACTIC, "any implementation"),
    ({"build": "hang"}, Failure.TIMEOUT, "raise time_limit_build_s"),
    ({"time": "hang-with-child"}, Failure.TIMEOUT, "raise time_limit_time_s"),
    ({"build": "sigkill"}, Failure.CRASH, "SIGKILL"),
    ({"time": "segfault"}, Failure.CRASH, "SIGSEGV"),
    ({"time": "abort"}, Failure.CRASH, "SIGABRT"),
    ({"crash_at": 3}, Failure.CRASH, "SIGSEGV"),
    ({"build": "error"}, Failure.UNSUPPORTED, "Internal Error"),
    ({"build": "silent"}, Failure.BAD_OUTPUT, "plan"),
    ({"time": "silent"}, Failure.BAD_OUTPUT, "times"),
    ({"build": "empty"}, Failure.BAD_OUTPUT, "empty"),
    ({"time": "empty"}, Failure.BAD_OUTPUT, "not whole JSON"),
    ({"time": "truncated"}, Failure.BAD_OUTPUT, "not whole JSON"),
    ({"time": "nan"}, Failure.BAD_OUTPUT, "computeMs"),
    ({"build": "full-disk"}, Failure.BAD_OUTPUT, "disk is full"),
]


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    FAULTS,
    ids=["-".join(f"{phase}-{what}" for phase, what in fault[0].items()) for fault in FAULTS],
)
def test_a_fault_is_a_classed_row(
    fake_run: Run,
    script: Script,
    tmp_path: Path,
    behaviour: dict[str, Any],
    kind: Failure,
    words: str,
) -> None:
    script(all=behaviour)
    hangs = set(behaviour) if kind is Failure.TIMEOUT else ()
    limits = {f"time_limit_{phase}_s": 1 if phase in hangs else 60 for phase in ("build", "time")}
    outcome = fake_run(**limits)
    (row,) = outcome.rows
    assert (row.status, row.failure) == (Status.FAILED, kind)
    assert words in row.message
    assert "\n" not in row.message
    assert (row.latency_ms, row.verdict, row.n_samples) == (None, None, None)
    assert row.detail.commands
    assert (tmp_path / "set" / row.log).read_text().startswith("&&&& RUNNING")
    assert outcome.count(Status.FAILED) == 1


def test_a_failing_case_never_stops_the_rest(fake_run: Run, script: Script) -> None:
    script(cases={"resnet34": {"build": "sigkill"}, "fast_scnn": {"time": "truncated"}})
    outcome = fake_run(models=["resnet18", "resnet34", "fast_scnn", "resnet50"])
    assert len(outcome.rows) == outcome.total
    ended = {row.model: row.failure for row in outcome.rows}
    assert ended == {
        "resnet18": None,
        "resnet50": None,
        "resnet34": Failure.CRASH,
        "fast_scnn": Failure.BAD_OUTPUT,
    }


def test_a_failed_build_leaves_no_engine_behind(
    fake_run: Run, script: Script, tmp_path: Path
) -> None:
    script(all={"build": "empty"})
    fake_run()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    script()
    (row,) = fake_run().rows
    assert row.status is Status.OK


def test_what_was_known_before_the_failure_is_kept(fake_run: Run, script: Script) -> None:
    script(all={"time": "oom"})
    (row,) = fake_run().rows
    assert (row.build_s, row.engine_layers, row.family) == (0.25, 3, "ResNet")


def test_a_row_that_failed_twice_says_so_once(fake_run: Run, script: Script) -> None:
    script(all={"time": "segfault"})
    fake_run()
    (row,) = fake_run().rows
    assert row.failure is Failure.CRASH


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), Failure.OOM_BUILD),
        (OSError(28, "No space left on device"), Failure.BAD_OUTPUT),
        (OSError(30, "Read-only file system"), Failure.BAD_OUTPUT),
        (ValueError("odd"), Failure.CRASH),
        (InputError("models", "net.onnx takes uint8 images"), Failure.UNSUPPORTED),
        (InputError("models", "resnet18: can't allocate memory: 7 GB"), Failure.OOM_BUILD),
        (InputError("models", "graph: No space left on device"), Failure.BAD_OUTPUT),
    ],
)
def test_an_exception_has_a_class(error: Exception, kind: Failure) -> None:
    fault = record.fault_of(error)
    assert fault.failure is kind
    assert fault.message


CPU = Program(Engine.ONNXRUNTIME_CPU, (sys.executable,), "1.20.0", "cpu")


def test_a_failed_row_keeps_the_first_line_of_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier orders' tracebacks and the lines of context after the message are not the cause."""
    code = (
        "import sys; from multiprocessing.connection import Connection\n"
        "line = Connection(int(sys.argv[1])); line.recv()\n"
        "print('Traceback (most recent call last):\\n  File\\nKeyError: of another', flush=True)\n"
        "line.send({}); line.recv()\n"
        "raise RuntimeError('bad node conv1\\n==> Context: advice\\nmore advice')\n"
    )
    made, case = exporter(tmp_path, code, monkeypatch, limit_s=60)
    made.graph(case, GraphForm.FP32)
    with pytest.raises(record.CaseError) as raised:
        made.graph(case, GraphForm.FP32)
    assert raised.value.fault.message.endswith(": RuntimeError: bad node conv1")
    made.close()


def test_an_exporter_that_is_killed_is_not_blamed_on_an_earlier_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import os, sys; from multiprocessing.connection import Connection\n"
        "line = Connection(int(sys.argv[1])); line.recv()\n"
        "print('Traceback (most recent call last):\\n  File\\nKeyError: of another', flush=True)\n"
        "line.send({}); line.recv()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    made, case = exporter(tmp_path, code, monkeypatch, limit_s=60)
    made.graph(case, GraphForm.FP32)
    with pytest.raises(record.CaseError, match="SIGKILL: it said nothing"):
        made.graph(case, GraphForm.FP32)
    made.close()


TAKE = (
    "import sys; from multiprocessing.connection import Connection\n"
    "order = Connection(int(sys.argv[1])).recv()\n"
)
"""Takes the order from the pipe before anything else happens."""


def exporter(tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch, limit_s: float) -> Any:
    """An exporter whose process runs ``code`` instead, and the case it is asked for."""
    stub = tmp_path / "stub.py"
    stub.write_text(code)
    given = config.read_parameters({"models": ["resnet18"]})
    (case,) = matrix.cases(given, CPU)
    made = Exporter(given, tmp_path / "log", limit_s)
    monkeypatch.setattr("benchlib.measure.exporter.MODULE", "stub")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return made, case


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("import os; os.kill(os.getpid(), 9)", Failure.OOM_BUILD, "SIGKILL"),
        ("import os; os.abort()", Failure.CRASH, "SIGABRT"),
        ("raise RuntimeError('no such shape')", Failure.CRASH, "no such shape"),
        ("raise MemoryError", Failure.OOM_BUILD, "MemoryError"),
        (f"{TAKE}raise RuntimeError('taken and lost')", Failure.CRASH, "taken and lost"),
        ("import time; time.sleep(60)", Failure.TIMEOUT, "time_limit_build_s"),
    ],
)
def test_an_exporter_that_dies_is_a_fault_and_the_next_case_gets_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, kind: Failure, words: str
) -> None:
    made, case = exporter(tmp_path, code, monkeypatch, 1 if kind is Failure.TIMEOUT else 60)
    for _ in range(2):
        with pytest.raises(record.CaseError) as raised:
            made.graph(case, GraphForm.FP32)
        assert raised.value.fault.failure is kind
        assert words in raised.value.fault.message
    made.close()
