"""One preparation: what it keeps, what it takes away, and that each image is treated alone."""

import numpy as np
import pytest

from mint_utils.data.equalise import equalised
from mint_utils.errors import ParameterError
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


def test_a_lower_quality_changes_more():
    images = database(size=40).images
    smooth = equalised(images, 100).astype(int)
    errors = [abs(equalised(images, quality) - smooth).mean() for quality in (90, 50, 10)]
    assert errors == sorted(errors) and errors[0] > 0


def test_an_image_does_not_depend_on_the_others():
    images = database(size=40).images
    together = equalised(images)
    assert together.dtype == np.uint8 and together.shape == images.shape
    np.testing.assert_array_equal(equalised(images[7:9]), together[7:9])


@pytest.mark.parametrize("quality", [0, 101])
def test_an_impossible_quality_is_refused(quality):
    with pytest.raises(ParameterError, match=f"quality is {quality}"):
        equalised(database().images, quality)
