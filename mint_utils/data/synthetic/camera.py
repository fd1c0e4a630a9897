"""What a camera and a codec do to a picture: exposure, colour, blur, noise, compression."""

import numpy as np

from mint_utils.data.synthetic.randomness import Draws
from mint_utils.data.synthetic.styles import Style

F = np.float32


def photograph(image: np.ndarray, style: Style, draws: Draws) -> np.ndarray:
    """Return the photographs of painted scenes.

    Args:
        image: (3, B, S, S) float32, 1 is white; used up.
        style: How much of everything there is.
        draws: Random numbers of the B images.

    Returns:
        (B, S, S, 3) uint8, RGB.
    """
    size = image.shape[-1]
    warm, gain = draws.normal(*style.warm), F(1) + draws.normal(*style.exposure)
    contrast = np.maximum(draws.normal(*style.contrast), F(0.5))
    colour = np.maximum(draws.normal(*style.colour), F(0.1)) * (draws.uniform() >= F(style.grey))
    for c, tint in enumerate((F(1) + warm, F(1), F(1) - warm)):
        image[c] = image[c] * (gain * tint * contrast) + (F(1) - contrast) * F(0.5)
    luma = (image[0] + F(2) * image[1] + image[2]) * F(0.25)
    image -= luma
    image *= colour
    image += luma
    blur, softened = np.maximum(draws.normal(*style.blur), F(0)), image
    for whole in (0, 1):  # the second pass for the amount above one
        if (blur > F(whole)).any():
            softened = _soften(softened, max(1, round(size / 56)))
            image = image + (softened - image) * np.minimum(np.maximum(blur - F(whole), F(0)), F(1))
    image += draws.grain(size) * np.maximum(draws.normal(*style.noise), F(0))
    step = np.maximum(draws.normal(*style.quantiser), F(0.004))
    return _compress(np.clip(image, F(0), F(1)) * F(255), step * F(255))


def _soften(image: np.ndarray, reach: int) -> np.ndarray:
    """Filter by 1 2 1 in both directions, the taps ``reach`` pixels apart, edges repeated."""
    for axis in (2, 3):
        quarter = image * F(0.25)
        a, out = np.moveaxis(quarter, axis, 0), image * F(0.5)
        b = np.moveaxis(out, axis, 0)
        b[reach:] += a[:-reach]
        b[:reach] += a[:1]
        b[:-reach] += a[reach:]
        b[-reach:] += a[-1:]
        image = out
    return image


def _compress(image: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return (3, B, S, S) of 0 to 255 as a coarse codec gives it back: (B, S, S, 3) uint8.

    As JPEG does: luminance in blocks of 8, chrominance at half the resolution, both transformed
    and rounded to steps. The transform is Walsh's, whose arithmetic is exact.
    """
    size = image.shape[-1]
    extra = -size % 8
    if extra:
        image = np.pad(image, [(0, 0), (0, 0), (0, extra), (0, extra)], mode="edge")
    red, green, blue = np.rint(image)
    mean = (red + blue) * F(0.5)
    luma = _quantised((green + mean) * F(0.5), 8, step)
    chroma = np.stack([red - blue, green - mean])
    half = chroma[..., 0::2, :] + chroma[..., 1::2, :]
    half = (half[..., 0::2] + half[..., 1::2]) * F(0.25)
    half = _quantised(half.reshape(-1, *half.shape[2:]), 4, np.tile(step, (2, 1, 1)) * F(1.5))
    chroma[:] = np.repeat(np.repeat(half, 2, axis=-1), 2, axis=-2).reshape(chroma.shape)
    orange, violet = chroma * F(0.5)
    out = np.empty((*luma.shape, 3), np.uint8)
    mean = luma - violet
    for c, plane in enumerate((mean + orange, luma + violet, mean - orange)):
        out[..., c] = np.rint(np.clip(plane, F(0), F(255)))
    return out[:, :size, :size]


def _quantised(planes: np.ndarray, block: int, step: np.ndarray) -> np.ndarray:
    """Round the transform coefficients of every block of planes (B, S, S) to multiples of a step."""
    n = planes.shape[-1] // block
    blocks = planes.reshape(-1, n, block, n, block).transpose(2, 4, 0, 1, 3)
    changes = np.array([bin(i ^ (i >> 1)).count("1") for i in range(block)], F)
    weight = F(1) + F(0.5) * (changes[:, None] + changes[None, :])  # coarser for finer detail
    steps = weight[:, :, None, None, None] * step[None, None]
    found = _walsh(np.rint(_walsh(blocks) / steps) * steps)
    return found.transpose(2, 3, 0, 4, 1).reshape(planes.shape)


def _walsh(blocks: np.ndarray) -> np.ndarray:
    """Transform the first two axes, of equal length; its own inverse."""
    for _ in range(2):
        width = 1
        while width < len(blocks):
            pairs = blocks.reshape(-1, 2, width, *blocks.shape[1:])
            mixed = np.empty_like(pairs)
            np.add(pairs[:, 0], pairs[:, 1], out=mixed[:, 0])
            np.subtract(pairs[:, 0], pairs[:, 1], out=mixed[:, 1])
            blocks = mixed.reshape(blocks.shape)
            width *= 2
        blocks = blocks.swapaxes(0, 1)
    return blocks * F(1 / len(blocks))
