"""What a run has done is on disk, whole or not there, and comes back as it was."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrscore.core.errors import BrokenPromise, Stopped, UserError
from cxrscore.scoring import journal as journals
from cxrscore.scoring.journal import File, Journal, Rows, opened_journal

RUN = {"recipe": {"dtype": "fp32", "batch_size": 4, "compile": False, "merge": {}}, "size": 32}
FAULT = ("decode", "TRUNCATED", 'it ends at byte 7, \udcff\n, "so" to say')


def rows(start: int, count: int, *, faulty: tuple[int, ...] = (), exact: int = 0) -> Rows:
    """Scores of two folds and three findings that tell their row."""
    values = np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3) / 7 + start
    files = [File(100 + start + i, f"{start + i:064x}", FAULT if i in faulty else None) for i in range(count)]
    values[list(faulty)] = np.nan
    return Rows(start, files, values, exact, 2 * exact, [4] * exact)


def listed(count: int = 64) -> Iterator[tuple[str, int, int]]:
    return ((f"{i}.jpg", i, 7, 8) for i in range(count))


def same(one: Rows, other: Rows) -> bool:
    return (
        one.start == other.start
        and list(one.files) == list(other.files)
        and (one.exact, list(one.halvings)) == (other.exact, list(other.halvings))
        and one.values.shape == other.values.shape
        and one.values.tobytes() == other.values.tobytes()
    )


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Begun, with shards of seven rows."""
    with opened_journal(tmp_path / "sub.csv.journal", shard_rows=7) as opened:
        opened.begin(RUN, listed())
        yield opened


def filled(journal: Journal, count: int = 30) -> list[Path]:
    """Shards of rows 0-6, 7-13, ..."""
    journal.add(rows(0, count))
    journal.commit()
    return sorted(journal.folder.glob("*.shard"))


def again(journal: Journal) -> Journal:
    """The same folder after a kill, as the next run finds it."""
    found = Journal(journal.folder, journal.shard_rows)
    found.resume()
    return found


def test_rows_come_back_bit_for_bit_with_their_faults_and_counts() -> None:
    for one in (rows(0, 5, faulty=(1, 4), exact=2), rows(9, 1, faulty=(0,)), rows(1_000_000, 7), rows(3, 0)):
        found = Rows.decoded(one.encoded())
        assert found is not None
        assert same(found, one)


def test_what_is_added_is_what_is_read_and_a_kill_between_changes_none_of_it(journal: Journal) -> None:
    whole = rows(0, 30, faulty=(0, 13, 29), exact=3)
    for first in range(0, 30, 4):
        journal.add(whole.cut(first, first + 4))
    journal.commit()
    for read in (journal, again(journal)):
        parts = list(read.rows())
        assert read.done == 30
        assert np.concatenate([part.values for part in parts]).tobytes() == whole.values.tobytes()
        assert [file for part in parts for file in part.files] == list(whole.files)
        assert sum(part.exact for part in parts) == 3
        assert [chunk for part in parts for chunk in part.halvings] == [4, 4, 4]


@pytest.mark.parametrize(("shard_rows", "sizes"), [(7, [7] * 14 + [2]), (64, [64, 36]), (4096, [100])])
def test_shards_hold_as_many_rows_as_were_asked_for(
    tmp_path: Path, shard_rows: int, sizes: list[int]
) -> None:
    with opened_journal(tmp_path / "journal", shard_rows=shard_rows) as journal:
        journal.begin(RUN, listed(100))
        for first in range(0, 100, shard_rows):
            journal.add(rows(first, min(shard_rows, 100 - first)))
        journal.commit()
        assert [len(part.files) for part in journal.rows()] == sizes


def test_rows_wait_for_their_shard_but_not_longer_than_a_minute(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.add(rows(0, 3))
    assert (journal.done, journal.added) == (0, 3)
    monkeypatch.setattr(journals, "COMMIT_S", -1.0)
    journal.add(rows(3, 1))
    assert (journal.done, journal.added) == (4, 4)


def test_rows_out_of_turn_are_refused(journal: Journal) -> None:
    journal.add(rows(0, 3))
    for start in (0, 2, 4):
        with pytest.raises(BrokenPromise, match=f"rows from {start} behind 3"):
            journal.add(rows(start, 2))


def test_rows_that_are_there_already_are_cut_off_with_their_counts() -> None:
    one = rows(10, 5, exact=2)
    assert same(one.behind(10), one) and same(one.behind(3), one)
    rest = one.behind(12)
    assert (rest.start, len(rest.files), rest.exact, list(rest.halvings)) == (12, 3, 0, [])
    assert rest.values.tobytes() == one.values[2:].tobytes()


DAMAGE = {
    "without its end": lambda data: data[:-1],
    "cut in half": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "zeros at its end": lambda data: data[:-8] + bytes(8),
    "longer": lambda data: data + b"\0",
    "of another place": lambda data: rows(50, 7).encoded(),
    "of another program": lambda data: b'{"start": 14}\n',
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_damaged_shard_and_all_behind_it_are_scored_again(journal: Journal, kind: str, place: int) -> None:
    shards = filled(journal)
    shards[place].write_bytes(DAMAGE[kind](shards[place].read_bytes()))
    assert again(journal).done == 7 * place
    assert sorted(journal.folder.glob("*.shard")) == shards[:place]
    resumed = again(journal)
    resumed.add(rows(0, 30).behind(resumed.done))
    resumed.commit()
    assert [len(part.files) for part in resumed.rows()] == [7, 7, 7, 7, 2]


def test_behind_a_gap_nothing_counts(journal: Journal) -> None:
    shards = filled(journal)
    shards[1].unlink()
    assert again(journal).done == 7
    assert sorted(journal.folder.glob("*.shard")) == shards[:1]


def test_every_flipped_byte_is_noticed() -> None:
    data = rows(3, 2, faulty=(1,)).encoded()
    for i in range(len(data)):
        assert Rows.decoded(data[:i] + bytes([data[i] ^ 0x20]) + data[i + 1 :]) is None, i
        assert Rows.decoded(data[:i]) is None, i


def test_a_shard_that_breaks_while_the_tables_are_written_stops_the_run_and_keeps_the_others(
    journal: Journal,
) -> None:
    shards = filled(journal)
    shards[3].write_bytes(b"")
    with pytest.raises(Stopped, match=r"000000021.shard: damaged since it was written"):
        list(journal.rows())
    assert again(journal).done == 21


def test_to_begin_takes_away_what_an_older_run_left(journal: Journal) -> None:
    filled(journal)
    journal.begin(RUN | {"size": 64}, listed(3))
    assert (journal.done, list(journal.rows())) == (0, [])
    assert journal.fingerprint()["size"] == 64
    assert journal.manifest() == {"0.jpg": (0, 7, 8), "1.jpg": (1, 7, 8), "2.jpg": (2, 7, 8)}


def test_temporary_files_that_a_kill_left_do_no_harm_and_go_in_the_end(tmp_path: Path) -> None:
    with opened_journal(tmp_path / "journal", shard_rows=7) as journal:
        journal.begin(RUN, listed())
        filled(journal)
        for name in (".000000028.shard.4711.tmp", ".run.json.4711.tmp", ".0.made.4711.tmp", "0.made"):
            (journal.folder / name).write_bytes(b"half")
        assert again(journal).done == 30
        assert journal.fingerprint() == RUN
        journal.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_a_file_has_a_score_or_a_fault_and_never_both_or_neither(score: float) -> None:
    one = np.zeros((1, 2, 3), np.float32)
    with pytest.raises(BrokenPromise, match="a score for a file with a fault"):
        Rows(0, [File(1, "", FAULT)], one)
    one[0, 1, 2] = score
    with pytest.raises(BrokenPromise, match="a file without score and fault"):
        Rows(0, [File(1, "")], one)
    with pytest.raises(BrokenPromise, match="a score for a file with a fault"):
        Rows(0, [File(1, "", FAULT)], one)
    with pytest.raises(BrokenPromise, match=r"2 files, scores \(1, 2, 3\)"):
        Rows(0, [File(1, ""), File(1, "")], one)


def test_strange_names_survive_the_manifest(journal: Journal) -> None:
    names = [
        os.fsdecode(b"\xff\xfe.jpg"),
        "a\nb.jpg",
        'say "a, b".jpg',
        "\u2028.jpg",
        "\\n.jpg",
        " .jpg",
        "\r",
    ]
    journal.begin(
        RUN, ((name, i - 1, -i, 0) for i, name in enumerate(names))
    )  # -1: it could not be looked at
    assert journal.manifest() == {name: (i - 1, -i, 0) for i, name in enumerate(names)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"\0\0\0", "damaged"),
        (b"\xff", "damaged"),
        (b"[]", "damaged"),
        (b"null", "damaged"),
        (b"{}", "damaged"),
        (b'{"recipe": null}', "damaged"),
        (b'{"recipe": {}}', "of another version"),
    ],
)
def test_a_damaged_fingerprint_is_told_with_its_remedy(journal: Journal, text: bytes, message: str) -> None:
    (journal.folder / "run.json").write_bytes(text)
    with pytest.raises(UserError, match=rf"sub.csv.journal: .*{message}.*--overwrite starts over"):
        journal.fingerprint()


def test_a_journal_in_which_nothing_began_is_gone_afterwards(tmp_path: Path) -> None:
    with opened_journal(tmp_path / "journal", shard_rows=7) as journal:
        assert not journal.begun
    assert list(tmp_path.iterdir()) == []
    with opened_journal(tmp_path / "journal", shard_rows=7) as journal:
        journal.begin(RUN, listed())
    assert (tmp_path / "journal" / "run.json").exists()


def test_what_a_kill_in_the_middle_of_removing_left_is_no_obstacle(tmp_path: Path) -> None:
    with opened_journal(tmp_path / "journal", shard_rows=7) as journal:
        journal.begin(RUN, listed())
        filled(journal)
    (tmp_path / "journal" / "run.json").unlink()
    with opened_journal(tmp_path / "journal", shard_rows=7) as journal:
        assert not journal.begun
    assert list(tmp_path.iterdir()) == []


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: bytes of files, None for folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def put(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


SOMEBODYS: dict[str, dict[str, bytes]] = {
    "a text": {"thesis.tex": b"years"},
    "a lock beside a thesis": {"lock": b"", "thesis/chapter1.txt": b"years"},
    "a lock of another program": {"lock": b"4711\n"},
    "its settings": {"run.json": b'{"recipe": {"compile": false, "merge": {}}}', "notes.txt": b"years"},
    "a mark of another program": {"journal": b"Dear diary,\n", "lock": b""},
    "an empty mark": {"journal": b"", "lock": b""},
    "shards of an archive": {"000000000.shard": b"years"},
    "a journal of an earlier version": {"lock": b'{"pid": 1}', "run.json": b"{}", "manifest.jsonl": b""},
}


@pytest.mark.parametrize("name", SOMEBODYS)
def test_a_folder_of_that_name_that_is_somebodys_own_is_refused_and_never_changed(
    tmp_path: Path, name: str
) -> None:
    put(tmp_path / "journal", SOMEBODYS[name])
    before = tree(tmp_path)
    with (
        pytest.raises(UserError, match=r"journal: .*or choose another name for the output"),
        opened_journal(tmp_path / "journal", shard_rows=7),
    ):
        pass
    assert tree(tmp_path) == before


def test_a_journal_of_an_earlier_version_is_told_apart(tmp_path: Path) -> None:
    put(tmp_path / "journal", SOMEBODYS["a journal of an earlier version"])
    with (
        pytest.raises(
            UserError,
            match=r"journal: not marked as a journal: .* an earlier version.*remove the folder",
        ),
        opened_journal(tmp_path / "journal", shard_rows=7),
    ):
        pass


LEFT_BY_A_KILL: dict[str, dict[str, bytes]] = {
    "an empty folder": {},
    "an empty lock": {"lock": b""},
    "a lock": {"lock": b'{"pid": 4711, "host": "here", "started": "today"}'},
    "a lock that lost its end": {"lock": b'{"pid": 47'},
    "a lock of zeros": {"lock": bytes(60)},
    "half a mark": {"lock": b"", ".journal.4711.tmp": b"cxrsc"},
    "a whole mark": {"lock": b"", "journal": b"cxrscore journal 1\n"},
    "a mark and half a manifest": {"journal": b"cxrscore journal 1\n", ".manifest.jsonl.4711.tmp": b"["},
}


@pytest.mark.parametrize("name", LEFT_BY_A_KILL)
def test_what_a_kill_left_before_a_run_had_begun_is_taken_over_and_gone_in_the_end(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "journal").mkdir()
    put(tmp_path / "journal", LEFT_BY_A_KILL[name])
    with opened_journal(tmp_path / "journal", shard_rows=7) as journal:
        assert not journal.begun
        journal.begin(RUN, listed())
        filled(journal)
        journal.remove()
    assert list(tmp_path.iterdir()) == []


FOREIGN: dict[str, bytes] = {
    "@eaDir/SYNO@.fileindex": b"x",
    ".DS_Store": b"x",
    ".nfs000000000012": b"x",
    "notes.shard": b"mine",
    "12.shard": b"mine",
    "x.csv.made": b"mine",
    ".thesis.tex.4711.tmp": b"mine",
    ".run.json.old.tmp": b"mine",
    "000000005.shard/deep": b"mine",
}


def test_what_others_put_into_a_journal_stays_and_is_no_obstacle_to_this_run_and_the_next(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "journal"
    for turn in range(2):
        with opened_journal(folder, shard_rows=7) as journal:
            journal.begin(RUN, listed())
            put(folder, FOREIGN)
            (folder / "0.made").symlink_to("notes.shard")
            filled(journal)
            journal.begin(RUN | {"size": turn}, listed())
            filled(journal)
            assert again(journal).done == 30
            left = journal.remove()
        assert "@eaDir" in left and ".DS_Store" in left
        assert {path: data for path, data in tree(folder).items() if data == b"mine"} == {
            **{path: data for path, data in FOREIGN.items() if data == b"mine"},
            "0.made": b"mine",
        }
        assert {path.name for path in folder.iterdir() if path.is_file()} >= {"journal", ".DS_Store"}
        assert not any((folder / name).exists() for name in ("lock", "run.json", "manifest.jsonl"))
        (folder / "0.made").unlink()
    shutil.rmtree(folder / "@eaDir")
    shutil.rmtree(folder / "000000005.shard")
    for name in FOREIGN:
        (folder / name).unlink(missing_ok=True)
    with opened_journal(folder, shard_rows=7):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_a_pipe_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    os.mkfifo(tmp_path / "journal" / "lock")
    with (
        pytest.raises(UserError, match=r"journal: holds other files, such as 'lock'"),
        opened_journal(tmp_path / "journal", shard_rows=7),
    ):
        pass


def test_a_run_that_has_removed_its_journal_leaves_the_next_ones_alone(tmp_path: Path) -> None:
    with opened_journal(tmp_path / "journal", shard_rows=7) as first:
        first.begin(RUN, listed())
        first.remove()
        following = opened_journal(tmp_path / "journal", shard_rows=7)
        following.__enter__()
    assert (tmp_path / "journal" / "lock").exists()
    following.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_replaced_rows_are_whole_in_their_shards_with_their_counts_and_the_others_as_they_were(
    journal: Journal,
) -> None:
    faulty = (0, 6, 7, 20, 29)
    journal.add(rows(0, 30, faulty=faulty, exact=1))
    journal.commit()
    whole, untouched = rows(0, 30, faulty=(20,), exact=1), (journal.folder / "000000021.shard").read_bytes()
    parts = [replace(whole.cut(i, i + 1), exact=1, turned=1, halvings=[2]) for i in (29, 0, 7, 6, 20)]
    journal.replace(parts)
    for read in (journal, again(journal)):
        found = list(read.rows())
        assert [(part.start, len(part.files)) for part in found] == [
            (0, 7),
            (7, 7),
            (14, 7),
            (21, 7),
            (28, 2),
        ]
        assert np.concatenate([part.values for part in found]).tobytes() == whole.values.tobytes()
        assert [file for part in found for file in part.files] == list(whole.files)
        assert (sum(part.exact for part in found), sum(part.turned for part in found)) == (6, 7)
        assert [chunk for part in found for chunk in part.halvings] == [4, 2, 2, 2, 2, 2]
    assert (journal.folder / "000000021.shard").read_bytes() == untouched


def test_a_kill_while_rows_are_replaced_leaves_old_or_new_shards_and_no_other(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.add(rows(0, 30, faulty=(1, 22)))
    journal.commit()

    def killed(handle: int) -> None:
        raise KeyboardInterrupt

    before = [part.encoded() for part in journal.rows()]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", killed)
        journal.replace([rows(1, 1), rows(22, 1)])
    assert [part.encoded() for part in again(journal).rows()] == before


def test_rows_are_not_replaced_in_a_shard_that_the_disk_has_lost(journal: Journal) -> None:
    shards = filled(journal)
    shards[1].write_bytes(b"x")
    with pytest.raises(Stopped, match=r"000000007.shard: damaged since it was written"):
        journal.replace([rows(8, 1)])
    assert shards[1].read_bytes() == b"x"


@pytest.mark.parametrize("first", [5, 29])
def test_rows_that_would_reach_into_another_shard_are_not_replaced(journal: Journal, first: int) -> None:
    filled(journal)
    with pytest.raises(BrokenPromise, match=r"rows from \d+ in a shard from \d+"):
        journal.replace([rows(first, 3)])
