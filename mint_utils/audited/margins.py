"""The heads that train M: softmax over cosines to class centres, with a margin on the true class.

In: embeddings (N, D) of unit length, their lengths before that (N, 1), labels (N,) int64. Out:
scaled logits (N, C) float32, for ``nn.functional.cross_entropy``. Everything is computed in
float32, under autocast too.

Only the target column goes through acos and cos; in the published code all columns do. The result is the
same: other columns get no margin, and the clamp keeps angles within [0.04, pi - 0.04], so that
cos(acos(x)) = x with gradient 1, and clipping theta to [0.001, pi - 0.001] has no effect.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mint_utils.audited.ir import _read, _refuse_no_numbers, _state, _where
from mint_utils.errors import DataError, TrainingError

EPS = 1e-3  # AdaFace's, for all three heads, so that they differ in the margin only
SHARD = re.compile(r"rank_(\d+)_softmax_weight\.pt")
# Names of class centres in published files: AdaFace, facenet-pytorch, InsightFace, common others.
FILED = (
    "head.kernel",
    "kernel",
    "logits.weight",
    "head.weight",
    "margin.weight",
    "fc.kernel",
    "weight",
)


class MarginHead(nn.Module):
    """Class centres, and the cosines to them; a subclass defines the margin.

    Attributes:
        m: The margin.
        s: The scale of the logits.
        kernel: (D, C), a class centre in each column; only its direction matters.
    """

    m, s = 0.4, 64.0

    def __init__(self, embedding: int, classes: int):
        super().__init__()
        kernel = torch.empty(embedding, classes).uniform_(-1, 1)
        self.kernel = nn.Parameter(nn.functional.normalize(kernel, dim=0))

    def forward(
        self, embeddings: torch.Tensor, norms: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Return the scaled logits (N, C)."""
        cosines, column = self.cosines(embeddings), labels[:, None]
        target = cosines.gather(1, column).clamp(-1 + EPS, 1 - EPS)
        target = self.with_margin(target, norms.detach().float())
        # In place: with many classes (N, C) is the largest array of a training step.
        return cosines.clamp(-1 + EPS, 1 - EPS).scatter_(1, column, target).mul_(self.s)

    def cosines(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return (N, C) float32: the cosines of embeddings (N, D) of unit length to the centres."""
        with torch.autocast(embeddings.device.type, enabled=False):
            kernel = self.kernel.float()
            return embeddings.float() @ (kernel / kernel.norm(dim=0, keepdim=True))

    def with_margin(self, target: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
        """Return the target cosines (N, 1) with the margin, given the lengths (N, 1)."""
        raise NotImplementedError


class CosFace(MarginHead):
    """cos(theta) - m (arXiv 1801.09414)."""

    def with_margin(self, target: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
        """Return (N, 1); the lengths do not count."""
        return target - self.m


class ArcFace(MarginHead):
    """cos(theta + m), theta + m at most pi - 0.001 (arXiv 1801.07698)."""

    m = 0.5

    def with_margin(self, target: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
        """Return (N, 1); the lengths do not count."""
        return _rotated(target, self.m)


class AdaFace(MarginHead):
    """cos(theta - m k) - (m + m k), k in [-1, 1] an estimate of image quality (arXiv 2204.00964).

    k is the length of the embedding minus its running mean, divided by its running standard deviation, times
    h. In training a batch updates both before they are used.
    """

    h = 0.333
    t_alpha = 0.01  # weight of a batch in the running statistics

    def __init__(self, embedding: int, classes: int):
        super().__init__(embedding, classes)
        self.register_buffer("batch_mean", torch.tensor([20.0]))
        self.register_buffer("batch_std", torch.tensor([100.0]))

    def with_margin(self, target: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
        """Return (N, 1).

        Raises:
            TrainingError: One image in training, where the standard deviation is not defined.
        """
        norms = norms.clip(1e-3, 100)
        if self.training:
            if len(norms) < 2:
                raise TrainingError(
                    "AdaFace cannot train on a batch of one image: the lengths of its embeddings "
                    "have no standard deviation. Raise batch_size to 2 or more."
                )
            self.batch_mean.lerp_(norms.mean(), self.t_alpha)
            self.batch_std.lerp_(norms.std(), self.t_alpha)
        k = (self.h * (norms - self.batch_mean) / (self.batch_std + EPS)).clip(-1, 1)
        return _rotated(target, -self.m * k) - (self.m + self.m * k)


def _rotated(cosine: torch.Tensor, angle: torch.Tensor | float) -> torch.Tensor:
    return (cosine.acos() + angle).clip(EPS, math.pi - EPS).cos()


HEADS: dict[str, type[MarginHead]] = {"adaface": AdaFace, "cosface": CosFace, "arcface": ArcFace}


def make_head(name: str, embedding: int, classes: int) -> MarginHead:
    """Return the head of a loss (`HEADS`) with the margin and scale of its paper, for D and C."""
    return HEADS[name](embedding, classes)


def load_centres(weights: str | Path | Mapping[str, Any], width: int) -> torch.Tensor | None:
    """Return the class centres (D, C) in a file of a network's weights, D being ``width``; None without any.

    ``head.kernel`` is AdaFace's, ``head.weight`` a linear layer's.

    Raises:
        DataError: As of `read_head`.
    """
    state = _state(weights)
    name = next((name for name in ("head.kernel", "head.weight") if name in state), None)
    return None if name is None else _centres(name, state[name], width, _where(weights))


def read_head(source: str, width: int) -> torch.Tensor:
    """Return the class centres of a head, (D, C) float32.

    Args:
        source: A file of tensors, or ``file:entry`` where the name of the entry is not in `FILED`. One of
            InsightFace's ``rank_N_softmax_weight.pt`` stands for all of its folder.
        width: D, the length of the Model Outcome. The file may hold (D, C) or (C, D).

    Raises:
        DataError: There is no such entry, a shard is missing, an entry is not finite, no side has the length
            D, or the entry is square and its name does not show which side the classes are.
    """
    file, entry = (source, "") if Path(source).is_file() else source.rpartition(":")[::2]
    if SHARD.fullmatch(Path(file).name):
        return _centres("weight", _shards(Path(file).parent), width, source)
    entries = {k: v for k, v in _flat(_read(Path(file))) if v.ndim == 2}
    name = entry or next((n for n in FILED if any(_ends(k, n) for k in entries)), "")
    names = [k for k in entries if _ends(k, name)] if name else list(entries)
    if len(names) != 1:
        listed = ", ".join(n for n, v in entries.items() if width in v.shape)
        raise DataError(
            f"{file} holds {len(names)} entries {entry or 'for a head'}: name one as {file}:ENTRY. With "
            f"a side of {width} it has: {listed or 'none'}."
        )
    return _centres(names[0], entries[names[0]], width, source)


def _ends(key: str, name: str) -> bool:
    return f".{key}".endswith(f".{name}")


def _centres(name: str, centres: torch.Tensor, width: int, where: str) -> torch.Tensor:
    """Return class centres stored as (D, C) or (C, D) as (D, C) float32."""
    if centres.ndim != 2 or width not in centres.shape or 0 in centres.shape:
        raise DataError(
            f"{where}: {name} has the shape {tuple(centres.shape)}, and the outcome of the network has "
            f"{width} numbers: name the head of this network, or save it as head.weight (classes, numbers)."
        )
    if centres.shape == (width, width) and name.endswith("kernel"):
        raise DataError(
            f"{where}: {name} is square, {tuple(centres.shape)}, and either side may be the classes: save it "
            "as head.weight (classes, numbers)."
        )
    _refuse_no_numbers(where, {name: centres})
    return (centres.T if centres.shape[1] == width else centres).float().contiguous()


def _shards(folder: Path) -> torch.Tensor:
    shards = {int(m[1]): p for p in folder.iterdir() if (m := SHARD.fullmatch(p.name))}
    missing = sorted(set(range(max(shards) + 1)) - set(shards))
    if missing:
        raise DataError(
            f"{folder} lacks the shards {missing} of rank_N_softmax_weight.pt: bring them all."
        )
    return torch.cat([_read(shards[rank]) for rank in sorted(shards)])


def _flat(content: Any, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the dotted name and the tensor of every entry, however deep."""
    if isinstance(content, torch.Tensor):
        yield prefix, content
    elif isinstance(content, dict):
        for name, value in content.items():
            yield from _flat(value, f"{prefix}.{name}" if prefix else str(name))
