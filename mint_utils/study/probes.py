"""Is T too weak, or do the activations hold no membership? Other readers of them, with non-members of D.

A linear probe and boosted trees are trained and evaluated on the same images as T, with non-members of the
same database. Their settings are chosen within T's training images.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mint_utils import store
from mint_utils.audited.train import AuditedModel
from mint_utils.mint.protocol import AuditSet, fewer
from mint_utils.study.audit import Audit, Features, Scores, split_digests
from mint_utils.study.claims import ALL, OUTCOME
from mint_utils.study.detectors import KEY
from mint_utils.study.results import MintTable, estimate

VERSION = 1  # raised when the same features give other scores
READ = OUTCOME, ALL
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of the linear probe
FOLDS = 5
MOST = 5000  # training images of a class, at most
T = "T (the paper's)"


def linear_probe() -> GridSearchCV:
    """Return logistic regression on standardised features, its C chosen by the AUC of five folds."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    return GridSearchCV(probe, {"logisticregression__C": STRENGTHS}, scoring="roc_auc", cv=FOLDS)


def boosted_trees() -> HistGradientBoostingClassifier:
    """Return boosted trees, their number chosen on a tenth of the training images."""
    return HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=200, max_leaf_nodes=8, early_stopping=True, random_state=0
    )


PROBES: dict[str, Callable] = {"linear probe": linear_probe, "boosted trees": boosted_trees}


def probed(features: Features, chosen: AuditSet) -> dict[str, Scores]:
    """Return the scores of each probe for the evaluation images under ``held_out``: name -> `Scores`.

    At most `MOST` of T's training images a class are read.
    """
    chosen = replace(chosen, splits={KEY: fewer(chosen, MOST).splits[KEY]})
    rows = [row for row in READ if row in features.rows]
    split = chosen.splits[KEY]

    def make() -> dict[str, np.ndarray]:
        array, found = features.there(), {}
        for row in rows:
            part = np.asarray(array[:, features.rows[row]], np.float64)
            for name, probe in PROBES.items():
                fitted = probe().fit(part[split.train], split.train_labels)
                of_members = fitted.predict_proba(part[split.evaluation])[:, 1]
                found[f"{name} {row}"] = of_members.astype(np.float32)[None]
        return found

    spec = {
        "version": VERSION,
        "features": features.digest,
        "splits": split_digests(chosen),
        "rows": rows,
        "probes": list(PROBES),
    }
    found = store.arrays("probes", spec, "scores.npz", make)
    return {
        name: Scores(chosen, {(KEY, row): found[f"{name} {row}"] for row in rows})
        for name in PROBES
    }


def table(audit: Audit, models: list[AuditedModel]) -> MintTable:
    """Return the table of T and of the probes for trainings of the baseline, a column each, ``held_out``."""
    found: dict[str, list[Scores]] = {name: [] for name in (T, *PROBES)}
    for model in models:
        chosen = audit.chosen(model)
        features = audit.activations(model, chosen)
        whole = audit.mint(features, chosen)
        of_t = {(KEY, row): whole.scores[KEY, row] for row in READ}
        found[T].append(Scores(chosen, of_t))
        for name, scores in probed(features, chosen).items():
            found[name].append(scores)
    columns = {name: (scores, KEY[0]) for name, scores in found.items()}
    return MintTable.of(columns, audit.config.mint.replicates)


def conclusion(cells: pd.DataFrame) -> str:
    """Return in words how many of the readers in `table` detect members, and which is best."""
    best, above = cells.loc[cells["accuracy"].idxmax()], (cells["low"] > 0.5).sum()
    return (
        f"{above or 'None'} of {len(cells)} readers of activations "
        f"{'distinguishes' if above < 2 else 'distinguish'} members from images of the same "
        "database that M never saw, by the interval of the accuracy. The "
        f"best is {best['column']} on {best['row']}: it classifies {estimate(best)} of the images correctly."
    )
