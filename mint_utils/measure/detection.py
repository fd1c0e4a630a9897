"""Detection of members: accuracy at 0.5 as the paper has it, and what an audit needs besides.

In: labels and the scores that trainings of T gave. Out: accuracy with its interval, area under the ROC
curve, and the true-positive rate at 1% and 0.1% false positives (arXiv 2112.03570), means over trainings.
"""

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from mint_utils.errors import ParameterError
from mint_utils.measure.bootstrap import accuracy_interval

THRESHOLD = 0.5
FPR_GRID = np.geomspace(1e-4, 1, 241)


def summarise(
    labels: np.ndarray, scores: np.ndarray, clusters: np.ndarray, replicates: int
) -> dict[str, float]:
    """Return the numbers of one cell of a table.

    Args:
        labels: (n,) bool, True for members.
        scores: (S, n) probabilities of membership, one line a training of T.
        clusters: (n,) identities; an image of unknown identity is its own.
        replicates: Of the bootstrap of the accuracy.

    Returns:
        accuracy (mean of those on members and on non-members), low, high, auc, tpr_at_1pct_fpr,
        tpr_at_01pct_fpr, n.

    Raises:
        ParameterError: Images of one class only, or scores that are no numbers.
    """
    if labels.all() or not labels.any():
        raise ParameterError(
            "Detection is measured on members and non-members: one kind is missing."
        )
    if not np.isfinite(scores).all():
        raise ParameterError("Scores hold values that are no numbers.")
    accuracy, low, high = accuracy_interval(labels, is_right(labels, scores), clusters, replicates)
    curves = [roc_curve(labels, one, drop_intermediate=False)[:2] for one in scores]
    return {
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "auc": float(np.mean([roc_auc_score(labels, one) for one in scores])),
        "tpr_at_1pct_fpr": float(np.mean([tpr_at(fpr, tpr, 0.01) for fpr, tpr in curves])),
        "tpr_at_01pct_fpr": float(np.mean([tpr_at(fpr, tpr, 0.001) for fpr, tpr in curves])),
        "n": len(labels),
    }


def is_right(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return (S, n) bool: whether each training of T decides each image rightly at 0.5."""
    return (scores > THRESHOLD) == labels


def tpr_at(fpr: np.ndarray, tpr: np.ndarray, limit: float | np.ndarray) -> np.ndarray:
    """Return the largest true-positive rate whose false-positive rate is at most the limit."""
    return tpr[np.searchsorted(fpr, limit, side="right") - 1]


def mean_roc(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ROC curve of (S, n) scores, the mean over trainings at fixed false-positive rates."""
    curves = [roc_curve(labels, one, drop_intermediate=False)[:2] for one in scores]
    return FPR_GRID, np.mean([tpr_at(fpr, tpr, FPR_GRID) for fpr, tpr in curves], axis=0)
