"""Decoding processes that stand still: at names with `stall` the first time, with `hang` every time."""

import textwrap
from pathlib import Path

import pytest

PROGRAM = """
    import hashlib, json, os, signal, sys, time
    from pathlib import Path
    sys.path[:] = json.loads(sys.argv[1])
    from cxrscore.images.decoding import worker

    really = worker.decode_into

    def decode_into(row, index, path, place, **how):
        met = Path(__file__).with_name(hashlib.sha256(path.encode()).hexdigest())
        if "stall" in path and not met.exists():
            met.touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        if "hang" in path:
            time.sleep(1e6)
        return really(row, index, path, place, **how)

    worker.decode_into = decode_into
    worker.main()
"""


def stalling(folder: Path, monkeypatch: pytest.MonkeyPatch, *, longer_s: float = 20.0) -> None:
    """From here on; who is tried again has `longer_s`. `folder` keeps who was met before."""
    folder.mkdir()
    (folder / "worker.py").write_text(textwrap.dedent(PROGRAM), encoding="utf-8")
    monkeypatch.setattr("cxrscore.images.decoding.worker_process.WORKER", (str(folder / "worker.py"),))
    monkeypatch.setattr("cxrscore.images.decoding.pool.SECOND_S", longer_s)
    monkeypatch.setattr("cxrscore.images.decoding.pool.SECOND_TIMES", 1)


def stall_again(folder: Path) -> None:
    """Those that stood still once do so once more."""
    for met in folder.iterdir():
        if met.name != "worker.py":
            met.unlink()
