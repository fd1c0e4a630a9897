"""The folder ``figures/<profile>`` that notebooks write tables, figures and their ``record.json`` to."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from mint_utils import paths, store
from mint_utils.config import Config
from mint_utils.errors import DataError
from mint_utils.report import style, tables

# Profiles of real faces whose results are committed below figures/, the first that has one is shown.
REAL = ("faces", "faces_small", "faces_distributed")
# Lines of a table without cells that is shown whole; a longer one is left to its figure.
LONGEST = 15
TITLES = {  # of tables whose file has a name that is no title
    "cnn_mint": "Vanilla MINT and CNN MINT",
    "people_claims": "What the table of persons says",
    "people_images": "Detection by the training images of a person",
    "case_truth": "An audit of one's own: estimated, and true",
    "case_cells": "Known members and non-members, by what is read",
}
WIDTH = 720  # pixels of such a figure in a notebook


class Folder:
    """The folder of one configuration's results, with a list of the files that this notebook wrote."""

    def __init__(self, config: Config):
        self.config, name = config, config.profile
        if not config.is_reference:  # results of changed parameters never overwrite the profile's
            name += "-" + store.digest(config.results())[:8]
        self.path = paths.figures() / name
        self._written: list[Path] = []

    def save_table(self, cells: pd.DataFrame, name: str, caption: str) -> None:
        """Write a table as csv, md and tex to the figures folder."""
        self._written += tables.write(cells, self.path, name, caption)

    def save_lines(self, lines: pd.DataFrame, name: str) -> None:
        """Write any other data frame as csv to the figures folder, numbers to four decimals."""
        self._write(f"{name}.csv", lines.to_csv(index=False, float_format="%.4f"))

    def save_text(self, text: str, name: str) -> None:
        """Write a text (Markdown) to the figures folder; what ends in ``_answer`` is shown after a run."""
        self._write(f"{name}.md", f"{text}\n")

    def save_figure(self, figure: Figure, name: str) -> Figure:
        """Write a figure as png and pdf to the figures folder, and return it to be shown."""
        self._written += style.save(figure, self.path, name)
        return figure

    def finish(self, notebook: str, seconds: dict[str, float], besides: dict[str, Any]) -> None:
        """Record that a notebook came to its end: what it wrote, from what, on what, how long it took.

        ``seconds`` holds the duration by artifact, and ``besides`` further entries of the record.
        """
        path = self.path / "record.json"
        self.path.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(".record.lock")):  # notebooks may end at the same moment
            record = json.loads(path.read_text()) if path.exists() else {}
            if record.get("config") != self.config.results():
                record = {"config": self.config.results(), "notebooks": {}}
            record["notebooks"][notebook] = {
                "files": sorted({p.name for p in self._written}),
                "seconds": seconds,
                "provenance": store.provenance(),
            }
            store.write_text(path, json.dumps(record | besides, indent=1, sort_keys=True) + "\n")

    def _write(self, file: str, text: str) -> None:
        self._written.append(self.path / file)
        self.path.mkdir(parents=True, exist_ok=True)
        store.write_text(self._written[-1], text)


def on_real_faces(*names: str) -> None:
    """Display committed tables and figures of real faces; no image of a face is read.

    Names are stems of files of ``figures/<profile>``, of the first profile of `REAL` that has the file.
    """
    # Imported here: where models are trained there may be no notebooks.
    from IPython.display import Image, display

    described = None  # the folder whose record was displayed last
    for name in names:
        folders = (paths.ROOT / "figures" / profile for profile in REAL)
        folder = next((one for one in folders if list(one.glob(f"{name}.*"))), None)
        if folder is None:
            display(tables.say(f"No run on real faces has left `{name}` in figures/ yet."))
            continue
        if folder != described:
            display(tables.say(_recorded(folder)))
            described = folder
        if (lines := folder / f"{name}.csv").exists() and (table := _shown(lines)) is not None:
            display(table)
        if (picture := folder / f"{name}.png").exists():
            display(Image(picture.read_bytes(), width=WIDTH, alt=f"{name}, on real faces"))


def _recorded(folder: Path) -> str:
    """Return a sentence about the run that a folder of tables and figures comes from."""
    record = json.loads((folder / "record.json").read_text())
    config = record["config"]
    return (
        f"Real faces (profile `{folder.name}`): trained on {config['databases']['training']}, "
        f"network {config['audited']['network']}, {config['databases']['image_size']} px, recorded in "
        f"`figures/{folder.name}/record.json`. {record.get('note', '')}"
    )


def _shown(path: Path) -> Styler | None:
    """Return a table that was written as csv: cells as the notebooks show them, other lines as they are."""
    title = re.sub(r"(\d)", r" \1", path.stem, count=1).replace("_", " ").capitalize()
    title = TITLES.get(path.stem, title)
    try:
        cells = tables.read(path.parent, path.stem)
    except DataError:  # lines of another kind
        measures = {column: heading for heading, (column, _) in tables.DETECTION.items()}
        lines = pd.read_csv(path).rename(columns=measures).convert_dtypes()
        return tables.show(lines, f"{title}, on real faces") if len(lines) <= LONGEST else None
    return tables.show(tables.side_by_side(cells), f"{title}, on real faces")
