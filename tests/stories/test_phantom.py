"""Synthetic radiographs: a cohort like the real table, files that depend on their name, visible signs."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxrscore.core.errors import UserError
from cxrscore.phantom import COLUMNS, contact_sheet, make_phantoms
from cxrscore.phantoms.anatomy import Build, draw_build, draw_pose
from cxrscore.phantoms.cohort import Study, draw_cohort
from cxrscore.phantoms.findings import Sign
from cxrscore.phantoms.radiograph import build_of, encode, expose, picture
from cxrscore.tables.datasets.chexpert import FINDINGS

SIGNS = [finding for finding in FINDINGS if finding != "No Finding"]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "out"
    make_phantoms(out, images=60, size=64, seed=5)
    return out


def test_a_body_tells_nothing_of_the_labels() -> None:
    studies = draw_cohort(0, images=9000, test_share=0.2)
    patients = {study.patient: study for study in studies}.values()
    bodies = np.array([list(numbers(build_of(study, seed=0))) for study in patients])
    bodies = bodies[:, bodies.std(0) > 0]  # what disease alone changes is not drawn yet
    truth = np.array([study.y for study in patients], dtype=float)
    together = np.corrcoef(bodies.T, truth.T)[: bodies.shape[1], bodies.shape[1] :]
    assert len(bodies) > 2000
    assert np.abs(together).max() < 0.08  # chance alone gives 0.02 a pair


def numbers(build: Build) -> list[float]:
    return [value for value in dataclasses.astuple(build) if isinstance(value, float)]


def test_every_view_of_a_study_has_its_labels_and_every_patient_one_sex_and_age() -> None:
    studies = draw_cohort(0, images=2000, test_share=0.2)
    assert sum(len(study.positions) for study in studies) == 2000
    assert {position for study in studies for position in study.positions} == {"AP", "PA", "Lateral"}
    who = {(study.patient, study.sex, study.age, study.test) for study in studies}
    assert len(who) == studies[-1].patient


def test_the_files_have_the_competition_shape(made: Path) -> None:
    train, test = read(made / "labels.csv"), read(made / "test_labels.csv")
    assert tuple(train[0]) == tuple(test[0]) == COLUMNS
    assert len(train) + len(test) == 60
    assert {row["Image_name"] for row in train} == {path.name for path in (made / "images").iterdir()}
    assert {row["Image_name"] for row in test} == {path.name for path in (made / "test").iterdir()}
    assert not {row["Patient_ID"] for row in train} & {row["Patient_ID"] for row in test}
    first = train[0]
    assert first["Image_name"] == f"{first['Patient_ID']}_{first['Study']}_001.jpg"
    assert {row[finding] for row in train for finding in FINDINGS} == {"0", "1"}


def test_the_sample_submission_asks_for_the_test_images_in_an_order_of_its_own(made: Path) -> None:
    asked = [row["Image_name"] for row in read(made / "sample_submission.csv")]
    assert sorted(asked) == sorted(row["Image_name"] for row in read(made / "test_labels.csv"))
    assert asked != sorted(asked)


def test_a_larger_cohort_begins_with_the_smaller_one(made: Path, tmp_path: Path) -> None:
    make_phantoms(tmp_path / "less", images=25, size=64, seed=5)
    less, more = files(tmp_path / "less"), files(made)
    pictures = [name for name in less if name.endswith(".jpg")]
    assert len(pictures) == 25
    assert all(less[name] == more[name] for name in pictures)


def test_workers_do_not_change_a_byte(made: Path, tmp_path: Path) -> None:
    make_phantoms(tmp_path / "out", images=60, size=64, seed=5, workers=2)
    assert files(tmp_path / "out") == files(made)


def test_another_seed_makes_other_pictures(made: Path, tmp_path: Path) -> None:
    make_phantoms(tmp_path / "out", images=2, size=64, seed=6)
    name = next((tmp_path / "out").rglob("*.jpg")).relative_to(tmp_path / "out").as_posix()
    assert files(tmp_path / "out")[name] != files(made).get(name)


def test_small_pictures_are_small_gray_files(made: Path) -> None:
    sizes = []
    for path in (made / "images").iterdir():
        with Image.open(path) as image:
            assert image.mode == "L"
            assert 50 <= min(image.size) <= max(image.size) <= 80
        sizes.append(path.stat().st_size)
    assert np.mean(sizes) < 2000


def test_full_size_pictures_weigh_what_real_ones_do() -> None:
    study = Study(1, 1, "Female", 60, ("PA",), (0,) * 13 + (1,), test=False)
    pixels = picture(study, 1, size=2500, seed=0)
    assert 2000 <= min(pixels.shape) <= max(pixels.shape) <= 3000
    assert 1.2 < 8 * len(encode(pixels)) / pixels.size < 2.2


def drawn(finding: str, position: str, strength: float) -> NDArray[np.int16]:
    """One patient, the same for every call, with one sign."""
    build, pose = (
        draw_build(np.random.default_rng(1), "Male", 50),
        draw_pose(np.random.default_rng(2), position),
    )
    signs = {finding: Sign(strength, 0, np.random.default_rng(3))}
    return expose(build, pose, position, signs, size=96, rng=np.random.default_rng(4)).astype(np.int16)


@pytest.mark.parametrize("position", ["AP", "PA", "Lateral"])
@pytest.mark.parametrize("finding", SIGNS)
def test_a_plain_sign_shows_in_every_view_and_a_hidden_one_in_none(finding: str, position: str) -> None:
    clean = drawn("No Finding", position, 0.0)
    plain, hidden = (
        np.abs(drawn(finding, position, 1.0) - clean),
        np.abs(drawn(finding, position, 0.0) - clean),
    )
    assert (plain > 15).sum() >= 25
    assert (hidden > 15).sum() == 0


def test_the_ends_of_a_wide_heart_are_further_apart() -> None:
    """What is white at the height of the heart, in gray levels above the lung, grows."""
    normal, large = (drawn("Cardiomegaly", "PA", strength)[50:62] for strength in (0.0, 1.0))
    assert (large > 150).mean() > (normal > 150).mean() + 0.03


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"images": 0}, "at least 1 image"),
        ({"size": 16}, "at least 32 px"),
        ({"seed": -1}, "0 or more"),
        ({"workers": 0}, "at least 1 process"),
        ({"test_share": 1.0}, r"at least 0 and below 1"),
    ],
)
def test_a_wrong_number_is_named_before_anything_is_written(
    wrong: dict[str, float], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        make_phantoms(tmp_path / "out", **{"images": 1, "size": 64, "seed": 0, **wrong})  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="is not empty"):
        make_phantoms(tmp_path, images=1, size=64, seed=0)
    with pytest.raises(UserError, match="is a file"):
        make_phantoms(tmp_path / "mine.txt", images=1, size=64, seed=0)
    assert files(tmp_path) == {"mine.txt": b"keep"}


def test_the_contact_sheet_is_a_picture_of_every_finding(tmp_path: Path) -> None:
    contact_sheet(tmp_path / "sheet.png", size=64, seed=0)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 7 * 64
        assert sheet.height >= 3 * 64
