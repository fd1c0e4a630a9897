"""The figures that compare Audited Models, 6 inches wide for a printed page.

In: data frames, one line a cell or a model. Out: matplotlib Figures, which a notebook shows once as a
cell's last expression.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, NullLocator

from mint_utils.config import PROTOCOLS, ROWS
from mint_utils.report.style import (
    CHANCE,
    GREY,
    HOLLOW,
    STYLES,
    done,
    legend,
    panels,
)  # fmt: skip

LINES = {"paper": "-", "held_out": (0, (3, 1.5))}
MARKERS = ("o", "s", "^", "D", "v", "P")  # of scenarios
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#9ecae1", "#3182bd", "#08306b"])


def exposure_plan(plans: Mapping[str, pd.DataFrame], orders: Mapping[str, np.ndarray]) -> Figure:
    """Draw which part of D is shown how often in an epoch (the paper's Figure 3), from actual plans.

    A part is a rectangle: its width the number of its images, its height their exposures an epoch, its
    area what passes through M. Below, the first batches of the first epoch as they were formed.

    Args:
        plans: Panel -> one line a part: part (name), images, times (exposures an epoch; 0: held out).
        orders: Panel -> (batches, size) int, the part of every image of the first batches.
    """
    figure, axes = panels(2, len(plans), 4.2, height_ratios=(2.6, 1), sharey="row")
    most = max(plan["times"].max() for plan in plans.values())
    for (title, plan), above, below in zip(plans.items(), axes[0], axes[1], strict=True):
        parts = len(plan)
        shades = [_shade(i, parts) for i in range(parts)]
        start = 0
        for i, (name, images, times) in enumerate(plan.itertuples(index=False)):
            look = {"facecolor": shades[i], "edgecolor": "black", "linewidth": 0.8}
            if times == 0:  # an outline below the axis: shown never
                look |= {"facecolor": "white", "hatch": "/////", "edgecolor": GREY}
            height = times or most / 40
            above.add_patch(Rectangle((start, 0 if times else -height), images, height, **look))
            text = f"{name}\n{images:,}"
            above.text(
                start + images / 2, max(times, 0) + most / 60, text, ha="center", fontsize=7.5
            )
            start += images
        above.set(xlim=(0, start), ylim=(-most / 40, most * 1.17), title=title)
        above.set_xlabel("images of D")
        above.grid(axis="x", visible=False)
        below.imshow(orders[title], aspect="auto", cmap=_palette(shades), vmin=0, vmax=parts - 1,
                     interpolation="nearest")  # fmt: skip
        below.set(xlabel="place in the batch", yticks=[0, len(orders[title]) - 1])
        below.set_yticklabels(["1", str(len(orders[title]))])
        below.grid(visible=False)
    axes[0, 0].set_ylabel("exposures an epoch")
    axes[1, 0].set_ylabel("batch of the\nfirst epoch")
    return done(figure)


def small_multiples(
    points: pd.DataFrame,
    xlabel: str,
    scale: str = "linear",
    references: pd.DataFrame | None = None,
) -> Figure:
    """Draw accuracy against a number, a panel a row of the table, a line a protocol.

    Args:
        points: One line a cell: row, protocol, x, accuracy, low, high and, if there, paper.
        xlabel: What x is, with its unit.
        scale: Of x: linear, log, or symlog (linear below 1, so that 0 has a place).
        references: The like of points, with column ``name``, drawn as hollow markers without a line.
    """
    figure, axes = panels(2, 3, 4.2, sharex=True, sharey=True)
    printed = "paper" in points and points["paper"].notna().any()
    names = [] if references is None else list(dict.fromkeys(references["name"]))
    for row, ax in zip(ROWS, axes.flat, strict=True):
        colour = STYLES[row].colour
        ax.axhline(0.5, **CHANCE)
        for protocol in PROTOCOLS:
            of_line = points[(points["row"] == row) & (points["protocol"] == protocol)]
            _curve(ax, of_line.sort_values("x"), colour, LINES[protocol])
        if printed:
            told = points[(points["row"] == row) & points["paper"].notna()]
            ax.plot(told["x"], told["paper"], **HOLLOW)
        for name, marker in zip(names, "DX", strict=False):
            of_name = references[(references["row"] == row) & (references["name"] == name)]
            ax.plot(of_name["x"], of_name["accuracy"], marker, color=colour, mfc="white", ms=5)
        ax.set_title(row)
        ax.set_xscale(scale, **({"linthresh": 1} if scale == "symlog" else {}))
    ticks = sorted(points["x"].unique())
    axes[0, 0].xaxis.set_major_locator(FixedLocator(_apart(ticks, scale)))
    axes[0, 0].xaxis.set_minor_locator(NullLocator())
    axes[0, 0].xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    figure.supxlabel(xlabel, fontsize=8)
    figure.supylabel("accuracy at threshold 0.5", fontsize=8)
    handles = {
        f"ours, protocol {protocol}": Line2D([], [], color="black", linestyle=how)
        for protocol, how in LINES.items()
    }
    handles |= {"the paper": Line2D([], [], **HOLLOW)} if printed else {}
    handles |= {
        name: Line2D([], [], color="black", mfc="white", ms=5, marker=marker, linestyle="")
        for name, marker in zip(names, "DX", strict=False)
    }
    handles |= {"chance": Line2D([], [], **CHANCE)}
    legend(figure, handles, columns=3 if len(handles) > 4 else 2)
    return done(figure)


def model_quality(performance: pd.DataFrame) -> Figure:
    """Draw how good Audited Models are, a line each: verification, and what they identify.

    Args:
        performance: With the columns of `Study.performance`.
    """
    n = len(performance)
    figure, axes = panels(1, 2, 1.25 + 0.24 * n, sharey=True)
    left, right = axes[0]
    place, value = np.arange(n), performance["verification"]
    ends = np.maximum([value - performance["low"], performance["high"] - value], 0)
    left.errorbar(value, place, xerr=ends, fmt="o", color="black", ms=4, capsize=2, elinewidth=1.2)
    left.plot(performance["paper"].astype(float), place - 0.28, **HOLLOW)
    left.set(xlabel="verification accuracy", yticks=place, ylim=(n - 0.4, -0.6))
    left.set_yticklabels(performance["model"])
    members, others = performance["members"], performance["held-out"]
    right.hlines(place, others, members, color=GREY, linewidth=1.2)
    right.plot(members, place, "o", color="black", ms=5)
    right.plot(others, place, "o", color="black", mfc="white", ms=5)
    right.set(xlabel="share of images identified", xlim=(0, 1.04))
    for ax in (left, right):
        ax.grid(axis="y", visible=False)
    handles = {
        "ours, 95% interval": Line2D([], [], color="black", marker="o", ms=4, linewidth=1.2),
        "the paper": Line2D([], [], **HOLLOW),
        "members": Line2D([], [], color="black", marker="o", ms=5, linestyle=""),
        "held-out": Line2D([], [], color="black", marker="o", mfc="white", ms=5, linestyle=""),
    }
    if performance["paper"].isna().all():
        del handles["the paper"]
    legend(figure, handles, columns=4)
    return done(figure)


def heat_map(cells: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw all tables at once: the paper's numbers, then ours under each protocol.

    Args:
        cells: Name of a table -> its cells, with the columns of ``tables.CELLS``.
    """
    columns = [(name, c) for name, of in cells.items() for c in dict.fromkeys(of["column"])]
    everything = {"the paper": ("paper", "paper")}
    everything |= {f"ours, protocol {p}": (p, "accuracy") for p in PROTOCOLS}
    figure, axes = panels(len(everything), 1, 5.6, sharex=True)
    for ax, (title, (protocol, value)) in zip(axes[:, 0], everything.items(), strict=True):
        grid = np.full((len(ROWS), len(columns)), np.nan)
        for j, (name, column) in enumerate(columns):
            of = cells[name]
            of = of[(of["protocol"] == protocol) & (of["column"] == column)].set_index("row")
            grid[:, j] = of[value].reindex(ROWS)
        ax.imshow(grid, cmap=SHADES, vmin=0.45, vmax=1.0, aspect="auto", interpolation="nearest")
        for (i, j), number in np.ndenumerate(grid):
            if np.isfinite(number):
                ink = "white" if number > 0.75 else "black"
                text = f"{number:.2f}".removeprefix("0")
                ax.text(j, i, text, ha="center", va="center", fontsize=7, color=ink)
        _between_tables(ax, [name for name, _ in columns])
        ax.set_yticks(range(len(ROWS)), ROWS)
        ax.set_title(title)
        ax.grid(visible=False)
    axes[-1, 0].set_xticks(range(len(columns)), [c for _, c in columns], rotation=40, ha="right",
                           rotation_mode="anchor")  # fmt: skip
    return done(figure)


def trade_off(points: pd.DataFrame) -> Figure:
    """Draw the detection of training images against how good M is, one point an Audited Model.

    Args:
        points: One line a model and panel: panel, scenario, verification, detection (accuracies).
    """
    names = list(dict.fromkeys(points["panel"]))
    figure, axes = panels(1, len(names), 3.0, sharey=True)
    looks = dict(zip(dict.fromkeys(points["scenario"]), MARKERS, strict=False))
    for name, ax in zip(names, axes[0], strict=True):
        for scenario, marker in looks.items():
            of = points[(points["panel"] == name) & (points["scenario"] == scenario)]
            ax.plot(of["verification"], of["detection"], marker, color=_mark(marker), ms=5,
                    markeredgecolor="black", markeredgewidth=0.6)  # fmt: skip
        ax.axhline(0.5, **CHANCE)
        ax.set_title(name)
    axes[0, 0].set_ylabel("accuracy of T, All Conv Layers")
    figure.supxlabel("verification accuracy of M", fontsize=8)
    handles = {
        scenario: Line2D([], [], marker=marker, color=_mark(marker), ms=5, linestyle="",
                         markeredgecolor="black", markeredgewidth=0.6)
        for scenario, marker in looks.items()
    }  # fmt: skip
    legend(figure, handles | {"chance": Line2D([], [], **CHANCE)}, columns=4)
    return done(figure)


def _mark(marker: str) -> tuple[float, ...]:
    return SHADES(0.15 + 0.85 * MARKERS.index(marker) / (len(MARKERS) - 1))


def _curve(ax: Axes, of_line: pd.DataFrame, colour: str, how) -> None:
    value = of_line["accuracy"]
    ends = np.maximum([value - of_line["low"], of_line["high"] - value], 0)
    ax.errorbar(of_line["x"], value, yerr=ends, color=colour, linestyle=how, marker=".", capsize=2,
                elinewidth=0.9, linewidth=1.2)  # fmt: skip


def _apart(ticks: Sequence[float], scale: str) -> list[float]:
    """Return the ticks that have room beside each other; the first and the last always have."""
    # As matplotlib's symlog with linthresh 1: from 0 to 1 as far as from 1 to 10.
    place = {"linear": float, "log": np.log10, "symlog": lambda x: 1 + np.log10(x) if x > 1 else x}
    places = [place[scale](tick) for tick in ticks]
    needed = 0.17 * (places[-1] - places[0])
    kept = [0]
    for i in range(1, len(ticks) - 1):
        if min(places[i] - places[kept[-1]], places[-1] - places[i]) >= needed:
            kept.append(i)
    return [ticks[i] for i in dict.fromkeys([*kept, len(ticks) - 1])]


def _between_tables(ax: Axes, names: Sequence[str]) -> None:
    """Draw a gap where another table begins."""
    starts = [i for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    for start in starts[1:]:
        ax.axvline(start - 0.5, color="white", linewidth=4)


def _shade(i: int, parts: int) -> tuple[float, ...]:
    return SHADES(0.08 + 0.85 * i / max(parts - 1, 1))


def _palette(shades: Sequence) -> LinearSegmentedColormap:
    return LinearSegmentedColormap.from_list("parts", shades, N=len(shades))
