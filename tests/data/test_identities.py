"""People on both sides, by name and by face."""

import numpy as np
import pytest
import yaml

from mint_utils import paths
from mint_utils.data import identities
from mint_utils.data.identities import identity_means, nearest_other, shared_faces, shared_names
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


def people(rng, centres, each):
    noisy = centres.repeat(each, 0) + 0.1 * rng.normal(size=(len(centres) * each, 32))
    return (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)


def test_means_are_those_of_float64(monkeypatch):
    rng = np.random.default_rng(0)
    embeddings = people(rng, rng.normal(size=(5, 32)), 4)
    labels = np.array([9, 2, 2, 7] * 5)
    for chunk in (1 << 16, 3):
        monkeypatch.setattr(identities, "CHUNK", chunk)
        known, means = identity_means(embeddings, labels)
        assert known.tolist() == [2, 7, 9]
        for label, mean in zip(known, means, strict=True):
            expected = embeddings[labels == label].astype(float).mean(0)
            np.testing.assert_allclose(mean, expected / np.linalg.norm(expected), atol=1e-6)


def test_people_of_both_sides_are_found_by_their_faces():
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(12, 32))
    ours, theirs = people(rng, centres[:8], 6), people(rng, centres[6:], 3)
    found = shared_faces(
        ours, np.repeat(np.arange(8) * 10, 6), theirs, np.repeat(np.arange(6), 3), cosine=0.8
    )
    assert found["training_identity"].tolist() == [60, 70]
    assert found["identity"].tolist() == [0, 1] and (found["cosine"] > 0.8).all()


def test_the_nearest_other_person(monkeypatch):
    rng = np.random.default_rng(2)
    stored = people(rng, rng.normal(size=(7, 32)), 3)
    labels = np.repeat(np.arange(7), 3)
    cosines = stored[::2].astype(float) @ stored.T.astype(float)
    cosines[labels[::2, None] == labels] = -1
    for rows in (1 << 10, 4):
        monkeypatch.setattr(identities, "ROWS", rows)
        found = nearest_other(stored[::2], labels[::2], stored, labels)
        np.testing.assert_allclose(found, cosines.max(1), atol=1e-6)
