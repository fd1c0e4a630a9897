"""The figures of the controls, detectors, own audits and persons, 6 inches wide for a printed page."""

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
# Names of the steps of the ladder in texts and figures, where the table has an older name.
STEP_NAMES = {
    "M, the paper's protocol": f"M, {PROTOCOL_NAMES['paper']}",
    "M, held out": f"M, {PROTOCOL_NAMES['held_out']}",
}
# Looks of the steps of a ladder, from top to bottom: without M, then M against either kind of non-members.
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
KEYS = ["reading", "head", "control"]  # columns of the table of persons
PERSONS = {  # name -> (values of KEYS, look)
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
    """Draw the ladder of controls for every row of the paper's tables; the best blind baseline is a band.

    Args:
        steps: row, step, accuracy, low, high, with the steps in their order. The best blind baseline is the
            same for all rows.
    """
    blind = steps[steps["step"] == BLIND].iloc[0]
    shown = steps[steps["step"] != BLIND].replace({"step": STEP_NAMES})
    shown = shown.rename(columns={"row": "name", "step": "series", "accuracy": "value"})
    return style.dotted(shown.assign(panel=""), STEPS, band=(BLIND, blind["low"], blind["high"]))


def rows_by_protocol(cells: Mapping[str, pd.DataFrame], rows: Sequence[str]) -> Figure:
    """Draw accuracies with intervals, a panel for each row, a line for each column, under both protocols.

    Args:
        cells: Panel -> cells with the columns of ``tables.CELLS``, which contain the panel's row.
        rows: The row of each panel.
    """
    panels = [
        table[table["row"] == row].assign(panel=title)
        for (title, table), row in zip(cells.items(), rows, strict=True)
    ]
    shown = pd.concat(panels).rename(columns={"column": "name", "accuracy": "value"})
    shown["series"] = shown["protocol"].map(PROTOCOL_NAMES)
    return style.dotted(shown, style.PROTOCOL_LOOKS)


def histograms(numbers: np.ndarray, member: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw the distributions of a MINT Model's inputs for members and for images that were never shown.

    Args:
        numbers: (N, F) float32.
        member: (N,) bool.
        names: Names of the F numbers; each has a panel, two in a row.
    """
    looks = {
        "members": {"color": style.ORANGE, "linestyle": "-"},
        "of the same database, never shown": {"color": style.DARK, "linestyle": DASHED},
    }
    figure, axes = style.panels(-(-len(names) // 2), 2, 1.9 * -(-len(names) // 2))
    for ax, name, values in zip(axes.flat, names, numbers.T, strict=False):
        bins = np.linspace(*np.quantile(values, [0.002, 0.998]), 40)
        for look, chosen in zip(looks.values(), (member, ~member), strict=True):
            ax.hist(values[chosen], bins, density=True, histtype="step", **look)
        ax.set(title=name, yticks=[])
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    figure.supylabel("density of images")
    style.legend(figure, looks, None)
    return style.done(figure)


def detectors(compared: pd.DataFrame) -> Figure:
    """Draw the AUC of detectors with its interval, grouped by their access to M and its training.

    Args:
        compared: As `detectors.Detectors.compared` returns it.
    """
    white = compared["access"].eq("white box")
    given = "label", "checkpoints", "shadow models"
    label, checkpoints, shadows = (compared["needs"].str.contains(need) for need in given)
    group = compared["access"].str.capitalize()
    group += np.where(label, ", knows the person", "")
    group += np.where(checkpoints, ", has checkpoints", "")
    group += np.where(shadows, ", trains shadow models", "")
    series = np.where(compared["detector"].str.contains("MINT"), *KINDS)
    given = 8 * shadows + 4 * checkpoints + 2 * label + white
    shown = compared.assign(panel=group, series=series, given=given)
    shown = shown.rename(columns={"auc": "value", "detector": "name"})
    shown = shown.sort_values(["given", "value"], ascending=[True, False], kind="stable")
    return style.dotted(shown, KINDS, f"{AREA}; non-members of the same database", stacked=True)


def readers(cells: pd.DataFrame) -> Figure:
    """Draw how well known members are distinguished from known non-members, a line for each row.

    Args:
        cells: As `case.Case.cells` returns them. Those of an audit of persons have ``auc`` and no
            ``accuracy``. The best reading without any network is a band.
    """
    value, measure = "accuracy", "accuracy"
    if value not in cells:
        value, measure = "auc", "area under the ROC curve"
    cells = cells.rename(columns={"row": "name", "column": "series", value: "value"})
    cells["panel"] = ""
    blind, band = cells[cells["series"] == NO_NETWORK], None
    if len(blind):
        best = blind.loc[blind["value"].idxmax()]
        band = f"{NO_NETWORK} (best: {best['name']})", best["low"], best["high"]
    shown = cells[cells["series"] != NO_NETWORK]
    looks = dict(zip(dict.fromkeys(shown["series"]), READERS, strict=False))
    label = f"{measure} on people that no MINT Model saw, 95% interval"
    return style.dotted(shown, looks, label, band=band)


def by_images(lines: pd.DataFrame, laws: pd.DataFrame) -> Figure:
    """Draw the advantage of tests against the number of shown images of a person, with the power law.

    Args:
        lines: As `shots.by_images` returns them.
        laws: As `shots.power_law` returns them.
    """
    figure, axes = style.panels(1, 1, 3.0)
    ax, ends = axes[0, 0], {}
    groups = lines[lines["images"] != "all"].rename(columns={"shown": "x"})
    for i, (row, points) in enumerate(groups.groupby("row", sort=False)):
        style.curve(ax, points, 6 * (i - 1.5), value="advantage", **TESTS[i] | {"linestyle": ""})
        x, y = points[["x", "advantage"]].iloc[-1]
        law = laws[laws["row"] == row]
        if len(law):
            line = np.geomspace(groups["x"].min(), law["at"].iloc[0])
            powers = law["a"].iloc[0] * line ** -law["b"].iloc[0]
            ax.plot(line, powers, color=TESTS[i]["color"], linewidth=1)
            x, y = line[-1], powers[-1]
        ends[row.replace(", ", ",\n")] = (x, y, TESTS[i]["color"])
    ax.axhline(0, **style.CHANCE)
    x_label = "images of the person that M was shown, median of the group"
    style.scale_axis(ax, x_label, sorted(set(groups["x"])))
    ax.set_xlim(groups["x"].min() / 1.3, max([groups["x"].max(), *laws["at"]]) * 1.3)
    ax.set_ylabel("true less false positives\nat threshold 0.5, 95% interval")
    style.legend(figure, {"power law": {"color": style.GREY, "lw": 1}} if len(laws) else {})
    return style.done(figure, {ax: ends})


def judged(scores: pd.DataFrame) -> Figure:
    """Draw for each folder the share of its images whose score is at least x.

    Args:
        scores: As `case.Case.scores` returns them.
    """
    figure, axes = style.panels(1, 1, 2.8)
    ax, looks = axes[0, 0], {}
    for i, (folder, images) in enumerate(scores.groupby("folder", sort=False)):
        look = {"color": FOLDERS[i], "linestyle": FOLDER_LINES[i]}
        sns.ecdfplot(x=images["score"], complementary=True, ax=ax, **look)
        looks[folder.replace("_", "-")] = look
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="score")
    ax.set_ylabel("share of the folder's images\nthat score at least so high")
    style.legend(figure, looks, None)
    return style.done(figure)


def persons(table: pd.DataFrame) -> Figure:
    """Draw the AUC for persons against the number of photographs, unused beside used ones.

    Args:
        table: As `people.People.table` has it. Two of its controls are drawn: the network of the third people
            as a line, the permuted labels as a band.
    """
    figure, axes = style.panels(1, 2, 3.4, sharey=True)
    table, ends = table.rename(columns={"photographs": "x"}).sort_values("x"), {}
    lowest = 0.32
    for ax, (used, title) in zip(axes[0], (("no", "never used"), ("yes", "used")), strict=True):
        by_key = table[table["used"] == used].set_index(KEYS).sort_index(kind="stable")
        band = by_key.loc[("largest cosine", "yes", "permuted")]
        ax.fill_between(band["x"], band["low"], band["high"], color=style.BAND, linewidth=0)
        for i, (name, (key, look)) in enumerate(PERSONS.items()):
            points = by_key.loc[key]
            style.curve(ax, points, 2 * (i - 2), value="auc", **look)
            lowest = min(lowest, points["low"].min())
            ends[name] = (*points[["x", "auc"]].iloc[-1], look["color"])
        _area(ax, by_key["x"])
        ax.set_title(f"photographs that were {title}")
    figure.supxlabel(f"photographs of a person{style.SAID['log']}")
    axes[0, 0].set(ylabel=AREA, ylim=(lowest - 0.02, 1.02))
    style.legend(figure, {"labels shuffled, 95%": Patch(color=style.BAND)})
    return style.done(figure, {axes[0, 1]: ends})


def images_a_person(found: pd.DataFrame) -> Figure:
    """Draw the AUC for images and for people against the number of training images for each person.

    Args:
        found: As `people.images_a_person` returns it.
    """
    figure, axes = style.panels(1, 1, 3.0)
    ax, ends = axes[0, 0], {}
    found = found.rename(columns={"images": "x"})
    by_question = zip(found.groupby("question", sort=False), ASKED, (0, -2, 2), strict=False)
    for (question, points), look, shift in by_question:
        style.curve(ax, points, shift, value="auc", **look)
        name = question.replace(", ", ",\n").replace(": ", ":\n")
        ends[name] = (*points[["x", "auc"]].iloc[-1], look["color"])
    _area(ax, [tick for tick in (1, 2, 3, 5, 10, 20, 50, 100) if tick < 1.3 * found["x"].max()])
    ax.set_xlabel(f"training images a person, mean{style.SAID['log']}")
    ax.set(ylabel=AREA, ylim=(None, 1.02))
    style.legend(figure, {})
    return style.done(figure, {ax: ends})


def _area(ax: Axes, ticks: Sequence[float]) -> None:
    """Set the horizontal axis of a panel of AUCs, and draw chance."""
    ax.axhline(0.5, **style.CHANCE)
    style.scale_axis(ax, "", sorted(set(ticks)))
    ax.margins(x=0.08)
