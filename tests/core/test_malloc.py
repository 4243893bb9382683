"""Within the context a large array's pages are there from the last one; outside it they are new each time."""

import ctypes
import resource
import sys

import numpy as np
import pytest

from cxrscore.core.malloc import reused_memory

glibc = sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
PAGES = 64 * 2**20 // resource.getpagesize()


def new_pages() -> int:
    """How many pages the kernel had to bring for an array of 64 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(64 * 2**20, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not glibc, reason="mallopt is glibc's")
def test_large_arrays_use_the_memory_of_those_before() -> None:
    with reused_memory():
        new_pages()
        assert max(new_pages() for _ in range(3)) < PAGES / 20


def test_an_error_within_leaves_it_too() -> None:
    with pytest.raises(ZeroDivisionError), reused_memory():
        _ = 1 / 0
    assert np.ones(1000).sum() == 1000
