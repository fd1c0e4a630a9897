"""The heads that train M: softmax over cosines to class centres, with a margin on the true class.

In: embeddings (N, D) of unit length, their lengths before that (N, 1), labels (N,) int64. Out:
scaled logits (N, C) float32, for ``nn.functional.cross_entropy``. Everything is computed in
float32, under autocast too.

Only the target column goes through acos and cos. The published code sends all of them: elsewhere
no margin is added, and the clamp keeps angles within [0.04, pi - 0.04], so that cos(acos(x)) = x
with gradient 1, and clipping theta to [0.001, pi - 0.001] never acts.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mint_utils.audited.ir import _read
from mint_utils.errors import DataError, ParameterError, TrainingError

EPS = 1e-3  # AdaFace's, here of all three heads: they differ in the margin and in nothing else
SHARD = re.compile(r"rank_(\d+)_softmax_weight\.pt")
# Where class centres lie in published files: AdaFace, facenet-pytorch, InsightFace, common others.
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
    """Class centres, and the cosines to them; a subclass says what the margin does.

    Attributes:
        kernel: (D, C), a class centre a column; its length does not count.
    """

    def __init__(self, embedding: int, classes: int, m: float, s: float):
        super().__init__()
        self.m = m
        self.s = s
        kernel = torch.empty(embedding, classes).uniform_(-1, 1)
        self.kernel = nn.Parameter(nn.functional.normalize(kernel, dim=0))

    def forward(
        self, embeddings: torch.Tensor, norms: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Return the scaled logits (N, C)."""
        cosines, column = self.cosines(embeddings), labels[:, None]
        target = cosines.gather(1, column).clamp(-1 + EPS, 1 - EPS)
        target = self.with_margin(target, norms.detach().float())
        # In place: (N, C) is the largest array of a training step where there are many classes.
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

    def __init__(self, embedding: int, classes: int, m: float = 0.4, s: float = 64.0):
        super().__init__(embedding, classes, m, s)

    def with_margin(self, target: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
        """Return (N, 1); the lengths do not count."""
        return target - self.m


class ArcFace(MarginHead):
    """cos(theta + m), theta + m at most pi - 0.001 (arXiv 1801.07698)."""

    def __init__(self, embedding: int, classes: int, m: float = 0.5, s: float = 64.0):
        super().__init__(embedding, classes, m, s)

    def with_margin(self, target: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
        """Return (N, 1); the lengths do not count."""
        return _rotated(target, self.m)


class AdaFace(MarginHead):
    """cos(theta - m k) - (m + m k), k in [-1, 1] the quality told by the length (arXiv 2204.00964).

    k is the length less its running mean, over its running standard deviation, times h. A batch in
    training updates both before they are used.
    """

    def __init__(
        self,
        embedding: int,
        classes: int,
        m: float = 0.4,
        h: float = 0.333,
        s: float = 64.0,
        t_alpha: float = 0.01,
    ):
        super().__init__(embedding, classes, m, s)
        self.h = h
        self.t_alpha = t_alpha
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


def make_head(
    name: str,
    embedding: int,
    classes: int,
    m: float | None = None,
    h: float | None = None,
    s: float | None = None,
) -> MarginHead:
    """Return a head by its name; None stands for the value its paper published.

    Args:
        name: adaface, cosface or arcface.
        embedding: D.
        classes: C.
        m: Margin.
        h: How strongly AdaFace's margin follows the length.
        s: Scale of the logits.

    Raises:
        ParameterError: Another name, or h for a head that has none.
    """
    if name not in HEADS:
        raise ParameterError(f"Unknown loss {name!r}: the heads are {', '.join(HEADS)}.")
    if h is not None and name != "adaface":
        raise ParameterError(f"{name} has no h, only adaface has: leave h out or take adaface.")
    given = {key: value for key, value in {"m": m, "h": h, "s": s}.items() if value is not None}
    return HEADS[name](embedding, classes, **given)


def read_head(source: str, width: int) -> torch.Tensor:
    """Return the class centres of a head, (D, C) float32.

    Args:
        source: A file of tensors, or ``file:entry`` where the entry is not one of the usual (`FILED`). One of
            InsightFace's ``rank_N_softmax_weight.pt`` stands for all of its folder.
        width: D, of the outcome. The file may hold (D, C) or (C, D).

    Raises:
        DataError: There is no such entry, a shard is missing, or no side of it is D.
    """
    file, entry = (source, "") if Path(source).is_file() else source.rpartition(":")[::2]
    if SHARD.fullmatch(Path(file).name):
        centres = _shards(Path(file).parent)
    else:
        entries = dict(_flat(_read(Path(file))))
        names = [entry] if entry else [n for n in FILED if _named(entries, n)]
        found = (
            _named(entries, names[0])
            if names
            else list(entries.values())
            if len(entries) == 1
            else []
        )
        if len(found) != 1:
            listed = ", ".join(n for n, v in entries.items() if v.ndim == 2 and width in v.shape)
            raise DataError(
                f"{file} holds {len(found)} entries {entry or 'for a head'}: name one as {file}:ENTRY. With "
                f"a side of {width} it has: {listed or 'none'}."
            )
        centres = found[0]
    if centres.ndim != 2 or width not in centres.shape:
        raise DataError(
            f"The head of {source} has the shape {tuple(centres.shape)}, and the outcome of the network has "
            f"{width} numbers: name the head of this network."
        )
    return (centres if centres.shape[0] == width else centres.T).float().contiguous()


def _shards(folder: Path) -> torch.Tensor:
    found = {
        int(SHARD.fullmatch(p.name)[1]): p for p in folder.iterdir() if SHARD.fullmatch(p.name)
    }
    missing = sorted(set(range(max(found) + 1)) - set(found))
    if missing:
        raise DataError(
            f"{folder} lacks the shards {missing} of rank_N_softmax_weight.pt: bring them all."
        )
    return torch.cat([_read(found[rank]) for rank in sorted(found)])


def _flat(content: Any, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the dotted name and the tensor of every entry, however deep."""
    if isinstance(content, torch.Tensor):
        yield prefix, content
    elif isinstance(content, dict):
        for name, value in content.items():
            yield from _flat(value, f"{prefix}.{name}" if prefix else str(name))


def _named(entries: dict[str, torch.Tensor], name: str) -> list[torch.Tensor]:
    """Return the entries of a name, whatever stands before it."""
    return [v for key, v in entries.items() if f".{key}".endswith(f".{name}") and v.ndim == 2]
