"""Decodes images to uint8 RGB arrays; augments and normalises batches of them.

Arrays are (N, S, S, 3) numpy uint8; tensors are (N, 3, S, S) in channels_last memory, the same bytes.
Augmentation is a pure function of an image and its random key: the result is the same in any batch and on any
device, to the last bit.
"""

import functools
import importlib.util
import io
from typing import Literal

import numpy as np
import simplejpeg
import torch
from PIL import Image, ImageOps
from torch.nn import functional as F

from mint_utils.data.counter import mix
from mint_utils.data.recordio import RecordFile
from mint_utils.errors import DataError

# Only these, because some of PIL's readers start programs; HEIC where the extra pillow-heif is installed.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
HEIC = importlib.util.find_spec("pillow_heif") is not None
STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"BM", b"II*\0", b"MM\0*", b"GIF8")  # of their files
START = 12  # bytes that show the format
AVIF = (b"avif", b"avis")
BRANDS = (*AVIF, b"heic", b"heix", b"hevc", b"mif1", b"msf1")  # of AVIF and HEIC
ORIENTATION = 0x0112  # the tag of EXIF
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area")
ORDERS = np.array([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
WEIGHT_BITS = 14  # of a resampling weight: sums of products with pixels are exact in float32

# Columns of an image's random numbers.
CROP, LOW_RES, JITTER, FLIP, SIDE, DOWN, UP, ORDER, TOP, LEFT = range(10)
FACTORS, SCALES, RATIOS = slice(10, 13), slice(13, 23), slice(23, 33)
DRAWS = RATIOS.stop


def decode(encoded: bytes, name: str, size: int | None) -> np.ndarray:
    """Decode an image as a viewer shows it, in 8 bits. The whole package reads images through this function.

    EXIF orientation is applied, the first of several frames is taken, transparency is dropped, grey and CMYK
    become RGB, and 16-bit grey is scaled to 8 bits. Nothing is resized. A JPEG that ends early is refused;
    libjpeg by itself would fill it up with grey. Changed bytes inside a JPEG are noticed only where they
    break its syntax; checksums find the others.

    Args:
        encoded: One of ``FORMATS``; HEIC where pillow-heif is installed.
        name: Name of the image in error messages.
        size: Side in pixels that it must have, or None for any.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        DataError: The image is damaged, cannot be read here, or has another size; or it is no image.
    """
    try:
        if encoded[:2] == b"\xff\xd8":
            pixels = simplejpeg.decode_jpeg(encoded, strict=True)
            if b"Exif\0\0" in encoded:  # a longer pattern is found faster
                with Image.open(io.BytesIO(encoded), formats=("JPEG",)) as image:
                    pixels = _upright(pixels, image)
        else:
            with Image.open(io.BytesIO(encoded), formats=formats()) as image:
                pixels = _upright(_eight_bits(image), image)
    except DataError as error:
        raise DataError(f"{name} {error}") from error
    except Exception as error:  # damaged bytes make decoders raise nearly anything
        if not HEIC and encoded[4:8] == b"ftyp" and encoded[8:12] not in AVIF:
            raise DataError(
                f"{name} is HEIC or no image: pip install 'mint-utils[heic]', or save it as PNG."
            ) from error
        raise DataError(
            f"{name} is damaged or no image ({len(encoded)} bytes; {', '.join(formats())} are read). "
            "Get the file again."
        ) from error
    height, width, _ = pixels.shape
    if size is not None and (height, width) != (size, size):
        raise DataError(
            f"{name} is {width}x{height} pixels where {size}x{size} is expected. Align and crop the "
            f"images to {size} pixels, or correct image_size in the manifest of the database."
        )
    return pixels


def looks_like_image(start: bytes) -> bool:
    """Say whether a file with these first ``START`` bytes is in a format that `decode` reads."""
    if start[4:8] == b"ftyp":
        return start[8:12] in BRANDS
    return start.startswith(STARTS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


@functools.cache
def formats() -> tuple[str, ...]:
    """Return the names of the formats that `decode` reads here."""
    if HEIC:
        import pillow_heif

        pillow_heif.register_heif_opener()
        return (*FORMATS, "HEIF")
    return FORMATS


def _eight_bits(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):  # PIL would turn all values above 255 into white
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise DataError("has pixels of 32 bits, of which white is unknown: save it with 8 or 16.")
    return np.array(image.convert("RGB"))


def _upright(pixels: np.ndarray, image: Image.Image) -> np.ndarray:
    """Return pixels rotated as the EXIF data of their file say; PIL itself does this when it loads a TIFF."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # data that are not EXIF raise nearly anything; viewers ignore them
        return pixels
    if orientation == 1:
        return pixels
    stored = Image.fromarray(pixels)
    stored.getexif()[ORIENTATION] = orientation
    return np.array(ImageOps.exif_transpose(stored))


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Resize (N, H, W, 3) uint8 to (N, size, size, 3) uint8, bilinear with antialiasing."""
    if images.shape[1:3] == (size, size):
        return images
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    resized = F.interpolate(batch, (size, size), mode="bilinear", antialias=True)
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy())


def normalise(images: torch.Tensor, colour_order: Literal["rgb", "bgr"]) -> torch.Tensor:
    """Return (x / 255 - 0.5) / 0.5 as float32 in the network's colour order, channels_last.

    Args:
        images: (N, 3, H, W) uint8, RGB.
        colour_order: Colour order of the output; AdaFace's own weights take BGR.
    """
    pixels = images.permute(0, 2, 3, 1).contiguous()
    if colour_order == "bgr":
        # Rows reversed by byte, then by pixel: ten times as fast as .flip(-1) of three channels.
        pixels = _flip(pixels.flatten(2).flip(-1).view(pixels.shape))
    values = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    return values.sub_(127.5).div_(127.5).permute(0, 3, 1, 2)


def augment(images: torch.Tensor, keys: np.ndarray, p: float) -> torch.Tensor:
    """Augment as AdaFace does (arXiv 2204.00964, Section 4.1): three changes, each with probability p.

    In this order: a random-resized crop (area 0.2 to 1, ratio 3/4 to 4/3) that stays in its place on black;
    resampling down to 0.2 to 1 of the side and up again, each with a random interpolation; brightness,
    contrast and saturation times 0.5 to 1.5 in random order. Then a horizontal flip, probability 0.5.

    Args:
        images: (N, 3, S, S) uint8, RGB.
        keys: (N,) uint64, a random key for each image; consecutive numbers suffice.
        p: Probability of each augmentation.

    Returns:
        A new tensor like ``images``, channels_last.
    """
    draws = _draws(keys)
    pixels = images.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)
    for chosen, change in (
        (draws[:, CROP] < p, _crop),
        (draws[:, LOW_RES] < p, _low_res),
        (draws[:, JITTER] < p, _jitter),
        (draws[:, FLIP] < 0.5, _flip),
    ):
        rows = np.flatnonzero(chosen)
        if not len(rows):
            continue
        where = sent(rows, pixels.device)
        changed = change(pixels.index_select(0, where), draws[rows])
        if pixels.is_cuda:
            pixels.index_copy_(0, where, changed)
        else:  # on a CPU index_copy_ copies byte by byte, twenty times as slow
            torch._foreach_copy_([pixels[row] for row in rows.tolist()], list(changed))
    return pixels.permute(0, 3, 1, 2)


def sent(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return an array on a device; the copy to a GPU is asynchronous."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def _flip(pixels: torch.Tensor, *_: np.ndarray) -> torch.Tensor:
    return pixels.permute(0, 3, 1, 2).flip(-1).permute(0, 2, 3, 1)


def _draws(keys: np.ndarray) -> np.ndarray:
    """Return (N, DRAWS) float64 in [0, 1): SplitMix64 started at a hash of the key."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    steps = np.arange(1, DRAWS + 1, dtype=np.uint64) * golden
    numbers = mix(mix(keys.astype(np.uint64) + golden)[:, None] + steps)
    return (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _crop(pixels: torch.Tensor, draws: np.ndarray) -> torch.Tensor:
    side = pixels.shape[1]
    boxes = sent(np.stack(_boxes(draws, side)), pixels.device)
    top, left, height, width = boxes[:, :, None]
    position = torch.arange(side, device=pixels.device)
    rows = (position >= top) & (position < top + height)
    columns = (position >= left) & (position < left + width)
    inside = rows[:, :, None] & columns.repeat_interleave(3, dim=1)[:, None, :]
    return pixels * inside.view(pixels.shape)


def _boxes(draws: np.ndarray, side: int) -> tuple[np.ndarray, ...]:
    """Return top, left, height and width in pixels of torchvision's RandomResizedCrop, (n,) each."""
    area = side**2 * (0.2 + 0.8 * draws[:, SCALES])
    ratio = np.exp(np.log(3 / 4) + (np.log(4 / 3) - np.log(3 / 4)) * draws[:, RATIOS])
    widths, heights = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (widths <= side) & (heights <= side)
    first = np.arange(len(draws)), fits.argmax(axis=1)
    height = np.where(fits.any(axis=1), heights[first], side)
    width = np.where(fits.any(axis=1), widths[first], side)
    top = np.floor(draws[:, TOP] * (side - height + 1))
    left = np.floor(draws[:, LEFT] * (side - width + 1))
    return top, left, height, width


def _low_res(pixels: torch.Tensor, draws: np.ndarray) -> torch.Tensor:
    """Resample rows, then columns, by one matrix for each image, which reduces and enlarges a line."""
    n, side, _, _ = pixels.shape
    small = ((0.2 + 0.8 * draws[:, SIDE]) * side).astype(int)
    down, up = (draws[:, [DOWN, UP]] * len(INTERPOLATIONS)).astype(int).T
    weights = [_resampling(side, *which) for which in zip(small, down, up, strict=True)]
    matrices = sent(torch.stack(weights).numpy(), pixels.device).float().div_(2**WEIGHT_BITS)
    lines = pixels.transpose(2, 3).to(torch.float32, memory_format=torch.contiguous_format)
    lines = torch.bmm(matrices, lines.view(n, side, 3 * side))
    lines = lines.round_().clamp_(0, 255).view(n, side * 3, side)
    lines = torch.bmm(lines, matrices.transpose(1, 2))
    planes = lines.round_().clamp_(0, 255).view(n, side, 3, side)
    return _pixels(planes.unbind(2))


@functools.lru_cache(maxsize=2048)
def _resampling(side: int, small: int, down: int, up: int) -> torch.Tensor:
    """Return (side, side) int16 weights over 2**WEIGHT_BITS that reduce a line and enlarge it again."""
    line = torch.eye(side, dtype=torch.float64).reshape(1, side, side, 1)  # each pixel in a channel
    for length, mode in ((small, INTERPOLATIONS[down]), (side, INTERPOLATIONS[up])):
        line = F.interpolate(line, (length, 1), mode=mode)
    exact = line[0, :, :, 0].T * 2**WEIGHT_BITS
    weights = exact.round()
    # Rows that sum to one, so that white stays white.
    weights[torch.arange(side), weights.argmax(1)] += 2**WEIGHT_BITS - weights.sum(1)
    return weights.to(torch.int16)


def _jitter(pixels: torch.Tensor, draws: np.ndarray) -> torch.Tensor:
    """Change brightness, contrast and saturation as torchvision does to a PIL image.

    Each is a blend with black, with the mean grey, or with the pixel's grey. Every operation is a single
    multiplication or addition, and every sum is one of whole numbers, so the order of computation cannot
    change the result.
    """
    order = ORDERS[(draws[:, ORDER] * len(ORDERS)).astype(int)]
    factors = np.take_along_axis(0.5 + draws[:, FACTORS], order, axis=1).astype(np.float32)

    def column(values: np.ndarray) -> torch.Tensor:
        return sent(values.astype(np.float32), pixels.device).view(-1, 1, 1, 1)

    planes = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    for which, factor in zip(order.T, factors.T, strict=True):
        red, green, blue = planes.split(1, dim=1)
        grey = (red * 0.299).add_(green * 0.587).add_(blue * 0.114).round_()
        mean = grey.sum(3, keepdim=True).mean((1, 2, 3), keepdim=True, dtype=torch.float64)
        mean = (mean / grey.shape[3]).round().float()
        base = grey.mul_(column(np.where(which == 2, 1 - factor, 0)))
        base.add_(mean.mul_(column(np.where(which == 1, 1 - factor, 0))))
        planes.mul_(column(factor)).add_(base).clamp_(0, 255).floor_()
    return _pixels(planes.unbind(1))


def _pixels(planes: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return three planes (n, S, S) of whole numbers as (n, S, S, 3) uint8.

    Conversion through int32 is three times as fast on a CPU, and stacking is twice as fast as permuting.
    """
    return torch.stack([plane.int().byte() for plane in planes], dim=-1)


class RecordImages:
    """The images of a ``.rec`` as an array (N, S, S, 3) of uint8 that decodes images when indexed.

    For databases that do not fit into memory. The first axis is indexed as in numpy, also from several
    threads, which decode in parallel.
    """

    def __init__(self, record: RecordFile, keys: np.ndarray, size: int):
        self.record = record
        self.keys = keys
        self.shape = (len(keys), size, size, 3)
        self.nbytes = len(keys) * size * size * 3  # decoded

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: np.ndarray | slice | int) -> np.ndarray:
        keys = self.keys[index]
        images = np.empty((*keys.shape, *self.shape[1:]), np.uint8)
        for image, key in zip(images.reshape(-1, *self.shape[1:]), keys.ravel(), strict=True):
            name = f"{self.record.path}, record {key}"
            image[:] = decode(self.record.image_bytes(key), name, self.shape[1])
        return images
