"""The order of works: every training once, and what stands in for failed ones when the others are there."""

from types import SimpleNamespace

from mint_utils.config import resolve
from mint_utils.run import plan
from mint_utils.study import scenarios
from mint_utils.study.audit import Audit, Trainings


def test_failed_trainings_are_repeated_after_all_others():
    config = resolve("quick", audited_seeds=3, factor_seeds=1)
    found = plan.works(config, ["baseline", "swap", "dropout"])
    recipes = [work.arguments[2] for work in found if work.make is plan.model]
    assert len(set(recipes)) == len(recipes)
    asked = {
        recipe
        for name in ("baseline", "swap", "dropout")
        for column in scenarios.columns(config, name)
        for recipe in scenarios.recipes(config, name, column)
    }
    assert set(recipes) == asked
    again = [i for i, work in enumerate(found) if work.make is plan.again]
    last = max(i for i, work in enumerate(found) if work.make is plan.model)
    assert min(again) > last
    # What is trained once cannot be seen to fail.
    assert {found[i].arguments[2].recipe.shown for i in again} == {"members", "held_out"}
    assert {found[i].arguments[2].recipe.dropout for i in again} == {config.audited.dropout}


def test_what_stands_in_is_read_as_the_others_are(monkeypatch):
    config = resolve("quick", audited_seeds=3)
    (column,) = scenarios.columns(config, "baseline")
    models = [SimpleNamespace(recipe=seed) for seed in (0, 2, 3)]
    monkeypatch.setattr(Audit, "trained", lambda *_: Trainings(models, failed=1))
    made = []
    monkeypatch.setattr(plan, "model", lambda *arguments: made.append(arguments))
    plan.again(config, "baseline", column)
    assert made == [(config, "baseline", seed, ("members",)) for seed in (0, 2, 3)]
