"""Runs the study in batch: everything expensive first, then the notebooks through papermill.

    python -m mint_utils.reproduce                                    # profile quick
    python -m mint_utils.reproduce --profile faces --data DIR         # real faces
    python -m mint_utils.reproduce --only 01 -p dropout 0 -p epochs 5
    python -m mint_utils.reproduce --dry-run                          # what it would cost
    python -m mint_utils.reproduce --list                             # its stages; --stage ID does one

Tables and figures go to ``figures/<profile>/``, executed notebooks and a page to ``reports/<profile>/``.
What is stored is not made again; an interrupted run goes on when the same command is given. The exit
status is 0 only when every result is there.
"""

import argparse
import sys
import time
from typing import Any

import papermill
import yaml
from filelock import FileLock
from tqdm import tqdm

from mint_utils import notebooks, paths, stages, store
from mint_utils.config import profiles, resolve, unknown
from mint_utils.cost import duration
from mint_utils.errors import ParameterError, StudyError
from mint_utils.forecast import announce, check
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
        if options.list or options.stage:
            found = stages.stages(study, chosen, changes)
            if options.list:
                print(*(stage.line() for stage in found.values()), sep="\n")
            else:
                stages.do(found, options.stage)
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
    stage = (
        parser.add_mutually_exclusive_group()
    )  # for the Snakefile, or any other that starts jobs
    stage.add_argument("--list", action="store_true", help="print the stages, each a line of JSON")
    stage.add_argument("--stage", metavar="ID", help="do one of the stages that --list prints")
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
    check(study, _scenarios(chosen), jobs)  # before anything is written
    reports = notebooks.folder(study)
    with FileLock(reports / ".lock"):
        pending = [name for name in chosen if not notebooks.is_complete(study, name, reports)]
        needed = study.needed(_scenarios(pending))
        stage = _Stages(1 + len(needed) + len(pending))
        stage(f"databases of profile {study.config.profile}")
        study.roles()
        study.prepare_all(_scenarios(pending), jobs, lambda title: stage(f"audited: {title}"))
        for name in notebooks.execute_all(study.config, pending, reports, changes, jobs):
            stage(f"notebook {name}")
        notebooks.close(study, reports)
        missing = [name for name in chosen if not notebooks.is_complete(study, name, reports)]
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


if __name__ == "__main__":
    sys.exit(main())
