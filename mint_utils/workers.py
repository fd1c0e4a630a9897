"""Several processes side by side, which is faster for small networks than one process on all cores.

A worker ends when its parent ends, for whatever reason. What it was making goes on from its checkpoint at the
next call.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm

from mint_utils.errors import OutOfTime, StudyError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt (malloc.h)
EVERY = 30.0  # seconds between two lines of progress, where there are no bars
_until: float | None = None
_counter: Any = None  # in a worker: the number that all of them add to
_shown: "Progress | None" = None  # where tasks are done in this process


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_memory() -> None:
    """Keep what this process frees for its next results, requests above a gigabyte excepted.

    PyTorch asks anew for the memory of each result. glibc would give freed memory back to the system, which
    clears every page before it lends it again: a third of a training step, half of a forward pass. Other
    C libraries have no such settings.
    """
    if hasattr(ctypes.pythonapi, "gnu_get_libc_version"):
        ctypes.pythonapi.mallopt(M_MMAP_THRESHOLD, 2**30)
        ctypes.pythonapi.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def limit(until: float | None) -> None:
    """Set when long work in this process and its workers stops, in seconds of ``time.time``; None: never."""
    global _until
    _until = until


def out_of_time() -> bool:
    """Return whether the time of `limit` is over."""
    return _until is not None and time.time() > _until


def stop_in_time() -> None:
    """Raise `OutOfTime` where the time of `limit` is over: for work that has no checkpoint."""
    if out_of_time():
        raise OutOfTime("The time is over.")


def advance(amount: int) -> None:
    """Add to the progress of `side_by_side`; outside of it nothing happens."""
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += amount
    elif _shown is not None:
        _shown.show(_shown.done + amount)


class Progress:
    """Shows how much is done: as a bar, or where bars are off (TQDM_DISABLE) as a line now and then."""

    def __init__(self, total: int | None, unit: str):
        self.total, self.unit, self.done, self.last = total or None, unit, 0, 0
        self.started = self.printed = time.monotonic()
        lines = os.environ.get("TQDM_DISABLE")
        self.bar = None if lines else tqdm(total=total, unit=unit, unit_scale=True, leave=False)

    def show(self, done: int) -> None:
        """Show the amount that is done in all."""
        self.done, now = done, time.monotonic()
        if self.bar is not None:
            self.bar.update(done - self.bar.n)
        elif done > self.last and now - self.printed >= EVERY:
            self.printed, self.last, rate = now, done, done / (now - self.started)
            text = f"    {done:,} {self.unit}, {rate:,.1f}/s"
            # Networks in the place of failed ones come on top of the total.
            if self.total and done <= self.total:
                text += f", {done / self.total:.0%} of {self.total:,}"
            if self.total and self.total / 10 <= done < self.total:  # before that it is a guess
                text += f", about {(self.total - done) / rate / 60:.0f} min left"
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()


def side_by_side(
    work: Callable[[Any], Any], tasks: Sequence[Any], jobs: int, total: int | None, unit: str
) -> Iterator[tuple[Any, Any]]:
    """Do tasks in processes of their own and yield each with its result as it is done.

    Args:
        work: An importable function of one task, which calls `advance`.
        tasks: Picklable and hashable; they begin in this order.
        jobs: Number of processes; they share the cores, and each has one GPU where there are any. With one
            job the tasks are done in this process.
        total: The sum of all amounts given to `advance`; None where it is unknown.
        unit: Unit of these amounts, for the display.

    Raises:
        StudyError: A worker was killed from outside; or the first error of ``work``, the others ended.
    """
    progress = Progress(total, unit)
    try:
        if jobs > 1:
            yield from _in_workers(work, tasks, jobs, progress)
        else:
            yield from _in_turn(work, tasks, progress)
    finally:
        progress.close()


def _in_turn(
    work: Callable[[Any], Any], tasks: Sequence[Any], progress: Progress
) -> Iterator[tuple[Any, Any]]:
    global _shown
    for task in tasks:
        _shown = progress
        try:
            result = work(task)
        finally:
            _shown = None
        yield task, result


def _in_workers(
    work: Callable[[Any], Any], tasks: Sequence[Any], jobs: int, progress: Progress
) -> Iterator[tuple[Any, Any]]:
    context = multiprocessing.get_context("spawn")  # forked workers hang in OpenMP
    counter, begun = context.Value("q", 0), context.Value("q", 0)
    threads = max(1, cores() // jobs)
    with ProcessPoolExecutor(jobs, context, _begin, (counter, begun, threads, _until)) as pool:
        with _inherited():
            tasks_of = {pool.submit(work, task): task for task in tasks}
        pending = set(tasks_of)
        try:
            while pending:
                done, pending = wait(pending, timeout=1, return_when=FIRST_COMPLETED)
                progress.show(counter.value)
                for future in done:
                    yield tasks_of[future], future.result()
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
    """Set what workers inherit when they start.

    They draw no bars, because the parent draws one for all. They ignore Ctrl-C, because the parent ends them.
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


def _begin(counter: Any, begun: Any, threads: int, until: float | None) -> None:
    """Set a worker up: its cores, its GPU, its time, and that it ends with its parent."""
    global _counter
    _counter = counter
    limit(until)
    keep_memory()
    torch.set_num_threads(threads)
    with begun.get_lock():
        number, begun.value = begun.value, begun.value + 1
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
    os.environ["OMP_NUM_THREADS"] = str(
        threads
    )  # for the processes that a worker starts, such as a kernel
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
