"""Times two ways of doing the same work in turn, so that a drifting machine touches both."""

import statistics
import time
from collections.abc import Callable


def paired(ours: Callable[[], object], reference: Callable[[], object], runs: int = 5):
    """Return the median seconds of ours and of the reference, and the median of their paired ratios.

    The ratio is reference / ours: above 1, ours is faster. Both run once beforehand.
    """
    ours(), reference()
    pairs = [(_seconds(ours), _seconds(reference)) for _ in range(runs)]
    times = [statistics.median(column) for column in zip(*pairs, strict=True)]
    return *times, statistics.median(b / a for a, b in pairs)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
