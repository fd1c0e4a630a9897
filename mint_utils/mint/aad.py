"""Auxiliary Auditable Data: what the auditor reads from M for each image (paper, Section 3.3).

In: an Audited Model and images. Out: one row of features an image, memory-mapped float32: the
maximum of each activation map at the four stage ends, then the Model Outcome. One forward pass in
evaluation mode gives all the rows of a table, each a slice of the columns.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from mint_utils.audited.ir import auditable
from mint_utils.config import ROWS
from mint_utils.data.ahead import read_ahead
from mint_utils.data.images import normalise

VERSION = 1  # of the extraction: raised when the same model and images give other features
BATCH = 256


def columns(widths: Sequence[int], outcome: int) -> dict[str, slice]:
    """Return the columns of each row of a table: four layers, Model Outcome, all four together.

    Args:
        widths: Number of activation maps at each of the four stage ends (64, 128, 256, 512).
        outcome: Length of the Model Outcome (512).
    """
    ends = np.cumsum(widths).tolist()
    starts = [0, *ends[:-1]]
    slices = [slice(a, b) for a, b in zip(starts, ends, strict=True)]
    return dict(
        zip(ROWS, [*slices, slice(ends[-1], ends[-1] + outcome), slice(0, ends[-1])], strict=True)
    )


@torch.inference_mode()
def extract(
    network: nn.Module,
    colour_order: str,
    pieces: Sequence[tuple[np.ndarray, np.ndarray]],
    path: Path,
    device: torch.device,
) -> None:
    """Write the features of images to a ``.npy`` file.

    Args:
        network: In evaluation mode, on the device.
        colour_order: Of its input, ``bgr`` or ``rgb``.
        pieces: Pairs of an array of images, (N, S, S, 3) uint8 RGB, and the indices (n,) wanted of it.
        path: Of the file: (sum of n, sum of widths + outcome) float32.
        device: Where the network is.
    """
    width = sum(info["num_chs"] for info in network.feature_info) + network.num_features
    total = sum(len(indices) for _, indices in pieces)
    features = np.lib.format.open_memmap(path, "w+", np.float32, (total, width))
    done = 0
    with tqdm(total=total, desc="auditable data", unit="img", leave=False) as progress:
        for batch in _batches(pieces):
            maps, outcome = auditable(network, _inputs(batch, colour_order, device))
            rows = torch.cat([*maps, outcome], dim=1)
            features[done : done + len(batch)] = rows.float().cpu().numpy()
            done += len(batch)
            progress.update(len(batch))
    features.flush()


@torch.inference_mode()
def embed(
    network: nn.Module, colour_order: str, images: np.ndarray, device: torch.device
) -> np.ndarray:
    """Return (N, D) float32: the embeddings of each image and of its mirror, summed, before unit length.

    This is what AdaFace's verification compares.
    """
    sums = []
    for batch in _batches([(images, np.arange(len(images)))]):
        inputs = _inputs(batch, colour_order, device)
        both = [unit * norm for unit, norm in (network(inputs), network(inputs.flip(3)))]
        sums.append((both[0] + both[1]).float().cpu().numpy())
    return np.concatenate(sums)


@torch.inference_mode()
def identify(
    network: nn.Module, head: nn.Module, colour_order: str, images: np.ndarray, device: torch.device
) -> np.ndarray:
    """Return (N,) int64: the class whose centre is nearest to each image's outcome."""
    found = []
    for batch in _batches([(images, np.arange(len(images)))]):
        outcome, _ = network(_inputs(batch, colour_order, device))
        found.append(head.cosines(outcome).argmax(dim=1).cpu().numpy())
    return np.concatenate(found)


def _batches(pieces: Sequence[tuple[np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
    for images, indices in pieces:
        batches = (indices[i : i + BATCH] for i in range(0, len(indices), BATCH))
        for _, batch in read_ahead(batches, images.__getitem__):
            yield batch


def _inputs(batch: np.ndarray, colour_order: str, device: torch.device) -> torch.Tensor:
    return normalise(torch.from_numpy(batch).to(device).permute(0, 3, 1, 2), colour_order)
