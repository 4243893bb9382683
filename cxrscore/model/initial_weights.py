"""Where a backbone starts: random, timm's published weights, or a local file, checked before any work.

In    train.init (none, imagenet or a .safetensors path) and train.init_except, patterns of keys.
Out   the backbone's weights, every one accounted for.

Published weights are files of the same kind in Hugging Face's cache, so that both go one way
(weight_matching.py), and what does not fit is refused. A pickle is never loaded here: the refusal names the
command that makes a .safetensors file of it.
"""

import re
import shlex
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file

from cxrscore.core.errors import UserError
from cxrscore.core.safetensors_digest import is_ours, read_sealed
from cxrscore.model.weight_matching import (
    Weights,
    begin_with,
    extra_prefix,
    fit_weights,
    misfit_lines,
    not_finite,
)

FILENAME = "model.safetensors"  # in each of timm's repositories
PICKLE = re.compile(rb"\x80[\x02-\x05]")  # how a pickle of protocol 2 to 5 begins
PROBE_S = 3.0  # for an answer of the hub: huggingface_hub itself tries again for a minute


def weights_path(name: str, init: str, *, fetch: bool) -> Path | None:
    """The file that `init` means: None for `none`, and, unless `fetch`, for published weights that are still
    to be fetched and can be. Raises UserError where there is no such file and no way to it.
    """
    if init == "none":
        return None
    if init != "imagenet":
        if not Path(init).is_file():
            raise UserError(
                f"train.init: {init}: no such file; set it to none, imagenet or a .safetensors file."
            )
        return Path(init)
    return _published_weights(name, fetch=fetch)


def _published_weights(name: str, *, fetch: bool) -> Path | None:
    """From the local cache, else by a download, begun only where the hub answers."""
    from huggingface_hub import (
        constants,
        hf_hub_download,
        hf_hub_url,
        try_to_load_from_cache,
    )  # scoring has none

    repository = _repository(name)
    cached = try_to_load_from_cache(repository, FILENAME)
    if isinstance(cached, str):
        return Path(cached)
    if constants.HF_HUB_OFFLINE or not _answers(hf_hub_url(repository, FILENAME)):
        raise UserError(_unreachable(name, repository))
    try:
        return Path(hf_hub_download(repository, FILENAME)) if fetch else None
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{_unreachable(name, repository)} ({type(error).__name__})") from error


def _repository(name: str) -> str:
    published: Any = timm.get_pretrained_cfg(name)
    if published.hf_hub_id:
        return str(published.hf_hub_id)
    if published.has_weights:
        raise UserError(
            f"train.init: imagenet: timm's weights of {name} are not a .safetensors file; save those of "
            f"{published.url} as one (`{convert_command('FILE', name)}`) and set train.init to its path."
        )
    others = ", ".join(timm.list_pretrained(f"{name.partition('.')[0]}*")[:5])
    raise UserError(
        f"train.init: imagenet: timm has no weights of {name}; set train.init to none or to a .safetensors "
        f"file{', or train.backbone to ' + others if others else ''}."
    )


def _answers(url: str) -> bool:
    """Whether a server answers within PROBE_S; in a thread, for a name look-up knows no time limit."""
    answered = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_S):
                answered.append(True)
        except urllib.error.HTTPError as error:
            answered.append(True)  # a refusal is an answer: the download then says which
            error.close()
        except (OSError, ValueError):
            return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_S)
    return bool(answered)


def _unreachable(name: str, repository: str) -> str:
    return (
        f"train.init: imagenet: the weights of {name} are not on this machine and Hugging Face cannot be "
        f"reached. Where there is internet, fetch {FILENAME} of the repository {repository} (`hf download "
        f"{repository} {FILENAME}`), copy it here and set train.init to its path; or set train.init to none."
    )


def load_weights(backbone: Any, name: str, path: Path, init_except: Sequence[str] = ()) -> None:
    """Fill the backbone from the file; keys that a pattern of `init_except` names keep their random start."""
    backbone.load_state_dict(backbone.state_dict() | fitting_weights(backbone, name, path, init_except))


def fitting_weights(backbone: Any, name: str, path: Path, init_except: Sequence[str] = ()) -> Weights:
    """The file's weights by the backbone's names and shapes; it may be on the meta device. Raises UserError
    for a file that cannot be read, holds NaN or infinite values, or holds too little, too much or other
    shapes.
    """
    found = _read(path, name, init_except)
    fit = fit_weights(backbone, name, found)
    left = fit.without(init_except)
    if not left.is_whole:
        prefix, _ = extra_prefix(backbone, name, found, fit)
        if prefix:
            raise UserError(
                f"train.init: {path}: {begin_with(prefix, found)}; remove it, and set "
                "train.init to the new file:",
                f"  {convert_command(path, name, prefix, init_except)}",
            )
        raise UserError(
            f"train.init: {path} does not fit the backbone {name}.",
            *misfit_lines(left),
            "Take another file, or name keys that may start at random by patterns in train.init_except.",
        )
    _refuse_idle_patterns(path, fit.misfits, init_except)
    return {key: value for key, value in fit.weights.items() if key not in set().union(*fit.misfits.values())}


def convert_command(path: Path | str, name: str, prefix: str = "", init_except: Sequence[str] = ()) -> str:
    """What makes a file of backbone weights of this one."""
    words = ["cxrscore", "weights", "convert", str(path), "OUT.safetensors", "--backbone", name]
    words += ["--strip-prefix", prefix] if prefix else []
    words += [word for pattern in init_except for word in ("--init-except", pattern)]
    return shlex.join(words)


def _read(path: Path, name: str, init_except: Sequence[str]) -> Weights:
    """All tensors of the file; of a checkpoint of ours where its seals hold. It saw the rows of its folds: a
    start for other data, not for another fold of the same.
    """
    try:
        weights: Weights = read_sealed(path).tensors if is_ours(path) else load_file(path)
    except (UserError, OSError, SafetensorError) as error:
        if is_pickle(path):
            raise UserError(
                f"train.init: {path}: a pickle, as torch.save writes it, which can run any code when it is "
                "loaded; convert it, which loads tensors alone, and set train.init to the new file:",
                f"  {convert_command(path, name, init_except=init_except)}",
            ) from error
        if isinstance(error, UserError):
            raise UserError(f"train.init: {error}") from error
        raise UserError(
            f"train.init: {path}: not a readable .safetensors file ({error}); fetch it again."
        ) from error
    key = not_finite(weights)
    if key is not None:
        raise UserError(f"train.init: {path}: {key} holds NaN or infinite values; take another file.")
    return weights


def is_pickle(path: Path) -> bool:
    """By its bytes: a plain pickle, or the zip around one that torch.save writes. For what is no readable
    .safetensors file: a header of 640 bytes begins like a pickle of protocol 2.
    """
    try:
        with path.open("rb") as file:
            if PICKLE.match(file.read(2)):
                return True
        with zipfile.ZipFile(path) as archive:
            return any(member.rpartition("/")[2] == "data.pkl" for member in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _refuse_idle_patterns(path: Path, misfits: Mapping[str, list[str]], patterns: Sequence[str]) -> None:
    keys = [key for kind in misfits.values() for key in kind]
    for pattern in patterns:
        if not any(fnmatchcase(key, pattern) for key in keys):
            raise UserError(
                f"train.init_except: {pattern!r} matches no key of {path} that does not fit; correct "
                "or remove it."
            )
