"""The cache: one making per content, nothing half-written, nothing stale."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchlib.errors import InputError
from benchlib.export import cache
from benchlib.models import onnx_file


@pytest.fixture
def made() -> list[Path]:
    return []


@pytest.fixture
def writer(made: list[Path]) -> Callable[[Path], dict[str, Any]]:
    def write(path: Path) -> dict[str, Any]:
        path.write_bytes(b"graph")
        made.append(path)
        return {"opset": 17}

    return write


def test_second_call_finds_what_the_first_made(
    tmp_path: Path, made: list[Path], writer: Callable[[Path], dict[str, Any]]
) -> None:
    store = cache.Cache(tmp_path)
    first = store.obtain("net", {"seed": 0}, writer)
    assert store.obtain("net", {"seed": 0}, writer) == first
    assert len(made) == 1
    assert first.facts == {"opset": 17, "sha256": onnx_file.sha256(first.path)}
    assert store.obtain("net", {"seed": 1}, writer).path != first.path


def test_changed_code_or_library_makes_it_anew(
    tmp_path: Path,
    made: list[Path],
    writer: Callable[[Path], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = cache.Cache(tmp_path)
    store.obtain("net", {}, writer)
    monkeypatch.setattr(cache, "revision", lambda: {"code": "other"})
    store.obtain("net", {}, writer)
    assert len(made) == 2


@pytest.mark.parametrize("harm", ["graph", "manifest", "no manifest"])
def test_damaged_files_are_made_again(
    tmp_path: Path, made: list[Path], writer: Callable[[Path], dict[str, Any]], harm: str
) -> None:
    store = cache.Cache(tmp_path)
    path = store.obtain("net", {}, writer).path
    manifest = path.with_suffix(".json")
    if harm == "graph":
        path.write_bytes(b"gra")
    elif harm == "manifest":
        manifest.write_text(manifest.read_text()[:20])
    else:
        manifest.unlink()
    assert store.obtain("net", {}, writer).path.read_bytes() == b"graph"
    assert len(made) == 2


def test_failure_leaves_nothing_behind(
    tmp_path: Path, writer: Callable[[Path], dict[str, Any]]
) -> None:
    def fail(path: Path) -> dict[str, Any]:
        path.write_bytes(b"half")
        raise RuntimeError("exporter")

    store = cache.Cache(tmp_path)
    with pytest.raises(RuntimeError, match="exporter"):
        store.obtain("net", {}, fail)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
    assert store.obtain("net", {}, writer).path.exists()


def test_what_a_killed_process_left_of_a_graph_goes_when_it_is_made(
    tmp_path: Path, writer: Callable[[Path], dict[str, Any]]
) -> None:
    def killed(path: Path) -> dict[str, Any]:
        path.write_bytes(b"half of a")
        os._exit(9)

    child = os.fork()
    if not child:
        cache.Cache(tmp_path).obtain("net", {}, killed)
    os.waitpid(child, 0)
    assert [one for one in tmp_path.iterdir() if one.is_dir()]
    cache.Cache(tmp_path).obtain("net", {}, writer)
    assert not [one for one in tmp_path.iterdir() if one.is_dir()]


def test_callers_at_the_same_time_make_it_once(
    tmp_path: Path, made: list[Path], writer: Callable[[Path], dict[str, Any]]
) -> None:
    def write(path: Path) -> dict[str, Any]:
        time.sleep(0.2)  # long enough for all the others to come
        return writer(path)

    store = cache.Cache(tmp_path)
    threads = [threading.Thread(target=store.obtain, args=("net", {}, write)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    assert cache.root() == tmp_path
    assert cache.root("elsewhere") == Path("elsewhere")


def test_folder_that_cannot_be_made_is_refused(
    tmp_path: Path, writer: Callable[[Path], dict[str, Any]]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="BENCHLIB_CACHE: the cache folder"):
        cache.Cache(tmp_path / "file" / "cache").obtain("net", {}, writer)
