"""The figures of the auditor's factors (`mint_utils.study.factors`), 6 inches wide for a printed page."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mint_utils.config import PROTOCOL_NAMES, ROWS
from mint_utils.report import style

SHORT = dict(zip(ROWS, ("#1", "#2", "#3", "#4", "out", "all"), strict=True))
DRAWN = {"All Conv Layers": {}, "Model Outcome": {"mfc": "white"}}  # where settings are on the axis
TICKS = 4  # largest number of ticks, where settings are on the axis
COLUMNS = 3


def factors(lines: pd.DataFrame) -> Figure:
    """Draw accuracy against each of the auditor's choices, two panels for each factor, one below the other.

    The upper panel is against other databases; the lower one is against the same database, on its own scale.
    A factor whose settings are MINT Models has the rows of the tables on its axis, and its last setting is
    drawn. The other factors have their settings on the axis.

    Args:
        lines: factor, setting, row, protocol, accuracy, low, high, paper (NaN where [4] has no number) of
            each cell.
    """
    names = list(dict.fromkeys(lines["factor"]))
    bands = -(-len(names) // COLUMNS)
    figure, axes = style.panels(2 * bands, COLUMNS, 2.7 * bands, height_ratios=(1.5, 1) * bands)
    for place, (protocol, name) in enumerate(PROTOCOL_NAMES.items()):
        of_protocol = lines[lines["protocol"] == protocol]
        ends = of_protocol[["low", "high", "paper"]]
        limits = min(0.48, ends.min().min()) - 0.01, max(0.52, ends.max().max()) + 0.02
        for i, factor in enumerate(names):
            ax = axes[2 * (i // COLUMNS) + place, i % COLUMNS]
            of_factor = of_protocol[of_protocol["factor"] == factor]
            title = _draw(ax, of_factor, style.PROTOCOL_LOOKS[name])
            ax.set(ylim=limits, title="" if place else f"{factor}{title}")
            if i % COLUMNS:
                ax.set_yticklabels([])
            else:
                ax.set_ylabel(name.replace(" ", "\n"))
            if not place:
                ax.set_xticklabels([])
                ax.set_xlabel("")
    for i in range(len(names), bands * COLUMNS):
        for ax in axes[2 * (i // COLUMNS) :, i % COLUMNS]:
            ax.set_axis_off()
    figure.supylabel(style.ACCURACY)
    dot = {"color": "black", "marker": "o", "linestyle": "", "ms": 5}
    looks = {row: dot | look for row, look in DRAWN.items()}
    if lines["paper"].notna().any():
        looks["[4], mean of three models"] = style.PRINTED
    style.legend(figure, looks)
    return style.done(figure)


def _draw(ax: Axes, lines: pd.DataFrame, look: dict) -> str:
    """Draw one factor under one protocol; return an addition to the panel's title."""
    settings, title = list(dict.fromkeys(lines["setting"])), ""
    if lines["setting"].str.endswith("MINT").all():
        title = f", {settings[-1]}"
        rows = [row for row in ROWS if row in set(lines["row"])]
        cells = {"": lines[lines["setting"] == settings[-1]].set_index("row").reindex(rows)}
        ax.set_xticks(range(len(rows)), [SHORT[row] for row in rows])
        ax.set_xlabel("what T reads")
    else:
        cells = {row: lines[lines["row"] == row].set_index("setting") for row in DRAWN}
        cells = {row: cell.reindex(settings) for row, cell in cells.items() if len(cell)}
        step = -(-len(settings) // TICKS)
        at = list(range(len(settings) - 1, -1, -step))
        ax.set_xticks(at, [settings[i] for i in at])
        counts = all(setting.replace(",", "").isdigit() for setting in settings)
        ax.set_xlabel("images (logarithmic axis)" if counts else "setting")
    ax.axhline(0.5, **style.CHANCE)
    for i, (row, cell) in enumerate(cells.items()):
        place = np.arange(len(cell))
        shift = 5 * (i - (len(cells) - 1) / 2)  # points
        own_look = look | {"linestyle": ""} | DRAWN.get(row, {})
        style.curve(ax, cell.assign(x=place), shift, **own_look)
        ax.plot(place, cell["paper"], **style.PRINTED, zorder=3)
    ax.set_xlim(-0.5, len(next(iter(cells.values()))) - 0.5)
    ax.grid(axis="x", visible=False)
    return title


def samples(lines: pd.DataFrame, trend: pd.DataFrame) -> Figure:
    """Draw accuracy against the number of T's training images, with the fitted line and its extrapolation.

    Args:
        lines: setting, row, protocol, accuracy, low, high of the factor MINT samples.
        trend: The result of `mint_utils.study.factors.trend`.
    """
    figure, axes = style.panels(1, len(DRAWN), 2.6, sharey=True)
    for ax, row in zip(axes[0], DRAWN, strict=True):
        for protocol, name in PROTOCOL_NAMES.items():
            cells, laws = (
                frame[(frame["row"] == row) & (frame["protocol"] == protocol)]
                for frame in (lines, trend)
            )
            x = cells["setting"].str.replace(",", "").astype(float).to_numpy()
            look, law = style.PROTOCOL_LOOKS[name], laws.iloc[0]
            style.dots(ax, cells, x, across=False, **look)
            style.dots(ax, laws, [law["at"]], across=False, **look | {"mfc": "white"})
            for ends, how in ((x, "-"), (np.array([x.max(), law["at"]]), ":")):
                at = np.array([ends.min(), ends.max()])
                level = law["accuracy"] + law["slope"] * np.log10(at / law["at"])
                ax.plot(at, level, color=look["color"], linestyle=how, linewidth=1)
        ax.axhline(0.5, **style.CHANCE)
        ax.set_title(row)
        style.scale_axis(ax, "training images of T", [*x, law["at"]])
        ax.grid(axis="x", visible=False)
    figure.supylabel(style.ACCURACY)
    plain = {"linestyle": "", "ms": 5}
    looks = {name: plain | look for name, look in style.PROTOCOL_LOOKS.items()}
    outside = {"color": "black", "marker": "o", "mfc": "white", "linestyle": ":", "ms": 5}
    style.legend(figure, looks | {"extrapolated": outside})
    return style.done(figure)
