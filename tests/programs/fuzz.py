"""Damages image files of every format; what the reader accepts, other people's decoders have to see as well.

    python tests/programs/fuzz.py                                  # 20,000 files, a few minutes on two cores
    python tests/programs/fuzz.py --files 3000 --format TIFF --keep found/

A file is made by hand (image_files.py, tiff_files.py, jpeg_files.py), damaged (image_damage.py) and read by
cxrscore.images.reading. What that refuses is counted by kind. What it accepts, the judges read as well
(image_judges.py), and their pictures are reduced by the same rules. Found, and kept with --keep, is a file
  differs   that a judge sees of another size, or more than 1.5 of 255 away on average; 8 of 255 for JPEGs
            that the reader decodes at a reduced scale
  alone     that no judge reads
  error     for which the reader raises anything but Unreadable
  crash     at which a worker process dies
  hang      at which a worker process takes more than 20 seconds
Exit code 1 where there is one of them. What differs for a reason that `explained` knows is counted apart.
File i of a seed is the same in every run.
"""

import argparse
import logging
import multiprocessing
import os
import resource
import sys
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path += [str(Path(__file__).parents[1] / "fixtures")]  # pytest has it there already
from image_damage import damaged
from image_files import Whole, gifs, pngs
from jpeg_files import jpegs
from tiff_files import tiffs

S = 32
BOUND = 1.5  # of 255, on average
REDUCED_BOUND = 8.0  # half the size is cut off at 0 and 255 after the mean, not before: 5.5 seen in 600 files
SECONDS = 20  # for one file
MEMORY = 6 << 30  # bytes of address space of a worker
ORDER = ("TIFF", "JPEG", "PNG", "TIFF", "GIF", "JPEG", "PNG", "TIFF")  # the formats in turn
MAKERS: dict[str, list[Callable[[], Whole]]] = {
    "TIFF": tiffs(),
    "JPEG": jpegs(),
    "PNG": pngs(),
    "GIF": gifs(),
}
FOUND = ("differs", "alone", "error", "crash", "hang")
DEFAULTS = (259, 262, 277, 278, 284)  # compression, photometric, samples, rows, planes


@dataclass(frozen=True)
class Outcome:
    """What became of one file: `verdict` is `refused`, `agreed`, `explained` or one of FOUND."""

    index: int
    group: str
    name: str
    damage: str
    verdict: str
    told: str  # the kind it was refused with, or what was found
    difference: float = 0.0


@cache
def whole(format: str, number: int) -> Whole:
    return MAKERS[format][number]()


def file_of(index: int, *, seed: int, only: str | None) -> tuple[Whole, str, bytes, str]:
    """The good file, its format, the damaged bytes, and what was done to them; one in 50 stays as it is."""
    rng = np.random.default_rng([seed, index])
    format = only or ORDER[index % len(ORDER)]
    good = whole(format, int(rng.integers(len(MAKERS[format]))))
    if index % 50 == 0:
        return good, format, good.data, "nothing"
    data, damage = damaged(good.data, format, rng)
    return good, format, data, damage


def summary(pixels: NDArray[np.generic]) -> str:
    height, width = pixels.shape
    return f"{width} x {height}, mean {pixels.mean():.1f}, sd {pixels.std():.1f}"


def judged(
    data: bytes, pixels: NDArray[np.uint8], orientation: int, size: tuple[int, int]
) -> tuple[str, str, float]:
    """What the judges say of pixels that were accepted: verdict, what was found, the largest difference.

    They are imported here, in a worker: a fault of theirs may end the process.
    """
    from image_judges import JUDGES, opinion, reduced

    from cxrscore.images.reading import sniff

    format = sniff(data[:132]) or ""
    least = min(size)
    bound = REDUCED_BOUND if format == "JPEG" and least >= 4 * S else BOUND
    told, largest, read = [], 0.0, 0
    for judge in JUDGES[format]:
        gray, why = opinion(judge, data, format)
        if gray is None:
            told.append(f"{judge} does not read it ({why})")
            continue
        read += 1
        if gray.shape[::-1] != size and format != "GIF":  # whose frame may outgrow its screen
            return "differs", f"{judge} sees {summary(gray)}, we {size[0]} x {size[1]}", 255.0
        seen = reduced(gray, orientation, size=S)
        difference = float(np.abs(seen.astype(int) - pixels).mean())
        largest = max(largest, difference)
        if difference > bound:
            return (
                "differs",
                f"{judge} by {difference:.1f}: it sees {summary(seen)}, we {summary(pixels)}",
                difference,
            )
    return ("agreed", "", largest) if read else ("alone", "; ".join(told), largest)


def tried(data: bytes, accepted: Callable[[], None]) -> tuple[str, str, float]:
    """Verdict, what was found, difference. `accepted` is called before the judges are."""
    from cxrscore.core.errors import Unreadable
    from cxrscore.images.reading import decode, read_header

    try:
        header = read_header(data)
        pixels = decode(data, header, size=S)
    except Unreadable as error:
        return "refused", error.kind, 0.0
    except Exception:  # noqa: BLE001 - another exception than promised is what is looked for
        return "error", traceback.format_exc(limit=-2).strip().replace("\n", " | "), 0.0
    accepted()
    verdict, told, difference = judged(data, pixels, header.orientation, (header.width, header.height))
    if verdict in ("differs", "alone") and header.format == "TIFF" and (reason := explained(data)):
        return "explained", f"{reason}: {told}", 0.0
    return verdict, told, difference


def explained(data: bytes) -> str:
    """Why tifffile may see a TIFF otherwise and be wrong, or where the standard leaves it open."""
    from cxrscore.images.formats.tiff_directory import read_directory

    directory = read_directory(data)
    missing = [tag for tag in DEFAULTS if tag not in directory and (tag != 278 or 273 in directory)]
    if missing:
        return f"without the tags {missing} we take the defaults of TIFF 6.0 and libtiff, tifffile guesses"
    if directory.number(284, 1) == 2 and directory.number(277, 1) == 1:
        return "planes of one sample are pixels of one sample; tifffile counts other bytes"
    if 273 in directory and directory.number(257, 0) % directory.number(278, 1):
        return "the last strip is as tall as the others, which we allow and tifffile does not"
    return ""


def work(pipe: Connection, seed: int, only: str | None) -> None:
    """A worker process: indices in; per index `accepted`, if so, and the Outcome out."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable()  # tifffile's remarks
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff's remarks
    while (index := pipe.recv()) is not None:
        good, _, data, damage = file_of(index, seed=seed, only=only)
        verdict, told, difference = tried(data, lambda: pipe.send("accepted"))
        pipe.send(Outcome(index, good.group, good.name, damage, verdict, told, difference))


class Worker:
    """A process that reads and judges, and is started again where it dies or takes too long."""

    def __init__(self, seed: int, only: str | None) -> None:
        self.seed, self.only = seed, only
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, self.seed, self.only), daemon=True)
        self.process.start()
        theirs.close()

    def outcome(self, index: int) -> Outcome:
        who = "the reader"
        try:
            self.pipe.send(index)
            while self.pipe.poll(
                SECONDS + 20 * (who == "the reader")
            ):  # a process that has just started imports
                answer = self.pipe.recv()
                if isinstance(answer, Outcome):
                    return answer
                who = "a judge"
            verdict = "hang"
        except (EOFError, OSError):
            verdict = "crash"
        self.process.kill()
        self.process.join()
        good, _, _, damage = file_of(index, seed=self.seed, only=self.only)
        told = f"{who} (exit code {self.process.exitcode})"
        self.start()
        return Outcome(index, good.group, good.name, damage, verdict, told)

    def stop(self) -> None:
        self.pipe.send(None)
        self.process.join()


def outcomes(files: int, *, seed: int, only: str | None, workers: int = 2) -> list[Outcome]:
    """In the order of the files, whatever process did which."""
    waiting: Iterator[int] = iter(range(files))
    lock, done = threading.Lock(), []

    def take() -> int | None:
        with lock:
            return next(waiting, None)

    def run() -> None:
        worker = Worker(seed, only)
        while (index := take()) is not None:
            done.append(worker.outcome(index))
        worker.stop()

    threads = [threading.Thread(target=run) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(done, key=lambda one: one.index)


def table(found: list[Outcome]) -> Iterator[str]:
    """Per group: files, accepted, the largest mean difference, FOUND, and what was refused by kind."""
    columns = ("explained", *FOUND)
    yield (
        f"{'':32}{'files':>7}{'accepted':>9}{'largest':>9}"
        + "".join(f"{name:>10}" for name in columns)
        + "  refused"
    )
    groups = sorted({one.group for one in found})
    for group in [*groups, "all"]:
        those = [one for one in found if group in (one.group, "all")]
        verdicts = Counter(one.verdict for one in those)
        kinds = Counter(one.told for one in those if one.verdict == "refused")
        accepted = sum(verdicts[name] for name in ("agreed", "explained", "differs", "alone"))
        largest = max((one.difference for one in those), default=0.0)
        counts = "".join(f"{verdicts[name]:>10}" for name in columns)
        refused = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        yield f"{group:32}{len(those):>7}{accepted:>9}{largest:>9.2f}{counts}  {refused}"


def keep(one: Outcome, folder: Path, *, seed: int, only: str | None) -> None:
    """The damaged file, the good one that it was, and what was found."""
    good, format, data, _ = file_of(one.index, seed=seed, only=only)
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{one.verdict}-{seed}-{one.index:06}"
    stem.with_suffix(f".{format.lower()}").write_bytes(data)
    stem.with_suffix(f".good.{format.lower()}").write_bytes(good.data)
    stem.with_suffix(".txt").write_text(f"{one.name}\n{one.damage}\n{one.told}\n", encoding="utf-8")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Fuzz the image reader; other decoders judge.")
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=sorted(MAKERS))
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where files that are found go")
    parser.add_argument("--examples", type=int, default=5, help="how many of each class to print")
    chosen = parser.parse_args(words)
    done = outcomes(chosen.files, seed=chosen.seed, only=chosen.format)
    found = [one for one in done if one.verdict in FOUND]
    for one in found if chosen.keep else []:
        keep(one, chosen.keep, seed=chosen.seed, only=chosen.format)
    for verdict in FOUND:
        for one in [one for one in found if one.verdict == verdict][: chosen.examples]:
            say(f"{verdict}  file {one.index}: {one.name}; {one.damage}: {one.told}")
    for line in table(done):
        say(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
