"""Fixtures for every room's tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_runs import fake, fake_run, installed, script  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: begun last, one of them would keep one worker while others wait."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep graphs and engines out of the user's cache, and share them among the tests.

    Set for child processes too; with pytest-xdist all workers share the parent of their folders.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    os.environ["BENCHLIB_CACHE"] = str(shared / "benchlib-cache")


@pytest.fixture
def hangup_is_heard() -> Iterator[None]:
    """SIGHUP as it is without nohup, under which the tests may run: children inherit it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the checkout."""
    return ROOT
