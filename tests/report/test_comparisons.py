"""Figures that compare models: what is drawn is what was given, readable, nothing on top of another."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from mint_utils.config import PROTOCOLS, ROWS
from mint_utils.report import comparisons, paper
from tests.report.readable import assert_all_shown, assert_readable


@pytest.fixture(autouse=True)
def clean():
    yield
    assert plt.get_fignums() == [], "a notebook would show this figure twice"


def cells(table: int) -> pd.DataFrame:
    rng = np.random.default_rng(table)
    lines = []
    for protocol in PROTOCOLS:
        for row in ROWS:
            for column in paper.TABLES[table]:
                value = rng.uniform(0.48, 0.9)
                lines.append((row, column, protocol, value, value - 0.03, value + 0.02))
    names = ["row", "column", "protocol", "accuracy", "low", "high"]
    printed = paper.paper_table(table).assign(protocol="paper")
    return pd.DataFrame(lines, columns=names).merge(
        printed, how="left", on=["row", "column", "protocol"]
    )


def plan(*lines) -> pd.DataFrame:
    return pd.DataFrame(lines, columns=["part", "images", "times"])


PLANS = {
    "Baseline": plan(("members", 2937, 1), ("held out", 3063, 0)),
    "Augmented frequency": plan(
        ("x1", 731, 1), ("x10", 745, 10), ("x20", 710, 20), ("x30", 751, 30), ("held out", 3063, 0)
    ),
    "Equal steps": plan(("members", 2937, 1), ("held out", 3063, 0)),
}
ORDERS = {
    name: np.random.default_rng(0).integers(0, max(1, len(of) - 1), (8, 200))
    for name, of in PLANS.items()
}


def by_exposures() -> pd.DataFrame:
    found = cells(2)
    return found.assign(x=found["column"].map({"x1": 26, "x10": 260, "x20": 520, "x30": 780}))


def references() -> pd.DataFrame:
    found = by_exposures().groupby("row", as_index=False)[["accuracy", "low", "high"]].mean()
    return pd.concat([found.assign(name="Baseline", x=26), found.assign(name="Equal steps", x=396)])


def by_size() -> pd.DataFrame:
    return cells(3).assign(x=lambda of: of["column"].astype(float))


def quality() -> pd.DataFrame:
    names = ["batch 8", "batch 32", "batch 8, scaled", "Augmented frequency"]
    given = {
        "model": names,
        "verification": [0.7, 0.8, 0.82, 0.85],
        "paper": [0.786, 0.905, None, 0.98],
    }
    rest = {"low": [0.68, 0.78, 0.8, 0.83], "high": [0.72, 0.82, 0.84, 0.88]}
    identified = {"members": [0.5, 0.9, 0.95, 1.0], "held-out": [0.3, 0.5, 0.52, 0.6]}
    return pd.DataFrame(given | rest | identified)


WHAT = {1: "", 2: "times an epoch", 3: "batch size", 4: "dropout", 5: "loss"}
TABLES = {f"Table {i}\n{what}": cells(i) for i, what in WHAT.items()}
FIGURES = {
    "plan": lambda: comparisons.exposure_plan(PLANS, ORDERS),
    "exposures": lambda: comparisons.small_multiples(
        by_exposures(), "exposures", "sqrt", references()
    ),
    "sizes": lambda: comparisons.small_multiples(by_size(), "batch size (images)", "log"),
    "quality": lambda: comparisons.model_quality(quality()),
    "heat": lambda: comparisons.heat_map(TABLES),
}


@pytest.mark.parametrize("name", FIGURES)
def test_fits_a_page_and_no_text_overlaps_another_or_leaves_the_figure(name, monkeypatch):
    figure = FIGURES[name]()
    assert_readable(figure, monkeypatch, least=5)
    assert_all_shown(figure)


def test_the_area_of_a_part_is_what_passes_through_m():
    figure = comparisons.exposure_plan(PLANS, ORDERS)
    drawn = [p for p in figure.axes[1].patches if isinstance(p, Rectangle)]
    areas = [round(p.get_width() * p.get_height()) for p in drawn[:4]]
    assert areas == [731, 7450, 14200, 22530]
    assert drawn[4].get_y() < 0 and drawn[4].get_hatch()  # held out: below the axis
    shown = figure.axes[4].images[0].get_array()
    np.testing.assert_array_equal(shown, ORDERS["Augmented frequency"])


def test_a_curve_goes_through_its_cells():
    points = by_size()
    figure = comparisons.small_multiples(points, "batch size (images)", "log")
    for row, ax in zip(ROWS, figure.axes, strict=True):
        assert ax.get_title(loc="left") == row
        of = points[(points["row"] == row) & (points["protocol"] == "held_out")].sort_values("x")
        drawn = [
            line for line in ax.lines if len(line.get_xdata()) == 4 and line.get_marker() == "."
        ]
        assert list(drawn[1].get_ydata()) == pytest.approx(list(of["accuracy"]))
        printed = next(line for line in ax.lines if line.get_marker() == "x")
        expected = points[(points["row"] == row) & points["paper"].notna()]["paper"]
        assert sorted(printed.get_ydata()) == sorted(expected)


def test_ticks_have_room_and_the_ends_are_kept():
    assert comparisons._apart([0, 26, 260, 520, 780], "sqrt") == [0, 26, 260, 520, 780]
    assert comparisons._apart([0, 1, 10, 500, 780], "sqrt") == [0, 500, 780]
    assert comparisons._apart([8, 32, 64, 256], "log") == [8, 32, 64, 256]
    assert comparisons._apart([0.0, 0.2, 0.4, 0.6], "linear") == [0.0, 0.2, 0.4, 0.6]


def test_the_heat_map_shows_every_number():
    figure = comparisons.heat_map(TABLES)
    grid = figure.axes[0].images[0].get_array()
    assert grid.shape == (6, 14) and grid[5, 0] == 0.84 and grid[5, 4] == 0.87
    ours = figure.axes[1].images[0].get_array()
    of = TABLES["Table 5\nloss"].set_index(["protocol", "row", "column"])["accuracy"]
    assert ours[4, 13] == of["paper", "Model Outcome", "ArcFace"]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[84:] == list(TABLES) and all(text.startswith(".") for text in texts[:84])


def test_quality_without_the_papers_numbers():
    figure = comparisons.model_quality(quality().assign(paper=np.nan))
    assert "the paper" not in [t.get_text() for t in figure.legends[0].get_texts()]
