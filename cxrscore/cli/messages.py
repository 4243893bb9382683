"""What the commands print: notes, warnings and how to resume on stderr, results on stdout.

In    notes, counts and metrics; argv, for the call that resumes this one.
Out   lines, and the exit code of a stopped run; a closed stderr is not an error.
"""

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from cxrscore.cli.terminal import Terminal, draw, notes_encoding, on_screen, print_lines, print_notes
from cxrscore.core.text_table import Block, TextTable, is_hidden, plain_text

TRAIN_PATIENCE_S = 8.0  # a step on a CPU may take a minute; nobody waits that long after Ctrl-C
OF_A_TRAINING = ("CXRSCORE_DEVICE", "CXRSCORE_DTYPE", "CXRSCORE_STATE")  # another value: another training
RARE = {"turned_upright": "rotated or flipped by EXIF", "turned_gray": "in colour, turned gray"}


def on_terminal() -> "closing[Terminal]":
    return closing(Terminal())


def tell(notes: Iterable[str]) -> None:
    print_notes(*(f"note: {note}" for note in notes))


def tell_warnings(warnings: Iterable[str]) -> None:
    print_notes(*(f"warning: {warning}" for warning in warnings))


def say_how_to_resume(why: Sequence[str], command: str) -> None:
    *before, last = why
    print_notes(*before, f"{last}. Resume with:", command)


def show(facts: dict[str, Any], blocks_of: Callable[[dict[str, Any]], list[Block]], *, as_json: bool) -> None:
    """For a program, for a pipe or file as plain text, or for a person at a terminal."""
    if as_json:
        text = json.dumps(facts, indent=1).replace("\x7f", "\\u007f")  # the one control that it leaves
        print_lines(*text.split("\n"))
    elif on_screen():
        draw(blocks_of(facts))
    else:
        print_lines(*plain_text(blocks_of(facts)).split("\n"))


def shell_words(words: Iterable[str]) -> str:
    """As bash reads them back. Characters that are not shown as they are go into $'...', by their bytes."""
    encoding = notes_encoding()
    return " ".join(_quoted(word, encoding) for word in words)


def _quoted(word: str, encoding: str) -> str:
    shown = [c if not is_hidden(c) and _can_write(c, encoding) else None for c in word]
    if None not in shown:
        return shlex.quote(word)
    escaped = (
        "".join(f"\\x{byte:02x}" for byte in os.fsencode(char)) if seen is None else _escaped(seen)
        for char, seen in zip(word, shown, strict=True)
    )
    return f"$'{''.join(escaped)}'"


def _can_write(char: str, encoding: str) -> bool:
    return char.encode(encoding, "ignore") != b""


def _escaped(char: str) -> str:
    return f"\\{char}" if char in "\\'" else char


def resuming_command(more: Iterable[str]) -> str:
    """This very call with --resume in place of --overwrite, and `more` options."""
    words = [word for word in sys.argv[1:] if word not in ("--overwrite", "--resume")]
    end = words.index("--") if "--" in words else len(words)
    return shell_words(["cxrscore", *words[:end], "--resume", *more, *words[end:]])


def training_command() -> str:
    """What resumes this training: the stage if DVC called it, or this very call."""
    stage = os.environ.get("DVC_STAGE")
    words = [word for word in sys.argv[1:] if word != "--fresh"]
    machine = [
        f"{name}={shell_words([value])}"
        for name, value in sorted(os.environ.items())
        if name in OF_A_TRAINING
    ]
    return " ".join([*machine, shell_words(["dvc", "repro", stage] if stage else ["cxrscore", *words])])


@contextmanager
def resumable() -> Iterator[None]:
    """Around trainings: one that is stopped says how to resume it, and exits with its code."""
    from cxrscore.core.errors import Stopped

    try:
        yield
    except KeyboardInterrupt as again:
        last_words(signal.SIGINT)
        raise SystemExit(128 + signal.SIGINT) from again  # not Exit, of which __main__ tells
    except Stopped as stopped:
        _say_stopped(stopped.lines)
        raise SystemExit(stopped.code) from stopped


def last_words(number: int) -> None:
    """Of a training that did not finish its step in time."""
    _say_stopped(["stopped within a training step; the last saved state is kept"])


def _say_stopped(why: Sequence[str]) -> None:
    from cxrscore.training.launch import launched

    if not launched() or os.environ["RANK"] == "0":  # the first process says it, or its launcher
        say_how_to_resume(why, training_command())


def facts_blocks(facts: dict[str, Any]) -> list[Block]:
    """One row per fact; of a dictionary, one row per entry. A fact of RARE is shown if there is any."""
    rows = []
    for name, fact in facts.items():
        if isinstance(fact, dict):
            rows += [[f"  {kind}", f"{count:,}"] for kind, count in fact.items()]
        elif fact is not None and (fact or name not in RARE):
            rows.append([RARE.get(name, name.replace("_", " ")), f"{fact:,}"])
    return [TextTable(rows, gap=" ")]


def decision_blocks(metrics: dict[str, Any]) -> list[Block]:
    """Errors before and after calibration, coverage and kept calls, out of fold and on the held-out test, a
    model's calls beside those it keeps.
    """
    rows = []
    for where, found in {"out of fold": metrics, "test": metrics.get("test", {})}.items():
        for name in ("calibration_error", "brier", "log_loss", "macro_auc"):
            if name in found:
                before, after = found[name]["before"], found[name]["after"]
                rows.append(
                    [where, name.replace("_", " "), f"{before:.4f} before", f"{after:.4f} calibrated"]
                )
        for truth, share in found.get("coverage", {}).items():
            rows.append([where, f"coverage, {truth}", f"{share:.4f}", ""])
        if "calls_kept" in found:
            rows.append([where, "share of calls kept", "", f"{found['calls_kept']:.4f} kept"])
        for name, words in (("ppv", "right, of calls of 1"), ("npv", "right, of calls of 0")):
            if name in found:
                of_all, kept = found[name]["all"], found[name]["kept"]
                rows.append([where, words, f"{of_all:.4f} of all", f"{kept:.4f} of those kept"])
    return [TextTable(rows)]
