"""The state of a training is whole or not there, and no other training resumes from it."""

import dataclasses
import errno
import hashlib
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import COUPLING, Project, contents
from some_heads import head_params
from trainings import Told, states, stops_at, train

from cxrscore.core.errors import Busy, Stopped, UserError
from cxrscore.core.import_closure import closure
from cxrscore.core.paths import Layout
from cxrscore.core.signals import Asked
from cxrscore.model.checkpoint import read_card
from cxrscore.train import Keeping
from cxrscore.training.learner import Learner
from cxrscore.training.resume_state import KEPT, StateFolder, fingerprint, state_root


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "training" / "0123456789abcdef")


def save(folder: StateFolder, step: int) -> None:
    folder.save(step, {"w": torch.full((3,), float(step)), "count": torch.tensor(step)}, {"step": step})


def newest(folder: StateFolder) -> Path:
    return max(folder.folder.glob("state-*"))


def damage_to(data: bytes, kind: str) -> bytes:
    return {
        "empty": b"",
        "cut": data[:-1],
        "header alone": data[:100],
        "zeros": bytes(len(data)),
        "zeros at its end": data[:-8] + bytes(8),
        "longer": data + b"\0",
    }[kind]


def loaded_step(folder: StateFolder) -> int | None:
    tensors, facts, _ = folder.load()
    assert bool(tensors) == bool(facts)
    if tensors:
        assert (tensors["w"] == facts["step"]).all()
        assert set(tensors) == {"w", "count"}
    return facts.get("step")


def test_the_newest_state_is_loaded_and_the_last_two_are_kept(folder: StateFolder) -> None:
    assert folder.load() == ({}, {}, [])
    for step in (2, 9, 10, 1000):
        save(folder, step)
        assert loaded_step(folder) == step
        assert len(list(folder.folder.iterdir())) <= KEPT
    newest(folder).unlink()
    assert loaded_step(folder) == 10


def test_tensors_and_facts_come_back_as_they_were(folder: StateFolder) -> None:
    tensors = {
        "half": torch.randn(2, 3).half(),
        "turned": torch.randn(4, 5).t(),
        "count": torch.tensor(7),
        "none": torch.zeros(0, 3),
    }
    facts = {"loss": [0.1, 1e-300, 3.0000000000000004], "best": {}, "scaler": None}
    folder.save(1, tensors, facts)
    found, found_facts, notes = folder.load()
    assert (found_facts, notes) == (facts, [])
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype is tensor.dtype
        assert torch.equal(found[name], tensor)


def test_a_loss_that_is_no_number_comes_back_as_such(folder: StateFolder) -> None:
    folder.save(1, {"w": torch.zeros(1)}, {"losses": [float("nan"), float("inf"), 0.5]})
    found = folder.load()[1]["losses"]
    assert [str(loss) for loss in found] == ["nan", "inf", "0.5"]


@pytest.mark.parametrize("kind", ["empty", "cut", "header alone", "zeros", "zeros at its end", "longer"])
def test_a_damaged_state_gives_way_to_the_one_before_with_a_note(folder: StateFolder, kind: str) -> None:
    save(folder, 1)
    save(folder, 2)
    path = newest(folder)
    path.write_bytes(damage_to(path.read_bytes(), kind))
    _, facts, (note,) = folder.load()
    assert facts["step"] == 1
    assert note.startswith(f"a state is left out: {path}: ")


def test_no_flipped_bit_goes_unnoticed(folder: StateFolder) -> None:
    save(folder, 1)
    save(folder, 2)
    path = newest(folder)
    whole = path.read_bytes()
    for i in range(len(whole)):
        damaged = bytearray(whole)
        damaged[i] ^= 1 << (i % 8)
        path.write_bytes(damaged)
        assert loaded_step(folder) == 1, f"bit {i % 8} of byte {i}"


def test_a_damaged_state_does_not_outlive_whole_ones_by_its_number(folder: StateFolder) -> None:
    save(folder, 100)
    save(folder, 101)
    for path in folder.folder.iterdir():
        os.truncate(path, path.stat().st_size // 2)
    folder.load()
    save(folder, 3)
    save(folder, 4)
    assert loaded_step(folder) == 4
    newest(folder).unlink()
    assert loaded_step(folder) == 3


def test_where_both_are_damaged_it_begins_anew_and_says_so(folder: StateFolder) -> None:
    save(folder, 1)
    save(folder, 2)
    for path in folder.folder.iterdir():
        os.truncate(path, path.stat().st_size // 2)
    tensors, facts, notes = folder.load()
    assert (tensors, facts) == ({}, {})
    assert not list(folder.folder.iterdir())
    assert ["state-000000002" in notes[0], "state-000000001" in notes[1]] == [True, True]


def test_a_damaged_state_is_replaced_by_the_next_one_of_its_step(folder: StateFolder) -> None:
    save(folder, 1)
    newest(folder).write_bytes(b"")
    save(folder, 1)
    assert loaded_step(folder) == 1


def test_what_a_killed_writer_left_is_removed(folder: StateFolder) -> None:
    save(folder, 1)
    (folder.folder / ".state-000000002.safetensors.77.tmp").write_bytes(b"half")
    assert loaded_step(folder) == 1
    with folder.held("out 0"):
        assert sorted(path.name for path in folder.folder.iterdir()) == ["lock", newest(folder).name]


def test_a_state_outlives_the_run_and_an_empty_folder_does_not(folder: StateFolder) -> None:
    with folder.held("out 0"):
        save(folder, 1)
    assert loaded_step(folder) == 1
    with folder.held("out 0"):
        folder.drop()
    assert not folder.folder.exists()


def test_dropped_states_are_gone_with_the_good_weights(folder: StateFolder) -> None:
    save(folder, 1)
    save(folder, 2)
    folder.good.write_bytes(b"")
    folder.drop()
    assert list(folder.folder.iterdir()) == []
    folder.drop()


def test_two_runs_of_one_training_do_not_share_its_folder(folder: StateFolder) -> None:
    with folder.held("out 0"):
        save(folder, 1)
        with (
            pytest.raises(Busy, match=rf"{folder.folder.parent}: another run .* process {os.getpid()} on "),
            StateFolder(folder.folder).held("out 0"),
        ):
            pass
        assert loaded_step(folder) == 1
    with folder.held("out 0"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_where_nothing_can_be_written_the_states_before_stand(
    folder: StateFolder, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(folder, 1)
    save(folder, 2)
    before = contents(folder.folder)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("cxrscore.core.files.os.fsync", refuse)
    with pytest.raises(Stopped, match=rf"{folder.folder}: {os.strerror(number)}; free some space") as stopped:
        save(folder, 3)
    assert stopped.value.code == 4
    assert contents(folder.folder) == before


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to make a file longer, as it does on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_is_full_within_the_tensors_stops_the_run(folder: StateFolder) -> None:
    save(folder, 1)
    before = contents(folder.folder)
    with files_of_at_most(5000), pytest.raises(Stopped, match=r"free some space"):
        folder.save(2, {"w": torch.zeros(100_000)}, {"step": 2})
    assert contents(folder.folder) == before


def test_the_state_is_beside_the_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXRSCORE_STATE", raising=False)
    assert state_root(tmp_path / "out") == tmp_path / ".cxrscore" / "training"
    monkeypatch.chdir(tmp_path)
    assert state_root(Path("out")) == tmp_path / ".cxrscore" / "training"


@pytest.mark.parametrize("place", [".dvc/tmp/exps/standalone/tmpab12", ".dvc/tmp/exps/temp/x/project"])
def test_an_experiment_in_a_copy_keeps_its_state_in_the_project(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXRSCORE_STATE", raising=False)
    copy = tmp_path / "project" / place
    (copy / ".dvc" / "tmp").mkdir(parents=True)  # a copy is a project itself
    assert state_root(copy / "out") == tmp_path / "project" / ".cxrscore" / "training"


def test_the_environment_names_another_place_before_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXRSCORE_STATE", str(tmp_path / "elsewhere"))
    assert state_root(tmp_path / ".dvc/tmp/exps/x/out") == tmp_path / "elsewhere"


def test_a_fingerprint_changes_with_every_value_and_not_with_the_order() -> None:
    facts = {"fold": 0, "train": {"lr": 1e-3, "seed": 0}}
    assert fingerprint(facts) == fingerprint({"train": {"seed": 0, "lr": 1e-3}, "fold": 0})
    others = [facts | {"fold": 1}, facts | {"fold": "0"}, facts | {"train": {"lr": 1.1e-3, "seed": 0}}]
    assert len({fingerprint(other) for other in [facts, *others]}) == 4


def stopped_after(project: Project, steps: int, **how: Any) -> Told:
    """A run that is asked to stop within its steps-th step, and all it said."""
    asked = Asked()
    told = Told(stops_at(steps, asked, signal.SIGTERM))
    with pytest.raises(Stopped, match=r"SIGTERM after .* are kept") as stopped:
        train(project, told=told, asked=asked, **how)
    assert stopped.value.code == 143
    return told


@pytest.fixture(scope="module")
def stopped(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A training of two epochs, stopped after three of its four steps. Shared: read only."""
    root = tmp_path_factory.mktemp("stopped")
    made = project.copy_to(root)
    shutil.rmtree(made.layout.root / "models")
    stopped_after(made, 3)
    assert len(states(made)) == 2  # the state and the lock
    return made


@pytest.fixture
def mine(stopped: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The stopped training in a place of its own."""
    monkeypatch.delenv("CXRSCORE_STATE", raising=False)
    shutil.copytree(stopped.layout.root.parent, tmp_path / "mine")
    (tmp_path / "data").mkdir()
    shutil.copy(stopped.labels, tmp_path / "data")
    root = tmp_path / "mine" / stopped.layout.root.name
    return dataclasses.replace(stopped, data=tmp_path / "data", layout=Layout(root))


def more(path: Path) -> None:
    """The same table by another byte."""
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")


def turned(path: Path) -> None:
    """The same table by other line ends."""
    path.write_text(path.read_text(encoding="utf-8").replace("\n", "\r\n"), encoding="utf-8")


def retold(about: Path) -> None:
    """The same images, prepared by other rules."""
    about.write_text(json.dumps({"preprocessing": "another", "bit_depth": None}), encoding="utf-8")


def touch_up(prepared: Path) -> None:
    """The same sources, and one other pixel in the last row, as the index says."""
    shard, index_csv = prepared / "shard-00000.npy", prepared / "index.csv"
    pixels = np.load(shard)
    pixels[-1, 0, 0] ^= 1
    np.save(shard, pixels)
    *first, last = index_csv.read_text(encoding="utf-8").splitlines()
    last = f"{last.rpartition(',')[0]},{hashlib.sha256(pixels[-1].tobytes()).hexdigest()}"
    index_csv.write_text("\n".join([*first, last, ""]), encoding="utf-8")


OTHERS: dict[str, tuple[dict[str, Any], Callable[[Project], None]]] = {
    "seed": ({"seed": 1}, lambda _: None),
    "rate": ({"lr": 1.9e-3}, lambda _: None),
    "epochs": ({"epochs": 3}, lambda _: None),
    "head": (
        {"head": head_params(COUPLING | {"alpha": 0.2})},
        lambda _: None,
    ),
    "labels": ({}, lambda project: more(project.labels)),
    "folds": ({}, lambda project: turned(project.layout.folds)),
    "number format": ({"dtype": torch.bfloat16}, lambda _: None),
    "pixels themselves": ({}, lambda project: touch_up(project.layout.prepared)),
    "rules of the pixels": ({}, lambda project: retold(project.layout.prepared / "about.json")),
}


def test_the_same_training_goes_on_and_leaves_nothing_over(mine: Project) -> None:
    told = Told()
    train(mine, told=told)
    assert "resuming after 1 steps of epoch 2" in told.lines
    assert mine.layout.checkpoint(0).exists()
    assert list((mine.layout.root.parent / ".cxrscore" / "training").iterdir()) == []


@pytest.mark.parametrize("changes", OTHERS)
def test_another_training_begins_anew_and_the_state_stays(mine: Project, changes: str) -> None:
    settings, change = OTHERS[changes]
    (state,) = (path for path in states(mine) if path.name != "lock")
    before = state.read_bytes()
    change(mine)
    assert not stopped_after(mine, 1, **settings).goes_on
    assert state.read_bytes() == before
    assert len({path.parent for path in states(mine)}) == 2
    assert stopped_after(mine, 1, **settings).goes_on


@pytest.mark.parametrize("name", ["fingerprint_of_code", "versions"])
def test_other_code_and_another_torch_begin_anew(
    mine: Project, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"fingerprint_of_code": lambda _: "0" * 64, "versions": lambda: {"torch": "0.1"}}
    with monkeypatch.context() as patch:
        patch.setattr(f"cxrscore.training.job.{name}", other[name])
        assert not stopped_after(mine, 1).goes_on
    assert stopped_after(mine, 1).goes_on


def test_the_code_of_the_fingerprint_is_that_of_the_steps() -> None:
    parts = {
        "train",
        "training/epochs",
        "training/learner",
        "training/batches",
        "training/augment",
        "model/loss",
        "model/network",
        "core/device",
    }
    assert {f"cxrscore/{part}.py" for part in parts} <= set(closure("cxrscore.train"))


def test_a_fresh_run_forgets_the_state(mine: Project) -> None:
    assert not stopped_after(mine, 1, keeping=Keeping(fresh=True)).goes_on
    (state,) = (path for path in states(mine) if path.name != "lock")
    assert state.name == "state-000000001.safetensors"


def test_a_damaged_state_of_a_training_is_told_and_the_end_is_the_same(
    mine: Project, project: Project
) -> None:
    (state,) = (path for path in states(mine) if path.name != "lock")
    state.write_bytes(bytes(state.stat().st_size))
    told = Told()
    train(mine, told=told)
    assert not told.goes_on
    assert any(line.startswith("a state is left out: ") for line in told.lines)
    assert mine.layout.checkpoint(0).read_bytes() == project.layout.checkpoint(0).read_bytes()


def test_another_training_of_the_same_outputs_waits_its_turn(mine: Project) -> None:
    (state,) = (path for path in states(mine) if path.name != "lock")
    outputs = f"{mine.layout.root.resolve()} 0"
    with (
        StateFolder(state.parent.parent / "another").held(outputs),
        pytest.raises(Busy, match=r"another run is writing there, process \d+ on "),
    ):
        train(mine, seed=7)
    train(mine, seed=7, epochs=1)


def test_half_files_of_a_killed_run_go(mine: Project) -> None:
    half = mine.layout.models / ".fold0.safetensors.4711.tmp"
    other = mine.layout.models / ".fold1.safetensors.4711.tmp"
    for path in (half, other):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    train(mine, epochs=1)
    assert (half.exists(), other.exists()) == (False, True)


def test_a_place_that_cannot_hold_states_is_named(
    mine: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CXRSCORE_STATE", str(tmp_path / "file" / "below"))
    with pytest.raises(UserError, match=r"cannot hold the state of a training .*CXRSCORE_STATE"):
        train(mine)


def test_states_removed_by_hand_while_it_trains_are_no_fault(mine: Project) -> None:
    root = mine.layout.root.parent / ".cxrscore"
    told = Told(lambda: shutil.rmtree(root, ignore_errors=True))
    train(mine, told=told)
    assert mine.layout.checkpoint(0).exists()


def test_a_training_under_way_is_not_begun_again(mine: Project) -> None:
    (state,) = (path for path in states(mine) if path.name != "lock")
    before = contents(mine.layout.root)
    with (
        StateFolder(state.parent).held("out 0"),
        pytest.raises(Busy, match=r"another run is writing there, process \d+ on "),
    ):
        train(mine, keeping=Keeping(fresh=True))
    assert state.exists()
    assert contents(mine.layout.root) == before


def test_the_best_weights_of_a_training_that_diverges_lie_where_its_state_was(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, usual, steps = project.copy_to(tmp_path), Learner._loss, []

    def not_finite_in_epoch_1(*args: Any, **kwargs: Any) -> torch.Tensor:
        steps.append(None)
        return usual(*args, **kwargs) * (torch.nan if len(steps) > 2 else 1)

    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match=r"2 steps in a row.*epoch 1 \(macro-AUC 0") as told,
    ):
        patch.setattr(Learner, "_loss", not_finite_in_epoch_1)
        train(mine, max_bad_steps=1)
    (good,) = (path for path in states(mine) if path.name != "lock")
    assert f"is kept: {good}." in str(told.value)
    assert read_card(good).epoch == 0
    train(mine, max_bad_steps=1)
    assert states(mine) == []


def test_a_state_folder_loses_only_what_trainings_wrote(folder: StateFolder) -> None:
    with folder.held("outputs"):
        save(folder, 7)
    theirs = ("notes.txt", ".thesis.tex.4711.tmp", ".x.tmp", "state-best.safetensors", "deep/chapter1.txt")
    for name in theirs:
        (folder.folder / name).parent.mkdir(exist_ok=True)
        (folder.folder / name).write_bytes(b"years")
    for half in (".state-000000007.safetensors.4711.tmp", ".good.safetensors.4711.tmp"):
        (folder.folder / half).write_bytes(b"half")
    with folder.held("outputs"):
        assert loaded_step(folder) == 7
        folder.drop()
    assert sorted(contents(folder.folder)) == sorted(theirs)
    (folder.folder / "state-best.safetensors").unlink()
    with folder.held("outputs"):
        pass
    assert sorted(contents(folder.folder)) == sorted(set(theirs) - {"state-best.safetensors"})
