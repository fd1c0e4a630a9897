"""The figure of the auditor's factors, 6 inches wide for a printed page.

In: a data frame of `mint_utils.study.factors`. Out: a matplotlib Figure, which a notebook shows once as a
cell's last expression.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mint_utils.config import PROTOCOLS, ROWS
from mint_utils.report.comparisons import LINES, curve
from mint_utils.report.style import CHANCE, PRINTED, STYLES, done, legend, panels

DRAWN = ROWS[4:]  # where settings lie along the axis: Model Outcome, All Conv Layers
SHORT = dict(zip(ROWS, ("#1", "#2", "#3", "#4", "out", "all"), strict=True))
TICKS = 4  # at most, of settings along an axis


def factors(lines: pd.DataFrame) -> Figure:
    """Draw accuracy against each of the auditor's choices, a panel a factor, both protocols.

    A factor whose settings stand for MINT Models has the rows of the tables along its axis and draws its
    last setting; the others have their settings there.

    Args:
        lines: One line a cell: factor, setting, row, protocol, accuracy, low, high, paper (NaN where [4]
            has no number).
    """
    names = list(dict.fromkeys(lines["factor"]))
    columns = 3
    figure, axes = panels(
        -(-len(names) // columns), columns, 2.1 * (-(-len(names) // columns)), sharey=True
    )
    for name, ax in zip(names, axes.flat, strict=False):
        of = lines[lines["factor"] == name]
        ax.axhline(0.5, **CHANCE)
        if of["setting"].str.endswith("MINT").all():
            last = of["setting"].iloc[-1]
            _along_rows(ax, of[of["setting"] == last])
            ax.set_title(f"{name}, {last}")
        else:
            _along_settings(ax, of)
            ax.set_title(name)
        ax.grid(axis="x", visible=False)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    figure.supylabel("accuracy at threshold 0.5, 95% interval", fontsize=8)
    handles = {
        f"ours, protocol {protocol}": Line2D([], [], color="black", linestyle=how)
        for protocol, how in LINES.items()
    }
    handles |= {row: Line2D([], [], color=STYLES[row].colour, marker=".") for row in DRAWN}
    if lines["paper"].notna().any():
        handles |= {"[4], mean of three models": Line2D([], [], **PRINTED)}
    legend(figure, handles | {"chance": Line2D([], [], **CHANCE)}, columns=3)
    return done(figure)


def _along_settings(ax: Axes, of: pd.DataFrame) -> None:
    settings = list(dict.fromkeys(of["setting"]))
    for row, shift in zip(DRAWN, (-2.5, 0), strict=True):
        for protocol in PROTOCOLS:
            cell = of[(of["row"] == row) & (of["protocol"] == protocol)].set_index("setting")
            if len(cell):
                _points(ax, cell.reindex(settings), shift, STYLES[row].colour, LINES[protocol])
    step = -(-len(settings) // TICKS)
    shown = range(len(settings) - 1, -1, -step)
    ax.set_xticks(list(shown), [settings[i] for i in shown])


def _along_rows(ax: Axes, of: pd.DataFrame) -> None:
    rows = [row for row in ROWS if row in set(of["row"])]
    for protocol in PROTOCOLS:
        cell = of[of["protocol"] == protocol].set_index("row").reindex(rows)
        _points(ax, cell, 0, "black", LINES[protocol])
    ax.set_xticks(range(len(rows)), [SHORT[row] for row in rows])
    ax.set_xlabel("Conv Layer, outcome, all layers")


def _points(ax: Axes, cell: pd.DataFrame, shift: float, colour: str, how) -> None:
    """Draw accuracies with intervals side by side, in the order of their lines, and [4]'s beside them."""
    place = np.arange(len(cell))
    curve(ax, cell.assign(x=place), shift, color=colour, linestyle=how, marker=".")
    ax.plot(place, cell["paper"], **PRINTED)
    ax.set_xlim(-0.5, len(cell) - 0.5)
