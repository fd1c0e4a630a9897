"""The MINT Model T: the Vanilla MINT Model of the paper, and many of them trained as one.

In: features (B, L), z-scored. Out: a logit of membership an image. The paper (Section 3.3) gives two fully
connected layers with ReLU, then batch normalisation and dropout of 0.3; widths 256 and 128 are a choice.
"""

import torch
from torch import nn


class VanillaMint(nn.Module):
    """One MINT Model: L -> 256 -> 128 -> 1."""

    def __init__(self, inputs: int, hidden: tuple[int, int] = (256, 128), dropout: float = 0.3):
        super().__init__()
        self.dropout = dropout
        self.first = nn.Linear(inputs, hidden[0])
        self.second = nn.Linear(hidden[0], hidden[1])
        self.norm = nn.BatchNorm1d(hidden[1])
        self.last = nn.Linear(hidden[1], 1)

    def forward(self, x: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits (B,).

        Args:
            x: (B, L).
            kept: (B, 128) bool, the units that dropout keeps; None in evaluation. It is an argument so that
                a network trained alone and one trained among others drop the same.
        """
        x = self.norm(self.second(self.first(x).relu()).relu())
        if kept is not None:
            x = x * kept / (1 - self.dropout)
        return self.last(x)[:, 0]


class BatchedMint(nn.Module):
    """K MINT Models side by side: every layer one batched matrix product.

    Inside, samples are the last axis, along which a unit's values lie side by side: batch normalisation
    reads them as they are.
    """

    def __init__(self, models: list[VanillaMint]):
        super().__init__()
        self.dropout = models[0].dropout
        layers = [[m.first, m.second, m.last] for m in models]
        self.weights = nn.ParameterList(
            torch.stack([layer.weight.detach() for layer in column])
            for column in zip(*layers, strict=True)
        )
        self.biases = nn.ParameterList(
            torch.stack([layer.bias.detach() for layer in column])[..., None]
            for column in zip(*layers, strict=True)
        )
        self.norm = nn.BatchNorm1d(len(models) * models[0].norm.num_features)

    def forward(self, x: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits (K, B) of inputs (K, B, L), with dropout masks (K, 128, B) in training."""
        x = x.transpose(1, 2)
        for i in range(2):
            x = torch.baddbmm(self.biases[i], self.weights[i], x).relu()
        x = self.norm(x.reshape(1, -1, x.shape[2])).view(x.shape)
        if kept is not None:
            x = x * (kept / (1 - self.dropout))
        return torch.baddbmm(self.biases[2], self.weights[2], x)[:, 0]
