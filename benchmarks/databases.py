"""Distance between databases: how well a linear model on thumbnails distinguishes D from the others.

``python -m benchmarks.databases`` for the embedded ones, ``python -m benchmarks.databases DIR`` for
those of the profile ``faces_distributed``. The classifier is trained and evaluated on the databases of
the MINT Model and uses no network: it can only find a difference between databases.
"""

import argparse

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mint_utils import study


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Return (N, 256) float32: colours of 8 x 8 blocks, and how much they vary within each."""
    n, size = images.shape[:2]
    side = size // 8
    blocks = np.asarray(images[:, : 8 * side, : 8 * side], np.float32) / 255
    blocks = blocks.reshape(n, 8, side, 8, side, 3)
    spread = blocks.std(axis=(2, 4)).mean(axis=-1)
    return np.concatenate([blocks.mean(axis=(2, 4)).reshape(n, -1), spread.reshape(n, -1)], axis=1)


def auc(train: list[np.ndarray], evaluation: list[np.ndarray]) -> float:
    """Return the AUC of a logistic regression; each argument holds images of D, then images of others."""
    (x, y), (x_new, y_new) = (
        (np.concatenate(parts), np.repeat([1, 0], [len(part) for part in parts]))
        for parts in (train, evaluation)
    )
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.01, max_iter=500, class_weight="balanced")
    )
    return roc_auc_score(y_new, model.fit(x, y).decision_function(x_new))


def main(data: str | None = None) -> None:
    """Print the AUC for each external database, and across databases as MINT is evaluated."""
    s = study.open_study("faces_distributed" if data else "quick", data)
    training, *train, evaluation = s.images.audited
    d = thumbnails(training.images)
    d = d[np.random.default_rng(0).permutation(len(d))]
    half = len(d) // 2
    for external in (*train, evaluation):
        other = thumbnails(external.images)
        found = auc([d[:half], other[::2]], [d[half:], other[1::2]])
        print(f"  {training.name} against {external.name}: AUC {found:.2f}")
    known = np.concatenate([thumbnails(external.images) for external in train])
    found = auc([d[:half], known], [d[half:], thumbnails(evaluation.images)])
    print(f"  trained on the others, evaluated on {evaluation.name}: AUC {found:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", metavar="DIR")
    main(parser.parse_args().data)
