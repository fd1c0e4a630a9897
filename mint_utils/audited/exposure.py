"""The exposures of D in training: the plan, its batches, and the check of the ledger against the plan.

An *exposure* is one image passed once through training. The plan says before training how often each image
of D is exposed; the ledger counts exposures as batches are formed; training fails unless both are equal. No
image is dropped, padded or substituted: AdaFace's loader drops the last incomplete batch of an epoch, but
here an epoch is cut into batches of nearly equal size.
"""

from dataclasses import dataclass

import numpy as np

from mint_utils.config import Audited
from mint_utils.data.manifest import Database
from mint_utils.data.membership import THIRDS, first, half, held_out, part, shadow, third
from mint_utils.errors import ParameterError, TrainingError


@dataclass(frozen=True)
class Plan:
    """The exposures of one Audited Model.

    Attributes:
        images: (N,) int64, exposures of each image of D in an epoch; 0 for a held-out image.
        epochs: Passes over the plan.
        batch_size: Largest batch, at least 2. With 2 and an odd number of images one batch has 3.
        seed: Seed of the order of each epoch.
    """

    images: np.ndarray
    epochs: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of each epoch, of two images at least, because BatchNorm cannot train on one."""
        shown = int(self.images.sum())
        return min(-(-shown // self.batch_size), shown // 2)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.epochs * self.steps_per_epoch

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Return the batches of an epoch, int64 indices into D, from (seed, epoch) alone."""
        shown = np.repeat(np.arange(len(self.images)), self.images)
        order = np.random.default_rng((self.seed, epoch)).permutation(shown)
        return np.array_split(order, self.steps_per_epoch)

    def check(self, ledger: np.ndarray) -> None:
        """Compare the exposures counted for each image of D, (N,), with the plan.

        Raises:
            TrainingError: They differ for any image.
        """
        wrong = np.flatnonzero(ledger != self.images * self.epochs)
        if len(wrong):
            i = wrong[0]
            raise TrainingError(
                f"The exposure ledger differs from the plan for {len(wrong)} images; image {i} was "
                f"shown {ledger[i]} times where {self.images[i] * self.epochs} were planned."
            )


def plan(recipe: Audited, database: Database, held_out_share: float, partition_seed: int) -> Plan:
    """Plan the exposures of D: ``recipe.repeats`` for equal parts of the images shown, none for the others.

    ``recipe.shown`` says which images are shown: the members; the held-out images, for a null model; one of
    two halves of D; the half of a shadow model; or the members among a third of the people, all of them or a
    number of images of each person.

    Raises:
        ParameterError: Fewer than two identities, or fewer than two images, would be shown.
    """
    if recipe.shown.startswith("shadow-"):
        number = int(recipe.shown.removeprefix("shadow-"))
        chosen = shadow(database.name, database.keys, number, partition_seed)
    elif recipe.shown.startswith("half-"):
        name = recipe.shown.removeprefix("half-")
        chosen = half(database.name, database.keys, name, partition_seed)
    else:
        kept_out = held_out(database.name, database.keys, held_out_share, partition_seed)
        chosen = kept_out if recipe.shown == "held_out" else ~kept_out
    if recipe.shown.startswith("people-"):
        of_people = third(database.name, database.identities, partition_seed)
        _, name, *most = recipe.shown.split("-")
        chosen = chosen & (of_people == THIRDS.index(name))
        if most:
            rows = np.flatnonzero(chosen)
            keys, people = database.keys[rows], database.identities[rows]
            chosen[rows] = first(database.name, keys, people, int(most[-1]), partition_seed)
    times = np.asarray(recipe.repeats)
    parts = part(database.name, database.keys, len(times), partition_seed)
    images = np.where(chosen, times[parts], 0)
    shown = np.unique(database.identities[images > 0])
    if (shown < 0).any():
        raise ParameterError(
            f"Database {database.name!r} has images without identity: it cannot train M."
        )
    if len(shown) < 2:
        raise ParameterError(
            f"Training needs two identities; database {database.name!r} with held_out "
            f"{held_out_share} leaves {len(shown)}. Lower held_out or take a larger database."
        )
    return Plan(images, recipe.epochs, recipe.batch_size, recipe.seed)


def classes(plan: Plan, database: Database) -> np.ndarray:
    """Return (N,) int64: each image's class, a number of the identities shown; -1 for other identities."""
    shown = np.unique(database.identities[plan.images > 0])
    position = np.searchsorted(shown, database.identities).clip(max=len(shown) - 1)
    return np.where(shown[position] == database.identities, position, -1)
