"""Figures of the controls: every number is drawn where it belongs, and nothing stands on other text."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from mint_utils.config import PROTOCOLS, ROWS
from mint_utils.report import controls
from mint_utils.study.controls import BEST_BLIND
from mint_utils.study.controls import STEPS as NAMES
from tests.report.readable import assert_all_shown, assert_readable


@pytest.fixture(autouse=True)
def clean():
    yield
    assert plt.get_fignums() == [], "a notebook would show this figure twice"


def intervals(rng, **names):
    value = rng.uniform(0.45, 0.9)
    return names | {"accuracy": value, "low": value - 0.04, "high": value + 0.03}


def drawn(figure) -> list[float]:
    """Return the x of every marker that stands for a value, without the interval's ends."""
    lines = [line for ax in figure.axes for line in ax.get_lines()]
    values = [line.get_xdata() for line in lines if line.get_marker() in ("o", "s", "D", "^")]
    return sorted(float(x) for xs in values for x in np.atleast_1d(xs) if np.isfinite(x))


def test_the_ladder_draws_every_step_of_every_row(monkeypatch):
    rng = np.random.default_rng(0)
    steps = pd.DataFrame(
        intervals(rng, row=row, step=step) for step in (BEST_BLIND, *NAMES) for row in ROWS
    )
    figure = controls.ladder(steps)
    assert drawn(figure) == pytest.approx(sorted(steps["accuracy"]))
    assert_readable(figure, monkeypatch)
    assert_all_shown(figure)


def test_rows_are_drawn_by_protocol(monkeypatch):
    rng = np.random.default_rng(1)
    columns = ["Baseline", "x1", "x30", "batch 8", "dropout 0", "CosFace", "ArcFace"]
    cells = pd.DataFrame(
        intervals(rng, row=row, column=column, protocol=protocol)
        for row in ("one", "two")
        for column in columns
        for protocol in PROTOCOLS
    )
    figure = controls.rows_by_protocol({"First": cells, "Second": cells}, ["one", "two"])
    assert drawn(figure) == pytest.approx(sorted(cells["accuracy"]))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["First", "Second"]
    assert_readable(figure, monkeypatch)
    assert_all_shown(figure)


def test_detectors_show_what_needs_a_label(monkeypatch):
    rng = np.random.default_rng(2)
    names = {
        "MINT, Class centres": "members and non-members",
        "Vanilla MINT, All Conv Layers": "members and non-members",
        "LiRA, offline": "label, shadow models",
        "embedding norm": "",
    }
    compared = pd.DataFrame(
        intervals(rng, detector=name, needs=needs, access="black box" if not needs else "white box")
        for name, needs in names.items()
    ).rename(columns={"accuracy": "auc"})
    figure = controls.detectors(compared)
    assert drawn(figure) == pytest.approx(sorted(compared["auc"]))
    (ax,) = figure.axes
    shown = [label.get_text() for label in ax.get_yticklabels()]
    assert shown == [name + (" *†" if name == "LiRA, offline" else "") for name in names]
    assert "* is told who is shown" in figure.get_supxlabel()
    assert "† trains shadow models" in figure.get_supxlabel()
    assert_readable(figure, monkeypatch)
    assert_all_shown(figure)
