"""The notebooks of a run: they are executed through papermill, and an index page links to them.

For each of them ``reports/<profile>/`` holds the executed notebook, its page, and a ``.done`` with the hash
of what it was made from.
"""

import functools
import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from mint_utils import paths, store, workers
from mint_utils.config import Config
from mint_utils.errors import StudyError
from mint_utils.report import tables
from mint_utils.study import casefiles, claims
from mint_utils.study.study import Study

ON_A_GPU = 2  # notebooks at once, for each of them takes memory of the GPU


def folder(study: Study) -> Path:
    """Return the folder of the executed notebooks and pages of a study, and make it where it is missing."""
    reports = paths.reports() / study.figures.name
    reports.mkdir(parents=True, exist_ok=True)
    return reports


def execute_all(
    config: Config, names: list[str], reports: Path, changes: dict[str, Any], jobs: int | None
) -> Iterator[str]:
    """Execute notebooks side by side and yield each name as it is done; the bar counts their cells."""
    longest_first = sorted(names, reverse=True)  # the later ones compute more by themselves
    tasks = [(config, name, reports, tuple(changes.items())) for name in longest_first]
    jobs = jobs or (ON_A_GPU if torch.cuda.is_available() else workers.cores())
    sources = [(paths.NOTEBOOKS / f"{name}.ipynb").read_text() for name in names]
    cells = sum(len(json.loads(source)["cells"]) for source in sources)
    for task, _ in workers.side_by_side(execute, tasks, min(jobs, len(names)), cells, "cells"):
        yield task[1]


def execute(task: tuple[Config, str, Path, tuple[tuple[str, Any], ...]]) -> None:
    """Execute one notebook and write its page, then its ``.done``.

    Args:
        task: The configuration, the notebook, the folder of reports, the parameters that were changed.

    Raises:
        StudyError: A cell failed; it says which.
    """
    import papermill  # here, because a machine that only makes models needs neither it nor nbconvert
    from traitlets.config import Config as Traits

    from mint_utils.report import page

    _register_counting_engine()
    # papermill warns of every parameter that a notebook does not list.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    config, name, reports, changes = task
    executed = reports / f"{name}.ipynb"
    given = {"profile": config.profile, "data": config.data} | dict(changes)
    with tempfile.TemporaryDirectory(prefix="mint-") as sockets:
        # With sockets in its own folder the kernel opens no port, and two kernels do not collide.
        kernel = {"transport": "ipc", "ip": f"{sockets}/kernel"}
        try:
            papermill.execute_notebook(
                str(paths.NOTEBOOKS / f"{name}.ipynb"),
                str(executed),
                parameters={key: value for key, value in given.items() if value is not None},
                engine_name="counting",
                progress_bar=False,
                cwd=str(paths.NOTEBOOKS),
                config=Traits({"KernelManager": kernel}),
                extra_arguments=["--log-level=CRITICAL"],  # an error of a cell is raised here
            )
        except papermill.PapermillExecutionError as error:
            raise StudyError(
                f"{name}, cell {error.exec_count}: {error.ename}: {error.evalue}"
            ) from error
    page.write_notebook_page(executed)
    store.write_text(reports / f"{name}.done", state(config, name))


def _register_counting_engine() -> None:
    """Register papermill's engine as ``counting``, with progress for each cell that is done."""
    from papermill.engines import NBClientEngine, papermill_engines

    class Counting(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, manager, *arguments, **options):
            complete = manager.cell_complete

            def count(*arguments, **options):
                workers.advance(1)
                return complete(*arguments, **options)

            manager.cell_complete = count
            return super().execute_managed_notebook(manager, *arguments, **options)

    papermill_engines.register("counting", Counting)


def state(config: Config, name: str | None = None) -> str:
    """Return a hash of what results depend on: the configuration, the package, the notebook if any."""
    sources = [*([paths.NOTEBOOKS / f"{name}.ipynb"] if name else []), *_package()]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources]
    brought = casefiles.fingerprint(config)
    return store.digest({"config": config.results(), "sources": hashes, "brought": brought})


@functools.cache
def _package() -> tuple[Path, ...]:
    return tuple(sorted((paths.ROOT / "mint_utils").rglob("*.py")))


def is_complete(study: Study, name: str, reports: Path) -> bool:
    """Return whether a notebook's results are all there and were made by the present code."""
    done, record = reports / f"{name}.done", study.figures / "record.json"
    if not (done.exists() and record.exists() and (reports / f"{name}.html").exists()):
        return False
    stored = json.loads(record.read_text())
    if stored["config"] != study.config.results() or done.read_text() != state(study.config, name):
        return False
    files = stored["notebooks"].get(name, {"files": ["nothing"]})["files"]
    return all((study.figures / file).exists() for file in files)


def close(study: Study, reports: Path) -> None:
    """Print the tables and write the index page."""
    from mint_utils.report import page  # here, see `execute`

    chapters = [(p.stem, page.heading(p)) for p in sorted(reports.glob("*.ipynb"))]
    shown = []
    for path in sorted(study.figures.glob("table?.csv")):  # the paper's, not the additional ones
        table = tables.side_by_side(tables.read(study.figures, path.stem))
        print(f"\n{path.stem}, profile {study.config.profile}\n{table.to_markdown(index=False)}")
        shown.append((f"Table {path.stem[-1]}", _html(table)))
    written = sorted(study.figures.glob("*_answer.md"))
    answers = [f"Audit of a network (08): {path.read_text().strip()}" for path in written]
    print(*(f"\n{answer}" for answer in answers))
    made = store.provenance()
    changes = "".join(f", {name} {value}" for name, value in study.config.changes().items())
    summary = (
        f"Profile {study.config.profile}{changes}; on {made['device']}, commit {made['commit']}."
    )
    summary = " ".join([summary, *answers]).replace("**", "")
    decided = study.figures / "claims.csv"
    claimed = _html(claims.shown(pd.read_csv(decided))) if decided.exists() else ""
    title = "What lets a MINT tell"
    index = page.write_index(reports, title, summary, study.figures, claimed, chapters, shown)
    print(f"\ntables and figures: {study.figures}\npage to open:       {index}")


def _html(table: pd.DataFrame) -> str:
    return table.to_html(index=False, border=0, na_rep=tables.MISSING)
