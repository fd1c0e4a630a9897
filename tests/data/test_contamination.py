"""Copies of images of D are found in other databases, and nothing else is."""

import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mint_utils.data import contamination, synthetic
from mint_utils.data.contamination import (
    NEAR,
    contaminated,
    nearest_hash,
    perceptual_hashes,
    repeated,
)
from mint_utils.data.manifest import Database, open_database

SIZE = 48


def drawn(name: str, style: str, first: int, n: int) -> Database:
    numbers = np.arange(first, first + n)
    images = synthetic.draw(style, numbers, numbers, SIZE)
    return Database(name, np.array([f"{i:05d}" for i in numbers]), numbers, images, None, name)


@pytest.fixture(scope="module")
def d():
    return drawn("d", "embedded_web", 0, 60)


@pytest.fixture(scope="module")
def wild():
    return drawn("wild", "embedded_news", 1000, 40)


def reencoded(image, quality=60):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def planted(wild, d) -> Database:
    """Images 3, 8 and 11 of another database are copies of images 20, 5 and 7 of D."""
    images = wild.images.copy()
    images[3] = reencoded(d.images[20])
    half = Image.fromarray(d.images[5]).resize((30, 30), Image.Resampling.BICUBIC)
    images[8] = np.array(half.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    images[11] = reencoded(d.images[7])[:, ::-1]
    return dataclasses.replace(wild, images=images, fingerprint="planted")


# ---- hashes ----------------------------------------------------------------------------------


def test_the_hash_is_that_of_the_formula():
    """DCT-II by its definition in float64, of the image that Pillow makes grey and 64 x 64."""
    image = synthetic.draw("embedded_web", np.array([3]), np.array([0]), 64)
    grey = np.asarray(Image.fromarray(image[0]).convert("L"), float)
    n = np.arange(64)
    basis = 2 * np.cos(np.pi * n[:, None] * (2 * n + 1) / 128)
    low = (basis @ grey @ basis.T)[:16, :16]
    expected = (low > np.median(low)).ravel()
    found = np.unpackbits(perceptual_hashes(image).view(np.uint8)).astype(bool)
    order = sorted(range(256), key=lambda i: ((i // 16 + i % 16) % 16, i))
    assert (found == expected[order]).all()


def test_a_hash_depends_on_its_image_alone(d):
    one = perceptual_hashes(d.images[:7])
    assert one.shape == (7, 4) and one.dtype == np.uint64
    np.testing.assert_array_equal(perceptual_hashes(d.images[3:4]), one[3:4])
    assert perceptual_hashes(d.images[:0]).shape == (0, 4)


# ---- search ----------------------------------------------------------------------------------


def brute(queries, stored):
    """Return rows and distances by comparing every pair."""
    distances = np.bitwise_count(queries[:, None] ^ stored[None]).sum(-1, dtype=int)
    near = distances.min(1) <= NEAR
    return np.where(near, distances.argmin(1), -1), np.where(near, distances.min(1), -1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.booleans())
def test_the_search_finds_what_comparing_all_pairs_finds(seed, flips, skewed):
    rng = np.random.default_rng(seed)
    stored = rng.integers(0, 2**64, (200, 4), dtype=np.uint64)
    if skewed:
        stored[:, :2] = stored[0, :2]  # half of the blocks say nothing
    queries = stored[rng.integers(0, 200, 30)]
    bits = np.unpackbits(queries.view(np.uint8), axis=1)
    for row in bits:
        row[rng.permutation(256)[:flips]] ^= 1
    queries = np.packbits(bits, axis=1).view(np.uint64)
    for found, expected in zip(nearest_hash(queries, stored), brute(queries, stored), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_edge_of_what_is_near():
    """31 bits spread over the blocks as evenly as they can be are found, 32 are not."""
    stored, words = np.zeros((1, 4), np.uint64), np.full((256, 16), 0b11, np.uint16)
    one = words.copy()  # two bits in 15 blocks, one in the other: each of its 16 in turn
    one[np.arange(256), np.arange(256) // 16] = 1 << np.arange(256) % 16
    rows, distances = nearest_hash(one.view(np.uint64), stored)
    assert (rows == 0).all() and (distances == 31).all()
    assert (nearest_hash(words.view(np.uint64), stored)[0] == -1).all()


def test_the_first_of_equals_is_named_and_blocks_change_nothing(monkeypatch):
    stored = np.random.default_rng(0).integers(0, 2**64, (50, 4), dtype=np.uint64)
    stored[[9, 30]] = stored[17]
    whole = nearest_hash(stored, stored)
    assert whole[0][17] == 9 and whole[0][30] == 9 and (whole[1] == 0).all()
    monkeypatch.setattr(contamination, "ROWS", 12)
    np.testing.assert_array_equal(nearest_hash(stored, stored), whole)


# ---- databases -------------------------------------------------------------------------------


def test_planted_copies_are_found_and_nothing_else(d, wild):
    found = contaminated(d, planted(wild, d))
    assert found["key"].tolist() == ["01003", "01008", "01011"]
    assert found["training_key"].tolist() == ["00020", "00005", "00007"]
    assert found["mirrored"].tolist() == [False, False, True]
    assert found["distance"].between(0, NEAR).all() and (found["database"] == "wild").all()
    assert contaminated(d, wild).empty


def test_it_is_kept_and_a_killed_run_goes_on(d, wild, monkeypatch):
    expected = contaminated(d, planted(wild, d))
    monkeypatch.setattr(contamination, "PIECE", 16)
    monkeypatch.setattr(contamination, "VERSION", 0)
    work, calls = contamination.perceptual_hashes, []

    def killed(images):
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return work(images)

    monkeypatch.setattr(contamination, "perceptual_hashes", killed)
    with pytest.raises(KeyboardInterrupt):
        contaminated(d, planted(wild, d))
    assert contaminated(d, planted(wild, d)).equals(expected)
    assert calls == [16, 16, 16, 16, 12, 16, 16, 8, 16, 16, 8]  # the first two pieces once
    assert contaminated(d, planted(wild, d)).equals(expected)
    assert len(calls) == 11


def test_copies_of_real_faces_are_found_and_other_faces_are_not(faces):
    d, film = (open_database(name, faces, 112) for name in ("lfw", "stylegan2"))
    d = dataclasses.replace(
        d, keys=d.keys[:800], identities=d.identities[:800], images=d.images[:800], fingerprint="d"
    )
    images = film.images.copy()
    images[::20] = [reencoded(image, 40) for image in d.images[:200:20]]
    other = dataclasses.replace(film, images=images, fingerprint="other")
    found = contaminated(d, other)
    assert found["key"].tolist() == film.keys[::20].tolist()
    assert found["training_key"].tolist() == d.keys[:200:20].tolist()


# ---- embeddings ------------------------------------------------------------------------------


def test_copies_within_a_database_are_those_of_an_earlier_image(d, monkeypatch):
    images = d.images.copy()
    images[40], images[50] = reencoded(images[7]), images[40, :, ::-1]
    images[30] = images[2]
    twice = dataclasses.replace(d, images=images, fingerprint="twice")
    for rows in (7, 256):
        monkeypatch.setattr(contamination, "CHUNK", rows)
        found = repeated(twice).set_index("key")["other_key"]
        assert found.drop("00050").to_dict() == {"00030": "00002", "00040": "00007"}
        assert found["00050"] in ("00007", "00040")
        assert "00030" not in repeated(twice, ["00002"])["key"].tolist()
    assert repeated(d).empty


def people(rng, centres, each):
    noisy = centres.repeat(each, 0) + 0.1 * rng.normal(size=(len(centres) * each, 32))
    return (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
