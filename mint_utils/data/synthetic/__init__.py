"""Embedded face databases: faces of nobody, drawn by formulas, the same pixels on every machine.

An image is a pure function of style (one of five databases), identity, sample and size. Only integer
operations and the IEEE-exact ones of float32 (+ - * / sqrt, comparisons, rounding) are used, in a
fixed order, and randomness is a counter hash. So no library, processor or thread count changes a pixel.

An identity is a vector of traits (``styles.TRAITS``), hashed from its number alone. A sample adds
the differences between two photographs of one person (``styles.Style``): pose, expression, light,
occlusion, background, blur, noise, compression.
"""

import numpy as np

from mint_utils.data.synthetic.camera import photograph
from mint_utils.data.synthetic.portrait import paint
from mint_utils.data.synthetic.randomness import Draws
from mint_utils.data.synthetic.styles import STYLES
from mint_utils.errors import ParameterError

CHUNK = 100_000  # pixels drawn together: their layers stay in the processor's cache

__all__ = ["STYLES", "draw"]


def draw(style: str, identities: np.ndarray, samples: np.ndarray, size: int) -> np.ndarray:
    """Draw faces.

    Args:
        style: Name of one of `STYLES`.
        identities: (N,) int64. One number is one person, whatever the style.
        samples: (N,) int64. Two numbers are two photographs.
        size: Side in pixels, 16 to 1024.

    Returns:
        (N, size, size, 3) uint8, RGB.

    Raises:
        ParameterError: There is no such style, or the size is out of range.
    """
    if style not in STYLES:
        raise ParameterError(f"There is no style {style!r}. There are: {', '.join(STYLES)}.")
    if not 16 <= size <= 1024:
        raise ParameterError(f"Faces are drawn at 16 to 1024 pixels, not at {size}.")
    look, number = STYLES[style], list(STYLES).index(style)
    out = np.empty((len(identities), size, size, 3), np.uint8)
    step = max(4, CHUNK // size**2)
    for i in range(0, len(out), step):
        who, which = np.asarray(identities[i : i + step]), np.asarray(samples[i : i + step])
        person, occasion = Draws(1, who), Draws(2, number, who, which)
        image = paint(look, person, occasion, size)
        out[i : i + step] = photograph(image, look, occasion)
    return out
