"""RandAugment of gray images: the operations, their values and their frequencies are torchvision's."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from cxrscore.training.rand_augment import OPERATIONS, draw_operations, rand_augment

THEIRS = {  # our name -> torchvision's
    name: name.title().replace(" ", "").replace("Autocontrast", "AutoContrast") for name in OPERATIONS
}
WITHOUT_EFFECT = {"identity", "color"}


def radiographs(n: int = 2, size: int = 40) -> torch.Tensor:
    """(n, 1, size, size) whole grays, of some contrast but not of all grays."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(20, 180, size).view(1, 1, 1, -1).expand(n, 1, size, size)
    return (ramp + 40 * torch.rand(n, 1, size, size, generator=generator)).floor()


def row(name: str, sign: int) -> np.ndarray:
    return np.array([[[list(OPERATIONS).index(name), sign]]])


def theirs(image: torch.Tensor, name: str, sign: int, magnitude: int) -> torch.Tensor:
    """(C, H, W) uint8 as v2.RandAugment changes it when it has drawn this operation and this sign."""
    law = v2.RandAugment(num_ops=1, magnitude=magnitude)
    law._get_random_item = lambda space: (THEIRS[name], space[THEIRS[name]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", lambda *_: torch.tensor(0.0 if sign < 0 else 1.0))
        return law(image)


def test_the_operations_are_torchvisions_in_its_order() -> None:
    assert list(THEIRS.values()) == list(v2.RandAugment._AUGMENTATION_SPACE)
    signed = {name: signed for name, (_, signed) in v2.RandAugment._AUGMENTATION_SPACE.items()}
    assert {THEIRS[name]: operation.signed for name, operation in OPERATIONS.items()} == signed


@pytest.mark.parametrize("magnitude", [0, 1, 9, 17, 30])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_of_a_magnitude_gives_torchvisions_pixels(name: str, magnitude: int) -> None:
    for image in radiographs():
        for sign in (-1, 1):
            ours = rand_augment(image[None], row(name, sign), magnitude=magnitude)[0]
            gray = image.to(torch.uint8)
            assert torch.equal(ours, theirs(gray, name, sign, magnitude).float())
            colours = theirs(gray.expand(3, -1, -1), name, sign, magnitude)
            # torchvision weighs red, green and blue by 0.9999 in all, and cuts fractions of a gray off
            assert (ours - colours.float()).abs().max() <= 1


def test_color_alone_has_no_effect_on_gray_and_is_the_fourteenth() -> None:
    (image,) = radiographs(1)
    changed = {
        name
        for name in OPERATIONS
        if not torch.equal(rand_augment(image[None], row(name, 1), magnitude=20)[0], image)
    }
    assert len(OPERATIONS) == 14
    assert OPERATIONS.keys() - changed == WITHOUT_EFFECT


def test_operations_are_drawn_as_often_as_torchvision_draws_them() -> None:
    drawn = draw_operations(30_000, seed=0, epoch=0, count=2)
    shares = np.bincount(drawn[..., 0].ravel(), minlength=14) / drawn[..., 0].size
    assert np.abs(shares - 1 / 14).max() < 0.005
    assert abs((drawn[..., 1] == -1).mean() - 0.5) < 0.01
    pairs = np.bincount(14 * drawn[:, 0, 0] + drawn[:, 1, 0], minlength=196) / len(drawn)
    assert np.abs(pairs - 1 / 196).max() < 0.0025  # the second does not depend on the first


def test_a_samples_operations_depend_on_seed_epoch_and_sample_alone() -> None:
    few, many = (draw_operations(n, seed=3, epoch=2, count=2) for n in (10, 1000))
    assert np.array_equal(few, many[:10])
    assert not np.array_equal(few, draw_operations(10, seed=3, epoch=1, count=2))
    assert not np.array_equal(few, draw_operations(10, seed=4, epoch=2, count=2))


def test_an_image_is_changed_alike_in_any_batch_and_order() -> None:
    images = radiographs(60)
    drawn = draw_operations(60, seed=0, epoch=0, count=3)
    whole = rand_augment(images, drawn, magnitude=9)
    order = np.random.default_rng(0).permutation(60)
    assert torch.equal(rand_augment(images[order], drawn[order], magnitude=9), whole[order])
    single = torch.cat([rand_augment(images[i : i + 1], drawn[i : i + 1], magnitude=9) for i in range(60)])
    assert torch.equal(single, whole)
    assert whole.min() >= 0 and whole.max() <= 255


def test_operations_come_one_after_another() -> None:
    image = radiographs(1)
    both = np.concatenate([row("brightness", 1), row("solarize", 1)], 1)
    one_by_one = rand_augment(rand_augment(image, both[:, :1], magnitude=15), both[:, 1:], magnitude=15)
    assert torch.equal(rand_augment(image, both, magnitude=15), one_by_one)
    assert not torch.equal(rand_augment(image, both[:, ::-1], magnitude=15), one_by_one)
