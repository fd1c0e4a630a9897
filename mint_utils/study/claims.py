"""The paper's claims as differences between cells, and this study's verdict on each.

A claim states that a signed sum of accuracies, such as ``x30 - x1``, lies above a number or within a margin
of zero. The paper's own figures come from its tables, ours from the interval of the sum over the same images.
Verdicts follow from the interval alone: ``supported``, ``contradicted``, ``undecided``, or that the
difference is smaller (larger) than the paper's. A claim of sameness is an equivalence test. Where M was
trained once, or a training failed, there are numbers without a verdict.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mint_utils.config import PROTOCOL_NAMES, PROTOCOLS
from mint_utils.measure.bootstrap import LARGER, SMALLER, Decided, interval, verdict
from mint_utils.measure.detection import FAILED, ONCE
from mint_utils.report import paper
from mint_utils.study.scenarios import TABLES

STABLE = 0.03  # an accuracy of T that stays within it is called stable (the paper's do within .02)
AS_GOOD = 0.01  # an accuracy of M that stays within it is called as good
VERDICTS = "supported", SMALLER, LARGER, "contradicted", "undecided"
SIGNS = 1, -1, 1, -1  # of the terms of a sum
VERIFICATION = "verification"  # in the place of a row: the accuracy of M itself
ALL, OUTCOME = "All Conv Layers", "Model Outcome"
FIRST, SECOND, THIRD, FOURTH = (f"Conv Layer #{i}" for i in range(1, 5))


@dataclass(frozen=True)
class Term:
    """A cell of a sum: its sign, scenario, column and row."""

    sign: int
    scenario: str
    column: str
    row: str

    @property
    def printed(self) -> float | None:
        """The paper's number of the cell, None where it prints none."""
        column, _, model = self.column.partition(", ")
        table = 1 if model == "baseline" else TABLES[self.scenario]
        column = "Baseline" if model == "baseline" else column
        if model == "equal steps" or self.scenario == "batch_size_scaled":
            return None
        if self.row == VERIFICATION:
            found = paper.VERIFICATION[table].get(column, paper.NAN)
            return None if pd.isna(found) else found
        cells = paper.paper_table(table).set_index(["row", "column"])["paper"]
        return cells.get((self.row, column))


@dataclass(frozen=True)
class Claim:
    """A statement about cells.

    Attributes:
        where: Section of the paper; ``added`` for those that only this study can ask.
        text: The claim in words.
        terms: The terms of the sum.
        above: The number that the sum is claimed to exceed.
        margin: If above zero, the claim is that the sum stays within it on either side of zero.
    """

    where: str
    text: str
    terms: tuple[Term, ...]
    above: float = 0.0
    margin: float = 0.0

    @property
    def scenarios(self) -> set[str]:
        """The scenarios whose tables it needs."""
        return {term.scenario for term in self.terms}

    @property
    def of_model(self) -> bool:
        """Whether it is about M's own accuracy, and so about no protocol."""
        return self.terms[0].row == VERIFICATION

    @property
    def printed(self) -> str:
        """The paper's figures of the claim's cells, ``0.87, 0.76``."""
        numbers = [term.printed for term in self.terms]
        if any(number is None for number in numbers):
            return "–"
        decimals = 3 if self.of_model else 2
        return ", ".join(f"{number:.{decimals}f}" for number in numbers)

    @property
    def difference(self) -> float | None:
        """The paper's own value of the sum less ``above``, None where it does not print all cells."""
        if self.printed == "–":
            return None
        return sum(term.sign * term.printed for term in self.terms) - self.above


def _terms(scenario: str, row: str, *columns: str) -> tuple[Term, ...]:
    return tuple(Term(sign, scenario, c, row) for sign, c in zip(SIGNS, columns, strict=False))


def _rows(scenario: str, column: str, *rows: str) -> tuple[Term, ...]:
    return tuple(Term(sign, scenario, column, r) for sign, r in zip(SIGNS, rows, strict=False))


def _gap(column: str, sign: int) -> tuple[Term, ...]:
    return (Term(sign, "loss", column, FIRST), Term(-sign, "loss", column, THIRD))


B, F, S, N, L = "baseline", "frequency", "batch_size", "dropout", "loss"
WITH, WITHOUT = "with dropout", "without dropout"

CLAIMS: tuple[Claim, ...] = (
    # Table 1
    Claim("Abstract", "Training images are distinguished from others", _terms(B, ALL, "Baseline"), 0.5),
    Claim("2.2", "Activations give a higher accuracy than the outcome", _rows(B, "Baseline", ALL, OUTCOME)),
    Claim("2.2", "All layers give a higher accuracy than the deepest alone",
          _rows(B, "Baseline", ALL, FOURTH)),
    Claim("4.6", "The first layer gives a higher accuracy than the third",
          _rows(B, "Baseline", FIRST, THIRD)),
    # Table 2
    *(
        Claim("4.3", f"Shown 30 times instead of once: more detected, {row}", _terms(F, row, "x30", "x1"))
        for row in (ALL, OUTCOME, FOURTH)
    ),
    *(
        Claim("4.3", f"Shown 30 times instead of once: no change, {row}", _terms(F, row, "x30", "x1"),
              margin=STABLE)
        for row in (FIRST, SECOND, THIRD)
    ),
    Claim("4.3", "x30 is detected more than in the baseline", _terms(F, ALL, "x30", "x30, baseline")),
    Claim("4.3, 5", "x1 is detected less than in the baseline", _terms(F, ALL, "x1, baseline", "x1")),
    Claim("added", "Hidden: x1 stands out from images never shown less than in the baseline",
          _terms(F, ALL, "x1, baseline", "x0, baseline", "x0", "x1")),
    Claim("4.3", "Showing images more often makes M better", _terms(F, VERIFICATION, "x30", "x30, baseline")),
    Claim("added", "x30 is detected more than with equal steps for all",
          _terms(F, ALL, "x30", "x30, equal steps")),
    Claim("added", "x1 is detected less than with equal steps for all",
          _terms(F, ALL, "x1, equal steps", "x1")),
    Claim("added", "Images never shown pass for members (x0 above 0.5)", _terms(F, ALL, "x0"), 0.5),
    Claim("added", "The rarely shown part is still detected (x1 above x0)", _terms(F, ALL, "x1", "x0")),
    # Table 3
    *(
        Claim("4.4", f"Batch {size} instead of 256 makes M worse", _terms(S, VERIFICATION, "256", size))
        for size in ("8", "32", "64")
    ),
    Claim("4.4", "Batch 8 instead of 256: less detected", _terms(S, ALL, "256", "8")),
    *(
        Claim("4.4", f"Batch {size} instead of 256: no change", _terms(S, ALL, size, "256"), margin=STABLE)
        for size in ("32", "64")
    ),
    Claim("added", "With the rate scaled, batch 8 still makes M worse",
          _terms("batch_size_scaled", VERIFICATION, "256", "8")),
    # Table 4
    *(
        Claim("4.5", f"No dropout: more detected, {row}", _terms(N, row, WITHOUT, WITH))
        for row in (ALL, FIRST, SECOND)
    ),
    Claim("4.5", "No dropout: M as good", _terms(N, VERIFICATION, WITHOUT, WITH), margin=AS_GOOD),
    # Table 5
    Claim("4.6", "AdaFace is detected more than CosFace", _terms(L, ALL, "AdaFace", "CosFace")),
    Claim("4.6", "AdaFace is detected more than ArcFace", _terms(L, ALL, "AdaFace", "ArcFace")),
    Claim("4.6", "Under ArcFace the fourth layer gives a higher accuracy than the first",
          _rows(L, "ArcFace", FOURTH, FIRST)),
    Claim("4.6", "CosFace lies between: #1 over #3 less than under AdaFace",
          _gap("AdaFace", 1) + _gap("CosFace", -1)),
    Claim("4.6", "CosFace lies between: #1 over #3 more than under ArcFace",
          _gap("CosFace", 1) + _gap("ArcFace", -1)),
)  # fmt: skip


def decide(
    claims: Sequence[Claim],
    cell: Callable[[Term, str], list[tuple[float, Decided]] | None],
    replicates: int,
) -> pd.DataFrame:
    """Decide claims under each protocol.

    ``cell`` maps a term and a protocol to the decisions in that cell, as weighted parts whose weights sum to
    one, or to None where this configuration has no such cell.

    Returns:
        One line a claim and protocol: where, claim, printed, protocol (``M`` for claims about M
        itself), value, low, high, verdict. Claims whose cells are missing are left out.
    """
    lines = []
    for claim in claims:
        for protocol in ("M",) if claim.of_model else PROTOCOLS:
            cells = [(term.sign, cell(term, protocol)) for term in claim.terms]
            if any(found is None for _, found in cells):
                continue
            parts = [(sign * weight, part) for sign, found in cells for weight, part in found]
            line = {"where": claim.where, "claim": claim.text, "printed": claim.printed}
            numbers = judged(parts, replicates, claim.above, claim.margin, claim.difference)
            lines.append(line | {"protocol": protocol} | numbers)
    columns = ["where", "claim", "printed", "protocol", "value", "low", "high", "verdict"]
    return pd.DataFrame(lines, columns=columns)


def judged(
    parts: Sequence[tuple[float, Decided]],
    replicates: int,
    above: float = 0.0,
    margin: float = 0.0,
    printed: float | None = None,
) -> dict[str, Any]:
    """Return value, low, high and verdict of a signed sum of cells.

    ``parts`` are cells with their signs or weights; ``above`` and ``margin`` are those of a `Claim`, and
    ``printed`` is the paper's own value. If cells have a reservation, the first is the verdict. A failed
    training comes before all others and leaves no interval: with one, trainings describe no distribution.
    """
    value, low, high = (end - above for end in interval(parts, replicates))
    reserved = [cell.reservation for _, cell in parts if cell.reservation]
    if FAILED in reserved:
        return {"value": value, "low": np.nan, "high": np.nan, "verdict": FAILED}
    word = reserved[0] if reserved else verdict(low, high, margin, printed)
    return {"value": value, "low": low, "high": high, "verdict": word}


def shown(decided: pd.DataFrame) -> pd.DataFrame:
    """Return claims as a table: one line a claim, the paper's figures, difference and verdict by protocol.

    Where M was trained once for all of them, that is said in a column of its own instead of each verdict.
    """
    once = (decided["verdict"] == ONCE).all()
    first, second = PROTOCOL_NAMES.values()
    lines: dict[str, dict[str, str]] = {}
    for one in decided.itertuples():
        line = lines.setdefault(
            one.claim, {"section": one.where, "claim": one.claim, "the paper": one.printed}
        )
        ends = "" if np.isnan(one.low) else f" [{one.low:+.3f}, {one.high:+.3f}]"
        text = f"{'' if once else f'{one.verdict}, '}{one.value:+.3f}{ends}"
        if one.protocol == "M":
            line |= {first: text, second: "(about M)"}
        else:
            line[PROTOCOL_NAMES[one.protocol]] = text
    table = pd.DataFrame(lines.values())
    return table.assign(verdict=f"none: {ONCE}") if once and len(table) else table


def tally(decided: pd.DataFrame) -> pd.DataFrame:
    """Return the number of claims with each verdict, one line a protocol's name (``M``: about M itself)."""
    counts = pd.crosstab(decided["protocol"], decided["verdict"])
    order = [*VERDICTS, *(word for word in counts if word not in VERDICTS)]
    rows = [protocol for protocol in (*PROTOCOLS, "M") if protocol in counts.index]
    return (
        counts.reindex(index=rows, columns=order, fill_value=0)
        .rename(PROTOCOL_NAMES)
        .rename_axis(columns=None)
    )
