"""The numbers at the head of the README are those of the committed tables."""

import re

from mint_utils import paths
from mint_utils.config import PROTOCOLS
from mint_utils.report import paper, tables

README = (paths.ROOT / "README.md").read_text()
ROW = "All Conv Layers"
CELL = r"(\d\.\d\d \[\d\.\d\d, \d\.\d\d\])"


def test_the_table_is_that_of_the_committed_cells():
    lines = re.findall(rf"^\|.*?\| ([^|]+) \| (\d\.\d\d) \| {CELL} \| {CELL} \|$", README, re.M)
    expected = []
    for number in paper.TABLES:
        cells = tables.read(paths.ROOT / "figures" / "faces_distributed", f"table{number}")
        cells = cells[cells["row"] == ROW]
        shown = [tables.table(cells, protocol).loc[ROW] for protocol in PROTOCOLS]
        for column, printed in (
            paper.paper_table(number).query("row == @ROW")[["column", "paper"]].values
        ):
            expected.append((column, f"{printed:.2f}", *(of[column] for of in shown)))
    assert lines == expected


def test_every_file_that_it_leads_to_is_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (paths.ROOT / target).exists(), target
