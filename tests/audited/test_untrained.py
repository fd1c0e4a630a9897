"""Calibrated BatchNorm statistics against moments computed in float64 over all images."""

import numpy as np
import pytest
import torch
from torch import nn

from mint_utils.audited import train, untrained
from mint_utils.data.images import normalise
from mint_utils.errors import ParameterError
from tests.factory import database, recipe

EVERY = np.arange(48)


def network(**changes) -> nn.Module:
    return train.build(recipe(**changes), 16, 8)[0]


def first_inputs(net: nn.Module, images: np.ndarray) -> np.ndarray:
    """Return the input of the first BatchNorm in float64: a convolution of the normalised images."""
    inputs = normalise(torch.from_numpy(images).permute(0, 3, 1, 2), "bgr")
    convolution = net.input_layer[0]
    with torch.no_grad():
        return nn.functional.conv2d(
            inputs.double(), convolution.weight.double(), padding=convolution.padding
        ).numpy()


def test_first_statistics_are_the_moments_over_all_images():
    net, images = network(), database().images
    expected = first_inputs(net, images)
    untrained.calibrated(net, images, EVERY, "bgr")
    norm = net.input_layer[1]
    np.testing.assert_allclose(norm.running_mean, expected.mean(axis=(0, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(norm.running_var, expected.var(axis=(0, 2, 3), ddof=1), rtol=1e-5)


def test_many_batches_give_nearly_the_moments_of_one_even_of_sorted_images(monkeypatch):
    net, images = network(), database().images.copy()
    images[24:] = 255 - images[:24] // 4  # the second half is bright
    expected = first_inputs(net, images)
    monkeypatch.setattr(untrained, "BATCH", 24)
    untrained.calibrated(net, images, EVERY, "bgr")
    norm = net.input_layer[1]
    np.testing.assert_allclose(norm.running_mean, expected.mean(axis=(0, 2, 3)), atol=1e-5)
    # In their own order the batches would lack the variance between dark and bright images.
    np.testing.assert_allclose(norm.running_var, expected.var(axis=(0, 2, 3)), rtol=0.1)


def test_only_the_chosen_images_count():
    one, two = network(), network()
    images = database().images
    changed = np.where((np.arange(48) < 20)[:, None, None, None], images, 0).astype(np.uint8)
    untrained.calibrated(one, images, EVERY[:20], "bgr")
    untrained.calibrated(two, changed, EVERY[:20], "bgr")
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])


def test_weights_momenta_and_dropout_stay_and_the_mode_is_evaluation():
    net = network(dropout=0.4)
    before = {name: value.clone() for name, value in net.named_parameters()}
    untrained.calibrated(net, database().images, EVERY, "bgr")
    assert all(torch.equal(value, before[name]) for name, value in net.named_parameters())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(module.training for module in net.modules())
    assert net.output_layer[1].p == 0.4
    assert {m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_dropout_is_off_and_the_global_generator_does_not_matter():
    states = []
    for seed, dropout in ((1, 0.0), (2, 0.4)):
        net = network(dropout=dropout)
        torch.manual_seed(seed)
        states.append(untrained.calibrated(net, database().images, EVERY, "bgr").state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_statistics_no_longer_depend_on_the_batch():
    net = untrained.calibrated(network(), database().images, EVERY, "bgr")
    inputs = normalise(torch.from_numpy(database(seed=1).images).permute(0, 3, 1, 2), "bgr")
    with torch.no_grad():
        whole, part = net(inputs)[0], net(inputs[:5])[0]
    torch.testing.assert_close(whole[:5], part, atol=1e-5, rtol=0)


def test_one_image_has_no_variance():
    with pytest.raises(ParameterError, match="from 1 images"):
        untrained.calibrated(network(), database().images, EVERY[:1], "bgr")
