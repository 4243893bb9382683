"""Where a backbone starts: random, timm's published weights, or a local file, checked before any work.

In    train.init (none, imagenet or a .safetensors path) and train.init_except, patterns of keys.
Out   the backbone's weights, every one accounted for.

Published weights are files of the same kind in Hugging Face's cache, so that both go one way: a checkpoint
of ours gives its backbone alone; timm's own filter turns the formats of others into its names and resamples
what depends on the image size; absolute position embeddings of another grid that it leaves are resampled
here (timm.layers.resample_abs_pos_embed); a final norm that the published model applies after pooling is
ours before it; keys of the classifier and of what pools are left out. What then does not fit is refused.
"""

import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from math import isqrt
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

from cxrscore.errors import UserError
from cxrscore.sealed import is_ours, read_sealed

FILENAME = "model.safetensors"  # in each of timm's repositories
PROBE_S = 3.0  # for an answer of the hub: huggingface_hub itself tries again for a minute
Weights = dict[str, Tensor]


def weights_path(name: str, init: str, *, fetch: bool) -> Path | None:
    """The file that `init` means: None for `none`, and, unless `fetch`, for published weights that are still
    to be fetched and can be. Raises UserError where there is no such file and no way to it.
    """
    if init == "none":
        return None
    if init != "imagenet":
        if not Path(init).is_file():
            raise UserError(f"train.init: {init}: no such file; none, imagenet or a .safetensors file.")
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
            f"train.init: imagenet: timm's weights of {name} are no .safetensors file; save those of "
            f"{published.url} as one and set train.init to its path."
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
    expected: Weights = backbone.state_dict()
    weights = _timm_weights(backbone, path, _read(path))
    _rename_final_norm(weights, expected)
    _resample_positions(weights, expected)
    own = _keys_of_the_whole(name) - expected.keys()
    weights = {key: value for key, value in weights.items() if key not in own}
    misfits = _misfits(weights, expected)
    _refuse_misfits(path, misfits, init_except)
    _refuse_idle_patterns(path, misfits, init_except)
    return {key: value for key, value in weights.items() if key not in set().union(*misfits.values())}


def _read(path: Path) -> Weights:
    """A checkpoint of ours gives its `backbone.` keys, where its seals hold; its head stays behind. It saw
    the rows of its folds: a start for other data, not for another fold of the same.
    """
    try:
        weights: Weights = read_sealed(path).tensors if is_ours(path) else load_file(path)
    except UserError as error:
        raise UserError(f"train.init: {error}") from error
    except (OSError, SafetensorError) as error:
        raise UserError(f"train.init: {path}: not a readable .safetensors file ({error}).") from error
    for key, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"train.init: {path}: {key} holds NaN or infinite values; take another file.")
    ours = {key.removeprefix("backbone."): weights[key] for key in weights if key.startswith("backbone.")}
    return ours or weights


def _timm_weights(backbone: Any, path: Path, weights: Weights) -> Weights:
    """What timm would load from this file: its modules know the formats that their models come in."""
    translate = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if translate is None:
        return weights
    try:
        return dict(translate(weights, backbone))
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"train.init: {path}: not weights of this backbone ({type(error).__name__}: {error})."
        ) from error


def _rename_final_norm(weights: Weights, expected: Mapping[str, Tensor]) -> None:
    for part in ("weight", "bias"):
        after, before = f"fc_norm.{part}", f"norm.{part}"
        if after in weights and after not in expected and before in expected and before not in weights:
            weights[before] = weights.pop(after)


def _resample_positions(weights: Weights, expected: Mapping[str, Tensor]) -> None:
    """pos_embed (1, prefix + h * w, C) of another square grid, where the prefix is as long."""
    if "pos_embed" not in weights or "pos_embed" not in expected:
        return
    old, new = weights["pos_embed"], expected["pos_embed"]
    if old.ndim != 3 or new.ndim != 3 or old.shape[1] == new.shape[1]:
        return
    side = isqrt(new.shape[1])
    prefix = new.shape[1] - side * side
    if prefix == old.shape[1] - isqrt(old.shape[1]) ** 2:
        weights["pos_embed"] = resample_abs_pos_embed(old, [side, side], num_prefix_tokens=prefix)


def _keys_of_the_whole(name: str) -> set[str]:
    """The keys of the published model with a classifier: those that ours lacks pool or classify."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return set(timm.create_model(name, pretrained=False, num_classes=1).state_dict())


def _misfits(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, list[str]]:
    missing = expected.keys() - weights.keys()
    both = expected.keys() & weights.keys()
    return {
        "missing": sorted(key for key in missing if not key.endswith("num_batches_tracked")),  # torch counts
        "unknown": sorted(weights.keys() - expected.keys()),
        "other shape": sorted(key for key in both if expected[key].shape != weights[key].shape),
    }


def _refuse_misfits(path: Path, misfits: Mapping[str, list[str]], allowed: Sequence[str]) -> None:
    left = {
        kind: [key for key in keys if not any(fnmatchcase(key, pattern) for pattern in allowed)]
        for kind, keys in misfits.items()
    }
    if any(left.values()):
        found = "; ".join(f"{kind} {keys[:10]} ({len(keys)} in all)" for kind, keys in left.items() if keys)
        raise UserError(
            f"train.init: {path} does not fit the backbone: {found}. Keys that may start at random are named "
            "by patterns in train.init_except."
        )


def _refuse_idle_patterns(path: Path, misfits: Mapping[str, list[str]], patterns: Sequence[str]) -> None:
    keys = [key for kind in misfits.values() for key in kind]
    for pattern in patterns:
        if not any(fnmatchcase(key, pattern) for key in keys):
            raise UserError(
                f"train.init_except: {pattern!r} names no key of {path} that does not fit; correct "
                "or remove it."
            )
