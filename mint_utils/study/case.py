"""An audit of one's own: a network, images known to be members or not, and images in question.

In: what is brought (`casefiles`). Out: how well members are told from non-members by what passes through the
network, and what of that is there without its training, or without any network; whether the images in
question are like the known ones; how many of them were members, and which.

People fall into three folds. A MINT Model is trained on the known images of two and judges all images of the
third, so that no image is judged by a model that saw its person, and images in question are judged as
known ones are. What is read was fixed beforehand: nothing is chosen by its result. Where nothing is brought,
the study's own M and images of D are, and the answer can be checked.
"""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import false_discovery_control
from torch import nn

from mint_utils import store
from mint_utils.audited import train
from mint_utils.audited.untrained import calibrated
from mint_utils.data.membership import uniform
from mint_utils.errors import ParameterError
from mint_utils.measure.bootstrap import Decided, Estimate, interval, prevalence, verdict
from mint_utils.measure.detection import THRESHOLD, decided, summarise
from mint_utils.mint import aad, readings
from mint_utils.mint.protocol import FEWEST, AuditSet, Split
from mint_utils.study.audit import Audit, Features, named
from mint_utils.study.casefiles import FOLDS, KNOWN, QUESTIONED, VERSION, CaseFiles, demonstration
from mint_utils.study.controls import blind_features

NETWORK, UNTRAINED, BLIND = "the network", "untrained", "no network"
LIKE = 0.1  # accuracy above .50 up to which two sets count as alike
FALSE = 0.05  # share of false names among those that are named, at most


class Case:
    """What MINT Models make of what is brought, and what may be said.

    Attributes:
        files: What is brought.
        demonstration: Whether nothing was brought, and the truth is known.
    """

    def __init__(self, audit: Audit):
        """Find what is brought; see `CaseFiles`."""
        self.audit, folder = audit, audit.config.brought.case
        self.demonstration = folder is None
        self.files = CaseFiles(Path(folder or demonstration(audit)), audit.config)

    @property
    def row(self) -> str:
        """What the answer reads: the class centres where the file holds them, else all four layers."""
        return "All Conv Layers" if self.files.centres is None else readings.CENTRES

    @functools.cached_property
    def features(self) -> dict[str, Features]:
        """What MINT Models read: of the network, of the same one untrained, and of the image alone."""
        untrained = self._read(UNTRAINED)
        answer = replace(untrained, rows={self.row: untrained.rows[self.row]})
        return {
            NETWORK: self._read(NETWORK),
            UNTRAINED: answer,
            BLIND: blind_features(self.files.runs),
        }

    @property
    def _pieces(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(db.images, index) for db, index in self.files.runs]

    def _read(self, which: str) -> Features:
        """Return activations, Model Outcome and, where there are class centres, how images lie to them."""
        pieces = self._pieces

        def make(folder: Path) -> dict[str, list]:
            network, head, order = self.files.loaded() if which == NETWORK else self.files.built()
            if which == UNTRAINED:  # its statistics are those of all images alike
                every = np.concatenate([images[rows] for images, rows in pieces])
                calibrated(network, every, np.arange(len(every)), order)
            device = train.default_device()
            network.to(device, memory_format=torch.channels_last).eval()
            return self._extract(network, head.to(device).eval(), order, folder)

        spec = {
            "version": VERSION,
            "weights": self.files.digest,
            "images": named(self.files.runs),
            "network": [self.audit.config.audited.network, which],
        }
        done = store.fetch("features", {"digest": store.digest(spec)}, make)
        rows = {name: slice(*ends) for name, ends in done.record["rows"].items()}
        return Features(np.load(done.folder / "features.npy", mmap_mode="r"), rows, done.digest)

    def _extract(
        self, network: nn.Module, head: nn.Module, order: str, folder: Path
    ) -> dict[str, dict[str, list[int]]]:
        device, pieces, path = train.default_device(), self._pieces, folder / "features.npy"
        aad.extract(network, order, pieces, path, device)
        rows = aad.columns([i["num_chs"] for i in network.feature_info], network.num_features)
        if self.files.centres is not None:
            unknown = [(images, rows, np.full(len(rows), -1)) for images, rows in pieces]
            found = readings.read(network, head, order, unknown, device)
            array, where = found.features()
            of_maps = np.load(path)
            rows[readings.CENTRES] = slice(of_maps.shape[1], of_maps.shape[1] + 4)
            np.save(path, np.hstack([of_maps, array[:, where[readings.CENTRES]]]))
        return {"rows": {name: [where.start, where.stop] for name, where in rows.items()}}

    # ---- what MINT Models make of it ----------------------------------------------------------

    @property
    def _known(self) -> np.ndarray:
        return (self.files.images["database"] != QUESTIONED).to_numpy()

    @property
    def _members(self) -> np.ndarray:
        return (self.files.images["database"] == KNOWN[0]).to_numpy()

    def _splits(self, usable: np.ndarray, labels: np.ndarray) -> AuditSet:
        """Return a split a fold: trained on usable images of the others, evaluated on all of this one.

        As many of both kinds are trained on, at most as many as in the study.

        Raises:
            ParameterError: They are too few.
        """
        seed, images = self.audit.config.databases.partition_seed, self.files.images
        names = (images["database"] + "/" + images["key"]).to_numpy(str)
        order = np.argsort(uniform("case", names, "case-pick", seed), kind="stable")
        splits, fold = {}, images["fold"].to_numpy()
        for i in range(FOLDS):
            inside = usable & (fold != i)
            kinds = [order[(inside & kind)[order]] for kind in (labels, ~labels)]
            n = min(*(len(kind) for kind in kinds), self.audit.config.mint.mint_samples // 2)
            held = [(usable & kind & (fold == i)).sum() for kind in (labels, ~labels)]
            if min(n, *held) < FEWEST:
                counts = images["database"].value_counts().to_dict()
                raise ParameterError(
                    f"{self.files.folder} holds too few images, or too few people, for {FOLDS} folds with "
                    f"{FEWEST} or more images of each folder: {counts}. Bring more."
                )
            rows = np.concatenate([kind[:n] for kind in kinds])
            evaluation = np.flatnonzero(fold == i)
            splits["case", f"fold {i}"] = Split(rows, labels[rows], evaluation, labels[evaluation])
        return AuditSet(images, splits)

    @functools.cached_property
    def _scores(self) -> dict[str, dict[str, np.ndarray]]:
        """Reader -> row -> (T, N) float32: each image's score by MINT Models that never saw its person."""
        splits = self._splits(self._known, self._members)
        return {name: self._judged(found, splits) for name, found in self.features.items()}

    def _judged(self, features: Features, splits: AuditSet) -> dict[str, np.ndarray]:
        found = self.audit.mint(features, splits).scores
        trainings = self.audit.config.mint.mint_seeds
        judged = {
            row: np.empty((trainings, len(self.files.images)), np.float32) for row in features.rows
        }
        for (key, row), scores in found.items():
            judged[row][:, splits.splits[key].evaluation] = scores
        return judged

    def _decided(self, reader: str, row: str) -> Decided:
        known, scores = self._known, self._scores[reader][row][None]
        persons = self.files.images["person"].to_numpy()
        return decided(self._members[known], scores[..., known], persons[known])

    @functools.cached_property
    def cells(self) -> pd.DataFrame:
        """How well known members are told from known non-members: one line a reader and row.

        Returns:
            row, column (the reader), accuracy, low, high, auc, tpr_at_1pct_fpr, tpr_at_01pct_fpr, n.
        """
        known, persons = self._known, self.files.images["person"].to_numpy()
        lines, replicates = [], self.audit.config.mint.replicates
        for reader, rows in self._scores.items():
            for row, scores in rows.items():
                of_known = scores[None][..., known]
                found = summarise(self._members[known], of_known, persons[known], replicates)
                lines.append({"row": row, "column": reader} | found)
        return pd.DataFrame(lines)

    @property
    def blind_row(self) -> str:
        """The blind baseline that tells the known images apart best."""
        of = self.cells[self.cells["column"] == BLIND]
        return of.loc[of["accuracy"].idxmax(), "row"]

    # ---- what may be said ---------------------------------------------------------------------

    @functools.cached_property
    def verdicts(self) -> pd.DataFrame:
        """What must hold before anything is said of the images in question, decided by intervals.

        Returns:
            question, value, low, high, verdict: three differences that must lie above zero, and the
            accuracy above .50 by which blind baselines tell the images in question from the known ones,
            which must lie within `LIKE`.
        """
        of = self._decided(NETWORK, self.row)
        untrained, no_network = (
            self._decided(UNTRAINED, self.row),
            self._decided(BLIND, self.blind_row),
        )
        asked = [
            ("known members are told from known non-members", [(1, of)], 0.5, 0.0),
            ("better than by the same network untrained", [(1, of), (-1, untrained)], 0.0, 0.0),
            ("better than without any network", [(1, of), (-1, no_network)], 0.0, 0.0),
            ("the images in question are like the known ones", [(1, self._likeness())], 0.5, LIKE),
        ]
        lines = []
        for question, terms, above, margin in asked:
            found = interval(terms, self.audit.config.mint.replicates)
            value, low, high = (end - above for end in found)
            line = {"question": question, "value": value, "low": low, "high": high}
            lines.append(line | {"verdict": verdict(low, high, margin)})
        return pd.DataFrame(lines)

    def _likeness(self) -> Decided:
        """Return how the best blind baseline tells images in question from known ones."""
        persons, asked = self.files.images["person"].to_numpy(), ~self._known
        scores = self._judged(self.features[BLIND], self._splits(np.full(len(asked), True), asked))
        found = [decided(asked, of_row[None], persons) for of_row in scores.values()]
        return max(found, key=lambda one: one.accuracies.mean())

    @property
    def answers(self) -> pd.DataFrame:
        """What is said of each image in question, the likeliest members first.

        Returns:
            key, score (mean over the MINT Models), p: how often a known non-member that the same models
            never saw scores as high (conformal, arXiv 2104.08279); named: whether it is one of those among
            which at most `FALSE` are expected to be named wrongly (Benjamini and Hochberg).
        """
        lines = self.files.images.assign(score=self._scores[NETWORK][self.row].mean(axis=0))
        lines = lines.assign(p=np.nan)[["database", "key", "fold", "score", "p"]]
        for _, of_fold in lines.groupby("fold"):
            others = np.sort(of_fold["score"][of_fold["database"] == KNOWN[1]])
            asked = of_fold["score"][of_fold["database"] == QUESTIONED]
            below = np.searchsorted(others, asked, side="left")
            lines.loc[asked.index, "p"] = (1 + len(others) - below) / (1 + len(others))
        answers = lines[lines["database"] == QUESTIONED][["key", "score", "p"]]
        answers = answers.assign(named=false_discovery_control(answers["p"]) <= FALSE)
        return answers.sort_values(["p", "score"], ascending=[True, False], ignore_index=True)

    def share(self) -> Estimate:
        """Return which share of the images in question were members, by `prevalence`."""
        asked = ~self._known
        called = self._scores[NETWORK][self.row][:, asked] > THRESHOLD
        persons = self.files.images["person"].to_numpy()[asked]
        questioned = Decided(np.full(asked.sum(), True), called, persons)
        known, replicates = self._decided(NETWORK, self.row), self.audit.config.mint.replicates
        return prevalence(known, questioned, replicates)

    @property
    def scores(self) -> pd.DataFrame:
        """The mean score of every image: folder, score."""
        mean = self._scores[NETWORK][self.row].mean(axis=0)
        return pd.DataFrame({"folder": self.files.images["database"], "score": mean})

    def conclusion(self) -> str:
        """Return what this audit says, or why it can say nothing, in words made of its numbers."""
        of = self.verdicts.set_index("question")
        *needed, like = of.index
        failed = [q for q in needed if of.loc[q, "verdict"] != "supported"]
        told = [f"{q}: {of.loc[q, 'verdict']}" for q in failed]
        if failed:
            return (
                "**Nothing can be said of the images in question.** What would have to hold does not: "
                f"{'; '.join(told)}. This is no sign that they were not used."
            )
        share, answers, n = self.share(), self.answers, self.answers["named"].sum()
        ends = f"[{share.low:.0%}, {share.high:.0%}]"
        named_ones = f"{n} can be named, at most {FALSE:.0%} of these wrongly."
        if not n:
            others = self.files.images.query("database == @KNOWN[1]")["fold"].value_counts().max()
            lowest = f"no p is below {1 / (1 + others):.4f}"
            named_ones = f"None can be named: with {others} known non-members a fold {lowest}."
        text = (
            f"Of {len(answers)} images in question {share.value:.0%} {ends} were used to train this "
            f"network. {named_ones}"
        )
        if of.loc[like, "verdict"] == "supported":
            return text
        return (
            f"{text} **But this holds only if the images in question are like the known ones**, "
            f"which is {of.loc[like, 'verdict']}: differences of preparation count as membership here."
        )

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
