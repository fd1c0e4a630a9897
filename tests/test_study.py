"""The front door, on a small study: everything once, nothing twice, results of changes apart."""

import json

import pytest

from mint_utils import checks, results, study
from mint_utils.audited import train
from mint_utils.errors import DataError, ParameterError
from mint_utils.mint import aad, fit

SMALL = {"image_size": 16, "epochs": 1, "mint_seeds": 2, "mint_samples": 200}


@pytest.fixture(scope="module", autouse=True)
def shared(tmp_path_factory):
    """Share the artifacts of this module."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture
def s(shared, monkeypatch):
    monkeypatch.setenv("MINT_ARTIFACTS", str(shared))
    return study.open_study("quick", **SMALL)


def test_the_whole_once_and_nothing_twice(s, monkeypatch):
    m = s.audited()
    t = s.mint(m)
    numbers = t.cells, s.verification(m), s.identification(m)

    def refuse(*_, **__):
        raise AssertionError("made again")

    for module, name in ((train, "train"), (aad, "extract"), (aad, "embed"), (aad, "identify")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(study, "fit", refuse)
    again = study.open_study("quick", **SMALL)
    m = again.audited()
    for one, two in zip(
        numbers, (again.mint(m).cells, again.verification(m), again.identification(m)), strict=True
    ):
        assert one.equals(two)
    assert fit.fit is not refuse


def test_what_must_hold_anywhere(s):
    m = s.audited()
    t = s.mint(m)
    held = checks.sound(m, t)
    assert not held.pop("the loss fell") and all(held.values())  # one epoch cannot show a fall
    assert checks.leaks(t.chosen) == dict.fromkeys(checks.leaks(t.chosen), 0)
    assert list(checks.exposure_table(m)) == [0, 1]
    assert t.cells["accuracy"].between(0, 1).all()
    assert (t.cells["low"] <= t.cells["accuracy"]).all()
    assert (t.cells["accuracy"] <= t.cells["high"]).all()


def test_counts_of_every_role(s):
    roles = s.roles().set_index("database")
    assert roles.loc["embedded_web", "images"] == 6000 and len(roles) == 6
    assert roles.loc["embedded_pairs", "identities"] == 1500


def test_a_change_is_another_model_and_another_folder(s):
    assert s.figures.name.startswith("quick-")
    other = study.open_study("quick", **SMALL | {"dropout": 0.0})
    assert other.figures != s.figures
    assert other.audited().artifact.digest != s.audited().artifact.digest
    assert s.audited(dropout=0.0).artifact.digest == other.audited().artifact.digest


def test_the_reference_writes_to_the_name_of_its_profile():
    assert study.open_study("quick").figures.name == "quick"


def test_finish_writes_what_it_came_from(s):
    s.save_table(s.mint(s.audited()).beside_paper(table=1), "table1", "a caption")
    s.finish("01_baseline")
    record = json.loads((s.figures / "record.json").read_text())
    entry = record["notebooks"]["01_baseline"]
    assert entry["files"] == ["table1.csv", "table1.md", "table1.tex"]
    assert record["config"]["audited"]["epochs"] == 1 and entry["seconds"]
    assert {"device", "versions", "commit"} <= set(entry["provenance"])


def test_groups_share_features_and_differ_in_splits(s):
    m = s.audited()
    shown = m.ledger["exposures"].to_numpy() > 0
    half = shown.cumsum() <= shown.sum() // 2
    t = s.mint(m, {"first": shown & half, "second": shown & ~half})
    assert list(dict.fromkeys(t.cells["column"])) == ["first", "second"]
    assert len(t.cells) == 2 * 2 * 6


def test_conclusions_are_written_by_the_numbers(s):
    t = s.mint(s.audited())
    claim = t.claim("A", "All Conv Layers", "paper")
    told = results.claims_table([claim])
    assert told["verdict"].isin(["supported", "contradicted", "undecided"]).all()
    assert results.conclusion(t.beside_paper(table=1), 0.5)


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
        study.open_study(network="ir_5").audited()


def test_real_databases_must_be_at_hand(monkeypatch):
    with pytest.raises(DataError, match="--data DIR"):
        study.open_study("faces").training  # noqa: B018
