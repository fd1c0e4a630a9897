"""Copies are found by embeddings, from a cosine on that is counted, not guessed."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from mint_utils import config
from mint_utils.audited import ir, train
from mint_utils.audited.untrained import calibrated
from mint_utils.config import Audited
from mint_utils.data import synthetic
from mint_utils.data.contamination import contaminated
from mint_utils.data.manifest import Database
from mint_utils.errors import DataError
from mint_utils.mint import aad, likeness
from mint_utils.mint.likeness import Likeness
from mint_utils.study.study import Study

SIZE = 48


def drawn(name: str, style: str, identities, each: int) -> Database:
    numbers = np.repeat(identities, each)
    samples = np.tile(np.arange(each), len(identities))
    images = synthetic.draw(style, numbers, samples, SIZE)
    return Database(
        name, np.array([f"{i:05d}" for i in range(len(numbers))]), numbers, images, None, name
    )


def paired(db: Database) -> Database:
    """Make a verification set of two images of each person: first the one person, then two, and so on."""
    rows = np.arange(len(db))
    same = np.arange(len(db) // 2) % 2 == 0
    rows[3::4] = np.roll(rows[3::4], 1)  # the second image of every second pair is of somebody else
    return dataclasses.replace(
        db, keys=db.keys, identities=db.identities[rows], images=db.images[rows], same=same
    )


@pytest.fixture(scope="module", autouse=True)
def shared(tmp_path_factory):
    """Share what is computed in this module."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(autouse=True)
def there(shared, monkeypatch):
    monkeypatch.setenv("MINT_ARTIFACTS", str(shared))


@pytest.fixture(scope="module")
def d():
    return drawn("embedded_web", "embedded_web", np.arange(50), 3)


@pytest.fixture(scope="module")
def albums():
    return drawn("embedded_albums", "embedded_albums", np.arange(4000, 4040), 1)


@pytest.fixture(scope="module")
def pairs():
    return paired(drawn("embedded_pairs", "embedded_web", np.arange(1000, 1080), 2))


@pytest.fixture(scope="module")
def weights(d, tmp_path_factory) -> Path:
    """Random weights that tell images apart, as a file of them is published."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("ir_tiny", img_size=SIZE)
    calibrated(network, d.images, np.arange(len(d)), "bgr")
    path = tmp_path_factory.mktemp("weights") / "published.pt"
    torch.save({"state_dict": {f"model.{k}": v for k, v in network.state_dict().items()}}, path)
    return path


@pytest.fixture
def found(weights):
    return Likeness(weights, "ir_tiny", SIZE)


def stamped(image: np.ndarray) -> np.ndarray:
    image = image.copy()
    image[:10, :10] = 0
    return image


def planted(wild: Database, d: Database) -> Database:
    """Images 4 and 9 are copies of images 131 and 128 of D with a stamp on them, 20 is image 50 mirrored."""
    images = wild.images.copy()
    images[4], images[9] = stamped(d.images[131]), stamped(d.images[128])
    images[20] = d.images[50][:, ::-1]
    return dataclasses.replace(wild, images=images, fingerprint="planted")


@pytest.fixture
def wild(d):
    return planted(drawn("embedded_news", "embedded_news", np.arange(3000, 3040), 1), d)


class Toy(Study):
    """A study of these databases."""

    def __init__(self, config, *databases):
        self.named = {db.name: db for db in databases}
        super().__init__(config)

    def database(self, name):
        return self.named[name]


@pytest.fixture
def roles():
    return {
        "external_train": ["embedded_news"], "image_size": SIZE, "recognition_network": "ir_tiny",
        "mint_samples": 80,  # all that are not excluded
    }  # fmt: skip


def test_copies_that_the_hash_does_not_find_are_listed_excluded_and_counted(
    d, wild, albums, pairs, weights, roles
):
    of_study = config.resolve("quick", weights.parent, recognition=weights.name, **roles)
    s = Toy(of_study, d, wild, albums, pairs)
    assert contaminated(d, wild)["key"].tolist() == ["00020"]
    table = s.contamination()
    assert table["database"].tolist() == ["embedded_news"] * 3
    assert table["key"].tolist() == ["00004", "00009", "00020"]
    assert table["training_key"].tolist() == ["00131", "00128", "00050"]
    assert table["found_by"].tolist() == ["embedding", "embedding", "hash and embedding"]
    assert table["distance"].isna().tolist() == [True, True, False] and table["mirrored"][2]
    assert (table["cosine"] >= s.copies_from).all()
    chosen = s.audit_set().images
    assert not set(chosen[chosen["database"] == "embedded_news"]["key"]) & set(table["key"])
    assert "Compared by embedding (published.pt)" in s.compared()
    s.finish("00_databases")
    record = json.loads((s.figures / "record.json").read_text())
    assert record["contamination"] == {"embedded_news": 3, "embedded_albums": 0}
    told = record["compared_by_embedding"]
    assert (
        told["images"] == {"embedded_news": 3, "embedded_albums": 0}
        and told["weights"] == s.likeness.sha256
    )
    assert told["cosine"] == s.copies_from


def test_without_weights_only_the_hash_speaks_and_it_is_said(d, wild, albums, pairs, roles):
    s = Toy(config.resolve("quick", **roles), d, wild, albums, pairs)
    assert s.contamination()["found_by"].tolist() == ["hash"]
    assert s.contamination()["cosine"].isna().all()
    assert "Not compared by embedding" in s.compared()
    s.finish("00_databases")
    record = json.loads((s.figures / "record.json").read_text())
    assert record["contamination"] == {"embedded_news": 1, "embedded_albums": 0}
    assert record["compared_by_embedding"].startswith("no")


def test_the_cosine_is_what_it_says(d, pairs, found):
    e, p = (found.embeddings(db).astype(np.float64) for db in (d, pairs))
    same = (p[0::2] * p[1::2]).sum(1)[pairs.same]
    among = e @ e.T
    among[d.identities[:, None] == d.identities] = -1
    nearest, bound = np.sort(among.max(1))[::-1], found.cosine(d, [pairs])
    assert (nearest >= bound).mean() <= likeness.STRANGERS
    assert (same >= bound).mean() <= likeness.TWO_PHOTOGRAPHS
    # and no higher than that: a little below, one of the two would no longer hold
    most = nearest[int(likeness.STRANGERS * len(d))]
    assert max(same.max(), most) == pytest.approx(bound, abs=1e-6)


def test_embeddings_are_those_of_verification_at_unit_length_and_kept(
    d, found, weights, monkeypatch
):
    network, _ = train.build(Audited(network="ir_tiny"), SIZE, identities=2)
    ir.load_weights(network.eval(), weights)
    expected = aad.embed(network, "bgr", d.images, torch.device("cpu"))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found.embeddings(d), expected, atol=1e-6)
    monkeypatch.setattr(aad, "embed", None)
    np.testing.assert_allclose(found.embeddings(d), expected, atol=1e-6)


def test_missing_weights_are_refused_at_the_door(tmp_path):
    with pytest.raises(DataError, match=r"no recognition weights .*none\.pt: .*`recognition`"):
        Study(config.resolve("quick", tmp_path, recognition="none.pt"))
