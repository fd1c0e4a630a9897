"""For whom does a test work? Detection by the number of images of a person that M was trained on.

The MINT Models of one M are evaluated under ``held_out`` on groups of people with similar numbers of images.
A power law is fitted through the groups (arXiv 2402.06674 derives one for the images a class of few-shot
transfer learning) and extrapolated to a database with more.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import curve_fit

from mint_utils.measure.bootstrap import auc, auc_within, interval
from mint_utils.study.detectors import KEY, Detectors
from mint_utils.study.results import MintTable

EDGES = (1, 4, 7, 16, 51)  # the least number of images of each group
FEWEST = 10  # people of a group, below which its interval is meaningless
MS1MV3 = 55  # images a person, 5,179,510 of 93,431


def by_images(d: Detectors, column: str, rows: tuple[str, ...]) -> pd.DataFrame:
    """Return how well tests detect members, by the number of images of their person that M was shown.

    A column of the tables of ``d`` is an M, and a row is a test. All are measured on the same images.

    Returns:
        row, images (of a person, in words; the first line of a row is of all), shown (their median over the
        images evaluated), people, n; auc and within (the AUC among images of one person), each with _low
        and _high; advantage (true less false positives at .5) with low and high.
    """
    lines = []
    for row in rows:
        table = d.read if (column, KEY[1], row) in d.read.scores else d.vanilla
        shown = shown_to(d, table, column)
        group = np.searchsorted(EDGES, shown, side="right") - 1
        for i in range(-1, len(EDGES)):
            inside = group == i if i >= 0 else shown > 0
            line = _line(table, column, row, inside)
            if line is not None:
                title = "all" if i < 0 else _range(i)
                median = np.median(shown[inside])
                lines.append({"row": row, "images": title, "shown": median} | line)
    return pd.DataFrame(lines)


def shown_to(d: Detectors, table: MintTable, column: str) -> np.ndarray:
    """Return for each evaluated image how many images of its person M was shown: (n,) int64."""
    chosen, group = table.chosen[column]
    index = chosen.images["index"].to_numpy()[chosen.splits[group, KEY[1]].evaluation]
    people, seen = d.audit.training.identities, d.attacks.model.ledger["exposures"].to_numpy() > 0
    return np.bincount(people[seen], minlength=people.max() + 1)[people[index]]


def _range(i: int) -> str:
    last = EDGES[i + 1] - 1 if i + 1 < len(EDGES) else None
    return f"{EDGES[i]} to {last}" if last else f"{EDGES[i]} and more"


def _line(table: MintTable, column: str, row: str, inside: np.ndarray) -> dict[str, float] | None:
    labels, scores, clusters = table.evaluation(column, KEY[1], row)
    decided = table.decided(column, KEY[1], row)
    labels, clusters = labels[inside], clusters[inside]
    if len(np.unique(clusters)) < FEWEST or labels.all() or not labels.any():
        return None
    line = {"people": len(np.unique(clusters)), "n": len(labels)}
    for name, area in (("auc", auc), ("within", auc_within)):
        value, low, high = area(labels, scores[..., inside], clusters, table.replicates)
        line |= {name: value, f"{name}_low": low, f"{name}_high": high}
    part = replace(decided, labels=labels, right=decided.right[:, inside], clusters=clusters)
    found = interval([(2, part)], table.replicates)
    return line | {"advantage": found.value - 1, "low": found.low - 1, "high": found.high - 1}


def power_law(lines: pd.DataFrame, at: float = MS1MV3) -> pd.DataFrame:
    """Return the power law through the groups of each test: advantage = a * images ** -b.

    It is fitted by least squares, weighted by the intervals of the groups. A test has a law only if there are
    three groups or more and their pooled advantage is significantly above zero.

    Args:
        lines: The lines of `by_images`.
        at: The number of images a person to extrapolate to.

    Returns:
        row, a, b, b_low, b_high, at, advantage, low, high: the last three at that number, with 95% intervals.
    """
    z, found = stats.norm.ppf(0.975), []
    for row, groups in lines[lines["images"] != "all"].groupby("row", sort=False):
        if len(groups) < 3:
            continue
        x, y = groups["shown"].to_numpy(float), groups["advantage"].to_numpy(float)
        error = (groups["high"] - groups["low"]).to_numpy(float) / (2 * z)
        if (y / error**2).sum() / np.sqrt((1 / error**2).sum()) < z:
            continue
        try:
            (a, b), cov = curve_fit(_law, x, y, (y.max(), 0.5), error, absolute_sigma=True)
        except RuntimeError:  # the fit did not converge
            continue
        slope = np.array([at**-b, -a * np.log(at) * at**-b])  # of the law at that number
        value, spread = _law(at, a, b), z * np.sqrt(slope @ cov @ slope)
        width = z * np.sqrt(cov[1, 1])
        line = {"row": row, "a": a, "b": b, "b_low": b - width, "b_high": b + width, "at": at}
        line |= {"advantage": value, "low": value - spread, "high": value + spread}
        found.append(line)
    names = ["row", "a", "b", "b_low", "b_high", "at", "advantage", "low", "high"]
    return pd.DataFrame(found, columns=names)


def _law(images: float | np.ndarray, a: float, b: float) -> float | np.ndarray:
    return a * images**-b


def shown(lines: pd.DataFrame) -> pd.DataFrame:
    """Return `by_images` as text, one line a test and group."""
    texts = {
        "AUC": "{auc:.2f} [{auc_low:.2f}, {auc_high:.2f}]",
        "AUC within a person": "{within:.2f} [{within_low:.2f}, {within_high:.2f}]",
        "true less false positives": "{advantage:.2f} [{low:.2f}, {high:.2f}]",
    }
    table = lines[["row", "images", "people", "n"]].rename(
        columns={"row": "T reads", "images": "images a person", "n": "images"}
    )
    for name, text in texts.items():
        table[name] = lines.apply(text.format_map, axis=1).replace("nan [nan, nan]", "–")
    return table


def conclusion(laws: pd.DataFrame) -> str:
    """Return the laws of `power_law` in words."""
    if laws.empty:
        return "No power law: the numbers of images a person are too similar, or no test detects members."
    said = [
        f"{law['row']}: the advantage goes with the number of images a person to the power of "
        f"{-law['b']:.2f} [{-law['b_high']:.2f}, {-law['b_low']:.2f}]; at {law['at']:.0f} images, the mean "
        f"of MS1MV3, it would be {law['advantage']:.2f} [{law['low']:.2f}, {law['high']:.2f}]."
        for _, law in laws.iterrows()
    ]
    return "\n\n".join(said)
