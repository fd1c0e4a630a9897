import numpy as np
import pytest

from mint_utils.measure.bootstrap import accuracy_interval, verdict


def world(rng, identities=60, each=6, seeds=5, noise=0.03):
    """Images of an identity are alike: each identity has its own chance of being decided rightly."""
    clusters = np.repeat(np.arange(identities), each)
    labels = np.tile(np.arange(each) < each // 2, identities)
    chance = np.where(rng.random(identities) < 0.5, 0.95, 0.45)[clusters]
    shift = noise * rng.standard_normal((seeds, 1))
    # One draw an image: trainings of T agree on the images, but for their own shift.
    right = rng.random(len(labels)) < (chance + shift).clip(0, 1)
    return labels, right, clusters


def coverage(draws, ignore_clusters=False, **kind):
    truth, hits = 0.7, 0
    for i in range(draws):
        labels, right, clusters = world(np.random.default_rng(i), **kind)
        if ignore_clusters:
            clusters = np.arange(len(clusters))
        _, low, high = accuracy_interval(labels, right, clusters, replicates=400, seed=i)
        hits += low <= truth <= high
    return hits / draws


def test_the_interval_covers_as_often_as_it_says():
    """95% of 500 draws is 475; 92% to 98% leaves three standard errors."""
    assert 0.92 <= coverage(500) <= 0.98


def test_the_interval_covers_without_noise_of_training():
    assert 0.92 <= coverage(500, seeds=1, noise=0.0) <= 0.98


def test_ignoring_identities_would_cover_too_little():
    assert coverage(300, ignore_clusters=True, each=20, noise=0.0) < 0.85


def test_estimate_is_the_mean_of_both_accuracies():
    labels = np.array([True, True, False, False, False])
    right = np.array([[True, False, True, True, True], [True, True, True, False, False]])
    estimate, low, high = accuracy_interval(labels, right, np.arange(5), 200)
    assert estimate == pytest.approx(((0.5 + 1) / 2 + (1 + 1 / 3) / 2) / 2)
    assert low <= estimate <= high


def test_all_right_has_no_width():
    labels = np.arange(20) % 2 == 0
    assert accuracy_interval(labels, np.ones((3, 20)), np.arange(20), 200) == (1, 1, 1)


def test_a_difference_over_the_same_images_is_narrower_than_two_intervals():
    rng = np.random.default_rng(0)
    labels, clusters = np.arange(400) % 2 == 0, np.arange(400)
    one = rng.random((5, 400)) < 0.7
    other = one ^ (rng.random((5, 400)) < 0.02)
    _, low, high = accuracy_interval(labels, one.astype(float) - other, clusters, 500)
    _, alone_low, alone_high = accuracy_interval(labels, one, clusters, 500)
    assert high - low < (alone_high - alone_low) / 2


def test_identities_count_not_their_names():
    labels, right, clusters = world(np.random.default_rng(1))
    names = np.array([f"film/{c:03d}" for c in clusters])
    assert accuracy_interval(labels, right, clusters, 300) == accuracy_interval(
        labels, right, names, 300
    )


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (0.01, 0.05, "supported"),
        (-0.05, -0.01, "contradicted"),
        (-0.01, 0.05, "undecided"),
        (0.0, 0.1, "undecided"),
    ],
)
def test_verdicts(low, high, says):
    assert verdict(low, high) == says
