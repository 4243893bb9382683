"""The report is one page: it needs nothing beside it, says what the files say, and runs nothing."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import Project

from cxrscore import figures
from cxrscore.errors import UserError
from cxrscore.report import write_report

SVG = "{http://www.w3.org/2000/svg}"
NAN = float("nan")
HOSTILE = "<script>alert('x')</script>"


class Page(HTMLParser):
    """The tags, the addresses and the cells of each table row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.rows: list[list[str]] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        names = ("src", "href", "xlink:href", "srcset", "data", "action", "poster", "background")
        self.addresses += [value or "" for name, value in attrs if name in names]
        if tag == "tr":
            self.rows.append([])
        self.in_cell = tag in ("td", "th")
        if self.in_cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.rows[-1][-1] += data


@pytest.fixture
def mine(project: Project, tmp_path: Path) -> Project:
    return project.copy_to(tmp_path)


def rename(project: Project, old: str, new: str) -> None:
    """Another name for a finding in everything that the report reads."""
    for path in (project.layout.metrics, project.layout.balance, *project.layout.root.glob("summary/*")):
        path.write_text(path.read_text().replace(json.dumps(old), json.dumps(new)))
    areas = project.layout.plots / "auc.csv"
    areas.write_text(areas.read_text().replace(f",{old},", f",{new},"))


def page_of(project: Project) -> Page:
    write_report(project.layout, folds=[0, 1])
    return Page(project.layout.report.read_text())


def test_the_page_needs_nothing_beside_it(project: Project) -> None:
    text = project.layout.report.read_text()
    page = Page(text)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.addresses)
    assert "@import" not in text
    assert all(inside.strip("'\"").startswith("#") for inside in re.findall(r"url\((.*?)\)", text))


def test_the_same_inputs_give_the_same_bytes(mine: Project) -> None:
    before = mine.layout.report.read_bytes()
    mine.layout.report.unlink()
    write_report(mine.layout, folds=[0, 1])
    assert mine.layout.report.read_bytes() == before


def test_each_finding_has_its_own_area_and_count_in_its_row(project: Project) -> None:
    metrics = json.loads(project.layout.metrics.read_text())
    with project.labels.open(newline="") as file:
        labels = list(csv.DictReader(file))
    rows = {row[0]: row[1:] for row in Page(project.layout.report.read_text()).rows}
    for name in project.params.labels.findings:
        area = f"{metrics['auc'][name]:.4f}" if name in metrics["auc"] else "undefined"
        assert rows[name][0] == area
        assert rows[name][-1] == str(sum(row[name] == "1" for row in labels))
    for fold in ("0", "1"):
        summary = json.loads(project.layout.summary(int(fold)).read_text())
        area = f"{metrics['folds'][fold]['macro_auc']:.4f}"
        assert rows[fold][1:] == [
            str(summary["epoch"] + 1),
            area,
            str(summary["steps"]),
            str(summary["skipped"]),
        ]


def test_the_study_mean_is_shown_and_explained_only_where_there_is_one(mine: Project) -> None:
    metrics = json.loads(mine.layout.metrics.read_text())
    words = f"<b>{metrics['study']['macro_auc']:.4f}</b>and all images of a study"
    assert words in mine.layout.report.read_text()
    del metrics["study"]
    mine.layout.metrics.write_text(json.dumps(metrics))
    write_report(mine.layout, folds=[0, 1])
    assert "of a study" not in mine.layout.report.read_text()
    assert f"<b>{metrics['views']['macro_auc']:.4f}</b>with all views" in mine.layout.report.read_text()


def test_a_hostile_finding_name_is_text(mine: Project) -> None:
    rename(mine, "Edema", HOSTILE)
    page = page_of(mine)
    assert "script" not in page.tags
    assert HOSTILE in [row[0] for row in page.rows]


def test_a_fold_without_a_defined_area_is_called_undefined(mine: Project) -> None:
    metrics = json.loads(mine.layout.metrics.read_text())
    metrics["folds"]["1"] = {}
    del metrics["macro_auc"]
    mine.layout.metrics.write_text(json.dumps(metrics))
    rows = {row[0]: row for row in page_of(mine).rows}
    assert rows["1"][3] == "undefined" != rows["0"][3]


def test_missing_metrics_name_the_remedy_and_leave_the_old_page(mine: Project) -> None:
    before = mine.layout.report.read_bytes()
    mine.layout.metrics.unlink()
    with pytest.raises(UserError, match=r"metrics.json: no such file; run `dvc repro` first"):
        write_report(mine.layout, folds=[0, 1])
    assert mine.layout.report.read_bytes() == before


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_pictures_are_functions_of_their_numbers() -> None:
    one, same, other = (
        figures.auc_by_finding(["a", "b"], [0.7, area], {"0": [0.6, 0.8]}) for area in (0.9, 0.9, 0.8)
    )
    assert one == same != other
    matrix = [[0.0, 0.2], [-0.1, 0.0]]
    assert figures.coupling(["a", "b"], matrix) == figures.coupling(["a", "b"], matrix)


def test_bars_stand_in_the_order_of_their_areas_and_undefined_ones_last() -> None:
    svg = figures.auc_by_finding(["worst", "best", "none", "middle"], [0.6, 0.9, NAN, 0.7], {})
    names = [text for text in texts(svg) if text in ("worst", "best", "none", "middle")]
    assert names == ["none", "worst", "middle", "best"]  # from the bottom


def test_names_are_escaped_in_pictures() -> None:
    names = [HOSTILE, "b & c", "d", "e", "f", "g"]
    for svg in (
        figures.auc_by_finding(names, [0.7] * 6, {"0": [0.6] * 6}),
        figures.coupling(names, 0.1 * np.eye(6)),
    ):
        assert "<script" not in svg
        assert {*names} <= {*texts(svg)}


def test_one_finding_has_its_picture() -> None:
    assert "Enlarged" in figures.auc_by_finding(["Enlarged Cardiomediastinum"], [0.7], {"0": [0.6]})


def test_an_area_far_below_chance_is_in_the_picture() -> None:
    low, high = (
        figures.auc_by_finding(["a", "b"], [value, 0.9], {"0": [value, 0.9]}) for value in (0.1, 0.45)
    )
    assert ">0.1<" in low or ">0.2<" in low
    assert ">0.2<" not in high
