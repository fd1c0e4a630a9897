"""What BatchNorm leaves of small batches, which needs no training to be known."""

import pytest

from mint_utils.study import checks


def test_embeddings_of_a_batch_push_each_other_apart():
    found = checks.in_small_batches([1, 2, 3, 8, 256]).set_index("batch size")
    cosine, spread = found["mean cosine of two images"], found["spread of lengths"]
    assert found.loc[1].isna().all()
    assert cosine[2] == pytest.approx(-1, abs=1e-5) and spread[2] == pytest.approx(0, abs=1e-5)
    for size in (3, 8, 256):  # vectors that sum to zero, of nearly equal length
        assert cosine[size] == pytest.approx(-1 / (size - 1), abs=0.01)
        assert spread[size] > 0.005
