"""The matrix and its plan: which cases a run has, in which order, and the commands of each.

Runs nothing and looks at no hardware, so a TensorRT that is not installed can be planned for.
"""

from __future__ import annotations

import logging
import random
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from benchlib import config
from benchlib.case import (
    Case,
    GraphForm,
    Int8Method,
    Precision,
    Shape,
    ShapeMode,
    Typing,
    resolution,
)
from benchlib.config import AUTO, Parameters, Settings
from benchlib.measure.exporter import traced_shape
from benchlib.models import registry
from benchlib.stats.replication import CPU_TARGET, GPU_TARGET, Until
from benchlib.trtexec import locate
from benchlib.trtexec.command import (
    HAVE_HALVES,
    CaseFiles,
    Command,
    Program,
    commands,
    graph_form,
    int8_method,
    program_typing,
    shell,
    unsupported,
)

log = logging.getLogger(__name__)


def cases(parameters: Parameters, program: Program) -> tuple[Case, ...]:
    """Every case once, in an order shuffled by ``seed``.

    Shuffled, because a machine that grows warm or busy would otherwise slow the last network or
    size only. A user's file is known by its name and content: the same one in another folder is
    measured once. Raises :class:`benchlib.errors.InputError` for a model that there is not and
    for a size, batch or open shape that a network cannot take.
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
        is_open = mode is not ShapeMode.STATIC
        registry.card(model).check_shape(Shape(batch, height, width, dynamic=is_open))
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
        same = next(by_key[case.key].model for case in found if case.model == model)
        log.warning("%s is the same file as %s and is measured once", model, same)
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


class Plan(tuple[Step, ...]):
    """The steps of a run, in its order."""

    __slots__ = ()

    @property
    def frame(self) -> pd.DataFrame:
        """One line per case; ``skipped because`` is empty where it would be run."""
        columns = {
            "model": [step.case.model for step in self],
            "precision": [str(step.case.precision) for step in self],
            "batch": [step.case.batch for step in self],
            "size": [step.case.resolution for step in self],
            "shapes": [str(step.case.shape_mode) for step in self],
            "typing": [str(step.case.typing) for step in self],
            "INT8 by": [str(step.case.int8_method or "") for step in self],
            "skipped because": [step.skipped or "" for step in self],
        }
        return pd.DataFrame(columns)

    def script(self, first: int | None = None) -> str:
        """A shell script that writes the graphs, builds and times the ``first`` so many cases.

        Without ``first`` every case.
        """
        steps = self[:first]
        lines = [f"mkdir -p {FOLDER}"] if any(step.commands for step in steps) else []
        written: set[tuple[str, ...]] = set()
        for step in steps:
            lines += ["", f"# {step.case.key}"]
            if step.skipped:
                lines.append(f"# skipped: {step.skipped}")
                continue
            if step.graph not in written:
                lines.append(shlex.join(step.graph))
                written.add(step.graph)
            lines += [shell(command) for command in step.commands]
        return "\n".join(lines)


def steps(parameters: Parameters, program: Program) -> Plan:
    """The plan of one precision's run on ``program``: every case in its order, with its commands.

    Raises :class:`benchlib.errors.InputError` as :func:`cases` does, and for settings that no
    command line can be made of.
    """
    return Plan(_step(case, parameters, program) for case in cases(parameters, program))


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
    # As in a run: all sizes of a dynamic engine share one graph.
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


# The plan of a whole preset, and what was set and has no effect in it.


_GPU_ONLY = (
    *("tf32", "cuda_graph", "transfers", "spin_wait", "streams", "half_io"),
    *("builder_optimization_level", "workspace_mib"),
)
"""Parameters that only the GPU programs take."""


def plan(
    preset_name: str | None, overrides: Mapping[str, Any], *, tensorrt: str | None = None
) -> Plan:
    """The steps of a preset with ``overrides``, for the machine at hand or for ``tensorrt``.

    Raises :class:`benchlib.errors.InputError` for a parameter, an engine or a version that does
    not exist, and for a size that a network cannot take.
    """
    runs = config.preset_runs(preset_name, overrides)
    program = locate.planned(runs[0].engine, tensorrt)
    return every(runs, program)


def every(runs: Sequence[Parameters], program: Program) -> Plan:
    """The steps of all ``runs`` of a preset; logs what was set and has no effect in them."""
    planned = Plan(step for parameters in runs for step in steps(parameters, program))
    for words in unused(runs, planned, program):
        log.warning("note: %s", words)
    return planned


def unused(runs: Sequence[Parameters], planned: Plan, program: Program) -> tuple[str, ...]:
    """What was set, differs from its default, and has no effect in ``runs``: a sentence each.

    No error, because a preset over which another precision or engine is set may well hold such; of
    what one of benchlib's own presets sets nothing is said.
    """
    given, usual = runs[0], Parameters()
    own = (given.preset or "").partition(",")[0]
    if own in config.preset_names():
        usual = config.find_preset(own).runs()[0]
    precisions = {parameters.precision for parameters in runs}
    modes = set(given.shape_modes)
    reasons: dict[str, str] = {}
    if Precision.INT8 not in precisions:
        reasons |= dict.fromkeys(("int8_methods", "calibration_dir"), "no precision is int8")
    elif not any(step.form is not None and step.form.is_int8 for step in planned):
        reasons["calibration_dir"] = "no INT8 graph is calibrated here"
    if modes == {ShapeMode.STATIC}:
        shapes = ("min_shape", "opt_shape", "max_shape")
        reasons |= dict.fromkeys(shapes, "every engine has a static shape; set shape_modes")
    elif ShapeMode.DYNAMIC not in modes:
        reasons["opt_shape"] = "the blog's engines have no optimum; set shape_modes"
    if all(model.startswith("onnx:") for model in given.models):
        reasons["weights"] = "every network is a file with its own"
    if not precisions & HAVE_HALVES:
        reasons["half_io"] = "no precision has FP16"
    if Precision.TF32 in precisions:
        reasons["tf32"] = "precision tf32 has it on"
    if program.on_cpu:
        reasons |= dict.fromkeys(_GPU_ONLY, "a CPU measures")
    else:
        reasons["threads"] = "a GPU measures"
    return tuple(
        f"{name} is not used: {why}"
        for name, why in reasons.items()
        if getattr(given, name) != getattr(usual, name)
    )
