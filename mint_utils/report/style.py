"""How every figure of the study looks: sizes, colours, the style of a row and of a protocol.

A row of the paper's tables has the same colour, line style and marker everywhere (``STYLES``), a protocol
the same filling (``LOOKS``), and both are told apart in grey too.
"""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mint_utils.config import ROWS

WIDTH = 6.0  # inches
GREY = "#595959"
CHANCE = {"color": GREY, "linestyle": (0, (1, 1.5)), "linewidth": 1.2}
# What somebody else printed: a cross hides nothing below it, and no mark of ours is one.
PRINTED = {"marker": "x", "color": "black", "ms": 4.5, "mew": 1.3, "linestyle": ""}
LOOKS = {"paper": (0.4, None), "held_out": (0.0, "/////")}  # tint and hatch of a bar
OUTLINE = {"facecolor": "none", "edgecolor": "black", "linewidth": 1.2, "zorder": 3}
METADATA = {
    "png": {"Software": None},
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
}


class Style(NamedTuple):
    """How a row is drawn: a colour, a line style in matplotlib's dashes, a marker."""

    colour: str
    line: str | tuple
    marker: str


# Depth in the network is a ramp that darkens (viridis), the other two rows stand apart from it.
STYLES: dict[str, Style] = dict(
    zip(
        ROWS,
        (
            Style("#22a884", (0, (1, 1)), "o"),
            Style("#2a788e", (0, (3, 1)), "s"),
            Style("#414487", (0, (5, 1, 1, 1)), "^"),
            Style("#440154", (0, (8, 2)), "v"),
            Style("#d55e00", "-", "D"),
            Style("#000000", "-", "P"),
        ),
        strict=True,
    )
)


@functools.cache
def theme() -> None:
    """Set the look of every figure, the first time it is called."""
    small = ("axes.labelsize", "axes.titlesize", "legend.fontsize", "legend.title_fontsize")
    sizes = dict.fromkeys((*small, "font.size"), 8) | dict.fromkeys(
        ("xtick.labelsize", "ytick.labelsize"), 7.5
    )
    rest = {
        "axes.edgecolor": GREY,
        "axes.linewidth": 0.8,
        "axes.titlelocation": "left",
        "figure.dpi": 120,
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
        "hatch.linewidth": 0.7,
        "legend.frameon": False,
        "legend.handlelength": 2.8,
        "lines.linewidth": 1.5,
        "patch.linewidth": 0.8,
        "pdf.fonttype": 42,  # editable text
    }
    sns.set_theme(context="paper", style="whitegrid", rc=sizes | rest)


def panels(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """Return a figure of the study's width with its axes, (rows, columns)."""
    theme()
    layout = {"figsize": (WIDTH, height), "layout": "constrained", "squeeze": False}
    return plt.subplots(rows, columns, **layout, **options)


def stroke(style: Style) -> dict[str, Any]:
    """Return how matplotlib draws a line of a row."""
    return {
        "color": style.colour,
        "linestyle": style.line,
        "marker": style.marker,
        "markersize": 4.5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def filling(protocol: str, colour: str) -> dict[str, Any]:
    """Return how matplotlib fills a bar of a protocol."""
    share, hatch = LOOKS[protocol]
    return {"facecolor": tint(colour, share), "edgecolor": colour, "hatch": hatch}


def tint(colour: str, share: float) -> tuple[float, ...]:
    """Return a colour mixed with white: opaque, so that no grid shows through."""
    return tuple(1 - share * (1 - channel) for channel in to_rgb(colour))


def luminance(colour: Any) -> float:
    """Return the relative luminance of a colour, 0 (black) to 1 (white), as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def ink(colour: Any) -> str:
    """Return which of black and white has the higher contrast on a colour."""
    return "black" if luminance(colour) > 0.18 else "white"


def dots(
    ax: Axes,
    of: pd.DataFrame,
    place: Any,
    across: bool = True,
    value: str = "accuracy",
    **look: Any,
) -> None:
    """Draw values with their intervals.

    Args:
        ax: Where.
        of: With the columns ``low``, ``high`` and that of the value.
        place: (n,) on the other axis.
        across: Whether the values lie along the horizontal axis.
        value: Its column.
        look: Of matplotlib's ``errorbar``.
    """
    values = of[value].to_numpy(float)
    ends = np.maximum([values - of["low"], of["high"] - values], 0)
    x, y = (values, place) if across else (place, values)
    plain = {"linestyle": "", "ms": 5, "capsize": 1.8, "elinewidth": 1.1}
    ax.errorbar(x, y, **{"xerr" if across else "yerr": ends}, **(plain | look))


def name_lines(ax: Axes, names: Sequence[str]) -> None:
    """Name the lines of a panel, from the top downwards, and draw chance at .5 across them."""
    ax.axvline(0.5, **CHANCE)
    ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6))
    ax.grid(axis="y", visible=False)


def dots_legend(figure: Figure, looks: Mapping[str, Mapping], columns: int) -> None:
    """Draw the legend of `dots`, by their names, and of chance."""
    handles = {
        name: Line2D([], [], **({"linestyle": "", "ms": 5} | look)) for name, look in looks.items()
    }
    legend(figure, handles | {"chance": Line2D([], [], **CHANCE)}, columns)


def legend(figure: Figure, handles: Mapping[str, Any], columns: int) -> None:
    """Draw one legend above all panels."""
    figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=columns)


def done(figure: Figure) -> Figure:
    """Return a figure that pyplot has forgotten, so that a notebook does not show it twice."""
    plt.close(figure)
    return figure


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as png and pdf, each whole or not at all, and return the two paths.

    The files carry neither a time nor a version: the same figure has the same bytes.

    Args:
        figure: Any.
        folder: Made where it is not there.
        name: Of the files, without ending.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for ending, metadata in METADATA.items():
        path = folder / f"{name}.{ending}"
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            figure.savefig(beside, format=ending, dpi=200, facecolor="white", metadata=metadata)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        written.append(path)
    return written
