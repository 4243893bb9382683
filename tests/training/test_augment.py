"""The fused warp: pure in (seed, epoch, sample), and the law it states."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from cxrscore.training.augment import (
    BLANK,
    cutout,
    draw_cutouts,
    draw_jitters,
    draw_mixes,
    draw_warps,
    epoch_order,
    jitter,
    mix,
    warp,
)
from cxrscore.training.rand_augment import draw_operations

LAW = {"scale": (0.84, 1.0), "flip": 0.5, "degrees": 10.0}
STILL = {"scale": (1.0, 1.0), "flip": 0.0, "degrees": 0.0}


def image() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 1, 16, 16), dtype=np.uint8))


def test_a_samples_warp_depends_on_seed_epoch_and_sample_alone() -> None:
    few, many = (draw_warps(n, seed=3, epoch=2, **LAW) for n in (10, 1000))
    assert np.array_equal(few, many[:10])
    assert not np.array_equal(few, draw_warps(10, seed=3, epoch=1, **LAW))
    assert not np.array_equal(few, draw_warps(10, seed=4, epoch=2, **LAW))


def test_no_change_is_the_identity() -> None:
    theta = torch.from_numpy(draw_warps(2, seed=0, epoch=0, **STILL))
    assert torch.allclose(warp(image(), theta), image().float(), atol=1e-3)


def test_a_certain_flip_is_the_mirror_image() -> None:
    theta = torch.from_numpy(draw_warps(2, seed=0, epoch=0, **STILL | {"flip": 1.0}))
    assert torch.allclose(warp(image(), theta), image().flip(-1).float(), atol=1e-3)


def slow_warp(pixels: np.ndarray, theta: np.ndarray, size: int) -> np.ndarray:
    """(T, T) and (2, 3) -> (S, S) in float64: the mean of the four pixels around a point, black outside."""
    side, out = len(pixels), np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            at = [(2 * column + 1) / size - 1, (2 * row + 1) / size - 1, 1]
            x, y = (((theta[axis] * at).sum() + 1) * side / 2 - 0.5 for axis in (0, 1))
            for j in (int(np.floor(y)), int(np.floor(y)) + 1):
                for i in (int(np.floor(x)), int(np.floor(x)) + 1):
                    if 0 <= i < side and 0 <= j < side:
                        out[row, column] += (1 - abs(x - i)) * (1 - abs(y - j)) * pixels[j, i]
    return out


@pytest.mark.parametrize("size", [16, 12, 9])
def test_a_warp_into_another_size_is_the_bilinear_mean_of_the_larger_copy(size: int) -> None:
    theta = draw_warps(2, seed=5, epoch=0, **LAW)
    ours = warp(image(), torch.from_numpy(theta), size=size)
    assert ours.shape == (2, 1, size, size)
    for one, pixels, where in zip(ours, image(), theta.astype(np.float64), strict=True):
        assert np.abs(one[0].numpy() - slow_warp(pixels[0].numpy(), where, size)).max() < 1e-3  # of 255, fp32


def test_a_warp_into_its_own_size_is_bit_by_bit_the_one_without_a_size() -> None:
    theta = torch.from_numpy(draw_warps(2, seed=5, epoch=0, **LAW))
    grid = torch.nn.functional.affine_grid(theta, [2, 1, 16, 16], align_corners=False)
    plain = torch.nn.functional.grid_sample(
        image().float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    assert torch.equal(warp(image(), theta), plain)
    assert torch.equal(warp(image(), theta, size=16), plain)


def test_crops_from_a_larger_copy_are_sharper() -> None:
    """Detail as fine as pixels of S: variance of the Laplacian of the smallest crops."""
    fine = np.random.default_rng(1).integers(0, 256, (8, 192, 192), dtype=np.uint8)
    films = [Image.fromarray(pixels) for pixels in fine]
    theta = torch.from_numpy(draw_warps(8, seed=0, epoch=0, **LAW | {"scale": (0.84, 0.84), "degrees": 0.0}))
    kernel = torch.tensor([[[[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]]])
    sharpness = []
    for side in (96, 105):
        copies = np.stack(
            [np.asarray(film.resize((side, side), Image.Resampling.BILINEAR)) for film in films]
        )
        crops = warp(torch.from_numpy(copies)[:, None], theta, size=96)
        sharpness.append(float(torch.nn.functional.conv2d(crops, kernel).var()))
    assert sharpness[1] > 1.1 * sharpness[0]


def test_a_rotation_is_torchvisions_on_a_smooth_image() -> None:
    ramp = torch.linspace(0, 200, 64).view(1, 1, 1, 64).expand(1, 1, 64, 64).to(torch.uint8)
    theta = draw_warps(1, seed=1, epoch=0, **STILL | {"degrees": 10.0})
    angle = np.rad2deg(np.arctan2(theta[0, 1, 0], theta[0, 1, 1]))
    ours = warp(ramp, torch.from_numpy(theta))[..., 16:48, 16:48]
    theirs = v2.functional.rotate(ramp.float(), float(angle), v2.InterpolationMode.BILINEAR)[
        ..., 16:48, 16:48
    ]
    assert 1 < abs(angle) < 10
    assert (ours - theirs).abs().max() < 3


def test_crops_follow_random_resized_crops_law() -> None:
    theta = draw_warps(20_000, seed=0, epoch=0, **LAW | {"degrees": 0.0})
    width, height = np.abs(theta[:, 0, 0]), theta[:, 1, 1]
    torch.manual_seed(0)
    reference = [
        v2.RandomResizedCrop(100, scale=(0.84, 1.0)).make_params([torch.zeros(1, 1000, 1000)])
        for _ in range(5000)
    ]
    theirs = np.array([(p["width"] / 1000, p["height"] / 1000) for p in reference])
    for ours, other in ((width, theirs[:, 0]), (height, theirs[:, 1]), (width * height, theirs.prod(1))):
        assert np.abs(np.quantile(ours, [0.1, 0.5, 0.9]) - np.quantile(other, [0.1, 0.5, 0.9])).max() < 0.01
    assert (np.abs(theta[:, 0, 2]) <= 1 - width + 1e-6).all()
    assert abs((theta[:, 0, 0] < 0).mean() - 0.5) < 0.02


def test_square_crops_of_one_scale_are_random_crops_of_one_size() -> None:
    """A resize to 512 px and a random crop of 448; without `square` the aspect ratio would still be drawn."""
    law = LAW | {"scale": (0.765625, 0.765625), "degrees": 0.0, "flip": 0.0}
    theta = draw_warps(20_000, seed=0, epoch=0, **law, square=True)
    assert (theta[:, 0, 0] == 448 / 512).all() and (theta[:, 1, 1] == 448 / 512).all()
    for offset in (theta[:, 0, 2], theta[:, 1, 2]):  # uniform where the crop fits
        assert (
            np.abs(np.quantile(offset, [0, 0.25, 0.5, 0.75, 1]) - [-0.125, -0.0625, 0, 0.0625, 0.125]).max()
            < 2e-3
        )
    drawn = draw_warps(20_000, seed=0, epoch=0, **law)
    assert drawn[:, 0, 0].min() < 0.77 and drawn[:, 0, 0].max() > 0.99


def test_a_square_crop_of_a_prepared_image_is_the_crop_of_its_pixels() -> None:
    """At an offset of whole pixels: nothing but the enlargement is interpolated."""
    theta = torch.tensor([[[0.5, 0.0, -0.25], [0.0, 0.5, 0.25]]]).repeat(2, 1, 1)
    ours = warp(image(), theta)  # 8 of 16 px, from column 2 and row 6
    theirs = torch.nn.functional.interpolate(
        image()[..., 6:14, 2:10].float(), size=(16, 16), mode="bilinear", align_corners=False
    )
    assert (ours - theirs)[..., 1:-1, 1:-1].abs().max() < 1e-3  # its rim sees the pixels beyond


def test_a_samples_jitter_depends_on_seed_epoch_and_sample_alone() -> None:
    few, many = (draw_jitters(n, seed=3, epoch=2, jitter=0.2) for n in (10, 1000))
    assert np.array_equal(few, many[:10])
    assert not np.array_equal(few, draw_jitters(10, seed=3, epoch=1, jitter=0.2))
    assert not np.array_equal(few, draw_jitters(10, seed=4, epoch=2, jitter=0.2))


def test_jitters_follow_color_jitters_law() -> None:
    ours = draw_jitters(20_000, seed=0, epoch=0, jitter=0.2)
    torch.manual_seed(0)  # torchvision draws from torch's own generator
    law = v2.ColorJitter(brightness=0.2, contrast=0.2)
    reference = [law.make_params([]) for _ in range(5000)]
    first = [next(int(i) for i in p["fn_idx"] if i < 2) == 0 for p in reference]
    theirs = np.array([(p["brightness_factor"], p["contrast_factor"]) for p in reference])
    for column in (0, 1):
        quantiles = (np.quantile(side[:, column], [0, 0.25, 0.5, 0.75, 1]) for side in (ours, theirs))
        assert np.abs(np.subtract(*quantiles)).max() < 0.01
    assert abs(ours[:, 2].mean() - np.mean(first)) < 0.03
    assert abs(np.corrcoef(ours[:, 0], ours[:, 1])[0, 1]) < 0.03


def test_a_jittered_image_is_what_torchvision_makes_of_it_in_rgb() -> None:
    """The paper's images have three equal channels. torchvision weighs them by 0.9999 for its mean."""
    gray = torch.cat([image(), 255 - image()]).float()
    drawn = np.float32([[1.2, 0.8, 1], [1.2, 0.8, 0], [0.7, 1.3, 1], [0.7, 1.3, 0]])
    ours = jitter(gray, drawn)
    for one, each, (brightness, contrast, brightness_first) in zip(ours, gray, drawn.tolist(), strict=True):
        theirs = v2.functional.to_pil_image(each.expand(3, -1, -1).to(torch.uint8))
        steps = [(v2.functional.adjust_brightness, brightness), (v2.functional.adjust_contrast, contrast)]
        for adjust, factor in steps if brightness_first else steps[::-1]:
            theirs = adjust(theirs, factor)
        expected = v2.functional.pil_to_tensor(theirs)[:1].float()
        assert (one - expected).abs().max() <= 2  # Pillow rounds to whole greys, twice
    assert ours.min() >= 0 and ours.max() <= 255
    assert not torch.equal(ours[0], ours[1])


def test_saturation_and_hue_do_nothing_where_red_green_and_blue_are_equal() -> None:
    """So that brightness and contrast are the whole of ColorJitter for a radiograph."""
    gray = v2.functional.to_pil_image(image()[0])
    colours = gray.convert("RGB")
    levels = torch.arange(256, dtype=torch.float32).view(1, 1, -1).expand(3, 1, -1) / 255
    torch.manual_seed(0)
    for law in (v2.ColorJitter(saturation=0.9), v2.ColorJitter(hue=0.5)):
        for _ in range(20):
            assert law(colours).tobytes() == colours.tobytes()
            # of tensors to a thousandth of a gray per gray: torchvision weighs the channels by 0.9999 in all
            assert (law(levels) - levels).abs().max() < 1e-3
    red = v2.functional.to_pil_image(torch.tensor([200, 30, 30], dtype=torch.uint8).view(3, 1, 1))
    for adjust, amount in ((v2.functional.adjust_saturation, 0.2), (v2.functional.adjust_hue, 0.3)):
        assert adjust(red, amount).tobytes() != red.tobytes()  # of a colour they change


def holes_slowly(pixels: torch.Tensor, centre: np.ndarray, length: int) -> torch.Tensor:
    found = pixels.clone()
    size = pixels.shape[-1]
    for image_, (down, across) in zip(found, centre, strict=True):
        top, left = int(down * size) - length // 2, int(across * size) - length // 2
        for y in range(top, top + length):
            for x in range(left, left + length):
                if 0 <= y < size and 0 <= x < size:
                    image_[0, y, x] = BLANK
    return found


@pytest.mark.parametrize(("side", "length"), [(0.5, 8), (0.3, 5), (1.0, 16), (0.01, 0)])
def test_cutout_blanks_a_square_around_its_centre_as_far_as_it_lies_inside(side: float, length: int) -> None:
    pixels = image().float().repeat(50, 1, 1, 1)
    centre = draw_cutouts(100, seed=0, epoch=0)
    found = cutout(pixels, torch.from_numpy(centre), side=side)
    assert torch.equal(found, holes_slowly(pixels, centre, length))
    assert torch.equal(cutout(pixels[3:5], torch.from_numpy(centre[3:5]), side=side), found[3:5])


def test_the_centre_of_cutout_is_uniform_and_blank_is_zero_to_the_network() -> None:
    centre = draw_cutouts(20_000, seed=0, epoch=0)
    assert (
        np.abs(np.quantile(centre, [0, 0.25, 0.5, 0.75, 1], axis=0).T - [0, 0.25, 0.5, 0.75, 1]).max() < 0.01
    )
    assert abs(np.corrcoef(centre.T)[0, 1]) < 0.02
    assert np.array_equal(draw_cutouts(10, seed=0, epoch=0), centre[:10])
    assert not np.array_equal(draw_cutouts(10, seed=0, epoch=1), centre[:10])
    assert np.mean([0.485, 0.456, 0.406]) == pytest.approx(BLANK / 255, abs=1e-3)


def test_an_image_is_jittered_alike_in_any_batch_and_not_at_all_by_factors_of_one() -> None:
    gray = image().float()
    drawn = draw_jitters(2, seed=0, epoch=0, jitter=0.3)
    assert torch.equal(jitter(gray, drawn)[1:], jitter(gray[1:], drawn[1:]))
    still = draw_jitters(2, seed=0, epoch=0, jitter=0.0)
    assert torch.allclose(jitter(gray, still), gray, atol=1e-4)


def test_each_kind_of_draw_has_a_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, streams = np.random.default_rng, list[tuple[int, ...]]()

    def watched(seed: list[int]) -> np.random.Generator:
        streams.append(tuple(seed))
        return usual(seed)

    monkeypatch.setattr(np.random, "default_rng", watched)
    draw_warps(2, seed=3, epoch=2, **LAW)
    draw_jitters(2, seed=3, epoch=2, jitter=0.2)
    draw_mixes(2, seed=3, epoch=2, mixup=0.2)
    draw_operations(2, seed=3, epoch=2, count=2)
    draw_cutouts(2, seed=3, epoch=2)
    epoch_order(np.arange(2), seed=3, epoch=2)
    assert len(set(streams)) == len(streams) == 6
    assert {stream[:2] for stream in streams} == {(3, 2)}


def test_an_epochs_order_is_a_permutation_that_epochs_do_not_share() -> None:
    rows = np.arange(5, 55)
    first, again, next_one = (epoch_order(rows, seed=0, epoch=epoch) for epoch in (0, 0, 1))
    assert np.array_equal(first, again)
    assert sorted(first) == list(rows)
    assert not np.array_equal(first, next_one)


def batch(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pixels = 255 * torch.rand(n, 1, 4, 4, generator=generator)
    y, mask = torch.rand(n, 3, generator=generator) < 0.5, torch.rand(n, 3, generator=generator) < 0.7
    return pixels, (y & mask).float(), mask


def test_a_samples_mix_depends_on_seed_epoch_and_sample_alone() -> None:
    few, many = (draw_mixes(n, seed=3, epoch=2, mixup=0.4) for n in (10, 1000))
    assert np.array_equal(few, many[:10])
    assert many.dtype == np.float32
    assert not np.array_equal(few, draw_mixes(10, seed=3, epoch=1, mixup=0.4))
    assert not np.array_equal(few, draw_mixes(10, seed=4, epoch=2, mixup=0.4))


def test_shares_are_the_larger_side_of_a_beta_draw() -> None:
    lam = draw_mixes(20_000, seed=0, epoch=0, mixup=1.0)  # Beta(1, 1) is uniform, its larger side too
    assert lam.min() >= 0.5
    assert np.abs(np.quantile(lam, [0.25, 0.5, 0.75]) - [0.625, 0.75, 0.875]).max() < 0.01
    assert draw_mixes(20_000, seed=0, epoch=0, mixup=0.1).mean() > 0.9


def test_without_mixup_a_batch_comes_back_bit_by_bit() -> None:
    before = batch(5)
    after = mix(*before, torch.from_numpy(draw_mixes(5, seed=0, epoch=0, mixup=0.0)))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_neighbours_are_mixed_each_by_its_own_share_and_the_odd_one_stays() -> None:
    pixels, y, mask = batch(5)
    lam = torch.tensor([0.5, 0.6, 0.7, 1.0, 0.8])
    mixed, truth, known = mix(pixels, y, mask, lam)
    for i, other in ((0, 1), (1, 0), (2, 3)):
        assert torch.allclose(mixed[i], lam[i] * pixels[i] + (1 - lam[i]) * pixels[other])
        assert torch.allclose(truth[i], lam[i] * y[i] + (1 - lam[i]) * y[other])
        assert torch.equal(known[i], mask[i] & mask[other])
    for i in (3, 4):
        assert torch.allclose(mixed[i], pixels[i])
        assert torch.allclose(truth[i], y[i])
        assert torch.equal(known[i], mask[i])


def test_a_batch_in_even_parts_mixes_the_same_images() -> None:
    lam = torch.from_numpy(draw_mixes(8, seed=0, epoch=0, mixup=0.4))
    whole = mix(*batch(8), lam)
    parts = [mix(*(part[at] for part in batch(8)), lam[at]) for at in (slice(0, 2), slice(2, 6), slice(6, 8))]
    assert all(torch.equal(a, torch.cat(b)) for a, b in zip(whole, zip(*parts, strict=True), strict=True))
