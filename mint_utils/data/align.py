"""Aligns faces: 112x112 crops in the pose of the ArcFace template, encoded as JPEG of one quality.

Every database gets the same resampling and the same JPEG quality, because a difference between databases in
either would distinguish members from non-members without any network.

Positions are (x, y) in pixels, the centre of the first pixel at (0, 0), as in OpenCV and InsightFace.
"""

import cmath
import math

import numpy as np
import simplejpeg
import torch
from torch.nn import functional as F

from mint_utils.errors import DataError

SIZE = 112  # pixels, the input of IR-50 (arXiv 2204.00964)
STEPS = np.arange(SIZE, dtype=np.float32)[:, None]
# Eyes, nose, corners of the mouth, first those on the left of the image: the positions that InsightFace
# aligns MS1MV3 to (arXiv 1801.07698).
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)  # fmt: skip

# The ends of the axes of an FDDB ellipse in the crop: top, bottom, left, right. It spans the head from the
# crown to the chin, with the eyes half way (Farkas, Anthropometry of the Head and Face, 1994). So its centre
# is placed at the eyes of the template and its lower end at the chin, 5/3 of the way from eyes to mouth.
EYES, MOUTH = TEMPLATE[:2].mean(0), TEMPLATE[3:].mean(0)
MAJOR = (MOUTH - EYES)[1] * 5 / 3
MINOR = MAJOR / 1.45  # the usual ratio of FDDB's radii
HEAD = EYES + np.array([[0, -MAJOR], [0, MAJOR], [-MINOR, 0], [MINOR, 0]])

# MS1MV3 was aligned by bilinear interpolation. A face larger than the crop is antialiased too, because
# aliasing would identify the databases of large images.
RESAMPLING = "bilinear"
# The defaults of MXNet's im2rec, which packed MS1MV3 (OpenCV's for the colour). Encoding MS1MV3 again would
# compress it twice, so the other databases get its settings.
QUALITY = 95
SUBSAMPLING = "420"


def similarity(points: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Return the rotation, scaling and translation that bring points closest to a template.

    Least squares without reflection (Umeyama, IEEE PAMI 13(4), 1991), which in the plane is the regression
    w = a z + b of complex numbers; a reflection would be w = a conj(z) + b.

    Args:
        points: (K, 2), K >= 2, in the image.
        template: (K, 2), where they should be in the crop.

    Returns:
        (2, 3) float64, a matrix that maps (x, y, 1) of the image to (x, y) of the crop.

    Raises:
        DataError: The points are not numbers, coincide, lie on a line, or are mirrored.
    """
    # Plain numbers: with so few points, calling numpy would take most of the time.
    z, w = ([complex(x, y) for x, y in np.asarray(p).tolist()] for p in (points, template))
    if not all(map(cmath.isfinite, z)):
        raise DataError("a landmark is not a number")
    middle, target = sum(z) / len(z), sum(w) / len(w)
    centred, spread = [c - middle for c in z], [c - target for c in w]
    if max(map(abs, centred)) < 1:
        raise DataError("the landmarks coincide, within a pixel")
    turned = sum(c.conjugate() * s for c, s in zip(centred, spread, strict=True))
    mirrored = sum(c * s for c, s in zip(centred, spread, strict=True))
    if abs(turned) <= abs(mirrored) * (1 + 1e-9):
        raise DataError("the landmarks are mirrored or on one line: are left and right exchanged?")
    a = turned / sum(c.real * c.real + c.imag * c.imag for c in centred)
    b = target - a * middle
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def aligned(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the crop that a similarity takes out of an image; what lies outside the image is black.

    Args:
        pixels: (H, W, 3) uint8.
        matrix: (2, 3), from the image to the crop.

    Returns:
        (112, 112, 3) uint8.

    Raises:
        DataError: The centre of the crop lies outside the image.
    """
    height, width, _ = pixels.shape
    # The inverse, from the crop to the image; plain numbers, because tiny arrays would take most of the time.
    (p, _, u), (q, _, v) = matrix.tolist()
    square = p * p + q * q
    scale, p, q = math.sqrt(square), p / square, -q / square
    u, v = q * v - p * u, -q * u - p * v
    half = (SIZE - 1) / 2
    middle_x, middle_y = (p - q) * half + u, (q + p) * half + v
    if not (-0.5 <= middle_x <= width - 0.5 and -0.5 <= middle_y <= height - 0.5):
        raise DataError(f"the landmarks put the face outside the image of {width}x{height} pixels")
    reach = half * (abs(p) + abs(q)) + 2 + 2 / scale  # to the last pixel read
    left, right = max(0, int(middle_x - reach)), min(width, math.ceil(middle_x + reach) + 1)
    top, bottom = max(0, int(middle_y - reach)), min(height, math.ceil(middle_y + reach) + 1)
    image = torch.from_numpy(pixels[top:bottom, left:right]).permute(2, 0, 1)[None]
    if scale < 1:
        smaller = [max(1, round(side * scale)) for side in image.shape[2:]]
        image = F.interpolate(image, smaller, mode=RESAMPLING, antialias=True)
    # Where in the image each pixel of the crop is: PyTorch counts from -1 to 1, border to border.
    across, down = 2 / (right - left), 2 / (bottom - top)
    start = (u + 0.5 - left) * across - 1, (v + 0.5 - top) * down - 1
    along_x = STEPS * np.array([p * across, q * down], np.float32)
    along_y = STEPS * np.array([-q * across, p * down], np.float32) + np.array(start, np.float32)
    grid = torch.from_numpy(along_x[None] + along_y[:, None])[None]
    crop = F.grid_sample(image.float(), grid, RESAMPLING, "zeros", align_corners=False)
    return crop[0].permute(1, 2, 0).round_().byte().numpy()


def encode(crop: np.ndarray) -> bytes:
    """Return a crop as JPEG at the quality of all databases."""
    crop = np.ascontiguousarray(crop)
    return simplejpeg.encode_jpeg(crop, quality=QUALITY, colorsubsampling=SUBSAMPLING)
