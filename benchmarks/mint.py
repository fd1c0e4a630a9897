"""The MINT Models of a whole table: trained together against one network at a time."""

import argparse

import numpy as np
import torch
from torch import nn

from benchmarks.timing import paired
from mint_utils.mint.fit import MintRecipe, MintTask, fit

WIDTHS = (64, 128, 256, 512, 512, 960)  # of the six rows, for IR-50


def one_at_a_time(features: np.ndarray, tasks: list[MintTask], recipe: MintRecipe) -> None:
    """Train each task as a competent plain loop would: layers of torch.nn, one shuffle an epoch."""
    for task in tasks:
        torch.manual_seed(task.seed)
        x = torch.from_numpy(features[task.train, task.columns])
        x = (x - x.mean(0)) / x.std(0)
        y = torch.from_numpy(task.train_labels).float()
        first, second = recipe.hidden
        model = nn.Sequential(
            nn.Linear(x.shape[1], first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(),
            nn.BatchNorm1d(second), nn.Dropout(recipe.dropout), nn.Linear(second, 1),
        )  # fmt: skip
        adam = torch.optim.Adam(model.parameters(), lr=recipe.lr)
        for _ in range(recipe.epochs):
            order = torch.randperm(len(x))
            for xb, yb in zip(
                x[order].split(recipe.batch_size), y[order].split(recipe.batch_size), strict=True
            ):
                adam.zero_grad()
                nn.functional.binary_cross_entropy_with_logits(model(xb)[:, 0], yb).backward()
                adam.step()


def main() -> None:
    """Print the time of both ways and their ratio, for a table of 6 rows, 5 seeds, 2 protocols."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=2560)
    parser.add_argument("--epochs", type=int, default=2)
    options, _ = parser.parse_known_args()
    rng, n = np.random.default_rng(0), options.samples
    features = rng.standard_normal((2 * n, sum(WIDTHS))).astype(np.float32)
    starts = np.cumsum([0, *WIDTHS[:-1]]).tolist()
    rows = [rng.permutation(2 * n) for _ in range(2)]
    labels = rng.random(2 * n) < 0.5
    recipe = MintRecipe(epochs=options.epochs)
    ours = reference = 0.0
    for width, start in zip(WIDTHS, starts, strict=True):
        columns = slice(start, start + width)
        tasks = [
            MintTask(columns, order[:n], labels[order[:n]], order[n : n + 256], seed)
            for order in rows
            for seed in range(5)
        ]

        def together(tasks=tasks):
            fit(features, tasks, recipe)

        def apart(tasks=tasks):
            one_at_a_time(features, tasks, recipe)

        took = paired(together, apart, runs=3)
        print(
            f"  {width:4} inputs: {took[0]:6.2f} s together, {took[1]:6.2f} s apart, "
            f"ratio {took[2]:.2f}"
        )
        ours, reference = ours + took[0], reference + took[1]
    print(f"  whole table, {torch.get_num_threads()} threads: ratio {reference / ours:.2f}")


if __name__ == "__main__":
    main()
