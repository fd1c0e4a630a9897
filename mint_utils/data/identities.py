"""Which people of D are in another database too, by their names or by their faces.

In: names of identities, from the files that manifests call ``names``; or embeddings with identities. Out: one
line a person found on both sides. 46.93% of LFW's identities are in MS1MV2 (arXiv 2405.09403): a verification
set then measures partly the recognition of people seen in training.
"""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mint_utils.data.contamination import most_similar
from mint_utils.data.description import read_manifest, read_names

CHUNK = 1 << 16  # embeddings added up together
ROWS = 1 << 10  # embeddings that all queries are compared with at once


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


def shared_faces(
    training: np.ndarray,
    training_identities: np.ndarray,
    other: np.ndarray,
    other_identities: np.ndarray,
    cosine: float,
) -> pd.DataFrame:
    """Return the people of another database whose mean embedding is near that of a person of D.

    What cosine is near enough depends on the network: take it from pairs of one and of two persons.

    Args:
        training: (N, D) float32 embeddings of D, unit length.
        training_identities: (N,) int64.
        other: (M, D) float32, of another database.
        other_identities: (M,) int64; where they are unknown, a number of its own for each image.
        cosine: The least similarity.

    Returns:
        One line a person of the other database: training_identity (the nearest), identity, cosine.
    """
    ours, means = identity_means(training, training_identities)
    theirs, other_means = identity_means(other, other_identities)
    rows, matches, found = most_similar(other_means, means, cosine)
    return pd.DataFrame(
        {"training_identity": ours[matches], "identity": theirs[rows], "cosine": found}
    )


def nearest_other(
    queries: np.ndarray,
    query_identities: np.ndarray,
    stored: np.ndarray,
    identities: np.ndarray,
) -> np.ndarray:
    """Return how near each embedding comes to one of another person: (N,) float32, the largest cosine.

    Args:
        queries: (N, D) float32, unit length.
        query_identities: (N,) int64.
        stored: (M, D) float32, unit length, of two people at least; may be memory-mapped.
        identities: (M,) int64.
    """
    best = np.full(len(queries), -np.inf, np.float32)
    for i in range(0, len(stored), ROWS):
        cosines = queries @ np.asarray(stored[i : i + ROWS]).T
        cosines[query_identities[:, None] == identities[i : i + ROWS]] = -np.inf
        np.maximum(best, cosines.max(axis=1), out=best)
    return best


def identity_means(embeddings: np.ndarray, identities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the identities, ascending, (I,) int64, and the mean of each one's embeddings, unit length.

    Args:
        embeddings: (N, D) float32, unit length; may be memory-mapped.
        identities: (N,) int64.
    """
    known, which = np.unique(identities, return_inverse=True)
    sums = torch.zeros(len(known), embeddings.shape[1])
    for i in range(0, len(embeddings), CHUNK):
        part = torch.from_numpy(np.array(embeddings[i : i + CHUNK], np.float32))
        sums.index_add_(0, torch.from_numpy(which[i : i + CHUNK]), part)
    return known, torch.nn.functional.normalize(sums, dim=1).numpy()


def _plain(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    return " ".join(re.findall(r"[^\W_]+", letters))
