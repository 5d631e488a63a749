"""What a run would do: its cases, the exact command lines, and a script to paste into a shell.

Runs nothing and looks at no hardware, so a TensorRT that is not installed can be planned for.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from benchlib import config
from benchlib.case import Precision, ShapeMode
from benchlib.config import Parameters
from benchlib.measure import matrix
from benchlib.measure.matrix import FOLDER, Step
from benchlib.trtexec import locate
from benchlib.trtexec.command import HAVE_HALVES, Program, shell

log = logging.getLogger(__name__)

#: Parameters that only the GPU programs take.
_GPU_ONLY = (
    *("tf32", "cuda_graph", "transfers", "spin_wait", "streams", "half_io"),
    *("builder_optimization_level", "workspace_mib"),
)


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
    steps = Plan(step for parameters in runs for step in matrix.steps(parameters, program))
    for words in unused(runs, steps, program):
        log.warning("note: %s", words)
    return steps


def unused(runs: Sequence[Parameters], steps: Sequence[Step], program: Program) -> tuple[str, ...]:
    """What was set, differs from its default, and has no effect in ``runs``: a sentence each.

    No error, because a preset over which another precision or engine is set may well hold such.
    """
    given, usual = runs[0], Parameters()
    precisions = {parameters.precision for parameters in runs}
    modes = set(given.shape_modes)
    reasons: dict[str, str] = {}
    if Precision.INT8 not in precisions:
        reasons |= dict.fromkeys(("int8_methods", "calibration_dir"), "no precision is int8")
    elif not any(step.form is not None and step.form.is_int8 for step in steps):
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


def of(parameters: Parameters, program: Program) -> Plan:
    """The steps of one precision's run on ``program``, in the order they would be run."""
    return Plan(matrix.steps(parameters, program))
