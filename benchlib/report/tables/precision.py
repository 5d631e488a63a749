"""The precision that was asked for beside the share of the engine that got it."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from benchlib.analysis import parts, wording
from benchlib.analysis.measured import MeasuredSet
from benchlib.case import Precision
from benchlib.engines import layers
from benchlib.report import theme
from benchlib.report.tables.cells import share
from benchlib.report.tables.grid import Cell, Column, Table
from benchlib.report.view import View

_LOW = {precision.value for precision in Precision} - {Precision.FP32.value, Precision.TF32.value}
_TITLES = {"layers": "layers", "macs": "MACs", "time": "time"}
_WORDS = {"layers": "layers", "macs": "multiply-accumulates (MACs)", "time": "time"}
_OF_TIME = (
    "The time is that of a profiled run apart, in which moving and converting data counts as not "
    "got either. "
)


def build(view: View, measured: MeasuredSet) -> Table | None:
    """Lowest shares over the sizes per network and low precision; None when none is known.

    ``measured`` is the set of the view, whose rows hold the shares of work and time.
    """
    rows = view.usable.dropna(subset=["low_precision_share"])
    rows = rows[[parts.base(str(word))[0] in _LOW for word in rows["precision"]]]
    if rows.empty:
        return None
    got = pd.DataFrame([_got(row, measured) for row in rows.to_dict("records")], index=rows.index)
    shares = got.groupby([rows["model"], rows["precision"]], observed=True).min()
    models = sorted(set(rows["model"]))
    known = [kind for kind in _TITLES if shares[kind].notna().any()]
    columns = []
    for precision in [word for word in view.precisions if word in set(rows["precision"])]:
        for kind in [kind for kind in known if shares.xs(precision, level=1)[kind].notna().any()]:
            cells = tuple(share(shares[kind].get((model, precision))) for model in models)
            columns.append(Column(theme.precision_label(precision), _TITLES[kind], cells))
    if not any(parts.base(word)[1] for word in view.precisions):
        columns.append(_methods(rows, models))
    return Table(
        name=f"precision-{view.slug}",
        caption=(
            f"Asked and got: the share of the engine's {wording.listed(_words(known))} in the "
            "precision asked for or a lower one, the least over the sizes; "
            f"{view.label}. {_OF_TIME if 'time' in known else ''}What is missing "
            "went to a higher precision."
        ),
        corner="Network",
        rows=tuple(models),
        columns=tuple(columns),
    )


def _words(kinds: list[str]) -> list[str]:
    return [_WORDS[kind] for kind in kinds]


def _got(row: Mapping[str, object], measured: MeasuredSet) -> dict[str, float | None]:
    precision = Precision(parts.base(str(row["precision"]))[0])
    known = measured.shares(str(row["key"]))
    found = {kind: layers.low(known.get(kind), precision) for kind in ("macs", "time")}
    return {"layers": row["low_precision_share"], **found}


def _methods(rows: pd.DataFrame, models: list[str]) -> Column:
    methods = rows.dropna(subset=["int8_method"]).groupby("model")["int8_method"].first()
    cells = tuple(Cell(str(methods.get(model, wording.DASH))) for model in models)
    return Column("INT8", "made by", cells)
