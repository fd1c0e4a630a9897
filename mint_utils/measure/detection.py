"""Detection of members: accuracy at 0.5, which the paper reports, and the measures that an audit needs.

These are the area under the ROC curve and the true-positive rates at 1% and 0.1% false positives
(arXiv 2112.03570). All are means over trainings.
"""

from collections.abc import Iterable

import numpy as np
from sklearn.metrics import roc_auc_score

from mint_utils.errors import ParameterError
from mint_utils.measure.bootstrap import Decided, interval

THRESHOLD = 0.5
ONCE, FAILED = "one training", "a training failed"  # reservations: why there is no verdict
FPR_GRID = np.geomspace(1e-4, 1, 241)


def summarise(
    labels: np.ndarray, scores: np.ndarray, clusters: np.ndarray, replicates: int
) -> dict[str, float]:
    """Return the numbers of one cell of a table.

    Args:
        labels: (n,) bool, True for members.
        scores: (M, T, n) probabilities of membership, from M trainings of the Audited Model and T
            trainings of the MINT Model on each.
        clusters: (n,) identities; an image of unknown identity is its own.
        replicates: Number of resamples for the interval of the accuracy.

    Returns:
        accuracy (mean of those on members and on non-members), low, high, auc, tpr_at_1pct_fpr,
        tpr_at_01pct_fpr, n.

    Raises:
        ParameterError: Only members, only non-members, or scores that are no numbers.
    """
    if labels.all() or not labels.any():
        raise ParameterError(
            "Detection is measured on members and non-members: one kind is missing."
        )
    if not np.isfinite(scores).all():
        raise ParameterError("Scores hold values that are no numbers.")
    accuracy, low, high = interval([(1, decided(labels, scores, clusters))], replicates)
    low, high = max(low, 0.0), min(high, 1.0)  # Student's t of few trainings may exceed both
    each = scores.reshape(-1, len(labels))
    return {
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "auc": float(np.mean([roc_auc_score(labels, training) for training in each])),
        **low_fpr(labels, each),
        "n": len(labels),
    }


def low_fpr(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Return tpr_at_1pct_fpr and tpr_at_01pct_fpr of (S, n) scores, means over trainings."""
    rates = _tpr_at(labels, scores, [0.01, 0.001])
    return dict(zip(("tpr_at_1pct_fpr", "tpr_at_01pct_fpr"), rates, strict=True))


def mean_roc(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ROC curve of (M, T, n) scores: the mean over trainings at fixed false-positive rates."""
    return FPR_GRID, np.array(_tpr_at(labels, scores.reshape(-1, len(labels)), FPR_GRID))


def _tpr_at(labels: np.ndarray, scores: np.ndarray, limits: Iterable[float]) -> list[float]:
    """Return the largest true-positive rate at each limit of the false-positive rate, means over (S, n)."""
    others = np.sort(scores[:, ~labels], axis=1)[:, ::-1]
    others = np.pad(others, [(0, 0), (0, 1)], constant_values=-np.inf)  # all may be called members
    # The place of the highest non-member that may not be called a member. Rounding must not change it.
    allowed = [int(limit * (~labels).sum() * (1 + 1e-9)) for limit in limits]
    return [float((scores[:, labels] > others[:, [k]]).mean()) for k in allowed]


def decided(labels: np.ndarray, scores: np.ndarray, clusters: np.ndarray) -> Decided:
    """Return which images are decided rightly at 0.5, by each training that counts as independent.

    Where M was trained more than once, these are the trainings of M, each with the mean over its MINT Models.
    Otherwise they are the trainings of the MINT Model, which do not show how trainings of M vary.

    Args:
        labels: (n,) bool, True for members.
        scores: (M, T, n) probabilities of membership.
        clusters: (n,) identities.
    """
    right = (scores > THRESHOLD) == labels
    if len(scores) > 1:
        return Decided(labels, right.mean(axis=1), clusters)
    return Decided(labels, right[0], clusters, ONCE)
