import copy
import io
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from mint_utils import paths
from mint_utils.audited import train
from mint_utils.audited.exposure import Plan, plan
from mint_utils.data.images import RecordImages
from mint_utils.data.manifest import Database
from mint_utils.data.recordio import RecordFile, write_records
from mint_utils.errors import DataError, OutOfTime, TrainingError
from tests.factory import database, recipe

CPU = torch.device("cpu")
CPU_GENERATOR = torch.Generator().manual_seed


def trained(folder, r=None, d=None, **options):
    r, d = r or recipe(), d or database()
    folder.mkdir(exist_ok=True)
    told = train.train(r, d, plan(r, d, 0.5, 0), folder, CPU, **options)
    return told, torch.load(folder / "model.pt", weights_only=True)


def same(one, two) -> bool:
    return (
        all(torch.equal(one[part][name], two[part][name]) for part in one for name in one[part])
        and one.keys() == two.keys()
    )


def test_the_same_recipe_gives_the_same_weights(tmp_path):
    assert same(trained(tmp_path / "a")[1], trained(tmp_path / "b")[1])


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"dropout": 0.0}, {"augmentation": 0.0}, {"lr": 0.04}]
)
def test_another_recipe_gives_other_weights(tmp_path, change):
    assert not same(trained(tmp_path / "a")[1], trained(tmp_path / "b", recipe(**change))[1])


def test_trainings_of_several_seeds_drop_other_units(tmp_path, monkeypatch):
    drawn, seeds = {}, []
    monkeypatch.setattr(
        torch, "manual_seed", lambda seed: seeds.append(seed) or CPU_GENERATOR(seed)
    )
    for seed in (0, 1):
        seeds.clear()
        trained(tmp_path / str(seed), recipe(seed=seed, augmentation=0.0))
        drawn[seed] = {torch.rand(4, generator=CPU_GENERATOR(s)).sum().item() for s in seeds[1:]}
    assert len(drawn[0]) > 4 and not drawn[0] & drawn[1]


def test_the_global_generator_does_not_matter(tmp_path):
    torch.manual_seed(1)
    one = trained(tmp_path / "a")[1]
    torch.manual_seed(2)
    assert same(one, trained(tmp_path / "b")[1])


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_resumed_after_any_step_is_the_same_bit_for_bit(tmp_path, stop, monkeypatch):
    whole = trained(tmp_path / "whole")
    steps = []

    class Killed(train.Step):
        def __call__(self, *args, **kwargs):
            if len(steps) == stop:
                raise KeyboardInterrupt
            steps.append(1)
            return super().__call__(*args, **kwargs)

    monkeypatch.setattr(train, "Step", Killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts", checkpoint_seconds=0)
    monkeypatch.undo()
    assert (tmp_path / "parts" / "checkpoint.pt").exists()
    parts = trained(tmp_path / "parts")
    assert parts[0] == whole[0] and same(parts[1], whole[1])
    for name in ("history.csv",):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert not (tmp_path / "parts" / "checkpoint.pt").exists()


def test_a_history_that_went_on_after_the_checkpoint_is_cut_and_a_lost_one_is_told(
    tmp_path, monkeypatch
):
    whole = trained(tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(OutOfTime):
        times = iter([False, False, True])
        patch.setattr(train.workers, "out_of_time", lambda: next(times))
        trained(tmp_path / "parts")
    history = tmp_path / "parts" / "history.csv"
    assert history.read_text().count("\n") == 1 + 3
    saved = history.read_text()
    history.write_text("\n".join(saved.split("\n")[:2]) + "\n")
    with pytest.raises(DataError, match="fewer than the 3 steps of its checkpoint"):
        trained(tmp_path / "parts")
    history.write_text(f"{saved}3,0,1.5,0.05,8\n4,0,1.")  # killed while it wrote
    parts = trained(tmp_path / "parts")
    assert parts[0] == whole[0] and same(parts[1], whole[1])
    assert history.read_bytes() == (tmp_path / "whole" / "history.csv").read_bytes()


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_killed_by_sigkill_and_resumed_is_the_same_bit_for_bit(tmp_path, one_thread):
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from mint_utils.audited import train
        from mint_utils.audited.exposure import plan
        from tests.factory import database, recipe
        import torch, time
        torch.set_num_threads(1)
        class Slow(train.Step):
            def __call__(self, *a, **k):
                print("step", flush=True)
                time.sleep(.05)
                return super().__call__(*a, **k)
        train.Step = Slow
        r, d = recipe(), database()
        train.train(r, d, plan(r, d, .5, 0), Path(sys.argv[1]), torch.device("cpu"), 0)
        """
    )
    killed = tmp_path / "killed"
    killed.mkdir()
    run = subprocess.Popen(
        [sys.executable, "-c", script, killed],
        env=os.environ | {"PYTHONPATH": str(paths.ROOT)},
        stdout=subprocess.PIPE,
    )
    for _ in range(4):
        run.stdout.readline()
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert (killed / "checkpoint.pt").exists() and not (killed / "model.pt").exists()
    assert same(trained(killed)[1], trained(tmp_path / "whole")[1])


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def streamed(tmp_path):
    """The same database in memory and as a ``.rec``, and the path of that."""
    d, path = database(), tmp_path / "train.rec"
    write_records(path, zip(d.identities.tolist(), map(png, d.images), strict=True))
    record = RecordFile(path)
    return d, replace(d, images=RecordImages(record, record.keys, 16)), path


@pytest.mark.parametrize("threads", [1, 3])
def test_streamed_gives_the_same_as_from_memory_bit_for_bit(tmp_path, streamed, threads):
    memory, file, _ = streamed
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    one, two = trained(tmp_path / "memory", d=memory), trained(tmp_path / "file", d=file)
    torch.set_num_threads(before)
    assert one[0] == two[0] and same(one[1], two[1])
    histories = [(tmp_path / f / "history.csv").read_text() for f in ("memory", "file")]
    assert histories[0] == histories[1]


def test_real_faces_streamed_give_the_same_as_from_memory_bit_for_bit(tmp_path, faces):
    with RecordFile(faces / "lfw" / "train.rec") as record:
        keys = record.keys[:40]
        labels = record.labels[:40]
        images = RecordImages(record, keys, 112)
        file = Database("lfw", keys.astype(str), labels, images, None, "lfw-40")
        r = recipe(epochs=1, batch_size=8)
        exposures = Plan(np.arange(40) % 5 // 2, 1, 8, 0)  # 0, 0, 1, 1, 2: five batches
        weights = []
        for d in (file, replace(file, images=images[:])):
            folder = tmp_path / type(d.images).__name__
            folder.mkdir()
            train.train(r, d, exposures, folder, CPU)
            weights.append(torch.load(folder / "model.pt", weights_only=True))
    assert same(*weights)


def test_a_record_damaged_in_training_is_named_and_nothing_is_lost(tmp_path, streamed):
    memory, file, path = streamed
    whole = trained(tmp_path / "whole", d=memory)
    exposures = plan(recipe(), memory, 0.5, 0)
    damaged = int(exposures.batches(0)[2][0])  # in the third batch
    sound, start = path.read_bytes(), path.read_bytes().index(png(memory.images[damaged]))
    with open(path, "r+b") as bytes_:
        bytes_.seek(start)
        bytes_.write(b"no picture")
    with pytest.raises(DataError, match=rf"train\.rec, record {damaged} is damaged"):
        trained(tmp_path / "parts", d=file, checkpoint_seconds=0)
    saved = torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)
    assert saved["steps"] == 2 and not (tmp_path / "parts" / "model.pt").exists()
    with open(path, "r+b") as bytes_:
        bytes_.write(sound)
    parts = trained(tmp_path / "parts", d=file)
    assert parts[0] == whole[0] and same(parts[1], whole[1])


def test_93431_identities(tmp_path):
    """MS1MV3's head: one step, all its classes, the loss of a network that knows nothing yet."""
    d, identities = database(identities=2, each=4), 93_431
    network, head = train.build(recipe(), 16, identities)
    assert sum(p.numel() for p in head.parameters()) == identities * network.num_features
    step = train.Step(network, head, recipe(), CPU)
    pixels = torch.from_numpy(d.images).permute(0, 3, 1, 2)
    labels = torch.tensor([0, identities - 1] * 4)
    loss = step(pixels, labels, np.arange(8, dtype=np.uint64), 0.05, seed=0)
    # The margin makes the right class the worst: at least log C, at most 2 s more.
    assert np.log(identities) < loss < np.log(identities) + 2 * 64


def stepped(r, d, exposures, stages):
    """Return the weights and the ledger after some steps of a training, step after step by hand."""
    labels = train.classes(exposures, d)
    step, found = train.Step(*train.build(r, 16, labels.max() + 1), r, CPU), {}
    shown, number = np.zeros(len(d), int), 0
    for epoch in range(exposures.epochs):
        at = (exposures.seed << 52) + (epoch << 36)
        for batch in exposures.batches(epoch):
            keys = (at + np.arange(len(batch))).astype(np.uint64)
            at += len(batch)
            pixels = torch.from_numpy(d.images[batch]).permute(0, 3, 1, 2)
            lr = train.learning_rate(r, number, exposures.steps)
            classes = torch.from_numpy(labels[batch])
            step(pixels, classes, keys, lr, train._dropout_seed(r, number))
            shown[batch] += 1
            number += 1
            if number in stages:
                state = {"network": step.network.state_dict(), "head": step.head.state_dict()}
                found[number] = copy.deepcopy(state), shown.copy()
    return found


def test_checkpoints_are_the_model_at_the_ends_of_its_stages(monkeypatch):
    r, d = recipe(), database()
    exposures = plan(r, d, 0.5, 0)
    model = train.audited_model(r, d, 0.5, 0)
    before = {path: path.read_bytes() for path in model.artifact.folder.iterdir()}
    found = train.checkpoints(model, d, 0.5, 0)
    ends = train.stage_ends(exposures.steps)
    rates = [train.learning_rate(r, step, exposures.steps) for step in range(exposures.steps)]
    assert [rates[end] < rates[end - 1] / 9 for end in ends] == [True] * 3
    by_hand = stepped(r, d, exposures, [*ends, exposures.steps])
    for checkpoint, end in zip(found, ends, strict=True):
        weights = torch.load(checkpoint.artifact.folder / "model.pt", weights_only=True)
        assert same(weights, by_hand[end][0])
        assert (checkpoint.ledger["exposures"] == by_hand[end][1]).all()
        assert checkpoint.ledger["class"].equals(model.ledger["class"])
        network, _ = checkpoint.load()
        assert torch.equal(
            network.state_dict()["input_layer.0.weight"], weights["network"]["input_layer.0.weight"]
        )
    final = torch.load(model.artifact.folder / "model.pt", weights_only=True)
    assert same(final, by_hand[exposures.steps][0])  # the repeated steps are those of M
    record = found[0].artifact.record
    assert (record["differing"], record["by_at_most"], record["steps"]) == (0, 0, ends[-1])
    assert len({one.artifact.digest for one in (*found, model)}) == 4
    assert before == {path: path.read_bytes() for path in model.artifact.folder.iterdir()}
    monkeypatch.setattr(train, "train", lambda *_, **__: pytest.fail("trained again"))
    again = train.checkpoints(model, d, 0.5, 0)
    assert [one.artifact for one in again] == [one.artifact for one in found]


def test_a_killed_repetition_goes_on_and_one_that_differs_is_noted(monkeypatch):
    r, d = recipe(), database()
    exposures = plan(r, d, 0.5, 0)
    model = train.audited_model(r, d, 0.5, 0)
    history = model.artifact.folder / "history.csv"
    history.write_text(history.read_text().replace("\n0,0,", "\n0,0,1"))  # another machine's loss
    ends = train.stage_ends(exposures.steps)
    with monkeypatch.context() as patch, pytest.raises(OutOfTime):
        times = iter([False] * (ends[1] - 1) + [True])  # right at the end of the second stage
        patch.setattr(train.workers, "out_of_time", lambda: next(times, False))
        patch.setattr(train.workers, "stop_in_time", lambda: None)
        train.checkpoints(model, d, 0.5, 0)
    found = train.checkpoints(model, d, 0.5, 0)
    by_hand = stepped(r, d, exposures, ends)
    for checkpoint, end in zip(found, ends, strict=True):
        weights = torch.load(checkpoint.artifact.folder / "model.pt", weights_only=True)
        assert same(weights, by_hand[end][0])
    assert not list(found[0].artifact.folder.parent.glob("checkpoint*"))
    record = found[0].artifact.record
    assert record["differing"] == 1 and record["by_at_most"] >= 1


def test_a_model_of_another_device_has_the_checkpoints_that_are_stored_or_none():
    r, d = recipe(), database()
    model = train.audited_model(r, d, 0.5, 0)
    of_gpu = replace(
        model, artifact=replace(model.artifact, record=model.artifact.record | {"device": "cuda"})
    )
    assert train.checkpoints(of_gpu, d, 0.5, 0) == []
    stored = train.checkpoints(model, d, 0.5, 0)
    found = train.checkpoints(of_gpu, d, 0.5, 0)
    assert [one.artifact for one in found] == [one.artifact for one in stored]


def test_stages_end_within_the_shortest_training():
    assert train.stage_ends(1) == [1] and train.stage_ends(26) == [12, 20, 24]


def test_the_ledger_is_the_plan(tmp_path):
    r, d = recipe(repeats=(1, 3)), database()
    told, _ = trained(tmp_path / "a", r, d)
    exposures = plan(r, d, 0.5, 0)
    with np.load(tmp_path / "a" / "ledger.npz") as ledger:
        assert (ledger["exposures"] == exposures.images * 3).all()
        assert (ledger["key"] == d.keys).all()
    assert told["members"] == (exposures.images > 0).sum() and told["steps"] == exposures.steps


def test_a_lost_exposure_stops_the_training(tmp_path, monkeypatch):
    real = train._schedule

    def lossy(exposures, first):
        for number, epoch, batch, keys in real(exposures, first):
            yield (
                number,
                epoch,
                batch[:-1] if number == 2 else batch,
                keys[:-1] if number == 2 else keys,
            )

    monkeypatch.setattr(train, "_schedule", lossy)
    with pytest.raises(TrainingError, match="ledger differs"):
        trained(tmp_path / "a")
    assert not (tmp_path / "a" / "model.pt").exists()


def test_a_loss_that_is_no_number_stops_the_training(tmp_path):
    with pytest.raises(TrainingError, match="Lower lr"):
        trained(tmp_path / "a", recipe(lr=1e30, epochs=10))
    assert not (tmp_path / "a" / "model.pt").exists()


def test_a_batch_that_does_not_fit_is_told_with_the_remedy(tmp_path, monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(train.Step, "__call__", full)
    with pytest.raises(TrainingError, match=r"does not fit.*give a smaller batch_size"):
        trained(tmp_path)


def test_it_learns(tmp_path):
    trained(tmp_path / "a", recipe(epochs=12, augmentation=0.0, dropout=0.0))
    lines = (tmp_path / "a" / "history.csv").read_text().splitlines()
    losses = [float(line.split(",")[2]) for line in lines[1:]]
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) / 2


def test_rate_falls_where_adaface_lets_it_fall():
    expected = [0.1] * 12 + [0.01] * 8 + [0.001] * 4 + [0.0001] * 2
    rates = [train.learning_rate(recipe(lr=0.1), step, 26) for step in range(26)]
    assert rates == pytest.approx(expected)
    rates = [train.learning_rate(recipe(lr=0.1), step, 26 * 15) for step in range(26 * 15)]
    assert rates == pytest.approx(np.repeat(expected, 15))


def test_weight_decay_is_on_everything_except_batchnorm():
    r = recipe()
    network, head = train.build(r, 16, 5)
    decayed, exempt = train.optimiser(network, head, r).param_groups
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (5e-4, 0.0)
    assert not decayed["nesterov"] and decayed["momentum"] == 0.9
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    expected = {id(p) for m in norms for p in m.parameters()}
    assert {id(p) for p in exempt["params"]} == expected
    everything = {id(p) for p in (*network.parameters(), *head.parameters())}
    assert {id(p) for p in decayed["params"]} == everything - expected


def test_augmentation_keys_do_not_repeat():
    exposures = plan(recipe(), database(), 0.5, 0)
    keys = np.concatenate([keys for *_, keys in train._schedule(exposures, 0)])
    assert len(np.unique(keys)) == len(keys) == exposures.images.sum() * 3


def test_from_the_store_and_back(tmp_path):
    r, d = recipe(), database()
    model = train.audited_model(r, d, 0.5, 0)
    network, _ = model.load()
    x = torch.zeros(2, 3, 16, 16)
    again, _ = train.audited_model(r, d, 0.5, 0).load()
    assert torch.equal(network(x)[0], again(x)[0]) and not network.training
    assert list(model.ledger.columns) == ["key", "class", "exposures"]
    assert model.history["images"].sum() == model.ledger["exposures"].sum()
    assert isinstance(network, type(timm.create_model("ir_tiny", img_size=16)))
