import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from mint_utils.errors import ParameterError
from mint_utils.mint.fit import MintRecipe, MintTask, _inputs, fit
from mint_utils.mint.model import WIDE, BatchedMint, VanillaMint
from tests.factory import fit_one, vanilla

RNG = np.random.default_rng(0)
LABELS = np.arange(600) % 2 == 0
FEATURES = RNG.standard_normal((600, 40)).astype(np.float32)
FEATURES[LABELS, 8:12] += 1.0
QUICK = MintRecipe(epochs=2)


def task(columns=slice(0, 40), seed=0, shift=0, n=300, m=100) -> MintTask:
    rows = np.roll(np.random.default_rng(shift).permutation(600), shift)
    train, evaluation = rows[:n], rows[n : n + m]
    return MintTask(columns, train, LABELS[train], evaluation, seed)


def test_together_is_the_same_as_one_at_a_time():
    """Differences of rounding grow with the steps: after two epochs they are still of that size."""
    columns = [slice(0, 8), slice(8, 24), slice(24, 40), slice(0, 40)]
    tasks = [task(c, seed, shift) for c in columns for seed in range(2) for shift in range(2)]
    together = fit(FEATURES, tasks, QUICK)
    for found, t in zip(together, tasks, strict=True):
        np.testing.assert_allclose(found, fit_one(FEATURES, t, QUICK), atol=2e-4)


def test_the_whole_training_agrees_on_what_it_decides():
    tasks = [task(seed=seed) for seed in range(3)]
    for found, t in zip(fit(FEATURES, tasks, MintRecipe()), tasks, strict=True):
        alone = fit_one(FEATURES, t, MintRecipe())
        assert ((found > 0.5) == (alone > 0.5)).mean() > 0.97


def test_a_task_ends_the_same_whoever_trains_beside_it():
    alone = fit(FEATURES, [task(seed=1)], QUICK)[0]
    beside = fit(FEATURES, [task(seed=0), task(slice(0, 8)), task(seed=1), task(shift=1)], QUICK)
    np.testing.assert_allclose(beside[2], alone, atol=2e-4)


def test_inputs_are_held_once_for_all_seeds_and_are_each_tasks_own():
    tasks = [task(seed=seed, shift=shift) for shift in range(2) for seed in range(3)]
    tasks.append(dataclasses.replace(tasks[0], evaluation=tasks[0].evaluation[::-1].copy()))
    which, rows, unseen = _inputs(FEATURES, tasks, QUICK, "cpu")
    assert which.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert len(rows) == 3 * 300 and unseen.shape == (3, 100, 40)
    for i, t in enumerate(tasks):
        train, other = _inputs(FEATURES, [t], QUICK, "cpu")[1:]
        assert torch.equal(rows[300 * which[i] :][:300], train)
        assert torch.equal(unseen[which[i]], other[0])


def test_labels_are_each_tasks_own_where_inputs_are_shared():
    one = task(seed=1)
    turned = dataclasses.replace(one, train_labels=~one.train_labels)
    found = fit(FEATURES, [one, turned], QUICK)
    for scores, t in zip(found, [one, turned], strict=True):
        np.testing.assert_allclose(scores, fit_one(FEATURES, t, QUICK), atol=2e-4)
    assert abs(found[0] - found[1]).max() > 0.1


def test_seeds_differ_and_repeat():
    one, two, again = fit(FEATURES, [task(seed=0), task(seed=1), task(seed=0)], QUICK)
    np.testing.assert_allclose(one, again, atol=1e-6)
    assert abs(one - two).max() > 1e-3


def test_it_learns_what_is_there_and_nothing_where_nothing_is():
    tasks = [task(slice(8, 24), seed, m=250) for seed in range(2)]
    tasks += [task(slice(24, 40), seed, m=250) for seed in range(2)]
    found = zip(fit(FEATURES, tasks, MintRecipe()), tasks, strict=True)
    right = [((p > 0.5) == LABELS[t.evaluation]).mean() for p, t in found]
    assert min(right[:2]) > 0.8 and max(right[2:]) < 0.62


def test_inputs_are_standardised_with_the_training_rows_alone():
    """Scaling a column, or changing rows that are in no set, changes nothing."""
    scaled = FEATURES * np.linspace(0.01, 1000, 40, dtype=np.float32) + 5
    t = task()
    unused = np.setdiff1d(np.arange(600), np.concatenate([t.train, t.evaluation]))
    scaled[unused] = 1e6
    np.testing.assert_allclose(fit(scaled, [t], QUICK)[0], fit(FEATURES, [t], QUICK)[0], atol=5e-3)


def test_a_constant_column_is_no_division_by_zero():
    features = FEATURES.copy()
    features[:, 3] = 7
    assert np.isfinite(fit(features, [task()], QUICK)[0]).all()


def test_the_vanilla_mint_model_is_the_papers():
    model = VanillaMint(960)
    linear, relu = nn.functional.linear, torch.relu
    x = torch.randn(5, 960)
    h = relu(linear(x, model.first.weight, model.first.bias))
    h = relu(linear(h, model.second.weight, model.second.bias))
    h = (h - model.norm.running_mean) / (model.norm.running_var + 1e-5).sqrt()
    expected = linear(h, model.last.weight, model.last.bias)[:, 0]
    for found in (vanilla(model.eval(), x), BatchedMint([model]).eval()(x[None])[0]):
        torch.testing.assert_close(found, expected)
    assert [m.out_features for m in model.modules() if isinstance(m, nn.Linear)] == [256, 128, 1]
    recipe = dataclasses.asdict(MintRecipe())
    assert recipe == {
        "hidden": (256, 128),
        "dropout": 0.3,
        "epochs": 20,
        "lr": 1e-3,
        "batch_size": 128,
        "standardise": True,
    }


@pytest.mark.parametrize("inputs", [7, WIDE - 1, WIDE, 960])
def test_batched_networks_are_each_models_own(inputs):
    """Logits and gradients, of narrow inputs and of those that go through another library's products."""
    models = [VanillaMint(inputs).train() for _ in range(3)]
    x, kept = torch.randn(3, 11, inputs), torch.rand(3, 128, 11) < 0.7
    network = BatchedMint(models).train()
    together = network(x, kept)
    alone = torch.stack([vanilla(m, x[i], kept[i].T) for i, m in enumerate(models)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    weights = torch.randn(3, 11)
    (together * weights).sum().backward()
    (alone * weights).sum().backward()
    for stacked, layer in zip(network.weights, ["first", "second", "last"], strict=True):
        own = torch.stack([getattr(m, layer).weight.grad for m in models])
        torch.testing.assert_close(stacked.grad, own, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("n", [1, 5, 127, 128, 129, 130, 300, 1000])
def test_batches_use_every_sample_and_none_alone(n):
    sizes = [len(part) for part in torch.arange(n).tensor_split(MintRecipe().steps(n))]
    assert sum(sizes) == n and max(sizes) <= 128 and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers(value):
    features = FEATURES.copy()
    features[5, 17] = value
    with pytest.raises(ParameterError, match="1 features are no numbers, in columns 17 to 17"):
        fit(features, [task()], QUICK)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"evaluation": task().train[:10]}, "evaluates one that it is trained on"),
        ({"evaluation": np.array([1, 1])}, "repeats"),
        ({"evaluation": np.array([600])}, "outside"),
        ({"train_labels": np.ones(300, bool)}, "members and non-members"),
    ],
)
def test_tasks_that_would_tell_nothing_are_refused(change, says):
    with pytest.raises(ParameterError, match=says):
        fit(FEATURES, [dataclasses.replace(task(), **change)], QUICK)


def test_raw_inputs_are_those_that_m_gives():
    """Scaled by hand with the training rows' statistics they give what standardised ones give."""
    t, raw = task(), MintRecipe(epochs=2, standardise=False)
    features = FEATURES * 3 + 1
    of_training = features[t.train]
    scaled = ((features - of_training.mean(axis=0)) / of_training.std(axis=0)).astype(np.float32)
    np.testing.assert_allclose(fit(scaled, [t], raw)[0], fit(features, [t], QUICK)[0], atol=2e-4)
    np.testing.assert_allclose(fit(features, [t], raw)[0], fit_one(features, t, raw), atol=2e-4)
    assert abs(fit(features, [t], raw)[0] - fit(features, [t], QUICK)[0]).max() > 1e-3
