"""Controls and detectors on worlds made for them: what is planted is found, and nothing else is."""

import dataclasses
import types

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from mint_utils import study
from mint_utils.audited import train
from mint_utils.config import PROTOCOLS, ROWS, Mint, resolve
from mint_utils.measure.bootstrap import Decided
from mint_utils.mint import blind, readings
from mint_utils.mint.attacks import ATTACKS, Attack
from mint_utils.study import (
    audit,
    checks,
    controls,
    detectors,
    known_attacks,
    probes,
    scenarios,
    shots,
)
from mint_utils.study.audit import Audit
from mint_utils.study.images import SWAPPED, Images
from mint_utils.study.results import MintTable, estimate
from tests.factory import database

SMALL = {
    "image_size": 16,
    "scale": 0.25,
    "epochs": 1,
    "mint_seeds": 2,
    "mint_samples": 120,
    "mint_epochs": 3,
    "replicates": 100,
    "shadow_models": 4,
    "batch_sizes": [128, 256],
    "frequencies": [1, 3],
    "frequency_epochs": 1,
}


@pytest.fixture(scope="module")
def shared(artifacts):
    return controls.Controls(study.open_study("quick", **SMALL).audit)


@pytest.fixture
def c(shared, shared_artifacts):
    return shared


@pytest.fixture
def s(c):
    return c.audit


def test_null_models_read_the_same_images_by_other_networks(c):
    table = c.nulls
    assert list(table.chosen) == [
        controls.THIS,
        controls.OTHER,
        controls.UNTRAINED,
        controls.PERMUTED,
    ]
    sets = [chosen.images for chosen, _ in table.chosen.values()]
    assert all(images.equals(sets[0]) for images in sets)
    assert len(table.cells) == 4 * len(ROWS) * len(PROTOCOLS)
    (m,), (other,) = c.models, c.others
    seen = m.ledger["exposures"].to_numpy() > 0
    assert ((other.ledger["exposures"].to_numpy() > 0) == ~seen).all()
    of_m, of_other = (table.scores[name, "paper", ROWS[-1]] for name in list(table.chosen)[:2])
    assert of_m.shape == of_other.shape and (of_m != of_other).any()


def test_where_little_is_held_out_the_null_is_as_large_as_the_network_it_stands_beside(
    shared_artifacts,
):
    small = {**SMALL, "held_out": 0.1, "audited_seeds": 1, "mint_samples": 60}
    c = controls.Controls(study.open_study("quick", **small).audit)
    (m,), (other,) = c.models, c.others
    of_m, of_other = (model.ledger["exposures"].to_numpy() > 0 for model in (m, other))
    assert (of_m ^ of_other).all() and 0.45 < of_m.mean() < 0.55
    assert c.nulls.scores[controls.THIS, "paper", ROWS[-1]][0].shape[0] == 2
    for table, shown in ((c.nulls, of_m), (c.swapped, of_other)):
        for name in set(table.chosen) - {controls.PERMUTED}:
            chosen, _ = table.chosen[name]
            split = chosen.splits["members", "paper"]
            assert shown[chosen.images["index"][split.evaluation[split.labels]]].all()
    baseline = c.audit.images.plan().images > 0
    assert 0.85 < baseline.mean() < 0.95
    chosen = controls.never_shown(c.audit, c.audit.model(c.audit.config.audited)).chosen
    split = chosen.splits["members", "paper"]
    assert not baseline[chosen.images["index"][split.evaluation[split.labels]]].any()
    assert "10% of D" in c.conclusion() and "half of D" in c.conclusion()
    d = detectors.Detectors(c.audit)
    assert d.attacks.model.recipe.shown == "half-a"
    assert detectors.ranking(d.compared())


def test_the_swap_is_told_both_ways(c):
    (other,) = c.others
    shown = other.ledger["exposures"].to_numpy() > 0
    assert set(c.swapped.chosen) == {controls.OTHER, controls.THIS}
    for chosen, _ in c.swapped.chosen.values():
        split = chosen.splits["members", "paper"]
        positives = chosen.images.iloc[split.evaluation[split.labels]]
        assert len(positives) and shown[positives["index"]].all()
    assert len(c.swapped.cells) == 2 * len(ROWS) and c.swapped.cells.notna().all(axis=None)


def test_every_column_is_read_from_the_network_that_it_names(c, s):
    (m,), (other,) = c.models, c.others
    expected = {
        ("nulls", controls.THIS): s.scores(m),
        ("nulls", controls.OTHER): s.scores(other, audited=m),
        ("nulls", controls.UNTRAINED): s.scores(controls.untrained(c.audit, m), audited=m),
        ("swapped", controls.OTHER): s.scores(other, SWAPPED, protocols=["paper"]),
        ("swapped", controls.THIS): s.scores(m, SWAPPED, other, ["paper"]),
    }
    for (table, column), scores in expected.items():
        found = getattr(c, table).scores[column, "paper", "All Conv Layers"][0]
        own = scores.scores[("members", "paper"), "All Conv Layers"]
        assert (found == own).all(), (table, column)
    each = [scores.scores[("members", "paper"), "All Conv Layers"] for scores in expected.values()]
    assert all((a != b).any() for i, a in enumerate(each) for b in each[:i])


def test_the_untrained_network_is_m_before_its_first_step(c):
    (m,) = c.models
    network, _ = controls.untrained(c.audit, m).load()
    fresh, _ = train.build(m.recipe, 16, m.artifact.record["classes"])
    names = [name for name, _ in fresh.named_parameters()]
    found, expected = network.state_dict(), fresh.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in names)
    moved = [name for name in expected if "running_mean" in name]
    assert all(not torch.equal(found[name], expected[name]) for name in moved)


def test_permuted_labels_keep_the_images_and_their_number(c):
    plain, dealt = (c.nulls.chosen[name][0] for name in (controls.THIS, controls.PERMUTED))
    for key, split in plain.splits.items():
        other = dealt.splits[key]
        assert (split.train == other.train).all() and (split.evaluation == other.evaluation).all()
        assert split.labels.sum() == other.labels.sum() and (split.labels != other.labels).any()


def test_permutation_is_judged_by_intervals_and_by_the_number():
    cells = pd.DataFrame({"accuracy": [0.5, 0.51], "low": [0.48, 0.49], "high": [0.52, 0.53]})
    assert all(checks.permutation(cells).values())
    far = checks.permutation(cells.assign(accuracy=[0.5, 0.6]))
    assert list(far.values()) == [True, False, False]
    off = checks.permutation(cells.assign(low=[0.505, 0.505]))
    assert list(off.values()) == [False, True, True]


def test_every_external_database_has_its_turn(c, s):
    cells = c.turned.cells
    roles = s.config.databases
    assert set(cells["column"]) == {*roles.external_train, roles.external_eval}
    assert set(cells["protocol"]) == {"paper"} and len(cells) == 4 * len(ROWS)
    same = c.nulls.cells.query("column == @controls.THIS and protocol == 'paper'").set_index("row")
    own = cells[cells["column"] == roles.external_eval].set_index("row")
    assert own["accuracy"].equals(same["accuracy"])  # its turn is the paper's protocol itself


def test_the_ladder_and_the_shares_are_of_the_cells(c):
    ladder = c.ladder()
    assert len(ladder) == len(ROWS) * (1 + len(controls.STEPS)) and ladder.notna().all(axis=None)
    cells = c.nulls.cells.set_index(["column", "protocol", "row"])
    one = ladder.set_index(["step", "row"]).loc["M, held out", "Model Outcome"]
    assert one["accuracy"] == cells.loc[("M", "held_out", "Model Outcome"), "accuracy"]
    of_blind = c.blind.cells.query("protocol == 'paper'")["accuracy"]
    assert (ladder.query("step == @controls.BEST_BLIND")["accuracy"] == of_blind.max()).all()
    assert list(c.shares()["row"]) == list(ROWS)
    held = ladder.query("step == 'M, held out' and row == 'All Conv Layers'").iloc[0]
    said = c.conclusion()
    assert f"classifies {estimate(held)} correctly on M" in said
    assert " found between the two." in said and said.endswith(
        "another training may give other numbers."
    )
    assert set(c.claims()["verdict"]) == {"one training"}
    assert c.blind_row in blind.BASELINES


def test_people_are_kept_apart_and_images_equalised(c, s):
    table = c.prepared
    chosen, _ = table.chosen[controls.IDENTITY]
    for split in chosen.splits.values():
        sides = [
            set(chosen.images["cluster"].iloc[rows[labels]])
            for rows, labels in (
                (split.train, split.train_labels),
                (split.evaluation, split.labels),
            )
        ]
        assert not sides[0] & sides[1]
    plain = table.cells[table.cells["column"] == controls.AS_THEY_ARE]
    parts = c.nulls.cells[c.nulls.cells["column"] == controls.THIS], c.blind.cells
    expected = pd.concat(parts).assign(column=controls.AS_THEY_ARE)
    by = ["protocol", "row"]
    pd.testing.assert_frame_equal(
        plain.sort_values(by, ignore_index=True), expected.sort_values(by, ignore_index=True)
    )


def test_the_sharper_databases_are_softened_and_the_others_only_equalised(c, s):
    widths = controls.softening(s.images)
    roles = s.config.databases
    assert set(widths) == {roles.training, *roles.external_train, roles.external_eval}
    assert min(widths.values()) == 0 < max(widths.values())
    one, other = (c._preparations[name] for name in (controls.EQUALISED, controls.ALIKE))
    for name, width in widths.items():
        pixels = [a.images.database(name).images[np.arange(9)] for a in (one, other)]
        same = np.array_equal(*pixels)
        assert same == (width == 0)
        assert same == (
            one.images.database(name).fingerprint == other.images.database(name).fingerprint
        )
    rows = {row for column, _, row in c.prepared.scores if column == controls.ALIKE}
    assert rows == {*ROWS, *blind.BASELINES}


def test_end_points_hold_members_and_images_never_shown(c):
    cells = controls.end_points(c.audit)
    names = ["Baseline", "x1", "x3", "batch 128", "dropout 0", "CosFace", "ArcFace"]
    assert list(dict.fromkeys(cells["column"])) == names
    never = cells[cells["positives"] == "never shown"]
    assert set(never["protocol"]) == {"paper"}
    shown = controls.decomposition(cells)
    assert len(shown) == 2 * len(names) and shown.notna().all(axis=None)


def test_detectors_stand_on_the_same_images(s):
    d = detectors.Detectors(s)
    compared = d.compared()
    assert len(compared) == len(ATTACKS) + len(readings.TESTS) + len(detectors.VANILLA) + 3
    assert (compared["n"] == compared["n"][0]).all() and compared["auc"].notna().all()
    assert compared["auc"].is_monotonic_decreasing
    assert set(d.union.cells["protocol"]) == {"held_out"}
    of_baseline = d.union.cells.query("column == 'Baseline'")["auc"].item()
    line = compared.set_index("detector").loc[f"MINT, {detectors.UNION}"]
    assert line["auc"] == pytest.approx(of_baseline)
    split, scores = d.attacks.chosen.splits[detectors.KEY], d.attacks.scores()["own cosine"]
    kept = d.attacks.answered[d.attacks.chosen.images["index"].to_numpy()[split.evaluation]]
    area = roc_auc_score(split.labels[kept], scores[split.evaluation][kept])
    assert compared.set_index("detector").loc["own cosine", "auc"] == pytest.approx(area)
    said, named = detectors.ranking(compared), compared.set_index("detector")
    assert f"class centres is {named.loc['MINT, Class centres', 'auc']:.2f} [" in said
    assert f"{named.loc['MINT, Own class centre', 'auc']:.2f} [" in said


def test_two_detectors_read_m_at_its_checkpoints_too(s, monkeypatch):
    d, given, real = detectors.Detectors(s), [], s.mint
    with monkeypatch.context() as patch:
        patch.setattr(s, "mint", lambda *of: given.append(of[0]) or real(*of))
        lines = dict(d._over_training())
    mint, margin = (name for name, *_ in lines)
    assert mint == "MINT, Own class centre over the training" and margin == detectors.MARGIN
    (scores, of_margin), read = lines.values(), d.attacks.over_training()
    split, n = d.attacks.chosen.splits[detectors.KEY], len(d.attacks.chosen.images)
    assert scores.shape == (2, len(split.labels)) and of_margin.shape == (1, len(split.labels))
    assert len(read) == 4 and all(len(found.own) == n for found, _ in read)
    assert read[-1][1].digest == s.readings(d.attacks.model, d.attacks.chosen)[1].digest
    assert len({features.digest for _, features in read}) == 4
    assert not np.array_equal(read[0][0].own, read[1][0].own)
    own = [of.array[:, of.rows[readings.OWN]] for _, of in read]
    assert given[0].array.shape == (n, 16) and (given[0].array == np.hstack(own)).all()
    expected = sum(found.margin()[split.evaluation] for found, _ in read) / 4
    np.testing.assert_allclose(of_margin[0], expected)
    assert (np.isfinite(of_margin[0]) == read[0][0].known[split.evaluation]).all()
    compared = d.compared().set_index("detector")
    assert set(compared.loc[[mint, margin], "needs"]) == {
        "label, checkpoints, members and non-members",
        "label, checkpoints",
    }
    said = detectors.ranking(d.compared())
    best = compared.loc[[mint, margin], "auc"].idxmax()
    assert f"The best detector that is given checkpoints of the training is {best}, with" in said
    without = compared.drop([mint, margin]).reset_index()
    assert detectors.ranking(without) == said[: said.index(" The best detector that is given")]


def test_without_checkpoints_the_comparison_has_the_other_lines(s, monkeypatch):
    monkeypatch.setattr(train, "checkpoints", lambda *_: [])
    compared = detectors.Detectors(s).compared()
    assert not compared["needs"].str.contains("checkpoints").any() and len(compared) > 30


def test_what_only_a_checkpoint_shows_is_found(s, monkeypatch):
    """Members lie nearer to their centre after the first stage; at the end nothing is left of it."""
    d = detectors.Detectors(s)
    split, rng = d.attacks.chosen.splits[detectors.KEY], np.random.default_rng(0)
    members = d.attacks.chosen.images["exposures"].to_numpy() > 0
    found, _ = d.attacks.over_training()[0]
    drawn = rng.normal(0, 0.01, (5, *found.own.shape)).astype(np.float32)
    noise = [
        dataclasses.replace(
            found, own=0.5 + of, nearest=np.full_like(found.nearest, 0.2), known=members | ~members
        )
        for of in drawn
    ]
    planted = dataclasses.replace(noise[4], own=noise[4].own + 0.1 * members[:, None])

    def areas(name, *read):
        made = [(one, audit.Features(*one.features(), f"{name} {i}")) for i, one in enumerate(read)]
        monkeypatch.setattr(d.attacks, "over_training", lambda: made)
        scores = [of.mean(axis=0) for _, of in d._over_training()]
        return [roc_auc_score(split.labels, of) for of in scores]

    alone, given = areas("noise", *noise[:4]), areas("planted", planted, *noise[1:4])
    assert max(alone) < 0.65 and min(given) > 0.9


def test_shadow_models_never_count_what_they_did_not_see(s):
    d = detectors.Detectors(s)
    odds, seen = d.attacks._shadows()
    inside = d.attacks.places >= 0
    odds = odds["odds"]
    assert not seen[:, ~inside].any() and np.isnan(odds[:, ~inside]).all()
    assert (seen[0, inside] ^ seen[1, inside]).all() and (seen[2, inside] ^ seen[3, inside]).all()
    for i, column in enumerate(scenarios.columns(s.config, "shadows")):
        shown = s.model(column.recipe).ledger["exposures"].to_numpy() > 0
        assert (seen[i, inside] == shown[d.attacks.places[inside]]).all()
    seeds = {c.recipe.seed for c in scenarios.columns(s.config, "shadows")}
    assert len(seeds) == 4 and s.config.audited.seed not in seeds


def test_readings_go_through_the_same_splits_at_the_end_points(s):
    d = detectors.Detectors(s)
    assert list(d.read.chosen) == list(d.vanilla.chosen) == list(scenarios.end_points(s.config))
    for name, (chosen, group) in d.read.chosen.items():
        assert chosen.images.equals(d.vanilla.chosen[name][0].images)
        assert group == d.vanilla.chosen[name][1]
    said, held = d.conclusion().splitlines(), d.read.cells.query("protocol == 'held_out'")
    of = held[held["row"] == readings.CENTRES]
    ends = f"{of['accuracy'].min():.2f} to {of['accuracy'].max():.2f} of the images"
    above = f"for {(of['low'] > 0.5).sum()} of {len(of)}."
    assert said[3].startswith(f"* From the class centres it classifies {ends}") and above in said[3]


def test_all_tables_of_detectors_are_on_the_images_that_every_attack_answers_for(s):
    d = detectors.Detectors(s)
    compared = d.compared()
    for table in (d.read, d.vanilla):
        held = table.cells.query("protocol == 'held_out' and column == 'Baseline'")
        assert set(held["n"]) == {compared["n"][0]}
        for column, (chosen, group) in table.chosen.items():
            rows = chosen.splits[group, "held_out"].evaluation
            assert d.attacks.answered[chosen.images["index"].to_numpy()[rows]].all(), column


def test_by_images_a_person_groups_what_m_was_shown(s):
    d = detectors.Detectors(s)
    row = readings.CENTRES
    lines = shots.by_images(d, "Baseline", ("All Conv Layers", row))
    assert set(lines["row"]) == {"All Conv Layers", row} and lines["images"].iloc[0] == "all"
    of = lines[lines["row"] == row]
    assert of["n"].iloc[0] == d.read.cells.query("protocol == 'held_out'")["n"].iloc[0]
    shown = shots.shown_to(d, d.read, "Baseline")
    chosen, group = d.read.chosen["Baseline"]
    first = chosen.images["index"].to_numpy()[chosen.splits[group, "held_out"].evaluation][0]
    of_person = s.images.training.identities == s.images.training.identities[first]
    assert shown[0] == (of_person & (d.attacks.model.ledger["exposures"].to_numpy() > 0)).sum()
    assert of["n"].iloc[1:].sum() <= of["n"].iloc[0]


def test_probes_read_the_same_images_as_t_and_are_made_once(c, s, monkeypatch):
    table = probes.table(s, c.models)
    assert list(table.chosen) == [probes.T, *probes.PROBES]
    of_t = c.nulls.scores[controls.THIS, "held_out", "Model Outcome"]
    assert (table.scores[probes.T, "held_out", "Model Outcome"] == of_t).all()
    evaluations = {
        tuple(chosen.splits[probes.KEY].evaluation) for chosen, _ in table.chosen.values()
    }
    assert len(evaluations) == 1
    monkeypatch.setattr(probes, "PROBES", dict.fromkeys(probes.PROBES))  # nothing is fitted again
    again = probes.table(s, c.models).cells
    pd.testing.assert_frame_equal(again, table.cells)
    best = again.loc[again["accuracy"].idxmax()]
    assert f"is {best['column']} on {best['row']}: " in probes.conclusion(again)
    planted = again.assign(low=[0.6] + [0.4] * 5)
    assert probes.conclusion(planted).startswith(
        "1 of 6 readers of activations distinguishes members"
    )


def test_a_probe_finds_what_is_planted_and_nothing_else(s, c):
    """Activations of noise, in one of which members lie four standard deviations higher."""
    chosen = s.chosen(c.models[0])
    split = chosen.splits[probes.KEY]
    rng = np.random.default_rng(0)
    array = rng.normal(size=(len(chosen.images), 40)).astype(np.float32)
    members = np.zeros(len(array))
    members[split.train], members[split.evaluation] = split.train_labels, split.labels
    array[:, 3] += 4 * members
    rows = {"All Conv Layers": slice(0, 40), "Model Outcome": slice(10, 40)}
    found = probes.probed(audit.Features(array, rows, "planted"), chosen)
    for name, scores in found.items():
        areas = {
            row: roc_auc_score(split.labels, scores.scores[probes.KEY, row][0]) for row in rows
        }
        assert areas["All Conv Layers"] > 0.9 and abs(areas["Model Outcome"] - 0.5) < 0.3, name


class Told:
    """A table of accuracies by hand: two images of 200 people, of which one is a member."""

    def __init__(self, accuracies):
        self.accuracies = accuracies

    def decided(self, column, protocol, row):
        accuracy = self.accuracies[column, protocol]
        labels = np.arange(400) % 2 == 0
        right = np.tile(np.arange(400) // 2 % 200 < round(accuracy * 200), (3, 1)).astype(float)
        return Decided(labels, right, np.arange(400) // 2)


def by_hand(**accuracies):
    """Return controls whose tables are given: paper, held, other, untrained, blind, swapped, unseen."""
    settings = types.SimpleNamespace(config=types.SimpleNamespace(mint=Mint(replicates=400)))
    made = controls.Controls(settings)
    names = {
        "paper": (controls.THIS, "paper"),
        "held": (controls.THIS, "held_out"),
        "other": (controls.OTHER, "paper"),
        "untrained": (controls.UNTRAINED, "paper"),
    }
    vars(made)["nulls"] = Told({names[k]: accuracies[k] for k in names})
    swapped = {controls.OTHER: accuracies["swapped"], controls.THIS: accuracies["unseen"]}
    vars(made)["swapped"] = Told({(k, "paper"): v for k, v in swapped.items()})
    vars(made)["blind"] = Told({(controls.BLIND, "paper"): accuracies["blind"]})
    return made


ACCURACIES = {
    "paper": 0.9,
    "held": 0.55,
    "other": 0.86,
    "untrained": 0.7,
    "blind": 0.65,
    "swapped": 0.81,
    "unseen": 0.8,
}


def test_the_shares_are_of_the_network_that_saw_other_images():
    line = by_hand(**ACCURACIES).shares().iloc[0]
    assert line["value"] == pytest.approx(0.05 / 0.4) and line["null"] == pytest.approx(0.36 / 0.4)
    assert line["low"] < line["value"] < line["high"] and line["null_high"] > line["null"]


def test_what_the_controls_claim_are_differences(monkeypatch):
    monkeypatch.setattr(controls.Controls, "blind_row", "pixels")
    of_row = by_hand(**ACCURACIES).claims().iloc[:6]
    expected = [0.4, 0.04, 0.01, 0.2, 0.25, 0.05]
    assert of_row["value"].tolist() == pytest.approx(expected)
    assert of_row["protocol"].tolist() == ["paper"] * 5 + ["held_out"]
    # .01 of 200 people is told from 0 and lies within .03: the same.
    words = ["supported", "supported", "supported", "supported", "supported", "undecided"]
    assert of_row["verdict"].tolist() == words
    apart = by_hand(**ACCURACIES | {"swapped": 0.95}).claims().iloc[2]
    assert apart["verdict"] == "contradicted"


def test_never_shown_are_images_that_this_very_network_never_saw(c, s):
    cells = controls.end_points(c.audit).query(
        "column == 'Baseline' and protocol == 'paper' and row == @ROWS[-1]"
    )
    found = cells.set_index("positives")["accuracy"]
    (m,), (other,) = c.models, c.others
    scores = s.scores(m, SWAPPED, audited=other, protocols=["paper"])
    split = scores.chosen.splits["members", "paper"]
    positives = scores.chosen.images["index"].to_numpy()[split.evaluation[split.labels]]
    assert (m.ledger["exposures"].to_numpy()[positives] == 0).all()
    of_table = MintTable.of({"x": ([scores], "members")}, 100).cells.set_index("row")["accuracy"]
    assert found["never shown"] == of_table[ROWS[-1]]
    assert (
        found["members"]
        == c.nulls.cells.query("column == 'M' and protocol == 'paper' and row == @ROWS[-1]")[
            "accuracy"
        ].item()
    )


def test_attacks_are_given_the_known_images_and_none_that_are_judged(s, monkeypatch):
    d = detectors.Detectors(s)
    given = {}
    names = "non_members", "population", "train", "train_labels", "statistic", "own", "seen"
    spy = Attack("spy", lambda **arrays: given.update(arrays), names)
    monkeypatch.setattr(known_attacks, "ATTACKS", (spy,))
    d.attacks._scores()
    split = d.attacks.chosen.splits[detectors.KEY]
    exposures = d.attacks.chosen.images["exposures"].to_numpy()
    for name in ("non_members", "population"):
        assert set(given[name]) == set(split.train[~split.train_labels])
        assert not set(given[name]) & set(split.evaluation)
        assert (exposures[given[name]] == 0).all()
    assert (given["train"] == split.train).all() and (
        exposures[given["train"]] > 0
    ).tolist() == list(given["train_labels"])
    assert np.isnan(given["own"][d.attacks.places < 0]).all()
    # A statistic is LiRA's log odds of the image itself: the first view of two.
    found, _ = s.readings(d.attacks.model, d.attacks.chosen)
    known = found.known
    expected = readings.SCALE * found.own[known, 0].astype(np.float64) - found.log_rest[known, 0]
    np.testing.assert_allclose(given["statistic"][known], expected)


def test_blind_baselines_are_trained_once_whatever_m_is(c):
    of_blind = {key: of.shape for key, of in c.prepared.scores.items() if key[2] in blind.BASELINES}
    assert len(of_blind) == 4 * 2 * len(blind.BASELINES)
    assert {shape[:2] for shape in of_blind.values()} == {(1, 2)}
    assert {found.shape[:2] for found in c.blind.scores.values()} == {(1, 2)}


class World(Images):
    """Given databases in the place of those of its profile."""

    def __init__(self, config, databases):
        super().__init__(config)
        self.databases = databases

    def database(self, name):
        return self.databases[name]


def world(change=lambda name, images: images, each=16, identities=16, **overrides):
    """Return an audit of D and four externals of noise, each changed by a function of its name."""
    config = resolve("quick", image_size=16, mint_samples=400, mint_seeds=2, **overrides)
    roles = config.databases
    names = [roles.training, *roles.external_train, roles.external_eval]
    found = {}
    for i, name in enumerate(names):
        plain = database(name, identities=identities, each=each, seed=i)
        found[name] = dataclasses.replace(plain, images=change(name, plain.images))
    return Audit(config, World(config, found))


def test_planted_members_are_detected_under_held_out():
    """A network that knows some 64 images by heart: MINT on its class centres tells which they are.

    The images of a person have nothing in common, so that nothing but memory brings one to its centre.
    """

    def unlike(name, images):
        n, side = images.shape[:2]
        blocks = np.random.default_rng(len(name)).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
        return blocks.repeat(side // 4, 1).repeat(side // 4, 2)

    of_m = {"epochs": 60, "batch_size": 16, "lr": 0.1, "dropout": 0, "augmentation": 0}
    of_t = {"mint_epochs": 60, "mint_batch_size": 16}  # as many steps as some 80 images need
    audit = world(unlike, each=8, **of_m, **of_t)
    model = audit.model(audit.config.audited)
    exposures = model.ledger["exposures"].to_numpy()
    assert 50 < (exposures > 0).sum() < 80
    chosen = audit.images.audit_set("members", exposures)
    found = audit.mint(audit.readings(model, chosen)[1], chosen)
    table = controls.Controls(audit)._table({"planted": [found]}).cells
    held = table[table["protocol"] == "held_out"].set_index("row")
    assert held.loc[readings.OWN, "auc"] > 0.9
    assert held.loc[readings.CENTRES, "auc"] > 0.9


def test_a_planted_difference_of_databases_is_no_membership():
    """D is a little darker than all others: without any training the paper's protocol finds it."""

    def darker(name, images):
        return images // 2 if name == "embedded_web" else images

    audit = world(darker, network="ir_tiny", epochs=1, batch_size=32)
    c = controls.Controls(audit)
    (m,) = c.models
    found = c._table({"untrained": [audit.scores(controls.untrained(c.audit, m), audited=m)]}).cells
    found = found[found["row"] == "All Conv Layers"].set_index("protocol")
    assert found.loc["paper", "accuracy"] > 0.9
    assert found.loc["held_out", "low"] < 0.5 < found.loc["held_out", "high"]
    blind_cells = c.blind.cells.set_index(["protocol", "row"])
    assert blind_cells.loc[("paper", "pixels"), "accuracy"] > 0.9


def test_images_of_people_that_attacks_do_not_know_are_left_out_everywhere(s):
    """Two images a person: some people are held out altogether, some are unknown to shadow models."""
    few = world(each=2, identities=80, epochs=1, batch_size=32, shadow_models=4)
    few.config = few.config.replace(mint_epochs=2, frequencies=[1, 2], frequency_epochs=1)
    d = detectors.Detectors(few)
    scores = d.attacks.scores()
    finite = np.isfinite(np.stack([scores[attack.name] for attack in ATTACKS])).all(axis=0)
    inside = d.attacks.chosen.images["index"].to_numpy()[(d.attacks.places >= 0)]
    assert (finite[(d.attacks.places >= 0)] == d.attacks.answered[inside]).all()
    kept = finite[d.attacks.chosen.splits[detectors.KEY].evaluation]
    assert 10 < kept.sum() < len(kept)
    chosen = d.attacks.chosen
    scores = few.mint(few.readings(d.attacks.model, chosen)[1], chosen).on(d.attacks.common(chosen))
    key = detectors.KEY
    assert scores.scores[key, readings.OWN].shape[1] == len(scores.chosen.splits[key].labels)
    assert len(scores.chosen.splits[key].labels) == kept.sum() == d.compared()["n"][0]
    paper = chosen.splits["members", "paper"]
    others = scores.chosen.splits["members", "paper"]
    assert (~others.labels).sum() == (
        ~paper.labels
    ).sum() and others.labels.sum() < paper.labels.sum()
