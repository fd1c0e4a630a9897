"""Auxiliary Auditable Data: extraction of all six rows against a bare forward pass."""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.timing import paired
from mint_utils.audited import networks
from mint_utils.audited.ir import inputs
from mint_utils.audited.train import COLOUR_ORDER, build, default_device
from mint_utils.config import Audited
from mint_utils.mint.aad import BATCH, extract

OTHER = "mobilenetv3_small_075", 112, 1024  # a million parameters, as a module and as files
CASES = (("ir_tiny", 40, 4096), ("ir_small", 56, 1024), ("ir_50", 112, 48))


def main() -> None:
    """Print images/s of the extraction, and its ratio to the network's forward pass alone."""
    device = default_device()
    for name, size, n in CASES:
        n = 8192 if device.type == "cuda" else n
        network = build(Audited(network=name), size, 2)[0].eval()
        network.to(device, memory_format=torch.channels_last)
        compare(name, network, network, COLOUR_ORDER, (n, size), device)
    for name, n, network, bare in others(Path(tempfile.mkdtemp())):
        compare(name, network, bare, "rgb", (n, 112), torch.device("cpu"))


def compare(name, network: nn.Module, bare: Callable, order: str, shape, device) -> None:
    """Print the rate of the extraction, and its ratio to the bare forward pass of the network's runtime."""
    n, size = shape
    images = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)

    def forward():
        with torch.inference_mode():
            for i in range(0, n, BATCH):
                bare(inputs(images[i : i + BATCH], order, device))
        if device.type == "cuda":
            torch.cuda.synchronize()

    def ours():
        with tempfile.TemporaryDirectory() as folder:
            pieces = [(images, np.arange(n))]
            extract(network, order, pieces, Path(folder) / "features.npy", device)

    seconds, _, ratio = paired(ours, forward)
    print(f"  {name} at {size} px: {n / seconds:,.0f} images/s, ratio {ratio:.2f}", flush=True)


def others(folder: Path) -> Iterator[tuple[str, int, nn.Module, Callable]]:
    """Yield networks that are not the study's: name, images, how the study opens it, its bare forward pass.

    The ONNX file that ``MINT_BENCH_ONNX`` names is one of them.
    """
    name, size, n = OTHER
    opened = networks.open_network(name, size).network
    module, x = opened.source.module, torch.zeros(2, 3, size, size)
    yield f"{name}, a module", n, opened, module
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.trace(module, x), folder / "net.pt")
        script = torch.jit.load(folder / "net.pt")
    yield "TorchScript", n, networks.open_network(str(folder / "net.pt"), size).network, script
    shapes = ({0: torch.export.Dim("n")},)
    program = torch.export.export(module, (x,), dynamic_shapes=shapes)
    torch.export.save(program, folder / "net.pt2")
    network = networks.open_network(str(folder / "net.pt2"), size).network
    yield "torch.export", n, network, program.module()
    onnx = folder / "net.onnx"
    with warnings.catch_warnings(action="ignore"):
        given = {"dynamo": False, "input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
        torch.onnx.export(module, (x,), onnx, **given)
    for path in (onnx, os.environ.get("MINT_BENCH_ONNX")):
        if path:
            network = networks.open_network(str(path), size).network
            yield f"ONNX, {Path(path).name}", n, network, _onnx(path)


def _onnx(path: str | Path) -> Callable:
    """Return onnxruntime's forward pass of as many images as it takes, threads as the study sets them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    at_once = taken.shape[0] if isinstance(taken.shape[0], int) else 16

    def forward(x: torch.Tensor) -> None:
        for part in x.split(at_once):
            session.run(None, {taken.name: part.contiguous().numpy()})

    return forward


if __name__ == "__main__":
    main()
