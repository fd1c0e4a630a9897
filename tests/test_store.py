import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mint_utils import paths, store
from mint_utils.errors import DataError

SPEC = {"recipe": {"lr": 0.1, "parts": (1, 10)}, "version": 1}


def write(text):
    def make(folder):
        (folder / "data.txt").write_text(text)
        return {"said": text}

    return make


def refuse(folder):
    raise AssertionError("made again")


def test_made_once_then_fetched():
    made = store.fetch("kind", SPEC, write("one"))
    again = store.fetch("kind", SPEC, refuse)
    assert again.folder == made.folder and (again.folder / "data.txt").read_text() == "one"
    assert again.record["said"] == "one" and again.record["files"] == {"data.txt": 3}
    assert again.record["spec"] == {"recipe": {"lr": 0.1, "parts": [1, 10]}, "version": 1}


def test_arrays_are_made_once_and_come_back_as_they_were():
    made = {"a": np.arange(3), "b": np.array([[0.5, np.nan]], np.float32)}
    store.arrays("kind", SPEC, "found.npz", lambda: made)
    again = store.arrays("kind", SPEC, "found.npz", lambda: refuse(None))
    assert list(again) == ["a", "b"]
    for name, array in made.items():
        assert again[name].dtype == array.dtype
        np.testing.assert_array_equal(again[name], array)


def test_another_specification_is_another_artifact():
    one = store.fetch("kind", SPEC, write("one"))
    two = store.fetch("kind", SPEC | {"version": 2}, write("two"))
    assert one.folder != two.folder
    assert store.find("kind", SPEC | {"version": 3}) is None


@given(
    st.dictionaries(st.text(), st.integers() | st.text() | st.floats(allow_nan=False), max_size=5)
)
def test_digest_is_of_content_not_of_order(spec):
    assert store.digest(spec) == store.digest(dict(reversed(spec.items())))


def test_failure_leaves_nothing_whole_and_the_next_starts_clean():
    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        store.fetch("kind", SPEC, fail)
    assert store.find("kind", SPEC) is None
    made = store.fetch("kind", SPEC, write("one"))
    assert made.record["files"] == {"data.txt": 3}  # half.txt is gone


def test_a_resuming_maker_finds_what_it_left():
    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    def go_on(folder):
        assert (folder / "half.txt").read_text() == "half"

    with pytest.raises(KeyboardInterrupt):
        store.fetch("kind", SPEC, fail, resumes=True)
    store.fetch("kind", SPEC, go_on, resumes=True)


def test_nothing_goes_on_under_another_version(monkeypatch):
    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.fetch("kind", SPEC, fail, resumes=True)
    assert store.begun("kind", [SPEC]) == SPEC
    monkeypatch.setattr(store.metadata, "version", lambda package: "0.1")
    assert store.begun("kind", [SPEC]) is None
    made = store.fetch("kind", SPEC, write("one"), resumes=True)
    assert made.record["files"] == {
        "data.txt": 3
    }  # half.txt is gone, and so is the note of versions


def test_another_build_of_a_version_goes_on_and_a_record_that_could_not_be_written_loses_nothing(
    monkeypatch,
):
    def no_space(path, text):
        if path.name == "record.json":
            raise OSError("No space left")
        write_text(path, text)

    write_text = store.write_text
    monkeypatch.setattr(store.metadata, "version", lambda package: "2.1+cu130")
    monkeypatch.setattr(store, "write_text", no_space)
    with pytest.raises(OSError):
        store.fetch("kind", SPEC, write("one"), resumes=True)
    monkeypatch.setattr(store, "write_text", write_text)
    monkeypatch.setattr(store.metadata, "version", lambda package: "2.1+cpu")
    assert store.begun("kind", [SPEC]) == SPEC

    def go_on(folder):
        assert (folder / "data.txt").read_text() == "one"

    assert store.fetch("kind", SPEC, go_on, resumes=True).record["files"] == {"data.txt": 3}


def test_damage_afterwards_is_seen():
    made = store.fetch("kind", SPEC, write("one"))
    (made.folder / "data.txt").write_text("truncat"[:2])
    with pytest.raises(DataError, match="delete the folder"):
        store.fetch("kind", SPEC, refuse)


def test_killed_while_writing_is_made_again(tmp_path):
    script = textwrap.dedent(
        """
        import time
        from mint_utils import store
        def make(folder):
            (folder / "data.txt").write_text("half")
            print("writing", flush=True)
            time.sleep(60)
        store.fetch("kind", {"version": 7}, make)
        """
    )
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=paths.ROOT)
    assert run.stdout.readline() == b"writing\n"
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert store.find("kind", {"version": 7}) is None
    made = store.fetch("kind", {"version": 7}, write("whole"))  # the lock died with its holder
    assert (made.folder / "data.txt").read_text() == "whole"


def slow(folder):
    with open(folder / "data.txt", "x") as file:  # fails where two are inside at once
        time.sleep(0.3)
        file.write(str(os.getpid()))


def make_slowly(_):
    return (store.fetch("kind", {"version": 8}, slow).folder / "data.txt").read_text()


def test_two_runs_at_once_make_it_once():
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert len(set(pool.map(make_slowly, range(3), chunksize=1))) == 1


def test_write_text_never_leaves_half(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    store.write_text(path, "old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write_text(path, "new, and longer")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_provenance_is_json_and_names_what_matters():
    told = json.loads(json.dumps(store.provenance()))
    assert told["device"] and told["versions"]["torch"] and told["threads"] >= 1


def test_the_commit_is_dirty_only_where_the_package_differs(tmp_path, monkeypatch):
    def git(*command):
        subprocess.run(["git", "-C", tmp_path, *command], check=True, capture_output=True)

    for folder in ("mint_utils", "figures"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text("1")
    git("init")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-m", "one")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "figures" / "file").write_text("2")
    clean = store._commit()
    assert len(clean) == 12
    (tmp_path / "mint_utils" / "file").write_text("2")
    assert store._commit() == f"{clean}-dirty"
