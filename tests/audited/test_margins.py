import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mint_utils.audited.margins import AdaFace, ArcFace, CosFace, make_head
from mint_utils.errors import TrainingError

EPS = 1e-3
MARGINS = {"adaface": (0.4, 0.333), "cosface": (0.4, 0.0), "arcface": (0.5, None)}


def published(
    name, kernel, embeddings, norms, labels, mean=20.0, std=100.0, m=None, h=None, s=64.0
):
    """The published formulas, every entry through acos and cos, in float64."""
    default_m, default_h = MARGINS[name]
    m, h = m or default_m, default_h if h is None else h
    kernel = kernel / kernel.norm(dim=0, keepdim=True)
    cosine = (embeddings @ kernel).clamp(-1 + EPS, 1 - EPS)
    target = nn.functional.one_hot(labels, kernel.shape[1]).double()
    if name == "arcface":
        angular, additive = torch.full_like(norms, m), torch.zeros_like(norms)
    else:
        length = norms.clamp(0.001, 100).detach()
        mean, std = 0.01 * length.mean() + 0.99 * mean, 0.01 * length.std() + 0.99 * std
        k = ((length - mean) / (std + EPS) * h).clamp(-1, 1)
        angular, additive = -m * k, m + m * k
    theta = (cosine.acos() + target * angular).clamp(EPS, math.pi - EPS)
    return s * (theta.cos() - target * additive)


def unit(x):
    return x / x.norm(dim=1, keepdim=True)


def compare(name, head, embeddings, norms, labels, **parameters):
    """Values and gradients of a head against the float64 reference; return the logits."""
    e, k = embeddings.float().requires_grad_(), head.kernel
    logits = head(e, norms.float(), labels)
    weights = torch.rand(logits.shape) - 0.5  # so that every entry's gradient counts
    (logits * weights).sum().backward()
    re, rk = (x.detach().double().requires_grad_() for x in (e, k))
    expected = published(name, rk, re, norms.float().double(), labels, **parameters)
    (expected * weights).sum().backward()
    torch.testing.assert_close(logits.double(), expected, rtol=0, atol=1e-3)  # of 64
    for ours, reference in ((e.grad, re.grad), (k.grad, rk.grad)):
        scale = float(reference.abs().max()) + 1e-6
        torch.testing.assert_close(ours.double() / scale, reference / scale, rtol=0, atol=2e-4)
    k.grad = None
    return logits


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(list(MARGINS)),
    n=st.integers(2, 9),
    classes=st.integers(1, 12),
    length=st.floats(1e-5, 1e4),
    seed=st.integers(0, 10**6),
)
def test_values_and_gradients_are_the_published_ones(name, n, classes, length, seed):
    torch.manual_seed(seed)
    head = make_head(name, 6, classes)
    embeddings, labels = unit(torch.randn(n, 6).double()), torch.randint(0, classes, (n,))
    compare(name, head, embeddings, length * (0.1 + torch.rand(n, 1)), labels)


@pytest.mark.parametrize("name", MARGINS)
@pytest.mark.parametrize("norms", [(1e-5, 1e5), (20.0, 20.0), (1.0, 40.0)])
def test_beyond_the_clamp(name, norms):
    """An embedding on a centre, on its opposite, just inside and outside the clamp, target or not."""
    head = make_head(name, 2, 4)
    cosines = torch.tensor([1.0, 1 - 0.9e-3, 1 - 1.1e-3, -1.0, -1 + 0.9e-3, -1 + 1.1e-3]).double()
    embeddings = torch.stack([cosines, (1 - cosines**2).clamp(0).sqrt()], dim=1).repeat(4, 1)
    centres = torch.tensor([[3.0, 0.0], [-0.5, 0.0], [0.0, 1.0], [0.6, 0.8]])
    head.kernel.data.copy_(centres.T)
    labels = torch.arange(4).repeat_interleave(6)
    lengths = torch.linspace(*norms, 24)[:, None]
    logits = compare(name, head, embeddings, lengths, labels)
    assert logits[6:, 0].max().item() == pytest.approx(64 * (1 - EPS))


def test_quality_is_at_most_one_in_size():
    head = AdaFace(6, 3)
    head.batch_mean.fill_(30.0)
    head.batch_std.fill_(1.0)
    norms = torch.tensor([[1.0], [29.5], [30.0], [31.0], [99.0], [500.0]]).double()
    embeddings, labels = unit(torch.randn(6, 6).double()), torch.arange(6) % 3
    compare("adaface", head, embeddings, norms, labels, mean=30.0, std=1.0)


@pytest.mark.parametrize("name", MARGINS)
def test_gradient_stops_where_the_published_code_clips(name):
    head = make_head(name, 2, 2)
    head.kernel.data.copy_(torch.eye(2))
    # Target: the opposite of the centre, beyond the clamp; the other class at a right angle.
    embeddings = torch.tensor([[-1.0, 0.0], [0.0, -1.0]], requires_grad=True)
    logits = head(embeddings, torch.tensor([[1.0], [50.0]]), torch.tensor([0, 1]))
    logits.gather(1, torch.tensor([[0], [1]])).sum().backward()
    assert (embeddings.grad == 0).all()


def test_arcface_angle_is_at_most_pi_less_eps():
    head = ArcFace(2, 1)
    head.kernel.data.copy_(torch.tensor([[1.0], [0.0]]))
    angle = math.pi - 0.3  # with the margin of .5 it would pass pi
    embeddings = torch.tensor([[math.cos(angle), math.sin(angle)]], requires_grad=True)
    logits = head(embeddings, torch.ones(1, 1), torch.zeros(1, dtype=torch.int64))
    assert logits.item() == pytest.approx(64 * math.cos(math.pi - EPS))
    logits.sum().backward()
    assert (embeddings.grad == 0).all()


def test_a_value_computed_by_hand():
    """One class at 60 degrees: cos 60 - .4 = .1; cos(60 + 28.648 degrees) = .0236."""
    embeddings, norms = torch.tensor([[0.5, math.sqrt(0.75)]] * 2), torch.tensor([[30.0], [10.0]])
    heads = {"cosface": CosFace(2, 1), "arcface": ArcFace(2, 1), "adaface": AdaFace(2, 1)}
    for head in heads.values():
        head.kernel.data.copy_(torch.tensor([[2.0], [0.0]]))
    labels = torch.zeros(2, dtype=torch.int64)
    found = {name: head(embeddings, norms, labels).detach()[:, 0] for name, head in heads.items()}
    assert found["cosface"].tolist() == pytest.approx([6.4, 6.4], rel=1e-5)
    assert found["arcface"].tolist() == pytest.approx(
        [64 * math.cos(math.pi / 3 + 0.5)] * 2, rel=1e-5
    )
    # Mean .99 * 20 + .01 * 20, deviation .99 * 100 + .01 * sqrt(200).
    k = 0.333 * 10 / (99 + 0.1 * math.sqrt(2) + EPS)
    wanted = [64 * (math.cos(math.pi / 3 - 0.4 * q) - 0.4 - 0.4 * q) for q in (k, -k)]
    assert found["adaface"].tolist() == pytest.approx(wanted, rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), m=st.floats(0.05, 0.6))
def test_adaface_without_h_is_cosface(seed, m):
    torch.manual_seed(seed)
    ada, cos = AdaFace(8, 5), CosFace(8, 5)
    ada.m = cos.m = m
    ada.h = 0.0
    cos.load_state_dict({"kernel": ada.kernel.data})
    inputs = unit(torch.randn(7, 8)), torch.rand(7, 1) * 200, torch.randint(0, 5, (7,))
    torch.testing.assert_close(ada(*inputs), cos(*inputs), rtol=0, atol=1e-3)


def test_running_statistics_move_in_training_only():
    head = AdaFace(4, 3)
    embeddings, labels = unit(torch.randn(3, 4)), torch.tensor([0, 1, 2])
    norms = torch.tensor([[1e-9], [50.0], [900.0]])  # clipped to .001, 50, 100
    clipped = np.array([0.001, 50, 100])
    mean, std = 20.0, 100.0
    for _ in range(3):
        head(embeddings, norms, labels)
        mean = 0.01 * clipped.mean() + 0.99 * mean
        std = 0.01 * clipped.std(ddof=1) + 0.99 * std
    assert head.batch_mean.item() == pytest.approx(mean, rel=1e-5)
    assert head.batch_std.item() == pytest.approx(std, rel=1e-5)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    head.eval()(embeddings, norms, labels)
    head(embeddings[:1], norms[:1], labels[:1])
    assert all((value == before[name]).all() for name, value in head.state_dict().items())
    assert set(before) == {"kernel", "batch_mean", "batch_std"}


def test_the_length_gets_no_gradient():
    head = AdaFace(4, 3)
    norms = torch.tensor([[5.0], [30.0]], requires_grad=True)
    embeddings = unit(torch.randn(2, 4)).requires_grad_()
    head(embeddings, norms, torch.tensor([0, 1])).sum().backward()
    assert norms.grad is None and embeddings.grad.abs().sum() > 0


def test_one_image_cannot_train_adaface():
    embeddings, norms, labels = unit(torch.randn(1, 4)), torch.ones(1, 1), torch.tensor([0])
    head = AdaFace(4, 3)
    with pytest.raises(TrainingError, match="one image"):
        head(embeddings, norms, labels)
    assert head.batch_mean.item() == 20 and head.batch_std.item() == 100
    assert CosFace(4, 3)(embeddings, norms, labels).shape == (1, 3)
    assert ArcFace(4, 3)(embeddings, norms, labels).shape == (1, 3)


@pytest.mark.parametrize("name", MARGINS)
def test_half_precision_and_autocast_compute_in_float32(name):
    torch.manual_seed(0)
    head = make_head(name, 16, 9)
    e, norms = unit(torch.randn(5, 16)).bfloat16(), torch.rand(5, 1).bfloat16() * 40
    labels = torch.randint(0, 9, (5,))
    state = {key: value.clone() for key, value in head.state_dict().items()}
    plain = head(e.float(), norms.float(), labels)
    head.load_state_dict(state)
    with torch.autocast("cpu", torch.bfloat16):
        cast = head(e, norms, labels)
        assert head.cosines(e).dtype == torch.float32
    assert cast.dtype == torch.float32 and torch.equal(cast, plain)
    nn.functional.cross_entropy(cast, labels).backward()
    assert head.kernel.grad.dtype == torch.float32


def test_centres_start_as_unit_vectors_of_both_signs():
    head = make_head("adaface", 64, 500)
    norms = head.kernel.detach().norm(dim=0)
    torch.testing.assert_close(norms, torch.ones(500), rtol=0, atol=1e-5)
    assert head.kernel.shape == (64, 500) and abs(head.kernel.mean().item()) < 2e-3
    # Uniform entries: kurtosis 1.8 where a normal distribution has 3.
    values = head.kernel.detach().flatten()
    assert float((values**4).mean() / (values**2).mean() ** 2) == pytest.approx(1.8, abs=0.1)


def test_cosines_do_not_depend_on_the_length_of_the_centres():
    head = make_head("cosface", 3, 2)
    head.kernel.data.copy_(torch.tensor([[3.0, 0.0], [0.0, 0.1], [0.0, 0.0]]))
    cosines = head.cosines(torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]]))
    torch.testing.assert_close(cosines, torch.tensor([[1.0, 0.0], [0.6, 0.8]]))  # not clamped


def test_published_margins_and_others():
    heads = {name: make_head(name, 4, 3) for name in MARGINS}
    assert [(type(h), h.m, h.s) for h in heads.values()] == [
        (AdaFace, 0.4, 64.0),
        (CosFace, 0.4, 64.0),
        (ArcFace, 0.5, 64.0),
    ]
    assert (heads["adaface"].h, heads["adaface"].t_alpha) == (0.333, 0.01)
    head = AdaFace(4, 3)
    head.m, head.h, head.s = 0.2, 0.1, 30.0
    embeddings, norms = unit(torch.randn(6, 4).double()), torch.rand(6, 1) * 60
    compare("adaface", head, embeddings, norms, torch.arange(6) % 3, m=0.2, h=0.1, s=30.0)
