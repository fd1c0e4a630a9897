"""Kill a run at random moments, resume it each time, and compare its tables with those of an undisturbed run.

    python -m benchmarks.kills [--kills 20] [--longest SECONDS] [--seed 0] [ARGUMENTS OF mint_utils.reproduce]

A run that ends before the number of kills is reached is compared, and another one starts. Without arguments
a toy is run, one notebook of a network that is trained in seconds. Checkpoints are written every two seconds
instead of every minute, so that kills fall between them too. Workers and kernels are killed as well;
unfinished artifacts and locks are left to the next run.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

TOY = ["--only", "01"]
for given in ("image_size 16", "epochs 4", "mint_seeds 2", "mint_samples 400"):
    TOY += ["-p", *given.split()]
TABLES = (".csv", ".md", ".tex")
CHECKPOINTS = "MINT_BENCHMARK_CHECKPOINTS"  # seconds; set for the runs that are killed

if CHECKPOINTS in os.environ:  # in the run, and in its workers, which import this module again
    from mint_utils.audited import train

    train.train.__defaults__ = (float(os.environ[CHECKPOINTS]),)


def begin(folder: Path, arguments: list[str]) -> subprocess.Popen:
    """Start or resume a run whose artifacts, figures and reports are in a folder."""
    places = {
        f"MINT_{name}": str(folder / name.lower()) for name in ("ARTIFACTS", "FIGURES", "REPORTS")
    }
    with open(folder / "log", "a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.kills", "run", *arguments],
            env=os.environ | places | {CHECKPOINTS: "2", "PYTHONUNBUFFERED": "1"},
            stdout=log,
            stderr=log,
        )


def end(process: subprocess.Popen, folder: Path) -> None:
    """Wait for the end of a run.

    Raises:
        SystemExit: It failed.
    """
    if process.wait() != 0:
        raise SystemExit(
            f"The run failed with {process.returncode}:\n{(folder / 'log').read_text()[-3000:]}"
        )


def has_begun(process: subprocess.Popen, log: Path, before: int) -> float:
    """Wait until a run prints something, so that no kill falls into its imports; return the time."""
    while process.poll() is None and log.stat().st_size == before:
        time.sleep(0.1)
    return time.monotonic()


def kill(process: subprocess.Popen) -> None:
    """Kill a run and all its processes, without a chance to clean up."""
    parent = psutil.Process(process.pid)
    processes = [*parent.children(recursive=True), parent]
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(processes)
    process.wait()


def tables(folder: Path) -> dict[str, bytes]:
    """Return the tables of a run: file -> content."""
    found = (folder / "figures").rglob("*")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(found)
        if path.suffix in TABLES
    }


def state(folder: Path) -> str:
    """Return a line about the artifacts, checkpoints and tables of a run so far."""
    artifacts = list((folder / "artifacts").rglob("record.json"))
    checkpoints = list((folder / "artifacts").rglob("checkpoint.pt"))
    return (
        f"{len(artifacts)} artifacts, {len(checkpoints)} checkpoints, {len(tables(folder))} tables"
    )


def compared(folder: Path, expected: dict[str, bytes]) -> None:
    """Compare the tables of a run with those of the undisturbed one.

    Raises:
        SystemExit: They are not equal to the last byte.
    """
    found = tables(folder)
    different = [
        name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)
    ]
    if different or not found:
        raise SystemExit(f"{len(different)} of {len(expected)} tables differ: {sorted(different)}")
    print(f"  its {len(found)} tables are equal to the last byte", flush=True)


def killed(
    root: Path, arguments: list[str], kills: int, longest: float, dice: random.Random
) -> None:
    """Kill runs at random moments up to ``longest`` seconds after their start, and compare their tables."""
    expected, done, number = tables(root / "undisturbed"), 0, 0
    while True:
        folder = root / f"killed-{number}"
        folder.mkdir(exist_ok=True)
        log = folder / "log"
        said = log.stat().st_size if log.exists() else 0
        process, moment = begin(folder, arguments), dice.uniform(0, longest)
        has_begun(process, log, said)
        try:
            process.wait(moment if done < kills else None)
        except subprocess.TimeoutExpired:
            kill(process)
            done += 1
            print(f"  kill {done} after {moment:.1f} s: {state(folder)}", flush=True)
            continue
        end(process, folder)
        compared(folder, expected)
        number += 1
        if done == kills:
            return


def main() -> None:
    """Run undisturbed, then killed."""
    if sys.argv[1:2] == ["run"]:
        from mint_utils import reproduce

        sys.exit(reproduce.main(sys.argv[2:]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--longest", type=float, help="seconds until a kill; as the undisturbed run"
    )
    parser.add_argument("--seed", type=int, default=0)
    chosen, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="mint-kills-") as name:
        root, started = Path(name), time.monotonic()
        (root / "undisturbed").mkdir()
        process = begin(root / "undisturbed", arguments or TOY)
        begun = has_begun(process, root / "undisturbed" / "log", 0)
        end(process, root / "undisturbed")
        seconds = time.monotonic() - begun
        print(f"undisturbed: {seconds:.0f} s, {state(root / 'undisturbed')}", flush=True)
        dice, longest = random.Random(chosen.seed), chosen.longest or seconds
        killed(root, arguments or TOY, chosen.kills, longest, dice)
        print(f"{chosen.kills} kills; {time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
