"""The matrix: which cases one run has, in which order, and how each is measured."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from itertools import product

from benchlib.case import Case, Int8Method, Precision, Typing, resolution
from benchlib.config import AUTO, Parameters, Settings
from benchlib.models import registry
from benchlib.trtexec.command import Program, int8_method, program_typing

log = logging.getLogger(__name__)


def cases(parameters: Parameters, program: Program) -> tuple[Case, ...]:
    """Every case once, in an order shuffled by ``seed``.

    Shuffled, because a machine that grows warm or busy would otherwise slow the last network or
    size only. A user's file is known by its name and content: the same one in another folder is
    measured once. Raises :class:`benchlib.errors.InputError` for a model that there is not and
    for a size that a network cannot take.
    """
    typing = program_typing(program) if parameters.typing == AUTO else Typing(parameters.typing)
    methods = parameters.int8_methods if parameters.precision is Precision.INT8 else (None,)
    digests = {model: _digest(model) for model in parameters.models}
    found = []
    for model, size, batch, mode, method in product(
        parameters.models,
        parameters.resolutions,
        parameters.batch_sizes,
        parameters.shape_modes,
        methods,
    ):
        height, width = resolution(size)
        registry.card(model).check_size(height, width)
        asked = Case(
            model=model,
            precision=parameters.precision,
            batch=batch,
            height=height,
            width=width,
            shape_mode=mode,
            typing=typing,
            engine=program.engine,
            int8_method=None if method in (None, AUTO) else Int8Method(method),
            model_digest=digests[model],
        )
        found.append(replace(asked, int8_method=int8_method(asked)))
    unique = _unique(found)
    random.Random(parameters.seed).shuffle(unique)
    return tuple(unique)


def _digest(model: str) -> str | None:
    path = registry.card(model).path
    if path is None:
        return None
    # Here, because a run of the line-up's networks needs no onnx in this process.
    from benchlib.models import onnx_file

    return onnx_file.digest(path)


def _unique(found: list[Case]) -> list[Case]:
    by_key: dict[str, Case] = {}
    for case in found:
        by_key.setdefault(case.key, case)
    kept = {case.model for case in by_key.values()}
    for model in dict.fromkeys(case.model for case in found if case.model not in kept):
        twin = next(by_key[case.key].model for case in found if case.model == model)
        log.warning("%s is the same file as %s and is measured once", model, twin)
    return list(by_key.values())


def settings(parameters: Parameters, attempt: int = 1, stretch: int = 1) -> Settings:
    """How the cases are measured; each further attempt warms up twice as long as the last.

    ``stretch`` times as long and as many queries are timed: what too few samples ask for.
    """
    return Settings(
        avg_runs=parameters.avg_runs,
        duration_s=parameters.duration_s * stretch,
        warm_up_ms=parameters.warm_up_ms * 2 ** (attempt - 1),
        iterations=parameters.iterations * stretch,
        cuda_graph=parameters.cuda_graph,
        transfers=parameters.transfers,
        spin_wait=parameters.spin_wait,
        streams=parameters.streams,
        tf32=parameters.tf32,
        builder_optimization_level=parameters.builder_optimization_level,
        workspace_mib=parameters.workspace_mib,
        half_io=parameters.half_io,
        profile=parameters.profile,
        extra_flags=parameters.extra_flags,
        threads=parameters.threads,
        seed=parameters.seed,
        min_shape=parameters.min_shape,
        opt_shape=parameters.opt_shape,
        max_shape=parameters.max_shape,
    )
