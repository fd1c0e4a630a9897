"""Claims: hand-made cells for each verdict, the paper's own figures, and no claim about nothing."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mint_utils.config import PROTOCOL_NAMES, PROTOCOLS, ROWS, Config
from mint_utils.measure.bootstrap import SMALLER, Decided, Estimate
from mint_utils.report import tables
from mint_utils.study import claims, results, scenarios
from mint_utils.study.claims import CLAIMS, Claim, Term


def decided(accuracy: float) -> Decided:
    """Two hundred images of as many people, of which that share is decided rightly, by five trainings."""
    labels = np.arange(200) % 2 == 0
    right = (np.arange(200) // 2 % 100) < accuracy * 100
    return Decided(labels, np.tile(right, (5, 1)).astype(float), np.arange(200))


def verdicts(better: float, worse: float, **kind) -> dict[str, str]:
    claim = Claim("1", "A beats B", claims._terms("loss", claims.ALL, "A", "B"), **kind)
    cells = {"A": decided(better), "B": decided(worse)}
    table = claims.decide([claim], lambda term, _: [(1.0, cells[term.column])], 500)
    assert list(table["protocol"]) == list(PROTOCOLS)
    assert table["value"].to_numpy() == pytest.approx(better - worse)
    return table.set_index("protocol")["verdict"].to_dict()


@pytest.mark.parametrize(
    ("better", "worse", "kind", "says"),
    [
        (0.90, 0.60, {}, "supported"),
        (0.60, 0.90, {}, "contradicted"),
        (0.70, 0.70, {}, "undecided"),
        (0.71, 0.70, {}, "undecided"),
        (0.70, 0.70, {"margin": 0.03}, "supported"),
        (0.90, 0.60, {"margin": 0.03}, "contradicted"),
        (0.60, 0.90, {"margin": 0.03}, "contradicted"),
        (0.73, 0.70, {"margin": 0.03}, "undecided"),
    ],
)
def test_each_verdict_by_hand(better, worse, kind, says):
    assert set(verdicts(better, worse, **kind).values()) == {says}


@pytest.mark.parametrize(("accuracy", "says"), [(0.95, "supported"), (0.6, "contradicted")])
def test_a_claim_to_exceed_a_number(accuracy, says):
    claim = Claim("1", "reaches", claims._terms("loss", claims.ALL, "A"), above=0.8)
    table = claims.decide([claim], lambda *_: [(1.0, decided(accuracy))], 500)
    assert set(table["verdict"]) == {says}
    assert table["value"].to_numpy() == pytest.approx(accuracy - 0.8)


def test_claims_about_m_have_no_protocol_and_average_their_databases():
    claim = Claim("1", "M", claims._terms("loss", claims.VERIFICATION, "A", "B"))
    parts = {"A": [(0.5, decided(0.9)), (0.5, decided(0.7))], "B": [(1.0, decided(0.5))]}
    table = claims.decide([claim], lambda term, _: parts[term.column], 300)
    assert list(table["protocol"]) == ["M"] and table["value"][0] == pytest.approx(0.3)


def test_a_claim_whose_cells_do_not_exist_is_left_out():
    assert claims.decide([CLAIMS[0]], lambda *_: None, 100).empty


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.text)
def test_every_claim_is_about_cells_that_exist_and_begins_with_its_own_sign(claim):
    for term in claim.terms:
        names = [column.name for column in scenarios.columns(Config(), term.scenario)]
        assert term.column in names
        assert term.row in (*ROWS, claims.VERIFICATION)
    assert claim.terms[0].sign == 1


@pytest.mark.parametrize(
    "claim", [c for c in CLAIMS if c.where != "added"], ids=lambda claim: claim.text
)
def test_the_papers_own_numbers_support_what_it_says(claim):
    value = sum(term.sign * term.printed for term in claim.terms) - claim.above
    if claim.margin:
        assert abs(value) < claim.margin
    else:
        assert value > 0
    assert claim.printed != "–"


def test_texts_differ():
    assert len({claim.text for claim in CLAIMS}) == len(CLAIMS)


def test_the_papers_number_of_a_cell():
    assert Term(1, "frequency", "x30", claims.ALL).printed == 0.87
    assert Term(1, "frequency", "x30, baseline", claims.ALL).printed == 0.84
    assert Term(1, "frequency", "x30, equal steps", claims.ALL).printed is None
    assert Term(1, "batch_size", "8", claims.VERIFICATION).printed == 0.786
    assert Term(1, "batch_size_scaled", "8", claims.ALL).printed is None
    assert Term(1, "loss", "CosFace", claims.VERIFICATION).printed is None


def test_shown_and_counted():
    table = claims.decide(CLAIMS[:3], lambda *_: [(1.0, decided(0.7))], 100)
    told = claims.shown(table)
    assert list(told.columns) == ["section", "claim", "the paper", *PROTOCOL_NAMES.values()]
    assert len(told) == 3 and told["the paper"][1] == "0.84, 0.81"
    assert claims.tally(table).columns.tolist() == list(claims.VERDICTS)
    counts = claims.tally(table)
    assert list(counts.index) == list(PROTOCOL_NAMES.values()) and counts.to_numpy().sum() == 6


def of_m(accuracy: float, reservation: str = "") -> Decided:
    return dataclasses.replace(decided(accuracy), reservation=reservation)


def test_where_m_was_trained_once_numbers_stand_without_a_verdict():
    claim = Claim("1", "A beats B", claims._terms("loss", claims.ALL, "A", "B"))
    cells = {"A": of_m(0.9), "B": of_m(0.6, "one training")}
    table = claims.decide([claim], lambda term, _: [(1.0, cells[term.column])], 300)
    assert set(table["verdict"]) == {"one training"} and table["low"].gt(0).all()
    shown = claims.shown(table)
    assert shown["other databases"][0].startswith("+0.300 [+0.")
    assert shown["verdict"].tolist() == ["none: one training"]
    beside = pd.concat([table, table.assign(claim="another", verdict="supported")])
    assert claims.shown(beside)["other databases"][0].startswith("one training, +0.300 [+0.")
    assert claims.tally(table)["one training"].tolist() == [1, 1]
    told = results.summary(table)
    assert told.startswith(
        "*With non-members of other databases.* The intervals of 1 of 1 of the paper's differences exclude "
        "zero. The largest is +0.30 (A beats B). 1 claim has no verdict, because M was trained once."
    )


def test_where_a_training_failed_there_is_no_interval():
    found = claims.judged(
        [(1, of_m(0.9, "one training")), (-1, of_m(0.6, "a training failed"))], 100
    )
    assert found["verdict"] == "a training failed" and found["value"] == pytest.approx(0.3)
    assert np.isnan(found["low"]) and np.isnan(found["high"])


def test_a_difference_smaller_than_the_papers_is_told_as_that():
    """The paper has .87 and .76; here both are .70, of 200 people, so that .11 is excluded."""
    claim = next(
        c
        for c in CLAIMS
        if c.text == "Shown 30 times instead of once: more detected, All Conv Layers"
    )
    assert claim.difference == pytest.approx(0.11)
    table = claims.decide([claim], lambda *_: [(1.0, decided(0.7))], 300)
    assert set(table["verdict"]) == {SMALLER}
    told = results.summary(table)
    assert "Of 1 claims of the paper: 1 with a difference smaller than the paper's." in told


def test_the_papers_own_difference_is_of_what_is_decided():
    """.84 is .34 above chance; of cells that the paper does not print there is none."""
    assert CLAIMS[0].difference == pytest.approx(0.34)
    hidden = next(c for c in CLAIMS if c.text.startswith("Hidden"))
    assert hidden.difference is None


def test_what_misled_is_restated():
    texts = [claim.text for claim in CLAIMS]
    assert not any("0.87" in text or "can be hidden" in text for text in texts)
    hidden = next(c for c in CLAIMS if c.text.startswith("Hidden"))
    cells = {"x1, baseline": 0.8, "x0, baseline": 0.7, "x1": 0.75, "x0": 0.72}
    value = sum(term.sign * cells[term.column] for term in hidden.terms)
    assert value == pytest.approx((0.8 - 0.7) - (0.75 - 0.72)) and hidden.where == "added"


def test_what_holds_under_the_papers_protocol_alone_is_named():
    lines = [
        ("kept", "paper", "supported"),
        ("lost", "paper", "supported"),
        ("never", "paper", "undecided"),
        ("kept", "held_out", "supported"),
        ("lost", "held_out", "undecided"),
        ("never", "held_out", "supported"),
    ]
    table = pd.DataFrame(lines, columns=["claim", "protocol", "verdict"])
    table = table.assign(where="4.3", value=0.1, low=np.nan, high=np.nan)
    told = results.summary(table)
    assert "1 hold with non-members of other databases only" in told and told.endswith(
        "membership: lost."
    )


def test_a_difference_in_words_is_its_value_or_how_large_it_can_be():
    assert results.effect(Estimate(0.01, -0.02, 0.04)) == "no difference larger than 0.04 was found"
    assert (
        results.effect(Estimate(-0.1, -0.2, -0.05))
        == "a difference of -0.10 [-0.20, -0.05] was found"
    )
    lines = pd.DataFrame({"value": [0.01, 0.0], "low": [-0.02, -0.06], "high": [0.04, 0.05]})
    assert results._differences(lines) == [
        "The intervals of 0 of 2 of the paper's differences exclude zero, and none of them can be larger "
        "than 0.06."
    ]


def test_columns_that_no_claim_is_about_give_a_sentence_and_a_table_that_says_so():
    table = claims.decide([CLAIMS[0]], lambda term, protocol: None, 500)
    assert results.summary(table) == "No claim of the paper is about these columns alone."
    assert claims.tally(table).empty
    assert "Claims: none" in tables.show(claims.shown(table), "Claims").to_html()
