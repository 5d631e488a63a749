"""What the notebooks call, one line per cell: the report's sections and the line-up's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchlib.analysis import ranking, roofline, wording
from benchlib.analysis.results import MeasuredSet
from benchlib.analysis.results import load_sets as load_sets
from benchlib.case import Status, resolution
from benchlib.errors import InputError
from benchlib.models.registry import CLASSIFICATION, SEGMENTATION
from benchlib.report import methods, sections, style
from benchlib.report.answer import answer_section
from benchlib.report.explorer import Explorer
from benchlib.report.figures import accuracy, fps, layer_times, scatter, tiles
from benchlib.report.parts import Block, Bullets, Files, Folded, Part, Section, Styles, Words
from benchlib.report.sections import findings_section, side_by_side
from benchlib.report.style import Absent, Drawing
from benchlib.report.tables import grid, latency, lineup
from benchlib.report.tables.grid import Table
from benchlib.report.tables.lineup import Record
from benchlib.report.view import View, on_cpu, slug, title, views

# The report's sections: what ``report.ipynb`` calls, one line per cell.


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """Measured sets, and where figures and latency tables are saved (nowhere when empty).

    ``price_per_hour`` are dollars for the device, None: nobody gave a price. ``absent`` gathers
    what the sections shown so far had to leave out: section and rows, and why.
    """

    sets: tuple[MeasuredSet, ...]
    figures_dir: str = ""
    tables_dir: str = ""
    price_per_hour: float | None = None
    absent: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ranking.check_price(self.price_per_hour)

    def styles(self) -> Styles:
        """The style of figures and tables; the first thing a notebook shows."""
        return Styles()

    def answer(self) -> Section:
        """Which network to take at each size and precision, and what it costs."""
        return answer_section(self.sets, self.price_per_hour)

    def findings(self) -> Section:
        """The tested claims."""
        return findings_section(self.sets)

    def explore(self) -> Explorer:
        """Every row, to be asked."""
        return Explorer(self.sets, self.price_per_hour)

    def overview(self) -> Section:
        """What was measured where, in words; a CPU run says that it is one."""
        return Section.first_open([_overview(one) for one in self.sets])

    def speed(self) -> Section:
        """FPS against input size: all precisions on one scale, then each by itself."""
        return self._per_view("FPS by size", "fps", _fps)

    def grid_of_speeds(self) -> Section:
        """The heat map of every view."""
        return self._per_view("All cells", "heatmap", lambda view: [tiles.draw_fps(view)])

    def speedups(self) -> Section:
        """Gains over FP32 of every view."""
        return self._per_view("Lower precision", "speedup", lambda view: [fps.draw_speedup(view)])

    def accuracies(self) -> Section:
        """Accuracy against latency, a figure per metric."""
        return self._per_view("Accuracy", "accuracy", _accuracy)

    def work(self) -> Section:
        """Latency against multiply-accumulates."""
        return self._per_view("Arithmetic", "work", lambda view: [scatter.draw_work(view)])

    def roofline(self) -> Section:
        """What each network reaches of what the card could do."""
        return self._per_view("Roofline", "roofline", lambda view: [scatter.draw_roofline(view)])

    def layer_times(self) -> Section:
        """Where each engine's time goes, for the views whose layers were timed."""
        measured = {view.slug: one for one in self.sets for view in views(one)}

        def draw(view: View) -> list[Drawing | Absent]:
            return [layer_times.draw(view, roofline.breakdowns(view.usable, measured[view.slug]))]

        def more(view: View) -> list[Part]:
            found = roofline.breakdowns(view.usable, measured[view.slug])
            return [sections.folded("engine", latency.build_layer_times(view, found))]

        return self._per_view("Layers", "layertimes", draw, more)

    def latency_model(self) -> Section:
        """A fixed cost and a cost per megapixel, network by network."""
        words = "The numbers of each line, to predict another size with"
        return self._per_view(
            "Fixed cost",
            "model",
            lambda view: [scatter.draw_latency_model(view)],
            lambda view: [Folded(words, (latency.build_lines(view),))],
        )

    def spread(self) -> Section:
        """Intervals and verdicts, cell by cell."""
        return self._per_view("How sure", "spread", lambda view: [tiles.draw_spread(view)])

    def latencies(self) -> Section:
        """The table of every view, and one box for each kind of set that says what they hold.

        With ``tables_dir`` each is written there as CSV and LaTeX too.
        """
        blocks, kinds = [], {}
        for view in self.views():
            built = latency.build(view)
            parts: list[Part] = [built]
            if self.tables_dir:
                names = grid.save(built, Path(self.tables_dir))
                parts.append(Files("The same table, beside this page:", names))
            if energy := latency.build_energy(view):
                parts.append(Folded("Energy per image", (energy,)))
            kinds.setdefault((view.published, on_cpu(view)), []).append(view)
            blocks.append(Block(view.label, f"table-{view.slug}", tuple(parts), _extent(view)))
        boxes = [methods.box(some) for some in kinds.values()]
        folded = (Folded(f"{one.title}: {one.pairs[0][1]}", (one,)) for one in boxes)
        return Section((*Section.first_open(blocks), *folded))

    def precisions(self) -> Section:
        """Asked against got, for the views that know it."""
        blocks = []
        for one in self.sets:
            for view in views(one):
                built = latency.build_precision(view, one)
                if built is None:
                    self._leave_out(
                        "Precision got", view.label, "no share of layers by precision is known."
                    )
                    continue
                blocks.append(Block(view.label, f"got-{view.slug}", (built,), _extent(view)))
        return Section.first_open(blocks)

    def int8_methods(self) -> Section:
        """The ways in which INT8 was made, where a set has several."""
        found = sections.int8_section(self.sets)
        if not found:
            self._leave_out("INT8", "every set", "none made INT8 in more than one way.")
        return found

    def failures(self) -> Section:
        """Every row that failed, was skipped or is doubted, with its reason, and which networks
        of the line-up have no number."""
        blocks: list[Block] = []
        for one in self.sets:
            built = latency.build_failures(title(one), one.frame)
            none = Words(f"{title(one)}: no row failed, was skipped or is doubted.")
            there = [sections.folded("row", built), sections.legend(one)] if built.rows else [none]
            without = [Bullets(said)] if (said := sections.without_number(one)) else []
            parts = tuple(part for part in (Words(built.caption), *there, *without) if part)
            gist = f"{len(built.rows)} of {wording.plural(len(one.frame), 'row')}"
            blocks.append(Block(title(one), f"doubts-{slug(one.name)}", parts, gist))
        return Section.first_open(blocks)

    def environments(self) -> Folded:
        """The surroundings of all sets side by side."""
        return sections.folded("fact", sections.environment_table(self.sets))

    def side_by_side(self) -> Section:
        """Sets against each other and beside published figures."""
        found = side_by_side(self.sets)
        if not found:
            self._leave_out("Side by side", "this report", "there is no second set.")
        return found

    def faults(self) -> Folded:
        """What the blog says, what was found, what is done here."""
        return sections.folded("fault", methods.faults())

    def commands(self) -> Section:
        """The commands really run, one good row per precision."""
        return Section(tuple(Folded(title(one), tuple(methods.commands(one))) for one in self.sets))

    def not_drawn(self) -> Section:
        """What the sections above left out, once, with the reasons."""
        reasons: dict[tuple[str, str], list[str]] = {}
        for (section, label), reason in self.absent.items():
            reasons.setdefault((section, reason), []).append(label)
        items = [
            f"{section}, {wording.listed(labels)}: {reason}"
            for (section, reason), labels in reasons.items()
        ]
        return Section((Bullets(items, kind="absent"),) if items else ())

    def provenance(self) -> Bullets:
        """Which files this page was made from, and with what."""
        return methods.provenance(self.sets)

    def views(self) -> Iterable[View]:
        """Every comparable part of every set, sets in the order given."""
        return [view for one in self.sets for view in views(one)]

    def _per_view(
        self,
        section: str,
        anchor: str,
        draw: Callable[[View], list[Drawing | Absent]],
        more: Callable[[View], list[Part]] = lambda view: [],
    ) -> Section:
        """A block per view: its first figure, the other ones folded, then ``more``."""
        blocks = []
        for view in self.views():
            drawn = [saved(one, self.figures_dir) for one in draw(view.drawable())]
            there = [one for one in drawn if isinstance(one, Drawing)]
            for one in drawn:
                if isinstance(one, Absent):
                    self._leave_out(section, view.label, one.reason)
            if there:
                blocks.append(
                    Block(
                        view.label,
                        f"{anchor}-{view.slug}",
                        (*_first_open(there), *more(view)),
                        style.finding(there[0], view.label),
                    )
                )
        return Section.first_open(blocks)

    def _leave_out(self, section: str, label: str, reason: str) -> None:
        key = (section, label)
        said = self.absent.get(key, "")
        if reason not in said:
            self.absent[key] = f"{said} {reason}".strip()


def _first_open(drawn: Sequence[Drawing]) -> list[Part]:
    first, *others = drawn
    if not others:
        return [first]
    words = f"{wording.plural(len(others), 'more figure')}: {wording.listed(_names(others))}"
    return [first, Folded(words, tuple(others))]


def _names(drawn: Sequence[Drawing]) -> list[str]:
    return [one.caption.partition(";")[0] for one in drawn]


def _extent(view: View) -> str:
    """How much ``view`` holds: networks, sizes, precisions."""
    rows = view.usable
    return (
        f"{wording.plural(rows['model'].nunique(), 'network')}, "
        f"{wording.listed(map(wording.size, view.sizes))}, "
        f"{wording.listed(map(style.precision_label, view.precisions))}"
    )


def saved(drawn: Drawing | Absent, figures_dir: str) -> Drawing | Absent:
    """``drawn``, its SVG and PNG written into ``figures_dir`` unless that is empty."""
    if figures_dir and isinstance(drawn, Drawing):
        drawn.save(Path(figures_dir))
    return drawn


def _fps(view: View) -> list[Drawing | Absent]:
    each = [fps.draw_fps(view, word) for word in fps.with_lines(view)]
    return each if len(view.precisions) == 1 else [fps.panels(view), *each]


def _accuracy(view: View) -> list[Drawing | Absent]:
    metrics = accuracy.metrics(view)
    if not metrics:
        return [Absent("accuracy", "no usable row has an accuracy.")]
    known = view.usable.groupby("accuracy_metric")["model"].nunique()
    metrics = sorted(metrics, key=lambda one: -known.get(one, 0))
    return [accuracy.draw(view, metric) for metric in metrics]


def _overview(one: MeasuredSet) -> Block:
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
            f"A CPU run, on {_cpu(one)}: ONNX Runtime{_threads(one)}, no GPU and no TensorRT. It "
            "shows how the networks compare on this CPU and says nothing of how they compare on a "
            "GPU."
        )
    else:
        kind = f"Measured on {devices}."
    notes = tuple(map(str, one.environment.get("notes", ())))
    parts: list[Part] = [Words(kind, "notice"), Words(facts)]
    parts += (
        [Folded(f"How it was measured ({wording.plural(len(notes), 'note')})", (Bullets(notes),))]
        if notes
        else []
    )
    parts += [Words(f"{sentence}.", "notice") for sentence in one.damaged]
    return Block(title(one), f"set-{slug(one.name)}", tuple(parts), facts)


def _cpu(one: MeasuredSet) -> str:
    name = one.environment.get("cpu") or "a CPU not recorded"
    cores = one.environment.get("cpu_cores")
    return f"{name}, {wording.plural(int(cores), 'core')}" if cores else str(name)


def _threads(one: MeasuredSet) -> str:
    """The threads that were asked for, where all precisions have the same."""
    asked = {given.get("threads") for given in one.environment.get("parameters", {}).values()}
    count = asked.pop() if len(asked) == 1 else None
    return f" in {wording.plural(int(count), 'thread')}" if count else ""


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

    def elsewhere(self) -> Table | Absent:
        """What latencies others published, and why ours differ."""
        return lineup.elsewhere(self.sizes[0])

    def work(self) -> Drawing | Absent:
        """GMACs against megapixels."""
        every = [row for rows in self.sizes for row in rows]
        return saved(accuracy.work(every), self.figures_dir)

    def accuracies(self) -> Section:
        """Accuracy against parameters, a figure per task: their metrics do not compare."""
        drawn = [accuracy.accuracy(self.sizes[0], task) for task in (CLASSIFICATION, SEGMENTATION)]
        return Section(tuple(saved(one, self.figures_dir) for one in drawn))


def read_lineup(
    models: str | Sequence[str], resolutions: str | Sequence[str], figures_dir: str = ""
) -> LineUp:
    """Count ``models`` (all of the line-up when empty) at each ``WIDTHxHEIGHT``; one may be a text.

    Raises :class:`InputError` for an unknown network or size, or when no size is given.
    """
    if not resolutions:
        raise InputError("resolutions", "no size was given; give at least one, like 640x480")
    models, resolutions = (
        [given] if given and isinstance(given, str) else given for given in (models, resolutions)
    )
    sizes = (resolution(size) for size in resolutions)
    return LineUp(
        tuple(lineup.read_all(models, height, width) for height, width in sizes), figures_dir
    )


def lineup_styles() -> Styles:
    """The style of tables and figures; the first thing the notebook shows."""
    return Styles()
