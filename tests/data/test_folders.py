import os

import numpy as np
import pytest

from mint_utils.data.folders import fingerprint, image_files
from mint_utils.errors import DataError


def fill(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_keys_are_sorted_paths_and_folders_are_identities(tmp_path):
    fill(tmp_path, ["b/2.jpg", "b/1.PNG", "a/x/9.jpeg", "c/1.webp", "c/notes.txt", ".hidden/1.jpg"])
    keys, identities, paths = image_files(tmp_path)
    assert keys.tolist() == ["a/x/9.jpeg", "b/1.PNG", "b/2.jpg", "c/1.webp"]
    assert identities.tolist() == [0, 1, 1, 2] and identities.dtype == np.int64
    assert [path.read_bytes().decode() for path in paths] == keys.tolist()


@pytest.mark.parametrize(
    "names", [["1.jpg", "2.jpg"], ["a/1.jpg", "2.jpg"], ["a/1.jpg", "a/2.jpg"]]
)
def test_identities_are_unknown_where_folders_do_not_tell_them(tmp_path, names):
    assert image_files(fill(tmp_path, names))[1].tolist() == [-1, -1]


def test_the_order_of_the_file_system_does_not_matter(tmp_path, monkeypatch):
    fill(tmp_path, [f"{i % 3}/{i}.jpg" for i in range(20)])
    before = image_files(tmp_path)[0].tolist(), fingerprint(tmp_path)
    walk = os.walk
    monkeypatch.setattr(
        os, "walk", lambda *a, **k: ((r, d, f[::-1]) for r, d, f in list(walk(*a, **k))[::-1])
    )
    assert (image_files(tmp_path)[0].tolist(), fingerprint(tmp_path)) == before


def test_the_fingerprint_sees_every_byte_and_every_name(tmp_path):
    seen = {fingerprint(fill(tmp_path, ["a/1.jpg", "b/2.jpg"]))}
    (tmp_path / "a/1.jpg").write_bytes(b"A/1.jpg")
    seen.add(fingerprint(tmp_path))
    (tmp_path / "a/1.jpg").rename(tmp_path / "a/3.jpg")
    seen.add(fingerprint(tmp_path))
    fill(tmp_path, ["b/1.jpg"])
    seen.add(fingerprint(tmp_path))
    assert len(seen) == 4


def test_empty_and_missing_folders(tmp_path):
    with pytest.raises(DataError, match="holds no image"):
        image_files(tmp_path)
    with pytest.raises(DataError, match="There is no folder"):
        image_files(tmp_path / "no")
