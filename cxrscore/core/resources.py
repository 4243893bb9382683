"""What this process may use of its machine: cores and memory, within what a container allows.

In    the operating system.
Out   numbers.
"""

import os
from pathlib import Path

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container: version 2, as its root shows it
DECODER_BYTES = 700_000_000  # a decoder's most, at a file of images.MAX_BYTES (RGBA, measured: 672 MB)


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_memory() -> int:
    """Bytes that this machine, or the container, has at all."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CGROUP_LIMIT.read_text(encoding="utf-8").strip() if CGROUP_LIMIT.is_file() else "max"
    return physical if limit == "max" else min(physical, int(limit))


def most_decoders() -> int:
    """Decoding processes that half of the memory bears, should each meet the largest file at once."""
    return max(1, usable_memory() // 2 // DECODER_BYTES)
