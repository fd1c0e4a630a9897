"""Images and people that are in two databases, found by the embeddings of a face-recognition network.

In: a file of published recognition weights and databases. Out: the external images that are copies of images
of D, and the people of verification sets who are in D too, from cosines on that are derived, not guessed.

A perceptual hash does not find a copy that was cropped or moved by more than a pixel; a network made for
photographs that vary does. It also finds people, whose photographs differ. Nothing of M is used: what M
takes for alike depends on what it was trained on.
"""

import functools
import hashlib
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from mint_utils import store
from mint_utils.audited import train
from mint_utils.audited.ir import COLOUR_ORDERS, load_weights
from mint_utils.config import Audited
from mint_utils.data.contamination import in_pieces, most_similar
from mint_utils.data.equalise import equalised
from mint_utils.data.identities import identity_means, nearest_other, shared_faces
from mint_utils.data.manifest import Database
from mint_utils.errors import DataError, ParameterError
from mint_utils.mint import aad

VERSION = 1  # of embeddings and bounds: raised when the same weights and images give others
TWO_PHOTOGRAPHS = 0.001  # of the pairs of one person's two photographs may pass for copies
ANOTHER_PERSON = 0.01  # of the people, or images, of D may pass for another person's of D
SAMPLED = 1000  # images of D that copies are made of, and that are compared with all others


@dataclass(frozen=True)
class Bounds:
    """From which cosines on two embeddings count as the same, and what that finds.

    Searching among many finds higher cosines by chance than one pair has, so what may be mistaken is counted
    in the very search that a bound is for: D's own people, and images, among the others of D.

    Attributes:
        copy: Of two images: so high that of the verification pairs, which show one person on two photographs,
            at most `TWO_PHOTOGRAPHS` reach it, and at most `ANOTHER_PERSON` of D's images do with any image
            of another person.
        copies_found: Share of altered copies of images of D that reach it (see `Likeness.altered`).
        person: Of two people: so high that at most `ANOTHER_PERSON` of D's people come as near, by the mean
            of two images, to the mean of another person.
        pairs_found: Share of the verification pairs of one person that reach it.
        pairs_confused: Share of those of two people.
        pairs: Number of verification pairs.
    """

    copy: float
    copies_found: float
    person: float
    pairs_found: float
    pairs_confused: float
    pairs: int


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
        """Return the embeddings of all images, each with its mirror: (N, D) float32, unit length.

        They are memory-mapped; a killed run goes on where it was.
        """

        def make(folder: Path) -> None:
            def embedded(first: int, last: int) -> np.ndarray:
                return self._embedded(database.images, np.arange(first, last))

            title, (network, _) = f"embedding {database.name}", self._loaded
            path, shape = folder / "embeddings.npy", (len(database), network.num_features)
            whole, done = np.lib.format.open_memmap(path, "w+", np.float32, shape), 0
            for piece in in_pieces(folder / "pieces", len(database), title, embedded):
                whole[done : done + len(piece)] = piece
                done += len(piece)
            whole.flush()
            shutil.rmtree(folder / "pieces")

        spec = self._spec | {"database": database.fingerprint}
        done = store.fetch("embeddings", spec, make, resumes=True)
        return np.load(done.folder / "embeddings.npy", mmap_mode="r")

    def bounds(self, training: Database, verification: list[Database]) -> Bounds:
        """Derive the bounds.

        Args:
            training: D.
            verification: Sets of pairs.

        Raises:
            ParameterError: There are no pairs of one person, or none of two.
        """

        def make(folder: Path) -> dict[str, float]:
            pairs = [self.embeddings(db) for db in verification]
            cosines = np.concatenate([(e[0::2] * e[1::2]).sum(axis=1) for e in pairs])
            same = np.concatenate([db.same for db in verification])
            if same.all() or not same.any():
                raise ParameterError(
                    "Recognition weights are given, but the verification sets do not hold pairs of one "
                    "person and of two: from which cosine on faces are alike cannot be derived."
                )
            ours, who = self.embeddings(training), training.identities
            known, means = identity_means(ours, who)
            two = np.flatnonzero(pd.Series(who).groupby(who).cumcount() < 2)  # photographs of each
            _, firsts = identity_means(ours[two], who[two])
            rows = np.linspace(0, len(ours) - 1, min(SAMPLED, len(ours))).astype(int)
            people = nearest_other(firsts, known, means, known)
            images = nearest_other(ours[rows], who[rows], ours, who)
            person = _reached_by(ANOTHER_PERSON, people)
            copy = max(
                _reached_by(TWO_PHOTOGRAPHS, cosines[same]), _reached_by(ANOTHER_PERSON, images)
            )
            copies = (self.altered(training.images[rows]) * ours[rows]).sum(axis=1)
            bounds = Bounds(
                copy=copy,
                copies_found=float((copies >= copy).mean()),
                person=person,
                pairs_found=float((cosines[same] >= person).mean()),
                pairs_confused=float((cosines[~same] >= person).mean()),
                pairs=len(same),
            )
            return asdict(bounds)

        fingerprints = [training.fingerprint, *(db.fingerprint for db in verification)]
        told = store.fetch("likeness", self._spec | {"databases": fingerprints}, make).record
        return Bounds(**{name: told[name] for name in Bounds.__dataclass_fields__})

    def altered(self, images: np.ndarray) -> np.ndarray:
        """Return the embeddings of copies: halved and enlarged, encoded again, moved by 2 pixels of 112.

        Args:
            images: (N, S, S, 3) uint8 RGB.

        Returns:
            (N, D) float32, unit length.
        """
        by = max(1, round(self.image_size / 56))
        padded = np.pad(images, ((0, 0), (by, 0), (by, 0), (0, 0)), mode="edge")
        moved = equalised(np.ascontiguousarray(padded[:, :-by, :-by]))
        return self._embedded(moved)

    def copies(self, training: Database, external: Database, bounds: Bounds) -> pd.DataFrame:
        """Return the images of an External Dataset that are copies of images of D.

        Returns:
            One line an image: database, key, training_key (the most similar image of D), cosine.
        """

        def make(folder: Path) -> dict[str, int]:
            ours, theirs = self.embeddings(training), self.embeddings(external)
            rows, matches, cosines = most_similar(theirs, ours, bounds.copy)
            table = pd.DataFrame(
                {
                    "database": external.name,
                    "key": external.keys[rows],
                    "training_key": training.keys[matches],
                    "cosine": cosines,
                }
            )
            table.to_csv(folder / "copies.csv", index=False)
            return {"found": len(table)}

        return self._table("copies", training, external, bounds.copy, make)

    def people(self, training: Database, other: Database, bounds: Bounds) -> pd.DataFrame:
        """Return the people of another database who are in D; see `shared_faces`."""

        def make(folder: Path) -> dict[str, int]:
            ours, theirs = self.embeddings(training), self.embeddings(other)
            found = shared_faces(ours, training.identities, theirs, persons(other), bounds.person)
            found.to_csv(folder / "people.csv", index=False)
            return {"found": len(found)}

        return self._table("people", training, other, bounds.person, make)

    def _embedded(self, images: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the embeddings (n, D) of all images, or of some rows of them, at unit length."""
        network, order = self._loaded
        found = aad.embed(network, order, images, train.default_device(), rows)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    @functools.cached_property
    def _loaded(self) -> tuple[nn.Module, str]:
        """The network on the device, in evaluation mode, and the colour order of its input."""
        network, _ = train.build(Audited(network=self.network), self.image_size, identities=2)
        layout = load_weights(network, self.weights)
        return network.to(train.default_device()).eval(), COLOUR_ORDERS[layout]

    @property
    def _spec(self) -> dict[str, str | int]:
        return {"version": VERSION, "weights": self.sha256, "network": self.network}

    def _table(self, kind: str, training: Database, other: Database, cosine: float, make):
        spec = self._spec | {
            "cosine": cosine,
            "databases": [training.fingerprint, other.fingerprint],
        }
        done = store.fetch(kind, spec, make)
        keys = {"key": str, "training_key": str}
        return pd.read_csv(done.folder / f"{kind}.csv", dtype=keys, keep_default_na=False)


def persons(pairs: Database) -> np.ndarray:
    """Return the person of each image of a verification set: (2n,) int64.

    Where the database does not tell, the two images of a pair of one person are one, all others are taken for
    people of their own: somebody who is in several pairs is counted as often.
    """
    if (pairs.identities >= 0).all():
        return pairs.identities
    numbers = np.arange(len(pairs))
    numbers[1::2] -= pairs.same
    return numbers


def _reached_by(share: float, values: np.ndarray) -> float:
    """Return the least number that at most this share of values (float32) reach."""
    most = np.sort(values)[::-1][int(share * len(values))]
    return float(np.nextafter(np.float32(most), np.float32(2)))
