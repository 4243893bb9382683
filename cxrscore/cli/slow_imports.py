"""A line before a library is imported that takes seconds: nobody should look at nothing for so long.

In    the first import of one of `SLOW`, by whatever command.
Out   lines on stderr, by the first process of several: one for PyTorch, and one for each other library whose
      import begins when the last line is EVERY_S old. Asking whether a library is there says nothing.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from cxrscore.cli.terminal import print_notes

SLOW = {
    "torch": "PyTorch",
    "torchvision": "torchvision",
    "timm": "timm",
    "scipy": "SciPy",
    "sklearn": "scikit-learn",
    "matplotlib": "Matplotlib",
}
AFTER_TORCH = ("torchvision", "timm")  # compared with PyTorch the others take no time
EVERY_S = 2.0


def tell_of_slow_imports() -> None:
    """From now on. Of several processes that torch's launcher has started, RANK 0 speaks."""
    if not SLOW.keys() & sys.modules.keys() and os.environ.get("RANK", "0") == "0":
        sys.meta_path.insert(0, _Telling())


class _Telling:
    """Finds the slow libraries as Python does. `waiting`: those that may still get a line; `said_s`: when the
    last line was printed.
    """

    def __init__(self) -> None:
        self.waiting, self.said_s = set(SLOW), -math.inf

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in self.waiting else None
        if spec and spec.loader:
            spec.loader.exec_module = self._telling(name, spec.loader.exec_module)  # type: ignore[method-assign,assignment]
        return spec

    def _telling(self, name: str, usual: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
        def exec_module(module: ModuleType) -> None:
            if name == "torch":
                self.waiting &= {*AFTER_TORCH}
            if name == "torch" or time.monotonic() - self.said_s >= EVERY_S:
                self.said_s = time.monotonic()
                print_notes(f"loading {SLOW[name]}")
            usual(module)

        return exec_module
