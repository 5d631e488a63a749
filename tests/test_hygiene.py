"""What must not stand in the project, and how its rooms may import each other."""

from __future__ import annotations

import ast
import collections
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

# From the bottom up: a room imports what stands before it, and the words below all rooms.
ROOMS = (
    *("models", "export", "trtexec", "gpu", "stats"),
    *("measure", "evaluate", "analysis", "report"),
)
WORDS = ("case", "config", "errors", "process")
MOST_IN_A_FOLDER = 16
"""Modules; more than that nobody overlooks."""

# Home folders and temporary folders of whoever wrote a file or measured a set.
MACHINE_PATH = re.compile(r"(?<![\w/.])/(?:home|root|Users|tmp|work)/[A-Za-z0-9_.]+")
TEXT = {".py", ".md", ".json", ".csv", ".yaml", ".yml", ".toml", ".ipynb", ".log", ".lock", ".svg"}


def _tracked(root: Path) -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout, so it is not known which files belong to the project")
    return [root / name for name in done.stdout.split("\0") if name]


def test_no_path_of_a_machine_stands_in_a_tracked_file(root):
    found = []
    for path in _tracked(root):
        if path.suffix in TEXT and path.is_file() and path != Path(__file__):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if MACHINE_PATH.search(line):
                    found.append(f"{path.relative_to(root)}:{number}: {line.strip()[:90]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(root, room):
    allowed = {*WORDS, *ROOMS[: ROOMS.index(room) + 1]}
    for module, imported in _edges(root):
        if module.split(".")[0] == room:
            assert imported.split(".")[0] in allowed, f"{module} imports {imported}"


@pytest.mark.parametrize("word", WORDS)
def test_the_words_below_all_rooms_import_no_room(root, word):
    for module, imported in _edges(root):
        if module == word:
            assert imported in WORDS, f"{module} imports {imported}"


def test_no_modules_import_each_other_in_a_circle(root):
    # Imports inside functions count too: they hide a circle and do not remove it.
    below = collections.defaultdict(set)
    for module, imported in _edges(root):
        below[module].add(imported)
    try:
        graphlib.TopologicalSorter(below).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_folder_is_too_full(root):
    folders = collections.Counter(
        path.parent for path in (root / "benchlib").rglob("*.py") if path.stem != "__init__"
    )
    assert {name for name, held in folders.items() if held > MOST_IN_A_FOLDER} == set()


@pytest.mark.parametrize("room", ["models", "stats", "analysis", "report"])
def test_rooms_that_start_no_process(root, room):
    for path in (root / "benchlib" / room).rglob("*.py"):
        # Printing the page needs a browser, which is a program of its own.
        if path.name in ("browser.py", "html.py", "pdf.py"):
            continue
        assert "subprocess" not in set(_imports(path)), path.relative_to(root)


def test_stand_ins_import_without_the_packages_of_the_notebooks(root):
    """On the GPU machine they run under an interpreter that has numpy and little more."""
    script = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'torch', 'pandas', 'pydantic', 'click', 'yaml', 'onnx',"
        " 'scipy', 'papermill', 'filelock', 'packaging', 'onnxruntime'}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import benchlib.trtexec.standin.tensorrt_python\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _edges(root: Path) -> list[tuple[str, str]]:
    """(module, module it imports), named from below ``benchlib``."""
    modules = {
        ".".join(path.relative_to(root / "benchlib").with_suffix("").parts): path
        for path in (root / "benchlib").rglob("*.py")
        if path.stem != "__init__"
    }
    return [
        (module, name)
        for module, path in modules.items()
        for name in (one.removeprefix("benchlib.") for one in _imports(path))
        if name in modules and name != module
    ]


def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names
