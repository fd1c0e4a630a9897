"""Verification files: both kinds of entry, every pickle protocol, and nothing that runs code."""

import io
import os
import pickle
import struct

import numpy as np
import pytest

from mint_utils.data.pairs import read_bin
from mint_utils.errors import DataError

IMAGES = [b"\xff\xd8 one", b"\xff\xd8 two", bytes(range(256)), b"\x80\n"]
SAME = [True, False]


def test_bytes_in_every_protocol(tmp_path):
    for protocol in range(2, 6):
        path = tmp_path / f"{protocol}.bin"
        path.write_bytes(pickle.dumps((IMAGES, SAME), protocol=protocol))
        images, same = read_bin(path)
        assert images == IMAGES
        assert same.dtype == bool and same.tolist() == SAME


def test_numpy_arrays_in_every_protocol(tmp_path):
    arrays = [np.frombuffer(image, np.uint8).copy() for image in IMAGES]
    for protocol in range(2, 6):
        path = tmp_path / f"{protocol}.bin"
        path.write_bytes(pickle.dumps([arrays, SAME], protocol=protocol))
        assert read_bin(path)[0] == IMAGES


def test_numpy_arrays_of_numpy_1(tmp_path):
    """The module that numpy 1 names, where numpy 2 has an underscore."""
    arrays = [np.frombuffer(image, np.uint8).copy() for image in IMAGES]
    content = pickle.dumps((arrays, SAME), protocol=3)
    assert b"numpy._core.multiarray" in content
    path = tmp_path / "old.bin"
    path.write_bytes(content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert read_bin(path)[0] == IMAGES


def test_strings_of_python_2(tmp_path):
    """How InsightFace's own files were written: str of Python 2, protocol 2."""
    out = io.BytesIO()
    out.write(b"\x80\x02](")
    for image in IMAGES:
        out.write(b"T" + struct.pack("<i", len(image)) + image)
    out.write(b"e](\x88\x89e\x86.")
    path = tmp_path / "lfw.bin"
    path.write_bytes(out.getvalue())
    images, same = read_bin(path)
    assert images == IMAGES and same.tolist() == SAME


FLAGS = [
    np.array(SAME), np.array([1, 0]), np.array([1, 0], ">i4"), np.array([1.0, 0]), [1, 0], tuple(SAME),
    [np.bool_(True), np.bool_(False)], [np.int64(1), np.float32(0)],
]  # fmt: skip


@pytest.mark.parametrize("flags", FLAGS, ids=repr)
def test_flags_as_numbers_of_numpy(tmp_path, flags):
    path = tmp_path / "a.bin"
    for protocol in range(2, 6):
        content = pickle.dumps((IMAGES, flags), protocol=protocol)
        path.write_bytes(content)
        assert read_bin(path)[1].tolist() == SAME
    old = pickle.dumps((IMAGES, flags), protocol=3).replace(b"cnumpy._core.", b"cnumpy.core.")
    path.write_bytes(old)  # of numpy 1
    assert read_bin(path)[1].tolist() == SAME


def test_pairs_of_one_class_only_are_read(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(pickle.dumps((IMAGES, [True, True])))
    assert read_bin(path)[1].tolist() == [True, True]


class Hostile:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "hostile",
    [
        Hostile(os.system, ("touch {}",)),
        Hostile(eval, ("__import__('os').system('touch {}')",)),
        Hostile(__import__, ("antigravity",)),
        Hostile(getattr, (np, "core")),
    ],
)
def test_a_file_that_tries_to_run_code_does_not(tmp_path, hostile):
    mark = tmp_path / "ran"
    function, arguments = hostile.call
    arguments = tuple(a.format(mark) if isinstance(a, str) else "numpy" for a in arguments)
    path = tmp_path / "bad.bin"
    for content in (Hostile(function, arguments), ([Hostile(function, arguments)], [True])):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(DataError, match=r"bad\.bin cannot be read: it asks for"):
            read_bin(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps((IMAGES, SAME))[:-9], "cannot be read"),
        (b"no pickle at all", "cannot be read"),
        (b"", "cannot be read"),
        (pickle.dumps(IMAGES), "cannot be read as two lists"),
        (pickle.dumps((IMAGES, True)), "does not hold two lists"),
        (pickle.dumps(([], [])), "does not hold two lists"),
        (pickle.dumps((IMAGES, [True])), "4 images for 1 pairs"),
        (pickle.dumps((IMAGES, [2, 0])), "True or False"),
        (pickle.dumps((IMAGES, ["1", "0"])), "True or False"),
        (pickle.dumps((IMAGES, np.array([0.5, 1]))), "True or False"),
        (pickle.dumps((IMAGES, np.array([True, None]))), "True or False"),
        (pickle.dumps((IMAGES, np.array([[True, False]]))), "two lists"),
        (pickle.dumps(([*IMAGES[:3], "text"], SAME)), "image 3 is neither"),
        (pickle.dumps(([*IMAGES[:3], np.zeros(3)], SAME)), "image 3 is neither"),
    ],
)
def test_wrong_files_are_one_error_with_a_remedy(tmp_path, content, says):
    path = tmp_path / "bad.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        read_bin(path)
    assert str(path) in str(caught.value) and "get the file again" in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="data_manifests says how to get it"):
        read_bin(tmp_path / "no.bin")
