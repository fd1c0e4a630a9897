"""Auxiliary Auditable Data: what the auditor reads from M for each image (paper, Section 3.3).

Each image has one row of features: the maximum of each activation map at the four stage ends, then the Model
Outcome. One forward pass in evaluation mode serves all rows of a table, each of which is a slice of these
columns. CNN MINT reads the maps themselves.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mint_utils.audited.ir import auditable, inputs
from mint_utils.config import ROWS
from mint_utils.data.images import sent
from mint_utils.mint.batches import BATCH, batches

VERSION = 1  # of the extraction: raised when the same model and images give other features
# Activation maps held at once; where there are more, they are computed again for every batch.
KEPT_BYTES = {"cpu": 1 << 30, "cuda": 16 << 30}


def columns(widths: Sequence[int], outcome: int) -> dict[str, slice]:
    """Return the columns of each row of a table: four layers, Model Outcome, all four together.

    Args:
        widths: Number of activation maps at each of the four stage ends (64, 128, 256, 512). A network of
            another kind may have fewer layers, and the table then has fewer rows.
        outcome: Length of the Model Outcome (512).
    """
    *layers, last, together = ROWS
    ends = np.cumsum([0, *widths]).tolist()
    slices = [slice(a, b) for a, b in pairwise(ends)]
    found = dict(zip(layers[: len(widths)], slices, strict=True))
    found[last] = slice(ends[-1], ends[-1] + outcome)
    return found | ({together: slice(0, ends[-1])} if widths else {})


@torch.inference_mode()
def extract(
    network: nn.Module,
    colour_order: str,
    pieces: Sequence[tuple[np.ndarray, np.ndarray]],
    path: Path,
    device: torch.device,
    pooling: str = "max",
) -> None:
    """Write the features of images to a ``.npy`` file.

    Args:
        network: In evaluation mode, on the device.
        colour_order: ``bgr`` or ``rgb``, as the network's input has it.
        pieces: Pairs of an array of images, (N, S, S, 3) uint8 RGB, and the indices (n,) wanted of it.
        path: The file, (sum of n, sum of widths + outcome) float32.
        device: Where the network is.
        pooling: What is kept of a map, ``max`` or ``mean``.
    """
    width = sum(info["num_chs"] for info in network.feature_info) + network.num_features
    total = sum(len(indices) for _, indices in pieces)
    features = np.lib.format.open_memmap(path, "w+", np.float32, (total, width))
    for rows, images in batches(pieces, "auditable data"):
        maps, outcome = auditable(network, inputs(images, colour_order, device), pooling)
        features[rows] = torch.cat([*maps, outcome], dim=1).float().cpu().numpy()
    features.flush()


def maps(
    network: nn.Module,
    colour_order: str,
    pieces: Sequence[tuple[np.ndarray, np.ndarray]],
    device: torch.device,
) -> Callable[[np.ndarray], list[torch.Tensor]]:
    """Return a function from rows (n,) int64 to the activation maps of these images at the stage ends.

    It returns (n, C_i, s_i, s_i) float32 for each of the four stages. The maps of all images are held where
    they are small. IR-50's at 112 px are 1.5 MB an image, so they are computed again for every batch.
    Arguments as for `extract`; rows are counted through all pieces.
    """
    of_piece = np.repeat(np.arange(len(pieces)), [len(indices) for _, indices in pieces])
    index = np.concatenate([indices for _, indices in pieces])

    @torch.no_grad()  # not inference_mode, whose tensors cannot be trained on
    def compute(rows: np.ndarray) -> list[torch.Tensor]:
        images = np.empty((len(rows), *pieces[0][0].shape[1:]), np.uint8)
        for i in np.unique(of_piece[rows]):
            here = of_piece[rows] == i
            images[here] = pieces[i][0][index[rows[here]]]
        batch = inputs(images, colour_order, device)
        return network.forward_intermediates(batch, intermediates_only=True)

    every = np.arange(len(index))
    if len(every) * sum(stage.nbytes for stage in compute(every[:1])) > KEPT_BYTES[device.type]:
        return compute
    each = [compute(every[i : i + BATCH]) for i in range(0, len(every), BATCH)]
    kept = [torch.cat(stage) for stage in zip(*each, strict=True)]
    return lambda rows: [stage[sent(rows, device)] for stage in kept]


@torch.inference_mode()
def embed(
    network: nn.Module, colour_order: str, images: np.ndarray, device: torch.device
) -> np.ndarray:
    """Return (N, D) float32: the embeddings of each image and of its mirror, summed, before unit length.

    AdaFace's verification compares these. Arguments as for `extract`, images (N, S, S, 3) uint8 RGB.
    """
    sums = []
    for batch in _inputs(images, colour_order, device):
        both = [unit * norm for unit, norm in (network(batch), network(batch.flip(3)))]
        sums.append((both[0] + both[1]).float().cpu().numpy())
    return np.concatenate(sums)


@torch.inference_mode()
def outcomes(
    network: nn.Module, colour_order: str, images: np.ndarray, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Return the Model Outcome of each image, (N, D) float16, and the length before that, (N,) float32."""
    units, norms = [], []
    for batch in _inputs(images, colour_order, device):
        unit, norm = network(batch)
        units.append(unit.half().cpu().numpy())
        norms.append(norm[:, 0].float().cpu().numpy())
    return np.concatenate(units), np.concatenate(norms)


@torch.inference_mode()
def identify(
    network: nn.Module, head: nn.Module, colour_order: str, images: np.ndarray, device: torch.device
) -> np.ndarray:
    """Return (N,) int64: the class whose centre is nearest to each image's outcome."""
    nearest = []
    for batch in _inputs(images, colour_order, device):
        outcome, _ = network(batch)
        nearest.append(head.cosines(outcome).argmax(dim=1).cpu().numpy())
    return np.concatenate(nearest)


def _inputs(images: np.ndarray, colour_order: str, device: torch.device) -> Iterator[torch.Tensor]:
    """Yield the network's inputs of an array of images, batch by batch."""
    for _, batch in batches([(images, np.arange(len(images)))]):
        yield inputs(batch, colour_order, device)
