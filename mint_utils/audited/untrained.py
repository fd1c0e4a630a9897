"""Prepares an untrained network for an audit: it is a null model of membership.

Only its BatchNorm statistics are taken from images. Without them the inputs of its layers would differ from
those in a trained network for another reason than training.
"""

from itertools import chain

import numpy as np
from torch import nn
from torch.optim.swa_utils import update_bn

from mint_utils.audited.ir import inputs
from mint_utils.errors import ParameterError

BATCH = 256


def calibrated(
    network: nn.Module, images: np.ndarray, indices: np.ndarray, colour_order: str
) -> nn.Module:
    """Set the running statistics of every BatchNorm from images; nothing else of the network changes.

    Means and variances are averages over batches of nearly equal size. The images are shuffled first, in an
    order that depends on their number alone: databases are sorted by person, and a batch with images of one
    person would have too small a variance. No label is read, dropout is off, no gradient is computed.

    Args:
        network: A network as of `train.build`; changed in place, on its own device.
        images: (N, S, S, 3) uint8 RGB, an array or an object indexed like one.
        indices: (n,) int64, the images to use; a few thousand suffice.
        colour_order: Colour order of the network's input, ``bgr`` or ``rgb``.

    Returns:
        The network, in evaluation mode.

    Raises:
        ParameterError: Fewer than two images, which have no variance.
    """
    if len(indices) < 2:
        raise ParameterError(
            f"BatchNorm statistics cannot be taken from {len(indices)} images: give at least 2, "
            "better a few thousand."
        )
    mixed = indices[np.random.default_rng(0).permutation(len(indices))]
    batches = np.array_split(mixed, -(-len(mixed) // BATCH))
    device = next(chain(network.parameters(), network.buffers())).device
    dropouts = [m for m in network.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    rates = [module.p for module in dropouts]
    for module in dropouts:
        module.p = 0.0
    update_bn((inputs(images[batch], colour_order, device) for batch in batches), network)
    for module, rate in zip(dropouts, rates, strict=True):
        module.p = rate
    return network.eval()
