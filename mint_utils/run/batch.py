"""What a run does once its options are known to be right: everything expensive, then the notebooks.

In: a configuration, the notebooks wanted and the parameters that were changed. Out: tables, figures, reports,
and an exit status; or what it would cost; or its stages. ``reproduce`` is its command line.
"""

import sys
import time
from typing import Any

from filelock import FileLock
from tqdm import tqdm

from mint_utils import store
from mint_utils.config import Config
from mint_utils.run import notebooks, stages
from mint_utils.run.cost import duration
from mint_utils.run.forecast import announce, check
from mint_utils.study import casefiles
from mint_utils.study.scenarios import of_notebooks
from mint_utils.study.study import Study


def run(config: Config, chosen: list[str], changes: dict[str, Any], jobs: int | None) -> int:
    """Make everything expensive that is missing, then execute the notebooks.

    Args:
        config: Of the run.
        chosen: Notebooks.
        changes: The parameters that were changed, as they are given to the notebooks.
        jobs: Models trained side by side; None: as many as there are cores, on a GPU one.
    """
    casefiles.check(config)  # what is brought must be there, before anything starts
    study, started = Study(config), time.perf_counter()
    check(study, of_notebooks(config, chosen), jobs)  # before anything is written
    reports = notebooks.folder(study)
    with FileLock(reports / ".lock"):
        pending = [name for name in chosen if not notebooks.is_complete(study, name, reports)]
        wanted = of_notebooks(config, pending)
        needed = study.needed(wanted)
        _tell(study)
        stage = _Stages(1 + len(needed) + len(pending))
        stage(f"databases of profile {study.config.profile}")
        study.roles()
        study.prepare_all(wanted, jobs, lambda title: stage(f"audited: {title}"))
        for name in notebooks.execute_all(study.config, pending, reports, changes, jobs):
            stage(f"notebook {name}")
        notebooks.close(study, reports)
        missing = [name for name in chosen if not notebooks.is_complete(study, name, reports)]
    for name in missing:
        print(f"error: the results of {name} are not complete", file=sys.stderr)
    print(f"{len(chosen) - len(missing)} of {len(chosen)} notebooks complete, ", end="")
    print(f"{duration(time.perf_counter() - started)}")
    return 1 if missing else 0


def dry_run(config: Config, chosen: list[str], jobs: int | None, rate: float | None) -> int:
    """Print what a run would cost, at a rate of training in images/s; None: as it is measured here."""
    casefiles.check(config)
    study = Study(config)
    print(f"profile {config.profile} on {store.provenance()['device']}: {', '.join(chosen)}")
    _tell(study)
    announce(study, of_notebooks(config, chosen), jobs, rate)
    return 0


def list_stages(config: Config, chosen: list[str], changes: dict[str, Any]) -> int:
    """Print the stages of a run, each a line of JSON."""
    found = stages.stages(Study(config), chosen, changes)
    print(*(stage.line() for stage in found.values()), sep="\n")
    return 0


def do_stage(config: Config, chosen: list[str], changes: dict[str, Any], wanted: str) -> int:
    """Do one stage of a run, by its id."""
    stages.do(stages.stages(Study(config), chosen, changes), wanted)
    return 0


def _tell(study: Study) -> None:
    """Print what was changed, and where the results go."""
    changes = study.config.changes()
    if changes:
        print("changed: " + ", ".join(f"{name} {value}" for name, value in changes.items()))
    print(f"results: {study.figures}")


class _Stages:
    """Prints a line a stage, its number and the time since the start, above any progress bar."""

    def __init__(self, total: int):
        self.total, self.number, self.started = total, 0, time.perf_counter()

    def __call__(self, told: str) -> None:
        self.number += 1
        since = duration(time.perf_counter() - self.started)
        tqdm.write(f"[{self.number}/{self.total}] {since:>12}  {told}")
        sys.stdout.flush()
