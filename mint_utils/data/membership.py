"""Which image is in which set: a pure function of (database, record key, seed).

Every set of the study (members, held-out images, parts shown more often, the training and the
evaluation of T) is cut by hashes of the keys alone. So membership depends neither on the order of a file nor
on workers, and anybody can recompute it from the names.

A cut of a large database takes seconds and is needed often, so the last ones are cached by the hash of the
keys.
"""

import functools
import hashlib
from dataclasses import dataclass, field

import numpy as np

REMEMBERED = 16  # cuts, 8 bytes a key each
THIRDS = "abc"  # of the people
CHUNK = 1 << 16  # keys turned into Python's strings at once


@dataclass(frozen=True)
class _Keys:
    """Keys that are compared by their hash."""

    digest: str
    array: np.ndarray = field(compare=False)


def uniform(database: str, keys: np.ndarray, purpose: str, seed: int) -> np.ndarray:
    """Return one number in [0, 1) for each key, the same on every machine and independent between purposes.

    Args:
        database: Name of the database of the keys.
        keys: (N,) str; or (N,) identities, int64, where all images of an identity get one number.
        purpose: What the numbers decide, such as ``held-out``.
        seed: Seed of the cut.

    Returns:
        (N,) float64, read-only: the 53 leading bits of BLAKE2b.
    """
    content = np.ascontiguousarray(keys)
    digest = f"{content.dtype} {hashlib.blake2b(content).hexdigest()}"
    return _uniform(database, _Keys(digest, content), purpose, seed)


@functools.lru_cache(maxsize=REMEMBERED)
def _uniform(database: str, keys: _Keys, purpose: str, seed: int) -> np.ndarray:
    salt = hashlib.blake2b(f"{purpose}\0{seed}\0{database}\0".encode(), digest_size=8)
    numbers = np.empty(len(keys.array), dtype=np.uint64)
    for start in range(0, len(numbers), CHUNK):
        for i, key in enumerate(keys.array[start : start + CHUNK].tolist(), start):
            salted = salt.copy()
            salted.update(str(key).encode())
            numbers[i] = int.from_bytes(salted.digest(), "big")
    cut = (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53
    cut.flags.writeable = False
    return cut


def held_out(database: str, keys: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return (N,) bool: the images of D that M must never see, about ``share`` of all."""
    return uniform(database, keys, "held-out", seed) < share


def half(database: str, keys: np.ndarray, name: str, seed: int) -> np.ndarray:
    """Return (N,) bool: one half of D, ``a`` or ``b``; the two are complements.

    Null models are compared on them where M sees another share of D than half, because a training set of the
    held-out images would then have another size. ``b`` is `held_out` with a share of .5.
    """
    kept_out = held_out(database, keys, 0.5, seed)
    return kept_out if name == "b" else ~kept_out


def part(database: str, keys: np.ndarray, parts: int, seed: int) -> np.ndarray:
    """Return (N,) int64 in [0, parts): which of equal parts of D an image is in (paper, Section 4.3)."""
    return (uniform(database, keys, "frequency", seed) * parts).astype(np.int64)


def shadow(database: str, keys: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Return (N,) bool: the random half of D that a shadow model is trained on.

    Numbers 2k and 2k + 1 are complements: exactly one model of such a pair saw an image. Halves of different
    pairs are independent, also of the images held out from M.
    """
    half = uniform(database, keys, f"shadow-{number // 2}", seed) < 0.5
    return half if number % 2 == 0 else ~half


def third(database: str, identities: np.ndarray, seed: int) -> np.ndarray:
    """Return (N,) int64 in 0, 1, 2: the third of the people that the person of an image is in.

    A network that is trained on one third never saw a person of the other two. This cut by people is
    independent of the cut by images.
    """
    return (uniform(database, identities, "people", seed) * len(THIRDS)).astype(np.int64)


def first(
    database: str, keys: np.ndarray, identities: np.ndarray, most: int, seed: int
) -> np.ndarray:
    """Return (N,) bool: at most ``most`` images of each person, the first by their hashes.

    A larger ``most`` chooses the same images and more.
    """
    import pandas as pd  # here, because --help and a typo should not wait for it

    hashes = pd.Series(uniform(database, keys, "images-a-person", seed))
    return hashes.groupby(identities).rank(method="first").to_numpy() <= most
