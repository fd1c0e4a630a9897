"""An audit of one's own: a network, images known to be members or not, and images in question.

It measures how well MINT Models distinguish known members from known non-members by the network, by the same
network untrained, and without any network. It tests whether the images in question are like the known ones,
and estimates how many of them were members, and which.

The question is whether an image was used, not whether its person is in D. So each person takes part with as
many known members as known non-members, and only images in question of these people take part: what belongs
to the person is then the same on both sides. People fall into three folds. A MINT Model is trained on the
known images of two folds and judges all images of the third. So no image is judged by a model that saw its
person, and images in question are judged as known ones are. People are dealt into folds several times
(`DEALS`). What is read was fixed beforehand: nothing is chosen by its result.
"""

import functools
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from mint_utils.measure.bootstrap import Decided, Estimate, auc, interval, prevalence
from mint_utils.measure.detection import THRESHOLD, decided, summarise
from mint_utils.mint import readings
from mint_utils.study import design
from mint_utils.study.audit import Audit, Features
from mint_utils.study.casecommon import (
    LIKE,
    SEEN,
    TRAINED,
    OwnAudit,
    alike,
    condition,
    enough,
)
from mint_utils.study.casefiles import BLIND, NETWORK, UNTRAINED, doubt, read
from mint_utils.study.casepeople import PeopleCase
from mint_utils.study.controls import blind_features
from mint_utils.study.design import (
    FALSE,
    FEWEST_PEOPLE,
    FOLDS,
    KNOWN,
    QUESTIONED,
    Closeness,
    Design,
)

DEALS = 10  # of people into folds, at least; or as many as trainings of the MINT Model
FEWER = 5  # of rows that are shown beside that of the answer, and of the likeness

SAME = "known members and non-members are of the same people"
OF_THESE = "images in question are of these people"
TOLD = "known members are distinguished from known non-members"
MATCHED = "known members and non-members are photographed alike"
NEARER = "known members lie nearer to the class centres"
ALIKE = "the images in question are like the known ones"
OWN = "images that stand out have a class of their own"
WRONG = (
    "It would be wrong if known members differ from known non-members of the same people in more than "
    "membership, or images in question from both, in a way that cannot be seen without the network"
)


def opened(audit: Audit) -> "Case | PeopleCase":
    """Return an audit of one's own about images, or about persons if the parameter ``question`` says so."""
    return PeopleCase(audit) if audit.config.brought.question == "persons" else Case(audit)


class Case(OwnAudit):
    """The MINT Models of an audit about images, and the answers that they allow."""

    question, column = "images", "key"

    def __init__(self, audit: Audit):
        """Find what is brought; see `casefiles.CaseFiles`."""
        super().__init__(audit)
        self.audit = Audit(audit.config.replace(mint_seeds=1))  # one training a deal
        self.deals = max(DEALS, audit.config.mint.mint_seeds)

    @functools.cached_property
    def row(self) -> str:
        """The row that the answer reads: class centres if there are any, else all layers or the outcome."""
        if self.files.centres is not None:
            return readings.CENTRES
        return "All Conv Layers" if len(self.files.layers()) else "Model Outcome"

    @functools.cached_property
    def features(self) -> dict[str, Features]:
        """The features of the network, of the same network untrained, and of the image alone."""
        untrained = read(self.files, UNTRAINED)
        answer = replace(untrained, rows={self.row: untrained.rows[self.row]})
        return {
            NETWORK: read(self.files, NETWORK),
            UNTRAINED: answer,
            BLIND: blind_features(self.files.runs),
        }

    @functools.cached_property
    def closeness(self) -> Closeness | None:
        """How near images lie to the two nearest class centres; None where there are none."""
        features, centres = self.features[NETWORK], self.files.centres
        if centres is None or "Model Outcome" not in features.rows:
            return None
        return design.closeness(features.array[:, features.rows["Model Outcome"]], centres)

    @functools.cached_property
    def design(self) -> Design:
        """Which images take part, and the folds of their people in each deal."""
        files = self.files
        return design.designed(files.images, self.closeness, files.unknown, self.deals, files.seed)

    # ---- what MINT Models make of it ----------------------------------------------------------

    def inside(self, *folders: str) -> np.ndarray:
        """Return which images lie in folders and take part."""
        return self.files.images["database"].isin(folders).to_numpy() & self.design.part

    @property
    def _persons(self) -> np.ndarray:
        return self.files.images["person"].to_numpy()

    @functools.cached_property
    def _scores(self) -> dict[str, dict[str, np.ndarray]]:
        """Reader -> row -> (deals, N) float32: scores by MINT Models that never saw the person."""
        usable, labels = self.inside(*KNOWN), self.inside(KNOWN[0])
        scores: dict[str, dict[str, np.ndarray]] = {}
        for reader, features in self.features.items():
            scores[reader] = {}
            for row in features.rows:
                beside = row != self.row and self.row in features.rows
                deals = FEWER if beside else self.deals
                scores[reader][row] = self._judged(features, row, usable, labels, deals)
        return scores

    def _judged(
        self, features: Features, row: str, usable: np.ndarray, labels: np.ndarray, deals: int
    ) -> np.ndarray:
        """Return (deals, N) float32: the scores by one row; see `design.splits` for the arguments."""
        most, images = self.audit.config.mint.mint_samples // 2, self.files.images
        splits = design.splits(self.design, images, usable, labels, most, deals)
        found = self.audit.mint(replace(features, rows={row: features.rows[row]}), splits).scores
        judged = np.full((deals, len(images)), np.nan, np.float32)
        for i, (key, split) in enumerate(splits.splits.items()):
            judged[i // FOLDS, split.evaluation] = found[key, row][0]
        return judged

    def decided(self, reader: str, row: str, times: np.ndarray | int = 1) -> Decided:
        """Return how known images are decided by one reader and row, each counted so many times."""
        known = np.repeat(np.flatnonzero(self.inside(*KNOWN)), times)
        scores = self._scores[reader][row][None]
        return dealt(
            decided(self.inside(KNOWN[0])[known], scores[..., known], self._persons[known])
        )

    @functools.cached_property
    def cells(self) -> pd.DataFrame:
        """How well known members are distinguished from known non-members: one line a reader and row.

        Returns:
            row, column (the reader), accuracy, low, high, auc, tpr_at_1pct_fpr, tpr_at_01pct_fpr, n.
        """
        known, persons, lines = self.inside(*KNOWN), self._persons, []
        for reader, rows in self._scores.items():
            for row, scores in rows.items():
                labels, judged = self.inside(KNOWN[0])[known], scores[None][..., known]
                found = summarise(labels, judged, persons[known], self.replicates)
                _, low, high = interval([(1, self.decided(reader, row))], self.replicates)
                ends = {"low": max(low, 0.0), "high": min(high, 1.0)}
                lines.append({"row": row, "column": reader} | found | ends)
        return pd.DataFrame(lines)

    @property
    def blind_row(self) -> str:
        """The blind baseline that distinguishes known members and non-members best."""
        cells = self.cells[self.cells["column"] == BLIND]
        return cells.loc[cells["accuracy"].idxmax(), "row"]

    # ---- what may be said ---------------------------------------------------------------------

    @functools.cached_property
    def verdicts(self) -> pd.DataFrame:
        """What must hold before anything is said of the images in question, see `decide`."""
        return decide(self)

    @functools.cached_property
    def _p(self) -> np.ndarray:
        asked, others = self.inside(QUESTIONED), self.inside(KNOWN[1])
        scores = self._scores[NETWORK][self.row]
        return design.p_values(scores, others, asked, self.design.folds, self.design.weights)

    @property
    def _stand_out(self) -> np.ndarray:
        """Whether each image in question stands out, by Benjamini and Hochberg at `FALSE`."""
        return stats.false_discovery_control(self._p) <= FALSE

    @functools.cached_property
    def answers(self) -> pd.DataFrame:
        """The answer about each image in question that is judged, the likeliest members first.

        Returns:
            key, person, score (mean over the deals), p: how often a known non-member stands out as much
            (`design.p_values`); named: whether it is one of those of which at most `FALSE` are expected to be
            named wrongly (Benjamini and Hochberg; arXiv 2508.07066). None is named unless `nothing` is empty.
        """
        scores, asked = self._scores[NETWORK][self.row], self.inside(QUESTIONED)
        lines, named = self.files.images[["key", "person"]][asked], self._stand_out & ~_taken(self)
        answers = lines.assign(
            score=scores[:, asked].mean(axis=0), p=self._p, named=named & (not self.nothing)
        )
        return answers.sort_values(["p", "score"], ascending=[True, False], ignore_index=True)

    @property
    def nothing(self) -> list[str]:
        """The conditions that fail, so that nothing may be said; empty where something may be said."""
        verdicts = self.verdict_of
        needed = (SAME, OF_THESE, TOLD, TRAINED, SEEN, MATCHED)
        failed = [question for question in needed if verdicts[question] != "supported"]
        return failed + [q for q in (NEARER, ALIKE, OWN) if verdicts.get(q) == "contradicted"]

    @functools.cache  # noqa: B019  (a case lives as long as its notebook)
    def share(self) -> Estimate:
        """Return the share of members among the images in question that are judged, by `prevalence`.

        Known people are weighted as among the images in question. NaN for few people, see `enough`.
        """
        asked, known = self.inside(QUESTIONED), self.inside(*KNOWN)
        called = self._scores[NETWORK][self.row][:, asked] > THRESHOLD
        persons = self._persons[asked]
        questioned = dealt(Decided(np.full(asked.sum(), True), called, persons))
        weights = self.design.weights[known]
        times = np.round(4 * weights / weights[weights > 0].mean()).astype(int)
        known = self.decided(NETWORK, self.row, times)
        found = prevalence(known, questioned, self.replicates)
        return enough(found, len(np.unique(persons)))

    @property
    def scores(self) -> pd.DataFrame:
        """The mean score of every image that takes part: folder, score."""
        mean = self._scores[NETWORK][self.row].mean(axis=0)
        lines = pd.DataFrame({"folder": self.files.images["database"], "score": mean})
        return lines[self.design.part].reset_index(drop=True)

    @functools.cache  # noqa: B019
    def by_images(self) -> pd.DataFrame:
        """Return how the test works by the number of images a person, see `design.by_images`."""
        images = self.files.images.assign(score=self._scores[NETWORK][self.row].mean(axis=0))
        return design.by_images(images, self.answers, self.design.part)

    def conclusion(self) -> str:
        """Return what this audit says, or why it can say nothing, in words made of its numbers."""
        return conclusion(self)


def decide(case: Case) -> pd.DataFrame:
    """What must hold before anything is said of the images in question.

    Returns:
        question, value, low, high, verdict. The value of the first two is the share of images that may take
        part. The next three are differences that must lie above zero. A blind baseline must not distinguish
        known members from known non-members (`casecommon.alike`): another camera would look like membership.
        The area under the ROC curve of closeness to the class centres, less .50, must not lie below zero. The
        accuracy by which blind baselines distinguish images in question from known ones must lie within
        `LIKE` above .50. Where classes are taken for images, the share of images that stand out and share
        their class with no other image must not lie below 1 - `APART`.
    """
    shares = zip(
        (SAME, OF_THESE),
        case.design.shares,
        (case.design.known, case.design.asked),
        strict=True,
    )
    lines = [
        {"question": question, "value": share, "low": np.nan, "high": np.nan,
         "verdict": "supported" if holds else "contradicted"}
        for question, share, holds in shares
    ]  # fmt: skip
    read_by = {NETWORK: case.row, UNTRAINED: case.row, BLIND: case.blind_row}
    lines += case.conditions(TOLD, [case.decided(*cell) for cell in read_by.items()])
    lines.append(alike(MATCHED, *_told_blindly(case)))
    if case.closeness is not None:
        lines.append(condition(NEARER, _nearer(case, case.closeness), 0.5))
    likeness = interval([(1, _likeness(case))], case.replicates)
    lines.append(condition(ALIKE, likeness, 0.5, LIKE))
    if case.design.classes:
        taken = _taken(case)[case._stand_out].mean() if case._stand_out.any() else 0.0
        holds = "supported" if taken <= design.APART else "contradicted"
        lines.append({"question": OWN, "value": 1 - taken, "verdict": holds})
    return pd.DataFrame(lines)


def _told_blindly(case: Case) -> Estimate:
    """Return how far above .50 the best blind baseline distinguishes known members, with its interval.

    The best of three is above chance by its own 95% interval more often than once in forty cases. So the
    interval is as wide as one that all of them keep together (Bonferroni).
    """
    found = interval([(1, case.decided(BLIND, case.blind_row))], case.replicates)
    alone, together = stats.norm.ppf([0.025, 0.025 / len(case.features[BLIND].rows)])
    return Estimate(*(end - 0.5 for end in found.widened(together / alone)))


def _likeness(case: Case) -> Decided:
    """Return how the best blind baseline distinguishes images in question from known ones."""
    part, asked, cells = case.design.part, case.inside(QUESTIONED), []
    blind = case.features[BLIND]
    for row in blind.rows:
        scores = case._judged(blind, row, part, asked, FEWER)
        cells.append(decided(asked[part], scores[None][..., part], case._persons[part]))
    return dealt(max(cells, key=lambda cell: cell.accuracies.mean()))


def _taken(case: Case) -> np.ndarray:
    """Return whether the class of an image in question is another image's, where classes are images."""
    if not case.design.classes:
        return np.zeros(len(case._p), bool)
    nearest = case.closeness.nearest
    asked = nearest[case.inside(QUESTIONED)]
    standing = case._stand_out
    twice = pd.Series(asked).where(standing).duplicated(keep=False).to_numpy() & standing
    return np.isin(asked, nearest[case.inside(KNOWN[0])]) | twice


def _nearer(case: Case, closeness: Closeness) -> Estimate:
    """Return how often a known member lies nearer to a class centre than a known non-member."""
    known = case.inside(*KNOWN)
    near = closeness.first[known][None]
    return auc(case.inside(KNOWN[0])[known], near, case._persons[known], case.replicates)


def dealt(cell: Decided) -> Decided:
    """Return a cell whose trainings are deals, with their spread enlarged so that intervals cover.

    Intervals take trainings for independent and divide their spread by the root of their number. But deals
    share all images, and images that happen to fit improve each of them. The spread of the deals is about as
    large as the change that another set of training images would bring, which the bootstrap of the images
    judged does not contain (``benchmarks/coverage.py``).
    """
    mean = cell.right.mean(axis=0)
    return replace(cell, right=mean + np.sqrt(len(cell.right)) * (cell.right - mean))


def conclusion(case: Case) -> str:
    """Return what an audit says, or why it can say nothing, in words."""
    doubtful = "" if NEARER in case.nothing else doubt(case.files)
    warning = f" {doubtful}" if doubtful else ""
    person = (
        " The question here is whether an image was used. Whether a person was shown, with whatever "
        "photographs, is another: `-p question persons` asks it."
    )
    if case.nothing:
        return (
            "**Nothing can be said of the images in question.** These conditions are not met: "
            f"{_failed(case)}. This is no sign that they were not used.{person}{warning}"
        )
    classes = "" if not case.design.classes else (
        " Each known member has a class of its own in the head, and lies to all other classes as known "
        "non-members do: so closeness is taken to be of the image and not of its person. If classes are "
        "of occasions, or the sub-folders no persons, this is wrong."
    )  # fmt: skip
    likeness = case.verdict_of[ALIKE]
    only = "" if likeness == "supported" else (
        " **But this holds only if the images in question are like the known ones**, "
        f"which is {likeness}: differences of preparation count as membership here."
    )  # fmt: skip
    exchanged = "" if case.closeness is not None else (
        " Without class centres nothing shows whether the folders members and non_members were exchanged: "
        "then the images that were named are those that were not used."
    )  # fmt: skip
    said = f"{_share(case)} {_named(case)}{_not_judged(case)}"
    return f"{said}{only}{classes}{person} {WRONG}.{exchanged}{warning}"


def _share(case: Case) -> str:
    """Return how many of the images in question were used, or why this is not said."""
    n, people = len(case.answers), case.answers["person"].nunique()
    value, low, high = case.share()
    if people < FEWEST_PEOPLE:
        return (
            f"How many of {n} images in question were used is not said: they are of {people} people, and "
            f"with fewer than {FEWEST_PEOPLE} the estimate misses the truth too often."
        )
    if np.isnan(value):
        return (
            f"How many of {n} images in question were used cannot be said: known images of their people "
            "are not distinguished."
        )
    return f"Of {n} images in question {value:.0%} [{low:.0%}, {high:.0%}] were used to train this network."


def _not_judged(case: Case) -> str:
    """Return how many images in question have no answer, and why."""
    others = (case.files.images["database"] == QUESTIONED).sum() - len(case.answers)
    said = "" if not others else (
        f" The other {others} are not judged: of their people no known members and "
        "known non-members were brought."
    )  # fmt: skip
    left = case.files.left_out
    copied = left[(left["folder"] == QUESTIONED) & left["also_in"].isin(KNOWN)]
    if len(copied):
        each = [f"{folder} ({n})" for folder, n in copied["also_in"].value_counts().items()]
        said += (
            f" Not among these: copies of images in {' and '.join(each)}, whose answer is known."
        )
    return said


def _failed(case: Case) -> str:
    """Return the conditions that fail, with what is known of the reason."""
    verdicts = case.verdict_of
    reasons = {
        SAME: case.design.reason,
        OF_THESE: case.design.reason,
        NEARER: "known members lie farther from the class centres than known non-members, as if the folders "
        "members and non_members were exchanged",
    }
    failed = [reasons.get(name) or f"{name} ({verdicts[name]})" for name in case.nothing]
    return "; ".join(dict.fromkeys(failed))


def _named(case: Case) -> str:
    """Return how many images can be named, of whom, and how many of these wrongly."""
    n = int(case.answers["named"].sum())
    if not n:
        return f"None can be named: the lowest p of {len(case.answers)} is {case._p.min():.4f}."
    lines = case.by_images()
    most = lines.loc[lines["named"].idxmax()]
    return (
        f"{n} can be named, of which at most {FALSE:.0%} are expected to be named wrongly (an expectation, "
        f"no bound for this case); {most['named']} of them are of people with {most['images a person']} "
        "images here."
    )
