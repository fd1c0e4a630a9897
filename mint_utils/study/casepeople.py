"""The other question of an own audit: was a person shown to the network, whatever the photographs?

An auditor brings photographs of people who are known to be in D (``members``), of people who are known not to
be (``non_members``), and of one or more people in question. Each of the latter gets an answer, and the share
of them that was shown is estimated.

One number is read of a person, fixed beforehand: with class centres the largest mean cosine to one of them,
without them how alike the photographs are (`mint.people`). No MINT Model is trained on it. Its p value is the
share of known people out who have at least as large a number with as many photographs. So it is valid if the
person in question differs from the known people out in membership alone. What can be seen of this without the
network is tested, for each person and for all together (`unlike`, `ALIKE`), and nobody who differs is named.
"""

import functools

import numpy as np
import pandas as pd
from scipy import stats

from mint_utils.data.membership import uniform
from mint_utils.errors import DataError, ParameterError
from mint_utils.measure.bootstrap import Decided, Estimate, interval, pairs, prevalence
from mint_utils.mint import people
from mint_utils.study.audit import Audit
from mint_utils.study.casecommon import OwnAudit, alike, enough
from mint_utils.study.casefiles import (
    BLIND,
    COPY,
    NETWORK,
    UNTRAINED,
    CaseFiles,
    doubt,
    name_of,
    read,
)
from mint_utils.study.controls import blind_features
from mint_utils.study.design import FALSE, FEWEST_PEOPLE, KNOWN, QUESTIONED, UNKNOWN

LEAST = {KNOWN[0]: 10, KNOWN[1]: 20}  # people: with 20 known people out the smallest p is 1/21
MOST = 20  # photographs of a person that are read
ODD = 0.1  # share of known people out who may look as unusual as a person who is judged
DEALS = 30  # of who is in question, for the interval of that area
CALLED = 0.2  # p below which a person counts as called, for the share of all
REFERENCE = 300  # known people out with whom a person is compared who may look unusual
AT_ONCE = 64  # people compared with all class centres at once

TOLD = "known people in are distinguished from known people out"
MATCHED = "known people in and out are photographed alike"
ALIKE = "people in question are photographed like known people out"
WRONG = (
    "It would be wrong if known people out were in D after all or differ from those in question in a way "
    "that cannot be seen without the network, or if a person resembles somebody in D: a twin, a relative. "
    "The share is too low if photographs of known people in were themselves used and those in question "
    "were not"
)


class PeopleCase(OwnAudit):
    """The readings of people, and the answers about those in question."""

    question, column = "persons", "person"

    def __init__(self, audit: Audit):
        """Find what is brought and count people.

        Raises:
            DataError: People are not known in a folder, or a person lies in two of them.
            ParameterError: Too few known people have photographs enough.
        """
        super().__init__(audit)
        _refuse(self.files)
        self.least = people.READINGS[self.row].least
        self.folder = self.people["folder"].to_numpy()

    @property
    def row(self) -> str:
        """The name of the reading (`mint.people`)."""
        return "similarity" if self.files.centres is None else "largest cosine"

    @functools.cached_property
    def people(self) -> pd.DataFrame:
        """One line a person: person, folder, photographs (how many take part), places (of these).

        The places are in an order by hash, for the first of them are read where not all are.
        """
        images, seed = self.files.images, self.files.seed
        names = (images["database"] + "/" + images["key"]).to_numpy(str)
        order = np.argsort(uniform("case", names, "people-pick", seed), kind="stable")
        ordered = pd.DataFrame({"place": order, "person": images["person"].to_numpy()[order]})
        places = ordered.groupby("person")["place"].apply(np.array)
        folder = images.groupby("person")["database"].first()
        lines = pd.DataFrame({"folder": folder, "places": places})
        lines["photographs"] = lines["places"].map(len)
        return lines.rename_axis("person").reset_index()

    def is_in(self, *folders: str) -> np.ndarray:
        """Return (P,) bool: whether each of `people` is of one of these folders."""
        return np.isin(self.folder, folders)

    @functools.cached_property
    def read(self) -> np.ndarray:
        """(P,) int64: from how many photographs each person is read; 0 for those who have too few.

        At most as many as half of the known people of either kind have, or `LEAST` of them, and `MOST`.

        Raises:
            ParameterError: Too few known people have photographs enough.
        """
        counts, most = self.people["photographs"].to_numpy(), MOST
        for name, least in LEAST.items():
            theirs = np.sort(counts[self.is_in(name)])[::-1]
            there = int((theirs >= self.least).sum())
            if there < least:
                raise ParameterError(
                    f"{there} people in {name} have {self.least} photographs or more, and {least} is the "
                    "least with whom a person can be compared: bring more people."
                )
            most = min(most, theirs[max(least, len(theirs) // 2) - 1])
        return np.where(counts >= self.least, np.minimum(counts, max(most, self.least)), 0)

    @property
    def judged(self) -> np.ndarray:
        """(P,) bool: the people in question who have photographs enough."""
        return self.is_in(QUESTIONED) & (self.read > 0)

    @property
    def typical(self) -> int:
        """From how many photographs the people in question are read, the (lower) median."""
        counts = self.read[self.judged]
        return int(np.quantile(counts, 0.5, method="lower")) if len(counts) else self.least

    def having(self, k: int, *folders: str) -> np.ndarray:
        """Return (P,) bool: who has so many photographs, of these folders or of all."""
        enough = self.people["photographs"].to_numpy() >= k
        return enough & self.is_in(*folders) if folders else enough

    def _picks(self, k: int, who: np.ndarray) -> np.ndarray:
        return np.stack([places[:k] for places in self.people["places"][who]])

    # ---- what is read -------------------------------------------------------------------------

    @functools.cached_property
    def _units(self) -> dict[str, np.ndarray]:
        features = {name: read(self.files, name) for name in (NETWORK, UNTRAINED)}
        return {name: one.array[:, one.rows["Model Outcome"]] for name, one in features.items()}

    @functools.cache  # noqa: B019  (a case lives as long as its notebook)
    def score(self, reader: str, k: int) -> np.ndarray:
        """Return (P,) the reading of each person by k photographs, NaN for those with fewer."""
        able, units = np.flatnonzero(self.having(k)), self._units[reader]
        centres = self.files.centres
        if centres is not None:
            centres = (centres / centres.norm(dim=0)).T.float().numpy()
        scores = np.full(len(self.people), np.nan)
        nobody = np.zeros((1, units.shape[1]), np.float32)
        for i in range(0, len(able), AT_ONCE):
            some = able[i : i + AT_ONCE]
            theirs = np.asarray(units[self._picks(k, some)], np.float32)
            norms = np.ones(theirs.shape[:2], np.float32)
            scores[some] = people.read(theirs, norms, nobody, centres)[self.row]
        return scores

    @functools.cache  # noqa: B019
    def blind(self, k: int) -> dict[str, np.ndarray]:
        """Return baseline -> (P, 2 L): mean and deviation over k photographs, NaN for people with fewer."""
        features, able = blind_features(self.files.runs), np.flatnonzero(self.having(k))
        picks, arrays = self._picks(k, able), {}
        for name, columns in features.rows.items():
            theirs = features.array[:, columns][picks]
            arrays[name] = np.full((len(self.people), 2 * theirs.shape[2]), np.nan, np.float32)
            arrays[name][able] = np.hstack([theirs.mean(axis=1), theirs.std(axis=1)])
        return arrays

    def _blindly(self, known: np.ndarray, shown: np.ndarray) -> tuple[str, np.ndarray]:
        """Return the best blind baseline and its scores of known people, each trained on other people."""
        scores = {
            name: people.cross_fitted(array[known][None], shown[known])[0]
            for name, array in self.blind(self.typical).items()
        }
        best = max(scores, key=lambda name: pairs(shown[known], scores[name][None]).mean())
        return best, scores[best]

    # ---- what may be said ---------------------------------------------------------------------

    @functools.cached_property
    def _cells(self) -> dict[tuple[str, str], Decided]:
        """(Row, reader) -> how known people are distinguished by as many photographs as `typical`."""
        known = self.having(self.typical, *KNOWN)
        shown = self.is_in(KNOWN[0])
        name, blind = self._blindly(known, shown)
        scores = {
            (self.row, reader): self.score(reader, self.typical)[known] for reader in self._units
        } | {(name, BLIND): blind}
        return {key: placed(shown[known], values) for key, values in scores.items()}

    @functools.cached_property
    def cells(self) -> pd.DataFrame:
        """How well each reader distinguishes known people: row, column (the reader), auc, low, high, n."""
        lines = []
        for (row, reader), cell in self._cells.items():
            value, low, high = np.clip(interval([(1, cell)], self.replicates), 0, 1)
            line = {"row": row, "column": reader, "auc": value, "low": low, "high": high}
            lines.append(line | {"n": len(cell.labels)})
        return pd.DataFrame(lines)

    @functools.cached_property
    def verdicts(self) -> pd.DataFrame:
        """What must hold before anybody is named, see `decide`."""
        return decide(self)

    @property
    def nothing(self) -> list[str]:
        """The conditions that fail, so that nobody is named."""
        verdict = self.verdicts["verdict"]
        undecided = (verdict == "undecided") & (self.verdicts["question"] == ALIKE)
        return self.verdicts["question"][(verdict != "supported") & ~undecided].tolist()

    @functools.cached_property
    def unlike(self) -> np.ndarray:
        """(P,) float: how often a known person out looks as unusual as a person in question, see `oddity`."""
        unlike = np.full(len(self.people), np.nan)
        for k in np.unique(self.read[self.judged]):
            array = np.hstack(list(self.blind(int(k)).values()))
            out = np.flatnonzero(self.having(k, KNOWN[1]))[:REFERENCE]
            for i in np.flatnonzero(self.judged & (self.read == k)):
                unlike[i] = oddity(array[out], array[i])
        return unlike

    @functools.cached_property
    def answers(self) -> pd.DataFrame:
        """The answer about each person in question, see `answered`."""
        return answered(self)

    @functools.cache  # noqa: B019
    def share(self) -> Estimate:
        """Return the share of the people in question that are judged who were shown, see `shared`."""
        return shared(self)

    @property
    def scores(self) -> pd.DataFrame:
        """The reading of everybody by as many photographs as `typical`: folder, score."""
        lines = pd.DataFrame({"folder": self.folder, "score": self.score(NETWORK, self.typical)})
        return lines.dropna().reset_index(drop=True)

    def by_images(self) -> pd.DataFrame:
        """Return by how many photographs people are read, and how many people are named."""
        lines = []
        for k, answers in self.answers[self.answers["photographs"] > 0].groupby("photographs"):
            known = [int(self.having(k, name).sum()) for name in KNOWN]
            lines.append((k, *known, len(answers), int(answers["named"].sum())))
        columns = ["photographs", "known in", "known out", "in question", "named"]
        return pd.DataFrame(lines, columns=columns)

    def conclusion(self) -> str:
        """Return what this audit says, or why it can say nothing, in words made of its numbers."""
        return conclusion(self)


def decide(case: PeopleCase) -> pd.DataFrame:
    """What must hold before anybody is named: question, value, low, high, verdict.

    Three areas under the ROC curve less .50, or differences of such, must lie above zero. A classifier
    without network must not distinguish known people in, or people in question, from known people out
    (`_told_blindly`, `casecommon.alike`). With fewer than `FEWEST_PEOPLE` people in question the latter is
    left out, and each is looked at alone (`unlike`).
    """
    lines = case.conditions(TOLD, list(case._cells.values()))
    lines.append(_told_blindly(case, MATCHED, KNOWN[0]))
    if case.judged.sum() >= FEWEST_PEOPLE:
        lines.append(_told_blindly(case, ALIKE, QUESTIONED))
    return pd.DataFrame(lines)


def _told_blindly(case: PeopleCase, question: str, folder: str) -> dict:
    """Return a line: the area above .50 that distinguishes a folder's people from known people out.

    The width of the interval is the spread of the areas after the folder's people were drawn at random.
    """
    compared = case.having(case.typical, folder, KNOWN[1])
    array = np.hstack(list(case.blind(case.typical).values()))[compared][None]
    asked, rng = case.is_in(folder)[compared], np.random.default_rng(0)
    deals = [asked, *(rng.permutation(asked) for _ in range(DEALS))]
    value, *others = (pairs(deal, people.cross_fitted(array, deal)).mean() - 0.5 for deal in deals)
    low, high = value + stats.norm.ppf([0.025, 0.975]) * np.std(others)
    return alike(question, value, low, high)


def answered(case: PeopleCase) -> pd.DataFrame:
    """The answer about each person in question, those who stand out most first.

    Returns:
        person, photographs (that are read), score, p (NaN for those with too few photographs), unlike
        (`PeopleCase.unlike`), named: whether p is among those of which at most `FALSE` are expected to be
        named wrongly (Benjamini and Hochberg). Nobody is named unless `nothing` is empty, nor with an
        ``unlike`` below `ODD`.
    """
    lines = case.people[["person"]].assign(
        photographs=case.read, score=np.nan, p=np.nan, unlike=case.unlike
    )
    for k in np.unique(case.read[case.judged]):
        score, theirs = case.score(NETWORK, int(k)), case.judged & (case.read == k)
        out = score[case.having(k, KNOWN[1])]
        lines.loc[theirs, "score"] = score[theirs]
        lines.loc[theirs, "p"] = conformal(out, score[theirs])
    lines = lines[case.is_in(QUESTIONED)]
    may = lines["p"].notna() & (lines["unlike"] >= ODD) & (not case.nothing)
    named = np.zeros(len(lines), bool)
    if may.any():
        named[may] = stats.false_discovery_control(lines["p"][may]) <= FALSE
    lines = lines.assign(named=named)
    return lines.sort_values(["p", "score"], ascending=[True, False], ignore_index=True)


def shared(case: PeopleCase) -> Estimate:
    """Return the share of the people in question that are judged who were shown, by `prevalence`.

    NaN for few people (`casecommon.enough`), and where known people are not distinguished.
    """
    asked = case.answers["p"].dropna().to_numpy()
    ks, counts = np.unique(case.read[case.judged], return_counts=True)
    called = np.zeros(len(case.people))
    for k, count in zip(ks, counts, strict=True):
        # Few known people have more photographs than `typical`, so they are called by that many at most.
        called += count * _called(case, min(int(k), case.typical)) / counts.sum()
    known = case.having(case.typical, *KNOWN)
    labels = case.is_in(KNOWN[0])[known]
    right = np.where(labels, called[known], 1 - called[known])[None]
    questioned = Decided(np.full(len(asked), True), (asked <= CALLED)[None], np.arange(len(asked)))
    found = prevalence(Decided(labels, right, np.flatnonzero(known)), questioned, case.replicates)
    return enough(found, len(asked))


def _called(case: PeopleCase, k: int) -> np.ndarray:
    """Return (P,) whether each known person would be called by k photographs, among the others."""
    score, out = case.score(NETWORK, k), case.having(k, KNOWN[1])
    p = conformal(score[out], score)
    p[out] = [
        conformal(np.delete(score[out], i), score[out][i : i + 1])[0] for i in range(out.sum())
    ]
    return (p <= CALLED).astype(float)


def _refuse(files: CaseFiles) -> None:
    """Refuse folders whose people are not known, and a person who lies in two of them."""
    if files.unknown:
        raise DataError(f"{files.folder}: {UNKNOWN.format(', '.join(files.unknown))}.")
    where: dict[str, list[str]] = {}
    for name, db in files.databases.items():  # copies as well, which take no part
        for person in {name_of(key) for key in db.keys if "/" in key}:
            where.setdefault(person, []).append(name)
    for person, names in sorted(where.items()):
        if len(names) > 1:
            raise DataError(
                f"{files.folder}: {person!r} lies in {', '.join(names)}. A person lies in one folder if "
                "the question is about persons; give question images if it is about images."
            )


def placed(labels: np.ndarray, scores: np.ndarray) -> Decided:
    """Return a cell whose accuracy is the area under the ROC curve of (P,) scores, for intervals of it.

    A person counts as right by the share of people of the other kind that lie on the right side. Its
    deviation is doubled, as `Decided.accuracies` halves that of either kind (DeLong's variance does not).
    """
    above = pairs(labels, scores[None])
    right = np.empty(len(labels))
    right[labels], right[~labels] = above.mean(axis=1), above.mean(axis=0)
    return Decided(
        labels, (above.mean() + 2 * (right - above.mean()))[None], np.arange(len(labels))
    )


def conformal(others: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return (P,) p: the share of others that score as high, the person counted among them."""
    return (1 + (others[:, None] >= scores).sum(axis=0)) / (1 + len(others))


def oddity(others: np.ndarray, one: np.ndarray) -> float:
    """Return how often others (n, L) lie as far from all as one (L,) does: a conformal p value.

    The distance is the ridge leverage of a line among all n + 1, with their mean eigenvalue as the ridge. It
    treats others and one alike, so the p value is uniform if they are of one distribution.
    """
    lines = np.vstack([others, one]).astype(np.float64)
    lines = (lines - lines.mean(axis=0)) / np.maximum(lines.std(axis=0), 1e-9)
    gram = lines @ lines.T
    ridge = np.trace(gram) / len(gram) * np.eye(len(gram))
    far = np.diag(np.linalg.solve(gram + ridge, gram))
    return float((far >= far[-1] - 1e-12).mean())


def conclusion(case: PeopleCase) -> str:
    """Return what an audit says of people in question, or why nobody is named."""
    answers = case.answers
    judged = answers[answers["p"].notna()]
    none = len(answers) - len(judged)
    few = "" if not none else (
        f" {none} more have fewer than {case.least} photographs that can be read, and are not judged."
    )  # fmt: skip
    for why, lost in _lost(case).items():
        few += f" Of {', '.join(lost)} no photograph takes part: {why}."
    doubtful = doubt(case.files)
    question = (
        " The question here is whether a person was shown to this network, with whatever photographs."
        + few
        + (f" {doubtful}" if doubtful else "")
    )
    if case.nothing or not len(judged):
        failed = "; ".join(f"{name} ({case.verdict_of[name]})" for name in case.nothing)
        return (
            "**Nothing can be said of the people in question.** These conditions are not met: "
            f"{failed or 'nobody in question has photographs enough'}. This is no sign that they were not "
            f"shown.{question}"
        )
    said = _one(case, judged.iloc[0]) if len(judged) == 1 else _all(case, judged)
    return f"{said}{question} {WRONG}."


def _lost(case: PeopleCase) -> dict[str, list[str]]:
    """Return the people in question of whom files were brought and none takes part, by the reason."""
    left = case.files.left_out
    asked = (left["folder"] == QUESTIONED) & left["key"].str.contains("/")
    left = left[asked & ~left["key"].str.startswith(".")]
    left = left.assign(person=left["key"].map(name_of))
    left = left[~left["person"].isin(case.people["person"][case.is_in(QUESTIONED)])]
    reasons: dict[str, list[str]] = {}
    for person, lines in left.groupby("person"):
        copied = lines[lines["why"] == COPY]
        why = "none can be read"
        if len(copied):
            rest = "" if len(copied) == len(lines) else "of those that can be read "
            line = copied.iloc[0]
            why = (
                f"{rest}all are copies of images in {line['also_in']}, such as {line['other_key']}"
            )
        reasons.setdefault(why, []).append(person)
    return reasons


def _one(case: PeopleCase, line: pd.Series) -> str:
    out = int(case.having(line["photographs"], KNOWN[1]).sum())
    told = (
        f"{line['photographs']} photographs of {line['person']} were read: p = {line['p']:.3f}, for of "
        f"{out} known people out {round(line['p'] * (out + 1)) - 1} stand out as much."
    )
    if line["unlike"] < ODD:
        return f"**Nothing can be said of {line['person']}**, {_odd(1)}. {told}"
    if line["named"]:
        return (
            f"**{line['person']} can be named** as shown to this network. {told} Of people who were not "
            f"shown, {FALSE:.0%} would be named too, in expectation."
        )
    return f"**{line['person']} cannot be named.** {told} This is no sign that the person was not shown."


def _all(case: PeopleCase, judged: pd.DataFrame) -> str:
    value, low, high = case.share()
    of = f"Of {len(judged)} people in question "
    if len(judged) < FEWEST_PEOPLE:
        share = (
            f"How many of {len(judged)} people in question were shown is not said: of fewer than "
            f"{FEWEST_PEOPLE} the estimate misses the truth too often."
        )
    elif np.isnan(value):
        share = f"How many of {len(judged)} people in question were shown cannot be said."
    else:
        share = f"{of}{value:.0%} [{low:.0%}, {high:.0%}] were shown to this network."
    named, odd = int(judged["named"].sum()), int((judged["unlike"] < ODD).sum())
    nobody = f"Nobody can be named: the lowest p of {len(judged)} is {judged['p'].min():.4f}."
    names = nobody if not named else (
        f"{named} can be named, of whom at most {FALSE:.0%} are expected to be named wrongly (an "
        "expectation, no bound for this case)."
    )  # fmt: skip
    left = f" {odd} are not named whatever their p, {_odd(odd)}." if odd else ""
    only = "" if case.verdict_of.get(ALIKE) != "undecided" else (
        " **But this holds only if people in question are photographed like known people out**, which is "
        "undecided."
    )  # fmt: skip
    return f"{share} {names}{left}{only}"


def _odd(n: int) -> str:
    whose = "whose photographs look" if n == 1 else "for their photographs look"
    return f"{whose} more unusual, without any network, than those of {1 - ODD:.0%} of the known people out"
