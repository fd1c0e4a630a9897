"""Verification pairs from InsightFace's ``.bin``: encoded images, and whether each pair shows one person.

The file is a pickle of (list of 2n encoded images, list of n bool), protocols 2 to 5, written by Python 2 or
3. The images are ``bytes`` or numpy uint8 arrays; the bools are Python's, numpy's, an array, or 0 and 1. A
pickle can run code, so this reader admits only what makes arrays.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from mint_utils.errors import DataError

ADMITTED = {
    ("_codecs", "encode"),  # bytes in protocol 2
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),  # arrays in protocol 5
}
REMEDY = "It should be a pickle of encoded images and one bool a pair: get the file again."


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core.", "numpy._core.")  # as numpy 1 had it
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def read_bin(path: str | Path) -> tuple[list[bytes], np.ndarray]:
    """Read a verification ``.bin``.

    Returns:
        2n encoded images, of which 2i and 2i + 1 are pair i; and (n,) bool, whether a pair shows one person
        (all may be the same).

    Raises:
        DataError: The file is missing, truncated, or holds anything but images and bools.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is missing: data_manifests says how to get it.")
    try:
        with open(path, "rb") as file:  # a str of Python 2 becomes bytes
            content = _Unpickler(file, encoding="bytes").load()
        stored, same = content
        same = np.array(same)
    except pickle.UnpicklingError as error:
        raise DataError(f"{path} cannot be read: {error}. {REMEDY}") from error
    except Exception as error:  # bytes that are no pickle raise nearly anything
        raise DataError(f"{path} cannot be read as two lists: {error}. {REMEDY}") from error
    if not isinstance(stored, list | tuple) or same.ndim != 1 or not len(same):
        raise DataError(f"{path} does not hold two lists. {REMEDY}")
    if len(stored) != 2 * len(same):
        raise DataError(f"{path} has {len(stored)} images for {len(same)} pairs. {REMEDY}")
    if same.dtype.kind not in "biuf" or not np.isin(same, (0, 1)).all():
        raise DataError(f"{path}: whether a pair shows one person must be True or False. {REMEDY}")
    images = [_bytes(value) for value in stored]
    if None in images:
        raise DataError(
            f"{path}, image {images.index(None)} is neither bytes nor a uint8 array. {REMEDY}"
        )
    return images, same.astype(bool)


def _bytes(value: Any) -> bytes | None:
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        return value.tobytes()
    return value if isinstance(value, bytes) else None
