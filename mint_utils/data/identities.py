"""Which people of D are in another database too, by their names.

In: names of identities, from the files that manifests call ``names``. Out: one
line a person found on both sides. 46.93% of LFW's identities are in MS1MV2 (arXiv 2405.09403): a
verification set then measures partly the recognition of people seen in training.
"""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mint_utils.data.description import read_manifest, read_names
from mint_utils.data.manifest import Database


def names(database: str, data: str | Path | None) -> dict[int, str]:
    """Return identity -> name of a database; nothing without data, or ``names`` in its manifest.

    Raises:
        DataError: The file that the manifest names is missing or malformed.
    """
    manifest = read_manifest(database)
    if "names" not in manifest or data is None:
        return {}
    return read_names(Path(data) / manifest["names"])


def shared_names(training: Mapping[int, str], other: Mapping[int, str]) -> pd.DataFrame:
    """Return the people named on both sides, however their names are written.

    Case, accents, punctuation and underscores do not matter. Two people of one name are taken for one, and
    one person of two names is not found.

    Args:
        training: Identity -> name, of D.
        other: Identity -> name, of another database.

    Returns:
        One line a pair of identities, by name: training_identity, identity, name (as D has it).
    """
    columns = ["training_identity", "identity", "name"]
    ours = pd.DataFrame({"training_identity": list(training), "name": list(training.values())})
    theirs = pd.DataFrame({"identity": list(other), "name": list(other.values())})
    ours["written"], theirs["written"] = ours["name"].map(_plain), theirs["name"].map(_plain)
    found = ours.merge(theirs.drop(columns="name"), on="written").sort_values("written")
    return found[columns].reset_index(drop=True)


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


def _plain(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    return " ".join(re.findall(r"[^\W_]+", letters))
