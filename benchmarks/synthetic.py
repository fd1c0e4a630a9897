"""Embedded faces: faces/s of the generator on one core."""

import numpy as np

from benchmarks.timing import paired
from mint_utils.data import synthetic


def main() -> None:
    """Print the rate at the sizes of the profiles."""
    for size, n in ((40, 2048), (112, 256)):
        number = np.arange(n)

        def drawn(size=size, number=number):
            return synthetic.draw("embedded_web", number // 8, number % 8, size)

        seconds, _, _ = paired(drawn, drawn, runs=3)
        print(f"  {size} px: {n / seconds:,.0f} faces/s")


if __name__ == "__main__":
    main()
