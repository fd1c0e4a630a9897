"""Several processes side by side: for small networks faster than one process on all cores.

A worker ends with its parent, however that ends, and what it was making goes on from its checkpoint when it
is asked for again.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm

from mint_utils.errors import StudyError

_until: float | None = None
_counter: Any = None  # in a worker: the number that all of them add to


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit(until: float | None) -> None:
    """Set when long work in this process and its workers stops, in seconds of ``time.time``; None: never."""
    global _until
    _until = until


def out_of_time() -> bool:
    """Say whether that time is over."""
    return _until is not None and time.time() > _until


def advance(amount: int) -> None:
    """Tell the parent of a worker how much was done; elsewhere nothing happens."""
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += amount


def side_by_side(
    work: Callable[[Any], Any], tasks: Sequence[Any], jobs: int, total: int | None, unit: str
) -> Iterator[tuple[Any, Any]]:
    """Do tasks in processes of their own and yield each with its result as it is done.

    Args:
        work: An importable function of one task; it calls `advance`.
        tasks: Picklable and hashable, begun in this order.
        jobs: Processes; the cores are shared among them.
        total: The sum of all that `advance` is told; None where nobody knows.
        unit: Of that.

    Raises:
        StudyError: A worker was killed from outside; or the first error of ``work``, the others ended.
    """
    context = multiprocessing.get_context("spawn")  # forked workers hang in OpenMP
    counter = context.Value("q", 0)
    threads = max(1, cores() // jobs)
    with ProcessPoolExecutor(jobs, context, _begin, (counter, threads, _until)) as pool:
        with _inherited():
            found = {pool.submit(work, task): task for task in tasks}
        pending = set(found)
        try:
            with tqdm(total=total, unit=unit, unit_scale=True, leave=False) as bar:
                while pending:
                    done, pending = wait(pending, timeout=1, return_when=FIRST_COMPLETED)
                    bar.update(counter.value - bar.n)
                    for future in done:
                        yield found[future], future.result()
        except BrokenProcessPool as error:
            raise StudyError(
                "A worker process was killed, perhaps for want of memory. What it had done is kept: "
                "give the same command again, with fewer --jobs."
            ) from error
        except BaseException:  # an interrupt too, or a caller that wants no more
            for future in pending:
                future.cancel()
            for process in multiprocessing.active_children():
                process.terminate()
            raise


@contextmanager
def _inherited() -> Iterator[None]:
    """Set what workers are to have from their first moment on, while they are started.

    They draw no bars, for the parent draws one for all; and they leave Ctrl-C to the parent, which ends
    them without a word of theirs.
    """
    bars = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None
    try:
        yield
    finally:
        if in_main:
            signal.signal(signal.SIGINT, handler)
        if bars is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = bars


def _begin(counter: Any, threads: int, until: float | None) -> None:
    """Set a worker up: its share of the cores, its time, and the end of its parent as its own."""
    global _counter
    _counter = counter
    limit(until)
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # of what a worker starts, such as a kernel
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
