"""Random numbers as hashes of counters: they need no state, and their order does not matter."""

import numpy as np


def mix(z: np.ndarray) -> np.ndarray:
    """Return the output function of SplitMix64 (Steele et al. 2014) of (...,) uint64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
