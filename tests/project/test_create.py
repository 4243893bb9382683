"""A project around a user's radiographs: its own findings, one copy of each image, and nothing lost."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import PRESETS, contents
from ruamel.yaml import YAML

from cxrscore.core.errors import UserError
from cxrscore.images.inputs.folder import list_images
from cxrscore.project.create import Source, init_project, plan, use_data
from cxrscore.project.data_files import undo_interrupted
from cxrscore.project.params_file import parse_params, read_params
from cxrscore.project.pipeline_file import with_test
from cxrscore.project.preview import cpu_note
from cxrscore.tables.datasets import nih
from cxrscore.tables.datasets.chexpert import FINDINGS as CHEXPERT
from cxrscore.tables.datasets.describe import Said, describe, listed
from cxrscore.tables.foreign_table import read_foreign_table

NIH_TABLE = """Image Index,Finding Labels,Follow-up #,Patient ID
{names[0]},Mass|Nodule,0,1
{names[1]},No Finding,1,1
{names[2]},Effusion,0,2
"""
PLAIN_TABLE = "Image_name,Edema,Age\n{names[0]},1,40\n{names[1]},0,50\n{names[2]},0,60\n"


def init(folder: Path, *, labels_csv: Path, images: Path, preset: str, **source: Any) -> list[str]:
    return init_project(folder, Source(labels_csv, images, **source), preset=preset).notes


def use(project: Path, *, labels_csv: Path, images: Path, **source: Any) -> list[str]:
    return use_data(project, Source(labels_csv, images, **source)).notes


def some_images(phantoms: Path, folder: Path) -> list[str]:
    """Three radiographs of a user, which a project may link to."""
    (folder / "images").mkdir(parents=True)
    names = sorted(path.name for path in (phantoms / "images").iterdir())[:3]
    for name in names:
        shutil.copy(phantoms / "images" / name, folder / "images" / name)
    return names


def dvc(project: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words], cwd=project, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def made(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], Path]:
    """A project of NIH's format, the notes that init gave, and the folder its data came from."""
    root = tmp_path_factory.mktemp("made")
    names = some_images(phantoms, root / "source")
    (root / "source" / "labels.csv").write_text(NIH_TABLE.format(names=names))
    notes = init(
        root / "chest",
        labels_csv=root / "source" / "labels.csv",
        images=root / "source" / "images",
        preset="paper",
    )
    return root / "chest", notes, root / "source"


@pytest.fixture
def imported(phantoms: Path, tmp_path: Path) -> Path:
    """A project as a fresh clone of the repository has it: data/ is an unfrozen import of demo/."""
    project = tmp_path / "clone"
    some_images(phantoms, project / "demo")
    (project / "demo" / "labels.csv").write_text("demo")
    shutil.copy(PRESETS / "demo.yaml", project / "params.yaml")
    (project / "dvc.yaml").write_text("stages: {}\n")
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    dvc(project, "init", "--quiet")
    dvc(project, "import-url", "--quiet", "demo", "data")
    tracked = project / "data.dvc"
    tracked.write_text(tracked.read_text().replace("frozen: true\n", ""))
    return project


def test_the_settings_hold_the_tables_own_format_columns_and_findings(
    made: tuple[Path, list[str], Path],
) -> None:
    project, *_ = made
    labels = read_params(project / "params.yaml").labels
    assert (labels.format, labels.id, labels.patient, labels.study) == (
        "nih",
        "Image Index",
        "Patient ID",
        None,
    )
    assert labels.findings == list(nih.FINDINGS)
    assert len(labels.findings) == 15
    preset = (PRESETS / "paper.yaml").read_text()
    assert (project / "params.yaml").read_text().partition("\nprepare:")[2] == preset.partition("\nprepare:")[
        2
    ]


def test_originals_stay_what_they_are(made: tuple[Path, list[str], Path]) -> None:
    project, _, source = made
    for path in (source / "images").iterdir():
        copy = project / "data" / "images" / path.name
        assert copy.read_bytes() == path.read_bytes()
        assert copy.stat().st_ino != path.stat().st_ino
        assert copy.stat().st_nlink == 2  # data/ and DVC's cache
        assert path.stat().st_mode & 0o222
    assert (project / "data" / "labels.csv").read_bytes() == (source / "labels.csv").read_bytes()


def test_originals_are_linked_on_request_and_what_that_does_is_said_before(
    phantoms: Path, tmp_path: Path
) -> None:
    names = some_images(phantoms, tmp_path / "source")
    images, said = tmp_path / "source" / "images", []
    (tmp_path / "source" / "labels.csv").write_text(PLAIN_TABLE.format(names=names))

    def say(note: str) -> None:
        said.append((note, [path.stat().st_nlink for path in images.iterdir()]))

    source = Source(tmp_path / "source" / "labels.csv", images, link=True)
    init_project(tmp_path / "chest", source, preset="demo", say=say)
    assert said == [
        (
            "linking 3 images; your originals become read-only, as DVC protects what it versions; --copy "
            "does not touch them",
            [1, 1, 1],
        ),
        ("setting up git and DVC, which takes a few seconds", [2, 2, 2]),
    ]
    for path in images.iterdir():
        assert path.stat().st_ino == (tmp_path / "chest" / "data" / "images" / path.name).stat().st_ino
        assert path.stat().st_nlink == 3  # the original, data/, DVC's cache


def test_data_is_tracked_and_stays_out_of_git(made: tuple[Path, list[str], Path]) -> None:
    project, *_ = made
    assert json.loads(dvc(project, "status", "--json", "data.dvc")) == {}
    untracked = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    names = {line[3:] for line in untracked.stdout.splitlines() if line.startswith("A  ")}
    assert {"data.dvc", "dvc.yaml", "params.yaml", ".gitignore", ".dvc/config"} <= names
    assert len(names) == len(untracked.stdout.splitlines())  # all is staged, nothing by half
    assert not [name for name in names if name.startswith("data/")]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            "Image_name,Remark\na.jpg,hello\n",
            r"none of the columns is a finding, .*: 'Remark' holds 'hello' on line 2\. name",
        ),
        (
            "Scan,Edema\na.jpg,1\n",
            r"no column names the images; there are 'Scan', 'Edema'\. .* Name the column with --id COLUMN",
        ),
        ("Image_name,Edema\na.jpg\n", r"labels.csv:2: 1 cell under a header of 2"),
        (None, "no such label table"),
    ],
    ids=["no finding", "no id", "not a table", "no file"],
)
@pytest.mark.parametrize("there", [False, True], ids=["new folder", "empty folder"])
def test_a_failed_init_leaves_nothing_behind(
    phantoms: Path, tmp_path: Path, labels: str | None, message: str, there: bool
) -> None:
    if labels is not None:
        (tmp_path / "labels.csv").write_text(labels)
    if there:
        (tmp_path / "chest").mkdir()
    with pytest.raises(UserError, match=message):
        init(
            tmp_path / "chest",
            labels_csv=tmp_path / "labels.csv",
            images=phantoms / "images",
            preset="demo",
        )
    assert [path.name for path in tmp_path.iterdir() if path.name != "labels.csv"] == ["chest"] * there
    assert not there or not any((tmp_path / "chest").iterdir())


def test_a_failure_of_dvc_leaves_nothing_behind(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = some_images(phantoms, tmp_path / "source")
    (tmp_path / "source" / "labels.csv").write_text(PLAIN_TABLE.format(names=names))
    (tmp_path / "chest").mkdir()
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "no.git"))  # git init succeeds there, and dvc finds no git
    with pytest.raises(UserError, match=r"chest: `dvc init .*` failed; .*:\n(    .*\n)*    ERROR: "):
        init(
            tmp_path / "chest",
            labels_csv=tmp_path / "source" / "labels.csv",
            images=tmp_path / "source" / "images",
            preset="demo",
        )
    assert not any((tmp_path / "chest").iterdir())
    assert len(list((tmp_path / "source" / "images").iterdir())) == 3


def test_a_folder_that_holds_something_is_refused_untouched(phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="exists and is not empty"):
        init(tmp_path, labels_csv=phantoms / "labels.csv", images=phantoms / "images", preset="demo")
    assert contents(tmp_path) == {"thesis.tex": b"years of work"}


def test_own_data_replaces_the_demo_for_good(imported: Path, phantoms: Path, tmp_path: Path) -> None:
    names = some_images(phantoms, tmp_path / "own")
    (tmp_path / "own" / "labels.csv").write_text(PLAIN_TABLE.format(names=names))
    notes = use(imported, labels_csv=tmp_path / "own" / "labels.csv", images=tmp_path / "own" / "images")
    settings = read_params(imported / "params.yaml")
    assert settings.labels.findings == ["Edema"]
    assert (settings.labels.patient, settings.folds.method) == (None, "image")
    assert any(
        note.startswith("no patient column") and "folds are assigned by image" in note for note in notes
    )
    assert "deps" not in (imported / "data.dvc").read_text()
    assert json.loads(dvc(imported, "status", "--json", "data.dvc")) == {}
    shutil.rmtree(imported / "data")  # as on a fresh checkout
    dvc(imported, "checkout", "--quiet", "data.dvc")
    dvc(imported, "repro", "--quiet", "data.dvc")
    assert contents(imported / "data") == contents(tmp_path / "own")
    assert not list(imported.glob(".data*"))


def test_what_was_said_of_another_tables_patients_does_not_hold_for_new_data(
    imported: Path, phantoms: Path, tmp_path: Path
) -> None:
    params = imported / "params.yaml"
    params.write_text(params.read_text().replace("patient_ids: text", "patient_ids: distinct"))
    names = some_images(phantoms, tmp_path / "own")
    (tmp_path / "own" / "labels.csv").write_text(NIH_TABLE.format(names=names))
    use(imported, labels_csv=tmp_path / "own" / "labels.csv", images=tmp_path / "own" / "images")
    assert read_params(params).labels.patient_ids == "text"


def test_data_that_dvc_has_not_stored_is_never_replaced(
    imported: Path, phantoms: Path, tmp_path: Path
) -> None:
    names = some_images(phantoms, tmp_path / "own")
    (tmp_path / "own" / "labels.csv").write_text(PLAIN_TABLE.format(names=names))
    (imported / "data" / "images" / "mine.jpg").write_bytes(b"unique")
    before = contents(imported / "data"), (imported / "data.dvc").read_text()
    settings = (imported / "params.yaml").read_text()
    with pytest.raises(UserError, match=r"data: holds changes that DVC has not stored; run `dvc add data`"):
        use(imported, labels_csv=tmp_path / "own" / "labels.csv", images=tmp_path / "own" / "images")
    assert (contents(imported / "data"), (imported / "data.dvc").read_text()) == before
    assert (imported / "params.yaml").read_text() == settings


def test_data_is_used_in_projects_only(phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no dvc.yaml and params.yaml; run in a project"):
        use(tmp_path, labels_csv=phantoms / "labels.csv", images=phantoms / "images")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        (
            "Image_name,Patient_ID,Study,Sex,Age,ViewPosition,Edema,Fracture",
            "a.jpg,7,1,M,1,PA,0,-1",
            ("table", "Image_name", "Patient_ID", "Study", ["Edema", "Fracture"]),
        ),
        ("filename,Edema,Score", "a.jpg,1,0.5", ("table", "filename", None, None, ["Edema"])),
        ("image_id,patient_id,Edema", "a,0,1", ("table", "image_id", "patient_id", None, ["Edema"])),
        (
            "Image Index,Finding Labels,Patient ID",
            "a.png,Hernia,1",
            ("nih", "Image Index", "Patient ID", None, list(nih.FINDINGS)),
        ),
        (
            ",".join(["Path", "Sex", *reversed(CHEXPERT)]),
            ",".join(["CheXpert-v1.0/train/patient00001/study1/v.jpg", "Male", *["1.0"] * 14]),
            ("chexpert", "Path", "Patient_ID", "Study", list(CHEXPERT)),
        ),
    ],
    ids=["slam", "no patient", "other names", "nih", "chexpert"],
)
def test_a_table_describes_itself(
    tmp_path: Path, header: str, row: str, expected: tuple[str, str, str | None, str | None, list[str]]
) -> None:
    other = (
        row.replace("a.jpg", "b.jpg").replace(",0,", ",1,").replace(",-1", ",0").replace(",1,0.5", ",0,0.5")
    )
    (tmp_path / "labels.csv").write_text(
        f"{header}\n{row}\n{other.removesuffix(',1')}{',0' * other.endswith(',1')}\n"
    )
    settings, _ = describe(read_foreign_table(tmp_path / "labels.csv"))
    assert tuple(settings[key] for key in ("format", "id", "patient", "study", "findings")) == expected


def test_a_new_project_is_told_once_of_patients_under_several_ids(phantoms: Path, tmp_path: Path) -> None:
    text = "image,Patient_ID,Edema\n{names[0]},2,1\n{names[1]},0002,0\n{names[2]},3,1\n"
    source = own(phantoms, tmp_path / "source", text)
    _, outcome = plan(source, list_images(source.images), settings_of=PRESETS / "demo.yaml")
    assert sum("2 ids of 'Patient_ID' spell 1 number " in note for note in outcome.notes) == 1
    assert "`init --patient-ids`" in outcome.hindrances[0]


def test_a_failed_init_leaves_no_parent_folder_behind(phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError):
        init(
            tmp_path / "a" / "b", labels_csv=phantoms / "labels.csv", images=tmp_path / "none", preset="demo"
        )
    assert not (tmp_path / "a").exists()


def test_a_column_that_cannot_be_a_finding_is_named_with_its_odd_cell(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("Image_name,Edema,Fracture,comment,adult\na.jpg,0,1?,,1\nb.jpg,1,0,,1\n")
    settings, notes = describe(read_foreign_table(tmp_path / "l.csv"))
    assert settings["findings"] == ["Edema"]
    assert "column left out, because it is not a finding: 'Fracture' holds '1?' on line 2" in notes
    assert (
        "column left out, because it is not a finding: 'adult' is '1' in every row; --findings includes it "
        "anyway" in notes
    )
    assert "column left out, because it is not a finding: 'comment' is blank in every row" in notes


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (b"labels: " + b"[" * 3000, r"params\.yaml:1: nested 16 deep"),
        (b"labels: {}\nfolds: !!int x\n", r"params\.yaml:2: tags"),
        (b"labels: {}\nfolds: {k: " + b"9" * 5000 + b"}\n", r"params\.yaml:2: a number of 5,000 characters"),
        (b"labels: {}\n# caf\xe9\nfolds: {}\n", r"params\.yaml:2: byte 0xe9 is not UTF-8"),
        (b"labels: {}\nfolds: 2023-99-01\n", r"params\.yaml:2: '2023-99-01' is read as a timestamp"),
        (b"labels: []\nfolds: {}\n", r"params\.yaml: sections `labels` and `folds` were expected"),
        (b"labels: {}\n", r"params\.yaml: sections `labels` and `folds` were expected"),
        (b"", r"params\.yaml: sections `labels` and `folds` were expected"),
    ],
)
def test_settings_that_cannot_be_read_are_no_place_for_new_data(
    phantoms: Path, tmp_path: Path, params: bytes, message: str
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "dvc.yaml").write_text("stages: {}\n")
    (project / "params.yaml").write_bytes(params)
    before = contents(project)
    with pytest.raises(UserError, match=message):
        use(project, labels_csv=phantoms / "labels.csv", images=phantoms / "images")
    assert contents(project) == before


def test_an_interrupted_data_use_is_undone_before_the_next_one(phantoms: Path, tmp_path: Path) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).write_text((PRESETS / "demo.yaml").read_text())
    for folder, word in ((".data.old/data", "old"), ("data", "new")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "labels.csv").write_text(word)
    (tmp_path / ".data.old" / "mark").write_text("cxrscore data use 1\n")
    with pytest.raises(UserError, match="holds changes that DVC has not stored"):
        use(tmp_path, labels_csv=phantoms / "labels.csv", images=phantoms / "images")
    assert (tmp_path / "data" / "labels.csv").read_text() == "old"
    assert not (tmp_path / ".data.old").exists()


@pytest.mark.parametrize("name", ["images/0.jpg", "labels.csv", "data/labels.csv", "data.dvc", "data.absent"])
@pytest.mark.parametrize("place", [".data.old", ".data.new", ".data.trash"])
def test_a_folder_that_is_named_like_one_of_ours_is_never_deleted(
    phantoms: Path, tmp_path: Path, place: str, name: str
) -> None:
    for settings in ("dvc.yaml", "params.yaml"):
        (tmp_path / settings).write_text((PRESETS / "demo.yaml").read_text())
    for path in (tmp_path / place / name, tmp_path / "data" / "labels.csv"):
        path.parent.mkdir(parents=True)
        path.write_text("years")
    before = contents(tmp_path)
    message = "data.old: nothing shows" if place == ".data.old" else "holds changes that DVC has not stored"
    with pytest.raises(UserError, match=message):
        use(tmp_path, labels_csv=phantoms / "labels.csv", images=phantoms / "images")
    assert contents(tmp_path) == before


def test_data_that_a_person_has_put_in_place_since_an_interrupted_call_stay(
    phantoms: Path, tmp_path: Path
) -> None:
    for settings in ("dvc.yaml", "params.yaml"):
        (tmp_path / settings).write_text((PRESETS / "demo.yaml").read_text())
    for path in (".data.old/data/labels.csv", ".data.old/new/labels.csv", "data/labels.csv"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(path)
    (tmp_path / ".data.old" / "mark").write_text("cxrscore data use 1\n")
    before = contents(tmp_path)
    with pytest.raises(UserError, match="data: was made after a call had been interrupted; move it away"):
        use(tmp_path, labels_csv=phantoms / "labels.csv", images=phantoms / "images")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("left", [[], [".mark.4711.tmp"], ["mark"], ["mark", "new/images/a.jpg"]])
def test_what_a_killed_data_use_left_before_it_moved_anything_goes(
    phantoms: Path, tmp_path: Path, left: list[str]
) -> None:
    for settings in ("dvc.yaml", "params.yaml"):
        (tmp_path / settings).write_text((PRESETS / "demo.yaml").read_text())
    (tmp_path / "data").mkdir()
    (tmp_path / ".data.old").mkdir()
    for name in left:
        (tmp_path / ".data.old" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".data.old" / name).write_text("cxrscore data use 1\n")
    with pytest.raises(UserError, match="holds changes that DVC has not stored"):
        use(tmp_path, labels_csv=phantoms / "labels.csv", images=phantoms / "images")
    assert not (tmp_path / ".data.old").exists()


def test_what_was_done_before_a_kill_is_not_undone(phantoms: Path, tmp_path: Path) -> None:
    for settings in ("dvc.yaml", "params.yaml"):
        (tmp_path / settings).write_text((PRESETS / "demo.yaml").read_text())
    for path in (".data.old/data/labels.csv", "data/labels.csv"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(path)
    (tmp_path / ".data.old" / "mark").write_text("cxrscore data use 1\n")
    (tmp_path / ".data.old" / "done").touch()
    with pytest.raises(UserError, match="holds changes that DVC has not stored"):
        use(tmp_path, labels_csv=phantoms / "labels.csv", images=phantoms / "images")
    assert (tmp_path / "data" / "labels.csv").read_text() == "data/labels.csv"
    assert not (tmp_path / ".data.old").exists()


def own(phantoms: Path, folder: Path, text: str) -> Source:
    names = some_images(phantoms, folder)
    (folder / "labels.csv").write_text(text.format(names=names))
    return Source(folder / "labels.csv", folder / "images")


def test_columns_can_be_named_and_a_guess_is_told_as_flags(phantoms: Path, tmp_path: Path) -> None:
    text = "scan,who,seen,Edema,Mass, left\n".replace("Mass, left", '"Mass, left"')
    text += "{names[0]},7,1,1,0\n{names[1]},8,1,0,1\n{names[2]},8,1,1,1\n"
    source = own(phantoms, tmp_path / "source", text)
    said = Said(id="scan", patient="who", findings=listed('Edema,"Mass, left"'))
    listing = list_images(source.images)
    settings, outcome = plan(replace(source, said=said), listing, settings_of=PRESETS / "demo.yaml")
    labels = parse_params(settings, tmp_path).labels
    assert (labels.id, labels.patient, labels.findings) == ("scan", "who", ["Edema", "Mass, left"])
    assert not any("guessed" in note for note in outcome.notes)
    settings, outcome = plan(source, listing, settings_of=PRESETS / "demo.yaml")
    assert parse_params(settings, tmp_path).labels.id == "scan"  # whose cells are the names of files
    assert (
        "columns were guessed from their names; to state them yourself: --id scan --findings "
        "'Edema,\"Mass, left\"'" in outcome.notes
    )
    assert any("no patient column was found" in n and "--patient-pattern" in n for n in outcome.notes)


@pytest.mark.parametrize("column", ["pid", "case", "Case ID", "MRN", "patient number"])
def test_patients_are_known_by_many_names(phantoms: Path, tmp_path: Path, column: str) -> None:
    text = f"image,{column},Edema\n{{names[0]}},7,1\n{{names[1]}},8,0\n{{names[2]}},8,1\n"
    source = own(phantoms, tmp_path / "source", text)
    settings, _ = plan(source, list_images(source.images), settings_of=PRESETS / "demo.yaml")
    assert parse_params(settings, tmp_path).labels.patient == column


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            ",ImageID,PatientID,Labels\n0,{names[0]},7,\"['edema', 'mass']\"\n1,{names[1]},8,['mass']\n",
            r"'Labels' holds several findings in a cell, as PadChest's .*ast\.literal_eval.*get_dummies\(\)",
        ),
        ("image,found\n{names[0]},edema|mass\n{names[1]},mass\n", r"df\['found'\]\.str\.get_dummies\(\)"),
        (
            "subject_id,study_id,Edema\n1,50,1.0\n2,60,0.0\n",
            r"A table of studies \('study_id'\) has to be joined first .*dicom_id.*--id COLUMN",
        ),
        ("image_id,rad_id,Edema\n{names[0]},R1,1\n{names[0]},R2,0\n", "`init --readers`"),
        ("image,Edema\n{names[0]},1\n{names[1]},-1\n", r"set labels\.uncertain"),
    ],
)
def test_a_table_of_another_kind_is_refused_with_what_to_do(
    phantoms: Path, tmp_path: Path, text: str, hint: str
) -> None:
    source = own(phantoms, tmp_path / "source", text)
    with pytest.raises(UserError, match=hint):
        init_project(tmp_path / "chest", source, preset="demo")
    assert not (tmp_path / "chest").exists()


def test_dvc_repro_is_named_only_where_it_runs(phantoms: Path, tmp_path: Path) -> None:
    source = own(phantoms, tmp_path / "source", PLAIN_TABLE)
    listing = list_images(source.images)
    _, outcome = plan(source, listing, settings_of=PRESETS / "demo.yaml")
    (hindrance,) = outcome.hindrances
    assert hindrance.startswith("train.batch_size: 32 is more than the 2 images to train on")
    few = (PRESETS / "demo.yaml").read_text().replace("k: 3", "k: 5").replace("[0, 1, 2]", "[0]")
    (tmp_path / "few.yaml").write_text(few)
    _, outcome = plan(source, listing, settings_of=tmp_path / "few.yaml")
    assert outcome.hindrances[0].startswith("folds.k: 5 folds of 3 images")


def test_long_trainings_without_a_gpu_are_told_with_the_smaller_preset(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    params = read_params(PRESETS / "paper.yaml")
    assert cpu_note(params, 100) == []
    (note,) = cpu_note(params, 100_000)
    assert " days on " in note and note.endswith("--preset demo trains a small model in minutes")
    assert cpu_note(read_params(PRESETS / "demo.yaml"), 100_000) == []


def test_a_project_without_git_gets_our_words_beside_dvcs(
    imported: Path, phantoms: Path, tmp_path: Path
) -> None:
    source = own(phantoms, tmp_path / "own", PLAIN_TABLE)
    shutil.rmtree(imported / ".git")
    before = contents(imported / "data")
    with pytest.raises(UserError, match=r"(?s)failed; .*no git repository, as after unpacking a"):
        use_data(imported, source)
    assert contents(imported / "data") == before


def test_a_failed_init_leaves_a_repository_around_it_as_it_was(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = own(phantoms, tmp_path / "source", PLAIN_TABLE)
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine.txt").write_text("mine")
    for words in (["init", "--quiet"], ["add", "mine.txt"]):
        subprocess.run(["git", *words], cwd=home, check=True)

    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cxrscore.project.create.stage_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        init_project(home / "chest", source, preset="demo")
    status = subprocess.run(
        ["git", "status", "--short"], cwd=home, capture_output=True, text=True, check=True
    )
    assert status.stdout == "A  mine.txt\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "image,Edema\n{names[0]},1\n{names[1]},0\n{names[2]},1\n",
            None,
        ),
        ("image,Edema\n{names[0]},1\n{names[1]},0\n" + "{names[2]},1\n" * 20 + "{names[2]},O\n", "'O' among"),
        ("case,image,Edema\n1,{names[0]},1\n0,{names[1]},0\n0,{names[2]},1\n", None),
        ("image_id,path,Edema\n0,{names[0]},1\n1,{names[1]},0\n2,{names[2]},1\n", None),
    ],
    ids=["plain", "a typing error", "cases and controls", "another column names the files"],
)
def test_a_guess_is_one_that_the_cells_bear_out(
    phantoms: Path, tmp_path: Path, text: str, message: str | None
) -> None:
    source = own(phantoms, tmp_path / "source", text)
    listing = list_images(source.images)
    if message:
        with pytest.raises(UserError, match=message):
            plan(source, listing, settings_of=PRESETS / "demo.yaml")
        return
    settings, _ = plan(source, listing, settings_of=PRESETS / "demo.yaml")
    labels = parse_params(settings, tmp_path).labels
    assert labels.id == ("path" if "path" in text else "image")
    assert labels.patient is None
    assert labels.findings == (["case", "Edema"] if "case" in text else ["Edema"])


def test_images_that_prepare_could_not_read_stand_in_the_way(phantoms: Path, tmp_path: Path) -> None:
    source = own(phantoms, tmp_path / "source", PLAIN_TABLE)
    for path in source.images.iterdir():
        path.write_bytes(b"DICM" * 100)
    _, outcome = plan(source, list_images(source.images), settings_of=PRESETS / "demo.yaml")
    assert outcome.hindrances[0].startswith("3 of 3 images in a sample cannot be read, such as ")


def test_the_flags_that_are_printed_are_taken(phantoms: Path, tmp_path: Path) -> None:
    source = own(phantoms, tmp_path / "source", PLAIN_TABLE)
    listing = list_images(source.images)
    said = Said(patient_pattern="^([0-9]+)_")
    _, outcome = plan(replace(source, said=said), listing, settings_of=PRESETS / "demo.yaml")
    flags = "--id Image_name --patient-pattern '^([0-9]+)_' --findings Edema"
    assert any(note.endswith(flags) for note in outcome.notes)
    again = Said(id="Image_name", patient_pattern="^([0-9]+)_", findings=("Edema",))
    plan(replace(source, said=again), listing, settings_of=PRESETS / "demo.yaml")
    with pytest.raises(UserError, match="give one of them"):
        plan(replace(source, said=replace(again, patient="Age")), listing, settings_of=PRESETS / "demo.yaml")


def test_blanks_of_several_readers_have_to_be_declared(phantoms: Path, tmp_path: Path) -> None:
    text = "image,Edema\n{names[0]},1\n{names[0]},\n{names[1]},0\n"
    source = replace(own(phantoms, tmp_path / "source", text), declared={"readers": "majority"})
    listing = list_images(source.images)
    with pytest.raises(UserError, match=r"1 label of several readers left blank; use --blank"):
        plan(source, listing, settings_of=PRESETS / "demo.yaml")
    plan(
        replace(source, declared={"readers": "majority", "blank": "ignore"}),
        listing,
        settings_of=PRESETS / "demo.yaml",
    )


def a_source(phantoms: Path, **test: Any) -> Source:
    held_out = Source(phantoms / "test_labels.csv", phantoms / "test") if test.get("test", True) else None
    return Source(phantoms / "labels.csv", phantoms / "images", test=held_out)


def test_a_held_out_test_gets_its_stage_and_its_place_in_the_data(phantoms: Path, tmp_path: Path) -> None:
    notes = init_project(tmp_path / "chest", a_source(phantoms), preset="demo").notes
    assert any("held-out test: 8 images" in note for note in notes)
    data = tmp_path / "chest" / "data"
    assert contents(data / "test") == contents(phantoms / "test")
    assert (data / "test_labels.csv").read_bytes() == (phantoms / "test_labels.csv").read_bytes()
    assert (tmp_path / "chest" / "dvc.yaml").read_bytes() == (PRESETS / "pipeline.yaml").read_bytes()


def test_without_one_the_stage_does_not_exist(phantoms: Path, tmp_path: Path) -> None:
    init_project(tmp_path / "chest", a_source(phantoms, test=False), preset="demo")
    pipeline = (tmp_path / "chest" / "dvc.yaml").read_text()
    assert "\n  test:" not in pipeline and "test_metrics" not in pipeline and "data/test" not in pipeline
    assert with_test(pipeline, wanted=True) == (PRESETS / "pipeline.yaml").read_text()
    assert "report" in dvc(tmp_path / "chest", "stage", "list")


def test_the_stage_of_a_clone_is_keyed_on_its_modules(tmp_path: Path) -> None:
    ours = (Path(__file__).parents[2] / "dvc.yaml").read_text()
    without = with_test(ours, wanted=False)
    assert "cxrscore test" not in without and "test_metrics" not in without
    assert YAML(typ="safe").load(with_test(without, wanted=True)) == YAML(typ="safe").load(ours)


def test_other_data_bring_or_take_away_the_test(phantoms: Path, tmp_path: Path) -> None:
    chest = tmp_path / "chest"
    init_project(chest, a_source(phantoms), preset="demo")
    (chest / "out" / "test").mkdir(parents=True)
    (chest / "out" / "test_metrics.json").write_text("{}")
    use_data(chest, a_source(phantoms, test=False))
    assert "cxrscore test" not in (chest / "dvc.yaml").read_text()
    assert not (chest / "data" / "test").exists()
    assert not (chest / "out" / "test").exists() and not (chest / "out" / "test_metrics.json").exists()
    use_data(chest, a_source(phantoms))
    assert "cxrscore test" in (chest / "dvc.yaml").read_text()
    assert contents(chest / "data" / "test") == contents(phantoms / "test")


@pytest.mark.parametrize("written", ["dvc.yaml", "params.yaml"])
def test_a_kill_after_one_of_the_settings_is_written_leaves_the_next_call_the_old_ones(
    phantoms: Path, tmp_path: Path, written: str
) -> None:
    """A process of its own is killed by SIGKILL right after it has put the file in place."""
    chest = tmp_path / "chest"
    init_project(chest, a_source(phantoms), preset="demo")
    before = contents(chest)
    dying = f"""
import os, signal, sys
from pathlib import Path
import cxrscore.project.data_files as data_files
from cxrscore.project.create import Source, use_data

put = data_files.write_text
def put_and_die(path, text):
    put(path, text)
    if path == Path(sys.argv[1], {written!r}):
        os.kill(os.getpid(), signal.SIGKILL)
data_files.write_text = put_and_die
data = Path(sys.argv[2])
use_data(Path(sys.argv[1]), Source(data / "labels.csv", data / "images"))
"""
    command = [sys.executable, "-c", dying, str(chest), str(phantoms)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    killed = contents(chest)
    assert killed["dvc.yaml"] != before["dvc.yaml"] and (chest / ".data.old").exists()
    assert "earlier call had been interrupted" in undo_interrupted(chest)[0]
    after = contents(chest)
    assert not (chest / ".data.old").exists()
    assert [name for name in ("dvc.yaml", "params.yaml", "data.dvc") if after[name] != before[name]] == []
    assert contents(chest / "data") == {
        name.removeprefix("data/"): data for name, data in before.items() if name.startswith("data/")
    }


def test_settings_that_a_person_has_changed_since_an_interrupted_call_are_not_overwritten(
    tmp_path: Path,
) -> None:
    old = tmp_path / ".data.old"
    old.mkdir()
    (old / "mark").write_text("cxrscore data use 1\n")
    (old / "params.yaml").write_text("a: 1\n")
    (old / "params.yaml.new").write_text("a: 2\n")
    (tmp_path / "params.yaml").write_text("a: 3\n")
    with pytest.raises(UserError, match=r"params\.yaml: was changed after a call had been interrupted; move"):
        undo_interrupted(tmp_path)
    assert (tmp_path / "params.yaml").read_text() == "a: 3\n"
    (tmp_path / "params.yaml").write_text("a: 2\n")
    undo_interrupted(tmp_path)
    assert (tmp_path / "params.yaml").read_text() == "a: 1\n" and not old.exists()


def test_a_test_of_trained_patients_is_refused_and_leaves_nothing(phantoms: Path, tmp_path: Path) -> None:
    source = Source(
        phantoms / "labels.csv",
        phantoms / "images",
        test=Source(phantoms / "labels.csv", phantoms / "images"),
    )
    with pytest.raises(UserError, match=r"18 patients are in .*labels.csv, too"):
        init_project(tmp_path / "chest", source, preset="demo")
    assert not (tmp_path / "chest").exists()
