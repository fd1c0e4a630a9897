"""Batches of images for a network, read ahead, with a progress bar."""

from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from mint_utils.data.ahead import read_ahead

BATCH = 256


def batches(
    pieces: Sequence[tuple[np.ndarray, np.ndarray]], title: str | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the rows of each batch, counted through all pieces, and its images (n, S, S, 3) uint8 RGB.

    Args:
        pieces: Pairs of an array of images, (N, S, S, 3) uint8 RGB, and the indices (n,) wanted of it.
        title: Title of the progress bar; None: there is no bar.
    """
    start, total = 0, sum(len(indices) for _, indices in pieces)
    # A False would overrule TQDM_DISABLE, so nothing is said of it where there is a bar.
    silent = {} if title else {"disable": True}
    with tqdm(total=total, desc=title, unit="img", leave=False, **silent) as progress:
        for images, indices in pieces:
            parts = (indices[i : i + BATCH] for i in range(0, len(indices), BATCH))
            for part, batch in read_ahead(parts, images.__getitem__):
                yield slice(start, start + len(part)), batch
                start += len(part)
                progress.update(len(part))
