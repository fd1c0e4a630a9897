"""Works in the order of their value: made as far as the time allows, gone on with when asked again."""

import builtins
from types import SimpleNamespace

import pytest

from mint_utils import reproduce, workers
from mint_utils.audited import train
from mint_utils.config import resolve
from mint_utils.errors import StudyError
from mint_utils.run import batch, notebooks, plan
from mint_utils.study import scenarios
from mint_utils.study.audit import Audit, Trainings
from mint_utils.study.scenarios import NOTEBOOKS
from mint_utils.study.study import Study

SMALL = {"image_size": 16, "epochs": 2, "mint_seeds": 1, "mint_samples": 100}


def titles(chosen) -> list[str]:
    return [work.title for work in plan.works(resolve("quick"), chosen)]


def test_the_baseline_is_first_and_every_model_of_the_notebooks_is_made_once():
    config = resolve("quick")
    needed = scenarios.needed(config, [name for of in NOTEBOOKS.values() for name in of])
    works = plan.works(config, list(NOTEBOOKS))
    made = [work.arguments[2] for work in works if work.make is plan.model]
    assert made[0] == config.audited and len(made) == len(needed) and set(made) == set(needed)
    found = [work.title for work in works]
    assert found.index("what the auditor chooses") < found.index("batch 8, seed 0")


def test_a_notebook_gets_what_it_reads_and_no_more():
    assert titles(["01_baseline"]) == ["Baseline, seed 0"]
    assert titles(["06c_auditors_factors"]) == ["Baseline, seed 0", "what the auditor chooses"]
    assert "controls, seed 0" in titles(["06_controls"])
    assert "attacks" not in titles(["06_controls"]) and "attacks" in titles(["06b_better_test"])
    found = titles(["06b_better_test"])
    assert found.index("Baseline, seed 0") < found.index("checkpoints of the training")


@pytest.mark.parametrize("name", ["06_controls", "06b_better_test"])
def test_where_little_is_held_out_networks_of_two_halves_are_compared(name):
    config = resolve("quick", held_out=0.05)
    found = [work.title for work in plan.works(config, [name])]
    assert "One half, seed 0" in found
    assert ("Other half, seed 0" in found) == (name == "06_controls")
    shown, of_quick = (
        {work.arguments[2].shown for work in plan.works(c, [name]) if work.make is plan.model}
        for c in (config, resolve("quick"))
    )
    assert "half-a" in shown and "held_out" not in shown
    assert not {"half-a", "half-b"} & of_quick


@pytest.fixture
def study():
    s = Study(resolve("quick", **SMALL))
    s.images.roles()
    return s


def test_over_before_it_began_it_says_what_is_left_and_goes_on_from_the_checkpoint(
    study, monkeypatch
):
    found = plan.works(study.config, ["01_baseline", "04_no_dropout"])
    assert plan.make(study, found, 1, 0.0) == [work.title for work in found]
    times = iter(
        [False, False, False] + [True] * 9
    )  # over in the second step of the first training
    with monkeypatch.context() as patch:
        patch.setattr(workers, "out_of_time", lambda: next(times))
        assert plan.make(study, found, 1, 3600.0) == [work.title for work in found]
    steps = []
    gathered = train._gathered

    def counted(source, target, schedule, device):
        for item in gathered(source, target, schedule, device):
            steps.append(item[0])
            yield item

    monkeypatch.setattr(train, "_gathered", counted)
    done = []
    assert plan.make(study, found[:1], 1, 3600.0, done.append) == []
    assert done == ["Baseline, seed 0"] and study.audit.is_trained(study.config.audited)
    assert steps[0] > 0 and steps == list(range(steps[0], study.images.plan().steps))
    assert not workers.out_of_time()


def test_one_that_fails_does_not_stop_the_others(study, monkeypatch):
    found = plan.works(study.config, ["01_baseline"])
    bad = plan.Work("a bad one", int, ("as asked",))
    done = []
    with pytest.raises(
        StudyError, match=r"1 of 2 works failed, the first: a bad one: ValueError.*asked"
    ):
        plan.make(study, [bad, *found], 1, None, done.append)
    assert done[1] == "Baseline, seed 0" and study.audit.is_trained(study.config.audited)


TINY = [word for name, value in SMALL.items() for word in ("-p", name, str(value))]


def test_the_command_stops_cleanly_without_papermill_and_without_notebooks(monkeypatch, capsys):
    taken = builtins.__import__

    def without(name, *rest, **named):
        if name.split(".")[0] in ("papermill", "nbconvert", "nbformat"):
            raise ImportError(name)
        return taken(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(notebooks, "execute", lambda *_: pytest.fail("executed"))
    now = batch.time.monotonic()
    monkeypatch.setattr(batch.time, "monotonic", iter([now, now + 1e4, now + 1e4]).__next__)
    assert reproduce.main([*TINY, "--only", "01", "--within", "2m", "--jobs", "1"]) == 3
    assert "Left: Baseline, seed 0. The same command goes on." in capsys.readouterr().out


def test_papermill_is_asked_for_before_anything_starts_where_notebooks_are_to_run(
    monkeypatch, capsys
):
    monkeypatch.setattr(batch.importlib.util, "find_spec", lambda name: None)
    assert reproduce.main([*TINY, "--only", "01"]) == 2
    assert "The notebooks need papermill" in capsys.readouterr().err


def test_failed_trainings_are_repeated_after_all_others():
    config = resolve("quick", audited_seeds=3, factor_seeds=1)
    found = plan.works(config, ["06_controls"])
    recipes = [work.arguments[2] for work in found if work.make is plan.model]
    assert len(set(recipes)) == len(recipes)
    asked = {
        recipe
        for name in NOTEBOOKS["06_controls"]
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
    plan.again(config, "baseline", column, ("swap",))
    assert made == [(config, "baseline", seed, ("members",), ("swap",)) for seed in (0, 2, 3)]
