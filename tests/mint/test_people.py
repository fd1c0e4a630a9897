"""Readings of a person as computed by hand, and a MINT Model that never judges whom it saw."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mint_utils.errors import ParameterError
from mint_utils.mint import people


def units(rng, *shape):
    found = rng.normal(size=shape)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def test_readings_are_those_computed_by_hand():
    rng = np.random.default_rng(0)
    photographs, norms = units(rng, 3, 4, 5), rng.uniform(1, 9, (3, 4))
    crowd, centres = units(rng, 6, 5), units(rng, 7, 5)
    found = people.read(photographs, norms, crowd, centres)
    assert list(found) == list(people.READINGS)
    for person in range(3):
        own = photographs[person]
        to_centres = sorted(np.mean([u @ c for u in own]) for c in centres)
        best = max(centres, key=lambda c: np.mean([u @ c for u in own]))
        mean = sum(own) / np.linalg.norm(sum(own))
        among = [a @ b for a, b in itertools.combinations(own, 2)]
        others = max(mean @ other for other in crowd)
        expected = {
            "largest cosine": to_centres[-1],
            "lead": to_centres[-1] - to_centres[-2],
            "steadiness": -np.std([u @ best for u in own]),
            "similarity": np.mean(among),
            "even similarity": -np.std(among),
            "least similarity": min(among),
            "most similarity": max(among),
            "even about the mean": -np.std([u @ mean for u in own]),
            "least to the mean": min(u @ mean for u in own),
            "away from others": -others,
            "apart": np.mean(among) - others,
            "length": np.mean(norms[person]),
        }
        assert {name: of[person] for name, of in found.items()} == pytest.approx(expected)


def test_without_a_head_no_reading_is_of_centres_and_one_photograph_has_no_pairs():
    rng = np.random.default_rng(1)
    args = units(rng, 2, 3, 4), rng.random((2, 3)), units(rng, 5, 4)
    without = people.read(*args)
    assert without and not any(people.READINGS[name].head for name in without)
    one = people.read(args[0][:, :1], args[1][:, :1], args[2], units(rng, 6, 4))
    assert set(one) == {"largest cosine", "lead", "away from others", "length"}


def test_choices_are_of_the_persons_own_photographs_without_repeating_one():
    candidates = [np.array([3, 5, 8]), np.array([1, 2, 4, 9])]
    found = people.chosen(candidates, 3, choices=20)
    assert found.shape == (20, 2, 3)
    for choice, person in itertools.product(range(20), range(2)):
        own = found[choice, person]
        assert len(set(own)) == 3 and set(own) <= set(candidates[person])
    assert len({tuple(sorted(of)) for of in found[:, 1]}) == 4  # all that there are
    with pytest.raises(ParameterError, match="has 3 photographs where 4"):
        people.chosen(candidates, 4, choices=1)


def test_no_person_is_on_both_sides_of_a_fit(monkeypatch):
    """Each person has one constant reading of their own, by which every fit tells whom it was given."""
    shown = np.arange(30) % 2 == 0
    features = np.tile(np.arange(30.0)[None, :, None], (4, 1, 1))
    given = []

    class Spy(people.LogisticRegression):
        def fit(self, x, y, sample_weight):
            given.append((set(x[:, 0].round(6)), len(x), sample_weight.sum()))
            return super().fit(x, y, sample_weight)

        def decision_function(self, x):
            asked.append(x[:, 0].round(6))
            return super().decision_function(x)

    class Plain:
        def fit(self, x):
            return self

        def transform(self, x):
            return x

    asked: list[np.ndarray] = []
    monkeypatch.setattr(people, "LogisticRegression", Spy)
    monkeypatch.setattr(people, "StandardScaler", Plain)
    people.cross_fitted(features, shown)
    where = people.folds(shown)
    assert len(given) == people.FOLDS
    for fold, (trained, rows, weight) in enumerate(given):
        assert trained == set(np.flatnonzero(where != fold))
        assert rows == 4 * len(trained) and weight == pytest.approx(len(trained))
    for kind in (shown, ~shown):  # two thirds of either kind
        assert np.bincount(where[kind]).tolist() == [5, 5, 5]


def test_a_score_depends_on_nothing_that_the_own_fold_tells():
    rng = np.random.default_rng(2)
    shown = rng.random(60) < 0.5
    features = rng.normal(size=(3, 60, 4))
    scores = people.cross_fitted(features, shown)
    fold = people.folds(shown) == 0
    others = features.copy()
    one = np.flatnonzero(fold)[0]
    others[:, fold & (np.arange(60) != one)] += 100.0
    changed = people.cross_fitted(others, shown)
    assert changed[:, one] == pytest.approx(scores[:, one])
    assert changed[:, ~fold] != pytest.approx(scores[:, ~fold])


def test_a_planted_signal_is_found_by_the_mint_model():
    rng = np.random.default_rng(3)
    shown = rng.random(90) < 0.5
    features = rng.normal(size=(5, 90, 6))
    features[:, :, 2] += 3 * shown
    areas = [roc_auc_score(shown, one) for one in people.cross_fitted(features, shown)]
    assert min(areas) > 0.9
    with pytest.raises(ParameterError, match="3 people or more of either kind, not 2 shown"):
        people.cross_fitted(features[:, :4], np.array([True, False, True, False]))
