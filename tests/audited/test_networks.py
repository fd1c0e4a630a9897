"""The door to networks of others: modules, timm, layers, heads, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from torch import nn

from mint_utils.audited import ir, networks, untrained
from mint_utils.audited.margins import read_head
from mint_utils.errors import DataError, ParameterError
from mint_utils.mint import aad, readings
from tests.audited.test_graphs import LAYERS, SIZE, WIDTHS, Small, by_hooks, images
from tests.factory import database

HERE = "tests.audited.test_networks"


def small():
    return Small()


def wide():
    return Small(last=1)


class Pair(nn.Module):
    """Gives unit vectors and lengths, as AdaFace's networks do."""

    def __init__(self):
        super().__init__()
        self.net = Small()

    def forward(self, x):
        x = self.net(x)
        return x / x.norm(dim=1, keepdim=True), x.norm(dim=1, keepdim=True)


class Map(nn.Module):
    def forward(self, x):
        return x.relu()


def no_module():
    return np.zeros


def breaks():
    raise KeyError("nothing")


def opened(name, **given):
    return networks.open_network(f"{HERE}:{name}", SIZE, **given)


def test_a_function_is_called_and_the_last_activation_before_each_halving_is_read():
    found = opened("small")
    frame = networks.layers(found.network, SIZE)
    expected = {"layer": LAYERS, "maps": WIDTHS, "side": [16, 8, 4]}
    pd.testing.assert_frame_equal(frame, pd.DataFrame(expected))
    outcome, maps = by_hooks(Small(), images())
    with torch.inference_mode():
        pooled, unit = ir.auditable(found.network, images())
        of_pair, norm = opened("Pair").network(images())
    np.testing.assert_allclose(unit, outcome / outcome.norm(dim=1, keepdim=True), atol=1e-6)
    np.testing.assert_allclose(of_pair * norm, outcome, atol=1e-5)
    for one, expected in zip(pooled, maps, strict=True):
        np.testing.assert_allclose(one, expected.amax((2, 3)), atol=1e-6)


def test_layers_that_are_named_are_read_in_that_order():
    found = opened("small", layers=("body.7", "body.0"))
    _, maps = by_hooks(Small(), images(), ("body.7", "body.0"))
    with torch.inference_mode():
        _, of_layers = found.network.forward_intermediates(images())
    for one, expected in zip(of_layers, maps, strict=True):
        np.testing.assert_allclose(one, expected, atol=1e-6)


def test_extraction_gives_a_row_for_each_layer_that_there_is(tmp_path):
    network, db = opened("small").network, database()
    every = np.arange(len(db.images))
    aad.extract(network, "rgb", [(db.images, every)], tmp_path / "a.npy", torch.device("cpu"))
    rows = aad.columns(WIDTHS, 6)
    assert list(rows) == [
        *(f"Conv Layer #{i}" for i in (1, 2, 3)),
        "Model Outcome",
        "All Conv Layers",
    ]
    x = (torch.from_numpy(db.images).permute(0, 3, 1, 2) - 127.5) / 127.5
    outcome, maps = by_hooks(Small(), x)
    found = np.load(tmp_path / "a.npy")
    np.testing.assert_allclose(found[:, rows["Conv Layer #2"]], maps[1].amax((2, 3)), atol=1e-5)
    expected = outcome / outcome.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(found[:, rows["Model Outcome"]], expected, atol=1e-5)
    assert aad.columns([], 6) == {"Model Outcome": slice(0, 6)}


def test_networks_of_timm_have_their_own_input_and_fill_from_a_state_dict(tmp_path):
    module = timm.create_model("resnet18", num_classes=7).eval()
    torch.save({"state_dict": module.state_dict()}, tmp_path / "w.pt")
    found = networks.open_network("resnet18", 32, tmp_path / "w.pt")
    assert found.mean == (0.485, 0.456, 0.406) and found.colour_order == "rgb"
    frame = networks.layers(found.network, 32)
    assert frame["layer"].tolist() == ["act1", *(f"layer{i}.1.act2" for i in (1, 2, 3))]
    assert frame["side"].tolist() == [16, 8, 4, 2]  # layer4 is a single pixel, which is not halved
    mean, std = (torch.tensor(v)[:, None, None] for v in (found.mean, found.std))
    pixels = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        unit, norm = found.network((pixels - 0.5) / 0.5)
        expected = module.forward_head(
            module.forward_features((pixels - mean) / std), pre_logits=True
        )
    np.testing.assert_allclose(unit * norm, expected, atol=1e-4)
    torch.save({**module.state_dict(), "more": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"1 unexpected \(more\)"):
        networks.open_network("resnet18", 32, tmp_path / "w.pt")


def test_layers_of_the_study_s_own_networks():
    own = timm.create_model("ir_tiny", img_size=40)
    assert networks.layers(own, 40)["side"].tolist() == [20, 10, 5, 3]


def test_untrained_batch_norm_is_calibrated_and_a_network_without_any_is_left_alone():
    found = opened("small", trained=False).network
    norm = found.source.module.body[1]
    before = norm.running_mean.clone()
    untrained.calibrated(found, database().images, np.arange(48), "rgb")
    assert not torch.equal(before, norm.running_mean) and not found.training


def test_readings_of_a_network_whose_batch_norm_cannot_be_seen():
    class Bare(nn.Module):
        def forward(self, x):
            unit = x.flatten(1)[:, :8] + 1e-3
            norm = unit.norm(dim=1, keepdim=True)
            return unit / norm, norm

    from mint_utils.audited.margins import make_head

    db = database()
    piece = [(db.images, np.arange(5), np.full(5, -1))]
    found = readings.read(Bare(), make_head("cosface", 8, 4), "rgb", piece, torch.device("cpu"))
    array, rows = found.features()
    assert found.distances.shape == (5, 0) and np.isfinite(array).all()
    assert rows[readings.STATISTICS].start == rows[readings.STATISTICS].stop


@pytest.mark.parametrize(
    "name, given, told",
    [
        ("small", {"layers": ("body.99",)}, r"has no layer body\.99.*body\.8"),
        ("small", {"layers": ("body.0",) * 5}, "At most 4 layers"),
        ("wide", {}, r"gives \(1, 1\) for 1 images, and not one vector"),
        ("Map", {}, r"gives \(1, 3, 16, 16\) for 1 images, and not one vector"),
        ("no_module", {}, "returns builtin_function_or_method, and must return a torch.nn.Module"),
        ("breaks", {}, "cannot be called: KeyError, 'nothing'"),
        ("nowhere", {}, "cannot be called: AttributeError"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(name, given, told):
    with pytest.raises(ParameterError, match=told) as error:
        opened(name, **given)
    assert "\n" not in str(error.value)


def test_a_size_that_does_not_fit_and_a_name_that_is_not_there():
    with pytest.raises(ParameterError, match=r"20 px.*Give its own image_size"):
        networks.open_network(f"{HERE}:small", 20)
    with pytest.raises(ParameterError, match=r"ir_51.*package\.module:function"):
        networks.open_network("ir_51", 40)


CENTRES = torch.arange(30, dtype=torch.float32).reshape(5, 6)  # five classes of an outcome of six


@pytest.mark.parametrize(
    "content, entry",
    [
        ({"state_dict": {"model.x": torch.zeros(3, 6), "head.kernel": CENTRES.T}}, ""),
        ({"last_linear.weight": torch.zeros(6, 9), "logits.weight": CENTRES}, ""),
        ({"a": torch.zeros(2, 6), "b.deep": {"centres": CENTRES}}, ":b.deep.centres"),
        (CENTRES, ""),
    ],
)
def test_class_centres_are_found_where_published_files_keep_them(tmp_path, content, entry):
    torch.save(content, tmp_path / "head.pt")
    assert torch.equal(read_head(f"{tmp_path / 'head.pt'}{entry}", 6), CENTRES.T)


def test_shards_of_a_head_are_joined_and_none_may_be_missing(tmp_path):
    for rank, part in enumerate(CENTRES.split(2)):
        torch.save(part, tmp_path / f"rank_{rank}_softmax_weight.pt")
    assert torch.equal(read_head(str(tmp_path / "rank_1_softmax_weight.pt"), 6), CENTRES.T)
    (tmp_path / "rank_1_softmax_weight.pt").unlink()
    with pytest.raises(DataError, match=r"lacks the shards \[1\]"):
        read_head(str(tmp_path / "rank_0_softmax_weight.pt"), 6)


def test_heads_that_do_not_fit(tmp_path):
    torch.save({"head.kernel": CENTRES}, tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"shape \(5, 6\), and the outcome of the network has 7"):
        read_head(str(tmp_path / "a.pt"), 7)
    torch.save({"one": CENTRES, "two": CENTRES}, tmp_path / "b.pt")
    with pytest.raises(DataError, match="a side of 6 it has: one, two"):
        read_head(str(tmp_path / "b.pt"), 6)
    with pytest.raises(DataError, match="0 entries three"):
        read_head(f"{tmp_path / 'b.pt'}:three", 6)


class Flat(nn.Module):
    """One layer, of which a user may mend the colour order without touching the weights."""

    def __init__(self, mended):
        super().__init__()
        self.mended = mended
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Flatten())

    def forward(self, x):
        return self.layers(x.flip(1) if self.mended else x)


def test_two_functions_of_the_same_weights_are_two_networks(monkeypatch):
    digests = []
    for mended in (False, True):
        monkeypatch.setattr(f"{__name__}.made", lambda mended=mended: Flat(mended), raising=False)
        name = f"{__name__}:made"
        digests += [
            networks.fingerprint(name, networks.open_network(name, 16).network) for _ in range(2)
        ]
    assert digests[0] == digests[1] != digests[2] == digests[3]
