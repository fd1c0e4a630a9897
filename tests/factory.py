"""Small databases and recipes that tests build on."""

import numpy as np
import torch
from torch import nn

from mint_utils.config import Audited
from mint_utils.data.manifest import Database
from mint_utils.mint.fit import MintRecipe, MintTask, _epoch, _initialised, _standardised
from mint_utils.mint.model import VanillaMint


def database(name="db", identities=8, each=6, size=16, seed=0) -> Database:
    """Return blurred noise: each identity its own pattern, each image with noise of its own."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), each)
    base = rng.integers(0, 256, (identities, 4, 4, 3)).repeat(size // 4, 1).repeat(size // 4, 2)
    noise = rng.integers(-30, 31, (len(labels), size, size, 3))
    images = (base[labels] + noise).clip(0, 255).astype(np.uint8)
    keys = np.array([f"{i:05d}" for i in range(len(labels))])
    return Database(name, keys, labels, images, None, f"{name}-{identities}-{each}-{size}-{seed}")


def recipe(**changes) -> Audited:
    """Return a recipe that trains in a second."""
    small = {"network": "ir_tiny", "epochs": 3, "batch_size": 8, "lr": 0.05}
    return Audited(**(small | changes))


def vanilla(
    model: VanillaMint, x: torch.Tensor, kept: torch.Tensor | None = None, dropout: float = 0.3
) -> torch.Tensor:
    """Return logits (B,) of one MINT Model for inputs (B, L), of which dropout keeps units (B, 128)."""
    x = model.norm(model.second(model.first(x).relu()).relu())
    if kept is not None:
        x = x * kept / (1 - dropout)
    return model.last(x)[:, 0]


def fit_one(features: np.ndarray, task: MintTask, recipe: MintRecipe) -> np.ndarray:
    """Train one task alone, as plainly as can be: what `fit` must give too, of one among many."""
    inputs, unseen = _standardised(features, task, "cpu", recipe.standardise)
    labels = torch.from_numpy(task.train_labels).float()
    generator = np.random.default_rng(task.seed)
    model = _initialised(task, inputs.shape[1], recipe).train()
    adam = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    for _ in range(recipe.epochs):
        order, kept = _epoch([generator], len(inputs), recipe, "cpu")
        steps = recipe.steps(len(inputs))
        parts = order[0].tensor_split(steps), kept[0].T.tensor_split(steps)
        for batch, units in zip(*parts, strict=True):
            logits = vanilla(model, inputs[batch], units, recipe.dropout)
            loss = nn.functional.binary_cross_entropy_with_logits(logits, labels[batch])
            adam.zero_grad()
            loss.backward()
            adam.step()
    with torch.inference_mode():
        return vanilla(model.eval(), unseen).sigmoid().numpy()
