"""Judge a measured set again: intervals, reasons and notes by today's rules.

They are made from the stored series. Nothing is measured, and no series is touched. What the
series do not hold (the graph's agreement with FP32, the layers' shares, the clock's lock) is taken
from the row. A row for which today's rules give what it has is left as it is, its version too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchlib.case import Status, Verdict
from benchlib.errors import InputError, first_line
from benchlib.export.calibration import Fidelity
from benchlib.gpu.clock_lock import NOT_ASKED, ClockLock
from benchlib.measure import measurement, record
from benchlib.measure.measurement import LayerPrecision, MeasuredValues
from benchlib.measure.record import Detail, Row
from benchlib.measure.store import Store
from benchlib.stats.quality_checks import RULES_VERSION, Observed, Reason
from benchlib.trtexec import exports
from benchlib.trtexec.command import Program
from benchlib.trtexec.exports import JOINTS, UNKNOWN, Layer

_NOTED = "Intervals, verdicts, reasons and notes"
NOTE = (
    f"{_NOTED}, throughput, launches, power, energy and clocks were made anew from the samples and "
    f"telemetry, and the layers' work put where it was done, by version {RULES_VERSION} of the "
    "rules (benchlib rejudge); nothing was measured again."
)


@dataclass(frozen=True, slots=True)
class Rejudged:
    """One row's verdict, reasons and notes before and after; ``changed`` is whether it was
    rewritten."""

    key: str
    before: Verdict | None
    after: Verdict | None
    old_reasons: tuple[str, ...]
    reasons: tuple[str, ...]
    old_notes: tuple[str, ...]
    notes: tuple[str, ...]
    changed: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a set: its rows, and by key why a row was left as it is."""

    rows: tuple[Rejudged, ...]
    left: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "rules": RULES_VERSION,
            "rows": [asdict(one) for one in self.rows],
            "left": dict(self.left),
        }

    def lines(self) -> Iterator[str]:
        """What changed of each row, and how many were judged, for a person."""
        for one in self.rows:
            before = " ".join([str(one.before), ";".join([*one.old_reasons, *one.old_notes])])
            after = " ".join([str(one.after), ";".join([*one.reasons, *one.notes])])
            if before != after:
                yield f"{one.key}: {before.strip()} -> {after.strip()}"
        for key, why in self.left.items():
            yield f"{key}: kept as it is, {why}"
        changed = sum(one.changed for one in self.rows)
        yield (
            f"{len(self.rows)} rows judged by version {RULES_VERSION} of the rules, "
            f"{changed} rewritten"
        )


def rejudge(folder: Path) -> Outcome:
    """Judge the set in ``folder`` again and rewrite the rows that change.

    Raises :class:`InputError` where there is no row with a series, or the set cannot be written.
    """
    if not any((folder / "samples").glob("*.parquet")) or not (folder / "rows").is_dir():
        raise InputError(
            "set",
            f"{folder.name} has no rows with stored samples (samples/KEY.parquet); give the folder "
            "of a set that benchlib measured, and pack an old one with tools/pack_set.py",
        )
    done, left = [], {}
    with Store(folder).opened() as store:
        for row in store.rows:
            if row.status is not Status.OK:
                continue
            try:
                new = _judged(folder, row)
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                left[row.key] = _why(error)
                continue
            # A row that is judged as before keeps its version. As text: on disk a tuple is a list
            same = new.model_copy(update={"detail": new.detail.but(rules=row.detail.rules)})
            changed = record.dump_row(same) != record.dump_row(row)
            if changed:
                store.save_row(new)
            codes = (row.reasons, new.reasons, row.notes, new.notes)
            done.append(Rejudged(row.key, row.verdict, new.verdict, *codes, changed))
        store.save_table()
        if any(one.changed for one in done):
            store.add_note(NOTE, instead_of=_NOTED)
    return Outcome(tuple(done), left)


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "its samples or telemetry are missing"
    if isinstance(error, (KeyError, TypeError, AttributeError)):
        return f"its row lacks what the rules go by ({first_line(error)})"
    return f"its series cannot be read ({first_line(error)})"


_COPIES = re.compile(r"Reformatting CopyNode for \w+ Tensor \d+ to |reshape_before_")


def _placed(folder: Path, row: Row) -> Detail:
    """The evidence of ``row`` with the work of its engine's layers where it was done.

    Until version 7 a copy made for a layer was counted for the work of its namesake, which then had
    none, or what its tensors showed. Evidence without such a copy is given back as it is.
    """
    file = folder / record.layers_file(row.key)
    stored = record.load_layers(file.read_bytes()) if file.is_file() else row.detail.layers or ()
    layers = [dict(one) for one in stored]
    computing = [one for one in layers if Layer(one["name"], one["type"]).computes]
    copies = [one for one in layers if one["macs"] and one not in computing]
    if not copies:
        return row.detail
    for copy in copies:
        name = _COPIES.sub("", copy["name"])
        for one in computing:
            if name in (one["name"], *JOINTS.split(one["name"])):
                # Of layers made one, a copy's name had lost the first, which kept its own work
                own = (one["macs"] or 0) if " || " in name else 0
                one["macs"] = copy["macs"] + own
                break
        copy["macs"] = None
    shares = dict(row.detail.shares or {})
    if shares.get("macs"):
        shares["macs"] = exports.shared_out(
            (one["precision"] or UNKNOWN, one["macs"] or 0) for one in computing
        )
    return row.detail.but(layers=layers, shares=shares)


def _judged(folder: Path, row: Row) -> Row:
    row = row.model_copy(update={"detail": _placed(folder, row)})
    runs = measurement.stored_runs(folder, row)
    counted = tuple(run for run in runs if not run.is_set_aside)
    found = MeasuredValues(counted, row.batch, _observed(row), stopped=row.rounds is not None)
    detail = row.detail.but(**found.evidence())
    return row.model_copy(update={**found.columns(), "detail": detail})


def _observed(row: Row) -> Observed:
    """What the verdict is made from, without the series, as the row has it."""
    detail = row.detail.model_dump()
    graph = detail.get("graph") or {}
    found = Fidelity.from_json(graph["fidelity"]) if graph.get("fidelity") else None
    lock = detail.get("clock_lock")
    shares = detail.get("shares") or {}
    # Whether a layer of UINT8 is of a quantised network or a mask shows in its inputs, which are
    # not in the row, so that it counts where it did
    proven = LayerPrecision(
        *map(shares.get, ("layers", "macs", "time")),
        declared=detail.get("declared") or {},
        quantised=Reason.PRECISION.value in row.reasons,
    )
    return measurement.observed(
        row,
        {**row.detail.settings, "idle_ms": row.idle_ms},
        Program(row.engine, (), row.engine_version or "0", row.device or ""),
        proven,
        found,
        row.device,
        row.gmacs,
        lock=ClockLock(**lock) if lock else NOT_ASKED,
        random_weights=graph.get("weights") == "random",
        # The program's own words are not in the row, what was made of them is
        graph_captured=Reason.CUDA_GRAPH.value not in row.reasons,
        low_precision_share=row.low_precision_share,
        confidential=detail.get("confidential_computing"),
        skipped_tactics=sum(one["facts"]["skipped_tactics"] for one in detail["engines"]),
    )
