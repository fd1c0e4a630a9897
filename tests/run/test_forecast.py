"""The plan of the paper's own study, from manifests alone, and what is refused before it starts."""

import pytest
import yaml

from mint_utils import paths, reproduce, study
from mint_utils.audited.exposure import plan
from mint_utils.config import Audited
from mint_utils.data import manifest
from mint_utils.run import forecast
from tests.factory import database, recipe

COUNTS = {
    "ms1mv3": 5_179_510,
    "ijb_c": 138_836,
    "gandiffface": 100_000,
    "fddb": 5_171,
    "adience": 19_370,
}
PAIRS = ("lfw_bin", "cfp_fp", "cplfw", "agedb_30")


@pytest.fixture
def paper(tmp_path, monkeypatch):
    """Manifests of the paper's databases; the files themselves are nowhere."""
    faces, pairs = (manifest.read_manifest(name) for name in ("lfw", "lfw_disjoint"))
    monkeypatch.setattr(paths, "MANIFESTS", tmp_path / "manifests")
    paths.MANIFESTS.mkdir()
    for name, images in COUNTS.items():
        write(faces | {"name": name, "images": images, "identities": 93_431})
    for name in PAIRS:
        write(pairs | {"name": name})


def write(told: dict) -> None:
    (paths.MANIFESTS / f"{told['name']}.yaml").write_text(yaml.safe_dump(told))


def run(*arguments) -> int:
    return reproduce.main(list(arguments))


PAPER = ("--profile", "paper", "--only", "01", "--only", "02", "--dry-run", "--rate", "2400")


@pytest.fixture
def a_large_disk(monkeypatch):
    monkeypatch.setattr(forecast, "free_bytes", lambda: 10**13)


def test_the_papers_study_from_its_manifests(paper, a_large_disk, capsys):
    assert run(*PAPER) == 0
    told = capsys.readouterr().out
    assert "ms1mv3: 5,179,510 images of 93,431 identities, read from its .rec, to be prep" in told
    assert "ms1mv3 is not prepared yet: expected numbers" in told
    # 95% of them, 26 times; 15.25 times as many where quarters are shown 1, 10, 20 and 30 times.
    assert (
        "Baseline, seed 0: ir_50, 499,746 steps, 127,933,884 exposures: about 14 h 48 min" in told
    )
    assert "Augmented frequency, seed 0: ir_50, 7,621,068 steps, 1,950,99" in told
    assert not paths.artifacts().exists() and not paths.figures().exists()


def test_it_is_refused_where_it_cannot_fit(paper, monkeypatch, capsys):
    monkeypatch.setattr(forecast, "free_bytes", lambda: 10**9)
    assert run(*PAPER) == 2
    told = capsys.readouterr()
    assert "disk space or more, and 1.0 GB are free: make room" in told.err
    assert told.err.count("\n") == 1
    assert "Baseline, seed 0" in told.out  # the plan is printed all the same


def test_a_real_run_is_refused_before_anything_starts(monkeypatch, capsys):
    monkeypatch.setattr(forecast, "free_bytes", lambda: 10**5)
    assert run("--only", "01") == 2
    assert "disk space or more" in capsys.readouterr().err
    assert not paths.artifacts().exists()


def test_a_real_run_without_its_databases_is_refused(paper, a_large_disk, tmp_path, capsys):
    assert run("--profile", "paper", "--only", "01") == 2
    assert "'ms1mv3' needs" in capsys.readouterr().err
    assert run("--profile", "paper", "--only", "01", "--data", str(tmp_path)) == 2
    assert "there is no" in capsys.readouterr().err
    assert not paths.artifacts().exists()


def test_a_manifest_without_counts_of_d_is_told(paper, capsys):
    told = manifest.read_manifest("ms1mv3")
    del told["identities"]
    write(told)
    assert run(*PAPER) == 2
    assert "ms1mv3.yaml does not tell" in capsys.readouterr().err


def test_numbers_are_exact_where_d_is_at_hand_and_stored_models_take_nothing():
    s = study.open_study("quick", image_size=16, epochs=1, scale=0.1, mint_samples=40)
    before = forecast.forecast(s, ["baseline"])
    ((_, _, expected, stored),) = before.models
    assert "expected numbers" in before.databases[-1] and expected == 300 and not stored
    s.images.roles()
    at_hand = forecast.forecast(s, ["baseline"])
    ((_, _, exact, _),) = at_hand.models
    assert exact == s.images.exposures(s.config.audited) != expected
    assert "expected numbers" not in at_hand.databases[-1]
    assert at_hand.disk < before.disk
    s.audit.model(s.config.audited)
    ended = forecast.forecast(s, ["baseline"])
    assert ended.models[0][3] and ended.disk == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 4_920_534),  # 95% of MS1MV3
        ({"repeats": (1, 10, 20, 30)}, 75_038_151),  # 61 / 4 times as many
        ({"shown": "held_out"}, 258_976),
        ({"shown": "shadow-1"}, 2_589_755),
    ],
)
def test_exposures_of_ms1mv3_by_hand(changes, expected):
    found = forecast.expected_exposures(Audited(**changes), 5_179_510, 0.05)
    assert abs(found - expected) <= 1


@pytest.mark.parametrize("shown", ["members", "held_out", "shadow-0", "people-b"])
def test_expected_exposures_are_those_of_plans(shown):
    d, r = database(identities=3000, each=4), recipe(shown=shown, repeats=(1, 3))
    planned = plan(r, d, 0.3, 0)
    expected = forecast.expected_exposures(r, len(d), 0.3)
    assert abs(planned.images.sum() - expected) < 0.05 * expected


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (3600, "1 h 0 min"), (5e6, "1,388 h 53 min")],
)
def test_times_in_words(seconds, told):
    assert forecast.duration(seconds) == told
