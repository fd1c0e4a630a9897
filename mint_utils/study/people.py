"""Did they train on me? Whether a person was shown to M, asked with k photographs of that person.

Networks are trained on thirds of the people: A, whom the question is about, B, who were not shown to the
network of A, and C, who are set aside. The tables say how well the people of A are distinguished from those
of B, with used and with unused photographs, and the same for networks that cannot know.

Only outcomes and ledgers of the networks are read (`Audit.outcomes`).
"""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from mint_utils import store
from mint_utils.audited.train import AuditedModel
from mint_utils.data.membership import uniform
from mint_utils.errors import DataError
from mint_utils.measure.bootstrap import LEVEL, Estimate, auc, pairs, verdict
from mint_utils.measure.detection import ONCE, low_fpr
from mint_utils.mint import people
from mint_utils.report.tables import MISSING
from mint_utils.study import scenarios
from mint_utils.study.audit import Audit, Outcomes
from mint_utils.study.claims import STABLE
from mint_utils.study.controls import blind_features, untrained

PHOTOGRAPHS = (1, 2, 3, 5, 10, 20)
CHOICES = 10  # random choices of the photographs of each person
FEWEST = 20  # people of either kind, the least for which there is a number
MOST = 2000  # people of either kind that are asked about, and people of the crowd
PERMUTATIONS = 100
LEAST_POINTS = 3  # of a power law
ADVANTAGE = "2 AUC - 1"
VERSION = 1  # of the table: raised when the same outcomes give other numbers
MINT, LARGEST, SIMILARITY = "MINT Model", "largest cosine", "similarity"
TOLD = 5  # photographs for which sentences report numbers
NONE, THIRD, OTHER, UNTRAINED = "none", "third people", "other people", "untrained"
BLIND, PERMUTED, MATCHED = "blind", "permuted", "matched"
CONTROLS = NONE, THIRD, OTHER, UNTRAINED, BLIND, PERMUTED, MATCHED
NUMBERS = ("auc", "low", "high", "tpr_at_1pct_fpr", "tpr_at_01pct_fpr", "n")
COLUMNS = ("reading", "head", "photographs", "used", "control", *NUMBERS)
YES_NO = {True: "yes", False: "no"}


@dataclass(frozen=True)
class Asked:
    """People in question who have enough photographs of a kind.

    Attributes:
        identities: (P,) int64.
        shown: (P,) bool, True for people of A.
        photographs: The indices of those photographs in D, of each person.
    """

    identities: np.ndarray
    shown: np.ndarray
    photographs: list[np.ndarray]

    @property
    def enough(self) -> bool:
        """Whether there are enough people of either kind for a number."""
        return min(self.shown.sum(), (~self.shown).sum()) >= FEWEST

    def only(self, places: np.ndarray) -> "Asked":
        """Return some of these people."""
        photographs = [self.photographs[i] for i in places]
        return Asked(self.identities[places], self.shown[places], photographs)


class People:
    """The question about persons, for one configuration."""

    def __init__(self, audit: Audit):
        self.audit = audit
        self.replicates = audit.config.mint.replicates

    # ---- who was shown ------------------------------------------------------------------------

    def models(self, third: str) -> list[AuditedModel]:
        """Return the networks trained on a third of the people, ``a``, ``b`` or ``c``, one a seed."""
        config = self.audit.config
        columns = {c.recipe.shown: c for c in scenarios.columns(config, "people")}
        return self.audit.trained("people", columns[f"people-{third}"]).models

    @functools.cached_property
    def ledgers(self) -> dict[str, pd.DataFrame]:
        """Third -> the ledger of its network: key, class, exposures, one line an image of D.

        Raises:
            DataError: A person was shown to the networks of two thirds.
        """
        ledgers = {third: self.models(third)[0].ledger for third in "abc"}
        known = np.stack([ledger["class"].to_numpy() >= 0 for ledger in ledgers.values()])
        if (known.sum(axis=0) > 1).any():
            twice = self.audit.training.keys[np.argmax(known.sum(axis=0) > 1)]
            raise DataError(
                f"The person of image {twice} was shown to networks of two thirds of the people, by their "
                "ledgers: delete these networks and they are trained again."
            )
        return ledgers

    def kinds(self) -> pd.DataFrame:
        """Return the photographs of each kind, by the ledger of the network of people A.

        Returns:
            One line a kind: photographs, people, images, exposures (least to most of the training).
        """
        classes, exposures = (self.ledgers["a"][name].to_numpy() for name in ("class", "exposures"))
        kinds = {
            "used": exposures > 0,
            "unused, of a person who was shown": (exposures == 0) & (classes >= 0),
            "of a person never shown": classes < 0,
        }
        identities, lines = self.audit.training.identities, []
        for name, mask in kinds.items():
            persons, ends = np.unique(identities[mask]), np.unique(exposures[mask])[[0, -1]]
            line = {"photographs": name, "people": len(persons), "images": int(mask.sum())}
            lines.append(line | {"exposures": " to ".join(map(str, dict.fromkeys(ends.tolist())))})
        return pd.DataFrame(lines)

    def asked(self, used: bool, photographs: int) -> Asked:
        """Return the people of A and B who have so many photographs of a kind.

        Args:
            used: Whether to take the photographs that the network of a person's own third was shown, so for B
                those of B's network, and A and B differ in membership alone; else those shown to no network.
            photographs: The number k that a person must have.
        """
        d, seed = self.audit.training, self.audit.config.databases.partition_seed
        shown = {third: self.ledgers[third]["exposures"].to_numpy() > 0 for third in "ab"}
        of_kind = (shown["a"] | shown["b"]) == used
        chosen: list[tuple[int, bool, np.ndarray]] = []
        for third in "ab":
            known = self.ledgers[third]["class"].to_numpy() >= 0
            indices = np.flatnonzero(known & of_kind)
            identities, counts = np.unique(d.identities[indices], return_counts=True)
            in_order = indices[np.argsort(d.identities[indices], kind="stable")]
            by_person = np.split(in_order, np.cumsum(counts)[:-1])
            able = [i for i, own in enumerate(by_person) if len(own) >= photographs]
            if not able:
                continue
            order = np.argsort(uniform(d.name, identities[able], "people-asked", seed))[:MOST]
            some = [able[i] for i in sorted(order)]
            chosen += [(int(identities[i]), third == "a", by_person[i]) for i in some]
        names, labels, own = zip(*chosen, strict=True) if chosen else ((), (), ())
        return Asked(np.array(names, np.int64), np.array(labels, bool), list(own))

    # ---- networks that are read ---------------------------------------------------------------

    def untrained(self, model: AuditedModel) -> Outcomes:
        """Return the outcomes of a network before its training."""
        return self.audit.outcomes(untrained(self.audit, model), audited=model)

    @functools.cached_property
    def blind(self) -> Outcomes:
        """The features of a general network, which was not trained on these people, without class centres.

        The lengths are those of the network of people C, which was shown neither A nor B. The length of an
        outcome grows with how recognisable a photograph is, and so is a proxy of fame.
        """
        d = self.audit.training
        features = blind_features([(d, np.arange(len(d)))])
        general = np.asarray(features.array[:, features.rows["general"]])
        general = (general - general.mean(axis=0)) / np.maximum(general.std(axis=0), 1e-6)
        units = general / np.linalg.norm(general, axis=1, keepdims=True)
        norms = self.audit.outcomes(self.models("c")[0]).norms
        return Outcomes(units, norms, np.empty((0, units.shape[1])), np.full(len(d), -1))

    def networks(self, control: str) -> list[Outcomes]:
        """Return the outcomes that a control reads instead of those of the network of A, one a training."""
        if control == BLIND:
            return [self.blind]
        if control == UNTRAINED:
            return [self.untrained(model) for model in self.models("a")]
        third = {NONE: "a", OTHER: "b", THIRD: "c"}[control]
        return [self.audit.outcomes(model) for model in self.models(third)]

    @functools.cached_property
    def crowd(self) -> list[np.ndarray]:
        """The photographs of people of C, indices in D: the crowd, who are not asked about."""
        d, seed = self.audit.training, self.audit.config.databases.partition_seed
        indices = np.flatnonzero(self.ledgers["c"]["class"].to_numpy() >= 0)
        identities = np.unique(d.identities[indices])
        order = np.argsort(uniform(d.name, identities, "people-crowd", seed))[:MOST]
        return [indices[d.identities[indices] == person] for person in identities[order]]

    def readings(self, network: Outcomes, picks: np.ndarray) -> dict[str, np.ndarray]:
        """Return the readings (R, P) of people by a network, for choices (R, P, k) of their photographs."""
        units, norms = network.units, network.norms
        means = np.stack([units[indices].mean(axis=0) for indices in self.crowd])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        centres = network.centres if len(network.centres) else None
        each = [people.read(units[pick], norms[pick], means, centres) for pick in picks]
        return {name: np.stack([found[name] for found in each]) for name in each[0]}

    # ---- tables -------------------------------------------------------------------------------

    @functools.cached_property
    def table(self) -> pd.DataFrame:
        """How well people are distinguished: one line a reading, number of photographs, kind and control.

        The columns are `COLUMNS`. Numbers of photographs that fewer than `FEWEST` people of either kind have
        are left out.
        """

        def make(folder: Path) -> None:
            self._lines().to_csv(folder / "people.csv", index=False)

        models = {third: [m.artifact.digest for m in self.models(third)] for third in "abc"}
        spec = {"version": VERSION, "models": models, "replicates": self.replicates}
        return pd.read_csv(store.fetch("people", spec, make).folder / "people.csv")

    def _lines(self) -> pd.DataFrame:
        lines = []
        for used, k in itertools.product((True, False), PHOTOGRAPHS):
            asked = self.asked(used, k)
            if not asked.enough:
                continue
            where = {"photographs": k, "used": YES_NO[used]}
            for (reading, head), control, found in self._cells(asked, k):
                line = {"reading": reading, "head": YES_NO[head], "control": control}
                lines.append(line | where | found)
        if not lines:
            name = self.audit.training.name
            raise DataError(
                f"Database {name!r} has fewer than {FEWEST} people of A or of B, so nothing can be said of "
                "people: take a larger one."
            )
        return pd.DataFrame(lines, columns=list(COLUMNS))

    def _cells(self, asked: Asked, k: int) -> Iterator[tuple[tuple[str, bool], str, dict]]:
        picks = people.chosen(asked.photographs, k, CHOICES)
        groups = {
            control: (asked, [self.readings(network, picks) for network in self.networks(control)])
            for control in (NONE, THIRD, OTHER, UNTRAINED, BLIND)
        }
        read, kept = groups[NONE][1], matched(asked)
        if asked.only(kept).enough:
            fewer = [{name: values[:, kept] for name, values in each.items()} for each in read]
            groups[MATCHED] = asked.only(kept), fewer
        deals = permuted(read, asked.shown)
        for name, (line, _) in deals.items():
            yield name, PERMUTED, line
        for control, (group, found) in groups.items():
            for name, scores in scored(found, group.shown).items():
                yield name, control, measured(group, scores, self.replicates, deals[name][1])


def measured(
    asked: Asked, scores: np.ndarray, replicates: int, wider: float = 1.0
) -> dict[str, float]:
    """Return how well people are distinguished: auc, low, high, tpr_at_1pct_fpr, tpr_at_01pct_fpr, n.

    Scores (M, R, P) are of M networks for R choices of photographs. The bootstrap is over people, and over
    networks or choices. Its interval is widened by a factor, see `permuted`.
    """
    found = auc(asked.shown, scores, asked.identities, replicates).widened(wider)
    value, low, high = np.clip(found, 0.0, 1.0).tolist()
    rates = low_fpr(asked.shown, scores.reshape(-1, len(asked.shown)))
    return {"auc": value, "low": low, "high": high} | rates | {"n": len(asked.shown)}


def matched(asked: Asked) -> np.ndarray:
    """Return (Q,) places of people, as many of A as of B for every number of photographs."""
    counts = np.array([len(own) for own in asked.photographs])
    kept = [np.empty(0, np.int64)]
    for count in np.unique(counts):
        alike = counts == count
        sides = [np.flatnonzero(alike & side) for side in (asked.shown, ~asked.shown)]
        n = min(map(len, sides))
        kept += [np.random.default_rng(int(count)).permutation(side)[:n] for side in sides]
    return np.sort(np.concatenate(kept))


def scored(
    read: Sequence[Mapping[str, np.ndarray]], shown: np.ndarray
) -> dict[tuple[str, bool], np.ndarray]:
    """Return (reading, head) -> (M, R, P) scores: each reading by itself, and the MINT Models on them.

    Args:
        read: For each of M networks, reading -> (R, P).
        shown: (P,) bool.
    """
    heads = {name: people.READINGS[name].head for name in read[0]}
    scores = {(name, head): np.stack([each[name] for each in read]) for name, head in heads.items()}
    for with_head in (True, False) if any(heads.values()) else (False,):
        names = [name for name, head in heads.items() if with_head or not head]
        inputs = [np.stack([each[name] for name in names], axis=2) for each in read]
        scores[MINT, with_head] = np.stack([people.cross_fitted(x, shown) for x in inputs])
    return scores


def permuted(
    read: Sequence[Mapping[str, np.ndarray]], shown: np.ndarray
) -> dict[tuple[str, bool], tuple[dict[str, float], float]]:
    """Return the numbers after the labels of people were permuted, many times; the arguments are of `scored`.

    Returns:
        (reading, head) -> the numbers of a line of the table, and a factor for intervals. The numbers are
        means over the permutations; low and high are the middle 95% of their areas. The factor is the
        standard deviation of the areas over the one by DeLong's variance, 1 for a single reading. It is
        larger for a MINT Model, because the people who train one fold are evaluated in another.
    """
    rng = np.random.default_rng(0)
    found: dict[tuple[str, bool], list[tuple[float, ...]]] = {}
    for _ in range(PERMUTATIONS):
        labels = rng.permutation(shown)
        for name, scores in scored(read, labels).items():
            each = scores.reshape(-1, len(labels))
            numbers = *_area(labels, each), *low_fpr(labels, each).values()
            found.setdefault(name, []).append(numbers)
    return {name: _deals(name[0], np.array(values), len(shown)) for name, values in found.items()}


def _deals(reading: str, values: np.ndarray, n: int) -> tuple[dict[str, float], float]:
    areas, variances, *rates = values.T
    low, high = np.quantile(areas, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    numbers = areas.mean(), low, high, *(rate.mean() for rate in rates), n
    line = dict(zip(NUMBERS, numbers, strict=True))
    wider = areas.std() / np.sqrt(variances.mean()) if reading == MINT else 1.0
    return line, max(1.0, wider)


def _area(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Return the area of (S, n) scores, the mean over S, and its variance over people (DeLong)."""
    above = pairs(labels, scores)
    variance = sum(above.mean(axis=i).var() / above.shape[1 - i] for i in (0, 1))
    return float(above.mean()), float(variance)


def images_a_person(persons: People) -> pd.DataFrame:
    """Return how well images and people are distinguished if M was shown at most so many images of each.

    By the largest cosine to a class centre: single images, used from unused ones of the same people, and
    people of A from those of B with 1 and 5 unused photographs, the same for all networks.

    Returns:
        One line a network and question: question, most, images (mean number a person), exposures (mean of an
        image), auc, low, high, tpr_at_1pct_fpr, tpr_at_01pct_fpr, n. Empty if the profile asks for no such
        network.
    """
    lines, audit = [], persons.audit
    for column in scenarios.columns(audit.config, "images_a_person"):
        models = audit.trained("images_a_person", column).models
        ledger, read = models[0].ledger, [audit.outcomes(model) for model in models]
        exposures, known = ledger["exposures"].to_numpy(), ledger["class"].to_numpy() >= 0
        used = exposures > 0
        line = {"most": int(column.name), "images": used.sum() / (ledger["class"].max() + 1)}
        line |= {"exposures": exposures[used].mean()}
        for question, asked, scores in _questions(persons, read, known, used):
            found = measured(asked, scores, persons.replicates)
            lines.append({"question": question} | line | found)
    columns = ["question", "most", "images", "exposures", *NUMBERS]
    return pd.DataFrame(lines, columns=columns)


def _questions(
    persons: People, read: Sequence[Outcomes], known: np.ndarray, used: np.ndarray
) -> Iterator[tuple[str, Asked, np.ndarray]]:
    own = Asked(persons.audit.training.identities[known], used[known], [])
    nearest = [(network.units[known] @ network.centres.T).max(axis=1) for network in read]
    yield "image: used or not?", own, np.stack(nearest)[:, None]
    for k in (1, 5):
        asked = persons.asked(False, k)
        if asked.enough:
            picks = people.chosen(asked.photographs, k, CHOICES)
            scores = np.stack([persons.readings(network, picks)[LARGEST] for network in read])
            yield f"person, by {k} unused: shown or not?", asked, scores


def power_laws(found: pd.DataFrame) -> pd.DataFrame:
    """Return how fast detection falls with the images a person: advantage ~ images ** exponent.

    As in arXiv 2402.06674, a line is fitted through the logarithms, for 2 AUC - 1 and for the true-positive
    less the false-positive rate at 1%. The theory there has the exponent -1/2.

    Args:
        found: The lines of `images_a_person`.

    Returns:
        question, of (which advantage), exponent, low, high (Student's t), points (those above zero).
    """
    lines = []
    for question, points in found.groupby("question", sort=False):
        at_1pct = points["tpr_at_1pct_fpr"] - 0.01
        for name, advantage in ((ADVANTAGE, 2 * points["auc"] - 1), ("TPR - FPR at 1%", at_1pct)):
            above = advantage > 0
            line = {"question": question, "of": name, "points": int(above.sum())}
            if above.sum() >= LEAST_POINTS:
                fitted = stats.linregress(np.log(points["images"][above]), np.log(advantage[above]))
                half = stats.t.ppf((1 + LEVEL) / 2, above.sum() - 2) * fitted.stderr
                line |= {"exponent": fitted.slope}
                line |= {"low": fitted.slope - half, "high": fitted.slope + half}
            lines.append(line)
    names = ["question", "of", "exponent", "low", "high", "points"]
    return pd.DataFrame(lines).reindex(columns=names)


def at(table: pd.DataFrame, used: bool) -> int:
    """Return the number of photographs for which sentences report: `TOLD`, or the next below in the table."""
    there = table[table["used"] == YES_NO[used]]["photographs"]
    return int(there[there <= TOLD].max())


def line_of(
    table: pd.DataFrame, reading: str, head: bool, used: bool, control: str = NONE
) -> pd.Series | None:
    """Return the line of a reading at the number of photographs of `at`, or None where there is none."""
    where = {"reading": reading, "head": YES_NO[head], "used": YES_NO[used], "control": control}
    where |= {"photographs": at(table, used)}
    found = table[np.logical_and.reduce([table[name] == value for name, value in where.items()])]
    return found.iloc[0] if len(found) else None


def claims(table: pd.DataFrame, trainings: int) -> pd.DataFrame:
    """Return claims about `People.table`, decided by its intervals.

    Args:
        table: The lines of `People.table`.
        trainings: Of each network. With one alone there is no verdict, as for the claims of the paper.

    Returns:
        claim, area (with its interval), people, verdict. That a control distinguishes nobody is a claim of
        sameness: it is supported if the interval lies within `claims.STABLE` of .50.
    """
    asked: list[tuple[str, tuple, str]] = []
    for used in (False, True):
        kind = f"{at(table, used)} {'used' if used else 'unused'}"
        text = f"{kind}, with the head: people who were shown are detected"
        asked += [
            (text, (LARGEST, True, used), "above"),
            (f"{kind}, without the head: they are detected", (SIMILARITY, False, used), "above"),
            (
                f"{kind}, MINT Model without the head: they are detected",
                (MINT, False, used),
                "above",
            ),
        ]
    head, without = (LARGEST, True, False), (MINT, False, False)
    asked += [
        ("a network that saw neither is at chance", (*head, THIRD), "chance"),
        ("a network that saw the others reverses the answer", (*head, OTHER), "below"),
        ("an untrained network is at chance", (*head, UNTRAINED), "chance"),
        ("a general network and fame are at chance", (*without, BLIND), "chance"),
        ("with shuffled labels the area is at chance", (*head, PERMUTED), "chance"),
        ("matched by number of photographs, people are detected", (*head, MATCHED), "above"),
    ]
    lines = []
    for text, where, expected in asked:
        found = line_of(table, *where)
        if found is not None:
            word = ONCE if trainings == 1 else _verdict(found, expected)
            line = {"claim": text, "area": str(estimate(found)), "people": int(found["n"])}
            lines.append(line | {"verdict": word})
    return pd.DataFrame(lines)


def controls(table: pd.DataFrame) -> pd.DataFrame:
    """Return the areas of `People.table` with unused photographs: a line a control, a column a reading."""
    lines = []
    for control in CONTROLS:
        line = {"control": control}
        for reading, head in ((LARGEST, True), (MINT, True), (SIMILARITY, False), (MINT, False)):
            cell = line_of(table, reading, head, False, control)
            title = f"{reading}, {'head' if head else 'no head'}"
            line[title] = MISSING if cell is None else str(estimate(cell))
        lines.append(line)
    return pd.DataFrame(lines)


def told_images(counted: pd.DataFrame, laws: pd.DataFrame) -> str:
    """Return in words how detection changes with the images a person.

    The tables are those of `images_a_person` and `power_laws`.
    """
    if counted.empty:
        return (
            "This profile asks for no such networks. The parameter `images_a_person` does, with `[1, 2, 5]` "
            "say; `faces_small` has them."
        )
    said = []
    for question, lines in counted.groupby("question", sort=False):
        areas = ", ".join(
            f"{estimate(line)} at {line['images']:.1f} images" for _, line in lines.iterrows()
        )
        law = laws[(laws["question"] == question) & (laws["of"] == ADVANTAGE)].iloc[0]
        fitted = "no power law can be fitted to so few points above chance"
        if law["points"] >= LEAST_POINTS:
            ends = f"[{law['low']:.2f}, {law['high']:.2f}]"
            fitted = f"2 AUC - 1 goes with the power {law['exponent']:.2f} {ends}"
        said.append(f"* {question} {areas}; {fitted}.")
    return "\n".join(said)


def _verdict(found: pd.Series, expected: str) -> str:
    low, high = found["low"] - 0.5, found["high"] - 0.5
    if expected == "chance":
        return verdict(low, high, STABLE)
    return verdict(low, high) if expected == "above" else verdict(-high, -low)


def conclusion(table: pd.DataFrame, trainings: int) -> str:
    """Return in words what `People.table` says, with so many trainings of each network."""
    said = []
    for used in (False, True):
        k, kind = at(table, used), "used" if used else "unused"
        head = line_of(table, LARGEST, True, used)
        without = (line_of(table, reading, False, used) for reading in (SIMILARITY, MINT))
        best = max((line for line in without if line is not None), key=lambda line: line["auc"])
        said.append(
            f"**{k} {kind} photographs, {head['n']} people.** With the head {_told_apart(head)}: the area is "
            f"{estimate(head)} by the {LARGEST} to a class centre. It finds {head['tpr_at_1pct_fpr']:.0%} of "
            "the people who were shown where at most 1% of the others are taken for one of them. Without the "
            f"head {_told_apart(best)}: the best area is {estimate(best)}."
        )
    null = line_of(table, LARGEST, True, False, THIRD)
    said.append(
        f"Read from a network that saw none of these people, {_told_apart(null)}: {estimate(null)}."
    )
    if trainings == 1:
        said.append("Each network was trained once: another training may give other numbers.")
    return "\n\n".join(said)


def _told_apart(found: pd.Series) -> str:
    """Return in words whether a line distinguishes people by its interval."""
    if found["low"] > 0.5:
        return "people who were shown are distinguished from others"
    return "people who were shown are not distinguished from others"


def estimate(found: pd.Series) -> Estimate:
    """Return the area of a line with its interval."""
    return Estimate.read(found, "auc")
