"""LiRA and RMIA against direct formulas, loop by loop, and on planted members."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_expit
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from mint_utils.errors import ParameterError
from mint_utils.mint import shadows

S = 64.0
POPULATION = np.arange(100, 160)
ALL = ("lira_online", "lira_offline", "rmia_online", "rmia_offline")
ALL += ("bavaria_online", "bavaria_offline", "informia_online", "informia_offline")
WITH_A = {  # online and offline are one function
    f"{name}_{side}": functools.partial(getattr(shadows, name), a=a)
    for name in ("rmia", "informia")
    for side, a in (("online", None), ("offline", shadows.OFFLINE_A))
}


def study(effect=3.0, views=2, pairs=4, n=200, ease=10.0, seed=0):
    """Return log odds by M and by shadow models in complementary pairs, who saw what, and the members.

    Images differ in ease by far more than training on one changes.
    """
    rng = np.random.default_rng(seed)
    half = rng.random((pairs, n)) < 0.5
    seen = np.stack([half, ~half], axis=1).reshape(2 * pairs, n)
    member = np.arange(n) < n // 2
    ease = rng.normal(0, ease, (n, 1))
    phi_target = ease + effect * member[:, None] + rng.normal(0, 1, (n, views))
    phi_shadow = ease + effect * seen[:, :, None] + rng.normal(0, 1, (2 * pairs, n, views))
    return phi_target, phi_shadow, seen, member


def scores(name, phi_target, phi_shadow, seen, population=POPULATION):
    if name.startswith(("lira", "bavaria")):
        return getattr(shadows, name)(phi_target, phi_shadow, seen)
    rest = (population,) if name.startswith("rmia") else ()
    return WITH_A[name](log_expit(phi_target), log_expit(phi_shadow), seen, *rest)


def test_log_odds_by_hand():
    odds = shadows.log_odds(np.float32([[0.5, 0.25]]), np.float32([[32.0, 16 - np.log(3)]]), S)
    np.testing.assert_allclose(odds, [[0, np.log(3)]], atol=1e-6)
    np.testing.assert_allclose(log_expit(odds), np.log([[0.5, 0.75]]), atol=1e-6)
    assert odds.dtype == np.float64


def variance(phi_shadow, side, view):
    """Return the variance around the means of the images, image by image."""
    squares, freedom = 0.0, 0
    for i in range(side.shape[1]):
        values = phi_shadow[side[:, i], i, view]
        values = values[~np.isnan(values)]
        if len(values):
            squares += ((values - values.mean()) ** 2).sum()
            freedom += len(values) - 1
    return squares / freedom


@pytest.mark.parametrize("views", [1, 3])
def test_lira_is_the_direct_formula(views):
    phi_target, phi_shadow, seen, _ = study(views=views, n=40)
    phi_shadow[1, 5] = phi_shadow[2, 6] = np.nan
    online, offline = np.zeros(40), np.zeros(40)
    for v in range(views):
        deviation = {side: variance(phi_shadow, seen == side, v) ** 0.5 for side in (True, False)}
        for i in range(40):
            mean = {
                side: np.nanmean(phi_shadow[seen[:, i] == side, i, v]) for side in (True, False)
            }
            fits = {side: norm(mean[side], deviation[side]) for side in (True, False)}
            online[i] += np.log(
                fits[True].pdf(phi_target[i, v]) / fits[False].pdf(phi_target[i, v])
            )
            offline[i] -= np.log(1 - fits[False].cdf(phi_target[i, v]))
    np.testing.assert_allclose(shadows.lira_online(phi_target, phi_shadow, seen), online, rtol=1e-6)
    np.testing.assert_allclose(
        shadows.lira_offline(phi_target, phi_shadow, seen), offline, rtol=1e-6
    )


def test_lira_by_hand():
    """Two images, readings 1 apart: both deviations are sqrt(1/2)."""
    seen = np.array([[1, 1], [1, 1], [0, 0], [0, 0]], bool)
    phi_shadow = np.array([[3, 5], [4, 6], [0, 2], [1, 3]], float)[:, :, None]
    phi_target = np.array([[3.5], [2.5]])  # the mean of models that saw it, that did not see it
    online = shadows.lira_online(phi_target, phi_shadow, seen)
    np.testing.assert_allclose(online, [9, -9])  # 3^2 / (2 * 1/2)
    offline = shadows.lira_offline(phi_target, phi_shadow, seen)
    np.testing.assert_allclose(offline, [-norm.logsf(3 * 2**0.5), np.log(2)])


def test_lira_refuses_one_pair():
    with pytest.raises(ParameterError, match="two pairs of shadow models"):
        scores("lira_online", *study(pairs=1)[:3])


def shares(found, population):
    """Return the share of the population that is dominated, without what tells ties apart."""
    return np.floor(found * population + 1e-9) / population


def test_images_that_dominate_the_whole_population_do_not_tie():
    """Three of them by ratios of 4, 6 and 5 times the prior, where a population of two has 1 and 2."""
    target = np.log([[0.4], [0.6], [0.5], [0.1], [0.2]])
    seen = np.array([[True] * 5, [False] * 5])
    found = shadows.rmia(target, np.full((2, 5, 1), np.log(0.1)), seen, np.array([3, 4]))
    np.testing.assert_array_equal(shares(found, 2)[:3], 1)
    assert found[1] > found[2] > found[0]


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("views", [1, 2, 3])
def test_rmia_is_the_triple_loop(views, offline, monkeypatch):
    phi_target, phi_shadow, seen, _ = study(views=views, n=30)
    p_target, p_shadow = (np.exp(log_expit(x)) for x in (phi_target, phi_shadow))
    p_shadow[1, 5] = np.nan
    population = np.array([20, 21, 25, 29])

    def ratio(i, v):
        outside = np.nanmean([p_shadow[m, i, v] for m in range(8) if not seen[m, i]])
        inside = np.nanmean([p_shadow[m, i, v] for m in range(8) if seen[m, i]])
        prior = (1.3 * outside + 0.7) / 2 if offline else (inside + outside) / 2
        return p_target[i, v] / prior

    expected = np.zeros(30)
    for i in range(30):
        for z in population:
            votes = sum(ratio(i, v) / ratio(z, v) >= 1 for v in range(views))
            expected[i] += (votes >= views / 2) / len(population)
    monkeypatch.setattr(shadows, "AT_ONCE", 50)  # several blocks
    a = shadows.OFFLINE_A if offline else None
    found = shadows.rmia(np.log(p_target), np.log(p_shadow), seen, population, a)
    np.testing.assert_allclose(shares(found, 4), expected)
    assert expected.std() > 0
    kinds, count = np.unique(expected, return_counts=True)
    tied = expected == kinds[count.argmax()]  # among those the own ratio decides
    own = [np.mean([np.log(ratio(i, v)) for v in range(views)]) for i in np.flatnonzero(tied)]
    assert (np.argsort(own) == np.argsort(found[tied])).all() and tied.sum() > 5


def test_rmia_by_hand():
    """Ratios .8 / .4 = 2 of x, and 1/2, 1, 4/3 of the population, whose images dominate themselves too."""
    target = np.log([[0.8], [0.2], [0.4], [0.6]])
    seen = np.array([[True] * 4, [False] * 4])
    shadow = np.log([[[0.5], [0.6], [0.5], [0.6]], [[0.3], [0.2], [0.3], [0.3]]])
    found = shadows.rmia(target, shadow, seen, np.array([1, 2, 3]))
    np.testing.assert_allclose(shares(found, 3), [1, 1 / 3, 2 / 3, 1])


def test_offline_rmia_where_training_changes_nothing():
    """With a = 1 the prior is the mean of the models that never saw the image."""
    target, shadow = np.log([[0.2], [0.3], [0.3]]), np.log([[[0.1], [0.3], [0.4]]])
    unseen = np.zeros((1, 3), bool)
    found = shadows.rmia(target, shadow, unseen, np.array([1]), a=1.0)
    np.testing.assert_array_equal(shares(found, 1), [1, 1, 0])


@pytest.mark.parametrize("name", ["rmia_online", "rmia_offline"])
def test_rmia_tells_images_apart_where_all_models_are_sure(name):
    """What is missing to 1 is 1e-18 for x, 9e-18 for y, 3e-18 for z, by M; 4e-18 by the others."""
    target = -np.array([[1e-18], [9e-18], [3e-18]])
    seen = np.array([[True] * 3, [False] * 3])
    found = WITH_A[name](target, np.full((2, 3, 1), -4e-18), seen, np.array([2]))
    np.testing.assert_array_equal(shares(found, 1)[:2], [1, 0])


def test_rmia_refuses_a_population_without_readings():
    phi_target, phi_shadow, seen, _ = study()
    phi_target[POPULATION] = np.nan
    with pytest.raises(ParameterError, match="needs a population"):
        scores("rmia_offline", phi_target, phi_shadow, seen)


@pytest.mark.parametrize("name", ALL)
def test_missing_readings(name):
    """A shadow model without the person is as if it were not there; nothing left gives NaN."""
    phi_target, phi_shadow, seen, _ = study()
    phi_target[0] = np.nan  # M has no such class
    for i, side in ((1, False), (2, True)):
        phi_shadow[seen[:, i] == side, i] = np.nan
    gone = np.flatnonzero(~seen[:, 3])[0]
    phi_shadow[gone, 3] = np.nan
    found = scores(name, phi_target, phi_shadow, seen)
    missing = {0, 1, 2} if name.endswith("online") else {0, 1}
    assert set(np.flatnonzero(np.isnan(found))) == missing
    seen[gone, 3] = True  # which side a missing reading is on does not matter
    np.testing.assert_allclose(scores(name, phi_target, phi_shadow, seen)[3], found[3])


@pytest.mark.parametrize(
    ("name", "ease", "least"),
    [
        ("lira_online", 10, 0.99),
        ("lira_offline", 10, 0.99),
        ("rmia_online", 2, 0.95),  # probabilities say less where they are all near 0 or 1
        ("rmia_offline", 2, 0.95),
        ("informia_online", 2, 0.95),
        ("informia_offline", 2, 0.95),
        ("bavaria_online", 10, 0.98),
        ("bavaria_offline", 10, 0.99),
    ],
)
def test_members_are_found_where_they_differ_and_only_there(name, ease, least):
    population, judged = np.arange(3000, 4000), np.arange(3000)
    *readings, member = study(effect=5.0, n=4000, ease=ease)
    found = scores(name, *readings, population)[judged]
    assert roc_auc_score(member[judged], found) > least
    *readings, member = study(effect=0.0, n=4000, ease=ease)
    found = scores(name, *readings, population)[judged]
    assert abs(roc_auc_score(member[judged], found) - 0.5) < 0.04  # nearly four standard errors


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_images_and_of_shadow_models_does_not_matter(name):
    phi_target, phi_shadow, seen, _ = study()
    found = scores(name, phi_target, phi_shadow, seen)
    order, models = np.random.default_rng(1).permutation(200), np.arange(8)[::-1]
    mixed = scores(
        name,
        phi_target[order],
        phi_shadow[models][:, order],
        seen[models][:, order],
        np.flatnonzero(np.isin(order, POPULATION)),
    )
    np.testing.assert_allclose(mixed, found[order], rtol=1e-6)


@pytest.mark.parametrize(
    "name", [name for name in ALL if not name.endswith("a_online") or "rmia" in name]
)
@given(raised=st.floats(0, 1e4))
def test_a_higher_confidence_is_never_less_a_member(name, raised):
    """The online ratio of two normals of unlike widths is no monotone function of the confidence."""
    phi_target, phi_shadow, seen, _ = study(n=160)
    before = scores(name, phi_target, phi_shadow, seen)
    phi_target[:100] += raised
    after = scores(name, phi_target, phi_shadow, seen)
    assert np.isfinite(after).all()
    assert (after[:100] >= before[:100]).all()


def test_bavaria_is_the_conjugate_formula_image_by_image():
    phi_target, phi_shadow, seen, _ = study(views=2, n=30)
    expected = np.zeros((2, 30))
    for v in range(2):
        for i in range(30):
            fits = {}
            for side in (True, False):
                values = phi_shadow[seen[:, i] == side, i, v]
                n, pooled = len(values), variance(phi_shadow, seen == side, v)
                freedom = 4 + n - 1
                squared = (4 * pooled + ((values - values.mean()) ** 2).sum()) / freedom
                fits[side] = student(freedom, values.mean(), (squared * (1 + 1 / n)) ** 0.5)
            expected[0, i] += fits[True].logpdf(phi_target[i, v])
            expected[0, i] -= fits[False].logpdf(phi_target[i, v])
            expected[1, i] -= fits[False].logsf(phi_target[i, v])
    for name, of in zip(("bavaria_online", "bavaria_offline"), expected, strict=True):
        np.testing.assert_allclose(scores(name, phi_target, phi_shadow, seen), of, rtol=1e-6)


def test_informia_by_hand():
    """Pr(x) is (1/2 + 1/4) / 2 with models that saw x, and (1.3 / 4 + .7) / 2 without."""
    log_p = np.log([[[0.5]], [[0.25]]])
    seen, target = np.array([[True], [False]]), np.log([[0.75]])
    assert shadows.informia(target, log_p, seen) == pytest.approx(np.log(2))
    expected = np.log(0.75 / ((1.3 * 0.25 + 0.7) / 2))
    offline = shadows.informia(target, log_p, seen, shadows.OFFLINE_A)
    assert offline == pytest.approx(expected)


def test_one_shadow_model_tells_how_hard_an_image_is_or_its_mean_where_it_knows_none():
    shadow = np.array([[[1.0], [3.0], [np.nan]], [[9.0], [9.0], [9.0]]])
    found = shadows.difference(np.array([[2.0], [2.0], [2.0]]), shadow)
    assert found.tolist() == [1, -1, 0]
