"""The program of one decoding process: tasks come by a socket, pixels go to shared memory, facts come back.

In    a line of JSON a file: [index, path, buffer, row, place].
Out   the pixels at [buffer, row] of the ring, (depth, B, S, S) uint8, and of a second one, (depth, B, T, T),
      where a larger copy is wanted; then a line of JSON, in the order asked: [index, buffer, row, sha256,
      width, height, orientation, coloured, bytes, kind, message].
      The very first line is "ready".

It leaves when its parent closes the socket, or dies. It imports no torch: it starts in 0.2 s.
"""

import ctypes
import faulthandler
import json
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrscore.images.decoding.decode import Wanted, decode_into
from cxrscore.images.decoding.shared_memory import map_rings, ring_shapes
from cxrscore.images.inputs.byte_source import Place

READY = "ready"
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4  # linux/prctl.h


def main() -> None:
    """Arguments: the parent's sys.path (read by who starts us), what is wanted, the numbers of the socket and
    of the rings, and of the rings: depth, images per batch, the side.
    """
    wanted = Wanted(**json.loads(sys.argv[2]))
    channel, memory, depth, batch_size, size = (int(word) for word in sys.argv[3:])
    _stand_alone()
    rings = map_rings(memory, ring_shapes(depth, batch_size, size, wanted.larger))
    with suppress(ConnectionError):  # the parent is gone: nobody is there to listen
        serve(socket.socket(fileno=channel), *rings, wanted=wanted)


def serve(
    channel: socket.socket, ring: NDArray[np.uint8], larger: NDArray[np.uint8], *, wanted: Wanted
) -> None:
    """Until the other side closes the channel."""
    channel.sendall(json.dumps(READY).encode() + b"\n")
    for line in channel.makefile("rb"):
        index, path, buffer, row, place = json.loads(line)
        os.ftruncate(sys.stderr.fileno(), 0)  # what is left there when we die is of this file
        second = larger[buffer, row]
        one = decode_into(ring[buffer, row], index, path, Place(*place), wanted=wanted, larger=second)
        kind, message = (one.fault.kind, str(one.fault)) if one.fault else ("", "")
        shape = (one.width, one.height, one.orientation, one.coloured)
        facts = (one.sha256, *shape, one.bytes, kind, message)
        channel.sendall(json.dumps((one.index, buffer, row, *facts)).encode() + b"\n")


def _stand_alone() -> None:
    """The parent decides about signals; a death is short, tells where, and comes before the parent's."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable(all_threads=False)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file takes seconds, and holds a patient's image
    if sys.platform == "linux":
        with suppress(OSError):  # where memory ends, a file should go and not the run
            Path("/proc/self/oom_score_adj").write_text("500", encoding="utf-8")
        prctl = ctypes.CDLL(None).prctl
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a hung worker does not see its socket close
        prctl(PR_SET_DUMPABLE, 0)  # a core_pattern that is a program does not ask for RLIMIT_CORE


if __name__ == "__main__":
    main()
