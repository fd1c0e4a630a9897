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
from mint_utils.audited.train import COLOUR_ORDER, build, default_device
from mint_utils.config import Audited
from mint_utils.data.images import normalise
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
        images = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)

        def bare(network=network, images=images):
            with torch.inference_mode():
                for i in range(0, len(images), BATCH):
                    batch = torch.from_numpy(images[i : i + BATCH]).to(device).permute(0, 3, 1, 2)
                    network(normalise(batch, COLOUR_ORDER))
            if device.type == "cuda":
                torch.cuda.synchronize()

        with tempfile.TemporaryDirectory() as folder:
            path, everything = Path(folder) / "features.npy", np.arange(n)

            def ours(network=network, images=images, path=path, everything=everything):
                extract(network, COLOUR_ORDER, [(images, everything)], path, device)

            seconds, _, ratio = paired(ours, bare)
        print(f"  {name} at {size} px: {n / seconds:,.0f} images/s, ratio {ratio:.2f}")

    for name, n, network, bare in others(Path(tempfile.mkdtemp())):
        images = np.random.default_rng(0).integers(0, 256, (n, 112, 112, 3), dtype=np.uint8)
        seconds, _, ratio = against(network, bare, images)
        print(f"  {name} at 112 px: {n / seconds:,.0f} images/s, ratio {ratio:.2f}")


def against(network: nn.Module, bare: Callable, images: np.ndarray):
    """Return `paired` of the extraction and the bare forward pass of the network's runtime, on the CPU."""

    def forward():
        with torch.inference_mode():
            for i in range(0, len(images), BATCH):
                batch = torch.from_numpy(images[i : i + BATCH]).permute(0, 3, 1, 2)
                bare(normalise(batch, "rgb"))

    def ours():
        with tempfile.TemporaryDirectory() as folder:
            path, every = Path(folder) / "features.npy", np.arange(len(images))
            extract(network, "rgb", [(images, every)], path, torch.device("cpu"))

    return paired(ours, forward, runs=3)


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
