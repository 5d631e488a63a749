"""Measure how fast computer-vision backbones run in TensorRT and say what the numbers mean.

What a script or a notebook needs, by the words of the command line::

    import benchlib

    benchlib.plan("blog", tensorrt="10.16").frame          # what would be run, without a GPU
    measured = benchlib.run("quick", out="results/mine")   # the main job; resumes
    measured = benchlib.load("results/mine")               # the same set, read again
    measured.frame                                         # one line per case
    benchlib.findings(measured)                            # the claims, tested
    benchlib.compare(benchlib.load("results/other"), measured).frame
    benchlib.figures.fps(measured)                         # shows itself in a notebook
    benchlib.tables.latency(measured).frame
    benchlib.export("resnet18", "fp16", height=480, width=640).path

What a user gave and cannot be used raises :class:`benchlib.errors.InputError`, one line that names
the field and the remedy. Times are milliseconds of one batch unless a name says otherwise.

Importing this imports nothing but the standard library: the stand-ins for trtexec run under
interpreters that have little more than numpy.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from benchlib.analysis.compare import Comparison
    from benchlib.analysis.results import MeasuredSet
    from benchlib.measure.matrix import Plan

__version__ = "0.1.0"

__all__ = ["compare", "export", "figures", "findings", "load", "plan", "run", "tables"]

_ON_FIRST_USE = ("export", "figures", "tables")


def __getattr__(name: str) -> Any:
    """Import the modules of the face when they are first used: they bring PyTorch, matplotlib."""
    if name in _ON_FIRST_USE:
        return importlib.import_module(f"benchlib.{name}")
    raise AttributeError(f"module 'benchlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_FIRST_USE})


def load(path: str | Path) -> MeasuredSet:
    """Read the measured set in folder ``path``, or with the table at ``path``.

    ``.frame`` is a DataFrame with one line per case and the columns of ``table.csv``: times in
    milliseconds of one batch (``latency_ms``), sizes in pixels, ``fps`` images per second.
    ``.environment`` says what it was measured on.

    Raises :class:`~benchlib.errors.InputError` when there is no table, or one that cannot be read.
    """
    from benchlib.analysis import results

    return results.load(path)


def plan(
    preset: str | Path | None = None, *, tensorrt: str | None = None, **parameters: Any
) -> Plan:
    """The cases of a preset and their exact command lines; runs nothing and needs no GPU.

    ``preset`` is ``quick`` (the default), ``blog``, ``full`` or the path of a YAML file, and
    ``parameters`` are set over it, by the names of :class:`benchlib.config.Parameters`, with
    ``precisions`` for the list of them: ``plan(models=["resnet18"], precisions=["fp16"])``.
    ``tensorrt`` is the version to plan for, such as ``"10.16"``; without it what is here.

    ``.frame`` has one line per case, ``.script()`` is the text for a shell, and each step in it
    has ``case``, ``commands`` and ``skipped``, the reason where nothing would be run.

    Raises :class:`~benchlib.errors.InputError` for a preset, parameter or version that does not
    exist, and for a size (WIDTHxHEIGHT in pixels) that a network cannot take.
    """
    from benchlib.measure import matrix

    return matrix.plan(preset, parameters, tensorrt=tensorrt)


def run(
    preset: str | Path | None = None,
    *,
    out: str | Path = "results/local",
    report: bool = True,
    **parameters: Any,
) -> MeasuredSet:
    """Measure what :func:`plan` would show into the folder ``out``, and return the set.

    What ``out`` holds already is not measured again. ``report`` renders ``out/report.html`` as
    well. Lines of progress go to the logger ``benchlib``. To be called in the main thread, which
    takes Ctrl-C: at the first the running case finishes, at the second it stops.

    A case that fails is a row of the set, with ``failure`` and ``message``, and is logged. Raises
    :class:`~benchlib.errors.InputError` as :func:`plan` does, before anything runs;
    :class:`~benchlib.errors.MachineError` when a precision's notebook stopped, as it does where
    all of its cases failed, or when there is no report; KeyboardInterrupt after Ctrl-C. The rows
    measured until then stay in ``out``, where :func:`load` reads them.
    """
    from benchlib import pipeline

    pipeline.main_job(preset, parameters, Path(out), with_report=report).check()
    return load(out)


def findings(measured: MeasuredSet | str | Path, *beside: MeasuredSet | str | Path) -> pd.DataFrame:
    """Test the claims on a set: one line per test of a claim on a subset of its rows.

    A set is given as such or by its folder.

    Each set ``beside`` shows what another program or build of the same card changes, or how
    another card compares.

    Columns: ``claim``, ``subset``, ``test`` (the quantity that was computed), ``estimate`` with
    its 95 % interval ``ci_low`` to ``ci_high`` (empty where nothing could be computed), ``n``
    (networks, or cells where ``test`` says so), ``verdict`` (supported, partly, refuted or can't
    tell) and ``sentence``.
    """
    from benchlib.analysis.claims import findings as claims

    return claims.frame(claims.of(_read(measured), [_read(one) for one in beside]))


def compare(
    first: MeasuredSet | str | Path, second: MeasuredSet | str | Path, *, threshold: float = 0.03
) -> Comparison:
    """Compare ``second`` with ``first`` case by case; each is a set or its folder.

    ``.frame`` has one line per case in both: ``first_ms``, ``second_ms``, their ``ratio`` (below
    1: the second is faster) with the bounds ``low`` and ``high``, and ``outcome``: faster, slower,
    same or undecided. ``threshold`` is the relative difference below which two times count as the
    same, by default what another build of the engine may change. ``.mean_ratio`` is the geometric
    mean, ``.differences`` is what else differs.

    Raises :class:`~benchlib.errors.InputError` when a set holds a case twice.
    """
    from benchlib.analysis import compare as comparison

    return comparison.compare(_read(first), _read(second), threshold)


def _read(given: MeasuredSet | str | Path) -> MeasuredSet:
    return load(given) if isinstance(given, (str, Path)) else given
