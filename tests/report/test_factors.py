"""The figure of the factors: one panel each, the numbers that were given, text that can be read."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from mint_utils.config import PROTOCOLS, ROWS
from mint_utils.report.factors import factors
from tests.report.readable import assert_all_shown, assert_readable

SETTINGS = {
    "depth": ["Vanilla MINT"],
    "MINT samples": ["24", "97", "390", "1,562", "6,250", "25,000", "100,000"],
    "widths of the MLP": ["32-16", "256-128", "1024-512"],
    "inputs": ["raw", "standardised"],
    "pooling": ["mean", "max"],
    "whole maps": ["Vanilla MINT", "CNN MINT"],
}


@pytest.fixture(autouse=True)
def clean():
    yield
    assert plt.get_fignums() == [], "a notebook would show this figure twice"


def lines() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    found = []
    for factor, settings in SETTINGS.items():
        rows = [row for row in ROWS if factor != "whole maps" or row != "Model Outcome"]
        for setting in settings:
            for row in rows:
                for protocol in PROTOCOLS:
                    value = rng.uniform(0.5, 0.9)
                    printed = 0.8 if setting.endswith("MINT") and protocol == "paper" else np.nan
                    found.append((factor, setting, row, protocol, value, value - 0.03, value + 0.02,
                                  value, 100, printed))  # fmt: skip
    names = "factor setting row protocol accuracy low high auc n paper"
    return pd.DataFrame(found, columns=names.split())


def test_can_be_read(monkeypatch):
    figure = factors(lines())
    assert_readable(figure, monkeypatch, least=20)
    assert_all_shown(figure)


def test_a_panel_a_factor_draws_the_cells_of_its_last_mint_model_or_of_its_settings():
    given = lines()
    figure = factors(given)
    panels = {ax.get_title(loc="left"): ax for ax in figure.axes}
    assert list(panels) == [
        "depth, Vanilla MINT",
        *list(SETTINGS)[1:5],
        "whole maps, CNN MINT",
    ]
    drawn = [list(line.get_ydata()) for line in panels["whole maps, CNN MINT"].lines]
    at = given.set_index(["factor", "setting", "protocol"])["accuracy"]
    assert at["whole maps", "CNN MINT", "held_out"].tolist() in drawn
    assert at["whole maps", "Vanilla MINT", "held_out"].tolist() not in drawn
    of = given.query("factor == 'inputs' and row == 'All Conv Layers' and protocol == 'paper'")
    drawn = [list(line.get_ydata()) for line in panels["inputs"].lines]
    assert of["accuracy"].tolist() in drawn


def test_numbers_that_nobody_printed_are_not_in_the_legend():
    given = lines().assign(paper=np.nan)
    names = [text.get_text() for text in factors(given).legends[0].texts]
    assert not any("[4]" in name for name in names) and "ours, protocol held_out" in names
