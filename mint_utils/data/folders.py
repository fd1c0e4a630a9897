"""Folders of image files: their keys, identities and paths, and a hash of all their bytes.

In: a folder with image files at any depth. Out: keys (path below the folder), identities where every
image lies in a sub-folder, and the paths, in the order of the keys.
"""

import hashlib
import os
from pathlib import Path
from typing import NoReturn

import numpy as np

from mint_utils.errors import DataError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


def image_files(folder: str | Path) -> tuple[np.ndarray, np.ndarray, list[Path]]:
    """List the images of a folder and of those below it, without hidden ones, by key.

    Returns:
        keys: (N,) str, the path below the folder with ``/`` between its parts, ascending.
        identities: (N,) int64: the number of the first-level sub-folder, by name, if there are
            several and every image lies in one; else -1.
        paths: Of the N files.

    Raises:
        DataError: There is no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}: data_manifests says how to get a database.")
    found = {path.relative_to(folder).as_posix(): path for path in _walk(folder)}
    if not found:
        kinds = ", ".join(sorted(SUFFIXES))
        raise DataError(f"{folder} holds no image ({kinds}): put the files of the database there.")
    keys = sorted(found)
    return np.array(keys), _identities(keys), [found[key] for key in keys]


def fingerprint(folder: str | Path) -> str:
    """Return the SHA-256, in hexadecimal, of the lines ``key sha256`` of all images, in key order."""
    keys, _, paths = image_files(folder)
    lines = hashlib.sha256()
    for key, path in zip(keys, paths, strict=True):
        with open(path, "rb") as file:
            lines.update(f"{key} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return lines.hexdigest()


def _walk(folder: Path) -> list[Path]:
    paths = []
    for root, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        visible = (name for name in files if not name.startswith("."))
        paths += [Path(root, name) for name in visible if Path(name).suffix.lower() in SUFFIXES]
    return paths


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"The folder {error.filename} cannot be read ({error.strerror}).") from error


def _identities(keys: list[str]) -> np.ndarray:
    names = [key.split("/")[0] if "/" in key else None for key in keys]
    if None in names or len(set(names)) == 1:
        return np.full(len(keys), -1, np.int64)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
