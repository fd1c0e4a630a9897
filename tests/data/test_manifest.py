"""Databases of every layout, and the one clear error for each way that files can be wrong."""

import dataclasses
import hashlib
import io
import itertools
import os
import pickle
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from mint_utils import paths
from mint_utils.config import resolve
from mint_utils.data import folders, synthetic
from mint_utils.data import manifest as manifests
from mint_utils.data.images import RecordImages
from mint_utils.data.manifest import Database, open_database, read_manifest
from mint_utils.data.recordio import write_records
from mint_utils.errors import DataError, ParameterError


def png(seed: int, size=24) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels(seed, size)).save(out, "PNG")
    return out.getvalue()


def pixels(seed: int, size=24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.fixture
def describe(tmp_path, monkeypatch):
    """Return a function that writes a manifest, and have manifests read from there."""
    monkeypatch.setattr(paths, "MANIFESTS", tmp_path / "manifests")
    paths.MANIFESTS.mkdir()

    def write(**fields):
        common = dict.fromkeys(("title", "licence", "citation", "origin", "preparation"), "-")
        manifest = common | {"name": "db", "image_size": 24} | fields
        (paths.MANIFESTS / f"{manifest['name']}.yaml").write_text(yaml.safe_dump(manifest))
        return manifest

    return write


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def recordio(tmp_path, describe):
    path = tmp_path / "data" / "train.rec"
    path.parent.mkdir()
    write_records(path, ((i // 3, png(i)) for i in range(9)))
    return describe(layout="recordio", path="train.rec", images=9, sha256=sha256(path))


def test_recordio(tmp_path, recordio):
    db = open_database("db", tmp_path / "data", 24)
    assert db.keys.tolist() == [str(key) for key in range(9)]
    assert db.identities.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and db.same is None
    np.testing.assert_array_equal(db.images, [pixels(i) for i in range(9)])
    assert isinstance(db.images, np.memmap) and len(db) == 9


def test_it_is_prepared_once_and_kept_without_the_files(tmp_path, recordio):
    first = open_database("db", tmp_path / "data", 24)
    (tmp_path / "data" / "train.rec").unlink()
    again = open_database("db", None, 24)
    np.testing.assert_array_equal(first.images, again.images)
    assert first.fingerprint == again.fingerprint


def test_without_a_checksum_the_copy_at_hand_is_recognised_by_its_content(
    tmp_path, describe, recordio
):
    del recordio["sha256"], recordio["images"]
    describe(**recordio)
    first = open_database("db", tmp_path / "data", 24)
    again = open_database("db", tmp_path / "data", 24)
    assert len(first) == 9 and first.fingerprint == again.fingerprint
    write_records(tmp_path / "data" / "train.rec", ((i // 3, png(i + 1)) for i in range(12)))
    other = open_database("db", tmp_path / "data", 24)
    assert len(other) == 12 and other.fingerprint != first.fingerprint
    np.testing.assert_array_equal(other.images, [pixels(i + 1) for i in range(12)])


@pytest.fixture
def large(monkeypatch):
    """Let every database count as too large to be prepared."""
    monkeypatch.setattr(manifests, "PREPARED_BYTES", 9 * 24 * 24 * 3 - 1)


def test_a_large_one_is_streamed_and_is_the_same_database(tmp_path, recordio, large, monkeypatch):
    streamed = open_database("db", tmp_path / "data", 24)
    assert isinstance(streamed.images, RecordImages)
    assert not list(paths.artifacts().rglob("images.npy"))
    monkeypatch.setattr(manifests, "PREPARED_BYTES", 9 * 24 * 24 * 3)
    monkeypatch.setenv("MINT_ARTIFACTS", str(tmp_path / "others"))
    prepared = open_database("db", tmp_path / "data", 24)
    assert isinstance(prepared.images, np.memmap)
    np.testing.assert_array_equal(streamed.images[:], prepared.images)
    np.testing.assert_array_equal(streamed.identities, prepared.identities)
    assert streamed.fingerprint == prepared.fingerprint  # models of one are models of the other
    assert streamed.keys.tolist() == prepared.keys.tolist() and streamed.same is None


def test_only_a_recordio_of_the_size_of_the_study_is_streamed(tmp_path, recordio, large):
    small = open_database("db", tmp_path / "data", 16)
    assert isinstance(small.images, np.memmap)
    assert not manifests.is_streamed(recordio | {"layout": "folder"}, 24)
    assert not manifests.is_streamed(recordio | {"images": 8}, 24)


def test_a_streamed_one_is_checked_once_and_needs_its_file(tmp_path, recordio, large, monkeypatch):
    assert not manifests.is_prepared(recordio, 24)
    open_database("db", tmp_path / "data", 24)
    assert manifests.is_prepared(recordio, 24)
    monkeypatch.setattr(manifests, "sha256", lambda _: pytest.fail("read again"))
    open_database("db", tmp_path / "data", 24)
    with pytest.raises(DataError, match=r"'db' needs train\.rec .* --data DIR"):
        open_database("db", None, 24)


@pytest.mark.parametrize("changed", ["train.rec", "train.idx"])
def test_another_file_in_the_place_of_a_streamed_one_is_refused(tmp_path, recordio, large, changed):
    open_database("db", tmp_path / "data", 24)
    path = tmp_path / "data" / "train.rec"
    if changed == "train.rec":
        write_records(path, ((i // 3, png(i)) for i in range(12)))
        says = r"is not the file whose index is stored .* copy it again"
    else:
        lines = path.with_suffix(".idx").read_text().splitlines(keepends=True)
        path.with_suffix(".idx").write_text("".join(lines[1:]))
        says = "calls it the first one, and data lie before it"
    with pytest.raises(DataError, match=says):
        open_database("db", tmp_path / "data", 24)


def test_a_streamed_image_of_another_size_is_told_at_once(tmp_path, describe, large):
    path = tmp_path / "train.rec"
    write_records(path, ((0, png(i, size=30)) for i in range(9)))
    describe(layout="recordio", path="train.rec", images=9, sha256=sha256(path))
    with pytest.raises(DataError, match=r"train\.rec, record 0 is 30x30 pixels where 24x24"):
        open_database("db", tmp_path, 24)


def test_another_size_is_another_database(tmp_path, recordio):
    whole, small = (open_database("db", tmp_path / "data", size) for size in (24, 16))
    assert small.images.shape == (9, 16, 16, 3) and whole.fingerprint != small.fingerprint
    pil = Image.fromarray(pixels(4)).resize((16, 16), Image.Resampling.BILINEAR)
    assert abs(small.images[4].astype(int) - np.array(pil)).max() <= 1


def test_folder(tmp_path, describe):
    for i in range(6):
        path = tmp_path / "data" / "faces" / f"person{i // 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(i))
    found = folders.fingerprint(tmp_path / "data" / "faces")
    describe(layout="folder", path="faces", images=6, sha256=found)
    db = open_database("db", tmp_path / "data", 24)
    assert db.keys[0] == "person0/0.png" and db.identities.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(db.images, [pixels(i) for i in range(6)])


def test_bin(tmp_path, describe):
    path = tmp_path / "data" / "pairs.bin"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(([png(i) for i in range(6)], [True, False, True])))
    describe(layout="bin", path="pairs.bin", images=6, sha256=sha256(path))
    db = open_database("db", tmp_path / "data", 24)
    assert db.same.tolist() == [True, False, True] and (db.identities == -1).all()
    assert db.keys.tolist() == ["00000a", "00000b", "00001a", "00001b", "00002a", "00002b"]
    np.testing.assert_array_equal(db.images, [pixels(i) for i in range(6)])


def test_embedded(describe):
    describe(
        name="e",
        layout="embedded",
        style="embedded_news",
        first_identity=70,
        identities=4,
        images=12,
    )
    db = open_database("e", None, 24)
    assert db.identities.tolist() == [70] * 3 + [71] * 3 + [72] * 3 + [73] * 3
    expected = synthetic.draw("embedded_news", db.identities, np.tile(np.arange(3), 4), 24)
    np.testing.assert_array_equal(db.images, expected)
    larger = open_database("e", None, 24, scale=2.5)
    assert len(larger) == 30 and larger.fingerprint != db.fingerprint
    np.testing.assert_array_equal(larger.images[:12], db.images)  # the same people come first


def test_embedded_pairs(describe):
    describe(name="p", layout="embedded_pairs", style="embedded_web", first_identity=500, images=8)
    db = open_database("p", None, 24, scale=3)  # as many at any scale
    assert db.same.tolist() == [True, False, True, False]
    assert db.identities.tolist() == [500, 500, 502, 503, 504, 504, 506, 507]
    assert len({image.tobytes() for image in db.images}) == 8


def test_another_generator_makes_another_database(describe, monkeypatch):
    describe(
        name="e", layout="embedded", style="embedded_web", first_identity=0, identities=2, images=4
    )
    before = open_database("e", None, 24)
    draw = synthetic.draw
    monkeypatch.setattr(synthetic, "draw", lambda *how: draw(*how) ^ 1)
    after = open_database("e", None, 24)
    assert before.fingerprint != after.fingerprint and (before.images != after.images).any()


# ---- what may be wrong -----------------------------------------------------------------------


def test_a_database_that_nobody_described(describe):
    describe(layout="folder", path=".", images=1, sha256="0" * 64)
    with pytest.raises(ParameterError, match=r"no database 'bd'.* There are: db"):
        read_manifest("bd")


def test_a_manifest_that_lacks_something(describe):
    manifest = describe(layout="folder", path=".", images=1, sha256="0" * 64)
    del manifest["licence"]
    (paths.MANIFESTS / "db.yaml").write_text(yaml.safe_dump(manifest))
    with pytest.raises(DataError, match=r"db\.yaml: the manifest must contain .*licence"):
        read_manifest("db")
    describe(layout="zip", path=".", images=1, sha256="0" * 64)
    with pytest.raises(DataError, match=r"field layout, is '\w+': it must be one of \['embedded"):
        read_manifest("db")


def test_a_folder_without_a_manifest(tmp_path):
    for person, size in (("ann", 24), ("bob", 48)):
        (tmp_path / "faces" / person).mkdir(parents=True)
        (tmp_path / "faces" / person / "1.png").write_bytes(png(size, size))
    db = manifests.open_folder("mine", tmp_path / "faces", 24)
    assert db.name == "mine" and db.keys.tolist() == ["ann/1.png", "bob/1.png"]
    assert db.identities.tolist() == [0, 1] and db.images.shape == (2, 24, 24, 3)
    np.testing.assert_array_equal(db.images[0], pixels(24))
    (tmp_path / "faces" / "bob" / "1.png").write_bytes(png(1, 48))
    assert manifests.open_folder("mine", tmp_path / "faces", 24).fingerprint != db.fingerprint


def one_of_everything(folder) -> dict[str, str]:
    """Fill a folder with every kind of file; return what is said of those that cannot be read."""
    kinds = ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP", "AVIF")
    for i, (person, kind) in enumerate(itertools.product(("ann", "Zoë Müller"), kinds)):
        path = folder / person / f"{i}.{kind.lower() if i % 2 else kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(i)).save(path, kind)
    ann = folder / "ann"
    shutil.copy(ann / "0.JPEG", ann / "a.jfif")
    shutil.copy(ann / "1.png", ann / "no suffix")
    (ann / "linked.png").symlink_to(ann / "1.png")
    (folder / "bob").symlink_to(ann)
    (folder / "truth.csv").write_text("key\n")
    (folder / ".DS_Store").touch()
    (ann / "gone.jpg").symlink_to("nowhere")
    (ann / "notes.txt").write_text("-")
    (folder / "damaged.png").write_bytes(png(1)[:-30])
    (ann / "phone.heic").write_bytes(b"\0\0\0\x1cftypheic" + bytes(99))
    (ann / "wide.png").write_bytes((ann / "1.png").read_bytes())
    Image.fromarray(pixels(0)[:20]).save(ann / "wide.png")
    of_ann = {
        "gone.jpg": "nothing",
        "notes.txt": "suffix",
        "phone.heic": "no image",
        "wide.png": "24x20",
    }
    told = {f"{who}/{name}": says for who in ("ann", "bob") for name, says in of_ann.items()}
    return told | {"truth.csv": "suffix", ".DS_Store": "hidden", "damaged.png": "damaged"}


def test_the_files_of_a_folder_are_read_or_listed(tmp_path, capsys):
    folder = tmp_path / "faces"
    unreadable = one_of_everything(folder)
    lying = {
        f"{root.removeprefix(f'{folder}')}/{name}".lstrip("/")
        for root, _, names in os.walk(folder, followlinks=True) for name in names
    }  # fmt: skip
    for _ in range(2):  # made, and from the store
        db = manifests.open_folder("mine", folder, 24)
        assert set(db.keys) | dict(db.unread).keys() == lying
        assert len(db) + len(db.unread) == len(lying)
        assert all(says in dict(db.unread)[key] for key, says in unreadable.items())
        assert unreadable.keys() == dict(db.unread).keys()
        told = capsys.readouterr().out
        assert (
            f"mine: {len(db)} of {len(lying)} files in {folder} were read, but not these:" in told
        )
        assert ".DS_Store is hidden" in told and told.endswith("\n  and 1 more\n")
    assert sorted(set(db.identities)) == [0, 1, 2] and db.images.shape == (len(db), 24, 24, 3)
    at = db.keys.tolist().index("ann/linked.png")
    np.testing.assert_array_equal(db.images[at], pixels(1))


def test_a_folder_of_which_nothing_can_be_read(tmp_path):
    (tmp_path / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"mine: no image could be read\. The first is damaged"):
        manifests.open_folder("mine", tmp_path, 24)


def test_no_folder_given(recordio):
    with pytest.raises(DataError, match=r"'db' needs train\.rec .* --data DIR"):
        open_database("db", None, 24)


def test_a_missing_file(tmp_path, recordio):
    with pytest.raises(
        DataError, match=r"there is no .*/no/train\.rec.*db\.yaml says how to get it"
    ):
        open_database("db", tmp_path / "no", 24)


def test_a_different_file(tmp_path, recordio):
    path = tmp_path / "data" / "train.rec"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.rec is not the copy that its manifest describes"):
        open_database("db", tmp_path / "data", 24)


def test_a_wrong_count(tmp_path, describe, recordio):
    describe(**recordio | {"images": 10})
    with pytest.raises(DataError, match="has 9 images and its manifest says 10"):
        open_database("db", tmp_path / "data", 24)


def test_an_image_of_another_size_is_named(tmp_path, describe):
    path = tmp_path / "train.rec"
    write_records(path, [(0, png(0)), (0, png(1, size=30)), (1, png(2))])
    describe(layout="recordio", path="train.rec", images=3, sha256=sha256(path))
    with pytest.raises(DataError, match=r"train\.rec, record 1 is 30x30 pixels where 24x24"):
        open_database("db", tmp_path, 24)


def test_a_damaged_image_is_named_and_nothing_half_made_is_kept(tmp_path, describe):
    path = tmp_path / "train.rec"
    write_records(path, [(0, png(0)), (0, png(1)[:-30]), (1, png(2))])
    describe(layout="recordio", path="train.rec", images=3, sha256=sha256(path))
    for _ in range(2):
        with pytest.raises(DataError, match=r"train\.rec, record 1 is damaged"):
            open_database("db", tmp_path, 24)
    assert not list((paths.artifacts() / "databases").glob("*/record.json"))


def test_an_empty_folder(tmp_path, describe):
    (tmp_path / "faces").mkdir()
    describe(layout="folder", path="faces", images=1, sha256="0" * 64)
    with pytest.raises(DataError, match="holds no image"):
        open_database("db", tmp_path, 24)


# ---- the manifests of the project ------------------------------------------------------------


def test_identities_of_embedded_databases_never_overlap():
    """Even at a hundred times the size."""
    spans = []
    for path in paths.MANIFESTS.glob("embedded_*.yaml"):
        manifest = read_manifest(path.stem)
        spans.append(
            (manifest["first_identity"], 100 * manifest.get("identities", manifest["images"]))
        )
    spans.sort()
    assert all(a + n <= b for (a, n), (b, _) in itertools.pairwise(spans))


@pytest.mark.parametrize("name", ["lfw", "stylegan2", "lfw_disjoint"])
def test_real_faces(faces, name):
    db = open_database(name, faces, 16)
    manifest = read_manifest(name)
    assert len(db) == manifest["images"]
    if name == "lfw":
        assert len(np.unique(db.identities)) == manifest["identities"]
        assert len({image.tobytes() for image in db.images}) == len(db)


@pytest.mark.parametrize("role", ["training", "external_train", "external_eval", "verification"])
def test_the_tight_edition(faces, role):
    """Counts and checksums of the manifests are those of the files; `open_database` compares them."""
    folder = faces.with_name("faces_tight")
    if not folder.is_dir():
        pytest.skip("no tight edition beside the folder of real faces")
    named = getattr(resolve("faces_small").databases, role)
    for name in (named,) if isinstance(named, str) else named:
        db, manifest = open_database(name, folder, 16), read_manifest(name)
        assert len(db) == manifest["images"] and manifest["role"] == role
        if role == "training":
            assert len(np.unique(db.identities)) == manifest["identities"]


def test_persons_of_pairs_without_identities():
    pairs = Database("p", np.arange(6), np.full(6, -1), None, np.array([True, False, True]), "p")
    assert pairs.persons().tolist() == [0, 0, 2, 3, 4, 4]
    known = dataclasses.replace(pairs, identities=np.array([5, 5, 5, 7, 9, 9]))
    assert known.persons().tolist() == [5, 5, 5, 7, 9, 9]
