"""How each database is read as it is distributed: a table from its name to its faces.

In: a name and the folder of the distribution. Out: a `Distribution`, whose faces are yielded always in the
same order and whose images are read one by one. To add a database is to add a line to ``DISTRIBUTIONS``.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mint_utils.data import align, annotations, pairs
from mint_utils.data.annotations import Face
from mint_utils.data.folders import walk
from mint_utils.data.recordio import RecordFile
from mint_utils.errors import DataError, ParameterError

# The ends of the axes of an FDDB ellipse in the crop: top, bottom, left, right. It spans the head from the
# crown to the chin, with the eyes half way (Farkas, Anthropometry of the Head and Face, 1994), so its centre
# comes to the eyes of the template and its lower end to the chin, 5/3 of the way from eyes to mouth.
EYES, MOUTH = align.TEMPLATE[:2].mean(0), align.TEMPLATE[3:].mean(0)
MAJOR = (MOUTH - EYES)[1] * 5 / 3
MINOR = MAJOR / 1.45  # the usual ratio of FDDB's radii
HEAD = EYES + np.array([[0, -MAJOR], [0, MAJOR], [-MINOR, 0], [MINOR, 0]])


@dataclass(frozen=True)
class Distribution:
    """A database as it is distributed.

    Attributes:
        count: Of its faces.
        fingerprint: Changes when a face, its place, or the size or time of a file does.
        faces: Yields them, every time in the same order.
        read: Returns the label of a face in the ``.rec``, its identity, and the encoded image.
        layout: Of the prepared database, as manifests name it.
        template: (K, 2), where the points of a face come to be in the crop; None if the images are crops
            already, which are kept as they are.
        detects: Whether the points of a face have to be found.
        record: The ``.rec`` that is the prepared database itself, or None if one is to be written.
        files: That lie there: images, records of images, or all files of a folder.
        unnamed: Of these, the ones that no list of the database names.
    """

    count: int
    fingerprint: str
    faces: Callable[[], Iterator[Face]]
    read: Callable[[Face], tuple[int, int, bytes]]
    layout: str = "recordio"
    template: np.ndarray | None = None
    detects: bool = False
    record: Path | None = None
    files: int = 0
    unnamed: int = 0


def open_distribution(name: str, source: Path, landmarks: Path | None) -> Distribution:
    """Open a database as it is distributed and go once through the list of its faces.

    Args:
        name: One of ``DISTRIBUTIONS``.
        source: Its folder.
        landmarks: A file with those of its faces, for a database that brings none.

    Raises:
        ParameterError: The name is unknown, or landmarks are given that are not needed.
        DataError: The folder, a file in it or a line of one is missing or wrong.
    """
    if name not in DISTRIBUTIONS:
        raise ParameterError(
            f"No way to read {name!r} is known. Known: {', '.join(DISTRIBUTIONS)}."
        )
    if not source.is_dir():
        raise DataError(
            f"{source} is no folder: --source names the one of {name} as it was distributed."
        )
    if landmarks and name not in LANDMARKS_FROM_OUTSIDE:
        raise ParameterError(f"{name} brings the places of its faces: leave --landmarks out.")
    return DISTRIBUTIONS[name](source, landmarks)


def _records(file: str, source: Path, _: Path | None) -> Distribution:
    record = RecordFile(source / file)
    record.check()

    def read(face: Face) -> tuple[int, int, bytes]:
        identity = record.label(face.number)
        return identity, identity, record.image_bytes(face.number)

    return Distribution(
        count=len(record.keys),
        fingerprint=_stamp(record.path, record.path.with_suffix(".idx")),
        faces=lambda: (Face(file, -1, int(key)) for key in record.keys),
        read=read,
        record=record.path,
        files=len(record.keys),
    )


def _pairs(file: str, source: Path, _: Path | None) -> Distribution:
    """The label of an image is whether its pair shows one person, so that one file holds everything."""
    encoded, same = pairs.read_bin(source / file)
    return Distribution(
        count=len(encoded),
        fingerprint=_stamp(source / file),
        faces=lambda: (Face(file, -1, number) for number in range(len(encoded))),
        read=lambda face: (int(same[face.number // 2]), -1, encoded[face.number]),
        layout="recordio_pairs",
        files=len(encoded),
    )


def _images(
    annotated: Callable[[Path], Iterator[Face]],
    template: np.ndarray,
    source: Path,
    landmarks: Path | None,
) -> Distribution:
    def faces() -> Iterator[Face]:
        found = annotated(source)
        return annotations.with_landmarks(found, landmarks) if landmarks else found

    def read(face: Face) -> tuple[int, int, bytes]:
        # A Path would take longer than the reading.
        with open(os.path.join(source, face.file), "rb") as file:
            return face.identity, face.identity, file.read()

    count, named, previous, found, digest = 0, 0, "", False, hashlib.sha256()
    for face in faces():
        path = source / face.file
        if not (face.missing or path.is_file()):
            raise DataError(
                f"{path} is missing, and the database's list has it: get the whole database."
            )
        digest.update(f"{face} {_stamp(path) if path.is_file() else ''}\n".encode())
        count, named = count + 1, named + (face.file != previous)
        previous, found = face.file, found or not face.missing
    if not found:
        raise DataError(f"{source} holds no face.")
    files = named
    if annotated is not annotations.folders:  # which names all files; a list may leave some out
        files = sum(1 for _ in walk(source / previous.split("/")[0]))
    return Distribution(
        count=count,
        fingerprint=digest.hexdigest(),
        faces=faces,
        read=read,
        template=template,
        detects=face.points is None and not landmarks,
        files=files,
        unnamed=files - named,
    )


def _stamp(*files: Path) -> str:
    """Return sizes (bytes) and times of change (ns): what tells cheaply that a file is another one."""
    return " ".join(f"{s.st_size}:{s.st_mtime_ns}" for s in (file.stat() for file in files))


DISTRIBUTIONS: dict[str, Callable[[Path, Path | None], Distribution]] = {
    "ms1mv3": partial(_records, "train.rec"),
    "ijb_c": partial(_images, annotations.ijbc, align.TEMPLATE),
    "fddb": partial(_images, annotations.fddb, HEAD),
    "adience": partial(_images, annotations.adience, align.TEMPLATE),
    "gandiffface": partial(_images, annotations.folders, align.TEMPLATE),
    "lfw_bin": partial(_pairs, "lfw.bin"),
    **{name: partial(_pairs, f"{name}.bin") for name in ("cfp_fp", "cplfw", "agedb_30", "calfw")},
}
LANDMARKS_FROM_OUTSIDE = ("adience", "gandiffface")
