"""Several processes train what one trains, and whatever becomes of one of them, the work is kept."""

import json
import math
import os
import shlex
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_ranks
from conftest import Project, contents, make_project
from test_training_signals import begin, read_until
from training_ranks import CASES, POISONED, POISONED_STEP, SEEDS, train_case
from trainings import states

from cxrscore.core.errors import UserError
from cxrscore.tables.score_table import read_scores
from cxrscore.training.launch import check_devices
from cxrscore.training.process_group import ALONE, World, rank_rows

SIZE = 2
STOP_S = 15.0
SAME = [case for case in CASES if "norm" in case]
# Losses and scores of two processes and of one. Sums are rounded in another order: 6e-7 at three SIMD levels,
# and 4e-5 once, since AdamW's first steps follow a gradient's sign, also that of one which is almost zero.
SAME_UP_TO = 2e-4


@pytest.mark.parametrize(("parts", "size"), [(1, 1), (1, 2), (2, 2), (3, 2), (2, 4), (4, 1)])
def test_the_processes_rows_of_a_part_are_the_part(parts: int, size: int) -> None:
    rng = np.random.default_rng(0)
    each, steps = 3, 5
    batch = parts * size * each
    rows = rng.permutation(steps * batch + each - 1)
    mine = [rank_rows(rows, batch_size=batch, parts=parts, world=World(rank, size)) for rank in range(size)]
    at = 0
    for step in range(steps):
        for part in range(parts):
            for rank in range(size):
                assert mine[rank][step, part * each : (part + 1) * each].tolist() == list(
                    rows[at : at + each]
                )
                at += each
    assert all(found.shape == (steps, parts * each) for found in mine)


def test_one_process_alone_has_every_row_in_order() -> None:
    rows = np.arange(23)
    assert rank_rows(rows, batch_size=8, parts=2, world=ALONE).tolist() == rows[:16].reshape(2, 8).tolist()


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (
            "auto",
            r"--gpus 1000: this machine has \d+ CUDA devices; give at most that many, or use --device cpu",
        ),
        (
            "cuda:1",
            r"--device cuda:1: with --gpus each process has a device of its own; leave the option out",
        ),
    ],
)
def test_processes_without_a_gpu_each_are_refused(device: str, message: str) -> None:
    check_devices("cpu", 1000)
    with pytest.raises(UserError, match=message):
        check_devices(device, 1000)


@dataclass(frozen=True)
class Seen:
    """What the single process and each of the two saw, by case, and where their outputs are."""

    alone: dict[str, Any]
    ranks: dict[str, list[Any]]
    root: Path

    def scores(self, case: str, *, views: bool) -> list[Any]:
        """The out-of-fold tables of the single process and of the two."""
        name = "fold0.views.csv" if views else "fold0.csv"
        outputs = (self.root / "alone" / case, self.root / "ranks" / case)
        return [read_scores(folder / "out" / "oof" / name)[:4] for folder in outputs]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def untrained(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Prepared images and folds, and no output of the train stage; data beside them. Read only."""
    root = tmp_path_factory.mktemp("untrained")
    (root / "data").symlink_to(phantoms)
    return make_project(root / "data", root)


@pytest.fixture(scope="module")
def seen(untrained: Project, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Every case, trained by two processes and by this one."""
    root = tmp_path_factory.mktemp("seen")
    (root / "ranks").mkdir()
    words = [training_ranks.__file__, str(untrained.layout.root.parent), str(root / "ranks")]
    world = {"WORLD_SIZE": str(SIZE), "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    runs = [
        begin([], program=tuple(words), RANK=str(rank), LOCAL_RANK=str(rank), **world) for rank in range(SIZE)
    ]
    alone = {case: train_case(untrained.copy_to(root / "alone" / case), case) for case in CASES}
    said = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0] * SIZE, said
    ranks = {
        case: [json.loads((root / "ranks" / f"{case}-{rank}.json").read_text()) for rank in range(SIZE)]
        for case in CASES
    }
    return Seen(alone, ranks, root)


@pytest.mark.parametrize("case", SAME)
def test_a_step_of_two_processes_has_the_rows_and_the_loss_of_one(seen: Seen, case: str) -> None:
    alone, ranks, parts = seen.alone[case], seen.ranks[case], CASES[case].get("accumulate", 1)
    assert len(alone["rows"]) == len(alone["losses"]) == 4
    for i, rows in enumerate(alone["rows"]):
        pieces = [np.reshape(rank["rows"][i], (parts, -1)) for rank in ranks]
        assert np.concatenate(pieces, axis=1).ravel().tolist() == rows
    for rank in ranks:
        assert rank["losses"] == pytest.approx(alone["losses"], abs=SAME_UP_TO)
    assert ranks[0]["losses"] == ranks[1]["losses"]


@pytest.mark.parametrize("case", SAME)
def test_the_processes_stay_alike_to_the_bit(seen: Seen, case: str) -> None:
    first, second = seen.ranks[case]
    assert first["weights"] == second["weights"] != ""


@pytest.mark.parametrize("views", [False, True])
@pytest.mark.parametrize("case", SAME)
def test_the_table_of_two_processes_is_that_of_one(seen: Seen, case: str, views: bool) -> None:
    (_, ids, findings, alone), (_, their_ids, their_findings, together) = seen.scores(case, views=views)
    assert (their_ids, their_findings) == (ids, findings)
    assert len(set(ids)) == len(ids) == 17
    assert together == pytest.approx(alone, abs=SAME_UP_TO)


@pytest.mark.parametrize("case", CASES)
def test_only_the_first_process_writes(seen: Seen, case: str) -> None:
    first, second = seen.ranks[case]
    assert second["written"] == []
    assert bool(first["written"]) == (not first["fault"])
    assert not list((seen.root / "ranks" / case / ".cxrscore" / "training").glob("*"))


def test_what_is_not_finite_in_one_process_is_skipped_by_both(seen: Seen) -> None:
    first, second = seen.ranks[POISONED]
    assert first["skipped"] == second["skipped"] == [0, 1, 1, 1]
    assert [math.isfinite(loss) for loss in first["losses"]] == [True, False, True, True]
    assert first["weights"] == second["weights"]
    alone = seen.alone[POISONED]["losses"]
    assert first["losses"][POISONED_STEP + 1 :] == pytest.approx(alone[POISONED_STEP + 1 :], abs=SAME_UP_TO)


def test_a_fault_of_the_call_is_said_by_the_first_process_alone(seen: Seen) -> None:
    first, second = seen.ranks["a batch that does not divide"]
    message = "train.batch_size: 7 cannot be split into 1 passes of 2 processes; take a multiple of 2."
    assert (first["fault"], second["fault"], second["code"]) == (message, "", 2)
    assert first["rows"] == second["rows"] == []


def test_processes_of_different_trainings_do_not_begin(seen: Seen) -> None:
    first, second = seen.ranks[SEEDS]
    assert first["fault"] == "train: the processes see different settings, data, code or versions."
    assert second["fault"] or second["code"] == 2
    assert first["rows"] == second["rows"] == []


@pytest.fixture
def mine(untrained: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in ("CXRSCORE_STATE", "DVC_STAGE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    made = untrained.copy_to(tmp_path)
    params = untrained.layout.root.with_name("params.yaml").read_text()
    params = params.replace("epochs: 2\n", "epochs: 12\n", 1).replace("patience: 3", "patience: 12")
    (tmp_path / "params.yaml").write_text(params)
    return made


def words(project: Project, fold: int = 0) -> list[str]:
    params = project.layout.root.with_name("params.yaml")
    files = ["--labels", str(project.labels), "--out", str(project.layout.root), "--params", str(params)]
    return ["train", "--fold", str(fold), *files, "--device", "cpu"]


def descendants(pid: int) -> list[int]:
    """Processes that it started and that these started, by /proc."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *descendants(child)]
    return found


def rank_of(pid: int) -> str | None:
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((word[5:].decode() for word in environment if word.startswith(b"RANK=")), None)


def wait_for_end(pids: list[int]) -> None:
    until = time.monotonic() + STOP_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until, "a process is left"
        time.sleep(0.02)


def kill_the_launcher(arguments: list[str]) -> None:
    """Nobody is left to tell its processes; the kernel does."""
    with begin(arguments) as run:
        heard = read_until(run, "fold 0 (1 of 2), epoch 5 of ")
        ranks = [pid for pid in descendants(run.pid) if rank_of(pid)]
        run.kill()
        run.communicate()
    assert any(line.startswith("resuming after ") for line in heard)
    wait_for_end(ranks)


@pytest.mark.slow
def test_stopped_killed_without_launcher_and_started_by_torchrun_two_processes_come_to_the_end(
    mine: Project,
) -> None:
    before = contents(mine.layout.root)
    with begin([*words(mine), "--gpus", "2", "--state-every-s", "0"]) as run:
        read_until(run, "fold 0 (1 of 2), epoch 1 of ")
        ranks = {rank_of(pid): pid for pid in descendants(run.pid) if rank_of(pid)}
        begun = time.monotonic()
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate()
    assert run.returncode == 143
    assert time.monotonic() - begun < STOP_S
    wait_for_end(list(ranks.values()))
    *_, told, command = said.splitlines()
    assert told.startswith("train: SIGTERM after ")
    assert said.count("Resume with:") == 1
    name, *arguments = shlex.split(command)
    assert (name, arguments) == ("cxrscore", [*words(mine), "--gpus", "2", "--state-every-s", "0"])
    assert "Traceback" not in said

    with begin(arguments) as run:
        heard = read_until(run, "fold 0 (1 of 2), epoch 3 of ")
        ranks = {rank_of(pid): pid for pid in descendants(run.pid) if rank_of(pid)}
        os.kill(ranks["1"], signal.SIGKILL)
        _, said = run.communicate()
    assert any(line.startswith("resuming after ") for line in heard)
    assert run.returncode == 4
    wait_for_end(list(ranks.values()))
    *_, told, command = said.splitlines()
    assert told == ("train: process 1 was ended by SIGKILL; the last saved state is kept. Resume with:")
    assert shlex.split(command) == ["cxrscore", *arguments]
    assert contents(mine.layout.root) == before

    kill_the_launcher(arguments)
    assert contents(mine.layout.root) == before

    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()))
    with begin(["-m", "cxrscore", *words(mine)], program=launcher) as run:
        _, said = run.communicate()
    assert (run.returncode, said.count("resuming after ")) == (0, 1), said
    assert said.count("on cpu, fp32, 2 processes") == 1
    history = mine.layout.history(0).read_text().splitlines()
    assert [line.split(",")[0] for line in history[1:]] == [str(epoch) for epoch in range(12)]
    assert states(mine) == []


def test_a_fold_that_does_not_exist_is_said_once(mine: Project) -> None:
    with begin([*words(mine, fold=2), "--gpus", "2"]) as run:
        _, said = run.communicate()
    assert run.returncode == 2
    assert said == "error: --fold 2: there are no images in it; folds are from 0 to 1.\n"
