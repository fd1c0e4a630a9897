"""The numbers of the README and of RESULTS.md are those of the committed tables."""

import re

import pandas as pd

from mint_utils import paths
from mint_utils.config import PROTOCOLS
from mint_utils.report import paper, scale, tables

README, RESULTS, AUDIT = (
    (paths.ROOT / f"{name}.md").read_text() for name in ("README", "RESULTS", "AUDIT")
)
ROW = "All Conv Layers"
CELL = r"(\d\.\d\d \[\d\.\d\d, \d\.\d\d\])"


def test_the_table_is_that_of_the_committed_cells():
    lines = re.findall(rf"^\|.*?\| ([^|]+) \| (\d\.\d\d) \| {CELL} \| {CELL} \|$", RESULTS, re.M)
    expected = []
    for number in paper.TABLES:
        cells = tables.read(paths.ROOT / "figures" / "faces_distributed", f"table{number}")
        cells = cells[cells["row"] == ROW]
        shown = [tables.table(cells, protocol).loc[ROW] for protocol in PROTOCOLS]
        for column, printed in (
            paper.paper_table(number).query("row == @ROW")[["column", "paper"]].to_numpy()
        ):
            expected.append((column, f"{printed:.2f}", *(of[column] for of in shown)))
    assert lines == expected


def told(value: float, low: float, high: float) -> str:
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def test_the_ladder_is_that_of_the_committed_tables_and_so_are_the_three_findings():
    found = scale.scale_table(paths.ROOT / "figures").set_index(["row", "profile"])
    for row in scale.ROWS:
        cells = re.search(rf"^\| {row} \| (.*) \|$", README, re.M)[1].split(" | ")
        for profile, cell in zip(scale.RUNGS, cells, strict=True):
            there = (row, profile) in found.index
            assert cell == (
                told(*found.loc[row, profile][["value", "low", "high"]]) if there else "–"
            )
    findings = README[README.index("1. Against") : README.index("Brackets")].replace("\n  ", "")
    for row in scale.ROWS:
        number = told(*found.loc[row, "faces"][["value", "low", "high"]]).replace("0.", ".")
        assert number in findings, row


def test_every_file_that_it_leads_to_is_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README + RESULTS + AUDIT):
        assert (paths.ROOT / target).exists(), target


def test_what_the_audit_says_beside_the_truth_is_that_of_the_committed_answers():
    figures, text = paths.ROOT / "figures", AUDIT.replace("\n", " ")
    said = (figures / "quick" / "case_answer.md").read_text().startswith("**Nothing can be said")
    assert said == (
        "With `quick`, whose network remembers little, it said that nothing can be said" in text
    )
    folder = figures / "faces_small"
    judged = pd.read_csv(folder / "case_answers.csv")["p"].notna().sum()
    share, names = pd.read_csv(folder / "case_truth.csv").to_dict("records")
    value, low, high = (f"{float(n):.0%}" for n in re.findall(r"[0-9.]+", share["said"]))
    assert f"{value} [{low}, {high}] of {judged:,}" in text
    assert f"none could be named; {float(share['true']):.0%} were" in text and names["said"] == "0"


def test_whom_an_earlier_version_named_rightly_is_counted():
    answers = pd.read_csv(paths.ROOT / "figures/faces_distributed/case_answers.csv")
    named = answers["member"][answers["named"]]
    assert f"It named {len(named)} images, {named.sum()} of them rightly" in AUDIT.replace(
        "\n", " "
    )
