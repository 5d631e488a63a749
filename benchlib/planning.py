"""What a run would do: its cases, the exact command lines, and a script to paste into a shell.

Runs nothing and looks at no hardware, so a TensorRT that is not installed can be planned for.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchlib.case import Case, Precision, ShapeMode
from benchlib.engines import discovery, precision
from benchlib.engines.command import CaseFiles, Command, commands, shell
from benchlib.engines.program import Program
from benchlib.sweep import matrix, preset, workshop
from benchlib.sweep.parameters import Parameters

#: Where the pasted commands leave their files, below the folder they are pasted in.
FOLDER = Path("plan")


@dataclass(frozen=True, slots=True)
class Step:
    """One case and what would be run for it, or the reason why nothing would.

    ``graph`` is the ``benchlib graph`` command that writes the ONNX file the others read.
    """

    case: Case
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


def plan(
    preset_name: str | None,
    overrides: Mapping[str, Any],
    *,
    tensorrt: str | None = None,
    engine: str | None = None,
) -> tuple[Step, ...]:
    """The steps of a preset with ``overrides``, for the machine at hand or for ``tensorrt``.

    Raises :class:`benchlib.errors.InputError` for a parameter, an engine or a version that does
    not exist, and for a size that a network cannot take.
    """
    changes = dict(overrides)
    if engine is not None:
        changes["engine"] = engine
    runs = preset.find(preset_name or "quick").with_values(changes).runs()
    program = discovery.planned(runs[0].engine, tensorrt)
    return tuple(step for parameters in runs for step in of(parameters, program))


def of(parameters: Parameters, program: Program) -> tuple[Step, ...]:
    """The steps of one precision's run on ``program``, in the order they would be run."""
    return tuple(_step(case, parameters, program) for case in matrix.cases(parameters, program))


def script(steps: Sequence[Step]) -> list[str]:
    """Lines of a shell script that writes the graphs, builds and times every case."""
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
    return lines


def table(steps: Sequence[Step]) -> pd.DataFrame:
    """One line per case for a notebook."""
    columns = {
        "model": [step.case.model for step in steps],
        "precision": [str(step.case.precision) for step in steps],
        "batch": [step.case.batch for step in steps],
        "size": [step.case.resolution for step in steps],
        "shapes": [str(step.case.shape_mode) for step in steps],
        "typing": [str(step.case.typing) for step in steps],
        "INT8 by": [str(step.case.int8_method or "") for step in steps],
        "skipped because": [step.skipped or "" for step in steps],
    }
    return pd.DataFrame(columns)


def _step(case: Case, parameters: Parameters, program: Program) -> Step:
    reason = precision.unsupported(case, program)
    if reason is not None:
        return Step(case, (), (), reason)
    dynamic = case.shape_mode is not ShapeMode.STATIC
    form = precision.graph_form(case, program.release)
    size = "dynamic" if dynamic else f"{case.resolution}-b{case.batch}"
    method = precision.int8_method(case) if form.is_int8 else None
    name = "-".join(filter(None, [case.network, form.value, size, method and method.value]))
    graph = FOLDER / f"{name}.onnx"
    # The sweep's own rule: all sizes of a dynamic engine share one graph.
    images, height, width = workshop.traced_shape(case, parameters)
    argv = [
        *("benchlib", "graph", case.model, "--form", form.value),
        *("--height", str(height), "--width", str(width), "--batch", str(images)),
        *(["--dynamic"] if dynamic else []),
        *(["--int8-method", method.value] if method else []),
        *("--weights", parameters.weights, "--seed", str(parameters.seed)),
        *(
            ["--calibration-dir", parameters.calibration_dir]
            if _calibrates(case, parameters)
            else []
        ),
        *("-o", str(graph)),
    ]
    files = CaseFiles.within(FOLDER, case.key)
    done = commands(case, matrix.settings(parameters), program, graph, files, dynamic=dynamic)
    return Step(case, tuple(argv), done, None)


def _calibrates(case: Case, parameters: Parameters) -> bool:
    return case.precision is Precision.INT8 and parameters.calibration_dir is not None
