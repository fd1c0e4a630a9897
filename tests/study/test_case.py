"""An audit of one's own, on folders and features made for it: what is planted is found, and nothing else."""

import dataclasses
import types

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image

from mint_utils import study
from mint_utils.config import resolve
from mint_utils.errors import DataError, ParameterError
from mint_utils.mint import blind, readings
from mint_utils.run import notebooks
from mint_utils.study import case, casefiles, checks, scenarios
from mint_utils.study.audit import Features
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


@pytest.fixture(scope="module", autouse=True)
def artifacts(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINT_ARTIFACTS", str(tmp_path_factory.mktemp("artifacts")))
        yield


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


def planted(c, of_network, of_image=0.0, shift=0.0):
    """Put features in the place of what is read: signals of membership, and of the folder in question.

    Every second image in question is a member.
    """
    images, rng = c.files.images, np.random.default_rng(0)
    member = (images["database"] == "members").to_numpy()
    asked = (images["database"] == case.QUESTIONED).to_numpy()
    truth = member | (asked & (np.cumsum(asked) % 2 == 0))

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
    assert counts["images"].to_dict() == {"members": 360, "non_members": 360, "questioned": 361}
    assert counts["left out as copies"].to_dict() == {
        "members": 0,
        "non_members": 0,
        "questioned": 1,
    }
    assert (counts["people"] == PEOPLE).all()
    (copy,) = c.files.copies.itertuples()
    assert (copy.folder, copy.key, copy.also_in) == ("questioned", "p00/again.png", "members")
    assert copy.other_key == "p00/0000.png" and copy.distance == 0
    assert "p00/again.png" not in set(c.files.images["key"])
    assert c.row == "All Conv Layers"  # the file holds no class centres


def test_nobody_is_judged_by_a_model_that_saw_the_person(c):
    splits = c._splits(c._known, c._members).splits.values()
    person, folder = c.files.images["person"].to_numpy(), c.files.images["database"].to_numpy()
    evaluated = np.concatenate([split.evaluation for split in splits])
    assert sorted(evaluated) == list(range(len(c.files.images)))  # each once
    for split in splits:
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
    assert c.verdicts["verdict"].tolist()[:3] == ["supported"] * 3
    assert c.verdicts["verdict"][3] != "contradicted"
    share, answers = c.share(), c.answers
    assert share.low < 0.5 < share.high and share.high - share.low < 0.3
    named = truth[answers["key"][answers["named"]]]
    assert len(named) > 30 and named.mean() > 0.85
    assert checks.case_sound(c) == dict.fromkeys(checks.case_sound(c), True)
    assert c.conclusion().startswith(f"Of {len(truth)} images in question {share.value:.0%}")


def test_without_a_signal_nothing_is_said(c):
    truth = planted(c, of_network=0.0)
    assert c.verdicts["verdict"][0] != "supported" and np.isnan(c.share().value)
    assert c.conclusion().startswith("**Nothing can be said")
    assert c.answers["named"].sum() <= 1
    p = c.answers.set_index("key")["p"][truth.index]
    assert abs(p.mean() - 0.5) < 0.06 and (p <= 0.1).mean() < 0.2  # as those of non-members are


def test_what_the_images_alone_tell_is_no_membership(c):
    planted(c, of_network=2.0, of_image=2.0)
    verdicts = c.verdicts.set_index("question")["verdict"]
    assert verdicts["known members are told from known non-members"] == "supported"
    assert verdicts["better than without any network"] != "supported"
    assert "better than without any network" in c.conclusion()


def test_images_from_elsewhere_are_told(c):
    planted(c, of_network=3.0, shift=3.0)
    assert c.verdicts["verdict"].tolist() == [*["supported"] * 3, "contradicted"]
    assert "**But this holds only if" in c.conclusion()


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
    c, d = case.Case(s), s.training
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
        (lambda f: f.rename(f.with_name("gone")), DataError, "There is no folder"),
        (lambda f: (f / "weights.pt").unlink(), DataError, "holds 0 files of weights"),
        (lambda f: (f / "b.pth").write_bytes(b""), DataError, "holds 2 files of weights"),
        (lambda f: (f / "questioned").rename(f / "asked"), DataError, "no folder .*questioned"),
        (
            lambda f: write(f / "members" / "p1" / "a.png", np.zeros((16, 20, 3), np.uint8)),
            DataError,
            "20x16 pixels, and no aligned crop",
        ),
        (lambda f: None, ParameterError, "too few images, or too few people"),
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
    assert not own.is_reference and dataclasses.asdict(own.brought) == {"case": str(tmp_path)}
    weights(tmp_path)
    for name in casefiles.FOLDERS:
        write(tmp_path / name / "a.png", np.zeros((16, 16, 3), np.uint8))
    before = notebooks.state(own, "08_audit_your_model")
    assert notebooks.state(own, "08_audit_your_model") == before
    write(tmp_path / "members" / "a.png", np.ones((16, 16, 3), np.uint8))
    assert notebooks.state(own, "08_audit_your_model") != before


def test_p_counts_the_known_non_members_of_the_same_fold_alone():
    """Fold 0: two non-members of .2 and .6; fold 1: one of .9. By hand, ties count as so high."""
    lines = [
        ("non_members", 0, 0.2),
        ("non_members", 0, 0.6),
        ("non_members", 1, 0.9),
        ("members", 0, 0.99),
        ("questioned", 0, 0.7),
        ("questioned", 0, 0.6),
        ("questioned", 1, 0.7),
        ("questioned", 1, 0.95),
    ]
    images = pd.DataFrame(lines, columns=["database", "fold", "score"])
    images["key"] = [str(i) for i in range(len(images))]
    made = case.Case.__new__(case.Case)
    made.files = types.SimpleNamespace(images=images.drop(columns="score"), centres=None)
    scores = images["score"].to_numpy()
    vars(made)["_scores"] = {case.NETWORK: {"All Conv Layers": np.stack([scores, scores])}}
    found = made.answers.set_index("key")["p"]
    assert found.to_dict() == pytest.approx({"4": 1 / 3, "5": 2 / 3, "6": 1.0, "7": 0.5})
