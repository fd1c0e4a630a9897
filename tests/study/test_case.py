"""An audit of one's own, on folders and features made for it: what is planted is found, and nothing else."""

import dataclasses
import os
import unicodedata

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image

from mint_utils import study
from mint_utils.config import resolve
from mint_utils.errors import DataError, ParameterError
from mint_utils.measure.bootstrap import Decided, interval
from mint_utils.mint import blind, readings
from mint_utils.run import notebooks
from mint_utils.study import case, casefiles, checks, design, scenarios
from mint_utils.study.audit import Features
from tests.audited.test_graphs import Small, by_hooks, exported
from tests.factory import database

SMALL = {
    "image_size": 16,
    "network": "ir_tiny",
    "epochs": 1,
    "mint_seeds": 2,
    "mint_epochs": 6,
    "mint_samples": 600,
    "replicates": 200,
}
PEOPLE, EACH = 60, 18


pytestmark = pytest.mark.usefixtures("artifacts")


def weights(folder, centres=None):
    network = timm.create_model("ir_tiny", img_size=16)
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    if centres is not None:
        state["head.kernel"] = centres
    torch.save({"state_dict": state}, folder / "weights.pt")


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    """A third of everybody's images in each folder, of two sizes; one image lies in two of them."""
    folder, db = tmp_path_factory.mktemp("case"), database("d", PEOPLE, EACH)
    weights(folder)
    for i, (person, image) in enumerate(zip(db.identities, db.images, strict=True)):
        image = image.repeat(2, 0).repeat(2, 1) if i % 2 else image
        write(folder / casefiles.FOLDERS[i % 3] / f"p{person:02d}" / f"{i:04d}.png", image)
    write(folder / "questioned" / "p00" / "again.png", db.images[0])
    return folder


@pytest.fixture
def c(brought):
    return case.Case(study.open_study("quick", case=str(brought), **SMALL))


def planted(c, of_network, of_image=0.0, shift=0.0, of_person=0.0):
    """Put features in the place of what is read: signals of membership, and of the folder in question.

    Every second image in question is a member; where the person in D is the signal, none is.
    """
    images, rng = c.files.images, np.random.default_rng(0)
    member = (images["database"] == "members").to_numpy()
    asked = (images["database"] == case.QUESTIONED).to_numpy()
    truth = member | (asked & (np.cumsum(asked) % 2 == 0))
    if of_person:
        truth, of_network = np.isin(images["person"], images["person"][member]), of_person

    def drawn(signal, width, **shifts):
        array = rng.standard_normal((len(images), width)).astype(np.float32)
        array[:, 0] += signal * truth + shifts.get("shift", 0.0) * asked
        return array

    one = {c.row: slice(0, 4)}
    rows = {name: slice(i, i + 1) for i, name in enumerate(blind.BASELINES)}
    c.__dict__["features"] = {
        case.NETWORK: Features(drawn(of_network, 4), one, f"n {of_network}"),
        case.UNTRAINED: Features(drawn(0.0, 4), one, "u"),
        case.BLIND: Features(drawn(of_image, 3, shift=shift), rows, f"b {of_image} {shift}"),
    }
    return pd.Series(truth[asked], index=images["key"][asked])


def test_folders_are_read_as_they_are_and_a_copy_takes_part_once(c):
    counts = c.files.counts().set_index("folder")
    assert counts["read"].to_dict() == {"members": 360, "non_members": 360, "questioned": 361}
    assert counts["copies"].tolist() == [0, 0, 1]
    assert counts["beside folders"].tolist() == [0, 0, 0] == counts["not read"].tolist()
    assert (counts["people"] == PEOPLE).all()
    (copy,) = c.files.left_out.itertuples()
    assert (copy.folder, copy.key, copy.also_in) == ("questioned", "p00/again.png", "members")
    assert copy.other_key == "p00/0000.png" and copy.distance == 0
    assert "p00/again.png" not in set(c.files.images["key"])
    assert c.row == "All Conv Layers"  # the file holds no class centres


@pytest.mark.parametrize("network", ["net.onnx", "tests.audited.test_networks:Pair"])
def test_a_network_that_is_a_file_or_a_function_passes_the_door(brought, network):
    s = study.open_study("quick", case=str(brought), **SMALL | {"network": network})
    assert s.config.audited.network == network
    with pytest.raises(ParameterError, match="there is no network"):  # it would have to be trained
        study.open_study("quick", **SMALL | {"network": network})


def test_nobody_is_judged_by_a_model_that_saw_the_person(c):
    usable, labels = c.inside(*design.KNOWN), c.inside("members")
    splits = design.splits(c.design, c.files.images, usable, labels, 200, case.DEALS).splits
    person, folder = c.files.images["person"].to_numpy(), c.files.images["database"].to_numpy()
    for deal in range(case.DEALS):
        of_deal = [split for key, split in splits.items() if key[0] == f"deal {deal}"]
        evaluated = np.concatenate([split.evaluation for split in of_deal])
        assert sorted(evaluated) == list(range(len(c.files.images)))  # each once
    assert len({split.evaluation.tobytes() for split in splits.values()}) == 3 * case.DEALS
    for split in splits.values():
        assert not set(person[split.train]) & set(person[split.evaluation])
        assert case.QUESTIONED not in folder[split.train]
        assert split.train_labels.mean() == 0.5
        assert ((folder[split.train] == "members") == split.train_labels).all()


def test_where_people_are_not_known_it_is_said(c, tmp_path):
    assert c.files.people().startswith("People are known in all three folders")
    for name, db in c.files.databases.items():
        for i, image in enumerate(db.images):
            write(tmp_path / name / (f"p{i % 9}" if name == "members" else "") / f"{i}.png", image)
    weights(tmp_path)
    files = casefiles.CaseFiles(tmp_path, resolve("quick", **SMALL))
    assert files.people().startswith("People are not known in non_members, questioned ")
    counts = files.counts().set_index("folder")["people"]
    assert counts["members"] == 9 and counts.isna().tolist() == [False, True, True]
    assert files.images["person"].nunique() == 9 + (files.images["database"] != "members").sum()


def test_what_is_planted_is_found(c):
    truth = planted(c, of_network=3.0)
    verdicts = c.verdicts.set_index("question")["verdict"]
    assert (verdicts.drop(case.ALIKE) == "supported").all()
    assert verdicts[case.ALIKE] != "contradicted"
    share, answers = c.share(), c.answers
    assert share.low < 0.5 < share.high and share.high - share.low < 0.3
    named = truth[answers["key"][answers["named"]]]
    assert len(named) > 30 and named.mean() > 0.85
    assert checks.case_sound(c) == dict.fromkeys(checks.case_sound(c), True)
    said = c.conclusion()
    assert said.startswith(f"Of {len(truth)} images in question {share.value:.0%}")
    assert "at most 5% are expected to be named wrongly (an expectation, no bound" in said
    assert "whether an image was used. Whether a person was shown" in said
    assert "is another: `-p question persons` asks it." in said
    assert "Not among these: copies of images in members (1), whose answer is known." in said


def test_without_a_signal_nothing_is_said(c):
    truth = planted(c, of_network=0.0)
    assert case.TOLD in c.nothing and np.isnan(c.share().value)
    assert c.conclusion().startswith("**Nothing can be said")
    assert not c.answers["named"].any()
    p = c.answers.set_index("key")["p"][truth.index]
    assert abs(p.mean() - 0.5) < 0.06 and (p <= 0.1).mean() < 0.2  # as those of non-members are


def test_what_the_images_alone_tell_is_no_membership(c):
    planted(c, of_network=2.0, of_image=2.0)
    verdicts = c.verdicts.set_index("question")["verdict"]
    assert verdicts["known members are distinguished from known non-members"] == "supported"
    assert verdicts["better than without any network"] != "supported"
    assert "better than without any network" in c.conclusion()


def test_another_camera_for_one_kind_of_known_images_names_nobody(c):
    """The network reads the camera, and more clearly than any blind baseline; nothing of membership."""
    planted(c, of_network=3.6, of_image=2.0)
    blindly = c.features[case.BLIND]  # the second of the baselines sees it
    rows = {name: slice(i, i + 1) for name, i in zip(blind.BASELINES, (1, 0, 2), strict=True)}
    c.features[case.BLIND] = dataclasses.replace(blindly, rows=rows)
    assert c.nothing == [case.MATCHED] and not c.answers["named"].any()
    assert c.conclusion().startswith("**Nothing can be said")


def test_images_from_elsewhere_are_told(c):
    planted(c, of_network=3.0, shift=3.0)
    assert c.nothing == [case.ALIKE] and not c.answers["named"].any()
    assert c.conclusion().startswith("**Nothing can be said")


def test_an_untrained_network_says_nothing_of_real_folders(c):
    """From the files to the sentence: this network was never trained on anything."""
    assert list(c.cells["column"].unique()) == [case.NETWORK, case.UNTRAINED, case.BLIND]
    assert len(c.cells) == 6 + 1 + 3
    assert c.conclusion().startswith("**Nothing can be said")
    found = c.features[case.NETWORK].array
    assert found.shape == (1080, 16 + 32 + 64 + 128 + 128) and np.isfinite(found).all()


def test_class_centres_are_read_where_the_file_holds_them(brought, tmp_path):
    centres = torch.nn.functional.normalize(torch.randn(128, PEOPLE), dim=0)
    for name in casefiles.FOLDERS:
        (tmp_path / name).symlink_to(brought / name)
    weights(tmp_path, centres)
    c = case.Case(study.open_study("quick", case=str(tmp_path), **SMALL))
    assert c.row == readings.CENTRES
    features = c.features[case.NETWORK]
    of_centres = features.array[:, features.rows[readings.CENTRES]]
    outcome = torch.from_numpy(np.array(features.array[:, features.rows["Model Outcome"]]))
    nearest, _ = (outcome @ centres).topk(2, dim=1)
    np.testing.assert_allclose(
        of_centres[:, 2], nearest[:, 1].numpy(), atol=1e-5
    )  # the second nearest
    assert list(c.features[case.UNTRAINED].rows) == [readings.CENTRES]


def test_the_demonstration_holds_what_it_says():
    s = study.open_study("quick", **SMALL | {"mint_samples": 60, "scale": 0.2})
    c, d = case.Case(s.audit), s.images.training
    shown = s.audited("baseline", "Baseline")[0].ledger["exposures"].to_numpy() > 0
    number = {
        f"{d.identities[i]:06d}/{key.replace('/', '-')}.png": i for i, key in enumerate(d.keys)
    }
    truth = pd.read_csv(c.files.folder / "truth.csv", dtype={"key": str}).set_index("key")["member"]
    found = []
    for name, db in c.files.databases.items():
        rows = np.array([number[key] for key in db.keys])
        np.testing.assert_array_equal(db.images, d.images[rows])
        said = {"members": True, "non_members": False}.get(name, truth.get(db.keys))
        assert (shown[rows] == said).all()
        found += rows.tolist()
    assert sorted(found) == list(range(len(d)))
    assert 0.28 < len(c.files.databases["questioned"]) / len(d) < 0.38
    assert c.row == readings.CENTRES and list(c.truth()["said"])


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (
            lambda f: (f / "members/p1/x.png").symlink_to("gone"),
            DataError,
            "x.png is a link to noth",
        ),
        (
            lambda f: os.mkdir(os.fsencode(f / "members") + b"/\xff"),
            DataError,
            "is not UTF-8. Rename",
        ),
        (
            lambda f: (f / "members" / "p1").rename(f / "members" / "p0" / "p1"),
            DataError,
            "p0/p1/[0-9]+.png lies two folders deep",
        ),
        (lambda f: f.rename(f.with_name("gone")), DataError, "There is no folder"),
        (lambda f: (f / "weights.pt").unlink(), DataError, "holds 0 files of weights"),
        (lambda f: (f / "b.pth").write_bytes(b""), DataError, "2 files of weights .b.pth, w"),
        (lambda f: (f / "questioned").rename(f / "asked"), DataError, "no folder .*questioned"),
        (
            lambda f: [write(p, np.zeros((16, 20, 3), np.uint8)) for p in f.glob("members/*/*")],
            DataError,
            "20x16 pixels, and no aligned crop",
        ),
        (lambda f: None, ParameterError, r"Fold 0 of 3 would hold \d members"),
        (lambda f: (f / "weights.pt").write_bytes(b"no"), DataError, "cannot be read as weights"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(change, error, says, tmp_path):
    weights(tmp_path)
    for i, image in enumerate(database("few", 6, 6, seed=3).images):
        write(tmp_path / casefiles.FOLDERS[i % 3] / f"p{i // 6}" / f"{i}.png", image)
    change(tmp_path)
    with pytest.raises(error, match=says):
        case.Case(study.open_study("quick", case=str(tmp_path), **SMALL)).cells  # noqa: B018


def test_a_model_that_is_brought_needs_no_training_and_its_files_are_part_of_the_state(tmp_path):
    own = resolve("quick", case=str(tmp_path))
    assert scenarios.of_notebooks(own, ["08_audit_your_model"]) == []
    assert scenarios.of_notebooks(resolve("quick"), ["08_audit_your_model"]) == ["baseline"]
    assert not own.is_reference and own.brought.case == str(tmp_path)
    weights(tmp_path)
    for name in casefiles.FOLDERS:
        write(tmp_path / name / "a.png", np.zeros((16, 16, 3), np.uint8))
    before = notebooks.state(own, "08_audit_your_model")
    assert notebooks.state(own, "08_audit_your_model") == before
    write(tmp_path / "members" / "a.png", np.ones((16, 16, 3), np.uint8))
    assert notebooks.state(own, "08_audit_your_model") != before


# ---- the image, not the person ------------------------------------------------------------------


def bring(folder, where, people=PEOPLE, each=18, form="{}"):
    """Write a case: ``where(person, number)`` names the folder of an image, or None."""
    db, number = database("d", people, each), np.tile(np.arange(each), people)
    weights(folder)
    for i, (person, n) in enumerate(zip(db.identities.tolist(), number.tolist(), strict=True)):
        if name := where(person, n):
            write(folder / name / form.format(f"p{person:02d}") / f"{i:04d}.png", db.images[i])
    return case.Case(study.open_study("quick", case=str(folder), **SMALL))


def trap(person, n):
    """Known non-members are other people; in question are unused photographs of D's people."""
    return ("members", "questioned")[n % 2] if person % 2 else "non_members"


def test_the_person_in_d_is_not_taken_for_the_image(tmp_path):
    c = bring(tmp_path, trap)
    planted(c, 0.0, of_person=3.0)
    assert (
        c.verdicts.set_index("question")["verdict"][[case.TOLD, case.TRAINED, case.SEEN]].tolist()
        == ["supported"] * 3
    )
    said = c.conclusion()
    assert not c.answers["named"].any() and said.startswith("**Nothing can be said")
    assert "0 people have both known members and known non-members" in said
    assert "cannot be told from another of a person in D" in said
    # Without the condition it names most of them, all wrongly.
    c.__dict__["design"] = dataclasses.replace(c.design, known=True, asked=True)
    for name in ("verdicts", "answers"):
        del c.__dict__[name]
    assert c.answers["named"].mean() > 0.5


def test_known_images_of_the_same_people_tell_it(tmp_path):
    """As the trap, with some unused images of a third of D's people known: nobody is accused."""
    c = bring(tmp_path, lambda p, n: "non_members" if p % 6 == 1 and n % 3 == 0 else trap(p, n))
    planted(c, 0.0, of_person=3.0)
    part = c.files.images[c.design.part]
    counts = pd.crosstab(part["person"], part["database"])
    assert (counts["members"] == counts["non_members"]).all() and len(counts) == 10
    assert case.TOLD in c.nothing and not c.answers["named"].any()
    assert len(c.answers) == counts["questioned"].sum() == 60


def test_images_in_question_of_other_people_are_not_judged(tmp_path):
    def where(person, n):
        return "questioned" if person % 2 and n % 3 < 2 else design.FOLDERS[n % 3]

    c = bring(tmp_path, lambda p, n: "questioned" if p < 20 else design.FOLDERS[n % 3])
    planted(c, 3.0)
    assert len(c.answers) == 40 * 6 and "The other 360 are not judged" in c.conclusion()
    assert not c.answers["person"].isin([f"p{i:02d}" for i in range(20)]).any()
    (tmp_path / "b").mkdir()
    only = bring(tmp_path / "b", lambda p, n: "questioned" if p < 20 else design.KNOWN[n % 2])
    planted(only, 3.0)
    assert only.nothing[0] == case.OF_THESE
    assert "0 of 360 images in question are of people of whom" in only.conclusion()


def test_where_people_are_not_known_no_image_is_named(tmp_path):
    c = bring(tmp_path, lambda p, n: design.FOLDERS[n % 3], form=".")
    planted(c, 3.0)
    assert not c.answers["named"].any() and "people are not known in members" in c.conclusion()


def lies(rng, images, of_person, own):
    """Return how images of a network lie that knows people (one class each) or members (one class each)."""
    n, member = len(images), (images["database"] == "members").to_numpy()
    number = pd.factorize(images["person"])[0]
    known = np.isin(number, number[member])
    if own:
        return design.Closeness(
            np.where(member, 1.0, 0.5 + rng.random(n) / 5), 0.5 + rng.random(n) / 5, np.arange(n)
        )
    right = known & (rng.random(n) < of_person)
    nearest = np.where(right, number, 1000 + rng.integers(5000, size=n))
    return design.Closeness(0.4 + rng.random(n) / 5 + 0.3 * right, 0.4 + rng.random(n) / 5, nearest)


@pytest.mark.parametrize("of_person", [0.99, 0.6, 0.3])
def test_only_classes_that_are_images_tell_an_image_from_its_person(of_person):
    names = [("members", 3, "a"), ("non_members", 3, "b"), ("questioned", 3, "a")]
    images = pd.DataFrame(
        [
            (folder, f"{person}{i}/{j}", f"{person}{i}")
            for folder, each, person in names
            for i in range(60)
            for j in range(each)
        ],
        columns=["database", "key", "person"],
    )
    folder, person = images["database"].to_numpy(str), images["person"].to_numpy(str)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        assert not design.classes_are_images(folder, person, lies(rng, images, of_person, False))
        assert design.classes_are_images(folder, person, lies(rng, images, 0.0, True))
    found = design.designed(images, lies(rng, images, 0.9, False), [], 5, 0)
    assert not found.known and "0 people have both" in found.reason


def test_one_image_a_person_makes_no_classes_of_images():
    """Nearly every known member has a class of its own, for nearly every person has one known member."""
    person = np.concatenate(
        [np.arange(3000), np.repeat(np.arange(4000, 4100), 2), np.arange(5000, 5900)]
    )
    folder = np.repeat(["members", "non_members"], [3200, 900])
    rng = np.random.default_rng(0)
    second = 0.4 + rng.random(len(person)) / 5
    first = np.where(folder == "members", second + 0.3, second)
    shared = design.Closeness(first, second, person)
    assert not design.classes_are_images(folder, person.astype(str), shared)
    apart = design.Closeness(first, second, np.arange(len(person)))
    assert design.classes_are_images(folder, person.astype(str), apart)


@pytest.mark.parametrize("classes_are_people", [True, False])
def test_folders_that_are_no_persons_make_no_classes_of_images(tmp_path, classes_are_people):
    """Batches of many people, one known member of each; in question are unused photographs of these."""
    c = bring(tmp_path, lambda p, n: ("members", "questioned")[n % 2] if p % 2 else "non_members")
    images, rng = c.files.images, np.random.default_rng(0)
    folder, n = images["database"].to_numpy(), len(images)
    first, nearest = 0.5 + rng.random(n) / 5, 10_000 + rng.permutation(n)
    second = np.where(folder == "members", first, first - 0.01)
    first[folder == "members"] += 0.4
    asked = np.flatnonzero(folder == "questioned")
    first[asked] += 0.3
    if classes_are_people:
        nearest[asked] = nearest[rng.permutation(np.flatnonzero(folder == "members"))[: len(asked)]]
    c.__dict__["closeness"] = design.Closeness(first, second, nearest)
    assert c.design.classes
    planted(c, 0.0, of_person=5.0)
    assert c._stand_out.mean() > 0.5
    assert (case.OWN in c.nothing) == classes_are_people
    assert c.answers["named"].any() != classes_are_people


def test_people_weigh_as_they_do_in_question():
    """Photographs of one person lie near the centre of a large class; most in question show this person."""
    rng, n = np.random.default_rng(0), 400
    person = np.concatenate([np.repeat(np.arange(100), 4), np.zeros(200, int)])
    others = np.arange(600) < n
    false = {}
    for name, weighted in (("weighted", True), ("alike", False)):
        found = []
        for _ in range(200):
            scores = rng.standard_normal(600) + 4 * (person == 0)
            ratio = np.where(person == 0, 200 / 4, 0.0)
            weights = ratio if weighted else np.ones(600)
            p = design.p_values(scores[None], others, ~others, np.zeros((1, 600), int), weights)
            found.append((p <= 0.05).mean())
        false[name] = np.mean(found)
    assert false["alike"] > 0.5 and false["weighted"] < 0.05


def test_p_values_are_counted_within_a_fold():
    """Against a count by hand, equal weights; scores of another fold's models are not compared."""
    rng = np.random.default_rng(1)
    scores, folds = rng.integers(9, size=200) / 9, rng.integers(3, size=200)
    others = np.arange(200) < 120
    found = design.ranks(scores + 10 * folds, others, ~others, folds, np.ones(200))
    for row in range(200):
        theirs = np.flatnonzero(others & (folds == folds[row]))
        n, rest = len(theirs), theirs[theirs != row]
        above = (scores[rest] >= scores[row]).sum() * n / len(rest)
        assert found[row] == pytest.approx((1 + above) / (1 + n))
    p = design.p_values((scores + 10 * folds)[None], others, ~others, folds[None], np.ones(200))
    expected = [(1 + (found[others] <= one + 1e-9).sum()) / 121 for one in found[~others]]
    np.testing.assert_allclose(p, expected)


def test_p_values_of_non_members_are_uniform():
    """Five deals whose models differ in place and scale: as many non-members below a p as it says."""
    rng, below = np.random.default_rng(2), []
    for _ in range(200):
        own, others = rng.standard_normal(240), np.arange(240) < 120
        folds = rng.integers(3, size=(5, 240))
        scores = (own + rng.standard_normal((5, 240))) * (1 + folds) + 5 * folds
        p = design.p_values(scores, others, ~others, folds, np.ones(240))
        below.append([(p <= level).mean() for level in (0.05, 0.2, 0.5)])
    np.testing.assert_allclose(np.mean(below, axis=0), [0.05, 0.2, 0.5], atol=0.015)


def test_of_few_people_in_question_no_share_is_said(tmp_path):
    c = bring(tmp_path, lambda p, n: design.FOLDERS[n % 3] if p < 9 else design.KNOWN[n % 2])
    planted(c, 3.0)
    assert np.isnan(c.share()).all()
    said = c.conclusion()
    assert said.startswith(
        "How many of 54 images in question were used is not said: they are of 9 people"
    )
    assert "Without class centres nothing shows whether the folders members and non_members" in said


@pytest.mark.parametrize("exchanged", [True, False])
def test_exchanged_folders_are_noticed_by_class_centres(c, exchanged):
    planted(c, 3.0)
    member = (c.files.images["database"] == "members").to_numpy()
    near = np.random.default_rng(0).random(len(member)) + 0.5 * (member ^ exchanged)
    c.__dict__["closeness"] = design.Closeness(near, near - 1, np.arange(len(near)))
    assert (case.NEARER in c.nothing) == exchanged
    assert ("members and non_members were exchanged" in c.conclusion()) == exchanged
    assert c.answers["named"].any() != exchanged


def test_within_one_person(c):
    """The area under the ROC curve within people, against all pairs counted one by one."""
    planted(c, 1.0)
    found = c.by_images()
    assert found["images a person"].tolist() == ["16 to 50"] and found["in question"].sum() == 360
    mean = c._scores[case.NETWORK][c.row].mean(axis=0)
    images, right, pairs = c.files.images, 0.0, 0
    for person in images["person"].unique():
        mine = (images["person"] == person).to_numpy()
        for a in mean[mine & c.inside("members")]:
            for b in mean[mine & c.inside("non_members")]:
                right, pairs = right + (a > b) + (a == b) / 2, pairs + 1
    assert found["auc_within"][0] == pytest.approx(right / pairs)


# ---- intervals ----------------------------------------------------------------------------------


def discriminant(x, y, unseen):
    """Return how likely a linear discriminant takes (m, d) rows for members, as 0 or 1."""
    first, second = x[y].mean(axis=0), x[~y].mean(axis=0)
    spread = np.cov(np.vstack([x[y] - first, x[~y] - second]).T) + 0.01 * np.eye(x.shape[1])
    return (unseen - (first + second) / 2) @ np.linalg.solve(spread, first - second) > 0


def test_intervals_hold_what_the_training_images_do_by_chance():
    """200 images that tell nothing: .50 lies in 95% of intervals, and in too few of a single deal."""
    rng, held = np.random.default_rng(0), {"dealt": 0, "alone": 0}
    person, labels = np.repeat(np.arange(50), 4), np.tile([True, True, False, False], 50)
    trials = 300
    for _ in range(trials):
        x, right = rng.standard_normal((200, 4)), np.empty((case.DEALS, 200))
        for deal in range(case.DEALS):
            folds = (rng.permutation(50) % 3)[person]
            for i in range(3):
                inside, out = folds != i, folds == i
                right[deal, out] = discriminant(x[inside], labels[inside], x[out]) == labels[out]
        cell = Decided(labels, right, person)
        for name, one in (
            ("dealt", case.dealt(cell)),
            ("alone", Decided(labels, right[:1], person)),
        ):
            found = interval([(1, one)], 200)
            held[name] += found.low <= 0.5 <= found.high
    assert 0.92 * trials < held["dealt"] < 0.985 * trials
    assert held["alone"] < 0.935 * trials


# ---- what real folders bring --------------------------------------------------------------------


def thirds(person, n):
    return design.FOLDERS[n % 3]


def test_a_name_is_one_person_in_either_form(tmp_path):
    c = bring(tmp_path, thirds, people=30, each=6, form="Zoë {}")
    for path in (tmp_path / "questioned").iterdir():
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))
    images = case.Case(study.open_study("quick", case=str(tmp_path), **SMALL)).files.images
    assert images["person"].nunique() == 30 == c.files.images["person"].nunique()


def test_stray_images_and_copies_in_one_folder_are_listed(tmp_path):
    c = bring(tmp_path, thirds, people=30, each=6)
    first = sorted((tmp_path / "members").rglob("*.png"))[0]
    pixels = np.array(Image.open(first))
    write(tmp_path / "members" / "contact.png", pixels)  # whose original stays
    write(tmp_path / "members" / "p07" / "again.png", pixels)
    c = case.Case(study.open_study("quick", case=str(tmp_path), **SMALL))
    left = c.files.left_out.set_index("key")
    assert set(left.index) == {"contact.png", "p07/again.png"}
    assert left["why"]["contact.png"].startswith("beside the people's folders")
    assert left["other_key"]["p07/again.png"] == first.relative_to(tmp_path / "members").as_posix()
    assert c.files.unknown == [] and len(c.files.images) == 180
    assert c.files.counts().set_index("folder").loc["members"].tolist() == [62, 62, 0, 1, 1, 30]


def test_files_that_lie_there_are_read_or_listed(tmp_path):
    c = bring(tmp_path, thirds, people=30, each=6)
    (tmp_path / "members" / "p03" / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "members" / "notes.txt").write_text("mine")
    c = case.Case(study.open_study("quick", case=str(tmp_path), **SMALL))
    counts = c.files.counts().set_index("folder")
    for name, line in counts.iterrows():
        there = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        assert line["files"] == len(there) == line["read"] + line["not read"]
    assert counts["not read"].tolist() == [2, 0, 0]
    left = c.files.left_out.set_index("key")["why"]
    assert left["notes.txt"] == "has a suffix that no image has (.txt)"
    assert "p03/broken.jpg" in left.index and len(c.files.images) == 180


def test_folds_are_even_and_small_cases_go_through(tmp_path):
    c = bring(tmp_path, lambda p, n: thirds(p, n) if n < 9 else None, people=22)
    for folds in c.design.folds:
        counts = pd.crosstab(folds, c.files.images["database"].to_numpy())
        assert counts.to_numpy().min() >= 21 and counts.to_numpy().max() <= 24
    planted(c, 3.0)
    assert len(c.cells) and c.conclusion()


def test_hidden_files_and_capitals_among_weights(brought, tmp_path):
    for name in casefiles.FOLDERS:
        (tmp_path / name).symlink_to(brought / name)
    weights(tmp_path)
    (tmp_path / "weights.pt").rename(tmp_path / "weights.PT")
    (tmp_path / "._weights.PT").write_bytes(b"\0\5\26\7")
    files = casefiles.CaseFiles(tmp_path, resolve("quick", **SMALL))
    told = files.told()
    n = sum("num_batches" not in name for name in files.built()[0].state_dict())
    assert f"ir_tiny at 16 px, {n} of its {n} tensors from the file, no class centres" in told
    assert "Input: BGR (as adaface weights take it), mean 0.5, std 0.5." in told


# ---- the input of the network -------------------------------------------------------------------


def test_colour_order_mean_and_std_are_as_given(brought):
    given = {"colour_order": "rgb", "mean": [0.4, 0.5, 0.6], "std": 0.25}
    files = casefiles.CaseFiles(brought, resolve("quick", **SMALL | given))
    network, _, order = files.loaded()
    assert order == "rgb" and "Input: RGB (given), mean 0.4, 0.5, 0.6, std 0.25." in files.told()
    plain = casefiles.CaseFiles(brought, resolve("quick", **SMALL)).loaded()[0]
    pixels = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    mean = torch.tensor([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1)
    with torch.no_grad():
        found = network.eval()(2 * pixels - 1)[0]
        expected = plain.eval()((pixels - mean) / 0.25)[0]
    torch.testing.assert_close(found, expected)
    for wrong in ({"colour_order": "bgra"}, {"std": 0.0}, {"mean": 127.5}, {"mean": [0.5, 0.5]}):
        with pytest.raises(ParameterError, match="must be"):
            resolve("quick", **wrong)


@pytest.mark.parametrize("with_centres", [True, False])
def test_the_other_colour_order_is_doubted_for_where_people_are_more_alike(
    c, monkeypatch, with_centres
):
    """Outcomes as of a network that takes RGB: read so, people are apart; read as BGR, nobody is."""
    rng, people = np.random.default_rng(0), 60
    centre = rng.standard_normal((people, 128)).astype(np.float32)
    units = torch.nn.functional.normalize(torch.from_numpy(centre), dim=1)
    if with_centres:
        c.files.__dict__["centres"] = units.T
    monkeypatch.setattr(casefiles, "named", lambda runs: with_centres)

    def outcomes(network, order, pixels, device):
        of = np.repeat(np.arange(people), 3)[: len(pixels)]
        noise = rng.standard_normal((len(pixels), 128)).astype(np.float32)
        found = noise + (2 * centre[of] if order == "rgb" else 0)
        return found / np.linalg.norm(found, axis=1, keepdims=True), None

    monkeypatch.setattr(casefiles.aad, "outcomes", outcomes)
    assert "give colour_order rgb" in casefiles.doubt(c.files)
    c.files.brought = dataclasses.replace(c.files.brought, colour_order="rgb")
    assert casefiles.doubt(c.files) == ""


@pytest.mark.parametrize(
    "network, error, told",
    [
        ("resnet50", DataError, "does not fit the network.*They look like ir_tiny"),
        ("ir_51", ParameterError, "'ir_51'.*ir_101.*torch.export or ONNX"),
    ],
)
def test_a_network_that_does_not_fit_or_is_not_known(brought, network, error, told):
    with pytest.raises(error, match=told) as found:
        casefiles.CaseFiles(brought, resolve("quick", **SMALL | {"network": network}))
    assert "\n" not in str(found.value)


def other_network():
    return Small()


def one_number():
    return Small(last=1)


@pytest.fixture
def without_weights(brought, tmp_path):
    for name in casefiles.FOLDERS:
        (tmp_path / name).symlink_to(brought / name)
    return tmp_path


def test_a_network_of_another_kind_is_read_at_its_layers_and_its_head_is_named(without_weights):
    net = str(exported(without_weights / "net.pt2"))
    centres = torch.randn(9, 6)
    torch.save({"logits.weight": centres}, without_weights / "head.bin")
    given = {"network": net, "head": str(without_weights / "head.bin"), "mean": (0.4,)}
    config = resolve("quick", case=str(without_weights), **SMALL | {"image_size": 40} | given)
    files = casefiles.CaseFiles(without_weights, config)
    assert files.image_size == 16  # which the file says
    assert "RGB, mean 0.4, standard deviation 0.5" in files.told() and "9 class" in files.told()
    assert files.layers()["side"].tolist() == [16, 8, 4]
    of = casefiles.read(files, casefiles.NETWORK)
    layers = [f"Conv Layer #{i}" for i in (1, 2, 3)]
    assert [*layers, "Model Outcome", "All Conv Layers", readings.CENTRES] == list(of.rows)
    images, rows = files.runs[0]
    pixels = torch.from_numpy(images.images[rows]).permute(0, 3, 1, 2) / 255
    outcome, maps = by_hooks(Small(), (pixels - 0.4) / 0.5)
    expected = outcome / outcome.norm(dim=1, keepdim=True)
    got = of.array[: len(rows)]
    np.testing.assert_allclose(got[:, of.rows["Model Outcome"]], expected, atol=1e-5)
    np.testing.assert_allclose(got[:, of.rows[layers[1]]], maps[1].amax((2, 3)), atol=1e-5)
    cosines = expected @ torch.nn.functional.normalize(centres, dim=1).T
    second = got[:, of.rows[readings.CENTRES]][:, 2]
    np.testing.assert_allclose(second, cosines.topk(2, dim=1)[0][:, 1], atol=1e-5)
    untrained = casefiles.read(files, casefiles.UNTRAINED)
    assert np.isfinite(untrained.array).all() and not np.allclose(untrained.array, of.array)


def test_a_head_of_another_width_and_layers_that_are_not_there(without_weights):
    torch.save({"logits.weight": torch.randn(9, 5)}, without_weights / "head.bin")
    network = {"network": "tests.study.test_case:other_network"}
    for given, error, told in (
        ({"head": str(without_weights / "head.bin")}, DataError, r"shape \(9, 5\).*has 6 numbers"),
        ({"layers": ("nowhere",)}, ParameterError, "no layer nowhere"),
        (
            {"network": "tests.study.test_case:one_number"},
            ParameterError,
            "not one vector an image",
        ),
    ):
        config = resolve("quick", case=str(without_weights), **SMALL | network | given)
        with pytest.raises(error, match=told):
            casefiles.CaseFiles(without_weights, config)


def test_what_is_kept_changes_with_the_network_and_its_layers(without_weights):
    def digest(**given):
        config = resolve("quick", case=str(without_weights), **SMALL | given)
        return casefiles.CaseFiles(without_weights, config).digest

    network = "tests.study.test_case:other_network"
    assert digest(network=network) == digest(network=network)
    assert digest(network=network) != digest(network="tests.audited.test_networks:Pair")
