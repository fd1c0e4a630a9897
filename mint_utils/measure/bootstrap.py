"""Intervals: images of one identity are not independent, and neither are trainings free of chance.

In: which images were decided rightly, by each training. Out: an estimate and its 95% interval, of one
accuracy or of a signed sum of several, such as a difference between two columns of a table.

A replicate resamples identities (clusters) with replacement, jointly for everything in the sum, so that
what is measured on the same images or the same people is compared on them. It adds the noise of training:
the estimate is a mean over S trainings, so its error has a part s / sqrt(S), drawn from Student's t with
S - 1 degrees of freedom. The interval holds the middle 95% of replicates.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from mint_utils.errors import ParameterError

LEVEL = 0.95
AT_ONCE = 1 << 24  # weights held at once: replicates x clusters


class Estimate(NamedTuple):
    """A number and the ends of its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Decided:
    """What was decided on the images of one cell.

    Attributes:
        labels: (n,) bool, True for members. Where all are of one kind, that kind alone counts.
        right: (S, n) bool or float in [0, 1], how right each training is on each image.
        clusters: (n,) identities, of any type; an image of unknown identity is its own.
    """

    labels: np.ndarray
    right: np.ndarray
    clusters: np.ndarray

    @property
    def classes(self) -> list[np.ndarray]:
        """Masks (n,) of the kinds that occur: their accuracies count alike."""
        return [mask for mask in (self.labels, ~self.labels) if mask.any()]

    @property
    def accuracies(self) -> np.ndarray:
        """(S,) accuracy of each training, the mean over the kinds."""
        return np.mean([self.right[:, mask].mean(axis=1) for mask in self.classes], axis=0)


def interval(
    terms: Sequence[tuple[float, Decided]], replicates: int = 2000, seed: int = 0
) -> Estimate:
    """Return a signed sum of accuracies with its interval.

    Args:
        terms: (sign or weight, cell). Training i of one cell goes with training i of the others.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ParameterError: Cells of different numbers of trainings.
    """
    counts = {len(cell.right) for _, cell in terms}
    if len(counts) != 1:
        raise ParameterError(
            f"Cells of {sorted(counts)} trainings cannot be compared training by training."
        )
    trainings = sum(sign * cell.accuracies for sign, cell in terms)
    rng = np.random.default_rng(seed)
    # Numbered as they appear, so that their names do not matter.
    numbers, names = pd.factorize(
        np.concatenate([np.asarray(cell.clusters, dtype=object) for _, cell in terms])
    )
    each = np.split(numbers, np.cumsum([len(cell.labels) for _, cell in terms])[:-1])
    parts = [
        (sign / len(cell.classes), *_of_clusters(cell, mask, which, len(names)))
        for (sign, cell), which in zip(terms, each, strict=True)
        for mask in cell.classes
    ]
    drawn = np.concatenate([_replicates(parts, w) for w in _weights(rng, replicates, len(names))])
    spread = trainings.std(ddof=1) if len(trainings) > 1 else 0.0
    if spread > 0:
        noise = rng.standard_t(len(trainings) - 1, replicates)
        drawn = drawn + noise * spread / np.sqrt(len(trainings))
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(trainings.mean()), float(low), float(high))


def _of_clusters(
    cell: Decided, mask: np.ndarray, which: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each cluster the sum of what is right of a kind, and the number of its images."""
    mean = cell.right.mean(axis=0)
    return (
        np.bincount(which[mask], mean[mask], minlength=count),
        np.bincount(which[mask], minlength=count).astype(np.float64),
    )


def _weights(rng: np.random.Generator, replicates: int, count: int) -> Iterable[np.ndarray]:
    """Yield (b, count) how often each cluster is drawn, in blocks that fit into memory."""
    step = max(1, AT_ONCE // count)
    for start in range(0, replicates, step):
        b = min(step, replicates - start)
        drawn = rng.integers(count, size=(b, count)) + count * np.arange(b)[:, None]
        yield np.bincount(drawn.ravel(), minlength=b * count).reshape(b, count).astype(np.float64)


def _replicates(parts: Sequence[tuple], weights: np.ndarray) -> np.ndarray:
    total = np.zeros(len(weights))
    for sign, sums, sizes in parts:
        drawn = weights @ sizes
        # A replicate without this kind counts for nothing.
        total += sign * (weights @ sums) / np.where(drawn > 0, drawn, np.nan)
    return total


def verdict(low: float, high: float, margin: float = 0.0) -> str:
    """Decide a claim by the interval of the difference that it is about.

    Args:
        low: End of the interval.
        high: The other end.
        margin: Zero: the claim is that the difference is above zero. Otherwise that it lies within
            the margin, either way.
    """
    if margin:
        inside, outside = -margin < low and high < margin, high < -margin or low > margin
    else:
        inside, outside = low > 0, high < 0
    return "supported" if inside else "contradicted" if outside else "undecided"
