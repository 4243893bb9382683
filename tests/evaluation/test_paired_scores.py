"""Rows of one image meet, and tables that are not of the same images are refused with what differs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrscore.core.errors import UserError
from cxrscore.evaluation.joined_scores import Scored
from cxrscore.evaluation.paired_scores import paired
from cxrscore.tables.label_table import LabelTable

NAMES = ("HEAD", "mine")


def scored(*, prefix: str = "", patient: list[str] | None = None) -> Scored:
    draw = np.random.default_rng(0)
    y = (draw.random((8, 2)) < 0.5).astype(np.int8)
    ids = [f"{prefix}{i}.jpg" for i in range(8)]
    table = LabelTable(Path("labels.csv"), ids, ("A", "B"), y, np.ones(y.shape, dtype=bool), patient)
    return Scored(("A", "B"), draw.random((8, 2)), table, 0)


def some_rows(one: Scored, rows: list[int]) -> Scored:
    return replace(one, scores=one.scores[rows], table=one.table.rows(rows))


def test_rows_and_findings_come_in_the_order_of_the_first() -> None:
    one = scored(patient=list("aabbccdd"))
    other = some_rows(one, [5, 0, 7, 2, 1, 3, 6, 4])
    table = replace(other.table, findings=("B", "A"), y=other.table.y[:, ::-1], mask=other.table.mask)
    other = replace(other, findings=("B", "A"), scores=other.scores[:, ::-1], table=table)
    first, second = paired(one, other, called=NAMES)
    assert first is one and second.table.ids == one.table.ids and tuple(second.findings) == ("A", "B")
    assert np.array_equal(second.scores, one.scores) and np.array_equal(second.table.y, one.table.y)


def test_other_images_are_counted_and_the_first_are_named() -> None:
    one = scored()
    with pytest.raises(
        UserError, match=r"2 images only in HEAD \('6.jpg', '7.jpg'\); .* same folds"
    ) as found:
        paired(one, some_rows(one, [0, 1, 2, 3, 4, 5]), called=NAMES)
    assert "only in mine" not in str(found.value) and "of other images than those out of fold" in str(
        found.value
    )
    ids = [*one.table.ids[1:], "new.jpg"]
    with pytest.raises(UserError, match=r"1 image only in HEAD \('0.jpg'\) and 1 image only in mine \('new"):
        paired(one, replace(one, table=replace(one.table, ids=ids)), called=NAMES)


def test_tables_without_a_common_image_say_how_each_names_its_own() -> None:
    with pytest.raises(UserError, match=r"mine: no image in common with HEAD \('x0.jpg' and '0.jpg', for"):
        paired(scored(), scored(prefix="x"), called=NAMES)


def test_other_findings_are_named() -> None:
    other = replace(scored(), findings=("A", "C"))
    with pytest.raises(UserError, match=r"than HEAD: only HEAD scores B; only mine scores C; choose two"):
        paired(scored(), other, called=NAMES)


def test_other_labels_of_one_image_are_shown_and_labels_are_the_remedy() -> None:
    one = scored()
    y, mask = one.table.y.copy(), one.table.mask.copy()
    y[3, 1] ^= 1
    mask[5, 0] = False
    other = replace(one, table=replace(one.table, y=y, mask=mask))
    words = f"({one.table.y[3, 1]} and {y[3, 1]})"
    with pytest.raises(UserError, match=r"2 labels differ in 2 images, such as B of '3.jpg'") as found:
        paired(one, other, called=NAMES)
    assert words in str(found.value) and "use --labels to measure both by one table" in str(found.value)
    with pytest.raises(UserError, match=r"1 label differs in 1 image, such as A of '5.jpg' \(. and unknown"):
        paired(one, replace(one, table=replace(one.table, mask=mask)), called=NAMES)


def test_what_nobody_knows_may_hold_any_value() -> None:
    one = scored()
    mask = one.table.mask.copy()
    mask[2] = False
    y = one.table.y.copy()
    y[2] ^= 1
    first = replace(one, table=replace(one.table, mask=mask))
    paired(first, replace(one, table=replace(one.table, mask=mask, y=y)), called=NAMES)


def test_patients_may_be_spelt_in_another_way_but_not_be_others() -> None:
    one, other = scored(patient=list("aabbccdd")), scored(patient=list("wwxxzzyy"))
    first, second = paired(one, other, called=NAMES)
    assert np.array_equal(first.sample().cluster, second.sample().cluster)
    with pytest.raises(UserError, match=r"other patients than HEAD .* images, from '3.jpg' on; use --labels"):
        paired(one, scored(patient=list("aabdccdd")), called=NAMES)


def test_a_side_without_patients_gets_those_of_the_other() -> None:
    one, other = scored(patient=list("aabbccdd")), scored()
    for first, second in ((one, other), (other, one)):
        pair = paired(first, second, called=NAMES)
        assert [side.patients() for side in pair] == [4, 4]
