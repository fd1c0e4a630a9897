"""An audit of one's own: a network, images known to be members or not, and images in question.

In: what is brought (`casefiles`). Out: how well members are told from non-members by what passes through the
network, and what of that is there without its training, or without any network; whether the images in
question are like the known ones; how many of them were members, and which.

The question is whether an image was used, not whether its person is in D. So of each person as many known
members as known non-members take part, and images in question of these people alone: what belongs to the
person is then the same on both sides. People fall into three folds. A MINT Model is trained on the known
images of two and judges all images of the third, so that no image is judged by a model that saw its person,
and images in question are judged as known ones are. People are dealt into folds several times (`DEALS`). What
is read was fixed beforehand: nothing is chosen by its result. Where nothing is brought, the study's own M and
images of D are, and the answer can be checked.
"""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import nn

from mint_utils import store
from mint_utils.audited import train
from mint_utils.audited.untrained import calibrated
from mint_utils.errors import ParameterError
from mint_utils.measure.bootstrap import Decided, Estimate, auc, interval, prevalence, verdict
from mint_utils.measure.detection import THRESHOLD, decided, summarise
from mint_utils.mint import aad, readings
from mint_utils.mint.protocol import FEWEST, AuditSet, Split
from mint_utils.study import design
from mint_utils.study.audit import Audit, Features, named
from mint_utils.study.casefiles import KNOWN, QUESTIONED, VERSION, CaseFiles, demonstration
from mint_utils.study.controls import blind_features
from mint_utils.study.design import FOLDS, Closeness, Design

NETWORK, UNTRAINED, BLIND = "the network", "untrained", "no network"
LIKE = 0.1  # accuracy above .50 up to which two sets count as alike
FALSE = 0.05  # share of false names among those that are named, in expectation
DEALS = (
    5  # of people into folds, at least; as many as trainings of the MINT Model where these are more
)
PROBED = 300  # images by which the colour order is doubted
FEWEST_PEOPLE = 10  # in question, below which the interval of a share covers too rarely

SAME = "known members and non-members are of the same people"
OF_THESE = "images in question are of these people"
TOLD = "known members are told from known non-members"
TRAINED = "better than by the same network untrained"
SEEN = "better than without any network"
NEARER = "known members lie nearer to the class centres"
ALIKE = "the images in question are like the known ones"


class Case:
    """What MINT Models make of what is brought, and what may be said.

    Attributes:
        files: What is brought.
        demonstration: Whether nothing was brought, and the truth is known.
    """

    def __init__(self, audit: Audit):
        """Find what is brought; see `CaseFiles`."""
        folder = audit.config.brought.case
        self.demonstration = folder is None
        self.files = CaseFiles(Path(folder or demonstration(audit)), audit.config)
        # Each deal of people into folds has one training: what deals differ in holds its chance.
        self.audit = Audit(audit.config.replace(mint_seeds=1))
        self.deals = max(DEALS, audit.config.mint.mint_seeds)
        self.replicates = audit.config.mint.replicates

    @property
    def row(self) -> str:
        """What the answer reads: the class centres where the file holds them, else all four layers."""
        return "All Conv Layers" if self.files.centres is None else readings.CENTRES

    @functools.cached_property
    def features(self) -> dict[str, Features]:
        """What MINT Models read: of the network, of the same one untrained, and of the image alone."""
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
        found, centres = self.features[NETWORK], self.files.centres
        if centres is None or "Model Outcome" not in found.rows:
            return None
        return design.closeness(found.array[:, found.rows["Model Outcome"]], centres)

    @functools.cached_property
    def design(self) -> Design:
        """Which images take part, and the folds of their people in each deal."""
        unknown = self.files.unknown
        return design.designed(
            self.files.images, self.closeness, unknown, self.deals, self.files.seed
        )

    # ---- what MINT Models make of it ----------------------------------------------------------

    def _in(self, *folders: str) -> np.ndarray:
        """Return which images lie in folders and take part."""
        return self.files.images["database"].isin(folders).to_numpy() & self.design.part

    @property
    def _persons(self) -> np.ndarray:
        return self.files.images["person"].to_numpy()

    def _splits(self, usable: np.ndarray, labels: np.ndarray) -> AuditSet:
        """Return a split a deal and fold: trained on usable images of the others, evaluated on all of this one.

        As many of both kinds are trained on, at most as many as in the study.

        Raises:
            ParameterError: They are too few.
        """
        order, splits = self.design.order, {}
        names = (
            ("images in question", "known images") if labels[self._in(QUESTIONED)].any() else KNOWN
        )
        for deal, folds in enumerate(self.design.folds):
            for i in range(FOLDS):
                for name, kind in zip(names, (labels, ~labels), strict=True):
                    if (held := (usable & kind & (folds == i)).sum()) < FEWEST:
                        raise ParameterError(
                            f"{self.files.folder}: one of {FOLDS} folds would hold {held} {name}, and {FEWEST} is "
                            f"the least: bring more {name}, of more people."
                        )
                inside = usable & (folds != i)
                kinds = [order[(inside & kind)[order]] for kind in (labels, ~labels)]
                n = min(*map(len, kinds), self.audit.config.mint.mint_samples // 2)
                rows = np.concatenate([kind[:n] for kind in kinds])
                evaluation = np.flatnonzero(self.design.part & (folds == i))
                split = Split(rows, labels[rows], evaluation, labels[evaluation])
                splits[f"deal {deal}", f"fold {i}"] = split
        return AuditSet(self.files.images, splits)

    @functools.cached_property
    def _scores(self) -> dict[str, dict[str, np.ndarray]]:
        """Reader -> row -> (deals, N) float32: each image's score by MINT Models that never saw its person."""
        splits = self._splits(self._in(*KNOWN), self._in(KNOWN[0]))
        return {name: self._judged(found, splits) for name, found in self.features.items()}

    def _judged(self, features: Features, splits: AuditSet) -> dict[str, np.ndarray]:
        shape = self.deals, len(self.files.images)
        judged = {row: np.full(shape, np.nan, np.float32) for row in features.rows}
        for (key, row), scores in self.audit.mint(features, splits).scores.items():
            deal = int(key[0].split()[1])
            judged[row][deal, splits.splits[key].evaluation] = scores[0]
        return judged

    def _decided(self, reader: str, row: str, times: np.ndarray | int = 1) -> Decided:
        """Return how known images are decided, each counted so many times."""
        known = np.repeat(np.flatnonzero(self._in(*KNOWN)), times)
        scores = self._scores[reader][row][None]
        return dealt(decided(self._in(KNOWN[0])[known], scores[..., known], self._persons[known]))

    @functools.cached_property
    def cells(self) -> pd.DataFrame:
        """How well known members are told from known non-members: one line a reader and row.

        Returns:
            row, column (the reader), accuracy, low, high, auc, tpr_at_1pct_fpr, tpr_at_01pct_fpr, n.
        """
        known, persons, lines = self._in(*KNOWN), self._persons, []
        for reader, rows in self._scores.items():
            for row, scores in rows.items():
                of = scores[None][..., known]
                found = summarise(self._in(KNOWN[0])[known], of, persons[known], self.replicates)
                _, low, high = interval([(1, self._decided(reader, row))], self.replicates)
                ends = {"low": max(low, 0.0), "high": min(high, 1.0)}
                lines.append({"row": row, "column": reader} | found | ends)
        return pd.DataFrame(lines)

    @property
    def blind_row(self) -> str:
        """The blind baseline that tells the known images apart best."""
        of = self.cells[self.cells["column"] == BLIND]
        return of.loc[of["accuracy"].idxmax(), "row"]

    # ---- what may be said ---------------------------------------------------------------------

    @functools.cached_property
    def verdicts(self) -> pd.DataFrame:
        """What must hold before anything is said of the images in question.

        Returns:
            question, value, low, high, verdict. Of the first two the value is the share of images that take
            part. Three differences must lie above zero; the area under the ROC curve of closeness to the class
            centres, less .50, not below it; and the accuracy above .50 by which blind baselines tell the images
            in question from the known ones within `LIKE`.
        """
        shares = zip(
            (SAME, OF_THESE),
            self.design.shares,
            (self.design.known, self.design.asked),
            strict=True,
        )
        lines = [
            {"question": question, "value": share, "low": np.nan, "high": np.nan,
             "verdict": "supported" if holds else "contradicted"}
            for question, share, holds in shares
        ]  # fmt: skip
        of, untrained = self._decided(NETWORK, self.row), self._decided(UNTRAINED, self.row)
        blind = self._decided(BLIND, self.blind_row)
        found = {
            TOLD: (interval([(1, of)], self.replicates), 0.5, 0.0),
            TRAINED: (interval([(1, of), (-1, untrained)], self.replicates), 0.0, 0.0),
            SEEN: (interval([(1, of), (-1, blind)], self.replicates), 0.0, 0.0),
            NEARER: (self._nearer(), 0.5, 0.0),
            ALIKE: (interval([(1, self._likeness())], self.replicates), 0.5, LIKE),
        }
        for question, (estimate, above, margin) in found.items():
            if estimate is not None:
                value, low, high = (end - above for end in estimate)
                line = {"question": question, "value": value, "low": low, "high": high}
                lines.append(line | {"verdict": verdict(low, high, margin)})
        return pd.DataFrame(lines)

    def _nearer(self) -> Estimate | None:
        """Return how often a known member lies nearer to a class centre than a known non-member."""
        if self.closeness is None:
            return None
        known = self._in(*KNOWN)
        near = self.closeness.first[known][None]
        return auc(self._in(KNOWN[0])[known], near, self._persons[known], self.replicates)

    def _likeness(self) -> Decided:
        """Return how the best blind baseline tells images in question from known ones."""
        part, asked = self.design.part, self._in(QUESTIONED)
        scores = self._judged(self.features[BLIND], self._splits(part, asked))
        found = [
            decided(asked[part], s[None][..., part], self._persons[part]) for s in scores.values()
        ]
        return dealt(max(found, key=lambda one: one.accuracies.mean()))

    @functools.cached_property
    def answers(self) -> pd.DataFrame:
        """What is said of each image in question that is judged, the likeliest members first.

        Returns:
            key, person, score (mean over the deals), p: how often a known non-member that the same models
            never saw scores as high (conformal, arXiv 2104.08279), people counting as they do among the images
            in question (arXiv 1904.06019), mean over the deals; named: whether it is one of those among which
            `FALSE` are expected to be named wrongly (Benjamini and Hochberg; arXiv 2508.07066). None is named
            where `nothing` says why.
        """
        scores, asked = self._scores[NETWORK][self.row], self._in(QUESTIONED)
        lines = self.files.images[["key", "person"]][asked]
        p = np.mean(
            [
                design.conformal(one, self._in(KNOWN[1]), asked, folds, self.design.weights)
                for one, folds in zip(scores, self.design.folds, strict=True)
            ],
            axis=0,
        )
        low = stats.false_discovery_control(p) <= FALSE
        answers = lines.assign(
            score=scores[:, asked].mean(axis=0), p=p, named=low & (not self.nothing)
        )
        return answers.sort_values(["p", "score"], ascending=[True, False], ignore_index=True)

    @property
    def nothing(self) -> list[str]:
        """The conditions for want of which nothing may be said; none of them where something may be."""
        of = self.verdicts.set_index("question")["verdict"]
        needed = [q for q in (SAME, OF_THESE, TOLD, TRAINED, SEEN) if of[q] != "supported"]
        return needed + [q for q in (NEARER, ALIKE) if of.get(q) == "contradicted"]

    @functools.cache  # noqa: B019  (a case lives as long as its notebook)
    def share(self) -> Estimate:
        """Return which share of the images in question that are judged were members, by `prevalence`.

        Known people count as they do among the images in question. Below `FEWEST_PEOPLE` there is no interval.
        """
        asked, known = self._in(QUESTIONED), self._in(*KNOWN)
        called, persons = (
            self._scores[NETWORK][self.row][:, asked] > THRESHOLD,
            self._persons[asked],
        )
        questioned = dealt(Decided(np.full(asked.sum(), True), called, persons))
        weights = self.design.weights[known]
        times = np.round(4 * weights / weights[weights > 0].mean()).astype(int)
        known = self._decided(NETWORK, self.row, times)
        found = prevalence(known, questioned, self.replicates)
        few = len(np.unique(persons)) < FEWEST_PEOPLE
        return Estimate(found.value, np.nan, np.nan) if few else found

    @property
    def scores(self) -> pd.DataFrame:
        """The mean score of every image that takes part: folder, score."""
        mean = self._scores[NETWORK][self.row].mean(axis=0)
        lines = pd.DataFrame({"folder": self.files.images["database"], "score": mean})
        return lines[self.design.part].reset_index(drop=True)

    @functools.cache  # noqa: B019
    def by_images(self) -> pd.DataFrame:
        """Return for whom the test works: one line a number of images a person, see `design.by_images`."""
        images = self.files.images.assign(score=self._scores[NETWORK][self.row].mean(axis=0))
        return design.by_images(images, self.answers, self.design.part)

    def conclusion(self) -> str:
        """Return what this audit says, or why it can say nothing, in words made of its numbers."""
        return conclusion(self)

    def truth(self) -> pd.DataFrame:
        """Return what was said beside what is true; of a demonstration."""
        of_questioned = pd.read_csv(self.files.folder / "truth.csv", dtype={"key": str})
        truth = self.answers.merge(of_questioned, on="key")
        share, actual, named = self.share(), truth["member"].mean(), truth[truth["named"]]
        right = f"{named['member'].sum()} of these are members"
        lines = [
            ("share of members among the images in question", f"{share}", f"{actual:.2f}"),
            ("images named", f"{len(named)}", right),
        ]
        return pd.DataFrame(lines, columns=["", "said", "true"])


def dealt(cell: Decided) -> Decided:
    """Return a cell whose trainings are deals, with their spread as large as intervals must hold.

    Intervals take trainings for independent and divide their spread by the root of their number. Deals share
    all images: images that happen to fit make each of them better. What they differ in is as large as what
    another set of images would change and the bootstrap of the judged ones does not (``benchmarks/coverage.py``).
    """
    mean = cell.right.mean(axis=0)
    return replace(cell, right=mean + np.sqrt(len(cell.right)) * (cell.right - mean))


def read(files: CaseFiles, which: str) -> Features:
    """Return activations, Model Outcome and, where there are class centres, how images lie to them."""
    pieces = [(db.images, index) for db, index in files.runs]

    def make(folder: Path) -> dict[str, list]:
        network, head, order = files.loaded() if which == NETWORK else files.built()
        if which == UNTRAINED:  # its statistics are those of all images alike
            every = np.concatenate([images[rows] for images, rows in pieces])
            calibrated(network, every, np.arange(len(every)), order)
        device = train.default_device()
        network.to(device, memory_format=torch.channels_last).eval()
        return _extract(network, head.to(device).eval(), order, folder)

    def _extract(
        network: nn.Module, head: nn.Module, order: str, folder: Path
    ) -> dict[str, dict[str, list[int]]]:
        device, path = train.default_device(), folder / "features.npy"
        aad.extract(network, order, pieces, path, device)
        rows = aad.columns([i["num_chs"] for i in network.feature_info], network.num_features)
        if files.centres is not None:
            unknown = [(images, index, np.full(len(index), -1)) for images, index in pieces]
            array, where = readings.read(network, head, order, unknown, device).features()
            of_maps = np.load(path)
            rows[readings.CENTRES] = slice(of_maps.shape[1], of_maps.shape[1] + 4)
            np.save(path, np.hstack([of_maps, array[:, where[readings.CENTRES]]]))
        return {"rows": {name: [where.start, where.stop] for name, where in rows.items()}}

    spec = {
        "version": VERSION,
        "aad": [aad.VERSION, readings.VERSION],
        "weights": files.digest,
        "input": files.input,
        "images": named(files.runs),
        "network": [files.recipe.network, which],
    }
    done = store.fetch("features", {"digest": store.digest(spec)}, make)
    rows = {name: slice(*ends) for name, ends in done.record["rows"].items()}
    return Features(np.load(done.folder / "features.npy", mmap_mode="r"), rows, done.digest)


def doubt(files: CaseFiles) -> str:
    """Return in words that the network seems to take the other colour order; empty where it does not.

    Compared on at most `PROBED` known members by how much nearer they lie to their class centre than to the
    next; without class centres on known images, by how much more alike those of one person are than others.
    The other order is doubted for where it is better over people, at 95%.
    """

    def make(folder: Path) -> dict[str, float]:
        orders = [files.loaded()[2]]
        orders.append("rgb" if orders[0] == "bgr" else "bgr")
        better = pd.Series(*_alike(files, orders)).groupby(level=0).mean()
        error = better.sem() if len(better) > 1 else np.inf
        return {"low": float(better.mean() - stats.t.ppf(0.975, max(len(better) - 1, 1)) * error)}

    spec = {
        "weights": files.digest,
        "input": files.input,
        "images": named(files.runs),
        "version": VERSION,
    }
    low = store.fetch("orders", spec | {"network": files.recipe.network}, make).record["low"]
    order = files.loaded()[2]
    if not low > 0:
        return ""
    other = "rgb" if order == "bgr" else "bgr"
    return (
        f"**The colour order is doubtful**: read as {other.upper()}, known images of one person lie closer together "
        f"than as {order.upper()}. If the network takes {other.upper()}, give colour_order {other}."
    )


def _alike(files: CaseFiles, orders: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return how much more alike images of a person are in the second order than in the first, and the person."""
    network = files.loaded()[0]
    device = train.default_device()
    network.to(device, memory_format=torch.channels_last).eval()
    lines = files.images[
        files.images["database"].isin(KNOWN[:1] if files.centres is not None else KNOWN)
    ]
    chosen = (
        lines[lines["person"].isin(lines["person"].unique()[:PROBED])]
        .groupby("person")
        .head(3)[:PROBED]
    )
    pixels = np.concatenate(
        [
            files.databases[name].images[of["index"].to_numpy()]
            for name, of in chosen.groupby("database", sort=False)
        ]
    )
    person, found = chosen["person"].to_numpy(), []
    for order in orders:
        units = aad.outcomes(network, order, pixels, device)[0].astype(np.float32)
        if files.centres is not None:
            near = design.closeness(units, files.centres)
            found.append(near.first - near.second)
            continue
        cosines, same = units @ units.T, person[:, None] == person
        spread = cosines[~same].std() if (~same).any() else 1.0
        within = (cosines * same).sum(axis=1) - 1
        mean = within / np.maximum(same.sum(axis=1) - 1, 1)
        others = (cosines * ~same).sum(axis=1) / np.maximum((~same).sum(axis=1), 1)
        found.append(np.where(same.sum(axis=1) > 1, (mean - others) / spread, np.nan))
    better = found[1] - found[0]
    return better[~np.isnan(better)], person[~np.isnan(better)]


def conclusion(case: Case) -> str:
    """Return what an audit says, or why it can say nothing; see `Case.conclusion`."""
    doubtful = doubt(case.files)
    warning = f" {doubtful}" if doubtful else ""
    person = " The question here is whether an image was used; whether a person is in D is another, and notebook 09's."
    if case.nothing:
        return (
            "**Nothing can be said of the images in question.** What would have to hold does not: "
            f"{_failed(case)}. This is no sign that they were not used.{person}{warning}"
        )
    asked = (case.files.images["database"] == QUESTIONED).sum()
    n, few = len(case.answers), case.answers["person"].nunique()
    of_all = "" if n == asked else (
        f" The other {asked - n} are not judged: of their people no known members and known non-members were brought."
    )  # fmt: skip
    value, low, high = case.share()
    if np.isnan(value):
        share = f"How many of {n} images in question were used cannot be told: known images of their people are not."
    elif few < FEWEST_PEOPLE:
        share = (
            f"Of {n} images in question {value:.0%} were used to train this network. There is no interval: they are "
            f"of {few} people, and with less than {FEWEST_PEOPLE} it would hold the truth too rarely."
        )
    else:
        share = f"Of {n} images in question {value:.0%} [{low:.0%}, {high:.0%}] were used to train this network."
    alike = case.verdicts.set_index("question")["verdict"][ALIKE]
    only = "" if alike == "supported" else (
        " **But this holds only if the images in question are like the known ones**, "
        f"which is {alike}: differences of preparation count as membership here."
    )  # fmt: skip
    return f"{share} {_named(case)}{of_all}{only}{person}{warning}"


def _failed(case: Case) -> str:
    """Return the conditions that fail, with what is known of the reason."""
    verdicts = case.verdicts.set_index("question")["verdict"]
    told = [f"{question}: {verdicts[question]}" for question in case.nothing]
    if case.design.reason:
        told = [t for t in told if not t.startswith((SAME, OF_THESE))]
        told.insert(0, case.design.reason)
    if NEARER in case.nothing:
        told.append(
            "known members lie farther from the class centres than known non-members, as if the folders members "
            "and non_members were exchanged"
        )
    return "; ".join(told)


def _named(case: Case) -> str:
    """Return how many images can be named, of whom, and how many of these wrongly."""
    n = int(case.answers["named"].sum())
    if not n:
        others = int(case._in(KNOWN[1]).sum()) // FOLDS
        return f"None can be named: with about {others} known non-members a fold no p is below {1 / (1 + others):.4f}."
    lines = case.by_images()
    most = lines.loc[lines["named"].idxmax()]
    return (
        f"{n} can be named, of which {FALSE:.0%} are expected to be named wrongly at most (an expectation, not a bound "
        f"for this case); {most['named']} of them are of people with {most['images a person']} images here."
    )
