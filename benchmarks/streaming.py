"""Streaming: images/s of training batches from a .rec read ahead, against the same images in memory."""

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks.loading import BATCH, SIZE, records
from benchmarks.timing import paired
from mint_utils.audited.train import Step, build, default_device
from mint_utils.config import Audited
from mint_utils.data.ahead import read_ahead
from mint_utils.data.images import RecordImages
from mint_utils.data.recordio import RecordFile

TRAINED = 2  # batches of the comparison that trains


def compare(path: Path, batches: int, network: str) -> None:
    """Print the rates of both, of reading alone and of training, and their ratios."""
    device, recipe = default_device(), Audited(network=network, batch_size=BATCH)
    with RecordFile(path) as record:
        streamed = RecordImages(record, record.keys[: batches * BATCH], SIZE)
        memory = streamed[:]
        n = len(memory)
        order = np.array_split(np.random.default_rng(0).permutation(n), -(-n // BATCH))
        step = Step(*build(recipe, SIZE, 1000), recipe, device)

        def at_once():
            for rows in order:
                streamed[rows]

        def read(images):
            for _ in read_ahead(order, images.__getitem__):
                pass

        def train(images):
            for rows, found in read_ahead(order[:TRAINED], images.__getitem__):
                pixels = torch.from_numpy(found).to(device).permute(0, 3, 1, 2)
                labels = torch.from_numpy(rows % 1000).to(device)
                loss = step(pixels, labels, rows.astype(np.uint64), 0.01, 0)
            loss.item()

        print(
            f"  {n} images, {SIZE} px, batch {BATCH}, {torch.get_num_threads()} threads, {device}"
        )
        trained = sum(map(len, order[:TRAINED]))
        for name, count, ours, reference in (
            ("read by one, then ahead", n, lambda: read(streamed), at_once),
            ("memory, then streamed", n, lambda: read(streamed), lambda: read(memory)),
            (f"{network} from each", trained, lambda: train(streamed), lambda: train(memory)),
        ):
            seconds, other, ratio = paired(ours, reference, runs=3)
            rates = f"{count / other:,.0f} and {count / seconds:,.0f} images/s"
            print(f"  {name}: {rates}, ratio {ratio:.2f}", flush=True)


def main() -> None:
    """Measure on ``--rec``, or on pictures drawn for it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rec", type=Path)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--network", default="ir_tiny")
    options, _ = parser.parse_known_args()
    with records(options.rec, options.batches * BATCH) as path:
        compare(path, options.batches, options.network)


if __name__ == "__main__":
    main()
