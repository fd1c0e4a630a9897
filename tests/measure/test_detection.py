import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_curve

from mint_utils.errors import ParameterError
from mint_utils.measure import detection
from mint_utils.measure.detection import decided, mean_roc, summarise

LABELS = np.array([True] * 4 + [False] * 4)


def summary(scores, labels=LABELS):
    scores = np.atleast_2d(scores)
    return summarise(labels, scores[None], np.arange(len(labels)), replicates=100)


def test_by_hand():
    scores = [0.9, 0.8, 0.6, 0.3, 0.7, 0.4, 0.2, 0.1]
    found = summary(scores)
    assert found["accuracy"] == (3 / 4 + 3 / 4) / 2
    # Pairs of a member and a non-member in the right order: 4 + 4 + 3 + 2 of 16.
    assert found["auc"] == 13 / 16
    # No false positive is allowed at 1%: members above .7, two of four.
    assert found["tpr_at_1pct_fpr"] == found["tpr_at_01pct_fpr"] == 0.5
    assert found["n"] == 8


def test_low_rates_allow_what_they_allow():
    labels = np.arange(2000) < 1000
    scores = np.where(labels, 0.5, np.arange(2000) / 2000 - 0.5)  # non-members from 0 to .5
    scores[1990:] = 0.9  # ten of a thousand non-members above every member
    assert summary(scores, labels)["tpr_at_1pct_fpr"] == 1.0
    scores[1989] = 0.9
    assert summary(scores, labels)["tpr_at_1pct_fpr"] == 0.0


def test_one_in_a_thousand_is_no_one_in_a_hundred():
    """Of 2,000 non-members two lie above every member: that is .1%; three are more."""
    labels = np.arange(4000) < 2000
    scores = np.where(labels, 0.5, 0.1)
    scores[-2:] = 0.9
    assert summary(scores, labels)["tpr_at_01pct_fpr"] == 1.0
    scores[-3] = 0.9
    found = summary(scores, labels)
    assert found["tpr_at_01pct_fpr"] == 0.0 and found["tpr_at_1pct_fpr"] == 1.0


def test_a_score_of_one_half_is_no_member():
    labels = np.array([True, True, False, False])
    assert summary([0.5, 0.9, 0.5, 0.1], labels)["accuracy"] == (1 / 2 + 1) / 2


def test_ties_are_no_detection():
    found = summary(np.full(8, 0.7))
    assert found["auc"] == 0.5 and found["tpr_at_1pct_fpr"] == 0 and found["accuracy"] == 0.5


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=4, max_size=40))
def test_accuracy_is_sklearns_balanced_accuracy(pairs):
    labels, scores = (np.array(column) for column in zip(*pairs, strict=True))
    if labels.all() or not labels.any():
        return
    found = summary(scores, labels)
    assert found["accuracy"] == pytest.approx(balanced_accuracy_score(labels, scores > 0.5))
    assert found["low"] <= found["high"]


def test_numbers_are_means_over_trainings():
    good, bad = np.where(LABELS, 0.9, 0.1), np.where(LABELS, 0.1, 0.9)
    found = summary(np.stack([good, good, bad]))
    assert found["accuracy"] == found["auc"] == pytest.approx(2 / 3)


def test_trainings_of_m_count_and_otherwise_those_of_t():
    scores = np.random.default_rng(0).random((3, 5, 8))
    right = (scores > 0.5) == LABELS
    np.testing.assert_array_equal(decided(LABELS, scores, None).right, right.mean(axis=1))
    np.testing.assert_array_equal(decided(LABELS, scores[:1], None).right, right[0])


def test_curves_are_means_too_and_never_fall():
    rng = np.random.default_rng(0)
    scores = rng.random((5, 8)) + LABELS * 0.3
    fpr, tpr = mean_roc(LABELS, scores)
    assert (np.diff(tpr) >= 0).all() and tpr[-1] == 1 and fpr[-1] == 1
    one = [mean_roc(LABELS, line[None])[1] for line in scores]
    assert tpr == pytest.approx(np.mean(one, axis=0))


def test_wrong_input_is_one_clear_error():
    with pytest.raises(ParameterError, match="one kind is missing"):
        summary(np.ones(8), np.ones(8, bool))
    with pytest.raises(ParameterError, match="no numbers"):
        summary(np.array([np.nan] + [0.1] * 7))


def test_rates_at_low_fpr_are_those_of_the_roc_curve():
    rng = np.random.default_rng(4)
    for n in (60, 1000, 3000):
        labels = rng.random(n) < 0.5
        scores = rng.integers(0, 40, (3, n)) / 8 + labels  # with ties
        found = detection.low_fpr(labels, scores)
        for name, limit in (("tpr_at_1pct_fpr", 0.01), ("tpr_at_01pct_fpr", 0.001)):
            rates = []
            for one in scores:
                fpr, tpr, _ = roc_curve(labels, one, drop_intermediate=False)
                rates.append(tpr[fpr <= limit].max())
            assert found[name] == pytest.approx(np.mean(rates))
