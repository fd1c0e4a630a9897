"""Statistics of the global batch: those of one rank, where several each see a part of it.

In: a network and its head, one replica a rank. Out: the same, whose BatchNorm and whose AdaFace see the
batches of all ranks together; names and values of their states do not change. Parts may differ in size.
"""

import functools

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mint_utils.audited.margins import AdaFace


def synchronise(network: nn.Module, head: nn.Module) -> nn.Module:
    """Return the network with synchronised statistics; the head is changed in place."""
    if isinstance(head, AdaFace):
        head.moments = moments
    if next(network.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():  # PyTorch has none for CPUs
        if isinstance(module, _BatchNorm):
            module.forward = functools.partial(batch_norm, module)
    return network


def moments(norms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation (n - 1) of all ranks' (N, 1) lengths."""
    n = _Sum.apply(norms.new_tensor(float(len(norms))))
    mean = _Sum.apply(norms.sum()) / n
    return mean, (_Sum.apply((norms - mean).square().sum()) / (n - 1)).sqrt()


def batch_norm(norm: _BatchNorm, x: torch.Tensor) -> torch.Tensor:
    """Return (N, C, ...) normalised by all ranks' mean and variance; updates the running ones."""
    axes, shape = [0, *range(2, x.dim())], (1, -1, *[1] * (x.dim() - 2))
    n = _Sum.apply(x.new_tensor(x.numel() / x.shape[1]))
    mean = _Sum.apply(x.sum(axes)) / n
    centred = x - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(axes)) / n
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * n / (n - 1), norm.momentum)
    normal = centred * (variance + norm.eps).rsqrt().view(shape)
    return normal * norm.weight.view(shape) + norm.bias.view(shape) if norm.affine else normal


class _Sum(torch.autograd.Function):
    """The sum over the ranks, and of their gradients, for each rank's loss depends on it."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        summed = x.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        summed = gradient.contiguous().clone()
        dist.all_reduce(summed)
        return summed
