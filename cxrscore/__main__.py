"""The console script: runs the door, and turns faults a person can mend into one line and an exit code."""

import os
import sys

from cxrscore.errors import UserError


def main() -> None:
    from cxrscore.cli import app

    try:
        app()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except BrokenPipeError:  # the reader of stdout, `head` say, has left: nobody is there to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
