import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mint_utils.data import membership
from mint_utils.data.membership import held_out, part, uniform

KEYS = np.array([f"{i:05d}" for i in range(4000)])
names = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=30, unique=True)


def test_the_numbers_are_these_on_every_machine():
    """Computed once by hand from the definition: 53 leading bits of BLAKE2b."""
    text = b"held-out\x000\x00lfw\x0012"
    number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
    assert uniform("lfw", np.array(["12"]), "held-out", 0)[0] == (number >> 11) / 2**53
    assert number == 0x9B314FF4E4E5B5AF


@given(names, st.randoms())
def test_a_key_decides_alone(keys, random):
    """Neither order nor company changes where an image falls."""
    array = np.array(keys)
    shuffled = list(range(len(keys)))
    random.shuffle(shuffled)
    all_at_once = uniform("db", array, "held-out", 3)
    assert (uniform("db", array[shuffled], "held-out", 3) == all_at_once[shuffled]).all()
    assert [uniform("db", array[i : i + 1], "held-out", 3)[0] for i in range(len(keys))] == list(
        all_at_once
    )


def test_integers_and_their_text_fall_alike():
    assert (
        uniform("db", np.arange(50), "x", 0) == uniform("db", np.arange(50).astype(str), "x", 0)
    ).all()


def test_uniform_in_the_unit_interval():
    numbers = uniform("db", KEYS, "held-out", 0)
    assert numbers.min() >= 0 and numbers.max() < 1 and len(np.unique(numbers)) == len(KEYS)
    counts, _ = np.histogram(numbers, 10, (0, 1))
    assert ((counts - 400) ** 2 / 400).sum() < 27.9  # chi-squared, 9 degrees, p = .001


def test_purposes_seeds_and_databases_are_independent():
    base = uniform("db", KEYS, "held-out", 0)
    others = [
        uniform("db", KEYS, "mint-image", 0),
        uniform("db", KEYS, "held-out", 1),
        uniform("d", KEYS, "held-out", 0),
    ]
    for other in others:
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.06  # 4 standard errors
    assert uniform("a", np.array(["bc"]), "p", 0) != uniform("ab", np.array(["c"]), "p", 0)


def test_held_out_share_and_nesting():
    half, tenth = held_out("db", KEYS, 0.5, 0), held_out("db", KEYS, 0.1, 0)
    assert abs(half.mean() - 0.5) < 0.03 and abs(tenth.mean() - 0.1) < 0.02
    assert (half | ~tenth).all()  # a smaller share is a part of the larger one


def test_parts_are_equal_and_independent_of_being_held_out():
    parts = part("db", KEYS, 4, 0)
    assert set(parts) == {0, 1, 2, 3}
    kept = held_out("db", KEYS, 0.5, 0)
    for i in range(4):
        assert abs((parts == i).mean() - 0.25) < 0.03
        assert abs(kept[parts == i].mean() - 0.5) < 0.07


def test_a_cut_is_made_once_and_never_taken_for_another():
    membership._uniform.cache_clear()
    one = uniform("db", KEYS, "x", 0)
    assert uniform("db", KEYS.copy(), "x", 0) is one
    others = [("db", KEYS, "x", 1), ("db", KEYS, "y", 0), ("bd", KEYS, "x", 0)]
    for other in (*others, ("db", KEYS[::-1], "x", 0), ("db", KEYS[1:], "x", 0)):
        assert not np.array_equal(uniform(*other), one)
    assert membership._uniform.cache_info().misses == 6


def test_changed_keys_are_other_keys_and_what_is_remembered_cannot_be_changed():
    keys = KEYS.copy()
    before = uniform("db", keys, "x", 0)
    keys[7] = "other"
    after = uniform("db", keys, "x", 0)
    assert np.flatnonzero(before != after).tolist() == [7]
    with pytest.raises(ValueError, match="read-only"):
        before[0] = 0.5


def test_chunks_do_not_matter(monkeypatch):
    whole = uniform("chunks", KEYS, "x", 0)
    monkeypatch.setattr(membership, "CHUNK", 1000)
    membership._uniform.cache_clear()
    np.testing.assert_array_equal(uniform("chunks", KEYS, "x", 0), whole)


def test_the_first_images_of_a_person_are_chosen_by_hash_alone():
    rng = np.random.default_rng(0)
    identities = rng.integers(0, 300, len(KEYS))
    two, three = (membership.first("db", KEYS, identities, most, 0) for most in (2, 3))
    assert (three | ~two).all() and two.sum() < three.sum()
    order = rng.permutation(len(KEYS))
    assert (membership.first("db", KEYS[order], identities[order], 2, 0) == two[order]).all()
    hashes = uniform("db", KEYS, "images-a-person", 0)
    for identity in np.unique(identities)[:20]:
        own = np.flatnonzero(identities == identity)
        assert set(own[two[own]]) == set(own[np.argsort(hashes[own])][:2])


def test_two_shadow_halves_are_complements_and_pairs_are_not_alike():
    halves = [membership.shadow("d", KEYS, i, 0) for i in range(4)]
    assert (halves[0] ^ halves[1]).all() and (halves[2] ^ halves[3]).all()
    assert 0.4 < (halves[0] == halves[2]).mean() < 0.6 and 0.4 < halves[0].mean() < 0.6


def test_a_person_is_in_one_third_with_all_images():
    people = np.repeat(np.arange(300), 4)
    thirds = membership.third("d", people, 0)
    assert (thirds.reshape(300, 4) == thirds[::4, None]).all()
    assert np.bincount(thirds[::4], minlength=3).min() > 70 and set(thirds) == {0, 1, 2}
    other = membership.third("d", people[::-1].copy(), 0)
    assert (other[::-1] == thirds).all()


def test_two_halves_are_complements_and_those_of_a_held_out_share_of_half():
    a, b = (membership.half("d", KEYS, name, 3) for name in "ab")
    assert (a ^ b).all() and (b == held_out("d", KEYS, 0.5, 3)).all() and 0.4 < a.mean() < 0.6
