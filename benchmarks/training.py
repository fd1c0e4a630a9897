"""Training of the audited network: images/s, and the share of the machine's matrix-product rate."""

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
    """Print images/s of the study's step and of AdaFace's own way (contiguous, not compiled)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default="ir_50")
    parser.add_argument("--size", type=int, default=112)
    device = default_device()
    parser.add_argument("--batch", type=int, default=256 if device.type == "cuda" else 16)
    options, _ = parser.parse_known_args()
    n, size = options.batch, options.size
    recipe = Audited(network=options.network, augmentation=0.0)
    ours = Step(*build(recipe, size, CLASSES), recipe, device)
    plain = Step(*build(recipe, size, CLASSES), recipe, device)
    plain.network.to(memory_format=torch.contiguous_format)
    plain.forward = plain.network
    pixels = torch.randint(0, 256, (n, size, size, 3), dtype=torch.uint8, device=device)
    labels = torch.arange(n, device=device) % CLASSES
    keys = np.arange(n, dtype=np.uint64)

    def run(step: Step, images: torch.Tensor):
        return lambda: step(images, labels, keys, 0.01, 0).item()

    channels_last = pixels.permute(0, 3, 1, 2)
    seconds, reference, ratio = paired(
        run(ours, channels_last), run(plain, channels_last.contiguous()), runs=5
    )
    work = 3 * n * multiply_adds(build(recipe, size, CLASSES)[0], size)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    peak = matrix_rate(device, dtype)
    print(
        f"  {options.network} at {size} px, batch {n}, {device}, {torch.get_num_threads()} threads"
    )
    print(f"  matrix product, {dtype}: {2 * peak / 1e9:,.0f} GFLOP/s")
    for name, took in (("ours", seconds), ("plain, contiguous", reference)):
        print(
            f"  {name}: {n / took:,.1f} images/s, {work / took / peak:.0%} of the matrix product's rate"
        )
    print(f"  ratio: {ratio:.2f}")


if __name__ == "__main__":
    main()
