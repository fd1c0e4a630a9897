"""Prepares a database, from the files in which it is distributed to one RecordIO file of aligned crops.

    python -m mint_utils.data.prepare ms1mv3 --source DIR
    python -m mint_utils.data.prepare adience --source DIR --landmarks FILE --out DIR

Makes ``OUT/NAME``: ``NAME.rec`` with ``NAME.idx``; ``index.csv``, a line an image with key, identity, source
and the SHA-256 of the encoded image; ``excluded.csv``, the images that are damaged or show no face, with the
reason; and, last, ``record.json`` with counts, settings and the SHA-256 of the ``.rec``. Until it is whole
the folder is ``NAME.partial``, and a run that was killed goes on there when the command is given again.
"""

import argparse
import errno
import functools
import hashlib
import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from mint_utils import paths, workers
from mint_utils.data import align, detector
from mint_utils.data.annotations import Face
from mint_utils.data.distributions import DISTRIBUTIONS, Distribution, open_distribution
from mint_utils.data.images import decode
from mint_utils.data.partial import Crop, Partial, finish, finished
from mint_utils.errors import DataError, command

VERSION = 2  # of the preparation: raised when prepared images change
PART = 2048  # images between two syncs: what a killed run does again
BATCH = 16  # images that a worker takes at once
AHEAD = 8  # batches for each worker that may wait: what bounds the memory


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m mint_utils.data.prepare",
        description="Prepare a database: aligned 112x112 crops in one RecordIO file.",
    )
    parser.add_argument(
        "name", choices=DISTRIBUTIONS, metavar="NAME", help=", ".join(DISTRIBUTIONS)
    )
    parser.add_argument("--source", type=Path, required=True, help="folder of the distribution")
    parser.add_argument("--out", type=Path, help="folder of the prepared databases")
    parser.add_argument(
        "--landmarks", type=Path, help="five landmarks of each face (path x1 y1 ... x5 y5)"
    )
    parser.add_argument("--jobs", type=int, help="images side by side; as many as there are cores")
    options = parser.parse_args(arguments)
    out = options.out or paths.artifacts() / "prepared"
    folder = prepare(
        options.name, options.source, out, landmarks=options.landmarks, jobs=options.jobs
    )
    record = finished(folder)
    counts = ", ".join(
        f"{record[count]:,} {count}" for count in ("images", "identities", "excluded")
    )
    print(f"{folder}: {counts}; sha256 of the .rec {record['sha256']}")
    if "lying" in record:  # an earlier version did not count
        print(
            f"Of {record['lying']:,} files or records that lie there {record['unnamed']:,} are in no list of "
            f"the database. The others hold {record['images']:,} faces that were read, and "
            f"{record['excluded']:,} excluded ones: {folder / 'excluded.csv'} has the reasons."
        )
    return 0


def prepare(
    name: str,
    source: Path,
    out: Path,
    *,
    landmarks: Path | None = None,
    detect: detector.Detect | None = None,
    jobs: int | None = None,
) -> Path:
    """Prepare a database where that has not been done, and return its folder, ``out / name``.

    The result is the same for any number of workers and of interruptions.

    Args:
        name: One of ``DISTRIBUTIONS``.
        source: The folder in which it is distributed.
        out: Where the prepared databases are.
        landmarks: Those of its faces, for a database that brings none; see `annotations.with_landmarks`.
        detect: Finds the landmarks where no file has them; CenterFace if None. Called from several threads.
        jobs: Threads; decoders, resampling and hashes let others work beside them. All cores if None.

    Raises:
        ParameterError: The name is unknown, or landmarks would be needed and no detector is installed.
        DataError: The source is incomplete or malformed, or not what an interrupted run had begun with;
            another process prepares the same; the disk is full.
    """
    folder = Path(out) / name
    if (folder / "record.json").exists():
        finished(folder)
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.with_name(f".{name}.lock"), timeout=0):
            if not (folder / "record.json").exists():
                _make(name, Path(source), folder, landmarks, detect, jobs or workers.cores())
    except Timeout as error:
        raise DataError(f"Another process is preparing {folder}: wait until it is done.") from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DataError(
            f"No space is left for {folder}. What is done is kept: make room, or move "
            f"{folder.name}.partial to a larger disk and name that with --out, and give the command again."
        ) from error
    return folder


def _make(
    name: str,
    source: Path,
    folder: Path,
    landmarks: Path | None,
    detect: detector.Detect | None,
    jobs: int,
) -> None:
    distribution = open_distribution(name, source, landmarks)
    settings: dict[str, Any] = {"version": VERSION, "size": align.SIZE}
    if distribution.template is not None:
        constants = ("RESAMPLING", "QUALITY", "SUBSAMPLING")
        settings |= {constant.lower(): getattr(align, constant) for constant in constants}
        if distribution.detects:
            settings["detector"] = detect.__qualname__ if detect else detector.NAME
            detect = detect or detector.centerface()
    begun = {"fingerprint": distribution.fingerprint, "settings": settings}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the images are side by side, not the pixels of one
    try:
        with Partial(
            folder.with_name(f"{name}.partial"), name, begun, distribution.record is None
        ) as partial:
            _stream(distribution, partial, detect, jobs)
    finally:
        torch.set_num_threads(threads)
    if distribution.record:
        for suffix in (".rec", ".idx"):
            link = partial.folder / f"{name}{suffix}"
            link.unlink(missing_ok=True)
            link.symlink_to(distribution.record.with_suffix(suffix).resolve())
    told = {"name": name, "layout": distribution.layout, "settings": settings}
    told |= {"lying": distribution.files, "unnamed": distribution.unnamed}
    finish(partial.folder, told | {"excluded": partial.excluded})
    partial.folder.rename(folder)
    (folder / "progress.json").unlink()


def _stream(
    distribution: Distribution, partial: Partial, detect: detector.Detect | None, jobs: int
) -> None:
    """Append what is left of a database, in its order, a few batches of each worker ahead."""
    faces = itertools.islice(distribution.faces(), partial.done, None)
    bar = tqdm(
        total=distribution.count,
        initial=partial.done,
        desc=f"preparing {partial.folder.stem}",
        unit="img",
        leave=False,
    )
    with bar, ThreadPoolExecutor(jobs) as pool:
        work = functools.partial(_crops, distribution, detect)
        try:
            for crop in _in_order(pool, work, faces, jobs * AHEAD):
                partial.append(crop)
                bar.update()
                if partial.done % PART == 0:
                    partial.sync()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if partial.done != distribution.count:
        raise DataError(
            f"{partial.folder.stem}: {partial.done} faces were read where {distribution.count} were "
            "listed: the source changed meanwhile. Give the command again."
        )
    partial.sync()


def _in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[list[Face]], list[Crop]],
    faces: Iterator[Face],
    ahead: int,
) -> Iterator[Crop]:
    """Yield the crops in the order of the faces, with at most so many batches begun ahead."""
    waiting: deque[Future[list[Crop]]] = deque()
    while batch := list(itertools.islice(faces, BATCH)):
        waiting.append(pool.submit(work, batch))
        if len(waiting) > ahead:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


def _crops(
    distribution: Distribution, detect: detector.Detect | None, faces: list[Face]
) -> list[Crop]:
    return [_crop(distribution, detect, face) for face in faces]


def _crop(distribution: Distribution, detect: detector.Detect | None, face: Face) -> Crop:
    """Return the crop of a face, or why there is none; what is kept as it is must be sound.

    Raises:
        DataError: An image of such a database is damaged or no crop.
    """
    if face.missing:
        return Crop(face, reason=face.missing)
    label, identity, encoded = distribution.read(face)
    if distribution.template is None:
        decode(encoded, face.source, align.SIZE)
    else:
        try:
            encoded = _aligned(distribution.template, detect, face, encoded)
        except DataError as error:
            return Crop(face, reason=str(error))
    return Crop(face, label, identity, encoded, hashlib.sha256(encoded).hexdigest())


def _aligned(
    template: np.ndarray, detect: detector.Detect | None, face: Face, encoded: bytes
) -> bytes:
    pixels = decode(encoded, face.source, None)
    points = detect(pixels) if face.points is None else face.points
    if points is None:
        raise DataError("no face was found")
    return align.encode(align.aligned(pixels, align.similarity(points, template)))


if __name__ == "__main__":
    sys.exit(main())
