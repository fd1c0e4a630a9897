import io
import os

import numpy as np
import pytest
from PIL import Image

from mint_utils.data.folders import fingerprint, image_files, walk
from mint_utils.errors import DataError


def fill(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_keys_are_sorted_paths_and_folders_are_identities(tmp_path):
    fill(tmp_path, ["b/2.jpg", "b/1.PNG", "a/x/9.jpeg", "c/1.webp", "c/notes.txt", ".hidden/1.jpg"])
    keys, identities, paths, others = image_files(tmp_path)
    assert keys.tolist() == ["a/x/9.jpeg", "b/1.PNG", "b/2.jpg", "c/1.webp"]
    assert identities.tolist() == [0, 1, 1, 2] and identities.dtype == np.int64
    assert [path.read_bytes().decode() for path in paths] == keys.tolist()
    assert others == [
        (".hidden/1.jpg", "is hidden, or in a hidden folder"),
        ("c/notes.txt", "has a suffix that no image has (.txt)"),
    ]


def test_files_without_a_suffix_are_looked_at(tmp_path):
    fill(tmp_path, ["a/notes", "a/empty"])
    (tmp_path / "a/empty").write_bytes(b"")
    for kind in ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "AVIF"):
        Image.new("RGB", (8, 8)).save(out := io.BytesIO(), kind)
        (tmp_path / "a" / kind).write_bytes(out.getvalue())
    keys, _, _, others = image_files(tmp_path)
    assert keys.tolist() == [
        f"a/{k}" for k in ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
    ]
    assert [name for name, _ in others] == ["a/empty", "a/notes"]


def test_links_are_followed_and_none_vanishes(tmp_path):
    fill(tmp_path, ["elsewhere/1.jpg", "elsewhere/in/2.jpg", "faces/ann/3.jpg"])
    faces = tmp_path / "faces"
    (faces / "bob").symlink_to(tmp_path / "elsewhere")
    (faces / "ann/4.jpg").symlink_to(tmp_path / "elsewhere/1.jpg")
    (faces / "ann/gone.jpg").symlink_to("nowhere/x.jpg")
    (faces / "ann/up").symlink_to(faces)
    (faces / "ann/self").symlink_to("self")
    os.mkfifo(faces / "ann/pipe.jpg")
    keys, identities, _, others = image_files(faces)
    assert keys.tolist() == ["ann/3.jpg", "ann/4.jpg", "bob/1.jpg", "bob/in/2.jpg"]
    assert identities.tolist() == [0, 0, 1, 1]
    assert others == [
        ("ann/gone.jpg", "is a link to nothing"),
        ("ann/pipe.jpg", "is no regular file"),
        ("ann/self", "is a link to nothing"),
        ("ann/up", f"is a link to {faces}, in which it lies"),
    ]


def test_a_name_that_is_not_utf8_is_one_line(tmp_path):
    os.makedirs(os.fsencode(tmp_path) + b"/Zo\xeb")
    with pytest.raises(DataError, match=r"the name b'Zo\\xeb' in it is not UTF-8\. Rename it\.$"):
        list(walk(tmp_path))


@pytest.mark.parametrize(
    "names", [["1.jpg", "2.jpg"], ["a/1.jpg", "2.jpg"], ["a/1.jpg", "a/2.jpg"]]
)
def test_identities_are_unknown_where_folders_do_not_tell_them(tmp_path, names):
    assert image_files(fill(tmp_path, names))[1].tolist() == [-1, -1]


def test_paths_come_in_the_order_of_their_characters(tmp_path):
    names = [f"{i % 3}/{i}.jpg" for i in range(20)] + ["1-x/0.jpg", "1.jpg", "1/a/0.jpg", "é.jpg"]
    assert [key for key, _ in walk(fill(tmp_path, names[::-1]))] == sorted(names)


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
