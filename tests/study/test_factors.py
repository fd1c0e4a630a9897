"""The auditor's factors on a toy study: the defaults are the study's own cells, every line is there."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest

from mint_utils import store, study
from mint_utils.config import PROTOCOLS, ROWS, plain
from mint_utils.measure.bootstrap import Estimate
from mint_utils.mint import cnn
from mint_utils.report import paper
from mint_utils.study import audit, checks, factors

SMALL = {"image_size": 16, "epochs": 1, "mint_seeds": 2, "mint_samples": 160, "mint_epochs": 5}
WIDTHS = ((8, 4), (256, 128), (300, 20))


@pytest.fixture(scope="module")
def everything(artifacts):
    """A study, its model and all factors of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factors, "WIDTHS", WIDTHS)
        s = study.open_study("quick", **SMALL)
        model = s.audited("baseline", "Baseline")[0]
        yield s, model, factors.every(s.audit, model)


@pytest.fixture
def made(everything, shared_artifacts, monkeypatch):
    monkeypatch.setattr(factors, "WIDTHS", WIDTHS)
    return everything


SETTINGS = {
    "depth": ["Vanilla MINT"],
    "MINT samples": ["40", "160"],
    "widths of the MLP": ["8-4", "256-128", "300-20"],
    "inputs": ["raw", "standardised"],
    "pooling": ["mean", "max"],
    "whole maps": ["Vanilla MINT", "CNN MINT"],
}


def test_every_factor_has_a_line_for_each_setting_row_and_protocol(made):
    _, _, found = made
    assert list(found) == list(SETTINGS)
    for name, settings in SETTINGS.items():
        lines = found[name].lines
        assert tuple(lines) == factors.LINES and set(lines["factor"]) == {name}
        assert list(dict.fromkeys(lines["setting"])) == settings
        rows = lines["row"].unique()
        assert len(lines) == len(settings) * len(rows) * len(PROTOCOLS)
        assert lines["accuracy"].between(lines["low"], lines["high"]).all()
        assert len(set(lines["n"])) == 1, "every setting is evaluated on the same images"


def test_the_studys_own_setting_is_the_studys_own_table(made):
    s, _, found = made
    own = s.table("baseline").cells.set_index(["row", "protocol"])
    at = {"depth": "Vanilla MINT", "MINT samples": "160", "widths of the MLP": "256-128"}
    at |= {"inputs": "standardised", "pooling": "max", "whole maps": "Vanilla MINT"}
    for name, setting in at.items():
        lines = found[name].lines
        lines = lines[lines["setting"] == setting].set_index(["row", "protocol"])
        expected = own.loc[lines.index, ["accuracy", "low", "high", "auc", "n"]]
        assert lines[list(expected)].equals(expected), name


def test_another_setting_gives_other_scores(made):
    _, _, found = made
    for name, settings in SETTINGS.items():
        scores = [
            found[name].table.scores[setting, "paper", "All Conv Layers"] for setting in settings
        ]
        for one, other in itertools.pairwise(scores):
            assert one.shape == other.shape and abs(one - other).max() > 1e-4, name


def test_numbers_of_the_original_paper_stand_where_it_trained_so(made):
    _, _, found = made
    whole = found["whole maps"].lines.set_index(["setting", "row", "protocol"])["paper"]
    assert whole["CNN MINT", "Conv Layer #1", "paper"] == pytest.approx((0.86 + 0.89 + 0.90) / 3)
    assert whole["Vanilla MINT", "All Conv Layers", "paper"] == pytest.approx(2.49 / 3)
    assert whole.xs("held_out", level="protocol").isna().all()
    assert found["depth"].lines["paper"].notna().sum() == 6
    assert set(found["pooling"].lines.dropna(subset="paper")["setting"]) == {"max"}
    for name in ("MINT samples", "widths of the MLP", "inputs"):
        assert found[name].lines["paper"].isna().all()


def test_made_once(made, monkeypatch):
    s, model, found = made

    def refuse(*_, **__):
        raise AssertionError("made again")

    monkeypatch.setattr(audit, "fit", refuse)
    monkeypatch.setattr(cnn, "fit", refuse)
    for name, again in factors.every(s.audit, model).items():
        assert again.lines.equals(found[name].lines)


def test_a_recipe_and_a_pooling_are_of_an_artifact_only_where_they_are_given(made, monkeypatch):
    s, model, _ = made
    specs = []
    fetch = store.fetch
    monkeypatch.setattr(
        store, "fetch", lambda kind, spec, make: specs.append(spec) or fetch(kind, spec, make)
    )
    chosen = s.images.audit_set()
    plainly, means = (s.audit.activations(model, chosen, how) for how in ("max", "mean"))
    s.audit.mint(plainly, chosen)
    raw = dataclasses.replace(s.audit.mint_recipe, standardise=False)
    s.audit.mint(plainly, chosen, raw)
    assert means.digest != plainly.digest
    assert "recipe" not in specs[2] and specs[3]["recipe"] == plain(raw)


def test_differences_in_words_are_those_of_the_cells(made):
    _, _, found = made
    assert (
        found["inputs"]
        .told()
        .startswith("From raw to standardised. With non-members of other databases: ")
    )
    assert found["depth"].told().startswith("With non-members of other databases: ")
    samples = found[factors.SAMPLES]
    at = samples.lines.set_index(["setting", "row", "protocol"])["accuracy"]
    (few, row), (most, _) = samples.compared[0]
    change = samples._change("paper", (few, row), (most, row))
    assert change.value == pytest.approx(at[most, row, "paper"] - at[few, row, "paper"])


def test_changes_are_told_apart_from_those_that_are_not_told_from_zero():
    none, less = Estimate(0.01, -0.02, 0.04), Estimate(-0.2, -0.3, -0.1)
    more = {f"for {row}": Estimate(0.1, 0.05, 0.15) for row in "abc"}
    assert factors._changes({"for a": none}) == "no change larger than 0.04 was found"
    assert factors._changes(more | {"for d": less, "for e": none}) == (
        "accuracy rises by 0.10 for a, 0.10 for b and 0.10 for c; accuracy falls by 0.20 for d; "
        "no change larger than 0.04 was found for e"
    )


def test_the_trend_is_the_line_through_the_points_and_its_interval_that_of_independent_ones():
    n, error = np.array([10, 100, 1000]), np.array([0.03, 0.01, 0.02])
    of = pd.DataFrame({"setting": [f"{i:,}" for i in n], "row": ROWS[5], "protocol": "paper"})
    of["accuracy"] = [0.52, 0.58, 0.61]
    of["low"], of["high"] = of["accuracy"] - 1.96 * error, of["accuracy"] + 1.96 * error
    law = factors.trend(of, at=100_000).iloc[0]
    a = np.column_stack([np.log10(n), np.ones(3)])
    inverse = np.linalg.inv(a.T @ np.diag(error**-2.0) @ a)  # the normal equations
    slope, start = inverse @ a.T @ (of["accuracy"] / error**2)
    assert law["slope"] == pytest.approx(slope) and law["accuracy"] == pytest.approx(
        start + 5 * slope
    )
    width = 1.96 * np.sqrt(np.array([5, 1]) @ inverse @ np.array([5, 1]))
    assert law["low"] == pytest.approx(start + 5 * slope - width, abs=1e-4)
    both = pd.concat([of, of.assign(protocol="held_out", accuracy=0.5, low=0.48, high=0.52)])
    said = factors.extrapolated(factors.trend(both))
    assert "the same database, ten times the images change the accuracy by +0.00 [" in said
    assert "it would be 0.50 [" in said and "at 100,000 images" in said


def test_the_conclusion_counts_every_cell_once(made):
    _, _, found = made
    lines = pd.concat([factor.lines for factor in found.values()])
    paper_lines = lines[lines["protocol"] == "paper"]
    # Six rows of the study; besides 2 of samples, 2 of widths, 2 of inputs, 5 of means and 5 of CNN MINT.
    assert len(paper_lines) == 6 + 4 + 3 + 4 + 10 + 10
    told = factors.conclusion(found)
    assert all(checks.factors_sound(found).values())
    assert told.count("of 22 MINT Models") == 2
    assert f"classifies {paper_lines['accuracy'].max():.2f} [" in told


def test_the_table_of_the_original_paper():
    cnn_mint = paper.original("CNN MINT").set_index("row")
    assert cnn_mint.loc["All Conv Layers"].tolist() == pytest.approx([0.88, 0.90, 0.90, 2.68 / 3])
    assert np.isnan(cnn_mint.loc["Model Outcome", "mean"])
    assert paper.original("Vanilla MINT")["row"].tolist() == list(ROWS)
