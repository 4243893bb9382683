"""Calls of one of this package's functions, each in a Python process of its own, side by side.

In    a function by its name, `module:function`, and for each call keyword arguments that JSON can hold.
Out   nothing, once every call has returned; the fault of a call is raised here, and no process is left.

The processes import the function's module and nothing of the caller. multiprocessing would import the
caller's `__main__` again: a script without a guard would start once more in each process, and a program that
was read from standard input cannot be found at all.
"""

import importlib
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]  # multiprocessing uses it too
from typing import Any

from cxrscore.core.errors import UserError

PROGRAM = (  # with -P and the caller's sys.path, so that the same package is imported
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from cxrscore.core.python_processes import main; main()"
)


def call_in_processes(function: str, calls: Sequence[Mapping[str, Any]]) -> None:
    """One process per call, all at once. Raises what the first call that failed raised; RuntimeError where a
    process ended without a word.
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(_started(function, call)) for call in calls]
        try:
            for process in processes:
                _wait(process)
        finally:
            for process in processes:
                process.kill()


def _started(function: str, call: Mapping[str, Any]) -> "subprocess.Popen[bytes]":
    python = [sys.executable, *_args_from_interpreter_flags(), "-P", "-c", PROGRAM]
    return subprocess.Popen(
        [*python, json.dumps(sys.path, default=str), function, json.dumps(call)],
        stdin=subprocess.PIPE,  # open for as long as we live
        stdout=subprocess.PIPE,
        process_group=0,  # Ctrl-C in a terminal is for us, who then end them
    )


def _wait(process: "subprocess.Popen[bytes]") -> None:
    fault = process.stdout.read() if process.stdout else b""
    code = process.wait()
    if fault:
        raise _unpacked(fault)
    if code:
        raise RuntimeError(f"a process of ours ended with exit code {code}")


def main() -> None:
    """The program of such a process: sys.argv[2] names the function, sys.argv[3] holds its arguments."""
    threading.Thread(target=_leave_with_the_caller, daemon=True).start()
    module, _, name = sys.argv[2].partition(":")
    try:
        getattr(importlib.import_module(module), name)(**json.loads(sys.argv[3]))
    except Exception as error:  # noqa: BLE001 - it is raised in the caller
        sys.stdout.buffer.write(_packed(error))


def _leave_with_the_caller() -> None:
    os.read(0, 1)  # returns when the other end is closed, by whatever ended the caller
    os._exit(1)


def _packed(error: Exception) -> bytes:
    """As JSON, which runs nothing where it is read: a refusal and an OSError as they are, others in words."""
    where = "".join(traceback.format_exception(error))
    if isinstance(error, UserError):
        fault: dict[str, Any] = {"lines": error.lines}
    elif isinstance(error, OSError):
        fault = {"os": [error.errno, error.strerror, error.filename and os.fsdecode(error.filename)]}
    else:
        fault = {"words": f"{type(error).__name__}: {error}"}
    return json.dumps(fault | {"where": where}).encode()


def _unpacked(data: bytes) -> Exception:
    fault = json.loads(data)
    error: Exception
    if "lines" in fault:
        error = UserError(*fault["lines"])
    elif "os" in fault:
        error = OSError(*fault["os"])
    else:
        error = RuntimeError(fault["words"])
    error.add_note(fault["where"])
    return error
