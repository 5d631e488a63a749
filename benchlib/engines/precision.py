"""What a precision needs: a form of the graph, switches of the builder, or a refusal.

Until TensorRT 10.16 a precision can be asked for by switches over an FP32 graph (weak typing),
as the blog did. From 10.0 the graph itself can carry it (strong typing), and from 11.0 nothing
else is left. 8.6 has no strong typing; there the typed graph with the switches is the nearest.
"""

from __future__ import annotations

from benchlib.case import Case, Engine, Int8Method, Precision, Typing
from benchlib.engines import flags
from benchlib.engines.program import Program
from benchlib.engines.version import Version
from benchlib.graphs.form import GraphForm

# Always with --fp16: by itself --int8 lets layers without an INT8 kernel fall back to FP32, and
# the same holds for FP8.
_WEAK_SWITCHES = {
    Precision.FP32: (),
    Precision.TF32: (),
    Precision.FP16: ("--fp16",),
    Precision.BF16: ("--bf16",),
    Precision.INT8: ("--fp16", "--int8"),
    Precision.FP8: ("--fp16", "--fp8"),
}

_STRONG_FORMS = {
    Precision.FP32: GraphForm.FP32,
    Precision.TF32: GraphForm.FP32,
    Precision.FP16: GraphForm.FP16,
    Precision.INT8: GraphForm.INT8_QDQ_FP16,
}


def default_typing(version: Version) -> Typing:
    """Strong where trtexec has it, weak below; the CPU engine is strong in any case."""
    return Typing.STRONG if "--stronglyTyped" in flags.table(version) else Typing.WEAK


def program_typing(program: Program) -> Typing:
    """The default typing for ``program``; on a CPU the graph alone decides."""
    return Typing.STRONG if program.on_cpu else default_typing(program.release)


def graph_form(case: Case, version: Version) -> GraphForm:
    """The form of the graph that ``case`` is measured with.

    ``version`` is TensorRT's and is not looked at for the CPU engine. Give only cases for which
    :func:`unsupported` has no objection. BF16 and FP8 are not written by us: a user's own file
    is taken as it is, which is what FP32 means for it.
    """
    if case.engine is Engine.ONNXRUNTIME_CPU:
        return GraphForm.INT8_CPU if case.precision is Precision.INT8 else GraphForm.FP32
    if case.typing is Typing.STRONG:
        form = _STRONG_FORMS.get(case.precision, GraphForm.FP32)
        if form is GraphForm.INT8_QDQ_FP16 and default_typing(version) is Typing.WEAK:
            # FP16 scales need opset 19, which 8.6 does not read.
            return GraphForm.INT8_QDQ
        return form
    if case.precision is Precision.INT8 and not _made_up(case):
        return GraphForm.INT8_QDQ
    return GraphForm.FP32


def switches(case: Case, version: Version) -> tuple[str, ...]:
    """The builder's precision switches for ``case``, empty where the graph says it all."""
    table = flags.table(version)
    if case.typing is Typing.STRONG and "--stronglyTyped" in table:
        # From 11.0 it is always so, and the flag only brings a warning.
        return () if table.flags["--stronglyTyped"].noop else ("--stronglyTyped",)
    return _WEAK_SWITCHES[case.precision]


def int8_method(case: Case) -> Int8Method | None:
    """How the INT8 of ``case`` comes about, with the default of its engine; None if not INT8."""
    if case.precision is not Precision.INT8:
        return None
    if case.int8_method is not None:
        return case.int8_method
    if case.engine is Engine.ONNXRUNTIME_CPU:
        return Int8Method.ORT_STATIC
    return Int8Method.MADE_UP_RANGES if case.typing is Typing.WEAK else Int8Method.QDQ


def unsupported(case: Case, program: Program) -> str | None:
    """Why ``program`` cannot honestly run ``case``, in one sentence; None when it can."""
    if program.on_cpu:
        return _unsupported_on_cpu(case)
    version = program.release
    table = flags.table(version)
    if case.typing is Typing.WEAK:
        missing = [flag for flag in ("--fp16", *switches(case, version)) if flag not in table]
        if "--fp16" in missing:
            return (
                f"TensorRT {version} has no weak typing: the precision switches are gone since "
                "11.0; use typing=strong"
            )
        if missing:
            return f"TensorRT {version} does not know {missing[0]}, it came with 9.1"
    if case.precision is Precision.INT8:
        return _unsupported_int8(case)
    own = case.model.startswith("onnx:")
    if case.precision is Precision.FP8 and not own:
        return (
            "FP8 needs Q/DQ nodes of that type in the graph, which benchlib does not write; "
            "give such a graph as onnx:PATH"
        )
    if case.precision is Precision.BF16 and case.typing is Typing.STRONG:
        if "--stronglyTyped" not in table:
            return f"TensorRT {version} does not know BF16, it came with 9.1"
        if not own:
            weak = "use typing=weak, or " if "--bf16" in table else ""
            return f"benchlib writes no BF16 graph; {weak}give one as onnx:PATH"
    return None


def _unsupported_on_cpu(case: Case) -> str | None:
    precision = case.precision
    if precision in (Precision.FP16, Precision.BF16):
        name = precision.value.upper()
        return (
            f"ONNX Runtime computes {name} on a CPU in FP32 with casts around it, so its time "
            f"would say nothing about {name}"
        )
    if precision in (Precision.TF32, Precision.FP8):
        return f"a CPU has no {precision.value.upper()}"
    if precision is Precision.INT8 and case.int8_method not in (None, Int8Method.ORT_STATIC):
        return (
            f"ONNX Runtime on a CPU runs int8_method={case.int8_method} slower than FP32; "
            f"use {Int8Method.ORT_STATIC}"
        )
    return None


def _unsupported_int8(case: Case) -> str | None:
    if case.int8_method is Int8Method.ORT_STATIC:
        return (
            "TensorRT refuses the INT8 form of ONNX Runtime (zero points, INT32 biases); "
            f"use int8_method={Int8Method.QDQ}"
        )
    if case.int8_method is Int8Method.MADE_UP_RANGES and case.typing is Typing.STRONG:
        return (
            "made-up ranges are set by the builder, which strong typing forbids; "
            f"use int8_method={Int8Method.QDQ} or typing=weak"
        )
    return None


def _made_up(case: Case) -> bool:
    return int8_method(case) is Int8Method.MADE_UP_RANGES
