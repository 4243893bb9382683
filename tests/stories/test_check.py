"""`check` names exactly the files that `score` would quarantine, and needs no model for it."""

import csv
import os
import shutil
from pathlib import Path

import pytest
import torch
from conftest import Project

from cxrscore.check import Findings, check, refuse_to_replace, write_findings
from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.progress import Silent
from cxrscore.score import score
from cxrscore.scoring.options import Options


def look(folder: Path, *, workers: int = 0) -> Findings:
    return check(
        str(folder),
        size=32,
        workers=workers,
        timeout_s=10.0,
        exclude=[],
        progress=Silent(),
    )


@pytest.fixture
def folder(project: Project, tmp_path: Path) -> Path:
    """Eight radiographs, four bad files of different stages, a skipped one."""
    folder = Path(shutil.copytree(project.data / "test", tmp_path / "images"))
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "page.png").write_text("<html>404</html>")
    (folder / "cut.jpg").write_bytes(next(folder.glob("0*.jpg")).read_bytes()[:-300])
    (folder / "dangling.jpg").symlink_to("nowhere")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_a_check_names_what_a_run_quarantines(
    project: Project, folder: Path, tmp_path: Path, workers: int
) -> None:
    found = look(folder, workers=workers)
    write_findings(tmp_path / "checked.csv", found)
    score(
        str(folder),
        tmp_path / "sub.csv",
        Options(workers=0),
        models=project.layout.models,
        machine=Machine(torch.device("cpu"), torch.float32),
        progress=Silent(),
    )
    assert (found.listed, found.readable, len(found.faults)) == (12, 8, 4)

    def rows(path: Path) -> set[tuple[str, ...]]:
        with path.open(encoding="utf-8", newline="") as file:
            return {tuple(row) for row in csv.reader(file)}

    assert rows(tmp_path / "checked.csv") == rows(tmp_path / "sub.csv.errors.csv")
    assert list(found.notes) == ["1 skipped: tables or text files"]


def test_a_check_tells_how_large_the_readable_images_are(folder: Path) -> None:
    facts = look(folder).as_json()
    assert facts["kinds"] == {"EMPTY_FILE": 1, "NOT_AN_IMAGE": 1, "TRUNCATED": 1, "VANISHED": 1}
    assert 32 <= int(str(facts["shortest_side"])) <= int(str(facts["longest_side"])) <= 96


def test_an_existing_file_is_replaced_only_when_asked(folder: Path) -> None:
    radiograph = next(folder.glob("0*.jpg"))
    with pytest.raises(UserError, match="exists; --overwrite replaces it"):
        refuse_to_replace(radiograph, overwrite=False)
    with pytest.raises(UserError, match="not a regular file"):
        refuse_to_replace(folder / "dangling.jpg", overwrite=True)
    with pytest.raises(UserError, match="nowhere: cannot be written to"):
        refuse_to_replace(folder / "nowhere" / "faults.csv", overwrite=True)


def test_there_has_to_be_something_to_check(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images here"):
        look(tmp_path)


def test_a_check_refuses_names_that_its_table_could_not_tell_apart(folder: Path) -> None:
    for name in (b"\xff.jpg", b"%FF.jpg"):
        (folder / os.fsdecode(name)).write_bytes(b"")
    with pytest.raises(UserError, match=r"are both written as '%FF\.jpg', .*; rename one of the two"):
        look(folder)
