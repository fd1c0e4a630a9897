"""Intervals: images of one identity are not independent, and neither are trainings of T free of chance.

In: which images are scored rightly, by each training of T. Out: an estimate and its 95% interval.

A replicate resamples identities (clusters) with replacement, jointly for members and non-members, and
adds the noise of training: the estimate is a mean over S trainings, so its error has a part s / sqrt(S),
drawn from Student's t with S - 1 degrees of freedom. The interval holds the middle 95% of replicates.
"""

import numpy as np

LEVEL = 0.95


def accuracy_interval(
    labels: np.ndarray, right: np.ndarray, clusters: np.ndarray, replicates: int, seed: int = 0
) -> tuple[float, float, float]:
    """Return the mean of the accuracies on members and on non-members, and its interval.

    Args:
        labels: (n,) bool, True for members.
        right: (S, n) bool or float, how right each training is on each image; a difference of two
            such arrays gives the interval of a difference.
        clusters: (n,) identities; an image of unknown identity is its own.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.
    """
    right = right.astype(np.float64)
    trainings = (right[:, labels].mean(axis=1) + right[:, ~labels].mean(axis=1)) / 2
    rng = np.random.default_rng(seed)
    _, cluster = np.unique(clusters, return_inverse=True)
    count = cluster.max() + 1
    weights = rng.multinomial(count, np.full(count, 1 / count), size=replicates).astype(np.float64)
    mean = right.mean(axis=0)
    parts = []
    for of_class in (labels, ~labels):
        sums = np.bincount(cluster[of_class], mean[of_class], minlength=count)
        sizes = np.bincount(cluster[of_class], minlength=count)
        drawn = weights @ sizes
        kept = np.where(
            drawn > 0, drawn, np.nan
        )  # a replicate without this class counts for nothing
        parts.append(weights @ sums / kept)
    drawn = (parts[0] + parts[1]) / 2
    if len(trainings) > 1:
        noise = rng.standard_t(len(trainings) - 1, replicates)
        drawn = drawn + noise * trainings.std(ddof=1) / np.sqrt(len(trainings))
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(trainings.mean()), float(low), float(high)


def verdict(low: float, high: float) -> str:
    """Decide a claim that a difference is above zero by the interval of the difference."""
    if low > 0:
        return "supported"
    return "contradicted" if high < 0 else "undecided"
