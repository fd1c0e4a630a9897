"""Small databases and recipes that tests build on."""

import numpy as np

from mint_utils.config import Audited
from mint_utils.data.manifest import Database


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
