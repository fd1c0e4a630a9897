"""Random numbers as hashes of counters: the same for an image, wherever and whenever it is drawn."""

import numpy as np

from mint_utils.data.counter import mix

TURNS = 128  # numbers that one image can ask for
F = np.float32


def hashed(*numbers: np.ndarray | int) -> np.ndarray:
    """Return a uint64 hash of integers, elementwise, at least one-dimensional."""
    z = np.zeros(1, np.uint64)
    for number in numbers:
        z = mix((z + np.asarray(number).astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15))
    return z


class Draws:
    """The random numbers of a chunk of B images, asked for by turn; each (B, 1, 1) float32."""

    def __init__(self, *key: np.ndarray | int):
        self.key = hashed(*key)
        z = hashed(self.key[:, None], np.arange(TURNS)).T[:, :, None, None]
        parts = [((z >> np.uint64(k)) & np.uint64(0xFFFF)).astype(F) for k in (0, 16, 32, 48)]
        total = parts[0] + parts[1] + parts[2] + parts[3]
        self._normal = iter((total - F(131070)) * F(1 / 37837))  # a sum of four is nearly normal
        self._uniform = iter((z >> np.uint64(40)).astype(F) * F(2**-24))

    def uniform(self) -> np.ndarray:
        """Return the next number, uniform in [0, 1)."""
        next(self._normal)
        return next(self._uniform)

    def normal(self, mean: float = 0.0, deviation: float = 1.0) -> np.ndarray:
        """Return the next number, nearly normal, within 3.5 deviations of the mean."""
        next(self._uniform)
        return next(self._normal) * F(deviation) + F(mean)

    def colour(self, mean: float, deviation: float, chroma: float) -> np.ndarray:
        """Return a colour, (3, B, 1, 1), of brightness by the first two and of a tint by the third."""
        grey = self.normal(mean, deviation)
        tint = np.stack([self.normal(0, chroma) for _ in range(3)])
        return np.minimum(np.maximum(grey + tint, F(0.04)), F(0.98))

    def grain(self, size: int) -> np.ndarray:
        """Return (B, size, size) of mean 0 and deviation 1, independent of the turns."""
        n = -(-size * size // 4)
        counter = np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        octets = mix(self.key[:, None] + counter).astype("<u8").view(np.uint8)
        sums = octets[:, 0::2].astype(F) + octets[:, 1::2].astype(F)
        return ((sums - F(255)) * F(1 / 104.5))[:, : size * size].reshape(-1, size, size)
