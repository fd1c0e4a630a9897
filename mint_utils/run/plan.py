"""What a study makes of Audited Models, in the order of its value, as far as a time allows.

In: a configuration, its notebooks, a time. Out: artifacts of the store, made side by side in processes of
their own; what was not reached is told, and made when the same is asked again. Each work is whole by itself:
whatever the time, what is there is complete and can be read.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mint_utils import workers
from mint_utils.config import Audited, Config, Scenarios
from mint_utils.errors import OutOfTime, StudyError
from mint_utils.study import factors, scenarios
from mint_utils.study.audit import KINDS, SWAPPED, Audit
from mint_utils.study.controls import Controls
from mint_utils.study.detectors import Detectors
from mint_utils.study.people import People
from mint_utils.study.scenarios import Column
from mint_utils.study.study import Study

# What is said first of a network: what it is, its nulls, the person, the paper's other factors.
FIRST = ("baseline", "swap", "people", "dropout", "loss")
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


def works(config: Config, names: Sequence[str]) -> list[Work]:
    """Return all that scenarios need of Audited Models, the most valuable first.

    Args:
        config: Of the run.
        names: Scenarios, as `scenarios.of_notebooks` gives them.
    """
    needed = Study(config).needed(names)
    seen: set[Audited] = set()
    found: list[Work] = []

    def add(name: str, turns: Sequence[int], wanted: Callable[[Audited], bool]) -> None:
        for column in scenarios.columns(config, name) if name in names else ():
            for i, recipe in enumerate(scenarios.recipes(config, name, column)):
                if i in turns and recipe not in seen and wanted(recipe):
                    seen.add(recipe)
                    title, kinds = needed[recipe]
                    found.append(Work(title, model, (config, name, recipe, tuple(sorted(kinds)))))

    def is_end(recipe: Audited) -> bool:
        return recipe.dropout in (0, config.audited.dropout)

    most = range(config.scenarios.audited_seeds)
    for i in most:
        for name in FIRST:
            add(name, [i], is_end)
            if name == "people" and "swap" in names:
                so_far = replace(config, scenarios=_only(config.scenarios, i + 1))
                found.append(Work(f"controls, seed {i}", controls, (so_far,)))
        if i == 0 and "baseline" in names:
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
                found.append(Work(title, again, (config, name, column)))
    return found


def _only(chosen: Scenarios, seeds: int) -> Scenarios:
    """Return how often each M is trained, with only so many trainings of the baseline."""
    return replace(chosen, audited_seeds=seeds, factor_seeds=None, people_seeds=None)


def model(config: Config, scenario: str, recipe: Audited, kinds: tuple[str, ...]) -> None:
    """Make one Audited Model and what tables, the better test and the controls read of it."""
    audit = Audit(config)
    audit.prepare(recipe, kinds)
    trained = audit.model(recipe)
    if scenario in ("people", "images_a_person"):
        audit.outcomes(trained)
        if scenario == "people":
            People(audit).untrained(trained)
    elif scenario == "shadows":
        Detectors(audit).odds_of(trained)
    for kind in kinds:
        chosen = audit.chosen(trained, kind)
        audit.mint(audit.readings(trained, chosen)[1], chosen)
    if KINDS[0] in kinds:
        other = replace(config.audited, shown="held_out", seed=recipe.seed)
        audit.scores(trained, SWAPPED, audited=audit.model(other), protocols=["paper"])


def persons(config: Config) -> None:
    """Make the table of the question about persons."""
    _ = People(Audit(config)).table


def again(config: Config, scenario: str, column: Column) -> None:
    """Make what stands in for failed trainings of a column, once the others are there."""
    kinds = () if column.group is None else (KINDS[column.group != "members"],)
    for trained in Audit(config).trained(scenario, column).models:
        model(config, scenario, trained.recipe, kinds)


def controls(config: Config) -> None:
    """Make what the controls read of the baseline's trainings."""
    Controls(Audit(config)).make()


def auditor(config: Config) -> None:
    """Make what the auditor chooses, on the first training of the baseline."""
    audit = Audit(config)
    factors.every(audit, audit.model(config.audited))


def attacks(config: Config) -> None:
    """Make the scores of the known attacks on the first training of the baseline."""
    Detectors(Audit(config)).attack_scores()


def make_within(
    found: Sequence[Work], seconds: float, jobs: int, told: Callable[[str], None] = print
) -> list[str]:
    """Make works side by side until a time is over. One that fails does not stop the others.

    Args:
        found: In the order in which they are begun.
        seconds: From now on.
        jobs: Processes.
        told: Called with the title of what is done.

    Returns:
        The titles of what is not done; what was begun of it has its checkpoint.

    Raises:
        StudyError: Some failed; their titles and errors, when all others are done.
    """
    workers.limit(time.time() + seconds)
    left = {work: work.title for work in found}
    failed = []
    if jobs > 1:
        done = workers.side_by_side(_make, list(found), jobs, None, "exposures")
    else:
        done = ((work, _make(work)) for work in found)
    for work, error in done:
        if error is None:
            del left[work]
            told(work.title)
        elif error:
            failed.append(f"{work.title}: {error}")
            told(f"FAILED {failed[-1]}")
    if failed:
        raise StudyError(f"{len(failed)} of {len(found)} works failed. {' '.join(failed)}")
    return list(left.values())


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
