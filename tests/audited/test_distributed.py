"""Several ranks, gloo on the CPU: the same batches, exact ledgers, one error, nobody left behind."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mint_utils import paths, store
from mint_utils.audited import distributed, train
from mint_utils.audited.distributed import ALONE, Group
from mint_utils.audited.exposure import plan
from mint_utils.errors import ParameterError, StudyError, TrainingError
from tests.audited.ranks import gone, waiting
from tests.factory import database, recipe

CPU = torch.device("cpu")
STOP = 5


def stopping(recipe, database, exposures, folder, device, group):
    """Train until rank 1 fails at step STOP, with a checkpoint after every step."""

    class Failing(train.Step):
        steps = 0

        def __call__(self, *args):
            if self.steps == STOP and group.rank == group.ranks - 1:
                raise TrainingError("as asked at step 5")
            self.steps += 1
            return super().__call__(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "Step", Failing)
        return train.train(recipe, database, exposures, folder, device, 0, group)


def checkpoint(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def test_synchronised_ranks_are_one_rank_fail_with_their_error_and_go_on_as_one(tmp_path):
    r, d = recipe(batch_size=9, dropout=0.0, lr=0.01), database()
    exposures = plan(r, d, 0.5, 0)
    sizes = [len(batch) for batch in exposures.batches(0)]
    assert any(size % 2 for size in sizes)  # parts of different size
    task = {"recipe": r, "database": d, "exposures": exposures}
    alone, parts = tmp_path / "alone", tmp_path / "parts"
    alone.mkdir(), parts.mkdir()
    with pytest.raises(TrainingError):
        stopping(**task, folder=alone, device=CPU, group=ALONE)
    with pytest.raises(TrainingError, match=r"^as asked at step 5$"):
        distributed.launch(stopping, 2, CPU, True, **task, folder=parts)

    one, two = checkpoint(alone), checkpoint(parts)
    shown = np.concatenate([b for e in range(3) for b in exposures.batches(e)][:STOP])
    assert (two["ledger"].numpy() == np.bincount(shown, minlength=len(d))).all()
    assert torch.equal(two["ledger"], one["ledger"])
    history = np.array(one["history"]), np.array(two["history"])
    np.testing.assert_allclose(history[1], history[0], rtol=1e-5)
    for name in ("batch_mean", "batch_std"):
        torch.testing.assert_close(two["head"][name], one["head"][name], rtol=1e-6, atol=0)
    for name, value in one["network"].items():
        # Five steps amplify rounding, in single weights more than in a layer; a wrong gradient shows in both.
        away = (two["network"][name].double() - value.double()).norm()
        assert away <= 1e-2 * value.double().norm() + 1e-4, name

    record = train.train(**task, folder=parts, device=CPU)  # the ledger is checked in there
    assert record["exposures"] == exposures.images.sum() * 3
    assert record["trained_on"] == [
        {"from_step": 0, "ranks": 2, "local_batch": 5, "synchronised": True},
        {"from_step": STOP, "ranks": 1, "local_batch": 9, "synchronised": False},
    ]


def test_begun_by_one_rank_finished_by_two_with_statistics_of_their_own(tmp_path):
    r, d = recipe(), database()
    exposures = plan(r, d, 0.5, 0)
    spec = train.specification(r, d, 0.5, 0)
    begun = paths.artifacts() / "audited" / f"{store.digest(spec)}.partial"
    begun.mkdir(parents=True)
    with pytest.raises(TrainingError):
        stopping(r, d, exposures, begun, CPU, ALONE)
    old = checkpoint(begun)
    del old["trained_on"]  # as it was written before there were ranks
    torch.save(old, begun / "checkpoint.pt")

    model = train.audited_model(r, d, 0.5, 0, ranks=2)
    assert (model.ledger["exposures"] == exposures.images * 3).all()
    assert (model.history["step"] == np.arange(exposures.steps)).all()
    assert model.history["images"].sum() == exposures.images.sum() * 3
    assert [stretch["ranks"] for stretch in model.artifact.record["trained_on"]] == [1, 2]
    assert model.artifact.record["trained_on"][1] == {
        "from_step": STOP,
        "ranks": 2,
        "local_batch": 4,
        "synchronised": False,
    }
    assert np.isfinite(model.history["loss"]).all()
    assert train.audited_model(r, d, 0.5, 0).artifact.digest == store.digest(spec)


def test_a_killed_rank_ends_the_others_and_is_named(tmp_path):
    before = signal.getsignal(signal.SIGINT), dict(os.environ)
    with pytest.raises(StudyError, match=r"^Rank 1 of 2 was killed \(SIGKILL\)"):
        distributed.launch(waiting, 2, CPU, False, deed="die", folder=tmp_path)
    assert gone(tmp_path)
    assert (signal.getsignal(signal.SIGINT), dict(os.environ)) == before


def test_an_interrupt_ends_all_ranks(tmp_path):
    script = (
        "import sys; from pathlib import Path; import torch\n"
        "from mint_utils.audited.distributed import launch; from tests.audited.ranks import waiting\n"
        "task = {'deed': 'sleep', 'folder': Path(sys.argv[1])}\n"
        "try: launch(waiting, 2, torch.device('cpu'), False, **task)\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT)}
    run = subprocess.Popen([sys.executable, "-c", script, tmp_path], env=environment)
    until = time.monotonic() + 120
    while len(list(tmp_path.glob("pid-*"))) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=50) == 130
    assert gone(tmp_path)


@given(sizes=st.lists(st.integers(2, 40), min_size=1, max_size=4), ranks=st.integers(1, 8))
def test_the_parts_of_a_batch_are_the_batch_in_order(sizes, ranks):
    schedule = [
        (i, 0, np.arange(n) + 100 * i, np.arange(n, dtype=np.uint64)) for i, n in enumerate(sizes)
    ]
    shares = [list(Group(rank, ranks).shares(iter(schedule))) for rank in range(ranks)]
    for whole, parts in zip(schedule, zip(*shares, strict=True), strict=True):
        for column in (2, 3):
            together = np.concatenate([part[column] for part in parts])
            np.testing.assert_array_equal(together, whole[column])
        lengths = [len(part[2]) for part in parts]
        assert max(lengths) - min(lengths) <= 1
        assert {part[4] for part in parts} == {len(whole[2])}
        weights = [Group(0, ranks).weight(n, len(whole[2])) for n in lengths]
        assert np.mean(weights) == pytest.approx(1)


def test_ranks_too_many_for_a_batch_are_refused(tmp_path):
    with pytest.raises(ParameterError, match="Train on 3 or raise batch_size"):
        Group(0, 4).check(7)
    Group(0, 3).check(7)


def test_gpus_are_used_as_far_as_they_get_enough_images(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    found = [distributed.ranks_here(n) for n in (8, 32, 64, 256, 512)]
    assert found == [1, 1, 2, 8, 8]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert distributed.ranks_here(256) == 1


def test_ranks_draw_their_own_dropout_and_one_rank_that_of_ever():
    assert Group(0, 4).seed(2**32 + 7) == ALONE.seed(2**32 + 7) == 2**32 + 7
    assert (
        len({Group(rank, 4).seed(step) % 2**32 for rank in range(4) for step in range(99)}) == 396
    )


def test_the_number_of_ranks_is_in_the_spec_only_where_it_matters(tmp_path):
    r, d = recipe(), database()
    assert "ranks" not in train.specification(r, d, 0.5, 0)
    assert train.specification(r, d, 0.5, 0, ranks=2)["ranks"] == 2
    eight = train.specification(r, d, 0.5, 0, ranks=8)
    store.fetch("audited", eight, lambda folder: None)
    assert train.specification(r, d, 0.5, 0) == eight  # what eight GPUs made is found without them


def test_mapped_images_are_handed_over_by_their_file(tmp_path):
    np.save(tmp_path / "images.npy", np.arange(10**6))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    sent = distributed._pickled({"images": mapped, "part": mapped[5:9]})
    assert len(sent) < 2000
    got = pickle.loads(sent)
    assert isinstance(got["images"], np.memmap)
    np.testing.assert_array_equal(got["images"], mapped)
    np.testing.assert_array_equal(got["part"], mapped[5:9])
