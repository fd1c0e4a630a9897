"""Whether a person was shown: on worlds where it is known what the networks tell, and by real ledgers."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mint_utils import study
from mint_utils.audited.exposure import classes, plan
from mint_utils.config import resolve
from mint_utils.data.membership import held_out, third
from mint_utils.errors import DataError
from mint_utils.run import plan as works
from mint_utils.study import people, scenarios
from mint_utils.study.audit import Outcomes, Trainings
from mint_utils.study.people import BLIND, MATCHED, NONE, OTHER, PERMUTED, THIRD, UNTRAINED, People
from tests.factory import database


class World:
    """An audit of networks that pull the people whom they were shown towards their class centres."""

    def __init__(self, pull, identities=150, each=9, **changes):
        self.config = resolve("quick", replicates=300, **changes)
        self.training = database("db", identities=identities, each=each)
        self.pull = pull

    def model(self, recipe):
        made = plan(recipe, self.training, 0.5, 0)
        told = {"class": classes(made, self.training), "exposures": made.images * made.epochs}
        ledger = pd.DataFrame({"key": self.training.keys} | told)
        artifact = SimpleNamespace(digest=f"{recipe.shown} {recipe.seed} {self.pull}")
        return SimpleNamespace(ledger=ledger, artifact=artifact, recipe=recipe)

    def trained(self, scenario, column):
        recipes = scenarios.recipes(self.config, scenario, column)
        return Trainings([self.model(recipe) for recipe in recipes])

    def outcomes(self, model, audited=None):
        seed = int.from_bytes(model.recipe.shown.encode()[-3:], "big") + model.recipe.seed
        return self.random(model.ledger["class"].to_numpy(), seed, self.pull)

    def random(self, of, seed, pull):
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(of.max() + 1, 32))
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        persons = rng.normal(size=(self.training.identities.max() + 1, 32))
        units = rng.normal(size=(len(of), 32)) + persons[self.training.identities]
        units += pull * np.where(of[:, None] >= 0, centres[of], 0)
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        return Outcomes(units, rng.uniform(5, 9, len(of)), centres, of)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(people, "PERMUTATIONS", 20)
    monkeypatch.setattr(people, "CHOICES", 4)
    monkeypatch.setattr(people, "PHOTOGRAPHS", (1, 3))
    before = lambda self, model: self.audit.random(model.ledger["class"].to_numpy(), 9, 0.0)  # noqa: E731
    monkeypatch.setattr(People, "untrained", before)


def test_the_kinds_of_photographs_are_those_of_the_cuts():
    world = World(0.0)
    p, d = People(world), world.training
    of, out = third(d.name, d.identities, 0), held_out(d.name, d.keys, 0.5, 0)
    told = p.kinds().set_index("photographs")["images"]
    assert told["used"] == ((of == 0) & ~out).sum()
    assert told["unused, of a person who was shown"] == ((of == 0) & out).sum()
    assert told["of a person never shown"] == (of != 0).sum()
    for used in (True, False):
        asked = p.asked(used, 3)
        assert len(set(asked.identities)) == len(asked.identities)
        for identity, shown, own in zip(
            asked.identities, asked.shown, asked.photographs, strict=True
        ):
            every = (d.identities == identity) & (out != used)
            assert own.tolist() == np.flatnonzero(every).tolist() and len(own) >= 3
            assert (of[own] == (0 if shown else 1)).all()
    assert all((of[own] == 2).all() for own in p.crowd)


def test_a_person_in_two_thirds_is_an_error(monkeypatch):
    world = World(0.0)
    real = world.model
    same = world.config.audited
    monkeypatch.setattr(world, "model", lambda recipe: real(same))
    with pytest.raises(DataError, match="shown to networks of two thirds"):
        People(world).kinds()


def test_a_planted_signal_is_found_turned_by_the_mirror_and_by_no_null():
    table = People(World(6.0)).table
    assert list(table.columns) == list(people.COLUMNS)
    assert not table.duplicated(list(people.COLUMNS[:5])).any()
    at = {
        control: people.line_of(table, "largest cosine", True, False, control)
        for control in (NONE, THIRD, OTHER, UNTRAINED, PERMUTED, MATCHED)
    }
    assert at[NONE]["low"] > 0.8 and at[MATCHED]["low"] > 0.8 and at[OTHER]["high"] < 0.2
    for control in (THIRD, UNTRAINED, PERMUTED):
        assert at[control]["low"] < 0.5 < at[control]["high"]
    mint = people.line_of(table, "MINT Model", True, False)
    assert mint["low"] > 0.8
    assert (table[table["control"] == BLIND]["head"] == "no").all()
    verdicts = people.claims(table, 3).set_index("claim")["verdict"]
    assert verdicts["3 unused, with the head: people who were shown are detected"] == "supported"
    assert verdicts["a network that saw the others reverses the answer"] == "supported"
    assert verdicts["an untrained network is at chance"] == "undecided"  # too wide for sameness
    exact = table.assign(low=table["low"].mask(table["control"] == UNTRAINED, 0.49))
    exact = exact.assign(high=exact["high"].mask(table["control"] == UNTRAINED, 0.51))
    verdicts = people.claims(exact, 3).set_index("claim")["verdict"]
    assert verdicts["an untrained network is at chance"] == "supported"
    assert set(people.claims(table, 1)["verdict"]) == {"one training"}
    assert "trained once" in people.conclusion(table, 1)
    said = people.conclusion(table, 3)
    assert "trained once" not in said
    assert "With the head people who were shown are distinguished from others" in said
    assert (
        "saw none of these people, people who were shown are not distinguished from others: 0."
        in said
    )


def test_intervals_cover_one_half_where_outcomes_are_random(monkeypatch):
    """Of twelve 95% intervals of a number that is .50 all but three or fewer hold it in 99.8% of cases."""
    monkeypatch.setattr(people, "PERMUTATIONS", 12)
    rng = np.random.default_rng(0)
    held = {}
    for _ in range(12):
        shown = rng.permutation(np.arange(80) % 2 == 0)
        read = [{name: rng.normal(size=(2, 80)) for name in ("largest cosine", "similarity")}]
        asked = people.Asked(np.arange(80), shown, [])
        deals = people.permuted(read, shown)
        for name, scores in people.scored(read, shown).items():
            found = people.measured(asked, scores, 300, deals[name][1])
            held.setdefault(name, []).append(found["low"] <= 0.5 <= found["high"])
            line, wider = deals[name]
            assert line["low"] < 0.5 < line["high"] and 1 <= wider < 2
    assert {name for name, _ in held} == {"largest cosine", "similarity", "MINT Model"}
    assert min(sum(of) for of in held.values()) >= 9


def test_people_are_matched_by_their_number_of_photographs():
    counts = [3, 3, 3, 4, 4, 5, 3, 4, 4, 4]
    asked = people.Asked(
        np.arange(10), np.array([1] * 6 + [0] * 4, bool), [np.arange(n) for n in counts]
    )
    kept = people.matched(asked)
    of = np.array(counts)[kept]
    assert sorted(of[asked.shown[kept]]) == sorted(of[~asked.shown[kept]]) == [3, 4, 4]


def test_too_few_people_are_one_clear_error():
    with pytest.raises(DataError, match="fewer than 20 people of A or of B"):
        _ = People(World(0.0, identities=24)).table


def test_the_fewer_images_a_person_the_better_is_told_what_was_planted():
    world = World(4.0, images_a_person=[1, 3], held_out=0.5)
    found = people.images_a_person(People(world))
    assert list(found["most"].unique()) == [1, 3]
    assert found["images"].iloc[0] == 1 and found["images"].iloc[-1] > 2
    assert found["question"].nunique() == 3
    persons = found[found["question"].str.startswith("person, by 1")]
    assert (persons["low"] > 0.5).all()
    assert len(people.images_a_person(People(World(0.0)))) == 0


def test_a_power_law_is_found_again():
    images = np.array([1.0, 2.0, 5.0, 10.0])
    advantage = 0.8 * images**-0.5
    lines = {"question": "q", "images": images, "auc": (advantage + 1) / 2}
    found = people.power_laws(pd.DataFrame(lines | {"tpr_at_1pct_fpr": 0.01}))
    one = found.set_index("of").loc["2 AUC - 1"]
    assert one[["exponent", "low", "high"]].tolist() == pytest.approx([-0.5] * 3)
    assert np.isnan(found.set_index("of").loc["TPR - FPR at 1%", "exponent"])


def test_a_plan_makes_all_that_the_table_reads(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("MINT_ARTIFACTS", str(tmp_path))
    for name, value in (("PERMUTATIONS", 5), ("PHOTOGRAPHS", (2,)), ("FEWEST", 5)):
        monkeypatch.setattr(people, name, value)
    s = study.open_study("quick", image_size=16, epochs=1, scale=0.2, replicates=100)
    for column in s.columns("people"):
        works.model(s.config, "people", column.recipe, (), ())
    for weights in tmp_path.glob("*/*/model.pt"):
        weights.rename(weights.with_suffix(".elsewhere"))
        record = weights.parent / "record.json"
        record.write_text(record.read_text().replace('"model.pt"', '"model.elsewhere"'))
    p = People(s.audit)
    assert {"none", "third people", "other people", "untrained"} <= set(p.table["control"])
    (model,) = p.models("a")
    exposures, known = (model.ledger[name].to_numpy() for name in ("exposures", "class"))
    asked = p.asked(False, 1)
    for shown, own in zip(asked.shown, asked.photographs, strict=True):
        assert (exposures[own] == 0).all() and ((known[own] >= 0) == shown).all()
    asked = p.asked(True, 1)
    for shown, own in zip(asked.shown, asked.photographs, strict=True):
        assert ((exposures[own] > 0) == shown).all()
    assert scenarios.columns(s.config, "images_a_person") == []
