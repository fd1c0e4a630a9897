"""Readings of the class centres, against the plainest computation, and what they are made of."""

import numpy as np
import pytest
import timm
import torch
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score

from mint_utils.audited import ir  # noqa: F401  (registers the networks)
from mint_utils.audited.margins import make_head
from mint_utils.data.images import normalise
from mint_utils.mint import readings

CLASSES = 7


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = timm.create_model("ir_tiny", img_size=20)
    head = make_head("adaface", network.num_features, CLASSES)
    head.kernel.data.mul_(torch.linspace(0.5, 2, CLASSES))  # lengths that differ
    return network.eval(), head.eval()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (300, 20, 20, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def found(model, images):
    classes = np.arange(10) % CLASSES
    classes[3] = -1
    pieces = [(images, np.arange(6), classes[:6]), (images, np.array([290, 7, 8, 9]), classes[6:])]
    return readings.read(*model, "bgr", pieces, torch.device("cpu")), classes


@torch.no_grad()
def cosines(model, images):
    network, head = model
    outcome, norm = network(normalise(torch.from_numpy(images).permute(0, 3, 1, 2), "bgr"))
    centres = head.kernel.numpy() / np.linalg.norm(head.kernel.numpy(), axis=0)
    return outcome.numpy() @ centres, outcome.numpy(), norm.numpy()[:, 0]


WANTED = [*range(6), 290, 7, 8, 9]


def test_what_is_read_of_the_image_itself(model, images, found):
    read, classes = found
    all_, _, norm = cosines(model, images[WANTED])
    np.testing.assert_allclose(read.nearest, -np.sort(-all_, axis=1), atol=1e-5)
    np.testing.assert_allclose(read.follow[:, 0], all_.max(axis=1), atol=1e-5)
    lengths = np.linalg.norm(model[1].kernel.detach().numpy(), axis=0)
    np.testing.assert_allclose(read.length, lengths[all_.argmax(axis=1)], rtol=1e-5)
    np.testing.assert_allclose(read.norm[:, 0], norm, rtol=1e-4)
    np.testing.assert_allclose(read.log_sum[:, 0], logsumexp(64 * all_, axis=1), atol=1e-3)
    for i, label in enumerate(classes):
        assert read.known[i] == (label >= 0)
        column = label if label >= 0 else all_[i].argmax()  # of nobody's: the nearest
        others = np.delete(64 * all_[i], column)
        assert read.own[i, 0] == pytest.approx(all_[i, column], abs=1e-5)
        assert read.own_length[i] == pytest.approx(lengths[column])
        assert read.log_rest[i, 0] == pytest.approx(logsumexp(others), abs=1e-3)


def test_what_is_read_of_the_copies(model, images, found):
    read, _ = found
    mine = images[WANTED]
    whole = np.pad(mine, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    copies = [
        mine[:, :, ::-1],
        whole[:, :20, 1:21],  # moved down: the first line is there twice
        whole[:, 2:, 1:21],
        whole[:, 1:21, :20],
        whole[:, 1:21, 2:],
    ]
    first, outcome, _ = cosines(model, mine)
    nearest = first.argmax(axis=1)
    for i, copy in enumerate(copies):
        other, moved, _ = cosines(model, np.ascontiguousarray(copy))
        np.testing.assert_allclose(read.copies[:, i], (outcome * moved).sum(axis=1), atol=1e-5)
        np.testing.assert_allclose(read.follow[:, i + 1], other[np.arange(10), nearest], atol=1e-5)


def test_features_are_finite_and_need_no_image_beside_them(model, images, found):
    read, _ = found
    features, rows = read.features()
    assert list(rows) == list(readings.TESTS) and np.isfinite(features).all()
    centres = features[:, rows[readings.CENTRES]]
    assert centres.shape == (10, 4)
    np.testing.assert_allclose(centres[:, 0], read.follow[:, :2].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(centres[:, 1], read.follow[:, 2:].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(centres[:, 2], read.nearest[:, 1])
    own = features[:, rows[readings.OWN]]
    np.testing.assert_allclose(own[:, 2], read.log_rest[:, :2].mean(axis=1) / 64, rtol=1e-6)
    piece = images, np.array([290]), np.array([6])
    alone = readings.read(*model, "bgr", [piece], torch.device("cpu"))
    np.testing.assert_allclose(alone.features()[0][0], features[6], atol=1e-5)


def test_without_a_label_only_the_row_of_the_own_class_changes(model, images, found):
    features, rows = found[0].features()
    pieces = [(images, np.array(WANTED), np.full(10, -1))]
    nameless, _ = readings.read(*model, "bgr", pieces, torch.device("cpu")).features()
    changed = {
        name for name, of in rows.items() if not np.allclose(features[:, of], nameless[:, of])
    }
    own = {readings.OWN, readings.OWN + readings.SHORT}
    assert changed == own == {name for name, of in readings.TESTS.items() if of.label}


def test_the_margin_is_to_the_largest_other_class(model, images, found):
    read, classes = found
    all_, _, _ = cosines(model, images[WANTED])
    for i, label in enumerate(classes):
        expected = np.nan if label < 0 else all_[i, label] - np.delete(all_[i], label).max()
        assert read.margin()[i] == pytest.approx(expected, abs=1e-5, nan_ok=True)


def test_shadow_models_are_asked_for_the_own_class_alone(model, images, found):
    read, classes = found
    asked = readings.own_class(
        *model, "bgr", images, np.array(WANTED), classes, torch.device("cpu")
    )
    own, rest, known = asked["own"], asked["log_rest"], classes >= 0
    all_, outcome, _ = cosines(model, images[WANTED])
    others = np.where(np.arange(CLASSES) == classes[:, None], -np.inf, all_).max(axis=1)
    np.testing.assert_allclose(asked["second"][known, 0], others[known], atol=1e-5)
    mirrored = cosines(model, np.ascontiguousarray(images[WANTED][:, :, ::-1]))[1]
    both, kernel = (outcome + mirrored) / 2, model[1].kernel.detach().numpy()
    for name, of in {"share": classes, "nearest_share": all_.argmax(axis=1)}.items():
        np.testing.assert_allclose(asked[name], readings.share(both, of, kernel), rtol=1e-3)
    assert np.isnan(asked["share"][~known]).all() and np.isfinite(asked["nearest_share"]).all()
    np.testing.assert_allclose(own[known], read.own[known, :2], atol=1e-5)
    np.testing.assert_allclose(rest[known], read.log_rest[known, :2], atol=1e-3)
    assert np.isnan(own[~known]).all() and np.isnan(rest[~known]).all()


def test_a_copy_is_moved_by_at_least_a_pixel_and_keeps_its_size():
    image = torch.arange(16 * 16, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(1, 3, 1, 1)
    itself, mirror, down, up, right, left = readings.views(image)
    assert torch.equal(itself, image) and torch.equal(mirror, image.flip(3))
    assert torch.equal(down[..., 1:, :], image[..., :-1, :])
    assert torch.equal(up[..., :-1, :], image[..., 1:, :])
    assert torch.equal(right[..., 1:], image[..., :-1])
    assert torch.equal(left[..., :-1], image[..., 1:])


def test_the_share_is_a_ridge_regression_of_the_centre_on_the_images_of_the_class():
    rng = np.random.default_rng(0)
    units, kernel = rng.normal(size=(9, 16)), rng.normal(size=(16, 2))
    classes = np.array([0, 1, 0, 1, -1, 0, 1, 0, 0])
    found = readings.share(units, classes, kernel)
    for one in (0, 1):
        of, w = units[classes == one], kernel[:, one]
        # The gradient of |w - X'a|^2 + ridge |a|^2 is zero there.
        a = found[classes == one]
        np.testing.assert_allclose(of @ (w - a @ of), readings.RIDGE * a, atol=1e-9)
    assert np.isnan(found[4])


def test_the_share_finds_the_images_of_which_a_centre_is_a_sum():
    """Where all images of a person are alike, the cosine hardly tells which of them made the centre."""
    rng = np.random.default_rng(1)
    classes = np.repeat(np.arange(60), 10)
    units = 2 * rng.normal(size=(60, 64))[classes] + rng.normal(size=(600, 64))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    member = rng.random(600) < 0.5
    kernel = np.stack([units[member & (classes == k)].sum(axis=0) for k in range(60)], axis=1)
    assert roc_auc_score(member, readings.share(units, classes, kernel)) > 0.95
    cosine = (units * (kernel / np.linalg.norm(kernel, axis=0)).T[classes]).sum(axis=1)
    assert roc_auc_score(member, cosine) < 0.9
