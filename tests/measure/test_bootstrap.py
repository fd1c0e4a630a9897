import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from mint_utils.measure import bootstrap
from mint_utils.measure.bootstrap import (
    LARGER,
    SMALLER,
    Decided,
    Estimate,
    auc,
    auc_within,
    interval,
    prevalence,
    share,
    verdict,
)


def accuracy_interval(labels, right, clusters, replicates, seed=0):
    return interval([(1, Decided(labels, right.astype(float), clusters))], replicates, seed)


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
    """95% of 1,000 draws is 950; 93% to 97% leaves nearly three standard errors."""
    assert 0.93 <= coverage(1000) <= 0.97


def test_the_interval_covers_without_noise_of_training():
    assert 0.93 <= coverage(1000, seeds=1, noise=0.0) <= 0.97


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
    a, b = (Decided(labels, right.astype(float), clusters) for right in (one, other))
    _, low, high = interval([(1, a), (-1, b)], 500)
    _, alone_low, alone_high = accuracy_interval(labels, one, clusters, 500)
    assert high - low < (alone_high - alone_low) / 2


def test_identities_count_not_their_names():
    labels, right, clusters = world(np.random.default_rng(1))
    names = np.array([f"film/{c:03d}" for c in clusters])
    assert accuracy_interval(labels, right, clusters, 300) == accuracy_interval(
        labels, right, names, 300
    )


def test_a_difference_covers_as_often_as_it_says():
    """Columns over the same images, each with trainings of its own: the truth is .08."""
    hits = 0
    for i in range(400):
        rng = np.random.default_rng(i)
        clusters = np.repeat(np.arange(80), 4)
        labels = np.tile(np.arange(4) < 2, 80)
        of_person = rng.normal(0, 0.1, 80)[clusters]
        cells = []
        for base in (0.72, 0.64):
            chance = (base + of_person + 0.02 * rng.standard_normal((5, 1))).clip(0, 1)
            cells.append(Decided(labels, (rng.random((5, 320)) < chance).astype(float), clusters))
        _, low, high = interval([(1, cells[0]), (-1, cells[1])], 300, seed=i)
        hits += low <= 0.08 <= high
    assert 0.92 <= hits / 400 <= 0.99


def test_a_sum_of_four_cells_is_its_sum():
    rng = np.random.default_rng(0)
    labels, clusters = np.arange(60) % 2 == 0, np.arange(60) // 3
    cells = [Decided(labels, (rng.random((3, 60)) < 0.7).astype(float), clusters) for _ in range(4)]
    value, low, high = interval([(1, cells[0]), (-1, cells[1]), (-1, cells[2]), (1, cells[3])], 200)
    a, b, c, d = (cell.accuracies.mean() for cell in cells)
    assert value == pytest.approx(a - b - c + d) and low < value < high


def test_of_one_kind_the_accuracy_is_its_own():
    right = np.array([[1.0, 0.0, 1.0, 1.0]])
    assert interval([(1, Decided(np.ones(4, bool), right, np.arange(4)))], 200).value == 0.75


def test_the_noise_of_training_follows_students_t():
    """Images that are all decided alike leave the trainings alone: mean +- 4.303 s / sqrt(3)."""
    labels = np.arange(20) % 2 == 0
    right = np.array([[0.6], [0.7], [0.8]]) * np.ones(20)
    value, low, high = interval([(1, Decided(labels, right, np.arange(20)))], 100_000)
    assert value == pytest.approx(0.7)
    assert (high - low) / 2 == pytest.approx(4.303 * 0.1 / np.sqrt(3), rel=0.02)


def test_blocks_of_replicates_change_nothing(monkeypatch):
    labels, right, clusters = world(np.random.default_rng(2))
    whole = accuracy_interval(labels, right, clusters, 200)
    monkeypatch.setattr("mint_utils.measure.bootstrap.AT_ONCE", 60 * 7)
    assert accuracy_interval(labels, right, clusters, 200) == pytest.approx(whole, abs=1e-12)


def test_cells_of_different_numbers_of_trainings_have_noises_of_their_own():
    """Images that are all decided alike: the error is that of two independent means, one of 3, one of 40."""
    labels = np.arange(20) % 2 == 0
    three = np.array([[0.6], [0.7], [0.8]]) * np.ones(20)
    many = np.linspace(0.4, 0.6, 40)[:, None] * np.ones(20)
    cells = [Decided(labels, right, np.arange(20)) for right in (three, many)]
    value, low, high = interval([(1, cells[0]), (-1, cells[1])], 100_000)
    drawn = stats.t(2).rvs(400_000, random_state=0) * 0.1 / np.sqrt(3)
    drawn += stats.t(39).rvs(400_000, random_state=1) * many[:, 0].std(ddof=1) / np.sqrt(40)
    assert value == pytest.approx(0.2)
    assert (low, high) == pytest.approx(0.2 + np.quantile(drawn, [0.025, 0.975]), abs=0.01)


def test_few_clusters_cover_as_often_as_many():
    """Percentiles alone cover .90, .92 and .93 with 8, 12 and 24 people, of 2,000; drawn out .95 each."""
    for people in (8, 12, 24):
        found = coverage(400, identities=people, each=20, seeds=1, noise=0.0)
        assert 0.925 <= found <= 0.985, people


def test_pairs_share_people():
    """Pairs of two of 40 people, each easy or hard: pairs taken for independent cover too little."""
    hits = {"people": 0, "pairs": 0}
    for i in range(150):
        rng = np.random.default_rng(i)
        ease = rng.normal(0, 0.15, 40)
        pairs = np.array([rng.choice(40, 2, replace=False) for _ in range(600)])
        right = (rng.random(600) < 0.6 + ease[pairs].sum(axis=1))[None].astype(float)
        for name, clusters in (("people", pairs), ("pairs", np.arange(600))):
            _, low, high = interval([(1, Decided(np.ones(600, bool), right, clusters))], 300, i)
            hits[name] += low <= 0.6 <= high
    assert hits["people"] / 150 > 0.92 and hits["pairs"] / 150 < 0.8


def test_pairs_of_one_person_are_clusters():
    """A person in both places of every pair counts once, as a cluster does."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(20), 5)
    right = (rng.random((1, 100)) < 0.7).astype(float)
    one, two = (
        Decided(np.ones(100, bool), right, of) for of in (people, np.column_stack([people, people]))
    )
    assert interval([(1, one)], 300) == pytest.approx(interval([(1, two)], 300))


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (-0.01, 0.02, "supported"),
        (0.031, 0.05, "contradicted"),
        (-0.09, -0.04, "contradicted"),
        (-0.05, 0.01, "undecided"),
        (-0.03, 0.02, "undecided"),
    ],
)
def test_verdicts_on_what_stays_the_same(low, high, says):
    assert verdict(low, high, margin=0.03) == says


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


@pytest.mark.parametrize(
    ("low", "high", "margin", "printed", "says"),
    [
        (-0.01, 0.05, 0, 0.10, SMALLER),
        (-0.01, 0.05, 0, 0.04, "undecided"),
        (-0.01, 0.05, 0, None, "undecided"),
        (0.01, 0.05, 0, 0.10, "supported"),  # the direction is what was claimed
        (-0.05, -0.01, 0, 0.10, "contradicted"),
        (0.01, 0.05, 0.03, 0.0, LARGER),
        (-0.05, -0.01, 0.03, 0.0, SMALLER),
    ],
)
def test_a_difference_that_is_not_the_papers_has_a_verdict(low, high, margin, printed, says):
    assert verdict(low, high, margin, printed) == says


def excess(rng, share_left, identities=80, each=8):
    """Return two cells of which the first has ``share_left`` of the second's excess over .5, on average."""
    people = np.repeat(np.arange(identities), each)
    labels = np.arange(len(people)) % 2 == 0
    cells = []
    for accuracy in (0.5 + 0.3 * share_left, 0.8):
        ease = rng.normal(0, 0.08, identities)[
            people
        ]  # people differ, images of one do so together
        right = rng.random((1, len(people))) < accuracy + ease
        cells.append(Decided(labels, right, people))
    return cells


def test_a_share_is_the_ratio_of_the_excesses():
    part, whole = excess(np.random.default_rng(0), 0.4)
    expected = (part.accuracies.mean() - 0.5) / (whole.accuracies.mean() - 0.5)
    found = share(part, whole, replicates=500)
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high


def test_a_share_covers_as_often_as_it_says():
    hits = 0
    for i in range(400):
        found = share(*excess(np.random.default_rng(i), 0.4), replicates=300)
        hits += found.low <= 0.4 <= found.high
    assert 0.925 <= hits / 400 <= 0.975


def test_a_share_of_a_small_excess_covers_too_and_nothing_is_left_out():
    """The whole is .52: often its interval holds .5, and then the share has no end on either side."""
    hits, endless = 0, 0
    for i in range(300):
        rng = np.random.default_rng(i)
        people = np.repeat(np.arange(80), 8)
        labels = np.arange(640) % 2 == 0
        cells = [
            Decided(labels, rng.random((1, 640)) < accuracy, people) for accuracy in (0.51, 0.53)
        ]
        found = share(*cells, replicates=300)
        hits += found.low <= 1 / 3 <= found.high
        endless += np.isinf(found.low)
    assert hits / 300 >= 0.93 and 100 < endless < 295


def test_the_interval_of_a_share_is_fiellers():
    """Two independent normal means: the roots of Fieller's quadratic, by the formula."""
    rng = np.random.default_rng(0)
    n = 4000
    cells = [
        Decided(np.ones(n, bool), (rng.random((1, n)) < p).astype(float), np.arange(n) + n * i)
        for i, p in enumerate((0.56, 0.58))
    ]
    a, b = (cell.accuracies.mean() - 0.5 for cell in cells)
    v, w = (cell.right.var() / n for cell in cells)
    q = norm.ppf(0.975) ** 2
    roots = np.roots([b**2 - q * w, -2 * a * b, a**2 - q * v])
    found = share(*cells, replicates=10_000)
    assert (found.low, found.high) == pytest.approx(sorted(roots), rel=0.03)


def test_a_share_of_nothing_has_no_value_and_no_ends():
    labels = np.arange(40) % 2 == 0
    coin = Decided(labels, (np.arange(40)[None] // 2 % 2).astype(float), np.arange(40))
    found = share(coin, coin, replicates=200)
    assert np.isnan(found.value) and np.isinf(found[1:]).all()


def test_all_of_an_excess_is_one_whatever_is_drawn():
    _, whole = excess(np.random.default_rng(2), 0.4)
    assert share(whole, whole) == pytest.approx((1, 1, 1), abs=2e-3)


def audit(rng, share_of_members, tpr=0.8, fpr=0.3, people=60, each=10, trainings=1):
    """Return known and questioned images, an even number a person, each called by chance."""
    labels = np.arange(people * each) % 2 == 0
    persons = np.repeat(np.arange(people), each)
    called = rng.random((trainings, len(labels))) < np.where(labels, tpr, fpr)
    members = rng.random(len(labels)) < share_of_members
    asked = rng.random((trainings, len(labels))) < np.where(members, tpr, fpr)
    everything = np.full(len(labels), True)
    return Decided(labels, called == labels, persons), Decided(everything, asked, persons)


def test_prevalence_is_the_count_adjusted_by_both_rates():
    """By hand: 4 of 5 members and 1 of 5 others are called; of those in question half."""
    labels = np.arange(10) < 5
    right = np.array([[1, 1, 1, 1, 0, 1, 1, 1, 1, 0]]).repeat(20, axis=1).astype(bool)
    known = Decided(labels.repeat(20), right, np.arange(200))
    called = np.array([[True, False]]).repeat(50, axis=1)
    found = prevalence(known, Decided(np.full(100, True), called, np.arange(200, 300)))
    assert found.value == pytest.approx((0.5 - 0.2) / (0.8 - 0.2)) and found.low < 0.5 < found.high


@pytest.mark.parametrize("actual", [0.0, 0.3, 1.0])
def test_prevalence_covers_as_often_as_it_says(actual):
    rng = np.random.default_rng(0)
    found = [prevalence(*audit(rng, actual), replicates=300) for _ in range(150)]
    assert np.mean([one.low <= actual <= one.high for one in found]) > 0.9
    assert all(0 <= one.low <= one.value <= one.high <= 1 for one in found)


def test_there_is_no_prevalence_where_known_images_are_not_told_apart():
    found = prevalence(*audit(np.random.default_rng(0), 0.5, tpr=0.4, fpr=0.4))
    assert np.isnan(found).all()


@given(st.integers(0, 10_000), st.integers(2, 12))
def test_auc_is_that_of_scikit_learn_with_ties_too(seed, kinds):
    rng = np.random.default_rng(seed)
    labels = np.arange(40) % 2 == 0
    scores = rng.integers(0, kinds, (2, 40)).astype(float)
    found = auc(labels, scores, np.arange(40), replicates=100)
    expected = np.mean([roc_auc_score(labels, one) for one in scores])
    assert found.value == pytest.approx(expected)


def test_auc_covers_as_often_as_it_says():
    """Members score higher by one deviation: the area is the normal distribution at 1 / sqrt(2)."""
    people, hits = np.repeat(np.arange(60), 6), 0
    labels = np.arange(len(people)) % 2 == 0
    for i in range(1000):
        rng = np.random.default_rng(i)
        scores = labels + rng.normal(size=(1, len(people)))
        _, low, high = auc(labels, scores, people, replicates=300)
        hits += low <= norm.cdf(1 / np.sqrt(2)) <= high
    assert 0.93 <= hits / 1000 <= 0.97


def test_of_auc_too_clusters_count():
    """Six copies of an image say no more than one."""
    rng = np.random.default_rng(0)
    labels, scores = np.arange(60) % 2 == 0, rng.normal(size=(1, 60))
    alone = auc(labels, scores, np.arange(60))
    copied = auc(np.repeat(labels, 6), np.repeat(scores, 6, axis=1), np.repeat(np.arange(60), 6))
    assert copied.value == pytest.approx(alone.value)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_within_a_person_nothing_counts_that_tells_people_apart():
    """Members of easy people score high and so do their non-members: the area over all is no area within."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(100), 10)
    labels = rng.random(1000) < np.where(people < 50, 0.8, 0.2)
    scores = ((people < 50) + 0.1 * rng.normal(size=1000))[None]
    assert auc(labels, scores, people).value > 0.7
    found = auc_within(labels, scores, people)
    assert found.low < 0.5 < found.high


def test_the_area_within_is_the_mean_of_scikit_learns():
    rng = np.random.default_rng(1)
    people = np.repeat(np.arange(12), 7)
    labels, scores = rng.random(84) < 0.5, rng.integers(0, 5, (2, 84)).astype(float)
    labels[:7] = True  # nobody to compare the first person's with
    expected = [
        roc_auc_score(labels[people == p], one[people == p]) for one in scores for p in range(1, 12)
    ]
    assert auc_within(labels, scores, people).value == pytest.approx(np.mean(expected))
    assert np.isnan(auc_within(labels[:7], scores[:, :7], people[:7])).all()


def test_an_estimate_is_printed_with_its_interval():
    assert f"{Estimate(0.8351, 0.8249, 0.861)}" == "0.84 [0.82, 0.86]"
    assert tuple(Estimate(1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)


def test_the_area_is_the_same_whether_pairs_are_compared_or_scores_ranked(monkeypatch):
    rng = np.random.default_rng(5)
    labels, clusters = rng.random(60) < 0.4, rng.integers(0, 25, 60)
    scores = rng.integers(0, 9, (6, 60)) + labels * 2.0  # with ties
    found = []
    for pairs in (0, 10**6):
        monkeypatch.setattr(bootstrap, "PAIRS", pairs)
        found.append(bootstrap.auc(labels, scores, clusters, 300))
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    above = bootstrap.pairs(labels, scores)
    assert above.shape == (labels.sum(), (~labels).sum())
    assert above.mean() == pytest.approx(found[0].value)


def test_the_trainings_of_m_make_the_noise_where_there_are_several():
    rng = np.random.default_rng(6)
    labels, clusters = np.arange(80) % 2 == 0, np.arange(80)
    shift = np.array([0.0, 3.0])[:, None, None]  # a training that tells nothing, and one that does
    scores = rng.normal(size=(2, 40, 80)) + shift * labels
    by_training = bootstrap.auc(labels, scores, clusters, 500)
    flat = bootstrap.auc(labels, scores.reshape(80, 80), clusters, 500)
    assert by_training.value == pytest.approx(flat.value)
    assert by_training.high - by_training.low > 2 * (flat.high - flat.low)
    one = bootstrap.auc(labels, scores[:1], clusters, 500)
    assert one == bootstrap.auc(labels, scores[0], clusters, 500)
