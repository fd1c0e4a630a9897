"""Trains an Audited Model, or continues where a killed run stopped.

The result is a folder with ``model.pt`` (weights of the network and of the head), ``ledger.npz`` (key ->
exposures) and ``history.csv`` (loss and learning rate of each step).

The order of images comes from (seed, epoch), augmentation from (seed, epoch, position), dropout from
(seed, step). No generator's state is stored, and a resumed run ends in the same weights, bit for
bit on a CPU with the same number of threads. A model is trained on one device; several GPUs train
several models (`workers.side_by_side`).
"""

import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd
import timm
import torch
from torch import nn
from tqdm import tqdm

from mint_utils import store, workers
from mint_utils.audited import ir  # noqa: F401  (registers the networks with timm)
from mint_utils.audited.exposure import Plan, classes, plan
from mint_utils.audited.margins import make_head
from mint_utils.config import Audited, plain, unknown
from mint_utils.data.ahead import read_ahead
from mint_utils.data.counter import mix
from mint_utils.data.images import augment, normalise, sent
from mint_utils.data.manifest import Database
from mint_utils.errors import DataError, OutOfTime, ParameterError, TrainingError

VERSION = 3  # of the training: raised when the same recipe results in other weights
DROPS = (12 / 26, 20 / 26, 24 / 26)  # of the steps: the learning rate falls (AdaFace's 26 epochs)
COLOUR_ORDER = "bgr"  # of the network's input, as AdaFace's own weights expect it
CHECKPOINT_SECONDS = 60.0
CHECKPOINT, HISTORY = "checkpoint.pt", "history.csv"
COLUMNS = ("step", "epoch", "loss", "lr", "images")  # of the history
# From this number of exposures on, a GPU's kernels are compiled. On an H200 that takes 50 s for each size of
# batch, and makes IR-50 1.5 times as fast (benchmarks.training).
COMPILED_FROM = 2_000_000
RESIDENT_BYTES = 8 << 30  # a smaller database is copied to the GPU as a whole


@dataclass(frozen=True)
class AuditedModel:
    """A trained Audited Model M in the store, and its recipe."""

    artifact: store.Artifact
    recipe: Audited

    @property
    def ledger(self) -> pd.DataFrame:
        """One line for each image of D: key, class (-1: identity never shown), exposures."""
        with np.load(self.artifact.folder / "ledger.npz", allow_pickle=False) as file:
            return pd.DataFrame({name: file[name] for name in ("key", "class", "exposures")})

    @property
    def history(self) -> pd.DataFrame:
        """One line for each step: step, epoch, loss, lr, images."""
        return pd.read_csv(self.artifact.folder / HISTORY)

    @property
    def at_hand(self) -> bool:
        """Whether the weights are here, not only on the machine that trained them."""
        return (self.artifact.folder / "model.pt").exists()

    def load(self, device: torch.device | str = "cpu") -> tuple[nn.Module, nn.Module]:
        """Return the network and the head, in evaluation mode.

        Raises:
            DataError: The weights are only on the machine that trained them (`store.pack`).
        """
        path = self.artifact.folder / "model.pt"
        if not path.exists():
            raise DataError(
                f"{path} is not here: only the results of this model were copied, and this step needs its "
                f"weights. Copy them there, or delete {path.parent} and it is trained again."
            )
        weights = torch.load(path, map_location=device, weights_only=True)
        record = self.artifact.record
        network, head = build(self.recipe, record["image_size"], record["classes"])
        network.load_state_dict(weights["network"])
        head.load_state_dict(weights["head"])
        network.to(device, memory_format=torch.channels_last)
        return network.eval(), head.to(device).eval()


def precision(recipe: Audited, device: torch.device) -> str:
    """Return the arithmetic in which a recipe is trained on a device: ``float32`` or ``bfloat16``.

    On a CPU bfloat16 is faster only with AMX tiles.
    """
    if recipe.precision != "auto":
        return recipe.precision
    fast = device.type == "cuda" or torch.cpu.get_capabilities().get("amx_bf16", False)
    return "bfloat16" if fast else "float32"


def default_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def specification(
    recipe: Audited, database: Database, held_out: float, partition_seed: int
) -> dict[str, Any]:
    """Return exactly what determines an Audited Model.

    The share ``held_out`` of D, chosen by ``partition_seed``, is never shown. The kind of device and its
    arithmetic are part of the specification. A model that is stored, or was begun, on another device is taken
    as it is, so that a notebook without a GPU reads models trained on one.
    """
    alone = {
        "version": VERSION,
        "recipe": {k: v for k, v in plain(recipe).items() if k != "precision"},
        "database": database.fingerprint,
        "held_out": held_out,
        "partition_seed": partition_seed,
    }
    specs = []
    for place in dict.fromkeys((default_device().type, "cpu", "cuda")):
        arithmetic = {"device": place, "precision": precision(recipe, torch.device(place))}
        # A CPU and float32 are the default, and left out.
        named = {k: v for k, v in arithmetic.items() if v not in ("cpu", "float32")}
        specs.append(alone | named)
    return store.begun("audited", specs) or specs[0]


def audited_model(
    recipe: Audited, database: Database, held_out: float, partition_seed: int
) -> AuditedModel:
    """Return the Audited Model of a recipe: from the store, or trained now. Arguments as for `specification`.

    Raises:
        ParameterError: The database cannot be trained on.
        TrainingError: The loss is no longer a number, or the ledger differs from the plan.
    """

    def make(folder: Path) -> dict[str, Any]:
        exposures = plan(recipe, database, held_out, partition_seed)
        return train(recipe, database, exposures, folder, default_device())

    spec = specification(recipe, database, held_out, partition_seed)
    return AuditedModel(store.fetch("audited", spec, make, resumes=True), recipe)


def checkpoints(
    model: AuditedModel, database: Database, held_out: float, partition_seed: int
) -> list[AuditedModel]:
    """Return M at the ends of all stages of its learning rate but the last: what its developer may have kept.

    They come from the store, or the same training is done again up to the last of them; what is stored of M
    is only read. The record says at how many steps the loss differs from that of M's training, and by how
    much at most: at none, by 0, on a CPU with the same number of threads. A device of another kind cannot
    repeat the training, and the list is empty where nothing is stored. Arguments as for `specification`.
    """
    exposures = plan(model.recipe, database, held_out, partition_seed)
    stages = stage_ends(exposures.steps)
    spec = model.artifact.record["spec"] | {"stages": stages}
    device = default_device()
    if device.type not in model.artifact.record["device"] and not store.find("checkpoints", spec):
        return []

    def make(folder: Path) -> dict[str, Any]:
        record = train(model.recipe, database, exposures, folder, device, stages=stages)
        again = pd.read_csv(folder / HISTORY)["loss"]
        apart = (again - model.history["loss"][: len(again)]).abs()
        return record | {"differing": int((apart > 0).sum()), "by_at_most": float(apart.max())}

    done = store.fetch("checkpoints", spec, make, resumes=True)
    records = {stage: done.record | {"digest": f"{done.digest}-{stage}"} for stage in stages}
    kept = [store.Artifact(done.folder / str(n), record) for n, record in records.items()]
    return [AuditedModel(artifact, model.recipe) for artifact in kept]


def check_network(name: str) -> None:
    """Raise a ParameterError where timm knows no network of that name."""
    if not timm.is_model(name):
        raise ParameterError(unknown("network", name, timm.list_models("ir_*")))


def build(recipe: Audited, image_size: int, identities: int) -> tuple[nn.Module, nn.Module]:
    """Return the network and the head of a recipe, initialised from its seed alone.

    Raises:
        ParameterError: timm knows no network of that name.
    """
    check_network(recipe.network)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        network = timm.create_model(recipe.network, img_size=image_size, drop_rate=recipe.dropout)
        head = make_head(recipe.loss, network.num_features, identities)
    return network, head


def shape(network: str, image_size: int) -> tuple[list[int], int]:
    """Return the number of activation maps at the stage ends of a network, and the length of its outcome."""
    with torch.device("meta"):
        model, _ = build(Audited(network=network), image_size, identities=2)
    return [stage["num_chs"] for stage in model.feature_info], model.num_features


def optimiser(network: nn.Module, head: nn.Module, recipe: Audited) -> torch.optim.SGD:
    """Return SGD with weight decay on everything except BatchNorm, as AdaFace's code has it."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    without = {id(p): p for m in norms for p in m.parameters()}
    decayed = [p for p in (*network.parameters(), *head.parameters()) if id(p) not in without]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": list(without.values()), "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, fused=True)


def learning_rate(recipe: Audited, step: int, steps: int) -> float:
    """Return the learning rate of a step (from 0) of all ``steps``: a tenth after each of the drops."""
    return recipe.lr * 0.1 ** sum(step >= round(drop * steps) for drop in DROPS)


def stage_ends(steps: int) -> list[int]:
    """Return after how many of all ``steps`` the stages of the learning rate but the last end, at least 1."""
    return sorted({max(1, round(drop * steps)) for drop in DROPS})


class Step:
    """One training step on one batch: augment, forward, loss, backward, update; channels_last.

    On a GPU everything after the augmentation is recorded once for each size of batch (a CUDA graph) and
    replayed: a step of 800 kernels is one launch, and does not wait for the CPU. The network can be compiled
    before that.
    """

    def __init__(
        self,
        network: nn.Module,
        head: nn.Module,
        recipe: Audited,
        device: torch.device,
        compiled: bool = False,
    ):
        self.network = network.to(device, memory_format=torch.channels_last).train()
        self.head = head.to(device).train()
        self.recipe = recipe
        self.device = device
        self.optimiser = optimiser(self.network, self.head, recipe)
        half = precision(recipe, device) == "bfloat16"
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=half)
        self.forward = torch.compile(self.network, dynamic=False) if compiled else self.network
        self.recorded: dict[int, Recording] = {}
        self.records = device.type == "cuda"
        self.pool = torch.cuda.graph_pool_handle() if self.records else None

    def __call__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        keys: np.ndarray,
        lr: float,
        seed: int,
    ) -> torch.Tensor:
        """Train on one batch.

        Args:
            images: (B, 3, S, S) uint8, RGB, channels_last.
            labels: (B,) int64 classes.
            keys: (B,) uint64, the random key of each image's augmentation.
            lr: Learning rate of the step.
            seed: Seed of the step's dropout.

        Returns:
            The loss before the update, a scalar on the device.
        """
        pixels = augment(images, keys, self.recipe.augmentation)
        if not self.records:
            for group in self.optimiser.param_groups:
                group["lr"] = lr
            torch.manual_seed(seed)
            return self.update(pixels, labels)
        if len(labels) not in self.recorded:
            self.recorded[len(labels)] = Recording(self, pixels, labels)
        return self.recorded[len(labels)](pixels, labels, lr, seed)

    def update(self, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Train on a batch that is augmented; return the loss before the update."""
        with self.autocast:
            embeddings, norms = self.forward(normalise(pixels, COLOUR_ORDER))
        loss = nn.functional.cross_entropy(self.head(embeddings, norms, labels), labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return loss.detach()


class Recording:
    """The kernels of a step on batches of one size, recorded as a CUDA graph and replayed."""

    def __init__(self, step: Step, pixels: torch.Tensor, labels: torch.Tensor):
        self.inputs = pixels.clone(), labels.clone()
        self.lr = torch.zeros((), device=step.device)
        for group in step.optimiser.param_groups:
            group["lr"] = self.lr
        for parameter in (*step.network.parameters(), *step.head.parameters()):
            # SGD itself would create the buffer in its first step, with no momentum to add.
            step.optimiser.state[parameter].setdefault(
                "momentum_buffer", torch.zeros_like(parameter)
            )
        # A step must have run before it can be recorded. It changes the model, which is restored below.
        states = (step.network.state_dict(), step.head.state_dict(), *step.optimiser.state.values())
        tensors = [tensor for state in states for tensor in state.values()]
        before = [tensor.clone() for tensor in tensors]
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(3):
                step.update(*self.inputs)
        torch.cuda.current_stream().wait_stream(beside)
        torch.cuda.empty_cache()  # the recording cannot use the cached memory of the trial
        self.graph = torch.cuda.CUDAGraph()
        # Steps of different sizes need nothing of each other, so they share their memory.
        with torch.cuda.graph(self.graph, pool=step.pool):
            self.loss = step.update(*self.inputs)
        for tensor, old in zip(tensors, before, strict=True):
            tensor.copy_(old)

    def __call__(self, pixels: torch.Tensor, labels: torch.Tensor, lr: float, seed: int):
        """Train on a batch; return the loss before the update."""
        for place, value in zip(self.inputs, (pixels, labels), strict=True):
            place.copy_(value)
        self.lr.fill_(lr)
        torch.manual_seed(seed)  # each replay reads the generator's seed
        self.graph.replay()
        return self.loss.clone()


def train(
    recipe: Audited,
    database: Database,
    exposures: Plan,
    folder: Path,
    device: torch.device,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    stages: Sequence[int] = (),
) -> dict[str, Any]:
    """Train in a folder, from the checkpoint in it if there is one, and return the record.

    Where ``stages`` are given, ascending numbers of steps, the model after each of them is kept in a folder
    of that number, and the training ends with the last one.

    Raises:
        OutOfTime: The time limit of `workers.limit` is over; there is a checkpoint.
        TrainingError: The loss is no longer a number, the ledger differs from the plan, or a batch does not
            fit into the memory of the GPU.
    """
    labels = classes(exposures, database)
    identities = int(labels.max()) + 1
    long = int(exposures.images.sum()) * exposures.epochs >= COMPILED_FROM
    made = build(recipe, database.images.shape[1], identities)
    step = Step(*made, recipe, device, compiled=long and device.type == "cuda")
    ledger, first = _resume(folder, step, len(database))
    workers.advance(int(ledger.sum()))
    kept = {n: folder / str(n) for n in stages} or {exposures.steps: folder}
    left = itertools.islice(_schedule(exposures, first), max(kept) - first)
    schedule = _gathered(database.images, labels, left, device)

    def keep(steps: int) -> None:
        if steps == exposures.steps:
            exposures.check(ledger)
        if steps in kept:
            shown = {"key": database.keys, "class": labels, "exposures": ledger}
            _keep(kept[steps], step, shown)

    with _memory_of(device, recipe, database.images.shape[1]):
        _run(step, schedule, exposures, ledger, first, folder, checkpoint_seconds, max(kept), keep)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return {
        "image_size": database.images.shape[1],
        "classes": identities,
        "members": int((ledger > 0).sum()),
        "exposures": int(ledger.sum()),
        "steps": max(kept),
        "device": str(device),
        "precision": precision(recipe, device),
    }


@contextmanager
def _memory_of(device: torch.device, recipe: Audited, side: int) -> Iterator[None]:
    """Say in one sentence that a batch does not fit, where it does not."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"A batch of {recipe.batch_size} images of {side} px does not fit into the memory of {device} "
            f"for {recipe.network}: give a smaller batch_size, or fewer --jobs."
        ) from error


def _keep(folder: Path, step: Step, shown: dict[str, np.ndarray]) -> None:
    folder.mkdir(exist_ok=True)
    weights = {"network": step.network.state_dict(), "head": step.head.state_dict()}
    torch.save(weights, folder / "model.pt")
    np.savez(folder / "ledger.npz", **shown)


def _run(
    step: Step,
    schedule: Iterator[tuple],
    exposures: Plan,
    ledger: np.ndarray,
    first: int,
    folder: Path,
    checkpoint_seconds: float,
    steps: int,
    keep: Callable[[int], None],
) -> None:
    """Take the steps of a schedule: count in the ledger, append to the history, save checkpoints.

    The training ends after ``steps`` in all. After each, before a checkpoint is saved, ``keep`` is called
    with their number.
    """
    recipe, saved, pending = step.recipe, time.monotonic(), []
    progress = tqdm(total=steps, initial=first, desc=_title(recipe), unit="step", leave=False)
    with progress, open(folder / HISTORY, "a") as history:
        for number, epoch, batch, keys, images, classes_ in schedule:
            lr = learning_rate(recipe, number, exposures.steps)
            loss = step(images, classes_, keys, lr, _dropout_seed(recipe, number))
            np.add.at(ledger, batch, 1)
            pending.append((number, epoch, loss, lr, len(batch)))
            progress.update()
            workers.advance(len(batch))
            last = number + 1 == steps
            over = workers.out_of_time()
            late = over or time.monotonic() - saved > checkpoint_seconds
            # Reading the loss waits for a GPU, so it is done rarely there, but at every step on a CPU.
            if step.device.type == "cpu" or late or last or len(pending) >= 50:
                latest = _append(history, pending, recipe)
                progress.set_postfix(loss=f"{latest:.2f}", refresh=False)
                pending.clear()
            keep(number + 1)
            if late and not last:
                os.fsync(history.fileno())
                _save(folder / CHECKPOINT, step, ledger, number + 1)
                saved = time.monotonic()
                if over:
                    raise OutOfTime(
                        f"{_title(recipe)} stopped after step {number + 1} of {exposures.steps}."
                    )


def _schedule(exposures: Plan, first: int) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Yield (step, epoch, batch, augmentation keys) from step ``first`` on."""
    for epoch in range(first // exposures.steps_per_epoch, exposures.epochs):
        position = 0
        for i, batch in enumerate(exposures.batches(epoch)):
            number = epoch * exposures.steps_per_epoch + i
            if number >= first:
                start = np.uint64((exposures.seed << 52) + (epoch << 36) + position)
                yield number, epoch, batch, start + np.arange(len(batch), dtype=np.uint64)
            position += len(batch)


def _dropout_seed(recipe: Audited, number: int) -> int:
    """Return the seed of a step's dropout, hashed, because a CPU's generator uses the low 32 bits only."""
    return int(mix(np.array([recipe.seed * 2**32 + number], np.uint64))[0])


def _gathered(images, labels: np.ndarray, schedule, device: torch.device):
    """Yield the items of a schedule, with the images (B, 3, S, S) and classes (B,) of each batch.

    A small database is held on the GPU. Other images are read, or decoded, before the step that needs them.
    """
    target = torch.from_numpy(labels).to(device)
    if device.type == "cuda" and images.nbytes < RESIDENT_BYTES:
        source = torch.from_numpy(np.array(images)).to(device)
        for item in schedule:
            rows = sent(item[2], device)
            yield *item, source[rows].permute(0, 3, 1, 2), target[rows]
        return
    for item, pixels in read_ahead(schedule, lambda item: images[item[2]]):
        batch = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2)
        yield *item, batch, target[sent(item[2], device)]


def _title(recipe: Audited) -> str:
    return f"{recipe.network} {recipe.loss} batch {recipe.batch_size}"


def _append(history: TextIO, steps: list[tuple], recipe: Audited) -> float:
    """Write steps to the history, (number, epoch, loss, rate, images) each; return the last loss."""
    for number, epoch, loss, lr, n in steps:
        value = float(loss)
        if not math.isfinite(value):
            raise TrainingError(
                f"The loss of {_title(recipe)} is {value} at step {number} (epoch {epoch}, rate {lr:g}): "
                "training stopped, nothing was stored of it. Lower lr or raise batch_size."
            )
        history.write(f"{number},{epoch},{value!r},{lr!r},{n}\n")
    history.flush()
    return value


def _save(path: Path, step: Step, ledger: np.ndarray, steps: int) -> None:
    """Write a checkpoint after a number of steps, completely or not at all."""
    state = {
        "network": step.network.state_dict(),
        "head": step.head.state_dict(),
        "optimiser": step.optimiser.state_dict(),
        "ledger": torch.from_numpy(ledger),
        "steps": steps,
    }
    beside = path.with_suffix(".tmp")
    torch.save(state, beside)
    beside.replace(path)


def _resume(folder: Path, step: Step, images: int) -> tuple[np.ndarray, int]:
    """Load the checkpoint of a folder into the step, if there is one; return the ledger and its steps.

    The history is cut to these steps: steps that a killed run wrote after its checkpoint are repeated.
    """
    path, history = folder / CHECKPOINT, folder / HISTORY
    if not path.exists():
        history.write_text(",".join(COLUMNS) + "\n")
        return np.zeros(images, np.int64), 0
    state = torch.load(path, map_location=step.device, weights_only=True)
    step.network.load_state_dict(state["network"])
    step.head.load_state_dict(state["head"])
    step.optimiser.load_state_dict(state["optimiser"])
    with open(history, "r+") as file:
        steps = state["steps"]
        if not all(file.readline() for _ in range(1 + steps)):
            raise DataError(
                f"{history} holds fewer than the {steps} steps of its checkpoint: delete the folder "
                "and the model is trained from the beginning."
            )
        file.truncate(file.tell())
    return state["ledger"].cpu().numpy(), steps


def images_per_second(recipe: Audited, size: int, identities: int) -> float:
    """Measure images/s of training here, in a few steps on blank images of ``size`` pixels."""
    device = default_device()
    n = min(recipe.batch_size, 32 if device.type == "cpu" else 256)
    step = Step(*build(recipe, size, identities), recipe, device)
    images = torch.zeros(n, size, size, 3, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    labels = torch.zeros(n, dtype=torch.int64, device=device)
    keys = np.arange(n, dtype=np.uint64)
    step(images, labels, keys, recipe.lr, seed=0).item()  # the first one allocates, or compiles
    started = time.perf_counter()
    for i in range(3):
        loss = step(images, labels, keys, recipe.lr, seed=i)
    loss.item()
    return 3 * n / (time.perf_counter() - started)
