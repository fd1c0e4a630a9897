"""Batches of images: every row once and in order, and no bar where bars are off."""

import numpy as np
import pytest
from tqdm import tqdm

from mint_utils.mint import batches


def test_rows_and_images_belong_together_through_all_pieces(monkeypatch):
    monkeypatch.setattr(batches, "BATCH", 4)
    sides = np.arange(30, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    picks = [np.array([3, 1, 9, 9, 0]), np.empty(0, np.int64), np.arange(12, 24)]
    wanted, found = np.concatenate(picks), np.full(17, -1)
    for rows, images in batches.batches([(sides, pick) for pick in picks]):
        assert len(images) == rows.stop - rows.start <= 4
        assert (found[rows] == -1).all()
        found[rows] = images[:, 0, 0, 0]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("title", [None, "images"])
def test_a_bar_is_not_forced_where_bars_are_off(monkeypatch, title):
    """The variable TQDM_DISABLE is tqdm's default of ``disable``: it counts only where none is given."""
    given = {}
    monkeypatch.setattr(batches, "tqdm", lambda **words: given.update(words) or tqdm(disable=True))
    images = np.zeros((3, 2, 2, 3), np.uint8)
    list(batches.batches([(images, np.arange(3))], title))
    assert given.get("disable") == (None if title else True)
