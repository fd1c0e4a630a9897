"""A network of unknown training data: planted differences are found, and noise is not."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import unlabelled
from mint_utils.data.manifest import Database
from tests.audited.test_graphs import Small, exported
from tests.factory import database


def test_mean_cosine_among_photographs_of_a_person():
    rng = np.random.default_rng(0)
    units, people = rng.standard_normal((9, 5)), np.array([3, 3, 7, 3, 7, 3, 9, 7, 7])
    found = unlabelled.alike(units, people, 2, skip=2)
    assert found.index.tolist() == [3, 7]  # 9 has too few
    for person, rows in ((3, [3, 5]), (7, [7, 8])):
        a, b = units[rows]
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert found[person] == pytest.approx(cosine)


def test_databases_are_told_apart_by_what_differs_and_by_nothing_else():
    databases = [database("lfw", 30, 4), database("other", 30, 4, seed=1)]
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((240, 4)).astype(np.float32)
    shifted = noise + 2 * (np.arange(240) < 120)[:, None]
    frame = unlabelled.told_apart({("a", "noise"): noise, ("a", "shifted"): shifted}, databases)
    of = frame.set_index("row")
    assert of.loc["noise", "low"] < 0.5 < of.loc["noise", "high"]
    assert of.loc["shifted", "auc"] > 0.95 and (frame["n"] == 240).all()


def test_two_kinds_of_people_are_preferred_where_there_are_two(monkeypatch):
    monkeypatch.setattr(unlabelled, "PHOTOGRAPHS", (2,))
    rng, people = np.random.default_rng(0), np.repeat(np.arange(200), 4)
    own = rng.standard_normal((200, 64))[people]
    one = own + rng.standard_normal((800, 64))
    two = own + np.where(people % 2 == 0, 0.3, 2.0)[:, None] * rng.standard_normal((800, 64))
    readings = {"one": one, "two": two, unlabelled.BLIND: rng.standard_normal((800, 64))}
    of = unlabelled.persons(readings, people).set_index("reader")
    assert of.loc["two", "two_kinds"] > 10 and of.loc["two", "upper"] == pytest.approx(
        0.5, abs=0.05
    )
    assert of.loc["one", "two_kinds"] < 10
    assert of.loc["two", "again"] > 0.5 and abs(of.loc["two", "blind"]) < 0.2


def test_the_command_writes_tables_and_their_record(tmp_path, monkeypatch):
    made = {
        name: database(name, 24, 4, seed=i) for i, name in enumerate(("lfw", *unlabelled.OTHERS))
    }
    same = np.arange(20) % 2 == 0
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    keys = np.arange(40).astype(str)
    made["lfw_disjoint"] = Database("pairs", keys, np.full(40, -1), images, same, "p")
    monkeypatch.setattr(unlabelled, "open_database", lambda name, data, size: made[name])
    monkeypatch.setattr(unlabelled, "PHOTOGRAPHS", (2,))
    torch.manual_seed(0)
    net = exported(tmp_path / "net.pt2", Small())
    out = tmp_path / "out"
    given = [
        "--network",
        str(net),
        "--data",
        "none",
        "--out",
        str(out),
        "--mean",
        ".4",
        "--std",
        ".2",
    ]
    assert unlabelled.main(given) == 0
    images = pd.read_csv(out / "images.csv")
    assert set(images["reader"]) == {unlabelled.NETWORK, unlabelled.SHUFFLED, unlabelled.BLIND}
    assert images["auc"].between(0, 1).all()
    assert len(pd.read_csv(out / "persons.csv")) == 3
    record = json.loads((out / "record.json").read_text())
    assert record["network"] == "net.pt2" and record["layers"]["side"] == [16, 8, 4]
    assert str(tmp_path) not in (out / "record.json").read_text()
    assert not list(out.glob("*.npy"))
