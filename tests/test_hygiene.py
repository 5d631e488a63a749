"""What must not stand in the project, and what its packages must not import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOMS = ("models", "graphs", "engines", "sweep", "analysis", "report")
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
    below = set(ROOMS[: ROOMS.index(room) + 1])
    for path in (root / "benchlib" / room).rglob("*.py"):
        for imported in _imports(path):
            parts = imported.split(".")
            if parts[0] == "benchlib" and len(parts) > 1 and parts[1] in ROOMS:
                assert parts[1] in below, f"{path.relative_to(root)} imports {imported}"


@pytest.mark.parametrize("room", ["models", "analysis", "report"])
def test_only_engines_graphs_and_sweep_start_processes(root, room):
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
        "import benchlib.engines.tensorrt_python\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names
