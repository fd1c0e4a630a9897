"""Confidence intervals, because images of one identity are not independent and trainings vary by chance.

The input says which images each training decided rightly. The output is an estimate with its 95% interval, of
one accuracy or of a signed sum of several, such as a difference between two columns of a table.

A replicate resamples identities (clusters) with replacement, jointly for all accuracies in the sum, so that
columns with the same images or people are compared on them. It then adds the noise of training: the estimate
is a mean over S trainings, so its error has a part s / sqrt(S), drawn from Student's t with S - 1 degrees of
freedom. The interval contains the middle 95% of replicates.

Percentiles are too narrow where there are few clusters (arXiv 1411.5279). Members, or non-members, from G
clusters therefore have the deviations of their replicates multiplied by t(G - 1) / z * sqrt(G / (G - 1)),
which is close to 1 where G is large. G is the effective number of clusters, (sum of sizes)^2 / sum of squared
sizes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95
CHANCE = 0.5  # accuracy of a coin
SMALLER, LARGER = "smaller than the paper's", "larger than the paper's"  # verdicts on a difference
FARTHEST = 1e6  # beyond it the interval of a share counts as unbounded
AT_ONCE = 1 << 24  # weights held at once: replicates x clusters
# Up to this number of pairs a score, comparing all pairs once is faster than ranking in every replicate.
PAIRS = 16


class Estimate(NamedTuple):
    """A number and the ends of its 95% interval."""

    value: float
    low: float
    high: float

    @classmethod
    def read(cls, line: pd.Series, value: str) -> "Estimate":
        """Return the estimate that a line of a table has, with its value in the column of that name."""
        return cls(line[value], line["low"], line["high"])

    def widened(self, factor: float) -> "Estimate":
        """Return it with an interval that is so many times as wide to either side of the value."""
        low, high = (self.value + factor * (end - self.value) for end in (self.low, self.high))
        return Estimate(self.value, low, high)

    def __str__(self) -> str:
        """Return it as the tables print it: 0.84 [0.82, 0.86]."""
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Decided:
    """What was decided on the images of one cell.

    Attributes:
        labels: (n,) bool, True for members. There may be members alone or non-members alone.
        right: (S, n) bool or float in [0, 1], how right each training is on each image.
        clusters: (n,) identities, of any type; an image of unknown identity is its own. Or (n, 2): the two
            people of a pair, the same twice where it shows one person.
        reservation: Why no verdict may rest on this cell; empty where one may.
    """

    labels: np.ndarray
    right: np.ndarray
    clusters: np.ndarray
    reservation: str = ""

    @property
    def classes(self) -> list[np.ndarray]:
        """Masks (n,) of members and of non-members, where there are any: both accuracies count alike."""
        return [mask for mask in (self.labels, ~self.labels) if mask.any()]

    @property
    def accuracies(self) -> np.ndarray:
        """(S,) accuracy of each training, the mean of that on members and that on non-members."""
        return np.mean([self.right[:, mask].mean(axis=1) for mask in self.classes], axis=0)


def interval(
    terms: Sequence[tuple[float, Decided]], replicates: int = 2000, seed: int = 0
) -> Estimate:
    """Return a signed sum of accuracies with its interval.

    Args:
        terms: (sign or weight, cell). Cells with the same number of trainings are paired training by
            training; those with another number have noise of their own.
        replicates: Number of resamples.
        seed: Seed of the resampling.
    """
    rng = np.random.default_rng(seed)
    weights, cells = zip(*terms, strict=True)
    drawn = np.asarray(weights) @ _resampled(cells, replicates, rng)
    trainings: dict[int, np.ndarray] = {}
    for weight, cell in terms:
        count = len(cell.right)
        trainings[count] = trainings.get(count, 0.0) + weight * cell.accuracies
    noise = sum(_noise(each, replicates, rng) for each in trainings.values())
    return _estimate(sum(each.mean() for each in trainings.values()), drawn + noise)


def share(part: Decided, whole: Decided, replicates: int = 2000) -> Estimate:
    """Return how much of an excess over chance remains: (part - 0.5) / (whole - 0.5).

    Both cells have as many trainings. The interval is Fieller's (J. R. Stat. Soc. B 16, 1954, 175): the
    shares r for which the interval of (part - 0.5) - r * (whole - 0.5) contains zero. It divides by nothing,
    so it needs no exception for a small whole.

    Returns:
        The share with its interval. The ends are infinite where the interval of the whole contains chance,
        and the value is not a number where the whole is at chance.
    """
    excess = [cell.accuracies.mean() - CHANCE for cell in (part, whole)]
    value = excess[0] / excess[1] if excess[1] else np.nan
    rng = np.random.default_rng(0)
    drawn = _resampled([part, whole], replicates, rng) - CHANCE
    count = len(part.right)
    t = rng.standard_t(count - 1, replicates) / np.sqrt(count) if count > 1 else 0.0

    def contains_zero(a: float, b: float) -> bool:
        """Say whether the interval of a times the part's excess plus b times the whole's contains zero."""
        each = a * part.accuracies + b * whole.accuracies
        noise = t * each.std(ddof=1) if count > 1 else 0.0
        _, low, high = _estimate(0.0, a * drawn[0] + b * drawn[1] + noise)
        return low <= 0 <= high

    if not excess[1] or contains_zero(0.0, 1.0):
        return Estimate(value, -np.inf, np.inf)
    ends = [_last(lambda r: contains_zero(1.0, -r), value, side) for side in (-1, 1)]
    return Estimate(float(value), *ends)


def _last(holds: Callable[[float], bool], start: float, side: int) -> float:
    """Return the last number on one side of a start for which something holds, to a thousandth."""
    inside, step = start, 0.01
    while holds(start + side * step):
        inside, step = start + side * step, 2 * step
        if step > FARTHEST:
            return side * np.inf
    outside = start + side * step
    while abs(outside - inside) > 1e-3:
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if holds(middle) else (inside, middle)
    return float(inside)


def prevalence(known: Decided, called: Decided, replicates: int = 2000) -> Estimate:
    """Return the share of members among some images, from how many of them are called members.

    Members are called so at the true-positive rate and others at the false-positive rate. Known images give
    both rates, and the share is (called - FPR) / (TPR - FPR): "adjusted counting" (Forman,
    doi 10.1007/s10618-008-0097-y).

    Args:
        known: Which known images are decided rightly, members and non-members.
        called: Which of the images in question are called members (``right``), by the same trainings.
        replicates: Number of resamples, which all three rates share.

    Returns:
        The share with its interval, from 0 to 1. Not a number where the interval of the accuracy on the known
        images contains chance, because nothing then follows from what is called.
    """
    if interval([(1, known)], replicates).low <= CHANCE:
        return Estimate(np.nan, np.nan, np.nan)
    members, others = (
        Decided(known.labels[mask], known.right[:, mask], known.clusters[mask])
        for mask in (known.labels, ~known.labels)
    )
    cells = [members, others, called]
    tpr, tnr, rate = (cell.accuracies for cell in cells)
    above, apart = rate + tnr - 1, tpr + tnr - 1
    value = above.mean() / apart.mean()
    rng = np.random.default_rng(0)
    tprs, tnrs, rates = _resampled(cells, replicates, rng)
    # The noise of training, to first order.
    noise = _noise((above - value * apart) / apart.mean(), replicates, rng)
    found = _estimate(value, (rates + tnrs - 1) / (tprs + tnrs - 1) + noise)
    return Estimate(*np.clip(found, 0.0, 1.0).tolist())


def auc(
    labels: np.ndarray, scores: np.ndarray, clusters: np.ndarray, replicates: int = 1000
) -> Estimate:
    """Return the area under the ROC curve with its interval, over clusters and trainings.

    Args:
        labels: (n,) bool, True for members; there must be members and non-members.
        scores: (S, n), higher for likelier members, by S trainings. Or (M, T, n): T scores of each of M
            trainings; M of 2 or more are the trainings, else the T are, as in `detection.decided`.
        clusters: (n,) identities; an image of unknown identity is its own.
        replicates: Number of resamples.
    """
    rng = np.random.default_rng(0)
    which, names = pd.factorize(np.asarray(clusters, dtype=object))
    each = scores.reshape(-1, len(labels))
    trainings = np.array([_auc(labels, one, np.ones((1, len(labels))))[0] for one in each])
    if scores.ndim == 3 and len(scores) > 1:
        trainings = trainings.reshape(scores.shape[:2]).mean(axis=1)
    few = labels.sum() * (~labels).sum() <= PAIRS * each.size
    above = pairs(labels, each) if few else None
    blocks = _weights(rng, replicates, max(len(names), len(labels)), len(names))
    drawn = np.concatenate([_areas(labels, each, block[:, which], above) for block in blocks])
    fewest = [np.bincount(which[mask], minlength=len(names)) for mask in (labels, ~labels)]
    value, factor = trainings.mean(), max(_factor(sizes) for sizes in fewest)
    drawn = value + factor * (drawn - value)
    return _estimate(value, drawn + _noise(trainings, replicates, rng))


def pairs(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return (P, Q): how often each of P members scores above each of Q others, the mean over (S, n) scores.

    An equal score counts half, so that the mean of all pairs is the area under the ROC curve.
    """
    found = np.zeros((labels.sum(), (~labels).sum()), np.float32)
    for one in scores:
        found += np.sign(one[labels][:, None] - one[~labels])
    return (found / len(scores) + 1) / 2


def _areas(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray, above: np.ndarray | None
) -> np.ndarray:
    """Return (b,) areas of (S, n) scores with (b, n) weights, means over S; by their `pairs` where given."""
    if above is None:
        return np.mean([_auc(labels, one, weights) for one in scores], axis=0)
    positive, negative = weights[:, labels], weights[:, ~labels]
    drawn = positive.sum(axis=1) * negative.sum(axis=1)
    return ((positive @ above) * negative).sum(axis=1) / np.where(drawn > 0, drawn, np.nan)


def auc_within(
    labels: np.ndarray, scores: np.ndarray, clusters: np.ndarray, replicates: int = 1000
) -> Estimate:
    """Return the area under the ROC curve within a cluster, the mean over clusters, with its interval.

    Only images of one person are compared with each other, so that differences between people do not count.

    Args:
        labels: (n,) bool, True for members.
        scores: (S, n), or (M, T, n), as for `auc`.
        clusters: (n,) identities; those with members alone or non-members alone do not count.
        replicates: Number of resamples of the clusters.

    Returns:
        Not a number where no cluster has both members and non-members.
    """
    which, names = pd.factorize(np.asarray(clusters, dtype=object))
    order = np.argsort(which, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(which, minlength=len(names)))[:-1])
    groups = [rows for rows in groups if labels[rows].any() and not labels[rows].all()]
    if not groups:
        return Estimate(np.nan, np.nan, np.nan)
    each = scores.reshape(-1, len(labels))
    right = [[_auc(labels[g], one[g], np.ones((1, len(g))))[0] for g in groups] for one in each]
    right = np.array(right)  # (S, clusters)
    if scores.ndim == 3 and len(scores) > 1:
        right = right.reshape(*scores.shape[:2], -1).mean(axis=1)
    everything = np.full(len(groups), True)
    return interval([(1, Decided(everything, right, np.arange(len(groups))))], replicates)


def _auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (b,) areas of (n,) scores with (b, n) weights: the chance that a member scores higher."""
    _, ranks = np.unique(scores, return_inverse=True)
    order = np.argsort(ranks, kind="stable")
    starts = np.flatnonzero(np.diff(ranks[order], prepend=-1))  # where each distinct score begins
    positive, negative = (
        np.add.reduceat((weights * mask)[:, order], starts, axis=1) for mask in (labels, ~labels)
    )
    below = np.cumsum(negative, axis=1) - negative / 2  # of equal scores half
    return (positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    low, high = np.quantile(drawn[~np.isnan(drawn)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high))


def _noise(trainings: np.ndarray, replicates: int, rng: np.random.Generator) -> np.ndarray | float:
    """Return draws of the error of a mean over trainings, by Student's t; 0 for a single training."""
    spread = trainings.std(ddof=1) if len(trainings) > 1 else 0.0
    if not spread > 0:
        return 0.0
    return rng.standard_t(len(trainings) - 1, replicates) * spread / np.sqrt(len(trainings))


def _resampled(cells: Sequence[Decided], replicates: int, rng: np.random.Generator) -> np.ndarray:
    """Return (cells, replicates): the accuracy of each cell when clusters are drawn with replacement."""
    # Clusters are numbered as they appear, so that their names do not matter.
    named = [np.asarray(cell.clusters, dtype=object) for cell in cells]
    numbers, names = pd.factorize(np.concatenate([clusters.ravel() for clusters in named]))
    each = np.split(numbers, np.cumsum([clusters.size for clusters in named])[:-1])
    accuracies = [
        [_on_kind(cell, mask, which.reshape(clusters.shape), len(names)) for mask in cell.classes]
        for cell, clusters, which in zip(cells, named, each, strict=True)
    ]
    blocks = [
        [np.mean([accuracy(weights) for accuracy in kinds], axis=0) for kinds in accuracies]
        for weights in _weights(rng, replicates, len(names), len(names))
    ]
    return np.concatenate(blocks, axis=1)


def _on_kind(cell: Decided, mask: np.ndarray, numbers: np.ndarray, count: int) -> Callable:
    """Return a function from (b, count) weights of clusters to (b,) accuracies on members or non-members.

    Args:
        cell: What was decided.
        mask: (n,) bool, the members or the non-members.
        numbers: (n,) or (n, 2), the number of the cluster, or of both people of a pair.
        count: Number of all clusters.
    """
    right, numbers = cell.right.mean(axis=0)[mask], numbers[mask].reshape(mask.sum(), -1)
    two, accuracy = numbers[:, 0] != numbers[:, -1], right.mean()
    # A pair of two people counts with the weights of both less one, so that its dependence on other pairs
    # through either person counts.
    both = np.concatenate([numbers[:, 0], numbers[two, -1]])
    sizes = np.bincount(both, minlength=count).astype(np.float64)
    sums = np.bincount(both, np.concatenate([right, right[two]]), minlength=count)
    factor = _factor(sizes)

    def weighted(weights: np.ndarray) -> np.ndarray:
        drawn = weights @ sizes - two.sum()
        # A replicate without any such image is left out.
        found = (weights @ sums - right[two].sum()) / np.where(drawn > 0, drawn, np.nan)
        return accuracy + factor * (found - accuracy)

    return weighted


def _factor(sizes: np.ndarray) -> float:
    """Return the factor that widens the percentiles of clusters of these sizes (arXiv 1411.5279)."""
    effective = max(sizes.sum() ** 2 / (sizes**2).sum(), 2.0)  # with fewer the spread is unknown
    z, t = (end((1 + LEVEL) / 2) for end in (stats.norm.ppf, stats.t(effective - 1).ppf))
    return float(t / z * np.sqrt(effective / (effective - 1)))


def _weights(rng: np.random.Generator, replicates: int, width: int, count: int) -> Iterable:
    """Yield how often each cluster is drawn, (b, count), in blocks of b x width that fit into memory."""
    step = max(1, AT_ONCE // width)
    for start in range(0, replicates, step):
        b = min(step, replicates - start)
        drawn = rng.integers(count, size=(b, count)) + count * np.arange(b)[:, None]
        yield np.bincount(drawn.ravel(), minlength=b * count).reshape(b, count).astype(np.float64)


def verdict(low: float, high: float, margin: float = 0.0, printed: float | None = None) -> str:
    """Decide a claim by the interval, from low to high, of the difference that it is about.

    Args:
        low: Lower end of the interval.
        high: Upper end of the interval.
        margin: If zero, the claim is that the difference is above zero. Otherwise the claim is that its size
            is below the margin (an equivalence test).
        printed: The paper's own difference, where it prints one.

    Returns:
        ``supported``, ``contradicted``; where it is neither, `SMALLER` or `LARGER` if the interval
        excludes the printed difference, else ``undecided``.
    """
    if margin:
        inside, outside = -margin < low and high < margin, high < -margin or low > margin
    else:
        inside, outside = low > 0, high < 0
    if inside or outside:
        return "supported" if inside else "contradicted"
    if printed is not None and (high < printed or low > printed):
        return SMALLER if high < printed else LARGER
    return "undecided"
