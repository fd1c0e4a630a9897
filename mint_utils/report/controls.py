"""The figures of the controls, 6 inches wide for a printed page.

In: data frames of `mint_utils.study`'s controls, detectors, case and people.
Out: matplotlib Figures, which a notebook shows once as a cell's last expression.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mint_utils.config import PROTOCOL_NAMES
from mint_utils.report import style

OTHER, SAME = style.PROTOCOL_LOOKS.values()
# What a step of the ladder is called in words and figures, where its table has an older name.
STEP_NAMES = {
    "M, the paper's protocol": f"M, {PROTOCOL_NAMES['paper']}",
    "M, held out": f"M, {PROTOCOL_NAMES['held_out']}",
}
# Of the steps of a ladder, from top to bottom: grey without M, then M against either kind of non-members.
STEPS = {
    "untrained network": {"color": style.GREY, "marker": "^", "mfc": "white"},
    "network that saw other images": {"color": style.LIGHT, "marker": "s", "mfc": "white"},
    **dict(zip(STEP_NAMES.values(), (OTHER, SAME), strict=True)),
}
BLIND = "best blind baseline"
KINDS = {"MINT Model": SAME, "attack": SAME | {"marker": "o", "mfc": "white"}}
READERS = (
    SAME,
    {"color": style.DARK, "marker": "^", "mfc": "white"},
    {"color": style.GREY, "marker": "s", "mfc": "white"},
)
NO_NETWORK = "no network"
TESTS = (
    {"color": style.GREY, "marker": "s", "mfc": "white"},
    {"color": style.DARK, "marker": "o"},
    {"color": style.LIGHT, "marker": "o", "mfc": "white"},
    SAME,
)
FOLDERS = (style.ORANGE, style.DARK, "black")
FOLDER_LINES = ("-", (0, (6, 2)), (0, (1, 1)))
DASHED = (0, (4, 2))
KEYS = ["reading", "head", "control"]  # of the table of persons
PERSONS = {  # name -> (its keys, how it is drawn)
    "largest cosine\nto a class centre": (("largest cosine", "yes", "none"), OTHER),
    "MINT Model\nwith the head": (
        ("MINT Model", "yes", "none"),
        {"color": style.LIGHT, "marker": "^", "linestyle": DASHED},
    ),
    "similarity of\nthe photographs": (("similarity", "no", "none"), SAME),
    "MINT Model\nwithout the head": (
        ("MINT Model", "no", "none"),
        {"color": style.BROWN, "marker": "v", "linestyle": DASHED},
    ),
    "largest cosine,\nnetwork of others": (
        ("largest cosine", "yes", "third people"),
        {"color": style.GREY, "marker": "s", "mfc": "white"},
    ),
}
ASKED = (OTHER, SAME, {"color": style.BROWN, "marker": "v", "linestyle": DASHED})
AREA = "area under the ROC curve (AUC), 95% interval"


def ladder(steps: pd.DataFrame) -> Figure:
    """Draw for every row of the paper's tables what is left of its number as things are taken away.

    Args:
        steps: row, step, accuracy, low, high, the steps in their order. The best blind baseline, which is the
            same for all rows, is a band.
    """
    blind = steps[steps["step"] == BLIND].iloc[0]
    shown = steps[steps["step"] != BLIND].replace({"step": STEP_NAMES})
    shown = shown.rename(columns={"row": "name", "step": "series", "accuracy": "value"})
    return style.dotted(shown.assign(panel=""), STEPS, band=(BLIND, blind["low"], blind["high"]))


def rows_by_protocol(cells: Mapping[str, pd.DataFrame], rows: Sequence[str]) -> Figure:
    """Draw accuracies with intervals, a panel a row, a line a column of the table, both protocols.

    Args:
        cells: Panel -> cells with the columns of ``tables.CELLS`` that hold the panel's row.
        rows: The row of each panel.
    """
    found = [
        of[of["row"] == row].assign(panel=title)
        for (title, of), row in zip(cells.items(), rows, strict=True)
    ]
    shown = pd.concat(found).rename(columns={"column": "name", "accuracy": "value"})
    return style.dotted(
        shown.assign(series=shown["protocol"].map(PROTOCOL_NAMES)), style.PROTOCOL_LOOKS
    )


def histograms(numbers: np.ndarray, member: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw how numbers that a MINT Model reads are distributed, members beside images never shown.

    Args:
        numbers: (N, F) float32.
        member: (N,) bool.
        names: Of the F numbers, a panel each, two in a row.
    """
    looks = {
        "members": {"color": style.ORANGE, "linestyle": "-"},
        "of the same database, never shown": {"color": style.DARK, "linestyle": DASHED},
    }
    figure, axes = style.panels(-(-len(names) // 2), 2, 1.9 * -(-len(names) // 2))
    for ax, name, of in zip(axes.flat, names, numbers.T, strict=False):
        bins = np.linspace(*np.quantile(of, [0.002, 0.998]), 40)
        for look, kind in zip(looks.values(), (member, ~member), strict=True):
            ax.hist(of[kind], bins, density=True, histtype="step", **look)
        ax.set(title=name, yticks=[])
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    figure.supylabel("density of images")
    style.legend(figure, looks, None)
    return style.done(figure)


def detectors(compared: pd.DataFrame) -> Figure:
    """Draw the AUC of detectors with its interval, grouped by what they are given of M and its training.

    Args:
        compared: Of `detectors.Detectors.compared`.
    """
    white = compared["access"].eq("white box")
    label, shadows = (compared["needs"].str.contains(need) for need in ("label", "shadow models"))
    group = compared["access"].str.capitalize()
    group += np.where(label, ", is told who is shown", "")
    group += np.where(shadows, ", trains shadow models", "")
    series = np.where(compared["detector"].str.contains("MINT"), *KINDS)
    given = 4 * shadows + 2 * label + white
    shown = compared.assign(panel=group, series=series, given=given)
    shown = shown.rename(columns={"auc": "value", "detector": "name"})
    shown = shown.sort_values("given", kind="stable")
    return style.dotted(shown, KINDS, f"{AREA}; non-members of the same database", stacked=True)


def readers(cells: pd.DataFrame) -> Figure:
    """Draw how well known members, or people, are told from known non-members, a line a row.

    Args:
        cells: Of `case.Case.cells`; with ``auc`` and no ``accuracy``, of people. What is read without any
            network is a band, that of the best.
    """
    value, told = "accuracy", "accuracy"
    if value not in cells:
        value, told = "auc", "area under the ROC curve"
    cells = cells.rename(columns={"row": "name", "column": "series", value: "value"})
    cells["panel"] = ""
    blind, band = cells[cells["series"] == NO_NETWORK], None
    if len(blind):
        best = blind.loc[blind["value"].idxmax()]
        band = f"{NO_NETWORK} (best: {best['name']})", best["low"], best["high"]
    shown = cells[cells["series"] != NO_NETWORK]
    looks = dict(zip(dict.fromkeys(shown["series"]), READERS, strict=False))
    label = f"{told} on people that no MINT Model saw, 95% interval"
    return style.dotted(shown, looks, label, band=band)


def by_images(lines: pd.DataFrame, laws: pd.DataFrame) -> Figure:
    """Draw the advantage of tests against the images a person that M was shown, with the power law.

    Args:
        lines: Of `shots.by_images`.
        laws: Of `shots.power_law`.
    """
    figure, axes = style.panels(1, 1, 3.0)
    ax, ends = axes[0, 0], {}
    of_groups = lines[lines["images"] != "all"].rename(columns={"shown": "x"})
    for i, (row, of) in enumerate(of_groups.groupby("row", sort=False)):
        style.curve(ax, of, 6 * (i - 1.5), value="advantage", **TESTS[i] | {"linestyle": ""})
        x, y = of[["x", "advantage"]].iloc[-1]
        law = laws[laws["row"] == row]
        if len(law):
            line = np.geomspace(of_groups["x"].min(), law["at"].iloc[0])
            powers = law["a"].iloc[0] * line ** -law["b"].iloc[0]
            ax.plot(line, powers, color=TESTS[i]["color"], linewidth=1)
            x, y = line[-1], powers[-1]
        ends[row.replace(", ", ",\n")] = (x, y, TESTS[i]["color"])
    ax.axhline(0, **style.CHANCE)
    x_label = "images of the person that M was shown, median of the group"
    style.scale_axis(ax, x_label, sorted(set(of_groups["x"])))
    ax.set_xlim(of_groups["x"].min() / 1.3, max([of_groups["x"].max(), *laws["at"]]) * 1.3)
    ax.set_ylabel("true less false positives\nat threshold 0.5, 95% interval")
    style.legend(figure, {"power law": {"color": style.GREY, "lw": 1}} if len(laws) else {})
    return style.done(figure, {ax: ends})


def judged(scores: pd.DataFrame) -> Figure:
    """Draw the share of each folder's images that score at least so high.

    Args:
        scores: Of `case.Case.scores`.
    """
    figure, axes = style.panels(1, 1, 2.8)
    ax, looks = axes[0, 0], {}
    for i, (folder, of) in enumerate(scores.groupby("folder", sort=False)):
        look = {"color": FOLDERS[i], "linestyle": FOLDER_LINES[i]}
        sns.ecdfplot(x=of["score"], complementary=True, ax=ax, **look)
        looks[folder.replace("_", "-")] = look
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="score")
    ax.set_ylabel("share of the folder's images\nthat score at least so high")
    style.legend(figure, looks, None)
    return style.done(figure)


def persons(table: pd.DataFrame) -> Figure:
    """Draw the area by which people are told against the number of photographs, unused beside used ones.

    Args:
        table: Of `people.People.table`. Of its controls the network of the third people is drawn as a line,
            the permuted labels as a band.
    """
    figure, axes = style.panels(1, 2, 3.4, sharey=True)
    table, ends = table.rename(columns={"photographs": "x"}).sort_values("x"), {}
    for ax, (used, title) in zip(axes[0], (("no", "never used"), ("yes", "used")), strict=True):
        of = table[table["used"] == used].set_index(KEYS).sort_index(kind="stable")
        band = of.loc[("largest cosine", "yes", "permuted")]
        ax.fill_between(band["x"], band["low"], band["high"], color=style.BAND, linewidth=0)
        for i, (name, (key, look)) in enumerate(PERSONS.items()):
            found = of.loc[key]
            style.curve(ax, found, 2 * (i - 2), value="auc", **look)
            ends[name] = (*found[["x", "auc"]].iloc[-1], look["color"])
        _area(ax, of["x"])
        ax.set_title(f"photographs that were {title}")
    figure.supxlabel(f"photographs of a person{style.SAID['log']}")
    axes[0, 0].set(ylabel=AREA, ylim=(0.3, 1.02))
    style.legend(figure, {"labels dealt anew, 95%": Patch(color=style.BAND)})
    return style.done(figure, {axes[0, 1]: ends})


def images_a_person(found: pd.DataFrame) -> Figure:
    """Draw how images and people are told against the number of training images a person.

    Args:
        found: Of `people.images_a_person`.
    """
    figure, axes = style.panels(1, 1, 3.0)
    ax, ends = axes[0, 0], {}
    found = found.rename(columns={"images": "x"})
    for (question, of), look in zip(found.groupby("question", sort=False), ASKED, strict=False):
        style.curve(ax, of, value="auc", **look)
        name = question.replace(", ", ",\n").replace(": ", ":\n")
        ends[name] = (*of[["x", "auc"]].iloc[-1], look["color"])
    _area(ax, [tick for tick in (1, 2, 3, 5, 10, 20, 50, 100) if tick < 1.3 * found["x"].max()])
    ax.set_xlabel(f"training images a person, mean{style.SAID['log']}")
    ax.set(ylabel=AREA, ylim=(None, 1.02))
    style.legend(figure, {})
    return style.done(figure, {ax: ends})


def _area(ax: Axes, ticks: Sequence[float]) -> None:
    """Set the horizontal axis of a panel of areas, and draw chance."""
    ax.axhline(0.5, **style.CHANCE)
    style.scale_axis(ax, "", sorted(set(ticks)))
    ax.margins(x=0.08)
