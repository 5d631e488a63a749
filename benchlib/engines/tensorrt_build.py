"""Builds a plan from ONNX with the choices trtexec's build flags stand for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchlib.engines import tensorrt_network
from benchlib.engines.exporttimes import number
from benchlib.engines.flags import Options
from benchlib.engines.standin.log import Log, StandinError
from benchlib.engines.standin.options import path_of
from benchlib.engines.tensorrt_library import Library
from benchlib.engines.version import Version

MIB = 2**20
WHOLE_PHASE_UNTIL = Version(9, 1)
"""Before it, "built in" covers parsing too; afterwards the build call alone."""

PRECISIONS = {
    "--fp16": "FP16",
    "--bf16": "BF16",
    "--int8": "INT8",
    "--fp8": "FP8",
    "--int4": "INT4",
}
POOLS = {
    "workspace": "WORKSPACE",
    "dlaSRAM": "DLA_MANAGED_SRAM",
    "dlaLocalDRAM": "DLA_LOCAL_DRAM",
    "dlaGlobalDRAM": "DLA_GLOBAL_DRAM",
    "tacticSharedMem": "TACTIC_SHARED_MEMORY",
}
INTEGERS = {
    "--avgTiming": "avg_timing_iterations",
    "--minTiming": "min_timing_iterations",
    "--maxAuxStreams": "max_aux_streams",
    "--maxTactics": "max_num_tactics",
    "--builderOptimizationLevel": "builder_optimization_level",
}
"""Flags whose number goes straight to an attribute of the builder's configuration."""

SERVED = frozenset(
    {
        "--onnx",
        "--saveEngine",
        "--minShapes",
        "--optShapes",
        "--maxShapes",
        "--shapes",
        "--inputIOFormats",
        "--outputIOFormats",
        "--memPoolSize",
        "--workspace",
        "--noTF32",
        "--sparsity",
        "--stronglyTyped",
        "--profilingVerbosity",
        "--timingCacheFile",
        "--noBuilderCache",
        *PRECISIONS,
        *INTEGERS,
    }
)


def build(library: Library, logger: Any, options: Options, log: Log) -> bytes | memoryview:
    """Build the network of ``--onnx`` and return the plan; raises :class:`StandinError`."""
    began = time.perf_counter()
    try:
        builder = library.trt.Builder(logger)
    except TypeError as error:
        raise StandinError(f"Engine set up failed: no builder could be made: {error}") from error
    network = tensorrt_network.create(library, builder, options)
    # The parser's memory backs the weights, so it has to live until the build is done.
    parser = tensorrt_network.parse(library, network, logger, Path(options["--onnx"]), log)
    tensorrt_network.settle_io(library, network, options)
    config = builder.create_builder_config()
    profile = tensorrt_network.profile(library, builder, network, options, log)
    if profile is not None and config.add_optimization_profile(profile) < 0:
        raise StandinError("Engine set up failed: the shapes make no valid optimisation profile")
    configure(library, config, options)
    set_precisions(library, config, network, options, log)
    cache_path = path_of(options, "--timingCacheFile")
    if cache_path is not None:
        _read_cache(config, cache_path, log)
    build_began = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    ended = time.perf_counter()
    del parser
    if plan is None:
        raise StandinError("Engine set up failed: the builder gave no plan; its reason is above")
    if cache_path is not None:
        _write_cache(config, cache_path, log)
    whole = library.version < WHOLE_PHASE_UNTIL and not library.is_rtx
    log.info(f"Engine built in {number(ended - (began if whole else build_began))} sec.")
    data = memoryview(plan)
    log.info(f"Created engine with size: {number(data.nbytes / MIB)} MiB")
    return data


def save(plan: bytes | memoryview, path: Path) -> None:
    """Write a plan whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(plan)
        temporary.replace(path)
    except OSError as error:
        raise StandinError(f"Cannot write {path}: {error.strerror}") from error


def configure(library: Library, config: Any, options: Options) -> None:
    """Carry over memory pools, timing repeats, levels and all flags but the precisions."""
    for flag, attribute in INTEGERS.items():
        value = options.get(flag)
        if value is not None and value >= 0:
            _assign(library, config, attribute, value, flag)
    for pool, size in (options.get("--memPoolSize") or {}).items():
        _limit(library, config, pool, size, "--memPoolSize")
    if options.get("--workspace"):
        _limit(library, config, "workspace", options["--workspace"], "--workspace")
    verbosity = options["--profilingVerbosity"].upper()
    config.profiling_verbosity = library.member(
        "ProfilingVerbosity", verbosity, "--profilingVerbosity"
    )
    if options["--noTF32"]:
        config.clear_flag(library.member("BuilderFlag", "TF32", "--noTF32"))
    if options.get("--noBuilderCache"):
        config.set_flag(library.member("BuilderFlag", "DISABLE_TIMING_CACHE", "--noBuilderCache"))
    if options["--sparsity"] == "enable":
        config.set_flag(library.member("BuilderFlag", "SPARSE_WEIGHTS", "--sparsity"))
    elif options["--sparsity"] == "force":
        raise StandinError("--sparsity=force is not supported: weights are taken as they are")


def set_precisions(library: Library, config: Any, network: Any, options: Options, log: Log) -> None:
    """Allow the asked-for precisions, with trtexec's ranges for INT8 that has none of its own."""
    asked = [flag for flag in PRECISIONS if options.get(flag)]
    if options.get("--stronglyTyped"):
        if asked:
            log.warning(f"{' '.join(asked)} dropped: --stronglyTyped takes the graph's types")
        return
    if "--int8" in asked and "--fp8" in asked:
        raise StandinError("--int8 and --fp8 cannot be used together")
    for flag in asked:
        config.set_flag(library.member("BuilderFlag", PRECISIONS[flag], flag))
    if "--int8" in asked and not tensorrt_network.is_quantised(library, network):
        made = tensorrt_network.make_up_ranges(library, network)
        log.warning(f"INT8 without calibration: {made} ranges were made up; outputs mean nothing")


def _assign(library: Library, config: Any, attribute: str, value: int, flag: str) -> None:
    if not hasattr(config, attribute):
        raise StandinError(
            f"{flag} is not supported by {library.name} {library.version}: "
            f"its builder has no {attribute}"
        )
    setattr(config, attribute, value)


def _limit(library: Library, config: Any, pool: str, size: str | float, flag: str) -> None:
    if pool not in POOLS:
        raise StandinError(f"{flag}: no memory pool is called {pool}; there is {', '.join(POOLS)}")
    try:
        limit = int(float(size) * MIB)
    except ValueError:
        raise StandinError(
            f"{flag} needs a bare number of MiB for {pool}, not {size!r}: "
            "suffixes mean different things in different versions"
        ) from None
    config.set_memory_pool_limit(library.member("MemoryPoolType", POOLS[pool], flag), limit)


def _read_cache(config: Any, path: Path, log: Log) -> None:
    try:
        known = path.read_bytes()
    except OSError as error:
        log.warning(f"Timing cache {path} is not read: {error.strerror}")
        known = b""
    if not config.set_timing_cache(config.create_timing_cache(known), False):
        log.warning(f"Timing cache {path} is of another library or GPU and is not used")
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _write_cache(config: Any, path: Path, log: Log) -> None:
    cache = config.get_timing_cache()
    if cache is None:
        log.warning(f"Timing cache {path} is not written: the builder gave none")
        return
    save(memoryview(cache.serialize()), path)
