"""Views and folds become probabilities in one order, and company never changes a row."""

import torch

from cxrscore.machine import Machine
from cxrscore.model import CXRModel
from cxrscore.predict import mean, pad, predict_folds, predict_views


def gray(n: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 1, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_the_second_view_is_the_mirror_image(tiny_model: CXRModel, cpu: Machine) -> None:
    tiny_model.eval()
    views = predict_views(tiny_model, gray(3), flip=True, machine=cpu)
    mirrored = predict_views(tiny_model, gray(3).flip(-1), flip=False, machine=cpu)
    assert views.shape == (2, 3, 3)
    assert torch.equal(views[1], mirrored[0])
    assert not torch.equal(views[0], views[1])


def test_folds_average_probabilities_not_logits(tiny_model: CXRModel, cpu: Machine) -> None:
    tiny_model.eval()
    both = predict_folds([tiny_model, tiny_model], gray(2), flip=True, machine=cpu)
    slow = torch.stack([tiny_model(view).logits.sigmoid() for view in (gray(2), gray(2).flip(-1))]).mean(0)
    assert torch.allclose(mean(both), slow, atol=1e-7)


def test_a_padded_batch_gives_the_same_bytes_whatever_shares_it(tiny_model: CXRModel, cpu: Machine) -> None:
    tiny_model.eval()
    alone = predict_views(tiny_model, pad(gray(8)[:1], 8), flip=True, machine=cpu)[:, :1]
    in_company = predict_views(tiny_model, gray(8), flip=True, machine=cpu)[:, :1]
    assert torch.equal(alone, in_company)
