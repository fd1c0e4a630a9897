"""Detection by images a person: a planted law is found, and none where there is none."""

import numpy as np
import pandas as pd
import pytest

from mint_utils.study import shots


def groups(law, error=0.02, seed=0):
    """Return the lines of one test whose advantage follows a law, but for noise."""
    rng = np.random.default_rng(seed)
    shown = np.array([1.0, 3.0, 6.0, 14.0, 40.0])
    advantage = law(shown) + error * rng.normal(size=5)
    ends = {"low": advantage - 1.96 * error, "high": advantage + 1.96 * error}
    lines = pd.DataFrame(
        {"row": "T", "images": "some", "shown": shown, "advantage": advantage} | ends
    )
    return pd.concat([lines, lines.iloc[:1].assign(images="all", advantage=0.9)])


def test_a_planted_power_law_is_found():
    covered = {"b": 0, "at": 0}
    for seed in range(200):
        law = shots.power_law(groups(lambda x: 0.6 * x**-0.5, seed=seed), at=55).iloc[0]
        covered["b"] += law["b_low"] <= 0.5 <= law["b_high"]
        covered["at"] += law["low"] <= 0.6 * 55**-0.5 <= law["high"]
    assert min(covered.values()) / 200 > 0.9
    assert law["a"] == pytest.approx(0.6, abs=0.1)
    assert "at 55 images" in shots.conclusion(shots.power_law(groups(lambda x: 0.6 * x**-0.5)))


def test_there_is_no_law_of_nothing_or_of_two_groups():
    nothing = shots.power_law(groups(lambda x: 0 * x, seed=3))
    two = shots.power_law(groups(lambda x: 0.6 * x**-0.5).iloc[:2])
    assert nothing.empty and two.empty and shots.conclusion(two).startswith("No power law")
