"""Every labelled image is in the store, in the order of the labels, or named with what is wrong with it."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from conftest import contents
from PIL import Image

from cxrscore.core.errors import UserError
from cxrscore.core.progress import Silent
from cxrscore.images.image_store import open_store
from cxrscore.images.reading import read_image
from cxrscore.prepare import prepare
from cxrscore.project.params import LabelParams, PrepareParams

LABELS = LabelParams(
    format="table",
    id="Image_name",
    patient=None,
    patient_pattern=None,
    study=None,
    patient_ids="text",
    findings=["Edema"],
    blank="zero",
    uncertain="error",
    readers="error",
)


def a_png(seed: int, orientation: int = 1) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    return file.getvalue()


def a_project(root: Path, names: list[str], n_files: int | None = None) -> tuple[Path, Path, Path]:
    """labels.csv with these names, files for the first `n_files` of them, and where the store goes."""
    for seed, name in enumerate(names[:n_files]):
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / name).write_bytes(a_png(seed))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["Image_name", "Edema"], *([name, "1"] for name in names)])
    return root / "labels.csv", root / "images", root / "out" / "prepared"


def run(
    project: tuple[Path, Path, Path],
    *,
    max_unreadable: float = 0.5,
    workers: int = 0,
    bit_depth: int | None = None,
    train_size: int | None = None,
) -> tuple[str, ...]:
    params = PrepareParams(size=32, train_size=train_size, bit_depth=bit_depth, max_unreadable=max_unreadable)
    return prepare(*project, labels=LABELS, params=params, workers=workers, progress=Silent())


@pytest.mark.parametrize("workers", [0, 2])
def test_the_store_holds_the_labelled_images_in_the_order_of_the_labels(tmp_path: Path, workers: int) -> None:
    names = ["z.png", "p1/a.png", "p1/b,c.png", "m.png"]
    project = a_project(tmp_path, names)
    assert run(project, workers=workers) == ()
    store = open_store(project[2])
    assert store.ids == names
    expected = [read_image((tmp_path / "images" / name).read_bytes(), size=32) for name in names]
    assert (store.read(np.arange(4)) == np.stack(expected)).all()


def test_the_store_is_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    project = a_project(tmp_path, [f"{i}.png" for i in range(9)])
    (tmp_path / "images/5.png").write_bytes(b"")
    content = []
    for workers in (0, 1, 3):
        run(project, workers=workers)
        content.append({path.name: path.read_bytes() for path in project[2].iterdir()})
    assert content[0] == content[1] == content[2]
    assert set(content[0]) == {"about.json", "index.csv", "quarantine.csv", "shard-00000.npy"}


def test_unreadable_files_are_named_and_their_neighbours_keep_their_pixels(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png", "b.png", "c.png"])
    (tmp_path / "images/b.png").write_bytes(a_png(1)[:-20])
    (note,) = run(project)
    assert note.startswith("1 image cannot be read, see quarantine.csv: b.png (TRUNCATED")
    assert open_store(project[2]).ids == ["a.png", "c.png"]
    assert (open_store(project[2]).read(np.array([1]))[0] == read_image(a_png(2), size=32)).all()
    assert "b.png,TRUNCATED," in (project[2] / "quarantine.csv").read_text()


def test_doubts_about_the_labels_are_passed_on(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png"])
    project[0].write_text("Image_name,Edema\na.png,0\n")
    assert run(project)[0].startswith("1 image has none of the findings")


def test_labels_without_a_file_and_files_without_a_label_are_both_named(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png", "b.png", "c.png"], n_files=2)
    (tmp_path / "images/extra.png").write_bytes(a_png(9))
    assert run(project) == (
        "1 labelled image has no file: c.png.",
        "1 file without a label left out: extra.png.",
    )
    assert "c.png,VANISHED," in (project[2] / "quarantine.csv").read_text()


def test_of_many_names_ten_are_told_and_all_are_counted(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png"])
    for i in range(12):
        (tmp_path / f"images/extra{i:02}.png").write_bytes(a_png(i))
    (note,) = run(project)
    assert note.startswith("12 files without a label") and note.endswith("extra09.png, ....")


def test_turned_images_are_told(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png", "b.png"])
    (tmp_path / "images/b.png").write_bytes(a_png(1, orientation=6))
    assert run(project) == ("1 image rotated or flipped according to the EXIF orientation.",)


def test_missing_files_count_as_unreadable_and_too_many_write_nothing(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png", "b.png", "c.png"], n_files=1)
    (tmp_path / "images/B.png").write_bytes(a_png(1))
    message = r"images: 2 of 3 labelled images not found: 'b.png', 'c.png'; files here without a label: B.png"
    with pytest.raises(UserError, match=message):
        run(project)
    assert not (tmp_path / "out").exists()


def test_too_many_damaged_files_write_nothing(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png", "b.png", "c.png"])
    for name in ("a.png", "c.png"):
        (tmp_path / "images" / name).write_bytes(b"<html>")
    with pytest.raises(
        UserError, match=r"more than 50.00% of 3 images .*a.png \(NOT_AN_IMAGE.*max_unreadable"
    ):
        run(project)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_share_is_allowed_to_the_very_image(tmp_path: Path) -> None:
    project = a_project(tmp_path, [f"{i}.png" for i in range(100)])
    for i in range(29):
        (tmp_path / f"images/{i}.png").write_bytes(b"")
    run(project, max_unreadable=0.29)  # 0.29 x 100 is a little less than 29 in floating point
    with pytest.raises(UserError, match=r"more than 28\.00%"):
        run(project, max_unreadable=0.28)


def test_no_readable_image_at_all_is_an_error_whatever_is_allowed(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png"])
    (tmp_path / "images/a.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the images can be read: a.png \(EMPTY_FILE"):
        run(project, max_unreadable=1.0)


def test_a_failed_run_leaves_the_old_store_as_it_was(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png", "b.png"])
    run(project)
    before = {path: path.read_bytes() for path in project[2].iterdir()}
    (tmp_path / "images/a.png").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read"):
        run(project, max_unreadable=0.0)
    assert {path: path.read_bytes() for path in project[2].iterdir()} == before
    assert [path.name for path in project[2].parent.iterdir()] == ["prepared"]


def test_a_new_run_replaces_the_old_store(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png", "b.png"])
    run(project)
    a_project(tmp_path, ["b.png"])
    run(project)
    assert open_store(project[2]).ids == ["b.png"]
    assert [path.name for path in project[2].parent.iterdir()] == ["prepared"]


def test_a_folder_of_other_files_is_never_replaced(tmp_path: Path) -> None:
    labels, images, _ = a_project(tmp_path, ["a.png"])
    with pytest.raises(
        UserError, match=r"images: holds other files, such as 'a.png', which would be deleted"
    ):
        run((labels, images, images))
    with pytest.raises(UserError, match=r"labels.csv: a file; name the folder"):
        run((labels, images, labels))


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "C:\\x.png", "a/../../b.png", "a\\..\\..\\b.png"]
)
def test_an_id_that_leads_out_of_the_images_is_refused(tmp_path: Path, name: str) -> None:
    labels, images, out = a_project(tmp_path, ["a.png"])
    (tmp_path / "secret.png").write_bytes(a_png(3))
    labels.write_text(f"Image_name,Edema\na.png,0\n{name},0\n")
    with pytest.raises(UserError, match=r"labels.csv:3: .* a path under the image folder"):
        run((labels, images, out))


def test_images_that_dvc_links_to_its_cache_are_read(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png", "b.png"])
    (tmp_path / "cache").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).rename(tmp_path / "cache" / name)
        (tmp_path / "images" / name).symlink_to(tmp_path / "cache" / name)
    assert run(project) == ()
    assert len(open_store(project[2])) == 2


@pytest.mark.parametrize(("name", "message"), [("none", "no such folder"), ("empty", "it is empty")])
def test_a_folder_without_images_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    labels, _, out = a_project(tmp_path, ["a.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        run((labels, tmp_path / name, out))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_declared_depth_is_the_scale_of_twelve_bits_in_sixteen(tmp_path: Path, workers: int) -> None:
    project = a_project(tmp_path, ["deep.tif", "plain.png"])
    eight = np.asarray(Image.open(io.BytesIO(a_png(0))))
    Image.fromarray(np.rint(eight * (4095 / 255)).astype(np.uint16)).save(project[1] / "deep.tif")
    run(project, workers=workers, bit_depth=12)
    store = open_store(project[2])
    assert (store.bit_depth, store.ids) == (12, ["deep.tif", "plain.png"])
    assert (store.read([0])[0] == read_image(a_png(0), size=32)).all()
    assert "1 image cannot be read" in " ".join(run(project, workers=workers))
    assert open_store(project[2]).bit_depth is None


@pytest.mark.parametrize("place", ["prepared", ".prepared.tmp", ".prepared.old"])
@pytest.mark.parametrize("name", ["thesis/chapter1.txt", "notes.csv", "shard-00000.npy.bak", "shard-x.npy"])
def test_what_no_prepare_wrote_is_never_deleted(tmp_path: Path, place: str, name: str) -> None:
    project = a_project(tmp_path, ["a.png"])
    run(project)
    theirs = tmp_path / "out" / place / name
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text("years")
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match=rf"{place}: holds other files, such as '{name.partition('/')[0]}'"):
        run(project)
    assert contents(tmp_path / "out") == before


def test_an_index_of_something_else_makes_no_store(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png"])
    project[2].mkdir(parents=True)
    (project[2] / "index.csv").write_text("word,page\nlung,7\n")
    with pytest.raises(UserError, match=r"prepared: holds other files, such as 'index.csv'"):
        run(project)
    assert (project[2] / "index.csv").read_text() == "word,page\nlung,7\n"


def test_what_a_killed_prepare_left_is_replaced(tmp_path: Path) -> None:
    project = a_project(tmp_path, ["a.png"])
    run(project)
    for place in (".prepared.tmp", ".prepared.old"):
        (tmp_path / "out" / place).mkdir()
        for name in ("about.json", "shard-00000.npy", ".index.csv.4711.tmp"):
            (tmp_path / "out" / place / name).write_bytes(b"half")
    run(project)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["prepared"]
