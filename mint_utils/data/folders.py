"""Folders of image files at any depth: keys, identities, paths, and a hash of all bytes; links are followed.

Files that are not taken are listed with the reason, so that every file of the folder is accounted for.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mint_utils.data.images import START, looks_like_image
from mint_utils.errors import DataError

NOTHING = "is a link to nothing"
SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
SUFFIXES |= {".avif", ".heic", ".heif"}


class Files(NamedTuple):
    """The files of a folder.

    Attributes:
        keys: (N,) str, the paths of the images below the folder with ``/`` between their parts, ascending.
        identities: (N,) int64, as `identities` returns them.
        paths: Of the N images.
        others: The other files: the path below the folder, and why it is not taken for an image.
    """

    keys: np.ndarray
    identities: np.ndarray
    paths: list[Path]
    others: list[tuple[str, str]]


def image_files(folder: str | Path) -> Files:
    """List the images of a folder and of those below it, by key, and the other files.

    Raises:
        DataError: There is no such folder, or no image in it; a name is not UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}: data_manifests says how to get a database.")
    found = list(walk(folder))
    keys = [key for key, reason in found if not reason]
    others = [(key, reason) for key, reason in found if reason]
    if not keys:
        first = f" The first of {len(others)} files: {' '.join(others[0])}." if others else ""
        kinds = ", ".join(sorted(SUFFIXES))
        raise DataError(
            f"{folder} holds no image ({kinds}): put the files of the database there.{first}"
        )
    return Files(np.array(keys), identities(keys), [folder / key for key in keys], others)


def walk(folder: str | Path) -> Iterator[tuple[str, str]]:
    """Yield the path of every file below a folder, and why it is not taken for an image; empty if it is.

    The paths are in the order of their characters; only the names of one folder are held at a time. A file
    without a suffix is taken if it begins as an image does.

    Raises:
        DataError: A folder cannot be read, or a name is not UTF-8.
    """
    return _walk(str(folder), "", (os.path.realpath(folder),))


def identities(keys: Sequence[str]) -> np.ndarray:
    """Return (N,) int64: the number of the first-level sub-folder of each key, by name.

    All are -1, unknown, where there is one sub-folder only or an image lies in none.
    """
    names = [key.split("/")[0] if "/" in key else None for key in keys]
    if None in names or len(set(names)) == 1:
        return np.full(len(keys), -1, np.int64)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def fingerprint(folder: str | Path) -> str:
    """Return the SHA-256, in hexadecimal, of the lines ``key sha256`` of all images, in key order."""
    keys, _, paths, _ = image_files(folder)
    lines = hashlib.sha256()
    for key, path in zip(keys, paths, strict=True):
        with _opened(path) as file:
            lines.update(f"{key} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return lines.hexdigest()


def _walk(folder: str, below: str, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(
                (entry.name + "/" * _leads(entry, os.path.isdir), entry) for entry in entries
            )
    except OSError as error:
        raise DataError(f"The folder {folder} cannot be read ({error.strerror}).") from error
    for name, entry in found:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{folder}: the name {os.fsencode(entry.name)!r} in it is not UTF-8. Rename it."
            ) from error
        key = below + name
        if not name.endswith("/"):
            yield key, _reason(key, entry)
        elif entry.is_symlink() and (real := os.path.realpath(entry.path)) in above:
            yield key[:-1], f"is a link to {real}, in which it lies"
        else:
            yield from _walk(entry.path, key, (*above, os.path.realpath(entry.path)))


def _leads(entry: os.DirEntry, to: Callable[[str], bool]) -> bool:
    """Say whether an entry is or links to a folder or file; only a link needs a look at the disk."""
    if entry.is_symlink():
        return to(entry.path)
    return entry.is_dir() if to is os.path.isdir else entry.is_file()


def _reason(key: str, entry: os.DirEntry) -> str:
    """Return why a file is not taken for an image, or nothing."""
    if any(part.startswith(".") for part in key.split("/")):
        return "is hidden, or in a hidden folder"
    if not _leads(entry, os.path.isfile):
        return NOTHING if entry.is_symlink() else "is no regular file"
    suffix = os.path.splitext(entry.name)[1]
    if suffix.lower() in SUFFIXES:
        return ""
    if suffix:
        return f"has a suffix that no image has ({suffix})"
    with _opened(entry.path) as file:
        known = looks_like_image(file.read(START))
    return "" if known else "has no suffix, and does not begin as an image does"


def _opened(path: str | Path):
    try:
        return open(path, "rb")
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}). Change its permissions."
        ) from error
