"""A score table is the same in CSV and in Parquet, whatever the file is called."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from cxrscore.core.errors import UserError
from cxrscore.evaluate import evaluate_table
from cxrscore.evaluation.joined_scores import PLAIN
from cxrscore.project.params import LabelParams
from cxrscore.tables.score_file import read_score_file

FRAME = pl.DataFrame({"Image_name": ["a", "b"], "Edema": np.array([0.1, 0.9], dtype=np.float32)})


@pytest.mark.parametrize("name", ["sub.parquet", "sub.PARQUET", "sub"])
def test_parquet_is_known_by_its_bytes_as_well(tmp_path: Path, name: str) -> None:
    FRAME.write_parquet(tmp_path / name)
    FRAME.write_csv(tmp_path / "sub.csv")
    packed, plain = read_score_file(tmp_path / name), read_score_file(tmp_path / "sub.csv")
    assert (packed.id_column, packed.ids, packed.findings) == (plain.id_column, plain.ids, plain.findings)
    assert packed.probs == pytest.approx(plain.probs)


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "sub.parquet")
    whole = (tmp_path / "sub.parquet").read_bytes()
    (tmp_path / "sub.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"sub.parquet: damaged Parquet \(.*\); write or fetch"):
        read_score_file(tmp_path / "sub.parquet")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sub.parquet: No such file"):
        read_score_file(tmp_path / "sub.parquet")


@pytest.mark.parametrize(("rule", "positives"), [("majority", 1), ("any", 2), ("mean", 1)])
def test_readers_of_a_table_outside_a_project(tmp_path: Path, rule: str, positives: int) -> None:
    (tmp_path / "labels.csv").write_text(
        "Image_name,Reader,Edema\na,x,1\na,y,1\na,z,0\nb,x,0\nb,y,1\nb,z,0\n"
    )
    FRAME.write_csv(tmp_path / "sub.csv")
    table = read_score_file(tmp_path / "sub.csv")
    scored = evaluate_table(table, tmp_path / "labels.csv", labels=None, readers=rule).scored
    assert scored.table.y.sum() == positives
    with pytest.raises(UserError, match="'a' is also on line 2, with another 'Reader'"):
        evaluate_table(table, tmp_path / "labels.csv", labels=None)


def test_patients_are_known_by_their_columns_name_outside_a_project(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("Image_name,Patient ID,Edema\na,1,1\nb,1,0\n")
    FRAME.write_csv(tmp_path / "sub.csv")
    metrics, notes, _, *_ = evaluate_table(
        read_score_file(tmp_path / "sub.csv"), tmp_path / "labels.csv", labels=None
    )
    assert metrics["patients"] == 1
    assert any("patients are those of 'Patient ID'" in note for note in notes)


@pytest.mark.parametrize("near", [0.0, 0.5, 1.0])
def test_a_score_keeps_its_digits_in_either_format_so_that_no_tie_is_made(
    tmp_path: Path, near: float
) -> None:
    y, draw = np.arange(60) % 2, np.random.default_rng(0)
    probs = np.abs(near - 1e-9 * (0.1 + 0.6 * draw.random(60)))
    truth = "".join(f"i{i},{label}\n" for i, label in enumerate(y))
    (tmp_path / "labels.csv").write_text("Image_name,Edema\n" + truth)
    frame = pl.DataFrame({"Image_name": [f"i{i}" for i in range(60)], "Edema": probs})
    frame.write_csv(tmp_path / "sub.csv")
    frame.write_parquet(tmp_path / "sub.parquet")
    assert len(set(probs)) == 60
    for name in ("sub.csv", "sub.parquet"):
        table = read_score_file(tmp_path / name)
        assert table.probs[:, 0].tolist() == probs.tolist()
        found = evaluate_table(table, tmp_path / "labels.csv", labels=None, resamples=0)
        assert found.statistics.figures["auc", "Edema"].value == pytest.approx(roc_auc_score(y, probs))


def test_studies_of_the_same_scores_in_another_order_tie(tmp_path: Path) -> None:
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in binary."""
    rows = [("a", 0.1, 1), ("a", 0.2, 1), ("a", 0.3, 1), ("b", 0.3, 0), ("b", 0.2, 0), ("b", 0.1, 0)]
    truth = "".join(f"i{i},{study},{label}\n" for i, (study, _, label) in enumerate(rows))
    scores = "".join(f"i{i},{score}\n" for i, (_, score, _) in enumerate(rows))
    (tmp_path / "labels.csv").write_text("Image_name,Study,Edema\n" + truth)
    (tmp_path / "sub.csv").write_text("Image_name,Edema\n" + scores)
    labels = LabelParams.model_validate(PLAIN | {"id": "Image_name", "study": "Study", "findings": ["Edema"]})
    table = read_score_file(tmp_path / "sub.csv")
    metrics = evaluate_table(table, tmp_path / "labels.csv", labels=labels, resamples=0).metrics
    assert metrics["study"] == {"macro_auc": 0.5}
