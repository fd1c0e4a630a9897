"""Which tests read membership: MINT Models on other readings of M, beside the attacks of the literature.

These MINT Models are trained as Vanilla MINT is, but read how an image lies to the class centres instead of
its activations. One table compares them with known attacks on the same M and the same images under
``held_out``.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from mint_utils import store
from mint_utils.audited.train import AuditedModel
from mint_utils.measure.bootstrap import Decided, Estimate, auc, interval
from mint_utils.measure.detection import low_fpr
from mint_utils.mint import readings
from mint_utils.mint.attacks import ATTACKS
from mint_utils.mint.protocol import AuditSet
from mint_utils.study import scenarios
from mint_utils.study.audit import Audit, Features, Scores
from mint_utils.study.claims import ALL, OUTCOME
from mint_utils.study.known_attacks import KEY, OWN_CLASS_VERSION, KnownAttacks
from mint_utils.study.results import MintTable
from mint_utils.study.scenarios import Column

VANILLA = (ALL, OUTCOME)
UNION = "Union"  # the share in the own centre together with how the image lies to it
OVER_TRAINING = f"{readings.OWN} over the training"
MARGIN = "margin over the training"
OVER_TRAINING_VERSION = 1  # raised when the same readings give other features


class Detectors:
    """MINT Models on readings, and attacks, for one configuration."""

    def __init__(self, audit: Audit):
        self.audit = audit
        self.attacks = KnownAttacks(audit)
        self.replicates = audit.config.mint.replicates

    @functools.cached_property
    def read(self) -> MintTable:
        """The MINT Models on readings at the end points of the scenarios: rows `readings.TESTS`."""
        return self._table(lambda m, of, _: self.audit.mint(self.audit.readings(m, of)[1], of))

    @functools.cached_property
    def vanilla(self) -> MintTable:
        """The Vanilla MINT Models at the same end points: the rows of the paper's tables."""
        return self._table(lambda m, of, _: self.audit.mint(self.audit.activations(m, of), of))

    @functools.cached_property
    def union(self) -> MintTable:
        """The MINT Models on the union of the readings at the same end points, ``held_out`` alone."""
        return self._table(lambda m, of, column: self._united(m, of, (column.group, KEY[1])))

    def _table(self, mint: Callable[[AuditedModel, AuditSet, Column], Scores]) -> MintTable:
        """Return the table of MINT Models at the end points, on the images for which attacks have a score."""

        def scores(model: AuditedModel, column: Column) -> Scores:
            chosen = self.audit.chosen(model, column.kind)
            return mint(model, chosen, column).on(self.attacks.common(chosen))

        ends = scenarios.end_points(self.audit.config)
        return MintTable.read(self.audit, "ends", ends, scores)

    def conclusion(self) -> str:
        """Return how much better the tests on class centres are under ``held_out``, in words."""
        columns = list(self.read.chosen)
        plain = {name: self.vanilla.decided(name, "held_out", VANILLA[0]) for name in columns}
        lines = [f"With non-members of the same database, over {len(columns)} networks:", ""]
        lines.append(f"* From all activations T classifies {self._range(plain)}.")
        for row in (readings.CENTRES, readings.OWN):
            read = {name: self.read.decided(name, "held_out", row) for name in columns}
            gains = {
                name: interval([(1, read[name]), (-1, plain[name])], self.replicates)
                for name in columns
            }
            better = [f"{name} ({gain.value:+.2f})" for name, gain in gains.items() if gain.low > 0]
            worse = [f"{name} ({gain.value:+.2f})" for name, gain in gains.items() if gain.high < 0]
            lines.append(
                f"* From the {row.lower()} it classifies {self._range(read)}. It is correct more often than "
                f"from activations for {', '.join(better) or 'none'}; less often for "
                f"{', '.join(worse) or 'none'}."
            )
        return "\n".join(lines)

    def _range(self, cells: Mapping[str, Decided]) -> str:
        """Return the range of accuracies in words, and for how many networks they lie above chance."""
        found = [interval([(1, cell)], self.replicates) for cell in cells.values()]
        values = [estimate.value for estimate in found]
        return (
            f"{min(values):.2f} to {max(values):.2f} of the images correctly, above chance by its interval "
            f"for {sum(estimate.low > 0.5 for estimate in found)} of {len(found)}"
        )

    def compared(self) -> pd.DataFrame:
        """Return MINT Models and attacks on the same evaluation images of ``held_out``.

        The images are those of `KnownAttacks.answered`, as in the tables `read` and `vanilla`: an attack that
        asks for a label has no score for a person that is no class of M.

        Returns:
            One line a detector: detector, access, needs, source, auc, low, high, tpr_at_1pct_fpr,
            tpr_at_01pct_fpr, n; by falling AUC.
        """
        chosen = self.attacks.chosen
        split = chosen.splits[KEY]
        scores = {name: found[split.evaluation] for name, found in self.attacks.scores().items()}
        answers = np.stack([scores[attack.name] for attack in ATTACKS])
        common = np.isfinite(answers).all(axis=0)
        common &= self.attacks.common(chosen)[split.evaluation]
        labels = split.labels[common]
        clusters = chosen.images["cluster"].to_numpy()[split.evaluation][common]
        lines = []
        for described, found in self._each(scores):
            area = auc(labels, found[:, common], clusters, self.replicates)
            names = ("detector", "access", "needs", "source", "auc", "low", "high")
            line = dict(zip(names, (*described, *area), strict=True))
            lines.append(line | low_fpr(labels, found[:, common]) | {"n": int(common.sum())})
        return pd.DataFrame(lines).sort_values("auc", ascending=False, ignore_index=True)

    def _each(self, scores: Mapping[str, np.ndarray]) -> Iterator[tuple[tuple, np.ndarray]]:
        """Yield every detector, (name, access, needs, source), and its scores (T, n) under ``held_out``.

        Args:
            scores: Name of an attack -> its scores (n,).
        """
        audit, model, chosen = self.audit, self.attacks.model, self.attacks.chosen
        known = "members and non-members"
        vanilla = audit.mint(audit.activations(model, chosen), chosen)
        for row in VANILLA:
            access = "black box" if row == OUTCOME else "white box"
            yield (f"Vanilla MINT, {row}", access, known, "the paper"), vanilla.scores[KEY, row]
        read = audit.mint(audit.readings(model, chosen)[1], chosen)
        for row, of in readings.TESTS.items():
            needs = f"label, {known}" if of.label else known
            yield (f"MINT, {row}", of.access, needs, "this study"), read.scores[KEY, row]
        united = self._united(model, chosen, KEY)
        needs = f"label, {known}"
        yield (f"MINT, {UNION}", "white box", needs, "this study"), united.scores[KEY, UNION]
        yield from self._over_training()
        for attack in ATTACKS:
            needs = ["label"] * attack.label + ["shadow models"] * attack.shadows
            needs += [attack.known] * (attack.known != "none")
            described = attack.name, attack.access, ", ".join(needs), attack.source
            yield described, scores[attack.name][None]

    def _over_training(self) -> Iterator[tuple[tuple, np.ndarray]]:
        """Yield the detectors that read M at checkpoints of its training too, as `_each` does; none without.

        A MINT Model reads the own class centre at the end of each stage of the learning rate, and `MARGIN` is
        the mean over them of the own cosine less the largest other. The idea is that of loss trajectories
        (arXiv 2208.14933). There they are taken over a distillation of M; here M's developer gives the
        auditor the checkpoints of the training itself.
        """
        chosen, read = self.attacks.chosen, self.attacks.over_training()
        if not read:
            return
        array = np.hstack([each.there()[:, each.rows[readings.OWN]] for _, each in read])
        spec = {"version": OVER_TRAINING_VERSION, "row": OVER_TRAINING}
        spec["readings"] = [each.digest for _, each in read]
        features = Features(array, {OVER_TRAINING: slice(0, array.shape[1])}, store.digest(spec))
        only = replace(chosen, splits={KEY: chosen.splits[KEY]})
        scores = self.audit.mint(features, only).scores[KEY, OVER_TRAINING]
        needs = "label, checkpoints, members and non-members"
        yield (f"MINT, {OVER_TRAINING}", "white box", needs, "this study"), scores
        margin = np.mean([found.margin() for found, _ in read], axis=0)
        of_images = margin[None, chosen.splits[KEY].evaluation]
        yield (MARGIN, "white box", "label, checkpoints", ""), of_images

    def _united(self, model: AuditedModel, chosen: AuditSet, key: tuple[str, str]) -> Scores:
        """Train MINT Models on the row `UNION`. External images have a share of 0; no split here has any."""
        places = self.attacks.places_of(chosen)
        inside = places >= 0
        _, features = self.audit.readings(model, chosen)
        share = np.zeros((len(places), 1), np.float32)
        share[inside, 0] = np.nan_to_num(self.attacks.own_class(model, places[inside])["share"])
        array = np.hstack([features.there()[:, features.rows[readings.OWN]], share])
        spec = {"version": OWN_CLASS_VERSION, "row": UNION, "readings": features.digest}
        rows = {UNION: slice(0, array.shape[1])}
        only = replace(chosen, splits={key: chosen.splits[key]})
        return self.audit.mint(Features(array, rows, store.digest(spec)), only)


def described() -> pd.DataFrame:
    """Return what each MINT Model on readings reads, and the access that it takes."""
    return pd.DataFrame(
        {"row": row, "reads": of.description, "access": of.access, "label": of.label}
        for row, of in readings.TESTS.items()
    )


def ranking(compared: pd.DataFrame) -> str:
    """Return which detectors of `Detectors.compared` lead, and where MINT stands, in words."""
    lines = compared.set_index("detector")
    mint = lines[lines.index.str.startswith("MINT")]
    plain = lines[lines.index.str.startswith("Vanilla")]
    of_training = lines["needs"].str.contains("checkpoints")
    attacks = lines[~of_training].drop([*mint.index, *plain.index], errors="ignore")
    shadow, label = (attacks["needs"].str.contains(what) for what in ("shadow", "label"))
    groups = {
        "attack with shadow models": attacks[shadow],
        "attack without them": attacks[~shadow],
        "attack that needs neither those nor a label": attacks[~shadow & ~label],
        "Vanilla MINT Model": plain,
    }
    if of_training.any():
        groups["detector that is given checkpoints of the training"] = lines[of_training]
    own, centres = (
        Estimate.read(mint.loc[f"MINT, {row}"], "auc") for row in (readings.OWN, readings.CENTRES)
    )
    sentences = [
        f"The area under the ROC curve of the test on class centres is {centres} on "
        f"{compared['n'].iloc[0]:,} images, and {own} if it knows whose image it is."
    ]
    for name, among in groups.items():
        best = among["auc"].idxmax()
        area = Estimate.read(among.loc[best], "auc")
        sentences.append(f"The best {name} is {best}, with {area}.")
    return " ".join(sentences)
