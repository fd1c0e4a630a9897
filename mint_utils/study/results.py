"""From the scores of MINT Models to the cells of a table with intervals, to curves and to sentences."""

import functools
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mint_utils.audited.train import AuditedModel
from mint_utils.config import PROTOCOL_NAMES, PROTOCOLS, ROWS
from mint_utils.measure.bootstrap import LARGER, SMALLER, Decided, Estimate, interval
from mint_utils.measure.detection import FAILED, ONCE, decided, mean_roc, summarise
from mint_utils.mint.protocol import AuditSet
from mint_utils.report import paper
from mint_utils.study.audit import Audit, Scores
from mint_utils.study.claims import VERDICTS
from mint_utils.study.scenarios import Column

NON_MEMBERS_OF = {"paper": "other databases", "held_out": "the same database"}
PHRASES = {  # verdicts as `summary` words them
    SMALLER: "with a difference smaller than the paper's",
    LARGER: "with a larger difference",
}
FEW = 3  # trainings of M; with a failed one among so few there is no interval


@dataclass(frozen=True)
class MintTable:
    """The scores of all columns of a table.

    Attributes:
        chosen: Column -> (the images of its audit with their splits, its group among them).
        scores: (column, protocol, row) -> (M, T, n) float32, probability of membership, for M trainings
            of the Audited Model and T trainings of the MINT Model on each.
        replicates: Number of bootstrap replicates.
        failed: Columns with a failed training of the Audited Model.
    """

    chosen: dict[str, tuple[AuditSet, str]]
    scores: dict[tuple[str, str, str], np.ndarray]
    replicates: int
    failed: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        columns: Mapping[str, tuple[Sequence[Scores], str]],
        replicates: int,
        failed: Collection[str] = (),
    ) -> "MintTable":
        """Put a table together.

        ``columns`` holds by name the scores of each training of a column's Audited Model, and its group. A
        row that does not depend on M may be in the first training alone.
        """
        chosen, scores = {}, {}
        for name, (trainings, group) in columns.items():
            chosen[name] = trainings[0].chosen, group
            for cell in trainings[0].scores:
                (of_group, protocol), row = cell
                if of_group == group:
                    each = [one.scores[cell] for one in trainings if cell in one.scores]
                    scores[name, protocol, row] = np.stack(each)
        return cls(chosen, scores, replicates, frozenset(failed))

    @classmethod
    def read(
        cls,
        audit: Audit,
        scenario: str,
        columns: Mapping[str, Column],
        scores: Callable[[AuditedModel, Column], Scores],
    ) -> "MintTable":
        """Put the table of a scenario's columns together, from all their trainings.

        Trainings that are missing are made now. ``scores`` returns the scores of the MINT Models for one
        training of a column.
        """
        found, failed = {}, set()
        for name, column in columns.items():
            trained = audit.trained(scenario, column)
            found[name] = [scores(model, column) for model in trained.models], column.group
            if trained.holds_failed:
                failed.add(name)
        return cls.of(found, audit.config.mint.replicates, failed)

    def only(self, columns: Collection[str]) -> "MintTable":
        """Return the table with some of its columns, in the order given."""
        chosen = {name: self.chosen[name] for name in columns}
        scores = {key: found for key, found in self.scores.items() if key[0] in chosen}
        return MintTable(chosen, scores, self.replicates, self.failed)

    def evaluation(self, column: str, protocol: str, row: str):
        """Return labels (n,) bool, scores (M, T, n) and clusters (n,) of a cell."""
        chosen, group = self.chosen[column]
        split = chosen.splits[group, protocol]
        clusters = chosen.images["cluster"].to_numpy()[split.evaluation]
        return split.labels, self.scores[column, protocol, row], clusters

    def decided(self, column: str, protocol: str, row: str) -> Decided:
        """Return which images of a cell are decided rightly, by each training."""
        found = decided(*self.evaluation(column, protocol, row))
        return replace(found, reservation=FAILED) if column in self.failed else found

    @functools.cached_property
    def cells(self) -> pd.DataFrame:
        """One line a cell: row, column, protocol, accuracy with its interval, AUC, TPR at low FPR, n.

        With a failed one among few trainings of M there is no interval, and ``each`` has their accuracies.
        """
        lines = []
        for column, protocol, row in self.scores:
            labels, scores, clusters = self.evaluation(column, protocol, row)
            found = summarise(labels, scores, clusters, self.replicates)
            if column in self.failed and len(scores) <= FEW:
                each = self.decided(column, protocol, row).accuracies
                found |= {"low": np.nan, "high": np.nan, "each": values(each)}
            lines.append({"row": row, "column": column, "protocol": protocol} | found)
        return pd.DataFrame(lines)

    def beside_paper(self, table: int) -> pd.DataFrame:
        """Return the cells with the paper's number in column ``paper`` (protocol ``paper`` only).

        ``trainings`` has the tuple of the accuracies of the trainings of M where there are several.
        """
        printed = paper.paper_table(table).assign(protocol="paper")
        cells = self.cells.merge(printed, how="left", on=["row", "column", "protocol"])
        keys = zip(cells["column"], cells["protocol"], cells["row"], strict=True)
        each = [tuple(self.decided(*k).accuracies) if len(self.scores[k]) > 1 else () for k in keys]
        return cells.assign(trainings=each)

    def rocs(self, column: str) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
        """Return protocol -> row -> (FPR, TPR), the mean curve over all trainings."""
        return {
            protocol: {row: mean_roc(*self.evaluation(column, protocol, row)[:2]) for row in ROWS}
            for protocol in PROTOCOLS
        }

    def distributions(self, column: str) -> pd.DataFrame:
        """Return one line an evaluated image and row: row, protocol, member, score (mean of trainings)."""
        frames = []
        for protocol, row in itertools.product(PROTOCOLS, ROWS):
            labels, scores, _ = self.evaluation(column, protocol, row)
            frame = pd.DataFrame({"member": labels, "score": scores.mean(axis=(0, 1))})
            frames.append(frame.assign(row=row, protocol=protocol))
        return pd.concat(frames, ignore_index=True)


def conclusion(cells: pd.DataFrame, verification: float) -> str:
    """Return in words what a table of one column (`MintTable.beside_paper`) says, and how M verifies."""
    ours = cells[cells["protocol"] == "paper"].set_index("row")
    held = cells[cells["protocol"] == "held_out"].set_index("row")
    best, best_held = ours["accuracy"].idxmax(), held["accuracy"].idxmax()
    above = [row for row in ROWS if held.loc[row, "low"] > 0.5]
    told = {0: "no row", len(ROWS): "every row"}.get(len(above), ", ".join(above))
    return (
        f"M verifies faces with an accuracy of {verification:.3f}. By the paper's protocol the best row is "
        f"{best}, with {estimate(ours.loc[best])} where the paper has {ours.loc[best, 'paper']:.2f}. "
        f"With non-members of the same database the best row is {best_held}, with "
        f"{estimate(held.loc[best_held])}, and {told} lies above chance by its interval."
    )


def by_model(points: pd.DataFrame, row: str) -> pd.DataFrame:
    """Return a row of `Study.by_exposures` as text: a line a part and protocol, a column a model."""
    of_row = points[points["row"] == row]
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for protocol, part in itertools.product(PROTOCOLS, dict.fromkeys(of_row["part"])):
        cells = of_row[(of_row["protocol"] == protocol) & (of_row["part"] == part)]
        lines[protocol, part] = {"non-members": PROTOCOL_NAMES[protocol], "images": part} | {
            cell["model"]: f"{estimate(cell)}, {cell['x']:,} exposures"
            for _, cell in cells.iterrows()
        }
    return pd.DataFrame(lines.values())


def over_parts(table: MintTable, points: pd.DataFrame, model: str) -> pd.DataFrame:
    """Return the mean under ``paper`` over the parts of the members, of a model that shows all alike.

    Args:
        table: The table of Scenario 1.
        points: The lines of `Study.by_exposures`.
        model: Baseline or Equal steps.

    Returns:
        One line a row: row, x (exposures), accuracy, low, high.
    """
    members = points.query("model == @model and protocol == 'paper' and x > 0")
    lines = []
    for row, cells in members.groupby("row", sort=False):
        parts = [
            (1 / len(cells), table.decided(column, "paper", row)) for column in cells["column"]
        ]
        value, low, high = interval(parts, table.replicates)
        x = cells["x"].iloc[0]
        lines.append({"row": row, "x": x, "accuracy": value, "low": low, "high": high})
    return pd.DataFrame(lines)


def positive_control(quality: pd.DataFrame, points: pd.DataFrame) -> str:
    """Return in words what T reads from a network that has memorised its members.

    The numbers are those of `Study.performance` and `Study.by_exposures`, both of Scenario 1.
    """
    model = "Equal steps"
    knows = quality.set_index("model").loc[model]
    held = points.query("model == @model and protocol == 'held_out' and x > 0")
    least, most = held["accuracy"].min(), held["accuracy"].max()
    return (
        f"{model} identifies {knows['members']:.2f} of its members and {knows['held-out']:.2f} of the images "
        f"held out. With non-members of the same database T classifies {least:.2f} to {most:.2f} of the "
        f"images correctly, in {len(held)} cells (each part of the members, each row)."
    )


def summary(decided: pd.DataFrame) -> str:
    """Return in words how the paper's claims were decided (`Study.claims`)."""
    if decided.empty:
        return "No claim of the paper is about these columns alone."
    told = []
    of_paper = decided[decided["where"] != "added"]
    for protocol, claims in of_paper.groupby("protocol", sort=False):
        counts = claims["verdict"].value_counts()
        where = (
            "About M itself"
            if protocol == "M"
            else f"With non-members of {NON_MEMBERS_OF[protocol]}"
        )
        said, judged = _differences(claims), claims[claims["verdict"].isin(VERDICTS)]
        if len(judged):
            each = [
                f"{counts[word]} {PHRASES.get(word, word)}" for word in VERDICTS if word in counts
            ]
            said.append(f"Of {len(judged)} claims of the paper: {', '.join(each)}.")
        for word, why in ((ONCE, "M was trained once"), (FAILED, "a training of M failed")):
            if counts.get(word):
                has = "claim has" if counts[word] == 1 else "claims have"
                said.append(f"{counts[word]} {has} no verdict, because {why}.")
        told.append(f"*{where}.* {' '.join(said)}")
    held_out = of_paper[of_paper["protocol"] == "held_out"].set_index("claim")["verdict"]
    supported = of_paper.query("protocol == 'paper' and verdict == 'supported'")["claim"]
    lost = [claim for claim in supported if held_out[claim] != "supported"]
    if lost:
        told.append(
            f"{len(lost)} hold with non-members of other databases only, and so may be about databases "
            f"rather than membership: {'; '.join(lost)}."
        )
    return "\n\n".join(told)


def _differences(claims: pd.DataFrame) -> list[str]:
    """Return in words how many intervals of the differences of decided claims exclude zero."""
    known = claims.dropna(subset=["low", "high"])
    if known.empty:
        return []
    apart = known[(known["low"] > 0) | (known["high"] < 0)]
    said = f"The intervals of {len(apart)} of {len(known)} of the paper's differences exclude zero"
    if apart.empty:
        largest = np.maximum(-known["low"], known["high"]).max()
        return [f"{said}, and none of them can be larger than {largest:.2f}."]
    largest = apart.loc[apart["value"].abs().idxmax()]
    return [f"{said}. The largest is {largest['value']:+.2f} ({largest['claim']})."]


def effect(difference: Estimate) -> str:
    """Return a difference in words: its value if the interval excludes zero, else its largest size."""
    value, low, high = difference
    if low > 0 or high < 0:
        return f"a difference of {value:+.2f} [{low:+.2f}, {high:+.2f}] was found"
    return f"no difference larger than {max(-low, high):.2f} was found"


def answer(table: MintTable, first: str, last: str, row: str = ROWS[-1]) -> str:
    """Return in words the change of a row's accuracy from one column to another, for either protocol."""
    told = []
    for protocol, where in NON_MEMBERS_OF.items():
        terms = [(sign, table.decided(c, protocol, row)) for sign, c in ((1, last), (-1, first))]
        found = effect(interval(terms, table.replicates))
        told.append(f"with non-members of {where} {found}")
    why = next((cell.reservation for _, cell in terms if cell.reservation), "")
    caution = f" ({why.capitalize()}: another may give other numbers.)" if why else ""
    return f"*{last}* compared with *{first}* ({row}): {'; '.join(told)}.{caution}"


def values(each: Sequence[float]) -> str:
    """Return the accuracies of trainings as text: .65 .81 .84."""
    return " ".join(f"{value:.2f}".removeprefix("0") for value in each)


def estimate(cell: pd.Series) -> str:
    """Return accuracy, low and high of a cell as text, 0.84 [0.82, 0.86], or the accuracies of trainings."""
    if np.isnan(cell["low"]) and isinstance(cell.get("each"), str):
        return cell["each"]
    return str(Estimate.read(cell, "accuracy"))
