"""The description of a database: its manifest in ``data_manifests``, and the fingerprint of its files."""

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastjsonschema
import numpy as np
import yaml

from mint_utils import paths
from mint_utils.data import folders
from mint_utils.errors import DataError, ParameterError

WHOLE = 1 << 30  # bytes of a file up to which all of them are hashed
BLOCK, BLOCKS = 1 << 16, 1024  # bytes and number of the blocks that stand for a larger one


def manifests() -> list[str]:
    """Return the names of all manifests, in order."""
    return sorted(path.stem for path in paths.MANIFESTS.glob("*.yaml"))


def read_manifest(name: str) -> dict[str, Any]:
    """Return the manifest of a database.

    Raises:
        ParameterError: There is no such manifest.
        DataError: It is no YAML, or not what ``data_manifests/schema.json`` asks for: one sentence that
            names the file, the field and the remedy.
    """
    path = paths.MANIFESTS / f"{name}.yaml"
    if not path.exists():
        raise ParameterError(
            f"There is no database {name!r} in data_manifests. There are: {', '.join(manifests())}."
        )
    try:
        manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise DataError(f"{path}{line} is no YAML: write it as the manifests beside it.") from error
    try:
        _validator()(manifest, name_prefix="manifest")
    except fastjsonschema.JsonSchemaValueException as fault:
        field, fault_is = ".".join(fault.path[1:]), fault.message.removeprefix(f"{fault.name} ")
        where = f", field {field}, is {fault.value!r}: it" if field else ": the manifest"
        raise DataError(
            f"{path}{where} {fault_is}. data_manifests/README.md tells the fields."
        ) from fault
    if manifest["name"] != name:
        raise DataError(
            f"{path}, field name, is {manifest['name']!r}: it must be the file's own, {name!r}."
        )
    return manifest


def recognised(manifest: dict[str, Any], data: str | Path | None) -> dict[str, Any]:
    """Return a manifest, with the ``fingerprint`` of the files where it has no ``sha256`` and they exist.

    Its path starts from the folder ``data``, which is None where there is none.
    """
    if "path" not in manifest or "sha256" in manifest or data is None:
        return manifest
    path = Path(data) / manifest["path"]
    return manifest | {"fingerprint": fingerprint(path)} if path.exists() else manifest


def fingerprint(path: str | Path) -> str:
    """Return a hash that changes with the content of a database whose checksum nobody published.

    A folder: the hash of all its images (`folders.fingerprint`). A file up to 1 GiB: its SHA-256. A larger
    one (MS1MV3 has 30 GB) is not read as a whole. The hash is of its size, of 1,024 blocks of 64 KiB at equal
    distances from the first to the last, 64 MiB in all, and of two files beside it where they exist: the
    ``.idx``, and the ``index.csv`` that the preparation writes with the SHA-256 of every image.

    It changes with another version, a truncated copy, another order of the images, and any image encoded to
    another length, because the ``.idx`` holds the offset of each. It does not notice bytes that changed in
    place between the blocks, as on a failing disk, while the index stayed the same.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: There is no such file, or the folder holds no image.
    """
    path = Path(path)
    if path.is_dir():
        return folders.fingerprint(path)
    if not path.is_file():
        raise DataError(f"There is no file {path}: data_manifests says how to get a database.")
    size = path.stat().st_size
    if size <= WHOLE:
        return sha256(path)
    content = hashlib.sha256(f"{size}\n".encode())
    with open(path, "rb") as file:
        for start in np.linspace(0, size - BLOCK, BLOCKS).astype(np.int64).tolist():
            file.seek(start)
            content.update(file.read(BLOCK))
    for beside in (path.with_suffix(".idx"), path.with_name("index.csv")):
        if beside.is_file():
            content.update(f"{beside.suffix} {sha256(beside)}\n".encode())
    return content.hexdigest()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _validator() -> Callable[..., Any]:
    # The schema of the package, also where tests have manifests of their own elsewhere.
    # Importing the library jsonschema instead takes a second of every process.
    path = paths.ROOT / "data_manifests" / "schema.json"
    return fastjsonschema.compile(json.loads(path.read_text(encoding="utf-8")))
