"""CNN MINT on maps with and without a difference, and its layers against PyTorch's functions."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mint_utils.mint import cnn
from mint_utils.mint.fit import MintRecipe
from mint_utils.mint.protocol import Split

QUICK = MintRecipe(epochs=6, batch_size=32)
SHAPES = ((4, 9), (6, 2), (5, 1))  # channels and side of three stages


def planted(n=400, where=None):
    """Return maps of noise by stage; members' map 2 of a stage has a bright pixel in its upper left half."""
    generator = torch.Generator().manual_seed(0)
    stages = [torch.randn(n, c, s, s, generator=generator) for c, s in SHAPES]
    labels = np.arange(n) % 2 == 0
    if where is not None:
        # Of every image one pixel, only its place tells members: means and maxima do not.
        others = torch.from_numpy(~labels)
        stages[where][:, 2, 1, 1] += 6 * ~others
        stages[where][:, 2, -2, -2] += 6 * others
    return (lambda rows: [stage[torch.from_numpy(rows)] for stage in stages]), labels


def split(labels: np.ndarray, train=280) -> Split:
    rows = np.random.default_rng(1).permutation(len(labels))
    return Split(rows[:train], labels[rows[:train]], rows[train:], labels[rows[train:]])


def right(scores: np.ndarray, of: Split) -> np.ndarray:
    return ((scores > 0.5) == of.labels).mean(axis=1)


def test_a_place_that_no_maximum_tells_is_found_in_its_stage_and_in_no_other():
    maps, labels = planted(where=0)
    of = split(labels)
    found = right(cnn.fit(maps, [(of, 0)], QUICK)[0], of)
    assert found.shape == (4,)  # three stages and their mean
    assert found[0] > 0.95 and found[3] > 0.6
    assert abs(found[1:3] - 0.5).max() < 0.2


def test_exchangeable_maps_give_a_half():
    maps, labels = planted()
    of = split(labels)
    recipe = MintRecipe(epochs=3, batch_size=32)
    found = [right(scores, of) for scores in cnn.fit(maps, [(of, s) for s in range(2)], recipe)]
    assert abs(np.mean(found) - 0.5) < 0.1  # 120 images: the deviation is below .046


def test_a_seed_gives_the_same_whoever_is_trained_before_it():
    maps, labels = planted(200, where=0)
    of = split(labels, 140)
    recipe = MintRecipe(epochs=2, batch_size=32)
    one, two, again = cnn.fit(maps, [(of, 0), (of, 1), (of, 0)], recipe)
    alone = cnn.fit(maps, [(of, 1)], recipe)[0]
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(two, alone)
    assert abs(one - two).max() > 1e-3


def test_the_last_row_is_the_mean_of_the_stages():
    maps, labels = planted(200)
    scores = cnn.fit(maps, [(split(labels, 140), 0)], MintRecipe(epochs=1))[0]
    np.testing.assert_allclose(scores[-1], scores[:-1].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize(("channels", "side", "left"), [(16, 16, 4), (64, 56, 4), (8, 2, 1)])
def test_layers_are_those_of_the_docstring(channels, side, left):
    torch.manual_seed(0)
    model = cnn.CnnMint(channels, side, MintRecipe())
    x = 3 + 2 * torch.randn(7, channels, side, side)
    model.train()(x)  # sets the statistics
    model.eval()
    _, one, _, two, *_ = model.convolutions
    mean, var = x.mean(dim=(0, 2, 3)), x.transpose(0, 1).flatten(1).var(dim=1)
    h = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
    for layer in (one, two):
        h = F.conv2d(h, layer.weight, layer.bias, stride=2, padding=1).relu()
    h = F.adaptive_max_pool2d(h, left).flatten(1)
    assert h.shape[1] == 64 * left**2
    h = F.linear(h, model.second.weight, model.second.bias).relu()
    norm = model.norm
    h = (h - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    expected = F.linear(h, model.last.weight, model.last.bias)[:, 0]
    torch.testing.assert_close(model(x), expected, atol=2e-4, rtol=1e-4)


def test_dropped_units_do_not_count_and_the_rest_makes_up_for_them():
    model = cnn.CnnMint(3, 4, MintRecipe(dropout=0.5)).eval()
    x = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        none, every = model(x, torch.zeros(2, 128)), model(x, torch.ones(2, 128))
        bias = model.last.bias
        torch.testing.assert_close(none, bias.expand(2))
        torch.testing.assert_close(every - bias, 2 * (model(x) - bias), atol=1e-5, rtol=1e-4)
