"""Prepared images come back as they were written, or not at all."""

import hashlib
import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cxrscore.core.errors import UserError
from cxrscore.images.image_store import StoredImage, open_store, write_quarantine, write_store


def some_images(n: int, size: int = 8) -> list[StoredImage]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, size, size), dtype=np.uint8)
    return [StoredImage(f"p{i}/view,{i}.png", pixels[i], f"{i:064x}", 640 + i, 480) for i in range(n)]


def some_pixels_sha256(i: int) -> str:
    return hashlib.sha256(some_images(i + 1)[i].pixels.tobytes()).hexdigest()


def a_store(folder: Path, n: int = 7) -> Path:
    write_store(
        folder, iter(some_images(n)), size=8, id_column="Image_name", preprocessing="v1", shard_rows=3
    )
    return folder


def test_rows_come_back_in_any_order_as_they_were_written(tmp_path: Path) -> None:
    store = open_store(a_store(tmp_path))
    images = some_images(7)
    order = [6, 0, 3, 2, 3]
    assert (store.read(np.array(order)) == np.stack([images[i].pixels for i in order])).all()
    assert store.ids == [image.name for image in images]
    assert store.sha256 == [image.sha256 for image in images]
    assert (len(store), store.size) == (7, 8)


def rewrite(path: Path, change: Callable[[np.ndarray], None]) -> None:
    """Other pixels in the same file of the same size and time."""
    about = path.stat()
    pixels = np.load(path)
    change(pixels)
    np.save(path, pixels)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def zero_half(pixels: np.ndarray) -> None:
    pixels[len(pixels) // 2 :] = 0


def flip_a_bit(pixels: np.ndarray) -> None:
    pixels[2, 7, 7] ^= 1


def swap_rows(pixels: np.ndarray) -> None:
    pixels[[1, 2]] = pixels[[2, 1]]


def shift_a_pixel(pixels: np.ndarray) -> None:
    pixels[:] = np.roll(pixels, 1)


@pytest.mark.parametrize("change", [zero_half, flip_a_bit, swap_rows, shift_a_pixel])
def test_pixels_that_are_not_those_that_were_written_are_refused(
    tmp_path: Path, change: Callable[[np.ndarray], None]
) -> None:
    rewrite(a_store(tmp_path) / "shard-00001.npy", change)
    store = open_store(tmp_path)
    assert (store.read([0, 1, 2, 6])[3] == some_images(7)[6].pixels).all()
    with pytest.raises(UserError, match=r"00001\.npy: damaged: the pixels of 'p5/view,5\.png' are not those"):
        store.read([6, 5, 0])


def test_shards_that_changed_places_are_refused(tmp_path: Path) -> None:
    one, two = (a_store(tmp_path) / f"shard-0000{i}.npy" for i in (0, 1))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(UserError, match=r"damaged: the pixels of .*run `dvc repro --force prepare`"):
        open_store(tmp_path).read([0])


def test_a_row_is_compared_once(tmp_path: Path) -> None:
    """At its first touch: later epochs pay nothing."""
    store = open_store(a_store(tmp_path))
    store.read([1, 2])
    assert store.checked.tolist() == [False, True, True, False, False, False, False]
    rewrite(tmp_path / "shard-00000.npy", zero_half)
    with pytest.raises(UserError, match="damaged"):
        open_store(tmp_path).read([2])


def test_the_declared_depth_is_kept_with_the_pixels(tmp_path: Path) -> None:
    assert open_store(a_store(tmp_path / "a")).bit_depth is None
    write_store(tmp_path / "b", some_images(2), size=8, id_column="id", preprocessing="v1", bit_depth=12)
    assert open_store(tmp_path / "b").bit_depth == 12


@pytest.mark.parametrize(
    "about", ["", "[]", '{"preprocessing": "v1"}', '{"preprocessing": 1, "bit_depth": null}']
)
def test_a_store_that_does_not_say_how_it_was_made_is_refused(tmp_path: Path, about: str) -> None:
    (a_store(tmp_path) / "about.json").write_text(about, encoding="utf-8")
    with pytest.raises(UserError, match=r"about\.json: missing or damaged; run `dvc repro prepare`"):
        open_store(tmp_path)


def test_a_batch_of_no_rows_is_empty(tmp_path: Path) -> None:
    assert open_store(a_store(tmp_path)).read(np.array([], dtype=np.int64)).shape == (0, 8, 8)


def test_rows_here_and_there_cost_no_reading_of_what_lies_between(tmp_path: Path) -> None:
    images = (StoredImage(f"{i}.png", np.full((64, 64), i % 256, np.uint8), "", 64, 64) for i in range(4000))
    write_store(tmp_path, images, size=64, id_column="id", preprocessing="v1")
    store = open_store(tmp_path)
    with (tmp_path / "shard-00000.npy").open("rb") as file:  # 16 MB, out of memory and from disk again
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_inblock
    rows = [10, 1300, 2600, 3900]
    assert (store.read(rows)[:, 0, 0] == np.array(rows) % 256).all()
    read = 512 * (resource.getrusage(resource.RUSAGE_SELF).ru_inblock - before)
    assert read < 2**18, read  # 48 kB are needed; a disk that reads ahead as usual, by 128 kB, gives 512


def test_shards_are_plain_npy_files_of_a_fixed_number_of_rows(tmp_path: Path) -> None:
    a_store(tmp_path)
    shapes = [np.load(path).shape for path in sorted(tmp_path.glob("*.npy"))]
    assert shapes == [(3, 8, 8), (3, 8, 8), (1, 8, 8)]


def test_a_full_last_shard_leaves_no_empty_one_behind(tmp_path: Path) -> None:
    a_store(tmp_path, 6)
    assert len(list(tmp_path.glob("*.npy"))) == 2
    assert len(open_store(tmp_path)) == 6


def test_a_shard_is_as_large_on_disk_as_its_rows_say(tmp_path: Path) -> None:
    write_store(tmp_path, some_images(5), size=8, id_column="id", preprocessing="v1")
    np.save(tmp_path / "plain.npy", np.stack([image.pixels for image in some_images(5)]))
    assert (tmp_path / "shard-00000.npy").read_bytes() == (tmp_path / "plain.npy").read_bytes()


def test_images_are_drawn_one_at_a_time(tmp_path: Path) -> None:
    sizes = []

    def images():
        for image in some_images(6):
            yield image
            sizes.append(sum(path.stat().st_size for path in tmp_path.glob("*.npy")))

    write_store(tmp_path, images(), size=8, id_column="id", preprocessing="v1", shard_rows=3)
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]  # the disk fills while images are still to come


def test_the_index_is_readable_by_people_and_names_the_id_column(tmp_path: Path) -> None:
    lines = (a_store(tmp_path) / "index.csv").read_text().splitlines()
    assert lines[0] == "Image_name,sha256,width,height,shard,row,pixels_sha256"
    assert lines[5] == f'"p4/view,4.png",{4:064x},644,480,1,1,{some_pixels_sha256(4)}'


def test_the_quarantine_says_which_and_why(tmp_path: Path) -> None:
    write_quarantine(tmp_path, [("a.png", "TRUNCATED", "ends early")], id_column="Image_name")
    assert (
        tmp_path / "quarantine.csv"
    ).read_text() == "Image_name,kind,message\na.png,TRUNCATED,ends early\n"


def test_the_same_content_has_the_same_name_and_other_content_another(tmp_path: Path) -> None:
    first, again, other = (
        open_store(a_store(tmp_path / name, n)).sha256_index for name, n in (("a", 7), ("b", 7), ("c", 6))
    )
    assert first == again != other


def test_a_folder_without_an_index_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no prepared images here.*run `dvc repro prepare`"):
        open_store(tmp_path)


def test_a_store_that_was_interrupted_has_no_index(tmp_path: Path) -> None:
    def images():
        yield from some_images(4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path, images(), size=8, id_column="id", preprocessing="v1")
    with pytest.raises(UserError, match="no prepared images here"):
        open_store(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    (a_store(tmp_path) / "shard-00001.npy").unlink()
    with pytest.raises(UserError, match=r"shard-00001.npy: missing, and the index lists 3 images.*dvc repro"):
        open_store(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 40, 200])
def test_a_cut_shard_is_named(tmp_path: Path, keep: int) -> None:
    path = a_store(tmp_path) / "shard-00001.npy"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"shard-00001.npy: damaged .*dvc repro prepare"):
        open_store(tmp_path)


@pytest.mark.parametrize(
    "other", [np.zeros((2, 8, 8), np.uint8), np.zeros((3, 8, 8), np.float32), np.zeros((3, 64), np.uint8)]
)
def test_a_shard_of_another_shape_is_refused(tmp_path: Path, other: np.ndarray) -> None:
    np.save(a_store(tmp_path) / "shard-00001.npy", other)
    with pytest.raises(UserError, match=r"shard-00001.npy: .* index lists 3 images; run `dvc repro prepare`"):
        open_store(tmp_path)


def test_shards_of_two_sizes_are_refused(tmp_path: Path) -> None:
    np.save(a_store(tmp_path) / "shard-00001.npy", np.zeros((3, 9, 9), np.uint8))
    with pytest.raises(UserError, match=r"different image sizes; run `dvc repro prepare`"):
        open_store(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",1,0,", ",1,2,", r"index.csv:5: shards and rows do not count up"),
        (",0,0,", ",0,1,", r"index.csv:2: shards and rows do not count up"),
        (",2,0,", ",4,0,", r"index.csv:8: shards and rows do not count up"),
        (",1,0,", ",1,x,", r"index.csv: shard and row are whole numbers"),
        ("sha256", "sha512", r"index.csv:1: columns Image_name, sha512, .* are not those of an index"),
        ('\n"p1/', 'g\n"p1/', r"index.csv: pixels_sha256 is 64 hexadecimal digits"),
        (some_pixels_sha256(1), "z" * 64, r"index.csv: pixels_sha256 is 64 hexadecimal digits"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    index = a_store(tmp_path) / "index.csv"
    index.write_text(index.read_text().replace(old, new))
    with pytest.raises(UserError, match=message + r".*run `dvc repro prepare`"):
        open_store(tmp_path)
