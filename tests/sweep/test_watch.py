"""A run on a scripted card: what NVML told reaches the row, and the clock is let go."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchlib.case import Verdict
from benchlib.sweep.outcome import Outcome

Script = Callable[..., None]
Run = Callable[..., Outcome]
Card = Callable[..., Path]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Card:
    """Script the card for this process and its children; returns the file of its changes."""
    here = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", here)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def write(**script: Any) -> Path:
        calls = tmp_path / "calls"
        monkeypatch.setenv("SCRIPTED_NVML", json.dumps({"calls": str(calls), **script}))
        return calls

    return write


def watched(fake_run: Run, **values: Any) -> Any:
    (row,) = fake_run(nvml_module="scripted_nvml", **values).rows
    return row


def test_clock_power_and_temperature_reach_the_row(
    fake_run: Run, script: Script, card: Card, tmp_path: Path
) -> None:
    script(all={"sleep_s": 0.6})
    card(clocks=[1500], bits=[0], memory=[500], pids=[[]])
    row = watched(fake_run)
    assert row.device == "Scripted Card"
    assert row.sm_clock_mhz == 1500
    assert row.mem_clock_mhz == 2619
    assert row.power_w > 0
    assert row.temperature_c > 0
    assert row.throttle == "none"
    assert row.verdict is Verdict.VALID
    assert row.detail["memory_freed"] is True
    assert row.detail["telemetry"][0]["rate_hz"] >= 10
    assert any("telemetry" in name for name in row.detail["samples"])
    environment = json.loads((tmp_path / "set" / "environment.json").read_text())
    assert environment["gpu"]["name"] == "Scripted Card"


def test_throttling_makes_the_row_suspect(fake_run: Run, script: Script, card: Card) -> None:
    script(all={"sleep_s": 0.6})
    card(clocks=[1500], bits=[0x4], memory=[500], pids=[[]])
    row = watched(fake_run, retries=0)
    assert row.throttle == "power_cap"
    assert row.verdict is Verdict.SUSPECT
    assert "throttled" in row.reasons


def test_without_nvml_the_columns_are_empty_not_zero(fake_run: Run, card: Card) -> None:
    card(absent=True)
    row = watched(fake_run)
    assert row.device == "cuda:0"
    for name in ("sm_clock_mhz", "mem_clock_mhz", "power_w", "energy_mj", "temperature_c"):
        assert getattr(row, name) is None, name
    assert row.throttle is None
    assert row.detail["memory_freed"] is None


def test_the_clock_is_locked_only_when_asked_and_let_go(fake_run: Run, card: Card) -> None:
    calls = card(clocks=[1200], bits=[0], memory=[500], pids=[[]])
    row = watched(fake_run)
    assert not calls.exists()
    assert not row.detail["clock_lock"]["locked"]
    row = watched(fake_run, lock_clocks=True)
    assert row.detail["clock_lock"]["locked"]
    lines = calls.read_text().split("\n")
    assert len([line for line in lines if line]) == 2


def test_the_clock_is_let_go_after_ctrl_c(
    fake_run: Run, script: Script, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = card(clocks=[1200], bits=[0], memory=[500], pids=[[]])
    monkeypatch.setattr(
        "benchlib.sweep.store.Store.save_row",
        lambda *_: os.kill(os.getpid(), 15),
    )
    with pytest.raises(KeyboardInterrupt):
        watched(fake_run, lock_clocks=True)
    assert len(calls.read_text().splitlines()) == 2
