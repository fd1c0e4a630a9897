"""From the scores of MINT Models to cells, curves and claims.

In: the images of an audit and the probabilities that the MINT Models gave them. Out: one line a cell
of a table with its interval, ROC curves, and claims decided by the interval of a difference.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mint_utils.config import PROTOCOLS, ROWS
from mint_utils.measure.bootstrap import accuracy_interval, verdict
from mint_utils.measure.detection import is_right, mean_roc, summarise
from mint_utils.mint.protocol import AuditSet
from mint_utils.report import paper


@dataclass(frozen=True)
class MintResult:
    """The scores of the MINT Models of one Audited Model.

    Attributes:
        chosen: The images and splits.
        scores: ((column, protocol), row) -> (seeds, n) float32, probability of membership.
        replicates: Of the bootstrap.
    """

    chosen: AuditSet
    scores: dict[tuple[tuple[str, str], str], np.ndarray]
    replicates: int

    def evaluation(self, row: str, column: str, protocol: str):
        """Return labels (n,) bool, scores (seeds, n) and clusters (n,) of a cell."""
        split = self.chosen.splits[column, protocol]
        clusters = self.chosen.images["cluster"].to_numpy()[split.evaluation]
        return split.labels, self.scores[(column, protocol), row], clusters

    @functools.cached_property
    def cells(self) -> pd.DataFrame:
        """One line a cell: row, column, protocol, accuracy with its interval, AUC, TPR at low FPR, n."""
        lines = []
        for (column, protocol), row in self.scores:
            labels, scores, clusters = self.evaluation(row, column, protocol)
            found = summarise(labels, scores, clusters, replicates=self.replicates)
            lines.append({"row": row, "column": column, "protocol": protocol} | found)
        return pd.DataFrame(lines)

    def beside_paper(self, table: int) -> pd.DataFrame:
        """Return the cells with the paper's number in column ``paper`` (protocol ``paper`` only)."""
        printed = paper.paper_table(table).assign(protocol="paper")
        return self.cells.merge(printed, how="left", on=["row", "column", "protocol"])

    def rocs(self, column: str = "Baseline") -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
        """Return protocol -> row -> (FPR, TPR), the mean curve over the trainings of T."""
        return {
            protocol: {row: mean_roc(*self.evaluation(row, column, protocol)[:2]) for row in ROWS}
            for protocol in PROTOCOLS
        }

    def distributions(self, column: str = "Baseline") -> pd.DataFrame:
        """Return one line an evaluated image and row: row, protocol, member, score (mean over seeds)."""
        frames = []
        for protocol, row in itertools.product(PROTOCOLS, ROWS):
            labels, scores, _ = self.evaluation(row, column, protocol)
            frame = {
                "row": row,
                "protocol": protocol,
                "member": labels,
                "score": scores.mean(axis=0),
            }
            frames.append(pd.DataFrame(frame))
        return pd.concat(frames, ignore_index=True)

    def claim(
        self, text: str, row: str, protocol: str, than: str | None = None, column: str = "Baseline"
    ) -> dict[str, Any]:
        """Decide a claim by an interval: that a row detects better than chance, or than another row.

        Args:
            text: The claim in words.
            row: The row that is claimed to be better.
            protocol: Under which.
            than: The row that it is claimed to be better than, compared over the same images;
                None: than chance, .50.
            column: Of the table.
        """
        labels, scores, clusters = self.evaluation(row, column, protocol)
        right = is_right(labels, scores).astype(float)
        other = (
            0.5 if than is None else is_right(labels, self.evaluation(than, column, protocol)[1])
        )
        estimate, low, high = accuracy_interval(labels, right - other, clusters, self.replicates)
        return {
            "claim": text,
            "protocol": protocol,
            "difference": estimate,
            "low": low,
            "high": high,
            "verdict": verdict(low, high),
        }


def claims_table(claims: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return claims as a table: claim, protocol, difference with its interval, verdict."""
    lines = [
        {
            "claim": claim["claim"],
            "protocol": claim["protocol"],
            "difference [95% interval]": "{difference:+.3f} [{low:+.3f}, {high:+.3f}]".format(
                **claim
            ),
            "verdict": claim["verdict"],
        }
        for claim in claims
    ]
    return pd.DataFrame(lines)


def conclusion(cells: pd.DataFrame, verification: float) -> str:
    """Return what a one-column table says, in words made of its numbers.

    Args:
        cells: With the columns of `MintResult.beside_paper`.
        verification: Mean verification accuracy of M.
    """
    ours = cells[cells["protocol"] == "paper"].set_index("row")
    held = cells[cells["protocol"] == "held_out"].set_index("row")
    best, best_held = ours["accuracy"].idxmax(), held["accuracy"].idxmax()
    above = [row for row in ROWS if held.loc[row, "low"] > 0.5]
    told = {0: "no row", len(ROWS): "every row"}.get(len(above), ", ".join(above))
    return (
        f"M verifies faces with an accuracy of {verification:.3f}. By the paper's protocol the best row is "
        f"{best}, with {_interval(ours.loc[best])} where the paper has {ours.loc[best, 'paper']:.2f}. "
        f"With non-members of the same database the best row is {best_held}, with "
        f"{_interval(held.loc[best_held])}, and {told} lies above chance by its interval."
    )


def _interval(cell: pd.Series) -> str:
    return f"{cell['accuracy']:.2f} [{cell['low']:.2f}, {cell['high']:.2f}]"
