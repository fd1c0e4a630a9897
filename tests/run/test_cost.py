"""Estimates against cases computed by hand, sizes against networks that are there, refusals."""

import numpy as np
import pytest
import torch

from mint_utils import paths
from mint_utils.audited import train
from mint_utils.audited.exposure import plan
from mint_utils.config import Audited, Mint
from mint_utils.errors import ParameterError
from mint_utils.mint.protocol import audit_set
from mint_utils.run import cost
from tests.factory import database, recipe

GIB = 1 << 30


@pytest.mark.parametrize(
    ("changes", "epoch", "steps"),
    [
        ({}, 4_920_534, 26 * 19_221),  # 95% of MS1MV3; 19,220.8 batches of 256 an epoch
        ({"batch_size": 8}, 4_920_534, 26 * 615_067),
        ({"repeats": (1, 10, 20, 30)}, 75_038_151, 26 * 293_118),  # 61 / 4 times as many
        ({"shown": "held_out", "epochs": 1}, 258_976, 1_012),
        ({"shown": "shadow-1", "epochs": 1}, 2_589_755, 10_117),
    ],
)
def test_exposures_of_ms1mv3_by_hand(changes, epoch, steps):
    r = Audited(**changes)
    found = cost.exposures(r, 5_179_510, 0.05)
    assert abs(found - epoch) <= 1 and cost.steps(r, found) == steps


@pytest.mark.parametrize("shown", ["members", "held_out", "shadow-0", "people-b"])
def test_expected_exposures_are_those_of_plans(shown):
    d, r = database(identities=3000, each=4), recipe(shown=shown, repeats=(1, 3))
    planned = plan(r, d, 0.3, 0)
    expected = cost.exposures(r, len(d), 0.3)
    assert abs(planned.images.sum() - expected) < 0.05 * expected
    assert planned.steps == cost.steps(r, int(planned.images.sum()))


SIZE = cost.Size(network=1000, embedding=10, features=40, activations=500)


def test_training_memory_by_hand():
    """3 x (1000 + 10 x 7) numbers, 3 more arrays of centres, 4 of 8 x 7 logits; activations; a fifth more."""
    r = Audited(batch_size=8)
    numbers = 3 * 1070 + 3 * 70 + 4 * 56
    for on_gpu, activations in ((False, 4000), (True, 2000)):
        expected = GIB + int(1.2 * (4 * numbers + activations))
        assert cost.training_bytes(r, SIZE, 7, on_gpu) == pytest.approx(expected, abs=1)


def test_disk_by_hand():
    assert cost.stored_bytes(SIZE, 7, images=9, steps=2) == 4 * 1070 + 9 * 60 + 2 * 50
    assert cost.checkpoint_bytes(SIZE, 7, images=9, steps=2) == 2 * (8 * 1070 + 72 + 100)
    assert cost.prepared_bytes(9, 16, streamed=False) == 9 * (60 + 768)
    assert cost.prepared_bytes(9, 16, streamed=True) == 540


def test_memory_of_keys_and_of_t_by_hand():
    assert cost.host_bytes(images=10, epoch=25, steps=3) == 3000 + 400 + 600
    # One group, two protocols: inputs of 100 + 50 rows; 128 units of 100 rows by five seeds; twice.
    assert cost.mint_bytes(Mint(), SIZE, 1, 100, 50) == 2 * (2 * 150 * 30 * 4 + 10 * 100 * 128)


def test_rows_of_the_papers_audit_by_hand():
    found = cost.audit_rows(Mint(), [4_920_534], 258_976, [100_000, 10_000, 5_000], 19_000)
    # T's training: 50,000 of each class. Evaluation: Adience is smaller than 25,000.
    assert found == (3 * 50_000 + 3 * 19_000, 100_000, 38_000)
    few = cost.audit_rows(Mint(), [90, 90], 60, [30, 30], 50)
    assert few == (2 * (40 + 20) + 2 * (40 + 20), 80, 40)


def test_rows_are_no_fewer_than_those_of_an_audit_set():
    d, e, f = database(identities=20), database("e"), database("f", seed=1)
    shown = plan(recipe(), d, 0.5, 0).images
    mint, roles = Mint(mint_samples=40), type("Roles", (), {"partition_seed": 0})
    groups = {"members": shown > 0}
    chosen = audit_set(d, shown, [e], f, groups, roles, mint)
    rows, n, m = cost.audit_rows(mint, [int((shown > 0).sum())], int((shown == 0).sum()), [48], 48)
    split = chosen.splits["members", "paper"]
    assert abs(rows - len(chosen.images)) <= 4
    assert abs(n - len(split.train)) <= 2 and abs(m - len(split.evaluation)) <= 2


@pytest.mark.parametrize(("name", "px"), [("ir_tiny", 32), ("ir_18", 48)])
def test_a_network_is_measured_without_being_made(name, px):
    network, head = train.build(recipe(network=name), px, 5)
    size = cost.measured(name, px)
    assert size.network == sum(p.numel() for p in network.parameters())
    assert size.embedding * 5 == sum(p.numel() for p in head.parameters())
    assert size.features == sum(i["num_chs"] for i in network.feature_info) + size.embedding
    kept, weights = {}, {p.data_ptr() for p in network.parameters()}

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept[x.untyped_storage().data_ptr()] = x  # held, so that no address is used twice
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        network.train()(torch.zeros(4, 3, px, px))
    real = sum(x.untyped_storage().nbytes() for at, x in kept.items() if at not in weights)
    assert size.activations == pytest.approx(real / 4, rel=0.02)


def test_ir_50_as_published():
    size = cost.measured("ir_50", 112)
    assert (size.network, size.embedding, size.features) == (43_585_600, 512, 1472)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("disk", "2.0 GB of disk space and 1.0 GB are there: .*MINT_ARTIFACTS"),
        ("gpu", "2.0 GB of GPU memory and 1.0 GB are there: lower batch_size"),
        ("memory", "2.0 GB of main memory and 1.0 GB are there: give fewer --jobs"),
    ],
)
def test_what_does_not_fit_is_one_sentence_with_a_remedy(kind, says):
    much, little = (cost.Resources(**(dict.fromkeys(cost.KINDS, 10**9) | {kind: n}))
                    for n in (2 * 10**9, 10**9))  # fmt: skip
    with pytest.raises(ParameterError, match=says):
        cost.refuse(much, little)
    cost.refuse(little, little)


def test_what_is_there_is_told_of_the_disk_that_artifacts_will_be_on():
    assert not paths.artifacts().exists()
    there = cost.available(torch.device("cpu"))
    assert there.disk > 0 and there.memory > 0 and there.gpu == 0


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (3600, "1 h 0 min"), (5e6, "1,388 h 53 min")],
)
def test_times_in_words(seconds, told):
    assert cost.duration(seconds) == told and np.isfinite(seconds)
