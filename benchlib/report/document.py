"""The report's sections: what ``report.ipynb`` calls, one line per cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchlib.analysis import layer_times, wording
from benchlib.analysis.measured import MeasuredSet, load
from benchlib.case import Engine, Status
from benchlib.errors import InputError
from benchlib.report import definition, doubts, methods, theme
from benchlib.report.drawing import Absent, Drawing
from benchlib.report.figures import (
    accuracy,
    fps,
    heatmap,
    latencymodel,
    layertimes,
    roofline,
    speedup,
    spread,
    work,
)
from benchlib.report.findings import findings_section
from benchlib.report.int8_section import int8_section
from benchlib.report.section import Bullets, Files, Heading, Part, Section, Styles, Words
from benchlib.report.sidebyside import side_by_side
from benchlib.report.tables import environment, failures, grid, latency, precision
from benchlib.report.tables import layertimes as layertimes_table
from benchlib.report.tables.grid import Table
from benchlib.report.view import View, on_cpu, slug, title, views

Draw = Callable[[View], Drawing | Absent]


def load_sets(results: Sequence[str | Path]) -> tuple[MeasuredSet, ...]:
    """Read the measured sets; raise :class:`InputError` for none, or two of one name."""
    sets = tuple(load(path) for path in results)
    if not sets:
        raise InputError("results", "no measured set was named; give at least one folder")
    names = [one.name for one in sets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError("results", f"two sets are called {twice[0]!r}; rename one folder")
    files: dict[str, str] = {}
    for name in names:
        if (other := files.setdefault(slug(name), name)) != name:
            raise InputError(
                "results",
                f"the sets {other!r} and {name!r} would share names of files; rename one folder",
            )
    return sets


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """Measured sets, and where figures and latency tables are saved (nowhere when empty)."""

    sets: tuple[MeasuredSet, ...]
    figures_dir: str = ""
    tables_dir: str = ""

    def styles(self) -> Styles:
        """The style of figures and tables; the first thing a notebook shows."""
        return Styles()

    def findings(self) -> Section:
        """The tested claims."""
        return findings_section(self.sets)

    def overview(self) -> Section:
        """What was measured where, in words; a CPU run says that it is one."""
        return Section.of(part for one in self.sets for part in _overview(one))

    def speed(self) -> Section:
        """FPS against input size: every precision, then all on one scale."""
        return self._per_view("fps", _fps)

    def grid_of_speeds(self) -> Section:
        """The heat map of every view."""
        return self._per_view("heatmap", lambda view: [heatmap.draw(view)])

    def speedups(self) -> Section:
        """Gains over FP32 of every view."""
        return self._per_view("speedup", lambda view: [speedup.draw(view)])

    def accuracies(self) -> Section:
        """Accuracy against latency, a figure per metric."""
        return self._per_view("accuracy", _accuracy)

    def work(self) -> Section:
        """Latency against multiply-accumulates."""
        return self._per_view("work", lambda view: [work.draw(view)])

    def roofline(self) -> Section:
        """What each network reaches of what the card could do."""
        return self._per_view("roofline", lambda view: [roofline.draw(view)])

    def layer_times(self) -> Section:
        """Where each engine's time goes, for the views whose layers were timed."""
        parts: list[Part | None] = []
        for one in self.sets:
            for view in views(one):
                found = layer_times.breakdowns(view.usable, one)
                names = view.drawable()
                drawn = layertimes.draw(names, layer_times.breakdowns(names.usable, one))
                if isinstance(drawn, Absent):
                    parts.append(replace(drawn, label=view.label))
                    continue
                parts += [
                    self._heading(view, "layertimes"),
                    saved(drawn, self.figures_dir),
                    layertimes_table.build(view, found),
                ]
        return Section.of(parts)

    def latency_model(self) -> Section:
        """A fixed cost and a cost per megapixel, network by network."""
        return self._per_view("model", lambda view: [latencymodel.draw(view)])

    def spread(self) -> Section:
        """Intervals and verdicts, cell by cell."""
        return self._per_view("spread", lambda view: [spread.draw(view)])

    def latencies(self) -> Section:
        """The table of every view with the box that says what its numbers hold.

        With ``tables_dir`` each is written there as CSV and LaTeX too.
        """
        parts: list[Part | None] = []
        for view in self.views():
            table = latency.build(view)
            parts += [self._heading(view, "table"), table]
            if self.tables_dir:
                names = grid.save(table, Path(self.tables_dir))
                parts.append(Files("The same table, beside this page:", names))
            parts.append(definition.box(view))
        return Section.of(parts)

    def precisions(self) -> Section:
        """Asked against got, for the views that know it."""
        unknown = "the share of layers in each precision is not known."
        return Section.of(
            precision.build(view, one) or Words(f"{view.label}: {unknown}", "absent")
            for one in self.sets
            for view in views(one)
        )

    def int8_methods(self) -> Section:
        """The ways in which INT8 was made, where a set has several."""
        return int8_section(self.sets)

    def failures(self) -> Section:
        """Every row that failed, was skipped or is doubted, with its reason."""
        parts: list[Part | None] = []
        for one in self.sets:
            built = failures.build(title(one), one.frame)
            none = Words(f"{title(one)}: no row failed, was skipped or is doubted.")
            parts += [built, doubts.legend(one)] if built.rows else [none]
        return Section.of(parts)

    def environments(self) -> Table:
        """The surroundings of all sets side by side."""
        return environment.build(self.sets)

    def side_by_side(self) -> Section:
        """Sets against each other and beside published figures."""
        return side_by_side(self.sets)

    def faults(self) -> Table:
        """What the blog says, what was found, what is done here."""
        return methods.faults()

    def commands(self) -> Section:
        """The commands really run, one good row per precision."""
        return Section.of(methods.commands(one) for one in self.sets)

    def provenance(self) -> Bullets:
        """Which files this page was made from, and with what."""
        return methods.provenance(self.sets)

    def views(self) -> Iterable[View]:
        """Every comparable part of every set, sets in the order given."""
        return [view for one in self.sets for view in views(one)]

    def _per_view(self, section: str, draw: Callable[[View], list[Drawing | Absent]]) -> Section:
        parts: list[Part | None] = []
        for view in self.views():
            drawn = draw(view.drawable())
            heading = self._heading(view, section)
            if heading and all(isinstance(one, Absent) for one in drawn):
                # A heading over nothing but the reason for it would only be in the way.
                parts += [replace(one, label=view.label) for one in drawn]
                continue
            parts.append(heading)
            parts += [saved(one, self.figures_dir) for one in drawn]
        return Section.of(parts)

    def _heading(self, view: View, section: str) -> Heading | None:
        if len(list(self.views())) == 1:
            return None
        return Heading(view.label, f"{section}-{view.slug}")


def saved(drawn: Drawing | Absent, figures_dir: str) -> Drawing | Absent:
    """``drawn``, its SVG and PNG written into ``figures_dir`` unless that is empty."""
    if figures_dir and isinstance(drawn, Drawing):
        drawn.save(Path(figures_dir))
    return drawn


def _fps(view: View) -> list[Drawing | Absent]:
    each = [fps.draw(view, word) for word in view.precisions]
    return each if len(each) == 1 else [*each, fps.panels(view)]


def _accuracy(view: View) -> list[Drawing | Absent]:
    metrics = accuracy.metrics(view)
    if not metrics:
        return [Absent("accuracy", "no usable row has an accuracy.")]
    return [accuracy.draw(view, metric) for metric in metrics]


def _overview(one: MeasuredSet) -> list[Part | None]:
    frame = one.frame
    good = int((frame["status"] == Status.OK.value).sum())
    sizes = [wording.size(size) for size in frame["resolution"].cat.categories]
    words = [theme.precision_label(word) for word in views(one)[0].precisions] if good else []
    devices = wording.listed(sorted(set(frame["device"].dropna()))) or "a device not recorded"
    facts = (
        f"{wording.plural(frame['model'].nunique(), 'network')}, "
        f"{wording.listed(sizes)}, {wording.listed(words)}; "
        f"{good} of {wording.plural(len(frame), 'row')} gave a number."
    )
    engines = set(frame["engine"].dropna())
    if one.published:
        kind = (
            f"Copied from a publication ({devices}); nobody measured it for this report, and it "
            "is shown as it was printed."
        )
    elif on_cpu(one):
        kind = (
            f"A CPU run, on {_cpu(one)}: ONNX Runtime, no GPU and no TensorRT. It shows how the "
            "networks compare on this CPU and says nothing of how they compare on a GPU."
        )
    elif Engine.FAKE.value in engines:
        kind = "Made-up times from the stand-in that tests this software. No number here is real."
    else:
        kind = f"Measured on {devices}."
    notes = tuple(map(str, one.environment.get("notes", ())))
    return [
        Heading(title(one), f"set-{slug(one.name)}", minor=False),
        Words(kind, "notice"),
        Words(facts),
        Bullets(notes) if notes else None,
        *(Words(f"{sentence}.", "notice") for sentence in one.damaged),
    ]


def _cpu(one: MeasuredSet) -> str:
    name = one.environment.get("cpu") or "a CPU not recorded"
    cores = one.environment.get("cpu_cores")
    return f"{name}, {wording.plural(int(cores), 'core')}" if cores else str(name)
