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
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from mint_utils.config import PROTOCOLS, ROWS
from mint_utils.report.style import (
    CHANCE,
    GREY,
    PRINTED,
    STYLES,
    done,
    dots,
    ink,
    legend,
    panels,
)  # fmt: skip

LINES = {"paper": "-", "held_out": (0, (3, 1.5))}
REFERENCES = ("D", "s")  # of references, in their order
SQRT = {"value": "function", "functions": (lambda x: np.sign(x) * np.abs(x) ** 0.5,
                                           lambda x: np.sign(x) * x**2)}  # fmt: skip
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
        above.xaxis.set_major_locator(MaxNLocator(4, prune="upper"))
        above.xaxis.set_major_formatter("{x:,.0f}")
        above.grid(axis="x", visible=False)
        below.imshow(orders[title], aspect="auto", cmap=_palette(shades), vmin=0, vmax=parts - 1,
                     interpolation="nearest")  # fmt: skip
        below.set(
            xlabel="place in the batch",
            yticks=[0, len(orders[title]) - 1],
        )
        below.set_yticklabels(["1", str(len(orders[title]))])
        below.grid(visible=False)
    axes[0, 0].set_ylabel("exposures an epoch")
    axes[1, 0].set_ylabel("batch of the\nfirst epoch")
    figure.supxlabel("each image of a batch has the shade of its part", fontsize=8)
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
        scale: Of x: linear, log, or sqrt (where 0 has a place and small numbers have room).
        references: The like of points, with column ``name`` and without protocol, drawn as hollow markers
            without a line.
    """
    figure, axes = panels(2, 3, 4.2, sharex=True, sharey=True)
    printed = "paper" in points and points["paper"].notna().any()
    names = [] if references is None else list(dict.fromkeys(references["name"]))
    for row, ax in zip(ROWS, axes.flat, strict=True):
        colour = STYLES[row].colour
        ax.axhline(0.5, **CHANCE)
        ax.set_xscale(**(SQRT if scale == "sqrt" else {"value": scale}))
        for protocol, shift in zip(PROTOCOLS, (-1.2, 1.2), strict=True):
            of_line = points[(points["row"] == row) & (points["protocol"] == protocol)]
            look = {"linestyle": LINES[protocol], "marker": "."}
            curve(ax, of_line.sort_values("x"), shift, color=colour, **look)
        for i, (name, marker) in enumerate(zip(names, REFERENCES, strict=False)):
            of_name = references[(references["row"] == row) & (references["name"] == name)]
            look = {"linestyle": "", "marker": marker, "mfc": "white", "ms": 4}
            curve(ax, of_name, 4.5 + 3.5 * i, color=colour, **look)
        if printed:
            told = points[(points["row"] == row) & points["paper"].notna()]
            ax.plot(told["x"], told["paper"], **PRINTED)
        ax.set_title(row)
        ax.margins(x=0.1)
    ticks = sorted(points["x"].unique())
    axes[0, 0].xaxis.set_major_locator(FixedLocator(_apart(ticks, scale)))
    axes[0, 0].xaxis.set_minor_locator(NullLocator())
    axes[0, 0].xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    figure.supxlabel(xlabel, fontsize=8)
    figure.supylabel("accuracy at threshold 0.5, 95% interval", fontsize=8)
    handles = {
        f"ours, protocol {protocol}": Line2D([], [], color="black", linestyle=how)
        for protocol, how in LINES.items()
    }
    handles |= {"the paper": Line2D([], [], **PRINTED)} if printed else {}
    handles |= {
        name: Line2D([], [], color="black", mfc="white", ms=4, marker=marker, linestyle="")
        for name, marker in zip(names, REFERENCES, strict=False)
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
    place = np.arange(n)
    dots(left, performance, place, value="verification", marker="o", color="black", ms=4)
    left.plot(performance["paper"].astype(float), place - 0.28, **PRINTED)
    left.set(xlabel="verification accuracy (fraction of pairs)", yticks=place, ylim=(n - 0.4, -0.6))
    left.set_yticklabels(performance["model"])
    members, others = performance["members"], performance["held-out"]
    right.hlines(place, others, members, color=GREY, linewidth=1.2)
    right.plot(members, place, "s", color=SHADES(0.8), ms=5)
    right.plot(others, place, "s", color=SHADES(0.8), mfc="white", ms=5)
    right.set(xlabel="images identified (fraction)", xlim=(0, 1.04))
    for ax in (left, right):
        ax.grid(axis="y", visible=False)
    handles = {
        "ours, 95% interval": Line2D([], [], color="black", marker="o", ms=4, linewidth=1.2),
        "the paper": Line2D([], [], **PRINTED),
        "members": Line2D([], [], color=SHADES(0.8), marker="s", ms=5, linestyle=""),
        "held-out": Line2D([], [], color=SHADES(0.8), marker="s", mfc="white", ms=5, linestyle=""),
    }
    if performance["paper"].isna().all():
        del handles["the paper"]
    legend(figure, handles, columns=4)
    return done(figure)


def heat_map(cells: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw all tables at once: the paper's numbers, then ours under each protocol.

    Args:
        cells: Heading of a table, of short lines -> its cells, with the columns of ``tables.CELLS``.
    """
    columns = [(name, c) for name, of in cells.items() for c in dict.fromkeys(of["column"])]
    names = [name for name, _ in columns]
    everything = {"the paper": ("paper", "paper")}
    everything |= {f"ours, protocol {p}": (p, "accuracy") for p in PROTOCOLS}
    figure, axes = panels(len(everything), 1, 5.6, sharex=True)
    for ax, (title, (protocol, value)) in zip(axes[:, 0], everything.items(), strict=True):
        grid = np.full((len(ROWS), len(columns)), np.nan)
        for j, (name, column) in enumerate(columns):
            of = cells[name]
            of = of[(of["protocol"] == protocol) & (of["column"] == column)].set_index("row")
            grid[:, j] = of[value].reindex(ROWS)
        image = ax.imshow(
            grid, cmap=SHADES, vmin=0.45, vmax=1, aspect="auto", interpolation="nearest"
        )
        for (i, j), number in np.ndenumerate(grid):
            if np.isfinite(number):
                colour = ink(image.to_rgba(number))
                text = f"{number:.2f}".removeprefix("0")
                ax.text(j, i, text, ha="center", va="center", fontsize=7.5, color=colour)
        for name in list(cells)[1:]:  # a gap
            ax.axvline(names.index(name) - 0.5, color="white", linewidth=4)
        ax.set_yticks(range(len(ROWS)), ROWS)
        ax.set_title(title, fontweight="bold", pad=30 if ax is axes[0, 0] else None)
        ax.grid(visible=False)
    for name in cells:
        middle = names.index(name) + (names.count(name) - 1) / 2
        axes[0, 0].annotate(name, (middle, -0.5), (0, 4), textcoords="offset points", ha="center")
    axes[-1, 0].set_xticks(range(len(columns)), [c for _, c in columns], rotation=40, ha="right",
                           rotation_mode="anchor")  # fmt: skip
    figure.supxlabel("a cell: accuracy of T at threshold 0.5; the darker, the higher", fontsize=8)
    return done(figure)


def curve(ax: Axes, of_line: pd.DataFrame, shift: float, **look) -> None:
    """Draw accuracies with intervals, shifted to the right by some points so that none hides another."""
    beside = ax.transData + ScaledTranslation(shift / 72, 0, ax.figure.dpi_scale_trans)
    line = {"linestyle": "-", "linewidth": 1.2, "elinewidth": 0.9, "transform": beside}
    dots(ax, of_line, of_line["x"], across=False, **(line | look))
    # Matplotlib leaves what is shifted out of an axis's limits.
    for end in ("accuracy", "low", "high"):
        ax.update_datalim(of_line[["x", end]].dropna().to_numpy(float))
    ax.autoscale_view()


def _apart(ticks: Sequence[float], scale: str) -> list[float]:
    """Return the ticks that have room beside each other; the first and the last always have."""
    place = {"linear": float, "log": np.log10, "sqrt": np.sqrt}
    places = [place[scale](tick) for tick in ticks]
    needed = 0.17 * (places[-1] - places[0])
    kept = [0]
    for i in range(1, len(ticks) - 1):
        if min(places[i] - places[kept[-1]], places[-1] - places[i]) >= needed:
            kept.append(i)
    return [ticks[i] for i in dict.fromkeys([*kept, len(ticks) - 1])]


def _shade(i: int, parts: int) -> tuple[float, ...]:
    return SHADES(0.2 + 0.75 * i / max(parts - 1, 1))


def _palette(shades: Sequence) -> LinearSegmentedColormap:
    return LinearSegmentedColormap.from_list("parts", shades, N=len(shades))
