"""The report as a reader gets it: the notebook run by papermill, the page opened in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import nbformat
import papermill
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from traitlets.config import Config

from benchlib.errors import InputError
from benchlib.report import html
from benchlib.report.document import Document, load_sets

WIDTHS = (1400, 400)
PRINTED = {"width": 1032, "height": 703}
"""CSS pixels of an A4 sheet on its side, less margins of 12 mm."""
LONGEST = {1400: 15_000, 400: 25_000}
"""Pixels. A page that is longer is not read; opened, the same sets make some 40,000."""

_STREAMS = ("stdout", "stderr")
_QUIET = Config({"KernelManager": {"transport_encryption": "auto"}})


@pytest.fixture(scope="session")
def rendered(
    tmp_path_factory: pytest.TempPathFactory, root: Path, published_dir: Path, invented_dir: Path
) -> Path:
    """A folder with report.ipynb, report.html and figures/ of the published and invented sets."""
    out = tmp_path_factory.mktemp("report")
    papermill.execute_notebook(
        root / "notebooks" / "report.ipynb",
        out / "report.ipynb",
        {
            "results": [str(published_dir), str(invented_dir)],
            "figures_dir": str(out / "figures"),
            "price_per_hour": 2.5,
        },
        kernel_name="python3",
        cwd=root / "notebooks",
        progress_bar=False,
        config=_QUIET,
    )
    html.export(out / "report.ipynb", out / "report.html")
    return out


@pytest.fixture(scope="session")
def text(rendered: Path) -> str:
    return (rendered / "report.html").read_text(encoding="utf-8")


def test_the_page_is_small_enough_to_send(rendered: Path) -> None:
    assert (rendered / "report.html").stat().st_size < html.COMFORTABLE_MB * 1e6


def test_the_page_asks_for_nothing_outside(text: str) -> None:
    assert "default-src 'none'" in text
    assert not re.findall(r'<(?:script|img|iframe|link)[^>]+(?:src|href)="https?:', text)
    assert "@import" not in text
    assert not re.findall(r"url\(\s*[\"']?https?:", text)


def test_the_explorer_is_in_the_page_once_with_the_price(text: str) -> None:
    assert len(re.findall(r'<script class="library" type="text/plain">', text)) == 1
    (price,) = re.findall(r'<input [^>]*name="price"[^>]*>', text)
    assert 'value="2.5"' in price


def test_contents_links_meet_their_headings(text: str) -> None:
    contents = text.partition('class="toc"')[2].partition("</nav>")[0]
    links = re.findall(r'href="#([^"]+)"', contents)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(links) > 15
    assert set(links) <= set(ids)
    assert len(set(ids)) == len(ids), sorted({one for one in ids if ids.count(one) > 1})


def test_the_title_stands_before_the_contents(text: str) -> None:
    assert -1 < text.find("<h1") < text.find('class="toc"') < text.find("<h2")
    assert text.count('class="toc"') == 1


def test_the_answer_comes_first_and_empty_sections_have_no_heading(text: str) -> None:
    headings = re.findall(r"<h2[^>]*>([^<]+)<", text)
    assert headings[:2] == ["Which network to take", "Ask the numbers"]
    assert headings[-3:] == ["Methods", "Environment", "How to cite"]
    assert {"Claims tested", "Not drawn"} <= set(headings)
    # Neither set has INT8 in several ways or timed layers.
    assert not {"INT8", "Layers"} & set(headings)
    assert "none made INT8 in more than one way" in text


def test_published_numbers_are_said_to_be_published(text: str) -> None:
    assert "nobody measured it for this report" in text
    assert "The accuracy is the literature" in text


def test_the_page_names_no_folder_of_this_machine(
    text: str, root: Path, rendered: Path, invented_dir: Path
) -> None:
    for path in (root, rendered, invented_dir, Path.home()):
        assert str(path) not in text


def test_every_figure_is_saved_twice_and_shown_once(rendered: Path, text: str) -> None:
    saved = sorted(path.name for path in (rendered / "figures").iterdir())
    stems = {Path(name).stem for name in saved}
    assert len(saved) == 2 * len(stems)
    shown = re.findall(r'<figure id="figure-([^"]+)"', text)
    assert sorted(shown) == sorted(stems)
    assert any(name.startswith("fps-fp16-rtx3090") for name in stems)


def test_two_sets_of_one_name_are_refused(invented_dir: Path) -> None:
    with pytest.raises(InputError, match="two sets are called 'invented'"):
        load_sets([invented_dir, invented_dir])
    with pytest.raises(InputError, match="at least one"):
        load_sets([])


def test_sets_without_rows_are_refused_and_beside_others_they_are_not(
    invented_dir: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    header = (invented_dir / "table.csv").read_text(encoding="utf-8").splitlines()[0]
    (empty / "table.csv").write_text(header + "\n")
    with pytest.raises(InputError, match="results: no rows in empty; give a set that holds some"):
        load_sets([empty])
    assert [len(one.frame) > 0 for one in load_sets([empty, invented_dir])] == [False, True]


def test_one_folder_as_a_text_is_one_set(invented_dir: Path) -> None:
    """``papermill -p results DIR`` gives a text where a list is declared."""
    assert [one.name for one in load_sets(str(invented_dir))] == ["invented"]


def test_a_price_in_words_is_refused(invented_dir: Path) -> None:
    with pytest.raises(InputError, match="price_per_hour: cheap is no price"):
        Document(load_sets([invented_dir]), price_per_hour="cheap")


def test_contents_are_a_line_of_links_and_escape() -> None:
    body = '<h2 id="a">A &amp; B<a class="anchor-link" href="#a">¶</a></h2><h3 id="b">C</h3>'
    assert html.contents(f'{body}<h2 id="d">D</h2>') == (
        '<a href="#a">A &amp; B</a> <a href="#d">D</a>'
    )
    assert html.contents("<p>nothing</p>") == ""


def test_what_was_said_on_the_way_is_not_on_the_page(tmp_path: Path) -> None:
    said = [nbformat.v4.new_output("stream", name=name, text=f"to {name}") for name in _STREAMS]
    cell = nbformat.v4.new_code_cell("1", outputs=said)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "a.ipynb")
    page = html.export(tmp_path / "a.ipynb", tmp_path / "a.html").read_text(encoding="utf-8")
    assert "to stdout" in page
    assert "to stderr" not in page


def test_what_is_no_notebook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        html.export(tmp_path / "none.ipynb", tmp_path / "page.html")
    (tmp_path / "torn.ipynb").write_text("{")
    with pytest.raises(InputError, match="not a notebook"):
        html.export(tmp_path / "torn.ipynb", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_pdf_without_a_browser_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(html.CHROMIUM_VARIABLE, raising=False)
    with pytest.raises(InputError, match="CHROMIUM"):
        html.pdf(tmp_path / "page.html", tmp_path / "page.pdf")


@pytest.mark.browser
def test_the_page_prints(rendered: Path, tmp_path: Path, chromium: Path) -> None:
    assert html.chromium() == chromium
    printed = html.pdf(rendered / "report.html", tmp_path / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert len(printed) > 100_000


@contextmanager
def shown(browser: Browser, folder: Path, width: int) -> Iterator[Page]:
    """The page at one width; fails at the end if it asked for anything but itself."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked: list[str] = []
    problems: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    page.on("console", lambda one: problems.append(one.text) if one.type == "error" else None)
    page.goto((folder / "report.html").as_uri())
    yield page
    outside = [url for url in asked if not url.startswith(("data:", "file:"))]
    page.close()
    assert outside == []
    assert problems == []


@pytest.fixture(scope="module", params=WIDTHS)
def read(request: pytest.FixtureRequest, browser: Browser, rendered: Path) -> Iterator[Page]:
    """The page for tests that only look at it, or put back what they change."""
    with shown(browser, rendered, request.param) as page:
        yield page


@pytest.fixture(params=WIDTHS)
def opened(request: pytest.FixtureRequest, browser: Browser, rendered: Path) -> Iterator[Page]:
    """The page for a test that changes it."""
    with shown(browser, rendered, request.param) as page:
        yield page


@pytest.mark.browser
def test_the_page_reads_at_every_width(read: Page) -> None:
    width = read.viewport_size["width"]
    assert read.evaluate("document.documentElement.scrollWidth") <= width
    broken = read.evaluate(
        "[...document.images].filter(i => !(i.complete && i.naturalWidth)).length"
    )
    assert broken == 0
    alts = read.evaluate("[...document.images].map(i => i.alt)")
    assert len(alts) > 10
    assert all(len(alt) > 60 for alt in alts)
    assert len(set(alts)) == len(alts)


FIRST_SCREEN = """() => {
  const table = document.querySelector("table.answer");
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const column = heads.findIndex((head) => head.startsWith("With ResNet-18"));
  const row = [...table.tBodies[0].rows].find((one) => one.cells[0].textContent === "%s");
  const box = row.cells[column].getBoundingClientRect();
  const on = document.elementFromPoint(box.left + 3, box.top + box.height / 2);
  return {
    text: row.cells[column].innerText,
    seen: row.cells[column].contains(on),
    bottom: box.bottom, right: box.right, screen: [innerWidth, innerHeight],
    above: document.querySelector("p.belief").getBoundingClientRect().bottom < box.top,
  };
}"""


@pytest.mark.browser
def test_the_first_screen_has_the_network_and_its_cost(read: Page) -> None:
    read.evaluate("scrollTo(0, 0)")
    found = read.evaluate(FIRST_SCREEN % "1920×1056 FP16")
    width, height = found["screen"]
    assert found["seen"] and found["above"]
    assert found["bottom"] < height and found["right"] <= width
    # The blog's table: 2.17 ms, a tie of three; a million images at $2.50 an hour.
    words = " ".join(found["text"].split())
    assert words.startswith("mnasnet1_0 = shufflenet_v2_x1_5 = resnet18")
    assert "2.17 ms" in words and "$1.51" in words and "1.69× FP32" in words


def test_the_answer_says_how_far_it_reaches(root: Path) -> None:
    names = ("h100-tensorrt-8.6", "rtx3090-published")
    sets = load_sets([str(root / "results" / name) for name in names])
    shown = Document(sets).answer()._repr_html_()
    for words in (
        "FP32: with TF32 allowed",
        "INT8 by qdq (calibrated Q/DQ)",
        "a VGG, timed without its classifier, has none; none is known of fast_scnn_blog. ",
        "might win in the others: mobilenetv4_conv_small (6 of 12) and mobileone_s0 (6 of 12)",
        "NVIDIA H100 80GB HBM3 and NVIDIA GeForce RTX 3090, at batch 1",
    ):
        assert words in shown
    assert shown.count("On another device times do not carry over") == 1
    assert shown.count("Claims tested compares those here") == 1
    alone = Document(sets[1:]).answer()._repr_html_()
    assert "Claims tested compares" not in alone
    assert "might win" not in alone
    frame = sets[1].frame
    few = replace(sets[1], frame=frame[frame["family"] != "VGG"].assign(device="cpu"))
    assert "VGG" not in (shown := Document((few,)).answer()._repr_html_())
    assert "The times are of a CPU, at batch 1." in shown


@pytest.mark.browser
def test_another_price_changes_every_cost(read: Page) -> None:
    field = read.get_by_label("dollars an hour")
    before = read.locator("table.answer .cost").all_text_contents()
    field.fill("5")
    after = read.locator("table.answer .cost").all_text_contents()
    assert len(before) == len(after) > 20
    for one, other in zip(before, after, strict=True):
        assert float(other[1:]) == pytest.approx(2 * float(one[1:]), abs=0.011)
    field.fill("")
    assert set(read.locator("table.answer .cost").all_text_contents()) == {""}
    field.fill("2.5")
    assert read.locator("table.answer .cost").all_text_contents() == before


@pytest.mark.browser
def test_folded_parts_open_for_a_link_and_for_print_which_clips_no_table(opened: Page) -> None:
    folded = (
        "() => [...document.querySelectorAll('details:not(.code)')].filter(d => !d.open).length"
    )
    closed = opened.evaluate(folded)
    assert closed > 10
    opened.evaluate("location.hash = 'fps-invented'")
    opened.wait_for_function("document.getElementById('fps-invented').open")
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.evaluate(folded) == 0
    opened.emulate_media(media="print")
    opened.set_viewport_size(PRINTED)
    # The answer is on page one.
    bottom = opened.evaluate(
        "document.querySelector('table.answer').getBoundingClientRect().bottom + scrollY"
    )
    assert bottom < PRINTED["height"]
    wide = opened.evaluate(
        "[...document.querySelectorAll('table.bench')]"
        ".filter(t => t.getBoundingClientRect().right > innerWidth)"
        ".map(t => t.parentElement.ariaLabel)"
    )
    assert wide == []
    broken = opened.evaluate(
        """() => [...document.querySelectorAll("table.bench:not(.words) td, td:nth-child(n + 5)")]
          .filter((cell) => cell.firstChild && cell.offsetWidth && !cell.closest(".answer"))
          .filter((cell) => {
            const text = document.createRange();
            text.selectNodeContents(cell.firstChild);
            return new Set([...text.getClientRects()].map((box) => Math.round(box.top))).size > 1;
          }).map((cell) => cell.textContent)"""
    )
    assert broken == []
    assert not opened.get_by_role("heading", name="Ask the numbers").is_visible()


@pytest.mark.browser
def test_the_page_is_short_while_folded(read: Page) -> None:
    height = read.evaluate("document.documentElement.scrollHeight")
    assert height < LONGEST[read.viewport_size["width"]]


@pytest.mark.browser
def test_contents_links_lead_somewhere(read: Page) -> None:
    missing = read.evaluate(
        "[...document.querySelectorAll('.toc a')].map(a => a.hash.slice(1))"
        ".filter(id => !document.getElementById(decodeURIComponent(id)))"
    )
    assert missing == []


@pytest.mark.browser
def test_what_is_wider_than_its_box_says_so_and_nothing_else(opened: Page) -> None:
    """On a desktop too: a long table's scroll bar lies below the screen, or shows only in use."""
    opened.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    boxes = """[...document.querySelectorAll(".scroll")].map((box) => [
        box.scrollWidth > box.clientWidth + 1,
        getComputedStyle(box, "::before").content.includes("scroll")])"""
    opened.wait_for_function(f"() => {boxes}.every(([wide, told]) => wide === told)")
    assert {wide for wide, _ in opened.evaluate(boxes)} == {True, False}


@pytest.mark.browser
def test_on_a_phone_claims_fit_and_names_break_between_their_words(read: Page) -> None:
    if read.viewport_size["width"] > 500:
        pytest.skip("there is room")
    box = read.locator("[id^='table-claims-'] .scroll").first
    assert box.evaluate("box => box.scrollWidth <= box.clientWidth")
    lines = read.evaluate(
        """() => [...document.querySelectorAll("table.answer td")].map((cell) => {
          const lines = {};
          const pieces = [...cell.childNodes].filter((one) => one.nodeType === 3);
          for (const piece of pieces.filter((one) => one.data.trim())) {
            for (let at = 0; at < piece.length; at += 1) {
              const letter = document.createRange();
              letter.setStart(piece, at);
              letter.setEnd(piece, at + 1);
              const top = Math.round(letter.getBoundingClientRect().top);
              lines[top] = (lines[top] ?? "") + letter;
            }
          }
          return Object.keys(lines).sort((a, b) => a - b).map((top) => lines[top]).join("|");
        })"""
    )
    broken = [cell for cell in lines if "|" in cell and ":" not in cell]  # a file breaks anywhere
    assert broken
    assert [cell for cell in broken if re.search(r"[^_ ]\|[^_ ]", cell)] == []


@pytest.mark.browser
def test_the_first_column_stays_when_a_table_scrolls(read: Page) -> None:
    left = read.evaluate(
        """() => {
          const box = document.querySelector("figure.table .scroll");
          const name = box.querySelector("tbody th");
          const before = name.getBoundingClientRect().left;
          box.scrollLeft = 300;
          const after = name.getBoundingClientRect().left;
          box.scrollLeft = 0;
          return [before, after];
        }"""
    )
    assert left[0] == pytest.approx(left[1], abs=1)


@pytest.mark.browser
def test_a_press_on_a_heading_sorts(opened: Page) -> None:
    table = opened.locator("#table-latency-invented")
    opened.evaluate("location.hash = 'table-invented'")
    button = table.get_by_role("button", name="INT8").last
    for direction, least_first in (("ascending", True), ("descending", False)):
        button.click()
        assert button.locator("xpath=..").get_attribute("aria-sort") == direction
        last = table.locator("tbody tr td:last-child")
        values = last.evaluate_all("cells => cells.map(c => c.dataset.value)")
        numbers = [float(value) for value in values if value is not None]
        assert numbers == sorted(numbers, reverse=not least_first)
        assert values[-1] is None  # a dash stays last both ways
    table.get_by_role("button", name="Network").click()
    names = table.locator("tbody th").all_inner_texts()
    assert names == sorted(names)
    words = opened.locator("#table-beside-invented-rtx3090-published")
    opened.evaluate("location.hash = 'table-beside-invented-rtx3090-published'")
    for title, column, known in (
        ("Precision", 3, ["FP16", "FP32", "INT8 (qdq)"]),
        ("Size", 2, ["640×480", "1024×768", "1920×1056"]),  # by number, not by letter
    ):
        for order in (known, known[::-1]):
            words.get_by_role("button", name=title).click()
            cells = words.locator(f"tbody tr :nth-child({column})").all_inner_texts()
            assert list(dict.fromkeys(cells)) == [one for one in order if one in cells]
            assert len(set(cells)) > 1


@pytest.mark.browser
def test_axe_finds_nothing_serious(read: Page) -> None:
    found = Axe().run(read).response["violations"]
    serious = [
        (one["id"], [node["html"][:120] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


@pytest.mark.browser
def test_outputs_bring_their_own_ground_to_jupyterlab(opened: Page) -> None:
    """In its dark theme dark words would else lie on black."""
    bare = opened.evaluate(
        """() => {
          document.documentElement.classList.add("jp-LabShell");
          const clear = "rgba(0, 0, 0, 0)";
          const ground = (one) => {
            while (one && getComputedStyle(one).backgroundColor === clear) one = one.parentElement;
            return one;
          };
          const words = "table.bench td, figcaption, summary, .answer, .belief, .explorer td, li";
          return [...document.querySelectorAll(".jp-RenderedHTML")].flatMap((output) =>
            [...output.querySelectorAll(words)].filter((one) => !output.contains(ground(one))),
          ).map((one) => one.outerHTML.slice(0, 100));
        }"""
    )
    assert bare == []


@pytest.mark.browser
def test_tab_stops_only_where_a_key_does_something(read: Page) -> None:
    assert read.locator("[tabindex]:not(.scroll, .command)").count() == 0


@pytest.mark.browser
def test_no_word_of_a_heading_is_broken(opened: Page) -> None:
    opened.set_viewport_size({"width": 768, "height": 900})
    wide = opened.locator("table.answer thead th").evaluate_all(
        "heads => heads.filter(h => h.scrollWidth > h.clientWidth).map(h => h.innerText)"
    )
    assert wide == []
    heads = opened.locator("table.answer thead th")
    assert set(heads.evaluate_all("all => all.map(h => getComputedStyle(h).overflowWrap)")) == {
        "normal"
    }
