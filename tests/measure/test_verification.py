import itertools

import numpy as np
import pytest

from mint_utils.errors import ParameterError
from mint_utils.measure.verification import of_pairs, verified


def reference(embeddings, same, folds):
    """AdaFace's evaluation, written as loops from its description."""
    unit = [e / np.sqrt((e**2).sum()) for e in embeddings.astype(np.float64)]
    distance = [((unit[2 * i] - unit[2 * i + 1]) ** 2).sum() for i in range(len(same))]
    size, accuracies = len(same) // folds, []
    for k in range(folds):
        inside = range(k * size, (k + 1) * size)
        outside = [i for i in range(len(same)) if i not in inside]
        scores = [sum((distance[i] < t) == same[i] for i in outside) for t in np.arange(0, 4, 0.01)]
        threshold = np.arange(0, 4, 0.01)[int(np.argmax(scores))]
        accuracies.append(sum((distance[i] < threshold) == same[i] for i in inside) / size)
    return accuracies


def pairs(n=60, noise=0.8, seed=0):
    rng = np.random.default_rng(seed)
    same = np.arange(n) % 2 == 0
    first = rng.standard_normal((n, 8))
    second = np.where(
        same[:, None], first + noise * rng.standard_normal((n, 8)), rng.standard_normal((n, 8))
    )
    scale = rng.uniform(0.5, 20, (2 * n, 1))  # lengths must not matter
    return (np.stack([first, second], 1).reshape(2 * n, 8) * scale).astype(np.float32), same


@pytest.mark.parametrize("seed", range(4))
def test_as_the_loops_say(seed):
    embeddings, same = pairs(seed=seed)
    right = verified(embeddings, same)
    assert right.shape == same.shape and right.mean() > 0.6
    assert right.reshape(10, -1).mean(axis=1) == pytest.approx(reference(embeddings, same, 10))


def test_folds_differ_by_a_pair_where_ten_equal_ones_are_impossible():
    """The labels of one fold decide the thresholds of the others, never its own."""
    embeddings, same = pairs(n=994, noise=3.0)
    right = verified(embeddings, same)
    ends = np.cumsum([0] + [100] * 4 + [99] * 6)
    for first, last in itertools.pairwise(ends):
        other = same.copy()
        other[first:last] = ~other[first:last]
        turned = verified(embeddings, other)
        np.testing.assert_array_equal(turned[first:last], ~right[first:last])


def test_perfect_and_chance():
    embeddings, same = pairs(noise=0.0)
    assert verified(embeddings, same).all()
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((4000, 8)).astype(np.float32)
    assert abs(verified(noise, np.arange(2000) % 2 == 0).mean() - 0.5) < 0.05


@pytest.mark.parametrize("kind", [True, False])
def test_pairs_of_one_class_only(kind):
    embeddings, same = pairs()
    with pytest.raises(ParameterError, match="pairs of both kinds"):
        verified(embeddings, np.full(len(same), kind))


def test_wrong_input_is_one_clear_error():
    embeddings, same = pairs()
    with pytest.raises(ParameterError, match="folds"):
        verified(embeddings[:10], same[:5])
    for value in (np.nan, np.inf, 0.0):
        broken = embeddings.copy()
        broken[3] = value
        with pytest.raises(ParameterError, match="no numbers"):
            verified(broken, same)


def test_pairs_depend_on_each_other_by_people_who_are_in_several():
    persons = np.array([1, 1, 1, 2, 3, 4, 5, 2, 6, 6])
    # 1 and 2 are in two pairs each; 3, 4 and 5 in one: their pairs share nothing by them.
    found = of_pairs(persons)
    assert found[[0, 1, 3, 4]].tolist() == [[1, 1], [1, 2], [2, 2], [6, 6]]
    assert found[2, 0] == found[2, 1] and persons.tolist() == [1, 1, 1, 2, 3, 4, 5, 2, 6, 6]
