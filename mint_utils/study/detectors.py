"""Which tests read membership: MINT Models on other readings of M, and the attacks of the literature.

In: an `Audit`. Out: tables of MINT Models that are trained as Vanilla MINT is, on how an image lies to the
class centres instead of on its activations; and one table in which they stand beside known attacks on the
same M and the same images, under ``held_out``.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.special import log_expit

from mint_utils import store
from mint_utils.audited import train
from mint_utils.audited.train import AuditedModel
from mint_utils.measure.bootstrap import Decided, Estimate, auc, interval
from mint_utils.measure.detection import low_fpr
from mint_utils.mint import readings, shadows
from mint_utils.mint.attacks import ATTACKS
from mint_utils.mint.protocol import AuditSet
from mint_utils.mint.readings import SCALE
from mint_utils.study import scenarios
from mint_utils.study.audit import Audit, Features, Scores, split_digests
from mint_utils.study.claims import ALL, OUTCOME
from mint_utils.study.results import MintTable
from mint_utils.study.scenarios import Column

KEY = "members", "held_out"
VANILLA = (ALL, OUTCOME)
ATTACKS_VERSION = 2  # raised when the same readings give other scores
UNION = "Union"  # of the share in the own centre and of how the image lies to it
OWN_CLASS_VERSION = 1  # raised when the same model and images lie otherwise to their centres
SHADOW_VIEWS = 2  # an image and its mirror, both of which training shows


class Detectors:
    """MINT Models on readings, and attacks, for one configuration."""

    def __init__(self, audit: Audit):
        self.audit = audit
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
        """Return the table of what MINT Models give at the end points, on the images that are compared."""

        def scores(model: AuditedModel, column: Column) -> Scores:
            chosen = self.audit.chosen(model, column.kind)
            return mint(model, chosen, column).on(self._kept(chosen))

        ends = scenarios.end_points(self.audit.config)
        return MintTable.read(self.audit, "ends", ends, scores)

    @functools.cached_property
    def answered(self) -> np.ndarray:
        """(N,) bool, the images of D for which every attack has an answer.

        M knows the person, and so does a shadow model that saw the image and one that did not.
        """
        seen = unseen = np.zeros(len(self.audit.training), bool)
        for ledger in (model.ledger for model in self._shadow_models):
            shown, known = ledger["exposures"].to_numpy() > 0, ledger["class"].to_numpy() >= 0
            seen, unseen = seen | shown, unseen | (known & ~shown)
        return (self.model.ledger["class"].to_numpy() >= 0) & seen & unseen

    def _kept(self, chosen: AuditSet) -> np.ndarray:
        """Return which images of an audit set are compared: of D those that every attack answers for."""
        places = self._places(chosen)
        return (places < 0) | self.answered[places]

    def _places(self, chosen: AuditSet) -> np.ndarray:
        """Return which image of D each image of an audit set is: (N,) int64, -1 for external ones."""
        inside = chosen.images["database"] == self.audit.training.name
        return chosen.images["index"].where(inside, -1).to_numpy()

    def conclusion(self) -> str:
        """Return how much better the tests on class centres are under ``held_out``, in words."""
        columns = list(self.read.chosen)
        plain = {name: self.vanilla.decided(name, "held_out", VANILLA[0]) for name in columns}
        told = [f"With non-members of the same database, over {len(columns)} networks:", ""]
        told.append(f"* From all activations T is right for {self._range(plain)}.")
        for row in (readings.CENTRES, readings.OWN):
            read = {name: self.read.decided(name, "held_out", row) for name in columns}
            gains = {
                name: interval([(1, read[name]), (-1, plain[name])], self.replicates)
                for name in columns
            }
            better = [f"{name} ({gain.value:+.2f})" for name, gain in gains.items() if gain.low > 0]
            worse = [f"{name} ({gain.value:+.2f})" for name, gain in gains.items() if gain.high < 0]
            told.append(
                f"* From the {row.lower()} it is right for {self._range(read)}. It is right more often than "
                f"from activations for {', '.join(better) or 'none'}; less often for "
                f"{', '.join(worse) or 'none'}."
            )
        return "\n".join(told)

    def _range(self, cells: Mapping[str, Decided]) -> str:
        """Return from where to where accuracies go, and for how many networks they lie above chance."""
        found = [interval([(1, cell)], self.replicates) for cell in cells.values()]
        values = [one.value for one in found]
        return (
            f"{min(values):.2f} to {max(values):.2f} of the images, above chance by its interval for "
            f"{sum(one.low > 0.5 for one in found)} of {len(found)}"
        )

    @functools.cached_property
    def model(self) -> AuditedModel:
        """The first training of the baseline; of half of D where shadow models saw less than that did."""
        return self.audit.model(scenarios.compared(self.audit.config).recipe)

    @functools.cached_property
    def chosen(self) -> AuditSet:
        """The images of this model's audit."""
        return self.audit.chosen(self.model, self.audit.fair[0])

    @functools.cached_property
    def places(self) -> np.ndarray:
        """(N,) int64, which image of D each of this audit's images is; -1 for external ones."""
        return self._places(self.chosen)

    def attack_scores(self) -> dict[str, np.ndarray]:
        """Return (N,) scores of every attack for the images of the audit set, NaN where it has none."""
        spec = {
            "version": ATTACKS_VERSION,
            "attacks": [attack.name for attack in ATTACKS],
            "readings": self.audit.readings(self.model, self.chosen)[1].digest,
            "splits": split_digests(self.chosen),
            "shadows": [model.artifact.digest for model in self._shadow_models],
        }
        found = store.arrays("attacks", spec, "scores.npz", self._attack_scores)
        return {attack.name: found[attack.name] for attack in ATTACKS}

    def _attack_scores(self) -> dict[str, np.ndarray]:
        found, _ = self.audit.readings(self.model, self.chosen)
        split = self.chosen.splits[KEY]
        non_members = split.train[~split.train_labels]
        # For attacks there is no other class.
        own = np.where(found.known[:, None], found.own, np.nan)
        odds = shadows.log_odds(own, found.log_rest, SCALE)[:, :SHADOW_VIEWS]
        of_shadows, seen = self._shadows()
        of_model = self.own_class(self.model)
        target = self._statistics(of_model) | {"odds": odds}
        given = {
            "nearest": found.nearest[:, None],
            "log_sum": found.log_sum,
            "own": own,
            "log_rest": found.log_rest,
            "norm": found.norm,
            "distances": found.distances,
            "s": SCALE,
            "train": split.train,
            "train_labels": split.train_labels,
            "statistic": odds[:, 0],
            # How usual the photograph is, whoever saw it.
            "features": np.hstack([found.norm, found.copies]),
            "non_members": non_members,
            "population": non_members,
            "log_p_target": log_expit(odds),
            "log_p_shadow": log_expit(of_shadows["odds"]),
            "seen": seen,
            "own_length": found.own_length,
            "share": self._placed(of_model["share"]),
            "nearest_share": self._placed(of_model["nearest_share"]),
        }
        scores = {}
        for attack in ATTACKS:
            given |= {"phi_target": target[attack.of], "phi_shadow": of_shadows[attack.of]}
            scores[attack.name] = attack.function(**{name: given[name] for name in attack.reads})
        return scores

    def compared(self) -> pd.DataFrame:
        """Return MINT Models and attacks on the same evaluation images of ``held_out``.

        The images are those of `answered`, as in the tables `read` and `vanilla`: an attack that asks for a
        label has no score for a person that is no class of M.

        Returns:
            One line a detector: detector, access, needs, source, auc, low, high, tpr_at_1pct_fpr,
            tpr_at_01pct_fpr, n; by falling AUC.
        """
        split = self.chosen.splits[KEY]
        scores = {name: found[split.evaluation] for name, found in self.attack_scores().items()}
        answers = np.stack([scores[attack.name] for attack in ATTACKS])
        common = np.isfinite(answers).all(axis=0)
        common &= self._kept(self.chosen)[split.evaluation]
        labels = split.labels[common]
        clusters = self.chosen.images["cluster"].to_numpy()[split.evaluation][common]
        lines = []
        for told, found in self._each(scores):
            area = auc(labels, found[:, common], clusters, self.replicates)
            names = ("detector", "access", "needs", "source", "auc", "low", "high")
            line = dict(zip(names, (*told, *area), strict=True))
            lines.append(line | low_fpr(labels, found[:, common]) | {"n": int(common.sum())})
        return pd.DataFrame(lines).sort_values("auc", ascending=False, ignore_index=True)

    def _each(self, scores: Mapping[str, np.ndarray]) -> Iterator[tuple[tuple, np.ndarray]]:
        """Yield every detector, (name, access, needs, source), and its scores (T, n) under ``held_out``.

        Args:
            scores: Those of the attacks, (n,) each.
        """
        audit, model, chosen, known = self.audit, self.model, self.chosen, "members and non-members"
        vanilla = audit.mint(audit.activations(model, chosen), chosen)
        for row in VANILLA:
            access = "black box" if row == OUTCOME else "white box"
            told = f"Vanilla MINT, {row}", access, known, "the paper"
            yield told, vanilla.scores[KEY, row]
        read = audit.mint(audit.readings(model, chosen)[1], chosen)
        for row, of in readings.TESTS.items():
            needs = f"label, {known}" if of.label else known
            yield (f"MINT, {row}", of.access, needs, "this study"), read.scores[KEY, row]
        united = self._united(model, chosen, KEY)
        told = f"MINT, {UNION}", "white box", f"label, {known}", "this study"
        yield told, united.scores[KEY, UNION]
        for attack in ATTACKS:
            asked = ["label"] * attack.label + ["shadow models"] * attack.shadows
            asked += [attack.known] * (attack.known != "none")
            told = attack.name, attack.access, ", ".join(asked), attack.source
            yield told, scores[attack.name][None]

    def _united(self, model: AuditedModel, chosen: AuditSet, key: tuple[str, str]) -> Scores:
        """Train MINT Models on the row `UNION`; external images, in no split here, have a share of 0."""
        places = self._places(chosen)
        inside = places >= 0
        _, features = self.audit.readings(model, chosen)
        share = np.zeros((len(places), 1), np.float32)
        share[inside, 0] = np.nan_to_num(self.own_class(model, places[inside])["share"])
        array = np.hstack([features.there()[:, features.rows[readings.OWN]], share])
        spec = {"version": OWN_CLASS_VERSION, "row": UNION, "readings": features.digest}
        rows = {UNION: slice(0, array.shape[1])}
        only = replace(chosen, splits={key: chosen.splits[key]})
        return self.audit.mint(Features(array, rows, store.digest(spec)), only)

    def _shadows(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return of each shadow model the readings (S, N, V) by name, and what it saw (S, N)."""
        models, inside = self._shadow_models, self.places >= 0
        shown = [model.ledger["exposures"].to_numpy()[self.places] > 0 for model in models]
        each = [self._statistics(self.own_class(model)) for model in models]
        return {name: np.stack([one[name] for one in each]) for name in each[0]}, inside & shown

    def _statistics(self, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return what attacks compare of `own_class`, (N, V) each, higher for likelier members."""
        own, second = (found[name].astype(np.float64) for name in ("own", "second"))
        of = {"odds": shadows.log_odds(found["own"], found["log_rest"], SCALE), "own cosine": own}
        of |= {"margin": own - second, "second centre": -second, "share": found["share"][:, None]}
        return {name: self._placed(array) for name, array in of.items()}

    def _placed(self, of_d: np.ndarray) -> np.ndarray:
        """Return readings of D's images as rows of the audit set, NaN for all others."""
        placed = np.full((len(self.places), *of_d.shape[1:]), np.nan)
        placed[self.places >= 0] = of_d
        return placed

    @functools.cached_property
    def _shadow_models(self) -> list[AuditedModel]:
        columns = scenarios.columns(self.audit.config, "shadows")
        return [self.audit.model(column.recipe) for column in columns]

    def own_class(self, model: AuditedModel, indices: np.ndarray | None = None) -> dict:
        """Return `readings.own_class` of images of D, None: those of the baseline's audit set."""
        database = self.audit.training
        indices = self.places[self.places >= 0] if indices is None else indices

        def make() -> dict[str, np.ndarray]:
            device = train.default_device()
            network, head = model.load(device)
            classes = model.ledger["class"].to_numpy()[indices]
            of = database.images, indices, classes
            return readings.own_class(network, head, train.COLOUR_ORDER, *of, device)

        spec = {
            "version": OWN_CLASS_VERSION,
            "model": model.artifact.digest,
            "images": store.digest({"database": database.fingerprint, "of": indices.tolist()}),
        }
        return store.arrays("own_class", spec, "own_class.npz", make)


def described() -> pd.DataFrame:
    """Return what each MINT Model on readings reads, and the access that it takes."""
    return pd.DataFrame(
        {"row": row, "reads": of.description, "access": of.access, "label": of.label}
        for row, of in readings.TESTS.items()
    )


def ranking(compared: pd.DataFrame) -> str:
    """Return which detectors of `Detectors.compared` lead, and where MINT stands, in words."""
    told = compared.set_index("detector")
    mint = told[told.index.str.startswith("MINT")]
    plain = told[told.index.str.startswith("Vanilla")]
    of_attacks = told.drop([*mint.index, *plain.index])
    shadow, label = (of_attacks["needs"].str.contains(what) for what in ("shadow", "label"))
    groups = {
        "attack with shadow models": of_attacks[shadow],
        "attack without them": of_attacks[~shadow],
        "attack that needs neither those nor a label": of_attacks[~shadow & ~label],
        "Vanilla MINT Model": plain,
    }
    own, centres = (_area(mint.loc[f"MINT, {row}"]) for row in (readings.OWN, readings.CENTRES))
    sentences = [
        f"The area under the ROC curve of the test on class centres is {centres} on "
        f"{compared['n'].iloc[0]:,} images, and {own} if it is told who is shown."
    ]
    for name, among in groups.items():
        best = among["auc"].idxmax()
        sentences.append(f"The best {name} is {best}, with {_area(among.loc[best])}.")
    return " ".join(sentences)


def _area(line: pd.Series) -> Estimate:
    return Estimate(line["auc"], line["low"], line["high"])
