"""What an auditor reads of M beyond activations: how an image lies to the class centres of the head.

In: an Audited Model with its head and images. Out, one row an image: features for MINT Models, which need
no label of an image, and for reference the readings of known attacks, some of which need one.

Training pulls a member to the centre of its class, and not only its outcome tells: the copies of it that
training never made (shifted ones) stay behind, and the length of a centre says how many images share its
pull. None of this is in the activations of an image alone; it is in the relation between them and the head.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from mint_utils.data.images import normalise
from mint_utils.mint.attacks import batch_norm_distances

VERSION = 1  # of the readings: raised when the same model and images give others
NEAREST = 20  # centres of which the cosine is kept
SCALE = 64.0  # of the cosines in the losses of M (s)
SHIFT = 20  # a shifted copy is moved by the side over this
BATCH = 256

CENTRES = "Class centres"
MANY = f"{NEAREST} nearest centres"
STATISTICS = "Batch-norm statistics"
COPIES = "Outcomes of copies"
TESTS = {  # row -> what is read, for whom
    CENTRES: "two nearest centres, mirror, shifted copies, length of the centre (white box with head)",
    MANY: "cosines to the nearest centres (white box with head)",
    STATISTICS: "distance to the statistics of each batch normalisation (white box)",
    COPIES: "cosines of the outcome to those of its copies (black box)",
}


@dataclass(frozen=True)
class Readings:
    """What was read of N images, V views of each, view 0 the image itself, view 1 its mirror.

    Attributes:
        nearest: (N, K) float32, the largest cosines to class centres, descending; K is NEAREST or the
            number of classes.
        follow: (N, V) float32, cosine of each view to the centre nearest to view 0.
        length: (N,) float32, of the column of the head that is this centre, as it is stored.
        copies: (N, V - 1) float32, cosine of the outcome of each other view to that of view 0.
        norm: (N, V) float32, length of the embedding.
        own: (N, V) float32, cosine to the centre of the image's own class; NaN where M has none.
        log_sum: (N, V) float32, log of the sum over classes of exp(s cosine).
        log_rest: (N, V) float32, the same over all classes but the own one; NaN where M has none.
        distances: (N, L) float32, of view 0 to the statistics of each batch normalisation.
    """

    nearest: np.ndarray
    follow: np.ndarray
    length: np.ndarray
    copies: np.ndarray
    norm: np.ndarray
    own: np.ndarray
    log_sum: np.ndarray
    log_rest: np.ndarray
    distances: np.ndarray

    def features(self) -> tuple[np.ndarray, dict[str, slice]]:
        """Return (N, L) float32 for MINT Models, and the columns of each row of `TESTS`."""
        centres = np.column_stack(
            [self.nearest[:, :2], self.follow[:, 1], self.follow[:, 2:].mean(axis=1), self.length]
        )
        parts = {
            CENTRES: centres,
            MANY: self.nearest,
            STATISTICS: self.distances,
            COPIES: self.copies,
        }
        ends = np.cumsum([part.shape[1] for part in parts.values()]).tolist()
        slices = (slice(a, b) for a, b in zip([0, *ends], ends, strict=False))
        return np.hstack(list(parts.values())), dict(zip(parts, slices, strict=True))


def views(images: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield an image, its mirror, and copies moved up, down, left and right by a twentieth of the side.

    Training mirrors images and never moves them (`images.augment`).

    Args:
        images: (N, 3, S, S) uint8; an edge is repeated where a copy has moved away from it.
    """
    yield images
    yield images.flip(3)
    side = images.shape[-1]
    by = max(1, round(side / SHIFT))
    padded = F.pad(images.float(), (by, by, by, by), mode="replicate").to(images.dtype)
    for top, left in ((0, by), (2 * by, by), (by, 0), (by, 2 * by)):
        yield padded[:, :, top : top + side, left : left + side]


@torch.inference_mode()
def read(
    network: nn.Module,
    head: nn.Module,
    colour_order: str,
    pieces: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    device: torch.device,
) -> Readings:
    """Read images.

    Args:
        network: In evaluation mode, on the device.
        head: A `margins.MarginHead`, on the device.
        colour_order: Of the network's input, ``bgr`` or ``rgb``.
        pieces: An array of images (N, S, S, 3) uint8 RGB, the indices (n,) wanted of it, and the class
            (n,) int64 of each of these in the head, -1 for none.
        device: Where the network is.
    """
    lengths = head.kernel.norm(dim=0)
    found: list[Readings] = []
    total = sum(len(indices) for _, indices, _ in pieces)
    with tqdm(total=total, desc="readings", unit="img", leave=False) as progress:
        for images, indices, classes in pieces:
            for i in range(0, len(indices), BATCH):
                batch = torch.from_numpy(images[indices[i : i + BATCH]]).to(device)
                own = torch.from_numpy(classes[i : i + BATCH]).to(device)
                found.append(_read(network, head, colour_order, batch, own, lengths))
                progress.update(len(batch))
    return Readings(
        **{name: np.concatenate([getattr(one, name) for one in found]) for name in vars(found[0])}
    )


def _read(network, head, colour_order, batch, own, lengths) -> Readings:
    told: dict[str, list[torch.Tensor]] = {
        name: [] for name in ("follow", "copies", "norm", "own", "log_sum", "log_rest")
    }
    column, known = own.clamp(min=0)[:, None], own >= 0
    for i, view in enumerate(views(batch.permute(0, 3, 1, 2))):
        inputs = normalise(view, colour_order)
        outcome, norm = network(inputs)
        cosines = head.cosines(outcome)
        if i == 0:
            distances = batch_norm_distances(network, inputs)
            nearest = cosines.topk(min(NEAREST, cosines.shape[1]), dim=1)
            first = outcome
        else:
            told["copies"].append((outcome * first).sum(dim=1))
        told["follow"].append(cosines.gather(1, nearest.indices[:, :1])[:, 0])
        told["norm"].append(norm[:, 0])
        told["log_sum"].append(torch.logsumexp(SCALE * cosines, dim=1))
        mine = cosines.gather(1, column)
        told["own"].append(mine[:, 0].masked_fill(~known, torch.nan))
        # Without the own class, rather than by a difference, which would lose all digits.
        rest = torch.logsumexp(SCALE * cosines.scatter(1, column, -torch.inf), dim=1)
        told["log_rest"].append(rest.masked_fill(~known, torch.nan))
    arrays = {
        name: torch.stack(values, dim=1).float().cpu().numpy() for name, values in told.items()
    }
    return Readings(
        nearest=nearest.values.cpu().numpy(),
        length=lengths[nearest.indices[:, 0]].cpu().numpy(),
        distances=distances,
        **arrays,
    )
