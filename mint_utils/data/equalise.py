"""One identical preparation for the images of all databases: the same low-pass, the same JPEG quality.

In a control the Audited Model and the blind baselines read these images instead. Before the preparation each
database can be softened until it is no sharper than the softest.
"""

import bisect
from collections.abc import Mapping

import numpy as np
import simplejpeg
from scipy.ndimage import gaussian_filter1d

from mint_utils.data.images import resize

QUALITY = 75  # below the 85 to 95 at which face crops are commonly stored
BATCH = 1024  # images resized at once
STEP = 1 / 64  # pixel: widths of a low-pass are multiples of it
WIDEST = 8  # pixels
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of JPEG (JFIF, ITU-R BT.601)


def equalised(images: np.ndarray) -> np.ndarray:
    """Resize to half the side and back, then encode as JPEG at one quality and decode again.

    This removes or reduces differences of sharpness, noise, sharpening and interpolation above half the
    Nyquist frequency, of the chroma subsampling (4:2:0), and of compression finer than `QUALITY`.

    It cannot remove other differences: losses that one database alone already has (a blur below half the
    resolution, a stronger compression, clipped levels); colour, white balance and contrast; framing and
    alignment, including the filled corners of a rotation; pose, light and background; and the people and
    occasions: age, sex, origin, press photograph or selfie.

    Args:
        images: (N, S, S, 3) uint8 RGB.

    Returns:
        (N, S, S, 3) uint8 RGB; each depends on its own image only.
    """
    size = images.shape[1]
    found = np.empty_like(images)
    for i in range(0, len(images), BATCH):
        smooth = resize(resize(images[i : i + BATCH], size // 2), size)
        for image, result in zip(smooth, found[i : i + BATCH], strict=True):
            encoded = simplejpeg.encode_jpeg(image, QUALITY, colorsubsampling="420")
            result[:] = simplejpeg.decode_jpeg(encoded)
    return found


def softened(images: np.ndarray, width: float) -> np.ndarray:
    """Apply a Gaussian low-pass to images.

    Args:
        images: (N, S, S, 3) uint8 RGB.
        width: Its standard deviation in pixels; 0 leaves the images as they are.

    Returns:
        (N, S, S, 3) uint8 RGB.
    """
    if width == 0:
        return images
    found = np.empty_like(images)
    for i in range(0, len(images), BATCH):
        smooth = images[i : i + BATCH].astype(np.float32)
        for axis in (1, 2):
            smooth = gaussian_filter1d(smooth, width, axis, mode="nearest")
        found[i : i + BATCH] = np.rint(smooth)
    return found


def sharpness(images: np.ndarray) -> np.ndarray:
    """Return (N,) float32: variance of the luma's Laplacian (4 neighbours) of images (N, S, S, 3) uint8."""
    luma = images.astype(np.float32) @ LUMA
    down, right = np.diff(luma, 2, axis=1)[:, :, 1:-1], np.diff(luma, 2, axis=2)[:, 1:-1]
    return (down + right).var(axis=(1, 2))


def alike(samples: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return how much each database must be softened so that, equalised, it is as sharp as the softest.

    Args:
        samples: Name of a database -> some of its images, (n, S, S, 3) uint8 RGB.

    Returns:
        Name -> width for `softened`, in pixels: the smallest with which the median `sharpness` of the
        `equalised` images is not above that of the softest database, which has 0.
    """

    def median(images: np.ndarray, step: int = 0) -> float:
        return float(np.median(sharpness(equalised(softened(images, step * STEP)))))

    softest = min(map(median, samples.values()))
    steps = range(round(WIDEST / STEP))
    return {
        name: STEP * bisect.bisect_left(steps, -softest, key=lambda step: -median(images, step))
        for name, images in samples.items()
    }
