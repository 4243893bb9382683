"""A score table is the same in CSV and in Parquet, whatever the file is called."""

from datetime import date, time, timedelta
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


DAYS = [date(1970, 1, 1), date(1970, 1, 2)]  # 0 and 1 days after the first, as polars counts
COLUMNS = {
    "Date": pl.Series(DAYS),
    "Datetime": pl.Series(DAYS).cast(pl.Datetime),
    "Duration": pl.Series([timedelta(0), timedelta(microseconds=1)]),
    "Time": pl.Series([time(0), time(0)]),
    "Categorical": pl.Series(["0.1", "0.9"], dtype=pl.Categorical),
    "Enum": pl.Series(["0.1", "0.9"], dtype=pl.Enum(["0.1", "0.9"])),
    "Struct": pl.Series([{"p": 0.1}, {"p": 0.9}]),
    "List": pl.Series([[0.1], [0.9]]),
    "Binary": pl.Series([b"0.1", b"0.9"]),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_that_holds_no_numbers_is_named_with_its_type(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sub.parquet"
    FRAME.with_columns(COLUMNS[kind].alias("Mass")).write_parquet(path)
    with pytest.raises(UserError, match=rf"sub.parquet: column 'Mass' is of type {kind}; give prob") as error:
        read_score_file(path)
    assert "\\n" not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["Struct", "List", "Binary"])
def test_ids_that_are_no_names_are_refused(tmp_path: Path, kind: str) -> None:
    pl.DataFrame({"id": COLUMNS[kind], "Mass": [0.1, 0.9]}).write_parquet(tmp_path / "sub.parquet")
    with pytest.raises(UserError, match=rf"sub.parquet: column 'id' is of type {kind}; put ids, as text"):
        read_score_file(tmp_path / "sub.parquet")


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([0, 1], dtype=pl.UInt8),
        pl.Series([False, True]),
        pl.Series([0.25, 0.75], dtype=pl.Float32),
        pl.Series(["0.25", "0.75"]).cast(pl.Decimal(5, 2)),
        pl.Series(["0.25", " 7.5e-1"]),
    ],
    ids=lambda column: str(column.dtype),
)
def test_numbers_of_every_kind_are_probabilities(tmp_path: Path, column: pl.Series) -> None:
    FRAME.with_columns(column.alias("Edema")).write_parquet(tmp_path / "sub.parquet")
    expected = [float(value) for value in column]
    assert read_score_file(tmp_path / "sub.parquet").probs[:, 0].tolist() == expected


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.select("Edema", "Image_name"), r"0.1.*: Image_name: a number from 0 to 1, not 'a'; keep ids"),
        (
            FRAME.with_columns(Edema=pl.Series(["0.1", "high"])),
            "'b': Edema: a number from 0 to 1, not 'high'",
        ),
        (FRAME.with_columns(Edema=pl.Series(["0.1", ""])), "'b': Edema: a number from 0 to 1, not ''"),
        (FRAME.with_columns(Edema=pl.Series(["0.1", None])), r"holds nulls or NaN; give a number"),
        (FRAME.with_columns(Edema=pl.Series(["0.1", "1.5"])), r"'b': Edema: a number from 0 to 1, not 1.5"),
    ],
    ids=["ids not first", "a word", "blank", "null", "above 1"],
)
def test_text_that_is_no_number_is_named_with_its_id(
    tmp_path: Path, frame: pl.DataFrame, message: str
) -> None:
    frame.write_parquet(tmp_path / "sub.parquet")
    with pytest.raises(UserError, match=rf"sub.parquet: {message}") as error:
        read_score_file(tmp_path / "sub.parquet")
    assert "conversion" not in str(error.value) and "\n" not in str(error.value)


def readers_who(say: dict[str, str]) -> str:
    """A table of labels with a row per image and reader."""
    rows = [f"{image},R{i},{label}" for image, labels in say.items() for i, label in enumerate(labels)]
    return "\n".join(["Image_name,Reader,Edema", *rows]) + "\n"


@pytest.mark.parametrize(
    ("say", "measured", "area", "left_out"),
    [
        ({"a": "11", "b": "00", "c": "01", "d": "10"}, 2, 1.0, "2 labels"),  # c of 0.9 would be a positive
        ({"a": "01", "b": "10", "c": "01", "d": "10"}, 0, None, "4 labels"),
        ({"a": "110", "b": "001", "c": "1100", "d": "000"}, 3, 0.5, "1 label"),
    ],
    ids=["some", "all", "of four"],
)
def test_half_of_the_readers_is_no_class_that_figures_could_use(
    tmp_path: Path, say: dict[str, str], measured: int, area: float | None, left_out: str
) -> None:
    (tmp_path / "labels.csv").write_text(readers_who(say))
    (tmp_path / "sub.csv").write_text("Image_name,Edema\na,0.8\nb,0.1\nc,0.05\nd,0.9\n")
    scores = read_score_file(tmp_path / "sub.csv")
    found = evaluate_table(scores, tmp_path / "labels.csv", labels=None, readers="mean", resamples=0)
    assert found.scored.table.mask.sum() == measured
    assert found.metrics["auc"].get("Edema") == area
    assert any(
        f"{left_out} tied and not measured: figures take more than half" in note for note in found.notes
    )


def test_half_of_the_readers_of_an_image_makes_no_study_positive(tmp_path: Path) -> None:
    say = {"1_1_1.png": "01", "1_1_2.png": "00", "2_1_1.png": "11", "3_1_1.png": "00"}
    (tmp_path / "labels.csv").write_text(readers_who(say))
    (tmp_path / "sub.csv").write_text("Study,Edema\n1_1,0.9\n2_1,0.8\n3_1,0.1\n")
    scores = read_score_file(tmp_path / "sub.csv")
    found = evaluate_table(scores, tmp_path / "labels.csv", labels=None, readers="mean", resamples=0)
    assert found.scored.table.mask[:, 0].tolist() == [False, True, True]
    assert found.metrics["auc"] == {"Edema": 1.0}
