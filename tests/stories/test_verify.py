"""Whatever of a table, its sidecars, its models or its images changes after a run is named."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Project, unseal

from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.files import sha256_file
from cxrscore.core.progress import Silent
from cxrscore.score import score
from cxrscore.scoring.options import Options
from cxrscore.verify import verify


@pytest.fixture
def scored(project: Project, tmp_path: Path) -> Path:
    """A folder with images/, models/ and sub.csv with its sidecars; one image is bad."""
    shutil.copytree(project.data / "test", tmp_path / "images")
    shutil.copytree(project.layout.models, tmp_path / "models")
    (tmp_path / "images" / "bad.jpg").write_bytes(b"<html>")
    score(
        str(tmp_path / "images"),
        tmp_path / "sub.csv",
        Options(workers=0, std=True),
        models=tmp_path / "models",
        machine=Machine(torch.device("cpu"), torch.float32),
        progress=Silent(),
    )
    return tmp_path


def faults(folder: Path) -> list[str]:
    verdicts = verify(
        folder / "sub.csv",
        models=folder / "models",
        source=str(folder / "images"),
        progress=Silent(),
    )
    return [fault for verdict in verdicts for fault in verdict.faults]


def test_nothing_is_said_of_a_table_that_is_as_it_was_written(scored: Path) -> None:
    assert faults(scored) == []


def flip_a_digit(folder: Path) -> None:
    text = (folder / "sub.csv").read_text()
    (folder / "sub.csv").write_text(text[:-3] + ("1" if text[-3] != "1" else "2") + text[-2:])


def drop_a_row(folder: Path) -> None:
    lines = (folder / "sub.csv").read_text().splitlines(keepends=True)
    (folder / "sub.csv").write_text("".join(lines[:-1]))


def swap_two_images(folder: Path) -> None:
    first, second, *_ = sorted((folder / "images").glob("0*.jpg"))
    first_bytes = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(first_bytes)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a digit": (flip_a_digit, "sub.csv has changed"),
    "a row": (drop_a_row, "sub.csv has 7 rows, not 8"),
    "no spread": (lambda folder: (folder / "sub.csv.std.csv").unlink(), "sub.csv.std.csv is missing"),
    "no list of faults": (lambda f: (f / "sub.csv.errors.csv").unlink(), "sub.csv.errors.csv is missing"),
    "another model": (
        lambda folder: (folder / "models" / "fold1.safetensors").write_bytes(b"other"),
        "the checkpoint of fold 1 is missing",
    ),
    "two images changed places": (swap_two_images, "2 files changed: SHA-256 does not match: 000"),
    "an image gone": (lambda f: (f / "images" / "bad.jpg").unlink(), "1 file missing: bad.jpg"),
    "a bad image mended": (
        lambda folder: (folder / "images" / "bad.jpg").write_bytes(b"mended"),
        "1 file changed: SHA-256 does not match: bad.jpg",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_named(scored: Path, change: str) -> None:
    do, message = CHANGES[change]
    do(scored)
    assert any(fault.startswith(message) for fault in faults(scored)), faults(scored)


@pytest.mark.parametrize("damage", ["unsealed", "changed"])
def test_a_model_that_no_longer_loads_is_named_though_its_bytes_are_those_of_the_run(
    scored: Path, damage: str
) -> None:
    """The table is of a version that looked at the weights alone."""
    path, provenance = scored / "models" / "fold1.safetensors", scored / "sub.csv.provenance.json"
    before = sha256_file(path)
    if damage == "unsealed":
        unseal(path)
    else:
        data = path.read_bytes()
        path.write_bytes(data.replace(b"Atelectasis", b"Atelectasix", 1))
    provenance.write_text(provenance.read_text().replace(before, sha256_file(path)))
    (fault,) = faults(scored)
    assert fault.startswith(f"{path}: ")
    assert ("cxrscore reseal" if damage == "unsealed" else "its facts do not match") in fault


def test_a_table_renamed_with_its_sidecars_is_the_same_table_and_another_one_is_not(scored: Path) -> None:
    for path in sorted(scored.glob("sub.csv*")):
        path.rename(scored / path.name.replace("sub", "final"))
    table = scored / "final.csv"
    assert not any(one.faults for one in verify(table, models=None, source=None, progress=Silent()))
    shutil.copy(table, scored / "sub.csv")
    flip_a_digit(scored)
    table.write_bytes((scored / "sub.csv").read_bytes())
    faults = [f for one in verify(table, models=None, source=None, progress=Silent()) for f in one.faults]
    assert faults == ["final.csv has changed: its SHA-256 does not match"]


@pytest.mark.parametrize("tail", [b"\xff\xfe\n", b"x" * 1_100_000, b'"'])
def test_a_damaged_table_is_a_verdict_and_no_crash(scored: Path, tail: bytes) -> None:
    with (scored / "sub.csv").open("ab") as file:
        file.write(tail)
    assert "sub.csv cannot be read, not 8" in faults(scored)


def test_a_manifest_is_an_input_too(scored: Path) -> None:
    manifest = scored / "sub.csv.manifest.csv"
    verdicts = verify(
        scored / "sub.csv",
        models=None,
        source=str(manifest),
        listed={"root": scored / "images"},
        progress=Silent(),
    )
    assert not any(verdict.faults for verdict in verdicts)


def test_a_name_of_odd_bytes_is_verified_and_its_double_is_not_taken_for_it(
    project: Project, tmp_path: Path
) -> None:
    images = Path(shutil.copytree(project.data / "test", tmp_path / "images"))
    one, other, *_ = sorted(images.iterdir())
    one.rename(images / os.fsdecode(b"\xff.jpg"))
    score(
        str(images),
        tmp_path / "sub.csv",
        Options(workers=0),
        models=project.layout.models,
        machine=Machine(torch.device("cpu"), torch.float32),
        progress=Silent(),
    )
    shutil.copytree(project.layout.models, tmp_path / "models")
    assert faults(tmp_path) == []
    shutil.copy(other, images / "%FF.jpg")  # came since
    with pytest.raises(
        UserError, match=r"b'%FF.jpg' and b'\\xff.jpg' are both written as '%FF.jpg', .* rename"
    ):
        faults(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"\xff", b'{"schema": 99, "run": 0}'])
def test_without_a_readable_provenance_there_is_nothing_to_compare_with(
    tmp_path: Path, content: bytes | None
) -> None:
    (tmp_path / "sub.csv").write_text("id,Edema\n")
    if content is not None:
        (tmp_path / "sub.csv.provenance.json").write_bytes(content)
    with pytest.raises(UserError, match=r"sub.csv.provenance.json: (no such file|not a readable|of another)"):
        list(verify(tmp_path / "sub.csv", models=None, source=None, progress=Silent()))


def test_an_id_that_had_no_file_has_none_still(scored: Path, project: Project) -> None:
    findings = project.params.labels.findings
    names = ["x.jpg", min(path.name for path in (scored / "images").glob("0*"))]
    rows = [",".join(["id", *findings]), *(name + ",0" * len(findings) for name in names)]
    (scored / "template.csv").write_text("\n".join(rows) + "\n")
    score(
        str(scored / "images"),
        scored / "sub.csv",
        Options(workers=0, template=scored / "template.csv", on_error="fill", overwrite=True),
        models=scored / "models",
        machine=Machine(torch.device("cpu"), torch.float32),
        progress=Silent(),
    )
    assert faults(scored) == []
