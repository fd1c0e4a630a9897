"""Verification pairs from InsightFace's ``.bin``: encoded images, and whether each pair shows one person.

In: a Python pickle of (list of 2n encoded images, list of n bool), protocols 2 to 5, written by Python 2
or 3, the images as ``bytes`` or numpy uint8 arrays of numpy 1 or 2, the bools of Python or numpy or an array,
or 0 and 1. Out: the images as ``bytes``.

A pickle from elsewhere can run code. Here nothing named in one is ever looked up or called: the few
names that such files hold are admitted, what they are called with is noted, and the bytes are taken
from the notes.
"""

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mint_utils.data.recordio import RecordFile
from mint_utils.errors import DataError

ADMITTED = {
    ("_codecs", "encode"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}
NUMBERS = {"b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f4", "f8"}
REMEDY = "It should be a pickle of encoded images and one bool a pair: get the file again."


class _Noted:
    """What a pickle calls a name with, and the state that it sets; it does nothing with either."""

    def __init__(self, *arguments: Any):
        self.arguments = arguments
        self.state = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Noted]:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _Noted


def read_bin(path: str | Path) -> tuple[list[bytes], np.ndarray]:
    """Read a verification ``.bin``.

    Returns:
        2n encoded images, pair i being images 2i and 2i + 1; and (n,) bool, whether they show one
        person, which may be all alike.

    Raises:
        DataError: The file is missing, truncated, or holds anything but images and bools.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is missing: data_manifests says how to get it.")
    with open(path, "rb") as file:
        content = _load(path, file)
    if not (isinstance(content, list | tuple) and len(content) == 2):
        raise DataError(f"{path} does not hold two lists. {REMEDY}")
    stored, same = content[0], _numbers(content[1])
    if not all(isinstance(part, list | tuple) for part in (stored, same)) or not len(same):
        raise DataError(f"{path} does not hold two lists. {REMEDY}")
    if len(stored) != 2 * len(same):
        raise DataError(f"{path} has {len(stored)} images for {len(same)} pairs. {REMEDY}")
    same = [_number(flag) for flag in same]
    if not all(flag in (0, 1) for flag in same):
        raise DataError(f"{path}: whether a pair shows one person must be True or False. {REMEDY}")
    images = [_bytes(value) for value in stored]
    if None in images:
        raise DataError(
            f"{path}, image {images.index(None)} is neither bytes nor a uint8 array. {REMEDY}"
        )
    return images, np.array(same, dtype=bool)


def recorded_same(record: RecordFile) -> np.ndarray:
    """Return (n,) bool, whether the pairs of a prepared ``.rec`` show one person: the labels of their images.

    Raises:
        DataError: The file holds no pairs.
    """
    labels = record.labels
    first, second = labels[: len(labels) // 2 * 2].reshape(-1, 2).T
    if len(labels) % 2 or (first != second).any() or not np.isin(labels, (0, 1)).all():
        raise DataError(
            f"{record.path} holds no pairs, images 2i and 2i + 1 both labelled 0 or 1: prepare it with "
            "python -m mint_utils.data.prepare."
        )
    return first.astype(bool)


def _load(path: Path, file: BinaryIO) -> Any:
    try:
        return _Unpickler(file, encoding="bytes").load()  # bytes: what a str of Python 2 is
    except Exception as error:  # bytes that are no pickle raise nearly anything
        raise DataError(f"{path} cannot be read: {error}. {REMEDY}") from error


def _bytes(value: Any) -> bytes | None:
    """Return the bytes that a value of the pickle stands for, or None if it is no image."""
    match value:
        case _Noted(arguments=(bytearray() | bytes() as raw, kind, tuple(), _), state=None):
            return bytes(raw) if _is_uint8(kind) else None  # an array in protocol 5
        case _Noted(state=(1, tuple(), kind, _, raw)):
            return _raw(raw) if _is_uint8(kind) else None
    return _raw(value)


def _raw(value: Any) -> bytes | None:
    match value:
        case bytes():
            return value
        case _Noted(arguments=(str(text), "latin1"), state=None):  # bytes in protocol 2
            try:
                return text.encode("latin1")
            except UnicodeEncodeError:
                return None
    return None


def _numbers(value: Any) -> Any:
    """Return the list that an array of one dimension stands for; anything else as it is."""
    match value:
        case _Noted(arguments=(bytearray() | bytes() as raw, kind, (int() as n,), _), state=None):
            found = _array(raw, kind)  # in protocol 5
        case _Noted(state=(1, (int() as n,), kind, _, raw)):
            found = _array(_raw(raw), kind)
        case _:
            return value
    return found if found is not None and len(found) == n else value


def _number(value: Any) -> Any:
    match value:
        case _Noted(arguments=(kind, raw), state=None) if found := _array(_raw(raw), kind):
            return found[0]
    return value if isinstance(value, bool | int | float) else None


def _array(raw: bytes | None, kind: Any) -> list | None:
    """Return the numbers in bytes, their type as a pickle notes it; None if it is no type of numbers."""
    match kind:
        case _Noted(
            arguments=(str() | bytes() as name, *_), state=(_, str() | bytes() as order, *_)
        ):
            name, order = (t.decode() if isinstance(t, bytes) else t for t in (name, order))
            if raw is not None and name in NUMBERS and order in ("<", ">", "|"):
                dtype = np.dtype(order + name)
                return (
                    np.frombuffer(raw, dtype).tolist() if len(raw) % dtype.itemsize == 0 else None
                )
    return None


def _is_uint8(kind: Any) -> bool:
    return isinstance(kind, _Noted) and kind.arguments[:1] in (("u1",), (b"u1",))
