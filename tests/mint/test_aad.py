"""The auditable data against hooks on the network, image by image."""

import numpy as np
import pytest
import timm
import torch

from mint_utils.audited import ir
from mint_utils.audited.margins import make_head
from mint_utils.mint import aad, batches
from tests.factory import database

CPU = torch.device("cpu")


def test_the_columns_of_the_paper():
    assert aad.columns([64, 128, 256, 512], 512) == {
        "Conv Layer #1": slice(0, 64),
        "Conv Layer #2": slice(64, 192),
        "Conv Layer #3": slice(192, 448),
        "Conv Layer #4": slice(448, 960),
        "Model Outcome": slice(960, 1472),
        "All Conv Layers": slice(0, 960),
    }


@torch.inference_mode()
def by_hooks(network, image: np.ndarray) -> np.ndarray:
    """Return the row of one image, read by hooks on the modules that feature_info names."""
    seen = {}
    hooks = [
        network.get_submodule(info["module"]).register_forward_hook(
            lambda _m, _i, out, name=info["module"]: seen.__setitem__(name, out)
        )
        for info in network.feature_info
    ]
    bgr = image[:, :, ::-1].astype(np.float32) / 127.5 - 1
    outcome, _ = network(torch.from_numpy(bgr.transpose(2, 0, 1).copy())[None])
    for hook in hooks:
        hook.remove()
    maps = [seen[info["module"]][0].flatten(1).max(dim=1).values for info in network.feature_info]
    return torch.cat([*maps, outcome[0]]).numpy()


def test_rows_are_the_maxima_of_the_stage_ends_then_the_outcome(tmp_path, network):
    one, two = database(seed=1), database(seed=2)
    pieces = [(one.images, np.array([3, 1, 40])), (two.images, np.array([0, 47]))]
    aad.extract(network, "bgr", pieces, tmp_path / "features.npy", CPU)
    features = np.load(tmp_path / "features.npy", mmap_mode="r")
    images = [one.images[3], one.images[1], one.images[40], two.images[0], two.images[47]]
    expected = np.stack([by_hooks(network, image) for image in images])
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=2e-5)


def test_batches_do_not_show(tmp_path, network, monkeypatch):
    db, every = database(), np.arange(48)
    aad.extract(network, "bgr", [(db.images, every)], tmp_path / "a.npy", CPU)
    monkeypatch.setattr(batches, "BATCH", 7)
    aad.extract(network, "bgr", [(db.images, every)], tmp_path / "b.npy", CPU)
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"), atol=2e-5)


def test_extraction_changes_nothing_in_the_network(tmp_path, network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    aad.extract(network, "bgr", [(database().images, np.arange(9))], tmp_path / "a.npy", CPU)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_outcome_is_a_unit_vector(tmp_path, network):
    aad.extract(network, "bgr", [(database().images, np.arange(9))], tmp_path / "a.npy", CPU)
    outcome = np.load(tmp_path / "a.npy")[:, sum(i["num_chs"] for i in network.feature_info) :]
    np.testing.assert_allclose((outcome**2).sum(axis=1), 1, atol=1e-5)


def test_embedding_is_that_of_the_image_and_its_mirror(network):
    db = database()
    found = aad.embed(network, "bgr", db.images, CPU)
    mirrored = aad.embed(network, "bgr", db.images[:, :, ::-1], CPU)
    np.testing.assert_allclose(found, mirrored, atol=2e-4)
    assert abs(found - aad.embed(network, "rgb", db.images, CPU)).max() > 1e-3  # order matters


def test_identification_is_the_nearest_centre_by_hand(network):
    torch.manual_seed(1)
    head = make_head("cosface", network.num_features, 8)
    db = database()
    centres = head.kernel.detach().T.numpy()
    centres = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    outcome = np.stack([by_hooks(network, image)[-network.num_features :] for image in db.images])
    expected = (outcome @ centres.T).argmax(axis=1)
    found = aad.identify(network, head, "bgr", db.images, CPU)
    assert (found == expected).mean() > 0.95  # ties within rounding may fall either way


def test_means_of_the_maps_by_hand():
    """Four maps of one image, then the outcome, which pooling does not touch."""
    network = timm.create_model("ir_tiny", img_size=16).eval()
    ramp = torch.arange(16.0).reshape(1, 1, 4, 4)
    stages = [torch.cat([ramp, -ramp], dim=1), ramp * 2, ramp + 1, ramp * 0]
    outcome = torch.tensor([[0.6, 0.8]])
    network.forward_intermediates = lambda x: (x, stages)
    network.forward_head = lambda x: (outcome, None)
    found = {how: ir.auditable(network, torch.zeros(1), how) for how in ("max", "mean")}
    as_lists = {how: [pooled.tolist() for pooled in rows] for how, (rows, _) in found.items()}
    assert as_lists["max"] == [[[15, 0]], [[30]], [[16]], [[0]]]
    assert as_lists["mean"] == [[[7.5, -7.5]], [[15]], [[8.5]], [[0]]]
    assert all(torch.equal(y, outcome) for _, y in found.values())


def test_the_mean_is_extracted_too_and_the_maximum_is_the_default(tmp_path, network):
    db, rows = database(), np.arange(5)
    for name, more in {"plain": (), "max": ("max",), "mean": ("mean",)}.items():
        aad.extract(network, "bgr", [(db.images, rows)], tmp_path / f"{name}.npy", CPU, *more)
    plain, most, mean = (np.load(tmp_path / f"{n}.npy") for n in ("plain", "max", "mean"))
    np.testing.assert_array_equal(plain, most)
    assert (mean[:, :240] <= most[:, :240]).all() and (mean[:, 239] == most[:, 239]).all()
    np.testing.assert_array_equal(mean[:, 240:], most[:, 240:])


@pytest.mark.parametrize("kept", [0, 1 << 30])
def test_maps_are_those_whose_maxima_are_extracted_held_or_computed_again(
    kept, tmp_path, network, monkeypatch
):
    monkeypatch.setitem(aad.KEPT_BYTES, "cpu", kept)
    one, two = database(seed=1), database(seed=2)
    pieces = [(one.images, np.array([3, 1, 40])), (two.images, np.array([0, 47]))]
    aad.extract(network, "bgr", pieces, tmp_path / "features.npy", CPU)
    features = np.load(tmp_path / "features.npy")
    rows = np.array([4, 0, 3, 2])
    maps = aad.maps(network, "bgr", pieces, CPU)(rows)
    assert [stage.shape[2] for stage in maps] == [8, 4, 2, 1]
    maxima = torch.cat([stage.amax(dim=(2, 3)) for stage in maps], dim=1)
    np.testing.assert_allclose(maxima, features[rows, :240], atol=2e-5)
    torch.nn.functional.conv2d(
        maps[0], torch.ones(1, 16, 1, 1, requires_grad=True)
    ).sum().backward()
