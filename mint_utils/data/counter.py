"""Random numbers from counters: a hash of a number, so that they need no order and no state."""

import numpy as np


def mix(z: np.ndarray) -> np.ndarray:
    """Return the output function of SplitMix64 (Steele et al. 2014) of (...,) uint64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
