"""A run in stages that another program starts, such as the scheduler of a cluster.

The databases come first, then each Audited Model, the notebooks, and the closing. The id of a stage is a hash
of what its results depend on, and its mark is a file that is written when they are all there. So a changed
parameter has another id and another mark.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from mint_utils import paths, store
from mint_utils.config import Audited
from mint_utils.errors import ParameterError, StudyError
from mint_utils.run import notebooks
from mint_utils.study import scenarios
from mint_utils.study.scenarios import of_notebooks
from mint_utils.study.study import Study


@dataclass(frozen=True)
class Stage:
    """One part of a run, independent of all parts that it does not name.

    Attributes:
        id: Its kind (``databases``, ``audited``, ``notebook``, ``closing``), a dash and a hash.
        title: What it makes, for people.
        after: The ids of the stages that must be done before.
        work: Makes what is missing, or raises.
    """

    id: str
    title: str
    after: tuple[str, ...]
    work: Callable[[], object]

    @property
    def mark(self) -> Path:
        """The file that is there when the stage is done; it goes where the artifacts go."""
        return paths.artifacts() / "stages" / f"{self.id}.done"

    def do(self) -> None:
        """Make what is missing, then leave the mark."""
        self.mark.parent.mkdir(parents=True, exist_ok=True)
        self.mark.unlink(missing_ok=True)
        self.work()
        store.write_text(self.mark, f"{self.title}\n")

    def line(self) -> str:
        """Return the stage as one line of JSON: id, title, after, mark."""
        line = {"id": self.id, "title": self.title, "after": self.after, "mark": str(self.mark)}
        return json.dumps(line)


def stages(study: Study, chosen: Sequence[str], changes: dict[str, Any]) -> dict[str, Stage]:
    """Return the stages of a run by their ids, in an order in which they can be done.

    No database is opened: this is quick wherever the package is installed.

    Args:
        chosen: Names of notebooks.
        changes: The parameters that were changed, as they are given to the notebooks.
    """
    config = study.config

    def id_of(kind: str, notebook: str | None = None, **what: Any) -> str:
        spec = {"state": notebooks.state(config, notebook), "data": config.data, **what}
        return f"{kind}-{store.digest(spec)}"

    databases = Stage(
        id_of("databases"), f"databases of profile {config.profile}", (), study.images.roles
    )
    models: dict[Audited, Stage] = {}
    for recipe, (title, kinds) in scenarios.needed(config, of_notebooks(config, chosen)).items():
        models[recipe] = Stage(
            id_of("audited", recipe=recipe, kinds=sorted(kinds)),
            f"audited: {title}",
            (databases.id,),
            lambda recipe=recipe, kinds=kinds: study.audit.prepare(recipe, kinds),
        )
    shown = {
        name: Stage(
            id_of("notebook", name, name=name),
            f"notebook {name}",
            (
                databases.id,
                *(
                    models[recipe].id
                    for recipe in scenarios.needed(config, of_notebooks(config, [name]))
                ),
            ),
            lambda name=name: _execute(study, name, changes),
        )
        for name in chosen
    }
    closing = Stage(
        id_of("closing", notebooks=list(chosen)),
        "tables and page",
        tuple(stage.id for stage in shown.values()),
        lambda: _close(study, shown),
    )
    return {stage.id: stage for stage in (databases, *models.values(), *shown.values(), closing)}


def do(listed: dict[str, Stage], wanted: str) -> None:
    """Do the stage of an id, one of those that `stages` returned.

    Raises:
        ParameterError: No stage has that id.
        StudyError: Its results are not complete afterwards.
    """
    if wanted not in listed:
        raise ParameterError(
            f"There is no stage {wanted!r} here: it was listed for other parameters or by another "
            "version of the package. List the stages again with these."
        )
    listed[wanted].do()


def _execute(study: Study, name: str, changes: dict[str, Any]) -> None:
    reports = notebooks.folder(study)
    with FileLock(reports / f".{name}.lock"):
        if not notebooks.is_complete(study, name, reports):
            notebooks.execute((study.config, name, reports, tuple(changes.items())))
        if not notebooks.is_complete(study, name, reports):
            raise StudyError(f"The results of {name} are not complete although it came to its end.")


def _close(study: Study, shown: dict[str, Stage]) -> None:
    """Print the tables and write the index page, unless results of a finished stage were lost."""
    reports = notebooks.folder(study)
    lost = [name for name in shown if not notebooks.is_complete(study, name, reports)]
    for name in lost:
        shown[name].mark.unlink(missing_ok=True)
    if lost:
        raise StudyError(
            f"The results of {', '.join(lost)} are not complete: their marks are taken back, and the "
            "same command makes them again."
        )
    notebooks.close(study, reports)
