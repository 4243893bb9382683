"""A user's edges mean what their columns say, and what cannot be meant is refused with its line."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import PRESETS

from cxrscore.core.errors import UserError
from cxrscore.tables.datasets.chexpert import FINDINGS
from cxrscore.tables.label_graph import read_label_graph, without_edges

NAMES = ["A", "B", "C, D", "E"]


def written(folder: Path, text: str) -> Path:
    path = folder / "edges.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_edges_between_a_and_b_inform_both_ways_and_each_finding_itself(tmp_path: Path) -> None:
    links = read_label_graph(written(tmp_path, 'a,b\nA,B\n"C, D",A\n'), NAMES)
    expected = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]], dtype=bool)
    assert np.array_equal(links, expected)
    assert without_edges(links, NAMES) == ["E"]


def test_a_target_listens_to_its_source_and_not_the_other_way(tmp_path: Path) -> None:
    links = read_label_graph(written(tmp_path, "target;source;why\nA;B;x\nB;A;y\nE;A;z\n"), NAMES)
    expected = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1]], dtype=bool)
    assert np.array_equal(links, expected), "row = who listens"
    assert without_edges(links, NAMES) == ["C, D"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\nA,B\nA,b\n", "edges.csv:3: 'b' is not in labels.findings; the nearest is 'B'"),
        ("a,b\nA,A\n", "edges.csv:2: an edge from 'A' to itself; remove it"),
        ("a,b\nA,B\nA,E\nB,A\n", "edges.csv:4: 'B' and 'A' are linked in line 2 already; remove one"),
        ("source,target\nA,B\nA,B\n", "edges.csv:3: 'A' and 'B' are linked in line 2 already"),
        (
            "from,to\nA,B\n",
            "edges.csv:1: the columns from, to; name them a,b for edges that inform both ways",
        ),
        ("a,b,source,target\nA,B,A,B\n", "edges.csv:1: the columns a, b, source, target; name them a,b"),
        ("a,b\n", "edges.csv: a header and no rows"),
        ("a,b\nA\n", "edges.csv:2: 1 cell under a header of 2"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        read_label_graph(written(tmp_path, text), NAMES)


def test_the_tree_of_the_docs_is_the_one_that_is_shipped() -> None:
    page = (Path(__file__).parents[2] / "docs" / "heads.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    assert block == (PRESETS / "chexpert_tree.csv").read_text(encoding="utf-8")


def test_the_tree_of_chest_findings_is_of_the_14_and_a_forest() -> None:
    """As many edges as findings that have a parent: no finding has two, and none is its own ancestor."""
    links = read_label_graph(PRESETS / "chexpert_tree.csv", FINDINGS)
    assert (links.sum() - 14) / 2 == 6
    reached = np.linalg.matrix_power(links.astype(int), 14) > 0
    trees = {tuple(row) for row in reached}
    assert len(trees) == 14 - 6, "an edge in a circle would join no further trees"
    alone = "Fracture, No Finding, Pleural Effusion, Pleural Other, Pneumothorax, Support Devices"
    assert ", ".join(without_edges(links, FINDINGS)) == alone
