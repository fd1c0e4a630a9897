"""The expensive works of a run, in the order of their value, made side by side as far as the time allows.

Each work is complete in itself: whenever the time is over, what is stored can be read, and the same call goes
on with the rest.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mint_utils import workers
from mint_utils.config import Audited, Config, Scenarios
from mint_utils.errors import OutOfTime, StudyError
from mint_utils.study import factors, scenarios
from mint_utils.study.audit import Audit
from mint_utils.study.controls import Controls, never_shown, untrained
from mint_utils.study.known_attacks import KnownAttacks
from mint_utils.study.people import People
from mint_utils.study.scenarios import KINDS, Column
from mint_utils.study.study import Study

# Scenarios by value: the baseline, its null models, the question about persons, the paper's other factors.
FIRST = ("baseline", "halves", "swap", "people", "dropout", "loss")
LATER = ("frequency", "batch_size", "shadows", "batch_size_scaled")


@dataclass(frozen=True)
class Work:
    """One thing to make: a title in words, a function of this module, and its arguments."""

    title: str
    make: Callable[..., Any]
    arguments: tuple


def works(config: Config, notebooks: Sequence[str]) -> list[Work]:
    """Return all that notebooks need of Audited Models, the most valuable first."""
    names = scenarios.of_notebooks(config, notebooks)
    needed = scenarios.needed(config, names)
    read_by = tuple(name for name in ("swap", "shadows") if name in names)
    seen: set[Audited] = set()
    works: list[Work] = []

    def add(name: str, turns: Sequence[int], wanted: Callable[[Audited], bool]) -> None:
        for column in scenarios.columns(config, name) if name in names else ():
            for i, recipe in enumerate(scenarios.recipes(config, name, column)):
                if i in turns and recipe not in seen and wanted(recipe):
                    seen.add(recipe)
                    title, kinds = needed[recipe]
                    arguments = (config, name, recipe, tuple(sorted(kinds)), read_by)
                    works.append(Work(title, model, arguments))

    def is_end(recipe: Audited) -> bool:
        return recipe.dropout in (0, config.audited.dropout)

    most = range(config.scenarios.audited_seeds)
    for i in most:
        for name in FIRST:
            add(name, [i], is_end)
            if name == "people" and "swap" in names:
                so_far = replace(config, scenarios=_only(config.scenarios, i + 1))
                works.append(Work(f"controls, seed {i}", controls, (so_far,)))
        if i == 0 and "06c_auditors_factors" in notebooks:
            works.append(Work("what the auditor chooses", auditor, (config,)))
    if "people" in names:
        works.append(Work("the person", persons, (config,)))
    for name in (*LATER, *FIRST):
        add(name, most, lambda recipe: True)
        if name == "shadows" and name in names:
            works.append(Work("attacks", attacks, (config,)))
            works.append(Work("checkpoints of the training", checkpoints, (config,)))
    for name in names:  # those that neither FIRST nor LATER lists
        add(name, range(1000), lambda recipe: True)
    for name in names:
        for column in scenarios.columns(config, name):
            if len(scenarios.recipes(config, name, column)) > 1:
                title = f"{column.model}, in the place of failed trainings"
                works.append(Work(title, again, (config, name, column, read_by)))
    return works


def _only(chosen: Scenarios, seeds: int) -> Scenarios:
    """Return the settings of the scenarios with this number of trainings of the baseline."""
    return replace(chosen, audited_seeds=seeds, factor_seeds=None, people_seeds=None)


def model(
    config: Config,
    scenario: str,
    recipe: Audited,
    kinds: tuple[str, ...],
    read_by: tuple[str, ...],
) -> None:
    """Make one Audited Model of a scenario and what is read of it.

    Args:
        kinds: Kinds of groups of images that the tables read.
        read_by: ``swap`` where the controls read the model too, ``shadows`` where the better test does.
    """
    audit = Audit(config)
    audit.prepare(recipe, kinds)
    trained = audit.model(recipe)
    if scenario in ("people", "images_a_person"):
        audit.place(trained)
        if scenario == "people":
            audit.place(untrained(audit, trained))
    elif scenario == "shadows":
        KnownAttacks(audit).own_class(trained)
    for kind in kinds if "shadows" in read_by else ():
        chosen = audit.chosen(trained, kind)
        audit.mint(audit.readings(trained, chosen)[1], chosen)
    if KINDS[0] in kinds and "swap" in read_by:
        never_shown(audit, trained)


def persons(config: Config) -> None:
    """Make the table of the question about persons."""
    _ = People(Audit(config)).table


def again(config: Config, scenario: str, column: Column, read_by: tuple[str, ...]) -> None:
    """Make the trainings that replace failed ones of a column, once the others are there."""
    kinds = (column.kind,) if column.kind else ()
    for trained in Audit(config).trained(scenario, column).models:
        model(config, scenario, trained.recipe, kinds, read_by)


def controls(config: Config) -> None:
    """Make what the controls read of the baseline's trainings."""
    Controls(Audit(config)).make()


def auditor(config: Config) -> None:
    """Make what the auditor chooses, on the first training of the baseline."""
    audit = Audit(config)
    factors.every(audit, audit.model(config.audited))


def attacks(config: Config) -> None:
    """Make the scores of the known attacks on the first training of the baseline."""
    KnownAttacks(Audit(config)).scores()


def checkpoints(config: Config) -> None:
    """Repeat the first training of the baseline for its checkpoints, and read M at each of them."""
    KnownAttacks(Audit(config)).over_training()


def make(
    study: Study,
    works: Sequence[Work],
    jobs: int,
    seconds: float | None = None,
    done: Callable[[str], None] = print,
) -> list[str]:
    """Make works side by side, in their order, until the time is over. A failure does not stop the others.

    Args:
        study: Its databases are prepared.
        jobs: Number of processes.
        seconds: The time, from now on; None: no limit.
        done: Called with the title of each work that is done.

    Returns:
        The titles of what is not done; training that had begun has its checkpoint.

    Raises:
        StudyError: Some failed; the first title and error, when all others are done.
    """
    workers.limit(None if seconds is None else time.time() + seconds)
    recipes = [work.arguments[2] for work in works if work.make is model]
    again = [work.arguments[0] for work in works if work.make is checkpoints]
    recipes += [scenarios.compared(config).recipe for config in again]
    total = sum(
        study.images.exposures(recipe) for recipe in recipes if not study.audit.is_trained(recipe)
    )
    left = list(works)
    failed = []
    try:
        for work, error in workers.side_by_side(_make, works, min(jobs, len(works)), total, "img"):
            if error is None:
                left.remove(work)
                done(work.title)
            elif error:
                failed.append(f"{work.title}: {error}")
                done(f"FAILED {failed[-1]}")
    finally:
        workers.limit(None)
    if failed:
        raise StudyError(f"{len(failed)} of {len(works)} works failed, the first: {failed[0]}")
    return [work.title for work in left]


def _make(work: Work) -> str | None:
    """Make a work; return None, or the error that stopped it, empty where the time was over."""
    if workers.out_of_time():
        return ""
    try:
        work.make(*work.arguments)
    except OutOfTime:
        return ""
    except Exception as error:  # whatever it is, the others go on, and `make` raises it at the end
        return f"{type(error).__name__}: {error}"
    return None
