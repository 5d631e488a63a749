"""The command line: parse, call, print. Everything it knows stands in the rooms below.

Heavy imports (PyTorch takes seconds) stand inside the commands, so that ``--help`` is instant.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchlib import __version__, process
from benchlib.errors import InputError, MachineError, first_line, os_words

#: What a shell reports after Ctrl-C: 128 + SIGINT.
INTERRUPTED = 130


log = logging.getLogger(__name__)


class Command(click.Command):
    """Refuses an option that stands twice, of which click would silently take the last, and an
    empty value: an unset variable of a script, which would stand for the folder at hand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        values, _, given = self.make_parser(ctx).parse_args(list(args))
        for name, value in values.items():
            if value == "" or (isinstance(value, (list, tuple)) and "" in value):
                raise InputError(name, "it is empty; give a value or leave it out")
        for option in given:
            is_single = isinstance(option, click.Option) and not option.multiple
            if is_single and not option.is_flag and given.count(option) > 1:
                raise InputError(str(option.name), "it is given twice; keep one of them")
        return super().parse_args(ctx, args)


class Group(click.Group):
    """Turns an error into one line and a status, whichever command raised it.

    2 for what the user gave wrong, 1 for what the system answered and for what nobody foresaw
    (with its traceback under ``-v``), 130 after Ctrl-C.
    """

    command_class = Command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        _settle_streams()
        with contextlib.suppress(OSError):  # the folder at hand may be gone
            if not {"", str(Path.cwd())} & set(sys.path):
                # Nor do kernels and exporters (from Python 3.11): a user's onnx.py is no library.
                os.environ.setdefault("PYTHONSAFEPATH", "1")
        # All is said and done by then, and Python takes a while to end: Ctrl-C would kill it.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
        with process.on_signals(_stop, *process.ENDING):
            return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            words, status = str(error), 2
        except MachineError as error:
            words, status = str(error), 1
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # Nobody reads any more; click ends quietly.
            words, status = os_words(error), 1
            _drop_unwritten()
        except KeyboardInterrupt:
            words, status = "stopped", INTERRUPTED
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except MemoryError:
            words, status = "memory ran out; take a smaller size or batch", 1
        except Exception as error:
            log.debug("%s", ctx.invoked_subcommand, exc_info=error)
            words = f"{type(error).__name__}: {first_line(error)}; benchlib -v says where"
            status = 1
        click.echo(f"benchlib: {words}", err=True)
        ctx.exit(status)


def _stop(*_: object) -> None:
    """End as at Ctrl-C: with what was begun ended too, and no folder left behind."""
    raise KeyboardInterrupt


def _settle_streams() -> None:
    """Let any text be printed anywhere: with ``?`` where the terminal's encoding lacks a letter.

    A stream that was closed by the caller becomes the null device: else the next file that is
    opened would take its number, and child processes would write into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            null = os.open(os.devnull, os.O_RDWR)
            try:
                os.fstat(number)
            except OSError:
                os.dup2(null, number)
            setattr(sys, name, os.fdopen(null, "w" if number else "r", encoding="utf-8"))
        elif number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _drop_unwritten() -> None:
    """Forget output that could not be written, or Python would try again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="benchlib")
@click.option("-v", "--verbose", is_flag=True, help="Say more while working.")
def main(verbose: bool) -> None:
    """Measure how fast computer-vision backbones run in TensorRT, and say what it means.

    Example: benchlib run --preset quick
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    # Only our own lines: papermill and its relatives log every cell.
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # nbclient raises what it logs
    logging.getLogger("benchlib").setLevel(logging.DEBUG if verbose else logging.INFO)


a_path = click.Path(path_type=Path)
as_json = click.option("--json", "as_json", is_flag=True, help="Print machine-readable JSON.")
preset_option = click.option(
    "--preset", help="quick, blog, full, edge, modern, or a YAML file's path."
)
parameter_option = click.option(
    "-p",
    "--parameter",
    "parameters",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="Set one parameter of notebooks/benchmark.ipynb (batch_sizes, max_rounds, …) or the "
    "precisions; VALUE is read as YAML. Repeatable.",
)


def _emit(value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # Escapes say the same in any encoding; a replacement character would not.
        text = json.dumps(value, indent=2, allow_nan=False, default=str)
    click.echo(text)


def _show(found: Any, as_json: bool, lines: Callable[[], Iterable[str]] | None = None) -> None:
    """Print what a command found: a value with ``lines``, or an object that has both itself."""
    if as_json:
        _emit(found.as_json() if lines is None else found)
    else:
        click.echo("\n".join((lines or found.lines)()))


def _overrides(pairs: Sequence[tuple[str, str]], engine: str | None) -> dict[str, Any]:
    """Read ``-p NAME VALUE`` pairs, and ``--engine`` as one of them.

    A VALUE that is no YAML, and a name given twice, are refused by name.
    """
    from benchlib.config import read_yaml

    values: dict[str, Any] = {}
    for name, text in pairs:
        if name in values:
            raise InputError(name, "it is given twice; keep one of them")
        try:
            values[name] = read_yaml(text)
        except ValueError as error:
            raise InputError(name, f"{text!r} is not YAML ({error}); quote it") from None
    if engine is not None:
        if "engine" in values:
            raise InputError("engine", "it is given twice, as --engine and by -p; keep one of them")
        values["engine"] = engine
    return values


@main.command()
@as_json
def doctor(as_json: bool) -> None:
    """Say what is on this machine, what will measure and why, and what is missing.

    Example: benchlib doctor
    """
    from benchlib.doctor import examine

    _show(examine(), as_json)


@main.command()
@click.option("--height", type=click.IntRange(min=1), default=480, help="Pixels.")
@click.option("--width", type=click.IntRange(min=1), default=640, help="Pixels.")
@click.option("--task", "tasks", multiple=True, help="classification or segmentation, only.")
@click.option("--family", "families", multiple=True, help="Networks of that family only.")
@as_json
def models(as_json: bool, **which: Any) -> None:
    """Show the line-up by year: parameters, GMACs, activations, size, published accuracy.

    Counted at 640x480 unless told otherwise. --task and --family may be given more than once.

    Example: benchlib models --family ConvNeXt --family RepViT --height 1056 --width 1920
    """
    from benchlib.report.tables.lineup import records, text

    rows = records(**which)
    _show(rows, as_json, lambda: [text(rows)])


@main.command()
@click.argument("model")
@click.option("--precision", help="fp32 (the default), fp16 or int8.")
@click.option("--form", help="fp32, fp16, int8-qdq, int8-qdq-fp16 or int8-cpu, instead.")
@click.option("--height", type=click.IntRange(min=1), default=480, show_default=True)
@click.option("--width", type=click.IntRange(min=1), default=640, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--dynamic", is_flag=True, help="Leave batch, height and width open.")
@click.option("--int8-method", help="qdq, qdq-no-depthwise, modelopt or ort-static.")
@click.option("--weights", default="random", show_default=True, help="random or imagenet.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--calibration-dir", type=a_path, help="A folder of photos.")
@click.option("-o", "--out", type=a_path, required=True, help="ONNX file.")
@as_json
def graph(
    model: str, precision: str | None, form: str | None, out: Path, as_json: bool, **options: Any
) -> None:
    """Write one network as an ONNX file at a precision.

    INT8 here is explicit Q/DQ for TensorRT 10 and later; --form names the other forms.

    Example: benchlib graph resnet18 --precision fp16 --height 480 --width 640 -o resnet18.onnx
    """
    from benchlib.export import build

    asked = _form(precision, form)
    if options["calibration_dir"] is not None and not asked.is_int8:
        raise InputError("calibration-dir", f"a graph in the form {asked} is not calibrated")
    if options["weights"] != "random" and model.startswith("onnx:"):
        raise InputError("weights", f"{model} has its own; leave --weights out")
    source = Path(model.removeprefix("onnx:")) if model.startswith("onnx:") else None
    if source is not None and out.exists() and source.exists() and out.samefile(source):
        raise InputError("out", f"{out} is the network itself; write the graph to another file")
    made = build.make(model, asked, **options)
    _copy(made.path, out)
    words = f"{out}: {made.form}, opset {made.opset}, {made.layers} nodes, {made.sha256}"
    _show(asdict(made) | {"path": out}, as_json, lambda: [words, *made.remarks])


def _copy(graph: Path, out: Path) -> None:
    """Copy by rename, so that nobody meets half a file under the asked name."""
    from benchlib.export import cache

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=out.parent) as folder:
            part = Path(folder, out.name)
            cache.copy(graph, part)
            for file in (cache.data_of(part), part):
                if file.exists():
                    process.publish(file, out.with_name(file.name))
    except OSError as error:
        raise InputError("out", f"{out} cannot be written ({error.strerror})") from None


def _form(precision: str | None, form: str | None) -> Any:
    from benchlib.case import GraphForm, Precision
    from benchlib.trtexec.command import STRONG_FORMS

    if form is not None:
        if precision is not None:
            raise InputError("form", "--precision is given beside it; keep one of the two")
        return GraphForm.read("form", form)
    asked = Precision.read("precision", precision or Precision.FP32)
    if asked not in STRONG_FORMS:
        raise InputError("precision", f"no graph is written at {asked}; take fp32, fp16 or int8")
    return STRONG_FORMS[asked]


@main.command()
@preset_option
@parameter_option
@click.option("--tensorrt", metavar="VERSION", help="Plan for this version, 8.6 to 11.x.")
@click.option("--engine", help="trtexec, tensorrt_python or onnxruntime_cpu.")
@as_json
def plan(
    preset: str | None,
    parameters: tuple[tuple[str, str], ...],
    tensorrt: str | None,
    engine: str | None,
    as_json: bool,
) -> None:
    """Show the cases and the exact command lines; runs nothing.

    Needs no GPU and no TensorRT: what is printed can be pasted into a shell where they are.

    Example: benchlib plan --preset blog --tensorrt 10.0 -p models '[resnet18]'
    """
    from benchlib.measure import matrix
    from benchlib.trtexec import flags
    from benchlib.trtexec.flags import parse_version

    planned = matrix.plan(preset, _overrides(parameters, engine), tensorrt=tensorrt)
    if tensorrt is not None and (words := flags.assumed(parse_version(tensorrt))):
        click.echo(f"benchlib: note: {words}", err=True)
    _show([step.as_json() for step in planned], as_json, lambda: [planned.script()])


@main.command()
@preset_option
@parameter_option
@click.option("--engine", help="trtexec, tensorrt_python or onnxruntime_cpu; default: the best.")
@click.option(
    "-o",
    "--out",
    type=a_path,
    default=Path("results/local"),
    show_default=True,
    help="Folder of the measured set; what it already holds is not measured again.",
)
@click.option(
    "--fleet", help="Spread it over GPUs: local, tcp://HOST:PORT of a scheduler, or a YAML file."
)
@click.option("--report/--no-report", "with_report", default=True, help="Render the report too.")
@as_json
def run(
    preset: str | None,
    parameters: tuple[tuple[str, str], ...],
    engine: str | None,
    out: Path,
    fleet: str | None,
    with_report: bool,
    as_json: bool,
) -> None:
    """Measure: papermill runs the notebook once per precision, then the report.

    All cases are prepared first and then timed in rounds, until each is sure. The first Ctrl-C
    lets the running process finish, the second stops at once; run the same command again and it
    goes on from the rounds that there are.

    Example: benchlib run --preset quick -p models '[resnet18, fast_scnn]' -o results/local
    """
    from benchlib import pipeline

    values = {**_overrides(parameters, engine), **({} if fleet is None else {"fleet": fleet})}
    ended = pipeline.main_job(preset, values, out, with_report=with_report)
    _show(ended, as_json)
    if ended.interrupted:
        sys.exit(INTERRUPTED)
    if not ended.ok:
        sys.exit(1)


@main.group("fleet", cls=Group)
def fleet_group() -> None:
    """What other hosts do for run --fleet."""


@fleet_group.command("worker")
@click.argument("address")
def fleet_worker(address: str) -> None:
    """Work for a fleet with every GPU of this host, until its scheduler is gone.

    ADDRESS is that of a Dask scheduler (`dask scheduler` starts one), as given to run --fleet.

    Example: benchlib fleet worker tcp://head-node:8786
    """
    from benchlib.measure import fleet

    fleet.serve(address)


@main.command()
@click.argument("sets", nargs=-1, required=True, type=a_path, metavar="DIR...")
@click.option("-o", "--out", type=a_path, help="Default: the first DIR.")
@click.option("--figures", type=a_path, help="Also save the figures here.")
@click.option("--pdf", "with_pdf", is_flag=True, help="Print the page to report.pdf as well.")
@click.option("--price-per-hour", type=float, help="Dollars for an hour of the device.")
@as_json
def report(
    sets: tuple[Path, ...],
    out: Path | None,
    figures: Path | None,
    with_pdf: bool,
    price_per_hour: float | None,
    as_json: bool,
) -> None:
    """Render the report from measured sets; measures nothing.

    Example: benchlib report results/local results/rtx3090-published -o build/report
    """
    # jsonschema, which papermill brings, would build a grammar of international addresses, which
    # no schema here has, for as long as a figure takes.
    sys.modules.setdefault("rfc3987_syntax", None)
    from benchlib import pipeline
    from benchlib.report import html

    page = pipeline.report(sets, out, figures, price_per_hour)
    written = {"html": str(page)}
    if with_pdf:
        written["pdf"] = str(html.pdf(page, page.with_suffix(".pdf")))
    _show(written, as_json, written.values)


@main.command()
@preset_option
@parameter_option
@click.option("--tensorrt", metavar="VERSION", required=True, help="TensorRT of the device.")
@click.option(
    "--rounds", type=click.IntRange(min=1), help="Timing processes per engine; default 5."
)
@click.option(
    "--split-mb",
    type=click.FloatRange(min=0, min_open=True),
    help="Write folders of at most so many megabytes of graphs, for small media.",
)
@click.option("-o", "--out", type=a_path, required=True, help="A new folder.")
@as_json
def bundle(
    preset: str | None,
    parameters: tuple[tuple[str, str], ...],
    tensorrt: str,
    rounds: int | None,
    split_mb: float | None,
    out: Path,
    as_json: bool,
) -> None:
    """Write graphs and a shell script for a device that has trtexec and no Python.

    Copy the folder there, start run.sh, copy what it names back, and give that to collect.

    Example: benchlib bundle --preset edge --tensorrt 10.3 -o jetson
    """
    from benchlib import config
    from benchlib.measure import bundle as bundles
    from benchlib.measure import matrix
    from benchlib.trtexec import flags, locate

    runs = config.preset_runs(preset, _overrides(parameters, None))
    program = locate.planned(runs[0].engine, tensorrt)
    if words := flags.assumed(program.release):
        click.echo(f"benchlib: note: {words}", err=True)
    matrix.every(runs, program)
    written = bundles.write(runs, program, out, rounds=rounds or bundles.ROUNDS, split_mb=split_mb)
    _show(written, as_json)
    if written.left_out:
        sys.exit(1)


@main.command()
@click.argument("folder", type=a_path, metavar="DIR")
@click.option("-o", "--out", type=a_path, required=True, help="Measured set.")
@as_json
def collect(folder: Path, out: Path, as_json: bool) -> None:
    """Make a measured set of what a bundle's run.sh left; what is not whole is left out.

    Example: benchlib collect jetson -o results/jetson
    """
    from benchlib.measure.collect import collect as collected

    found = collected(folder, out)
    _show(found, as_json)
    if not found.ok:
        sys.exit(1)


@main.command()
@click.argument("measured", type=a_path, metavar="DIR")
@as_json
def rejudge(measured: Path, as_json: bool) -> None:
    """Make a set's intervals, reasons and notes anew from its stored series; measures nothing.

    Example: benchlib rejudge results/local
    """
    from benchlib.measure import rejudge as anew

    _show(anew.rejudge(measured), as_json)


@main.command()
@click.argument("measured", type=a_path, metavar="DIR_OR_CSV")
@click.argument("beside", nargs=-1, type=a_path, metavar="[BESIDE]...")
@as_json
def findings(measured: Path, beside: tuple[Path, ...], as_json: bool) -> None:
    """Test the claims on a measured set: test, effect with interval, verdict, sentence.

    Each set BESIDE it shows what another program or build of the same card changes, or how
    another card compares.

    Example: benchlib findings results/h100-tensorrt-8.6 results/rtx3090-published
    """
    from benchlib.analysis.claims import findings as claims_findings
    from benchlib.analysis.results import load

    found = claims_findings.of(load(measured), [load(one) for one in beside])
    documents = [finding.as_json() for finding in found]
    _show(documents, as_json, lambda: claims_findings.lines(found))


@main.command()
@click.argument("first", type=a_path, metavar="A")
@click.argument("second", type=a_path, metavar="B")
@click.option(
    "--threshold",
    type=click.FloatRange(min=0, max=1),
    default=0.03,
    show_default=True,
    help="Relative. A smaller difference is none: another build may differ as much.",
)
@click.option("--fail-on-slower", is_flag=True, help="Exit with 1 when B is slower anywhere.")
@as_json
def compare(
    first: Path, second: Path, threshold: float, fail_on_slower: bool, as_json: bool
) -> None:
    """Compare B with A case by case: faster, slower, same or undecided.

    Example: benchlib compare results/before results/after --fail-on-slower
    """
    from benchlib.analysis import compare as analysis_compare
    from benchlib.analysis.results import load

    result = analysis_compare.compare(load(first), load(second), threshold=threshold)
    if fail_on_slower and not result.rows:
        why = f"no case of {second} is in {first} too"
        if result.copied:
            why = f"{second} holds the measurements of {first}, copied, and no others of its cases"
        raise InputError("B", f"{why}; give two sets of one matrix, each measured by itself")
    _show(result, as_json)
    if fail_on_slower and result.slower:
        sys.exit(1)


@main.command()
@click.argument("measured", type=a_path, metavar="SET_DIR")
@click.option("--images", type=a_path, required=True, help="A subfolder of images per class.")
@click.option("--key", "keys", multiple=True, help="Only this row. Repeatable.")
@click.option("--limit", type=click.IntRange(min=1), help="This many images, evenly spaced.")
@click.option(
    "--calibration-dir",
    type=a_path,
    help="The photos that INT8 rows were calibrated with, if not the bundled ones.",
)
@as_json
def accuracy(
    measured: Path,
    images: Path,
    keys: tuple[str, ...],
    limit: int | None,
    calibration_dir: Path | None,
    as_json: bool,
) -> None:
    """Run what was timed over labelled images: top-1, and where it differs from FP32.

    Takes the rows' own engines or graphs and the transforms of their weights. The subfolders are
    ImageNet's thousand, or named by class index, or explained in a classes.txt among them. The
    outcome goes to accuracy.json in SET_DIR, apart from the literature's accuracy in the rows.

    Example: benchlib accuracy results/local --images imagenet/val --limit 5000
    """
    from benchlib.evaluate import accuracy as evaluate_accuracy

    found = evaluate_accuracy.measure(measured, images, keys, limit, calibration_dir)
    _show(found, as_json)
    if not found.ok:
        sys.exit(1)
