"""An own audit of persons, on outcomes made for it: who was shown is named, and nobody else."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from benchmarks import coverage
from mint_utils import study
from mint_utils.config import resolve
from mint_utils.errors import DataError, ParameterError
from mint_utils.measure.bootstrap import interval
from mint_utils.study import case, casecommon, casefiles, casepeople, checks, scenarios
from mint_utils.study.audit import Features
from mint_utils.study.casefiles import NETWORK, UNTRAINED
from mint_utils.study.design import FOLDERS, QUESTIONED
from tests.factory import database
from tests.study.test_case import SMALL, weights, write

pytestmark = pytest.mark.usefixtures("artifacts")
WIDTH, CLASSES, BROAD = 48, 400, 24


class World:
    """A network that draws photographs of D's people to their centres, and who brings what.

    A photograph lies at its person's place, mixed with a centre where the person was shown; what can be seen
    without the network (`BROAD` numbers) is drawn for the person and the photograph alone.
    """

    def __init__(self, seed=0, head=True):
        self.rng, self.head = np.random.default_rng(seed), head
        self.centres = self.rng.standard_normal((CLASSES, WIDTH))
        self.lines, self.units, self.seen = [], [], []

    def bring(self, folder, people, photographs=6, shown=0.0, shift=0.0, spread=1.0, look=0.0):
        """Add people: ``shown`` draws to a centre, ``shift`` changes what is seen, ``look`` does both."""
        start = len({person for _, person, _ in self.lines})
        for i in range(start, start + people):
            own, centre = self.rng.standard_normal(WIDTH), self.centres[i % CLASSES]
            face = self.rng.standard_normal(BROAD)
            for j in range(photographs):
                noise = spread * self.rng.standard_normal(WIDTH)
                self.units.append(0.5 * own + noise + (shown + look) * centre)
                self.seen.append(face + shift + spread * self.rng.standard_normal(BROAD))
                self.lines.append((folder, f"p{i:04d}", f"p{i:04d}/{j}.png"))
        return self

    def asked(self, monkeypatch):
        """Return the audit of what was brought."""
        images = pd.DataFrame(self.lines, columns=["database", "person", "key"])
        units = np.array(self.units, np.float32)
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        random = self.rng.standard_normal(units.shape).astype(np.float32)
        found = {NETWORK: units, UNTRAINED: random / np.linalg.norm(random, axis=1, keepdims=True)}
        outcome, rows = slice(0, WIDTH), {"seen": slice(0, BROAD)}
        seen = Features(np.array(self.seen, np.float32), rows, "seen")
        monkeypatch.setattr(
            casepeople,
            "read",
            lambda _, name: Features(found[name], {"Model Outcome": outcome}, ""),
        )
        monkeypatch.setattr(casepeople, "blind_features", lambda runs: seen)
        monkeypatch.setattr(casepeople, "doubt", lambda files: "")
        centres = torch.from_numpy(self.centres.T.astype(np.float32)) if self.head else None
        left = pd.DataFrame(columns=["folder", "key", "why", "also_in", "other_key"], dtype=str)
        files = SimpleNamespace(
            images=images,
            centres=centres,
            seed=0,
            unknown=[],
            left_out=left,
            databases={},
            runs=[],
            folder="CASE",
        )
        monkeypatch.setattr(casecommon, "CaseFiles", lambda *_: files)
        return casepeople.PeopleCase(study.open_study("quick", case="CASE", replicates=300))


def known(world, shown=0.7, **out):
    return world.bring("members", 60, shown=shown).bring("non_members", 200, **out)


@pytest.mark.parametrize("head", [True, False])
def test_who_was_shown_is_named_and_how_many_is_told(monkeypatch, head):
    world = known(World(head=head), 0.9)
    world.bring(QUESTIONED, 30, shown=0.9).bring(QUESTIONED, 30)
    c = world.asked(monkeypatch)
    assert c.row == ("largest cosine" if head else "similarity") and c.nothing == []
    true = c.answers["person"] < "p0290"
    named = c.answers["named"]
    assert named.sum() > 15 and true[named].mean() > 0.85
    share = c.share()
    assert share.low < 0.5 < share.high and share.high - share.low < 0.5
    said = c.conclusion()
    assert said.startswith(f"Of 60 people in question {share.value:.0%} [")
    assert "at most 5% are expected to be named wrongly (an expectation, no bound" in said
    assert "It would be wrong if known people out were in D after all" in said
    sound = checks.people_sound(c)
    assert sound == dict.fromkeys(sound, True)


def test_one_person_in_question(monkeypatch):
    """Named if shown; and of 300 who were not, as many as p says."""
    c = known(World(), 1.5).bring(QUESTIONED, 1, shown=1.5).asked(monkeypatch)
    said = c.conclusion()
    assert c.answers["named"].tolist() == [True]
    assert said.startswith(
        "**p0260 can be named** as shown to this network. 6 photographs of p0260 were"
    )
    assert "p = 0.005, for of 200 known people out 0 stand out as much" in said
    assert casepeople.ALIKE not in set(c.verdicts["question"]) and "Of 1 people" not in said
    c = known(World(1), 1.5).bring(QUESTIONED, 300).asked(monkeypatch)
    alone = (c.answers["p"] <= 0.05) & (c.answers["unlike"] >= casepeople.ODD)
    assert 0.01 < alone.mean() < 0.08
    assert 0.05 < (c.answers["unlike"] < casepeople.ODD).mean() < 0.15
    c = known(World(2), 1.5).bring(QUESTIONED, 1).asked(monkeypatch)
    assert c.conclusion().startswith("**p0260 cannot be named.**") and not c.answers["named"].any()


def test_of_a_few_people_no_share_is_said(monkeypatch):
    """Of 8 who were not shown, one in five is called by chance, and an estimate can be 100%."""
    c = known(World(), 1.5).bring(QUESTIONED, 8).asked(monkeypatch)
    assert np.isnan(c.share()).all()
    assert c.conclusion().startswith("How many of 8 people in question were shown is not said")


def test_whether_people_look_alike_is_asked_as_soon_as_a_share_is_said(monkeypatch):
    """Ten are judged, of whom six have as many photographs as most: still their likeness is tested."""
    world = (
        known(World(), 1.5).bring(QUESTIONED, 6, photographs=6).bring(QUESTIONED, 4, photographs=2)
    )
    c = world.asked(monkeypatch)
    assert casepeople.ALIKE in set(c.verdicts["question"]) and not np.isnan(c.share().low)


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (0.05, -0.02, 0.2, "supported"),
        (0.05, 0.01, 0.1, "contradicted"),
        (0.12, -0.1, 0.3, "undecided"),
    ],
)
def test_two_sets_are_alike_if_nothing_shows_and_little_can(value, low, high, verdict):
    assert casecommon.alike("?", value, low, high)["verdict"] == verdict


def test_a_network_that_knows_nobody_says_nothing(monkeypatch):
    c = known(World(), 0.0).bring(QUESTIONED, 20).asked(monkeypatch)
    assert casepeople.TOLD in c.nothing and not c.answers["named"].any()
    assert c.conclusion().startswith("**Nothing can be said of the people in question.**")


@pytest.mark.parametrize("people", [1, 40])
def test_people_of_another_database_are_not_named(monkeypatch, people):
    """Nobody was shown; they look otherwise, and lie nearer to class centres for it."""
    world = known(World(), 1.5).bring(QUESTIONED, people, look=1.5, shift=1.5)
    c = world.asked(monkeypatch)
    assert (c.answers["p"] <= 0.05).mean() > 0.9  # whom the number alone would accuse
    assert not c.answers["named"].any()
    assert "more unusual, without any network" in c.conclusion() or casepeople.ALIKE in c.nothing


def test_known_people_who_are_photographed_otherwise_name_nobody(monkeypatch):
    """Known people out are of another database than D; in question is one of D's database, not shown."""
    world = World().bring("members", 60, shown=1.5, look=0.5, shift=0.4).bring("non_members", 200)
    c = world.bring(QUESTIONED, 1, look=1.0, shift=0.4).asked(monkeypatch)
    assert c.answers["p"][0] <= 0.05 and c.answers["unlike"][0] >= casepeople.ODD
    assert c.nothing == [casepeople.MATCHED] and not c.answers["named"].any()


def test_near_copies_of_one_photograph_are_not_named(monkeypatch):
    """Without a head photographs that are alike are what is read: copies would accuse anybody."""
    world = known(World(head=False), 0.9).bring(QUESTIONED, 30, spread=0.1)
    c = world.asked(monkeypatch)
    assert (c.answers["p"] <= 0.05).mean() > 0.9 and not c.answers["named"].any()


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("theirs, of_known", [(2, 6), (12, 3), (6, 2)])
def test_another_number_of_photographs_accuses_nobody(monkeypatch, head, theirs, of_known):
    world = known(World(head=head), 1.2, photographs=of_known)
    c = world.bring(QUESTIONED, 200, photographs=theirs).asked(monkeypatch)
    p = c.answers["p"]
    assert ((p <= 0.05) & (c.answers["unlike"] >= casepeople.ODD)).mean() < 0.09
    assert (c.answers["photographs"] == min(theirs, of_known)).all()
    assert c.answers["named"].sum() <= 1


def test_p_and_the_share_count_by_as_many_photographs(monkeypatch):
    """p against a count by hand, where people in question have two, four and nine photographs."""
    world = known(World(), 0.8)
    for n in (1, 2, 4, 9):
        world.bring(QUESTIONED, 5, photographs=n, shown=0.8)
    c = world.asked(monkeypatch)
    assert sorted(c.answers["photographs"].unique()) == [1, 2, 4, 6]
    centres = world.centres / np.linalg.norm(world.centres, axis=1, keepdims=True)
    units = np.array(world.units) / np.linalg.norm(world.units, axis=1, keepdims=True)
    of = c.people.set_index("person")

    def largest(person, k):
        return (units[of["places"][person][:k]].mean(axis=0) @ centres.T).max()

    for line in c.answers.itertuples():
        own = largest(line.person, line.photographs)
        out = [largest(one, line.photographs) for one in of.index[of["folder"] == "non_members"]]
        assert line.score == pytest.approx(own, abs=1e-5)
        assert line.p == pytest.approx((1 + np.sum(np.array(out) >= own)) / 201)


def test_the_area_and_its_interval():
    """The area against scikit-learn; its standard error against DeLong's, as repeated draws have it."""
    rng, labels = np.random.default_rng(0), np.arange(150) < 50
    ends, areas = [], []
    for _ in range(200):
        scores = rng.standard_normal(150) + labels
        found = interval([(1, casepeople.placed(labels, scores))], 300)
        assert found.value == pytest.approx(roc_auc_score(labels, scores))
        areas.append(found.value)
        ends.append(found.high - found.low)
    assert np.mean(ends) / 3.92 == pytest.approx(np.std(areas), rel=0.15)


def test_how_unusual_a_person_looks_is_a_p_value():
    """Uniform where the person is one of them, by as many numbers as people or more; small where not."""
    rng = np.random.default_rng(0)
    p = [casepeople.oddity(*np.split(rng.standard_normal((41, 60)), [40])) for _ in range(400)]
    np.testing.assert_allclose(np.quantile(p, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.07)
    shifted = [
        casepeople.oddity(rng.standard_normal((40, 60)), 1 + rng.standard_normal(60))
        for _ in range(50)
    ]
    assert np.mean(np.array(shifted) < casepeople.ODD) > 0.9


# ---- from files ---------------------------------------------------------------------------------


def brought(folder, where, people=48, each=4):
    db = database("d", people, each)
    weights(folder, torch.randn(128, 30, generator=torch.Generator().manual_seed(0)))
    for i, (person, image) in enumerate(zip(db.identities.tolist(), db.images, strict=True)):
        if name := where(person, i % each):
            write(folder / name / f"p{person:02d}" / f"{i:04d}.png", image)
    return lambda: case.opened(
        study.open_study("quick", case=str(folder), question="persons", **SMALL)
    )


def persons(person, n):
    return FOLDERS[0 if person < 20 else 1 if person < 42 else 2]


def test_from_the_files_to_the_sentence(tmp_path):
    """The network was trained on nothing: nothing is said. Who has no photograph left is named, with why."""
    opened = brought(tmp_path, persons)
    (tmp_path / QUESTIONED / "p99").mkdir()
    (tmp_path / QUESTIONED / "p99" / "x.png").write_bytes(b"no image")
    photograph = next((tmp_path / "members" / "p03").iterdir())
    write(tmp_path / QUESTIONED / "p98" / "y.png", np.asarray(Image.open(photograph)))
    other = next((tmp_path / QUESTIONED / "p45").iterdir())  # a copy of another person in question
    write(tmp_path / QUESTIONED / "p97" / "z.png", np.asarray(Image.open(other)))
    (tmp_path / QUESTIONED / ".p96").mkdir()
    (tmp_path / QUESTIONED / ".p96" / "x.png").write_bytes(b"no image")
    c = opened()
    assert c.conclusion().startswith("**Nothing can be said of the people in question.**")
    assert "all are copies of images in questioned, such as p45/" in c.conclusion()
    assert "p96" not in c.conclusion()
    assert "Of p99 no photograph takes part: none can be read." in c.conclusion()
    said = "Of p98 no photograph takes part: all are copies of images in members, such as p03/"
    assert f"{said}{photograph.name}." in c.conclusion()
    counts = c.files.counts().set_index("folder").loc[QUESTIONED]
    assert counts[["files", "read", "not read", "copies", "people"]].tolist() == [28, 26, 2, 2, 6]
    assert len(c.answers) == 6 and c.answers["p"].between(0, 1).all()


@pytest.mark.parametrize(
    "where, error, says",
    [
        (
            lambda p, n: FOLDERS[n % 3],
            DataError,
            "'p00' lies in members, non_members, questioned. .* question im",
        ),
        (
            lambda p, n: FOLDERS[p % 3] if p < 45 else None,
            ParameterError,
            "15 people in non_members have 1",
        ),
        (
            lambda p, n: FOLDERS[0 if p < 8 else 1 + p % 2],
            ParameterError,
            "8 people in members have 1 ",
        ),
    ],
)
def test_what_is_wrong_with_people_is_said(tmp_path, where, error, says):
    opened = brought(tmp_path, where)
    with pytest.raises(error, match=says) as found:
        opened().conclusion()
    assert "\n" not in str(found.value)


def test_a_person_in_two_folders_is_refused_although_the_photographs_are_copies(tmp_path):
    opened = brought(tmp_path, persons)
    for photograph in (tmp_path / "members" / "p03").iterdir():
        pixels = np.asarray(Image.open(photograph))
        write(tmp_path / QUESTIONED / "p03" / photograph.name, pixels)
    with pytest.raises(DataError, match="'p03' lies in members, questioned"):
        opened()


def test_an_image_of_which_the_network_computes_nothing_finite_is_refused(tmp_path, monkeypatch):
    """Not a number would count as more unusual than everybody."""
    c = brought(tmp_path, persons)()

    def extract(network, order, pieces, path, device):
        array = np.zeros((sum(len(index) for _, index in pieces), 368), np.float32)
        array[5, 7] = np.nan
        np.save(path, array)

    monkeypatch.setattr(casefiles.aad, "extract", extract)
    image = c.files.images.iloc[5]
    with pytest.raises(DataError, match=f"{image['key']}: its activations are not finite"):
        c.answers  # noqa: B018


def test_people_must_be_known(tmp_path):
    opened = brought(tmp_path, persons)
    for path in (tmp_path / QUESTIONED).rglob("*.png"):
        path.rename(tmp_path / QUESTIONED / path.name)
    with pytest.raises(DataError, match=r"people are not known in questioned.*into a sub-folder"):
        opened()


def test_the_question_is_a_parameter():
    with pytest.raises(ParameterError, match="question must be one of images, persons"):
        resolve("quick", question="people")
    config = resolve("quick", question="persons")
    assert scenarios.of_notebooks(config, ["08_audit_your_model"]) == ["people"]
    own = resolve("quick", question="persons", case="there")
    assert scenarios.of_notebooks(own, ["08_audit_your_model"]) == []


@pytest.mark.parametrize(("known", "asked", "share"), [(20, 10, 0.3), (50, 30, 0.7), (20, 30, 0.0)])
def test_intervals_of_how_many_were_shown_hold_it_and_few_are_named_wrongly(known, asked, share):
    """Of 60 intervals that hold the truth 95 times in 100, more than 7 miss it in one case of 100."""
    rng = np.random.default_rng(0)
    cases = [coverage.of_persons(rng, known, asked, 3.0, share) for _ in range(60)]
    truth = round(share * asked) / asked
    assert sum(found.low <= truth <= found.high for found, _, _ in cases) >= 53
    assert np.mean([wrong / max(named, 1) for _, named, wrong in cases]) <= 0.1
