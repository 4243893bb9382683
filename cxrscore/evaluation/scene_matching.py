"""The folds' scenes brought to one order, and how images fall into them.

In    what each fold's head learned: pictures with a `scene` axis.
Out   the same with scene 0 of every fold alike, as far as it can be; shares, shares by view, how certain and
      how even they are, and the images that are most surely of a scene.
Scenes have no names: each training finds its own order of them.
Source: Kuhn, "The Hungarian method for the assignment problem", 1955.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import nsmallest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrscore.evaluation.head_pictures import Picture

PROFILE = "scene_counts"  # (scene, given, finding): by which scenes are recognised
SUREST = 8  # images of a scene that are named


def aligned(folds: Sequence[Mapping[str, Picture]]) -> list[dict[str, Picture]]:
    """Each fold's pictures, of one kind of head with one number of scenes, with its scenes in the order of
    the first fold's.
    """
    if not all(PROFILE in pictures for pictures in folds):
        return [dict(pictures) for pictures in folds]
    profiles = [_shares(pictures[PROFILE].values) for pictures in folds]
    orders = [matched(profile, profiles[0]) for profile in profiles]
    return [
        {name: _reordered(picture, order) for name, picture in pictures.items()}
        for pictures, order in zip(folds, orders, strict=True)
    ]


def matched(profile: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.int64]:
    """Two descriptions (K, ...) of K scenes -> the order (K,) in which `profile`'s are most like
    `reference`'s: the least sum of squared differences of all one-to-one matchings.
    """
    from scipy.optimize import linear_sum_assignment  # takes a second

    mine, theirs = profile.reshape(len(profile), -1), reference.reshape(len(reference), -1)
    _, order = linear_sum_assignment(np.square(theirs[:, None] - mine[None]).sum(-1))
    return np.asarray(order, dtype=np.int64)


def share_rows(shares: Picture) -> Iterator[list[Any]]:
    """(n, K) -> of each k its number, its mean value, and the share of images whose largest it is."""
    largest = _largest(shares)
    for k, mean in enumerate(shares.values.mean(0)):
        yield [k, f"{mean:.6g}", f"{(largest == k).mean():.6g}"]


def view_rows(shares: Picture, views: Sequence[str]) -> Iterator[list[Any]]:
    """(n, K) and the views of the same n images -> k, view, images of that view with k as largest."""
    found = Counter(zip(_largest(shares).tolist(), views, strict=True))
    for k in range(shares.values.shape[1]):
        for view in sorted(set(views)):
            yield [k, view, found[k, view]]


def entropies(shares: Picture) -> dict[str, float]:
    """(n, K), rows that sum to one -> entropies in nats: `per_image`, the mean over images, 0 where each is
    certain; `of_mean`, of the mean row; `of_shares`, of the shares of images by their largest, log K where
    scenes have equally many. Source: Zhu et al., ICCV 2023, equations 9 and 10; the last, table 5.
    """
    values = shares.values
    counts = np.bincount(values.argmax(1), minlength=values.shape[1])
    return {
        "per_image": float(_entropy(values).mean()),
        "of_mean": float(_entropy(values.mean(0))),
        "of_shares": float(_entropy(counts / len(values))),
    }


def _entropy(p: NDArray[Any]) -> NDArray[Any]:
    """(..., K) -> (...), 0 log 0 = 0."""
    logs = np.log(p, out=np.zeros_like(p, dtype=float), where=p > 0)
    return np.asarray(np.abs((p * logs).sum(-1)))  # no -0


def surest_rows(folds: Mapping[int, tuple[Picture, Sequence[str]]]) -> Iterator[list[Any]]:
    """Fold -> (n, K) and the names of the same n images -> scene, rank, fold, image, share: of each scene the
    images of all folds that are of it most surely, equal ones by name. Of one scene every image is as sure.
    """
    found = [
        (int(k), -float(row[k]), image, fold)
        for fold, (shares, images) in folds.items()
        for k, row, image in zip(_largest(shares), shares.values, images, strict=True)
        if len(row) > 1
    ]
    for scene in sorted({k for k, *_ in found}):
        of_scene = nsmallest(SUREST, (one for one in found if one[0] == scene))
        for rank, (_, minus, image, fold) in enumerate(of_scene, start=1):
            yield [scene, rank, fold, image, f"{-minus:.6g}"]


def _largest(shares: Picture) -> NDArray[np.int64]:
    """(n, K) -> (n,): each image's largest; -1 where none is above zero, as where every gate is shut."""
    return np.where(shares.values.max(1) > 0, shares.values.argmax(1), -1)


def _shares(counts: NDArray[Any]) -> NDArray[Any]:
    shares: NDArray[Any] = counts / np.maximum(counts.sum((1, 2), keepdims=True), 1)
    return shares


def _reordered(picture: Picture, order: NDArray[np.int64]) -> Picture:
    if "scene" not in picture.axes:
        return picture
    return replace(picture, values=picture.values.take(order, axis=picture.axes.index("scene")))
