"""What a head has learned comes through to tables as it was, and what nobody saw has no number."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrscore.core.errors import UserError
from cxrscore.evaluation.head_pictures import (
    FINDING_AXES,
    Picture,
    Seen,
    mean_of_rows,
    read_learned,
    sparsity_rows,
    tidy_rows,
    write_learned,
)

FINDINGS = ["Edema", "Fracture", "Pneumonia"]
HEAD = {"kind": "coupling", "alpha": 0.3}
NAN = float("nan")


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def shown(images: int, seed: int = 1) -> np.ndarray:
    """(n, L); nobody shows the last finding."""
    return (np.random.default_rng(seed).random((images, 3)) < 0.5) & [True, True, False]


def batches(images: int) -> tuple[dict[str, Picture], np.ndarray]:
    pictures = {
        "attention": Picture(("image", "finding", "row", "column"), random(images, 3, 2, 4)),
        "scenes": Picture(("image", "scene"), random(images, 2)),
    }
    return pictures, shown(images)


def part(pictures: dict[str, Picture], rows: slice) -> dict[str, Picture]:
    return {name: Picture(one.axes, one.values[rows]) for name, one in pictures.items()}


def test_what_belongs_to_a_finding_is_the_mean_over_the_images_that_show_it() -> None:
    pictures, has = batches(7)
    seen = Seen(3)
    for rows in (slice(0, 3), slice(3, 6), slice(6, 7)):
        seen.add(part(pictures, rows), has[rows])
    found = seen.pictures()
    values = pictures["attention"].values
    for finding in (0, 1):
        of_finding = [values[i, finding] for i in range(7) if has[i, finding]]
        assert np.allclose(found["attention"].values[finding], sum(of_finding) / len(of_finding))
    assert np.isnan(found["attention"].values[2]).all()  # which no image shows
    assert found["attention"].axes == ("finding", "row", "column")
    assert np.array_equal(found["scenes"].values, pictures["scenes"].values)


@pytest.mark.parametrize("cut", [0, 2, 7])
def test_what_two_processes_saw_is_what_one_would_have(cut: int) -> None:
    pictures, has = batches(7)
    one, first, other = Seen(3), Seen(3), Seen(3)
    one.add(pictures, has)
    for seen, rows in ((first, slice(0, cut)), (other, slice(cut, 7))):
        if len(has[rows]):
            seen.add(part(pictures, rows), has[rows])
    first.join(other)
    for name, picture in one.pictures().items():
        assert first.pictures()[name].axes == picture.axes
        assert np.allclose(first.pictures()[name].values, picture.values, equal_nan=True)


def test_pictures_come_back_from_disk_and_what_is_no_finite_number_as_nan(tmp_path: Path) -> None:
    values = np.array([[0.1234567, NAN, np.inf], [1e-9, -0.0, 0.0], [-3e-7, 2, 1]], dtype=np.float32)
    write_learned(
        tmp_path / "a.json", FINDINGS, {"coupling": Picture(("source", "target"), values)}, head=HEAD
    )
    found = read_learned(tmp_path / "a.json")
    pictures = found.pictures
    assert (found.findings, found.head) == (FINDINGS, HEAD)
    assert pictures["coupling"].axes == ("source", "target")
    expected = [[0.123457, NAN, NAN], [1e-9, 0, 0], [-3e-7, 2, 1]]
    assert np.allclose(pictures["coupling"].values, expected, rtol=1e-5, atol=0, equal_nan=True)
    assert "NaN" not in (tmp_path / "a.json").read_text()


def test_a_small_number_is_not_written_as_zero(tmp_path: Path) -> None:
    small = Picture(("source", "target"), np.full((3, 3), 1e-8))
    write_learned(tmp_path / "a.json", FINDINGS, {"coupling": small}, head=HEAD)
    assert (read_learned(tmp_path / "a.json").pictures["coupling"].values > 0).all()
    assert {row[-1] for row in tidy_rows(small, FINDINGS)} == {"1e-08"}


def test_a_count_keeps_all_its_digits(tmp_path: Path) -> None:
    counts = Picture(("scene",), np.array([123_456_789, 1]))
    write_learned(tmp_path / "a.json", FINDINGS, {"images": counts}, head=HEAD)
    assert read_learned(tmp_path / "a.json").pictures["images"].values.tolist() == [123_456_789, 1]
    assert [row[-1] for row in tidy_rows(counts, FINDINGS)] == ["123456789", "1"]


def test_zero_has_one_spelling() -> None:
    assert {row[-1] for row in tidy_rows(Picture(("gate",), np.array([-0.0, 0.0])), FINDINGS)} == {"0"}


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("{", "not what `cxrscore train` writes"),
        ("[]", "not what `cxrscore train` writes"),
        ({"findings": FINDINGS}, "'pictures'"),
        ({"findings": FINDINGS, "head": HEAD, "pictures": []}, "not what `cxrscore train` writes"),
        ({"axes": ["source", "target"], "values": [1, 2, 3]}, r"axes \('source', 'target'\), shape \(3,\)"),
        ({"axes": ["source"], "values": [1, 2]}, r"shape \(2,\), 3 findings"),
        ({"axes": ["gate", "row"], "values": [[1], [1, 2]]}, "not what `cxrscore train` writes"),
        ({"axes": ["gate"], "values": ["many"]}, "many"),
    ],
    ids=["no JSON", "a list", "no pictures", "a list of pictures", "axes", "findings", "ragged", "words"],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, told: Any, message: str) -> None:
    if "axes" in told:
        told = {"findings": FINDINGS, "head": HEAD, "pictures": {"coupling": told}}
    (tmp_path / "a.json").write_text(told if isinstance(told, str) else json.dumps(told))
    with pytest.raises(UserError, match=message) as refused:
        read_learned(tmp_path / "a.json")
    assert "run `dvc repro train`" in str(refused.value)


def test_a_missing_file_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.json: no such file; run `dvc repro train`"):
        read_learned(tmp_path / "a.json")


def test_a_row_a_number_with_findings_by_name_and_none_for_what_is_undefined() -> None:
    values = np.arange(18, dtype=float).reshape(2, 3, 3)
    values[1, 2] = NAN
    rows = list(tidy_rows(Picture(("scene", "given", "finding"), values), FINDINGS))
    assert rows[:2] == [[0, "Edema", "Edema", "0"], [0, "Edema", "Fracture", "1"]]
    assert rows[-1] == [1, "Fracture", "Pneumonia", "14"]
    assert len(rows) == 15


@pytest.mark.parametrize(
    "axes",
    [
        ("source", "target"),
        ("gate", "source", "target"),
        ("finding", "source"),
        ("finding", "step", "source"),
        ("finding", "step", "row", "column"),
        ("scene", "given", "finding"),
    ],
    ids=" ".join,
)
def test_the_mean_over_folds_of_a_table_is_the_mean_of_the_pictures(axes: tuple[str, ...]) -> None:
    shape = [3 if axis in FINDING_AXES else 2 for axis in axes]
    folds = [random(*shape, seed=seed) for seed in (0, 1, 2)]
    folds[0][(0,) * len(shape)] = NAN  # two folds know it
    rows = [
        dict(zip(["fold", *axes, "value"], map(str, [k, *row]), strict=True))
        for k, values in enumerate(folds)
        for row in tidy_rows(Picture(axes, values), FINDINGS)
    ]
    found = mean_of_rows(rows, FINDINGS)
    assert found.axes == axes
    assert np.allclose(found.values, np.nanmean(folds, axis=0), atol=1e-5)


def test_what_no_fold_knows_has_no_mean() -> None:
    rows = [{"fold": "0", "finding": "Edema", "source": "Fracture", "value": "0.5"}]
    found = mean_of_rows(rows, FINDINGS).values
    assert found[0, 1] == 0.5
    assert np.isnan(found).sum() == 8


def test_sparsity_counts_off_the_diagonal_and_exact_zeros_for_themselves() -> None:
    A = np.array([[0.0, 0.0, 2e-5], [-0.5, 0.0, 5e-4], [0.05, -5e-3, 0.0]])
    found = {below: float(share) for below, share in sparsity_rows(Picture(("source", "target"), A))}
    sixths = {"0": 1, "0.0001": 2, "0.001": 3, "0.01": 4, "0.1": 5}
    assert found == pytest.approx({below: n / 6 for below, n in sixths.items()}, abs=1e-5)


def test_one_finding_has_no_entry_off_the_diagonal() -> None:
    assert list(sparsity_rows(Picture(("source", "target"), np.zeros((1, 1))))) == []
