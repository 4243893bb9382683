"""A run that was stopped, killed or out of room continues with --resume, and ends with the same bytes."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROGRAMS, Project, contents
from trainings import snapshots_at_fsync

from cxrscore.core.device import DTYPES, Machine
from cxrscore.core.errors import Stopped, UserError
from cxrscore.core.progress import Progress, Silent
from cxrscore.model.checkpoint import load_fold, save_checkpoint
from cxrscore.score import score
from cxrscore.scoring.finish import Outcome
from cxrscore.scoring.options import Options

BAD = {"0.jpg": b"", "z.jpg": b"<html>404 Not Found</html>"}


@pytest.fixture
def folder(project: Project, tmp_path: Path) -> Path:
    """Forty radiographs and two files that are none."""
    copy = Path(shutil.copytree(project.data / "images", tmp_path / "images"))
    for name, data in BAD.items():
        (copy / name).write_bytes(data)
    return copy


class After(Silent):
    """Does something after so many batches."""

    def __init__(self, batches: int, work: Callable[[], None]) -> None:
        self.batches, self.work = batches, work

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.batches -= 1
        if self.batches == 0:
            self.work()


class Heard(Silent):
    """What was said, and how many files were to be scored."""

    def __init__(self) -> None:
        self.said, self.total = list[str](), -1

    def start(self, what: str, total: int, **how: Any) -> None:
        self.total = total

    def say(self, text: str) -> None:
        self.said.append(text)


def run(
    folder: Path, out_csv: Path, models: Path, progress: Progress | None = None, **options: Any
) -> Outcome:
    dtype = DTYPES[options.pop("dtype", "fp32")]
    return score(
        str(folder),
        out_csv,
        Options(**{"workers": 0, "batch_size": 4, "shard_rows": 7} | options),
        models=models,
        machine=Machine(torch.device("cpu"), dtype),
        progress=progress or Silent(),
    )


def interrupt(folder: Path, out_csv: Path, models: Path, *, batches: int = 4, **options: Any) -> Path:
    """A run that Ctrl-C ends after so many batches; its journal."""
    ctrl_c = After(batches, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Stopped, match=rf"interrupted; {4 * batches} of \d+ files done and kept") as stopped:
        run(folder, out_csv, models, ctrl_c, **options)
    assert stopped.value.code == 130
    return out_csv.with_name(f"{out_csv.name}.journal")


def tables(out_csv: Path) -> dict[str, bytes]:
    """The outputs that hold no time of day."""
    found = {
        path.name: path.read_bytes() for path in out_csv.parent.glob(f"{out_csv.name}*") if path.is_file()
    }
    return {name.removeprefix(out_csv.name): found[name] for name in found if not name.endswith(".json")}


@pytest.mark.slow
def test_whatever_kills_it_and_wherever_the_bytes_are_the_same(project: Project) -> None:
    arguments = ["--images", project.data / "images", "--models", project.layout.models]
    done = subprocess.run(
        [sys.executable, PROGRAMS / "kills.py", *arguments, "--random", "3", "--every", "24", "--at", "5"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("at random: identical: 3 of 3") == 3, done.stdout


def test_what_a_kill_leaves_at_any_moment_ends_in_the_same_table(
    project: Project, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files as they are whenever one is about to become durable: a run may be killed there."""
    models, out_csv = project.layout.models, tmp_path / "out" / "sub.csv"
    run(folder, tmp_path / "plain.csv", models)
    expected = tables(tmp_path / "plain.csv")
    left = snapshots_at_fsync(monkeypatch, out_csv.parent, lambda: run(folder, out_csv, models))
    assert len(left) > 20
    for snapshot in left:
        shutil.rmtree(out_csv.parent)
        snapshot.rename(out_csv.parent)
        run(folder, out_csv, models, resume=True)
        assert tables(out_csv) == expected, snapshot


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_neither_workers_nor_shards_nor_order_nor_a_stop_change_a_byte(
    project: Project, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    models, scandir = project.layout.models, os.scandir
    run(folder, tmp_path / "plain.csv", models, dtype=dtype)
    expected = tables(tmp_path / "plain.csv")
    for workers, shard_rows in ((0, 64), (1, 4096), (2, 7)):
        out_csv = tmp_path / f"{workers}.csv"
        run(folder, out_csv, models, dtype=dtype, workers=workers, shard_rows=shard_rows)
        assert tables(out_csv) == expected
    interrupt(folder, tmp_path / "stopped.csv", models, dtype=dtype, workers=2, shard_rows=64)
    with monkeypatch.context() as patch:
        patch.setattr(
            os, "scandir", lambda path: list(scandir(path))[::-1] if Path(path) == folder else scandir(path)
        )
        run(folder, tmp_path / "stopped.csv", models, dtype=dtype, resume=True)
    assert tables(tmp_path / "stopped.csv") == expected


def test_only_what_is_left_is_scored(project: Project, folder: Path, tmp_path: Path) -> None:
    interrupt(folder, tmp_path / "sub.csv", project.layout.models, batches=5)
    heard = Heard()
    outcome = run(folder, tmp_path / "sub.csv", project.layout.models, heard, resume=True)
    assert heard.total == 22 and "resuming: 20 of 42 files done" in heard.said
    assert (outcome.listed, outcome.scored, outcome.quarantined) == (42, 40, 2)
    assert not (tmp_path / "sub.csv.journal").exists()


def other_model(project: Project, folder: Path, root: Path) -> dict[str, Any]:
    cpu = Machine(torch.device("cpu"), torch.float32)
    models = Path(shutil.copytree(project.layout.models, root / "others"))
    fold = load_fold(models / "fold1.safetensors", cpu)
    fold.model.head.classifier.bias[0] += 1e-3
    save_checkpoint(fold.path, fold.model.state_dict(), fold.card)
    return {"models": models}


def some_rows(project: Project, folder: Path, root: Path) -> dict[str, Any]:
    sample = (project.data / "sample_submission.csv").read_text().splitlines()
    cells = sample[0].count(",")
    names = [path.name for path in sorted(folder.iterdir())[5:]]
    (root / "template.csv").write_text(
        "\n".join([sample[0], *(name + ",0" * cells for name in names)]) + "\n"
    )
    return {"template": root / "template.csv"}


def added(project: Project, folder: Path, root: Path) -> dict[str, Any]:
    shutil.copy(folder / "0.jpg", folder / "another.jpg")
    return {}


def removed(project: Project, folder: Path, root: Path) -> dict[str, Any]:
    (folder / "z.jpg").unlink()
    return {}


def resized(project: Project, folder: Path, root: Path) -> dict[str, Any]:
    (folder / "0.jpg").write_bytes(b"x")
    return {}


OTHERS: dict[str, tuple[Callable[..., dict[str, Any]], str]] = {
    "model": (other_model, "models was .*sha256"),
    "dtype": (lambda *_: {"dtype": "bf16"}, "recipe.dtype was fp32, and is now bf16"),
    "batch size": (lambda *_: {"batch_size": 5}, "recipe.batch_size was 4, and is now 5"),
    "compile": (lambda *_: {"compile": "on"}, "recipe.compile was False, and is now True"),
    "views": (lambda *_: {"views": ("plain",)}, r"views was \['plain', 'flip'\], and is now \['plain'\]"),
    "folds": (lambda *_: {"folds": (1,)}, "models was .*'fold': 0.* now .*'fold': 1"),
    "template": (some_rows, r"there are now 5 fewer \(0.jpg, "),
    "a file more": (added, r"there are now 1 more \(another.jpg\)"),
    "a file fewer": (removed, r"there are now 1 fewer \(z.jpg\)"),
    "a file of another size": (resized, r"there are now 1 changed since \(0.jpg\)"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_run_is_not_gone_on_with_and_the_first_one_still_can_be(
    project: Project, folder: Path, tmp_path: Path, name: str
) -> None:
    change, difference = OTHERS[name]
    models, out_csv = project.layout.models, tmp_path / "sub.csv"
    run(folder, tmp_path / "plain.csv", models)
    spare = shutil.copytree(folder, tmp_path / "spare")
    journal = interrupt(folder, out_csv, models)
    before = contents(journal)
    changes = {"models": models, "resume": True} | change(project, folder, tmp_path)
    with pytest.raises(UserError, match=rf"another run: .*{difference}.*over with --overwrite"):
        run(folder, out_csv, **changes)
    kept = contents(journal)
    assert {path: kept[path] for path in kept if path != "lock"} == {
        path: before[path] for path in before if path != "lock"
    }
    shutil.rmtree(folder)
    shutil.copytree(spare, folder)
    run(folder, out_csv, models, resume=True)
    assert tables(out_csv) == tables(tmp_path / "plain.csv")


def test_files_that_changed_places_at_the_same_size_and_time_are_not_gone_on_with(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    """As reproducible archives and container layers leave them: every time is the same."""
    one, two = sorted(folder.iterdir())[:2]
    longer = max(one.stat().st_size, two.stat().st_size)
    for path in (one, two):
        path.write_bytes(path.read_bytes().ljust(longer, b"\0"))
        os.utime(path, (0, 0))
    run(folder, tmp_path / "plain.csv", project.layout.models)
    interrupt(folder, tmp_path / "sub.csv", project.layout.models)
    first, second = one.read_bytes(), two.read_bytes()
    for path, data in ((one, second), (two, first)):
        path.write_bytes(data)
        os.utime(path, (0, 0))
    with pytest.raises(UserError, match=rf"2 files have changed since being scored \({one.name}, "):
        run(folder, tmp_path / "sub.csv", project.layout.models, resume=True)
    for path, data in ((one, first), (two, second)):
        path.write_bytes(data)
        os.utime(path, (0, 0))
    run(folder, tmp_path / "sub.csv", project.layout.models, resume=True)
    assert tables(tmp_path / "sub.csv") == tables(tmp_path / "plain.csv")


def test_where_nothing_is_to_be_resumed_it_starts(project: Project, folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "plain.csv", project.layout.models)
    run(folder, tmp_path / "sub.csv", project.layout.models, resume=True)
    assert tables(tmp_path / "sub.csv") == tables(tmp_path / "plain.csv")


@pytest.mark.parametrize("role", ["errors", "manifest"])
@pytest.mark.parametrize("text", [None, "path,stage,kind,message\n"])
def test_what_is_done_lacks_none_of_its_files(
    project: Project, folder: Path, tmp_path: Path, role: str, text: str | None
) -> None:
    run(folder, tmp_path / "sub.csv", project.layout.models)
    path = tmp_path / f"sub.csv.{role}.csv"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=rf"{role}\.csv: changed or removed since it was written"):
        run(folder, tmp_path / "sub.csv", project.layout.models, resume=True)


def test_what_is_done_is_said_to_be_and_left_alone(project: Project, folder: Path, tmp_path: Path) -> None:
    first = run(folder, tmp_path / "sub.csv", project.layout.models)
    before = contents(tmp_path)
    heard = Heard()
    again = run(folder, tmp_path / "sub.csv", project.layout.models, heard, resume=True)
    assert again.notes == [*first.notes, "already finished; nothing to do"]
    assert (again.listed, again.scored, again.quarantined) == (42, 40, 2)
    assert (again.errors_csv, heard.total) == (first.errors_csv, -1)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": (0,)}, "with models"),
        ({"views": ("plain",)}, r"with views \['plain', 'flip'\], now \['plain'\]"),
        ({"std": True}, "with std False, now True"),
        ({"on_error": "fill"}, "with on_error quarantine, now fill"),
        ({"id_kind": "stem"}, "with id_kind relpath, now stem"),
        ({"csv_safe": True}, "with csv_safe False, now True"),
        ({"format": "parquet"}, "with format csv, now parquet"),
    ],
)
def test_what_is_done_is_not_taken_for_another_run(
    project: Project, folder: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    run(folder, tmp_path / "sub.csv", project.layout.models)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=rf"sub.csv: from a finished run {message}.*--overwrite replaces it"):
        run(folder, tmp_path / "sub.csv", project.layout.models, resume=True, **change)
    assert contents(tmp_path) == before


def test_what_is_done_under_other_columns_is_another_run(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    run(folder, tmp_path / "sub.csv", project.layout.models)
    id_column, *columns = (tmp_path / "sub.csv").read_text().splitlines()[0].split(",")
    names = sorted(path.name for path in folder.iterdir())
    rows = [",".join([id_column, *columns[::-1]]), *(name + ",0" * len(columns) for name in names)]
    (tmp_path / "template.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(UserError, match="a finished run with columns"):
        run(
            folder,
            tmp_path / "sub.csv",
            project.layout.models,
            resume=True,
            template=tmp_path / "template.csv",
        )


def test_a_table_that_was_changed_since_is_not_done(project: Project, folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "sub.csv", project.layout.models)
    with (tmp_path / "sub.csv").open("a") as file:
        file.write("x.jpg\n")
    with pytest.raises(UserError, match=r"sub.csv: changed or removed since it was written"):
        run(folder, tmp_path / "sub.csv", project.layout.models, resume=True)


def test_a_stopped_run_is_neither_forgotten_nor_gone_on_with_unasked(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    models, out_csv = project.layout.models, tmp_path / "sub.csv"
    run(folder, tmp_path / "plain.csv", models)
    interrupt(folder, out_csv, models)
    with pytest.raises(UserError, match=r"--resume resumes it, --overwrite starts over"):
        run(folder, out_csv, models)
    heard = Heard()
    run(folder, out_csv, models, heard, overwrite=True)
    assert heard.total == 42
    assert tables(out_csv) == tables(tmp_path / "plain.csv")


def test_a_damaged_journal_is_told_and_kept(project: Project, folder: Path, tmp_path: Path) -> None:
    journal = interrupt(folder, tmp_path / "sub.csv", project.layout.models)
    (journal / "run.json").write_bytes(b"{}")
    with pytest.raises(UserError, match=r"run.json is damaged; --overwrite starts over"):
        run(folder, tmp_path / "sub.csv", project.layout.models, resume=True)
    assert len(list(journal.glob("*.shard"))) > 1
    assert run(folder, tmp_path / "sub.csv", project.layout.models, overwrite=True).scored == 40


def test_a_run_with_too_many_faults_is_not_done_by_resuming_it(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    out_csv, models = tmp_path / "sub.csv", project.layout.models
    for options in ({}, {"resume": True}, {"resume": True}):
        with pytest.raises(Stopped, match=r"2 files cannot be scored.*more than --max-errors 1 allows"):
            run(folder, out_csv, models, max_errors=1, **options)
        assert not out_csv.exists()
    assert run(folder, out_csv, models, max_errors=2, resume=True).quarantined == 2


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


@pytest.mark.parametrize("code", FULL, ids=errno.errorcode.get)
def test_a_disk_that_fails_stops_it_and_what_was_written_stays(
    project: Project, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    models, out_csv, fsync, left = project.layout.models, tmp_path / "sub.csv", os.fsync, [0]

    def failing(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(code, os.strerror(code))
        fsync(handle)

    run(folder, tmp_path / "plain.csv", models, std=True)
    expected = tables(tmp_path / "plain.csv")
    run(folder, out_csv, models, folds=(0,))
    old, stops = out_csv.read_bytes(), 0
    for first in range(FULL.index(code), 100, 9):
        left[0], changes = first, {"overwrite": True}
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing)
            try:
                run(folder, out_csv, models, std=True, **changes)
            except Stopped as stopped:
                stops += 1
                assert (stopped.code, os.strerror(code) in str(stopped)) == (4, True)
                assert out_csv.read_bytes() in (old, expected[""])
                begun = (tmp_path / "sub.csv.journal" / "run.json").exists()
                changes = {"resume": True} if begun else {"overwrite": True}
            else:
                break
        run(folder, out_csv, models, std=True, **changes)
        assert tables(out_csv) == expected
        assert not (tmp_path / "sub.csv.journal").exists()
        out_csv.write_bytes(old)
    assert stops > 2


def test_a_disk_that_is_really_full_is_no_end_either(project: Project, folder: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small], check=False).returncode:
        pytest.skip("only root may mount a file system of 256 kB")
    try:
        run(folder, tmp_path / "plain.csv", project.layout.models)
        with pytest.raises(Stopped, match="No space left on device") as stopped:
            run(folder, small / "sub.csv", project.layout.models, After(3, lambda: fill(small / "ballast")))
        assert stopped.value.code == 4
        assert not (small / "sub.csv").exists()
        (small / "ballast").unlink()
        run(folder, small / "sub.csv", project.layout.models, resume=True)
        assert tables(small / "sub.csv") == tables(tmp_path / "plain.csv")
    finally:
        subprocess.run(["umount", small], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC


def test_a_folder_that_is_read_only_is_told_before_any_work(
    project: Project, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"cannot be written to \(Read-only file system\)"):
        run(folder, tmp_path / "sub.csv", project.layout.models)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["sub.csv", "sub.csv.errors.csv", "sub.csv.journal"])
@pytest.mark.parametrize("kind", ["a link", "another kind"])
def test_an_output_that_is_something_else_is_left_as_it_is(
    project: Project, folder: Path, tmp_path: Path, name: str, kind: str
) -> None:
    place = tmp_path / name
    if kind == "a link":
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to(tmp_path / "elsewhere")
    elif name == "sub.csv.journal":
        place.write_text("mine")
    else:
        place.mkdir()
    with pytest.raises(UserError, match=rf"{name}: not a (regular file|folder); "):
        run(folder, tmp_path / "sub.csv", project.layout.models, overwrite=True)
    assert not (tmp_path / "sub.csv").is_file()
    assert not list(tmp_path.glob("elsewhere/*"))


@pytest.mark.parametrize("name", ["lock", "run.json", "x.shard", "manifest.jsonl"])
def test_a_table_may_be_called_as_the_journals_files_are(
    project: Project, folder: Path, tmp_path: Path, name: str
) -> None:
    run(folder, tmp_path / "plain.csv", project.layout.models)
    run(folder, tmp_path / name, project.layout.models)
    assert (tmp_path / name).read_bytes() == (tmp_path / "plain.csv").read_bytes()


def test_among_the_images_a_journal_is_no_image_and_resumes(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    run(folder, tmp_path / "plain.csv", project.layout.models)
    before = contents(folder)
    interrupt(folder, folder / "sub.csv", project.layout.models)
    run(folder, folder / "sub.csv", project.layout.models, resume=True)
    assert tables(folder / "sub.csv") == tables(tmp_path / "plain.csv")
    assert {path: data for path, data in contents(folder).items() if not path.startswith("sub.csv")} == before


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
@pytest.mark.parametrize("lock", [b"", b'{"pid": 1, "host": "here", "started": "today"}', b"4711"])
def test_a_folder_in_the_journals_place_with_somebodys_thesis_is_refused_and_stays(
    project: Project, folder: Path, tmp_path: Path, how: dict[str, bool], lock: bytes
) -> None:
    thesis = tmp_path / "out" / "my.csv.journal" / "thesis"
    thesis.mkdir(parents=True)
    (thesis / "chapter1.txt").write_text("years", encoding="utf-8")
    (thesis.parent / "lock").write_bytes(lock)
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match=r"my.csv.journal: holds other files, such as '(lock|thesis)'; move"):
        run(folder, tmp_path / "out" / "my.csv", project.layout.models, **how)
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_a_journal_of_an_earlier_version_is_never_deleted(
    project: Project, folder: Path, tmp_path: Path, how: dict[str, bool]
) -> None:
    journal = interrupt(folder, tmp_path / "out.csv", project.layout.models)
    (journal / "journal").unlink()
    before = contents(journal)
    with pytest.raises(UserError, match=r"an earlier version of cxrscore.*remove the folder if nobody"):
        run(folder, tmp_path / "out.csv", project.layout.models, **how)
    assert contents(journal) == before


def test_what_a_storage_device_puts_into_the_journal_neither_goes_nor_stops_a_run(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    out_csv, models = tmp_path / "sub.csv", project.layout.models
    run(folder, tmp_path / "plain.csv", models)
    journal = interrupt(folder, out_csv, models)
    (journal / "@eaDir" / "000000000.shard").mkdir(parents=True)
    (journal / "@eaDir" / "000000000.shard" / "SYNO").write_bytes(b"x")
    for name in (".DS_Store", ".nfs0000000000000012"):
        (journal / name).write_bytes(b"x")
    stays = {name: data for name, data in contents(journal).items() if data == b"x"} | {
        "journal": b"cxrscore journal 1\n"
    }
    for how in ({"resume": True}, {"overwrite": True}, {"resume": True}):
        heard = Heard()
        assert run(folder, out_csv, models, heard, **how).scored == 40
        assert tables(out_csv) == tables(tmp_path / "plain.csv")
        assert contents(journal) == stays
        done_before = how == {"resume": True} and heard.total == -1
        assert done_before or any("sub.csv.journal: not removed, as it holds" in said for said in heard.said)
