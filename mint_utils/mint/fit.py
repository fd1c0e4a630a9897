"""Trains the MINT Models of a whole table together.

Everything random in a task (its first weights, the order of its epochs, its dropout) comes from the task's
own seed, so that its result is the same whichever tasks are trained beside it.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from mint_utils import workers
from mint_utils.errors import ParameterError
from mint_utils.mint.model import BatchedMint, VanillaMint

EVALUATED = 4096  # rows evaluated at once


@dataclass(frozen=True)
class MintRecipe:
    """How T is trained: Adam with its defaults, binary cross-entropy (paper, Section 3.3; CHOICES.md)."""

    hidden: tuple[int, int] = (256, 128)
    dropout: float = 0.3
    epochs: int = 20
    lr: float = 1e-3
    batch_size: int = 128
    standardise: bool = True  # z-score the inputs; False: as M gives them

    def steps(self, samples: int) -> int:
        """Return the number of batches of an epoch, cut by ``tensor_split`` or ``array_split``.

        Their sizes differ by at most one, so that no sample is left out or alone.
        """
        return math.ceil(samples / self.batch_size)


@dataclass(frozen=True)
class MintTask:
    """One MINT Model to train.

    Attributes:
        columns: Columns of the features, which are a row of the table.
        train: (n,) int64, rows of the features.
        train_labels: (n,) bool, True for members.
        evaluation: (m,) int64, rows of the features.
        seed: Seed of everything random.
    """

    columns: slice
    train: np.ndarray
    train_labels: np.ndarray
    evaluation: np.ndarray
    seed: int


def fit(
    features: np.ndarray,
    tasks: Sequence[MintTask],
    recipe: MintRecipe,
    device: torch.device | str = "cpu",
) -> list[np.ndarray]:
    """Train all tasks, those of equal shape as one network, and evaluate them.

    Args:
        features: (N, L) float32, an array or a memory map.
        tasks: The models to train.
        recipe: How all of them are trained.
        device: Where they are trained.

    Returns:
        For each task (m,) float32, the probability of membership of its evaluation rows.

    Raises:
        ParameterError: Features that are no numbers, rows that do not exist, that repeat or that are
            on both sides, or a task with one class only.
    """
    _check(features, tasks)
    alike = defaultdict(list)
    for i, task in enumerate(tasks):
        shape = task.columns.stop - task.columns.start, len(task.train), len(task.evaluation)
        alike[shape].append(i)
    found: dict[int, np.ndarray] = {}
    total = recipe.epochs * sum(recipe.steps(len(task.train)) for task in tasks)
    with tqdm(total=total, desc="MINT Models", unit="step", leave=False) as progress:
        for members in alike.values():
            scores = _fit_together(features, [tasks[i] for i in members], recipe, device, progress)
            found |= dict(zip(members, scores, strict=True))
    return [found[i] for i in range(len(tasks))]


def _fit_together(features, tasks, recipe, device, progress) -> list[np.ndarray]:
    which, rows, unseen = _inputs(features, tasks, recipe, device)
    labels = torch.from_numpy(np.stack([t.train_labels for t in tasks])).float().to(device)
    generators = [np.random.default_rng(task.seed) for task in tasks]
    width, n = rows.shape[1], len(tasks[0].train)
    first = n * which[:, None]  # of each task's rows
    models = [_initialised(task, width, recipe) for task in tasks]
    network = BatchedMint(models, recipe.dropout).to(device).train()
    adam = torch.optim.Adam(network.parameters(), lr=recipe.lr, fused=True)
    steps = recipe.steps(n)
    for _ in range(recipe.epochs):
        workers.stop_in_time()
        order, kept = _epoch(generators, n, recipe, device)
        parts = order.tensor_split(steps, dim=1), kept.tensor_split(steps, dim=2)
        for batch, units in zip(*parts, strict=True):
            x = rows.index_select(0, (batch + first).flatten()).view(*batch.shape, width)
            logits = network(x, units)
            # Summed over models: the gradient of each is that of its own mean.
            loss = nn.functional.binary_cross_entropy_with_logits(
                logits, labels.gather(1, batch), reduction="none"
            )
            adam.zero_grad(set_to_none=True)
            loss.mean(dim=1).sum().backward()
            adam.step()
        progress.update(len(tasks) * steps)
    network.eval()
    with torch.inference_mode():
        parts = unseen.split(EVALUATED, dim=1)
        logits = torch.cat([network(part[which]) for part in parts], dim=1)
    return list(logits.sigmoid().cpu().numpy())


def _inputs(features, tasks, recipe, device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the inputs of tasks of equal shape. Tasks that differ only in their seed share them.

    Returns:
        which: (K,) int64, the inputs of each task.
        rows: (S * n, L), the training rows of all inputs, one after the other.
        unseen: (S, m, L), their evaluation rows.
    """
    keys = [(t.columns.start, t.train.tobytes(), t.evaluation.tobytes()) for t in tasks]
    distinct = dict(zip(keys, tasks, strict=True))
    pairs = [_standardised(features, t, device, recipe.standardise) for t in distinct.values()]
    train, unseen = zip(*pairs, strict=True)
    place = {key: i for i, key in enumerate(distinct)}
    which = torch.tensor([place[key] for key in keys], device=device)
    return which, torch.cat(train), torch.stack(unseen)


def _initialised(task: MintTask, inputs: int, recipe: MintRecipe) -> VanillaMint:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        return VanillaMint(inputs, recipe.hidden)


def _epoch(
    generators: Sequence[np.random.Generator],
    n: int,
    recipe: MintRecipe,
    device: torch.device | str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each task's order (K, n) and the units that dropout keeps (K, width, n) of an epoch."""
    shape = recipe.hidden[1], n
    dropped = round(recipe.dropout * 2**16)  # numbers of 16 bits take a tenth of bernoulli's time
    orders, masks = [], []
    for generator in generators:
        orders.append(torch.from_numpy(generator.permutation(n)))
        numbers = generator.integers(2**16, size=shape, dtype=np.uint16)
        masks.append(torch.from_numpy(numbers >= dropped))
    return torch.stack(orders).to(device), torch.stack(masks).to(device)


def _standardised(
    features: np.ndarray, task: MintTask, device: torch.device | str, standardise: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the training and the evaluation inputs, z-scored with the training rows' statistics or raw."""
    train, unseen = (features[rows, task.columns] for rows in (task.train, task.evaluation))
    mean, std = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    mean, std = (mean, np.where(std > 0, std, 1)) if standardise else (0.0, 1.0)
    return tuple(
        torch.from_numpy(((x - mean) / std).astype(np.float32)).to(device) for x in (train, unseen)
    )


def _check(features: np.ndarray, tasks: Sequence[MintTask]) -> None:
    wrong = ~np.isfinite(features)
    if wrong.any():
        columns = np.flatnonzero(wrong.any(axis=0))
        raise ParameterError(
            f"{wrong.sum()} features are no numbers, in columns {columns[0]} to {columns[-1]}: "
            "the Audited Model gives infinite activations; was its training sound?"
        )
    for task in tasks:
        rows = np.concatenate([task.train, task.evaluation])
        if rows.min() < 0 or rows.max() >= len(features):
            raise ParameterError(f"A MINT task names rows outside the {len(features)} there are.")
        if len(np.unique(rows)) != len(rows):
            raise ParameterError(
                "A MINT task repeats an image, or evaluates one that it is trained on: "
                "its result would tell nothing."
            )
        if task.train_labels.all() or not task.train_labels.any():
            raise ParameterError("A MINT task needs members and non-members to train on.")
