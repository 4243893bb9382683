"""The console script: runs the door, and turns faults a person can mend into one line and an exit code."""

import errno
import os
import sys
from contextlib import suppress

from cxrscore.errors import Busy, UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main() -> None:
    _go_on_in_utf8()
    from cxrscore.cli import app

    try:
        app()
    except UserError as error:
        _leave(f"error: {error}", 2)
    except Busy as error:
        _leave(f"error: {error}", 5)
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except BrokenPipeError:  # the reader of stdout, `head` say, has left: nobody is there to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in FULL:
            raise
        _leave(f"error: no room left to write{f' {error.filename}' if error.filename else ''}", 4)


def _go_on_in_utf8() -> None:
    """Names of files in tables are UTF-8: in a locale that is not, they would meet no file, or another one.
    The program starts again in Python's UTF-8 mode, which its workers inherit. Source: PEP 540.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _leave(words: str, code: int) -> None:
    with suppress(OSError, AttributeError):  # stderr may be closed; the exit code still speaks
        sys.stderr.write(words + "\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
