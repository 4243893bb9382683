"""Files are decoded in order by processes that may die: what a file does to its own costs that file alone."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrscore.core.errors import BrokenPromise, UserError
from cxrscore.images.decoding import worker_process
from cxrscore.images.decoding.decode import Decoded
from cxrscore.images.decoding.pool import Batch, decode_batches
from cxrscore.images.inputs.byte_source import Place
from cxrscore.images.reading import read_image

# The worker's program with decoders that do to it what the file's name says.
POISONED = """
    import ctypes, json, os, signal, sys, time
    sys.path[:] = json.loads(sys.argv[1])
    from cxrscore.images.decoding import decode, worker

    def stop():
        os.kill(os.getpid(), signal.SIGSTOP)

    def spin():
        while True:
            pass

    def no_memory():
        raise MemoryError

    def work():
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass

    DEEDS = {
        "work": work,
        "segfault": lambda: ctypes.string_at(0),
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "exit": lambda: os._exit(3),
        "stop": stop,
        "spin": spin,
        "sleep": lambda: time.sleep(1e6),
        "memory": no_memory,
    }
    really_decode_into, really_read_place = decode.decode_into, decode.read_place

    def decode_into(row, index, path, place, **how):
        def read_place(place):
            if "half" in path:
                row[:4] = 255
            for name, deed in DEEDS.items():
                if name in path:
                    deed()
            return really_read_place(place)

        decode.read_place = read_place
        return really_decode_into(row, index, path, place, **how)

    worker.decode_into = decode_into
    worker.main()
"""


class Folder:
    """A listing of files under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, path: str) -> Place:
        return Place(str(self.root / path))


def a_png(seed: int, shape: tuple[int, int] = (40, 50)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def a_folder(root: Path, names: Sequence[str]) -> list[str]:
    """Sound images, whatever their names; those called `cut` are damaged."""
    for seed, name in enumerate(names):
        data = a_png(seed, (40 + seed % 20, 50))
        (root / name).write_bytes(data[:-9] if "cut" in name else data)
    return list(names)


def program(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    monkeypatch.setattr("cxrscore.images.decoding.worker_process.WORKER", (str(path),))


@pytest.fixture
def poisoned(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path_factory.mktemp("program") / "worker.py", POISONED, monkeypatch)


def run(
    root: Path,
    paths: Sequence[str],
    *,
    workers: int,
    size: int = 16,
    batch_size: int = 4,
    start: int = 0,
    timeout_s: float = 10.0,
) -> list[Batch]:
    """All batches, copied as each is only valid until the next."""
    batches = decode_batches(
        Folder(root),
        paths,
        size=size,
        batch_size=batch_size,
        workers=workers,
        start=start,
        timeout_s=timeout_s,
    )
    return [kept(batch) for batch in batches]


def kept(batch: Batch) -> Batch:
    pixels = batch.pixels.copy()
    for row, one in enumerate(batch.items):
        assert one.pixels is None or np.shares_memory(one.pixels, batch.pixels[row])
    items = [replace(one, pixels=None if one.fault else pixels[row]) for row, one in enumerate(batch.items)]
    return Batch(batch.start, tuple(items), pixels)


def items_of(batches: Sequence[Batch]) -> list[Decoded]:
    return [one for batch in batches for one in batch.items]


def told(batches: Sequence[Batch]) -> list[tuple[object, ...]]:
    """Everything that can be compared."""
    facts = [
        (one.index, one.path, one.sha256, one.width, one.height, one.orientation, one.bytes, str(one.fault))
        for one in items_of(batches)
    ]
    return [*((batch.start, len(batch.items), batch.pixels.tobytes()) for batch in batches), *facts]


def faults(batches: Sequence[Batch]) -> dict[str, tuple[str, str]]:
    """Path -> kind, and what was found."""
    found = {one.path: one.fault for one in items_of(batches) if one.fault}
    return {path: (fault.kind, str(fault).partition("; ")[0]) for path, fault in found.items()}


def check(batches: Sequence[Batch], root: Path, paths: Sequence[str], size: int = 16) -> None:
    """Listed = decoded + faults, in order, and each sound file has the pixels of its own bytes."""
    items = items_of(batches)
    assert [(one.index, one.path) for one in items] == list(enumerate(paths))
    for batch in batches:
        for row, one in enumerate(batch.items):
            expected = 0 if one.fault else read_image((root / one.path).read_bytes(), size=size)
            assert (batch.pixels[row] == expected).all(), one.path
        assert not batch.pixels[len(batch.items) :].any()


def children(parent: int | None = None) -> set[int]:
    tasks = Path(f"/proc/{parent or os.getpid()}/task").iterdir()
    return {pid for task in tasks for pid in _listed(task / "children")}


def _listed(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text(encoding="utf-8").split()]
    except FileNotFoundError:  # the thread has ended
        return []


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_path_has_its_own_pixels_or_its_own_fault_in_order(tmp_path: Path, workers: int) -> None:
    names = a_folder(tmp_path, [f"{i:02}{'cut' if i % 3 == 2 else ''}.png" for i in range(14)])[::-1]
    (tmp_path / "empty").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    paths = [*names[:5], "gone.png", "empty", *names[5:], "fifo"]
    batches = run(tmp_path, paths, workers=workers)
    found = faults(batches)
    assert found.pop("gone.png") == ("VANISHED", "there is no such file")
    assert found.pop("empty")[0] == "EMPTY_FILE"
    assert found.pop("fifo") == ("IO_ERROR", "not a regular file")
    assert {path: kind for path, (kind, _) in found.items()} == {
        name: "TRUNCATED" for name in names if "cut" in name
    }
    assert [(one.index, one.path) for one in items_of(batches)] == list(enumerate(paths))
    assert [batch.start for batch in batches] == [0, 4, 8, 12, 16]


def test_results_are_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    names = a_folder(tmp_path, [f"{i:02}{'cut' if i % 5 == 2 else ''}.png" for i in range(30)])
    expected = run(tmp_path, names, workers=0)
    check(expected, tmp_path, names)
    for workers in (1, 2, 3):
        assert told(run(tmp_path, names, workers=workers)) == told(expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_rows_after_the_last_file_and_of_faults_are_zero_though_the_ring_was_full(
    tmp_path: Path, workers: int
) -> None:
    names = a_folder(tmp_path, [*(f"{i:02}.png" for i in range(16)), "cut", "x"])
    last = run(tmp_path, names, workers=workers)[-1]
    assert last.start == 16 and len(last.items) == 2 and last.pixels.shape == (4, 16, 16)
    assert [bool(row.any()) for row in last.pixels] == [False, True, False, False]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_may_start_later_and_keeps_the_numbers_of_its_files(tmp_path: Path, workers: int) -> None:
    names = a_folder(tmp_path, [f"{i:02}.png" for i in range(11)])
    whole = run(tmp_path, names, workers=0)
    assert told(run(tmp_path, names, workers=workers, start=4)) == told(whole[1:])
    assert [batch.start for batch in run(tmp_path, names, workers=workers, start=3)] == [3, 7]


@pytest.mark.parametrize("workers", [0, 2])
def test_no_paths_give_no_batches(tmp_path: Path, workers: int) -> None:
    assert run(tmp_path, [], workers=workers) == []
    assert run(tmp_path, ["a"], workers=workers, start=1) == []


def test_names_that_are_no_text_reach_the_worker_as_they_are(tmp_path: Path) -> None:
    name = os.fsdecode(b'caf\xe9 \n\t".png')
    (tmp_path / name).write_bytes(a_png(0))
    paths = [name, "n" * 1_000_000, "é.png"]  # the second is more than a socket takes at once
    assert faults(run(tmp_path, paths, workers=1)) == {
        paths[1]: ("IO_ERROR", "the file cannot be read: File name too long"),
        paths[2]: ("VANISHED", "there is no such file"),
    }


@pytest.mark.parametrize(
    ("deed", "words"),
    [("segfault", "SIGSEGV in string_at (__init__.py:"), ("kill", "SIGKILL"), ("exit", "exit code 3")],
)
def test_a_file_that_ends_its_worker_twice_is_quarantined_alone(
    tmp_path: Path, poisoned: None, deed: str, words: str
) -> None:
    names = a_folder(tmp_path, ["a", "b", deed, "c", "d", "e", "f", "g", "h"])
    started = time.monotonic()
    batches = run(tmp_path, names, workers=2)
    assert time.monotonic() - started < 8
    check(batches, tmp_path, names)
    assert list(faults(batches)) == [deed]
    kind, message = faults(batches)[deed]
    assert kind == "WORKER_CRASH"
    assert message.startswith(f"it ended two decoding processes, the last by {words}")


@pytest.mark.parametrize(
    ("deed", "words"),
    [("spin", " in spin (worker.py:"), ("sleep", " in <lambda> (worker.py:"), ("stop", "")],
)
def test_a_file_that_hangs_is_quarantined_with_the_function_it_hung_in(
    tmp_path: Path, poisoned: None, deed: str, words: str
) -> None:
    names = a_folder(tmp_path, ["a", "b", deed, "c", "d", "e"])
    started = time.monotonic()
    batches = run(tmp_path, names, workers=2, timeout_s=1)
    assert time.monotonic() - started < 6
    check(batches, tmp_path, names)
    assert list(faults(batches)) == [deed]
    kind, message = faults(batches)[deed]
    assert kind == "TIMEOUT" and message.startswith(f"no pixels after 1 s{words}")
    assert words or message == "no pixels after 1 s"  # who was stopped cannot tell where


def test_a_machine_that_was_asleep_does_not_blame_a_file_for_the_time(tmp_path: Path, poisoned: None) -> None:
    names = a_folder(tmp_path, ["a", "work"])
    code = f"""
        from cxrscore.images.decoding import dispatch, worker_process
        from cxrscore.images.inputs.byte_source import Files
        from cxrscore.images.decoding.pool import decode_batches
        worker_process.WORKER = {worker_process.WORKER!r}
        dispatch.TICK_S, dispatch.ASLEEP_S = 0.1, 0.2
        for batch in decode_batches(
            Files({str(tmp_path)!r}), {names!r}, size=16, batch_size=1, workers=1, timeout_s=2
        ):
            print(batch.items[0].fault, flush=True)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"None\n"
        everybody = [*children(parent.pid), parent.pid]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in everybody:
                os.kill(pid, number)
            time.sleep(2.5 if number == signal.SIGSTOP else 0)
        assert parent.stdout.read() == b"None\n"


def test_a_decoder_without_memory_costs_its_file_and_not_its_worker(tmp_path: Path, poisoned: None) -> None:
    names = a_folder(tmp_path, ["a", "memory", "b"])
    batches = run(tmp_path, names, workers=1)
    check(batches, tmp_path, names)
    assert faults(batches)["memory"][1].startswith("unexpected MemoryError in no_memory (worker.py:")


def test_poison_first_and_last_and_several_in_a_batch(tmp_path: Path, poisoned: None) -> None:
    names = ["kill0", "a", "kill3", "segfault4", "exit5", "b", "cut", "c", "d", "kill9"]
    batches = run(tmp_path, a_folder(tmp_path, names), workers=2)
    check(batches, tmp_path, names)
    assert {name: kind for name, (kind, _) in faults(batches).items()} == {"cut": "TRUNCATED"} | {
        name: "WORKER_CRASH" for name in names if name[-1].isdigit()
    }


def test_nothing_but_poison_still_ends(tmp_path: Path, poisoned: None) -> None:
    names = a_folder(tmp_path, [f"kill{i}" for i in range(5)])
    batches = run(tmp_path, names, workers=2)
    check(batches, tmp_path, names)
    assert len(faults(batches)) == 5


def test_a_worker_that_dies_halfway_through_a_row_leaves_nothing_in_it(
    tmp_path: Path, poisoned: None
) -> None:
    names = a_folder(tmp_path, ["a", "half kill", "b"])
    (batch,) = run(tmp_path, names, workers=1)
    assert not batch.pixels[1].any() and batch.pixels[0].any() and batch.pixels[2].any()


def test_workers_that_are_killed_from_outside_cost_no_file(tmp_path: Path) -> None:
    names = a_folder(tmp_path, [f"{i:03}.png" for i in range(300)])
    batches, killed, others = [], 0, children()
    rng = np.random.default_rng(0)
    for batch in decode_batches(Folder(tmp_path), names, size=16, batch_size=10, workers=2):
        batches.append(kept(batch))
        if batch.start % 40 == 0 and batch.start < 240:  # the ring has changed: no file is met twice
            os.kill(int(rng.choice(sorted(children() - others))), signal.SIGKILL)
            killed += 1
    check(batches, tmp_path, names)
    assert killed == 6 and faults(batches) == {}


def test_a_worker_that_is_stopped_from_outside_is_replaced(tmp_path: Path) -> None:
    names = a_folder(tmp_path, [f"{i:03}.png" for i in range(40)])
    batches, others = [], children()
    for batch in decode_batches(
        Folder(tmp_path), names, size=16, batch_size=4, workers=1, depth=2, timeout_s=1
    ):
        batches.append(kept(batch))
        if batch.start == 0:
            os.kill(*(children() - others), signal.SIGSTOP)
    check(batches, tmp_path, names)
    assert {kind for kind, _ in faults(batches).values()} <= {"TIMEOUT"}
    assert len(faults(batches)) <= 1


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("leave", ["close", "error", "end"])
def test_leaving_leaves_no_process_thread_or_file_behind(tmp_path: Path, workers: int, leave: str) -> None:
    names = a_folder(tmp_path, [f"{i:03}.png" for i in range(60)])
    before = (children(), threading.active_count(), descriptors())
    batches = decode_batches(Folder(tmp_path), names, size=16, batch_size=4, workers=workers)
    next(batches)
    started = time.monotonic()
    if leave == "close":
        batches.close()
    elif leave == "error":
        with pytest.raises(KeyboardInterrupt):
            batches.throw(KeyboardInterrupt)
    else:
        assert len(list(batches)) == 14
    assert time.monotonic() - started < 3
    assert (children(), threading.active_count(), descriptors()) == before


def test_leaving_does_not_wait_for_a_worker_that_hangs(tmp_path: Path, poisoned: None) -> None:
    names = a_folder(tmp_path, ["a", "stop", "spin"])
    batches = decode_batches(Folder(tmp_path), names, size=16, batch_size=1, workers=2)
    next(batches)
    started = time.monotonic()
    batches.close()
    assert time.monotonic() - started < 2


def test_workers_die_with_a_parent_that_is_killed_also_when_they_hang(tmp_path: Path, poisoned: None) -> None:
    names = a_folder(tmp_path, ["a", "spin", "stop"])
    code = f"""
        from cxrscore.images.decoding import worker_process
        from cxrscore.images.inputs.byte_source import Files
        from cxrscore.images.decoding.pool import decode_batches
        worker_process.WORKER = {worker_process.WORKER!r}
        batches = decode_batches(Files({str(tmp_path)!r}), {names!r}, size=16, batch_size=1, workers=3)
        next(batches)
        print(flush=True)
        input()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"\n"
        workers = children(parent.pid)
        assert len(workers) == 3
        parent.kill()
    until = time.monotonic() + 3
    while (alive := [pid for pid in workers if is_running(pid)]) and time.monotonic() < until:
        time.sleep(0.02)
    assert not alive


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_workers_let_the_parent_decide_about_signals(tmp_path: Path) -> None:
    names = a_folder(tmp_path, [f"{i:03}.png" for i in range(40)])
    others, seen, batches = children(), set(), []
    for batch in decode_batches(Folder(tmp_path), names, size=16, batch_size=4, workers=1, depth=2):
        batches.append(kept(batch))
        if batch.start < 32:  # later it may have left, its work done
            (worker,) = children() - others
            seen.add(worker)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(worker, number)
    check(batches, tmp_path, names)
    assert len(seen) == 1 and faults(batches) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_module", "by exit code 1: (?s:.*)No module named 'no_such_module'"),
        ("import os; os.kill(os.getpid(), 9)", "by SIGKILL: it wrote nothing"),
    ],
)
def test_workers_that_cannot_start_are_an_error_and_not_a_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    program(tmp_path / "worker.py", text, monkeypatch)
    before = (children(), threading.active_count(), descriptors())
    with pytest.raises(RuntimeError, match=f"fail to start; the last one was ended {words}"):
        run(tmp_path, ["a"], workers=2)
    assert (children(), threading.active_count(), descriptors()) == before


def test_a_worker_that_never_gets_ready_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "worker.py", "import time; time.sleep(1e6)", monkeypatch)
    monkeypatch.setattr("cxrscore.images.decoding.dispatch.START_S", 0.3)
    with pytest.raises(RuntimeError, match="fail to start; the last one was ended"):
        run(tmp_path, ["a"], workers=1)


def test_an_error_in_the_thread_reaches_the_consumer_with_its_traceback(tmp_path: Path) -> None:
    class Lost(Folder):
        def place(self, path: str) -> Place:
            raise LookupError("which archive?")

    stream = decode_batches(Lost(tmp_path), ["a"], size=16, batch_size=1, workers=1)
    with pytest.raises(LookupError, match="which archive"):
        next(stream)


def test_an_answer_to_another_question_is_never_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        import json, sys
        sys.path[:] = json.loads(sys.argv[1])
        from dataclasses import replace
        from cxrscore.images.decoding import worker
        really = worker.decode_into
        def next_one(row, index, *rest, **how):
            return replace(really(row, index, *rest, **how), index=index + 1)
        worker.decode_into = next_one
        worker.main()
    """
    program(tmp_path / "worker.py", text, monkeypatch)
    with pytest.raises(BrokenPromise, match="another question"):
        run(tmp_path, a_folder(tmp_path, ["a", "b"]), workers=1)


def test_pixels_that_the_machine_has_no_memory_for_are_an_error_before_any_is_touched(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"MiB of memory for pixels .* more than half of this machine's"):
        run(tmp_path, ["a"] * 100_000, workers=1, size=10_000, batch_size=50_000)


@pytest.mark.parametrize("workers", [0, 1])
def test_memory_that_the_system_refuses_is_a_clear_error(tmp_path: Path, workers: int) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot be allocated: .*; use a smaller --batch-size"):
            run(tmp_path, ["a"], workers=workers, size=256)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_worker_imports_no_torch_and_starts_soon() -> None:
    code = "import sys, cxrscore.images.decoding.worker; print(*sys.modules)"
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 3
    assert not {"torch", "polars", "typer", "pydantic", "sklearn", "subprocess"} & set(done.stdout.split())


@pytest.mark.parametrize("options", [[], ["-I"], ["-P"], ["-O", "-X", "dev", "-W", "error"]])
def test_workers_import_what_their_parent_imports_and_nothing_from_the_current_folder(
    tmp_path: Path, options: list[str]
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the json.py of the current folder')")
    (tmp_path / "numpy.py").write_text("raise SystemExit('the numpy.py of the current folder')")
    (tmp_path / "x.png").write_bytes(a_png(0))
    code = f"""
        import sys
        sys.path[:] = {sys.path!r}
        from cxrscore.images.inputs.byte_source import Files
        from cxrscore.images.decoding.pool import decode_batches
        for batch in decode_batches(Files({str(tmp_path)!r}), ["x.png"], size=16, batch_size=1, workers=1):
            print(batch.items[0].fault, batch.pixels.any())
    """
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.stdout, done.stderr) == ("None True\n", "")


def test_a_parent_without_stdin_stdout_and_stderr_has_workers_too(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(a_png(0))
    code = f"""
        import os
        for number in range(3):
            os.close(number)
        from cxrscore.images.inputs.byte_source import Files
        from cxrscore.images.decoding.pool import decode_batches
        for batch in decode_batches(Files({str(tmp_path)!r}), ["x.png"], size=16, batch_size=1, workers=2):
            os._exit(0 if batch.pixels.any() else 3)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=20)


def test_thousands_of_files_take_no_more_memory_than_a_few(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(a_png(0))
    others, resident = children(), []
    for batch in decode_batches(Folder(tmp_path), ["x.png"] * 5000, size=32, batch_size=50, workers=2):
        if batch.start % 1000 == 0:
            resident.append([rss_mib(pid) for pid in (os.getpid(), *sorted(children() - others))])
    grown = np.subtract(resident[-1], resident[1])
    assert len(grown) == 3 and grown.max() < 8


def rss_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_more_decoders_than_the_memory_bears_are_refused_before_they_start(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"9999 decoding processes may need 6\d{3}\.\d GB, .*; use at most \d+\."
    ):
        run(tmp_path, ["x.png"], workers=9999)
