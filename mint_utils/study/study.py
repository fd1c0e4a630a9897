"""The front door: what a notebook asks for, in the words of the paper.

    s = study.open_study(profile="quick")
    s.table("dropout").cells         # Table 4: one line a cell: accuracy, interval, AUC, TPR at low FPR
    s.performance("dropout")         # the Audited Models of its columns: verification, identification
    s.claims("dropout")              # what the paper says of it, decided by intervals

Everything expensive is an artifact: asked for twice, made once.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from mint_utils import paths, store, workers
from mint_utils.audited.train import AuditedModel, default_device
from mint_utils.config import Audited, Config, resolve
from mint_utils.data.contamination import NEAR
from mint_utils.data.description import manifests, read_manifest
from mint_utils.data.identities import persons
from mint_utils.errors import DataError
from mint_utils.measure.bootstrap import Decided, interval
from mint_utils.measure.detection import FAILED, ONCE
from mint_utils.measure.verification import of_pairs
from mint_utils.mint.likeness import STRANGERS, TWO_PHOTOGRAPHS
from mint_utils.report import paper, style, tables
from mint_utils.study import scenarios
from mint_utils.study.audit import KINDS, Audit
from mint_utils.study.claims import CLAIMS, VERIFICATION, Term, decide
from mint_utils.study.parameters import refuse_unknown, run_cells, shared
from mint_utils.study.results import FEW, MintTable, values
from mint_utils.study.scenarios import Column

# Profiles of real faces whose results are committed below figures/, the first that has one is shown.
REAL = ("faces", "faces_small", "faces_distributed")
# Lines of a table without cells that is shown whole; a longer one is left to its figure.
LONGEST = 15
WIDTH = 720  # pixels of such a figure in a notebook


def open_study(profile: str = "quick", data: str | None = None, **overrides: Any) -> "Study":
    """Open the study on a profile, with parameters overridden by their flat names.

    Inside a notebook the parameters that every one takes (`parameters.SHARED`) need not be passed: they are
    found where papermill injected them, or in the cell of parameters. An injected parameter that is none of
    the notebook's is refused, where papermill itself would only log it and run on the defaults.

    Raises:
        ParameterError: An unknown profile or parameter, a wrong type, or a value out of range.
    """
    refuse_unknown(cells := run_cells())
    workers.keep_memory()
    return Study(resolve(profile, data, **(shared(cells) | overrides)))


def on_real_faces(*names: str) -> None:
    """Display committed tables and figures of real faces; no image of a face is read.

    Args:
        names: Stems of files of ``figures/<profile>``, of the first profile of `REAL` that has it.
    """
    from IPython.display import (
        Image,
        display,
    )  # here: where models are trained there may be no notebooks

    said = None
    for name in names:
        folders = (paths.ROOT / "figures" / profile for profile in REAL)
        folder = next((one for one in folders if list(one.glob(f"{name}.*"))), None)
        if folder is None:
            display(tables.say(f"No run on real faces has left `{name}` in figures/ yet."))
            continue
        if folder != said:
            display(tables.say(_recorded(folder)))
            said = folder
        if (lines := folder / f"{name}.csv").exists() and (table := _shown(lines)) is not None:
            display(table)
        if (picture := folder / f"{name}.png").exists():
            display(Image(picture.read_bytes(), width=WIDTH, alt=f"{name}, on real faces"))


def _recorded(folder: Path) -> str:
    """Return in a sentence what a folder of tables and figures was made of."""
    record = json.loads((folder / "record.json").read_text())
    config = record["config"]
    return (
        f"Real faces (profile `{folder.name}`): trained on {config['databases']['training']}, "
        f"network {config['audited']['network']}, {config['databases']['image_size']} px; "
        f"{config['scenarios']['audited_seeds']} trainings of M, "
        f"recorded in `figures/{folder.name}/record.json`."
    )


def _shown(path: Path) -> Styler | None:
    """Return a table that was written as csv: cells as the notebooks show them, other lines as they are."""
    title = path.stem.replace("_", " ").capitalize()
    try:
        cells = tables.read(path.parent, path.stem)
    except DataError:  # lines of another kind
        lines = pd.read_csv(path)
        return tables.show(lines, f"{title}, on real faces") if len(lines) <= LONGEST else None
    return tables.show(tables.side_by_side(cells), f"{title}, on real faces")


class Study(Audit):
    """One configuration and all that can be asked of it."""

    def __init__(self, config: Config):
        super().__init__(config)
        name = config.profile
        if not config.is_reference:  # results of changed parameters never overwrite the profile's
            name += "-" + store.digest(config.results())[:8]
        self.figures = paths.figures() / name
        self._written: list[Path] = []
        self._tables: dict[str, MintTable] = {}
        self._ready: dict[Audited, set[str]] = {}  # what is known to be made

    # ---- databases ----------------------------------------------------------------------------

    @property
    def embedded(self) -> bool:
        """Whether D was drawn by the package: only such faces may be shown."""
        return read_manifest(self.config.databases.training)["layout"] == "embedded"

    def samples(self, n: int) -> dict[str, np.ndarray]:
        """Return the first n images of each database, by its role and name: (n, S, S, 3) uint8."""
        roles = self.roles().set_index("database")["role"]
        return {
            f"{roles[db.name]} ({db.name})": db.images[:n]
            for db in (self.training, *self.external_train, self.external_eval)
        }

    def roles(self) -> pd.DataFrame:
        """Return one line a database: its role, images, identities, licence."""
        roles = self.config.databases
        named = [(roles.training, "Training Dataset D")]
        named += [(name, "external, T's training") for name in roles.external_train]
        named += [(roles.external_eval, "external, T's evaluation")]
        named += [(name, "verification pairs") for name in roles.verification]
        lines = []
        for name, role in named:
            db, manifest = self.database(name), read_manifest(name)
            known = db.identities[db.identities >= 0]
            lines.append(
                {
                    "database": name,
                    "role": role,
                    "images": len(db),
                    "identities": len(np.unique(known)) if len(known) else None,
                    "what it is": manifest["title"],
                    "licence": manifest["licence"],
                }
            )
        return pd.DataFrame(lines).astype({"identities": "Int64"})

    def catalogue(self) -> pd.DataFrame:
        """Return one line a manifest, of this profile or not: role, counts, licence, how it is obtained.

        ``at hand``: the package draws it, or its files are in the folder of the databases.
        """
        data, lines = self.config.data, []
        for name in manifests():
            manifest = read_manifest(name)
            counts = manifest.get("published", {}) | manifest
            drawn = "path" not in manifest
            at_hand = drawn or (data is not None and Path(data, manifest["path"]).exists())
            lines.append(
                {
                    "database": name,
                    "role": manifest.get("role"),
                    "images": counts.get("images"),
                    "identities": counts.get("identities"),
                    "licence": manifest["licence"].strip(),
                    "how obtained": manifest.get("obtained", "").strip(),
                    "at hand": "yes" if at_hand else "no",
                }
            )
        return pd.DataFrame(lines).astype({"images": "Int64", "identities": "Int64"})

    def compared(self) -> str:
        """Return in words how databases were compared, and from which cosine on faces are taken for alike."""
        told = f"Compared by perceptual hash: copies differ in at most {NEAR} of 256 bits. "
        if self.likeness is None:
            return (
                f"{told}Not compared by embedding: the profile names no recognition weights "
                "(`recognition` in its section databases, a file below the folder of the databases)."
            )
        return (
            f"{told}Compared by embedding ({self.config.databases.recognition}): images are copies from a "
            f"cosine of {self.copies_from:.3f} on, which at most {TWO_PHOTOGRAPHS:.1%} of the verification "
            f"pairs of one person reach, and at most {STRANGERS:.0%} of the images of D with somebody else's."
        )

    # ---- exposures ----------------------------------------------------------------------------

    def exposure_plans(self) -> dict[str, pd.DataFrame]:
        """Return how often each part of D is shown in an epoch, in the baseline and in Scenario 1.

        Model -> one line a part: part, images, times.
        """
        groups = self.groups("parts")
        groups.pop(scenarios.NEVER)
        found = {}
        for column in self._figure_3():
            times = self.plan(column.recipe).images
            lines = [
                (name, int(mask.sum()), int(times[mask].max())) for name, mask in groups.items()
            ]
            if len({line[2] for line in lines}) == 1:
                lines = [("members", sum(line[1] for line in lines), lines[0][2])]
            lines.append(("held out", int((times == 0).sum()), 0))
            found[column.model] = pd.DataFrame(lines, columns=["part", "images", "times"])
        return found

    def first_batches(self, n: int) -> dict[str, np.ndarray]:
        """Return which part each image of the first n batches is of: model -> (n, size) int."""
        plans, found = self.exposure_plans(), {}
        for column in self._figure_3():
            parts = np.zeros(len(self.training), int)
            if len(plans[column.model]) > 2:
                for i, mask in enumerate(list(self.groups("parts").values())[:-1]):
                    parts[mask] = i
            batches = self.plan(column.recipe).batches(0)[:n]
            found[column.model] = np.stack([parts[b[: min(map(len, batches))]] for b in batches])
        return found

    def _figure_3(self) -> list[Column]:
        augmented, baseline, _ = self._first_columns("frequency")
        return [baseline, augmented]

    def _first_columns(self, scenario: str) -> list[Column]:
        """Return one column for each Audited Model of a scenario, in order."""
        return list({c.model: c for c in reversed(self.columns(scenario))}.values())[::-1]

    # ---- Audited Models -----------------------------------------------------------------------

    def columns(self, scenario: str) -> list[Column]:
        """Return the columns of a scenario's table."""
        return scenarios.columns(self.config, scenario)

    def audited(self, scenario: str, model: str) -> list[AuditedModel]:
        """Return the trainings of an Audited Model, one a seed, made now where they are missing.

        Args:
            scenario: Of which table.
            model: Its name there, as `performance` lists it.
        """
        column = next(c for c in self.columns(scenario) if c.model == model)
        self.prepare_all([scenario])
        return self.trained(scenario, column).models

    def needed(self, names: Sequence[str]) -> dict[Audited, tuple[str, set[str]]]:
        """Return the recipes that scenarios need: recipe -> (a name to tell, the kinds of groups)."""
        found: dict[Audited, tuple[str, set[str]]] = {}
        for name in names:
            for column in self.columns(name):
                for recipe in scenarios.recipes(self.config, name, column):
                    title = f"{column.model}, seed {recipe.seed}"
                    kinds = found.setdefault(recipe, (title, set()))[1]
                    if column.group is not None:
                        kinds.add(KINDS[column.group != "members"])
        return found

    def exposures(self, recipe: Audited) -> int:
        """Return how many exposures a training takes in all."""
        exposures = self.plan(recipe)
        return int(exposures.images.sum()) * exposures.epochs

    def prepare_all(
        self,
        names: Sequence[str],
        jobs: int | None = None,
        done: Callable[[str], None] = lambda title: None,
    ) -> None:
        """Make everything expensive that tables need, side by side on a CPU, the longest first.

        Args:
            names: Scenarios.
            jobs: Processes; None: as many as there are cores, on a GPU one.
            done: Called with the name of each Audited Model when all that is needed of it is there.
        """
        needed = {
            recipe: (title, kinds)
            for recipe, (title, kinds) in self.needed(names).items()
            if recipe not in self._ready or not kinds <= self._ready[recipe]
        }
        missing = [recipe for recipe in needed if not self.is_trained(recipe)]
        jobs = jobs or (workers.cores() if default_device().type == "cpu" else 1)
        # The images are prepared and compared once, before anybody asks for them in parallel.
        self.roles()
        self.contamination()
        order = sorted(needed, key=lambda r: -self.exposures(r) if r in missing else 1)
        for recipe in self._made(order, needed, missing, jobs):
            title, kinds = needed[recipe]
            self._ready.setdefault(recipe, set()).update(kinds)
            done(title)
        self._again(names)

    def _again(self, names: Sequence[str]) -> None:
        """Make what tables need of trainings that stand in for failed ones."""
        for name in names:
            for column in self.columns(name):
                for model in self.trained(name, column).models:
                    if model.recipe not in self._ready and column.group is not None:
                        self.prepare(model.recipe, [KINDS[column.group != "members"]])

    def _made(
        self,
        order: Sequence[Audited],
        needed: Mapping[Audited, tuple[str, set[str]]],
        missing: Sequence[Audited],
        jobs: int,
    ) -> Iterator[Audited]:
        if min(jobs, len(missing)) <= 1:
            for recipe in order:
                self.prepare(recipe, needed[recipe][1])
                yield recipe
            return
        tasks = [(self.config, recipe, tuple(sorted(needed[recipe][1]))) for recipe in order]
        total = sum(self.exposures(recipe) for recipe in missing)
        for task, _ in workers.side_by_side(_prepare, tasks, jobs, total, "exposures"):
            yield task[1]

    def performance(self, scenario: str) -> pd.DataFrame:
        """Return how good the Audited Models of a scenario are, one line each.

        ``verification`` with ``low`` and ``high``: mean 10-fold accuracy over the databases, and its 95%
        interval over pairs and trainings. ``paper``: the paper's. ``members``, ``held-out``: share whose
        nearest class centre is their own; ``gap`` is the difference, M's generalisation gap. ``failed``: how
        many trainings failed; where one of them had to be kept there is no interval (`Audit.trained`).
        """
        self.prepare_all([scenario])
        lines = []
        for column in self._first_columns(scenario):
            found = self.trained(scenario, column)
            models = found.models
            value, low, high = interval(self._verified(models), self.config.mint.replicates)
            if found.holds_failed and len(models) <= FEW:
                low = high = np.nan
            shown = self.plan(column.recipe).images > 0
            right = np.mean([self.identified(model) for model in models], axis=0)
            term = Term(1, scenario, column.name, VERIFICATION)
            line = {
                "model": column.model,
                "verification": value,
                "low": low,
                "high": high,
                "paper": term.printed,
                "members": np.nanmean(right[shown]),
                "held-out": np.nanmean(right[~shown]),
            }
            line |= {"gap": line["members"] - line["held-out"], "failed": found.failed}
            if np.isnan(low):
                line["each"] = values([self._quality(model) for model in models])
            lines.append(line)
        return pd.DataFrame(lines)

    def verification(self, models: Sequence[AuditedModel]) -> pd.DataFrame:
        """Return the 10-fold verification accuracy of trainings of M, one line a database, then the mean."""
        found = [self.verified(model) for model in models]
        lines = [
            {"database": name, "pairs": len(found[0][name]),
             "accuracy": np.mean([one[name].mean() for one in found])}
            for name in found[0]
        ]  # fmt: skip
        mean = np.mean([line["accuracy"] for line in lines])
        return pd.DataFrame([*lines, {"database": "mean", "accuracy": mean}]).astype(
            {"pairs": "Int64"}
        )

    def identification(self, models: Sequence[AuditedModel], kind: str = "members") -> pd.DataFrame:
        """Return how often the nearest class centre is the right one, for groups and held-out images.

        The difference is M's generalisation gap: what it knows of its members beyond the people.
        """
        right = np.mean([self.identified(model) for model in models], axis=0)
        exposures = models[0].ledger["exposures"].to_numpy()
        groups = self.groups(kind)
        groups.pop(scenarios.NEVER, None)
        lines = [
            {
                "images": name,
                "n": int((mask & ~np.isnan(right)).sum()),
                "exposures": int(exposures[mask].max()),
                "identified": float(np.nanmean(right[mask])),
            }
            for name, mask in (groups | {"held-out": exposures == 0}).items()
        ]
        return pd.DataFrame(lines)

    def _verified(
        self, models: Sequence[AuditedModel], failed: bool = False
    ) -> list[tuple[float, Decided]]:
        """Return what was decided on each verification set, with its weight; pairs share people."""
        found, parts = [self.verified(model) for model in models], []
        reservation = FAILED if failed else ONCE if len(models) == 1 else ""
        for pairs in self.verification_sets:
            right = np.stack([one[pairs.name] for one in found])
            people = np.char.add(f"{pairs.name}/", of_pairs(persons(pairs)).astype(str))
            decided = Decided(np.ones(len(people), bool), right, people, reservation)
            parts.append((1 / len(found[0]), decided))
        return parts

    # ---- MINT Models --------------------------------------------------------------------------

    def table(self, scenario: str) -> MintTable:
        """Return the MINT Models' scores for all columns of a scenario, made now where they are missing."""
        if scenario not in self._tables:
            self.prepare_all([scenario])
            found, failed = {}, set()
            for column in self.columns(scenario):
                kind = KINDS[column.group != "members"]
                trained = self.trained(scenario, column)
                scores = [self._scores(model.recipe, kind) for model in trained.models]
                found[column.name] = scores, column.group
                failed |= {column.name} if trained.holds_failed else set()
            self._tables[scenario] = MintTable.of(found, self.config.mint.replicates, failed)
        return self._tables[scenario]

    @functools.cache  # noqa: B019  (a study lives as long as its notebook)
    def _scores(self, recipe: Audited, kind: str):
        return self.scores(self.model(recipe), kind)

    def printed_cells(self, scenario: str) -> pd.DataFrame:
        """Return the cells of a scenario's table that the paper prints too, beside its numbers."""
        number = scenarios.TABLES[scenario]
        table = self.table(scenario)
        wanted = [name for name in paper.TABLES[number] if name in table.chosen]
        return table.only(wanted or table.chosen).beside_paper(number)

    def by_exposures(self, row: str | None = None) -> pd.DataFrame:
        """Return the cells of Scenario 1 with the exposures of their images in the whole training.

        Args:
            row: One row of the table; None: all.

        Returns:
            Cells with the columns ``x`` (exposures), ``part`` and ``model`` besides.
        """
        cells = self.table("frequency").beside_paper(table=2)
        told = {}
        for column in self.columns("frequency"):
            plan = self.plan(column.recipe)
            times = plan.images[self.groups("parts")[column.group]].max() * plan.epochs
            told[column.name] = (int(times), column.group, column.model)
        for i, name in enumerate(("x", "part", "model")):
            cells[name] = [told[column][i] for column in cells["column"]]
        return cells if row is None else cells[cells["row"] == row]

    def claims(self, *names: str) -> pd.DataFrame:
        """Return the paper's claims that need these scenarios and no others, decided."""
        wanted = [claim for claim in CLAIMS if claim.scenarios <= set(names)]
        return decide(wanted, self._cell, self.config.mint.replicates)

    def _cell(self, term: Term, protocol: str) -> list[tuple[float, Decided]] | None:
        column = next((c for c in self.columns(term.scenario) if c.name == term.column), None)
        if column is None:
            return None
        if term.row == VERIFICATION:
            trained = self.trained(term.scenario, column)
            return self._verified(trained.models, trained.holds_failed)
        return [(1.0, self.table(term.scenario).decided(term.column, protocol, term.row))]

    # ---- results ------------------------------------------------------------------------------

    def save_table(self, cells: pd.DataFrame, name: str, caption: str) -> None:
        """Write a table as csv, md and tex to the figures folder."""
        self._written += tables.write(cells, self.figures, name, caption)

    def save_lines(self, lines: pd.DataFrame, name: str) -> None:
        """Write any other data frame as csv to the figures folder, numbers to four decimals."""
        self._write(f"{name}.csv", lines.to_csv(index=False, float_format="%.4f"))

    def save_text(self, text: str, name: str) -> None:
        """Write a text (Markdown) to the figures folder; what ends in ``_answer`` is shown after a run."""
        self._write(f"{name}.md", f"{text}\n")

    def _write(self, file: str, text: str) -> None:
        self._written.append(self.figures / file)
        self.figures.mkdir(parents=True, exist_ok=True)
        store.write_text(self._written[-1], text)

    def save_figure(self, figure: Figure, name: str) -> Figure:
        """Write a figure as png and pdf to the figures folder, and return it to be shown."""
        self._written += style.save(figure, self.figures, name)
        return figure

    def finish(self, notebook: str) -> None:
        """Record that a notebook came to its end: what it wrote, from what, on what, how long it took.

        Without this entry in ``record.json`` a run of the notebook does not count as complete.
        """
        path = self.figures / "record.json"
        self.figures.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(".record.lock")):  # notebooks may end at the same moment
            record = json.loads(path.read_text()) if path.exists() else {}
            if record.get("config") != self.config.results():
                record = {"config": self.config.results(), "notebooks": {}}
            if self.config.brought.case is None:  # otherwise none of the study's images were used
                roles, found = self.config.databases, self.contamination()["database"]
                external = (*roles.external_train, roles.external_eval)
                record["contamination"] = {name: int((found == name).sum()) for name in external}
                record["compared_by_embedding"] = self._by_embedding()
            record["notebooks"][notebook] = {
                "files": sorted({p.name for p in self._written}),
                "seconds": self._stages,
                "provenance": store.provenance(),
            }
            store.write_text(path, json.dumps(record, indent=1, sort_keys=True) + "\n")

    def _by_embedding(self) -> dict[str, Any] | str:
        """Return what the record says of the comparison by embedding."""
        if self.likeness is None:
            return "no: the profile names no recognition weights"
        found, roles = self.contamination(), self.config.databases
        alike = found[found["cosine"].notna()]["database"]
        external = (*roles.external_train, roles.external_eval)
        return {
            "weights": self.likeness.sha256,
            "cosine": self.copies_from,
            "images": {name: int((alike == name).sum()) for name in external},
        }


def _prepare(task: tuple[Config, Audited, tuple[str, ...]]) -> None:
    """Make what tables need of one Audited Model; of a worker."""
    config, recipe, kinds = task
    Audit(config).prepare(recipe, kinds)
