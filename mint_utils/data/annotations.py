"""Reads the annotation files of a database as it is distributed: one `Face` after the other.

A new database needs a function here and a line in ``DISTRIBUTIONS`` of `prepare`.
"""

import csv
import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TextIO

from mint_utils.data.folders import walk
from mint_utils.errors import DataError

Points = tuple[tuple[float, float], ...]

FDDB_FOLDS, ADIENCE_FOLDS = range(1, 11), range(5)
IJBC_SUBJECTS = ("ijbc_1N_gallery_G1.csv", "ijbc_1N_gallery_G2.csv", "ijbc_1N_probe_mixed.csv")
ADIENCE_COLUMNS = ("user_id", "original_image", "face_id")


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a file of a distribution.

    Attributes:
        file: Path below the folder of the distribution.
        identity: Number of the identity, -1 where unknown.
        number: Index of the face in its file; None where the file has one face.
        points: Positions in pixels; None where a detector has to find them.
        missing: Reason why the file holds no face; it is excluded.
    """

    file: str
    identity: int
    number: int | None = None
    points: Points | None = None
    missing: str | None = None

    @property
    def source(self) -> str:
        """The file, and the index of the face in it where it has several."""
        return self.file if self.number is None else f"{self.file}#{self.number}"


def ijbc(source: Path) -> Iterator[Face]:
    """Yield IJB-C as InsightFace hands it on: ``meta`` and the loose crops, or the frames in ``images``.

    A line of ``ijbc_name_5pts_score.txt`` is a name, x and y of five landmarks, and the detector's score; the
    same line of ``ijbc_face_tid_mid.txt`` has that name, the template and the medium. The subject of a
    template stands in the lists of the 1:N protocol.
    """
    meta = source / "meta"
    folder = "loose_crop" if (source / "loose_crop").is_dir() else "images"
    subjects: dict[str, int] = {}
    for name in IJBC_SUBJECTS:
        with _opened(meta / name) as file:
            for row in csv.DictReader(file):
                try:
                    subjects[row["TEMPLATE_ID"]] = int(row["SUBJECT_ID"])
                except (KeyError, TypeError, ValueError):
                    _fail(meta / name, "a row has no TEMPLATE_ID with a SUBJECT_ID")
    places, templates = meta / "ijbc_name_5pts_score.txt", meta / "ijbc_face_tid_mid.txt"
    with _opened(places) as landmarks, _opened(templates) as identities:
        pairs = itertools.zip_longest(landmarks, identities, fillvalue="")
        for number, (line, named) in enumerate(pairs, 1):
            name, points = _five(places, number, line)
            fields = named.split()
            if len(fields) != 3 or fields[0] != name:
                _fail(
                    templates,
                    f"line {number} is not of {name}, which line {number} of {places.name} is",
                )
            if fields[1] not in subjects:
                _fail(templates, f"line {number}: no list of subjects has template {fields[1]}")
            yield Face(f"{folder}/{name}", subjects[fields[1]], points=points)


def fddb(source: Path) -> Iterator[Face]:
    """Yield FDDB: ``FDDB-folds/FDDB-fold-XX-ellipseList.txt`` and the images in ``originalPics``.

    An image's name, the number of its faces, and for each a line of major and minor radius, angle of the
    major axis to the horizontal in radians, centre and a 1 (Jain and Learned-Miller, UM-CS-2010-009). The
    points of a face are the ends of its axes: top, bottom, left, right.
    """
    for fold in FDDB_FOLDS:
        path = source / "FDDB-folds" / f"FDDB-fold-{fold:02}-ellipseList.txt"
        with _opened(path) as file:
            lines = enumerate((line.strip() for line in file), 1)
            for number, name in lines:
                if not name:
                    continue
                if _numbers(name):
                    _fail(path, f"line {number} should name an image and is {name[:60]!r}")
                number, line = next(lines, (number + 1, ""))
                if not line.isdigit():
                    _fail(
                        path, f"line {number} should count the faces of {name} and is {line[:60]!r}"
                    )
                for which in range(int(line)):
                    number, line = next(lines, (number + 1, ""))
                    yield Face(f"originalPics/{name}.jpg", -1, which, _axes(path, number, line))


def adience(source: Path) -> Iterator[Face]:
    """Yield Adience: ``fold_0_data.txt`` to ``fold_4_data.txt`` and ``faces``, in the order of the files.

    The lists are tables with tabs; an image is ``faces/USER/coarse_tilt_aligned_face.FACE.ORIGINAL``, and
    the user of the album stands for the identity, as in the database's own folds.
    """
    names = set()
    for fold in ADIENCE_FOLDS:
        path = source / f"fold_{fold}_data.txt"
        with _opened(path) as file:
            for number, row in enumerate(csv.DictReader(file, delimiter="\t"), 2):
                user, image, face = (row.get(column) for column in ADIENCE_COLUMNS)
                if not (user and image and face):
                    _fail(path, f"line {number} lacks one of {', '.join(ADIENCE_COLUMNS)}")
                names.add((user, f"faces/{user}/coarse_tilt_aligned_face.{face}.{image}"))
    users = {user: number for number, user in enumerate(sorted({user for user, _ in names}))}
    for user, name in sorted(names, key=lambda pair: pair[1]):
        yield Face(name, users[user])


def folders(source: Path) -> Iterator[Face]:
    """Yield the images of GANDiffFace, a folder for each identity, in the order of their names.

    All other files are yielded as missing, with the reason.
    """
    identity, previous = -1, None
    for name, reason in walk(source):
        if reason:
            yield Face(name, -1, missing=reason)
            continue
        folder = name.rpartition("/")[0]
        if not folder:
            _fail(source / name, "the image lies in no folder of an identity")
        identity += folder != previous
        previous = folder
        yield Face(name, identity)


def _five(path: Path, number: int, line: str) -> tuple[str, Points]:
    """Return the name and the landmarks of a line; the name may hold blanks."""
    for fields in (11, 10):  # with a score, or without
        parts = line.strip().rsplit(maxsplit=fields)
        values = _numbers(" ".join(parts[1:]))
        if len(values) == fields:
            return parts[0], tuple(zip(values[0:10:2], values[1:10:2], strict=True))
    _fail(path, f"line {number} is not a name and five landmarks: {line.strip()[:60]!r}")


def _axes(path: Path, number: int, line: str) -> Points:
    values = _numbers(line)
    if len(values) != 6 or min(values[:2]) <= 0:
        _fail(path, f"line {number} is no ellipse (two radii, angle, centre, 1): {line[:60]!r}")
    major, minor, angle, x, y = values[:5]
    dx, dy = math.cos(angle), math.sin(angle)
    if dy > 0:  # the end of the axis that is up in the image is the top of the head
        dx, dy = -dx, -dy
    return (
        (x + major * dx, y + major * dy),
        (x - major * dx, y - major * dy),
        (x + minor * dy, y - minor * dx),
        (x - minor * dy, y + minor * dx),
    )


def _numbers(text: str) -> list[float]:
    """Return the numbers of a line, or nothing where something else is in it."""
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        return []
    return values if all(map(math.isfinite, values)) else []


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if not path.is_file():
        raise DataError(
            f"{path} is missing: get the whole distribution, or name its folder with --source."
        )
    with open(path, encoding="utf-8-sig", newline="") as file:  # Excel begins it with a mark
        try:
            yield file
        except UnicodeDecodeError:
            _fail(path, "it is no text in UTF-8")


def _fail(path: Path, what: str) -> NoReturn:
    raise DataError(f"{path}: {what}. Get the file again.")
