"""What an auditor reads of M beyond activations: how an image lies to the class centres of the head.

The readings are features for MINT Models, one of which knows who is shown, and the input of known attacks.

Training pulls a member to the centre of its class. Copies that training never made (shifted ones) are pulled
less, and the length of a centre says how many images pull at it. The activations of an image alone do not
show this; their relation to the head does.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mint_utils.data.images import normalise
from mint_utils.mint.attacks import batch_norm_probe
from mint_utils.mint.batches import batches

VERSION = 1  # of the readings: raised when the same model and images give others
NEAREST = 20  # centres of which the cosine is kept
SCALE = 64.0  # of the cosines in the losses of M (s)
SHIFT = 20  # a shifted copy is moved by the side over this
RIDGE = 0.5  # of `share`, chosen on the baseline of quick

OWN = "Own class centre"
CENTRES = "Class centres"
MANY = f"{NEAREST} nearest centres"
STATISTICS = "Batch-norm statistics"
COPIES = "Outcomes of copies"
SHORT = ", without length"  # of the centre: an ablation of the first two


@dataclass(frozen=True)
class Reading:
    """What a row of features reads, in words; the access that it takes; whether it knows who is shown."""

    description: str
    access: str
    label: bool = False


TESTS = {
    OWN: Reading(
        "cosine to the centre of the own class (image and mirror; shifted copies), all other classes "
        "together, length of the centre",
        "white box",
        label=True,
    ),
    CENTRES: Reading(
        "cosine to the nearest class centre (image and mirror; shifted copies), to the second nearest, "
        "length of the nearest",
        "white box",
    ),
    MANY: Reading(f"cosines to the {NEAREST} nearest class centres", "white box"),
    STATISTICS: Reading("distance to the statistics of each batch normalisation", "white box"),
    COPIES: Reading("cosines of the outcome to those of altered copies", "black box"),
    OWN + SHORT: Reading(
        "the same as for the own class centre, but for the length of the centre",
        "white box",
        label=True,
    ),
    CENTRES + SHORT: Reading(
        "the same as for the class centres, but for the length of the nearest", "white box"
    ),
}


@dataclass(frozen=True)
class Readings:
    """What was read of N images, V views of each, view 0 the image itself, view 1 its mirror.

    Attributes:
        nearest: (N, K) float32, the largest cosines to class centres, descending; K is NEAREST or the
            number of classes.
        follow: (N, V) float32, cosine of each view to the centre nearest to view 0.
        length: (N,) float32, length of this centre, the column of the head as it is stored.
        copies: (N, V - 1) float32, cosine of the outcome of each other view to that of view 0.
        norm: (N, V) float32, length of the embedding.
        known: (N,) bool, whether the class of the image's person in M was given.
        own: (N, V) float32, cosine to the centre of this class; to the nearest centre where there is none.
        own_length: (N,) float32, length of that centre.
        log_sum: (N, V) float32, log of the sum over classes of exp(s cosine).
        log_rest: (N, V) float32, the same over all classes but that one.
        distances: (N, L) float32, of view 0 to the statistics of each batch normalisation; L may be 0.
    """

    nearest: np.ndarray
    follow: np.ndarray
    length: np.ndarray
    copies: np.ndarray
    norm: np.ndarray
    known: np.ndarray
    own: np.ndarray
    own_length: np.ndarray
    log_sum: np.ndarray
    log_rest: np.ndarray
    distances: np.ndarray

    def margin(self) -> np.ndarray:
        """Return the cosine to the own centre less the largest other, (N,) float64, NaN without a class."""
        first, second = self.nearest[:, 0], self.nearest[:, 1]
        other = np.where(self.own[:, 0] < first, first, second)
        return np.where(self.known, self.own[:, 0].astype(np.float64) - other, np.nan)

    def features(self) -> tuple[np.ndarray, dict[str, slice]]:
        """Return (N, L) float32 for MINT Models, and the columns of each row of `TESTS`."""
        centres = [self.follow[:, :2].mean(axis=1), self.follow[:, 2:].mean(axis=1)]
        centres += [self.nearest[:, 1], self.length]
        own = [self.own[:, :2].mean(axis=1), self.own[:, 2:].mean(axis=1)]
        own += [self.log_rest[:, :2].mean(axis=1) / SCALE, self.own_length]
        parts = {
            OWN: np.column_stack(own),
            CENTRES: np.column_stack(centres),
            MANY: self.nearest,
            STATISTICS: self.distances,
            COPIES: self.copies,
        }
        ends = np.cumsum([part.shape[1] for part in parts.values()]).tolist()
        rows = dict(zip(parts, map(slice, [0, *ends], ends), strict=True))
        # The length is the last column of both.
        rows |= {
            name + SHORT: slice(rows[name].start, rows[name].stop - 1) for name in (OWN, CENTRES)
        }
        return np.hstack(list(parts.values())), rows


def views(images: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield an image, its mirror, and copies moved up, down, left and right by a twentieth of the side.

    Training mirrors images and never moves them (`images.augment`).

    Args:
        images: (N, 3, S, S) uint8. Where a copy has moved away from an edge, the edge is repeated.
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
    """Return the readings of images.

    Args:
        network: In evaluation mode, on the device.
        head: A `margins.MarginHead`, on the device.
        colour_order: ``bgr`` or ``rgb``, as the network's input has it.
        pieces: An array of images (N, S, S, 3) uint8 RGB, the indices (n,) wanted of it, and the class
            (n,) int64 of each of these in the head, -1 for none.
        device: Where the network is.
    """
    lengths = head.kernel.norm(dim=0)
    own = torch.from_numpy(np.concatenate([classes for _, _, classes in pieces])).to(device)
    each: list[Readings] = []
    for rows, images in batches([piece[:2] for piece in pieces], "readings"):
        batch = torch.from_numpy(images).to(device)
        each.append(_read(network, head, colour_order, batch, own[rows], lengths))
    return Readings(
        **{name: np.concatenate([getattr(one, name) for one in each]) for name in vars(each[0])}
    )


@torch.inference_mode()
def own_class(
    network: nn.Module,
    head: nn.Module,
    colour_order: str,
    images: np.ndarray,
    indices: np.ndarray,
    classes: np.ndarray,
    device: torch.device,
) -> dict[str, np.ndarray]:
    """Return how images lie to the centre of their class: what attacks read of M and of shadow models.

    Arguments as for `read`, of a single piece.

    Returns:
        For images and their mirrors, (n, 2) float32 each: ``own`` and ``log_rest`` of `Readings`, and
        ``second``, the largest cosine to another centre. For images, (n,) float64: ``share`` in the own
        centre and ``nearest_share`` in the nearest one. All but the last are not a number where there is no
        class.
    """
    to_own, units, nearest = [], [], []
    for rows, pixels in batches([(images, indices)]):
        batch = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2)
        own = torch.from_numpy(classes[rows]).to(device)
        outcomes = [network(normalise(view, colour_order))[0] for view in (batch, batch.flip(3))]
        cosines = [head.cosines(outcome) for outcome in outcomes]
        of_views = [torch.stack(_own(each, own.clamp(min=0))) for each in cosines]
        to_own.append(torch.stack(of_views, dim=2).masked_fill((own < 0)[:, None], torch.nan).cpu())
        units.append(torch.stack(outcomes).float().mean(dim=0).cpu())
        nearest.append(cosines[0].argmax(dim=1).cpu())
    found = dict(zip(("own", "log_rest", "second"), torch.cat(to_own, dim=1).numpy(), strict=True))
    both, kernel = torch.cat(units).numpy(), head.kernel.detach().cpu().numpy()
    found["share"] = share(both, classes, kernel)
    return found | {"nearest_share": share(both, torch.cat(nearest).numpy(), kernel)}


def share(units: np.ndarray, classes: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return (N,) float64, the share of each image in a class centre, NaN where it has none.

    Training adds to the centre w of a class multiples of the outcomes x of its members, so that in the end it
    is a sum of them (arXiv 1811.09720). The ridge regression w = sum of a_i x_i over all given images of that
    class, members or not, with the penalty `RIDGE` times the squares of a, has the solution
    a = (X X' + RIDGE I)^-1 X w. The share of an image is its a: the part of w that the other images of the
    person do not explain. It therefore depends on which others are given.

    Args:
        units: (N, D), outcomes.
        classes: (N,) int64, -1 for none.
        kernel: (D, C), centres at the length at which they are stored.
    """
    shares = np.full(len(units), np.nan)
    for column in np.unique(classes[classes >= 0]):
        rows = np.flatnonzero(classes == column)
        x = units[rows].astype(np.float64)
        gram = x @ x.T + RIDGE * np.eye(len(rows))
        shares[rows] = np.linalg.solve(gram, x @ kernel[:, column].astype(np.float64))
    return shares


def _own(cosines: torch.Tensor, column: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the cosine to a class (N,), the log of the sum over all others (N,), their largest (N,)."""
    # The sum leaves that class out; subtracting it from the whole sum would lose all digits.
    others = cosines.scatter(1, column[:, None], -torch.inf)
    rest = torch.logsumexp(SCALE * others, dim=1)
    return cosines.gather(1, column[:, None])[:, 0], rest, others.amax(dim=1)


def _probed(network: nn.Module, n: int) -> AbstractContextManager:
    """Return `batch_norm_probe`, or a probe of no layers where the network, such as a file's, shows none."""
    if any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return batch_norm_probe(network)
    return nullcontext(lambda: np.empty((n, 0), np.float32))


def _read(network, head, colour_order, batch, own, lengths) -> Readings:
    lists: dict[str, list[torch.Tensor]] = {
        name: [] for name in ("follow", "copies", "norm", "own", "log_sum", "log_rest")
    }
    for i, view in enumerate(views(batch.permute(0, 3, 1, 2))):
        with _probed(network, len(batch)) as probe:
            outcome, norm = network(normalise(view, colour_order))
        cosines = head.cosines(outcome)
        if i == 0:
            distances = probe()
            nearest = cosines.topk(min(NEAREST, cosines.shape[1]), dim=1)
            column = torch.where(own >= 0, own, nearest.indices[:, 0])
            first = outcome
        else:
            lists["copies"].append((outcome * first).sum(dim=1))
        lists["follow"].append(cosines.gather(1, nearest.indices[:, :1])[:, 0])
        lists["norm"].append(norm[:, 0])
        lists["log_sum"].append(torch.logsumexp(SCALE * cosines, dim=1))
        for name, value in zip(("own", "log_rest"), _own(cosines, column)[:2], strict=True):
            lists[name].append(value)
    arrays = {
        name: torch.stack(values, dim=1).float().cpu().numpy() for name, values in lists.items()
    }
    return Readings(
        nearest=nearest.values.cpu().numpy(),
        length=lengths[nearest.indices[:, 0]].cpu().numpy(),
        known=(own >= 0).cpu().numpy(),
        own_length=lengths[column].cpu().numpy(),
        distances=distances,
        **arrays,
    )
