"""The explorer as a reader has it: its rows, and its page in a browser with the network cut off."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from benchlib.analysis import ranking
from benchlib.analysis.comparable_groups import Variant
from benchlib.analysis.results import MeasuredSet, load
from benchlib.errors import InputError
from benchlib.report.explorer import Explorer
from benchlib.report.parts import TEMPLATES, Styles
from benchlib.report.view import View

DOTS = ".cloud .mark-symbol.role-mark path"
PRICE = 3.0


@pytest.fixture(scope="module")
def explorer(invented: MeasuredSet, published_dir: Path) -> Explorer:
    return Explorer([invented, load(published_dir)], PRICE)


@pytest.fixture(scope="module")
def address(explorer: Explorer, tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(explorer, tmp_path_factory.mktemp("explorer") / "page.html")


def written(explorer: Explorer, page: Path) -> str:
    """A page with the explorer alone, under the report's own content security policy."""
    report = (TEMPLATES / "report" / "index.html.j2").read_text(encoding="utf-8")
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy"[^>]+>', report)
    assert "unsafe-eval" not in policy
    page.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{policy}<title>Page</title>'
        f'</head><body class="jp-RenderedHTMLCommon"><main><h1>Page</h1>{Styles()._repr_html_()}'
        f"{explorer._repr_html_()}</main></body></html>",
        encoding="utf-8",
    )
    return page.as_uri()


@pytest.fixture(params=[1400])
def page(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Page]:
    """The page, with the network cut off; fails at the end if it asked or complained."""
    context = browser.new_context(viewport={"width": request.param, "height": 900}, offline=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened = context.new_page()
    opened.set_default_timeout(5000)
    asked, said = [], []
    opened.on("request", lambda one: asked.append(one.url))
    opened.on("console", lambda one: said.append(one.text))
    opened.on("pageerror", lambda one: said.append(str(one)))
    opened.goto(address)
    expect(opened.locator(DOTS).first).to_be_attached()
    yield opened
    context.close()
    assert [url for url in asked if url.partition("#")[0] != address] == []
    assert said == []


def networks(page: Page) -> list[str]:
    return page.locator(".rows tbody th").all_inner_texts()


def test_the_rows_are_those_of_the_sets(explorer: Explorer, invented: MeasuredSet) -> None:
    rows = explorer.rows
    assert len(rows) == len(invented.frame) + 192
    mine = rows[(rows["set"] == "Invented numbers") & (rows["resolution"] == "640x480")]
    mine = mine.set_index(["model", "precision"])
    one, base = mine.loc["resnet50", "fp16"], mine.loc["resnet50", "fp32"]
    assert one["speedup"] == pytest.approx(base["latency_ms"] / one["latency_ms"])
    assert mine.loc[("onnx:mine.onnx", "fp32"), "family"] == "Other"


def test_what_gave_no_number_keeps_its_reason(explorer: Explorer) -> None:
    rows = explorer.rows[explorer.rows["set"] == "Invented numbers"]
    lost = rows[rows["latency_ms"].isna()].set_index("model")
    assert dict(lost["verdict"]) == {
        **{"vgg11_bn": "failed", "onnx:mine.onnx": "skipped", "efficientnet_b0": "INVALID"}
    }
    assert lost.loc["vgg11_bn", "reasons"] == "no end after 900 s"
    assert lost["fps"].isna().all()


def test_an_accuracy_is_of_what_was_timed(explorer: Explorer) -> None:
    rows = explorer.rows
    assert rows.loc[rows["model"] == "vgg11_bn", "accuracy"].isna().all()
    assert rows.loc[rows["model"] == "resnet18", "accuracy"].notna().all()


def test_a_part_of_its_own_is_a_set_of_its_own(
    rows: pd.DataFrame, tmp_path: Path, write: object
) -> None:
    more = rows.copy()
    more["batch"] = 8
    more[["latency_ms", "latency_ci_low_ms", "latency_ci_high_ms"]] = 9.0
    other = rows.assign(shape_mode="dynamic")
    found = Explorer([load(write(tmp_path / "mine", pd.concat([rows, more, other])))]).rows
    assert sorted(found["set"].unique()) == [
        "Invented numbers, dynamic",
        "Invented numbers, static",
    ]
    assert sorted(found["batch"].unique()) == [1, 8]
    assert not found.duplicated(["set", "model", "precision", "resolution", "batch"]).any()


def test_the_rows_are_a_frame_to_go_on_with(explorer: Explorer) -> None:
    least = explorer.rows["latency_ms"].min()
    assert explorer.rows.nsmallest(1, "latency_ms")["latency_ms"].tolist() == [least]
    assert {"latency_ms", "fps", "gmacs", "batch"} <= set(explorer.rows.describe().columns)


@pytest.mark.parametrize("price", [-1.0, 0.0, float("nan"), float("inf")])
def test_what_is_no_price_is_refused(invented: MeasuredSet, price: float) -> None:
    with pytest.raises(InputError, match=r"^price_per_hour: .* is no price; give dollars"):
        Explorer([invented], price)


def test_a_name_cannot_break_out_of_the_page(
    rows: pd.DataFrame, tmp_path: Path, write: object
) -> None:
    title = "</script><script>alert(1)</script>"
    page = Explorer([load(write(tmp_path / "mine", rows, {"title": title}))])._repr_html_()
    assert "alert(1)</script>" not in page
    assert page.count("<script") == 3


@pytest.mark.browser
@pytest.mark.parametrize("page", [1400, 400], indirect=True)
def test_it_reads_at_every_width(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert page.locator(".explorer svg").count() == 2
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:120]) for one in found] == []


@pytest.mark.browser
def test_limits_take_rows_away(page: Page) -> None:
    before = page.locator(DOTS).count()
    slider = page.get_by_label("At most … ms")
    slider.focus()
    for _ in range(5):
        page.keyboard.press("PageDown")
    limit = float(page.get_by_role("spinbutton", name="At most").input_value())
    expect(page.locator(DOTS)).not_to_have_count(before)
    times = page.locator(".rows tbody td:nth-of-type(4)").all_inner_texts()
    assert times and all(float(one.split()[0]) <= limit * 1.01 for one in times)
    page.get_by_role("spinbutton", name="At most").fill("")
    page.get_by_role("spinbutton", name="At least").fill("75")
    expect(page.locator(".rows tbody tr")).to_have_count(2)
    assert set(networks(page)) == {"resnet50", "efficientnet_b0"}


@pytest.mark.browser
def test_filters_and_axes(page: Page) -> None:
    page.get_by_label("Name has").fill("RESNET, v3")
    expect(page.locator(".rows tbody tr")).to_have_count(3)
    page.get_by_label("ResNet", exact=True).check()
    expect(page.locator(".rows tbody tr")).to_have_count(2)
    page.get_by_label("Upwards").select_option("Frames per second")
    expect(page.locator(".rows tbody th").first).to_have_text("resnet18")  # the most come first
    page.get_by_label("To the right").select_option("GMACs per image")
    expect(page.locator(".cloud")).to_contain_text("GMACs per image")
    page.get_by_label("FP16", exact=True).uncheck()
    expect(page.locator(".rows tbody tr")).to_have_count(6)
    page.get_by_label("Task").select_option("segmentation")
    expect(page.locator(".answer")).to_contain_text("0 of ")


@pytest.mark.browser
def test_accuracies_of_two_kinds_are_never_in_one_chart(page: Page) -> None:
    expect(page.locator(".answer")).to_contain_text("choose another task for Cityscapes mIoU")
    assert "fast_scnn" not in networks(page)
    page.get_by_label("Task").select_option("segmentation")
    expect(page.locator(".rows tbody tr")).to_have_count(2)
    assert "fast_scnn" in networks(page)


@pytest.mark.browser
@pytest.mark.parametrize("least", [None, 70.0])
def test_the_fastest_is_the_rankings(page: Page, invented_view: View, least: float | None) -> None:
    page.get_by_label("Task").select_option("classification")
    if least is not None:
        page.get_by_role("spinbutton", name="At least").fill(str(least))
    rows = invented_view.at(Variant("fp16"), "1920x1056")
    rows = rows[rows["task"] == "classification"]
    picks = ranking.choose(rows, least_accuracy=least)
    first, *tied = picks.loc[picks["tied"], "model"]
    expect(page.locator(".answer")).to_contain_text(f"Fastest: {first} in FP16, ")
    said = page.locator(".answer").inner_text()
    assert all(f"{name} in FP16" in said for name in tied)
    assert ("tied with" in said) == bool(tied)
    dollars = PRICE / 3600 * 1e6 / (1000 / picks["latency_ms"].iloc[0])
    assert f"${dollars:#.3g} per million images" in said


@pytest.mark.browser
def test_the_size_with_most_networks_is_shown_at_first(
    invented: MeasuredSet, browser: Browser, tmp_path: Path
) -> None:
    """Not the usual one, where fewer were timed in FP16; of two such the one next to it."""
    frame = invented.frame
    cell = (frame["model"] == "resnet18") & (frame["width"] == 1920)
    few = replace(invented, frame=frame[~(cell & (frame["precision"] == "fp16"))])
    page = browser.new_page()
    page.goto(written(Explorer([few]), tmp_path / "page.html"))
    expect(page.get_by_label("1024×768", exact=True)).to_be_checked()
    expect(page.get_by_label("1920×1056", exact=True)).not_to_be_checked()
    page.close()


@pytest.mark.browser
def test_the_marks_of_a_large_line_up_are_named_where_there_is_room(
    root: Path, browser: Browser, tmp_path: Path
) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    measured = load(root / "results" / "h100-tensorrt-8.6")
    page.goto(written(Explorer([measured]), tmp_path / "page.html"))
    expect(page.locator(DOTS).nth(19)).to_be_visible()
    names = page.locator(".cloud .mark-text.role-mark text").filter(has_text=re.compile("."))
    assert names.count() > page.locator(DOTS).count() * 0.9
    assert "mobilenetv4_conv_medium" in names.all_text_contents()  # long, and best at its accuracy
    boxes = [one.bounding_box() for one in names.all()]
    for one, other in itertools.combinations(boxes, 2):
        beside = abs(one["x"] - other["x"]) >= min(one["width"], other["width"]) - 2
        assert beside or abs(one["y"] - other["y"]) > 8
    page.close()


@pytest.mark.browser
def test_a_mark_tells_and_stays_lit(page: Page) -> None:
    page.get_by_label("1024×768", exact=True).check()
    page.get_by_label("1920×1056", exact=True).uncheck()
    expect(page.locator(".answer")).to_contain_text("6 of ")
    page.locator(f'{DOTS}[aria-label^="resnet18, FP16"]').hover()
    tip = page.locator(".tip")
    native = "1024×768 (made for 224×224)"
    for words in ("95 % interval", "SUSPECT: throttled, drift", "per million images", native):
        expect(tip).to_contain_text(words)
    page.locator(f'{DOTS}[aria-label^="resnet18, FP16"]').click()
    button = page.locator(".rows").get_by_role("button", name="resnet18")
    expect(button).to_have_attribute("aria-pressed", "true")
    for chart in (".cloud", ".bysize"):
        expect(page.locator(f"{chart} .mark-text.role-mark text")).to_have_text(["resnet18"])
    page.get_by_label("FP32", exact=True).check()
    expect(page.locator(".cloud .mark-text.role-mark text")).to_have_text(["resnet18"] * 2)
    button.first.focus()
    page.keyboard.press("Enter")  # by the keyboard, and the focus stays
    expect(button.first).to_have_attribute("aria-pressed", "false")
    assert page.evaluate("document.activeElement.textContent") == "resnet18"


@pytest.mark.browser
def test_a_link_brings_the_same_view(page: Page, address: str) -> None:
    page.get_by_label("Measured set").select_option(index=2)
    page.get_by_label("Upwards").select_option("Dollars per million images")
    page.get_by_label("640×480", exact=True).check()
    page.get_by_role("spinbutton", name="At least").fill("74.5")
    page.get_by_label("$ per hour").fill("2.5")
    page.locator(".rows").get_by_role("button", name="resnet50").first.click()
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{address}#explore&")
    same = page.context.new_page()
    same.goto(link)
    expect(same.locator(DOTS).first).to_be_attached()
    for place in (".rows", ".answer", ".cloud svg"):
        expect(same.locator(place)).to_have_text(page.locator(place).text_content())
    assert same.locator(DOTS).count() == page.locator(DOTS).count()
    assert same.get_by_label("At least … %").input_value() == (
        page.get_by_label("At least … %").input_value()
    )


@pytest.mark.browser
def test_the_csv_has_the_rows_shown(page: Page, invented: MeasuredSet) -> None:
    page.get_by_label("Name has").fill("resnet")
    expect(page.locator(".rows tbody tr")).to_have_count(2)
    page.get_by_role("button", name="Copy CSV").click()
    text = page.get_by_label("Copied text").input_value()
    found = list(csv.DictReader(io.StringIO(text)))
    assert [one["model"] for one in found] == ["resnet18", "resnet50"]
    frame = invented.frame.set_index("key")
    for one in found:
        row = frame.loc[f"{one['model']}-fp16-1920x1056"]
        for name in ("latency_ms", "latency_ci_low_ms", "fps", "gmacs", "accuracy"):
            assert float(one[name]) == pytest.approx(row[name], rel=1e-6)
        dollars = PRICE / 3600 * 1e6 / row["fps"]
        assert float(one["dollars_per_million"]) == pytest.approx(dollars, rel=1e-6)


@pytest.mark.browser
def test_without_a_price_dollars_are_asked_for(page: Page) -> None:
    page.get_by_label("$ per hour").fill("")
    page.get_by_label("Upwards").select_option("Dollars per million images")
    expect(page.locator(".answer")).to_contain_text("no price per hour is given")
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_label("$ per hour")).to_have_value("3")
    expect(page.locator(".answer")).not_to_contain_text("no price")


@pytest.mark.browser
def test_without_javascript_it_says_so(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    expect(page.get_by_text("this page needs JavaScript")).to_be_visible()
    expect(page.locator(".explorer form")).to_be_hidden()
    context.close()
