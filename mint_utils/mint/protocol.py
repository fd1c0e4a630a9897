"""Who is a member and who is not: the images that T is trained on and evaluated on.

Groups of members are all members, or the parts shown more often. For every group and protocol an `AuditSet`
has the rows of T's training and evaluation, among the images whose Auxiliary Auditable Data are needed.

The positives are the same images under every protocol, so that two protocols differ in their negatives
alone. Classes are of equal size, and no image is on both sides (paper, Section 4.1). External images that D
contains too are not non-members and are never chosen.

A group may also be declared never shown: it has held-out images in the place of members. The accuracy of T on
it is what the protocol yields without any membership.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mint_utils.config import PROTOCOLS, Databases, Mint
from mint_utils.data.manifest import Database
from mint_utils.data.membership import uniform
from mint_utils.errors import ParameterError

TRAINING_SHARE = 2 / 3  # the paper's 66% / 33%
FEWEST = 10  # images of a class, below which an accuracy says nothing


@dataclass(frozen=True)
class Split:
    """Rows of an `AuditSet`: int64 rows and bool labels (True: member)."""

    train: np.ndarray
    train_labels: np.ndarray
    evaluation: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class AuditSet:
    """The images of an audit and their splits.

    Attributes:
        images: One line a row: database, index (position in the database), key, cluster (identity;
            where it is unknown the source, or the image itself), exposures (0 for every non-member).
        splits: (group, protocol) -> rows.
        never_shown: The groups whose positives M never saw, on purpose.
    """

    images: pd.DataFrame
    splits: dict[tuple[str, str], Split]
    never_shown: frozenset[str] = frozenset()


def audit_set(
    training: Database,
    exposures: np.ndarray,
    external_train: Sequence[Database],
    external_eval: Database,
    groups: Mapping[str, np.ndarray],
    roles: Databases,
    mint: Mint,
    never_shown: Collection[str] = (),
    excluded: Mapping[str, Collection[str]] | None = None,
) -> AuditSet:
    """Choose the images of an audit: at most ``mint.mint_samples``, or what the smallest class allows.

    Args:
        training: D.
        exposures: (N,) exposures of the images of D, from the ledger.
        external_train: Databases of T's negatives in training under ``paper``.
        external_eval: Database of T's negatives in evaluation under ``paper``.
        groups: Name of a column -> (N,) bool, the members that are its positives.
        roles: Its seed decides the cuts.
        mint: Number of samples, and whether T's training and evaluation are cut by image or by identity.
        never_shown: Groups of held-out images; under ``held_out`` the negatives are then the others.
        excluded: Name of an External Dataset -> keys of its images that D contains too; never chosen.

    Raises:
        ParameterError: A group holds an image never exposed (or, where it is declared never shown, one
            that was), or a class is too small.
    """
    seed = roles.partition_seed
    order, unseen = _order(training, seed), exposures == 0
    inside = _in_training(training, mint.split, seed)
    external = {
        db.name: (db, _candidates(db, seed, (excluded or {}).get(db.name, ())))
        for db in (*external_train, external_eval)
    }
    sides = {  # who may take part, of which External Datasets, and how many of a class
        "train": (inside, [external[db.name] for db in external_train], mint.mint_samples // 2),
        "evaluation": (~inside, [external[external_eval.name]], mint.mint_samples // 4),
    }
    rows, splits = _Rows(), {}
    for name, members in groups.items():
        _check_group(name, members, unseen, name in never_shown)
        chosen = {}
        for side, (allowed, externals, limit) in sides.items():
            of = (order[(mask & allowed)[order]] for mask in (members, unseen & ~members))
            chosen[side] = _taken(f"T's {side} of {name!r}", rows, training, *of, externals, limit)
        for protocol in PROTOCOLS:
            each = [_labelled(chosen[side]["member"], chosen[side][protocol]) for side in sides]
            splits[name, protocol] = Split(*each[0], *each[1])
    return AuditSet(rows.table(training, exposures), splits, frozenset(never_shown))


def _taken(
    what: str,
    rows: "_Rows",
    training: Database,
    positives: np.ndarray,
    negatives: np.ndarray,
    externals: list[tuple[Database, np.ndarray]],
    limit: int,
) -> dict[str, np.ndarray]:
    """Return as many rows of members as of the negatives of each protocol, at most so many."""
    sizes = [len(found) for _, found in externals]
    n = min(limit, len(positives), len(negatives), sum(sizes))
    if n < FEWEST:
        raise ParameterError(
            f"{what} would have {n} images a class: there are {len(positives)} members, {len(negatives)} "
            f"held-out and {sum(sizes)} external images to take from, and {FEWEST} is the least. Take larger "
            "databases or another held_out."
        )
    taken = zip(externals, equal_shares(n, sizes), strict=True)
    return {
        "member": rows.of(training, positives[:n]),
        "held_out": rows.of(training, negatives[:n]),
        "paper": np.concatenate([rows.of(db, found[:k]) for (db, found), k in taken]),
    }


def _check_group(name: str, members: np.ndarray, unseen: np.ndarray, never_shown: bool) -> None:
    if never_shown and (members & ~unseen).any():
        raise ParameterError(f"Group {name!r} is never shown and holds images that M saw.")
    if not never_shown and (members & unseen).any():
        raise ParameterError(f"Group {name!r} of members holds images that M never saw.")


def permuted(chosen: AuditSet, seed: int = 0) -> AuditSet:
    """Return an audit set whose labels are permuted within each side, so that no test can beat .50 on them.

    The labels of the evaluation are permuted as well. With those of the training alone permuted, T would
    learn one answer for each database. There are few databases, so its accuracy would be far from .50 by
    chance.
    """
    rng = np.random.default_rng(seed)
    splits = {}
    for key, split in chosen.splits.items():
        train, evaluation = (rng.permutation(of) for of in (split.train_labels, split.labels))
        splits[key] = replace(split, train_labels=train, labels=evaluation)
    return replace(chosen, splits=splits)


def equal_shares(n: int, sizes: Sequence[int]) -> list[int]:
    """Divide n among databases equally; where a small one runs out, the larger ones take the rest."""
    shares = [0] * len(sizes)
    left = n
    smallest_first = sorted(range(len(sizes)), key=lambda i: sizes[i])
    for served, i in enumerate(smallest_first):
        shares[i] = min(sizes[i], left // (len(sizes) - served))
        left -= shares[i]
    return shares


def fewer(chosen: AuditSet, n: int) -> AuditSet:
    """Return an audit set of the same images whose T is trained on n images a class.

    They are the first that were chosen, the external databases in equal shares. T is evaluated on the same
    images, so that results differ by its training alone.

    Args:
        chosen: An audit set.
        n: At most as many as it has.
    """
    origin = chosen.images["database"].to_numpy()

    def first(split: Split) -> Split:
        negatives = split.train[~split.train_labels]
        runs = [negatives[origin[negatives] == name] for name in pd.unique(origin[negatives])]
        shares = zip(runs, equal_shares(n, [len(run) for run in runs]), strict=True)
        kept = np.concatenate([run[:k] for run, k in shares])
        train, labels = _labelled(split.train[split.train_labels][:n], kept)
        return replace(split, train=train, train_labels=labels)

    return replace(chosen, splits={key: first(split) for key, split in chosen.splits.items()})


class _Rows:
    """Numbers the chosen images: one row each, however many groups and protocols choose them."""

    def __init__(self):
        self.databases: dict[str, Database] = {}
        self.numbers: dict[tuple[str, int], int] = {}

    def of(self, database: Database, indices: np.ndarray) -> np.ndarray:
        self.databases[database.name] = database
        images = [(database.name, index) for index in indices.tolist()]
        return np.array([self.numbers.setdefault(image, len(self.numbers)) for image in images])

    def table(self, training: Database, exposures: np.ndarray) -> pd.DataFrame:
        lines = []
        for name, index in self.numbers:
            db = self.databases[name]
            shown = int(exposures[index]) if name == training.name else 0
            lines.append((name, index, str(db.keys[index]), db.cluster(index), shown))
        return pd.DataFrame(lines, columns=["database", "index", "key", "cluster", "exposures"])


def _order(database: Database, seed: int) -> np.ndarray:
    """Return the images of a database in the order in which they are chosen, of their hashes."""
    return np.argsort(uniform(database.name, database.keys, "mint-pick", seed), kind="stable")


def _candidates(database: Database, seed: int, excluded: Collection[str]) -> np.ndarray:
    order = _order(database, seed)
    return order[~np.isin(database.keys[order], list(excluded))] if excluded else order


def _in_training(database: Database, split: str, seed: int) -> np.ndarray:
    units = database.keys if split == "image" else database.identities
    return uniform(database.name, units, f"mint-{split}", seed) < TRAINING_SHARE


def _labelled(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = np.concatenate([positives, negatives])
    return rows, np.arange(len(rows)) < len(positives)
