"""The attacks against hand-computed values, float64 softmaxes, hooks by hand and planted members."""

import inspect

import numpy as np
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp
from sklearn.metrics import roc_auc_score

from mint_utils.audited import ir  # noqa: F401  registers the networks
from mint_utils.errors import ParameterError
from mint_utils.mint import attacks

S = 64.0
NAMES = ("largest_cosine", "cosine_gap", "confidence", "own_cosine", "loss")


def readings(cosines, classes):
    """Return what is read of cosines (N, V, C) and own classes (N,), -1 for unknown persons."""
    logits = S * cosines.astype(np.float64)
    own = np.take_along_axis(cosines, np.maximum(classes, 0)[:, None, None], axis=2)[:, :, 0]
    rest = np.where(np.arange(cosines.shape[2]) == classes[:, None, None], -np.inf, logits)
    known = (classes >= 0)[:, None]
    return {
        "nearest": -np.sort(-cosines, axis=2)[:, :, :20].astype(np.float32),
        "own": np.where(known, own, np.nan).astype(np.float32),
        "log_sum": logsumexp(logits, axis=2).astype(np.float32),
        "log_rest": np.where(known, logsumexp(rest, axis=2), np.nan).astype(np.float32),
        "s": S,
    }


def score(name, arrays):
    function = getattr(attacks, name)
    return function(**{key: arrays[key] for key in inspect.signature(function).parameters})


def faces(n=200, classes=50, views=2, spread=0.3, seed=0):
    """Return cosines (N, V, C) whose own class is near or far, and the own classes."""
    rng = np.random.default_rng(seed)
    own = rng.integers(0, classes, n)
    cosines = rng.normal(0, 0.1, (n, views, classes))
    cosines[np.arange(n), :, own] = 0.4 + spread * rng.normal(size=(n, 1))
    return cosines.clip(-1, 1).astype(np.float32), own


def test_by_hand():
    """Cosines of 1/64 a logit: the probabilities are 4/7, 2/7 and 1/7."""
    cosines = np.log([[[2.0, 4.0, 1.0], [1.0, 1.0, 1.0]]]) / S
    arrays = readings(cosines, np.array([0]))
    assert score("largest_cosine", arrays) == pytest.approx(np.log(4) / S)
    assert score("cosine_gap", arrays) == pytest.approx(np.log(2) / S)
    assert score("confidence", arrays) == pytest.approx(np.log(4 / 7), abs=1e-6)
    assert score("own_cosine", arrays) == pytest.approx(np.log(2) / S)
    assert score("loss", arrays) == pytest.approx(np.log(2 / 7), abs=1e-6)
    assert attacks.embedding_norm(np.float32([[7, 8], [9, 1]])).tolist() == [7, 9]


@pytest.mark.parametrize("spread", [0.05, 0.3])
def test_log_probabilities_are_those_of_a_float64_softmax(spread):
    cosines, own = faces(spread=spread)
    logits = S * cosines[:, 0].astype(np.float64)
    # log_softmax rounds at 1e-16: the odds against each class keep what lies below.
    against = np.exp(logits[:, None, :] - logits[:, :, None])
    against[:, np.arange(50), np.arange(50)] = 0
    expected = -np.log1p(against.sum(axis=2))
    np.testing.assert_allclose(expected, log_softmax(logits, axis=1), atol=1e-12)
    by_own = expected[np.arange(len(own)), own]
    assert by_own.max() > -1e-8  # where a difference of float32 logits is noise
    arrays = readings(cosines, own)
    # float32 logits of 64 are wrong by 4e-6 each: that much of the odds is lost.
    np.testing.assert_allclose(score("loss", arrays), by_own, rtol=5e-5)
    np.testing.assert_allclose(score("confidence", arrays), expected.max(axis=1), rtol=1e-2)


def test_sure_images_do_not_tie():
    cosines, own = faces(spread=0.05)
    for name in ("loss", "confidence"):
        assert len(np.unique(score(name, readings(cosines, own)))) > 0.99 * len(own)


@pytest.mark.parametrize("name", ["own_cosine", "loss"])
def test_unknown_persons_have_no_score_by_their_class(name):
    cosines, own = faces()
    own[::3] = -1
    missing = np.isnan(score(name, readings(cosines, own)))
    np.testing.assert_array_equal(missing, own == -1)
    for other in ("largest_cosine", "cosine_gap", "confidence"):
        assert np.isfinite(score(other, readings(cosines, own))).all()


@given(
    scale=st.floats(0.1, 1e4),
    top=st.floats(0.0, 1.0, width=32),
    second=st.floats(-1.0, 1.0, width=32),
)
def test_a_nearer_class_centre_is_never_less_a_member_and_huge_logits_stay_finite(
    scale, top, second
):
    """Two images that differ in the own and nearest cosine alone."""
    low, high = sorted([top, second])
    others = np.full(19, min(low, 0.0))
    cosines = np.stack([np.r_[low, others], np.r_[high, others]])[:, None]
    logits = scale * cosines.astype(np.float64)
    arrays = {
        "nearest": cosines,
        "own": cosines[:, :, 0],
        "log_sum": logsumexp(logits, axis=2),
        "log_rest": logsumexp(logits[:, :, 1:], axis=2),
        "s": scale,
    }
    for name in NAMES:
        found = score(name, arrays)
        assert np.isfinite(found).all() and found[1] >= found[0] - 1e-9


@given(st.permutations(range(40)))
def test_the_order_of_images_does_not_matter(order):
    arrays = readings(*faces(n=40))
    mixed = {key: value if key == "s" else value[order] for key, value in arrays.items()}
    for name in NAMES:
        np.testing.assert_array_equal(score(name, mixed), score(name, arrays)[order])


@pytest.mark.parametrize("name", NAMES)
def test_members_are_found_where_they_differ_and_only_there(name):
    cosines, own = faces(n=3000, spread=0.05)
    member = np.arange(3000) < 1500
    assert abs(roc_auc_score(member, score(name, readings(cosines, own))) - 0.5) < 0.04
    cosines[np.flatnonzero(member), :, own[member]] += 0.3
    assert roc_auc_score(member, score(name, readings(cosines, own))) > 0.99


def test_distances_are_those_of_hooks_image_by_image(network):
    torch.manual_seed(1)
    inputs = torch.rand(5, 3, 16, 16) * 2 - 1
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.inference_mode(), attacks.batch_norm_probe(network) as probe:
        network(inputs)
        found = probe()
    layers = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert found.dtype == np.float32 and found.shape == (5, len(layers))
    assert len(layers) == 1 + 4 * 3 + 3 + 1  # stem, units, projections, output
    seen = {}
    hooks = [m.register_forward_hook(lambda m, i, _: seen.__setitem__(m, i[0])) for m in layers]
    for i, image in enumerate(inputs):
        with torch.no_grad():
            network(image[None])
        for j, layer in enumerate(layers):
            maps = seen[layer][0].double().numpy()
            away = maps.mean(axis=(1, 2)) - layer.running_mean.numpy()
            expected = np.mean(away**2 / (layer.running_var.numpy() + 1e-5))
            assert found[i, j] == pytest.approx(expected, rel=1e-3)
    for hook in hooks:
        hook.remove()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(layer._forward_pre_hooks for layer in layers)


def test_distances_refuse_a_network_that_would_be_changed(network):
    with pytest.raises(ParameterError, match="evaluation mode"):
        attacks.batch_norm_probe(timm.create_model("ir_tiny", img_size=16)).__enter__()
    with pytest.raises(ParameterError, match="BatchNorm2d"):
        attacks.batch_norm_probe(torch.nn.Flatten().eval()).__enter__()


def test_the_batch_norm_classifier_finds_the_layer_that_tells():
    rng = np.random.default_rng(0)
    member = rng.random(1200) < 0.5
    distances = rng.gamma(2, 1, (1200, 6)).astype(np.float32)
    distances[:, 3] *= np.where(member, 0.1, 1)
    train = np.arange(600)
    found = attacks.batch_norm_classifier(distances, train, member[train])
    assert roc_auc_score(member[600:], found[600:]) > 0.9
    plain = attacks.batch_norm_distance(distances)
    assert 0.6 < roc_auc_score(member, plain) < 0.9
    np.testing.assert_allclose(plain, -distances.astype(np.float64).mean(axis=1))


def test_quantile_regression_takes_the_ease_of_the_image_out():
    rng = np.random.default_rng(0)
    ease = rng.normal(0, 5, 3000)
    member = rng.random(3000) < 0.3
    statistic = 2 * ease + rng.normal(0, 1, 3000) + 4 * member
    non_members = np.flatnonzero(~member)[:1000]
    judged = np.setdiff1d(np.arange(3000), non_members)
    found = attacks.quantile_regression(statistic, ease[:, None], non_members)[judged]
    assert roc_auc_score(member[judged], statistic[judged]) < 0.7
    assert roc_auc_score(member[judged], found) > 0.9
    false = (found[~member[judged]] > 0).mean()  # the margin is above 0 for 5% of non-members
    assert 0.02 < false < 0.12


def test_quantile_regression_on_features_without_content_keeps_the_order():
    statistic = np.random.default_rng(0).normal(size=500)
    found = attacks.quantile_regression(statistic, np.zeros((500, 1)), np.arange(300))
    np.testing.assert_allclose(found - statistic, found[0] - statistic[0])
    assert (found[:300] > 0).mean() == pytest.approx(0.05, abs=0.01)


def test_quantile_regression_where_persons_are_unknown():
    statistic = np.random.default_rng(0).normal(size=500)
    statistic[::5] = np.nan
    found = attacks.quantile_regression(statistic, np.zeros((500, 1)), np.arange(300))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(statistic))
    with pytest.raises(ParameterError, match="known non-members"):
        attacks.quantile_regression(statistic, np.zeros((500, 1)), np.arange(0, 500, 5))


def test_the_registry_says_what_each_attack_reads():
    all_ = attacks.ATTACKS
    assert len({attack.name for attack in all_}) == len(all_)
    for attack in all_:
        parameters = inspect.signature(attack.function).parameters.values()
        required = [p.name for p in parameters if p.default is p.empty]
        assert list(attack.reads) == required
        assert attack.shadows == bool({"seen", "phi_shadow"} & set(attack.reads))
        assert (attack.known != "none") == bool(
            {"train", "non_members", "population"} & set(attack.reads)
        )


def test_the_gradient_of_the_own_centre_is_that_of_autograd():
    torch.manual_seed(0)
    kernel = (torch.randn(8, 5, dtype=torch.float64) / 8).requires_grad_()
    outcome = torch.nn.functional.normalize(torch.randn(4, 8, dtype=torch.float64), dim=1)
    classes = torch.tensor([0, 3, 4, 1])
    cosines = outcome @ torch.nn.functional.normalize(kernel, dim=0)
    arrays = readings(cosines.detach().numpy()[:, None], classes.numpy())
    lengths = kernel.norm(dim=0).detach().numpy()[classes.numpy()]
    found = attacks.gradient(arrays["own"], arrays["log_rest"], lengths, S)
    for i, own in enumerate(classes.tolist()):
        loss = torch.nn.functional.cross_entropy(S * cosines[i : i + 1], classes[i : i + 1])
        (gradient,) = torch.autograd.grad(loss, kernel, retain_graph=True)
        assert found[i] == pytest.approx(-np.log(gradient[:, own].norm().item()), abs=1e-3)


def test_the_loss_of_copies_is_the_mean_over_views():
    cosines, own = faces(n=20, views=3)
    arrays = readings(cosines, own)
    each = [S * arrays["own"][:, v].astype(np.float64) - arrays["log_rest"][:, v] for v in range(3)]
    np.testing.assert_allclose(score("loss_of_copies", arrays), np.mean(each, axis=0), rtol=1e-6)
