"""Blind features against cases worked out by hand and against formulas in float64."""

import numpy as np
import pytest
import simplejpeg
import torch

from mint_utils.data import synthetic
from mint_utils.errors import ParameterError
from mint_utils.mint import batches, blind
from mint_utils.mint.fit import MintRecipe, MintTask, fit

EVERY = pytest.mark.parametrize("name", blind.BASELINES)
# Columns of the statistics of S pixels, in their order.
COLOUR, BLOCKS, SPECTRUM = slice(0, 56), slice(56, 58), 58


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    number = np.arange(24)
    return synthetic.draw("embedded_news", number, number, 40)


def grey(plane: np.ndarray) -> np.ndarray:
    """Return one image (1, S, S, 3) of a plane of values from 0 to 255."""
    return np.repeat(np.rint(plane).astype(np.uint8)[None, :, :, None], 3, axis=3)


def noise(size: int, spread: float = 20, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(128, spread, (size, size))
    return grey(values.clip(0, 255))


# ---- every baseline -------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("size", [16, 40, 57])
def test_shape_type_and_numbers(name, size, images):
    extremes = np.stack([np.zeros((size, size, 3)), np.full((size, size, 3), 255)])
    found = blind.extract(name, [(extremes.astype(np.uint8), np.arange(2))])
    length = {"pixels": 192, "statistics": 88 + size // 2, "general": 960}[name]
    assert found.shape == (2, length) and found.dtype == np.float32 and np.isfinite(found).all()


@EVERY
def test_a_row_depends_on_no_other_image(name, images, monkeypatch):
    whole = blind.extract(name, [(images, np.arange(24))])
    alone = np.concatenate([blind.BASELINES[name](images[i : i + 1]) for i in range(24)])
    np.testing.assert_allclose(whole, alone, atol=1e-4)
    monkeypatch.setattr(batches, "BATCH", 7)
    pieces = [(images[:9], np.array([8, 2])), (images[9:], np.arange(15))]
    np.testing.assert_allclose(blind.extract(name, pieces), whole[[8, 2, *range(9, 24)]], atol=1e-4)


@EVERY
def test_images_that_are_too_small_are_refused(name):
    with pytest.raises(ParameterError, match="16 pixels a side or more, not 12"):
        blind.extract(name, [(np.zeros((2, 12, 12, 3), np.uint8), np.arange(2))])


@EVERY
def test_databases_are_told_apart_and_one_database_is_not(name):
    number = np.arange(300)
    one, two, same = (
        synthetic.draw("embedded_web", number + first, number, 16) for first in (0, 1000, 2000)
    )
    tinted = (two + np.array([40, 0, -40])).clip(0, 255).astype(np.uint8)
    features = blind.extract(name, [(x, number) for x in (one, tinted, same)])
    whole, recipe = slice(0, features.shape[1]), MintRecipe(epochs=10)
    right = []
    for negatives in (300, 600):  # of the other database, of the same
        train = np.concatenate([np.arange(200), negatives + np.arange(200)])
        new = np.concatenate([np.arange(200, 300), negatives + np.arange(200, 300)])
        scores = fit(features, [MintTask(whole, train, train < 300, new, 0)], recipe)[0]
        right.append(((scores > 0.5) == (new < 300)).mean())
    assert right[0] > 0.8 and 0.35 < right[1] < 0.65


# ---- pixels ---------------------------------------------------------------------------------


def test_thumbnail_of_one_colour_is_that_colour():
    image = np.tile(np.array([10, 100, 200], np.uint8), (1, 36, 36, 1))
    expected = np.tile(np.array([10, 100, 200]) / 255, 64)
    np.testing.assert_allclose(blind.pixels(image)[0], expected, atol=1e-6)


def test_thumbnail_of_a_gradient_is_the_gradient_at_the_middle_of_each_block():
    size, side = 40, 5
    line = 6.0 * np.arange(size)
    found = blind.pixels(grey(np.tile(line, (size, 1)))).reshape(8, 8, 3) * 255
    middle = 6 * (side * np.arange(8) + (side - 1) / 2)
    inner = slice(1, 7)  # the triangle filter is cut off at the border
    np.testing.assert_allclose(found[:, inner, 0], np.tile(middle[inner], (8, 1)), atol=0.51)


def test_thumbnail_does_not_alias_a_chequerboard():
    board = 255.0 * (np.indices((40, 40)).sum(axis=0) % 2)
    np.testing.assert_allclose(blind.pixels(grey(board))[0] * 255, 127.5, atol=12)


# ---- statistics -----------------------------------------------------------------------------


def test_colour_by_hand():
    image = np.zeros((1, 16, 16, 3), np.uint8)
    image[:, :8] = (255, 51, 0)  # saturation 1; the other half is black, saturation 0
    found = blind.statistics(image)[0, COLOUR]
    expected = [0.5, 0.1, 0, 0.5, 0.1, 0, 0.5, 0.5]  # means, deviations, saturation
    np.testing.assert_allclose(found[:8], expected, atol=1e-6)
    histograms = found[8:].reshape(3, 16)
    assert histograms[0, 0] == histograms[0, 15] == histograms[1, 3] == 0.5
    assert histograms[2, 0] == 1 and histograms.sum() == 3


def test_colour_in_float64(images):
    exact = images.astype(np.float64) / 255
    found = blind.statistics(images)[:, COLOUR]
    np.testing.assert_allclose(found[:, :3], exact.mean(axis=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(found[:, 3:6], exact.std(axis=(1, 2)), atol=1e-5)
    for channel in range(3):
        counts = [np.histogram(x[..., channel], 16, (0, 256))[0] / 1600 for x in images]
        start = 8 + 16 * channel
        np.testing.assert_allclose(found[:, start : start + 16], counts, atol=1e-6)


def test_blockiness_of_a_staircase_by_hand():
    line = 8.0 * (np.arange(32) // 8) + 100  # a step of 8 at each edge of a block, none within
    found = blind.statistics(grey(np.tile(line, (32, 1))))[0, BLOCKS]
    np.testing.assert_allclose(found[0], 0, atol=1e-6)
    np.testing.assert_allclose(
        found[1], np.log(((8 / 255) ** 2 + blind.FLOOR) / blind.FLOOR), rtol=1e-4
    )


def test_jpeg_is_found_on_its_grid_and_lost_after_resizing():
    image = noise(112)
    decoded = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(image[0], 30))[None]
    resized = blind.resize(decoded, 40)
    before, after, gone = (blind.statistics(x)[0, BLOCKS] for x in (image, decoded, resized))
    assert abs(before).max() < 0.1 and after.min() > 0.25 and abs(gone).max() < 0.15


def spectrum(image: np.ndarray) -> np.ndarray:
    size = image.shape[1]
    return blind.statistics(image)[0, SPECTRUM : SPECTRUM + size // 2]


def by_loops(image: np.ndarray) -> np.ndarray:
    """Return the spectrum from the full transform in float64, coefficient by coefficient."""
    size = image.shape[1]
    luma = image[0] @ np.array([0.299, 0.587, 0.114]) / 255
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    window = np.outer(hann, hann)
    power = abs(np.fft.fft2((luma - luma.mean()) * window)) ** 2 / (window**2).sum()
    rings = [[] for _ in range(size)]
    for i in range(size):
        for j in range(size):
            radius = np.hypot(min(i, size - i), min(j, size - j))
            rings[int(np.rint(radius))].append(power[i, j])
    return np.log([np.mean(rings[k]) + 1e-6 for k in range(1, size // 2 + 1)])


@pytest.mark.parametrize("size", [16, 40, 57])
def test_spectrum_is_that_of_the_full_transform(size):
    image = synthetic.draw("embedded_web", np.array([3]), np.array([5]), size)
    np.testing.assert_allclose(spectrum(image), by_loops(image), atol=1e-3)


@pytest.mark.parametrize("cycles", [4, 9, 15])
def test_spectrum_of_a_cosine_peaks_at_its_frequency(cycles):
    wave = 128 + 60 * np.cos(2 * np.pi * cycles * np.arange(40) / 40)
    for plane in (np.tile(wave, (40, 1)), np.tile(wave, (40, 1)).T):
        found = spectrum(grey(plane))
        assert found.argmax() == cycles - 1
        far = abs(np.arange(20) - (cycles - 1)) > 2  # the window spreads it by one each way
        assert found[far].max() < found.max() - 5


def test_spectrum_and_noise_of_white_noise_are_its_variance():
    image = noise(256)
    found = blind.statistics(image)[0]
    expected = np.log((20**2 + 1 / 12) / 255**2)  # 1/12: rounded to whole levels
    start = SPECTRUM + 128
    np.testing.assert_allclose(found[SPECTRUM + 20 : start].mean(), expected, atol=0.1)
    np.testing.assert_allclose(found[start], expected, atol=0.05)
    np.testing.assert_allclose(found[start + 1 : start + 3], np.log(blind.FLOOR), atol=0.01)  # grey


def test_noise_ignores_a_ramp():
    ramp = np.add.outer(2.0 * np.arange(40), 3.0 * np.arange(40))
    found = blind.statistics(grey(ramp))[0, SPECTRUM + 20 : SPECTRUM + 23]
    np.testing.assert_allclose(found, np.log(blind.FLOOR), atol=1e-3)


def framing(image: np.ndarray) -> np.ndarray:
    return blind.statistics(image)[0, -27:]


def test_framing_of_a_black_bar_by_hand():
    plane = np.full((32, 32), 102.0)
    plane[:4] = 0
    found = framing(grey(plane))
    expected = [0, 0.4, 0.35, 0.35, 0, 0, *2 * [0.4 * np.sqrt(7 / 64)]]  # top, bottom, left, right
    np.testing.assert_allclose(found[:8], expected, atol=1e-5)
    # A strip is 128 pixels. Black: all of the top one, 16 of the left and 16 of the right.
    np.testing.assert_allclose(found[8:10], [160 / 512, 0], atol=1e-6)
    np.testing.assert_allclose(found[26], np.log(blind.FLOOR), atol=1e-4)  # its own mirror image


def test_framing_finds_where_the_image_is_sharp():
    plane = np.full((40, 40), 128.0)
    plane[12:17, 32:37] += noise(5)[0, :, :, 0] - 128.0  # second part from above, last to the right
    assert framing(grey(plane))[10:26].argmax() == 7


def test_framing_measures_the_asymmetry():
    plane = np.zeros((16, 16))
    plane[:, 8:] = 255
    np.testing.assert_allclose(framing(grey(plane))[26], np.log(1 + blind.FLOOR), atol=1e-5)


# ---- general --------------------------------------------------------------------------------


def test_the_general_network_is_the_same_whatever_was_drawn_before(images):
    torch.manual_seed(5)
    first = blind.general(images)
    blind._general_network.cache_clear()
    torch.manual_seed(6)
    state = torch.get_rng_state()
    np.testing.assert_array_equal(blind.general(images), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_general_features_are_the_means_of_the_stages(images):
    inputs = torch.from_numpy(images[:3].astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1)
    with torch.no_grad():
        stages = blind._general_network().double()(inputs.double())
    blind._general_network.cache_clear()
    assert [stage.shape[1] for stage in stages] == [64, 128, 256, 512]
    expected = np.concatenate([s.flatten(2).mean(dim=2).numpy() for s in stages], axis=1)
    found = blind.general(images[:3])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert (found.std(axis=0) > 0).mean() > 0.95
