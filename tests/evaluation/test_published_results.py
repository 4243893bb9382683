"""Published results are the same in the report and in the docs, and only for the paper's findings."""

import re
from pathlib import Path

import pytest

from cxrscore.evaluation.published_results import PUBLISHED, has_the_papers_findings
from cxrscore.tables.datasets.chexpert import FINDINGS
from cxrscore.tables.datasets.nih import FINDINGS as OF_NIH

RESULTS = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")


def test_the_docs_show_the_same_rows_and_the_demos_own_result_last() -> None:
    section = RESULTS.split("### Beside published results")[1].split("\n#")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    _, *published, mine = rows
    assert published == [[one.study, one.data, one.model, one.split, one.area] for one in PUBLISHED]
    measured = re.search(r"\| 2\. demo, test images \| (0\.\d+)", RESULTS)
    assert measured is not None
    assert mine[-1] == measured[1]


@pytest.mark.parametrize(
    ("findings", "are"),
    [(FINDINGS, True), (FINDINGS[::-1], True), (OF_NIH, False), (FINDINGS[1:], False), ((), False)],
)
def test_only_the_papers_findings_are_the_papers(findings: tuple[str, ...], are: bool) -> None:
    assert has_the_papers_findings(findings) is are
