"""One identical preparation for the images of all databases: the same low-pass, the same JPEG quality.

In: images as a database holds them. Out: images of the same size whose last two steps of preparation are
equal, for a control in which the Audited Model and the blind baselines read those instead.
"""

import numpy as np
import simplejpeg

from mint_utils.data.images import resize
from mint_utils.errors import ParameterError

QUALITY = 75  # below the 85 to 95 at which face crops are commonly stored
BATCH = 1024  # images resized at once


def equalised(images: np.ndarray, quality: int = QUALITY) -> np.ndarray:
    """Resize to half the side and back, then encode as JPEG at one quality and decode again.

    What that removes, or makes smaller: differences of sharpness, noise, sharpening and interpolation
    above half the Nyquist frequency, of the chroma subsampling, and compression finer than ``quality``.

    What it cannot remove: what is gone already in one database alone (a blur below half the resolution, a
    stronger compression, levels that are clipped); colour, white balance and contrast; framing and
    alignment, the filled corners of a rotation among them; pose, light and background; and who is shown:
    age, sex, origin, the press photograph or the selfie. Databases that differ by these still differ.

    Args:
        images: (N, S, S, 3) uint8 RGB.
        quality: Of JPEG, 1 to 100; chroma at half the resolution (4:2:0).

    Returns:
        (N, S, S, 3) uint8 RGB, each a function of its own image alone.

    Raises:
        ParameterError: The quality is out of range.
    """
    if not 1 <= quality <= 100:
        raise ParameterError(f"quality is {quality}, but JPEG knows 1 to 100.")
    size = images.shape[1]
    found = np.empty_like(images)
    for i in range(0, len(images), BATCH):
        smooth = resize(resize(images[i : i + BATCH], size // 2), size)
        for image, result in zip(smooth, found[i : i + BATCH], strict=True):
            encoded = simplejpeg.encode_jpeg(image, quality, colorsubsampling="420")
            result[:] = simplejpeg.decode_jpeg(encoded)
    return found
