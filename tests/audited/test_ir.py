import argparse
import io
import math
import zipfile

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from mint_utils.audited.ir import COLOUR_ORDERS, IRNet, auditable, load_weights
from mint_utils.audited.margins import load_centres
from mint_utils.errors import DataError

NAMES = ("ir_50", "ir_18", "ir_small", "ir_tiny")


@pytest.fixture(scope="module")
def ir_50():
    return timm.create_model("ir_50", img_size=112, drop_rate=0.4).eval()


def tiny(seed=0, **kwargs) -> IRNet:
    """An ir_tiny whose every entry has values that no other network has, in evaluation mode."""
    torch.manual_seed(seed)
    return randomised(timm.create_model("ir_tiny", **kwargs)).eval()


def randomised(network: nn.Module) -> nn.Module:
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif value.is_floating_point() and value.ndim < 2:
            value.uniform_(-0.5, 1)
    return network


# ---- the network ---------------------------------------------------------------------------------


def test_ir_50_is_the_published_network(ir_50):
    assert sum(p.numel() for p in ir_50.parameters()) == 43_585_600
    shapes = {name: tuple(value.shape) for name, value in ir_50.state_dict().items()}
    assert len(shapes) == 467
    assert shapes["input_layer.0.weight"] == (64, 3, 3, 3)
    assert shapes["input_layer.1.running_mean"] == shapes["input_layer.2.weight"] == (64,)
    assert shapes["body.0.res_layer.1.weight"] == (64, 64, 3, 3)
    assert shapes["body.3.res_layer.0.bias"] == (64,) and shapes["body.3.res_layer.5.bias"] == (
        128,
    )
    assert shapes["body.3.shortcut_layer.0.weight"] == (128, 64, 1, 1)
    assert shapes["body.7.shortcut_layer.1.running_var"] == (256,)
    assert shapes["body.20.res_layer.3.weight"] == (256,)
    assert shapes["body.23.res_layer.4.weight"] == (512, 512, 3, 3)
    assert shapes["output_layer.0.weight"] == (512,)
    assert shapes["output_layer.3.weight"] == (512, 25088) and shapes["output_layer.3.bias"] == (
        512,
    )
    assert shapes["output_layer.4.running_mean"] == (512,)
    assert (
        not {"body.0.shortcut_layer.0.weight", "output_layer.4.weight", "body.24"} & shapes.keys()
    )
    assert {n.split(".")[1] for n in shapes if "shortcut" in n} == {"3", "7", "21"}
    assert [m.p for m in ir_50.modules() if isinstance(m, nn.Dropout)] == [0.4]
    assert ir_50.num_features == 512


def test_ir_50_takes_6_3_billion_multiplications(ir_50):
    count = []

    def hook(module, _, output):
        each = module.weight[0].numel()  # multiplications for each number that comes out
        count.append(each * output.numel())

    layers = [m for m in ir_50.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    with torch.inference_mode():
        ir_50(torch.zeros(1, 3, 112, 112))
    for handle in handles:
        handle.remove()
    assert round(sum(count) / 1e9, 1) == 6.3


def test_stage_outputs_are_those_of_the_stages_last_units(ir_50):
    seen = {}
    handles = [
        ir_50.body[i].register_forward_hook(lambda m, _, y, i=i: seen.__setitem__(i, y))
        for i in (2, 6, 20, 23)
    ]
    x = torch.randn(2, 3, 112, 112)
    with torch.inference_mode():
        last, stages = ir_50.forward_intermediates(x)
        expected = [seen[i].clone() for i in (2, 6, 20, 23)]
        maps, outcome = auditable(ir_50, x)
        unit, norm = ir_50(x)
    for handle in handles:
        handle.remove()
    assert [tuple(s.shape[1:]) for s in stages] == [
        (64, 56, 56),
        (128, 28, 28),
        (256, 14, 14),
        (512, 7, 7),
    ]
    assert all(torch.equal(a, b) for a, b in zip(stages, expected, strict=True))
    assert torch.equal(last, expected[-1]) and torch.equal(outcome, unit)
    assert all(
        torch.equal(m, e.flatten(2).max(2).values) for m, e in zip(maps, expected, strict=True)
    )
    assert sum(m.shape[1] for m in maps) == 960 and norm.shape == (2, 1)
    assert [i["module"] for i in ir_50.feature_info] == ["body.2", "body.6", "body.20", "body.23"]
    assert [i["reduction"] for i in ir_50.feature_info] == [2, 4, 8, 16]


def reference(state, units, x, batch_statistics):
    """The whole network from its state dict by plain functions, in the state's own precision."""

    def norm(x, name):
        weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        axes = [0, *range(2, x.ndim)]
        if batch_statistics:
            mean, var = x.mean(axes), x.var(axes, unbiased=False)
        shape = [1, -1] + [1] * (x.ndim - 2)
        y = (x - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
        return y if weight is None else y * weight.view(shape) + bias.view(shape)

    def prelu(x, name):
        return torch.where(x > 0, x, x * state[f"{name}.weight"].view(-1, 1, 1))

    def conv(x, name, stride=1, padding=1):
        return F.conv2d(x, state[f"{name}.weight"], stride=stride, padding=padding)

    x = prelu(norm(conv(x, "input_layer.0"), "input_layer.1"), "input_layer.2")
    starts = np.cumsum([0, *units[:-1]])
    for i in range(sum(units)):
        stride, unit = (2 if i in starts else 1), f"body.{i}"
        y = norm(x, f"{unit}.res_layer.0")
        y = norm(conv(y, f"{unit}.res_layer.1"), f"{unit}.res_layer.2")
        y = conv(prelu(y, f"{unit}.res_layer.3"), f"{unit}.res_layer.4", stride)
        y = norm(y, f"{unit}.res_layer.5")
        if f"{unit}.shortcut_layer.0.weight" in state:
            x = norm(conv(x, f"{unit}.shortcut_layer.0", stride, 0), f"{unit}.shortcut_layer.1")
        else:
            x = F.max_pool2d(x, 1, stride)
        x = x + y
    x = norm(x, "output_layer.0").flatten(1)
    x = F.linear(x, state["output_layer.3.weight"], state["output_layer.3.bias"])
    x = norm(x, "output_layer.4")
    length = (x**2).sum(1, keepdim=True).sqrt()
    return x / length, length


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("units", [(1, 1, 1, 1), (2, 1, 1, 2)])
def test_every_operation_is_the_published_one(units, training):
    torch.manual_seed(1)
    network = IRNet(units, (4, 6, 8, 10), 12, img_size=21, drop_rate=0.0)
    network = randomised(network).double().train(training)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.randn(3, 3, 21, 21).double()
    unit, norm = network(x.clone())
    expected = reference(state, units, x, training)
    torch.testing.assert_close(unit, expected[0])
    torch.testing.assert_close(norm, expected[1])


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize("size", [40, 56, 112])
def test_any_image_size(name, size):
    network = timm.create_model(name, img_size=size).eval()
    sides = [math.ceil(size / 2**i) for i in (1, 2, 3, 4)]
    with torch.inference_mode():
        last, stages = network.forward_intermediates(torch.zeros(1, 3, size, size))
        unit, _ = network.forward_head(last)
    assert [s.shape[-1] for s in stages] == sides
    assert [s.shape[1] for s in stages] == [i["num_chs"] for i in network.feature_info]
    assert unit.shape == (1, network.num_features)


def test_sizes_of_the_relatives():
    made = {name: timm.create_model(name) for name in NAMES[1:]}
    widths = {name: [i["num_chs"] for i in n.feature_info] for name, n in made.items()}
    assert widths["ir_18"] == [64, 128, 256, 512]
    assert widths["ir_small"] == [32, 64, 128, 256] and widths["ir_tiny"] == [16, 32, 64, 128]
    assert {name: n.num_features for name, n in made.items()} == {
        "ir_18": 512,
        "ir_small": 256,
        "ir_tiny": 128,
    }
    assert {name: len(n.body) for name, n in made.items()} == {
        "ir_18": 8,
        "ir_small": 8,
        "ir_tiny": 4,
    }
    assert sum(p.numel() for p in made["ir_18"].parameters()) == 24_020_352


def test_ir_101_is_the_published_network():
    """By its four stages and its number of parameters, 65.15 million."""
    network = timm.create_model("ir_101")
    assert [info["module"] for info in network.feature_info] == [
        "body.2",
        "body.15",
        "body.45",
        "body.48",
    ]
    assert sum(p.numel() for p in network.parameters()) == 65_150_912


def test_class_centres_are_those_of_the_head(tmp_path):
    network, kernel = tiny(), torch.randn(128, 7)
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state | {"head.kernel": kernel}}, tmp_path / "a.ckpt")
    assert torch.equal(load_centres(tmp_path / "a.ckpt", len(kernel)), kernel)
    assert load_weights(tiny(), tmp_path / "a.ckpt") == "adaface"
    assert load_centres(network.state_dict(), 128) is None


def test_timm_knows_the_networks():
    assert set(NAMES) <= set(timm.list_models("ir_*"))
    with pytest.raises(TypeError):
        timm.create_model("ir_tiny", image_size=40)


def test_outcome_is_a_unit_vector_and_evaluation_is_deterministic():
    network = tiny(drop_rate=0.4)
    x = torch.randn(3, 3, 40, 40)
    unit, norm = network(x)
    again, _ = network(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(3))
    assert torch.equal(unit, network(x)[0]) and (norm > 0).all()
    torch.testing.assert_close(unit, again, rtol=1e-4, atol=1e-5)
    network.train()
    assert not torch.equal(network(x)[0], network(x)[0])  # dropout


def test_length_and_unit_vector_are_float32_under_autocast():
    network, x = tiny(), torch.randn(2, 3, 40, 40)
    with torch.autocast("cpu", torch.bfloat16):
        unit, norm = network(x)
    assert unit.dtype == norm.dtype == torch.float32
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(2))


def test_weights_start_as_published():
    torch.manual_seed(0)
    network = timm.create_model("ir_small")
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):  # fan out, ReLU
            expected = math.sqrt(2 / (layer.out_channels * layer.kernel_size[0] ** 2))
        elif isinstance(layer, nn.Linear):
            expected = math.sqrt(2 / layer.out_features)
            assert (layer.bias == 0).all()
        else:
            continue
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.1)
        assert abs(layer.weight.mean().item()) < 0.1 * expected


def test_forward_is_one_graph():
    report = torch._dynamo.explain(tiny())(torch.randn(2, 3, 40, 40))
    assert report.graph_count == 1 and report.graph_break_count == 0


# ---- published weights ---------------------------------------------------------------------------


def lightning(network):
    weights = {f"model.{name}": value for name, value in network.state_dict().items()}
    return {
        "epoch": 25,
        "state_dict": weights | {"head.kernel": torch.zeros(2, 3), "head.t": torch.ones(1)},
    }


@pytest.mark.parametrize(
    "layout",
    [
        lambda n: n.state_dict(),
        lambda n: {f"model.{name}": value for name, value in n.state_dict().items()},
        lightning,
        lambda n: {"state_dict": n.state_dict()},
    ],
)
@pytest.mark.parametrize("as_file", [True, False])
def test_adaface_s_layouts(layout, as_file, tmp_path):
    source, target, x = tiny(1), tiny(2), torch.randn(2, 3, 40, 40)
    content = layout(source)
    if as_file:
        torch.save(content, tmp_path / "weights.ckpt")
        content = tmp_path / "weights.ckpt"
    assert load_weights(target, content) == "adaface" and COLOUR_ORDERS["adaface"] == "bgr"
    assert torch.equal(target(x)[0], source(x)[0]) and torch.equal(target(x)[1], source(x)[1])


def test_files_from_before_pytorch_1_6(tmp_path):
    torch.save(tiny(1).state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert load_weights(tiny(2), str(tmp_path / "old.pth")) == "adaface"


class Callback:
    ran = False

    def __setstate__(self, state):
        Callback.ran = True


def test_classes_named_in_a_checkpoint_are_not_run(tmp_path):
    source, target = tiny(1), tiny(2)
    callback = Callback()
    callback.best = 0.5
    torch.save(
        lightning(source)
        | {
            "callbacks": {Callback: {"best": 1}},
            "hparams": argparse.Namespace(lr=0.1),
            "c": callback,
        },
        tmp_path / "lightning.ckpt",
    )
    assert load_weights(target, tmp_path / "lightning.ckpt") == "adaface"
    assert not Callback.ran
    assert torch.equal(target.body[1].res_layer[1].weight, source.body[1].res_layer[1].weight)


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused(tmp_path, zipped):
    content = lightning(tiny()) | {"attack": Attack(tmp_path / "owned")}
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"evil.pth cannot be read as weights alone"):
        load_weights(tiny(), tmp_path / "evil.pth")
    assert not (tmp_path / "owned").exists()


class IUnit(nn.Module):
    """InsightFace's IBasicBlock, from its names and order of operations."""

    def __init__(self, width_in, width, stride):
        super().__init__()
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(w) for w in (width_in, width, width))
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.prelu = nn.PReLU(width)
        if stride > 1:  # also where the width stays, which AdaFace's has not
            one = nn.Conv2d(width_in, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(one, nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return y + (self.downsample(x) if hasattr(self, "downsample") else x)


class IResNet(nn.Module):
    def __init__(self, units=(1, 2, 1, 2), widths=(4, 6, 8, 10), embedding=12, side=3):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1, self.prelu = nn.BatchNorm2d(widths[0]), nn.PReLU(widths[0])
        width_in = widths[0]
        for s, (count, width) in enumerate(zip(units, widths, strict=True), 1):
            stage = [IUnit(width if i else width_in, width, 1 if i else 2) for i in range(count)]
            setattr(self, f"layer{s}", nn.Sequential(*stage))
            width_in = width
        self.bn2 = nn.BatchNorm2d(width_in)
        self.fc = nn.Linear(width_in * side * side, embedding)
        self.features = nn.BatchNorm1d(embedding)

    def forward(self, x):
        x = self.prelu(self.bn1(self.conv1(x)))
        for s in (1, 2, 3, 4):
            x = getattr(self, f"layer{s}")(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))


def narrow(units=(1, 2, 1, 2)):
    return IRNet(units, (4, 6, 8, 10), 12, img_size=40).eval()


@pytest.mark.parametrize("frozen", [True, False])
def test_insightface_s_layout(frozen, tmp_path):
    torch.manual_seed(3)
    source = randomised(IResNet()).eval()
    if frozen:  # as published: only the bias was trained
        nn.init.ones_(source.features.weight)
    assert source.features.bias.abs().min() > 0
    target = narrow()
    torch.save(source.state_dict(), tmp_path / "backbone.pth")
    assert load_weights(target, tmp_path / "backbone.pth") == "insightface"
    assert COLOUR_ORDERS["insightface"] == "rgb"
    x = torch.randn(3, 3, 40, 40)
    unit, norm = target(x)
    expected = source(x)
    torch.testing.assert_close(unit * norm, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(unit, F.normalize(expected), rtol=1e-4, atol=1e-5)
    assert not target.body[0].training
    load_weights(narrow(), source.state_dict())  # the source was not changed
    torch.testing.assert_close(source(x), expected)


@pytest.mark.parametrize("other", [(1, 3, 1, 2), (1, 1, 1, 2), (1, 2, 1, 3)])
def test_a_deeper_or_shallower_insightface_network_is_refused(other):
    """Units that a stage does not have must not be taken for the next stage's."""
    target = narrow()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(DataError, match=r"missing|unexpected"):
        load_weights(target, IResNet(other).state_dict())
    after = target.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_mismatch_names_the_entries():
    state = tiny().state_dict()
    with pytest.raises(DataError) as caught:
        load_weights(timm.create_model("ir_tiny", img_size=56), state)
    assert "1 of another shape (output_layer.3.weight (128, 1152) for (128, 2048))" in str(
        caught.value
    )
    del state["input_layer.0.weight"]
    state["body.9.x"] = torch.ones(1)
    target = tiny(5)
    before = target.body[0].res_layer[1].weight.clone()
    with pytest.raises(DataError) as caught:
        load_weights(target, state)
    assert "1 missing (input_layer.0.weight); 1 unexpected (body.9.x)" in str(caught.value)
    assert torch.equal(target.body[0].res_layer[1].weight, before)
    with pytest.raises(DataError, match=r"89 missing \((\S+, ){10}\.\.\.\)") as caught:
        load_weights(tiny(), {})
    assert "unexpected" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [{"a": 1}, {"state_dict": [1]}, {"model": {"a": torch.ones(1)}}]
)
def test_content_without_a_state_dict(content):
    with pytest.raises(DataError, match="holds no state dict"):
        load_weights(tiny(), content)


def test_damaged_files(tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(DataError, match=r"weights.pth does not exist"):
        load_weights(tiny(), path)
    file = io.BytesIO()
    torch.save(tiny().state_dict(), file)
    foreign = io.BytesIO()
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("readme.txt", "no weights")
    for data in (b"", b"hello", file.getvalue()[:5000], foreign.getvalue()):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"weights.pth cannot be read as weights alone"):
            load_weights(tiny(), path)
    path.write_bytes(b"")
    torch.save([1, 2], path)
    with pytest.raises(DataError, match="holds no state dict"):
        load_weights(tiny(), path)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model._orig_mod.", "net.", "backbone.", "module.model."]
)
@pytest.mark.parametrize("head", [False, True])
def test_a_prefix_that_all_entries_share_is_removed(prefix, head):
    source, target = tiny(1), tiny(2)
    state = {f"{prefix}{name}": value for name, value in source.state_dict().items()}
    kernel = torch.randn(128, 7)
    if head:  # beside the network, or wrapped with it
        first = "module." if prefix.startswith("module.") else ""
        state[f"{first}head.kernel"] = kernel
    assert load_weights(target, state) == "adaface"
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in target.state_dict().items())
    assert not head or torch.equal(load_centres(state, 128), kernel)


def test_counters_may_be_missing_and_nothing_else():
    source, target = tiny(1), tiny(2)
    state = {k: v for k, v in source.state_dict().items() if "num_batches" not in k}
    load_weights(target, state)
    x = torch.randn(2, 3, 40, 40)
    assert torch.equal(target(x)[0], source(x)[0])
    for name in state:
        with pytest.raises(DataError, match="1 missing"):
            load_weights(tiny(2), {k: v for k, v in state.items() if k != name})


def test_a_whole_pickled_module_says_how_to_save_weights(tmp_path):
    torch.save(tiny(), tmp_path / "whole.pt")
    with pytest.raises(DataError, match=r"whole.pt is a whole pickled module.*state_dict\(\)"):
        load_weights(tiny(), tmp_path / "whole.pt")


def test_heads_are_read_by_their_shape():
    kernel = torch.randn(128, 9)
    for state in (
        {"head.kernel": kernel},
        {"head.kernel": kernel.T},
        {"head.weight": kernel.T},
        {"head.weight": kernel},
    ):
        assert torch.equal(load_centres(state, 128), kernel)
    square = torch.randn(128, 128)
    assert torch.equal(load_centres({"head.weight": square}, 128), square.T)
    for wrong, says in (
        (square, "square"),
        (torch.zeros(128, 0), r"shape \(128, 0\), and"),
        (torch.zeros(5, 7), r"shape \(5, 7\), and"),
        (torch.full((128, 3), torch.nan), "no numbers"),
    ):
        with pytest.raises(DataError, match=says):
            load_centres({"head.kernel": wrong}, 128)


def test_weights_that_are_no_numbers_name_the_file(tmp_path):
    state = tiny().state_dict()
    state["body.1.res_layer.1.weight"][0, 0, 0, 0] = torch.nan
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(DataError, match=r"nan.pt holds .* in 1 of \d+ entries, the first body.1"):
        load_weights(tiny(), tmp_path / "nan.pt")


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (lambda: timm.create_model("ir_18", img_size=64).state_dict(), "ir_18 and image_size 64"),
        (lambda: timm.create_model("ir_small").state_dict(), "ir_small and image_size 64"),
        (lambda: timm.create_model("resnet50").state_dict(), "a ResNet of bottleneck units"),
        (lambda: timm.create_model("resnet18").state_dict(), "a ResNet of torchvision or timm"),
        (
            lambda: {"blocks.0.attn.qkv.weight": torch.ones(1), "a.b": torch.ones(1)},
            "a vision transformer",
        ),
        (
            lambda: {"repeat_1.0.branch0.conv.weight": torch.ones(1), "a.b": torch.ones(1)},
            "facenet",
        ),
        (lambda: {"a": torch.ones(1)}, r"parameters network and image_size\): there are ir_50, "),
    ],
)
def test_weights_of_another_network_say_which(state, says):
    with pytest.raises(DataError, match=says):
        load_weights(tiny(), state())
