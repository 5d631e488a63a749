"""Kept engines: found again, and not for ever."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchlib.case import Status
from benchlib.errors import InputError
from benchlib.measure import engine_cache, fleet
from benchlib.measure.engine_cache import LIMIT_VARIABLE, SPARED_S, BuildFacts, EngineCache
from benchlib.measure.runner import Outcome

SIZE = 10_000


def build(plan: Path, layers: Path) -> BuildFacts:
    plan.write_bytes(b"ftrt".ljust(SIZE, b"\0"))
    return BuildFacts(1.0, 2.0, 0)


def keys(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def age(folder: Path, key: str, days: float) -> None:
    then = time.time() - days * 24 * 3600
    os.utime(folder / key / "facts.json", (then, then))


def test_the_engines_unused_longest_make_room(tmp_path: Path) -> None:
    def store() -> EngineCache:
        """That of another run, which holds none."""
        return EngineCache(tmp_path, limit=3.5 * SIZE)

    for key in ("a", "b", "c", "d"):
        store().obtain(key, "case", build)
    for days, key in enumerate(("c", "a", "b", "d"), start=3):
        age(tmp_path, key, days)
    # Use makes an old one young.
    assert store().obtain("d", "case", build).reused
    store().obtain("e", "case", build)
    assert keys(tmp_path) == {"a", "c", "d", "e"}
    assert not store().obtain("b", "case", build).reused


def test_an_engine_is_held_until_its_rounds_end_and_never_taken_for_another(
    tmp_path: Path,
) -> None:
    store = EngineCache(tmp_path, limit=0)
    first = store.obtain("a", "case", build)
    age(tmp_path, "a", 3)
    # Neither this run nor another one removes it, days after its build
    store.obtain("b", "case", build)
    EngineCache(tmp_path, limit=0).obtain("c", "case", build)
    store.check(first)
    (tmp_path / "a" / "engine.plan").write_bytes(b"ftrt".ljust(SIZE + 1, b"\0"))
    with pytest.raises(FileNotFoundError, match="gone from the cache or another"):
        store.check(first)
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="gone from the cache or another"):
        store.check(first)


@pytest.mark.parametrize("left", [b"", bytes(SIZE)])
def test_an_engine_that_was_damaged_is_built_again(
    fake_run: Callable[..., Outcome], tmp_path: Path, left: bytes
) -> None:
    fake_run(duration_s=0.5)
    (plan,) = (tmp_path / "cache" / "plans").glob("*/engine.plan")
    plan.write_bytes(left)
    (row,) = fake_run(duration_s=0.6).rows
    assert (row.status, row.detail.engines[0]["reused"]) == (Status.OK, False)


def test_an_engine_used_today_is_spared(tmp_path: Path) -> None:
    store = EngineCache(tmp_path, limit=0)
    for key in ("a", "b", "c"):
        store.obtain(key, "case", build)
    age(tmp_path, "a", 0.9 * SPARED_S / (24 * 3600))
    store.obtain("d", "case", build)
    assert keys(tmp_path) == {"a", "b", "c", "d"}


def test_the_limit_is_a_number_of_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LIMIT_VARIABLE, raising=False)
    assert engine_cache.limit_bytes() == 20e9
    monkeypatch.setenv(LIMIT_VARIABLE, "1.5")
    assert engine_cache.limit_bytes() == 1.5e9
    for text in ("much", "-1", "nan"):
        monkeypatch.setenv(LIMIT_VARIABLE, text)
        with pytest.raises(InputError, match=LIMIT_VARIABLE):
            engine_cache.limit_bytes()


def test_sent_graphs_keep_to_the_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCHLIB_CACHE", str(tmp_path))
    monkeypatch.setenv(LIMIT_VARIABLE, "0")

    def kept(name: str) -> Path:
        graph = SimpleNamespace(sha256=name, path=Path("there/graph.onnx"))
        return fleet._kept({"graph.onnx": name.encode()}, graph)

    for name in ("old", "young", "held"):
        fleet._sent.cache_clear()  # By a worker of its own
        assert kept(name).read_bytes() == name.encode()
    for name in ("old", "held"):
        then = time.time() - 2 * SPARED_S
        os.utime(tmp_path / "sent" / name / "used", (then, then))
    assert kept("new").is_file()
    assert keys(tmp_path / "sent") == {"young", "held", "new"}
    fleet._sent.cache_clear()


def test_a_run_keeps_to_the_limit(
    fake_run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_run()
    (first,) = keys(tmp_path / "cache" / "plans")
    age(tmp_path / "cache" / "plans", first, 2)
    monkeypatch.setenv(LIMIT_VARIABLE, "0")
    (row,) = fake_run(builder_optimization_level=1).rows
    assert keys(tmp_path / "cache" / "plans") == {row.detail.engines[0]["key"]}
