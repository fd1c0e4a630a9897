"""Alignment against known similarities, Umeyama's own formula, scipy and PIL."""

import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import map_coordinates

from mint_utils.data import align
from mint_utils.errors import DataError


def matrix(scale: float, angle: float, dx: float, dy: float) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, dx], [s, c, dy]])


def applied(m: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ m[:, :2].T + m[:, 2]


def inverse(m: np.ndarray) -> np.ndarray:
    return np.linalg.inv(np.vstack([m, [0, 0, 1]]))[:2]


def umeyama(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Equations 34 to 42 of Umeyama (1991), by the singular value decomposition."""
    mx, my = x.mean(0), y.mean(0)
    u, d, vt = np.linalg.svd((y - my).T @ (x - mx) / len(x))
    s = np.diag([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    r = u @ s @ vt
    c = np.trace(np.diag(d) @ s) / ((x - mx) ** 2).sum(1).mean()
    return np.column_stack([c * r, my - c * r @ mx])


similarities = st.builds(
    matrix,
    st.floats(0.05, 20),
    st.floats(-np.pi, np.pi),
    st.floats(-1000, 1000),
    st.floats(-1000, 1000),
)


@given(similarities)
def test_a_similarity_is_recovered_from_correspondences(m):
    points = applied(inverse(m), align.TEMPLATE)
    np.testing.assert_allclose(align.similarity(points, align.TEMPLATE), m, rtol=1e-7, atol=1e-6)


@given(similarities, st.integers(0, 2**32 - 1))
def test_noisy_points_are_fitted_as_umeyama_does(m, seed):
    noise = np.random.default_rng(seed).normal(0, 2, (5, 2))
    points = applied(inverse(m), align.TEMPLATE + noise)
    expected = umeyama(points, align.TEMPLATE)
    np.testing.assert_allclose(align.similarity(points, align.TEMPLATE), expected, 1e-6, 1e-5)


@given(similarities)
def test_mirrored_landmarks_are_refused(m):
    mirrored = align.TEMPLATE * [-1, 1]
    with pytest.raises(DataError, match="are left and right exchanged"):
        align.similarity(applied(inverse(m), mirrored), align.TEMPLATE)


@pytest.mark.parametrize(
    ("points", "says"),
    [
        (np.full((5, 2), 40.0), "coincide"),
        (np.full((5, 2), 40.0) + align.TEMPLATE / 500, "coincide"),
        (np.arange(10.0).reshape(5, 2), "on one line"),
        (np.where(align.TEMPLATE > 92.3, np.nan, align.TEMPLATE), "not a number"),
        (np.where(align.TEMPLATE > 92.3, np.inf, align.TEMPLATE), "not a number"),
    ],
)
def test_degenerate_landmarks(points, says):
    with pytest.raises(DataError, match=says):
        align.similarity(points, align.TEMPLATE)


def waves(height: int, width: int, period: float = 60) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return surface(x, y, period).round().astype(np.uint8)


def surface(x: np.ndarray, y: np.ndarray, period: float) -> np.ndarray:
    tone = 2 * np.pi / period
    planes = [np.sin(tone * x), np.cos(tone * y), np.sin(tone * (x + y) / 2)]
    return 127.5 + 100 * np.stack(planes, -1)


@pytest.mark.parametrize(
    "m", [matrix(1, 0, -20, -30), matrix(1.7, 0.3, 5, -90), matrix(1, -2, 60, 150)]
)
def test_enlarged_crops_are_scipy_s_bilinear_interpolation_on_black(m):
    pixels = np.random.default_rng(0).integers(0, 256, (120, 150, 3), dtype=np.uint8)
    y, x = np.mgrid[: align.SIZE, : align.SIZE]
    at = applied(inverse(m), np.stack([x, y], -1).reshape(-1, 2).astype(float))
    expected = [
        map_coordinates(pixels[..., c].astype(float), at[:, ::-1].T, order=1, mode="grid-constant")
        for c in range(3)
    ]
    expected = np.stack(expected, -1).reshape(align.SIZE, align.SIZE, 3)
    crop = align.aligned(pixels, m)
    assert crop.dtype == np.uint8 and np.abs(crop - expected).max() <= 0.51


@pytest.mark.parametrize("scale", [0.9, 0.5, 0.31, 0.12])
def test_made_smaller_a_smooth_picture_stays_what_it_is_in_its_place(scale):
    m = matrix(scale, 0.4, 0, 0)
    m[:, 2] = 56 - m[:, :2] @ [600, 500]
    crop = align.aligned(waves(1000, 1200, 50 / scale), m)
    y, x = np.mgrid[: align.SIZE, : align.SIZE]
    at = applied(inverse(m), np.stack([x, y], -1).reshape(-1, 2).astype(float))
    inside = ((at > 8) & (at < [1191, 991])).all(1)
    expected = surface(*at.T, 50 / scale)[inside]
    assert inside.mean() > 0.7
    assert np.abs(crop.reshape(-1, 3)[inside] - expected).max() < 4


def test_made_smaller_a_fine_pattern_becomes_grey_and_not_another_pattern():
    board = np.indices((900, 900)).sum(0) % 2 * np.full((3, 1, 1), 255)
    m = matrix(0.21, 0.1, 0, 0)
    m[:, 2] = 56 - m[:, :2] @ [450, 450]
    crop = align.aligned(board.transpose(1, 2, 0).astype(np.uint8), m)
    assert np.abs(crop.astype(int) - 127).max() < 12


def test_a_face_at_the_edge_gets_black_and_one_outside_is_refused():
    pixels = np.full((60, 60, 3), 200, np.uint8)
    crop = align.aligned(pixels, matrix(1, 0, 56, 56))  # the image's corner in the middle
    assert (crop[:55, :55] == 0).all() and (crop[57:, 57:] == 200).all()
    with pytest.raises(DataError, match="outside the image of 60x60"):
        align.aligned(pixels, matrix(1, 0, -100, 0))


def test_the_crops_have_one_quality_and_colour_sampling():
    crop = waves(align.SIZE, align.SIZE)
    content = align.encode(crop[::-1])  # not contiguous
    assert simplejpeg.decode_jpeg_header(content) == (112, 112, "YCbCr", "420")
    out = io.BytesIO()
    Image.fromarray(crop).save(out, "JPEG", quality=95)
    by_pil = Image.open(out)
    assert Image.open(io.BytesIO(content)).quantization == by_pil.quantization
    assert np.abs(simplejpeg.decode_jpeg(content).astype(int) - crop[::-1]).mean() < 3
