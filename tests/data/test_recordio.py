"""RecordIO against files written here byte by byte, as MXNet writes them."""

import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mint_utils.data.recordio import MAGIC, RecordFile, write_records
from mint_utils.errors import DataError

JPEG = b"\xff\xd8 an image \xff\xd9"
MAGIC_BYTES = struct.pack("<I", MAGIC)


def part(payload: bytes, flag: int = 0) -> bytes:
    """Return one part of a record."""
    word = struct.pack("<II", MAGIC, flag << 29 | len(payload))
    return word + payload + bytes(-len(payload) % 4)


def payload(label, content: bytes, key: int = 0) -> bytes:
    """Return a payload with a scalar label, or with an array of them."""
    if isinstance(label, tuple):
        head = struct.pack("<IfQQ", len(label), 0.0, key, 0)
        return head + struct.pack(f"<{len(label)}f", *label) + content
    return struct.pack("<IfQQ", 0, label, key, 0) + content


def store(folder, records, order=None):
    """Write the (key, bytes) of records and an index in the given order; return the path."""
    path, lines, offset = folder / "train.rec", [], 0
    for key, content in records:
        lines.append(f"{key}\t{offset}\n")
        offset += len(content)
    path.write_bytes(b"".join(content for _, content in records))
    lines = [lines[i] for i in order] if order else lines
    path.with_suffix(".idx").write_text("".join(lines))
    return path


def ms1mv3_of_15(folder, counted=15):
    """Five identities of three images in the layout of MS1MV3, record 0 counting ``counted`` images."""
    images = [part(payload((i // 3, 0), JPEG + bytes(i), i + 1)) for i in range(15)]
    ranges = [part(payload((first, first + 3), b"")) for first in range(1, 16, 3)]
    header = part(payload((counted + 1, 21), b""))
    return store(folder, list(enumerate([header, *images, *ranges])))


@pytest.fixture
def ms1mv3(tmp_path):
    """The layout of MS1MV3: record 0 counts, images from 1, then a record for each identity."""
    images = [(1, (0.0, 0.0), JPEG), (2, (0.0, 0.0), JPEG + b"2"), (3, (7.0, 0.0), JPEG + b"three")]
    records = [(0, part(payload((4.0, 6.0), b"")))]
    records += [(key, part(payload(label, content, key))) for key, label, content in images]
    records += [(4, part(payload((1.0, 3.0), b""))), (5, part(payload((3.0, 4.0), b"")))]
    return store(tmp_path, records, order=[3, 0, 5, 1, 4, 2])  # keys unsorted, as they may be


def test_header_record_array_labels_and_unsorted_keys(ms1mv3):
    with RecordFile(ms1mv3) as record:
        assert record.keys.tolist() == [1, 2, 3]
        assert record.labels.tolist() == [0, 0, 7]
        assert record.image_bytes(3) == JPEG + b"three"


def test_no_header_record_and_scalar_labels(tmp_path):
    records = [(key, part(payload(float(key % 3), JPEG + bytes(key)))) for key in range(7)]
    record = RecordFile(store(tmp_path, records))
    assert record.keys.tolist() == list(range(7))
    assert record.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert [record.image_bytes(key) for key in range(7)] == [JPEG + bytes(key) for key in range(7)]


def test_continued_records(tmp_path):
    """What MXNet makes of a payload that holds the magic: parts without it."""
    head = payload(5.0, b"abcd")
    parts = part(head, 1) + part(b"middle", 2) + part(b"last!", 3)
    record = RecordFile(store(tmp_path, [(0, part(payload(4.0, b"plain"))), (1, parts)]))
    assert record.labels.tolist() == [4, 5]
    assert record.image_bytes(1) == b"abcd" + MAGIC_BYTES + b"middle" + MAGIC_BYTES + b"last!"


pieces = st.one_of(st.binary(max_size=40), st.just(MAGIC_BYTES), st.just(b"\0"))
images = st.lists(st.lists(pieces, max_size=6).map(b"".join), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(images)
def test_what_is_written_is_read(tmp_path_factory, contents):
    path = tmp_path_factory.mktemp("rec") / "a.rec"
    write_records(path, ((i // 2, content) for i, content in enumerate(contents)))
    with RecordFile(path) as record:
        assert record.keys.tolist() == list(range(len(contents)))
        assert record.labels.tolist() == [i // 2 for i in range(len(contents))]
        assert [record.image_bytes(key) for key in record.keys] == contents
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.idx", "a.rec"]


def test_memory_does_not_grow_with_the_file(tmp_path):
    def peak(images: int) -> int:
        write_records(tmp_path / "big.rec", ((0, bytes(20_000)) for _ in range(images)))
        tracemalloc.start()
        with RecordFile(tmp_path / "big.rec") as record:
            assert sum(len(record.image_bytes(key)) for key in record.keys) == images * 20_000
        return tracemalloc.get_traced_memory()[1], tracemalloc.stop()

    (small, _), (large, _) = peak(50), peak(1000)
    assert large < small + 1000 * 200  # keys and offsets; the images are 20 MB


def damage(path, how):
    data, index = path.read_bytes(), path.with_suffix(".idx")
    match how:
        case "truncated":
            path.write_bytes(data[:-10])
        case "wrong magic":
            path.write_bytes(data.replace(MAGIC_BYTES, b"\0\1\2\3"))
        case "outside":
            index.write_text(index.read_text().replace("\t0\n", "\t999999\n"))
        case "between":
            index.write_text(index.read_text().replace("\t0\n", "\t2\n"))
        case "not a table":
            index.write_text("these are\tno numbers\n")
        case "negative":
            index.write_text("0\t-4\n")
        case "twice":
            index.write_text("0\t0\n0\t0\n")
        case "empty":
            path.write_bytes(b"")
        case "no index":
            index.unlink()
        case "empty index":
            index.write_text("")
        case "used twice":
            first, _, *others = index.read_text().splitlines(keepends=True)
            index.write_text("".join([first, "1" + first[1:], *others]))
        case "no first line":
            index.write_text("".join(index.read_text().splitlines(keepends=True)[1:]))
        case "short index":
            index.write_text("".join(index.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("truncated", "the file ends inside it"),
        ("wrong magic", "no record begins at byte"),
        ("outside", "outside the file or between records"),
        ("between", "outside the file or between records"),
        ("not a table", "line 1 is not a key, a tab and an offset"),
        ("negative", "line 1 is not a key"),
        ("twice", "key 0 occurs more than once"),
        ("empty", "missing or empty"),
        ("no index", "cannot be read without it"),
        ("empty index", "is empty"),
        ("short index", "data follow it"),
        ("used twice", r"record 1: the .idx gives it the offset of record 0"),
        ("no first line", "data lie before it"),
    ],
)
def test_damage_is_one_error_that_names_file_and_remedy(tmp_path, how, says):
    path = store(tmp_path, [(key, part(payload(0.0, JPEG))) for key in range(4)])
    damage(path, how)
    with pytest.raises(DataError, match=says) as caught:
        RecordFile(path)
    told = str(caught.value)
    assert str(path.with_suffix("")) in told and ("opy" in told or "line" in told)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (part(b"short"), "shorter than its own header"),
        (part(payload(0.5, JPEG)), "identities are whole numbers"),
        (part(payload(0.0, JPEG), 2), "inside a record"),
        (part(payload(0.0, JPEG), 1) + part(b"x", 1), "last part is missing"),
    ],
)
def test_a_damaged_record_is_found_when_it_is_read(tmp_path, content, says):
    path = store(
        tmp_path, [(1, part(payload(0.0, JPEG))), (2, content), (3, part(payload(0.0, JPEG)))]
    )
    record = RecordFile(path)
    assert record.image_bytes(1) == JPEG
    with pytest.raises(DataError, match=rf"record 2: .*{says}"):
        record.image_bytes(2)
    with pytest.raises(DataError, match="record 2"):
        record.labels  # noqa: B018
    with pytest.raises(DataError, match="no image 9"):
        record.image_bytes(9)


def test_a_header_that_counts_wrongly(tmp_path):
    records = [(0, part(payload((9.0, 9.0), b""))), (1, part(payload((0.0, 0.0), JPEG)))]
    with pytest.raises(DataError, match=r"it counts 8 images, the \.idx has 1"):
        RecordFile(store(tmp_path, records))
    records[0] = (0, part(payload((2.0, 9.0), b"")))
    with pytest.raises(DataError, match=r"record 0: it counts 9 records in all, the \.idx has 2"):
        RecordFile(store(tmp_path, records))


def test_a_header_that_counts_12_where_the_file_holds_15(tmp_path):
    with pytest.raises(DataError, match="record 13: it is an image, and record 0 counts 12"):
        RecordFile(ms1mv3_of_15(tmp_path, counted=12))


@pytest.mark.parametrize("lost", [[5, 6, 7], [11], [4]])
@pytest.mark.parametrize("header", [True, False])
def test_lost_lines_of_an_index_are_noticed(tmp_path, lost, header):
    if header:
        path = ms1mv3_of_15(tmp_path)
        assert len(RecordFile(path).keys) == 15
    else:
        path = store(tmp_path, [(key, part(payload(0.0, JPEG + bytes(key)))) for key in range(15)])
    lines = path.with_suffix(".idx").read_text().splitlines(keepends=True)
    kept = [line for i, line in enumerate(lines) if i not in lost]
    path.with_suffix(".idx").write_text("".join(kept))
    if header:
        with pytest.raises(DataError, match=r"record 0: it counts 15 images, the \.idx has 1"):
            RecordFile(path)
        return
    record = RecordFile(path)
    says = rf"record {lost[0] - 1}: at its end, byte \d+, a record begins that the \.idx lacks"
    with pytest.raises(DataError, match=says):
        record.labels  # noqa: B018


def test_an_index_with_a_byte_order_mark(tmp_path):
    path = store(tmp_path, [(key, part(payload(0.0, JPEG))) for key in range(4)])
    index = path.with_suffix(".idx")
    index.write_bytes(b"\xef\xbb\xbf" + index.read_bytes())
    assert RecordFile(path).keys.tolist() == [0, 1, 2, 3]


def test_the_writer_refuses_what_cannot_be_read_again(tmp_path):
    with pytest.raises(DataError, match="float32 cannot hold identity 16777217"):
        write_records(tmp_path / "a.rec", [(2**24 + 1, JPEG)])
