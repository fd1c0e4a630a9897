"""The paper's Figures 1 and 2, drawn anew with the numbers of this study's networks.

In: the widths of the networks. Out: matplotlib Figures, vector only. The coordinates of a canvas are
inches from its lower left corner, so that sizes and places are those of the printed page.
"""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch, Rectangle

from mint_utils.config import ROWS
from mint_utils.report.style import GREY, STYLES, theme, tint

WIDTH = 6.5  # inches
INK = "#222222"
DEVELOPER = "#fcefe3"  # the developer's side is orange, as in the paper
AUDITOR = "#edf2f8"
DASHED = (0, (4, 2))


class Box(NamedTuple):
    """A rectangle by its centre and size, inches."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> tuple[float, float]:
        """Middle of the left edge."""
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> tuple[float, float]:
        """Middle of the right edge."""
        return self.x + self.width / 2, self.y

    @property
    def top(self) -> tuple[float, float]:
        """Middle of the upper edge."""
        return self.x, self.y + self.height / 2

    @property
    def bottom(self) -> tuple[float, float]:
        """Middle of the lower edge."""
        return self.x, self.y - self.height / 2

    @property
    def corner(self) -> tuple[float, float]:
        """Lower left corner."""
        return self.x - self.width / 2, self.y - self.height / 2


def figure_1() -> Figure:
    """Draw the development stage and the audit stage (the paper's Figure 1)."""
    figure, ax = _canvas(3.9)
    _frame(ax, Box(3.25, 3.19, 6.4, 1.32), "Development stage (the developer)", DEVELOPER, "-")
    _frame(ax, Box(3.25, 1.2, 6.4, 2.3), "Audit stage (the auditor)", AUDITOR, DASHED)

    training = _drum(ax, Box(0.75, 3.1, 1.0, 0.86), "Training\nDataset $\\mathcal{D}$")
    model = _box(ax, Box(2.5, 3.1, 1.2, 0.62), "Audited Model\n$M$")
    choices = "Studied here: exposures of each\nimage, batch size, dropout,\nloss function"
    factors = _box(ax, Box(5.1, 3.1, 2.3, 0.62), choices)
    _arrow(ax, training.right, model.left, "training")
    _arrow(ax, factors.left, model.right, "choices")

    external = _drum(ax, Box(0.75, 0.54, 1.0, 0.76), "External\nDatasets $\\mathcal{E}$")
    union = "Samples $d$\nof $\\mathcal{D}$ and of $\\mathcal{E}$"
    samples = _box(ax, Box(0.75, 1.39, 1.1, 0.5), union)
    _arrow(ax, training.bottom, samples.top)
    _arrow(ax, external.top, samples.bottom)

    audited = _box(ax, Box(2.5, 1.39, 1.2, 1.25), "Audited Model\n$M$, unchanged")
    _arrow(ax, model.bottom, audited.top)
    _arrow(ax, samples.right, audited.left)
    inside = _box(ax, Box(4.1, 1.73, 1.4, 0.52), "Auxiliary Auditable\nData $AAD$")
    outcome = _box(ax, Box(4.1, 1.05, 1.4, 0.52), "Model Outcome\n$y$")
    mint = _box(ax, Box(5.75, 1.39, 1.0, 1.25), "MINT Model\n$T$")
    for data in (inside, outcome):
        _arrow(ax, (audited.right[0], data.y), data.left)
        _arrow(ax, data.right, (mint.left[0], data.y))
    answer = _box(ax, Box(5.4, 0.38, 1.7, 0.46), "Was $d$ used to train $M$?\nyes / no")
    _arrow(ax, mint.bottom, (mint.x, answer.top[1]))
    return figure


def figure_2(
    widths: Sequence[int] = (64, 128, 256, 512), hidden: Sequence[int] = (256, 128)
) -> Figure:
    """Draw how the Vanilla MINT Model learns (the paper's Figure 2).

    Args:
        widths: Number of activation maps at each of the four points of M.
        hidden: Widths of T's two fully connected layers.
    """
    figure, ax = _canvas(4.6)
    _frame(ax, Box(3.25, 4.06, 6.4, 0.98), "Audited Model $M$, trained and fixed", DEVELOPER, "-")
    image = _box(ax, Box(0.45, 3.92, 0.5, 0.5), "Image\n$d$")
    outcome = _box(ax, Box(5.85, 3.92, 0.95, 0.5), "Model\nOutcome $y$", "Model Outcome")
    names = [f"$C_{i}$" for i in range(1, 5)]
    before, segments = image, []
    for i, (row, width, name) in enumerate(zip(ROWS[:4], widths, names, strict=True)):
        x = 1.35 + i
        stage = _box(ax, Box(x, 3.92, 0.74, 0.5), f"Stage {i + 1}")
        _arrow(ax, before.right, stage.left)
        maps = _stack(ax, Box(x, 3.03, 0.5, 0.5), row)
        _note(ax, (x - 0.32, 3.03), f"{width}\nmaps", "right")
        vector = _box(ax, Box(x, 2.2, 0.94, 0.4), f"{row}\n{name} ({width})", row)
        segments.append(_box(ax, Box(x, 1.5, 1.0, 0.28), name, row))
        _arrow(ax, stage.bottom, maps.top)
        _arrow(ax, maps.bottom, vector.top)
        _arrow(ax, vector.bottom, segments[-1].top)
        before = stage
    _arrow(ax, before.right, outcome.left)
    _note(ax, (5.0, 2.6), "maximum of each map", "left")
    _note(ax, (5.0, 1.82), "concatenation", "left")
    _note(ax, (segments[-1].right[0] + 0.15, 1.5), f"All Conv Layers: $L$ ({sum(widths)})", "left")

    _frame(
        ax,
        Box(3.25, 0.58, 6.4, 1.06),
        "MINT Model $T$: fed with one $C_i$, with $L$, or with $y$",
        AUDITOR,
        DASHED,
    )
    layers = [f"FC {width}\nReLU" for width in hidden]
    layers += ["Batch\nnorm.", "Dropout\n0.3", "FC 1\nsigmoid", "member /\nnon-member"]
    for i, text in enumerate(layers):
        layer = _box(ax, Box(0.65 + 1.04 * i, 0.44, 0.86, 0.5), text)
        if i == 0:
            _elbow(ax, segments[0].left, layer.top)
        else:
            _arrow(ax, before.right, layer.left)
        before = layer
    return figure


def _canvas(height: float) -> tuple[Figure, Axes]:
    theme()
    figure = plt.figure(figsize=(WIDTH, height))
    plt.close(figure)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(0, height))
    ax.axis("off")
    return figure, ax


def _frame(ax: Axes, box: Box, title: str, colour: str, line: str | tuple) -> None:
    look = {"facecolor": colour, "edgecolor": GREY, "linestyle": line, "linewidth": 0.8}
    ax.add_patch(Rectangle(box.corner, box.width, box.height, zorder=0, **look))
    place = (box.right[0] - 0.1, box.top[1] - 0.08)
    ax.text(*place, title, ha="right", va="top", fontsize=8, color=INK, style="italic")


def _box(ax: Axes, box: Box, text: str, row: str | None = None) -> Box:
    """Draw a box with its text: round for what acts, square and in the row's colour for data."""
    look = {"facecolor": tint(STYLES[row].colour, 0.3) if row else "white", "edgecolor": INK}
    shape = "square,pad=0" if row else "round,pad=0,rounding_size=0.05"
    ax.add_patch(
        FancyBboxPatch(box.corner, box.width, box.height, boxstyle=shape, gid="box", **look)
    )
    ax.text(box.x, box.y, text, ha="center", va="center", fontsize=8, color=INK, gid="in box")
    return box


def _drum(ax: Axes, box: Box, text: str) -> Box:
    """Draw a database as a drum, within the box."""
    look = {"facecolor": "white", "edgecolor": INK}
    lid = 0.2
    (x, y), (_, top) = box.bottom, box.top
    ax.add_patch(Ellipse((x, y + lid / 2), box.width, lid, **look))
    body = (box.left[0], y + lid / 2), box.width, box.height - lid
    ax.add_patch(Rectangle(*body, facecolor="white", edgecolor="none", gid="box"))
    for side in (box.left[0], box.right[0]):
        ax.plot([side, side], [y + lid / 2, top - lid / 2], color=INK, linewidth=0.8)
    ax.add_patch(Ellipse((x, top - lid / 2), box.width, lid, **look))
    ax.text(x, box.y - lid / 4, text, ha="center", va="center", fontsize=8, color=INK, gid="in box")
    return box


def _stack(ax: Axes, box: Box, row: str) -> Box:
    """Draw activation maps, one behind the other, within the box."""
    side, step = 0.34, (box.width - 0.34) / 2
    for i in (2, 1, 0):
        corner = (box.corner[0] + i * step, box.corner[1] + i * step)
        look = {"facecolor": tint(STYLES[row].colour, 0.3), "edgecolor": INK}
        ax.add_patch(Rectangle(corner, side, side, **look))
    return box


def _note(ax: Axes, place: tuple[float, float], text: str, align: str) -> None:
    ax.text(*place, text, ha=align, va="center", fontsize=7.5, color=INK)


def _arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    text: str = "",
    bend: str = "arc3",
) -> None:
    """Draw an arrow from edge to edge, with a text above its middle."""
    look = {"arrowstyle": "-|>,head_length=4,head_width=2", "color": INK, "linewidth": 1.0}
    tight = {"shrinkA": 0, "shrinkB": 0, "mutation_scale": 1, "joinstyle": "miter"}
    ax.add_patch(FancyArrowPatch(start, end, connectionstyle=bend, **look, **tight))
    if text:
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.1
        ax.text(*middle, text, ha="center", va="center", fontsize=7.5, color=INK)


def _elbow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    _arrow(ax, start, end, bend="angle,angleA=180,angleB=90,rad=0")
