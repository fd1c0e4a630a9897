"""Reads ahead: what is needed next is read by threads while what was read before is in use.

In: items in order and how one is read, such as the images of a batch. Out: each item with what was read
of it, in the same order, so that a result never depends on the number of threads. Threads are enough:
decoding a JPEG, copying an array and waiting for a disk all leave the interpreter to others.
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
    """Yield each item with what was read of it, in the order of the items.

    At most ``threads + 1`` are held at a time. An error of ``read`` is raised where its item is due, after
    all before it, and what was to be read after it is given up.

    Args:
        items: Drawn in the caller's thread.
        read: Called in other threads.
        threads: How many; None: as many as PyTorch computes with.
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
