"""What was listed is what is read: a file or an archive that was replaced or written to since is CHANGED."""

import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Project
from PIL import Image

from cxrscore.core.device import Machine
from cxrscore.core.errors import BrokenPromise, UserError
from cxrscore.core.progress import Silent
from cxrscore.images.decoding.pool import decode_batches
from cxrscore.images.inputs.byte_source import Files, Place, identity_of, position
from cxrscore.images.inputs.listing import list_input
from cxrscore.prepare import prepare
from cxrscore.score import score
from cxrscore.scoring.options import Options

NAMES = [f"{i}.tif" for i in range(6)]


def a_film(seed: int) -> bytes:
    """TIFFs of one size, whatever they show: offsets in an archive of them fit every order of members."""
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 48), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF")
    return file.getvalue()


def make_tar(path: Path, names: Sequence[str]) -> None:
    with tarfile.open(path, "w") as tar:
        for name in names:
            data = a_film(NAMES.index(name))
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def make_zip(path: Path, names: Sequence[str]) -> None:
    with zipfile.ZipFile(path, "w") as packed:
        for name in names:
            packed.writestr(zipfile.ZipInfo(name), a_film(NAMES.index(name)))


def make_folder(path: Path, names: Sequence[str]) -> None:
    """`names[i]` holds the picture of that number; the files are called after NAMES."""
    path.mkdir(exist_ok=True)
    for name, shows in zip(NAMES, names, strict=True):
        (path / name).write_bytes(a_film(NAMES.index(shows)))


def make_table(path: Path, names: Sequence[str]) -> None:
    make_folder(path.parent, names)
    path.write_text("path\n" + "".join(f"{name}\n" for name in NAMES), encoding="utf-8")


MAKERS = {"a.tar": make_tar, "a.zip": make_zip, "folder": make_folder, "given/table.csv": make_table}


def make(source: Path, names: Sequence[str]) -> None:
    source.parent.mkdir(exist_ok=True)
    MAKERS[str(source.relative_to(source.parents[source.parent.name == "given"]))](source, names)


def holders(source: Path) -> list[Path]:
    """The files that hold the pixels."""
    folder = source if source.is_dir() else source.parent
    return [source] if source.suffix in (".tar", ".zip") else sorted(folder.glob("*.tif"))


def replace_by_move(source: Path) -> None:
    """As `mv` does: new files under the old names, with the old sizes and times."""
    other = source.parent / "other"
    other.mkdir()
    make(other / source.name if source.suffix != ".csv" else other / "given" / source.name, NAMES[::-1])
    new = [path for path in sorted(other.rglob("*")) if path.is_file() and path.suffix != ".csv"]
    for old, path in zip(holders(source), new, strict=True):
        about = old.stat()
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        path.replace(old)


def write_again(source: Path) -> None:
    """As `cp` onto them does: the same inodes and sizes, a second later."""
    times = {path: path.stat() for path in holders(source)}
    make(source, NAMES[::-1])
    for path, about in times.items():
        assert path.stat().st_ino == about.st_ino
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + 10**9))


def lengthen(source: Path) -> None:
    """More bytes at the same time of change."""
    for path in holders(source):
        about = path.stat()
        with path.open("ab") as file:
            file.write(b"\0" * 512)
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def link_elsewhere(source: Path) -> None:
    """The name becomes a link to another file of the same size and time."""
    for i, path in enumerate(holders(source)):
        about = path.stat()
        other = path.parent / f".other{i}"
        other.write_bytes(path.read_bytes()[::-1])
        os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
        path.unlink()
        path.symlink_to(other.name)


@pytest.mark.parametrize("change", [replace_by_move, write_again, lengthen, link_elsewhere])
@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("workers", [0, 1])
def test_what_changed_since_it_was_listed_is_not_read(
    tmp_path: Path, kind: str, change: Callable[[Path], None], workers: int
) -> None:
    source = tmp_path / kind
    make(source, NAMES)
    listing = list_input(str(source))
    change(source)
    (batch,) = decode_batches(listing, listing.paths, size=32, batch_size=8, workers=workers)
    assert [one.fault and one.fault.kind for one in batch.items] == ["CHANGED"] * len(NAMES)
    assert not batch.pixels.any()


@pytest.mark.parametrize("kind", MAKERS)
def test_what_did_not_change_is_read(tmp_path: Path, kind: str) -> None:
    source = tmp_path / kind
    make(source, NAMES)
    listing = list_input(str(source))
    for path in holders(source):  # what a backup does: it reads, and counts its links
        path.read_bytes()
        (path.parent / f".{path.name}.link").hardlink_to(path)
    (batch,) = decode_batches(listing, listing.paths, size=32, batch_size=8, workers=0)
    assert [one.fault for one in batch.items] == [None] * len(NAMES)


class SwapsAtTheStart(Silent):
    """Replaces the input when the scoring begins, which is after it was listed."""

    def __init__(self, source: Path) -> None:
        self.source = source

    def start(self, what: str, total: int, **how: Any) -> None:
        if what in ("score", "prepare"):
            replace_by_move(self.source)


@pytest.mark.parametrize("kind", MAKERS)
def test_an_input_that_is_replaced_during_a_run_gives_no_row(
    project: Project, tmp_path: Path, kind: str
) -> None:
    source, out_csv = tmp_path / kind, tmp_path / "sub.csv"
    make(source, NAMES)
    with pytest.raises(UserError, match=r"6 files could not be scored.*CHANGED: the \w+ was replaced"):
        score(
            str(source),
            out_csv,
            Options(workers=0),
            models=project.layout.models,
            machine=Machine(torch.device("cpu"), torch.float32),
            progress=SwapsAtTheStart(source),
        )
    assert not out_csv.exists()


def test_labelled_images_that_are_replaced_are_not_stored(project: Project, tmp_path: Path) -> None:
    make(tmp_path / "folder", NAMES)
    (tmp_path / "labels.csv").write_text(
        "Image_name,Patient_ID,Study,Edema\n" + "".join(f"{name},p,1,1\n" for name in NAMES)
    )
    with pytest.raises(UserError, match=r"cannot be read, after 1: 0\.tif \(CHANGED"):
        prepare(
            tmp_path / "labels.csv",
            tmp_path / "folder",
            tmp_path / "out",
            labels=project.params.labels.model_copy(update={"findings": ["Edema"]}),
            params=project.params.prepare,
            workers=0,
            progress=SwapsAtTheStart(tmp_path / "folder"),
        )


def test_an_archive_that_grows_while_it_is_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tar"
    make_tar(path, NAMES)
    usual = tarfile.TarFile.next

    def next_member(self: tarfile.TarFile) -> tarfile.TarInfo | None:
        os.utime(path, ns=(1, 1))
        return usual(self)

    monkeypatch.setattr(tarfile.TarFile, "next", next_member)
    with pytest.raises(UserError, match=r"a\.tar: it was written to while it was listed; start again"):
        list_input(str(path))


def test_a_file_that_could_not_be_looked_at_is_known_by_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"x")
    place = Files(str(tmp_path)).place("x.png")
    assert place == Place(str(tmp_path / "x.png"))


def test_numbers_of_64_bits_fit_an_array(tmp_path: Path) -> None:
    """Some file systems use all 64 for an inode, and dates after 2262 do not fit in nanoseconds."""
    make(tmp_path / "folder", NAMES)
    os.utime(tmp_path / "folder" / NAMES[0], (10**10, 10**10))
    listing = list_input(str(tmp_path / "folder"))
    (batch,) = decode_batches(listing, listing.paths, size=32, batch_size=8, workers=0)
    assert [one.fault for one in batch.items] == [None] * len(NAMES)
    about = (tmp_path / "folder" / NAMES[1]).stat()
    odd = mock_stat(about, st_dev=2**63, st_ino=2**64 - 2)
    assert identity_of(odd)[:2] == (-(2**63), -2)


class mock_stat:
    def __init__(self, about: os.stat_result, **changes: int) -> None:
        self.about, self.changes = about, changes

    def __getattr__(self, name: str) -> int:
        return self.changes.get(name, getattr(self.about, name))


@pytest.mark.parametrize("kind", ["a.tar", "a.zip"])
def test_an_archive_in_the_same_inode_with_the_old_time_is_another(tmp_path: Path, kind: str) -> None:
    """As `rm a.tar; cp -p other.tar a.tar` may leave it, or `rsync --inplace -t`."""
    source = tmp_path / kind
    make(source, NAMES)
    listing, about = list_input(str(source)), source.stat()
    make(source, NAMES[::-1])
    os.utime(source, ns=(about.st_atime_ns, about.st_mtime_ns))
    now = source.stat()
    assert (now.st_ino, now.st_size, now.st_mtime_ns) == (about.st_ino, about.st_size, about.st_mtime_ns)
    (batch,) = decode_batches(listing, listing.paths, size=32, batch_size=8, workers=0)
    assert [one.fault and one.fault.kind for one in batch.items] == ["CHANGED"] * len(NAMES)


def test_names_are_found_by_their_bytes() -> None:
    names = sorted(["b", "a", "Z", "\udcff", "é", "ﬀ"], key=os.fsencode)
    assert [position(names, name) for name in names] == [0, 1, 2, 3, 4, 5]
    assert position(names, "c") is None
    assert position([], "c") is None


def test_a_place_that_nobody_listed_is_a_broken_promise(tmp_path: Path) -> None:
    make_tar(tmp_path / "a.tar", NAMES)
    with pytest.raises(BrokenPromise, match="which the archive does not list"):
        list_input(str(tmp_path / "a.tar")).place("strange.tif")
