"""The front door, on a small study: everything once, nothing twice, results of changes apart."""

import json

import numpy as np
import pandas as pd
import pytest

from mint_utils import paths
from mint_utils.audited import train
from mint_utils.config import ROWS
from mint_utils.errors import DataError, ParameterError
from mint_utils.mint import aad, fit
from mint_utils.report import tables
from mint_utils.study import audit, checks, claims, results, scenarios, study
from mint_utils.study import folder as folder_of_results

SMALL = {"image_size": 16, "scale": 0.25, "epochs": 1, "mint_seeds": 2, "mint_samples": 200}


@pytest.fixture
def s(shared_artifacts):
    return study.open_study("quick", **SMALL)


SMALL_1 = SMALL | {"frequencies": [1, 3], "epochs": 2, "frequency_epochs": 2, "seed": 7}


@pytest.fixture(scope="module")
def scenario_1(tmp_path_factory):
    """Scenario 1 on two parts, trained side by side."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINT_ARTIFACTS", str(tmp_path_factory.mktemp("scenario_1")))
        made = study.open_study("quick", **SMALL_1)
        made.prepare_all(["frequency"], jobs=2)
        made.table("frequency")
        for model in ("Augmented frequency", "Baseline", "Equal steps"):
            made.audited("frequency", model)
        yield made


def test_the_whole_once_and_nothing_twice(s, monkeypatch):
    m = s.audited("baseline", "Baseline")
    numbers = s.table("baseline").cells, s.quality.verification(m), s.quality.identification(m)

    def refuse(*_, **__):
        raise AssertionError("made again")

    for module, name in ((train, "train"), (aad, "extract"), (aad, "embed"), (aad, "identify")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(audit, "fit", refuse)
    again = study.open_study("quick", **SMALL)
    m = again.audited("baseline", "Baseline")
    others = (
        again.table("baseline").cells,
        again.quality.verification(m),
        again.quality.identification(m),
    )
    for one, two in zip(numbers, others, strict=True):
        assert one.equals(two)
    assert fit.fit is not refuse


def test_what_must_hold_anywhere(s):
    m, t = s.audited("baseline", "Baseline")[0], s.table("baseline")
    assert all(checks.sound(m, t).values())
    chosen, _ = t.chosen["Baseline"]
    assert checks.leaks(chosen) == dict.fromkeys(checks.leaks(chosen), 0)
    assert list(checks.exposure_table(m)) == [0, 1]
    assert t.cells["accuracy"].between(0, 1).all()
    assert (t.cells["low"] <= t.cells["accuracy"]).all()
    assert (t.cells["accuracy"] <= t.cells["high"]).all()


def test_counts_of_every_role(s):
    roles = s.images.roles().set_index("database")
    assert roles.loc["embedded_web", "images"] == 1500 and len(roles) == 6
    assert roles.loc["embedded_pairs", "identities"] == 1500


def test_a_change_is_another_model_and_another_folder(s):
    assert s.figures.name.startswith("quick-")
    other = study.open_study("quick", **SMALL | {"dropout": 0.0})
    assert other.figures != s.figures
    one, two = (x.audited("baseline", "Baseline")[0].artifact.digest for x in (s, other))
    assert one != two
    without = scenarios.columns(s.config, "dropout")[1].recipe
    assert s.audit.model(without).artifact.digest == two


def test_the_reference_writes_to_the_name_of_its_profile():
    assert study.open_study("quick").figures.name == "quick"


def test_finish_writes_what_it_came_from(s):
    s.save_table(s.table("baseline").beside_paper(table=1), "table1", "a caption")
    s.finish("01_baseline")
    record = json.loads((s.figures / "record.json").read_text())
    entry = record["notebooks"]["01_baseline"]
    assert entry["files"] == ["table1.csv", "table1.md", "table1.tex"]
    assert record["config"]["audited"]["epochs"] == 1 and entry["seconds"]
    assert {"device", "versions", "commit"} <= set(entry["provenance"])
    assert record["contamination"] == dict.fromkeys(
        ["embedded_video", "embedded_rendered", "embedded_news", "embedded_albums"], 0
    )


def test_images_that_d_holds_too_are_no_non_members(s, monkeypatch):
    chosen = s.images.audit_set().images
    key = chosen[chosen["database"] == "embedded_albums"]["key"].iloc[0]
    found = pd.DataFrame({"database": ["embedded_albums"], "key": [key]})
    monkeypatch.setattr(s.images, "contamination", lambda: found)
    again = s.images.audit_set().images
    assert key not in set(again[again["database"] == "embedded_albums"]["key"])
    assert len(again) == len(chosen)
    s.finish("00_databases")
    record = json.loads((s.figures / "record.json").read_text())
    assert record["contamination"]["embedded_albums"] == 1


def test_the_catalogue_has_every_manifest(s):
    told = s.images.catalogue().set_index("database")
    assert told.loc["ms1mv3", "images"] == 5_179_510 and told.loc["adience", "identities"] == 2284
    assert told.loc["embedded_web", "at hand"] == "yes" and told.loc["ms1mv3", "at hand"] == "no"
    assert told["how obtained"].str.len().all() and told["role"].notna().all()


def test_conclusions_are_written_by_the_numbers(s):
    told = claims.shown(s.claims("baseline"))
    assert len(told) == 4 and told["verdict"].eq("none: one training").all()
    cells = s.table("baseline").beside_paper(table=1)
    assert results.conclusion(cells, 0.5)
    said = results.summary(s.claims("baseline"))
    assert "*With non-members of other databases.* " in said
    assert said.count("4 claims have no verdict, because M was trained once.") == 2


def test_scenario_1_from_plan_to_ledger_to_table(scenario_1):
    s = scenario_1
    plans, groups = s.images.exposure_plans(), s.images.groups("parts")
    assert plans["Augmented frequency"]["times"].tolist() == [1, 3, 0]
    assert plans["Baseline"]["part"].tolist() == ["members", "held out"]
    m = s.audited("frequency", "Augmented frequency")[0]
    exposures = m.ledger["exposures"].to_numpy()
    assert (exposures[groups["x1"]] == 2).all() and (exposures[groups["x3"]] == 6).all()
    assert (exposures[groups["x0"]] == 0).all() and (groups["x0"] & groups["x1"]).sum() == 0
    points = s.by_exposures()
    ours = points[points["model"] == "Augmented frequency"].groupby("part")["x"].first().to_dict()
    assert ours == {"x1": 2, "x3": 6, "x0": 0}
    alike = points[points["model"] == "Equal steps"].groupby("part")["x"].first().to_dict()
    assert alike == {"x1": 4, "x3": 4, "x0": 0}
    batches = s.images.first_batches(3)["Augmented frequency"]
    assert batches.shape[0] == 3 and set(np.unique(batches)) <= {0, 1}
    assert set(s.quality.identification([m], "parts")["images"]) == {"x1", "x3", "held-out"}
    found = results.over_parts(s.table("frequency"), points, "Equal steps").set_index("row")
    of = points[(points["model"] == "Equal steps") & (points["protocol"] == "paper")]
    means = of[of["part"] != "x0"].groupby("row")["accuracy"].mean()
    assert set(found["x"]) == {4} and set(found.index) == set(ROWS)
    np.testing.assert_allclose(found["accuracy"], means[found.index])
    assert ((found["low"] < found["accuracy"]) & (found["accuracy"] < found["high"])).all()
    told = results.positive_control(s.performance("frequency"), points)
    cells = points[(points["model"] == "Equal steps") & (points["protocol"] == "held_out")]
    lowest = cells[cells["part"] != "x0"]["accuracy"].min()
    assert told.startswith("Equal steps identifies ") and f"classifies {lowest:.2f} to" in told
    assert f"in {2 * len(ROWS)} cells" in told
    assert "equal steps" not in str(results.by_model(points, "Model Outcome")["images"].tolist())


def test_parts_are_evaluated_on_the_same_images_under_every_model(scenario_1):
    t = scenario_1.table("frequency")
    for part in ("x1", "x3", "x0"):
        rows = []
        for model in ("Augmented frequency", "Baseline", "Equal steps"):
            chosen, group = t.chosen[scenarios.part_name(part, model)]
            split = chosen.splits[group, "held_out"]
            rows.append(chosen.images["key"].to_numpy()[split.evaluation].tolist())
        assert rows[0] == rows[1] == rows[2]


def test_ledgers_are_the_same_side_by_side_and_after_one_another(scenario_1, tmp_path, monkeypatch):
    """Two workers, then none: which image was shown how often does not depend on who trained."""
    monkeypatch.setenv("MINT_ARTIFACTS", str(tmp_path))
    alone = study.open_study("quick", **SMALL_1)
    alone.prepare_all(["frequency"], jobs=1)
    for model in ("Augmented frequency", "Baseline", "Equal steps"):
        one, two = (s.audited("frequency", model)[0] for s in (scenario_1, alone))
        monkeypatch.setenv("MINT_ARTIFACTS", str(tmp_path))
        pd.testing.assert_frame_equal(one.ledger, two.ledger)
        alone.images.plan(one.recipe).check(one.ledger["exposures"].to_numpy())


def test_several_trainings_of_m_make_one_column(shared_artifacts):
    s = study.open_study("quick", **SMALL | {"losses": ["adaface"]}, audited_seeds=3)
    models = s.audited("loss", "AdaFace")
    assert [m.recipe.seed for m in models] == [0, 1, 2]
    t = s.table("loss")
    assert t.scores["AdaFace", "paper", "Model Outcome"].shape[:2] == (3, 2)
    assert t.decided("AdaFace", "paper", "Model Outcome").right.shape[0] == 3
    performance = s.performance("loss").iloc[0]
    each = [np.mean([right.mean() for right in s.quality.verified(m).values()]) for m in models]
    assert performance["verification"] == pytest.approx(np.mean(each))
    assert performance["low"] < performance["verification"] < performance["high"]


def failing(monkeypatch, quality, **overrides):
    """Return a study of three trainings whose verification is given by their seeds, and no other's is."""
    s = study.open_study("quick", **SMALL | {"losses": ["adaface"]}, audited_seeds=3, **overrides)
    monkeypatch.setattr(s.quality, "mean", lambda model: quality[model.recipe.seed])
    return s, s.columns("loss")[0]


@pytest.mark.parametrize(
    ("quality", "seeds", "failed", "holds"),
    [
        ([0.84, 0.80, 0.82], [0, 1, 2], 0, False),
        ([0.84, 0.65, 0.81, 0.83], [0, 2, 3], 1, False),
        (
            [0.60, 0.61, 0.62, 0.84, 0.83, 0.82],
            [0, 1, 2],
            0,
            False,
        ),  # alike: nothing tells of failure
        ([0.84, 0.65, 0.66, 0.64, 0.63, 0.62], [0, 1, 2], 5, True),
        ([0.70, 0.65, 0.84, 0.83, 0.82], [2, 3, 4], 2, False),
    ],
)
def test_a_failed_training_is_repeated_under_the_next_seed(
    quality, seeds, failed, holds, shared_artifacts, monkeypatch
):
    s, column = failing(monkeypatch, quality)
    found = s.audit.trained("loss", column)
    assert [m.recipe.seed for m in found.models] == seeds
    assert (found.failed, found.holds_failed) == (failed, holds)


def test_where_trainings_failed_again_each_is_shown(shared_artifacts, monkeypatch):
    s, _ = failing(monkeypatch, [0.84, 0.65, 0.66, 0.64, 0.63, 0.62])
    line = s.performance("loss").iloc[0]
    assert line["each"] == ".84 .65 .66" and line["failed"] == 5 and np.isnan(line["low"])
    cells = s.table("loss").cells
    shown = s.table("loss").decided("AdaFace", "paper", "Model Outcome")
    assert shown.reservation == "a training failed"
    one = cells.query("row == 'Model Outcome' and protocol == 'paper'").iloc[0]
    expected = " ".join(f"{a:.2f}".removeprefix("0") for a in shown.accuracies)
    assert np.isnan(one["low"]) and results.estimate(one) == one["each"] == expected
    assert tables.table(cells, "paper").loc["Model Outcome", "AdaFace"] == expected
    s.save_table(cells.assign(paper=np.nan), "table5", "with a failed training")
    assert tables.read(s.figures, "table5")["each"].str.count(" ").eq(2).all()
    of_m = s._cell(claims.Term(1, "loss", "AdaFace", claims.VERIFICATION), "M")
    assert {of.reservation for _, of in of_m} == {"a training failed"}


def test_verification_pairs_depend_on_each_other_by_their_people(s, monkeypatch):
    monkeypatch.setattr(
        "mint_utils.data.manifest.Database.persons", lambda pairs: np.arange(len(pairs)) // 8
    )
    ((_, decided),) = s.quality.decided(s.audited("baseline", "Baseline"))
    assert decided.clusters[:5].tolist() == [[f"embedded_pairs/{i // 4}"] * 2 for i in range(5)]
    assert decided.reservation == "one training"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mint_samples": 1}, "mint_samples"),
        ({"held_out": 1.0}, "held_out"),
        ({"dropuot": 0.1}, "Did you mean 'dropout'"),
    ],
)
def test_wrong_parameters_are_refused_at_the_door(changes, says):
    with pytest.raises(ParameterError, match=says):
        study.open_study(**changes)


def test_a_network_that_nobody_registered():
    with pytest.raises(ParameterError, match="Did you mean 'ir_50'"):
        study.open_study(network="ir_5")


def test_real_databases_must_be_at_hand(monkeypatch):
    with pytest.raises(DataError, match="--data DIR"):
        study.open_study("faces").images.training  # noqa: B018


def test_what_was_found_on_real_faces_is_shown_and_what_was_not_is_said(tmp_path, monkeypatch):
    folder = tmp_path / "figures" / "faces_small"
    folder.mkdir(parents=True)
    config = {
        "audited": {"network": "ir_tiny"},
        "databases": {"training": "lfw", "image_size": 40},
        "scenarios": {"audited_seeds": 3},
    }
    (folder / "record.json").write_text(json.dumps({"config": config}))
    (folder / "models.csv").write_text("model,verification\nBaseline,0.8125\n")
    (folder / "models.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "long.csv").write_text("model\n" + "Baseline\n" * 16)
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    folder_of_results.on_real_faces(
        "models", "table9", "long"
    )  # a long table is left to its figure
    said, table, picture, missing = shown
    assert "`faces_small`" in said.data and "lfw, network ir_tiny, 40 px" in said.data
    assert "0.812" in table.to_html()
    assert picture.data == b"\x89PNG\r\n\x1a\n" and picture.alt == "models, on real faces"
    assert "`table9`" in missing.data
    # The committed ones: cells stand as the notebooks show them, beside the paper's.
    monkeypatch.undo()
    monkeypatch.setattr("IPython.display.display", shown.append)
    folder_of_results.on_real_faces("table1")
    assert "were trained three times" in shown[4].data  # the note of its record
    assert "the paper" in shown[5].to_html() and "0.84" in shown[5].to_html()
    assert "Table 1, on real faces" in shown[5].to_html()
