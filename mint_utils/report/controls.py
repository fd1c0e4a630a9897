"""The figures of the controls, 6 inches wide for a printed page.

In: data frames of `mint_utils.study.controls`, `mint_utils.study.detectors` and `mint_utils.study.case`.
Out: matplotlib Figures, which a notebook shows once as a cell's last expression.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mint_utils.config import PROTOCOLS, ROWS
from mint_utils.report.style import CHANCE, GREY, done, legend, panels

# Of the steps of a ladder, in their order: grey without M, then M, then M held out.
STEPS = (
    {"color": GREY, "marker": "s", "mfc": "white"},
    {"color": GREY, "marker": "^", "mfc": "white"},
    {"color": "#3182bd", "marker": "o", "mfc": "white"},
    {"color": "#08306b", "marker": "o"},
    {"color": "#d55e00", "marker": "D"},
)
PROTOCOL_LOOKS = {
    "paper": {"color": "#08306b", "marker": "o"},
    "held_out": {"color": "#d55e00", "marker": "D"},
}
ACCESS = {"white box": "#08306b", "black box": "#d55e00"}
READERS = (
    {"color": "#d55e00", "marker": "D"},
    {"color": "#08306b", "marker": "^", "mfc": "white"},
    {"color": GREY, "marker": "s", "mfc": "white"},
)
FOLDERS = (
    {"color": "#d55e00", "linestyle": "-"},
    {"color": "#08306b", "linestyle": (0, (6, 2))},
    {"color": "black", "linestyle": (0, (1, 1))},
)
NEEDS = {"label": "*", "shadow models": "†"}  # what a detector needs -> its mark


def ladder(steps: pd.DataFrame) -> Figure:
    """Draw for every row of the paper's tables what is left of its number as things are taken away.

    Args:
        steps: row, step, accuracy, low, high, the steps in their order.
    """
    figure, axes = panels(1, 1, 4.3)
    ax, names = axes[0, 0], list(dict.fromkeys(steps["step"]))
    offsets = np.linspace(-0.3, 0.3, len(names))
    for name, offset, look in zip(names, offsets, STEPS, strict=True):
        of = steps[steps["step"] == name].set_index("row").reindex(ROWS)
        _interval(ax, of, np.arange(len(ROWS)) + offset, look)
    for place in range(1, len(ROWS)):
        ax.axhline(place - 0.5, color="#dddddd", linewidth=0.8)
    ax.axvline(0.5, **CHANCE)
    ax.set(yticks=range(len(ROWS)), yticklabels=ROWS, ylim=(len(ROWS) - 0.45, -0.55))
    ax.set_xlabel("accuracy at threshold 0.5 (fraction of images), 95% interval")
    ax.grid(axis="y", visible=False)
    handles = {
        name: Line2D([], [], linestyle="", ms=5, **look)
        for name, look in zip(names, STEPS, strict=True)
    }
    legend(figure, handles | {"chance": Line2D([], [], **CHANCE)}, columns=3)
    return done(figure)


def rows_by_protocol(cells: Mapping[str, pd.DataFrame], rows: Sequence[str]) -> Figure:
    """Draw accuracies with intervals, a panel a row, a line a column of the table, both protocols.

    Args:
        cells: Panel -> cells with the columns of ``tables.CELLS`` that hold the panel's row.
        rows: The row of each panel.
    """
    columns = list(dict.fromkeys(next(iter(cells.values()))["column"]))
    figure, axes = panels(1, len(cells), 1.5 + 0.27 * len(columns), sharex=True, sharey=True)
    place = np.arange(len(columns))
    for (title, found), row, ax in zip(cells.items(), rows, axes[0], strict=True):
        for protocol, shift in zip(PROTOCOLS, (-0.14, 0.14), strict=True):
            of = found[(found["row"] == row) & (found["protocol"] == protocol)]
            of = of.set_index("column").reindex(columns)
            _interval(ax, of, place + shift, PROTOCOL_LOOKS[protocol])
        ax.axvline(0.5, **CHANCE)
        ax.set_title(title)
        ax.grid(axis="y", visible=False)
    axes[0, 0].set(yticks=place, yticklabels=columns, ylim=(len(columns) - 0.4, -0.6))
    figure.supxlabel("accuracy at threshold 0.5, 95% interval", fontsize=8)
    handles = {
        f"protocol {protocol}": Line2D([], [], linestyle="", ms=5, **look)
        for protocol, look in PROTOCOL_LOOKS.items()
    }
    legend(figure, handles | {"chance": Line2D([], [], **CHANCE)}, columns=3)
    return done(figure)


def detectors(compared: pd.DataFrame) -> Figure:
    """Draw the AUC of detectors with its interval, MINT Models filled and attacks hollow.

    Args:
        compared: Of `detectors.Detectors.compared`.
    """
    n = len(compared)
    figure, axes = panels(1, 1, 1.1 + 0.22 * n)
    ax = axes[0, 0]
    for place, line in enumerate(compared.itertuples()):
        look = {"color": ACCESS[line.access], "marker": "D"}
        if not line.detector.startswith(("MINT", "Vanilla")):
            look |= {"marker": "o", "mfc": "white"}
        of = pd.DataFrame({"accuracy": [line.auc], "low": [line.low], "high": [line.high]})
        _interval(ax, of, np.array([place]), look)
    ax.axvline(0.5, **CHANCE)
    names = [
        f"{d} {''.join(mark for need, mark in NEEDS.items() if need in needs)}".rstrip()
        for d, needs in zip(compared["detector"], compared["needs"], strict=True)
    ]
    ax.set(yticks=range(n), yticklabels=names, ylim=(n - 0.4, -0.6))
    figure.supxlabel(
        "area under the ROC curve (AUC), non-members of the same database, 95% interval\n"
        "* is told who is shown    † trains shadow models",
        fontsize=8,
    )
    ax.grid(axis="y", visible=False)
    handles = {
        "MINT Model": Line2D([], [], linestyle="", marker="D", color="black", ms=5),
        "attack": Line2D([], [], linestyle="", marker="o", mfc="white", color="black", ms=5),
    }
    handles |= {
        access: Line2D([], [], linestyle="-", color=colour) for access, colour in ACCESS.items()
    }
    legend(figure, handles | {"chance": Line2D([], [], **CHANCE)}, columns=5)
    return done(figure)


def readers(cells: pd.DataFrame) -> Figure:
    """Draw how well known members are told from known non-members, a line a reader and row.

    Args:
        cells: Of `case.Case.cells`.
    """
    figure, axes = panels(1, 1, 0.9 + 0.23 * len(cells))
    ax, place = axes[0, 0], np.arange(len(cells))
    for (_, of), look in zip(cells.groupby("column", sort=False), READERS, strict=True):
        _interval(ax, of, place[of.index], look)
    ax.axvline(0.5, **CHANCE)
    names = cells["row"].where(~cells["row"].duplicated(), cells["row"] + ", " + cells["column"])
    ax.set(yticks=place, yticklabels=names, ylim=(len(cells) - 0.4, -0.6))
    ax.set_xlabel("accuracy on people that the MINT Model never saw, 95% interval")
    ax.grid(axis="y", visible=False)
    handles = {
        name: Line2D([], [], linestyle="", ms=5, **look)
        for name, look in zip(cells["column"].unique(), READERS, strict=True)
    }
    legend(figure, handles | {"chance": Line2D([], [], **CHANCE)}, columns=4)
    return done(figure)


def judged(scores: pd.DataFrame) -> Figure:
    """Draw the share of each folder's images that score at least so high.

    Args:
        scores: Of `case.Case.scores`.
    """
    figure, axes = panels(1, 1, 2.8)
    ax = axes[0, 0]
    for (folder, of), look in zip(scores.groupby("folder", sort=False), FOLDERS, strict=True):
        ax.ecdf(of["score"], complementary=True, label=folder.replace("_", "-"), **look)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="score (probability of membership)")
    ax.set_ylabel("share of the folder's images\nthat score at least so high")
    handles, names = ax.get_legend_handles_labels()
    legend(figure, dict(zip(names, handles, strict=True)), columns=3)
    return done(figure)


def _interval(ax: Axes, of: pd.DataFrame, place: np.ndarray, look: Mapping) -> None:
    value = of["accuracy"].to_numpy(float)
    ends = np.maximum([value - of["low"], of["high"] - value], 0)
    ax.errorbar(
        value, place, xerr=ends, fmt="", linestyle="", ms=5, capsize=1.8, elinewidth=1.1, **look
    )
