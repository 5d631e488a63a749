"""A program that speaks trtexec's contract and behaves as it is told; ``TRTEXEC`` names it.

``python tests/fake_trtexec.py --onnx=… --saveEngine=…`` needs no GPU, no network and no time.
``BENCHLIB_FAKE`` holds a JSON object: ``version``; ``library``, that of the loaded TensorRT where
it is another; ``tool``, its name in the banner; ``all``, a behaviour; and ``cases``, further
behaviours by a piece of text that the command line holds (a case's key stands in its file names).
It imports little, so that it starts in no time.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchlib.errors import InputError
from benchlib.trtexec import exports, flags
from benchlib.trtexec.exports import Query
from benchlib.trtexec.flags import Version, parse_version

VARIABLE = "BENCHLIB_FAKE"
INTERPRETER_VARIABLE = "BENCHLIB_TENSORRT_PYTHON"
MOST_QUERIES = 2000
"""A run of seconds is told in no more than this many queries."""

GAP_MS = 0.001
"""Pause between two queries on the pretended GPU."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How one case goes.

    ``build`` and ``time`` name what happens in that phase: ``ok``, or one of :data:`FAULTS`.
    ``story`` names the course of the times: ``steady``, ``drift``, ``bimodal``, ``warming``,
    ``throttle``, ``crash``; a list of stories gives one per timing process of an engine, the last
    for all further ones, and needs ``state``, a folder in which they are counted. ``crash_at``
    ends the timing by a segmentation fault at that query. ``cold_ms`` is how long after its start,
    the warm-up included, the pretended GPU is slow. ``sleep_s`` is how long each phase really
    takes.
    """

    build: str = "ok"
    time: str = "ok"
    story: str | Sequence[str] = "steady"
    median_ms: float = 2.0
    spread: float = 0.002
    cold_ms: float = 0.0
    enqueue_ms: float = 0.05
    crash_at: int | None = None
    sleep_s: float = 0.0
    state: str | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """The whole of ``BENCHLIB_FAKE``."""

    version: str = "10.16.1"
    library: str | None = None
    tool: str = "TensorRT.trtexec"
    all: Mapping[str, Any] = field(default_factory=dict)
    cases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def behaviour(self, argv: Sequence[str]) -> Behaviour:
        """The behaviour for this command line; every piece of text that fits adds its part."""
        line = " ".join(argv)
        values = dict(self.all)
        for piece, part in self.cases.items():
            if piece in line:
                values |= part
        return Behaviour(**values)


def install(folder: Path) -> dict[str, str]:
    """Put the program, and a Python that tells of a GPU, into ``folder``.

    Returns the environment in which benchlib finds both.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "python": "3.10.9",
        "cuda_version": "13.0",
        "devices": ["Pretended GPU"],
        "cuda_reason": None,
        "tensorrt": None,
        "tensorrt_reason": "no such wheel",
        "tensorrt_rtx": None,
        "cuda_bindings": None,
        "numpy": None,
    }
    programs = {
        "TRTEXEC": ("trtexec", f'exec {shlex.join((sys.executable, __file__))} "$@"'),
        INTERPRETER_VARIABLE: ("python-of-tensorrt", f"echo {shlex.quote(json.dumps(facts))}"),
    }
    environ = {}
    for variable, (name, line) in programs.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
        environ[variable] = str(path)
    return environ


def read(text: str) -> Script:
    """Read a script; an empty one is all default."""
    return Script(**json.loads(text)) if text else Script()


def main(argv: Sequence[str]) -> int:
    """Do what the command line says, in the way the script says; return the exit status."""
    script = read(os.environ.get(VARIABLE, ""))
    version = parse_version(script.version)
    _banner("RUNNING", version, argv)
    try:
        options = flags.table(version).parse(argv)
    except flags.UnknownFlagError as error:
        return _fail(version, argv, f"Unknown option: {error.flag} {error.value}")
    except InputError as error:
        return _fail(version, argv, error.problem)
    behaviour = script.behaviour(argv)
    time.sleep(behaviour.sleep_s)
    phase = "build" if options["--saveEngine"] else "time"
    fault = behaviour.build if phase == "build" else behaviour.time
    if fault in _SAID:
        _say("E", _SAID[fault])
        return _fail(version, argv, f"{phase} failed")
    if fault in _DONE:
        _DONE[fault]()
    if fault != "silent":
        _write(options, behaviour, version, fault, script)
    _banner("PASSED", version, argv)
    return 0


def _write(
    options: Mapping[str, Any], behaviour: Behaviour, version: Version, fault: str, script: Script
) -> None:
    if options["--saveEngine"]:
        library = parse_version(script.library or script.version)
        plan = b"" if fault == "empty" else _plan(library)
        Path(options["--saveEngine"]).write_bytes(plan)
        _say("I", "Engine built in 0.25 sec.")
        _say("I", f"Created engine with size: {len(plan) / 2**20:.6g} MiB")
    if options["--exportLayerInfo"]:
        Path(options["--exportLayerInfo"]).write_text(json.dumps(_layers(options)))
    if options["--skipInference"]:
        return
    if options["--exportProfile"]:
        profile = [{"count": 10}, {"name": "Conv_0", "timeMs": 20.0, "averageMs": 2.0}]
        Path(options["--exportProfile"]).write_text(json.dumps(profile))
    if options["--exportTimes"]:
        path = Path(options["--exportTimes"])
        queries = tuple(_queries(options, behaviour, path))
        _say("I", f"Throughput: {1000 / behaviour.median_ms:.6g} qps")
        text = exports.dump_times(queries)
        if fault == "nan":
            text = text.replace(f"{exports.number(queries[3].compute_ms)}", "NaN")
        if fault == "truncated":
            text = text[: len(text) // 2]
        path.write_text("" if fault == "empty" else text)


def _queries(options: Mapping[str, Any], behaviour: Behaviour, path: Path) -> Iterator[Query]:
    """The pretended run, the same on each call for files of the same name."""
    story = _story(behaviour, path.name)
    if story == "crash":
        _die(signal.SIGSEGV)
    chance = random.Random(path.name)
    wanted = max(options["--iterations"], int(options["--duration"] * 1000 / behaviour.median_ms))
    count = min(wanted, MOST_QUERIES)
    now = float(options["--warmUp"])
    for index in range(count):
        if index == behaviour.crash_at:
            _die(signal.SIGSEGV)
        took = behaviour.median_ms * _factor(story, index / count)
        took *= 1.2 if now < behaviour.cold_ms else 1.0
        took *= 1 + chance.gauss(0, behaviour.spread)
        end, enqueued = now + took, now + behaviour.enqueue_ms
        yield Query(now, enqueued, now, now, now, end, end, end, 0.0, took, 0.0, took)
        now = end + GAP_MS


def _factor(story: str, progress: float) -> float:
    """Time over the median, ``progress`` (0 to 1) into the run."""
    if story == "drift":
        return 1 + 0.2 * (progress - 0.5)
    if story == "bimodal":
        return 1.25 if int(progress * 20) % 2 else 1.0
    if story == "warming":
        return 1 + max(0.0, 0.3 - progress)
    if story == "throttle":
        return 1.5 if progress > 0.4 else 1.0
    return 1.0


def _story(behaviour: Behaviour, name: str) -> str:
    if isinstance(behaviour.story, str):
        return behaviour.story
    if behaviour.state is None:
        raise InputError("state", "a list of stories needs a folder in which to count")
    counter = Path(behaviour.state) / f"{name.partition('.p')[0]}.count"
    before = len(counter.read_bytes()) if counter.exists() else 0
    counter.write_bytes(b"." * (before + 1))
    return behaviour.story[min(before, len(behaviour.story) - 1)]


def _plan(version: Version) -> bytes:
    """A plan file's first bytes as TensorRT writes them, and some ballast."""
    head = bytearray(64)
    head[:4] = b"ftrt"
    head[24:28] = bytes((version.major, version.minor, version.patch, 0))
    return bytes(head) + bytes(4096)


def _layers(options: Mapping[str, Any]) -> dict[str, Any]:
    """Layer information as a plan built with ``detailed`` gives it, every layer as asked."""
    # A placeholder graph says in words which form it stands for; a real one is not read.
    form = _placeholder(options["--onnx"])
    kind = "FP32"
    if options.get("--fp16") or "fp16" in form:
        kind = "FP16"
    if options.get("--int8") or "int8" in form:
        kind = "Int8"
    tensor = {"Name": "t", "Location": "Device", "Dimensions": [1, 8, 8, 8]}
    tensor["Format/Datatype"] = f"Row major linear {kind} format"
    layer = {"LayerType": "CaskConvolution", "Inputs": [tensor], "Outputs": [tensor]}
    return {"Layers": [{"Name": f"Conv_{i}", **layer} for i in range(3)], "Bindings": ["input"]}


def _placeholder(path: str | None) -> str:
    """The text of a placeholder graph; empty where there is none or the file is a real one."""
    if not path:
        return ""
    content = Path(path).read_bytes()
    return content.decode() if content.isascii() else ""


def _say(severity: str, message: str) -> None:
    stream = sys.stdout if severity in "IV" else sys.stderr
    stream.write(f"[11/23/2026-12:00:00] [{severity}] {message}\n")
    stream.flush()


def _banner(state: str, version: Version, argv: Sequence[str]) -> None:
    tool = read(os.environ.get(VARIABLE, "")).tool
    line = f"&&&& {state} {tool} [TensorRT v{version.banner()}] # {tool} {' '.join(argv)}\n"
    sys.stdout.write(line)
    sys.stdout.flush()


def _fail(version: Version, argv: Sequence[str], message: str) -> int:
    _say("E", message)
    _banner("FAILED", version, argv)
    return 1


def _die(number: signal.Signals) -> None:
    """End by a signal, without leaving a core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), number)
    time.sleep(60)


def _hang() -> None:
    while True:
        time.sleep(60)


def _hang_with_child() -> None:
    """Hang deaf to SIGTERM, with a child that is deaf too: only ending the group helps."""
    code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _say("I", f"child {child.pid}")
    _hang()


_SAID = {
    "oom": "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
    "unknown-operator": "[onnxParser] No importer registered for op: FancyOp",
    "no-tactic": "Error Code 10: Could not find any implementation for node Conv_0.",
    "full-disk": "could not write the plan: No space left on device",
    "error": "Error Code 2: Internal Error (Assertion failed)",
}
"""Faults that end with status 1 after this error line, in TensorRT's words."""

_DONE = {
    "sigkill": lambda: _die(signal.SIGKILL),
    "segfault": lambda: _die(signal.SIGSEGV),
    "abort": lambda: _die(signal.SIGABRT),
    "hang": _hang,
    "hang-with-child": _hang_with_child,
}
"""Faults that end the process, or never end."""

FAULTS = (*_SAID, *_DONE, "silent", "empty", "truncated", "nan")
"""The last four pass and leave nothing, an empty file, half a file, a NaN among the times."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
