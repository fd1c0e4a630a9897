"""The columns of every table: the paper's names, one change each, and no model twice."""

import dataclasses

import pytest

from mint_utils.config import Config, resolve
from mint_utils.errors import ParameterError
from mint_utils.report import paper
from mint_utils.study import scenarios

PAPER = Config()


def changes(config, column):
    one, two = dataclasses.asdict(config.audited), dataclasses.asdict(column.recipe)
    return {name: two[name] for name in one if one[name] != two[name]}


def test_the_papers_columns_come_first_and_by_its_names():
    for name, number in scenarios.TABLES.items():
        names = [column.name for column in scenarios.columns(PAPER, name)]
        printed = list(paper.TABLES[number])
        assert names[: len(printed)] == printed


def test_each_column_changes_what_its_scenario_is_about_and_nothing_else():
    found = {n: [changes(PAPER, c) for c in scenarios.columns(PAPER, n)] for n in scenarios.TABLES}
    assert found["baseline"] == [{}]
    assert found["batch_size"] == [{"batch_size": 8}, {"batch_size": 32}, {"batch_size": 64}, {}]
    assert found["loss"] == [{}, {"loss": "cosface"}, {"loss": "arcface"}]
    assert found["dropout"] == [{}, {"dropout": 0.0}, {"dropout": 0.2}, {"dropout": 0.6}]
    scaled = found["batch_size_scaled"]
    assert [c.get("lr", 0.1) for c in scaled] == pytest.approx([0.1 / 32, 0.1 / 8, 0.1 / 4, 0.1])


def test_scenario_1_has_the_same_parts_under_three_models():
    found = scenarios.columns(PAPER, "frequency")
    groups = ["x1", "x10", "x20", "x30", "x0"]
    assert [column.group for column in found] == 3 * groups
    by_model = {column.model: changes(PAPER, column) for column in found}
    assert by_model["Augmented frequency"] == {"repeats": (1, 10, 20, 30)}
    assert by_model["Baseline"] == {}
    # 61 exposures of four images are 15.25 of each: as many steps as the first takes.
    assert by_model["Equal steps"] == {"epochs": round(26 * 61 / 4)}


def test_epochs_of_scenario_1_may_be_fewer():
    config = PAPER.replace(frequency_epochs=4)
    epochs = {c.model: c.recipe.epochs for c in scenarios.columns(config, "frequency")}
    assert epochs == {"Augmented frequency": 4, "Baseline": 26, "Equal steps": 61}


def test_seeds_follow_one_another_from_the_first():
    config = PAPER.replace(audited_seeds=3, frequency_seeds=2, seed=5)
    column = scenarios.columns(config, "loss")[1]
    recipes = scenarios.recipes(config, "loss", column)
    assert [(r.seed, r.loss) for r in recipes] == [(i, "cosface") for i in (5, 6, 7)]
    column = scenarios.columns(config, "frequency")[0]
    assert [r.seed for r in scenarios.recipes(config, "frequency", column)] == [5, 6]


def test_the_baseline_is_the_same_model_in_every_table():
    baseline = {
        name: {c.recipe for c in scenarios.columns(PAPER, name)} & {PAPER.audited}
        for name in scenarios.TABLES
    }
    assert all(found == {PAPER.audited} for found in baseline.values())


def test_a_rate_of_dropout_that_is_not_in_the_sweep_is_still_with_dropout():
    config = PAPER.replace(dropout=0.5, dropouts=[0.1])
    names = {c.name: c.recipe.dropout for c in scenarios.columns(config, "dropout")}
    assert names == {"with dropout": 0.5, "without dropout": 0.0, "rate 0.1": 0.1}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_sizes": [8, 1]}, "batch_sizes must be at least 2"),
        ({"batch_sizes": [8, 8]}, "batch_sizes must be values that differ"),
        ({"frequencies": []}, "frequencies must be one value or more"),
        ({"frequencies": [0, 1]}, "frequencies must be at least 1"),
        ({"dropouts": [1.0]}, "dropouts must be from 0 to below 1"),
        ({"losses": ["softmax"]}, "losses must be one of adaface"),
        ({"losses": 3}, "losses must be text"),
        ({"images_a_person": [5, 5]}, "images_a_person must be values that differ"),
        ({"images_a_person": [0]}, "images_a_person must be at least 1"),
        ({"audited_seeds": 0}, "audited_seeds must be at least 1"),
    ],
)
def test_wrong_lists_are_one_clear_error(changes, says):
    with pytest.raises(ParameterError, match=says):
        resolve("quick", **changes)


def test_images_a_person_are_a_model_each_of_about_as_many_steps():
    assert scenarios.columns(PAPER, "images_a_person") == []
    config = resolve("quick", images_a_person=[1, 5, 20])  # D has 10 images a person for training
    a = scenarios.columns(config, "people")[0].recipe
    found = {c.name: c.recipe for c in scenarios.columns(config, "images_a_person")}
    assert {name: r.shown for name, r in found.items()} == {
        str(most): f"people-a-atmost-{most}" for most in (1, 5, 20)
    }
    assert [r.epochs for r in found.values()] == [10 * a.epochs, 2 * a.epochs, a.epochs]
