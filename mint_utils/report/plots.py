"""The figures of the study, 6 inches wide for a printed page.

In: data frames and arrays. Out: matplotlib Figures, which a notebook shows once as a cell's last
expression; `save` writes png and pdf with the same bytes in every run.
A row has the same colour, line style and marker everywhere (``STYLES``), told apart in grey too.
"""

import functools
import itertools
import os
from collections.abc import Mapping
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
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator

from mint_utils.config import PROTOCOLS, ROWS

WIDTH = 6.0  # inches
GREY = "#595959"
CHANCE = {"color": GREY, "linestyle": (0, (1, 1.5)), "linewidth": 1.2}
HOLLOW = {"marker": "o", "color": "black", "mfc": "white", "ms": 4.5, "linestyle": ""}
LOOKS = {"paper": (0.55, None), "held_out": (0.0, "/////")}  # tint and hatch of a bar
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


def accuracy_bars(cells: pd.DataFrame) -> Figure:
    """Draw the paper's number, ours under each protocol with its 95% interval, and chance, a row.

    Args:
        cells: With the columns of ``tables.CELLS``, of the rows ``ROWS``; ``paper`` may be absent.
            One panel a column of the table.
    """
    cells = cells if "paper" in cells else cells.assign(paper=np.nan)
    columns = list(dict.fromkeys(cells["column"]))
    figure, axes = _panels(1, len(columns), 3.6, sharex=True, sharey=True)
    for column, ax in zip(columns, axes[0], strict=True):
        for (row, protocol), lines in cells[cells["column"] == column].groupby(["row", "protocol"]):
            _bar(ax, row, protocol, lines.iloc[0])
        ax.axvline(0.5, **CHANCE)
        ax.set_title(column)
        ax.grid(axis="y", visible=False)
    lowest = np.floor(cells["low"].min() * 20) / 20
    axes[0, 0].set(
        yticks=range(len(ROWS)),
        yticklabels=ROWS,
        ylim=(len(ROWS) - 0.5, -0.6),
        xticks=np.arange(0.5, 1.01, 0.1 if len(columns) < 3 else 0.25),
        xlim=(min(0.42, lowest), 1.0),
    )
    figure.supxlabel("accuracy at threshold 0.5 (fraction of images)", fontsize=8)
    handles = {
        "ours, protocol paper": Patch(**_look("paper", GREY)),
        "ours, protocol held_out": Patch(**_look("held_out", GREY)),
        "95% interval": Line2D([], [], color="black", linewidth=1.2),
        "chance": Line2D([], [], **CHANCE),
    }
    if cells["paper"].notna().any():
        handles = {"the paper": Line2D([], [], **HOLLOW)} | handles
    _legend(figure, handles, columns=3)
    return _done(figure)


def _bar(ax: Axes, row: str, protocol: str, line: pd.Series) -> None:
    """Draw a cell as a bar from chance to its accuracy, and the paper's number above it."""
    place = ROWS.index(row) + {"paper": -0.1, "held_out": 0.25}[protocol]
    value = line["accuracy"]
    look = _look(protocol, STYLES[row].colour)
    ax.barh(place, value - 0.5, height=0.32, left=0.5, **look)
    ends = np.maximum([[value - line["low"]], [line["high"] - value]], 0)
    ax.errorbar(value, place, xerr=ends, color="black", elinewidth=1.2, capsize=1.8)
    if np.isfinite(line["paper"]):
        ax.plot(line["paper"], place - 0.29, **HOLLOW)


def roc(curves: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> Figure:
    """Draw ROC curves on logarithmic axes, one panel a protocol.

    Low false-positive rates are what an audit needs, and a linear axis hides them
    (arXiv 2112.03570).

    Args:
        curves: Protocol -> row -> (FPR, TPR), increasing fractions.
    """
    floor = 1e-3
    figure, axes = _panels(1, len(curves), 3.6, sharey=True, subplot_kw={"box_aspect": 1})
    for (protocol, of_rows), ax in zip(curves.items(), axes[0], strict=True):
        ax.plot([floor, 1], [floor, 1], **CHANCE)
        for i, (row, style) in enumerate(STYLES.items()):
            if row not in of_rows:
                continue
            # A point at 0 has no place on a logarithmic axis: it is drawn below its edge.
            fpr, tpr = (np.maximum(rate, floor / 10) for rate in of_rows[row])
            ax.plot(fpr, tpr, **_line(style), markevery=(0.03 * i, 0.2))
        ax.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1))
        ax.set(title=f"protocol {protocol}", xlabel="false-positive rate")
    axes[0, 0].set_ylabel("true-positive rate")
    figure.get_layout_engine().set(wspace=0.05)
    handles = {row: Line2D([], [], **_line(style)) for row, style in STYLES.items()}
    _legend(figure, handles | {"chance": Line2D([], [], **CHANCE)}, columns=4)
    return _done(figure)


def score_distributions(scores: pd.DataFrame) -> Figure:
    """Draw the scores of members (filled) and non-members (outline), a panel a row and protocol.

    Args:
        scores: One line an image: row, protocol, member (bool), score (probability of membership).
    """
    bins = np.linspace(0, 1, 31)
    figure, axes = _panels(len(ROWS), len(PROTOCOLS), 5.4, sharex=True)
    for ax, (row, protocol) in zip(axes.flat, itertools.product(ROWS, PROTOCOLS), strict=True):
        of_panel = scores[(scores["row"] == row) & (scores["protocol"] == protocol)]
        for member, of_class in of_panel.groupby("member"):
            share = np.full(len(of_class), 1 / len(of_class))
            look = _look("paper", STYLES[row].colour) if member else OUTLINE
            ax.hist(of_class["score"], bins, weights=share, histtype="stepfilled", **look)
        ax.axvline(0.5, **CHANCE)
        ax.grid(visible=False)
        ax.set(xlim=(0, 1), yticks=[])
    for ax, protocol in zip(axes[0], PROTOCOLS, strict=True):
        ax.set_title(f"protocol {protocol}")
    for ax, row in zip(axes[:, 0], ROWS, strict=True):
        ax.set_ylabel(row, rotation=0, ha="right", va="center")
    figure.supxlabel(
        "score of T (probability of membership); height: share of images, a scale a panel",
        fontsize=8,
    )
    handles = {
        "members": Patch(**_look("paper", GREY)),
        "non-members": Patch(**OUTLINE),
        "threshold": Line2D([], [], **CHANCE),
    }
    _legend(figure, handles, columns=3)
    return _done(figure)


def loss_curve(history: pd.DataFrame) -> Figure:
    """Draw the training loss of M and, below it, the learning rate.

    Args:
        history: One line a step: step, epoch (from 0), loss, lr.
    """
    figure, axes = _panels(2, 1, 3.2, sharex=True, height_ratios=(3, 1.2))
    above, below = axes[:, 0]
    step, loss = history["step"], history["loss"]
    window = max(1, len(history) // 100)
    mean = loss.rolling(window, center=True, min_periods=1).mean()
    above.plot(step, loss, color="#b0b0b0", linewidth=0.6, label="each step", rasterized=True)
    above.plot(step, mean, color=STYLES["Model Outcome"].colour, label=f"mean of {window} steps")
    above.set(ylabel="loss (nats)", ylim=(0, None))
    above.legend(loc="upper right")
    below.step(step, history["lr"], where="post", color="black", linewidth=1.2)
    below.set(ylabel="learning rate", xlabel="step", yscale="log", xlim=(0, step.max() + 1))
    below.yaxis.set_major_locator(LogLocator(numticks=6))
    per_epoch = (step.max() + 1) / (history["epoch"].max() + 1)
    epochs = above.secondary_xaxis(
        "top", functions=(lambda s: s / per_epoch, lambda epoch: epoch * per_epoch)
    )
    epochs.set_xlabel("epoch")
    epochs.xaxis.set_major_locator(MaxNLocator(integer=True))
    epochs.tick_params(length=2, width=0.8, color=GREY)
    figure.align_ylabels()
    return _done(figure)


def sample_sheet(images: Mapping[str, np.ndarray]) -> Figure:
    """Show the first faces of each database in a row under its name.

    Args:
        images: Name -> (k, H, W, 3) uint8, RGB; k may differ.
    """
    most = max(len(faces) for faces in images.values())
    figure, axes = _panels(len(images), 1, len(images) * (WIDTH / most + 0.22))
    for ax, (name, faces) in zip(axes.flat, images.items(), strict=True):
        ax.imshow(_row(faces, most), interpolation="none")
        ax.set_title(name)
        ax.axis("off")
    return _done(figure)


def colour_order(image: np.ndarray) -> Figure:
    """Show a face, its three planes, and what a network sees that takes RGB for BGR.

    Args:
        image: (H, W, 3) uint8, RGB.
    """
    shown = {"as stored (RGB)": image}
    shown |= {f"plane {i}: {name}": image[..., i] for i, name in enumerate(("R", "G", "B"))}
    shown["R and B exchanged"] = image[..., ::-1]
    figure, axes = _panels(1, len(shown), 1.4)
    for ax, (title, pixels) in zip(axes[0], shown.items(), strict=True):
        ax.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="none")
        ax.set_title(title, loc="center")
        ax.axis("off")
    return _done(figure)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as png and pdf, each whole or not at all, and return the two paths.

    The files carry neither a time nor a version: the same figure has the same bytes.

    Args:
        figure: Of this module or of ``diagrams``.
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


def _panels(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    theme()
    layout = {"figsize": (WIDTH, height), "layout": "constrained", "squeeze": False}
    return plt.subplots(rows, columns, **layout, **options)


def _line(style: Style) -> dict[str, Any]:
    return {
        "color": style.colour,
        "linestyle": style.line,
        "marker": style.marker,
        "markersize": 4.5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def _look(protocol: str, colour: str) -> dict[str, Any]:
    share, hatch = LOOKS[protocol]
    return {"facecolor": tint(colour, share), "edgecolor": colour, "hatch": hatch}


def tint(colour: str, share: float) -> tuple[float, ...]:
    """Return a colour mixed with white: opaque, so that no grid shows through."""
    return tuple(1 - share * (1 - channel) for channel in to_rgb(colour))


def _row(faces: np.ndarray, most: int) -> np.ndarray:
    """Return faces side by side, (H, ..., 3) uint8, white between them and where there is none."""
    height, width = faces.shape[1:3]
    gap = max(1, width // 20)
    strip = np.full((height, most * (width + gap) - gap, 3), 255, np.uint8)
    for i, face in enumerate(faces):
        strip[:, i * (width + gap) : i * (width + gap) + width] = face
    return strip


def _legend(figure: Figure, handles: Mapping[str, Any], columns: int) -> None:
    figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=columns)


def _done(figure: Figure) -> Figure:
    """Return a figure that pyplot has forgotten, so that a notebook does not show it twice."""
    plt.close(figure)
    return figure
