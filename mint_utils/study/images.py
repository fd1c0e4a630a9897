"""The images of a configuration: databases by role, plans of exposures, and the images of an audit.

No model is read here.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mint_utils.audited.exposure import Plan, plan
from mint_utils.config import Audited, Config
from mint_utils.data.contamination import contaminated
from mint_utils.data.description import manifests, read_manifest
from mint_utils.data.manifest import Database, open_database
from mint_utils.data.membership import part
from mint_utils.mint.protocol import AuditSet, audit_set
from mint_utils.study import scenarios

SWAPPED = "swapped"  # the group of a model that is shown what the others hold out
ROLES = {  # as manifests name them -> in words
    "training": "Training Dataset D",
    "external_train": "external, T's training",
    "external_eval": "external, T's evaluation",
    "verification": "verification pairs",
}
HALVES = {"half a": "half-a", "half b": "half-b"}  # kind of group -> what its model is shown


class Images:
    """The databases of a configuration."""

    def __init__(self, config: Config):
        self.config = config

    def database(self, name: str) -> Database:
        """Return a database of the profile, prepared at its image size."""
        roles = self.config.databases
        return _database(name, self.config.data, roles.image_size, roles.scale)

    @property
    def training(self) -> Database:
        """D, the Training Dataset: members and held-out images."""
        return self.database(self.config.databases.training)

    @property
    def audited(self) -> list[Database]:
        """The databases of audits: D, the External Datasets of T's training, that of its evaluation."""
        roles = self.config.databases
        names = roles.training, *roles.external_train, roles.external_eval
        return [self.database(name) for name in names]

    @property
    def verification_sets(self) -> list[Database]:
        """The pairs by which recognition is measured."""
        return [self.database(name) for name in self.config.databases.verification]

    # ---- descriptions -------------------------------------------------------------------------

    @property
    def embedded(self) -> bool:
        """Whether D was drawn by the package: only such faces may be shown."""
        return read_manifest(self.config.databases.training)["layout"] == "embedded"

    def samples(self, n: int) -> dict[str, np.ndarray]:
        """Return the first n images of each database, by its role and name: (n, S, S, 3) uint8."""
        roles = self.roles().set_index("database")["role"]
        return {f"{roles[db.name]} ({db.name})": db.images[:n] for db in self.audited}

    def roles(self) -> pd.DataFrame:
        """Return one line a database: its role, images, identities, licence."""
        lines = []
        for role, title in ROLES.items():
            names = getattr(self.config.databases, role)
            each = [names] if isinstance(names, str) else names
            lines += [_described(self.database(name), title) for name in each]
        return pd.DataFrame(lines).astype({"identities": "Int64"})

    def catalogue(self) -> pd.DataFrame:
        """Return one line a manifest, of this profile or not: role, counts, licence, how it is obtained.

        ``at hand``: the package draws it, or its files are in the folder of the databases.
        """
        lines = [_catalogued(name, self.config.data) for name in manifests()]
        return pd.DataFrame(lines).astype({"images": "Int64", "identities": "Int64"})

    @functools.cache  # noqa: B019  (it lives as long as its notebook)
    def contamination(self) -> pd.DataFrame:
        """Return the external images that D holds too, as `contaminated` finds them: one line an image.

        They are no non-members, and `audit_set` never chooses one.
        """
        found = [contaminated(self.training, db) for db in self.audited[1:]]
        return pd.concat(found, ignore_index=True)

    # ---- exposures ----------------------------------------------------------------------------

    def plan(self, recipe: Audited | None = None) -> Plan:
        """Return the plan of exposures of an Audited Model; None: of the baseline."""
        roles, recipe = self.config.databases, recipe or self.config.audited
        return plan(recipe, self.training, roles.held_out, roles.partition_seed)

    def exposures(self, recipe: Audited) -> int:
        """Return how many exposures a training takes in all."""
        planned = self.plan(recipe)
        return int(planned.images.sum()) * planned.epochs

    def groups(self, kind: str) -> dict[str, np.ndarray]:
        """Return the groups of images that are positives, by name: (N,) bool each.

        Args:
            kind: ``members``: all members. ``parts``: the equal parts of Scenario 1, and a part of the
                held-out images of the same size. ``swapped``: the held-out images, for the model that was
                shown those. ``half a`` and ``half b``: the images that the models of these halves were shown.
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

    def exposure_plans(self) -> dict[str, pd.DataFrame]:
        """Return how often each part of D is shown in an epoch, in the baseline and in Scenario 1.

        Model -> one line a part: part, images, times.
        """
        groups = self.groups("parts")
        groups.pop(scenarios.NEVER)
        found = {}
        for column in scenarios.compared_plans(self.config):
            times = self.plan(column.recipe).images
            lines = [(name, mask.sum(), times[mask].max()) for name, mask in groups.items()]
            if len({line[2] for line in lines}) == 1:
                lines = [("members", sum(line[1] for line in lines), lines[0][2])]
            lines.append(("held out", (times == 0).sum(), 0))
            found[column.model] = pd.DataFrame(lines, columns=["part", "images", "times"])
        return found

    def first_batches(self, n: int) -> dict[str, np.ndarray]:
        """Return the part of each image of the first n batches: model -> (n, size) int."""
        *groups, _ = self.groups("parts").values()  # the last was never shown
        part_of, found = sum(i * mask for i, mask in enumerate(groups)), {}
        for column in scenarios.compared_plans(self.config):
            alike = len(set(column.recipe.repeats)) == 1
            parts = np.zeros_like(part_of) if alike else part_of
            batches = self.plan(column.recipe).batches(0)[:n]
            found[column.model] = np.stack([parts[b[: min(map(len, batches))]] for b in batches])
        return found

    # ---- the images of an audit ---------------------------------------------------------------

    def audit_set(self, kind: str = "members", exposures: np.ndarray | None = None) -> AuditSet:
        """Return the images of an audit and the splits of every group and protocol.

        ``exposures`` (N,) are those of the images of D, by default as planned for the baseline.
        """
        d, *external_train, external_eval = self.audited
        return audit_set(
            d,
            self.plan().images if exposures is None else exposures,
            external_train,
            external_eval,
            self.groups(kind),
            self.config.databases,
            self.config.mint,
            never_shown=[scenarios.NEVER] if kind == "parts" else [],
            excluded=self.contamination().groupby("database")["key"].agg(set).to_dict(),
        )

    def runs(self, chosen: AuditSet) -> list[tuple[Database, np.ndarray]]:
        """Return the images of an audit set in its order: databases, and the indices wanted of each."""
        databases = {db.name: db for db in self.audited}
        images = zip(chosen.images["database"], chosen.images["index"], strict=True)
        return [
            (databases[name], np.array([index for _, index in run]))
            for name, run in itertools.groupby(images, key=lambda pair: pair[0])
        ]


def named(runs: Sequence[tuple[Database, np.ndarray]]) -> list[list[Any]]:
    """Return what identifies images in the specification of an artifact; see `Images.runs`."""
    return [[db.fingerprint, indices.tolist()] for db, indices in runs]


def _described(db: Database, role: str) -> dict[str, Any]:
    manifest, known = read_manifest(db.name), db.identities[db.identities >= 0]
    return {
        "database": db.name,
        "role": role,
        "images": len(db),
        "identities": len(np.unique(known)) if len(known) else None,
        "what it is": manifest["title"],
        "licence": manifest["licence"],
    }


def _catalogued(name: str, data: str | None) -> dict[str, Any]:
    manifest = read_manifest(name)
    counts = manifest.get("published", {}) | manifest
    drawn = "path" not in manifest
    at_hand = drawn or (data is not None and Path(data, manifest["path"]).exists())
    return {
        "database": name,
        "role": ROLES.get(manifest.get("role")),
        "images": counts.get("images"),
        "identities": counts.get("identities"),
        "licence": manifest["licence"].strip(),
        "how obtained": manifest.get("obtained", "").strip(),
        "at hand": "yes" if at_hand else "no",
    }


@functools.lru_cache(maxsize=16)
def _database(name: str, data: str | None, image_size: int, scale: float) -> Database:
    return open_database(name, data, image_size, scale)
