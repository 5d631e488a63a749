"""What the notebooks call, one line per cell: the report's sections and the line-up's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchlib.analysis import roofline, wording
from benchlib.analysis.results import MeasuredSet, load
from benchlib.case import Status, resolution
from benchlib.errors import InputError
from benchlib.models.registry import CLASSIFICATION, SEGMENTATION
from benchlib.report import methods, sections, style
from benchlib.report.explorer import Explorer
from benchlib.report.figures import accuracy, fps, layer_times, scatter, tiles
from benchlib.report.parts import Bullets, Files, Heading, Part, Section, Styles, Words
from benchlib.report.sections import findings_section, int8_section, side_by_side
from benchlib.report.style import Absent, Drawing
from benchlib.report.tables import grid, latency, lineup
from benchlib.report.tables.grid import Table
from benchlib.report.tables.lineup import Record
from benchlib.report.view import View, on_cpu, slug, title, views

# The report's sections: what ``report.ipynb`` calls, one line per cell.


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
    """Measured sets, and where figures and latency tables are saved (nowhere when empty).

    ``price_per_hour`` are dollars for the device, None: nobody gave a price.
    """

    sets: tuple[MeasuredSet, ...]
    figures_dir: str = ""
    tables_dir: str = ""
    price_per_hour: float | None = None

    def styles(self) -> Styles:
        """The style of figures and tables; the first thing a notebook shows."""
        return Styles()

    def findings(self) -> Section:
        """The tested claims."""
        return findings_section(self.sets)

    def explore(self) -> Explorer:
        """Every row, to be asked."""
        return Explorer(self.sets, self.price_per_hour)

    def overview(self) -> Section:
        """What was measured where, in words; a CPU run says that it is one."""
        return Section.of(part for one in self.sets for part in _overview(one))

    def speed(self) -> Section:
        """FPS against input size: every precision, then all on one scale."""
        return self._per_view("fps", _fps)

    def grid_of_speeds(self) -> Section:
        """The heat map of every view."""
        return self._per_view("heatmap", lambda view: [tiles.draw_fps(view)])

    def speedups(self) -> Section:
        """Gains over FP32 of every view."""
        return self._per_view("speedup", lambda view: [fps.speedup_draw(view)])

    def accuracies(self) -> Section:
        """Accuracy against latency, a figure per metric."""
        return self._per_view("accuracy", _accuracy)

    def work(self) -> Section:
        """Latency against multiply-accumulates."""
        return self._per_view("work", lambda view: [scatter.draw_work(view)])

    def roofline(self) -> Section:
        """What each network reaches of what the card could do."""
        return self._per_view("roofline", lambda view: [scatter.draw_roofline(view)])

    def layer_times(self) -> Section:
        """Where each engine's time goes, for the views whose layers were timed."""
        parts: list[Part | None] = []
        for one in self.sets:
            for view in views(one):
                found = roofline.breakdowns(view.usable, one)
                names = view.drawable()
                drawn = layer_times.draw(names, roofline.breakdowns(names.usable, one))
                if isinstance(drawn, Absent):
                    parts.append(replace(drawn, label=view.label))
                    continue
                parts += [
                    self._heading(view, "layertimes"),
                    saved(drawn, self.figures_dir),
                    latency.build_layer_times(view, found),
                ]
        return Section.of(parts)

    def latency_model(self) -> Section:
        """A fixed cost and a cost per megapixel, network by network."""
        return self._per_view("model", lambda view: [scatter.draw_latency_model(view)])

    def spread(self) -> Section:
        """Intervals and verdicts, cell by cell."""
        return self._per_view("spread", lambda view: [tiles.draw_spread(view)])

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
            parts.append(methods.box(view))
        return Section.of(parts)

    def precisions(self) -> Section:
        """Asked against got, for the views that know it."""
        unknown = "the share of layers in each precision is not known."
        return Section.of(
            latency.build_precision(view, one) or Words(f"{view.label}: {unknown}", "absent")
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
            built = latency.build_failures(title(one), one.frame)
            none = Words(f"{title(one)}: no row failed, was skipped or is doubted.")
            parts += [built, sections.legend(one)] if built.rows else [none]
        return Section.of(parts)

    def environments(self) -> Table:
        """The surroundings of all sets side by side."""
        return sections.environment_table(self.sets)

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
    each = [fps.fps_draw(view, word) for word in view.precisions]
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
    words = [style.precision_label(word) for word in views(one)[0].precisions] if good else []
    devices = wording.listed(sorted(set(frame["device"].dropna()))) or "a device not recorded"
    facts = (
        f"{wording.plural(frame['model'].nunique(), 'network')}, "
        f"{wording.listed(sizes)}, {wording.listed(words)}; "
        f"{good} of {wording.plural(len(frame), 'row')} gave a number."
    )
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


# The sections of the line-up page: what ``lineup.ipynb`` calls, one line per cell.


@dataclass(frozen=True, slots=True, eq=False)
class LineUp:
    """The networks at several sizes, one sequence of records per size.

    ``figures_dir`` is where figures are saved as well; nowhere when it is empty.
    """

    sizes: tuple[tuple[Record, ...], ...]
    figures_dir: str = ""

    def table(self) -> Table:
        """Cost and published accuracy at the first size."""
        return lineup.costs(self.sizes[0])

    def facts(self) -> Table:
        """Where the graphs end, and whose the accuracies are."""
        return lineup.facts(self.sizes[0])

    def work(self) -> Drawing | Absent:
        """GMACs against megapixels."""
        every = [row for rows in self.sizes for row in rows]
        return saved(accuracy.work(every), self.figures_dir)

    def accuracies(self) -> Section:
        """Accuracy against parameters, a figure per task: their metrics do not compare."""
        drawn = [accuracy.accuracy(self.sizes[0], task) for task in (CLASSIFICATION, SEGMENTATION)]
        return Section.of(saved(one, self.figures_dir) for one in drawn)


def read_lineup(models: Sequence[str], resolutions: Sequence[str], figures_dir: str = "") -> LineUp:
    """Count ``models`` (all of the line-up when empty) at each ``WIDTHxHEIGHT``.

    Raises :class:`InputError` for an unknown network or size, or when no size is given.
    """
    if not resolutions:
        raise InputError("resolutions", "no size was given; give at least one, like 640x480")
    sizes = (resolution(size) for size in resolutions)
    return LineUp(
        tuple(lineup.read_all(models, height, width) for height, width in sizes),
        figures_dir,
    )


def lineup_styles() -> Styles:
    """The style of tables and figures; the first thing the notebook shows."""
    return Styles()
