"""A whole run: everything expensive, then the notebooks; `mint_utils.reproduce` is its command line."""

import importlib.util
import sys
import time
from typing import Any

import torch
from filelock import FileLock
from tqdm import tqdm

from mint_utils import store, workers
from mint_utils.config import Config
from mint_utils.errors import StudyError
from mint_utils.run import forecast, notebooks, plan
from mint_utils.study import casefiles
from mint_utils.study.scenarios import of_notebooks
from mint_utils.study.study import Study

OUT_OF_TIME = 3  # exit status where the time was over before everything was made


def run(
    config: Config,
    chosen: list[str],
    changes: dict[str, Any],
    jobs: int | None = None,
    within: float | None = None,
) -> int:
    """Make everything expensive that is missing, execute the notebooks, and return the exit status.

    Args:
        chosen: Names of notebooks.
        changes: The parameters that were changed, as they are given to the notebooks.
        jobs: Number of models trained side by side; None: one for each GPU, or for each core.
        within: Seconds after which training stops; None: no limit. Notebooks follow only when all is made.
    """
    started = time.monotonic()
    casefiles.check(config)  # the files of an own audit must be there before anything starts
    study, models = Study(config), jobs or torch.cuda.device_count() or workers.cores()
    forecast.refuse(forecast.forecast(study, of_notebooks(config, chosen)).disk)
    if within is None:
        _need_papermill()
    reports = notebooks.folder(study)
    with FileLock(reports / ".lock"):
        pending = [name for name in chosen if not notebooks.is_complete(study, name, reports)]
        _print_changes(study)
        works = plan.works(config, pending)
        done = _Done(1 + len(works) + len(pending))
        study.images.roles()  # prepares and compares the images before several processes ask for them
        study.images.contamination()
        done(f"databases of profile {config.profile}")
        left = plan.make(study, works, models, within and started + within - time.monotonic(), done)
        if left:
            print(f"The time is over. Left: {', '.join(left)}. The same command goes on.")
            return OUT_OF_TIME
        if pending:
            _need_papermill()
        for name in notebooks.execute_all(config, pending, reports, changes, jobs):
            done(f"notebook {name}")
        notebooks.close(study, reports)
        missing = [name for name in chosen if not notebooks.is_complete(study, name, reports)]
    for name in missing:
        print(f"error: the results of {name} are not complete", file=sys.stderr)
    took = forecast.duration(time.monotonic() - started)
    print(f"{len(chosen) - len(missing)} of {len(chosen)} notebooks complete, {took}")
    return 1 if missing else 0


def dry_run(config: Config, chosen: list[str], rate: float | None) -> int:
    """Print the cost of a run, at a rate of training in images/s; None: measured here."""
    casefiles.check(config)
    study = Study(config)
    print(f"profile {config.profile} on {store.provenance()['device']}: {', '.join(chosen)}")
    _print_changes(study)
    forecast.announce(study, of_notebooks(config, chosen), rate)
    return 0


def _need_papermill() -> None:
    if importlib.util.find_spec("papermill") is None:
        raise StudyError(
            "The notebooks need papermill, which is not installed here: install it, or make the models "
            "here with --within and run the notebooks where papermill is."
        )


def _print_changes(study: Study) -> None:
    """Print the changed parameters and the folder of the results."""
    changes = study.config.changes()
    if changes:
        print("changed: " + ", ".join(f"{name} {value}" for name, value in changes.items()))
    print(f"results: {study.figures}")


class _Done:
    """Prints a line for each part of a run that is done: its number, the time since the start."""

    def __init__(self, total: int):
        self.total, self.number, self.started = total, 0, time.perf_counter()

    def __call__(self, title: str) -> None:
        self.number += 1
        since = forecast.duration(time.perf_counter() - self.started)
        tqdm.write(f"[{self.number}/{self.total}] {since:>12}  {title}")  # above a progress bar
        sys.stdout.flush()
