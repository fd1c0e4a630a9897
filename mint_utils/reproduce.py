"""Runs the study in batch: everything expensive first, then the notebooks through papermill.

    python -m mint_utils.reproduce                                    # profile quick
    python -m mint_utils.reproduce --profile faces --data DIR         # real faces
    python -m mint_utils.reproduce --only 01 -p dropout 0 -p epochs 5
    python -m mint_utils.reproduce --dry-run                          # what it would cost

Tables and figures go to ``figures/<profile>/``, executed notebooks and a page to ``reports/<profile>/``.
What is stored is not made again; an interrupted run goes on when the same command is given. The exit
status is 0 only when every result is there.
"""

import argparse
import functools
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import papermill
import yaml
from filelock import FileLock
from tqdm import tqdm
from traitlets.config import Config as Traits

from mint_utils import paths, store, workers
from mint_utils.config import Config, profiles, resolve, unknown
from mint_utils.cost import duration
from mint_utils.errors import ParameterError, StudyError
from mint_utils.forecast import announce, check
from mint_utils.report import page, tables
from mint_utils.scenarios import NOTEBOOKS
from mint_utils.study import Study


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        chosen = _chosen(options.only)
        changes = {name: yaml.safe_load(value) for name, value in options.parameter}
        config = resolve(options.profile, options.data, **changes)
        _check_parameters(chosen, changes)
        study = Study(config)
        if options.dry_run:
            device = store.provenance()["device"]
            print(f"profile {config.profile} on {device}: {', '.join(chosen)}")
            print(f"results: {study.figures}")
            announce(study, _scenarios(chosen), options.jobs, options.rate)
            return 0
        return _run(study, chosen, options.jobs, changes)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mint_utils.reproduce",
        description="Run the study: train what is missing, execute the notebooks, write the tables.",
    )
    parser.add_argument("--profile", default="quick", help=f"one of {', '.join(profiles())}")
    parser.add_argument("--data", help="folder of the databases, where they are not embedded")
    parser.add_argument(
        "--only", action="append", metavar="NN", help="a notebook, as 01; repeatable"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        help="models trained side by side; as many as there are cores, on a GPU one",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and its cost")
    parser.add_argument(
        "--rate", type=float, metavar="IMAGES_PER_SECOND",
        help="of training, for --dry-run; it is measured here where none is given",
    )  # fmt: skip
    parser.add_argument(
        "-p", dest="parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="a parameter of the notebooks, as papermill takes it; repeatable",
    )  # fmt: skip
    return parser


def _chosen(only: list[str] | None) -> list[str]:
    names = sorted(NOTEBOOKS)
    if not only:
        return names
    chosen = [name for name in names if any(name.startswith(start) for start in only)]
    lost = [start for start in only if not any(name.startswith(start) for name in names)]
    if lost:
        raise ParameterError(unknown("notebook", lost[0], names))
    return chosen


def _check_parameters(chosen: list[str], changes: dict[str, Any]) -> None:
    for name in chosen:
        known = set(papermill.inspect_notebook(str(paths.NOTEBOOKS / f"{name}.ipynb")))
        for parameter in changes:
            if parameter not in known:
                raise ParameterError(f"in {name} {unknown('parameter', parameter, known)}")


def _scenarios(chosen: list[str]) -> list[str]:
    return list(dict.fromkeys(name for notebook in chosen for name in NOTEBOOKS[notebook]))


def _run(study: Study, chosen: list[str], jobs: int | None, changes: dict[str, Any]) -> int:
    started = time.perf_counter()
    reports = paths.reports() / study.figures.name
    pending = [name for name in chosen if not _complete(study, name, reports)]
    if pending:
        check(study, _scenarios(pending), jobs)
    reports.mkdir(parents=True, exist_ok=True)
    with FileLock(reports / ".lock"):
        pending = [name for name in chosen if not _complete(study, name, reports)]
        needed = study.needed(_scenarios(pending))
        stage = _Stages(1 + len(needed) + len(pending))
        stage(f"databases of profile {study.config.profile}")
        study.roles()
        study.prepare_all(_scenarios(pending), jobs, lambda title: stage(f"audited: {title}"))
        for name in _executed(study.config, pending, reports, changes, jobs):
            stage(f"notebook {name}")
        _close(study, reports)
        missing = [name for name in chosen if not _complete(study, name, reports)]
    for name in missing:
        print(f"error: the results of {name} are not complete", file=sys.stderr)
    print(f"{len(chosen) - len(missing)} of {len(chosen)} notebooks complete, ", end="")
    print(f"{duration(time.perf_counter() - started)}")
    return 1 if missing else 0


class _Stages:
    """Prints a line a stage, its number and the time since the start, above any progress bar."""

    def __init__(self, total: int):
        self.total, self.number, self.started = total, 0, time.perf_counter()

    def __call__(self, told: str) -> None:
        self.number += 1
        since = duration(time.perf_counter() - self.started)
        tqdm.write(f"[{self.number}/{self.total}] {since:>12}  {told}")
        sys.stdout.flush()


def _executed(
    config: Config, names: list[str], reports: Path, changes: dict[str, Any], jobs: int | None
) -> Iterator[str]:
    """Execute notebooks, side by side where there are cores, and yield each name as it is done."""
    longest_first = sorted(names, key=lambda name: -len(NOTEBOOKS[name]))
    tasks = [(config, name, reports, tuple(changes.items())) for name in longest_first]
    jobs = min(jobs or workers.cores(), len(names))
    if jobs > 1:
        for task, _ in workers.side_by_side(_execute, tasks, jobs, len(tasks), "notebooks"):
            yield task[1]
        return
    for task in tasks:
        _execute(task)
        yield task[1]


def _execute(task: tuple[Config, str, Path, tuple[tuple[str, Any], ...]]) -> None:
    config, name, reports, changes = task
    executed = reports / f"{name}.ipynb"
    given = {"profile": config.profile, "data": config.data} | dict(changes)
    with tempfile.TemporaryDirectory(prefix="mint-") as sockets:
        # Sockets in a folder of the kernel's own: it listens on no port, warns of none, and two kernels
        # do not get in each other's way.
        kernel = {"transport": "ipc", "ip": f"{sockets}/kernel"}
        try:
            papermill.execute_notebook(
                str(paths.NOTEBOOKS / f"{name}.ipynb"),
                str(executed),
                parameters={key: value for key, value in given.items() if value is not None},
                cwd=str(paths.NOTEBOOKS),
                config=Traits({"KernelManager": kernel}),
            )
        except papermill.PapermillExecutionError as error:
            raise StudyError(
                f"{name}, cell {error.exec_count}: {error.ename}: {error.evalue}"
            ) from error
    page.write_notebook_page(executed)
    store.write_text(reports / f"{name}.done", _state(config, name))
    workers.advance(1)


def _state(config: Config, name: str) -> str:
    """Return a hash of what an executed notebook depends on: itself, the package, the configuration."""
    sources = [paths.NOTEBOOKS / f"{name}.ipynb", *_package()]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources]
    return store.digest({"config": config.results(), "sources": hashes})


@functools.cache
def _package() -> tuple[Path, ...]:
    return tuple(sorted((paths.ROOT / "mint_utils").rglob("*.py")))


def _complete(study: Study, name: str, reports: Path) -> bool:
    """Say whether a notebook's results are all there and are those of the present code."""
    done, record = reports / f"{name}.done", study.figures / "record.json"
    if not (done.exists() and record.exists() and (reports / f"{name}.html").exists()):
        return False
    told = json.loads(record.read_text())
    if told["config"] != study.config.results() or done.read_text() != _state(study.config, name):
        return False
    files = told["notebooks"].get(name, {"files": ["nothing"]})["files"]
    return all((study.figures / file).exists() for file in files)


def _close(study: Study, reports: Path) -> None:
    """Print the tables and write the page that leads to everything."""
    chapters = [(p.stem, page.heading(p)) for p in sorted(reports.glob("*.ipynb"))]
    shown = []
    for path in sorted(study.figures.glob("table?.csv")):  # the paper's, not those beside them
        table = tables.side_by_side(tables.read(study.figures, path.stem))
        print(f"\n{path.stem}, profile {study.config.profile}\n{table.to_markdown(index=False)}")
        shown.append((path.stem, table.to_html(index=False, border=0)))
    told = store.provenance()
    summary = f"Profile {study.config.profile}, on {told['device']}, commit {told['commit']}."
    index = page.write_index(reports, "What lets a MINT tell", summary, chapters, shown)
    print(f"\ntables and figures: {study.figures}\npage to open:       {index}")


if __name__ == "__main__":
    sys.exit(main())
