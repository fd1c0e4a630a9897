"""The front door: what a notebook asks for, in the words of the paper.

    s = study.open_study(profile="quick")
    s.table("dropout").cells         # Table 4: one line a cell: accuracy, interval, AUC, TPR at low FPR
    s.performance("dropout")         # the Audited Models of its columns: verification, identification
    s.claims("dropout")              # what the paper says of it, decided by intervals

Everything expensive is an artifact: asked for twice, made once.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mint_utils import workers
from mint_utils.audited.train import AuditedModel, check_network, default_device
from mint_utils.config import Audited, Config, resolve
from mint_utils.measure.bootstrap import Decided, interval
from mint_utils.report import paper
from mint_utils.study import scenarios
from mint_utils.study.audit import Audit, Scores
from mint_utils.study.claims import CLAIMS, VERIFICATION, Term, decide
from mint_utils.study.folder import Folder
from mint_utils.study.parameters import refuse_unknown, run_cells, shared
from mint_utils.study.results import FEW, MintTable, values
from mint_utils.study.scenarios import Column


def open_study(profile: str = "quick", data: str | None = None, **overrides: Any) -> "Study":
    """Open the study on a profile, with parameters overridden by their flat names.

    Inside a notebook the parameters that every one takes (`parameters.SHARED`) need not be passed: they are
    found where papermill injected them, or in the cell of parameters. An injected parameter that is none of
    the notebook's is refused, where papermill itself would only log it and run on the defaults.

    Raises:
        ParameterError: An unknown profile, parameter or network, a wrong type, or a value out of range.
    """
    refuse_unknown(cells := run_cells())
    workers.keep_memory()
    return Study(resolve(profile, data, **(shared(cells) | overrides)))


class Study:
    """One configuration and all that can be asked of it.

    Attributes:
        audit: Its models and their MINT Models.
        images: What they are trained and evaluated on.
        quality: How well the Audited Models verify and identify.
        figures: The folder of the results.
    """

    def __init__(self, config: Config):
        if config.brought.case is None:  # else it may be a file or a function, see `casefiles`
            check_network(config.audited.network)
        self.config, self.audit, self._folder = config, Audit(config), Folder(config)
        self.images, self.quality = self.audit.images, self.audit.quality
        self.figures = self._folder.path
        self.save_table, self.save_lines = self._folder.save_table, self._folder.save_lines
        self.save_text, self.save_figure = self._folder.save_text, self._folder.save_figure
        self._ready: set[str] = set()  # scenarios of which everything is made

    # ---- Audited Models -----------------------------------------------------------------------

    def columns(self, scenario: str) -> list[Column]:
        """Return the columns of a scenario's table."""
        return scenarios.columns(self.config, scenario)

    def audited(self, scenario: str, model: str) -> list[AuditedModel]:
        """Return the trainings of an Audited Model, one a seed, made now where they are missing.

        ``model`` is its name in the table of the scenario, as `performance` lists it.
        """
        column = next(c for c in self.columns(scenario) if c.model == model)
        self.prepare_all([scenario])
        return self.audit.trained(scenario, column).models

    def prepare_all(self, names: Sequence[str], jobs: int | None = None) -> None:
        """Make everything expensive that the tables of scenarios need, the longest first.

        On a CPU this runs in as many processes as there are cores, on a GPU in one, unless ``jobs`` is given.
        """
        names = [name for name in names if name not in self._ready]
        needed = {r: kinds for r, (_, kinds) in scenarios.needed(self.config, names).items()}
        untrained = [recipe for recipe in needed if not self.audit.is_trained(recipe)]
        exposures = {recipe: self.images.exposures(recipe) for recipe in untrained}
        # The images are prepared and compared once, before anybody asks for them in parallel.
        self.images.roles()
        self.images.contamination()
        order = sorted(needed, key=lambda recipe: -exposures.get(recipe, -1))
        jobs = jobs or (workers.cores() if default_device().type == "cpu" else 1)
        if min(jobs, len(exposures)) <= 1:
            for recipe in order:
                self.audit.prepare(recipe, needed[recipe])
        else:
            tasks = [(self.config, recipe, tuple(sorted(needed[recipe]))) for recipe in order]
            total = sum(exposures.values())
            list(workers.side_by_side(_prepare, tasks, jobs, total, "exposures"))
        # Which trainings replace failed ones is known only once the others are there.
        for name in names:
            for column in self.columns(name):
                for model in self.audit.trained(name, column).models:
                    if model.recipe not in needed and column.kind:
                        self.audit.prepare(model.recipe, [column.kind])
        self._ready.update(names)

    def performance(self, scenario: str) -> pd.DataFrame:
        """Return how good the Audited Models of a scenario are, one line each.

        ``verification`` with ``low`` and ``high``: mean 10-fold accuracy over the databases, and its 95%
        interval over pairs and trainings. ``paper``: the paper's. ``members``, ``held-out``: share whose
        nearest class centre is their own; ``gap`` is the difference, M's generalisation gap. ``failed``: how
        many trainings failed; where one of them had to be kept there is no interval (`Audit.trained`).
        """
        self.prepare_all([scenario])
        lines = []
        for column in scenarios.models(self.config, scenario):
            found = self.audit.trained(scenario, column)
            models = found.models
            value, low, high = interval(self.quality.decided(models), self.config.mint.replicates)
            if found.holds_failed and len(models) <= FEW:
                low = high = np.nan
            shown = self.images.plan(column.recipe).images > 0
            right = np.mean([self.quality.identified(model) for model in models], axis=0)
            members, others = np.nanmean(right[shown]), np.nanmean(right[~shown])
            line = {
                "model": column.model,
                "verification": value,
                "low": low,
                "high": high,
                "paper": Term(1, scenario, column.name, VERIFICATION).printed,
                "members": members,
                "held-out": others,
                "gap": members - others,
                "failed": found.failed,
            }
            if np.isnan(low):
                line["each"] = values([self.quality.mean(model) for model in models])
            lines.append(line)
        return pd.DataFrame(lines)

    # ---- MINT Models --------------------------------------------------------------------------

    @functools.cache  # noqa: B019  (a study lives as long as its notebook)
    def table(self, scenario: str) -> MintTable:
        """Return the MINT Models' scores for all columns of a scenario, made now where they are missing."""
        self.prepare_all([scenario])
        columns = {column.name: column for column in self.columns(scenario)}
        return MintTable.read(
            self.audit, scenario, columns, lambda m, column: self._scores(m.recipe, column.kind)
        )

    @functools.cache  # noqa: B019  (a study lives as long as its notebook)
    def _scores(self, recipe: Audited, kind: str) -> Scores:
        return self.audit.scores(self.audit.model(recipe), kind)

    def printed_cells(self, scenario: str) -> pd.DataFrame:
        """Return the cells of a scenario's table that the paper prints too, beside its numbers."""
        number = scenarios.TABLES[scenario]
        table = self.table(scenario)
        wanted = [name for name in paper.TABLES[number] if name in table.chosen]
        return table.only(wanted or table.chosen).beside_paper(number)

    def by_exposures(self) -> pd.DataFrame:
        """Return the cells of Scenario 1 with the exposures of their images in the whole training.

        Returns:
            Cells with the columns ``x`` (exposures), ``part`` and ``model`` besides.
        """
        cells, groups = self.table("frequency").beside_paper(table=2), self.images.groups("parts")
        lines = []
        for column in self.columns("frequency"):
            plan = self.images.plan(column.recipe)
            times = int(plan.images[groups[column.group]].max()) * plan.epochs
            lines.append((column.name, times, column.group, column.model))
        shown = pd.DataFrame(lines, columns=["column", "x", "part", "model"])
        return cells.merge(shown, how="left", on="column")

    def claims(self, *names: str) -> pd.DataFrame:
        """Return the paper's claims that need these scenarios and no others, decided."""
        wanted = [claim for claim in CLAIMS if claim.scenarios <= set(names)]
        return decide(wanted, self._cell, self.config.mint.replicates)

    def _cell(self, term: Term, protocol: str) -> list[tuple[float, Decided]] | None:
        column = next((c for c in self.columns(term.scenario) if c.name == term.column), None)
        if column is None:
            return None
        if term.row == VERIFICATION:
            trained = self.audit.trained(term.scenario, column)
            return self.quality.decided(trained.models, trained.holds_failed)
        return [(1.0, self.table(term.scenario).decided(term.column, protocol, term.row))]

    def finish(self, notebook: str) -> None:
        """Record that a notebook came to its end: what it wrote, from what, on what, how long it took.

        Without this entry in ``record.json`` a run of the notebook does not count as complete.
        """
        besides = {}
        if self.config.brought.case is None:  # otherwise none of the study's images were used
            found = self.images.contamination()["database"]
            external = [db.name for db in self.images.audited[1:]]
            besides["contamination"] = {name: int((found == name).sum()) for name in external}
        self._folder.finish(notebook, self.audit.seconds, besides)


def _prepare(task: tuple[Config, Audited, tuple[str, ...]]) -> None:
    """Make what tables need of one Audited Model, in a worker process."""
    config, recipe, kinds = task
    Audit(config).prepare(recipe, kinds)
