"""A tiny training, what is read of it, and the scores of a MINT Model, beside numbers that were stored.

Artifacts are found by a hash that holds a version of the code. Where code gives other numbers and its version
stays, stored artifacts are taken for results of the new code: this test then fails, and says which version to
raise. After that ``python -m tests.test_golden`` stores the new numbers.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mint_utils.audited import train
from mint_utils.audited.exposure import plan
from mint_utils.mint import aad, blind, readings
from mint_utils.mint.fit import MintRecipe, MintTask, fit
from mint_utils.study import audit
from tests.factory import database, recipe

FILE = Path(__file__).parent / "golden.json"
CPU = torch.device("cpu")
# Two threads, AVX2 and no vector instructions at all differed from AVX-512 by less than a fiftieth of these.
RELATIVE, ABSOLUTE = 2e-3, 2e-3
VERSIONS = {  # what gives the numbers -> where its version is raised, its version
    "training": ("audited/train.py", train.VERSION),
    "aad": ("mint/aad.py", aad.VERSION),
    "readings": ("mint/readings.py", readings.VERSION),
    "mint": ("study/audit.py", audit.VERSION),
    "blind": ("mint/blind.py", blind.VERSION),
}


def moments(array: np.ndarray) -> list[float]:
    """Return mean, deviation, first number, and the mean product with a pattern, which sees the order."""
    flat = np.nan_to_num(np.asarray(array, np.float64)).ravel()
    pattern = np.cos(np.arange(len(flat)))
    return [float(x) for x in (flat.mean(), flat.std(), flat[0], (flat * pattern).mean())]


def numbers(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Return what the code gives now: kind -> name -> numbers."""
    db, given = (
        database(identities=16),
        recipe(
            precision="float32", augmentation=0.5, dropout=0.4, epochs=2, batch_size=24, lr=0.01
        ),
    )
    exposures = plan(given, db, 0.5, 0)
    record = train.train(given, db, exposures, folder, CPU)
    network, head = train.build(given, 16, record["classes"])
    weights = torch.load(folder / "model.pt", weights_only=True)
    network.load_state_dict(weights["network"])
    head.load_state_dict(weights["head"])
    network, head = network.eval(), head.eval()
    every = np.arange(len(db))
    aad.extract(network, train.COLOUR_ORDER, [(db.images, every)], folder / "aad.npy", CPU)
    features, columns = np.load(folder / "aad.npy"), aad.columns(*train.shape("ir_tiny", 16))
    with np.load(folder / "ledger.npz") as ledger:
        known, seen = ledger["class"], ledger["exposures"] > 0
    pieces = [(db.images, every, known)]
    of_centres, rows = readings.read(network, head, train.COLOUR_ORDER, pieces, CPU).features()
    # Not the features above: some of them hardly vary, and T would see how a processor rounds.
    drawn = np.random.default_rng(0).normal(seen[:, None], 2, (len(db), 40)).astype(np.float32)
    tasks = [
        MintTask(where, every[::2], seen[::2], every[1::2], seed)
        for seed, where in enumerate((slice(0, 40), slice(10, 20)))
    ]
    scores = fit(drawn, tasks, MintRecipe(epochs=6, batch_size=16), CPU)
    history = pd.read_csv(folder / "history.csv")
    return {
        "training": {
            "loss": history["loss"].tolist(),
            "rates": [train.learning_rate(given, step, 260) for step in range(0, 260, 10)],
            "exposures": [int(seen.sum())],
        },
        "aad": {name: moments(features[:, where]) for name, where in columns.items()},
        "readings": {name: moments(of_centres[:, where]) for name, where in rows.items()},
        "mint": {str(i): moments(found) for i, found in enumerate(scores)},
        "blind": {
            name: moments(blind.extract(name, [(db.images, every)])) for name in blind.BASELINES
        },
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return numbers(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("kind", VERSIONS)
def test_no_number_changes_without_its_version(found, kind):
    stored = json.loads(FILE.read_text())
    file, version = VERSIONS[kind]
    assert stored["versions"][kind] == version, (
        f"The version in {file} was raised: store the new numbers, python -m tests.test_golden."
    )
    assert found[kind].keys() == stored[kind].keys()
    for name, expected in stored[kind].items():
        np.testing.assert_allclose(
            found[kind][name],
            expected,
            RELATIVE,
            ABSOLUTE,
            err_msg=f"{kind}, {name}: the code gives other numbers. Where that is meant, raise VERSION in "
            f"mint_utils/{file}, then python -m tests.test_golden.",
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        made = numbers(Path(name))
    versions = {kind: version for kind, (_, version) in VERSIONS.items()}
    FILE.write_text(json.dumps({"versions": versions} | made, indent=1) + "\n")
    sys.exit(f"{FILE} is written")
