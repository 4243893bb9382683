"""Views and folds become probabilities in one order, and the rest of a batch never changes a row."""

from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cxrscore.core.device import Machine
from cxrscore.model.network import CXRModel
from cxrscore.model.predict import VIEWS, ZOOM, mean, pad, predict_folds, predict_views
from cxrscore.project.params import View


def gray(n: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 1, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def slowly_zoomed(image: np.ndarray) -> np.ndarray:
    """(S, S) -> (S, S): where each pixel of the result lies in the image, and its four neighbours there."""
    size = len(image)
    corner = size * (1 - ZOOM) / 2
    result = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            y, x = (corner + (place + 0.5) * ZOOM - 0.5 for place in (i, j))
            top, left = int(y), int(x)
            down, right = y - top, x - left
            above, below = image[top : top + 2, left : left + 2] @ (1 - right, right)
            result[i, j] = above * (1 - down) + below * down
    return result


def test_the_settings_name_the_views_that_there_are() -> None:
    assert get_args(View) == tuple(VIEWS)


def test_the_plain_view_is_the_image_and_a_flip_its_mirror_image() -> None:
    assert torch.equal(VIEWS["plain"](gray(2)), gray(2))
    assert torch.equal(VIEWS["flip"](gray(2)), gray(2).flip(-1))
    assert torch.equal(VIEWS["zoom_flip"](gray(2)), VIEWS["zoom"](gray(2)).flip(-1))


@pytest.mark.parametrize("size", [2, 31, 32])
def test_a_zoom_shows_the_central_part_as_large_as_the_whole(size: int) -> None:
    images = gray(3)[..., :size, :size]
    zoomed = VIEWS["zoom"](images)
    assert (zoomed.dtype, zoomed.shape) == (torch.uint8, images.shape)
    for image, view in zip(images[:, 0].double().numpy(), zoomed[:, 0].numpy(), strict=True):
        assert np.abs(slowly_zoomed(image) - view).max() <= 0.5 + 1e-3  # rounded, nothing else


def test_a_zoom_is_torchs_sampling_of_a_smaller_grid() -> None:
    images = gray(3).float()
    grid = F.affine_grid((ZOOM * torch.eye(2, 3)).expand(3, 2, 3), list(images.shape), align_corners=False)
    torchs = F.grid_sample(images, grid, align_corners=False)
    assert (VIEWS["zoom"](gray(3)) - torchs).abs().max() <= 0.5 + 1e-3


def test_a_zoomed_image_of_one_tone_keeps_it() -> None:
    for tone in (0, 1, 127, 255):
        flat = torch.full((1, 1, 33, 33), tone, dtype=torch.uint8)
        assert torch.equal(VIEWS["zoom"](flat), flat)


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_of_an_image_is_the_same_bytes_in_any_company(name: str) -> None:
    odd = gray(9)[..., :29, :29]
    together = VIEWS[name](odd)
    for row in range(9):
        assert torch.equal(VIEWS[name](odd[row : row + 1]), together[row : row + 1])


def test_views_come_in_the_order_of_their_names(tiny_model: CXRModel, cpu: Machine) -> None:
    tiny_model.eval()
    names = ["plain", "zoom_flip", "zoom"]
    found = predict_views(tiny_model, gray(3), views=names, machine=cpu)
    for probs, name in zip(found, names, strict=True):
        assert torch.allclose(probs, tiny_model(VIEWS[name](gray(3))).logits.sigmoid(), atol=1e-6)


def test_the_second_view_is_the_mirror_image(tiny_model: CXRModel, cpu: Machine) -> None:
    tiny_model.eval()
    views = predict_views(tiny_model, gray(3), views=["plain", "flip"], machine=cpu)
    mirrored = predict_views(tiny_model, gray(3).flip(-1), views=["plain"], machine=cpu)
    assert views.shape == (2, 3, 3)
    assert torch.equal(views[1], mirrored[0])
    assert not torch.equal(views[0], views[1])


def test_folds_average_probabilities_not_logits(tiny_model: CXRModel, cpu: Machine) -> None:
    tiny_model.eval()
    both = predict_folds([tiny_model, tiny_model], gray(2), views=["plain", "flip"], machine=cpu)
    slow = torch.stack([tiny_model(view).logits.sigmoid() for view in (gray(2), gray(2).flip(-1))]).mean(0)
    assert torch.allclose(mean(both), slow, atol=1e-7)


def test_a_padded_batch_gives_the_same_bytes_whatever_shares_it(tiny_model: CXRModel, cpu: Machine) -> None:
    tiny_model.eval()
    alone = predict_views(tiny_model, pad(gray(8)[:1], 8), views=list(VIEWS), machine=cpu)[:, :1]
    in_company = predict_views(tiny_model, gray(8), views=list(VIEWS), machine=cpu)[:, :1]
    assert torch.equal(alone, in_company)
