"""Auxiliary Auditable Data: extraction of all six rows against a bare forward pass."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import paired
from mint_utils.audited.train import COLOUR_ORDER, build, default_device
from mint_utils.config import Audited
from mint_utils.data.images import normalise
from mint_utils.mint.aad import BATCH, extract

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


if __name__ == "__main__":
    main()
