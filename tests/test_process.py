"""One program as a group of its own: limit, log, and nothing left behind."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from benchlib import process


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has collected yet counts as ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_status_and_both_streams_in_order(tmp_path: Path) -> None:
    code = "import os; os.write(1,b'a'); os.write(2,b'b'); os.write(1,b'c'); raise SystemExit(3)"
    ended = process.run(python(code), log=tmp_path / "log", time_limit_s=30)
    assert (ended.code, ended.timed_out) == (3, False)
    assert (tmp_path / "log").read_text() == "abc"


def test_a_signal_is_told_apart_from_a_status(tmp_path: Path) -> None:
    code = "import os; os.kill(os.getpid(), 9)"
    ended = process.run(python(code), log=tmp_path / "log", time_limit_s=30)
    assert ended.code == -9
    assert ended.words == "killed by SIGKILL"


def test_the_limit_ends_the_whole_group_even_if_deaf(tmp_path: Path) -> None:
    code = (
        "import signal,subprocess,sys,time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "deaf='import signal,time;signal.signal(signal.SIGTERM,signal.SIG_IGN);time.sleep(60)'\n"
        "print(subprocess.Popen([sys.executable,'-c',deaf]).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    begun = time.monotonic()
    ended = process.run(python(code), log=tmp_path / "log", time_limit_s=1, grace_s=0.2)
    assert ended.timed_out
    assert time.monotonic() - begun < 10
    assert gone(int((tmp_path / "log").read_text()))


def test_a_child_that_outlives_the_program_is_ended(tmp_path: Path) -> None:
    code = (
        "import subprocess,sys\n"
        "child=subprocess.Popen([sys.executable,'-c','import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
    )
    ended = process.run(python(code), log=tmp_path / "log", time_limit_s=30)
    assert ended.code == 0
    assert gone(int((tmp_path / "log").read_text()))


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(process.ProgramMissingError, match=r"no-such-program.*No such file"):
        process.run(["no-such-program"], log=tmp_path / "log", time_limit_s=1)


def test_a_program_that_may_not_be_executed_is_missing_too(tmp_path: Path) -> None:
    path = tmp_path / "trtexec"
    path.write_text("#!/bin/sh\n")
    with pytest.raises(process.ProgramMissingError, match="Permission denied"):
        process.run([str(path)], log=tmp_path / "log", time_limit_s=1)


def test_environment_is_added_not_replaced(tmp_path: Path) -> None:
    code = "import os; print(os.environ['ONE'], 'PATH' in os.environ)"
    process.run(python(code), log=tmp_path / "log", time_limit_s=30, env={"ONE": "1"})
    assert (tmp_path / "log").read_text() == "1 True\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl(2) is Linux's")
def test_the_program_dies_with_the_runner(tmp_path: Path) -> None:
    code = (
        "from benchlib import process; from pathlib import Path; import sys\n"
        "code='import os,time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        "child=[sys.executable, '-c', code]\n"
        f"process.run(child, log=Path({str(tmp_path / 'log')!r}), time_limit_s=60)\n"
    )
    runner = os.posix_spawn(sys.executable, python(code), os.environ)
    deadline = time.monotonic() + 20
    while not (tmp_path / "log").exists() or not (tmp_path / "log").read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child = int((tmp_path / "log").read_text())
    os.kill(runner, 9)
    os.waitpid(runner, 0)
    while not gone(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_file_is_synced_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "row.json"
    path.write_bytes(b"before")
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda number: synced.append((os.fstat(number).st_size, path.read_bytes()))
    )
    process.write_whole(path, b"after it")
    assert synced == [(len(b"after it"), b"before")]
    assert path.read_bytes() == b"after it"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "row.json"
    path.write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        process.write_whole(path, b"after it")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_synced_file_by_file_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, final = tmp_path / ".draft", tmp_path / "engine"
    draft.mkdir()
    for name, content in (("engine.plan", b"plan"), ("facts.json", b"{}")):
        (draft / name).write_bytes(content)
    sizes = []
    monkeypatch.setattr(os, "fsync", lambda number: sizes.append(os.fstat(number).st_size))
    process.publish(draft, final)
    assert sorted(sizes) == [2, 4]
    assert sorted(file.name for file in final.iterdir()) == ["engine.plan", "facts.json"]


def test_what_would_make_a_row_untrue_is_not_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set in a profile for PyTorch's sake: a TF32 row would be FP32, and launches would wait."""
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    code = "import os; print([name for name in os.environ if 'TF32' in name or 'LAUNCH' in name])"
    process.run(python(code), log=tmp_path / "log", time_limit_s=30)
    assert (tmp_path / "log").read_text() == "[]\n"


def test_cards_are_numbered_as_nvml_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's own order puts the fastest of unlike cards first, and NVML watches the first on the
    bus: rows would name one card and hold the times of another."""
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    code = "import os; print(os.environ['CUDA_DEVICE_ORDER'])"
    process.run(python(code), log=tmp_path / "log", time_limit_s=30)
    assert (tmp_path / "log").read_text() == "PCI_BUS_ID\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can become another user")
@pytest.mark.parametrize("of_all_users", [True, False])
def test_a_lock_of_all_users_is_held_by_one_after_the_other(of_all_users: bool) -> None:
    """As that of a card, which lies in the folder for temporary files that users share."""
    with tempfile.TemporaryDirectory() as shared:
        Path(shared).chmod(0o1777)
        lock = partial(process.lock_held, Path(shared, "lock"), "TMPDIR", of_all_users=of_all_users)
        with lock():
            pass
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setuid(65534)
                with lock(wait_s=5):
                    status = 0
            except PermissionError:
                status = errno.EACCES
            finally:
                os._exit(status)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended == (0 if of_all_users else errno.EACCES)
