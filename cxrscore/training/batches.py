"""Prepared rows -> batches on the device, read ahead by one thread so that compute never waits for the disk.

In    rows (n,) of the store, in the order wanted.
Out   (rows (B,), gray (B, 1, S, S) uint8 on the device), the same order whatever the speed of either side.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from cxrscore.images.image_store import Store

AHEAD = 2  # one being copied while one waits; more only costs memory


def batches(
    store: Store, rows: np.ndarray, *, batch_size: int, device: torch.device, whole_only: bool
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """`whole_only` leaves out a last batch that is not full (training); otherwise it comes as it is."""
    stop = len(rows) - len(rows) % batch_size if whole_only else len(rows)
    chunks = [rows[start : start + batch_size] for start in range(0, stop, batch_size)]
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as reader:
        waiting = deque(reader.submit(_read, store, chunk, device) for chunk in chunks[:AHEAD])
        for i, chunk in enumerate(chunks):
            gray = waiting.popleft().result()
            if i + AHEAD < len(chunks):
                waiting.append(reader.submit(_read, store, chunks[i + AHEAD], device))
            yield chunk, gray.to(device, non_blocking=True)


def _read(store: Store, rows: np.ndarray, device: torch.device) -> Tensor:
    gray = torch.from_numpy(store.read(rows)[:, None])
    return gray.pin_memory() if device.type == "cuda" else gray
