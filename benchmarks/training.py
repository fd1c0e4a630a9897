"""Training of the audited network: images/s in float32 and bfloat16, beside AdaFace's own way of stepping."""

import argparse

import numpy as np
import torch

from benchmarks.timing import paired
from mint_utils.audited.train import Step, build, default_device
from mint_utils.config import Audited

CLASSES = 500


def multiply_adds(network: torch.nn.Module, size: int) -> int:
    """Count the multiply-adds of one image's forward pass in convolutions and linear layers."""
    counted = []

    def count(module, _, output):
        weight = module.weight
        counted.append(output[0].numel() * weight[0].numel())

    layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return sum(counted)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the multiply-adds per second of a large matrix product."""
    n = 8192 if device.type == "cuda" else 2048
    a = torch.randn(n, n, device=device, dtype=dtype)

    def product():
        for _ in range(10 if device.type == "cuda" else 1):
            a @ a
        if device.type == "cuda":
            torch.cuda.synchronize()

    seconds, _, _ = paired(product, product, runs=7)
    return n**3 * (10 if device.type == "cuda" else 1) / seconds


def main() -> None:
    """Print images/s of ways of stepping, and their share of the matrix product's rate in their precision."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default="ir_50")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile too, which takes a minute"
    )
    device = default_device()
    on_gpu = device.type == "cuda"
    parser.add_argument("--batch", type=int, default=256 if on_gpu else 16)
    options, _ = parser.parse_known_args()
    n, size = options.batch, options.size
    macs = multiply_adds(build(Audited(network=options.network), size, 2)[0], size)
    peaks = {name: matrix_rate(device, getattr(torch, name)) for name in ("float32", "bfloat16")}
    where = torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} threads"
    print(f"  {options.network} at {size} px, batch {n}, {where}, torch {torch.__version__}")
    for name, rate in peaks.items():
        print(f"  matrix product, {name}: {2 * rate / 1e9:,.0f} GFLOP/s")
    pixels = torch.randint(0, 256, (n, size, size, 3), dtype=torch.uint8, device=device)
    labels = torch.arange(n, device=device) % CLASSES
    keys = np.arange(n, dtype=np.uint64)

    def way(precision: str, adaface: bool = False, records: bool = False, compiled: bool = False):
        recipe = Audited(network=options.network, augmentation=0.0, precision=precision)
        step = Step(*build(recipe, size, CLASSES), recipe, device, compiled=compiled)
        step.records = records
        images = pixels.permute(0, 3, 1, 2)
        if adaface:
            step.network.to(memory_format=torch.contiguous_format)
            images = images.contiguous()
        return lambda: step(images, labels, keys, 0.01, 0).item()

    ways = {"AdaFace's: float32, contiguous": ("float32", True)}
    ways |= {name: (name,) for name in peaks}
    if on_gpu:
        ways["bfloat16, recorded"] = ("bfloat16", False, True)
    if options.compile:
        ways["bfloat16, compiled"] = ("bfloat16", False, on_gpu, True)
    first = way(*next(iter(ways.values())))
    for name, arguments in ways.items():
        took, _, ratio = paired(way(*arguments), first, runs=options.runs)
        share = 3 * n * macs / took / peaks[arguments[0]]
        print(
            f"  {name:31s} {n / took:8,.1f} images/s, {share:4.0%} of that rate, {ratio:.2f} x AdaFace's"
        )


if __name__ == "__main__":
    main()
