"""A stand-in for trtexec on plain CPUs: ONNX Runtime behind trtexec's command line.

``python -m benchlib.engines.onnxruntime_cpu --onnx=net.onnx --shapes=input:1x3x480x640`` prints
trtexec's lines and leaves trtexec's files. One query is one call of ``InferenceSession.run``; the
warm-up and the end of the loop follow trtexec's rule. Precision stands in the graph. Its own
flags are ``--threads=N``, ``--provider`` and ``--seed`` (of the input values).
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from benchlib.engines import exporttimes, flags
from benchlib.engines.onnxruntime_session import (
    ORT_ERRORS,
    Model,
    feeds_of,
    line,
    open_session,
)
from benchlib.engines.standin import exports, ortprofile, shapes
from benchlib.engines.standin.bound import LoopBound
from benchlib.engines.standin.log import Log, StandinError
from benchlib.engines.standin.options import COMMON_FLAGS, Exports, Measuring, path_of
from benchlib.engines.standin.program import Program, arguments, impossible
from benchlib.engines.standin.report import NEWEST, queries, report
from benchlib.engines.standin.trace import Trace
from benchlib.engines.version import Version, parse

NEWEST_TABLE = Version(11, 1)
SERVED = COMMON_FLAGS | {"--threads", "--provider", "--seed"}

MEANINGS = {
    "--useCudaGraph": "there is no CUDA graph on a CPU; each query is one call of session.run",
    "--noCudaGraph": "there is no CUDA graph on a CPU anyway",
    "--noDataTransfers": "there are no transfers on a CPU; inputs lie in host memory",
    "--includeDataTransfers": "there are no transfers on a CPU; inputs lie in host memory",
    "--useSpinWait": "a query ends when session.run returns; nothing is waited for",
    "--noSpinWait": "a query ends when session.run returns; nothing is waited for",
    "--exposeDMA": "queries never overlap on a CPU",
    "--separateProfileRun": "layers are always profiled in a session and run of their own",
    "--stronglyTyped": "the precision is always the graph's own",
    "--noTF32": "FP32 is plain FP32 on a CPU",
    "--profilingVerbosity": "layer information always has types and shapes",
    "--builderOptimizationLevel": "ONNX Runtime optimises the graph at its highest level",
    "--avgTiming": "ONNX Runtime times no kernels to choose among them",
    "--memPoolSize": "ONNX Runtime takes the memory it needs",
    "--device": "the device is the CPU",
    "--timingCacheFile": "ONNX Runtime times no kernels, so no cache is written",
}


def table() -> flags.FlagTable:
    """The newest trtexec's flags, and this program's own, which go first."""
    own = flags.onnxruntime_cpu()
    return flags.FlagTable(own.program, {**flags.table(NEWEST_TABLE).flags, **own.flags})


def measure(log: Log, options: flags.Options) -> None:
    """Do all the command line asks for; raise :class:`StandinError` when something fails."""
    measuring, files = Measuring.read(options), Exports.read(options)
    path = path_of(options, "--onnx")
    if path is None:
        raise StandinError("Model missing: give --onnx=FILE")
    begin = time.perf_counter()
    session = open_session(path, options)
    log.info(f"Engine built in {exporttimes.number(time.perf_counter() - begin)} sec.")
    given = shapes.filled(options, log).timed
    model = Model(session, feeds_of(session, options, given, log))
    try:
        if options["--skipInference"]:
            log.info("Skipped inference phase since --skipInference is added.")
        else:
            _time(log, model, measuring, files)
        _describe(log, path, options, model, measuring, files)
    except ORT_ERRORS as error:
        raise StandinError(f"Error occurred during inference: {line(error)}") from error


def _time(log: Log, model: Model, measuring: Measuring, files: Exports) -> None:
    log.info("Starting inference")
    counted = report(log, _trace(model, measuring), measuring, NEWEST)
    if files.times is not None:
        exports.write_text(files.times, exporttimes.dumps(queries(counted)))


def _trace(model: Model, measuring: Measuring) -> Trace:
    """Run the queries and stamp them; a synchronous call has no enqueue time of its own."""
    run, feeds, clock = model.session.run, model.feeds, time.perf_counter_ns
    bound = LoopBound(
        iterations=measuring.iterations,
        duration_s=measuring.duration_s,
        warm_up_ms=measuring.warm_up_ms,
    )
    starts: list[int] = []
    ends: list[int] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        zero = clock()
        while bound.more():
            start = clock()
            run(None, feeds)
            end = clock()
            starts.append(start - zero)
            ends.append(end - zero)
            bound.passed((start - zero) / 1e6)
            if measuring.idle_ms and not bound.warming_up:
                time.sleep(measuring.idle_ms / 1000)
    finally:
        if collecting:
            gc.enable()
    start_ms, end_ms = (np.array(stamps, dtype=np.float64) / 1e6 for stamps in (starts, ends))
    return Trace.without_transfers(start_ms, start_ms, start_ms, end_ms, end_ms - start_ms)


def _describe(
    log: Log,
    path: Path,
    options: flags.Options,
    model: Model,
    measuring: Measuring,
    files: Exports,
) -> None:
    """Leave outputs, layers and profile; nothing of it touches the session that was timed."""
    if not options["--skipInference"]:
        outputs = model.run()
        if files.output is not None:
            exports.write_text(files.output, exports.output_json(outputs))
        if files.dump_output:
            exports.log_output(log, outputs)
        if files.raw_bindings:
            exports.write_raw(Path.cwd(), "input", model.feeds)
            exports.write_raw(Path.cwd(), "output", outputs)
    if not (files.profiling or files.layers is not None or files.dump_layers):
        return
    runs = max(measuring.iterations, 1) if files.profiling else 1
    profile = _profile(path, options, model.feeds, runs)
    layers = json.dumps(profile.layer_information(), indent=1)
    if files.layers is not None:
        exports.write_text(files.layers, layers + "\n")
    if files.dump_layers:
        log.info(layers)
    if files.profile is not None:
        exports.write_text(files.profile, exports.profile_json(profile.layers, runs))
    if files.dump_profile:
        exports.log_profile(log, profile.layers, runs)


def _profile(
    path: Path, options: flags.Options, feeds: Mapping[str, npt.NDArray[np.generic]], runs: int
) -> ortprofile.Profile:
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(path, options, Path(folder) / "profile")
        for _ in range(runs + 1):
            session.run(None, feeds)
        text = Path(session.end_profiling()).read_text(encoding="utf-8")
    names = [tensor.name for tensor in (*session.get_inputs(), *session.get_outputs())]
    return ortprofile.read(text, names, skip=1)


def program() -> Program:
    """This stand-in, speaking for the installed ONNX Runtime."""
    known = table()
    return Program(
        tool="benchlib.onnxruntime_cpu",
        version=parse(onnxruntime.__version__),
        table=known,
        work=measure,
        about=__doc__ or "",
        impossible=impossible(
            known, SERVED | MEANINGS.keys(), {}, "ONNX Runtime has no such thing"
        ),
        meanings=MEANINGS,
    )


if __name__ == "__main__":
    sys.exit(program().run(arguments(), Log()))
