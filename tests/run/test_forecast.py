"""The plan of the paper's own study, from manifests alone, and what is refused before it starts."""

import pytest
import torch
import yaml

from mint_utils import paths, reproduce, study
from mint_utils.data import manifest
from mint_utils.run import cost, forecast

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
def a_large_machine(monkeypatch):
    monkeypatch.setattr(cost, "available", lambda _: cost.Resources(10**13, 10**11, 10**12))


def test_the_papers_study_from_its_manifests(paper, a_large_machine, capsys):
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
    monkeypatch.setattr(cost, "available", lambda _: cost.Resources(10**9, 10**11, 10**12))
    assert run(*PAPER) == 2
    told = capsys.readouterr()
    assert "disk space and 1.0 GB are there" in told.err and told.err.count("\n") == 1
    assert "Baseline, seed 0" in told.out  # the plan is printed all the same


def test_a_real_run_is_refused_before_anything_starts(monkeypatch, capsys):
    monkeypatch.setattr(cost, "available", lambda _: cost.Resources(10**13, 0, 10**6))
    assert run("--only", "01") == 2
    assert "main memory" in capsys.readouterr().err
    assert not paths.artifacts().exists()


def test_a_real_run_without_its_databases_is_refused(paper, a_large_machine, tmp_path, capsys):
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


def test_numbers_are_exact_where_d_is_at_hand_and_stored_models_cost_nothing():
    s = study.open_study("quick", image_size=16, epochs=1, scale=0.1, mint_samples=40)
    before = forecast.forecast(s, ["baseline"], 1)
    assert not before.exact and before.models[0].exposures == 300
    s.roles()
    at_hand = forecast.forecast(s, ["baseline"], 1)
    assert at_hand.exact and at_hand.models[0].total == s.exposures(s.config.audited)
    assert at_hand.needed.disk < before.needed.disk
    s.model(s.config.audited)
    stored = forecast.forecast(s, ["baseline"], 1)
    assert stored.models[0].stored and stored.needed.disk == 0


def test_a_gpu_holds_the_models_and_a_cpu_all_of_them_side_by_side(monkeypatch):
    s = study.open_study("quick", image_size=16, epochs=1)
    one, two = (forecast.forecast(s, ["dropout"], jobs).needed for jobs in (1, 2))
    assert one.gpu == two.gpu == 0 and two.memory > 1.5 * one.memory and two.disk > one.disk
    monkeypatch.setattr(forecast.train, "default_device", lambda: torch.device("cuda"))
    on_gpu = forecast.forecast(s, ["dropout"], 1).needed
    assert on_gpu.gpu > 0 and on_gpu.memory < one.memory + cost.PROCESS
