"""Archives are read in place: the files of the folder, and a fault for each that cannot be trusted."""

import io
import os
import struct
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest

from cxrscore.core.errors import Unreadable, UserError
from cxrscore.images.decoding.decode import read_place
from cxrscore.images.inputs.archive import list_archive
from cxrscore.images.inputs.folder import list_images
from cxrscore.images.inputs.listing import list_input

PNG = b"\x89PNG\r\n\x1a\n and so on" * 40


def make_tar(path: Path, *names: str, data: bytes = PNG, style: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=style, encoding="utf-8", errors="surrogateescape") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def make_zip(path: Path, *names: str, data: bytes = PNG, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in names:
            archive.writestr(name, data)
    return path


def zip_by_hand(
    path: Path,
    *,
    central: bytes = b"x.png",
    local: bytes = b"x.png",
    flags: int = 0,
    method: int = 0,
    size: int = len(PNG),
    offset: int = 0,
    local_extra: bytes = b"",
) -> Path:
    """One stored member whose two headers can differ, and whose central one can say anything."""
    numbers = (20, flags, method, 0, 0, zlib.crc32(PNG), len(PNG), size)
    head = struct.pack("<4s5H3I2H", b"PK\3\4", *numbers, len(local), len(local_extra))
    body = head + local + local_extra + PNG
    entry = struct.pack("<4sH5H3I5H2I", b"PK\1\2", 20, *numbers, len(central), 0, 0, 0, 0, 0, offset)
    directory = entry + central
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(directory), len(body), 0)
    path.write_bytes(body + directory + end)
    return path


def only_fault(path: Path) -> tuple[str, str, str]:
    listing = list_archive(path)
    assert listing.paths == []
    (fault,) = listing.file_faults
    return fault


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_gives_the_paths_and_bytes_of_the_folder_it_was_made_from(
    tmp_path: Path, kind: str
) -> None:
    names = [
        "b.png",
        "a/z.jpg",
        "a/b/c.tif",
        "Z.PNG",
        "é.png",
        "a.png",
        "no_suffix",
        ".hidden.png",
        "notes.md",
    ]
    names += ["p.part", "Thumbs.db", "__MACOSX/x.png", "labels.csv", 'a\nb"q",.png', "n" * 150 + ".png"]
    for name in names:
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"text" * 99 if name == "notes.md" else PNG + os.fsencode(name))
    archive = tmp_path / "no telling suffix"
    if kind == "tar":
        with tarfile.open(archive, "w") as tar:
            tar.add(tmp_path / "images", arcname=".")  # as `tar -C images -cf archive .` names them
    else:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for name in names:
                packed.write(tmp_path / "images" / name, name)
    inside, beside = list_input(str(archive)), list_images(tmp_path / "images")
    assert (inside.paths, inside.sizes, inside.skipped) == (beside.paths, beside.sizes, beside.skipped)
    assert inside.faults == []
    assert inside.source == str(archive)
    for path in inside.paths:
        assert read_place(inside.place(path)) == read_place(beside.place(path))


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["x.png", "deep/" * 20 + "x.png", "p/" * 40 + "n" * 90])
def test_every_kind_of_tar_is_read_in_place(tmp_path: Path, style: int, name: str) -> None:
    listing = list_archive(make_tar(tmp_path / "t", "first.png", name, "zz.png", style=style))
    assert listing.paths == sorted(["first.png", name, "zz.png"])
    assert read_place(listing.place(name)) == PNG


def test_a_tar_without_a_magic_number_is_known_by_its_checksum(tmp_path: Path) -> None:
    data = bytearray(make_tar(tmp_path / "t", "x.png", style=tarfile.USTAR_FORMAT).read_bytes())
    data[257:265] = bytes(8)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (tmp_path / "t").write_bytes(data)
    assert list_input(str(tmp_path / "t")).paths == ["x.png"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_that_was_written_as_a_stream_or_as_zip64_is_read_in_place(tmp_path: Path, method: int) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    pipe = Pipe()
    with (
        zipfile.ZipFile(pipe, "w", method) as archive,
        archive.open("x.png", "w", force_zip64=True) as file,
    ):
        file.write(PNG)  # its sizes are written behind it
    (tmp_path / "z").write_bytes(pipe.getvalue())
    listing = list_archive(tmp_path / "z")
    assert listing.paths == ["x.png"]
    assert read_place(listing.place("x.png")) == PNG


def test_data_begins_where_the_local_header_ends_not_where_the_directory_says(tmp_path: Path) -> None:
    listing = list_archive(zip_by_hand(tmp_path / "z", local_extra=b"\x55\x54\x05\0\3abcd"))
    assert read_place(listing.place("x.png")) == PNG


def test_of_two_zips_that_were_joined_none_is_lost_in_silence(tmp_path: Path) -> None:
    one, two = (make_zip(tmp_path / name, f"{name}.png").read_bytes() for name in ("x", "y"))
    for data in (one + two, b"PK\3\4 a first half that was overwritten" + two):
        (tmp_path / "z").write_bytes(data)
        with pytest.raises(UserError, match="data before its first file: two archives in one"):
            list_archive(tmp_path / "z")
    for more in (b"PK\3\4 and more", b"\0" * 512):
        (tmp_path / "z").write_bytes(one + more)
        with pytest.raises(UserError, match=r"z: a damaged archive \(.*fetch it again"):
            list_archive(tmp_path / "z")
    make_zip(tmp_path / "z", "x.png")
    with zipfile.ZipFile(tmp_path / "z", "a") as archive:
        archive.comment = b"a comment" * 50
    assert list_archive(tmp_path / "z").paths == ["x.png"]


def test_a_changed_byte_in_a_zip_is_found_by_its_sum(tmp_path: Path) -> None:
    path = zip_by_hand(tmp_path / "z")
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(Unreadable, match="CRC-32"):
        read_place(list_archive(path).place("x.png"))


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"flags": 1}, "UNSUPPORTED_FORMAT", "encrypted"),
        ({"method": 9}, "UNSUPPORTED_FORMAT", "packed by Deflate64; pack it with deflate"),
        ({"method": 77}, "UNSUPPORTED_FORMAT", "packed by method 77"),
        ({"local": b"y.png"}, "CORRUPT_DATA", "name two files"),
        ({"local": b"longer.png"}, "CORRUPT_DATA", "name two files"),
        ({"offset": 7}, "CORRUPT_DATA", "points to where no file begins"),
        ({"offset": 4_000_000_000}, "TRUNCATED", "beyond the archive's end"),
        ({"size": len(PNG) + 1}, "CORRUPT_DATA", "which the archive cannot hold"),
    ],
)
def test_a_zip_member_that_cannot_be_trusted_is_a_fault(
    tmp_path: Path, changes: dict[str, int], kind: str, message: str
) -> None:
    name, found, text = only_fault(zip_by_hand(tmp_path / "z", **changes))  # type: ignore[arg-type]
    assert (name, found) == ("x.png", kind)
    assert message in text


@pytest.mark.parametrize(
    "name", ["../x.png", "/x.png", "a/../x.png", "a//x.png", "a/./x.png", "a\\x.png", "C:/x.png"]
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_name_that_is_no_plain_relative_path_is_a_fault_and_no_path(
    tmp_path: Path, kind: str, name: str
) -> None:
    archive = (make_tar if kind == "tar" else make_zip)(tmp_path / "archive", name)
    assert only_fault(archive)[:2] == (name, "CORRUPT_DATA")
    assert list(tmp_path.iterdir()) == [archive]


def test_a_zip_name_with_a_nul_is_a_fault_that_a_table_can_hold(tmp_path: Path) -> None:
    assert only_fault(zip_by_hand(tmp_path / "z", central=b"x\0.png", local=b"x\0.png"))[0] == "x%00.png"


@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile's, while the test makes one
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_name_that_comes_twice_is_a_fault_never_silently_the_last(tmp_path: Path, kind: str) -> None:
    names = ("x.png", "y.png", "x.png") if kind == "zip" else ("x.png", "y.png", "./x.png", "x.png")
    archive = (make_tar if kind == "tar" else make_zip)(tmp_path / "archive", *names)
    listing = list_input(str(archive))
    assert listing.paths == ["x.png", "y.png"]
    assert [fault[:2] for fault in listing.file_faults] == [("x.png", "CORRUPT_DATA")]
    assert read_place(listing.place("y.png")) == PNG
    with pytest.raises(Unreadable):
        read_place(listing.place("x.png"))


@pytest.mark.parametrize(
    ("raw", "flags"),
    [
        ("é.png".encode(), 0x800),
        ("é.png".encode(), 0),
        (b"\x82.png", 0),
        (b"\xff\xfe.png", 0),
        ("😀.png".encode(), 0),
    ],
)
def test_the_bytes_of_a_zip_name_come_through(tmp_path: Path, raw: bytes, flags: int) -> None:
    (path,) = list_archive(zip_by_hand(tmp_path / "z", central=raw, local=raw, flags=flags)).paths
    assert os.fsencode(path) == raw


def test_the_bytes_of_a_tar_name_come_through(tmp_path: Path) -> None:
    raw = b"\xff\xfe\x82.png"
    for style in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT):
        (path,) = list_archive(make_tar(tmp_path / "t", os.fsdecode(raw), style=style)).paths
        assert os.fsencode(path) == raw


def test_links_and_devices_in_archives_are_counted(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t", "w") as tar:
        for name, kind in [
            ("a", tarfile.SYMTYPE),
            ("b", tarfile.LNKTYPE),
            ("c", tarfile.CHRTYPE),
            ("d", tarfile.DIRTYPE),
        ]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "../../etc/passwd"
            tar.addfile(member)
        tar.addfile(tarfile.TarInfo("x.png"))
    listing = list_archive(tmp_path / "t")
    assert listing.skipped == {"links in the archive": 1, "neither files nor folders": 1}
    assert listing.file_faults == [("b", "VANISHED", "a link to no file of the archive; pack it again")]
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        link = zipfile.ZipInfo("a")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("folder/", "")
        archive.writestr("x.png", PNG)
    listing = list_archive(tmp_path / "z")
    assert (listing.paths, listing.skipped) == (["x.png"], {"links in the archive": 1})


def test_a_second_name_of_an_inode_has_its_row(tmp_path: Path) -> None:
    """GNU tar and tarfile write it as a hard link to the first."""
    for name in ("a.png", "sub/b.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(PNG + name.encode())
    (tmp_path / "images" / "linked.png").hardlink_to(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "sub" / "up.png").symlink_to("../a.png")
    (tmp_path / "images" / "sub" / "again.png").symlink_to("up.png")
    (tmp_path / "images" / "folder").symlink_to("sub")
    (tmp_path / "images" / "out.png").symlink_to("../elsewhere.png")
    for style in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "t", "w", format=style) as tar:
            tar.add(tmp_path / "images", arcname=".")
        listing = list_archive(tmp_path / "t")
        assert listing.paths == ["a.png", "linked.png", "sub/again.png", "sub/b.png", "sub/up.png"]
        assert (listing.skipped, listing.faults) == ({"links in the archive": 2}, [])
        for name in ("a.png", "linked.png", "sub/again.png", "sub/up.png"):
            assert read_place(listing.place(name)) == PNG + b"a.png"


def test_a_symbolic_link_in_a_zip_has_the_row_of_its_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, target in [("sub/up.png", "../a.png"), ("none.png", "gone.png"), ("folder", "sub")]:
            link = zipfile.ZipInfo(name)
            link.external_attr = 0o120777 << 16
            archive.writestr(link, target)
        archive.writestr("a.png", PNG)
        archive.writestr("sub/b.png", PNG)
    listing = list_archive(tmp_path / "z")
    assert listing.paths == ["a.png", "sub/b.png", "sub/up.png"]
    assert read_place(listing.place("sub/up.png")) == PNG
    assert listing.file_faults == [
        ("none.png", "VANISHED", "a link to no file of the archive; pack it again")
    ]
    assert listing.skipped == {"links in the archive": 1}


def add_link(tar: tarfile.TarFile, name: str, target: str, kind: bytes = tarfile.LNKTYPE) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    tar.addfile(member)


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_links_that_lead_nowhere_end_and_lose_no_row(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "t", "w") as tar:
        add_link(tar, "loop.png", "pool.png", kind)
        add_link(tar, "pool.png", "loop.png", kind)
        add_link(tar, "self.png", "self.png", kind)
        add_link(tar, "gone.png", "nothing.png", kind)
        add_link(tar, ".hidden.png", "x.png", kind)
        add_link(tar, "seen.png", ".secret.png", kind)
        for name in ("x.png", ".secret.png"):
            member = tarfile.TarInfo(name)
            member.size = len(PNG)
            tar.addfile(member, io.BytesIO(PNG))
    listing = list_archive(tmp_path / "t")
    assert listing.paths == ["seen.png", "x.png"]
    names = [name for name, kind, _ in listing.file_faults if kind == "VANISHED"]
    assert names == ["gone.png", "loop.png", "pool.png", "self.png"]
    assert listing.skipped == {"hidden or system files": 2}


def test_a_link_to_what_is_wrong_is_wrong(tmp_path: Path) -> None:
    make_tar(tmp_path / "t", "twice.png", "x.png", "twice.png")
    with tarfile.open(tmp_path / "t", "a") as tar:
        add_link(tar, "link.png", "twice.png")
        add_link(tar, "x.png", "x.png")
    listing = list_archive(tmp_path / "t")
    assert listing.paths == []
    assert {name: kind for name, kind, _ in listing.file_faults} == {
        "link.png": "CORRUPT_DATA",
        "twice.png": "CORRUPT_DATA",
        "x.png": "CORRUPT_DATA",
    }


@pytest.mark.parametrize("target", ["x/../t.png", "./x/../t.png", "sub/x/../../t.png"])
def test_a_link_that_turns_back_behind_a_folder_is_not_guessed(tmp_path: Path, target: str) -> None:
    """The folder may be a link itself: then `x/..` is not where it stands."""
    with tarfile.open(tmp_path / "t", "w") as tar:
        add_link(tar, "x", "e/d", tarfile.SYMTYPE)
        add_link(tar, "q.png", target, tarfile.SYMTYPE)
        for name in ("e/d/a.png", "e/t.png", "t.png"):
            member = tarfile.TarInfo(name)
            member.size = len(PNG)
            tar.addfile(member, io.BytesIO(PNG))
    listing = list_archive(tmp_path / "t")
    assert listing.paths == ["e/d/a.png", "e/t.png", "t.png"]
    assert [fault[:2] for fault in listing.file_faults] == [("q.png", "VANISHED")]


def test_a_link_over_a_name_that_comes_twice_is_not_guessed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t", "w") as tar:
        for name in ("a.png", "L.png"):
            member = tarfile.TarInfo(name)
            member.size = len(PNG)
            tar.addfile(member, io.BytesIO(PNG))
        add_link(tar, "over.png", "L.png", tarfile.SYMTYPE)
        add_link(tar, "L.png", "a.png", tarfile.SYMTYPE)
        add_link(tar, "two.png", "a.png", tarfile.SYMTYPE)
        add_link(tar, "two.png", "L.png", tarfile.SYMTYPE)
        add_link(tar, "last.png", "two.png")
    with zipfile.ZipFile(tmp_path / "z", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, of the name that comes twice
        for name, mode, data in [
            ("a.png", 0o100644, PNG),
            ("a.png", 0o100644, PNG),
            ("s", 0o120777, b"a.png"),
        ]:
            about = zipfile.ZipInfo(name)
            about.external_attr = mode << 16
            archive.writestr(about, data)
    tar_kinds = {name: kind for name, kind, _ in list_archive(tmp_path / "t").file_faults}
    assert tar_kinds == dict.fromkeys(("L.png", "last.png", "over.png", "two.png"), "CORRUPT_DATA")
    assert list_archive(tmp_path / "t").paths == ["a.png"]
    zip_kinds = {name: kind for name, kind, _ in list_archive(tmp_path / "z").file_faults}
    assert zip_kinds == dict.fromkeys(("a.png", "s"), "CORRUPT_DATA")


def test_a_link_in_a_zip_whose_target_was_changed_is_a_fault(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        link = zipfile.ZipInfo("s.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "a.png")
        for name in ("a.png", "b.png"):
            archive.writestr(name, PNG)
    data = bytearray((tmp_path / "z").read_bytes())
    data[data.index(b"s.pnga.png") + 5] ^= 3
    (tmp_path / "z").write_bytes(data)
    ((name, kind, why),) = list_archive(tmp_path / "z").file_faults
    assert (name, kind) == ("s.png", "CORRUPT_DATA")
    assert "CRC-32" in why


def test_a_sparse_member_is_a_fault(tmp_path: Path) -> None:
    data = bytearray(make_tar(tmp_path / "t", "x.png", style=tarfile.GNU_FORMAT).read_bytes())
    data[156:157] = tarfile.GNUTYPE_SPARSE
    data[386:410] = b"%011o\0%011o\0" % (0, len(PNG))
    data[483:495] = b"%011o\0" % len(PNG)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (tmp_path / "t").write_bytes(data)
    assert only_fault(tmp_path / "t")[:2] == ("x.png", "UNSUPPORTED_FORMAT")


def test_a_tar_cut_within_its_last_member_tells_of_it_and_of_what_may_be_lost(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "t", "x.png", "y.png", style=tarfile.USTAR_FORMAT)
    whole = path.read_bytes()
    path.write_bytes(whole[: list_archive(path).place("y.png").offset + 100])
    listing = list_archive(path)
    assert listing.paths == ["x.png"]
    assert [fault[:2] for fault in listing.file_faults] == [("y.png", "TRUNCATED")]
    assert [fault[:2] for fault in listing.folder_faults] == [(".", "TRUNCATED")]


@pytest.mark.parametrize(
    ("cut", "message"),
    [(lambda at: at - 512, "no end mark"), (lambda at: at - 300, "no end mark|damaged")],
)
def test_a_tar_cut_between_members_is_an_error(tmp_path: Path, cut: object, message: str) -> None:
    path = make_tar(tmp_path / "t", "x.png", "y.png", style=tarfile.USTAR_FORMAT)
    whole = path.read_bytes()
    assert callable(cut)
    path.write_bytes(whole[: cut(list_archive(path).place("y.png").offset)])
    with pytest.raises(UserError, match=rf"a damaged archive \(.*({message}).*\); fetch it again"):
        list_archive(path)


def test_damage_in_the_middle_of_a_tar_does_not_pass_for_its_end(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "t", "x.png", "y.png", "z.png", style=tarfile.USTAR_FORMAT)
    data = bytearray(path.read_bytes())
    at = list_archive(path).place("y.png").offset - 512
    for damage in (b"Y", b"\0" * 512):
        data[at : at + len(damage)] = damage
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"the header at byte .* is damaged|more data behind its end"):
            list_archive(path)


def test_tars_that_were_joined_end_to_end_are_an_error(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "t", "x.png")
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(UserError, match=r"more data behind its end.*tar --concatenate"):
        list_archive(path)


def tar_header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    data = bytearray(
        name.ljust(100, b"\0") + b"0000644\0" + 2 * b"0000000\0" + size + b"00000000000\0" + b" " * 8
    )
    data = (data + kind).ljust(512, b"\0")
    data[257:265] = b"ustar\x0000"
    data[148:156] = b"%06o\0 " % sum(data)
    return bytes(data)


@pytest.mark.parametrize(
    "header",
    [
        tar_header(b"x.png", b"\xff" * 10 + b"\xfc\0"),  # base-256, negative: a loop, CVE-2025-8194
        tar_header(b"x.png", b"\xff" * 12, b"x"),
        tar_header(b"x.png", b"77777777777\0", b"x") + bytes(3 << 20),  # a PAX header of 8 GB
        tar_header(b"x.png", b"77777777777\0", b"L") + bytes(3 << 20),
        tar_header(b"x.png", b"00000000024\0", b"x")
        + b"20 size=-5000000000\n".ljust(512, b"\0")
        + tar_header(b"x", b"00000000000\0"),
        tar_header(b"x", b"00000000012\0", b"x") * 5000,
    ],
)
def test_a_hostile_tar_neither_loops_nor_fills_the_memory(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "t").write_bytes(tar_header(b"a.png", b"00000000000\0") + header + bytes(1024))
    with pytest.raises(UserError, match="a damaged archive"):
        list_archive(tmp_path / "t")


def test_a_size_beyond_all_numbers_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(tar_header(b"x.png", b"\x80" + b"\x7f" * 11) + bytes(1024))
    listing = list_archive(tmp_path / "t")
    assert [fault[:2] for fault in listing.faults] == [(".", "TRUNCATED"), ("x.png", "TRUNCATED")]


def test_a_zip_with_a_damaged_directory_is_an_error(tmp_path: Path) -> None:
    whole = make_zip(tmp_path / "z", "x.png", "y.png").read_bytes()
    at = whole.index(b"PK\1\2")
    for data in (whole[:-30], whole[: at + 20], whole[:at] + b"XX" + whole[at + 2 :], whole[:100]):
        (tmp_path / "z").write_bytes(data)
        with pytest.raises(UserError, match=r"z: a damaged archive .*; fetch it again, or pack it again"):
            list_archive(tmp_path / "z")


def test_a_name_marked_as_utf8_that_is_not_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a damaged archive"):
        list_archive(zip_by_hand(tmp_path / "z", central=b"\xff.png", local=b"\xff.png", flags=0x800))


def test_no_cut_and_no_flipped_byte_of_a_zip_ends_in_a_traceback(tmp_path: Path) -> None:
    whole = make_zip(tmp_path / "whole", "x.png", "y.csv").read_bytes()
    path = tmp_path / "z"
    cuts = [whole[:n] for n in range(4, len(whole), 3)]
    flips = [
        whole[:n] + bytes([whole[n] ^ bit]) + whole[n + 1 :]
        for n in range(4, len(whole))
        for bit in (1, 0x80)
    ]
    for data in cuts + flips:
        path.write_bytes(data)
        try:
            listing = list_archive(path)
            for name in listing.paths:
                read_place(listing.place(name))
        except (UserError, Unreadable):
            pass


def test_no_cut_and_no_flipped_byte_of_a_tar_ends_in_a_traceback(tmp_path: Path) -> None:
    whole = make_tar(tmp_path / "whole", "x.png", "é.csv").read_bytes()
    path = tmp_path / "t"
    flips = [whole[:n] + bytes([whole[n] ^ 0x80]) + whole[n + 1 :] for n in range(4096)]
    for data in [*flips, *(whole[:n] for n in range(512, len(whole), 97))]:
        path.write_bytes(data)
        try:
            listing = list_archive(path)
            for name in listing.paths:
                read_place(listing.place(name))
        except (UserError, Unreadable):
            pass


def test_compressed_archives_say_what_to_do(tmp_path: Path) -> None:
    make_tar(tmp_path / "t.tar", "x.png")
    for mode, name in (("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz")):
        with tarfile.open(tmp_path / f"t.tar.{mode}", f"w:{mode}") as tar:
            tar.add(tmp_path / "t.tar")
        with pytest.raises(
            UserError, match=f"compressed by {name}, .* unpack it .* uncompressed .tar or a .zip"
        ):
            list_input(str(tmp_path / f"t.tar.{mode}"))


def test_an_archive_without_images_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images here but 1 tables or text files"):
        list_archive(make_zip(tmp_path / "z", "labels.csv", data=b"a,b\n"))
    with pytest.raises(UserError, match="no images here, it is empty"):
        list_archive(make_zip(tmp_path / "empty"))


def test_a_table_in_an_archive_is_known_by_its_name_and_bytes(tmp_path: Path) -> None:
    assert list_archive(make_zip(tmp_path / "z", "x.csv")).paths == ["x.csv"]
    assert list_archive(make_tar(tmp_path / "t", "x.csv")).paths == ["x.csv"]
