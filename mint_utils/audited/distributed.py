"""Training on several GPUs of one machine: what the ranks share, and how they start and end.

In: a function that trains, and how many ranks. Out: what it returns on rank 0, or one error. Nobody has to
say anything: all GPUs that are visible are used (``CUDA_VISIBLE_DEVICES`` limits them), one rank a GPU, as
long as each gets `LOCAL_BATCH` images of a batch. One rank trains in the process that asks. More are started
by PyTorch's elastic agent, as

    torchrun --standalone --nproc-per-node RANKS --max-restarts 0 -m mint_utils.audited.distributed FOLDER

would start them, and the call returns when all have ended. Rank 0 alone writes, and alone shows its progress.

What a batch is: the recipe's ``batch_size`` is the global batch, of one step of the optimiser. Its order
and the keys of its augmentation do not depend on the ranks, which take consecutive parts of it, in size
differing by at most one image; the gradient is that of the mean over all of it. BatchNorm, and AdaFace's
mean and standard deviation of the lengths, see the local part (as in AdaFace's published code; the running
values that are kept are rank 0's), unless they are synchronised: the record says which. Dropout is drawn
for each rank. Every rank holds the whole network and head: over 93,431 identities the head is 190 MB.
"""

import json
import logging
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher import LaunchConfig, elastic_launch
from torch.nn.parallel import DistributedDataParallel

from mint_utils import errors, store, workers
from mint_utils.data.recordio import RecordFile
from mint_utils.errors import ParameterError, StudyError

MOST = 64  # ranks of one machine
LOCAL_BATCH = 32  # a GPU that gets fewer images of a batch makes a step no faster
MIXING = 0x9E3779B97F4A7C15  # between the seeds of ranks


@dataclass(frozen=True)
class Group:
    """The ranks that train together, seen by one of them; a process by itself is the only one."""

    rank: int = 0
    ranks: int = 1
    synchronised: bool = False  # whether statistics of a batch are those of the global one

    @property
    def writes(self) -> bool:
        """Whether this is the rank that writes files."""
        return self.rank == 0

    @property
    def bar(self) -> dict[str, bool]:
        """Arguments of a progress bar: only rank 0 draws one."""
        return {} if self.writes else {"disable": True}

    def check(self, smallest_batch: int) -> None:
        """Refuse ranks that could not train.

        Raises:
            ParameterError: A rank would get fewer than two images of the smallest batch.
        """
        if smallest_batch < 2 * self.ranks and self.ranks > 1:
            raise ParameterError(
                f"{self.ranks} ranks cannot share a batch of {smallest_batch} images: BatchNorm needs two "
                f"on each. Train on {max(1, smallest_batch // 2)} or raise batch_size."
            )

    def told(
        self, before: list[dict[str, Any]], step: int, batch_size: int
    ) -> list[dict[str, Any]]:
        """Return on what each stretch of steps was trained: so far, and by this group from ``step`` on."""
        now = {
            "ranks": self.ranks,
            "local_batch": -(-batch_size // self.ranks),
            "synchronised": self.synchronised,
        }
        last = (
            {key: value for key, value in before[-1].items() if key != "from_step"}
            if before
            else {}
        )
        return before if last == now else [*before, {"from_step": step} | now]

    def shares(
        self, schedule: Iterator[tuple]
    ) -> Iterator[tuple[int, int, np.ndarray, np.ndarray, int]]:
        """Yield (step, epoch, batch, keys, global size) with this rank's part of each batch and its keys."""
        for number, epoch, batch, keys in schedule:
            part = slice(*(len(batch) * r // self.ranks for r in (self.rank, self.rank + 1)))
            yield number, epoch, batch[part], keys[part], len(batch)

    def weight(self, local: int, size: int) -> float:
        """Return the factor of a mean over ``local`` images: DDP's average is then the mean over ``size``."""
        return local * self.ranks / size

    def seed(self, seed: int) -> int:
        """Return this rank's seed of dropout, the given one on rank 0."""
        return (seed + self.rank * MIXING) % 2**64 if self.rank else seed

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return a module whose gradients are averaged over the ranks in the backward pass."""
        if self.ranks == 1:
            return module
        on_gpu = next(module.parameters()).is_cuda
        return DistributedDataParallel(
            module, device_ids=[torch.cuda.current_device()] if on_gpu else None
        )

    def mean(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the average over the ranks."""
        if self.ranks == 1:
            return loss
        dist.all_reduce(loss)
        return loss / self.ranks

    def total(self, ledger: np.ndarray) -> np.ndarray:
        """Return the sum of the ranks' ledgers, (N,) int64."""
        if self.ranks == 1:
            return ledger
        summed = torch.from_numpy(ledger.copy())
        dist.all_reduce(summed)
        return summed.numpy()

    def agreed(self, flag: bool) -> bool:
        """Return rank 0's."""
        if self.ranks == 1:
            return flag
        told = torch.tensor(flag)
        dist.broadcast(told, 0)
        return bool(told)


ALONE = Group()


def ranks_here(batch_size: int) -> int:
    """Return on how many ranks a recipe of this batch size trains on this machine."""
    return max(1, min(torch.cuda.device_count(), batch_size // LOCAL_BATCH, MOST))


def launch(
    work: Callable[..., Any], ranks: int, device: torch.device, synchronised: bool, **arguments: Any
) -> Any:
    """Call ``work(**arguments, device=device, group=group)`` on every rank; return what rank 0 returns.

    Args:
        work: An importable function.
        ranks: More than one: processes of their own, rank r on GPU r where the device is a GPU.
        device: cuda or cpu.
        synchronised: Whether statistics of a batch are those of the global one.
        arguments: Picklable; memory-mapped arrays and record files are opened by each rank anew.

    Raises:
        StudyError: A rank failed: its own error where that is a `StudyError`, else one that names the rank.
            The others were ended.
        KeyboardInterrupt: All ranks were ended.
    """
    if ranks == 1:
        return work(**arguments, device=device, group=ALONE)
    with tempfile.TemporaryDirectory(prefix="mint-ranks-") as name:
        folder = Path(name)
        task = work, device, synchronised, arguments
        (folder / "task.pickle").write_bytes(_pickled(task))
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=ranks,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs")),
            shutdown_timeout=10,
        )
        command = "-m", "mint_utils.audited.distributed", str(folder)
        try:
            with _surroundings():
                elastic_launch(config, sys.executable)(*command)
        except ChildFailedError as failed:
            exits = {rank: failure.exitcode for rank, failure in failed.failures.items()}
            raise _cause(folder, exits, ranks) from None
        except SignalException as stopped:
            if stopped.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + stopped.sigval) from None
        return pickle.loads((folder / "result.pickle").read_bytes())


def _pickled(task: Any) -> bytes:
    file = BytesIO()
    _Pickler(file).dump(task)
    return file.getvalue()


class _Pickler(pickle.Pickler):
    """Hands over what is mapped into memory by its file, not by its bytes."""

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, np.memmap) and thing.base is thing._mmap:  # whole, not a slice of one
            return np.memmap, (thing.filename, thing.dtype, "r", thing.offset, thing.shape)
        if isinstance(thing, RecordFile):
            return RecordFile, (thing.path,)
        return NotImplemented


@contextmanager
def _surroundings() -> Iterator[None]:
    """Let ranks import what this process can, and undo what the agent changes in this process."""
    before = os.environ.copy()
    os.environ["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    in_main = threading.current_thread() is threading.main_thread()
    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    agent = logging.getLogger("torch.distributed.elastic.multiprocessing.api")
    level = agent.level
    agent.setLevel(logging.CRITICAL)  # what it would say is in the error
    handlers = {stop: signal.getsignal(stop) for stop in stops if in_main}
    try:
        yield
    finally:
        agent.setLevel(level)
        for stop, handler in handlers.items():
            signal.signal(stop, handler)
        os.environ.clear()
        os.environ.update(before)


def _cause(folder: Path, exits: dict[int, int], ranks: int) -> StudyError:
    """Return the error of the rank that failed first; the others lost it, or were ended by the agent."""
    told = sorted(
        (json.loads(path.read_text()) for path in folder.glob("failed-*.json")),
        key=lambda failure: failure["time"],
    )
    killed = [
        (r, -code) for r, code in sorted(exits.items()) if code < 0 and code != -signal.SIGTERM
    ]
    own = [failure for failure in told if not failure["lost"]]
    if own and (kind := getattr(errors, own[0]["kind"], None)):
        return kind(own[0]["message"])
    remedy = "The others were ended. The same command goes on from the last checkpoint."
    if killed and not own:
        rank, number = killed[0]
        name = signal.Signals(number).name
        return StudyError(
            f"Rank {rank} of {ranks} was killed ({name}), perhaps for want of memory. {remedy}"
        )
    if not told:
        return StudyError(f"The ranks ended with the exit codes {exits} and told nothing. {remedy}")
    first = (own or told)[0]
    return StudyError(
        f"Rank {first['rank']} of {ranks} failed: {first['kind']}: {first['message']}. {remedy}"
    )


def main() -> None:
    """Be one rank of a launch, whose folder is the argument."""
    folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the agent's, which ends all ranks
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        result = _rank(folder, rank, int(os.environ["WORLD_SIZE"]))
    except Exception as error:
        told = {
            "rank": rank,
            "kind": type(error).__name__,
            "message": str(error),
            # What is raised where another rank has gone.
            "lost": type(error) is RuntimeError or isinstance(error, dist.DistError),
            "time": time.time(),
        }
        store.write_text(folder / f"failed-{rank}.json", json.dumps(told))
        os._exit(1)  # at once: to say goodbye to the others could take for ever
    if rank == 0:
        (folder / "result.pickle").write_bytes(pickle.dumps(result))


def _rank(folder: Path, rank: int, ranks: int) -> Any:
    work, device, synchronised, arguments = pickle.loads((folder / "task.pickle").read_bytes())
    if device.type == "cuda":
        torch.cuda.set_device(rank)
        dist.init_process_group("cpu:gloo,cuda:nccl", device_id=torch.device("cuda", rank))
    else:
        torch.set_num_threads(max(1, workers.cores() // ranks))
        dist.init_process_group("gloo")
    result = work(**arguments, device=device, group=Group(rank, ranks, synchronised))
    dist.destroy_process_group()
    return result


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main()
