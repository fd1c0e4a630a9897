import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mint_utils.config import ROWS
from mint_utils.errors import DataError, ParameterError
from mint_utils.paths import ROOT
from mint_utils.report import tables

# As agreed between the parts of the package, not taken from one of them.
COLUMNS = ["row", "column", "protocol", "accuracy", "low", "high"]
COLUMNS += ["auc", "tpr_at_1pct_fpr", "tpr_at_01pct_fpr", "n", "paper"]


def make(*columns, rows=ROWS, protocols=("paper", "held_out")):
    """Cells whose numbers tell which they are: .6 + .01 * row + .001 * column, .1 less held out."""
    lines = []
    for protocol in protocols:
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                accuracy = 0.6 + 0.01 * i + 0.001 * j - 0.1 * (protocol == "held_out")
                paper = 0.7 + 0.01 * i if protocol == "paper" else np.nan
                interval = (accuracy - 0.02, accuracy + 0.03)
                numbers = (accuracy, *interval, accuracy + 0.1, 0.25, 0.0126, 1320, paper)
                lines.append((row, column, protocol, *numbers))
    return pd.DataFrame(lines, columns=COLUMNS)


def test_table_is_rows_by_columns_in_the_papers_order():
    shuffled = make("8", "256").sample(frac=1, random_state=1)
    shuffled = shuffled.sort_values("column", ascending=False, kind="stable")
    shown = tables.table(shuffled, "paper")
    assert tuple(shown.index) == ROWS
    assert list(shown.columns) == ["8", "256"]
    assert shown.loc["Conv Layer #1", "8"] == "0.60 [0.58, 0.63]"
    assert tables.table(shuffled, "held_out").loc["Model Outcome", "8"] == "0.54 [0.52, 0.57]"


def test_rows_that_the_paper_does_not_have_come_after_its_own():
    cells = make("Baseline", rows=("pixels", "All Conv Layers", "Conv Layer #1"))
    assert list(tables.table(cells, "paper").index) == [
        "Conv Layer #1",
        "All Conv Layers",
        "pixels",
    ]


def test_a_missing_cell_is_a_dash():
    cells = make("a", "b")
    gone = (cells["row"] == "Conv Layer #2") & (cells["column"] == "b")
    assert tables.table(cells[~gone], "paper").loc["Conv Layer #2"].tolist() == [
        "0.61 [0.59, 0.64]",
        "–",
    ]
    cells.loc[0, ["accuracy", "auc"]] = np.nan
    cells.loc[1, ["low", "high"]] = np.nan
    assert tables.table(cells, "paper").loc["Conv Layer #1"].tolist() == ["–", "0.60 [–, –]"]
    assert (tables.table(cells, "another protocol") == "–").all(axis=None)
    for shown in (tables.side_by_side(cells[~gone]), tables.side_by_side(make("a").iloc[1:])):
        assert not shown.isna().any(axis=None)
        assert "nan" not in shown.to_csv().lower()


def test_side_by_side_of_one_column():
    shown = tables.side_by_side(make("Baseline"))
    assert list(shown.columns) == [
        "Auditable Data",
        "the paper",
        "ours, other databases",
        "ours, same database",
        "AUC: other / same database",
        "TPR at 1% FPR: other / same database",
        "TPR at 0.1% FPR: other / same database",
    ]
    assert shown["Auditable Data"].tolist() == list(ROWS)
    assert shown.iloc[3].tolist()[1:] == [
        "0.73",
        "0.63 [0.61, 0.66]",
        "0.53 [0.51, 0.56]",
        "0.73 / 0.63",
        "0.250 / 0.250",
        "0.013 / 0.013",
    ]


def test_side_by_side_of_several_columns_has_a_block_a_row():
    shown = tables.side_by_side(make("x1", "x10"))
    assert shown["Auditable Data"].tolist() == [t for row in ROWS for t in (row, "", "")]
    assert (
        shown["Accuracy"].tolist()
        == ["the paper", "ours, other databases", "ours, same database"] * 6
    )
    assert shown["x10"].tolist()[:3] == ["0.70", "0.60 [0.58, 0.63]", "0.50 [0.48, 0.53]"]


def test_without_the_papers_numbers_there_is_no_column_of_them():
    for cells in (make("a").drop(columns="paper"), make("a", protocols=("held_out",))):
        assert "the paper" not in tables.side_by_side(cells)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=len(ROWS)),
    st.sampled_from(["8", "256", "NA", "without dropout", "1e3", 'a,"b']),
)
def test_csv_gives_back_the_cells(tmp_path_factory, accuracies, column):
    cells = make(column, rows=ROWS[: len(accuracies)], protocols=("paper",))
    cells["accuracy"] = accuracies
    folder = tmp_path_factory.mktemp("tables")
    tables.write(cells, folder, "table", "A caption")
    back = tables.read(folder, "table")
    assert list(back.columns) == COLUMNS
    for name in ("row", "column", "protocol", "n"):
        assert back[name].tolist() == cells[name].tolist()
    for name in COLUMNS[3:]:
        np.testing.assert_allclose(back[name], cells[name], atol=5.01e-5, rtol=0)


def test_csv_has_four_decimals_and_empty_fields(tmp_path):
    cells = make("256")[COLUMNS[::-1]]
    tables.write(cells.drop(columns="paper"), tmp_path, "t", "c")
    lines = (tmp_path / "t.csv").read_bytes().split(b"\n")
    assert lines[0].decode() == ",".join(COLUMNS)
    assert lines[1] == b"Conv Layer #1,256,paper,0.6000,0.5800,0.6300,0.7000,0.2500,0.0126,1320,"
    assert len(lines) == 1 + 12 + 1 and lines[-1] == b""


def test_markdown_is_the_caption_and_the_table(tmp_path):
    cells = make("Baseline").iloc[1:]
    tables.write(cells, tmp_path, "t", "All of it")
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert lines[0] == "All of it" and lines[1] == ""
    grid = [[field.strip() for field in line.strip("|").split("|")] for line in lines[2:]]
    assert grid[0][:4] == [
        "Auditable Data",
        "the paper",
        "ours, other databases",
        "ours, same database",
    ]
    assert [line[0] for line in grid[2:]] == list(ROWS)
    assert grid[2][1:4] == ["–", "–", "0.50 [0.48, 0.53]"]


@pytest.mark.parametrize("columns", [("Baseline",), ("x1", "x10")])
def test_latex_is_escaped_and_whole(tmp_path, columns):
    cells = make(*columns).iloc[1:]
    tables.write(cells, tmp_path, "table_1", "50% of D_x & E #1, $5 {a}~^\\")
    text = (tmp_path / "table_1.tex").read_text()
    assert (
        r"\caption{50\% of D\_x \& E \#1, \$5 \{a\}\textasciitilde{}\textasciicircum{}"
        r"\textbackslash{}}" in text
    )
    assert r"\label{tab:table_1}" in text
    for command in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{command}") == 1
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert not re.search(r"(?<!\\)[#%$_]", body) and "–" not in body and " -- " in body
    columns = int(re.search(r"\\begin{tabular}{(l+)}", text)[1].count("l"))
    lines = [line for line in body.splitlines() if line]
    assert all(line.count(" & ") + line.startswith("&") == columns - 1 for line in lines)
    assert all(line.endswith(r"\\") for line in lines)
    for row in ROWS:
        assert body.count(row.replace("#", r"\#") + " &") == 1


def test_write_returns_its_three_paths_and_leaves_nothing_else(tmp_path):
    folder = tmp_path / "new" / "folder"
    written = tables.write(make("a"), folder, "t", "c")
    assert [p.name for p in written] == ["t.csv", "t.md", "t.tex"]
    assert sorted(folder.iterdir()) == sorted(written)


def test_a_failed_write_leaves_the_old_files(tmp_path, monkeypatch):
    tables.write(make("a"), tmp_path, "t", "old")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        tables.write(make("b"), tmp_path, "t", "new")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_cells_that_are_not_cells_are_refused(tmp_path):
    with pytest.raises(ParameterError, match="lack auc, n"):
        tables.write(make("a").drop(columns=["auc", "n"]), tmp_path, "t", "c")
    with pytest.raises(ParameterError, match="twice"):
        tables.write(pd.concat([make("a"), make("a").iloc[:1]]), tmp_path, "t", "c")
    assert list(tmp_path.iterdir()) == []


def test_read_says_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match=r"t\.csv is not there"):
        tables.read(tmp_path, "t")
    (tmp_path / "t.csv").write_text("row,column\na,b\n")
    with pytest.raises(DataError, match="has the columns row, column"):
        tables.read(tmp_path, "t")


def test_html_is_escaped_without_an_index_and_without_colours():
    shown = pd.DataFrame({"a<b": ["x&y", None], "k": [0.12345, np.nan]})
    page = tables.show(shown, "1 < 2").to_html()
    assert "1 &lt; 2" in page and "a&lt;b" in page and "x&amp;y" in page
    assert ">0.123<" in page and page.count(">–<") == 2 and "nan" not in page.lower()
    assert "row_heading" not in page
    assert not re.search(r"#[0-9a-f]{6}\b|background|rgb", page)
    assert "row_heading" in tables.show(tables.table(make("a"), "paper"), "c").to_html()


def test_html_is_the_same_in_another_process():
    script = (
        "import pandas as pd; from mint_utils.report import tables;"
        "print(tables.show(pd.DataFrame({'a': ['x', 'y']}), 'A caption').to_html())"
    )
    run = {"capture_output": True, "text": True, "check": True, "cwd": ROOT}
    there = subprocess.run([sys.executable, "-c", script], **run).stdout
    here = tables.show(pd.DataFrame({"a": ["x", "y"]}), "A caption")
    assert there == here.to_html() + "\n"
    assert here.uuid != tables.show(pd.DataFrame({"a": ["x", "z"]}), "A caption").uuid
