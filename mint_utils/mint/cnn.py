"""CNN MINT: a MINT Model that reads whole activation maps (arXiv 2402.09225), not one number of each.

The sources say that convolutional layers are followed by fully connected ones. The rest is a choice of this
study: each channel is z-scored; then come two 3 x 3 convolutions of stride 2 with 32 and 64 filters and ReLU,
max-pooling to 4 x 4 where the maps are larger, a fully connected layer, batch normalisation and dropout.
Each stage has a network of its own, trained as Vanilla MINT is. All stages together are scored by the mean
of their probabilities.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from mint_utils.mint.fit import MintRecipe
from mint_utils.mint.protocol import Split

VERSION = 1  # raised when the same maps give other scores
FILTERS = (32, 64)
SIDE = 4  # of what the fully connected layer reads, at most
EVALUATED = 512  # images evaluated at once


class CnnMint(nn.Module):
    """The MINT Model of one stage: two convolutions, then the second half of Vanilla MINT.

    Args:
        channels: C, the number of maps of the stage.
        side: s, the side of a map.
        recipe: Gives the width of the fully connected layer and the dropout.
    """

    def __init__(self, channels: int, side: int, recipe: MintRecipe):
        super().__init__()
        self.dropout = recipe.dropout
        halved = -(-side // 4)  # twice, rounding up
        left = min(SIDE, halved)
        self.convolutions = nn.Sequential(
            # The mean over all batches of training, as Vanilla MINT's inputs are z-scored.
            nn.BatchNorm2d(channels, momentum=None, affine=False),
            nn.Conv2d(channels, FILTERS[0], 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(FILTERS[0], FILTERS[1], 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(left) if halved > left else nn.Identity(),
            nn.Flatten(),
        )
        self.second = nn.Linear(FILTERS[1] * left**2, recipe.hidden[1])
        self.norm = nn.BatchNorm1d(recipe.hidden[1])
        self.last = nn.Linear(recipe.hidden[1], 1)

    def forward(self, x: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits (B,) of maps (B, C, s, s), with the units (B, 128) that dropout keeps in training."""
        x = self.norm(self.second(self.convolutions(x)).relu())
        if kept is not None:
            x = x * kept / (1 - self.dropout)
        return self.last(x)[:, 0]


def fit(
    maps: Callable[[np.ndarray], list[torch.Tensor]],
    tasks: Sequence[tuple[Split, int]],
    recipe: MintRecipe,
    device: torch.device | str = "cpu",
) -> list[np.ndarray]:
    """Train the networks of all stages for each task, and evaluate them.

    Everything random in a task (first weights, order of its epochs, dropout) comes from its seed.

    Args:
        maps: Rows -> (n, C_i, s_i, s_i) float32 for each stage, on the device.
        tasks: Rows and labels of T's training and evaluation, and a seed.
        recipe: Epochs, rate, batch size, dropout and the width of the fully connected layer.
        device: Where the networks are trained.

    Returns:
        For each task (stages + 1, m) float32, the probability of membership of its evaluation rows by each
        stage and the mean of the stages.
    """
    found = []
    steps = recipe.epochs * sum(recipe.steps(len(split.train)) for split, _ in tasks)
    with tqdm(total=steps, desc="CNN MINT Models", unit="step", leave=False) as progress:
        for split, seed in tasks:
            models = _fit_one(maps, split, seed, recipe, device, progress)
            scores = _evaluated(maps, models, split.evaluation)
            found.append(np.vstack([scores, scores.mean(axis=0)]))
    return found


def _fit_one(maps, split, seed, recipe, device, progress) -> list[CnnMint]:
    shapes = [stage.shape[1:3] for stage in maps(split.train[:1])]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        models = [CnnMint(*shape, recipe).to(device).train() for shape in shapes]
    generator = torch.Generator().manual_seed(seed)
    # One optimiser: Adam treats each weight apart, so every stage is trained as if it were alone.
    weights = [weight for model in models for weight in model.parameters()]
    adam = torch.optim.Adam(weights, lr=recipe.lr, fused=True)
    labels = torch.from_numpy(split.train_labels).float().to(device)
    for _ in range(recipe.epochs):
        order = torch.randperm(len(labels), generator=generator).numpy()
        for batch in np.array_split(order, recipe.steps(len(order))):
            size = len(models), len(batch), recipe.hidden[1]
            kept = (torch.rand(size, generator=generator) >= recipe.dropout).to(device)
            stages = zip(models, maps(split.train[batch]), kept, strict=True)
            logits = torch.stack([model(x, units) for model, x, units in stages])
            targets = labels[batch].expand_as(logits)
            loss = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            adam.zero_grad(set_to_none=True)
            loss.mean(dim=1).sum().backward()
            adam.step()
            progress.update()
    return models


@torch.no_grad()
def _evaluated(maps, models: list[CnnMint], rows: np.ndarray) -> np.ndarray:
    found = []
    for start in range(0, len(rows), EVALUATED):
        stages = zip(models, maps(rows[start : start + EVALUATED]), strict=True)
        found.append(torch.stack([model.eval()(x) for model, x in stages]))
    return torch.cat(found, dim=1).sigmoid().cpu().numpy()
