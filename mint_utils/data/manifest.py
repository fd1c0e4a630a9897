"""A manifest says what a database is and where; ``open_database`` makes arrays of its images.

In: a YAML file of ``data_manifests`` and, unless the database is embedded, the folder of the
databases. Out: a `Database`, whose images are one memory-mapped uint8 array prepared once.
A file that is missing or is not the one of the manifest is an error that says what to do.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from mint_utils import paths, store
from mint_utils.data import folders, images, pairs, synthetic
from mint_utils.data.recordio import RecordFile
from mint_utils.errors import DataError, ParameterError

VERSION = 1  # of the preparation: raised when prepared images change
LAYOUTS = ("embedded", "embedded_pairs", "recordio", "recordio_pairs", "folder", "bin")
FIELDS = ("name", "title", "layout", "images", "licence", "citation", "origin", "preparation")


@dataclass(frozen=True)
class Database:
    """The images of one database, in the order of their keys.

    Attributes:
        name: The manifest's.
        keys: (N,) str, unique.
        identities: (N,) int64, -1 where unknown.
        images: (N, S, S, 3) uint8, RGB, memory-mapped.
        same: (N/2,) bool for verification pairs (images 2i and 2i+1), else None.
        fingerprint: Hash that changes when an image, a key or an identity does.
    """

    name: str
    keys: np.ndarray
    identities: np.ndarray
    images: np.ndarray
    same: np.ndarray | None
    fingerprint: str

    def __len__(self) -> int:
        return len(self.keys)


def read_manifest(name: str) -> dict[str, Any]:
    """Return the manifest of a database.

    Raises:
        ParameterError: There is no such manifest.
        DataError: It lacks a field, or its layout is unknown.
    """
    path = paths.MANIFESTS / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in paths.MANIFESTS.glob("*.yaml")))
        raise ParameterError(
            f"There is no database {name!r} in data_manifests. There are: {known}."
        )
    manifest = yaml.safe_load(path.read_text())
    missing = [key for key in FIELDS if key not in manifest]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}.")
    if manifest["name"] != name or manifest["layout"] not in LAYOUTS:
        raise DataError(f"{path}: the name must be {name}, the layout one of {', '.join(LAYOUTS)}.")
    return manifest


def open_database(
    name: str, data: str | Path | None, image_size: int, scale: float = 1.0
) -> Database:
    """Return a database, prepared at the size of the study and kept for the next time.

    Args:
        name: Of its manifest.
        data: The folder that the manifest's path starts from; None if it is not at hand.
        image_size: Side in pixels to which aligned crops are resized (antialiased).
        scale: Factor on the number of identities of an embedded database.

    Raises:
        DataError: Files are missing, damaged, or not those of the manifest.
    """
    manifest = read_manifest(name)
    if manifest["layout"].startswith("embedded"):
        manifest = _scaled(manifest, scale)
        source = {"pixels": _embedded_probe(manifest, image_size)}
    else:
        source = {"sha256": manifest["sha256"], "native_size": manifest["image_size"]}
    spec = {
        "version": VERSION,
        "name": name,
        "image_size": image_size,
        "images": manifest["images"],
        "identities": manifest.get("identities"),
        "source": source,
    }

    def make(folder: Path) -> dict[str, Any]:
        return _prepare(manifest, data, image_size, folder)

    prepared = store.fetch("databases", spec, make)
    index = np.load(prepared.folder / "index.npz", allow_pickle=False)
    return Database(
        name=name,
        keys=index["keys"],
        identities=index["identities"],
        images=np.load(prepared.folder / "images.npy", mmap_mode="r"),
        same=index.get("same"),
        fingerprint=prepared.digest,
    )


def _prepare(
    manifest: dict[str, Any], data: str | Path | None, size: int, folder: Path
) -> dict[str, Any]:
    kind = manifest["layout"]
    if kind == "embedded":
        keys, identities, same, chunks = _embedded(manifest, size)
    elif kind == "embedded_pairs":
        keys, identities, same, chunks = _embedded_pairs(manifest, size)
    else:
        keys, identities, same, chunks = _files(manifest, _located(manifest, data), size)
    if len(keys) != manifest["images"]:
        raise DataError(
            f"{manifest['name']} has {len(keys)} images and its manifest says {manifest['images']}: "
            f"the copy is not the one described in data_manifests/{manifest['name']}.yaml."
        )
    shape = (len(keys), size, size, 3)
    array = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape)
    with tqdm(
        total=len(keys), desc=f"preparing {manifest['name']}", unit="img", leave=False
    ) as bar:
        done = 0
        for chunk in chunks:
            array[done : done + len(chunk)] = chunk
            done += len(chunk)
            bar.update(len(chunk))
    if done != len(keys):
        raise DataError(
            f"{manifest['name']}: {done} images were read where {len(keys)} were named."
        )
    array.flush()
    index = {"keys": keys, "identities": identities} | ({} if same is None else {"same": same})
    np.savez(folder / "index.npz", **index)
    return {"images": len(keys), "identities": len(np.unique(identities[identities >= 0]))}


def _located(manifest: dict[str, Any], data: str | Path | None) -> Path:
    """Return the verified path of a database: there, and the one that its manifest describes."""
    name = manifest["name"]
    remedy = (
        f"data_manifests/{name}.yaml says how to get it; "
        "--data DIR (in a notebook: data) names the folder."
    )
    if data is None:
        raise DataError(
            f"Database {name!r} needs {manifest['path']} in a folder of databases. {remedy}"
        )
    path = Path(data) / manifest["path"]
    if not path.exists():
        raise DataError(f"Database {name!r}: there is no {path}. {remedy}")
    found = folders.fingerprint(path) if path.is_dir() else _file_sha256(path)
    if found != manifest["sha256"]:
        raise DataError(
            f"Database {name!r}: {path} is not the copy that its manifest describes (sha256 {found}, "
            f"expected {manifest['sha256']}). Get that copy, or describe yours in a manifest of its own."
        )
    return path


def _file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(manifest: dict[str, Any], path: Path, size: int):
    native, kind, same = manifest["image_size"], manifest["layout"], None
    if kind == "recordio":
        record = RecordFile(path)
        keys, identities = record.keys.astype(np.str_), record.labels
        encoded = ((f"{path}, record {key}", record.image_bytes(key)) for key in record.keys)
    elif kind == "recordio_pairs":
        record = RecordFile(path)
        same = pairs.recorded_same(record)
        keys = np.array([f"{i // 2:05d}{'ab'[i % 2]}" for i in range(len(record.keys))])
        identities = np.full(len(keys), -1, np.int64)
        encoded = ((f"{path}, record {key}", record.image_bytes(key)) for key in record.keys)
    elif kind == "bin":
        stored, same = pairs.read_bin(path)
        keys = np.array([f"{i // 2:05d}{'ab'[i % 2]}" for i in range(len(stored))])
        identities = np.full(len(keys), -1, np.int64)
        encoded = ((f"{path}, image {i}", content) for i, content in enumerate(stored))
    else:
        keys, identities, files = folders.image_files(path)
        encoded = ((str(file), file.read_bytes()) for file in files)

    def chunks(step: int = 256):
        batch = []
        for name, content in encoded:
            batch.append(images.decode(content, name, native))
            if len(batch) == step:
                yield images.resize(np.stack(batch), size)
                batch = []
        if batch:
            yield images.resize(np.stack(batch), size)

    return keys, identities, same, chunks()


def _scaled(manifest: dict[str, Any], scale: float) -> dict[str, Any]:
    if manifest["layout"] == "embedded_pairs":  # always as many pairs as the manifest says
        return manifest
    identities = max(2, round(manifest["identities"] * scale))
    images_each = manifest["images"] // manifest["identities"]
    return manifest | {"identities": identities, "images": identities * images_each}


def _embedded(manifest: dict[str, Any], size: int):
    count, each = manifest["identities"], manifest["images"] // manifest["identities"]
    identities = np.repeat(np.arange(count), each) + manifest["first_identity"]
    samples = np.tile(np.arange(each), count)
    keys = np.array([f"{i:08d}/{s:04d}" for i, s in zip(identities, samples, strict=True)])
    return keys, identities, None, _drawn(manifest["style"], identities, samples, size)


def _embedded_pairs(manifest: dict[str, Any], size: int):
    """Return n pairs: the first of every two shows one identity twice, the second two identities.

    Every fold of the verification protocol thus holds as many of either kind, and no identity
    occurs in two folds.
    """
    n = manifest["images"] // 2
    same = np.arange(n) % 2 == 0
    first = manifest["first_identity"] + 2 * np.arange(n)
    identities = np.stack([first, np.where(same, first, first + 1)], axis=1).ravel()
    samples = np.tile([0, 1], n)
    keys = np.array([f"{i // 2:05d}{'ab'[i % 2]}" for i in range(2 * n)])
    return keys, identities, same, _drawn(manifest["style"], identities, samples, size)


def _drawn(style: str, identities: np.ndarray, samples: np.ndarray, size: int, step: int = 512):
    for i in range(0, len(identities), step):
        yield synthetic.draw(style, identities[i : i + step], samples[i : i + step], size)


def _embedded_probe(manifest: dict[str, Any], size: int) -> str:
    """Return a hash of a few drawn faces, so that another generator makes another database."""
    number = np.arange(8, dtype=np.int64)
    faces = synthetic.draw(manifest["style"], manifest["first_identity"] + number, number, size)
    return hashlib.sha256(faces.tobytes()).hexdigest()
