"""A file that took too long is tried once more, with more time: a storage that stood still costs no row."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Project
from stalls import stall_again, stalling
from test_prepare import LABELS, a_project
from test_resume import Heard, interrupt, run, tables
from test_score import faults
from trainings import snapshots_at_fsync

from cxrscore.check import Findings, check
from cxrscore.core.errors import Stopped, UserError
from cxrscore.core.progress import Progress, Silent
from cxrscore.prepare import prepare
from cxrscore.project.params import PrepareParams

SLOW = {"workers": 2, "timeout_s": 0.5}
HUNG = (
    "tried twice, for 0.5 s and then for 1 s: no pixels after 1 s in decode_into (worker.py:15); "
    "save it as PNG, or score with a longer --timeout-s"
)


@pytest.fixture
def folder(project: Project, tmp_path: Path) -> Path:
    """Forty radiographs, three of which stall: two in the first shard of seven, and the last one."""
    copy = Path(shutil.copytree(project.data / "images", tmp_path / "images"))
    names = sorted(path.name for path in copy.iterdir())
    for at in (1, 4, 39):
        (copy / names[at]).rename(copy / f"{names[at][:-4]}stall.jpg")
    return copy


@pytest.fixture
def plain(project: Project, folder: Path, tmp_path: Path) -> dict[str, bytes]:
    """The outputs of a run that nothing disturbs."""
    run(folder, tmp_path / "plain.csv", project.layout.models)
    return tables(tmp_path / "plain.csv")


def add_hanging(folder: Path, count: int = 1) -> list[str]:
    """Files at which every worker hangs for ever; their names."""
    source = min(folder.glob("*.jpg"))
    return [Path(shutil.copy(source, folder / f"{i}hang.jpg")).name for i in range(count)]


def counts(out_csv: Path, what: str) -> Any:
    return json.loads(out_csv.with_name(f"{out_csv.name}.provenance.json").read_text())[what]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_stood_still_costs_no_row_and_changes_no_byte(
    project: Project,
    folder: Path,
    plain: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    stalling(tmp_path / "program", monkeypatch)
    heard = Heard()
    outcome = run(folder, tmp_path / "sub.csv", project.layout.models, heard, **SLOW | {"workers": workers})
    assert (outcome.listed, outcome.scored, outcome.quarantined) == (40, 40, 0)
    assert tables(tmp_path / "sub.csv") == plain
    assert counts(tmp_path / "sub.csv", "compute") == counts(tmp_path / "plain.csv", "compute")
    said = "files took longer than 0.5 s; trying once more, for up to 20 s each"
    assert any(said in line for line in heard.said), heard.said


def test_neither_max_errors_nor_on_error_fail_stops_for_a_file_that_may_still_be_read(
    project: Project, folder: Path, plain: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalling(tmp_path / "program", monkeypatch)
    for options in ({"max_errors": 0}, {"on_error": "fail"}):
        stall_again(tmp_path / "program")
        run(folder, tmp_path / "sub.csv", project.layout.models, overwrite=True, **SLOW | options)
        assert tables(tmp_path / "sub.csv") == plain


def test_a_file_that_hangs_for_ever_is_named_with_both_its_tries(
    project: Project, folder: Path, plain: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = add_hanging(folder)
    stalling(tmp_path / "program", monkeypatch, longer_s=1.0)
    outcome = run(folder, tmp_path / "sub.csv", project.layout.models, **SLOW)
    assert (outcome.listed, outcome.scored, outcome.quarantined) == (41, 40, 1)
    assert faults(tmp_path / "sub.csv") == [
        {"path": name, "stage": "decode", "kind": "TIMEOUT", "message": HUNG}
    ]
    assert tables(tmp_path / "sub.csv")[""] == plain[""]
    assert counts(tmp_path / "sub.csv", "counts")["kinds"] == {"TIMEOUT": 1}


@pytest.mark.slow
def test_a_file_that_hangs_for_ever_counts_once_it_was_tried_twice(
    project: Project, folder: Path, plain: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = add_hanging(folder)
    stalling(tmp_path / "program", monkeypatch, longer_s=1.0)
    models, out_csv = project.layout.models, tmp_path / "sub.csv"
    with pytest.raises(UserError, match=rf"^{name} \(TIMEOUT: {re.escape(HUNG)}\); repair or remove it"):
        run(folder, out_csv, models, on_error="fail", **SLOW)
    for options in ({}, {"resume": True}):
        with pytest.raises(Stopped, match=r"^1 file cannot be scored \(1 TIMEOUT\), more than --max-errors"):
            run(folder, out_csv, models, max_errors=0, **SLOW, **options)
    assert run(folder, out_csv, models, resume=True, **SLOW).quarantined == 1
    assert tables(out_csv)[""] == plain[""]


def test_a_storage_that_stands_still_stops_the_run_before_any_second_try(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(project.data / "test", tmp_path / "images"))
    monkeypatch.setattr("cxrscore.images.decoding.pool.MAY_STALL", 3)
    add_hanging(folder, 6)
    stalling(tmp_path / "program", monkeypatch)
    heard = Heard()
    options = {"workers": 2, "timeout_s": 0.2, "max_errors": 3}
    with pytest.raises(
        Stopped, match=r"^[4-6] files cannot be scored \([4-6] TIMEOUT\), .* does the storage answer"
    ) as stopped:
        run(folder, tmp_path / "sub.csv", project.layout.models, heard, **options)
    assert (stopped.value.code, stopped.value.words) == (4, ("--max-errors", "14"))
    assert not any("once more" in line for line in heard.said)


def test_where_all_may_fail_a_storage_that_stands_still_is_not_waited_for_file_by_file(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(project.data / "test", tmp_path / "images"))
    monkeypatch.setattr("cxrscore.images.decoding.pool.MAY_STALL", 3)
    add_hanging(folder, 8)
    stalling(tmp_path / "program", monkeypatch, longer_s=0.3)
    heard = Heard()
    options = {"workers": 2, "timeout_s": 0.2, "max_errors": 100}
    outcome = run(folder, tmp_path / "sub.csv", project.layout.models, heard, **options)
    assert (outcome.listed, outcome.scored, outcome.quarantined) == (16, 8, 8)
    assert {row["kind"] for row in faults(tmp_path / "sub.csv")} == {"TIMEOUT"}
    tried = [row["message"].startswith("tried twice") for row in faults(tmp_path / "sub.csv")]
    assert 3 < sum(tried) < 8
    assert any("not tried again" in line for line in heard.said)


def test_stopped_within_the_second_try_and_resumed_it_ends_with_the_same_bytes(
    project: Project, folder: Path, plain: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalling(tmp_path / "program", monkeypatch)
    interrupt(folder, tmp_path / "sub.csv", project.layout.models, batches=10, **SLOW)
    heard = Heard()
    run(folder, tmp_path / "sub.csv", project.layout.models, heard, resume=True, **SLOW)
    assert "resuming: 40 of 40 files done" in heard.said
    assert any("once more" in line for line in heard.said)
    assert tables(tmp_path / "sub.csv") == plain


@pytest.mark.slow
def test_what_a_kill_within_the_second_try_leaves_ends_in_the_same_table(
    project: Project, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_hanging(folder)
    stalling(tmp_path / "program", monkeypatch, longer_s=1.0)
    models, out_csv = project.layout.models, tmp_path / "out" / "sub.csv"
    run(folder, tmp_path / "whole.csv", models, **SLOW)
    expected, compute = tables(tmp_path / "whole.csv"), counts(tmp_path / "whole.csv", "compute")
    stall_again(tmp_path / "program")
    left = snapshots_at_fsync(monkeypatch, out_csv.parent, lambda: run(folder, out_csv, models, **SLOW))
    scored = [one for one in left if [*one.glob("*.journal/000000040.shard")]]  # the last one
    late = [one for one in scored if not [*one.glob("*.made")]][:6:2]  # of the second try
    assert len(late) == 3
    for snapshot in late:
        shutil.rmtree(out_csv.parent)
        snapshot.rename(out_csv.parent)
        run(folder, out_csv, models, resume=True, **SLOW)
        assert tables(out_csv) == expected, snapshot
        assert counts(out_csv, "compute") == compute


def test_what_is_finished_is_not_tried_again(
    project: Project, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_hanging(folder)
    stalling(tmp_path / "program", monkeypatch, longer_s=1.0)
    run(folder, tmp_path / "sub.csv", project.layout.models, **SLOW)
    before, heard = tables(tmp_path / "sub.csv"), Heard()
    outcome = run(folder, tmp_path / "sub.csv", project.layout.models, heard, resume=True, **SLOW)
    assert outcome.notes[-1] == "already finished; nothing to do" and not [
        line for line in heard.said if "scoring" in line
    ]
    assert tables(tmp_path / "sub.csv") == before


def look(folder: Path, progress: Progress) -> Findings:
    return check(str(folder), size=32, exclude=[], progress=progress, workers=2, timeout_s=0.5)


def test_a_check_tries_again_and_names_only_what_hangs_for_ever(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = add_hanging(folder)
    (folder / "1empty.jpg").write_bytes(b"")
    stalling(tmp_path / "program", monkeypatch, longer_s=1.0)
    heard = Heard()
    found = look(folder, heard)
    assert (found.listed, found.readable, sum(found.shapes.values())) == (42, 40, 40)
    hung, empty = found.faults
    assert hung == (name, "decode", "TIMEOUT", HUNG)
    assert empty[:3] == ("1empty.jpg", "decode", "EMPTY_FILE")
    assert any("once more" in line for line in heard.said)


def test_a_store_holds_a_file_that_stalled_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a.png", "b stall.png", "c hang.png", "d.png", "e stall.png"]
    sources = a_project(tmp_path, [*names, *(f"{i}.png" for i in range(3))])
    how: dict[str, Any] = {
        "labels": LABELS,
        "params": PrepareParams(size=32, train_size=None, bit_depth=None, max_unreadable=0.5),
    }
    expected = tmp_path / "expected"
    (tmp_path / "images" / "c hang.png").rename(tmp_path / "gone.png")
    prepare(*sources[:2], expected, **how, workers=0, progress=Silent())
    (tmp_path / "gone.png").rename(tmp_path / "images" / "c hang.png")
    stalling(tmp_path / "program", monkeypatch, longer_s=1.0)
    monkeypatch.setattr("cxrscore.prepare.TIMEOUT_S", 0.5)
    heard = Heard()
    (note,) = prepare(*sources, **how, workers=2, progress=heard)
    assert "1 image cannot be read" in note and f"c hang.png (TIMEOUT: {HUNG})" in note
    assert sum("once more" in line for line in heard.said) >= 3
    for path in expected.rglob("*"):
        if path.is_file() and path.name != "quarantine.csv":
            assert (sources[2] / path.relative_to(expected)).read_bytes() == path.read_bytes(), path
