"""The figures that compare Audited Models, 6 inches wide for a printed page."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from mint_utils.config import PROTOCOL_NAMES, ROWS
from mint_utils.report import style

OURS, VERIFIED = "ours, 95% interval", "verification accuracy (pairs)"
NO_ENDS = {"low": np.nan, "high": np.nan}
QUALITY = {
    style.PAPER: style.PRINTED,
    OURS: {"color": style.DARK, "marker": "o"},
    "members": {"color": style.LIGHT, "marker": "s"},
    "held-out images": {"color": style.LIGHT, "marker": "s", "mfc": "white"},
}
REFERENCES = ("s", "^")  # markers of references, in their order
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#9ecae1", "#3182bd", "#08306b"])
# Colours of numbers on which black text can be read.
ABOVE_CHANCE = {
    "cmap": LinearSegmentedColormap.from_list("above", ["#ffffff", "#4292c6"]),
    "vmin": 0.5,
    "vmax": 0.9,
}
AROUND_CHANCE = {"cmap": "PuOr_r", "vmin": 0.3, "vmax": 0.7}  # the side of chance matters


def exposure_plan(plans: Mapping[str, pd.DataFrame], orders: Mapping[str, np.ndarray]) -> Figure:
    """Draw how often each part of D is shown in an epoch (the paper's Figure 3), from actual plans.

    A part is a rectangle. Its width is its number of images, its height their exposures in an epoch, and its
    area the exposures of the part. The first batches of the first epoch are below.

    Args:
        plans: Panel -> part (name), images, times (exposures in an epoch; 0: held out) of each part.
        orders: Panel -> (batches, size) int, the part of every image of the first batches.
    """
    figure, axes = style.panels(2, len(plans), 4.2, height_ratios=(2.6, 1), sharey="row")
    most = max(plan["times"].max() for plan in plans.values())
    for (title, plan), above, below in zip(plans.items(), axes[0], axes[1], strict=True):
        shades = [SHADES(0.2 + 0.75 * i / max(len(plan) - 1, 1)) for i in range(len(plan))]
        starts = plan["images"].cumsum() - plan["images"]
        for start, shade, (name, images, times) in zip(
            starts, shades, plan.itertuples(index=False), strict=True
        ):
            look = {"facecolor": shade, "edgecolor": "black", "linewidth": 0.8}
            if times == 0:  # never shown: an outline below the axis
                look |= {"facecolor": "white", "hatch": "/////", "edgecolor": style.GREY}
            height = times or -most / 40
            above.add_patch(Rectangle((start, 0), images, height, **look))
            place, text = (start + images / 2, times + most / 60), f"{name}\n{images:,}"
            above.text(*place, text, ha="center", fontsize=7.5)
        above.set(xlim=(0, plan["images"].sum()), ylim=(-most / 40, most * 1.17), title=title)
        above.set_xlabel("images of D")
        above.xaxis.set_major_locator(MaxNLocator(4, prune="upper"))
        above.xaxis.set_major_formatter("{x:,.0f}")
        above.grid(axis="x", visible=False)
        order = orders[title]
        below.imshow(order, aspect="auto", cmap=ListedColormap(shades), vmin=0, vmax=len(plan) - 1,
                     interpolation="nearest")  # fmt: skip
        below.set_yticks([0, len(order) - 1], ["1", str(len(order))])
        below.set_xlabel("place in the batch")
        below.grid(visible=False)
    axes[0, 0].set_ylabel("exposures an epoch")
    axes[1, 0].set_ylabel("batch of the\nfirst epoch")
    figure.supxlabel("each image of a batch has the shade of its part")
    return style.done(figure)


def small_multiples(
    points: pd.DataFrame,
    xlabel: str,
    scale: str = "linear",
    references: pd.DataFrame | None = None,
) -> Figure:
    """Draw accuracy against a number, a panel for each row of the table, a line for each protocol.

    Args:
        points: row, protocol, x, accuracy, low, high of each cell; optionally ``paper``, the paper's number,
            and ``paper_x``, its position (otherwise x).
        xlabel: Meaning and unit of x.
        scale: Scale of x: linear, log, or symlog (which includes 0).
        references: As points, but with the column ``name`` and without protocol; drawn as hollow markers
            without a line.
    """
    figure, axes = style.panels(2, 3, 4.4, sharex=True, sharey=True)
    points = points.assign(protocol=points["protocol"].map(PROTOCOL_NAMES)).sort_values("x")
    at = points.assign(x=points.get("paper_x", points["x"]))
    printed = at.reindex(columns=["row", "x", "paper"]).dropna()
    ticks = {*points["x"], *printed["x"]}
    marks = {style.PAPER: style.PRINTED} if len(printed) else {}
    by_name = {} if references is None else dict(list(references.groupby("name", sort=False)))
    for name, marker in zip(by_name, REFERENCES, strict=False):
        look = {"linestyle": "", "color": style.GREY, "mfc": "white", "ms": 4}
        marks[name] = look | {"marker": marker}
    marks |= style.trainings(points)
    ends = {}
    for i, (row, ax) in enumerate(zip(ROWS, axes.flat, strict=True)):
        ax.axhline(0.5, **style.CHANCE)
        style.scale_axis(ax, "", ticks, scale)
        for shift, (name, look) in zip((-1.2, 1.2), style.PROTOCOL_LOOKS.items(), strict=True):
            line = points[(points["row"] == row) & (points["protocol"] == name)]
            style.curve(ax, line, shift, **look | {"linestyle": style.DASHES[name]})
            if i % 3 == 2 and len(line):
                end = *line[["x", "accuracy"]].iloc[-1], look["color"]
                ends.setdefault(ax, {})[name.replace(" ", "\n")] = end
        for place, (name, lines) in enumerate(by_name.items()):
            # Beside the curve where both have values at the same numbers.
            shift = 4.5 + 3.5 * place if lines["x"].isin(points["x"]).any() else 0.0
            style.curve(ax, lines[lines["row"] == row], shift, **marks[name])
        numbers = printed[printed["row"] == row]
        ax.plot(numbers["x"], numbers["paper"], **style.PRINTED)
        ax.set_title(row)
        ax.margins(x=0.1)
    figure.supxlabel(xlabel + style.SAID[scale])
    figure.supylabel(style.accuracy_label(points))
    style.legend(figure, marks)
    return style.done(figure, ends)


def model_quality(performance: pd.DataFrame) -> Figure:
    """Draw the quality of Audited Models, a line for each: verification and identification.

    Args:
        performance: As `Study.performance` returns it. Where all names contain a number, lines are in the
            order of these numbers.
    """
    numbers = performance["model"].str.extract(r"(\d+(?:\.\d+)?)")[0].astype(float)
    if numbers.notna().all():
        performance = performance.iloc[numbers.argsort(kind="stable")]
    identified = "images identified"
    each = {
        style.PAPER: ("paper", VERIFIED),
        OURS: ("verification", VERIFIED),
        "members": ("members", identified),
        "held-out images": ("held-out", identified),
    }
    frames = [
        pd.DataFrame(
            {"name": performance["model"], "value": performance[column].astype(float)}
        ).assign(
            series=series,
            panel=panel,
            **performance[["low", "high"]] if series == OURS else NO_ENDS,
        )
        for series, (column, panel) in each.items()
    ]
    return style.dotted(pd.concat(frames), QUALITY, "fraction", chance=None)


def heat_map(cells: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw all tables at once: the paper's numbers, then ours under each protocol, with their own colours.

    Args:
        cells: Heading of a table, in short lines -> its cells, with the columns of ``tables.CELLS``.
    """
    every = pd.concat(cells, names=["table"]).reset_index("table")
    order = pd.MultiIndex.from_frame(every[["table", "column"]].drop_duplicates())
    starts = [list(order.get_level_values(0)).index(name) for name in cells]
    panels_of = {style.PAPER: ("paper", "paper")}
    panels_of |= {f"ours, {name}": (p, "accuracy") for p, name in PROTOCOL_NAMES.items()}
    figure, axes = style.panels(len(panels_of), 1, 6.0, sharex=True)
    for ax, (title, (protocol, value)) in zip(axes[:, 0], panels_of.items(), strict=True):
        grid = every[every["protocol"] == protocol].pivot_table(
            index="row", columns=["table", "column"], values=value
        )
        grid = grid.reindex(index=ROWS, columns=order)
        text = grid.map(lambda number: f"{number:.2f}".removeprefix("0"))
        look = AROUND_CHANCE if protocol == "held_out" else ABOVE_CHANCE
        sns.heatmap(grid, ax=ax, annot=text, fmt="", annot_kws={"fontsize": 7.5, "color": "black"},
                    cbar_kws={"pad": 0.01, "aspect": 12}, **look)  # fmt: skip
        bar = ax.collections[0].colorbar
        ticks = np.arange(look["vmin"], look["vmax"] + 0.01, 0.1).round(1)
        bar.set_ticks(
            ticks, labels=[f"{tick} chance" if tick == 0.5 else str(tick) for tick in ticks]
        )
        bar.ax.axhline(0.5, color="black", linewidth=1.2)
        ax.vlines(starts[1:], *ax.get_ylim(), color="white", linewidth=4)
        ax.set_title(title, fontweight="bold", pad=30 if ax is axes[0, 0] else None)
        ax.set(xlabel="", ylabel="")
    for start, name in zip(starts, cells, strict=True):
        middle = start + cells[name]["column"].nunique() / 2
        axes[0, 0].annotate(name, (middle, 0), (0, 4), textcoords="offset points", ha="center")
    names = order.get_level_values("column")
    turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes[-1, 0].set_xticks(np.arange(len(order)) + 0.5, names, **turned)
    figure.supxlabel("a cell: accuracy of T at threshold 0.5")
    return style.done(figure)
