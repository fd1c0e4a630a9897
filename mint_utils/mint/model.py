"""The MINT Model T: the Vanilla MINT Model of the paper, and many of them trained as one.

The paper (Section 3.3) gives two fully connected layers with ReLU, then batch normalisation and dropout of
0.3. The widths 256 and 128 are a choice.
"""

import torch
from torch import nn
from torch.autograd.function import once_differentiable

ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise")  # not in every build
# Inputs from which on a product through oneDNN is worth a call of its own for each network.
WIDE = 512


class VanillaMint(nn.Module):
    """The layers of one MINT Model, L -> 256 -> 128 -> 1; `BatchedMint` computes with them."""

    def __init__(self, inputs: int, hidden: tuple[int, int] = (256, 128)):
        super().__init__()
        self.first = nn.Linear(inputs, hidden[0])
        self.second = nn.Linear(hidden[0], hidden[1])
        self.norm = nn.BatchNorm1d(hidden[1])
        self.last = nn.Linear(hidden[1], 1)


class BatchedMint(nn.Module):
    """K MINT Models side by side: every layer one batched matrix product.

    Inside, samples are the last axis, so that the values of a unit lie side by side and batch normalisation
    reads them without copying.
    """

    def __init__(self, models: list[VanillaMint], dropout: float = 0.3):
        super().__init__()
        self.dropout = dropout
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
        """Return logits (K, B).

        Args:
            x: Inputs (K, B, L), z-scored.
            kept: (K, 128, B) bool, the units that dropout keeps; None in evaluation. It is an argument so
                that a network drops the same units whichever networks are trained beside it.
        """
        x = (_products(self.weights[0], x) + self.biases[0]).relu()
        x = torch.baddbmm(self.biases[1], self.weights[1], x).relu()
        x = self.norm(x.reshape(1, -1, x.shape[2])).view(x.shape)
        if kept is not None:
            x = x * (kept / (1 - self.dropout))
        return torch.baddbmm(self.biases[2], self.weights[2], x)[:, 0]


def _products(weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return weights (K, H, L) times inputs (K, B, L), as (K, H, B)."""
    if ONEDNN and x.device.type == "cpu" and x.shape[2] >= WIDE:
        return _OneDnnProducts.apply(weights, x)
    return torch.bmm(weights, x.transpose(1, 2))


class _OneDnnProducts(torch.autograd.Function):
    """The products of a layer whose inputs need no gradient, by oneDNN.

    PyTorch multiplies matrices through MKL, which keeps to half the vector width of AMD's processors;
    oneDNN, which it convolves through, does not, and is twice as fast there.
    """

    @staticmethod
    def forward(ctx, weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.stack([_onednn(w, one) for w, one in zip(weights, x, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (x,) = ctx.saved_tensors
        pairs = zip(gradient, x, strict=True)
        return torch.stack([_onednn(g, one.T) for g, one in pairs]), None


def _onednn(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return a times b transposed."""
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
