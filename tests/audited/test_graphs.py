"""Networks as files: what is read of them is what hooks see in the module, and no code of a file is run."""

import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from mint_utils.audited import graphs, ir, networks
from mint_utils.errors import DataError

SIZE = 16
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")


class Small(nn.Module):
    """Three halvings; ReLU and PReLU, of which the last of each side are known."""

    def __init__(self, last: int = 6):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(
                *(nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU()),
                *(nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 1, 1), nn.PReLU(8)),
                *(nn.Conv2d(8, 10, 3, 2, 1), nn.PReLU(10), nn.Conv2d(10, 5, 3, 1, 1)),
            )
            self.linear = nn.Linear(5 * (SIZE // 4) ** 2, last)
            self.body[1].running_mean.uniform_(-1, 1)
            self.body[1].running_var.uniform_(0.5, 2)
        self.eval()

    def forward(self, x):
        return self.linear(self.body(x).flatten(1))


LAYERS = ("body.2", "body.6", "body.8")  # the last activation of the sides 16, 8 and 4
WIDTHS = [4, 8, 10]


def scripted(path, module=None, batch=3):
    torch.jit.save(torch.jit.trace(module or Small(), torch.zeros(batch, 3, SIZE, SIZE)), path)
    return path


def exported(path, module=None, batch=3, free=True):
    shapes = ({0: torch.export.Dim("n")},) if free else None
    inputs = (torch.zeros(batch, 3, SIZE, SIZE),)
    torch.export.save(torch.export.export(module or Small(), inputs, dynamic_shapes=shapes), path)
    return path


def onnxed(path, module=None, batch="n", extra=()):
    """Write the graph of `Small` by hand, so that no exporter is needed."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    module, make = module or Small(), onnx.helper.make_node
    nodes, tensors, x = [], [], "input"

    def held(name, value):
        array = value.detach().numpy().copy()
        tensors.append(onnx.numpy_helper.from_array(array, name))
        return name

    for i, layer in enumerate(module.body):
        out = f"body.{i}"
        if isinstance(layer, nn.Conv2d):
            names = [held(f"{out}.w", layer.weight), held(f"{out}.b", layer.bias)]
            given = {"pads": [1] * 4, "strides": list(layer.stride)}
            nodes.append(make("Conv", [x, *names], [out], **given))
        elif isinstance(layer, nn.BatchNorm2d):
            values = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
            names = [held(f"{out}.{j}", value) for j, value in enumerate(values)]
            nodes.append(make("BatchNormalization", [x, *names], [out], epsilon=layer.eps))
        elif isinstance(layer, nn.ReLU):
            nodes.append(make("Relu", [x], [out]))
        else:
            nodes.append(make("PRelu", [x, held(f"{out}.s", layer.weight[:, None, None])], [out]))
        x = out
    names = [held("linear.w", module.linear.weight), held("linear.b", module.linear.bias)]
    nodes += [make("Flatten", [x], ["flat"]), *extra]
    nodes.append(make("Gemm", ["flat", *names], ["output"], transB=1))
    info = onnx.helper.make_tensor_value_info
    ends = [("input", [batch, 3, SIZE, SIZE]), ("output", [batch, len(module.linear.bias)])]
    inputs, outputs = ([info(name, onnx.TensorProto.FLOAT, shape)] for name, shape in ends)
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, tensors)
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


WRITERS = {"pt": scripted, "pt2": exported, "onnx": onnxed}


def images(n=7):
    return torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def by_hooks(module, x, layers=LAYERS):
    """Return the outcome and the maps of a module, seen by hooks of this test."""
    seen = {}
    for name in layers:
        module.get_submodule(name).register_forward_hook(
            lambda _m, _a, out, name=name: seen.update({name: out.clone()})
        )
    with torch.no_grad():
        outcome = module(x)
    return outcome, [seen[name] for name in layers]


@pytest.mark.parametrize("kind", WRITERS)
def test_layers_and_outcome_of_a_file_are_those_of_the_module(tmp_path, kind):
    path = WRITERS[kind](tmp_path / f"net.{kind}")
    network = networks.open_network(str(path), SIZE).network
    assert [info["num_chs"] for info in network.feature_info] == WIDTHS
    assert [info["side"] for info in network.feature_info] == [16, 8, 4]
    outcome, maps = by_hooks(Small(), images())
    with torch.inference_mode():
        unit, norm = network(images())
        _, found = network.forward_intermediates(images())
        pooled, again = ir.auditable(network, images())
        mean, _ = ir.auditable(network, images(), "mean")
    np.testing.assert_allclose(unit * norm, outcome, atol=1e-5)
    np.testing.assert_allclose(again, outcome / outcome.norm(dim=1, keepdim=True), atol=1e-5)
    for one, of_maps, of_mean, expected in zip(pooled, found, mean, maps, strict=True):
        np.testing.assert_allclose(of_maps, expected, atol=1e-5)
        np.testing.assert_allclose(one, expected.flatten(2).amax(2), atol=1e-5)
        np.testing.assert_allclose(of_mean, expected.flatten(2).mean(2), atol=1e-5)


@pytest.mark.parametrize("kind", WRITERS)
def test_mean_and_std_are_those_of_the_input(tmp_path, kind):
    path = WRITERS[kind](tmp_path / f"net.{kind}")
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    network = networks.open_network(str(path), SIZE, mean=mean, std=std).network
    pixels = torch.rand(2, 3, SIZE, SIZE)
    own = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.inference_mode():
        unit, norm = network((pixels - 0.5) / 0.5)
        np.testing.assert_allclose(unit * norm, Small()(own), atol=1e-5)


@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_a_file_for_two_images_at_once_takes_any_number_and_says_its_size(tmp_path, kind):
    given = {"batch": 2} | ({"free": False} if kind == "pt2" else {})
    path = WRITERS[kind](tmp_path / f"net.{kind}", **given)
    opened = networks.open_network(str(path), 99)
    assert opened.image_size == SIZE and "input 16 x 16, RGB" in str(opened)
    outcome, maps = by_hooks(Small(), images())
    with torch.inference_mode():
        found, of_maps = opened.network.forward_intermediates(images())
        pooled, _ = ir.auditable(opened.network, images())
    np.testing.assert_allclose(found, outcome, atol=1e-5)
    np.testing.assert_allclose(of_maps[1], maps[1], atol=1e-5)
    np.testing.assert_allclose(pooled[2], maps[2].amax((2, 3)), atol=1e-5)


@pytest.mark.parametrize("kind", WRITERS)
def test_untrained_is_the_network_with_each_filter_shuffled(tmp_path, kind):
    path = str(WRITERS[kind](tmp_path / f"net.{kind}"))
    module = Small()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(graphs.shuffle(parameter))
    kernel = Small().body[3].weight.flatten(1)
    mixed = module.body[3].weight.flatten(1)
    assert torch.equal(kernel.sort(dim=1).values, mixed.sort(dim=1).values)
    assert not torch.allclose(kernel, mixed)
    untrained = networks.open_network(path, SIZE, trained=False).network
    with torch.inference_mode():
        unit, norm = untrained(images())
        np.testing.assert_allclose(unit * norm, module(images()), atol=1e-5)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, kind):
    path = WRITERS[kind](tmp_path / f"net.{kind}")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=str(path)) as told:
        networks.open_network(str(path), SIZE)
    assert "\n" not in str(told.value)


class Runs:
    """Marks that it was unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_a_pickled_module_is_refused_and_not_run(tmp_path):
    path, mark = tmp_path / "net.pt", tmp_path / "mark"
    torch.save({"module": Runs(mark)}, path)
    with pytest.raises(DataError, match=r"\(module:function\)"):
        networks.open_network(str(path), SIZE)
    assert not mark.exists()


def rewritten(path, change):
    """Write a file of torch.export anew, each member as ``change(name, bytes)`` gives it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, change(name, content))


def test_what_the_loader_of_torch_export_would_unpickle_is_refused_and_not_run(tmp_path):
    path, mark = exported(tmp_path / "net.pt2"), tmp_path / "mark"
    inputs = "data/sample_inputs/"
    bad = pickle.dumps(Runs(mark))
    rewritten(path, lambda name, content: bad if inputs in name else content)
    with pytest.raises(DataError, match="as data alone"):
        networks.open_network(str(path), SIZE)
    assert not mark.exists()


@pytest.mark.parametrize(
    "key, value, told",
    [
        ("target", "torch.load", "target 'torch.load'"),
        ("target", "torch.ops.aten.from_file.default", "from_file"),
        ("target", "_operator.attrgetter", "attrgetter"),
        ("expr_str", "__import__('os').getcwd()", "__import__"),
        ("expr_str", "open(s0)", "open"),
    ],
)
def test_what_the_loader_of_torch_export_would_call_or_evaluate_is_refused(
    tmp_path, key, value, told
):
    path = exported(tmp_path / "net.pt2")

    def changed(name, content):
        if not name.endswith("models/model.json"):
            return content
        graph = json.loads(content)
        graph["graph_module"]["graph"]["nodes"][0][key] = value
        return json.dumps(graph)

    rewritten(path, changed)
    with pytest.raises(DataError, match=told):
        networks.open_network(str(path), SIZE)


def test_torchscript_that_asks_for_files_is_refused(tmp_path):
    class Reads(nn.Module):
        def forward(self, x):
            return x.flatten(1) + torch.from_file("/etc/hostname", False, 1).sum()

    torch.jit.save(torch.jit.script(Reads()), tmp_path / "net.pt")
    with pytest.raises(DataError, match=r"torch\.from_file"):
        networks.open_network(str(tmp_path / "net.pt"), SIZE)


def test_an_operator_that_onnxruntime_does_not_have(tmp_path):
    onnx = pytest.importorskip("onnx")
    extra = [onnx.helper.make_node("Unheard", ["flat"], ["strange"], domain="elsewhere")]
    path = onnxed(tmp_path / "net.onnx", extra=extra)
    with pytest.raises(DataError, match=r"cannot be run by onnxruntime.*Unheard") as told:
        networks.open_network(str(path), SIZE)
    assert "\n" not in str(told.value)


def test_without_the_extra_the_remedy_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(networks.ParameterError, match=r"mint-utils\[onnx\]"):
        networks.open_network(str(tmp_path / "net.onnx"), SIZE)
