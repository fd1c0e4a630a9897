"""The figures that compare Audited Models, 6 inches wide for a printed page.

In: data frames, one line a cell or a model. Out: matplotlib Figures, which a notebook shows once as a
cell's last expression.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from mint_utils.config import PROTOCOL_NAMES, ROWS
from mint_utils.report import style

OURS = "ours, 95% interval"
QUALITY = {
    style.PAPER: style.PRINTED,
    OURS: {"color": style.DARK, "marker": "o"},
    "members": {"color": style.LIGHT, "marker": "s"},
    "held-out images": {"color": style.LIGHT, "marker": "s", "mfc": "white"},
}
REFERENCES = ("s", "^")  # of references, in their order
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#9ecae1", "#3182bd", "#08306b"])


def exposure_plan(plans: Mapping[str, pd.DataFrame], orders: Mapping[str, np.ndarray]) -> Figure:
    """Draw which part of D is shown how often in an epoch (the paper's Figure 3), from actual plans.

    A part is a rectangle: its width the number of its images, its height their exposures an epoch, its
    area what passes through M. Below, the first batches of the first epoch as they were formed.

    Args:
        plans: Panel -> one line a part: part (name), images, times (exposures an epoch; 0: held out).
        orders: Panel -> (batches, size) int, the part of every image of the first batches.
    """
    figure, axes = style.panels(2, len(plans), 4.2, height_ratios=(2.6, 1), sharey="row")
    most = max(plan["times"].max() for plan in plans.values())
    for (title, plan), above, below in zip(plans.items(), axes[0], axes[1], strict=True):
        parts = len(plan)
        shades = [_shade(i, parts) for i in range(parts)]
        start = 0
        for i, (name, images, times) in enumerate(plan.itertuples(index=False)):
            look = {"facecolor": shades[i], "edgecolor": "black", "linewidth": 0.8}
            if times == 0:  # an outline below the axis: shown never
                look |= {"facecolor": "white", "hatch": "/////", "edgecolor": style.GREY}
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
    figure.supxlabel("each image of a batch has the shade of its part")
    return style.done(figure)


def small_multiples(
    points: pd.DataFrame,
    xlabel: str,
    scale: str = "linear",
    references: pd.DataFrame | None = None,
) -> Figure:
    """Draw accuracy against a number, a panel a row of the table, a line a protocol.

    Args:
        points: One line a cell: row, protocol, x, accuracy, low, high and, if there, paper and where the
            paper's number stands, ``paper_x`` (otherwise x).
        xlabel: What x is, with its unit.
        scale: Of x: linear, log, or symlog (where 0 has a place).
        references: The like of points, with column ``name`` and without protocol, drawn as hollow markers
            without a line.
    """
    figure, axes = style.panels(2, 3, 4.4, sharex=True, sharey=True)
    points = points.assign(
        paper=points.get("paper", np.nan), paper_x=points.get("paper_x", points["x"])
    )
    points["protocol"] = points["protocol"].map(PROTOCOL_NAMES)
    printed = points[points["paper"].notna()]
    names = [] if references is None else list(dict.fromkeys(references["name"]))
    ticks = sorted({*points["x"], *printed["paper_x"]})
    for row, ax in zip(ROWS, axes.flat, strict=True):
        ax.axhline(0.5, **style.CHANCE)
        style.scale_axis(ax, "", ticks, scale)
        of_row = points[points["row"] == row].sort_values("x")
        for (name, look), shift in zip(style.PROTOCOL_LOOKS.items(), (-1.2, 1.2), strict=True):
            style.curve(
                ax,
                of_row[of_row["protocol"] == name],
                shift,
                **look | {"linestyle": style.DASHES[name]},
            )
        for i, (name, marker) in enumerate(zip(names, REFERENCES, strict=False)):
            of_name = references[(references["row"] == row) & (references["name"] == name)]
            style.curve(ax, of_name, 4.5 + 3.5 * i, **_reference(marker))
        of_paper = printed[printed["row"] == row]
        ax.plot(of_paper["paper_x"], of_paper["paper"], **style.PRINTED)
        ax.set(title=row, xlabel="")
        ax.margins(x=0.1)
    style.scale_axis(axes[0, 0], "", ticks, scale)
    figure.supxlabel(xlabel + style.SAID[scale])
    figure.supylabel("accuracy at threshold 0.5, 95% interval")
    handles = {style.PAPER: Line2D([], [], **style.PRINTED)} if len(printed) else {}
    handles |= {name: Line2D([], [], **_reference(REFERENCES[i])) for i, name in enumerate(names)}
    style.legend(figure, handles)
    figure.draw_without_rendering()
    for row, ax in zip(ROWS[2::3], axes[:, -1], strict=True):
        last = points[points["row"] == row].sort_values("x").groupby("protocol").last()
        style.name_ends(ax, {n.replace(" ", "\n"): (*last.loc[n, ["x", "accuracy"]], look["color"])
                       for n, look in style.PROTOCOL_LOOKS.items() if n in last.index})  # fmt: skip
    return style.done(figure)


def model_quality(performance: pd.DataFrame) -> Figure:
    """Draw how good Audited Models are, a line each: verification, and what they identify.

    Args:
        performance: With the columns of `Study.performance`. Where all names hold a number, lines are in
            its order.
    """
    numbers = performance["model"].str.extract(r"(\d+(?:\.\d+)?)")[0].astype(float)
    ordered = (
        performance.iloc[numbers.argsort(kind="stable")] if numbers.notna().all() else performance
    )
    verified = "verification accuracy (pairs)"
    each = [
        (verified, style.PAPER, ordered["paper"].astype(float), None, None),
        (verified, OURS, ordered["verification"], ordered["low"], ordered["high"]),
        ("images identified", "members", ordered["members"], None, None),
        ("images identified", "held-out images", ordered["held-out"], None, None),
    ]
    frames = [
        pd.DataFrame({"value": value, "low": low, "high": high}, dtype=float).assign(
            panel=panel, series=series, name=ordered["model"]
        )
        for panel, series, value, low, high in each
    ]
    return style.dotted(pd.concat(frames), QUALITY, "fraction", chance=None)


def heat_map(cells: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw all tables at once: the paper's numbers, then ours under each protocol, each with its colours.

    Args:
        cells: Heading of a table, of short lines -> its cells, with the columns of ``tables.CELLS``.
    """
    every = pd.concat(cells, names=["table"]).reset_index("table")
    order = pd.MultiIndex.from_frame(every[["table", "column"]].drop_duplicates())
    starts = [list(order.get_level_values(0)).index(name) for name in cells]
    panels_of = {style.PAPER: ("paper", "paper")}
    panels_of |= {f"ours, {name}": (p, "accuracy") for p, name in PROTOCOL_NAMES.items()}
    figure, axes = style.panels(len(panels_of), 1, 6.0, sharex=True)
    for ax, (title, (protocol, value)) in zip(axes[:, 0], panels_of.items(), strict=True):
        of = every[every["protocol"] == protocol]
        grid = of.pivot_table(index="row", columns=["table", "column"], values=value)
        same = protocol == "held_out"  # about chance: which side of it is what matters
        colours = (
            {"cmap": "PuOr_r", "vmin": 0.4, "vmax": 0.6}
            if same
            else {"cmap": SHADES, "vmin": 0.45, "vmax": 0.95}
        )
        grid = grid.reindex(index=ROWS, columns=order)
        text = grid.map(lambda number: f"{number:.2f}".removeprefix("0"))
        bar = {
            "pad": 0.01,
            "aspect": 12,
            "ticks": [0.4, 0.5, 0.6] if same else [0.5, 0.6, 0.7, 0.8, 0.9],
        }
        sns.heatmap(
            grid, ax=ax, annot=text, fmt="", annot_kws={"fontsize": 7.5}, cbar_kws=bar, **colours
        )
        ax.collections[0].colorbar.ax.axhline(0.5, color="black", linewidth=1.2)
        ax.collections[0].colorbar.set_ticks(
            bar["ticks"], labels=[f"{t:g}" + " chance" * (t == 0.5) for t in bar["ticks"]]
        )
        ax.vlines(starts[1:], *ax.get_ylim(), color="white", linewidth=4)
        ax.set_title(title, fontweight="bold", pad=30 if ax is axes[0, 0] else None)
        ax.set(xlabel="", ylabel="")
    for start, name in zip(starts, cells, strict=True):
        middle = start + len(dict.fromkeys(cells[name]["column"])) / 2
        axes[0, 0].annotate(name, (middle, 0), (0, 4), textcoords="offset points", ha="center")
    axes[-1, 0].set_xticks(np.arange(len(order)) + 0.5, order.get_level_values(1), rotation=40, ha="right",
                           rotation_mode="anchor")  # fmt: skip
    figure.supxlabel("a cell: accuracy of T at threshold 0.5")
    return style.done(figure)


def _reference(marker: str) -> dict:
    return {"linestyle": "", "marker": marker, "color": style.GREY, "mfc": "white", "ms": 4}


def _shade(i: int, parts: int) -> tuple[float, ...]:
    return SHADES(0.2 + 0.75 * i / max(parts - 1, 1))


def _palette(shades: Sequence) -> LinearSegmentedColormap:
    return LinearSegmentedColormap.from_list("parts", shades, N=len(shades))
