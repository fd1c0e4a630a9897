"""From cells (data frames with the columns ``CELLS``, one line for each cell) to printed and written tables.

The files of a table are ``<name>.csv`` (the cells, four decimals), ``<name>.md`` and ``<name>.tex`` (the
table as printed).
"""

import functools
import hashlib
import html
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from mint_utils import store
from mint_utils.config import PROTOCOL_NAMES, PROTOCOLS, ROWS
from mint_utils.errors import DataError, ParameterError

CELLS = (
    "row",
    "column",
    "protocol",
    "accuracy",
    "low",
    "high",
    "auc",
    "tpr_at_1pct_fpr",
    "tpr_at_01pct_fpr",
    "n",
    "paper",
)
EACH = "each"  # present only where a training failed: the results of all trainings instead of an interval
TEXTS = ("row", "column", "protocol")
MISSING = "–"
BOTH = "other / same database"  # two numbers in one column, under the protocols in turn
ROW_TITLE = "Auditable Data"  # the paper's heading of the rows
# Heading -> what it shows, decimals.
DETECTION = {
    "AUC": ("auc", 2),
    "TPR at 1% FPR": ("tpr_at_1pct_fpr", 3),
    "TPR at 0.1% FPR": ("tpr_at_01pct_fpr", 3),
}

# Borders in the colour of the text, and no other colour: the same in a light and a dark notebook.
HTML_STYLES = [
    {"selector": "", "props": "border-collapse: collapse; border: none; margin: 0.5em 0;"},
    {"selector": "caption", "props": "text-align: left; font-weight: bold; padding: 0.4em 0;"},
    {"selector": "th, td", "props": "padding: 0.25em 0.8em; border: none; text-align: left;"},
    {"selector": "td", "props": "font-variant-numeric: tabular-nums;"},
    {"selector": "thead", "props": "border-bottom: 1px solid currentColor;"},
    {"selector": "tbody", "props": "border-bottom: 1px solid currentColor;"},
]
SHORT = 20  # characters of a cell that is not broken into lines
LATEX_STYLES = [
    {"selector": "footnotesize", "props": ": "},
    {"selector": "setlength", "props": r":{\tabcolsep}{4pt}"},
]
LATEX_SPECIAL = {c: f"\\{c}" for c in "#$%&_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    MISSING: "--",
}


def table(cells: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Return accuracies with their intervals, "0.84 [0.82, 0.86]", rows x columns.

    Rows are in the paper's order, followed by rows that the paper does not have; columns are as they appear.
    """
    return _grid(cells, protocol, "accuracy", _interval)


def side_by_side(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's numbers beside ours under each protocol, as text.

    One column gives one line a row, with AUC and TPR under the protocols in turn. Several columns
    give a block of lines a row: the paper's numbers, then ours under each protocol.
    """
    protocols = _ordered(cells["protocol"], PROTOCOLS)
    names = [PROTOCOL_NAMES[protocol] for protocol in protocols]
    grids = {f"ours, {name}": table(cells, p) for name, p in zip(names, protocols, strict=True)}
    if "paper" in cells and cells["paper"].notna().any():
        grids = {"the paper": _grid(cells, "paper", "paper", _number)} | grids
    if len(cells["column"].unique()) > 1:
        return _blocks(grids)
    shown = pd.DataFrame({name: grid.iloc[:, 0] for name, grid in grids.items()})
    for title, (value, decimals) in DETECTION.items():
        say = functools.partial(_number, decimals=decimals)
        found = [_grid(cells, protocol, value, say).iloc[:, 0] for protocol in protocols]
        shown[f"{title}: {BOTH if len(names) > 1 else names[0]}"] = [
            " / ".join(numbers) for numbers in zip(*found, strict=True)
        ]
    return shown.reset_index()


def show(shown: pd.DataFrame, caption: str) -> Styler:
    """Return a table of text or numbers for a notebook, with the same HTML in every run.

    An index of plain numbers is not shown. The caption is one line of plain text.
    """
    caption = caption if len(shown) else f"{caption}: none"
    content = (caption + shown.to_csv()).encode()
    identifier = hashlib.sha256(content).hexdigest()[:8]  # pandas would draw it at random
    styler = shown.style.set_uuid(identifier).set_table_styles(HTML_STYLES)
    styler = styler.format(precision=3, thousands=",", na_rep=MISSING, escape="html")
    styler = styler.format_index(escape="html", axis=0).format_index(escape="html", axis=1)
    styler = styler.set_caption(html.escape(caption))
    short = [c for c in shown if shown[c].astype(str).str.len().max() <= SHORT]
    styler = styler.set_properties(subset=short, **{"white-space": "nowrap"})
    return styler.hide(axis="index") if isinstance(shown.index, pd.RangeIndex) else styler


def say(text: str) -> Any:
    """Return a text in Markdown, which a notebook shows as prose."""
    from IPython.display import Markdown  # here: a machine that only trains models may lack IPython

    return Markdown(text)


def write(cells: pd.DataFrame, folder: Path, name: str, caption: str) -> list[Path]:
    """Write a table as csv, md and tex, each whole or not at all, and return the three paths.

    Args:
        cells: Has the columns ``CELLS``; ``paper`` may be absent.
        folder: Is made where it is missing.
        name: Name of the files and of the LaTeX label ``tab:<name>``.
        caption: Plain text, no LaTeX.

    Raises:
        ParameterError: A column is missing, or a cell is there twice.
    """
    absent = [column for column in CELLS if column not in cells and column != "paper"]
    if absent:
        raise ParameterError(f"The cells of {name} lack {', '.join(absent)}: see tables.CELLS.")
    twice = cells.loc[cells.duplicated(list(TEXTS)), list(TEXTS)].to_numpy().tolist()
    if twice:
        raise ParameterError(f"The cells of {name} hold {twice[0]} twice: keep one of them.")
    ordered = cells.reindex(columns=[*CELLS, *([EACH] if EACH in cells else [])])
    shown = side_by_side(cells)
    texts = {
        "csv": ordered.to_csv(index=False, float_format="%.4f", lineterminator="\n"),
        "md": f"{caption}\n\n{shown.to_markdown(index=False, disable_numparse=True)}\n",
        "tex": _latex(shown, name, caption),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        store.write_text(path, text)
    return paths


def read(folder: Path, name: str) -> pd.DataFrame:
    """Return the cells that `write` wrote, to four decimals.

    Raises:
        DataError: The file is not there, or its columns are not those of cells.
    """
    path = folder / f"{name}.csv"
    if not path.exists():
        raise DataError(f"{path} is not there: run the notebook that writes {name}.")
    # Only an empty field is missing, and a column called 8 or NA is text.
    cells = pd.read_csv(
        path, dtype=dict.fromkeys(TEXTS, str), keep_default_na=False, na_values=[""]
    )
    if tuple(cells.columns) not in (CELLS, (*CELLS, EACH)):
        raise DataError(
            f"{path} has the columns {', '.join(cells.columns)}, not {', '.join(CELLS)}: "
            f"delete it and run the notebook that writes {name}."
        )
    return cells


def _grid(
    cells: pd.DataFrame, protocol: str, value: str, say: Callable[[pd.Series, str], str]
) -> pd.DataFrame:
    """Return rows x columns of text, for all rows that occur under any protocol."""
    rows, columns = _ordered(cells["row"], ROWS), list(dict.fromkeys(cells["column"]))
    lines = cells[cells["protocol"] == protocol].set_index(["row", "column"])
    texts = {key: say(line, value) for key, line in lines.iterrows() if pd.notna(line[value])}
    grid = [[texts.get((row, column), MISSING) for column in columns] for row in rows]
    return pd.DataFrame(grid, pd.Index(rows, name=ROW_TITLE), columns, dtype=str)


def _blocks(grids: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the lines of all grids row by row; only the first line of a row has its name."""
    lines = [
        {ROW_TITLE: "" if i else row, "Accuracy": name, **grid.loc[row]}
        for row in next(iter(grids.values())).index
        for i, (name, grid) in enumerate(grids.items())
    ]
    return pd.DataFrame(lines)


def _number(line: pd.Series, value: str, decimals: int = 2) -> str:
    return f"{line[value]:.{decimals}f}"


def _interval(line: pd.Series, value: str) -> str:
    if pd.isna(line["low"]) and isinstance(line.get(EACH), str):
        return line[EACH]
    low, high = (MISSING if pd.isna(line[end]) else f"{line[end]:.2f}" for end in ("low", "high"))
    return f"{line[value]:.2f} [{low}, {high}]"


def _ordered(values: Iterable[str], known: tuple[str, ...]) -> list[str]:
    """Return the distinct values: the known ones in their order, then the others."""
    present = list(dict.fromkeys(values))
    return [v for v in known if v in present] + [v for v in present if v not in known]


def _latex(shown: pd.DataFrame, name: str, caption: str) -> str:
    plain = shown.map(_escape)
    plain.columns = [_heading(column) for column in shown]
    first = plain.iloc[:, 0]
    if (first == "").any():  # some space above each block
        plain.isetitem(0, first.where(first.eq(""), r"\addlinespace " + first))
    styler = plain.style.hide(axis="index").set_table_styles(LATEX_STYLES)
    return styler.to_latex(
        hrules=True,
        column_format="l" * len(plain.columns),
        position="t",
        position_float="centering",
        caption=_escape(caption),
        label=f"tab:{name}",
    )


def _heading(column: str) -> str:
    """Return a LaTeX heading; it is broken into two lines at a colon, because one would be too wide."""
    first, colon, second = _escape(column).partition(": ")
    return rf"\shortstack[l]{{{first} \\ {second}}}" if colon else first


def _escape(text: str) -> str:
    return "".join(LATEX_SPECIAL.get(character, character) for character in text)
