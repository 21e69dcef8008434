import math

import numpy as np
import pytest
import torch
from torch import Tensor

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.config.recipe import Augmentation
from roadseg.data.augmentation import augment, draw_transform, output_size, stack_transforms
from tests.factories import STRONG, make_augmentation


def make_blocks(height: int = 24, width: int = 40) -> tuple[Tensor, Tensor]:
    """Image of 8x8 blocks whose red value is 10 times the class, (3, H, W), and its mask."""
    mask = (torch.arange(height)[:, None] // 8 * 5 + torch.arange(width) // 8) % 25
    image = torch.stack([mask * 10, 255 - mask * 10, torch.full_like(mask, 128)])
    return image.float(), mask.to(torch.uint8)


def apply(
    image: Tensor,
    mask: Tensor,
    augmentation: Augmentation,
    seed: int = 0,
    center: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Augment one image, (3, H, W) 0..255, and its mask with the draws of a seed."""
    size, mean = tuple(mask.shape), float(image.mean())
    transform = draw_transform(np.random.default_rng(seed), augmentation, size, mean, center)
    transforms = stack_transforms([transform], output_size(augmentation, size))
    images, masks = augment(image[None].clone(), mask[None], transforms)
    return images[0], masks[0]


def test_augmentation_that_is_off_changes_nothing():
    image, mask = make_blocks()
    same, same_mask = apply(image, mask, make_augmentation())
    torch.testing.assert_close(same, image, atol=0.01, rtol=0)
    assert torch.equal(same_mask, mask)


def test_flip_mirrors_image_and_mask_in_about_half_of_the_draws():
    image, mask = make_blocks()
    mirrored = 0
    for seed in range(40):
        flipped, flipped_mask = apply(image, mask, make_augmentation(flip=True), seed)
        is_mirrored = not torch.equal(flipped_mask, mask)
        expected = (image.flip(2), mask.flip(1)) if is_mirrored else (image, mask)
        torch.testing.assert_close(flipped, expected[0], atol=0.01, rtol=0)
        assert torch.equal(flipped_mask, expected[1])
        mirrored += is_mirrored
    assert 10 < mirrored < 30


def test_enlarged_image_shows_a_window_around_the_centered_pixel():
    mask = torch.arange(64, dtype=torch.uint8).reshape(8, 8)
    image = mask.float().expand(3, 8, 8)
    double = make_augmentation(scale_min=2.0, scale_max=2.0)
    _, zoomed = apply(image, mask, double, center=(4, 3))
    # the window is 4 x 4 pixels around (4.5, 3.5); its corners are centers of pixels
    assert zoomed[0, 0] == mask[2, 1]
    assert zoomed[7, 7] == mask[6, 5]
    _, cornered = apply(image, mask, double, center=(0, 7))  # the window stays in the image
    assert torch.equal(cornered, mask[:4, 4:].repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_pixels_outside_of_a_reduced_image_are_ignored_and_repeat_its_border():
    image, mask = torch.full((3, 16, 32), 200.0), torch.ones(16, 32, dtype=torch.uint8)
    half = make_augmentation(scale_min=0.5, scale_max=0.5)
    places = set()
    for seed in range(10):
        reduced, reduced_mask = apply(image, mask, half, seed)
        inside = reduced_mask != IGNORE_INDEX
        assert inside.any(1).sum() in (8, 9)
        assert inside.any(0).sum() in (16, 17)
        assert (reduced_mask[inside] == 1).all()
        torch.testing.assert_close(reduced, image)
        places.add(tuple(inside.nonzero()[0].tolist()))
    assert len(places) > 5


def test_scales_are_as_often_small_as_large():
    draws = [
        draw_transform(np.random.default_rng(seed), STRONG, (240, 320), 0.0) for seed in range(500)
    ]
    scales = [1 / math.sqrt(abs(np.linalg.det(d.homography))) for d in draws]
    assert 0.5 <= min(scales) < 0.52
    assert 1.92 < max(scales) <= 2
    assert 0.4 < np.mean([scale < 1 for scale in scales]) < 0.6


def test_crop_shows_a_part_in_the_original_size():
    image, mask = make_blocks()
    three_quarters = make_augmentation(crop=0.75)
    for seed in range(5):
        part, part_mask = apply(image, mask, three_quarters, seed)
        assert part_mask.shape == (18, 30)
        windows = mask.unfold(0, 18, 1).unfold(1, 30, 1)
        assert (windows == part_mask).all(-1).all(-1).any()
        assert part.shape == (3, 18, 30)


def test_crops_keep_the_pixels_that_networks_need():
    assert output_size(make_augmentation(crop=0.1), (370, 1224)) == (37, 122)
    assert output_size(make_augmentation(crop=0.1), (120, 40)) == (16, 16)
    assert output_size(make_augmentation(crop=0.1), (12, 40)) == (12, 16)


def test_rotation_turns_the_image_about_its_middle():
    mask = torch.arange(49, dtype=torch.uint8).reshape(7, 7)
    found = set()
    for seed in range(30):
        _, turned = apply(mask.float().expand(3, 7, 7), mask, make_augmentation(rotation=180), seed)
        assert turned[3, 3] == mask[3, 3]
        # the pixel to the right of the middle has turned to one of its neighbors
        found.add(int((turned == mask[3, 4]).nonzero()[0].sub(3).tolist()[0] + 1))
    assert found == {0, 1, 2}


def test_rotation_is_in_degrees_to_both_sides():
    angles = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        transform = draw_transform(rng, make_augmentation(rotation=10), (100, 200), 0.0)
        angles.append(math.degrees(math.atan2(*transform.homography[1::-1, 0])))
    assert -10 <= min(angles) < -9.5
    assert 9.5 < max(angles) <= 10


def test_perspective_keeps_the_middle_and_enlarges_one_side():
    corners = np.array([[0, 0, 1], [200, 0, 1], [0, 100, 1], [200, 100, 1], [100, 50, 1]]).T
    for seed in range(5):
        transform = draw_transform(
            np.random.default_rng(seed), make_augmentation(perspective=0.5), (100, 200), 0.0
        )
        x, y, w = transform.homography @ corners
        assert (x[4] / w[4], y[4] / w[4]) == pytest.approx((100, 50))
        of_rows, of_columns = 2 * np.random.default_rng(seed).random(32)[3:5] - 1
        signs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])  # of rows and columns
        assert w[:4] == pytest.approx(1 + signs @ [0.25 * of_rows, 0.25 * of_columns])


def test_only_flip_and_jitter_remain_in_plain_epochs():
    augmentation = STRONG.model_copy(update={"plain": 0.2})
    assert augmentation.in_epoch(8, 10) == augmentation
    expected = make_augmentation(flip=STRONG.flip, jitter=STRONG.jitter)
    assert augmentation.in_epoch(9, 10) == expected


def test_mask_stays_on_its_image_whatever_moves():
    image, mask = make_blocks(96, 160)
    geometry = {"jitter": 0, "hue": 0, "gamma": 0, "gray": 0, "blur": 0, "noise": 0, "cutout": 0}
    for seed in range(10):
        moved, moved_mask = apply(image, mask, STRONG.model_copy(update=geometry), seed)
        inside = moved_mask != IGNORE_INDEX
        error = (moved[0] - 10 * moved_mask.float()).abs()[inside]
        assert inside.sum() > 500
        # only pixels at the edges of blocks are mixed
        assert (error < 1e-2).float().mean() > 0.6


def test_colors_change_as_by_hue_saturation_contrast_and_brightness_one_by_one():
    image, mask = make_blocks()
    changed, same_mask = apply(image, mask, make_augmentation(jitter=0.4), 2)
    assert torch.equal(same_mask, mask)
    unit = np.random.default_rng(2).random(32)
    brightness, contrast, saturation = 1 + 0.4 * (2 * unit[7:10] - 1)
    gray = image.mean(0)
    saturated = gray + saturation * (image - gray)
    expected = brightness * (image.mean() + contrast * (saturated - image.mean()))
    torch.testing.assert_close(changed, expected.float().clamp(0, 255), atol=0.02, rtol=0)


def test_hue_keeps_luma_and_grays_and_turns_colors():
    image, mask = make_blocks()
    gray = torch.full_like(image, 77)
    torch.testing.assert_close(apply(gray, mask, make_augmentation(hue=0.5))[0], gray)
    pale = 100 + image / 10
    turned, _ = apply(pale, mask, make_augmentation(hue=0.5), 1)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close((turned * luma).sum(0), (pale * luma).sum(0), atol=0.1, rtol=0)
    assert (turned - pale).abs().max() > 5


def test_gray_images_have_no_colors():
    image, mask = make_blocks()
    gray, _ = apply(image, mask, make_augmentation(gray=1.0))
    torch.testing.assert_close(gray, image.mean(0).expand_as(image), atol=0.01, rtol=0)


def test_gamma_bends_the_brightness_and_keeps_black_and_white():
    mask = torch.zeros(1, 3, dtype=torch.uint8)
    image = torch.tensor([0.0, 127.5, 255.0]).expand(3, 1, 3)
    middles = []
    for seed in range(40):
        changed, _ = apply(image, mask, make_augmentation(gamma=1.0), seed)
        black, middle, white = changed[0, 0].tolist()
        assert (black, white) == pytest.approx((0, 255), abs=0.1)
        middles.append(middle)
    assert 63 < min(middles) < 75  # exponent 2
    assert 170 < max(middles) < 181  # exponent 1/2


def test_blur_spreads_a_point_and_keeps_its_sum():
    mask = torch.zeros(15, 15, dtype=torch.uint8)
    image = torch.zeros(3, 15, 15)
    image[:, 7, 7] = 200
    peaks = []
    for seed in range(20):
        blurred, _ = apply(image, mask, make_augmentation(blur=1.5), seed)
        assert blurred.sum() == pytest.approx(600, rel=1e-4)
        torch.testing.assert_close(blurred, blurred.transpose(1, 2))
        peaks.append(float(blurred.max()))
    assert peaks.count(pytest.approx(200, abs=0.01)) in range(5, 16)
    # 200 / (2 * pi * 1.5^2) is 14; the kernel ends at 3 pixels
    assert 14 < min(peaks) < 40


def test_noise_has_its_own_seed_and_the_drawn_strength():
    mask = torch.zeros(50, 60, dtype=torch.uint8)
    image = torch.full((3, 50, 60), 128.0)
    noisy = [apply(image, mask, make_augmentation(noise=0.1), seed)[0] for seed in range(20)]
    deviations = [float(found.std()) for found in noisy]
    assert max(deviations) == pytest.approx(25.5, rel=0.2)
    assert min(deviations) < 5
    assert not torch.equal(noisy[0] / noisy[0].std(), noisy[1] / noisy[1].std())
    assert torch.equal(noisy[3], apply(image, mask, make_augmentation(noise=0.1), 3)[0])


def test_cutout_covers_a_rectangle_of_the_image_and_not_of_the_mask():
    mask = torch.ones(40, 60, dtype=torch.uint8)
    image = torch.full((3, 40, 60), 250.0)
    shares = []
    for seed in range(40):
        cut, same_mask = apply(image, mask, make_augmentation(cutout=0.5), seed)
        gray = (cut == 127).all(0)
        rows, columns = gray.any(1).sum(), gray.any(0).sum()
        assert gray.sum() == rows * columns
        assert rows <= 21
        assert columns <= 31
        assert torch.equal(same_mask, mask)
        shares.append(bool(gray.any()))
    assert 10 < sum(shares) < 30


def test_each_change_has_its_own_random_number():
    alone = draw_transform(np.random.default_rng(0), make_augmentation(hue=0.1), (9, 9), 0.0)
    with_others = make_augmentation(hue=0.1, rotation=9, scale_max=3, blur=1, noise=1, cutout=1)
    together = draw_transform(np.random.default_rng(0), with_others, (9, 9), 0.0)
    assert np.array_equal(alone.color, together.color)


def test_samples_do_not_depend_on_the_rest_of_the_batch():
    image, mask = make_blocks()
    draws = [draw_transform(np.random.default_rng(s), STRONG, (24, 40), 99.0) for s in range(6)]
    size = output_size(STRONG, (24, 40))
    together, masks = augment(
        image.expand(6, -1, -1, -1), mask.expand(6, -1, -1), stack_transforms(draws, size)
    )
    for i, draw in enumerate(draws):
        alone, alone_mask = augment(image[None], mask[None], stack_transforms([draw], size))
        torch.testing.assert_close(together[i], alone[0], atol=0.01, rtol=0)
        assert torch.equal(masks[i], alone_mask[0])
    assert together.shape == (6, 3, 18, 30)
    assert 0 <= together.min() <= together.max() <= 255
