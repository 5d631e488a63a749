"""What surrounds a command: kernels, locks, disks, terminals, signals: one line each."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_trtexec
import nbformat
import pandas as pd
import psutil
import pytest
from click.testing import CliRunner

from benchlib import process
from benchlib.analysis import results
from benchlib.analysis.claims import findings
from benchlib.cli import main
from benchlib.errors import InputError
from benchlib.export.cache import Cache
from benchlib.measure.store import Store

PATIENCE_S = 120
TINY = (
    *("-p", "models", "[resnet18]", "-p", "resolutions", "[64x64]", "-p", "precisions", "[fp32]"),
    *("-p", "min_rounds", "1", "-p", "max_rounds", "1", "-p", "roofs", "false"),
    *("-p", "duration_s", "0.05"),
    *("--engine", "trtexec", "--no-report"),
)


def benchlib(
    *argv: str | Path, limit: int | None = None, **env: str
) -> subprocess.CompletedProcess:
    """The command in a process; ``limit`` is the most bytes that a file may have."""

    def before() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-m", "benchlib", *map(str, argv)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=PATIENCE_S,
        preexec_fn=before,
    )


def complaint(stderr: str) -> str:
    """The one line of complaint; what the log says of the work begins with the time of day."""
    (line,) = [one for one in stderr.splitlines() if not re.match(r"\d\d:\d\d:\d\d ", one)]
    return line


# --- the kernel


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with a set measured in odd surroundings, and the environment of the run."""
    folder = tmp_path_factory.mktemp("odd")
    kernels = folder / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "P", "language": "python"}
    (kernels / "kernel.json").write_text(json.dumps(spec))
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-mine.py").write_text("DATA_DIR = '/data'\nmodles = []\nprecision = 'fp64'\n")
    (startup.parent / "ipython_config.py").write_text(
        "c.InteractiveShell.ast_node_interactivity = 'none'\n"
    )
    (folder / "rc.py").write_text("raise SystemExit('ran')\n")
    environ = fake_trtexec.install(folder / "programs") | {
        "JUPYTER_PATH": str(folder / "jupyter"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONSTARTUP": str(folder / "rc.py"),
        "HOME": os.devnull,  # takes no files
    }
    done = benchlib("run", *TINY, "-o", folder / "set", **environ)
    assert done.returncode == 0, done.stderr
    return folder, environ


def test_the_kernel_is_this_interpreter_whatever_else_is_installed(odd):
    folder, _ = odd
    assert set(pd.read_csv(folder / "set" / "table.csv")["status"]) == {"ok"}
    ran = nbformat.read(folder / "set" / "benchmark_fp32.ipynb", as_version=4)
    shown = [o for cell in ran.cells for o in cell.get("outputs", ()) if "data" in o]
    assert shown, "the user's IPython settings hide what cells show"
    profile = folder / "ipython" / "profile_default"
    assert not list(profile.glob("*.sqlite")), "nothing is written into the user's folder"


@pytest.mark.usefixtures("installed")
def test_the_papermill_line_of_the_readme_works_in_a_fresh_clone(tmp_path, root):
    """With the preset as it stands, and past start-up files of the user's own."""
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-mine.py").write_text("DATA_DIR = '/data'\nN = 3\n")
    text = (root / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = [one.strip() for one in text.splitlines() if "papermill notebooks/benchmark" in one]
    for folder in ("notebooks", "presets"):
        shutil.copytree(root / folder, tmp_path / folder)
    program = tmp_path / ".venv" / "bin" / "papermill"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m papermill "$@"\n')
    program.chmod(0o755)
    small = "-p models '[resnet18]' -p resolutions '[64x64]' -p duration_s 0.05 "
    small += "-p engine trtexec -p roofs false"
    done = subprocess.run(
        f"{line} {small}",
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root), "IPYTHONDIR": str(tmp_path / "ipython")},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(tmp_path / "out" / "table.csv")["precision"].tolist() == ["fp16"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH came with Python 3.11")
def test_the_users_own_files_are_no_libraries(odd, tmp_path, root):
    _, environ = odd
    for name in ("onnx", "random"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not a library')\n")
    script = tmp_path / "bin" / "benchlib"
    script.parent.mkdir()
    script.write_text("from benchlib.cli import main\nmain()\n")
    done = subprocess.run(
        [sys.executable, script, "run", *TINY, "-o", "set"],
        cwd=tmp_path,
        env={**os.environ, **environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(tmp_path / "set" / "table.csv")["status"].tolist() == ["ok"]


# --- locks


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def no_locks(request, monkeypatch):
    """A file system on which flock fails."""

    def flock(_: int, operation: int) -> None:
        if not operation & fcntl.LOCK_UN:
            raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize("left", [False, True], ids=["fresh", "with the lock file of a copied set"])
def test_without_locks_nothing_waits_and_one_line_says_so(tmp_path, left):
    if left:
        for name in (".lock", "x.lock"):
            (tmp_path / name).write_text("1234\n")
    with (
        pytest.raises(InputError, match=r"out_dir: no locks here.*local disk"),
        Store(tmp_path).opened(),
    ):
        pass
    with pytest.raises(InputError, match="BENCHLIB_CACHE: no locks here"):
        Cache(tmp_path).obtain("net", {}, lambda path: {})
    with pytest.raises(InputError, match="BENCHLIB_CACHE: no locks here"):
        Cache(tmp_path).check()
    with (
        pytest.raises(InputError, match="field: no locks here"),
        process.lock_held(tmp_path / "x.lock", "field"),
    ):
        pass


def test_a_lock_is_held_against_others_and_let_go(tmp_path):
    path = tmp_path / "one.lock"
    with (
        process.lock_held(path, "field"),
        pytest.raises(TimeoutError),
        process.lock_held(path, "field", wait_s=0),
    ):
        pass
    with process.lock_held(path, "field", wait_s=0):
        pass


@pytest.mark.usefixtures("installed")
def test_a_run_without_locks_in_its_cache_ends_before_a_kernel_starts(tmp_path):
    shim = tmp_path / "shim"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text(
        "import errno, fcntl\n"
        "def flock(fd, operation):\n"
        "    if not operation & fcntl.LOCK_UN:\n"
        "        raise OSError(errno.ENOLCK, 'No locks available')\n"
        "fcntl.flock = flock\n"
    )
    path = os.pathsep.join(filter(None, [str(shim), os.environ.get("PYTHONPATH")]))
    done = benchlib("run", *TINY, "-o", tmp_path / "set", PYTHONPATH=path)
    assert done.returncode == 2
    assert "no locks here" in complaint(done.stderr)
    assert not (tmp_path / "set").exists()


# --- disks


def test_a_notebook_that_cannot_be_saved_ends_the_run_in_one_line(odd, tmp_path):
    folder, environ = odd
    out = Path(shutil.copytree(folder / "set", tmp_path / "set"))
    before = {path.name: path.read_bytes() for path in (out / "rows").iterdir()}
    # ONNX Runtime complains of a home that takes no files.
    environ = environ | {"HOME": str(Path.home())}
    done = benchlib("run", *TINY, "-o", out, limit=4096, **environ)
    assert done.returncode == 1
    assert "benchmark_fp32.ipynb: there is no room left" in complaint(done.stderr)
    assert {path.name: path.read_bytes() for path in (out / "rows").iterdir()} == before


def test_a_graph_that_finds_no_room_ends_in_one_line(tmp_path):
    argv = ("graph", "fast_scnn", "--height", 64, "--width", 64, "-o", tmp_path / "net.onnx")
    done = benchlib(*argv, limit=100_000, BENCHLIB_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 1
    assert re.match(r"benchlib: there is no room left in the cache .*BENCHLIB_CACHE", done.stderr)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "net.onnx").exists()
    left = [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]
    assert not left, "half a file stays in the cache"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has this device")
def test_output_that_finds_no_room_is_told_in_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "benchlib", "plan", "-p", "models", "[resnet18]"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.strip() == "benchlib: there is no room left (No space left on device)"


# --- terminals


def test_a_letter_that_a_terminal_lacks_is_replaced(root):
    published = root / "results" / "rtx3090-published"
    for encoding in ("latin-1", "cp437"):
        done = benchlib("findings", published, PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr
        assert "?" in done.stdout
    told = benchlib("findings", published, "--json", PYTHONIOENCODING="latin-1")
    found = findings.findings(results.load(published).frame)
    assert [one["sentence"] for one in json.loads(told.stdout)] == [
        one.as_json()["sentence"] for one in found
    ], "JSON says the letter by an escape"


@pytest.mark.parametrize(
    ("argv", "env"),
    [
        (("doctor",), {"PYTHONIOENCODING": "ascii"}),
        (
            ("findings", "results/rtx3090-published"),
            {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        ),
    ],
)
def test_a_terminal_that_takes_ascii_only_gets_its_answer(root, argv, env):
    done = subprocess.run(
        [sys.executable, "-m", "benchlib", *argv],
        cwd=root,
        env={**os.environ, **env},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"\n") > 3
    assert not done.stderr


def test_an_error_with_a_letter_that_a_terminal_lacks_is_one_line():
    done = benchlib("plan", "--preset", "größe-ρ", PYTHONIOENCODING="latin-1")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "e-?'" in done.stderr


def test_logs_are_utf8_whatever_the_terminal_takes(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    log = tmp_path / "log"
    code = r"print('caf\u00e9 \u03c1 \udcff')"
    ended = process.run([sys.executable, "-c", code], log=log, time_limit_s=PATIENCE_S)
    assert ended.code == 0
    assert log.read_text(encoding="utf-8") == "café ρ \\udcff\n"


@pytest.mark.parametrize(
    ("argv", "closed", "status"),
    [
        ("plan -p models [resnet18]", "<&-", 0),
        ("plan -p models [resnet18]", ">&-", 0),
        ("plan --preset nowhere", "2>&-", 2),
        ("plan -p models [resnet18]", "<&- >&- 2>&-", 0),
        ("plan --preset nowhere", "<&- >&- 2>&-", 2),
    ],
)
def test_a_closed_stream_changes_no_exit_status(argv, closed, status):
    line = f"{sys.executable} -m benchlib {argv} {closed}"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early_sees_no_traceback():
    line = f"{sys.executable} -m benchlib plan --preset full --tensorrt 10.0 | head -1"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout == "mkdir -p plan\n"
    assert done.stderr == ""


@pytest.mark.usefixtures("installed")
def test_a_run_goes_on_when_nobody_reads_what_it_says_any_more(tmp_path):
    argv = shlex.join(TINY).replace("[fp32]", "[fp32, fp16]")
    run = f"{sys.executable} -m benchlib run {argv} -o {tmp_path}/set"
    line = f"{run} 2>&1 >/dev/null | head -1"
    subprocess.run(line, shell=True, capture_output=True, check=False, timeout=PATIENCE_S)
    table = pd.read_csv(tmp_path / "set" / "table.csv")
    assert sorted(table["precision"]) == ["fp16", "fp32"]


# --- the report's folders


@pytest.fixture
def published(root: Path) -> Path:
    return root / "results" / "rtx3090-published"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["{tmp}/tpyo"], "no table.csv in"),
        (["{tmp}/tpyo", "-o", "{tmp}/out"], "no table.csv in"),
        (["{set}", "{tmp}/tpyo", "-o", "{tmp}/out"], "no table.csv in"),
        (["{set}", "{set}", "-o", "{tmp}/out"], "two sets are called"),
        (["{tmp}/file"], "not a readable CSV"),
        (["{set}", "-o", "{tmp}/file"], "cannot be written"),
        (["{set}", "-o", "{tmp}/file/below/it"], "cannot be written (Not a directory)"),
        (["{set}", "-o", "{tmp}/out", "--figures", "{tmp}/file/x"], "figures: "),
        (["{set}", "-o", "{tmp}/" + "x" * 300], "cannot be written (File name too long)"),
        (["{set}", "-o", "{tmp}/b\udcfcro"], "has a name that is not UTF-8; rename it"),
    ],
)
def test_a_report_that_cannot_be_made_leaves_nothing_behind(tmp_path, published, argv, words):
    (tmp_path / "file").write_text("")
    argv = [one.format(tmp=tmp_path, set=published) for one in argv]
    done = CliRunner().invoke(main, ["report", *argv])
    assert done.exit_code == 2, done.output
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# --- Ctrl-C and other signals


def begun(*argv: str, before: tuple[str, ...] = (), **env: str) -> subprocess.Popen[str]:
    """benchlib with ``argv``, in a process group that a signal can be sent to."""
    return subprocess.Popen(
        [*before, sys.executable, "-m", "benchlib", *argv],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_kernel_that_dies_at_its_start_is_told_of_in_one_line(tmp_path, published):
    (tmp_path / "ipykernel_launcher.py").write_text("raise SystemExit('no kernel today')\n")
    running = begun("report", str(published), "-o", str(tmp_path), PYTHONPATH=str(tmp_path))
    _, errors = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1, errors
    (line,) = errors.strip().splitlines()
    assert line.startswith("benchlib: ") and "no kernel today" in line


def test_ctrl_c_in_the_report_is_one_line_and_130(tmp_path, published):
    running = begun("report", str(published), "-o", str(tmp_path / "out"))
    deadline = time.monotonic() + PATIENCE_S
    while not psutil.Process(running.pid).children() and time.monotonic() < deadline:
        time.sleep(0.05)  # until there is a kernel
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130, errors
    assert errors.strip() == "benchlib: stopped"
    assert not (tmp_path / "out" / "report.html").exists()


def test_ctrl_c_when_the_page_stands_already_is_no_death_by_a_signal(tmp_path, published):
    running = begun("report", str(published), "-o", str(tmp_path / "out"))
    assert running.stdout.readline() == f"{tmp_path / 'out/report.html'}\n"
    time.sleep(0.05)  # Python ends for a fifth of a second
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=PATIENCE_S)
    assert running.returncode in (0, 130), errors


@pytest.mark.usefixtures("installed")
def test_ctrl_c_while_the_kernel_starts_begins_no_case(tmp_path):
    out = tmp_path / "set"
    running = begun("run", *TINY, "-o", str(out))
    deadline = time.monotonic() + PATIENCE_S
    while not (out / "benchmark_fp32.ipynb").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    assert not list(out.glob("rows/*"))


def ended_by(number: int, running: subprocess.Popen[str], tmp: Path, begun_log: Path) -> str:
    """What benchlib says when it gets a signal once ``begun_log`` tells of timing, or there is
    such a folder; it leaves no process and no folder in ``tmp``."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        logs = list(begun_log.parent.glob(begun_log.name))
        if any(one.is_dir() or "--loadEngine" in one.read_text() for one in logs):
            break
        time.sleep(0.05)
    below = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(number)
    output, errors = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    assert not psutil.wait_procs(below, timeout=5)[1], "a process is left"
    assert not list(tmp.glob("benchlib-*")), "a folder is left"
    return output


@pytest.mark.usefixtures("installed", "hangup_is_heard")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_asked_to_end_leaves_its_rows_and_nothing_else(tmp_path, number):
    out, tmp = tmp_path / "set", tmp_path / "tmp"
    tmp.mkdir()
    fake = {"cases": {"mobilenet": {"time": "hang"}}}
    argv = ("-p", "models", "[resnet18, mobilenet_v3_small]", *TINY[3:], "-o", str(out))
    running = begun("run", *argv, TMPDIR=str(tmp), BENCHLIB_FAKE=json.dumps(fake))
    output = ended_by(number, running, tmp, out / ".work" / "*mobilenet*.log")
    assert "run the same command again to go on" in output
    assert not (out / ".work").exists()


@pytest.mark.usefixtures("hangup_is_heard")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_report_that_is_asked_to_end_leaves_nothing(tmp_path, published, number):
    out, tmp = tmp_path / "out", tmp_path / "tmp"
    tmp.mkdir()
    running = begun("report", str(published), "-o", str(out), TMPDIR=str(tmp))
    ended_by(number, running, tmp, tmp / "benchlib-kernel-*")
    assert not (out / "report.html").exists()


def test_nohup_still_means_that_a_closed_terminal_ends_nothing(tmp_path, published):
    argv = ("report", str(published), "-o", str(tmp_path / "out"))
    running = begun(*argv, before=("nohup",), TMPDIR=str(tmp_path))
    while running.poll() is None and not list(tmp_path.glob("benchlib-kernel-*")):
        time.sleep(0.05)
    running.send_signal(signal.SIGHUP)
    _, errors = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, errors
