"""Which images of an own audit take part, who falls into which fold, and what a score is compared with.

If known members and known non-members show different people, a test may only find out whose people are in D.
So each person takes part with as many known members as known non-members. There is one other way to separate
an image from its person: if the classes of the head are images and not people, the other classes of a person
show how near an image lies that was not used (`classes_are_images`).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from mint_utils.data.membership import uniform
from mint_utils.errors import ParameterError
from mint_utils.mint.protocol import FEWEST, AuditSet, Split

KNOWN = ("members", "non_members")
QUESTIONED = "questioned"
FOLDERS = (*KNOWN, QUESTIONED)
FALSE = 0.05  # share of false names among those that are named, in expectation
FEWEST_PEOPLE = 10  # in question, below which the interval of a share covers too rarely
FOLDS = 3  # T is trained on two thirds, as in the paper
PEOPLE = 10  # the least number of people that known images must show
APART = 0.05  # share of images of one person with a common class up to which classes are images
NEAR = 0.1  # area under the ROC curve above .50 up to which two kinds lie alike
ROUNDING = 1e-12
AT_ONCE = 1024  # images compared with all class centres at once
SIZES = (0, 3, 6, 15, 50, np.inf)  # images a person: ends of the lines of `by_images`

UNKNOWN = (
    "people are not known in {}, so a photograph that was used cannot be told from another of the same "
    "person: put each person's images into a sub-folder of that name"
)
NOT_SHARED = (
    "{} people have both known members and known non-members ({} images; at least "
    f"{PEOPLE} people and {2 * FOLDS * FEWEST} images are needed), so a photograph that was used "
    "cannot be told from another of a person in D: bring images of the same people that were not used"
)
OF_OTHERS = (
    "{} of {} images in question are of people of whom known members and known non-members were brought "
    f"({FEWEST} are needed): bring known images of their people"
)


@dataclass(frozen=True)
class Closeness:
    """How N images lie to the class centres.

    Attributes:
        first: (N,) cosine to the nearest centre.
        second: (N,) cosine to the second nearest.
        nearest: (N,) int64, the class of the nearest.
    """

    first: np.ndarray
    second: np.ndarray
    nearest: np.ndarray


@dataclass(frozen=True)
class Design:
    """Which of N images take part, and how.

    Attributes:
        part: (N,) bool.
        known: Whether known images separate an image from its person, by matched people or classes of images.
        asked: Whether enough images in question are of such people.
        shares: The share of the known images, and of those in question, that takes part if it may.
        reason: Why ``known`` or ``asked`` does not hold, in words; empty if both do.
        classes: Whether classes of the head are taken for images.
        weights: (N,) images in question of an image's person, for each known image of either kind.
        order: (N,) int64, the order in which images are chosen.
        folds: (deals, N) int64, the fold of each image.
    """

    part: np.ndarray
    known: bool
    asked: bool
    shares: tuple[float, float]
    reason: str
    classes: bool
    weights: np.ndarray
    order: np.ndarray
    folds: np.ndarray


def designed(
    images: pd.DataFrame, close: Closeness | None, unknown: Sequence[str], deals: int, seed: int
) -> Design:
    """Return the design of an audit.

    Args:
        images: One line an image: database (its folder), key, person.
        close: How images lie to class centres; None where there are none.
        unknown: Folders whose people are not known.
        deals: How often people are dealt into folds.
        seed: The seed of all hashes.
    """
    folder, person = images["database"].to_numpy(str), images["person"].to_numpy(str)
    names = np.char.add(np.char.add(folder, "/"), images["key"].to_numpy(str))
    order = np.argsort(uniform("case", names, "case-pick", seed), kind="stable")
    asked = folder == QUESTIONED
    chosen = np.zeros(len(images), bool)
    chosen[_matched(folder, person, order)] = True
    theirs = asked & np.isin(person, person[chosen])
    shares = chosen[~asked].mean(), theirs[asked].mean()
    people = len(np.unique(person[chosen]))
    known = people >= PEOPLE and chosen.sum() >= 2 * FOLDS * FEWEST and not unknown
    classes = bool(
        close and not known and not unknown and classes_are_images(folder, person, close)
    )
    reason = ""
    if unknown:
        reason = UNKNOWN.format(", ".join(unknown))
    elif not (known or classes):
        reason = NOT_SHARED.format(people, chosen.sum())
    elif not classes and theirs.sum() < FEWEST:
        reason = OF_OTHERS.format(theirs.sum(), asked.sum())
    if classes:
        shares = 1.0, 1.0
    matched = known and not reason
    part = chosen | theirs if matched else np.full(len(images), True)
    return Design(
        part=part,
        known=known or classes,
        asked=bool(classes or theirs.sum() >= FEWEST),
        shares=shares,
        reason=reason,
        classes=classes,
        weights=_weights(folder, person, part) if matched else np.ones(len(images)),
        order=order,
        folds=np.stack([_dealt(folder, person, part, deal, seed) for deal in range(deals)]),
    )


def splits(
    chosen: Design,
    images: pd.DataFrame,
    usable: np.ndarray,
    labels: np.ndarray,
    most: int,
    deals: int,
) -> AuditSet:
    """Return a split for each fold of the first ``deals`` deals.

    A MINT Model is trained on usable images of the other folds, as many of either label and at most ``most``
    of each. It is evaluated on all images of this fold that take part.

    Raises:
        ParameterError: A fold would hold too few of a kind.
    """
    asked, order, by_fold = images["database"].to_numpy() == QUESTIONED, chosen.order, {}
    names = ("images in question", "known images") if labels[asked].any() else KNOWN
    for deal, folds in enumerate(chosen.folds[:deals]):
        for i in range(FOLDS):
            for name, kind in zip(names, (labels, ~labels), strict=True):
                if (there := (usable & kind & (folds == i)).sum()) < FEWEST:
                    raise ParameterError(
                        f"Fold {i} of {FOLDS} would hold {there} {name}, and {FEWEST} is the least: bring "
                        f"more {name}, of more people."
                    )
            inside = usable & (folds != i)
            kinds = [order[(inside & kind)[order]] for kind in (labels, ~labels)]
            n = min(*map(len, kinds), most)
            rows = np.concatenate([kind[:n] for kind in kinds])
            evaluation = np.flatnonzero(chosen.part & (folds == i))
            split = Split(rows, labels[rows], evaluation, labels[evaluation])
            by_fold[f"deal {deal}", f"fold {i}"] = split
    return AuditSet(images, by_fold)


def _matched(folder: np.ndarray, person: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the places of as many known members as known non-members of each person, in an order."""
    lines = pd.DataFrame({"folder": folder, "person": person}).iloc[order]
    lines = lines[lines["folder"] != QUESTIONED]
    number = lines.groupby(["person", "folder"]).cumcount()
    both = _counts(lines)[list(KNOWN)].min(axis=1)
    return lines.index[number < lines["person"].map(both)].to_numpy()


def _counts(images: pd.DataFrame) -> pd.DataFrame:
    """Return for each person the number of images in each of `FOLDERS`."""
    counts = pd.crosstab(images["person"], images["folder"])
    return counts.reindex(columns=list(FOLDERS), fill_value=0)


def _weights(folder: np.ndarray, person: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return (N,) the images in question of an image's person, for each known image of either kind."""
    counts = _counts(pd.DataFrame({"folder": folder, "person": person})[part])
    ratio = counts[QUESTIONED] / counts[KNOWN[1]]
    return ratio.reindex(person).fillna(0.0).to_numpy()


def _dealt(
    folder: np.ndarray, person: np.ndarray, part: np.ndarray, deal: int, seed: int
) -> np.ndarray:
    """Return the fold of each image (N,): one for each person, with images of each folder spread evenly."""
    number, names = pd.factorize(person)
    counts = np.stack(
        [np.bincount(number[part & (folder == name)], minlength=len(names)) for name in FOLDERS], 1
    )
    counts = counts / np.maximum(counts.sum(axis=0), 1)
    turn = np.argsort(uniform("case", np.asarray(names, str), f"case-fold-{deal}", seed))
    loads, folds = np.zeros((FOLDS, len(FOLDERS))), np.empty(len(names), np.int64)
    for i in turn.tolist():
        # The fold with the least sum of squares after this person is added; common terms are left out.
        fold = int((loads @ counts[i]).argmin()) if counts[i].any() else i % FOLDS
        loads[fold] += counts[i]
        folds[i] = fold
    return folds[number]


def closeness(outcomes: np.ndarray, centres: torch.Tensor) -> Closeness:
    """Compare outcomes (N, D) of unit length with class centres (D, C) of any length."""
    units, parts = torch.nn.functional.normalize(centres.float(), dim=0), []
    for i in range(0, len(outcomes), AT_ONCE):
        cosines = torch.from_numpy(np.array(outcomes[i : i + AT_ONCE])) @ units
        values, places = cosines.topk(min(2, cosines.shape[1]), dim=1)
        parts.append((values[:, 0].numpy(), values[:, -1].numpy(), places[:, 0].numpy()))
    return Closeness(*map(np.concatenate, zip(*parts, strict=True)))


def classes_are_images(folder: np.ndarray, person: np.ndarray, close: Closeness) -> bool:
    """Say whether each known member has a class of its own, and lies to all others as non-members do.

    Then the nearest class but its own shows how an unused image of a person in D lies. In a network that was
    trained to recognise people this does not hold: a person's images share a class.
    """
    members = np.flatnonzero(folder == KNOWN[0])
    others = folder == KNOWN[1]
    persons, nearest = person[members], close.nearest[members]
    common, pairs = 0, 0  # pairs of one person's members, and how many of them have a common class
    for name in np.unique(persons):
        classes = nearest[persons == name][:20]
        first, second = np.triu_indices(len(classes), 1)
        common += int((classes[first] == classes[second]).sum())
        pairs += len(first)
    if pairs < 2 * FOLDS * FEWEST:
        return False
    together = stats.binomtest(common, pairs).proportion_ci().high
    own = len(np.unique(nearest)) / len(members)
    labels = np.repeat([True, False], [len(members), others.sum()])
    alike = roc_auc_score(labels, np.concatenate([close.second[members], close.first[others]]))
    return bool(together < APART and own > 1 - APART and abs(alike - 0.5) < NEAR)


def p_values(
    scores: np.ndarray,
    others: np.ndarray,
    asked: np.ndarray,
    folds: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Return p of each image in question: how often a known non-member stands out as much.

    In each deal an image is ranked among the known non-members of its fold (`ranks`), for scores of different
    folds are of different models. The mean rank over the deals is then ranked among those of all known
    non-members. Known non-members are weighted so that people weigh as among the images in question, and the
    image itself counts among them (conformal, arXiv 2104.08279; weighted, arXiv 1904.06019).

    Args:
        scores: (deals, N).
        others: (N,) bool, known non-members.
        asked: (N,) bool, in question.
        folds: (deals, N) int64.
        weights: (N,), the weight of the person of each image.
    """
    deals = zip(scores, folds, strict=True)
    mean = np.mean([ranks(deal, others, asked, fold, weights) for deal, fold in deals], axis=0)
    known = np.flatnonzero(others)
    known = known[np.argsort(mean[known], kind="stable")]
    to = np.concatenate([[0.0], np.cumsum(weights[known])])
    place = np.searchsorted(mean[known], mean[asked] + ROUNDING, side="right")
    own = weights[asked]
    return (own + to[place]) / (own + to[-1])


def ranks(
    scores: np.ndarray,
    others: np.ndarray,
    asked: np.ndarray,
    folds: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Return (N,) the share of known non-members of its fold, and the image itself, that score as high.

    A known non-member is ranked among the others, whose weights are scaled up to the sum of all. Images that
    are neither known non-members nor in question are NaN. The arguments are those of `p_values` for one deal.
    """
    found = np.full(len(scores), np.nan)
    for fold in np.unique(folds[asked]):
        known = np.flatnonzero(others & (folds == fold))
        known = known[np.argsort(scores[known], kind="stable")]
        below = np.concatenate([[0.0], np.cumsum(weights[known])])
        for kind in (asked, others):
            mine = np.flatnonzero(kind & (folds == fold))
            own = weights[mine]
            above = below[-1] - below[np.searchsorted(scores[known], scores[mine], side="left")]
            if kind is others:  # not among itself
                above = (above - own) * below[-1] / np.maximum(below[-1] - own, ROUNDING)
            found[mine] = (own + above) / np.maximum(own + below[-1], ROUNDING)
    return found


def by_images(images: pd.DataFrame, answers: pd.DataFrame, part: np.ndarray) -> pd.DataFrame:
    """Return how a test works by the number of images that a person has here: one line a range of it.

    Args:
        images: One line an image: database, key, person, score.
        answers: One line an image in question: key, named.
        part: (N,) bool, the images that take part.

    Returns:
        images a person; people, in question, named; auc_within: how often a known member scores higher than a
        known non-member of the same person.
    """
    here = images[part]
    size = images["person"].map(images["person"].value_counts())[part]
    lines = []
    for low, high in itertools.pairwise(SIZES):
        some = here[(size > low) & (size <= high)]
        if len(some):
            keys = some["key"][some["database"] == QUESTIONED]
            asked = answers[answers["key"].isin(keys)]
            title = f"{low + 1} to {high}" if high < np.inf else f"{low + 1} and more"
            counts = some["person"].nunique(), len(asked), int(asked["named"].sum())
            lines.append((title, *counts, _within(some)))
    columns = ["images a person", "people", "in question", "named", "auc_within"]
    return pd.DataFrame(lines, columns=columns)


def _within(images: pd.DataFrame) -> float:
    """Return the area under the ROC curve of scores within people; pairs of all people count alike."""
    right, pairs = 0.0, 0
    for _, own in images.groupby("person"):
        first, second = (own["score"][own["database"] == name].to_numpy() for name in KNOWN)
        above = np.sign(first[:, None] - second)
        right, pairs = right + (above + 1).sum() / 2, pairs + above.size
    return right / pairs if pairs else np.nan
