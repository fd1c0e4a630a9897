"""The figures of one table and its images, 6 inches wide for a printed page."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator

from mint_utils.config import PROTOCOL_NAMES, ROWS
from mint_utils.report import style

MEMBERS = {"facecolor": "#9ecae1", "edgecolor": style.DARK, "linewidth": 0.6}
OUTLINE = {"facecolor": "none", "edgecolor": "black", "linewidth": 1.2}


def accuracies(cells: pd.DataFrame, title: str = "{}") -> Figure:
    """Draw the paper's number and ours under each protocol, a line for each row, a panel for each column.

    Args:
        cells: Has the columns of ``tables.CELLS`` and the rows ``ROWS``; ``paper`` and ``trainings`` may be
            absent.
        title: Title of a panel, with {} in the place of its column.
    """
    columns = list(dict.fromkeys(cells["column"]))
    ours = cells.assign(series=cells["protocol"].map(PROTOCOL_NAMES)).rename(
        columns={"accuracy": "value"}
    )
    printed = cells.reindex(columns=["row", "column", "paper"]).rename(columns={"paper": "value"})
    printed = printed.dropna().assign(series=style.PAPER, low=np.nan, high=np.nan)
    shown = pd.concat([ours, printed]).rename(columns={"row": "name"})
    shown["column"] = pd.Categorical(shown["column"], columns)
    shown["order"] = shown["name"].map(ROWS.index)
    shown = shown.sort_values(["column", "order"], kind="stable")
    shown["panel"] = shown["column"].astype(str).map(title.format)
    looks = {style.PAPER: style.PRINTED} | style.PROTOCOL_LOOKS
    return style.dotted(shown, looks, style.accuracy_label(cells, style.EITHER))


def roc(curves: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> Figure:
    """Draw ROC curves on logarithmic axes, one panel for each protocol.

    An audit needs low false-positive rates, which a linear axis hides (arXiv 2112.03570).

    Args:
        curves: Protocol -> row -> (FPR, TPR), increasing fractions.
    """
    floor = 1e-3
    figure, axes = style.panels(1, len(curves), 3.8, sharey=True, subplot_kw={"box_aspect": 1})
    for (protocol, by_row), ax in zip(curves.items(), axes[0], strict=True):
        ax.plot([floor, 1], [floor, 1], **style.CHANCE)
        for i, (row, look) in enumerate(style.STYLES.items()):
            if row not in by_row:
                continue
            # 0 is not on a logarithmic axis: such a point is drawn below the edge.
            fpr, tpr = (np.maximum(rate, floor / 10) for rate in by_row[row])
            ax.plot(fpr, tpr, **look, markevery=(0.03 * i, 0.2))
        ax.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1))
        ax.set(title=PROTOCOL_NAMES[protocol], xlabel="false-positive rate (logarithmic)")
    axes[0, 0].set_ylabel("true-positive rate (logarithmic)")
    figure.get_layout_engine().set(wspace=0.05)
    style.legend(figure, style.STYLES)
    return style.done(figure)


def score_distributions(scores: pd.DataFrame) -> Figure:
    """Draw the scores of members (filled) and non-members (outline), a panel for each row and protocol.

    Args:
        scores: row, protocol, member (bool), score (probability of membership) of each image.
    """
    figure, axes = style.panels(len(ROWS), len(PROTOCOL_NAMES), 5.4, sharex=True)
    bars = {"bins": 30, "binrange": (0, 1), "stat": "proportion", "element": "step"}
    looks = {True: {"color": "#9ecae1", "alpha": 1}, False: {"color": "black", "fill": False}}
    for i, row in enumerate(ROWS):
        for j, (protocol, name) in enumerate(PROTOCOL_NAMES.items()):
            ax = axes[i, j]
            shown = scores[(scores["row"] == row) & (scores["protocol"] == protocol)]
            for member, look in looks.items():
                sns.histplot(x=shown.loc[shown["member"] == member, "score"], ax=ax, **bars, **look)
            ax.axvline(0.5, **style.CHANCE)
            ax.grid(visible=False)
            ax.set(xlim=(0, 1), yticks=[], xlabel="", ylabel="", title="" if i else name)
        axes[i, 0].set_ylabel(row, rotation=0, ha="right", va="center")
    figure.supxlabel(
        "score of T (probability of membership); height: share of images, each panel to its own scale"
    )
    handles = {"members": Patch(**MEMBERS), "non-members": Patch(**OUTLINE)}
    style.legend(figure, handles, "threshold")
    return style.done(figure)


def loss_curve(history: pd.DataFrame) -> Figure:
    """Draw the training loss of M and, below it, the learning rate.

    Args:
        history: step, epoch (from 0), loss, lr of each step.
    """
    figure, axes = style.panels(2, 1, 3.2, sharex=True, height_ratios=(3, 1.2))
    above, below = axes[:, 0]
    step, loss = history["step"], history["loss"]
    window = max(5, len(history) // 100)
    mean = loss.rolling(window, center=True, min_periods=1).mean()
    above.plot(step, loss, color="#a0a0a0", linewidth=0.8, label="each step", rasterized=True)
    above.plot(step, mean, color="black", label=f"mean of {window} steps")
    above.set(ylabel="training loss (nats)", ylim=(0, None))
    above.legend(loc="upper right")
    below.step(step, history["lr"], where="post", color="black", linewidth=1.2)
    below.set(
        ylabel="learning rate\n(logarithmic)", xlabel="step", yscale="log", xlim=(0, step.max() + 1)
    )
    below.yaxis.set_major_locator(LogLocator(numticks=6))
    per_epoch = (step.max() + 1) / (history["epoch"].max() + 1)
    epochs = above.secondary_xaxis(
        "top", functions=(lambda s: s / per_epoch, lambda epoch: epoch * per_epoch)
    )
    epochs.set_xlabel("epoch")
    epochs.xaxis.set_major_locator(MaxNLocator(integer=True))
    epochs.tick_params(length=2, width=0.8, color=style.GREY)
    figure.align_ylabels()
    return style.done(figure)


def sample_sheet(images: Mapping[str, np.ndarray]) -> Figure:
    """Show the faces of each database in a row under its title.

    Args:
        images: Title -> (k, H, W, 3) uint8, RGB; k may differ.
    """
    most = max(len(faces) for faces in images.values())
    figure, axes = style.panels(len(images), 1, len(images) * (style.WIDTH / most + 0.22))
    for ax, (name, faces) in zip(axes.flat, images.items(), strict=True):
        ax.imshow(_row(faces, most), interpolation="none")
        ax.set_title(name)
        ax.axis("off")
    return style.done(figure)


def colour_order(image: np.ndarray) -> Figure:
    """Show a face, its three planes, and the face with R and B exchanged, as a wrong order would read it.

    Args:
        image: (H, W, 3) uint8, RGB.
    """
    shown = {"as stored (RGB)": image}
    shown |= {f"plane {i}: {name}": image[..., i] for i, name in enumerate(("R", "G", "B"))}
    shown["R and B exchanged"] = image[..., ::-1]
    figure, axes = style.panels(1, len(shown), 1.4)
    for ax, (title, pixels) in zip(axes[0], shown.items(), strict=True):
        ax.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="none")
        ax.set_title(title, loc="center")
        ax.axis("off")
    return style.done(figure)


def _row(faces: np.ndarray, most: int) -> np.ndarray:
    """Return faces side by side, (H, ..., 3) uint8, with white gaps and white for missing faces."""
    gap = max(1, faces.shape[2] // 20)
    room = (0, most - len(faces)), (0, 0), (0, gap), (0, 0)
    return np.hstack(np.pad(faces, room, constant_values=255))[:, :-gap]
