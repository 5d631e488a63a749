"""The set on disk: whole files only, one writer, the table as a picture of the rows."""

from __future__ import annotations

import contextlib
import csv
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchlib.analysis.results import load
from benchlib.case import Status
from benchlib.errors import InputError
from benchlib.gpu.telemetry import TelemetrySample
from benchlib.measure.record import COLUMNS, Row
from benchlib.measure.runner import Lines, Outcome
from benchlib.measure.store import (
    Samples,
    Store,
    StoreError,
    dump_samples,
    dump_telemetry,
    load_samples,
    load_telemetry,
)


def row(key: str, **values: object) -> Row:
    return Row(
        key=key,
        model="resnet18",
        engine="trtexec",
        precision="fp32",
        typing="strong",
        batch=1,
        height=480,
        width=640,
        shape_mode="static",
        status="ok",
        weights="random",
        seed=0,
        started_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
        **values,
    )


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_rows_are_found_again_and_the_table_is_in_order_of_keys(tmp_path: Path) -> None:
    with Store(tmp_path).opened() as store:
        store.save_row(row("b", latency_ms=2.0))
        store.save_row(row("a", message='has, commas and "quotes"'))
    with Store(tmp_path).opened() as store:
        assert [one.key for one in store.rows] == ["a", "b"]
        assert store.row("b") == row("b", latency_ms=2.0)
        assert store.row("c") is None
    records = table(tmp_path)
    assert tuple(records[0]) == COLUMNS
    assert [record["key"] for record in records] == ["a", "b"]
    assert records[0]["message"] == 'has, commas and "quotes"'
    assert records[0]["latency_ms"] == ""
    assert records[1]["latency_ms"] == "2.0"


def test_layers_and_long_logs_are_kept_compressed_and_read_again(tmp_path: Path) -> None:
    layers = ({"name": "conv", "type": "CaskConvolution", "macs": 3, "time_ms": 0.25},)
    one = row("a", latency_ms=1.0, detail={"layers": layers, "rules": 3})
    with Store(tmp_path).opened() as store:
        logs = [store.save_log("a", text) for text in ("short\n", "a long line\n" * 500)]
        assert logs == ["logs/a.log", "logs/a.log.xz"]
        assert [path.name for path in (tmp_path / "logs").iterdir()] == ["a.log.xz"]
        store.save_row(one.model_copy(update={"log": logs[1]}))
        assert store.log(store.row("a")) == "a long line\n" * 500
        assert (store.save_log("a", "short\n"), store.log(row("b"))) == ("logs/a.log", "")
        assert [path.name for path in (tmp_path / "logs").iterdir()] == ["a.log"]
    assert "CaskConvolution" not in (tmp_path / "rows" / "a.json").read_text()
    assert load(tmp_path).layers("a") == layers
    with Store(tmp_path).opened() as store:
        store.save_row(store.row("a"))  # as judged anew: what was not read is not lost
    assert load(tmp_path).layers("a") == layers
    (tmp_path / "layers" / "a.json.xz").write_bytes(b"torn")
    assert load(tmp_path).layers("a") == ()
    with Store(tmp_path).opened() as store:
        store.save_row(row("a", detail={"layers": ()}))  # measured again, without any
    assert not (tmp_path / "layers" / "a.json.xz").exists()


def test_a_row_is_replaced_not_doubled(tmp_path: Path) -> None:
    with Store(tmp_path).opened() as store:
        store.save_row(row("a", latency_ms=1.0))
        store.save_row(row("a", latency_ms=2.0))
    assert [record["latency_ms"] for record in table(tmp_path)] == ["2.0"]


def test_leftovers_of_a_killed_run_are_removed_and_torn_rows_left_out(tmp_path: Path) -> None:
    with Store(tmp_path).opened() as store:
        store.save_row(row("a"))
    (tmp_path / "rows" / ".b.json.part").write_text("{")
    (tmp_path / "rows" / "c.json").write_text('{"key": "c"')
    (tmp_path / ".work").mkdir()
    with Store(tmp_path).opened() as store:
        assert [one.key for one in store.rows] == ["a"]
        assert not (tmp_path / "rows" / ".b.json.part").exists()
    assert not (tmp_path / ".work").exists()


UNREADABLE = {
    "newer": lambda text: text.replace('"schema_version": 1', '"schema_version": 2'),
    "torn": lambda text: text[:300],
    "empty": lambda _: "",
    "of wrong type": lambda text: text.replace('"latency_ms": 1.0', '"latency_ms": "1,0"'),
    "without a key": lambda text: text.replace('"model"', '"network"'),
    "another's": lambda text: text.replace('"key": "a"', '"key": "z"'),
    "deep": lambda _: "[" * 100_000,
}


@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE)
def test_a_row_that_cannot_be_read_keeps_its_line_and_its_file(
    tmp_path: Path, damage: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    with Store(tmp_path).opened() as store:
        store.save_row(row("a", latency_ms=1.0, message='has, commas and "quotes"'))
    before = table(tmp_path)
    path = tmp_path / "rows" / "a.json"
    text = damage(path.read_text())
    path.write_text(text)
    for other in ("b", "c"):
        with Store(tmp_path).opened() as store:
            assert store.row("a") is None
            store.save_row(row(other))
    after = table(tmp_path)
    assert [record["key"] for record in after] == ["a", "b", "c"]
    assert after[0] == before[0]
    assert path.read_text() == text
    assert caplog.text.count("rows/a.json cannot be read and stays as it is") == 2
    # Measured again, the new row takes the place and the old file is still there.
    with Store(tmp_path).opened() as store:
        store.save_row(row("a", latency_ms=2.0))
    assert [record["latency_ms"] for record in table(tmp_path)] == ["2.0", "", ""]
    assert (tmp_path / "rows" / "a.json.damaged").read_text() == text
    with Store(tmp_path).opened() as store:
        assert [one.key for one in store.rows] == ["a", "b", "c"]


def test_a_folder_in_place_of_a_row_is_set_aside_and_a_second_one_too(tmp_path: Path) -> None:
    for _ in range(2):
        (tmp_path / "rows" / "a.json" / "inside").mkdir(parents=True)
        with Store(tmp_path).opened() as store:
            store.save_row(row("a"))
            assert store.row("a") is not None
        (tmp_path / "rows" / "a.json").unlink()
    assert (tmp_path / "rows" / "a.json.damaged" / "inside").is_dir()
    assert (tmp_path / "rows" / "a.json.damaged1" / "inside").is_dir()


def test_a_row_that_an_editor_marked_as_utf8_is_read(tmp_path: Path) -> None:
    with Store(tmp_path).opened() as store:
        store.save_row(row("a"))
    path = tmp_path / "rows" / "a.json"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    with Store(tmp_path).opened() as store:
        assert store.row("a") == row("a")


def test_lines_without_a_file_stay_in_the_table_with_their_own_columns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "table.csv").write_text("key,model,mine\nz,vgg,x\n,unnamed,\n", "utf-8-sig")
    with Store(tmp_path).opened() as store:
        store.save_row(row("a"))
    records = table(tmp_path)
    assert [record["model"] for record in records] == ["unnamed", "resnet18", "vgg"]
    assert [record["mine"] for record in records] == ["", "", "x"]
    assert "table.csv keeps 2 lines that have no file in rows/" in caplog.text


@pytest.mark.parametrize("text", ["key;model\na;b\n", "key,model\na\n", 'key\n"a\n', "\udcff"])
def test_a_table_that_cannot_be_read_is_set_aside(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    content = text.encode(errors="surrogateescape")
    (tmp_path / "table.csv").write_bytes(content)
    with Store(tmp_path).opened() as store:
        store.save_row(row("a"))
    assert (tmp_path / "table.csv.damaged").read_bytes() == content
    assert [record["key"] for record in table(tmp_path)] == ["a"]
    assert "is kept as table.csv.damaged" in caplog.text


def test_a_row_whose_line_is_gone_as_well_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.json").write_text("{")
    with Store(tmp_path).opened() as store:
        store.save_table()
    assert "table.csv lacks the row of rows/a.json, which cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ('"schema_version": 2', "it is of schema version 2"),
        # An optional column, for which a version is not raised
        ('"schema_version": 1,\n"gpu_fan": 3', "it has a column 'gpu_fan'"),
    ],
)
def test_a_run_leaves_a_newer_row_alone_and_measures_a_torn_one_again(
    tmp_path: Path,
    fake_run: Callable[..., Outcome],
    caplog: pytest.LogCaptureFixture,
    by: str,
    words: str,
) -> None:
    asked = {"models": ["resnet18", "resnet34"], "out_dir": str(tmp_path)}
    first = {row.model: row.key for row in fake_run(**asked).rows}
    newer, torn = (tmp_path / "rows" / f"{first[name]}.json" for name in asked["models"])
    before = {record["key"]: record for record in table(tmp_path)}
    newer.write_text(newer.read_text().replace('"schema_version": 1', by))
    torn.write_text(torn.read_text()[:500])
    kept = newer.read_text()
    outcome = fake_run(**asked)
    assert outcome.measured == 1 and not outcome.interrupted
    assert newer.read_text() == kept
    after = {record["key"]: record for record in table(tmp_path)}
    assert after[newer.stem] == before[newer.stem]
    assert after[torn.stem]["started_at"] != before[torn.stem]["started_at"]
    assert f"not measured again, rows/{newer.name}: {words}" in caplog.text
    assert torn.with_name(f"{torn.name}.damaged").is_file()


def test_samples_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    with Store(tmp_path).opened() as store:
        runs = [Samples(np.array([1.5, 2.5]), np.array([0.25, 0.5]))]
        path = tmp_path / store.save_series("samples/a.parquet", dump_samples(runs))
        first = path.read_bytes()
        store.save_series("samples/a.parquet", dump_samples(runs))
    assert path.read_bytes() == first


def test_a_second_run_on_the_folder_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from benchlib.measure.store import Store\n"
        "with Store(Path(sys.argv[1])).opened():\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(InputError, match=r"out_dir: another run is writing"),
        Store(tmp_path).opened(),
    ):
        pass
    holder.kill()
    holder.communicate()
    # A killed run leaves no lock behind.
    with Store(tmp_path).opened():
        pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"out_dir: .*cannot be written"),
        Store(tmp_path / "file" / "set").opened(),
    ):
        pass


def test_a_read_only_folder_is_refused_by_name(tmp_path: Path) -> None:
    """As somebody without the superuser's right to write anywhere."""
    tmp_path.chmod(0o555)
    code = (
        "import os,sys; from pathlib import Path; from benchlib.errors import InputError\n"
        "from benchlib.measure.store import Store\n"
        "os.chdir(sys.argv[1])\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "try:\n"
        "    with Store(Path('.')).opened(): print('opened')\n"
        "except InputError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "cannot be written (Permission denied)" in done.stdout, done.stderr
    assert done.stdout.startswith("out_dir: ")


def test_a_folder_that_becomes_read_only_stops_with_a_clear_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path).opened() as store:
        store.save_row(row("a"))

        def refused(path: Path, target: Path) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", refused)
            with pytest.raises(StoreError, match=r"row of b could not be saved.*[Rr]ead-only"):
                store.save_row(row("b"))
        assert [one.key for one in store.rows] == ["a"]
    assert [record["key"] for record in table(tmp_path)] == ["a"]


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": 2}', '{"date": "today"}'])
def test_an_environment_that_cannot_be_read_is_set_aside(tmp_path: Path, text: str) -> None:
    with Store(tmp_path).opened() as store:
        (tmp_path / "environment.json").write_text(text)
        assert store.environment() is None
        assert (tmp_path / "environment.json.damaged").read_text() == text


MOUNT = shutil.which("mount")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if MOUNT is None:
        pytest.skip("no mount program; RLIMIT_FSIZE stands for the disk below")
    asked = [MOUNT, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    if done.returncode != 0:
        pytest.skip("mounting is not permitted here; RLIMIT_FSIZE stands for the disk below")
    yield place
    subprocess.run(["umount", str(place)], timeout=10, check=True)


def test_a_full_disk_stops_the_run_and_leaves_whole_files(small_disk: Path) -> None:
    with Store(small_disk).opened() as store:
        store.save_row(row("a"))
        (small_disk / "ballast").write_bytes(bytes(180 * 1024))
        with pytest.raises(StoreError, match=r"row of b could not be saved.*No space left"):
            store.save_row(row("b", message="x" * 100_000))
        assert [one.key for one in store.rows] == ["a"]
    assert not list(small_disk.rglob("*.part"))
    assert [record["key"] for record in table(small_disk)] == ["a"]
    (small_disk / "ballast").unlink()
    with Store(small_disk).opened() as store:
        assert [one.key for one in store.rows] == ["a"]
        store.save_row(row("b", message="x" * 1000))
    assert [record["key"] for record in table(small_disk)] == ["a", "b"]


def test_a_run_whose_disk_fills_up_goes_on_when_there_is_room(
    small_disk: Path, fake_run: Callable[..., Outcome]
) -> None:
    class Filling(Lines):
        """Fills the disk when the first case has ended."""

        def end(self, row: Row) -> None:
            if not (small_disk / "ballast").exists():
                with contextlib.suppress(OSError), (small_disk / "ballast").open("wb") as sink:
                    while True:
                        sink.write(bytes(4096))

    asked = {"models": ["resnet18", "resnet34", "fast_scnn"], "out_dir": str(small_disk)}
    with pytest.raises(StoreError, match=r"could not be saved.*No space left"):
        fake_run(progress=Filling(), **asked)
    assert len(list(small_disk.glob("rows/*.json"))) == 1
    assert len(table(small_disk)) == 1
    assert not list(small_disk.rglob("*.part"))
    (small_disk / "ballast").unlink()
    outcome = fake_run(**asked)
    assert (outcome.measured, outcome.count(Status.FAILED)) == (2, 0)
    assert len(table(small_disk)) == 3


def test_a_disk_that_fills_up_leaves_whole_files(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for the disk: a file cannot grow beyond it."""
    code = (
        "import resource,signal,sys; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2]); from test_store import row\n"
        "from benchlib.measure.store import Store; from benchlib.measure.store import StoreError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "with Store(Path(sys.argv[1])).opened() as store:\n"
        "    store.save_row(row('a'))\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        "    try: store.save_row(row('b', message='x' * 5000))\n"
        "    except StoreError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "row of b could not be saved" in done.stdout, done.stderr
    assert "File too large" in done.stdout
    with Store(tmp_path).opened() as store:
        assert [one.key for one in store.rows] == ["a"]
    assert not list(tmp_path.rglob("*.part"))


def test_runs_come_back_in_their_order_with_the_digits_that_trtexec_prints(tmp_path: Path) -> None:
    times = np.array([0.227349, 1234.56, 0.000123456, 9.99999])
    runs = [Samples(times, times / 10), Samples(times[::-1], times)]
    path = tmp_path / "a.parquet"
    path.write_bytes(dump_samples(runs))
    for run, back in zip(runs, load_samples(path), strict=True):
        assert [f"{value:.6g}" for value in back.compute_ms] == [
            f"{value:.6g}" for value in run.compute_ms
        ]
        assert back.enqueue_ms == pytest.approx(run.enqueue_ms, rel=1e-6)
        assert back.h2d_ms is None and back.d2h_ms is None


def test_copies_are_kept_where_one_took_time(tmp_path: Path) -> None:
    times = np.array([1.0, 2.0])
    runs = [Samples(times, times, np.zeros(2), np.zeros(2)), Samples(times, times, times, times)]
    path = tmp_path / "a.parquet"
    path.write_bytes(dump_samples(runs))
    first, second = load_samples(path)
    assert list(first.h2d_ms) == [0, 0]
    assert list(second.d2h_ms) == [1, 2]


def test_six_thousand_queries_take_a_few_kilobytes() -> None:
    steps = np.random.default_rng(0).integers(220, 224, 6100) * 0.001024
    assert len(dump_samples([Samples(steps, steps / 40)])) < 12_000


def test_readings_come_back_with_what_was_not_told(tmp_path: Path) -> None:
    told = TelemetrySample(1.25, 1980, 2619, 391.125, 44, 123456789012, 0x4, 1024.5, (17, 4))
    silent = TelemetrySample(2.5)
    path = tmp_path / "t.parquet"
    path.write_bytes(dump_telemetry([(), (told, silent)]))
    assert load_telemetry(path, 2) == ((), (told, silent))


def test_a_run_without_a_reading_is_still_a_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(dump_telemetry([()]))
    assert load_telemetry(path, 1) == ((),)
    assert pq.read_table(path).num_rows == 0
