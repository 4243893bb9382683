"""A run of the scorer is killed at every moment there is, and must end with the bytes of one left alone.

In    nothing, or a folder of images and one of checkpoints; how many kills.
Out   lines such as `fresh, at every call: identical: 412 of 412`; exit code 1 where one was not.

    python tests/programs/kills.py --random 100 --every

A child is forked for each run, from a process that has imported torch and computed nothing yet. SIGKILL comes
from the parent at random, or from the child itself just before, just after and, of a write, within the n-th
call that changes the disk. Random kills are followed by a power cut: the newest file loses its end, or its
bytes. The runs write all there is to write: a template, bad files, a spread; in shards of seven rows.
"""

import argparse
import builtins
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import timm  # noqa: F401 - imported here, once, for all the children
import torch

from cxrscore.core.device import Machine, seeded
from cxrscore.core.errors import Stopped, UserError
from cxrscore.core.progress import Silent
from cxrscore.images.reading import PREPROCESSING
from cxrscore.model.checkpoint import Card, load_fold, save_checkpoint
from cxrscore.model.heads.registry import head_settings
from cxrscore.model.network import build_model
from cxrscore.phantom import make_phantoms
from cxrscore.score import score
from cxrscore.scoring.options import Options

CALLS = ("fsync", "replace", "rename", "unlink", "remove", "mkdir", "rmdir", "write", "ftruncate")
FINDINGS = ["Atelectasis", "Cardiomegaly", "Edema", "Pneumothorax"]
HEAD = {"kind": "coupling", "dropout": 0.1, "alpha": 0.3, "l1": 1e-3, "prox": False, "lr_scale": 1.0}
BAD = {"0.jpg": b"", "m.png": b"\x89PNG\r\n\x1a\n cut off", "z.jpg": b"<html>404 Not Found</html>"}
SHARD_ROWS, BATCH_SIZE = 7, 5
ANOTHER = 2  # the exit code of a UserError
BROKEN = 70
NAMES = ("", ".errors.csv", ".manifest.csv", ".std.csv", ".provenance.json")


@dataclass(frozen=True)
class Scene:
    """What is scored, and by what; `root` is for outputs."""

    images: Path
    models: Path
    template: Path
    root: Path


@dataclass
class Tally:
    """Runs that ended as they should, of all; `kills` of these runs; `wrong` says how others ended."""

    runs: int = 0
    kills: int = 0
    anew: int = 0  # killed before the run had begun, which --resume says
    wrong: list[str] = field(default_factory=list)

    def add(self, name: str, faults: list[str]) -> None:
        self.runs += 1
        if faults:
            self.wrong.append(f"{name}: {'; '.join(faults)}")

    def __str__(self) -> str:
        return f"identical: {self.runs - len(self.wrong)} of {self.runs} ({self.kills} kills)"


def scored(scene: Scene, folder: Path, **changes: Any) -> int:
    """The run whose bytes are compared; the exit code of the CLI."""
    options: dict[str, Any] = {
        "template": scene.template,
        "std": True,
        "shard_rows": SHARD_ROWS,
        "batch_size": BATCH_SIZE,
        "workers": 0,
    }
    try:
        score(
            str(scene.images),
            folder / "sub.csv",
            Options(**options | changes),
            models=scene.models,
            machine=Machine(torch.device("cpu"), torch.float32),
            progress=Silent(),
        )
    except UserError as error:
        (scene.root / "refused.txt").write_text(str(error))
        return ANOTHER
    except Stopped as stopped:
        return stopped.code
    return 0


def refusal(scene: Scene) -> str:
    """Why the last run that was refused was so."""
    told = scene.root / "refused.txt"
    return told.read_text() if told.exists() else ""


def forked(work: Callable[[], int]) -> int:
    """-> the child's pid; it ends with the exit code that `work` returns."""
    child = os.fork()
    if child:
        return child
    code = BROKEN
    try:
        code = work()
    except BaseException:  # noqa: BLE001 - the parent sees the exit code, a person the traceback
        traceback.print_exc()
    os._exit(code)


def ended(child: int) -> int:
    """The exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Points:
    """Counts the moments around calls that change the disk; at moment `last` the process ends."""

    def __init__(self, last: int | None = None) -> None:
        self.count, self.last = 0, last

    def pass_one(self) -> None:
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def install(self) -> None:
        """In this process, for good."""
        for name in CALLS:
            setattr(os, name, self._around(getattr(os, name)))
        io.open = builtins.open = self._open(io.open)

    def _around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def around(*args: Any, **kwargs: Any) -> Any:
            self.pass_one()
            result = call(*args, **kwargs)
            self.pass_one()
            return result

        return around

    def _open(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        points = self

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                points.pass_one()
                half = len(memoryview(data)) // 2
                count = super().write(memoryview(data)[:half]) if half else 0
                points.pass_one()  # torn
                count += super().write(memoryview(data)[half:])
                points.pass_one()
                return count

        def opened(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any) -> Any:
            if not set(mode) & set("wxa") or isinstance(file, int) or "opener" in named:
                return usual(file, mode, buffering, *rest, **named)
            points.pass_one()
            raw = Raw(file, mode.replace("b", "").replace("t", ""))
            points.pass_one()
            binary = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
            return binary if "b" in mode else io.TextIOWrapper(binary, *rest, **named)

        return opened


def count_points(scene: Scene, folder: Path, **changes: Any) -> int:
    """How many moments a run has at which it can be killed."""
    told = scene.root / "points.txt"

    def work() -> int:
        points = Points()
        points.install()
        code = scored(scene, folder, **changes)
        count = points.count
        told.write_text(str(count))
        return code

    code = ended(forked(work))
    assert code == 0, (code, refusal(scene))
    return int(told.read_text())


def killed_at(scene: Scene, folder: Path, point: int, **changes: Any) -> int:
    def work() -> int:
        Points(point).install()
        return scored(scene, folder, **changes)

    return ended(forked(work))


def contents(folder: Path) -> dict[str, str]:
    """sha256 of every file of a run; of the provenance without the time of day."""
    found = {}
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b"a folder"
        if path.name.endswith("provenance.json"):
            data = json.dumps(json.loads(data) | {"finished": ""}).encode()
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def differences(folder: Path, expected: dict[str, str]) -> list[str]:
    found = contents(folder)
    return [
        *(f"{name} is missing" for name in expected.keys() - found.keys()),
        *(f"{name} is left over" for name in found.keys() - expected.keys()),
        *(f"{name} differs" for name in found.keys() & expected.keys() if found[name] != expected[name]),
    ]


def table_faults(folder: Path, old: str | None, expected: dict[str, str]) -> list[str]:
    """After a kill the table is the old one, or the new one with all its files around it."""
    found = contents(folder)
    table = found.get("sub.csv")
    if table == old:
        return []
    if table != expected["sub.csv"]:
        return ["the table is neither the old one nor the new one"]
    return [f"the new table without its {name}" for name in expected if found.get(name) != expected[name]]


def go_on(scene: Scene, folder: Path, tally: Tally, **changes: Any) -> list[str]:
    """Resume until it is done -> what went wrong. A run that had not begun is reported, and begun."""
    code = ended(forked(lambda: scored(scene, folder, **changes | {"resume": True, "overwrite": False})))
    refused = refusal(scene) if code == ANOTHER else ""
    if "a finished run with" in refused and not (folder / "sub.csv.journal").exists():
        tally.anew += 1
        code = ended(forked(lambda: scored(scene, folder, **changes | {"overwrite": True})))
    return [] if code == 0 else [f"exit code {code} {refused}"]


@dataclass(frozen=True)
class Story:
    """A run to be killed: what lies there before it, and how it is called."""

    name: str
    before: Path | None
    changes: dict[str, Any]

    def set_up(self, folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        if self.before is None:
            folder.mkdir()
        else:
            shutil.copytree(self.before, folder)
        return folder

    def old_table(self) -> str | None:
        return contents(self.before).get("sub.csv") if self.before else None


def stories(scene: Scene) -> Iterator[Story]:
    """A first run; one over another's complete output; one that resumes where a kill ended the last."""
    yield Story("fresh", None, {})
    old = scene.root / "old"
    old.mkdir()
    assert ended(forked(lambda: scored(scene, old, folds=(0,), std=False, template=None))) == 0
    yield Story("overwrite", old, {"overwrite": True})
    stopped = scene.root / "stopped"
    stopped.mkdir()
    points = count_points(scene, Story("", None, {}).set_up(scene.root / "run"))
    assert killed_at(scene, stopped, points // 3) == -signal.SIGKILL
    assert len(list(stopped.glob("*/*.shard"))) > 1
    yield Story("resume", stopped, {"resume": True})


def kill_everywhere(scene: Scene, story: Story, expected: dict[str, str], *, step: int, at: int) -> Tally:
    """One run a moment, every `step`-th from `at` on."""
    tally, folder = Tally(), scene.root / "run"
    points = count_points(scene, story.set_up(folder), **story.changes)
    for point in range(at, points, step):
        code = killed_at(scene, story.set_up(folder), point, **story.changes)
        faults = [] if code == -signal.SIGKILL else [f"exit code {code} instead of a kill"]
        faults += table_faults(folder, story.old_table(), expected)
        tally.kills += 1
        faults += go_on(scene, folder, tally)
        tally.add(f"{story.name}, moment {point}", faults + differences(folder, expected))
    return tally


def kill_at_random(
    scene: Scene, story: Story, expected: dict[str, str], *, runs: int, chance: random.Random
) -> Tally:
    """Kills by the parent, one after the other, and after half of them the newest file is torn."""
    tally, folder = Tally(), scene.root / "run"
    begun = time.monotonic()
    story.set_up(folder)
    assert ended(forked(lambda: scored(scene, folder, **story.changes))) == 0
    whole_s = time.monotonic() - begun
    for run in range(runs):
        story.set_up(folder)
        changes, faults, code = story.changes, [], -signal.SIGKILL
        for _ in range(chance.randint(1, 4)):
            if code == -signal.SIGKILL:
                code = _killed_after(whole_s * chance.uniform(0.2, 1.1), scene, folder, changes)
                tally.kills += code == -signal.SIGKILL
                faults += table_faults(folder, story.old_table(), expected)
                if code == -signal.SIGKILL and chance.random() < 0.5:
                    tear(folder / "sub.csv.journal", chance)
                changes = {"resume": True}
        faults += go_on(scene, folder, tally)
        tally.add(f"{story.name}, run {run}", faults + differences(folder, expected))
    return tally


def _killed_after(seconds: float, scene: Scene, folder: Path, changes: dict[str, Any]) -> int:
    child = forked(lambda: scored(scene, folder, **changes))
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return ended(child)


def tear(journal: Path, chance: random.Random) -> None:
    """What a disk that lies does at a power cut: the newest shard or temporary file is cut, or is zeros."""
    files = [path for path in journal.glob("*") if path.suffix in (".shard", ".tmp")]
    if not files:
        return
    newest = max(files, key=lambda path: (path.stat().st_mtime_ns, path.name))
    data = newest.read_bytes()
    keep = chance.choice([0, chance.randint(0, len(data)), max(0, len(data) - 1)])
    zeros = bytes(len(data) - keep) if chance.random() < 0.5 else b""
    newest.write_bytes(data[:keep] + zeros)


def make_models(folder: Path, cpu: Machine) -> None:
    for k in range(2):
        with seeded(cpu, k):
            model = build_model(
                "test_resnet", init="none", findings=len(FINDINGS), head=head_settings(HEAD), size=32
            )
        prevalence = [0.1] * len(FINDINGS)
        facts: dict[str, Any] = {"backbone": "test_resnet", "head": HEAD, "size": 32, "k": 2, "epoch": 1}
        card = Card(
            FINDINGS,
            "Image_name",
            **facts,
            preprocessing=PREPROCESSING,
            fold=k,
            macro_auc=0.5,
            prevalence=prevalence,
            params={},
            sha256={},
            versions={},
        )
        save_checkpoint(folder / f"fold{k}.safetensors", model.state_dict(), card)


def make_scene(root: Path, images: Path | None, models: Path | None) -> Scene:
    """In children: nothing may be computed before the last fork."""
    scene = Scene(root / "images", models or root / "models", root / "template.csv", root / "work")
    scene.root.mkdir()
    if images is None:
        images = root / "phantoms" / "images"
        assert ended(forked(lambda: make_phantoms(root / "phantoms", images=48, size=48, seed=0) or 0)) == 0
    shutil.copytree(images, scene.images)
    for name, data in BAD.items():
        (scene.images / name).write_bytes(data)
    cpu = Machine(torch.device("cpu"), torch.float32)
    if models is None:
        assert ended(forked(lambda: make_models(scene.models, cpu) or 0)) == 0
    assert ended(forked(lambda: _write_template(scene, cpu))) == 0
    return scene


def _write_template(scene: Scene, cpu: Machine) -> int:
    names = sorted(path.name for path in scene.images.iterdir())
    random.Random(0).shuffle(names)
    findings = load_fold(next(scene.models.glob("*.safetensors")), cpu).card.findings
    zeros = ",0" * len(findings)
    lines = [",".join(["id", *reversed(findings)]), *(name + zeros for name in names)]
    scene.template.write_text("\n".join(lines) + "\n")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=Path, help="else phantoms")
    parser.add_argument("--models", type=Path, help="else two tiny ones, not trained")
    parser.add_argument("--random", type=int, default=0, help="runs killed at random, of each kind")
    parser.add_argument("--every", nargs="?", type=int, const=1, default=0, help="every n-th moment")
    parser.add_argument("--at", type=int, default=0, help="the first of these moments")
    parser.add_argument("--only", help="fresh, overwrite or resume")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["CXRSCORE_CACHE"] = str(Path(temporary) / "cache")
        scene = make_scene(Path(temporary), args.images, args.models)
        alone = scene.root / "alone"
        alone.mkdir()
        assert ended(forked(lambda: scored(scene, alone))) == 0
        expected = contents(alone)
        assert sorted(expected) == sorted(f"sub.csv{name}" for name in NAMES), expected
        for story in stories(scene):
            if args.only and story.name not in (args.only, "stopped"):
                continue
            begun = time.monotonic()
            tallies = {}
            if args.every:
                tallies["at every call"] = kill_everywhere(
                    scene, story, expected, step=args.every, at=args.at
                )
            if args.random:
                chance = random.Random(f"{args.seed} {story.name}")
                tallies["at random"] = kill_at_random(scene, story, expected, runs=args.random, chance=chance)
            for how, tally in tallies.items():
                anew = f", {tally.anew} before the run had begun" if tally.anew else ""
                sys.stdout.write(f"{story.name}, {how}: {tally}{anew}\n")
                wrong += tally.wrong
            sys.stdout.write(f"  {time.monotonic() - begun:.0f} s\n")
            sys.stdout.flush()
    sys.stdout.writelines(f"WRONG {line}\n" for line in wrong)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
