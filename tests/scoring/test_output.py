"""What a run leaves behind: tables in both formats, by image and by study, the spread over folds, and the
sidecars that say which bytes made which row.
"""

import csv
import json
import os
import re
import shutil
import tarfile
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from conftest import Project
from PIL import Image

from cxrscore.core.device import Machine
from cxrscore.core.errors import Stopped, UserError
from cxrscore.core.files import sha256_file
from cxrscore.core.progress import Silent
from cxrscore.score import score
from cxrscore.scoring.finish import Outcome
from cxrscore.scoring.options import Options
from cxrscore.scoring.output import Outputs, check_room, fold_mean, fold_spread


@pytest.fixture
def folder(project: Project, tmp_path: Path) -> Path:
    return Path(shutil.copytree(project.data / "test", tmp_path / "images"))


def run(
    source: Path | str, out: Path, project: Project, *, models: Path | None = None, **options: Any
) -> Outcome:
    return score(
        str(source),
        out,
        Options(**{"workers": 0, **options}),
        models=models or project.layout.models,
        machine=Machine(torch.device("cpu"), torch.float32),
        progress=Silent(),
    )


def table(path: Path) -> dict[str, list[float]]:
    """Id -> the row's numbers, NaN for an empty cell."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row[0]: [float(cell or "nan") for cell in row[1:]] for row in list(csv.reader(file))[1:]}


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def study(name: str) -> str:
    return name.rpartition("_")[0]


def test_the_spread_is_that_of_the_folds_a_row(project: Project, folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "sub.csv", project, std=True)
    for fold in (0, 1):
        run(folder, tmp_path / f"{fold}.csv", project, folds=(fold,))
    both, spread = table(tmp_path / "sub.csv"), table(tmp_path / "sub.csv.std.csv")
    one, other = table(tmp_path / "0.csv"), table(tmp_path / "1.csv")
    assert list(spread) == list(both)
    for name, row in spread.items():
        assert row == pytest.approx(np.std([one[name], other[name]], axis=0), abs=1e-6)


def test_one_fold_has_no_spread(project: Project, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--std: the spread over folds needs two folds or more"):
        run(folder, tmp_path / "sub.csv", project, std=True, folds=(0,))
    assert list(tmp_path.iterdir()) == [folder]


def test_folds_are_averaged_as_prediction_averages_them() -> None:
    values = np.random.default_rng(0).random((5, 14), dtype=np.float32)
    total = torch.from_numpy(values[0].copy())
    for fold in values[1:]:
        total = total + torch.from_numpy(fold)
    assert np.array_equal(fold_mean(values), (total / 5).numpy())
    assert np.array_equal(fold_spread(values[:1]), np.zeros(14))


def test_parquet_holds_the_same_rows(project: Project, folder: Path, tmp_path: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"")
    run(folder, tmp_path / "sub.csv", project, on_error="fill", std=True)
    run(folder, tmp_path / "sub.parquet", project, on_error="fill", std=True, format="parquet")
    for plain, packed in (("sub.csv", "sub.parquet"), ("sub.csv.std.csv", "sub.parquet.std.parquet")):
        frame = pl.read_parquet(tmp_path / packed)
        expected = table(tmp_path / plain)
        assert frame.columns == ["Image_name", *project.params.labels.findings]
        assert set(frame.dtypes[1:]) == {pl.Float32}
        assert frame["Image_name"].to_list() == list(expected)
        numbers = frame.drop("Image_name").to_numpy()
        assert np.allclose(numbers, np.array(list(expected.values())), rtol=1e-6, equal_nan=True)
    assert all(np.isnan(table(tmp_path / "sub.csv.std.csv")["bad.jpg"]))  # nobody knows its spread


def test_a_study_is_the_mean_of_its_images(project: Project, folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "images.csv", project)
    run(folder, tmp_path / "sub.csv", project, level="study")
    images, studies = table(tmp_path / "images.csv"), table(tmp_path / "sub.csv")
    assert list(studies) == sorted({study(name) for name in images})
    assert (tmp_path / "sub.csv").read_text().startswith("Study,")
    assert max(sum(study(name) == one for name in images) for one in studies) > 1
    for one, row in studies.items():
        mine = [images[name] for name in images if study(name) == one]
        assert row == pytest.approx(np.mean(mine, axis=0), abs=1e-6)


def test_a_template_of_images_gets_each_images_study_and_one_of_studies_the_studies(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    run(folder, tmp_path / "studies.csv", project, level="study")
    studies = table(tmp_path / "studies.csv")
    sample = project.data / "sample_submission.csv"
    run(folder, tmp_path / "images.csv", project, level="study", template=sample)
    images = table(tmp_path / "images.csv")
    assert list(images) == list(table(sample))
    assert all(row == studies[study(name)] for name, row in images.items())
    header, *rows = (tmp_path / "studies.csv").read_text().splitlines()
    (tmp_path / "template.csv").write_text("\n".join([header.replace("Study", "id"), *rows[2:0:-1]]) + "\n")
    run(folder, tmp_path / "two.csv", project, level="study", template=tmp_path / "template.csv")
    assert list(table(tmp_path / "two.csv")) == list(studies)[2:0:-1]
    assert all(row == studies[name] for name, row in table(tmp_path / "two.csv").items())


def test_the_images_of_a_study_that_a_template_leaves_out_count_all_the_same(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    run(folder, tmp_path / "studies.csv", project, level="study")
    names = sorted(path.name for path in folder.iterdir())
    chosen = next(a for a, b in pairwise(names) if study(a) == study(b))
    header, *rows = (project.data / "sample_submission.csv").read_text().splitlines()
    kept = [row for row in rows if row.startswith(f"{chosen},")]
    (tmp_path / "template.csv").write_text("\n".join([header, *kept]) + "\n")
    run(folder, tmp_path / "sub.csv", project, level="study", template=tmp_path / "template.csv")
    assert table(tmp_path / "sub.csv") == {chosen: table(tmp_path / "studies.csv")[study(chosen)]}


def test_a_study_loses_the_images_that_cannot_be_read_and_one_without_any_has_no_row(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    names = sorted(path.name for path in folder.iterdir())
    kept, broken = next((a, b) for a, b in pairwise(names) if study(a) == study(b))
    run(folder, tmp_path / "images.csv", project)
    (folder / broken).write_bytes(b"")
    (folder / "99999999_001_001.jpg").write_bytes(b"")
    outcome = run(folder, tmp_path / "sub.csv", project, level="study")
    others = [n for n in names if study(n) == study(kept) and n != broken]
    images, studies = table(tmp_path / "images.csv"), table(tmp_path / "sub.csv")
    assert studies[study(kept)] == pytest.approx(np.mean([images[n] for n in others], axis=0), abs=1e-6)
    assert "99999999_001" not in studies
    assert (outcome.listed, outcome.scored, outcome.quarantined) == (9, 7, 2)


def test_a_name_without_a_study_is_told(project: Project, folder: Path, tmp_path: Path) -> None:
    (folder / "chest.jpg").write_bytes(next(folder.glob("*.jpg")).read_bytes())
    with pytest.raises(UserError, match=r"1 file name without a study, .* 'chest.jpg'"):
        run(folder, tmp_path / "sub.csv", project, level="study")


def test_studies_of_one_name_in_two_places_are_not_taken_for_one(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    image = next(folder.glob("*.jpg")).read_bytes()
    for place in ("a", "b"):
        (folder / place).mkdir()
        (folder / place / "00000077_001_001.jpg").write_bytes(image)
    with pytest.raises(UserError, match="1 study has images in two folders, first '00000077_001'"):
        run(folder, tmp_path / "sub.csv", project, level="study")
    (folder / "b" / "00000077_001_001.jpg").rename(folder / "b" / "siteB3_1_2.jpg")
    with pytest.raises(UserError, match=r"without a study, .* 'b/siteB3_1_2.jpg'"):
        run(folder, tmp_path / "sub.csv", project, level="study")


def test_a_tables_column_tells_the_study_too(project: Project, folder: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    rows = [f"{name},{'odd' if i % 2 else 'even'}" for i, name in enumerate(names)]
    (folder / "list.csv").write_text("\n".join(["path,who", *rows]) + "\n")
    run(folder, tmp_path / "images.csv", project)
    run(folder / "list.csv", tmp_path / "sub.csv", project, level="study", study_column="who")
    images, studies = table(tmp_path / "images.csv"), table(tmp_path / "sub.csv")
    assert studies["even"] == pytest.approx(np.mean([images[n] for n in names[::2]], axis=0), abs=1e-6)
    assert studies["odd"] == pytest.approx(np.mean([images[n] for n in names[1::2]], axis=0), abs=1e-6)


@pytest.mark.parametrize("kind", ["glob", "table", "tar", "zip", "deflated"])
def test_the_same_files_give_the_same_bytes_however_they_are_given(
    project: Project, folder: Path, tmp_path: Path, kind: str
) -> None:
    (folder / "bad.jpg").write_bytes(b"<html>")
    run(folder, tmp_path / "folder.csv", project)
    names = [path.name for path in folder.iterdir()]  # in no order
    source: Path | str = tmp_path / f"images.{kind}"
    if kind == "glob":
        source = f"{folder}/*.jpg"
    elif kind == "table":
        source = folder / "list.csv"
        Path(source).write_text("\n".join(["Image_name", *names]) + "\n", encoding="utf-8")
    elif kind == "tar":
        with tarfile.open(source, "w") as tar:
            for name in names:
                tar.add(folder / name, arcname=name)
    else:
        with zipfile.ZipFile(source, "w", zipfile.ZIP_STORED if kind == "zip" else zipfile.ZIP_DEFLATED) as z:
            for name in names:
                z.write(folder / name, arcname=name)
    outcome = run(source, tmp_path / "sub.csv", project, workers=2)
    assert (outcome.listed, outcome.scored, outcome.quarantined) == (9, 8, 1)
    for suffix in ("", ".errors.csv", ".manifest.csv"):
        ours, theirs = (tmp_path / f"{name}.csv{suffix}" for name in ("sub", "folder"))
        assert ours.read_bytes() == theirs.read_bytes()


def test_declared_hashes_catch_the_flipped_bit_that_no_decoder_sees(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    run(folder, tmp_path / "first.csv", project)
    manifest = tmp_path / "first.csv.manifest.csv"
    victim = sorted(folder.iterdir())[3]
    victim.write_bytes(victim.read_bytes() + b"\0")  # trailing junk: decodes to the same pixels
    outcome = run(manifest, tmp_path / "sub.csv", project, root=folder)
    assert (outcome.scored, outcome.quarantined) == (7, 1)
    (fault,) = lines(tmp_path / "sub.csv.errors.csv")
    assert (fault["path"], fault["kind"]) == (victim.name, "CHANGED")


def test_ids_that_a_spreadsheet_would_run_are_kept_unless_asked(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    image = next(folder.glob("*.jpg"))
    image.rename(folder / "=cmd().jpg")
    outcome = run(folder, tmp_path / "sub.csv", project)
    assert "=cmd().jpg" in table(tmp_path / "sub.csv")
    assert any("--csv-safe" in note for note in outcome.notes)
    run(folder, tmp_path / "safe.csv", project, csv_safe=True)
    assert "'=cmd().jpg" in table(tmp_path / "safe.csv")


def test_the_manifest_says_which_bytes_made_each_row(project: Project, folder: Path, tmp_path: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"<html>")
    run(folder, tmp_path / "sub.csv", project, id_kind="name")
    rows = lines(tmp_path / "sub.csv.manifest.csv")
    assert [row["path"] for row in rows] == sorted(path.name for path in folder.iterdir())
    for row in rows:
        assert row["sha256"] == sha256_file(folder / row["path"])
        assert int(row["bytes"]) == (folder / row["path"]).stat().st_size
        assert row["fault"] == ("NOT_AN_IMAGE" if row["path"] == "bad.jpg" else "")


@pytest.mark.parametrize(
    ("odd", "plain", "id_kind"),
    [
        (b"\xff.jpg", b"%FF.jpg", "relpath"),
        (b"\xff.jpg", b"%FF.jpg", "stem"),
        (b"\xff/%.jpg", b"%FF/%25.jpg", "name"),  # apart by name, alike as paths, which the manifest holds
    ],
)
def test_two_files_that_a_table_could_not_tell_apart_end_a_run_before_it_begins(
    project: Project, folder: Path, tmp_path: Path, odd: bytes, plain: bytes, id_kind: str
) -> None:
    one, other, *_ = sorted(folder.iterdir())
    for image, name in ((one, odd), (other, plain)):
        place = folder / os.fsdecode(name)
        place.parent.mkdir(exist_ok=True)
        image.rename(place)
    message = re.escape(f"{plain!r} and {odd!r} are both written as") + ".*; rename one of the two"
    with pytest.raises(UserError, match=message):
        run(folder, tmp_path / "sub.csv", project, id_kind=id_kind)
    assert not list(tmp_path.glob("sub.csv*"))
    (folder / os.fsdecode(plain)).rename(folder / "renamed.jpg")
    run(folder, tmp_path / "sub.csv", project, id_kind=id_kind)
    rows = lines(tmp_path / "sub.csv.manifest.csv")
    sha256 = sha256_file(folder / os.fsdecode(odd))
    assert [row["sha256"] for row in rows if row["path"] == os.fsdecode(plain)] == [sha256]


def test_the_provenance_says_what_made_the_table(project: Project, folder: Path, tmp_path: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"<html>")
    run(folder, tmp_path / "sub.csv", project, folds=(1,), views=("plain",))
    about = json.loads((tmp_path / "sub.csv.provenance.json").read_text())
    assert about["counts"] == {
        "listed": 9,
        "scored": 8,
        "quarantined": 1,
        "rows": 8,
        "kinds": {"NOT_AN_IMAGE": 1},
    }
    assert about["run"]["models"] == [{"fold": 1, "sha256": sha256_file(project.layout.checkpoint(1))}]
    assert (about["run"]["views"], about["run"]["recipe"]["dtype"]) == (["plain"], "fp32")
    names = {"table": "sub.csv", "errors": "sub.csv.errors.csv", "manifest": "sub.csv.manifest.csv"}
    assert about["sha256"] == {role: sha256_file(tmp_path / name) for role, name in names.items()}


def test_too_many_bad_files_stop_a_run_that_a_larger_limit_goes_on_with(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    for i in range(11):
        (folder / f"z{i:02d}.jpg").write_bytes(b"")
    with pytest.raises(Stopped, match=r"11 files .*\(11 EMPTY_FILE\), more than --max-errors 10") as stopped:
        run(folder, tmp_path / "sub.csv", project)
    assert stopped.value.code == 4 and not (tmp_path / "sub.csv").exists()
    outcome = run(folder, tmp_path / "sub.csv", project, resume=True, max_errors=11)
    assert (outcome.scored, outcome.quarantined) == (8, 11)


def test_faults_that_the_listing_knows_end_a_run_that_should_fail_before_it_begins(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    (folder / "zz.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(UserError, match=r"zz.jpg \(VANISHED: .*repair or remove it"):
        run(folder, tmp_path / "sub.csv", project, on_error="fail")
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "not a file name"),
        (".", "not a file name"),
        ("n" * 236 + ".csv", "too long a name for the files beside it"),
        ("sub.csv.gz", "tables are not compressed; name it .*sub.csv"),
    ],
    ids=["empty", "a dot", "long", "gz"],
)
def test_an_output_that_could_never_be_finished_is_told_first(
    project: Project, folder: Path, tmp_path: Path, name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        run(folder, Path(name), project)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("suffix", ["errors.csv", "manifest.csv", "std.csv", "provenance.json"])
def test_a_file_that_happens_to_have_a_sidecars_name_is_kept(
    project: Project, folder: Path, tmp_path: Path, suffix: str
) -> None:
    mine = tmp_path / f"sub.csv.{suffix}"
    mine.write_text("mine")
    with pytest.raises(UserError, match=f"{suffix}: exists; --overwrite replaces it"):
        run(folder, tmp_path / "sub.csv", project)
    assert mine.read_text() == "mine"


def test_images_turned_upright_are_counted(project: Project, folder: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(next(folder.glob("*.jpg"))).save(folder / "turned.png", exif=exif)
    outcome = run(folder, tmp_path / "sub.csv", project)
    assert "1 image rotated or flipped according to the EXIF orientation" in outcome.notes


@pytest.mark.parametrize("changed", ["bytes", "hashes", "studies"])
def test_done_before_is_said_of_the_very_same_run_alone(
    project: Project, folder: Path, tmp_path: Path, changed: str
) -> None:
    names = sorted(path.name for path in folder.iterdir())
    table = folder / "list.csv"
    rows = [f"{name},{i % 2},{i % 3 % 2}," for i, name in enumerate(names)]
    table.write_text("\n".join(["path,s1,s2,sha256", *rows]) + "\n")
    words = {"level": "study", "study_column": "s1"} if changed == "studies" else {}
    run(table, tmp_path / "sub.csv", project, **words)
    assert (
        "already finished; nothing to do"
        in run(table, tmp_path / "sub.csv", project, resume=True, **words).notes
    )
    before = (tmp_path / "sub.csv").read_bytes()
    if changed == "bytes":
        image = folder / names[0]
        image.write_bytes(image.read_bytes())  # the same size: only its time tells
    elif changed == "hashes":
        table.write_text(table.read_text().replace(f"{names[0]},0,0,", f"{names[0]},0,0,{'0' * 64}"))
    else:
        words["study_column"] = "s2"
    with pytest.raises(UserError, match=r"a finished run with (manifest|rows)_sha256"):
        run(table, tmp_path / "sub.csv", project, resume=True, **words)
    assert (tmp_path / "sub.csv").read_bytes() == before


def test_a_disk_with_too_little_room_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000_000))
    check_room(Outputs(tmp_path / "sub.csv"), rows=10_000, folds=3, findings=14)
    with pytest.raises(UserError, match=r"10 MB are free, about 90\d MB are needed; free some space"):
        check_room(Outputs(tmp_path / "sub.csv"), rows=1_000_000, folds=3, findings=14)
