"""The source notebooks: clean, valid, and in step with the package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
import write_generated
from nbconvert import ScriptExporter

from benchlib import notebook
from benchlib.config import Parameters
from benchlib.errors import InputError

NOTEBOOKS = ("lineup", "benchmark", "report", "explore")
LONGEST_CELL = 7  # lines, but for the parameters cell of benchmark.ipynb, which is generated
LONGEST_FUNCTION = 5  # lines; logic belongs to the package, where it is tested


def after(*cells: str, brought: dict | None = None) -> dict:
    """What a kernel's globals() hold after ``cells`` ran in a namespace with ``brought``."""
    namespace: dict = {**(brought or {}), "In": ["", *cells]}
    for cell in cells:
        if not cell.startswith("!"):
            exec(cell, namespace)
    return namespace


@pytest.fixture(params=NOTEBOOKS)
def path(request: pytest.FixtureRequest, root: Path) -> Path:
    return root / "notebooks" / f"{request.param}.ipynb"


@pytest.fixture
def source(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def test_is_valid_and_without_outputs(source):
    nbformat.validate(source)
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    assert code
    assert not any(cell.outputs or cell.execution_count for cell in code)


def test_declares_parameters_once_and_names_the_usual_kernel(source):
    tagged = [cell for cell in source.cells if "parameters" in cell.metadata.get("tags", ())]
    assert len(tagged) == 1
    assert source.metadata.kernelspec["name"] == "python3"
    assert source.metadata.kernelspec["language"] == "python"


def test_holds_no_logic(source):
    for cell in source.cells:
        if cell.cell_type == "code" and cell.source != write_generated.cell():
            lines = cell.source.splitlines()
            assert len(lines) <= LONGEST_CELL
            for start in (i for i, line in enumerate(lines) if line.startswith("def ")):
                body = [line for line in lines[start + 1 :] if line.startswith(" ")]
                assert len(body) <= LONGEST_FUNCTION


def test_uses_nothing_that_an_offline_page_cannot_show(source):
    for cell in source.cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"\$[^$\n]+\$", cell.source), "TeX needs MathJax"
            assert "```mermaid" not in cell.source
            assert "http://" not in cell.source.replace("http://localhost", "")


def test_becomes_a_script_that_python_takes(source):
    script, about = ScriptExporter().from_notebook_node(source)
    assert about["output_extension"] == ".py"
    compile(script, "script", "exec")


def test_every_parameter_has_a_type_and_a_help_text(path):
    for name, parameter in papermill.inspect_notebook(str(path)).items():
        assert parameter["inferred_type_name"] not in ("", "None"), name
        assert parameter["help"], name


def test_benchmark_declares_exactly_the_parameters_of_the_package(root):
    source = nbformat.read(root / "notebooks" / "benchmark.ipynb", as_version=4)
    (cell,) = (one for one in source.cells if "parameters" in one.metadata.get("tags", ()))
    assert cell.source == write_generated.cell(), "run: make generated"


def test_the_declared_defaults_are_the_packages(root):
    assert notebook.read(after(write_generated.cell())) == Parameters()


@pytest.mark.parametrize("declared", [write_generated.cell(), ""])
def test_a_misspelt_injected_parameter_is_refused_with_the_nearest(declared):
    with pytest.raises(InputError, match=r"modles.*did you mean models"):
        notebook.read(after(declared, '# Parameters\nmodles = ["resnet18"]\n'))


def test_the_injected_value_goes_over_the_declared_one():
    preset = "# Parameters\nseed = 3\nprecisions = ['fp32', 'int8']\n"
    assert notebook.read(after(write_generated.cell(), preset)).seed == 3


def test_what_a_script_of_the_notebook_sets_is_read():
    namespace = after(write_generated.cell().replace("seed: int = 0", "seed: int = 3"))
    del namespace["In"]  # nbconvert's script runs without a kernel
    assert notebook.read(namespace) == Parameters(seed=3)


@pytest.mark.parametrize("name", ["lineup", "report", "explore"])
def test_a_misspelt_parameter_is_refused_by_the_notebooks_that_show(root, name, monkeypatch):
    """Else papermill's warning is all, and the notebook shows the set that it declares."""
    monkeypatch.chdir(root)
    source = nbformat.read(root / "notebooks" / f"{name}.ipynb", as_version=4)
    declared, first = [cell.source for cell in source.cells if cell.cell_type == "code"][:2]
    right = next(iter(papermill.inspect_notebook(str(root / "notebooks" / f"{name}.ipynb"))))
    assert "notebook.begin(globals())" in first
    notebook.begin(after(declared, f"# Parameters\n{right} = ['x']\n"))
    with pytest.raises(InputError, match=f"{right}x.*did you mean {right}"):
        notebook.begin(after(declared, f"# Parameters\n{right}x = ['x']\n"))


@pytest.mark.parametrize("start", [".", "notebooks"])
@pytest.mark.parametrize("name", ["report", "explore"])
def test_the_declared_sets_are_found_from_either_folder(root, name, start, monkeypatch):
    """papermill's kernel starts where papermill was called, JupyterLab's beside the notebook."""
    monkeypatch.chdir(root / start)
    path = root / "notebooks" / f"{name}.ipynb"
    (cell,) = (
        one.source
        for one in nbformat.read(path, as_version=4).cells
        if "parameters" in one.metadata.get("tags", ())
    )
    namespace = after(cell)
    notebook.begin(namespace)
    assert [Path(one).is_dir() for one in namespace["results"]] == [True]


def test_what_else_stands_in_the_namespace_is_no_parameter():
    brought = {"Out": {}, "exit": "x", "Path": Path, "DATA_DIR": "/data", "N": 3, "modles": []}
    own = "folder = 'x'\nimport json\nif True:\n    deep = 1\n"
    read = notebook.read(after(write_generated.cell(), own, "!ls", brought=brought))
    assert read == Parameters()


def test_a_value_that_is_not_plain_is_refused_and_not_passed_over():
    changed = "from pathlib import Path\nseed = Path('x')\n"
    with pytest.raises(InputError, match="seed"):
        notebook.read(after(write_generated.cell(), changed))


def test_help_notebook_reads_well(root):
    done = subprocess.run(
        [sys.executable, "-m", "papermill", "--help-notebook", "notebooks/benchmark.ipynb"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "precision: str" in done.stdout
    assert "Unknown type" not in done.stdout
    assert "input sizes in pixels" in done.stdout


def test_explore_takes_one_folder_as_a_text(root, tmp_path):
    """``papermill -p results DIR`` gives a text where a list is declared."""
    papermill.execute_notebook(
        root / "notebooks" / "explore.ipynb",
        tmp_path / "explore.ipynb",
        {"results": str(root / "results" / "h100-trtexec-8.6")},
        kernel_name="python3",
        progress_bar=False,
    )
    source = nbformat.read(tmp_path / "explore.ipynb", as_version=4)
    (found,) = (cell for cell in source.cells if "benchlib.findings" in cell.source)
    assert found.outputs[0].data["text/html"].count("<tr") > 10
