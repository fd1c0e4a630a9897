"""The figures of what T reads and of how many images it is trained on."""

import numpy as np
import pandas as pd

from mint_utils.config import PROTOCOLS
from mint_utils.report import controls, factors
from mint_utils.study.factors import trend
from tests.report.readable import assert_readable


def test_the_line_of_samples_goes_through_its_points_and_on_to_the_extrapolated_one(monkeypatch):
    n = (50, 500, 5000)
    lines = pd.DataFrame(
        [
            {"setting": f"{i:,}", "row": row, "protocol": protocol, "accuracy": 0.5 + step * k}
            for row in factors.DRAWN
            for protocol, step in zip(PROTOCOLS, (0.1, 0.0), strict=True)
            for k, i in enumerate(n)
        ]
    )
    lines = lines.assign(low=lines["accuracy"] - 0.02, high=lines["accuracy"] + 0.02)
    figure = factors.samples(lines, trend(lines, at=50_000))
    assert_readable(figure, monkeypatch)
    drawn = [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    through = [d for d in drawn if d[0, 0] == 50 and d[1, 0] == 5000]
    beyond = [d for d in drawn if d[0, 0] == 5000 and d[1, 0] == 50_000]
    assert np.allclose([d[:, 1] for d in through], [[0.5, 0.7], [0.5, 0.5]])
    assert np.allclose([d[:, 1] for d in beyond], [[0.7, 0.8], [0.5, 0.5]])


def test_histograms_of_numbers_are_densities_of_either_kind(monkeypatch):
    rng = np.random.default_rng(0)
    numbers, member = rng.normal(size=(600, 3)), np.arange(600) < 200
    figure = controls.histograms(numbers, member, ("first", "second", "third"))
    assert_readable(figure, monkeypatch)
    shown = [ax for ax in figure.axes if ax.get_title("left")]
    assert [ax.get_title("left") for ax in shown] == ["first", "second", "third"]
    for ax in shown:
        for patch in ax.patches:
            outline = patch.get_path().vertices
            x, y = outline[:, 0], outline[:, 1]
            area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
            assert 0.95 < area <= 1.01
