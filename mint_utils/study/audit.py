"""One configuration's images, Audited Models and what the MINT Models say: everything expensive, made once.

In: a configuration; recipes of Audited Models. Out: artifacts of the store, as arrays and objects. Tables,
intervals and figures are made of them by ``study`` and ``controls``.
"""

import functools
import itertools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from mint_utils import paths, store
from mint_utils.audited import train
from mint_utils.audited.exposure import Plan, plan
from mint_utils.audited.train import AuditedModel
from mint_utils.config import PROTOCOLS, Audited, Config, plain
from mint_utils.data import identities
from mint_utils.data.contamination import contaminated
from mint_utils.data.manifest import Database, open_database
from mint_utils.data.membership import part
from mint_utils.errors import DataError
from mint_utils.measure.verification import verification_accuracy
from mint_utils.mint import aad, readings
from mint_utils.mint.fit import MintRecipe, MintTask, fit
from mint_utils.mint.likeness import Likeness
from mint_utils.mint.protocol import AuditSet, audit_set
from mint_utils.mint.readings import Readings
from mint_utils.study import scenarios
from mint_utils.study.scenarios import Column

VERSION = 2  # of the MINT training: raised when the same features give other scores
VERIFICATION_VERSION = 2  # of verification and identification
FAILED_BELOW = 0.05  # the best verification of the same recipe, a training has failed
KINDS = ("members", "parts")  # of groups whose images are positives
SWAPPED = "swapped"  # the same for a model that is shown what the others hold out
HALVES = {"half a": "half-a", "half b": "half-b"}  # kind of group -> what its model is shown


@dataclass(frozen=True)
class Features:
    """What is known of each image of an audit, and which of it each row of a table reads.

    Attributes:
        array: (N, L) float32, one row an image of the audit set; None where only what MINT Models made of
            it was brought from another machine (`store.pack`).
        rows: Row of a table -> its columns.
        digest: Of all that determines the array.
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
    """What the MINT Models of one Audited Model gave.

    Attributes:
        chosen: The images and splits.
        scores: ((group, protocol), row) -> (T, n) float32, probability of membership.
    """

    chosen: AuditSet
    scores: dict[tuple[tuple[str, str], str], np.ndarray]

    def on(self, kept: np.ndarray) -> "Scores":
        """Return the scores of some of the images of the audit set, (N,) bool, alone."""
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
    """The images of a configuration and all that is trained on them.

    Attributes:
        likeness: What published weights take for alike; None where the profile names none.

    Raises:
        DataError: The file of those weights is missing.
    """

    def __init__(self, config: Config):
        self.config, roles = config, config.databases
        self.likeness: Likeness | None = None
        if roles.recognition is not None:
            path = Path(config.data or "", roles.recognition)
            self.likeness = Likeness(path, roles.recognition_network, roles.image_size)
        self._stages: dict[str, float] = {}

    # ---- databases ----------------------------------------------------------------------------

    def database(self, name: str) -> Database:
        """Return a database of the profile, prepared at its image size."""
        roles = self.config.databases
        return _database(name, self.config.data, roles.image_size, roles.scale)

    @property
    def training(self) -> Database:
        """D, the Training Dataset: members and held-out images."""
        return self.database(self.config.databases.training)

    @property
    def external_train(self) -> list[Database]:
        """The External Datasets of T's training."""
        return [self.database(name) for name in self.config.databases.external_train]

    @property
    def external_eval(self) -> Database:
        """The External Dataset of T's evaluation."""
        return self.database(self.config.databases.external_eval)

    @property
    def verification_sets(self) -> list[Database]:
        """The pairs by which recognition is measured."""
        return [self.database(name) for name in self.config.databases.verification]

    @functools.cached_property
    def copies_from(self) -> float | None:
        """From which cosine on two images are copies; None where there are no weights."""
        return self.likeness and self.likeness.cosine(self.training, self.verification_sets)

    @functools.cache  # noqa: B019  (an audit lives as long as its notebook)
    def contamination(self) -> pd.DataFrame:
        """Return the external images that D holds too, which are no non-members.

        Compared by perceptual hash (`contaminated`), and by embedding where there are weights (`Likeness`).
        `audit_set` never chooses one.

        Returns:
            One line an image: database, key, training_key (the nearest image of D, by the hash if that found
            it), found_by (hash, embedding, or both), distance and mirrored (of the hash), cosine.
        """
        externals = (*self.external_train, self.external_eval)
        by_hash = pd.concat([contaminated(self.training, db) for db in externals])
        if self.likeness is None:
            return _one_line_an_image(by_hash, None)
        copies = [self.likeness.copies(self.training, db, self.copies_from) for db in externals]
        return _one_line_an_image(by_hash, pd.concat(copies))

    def shared_people(self) -> pd.DataFrame:
        """Return how many people of the verification sets are in D: one line a set.

        Returns:
            database, people (see `identities.persons`), by_name; not a number where the manifests tell none.
        """
        roles, data, lines = self.config.databases, self.config.data, []
        ours, shared = identities.names(roles.training, data), self.shared_names()
        for db in self.verification_sets:
            named = ours and identities.names(db.name, data)
            of_db = shared[shared["database"] == db.name]["identity"]
            line = {"database": db.name, "people": len(np.unique(identities.persons(db)))}
            line["by_name"] = of_db.nunique() if named else None
            lines.append(line)
        return pd.DataFrame(lines).astype({"by_name": "Int64"})

    def shared_names(self) -> pd.DataFrame:
        """Return the people of D who are in the verification sets too: database, identities, name.

        Only of databases whose manifest names a file of ``names``; of others nothing is known by name.
        """
        roles, tables = self.config.databases, []
        ours = identities.names(roles.training, self.config.data)
        for database in roles.verification:
            found = identities.shared_names(ours, identities.names(database, self.config.data))
            tables.append(found.assign(database=database))
        return pd.concat(tables, ignore_index=True)

    def plan(self, recipe: Audited | None = None) -> Plan:
        """Return the plan of exposures of an Audited Model; None: of the baseline."""
        roles = self.config.databases
        return plan(
            recipe or self.config.audited, self.training, roles.held_out, roles.partition_seed
        )

    def groups(self, kind: str) -> dict[str, np.ndarray]:
        """Return the groups of images that are positives, by name: (N,) bool each.

        Args:
            kind: ``members``: all of them. ``parts``: the equal parts of Scenario 1, and as large a
                part of the held-out images. ``swapped``: the held-out images, for the model that was
                shown those. ``half a`` and ``half b``: what the models of these halves were shown.
        """
        if kind in HALVES:
            half = replace(self.config.audited, shown=HALVES[kind])
            return {"members": self.plan(half).images > 0}
        shown = self.plan().images > 0
        if kind in ("members", SWAPPED):
            return {"members": shown if kind == "members" else ~shown}
        d, names = self.training, scenarios.parts(self.config)
        parts = part(d.name, d.keys, len(names), self.config.databases.partition_seed)
        found = {name: shown & (parts == i) for i, name in enumerate(names)}
        return found | {scenarios.NEVER: ~shown & (parts == 0)}

    @property
    def fair(self) -> tuple[str, str]:
        """The kinds of groups of the M of `scenarios.compared` and of the null model of its size."""
        return tuple(HALVES) if scenarios.halved(self.config) else ("members", SWAPPED)

    # ---- the Audited Model --------------------------------------------------------------------

    def model(self, recipe: Audited) -> AuditedModel:
        """Return an Audited Model: from the store, or trained now."""
        roles = self.config.databases
        model = train.audited_model(recipe, self.training, roles.held_out, roles.partition_seed)
        self._stages[f"audited {model.artifact.digest}"] = model.artifact.record["seconds"]
        return model

    def trained(self, scenario: str, column: Column) -> Trainings:
        """Return the trainings of a column, made now where they are missing.

        A training has failed where its verification lies more than `FAILED_BELOW` below the best one of its
        recipe. In its place the next seed is trained, at most as many as were asked for. Of a recipe that
        is trained once nothing is known.
        """
        asked = scenarios.recipes(self.config, scenario, column)
        models = [self.model(recipe) for recipe in asked]
        if len(asked) == 1:
            return Trainings(models)
        while True:
            quality = np.array([self._quality(model) for model in models])
            failed = quality < quality.max() - FAILED_BELOW
            if (~failed).sum() >= len(asked) or len(models) == 2 * len(asked):
                break
            seed = asked[0].seed + len(models)
            models.append(self.model(replace(asked[0], seed=seed)))
        kept = np.sort(np.argsort(failed, kind="stable")[: len(asked)])
        return Trainings([models[i] for i in kept], int(failed.sum()), bool(failed[kept].any()))

    def _quality(self, model: AuditedModel) -> float:
        """Return the mean verification accuracy over the sets."""
        return float(np.mean([right.mean() for right in self.verified(model).values()]))

    def is_trained(self, recipe: Audited) -> bool:
        """Say whether an Audited Model is in the store."""
        roles = self.config.databases
        spec = train.specification(recipe, self.training, roles.held_out, roles.partition_seed)
        return store.find("audited", spec) is not None

    def verified(self, model: AuditedModel) -> dict[str, np.ndarray]:
        """Return which verification pairs M decides rightly: database -> (n,) bool."""
        sets = self.verification_sets

        def make(folder: Path) -> None:
            device = train.default_device()
            network, _ = model.load(device)
            found = {}
            for pairs in sets:
                embeddings = aad.embed(network, train.COLOUR_ORDER, pairs.images, device)
                found[pairs.name] = verification_accuracy(embeddings, pairs.same).right
            np.savez(folder / "right.npz", **found)

        spec = {
            "version": VERIFICATION_VERSION,
            "model": model.artifact.digest,
            "pairs": [pairs.fingerprint for pairs in sets],
        }
        done = store.fetch("verification", spec, make)
        with np.load(done.folder / "right.npz") as file:
            return {pairs.name: file[pairs.name] for pairs in sets}

    def identified(self, model: AuditedModel) -> np.ndarray:
        """Return (N,) float: 1 where the class centre nearest to an image of D is its own, else 0.

        NaN for people that M was never shown.
        """

        def make(folder: Path) -> None:
            device = train.default_device()
            network, head = model.load(device)
            nearest = aad.identify(network, head, train.COLOUR_ORDER, self.training.images, device)
            known = model.ledger["class"].to_numpy()
            np.save(folder / "right.npy", np.where(known >= 0, nearest == known, np.nan))

        spec = {"version": VERIFICATION_VERSION, "model": model.artifact.digest}
        done = store.fetch("identification", spec, make)
        return np.load(done.folder / "right.npy")

    def outcomes(self, model: AuditedModel, audited: AuditedModel | None = None) -> Outcomes:
        """Return where the images of D and the class centres of M lie, for questions about people.

        Args:
            model: M.
            audited: Whose classes they are, where M has no ledger: the trained model of an untrained one.
        """

        def make(folder: Path) -> None:
            device = train.default_device()
            network, head = model.load(device)
            found = aad.outcomes(network, train.COLOUR_ORDER, self.training.images, device)
            centres = nn.functional.normalize(head.kernel.detach(), dim=0).T
            np.savez(
                folder / "outcomes.npz", units=found[0], norms=found[1], centres=_halved(centres)
            )

        spec = {"version": aad.VERSION, "model": model.artifact.digest}
        done = store.fetch("outcomes", spec, make)
        with np.load(done.folder / "outcomes.npz") as file:
            arrays = {name: file[name].astype(np.float32) for name in file.files}
        return Outcomes(**arrays, classes=(audited or model).ledger["class"].to_numpy())

    # ---- the MINT Model -----------------------------------------------------------------------

    def audit_set(self, kind: str = "members", exposures: np.ndarray | None = None) -> AuditSet:
        """Return the images of an audit and the splits of every group and protocol.

        Args:
            kind: Of groups.
            exposures: (N,) of the images of D, from a ledger; None: those planned for the baseline.
        """
        return audit_set(
            self.training,
            self.plan().images if exposures is None else exposures,
            self.external_train,
            self.external_eval,
            self.groups(kind),
            self.config.databases,
            self.config.mint,
            never_shown=[scenarios.NEVER] if kind == "parts" else [],
            excluded=self.contamination().groupby("database")["key"].agg(set).to_dict(),
        )

    def chosen(self, model: AuditedModel, kind: str = "members") -> AuditSet:
        """Return the images of a model's audit and their splits, by the exposures of its ledger."""
        return self.audit_set(kind, model.ledger["exposures"].to_numpy())

    def scores(
        self,
        model: AuditedModel,
        kind: str = "members",
        audited: AuditedModel | None = None,
        protocols: Collection[str] = PROTOCOLS,
    ) -> Scores:
        """Train and evaluate the MINT Models of an Audited Model: every group, protocol, row and seed.

        Args:
            model: Whose activations they read.
            kind: Of groups.
            audited: Whose members, held-out images and splits they are; None: the model's own.
            protocols: Those wanted.
        """
        chosen = self.chosen(audited or model, kind)
        features = self.activations(model, chosen)
        splits = {key: split for key, split in chosen.splits.items() if key[1] in protocols}
        return self.mint(features, replace(chosen, splits=splits))

    def never_shown(self, model: AuditedModel) -> Scores:
        """Return the scores under ``paper`` with images that M never saw in the place of its members."""
        other = replace(self.config.audited, shown="held_out")
        chosen = self.audit_set(SWAPPED, self.plan(other).images * other.epochs)
        splits = {key: split for key, split in chosen.splits.items() if key[1] == "paper"}
        return self.mint(self.activations(model, chosen), replace(chosen, splits=splits))

    @property
    def mint_recipe(self) -> MintRecipe:
        """How this configuration trains its MINT Models."""
        settings = self.config.mint
        return MintRecipe(epochs=settings.mint_epochs, batch_size=settings.mint_batch_size)

    def mint(
        self, features: Features, chosen: AuditSet, recipe: MintRecipe | None = None
    ) -> Scores:
        """Train and evaluate a MINT Model for every split of an audit set, row of features and seed.

        Args:
            features: Of the images of the audit set.
            chosen: The audit set.
            recipe: Where it is another than the configuration's.
        """
        spec = {
            "version": VERSION,
            "features": features.digest,
            "splits": split_digests(chosen),
            "rows": {name: [where.start, where.stop] for name, where in features.rows.items()},
            "mint": {k: v for k, v in plain(self.config.mint).items() if k != "replicates"},
        }
        if recipe is not None:
            spec["recipe"] = plain(recipe)
        names = list(itertools.product(chosen.splits, features.rows))

        def make(folder: Path) -> dict[str, Any]:
            return self._fit(features, chosen, names, recipe or self.mint_recipe, folder)

        done = store.fetch("mint", spec, make)
        self._stages[f"mint {done.digest}"] = done.record["seconds"]
        with np.load(done.folder / "scores.npz") as file:
            return Scores(chosen, {name: file[str(i)] for i, name in enumerate(names)})

    def prepare(self, recipe: Audited, kinds: Iterable[str]) -> None:
        """Make everything that tables need of an Audited Model, as far as it is not there."""
        model, kinds = self.model(recipe), list(kinds)
        if kinds:  # else it is a model that controls compare with, and has no line in a table
            self.verified(model)
            self.identified(model)
        for kind in kinds:
            self.scores(model, kind)

    def activations(self, model: AuditedModel, chosen: AuditSet, pooling: str = "max") -> Features:
        """Return the Auxiliary Auditable Data and the Model Outcome of the images of an audit set.

        Args:
            model: Whose activations they are.
            chosen: The audit set.
            pooling: What is left of an activation map: its ``max``, the paper's, or its ``mean``.
        """
        runs = self.runs(chosen)

        def make(folder: Path) -> None:
            device = train.default_device()
            network, _ = model.load(device)
            pieces = [(db.images, indices) for db, indices in runs]
            path = folder / "features.npy"
            aad.extract(network, train.COLOUR_ORDER, pieces, path, device, pooling)
            chosen.images.to_csv(folder / "images.csv", index=False)

        spec = {"version": aad.VERSION, "model": model.artifact.digest, "images": named(runs)}
        if pooling != "max":
            spec["pooling"] = pooling
        done = store.fetch("features", {"digest": store.digest(spec)}, make)
        self._stages[f"features {done.digest}"] = done.record["seconds"]
        rows = aad.columns(*train.shape(model.recipe.network, model.artifact.record["image_size"]))
        path = done.folder / "features.npy"
        array = np.load(path, mmap_mode="r") if path.exists() else None
        return Features(array, rows, done.digest)

    def readings(self, model: AuditedModel, chosen: AuditSet) -> tuple[Readings | None, Features]:
        """Return how the images of an audit set lie to M's class centres, and the features made of it.

        The first is None where only what MINT Models made of it was brought from another machine.
        """
        runs = self.runs(chosen)

        def make(folder: Path) -> dict[str, Any]:
            device = train.default_device()
            network, head = model.load(device)
            known = model.ledger["class"].to_numpy()
            pieces = [
                (
                    db.images,
                    indices,
                    known[indices] if db.name == self.training.name else np.full(len(indices), -1),
                )
                for db, indices in runs
            ]
            found = readings.read(network, head, train.COLOUR_ORDER, pieces, device)
            np.savez(folder / "readings.npz", **vars(found))
            rows = found.features()[1]
            return {"rows": {name: [where.start, where.stop] for name, where in rows.items()}}

        spec = {"version": readings.VERSION, "model": model.artifact.digest, "images": named(runs)}
        done = store.fetch("readings", {"digest": store.digest(spec)}, make)
        self._stages[f"readings {done.digest}"] = done.record["seconds"]
        path = done.folder / "readings.npz"
        if not path.exists():
            rows = {name: slice(*ends) for name, ends in done.record["rows"].items()}
            return None, Features(None, rows, done.digest)
        with np.load(path) as file:
            found = Readings(**file)
        return found, Features(*found.features(), done.digest)

    def runs(self, chosen: AuditSet) -> list[tuple[Database, np.ndarray]]:
        """Return the images of an audit set in its order: databases, and the indices wanted of each."""
        databases = {
            db.name: db for db in (self.training, *self.external_train, self.external_eval)
        }
        images = zip(chosen.images["database"], chosen.images["index"], strict=True)
        return [
            (databases[name], np.array([index for _, index in run]))
            for name, run in itertools.groupby(images, key=lambda pair: pair[0])
        ]

    def _fit(
        self,
        features: Features,
        chosen: AuditSet,
        names: list[tuple[tuple[str, str], str]],
        recipe: MintRecipe,
        folder: Path,
    ) -> dict[str, Any]:
        each = self.config.mint.mint_seeds
        tasks = []
        for key, row in names:
            split, where = chosen.splits[key], features.rows[row]
            tasks += [
                MintTask(where, split.train, split.train_labels, split.evaluation, seed)
                for seed in range(each)
            ]
        found = fit(features.there(), tasks, recipe, train.default_device())
        scores = {str(i): np.stack(found[i * each : (i + 1) * each]) for i in range(len(names))}
        np.savez(folder / "scores.npz", **scores)
        return {"networks": len(tasks)}


def _halved(array: torch.Tensor) -> np.ndarray:
    return array.cpu().numpy().astype(np.float16)


def split_digests(chosen: AuditSet) -> dict[str, str]:
    """Return what stands for the splits of an audit set in the specification of an artifact."""
    return {
        f"{group} {protocol}": store.digest({k: v.tolist() for k, v in vars(split).items()})
        for (group, protocol), split in chosen.splits.items()
    }


def named(runs: Iterable[tuple[Database, np.ndarray]]) -> list[list[Any]]:
    """Return what stands for images in the specification of an artifact; see `Audit.runs`."""
    return [[db.fingerprint, indices.tolist()] for db, indices in runs]


def _one_line_an_image(by_hash: pd.DataFrame, by_embedding: pd.DataFrame | None) -> pd.DataFrame:
    """Return what was found by either way, or by both, sorted by database and key."""
    if by_embedding is None:
        empty = by_hash.iloc[:0]
        by_embedding = empty[["database", "key", "training_key"]].assign(cosine=np.float32([]))
    image = ["database", "key"]
    found = by_hash.merge(by_embedding, "outer", image, suffixes=("", "_alike"), indicator="how")
    found["training_key"] = found["training_key"].fillna(found["training_key_alike"])
    told = {"left_only": "hash", "right_only": "embedding", "both": "hash and embedding"}
    found["found_by"] = found["how"].astype(str).map(told)
    return found[[*image, "training_key", "found_by", "distance", "mirrored", "cosine"]].astype(
        {"distance": "Int64", "mirrored": "boolean"}
    )


@functools.lru_cache(maxsize=16)
def _database(name: str, data: str | None, image_size: int, scale: float) -> Database:
    return open_database(name, data, image_size, scale)
