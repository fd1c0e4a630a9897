"""Contamination: by how many bits perceptual hashes of copies differ, and those of different images.

``python -m benchmarks.contamination`` on embedded faces, ``python -m benchmarks.contamination DIR`` on those
of the profile ``faces_distributed``. Copies are made of 300 images of D; different images are those of two
people of D, and every external image with every image of D. `mint_utils.data.contamination` takes its
threshold from this.
"""

import argparse
import io
import time

import numpy as np
from PIL import Image

from mint_utils import study
from mint_utils.data.contamination import NEAR, nearest_hash, perceptual_hashes

COPIES = 300
REACH = 70  # near misses are counted up to this number of bits


def reencoded(image: np.ndarray, quality: int) -> np.ndarray:
    """Return an image through JPEG of a quality."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def cut(image: np.ndarray, pixels: int) -> np.ndarray:
    """Return an image without its first rows and columns, at its old size."""
    size = image.shape[:2]
    return np.array(Image.fromarray(image[pixels:, pixels:]).resize(size, Image.Resampling.BICUBIC))


def halved(image: np.ndarray) -> np.ndarray:
    """Return an image at half its size and back."""
    small = Image.fromarray(image).reduce(2)
    return np.array(small.resize(image.shape[:2], Image.Resampling.BICUBIC))


CHANGES = {
    "JPEG, quality 75": lambda image: reencoded(image, 75),
    "JPEG, quality 30": lambda image: reencoded(image, 30),
    "half the size and back": halved,
    "grey": lambda image: np.array(Image.fromarray(image).convert("L").convert("RGB")),
    "brighter by a fifth": lambda image: (image * 1.2).clip(0, 255).astype(np.uint8),
    "1 pixel cut off": lambda image: cut(image, 1),
    "2 pixels cut off": lambda image: cut(image, 2),
    "half the size, JPEG 30, 1 pixel cut off": lambda image: cut(reencoded(halved(image), 30), 1),
}


def distances(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the bits in which a hash differs from each of others."""
    return np.bitwise_count(one ^ others).sum(axis=-1, dtype=np.int64)


def main(data: str | None = None) -> None:
    """Print distances of copies, near misses of different images, and the rates of hashing and search."""
    s = study.open_study(
        "faces_distributed" if data else "quick", data, image_size=112 if data else None
    )
    d, *externals = s.images.audited
    started = time.process_time()
    hashes = perceptual_hashes(d.images)
    print(f"  {len(d) / (time.process_time() - started):,.0f} images hashed a second")
    for title, change in CHANGES.items():
        copies = perceptual_hashes(np.stack([change(image) for image in d.images[:COPIES]]))
        bits = distances(copies, hashes[:COPIES])
        within = ", ".join(f"{q:.0%} within {np.quantile(bits, q):.0f}" for q in (0.5, 0.9, 0.99))
        print(f"  {title}: {within} bits; {(bits <= NEAR).mean():.0%} found")
    near = np.zeros(REACH, np.int64)
    for i in range(len(d)):
        found = distances(hashes[i], hashes[i + 1 :][d.identities[i + 1 :] != d.identities[i]])
        near += np.bincount(found[found < REACH], minlength=REACH)
    _report("two people of D", near)
    for external in externals:
        near = np.zeros(REACH, np.int64)
        sides = np.concatenate([external.images, external.images[:, :, ::-1]])
        queries = perceptual_hashes(sides)
        for query in queries:
            found = distances(query, hashes)
            near += np.bincount(found[found < REACH], minlength=REACH)
        _report(f"{external.name}, and mirrored", near)
        started = time.process_time()
        nearest_hash(queries, hashes)
        seconds = time.process_time() - started
        print(f"    searched at {len(queries) * len(hashes) / seconds:.1e} pairs a second")


def _report(title: str, near: np.ndarray) -> None:
    counts = {bits: int(near[: bits + 1].sum()) for bits in (NEAR, 40, 50, 60)}
    first = next(iter(np.flatnonzero(near)), REACH)
    print(f"  {title}: the nearest pair differs in {first} bits; pairs within: {counts}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", metavar="DIR")
    main(parser.parse_args().data)
