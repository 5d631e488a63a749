"""A stand-in for trtexec over the ``tensorrt`` wheel, which brings no trtexec along.

``python -m benchlib.trtexec.standin.tensorrt_python --onnx=net.onnx --saveEngine=net.plan`` takes
the flags of trtexec of the installed version, prints its lines and leaves its files. It has two
flags of its own: ``--module=tensorrt_rtx`` builds with TensorRT-RTX, which needs no GPU for that,
and ``--answer=FOLDER`` runs each ``*.raw`` file there once through the engine, after measuring,
and leaves the first output beside it as ``.npy``. Besides the standard library it needs numpy,
``cuda.bindings`` and ``tensorrt`` only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchlib.trtexec import flags
from benchlib.trtexec.exports import number
from benchlib.trtexec.flags import Version
from benchlib.trtexec.standin import tensor_io, tensorrt_build, tensorrt_loop
from benchlib.trtexec.standin.program import (
    COMMON_FLAGS,
    COMMON_MEANINGS,
    FAILED,
    Exports,
    Log,
    Measuring,
    Program,
    StandinError,
    path_of,
    report,
)
from benchlib.trtexec.standin.tensor_io import LayerTimes
from benchlib.trtexec.standin.tensorrt_build import Library
from benchlib.trtexec.standin.tensorrt_loop import Bound, run_once

WARM_UP_RUNS = 3


def layer_information(library: Library, engine: Any) -> str:
    """The inspector's JSON; how much it holds was fixed by the verbosity of the build."""
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(library.trt.LayerInformationFormat.JSON)
    if not text:
        raise StandinError("The engine inspector gave no layer information")
    return text if text.endswith("\n") else text + "\n"


def layer_profile(
    library: Library, bound: Bound, measuring: Measuring
) -> tuple[tuple[LayerTimes, ...], int]:
    """Times of every layer and the number of runs; never in the context that was timed.

    Each run waits for its layers' times, so they add up to more than the timed queries.
    """
    times: dict[str, list[float]] = {}
    profiler = _profiler_class(library.trt)(times)
    context, stream = bound.context, tensorrt_loop.new_stream()
    context.profiler = profiler
    context.enqueue_emits_profile = False
    runs = -WARM_UP_RUNS
    began = time.perf_counter()
    while runs < max(measuring.iterations, 1) or time.perf_counter() - began < measuring.duration_s:
        if runs == 0:
            times.clear()
            began = time.perf_counter()
        run_once(bound, stream)
        if not context.report_to_profiler():
            raise StandinError("The profiler gave no layer times")
        runs += 1
    return tuple(LayerTimes(name, tuple(values)) for name, values in times.items()), runs


def _profiler_class(trt: Any) -> type:
    class Profiler(trt.IProfiler):
        """Collects milliseconds per layer name."""

        def __init__(self, times: dict[str, list[float]]) -> None:
            trt.IProfiler.__init__(self)
            self._times = times

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self._times.setdefault(layer_name, []).append(ms)

    return Profiler


def answer(bound: Bound, folder: Path, log: Log) -> None:
    """Run each ``*.raw`` of ``folder``, by name, and leave the first output beside it as ``.npy``.

    Each file holds the engine's one input in its own type. Raises :class:`StandinError` for an
    engine of several inputs, a folder without such files, and a file of another length.
    """
    if len(bound.inputs) != 1:
        names = ", ".join(tensor.name for tensor in bound.inputs)
        raise StandinError(f"--answer needs an engine with one input; this one has {names}")
    files = sorted(folder.glob("*.raw"))
    if not files:
        raise StandinError(f"--answer: there is no *.raw file in {folder}")
    (entry,), first, stream = bound.inputs, bound.outputs[0], tensorrt_loop.new_stream()
    for path in files:
        entry.host[...] = tensor_io.values_from_file(path, entry.host.dtype, entry.host.shape)
        entry.upload()
        run_once(bound, stream)
        first.download()
        tensor_io.write_array(path.with_suffix(".npy"), first.host)
    log.info(f"Answered {len(files)} inputs of {folder.name}")


MODULES = ("tensorrt", tensorrt_build.RTX)
RTX_TABLE = Version(11, 1)
"""TensorRT-RTX counts its own versions; its command line is nearest to that of 11.1."""

SERVED = tensorrt_build.SERVED.union(
    COMMON_FLAGS,
    """
    --loadEngine --buildOnly --device --exposeDMA --useCudaGraph --noCudaGraph --useSpinWait
    --noSpinWait --noDataTransfers --includeDataTransfers --module --answer
    """.split(),  # noqa: SIM905
)

MEANINGS = {
    **COMMON_MEANINGS,
    "--separateProfileRun": "layers are always profiled in a context and run of their own",
    "--explicitBatch": "the batch is always explicit",
    "--threads": "one stream has one host thread anyway",
}

IMPOSSIBLE = {
    "--best": "it means other precisions in other versions; name them instead",
    "--calib": "there is no calibrator; put Q/DQ nodes into the graph",
    "--plugins": "plugin libraries are not loaded",
    "--staticPlugins": "plugin libraries are not loaded",
    "--dynamicPlugins": "plugin libraries are not loaded",
    "--sleepTime": "the clock is never delayed",
}


@dataclass(frozen=True, slots=True)
class Standin:
    """The work of this program with one installed TensorRT."""

    library: Library

    def work(self, log: Log, options: flags.Options) -> None:
        """Do all the command line asks for; raise :class:`StandinError` when something fails."""
        measuring, files = Measuring.read(options), Exports.read(options)
        source, saved = path_of(options, "--loadEngine"), path_of(options, "--saveEngine")
        building_only = options["--skipInference"] or options.get("--buildOnly", False)
        if source is not None and saved is not None:
            raise StandinError("--loadEngine and --saveEngine are incompatible")
        if source is None and path_of(options, "--onnx") is None:
            raise StandinError("Model missing or format not recognized: give --onnx=FILE")
        if not (self.library.is_rtx and building_only):
            name, capability = tensorrt_loop.choose_device(options["--device"])
            log.info("=== Device Information ===")
            log.info(f"Selected Device: {name}")
            log.info(f"Compute Capability: {capability}")
        log.info(f"TensorRT version: {self.library.trt.__version__}")
        # The logger must outlive everything TensorRT makes with it, so it is made first.
        logger = self.library.logger(log)
        self.library.register_plugins(logger)
        plan = self._plan(logger, options, source, log)
        if saved is not None:
            tensor_io.write(saved, plan)
        wants_layers = files.layers is not None or files.dump_layers
        if building_only and not wants_layers:
            log.info("Skipped inference phase since --skipInference is added.")
            return
        # Kept in a variable of its own: the runtime has to outlive its engine.
        runtime = self.library.trt.Runtime(logger)
        engine = _deserialised(runtime, plan, log)
        if wants_layers:
            self._leave_layers(engine, files, log)
        if building_only:
            log.info("Skipped inference phase since --skipInference is added.")
            return
        self._infer(engine, options, measuring, files, log)

    def _plan(
        self, logger: Any, options: flags.Options, source: Path | None, log: Log
    ) -> bytes | memoryview:
        if source is None:
            return tensorrt_build.build(self.library, logger, options, log)
        try:
            plan = source.read_bytes()
        except OSError as error:
            raise StandinError(f"Error opening engine file {source}: {error.strerror}") from error
        log.info(f"Loaded engine with size: {number(len(plan) / tensorrt_build.MIB)} MiB")
        return plan

    def _leave_layers(self, engine: Any, files: Exports, log: Log) -> None:
        text = layer_information(self.library, engine)
        if files.layers is not None:
            tensor_io.write_text(files.layers, text)
        if files.dump_layers:
            log.info("Layer Information:")
            log.plain(text)

    def _infer(
        self, engine: Any, options: flags.Options, measuring: Measuring, files: Exports, log: Log
    ) -> None:
        given = tensor_io.filled_shapes(options, log).timed
        bind = partial(tensorrt_loop.bind, self.library, engine, given, options, log)
        bound = bind()
        log.info("Starting inference")
        trace = tensorrt_loop.measure(bound, measuring, log)
        counted = report(log, trace, measuring.warm_up_ms)
        tensor_io.leave_times(files, counted)
        if files.tensors:
            for tensor in bound.outputs:
                tensor.download()
            named = [{one.name: one.host for one in side} for side in (bound.inputs, bound.outputs)]
            tensor_io.leave_tensors(files, log, *named)
        asked = path_of(options, "--answer")
        if asked is not None:
            # A context of its own, as for the profile: the timed one may hold a captured graph.
            answer(bind(), asked, log)
        if files.profiling:
            layers, runs = layer_profile(self.library, bind(), measuring)
            tensor_io.leave_profile(files, log, layers, runs)


def _deserialised(runtime: Any, plan: bytes | memoryview, log: Log) -> Any:
    began = time.perf_counter()
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise StandinError("Engine set up failed: the plan was not loaded; its reason is above")
    log.info(f"Engine deserialized in {number(time.perf_counter() - began)} sec.")
    return engine


def program(library: Library) -> Program:
    """This stand-in, speaking for ``library``."""
    trtexec = flags.table(RTX_TABLE if library.is_rtx else library.version)
    own = (
        flags.Flag("--module", "enum:" + "|".join(MODULES), MODULES[0]),
        flags.Flag("--answer", "path", None),
    )
    table = flags.FlagTable(
        f"the stand-in for trtexec over {library.name} {library.version}",
        {**trtexec.flags, **{flag.name: flag for flag in own}},
    )
    return Program(
        tool="benchlib.tensorrt_python",
        version=library.version,
        table=table,
        work=Standin(library).work,
        about=__doc__ or "",
        served=SERVED,
        meanings=MEANINGS,
        otherwise="only NVIDIA's own trtexec can do it",
        reasons=IMPOSSIBLE,
    )


def main(argv: Sequence[str], log: Log) -> int:
    """Run the stand-in and return its exit status."""
    chosen = [
        text for name, _, text in (item.partition("=") for item in argv) if name == "--module"
    ]
    name = chosen[0] if chosen else MODULES[0]
    if name not in MODULES:
        log.error(f"--module is one of {', '.join(MODULES)}, not {name!r}")
        return FAILED
    try:
        library = tensorrt_build.load_library(name)
    except StandinError as error:
        log.error(str(error))
        return FAILED
    return program(library).run(argv, log)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Log()))
