"""What a study makes of Audited Models, in the order of its value, as far as a time allows.

In: a configuration, its notebooks, a time. Out: artifacts of the store, made side by side in processes of
their own, and the titles of what was not reached; the same call goes on with it. Each work is whole by
itself: whatever the time, what is there is complete and can be read.
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
from mint_utils.study.controls import Controls, untrained
from mint_utils.study.known_attacks import KnownAttacks
from mint_utils.study.people import People
from mint_utils.study.scenarios import KINDS, Column
from mint_utils.study.study import Study

# What is said first of a network: what it is, its nulls, the person, the paper's other factors.
FIRST = ("baseline", "halves", "swap", "people", "dropout", "loss")
LATER = ("frequency", "batch_size", "shadows", "batch_size_scaled")


@dataclass(frozen=True)
class Work:
    """One thing to make.

    Attributes:
        title: In words.
        make: A function of this module.
        arguments: Of that.
    """

    title: str
    make: Callable[..., Any]
    arguments: tuple


def works(config: Config, notebooks: Sequence[str]) -> list[Work]:
    """Return all that notebooks need of Audited Models, the most valuable first.

    Args:
        config: Of the run.
        notebooks: Their names.
    """
    names = scenarios.of_notebooks(config, notebooks)
    needed = scenarios.needed(config, names)
    read_by = tuple(name for name in ("swap", "shadows") if name in names)
    seen: set[Audited] = set()
    found: list[Work] = []

    def add(name: str, turns: Sequence[int], wanted: Callable[[Audited], bool]) -> None:
        for column in scenarios.columns(config, name) if name in names else ():
            for i, recipe in enumerate(scenarios.recipes(config, name, column)):
                if i in turns and recipe not in seen and wanted(recipe):
                    seen.add(recipe)
                    title, kinds = needed[recipe]
                    arguments = (config, name, recipe, tuple(sorted(kinds)), read_by)
                    found.append(Work(title, model, arguments))

    def is_end(recipe: Audited) -> bool:
        return recipe.dropout in (0, config.audited.dropout)

    most = range(config.scenarios.audited_seeds)
    for i in most:
        for name in FIRST:
            add(name, [i], is_end)
            if name == "people" and "swap" in names:
                so_far = replace(config, scenarios=_only(config.scenarios, i + 1))
                found.append(Work(f"controls, seed {i}", controls, (so_far,)))
        if i == 0 and "06c_auditors_factors" in notebooks:
            found.append(Work("what the auditor chooses", auditor, (config,)))
    if "people" in names:
        found.append(Work("the person", persons, (config,)))
    for name in (*LATER, *FIRST):
        add(name, most, lambda recipe: True)
        if name == "shadows" and name in names:
            found.append(Work("attacks", attacks, (config,)))
    for name in names:  # of which nothing was said here
        add(name, range(1000), lambda recipe: True)
    for name in names:
        for column in scenarios.columns(config, name):
            if len(scenarios.recipes(config, name, column)) > 1:
                title = f"{column.model}, in the place of failed trainings"
                found.append(Work(title, again, (config, name, column, read_by)))
    return found


def _only(chosen: Scenarios, seeds: int) -> Scenarios:
    """Return how often each M is trained, with only so many trainings of the baseline."""
    return replace(chosen, audited_seeds=seeds, factor_seeds=None, people_seeds=None)


def model(
    config: Config,
    scenario: str,
    recipe: Audited,
    kinds: tuple[str, ...],
    read_by: tuple[str, ...],
) -> None:
    """Make one Audited Model and what is read of it.

    Args:
        config: Of the run.
        scenario: That the model is of.
        recipe: Of the model.
        kinds: Of groups of images that tables read.
        read_by: ``swap`` where the controls read it too, ``shadows`` where the better test does.
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
        audit.never_shown(trained)


def persons(config: Config) -> None:
    """Make the table of the question about persons."""
    _ = People(Audit(config)).table


def again(config: Config, scenario: str, column: Column, read_by: tuple[str, ...]) -> None:
    """Make what stands in for failed trainings of a column, once the others are there."""
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


def make(
    study: Study,
    found: Sequence[Work],
    jobs: int,
    seconds: float | None = None,
    done: Callable[[str], None] = print,
) -> list[str]:
    """Make works side by side, until a time is over. One that fails does not stop the others.

    Args:
        study: Whose works they are; its databases are prepared.
        found: In the order in which they are begun.
        jobs: Processes.
        seconds: From now on; None: until all is made.
        done: Called with the title of each work that is done.

    Returns:
        The titles of what is not done; what was begun of it has its checkpoint.

    Raises:
        StudyError: Some failed; the first title and error, when all others are done.
    """
    workers.limit(None if seconds is None else time.time() + seconds)
    recipes = [work.arguments[2] for work in found if work.make is model]
    total = sum(
        study.images.exposures(recipe) for recipe in recipes if not study.audit.is_trained(recipe)
    )
    left = list(found)
    failed = []
    try:
        for work, error in workers.side_by_side(_make, found, min(jobs, len(found)), total, "img"):
            if error is None:
                left.remove(work)
                done(work.title)
            elif error:
                failed.append(f"{work.title}: {error}")
                done(f"FAILED {failed[-1]}")
    finally:
        workers.limit(None)
    if failed:
        raise StudyError(f"{len(failed)} of {len(found)} works failed, the first: {failed[0]}")
    return [work.title for work in left]


def _make(work: Work) -> str | None:
    """Make a work; return None, or why not: nothing where the time was over."""
    if workers.out_of_time():
        return ""
    try:
        work.make(*work.arguments)
    except OutOfTime:
        return ""
    except Exception as error:  # whatever it is, the others go on, and it is told at the end
        return f"{type(error).__name__}: {error}"
    return None
