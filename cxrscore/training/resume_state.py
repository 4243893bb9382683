"""What a training resumes from after it was stopped: its state on disk, in a folder of its own.

In    tensors and facts of a training after some step.
Out   <folder>/state-<step>.safetensors, sealed, whole or not at all, the last two of them: where the newest
      is damaged, the one before serves. The folder's name is the fingerprint of all that decides the
      training, so that nothing ever resumes from another one's state. It goes when the training is complete.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from cxrscore.core.errors import Stopped, UserError
from cxrscore.core.files import half_written
from cxrscore.core.lock import locked
from cxrscore.core.safetensors_digest import read_sealed, write_sealed

KEPT = 2
STATE = re.compile(r"state-\d{9,}\.safetensors")
FACTS = "state"  # JSON in a text of its own: a loss may be NaN, which sealed facts may not


def state_root(out: Path) -> Path:
    """Where trainings with outputs in `out` keep their state: `.cxrscore/training` beside it.

    `dvc exp run --temp` works in a copy of the project below .dvc/tmp, which is removed: then it is the
    project's own. $CXRSCORE_STATE names another place.
    """
    if named := os.environ.get("CXRSCORE_STATE"):
        return Path(named).expanduser().absolute()
    project = out.resolve().parent
    for folder in project.parents:
        if folder.name == ".dvc" and (folder / "tmp").is_dir():
            project = folder.parent
    return project / ".cxrscore" / "training"


def fingerprint(facts: Mapping[str, Any]) -> str:
    """sha256 of what decides a training: settings, data, folds, code, versions, number format."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class StateFolder:
    """The states of one training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Raises Stopped where the disk takes no more; the states before are still there."""
        try:
            write_sealed(self._path(step), tensors, {FACTS: json.dumps(facts)})
        except OSError as error:
            raise Stopped(f"train: {self.folder}: {error.strerror}; free some space") from error
        for path in self._newest_first()[KEPT:]:
            path.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
        """The newest that is whole: its tensors and facts, empty where there is none; a note for each that
        is not.
        """
        notes = []
        for path in self._newest_first():
            try:
                state = read_sealed(path)
            except UserError as error:
                notes.append(f"a state is left out: {error}")
                path.unlink(missing_ok=True)  # by its number it would outlive whole ones
                continue
            return state.tensors, json.loads(state.facts[FACTS]), notes
        return {}, {}, notes

    @property
    def good(self) -> Path:
        """Where the best weights of a training that diverged are kept, as a checkpoint."""
        return self.folder / "good.safetensors"

    def drop(self) -> None:
        self.drop_states()
        self.good.unlink(missing_ok=True)

    def drop_states(self) -> None:
        for path in self._newest_first():
            path.unlink(missing_ok=True)

    def others_gb(self) -> float:
        """What the states of other trainings take beside this one's."""
        total = 0
        for path in self.folder.parent.glob("*/*.safetensors"):
            with suppress(FileNotFoundError):  # it has just been completed
                total += path.stat().st_size * (path.parent != self.folder)
        return total / 1e9

    @contextmanager
    def held(self, outputs: str) -> Iterator[None]:
        """This training is ours alone, and so is what `outputs` names, whoever trains for it. Raises Busy;
        UserError for a place that cannot be written. A folder without a state is not left behind.
        """
        name = hashlib.sha256(outputs.encode()).hexdigest()[:16]
        lock = self.folder.parent / f"{name}.lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{self.folder}: cannot hold the state of a training ({error.strerror}); name another in "
                "$CXRSCORE_STATE."
            ) from error
        with locked(lock), locked(self.folder / "lock"):
            for half in half_written(self.folder, rf"{STATE.pattern}|{self.good.name}"):
                half.unlink()
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
                if not self._newest_first() and not self.good.exists():
                    (self.folder / "lock").unlink(missing_ok=True)
                    with suppress(OSError):  # somebody's own files stay, and the folder with them
                        self.folder.rmdir()

    def _path(self, step: int) -> Path:
        return self.folder / f"state-{step:09}.safetensors"

    def _newest_first(self) -> list[Path]:
        found = self.folder.glob("state-*.safetensors")
        return sorted((path for path in found if STATE.fullmatch(path.name)), reverse=True)
