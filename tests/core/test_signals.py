"""A run that is asked to stop keeps what it has, says how to resume, and leaves no process behind."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import Project

from cxrscore.core.device import Machine
from cxrscore.core.progress import Silent
from cxrscore.core.signals import ASKING, asked_to_stop
from cxrscore.score import score
from cxrscore.scoring.options import Options

COPIES = 12  # of 40 images, in batches of one: seconds of work
START_S, STOP_S = 120.0, 10.0


@pytest.mark.parametrize("number", ASKING)
def test_the_first_signal_sets_the_flag_and_nothing_else(number: signal.Signals) -> None:
    with asked_to_stop() as asked:
        assert asked.number == 0
        signal.raise_signal(number)
        assert asked.number == number


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, "stopping after the work under way; press Ctrl-C again to stop now\n"),
        (signal.SIGTERM, "stopping after the work under way\n"),
    ],
)
def test_the_first_signal_is_answered_at_once_and_only_once(
    capfd: pytest.CaptureFixture[str], number: signal.Signals, said: str
) -> None:
    with asked_to_stop():
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)
        until = time.monotonic() + STOP_S
        while not (heard := capfd.readouterr().err) and time.monotonic() < until:
            time.sleep(0.01)
    assert heard + capfd.readouterr().err == said


def test_one_process_of_a_training_answers_for_all(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with asked_to_stop():
        signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", ASKING)
def test_what_nohup_ignores_stays_ignored(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with asked_to_stop() as asked:
            signal.raise_signal(number)
            assert asked.number == 0
    finally:
        signal.signal(number, before)


def test_a_second_ctrl_c_ends_it_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), asked_to_stop() as asked:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        assert asked.number == signal.SIGTERM  # neither hurries it, nor changes the exit code
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("error", [None, KeyError, KeyboardInterrupt])
def test_afterwards_signals_mean_what_they_meant(error: type[BaseException] | None) -> None:
    before = [signal.getsignal(number) for number in ASKING]
    try:
        with asked_to_stop():
            assert [signal.getsignal(number) for number in ASKING] != before
            if error:
                raise error
    except (KeyError, KeyboardInterrupt):
        pass
    assert [signal.getsignal(number) for number in ASKING] == before


def test_outside_the_main_thread_nothing_asks_and_nothing_breaks() -> None:
    numbers = []

    def work() -> None:
        with asked_to_stop() as asked:
            numbers.append(asked.number)

    before = [signal.getsignal(number) for number in ASKING]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert numbers == [0]
    assert [signal.getsignal(number) for number in ASKING] == before


@pytest.fixture(scope="module")
def crowd(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """480 radiographs, and one file that is none."""
    folder = tmp_path_factory.mktemp("crowd")
    for path in (project.data / "images").iterdir():
        for i in range(COPIES):
            os.link(path, folder / f"{i}_{path.name}")
    (folder / "z.jpg").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def whole(project: Project, crowd: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table of a run that nobody stops."""
    out_csv = tmp_path_factory.mktemp("whole") / "sub.csv"
    score(
        str(crowd),
        out_csv,
        Options(workers=2, batch_size=1, shard_rows=16),
        models=project.layout.models,
        machine=Machine(torch.device("cpu"), torch.float32),
        progress=Silent(),
    )
    return out_csv.read_bytes()


def test_a_command_that_keeps_nothing_says_that_it_was_interrupted(tmp_path: Path) -> None:
    waited_for = tmp_path / "labels.csv"
    os.mkfifo(waited_for)
    with begin(["evaluate", "--scores", str(waited_for), "--labels", str(waited_for)]) as run:
        writer = None
        while writer is None:
            with suppress(OSError):  # until it reads
                writer = os.open(waited_for, os.O_WRONLY | os.O_NONBLOCK)
            time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=STOP_S)
        os.close(writer)
    assert (run.returncode, said.splitlines()[-1]) == (130, "interrupted")


def words(project: Project, crowd: Path, out_csv: Path) -> list[str]:
    files = ["score", str(crowd), "-o", str(out_csv), "--models", str(project.layout.models)]
    slowly = ["--workers", "2", "--batch-size", "1", "--shard-rows", "16"]
    return [*files, *slowly, "--device", "cpu", "--dtype", "fp32"]


def begin(arguments: list[str], *, closed: str = "") -> "subprocess.Popen[str]":
    """As a terminal starts it: at the head of a process group of its own."""
    return subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "cxrscore", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for_shards(out_csv: Path, run: "subprocess.Popen[str]") -> None:
    journal, until = out_csv.with_name(f"{out_csv.name}.journal"), time.monotonic() + START_S
    while len(list(journal.glob("*.shard"))) < 3:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until, "it does not begin"
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    """Of all its threads."""
    lists = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
    return [int(word) for path in lists for word in path.read_text(encoding="utf-8").split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for_end(pids: list[int]) -> None:
    until = time.monotonic() + STOP_S
    while any(map(is_alive, pids)):
        assert time.monotonic() < until, "a worker is left"
        time.sleep(0.02)


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_and_then_the_command_it_names_give_the_same_table(
    project: Project, crowd: Path, whole: bytes, tmp_path: Path
) -> None:
    out_csv = tmp_path / "sub, 1.csv"
    with begin(words(project, crowd, out_csv)) as run:
        wait_for_shards(out_csv, run)
        workers = children(run.pid)
        assert len(workers) == 2
        begun = time.monotonic()
        os.killpg(run.pid, signal.SIGINT)
        _, said = run.communicate()
    assert time.monotonic() - begun < STOP_S
    assert (run.returncode, out_csv.exists()) == (130, False)
    wait_for_end(workers)
    *_, told, command = said.splitlines()
    assert "of 481 files done and kept. Resume with:" in told
    name, *arguments = shlex.split(command)
    assert (name, arguments) == ("cxrscore", [*words(project, crowd, out_csv), "--resume"])
    with begin(arguments) as run:
        _, said = run.communicate()
    assert (run.returncode, out_csv.read_bytes()) == (3, whole)
    assert "resuming: " in said and "481 listed = 480 scored + 1 quarantined" in said
    assert not out_csv.with_name(f"{out_csv.name}.journal").exists()


@pytest.mark.slow
def test_a_second_run_on_an_output_is_turned_away_and_sigterm_ends_the_first(
    project: Project, crowd: Path, tmp_path: Path
) -> None:
    out_csv = tmp_path / "sub.csv"
    with begin(words(project, crowd, out_csv)) as run:
        wait_for_shards(out_csv, run)
        os.kill(run.pid, signal.SIGSTOP)  # it would be done before the other has begun
        with begin([*words(project, crowd, out_csv), "--resume"]) as second:
            _, refused = second.communicate()
        assert second.returncode == 5
        assert f"another run is writing there, process {run.pid} on " in refused
        workers = children(run.pid)
        begun = time.monotonic()
        os.kill(run.pid, signal.SIGTERM)
        os.kill(run.pid, signal.SIGCONT)
        _, said = run.communicate()
    assert time.monotonic() - begun < STOP_S
    assert run.returncode == 143
    assert said.splitlines()[-1].startswith("cxrscore score ")
    wait_for_end(workers)


@pytest.mark.slow
def test_a_killed_run_leaves_no_worker_and_no_lock(
    project: Project, crowd: Path, whole: bytes, tmp_path: Path
) -> None:
    out_csv = tmp_path / "sub.csv"
    with begin(words(project, crowd, out_csv)) as run:
        wait_for_shards(out_csv, run)
        workers = children(run.pid)
        run.kill()
        run.communicate()
    wait_for_end(workers)
    score(
        str(crowd),
        out_csv,
        Options(workers=2, batch_size=1, shard_rows=16, resume=True),
        models=project.layout.models,
        machine=Machine(torch.device("cpu"), torch.float32),
        progress=Silent(),
    )
    assert out_csv.read_bytes() == whole


@pytest.mark.slow
def test_without_anybody_to_tell_it_stops_all_the_same(project: Project, crowd: Path, tmp_path: Path) -> None:
    out_csv = tmp_path / "sub.csv"
    with begin(words(project, crowd, out_csv), closed="2>&-") as run:
        wait_for_shards(out_csv, run)
        run.send_signal(signal.SIGINT)
        run.wait(STOP_S)
    assert (out_csv.with_name("sub.csv.journal") / "run.json").exists()
    assert run.returncode == 130
