"""Locking the clock against a scripted card: asked, permitted, and always let go."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchlib.gpu import clock_lock, nvml

SCRIPTED = "scripted_nvml"
HERE = Path(__file__).parents[1]


@pytest.fixture
def card(monkeypatch, tmp_path):
    """Returns a function that scripts the card and gives the file of its changes."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    calls = tmp_path / "calls"
    calls.touch()

    def script(**words: object) -> Path:
        monkeypatch.setenv("SCRIPTED_NVML", json.dumps({"calls": str(calls), **words}))
        return calls

    return script


def test_unasked_the_card_is_left_alone(card):
    calls = card()
    with clock_lock.held(False, module=SCRIPTED) as state:
        assert state == clock_lock.NOT_ASKED
    assert calls.read_text() == ""


def test_locked_and_let_go(card):
    calls = card()
    with clock_lock.held(True, SCRIPTED) as state:
        assert state == clock_lock.ClockLock(True, 1575, "locked at 1575 MHz")
        assert calls.read_text() == "lock 1575 1575\n"
    assert calls.read_text() == "lock 1575 1575\nreset\n"


def test_let_go_after_an_error(card):
    calls = card()
    with pytest.raises(KeyboardInterrupt), clock_lock.held(True, SCRIPTED):
        raise KeyboardInterrupt
    assert calls.read_text() == "lock 1575 1575\nreset\n"


@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGKILL])
def test_let_go_when_the_run_is_killed(card, blow):
    calls = card()
    code = (
        "import sys, time\n"
        "from benchlib.gpu import clock_lock\n"
        f"with clock_lock.held(True, {SCRIPTED!r}):\n"
        "    sys.stdout.write('held\\n'); sys.stdout.flush(); time.sleep(60)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "held\n"
    run.send_signal(blow)
    run.wait()
    run.stdout.close()
    deadline = time.monotonic() + 10
    while "reset" not in calls.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert calls.read_text() == "lock 1575 1575\nreset\n"


def test_the_guardian_heeds_no_request_and_when_killed_the_run_lets_go(card):
    calls = card()
    with clock_lock.held(True, SCRIPTED):
        lock_holders = [
            child
            for child in psutil.Process().children()
            if "benchlib.gpu.clock_lock" in child.cmdline()
        ]
        assert len(lock_holders) == 1
        lock_holders[0].terminate()
        with pytest.raises(psutil.TimeoutExpired):
            lock_holders[0].wait(0.3)
        assert calls.read_text() == "lock 1575 1575\n"
        lock_holders[0].kill()
    assert calls.read_text() == "lock 1575 1575\nreset\n"


def test_refused_is_said_and_nothing_is_undone(card):
    calls = card(refuse=True)
    with clock_lock.held(True, SCRIPTED) as state:
        assert not state.locked
        assert state.reason == "unlocked: 1575 MHz was refused (Insufficient Permissions)"
    assert calls.read_text() == ""


def test_no_gpu(card):
    card(absent=True)
    with clock_lock.held(True, module=SCRIPTED) as state:
        assert state == clock_lock.NO_GPU
    with clock_lock.held(True, module="no_such_module_of_nvml") as state:
        assert state == clock_lock.NO_GPU


def test_a_card_that_names_no_clock_stays_unlocked(card):
    calls = card(mute=["nvmlDeviceGetSupportedMemoryClocks"])
    with clock_lock.held(True, module=SCRIPTED) as state:
        assert not state.locked
        assert "names no clock" in state.reason
    assert calls.read_text() == ""


@pytest.mark.parametrize(
    ("script", "choice"),
    [
        ({"default_clock": 1410}, 1410),
        ({"default_clock": 1980}, 1575),
        ({"default_clock": 1411}, 1575),
        ({"mute": ["nvmlDeviceGetSupportedMemoryClocks"]}, None),
    ],
)
def test_the_choice_is_a_clock_that_can_be_held(card, script, choice):
    card(**script)
    with nvml.opened(SCRIPTED) as device:
        assert clock_lock.sustainable_mhz(device) == choice
