"""The style of all figures, and the two kinds of figures that most of them are.

The two kinds are dots with intervals on named lines (`dotted`), and curves against a number, named at their
ends (`curve`, `name_ends`). A protocol has the same colour and marker everywhere (``PROTOCOL_LOOKS``), and so
does a row of the paper's tables (``STYLES``); all can be distinguished in greyscale. The order in a line and
in a legend is the paper's number, ours against other databases, ours against the same database.
"""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, Locator, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation
from scipy.optimize import isotonic_regression

from mint_utils.config import PROTOCOL_NAMES, ROWS

WIDTH = 6.0  # inches
GREY = "#595959"
CHANCE = {"color": GREY, "linestyle": (0, (1, 1.5)), "linewidth": 1.2}
BAND = "#dedede"
# Numbers of others are crosses: a cross does not cover a marker below it, and none of our markers is a cross.
PRINTED = {"marker": "x", "color": "black", "ms": 4.5, "mew": 1.3, "linestyle": ""}
PAPER = "the paper"
# One training of M beside their mean.
TRAINING = {"marker": ".", "color": "black", "ms": 5, "linestyle": "", "mec": "none"}
DARK, LIGHT, ORANGE, BROWN = "#08306b", "#3182bd", "#d55e00", "#a63603"
PROTOCOL_LOOKS = {
    PROTOCOL_NAMES["paper"]: {"color": DARK, "marker": "o"},
    PROTOCOL_NAMES["held_out"]: {"color": ORANGE, "marker": "D"},
}
DASHES = dict(zip(PROTOCOL_LOOKS, ("-", (0, (4, 2))), strict=True))  # of a protocol's line
SAID = {
    "linear": "",
    "log": " (logarithmic axis)",
    "symlog": " (0: never; logarithmic axis from 1 on)",
}
ACCURACY = "accuracy at threshold 0.5, 95% interval"
EITHER = "non-members of other databases or of the same one"
METADATA = {
    "png": {"Software": None},
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
}


# Deeper layers are darker (viridis); the other two rows have colours that differ from this scale.
STYLES = {
    row: {
        "color": colour,
        "linestyle": line,
        "marker": marker,
        "ms": 4.5,
        "mec": "white",
        "mew": 0.5,
    }
    for row, colour, line, marker in zip(
        ROWS,
        ("#22a884", "#2a788e", "#414487", "#440154", "#d55e00", "#000000"),
        ((0, (1, 1)), (0, (3, 1)), (0, (5, 1, 1, 1)), (0, (8, 2)), "-", "-"),
        "os^vDP",
        strict=True,
    )
}


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
        "figure.labelsize": 8,
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


def dots(
    ax: Axes,
    cells: pd.DataFrame,
    place: Any,
    across: bool = True,
    value: str = "accuracy",
    **look: Any,
) -> None:
    """Draw values with their intervals, and small dots for the trainings of M where there are several.

    Args:
        cells: Has the columns ``low``, ``high``, that of the value and, if known, ``trainings``, tuples of
            the values of single trainings.
        place: (n,) positions on the other axis.
        across: Whether the values lie along the horizontal axis.
        value: The column of the values.
        look: Arguments of matplotlib's ``errorbar``.
    """
    values, low, high = cells[[value, "low", "high"]].to_numpy(float).T
    ends = np.maximum([values - low, high - values], 0)
    x, y = (values, place) if across else (place, values)
    plain = {"linestyle": "", "ms": 5, "capsize": 1.8, "elinewidth": 1.1}
    ax.errorbar(x, y, **{"xerr" if across else "yerr": ends}, **(plain | look))
    inches = (0, -4 / 72) if across else (4 / 72, 0)
    move = ScaledTranslation(*inches, ax.figure.dpi_scale_trans)
    each = {"color": look["color"], "transform": look.get("transform", ax.transData) + move}
    for values, at in zip(cells.get("trainings", ()), place, strict=False):
        if isinstance(values, tuple) and len(values) > 1:
            same = [at] * len(values)
            ax.plot(*((values, same) if across else (same, values)), **TRAINING | each)


def dotted(
    shown: pd.DataFrame,
    looks: Mapping[str, Mapping],
    label: str = f"{ACCURACY}; {EITHER}",
    chance: float | None = 0.5,
    band: tuple[str, float, float] | None = None,
    stacked: bool = False,
) -> Figure:
    """Draw dots with intervals: a line for each name, and in it a lane for each series.

    Args:
        shown: panel, name, series, value, low, high and, if known, ``trainings`` (see `dots`), in the order
            of panels and names. Panels side by side share their names; stacked panels have their own.
        looks: Series -> its look in `dots`, from the top lane to the last.
        label: Label of the value axis.
        chance: Position of the dotted line; None: no line.
        band: Name and ends of a range that is the same for all names.
        stacked: Whether panels are stacked vertically.
    """
    shown = shown[shown.groupby("series")["value"].transform("count") > 0]
    by_panel = dict(list(shown.groupby("panel", sort=False)))
    names = [
        list(dict.fromkeys((cells if stacked else shown)["name"])) for cells in by_panel.values()
    ]
    lanes = [[s for s in looks if s in set(cells["series"])] for cells in by_panel.values()]
    most = max(map(len, lanes)) if shown.duplicated(["panel", "name"]).any() else 1
    counts = list(map(len, names))
    height = 1.0 + max(0.2, 0.15 * most) * (sum(counts) + len(counts) if stacked else counts[0])
    shape = {"height_ratios": counts} if stacked else {"sharey": True}
    grid = (len(by_panel), 1) if stacked else (1, len(by_panel))
    figure, axes = panels(*grid, height, sharex=chance is not None, **shape)
    for ax, (title, cells), own_names, own_lanes in zip(
        axes.flat, by_panel.items(), names, lanes, strict=True
    ):
        _panel(ax, cells, own_names, own_lanes, looks, most)
        ax.set_title(title)
        if band:
            ax.axvspan(*band[1:], color=BAND, linewidth=0, zorder=0)
        if chance is not None:
            ax.axvline(chance, **CHANCE)
        bins = (9, 6, 4, 3)[min(grid[1], 4) - 1]
        ax.xaxis.set_major_locator(_ticks(chance, *ax.get_xlim(), bins))
    figure.supxlabel(label)
    plain, drawn = {"linestyle": "", "ms": 5}, set(shown["series"])
    entries = {s: plain | look for s, look in looks.items() if s in drawn} | trainings(shown)
    entries |= {band[0]: Patch(color=BAND)} if band else {}
    legend(figure, entries, None if chance is None else "chance")
    return done(figure)


def _ticks(chance: float | None, low: float, high: float, most: int) -> Locator:
    """Return the places of at most ``most`` ticks between two limits, one of them at chance if given."""
    if chance is None:
        return MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], prune="both")
    room = (high - low) / 20  # a tick at the very end would touch the next panel's
    for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5):
        ticks = chance + step * np.arange(-100, 101)
        ticks = ticks[(ticks > low + room) & (ticks < high - room) | (ticks == chance)]
        if len(ticks) <= most:
            break
    return FixedLocator(ticks)


def accuracy_label(cells: pd.DataFrame, besides: str = "") -> str:
    """Return the label of an axis of accuracies, which says so where some have no interval."""
    if "each" in cells and cells["each"].notna().any():
        return f"{ACCURACY} (none where a training failed)\n{besides}".strip()
    return "; ".join(filter(None, (ACCURACY, besides)))


def trainings(shown: pd.DataFrame) -> dict[str, dict]:
    """Return the legend's entry for single trainings of M, by its name; none where none are drawn."""
    several = any(isinstance(each, tuple) and len(each) > 1 for each in shown.get("trainings", ()))
    return {"one training of M": TRAINING} if several else {}


def _panel(ax, cells, names, lanes, looks, most) -> None:
    """Draw one panel of `dotted`; ``most`` is the largest number of lanes in a line of any panel."""
    spread = (0, 0.17, 0.3)[min(len(lanes), most, 3) - 1]
    for series, offset in zip(lanes, np.linspace(-spread, spread, len(lanes)), strict=True):
        of_series = cells[cells["series"] == series]
        place = np.array([names.index(name) + offset for name in of_series["name"]])
        dots(ax, of_series, place, value="value", **looks[series])
    ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6))
    ax.grid(axis="y", visible=False)
    if most > 1:
        ax.set_yticks(np.arange(1, len(names)) - 0.5, minor=True)
        ax.grid(axis="y", which="minor", linewidth=0.6)


def curve(ax: Axes, cells: pd.DataFrame, shift: float = 0.0, **look: Any) -> None:
    """Draw values with intervals against ``x``, shifted right by points so that markers do not overlap."""
    beside = ax.transData + ScaledTranslation(shift / 72, 0, ax.figure.dpi_scale_trans)
    plain = {"linestyle": "-", "linewidth": 1.2, "elinewidth": 0.9, "ms": 4.5, "transform": beside}
    dots(ax, cells, cells["x"], across=False, **(plain | look))
    # Matplotlib ignores shifted data when it sets the limits of an axis.
    for end in (look.get("value", "accuracy"), "low", "high"):
        ax.update_datalim(cells[["x", end]].dropna().to_numpy(float))
    ax.autoscale_view()


def name_ends(ax: Axes, ends: Mapping[str, tuple[float, float, str]]) -> None:
    """Name curves at their right ends, beside the panel, without overlap.

    Args:
        ax: The axes; its limits and its height are final.
        ends: Name, of one line of text or more -> (x, y) of the last point, and the colour.
    """
    ordered = sorted(ends.items(), key=lambda end: end[1][1])
    tall = ax.get_position().height * ax.figure.get_figheight() * 72  # points
    heights = np.array([4 + 9.2 * (1 + name.count("\n")) for name, _ in ordered]) / tall
    last = ax.transData.transform([end[:2] for _, end in ordered])
    wanted = ax.transAxes.inverted().transform(last)[:, 1]
    before = np.cumsum(heights) - heights / 2  # positions if all names were stacked from 0
    free = np.clip(isotonic_regression(wanted - before).x, 0, max(0, 1 - heights.sum()))
    # From the left end of a name, so that no line runs through another name.
    line = {"arrowstyle": "-", "linewidth": 0.6, "shrinkB": 3, "shrinkA": 1, "relpos": (0, 0.5)}
    for (name, (x, y, colour)), at in zip(ordered, free + before, strict=True):
        ax.annotate(name, (x, y), (1.05, at), textcoords="axes fraction", color=colour, va="center",
                    fontsize=7.5, annotation_clip=False, arrowprops=line | {"color": colour})  # fmt: skip


def scale_axis(ax: Axes, label: str, ticks: Sequence[float], scale: str = "log") -> None:
    """Set the horizontal axis: ticks where there is room, and a label that names a scale if not linear."""
    place = np.asarray(sorted(ticks), float)
    if scale != "linear":
        ax.set_xscale(scale, **({"linthresh": 1} if scale == "symlog" else {}))
        place = np.log10(np.maximum(place, 0.3))
    kept = [0]
    for i in range(len(place)):
        if place[i] - place[kept[-1]] >= 0.19 * (place[-1] - place[0]) > 0:
            kept.append(i)
    kept = [sorted(ticks)[i] for i in kept]
    ax.xaxis.set_major_locator(FixedLocator(kept))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:,g}")
    ax.set_xlabel(label and label + SAID[scale])


def legend(figure: Figure, looks: Mapping[str, Any], line: str | None = "chance") -> None:
    """Draw one legend above all panels, in as many columns as have room.

    Args:
        looks: Name -> arguments of matplotlib's ``Line2D``, or a patch.
        line: Name of the dotted line, which is the last entry; None: no such line.
    """
    looks = {**looks, **({line: CHANCE} if line else {})}
    lengths = [len(name) + 9 for name in looks]  # characters, with the mark and a gap
    columns = len(lengths) if sum(lengths) < 100 else max(2, 100 // max(lengths))
    handles = [v if isinstance(v, Patch) else Line2D([], [], **v) for v in looks.values()]
    figure.legend(handles, list(looks), loc="outside upper center", ncols=columns)


def done(figure: Figure, ends: Mapping[Axes, Mapping[str, tuple]] = MappingProxyType({})) -> Figure:
    """Name the curves of each panel (see `name_ends`), and close the figure: pyplot would show it again."""
    if ends:
        figure.draw_without_rendering()  # the layout gives the heights of panels
    for ax, of_panel in ends.items():
        name_ends(ax, of_panel)
    plt.close(figure)
    return figure


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as png and pdf, each whole or not at all, and return the two paths.

    The files carry neither a time nor a version: the same figure has the same bytes. The folder is made where
    it is missing; the name has no ending.
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
