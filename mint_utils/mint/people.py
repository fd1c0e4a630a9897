"""Readings of a person: was a network shown this person, judged by k photographs?

The readings take the outcomes of the network: unit vectors (P, k, D) of k photographs of each of P people,
their lengths (P, k) and, with the head, its class centres (C, D). Each is one number a person, oriented so
that it should be higher for people who were shown. A MINT Model scores people by all readings together.

No label enters a reading. With u_1 ... u_k the unit outcomes of a person, m their mean and c a class centre,
the first two readings are max_c <c, m> and its lead over the second largest. Readings without the head follow
the features of SLMIA-SR (arXiv 2309.07983, Section IV), which asks the question for voices: how close a
person's samples lie to each other and to those of other people.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mint_utils.errors import ParameterError

FOLDS = 3  # of the MINT Model: trained on two thirds of the people, as the paper's T on 66% of the images
RIDGE = 0.1  # C of the logistic regression, each person counted once


class Reading(NamedTuple):
    """A reading: whether it needs the class centres, and the least number of photographs."""

    head: bool
    least: int


READINGS: dict[str, Reading] = {
    "largest cosine": Reading(True, 1),  # the largest mean cosine to a class centre
    "lead": Reading(True, 1),  # its lead over the second largest
    "steadiness": Reading(True, 2),  # less deviation of the photographs' cosines to that centre
    "similarity": Reading(False, 2),  # mean cosine between two of the photographs
    "even similarity": Reading(False, 2),  # less deviation of these cosines
    "least similarity": Reading(False, 2),  # the smallest of these cosines
    "most similarity": Reading(False, 2),  # the largest of these cosines
    "even about the mean": Reading(False, 2),  # less deviation of the cosines to their own mean
    "least to the mean": Reading(False, 2),  # the smallest of the cosines to their own mean
    "away from others": Reading(False, 1),  # less cosine of the own mean to the nearest of a crowd
    "apart": Reading(False, 2),  # similarity, less the cosine of the own mean to that one
    "length": Reading(False, 1),  # mean length of the outcomes before they are units
}


def available(photographs: int, head: bool) -> list[str]:
    """Return the readings that so many photographs allow, with the head or without it."""
    return [
        name for name, of in READINGS.items() if of.least <= photographs and (head or not of.head)
    ]


def chosen(candidates: Sequence[np.ndarray], photographs: int, choices: int) -> np.ndarray:
    """Return (choices, P, k) int64: k different photographs of each person, drawn at random.

    Args:
        candidates: For each of P people the indices of the photographs.
        photographs: k, at most as many as each person has.
        choices: Number of random choices, independent of each other.

    Raises:
        ParameterError: A person has fewer than k photographs.
    """
    fewest = min(map(len, candidates))
    if fewest < photographs:
        raise ParameterError(f"A person has {fewest} photographs where {photographs} are asked of.")
    rng = np.random.default_rng((0, photographs))
    return np.array(
        [[rng.permutation(own)[:photographs] for own in candidates] for _ in range(choices)]
    )


def read(
    units: np.ndarray, norms: np.ndarray, crowd: np.ndarray, centres: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return the readings of people from k photographs each.

    Args:
        units: (P, k, D) float32, unit outcomes.
        norms: (P, k) float32, the lengths of the outcomes before normalisation.
        crowd: (Q, D) float32, unit mean outcomes of other people.
        centres: (C, D) float32, class centres of unit length, C of 2 or more; None where there is no head.

    Returns:
        Reading -> (P,) float, those that k photographs allow.
    """
    k = units.shape[1]
    means = units.mean(axis=1)
    own = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    nearest = (own @ crowd.T).max(axis=1)
    found = {"away from others": -nearest, "length": norms.mean(axis=1)}
    if centres is not None:
        found |= _to_centres(units, means, centres)
    if k > 1:
        to_mean = np.einsum("pkd,pd->pk", units, own)
        one, other = np.triu_indices(k, 1)
        among = np.einsum("pid,pjd->pij", units, units)[:, one, other]
        found |= {
            "similarity": among.mean(axis=1),
            "even similarity": -among.std(axis=1),
            "least similarity": among.min(axis=1),
            "most similarity": among.max(axis=1),
            "even about the mean": -to_mean.std(axis=1),
            "least to the mean": to_mean.min(axis=1),
            "apart": among.mean(axis=1) - nearest,
        }
    return {name: found[name] for name in available(k, centres is not None)}


def _to_centres(units: np.ndarray, means: np.ndarray, centres: np.ndarray) -> dict[str, np.ndarray]:
    # The mean of the cosines is the dot product with the mean outcome.
    cosines = means @ centres.T
    second, first = np.sort(np.partition(cosines, -2, axis=1)[:, -2:], axis=1).T
    to_best = np.einsum("pkd,pd->pk", units, centres[cosines.argmax(axis=1)])
    return {"largest cosine": first, "lead": first - second, "steadiness": -to_best.std(axis=1)}


def folds(labels: np.ndarray) -> np.ndarray:
    """Return (P,) int64: the fold of each person, with both kinds spread evenly over the folds."""
    found = np.empty(len(labels), np.int64)
    for kind in (True, False):
        of_kind = np.flatnonzero(labels == kind)
        found[of_kind] = np.arange(len(of_kind)) % FOLDS
    return found


def cross_fitted(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (R, P) scores of people by a MINT Model that was trained on other people.

    It is a logistic regression on standardised readings, one for each fold. A score says how many standard
    deviations a person lies above the training people who were never shown. So scores of different folds can
    be compared, and they do not contain the intercept, which depends on the share of either kind in training.

    Args:
        features: (R, P, F), F readings of P people from R random choices of their photographs. All choices
            of a person are on one side of a fit, and count there as one.
        labels: (P,) bool, True for people who were shown; at least `FOLDS` of either kind.

    Raises:
        ParameterError: Too few people of a kind.
    """
    if min(labels.sum(), (~labels).sum()) < FOLDS:
        raise ParameterError(
            f"A MINT Model for people needs {FOLDS} people or more of either kind, not "
            f"{labels.sum()} shown and {(~labels).sum()} never shown."
        )
    choices, _, width = features.shape
    where = folds(labels)
    scores = np.empty(features.shape[:2])
    for fold in range(FOLDS):
        train = where != fold
        given = features[:, train].reshape(-1, width)
        scaler = StandardScaler().fit(given)
        model = LogisticRegression(C=RIDGE, class_weight="balanced").fit(
            scaler.transform(given),
            np.tile(labels[train], choices),
            sample_weight=np.full(len(given), 1 / choices),
        )
        every = model.decision_function(scaler.transform(features.reshape(-1, width)))
        every = every.reshape(choices, -1)
        others = every[:, train & ~labels]
        scores[:, ~train] = (every[:, ~train] - others.mean()) / max(others.std(), 1e-12)
    return scores
