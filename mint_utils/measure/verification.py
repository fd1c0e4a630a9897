"""Verification: do two photographs show one person? Ten folds, as face recognition reports it.

The result is which pairs are decided rightly. Where all folds have one size, its mean is the mean accuracy of
the folds that is usually reported.
"""

import numpy as np
from sklearn.model_selection import KFold

from mint_utils.errors import ParameterError

FOLDS = 10
THRESHOLDS = np.arange(0, 4, 0.01)  # squared distances between unit vectors


def verified(embeddings: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Return which pairs are decided rightly, as AdaFace's evaluation decides them: (n,) bool.

    The pairs are cut into `FOLDS` consecutive parts. Each is decided at the threshold that is best on the
    others.

    Args:
        embeddings: (2n, D) float32; rows 2i and 2i + 1 are pair i, of any length but zero.
        same: (n,) bool, True where a pair shows one person.

    Raises:
        ParameterError: All pairs show one person or none does, there are fewer pairs than folds, or
            embeddings are no numbers.
    """
    if len(same) < FOLDS:
        raise ParameterError(
            f"{len(same)} pairs cannot be cut into {FOLDS} folds: take more pairs."
        )
    if same.all() or not same.any():
        kind = "one person" if same.all() else "two people"
        raise ParameterError(
            f"All {len(same)} pairs show {kind}: verification needs pairs of both kinds."
        )
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if not np.isfinite(embeddings).all() or (lengths == 0).any():
        raise ParameterError("Embeddings hold values that are no numbers, or a vector of zeros.")
    unit = embeddings / lengths
    distances = ((unit[0::2] - unit[1::2]) ** 2).sum(axis=1)
    right = (distances[:, None] < THRESHOLDS) == same[:, None]  # (n, thresholds)
    return np.concatenate(
        [right[fold, right[rest].mean(axis=0).argmax()] for rest, fold in KFold(FOLDS).split(right)]
    )


def of_pairs(persons: np.ndarray) -> np.ndarray:
    """Return the people through whom pairs depend on each other: (n, 2), for `bootstrap.Decided.clusters`.

    A person who is in one pair only is replaced by the other person of that pair, because no other pair
    depends on them.

    Args:
        persons: (2n,) int64, of the images of pairs 2i and 2i + 1.
    """
    pairs = persons.reshape(-1, 2).copy()
    _, number, count = np.unique(pairs, return_inverse=True, return_counts=True)
    alone = count[number.reshape(pairs.shape)] == 1
    for one, other in ((0, 1), (1, 0)):
        pairs[alone[:, one], one] = pairs[alone[:, one], other]
    return pairs
