"""Every file has its row or is named with its fault; a row is that file's own, whatever happens around it."""

import csv
import dataclasses
import json
import os
import shutil
import socket
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Project, contents
from PIL import Image

from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.progress import Silent
from cxrscore.images.reading import read_image
from cxrscore.model.checkpoint import load_fold, save_checkpoint
from cxrscore.model.predict import VIEWS
from cxrscore.score import score
from cxrscore.scoring.finish import Outcome
from cxrscore.scoring.options import Options

OPENED: list[str] | None = None  # paths, while a test listens


def listen(event: str, words: tuple[object, ...]) -> None:
    if event == "open" and OPENED is not None and isinstance(words[0], str | os.PathLike):
        OPENED.append(os.fspath(words[0]))


sys.addaudithook(listen)  # for good: Python has no way to take a hook back


@pytest.fixture
def folder(project: Project, tmp_path: Path) -> Path:
    """Eight radiographs that a test may add to."""
    return Path(shutil.copytree(project.data / "test", tmp_path / "images"))


@pytest.fixture
def many(project: Project, tmp_path: Path) -> Path:
    """Forty: two whole batches and a half."""
    return Path(shutil.copytree(project.data / "images", tmp_path / "images"))


def run(folder: Path | str, out_csv: Path, models: Path, **options: object) -> Outcome:
    return score(
        str(folder),
        out_csv,
        Options(**{"workers": 0, **options}),
        models=models,
        machine=Machine(torch.device("cpu"), torch.float32),
        progress=Silent(),
    )


def cells(out_csv: Path) -> dict[tuple[str, str], str]:
    """(id, finding) -> the text of the cell."""
    with out_csv.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    id_column = next(iter(rows[0]))
    return {(row[id_column], name): cell for row in rows for name, cell in row.items() if name != id_column}


def faults(out_csv: Path) -> list[dict[str, str]]:
    """The rows of the list of what could not be scored."""
    with out_csv.with_name(f"{out_csv.name}.errors.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def ids(out_csv: Path) -> list[str]:
    return [line.split(",")[0] for line in out_csv.read_text(encoding="utf-8").splitlines()[1:]]


def spoil(folder: Path) -> dict[str, str]:
    """Three bad files among the good ones -> name: kind."""
    first, *_, last = sorted(folder.iterdir())
    (folder / "0.jpg").write_bytes(b"")
    (folder / f"{first.stem}_x.jpg").write_bytes(last.read_bytes()[:-200])
    (folder / "z.jpg").write_text("<html>404 Not Found</html>")
    return {"0.jpg": "EMPTY_FILE", f"{first.stem}_x.jpg": "TRUNCATED", "z.jpg": "NOT_AN_IMAGE"}


def test_there_is_one_row_for_each_file_in_the_order_of_the_names(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    (folder / "deeper").mkdir()
    shutil.copy(next(folder.glob("*.jpg")), folder / "deeper" / "a, b.jpg")
    outcome = run(folder, tmp_path / "sub.csv", project.layout.models)
    with (tmp_path / "sub.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    assert header == ["Image_name", *project.params.labels.findings]
    assert [row[0] for row in rows] == files
    assert (outcome.listed, outcome.scored, outcome.quarantined) == (9, 9, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "images",
        "sub.csv",
        "sub.csv.manifest.csv",
        "sub.csv.provenance.json",
    ]


def test_a_score_is_the_mean_over_views_and_then_over_folds(
    project: Project, cpu: Machine, folder: Path, tmp_path: Path
) -> None:
    run(folder, tmp_path / "sub.csv", project.layout.models, batch_size=3)
    models = [load_fold(project.layout.checkpoint(fold), cpu).model for fold in (0, 1)]
    written = cells(tmp_path / "sub.csv")
    for path in folder.iterdir():
        gray = torch.from_numpy(read_image(path.read_bytes(), size=32).copy())[None, None]
        folds = [
            torch.stack([model(view).logits[0].sigmoid() for view in (gray, gray.flip(-1))]).mean(0)
            for model in models
        ]
        expected = torch.stack(folds).mean(0).tolist()
        found = [float(written[path.name, name]) for name in project.params.labels.findings]
        assert found == pytest.approx(expected, abs=1e-6)


def test_bad_files_are_named_and_the_rows_of_the_others_keep_their_bytes(
    project: Project, many: Path, tmp_path: Path
) -> None:
    run(many, tmp_path / "clean.csv", project.layout.models)
    kinds = spoil(many)
    outcome = run(many, tmp_path / "sub.csv", project.layout.models, workers=2)
    assert (tmp_path / "sub.csv").read_bytes() == (tmp_path / "clean.csv").read_bytes()
    assert (outcome.listed, outcome.scored, outcome.quarantined) == (43, 40, 3)
    assert outcome.errors_csv == tmp_path / "sub.csv.errors.csv"
    assert {row["path"]: row["kind"] for row in faults(tmp_path / "sub.csv")} == kinds


def test_a_run_without_faults_takes_away_the_last_runs_list_of_them(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    for name in spoil(folder):
        run(folder, tmp_path / "sub.csv", project.layout.models, overwrite=True)
        (folder / name).unlink()
    outcome = run(folder, tmp_path / "sub.csv", project.layout.models, overwrite=True)
    assert (outcome.errors_csv, outcome.scored) == (None, 8)
    assert not (tmp_path / "sub.csv.errors.csv").exists()


def test_a_folder_of_bad_files_is_the_wrong_folder_and_gives_no_table(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    for path in folder.iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"8 files could not be scored.*EMPTY_FILE"):
        run(folder, tmp_path / "sub.csv", project.layout.models)
    assert list(tmp_path.iterdir()) == [folder]


def test_asked_to_fail_a_run_with_a_bad_file_writes_nothing(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    spoil(folder)
    with pytest.raises(UserError, match=r"0.jpg \(EMPTY_FILE: .*repair or remove it"):
        run(folder, tmp_path / "sub.csv", project.layout.models, on_error="fail")
    assert list(tmp_path.iterdir()) == [folder]


def test_asked_to_fill_a_bad_file_gets_the_training_prevalences_and_is_named_all_the_same(
    project: Project, folder: Path, tmp_path: Path, cpu: Machine
) -> None:
    run(folder, tmp_path / "clean.csv", project.layout.models)
    kinds = spoil(folder)
    outcome = run(folder, tmp_path / "sub.csv", project.layout.models, on_error="fill")
    assert (outcome.listed, outcome.scored, outcome.quarantined) == (11, 8, 3)
    written, clean = cells(tmp_path / "sub.csv"), cells(tmp_path / "clean.csv")
    assert {key: written[key] for key in clean} == clean
    folds = [load_fold(project.layout.checkpoint(k), cpu).card.prevalence for k in (0, 1)]
    for name in kinds:
        filled = [float(written[name, finding]) for finding in project.params.labels.findings]
        assert filled == pytest.approx(np.mean(folds, axis=0), abs=1e-6)


def test_asked_to_fill_a_dangling_link_has_its_row_too(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    outcome = run(folder, tmp_path / "sub.csv", project.layout.models, on_error="fill")
    assert (outcome.listed, outcome.scored, outcome.quarantined) == (9, 8, 1)
    assert "dangling.jpg" in ids(tmp_path / "sub.csv")


def test_a_templates_rows_order_and_columns_are_kept(project: Project, folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "plain.csv", project.layout.models)
    names = ids(project.data / "sample_submission.csv")
    findings = project.params.labels.findings
    columns = [*findings[5:], *findings[:5]]
    wanted = [names[5], names[0], names[3]]
    zeros = ",".join("0" * len(columns))
    rows = "".join(f"{name},{zeros}\n" for name in wanted)
    (tmp_path / "template.csv").write_text(",".join(["id", *columns]) + "\n" + rows)
    outcome = run(folder, tmp_path / "sub.csv", project.layout.models, template=tmp_path / "template.csv")
    assert (tmp_path / "sub.csv").read_text().splitlines()[0].split(",") == ["id", *columns]
    assert ids(tmp_path / "sub.csv") == wanted
    plain = cells(tmp_path / "plain.csv")
    assert cells(tmp_path / "sub.csv") == {key: cell for key, cell in plain.items() if key[0] in wanted}
    assert (outcome.listed, outcome.scored) == (3, 3)
    assert outcome.notes == [f"5 files left out, not listed in {tmp_path / 'template.csv'}"]


def test_a_template_over_all_files_gives_the_plain_tables_cells_in_its_order(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    sample = project.data / "sample_submission.csv"
    run(folder, tmp_path / "plain.csv", project.layout.models)
    outcome = run(folder, tmp_path / "sub.csv", project.layout.models, template=sample)
    assert ids(tmp_path / "sub.csv") == ids(sample) != ids(tmp_path / "plain.csv")
    assert cells(tmp_path / "sub.csv") == cells(tmp_path / "plain.csv")
    assert outcome.notes == []


def test_the_bytes_are_the_same_for_any_number_of_workers(
    project: Project, many: Path, tmp_path: Path
) -> None:
    spoil(many)
    for workers in (0, 1, 2):
        run(many, tmp_path / f"{workers}.csv", project.layout.models, workers=workers)
    tables = [(tmp_path / f"{workers}.csv").read_bytes() for workers in (0, 1, 2)]
    errors = [(tmp_path / f"{workers}.csv.errors.csv").read_bytes() for workers in (0, 1, 2)]
    assert tables[0] == tables[1] == tables[2]
    assert errors[0] == errors[1] == errors[2]


@pytest.mark.parametrize("batch_size", [3, 5, 8, 16])
@pytest.mark.parametrize("kept", [slice(0, 1), slice(7, 30), slice(None, None, 3)])
def test_company_never_changes_a_row(
    project: Project, many: Path, tmp_path: Path, kept: slice, batch_size: int
) -> None:
    run(many, tmp_path / "all.csv", project.layout.models, batch_size=batch_size)
    header, *rows = (tmp_path / "all.csv").read_text().splitlines()
    files = sorted(many.iterdir())
    for path in set(files) - set(files[kept]):
        path.unlink()
    run(many, tmp_path / "some.csv", project.layout.models, batch_size=batch_size)
    assert (tmp_path / "some.csv").read_text().splitlines() == [header, *rows[kept]]


def test_the_size_of_a_batch_changes_no_score_beyond_rounding(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    tables = []
    for batch_size in (1, 3, 8, 16):
        run(folder, tmp_path / f"{batch_size}.csv", project.layout.models, batch_size=batch_size)
        tables.append({key: float(cell) for key, cell in cells(tmp_path / f"{batch_size}.csv").items()})
    assert all(table == pytest.approx(tables[0], abs=1e-6) for table in tables)


LISTENING_WORKER = """
import json, os, sys
log = os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def listen(event, words):
    if event == "open" and str(words[0]).startswith({folder!r}):
        os.write(log, str(words[0]).encode() + b"\\n")
sys.addaudithook(listen)
sys.path[:] = json.loads(sys.argv[1])
from cxrscore.images.decoding.worker import main
main()
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_each_file_is_opened_once_for_all_folds_and_views(
    project: Project, folder: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    global OPENED
    (tmp_path / "log").touch()
    script = LISTENING_WORKER.format(log=str(tmp_path / "log"), folder=f"{folder}/")
    (tmp_path / "worker.py").write_text(script)
    monkeypatch.setattr("cxrscore.images.decoding.worker_process.WORKER", (str(tmp_path / "worker.py"),))
    OPENED = []
    try:
        run(
            folder, tmp_path / "sub.csv", project.layout.models, workers=workers, views=("plain", "zoom_flip")
        )
        here = [path for path in OPENED if path.startswith(f"{folder}/")]
    finally:
        OPENED = None
    there = (tmp_path / "log").read_text().splitlines()
    assert not (here and there)
    assert Counter(here + there) == {str(path): 1 for path in folder.iterdir()}


def test_an_existing_output_is_refused_untouched_and_replaced_only_when_asked(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "sub.csv").write_text("mine")
    with pytest.raises(UserError, match=r"sub.csv: exists; --overwrite replaces it"):
        run(folder, tmp_path / "sub.csv", project.layout.models)
    assert (tmp_path / "sub.csv").read_text() == "mine"
    run(folder, tmp_path / "sub.csv", project.layout.models, overwrite=True)
    assert len(ids(tmp_path / "sub.csv")) == 8


def test_another_runs_list_of_faults_is_kept_too(project: Project, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sub.csv.errors.csv").write_text("mine")
    with pytest.raises(UserError, match=r"sub.csv.errors.csv: exists; --overwrite replaces it"):
        run(folder, tmp_path / "sub.csv", project.layout.models)
    assert sorted(contents(tmp_path))[-1] == "sub.csv.errors.csv"


@pytest.mark.parametrize("name", ["sub.csv", "sub.jpg", "sub"])
def test_an_output_among_the_images_is_not_one_of_them(project: Project, folder: Path, name: str) -> None:
    run(folder, folder / name, project.layout.models)
    before = (folder / name).read_bytes()
    (folder / "bad.jpg").write_bytes(b"")
    for _ in range(2):
        outcome = run(folder, folder / name, project.layout.models, overwrite=True)
        assert (outcome.quarantined, faults(folder / name)[0]["path"]) == (1, "bad.jpg")
    assert (folder / name).read_bytes() == before


def test_chosen_folds_alone_are_used(project: Project, folder: Path, tmp_path: Path) -> None:
    for name, folds in (("both", (0, 1)), ("none", None), ("0", (0,)), ("1", (1,))):
        run(folder, tmp_path / f"{name}.csv", project.layout.models, folds=folds)
    both, one, other = (cells(tmp_path / f"{name}.csv") for name in ("both", "0", "1"))
    assert (tmp_path / "both.csv").read_bytes() == (tmp_path / "none.csv").read_bytes()
    assert one != other
    means = {key: (float(one[key]) + float(other[key])) / 2 for key in both}
    assert {key: float(cell) for key, cell in both.items()} == pytest.approx(means, abs=1e-6)


def test_of_the_plain_view_alone_the_mirror_image_does_not_count(
    project: Project, cpu: Machine, folder: Path, tmp_path: Path
) -> None:
    run(folder, tmp_path / "sub.csv", project.layout.models, views=("plain",), folds=(1,))
    model = load_fold(project.layout.checkpoint(1), cpu).model
    gray = torch.from_numpy(np.stack([read_image(p.read_bytes(), size=32) for p in sorted(folder.iterdir())]))
    expected = model(gray[:, None]).logits.sigmoid().flatten().tolist()
    assert [float(cell) for cell in cells(tmp_path / "sub.csv").values()] == pytest.approx(expected, abs=1e-6)


def with_views(project: Project, root: Path, cpu: Machine, *views: list[str]) -> Path:
    """The project's checkpoints with other views on their cards."""
    for fold, names in enumerate(views):
        saved = load_fold(project.layout.checkpoint(fold), cpu)
        card = dataclasses.replace(saved.card, views=names)
        save_checkpoint(root / "models" / saved.path.name, saved.model.state_dict(), card)
    return root / "models"


def twelve_bits(folder: Path, to: Path) -> Path:
    """The same radiographs, their 8 bits as 12 in files of 16, one with a burned-in marker."""
    to.mkdir()
    for i, path in enumerate(sorted(folder.iterdir())):
        pixels = np.rint(np.asarray(Image.open(path).convert("L")) * (4095 / 255)).astype(np.uint16)
        if i == 0:
            pixels[:3, :3] = 65535
        Image.fromarray(pixels).save(to / f"{path.stem}.tif")
    return to


def test_the_depth_that_the_models_were_trained_with_is_used_unless_another_is_named(
    project: Project, cpu: Machine, tmp_path: Path
) -> None:
    folder = twelve_bits(project.data / "test", tmp_path / "deep")
    with pytest.raises(UserError, match=r"8 files could not be scored.*UNDECLARED_DEPTH.*--bit-depth"):
        run(folder, tmp_path / "none.csv", project.layout.models)
    models = Path(shutil.copytree(project.layout.models, tmp_path / "models"))
    for path in sorted(models.iterdir()):
        saved = load_fold(path, cpu)
        save_checkpoint(path, saved.model.state_dict(), dataclasses.replace(saved.card, bit_depth=12))
    run(folder, tmp_path / "card.csv", models)
    run(folder, tmp_path / "named.csv", project.layout.models, bit_depth=12)
    assert (tmp_path / "card.csv").read_bytes() == (tmp_path / "named.csv").read_bytes()
    run(project.data / "test", tmp_path / "plain.csv", project.layout.models, id_kind="stem")
    plain = {(name, finding): float(cell) for (name, finding), cell in cells(tmp_path / "plain.csv").items()}
    for (name, finding), cell in cells(tmp_path / "named.csv").items():
        assert abs(float(cell) - plain[Path(name).stem, finding]) < 0.05  # JPEG's own decoder is not Pillow's
    run(folder, tmp_path / "full.csv", models, bit_depth=16)
    assert cells(tmp_path / "full.csv") != cells(tmp_path / "named.csv")
    about = json.loads((tmp_path / "full.csv.provenance.json").read_text())
    assert about["run"]["bit_depth"] == 16


def test_views_are_those_of_training_unless_others_are_named(
    project: Project, cpu: Machine, folder: Path, tmp_path: Path
) -> None:
    views = ["plain", "zoom", "zoom_flip"]
    models = with_views(project, tmp_path, cpu, views, views)
    for name, chosen in {"trained": None, "named": tuple(views), "flip": ("plain", "flip")}.items():
        run(folder, tmp_path / f"{name}.csv", models, views=chosen)
    run(folder, tmp_path / "before.csv", project.layout.models)
    table = {name: (tmp_path / f"{name}.csv").read_bytes() for name in ("trained", "named", "flip", "before")}
    assert table["trained"] == table["named"] != table["flip"]
    assert table["flip"] == table["before"]
    about = json.loads((tmp_path / "trained.csv.provenance.json").read_text())
    assert about["run"]["views"] == views
    gray = torch.from_numpy(np.stack([read_image(p.read_bytes(), size=32) for p in sorted(folder.iterdir())]))
    folds = [load_fold(project.layout.checkpoint(fold), cpu).model for fold in (0, 1)]
    slow = [model(VIEWS[view](gray[:, None])).logits.sigmoid() for model in folds for view in views]
    written = [float(cell) for cell in cells(tmp_path / "trained.csv").values()]
    assert written == pytest.approx(torch.stack(slow).mean(0).flatten().tolist(), abs=1e-6)


def test_folds_of_different_views_are_scored_only_when_views_are_named(
    project: Project, cpu: Machine, folder: Path, tmp_path: Path
) -> None:
    models = with_views(project, tmp_path, cpu, ["plain"], ["plain", "flip"])
    with pytest.raises(UserError, match=r"views is plain,flip, but plain in .*--views"):
        run(folder, tmp_path / "sub.csv", models)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "models"]
    run(folder, tmp_path / "sub.csv", models, views=("plain",))


def test_scoring_asks_nothing_of_the_network(
    project: Project, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("scoring asked for the network")

    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)  # a pair of sockets, as workers have, is none
    with pytest.raises(AssertionError, match="network"):
        socket.create_connection(("localhost", 80))
    with pytest.raises(AssertionError, match="network"), socket.socket() as one:
        one.connect(("localhost", 80))
    assert run(folder, tmp_path / "sub.csv", project.layout.models, workers=2).scored == 8


def change_fold(project: Project, root: Path, cpu: Machine, **card: object) -> Path:
    """The project's models, the first one with this changed in its card."""
    models = Path(shutil.copytree(project.layout.models, root / "models"))
    fold = load_fold(models / "fold0.safetensors", cpu)
    save_checkpoint(fold.path, fold.model.state_dict(), dataclasses.replace(fold.card, **card))
    return models


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": (0, 7)}, r"folds \[0\] were found, \[0, 7\] are needed"),
        ({"template": "strange.csv"}, r"strange.csv: 1 id without a file: 'x.jpg'"),
        ({"template": "other.csv"}, r"other.csv:1: no column 'Atelectasis'.*'Oedema' is not a finding"),
        ({"id_kind": "stem"}, r"2 files with the same id \(stem\).*use --id relpath"),
    ],
    ids=["a fold that is not there", "an id without a file", "another finding", "one id for two files"],
)
def test_a_call_to_mend_writes_nothing(
    project: Project, folder: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    findings = project.params.labels.findings
    zeros = ",0" * len(findings)
    (tmp_path / "strange.csv").write_text(",".join(["id", *findings]) + f"\nx.jpg{zeros}\n")
    (tmp_path / "other.csv").write_text(",".join(["id", "Oedema", *findings[1:]]) + f"\nx.jpg{zeros}\n")
    image = next(folder.glob("*.jpg"))
    shutil.copy(image, image.with_suffix(".jpeg"))
    if "template" in options:
        options = {"template": tmp_path / str(options["template"])}
    before = contents(tmp_path)
    with pytest.raises(UserError, match=message):
        run(folder, tmp_path / "sub.csv", project.layout.models, **options)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("place", "message"), [("nowhere/sub.csv", "nowhere: "), ("images", "images: .*; name the file to write")]
)
def test_an_output_that_cannot_be_written_is_told_first(
    project: Project, folder: Path, tmp_path: Path, place: str, message: str
) -> None:
    before = contents(tmp_path)
    with pytest.raises(UserError, match=message):
        run(folder, tmp_path / place, project.layout.models)
    assert contents(tmp_path) == before


def test_models_of_another_preprocessing_are_refused(
    project: Project, cpu: Machine, folder: Path, tmp_path: Path
) -> None:
    models = change_fold(project, tmp_path, cpu, preprocessing="crop-v0")
    with pytest.raises(UserError, match=r"trained on images prepared as crop-v0"):
        run(folder, tmp_path / "sub.csv", models, folds=(0,))
    assert not (tmp_path / "sub.csv").exists()


def test_weights_that_are_not_numbers_are_refused(
    project: Project, cpu: Machine, folder: Path, tmp_path: Path
) -> None:
    models = change_fold(project, tmp_path, cpu)
    fold = load_fold(models / "fold0.safetensors", cpu)
    fold.model.head.classifier.weight[0, 0] = torch.nan
    save_checkpoint(fold.path, fold.model.state_dict(), fold.card)
    with pytest.raises(UserError, match=r"head.classifier.weight holds NaN"):
        run(folder, tmp_path / "sub.csv", models)
    assert not (tmp_path / "sub.csv").exists()


def test_an_image_without_a_finite_score_is_named_and_its_neighbours_keep_theirs(
    project: Project, cpu: Machine, folder: Path, tmp_path: Path
) -> None:
    models = change_fold(project, tmp_path, cpu)
    fold = load_fold(models / "fold0.safetensors", cpu)
    head = fold.model.head
    head.A[0] = 0.0  # the first finding pushes no other one
    save_checkpoint(fold.path, fold.model.state_dict(), fold.card)
    run(folder, tmp_path / "clean.csv", models, folds=(0,), views=("plain",))
    files = sorted(folder.iterdir())
    gray = torch.from_numpy(np.stack([read_image(path.read_bytes(), size=32) for path in files]))
    features = fold.model.backbone((gray[:, None] - fold.model.mean) / fold.model.std).mean((2, 3))  # (n, C)
    highest = features.sort(0, descending=True).values
    column = int((highest[0] - highest[1]).argmax())
    threshold = (highest[0, column] + highest[1, column]) / 2  # one image is above it
    largest = torch.finfo(torch.float32).max
    head.classifier.weight[0] = 0.0
    head.classifier.weight[0, column] = largest
    head.classifier.bias[0] = largest * (1 - threshold)  # above it z is infinite, and its sigmoid 1
    save_checkpoint(fold.path, fold.model.state_dict(), fold.card)
    outcome = run(folder, tmp_path / "sub.csv", models, folds=(0,), views=("plain",))
    victim = files[int(features[:, column].argmax())].name
    assert [list(row.values())[:3] for row in faults(tmp_path / "sub.csv")] == [
        [victim, "compute", "NON_FINITE"]
    ]
    assert (outcome.listed, outcome.scored) == (8, 7)
    clean, first = cells(tmp_path / "clean.csv"), fold.card.findings[0]
    expected = {key: "1" if key[1] == first else cell for key, cell in clean.items() if key[0] != victim}
    assert cells(tmp_path / "sub.csv") == expected


def a_template(path: Path, findings: list[str], names: list[str]) -> Path:
    zeros = ",".join("0" * len(findings))
    rows = "".join(f"{name},{zeros}\n" for name in names)
    path.write_text(",".join(["id", *findings]) + "\n" + rows, encoding="utf-8")
    return path


def test_asked_to_fill_an_id_without_a_file_gets_a_row_and_is_named(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    run(folder, tmp_path / "plain.csv", project.layout.models)
    names = ids(tmp_path / "plain.csv")
    wanted = [names[2], f"other/{Path(names[2]).stem}", names[0]]
    template = a_template(tmp_path / "template.csv", project.params.labels.findings, wanted)
    with pytest.raises(UserError, match=r"1 id without a file: 'other/.*'.* --on-error fill writes"):
        run(folder, tmp_path / "sub.csv", project.layout.models, template=template)
    outcome = run(folder, tmp_path / "sub.csv", project.layout.models, template=template, on_error="fill")
    assert (outcome.listed, outcome.scored, outcome.quarantined) == (3, 2, 1)
    assert ids(tmp_path / "sub.csv") == wanted
    written, plain = cells(tmp_path / "sub.csv"), cells(tmp_path / "plain.csv")
    assert all(written[key] == plain[key] for key in written if key[0] != wanted[1])
    errors = (tmp_path / "sub.csv.errors.csv").read_text()
    assert wanted[1] in errors and "VANISHED" in errors
    assert any(f"1 id of the template without a file, such as {wanted[1]!r}" in n for n in outcome.notes)


def test_an_id_that_could_be_two_files_is_never_filled(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    name = sorted(path.name for path in folder.iterdir())[0]
    shutil.copy(folder / name, folder / f"{Path(name).stem}.png")
    template = a_template(tmp_path / "t.csv", project.params.labels.findings, [Path(name).stem])
    with pytest.raises(UserError, match=r"1 id without a file: .* \(could be "):
        run(folder, tmp_path / "sub.csv", project.layout.models, template=template, on_error="fill")


@pytest.mark.parametrize("change", ["no suffix", "index", "semicolons", "usage"])
def test_a_template_as_other_programs_write_it_gets_the_same_scores(
    project: Project, folder: Path, tmp_path: Path, change: str
) -> None:
    run(folder, tmp_path / "plain.csv", project.layout.models)
    names = ids(tmp_path / "plain.csv")
    template = a_template(tmp_path / "template.csv", project.params.labels.findings, names)
    lines = template.read_text().splitlines()
    changed = {
        "no suffix": [line.replace(".jpg", "") for line in lines],
        "index": [f"{i - 1 if i else ''},{line}" for i, line in enumerate(lines)],
        "semicolons": [line.replace(",", ";") for line in lines],
        "usage": [f"{line},{'Public' if i else 'Usage'}" for i, line in enumerate(lines)],
    }
    template.write_text("\n".join(changed[change]) + "\n")
    outcome = run(folder, tmp_path / "sub.csv", project.layout.models, template=template)
    plain = {
        (key[0].replace(".jpg", ""), key[1]): cell for key, cell in cells(tmp_path / "plain.csv").items()
    }
    written = cells(tmp_path / "sub.csv")
    assert {(key[0].replace(".jpg", ""), key[1]): cell for key, cell in written.items()} == plain
    assert any("template.csv: " in note for note in outcome.notes)
