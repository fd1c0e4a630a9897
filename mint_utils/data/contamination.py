"""Is an external image in D already? Then it is no non-member, whatever database it comes from.

In: D and an External Dataset, as `Database`. Out: the external
images of which D holds a near-duplicate, one line each.

Images are compared by perceptual hash: the signs of 16 x 16 low frequencies, 256 bits. Aligned faces look
alike to it, and the usual 64 bits do not tell them apart: among LFW, FFHQ, StyleGAN2, film frames and UTKFace
(93 million pairs) images of two people come within 4 bits of 64, but not nearer than 54 of 256. A copy that
was encoded again, resized or cut by a pixel of 112 lies within 31 for more than 99% of the images, which is
also how far `nearest_hash` is exact; cut by two pixels, 42% do. ``python -m benchmarks.contamination DIR``
prints these numbers.
"""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from mint_utils import store
from mint_utils.data.manifest import Database

VERSION = 1  # of hashes and search: raised when the same images give another table
SIDE = 16  # of the square of frequencies: 256 bits
NEAR = 31  # bits that may differ: what the search is exact for (see `nearest_hash`)
CHUNK = 256  # images decoded together
PIECE = 1 << 15  # images between two stops that a killed run goes on from
CANDIDATES = 1 << 20  # pairs compared at once
ROWS_HASHED = 256  # hashes of one side compared at once with all before them
# Neighbouring frequencies say much the same, so a block of the search takes one of every row and column.
SPREAD = np.argsort(np.add.outer(np.arange(SIDE), np.arange(SIDE)).ravel() % SIDE, kind="stable")
FLIPS = np.concatenate([[0], 1 << np.arange(16)]).astype(np.uint16)
NOTHING = np.iinfo(np.int64).max
COLUMNS = ("database", "key", "training_key", "distance", "mirrored")


def contaminated(training: Database, external: Database) -> pd.DataFrame:
    """Return the images of an External Dataset that D holds too, mirrored or not.

    Hashes and result are artifacts; a killed run goes on where it was. Images are hashed in chunks, at some
    thousand a second and core: half an hour for the 5.2 million of MS1MV3.

    Args:
        training: D, members and held-out images.
        external: Another database.

    Returns:
        One line an image, in the order of the keys: database, key, training_key (the nearest image of D),
        distance (bits of 256 that differ, at most `NEAR`), mirrored (bool).
    """
    ours = _hashes(training, mirrored=False)
    sides = {mirrored: _hashes(external, mirrored) for mirrored in (False, True)}

    def make(folder: Path) -> dict[str, int]:
        found = {}
        for mirrored, theirs in sides.items():
            steps = in_pieces(
                folder / f"mirrored-{mirrored}",
                len(external),
                f"{external.name} in {training.name}",
                lambda i, j, theirs=theirs: np.stack(nearest_hash(theirs[i:j], ours)),
            )
            found[mirrored] = np.concatenate(list(steps), axis=1)
        table = _table(training, external, found)
        table.to_csv(folder / "pairs.csv", index=False)
        return {"found": len(table)}

    spec = {
        "version": VERSION,
        "near": NEAR,
        "databases": [training.fingerprint, external.fingerprint],
    }
    done = store.fetch("contamination", spec, make, resumes=True)
    return pd.read_csv(
        done.folder / "pairs.csv", dtype={"key": str, "training_key": str}, keep_default_na=False
    )


def repeated(database: Database, without: Collection[str] = ()) -> pd.DataFrame:
    """Return the images of a database of which an earlier one is a near-duplicate, mirrored or not.

    All pairs are compared: seconds for 20,000 images, and a minute or two for 100,000.

    Args:
        database: The images.
        without: Keys of images that take no part, neither as the one nor as the other.

    Returns:
        One line an image, in the order of the keys: key, other_key (the first such image), distance.
    """
    ours = _hashes(database, mirrored=False)
    sides = ours, _hashes(database, mirrored=True)
    part = ~np.isin(database.keys, list(without))
    lines = []
    for i in range(0, len(ours), ROWS_HASHED):
        j = min(i + ROWS_HASHED, len(ours))
        distances = np.minimum(*(_distances(side[i:j], ours[:j]) for side in sides))
        earlier = np.arange(j) < np.arange(i, j)[:, None]
        rows, others = np.nonzero((distances <= NEAR) & earlier & part[i:j, None] & part[:j])
        first = np.unique(rows, return_index=True)[1]
        lines += [
            (database.keys[i + rows[k]], database.keys[others[k]], distances[rows[k], others[k]])
            for k in first
        ]
    return pd.DataFrame(lines, columns=["key", "other_key", "distance"])


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (n, m) how many bits differ between hashes (n, 4) and (m, 4)."""
    words = (np.bitwise_count(a[:, None] ^ b) for a, b in zip(first.T, second.T, strict=True))
    return sum(word.astype(np.int16) for word in words)


def perceptual_hashes(images: np.ndarray) -> np.ndarray:
    """Return the perceptual hash of each image: (N, 4) uint64, 256 bits.

    The standard one (ImageHash's ``phash``): grey, 64 x 64, discrete cosine transform, of each of the 16 x 16
    lowest frequencies whether it is above their median. The order of the bits is that of the search.

    Args:
        images: (N, S, S, 3) uint8, RGB.
    """
    bits = [
        imagehash.phash(Image.fromarray(image), hash_size=SIDE).hash.ravel() for image in images
    ]
    spread = np.array(bits, bool).reshape(-1, SIDE**2)[:, SPREAD]
    return np.ascontiguousarray(np.packbits(spread, axis=1)).view(np.uint64)


def nearest_hash(
    queries: np.ndarray, stored: np.ndarray, most: int = NEAR
) -> tuple[np.ndarray, np.ndarray]:
    """Find for each hash the nearest of the stored ones, where they differ in at most ``most`` bits.

    Multi-index hashing (Norouzi et al., arXiv 1307.2982): of 16 blocks of 16 bits, two hashes that differ in
    fewer than 32 bits must have one in which they differ in at most one. So only those are compared that
    share a block up to a bit. Beside the hashes memory holds the stored ones once more, and a million pairs.

    Args:
        queries: (N, 4) uint64.
        stored: (M, 4) uint64.
        most: From 0 to 31, up to which the result is exact.

    Returns:
        rows: (N,) int64 of ``stored``, the first of the nearest; -1 where none is that near.
        distances: (N,) int64, bits; -1 where none is.
    """
    if not 0 <= most <= NEAR:
        raise ValueError(f"The search is exact for 0 to {NEAR} bits, not for {most}.")
    best = np.full(
        len(queries), NOTHING
    )  # distance, then row: one number, so that ties are decided
    for block in range(16):
        values = stored.view(np.uint16)[:, block]
        order = np.argsort(values, kind="stable")
        sizes = np.bincount(values, minlength=1 << 16)
        starts = np.cumsum(sizes) - sizes
        together = stored[order]  # those with one value of the block lie side by side
        probes = (queries.view(np.uint16)[:, block, None] ^ FLIPS).ravel()
        for first, last in _windows(sizes[probes]):
            ranges = probes[first:last]
            counts = sizes[ranges]
            query = np.repeat(np.arange(first, last) // len(FLIPS), counts)
            skipped = np.cumsum(counts) - counts
            at = np.repeat(starts[ranges] - skipped, counts) + np.arange(counts.sum())
            distance = np.bitwise_count(queries[query] ^ together[at]).sum(axis=1, dtype=np.int64)
            near = distance <= most
            np.minimum.at(best, query[near], (distance[near] << 40) + order[at[near]])
    none = best == NOTHING
    return np.where(none, -1, best & (1 << 40) - 1), np.where(none, -1, best >> 40)


def _hashes(database: Database, mirrored: bool) -> np.ndarray:
    """Return the hashes of all images of a database, made once: (N, 4) uint64."""

    def hashed(first: int, last: int) -> np.ndarray:
        found = []
        for i in range(first, last, CHUNK):
            images = database.images[i : min(i + CHUNK, last)]
            found.append(perceptual_hashes(images[:, :, ::-1] if mirrored else images))
        return np.concatenate(found)

    def make(folder: Path) -> None:
        title = f"hashing {database.name}"
        pieces = in_pieces(folder / "pieces", len(database), title, hashed)
        np.save(folder / "hashes.npy", np.concatenate(list(pieces)))

    spec = {"version": VERSION, "database": database.fingerprint, "mirrored": mirrored}
    done = store.fetch("hashes", spec, make, resumes=True)
    return np.load(done.folder / "hashes.npy")


def in_pieces(
    folder: Path, total: int, title: str, work: Callable[[int, int], np.ndarray]
) -> Iterator[np.ndarray]:
    """Yield what ``work`` makes of each range of images; a range done by a killed run is read.

    Args:
        folder: Where each range is kept in a file of its own.
        total: Number of images.
        title: Of the bar.
        work: From the first image of a range and the one after its last to an array of their results.
    """
    folder.mkdir(exist_ok=True)
    with tqdm(total=total, desc=title, unit="img", unit_scale=True, leave=False) as bar:
        for i in range(0, total, PIECE):
            j, path = min(i + PIECE, total), folder / f"{i:09d}.npy"
            if not path.exists():
                partial = folder / "partial.npy"
                np.save(partial, work(i, j))
                partial.replace(path)
            yield np.load(path)
            bar.update(j - i)


def _windows(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut ranges of these sizes into runs of about `CANDIDATES`, never less than one range."""
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + CANDIDATES, side="right")))
        yield first, last
        first = last


def _table(training: Database, external: Database, found: dict[bool, np.ndarray]) -> pd.DataFrame:
    distances = {side: np.where(d < 0, NOTHING, d) for side, (_, d) in found.items()}
    mirrored = distances[True] < distances[False]
    rows = np.where(mirrored, found[True][0], found[False][0])
    distance = np.minimum(distances[True], distances[False])
    near = np.flatnonzero(distance < NOTHING)
    columns = (
        [external.name] * len(near),
        external.keys[near],
        training.keys[rows[near]],
        distance[near],
        mirrored[near],
    )
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
