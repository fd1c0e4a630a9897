"""Finds external images of which D holds a near-duplicate: they are not non-members.

Images are compared by perceptual hash: the signs of 16 x 16 low frequencies, 256 bits. The usual 64 bits do
not distinguish aligned faces: among LFW, FFHQ, StyleGAN2, film frames and UTKFace (93 million pairs) images
of two people differ in as few as 4 bits of 64, but in at least 54 of 256. A copy that was encoded again,
resized or cut by a pixel of 112 differs in at most 31 bits for more than 99% of the images; cut by two
pixels, for 42%. ``python -m benchmarks.contamination DIR`` prints these numbers.
"""

from collections.abc import Collection
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from mint_utils import store
from mint_utils.data.manifest import Database

VERSION = 1  # of hashes and search: raised when the same images give another table
SIDE = 16  # of the square of frequencies: 256 bits
NEAR = 31  # bits that may differ between copies
CHUNK = 256  # images decoded together
PIECE = 1 << 15  # images of one saved file: a killed run continues after the last
ROWS = 1 << 12  # hashes of each side compared at once
# The order of the bits in the store, in which neighbouring frequencies are far apart.
SPREAD = np.argsort(np.add.outer(np.arange(SIDE), np.arange(SIDE)).ravel() % SIDE, kind="stable")


def contaminated(training: Database, external: Database) -> pd.DataFrame:
    """Return the images of an External Dataset that D (members and held-out images) has too, mirrored or not.

    Hashes and result are artifacts. A core hashes some thousand images a second, the 5.2 million of MS1MV3
    in half an hour; a killed run continues where it was. All pairs are compared.

    Returns:
        One line an image, in the order of the keys: database, key, training_key (the nearest image of D),
        distance (bits of 256 that differ, at most `NEAR`), mirrored (bool).
    """
    ours = _hashes(training, mirrored=False)
    sides = [_hashes(external, mirrored) for mirrored in (False, True)]

    def make(folder: Path) -> dict[str, int]:
        found = [nearest_hash(theirs, ours) for theirs in sides]
        (rows, distance), (mirror_rows, mirror_distance) = found
        mirrored = (mirror_distance >= 0) & ((distance < 0) | (mirror_distance < distance))
        rows = np.where(mirrored, mirror_rows, rows)
        distance = np.where(mirrored, mirror_distance, distance)
        near = np.flatnonzero(distance >= 0)
        table = pd.DataFrame(
            {
                "database": external.name,
                "key": external.keys[near],
                "training_key": training.keys[rows[near]],
                "distance": distance[near],
                "mirrored": mirrored[near],
            }
        )
        table.to_csv(folder / "pairs.csv", index=False)
        return {"found": len(table)}

    databases = [training.fingerprint, external.fingerprint]
    spec = {"version": VERSION, "near": NEAR, "databases": databases}
    done = store.fetch("contamination", spec, make)
    texts = {"key": str, "training_key": str}
    return pd.read_csv(done.folder / "pairs.csv", dtype=texts, keep_default_na=False)


def repeated(database: Database, without: Collection[str] = ()) -> pd.DataFrame:
    """Return the images of a database that have a near-duplicate among the earlier ones, mirrored or not.

    All pairs are compared, except those with an image of the keys ``without``: seconds for 20,000 images, and
    a minute or two for 100,000.

    Returns:
        One line an image, in the order of the keys: key, other_key (the first such image), distance.
    """
    ours = _signs(_hashes(database, mirrored=False))
    sides = ours, _signs(_hashes(database, mirrored=True))
    part = ~np.isin(database.keys, list(without))
    lines = []
    for i in range(0, len(ours), CHUNK):
        j = min(i + CHUNK, len(ours))
        cosines = np.maximum(*(side[i:j] @ ours[:j].T for side in sides))
        earlier = np.arange(j) < np.arange(i, j)[:, None]
        near = (cosines >= _cosine(NEAR)) & earlier & part[i:j, None] & part[:j]
        rows, others = np.nonzero(near)
        for k in np.unique(rows, return_index=True)[1]:
            distance = _distance(cosines[rows[k], others[k]])
            lines.append((database.keys[i + rows[k]], database.keys[others[k]], distance))
    return pd.DataFrame(lines, columns=["key", "other_key", "distance"])


def _signs(hashes: np.ndarray) -> np.ndarray:
    """Return hashes (n, 4) uint64 as unit vectors (n, 256) float32: a product is 1 - 2 * bits / 256."""
    return (np.unpackbits(hashes.view(np.uint8), axis=1) * np.float32(2) - 1) / np.float32(SIDE)


def _cosine(bits: int) -> float:
    return 1 - 2 * bits / SIDE**2


def _distance(cosines: np.ndarray) -> np.ndarray:
    return ((1 - cosines) * SIDE**2 / 2).astype(np.int64)


def perceptual_hashes(images: np.ndarray) -> np.ndarray:
    """Return the perceptual hash of each image: (N, 4) uint64, 256 bits.

    ImageHash's ``phash``: grey, 64 x 64, discrete cosine transform; a bit says whether one of the 16 x 16
    lowest frequencies is above their median. The bits are in the order of ``SPREAD``.

    Args:
        images: (N, S, S, 3) uint8, RGB.
    """
    bits = [
        imagehash.phash(Image.fromarray(image), hash_size=SIDE).hash.ravel() for image in images
    ]
    spread = np.array(bits, bool).reshape(-1, SIDE**2)[:, SPREAD]
    return np.ascontiguousarray(np.packbits(spread, axis=1)).view(np.uint64)


def nearest_hash(queries: np.ndarray, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find for each hash the nearest stored one that differs in at most `NEAR` bits.

    All pairs are compared, block by block, on a GPU if there is one.

    Args:
        queries: (N, 4) uint64.
        stored: (M, 4) uint64.

    Returns:
        rows: (N,) int64 into ``stored``, the first of the nearest; -1 where none is near.
        distances: (N,) int64, bits; -1 where none is near.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows, best = np.full(len(queries), -1), np.full(len(queries), -np.inf, np.float32)
    for i in tqdm(range(0, len(queries), ROWS), desc="similar images", unit="block", leave=False):
        ours = torch.from_numpy(_signs(queries[i : i + ROWS])).to(device)
        for j in range(0, len(stored), ROWS):
            theirs = torch.from_numpy(_signs(stored[j : j + ROWS])).to(device)
            values, nearest = (found.cpu().numpy() for found in (ours @ theirs.T).max(dim=1))
            better = (values >= _cosine(NEAR)) & (values > best[i : i + ROWS])
            best[i : i + ROWS][better] = values[better]
            rows[i : i + ROWS][better] = j + nearest[better]
    distances, found = np.full(len(queries), -1), rows >= 0
    distances[found] = _distance(best[found])
    return rows, distances


def _hashes(database: Database, mirrored: bool) -> np.ndarray:
    """Return the hashes of all images of a database, made once: (N, 4) uint64."""

    def make(folder: Path) -> None:
        pieces = folder / "pieces"
        pieces.mkdir(exist_ok=True)
        starts = range(0, len(database), PIECE)
        for i in tqdm(starts, desc=f"hashing {database.name}", unit="piece", leave=False):
            path, found = pieces / f"{i:09d}.npy", []
            if path.exists():  # of a killed run
                continue
            for j in range(i, min(i + PIECE, len(database)), CHUNK):
                images = database.images[j : min(j + CHUNK, i + PIECE)]
                found.append(perceptual_hashes(images[:, :, ::-1] if mirrored else images))
            np.save(pieces / "partial.npy", np.concatenate(found))
            (pieces / "partial.npy").replace(path)
        whole = [np.load(pieces / f"{i:09d}.npy") for i in starts]
        np.save(folder / "hashes.npy", np.concatenate(whole))

    spec = {"version": VERSION, "database": database.fingerprint, "mirrored": mirrored}
    done = store.fetch("hashes", spec, make, resumes=True)
    return np.load(done.folder / "hashes.npy")
