"""The figures of the controls, 6 inches wide for a printed page.

In: data frames of `mint_utils.study`'s controls, detectors, case and people.
Out: matplotlib Figures, which a notebook shows once as a cell's last expression.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

from mint_utils.config import PROTOCOLS, ROWS
from mint_utils.report.style import (
    CHANCE,
    GREY,
    done,
    dots,
    dots_legend,
    legend,
    name_lines,
    panels,
)

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
TESTS = (
    {"color": GREY, "marker": "s", "mfc": "white"},
    {"color": "#08306b", "marker": "o"},
    {"color": "#3182bd", "marker": "o", "mfc": "white"},
    {"color": "#d55e00", "marker": "D"},
)
FOLDERS = (
    {"color": "#d55e00", "linestyle": "-"},
    {"color": "#08306b", "linestyle": (0, (6, 2))},
    {"color": "black", "linestyle": (0, (1, 1))},
)
BAND = "#dddddd"
LINE = {"linestyle": "-", "ms": 4.5}  # of what is drawn against a number
DASHED = (0, (4, 2))
PERSONS = {  # name -> (reading, head and control of the table, how it is drawn)
    "largest cosine to a class centre": (
        ("largest cosine", "yes", "none"),
        {"color": "#08306b", "marker": "o"},
    ),
    "MINT Model with the head": (
        ("MINT Model", "yes", "none"),
        {"color": "#3182bd", "marker": "^", "linestyle": DASHED},
    ),
    "similarity of the photographs": (
        ("similarity", "no", "none"),
        {"color": "#d55e00", "marker": "D"},
    ),
    "MINT Model without the head": (
        ("MINT Model", "no", "none"),
        {"color": "#a63603", "marker": "v", "linestyle": DASHED},
    ),
    "largest cosine, network of others": (
        ("largest cosine", "yes", "third people"),
        {"color": GREY, "marker": "s", "mfc": "white"},
    ),
}
ASKED = (
    {"color": "#08306b", "marker": "o"},
    {"color": "#d55e00", "marker": "D"},
    {"color": "#a63603", "marker": "v", "linestyle": DASHED},
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
        dots(ax, of, np.arange(len(ROWS)) + offset, **look)
    for place in range(1, len(ROWS)):
        ax.axhline(place - 0.5, color="#dddddd", linewidth=0.8)
    name_lines(ax, ROWS)
    ax.set_xlabel("accuracy at threshold 0.5 (fraction of images), 95% interval")
    dots_legend(figure, dict(zip(names, STEPS, strict=True)), columns=3)
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
            dots(ax, of, place + shift, **PROTOCOL_LOOKS[protocol])
        ax.set_title(title)
        name_lines(ax, columns)
    figure.supxlabel("accuracy at threshold 0.5, 95% interval", fontsize=8)
    looks = {f"protocol {protocol}": look for protocol, look in PROTOCOL_LOOKS.items()}
    dots_legend(figure, looks, columns=3)
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
        dots(ax, compared.iloc[[place]], [place], value="auc", **look)
    names = [
        f"{d} {''.join(mark for need, mark in NEEDS.items() if need in needs)}".rstrip()
        for d, needs in zip(compared["detector"], compared["needs"], strict=True)
    ]
    name_lines(ax, names)
    figure.supxlabel(
        "area under the ROC curve (AUC), non-members of the same database, 95% interval\n"
        "* is told who is shown    † trains shadow models",
        fontsize=8,
    )
    looks = {
        "MINT Model": {"marker": "D", "color": "black"},
        "attack": {"marker": "o", "mfc": "white", "color": "black"},
    }
    looks |= {access: {"linestyle": "-", "color": colour} for access, colour in ACCESS.items()}
    dots_legend(figure, looks, columns=5)
    return done(figure)


def by_images(lines: pd.DataFrame, laws: pd.DataFrame) -> Figure:
    """Draw the advantage of tests against the images a person that M was shown, with the power law.

    Args:
        lines: Of `shots.by_images`.
        laws: Of `shots.power_law`.
    """
    figure, axes = panels(1, 1, 3.0)
    ax, handles = axes[0, 0], {}
    of_groups = lines[lines["images"] != "all"]
    for i, (row, of) in enumerate(of_groups.groupby("row", sort=False)):
        look = TESTS[i]
        x = of["shown"].to_numpy(float) * 1.03 ** (i - 1.5)  # beside each other
        dots(ax, of, x, across=False, value="advantage", **look)
        law = laws[laws["row"] == row]
        if len(law):
            line = np.geomspace(of_groups["shown"].min(), law["at"].iloc[0])
            ax.plot(line, law["a"].iloc[0] * line ** -law["b"].iloc[0], color=look["color"], lw=1)
        handles[row] = Line2D([], [], linestyle="", ms=5, **look)
    ax.axhline(0, **CHANCE)
    ax.set(xscale="log", xlabel="images of the person that M was shown (median of the group)")
    ax.set_ylabel("true less false positives\nat threshold 0.5, 95% interval")
    ends = [of_groups["shown"].min(), max([of_groups["shown"].max(), *laws["at"]])]
    ax.set_xlim(ends[0] / 1.3, ends[1] * 1.3)
    ax.xaxis.set_major_locator(FixedLocator([1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:g}")
    handles |= {"power law": Line2D([], [], color=GREY, lw=1)} if len(laws) else {}
    legend(figure, handles | {"chance": Line2D([], [], **CHANCE)}, columns=2)
    return done(figure)


def readers(cells: pd.DataFrame) -> Figure:
    """Draw how well known members, or people, are told from known non-members, a line a reader and row.

    Args:
        cells: Of `case.Case.cells`.
    """
    figure, axes = panels(1, 1, 0.9 + 0.23 * len(cells))
    value = "accuracy" if "accuracy" in cells else "auc"  # of images, of persons
    ax, place = axes[0, 0], np.arange(len(cells))
    for (_, of), look in zip(cells.groupby("column", sort=False), READERS, strict=True):
        dots(ax, of, place[of.index], value=value, **look)
    names = cells["row"].where(~cells["row"].duplicated(), cells["row"] + ", " + cells["column"])
    name_lines(ax, names)
    told = {"accuracy": "accuracy", "auc": "area under the ROC curve"}[value]
    ax.set_xlabel(f"{told} on people that no MINT Model saw, 95% interval")
    dots_legend(figure, dict(zip(cells["column"].unique(), READERS, strict=True)), columns=4)
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
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="score")
    ax.set_ylabel("share of the folder's images\nthat score at least so high")
    handles, names = ax.get_legend_handles_labels()
    legend(figure, dict(zip(names, handles, strict=True)), columns=3)
    return done(figure)


def persons(table: pd.DataFrame) -> Figure:
    """Draw the area by which people are told against the number of photographs, unused beside used ones.

    Args:
        table: Of `people.People.table`. Of its controls the network of the third people is drawn as a line,
            the permuted labels as a band.
    """
    figure, axes = panels(1, 2, 3.4, sharey=True)
    for ax, used in zip(axes[0], ("no", "yes"), strict=True):
        of = table[table["used"] == used].set_index(["reading", "head", "control"]).sort_index()
        band = of.loc[("largest cosine", "yes", "permuted")].sort_values("photographs")
        ax.fill_between(band["photographs"], band["low"], band["high"], color=BAND, linewidth=0)
        for (reading, head, control), look in PERSONS.values():
            found = of.loc[(reading, head, control)].sort_values("photographs")
            dots(ax, found, found["photographs"], across=False, value="auc", **(LINE | look))
        ax.axhline(0.5, **CHANCE)
        counts = sorted(of["photographs"].unique())
        ax.set(xscale="log", xticks=counts, xlim=(counts[0] / 1.2, counts[-1] * 1.2))
        ax.set_xticklabels(counts)
        ax.minorticks_off()
        ax.set_title(f"photographs that {'were used' if used == 'yes' else 'were never used'}")
        ax.set_xlabel("photographs of a person (logarithmic)")
    axes[0, 0].set(ylabel="area under the ROC curve (AUC)", ylim=(0.3, 1.02))
    handles = {name: Line2D([], [], ms=4.5, **look) for name, (_, look) in PERSONS.items()}
    handles["labels dealt anew, 95%"] = Patch(color=BAND)
    legend(figure, handles | {"chance": Line2D([], [], **CHANCE)}, columns=2)
    return done(figure)


def images_a_person(found: pd.DataFrame) -> Figure:
    """Draw how images and people are told against the number of training images a person.

    Args:
        found: Of `people.images_a_person`.
    """
    figure, axes = panels(1, 1, 3.0)
    ax = axes[0, 0]
    for (question, of), look in zip(found.groupby("question", sort=False), ASKED, strict=False):
        look = LINE | look | {"label": question}
        dots(ax, of, of["images"], across=False, value="auc", **look)
    ax.axhline(0.5, **CHANCE)
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick < 1.3 * found["images"].max()]
    ax.set(xscale="log", xticks=ticks, ylim=(None, 1.02))
    ax.set_xticklabels(ticks)
    ax.minorticks_off()
    ax.set_xlabel("training images a person, mean (logarithmic)")
    ax.set_ylabel("area under the ROC curve (AUC)")
    handles, names = ax.get_legend_handles_labels()
    handles = dict(zip(names, handles, strict=True)) | {"chance": Line2D([], [], **CHANCE)}
    legend(figure, handles, columns=2)
    return done(figure)
