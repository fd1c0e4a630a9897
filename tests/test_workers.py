"""Processes side by side: every task once, errors and deaths told, nobody left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mint_utils import paths, store, workers
from mint_utils.errors import OutOfTime, StudyError


def work(task):
    kind, value = task
    workers.advance(value)
    if kind == "fail":
        raise StudyError("as asked")
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "sleep":
        time.sleep(300)
        Path(os.environ["AWAKE"]).touch()
    return os.getpid(), value * 2


def run(tasks, jobs=2):
    return list(workers.side_by_side(work, tasks, jobs, sum(v for _, v in tasks), "units"))


def test_every_task_once_in_processes_of_their_own():
    tasks = [("do", i) for i in range(5)]
    found = run(tasks)
    assert sorted(task for task, _ in found) == tasks
    assert all(result[1] == task[1] * 2 for task, result in found)
    assert os.getpid() not in {result[0] for _, result in found}


def test_an_error_ends_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("AWAKE", str(tmp_path / "awake"))
    with pytest.raises(StudyError, match="as asked"):
        run([("sleep", 1), ("fail", 1), ("sleep", 2)])
    assert not (tmp_path / "awake").exists()  # nobody waited for the sleepers


def test_a_killed_worker_is_told():
    with pytest.raises(StudyError, match="fewer --jobs"):
        run([("die", 1), ("do", 1)])


def test_one_job_is_done_in_this_process():
    ((_, (process, result)),) = run([("do", 4)], jobs=1)
    assert process == os.getpid() and result == 8


def test_without_bars_progress_is_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    now = iter([0.0, 10.0, 31.0, 40.0, 62.0, 99.0, 140.0])
    monkeypatch.setattr(workers.time, "monotonic", lambda: next(now))
    progress = workers.Progress(6200, "img")
    for done in (50, 310, 4000, 4340, 4340, 6200):
        progress.show(done)
    progress.close()
    assert capsys.readouterr().err.splitlines() == [
        "    310 img, 10.0/s, 5% of 6,200",
        "    4,340 img, 70.0/s, 70% of 6,200, about 0 min left",
        "    6,200 img, 44.3/s, 100% of 6,200",
    ]


def test_after_the_time_nothing_new_is_begun_and_what_is_there_is_read():
    made = store.fetch("thing", {"a": 1}, lambda folder: None)
    workers.limit(0.0)
    try:
        assert store.fetch("thing", {"a": 1}, lambda folder: None).digest == made.digest
        with pytest.raises(OutOfTime):
            store.fetch("thing", {"a": 2}, lambda folder: pytest.fail("made"))
    finally:
        workers.limit(None)
    assert store.fetch("thing", {"a": 2}, lambda folder: None).digest != made.digest


def test_outside_a_worker_nothing_is_counted():
    workers.advance(5)
    assert workers._counter is None and workers._shown is None


def test_workers_end_with_their_parent(tmp_path):
    script = (
        "from tests.test_workers import run\n"
        "if __name__ == '__main__':\n"
        "    run([('sleep', 1), ('sleep', 2)])\n"
    )
    (tmp_path / "parent.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT)}
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], env=environment)
    children: list[str] = []
    for _ in range(300):
        told = subprocess.run(["pgrep", "-P", str(parent.pid)], capture_output=True, text=True)
        children = told.stdout.split()
        if len(children) >= 3:  # two workers, and the tracker of their resources
            break
        time.sleep(0.2)
    assert len(children) >= 3
    time.sleep(1)
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not any(_runs(child) for child in children):
            return
        time.sleep(0.2)
    pytest.fail("a worker outlived its parent")


def _runs(process: str) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
