"""The files that set a machine up say the same things."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What the project was asked to bring; on conda-forge TensorRT's trtexec is tensorrt-tools.
ASKED_FOR = ("jupyterlab", "papermill", "torch", "torchvision", "onnx", "pandas", "seaborn")
CONDA_SPEC = re.compile(r"[a-z0-9_.-]+(?:(?:[<>]=?|==?|!=)[0-9][0-9a-z.*]*,?)*")


@pytest.fixture(scope="module")
def project(root: Path) -> dict:
    tomllib = pytest.importorskip("tomllib", reason="the standard library reads TOML from 3.11 on")
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def environment(root: Path) -> dict:
    return yaml.safe_load((root / "environment.yml").read_text())


@pytest.fixture(scope="module")
def locked(root: Path) -> dict[str, list[Requirement]]:
    lines = (root / "requirements.lock").read_text().splitlines()
    found: dict[str, list[Requirement]] = {}
    for line in lines:
        if line and not line.startswith("#"):
            one = Requirement(line)
            found.setdefault(canonicalize_name(one.name), []).append(one)
    return found


def _pip(environment: dict) -> list[str]:
    return environment["dependencies"][-1]["pip"]


def test_every_dependency_is_locked_to_a_version_it_allows(project, locked):
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for text in asked:
        wanted = Requirement(text)
        pins = locked[canonicalize_name(wanted.name)]
        for pin in pins:
            (specifier,) = pin.specifier
            assert specifier.operator == "==", pin
            assert wanted.specifier.contains(specifier.version), (wanted, pin)


def test_lock_names_no_address(root):
    assert "://" not in (root / "requirements.lock").read_text()


def test_environment_brings_everything_asked_for(environment):
    conda = [one for one in environment["dependencies"] if isinstance(one, str)]
    names = {re.split(r"[<>=! ]", one)[0] for one in (*conda, *_pip(environment))}
    assert set(ASKED_FOR) <= names
    assert "tensorrt" in names


def test_environment_has_one_channel_and_readable_specs(environment):
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert "prefix" not in environment
    conda = [one for one in environment["dependencies"] if isinstance(one, str)]
    for spec in conda:
        assert CONDA_SPEC.fullmatch(spec), spec
    assert isinstance(environment["dependencies"][-1], dict), "pip: must stand last"


def test_environment_agrees_with_pyproject(environment, project):
    wanted = {canonicalize_name(one.name): one for one in map(Requirement, project["dependencies"])}
    conda = [one for one in environment["dependencies"] if isinstance(one, str)]
    for text in (*conda, *_pip(environment)):
        if text.startswith("-e"):
            continue
        name = canonicalize_name(re.split(r"[<>=! ]", text)[0])
        if name in wanted and "=" in text:
            assert text[len(name) :] == str(wanted[name].specifier) or {
                part.strip() for part in text[len(name) :].split(",")
            } == {str(part) for part in wanted[name].specifier}, text


def test_both_tensorrt_packages_are_of_one_release(environment):
    texts = [one for one in environment["dependencies"] if isinstance(one, str)]
    releases = {
        re.split(r"=+", one)[1]
        for one in (*texts, *_pip(environment))
        if one.startswith("tensorrt")
    }
    assert len(releases) == 1


def test_make_refuses_an_old_python(root, tmp_path):
    fake = tmp_path / "python3.8"
    fake.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo Python 3.8.1; exit 0; }\nexit 1\n')
    fake.chmod(0o755)
    makefile = (root / "Makefile").read_text()
    (tmp_path / "Makefile").write_text(makefile)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text((root / name).read_text())
    done = subprocess.run(
        ["make", "setup", f"PYTHON={fake}", "CONDA_PREFIX="],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Python 3.8.1 is not one of 3.10 to 3.13" in done.stdout
    assert not (tmp_path / ".venv").exists()


def test_make_uses_an_active_conda_environment_as_it_is(root):
    done = subprocess.run(
        ["make", "-n", "test", "CONDA_PREFIX=/opt/conda/envs/b", "CONDA_DEFAULT_ENV=b"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "/opt/conda/envs/b/bin/python -m pytest" in done.stdout
    assert "venv" not in done.stdout


def test_a_folder_and_a_preset_with_blanks_are_one_word_each(root):
    conda = ["CONDA_PREFIX=/opt/conda/envs/b", "CONDA_DEFAULT_ENV=b"]
    given = ["OUT=my results/a #1", "PRESET=my own.yaml"]
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "report", "pdf", *conda, *given],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    argvs = [shlex.split(line) for line in done.stdout.splitlines()]
    assert [argv[-4:] for argv in argvs if argv[-4:-3] == ["--preset"]] == [
        ["--preset", "my own.yaml", "--out", "my results/a #1"]
    ]
    assert argvs[-1][-2:] == ["my results/a #1", "--pdf"]
