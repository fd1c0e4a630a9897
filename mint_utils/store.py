"""The store of expensive results: an artifact is a folder named by the hash of what determines it.

``fetch(kind, spec, make)`` returns a finished artifact, making it first where it is not there yet. It is made
in a ``.partial`` folder under a lock, its ``record.json`` is written last, and then the folder is renamed. So
a folder without ``.partial`` in its name is complete, even if a process was killed.
"""

import functools
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from filelock import AcquireReturnProxy, FileLock, Timeout

from mint_utils import paths, workers
from mint_utils.config import plain
from mint_utils.errors import DataError

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pandas", "scikit-learn", "matplotlib")
NOTE = "versions.json"  # of an artifact that is being made
STREAMS = ("torch", "numpy")  # of whose versions results depend in their last digits
IMAGES = ("databases", "demonstrations")  # kinds of artifacts that hold images


@dataclass(frozen=True)
class Artifact:
    """A finished folder and the record that was written with it."""

    folder: Path
    record: dict[str, Any]

    @property
    def digest(self) -> str:
        """The hash that names the artifact, also in the specifications of what is made from it."""
        return self.record["digest"]


def digest(spec: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that name a specification (plain JSON types)."""
    text = json.dumps(plain(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find(kind: str, spec: Mapping[str, Any]) -> Artifact | None:
    """Return a finished artifact, or None where it has not been made.

    Raises:
        DataError: The files in the folder are not those of its record.
    """
    folder = paths.artifacts() / kind / digest(spec)
    if not (folder / "record.json").exists():
        return None
    record = json.loads((folder / "record.json").read_text())
    for name, size in record["files"].items():
        if not (folder / name).exists() or (folder / name).stat().st_size != size:
            raise DataError(
                f"{folder / name} is missing or is not the {size} bytes that its record.json says: "
                f"delete the folder {folder} and it is made again."
            )
    return Artifact(folder, record)


def begun(kind: str, specs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the first specification whose artifact is finished, else the first that was begun, or None."""
    folders = [paths.artifacts() / kind / digest(spec) for spec in specs]
    finished = [(folder / "record.json").exists() for folder in folders]
    goes_on = [_same_versions(folder.with_name(f"{folder.name}.partial")) for folder in folders]
    for there in (finished, goes_on):
        if any(there):
            return specs[there.index(True)]
    return None


def fetch(
    kind: str,
    spec: Mapping[str, Any],
    make: Callable[[Path], Mapping[str, Any] | None],
    *,
    resumes: bool = False,
) -> Artifact:
    """Return an artifact, making it first where it has not been made.

    Args:
        kind: The folder under ``artifacts/``, such as ``audited``.
        spec: Exactly what determines the artifact, as plain JSON types.
        make: Fills the folder it is given and returns additional entries of the record.
        resumes: Whether ``make`` goes on from what a killed run left in its folder, if that had the same
            versions of PyTorch and NumPy; otherwise it gets an empty one.

    Raises:
        DataError: A finished artifact was damaged afterwards.
        OutOfTime: The time that `workers.limit` sets is over.
        OSError: For example, the disk is full; what ``make`` had written stays in the partial folder.
    """
    done = find(kind, spec)
    if done:
        return done
    name = digest(spec)
    folder = paths.artifacts() / kind / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / f".{name}.lock", f"{kind}/{name}"):
        done = find(kind, spec)
        if done:
            return done
        workers.stop_in_time()
        partial = folder.with_name(f"{name}.partial")
        _begin(partial, resumes)
        started = time.perf_counter()
        more = make(partial) or {}
        files = [p for p in sorted(partial.rglob("*")) if p.is_file() and p.name != NOTE]
        record = {"digest": name, "kind": kind, "spec": plain(spec), **plain(more)}
        record["files"] = {str(p.relative_to(partial)): p.stat().st_size for p in files}
        record["seconds"] = round(time.perf_counter() - started, 3)
        record["provenance"] = provenance()
        write_text(partial / "record.json", json.dumps(record, indent=1))
        (partial / NOTE).unlink()
        partial.rename(folder)
    return Artifact(folder, record)


def _begin(partial: Path, resumes: bool) -> None:
    """Make the folder that an artifact is made in, with a note of versions, empty unless it goes on."""
    if partial.exists() and not (resumes and _same_versions(partial)):
        shutil.rmtree(partial)
    partial.mkdir(exist_ok=True)
    write_text(partial / NOTE, _versions())


def _same_versions(partial: Path) -> bool:
    """Say whether an artifact was begun under these versions, or one result would be of two kinds.

    Arithmetic and random numbers may change between versions. Builds of one version (+cpu, +cu130) count as
    the same: what was begun on another device is taken as it is.
    """
    note = partial / NOTE
    return note.exists() and note.read_text() == _versions()


def _versions() -> str:
    return json.dumps({package: metadata.version(package).split("+")[0] for package in STREAMS})


def arrays(
    kind: str, spec: Mapping[str, Any], file: str, make: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return the arrays of an artifact's one file, an npz, by their names; see `fetch`."""
    done = fetch(kind, spec, lambda folder: np.savez(folder / file, **make()))
    with np.load(done.folder / file) as found:
        return dict(found)


def pack(target: Path, largest: int, whole: Collection[str] = ()) -> int:
    """Write the finished artifacts to a tar file, without images and large files, to move results elsewhere.

    Unpacked into another folder of artifacts they serve there. Their records name what was left out; only
    work that needs such a file is done again.

    Args:
        target: A new file, .tar or .tar.xz.
        largest: Largest size of a file that is taken along, in bytes.
        whole: Kinds of artifacts whose files are all taken along.

    Returns:
        The number of artifacts.
    """
    root, n = paths.artifacts(), 0
    with tarfile.open(target, f"w:{target.suffix[1:].replace('tar', '')}") as tar:
        for path in sorted(root.glob("*/*/record.json")):
            if path.parent.suffix == ".partial" or path.parts[-3] in IMAGES:
                continue
            record = json.loads(path.read_text())
            n += 1
            sizes, complete = record["files"], record["kind"] in whole
            kept = {name: size for name, size in sizes.items() if complete or size <= largest}
            left_out = {name: size for name, size in sizes.items() if name not in kept}
            record |= {"files": kept, "left_out": left_out}
            for name in record["files"]:
                tar.add(path.parent / name, (path.parent / name).relative_to(root))
            text = json.dumps(record, indent=1).encode()
            entry = tarfile.TarInfo(str(path.relative_to(root)))
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
    return n


def _locked(path: Path, name: str) -> AcquireReturnProxy:
    lock = FileLock(path)  # the system releases it when its holder dies
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        print(f"another process is making {name}: waiting for it", flush=True)
        return lock.acquire()


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader finds the old one or the new one, never half of one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@functools.cache
def provenance() -> dict[str, Any]:
    """Return where and by which code a result was made: device, versions, commit."""
    import torch  # here, because looking up an artifact should not take seconds

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "device": gpu or _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit, with "-dirty" where the package differs from it; results of a run do not count."""

    def git(*command: str) -> str:
        whole = ["git", "-C", str(paths.ROOT), *command]
        return subprocess.run(whole, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("describe", "--always", "--abbrev=12")
        return f"{commit}-dirty" if git("status", "--porcelain", "--", "mint_utils") else commit
    except (OSError, subprocess.CalledProcessError):
        return None
