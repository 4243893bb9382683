"""The fold table is read as it was written, or refused."""

from pathlib import Path

import numpy as np
import pytest

from cxrscore.core.errors import UserError
from cxrscore.tables.fold_table import Folds, read_folds, write_folds


def folds_of(tmp_path: Path, text: str) -> Folds:
    (tmp_path / "folds.csv").write_text(text)
    return read_folds(tmp_path / "folds.csv")


@pytest.mark.parametrize("patient", [["001", "001", "02"], None])
def test_folds_come_back_as_they_were_written(tmp_path: Path, patient: list[str] | None) -> None:
    folds = Folds(["b,1.png", "a.png", "001"], patient, np.array([1, 1, 0]))
    write_folds(tmp_path / "folds.csv", folds, id="Path", patient="Patient_ID")
    back = read_folds(tmp_path / "folds.csv")
    assert (back.ids, back.patient, back.fold.tolist()) == (folds.ids, folds.patient, [1, 1, 0])
    header = (tmp_path / "folds.csv").read_text().splitlines()[0]
    assert header == ("Path,Patient_ID,fold" if patient else "Path,fold")


@pytest.mark.parametrize("cell", ["", "-1", "0.0", "one", "\u00b2", "1e2", "12345"])
def test_a_fold_that_is_no_number_is_refused(tmp_path: Path, cell: str) -> None:
    with pytest.raises(
        UserError, match=r"folds\.csv:3: a fold is a number from 0, not .*; make it again with"
    ):
        folds_of(tmp_path, f"Image_name,fold\na,0\nb,{cell}\n")


@pytest.mark.parametrize(("cells", "empty"), [("01013", 2), ("111", 0), ("000", 1)])
def test_a_fold_without_images_is_refused(tmp_path: Path, cells: str, empty: int) -> None:
    rows = "".join(f"{i}.png,{cell}\n" for i, cell in enumerate(cells))
    with pytest.raises(UserError, match=rf"folds\.csv: no image in fold {empty}; make it again"):
        folds_of(tmp_path, "Image_name,fold\n" + rows)


def test_an_image_in_two_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"folds\.csv: 'a' has 2 rows"):
        folds_of(tmp_path, "Image_name,fold\na,0\na,1\n")


@pytest.mark.parametrize("header", ["Image_name,split", "Image_name,Patient_ID,fold,Sex", "fold"])
def test_another_kind_of_table_is_refused(tmp_path: Path, header: str) -> None:
    row = ",".join("0" for _ in header.split(","))
    with pytest.raises(UserError, match=r"folds\.csv:1: columns are id, patient and fold, not"):
        folds_of(tmp_path, f"{header}\n{row}\n")
