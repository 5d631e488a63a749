"""Graphs on disk, each made once and found again by what it was made from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnx
import platformdirs

from benchlib import process
from benchlib.errors import FULL, InputError, MachineError
from benchlib.models.onnx_file import parts, sha256

VARIABLE = "BENCHLIB_CACHE"
"""Environment variable that moves the cache."""

_PACKAGE = Path(__file__).resolve().parent.parent
_DATA = ".data"  # what stands behind the name of a graph in that of its external data
_LARGEST_GRAPH = 2**31 - 2**26
"""Bytes of weights that one file takes: protobuf's limit of 2 GiB, less 64 MiB for the nodes."""

_LIBRARIES = ("torch", "torchvision", "timm", "onnx", "onnxruntime")


def root(folder: str | os.PathLike[str] | None = None) -> Path:
    """The cache folder: ``folder``, else ``BENCHLIB_CACHE``, else the user's cache."""
    chosen = folder or os.environ.get(VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("benchlib"))


def data_of(path: Path) -> Path:
    """Where the weights of the graph at ``path`` stand when they are too large for it."""
    return path.with_name(path.name + _DATA)


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write ``model`` to ``path``, its weights to :func:`data_of` it when they are over 2 GB.

    Such weights are no longer in ``model`` then: onnx leaves it naming the file.
    """
    beside = is_large(model)
    # onnx adds to a file that is there already.
    data_of(path).unlink(missing_ok=True)
    onnx.save(model, str(path), save_as_external_data=beside, location=data_of(path).name)
    if beside:  # onnx lets nobody but the owner read it
        data_of(path).chmod(path.stat().st_mode)


def is_large(model: onnx.ModelProto) -> bool:
    """Whether the weights of ``model`` are too large for one file."""
    weights = sum(len(tensor.raw_data) for tensor in parts(model, onnx.TensorProto))
    return weights > _LARGEST_GRAPH


def copy(graph: Path, target: Path) -> None:
    """Copy a cached graph to ``target``, with the data that stand beside it."""
    data = data_of(graph)
    if not data.exists():
        shutil.copyfile(graph, target)
        return
    model = onnx.load(str(graph), load_external_data=False)
    for tensor in parts(model, onnx.TensorProto):
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = data_of(target).name
    shutil.copyfile(data, data_of(target))
    onnx.save(model, str(target))


def content(path: Path) -> str:
    """Digest of a cached graph: its SHA-256, or one of it and its data where they stand beside."""
    own, data = sha256(path), data_of(path)
    if not data.exists():
        return own
    return hashlib.sha256(f"{own}{sha256(data)}".encode()).hexdigest()


@lru_cache(maxsize=1)
def revision() -> dict[str, str]:
    """What the graphs depend on besides their own parameters.

    The libraries' versions, and a digest of the code that builds networks and graphs, so that a
    change of either never takes a stale file.
    """
    code = hashlib.sha256()
    for room in ("models", "export"):
        for source in (_PACKAGE / "case.py", *sorted((_PACKAGE / room).rglob("*.py"))):
            code.update(source.name.encode() + source.read_bytes())
    return {"code": code.hexdigest(), **versions(_LIBRARIES)}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those of ``packages`` that are installed."""
    found = {}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@dataclass(frozen=True, slots=True)
class Entry:
    """One cached file and the facts that were stored with it."""

    path: Path
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cache:
    """Files named by a digest of their parameters; a large graph's data stand beside it.

    The JSON beside a file is written last and holds the file's own digest: a file without it,
    or one that no longer fits it, is made again. Both appear by rename, and a lock per file
    lets several processes ask for the same graph at once.
    """

    folder: Path

    def key(self, parameters: Mapping[str, Any]) -> str:
        """Digest of ``parameters`` (JSON values) and of :func:`revision`."""
        text = json.dumps([revision(), parameters], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def obtain(
        self, name: str, parameters: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any]]
    ) -> Entry:
        """Return the file for ``parameters``, calling ``make(path)`` when it is not there.

        ``name`` only makes the file name readable. ``make`` writes the file to the path it is
        given, its data perhaps to :func:`data_of` that, and returns the facts to keep beside it.
        Raises :class:`InputError` when the cache cannot be written or has no locks, and
        :class:`MachineError` when there is no room in it.
        """
        stem = f"{name}-{self.key(parameters)}"
        path = self.folder / f"{stem}.onnx"
        manifest = self.folder / f"{stem}.json"
        self._prepare()
        try:
            with process.lock_held(self.folder / f"{stem}.lock", VARIABLE):
                facts = self._stored(path, manifest)
                if facts is None:
                    facts = self._make(path, manifest, parameters, make)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise MachineError(
                f"there is no room left in the cache folder {self.folder} ({error.strerror}); free "
                f"some, or set {VARIABLE} to another folder"
            ) from error
        return Entry(path, facts)

    def check(self) -> None:
        """Raise :class:`InputError` when the cache cannot be written or has no locks."""
        self._prepare()
        with process.lock_held(self.folder / ".check.lock", VARIABLE):
            pass

    def _prepare(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._refusal(error) from error
        if not os.access(self.folder, os.W_OK):
            raise self._refusal("permission denied")

    def _refusal(self, reason: object) -> InputError:
        return InputError(
            VARIABLE,
            f"the cache folder {self.folder} cannot be written ({reason}); "
            f"set {VARIABLE} to a folder that can",
        )

    @staticmethod
    def _stored(path: Path, manifest: Path) -> dict[str, Any] | None:
        try:
            facts = json.loads(manifest.read_text(encoding="utf-8"))["facts"]
            return facts if facts["sha256"] == content(path) else None
        except (OSError, ValueError, KeyError):
            return None

    @staticmethod
    def _make(
        path: Path,
        manifest: Path,
        parameters: Mapping[str, Any],
        make: Callable[[Path], Mapping[str, Any]],
    ) -> dict[str, Any]:
        # A folder, so that the data that a graph names already have the name they will keep.
        # Under the file's lock: what is there is of a process that was killed.
        folder = path.with_name(f".{path.stem}")
        shutil.rmtree(folder, ignore_errors=True)
        draft, note = folder / path.name, folder / manifest.name
        try:
            folder.mkdir()
            facts = {**make(draft), "sha256": content(draft)}
            document = {"parameters": parameters, "revision": revision(), "facts": facts}
            note.write_text(json.dumps(document, indent=1, sort_keys=True), encoding="utf-8")
            manifest.unlink(missing_ok=True)
            data_of(path).unlink(missing_ok=True)
            if data_of(draft).exists():
                process.publish(data_of(draft), data_of(path))
            process.publish(draft, path)
            process.publish(note, manifest)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return json.loads(json.dumps(facts))
