"""Reads and writes RecordIO, the format of MS1MV3: a ``.rec`` file with its ``.idx``.

The file is memory-mapped; only keys and offsets are held in memory.

A ``.rec`` is a sequence of records: uint32 magic, uint32 (3-bit continuation flag, 29-bit length), payload,
zeros up to a multiple of 4 bytes. The payload is MXNet's IRHeader ``<IfQQ`` (flag, label, id, id2), ``flag``
float32 labels, and the encoded image. A payload that contains the magic at a multiple of 4 is stored in
parts without it. The ``.idx`` is text, a key and an offset in each line, in any order.
"""

import mmap
import re
import struct
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np

from mint_utils.errors import DataError

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
PART = struct.Struct("<II")
IR_HEADER = struct.Struct("<IfQQ")
FIRST_LABEL = struct.Struct("<f")
COUNTS = struct.Struct("<2f")
LENGTH_BITS = 29
WHOLE, FIRST, MIDDLE, LAST = range(4)  # continuation flags
CHUNK = 1 << 18  # records whose headers are read at once


class RecordFile:
    """Random access to the images of a ``.rec`` file; a context manager.

    Attributes:
        path: Path of the ``.rec``.
        keys: (N,) int64, ascending: the images, without header and identity-range records.

    Raises:
        DataError: A file is missing, truncated, or the index does not fit the records. Cheap checks are made
            at opening, those of a record when it is read.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._keys, self._offsets = _read_index(self.path.with_suffix(".idx"))
        if not self.path.is_file() or not self.path.stat().st_size:
            raise DataError(f"{self.path} is missing or empty: copy it again, with its .idx.")
        with open(self.path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._check_offsets()
        self._images = self._image_rows()
        self.keys = self._keys[self._images]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return type(self), (self.path,)  # another process opens the file for itself

    def close(self) -> None:
        """Release the file."""
        self._map.close()

    def image_bytes(self, key: int) -> bytes:
        """Return the encoded image of a key."""
        return self._image(key)[1]

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64, the identities in the order of ``keys``, read from all the headers at every access.

        This also checks that the lines of the ``.idx`` and the records correspond one to one.

        Raises:
            DataError: A record is damaged, or the ``.idx`` lacks one.
        """
        labels = np.full(len(self._keys), -1)
        order = np.argsort(self._offsets)  # from the front of the file to its end
        nexts = np.append(self._offsets[order][1:], len(self._map))
        words = np.frombuffer(self._map, "<u4", count=len(self._map) // 4)
        for i in range(0, len(order), CHUNK):
            rows, ends = order[i : i + CHUNK], nexts[i : i + CHUNK]
            starts = self._offsets[rows]
            # The last record may end before the words where other records have their labels.
            record = words[np.minimum(starts[:, None] // 4 + np.arange(9), len(words) - 1)]
            magic, word, flag = record[:, 0], record[:, 1], record[:, 2].astype(np.int64)
            length = (word & (1 << LENGTH_BITS) - 1).astype(np.int64)
            values = np.where(flag > 0, record[:, 8], record[:, 3]).view("<f4")
            plain = (magic == MAGIC) & (word >> LENGTH_BITS == WHOLE)
            plain &= starts + PART.size + length + -length % 4 == ends
            plain &= (length >= IR_HEADER.size + 4 * flag) & (values == np.floor(values))
            plain &= np.isfinite(values)
            labels[rows[plain]] = values[plain]
            for row, end in zip(rows[~plain], ends[~plain], strict=True):  # in parts, or wrong
                labels[row] = self._checked_label(row, end)
        return labels[self._images]

    def _checked_label(self, row: int, end: int) -> int:
        key = self._keys[row]
        _, stop = self._record(row)
        if stop != end:
            self._fail(key, f"at its end, byte {stop}, a record begins that the .idx lacks")
        is_image = self._images.start <= row < self._images.stop
        return self._image(key)[0] if is_image else -1

    def _check_offsets(self) -> None:
        outside = (self._offsets + PART.size > len(self._map)) | (self._offsets % 4 > 0)
        if outside.any():
            key = self._keys[outside.argmax()]
            self._fail(key, "its offset in the .idx is outside the file or between records")
        order = np.argsort(self._offsets, kind="stable")
        if self._offsets[order[0]]:
            self._fail(
                self._keys[order[0]], "the .idx calls it the first one, and data lie before it"
            )
        again = np.flatnonzero(np.diff(self._offsets[order]) == 0)
        if len(again):
            first, second = self._keys[order[again[0] : again[0] + 2]]
            self._fail(second, f"the .idx gives it the offset of record {first}")
        last = int(order[-1])
        if self._record(last)[1] != len(self._map):
            self._fail(self._keys[last], "the .idx calls it the last one, and data follow it")

    def _image_rows(self) -> slice:
        """Return the rows of the images.

        A first record with two labels and no image contains N + 1 and the number of all records. Records of
        the same kind after the images contain the ranges of the identities.
        """
        first, last, n = 0, len(self._keys), len(self._keys)
        if self._keys[0] == 0 and self._counts(0):
            payload = self._record(0)[0]
            count, records = COUNTS.unpack_from(payload, IR_HEADER.size)
            first, last = 1, int(np.searchsorted(self._keys, count - 1, side="right"))
            if last != count:
                self._fail(0, f"it counts {count - 1:.0f} images, the .idx has {last - 1}")
            if np.float32(n) != records:
                self._fail(0, f"it counts {records:.0f} records in all, the .idx has {n}")
            for row in range(last, n):
                if not self._counts(row):
                    problem = f"it is an image, and record 0 counts {count - 1:.0f}"
                    self._fail(self._keys[row], problem)
        if first == last:
            raise DataError(f"{self.path} holds no image.")
        return slice(first, last)

    def _counts(self, row: int) -> bool:
        """Say whether a record holds two labels and no image."""
        payload = self._record(row)[0]
        flag, _ = self._header(int(self._keys[row]), payload)
        return flag == 2 and len(payload) == IR_HEADER.size + COUNTS.size

    def _image(self, key: int) -> tuple[int, bytes]:
        row = int(self._keys.searchsorted(key))
        if not self._images.start <= row < self._images.stop or self._keys[row] != key:
            raise DataError(f"{self.path} has no image {key}: its keys are in RecordFile.keys.")
        payload, _ = self._record(row)
        flag, label = self._header(key, payload)
        if flag:
            (label,) = FIRST_LABEL.unpack_from(payload, IR_HEADER.size)
        if not label.is_integer():
            self._fail(key, f"its label is {label}, and identities are whole numbers")
        return int(label), payload[IR_HEADER.size + 4 * flag :]

    def _header(self, key: int, payload: bytes) -> tuple[int, float]:
        """Return the number of the labels that follow the header, and the label in it."""
        if len(payload) >= IR_HEADER.size:
            flag, label, _, _ = IR_HEADER.unpack_from(payload)
            if len(payload) >= IR_HEADER.size + 4 * flag:
                return flag, label
        self._fail(key, "it is shorter than its own header")

    def _record(self, row: int) -> tuple[bytes, int]:
        """Return the payload of a record, its parts joined, and where the next record begins."""
        key = self._keys[row]
        continuation, payload, end = self._part(key, int(self._offsets[row]))
        if continuation == WHOLE:
            return payload, end
        parts = [payload]
        if continuation != FIRST:
            self._fail(key, "its offset in the .idx is inside a record")
        while continuation != LAST:
            continuation, payload, end = self._part(key, end)
            if continuation not in (MIDDLE, LAST):
                self._fail(key, "its last part is missing")
            parts.append(payload)
        return MAGIC_BYTES.join(parts), end

    def _part(self, key: int, start: int) -> tuple[int, bytes, int]:
        if start + PART.size > len(self._map):
            self._fail(key, "the file ends inside it")
        magic, word = PART.unpack_from(self._map, start)
        if magic != MAGIC:
            self._fail(key, f"no record begins at byte {start}")
        start += PART.size
        end = start + (word & (1 << LENGTH_BITS) - 1)
        padded = end + -end % 4
        if padded > len(self._map):
            self._fail(key, "the file ends inside it")
        return word >> LENGTH_BITS, self._map[start:end], padded

    def _fail(self, key: int, what: str) -> NoReturn:
        raise DataError(f"{self.path}, record {key}: {what}. Copy the .rec and the .idx again.")


def _read_index(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return keys, ascending, and offsets (bytes), both int64."""
    if not path.is_file():
        raise DataError(f"{path} is missing: the .rec cannot be read without it, copy both.")
    try:
        with warnings.catch_warnings(action="ignore"):  # an empty file: see below
            table = np.loadtxt(
                path, np.int64, delimiter="\t", comments=None, ndmin=2, encoding="utf-8-sig"
            )
    except ValueError as error:
        raise DataError(_malformed(path)) from error
    if not table.size:
        raise DataError(f"{path} is empty: copy it again.")
    if table.shape[1] != 2 or table.min() < 0:
        raise DataError(_malformed(path))
    keys, offsets = table[np.argsort(table[:, 0], kind="stable")].T.copy()
    repeated = np.flatnonzero(keys[1:] == keys[:-1])
    if len(repeated):
        raise DataError(f"{path}: key {keys[repeated[0]]} occurs more than once. Copy it again.")
    return keys, offsets


def _malformed(path: Path) -> str:
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.strip() and not re.fullmatch(r" *[0-9]{1,18}\t *[0-9]{1,18} *\n?", line):
                return f"{path}, line {number} is not a key, a tab and an offset: {line[:40]!r}."
    return f"{path} is not a table of keys and offsets: copy it again."


def write_records(path: str | Path, images: Iterable[tuple[int, bytes]]) -> None:
    """Write pairs of identity and encoded image to a ``.rec`` and its ``.idx``, as MXNet's im2rec does.

    The records are 0 to N-1, with one label each.

    Raises:
        DataError: An identity cannot be stored, because labels are float32.
    """
    path = Path(path)
    index_path = path.with_suffix(".idx")
    with open(path, "wb") as records, open(index_path, "w", encoding="ascii") as index:
        for key, (label, content) in enumerate(images):
            if int(np.float32(label)) != label:
                raise DataError(
                    f"{path}: float32 cannot hold identity {label}. Number them from 0."
                )
            index.write(f"{key}\t{records.tell()}\n")
            records.write(_packed(IR_HEADER.pack(0, label, key, 0) + content))


def _packed(payload: bytes) -> bytes:
    """Return a record, in parts where the payload holds the magic at a multiple of 4."""
    words = np.frombuffer(payload, "<u4", len(payload) // 4)
    cuts = (4 * np.flatnonzero(words == MAGIC)).tolist()
    starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(payload)]
    flags = [FIRST, *[MIDDLE] * (len(cuts) - 1), LAST] if cuts else [WHOLE]
    parts = []
    for flag, start, end in zip(flags, starts, ends, strict=True):
        parts += [PART.pack(MAGIC, flag << LENGTH_BITS | end - start), payload[start:end]]
        parts.append(bytes(-(end - start) % 4))
    return b"".join(parts)
