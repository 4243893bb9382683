"""The console script: runs a command, and turns faults that a person can correct into a few lines and an exit
code.
"""

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from cxrscore.cli.terminal import print_notes
from cxrscore.core.errors import Busy, UserError
from cxrscore.core.text_table import visible

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
INTERRUPTED = 130  # 128 + SIGINT


def main() -> None:
    _go_on_in_utf8()
    from cxrscore.cli.app import app

    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # typer's word for a KeyboardInterrupt
            print_notes("interrupted")
        sys.exit(code)
    except UserError as error:
        _leave(error.lines, 2)
    except Busy as error:
        _leave(error.lines, 5)
    except KeyboardInterrupt:  # while the commands are imported
        print_notes("interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of stdout, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in FULL:
            raise
        _leave([f"no space left to write{f' {error.filename}' if error.filename else ''}"], 4)
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's, or of the click within typer
            raise
        _refuse_words(error)


def _go_on_in_utf8() -> None:
    """Names of files in tables are UTF-8: in a locale that is not, they would meet no file, or another one.
    The program starts again in Python's UTF-8 mode, which its workers inherit. Source: PEP 540.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _refuse_words(error: Any) -> NoReturn:
    """What click has to say of argv, which may hold the names of a folder's files: `cxrscore check *`."""
    if not "".join(sys.argv).isprintable():  # a printable message may be a whole help, of many lines
        error.message = visible(error.message)
    error.show()
    sys.exit(error.exit_code)


def _leave(lines: Sequence[str], code: int) -> NoReturn:
    print_notes(f"error: {lines[0]}", *lines[1:])
    sys.exit(code)


if __name__ == "__main__":
    main()
