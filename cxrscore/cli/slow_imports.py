"""A line before a library is imported that takes seconds: nobody should look at nothing for so long.

In    the first import of one of `SLOW`, by whatever command.
Out   a line on stderr, by the first process of several; one more where PyTorch comes after others. Asking
      whether a library is there says nothing.
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from cxrscore.cli.terminal import print_notes

SLOW = {"torch": "PyTorch", "scipy": "SciPy", "sklearn": "scikit-learn", "matplotlib": "Matplotlib"}


def tell_of_slow_imports() -> None:
    """From now on, once. Of several processes that torch's launcher has started, RANK 0 speaks."""
    if not SLOW.keys() & sys.modules.keys() and os.environ.get("RANK", "0") == "0":
        sys.meta_path.insert(0, _Telling())


class _Telling:
    """Finds the slow libraries as Python does, and tells of the first that is run, and of PyTorch."""

    told = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in SLOW else None
        if spec and spec.loader:
            spec.loader.exec_module = self._telling(name, spec.loader.exec_module)  # type: ignore[method-assign,assignment]
        return spec

    def _telling(self, name: str, usual: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
        def exec_module(module: ModuleType) -> None:
            if name == "torch" or not self.told:
                self.told = True
                print_notes(f"loading {SLOW[name]}")
            if name == "torch":  # beside it the others take no time
                sys.meta_path.remove(self)
            usual(module)

        return exec_module
