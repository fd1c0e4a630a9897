"""The Audited Models of a configuration, what is read of them, and their MINT Models.

All of this is expensive, so it is made once and kept in the store. ``study`` and ``controls`` make tables,
intervals and figures of it.
"""

import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from mint_utils import paths, store
from mint_utils.audited import train
from mint_utils.audited.train import AuditedModel
from mint_utils.config import PROTOCOLS, Audited, Config, plain
from mint_utils.data.manifest import Database
from mint_utils.errors import DataError
from mint_utils.mint import aad, readings
from mint_utils.mint.fit import MintRecipe, MintTask, fit
from mint_utils.mint.protocol import AuditSet
from mint_utils.mint.readings import Readings
from mint_utils.store import Artifact
from mint_utils.study import scenarios
from mint_utils.study.images import HALVES, SWAPPED, Images, named
from mint_utils.study.quality import Quality
from mint_utils.study.scenarios import Column

VERSION = 2  # of the MINT training: raised when the same features give other scores
FAILED_BELOW = 0.05  # a training this far below the best verification of its recipe has failed


@dataclass(frozen=True)
class Features:
    """The features of each image of an audit, and which of them each row of a table reads.

    Attributes:
        array: (N, L) float32, one row an image of the audit set; None where only what MINT Models made of
            it was brought from another machine (`store.pack`).
        rows: Row of a table -> its columns.
        digest: Hash of all that determines the array.
    """

    array: np.ndarray | None
    rows: Mapping[str, slice]
    digest: str

    def there(self) -> np.ndarray:
        """Return the array.

        Raises:
            DataError: It stayed on another machine.
        """
        if self.array is None:
            raise DataError(
                f"The features {self.digest} are not here, only what MINT Models made of them: "
                f"delete {paths.artifacts() / 'features' / self.digest} and they are read from M again."
            )
        return self.array


@dataclass(frozen=True)
class Scores:
    """The scores of the MINT Models of one Audited Model.

    Attributes:
        chosen: The images and splits.
        scores: ((group, protocol), row) -> (T, n) float32, probability of membership.
    """

    chosen: AuditSet
    scores: dict[tuple[tuple[str, str], str], np.ndarray]

    def on(self, kept: np.ndarray) -> "Scores":
        """Return the scores of those images of the audit set that are kept, (N,) bool."""
        splits = {
            key: replace(
                split,
                evaluation=split.evaluation[kept[split.evaluation]],
                labels=split.labels[kept[split.evaluation]],
            )
            for key, split in self.chosen.splits.items()
        }
        scores = {
            (key, row): found[:, kept[self.chosen.splits[key].evaluation]]
            for (key, row), found in self.scores.items()
        }
        return Scores(replace(self.chosen, splits=splits), scores)


@dataclass(frozen=True)
class Trainings:
    """The trainings of one recipe, as many as were asked for.

    Attributes:
        models: By their seeds.
        failed: How many trainings failed (`Audit.trained`).
        holds_failed: Whether some of those are among the models, because others failed as well.
    """

    models: list[AuditedModel]
    failed: int = 0
    holds_failed: bool = False


@dataclass(frozen=True)
class Outcomes:
    """Where M puts all N images of D and its C class centres.

    Attributes:
        units: (N, D) float32, the Model Outcome, rounded to half precision.
        norms: (N,) float32, length of the embedding.
        centres: (C, D) float32, of unit length, rounded likewise.
        classes: (N,) int64, the class of each image's person, -1 for people that M was never shown.
    """

    units: np.ndarray
    norms: np.ndarray
    centres: np.ndarray
    classes: np.ndarray


class Audit:
    """The trainings of a configuration, what is read of them, and the MINT Models on that.

    Attributes:
        images: All of them, and which take part; `Images` of the configuration unless given.
        quality: How well its models verify and identify.
        seconds: Name of an artifact that was asked for -> seconds that it took when it was made.
    """

    def __init__(self, config: Config, images: Images | None = None):
        self.config = config
        self.images = images or Images(config)
        self.quality = Quality(self.images)
        self.seconds: dict[str, float] = {}

    @property
    def training(self) -> Database:
        """D, the Training Dataset: members and held-out images."""
        return self.images.training

    @property
    def fair(self) -> tuple[str, str]:
        """The kinds of groups of the M of `scenarios.compared` and of the null model of its size."""
        return tuple(HALVES) if scenarios.halved(self.config) else ("members", SWAPPED)

    # ---- the Audited Model --------------------------------------------------------------------

    def _of_recipe(self, recipe: Audited) -> tuple[Any, ...]:
        """Return what determines an Audited Model."""
        roles = self.config.databases
        return recipe, self.training, roles.held_out, roles.partition_seed

    def model(self, recipe: Audited) -> AuditedModel:
        """Return an Audited Model: from the store, or trained now."""
        model = train.audited_model(*self._of_recipe(recipe))
        self._took("audited", model.artifact)
        return model

    def is_trained(self, recipe: Audited) -> bool:
        """Say whether an Audited Model is in the store."""
        return store.find("audited", train.specification(*self._of_recipe(recipe))) is not None

    def checkpoints(self, model: AuditedModel) -> list[AuditedModel]:
        """Return an Audited Model at earlier steps of its training; see `train.checkpoints`."""
        found = train.checkpoints(model, *self._of_recipe(model.recipe)[1:])
        for checkpoint in found[-1:]:  # all are of one artifact
            self._took("checkpoints", checkpoint.artifact)
        return found

    def trained(self, scenario: str, column: Column) -> Trainings:
        """Return the trainings of a column, made now where they are missing.

        A training has failed where its verification lies more than `FAILED_BELOW` below the best one of its
        recipe. In its place the next seed is trained, at most as many as were asked for. A single training
        has nothing to be compared with, and counts as good.
        """
        asked = scenarios.recipes(self.config, scenario, column)
        models = [self.model(recipe) for recipe in asked]
        if len(asked) == 1:
            return Trainings(models)
        while True:
            quality = np.array([self.quality.mean(model) for model in models])
            failed = quality < quality.max() - FAILED_BELOW
            if (~failed).sum() >= len(asked) or len(models) == 2 * len(asked):
                break
            seed = asked[0].seed + len(models)
            models.append(self.model(replace(asked[0], seed=seed)))
        kept = np.sort(np.argsort(failed, kind="stable")[: len(asked)])
        return Trainings([models[i] for i in kept], int(failed.sum()), bool(failed[kept].any()))

    def outcomes(self, model: AuditedModel, audited: AuditedModel | None = None) -> Outcomes:
        """Return where the images of D and the class centres of M lie, for questions about people.

        An untrained M has no ledger; ``audited`` is then the trained model whose classes it has.
        """
        with np.load(self.place(model).folder / "outcomes.npz") as file:
            arrays = {name: found.astype(np.float32) for name, found in file.items()}
        return Outcomes(**arrays, classes=(audited or model).ledger["class"].to_numpy())

    def place(self, model: AuditedModel) -> Artifact:
        """Make what `outcomes` reads if it is not there; nothing is loaded."""
        spec = {"version": aad.VERSION, "model": model.artifact.digest}
        make = functools.partial(_save_outcomes, model=model, training=self.training)
        return store.fetch("outcomes", spec, make)

    # ---- what is read of images ---------------------------------------------------------------

    def chosen(self, model: AuditedModel, kind: str = "members") -> AuditSet:
        """Return the images of a model's audit and their splits, by the exposures of its ledger."""
        return self.images.audit_set(kind, model.ledger["exposures"].to_numpy())

    def activations(self, model: AuditedModel, chosen: AuditSet, pooling: str = "max") -> Features:
        """Return the Auxiliary Auditable Data and the Model Outcome of the images of an audit set.

        ``pooling`` reduces an activation map to its ``max``, as in the paper, or to its ``mean``.
        """
        runs = self.images.runs(chosen)

        def make(folder: Path) -> None:
            _save_activations(folder / "features.npy", model, runs, pooling)
            chosen.images.to_csv(folder / "images.csv", index=False)

        spec = {"version": aad.VERSION, "model": model.artifact.digest, "images": named(runs)}
        if pooling != "max":
            spec["pooling"] = pooling
        done = self._fetch("features", {"digest": store.digest(spec)}, make)
        rows = aad.columns(*train.shape(model.recipe.network, model.artifact.record["image_size"]))
        path = done.folder / "features.npy"
        array = np.load(path, mmap_mode="r") if path.exists() else None
        return Features(array, rows, done.digest)

    def readings(self, model: AuditedModel, chosen: AuditSet) -> tuple[Readings | None, Features]:
        """Return how the images of an audit set lie to M's class centres, and the features made of it.

        The first is None where only what MINT Models made of it was brought from another machine.
        """
        runs, d = self.images.runs(chosen), self.training.name
        spec = {"version": readings.VERSION, "model": model.artifact.digest, "images": named(runs)}
        make = functools.partial(_save_readings, model=model, runs=runs, training=d)
        done = self._fetch("readings", {"digest": store.digest(spec)}, make)
        path = done.folder / "readings.npz"
        if not path.exists():
            rows = {name: slice(*ends) for name, ends in done.record["rows"].items()}
            return None, Features(None, rows, done.digest)
        with np.load(path) as file:
            found = Readings(**file)
        return found, Features(*found.features(), done.digest)

    # ---- the MINT Model -----------------------------------------------------------------------

    @property
    def mint_recipe(self) -> MintRecipe:
        """How this configuration trains its MINT Models."""
        settings = self.config.mint
        return MintRecipe(epochs=settings.mint_epochs, batch_size=settings.mint_batch_size)

    def mint(
        self,
        features: Features,
        chosen: AuditSet,
        recipe: MintRecipe | None = None,
        protocols: Collection[str] | None = None,
    ) -> Scores:
        """Train and evaluate a MINT Model for every split of an audit set, row of features and seed.

        The recipe is the configuration's unless given, and the splits are those of all protocols.
        """
        if protocols is not None:
            wanted = {key: split for key, split in chosen.splits.items() if key[1] in protocols}
            chosen = replace(chosen, splits=wanted)
        spec = {
            "version": VERSION,
            "features": features.digest,
            "splits": split_digests(chosen),
            "rows": {name: [where.start, where.stop] for name, where in features.rows.items()},
            "mint": {k: v for k, v in plain(self.config.mint).items() if k != "replicates"},
        }
        if recipe is not None:
            spec["recipe"] = plain(recipe)

        def make(folder: Path) -> None:
            how = recipe or self.mint_recipe
            scores = _fitted(features, chosen, how, self.config.mint.mint_seeds)
            np.savez(folder / "scores.npz", **{str(i): each for i, each in enumerate(scores)})

        done = self._fetch("mint", spec, make)
        names = itertools.product(chosen.splits, features.rows)
        with np.load(done.folder / "scores.npz") as file:
            return Scores(chosen, {name: file[str(i)] for i, name in enumerate(names)})

    def scores(
        self,
        model: AuditedModel,
        kind: str = "members",
        audited: AuditedModel | None = None,
        protocols: Collection[str] = PROTOCOLS,
    ) -> Scores:
        """Train and evaluate the MINT Models of an Audited Model: every group, protocol, row and seed.

        Members, held-out images and splits are those of ``audited``, by default of the model itself.
        """
        chosen = self.chosen(audited or model, kind)
        return self.mint(self.activations(model, chosen), chosen, protocols=protocols)

    def prepare(self, recipe: Audited, kinds: Iterable[str]) -> None:
        """Make everything that tables need of an Audited Model and that is not there."""
        model, kinds = self.model(recipe), list(kinds)
        if kinds:  # else it is a model that controls compare with, and has no line in a table
            self.quality.verified(model)
            self.quality.identified(model)
        for kind in kinds:
            self.scores(model, kind)

    def _fetch(self, kind: str, spec: dict[str, Any], make: Callable) -> Artifact:
        done = store.fetch(kind, spec, make)
        self._took(kind, done)
        return done

    def _took(self, kind: str, done: Artifact) -> None:
        self.seconds[f"{kind} {done.digest}"] = done.record["seconds"]


def _save_outcomes(folder: Path, model: AuditedModel, training: Database) -> None:
    device = train.default_device()
    network, head = model.load(device)
    units, norms = aad.outcomes(network, train.COLOUR_ORDER, training.images, device)
    centres = nn.functional.normalize(head.kernel.detach(), dim=0).T.cpu().numpy()
    arrays = {"units": units, "norms": norms, "centres": centres.astype(np.float16)}
    np.savez(folder / "outcomes.npz", **arrays)


def _save_activations(
    path: Path, model: AuditedModel, runs: Sequence[tuple[Database, np.ndarray]], pooling: str
) -> None:
    device = train.default_device()
    network, _ = model.load(device)
    pieces = [(db.images, indices) for db, indices in runs]
    aad.extract(network, train.COLOUR_ORDER, pieces, path, device, pooling)


def _save_readings(
    folder: Path, model: AuditedModel, runs: Sequence[tuple[Database, np.ndarray]], training: str
) -> dict[str, Any]:
    """Write how images lie to class centres; only images of the training database have a class."""
    device = train.default_device()
    network, head = model.load(device)
    known = model.ledger["class"].to_numpy()
    pieces = [
        (db.images, indices, known[indices] if db.name == training else np.full(len(indices), -1))
        for db, indices in runs
    ]
    found = readings.read(network, head, train.COLOUR_ORDER, pieces, device)
    np.savez(folder / "readings.npz", **vars(found))
    return {"rows": {name: [at.start, at.stop] for name, at in found.features()[1].items()}}


def _fitted(
    features: Features, chosen: AuditSet, recipe: MintRecipe, seeds: int
) -> list[np.ndarray]:
    """Return the scores (T, n) of each split and row of features, by as many trainings as seeds."""
    tasks = [
        MintTask(columns, split.train, split.train_labels, split.evaluation, seed)
        for split in chosen.splits.values()
        for columns in features.rows.values()
        for seed in range(seeds)
    ]
    scores = fit(features.there(), tasks, recipe, train.default_device())
    return [np.stack(scores[i : i + seeds]) for i in range(0, len(tasks), seeds)]


def split_digests(chosen: AuditSet) -> dict[str, str]:
    """Return what identifies the splits of an audit set in the specification of an artifact."""
    return {
        f"{group} {protocol}": store.digest({k: v.tolist() for k, v in vars(split).items()})
        for (group, protocol), split in chosen.splits.items()
    }
