"""The attacks of the literature on one M: their readings, and their scores for the images of its audit."""

import functools

import numpy as np
from scipy.special import log_expit

from mint_utils import store
from mint_utils.audited import train
from mint_utils.audited.train import AuditedModel
from mint_utils.mint import readings, shadows
from mint_utils.mint.attacks import ATTACKS
from mint_utils.mint.protocol import AuditSet
from mint_utils.mint.readings import SCALE, Readings
from mint_utils.study import scenarios
from mint_utils.study.audit import Audit, Features, split_digests

KEY = "members", "held_out"
ATTACKS_VERSION = 2  # raised when the same readings give other scores
OWN_CLASS_VERSION = 1  # raised when the same model and images lie otherwise to their centres
SHADOW_VIEWS = 2  # an image and its mirror, both of which training shows


class KnownAttacks:
    """The known attacks on the baseline of one configuration, with its shadow models."""

    def __init__(self, audit: Audit):
        self.audit = audit

    @functools.cached_property
    def model(self) -> AuditedModel:
        """The first training of the baseline, on half of D where shadow models saw less than the baseline."""
        return self.audit.model(scenarios.compared(self.audit.config).recipe)

    @functools.cached_property
    def chosen(self) -> AuditSet:
        """The images of the audit of `model`."""
        return self.audit.chosen(self.model, self.audit.fair[0])

    @functools.cached_property
    def places(self) -> np.ndarray:
        """(N,) int64, which image of D each of this audit's images is; -1 for external ones."""
        return self.places_of(self.chosen)

    @functools.cached_property
    def _shadow_models(self) -> list[AuditedModel]:
        columns = scenarios.columns(self.audit.config, "shadows")
        return [self.audit.model(column.recipe) for column in columns]

    def places_of(self, chosen: AuditSet) -> np.ndarray:
        """Return which image of D each image of an audit set is: (N,) int64, -1 for external ones."""
        inside = chosen.images["database"] == self.audit.training.name
        return chosen.images["index"].where(inside, -1).to_numpy()

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

    def common(self, chosen: AuditSet) -> np.ndarray:
        """Return on which images of an audit set all are compared, (N,) bool: of D on those `answered`."""
        places = self.places_of(chosen)
        return (places < 0) | self.answered[places]

    def scores(self) -> dict[str, np.ndarray]:
        """Return (N,) scores of every attack for the images of the audit set, NaN where it has none."""
        spec = {
            "version": ATTACKS_VERSION,
            "attacks": [attack.name for attack in ATTACKS],
            "readings": self.audit.readings(self.model, self.chosen)[1].digest,
            "splits": split_digests(self.chosen),
            "shadows": [model.artifact.digest for model in self._shadow_models],
        }
        found = store.arrays("attacks", spec, "scores.npz", self._scores)
        return {attack.name: found[attack.name] for attack in ATTACKS}

    def over_training(self) -> list[tuple[Readings | None, Features]]:
        """Return `Audit.readings` of M at its checkpoints, then at the end; none where there are none."""
        if not (checkpoints := self.audit.checkpoints(self.model)):
            return []
        return [self.audit.readings(each, self.chosen) for each in (*checkpoints, self.model)]

    def _scores(self) -> dict[str, np.ndarray]:
        found, _ = self.audit.readings(self.model, self.chosen)
        split = self.chosen.splits[KEY]
        non_members = split.train[~split.train_labels]
        # Where the person has no class, `found.own` holds the nearest one, which attacks may not read.
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
            # They say how usual the photograph is, which does not depend on membership.
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

    def _shadows(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return the readings of the shadow models, name -> (S, N, V), and which images each saw (S, N)."""
        models, inside = self._shadow_models, self.places >= 0
        shown = [model.ledger["exposures"].to_numpy()[self.places] > 0 for model in models]
        each = [self._statistics(self.own_class(model)) for model in models]
        stacked = {name: np.stack([found[name] for found in each]) for name in each[0]}
        return stacked, inside & shown

    def _statistics(self, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the statistics that attacks compare, (N, V) each, higher for likelier members.

        Args:
            found: The arrays of `own_class`.
        """
        own, second = (found[name].astype(np.float64) for name in ("own", "second"))
        compared = {
            "odds": shadows.log_odds(found["own"], found["log_rest"], SCALE),
            "own cosine": own,
            "margin": own - second,
            "second centre": -second,
            "share": found["share"][:, None],
        }
        return {name: self._placed(array) for name, array in compared.items()}

    def _placed(self, inside: np.ndarray) -> np.ndarray:
        """Return readings of the audit set's images of D as rows of the audit set, NaN for all others."""
        placed = np.full((len(self.places), *inside.shape[1:]), np.nan)
        placed[self.places >= 0] = inside
        return placed

    def own_class(self, model: AuditedModel, indices: np.ndarray | None = None) -> dict:
        """Return `readings.own_class` for images of D.

        Args:
            model: M or a shadow model.
            indices: Images of D, (n,) int64; None: those of the baseline's audit set.
        """
        database = self.audit.training
        indices = self.places[self.places >= 0] if indices is None else indices

        def make() -> dict[str, np.ndarray]:
            device = train.default_device()
            network, head = model.load(device)
            classes = model.ledger["class"].to_numpy()[indices]
            given = database.images, indices, classes
            return readings.own_class(network, head, train.COLOUR_ORDER, *given, device)

        spec = {
            "version": OWN_CLASS_VERSION,
            "model": model.artifact.digest,
            "images": store.digest({"database": database.fingerprint, "of": indices.tolist()}),
        }
        return store.arrays("own_class", spec, "own_class.npz", make)
