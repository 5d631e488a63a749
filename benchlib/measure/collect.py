"""What a bundle's run.sh left on a device, as a measured set like any other.

Only whole steps count: run.sh gives a log its name when everything else of the step has its own.
A case with fewer rounds than planned gets its row from those there are; one that was not begun
gets none, so that a half-finished bundle can be collected now and again later.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchlib.case import Engine, Status, device_name
from benchlib.errors import InputError
from benchlib.gpu.telemetry import MIB_MB, TelemetrySample, tegrastats
from benchlib.measure import bundle as bundles
from benchlib.measure import engine_cache, matrix, record
from benchlib.measure.bundle import Bundle, BundledCase, Unit
from benchlib.measure.engine_cache import BuildFacts, BuiltEngine
from benchlib.measure.environment import Environment, Redactor, in_context, power_mode, public
from benchlib.measure.measurement import Assembler, Measurement, TimingRun, save_runs
from benchlib.measure.record import CaseError, Row
from benchlib.measure.store import Store
from benchlib.trtexec import exit_check
from benchlib.trtexec.command import Command, Phase, Program
from benchlib.trtexec.exit_check import PhaseRun
from benchlib.trtexec.flags import version_from_banner

# What watched the GPU: lines of tegrastats or of nvidia-smi, as run.sh keeps them.


def nvidia_smi(lines: Sequence[str]) -> tuple[TelemetrySample, ...]:
    """Its CSV lines; the first reading has the processes that were on the GPU before ours."""
    found: list[TelemetrySample] = []
    before = tuple(int(one[6:]) for one in lines if re.fullmatch(r"# pid \d+", one))
    for line in lines:
        cells = [cell.strip() for cell in line.split(",")]
        if line.startswith("#") or len(cells) != 7:
            continue
        try:
            seen = datetime.strptime(cells[0], "%Y/%m/%d %H:%M:%S.%f")
        except ValueError:
            continue
        sm, memory, power, celsius, used = (_number(cells[place]) for place in (1, 2, 3, 4, 6))
        bits = re.fullmatch(r"0x[0-9a-fA-F]+", cells[5])
        found.append(
            TelemetrySample(
                time_s=seen.replace(tzinfo=timezone.utc).timestamp(),
                sm_clock_mhz=None if sm is None else round(sm),
                memory_clock_mhz=None if memory is None else round(memory),
                power_w=power,
                temperature_c=None if celsius is None else round(celsius),
                event_bits=None if bits is None else int(bits[0], 16),
                memory_used_mb=None if used is None else round(used * MIB_MB, 1),
                foreign=None if found else before,
            )
        )
    return tuple(found)


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(?:\.\d+)?", text) else None


_WATCHERS = {"# tegrastats": tegrastats, "# nvidia-smi": nvidia_smi}


def watched(path: Path, of_slice: bool) -> tuple[TelemetrySample, ...]:
    """The readings in a file of run.sh; none where there was no telemetry.

    ``of_slice``: without what the other slices of the card have a part in.
    """
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    read = _WATCHERS.get(lines[0]) if lines else None
    found = () if read is None else tuple(read(lines[1:]))
    shared = dict.fromkeys(("power_w", "memory_used_mb", "foreign")) if of_slice else {}
    return tuple(replace(one, **shared) for one in found)


# The device, as run.sh recorded it.

_SELECTED = re.compile(r"\] \[I\] Selected Device: (.*\S)")
_L4T = re.compile(r"R(\d+) \(release\), REVISION: ([\d.]+)")


@dataclass(frozen=True, slots=True)
class Device:
    """Where run.sh ran. ``records`` are its notes by name, ``release`` TensorRT's version there.

    ``engine`` is the program that answered as trtexec, which may be a stand-in; ``extra_flags``
    are those that it got, ``selected`` what it calls the GPU.
    """

    records: dict[str, str]
    release: str
    engine: Engine
    extra_flags: tuple[str, ...]
    selected: str | None

    @classmethod
    def read(cls, folder: Path, extra_flags: tuple[str, ...]) -> Device:
        """Raises :class:`InputError` where there is no record, or a damaged one."""
        names = [path for path in folder.glob("*") if path.is_file()] if folder.is_dir() else []
        records = {path.name: path.read_text("utf-8", "replace").strip() for path in names}
        if not records.get("trtexec", "").isdecimal():
            raise InputError(
                "DIR", "out/device is missing or damaged: run.sh was not run here, or not copied"
            )
        # Earlier scripts did not note the program's own name, which its logs have.
        tool, selected = records.get("tool"), None
        out = folder.parent
        for path in (*sorted(out.glob("*.log")), *sorted(out.glob("*.failed"))):
            text = path.read_text("utf-8", "replace")
            tool = tool or exit_check.read_log(text).tool
            selected = _SELECTED.search(text)
            if tool and selected:
                break
        engine = exit_check.program_of(tool)
        release = version_from_banner(int(records["trtexec"]))
        return cls(records, str(release), engine, extra_flags, selected and selected[1])

    @property
    def card(self) -> list[str]:
        """Name, driver, memory in MiB, power limit, highest clocks, as nvidia-smi has them, and
        what part of the card was used, where it was not all of it."""
        cells = [cell.strip() for cell in self.records.get("smi", "").split(",")]
        return cells if len(cells) >= 6 else []

    @property
    def is_slice(self) -> bool:
        """Whether MIG gave a part of the card: nvidia-smi knows what the whole draws and holds."""
        return any(part.startswith("MIG") for part in self.card[6:])

    @property
    def confidential(self) -> bool | None:
        """Whether Confidential Computing or Protected PCIe was on; None where it is not known."""
        told = self.records.get("confidential", "")
        states = re.findall(r"\bCC (?:status|State)\s*: *(ON|OFF)", told)
        return "ON" in states or "Protected PCIe" in told if states else None

    @property
    def power_mode(self) -> str | None:
        return power_mode(self.records.get("nvpmodel", ""))

    @property
    def name(self) -> str:
        """The board's or card's name, and its power mode: in another it is another device."""
        name = self.records.get("model") if self.power_mode else None
        card = device_name(self.card[0], self.card[6:]) if self.card else self.records.get("model")
        name = name or card or device_name(self.selected or "unnamed device")
        name = f"{name} {self.power_mode}" if self.power_mode else name
        return in_context(name, self.extra_flags)

    @property
    def clocks(self) -> str | None:
        """What jetson_clocks prints of the GPU and its memory; it does for the superuser only."""
        records = self.records.get("jetson_clocks", "").splitlines()
        return "; ".join(line for line in records if line.startswith(("GPU", "EMC"))) or None

    @property
    def l4t(self) -> str | None:
        found = _L4T.search(self.records.get("l4t", ""))
        return None if found is None else f"{found[1]}.{found[2]}"

    def environment(self, bundle: Bundle, date: datetime, notes: tuple[str, ...]) -> Environment:
        """environment.json: the device's facts, and of the graphs where they were made."""
        card = self.card
        memory = re.search(r"(\d+) kB", self.records.get("memory", ""))
        cpu = self.records.get("cpu", "").partition(":")[2].splitlines()
        gpu: dict[str, str | bool | float | None] = {"name": self.name}
        if card:
            names = ("memory_mb", "power_limit_w", "max_sm_clock_mhz", "max_memory_clock_mhz")
            gpu |= dict(zip(names, map(_number, card[2:6]), strict=True))
            gpu["memory_mb"] = gpu["memory_mb"] and round(gpu["memory_mb"] * MIB_MB)
            gpu["confidential_computing"] = self.confidential
        jetson = {
            "power_mode": self.power_mode,
            "jetson_linux": self.l4t,
            "jetpack": self.records.get("jetpack"),
            "jetson_clocks": self.clocks,
        }
        gpu |= {name: value for name, value in jetson.items() if value is not None}
        return Environment(
            benchlib=bundle.benchlib,
            date=date,
            engine=self.engine,
            engine_version=self.release,
            device=self.name,
            gpu=gpu,
            driver=card[1] if card else None,
            cuda=self.records.get("cuda"),
            tensorrt=self.release,
            cpu=cpu[0].strip() if cpu else None,
            cpu_cores=len(self.records.get("cores", "").splitlines()) or None,
            memory_gb=round(int(memory[1]) * 1024 / 1e9, 1) if memory else 0.0,
            system=self.records.get("uname", "unknown"),
            python=bundle.python,
            packages=bundle.packages,
            git_commit=bundle.git_commit,
            preset=bundle.preset,
            parameters={
                precision: public(given, {}) for precision, given in bundle.parameters.items()
            },
            notes=notes,
        )


NOTE = (
    "Measured by a bundle's run.sh on a device without benchlib; the Python and packages named "
    "here are those that the graphs were made with, on another machine."
)


# One step's log, and what it says of it.

_RECORD = re.compile(
    r"^benchlib: status=(\d+) seconds=(\d+) limit=(\d+) bytes=(\d+) started=(\S+)\s*\Z", re.M
)


@dataclass(frozen=True, slots=True)
class _Step:
    """The end of one step as run.sh wrote it; ``mb`` is the size of what it left."""

    ran: PhaseRun
    mb: float
    started: datetime

    @classmethod
    def read(cls, stem: Path, phase: Phase, product: Path, redactor: Redactor) -> _Step | None:
        """The step whose files begin with ``stem``; None where it did not end, good or bad.

        It is judged as a run judges a process of its own. A log is called ``.log`` where the
        script took the step as done.
        """
        for path in (stem.with_name(stem.name + ending) for ending in (".log", ".failed")):
            text = path.read_text("utf-8", "replace") if path.is_file() else ""
            found = _RECORD.search(text)
            if found is None:
                continue
            status, seconds, limit_s, size = map(int, found.groups()[:4])
            shown = redactor.shorten(text[: found.start()].rstrip() + "\n")
            log = exit_check.read_log(shown)
            failed = status and path.suffix == ".failed" and not log.passed
            if failed and limit_s <= seconds:
                outcome = exit_check.timed_out(phase, limit_s)
            else:
                outcome = exit_check.judge_phase(phase, status, log, product)
            started = datetime.fromisoformat(found[5].replace("Z", "+00:00"))
            return cls(PhaseRun(float(seconds), shown, log, outcome), size / 1e6, started)
        return None


# The set.


_TOLD = {"key", "status", "verdict", "reasons", "latency_ms", "message"}


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of a bundle: its rows, and the keys of the cases that were not begun."""

    folder: Path
    rows: tuple[Row, ...]
    missing: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """There are rows and none failed; that rounds or cases are to come is no failure."""
        return bool(self.rows) and all(row.status is not Status.FAILED for row in self.rows)

    def lines(self) -> Iterator[str]:
        yield f"{self.folder}: {len(self.rows)} rows: {record.counted(self.rows) or 'none'}"
        for row in self.rows:
            if row.status is Status.FAILED:
                yield f"failed: {row.key}: {row.message}"
        if self.missing:
            yield (
                f"cases without a timing run yet: {len(self.missing)}, the first of "
                f"{self.missing[0]}; sh run.sh goes on, and collecting again adds them"
            )

    def as_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "rows": [row.model_dump(mode="json", include=_TOLD) for row in self.rows],
            "missing": list(self.missing),
        }


def collect(folder: Path, out: Path) -> Collected:
    """Write the rows of the bundle in ``folder``, or of its parts, into the set ``out``.

    Raises :class:`InputError` for a folder that is no bundle or a damaged one, and for a set of
    another device or TensorRT.
    """
    parts = sorted(one for one in folder.glob("part-*") if one.is_dir())
    folders = [folder] if (folder / bundles.CASES).is_file() else parts
    if not folders:
        raise InputError("DIR", f"{folder} has no cases.json; give the folder of a bundle")
    # Everything is read before anything is written.
    read = [(one, *_opened(one)) for one in folders]
    rows: list[Row] = []
    missing: list[str] = []
    with Store(out).opened() as store:
        for place, bundle, device in read:
            _check_same(store, device)
            for one in bundle.cases:
                row = _Case(place, bundle, device, one, store).row()
                if row is None:
                    missing.append(one.case.key)
                else:
                    store.save_row(row)
                    rows.append(row)
            _save_environment(store, bundle, device, rows)
        store.save_table()
    return Collected(out, tuple(rows), tuple(missing))


def _opened(folder: Path) -> tuple[Bundle, Device]:
    path = folder / bundles.CASES
    try:
        content = path.read_bytes()
        bundle = bundles.FORMAT.validate_json(content)
    except OSError as error:
        raise InputError("DIR", f"{path} cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            "DIR", f"{path} is damaged or of another benchlib ({where}: {first['msg']})"
        ) from None
    extra_flags = next(iter(bundle.parameters.values())).extra_flags
    device = Device.read(folder / bundles.OUT / "device", extra_flags)
    if device.records.get("bundle") != bundles.identity(content):
        raise InputError(
            "DIR", f"{folder}: out/ is not of this cases.json; keep the two of one bundle together"
        )
    return bundle, device


def _check_same(store: Store, device: Device) -> None:
    there = store.environment()
    if there is None:
        if store.rows:
            raise InputError(
                "out", f"{store.directory} has rows of unknown origin; give a new folder"
            )
        return
    before, now = (there.device, there.engine_version), (device.name, device.release)
    if (there.engine, *before) != (device.engine, *now):
        raise InputError(
            "out",
            f"{store.directory} is of {there.engine} {before[1]} on {before[0]} and this of "
            f"{device.engine} {now[1]} on {now[0]}; give another folder",
        )


def _save_environment(store: Store, bundle: Bundle, device: Device, rows: Sequence[Row]) -> None:
    earlier = store.environment()
    date = min((row.started_at for row in rows), default=bundle.date)
    notes = dict.fromkeys((*(earlier.notes if earlier else ()), NOTE))
    found = device.environment(bundle, date, tuple(notes))
    if earlier is not None:
        parameters = {**earlier.parameters, **found.parameters}
        found = found.model_copy(update={"parameters": parameters, "roofs": earlier.roofs})
    store.save_environment(found)


class _Case:
    """One case of a bundle on its way to a row."""

    def __init__(
        self, place: Path, bundle: Bundle, device: Device, bundled: BundledCase, store: Store
    ) -> None:
        bundled = replace(bundled, case=replace(bundled.case, engine=device.engine))
        given = bundle.parameters[bundled.case.precision]
        program = Program(device.engine, ("trtexec",), device.release, "cuda:0")
        names = {bundled.case.model: bundled.shown}
        self._out = place / bundles.OUT
        self._rounds = bundle.rounds
        self._bundled = bundled
        self._store = store
        self._program = program
        self._device = device
        self._assembler = Assembler(
            given, program, device.name, confidential=device.confidential, names=names
        )
        folders = zip(device.records.get("folders", "").splitlines(), (".", "~"), strict=False)
        self._redactor = Redactor.naming((Path(path), name) for path, name in folders)
        self._measurement = Measurement(
            bundled.case,
            matrix.settings(given),
            network=bundled.network,
            graph=bundled.graph,
            work=bundled.work,
        )
        text = repr((bundled.case.identity(), bundle.tensorrt, program.version, device.name))
        self._until = matrix.until(given, program)
        self._fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]

    def row(self) -> Row | None:
        """The row; None for a case of which no step ended, or none but its build."""
        bundled, measurement = self._bundled, self._measurement
        if bundled.skipped is not None:
            return self._assembler.skipped(
                bundled.case, bundled.skipped, self._fingerprint, bundled.network
            )
        fault = bundled.fault
        if fault is None:
            try:
                for unit in bundled.units:
                    self._unit(unit)
            except CaseError as error:
                fault = error.fault
        if fault is None and not measurement.runs:
            return None
        log = self._store.save_log(bundled.case.key, "".join(measurement.logs))
        if fault is not None:
            return self._assembler.failed(measurement, fault, log, self._fingerprint)
        files = save_runs(self._store, bundled.case.key, measurement.runs)
        return self._assembler.ok(measurement, log, files, self._fingerprint, self._until)

    def _unit(self, unit: Unit) -> None:
        """Take in an engine and its rounds; raises :class:`CaseError` where nothing was timed."""
        for command in unit.commands:
            if command.phase is Phase.BUILD:
                if not self._built(unit, command):
                    return
            elif command.phase is Phase.PROFILE:
                self._profiled(unit, command)
            else:
                self._timed(unit, command)

    def _taken(self, name: str, command: Command, product: str) -> _Step | None:
        """A step that ended, None for another; raises :class:`CaseError` when it ended badly."""
        stem, measurement = self._out / name, self._measurement
        step = _Step.read(stem, command.phase, self._out / f"{name}.{product}", self._redactor)
        if step is not None:
            if not measurement.engines:
                measurement.started_at = step.started
            measurement.take(command.phase, self._redactor.argv(command), step.ran)
        return step

    def _built(self, unit: Unit, command: Command) -> bool:
        """Whether the engine was built; raises :class:`CaseError` when that ended badly."""
        name = f"{unit.engine}.build"
        step = self._taken(name, command, "head")
        if step is None:
            return False
        layers, log = self._out / f"{name}.layers.json", step.ran.log
        graph = self._measurement.graph
        self._measurement.add_engine(
            BuiltEngine(
                plan=self._out / f"{name}.engine",
                layers=layers if layers.is_file() else None,
                facts=BuildFacts(log.built_s, step.ran.seconds, log.skipped_tactics),
                mb=step.mb,
                key=engine_cache.key(graph, command, self._program, self._device.name, unit.build),
                reused=unit.engine != unit.name,
            )
        )
        return True

    def _profiled(self, unit: Unit, command: Command) -> None:
        """The profile; one that failed takes nothing from the times, and the row says so."""
        try:
            step = self._taken(f"{unit.name}.profile", command, "profile.json")
        except CaseError as error:
            self._measurement.warnings.append(error.fault.message)
            return
        if step is not None:
            self._measurement.profile = step.ran.outcome.profile

    def _timed(self, unit: Unit, command: Command) -> None:
        """Every whole round; raises the first failure's :class:`CaseError` when there is none."""
        failed: list[tuple[int, CaseError]] = []
        whole = 0
        for number in range(self._rounds):
            name = f"{unit.name}.r{number + 1}"
            try:
                step = self._taken(name, command, "times.json")
                if step is None:
                    continue
                readings = watched(self._out / f"{name}.watch", self._device.is_slice)
                which, settings = (unit.build, number), self._measurement.settings
                run = TimingRun.of_phase(which, step.ran, readings, settings)
            except CaseError as error:
                failed.append((number + 1, error))
                continue
            whole += 1
            self._measurement.all_runs.append(run)
        if failed and not whole:
            raise failed[0][1]
        if whole and whole < self._rounds:
            remarks = [f"{whole} of {self._rounds} rounds are whole"]
            remarks += [f"round {number} failed: {error.fault.message}" for number, error in failed]
            self._measurement.warnings += remarks
