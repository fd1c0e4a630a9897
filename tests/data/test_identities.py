"""People on both sides, by name."""

import dataclasses

import numpy as np
import pytest
import yaml

from mint_utils import paths
from mint_utils.data import identities
from mint_utils.data.identities import persons, shared_names
from mint_utils.data.manifest import Database
from mint_utils.errors import DataError


def test_names_however_they_are_written():
    ours = {0: "Gérard Depardieu", 1: "Ada Lovelace", 2: "Émile Zola", 5: "O'Neal, Shaquille"}
    theirs = {7: "gerard_depardieu", 8: "Grace Hopper", 9: "EMILE ZOLA", 3: "Emile  Zola"}
    found = shared_names(ours, theirs)
    assert found.to_dict("list") == {
        "training_identity": [2, 2, 0],
        "identity": [9, 3, 7],
        "name": ["Émile Zola", "Émile Zola", "Gérard Depardieu"],
    }
    assert shared_names({}, theirs).empty and shared_names(ours, {}).empty
    assert list(shared_names({}, {})) == ["training_identity", "identity", "name"]


def test_names_of_manifests(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "MANIFESTS", tmp_path)
    words = dict.fromkeys(("title", "licence", "citation", "origin", "preparation"), "-")
    manifest = words | {"name": "db", "layout": "recordio", "path": "a.rec", "image_size": 112}
    (tmp_path / "db.yaml").write_text(yaml.safe_dump(manifest))
    assert identities.names("db", tmp_path) == {}
    (tmp_path / "db.yaml").write_text(yaml.safe_dump(manifest | {"names": "db/names.tsv"}))
    assert identities.names("db", None) == {}
    with pytest.raises(DataError, match=r"no file .*db/names\.tsv"):
        identities.names("db", tmp_path)
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "names.tsv").write_text("4\tAda Lovelace\n")
    assert identities.names("db", tmp_path) == {4: "Ada Lovelace"}


def test_persons_of_pairs_without_identities():
    pairs = Database("p", np.arange(6), np.full(6, -1), None, np.array([True, False, True]), "p")
    assert persons(pairs).tolist() == [0, 0, 2, 3, 4, 4]
    known = dataclasses.replace(pairs, identities=np.array([5, 5, 5, 7, 9, 9]))
    assert persons(known).tolist() == [5, 5, 5, 7, 9, 9]
