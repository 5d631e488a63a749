"""The report's sections: what ``report.ipynb`` calls, one line per cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from IPython.display import HTML

from benchlib.analysis import layer_times, wording
from benchlib.analysis.measured import MeasuredSet, load
from benchlib.case import Engine, Status
from benchlib.errors import InputError
from benchlib.report import definition, doubts, methods, show, theme
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
from benchlib.report.sidebyside import side_by_side
from benchlib.report.tables import environment, failures, grid, latency, precision
from benchlib.report.tables import layertimes as layertimes_table
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

    def styles(self) -> HTML:
        """The style of figures and tables; the first thing a notebook shows."""
        return show.styles()

    def findings(self) -> HTML:
        """The tested claims."""
        return HTML(findings_section(self.sets))

    def overview(self) -> HTML:
        """What was measured where, in words; a CPU run says that it is one."""
        return HTML("".join(_overview(one) for one in self.sets))

    def speed(self) -> HTML:
        """FPS against input size: every precision, then all on one scale."""
        return self._per_view("fps", _fps)

    def grid_of_speeds(self) -> HTML:
        """The heat map of every view."""
        return self._per_view("heatmap", lambda view: [heatmap.draw(view)])

    def speedups(self) -> HTML:
        """Gains over FP32 of every view."""
        return self._per_view("speedup", lambda view: [speedup.draw(view)])

    def accuracies(self) -> HTML:
        """Accuracy against latency, a figure per metric."""
        return self._per_view("accuracy", _accuracy)

    def work(self) -> HTML:
        """Latency against multiply-accumulates."""
        return self._per_view("work", lambda view: [work.draw(view)])

    def roofline(self) -> HTML:
        """What each network reaches of what the card could do."""
        return self._per_view("roofline", lambda view: [roofline.draw(view)])

    def layer_times(self) -> HTML:
        """Where each engine's time goes, for the views whose layers were timed."""
        parts = []
        for one in self.sets:
            for view in views(one):
                found = layer_times.breakdowns(view.usable, one)
                names = view.drawable()
                drawn = layertimes.draw(names, layer_times.breakdowns(names.usable, one))
                if isinstance(drawn, Absent):
                    parts.append(show.reason(drawn, view.label))
                    continue
                parts += [
                    self._heading(view, "layertimes"),
                    show.figure(drawn, self.figures_dir).data,
                    grid.html(layertimes_table.build(view, found)),
                ]
        return HTML("".join(parts))

    def latency_model(self) -> HTML:
        """A fixed cost and a cost per megapixel, network by network."""
        return self._per_view("model", lambda view: [latencymodel.draw(view)])

    def spread(self) -> HTML:
        """Intervals and verdicts, cell by cell."""
        return self._per_view("spread", lambda view: [spread.draw(view)])

    def latencies(self) -> HTML:
        """The table of every view with the box that says what its numbers hold.

        With ``tables_dir`` each is written there as CSV and LaTeX too.
        """
        parts = []
        for view in self.views():
            table = latency.build(view)
            parts += [self._heading(view, "table"), grid.html(table)]
            if self.tables_dir:
                names = grid.save(table, Path(self.tables_dir))
                said = " and ".join(f"<code>{escape(name)}</code>" for name in names)
                parts.append(f'<p class="files">The same table, beside this page: {said}.</p>')
            parts.append(definition.html(view))
        return HTML("".join(parts))

    def precisions(self) -> HTML:
        """Asked against got, for the views that know it."""
        parts = []
        for one in self.sets:
            for view in views(one):
                built = precision.build(view, one)
                parts.append(
                    grid.html(built)
                    if built
                    else f'<p class="absent">{escape(view.label)}: the share of layers in each '
                    "precision is not known.</p>"
                )
        return HTML("".join(parts))

    def int8_methods(self) -> HTML:
        """The ways in which INT8 was made, where a set has several."""
        return HTML(int8_section(self.sets))

    def failures(self) -> HTML:
        """Every row that failed, was skipped or is doubted, with its reason."""
        parts = []
        for one in self.sets:
            built = failures.build(title(one), one.frame)
            parts.append(
                grid.html(built, sortable=False) + doubts.legend(one)
                if built.rows
                else f"<p>{escape(title(one))}: no row failed, was skipped or is doubted.</p>"
            )
        return HTML("".join(parts))

    def environments(self) -> HTML:
        """The surroundings of all sets side by side."""
        return HTML(grid.html(environment.build(self.sets), sortable=False))

    def side_by_side(self) -> HTML:
        """Sets against each other and beside published figures."""
        return HTML(side_by_side(self.sets))

    def faults(self) -> HTML:
        """What the blog says, what was found, what is done here."""
        return HTML(grid.html(methods.faults(), sortable=False))

    def commands(self) -> HTML:
        """The commands really run, one good row per precision."""
        return HTML("".join(methods.commands(one) for one in self.sets))

    def provenance(self) -> HTML:
        """Which files this page was made from, and with what."""
        return HTML(methods.provenance(self.sets))

    def views(self) -> Iterable[View]:
        """Every comparable part of every set, sets in the order given."""
        return [view for one in self.sets for view in views(one)]

    def _per_view(self, section: str, draw: Callable[[View], list[Drawing | Absent]]) -> HTML:
        parts = []
        for view in self.views():
            drawn = draw(view.drawable())
            heading = self._heading(view, section)
            if heading and all(isinstance(one, Absent) for one in drawn):
                # A heading over nothing but the reason for it would only be in the way.
                parts += [show.reason(one, view.label) for one in drawn]
                continue
            parts.append(heading)
            parts += [show.figure(one, self.figures_dir).data for one in drawn]
        return HTML("".join(parts))

    def _heading(self, view: View, section: str) -> str:
        if len(list(self.views())) == 1:
            return ""
        return f'<h3 class="minor" id="{section}-{view.slug}">{escape(view.label)}</h3>'


def _fps(view: View) -> list[Drawing | Absent]:
    each = [fps.draw(view, word) for word in view.precisions]
    return each if len(each) == 1 else [*each, fps.panels(view)]


def _accuracy(view: View) -> list[Drawing | Absent]:
    metrics = accuracy.metrics(view)
    if not metrics:
        return [Absent("accuracy", "no usable row has an accuracy.")]
    return [accuracy.draw(view, metric) for metric in metrics]


def _overview(one: MeasuredSet) -> str:
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
    notes = "".join(f"<li>{escape(str(note))}</li>" for note in one.environment.get("notes", ()))
    listed = f"<ul>{notes}</ul>" if notes else ""
    damaged = "".join(f'<p class="notice">{escape(sentence)}.</p>' for sentence in one.damaged)
    return (
        f'<h3 id="set-{slug(one.name)}">{escape(title(one))}</h3>'
        f'<p class="notice">{escape(kind)}</p><p>{escape(facts)}</p>{listed}{damaged}'
    )


def _cpu(one: MeasuredSet) -> str:
    name = one.environment.get("cpu") or "a CPU not recorded"
    cores = one.environment.get("cpu_cores")
    return f"{name}, {wording.plural(int(cores), 'core')}" if cores else str(name)
