"""The folder of a database that is being prepared: what it was given survives a kill at any moment.

In: crops and exclusions, one after the other. Out: ``NAME.rec`` with its ``.idx``, ``index.csv``,
``excluded.csv`` and, renewed at each sync, ``progress.json``: how long each file was and how many faces
were done then. What follows those lengths when the folder is opened again is cut off.
"""

import csv
import hashlib
import io
import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mint_utils import store
from mint_utils.data.annotations import Face
from mint_utils.data.recordio import RecordWriter, open_at, sync
from mint_utils.errors import DataError

INDEX = ("key", "identity", "source", "sha256")
EXCLUDED = ("source", "reason")


@dataclass(frozen=True)
class Crop:
    """What became of a face: an encoded crop, or the reason why there is none.

    Attributes:
        face: Where it is from.
        label: Of its record.
        identity: -1 where unknown.
        encoded: The image.
        sha256: Of ``encoded``, in hexadecimal.
        reason: Why the face is excluded; empty if it is not.
    """

    face: Face
    label: int = -1
    identity: int = -1
    encoded: bytes = b""
    sha256: str = ""
    reason: str = ""


class Partial:
    """A folder to append to; a context manager.

    Attributes:
        done: Faces that were dealt with, excluded ones among them.
        excluded: Those.
    """

    def __init__(self, folder: Path, name: str, begun: dict[str, Any], records: bool):
        """Open a folder, or make it.

        Args:
            folder: Of the database.
            name: Of the database.
            begun: What the source and the settings are: a run that goes on must have the same.
            records: Whether a ``.rec`` is written; otherwise images keep their numbers as keys.

        Raises:
            DataError: The folder was begun with other settings or another source, or was damaged.
        """
        self.folder = folder
        self._progress, self._begun = folder / "progress.json", begun
        folder.mkdir(exist_ok=True)
        state = json.loads(self._progress.read_text()) if self._progress.exists() else {}
        if state and state["begun"] != begun:
            raise DataError(
                f"{folder} was begun with other settings, or its source has changed since. "
                "Put the source back as it was, or delete that folder to begin anew."
            )
        self.done, self.excluded = state.get("done", 0), state.get("excluded", 0)
        ends = state.get("ends", [0, 0])
        with ExitStack() as stack:
            self._files = [
                stack.enter_context(open_at(folder / file, end))
                for file, end in zip(("index.csv", "excluded.csv"), ends, strict=True)
            ]
            self._records = (
                stack.enter_context(
                    RecordWriter(folder / f"{name}.rec", **state.get("records", {}))
                )
                if records
                else None
            )
            self._stack = stack.pop_all()
        texts = [io.TextIOWrapper(f, "utf-8", newline="", write_through=True) for f in self._files]
        self._index, self._excluded = (csv.writer(text, lineterminator="\n") for text in texts)
        self._texts = texts
        if not state:
            self._index.writerow(INDEX)
            self._excluded.writerow(EXCLUDED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def append(self, crop: Crop) -> None:
        """Append a crop, or note why there is none."""
        self.done += 1
        if crop.reason:
            self._excluded.writerow((crop.face.source, crop.reason))
            self.excluded += 1
            return
        key = crop.face.number
        if self._records:
            key = self._records.key
            self._records.append(crop.label, crop.encoded)
        self._index.writerow((key, crop.identity, crop.face.source, crop.sha256))

    def sync(self) -> None:
        """Bring everything to the disk, and only then say so in ``progress.json``."""
        state = {
            "begun": self._begun,
            "done": self.done,
            "excluded": self.excluded,
            "ends": [sync(file) for file in self._files],
            "records": self._records.sync() if self._records else {},
        }
        store.write_text(self._progress, json.dumps(state))


def finish(folder: Path, told: dict[str, Any]) -> None:
    """Write ``record.json``, the mark of a whole folder: counts, hashes and the sizes of all files."""
    rec = next(folder.glob("*.rec"))
    with open(rec, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    images, identities = 0, set()
    with open(folder / "index.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            images += 1
            identities.add(int(row["identity"]))
    files = [path for path in sorted(folder.iterdir()) if path.name != "progress.json"]
    record = {
        **told,
        "images": images,
        "identities": len(identities - {-1}),
        "sha256": sha256,
        "files": {path.name: path.stat().st_size for path in files if path.name != "record.json"},
    }
    store.write_text(folder / "record.json", json.dumps(record, indent=1))


def finished(folder: Path) -> dict[str, Any]:
    """Return the record of a finished folder.

    Raises:
        DataError: A file of it was damaged afterwards.
    """
    record = json.loads((folder / "record.json").read_text())
    for name, size in record["files"].items():
        if not (folder / name).exists() or (folder / name).stat().st_size != size:
            raise DataError(
                f"{folder / name} is missing or is not the {size} bytes of its record.json: "
                f"delete {folder} and prepare it again."
            )
    return record
