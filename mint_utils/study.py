"""The front door: what a notebook asks for, in the words of the paper.

    s = study.open_study(profile="quick")
    m = s.audited()                  # an Audited Model, trained now or fetched
    t = s.mint(m)                    # the MINT Models of a table, under every protocol
    t.cells                          # one line a cell: accuracy, interval, AUC, TPR at low FPR

Everything expensive is an artifact: asked for twice, made once.
"""

import functools
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mint_utils import paths, store
from mint_utils.audited import train
from mint_utils.audited.exposure import Plan, plan
from mint_utils.audited.train import AuditedModel
from mint_utils.config import ROWS, Config, plain, resolve
from mint_utils.data.manifest import Database, open_database, read_manifest
from mint_utils.measure.verification import verification_accuracy
from mint_utils.mint import aad
from mint_utils.mint.fit import MintRecipe, MintTask, fit
from mint_utils.mint.protocol import AuditSet, audit_set
from mint_utils.parameters import refuse_unknown, run_cells
from mint_utils.report import plots, tables
from mint_utils.results import MintResult

VERSION = 1  # of the MINT training: raised when the same features give other scores


def open_study(profile: str = "quick", data: str | None = None, **overrides: Any) -> "Study":
    """Open the study on a profile, with parameters overridden by their flat names.

    Inside a notebook run by papermill it also refuses an injected parameter that the notebook
    does not have: papermill itself would only log it and run on the defaults.

    Raises:
        ParameterError: An unknown profile or parameter, a wrong type, or a value out of range.
    """
    refuse_unknown(run_cells())
    return Study(resolve(profile, data, **overrides))


class Study:
    """One configuration and all that can be asked of it."""

    def __init__(self, config: Config):
        self.config = config
        name = config.profile
        if not config.is_reference:  # results of changed parameters never overwrite the profile's
            name += "-" + store.digest(config.results())[:8]
        self.figures = paths.figures() / name
        self._written: list[Path] = []
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
    def embedded(self) -> bool:
        """Whether D was drawn by the package: only such faces may be shown."""
        return read_manifest(self.config.databases.training)["layout"] == "embedded"

    def samples(self, n: int) -> dict[str, np.ndarray]:
        """Return the first n images of each database, by name: (n, S, S, 3) uint8."""
        return {
            db.name: db.images[:n]
            for db in (self.training, *self.external_train, self.external_eval)
        }

    def plan(self, **changes: Any) -> Plan:
        """Return the plan of exposures of an Audited Model."""
        roles = self.config.databases
        recipe = self.config.replace(**changes).audited
        return plan(recipe, self.training, roles.held_out, roles.partition_seed)

    def roles(self) -> pd.DataFrame:
        """Return one line a database: its role, images, identities, licence."""
        roles = self.config.databases
        named = [(roles.training, "Training Dataset D")]
        named += [(name, "external, T's training") for name in roles.external_train]
        named += [(roles.external_eval, "external, T's evaluation")]
        named += [(name, "verification pairs") for name in roles.verification]
        lines = []
        for name, role in named:
            db, manifest = self.database(name), read_manifest(name)
            known = db.identities[db.identities >= 0]
            lines.append(
                {
                    "database": name,
                    "role": role,
                    "images": len(db),
                    "identities": len(np.unique(known)) if len(known) else None,
                    "what it is": manifest["title"],
                    "licence": manifest["licence"],
                }
            )
        return pd.DataFrame(lines).astype({"identities": "Int64"})

    # ---- the Audited Model --------------------------------------------------------------------

    def audited(self, **changes: Any) -> AuditedModel:
        """Return the Audited Model of the configuration, with parameters changed by name."""
        config, roles = self.config.replace(**changes), self.config.databases
        model = train.audited_model(
            config.audited, self.training, roles.held_out, roles.partition_seed
        )
        self._stages[f"audited {model.artifact.digest}"] = model.artifact.record["seconds"]
        return model

    def widths(self, model: AuditedModel) -> tuple[int, ...]:
        """Return the number of activation maps at each of M's four stage ends."""
        network, _ = model.load()
        return tuple(info["num_chs"] for info in network.feature_info)

    def verification(self, model: AuditedModel) -> pd.DataFrame:
        """Return the 10-fold verification accuracy of M, one line a database, then their mean."""
        sets = [self.database(name) for name in self.config.databases.verification]

        def make(folder: Path) -> dict[str, Any]:
            device = train.default_device()
            network, _ = model.load(device)
            found = {}
            for pairs in sets:
                embeddings = aad.embed(network, train.COLOUR_ORDER, pairs.images, device)
                result = verification_accuracy(embeddings, pairs.same)
                found[pairs.name] = {"mean": result.mean, "std": result.folds.std(ddof=1)}
            store.write_text(folder / "verification.json", json.dumps(found))
            return found

        spec = {"model": model.artifact.digest, "pairs": [pairs.fingerprint for pairs in sets]}
        done = store.fetch("verification", spec, make)
        found = json.loads((done.folder / "verification.json").read_text())
        lines = [
            {
                "database": p.name,
                "pairs": len(p.same),
                "accuracy": found[p.name]["mean"],
                "std over folds": found[p.name]["std"],
            }
            for p in sets
        ]
        mean = np.mean([line["accuracy"] for line in lines])
        return pd.DataFrame([*lines, {"database": "mean", "accuracy": mean}]).astype(
            {"pairs": "Int64"}
        )

    def identification(self, model: AuditedModel) -> pd.DataFrame:
        """Return how often the nearest class centre is the right one, for members and held-out images.

        The difference is M's generalisation gap: what it knows of its members beyond the people.
        """

        def make(folder: Path) -> dict[str, Any]:
            device = train.default_device()
            network, head = model.load(device)
            nearest = aad.identify(network, head, train.COLOUR_ORDER, self.training.images, device)
            right = nearest == model.ledger["class"].to_numpy()
            np.save(folder / "right.npy", right)
            return {}

        done = store.fetch("identification", {"model": model.artifact.digest}, make)
        right, ledger = np.load(done.folder / "right.npy"), model.ledger
        known = ledger["class"].to_numpy() >= 0
        member = ledger["exposures"].to_numpy() > 0
        lines = [
            {"images": name, "n": int(mask.sum()), "identified": float(right[mask].mean())}
            for name, mask in (("members", member), ("held-out", known & ~member))
        ]
        return pd.DataFrame(lines)

    # ---- the MINT Model -----------------------------------------------------------------------

    def audit_set(self, exposures: np.ndarray, groups: Mapping[str, np.ndarray]) -> AuditSet:
        """Return the images of an audit and the splits of every group and protocol.

        Args:
            exposures: (N,) of the images of D, from a plan or a ledger.
            groups: Column -> (N,) bool, the members that are its positives.
        """
        return audit_set(
            self.training,
            exposures,
            self.external_train,
            self.external_eval,
            groups,
            self.config.databases,
            self.config.mint,
        )

    def mint(
        self,
        model: AuditedModel,
        groups: Mapping[str, np.ndarray] | None = None,
        column: str = "Baseline",
    ) -> MintResult:
        """Train and evaluate the MINT Models of an Audited Model, under every protocol.

        Args:
            model: M.
            groups: Column -> (N,) bool, the members that are its positives; None: one column, all members.
            column: Name of that column.
        """
        exposures = model.ledger["exposures"].to_numpy()
        chosen = self.audit_set(exposures, groups or {column: exposures > 0})
        features = self._features(model, chosen)
        settings = self.config.mint
        spec = {
            "version": VERSION,
            "features": features.digest,
            "splits": {
                f"{group} {protocol}": store.digest({k: v.tolist() for k, v in vars(split).items()})
                for (group, protocol), split in chosen.splits.items()
            },
            "mint": {k: v for k, v in plain(settings).items() if k != "replicates"},
        }
        names = list(itertools.product(chosen.splits, ROWS))

        def make(folder: Path) -> dict[str, Any]:
            return self._fit(model, features, chosen, names, folder)

        done = store.fetch("mint", spec, make)
        self._stages[f"features {features.digest}"] = features.record["seconds"]
        self._stages[f"mint {done.digest}"] = done.record["seconds"]
        with np.load(done.folder / "scores.npz") as file:
            scores = {name: file[str(i)] for i, name in enumerate(names)}
        return MintResult(chosen, scores, settings.replicates)

    def _features(self, model: AuditedModel, chosen: AuditSet) -> store.Artifact:
        images = chosen.images
        databases = {
            db.name: db for db in (self.training, *self.external_train, self.external_eval)
        }
        runs = [
            (name, np.array([index for _, index in run]))
            for name, run in itertools.groupby(
                zip(images["database"], images["index"], strict=True), key=lambda pair: pair[0]
            )
        ]

        def make(folder: Path) -> dict[str, Any]:
            device = train.default_device()
            network, _ = model.load(device)
            pieces = [(databases[name].images, indices) for name, indices in runs]
            aad.extract(network, train.COLOUR_ORDER, pieces, folder / "features.npy", device)
            images.to_csv(folder / "images.csv", index=False)
            return {}

        spec = {
            "version": aad.VERSION,
            "model": model.artifact.digest,
            "images": [[databases[name].fingerprint, indices.tolist()] for name, indices in runs],
        }
        return store.fetch("features", {"digest": store.digest(spec)}, make)

    def _fit(
        self,
        model: AuditedModel,
        features: store.Artifact,
        chosen: AuditSet,
        names: list[tuple[tuple[str, str], str]],
        folder: Path,
    ) -> dict[str, Any]:
        settings = self.config.mint
        network, _ = model.load()
        where = aad.columns([i["num_chs"] for i in network.feature_info], network.num_features)
        tasks = []
        for key, row in names:
            split = chosen.splits[key]
            tasks += [
                MintTask(where[row], split.train, split.train_labels, split.evaluation, seed)
                for seed in range(settings.mint_seeds)
            ]
        recipe = MintRecipe(epochs=settings.mint_epochs, batch_size=settings.mint_batch_size)
        array = np.load(features.folder / "features.npy", mmap_mode="r")
        found = fit(array, tasks, recipe, train.default_device())
        each = settings.mint_seeds
        scores = {str(i): np.stack(found[i * each : (i + 1) * each]) for i in range(len(names))}
        np.savez(folder / "scores.npz", **scores)
        return {"networks": len(tasks)}

    # ---- results ------------------------------------------------------------------------------

    def save_table(self, cells: pd.DataFrame, name: str, caption: str) -> None:
        """Write a table as csv, md and tex to the figures folder."""
        self._written += tables.write(cells, self.figures, name, caption)

    def save_figure(self, figure: Figure, name: str) -> Figure:
        """Write a figure as png and pdf to the figures folder, and return it to be shown."""
        self._written += plots.save(figure, self.figures, name)
        return figure

    def finish(self, notebook: str) -> None:
        """Record that a notebook came to its end: what it wrote, from what, on what, how long it took.

        Without this entry in ``record.json`` a run of the notebook does not count as complete.
        """
        path = self.figures / "record.json"
        self.figures.mkdir(parents=True, exist_ok=True)
        record = json.loads(path.read_text()) if path.exists() else {}
        if record.get("config") != self.config.results():
            record = {"config": self.config.results(), "notebooks": {}}
        record["notebooks"][notebook] = {
            "files": sorted({p.name for p in self._written}),
            "seconds": self._stages,
            "provenance": store.provenance(),
        }
        store.write_text(path, json.dumps(record, indent=1, sort_keys=True) + "\n")


@functools.lru_cache(maxsize=16)
def _database(name: str, data: str | None, image_size: int, scale: float) -> Database:
    return open_database(name, data, image_size, scale)
