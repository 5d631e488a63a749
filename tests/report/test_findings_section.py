from pathlib import Path

from benchlib.analysis.claims.catalogue import Answer
from benchlib.analysis.claims.findings import findings, headlines
from benchlib.analysis.results import MeasuredSet, load
from benchlib.report import sections


def test_every_claim_has_its_verdict_and_sentence(published_dir: Path) -> None:
    found = findings(load(published_dir).frame)
    table = sections.claims("x", found)
    assert len(table.rows) == len(headlines(found))
    verdicts = [one.text.replace("\u00a0", " ").split(" ", 1)[1] for one in table.columns[0].cells]
    assert set(verdicts) <= {answer.value for answer in Answer}
    assert "Compute time does not depend on model size or GFLOPs." in table.rows
    at = table.rows.index("Compute time does not depend on model size or GFLOPs.")
    assert verdicts[at] == "refuted"


def test_sets_stand_under_their_own_headings(invented: MeasuredSet, published_dir: Path) -> None:
    page = sections.findings_section([load(published_dir), invented])._repr_html_()
    assert page.index('id="findings-rtx3090-published"') < page.index('id="findings-invented"')
    assert page.count("<details>") == 2
    assert "nan" not in page.lower().split()
