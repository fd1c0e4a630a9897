"""Reads ahead: threads read what is needed next while the caller uses what was read before.

Items keep their order, so a result never depends on the number of threads. Threads suffice: decoding a JPEG,
copying an array and waiting for a disk all release the interpreter.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item, Read = TypeVar("Item"), TypeVar("Read")


def read_ahead(
    items: Iterable[Item], read: Callable[[Item], Read], threads: int | None = None
) -> Iterator[tuple[Item, Read]]:
    """Yield each item with the result of ``read``, in the order of the items.

    At most ``threads + 1`` are held at a time. An error of ``read`` is raised when its item is due, after
    all earlier items; the items after it are not read any more.

    Args:
        items: Drawn in the caller's thread.
        read: Called in other threads.
        threads: Number of threads; None: as many as PyTorch computes with.
    """
    threads = threads or torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="read-ahead")
    waiting = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(read, item)))
            if len(waiting) > threads:
                item, future = waiting.popleft()
                yield item, future.result()
        while waiting:
            item, future = waiting.popleft()
            yield item, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
