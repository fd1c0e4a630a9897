"""Which image passes through training when: the plan, its batches, and the ledger that proves it.

An *exposure* is one image passed once through training. The plan says, before anything runs, how
often each image of D is exposed; the ledger counts it where batches are formed; training ends
only when the two are equal. Nothing is dropped, padded or substituted: AdaFace's loader drops the
last incomplete batch of an epoch, here an epoch is cut into batches of nearly equal size instead.
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
        images: (N,) int64, exposures of each image of D an epoch; 0 for a held-out image.
        epochs: Passes over the plan.
        batch_size: Largest batch, at least 2; in pairs an odd number of images leaves one batch of 3.
        seed: Of the order of each epoch.
    """

    images: np.ndarray
    epochs: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of each epoch. BatchNorm cannot take one image: three share a step if need be."""
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
        """Compare what was counted with what was planned.

        Args:
            ledger: (N,) exposures counted for each image of D.

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

    ``recipe.shown`` says which those are: the members, or for a null model the held-out images in their
    place, one of two halves of D, the half of a shadow model, the members among a third of the people, or at
    most so many of each.

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
            among = np.flatnonzero(chosen)
            of = database.keys[among], database.identities[among]
            chosen[among] = first(database.name, *of, int(most[-1]), partition_seed)
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
    """Return (N,) int64: each image's class among the identities that are shown, -1 where none."""
    shown = np.unique(database.identities[plan.images > 0])
    position = np.searchsorted(shown, database.identities).clip(max=len(shown) - 1)
    return np.where(shown[position] == database.identities, position, -1)
