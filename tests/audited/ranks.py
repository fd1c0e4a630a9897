"""What ranks do in tests; it imports little, because each of them starts with that."""

import os
import signal
import time
from pathlib import Path

import torch.distributed as dist


def waiting(device, group, deed, folder):
    """Do a deed on rank 1 while rank 0 waits for it."""
    (folder / f"pid-{group.rank}").write_text(str(os.getpid()))
    if group.rank == 1 and deed == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if group.rank == 1:
        time.sleep(60)
    dist.barrier()


def gone(folder: Path) -> bool:
    """Say whether both ranks began and neither runs."""
    pids = [int(path.read_text()) for path in folder.glob("pid-*")]
    return len(pids) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in pids)
