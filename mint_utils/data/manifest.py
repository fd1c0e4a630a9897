"""Opens a database that a manifest describes: ``open_database`` makes arrays of its images.

The images are one memory-mapped uint8 array, prepared once. Where that would take more than `PREPARED_BYTES`,
an array decodes them from the ``.rec`` when indexed. The error about a file that is missing or is not the one
of the manifest says what to do.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mint_utils import store
from mint_utils.data import folders, images, pairs, synthetic
from mint_utils.data.description import read_manifest, recognised, sha256
from mint_utils.data.recordio import RecordFile
from mint_utils.errors import DataError

VERSION = 1  # of the preparation: raised when prepared images change
PREPARED_BYTES = 16 << 30  # of pixels: a larger RecordIO file of the study's size is streamed
LISTED = 10  # names that are printed of the files that cannot be read


@dataclass(frozen=True)
class Database:
    """The images of one database, in the order of their keys.

    Attributes:
        name: Name of the manifest.
        keys: (N,) str, unique.
        identities: (N,) int64, -1 where unknown.
        images: (N, S, S, 3) uint8, RGB, memory-mapped, or decoded from the file when indexed.
        same: (N/2,) bool for verification pairs (images 2i and 2i+1), else None.
        fingerprint: Hash that changes when an image, a key or an identity does.
        unread: The other files of a folder without a manifest, and why each was not read.
        source: Regular expression. Its match in the key of an image of unknown identity names the film or
            photograph that the image comes from. None where keys do not contain it.
    """

    name: str
    keys: np.ndarray
    identities: np.ndarray
    images: np.ndarray | images.RecordImages
    same: np.ndarray | None
    fingerprint: str
    unread: tuple[tuple[str, str], ...] = ()
    source: str | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def persons(self) -> np.ndarray:
        """Return the person of each image of a verification set: (N,) int64.

        Where identities are unknown, the two images of a pair of one person get one number, and every other
        image gets its own: somebody in several pairs is counted once for each.
        """
        if (self.identities >= 0).all():
            return self.identities
        numbers = np.arange(len(self))
        numbers[1::2] -= self.same
        return numbers

    def cluster(self, index: int) -> str:
        """Return the name of an image's cluster of dependent images: its person, its source, or itself."""
        key, identity = str(self.keys[index]), int(self.identities[index])
        if identity >= 0:
            return f"{self.name}/{identity}"
        found = re.search(self.source, key) if self.source else None
        return f"{self.name}/source {found[0]}" if found else f"{self.name}/{key}"


def open_database(
    name: str, data: str | Path | None, image_size: int, scale: float = 1.0
) -> Database:
    """Return a database, prepared at the size of the study and kept in the store.

    Args:
        name: Name of its manifest.
        data: The folder that the manifest's path starts from; None if there is none.
        image_size: Side in pixels to which aligned crops are resized (antialiased).
        scale: Factor on the number of identities of an embedded database.

    Raises:
        DataError: Files are missing, damaged, or not those of the manifest.
    """
    return _opened(described(name, data, scale), data, image_size)


def open_folder(name: str, folder: str | Path, image_size: int) -> Database:
    """Return a folder of aligned crops as a database, without a manifest.

    Files that cannot be read are left out, listed in ``unread``, and printed; all others are images. A
    database with a manifest would be refused instead, because it has checksums.

    Args:
        name: Name that the database gets.
        folder: Image files, square, of any size; in a sub-folder for each person where people are known.
        image_size: Side in pixels to which they are resized (antialiased).

    Raises:
        DataError: There is no such folder, or no image in it that can be read.
    """
    manifest = {"name": name, "layout": "folder", "path": str(folder), "image_size": None}
    manifest["reads"] = images.formats()
    db = _opened(recognised(manifest, "/"), "/", image_size)
    unread = tuple(sorted([*folders.image_files(folder).others, *db.unread]))
    if unread:
        lines = [f"  {key} {reason}" for key, reason in unread[:LISTED]]
        lines += [f"  and {len(unread) - LISTED:,} more"] * (len(unread) > LISTED)
        files = f"{len(db):,} of {len(db) + len(unread):,} files"
        print(f"{name}: {files} in {folder} were read, but not these:", *lines, sep="\n")
    return replace(db, unread=unread)


def _opened(manifest: dict[str, Any], data: str | Path | None, image_size: int) -> Database:
    prepared = store.fetch(
        "databases",
        _specification(manifest, image_size),
        lambda folder: _prepare(manifest, data, image_size, folder),
    )
    with np.load(prepared.folder / "index.npz", allow_pickle=False) as file:
        index = dict(file)
    pixels = prepared.folder / "images.npy"
    return Database(
        name=manifest["name"],
        keys=index["keys"],
        identities=index["identities"],
        images=np.load(pixels, mmap_mode="r")
        if pixels.exists()
        else _stream(manifest, data, image_size, prepared, index["keys"]),
        same=index.get("same"),
        fingerprint=prepared.digest,
        unread=tuple(map(tuple, prepared.record.get("unread", ()))),
        source=manifest.get("source"),
    )


def described(name: str, data: str | Path | None, scale: float = 1.0) -> dict[str, Any]:
    """Return the manifest of a database, with its counts at the scale of a study.

    Without a published checksum it has the fingerprint of the files, where they exist.
    """
    manifest = recognised(read_manifest(name), data)
    if manifest["layout"] != "embedded":
        return manifest
    identities = max(2, round(manifest["identities"] * scale))
    images_each = manifest["images"] // manifest["identities"]
    return manifest | {"identities": identities, "images": identities * images_each}


def is_prepared(manifest: dict[str, Any], image_size: int) -> bool:
    """Say whether the database of a manifest is in the store at this size."""
    return store.find("databases", _specification(manifest, image_size)) is not None


def is_streamed(manifest: dict[str, Any], image_size: int) -> bool:
    """Say whether the images of a database stay in its ``.rec``, because prepared they are too large."""
    fits = expected_images(manifest) * image_size**2 * 3 <= PREPARED_BYTES
    return manifest["layout"] == "recordio" and manifest["image_size"] == image_size and not fits


def expected_images(manifest: dict[str, Any]) -> int:
    """Return how many images a database has by its manifest, or had when it was published; 0: unknown."""
    return manifest.get("images") or manifest.get("published", {}).get("images", 0)


def _specification(manifest: dict[str, Any], image_size: int) -> dict[str, Any]:
    """Return what determines the images of a database, which does not include their place."""
    if manifest["layout"].startswith("embedded"):
        source = {"pixels": _embedded_probe(manifest, image_size)}
    else:
        known = manifest.get("sha256") or manifest.get("fingerprint")
        source = {"sha256": known, "native_size": manifest["image_size"]}
        source |= {"reads": manifest["reads"]} if "reads" in manifest else {}
    return {
        "version": VERSION,
        "name": manifest["name"],
        "image_size": image_size,
        "images": manifest.get("images"),
        "identities": manifest.get("identities"),
        "source": source,
    }


def _stream(
    manifest: dict[str, Any],
    data: str | Path | None,
    size: int,
    prepared: store.Artifact,
    keys: np.ndarray,
) -> images.RecordImages:
    """Return the images of a ``.rec`` that was checked when its index was stored."""
    path = locate(manifest, data)
    expected = prepared.record["rec_bytes"]
    record = RecordFile(path) if path.stat().st_size == expected else None
    if record is None or not np.array_equal(record.keys, keys.astype(np.int64)):
        raise DataError(
            f"{path} is not the file whose index is stored ({expected:,} bytes, {len(keys):,} images): "
            f"copy it again with its .idx, or delete {prepared.folder} and it is checked anew."
        )
    return images.RecordImages(record, record.keys, size)


def _prepare(
    manifest: dict[str, Any], data: str | Path | None, size: int, folder: Path
) -> dict[str, Any]:
    unread = {}
    if manifest["layout"].startswith("embedded"):
        keys, identities, same, chunks = _embedded(manifest, size)
    else:
        keys, identities, same, chunks = _files(manifest, _located(manifest, data), size, unread)
    if len(keys) != manifest.get("images", len(keys)):
        raise DataError(
            f"{manifest['name']} has {len(keys)} images and its manifest says {manifest['images']}: "
            f"the copy is not the one described in data_manifests/{manifest['name']}.yaml."
        )
    record = {}
    if is_streamed(manifest, size):
        next(chunks)  # a wrong size is an error now, other faults are when the record is read
        record["rec_bytes"] = locate(manifest, data).stat().st_size
    else:
        _store_pixels(manifest["name"], chunks, (len(keys), size, size, 3), folder, unread)
    if unread:
        record["unread"] = [(keys[i], reason) for i, reason in unread.items()]
        keys = np.delete(keys, list(unread))
        identities = folders.identities(keys.tolist())
    index = {"keys": keys, "identities": identities} | ({} if same is None else {"same": same})
    np.savez(folder / "index.npz", **index)
    return record | {
        "images": len(keys),
        "identities": len(np.unique(identities[identities >= 0])),
    }


def _store_pixels(
    name: str,
    chunks: Iterator[np.ndarray],
    shape: tuple[int, ...],
    folder: Path,
    unread: dict[int, str],
) -> None:
    path = folder / "images.npy"
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    with tqdm(total=len(array), desc=f"preparing {name}", unit="img", leave=False) as bar:
        done = 0
        for chunk in chunks:
            array[done : done + len(chunk)] = chunk
            done += len(chunk)
            bar.update(len(chunk))
    if done + len(unread) != len(array):
        raise DataError(f"{name}: {done} images were read where {len(array)} were named.")
    array.flush()
    if unread:  # the array was made before anything was read: remove its empty end
        if not done:
            first = next(iter(unread.values()))
            raise DataError(f"{name}: no image could be read. The first {first}")
        shorter = path.with_name("shorter.npy")
        np.save(shorter, array[:done])
        shorter.replace(path)


def locate(manifest: dict[str, Any], data: str | Path | None) -> Path:
    """Return the path of a database.

    Raises:
        DataError: Nothing exists there.
    """
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
    return path


def _located(manifest: dict[str, Any], data: str | Path | None) -> Path:
    """Return the path of a database, which exists and has the checksum of the manifest if there is one."""
    name, path = manifest["name"], locate(manifest, data)
    if "sha256" not in manifest:
        return path
    found = folders.fingerprint(path) if path.is_dir() else sha256(path)
    if found != manifest["sha256"]:
        raise DataError(
            f"Database {name!r}: {path} is not the copy that its manifest describes (sha256 {found}, "
            f"expected {manifest['sha256']}). Get that copy, or describe yours in a manifest of its own."
        )
    return path


def _files(manifest: dict[str, Any], path: Path, size: int, unread: dict[int, str]):
    """Return keys, identities, same and an iterator over chunks of pixels, which fills ``unread``.

    It does so for a folder without a manifest only; in others an image that cannot be read is an error.
    """
    native, kind, same = manifest["image_size"], manifest["layout"], None
    if kind == "recordio":
        record = RecordFile(path)
        digits = len(str(record.keys[-1]))  # numpy alone would take 21 characters for each key
        keys, identities = record.keys.astype(f"U{digits}"), record.labels
        encoded = ((f"{path}, record {key}", record.image_bytes(key)) for key in record.keys)
    elif kind == "bin":
        stored, same = pairs.read_bin(path)
        keys = _pair_keys(len(stored))
        identities = np.full(len(keys), -1, np.int64)
        encoded = ((f"{path}, image {i}", content) for i, content in enumerate(stored))
    else:
        keys, identities, files, _ = folders.image_files(path)
        encoded = ((str(file), file.read_bytes()) for file in files)

    def chunks(step: int = 256):
        batch = []
        for i, (name, content) in enumerate(encoded):
            try:
                pixels = images.decode(content, name, native)
                if native is None:
                    pixels = images.resize(_square(pixels, name)[None], size)[0]
            except DataError as error:
                if "reads" not in manifest:
                    raise
                unread[i] = str(error).removeprefix(f"{name} ")
                continue
            batch.append(pixels)
            if len(batch) == step:
                yield images.resize(np.stack(batch), size)
                batch = []
        if batch:
            yield images.resize(np.stack(batch), size)

    return keys, identities, same, chunks()


def _square(pixels: np.ndarray, name: str) -> np.ndarray:
    height, width, _ = pixels.shape
    if height != width:
        raise DataError(
            f"{name} is {width}x{height} pixels, and no aligned crop: align faces to a square, all alike."
        )
    return pixels


def _pair_keys(images: int) -> np.ndarray:
    return np.array([f"{i // 2:05d}{'ab'[i % 2]}" for i in range(images)])


def _embedded(manifest: dict[str, Any], size: int):
    """Return keys, identities, same and an iterator over chunks of pixels of a database that is drawn.

    Verification pairs alternate between one identity shown twice and two identities. So every fold of the
    verification protocol has equally many of both kinds, and no identity occurs in two folds.
    """
    numbers, same = np.arange(manifest["images"]), None
    if manifest["layout"] == "embedded_pairs":
        pair, samples = np.divmod(numbers, 2)
        same = np.arange(len(numbers) // 2) % 2 == 0
        identities = manifest["first_identity"] + 2 * pair + (samples & ~same[pair])
        keys = _pair_keys(len(numbers))
    else:
        person, samples = np.divmod(numbers, manifest["images"] // manifest["identities"])
        identities = manifest["first_identity"] + person
        keys = np.array([f"{i:08d}/{s:04d}" for i, s in zip(identities, samples, strict=True)])

    def chunks(step: int = 512):
        for i in range(0, len(keys), step):
            some = slice(i, i + step)
            yield synthetic.draw(manifest["style"], identities[some], samples[some], size)

    return keys, identities, same, chunks()


def _embedded_probe(manifest: dict[str, Any], size: int) -> str:
    """Return a hash of a few drawn faces, so that another generator makes another database."""
    number = np.arange(8, dtype=np.int64)
    faces = synthetic.draw(manifest["style"], manifest["first_identity"] + number, number, size)
    return hashlib.sha256(faces.tobytes()).hexdigest()
