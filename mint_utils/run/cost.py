"""What a study takes in exposures, bytes and hours, and whether that fits here.

In: recipes, numbers of images and identities, and the `Size` of an Audited Model. Out: whole numbers of
exposures and bytes, by arithmetic from what the code holds at the same time; they err by tens of per cent,
not by factors. `refuse` says in one sentence what does not fit.
"""

import functools
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from mint_utils import paths
from mint_utils.audited.train import build
from mint_utils.config import PROTOCOLS, Audited, Mint
from mint_utils.data.membership import THIRDS
from mint_utils.errors import ParameterError
from mint_utils.mint.fit import MintRecipe
from mint_utils.mint.protocol import TRAINING_SHARE, equal_shares

FLOAT = 4  # bytes; weights and optimiser are float32 everywhere
WORKSPACE = 1 << 30  # of CUDA itself and of its libraries
PROCESS = 1 << 30  # PyTorch and all else that a process loads
INDEX_BYTES = 300  # an image of D: keys, offsets, identities, cuts, plan, ledger (benchmarks.soak)
STORED_INDEX_BYTES = 60  # the same in files: key, identity; and in the ledger of a model
HISTORY_BYTES = 200  # a step of the training, as long as it runs
LOGITS = 4  # arrays of batch x classes: cosines, clamped, their softmax, and a gradient
PASSING = (
    5  # a fifth more for what lives shortly: gradients of activations, augmentation (measured)
)
CENTRES = 3  # arrays of the size of the class centres, besides weights, gradient and momentum
KINDS = {"disk": "disk space", "gpu": "GPU memory", "memory": "main memory"}


@dataclass(frozen=True)
class Size:
    """An Audited Model in numbers.

    Attributes:
        network: Parameters without the head.
        embedding: D, length of the Model Outcome.
        features: Columns of the Auxiliary Auditable Data.
        activations: Bytes that one image keeps for the backward pass, in float32.
    """

    network: int
    embedding: int
    features: int
    activations: int


@dataclass(frozen=True)
class Resources:
    """Bytes of disk, of the GPU (0 where there is none) and of main memory."""

    disk: int
    gpu: int
    memory: int


@functools.cache
def measured(network: str, image_size: int) -> Size:
    """Return the size of a network: counted on one without numbers, which takes no memory."""
    with torch.device("meta"):
        model, _ = build(Audited(network=network), image_size, identities=2)
        images = torch.empty(2, 3, image_size, image_size)
    weights = {StorageWeakRef(p.untyped_storage()) for p in model.parameters()}
    kept: dict[StorageWeakRef, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[StorageWeakRef(storage)] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.train()(images)
    return Size(
        network=sum(p.numel() for p in model.parameters()),
        embedding=model.num_features,
        features=sum(i["num_chs"] for i in model.feature_info) + model.num_features,
        activations=sum(n for ref, n in kept.items() if ref not in weights) // len(images),
    )


def exposures(recipe: Audited, images: int, held_out: float) -> int:
    """Return how many exposures an epoch is expected to have, of a database of so many images."""
    members = 1 - held_out
    share = {"members": members, "held_out": held_out}.get(recipe.shown, 0.5)
    if recipe.shown.startswith(
        "people-"
    ):  # a third of the people; fewer where images a person are limited
        share = members / len(THIRDS)
    return round(images * share * sum(recipe.repeats) / len(recipe.repeats))


def steps(recipe: Audited, epoch: int) -> int:
    """Return the steps of a training whose epochs have so many exposures."""
    return recipe.epochs * math.ceil(epoch / recipe.batch_size)


def training_bytes(recipe: Audited, size: Size, classes: int, on_gpu: bool) -> int:
    """Return what a step holds at once where M is trained: GPU memory, or main memory of a process.

    Weights, gradients and momentum; the activations of a batch, in bfloat16 on a GPU; logits and class
    centres, of which there are many where there are many identities.
    """
    centres = size.embedding * classes
    held = 3 * (size.network + centres) + CENTRES * centres + LOGITS * recipe.batch_size * classes
    activations = recipe.batch_size * size.activations // (2 if on_gpu else 1)
    passing = (FLOAT * held + activations) // PASSING
    return FLOAT * held + activations + passing + (WORKSPACE if on_gpu else PROCESS)


def host_bytes(images: int, epoch: int, steps: int) -> int:
    """Return the main memory that the keys of D, the order of an epoch and the history take."""
    return images * INDEX_BYTES + 2 * 8 * epoch + steps * HISTORY_BYTES


def stored_bytes(size: Size, classes: int, images: int, steps: int) -> int:
    """Return the size of a finished Audited Model on disk: weights, ledger, history."""
    weights = FLOAT * (size.network + size.embedding * classes)
    return weights + images * STORED_INDEX_BYTES + steps * HISTORY_BYTES // 4


def checkpoint_bytes(size: Size, classes: int, images: int, steps: int) -> int:
    """Return what a training has on disk at most: two checkpoints, for one is whole before another goes."""
    weights = FLOAT * (size.network + size.embedding * classes)
    return 2 * (2 * weights + 8 * images + steps * HISTORY_BYTES // 4)


def prepared_bytes(images: int, image_size: int, streamed: bool) -> int:
    """Return the size of a prepared database on disk; of a streamed one only the index is stored."""
    return images * (STORED_INDEX_BYTES + (0 if streamed else 3 * image_size**2))


def audit_rows(
    mint: Mint, groups: Sequence[int], held_out: int, external: Sequence[int], evaluation: int
) -> tuple[int, int, int]:
    """Return how many images an audit has at most, and the images of T's training and evaluation.

    Args:
        mint: For the number of samples.
        groups: Images of each group of positives.
        held_out: Held-out images of D.
        external: Images of each database of T's negatives in training.
        evaluation: Images of the database of T's negatives in evaluation.
    """
    train, unseen = [], []
    for members in groups:
        most = min(members, held_out)
        train.append(min(mint.mint_samples // 2, int(most * TRAINING_SHARE), sum(external)))
        unseen.append(min(mint.mint_samples // 4, int(most * (1 - TRAINING_SHARE)), evaluation))
    negatives = max(train) + max(unseen)
    negatives += sum(equal_shares(max(train), external)) + max(unseen)
    return sum(train) + sum(unseen) + negatives, 2 * max(train), 2 * max(unseen)


def mint_bytes(mint: Mint, size: Size, groups: int, train: int, unseen: int) -> int:
    """Return what the largest networks of a table hold, all of it twice while it is put together.

    That is the inputs, which seeds share; and for each network what dropout keeps of its units in an epoch,
    a byte each.
    """
    width, splits = size.features - size.embedding, groups * len(PROTOCOLS)  # All Conv Layers
    inputs = splits * (train + unseen) * width * FLOAT
    kept = splits * mint.mint_seeds * train * MintRecipe().hidden[1]
    return 2 * (inputs + kept)


def available(device: torch.device) -> Resources:
    """Return what is free: disk where artifacts go, GPU memory; and all the main memory there is."""
    folder = paths.artifacts().absolute()
    while not folder.exists():
        folder = folder.parent
    return Resources(
        disk=shutil.disk_usage(folder).free,
        gpu=torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0,
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
    )


def refuse(needed: Resources, there: Resources) -> None:
    """Refuse what cannot fit.

    Raises:
        ParameterError: What is too small, by how much, and what helps.
    """
    remedies = {
        "disk": f"free space in {paths.artifacts()} or let MINT_ARTIFACTS name a larger disk",
        "gpu": "lower batch_size, image_size or mint_samples, or take a larger GPU",
        "memory": "give fewer --jobs, or lower batch_size or mint_samples",
    }
    for kind, remedy in remedies.items():
        wanted, free = getattr(needed, kind), getattr(there, kind)
        if wanted > free:
            raise ParameterError(
                f"This run needs about {gigabytes(wanted)} of {KINDS[kind]} and {gigabytes(free)} are "
                f"there: {remedy}."
            )


def gigabytes(n: int) -> str:
    """Return bytes in words."""
    return f"{n / 1e9:,.1f} GB"


def duration(seconds: float) -> str:
    """Return a time in words, to the minute where it is hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
