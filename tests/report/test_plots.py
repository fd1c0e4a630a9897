import os
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mint_utils.config import PROTOCOLS, ROWS
from mint_utils.paths import ROOT
from mint_utils.report import plots, style
from tests.report.readable import assert_readable


@pytest.fixture(autouse=True)
def clean():
    yield
    assert plt.get_fignums() == [], "a notebook would show this figure twice"


def make_cells(*columns):
    rng = np.random.default_rng(0)
    lines = []
    for protocol in PROTOCOLS:
        for row in ROWS:
            for column in columns:
                accuracy = rng.uniform(0.45, 0.9)
                printed = 0.7 if protocol == "paper" else np.nan
                line = (row, column, protocol, accuracy, accuracy - 0.03, accuracy + 0.01, printed)
                lines.append(line)
    names = ["row", "column", "protocol", "accuracy", "low", "high", "paper"]
    return pd.DataFrame(lines, columns=names)


def make_curves():
    fpr = np.linspace(0, 1, 101)
    return {p: {row: (fpr, fpr ** (1 / (i + 1))) for i, row in enumerate(ROWS)} for p in PROTOCOLS}


def make_scores():
    rng = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {"row": r, "protocol": p, "member": [True, False] * 50, "score": rng.random(100)}
        )
        for r in ROWS
        for p in PROTOCOLS
    ]
    return pd.concat(frames, ignore_index=True)


def make_history(steps=60, epochs=6):
    step = np.arange(steps)
    epoch = step // (steps // epochs)
    lr = 0.1 * 0.1 ** (epoch // 3)
    return pd.DataFrame({"step": step, "epoch": epoch, "loss": 9.0 - step / 10, "lr": lr})


def faces(n, size=12):
    return np.random.default_rng(1).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


FIGURES = {
    "bars": lambda: plots.accuracy_bars(make_cells("Baseline")),
    "four": lambda: plots.accuracy_bars(make_cells("8", "32", "64", "256")),
    "roc": lambda: plots.roc(make_curves()),
    "scores": lambda: plots.score_distributions(make_scores()),
    "loss": lambda: plots.loss_curve(make_history()),
    "sheet": lambda: plots.sample_sheet({"embedded_web": faces(6), "embedded_news": faces(4)}),
    "colour": lambda: plots.colour_order(faces(1)[0]),
}


def legend(figure):
    return [t.get_text() for t in figure.legends[0].get_texts()]


@pytest.mark.parametrize("name", FIGURES)
def test_fits_a_page_and_no_text_overlaps_another_or_leaves_the_figure(name, monkeypatch):
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    assert_readable(figure, monkeypatch)


def test_bars_start_at_chance_and_end_at_the_accuracy():
    cells = make_cells("8", "256")
    figure = plots.accuracy_bars(cells, "batch {}")
    first, second = figure.axes
    titles = [first.get_title(loc="left"), second.get_title(loc="left")]
    assert titles == ["batch 8", "batch 256"]
    for ax, column in ((first, "8"), (second, "256")):
        lines = cells[cells["column"] == column].set_index(["row", "protocol"])
        bars = [p for p in ax.patches if isinstance(p, Rectangle)]
        ends = sorted((round(b.get_y() + b.get_height() / 2, 2), b) for b in bars)
        expected = [lines.loc[(row, p)] for row in ROWS for p in PROTOCOLS]
        assert len(ends) == len(expected) == 12
        for (_, bar), line in zip(ends, expected, strict=True):
            assert bar.get_x() == pytest.approx(0.5)
            assert bar.get_x() + bar.get_width() == pytest.approx(line["accuracy"])
        for i, row in enumerate(ROWS):
            solid, hatched = ends[2 * i][1], ends[2 * i + 1][1]
            assert to_hex(solid.get_edgecolor()) == to_hex(hatched.get_edgecolor())
            assert to_hex(solid.get_edgecolor()) == style.STYLES[row].colour
            assert solid.get_hatch() is None and hatched.get_hatch()
        intervals = sorted(
            (round(path[0, 1], 2), path[:, 0]) for c in ax.collections for path in c.get_segments()
        )
        for (_, found), line in zip(intervals, expected, strict=True):
            np.testing.assert_allclose(found, [line["low"], line["high"]])
        printed = [li for li in ax.lines if li.get_marker() == style.PRINTED["marker"]]
        assert [li.get_xdata()[0] for li in printed] == [0.7] * 6
        ours = [li for li in ax.lines if li.get_marker() == "."]
        assert sorted(li.get_xdata()[0] for li in ours) == sorted(lines["accuracy"])
        assert any(list(li.get_xdata()) == [0.5, 0.5] for li in ax.lines)
    first.figure.draw_without_rendering()
    assert [t.get_text() for t in first.get_yticklabels()] == list(ROWS)
    assert first.get_ylim()[0] > first.get_ylim()[1], "the first row is at the top"
    assert legend(figure)[:3] == ["the paper", "ours, protocol paper", "ours, protocol held_out"]
    assert "accuracy" in figure.get_supxlabel()


def test_bars_without_the_papers_number_or_a_cell():
    cells = make_cells("Baseline").drop(columns="paper").iloc[1:]
    figure = plots.accuracy_bars(cells)
    assert "the paper" not in legend(figure)
    assert len(figure.axes[0].patches) == 11
    low = make_cells("Baseline").assign(accuracy=0.33, low=0.31, high=0.35)
    assert plots.accuracy_bars(low).axes[0].get_xlim()[0] <= 0.31


def test_roc_has_both_axes_logarithmic_and_every_curve():
    curves = make_curves()
    figure = plots.roc(curves)
    assert [ax.get_title(loc="left") for ax in figure.axes] == [f"protocol {p}" for p in PROTOCOLS]
    for ax, protocol in zip(figure.axes, PROTOCOLS, strict=True):
        assert ax.get_xscale() == ax.get_yscale() == "log"
        assert ax.get_xlim() == ax.get_ylim() == (1e-3, 1)
        assert ax.get_xlabel() == "false-positive rate"
        diagonal, *lines = ax.lines
        assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [1e-3, 1]
        for line, (row, how) in zip(lines, style.STYLES.items(), strict=True):
            fpr, tpr = curves[protocol][row]
            np.testing.assert_array_equal(line.get_xdata()[1:], fpr[1:])
            np.testing.assert_array_equal(line.get_ydata()[1:], tpr[1:])
            assert 0 < line.get_xdata()[0] < 1e-3, "the point at 0 lies outside the axes"
            assert line.get_color() == how.colour and line.get_marker() == how.marker
    assert figure.axes[0].get_ylabel() == "true-positive rate"
    assert set(legend(figure)) == {*ROWS, "chance"}


def test_roc_of_some_rows_and_one_protocol():
    figure = plots.roc({"held_out": {"Model Outcome": (np.array([0.0, 1.0]),) * 2}})
    assert len(figure.axes) == 1 and len(figure.axes[0].lines) == 2


def test_histograms_are_shares_of_each_class():
    scores = make_scores()
    first = (scores["row"] == ROWS[0]) & (scores["protocol"] == "paper")
    scores.loc[first, "score"] = np.where(scores.loc[first, "member"], 0.99, 0.01)
    figure = plots.score_distributions(scores[~(first & ~scores["member"])])
    panel = figure.axes[0]
    (members,) = panel.patches
    assert members.get_path().vertices[:, 1].max() == pytest.approx(1)
    assert to_hex(members.get_edgecolor()) == style.STYLES[ROWS[0]].colour
    assert len(figure.axes[1].patches) == 2
    assert [ax.get_ylabel() for ax in figure.axes[::2]] == list(ROWS)
    assert "score" in figure.get_supxlabel()


def test_loss_curve_has_steps_epochs_loss_and_rate():
    history = make_history()
    figure = plots.loss_curve(history)
    above, below = figure.axes
    np.testing.assert_array_equal(above.lines[0].get_ydata(), history["loss"])
    np.testing.assert_array_equal(below.lines[0].get_ydata(), history["lr"])
    np.testing.assert_allclose(
        above.lines[1].get_ydata()[2:-2], history["loss"].rolling(5).mean().to_numpy()[4:]
    )
    assert above.get_ylabel() == "training loss (nats)" and below.get_yscale() == "log"
    assert (below.get_ylabel(), below.get_xlabel()) == ("learning rate", "step")
    figure.draw_without_rendering()
    (epochs,) = above.child_axes
    assert epochs.get_xlabel() == "epoch" and epochs.get_xlim() == pytest.approx((0, 6))


def test_sample_sheet_shows_the_pixels_as_they_are():
    images = {"embedded_web": faces(6, 20), "embedded_news": faces(4, 20)}
    figure = plots.sample_sheet(images)
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(images)
    for ax, stored in zip(figure.axes, images.values(), strict=True):
        shown = ax.images[0].get_array()
        for i, face in enumerate(stored):
            np.testing.assert_array_equal(shown[:, 21 * i : 21 * i + 20], face)
        assert (shown[:, 21 * len(stored) :] == 255).all()


def test_colour_order_shows_planes_and_the_exchange():
    face = faces(1)[0]
    shown = [ax.images[0].get_array() for ax in plots.colour_order(face).axes]
    np.testing.assert_array_equal(shown[0], face)
    for i in range(3):
        np.testing.assert_array_equal(shown[1 + i], face[:, :, i])
    np.testing.assert_array_equal(shown[4][:, :, 0], face[:, :, 2])


def test_saved_bytes_are_the_same_in_another_process(tmp_path):
    script = """
import sys
from pathlib import Path
import numpy as np
from mint_utils.report import plots
from mint_utils.report import style
curves = {"paper": {"Model Outcome": (np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.9, 1.0]))}}
style.save(plots.roc(curves), Path(sys.argv[1]), "roc")
"""
    for name, seed in (("one", "1"), ("two", "2")):
        # Another day, another hash seed, another process.
        changed = os.environ | {"PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": seed * 9}
        command = [sys.executable, "-c", script, str(tmp_path / name)]
        subprocess.run(command, check=True, cwd=ROOT, env=changed)
    written = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert written == ["roc.pdf", "roc.png"]
    for name in written:
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes()
        assert b"CreationDate" not in content and b"Software" not in content


def test_png_is_of_200_dots_an_inch(tmp_path):
    figure = plots.colour_order(faces(1)[0])
    png, pdf = style.save(figure, tmp_path / "new", "colour")
    assert (png.name, pdf.name) == ("colour.png", "colour.pdf")
    assert plt.imread(png).shape[1] == 1200
    assert pdf.read_bytes().startswith(b"%PDF") and b"/Type3" not in pdf.read_bytes()


def test_a_failed_save_leaves_the_old_figure(tmp_path, monkeypatch):
    figure = plots.colour_order(faces(1)[0])
    style.save(figure, tmp_path, "f")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def half(self, path, **options):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OSError, match="No space"):
        style.save(figure, tmp_path, "f")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
