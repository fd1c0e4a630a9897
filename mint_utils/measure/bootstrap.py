"""Intervals: images of one identity are not independent, and neither are trainings free of chance.

In: which images were decided rightly, by each training. Out: an estimate and its 95% interval, of one
accuracy or of a signed sum of several, such as a difference between two columns of a table.

A replicate resamples identities (clusters) with replacement, jointly for everything in the sum, so that
what is measured on the same images or the same people is compared on them. It adds the noise of training:
the estimate is a mean over S trainings, so its error has a part s / sqrt(S), drawn from Student's t with
S - 1 degrees of freedom. The interval holds the middle 95% of replicates.

Percentiles are too narrow where clusters are few (arXiv 1411.5279): replicates of a kind of image
that G clusters hold are drawn out by t(G - 1) / z * sqrt(G / (G - 1)), which is nothing where there are many.
G is the effective number, (sum of sizes)^2 / sum of squared sizes.
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
FARTHEST = 1e6  # a share that is beyond it is said to have no end
AT_ONCE = 1 << 24  # weights held at once: replicates x clusters
# Pairs a score up to which comparing them once is faster than ranking in every replicate.
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

    def __str__(self) -> str:
        """Return it as the tables print it: 0.84 [0.82, 0.86]."""
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Decided:
    """What was decided on the images of one cell.

    Attributes:
        labels: (n,) bool, True for members. Where all are of one kind, that kind alone counts.
        right: (S, n) bool or float in [0, 1], how right each training is on each image.
        clusters: (n,) identities, of any type; an image of unknown identity is its own. Or (n, 2): the two
            people of a pair, the same twice where it shows one.
        reservation: Why nothing is to be decided by it in a word; empty where it may be.
    """

    labels: np.ndarray
    right: np.ndarray
    clusters: np.ndarray
    reservation: str = ""

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
        terms: (sign or weight, cell). Training i of one cell goes with training i of the others that have as
            many; cells of another number of trainings have a noise of their own.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.
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

    def holds_zero(of_part: float, of_whole: float) -> bool:
        each = of_part * part.accuracies + of_whole * whole.accuracies
        noise = t * each.std(ddof=1) if count > 1 else 0.0
        _, low, high = _estimate(0.0, of_part * drawn[0] + of_whole * drawn[1] + noise)
        return low <= 0 <= high

    if not excess[1] or holds_zero(0.0, 1.0):
        return Estimate(value, -np.inf, np.inf)
    ends = [_last(lambda r: holds_zero(1.0, -r), value, side) for side in (-1, 1)]
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
        labels: (n,) bool, True for members; both kinds must occur.
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
        clusters: (n,) identities; those with images of one kind alone do not count.
        replicates: Number of resamples of the clusters.

    Returns:
        Not a number where no cluster has both kinds.
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
    """Return draws of the error of a mean over trainings, by Student's t; nothing of a single one."""
    spread = trainings.std(ddof=1) if len(trainings) > 1 else 0.0
    if not spread > 0:
        return 0.0
    return rng.standard_t(len(trainings) - 1, replicates) * spread / np.sqrt(len(trainings))


def _resampled(cells: Sequence[Decided], replicates: int, rng: np.random.Generator) -> np.ndarray:
    """Return (cells, replicates): the accuracy of each cell when clusters are drawn with replacement."""
    # Numbered as they appear, so that their names do not matter.
    named = [np.asarray(cell.clusters, dtype=object) for cell in cells]
    numbers, names = pd.factorize(np.concatenate([of.ravel() for of in named]))
    each = np.split(numbers, np.cumsum([of.size for of in named])[:-1])
    accuracies = [
        [_on_kind(cell, mask, which.reshape(of.shape), len(names)) for mask in cell.classes]
        for cell, of, which in zip(cells, named, each, strict=True)
    ]
    blocks = [
        [np.mean([of_kind(weights) for of_kind in kinds], axis=0) for kinds in accuracies]
        for weights in _weights(rng, replicates, len(names), len(names))
    ]
    return np.concatenate(blocks, axis=1)


def _on_kind(cell: Decided, mask: np.ndarray, of: np.ndarray, count: int) -> Callable:
    """Return a function from (b, count) weights of clusters to (b,) accuracies on one kind of image.

    Args:
        cell: What was decided.
        mask: (n,) bool, the images of this kind.
        of: (n,) or (n, 2) numbers of clusters.
        count: Of all clusters.
    """
    right, of = cell.right.mean(axis=0)[mask], of[mask].reshape(mask.sum(), -1)
    two, accuracy = of[:, 0] != of[:, -1], right.mean()
    # A pair of two people is drawn as often as either, less once: what pairs share through either counts.
    both = np.concatenate([of[:, 0], of[two, -1]])
    sizes = np.bincount(both, minlength=count).astype(np.float64)
    sums = np.bincount(both, np.concatenate([right, right[two]]), minlength=count)
    factor = _factor(sizes)

    def weighted(weights: np.ndarray) -> np.ndarray:
        drawn = weights @ sizes - two.sum()
        # A replicate without this kind counts for nothing.
        found = (weights @ sums - right[two].sum()) / np.where(drawn > 0, drawn, np.nan)
        return accuracy + factor * (found - accuracy)

    return weighted


def _factor(sizes: np.ndarray) -> float:
    """Return by how much percentiles of clusters of these sizes are to be drawn out (arXiv 1411.5279)."""
    effective = max(sizes.sum() ** 2 / (sizes**2).sum(), 2.0)  # of fewer nothing is known
    z, t = (end((1 + LEVEL) / 2) for end in (stats.norm.ppf, stats.t(effective - 1).ppf))
    return float(t / z * np.sqrt(effective / (effective - 1)))


def _weights(rng: np.random.Generator, replicates: int, width: int, count: int) -> Iterable:
    """Yield (b, count) how often each cluster is drawn, in blocks of b x width that fit into memory."""
    step = max(1, AT_ONCE // width)
    for start in range(0, replicates, step):
        b = min(step, replicates - start)
        drawn = rng.integers(count, size=(b, count)) + count * np.arange(b)[:, None]
        yield np.bincount(drawn.ravel(), minlength=b * count).reshape(b, count).astype(np.float64)


def verdict(low: float, high: float, margin: float = 0.0, printed: float | None = None) -> str:
    """Decide a claim by the interval of the difference that it is about.

    Args:
        low: End of the interval.
        high: The other end.
        margin: Zero: the claim is that the difference is above zero. Otherwise that it lies within
            the margin, either way (an equivalence test).
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
