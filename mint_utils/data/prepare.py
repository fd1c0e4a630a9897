"""Prepares a database: makes one RecordIO file of aligned crops from the files of its distribution.

    python -m mint_utils.data.prepare ijb_c --source DIR --out DATA

It makes ``OUT/NAME`` with ``NAME.rec`` and ``NAME.idx``; ``index.csv``, a line for each image with key,
identity, source and the SHA-256 of the encoded image; ``excluded.csv``, the damaged images and those without
a face, with the reason; and ``record.json`` with counts, settings and the SHA-256 of the ``.rec``. The folder
is ``NAME.partial`` until it is complete; a run that was killed starts again from the beginning. Databases
that are crops already (MS1MV3, the verification sets) need no preparation.
"""

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from mint_utils import paths, workers
from mint_utils.data import align, annotations, detector
from mint_utils.data.ahead import read_ahead
from mint_utils.data.annotations import Face
from mint_utils.data.description import sha256
from mint_utils.data.images import decode
from mint_utils.data.recordio import write_records
from mint_utils.errors import DataError, ParameterError, command

VERSION = 2  # of the preparation: raised when prepared images change
# For each database: the function that lists its faces, and the positions of a face's points in the crop.
DISTRIBUTIONS: dict[str, tuple[Callable[[Path], Iterator[Face]], np.ndarray]] = {
    "ijb_c": (annotations.ijbc, align.TEMPLATE),
    "fddb": (annotations.fddb, align.HEAD),
    "adience": (annotations.adience, align.TEMPLATE),
    "gandiffface": (annotations.folders, align.TEMPLATE),
}


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m mint_utils.data.prepare",
        description="Prepare a database: aligned 112x112 crops in one RecordIO file.",
    )
    parser.add_argument("name", choices=DISTRIBUTIONS, help="of the database")
    parser.add_argument("--source", type=Path, required=True, help="folder of the distribution")
    parser.add_argument("--out", type=Path, help="folder of the prepared databases")
    parser.add_argument("--jobs", type=int, help="images side by side; as many as there are cores")
    options = parser.parse_args(arguments)
    out = options.out or paths.artifacts() / "prepared"
    folder = prepare(options.name, options.source, out, jobs=options.jobs)
    record = json.loads((folder / "record.json").read_text())
    counts = [f"{record[count]:,} {count}" for count in ("images", "identities", "excluded")]
    print(f"{folder}: {', '.join(counts)}; excluded.csv there has the reasons")
    return 0


def prepare(
    name: str,
    source: str | Path,
    out: str | Path,
    detect: detector.Detect | None = None,
    jobs: int | None = None,
) -> Path:
    """Prepare a database unless that was done before, and return its folder, ``out / name``.

    The result is the same for any number of threads.

    Args:
        name: One of ``DISTRIBUTIONS``.
        source: Folder of the distribution.
        out: Folder of the prepared databases.
        detect: Finds landmarks where the database has none; None: CenterFace. Called from threads.
        jobs: Number of threads, which run in parallel as decoders and hashes release the interpreter; None:
            one for each core.

    Raises:
        ParameterError: The name is unknown, or landmarks are needed and no detector is installed.
        DataError: The source is incomplete or malformed; another process prepares the same; the disk is full.
    """
    source, folder = Path(source), Path(out) / name
    if name not in DISTRIBUTIONS:
        raise ParameterError(f"{name!r} cannot be prepared. There are: {', '.join(DISTRIBUTIONS)}.")
    if not source.is_dir():
        raise DataError(f"{source} is no folder: --source names the one of {name} as distributed.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # images are prepared in parallel, not the pixels of one image
    try:
        with FileLock(folder.with_name(f".{name}.lock"), timeout=0):
            if not folder.exists():
                _make(name, source, folder, detect, jobs or workers.cores())
    except Timeout as error:
        raise DataError(f"Another process is preparing {folder}: wait until it is done.") from error
    except OSError as error:
        raise DataError(
            f"{folder} cannot be made ({error.strerror}): make room, or name another --out."
        ) from error
    finally:
        torch.set_num_threads(threads)
    return folder


def _make(name: str, source: Path, folder: Path, detect: detector.Detect | None, jobs: int) -> None:
    listed, template = DISTRIBUTIONS[name]
    faces = list(listed(source))
    for face in faces:
        if not (face.missing or (source / face.file).is_file()):
            raise DataError(
                f"{source / face.file} is missing, and the database's list has it: get the whole database."
            )
    settings = {"version": VERSION, "size": align.SIZE, "resampling": align.RESAMPLING}
    settings |= {"quality": align.QUALITY, "subsampling": align.SUBSAMPLING}
    if any(face.points is None and not face.missing for face in faces):
        settings["detector"] = detect.__qualname__ if detect else detector.NAME
        detect = detect or detector.centerface()
    partial = folder.with_name(f"{name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    crops = read_ahead(faces, lambda face: _crop(source, face, template, detect), jobs)
    bar = tqdm(crops, f"preparing {name}", len(faces), unit="img", leave=False)
    counts = _write(partial, name, bar)
    record = {"name": name, "settings": settings, **counts}
    record["sha256"] = sha256(partial / f"{name}.rec")
    (partial / "record.json").write_text(json.dumps(record, indent=1))
    partial.rename(folder)


def _write(folder: Path, name: str, crops: Iterator[tuple[Face, bytes | str]]) -> dict[str, int]:
    """Write the crops and the list of excluded images, in their order; return the counts of both."""
    lines, excluded = [], []

    def kept() -> Iterator[tuple[int, bytes]]:
        for face, crop in crops:
            if isinstance(crop, str):
                excluded.append((face.source, crop))
                continue
            content = hashlib.sha256(crop).hexdigest()
            lines.append((len(lines), face.identity, face.source, content))
            yield face.identity, crop

    write_records(folder / f"{name}.rec", kept())
    index = pd.DataFrame(lines, columns=["key", "identity", "source", "sha256"])
    index.to_csv(folder / "index.csv", index=False)
    others = pd.DataFrame(excluded, columns=["source", "reason"])
    others.to_csv(folder / "excluded.csv", index=False)
    if index.empty:
        raise DataError(f"{name} holds no face: {folder / 'excluded.csv'} has the reasons.")
    known = index["identity"][index["identity"] >= 0]
    return {"images": len(index), "excluded": len(others), "identities": known.nunique()}


def _crop(
    source: Path, face: Face, template: np.ndarray, detect: detector.Detect | None
) -> bytes | str:
    """Return the encoded crop of a face, or why there is none."""
    if face.missing:
        return face.missing
    try:
        pixels = decode((source / face.file).read_bytes(), face.source, None)
        points = detect(pixels) if face.points is None else face.points
        if points is None:
            return "no face was found"
        return align.encode(align.aligned(pixels, align.similarity(points, template)))
    except DataError as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(main())
