import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mint_utils.config import Databases, Mint
from mint_utils.data.manifest import Database
from mint_utils.data.membership import held_out
from mint_utils.errors import ParameterError
from mint_utils.mint.protocol import audit_set, equal_shares, fewer
from mint_utils.study import checks


def database(name, n, each=5) -> Database:
    keys = np.array([f"{i:05d}" for i in range(n)])
    identities = np.arange(n) // each if each else np.full(n, -1)
    return Database(name, keys, identities, np.zeros((n, 8, 8, 3), np.uint8), None, name)


D = database("d", 1200)
EXTERNAL = [database("film", 300, 0), database("generated", 40, 0), database("photos", 200, 0)]
EVALUATION = database("wild", 400, 0)
EXPOSURES = np.where(held_out("d", D.keys, 0.5, 0), 0, 20)
ALL = {"Baseline": EXPOSURES > 0}


def audit(groups=ALL, exposures=EXPOSURES, external=EXTERNAL, evaluation=EVALUATION, d=D, **mint):
    return audit_set(d, exposures, external, evaluation, groups, Databases(), Mint(**mint))


@pytest.mark.parametrize("split", ["image", "identity"])
def test_every_image_is_what_its_label_says(split):
    chosen = audit(split=split)
    images = chosen.images
    for (_, protocol), s in chosen.splits.items():
        for rows, labels in ((s.train, s.train_labels), (s.evaluation, s.labels)):
            positive, negative = images.iloc[rows[labels]], images.iloc[rows[~labels]]
            assert (positive["database"] == "d").all() and (positive["exposures"] == 20).all()
            assert (negative["exposures"] == 0).all()
            inside = {"held_out": {"d"}, "paper": {"film", "generated", "photos", "wild"}}[protocol]
            assert set(negative["database"]) <= inside
        if protocol == "paper":
            used = set(images.iloc[s.evaluation[~s.labels]]["database"])
            assert used == {"wild"}
            assert "wild" not in set(images.iloc[s.train]["database"])


@pytest.mark.parametrize("split", ["image", "identity"])
def test_nothing_leaks_across_the_split(split):
    chosen = audit(split=split)
    unit = chosen.images["key"] if split == "image" else chosen.images["cluster"]
    for s in chosen.splits.values():
        d = (chosen.images["database"] == "d").to_numpy()
        assert not set(s.train) & set(s.evaluation)
        assert not set(unit[s.train[d[s.train]]]) & set(unit[s.evaluation[d[s.evaluation]]])
        assert len(set(s.train)) == len(s.train) and len(set(s.evaluation)) == len(s.evaluation)


def test_without_exclusions_nothing_changes():
    one, two = audit(), with_excluded({"film": set()})
    assert one.images.equals(two.images)
    for key, split in one.splits.items():
        for name, rows in vars(split).items():
            np.testing.assert_array_equal(rows, getattr(two.splits[key], name))


def test_an_excluded_image_is_never_chosen_and_the_next_one_takes_its_place():
    before = audit().images
    film = before[before["database"] == "film"]["key"].tolist()
    wild = before[before["database"] == "wild"]["key"].tolist()
    chosen = with_excluded({"film": set(film[:3]), "wild": set(wild[1:2])})
    after = chosen.images.groupby("database")["key"].agg(list)
    assert after["film"][: len(film) - 3] == film[3:] and len(after["film"]) == len(film)
    assert after["wild"][: len(wild) - 1] == [wild[0], *wild[2:]] and len(after["wild"]) == len(
        wild
    )
    assert after["photos"] == before[before["database"] == "photos"]["key"].tolist()
    assert after["d"] == before[before["database"] == "d"]["key"].tolist()


def test_excluded_images_do_not_count_as_candidates():
    s = with_excluded({"wild": set(EVALUATION.keys[:-30])}).splits["Baseline", "paper"]
    assert (~s.labels).sum() == 30
    with pytest.raises(ParameterError, match="6 external images to take from"):
        with_excluded({"wild": set(EVALUATION.keys[:-6])})


def with_excluded(excluded):
    return audit_set(
        D, EXPOSURES, EXTERNAL, EVALUATION, ALL, Databases(), Mint(), excluded=excluded
    )


def test_classes_are_of_equal_size_and_positives_the_same_under_both_protocols():
    chosen = audit()
    paper, held = chosen.splits["Baseline", "paper"], chosen.splits["Baseline", "held_out"]
    for s in (paper, held):
        assert s.train_labels.mean() == 0.5 and s.labels.mean() == 0.5
    assert (paper.train[paper.train_labels] == held.train[held.train_labels]).all()
    assert (paper.evaluation[paper.labels] == held.evaluation[held.labels]).all()


def test_rows_name_their_image():
    images = audit().images
    assert (images["key"] == [f"{i:05d}" for i in images["index"]]).all()
    assert not images.duplicated(["database", "key"]).any()
    d = images[images["database"] == "d"]
    assert (d["exposures"] == EXPOSURES[d["index"]]).all()
    assert (d["cluster"] == [f"d/{i // 5}" for i in d["index"]]).all()
    film = images[images["database"] == "film"]
    assert (film["cluster"] == [f"film/{key}" for key in film["key"]]).all()


def test_frames_of_one_film_are_one_cluster_where_their_keys_tell():
    keys = np.array(["00012", "00099", "00100", "cover"])
    unknown = Database("film", keys, np.array([-1, -1, -1, -1]), None, None, "f", source=r"^\d{3}")
    assert [unknown.cluster(i) for i in range(4)] == [
        *["film/source 000"] * 2,
        "film/source 001",
        "film/cover",
    ]
    known = dataclasses.replace(unknown, identities=np.array([7, 7, 8, 9]))
    assert known.cluster(1) == "film/7"


def test_two_thirds_of_the_members_train():
    s = audit(external=[database("large", 5000, 0)], evaluation=database("wild", 5000, 0)).splits
    s = s["Baseline", "held_out"]
    members = (EXPOSURES > 0).sum()
    assert abs(s.train_labels.sum() / members - 2 / 3) < 0.06


def test_the_sets_do_not_depend_on_the_order_of_the_file():
    order = np.random.default_rng(0).permutation(len(D))
    shuffled = Database("d", D.keys[order], D.identities[order], D.images, None, "d")
    one = audit()
    two = audit({"Baseline": ALL["Baseline"][order]}, EXPOSURES[order], d=shuffled)
    for key in one.splits:
        for side in ("train", "evaluation"):
            keys = [
                set(
                    zip(
                        *(
                            x.images.iloc[getattr(x.splits[key], side)][c]
                            for c in ("database", "key")
                        ),
                        strict=True,
                    )
                )
                for x in (one, two)
            ]
            assert keys[0] == keys[1]


def test_fewer_samples_are_a_part_of_more():
    few, many = audit(mint_samples=80), audit()
    s = few.splits["Baseline", "paper"]
    assert s.train_labels.sum() == 40 and s.labels.sum() == 20
    wanted = set(few.images.iloc[s.train]["key"])
    assert wanted <= set(many.images.iloc[many.splits["Baseline", "paper"].train]["key"])


def test_a_small_external_database_gives_all_it_has():
    s = audit()
    images = s.images.iloc[s.splits["Baseline", "paper"].train]
    counts = images["database"].value_counts()
    assert counts["generated"] == 40 and counts["d"] == counts.drop("d").sum()


@given(st.integers(0, 500), st.lists(st.integers(0, 200), min_size=1, max_size=6))
def test_equal_shares(n, sizes):
    n = min(n, sum(sizes))
    shares = equal_shares(n, sizes)
    assert sum(shares) == n and all(0 <= s <= size for s, size in zip(shares, sizes, strict=True))
    open_ = [s for s, size in zip(shares, sizes, strict=True) if s < size]
    if open_:  # who is not exhausted has no less than anybody else, but for the remainder
        assert max(shares) - min(open_) <= 1


def test_equal_shares_by_hand():
    assert equal_shares(30, [100, 100, 100]) == [10, 10, 10]
    assert equal_shares(30, [100, 4, 100]) == [13, 4, 13]
    assert equal_shares(11, [100, 100, 100]) == [3, 4, 4]


def test_a_group_with_an_image_never_seen_is_refused():
    wrong = ALL["Baseline"].copy()
    wrong[np.flatnonzero(EXPOSURES == 0)[0]] = True
    with pytest.raises(ParameterError, match="never saw"):
        audit({"Baseline": wrong})


def test_a_group_never_shown_takes_the_place_of_members():
    never = (EXPOSURES == 0) & (np.arange(1200) % 4 == 0)
    chosen = audit_set(D, EXPOSURES, EXTERNAL, EVALUATION, ALL | {"x0": never}, Databases(),
                       Mint(), never_shown=["x0"])  # fmt: skip
    for protocol in ("paper", "held_out"):
        s = chosen.splits["x0", protocol]
        images = chosen.images.iloc[np.concatenate([s.train, s.evaluation])]
        assert (images["exposures"] == 0).all()
        positive = chosen.images.iloc[
            np.concatenate([s.train[s.train_labels], s.evaluation[s.labels]])
        ]
        assert never[positive["index"]].all() and (positive["database"] == "d").all()
    held = chosen.splits["x0", "held_out"]
    negative = chosen.images.iloc[np.concatenate([held.train[~held.train_labels],
                                                  held.evaluation[~held.labels]])]  # fmt: skip
    assert not never[negative["index"]].any() and (negative["database"] == "d").all()
    assert checks.leaks(chosen) == dict.fromkeys(checks.leaks(chosen), 0)


def test_a_group_declared_never_shown_must_be():
    with pytest.raises(ParameterError, match="holds images that M saw"):
        audit_set(D, EXPOSURES, EXTERNAL, EVALUATION, ALL, Databases(), Mint(), ["Baseline"])


def test_leaks_are_counted():
    chosen = audit()
    s = chosen.splits["Baseline", "paper"]
    wrong = dataclasses.replace(s, train=np.concatenate([s.train[:-1], s.evaluation[:1]]))
    other = dataclasses.replace(chosen, splits={("Baseline", "paper"): wrong})
    assert checks.leaks(other) == {
        "on both sides": 1,
        "negatives that M saw": 1,  # a member in the place of the last negative
        "positives that M never saw": 0,
    }


def test_too_few_images_is_one_clear_error():
    with pytest.raises(ParameterError, match="0 held-out"):
        audit({"Baseline": np.ones(1200, bool)}, np.full(1200, 20))
    with pytest.raises(ParameterError, match="3 external"):
        audit(evaluation=database("wild", 3, 0))


@pytest.mark.parametrize("n", [20, 33, 150])
def test_fewer_samples_are_the_first_and_the_evaluation_stays(n):
    """Beside an audit that was chosen as small from the start: the same images, by their keys."""
    large, small = audit(), audit(mint_samples=2 * n)
    reduced = fewer(large, n)
    for key, split in large.splits.items():
        names = [
            set(map(tuple, of.images.iloc[of.splits[key].train][["database", "key"]].to_numpy()))
            for of in (reduced, small)
        ]
        assert names[0] == names[1] and len(names[0]) == 2 * n
        assert reduced.splits[key].train_labels.sum() == n
        np.testing.assert_array_equal(reduced.splits[key].evaluation, split.evaluation)
    assert checks.leaks(reduced) == dict.fromkeys(checks.leaks(reduced), 0)
