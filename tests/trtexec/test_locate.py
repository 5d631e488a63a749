"""Which program is found, on made-up machines: real processes, no GPU, no TensorRT."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchlib.case import Engine
from benchlib.errors import InputError
from benchlib.trtexec import locate, probe
from benchlib.trtexec.locate import MissingProgramError

H200 = "NVIDIA H200"
Install = Callable[..., Path]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with nothing: no trtexec anywhere, no setting, an empty PATH but for the shell."""
    for name in (
        "TRTEXEC",
        locate.INTERPRETER_VARIABLE,
        "TENSORRT_HOME",
        "TENSORRT_ROOT",
        "TRT_ROOT",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(locate, "USUAL_FOLDERS", (str(tmp_path / "usual"),))
    locate.examine_interpreter.cache_clear()


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Puts a program into a folder; it prints ``output`` whatever it is asked."""

    def put(output: str, name: str = "trtexec", folder: str = "bin") -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(output)}\n")
        path.chmod(0o755)
        return path

    return put


def banner(number: int) -> str:
    return f"&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] # trtexec --help\n=== Model Options"


def told(tensorrt: str | None = None, devices: int = 1, **more: object) -> str:
    """What the probe says of a Python on a machine with this many GPUs."""
    reason = None if devices else "no CUDA driver"
    return json.dumps(
        {
            "python": "3.10.9",
            "cuda_version": "13.0",
            "devices": [H200] * devices,
            "cuda_reason": reason,
            "tensorrt": tensorrt,
            "tensorrt_reason": None if tensorrt else "no such wheel",
            "tensorrt_rtx": None,
            "cuda_bindings": "12.9.0",
            "numpy": "1.26.4",
            **more,
        }
    )


@pytest.fixture
def python(install: Install, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes another interpreter the one for TensorRT."""

    def put(*arguments: object, **more: object) -> Path:
        path = install(told(*arguments, **more), "python310")
        monkeypatch.setenv(locate.INTERPRETER_VARIABLE, "python310")
        locate.examine_interpreter.cache_clear()
        return path

    return put


def test_a_machine_with_nothing_measures_on_its_cpu() -> None:
    choice = locate.choose()
    assert choice.program.engine is Engine.ONNXRUNTIME_CPU
    assert choice.program.device == "cpu"
    assert choice.program.version == locate.onnxruntime_version()
    assert "trtexec was not found" in choice.reason


def test_trtexec_and_a_gpu_come_first(install: Install, python: Callable[..., Path]) -> None:
    path = install(banner(101601))
    python("8.6.0")
    choice = locate.choose()
    assert choice.program.engine is Engine.TRTEXEC
    assert choice.program.version == "10.16.1"
    assert choice.program.command == (str(path),)
    assert choice.program.card == "NVIDIA H200"


def test_the_probe_numbers_cards_as_the_programs_do(python: Callable[..., Path]) -> None:
    path = python()
    path.write_text(
        path.read_text().replace("printf", '[ "$CUDA_DEVICE_ORDER" = PCI_BUS_ID ] && printf')
    )
    assert locate.examine_interpreter(locate.interpreter_command()).devices


@pytest.mark.parametrize(
    ("number", "words"), [(8502, "TensorRT 8.5.2 is too old"), (10701, "TensorRT for RTX")]
)
def test_a_trtexec_that_is_too_old_is_passed_over(
    number: int, words: str, install: Install, python: Callable[..., Path]
) -> None:
    install(banner(number))
    python()
    choice = locate.choose()
    assert choice.program.engine is Engine.ONNXRUNTIME_CPU
    assert words in choice.reason
    with pytest.raises(MissingProgramError, match=words):
        locate.find("trtexec")


def test_the_wheel_and_a_gpu_come_next(python: Callable[..., Path]) -> None:
    path = python("8.6.0.12")
    choice = locate.choose()
    program = choice.program
    assert program.engine is Engine.TENSORRT_PYTHON
    assert program.version == "8.6.0"
    assert program.command == (str(path), "-m", "benchlib.trtexec.standin.tensorrt_python")
    assert "trtexec was not found" in choice.reason


def test_another_interpreter_finds_benchlib_and_nothing_else_of_ours(
    python: Callable[..., Path],
) -> None:
    python("10.0.1")
    ((name, root),) = locate.find("tensorrt_python").env
    assert name == "PYTHONPATH"
    assert (Path(root) / "benchlib" / "case.py").is_file()
    assert Path(root).name != "site-packages"


def test_an_installed_benchlib_is_lent_by_a_link(
    python: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python("10.0.1")
    package = tmp_path / "site-packages" / "benchlib"
    package.mkdir(parents=True)
    (package.parent / "numpy").mkdir()
    monkeypatch.setattr(locate, "_PACKAGE", package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for _ in range(2):
        ((_, root),) = locate.find("tensorrt_python").env
        assert [entry.name for entry in Path(root).iterdir()] == ["benchlib"]
        assert (Path(root) / "benchlib").resolve() == package


def test_without_a_gpu_neither_is_taken(install: Install, python: Callable[..., Path]) -> None:
    install(banner(8600))
    python("8.6.0", devices=0)
    choice = locate.choose()
    assert choice.program.engine is Engine.ONNXRUNTIME_CPU
    assert "no CUDA driver" in choice.reason
    for engine in ("trtexec", "tensorrt_python"):
        with pytest.raises(MissingProgramError, match="engine: no CUDA driver"):
            locate.find(engine)


def test_a_number_without_a_card_is_named(
    install: Install, python: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the cause, CUDA says only that there is no device."""
    install(banner(101601))
    python(devices=0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert "no CUDA driver with CUDA_VISIBLE_DEVICES='7'" in locate.choose().reason


def test_what_a_wrapper_prints_around_the_probe_is_passed_over(
    install: Install, python: Callable[..., Path]
) -> None:
    install(banner(101601))
    path = python()
    path.write_text(path.read_text() + "echo 'the environment was left'\n")
    assert locate.find("trtexec").card == "NVIDIA H200"


def test_a_wheel_without_cuda_bindings_is_not_enough(python: Callable[..., Path]) -> None:
    python("8.6.0", cuda_bindings=None)
    with pytest.raises(MissingProgramError, match="pip install cuda-bindings"):
        locate.find("tensorrt_python")


def test_the_setting_wins_over_path(
    install: Install, monkeypatch: pytest.MonkeyPatch, python: Callable[..., Path]
) -> None:
    install(banner(8600))
    python()
    mine = install(banner(110100), "my-trtexec", "elsewhere")
    monkeypatch.setenv("TRTEXEC", str(mine))
    assert locate.find("trtexec").version == "11.1.0"


def test_the_usual_places_are_looked_at(install: Install) -> None:
    path = install(banner(8600), folder="usual")
    assert locate.trtexec_path() == path


@pytest.mark.parametrize("engine", ["auto", "trtexec"])
def test_a_setting_that_leads_nowhere_is_an_error_and_not_passed_over(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRTEXEC", "/no/such/trtexec")
    with pytest.raises(InputError, match="TRTEXEC: '/no/such/trtexec' is no program"):
        locate.find(engine)


def test_an_interpreter_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(locate.INTERPRETER_VARIABLE, "no-such-python")
    with pytest.raises(InputError, match=f"{locate.INTERPRETER_VARIABLE}: 'no-such-python'"):
        locate.find("auto")


def test_a_program_without_a_banner_is_not_trtexec(
    install: Install, python: Callable[..., Path]
) -> None:
    install("hello")
    python()
    with pytest.raises(MissingProgramError, match="no banner; is it trtexec"):
        locate.find("trtexec")


def test_a_stand_in_named_as_trtexec_is_not_taken_for_it(
    install: Install, python: Callable[..., Path]
) -> None:
    install(banner(8600).replace("TensorRT.trtexec", "benchlib.tensorrt_python"))
    python("8.6.0")
    with pytest.raises(MissingProgramError, match="starts our tensorrt_python; ask for engine=te"):
        locate.find("trtexec")
    assert locate.find("auto").engine is Engine.TENSORRT_PYTHON


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(InputError, match="engine: 'gpu' is not one of"):
        locate.find("gpu")


@pytest.mark.usefixtures("installed")
def test_the_fake_is_found_like_any_trtexec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHLIB_FAKE", '{"version": "8.6"}')
    found = locate.find("auto")
    assert (found.engine, found.version) == (Engine.TRTEXEC, "8.6.0")


def test_an_interpreter_that_dies_is_reported(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = install("", "python310")
    path.write_text("#!/bin/sh\nkill -SEGV $$\n")
    monkeypatch.setenv(locate.INTERPRETER_VARIABLE, str(path))
    found = locate.examine_interpreter(locate.interpreter_command())
    assert found.devices == ()
    assert "status -11" in (found.cuda_reason or "")


@pytest.mark.parametrize("engine", ["auto", "trtexec"])
def test_a_plan_needs_nothing_here(engine: str) -> None:
    program = locate.planned(engine, "10.0")
    assert program.command == ("trtexec",)
    assert program.version == "10.0.0"
    assert program.path is None


def test_a_plan_without_a_version_is_for_this_machine_or_the_newest() -> None:
    assert locate.planned().engine is Engine.ONNXRUNTIME_CPU
    assert locate.planned("trtexec").version == "11.1.0"


@pytest.mark.parametrize(
    ("engine", "version", "field"),
    [
        ("trtexec", "8.4", "tensorrt"),
        ("trtexec", "new", "tensorrt"),
        ("onnxruntime_cpu", "10.0", "tensorrt"),
        ("gpu", "10.0", "engine"),
    ],
)
def test_a_plan_for_what_cannot_be_is_refused(engine: str, version: str, field: str) -> None:
    with pytest.raises(InputError) as caught:
        locate.planned(engine, version)
    assert caught.value.field == field


def test_the_probe_needs_nothing_of_ours(tmp_path: Path) -> None:
    """As another interpreter would run it: by its path, isolated, from anywhere."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", probe.__file__],
        cwd=tmp_path,
        env={**os.environ, "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tensorrt"] is None
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found.keys() >= {"cuda_version", "devices", "cuda_reason", "tensorrt_reason"}
