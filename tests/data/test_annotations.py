"""The lists of IJB-C, FDDB, Adience and folders, written here as they are distributed."""

import math

import numpy as np
import pytest

from mint_utils.data import align, annotations
from mint_utils.errors import DataError

FIVE = ((46.06, 62.026), (87.785, 60.323), (68.851, 77.656), (52.162, 99.875), (86.45, 98.648))
NUMBERS = "46.060 62.026 87.785 60.323 68.851 77.656 52.162 99.875 86.450 98.648"


def ijbc_meta(source, places=None, templates=None, folder="loose_crop"):
    """Write the lists of three faces of two subjects."""
    meta = source / "meta"
    meta.mkdir(parents=True, exist_ok=True)
    (source / folder).mkdir(exist_ok=True)
    lines = [f"{i}.jpg {NUMBERS} 0.999\n" for i in (1, 2, 3)]
    (meta / "ijbc_name_5pts_score.txt").write_text("".join(places or lines))
    lines = ["1.jpg 11 69544\n", "2.jpg 12 69545\n", "3.jpg 13 69546\n"]
    (meta / "ijbc_face_tid_mid.txt").write_text("".join(templates or lines))
    columns = "TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID\n"
    rows = "11,7,img/1.jpg,1\n", "12,9,img/2.jpg,2\n", "13,7,frames/3.jpg,3\n"
    for name, row in zip(annotations.IJBC_SUBJECTS, rows, strict=True):
        (meta / name).write_text(columns + row)


def fddb_folds(source, first="", last=""):
    (source / "FDDB-folds").mkdir(parents=True)
    for fold in annotations.FDDB_FOLDS:
        text = {1: first, 10: last}.get(fold, "")
        (source / "FDDB-folds" / f"FDDB-fold-{fold:02}-ellipseList.txt").write_text(text)


ELLIPSES = """2002/08/11/big/img_591
1
123.583300 85.549500 1.265839 269.693400 161.781200  1
2002/08/26/big/img_265
3
67.363819 44.511485 -1.476417 105.249970 87.209036  1
41.936870 27.064477 1.471906 184.070915 129.345601  1
70.993052 43.355200 1.370217 340.894300 117.498951  1
"""


def adience_folds(source, rows):
    columns = "user_id\toriginal_image\tface_id\tage\tgender\tx\ty\tdx\tdy\ttilt_ang\tfiducial_yaw_angle\t"
    for fold in annotations.ADIENCE_FOLDS:
        lines = [
            f"{row}\t(25, 32)\tf\t0\t414\t1086\t1383\t-115\t30\t17\n" for row in rows.get(fold, [])
        ]
        (source / f"fold_{fold}_data.txt").write_text(columns + "fiducial_score\n" + "".join(lines))


def test_ijbc(tmp_path):
    ijbc_meta(tmp_path)
    faces = list(annotations.ijbc(tmp_path))
    assert [face.source for face in faces] == [f"loose_crop/{i}.jpg" for i in (1, 2, 3)]
    assert [face.identity for face in faces] == [7, 9, 7]
    assert all(face.points == FIVE for face in faces)


def test_ijbc_frames(tmp_path):
    ijbc_meta(tmp_path, [f"frames/a b.jpg {NUMBERS}\n"], ["frames/x.jpg 11 1\n"], "images")
    with pytest.raises(DataError, match=r"line 1 is not of frames/a b\.jpg"):
        list(annotations.ijbc(tmp_path))
    ijbc_meta(tmp_path, [f"frames/a.jpg {NUMBERS} 1\n"], ["frames/a.jpg 11 1\n"], "images")
    assert [face.file for face in annotations.ijbc(tmp_path)] == ["images/frames/a.jpg"]


@pytest.mark.parametrize(
    ("places", "templates", "says"),
    [
        ([f"1.jpg {NUMBERS} 0.9\n"], None, r"line 2 is not a name and five landmarks: ''"),
        (None, ["1.jpg 11 1\n", "2.jpg 12 2\n"], r"line 3 is not of 3\.jpg"),
        (None, ["2.jpg 12 1\n", "1.jpg 11 2\n", "3.jpg 13 3\n"], r"line 1 is not of 1\.jpg"),
        (None, ["1.jpg 11 1\n", "2.jpg 99 2\n", "3.jpg 13 3\n"], "subjects has template 99"),
        ([f"1.jpg {NUMBERS[:-8]}\n"], None, "line 1 is not a name and five landmarks"),
        (["1.jpg 1 2 3 4 5 6 7 8 9 ten 0.9\n"], None, "line 1 is not a name and five landmarks"),
        (["1.jpg 1 2 3 4 5 6 7 8 9 nan 0.9\n"], None, "line 1 is not a name and five landmarks"),
    ],
)
def test_ijbc_lists_that_do_not_agree_or_lack_a_landmark(tmp_path, places, templates, says):
    ijbc_meta(tmp_path, places, templates)
    with pytest.raises(DataError, match=says):
        list(annotations.ijbc(tmp_path))


def test_ijbc_subjects_without_their_columns(tmp_path):
    ijbc_meta(tmp_path)
    (tmp_path / "meta" / "ijbc_1N_gallery_G2.csv").write_text("TEMPLATE_ID\n11\n")
    with pytest.raises(DataError, match=r"G2\.csv: a row has no TEMPLATE_ID with a SUBJECT_ID"):
        list(annotations.ijbc(tmp_path))


def test_fddb(tmp_path):
    fddb_folds(tmp_path, ELLIPSES, "2003/01/01/big/img_1\n0\n")
    faces = list(annotations.fddb(tmp_path))
    assert [face.source for face in faces] == [
        "originalPics/2002/08/11/big/img_591.jpg#0",
        *(f"originalPics/2002/08/26/big/img_265.jpg#{i}" for i in range(3)),
    ]
    assert {face.identity for face in faces} == {-1}
    for face, radii in zip(faces[:2], [(123.5833, 85.5495), (67.363819, 44.511485)], strict=True):
        top, bottom, left, right = np.array(face.points)
        assert top[1] < bottom[1] and left[0] < right[0]
        lengths = [np.linalg.norm(bottom - top), np.linalg.norm(right - left)]
        np.testing.assert_allclose(lengths, 2 * np.array(radii))
        assert abs((bottom - top) @ (right - left)) < 1e-6
    np.testing.assert_allclose(np.mean(faces[0].points, axis=0), [269.6934, 161.7812])
    down = np.array(faces[0].points[1]) - np.array(faces[0].points[0])
    assert math.isclose(math.atan2(down[1], down[0]), 1.265839)  # y goes down in an image


def test_an_upright_ellipse_comes_upright_to_its_place_in_the_crop(tmp_path):
    fddb_folds(tmp_path, "a\n1\n145 100 1.5707963 300 200 1\n")
    (face,) = annotations.fddb(tmp_path)
    m = align.similarity(np.array(face.points), align.HEAD)
    np.testing.assert_allclose(m @ [300, 200, 1], align.TEMPLATE[:2].mean(0), atol=1e-4)
    assert abs(m[1, 0]) < 1e-6 and m[0, 0] > 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("img_1\n", "line 2 should count the faces of img_1 and is ''"),
        ("img_1\ntwo\n", "line 2 should count the faces of img_1 and is 'two'"),
        ("img_1\n2\n67 44 -1.4 105 87 1\n", "line 4 is no ellipse"),
        ("img_1\n1\n67 44 -1.4 105 1\n", "line 3 is no ellipse"),
        ("img_1\n1\n67 0 -1.4 105 87 1\n", "line 3 is no ellipse"),
        ("img_1\n1\n67 44 nan 105 87 1\n", "line 3 is no ellipse"),
        ("img_1\n1\n67 44 -1.4 105 87 1\n67 44 -1.4 105 87 1\n", "line 4 should name an image"),
    ],
)
def test_malformed_ellipses(tmp_path, text, says):
    fddb_folds(tmp_path, last=text)
    with pytest.raises(DataError, match=rf"fold-10-ellipseList\.txt: {says}.*Get the file again"):
        list(annotations.fddb(tmp_path))


def test_adience(tmp_path):
    adience_folds(tmp_path, {0: ["9@N05\tb.jpg\t2", "3@N05\tz.jpg\t1"], 4: ["9@N05\ta.jpg\t10"]})
    faces = [(face.source, face.identity) for face in annotations.adience(tmp_path)]
    assert faces == [
        ("faces/3@N05/coarse_tilt_aligned_face.1.z.jpg", 0),
        ("faces/9@N05/coarse_tilt_aligned_face.10.a.jpg", 1),
        ("faces/9@N05/coarse_tilt_aligned_face.2.b.jpg", 1),
    ]
    (tmp_path / "fold_3_data.txt").write_text("user_id\tface_id\n9@N05\t2\n")
    with pytest.raises(DataError, match=r"fold_3_data\.txt: line 2 lacks one of user_id"):
        list(annotations.adience(tmp_path))


def test_folders_in_the_order_of_paths(tmp_path):
    names = ["b/2.png", "b/1.JPG", "a/x/1.jpg", "a.b/1.webp", "a/readme.txt", "a/.hidden.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = list(annotations.folders(tmp_path))
    assert sorted(names) == [face.file for face in found]
    missing = {face.file: face.missing for face in found if face.missing}
    assert (
        list(missing) == ["a/.hidden.png", "a/readme.txt"] and "hidden" in missing["a/.hidden.png"]
    )
    faces = [(face.file, face.identity) for face in found if not face.missing]
    assert faces == [("a.b/1.webp", 0), ("a/x/1.jpg", 1), ("b/1.JPG", 2), ("b/2.png", 2)]
    assert [file for file, _ in faces] == sorted(file for file, _ in faces)
    (tmp_path / "loose.png").touch()
    with pytest.raises(DataError, match=r"loose\.png: the image lies in no folder of an identity"):
        list(annotations.folders(tmp_path))


def test_a_byte_order_mark_is_read_over_and_another_encoding_told(tmp_path):
    """Excel begins what it saves as CSV in UTF-8 with a mark."""
    adience_folds(tmp_path, {0: ["9@N05\ta.jpg\t2"]})
    path = tmp_path / "fold_0_data.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    face = "faces/9@N05/coarse_tilt_aligned_face.2.a.jpg"
    assert [f.file for f in annotations.adience(tmp_path)] == [face]
    path.write_text("user_id", encoding="utf-16")
    with pytest.raises(DataError, match=r"data\.txt: it is no text in UTF-8\. Get the file again"):
        list(annotations.adience(tmp_path))


@pytest.mark.parametrize("read", [annotations.ijbc, annotations.fddb, annotations.adience])
def test_a_missing_list(tmp_path, read):
    with pytest.raises(DataError, match="is missing: get the whole distribution"):
        list(read(tmp_path))
