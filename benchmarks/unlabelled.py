"""A published network with unknown training data and without its head: what can an audit say?

Some people of the databases may be in its Training Dataset D. The tables show how well its features
distinguish one database from others, and how well those of an untrained network, or of no network, do so; how
similar the photographs of a person are, and whether people fall into two groups by that.

    python -m benchmarks.unlabelled --network MobileFaceNet.onnx --data DIR \\
        --out figures/mobilefacenet --mean .485,.456,.406 --std .229,.224,.225

A reading becomes a test with known members and known non-members, which are missing here. So no number shows
that an image was used; the tables measure what could be mistaken for such a number.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mint_utils.audited import networks, train
from mint_utils.audited.untrained import calibrated
from mint_utils.data.manifest import Database, open_database
from mint_utils.errors import command
from mint_utils.measure.bootstrap import auc
from mint_utils.measure.verification import verified
from mint_utils.mint import aad, blind

PEOPLE, OTHERS, PAIRS = "lfw", ("ffhq", "stylegan2", "utkface"), "lfw_disjoint"
NETWORK, SHUFFLED, BLIND = "the network", "weights shuffled", "no network"
PHOTOGRAPHS = (2, 3, 5, 10)
FOLDS = 3


def recognition(opened: networks.Opened, pairs: Database) -> pd.DataFrame:
    """Return how well pairs are verified in either colour order, to check how the network is read.

    Returns:
        colour_order, given (whether it is that of the network), accuracy, n (pairs).
    """
    lines = []
    for order in ("rgb", "bgr"):
        found = aad.embed(opened.network, order, pairs.images, train.default_device())
        accuracy = verified(found, pairs.same).mean()
        lines.append((order, order == opened.colour_order, accuracy, len(pairs.same)))
    return pd.DataFrame(lines, columns=["colour_order", "given", "accuracy", "n"])


def features(
    opened: networks.Opened, databases: Sequence[Database], path: Path
) -> tuple[np.ndarray, dict]:
    """Return the readings of all images, (N, L) float32, and the columns of each row."""
    pieces = [(db.images, np.arange(len(db))) for db in databases]
    aad.extract(opened.network, opened.colour_order, pieces, path, train.default_device())
    widths = [info["num_chs"] for info in opened.network.feature_info]
    return np.load(path), aad.columns(widths, opened.network.num_features)


def told_apart(
    readings: dict[tuple[str, str], np.ndarray], databases: Sequence[Database]
) -> pd.DataFrame:
    """Return how well each reading distinguishes the first database from each of the others.

    A logistic regression is trained on two thirds of the people and scores the others, in three folds. An
    image of unknown identity counts as a person of its own.

    Args:
        readings: (reader, row) -> (N, L) over the images of all databases.
        databases: The database of people, then the others.

    Returns:
        reader, row, against, auc, low, high, n.
    """
    ends = np.cumsum([0, *(len(db) for db in databases)])
    first = np.arange(ends[1])
    lines = []
    for i, other in enumerate(databases[1:], start=1):
        rows = np.concatenate([first, np.arange(ends[i], ends[i + 1])])
        labels = rows < ends[1]
        people = np.concatenate([databases[0].identities, -1 - np.arange(len(other))])
        for (reader, row), array in readings.items():
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
            scores = cross_val_predict(
                model,
                array[rows],
                labels,
                groups=people,
                cv=GroupKFold(FOLDS),
                method="decision_function",
            )
            found = auc(labels, scores[None], people)
            lines.append((reader, row, other.name, *found, len(rows)))
    return pd.DataFrame(lines, columns=["reader", "row", "against", "auc", "low", "high", "n"])


def alike(units: np.ndarray, people: np.ndarray, k: int, skip: int = 0) -> pd.Series:
    """Return the mean cosine among k photographs of each person who has enough of them.

    Args:
        units: (N, L), normalised to unit length here.
        people: (N,) int.
        k: Number of photographs of each person.
        skip: Number of photographs of each person that are left out first.
    """
    units = units / np.linalg.norm(units, axis=1, keepdims=True)
    means = {}
    for person, rows in pd.Series(np.arange(len(people))).groupby(people):
        photographs = units[rows.to_numpy()[skip : skip + k]]
        if len(photographs) == k:
            means[person] = ((photographs @ photographs.T).sum() - k) / (k * (k - 1))
    return pd.Series(means)


def persons(readings: dict[str, np.ndarray], people: np.ndarray) -> pd.DataFrame:
    """Return how similar photographs of a person are, and what that could say of the person.

    Args:
        readings: Reader -> (N, L).
        people: (N,) int.

    Returns:
        reader, photographs (k), people, mean, sd, two_kinds (by how much the Bayesian information criterion
        prefers two normal distributions over one; above 10 strongly), upper (share in the upper one, where
        two are preferred), again (rank correlation of a person's number with that of k other photographs),
        blind (with the similarity without any network), number (with the number of photographs).
    """
    lines, counts = [], pd.Series(people).value_counts()
    for k in PHOTOGRAPHS:
        without = alike(readings[BLIND], people, k)
        for reader, units in readings.items():
            own, other = alike(units, people, k), alike(units, people, k, skip=k)
            both = own.index.intersection(other.index)
            values = own.to_numpy()[:, None]
            one, two = (GaussianMixture(n, n_init=5, random_state=0).fit(values) for n in (1, 2))
            gain = one.bic(values) - two.bic(values)
            correlations = (
                stats.spearmanr(a, b).statistic
                for a, b in (
                    (own[both], other[both]),
                    (own, without[own.index]),
                    (own, counts[own.index]),
                )
            )
            upper = two.weights_[two.means_.argmax()] if gain > 0 else np.nan
            lines.append((reader, k, len(own), own.mean(), own.std(), gain, upper, *correlations))
    columns = "reader photographs people mean sd two_kinds upper again blind number"
    return pd.DataFrame(lines, columns=columns.split())


def audited(opened: networks.Opened, without: networks.Opened, data: str, out: Path) -> None:
    """Write recognition.csv, images.csv and persons.csv; see `recognition`, `told_apart`, `persons`."""
    out.mkdir(parents=True, exist_ok=True)
    size = opened.image_size
    databases = [open_database(name, data, size) for name in (PEOPLE, *OTHERS)]
    recognition(opened, open_database(PAIRS, data, size)).to_csv(
        out / "recognition.csv", index=False
    )
    found, scratch = {}, out / "features.npy"
    every = np.concatenate([db.images[::10] for db in databases])
    calibrated(without.network, every, np.arange(len(every)), without.colour_order)
    for reader, network in ((NETWORK, opened), (SHUFFLED, without)):
        array, rows = features(network, databases, scratch)
        for row in set(rows) & {"Model Outcome", "All Conv Layers"}:
            found[reader, row] = array[:, rows[row]]
    scratch.unlink()
    units = {
        reader: found[reader, "Model Outcome"][: len(databases[0])]
        for reader in (NETWORK, SHUFFLED)
    }
    pieces = [(db.images, np.arange(len(db))) for db in databases]
    for name in blind.BASELINES:
        found[BLIND, name] = blind.extract(name, pieces)
    thumbnails = found[BLIND, "pixels"][: len(databases[0])]
    units[BLIND] = thumbnails - thumbnails.mean(axis=1, keepdims=True)
    persons(units, databases[0].identities).round(4).to_csv(out / "persons.csv", index=False)
    told_apart(found, databases).round(4).to_csv(out / "images.csv", index=False)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Audit a network from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", required=True, help="as networks.open_network takes it")
    parser.add_argument("--data", required=True, help="folder of the databases")
    parser.add_argument("--out", required=True, type=Path, help="folder of the tables")
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--colour-order", choices=("rgb", "bgr"))
    for name in ("mean", "std"):
        parser.add_argument(f"--{name}", default="", help="one number or three, with commas")
    given = parser.parse_args(arguments)
    mean, std = (tuple(float(v) for v in text.split(",") if v) for text in (given.mean, given.std))
    made = [
        networks.open_network(
            given.network, given.image_size, None, (), given.colour_order, mean, std, trained
        )
        for trained in (True, False)
    ]
    print(made[0])
    audited(*made, given.data, given.out)
    record = {
        "network": Path(given.network).name,
        "fingerprint": networks.fingerprint(Path(given.network).name, made[0].network),
        "read as": str(made[0]).partition(": ")[2],
        "layers": networks.layers(made[0].network, made[0].image_size).to_dict("list"),
        "databases": [PEOPLE, *OTHERS, PAIRS],
        "torch": torch.__version__,
    }
    (given.out / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
