"""Every figure: it can be read, and it shows the numbers that it was given."""

import itertools
import os
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mint_utils.config import PROTOCOL_NAMES, PROTOCOLS, ROWS
from mint_utils.paths import ROOT
from mint_utils.report import comparisons, controls, paper, plots, scale, style
from mint_utils.report.factors import factors
from mint_utils.study.controls import STEPS
from tests.report.readable import assert_readable


@pytest.fixture(autouse=True)
def clean():
    yield
    assert plt.get_fignums() == [], "a notebook would show this figure twice"


def product(seed=0, **levels) -> pd.DataFrame:
    """One line for each combination of the levels, with a drawn value and its interval."""
    lines = pd.DataFrame(itertools.product(*levels.values()), columns=list(levels))
    lines["accuracy"] = np.random.default_rng(seed).uniform(0.47, 0.9, len(lines))
    return lines.assign(low=lines["accuracy"] - 0.03, high=lines["accuracy"] + 0.02)


def cells(table: int) -> pd.DataFrame:
    found = product(table, protocol=PROTOCOLS, row=ROWS, column=list(paper.TABLES[table]))
    printed = paper.paper_table(table).assign(protocol="paper")
    return found.merge(printed, how="left", on=["row", "column", "protocol"])


def several() -> pd.DataFrame:
    """Cells of three trainings of M each."""
    found = cells(1)
    return found.assign(trainings=[(a - 0.02, a, a + 0.02) for a in found["accuracy"]])


def by_exposures() -> pd.DataFrame:
    found = cells(2)
    times = found["column"].str[1:].astype(int)
    shown = found.assign(x=2 * times, paper_x=found["column"].map(paper.EXPOSURES))
    never = shown[shown["column"] == "x1"].assign(x=0, paper=np.nan)
    return pd.concat([never, shown], ignore_index=True)


def references() -> pd.DataFrame:
    found = cells(1).query("protocol == 'paper'")
    return pd.concat([found.assign(name="Baseline", x=13), found.assign(name="Equal steps", x=30)])


def plan(*lines) -> pd.DataFrame:
    return pd.DataFrame(lines, columns=["part", "images", "times"])


PLANS = {
    "Baseline": plan(("members", 2937, 1), ("held out", 3063, 0)),
    "Augmented frequency": plan(
        ("x1", 731, 1), ("x10", 745, 10), ("x20", 710, 20), ("x30", 751, 30), ("held out", 3063, 0)
    ),
}
ORDERS = {
    name: np.random.default_rng(0).integers(0, max(1, len(of) - 1), (8, 200))
    for name, of in PLANS.items()
}
WHAT = {1: "", 2: "times an epoch", 3: "batch size", 4: "dropout", 5: "loss"}
TABLES = {f"Table {i}\n{what}": cells(i) for i, what in WHAT.items()}


def quality() -> pd.DataFrame:
    names = ["batch 8", "batch 32", "batch 8, scaled"]
    found = product(model=names).rename(columns={"accuracy": "verification"})
    identified = {"members": [0.5, 0.9, 0.95], "held-out": [0.3, 0.5, 0.52]}
    return found.assign(paper=[0.786, 0.905, None], **identified)


def compared() -> pd.DataFrame:
    access = {
        ("MINT, Class centres", "white box"): "members and non-members",
        ("LiRA, offline", "white box"): "label, shadow models",
        ("own cosine", "white box"): "label",
        ("margin over the training", "white box"): "label, checkpoints",
        ("embedding norm", "black box"): "",
    }
    found = product(detector=[name for name, _ in access]).rename(columns={"accuracy": "auc"})
    return found.assign(access=[where for _, where in access], needs=list(access.values()))


def ladder() -> pd.DataFrame:
    return product(row=ROWS, step=["best blind baseline", *STEPS])


def readers() -> pd.DataFrame:
    found = product(column=["the network"], row=[*ROWS, "Class centres"])
    untrained = product(1, column=["untrained"], row=["Class centres"])
    blind = product(2, column=["no network"], row=["pixels", "statistics"])
    return pd.concat([found, untrained, blind], ignore_index=True)


def by_images() -> pd.DataFrame:
    rows = "All Conv Layers", "Class centres", "Class centres, without length", "Own class centre"
    found = product(row=rows, shown=(2.0, 5.0, 10.0, 40.0)).assign(images="1 to 3")
    return found.rename(columns={"accuracy": "advantage"})


def people() -> pd.DataFrame:
    keys = [key for key, _ in controls.PERSONS.values()]
    keys.append(("largest cosine", "yes", "permuted"))
    found = product(key=keys, used=["yes", "no"], photographs=[1, 2, 3, 5, 10])
    found[["reading", "head", "control"]] = found.pop("key").tolist()
    return found.rename(columns={"accuracy": "auc"})


def by_factor() -> pd.DataFrame:
    settings = {
        "depth": ["Vanilla MINT"],
        "MINT samples": ["24", "97", "390", "1,562", "6,250", "25,000", "100,000"],
        "widths of the MLP": ["32-16", "256-128", "1024-512"],
        "inputs": ["raw", "standardised"],
        "whole maps": ["Vanilla MINT", "CNN MINT"],
    }
    found = [
        product(i, factor=[factor], setting=of, row=ROWS, protocol=PROTOCOLS)
        for i, (factor, of) in enumerate(settings.items())
    ]
    found = pd.concat(found, ignore_index=True)
    printed = found["setting"].str.endswith("MINT") & (found["protocol"] == "paper")
    return found.assign(paper=np.where(printed, 0.8, np.nan))


def rungs() -> pd.DataFrame:
    networks = [("ir_tiny", 40), ("ir_18", 56), ("ir_50", 112)]
    found = product(of=networks, row=list(scale.ROWS)).rename(columns={"accuracy": "value"})
    found[["network", "pixels"]] = found.pop("of").tolist()
    return found.assign(measure=np.where(found["row"].str.contains("person"), "AUC", "accuracy"))


def history() -> pd.DataFrame:
    step = np.arange(60)
    lr = 0.1 * 0.1 ** (step // 30)
    return pd.DataFrame({"step": step, "epoch": step // 10, "loss": 9.0 - step / 10, "lr": lr})


def scores() -> pd.DataFrame:
    lines = itertools.product(ROWS, PROTOCOLS, [True, False], range(50))
    found = pd.DataFrame(lines, columns=["row", "protocol", "member", "score"])
    return found.assign(score=np.random.default_rng(0).random(len(found)))


def curves():
    fpr = np.linspace(0, 1, 101)
    return {p: {row: (fpr, fpr ** (1 / (i + 1))) for i, row in enumerate(ROWS)} for p in PROTOCOLS}


def faces(n, size=12):
    return np.random.default_rng(1).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


FIGURES = {
    "accuracies": lambda: plots.accuracies(several()),
    "four columns": lambda: plots.accuracies(cells(3), "batch {}"),
    "roc": lambda: plots.roc(curves()),
    "scores": lambda: plots.score_distributions(scores()),
    "loss": lambda: plots.loss_curve(history()),
    "sheet": lambda: plots.sample_sheet({"D (web)": faces(5), "external (news)": faces(4)}),
    "colour": lambda: plots.colour_order(faces(1)[0]),
    "plan": lambda: comparisons.exposure_plan(PLANS, ORDERS),
    "exposures": lambda: comparisons.small_multiples(
        by_exposures(), "exposures", "symlog", references()
    ),
    "sizes": lambda: comparisons.small_multiples(
        cells(3).assign(x=lambda of: of["column"].astype(float)), "batch size (images)", "log"
    ),
    "quality": lambda: comparisons.model_quality(quality()),
    "heat": lambda: comparisons.heat_map(TABLES),
    "ladder": lambda: controls.ladder(ladder()),
    "by protocol": lambda: controls.rows_by_protocol(
        {"T reads all": cells(3), "T reads one": cells(3)}, ["All Conv Layers", "Conv Layer #1"]
    ),
    "detectors": lambda: controls.detectors(compared()),
    "by images": lambda: controls.by_images(
        by_images(), pd.DataFrame({"row": ["Class centres"], "a": 0.6, "b": 0.5, "at": 55})
    ),
    "readers": lambda: controls.readers(readers()),
    "judged": lambda: controls.judged(
        pd.DataFrame({"folder": list("abc") * 20, "score": np.linspace(0, 1, 60)})
    ),
    "persons": lambda: controls.persons(people()),
    "images a person": lambda: controls.images_a_person(
        product(question=["image: used?", "person, by 5: shown?"], images=[1.0, 1.9, 4.6, 8.1])
        .rename(columns={"accuracy": "auc"})
    ),
    "factors": lambda: factors(by_factor()),
    "scale": lambda: scale.scale_figure(rungs()),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_fits_a_page_and_can_be_read_in_grey(name, monkeypatch):
    assert_readable(FIGURES[name](), monkeypatch)


def values(ax, across=True) -> list[float]:
    """The values of all marks of a panel, without the ends of intervals and single trainings."""
    marks = [line for line in ax.lines if line.get_marker() in set("osD^vP")]
    data = [line.get_xdata() if across else line.get_ydata() for line in marks]
    return sorted(float(x) for of in data for x in np.atleast_1d(of) if np.isfinite(x))


def said(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_dots_stand_in_the_lane_of_their_series_on_the_line_of_their_row():
    given = several()
    figure = plots.accuracies(given)
    (ax,) = figure.axes
    figure.draw_without_rendering()
    assert [label.get_text() for label in ax.get_yticklabels()] == list(ROWS)
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row is at the top"
    by_marker = {line.get_marker(): line for line in ax.lines if len(line.get_xdata()) == 6}
    expected = given.set_index(["protocol", "row"])
    for lane, (marker, protocol, column) in enumerate(
        (("x", "paper", "paper"), ("o", "paper", "accuracy"), ("D", "held_out", "accuracy"))
    ):
        line = by_marker[marker]
        np.testing.assert_allclose(line.get_xdata(), expected.loc[protocol].loc[list(ROWS), column])
        np.testing.assert_allclose(line.get_ydata(), np.arange(6) + (-0.3, 0, 0.3)[lane])
    ends = [path for c in ax.collections for path in c.get_segments() if len(path)]
    for protocol, row in itertools.product(PROTOCOLS, ROWS):
        low, high = expected.loc[(protocol, row), ["low", "high"]]
        assert any(np.allclose(path[:, 0], [low, high]) for path in ends)
    each = [tuple(line.get_xdata()) for line in ax.lines if line.get_marker() == "."]
    assert sorted(each) == sorted(given["trainings"])
    assert said(figure) == ["the paper", *PROTOCOL_NAMES.values(), "one training of M", "chance"]


def test_nothing_is_in_the_legend_that_is_not_drawn():
    one = several().assign(trainings=[(0.5,)] * 12).drop(columns="paper").iloc[1:]
    figure = plots.accuracies(one)
    assert said(figure) == [*PROTOCOL_NAMES.values(), "chance"]
    assert len(values(figure.axes[0])) == 11


def test_the_ladder_has_the_blind_baseline_as_a_band():
    steps = ladder()
    figure = controls.ladder(steps)
    (ax,) = figure.axes
    rest = steps[steps["step"] != "best blind baseline"]
    np.testing.assert_allclose(values(ax), sorted(rest["accuracy"]))
    (band,) = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert band.get_x() == pytest.approx(steps["low"].iloc[0])
    assert band.get_x() + band.get_width() == pytest.approx(steps["high"].iloc[0])
    assert "M, other databases" in said(figure) and "M, same database" in said(figure)


def test_readers_of_people_are_drawn_by_their_auc_and_without_a_band_if_there_is_none():
    given = readers().query("column != 'no network'").rename(columns={"accuracy": "auc"})
    figure = controls.readers(given)
    np.testing.assert_allclose(values(figure.axes[0]), sorted(given["auc"]))
    assert "area under the ROC curve" in figure.get_supxlabel()
    assert said(figure) == ["the network", "untrained", "chance"]
    assert "no network (best: statistics)" in said(controls.readers(readers()))


def test_attacks_are_grouped_by_what_they_are_given():
    figure = controls.detectors(compared())
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "Black box",
        "White box",
        "White box, knows the person",
        "White box, knows the person, has checkpoints",
        "White box, knows the person, trains shadow models",
    ]
    by_name = compared().set_index("detector")["auc"]
    assert values(figure.axes[3]) == [by_name["margin over the training"]]
    assert values(figure.axes[4]) == [by_name["LiRA, offline"]]


def test_models_stand_in_the_order_of_their_numbers():
    left, right = comparisons.model_quality(quality()).axes
    left.figure.draw_without_rendering()
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["batch 8", "batch 8, scaled", "batch 32"]
    np.testing.assert_allclose(values(right), sorted([0.5, 0.9, 0.95, 0.3, 0.5, 0.52]))
    assert "the paper" not in said(comparisons.model_quality(quality().assign(paper=np.nan)))


def test_the_papers_crosses_stand_at_its_own_exposures():
    figure = comparisons.small_multiples(by_exposures(), "exposures", "symlog", references())
    ax = figure.axes[5]
    (crosses,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert dict(zip(crosses.get_xdata(), crosses.get_ydata(), strict=True)) == {
        26: 0.76, 260: 0.81, 520: 0.85, 780: 0.87
    }  # fmt: skip
    assert "logarithmic" in figure.get_supxlabel() and ax.get_xscale() == "symlog"
    of = by_exposures().query("row == 'All Conv Layers'")
    ours = [y for y in values(ax, across=False) if y not in set(references()["accuracy"])]
    np.testing.assert_allclose(ours, sorted(of["accuracy"]))


def test_lines_are_named_at_their_ends_in_the_order_of_their_values():
    table = rungs()
    figure = scale.scale_figure(table)
    (ax,) = figure.axes
    named = {text.get_text(): text for text in ax.texts if text.get_text() != "chance"}
    last = table[table["network"] == "ir_50"].sort_values("value")
    heights = sorted(named.values(), key=lambda text: text.xyann[1])
    assert [text.xy[1] for text in heights] == pytest.approx(list(last["value"]))
    assert len(named) == 5 and sum("AUC" in name for name in named) == 1
    apart = table.assign(
        value=table["row"].map(dict(zip(scale.ROWS, (0.5, 0.6, 0.7, 0.8, 0.9), strict=True)))
    )
    (ax_apart,) = scale.scale_figure(apart.assign(low=0.4, high=1.0)).axes
    for text in ax_apart.texts[1:]:  # where there is room, each name is at the height of its line
        height = ax_apart.transAxes.inverted().transform(ax_apart.transData.transform(text.xy))[1]
        assert text.xyann[1] == pytest.approx(height, abs=0.04)
    figure.draw_without_rendering()
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert ticks == ["ir_tiny\n40 px", "IR-18\n56 px", "IR-50\n112 px"]


def test_a_factor_is_drawn_against_each_kind_of_non_members():
    given = by_factor()
    figure = factors(given)
    titles = {ax.get_title(loc="left"): i for i, ax in enumerate(figure.axes)}
    above = titles["inputs"]
    at = given.set_index(["factor", "protocol", "row"])["accuracy"]
    for place, protocol in zip((above, above + 3), PROTOCOLS, strict=True):
        drawn = [list(line.get_ydata()) for line in figure.axes[place].lines]
        for row in ("All Conv Layers", "Model Outcome"):
            assert at["inputs", protocol, row].tolist() in drawn
    last = given.query("setting == 'CNN MINT' and protocol == 'paper'")["accuracy"].tolist()
    drawn = [list(line.get_ydata()) for line in figure.axes[titles["whole maps, CNN MINT"]].lines]
    assert last in drawn
    assert not any("[4]" in name for name in said(factors(given.assign(paper=np.nan))))


def test_the_heat_map_shows_every_number_and_what_chance_is():
    figure = comparisons.heat_map(TABLES)
    printed, _, same = figure.axes[:3]
    grid = printed.collections[0].get_array().reshape(6, 14)
    assert grid[5, 0] == 0.84 and grid[5, 4] == 0.87
    texts = [text.get_text() for text in printed.texts]
    assert texts[84:] == list(TABLES) and all(text.startswith(".") for text in texts[:84])
    of = TABLES["Table 5\nloss"].set_index(["protocol", "row", "column"])["accuracy"]
    below = same.collections[0].get_array().reshape(6, 14)
    assert below[4, 13] == of["held_out", "Model Outcome", "ArcFace"]
    assert same.collections[0].get_clim() == (0.3, 0.7)  # chance is in the middle
    for bar in figure.axes[3:]:
        bar.figure.draw_without_rendering()
        assert "0.5 chance" in [label.get_text() for label in bar.get_yticklabels()]


def test_the_area_of_a_part_is_what_passes_through_m():
    figure = comparisons.exposure_plan(PLANS, ORDERS)
    drawn = [patch for patch in figure.axes[1].patches if isinstance(patch, Rectangle)]
    areas = [round(patch.get_width() * patch.get_height()) for patch in drawn[:4]]
    assert areas == [731, 7450, 14200, 22530]
    assert drawn[4].get_height() < 0 and drawn[4].get_hatch()  # held out: below the axis
    shown = figure.axes[3].images[0].get_array()
    np.testing.assert_array_equal(shown, ORDERS["Augmented frequency"])


def test_people_are_drawn_by_photographs_with_the_null_as_a_band():
    table = people()
    figure = controls.persons(table)
    for ax, used in zip(figure.axes, ("no", "yes"), strict=True):
        of = table[table["used"] == used]
        drawn = of[of["control"] != "permuted"]
        np.testing.assert_allclose(values(ax, across=False), sorted(drawn["auc"]))
        heights = ax.collections[0].get_paths()[0].vertices[:, 1]
        null = of[of["control"] == "permuted"]
        assert (heights.min(), heights.max()) == (null["low"].min(), null["high"].max())


def test_roc_is_logarithmic_and_a_point_at_zero_lies_below_its_edge():
    for ax, protocol in zip(plots.roc(curves()).axes, PROTOCOLS, strict=True):
        assert ax.get_title(loc="left") == PROTOCOL_NAMES[protocol]
        assert ax.get_xscale() == ax.get_yscale() == "log" and "logarithmic" in ax.get_xlabel()
        for line, row in zip(ax.lines[1:], ROWS, strict=True):
            np.testing.assert_array_equal(line.get_xdata()[1:], curves()[protocol][row][0][1:])
            assert 0 < line.get_xdata()[0] < 1e-3


def test_histograms_are_shares_of_each_class():
    given = scores()
    first = (given["row"] == ROWS[0]) & (given["protocol"] == "paper")
    given.loc[first, "score"] = np.where(given.loc[first, "member"], 0.99, 0.01)
    panel = plots.score_distributions(given).axes[0]
    shape = panel.collections[0].get_paths()[0].vertices
    assert shape[:, 1].max() == pytest.approx(1)
    assert shape[shape[:, 1] > 0.5, 0].min() > 0.9


def test_pictures_are_shown_pixel_by_pixel():
    images = {"D (web)": faces(5, 20), "external (news)": faces(4, 20)}
    for ax, stored in zip(plots.sample_sheet(images).axes, images.values(), strict=True):
        shown = ax.images[0].get_array()
        for i, face in enumerate(stored):
            np.testing.assert_array_equal(shown[:, 21 * i : 21 * i + 20], face)
    face = faces(1)[0]
    shown = [ax.images[0].get_array() for ax in plots.colour_order(face).axes]
    for i in range(3):
        np.testing.assert_array_equal(shown[1 + i], face[:, :, i])
    np.testing.assert_array_equal(shown[4], face[:, :, ::-1])


def test_saved_bytes_are_the_same_in_another_process(tmp_path):
    script = """
import sys
from pathlib import Path
import numpy as np
from mint_utils.report import plots, style
curves = {"paper": {"Model Outcome": (np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.9, 1.0]))}}
style.save(plots.roc(curves), Path(sys.argv[1]), "roc")
"""
    for name, seed in (("one", "1"), ("two", "2")):  # another day, hash seed and process
        changed = os.environ | {"PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": seed * 9}
        command = [sys.executable, "-c", script, str(tmp_path / name)]
        subprocess.run(command, check=True, cwd=ROOT, env=changed)
    for name in ("roc.pdf", "roc.png"):
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes()
        assert b"CreationDate" not in content and b"Software" not in content
    assert plt.imread(tmp_path / "one" / "roc.png").shape[1] == 1200  # 200 dots an inch
    assert b"/Type3" not in (tmp_path / "one" / "roc.pdf").read_bytes()


def test_a_failed_save_leaves_the_old_figure(tmp_path, monkeypatch):
    figure = plots.colour_order(faces(1)[0])
    style.save(figure, tmp_path, "f")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def half(self, path, **options):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OSError, match="No space"):
        style.save(figure, tmp_path, "f")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
