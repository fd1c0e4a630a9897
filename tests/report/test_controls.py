"""Figures of the controls: every number is drawn where it belongs, and nothing stands on other text."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import FillBetweenPolyCollection

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


def test_by_images_a_person_every_group_and_law_is_drawn(monkeypatch):
    names = [f"{i} to {i + 2}" for i in (1, 4, 7, 16)]
    lines = [
        {"row": row, "images": name, "shown": 3.0 * 2**i, "advantage": 0.5 - 0.1 * i - 0.03 * j}
        for j, row in enumerate(("All Conv Layers", "Class centres", "Own class centre", "Short"))
        for i, name in enumerate(names)
    ]
    lines = pd.DataFrame(lines).eval("low = advantage - 0.05").eval("high = advantage + 0.05")
    laws = pd.DataFrame({"row": ["Class centres"], "a": 0.6, "b": 0.5, "at": 55})
    figure = controls.by_images(lines, laws)
    assert_readable(figure, monkeypatch)
    assert_all_shown(figure)
    marks = [line for line in figure.axes[0].get_lines() if line.get_marker() in ("o", "s", "D")]
    assert sum(len(line.get_xdata()) for line in marks) == 16


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


def people_lines(rng):
    for (reading, head, control), _ in controls.PERSONS.values():
        for used in ("yes", "no"):
            for k in (1, 2, 3, 5, 10, 20):
                value = rng.uniform(0.5, 0.95)
                line = {"reading": reading, "head": head, "control": control, "used": used}
                yield line | {
                    "photographs": k,
                    "auc": value,
                    "low": value - 0.1,
                    "high": value + 0.04,
                }


def test_people_are_drawn_by_photographs_with_the_null_as_a_band(monkeypatch):
    rng = np.random.default_rng(6)
    table = pd.DataFrame(people_lines(rng))
    band = table[(table["reading"] == "largest cosine") & (table["control"] == "none")]
    band = band.assign(control="permuted", low=0.42, high=0.58)
    figure = controls.persons(pd.concat([table, band], ignore_index=True))
    for ax, used in zip(figure.axes, ("no", "yes"), strict=True):
        lines = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 6]
        values = {round(float(y), 6) for ys in lines for y in ys}
        assert values >= set(table[table["used"] == used]["auc"].round(6))
        (shade,) = [c for c in ax.collections if isinstance(c, FillBetweenPolyCollection)]
        heights = shade.get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == pytest.approx((0.42, 0.58))
    assert_readable(figure, monkeypatch)
    assert_all_shown(figure)


def test_images_a_person_are_drawn_a_line_a_question(monkeypatch):
    rng = np.random.default_rng(7)
    lines = [
        intervals(rng, question=question, images=images)
        for question in ("image: used or not?", "person, by 1 unused: shown or not?")
        for images in (1.0, 1.9, 4.6, 8.1)
    ]
    found = pd.DataFrame(lines).rename(columns={"accuracy": "auc"})
    figure = controls.images_a_person(found)
    ax = figure.axes[0]
    values = {float(y) for line in ax.lines for y in line.get_ydata()}
    assert values >= set(found["auc"])
    assert_readable(figure, monkeypatch)
    assert_all_shown(figure)
