"""How well an Audited Model does its own work: to verify faces, and to identify people it was shown.

Which verification pairs and which images of D each model decides rightly is kept in the store.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mint_utils import store
from mint_utils.audited import train
from mint_utils.audited.train import AuditedModel
from mint_utils.data.manifest import Database
from mint_utils.measure.bootstrap import Decided
from mint_utils.measure.detection import FAILED, ONCE
from mint_utils.measure.verification import of_pairs, verified
from mint_utils.mint import aad
from mint_utils.study import scenarios
from mint_utils.study.images import Images

VERSION = 2  # raised when the same model and images give other numbers


class Quality:
    """Verification and identification by models trained on some images."""

    def __init__(self, images: Images):
        self.images = images

    def verified(self, model: AuditedModel) -> dict[str, np.ndarray]:
        """Return which verification pairs M decides rightly: database -> (n,) bool."""
        sets = self.images.verification_sets
        spec = {
            "version": VERSION,
            "model": model.artifact.digest,
            "pairs": [pairs.fingerprint for pairs in sets],
        }
        found = store.arrays("verification", spec, "right.npz", lambda: _verify(model, sets))
        return {pairs.name: found[pairs.name] for pairs in sets}

    def identified(self, model: AuditedModel) -> np.ndarray:
        """Return (N,) float: 1 where the class centre nearest to an image of D is its own, else 0.

        NaN for people that M was never shown.
        """
        images = self.images.training.images

        def make(folder: Path) -> None:
            device = train.default_device()
            network, head = model.load(device)
            nearest = aad.identify(network, head, train.COLOUR_ORDER, images, device)
            known = model.ledger["class"].to_numpy()
            np.save(folder / "right.npy", np.where(known >= 0, nearest == known, np.nan))

        spec = {"version": VERSION, "model": model.artifact.digest}
        return np.load(store.fetch("identification", spec, make).folder / "right.npy")

    def mean(self, model: AuditedModel) -> float:
        """Return the mean verification accuracy over the sets."""
        return float(np.mean([right.mean() for right in self.verified(model).values()]))

    def decided(
        self, models: Sequence[AuditedModel], failed: bool = False
    ) -> list[tuple[float, Decided]]:
        """Return the decisions of trainings on each verification set, with its weight; pairs share people."""
        found, parts = [self.verified(model) for model in models], []
        reservation = FAILED if failed else ONCE if len(models) == 1 else ""
        for pairs in self.images.verification_sets:
            right = np.stack([one[pairs.name] for one in found])
            people = np.char.add(f"{pairs.name}/", of_pairs(pairs.persons()).astype(str))
            decided = Decided(np.ones(len(people), bool), right, people, reservation)
            parts.append((1 / len(found[0]), decided))
        return parts

    def verification(self, models: Sequence[AuditedModel]) -> pd.DataFrame:
        """Return the 10-fold verification accuracy of trainings of M, one line a database, then the mean."""
        found = [self.verified(model) for model in models]
        lines = [
            {"database": name, "pairs": len(right), "accuracy": np.mean([one[name].mean() for one in found])}
            for name, right in found[0].items()
        ]  # fmt: skip
        mean = np.mean([line["accuracy"] for line in lines])
        lines.append({"database": "mean", "accuracy": mean})
        return pd.DataFrame(lines).astype({"pairs": "Int64"})

    def identification(self, models: Sequence[AuditedModel], kind: str = "members") -> pd.DataFrame:
        """Return how often the nearest class centre is the right one, for groups and held-out images.

        The difference is M's generalisation gap: how much better it identifies members than other images of
        the same people.
        """
        right = np.mean([self.identified(model) for model in models], axis=0)
        exposures = models[0].ledger["exposures"].to_numpy()
        groups = self.images.groups(kind)
        groups.pop(scenarios.NEVER, None)
        lines = [
            {
                "images": name,
                "n": int((mask & ~np.isnan(right)).sum()),
                "exposures": int(exposures[mask].max()),
                "identified": float(np.nanmean(right[mask])),
            }
            for name, mask in (groups | {"held-out": exposures == 0}).items()
        ]
        return pd.DataFrame(lines)


def _verify(model: AuditedModel, sets: list[Database]) -> dict[str, np.ndarray]:
    device = train.default_device()
    network, _ = model.load(device)
    found = {}
    for pairs in sets:
        embeddings = aad.embed(network, train.COLOUR_ORDER, pairs.images, device)
        found[pairs.name] = verified(embeddings, pairs.same)
    return found
