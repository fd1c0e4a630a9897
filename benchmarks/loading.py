"""Loading: images/s from a .rec to augmented, normalised batches, against PIL one image at a time."""

import argparse
import io
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import ColorJitter, Normalize, RandomResizedCrop
from torchvision.transforms.functional import hflip, to_tensor

from benchmarks.timing import paired
from mint_utils.data.images import RecordImages, augment, normalise
from mint_utils.data.recordio import RecordFile, write_records

BATCH, SIZE, P = 128, 112, 0.2
FILTERS = (
    Image.Resampling.NEAREST,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.BOX,
)
jitter, standardise = ColorJitter(0.5, 0.5, 0.5), Normalize([0.5] * 3, [0.5] * 3)


def plain(encoded: bytes) -> torch.Tensor:
    """Return one image, loaded by PIL and torchvision with the same augmentations."""
    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    if random.random() < P:
        top, left, height, width = RandomResizedCrop.get_params(image, (0.2, 1), (3 / 4, 4 / 3))
        box = (left, top, left + width, top + height)
        whole, image = image, Image.new("RGB", image.size)
        image.paste(whole.crop(box), box)
    if random.random() < P:
        small = int(random.uniform(0.2, 1) * SIZE)
        image = image.resize((small, small), random.choice(FILTERS))
        image = image.resize((SIZE, SIZE), random.choice(FILTERS))
    if random.random() < P:
        image = jitter(image)
    if random.random() < 0.5:
        image = hflip(image)
    return standardise(to_tensor(image))


def smooth_faces(n: int) -> Iterator[tuple[int, bytes]]:
    """Yield (identity, JPEG) of n random smooth pictures, about as large as a face's."""
    for i in range(n):
        coarse = np.random.default_rng(i).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        encoded = io.BytesIO()
        picture.save(encoded, "JPEG", quality=95)
        yield i // 10, encoded.getvalue()


def compare(path: Path, batches: int) -> None:
    """Print the rates of both ways on the first images of a ``.rec``, and their ratio."""
    with RecordFile(path) as record:
        keys = record.keys[: batches * BATCH]
        images = RecordImages(record, keys, SIZE)

        def ours():
            for i in range(0, len(keys), BATCH):
                rows = np.arange(i, min(i + BATCH, len(keys)))
                batch = torch.from_numpy(images[rows]).permute(0, 3, 1, 2)
                normalise(augment(batch, rows.astype(np.uint64), P), "rgb")

        def reference():
            for i in range(0, len(keys), BATCH):
                torch.stack([plain(record.image_bytes(key)) for key in keys[i : i + BATCH]])

        seconds, by_pil, ratio = paired(ours, reference)
        print(
            f"  one core, {SIZE} px, {len(keys)} images: {len(keys) / seconds:,.0f} images/s, "
            f"PIL {len(keys) / by_pil:,.0f}, ratio {ratio:.2f}"
        )


@contextmanager
def records(given: Path | None, n: int) -> Iterator[Path]:
    """Give a ``.rec``: the one that is given, or one of n pictures drawn for as long as it is used."""
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.rec"
        write_records(path, smooth_faces(n))
        yield path


def main() -> None:
    """Measure on ``--rec``, or on pictures drawn for it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rec", type=Path)
    parser.add_argument("--batches", type=int, default=16)
    options, _ = parser.parse_known_args()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with records(options.rec, options.batches * BATCH) as path:
        compare(path, options.batches)
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
