"""External images that are copies of images of D, found by the embeddings of a face-recognition network.

In: a file of published recognition weights and databases. Out: the external images that are more like an
image of D than two people of D, or two photographs of one person, are like each other.

A perceptual hash does not find a copy that was cropped or moved by more than a pixel; a network made for
photographs that vary does. Nothing of M is used: what M takes for alike depends on what it was trained on.
"""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mint_utils import store
from mint_utils.audited import train
from mint_utils.audited.ir import COLOUR_ORDERS, load_weights
from mint_utils.config import Audited
from mint_utils.data.contamination import most_similar, nearest_other
from mint_utils.data.manifest import Database
from mint_utils.errors import DataError
from mint_utils.mint import aad

VERSION = 2  # raised when the same weights and images give others
STRANGERS = 0.01  # of D's images may be as like an image of another person of D
TWO_PHOTOGRAPHS = 0.001  # of the pairs of one person's two photographs may be
SAMPLED = 1000  # images of D of which that is counted


class Likeness:
    """What one network takes for alike; all it computes is stored."""

    def __init__(self, weights: Path, network: str, image_size: int):
        """Name the weights; they are read when they are needed.

        Args:
            weights: A file that `load_weights` reads.
            network: The one they were made for, by its name in timm.
            image_size: Side of the images in pixels.

        Raises:
            DataError: There is no such file.
        """
        if not weights.is_file():
            raise DataError(
                f"There are no recognition weights {weights}: put the file there, or correct "
                "`recognition` in the profile (a file below the folder of the databases)."
            )
        self.weights, self.network, self.image_size = weights, network, image_size

    @functools.cached_property
    def sha256(self) -> str:
        """Of the file of the weights."""
        with open(self.weights, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def embeddings(self, database: Database) -> np.ndarray:
        """Return the embeddings of all images, each with its mirror: (N, D) float32, unit length."""

        def make(folder: Path) -> None:
            network, _ = train.build(Audited(network=self.network), self.image_size, identities=2)
            order, device = (
                COLOUR_ORDERS[load_weights(network, self.weights)],
                train.default_device(),
            )
            found = aad.embed(network.to(device).eval(), order, database.images, device)
            np.save(folder / "embeddings.npy", found / np.linalg.norm(found, axis=1, keepdims=True))

        done = store.fetch("embeddings", self._spec(database), make)
        return np.load(done.folder / "embeddings.npy", mmap_mode="r")

    def cosine(self, training: Database, verification: Sequence[Database]) -> float:
        """Return the cosine from which on two images are copies.

        At most `STRANGERS` of D's images reach it with an image of another person of D, and at most
        `TWO_PHOTOGRAPHS` of the verification pairs of one person do.
        """
        ours = self.embeddings(training)
        rows = np.linspace(0, len(ours) - 1, min(SAMPLED, len(ours))).astype(int)
        nearest = nearest_other(ours[rows], training.identities[rows], ours, training.identities)
        limits = [np.sort(nearest)[::-1][int(STRANGERS * len(nearest))]]
        found = [(self.embeddings(db), db.same) for db in verification]
        pairs = np.concatenate([(e[0::2] * e[1::2]).sum(axis=1)[same] for e, same in found])
        if len(pairs):
            limits.append(np.sort(pairs)[::-1][int(TWO_PHOTOGRAPHS * len(pairs))])
        return float(np.nextafter(np.float32(max(limits)), np.float32(2)))

    def copies(self, training: Database, external: Database, cosine: float) -> pd.DataFrame:
        """Return the images of an External Dataset that come as near as this to an image of D.

        Returns:
            One line an image: database, key, training_key (the most similar image of D), cosine.
        """

        def make(folder: Path) -> None:
            ours, theirs = self.embeddings(training), self.embeddings(external)
            rows, matches, cosines = most_similar(theirs, ours, cosine)
            found = {"key": external.keys[rows], "training_key": training.keys[matches]}
            pd.DataFrame(found | {"cosine": cosines}).to_csv(folder / "copies.csv", index=False)

        spec = self._spec(training, external) | {"cosine": cosine}
        done = store.fetch("copies", spec, make)
        keys = {"key": str, "training_key": str}
        table = pd.read_csv(done.folder / "copies.csv", dtype=keys, keep_default_na=False)
        table.insert(0, "database", external.name)
        return table

    def _spec(self, *databases: Database) -> dict:
        fingerprints = [database.fingerprint for database in databases]
        weights = {"weights": self.sha256, "network": self.network}
        return {"version": VERSION, **weights, "databases": fingerprints}
