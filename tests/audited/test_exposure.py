import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mint_utils.audited.exposure import Plan, classes, plan
from mint_utils.config import Audited, resolve
from mint_utils.data.manifest import Database
from mint_utils.data.membership import held_out, part
from mint_utils.errors import ParameterError, TrainingError


def database(identities, name="db") -> Database:
    identities = np.asarray(identities)
    keys = np.array([f"{i:05d}" for i in range(len(identities))])
    images = np.zeros((len(identities), 8, 8, 3), np.uint8)
    return Database(name, keys, identities, images, None, "fingerprint")


FACES = database(np.repeat(np.arange(40), 10))


def test_held_out_images_are_never_shown_and_members_once_an_epoch():
    exposures = plan(Audited(epochs=3), FACES, 0.5, 0)
    kept_out = held_out("db", FACES.keys, 0.5, 0)
    assert (exposures.images[kept_out] == 0).all() and (exposures.images[~kept_out] == 1).all()
    for epoch in range(3):
        shown = np.concatenate(exposures.batches(epoch))
        assert sorted(shown) == list(np.flatnonzero(~kept_out))


def test_frequency_gives_each_quarter_its_exposures():
    exposures = plan(Audited(repeats=(1, 10, 20, 30), epochs=2, batch_size=64), FACES, 0.5, 0)
    parts, kept_out = part("db", FACES.keys, 4, 0), held_out("db", FACES.keys, 0.5, 0)
    counted = np.bincount(np.concatenate(exposures.batches(1)), minlength=len(FACES))
    for i, times in enumerate((1, 10, 20, 30)):
        assert (counted[(parts == i) & ~kept_out] == times).all()
    assert (counted[kept_out] == 0).all()


def test_the_swap_shows_exactly_what_the_other_holds_out():
    members = plan(Audited(epochs=3), FACES, 0.5, 0).images > 0
    swapped = plan(Audited(epochs=3, shown="held_out"), FACES, 0.5, 0).images > 0
    assert (members ^ swapped).all() and 150 < swapped.sum() < 250


def test_shadow_models_come_in_pairs_that_share_no_image_and_are_independent_of_members():
    halves = [plan(Audited(shown=f"shadow-{i}"), FACES, 0.5, 0).images > 0 for i in range(4)]
    assert (halves[0] ^ halves[1]).all() and (halves[2] ^ halves[3]).all()
    members = plan(Audited(), FACES, 0.5, 0).images > 0
    for other in (members, halves[2]):
        # 400 images: five deviations of a fair coin.
        assert 0.38 < (halves[0] == other).mean() < 0.62


@pytest.mark.parametrize("shown", ["nobody", "shadow", "shadow-x", "shadow--1"])
def test_what_is_shown_must_be_known(shown):
    with pytest.raises(ParameterError, match="shadow-0"):
        resolve("quick", shown=shown)


@settings(max_examples=60)
@given(st.integers(2, 300), st.integers(2, 64), st.integers(0, 5), st.integers(0, 3))
def test_batches_hold_every_exposure_and_are_never_small(n, batch_size, seed, epoch):
    times = np.ones(n, np.int64)
    exposures = Plan(times, 4, batch_size, seed)
    batches = exposures.batches(epoch)
    sizes = {len(batch) for batch in batches}
    assert len(batches) == exposures.steps_per_epoch and exposures.steps == 4 * len(batches)
    assert max(sizes) <= max(batch_size, 2 + n % 2) and max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2  # BatchNorm cannot train on one image
    assert sorted(np.concatenate(batches)) == list(range(n))


def test_order_depends_on_seed_and_epoch_only():
    one, two = plan(Audited(seed=1), FACES, 0.5, 0), plan(Audited(seed=2), FACES, 0.5, 0)
    again = plan(Audited(seed=1), FACES, 0.5, 0)
    first = np.concatenate(one.batches(0))
    assert (first == np.concatenate(again.batches(0))).all()
    assert (first != np.concatenate(one.batches(1))).any()
    assert (first != np.concatenate(two.batches(0))).any()


def test_the_ledger_must_equal_the_plan():
    exposures = plan(Audited(epochs=2), FACES, 0.5, 0)
    ledger = exposures.images * 2
    exposures.check(ledger)
    shown = int(np.flatnonzero(ledger)[0])
    for image, change in ((shown, -1), (shown, 1), (int(np.flatnonzero(ledger == 0)[0]), 1)):
        wrong = ledger.copy()
        wrong[image] += change
        with pytest.raises(TrainingError, match=f"for 1 images; image {image} was"):
            exposures.check(wrong)


def test_classes_are_those_of_the_identities_shown():
    faces = database([7, 7, 3, 3, 9])
    exposures = Plan(np.array([1, 0, 1, 0, 0]), 1, 2, 0)
    assert classes(exposures, faces).tolist() == [1, 1, 0, 0, -1]


def test_too_few_identities_is_one_clear_error():
    with pytest.raises(ParameterError, match="leaves 1"):
        plan(Audited(), database([5] * 50), 0.5, 0)


def test_images_without_identity_cannot_train():
    with pytest.raises(ParameterError, match="without identity"):
        plan(Audited(), database([-1] * 50), 0.5, 0)


@pytest.mark.parametrize("most", [1, 3, 100])
def test_at_most_so_many_members_of_each_person_are_shown(most):
    every = plan(Audited(shown="people-a"), FACES, 0.5, 0).images > 0
    some = plan(Audited(shown=f"people-a-atmost-{most}"), FACES, 0.5, 0).images > 0
    assert (every | ~some).all()  # of the members alone
    for identity in np.unique(FACES.identities):
        own = FACES.identities == identity
        assert (some & own).sum() == min(most, (every & own).sum())
