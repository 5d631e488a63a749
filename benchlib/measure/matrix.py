"""The matrix and its plan: which cases a run has, in which order, and the commands of each."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from benchlib.case import Case, Int8Method, Precision, ShapeMode, Typing, resolution
from benchlib.config import AUTO, Parameters, Settings
from benchlib.export.form import GraphForm
from benchlib.measure.exporter import traced_shape
from benchlib.models import registry
from benchlib.stats.replication import CPU_TARGET, GPU_TARGET, Until
from benchlib.trtexec.command import (
    CaseFiles,
    Command,
    Program,
    commands,
    graph_form,
    int8_method,
    program_typing,
    unsupported,
)

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


def settings(parameters: Parameters) -> Settings:
    """How the cases are measured."""
    return Settings(**parameters.model_dump(include=set(Settings.model_fields)))


def until(parameters: Parameters, program: Program) -> Until:
    """When a case of ``parameters`` has had enough rounds on ``program``."""
    usual = CPU_TARGET if program.on_cpu else GPU_TARGET
    return Until(
        target=usual if parameters.target is None else parameters.target,
        min_rounds=parameters.min_rounds,
        max_rounds=parameters.max_rounds,
        time_ceiling_s=parameters.time_ceiling_s,
    )


FOLDER = Path("plan")
"""Where planned commands have their files: below the folder that they are pasted in."""


@dataclass(frozen=True, slots=True)
class Step:
    """One case and what is run for it, or the reason why nothing is.

    ``form`` is the form of its graph, ``graph`` the ``benchlib graph`` command that writes the
    ONNX file the others read. A run puts its own files into the commands and leaves the rest.
    """

    case: Case
    form: GraphForm | None
    graph: tuple[str, ...]
    commands: tuple[Command, ...]
    skipped: str | None

    def as_json(self) -> dict[str, Any]:
        """The case's fields, its key, and the argv lists: build first, timing last."""
        fields = self.case.as_json()
        return {
            "key": self.case.key,
            **fields,
            "graph": list(self.graph),
            "commands": [list(command.argv) for command in self.commands],
            "skipped": self.skipped,
        }


def steps(parameters: Parameters, program: Program) -> tuple[Step, ...]:
    """The plan of one precision's run on ``program``: every case in its order, with its commands.

    Raises :class:`benchlib.errors.InputError` as :func:`cases` does, and for settings that no
    command line can be made of.
    """
    return tuple(_step(case, parameters, program) for case in cases(parameters, program))


def _step(case: Case, parameters: Parameters, program: Program) -> Step:
    reason = unsupported(case, program)
    if reason is not None:
        return Step(case, None, (), (), reason)
    dynamic = case.shape_mode is not ShapeMode.STATIC
    form = graph_form(case, program.release)
    size = "dynamic" if dynamic else f"{case.resolution}-b{case.batch}"
    method = int8_method(case) if form.is_int8 else None
    name = "-".join(filter(None, [case.network, form.value, size, method and method.value]))
    graph = FOLDER / f"{name}.onnx"
    # The sweep's own rule: all sizes of a dynamic engine share one graph.
    images, height, width = traced_shape(case, parameters)
    argv = [
        *("benchlib", "graph", case.model, "--form", form.value),
        *("--height", str(height), "--width", str(width), "--batch", str(images)),
        *(["--dynamic"] if dynamic else []),
        *(["--int8-method", method.value] if method else []),
        *("--weights", parameters.weights, "--seed", str(parameters.seed)),
        *(
            ["--calibration-dir", parameters.calibration_dir]
            if form.is_int8 and parameters.calibration_dir is not None
            else []
        ),
        *("-o", str(graph)),
    ]
    files = CaseFiles.within(FOLDER, case.key)
    done = commands(case, settings(parameters), program, graph, files, dynamic=dynamic)
    return Step(case, form, tuple(argv), done, None)
