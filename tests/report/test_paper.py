import math

import pytest

from mint_utils.config import ROWS
from mint_utils.report import paper

# Typed from the paper's pages, line by line.
PRINTED = {
    1: """                Baseline
        Conv Layer #1   0.76
        Conv Layer #2   0.70
        Conv Layer #3   0.65
        Conv Layer #4   0.74
        Model Outcome   0.81
        All Conv Layers 0.84""",
    2: """                x1    x10   x20   x30
        Conv Layer #1   0.72  0.74  0.73  0.72
        Conv Layer #2   0.66  0.67  0.67  0.66
        Conv Layer #3   0.68  0.67  0.69  0.68
        Conv Layer #4   0.64  0.73  0.82  0.84
        Model Outcome   0.75  0.76  0.80  0.85
        All Conv Layers 0.76  0.81  0.85  0.87""",
    3: """                8     32    64    256
        Conv Layer #1   0.73  0.77  0.75  0.76
        Conv Layer #2   0.70  0.71  0.70  0.70
        Conv Layer #3   0.61  0.65  0.65  0.65
        Conv Layer #4   0.69  0.71  0.73  0.74
        Model Outcome   0.80  0.82  0.82  0.81
        All Conv Layers 0.79  0.83  0.84  0.84""",
    4: """                with_dropout  without_dropout
        Conv Layer #1   0.76  0.79
        Conv Layer #2   0.70  0.75
        Conv Layer #3   0.65  0.65
        Conv Layer #4   0.74  0.74
        Model Outcome   0.81  0.80
        All Conv Layers 0.84  0.87""",
    5: """                AdaFace  CosFace  ArcFace
        Conv Layer #1   0.76  0.74  0.67
        Conv Layer #2   0.70  0.68  0.62
        Conv Layer #3   0.65  0.69  0.72
        Conv Layer #4   0.74  0.74  0.75
        Model Outcome   0.81  0.77  0.78
        All Conv Layers 0.84  0.82  0.81""",
}


def parse(text):
    head, *lines = text.splitlines()
    columns = [column.replace("_", " ") for column in head.split()]
    for line in lines:
        words = line.split()
        row, numbers = " ".join(words[: -len(columns)]), words[-len(columns) :]
        yield from ((row, column, float(x)) for column, x in zip(columns, numbers, strict=True))


@pytest.mark.parametrize("n", PRINTED)
def test_every_cell_is_as_printed_and_in_the_printed_order(n):
    table = paper.paper_table(n)
    assert list(table.columns) == ["row", "column", "paper"]
    assert list(table.itertuples(index=False, name=None)) == list(parse(PRINTED[n]))
    assert tuple(table["row"].unique()) == ROWS
    assert table["paper"].dtype == float


def test_the_baseline_is_one_model_wherever_it_is_printed():
    columns = {1: "Baseline", 3: "256", 4: "with dropout", 5: "AdaFace"}
    tables = {n: paper.paper_table(n).set_index("column") for n in columns}
    numbers = {tuple(tables[n].loc[column, "paper"]) for n, column in columns.items()}
    assert len(numbers) == 1
    assert {paper.VERIFICATION[n][column] for n, column in columns.items()} == {0.963}


def test_verification_accuracies_are_those_of_the_text():
    for n in PRINTED:
        assert list(paper.VERIFICATION[n]) == list(paper.paper_table(n)["column"].unique())
    assert set(paper.VERIFICATION[2].values()) == {0.982}
    assert list(paper.VERIFICATION[3].values()) == [0.786, 0.905, 0.940, 0.963]
    assert paper.VERIFICATION[4]["without dropout"] == 0.962
    assert math.isnan(paper.VERIFICATION[5]["CosFace"])
    assert math.isnan(paper.VERIFICATION[5]["ArcFace"])


def test_reading_notes_hold_by_arithmetic():
    notes = " ".join(paper.READING_NOTES)
    before, after = 16, 13  # errors in a hundred, at accuracy 0.84 and 0.87
    assert f"{100 * (before - after) / before:.2f}%" == "18.75%" and "18.75%" in notes
    assert round(100 * (before - after) / after) == 23
    images = 5.2e6 + 31e3 + 5.2e3 + 500e3 + 26.5e3
    assert f"{images / 1e6:.1f} million images" in notes
    assert f"{(1 + 10 + 20 + 30) / 4} times" in notes
    assert f"{64 + 128 + 256 + 512} is" in notes and f"width {960 // 4}" in notes
    assert all(note.endswith(".") and len(note) < 250 for note in paper.READING_NOTES)
