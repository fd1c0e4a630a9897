"""The figures of one table, 6 inches wide for a printed page.

In: data frames and arrays. Out: matplotlib Figures, which a notebook shows once as a cell's last
expression.
"""

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator

from mint_utils.config import PROTOCOLS, ROWS
from mint_utils.report.style import (
    CHANCE,
    GREY,
    OUTLINE,
    PRINTED,
    STYLES,
    WIDTH,
    done,
    dots,
    filling,
    legend,
    panels,
    stroke,
)


def accuracy_bars(cells: pd.DataFrame, title: str = "{}") -> Figure:
    """Draw the paper's number, ours under each protocol with its 95% interval, and chance, a row.

    Args:
        cells: With the columns of ``tables.CELLS``, of the rows ``ROWS``; ``paper`` may be absent.
            One panel a column of the table.
        title: Of a panel, with {} where its column stands.
    """
    cells = cells if "paper" in cells else cells.assign(paper=np.nan)
    columns = list(dict.fromkeys(cells["column"]))
    figure, axes = panels(1, len(columns), 3.6, sharex=True, sharey=True)
    for column, ax in zip(columns, axes[0], strict=True):
        for (row, protocol), lines in cells[cells["column"] == column].groupby(["row", "protocol"]):
            _bar(ax, row, protocol, lines.iloc[0])
        ax.axvline(0.5, **CHANCE)
        ax.set_title(title.format(column))
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
        "ours, protocol paper": Patch(**filling("paper", GREY)),
        "ours, protocol held_out": Patch(**filling("held_out", GREY)),
        "95% interval": Line2D([], [], color="black", linewidth=1.2, marker=".", ms=4),
        "chance": Line2D([], [], **CHANCE),
    }
    if cells["paper"].notna().any():
        handles = {"the paper": Line2D([], [], **PRINTED)} | handles
    legend(figure, handles, columns=3)
    return done(figure)


def _bar(ax: Axes, row: str, protocol: str, line: pd.Series) -> None:
    """Draw a cell as a bar from chance to its accuracy, and the paper's number above it."""
    place = ROWS.index(row) + {"paper": -0.1, "held_out": 0.25}[protocol]
    value = line["accuracy"]
    look = filling(protocol, STYLES[row].colour)
    ax.barh(place, value - 0.5, height=0.32, left=0.5, **look)
    dots(ax, line.to_frame().T, [place], color="black", marker=".", ms=4)
    if np.isfinite(line["paper"]):
        ax.plot(line["paper"], place - 0.3, **PRINTED)


def roc(curves: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> Figure:
    """Draw ROC curves on logarithmic axes, one panel a protocol.

    Low false-positive rates are what an audit needs, and a linear axis hides them
    (arXiv 2112.03570).

    Args:
        curves: Protocol -> row -> (FPR, TPR), increasing fractions.
    """
    floor = 1e-3
    figure, axes = panels(1, len(curves), 3.6, sharey=True, subplot_kw={"box_aspect": 1})
    for (protocol, of_rows), ax in zip(curves.items(), axes[0], strict=True):
        ax.plot([floor, 1], [floor, 1], **CHANCE)
        for i, (row, style) in enumerate(STYLES.items()):
            if row not in of_rows:
                continue
            # A point at 0 has no place on a logarithmic axis: it is drawn below its edge.
            fpr, tpr = (np.maximum(rate, floor / 10) for rate in of_rows[row])
            ax.plot(fpr, tpr, **stroke(style), markevery=(0.03 * i, 0.2))
        ax.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1))
        ax.set(title=f"protocol {protocol}", xlabel="false-positive rate")
    axes[0, 0].set_ylabel("true-positive rate")
    figure.get_layout_engine().set(wspace=0.05)
    handles = {row: Line2D([], [], **stroke(style)) for row, style in STYLES.items()}
    legend(figure, handles | {"chance": Line2D([], [], **CHANCE)}, columns=4)
    return done(figure)


def score_distributions(scores: pd.DataFrame) -> Figure:
    """Draw the scores of members (filled) and non-members (outline), a panel a row and protocol.

    Args:
        scores: One line an image: row, protocol, member (bool), score (probability of membership).
    """
    bins = np.linspace(0, 1, 31)
    figure, axes = panels(len(ROWS), len(PROTOCOLS), 5.4, sharex=True)
    for ax, (row, protocol) in zip(axes.flat, itertools.product(ROWS, PROTOCOLS), strict=True):
        of_panel = scores[(scores["row"] == row) & (scores["protocol"] == protocol)]
        for member, of_class in of_panel.groupby("member"):
            share = np.full(len(of_class), 1 / len(of_class))
            look = filling("paper", STYLES[row].colour) if member else OUTLINE
            ax.hist(of_class["score"], bins, weights=share, histtype="stepfilled", **look)
        ax.axvline(0.5, **CHANCE)
        ax.grid(visible=False)
        ax.set(xlim=(0, 1), yticks=[])
    for ax, protocol in zip(axes[0], PROTOCOLS, strict=True):
        ax.set_title(f"protocol {protocol}")
    for ax, row in zip(axes[:, 0], ROWS, strict=True):
        ax.set_ylabel(row, rotation=0, ha="right", va="center")
    figure.supxlabel(
        "score of T (probability of membership); height: share of images, each panel to its own scale",
        fontsize=8,
    )
    handles = {
        "members": Patch(**filling("paper", GREY)),
        "non-members": Patch(**OUTLINE),
        "threshold": Line2D([], [], **CHANCE),
    }
    legend(figure, handles, columns=3)
    return done(figure)


def loss_curve(history: pd.DataFrame) -> Figure:
    """Draw the training loss of M and, below it, the learning rate.

    Args:
        history: One line a step: step, epoch (from 0), loss, lr.
    """
    figure, axes = panels(2, 1, 3.2, sharex=True, height_ratios=(3, 1.2))
    above, below = axes[:, 0]
    step, loss = history["step"], history["loss"]
    window = max(5, len(history) // 100)
    mean = loss.rolling(window, center=True, min_periods=1).mean()
    above.plot(step, loss, color="#a0a0a0", linewidth=0.8, label="each step", rasterized=True)
    above.plot(step, mean, color="black", label=f"mean of {window} steps")
    above.set(ylabel="training loss (nats)", ylim=(0, None))
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
    return done(figure)


def sample_sheet(images: Mapping[str, np.ndarray]) -> Figure:
    """Show the first faces of each database in a row under its name.

    Args:
        images: Name -> (k, H, W, 3) uint8, RGB; k may differ.
    """
    most = max(len(faces) for faces in images.values())
    figure, axes = panels(len(images), 1, len(images) * (WIDTH / most + 0.22))
    for ax, (name, faces) in zip(axes.flat, images.items(), strict=True):
        ax.imshow(_row(faces, most), interpolation="none")
        ax.set_title(name)
        ax.axis("off")
    return done(figure)


def colour_order(image: np.ndarray) -> Figure:
    """Show a face, its three planes, and what a network sees that takes RGB for BGR.

    Args:
        image: (H, W, 3) uint8, RGB.
    """
    shown = {"as stored (RGB)": image}
    shown |= {f"plane {i}: {name}": image[..., i] for i, name in enumerate(("R", "G", "B"))}
    shown["R and B exchanged"] = image[..., ::-1]
    figure, axes = panels(1, len(shown), 1.4)
    for ax, (title, pixels) in zip(axes[0], shown.items(), strict=True):
        ax.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="none")
        ax.set_title(title, loc="center")
        ax.axis("off")
    return done(figure)


def _row(faces: np.ndarray, most: int) -> np.ndarray:
    """Return faces side by side, (H, ..., 3) uint8, white between them and where there is none."""
    height, width = faces.shape[1:3]
    gap = max(1, width // 20)
    strip = np.full((height, most * (width + gap) - gap, 3), 255, np.uint8)
    for i, face in enumerate(faces):
        strip[:, i * (width + gap) : i * (width + gap) + width] = face
    return strip
