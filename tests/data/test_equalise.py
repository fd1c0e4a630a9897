"""One preparation: what it keeps, what it takes away, and that each image is treated alone."""

import numpy as np
import pytest
from scipy import ndimage

from mint_utils.data import equalise
from mint_utils.data.equalise import STEP, alike, equalised, sharpness, softened
from tests.factory import database


def test_a_uniform_image_stays():
    grey = np.full((2, 40, 40, 3), 128, np.uint8)
    assert abs(equalised(grey).astype(int) - 128).max() <= 1


def test_the_finest_pattern_goes_and_a_coarse_one_stays():
    position = np.arange(64)
    fine = np.where(position % 2, 160, 96)
    coarse = 128 + 32 * np.sin(2 * np.pi * position / 32)
    images = np.stack([np.tile(line, (64, 1)) for line in (fine, coarse)])
    images = np.repeat(images[..., None], 3, axis=3).astype(np.uint8)
    spread = equalised(images).std(axis=(1, 2, 3)) / images.std(axis=(1, 2, 3))
    assert spread[0] < 0.1 and spread[1] > 0.9


def test_sharp_and_blurred_copies_come_closer():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (4, 40, 40, 3))
    sharp, blurred = noise, (noise + np.roll(noise, 1, axis=1)) / 2
    one, two = (x.astype(np.uint8) for x in (sharp, blurred))
    before = abs(one.astype(float) - two).mean()
    after = abs(equalised(one).astype(float) - equalised(two)).mean()
    assert after < before / 2


def test_a_lower_quality_changes_more(monkeypatch):
    images, found = database(size=40).images, []
    for quality in (100, 90, 50, 10):
        monkeypatch.setattr(equalise, "QUALITY", quality)
        found.append(equalised(images).astype(int))
    errors = [abs(one - found[0]).mean() for one in found]
    assert errors == sorted(errors) and errors[1] > 0


def test_an_image_does_not_depend_on_the_others():
    images = database(size=40).images
    together = equalised(images)
    assert together.dtype == np.uint8 and together.shape == images.shape
    np.testing.assert_array_equal(equalised(images[7:9]), together[7:9])


def test_sharpness_is_that_of_a_reference():
    images = database(size=24).images[:5]
    luma = images @ np.array([0.299, 0.587, 0.114])
    expected = [ndimage.laplace(image)[1:-1, 1:-1].var() for image in luma]
    np.testing.assert_allclose(sharpness(images), expected, rtol=1e-3)


def test_a_point_is_softened_to_a_gaussian_of_its_width():
    images = np.zeros((1, 41, 41, 3), np.uint8)
    images[0, 20, 20] = 255
    found = softened(images, 2.0)[0].astype(float)
    position = np.arange(41) - 20
    line = np.exp(-(position**2) / 8)
    expected = 255 * np.outer(line, line) / line.sum() ** 2
    assert abs(found - expected[..., None]).max() <= 0.51  # rounded once
    assert softened(images, 0) is images


def test_copies_softened_by_known_widths_are_softened_by_what_they_lack():
    """Gaussians add by squares: a copy of width a needs sqrt(1 - a^2) to be as soft as one of width 1."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 48, 3), dtype=np.uint8)
    plain = softened(noise, 0.8)  # sharp and without what the sampling of a narrow Gaussian loses
    given = {"sharp": 0.0, "between": 0.7, "soft": 1.0}
    widths = alike({name: softened(plain, width) for name, width in given.items()})
    assert widths["soft"] == 0
    for name in ("sharp", "between"):
        assert widths[name] == pytest.approx(np.sqrt(1 - given[name] ** 2), abs=0.05)
    assert all(width / STEP == round(width / STEP) for width in widths.values())


def test_the_width_is_the_smallest_that_is_soft_enough():
    images = database(size=40).images
    samples = {"soft": softened(images, 1.5), "sharp": images}
    width = alike(samples)["sharp"]
    target, before, after = (
        np.median(sharpness(equalised(of)))
        for of in (samples["soft"], softened(images, width - STEP), softened(images, width))
    )
    assert width > 0 and before > target >= after


def test_databases_that_are_alike_stay():
    images = database(size=32).images
    assert alike({"a": images, "b": images[::-1].copy()}) == {"a": 0, "b": 0}
