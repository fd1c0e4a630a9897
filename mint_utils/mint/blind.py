"""Blind baselines: features of the image alone, for a MINT Model that never sees the Audited Model.

The images are those that M reads, decoded and resized. `mint_utils.mint.fit` takes the features in place of
the Auxiliary Auditable Data. Whatever T scores on them under the protocol of the paper is a difference
between databases (arXiv 2406.16201). With non-members of the same database its accuracy must be .5.

Each feature is a function of its own image, equal on every machine up to rounding. Databases are decoded
once, so properties of the encoded file alone (quantisation tables, subsampling, markers, its length) are not
read: these baselines are a lower bound on what the files give away.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import timm
import torch
from torch import nn

from mint_utils.data.equalise import LUMA
from mint_utils.data.images import normalise, resize
from mint_utils.errors import ParameterError
from mint_utils.mint.batches import batches

VERSION = 1  # of the features: raised when the same images give others
THUMBNAIL = 8  # pixels
LEVELS = 16  # of the histogram of a channel
GRID = 4  # parts of a side in which sharpness is measured
JPEG_BLOCK = 8  # pixels
SMALLEST = 16  # pixels of a side: two JPEG blocks, four pixels for each part
FLOOR = 1e-6  # added to mean squares before the logarithm: those of a quarter of a grey level
YCBCR = np.array(
    [LUMA, [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
).T  # from RGB


def pixels(images: np.ndarray) -> np.ndarray:
    """Return (N, 192): a thumbnail of 8 x 8 pixels, bilinear with antialiasing, R, G, B from 0 to 1."""
    return resize(images, THUMBNAIL).reshape(len(images), -1).astype(np.float32) / 255


def statistics(images: np.ndarray) -> np.ndarray:
    """Return (N, 88 + S // 2): traces of how the image was taken, processed and compressed.

    In this order: `_colour` (56), `_blockiness` (2), `_spectrum` (S // 2), `_noise` (3), `_framing` (27).
    """
    rgb = images.astype(np.float32) / 255
    luma = rgb @ LUMA
    parts = [_colour(images, rgb), _blockiness(luma), _spectrum(luma), _noise(rgb), _framing(luma)]
    return np.concatenate(parts, axis=1).astype(np.float32)


@torch.inference_mode()
def general(images: np.ndarray) -> np.ndarray:
    """Return (N, 960): the mean of each map at the four stage ends of a ResNet-18 with random weights.

    The paper reads as many numbers from the same places of M. The weights are timm's initialisation from a
    fixed seed, and BatchNorm leaves its input as it is. Of a dozen variants (depth, pooling, calibrated
    statistics) this one distinguished the databases of the profile ``faces`` best, on their evaluation images
    and with one seed, so its number there is a little optimistic (CHOICES.md).
    """
    inputs = normalise(torch.from_numpy(images).permute(0, 3, 1, 2), "rgb")
    stages = _general_network()(inputs)
    return torch.cat([stage.mean(dim=(2, 3)) for stage in stages], dim=1).numpy()


# A blind baseline makes (N, L) float32 of (N, S, S, 3) uint8 RGB.
BASELINES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "pixels": pixels,
    "statistics": statistics,
    "general": general,
}


def extract(name: str, pieces: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the features of images, as `aad.extract` writes those of M.

    Args:
        name: A key of `BASELINES`.
        pieces: Pairs of an array of images, (N, S, S, 3) uint8 RGB, and the indices (n,) wanted of it.

    Returns:
        (sum of n, L) float32.

    Raises:
        ParameterError: The images are smaller than `SMALLEST` pixels, as a network's input may be.
    """
    size = pieces[0][0].shape[1]
    if size < SMALLEST:
        raise ParameterError(
            f"Blind baselines need images of {SMALLEST} pixels a side or more, not {size}."
        )
    features = [BASELINES[name](images) for _, images in batches(pieces, f"blind {name}")]
    return np.concatenate(features)


def _colour(images: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Return (N, 56): mean and deviation of R, G, B; of the saturation; histograms of R, G, B."""
    highest, lowest = rgb.max(axis=3), rgb.min(axis=3)
    saturation = (highest - lowest) / np.maximum(highest, 1 / 255)
    moments = [rgb.mean(axis=(1, 2)), rgb.std(axis=(1, 2))]
    moments += [saturation.mean(axis=(1, 2))[:, None], saturation.std(axis=(1, 2))[:, None]]
    n, size = images.shape[:2]
    place = np.arange(3 * n).reshape(n, 1, 1, 3) * LEVELS
    counts = np.bincount(
        (place + images // (256 // LEVELS)).ravel(), minlength=3 * n * LEVELS
    ).reshape(n, 3 * LEVELS)
    return np.concatenate([*moments, counts / size**2], axis=1)


def _blockiness(luma: np.ndarray) -> np.ndarray:
    """Return (N, 2): log of the mean square step across JPEG's grid over that within, down and to the right.

    It finds compression at the present size only. The grid of a file that was resized afterwards (from
    112 to 40 pixels, say) is no longer on every eighth pixel, and only the spectrum still shows it.
    """
    across = np.arange(1, luma.shape[1]) % JPEG_BLOCK == 0
    ratios = []
    for axis in (1, 2):
        steps = np.square(np.diff(luma, axis=axis)).mean(axis=3 - axis)
        on, off = steps[:, across].mean(axis=1), steps[:, ~across].mean(axis=1)
        ratios.append(np.log((on + FLOOR) / (off + FLOOR)))
    return np.stack(ratios, axis=1)


def _spectrum(luma: np.ndarray) -> np.ndarray:
    """Return (N, S // 2): log power of the luma at 1, 2, ... S // 2 cycles an image, all directions.

    A Hann window keeps opposite borders from meeting. White noise has its variance at every frequency.
    """
    n, size = luma.shape[:2]
    line = np.hanning(size + 1)[:size].astype(np.float32)
    window = np.outer(line, line)
    centred = luma - luma.mean(axis=(1, 2), keepdims=True)
    power = np.square(np.abs(np.fft.rfft2(centred * window))) / np.square(window).sum()
    rings = _rings(size)
    return np.log(power.reshape(n, -1) @ rings + FLOOR)


@functools.cache
def _rings(size: int) -> np.ndarray:
    """Return (S * (S // 2 + 1), S // 2): weights that average `rfft2` over rings of equal frequency."""
    down, right = np.fft.fftfreq(size, 1 / size), np.arange(size // 2 + 1)
    radius = np.rint(np.hypot(down[:, None], right)).ravel()
    # rfft2 leaves out the mirror images of all columns but that of frequency 0 and Nyquist's.
    both = np.tile(np.where((right == 0) | (2 * right == size), 1, 2), size)
    weights = (radius[:, None] == np.arange(1, size // 2 + 1)) * both[:, None]
    return (weights / weights.sum(axis=0)).astype(np.float32)


def _noise(rgb: np.ndarray) -> np.ndarray:
    """Return (N, 3): log variance of the noise in Y, Cb and Cr (the mask of Immerkaer 1996)."""
    planes = rgb @ YCBCR
    residual = np.diff(np.diff(planes, 2, axis=1), 2, axis=2) / 6
    return np.log(np.square(residual).mean(axis=(1, 2)) + FLOOR)


def _framing(luma: np.ndarray) -> np.ndarray:
    """Return (N, 27): the border, where the image is sharp, and how far it is its own mirror image.

    Mean and deviation of the luma in the outer eighth at each side (8); share of black and of white there
    (2), with which a rotated crop is filled; log mean square gradient in 4 x 4 parts (16); log mean square
    difference to the mirror image (1).
    """
    n, size = luma.shape[:2]
    width = size // 8
    sides = [luma[:, :width], luma[:, -width:], luma[:, :, :width], luma[:, :, -width:]]
    strips = np.stack([side.reshape(n, -1) for side in sides], axis=1)
    border = strips.reshape(n, -1)
    black, white = (border < 4 / 255).mean(axis=1), (border > 251 / 255).mean(axis=1)
    gradient = np.square(np.diff(luma, axis=1)[:, :, 1:]) + np.square(np.diff(luma, axis=2)[:, 1:])
    starts = np.arange(GRID) * (size - 1) // GRID
    area = np.outer(*[np.diff(starts, append=size - 1)] * 2)
    parts = np.add.reduceat(np.add.reduceat(gradient, starts, axis=1), starts, axis=2) / area
    mirror = np.square(luma - luma[:, :, ::-1]).mean(axis=(1, 2))
    columns = [strips.mean(axis=2), strips.std(axis=2), black[:, None], white[:, None]]
    columns += [np.log(parts.reshape(n, -1) + FLOOR), np.log(mirror + FLOOR)[:, None]]
    return np.concatenate(columns, axis=1)


@functools.cache
def _general_network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # zero_init_last would make every residual block the identity.
        network = timm.create_model(
            "resnet18", features_only=True, out_indices=(1, 2, 3, 4), zero_init_last=False
        )
    return network.to(memory_format=torch.channels_last).eval()
