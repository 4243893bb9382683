"""The report is one page: it needs nothing beside it, says what the files say, and runs nothing."""

import csv
import json
import re
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import Project

from cxrscore.core.errors import UserError
from cxrscore.evaluate import evaluate
from cxrscore.evaluation import figures
from cxrscore.evaluation.head_pictures import Picture, write_learned
from cxrscore.evaluation.published_results import PUBLISHED
from cxrscore.report import write_report
from cxrscore.tables.datasets.chexpert import FINDINGS

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
    for table in project.layout.plots.glob("*.csv"):
        cell = re.compile(rf"(?<![^,\n]){re.escape(old)}(?=,)")
        table.write_text(cell.sub(lambda found: new, table.read_text()))


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
    rows = {row[0]: row[1:] for row in reversed(Page(project.layout.report.read_text()).rows)}
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


def test_the_images_scored_worst_are_named_and_never_shown(project: Project) -> None:
    text = project.layout.report.read_text()
    name = project.params.labels.findings[0]
    with (project.layout.plots / "worst_images.csv").open(newline="") as file:
        worst = [row for row in csv.DictReader(file) if row["finding"] == name]
    named = [row for row in Page(text).rows if worst[0]["image"] in row]
    assert named and worst[0]["label"] == "1"
    assert f"{float(worst[0]['score']):.4f}" in named[0]
    assert "<img" not in text and "data:image/jpeg" not in text


def test_pictures_of_predictions_are_of_their_tables(mine: Project) -> None:
    page_of(mine)
    assert {"labels", "predictions"} <= {*re.findall(r">([a-z]+)</text>", mine.layout.report.read_text())}
    svg = figures.histograms({"Edema": [1, 0, 0, 3], "Fracture": [4, 0, 0, 0]})
    assert {"Edema", "Fracture", "probability, out of fold"} <= {*texts(svg)}
    bars = texts(figures.positives({"Edema": 3, "Fracture": 1}, images=8))
    assert "3 (37.5 %)" in bars and "1 (12.5 %)" in bars


def test_tables_of_predictions_that_are_missing_name_the_remedy(mine: Project) -> None:
    (mine.layout.plots / "histograms.csv").unlink()
    with pytest.raises(UserError, match=r"histograms.csv: no such file; run `dvc repro` first"):
        write_report(mine.layout, folds=[0, 1])


def test_the_study_mean_is_shown_and_explained_only_where_there_is_one(mine: Project) -> None:
    metrics = json.loads(mine.layout.metrics.read_text())
    words = f"<b>{metrics['study']['macro_auc']:.4f}</b>and all images of a study"
    assert words in mine.layout.report.read_text()
    del metrics["study"]
    mine.layout.metrics.write_text(json.dumps(metrics))
    write_report(mine.layout, folds=[0, 1])
    assert "of a study" not in mine.layout.report.read_text()
    assert f"<b>{metrics['views']['macro_auc']:.4f}</b>with all views" in mine.layout.report.read_text()


def published_row(project: Project) -> list[str] | None:
    return next((row for row in page_of(project).rows if row[0] == "this project"), None)


def test_this_projects_result_stands_beside_published_ones_for_the_same_findings(mine: Project) -> None:
    metrics = json.loads(mine.layout.metrics.read_text())
    row = published_row(mine)
    assert row is not None
    assert row[-2:] == ["out of fold, one view", f"{metrics['macro_auc']:.4f}"]
    for one in PUBLISHED:
        assert [one.study, one.data, one.model, one.split, one.area] in page_of(mine).rows
    assert "cannot be compared" in mine.layout.report.read_text()


def test_the_result_on_test_images_comes_first_where_there_is_one(mine: Project) -> None:
    path = mine.layout.test_metrics
    tested = {"macro_auc": 0.12345, "images": 8, "findings_defined": 3, "identical_files": 0, "auc": {}}
    path.write_text(json.dumps({"test": tested}))
    row = published_row(mine)
    assert row is not None
    assert row[-2:] == ["held-out test images, all folds", "0.1235"]
    path.write_text(json.dumps({"test": {"macro_auc": "high"} | {"images": 8}}))
    with pytest.raises(UserError, match=r"test_metrics.json: damaged \(at test.findings_defined\); run `dvc"):
        page_of(mine)


def test_other_findings_are_not_put_beside_published_results(mine: Project) -> None:
    rename(mine, "Edema", "Oedema")
    assert published_row(mine) is None
    assert "published" not in {row[0] for row in page_of(mine).rows}


def test_a_result_that_is_undefined_is_called_so_beside_published_ones(mine: Project) -> None:
    metrics = json.loads(mine.layout.metrics.read_text())
    del metrics["macro_auc"]
    mine.layout.metrics.write_text(json.dumps(metrics))
    row = published_row(mine)
    assert row is not None
    assert row[-1] == "undefined"


def test_a_hostile_finding_name_is_text(mine: Project) -> None:
    rename(mine, "Edema", HOSTILE)
    page = page_of(mine)
    assert "script" not in page.tags
    assert HOSTILE in [row[0] for row in page.rows]


def test_the_held_out_test_comes_first_where_there_is_one(mine: Project) -> None:
    areas = {name: 0.5 + 0.01 * i for i, name in enumerate(mine.params.labels.findings)}
    found = {"macro_auc": 0.87654, "images": 335, "findings_defined": 14, "identical_files": 2, "auc": areas}
    mine.layout.test_metrics.write_text(json.dumps({"test": found}))
    write_report(mine.layout, folds=[0, 1])
    page = mine.layout.report.read_text()
    assert 0 < page.index("0.8765") < page.index("Out of fold")
    assert "2 of its images are files of training" in page
    assert ["Edema", f"{areas['Edema']:.4f}"] in [row[:2] for row in Page(page).rows]
    mine.layout.test_metrics.unlink()
    write_report(mine.layout, folds=[0, 1])
    assert "On the held-out test" not in mine.layout.report.read_text()


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


def test_a_table_cut_in_a_row_is_refused_and_leaves_the_old_page(mine: Project) -> None:
    before, table = mine.layout.report.read_bytes(), mine.layout.history(0)
    table.write_text(table.read_text().rpartition(",")[0])
    with pytest.raises(UserError, match=r"history/fold0.csv:\d+: \d+ cells under a header of \d+"):
        write_report(mine.layout, folds=[0, 1])
    assert mine.layout.report.read_bytes() == before


def test_a_line_break_of_unicode_in_a_name_is_part_of_the_name(mine: Project) -> None:
    rename(mine, "Edema", "Ede\u2028ma")
    assert "Ede\u2028ma" in [row[0] for row in page_of(mine).rows]


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def heat_map(matrix: Any, names: Sequence[str] = ("a", "b"), *, signed: bool = True) -> str:
    panels = {"title": np.array(matrix)}
    return figures.heat_maps(panels, names, row="giver", column="taker", scale="weight", signed=signed)


def test_pictures_are_functions_of_their_numbers() -> None:
    one, same, other = (
        figures.auc_by_finding(["a", "b"], [0.7, area], {"0": [0.6, 0.8]}) for area in (0.9, 0.9, 0.8)
    )
    assert one == same != other
    one, same, other = (heat_map([[0.0, top], [-0.1, 0.0]]) for top in (0.2, 0.2, 0.3))
    assert one == same != other
    one, same, other = (
        figures.small_maps(np.full((2, 3, 3), value), ["a", "b"], scale="s") for value in (1, 1, 2)
    )
    assert one == same != other


def test_bars_stand_in_the_order_of_their_areas_and_undefined_ones_last() -> None:
    svg = figures.auc_by_finding(["worst", "best", "none", "middle"], [0.6, 0.9, NAN, 0.7], {})
    names = [text for text in texts(svg) if text in ("worst", "best", "none", "middle")]
    assert names == ["none", "worst", "middle", "best"]  # from the bottom


def test_names_are_escaped_in_pictures() -> None:
    names = [HOSTILE, "b & c", "d", "e", "f", "g"]
    for svg in (
        figures.auc_by_finding(names, [0.7] * 6, {"0": [0.6] * 6}),
        heat_map(0.1 * np.eye(6), names),
        figures.small_maps(np.ones((6, 2, 2)), [HOSTILE[:19], *names[1:]], scale="s"),
    ):
        assert "<script" not in svg
        assert {*names[1:]} <= {*texts(svg)}
        assert any(text.startswith(HOSTILE[:19]) for text in texts(svg))


def test_probes_stand_as_numbers_under_their_states() -> None:
    values = np.array([[[0.1, 0.25], [0.5, 0.999]], [[NAN, NAN], [NAN, NAN]]])
    svg = figures.probes(values, ["a", HOSTILE], labelled=["a"])
    assert svg == figures.probes(values, ["a", HOSTILE], labelled=["a"])
    assert svg != figures.probes(values, ["a", HOSTILE])
    found = texts(svg)
    assert [text for text in found if re.fullmatch(r"[12]\.[12]", text)] == ["1.1", "1.2", "2.1", "2.2"]
    assert [text for text in found if re.fullmatch(r"[01]\.\d\d", text)] == ["0.10", "0.25", "0.50", "1.00"]
    assert "<script" not in svg and HOSTILE in found


def test_attention_lies_over_its_image() -> None:
    gray, even = np.arange(64).reshape(8, 8) * 4, np.full((2, 2), 0.25)
    maps = {"1.1": even, "2.1": np.array([[1.0, 0.0], [0.0, 0.0]])}
    svg = figures.attention_over_image(gray, maps)
    assert svg == figures.attention_over_image(gray, maps)
    assert texts(svg) == ["image", "1.1", "2.1"]
    assert svg.count("<image") == 3, "the map and the image under it are one picture"
    assert svg != figures.attention_over_image(gray, {"1.1": even, "2.1": even})
    assert svg != figures.attention_over_image(255 - gray, maps)


def test_a_graph_that_was_given_is_not_called_one_of_labels(mine: Project) -> None:
    pictures = [learned_of("lamp", images) for images in images_of(mine)]
    for one in pictures:
        one["given_graph"] = one.pop("prior_graph")
    text = page_of_learned(mine, *pictures)
    assert "The graph that was given lets a finding attend" in text
    assert "The prior graph" not in text


def test_one_finding_has_its_picture() -> None:
    assert "Enlarged" in figures.auc_by_finding(["Enlarged Cardiomediastinum"], [0.7], {"0": [0.6]})


def test_an_area_far_below_chance_is_in_the_picture() -> None:
    low, high = (
        figures.auc_by_finding(["a", "b"], [value, 0.9], {"0": [value, 0.9]}) for value in (0.1, 0.45)
    )
    assert ">0.1<" in low or ">0.2<" in low
    assert ">0.2<" not in high


def drawn(svg: str) -> list[float]:
    """The numbers at the colour scale, largest last."""
    found = [text.replace("\u2212", "-") for text in texts(svg)]
    return sorted(float(text) for text in found if re.fullmatch(r"-?\d+(\.\d+)?", text))


def test_only_what_can_be_negative_has_a_scale_on_both_sides_of_zero() -> None:
    scale = drawn(heat_map([[0.0, 0.4], [0.1, 0.0]]))
    assert scale[0] == -scale[-1] < 0
    assert drawn(heat_map([[0.0, 0.4], [0.1, 0.0]], signed=False))[0] == 0
    assert drawn(figures.small_maps(np.full((1, 2, 2), 0.5), ["a"], scale="s"))[0] == 0


def test_an_undefined_entry_does_not_set_the_scale() -> None:
    assert drawn(heat_map([[NAN, 0.4], [0.1, NAN]])) == drawn(heat_map([[0.0, 0.4], [0.1, 0.0]]))
    assert drawn(heat_map([[NAN, NAN], [NAN, NAN]])) == drawn(heat_map(np.zeros((2, 2))))
    assert drawn(heat_map(np.zeros((2, 2))))[-1] == 1


def test_a_heat_map_says_what_its_rows_columns_and_colours_are() -> None:
    assert {"title", "giver", "taker", "weight", "a", "b"} <= {*texts(heat_map(np.zeros((2, 2))))}


@pytest.mark.parametrize("panels", [1, 2, 3, 4, 5])
def test_each_panel_has_its_title_and_its_columns_names(panels: int) -> None:
    titles = {f"step {t}": np.eye(2) for t in range(panels)}
    found = texts(figures.heat_maps(titles, ["a", "b"], row="r", column="c", scale="s", signed=False))
    assert {*titles} <= {*found}
    assert found.count("c") == panels
    assert found.count("r") == (panels + 1) // 2 if panels > 1 else 1


@pytest.mark.parametrize("length", [3, 60])
def test_no_name_is_cut_whatever_its_length(length: int) -> None:
    name = "W" * length
    svg = heat_map(np.zeros((2, 2)), [name, "b"])
    width, height = (float(part) for part in re.findall(r'<svg[^>]* viewBox="0 0 (\S+) (\S+)"', svg)[0])
    assert name in texts(svg)
    assert min(width, height) > 6 * length  # points; a W is 9 wide


def test_no_label_is_cut_at_the_lower_edge() -> None:
    panels = {"one": np.eye(14), "two": np.eye(14)}
    svg = figures.heat_maps(panels, FINDINGS, row="r", column="below", scale="s", signed=False)
    height = float(re.findall(r'<svg[^>]* viewBox="0 0 \S+ (\S+)"', svg)[0])
    nodes = [node for node in ElementTree.fromstring(svg).iter(f"{SVG}text") if node.text == "below"]
    assert len(nodes) == 2
    assert all(float(node.attrib["y"]) + 2 < height for node in nodes)  # points; a g hangs under its line


def test_a_finding_without_an_image_has_a_map_that_says_so() -> None:
    maps = np.ones((3, 2, 2))
    maps[1] = NAN
    found = texts(figures.small_maps(maps, ["a", "b", "c"], scale="s"))
    assert {"a", "b", "c"} <= {*found}
    assert found.count("no image") == 1


def test_a_long_title_of_a_small_map_takes_two_lines() -> None:
    found = texts(figures.small_maps(np.ones((1, 2, 2)), ["Enlarged Cardiomediastinum"], scale="s"))
    assert {"Enlarged", "Cardiomediastinum"} <= {*found}


L = 14
RNG = np.random.default_rng(0)


def shares(*shape: int, over: int = 1) -> np.ndarray:
    """That sum to one over the last axes."""
    values = RNG.random(shape)
    return values / values.sum(tuple(range(-over, 0)), keepdims=True)


def scenes(images: int) -> dict[str, Picture]:
    counts = RNG.integers(1, 9, size=(2, L, L)).astype(float) + 9 * np.eye(L)
    return {
        "scenes": Picture(("image", "scene"), shares(images, 2)),
        "scene_counts": Picture(("scene", "given", "finding"), counts),
        "scene_cooccurrence": Picture(
            ("scene", "given", "finding"), counts / np.einsum("kii->ki", counts)[..., None]
        ),
        "attention": Picture(("finding", "row", "column"), shares(L, 2, 3, over=2)),
    }


def learned_of(kind: str, images: int) -> dict[str, Picture]:
    steps = shares(L, 2, L)
    steps[3] = NAN
    return {
        "independent": {},
        "coupling": {"coupling": Picture(("source", "target"), RNG.normal(size=(L, L)) * (1 - np.eye(L)))},
        "agcn": {"adjacency": Picture(("finding", "source"), RNG.normal(size=(L, L)))},
        "lamp": {
            "prior_graph": Picture(("finding", "source"), np.eye(L)),
            "probes": Picture(("finding", "step", "part"), RNG.random((L, 2, 2))),
            "attention_labels": Picture(("finding", "step", "source"), steps),
            "attention_tokens": Picture(("finding", "step", "row", "column"), shares(L, 2, 2, 3, over=2)),
        },
        "salgl": scenes(images),
    }[kind]


def learn(project: Project, *folds: dict[str, Picture]) -> None:
    """Tables of heads that learned this."""
    layout, params = project.layout, project.params
    for fold, pictures in enumerate(folds):
        write_learned(layout.learned(fold), params.labels.findings, pictures, head={"kind": "any"})
    evaluate(project.labels, layout, labels=params.labels, folds=[0, 1])


def page_of_learned(project: Project, *folds: dict[str, Picture]) -> str:
    learn(project, *folds)
    write_report(project.layout, folds=[0, 1])
    return project.layout.report.read_text()


def images_of(project: Project) -> list[int]:
    return [len(project.layout.scores(fold, views=False).read_text().splitlines()) - 1 for fold in (0, 1)]


def page_with(project: Project, kind: str) -> str:
    return page_of_learned(project, *(learned_of(kind, images) for images in images_of(project)))


SECTION = "What findings tell each other"
WORDS = {
    "coupling": ["row i pushes column j", "White: nothing passes", "exactly zero"],
    "agcn": ["The label graph", "Cool: away from it", "weight in the label graph"],
    "lamp": [
        "step 1 of 2",
        "step 2 of 2",
        "show the row's finding",
        "Where a finding looks in the last step",
        "What each step adds",
        "The prior graph lets a finding attend only to findings that occur with it",
    ],
    "salgl": ["mean probability", "scene 0:", "scene 1:", "Where a finding looks:"],
}


@pytest.mark.parametrize("kind", WORDS)
def test_what_a_head_learned_is_shown_and_explained_and_nothing_of_other_heads(
    mine: Project, kind: str
) -> None:
    text = page_with(mine, kind)
    assert text.count(SECTION) == 1
    assert "is not medicine" in text
    found = {other for other, words in WORDS.items() for word in words if word in text}
    assert found == {kind}
    assert [word for word in WORDS[kind] if word not in text] == []
    assert ("2 &times; 3 cells" in text) == (kind in ("lamp", "salgl"))
    assert "gates" not in text


def test_the_page_is_a_function_of_the_tables_and_a_hostile_name_is_text_in_it(mine: Project) -> None:
    def of_all_heads(images: int) -> dict[str, Picture]:
        return {name: one for kind in WORDS for name, one in learned_of(kind, images).items()}

    learn(mine, *map(of_all_heads, images_of(mine)))
    rename(mine, "Edema", HOSTILE)
    pages = []
    for _ in range(2):
        page = page_of(mine)
        assert "script" not in page.tags
        assert HOSTILE in [row[0] for row in page.rows]
        pages.append(mine.layout.report.read_text())
        shutil.rmtree(mine.layout.learned(0).parent, ignore_errors=True)
    assert pages[0] == pages[1]
    assert [kind for kind, words in WORDS.items() if words[0] in pages[0]] == [*WORDS]


def test_a_head_with_nothing_to_show_has_no_section(mine: Project) -> None:
    text = page_with(mine, "independent")
    assert SECTION not in text
    assert "medicine" not in text


def test_the_sparsity_sentence_is_of_entries_off_the_diagonal(mine: Project) -> None:
    matrix = np.zeros((L, L))
    matrix[0, 1:], matrix[1, 2:] = 0.5, 0.005  # 13 and 12 of 182
    picture = {"coupling": Picture(("source", "target"), matrix)}
    text = " ".join(
        page_of_learned(mine, picture, {"coupling": Picture(("source", "target"), -matrix)}).split()
    )
    assert "The largest entry of a fold is 0.5000." in text
    assert "86.3&nbsp;% of the entries are exactly zero" in text  # (182 - 13 - 12) / 182
    assert "92.9&nbsp;% under 0.01 and 92.9&nbsp;% under 0.1" in text


def test_gates_are_told_beside_the_couplings_that_all_images_share(mine: Project) -> None:
    def gated(images: int) -> dict[str, Picture]:
        return learned_of("coupling", images) | {"gates": Picture(("image", "gate"), np.ones((images, 3)))}

    assert "3 gates add terms" in page_of_learned(mine, *map(gated, images_of(mine)))


def test_a_graph_that_is_nowhere_negative_has_no_cool_side(mine: Project) -> None:
    graph = {"adjacency": Picture(("finding", "source"), np.full((L, L), 0.25))}
    text = page_of_learned(mine, graph, graph)
    assert "The darker, the more it takes" in text
    assert "Cool:" not in text
    assert "0.250 on average" in text


def test_attention_is_of_the_last_step_and_a_multiple_of_an_even_one(mine: Project) -> None:
    maps = np.full((L, 2, 2, 5), 0.1)
    maps[0, 0] = 0
    maps[0, 0, 0, 0] = 1  # the first step, ten times even
    maps[0, 1] = 0
    maps[0, 1, 0, :2] = 0.5  # the last, five times
    tokens = {"attention_tokens": Picture(("finding", "step", "row", "column"), maps)}
    text = page_of_learned(mine, tokens, tokens)
    picture = next(svg for svg in re.findall(r"<svg.*?</svg>", text, re.S) if "multiple of an even" in svg)
    assert drawn(picture)[-1] == 5


def test_a_scene_in_which_nothing_was_counted_is_all_grey(mine: Project) -> None:
    def of_one_scene(images: int) -> dict[str, Picture]:
        found = scenes(images)
        together = found["scene_cooccurrence"].values.copy()
        together[1] = NAN
        return found | {"scene_cooccurrence": Picture(("scene", "given", "finding"), together)}

    text = page_of_learned(mine, *map(of_one_scene, images_of(mine)))
    picture = next(svg for svg in re.findall(r"<svg.*?</svg>", text, re.S) if "scene 1: " in svg)
    assert sum(name.startswith("scene ") for name in texts(picture)) == 2


def test_scenes_show_their_findings_entropies_and_surest_images(mine: Project) -> None:
    def certain(images: int) -> dict[str, Picture]:
        found = scenes(images)
        counts = np.zeros((2, L, L))
        counts[0, 0, 0], counts[0, 1, 1], counts[1, 1, 1] = 3, 1, 4
        shares_of = np.tile([1.0, 0.0], (images, 1))
        shares_of[0] = [0.0, 1.0]
        return found | {
            "scene_counts": Picture(("scene", "given", "finding"), counts),
            "scenes": Picture(("image", "scene"), shares_of),
        }

    text = page_of_learned(mine, *map(certain, images_of(mine)))
    words = " ".join(text.split())
    assert "between 0 and the logarithm of 2, 0.693: 0.000 of an image's own" in words
    picture = next(svg for svg in re.findall(r"<svg.*?</svg>", text, re.S) if "positive labels" in svg)
    first, second, *_ = mine.params.labels.findings
    shown = texts(picture)
    assert [name for name in shown if name.startswith("scene ")] == ["scene 0", "scene 1"]
    assert shown.index(first) < shown.index(second)  # 5 of 8 are the second, which is on top
    rows = Page(text).rows
    at = rows.index(["scene 0", "probability", "scene 1", "probability"])
    named = rows[at + 1 : at + 9]
    assert [row[1] for row in named] == ["1.0000"] * 8
    assert [row[3] for row in named] == ["1.0000"] * 2 + [""] * 6  # one image of each fold
    known = {name for fold in (0, 1) for name in ids_of(mine, fold)}
    assert {cell for row in named for cell in (row[0], row[2]) if cell} <= known


def ids_of(project: Project, fold: int) -> list[str]:
    table = project.layout.scores(fold, views=False).read_text().splitlines()[1:]
    return [row.split(",")[0] for row in table]


def test_one_scene_has_no_entropies_to_tell_and_no_images_to_name(mine: Project) -> None:
    def alone(images: int) -> dict[str, Picture]:
        counts = np.ones((1, L, L))
        found = {name: Picture(("scene", "given", "finding"), counts) for name in scenes(images)}
        picture = {"scenes": Picture(("image", "scene"), np.ones((images, 1)))}
        return {name: found[name] for name in ("scene_counts", "scene_cooccurrence")} | picture

    text = page_of_learned(mine, *map(alone, images_of(mine)))
    assert "share of the scene's positive labels" in text
    assert "Entropies on validated images" not in text
    assert "most surely" not in text


def test_scenes_are_tabulated_by_view_with_the_share_of_each_view(mine: Project) -> None:
    def all_in_the_first(images: int) -> dict[str, Picture]:
        found = scenes(images)
        counts = np.stack([np.ones((L, L)), np.eye(L)])
        return found | {
            "scene_counts": Picture(("scene", "given", "finding"), counts),
            "scenes": Picture(("image", "scene"), np.tile([0.75, 0.25], (images, 1))),
        }

    rows = Page(page_of_learned(mine, *map(all_in_the_first, images_of(mine)))).rows
    header = next(row for row in rows if row[0] == "Scene")
    with mine.labels.open(newline="") as file:
        views = [row["ViewPosition"] or row["ViewCategory"] for row in csv.DictReader(file)]
    assert header == ["Scene", "share of images", "mean probability", *sorted(set(views))]
    at = rows.index(header)
    assert rows[at + 1] == [
        *("0", "100.0\xa0%", "0.75"),
        *(f"{views.count(view)} (100.0\xa0%)" for view in sorted(set(views))),
    ]
    assert rows[at + 2] == ["1", "0.0\xa0%", "0.25", *(["0 (0.0\xa0%)"] * len(set(views)))]


def test_one_finding_alone_has_no_pairs_and_its_page_all_the_same(mine: Project) -> None:
    page_with(mine, "coupling")
    (mine.layout.plots / "coupling_sparsity.csv").unlink()
    write_report(mine.layout, folds=[0, 1])
    assert "Off the diagonal" not in mine.layout.report.read_text()
