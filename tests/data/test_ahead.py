"""What is read ahead comes in order, bounded, and its errors where they are due."""

import threading

import numpy as np
import pytest

from mint_utils.data.ahead import read_ahead


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 4, 40])
def test_everything_once_and_in_order_however_long_reading_takes(threads, n):
    waits = np.random.default_rng(n).uniform(0, 0.003, n)

    def read(i: int) -> int:
        threading.Event().wait(waits[i])
        return i * i

    assert list(read_ahead(range(n), read, threads)) == [(i, i * i) for i in range(n)]


def test_reading_goes_on_in_other_threads_and_no_further_ahead_than_told():
    drawn, readers = [], set()

    def items():
        for i in range(20):
            drawn.append(i)
            yield i

    def read(i: int) -> int:
        readers.add(threading.current_thread())
        return i

    for used, (item, _) in enumerate(read_ahead(items(), read, threads=3), 1):
        assert item == used - 1 and len(drawn) <= used + 3
    assert threading.current_thread() not in readers and len(drawn) == 20


def test_an_error_comes_after_all_before_it_and_ends_the_reading():
    read, seen = [], []

    def failing(i: int) -> int:
        read.append(i)
        if i == 5:
            raise ValueError("item 5")
        return i

    with pytest.raises(ValueError, match="item 5"):
        for item, _ in read_ahead(range(100), failing, threads=2):
            seen.append(item)
    assert seen == [0, 1, 2, 3, 4] and max(read) <= 8
    assert not [t for t in threading.enumerate() if t.name.startswith("read-ahead")]


def test_one_who_wants_no_more_leaves_no_thread_behind():
    reading = read_ahead(range(100), lambda i: i, threads=2)
    next(reading)
    reading.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("read-ahead")]
