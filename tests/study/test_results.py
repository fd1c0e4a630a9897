"""Tables made of scores by hand: what a cell's interval is of, and what a column compares."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mint_utils.measure.bootstrap import interval
from mint_utils.measure.detection import decided
from mint_utils.mint.protocol import AuditSet, Split
from mint_utils.study.audit import Scores
from mint_utils.study.results import MintTable, answer

ROW, KEY = "All Conv Layers", ("members", "paper")


def scores(clusters, trainings=2, seed=0, images=None):
    """Return one training's scores of images of which those of one cluster are alike."""
    n = len(clusters)
    rng = np.random.default_rng(seed)
    rows = (
        np.arange(n)[::-1].copy() if images is None else images
    )  # the order of a split is its own
    table = pd.DataFrame({"cluster": np.asarray(clusters, str), "index": np.arange(n)})
    labels = np.arange(len(rows)) % 2 == 0
    split = Split(np.arange(0), np.zeros(0, bool), rows, labels)
    ease = rng.random(max(clusters) + 1)[np.asarray(clusters)[rows]]
    right = ease + 0.02 * rng.normal(size=(trainings, len(rows))) > 0.3
    found = np.where(right == labels, 0.9, 0.1).astype(np.float32)
    return Scores(AuditSet(table, {KEY: split}), {(KEY, ROW): found})


def test_the_interval_of_a_cell_is_over_clusters():
    clusters = np.repeat(np.arange(30), 8)
    one = scores(clusters)
    cell = MintTable.of({"M": ([one], "members")}, 400).cells.iloc[0]
    split = one.chosen.splits[KEY]
    each = one.scores[KEY, ROW][None]
    over = decided(split.labels, each, clusters[split.evaluation])
    value, low, high = interval([(1, over)], 400)
    assert (cell["accuracy"], cell["low"], cell["high"]) == pytest.approx((value, low, high))
    alone = interval([(1, decided(split.labels, each, np.arange(240)))], 400)
    assert cell["high"] - cell["low"] > 1.5 * (alone.high - alone.low)


def test_the_cluster_of_an_evaluated_image_is_its_own():
    clusters = np.repeat(np.arange(30), 8)
    table = MintTable.of({"M": ([scores(clusters)], "members")}, 100)
    _, _, found = table.evaluation("M", "paper", ROW)
    assert found.tolist() == [str(c) for c in clusters[::-1]]


def test_scores_of_some_images_keep_their_labels_and_order():
    one = scores(np.repeat(np.arange(30), 8))
    kept = np.random.default_rng(0).random(240) < 0.5
    found = one.on(kept)
    split, whole = found.chosen.splits[KEY], one.chosen.splits[KEY]
    inside = np.isin(whole.evaluation, np.flatnonzero(kept))
    assert (split.evaluation == whole.evaluation[inside]).all()
    assert (split.labels == whole.labels[inside]).all()
    assert (found.scores[KEY, ROW] == one.scores[KEY, ROW][:, inside]).all()


def test_several_trainings_of_m_stand_beside_each_other():
    clusters = np.repeat(np.arange(30), 8)
    each = [scores(clusters, seed=i) for i in range(3)]
    table = MintTable.of({"M": (each, "members"), "N": (each[:1], "members")}, 100, ["M"])
    assert table.decided("M", "paper", ROW).right.shape == (3, 240)
    assert table.decided("M", "paper", ROW).reservation == "a training failed"
    assert table.decided("N", "paper", ROW).reservation == "one training"
    assert table.only(["N"]).cells["column"].tolist() == ["N"]
    assert table.only(["M"]).failed == {"M"}
    accuracies = table.decided("M", "paper", ROW).accuracies
    beside = table.beside_paper(1).set_index("column")["trainings"]
    assert beside["M"] == tuple(accuracies) and beside["N"] == ()
    cells = table.cells.set_index("column")
    assert cells.loc["M", "each"] == " ".join(f"{a:.2f}".removeprefix("0") for a in accuracies)
    assert np.isnan(cells.loc["M", "low"]) and cells.loc["N", "low"] < cells.loc["N", "accuracy"]


def test_a_row_that_is_the_same_whatever_m_is_stands_once_and_has_the_noise_of_t():
    """Of three M's, each with the same two trainings of a blind baseline: the two count, not the three."""
    clusters = np.repeat(np.arange(30), 8)
    each = [scores(clusters, seed=i) for i in range(3)]
    blind = scores(clusters, seed=9).scores[KEY, ROW]
    first = replace(each[0], scores=each[0].scores | {(KEY, "pixels"): blind})
    table = MintTable.of({"M": ([first, *each[1:]], "members")}, 100)
    assert table.scores["M", "paper", ROW].shape == (3, 2, 240)
    found = table.decided("M", "paper", "pixels")
    assert found.right.shape == (2, 240) and (found.right[0] != found.right[1]).any()


def test_an_answer_says_what_was_found_and_how_large_the_rest_can_be():
    """An image in ten is decided rightly by one column alone with other databases, none with the same."""
    n, labels = 400, np.arange(400) % 2 == 0
    images = pd.DataFrame({"cluster": np.arange(n).astype(str), "index": np.arange(n)})
    split = Split(np.arange(0), np.zeros(0, bool), np.arange(n), labels)
    keys = [("members", protocol) for protocol in ("paper", "held_out")]
    chosen = AuditSet(images, dict.fromkeys(keys, split))
    right = {
        "one": np.arange(n) % 4 < 2,
        "other": (np.arange(n) % 4 < 2) | (np.arange(n) % 20 > 17),
    }
    columns = {}
    for name, of in right.items():
        each = {key: of if key[1] == "paper" else right["one"] for key in keys}
        found = {(k, ROW): np.where(of == labels, 0.9, 0.1)[None] for k, of in each.items()}
        columns[name] = [Scores(chosen, found)], "members"
    table = MintTable.of(columns, 400)
    value, low, high = interval(
        [(1, table.decided("other", "paper", ROW)), (-1, table.decided("one", "paper", ROW))], 400
    )
    assert value == pytest.approx(0.1) and low > 0
    other, same = answer(table, "one", "other").split("; ")
    assert other == (
        f"*other* compared with *one* ({ROW}): with non-members of other databases a difference of "
        f"+0.10 [{low:+.2f}, {high:+.2f}] was found"
    )
    assert same.startswith("with non-members of the same database no difference larger than ")
    assert same.endswith("0.00 was found. (One training: another may give other numbers.)")
