import json
import shlex
import subprocess
import sys

import pytest

from mint_utils import paths, reproduce
from mint_utils.run import notebooks
from mint_utils.study import audit
from mint_utils.study.scenarios import NOTEBOOKS


def run(*arguments) -> int:
    return reproduce.main(list(arguments))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-p", "profil", "faces"], "Did you mean 'profile'"),
        (["-p", "lr", "fast"], "lr must be a number"),
        (["-p", "profile", "faces"], "profile is given as --profile faces, not by -p"),
        (["-p", "data", "/nowhere"], "data is given as --data /nowhere, not by -p"),
        (["-p", "seed", ""], "seed needs a value"),
        (["-p", "network", ""], "network needs a value"),
        (["-p", "epochs", "[1"], "epochs cannot be read as YAML"),
        (["-p", "epochs", "2024-05-01"], "epochs must be a whole number"),
        (["-p", "epochs", "2.5"], "epochs must be a whole number"),
        (["-p", "repeats", "[1, 2]"], "there is no parameter 'repeats'"),
        (["--only", "01", "-p", "losses", "[adaface]"], "but 05_loss_function has: say --only 05."),
        (["-p", "batch_sizes", "[8]"], "but 03_reduced_batch_size has: say --only 03."),
        (["--only", "3", "-p", "batch_sizes", "16,128"], "is a list: write [16,128]"),
        (["-p", "epochs", "1", "-p", "epochs", "2"], "-p epochs is given twice"),
        (["--only", "05", "-p", "losses", "[softmax]"], "losses must be one of"),
        (["--profile", "quik"], "Did you mean 'quick'"),
        (["--dry-run", "--rate", "0"], "--rate must be above 0"),
        (["--only", "99"], "there is no notebook '99'"),
        (["--within", "45s"], "shorter than the time between two checkpoints: give 60s"),
        (["--jobs", "0"], "--jobs must be at least 1"),
        (["--within", "soon"], "a time as 90s, 9m or 2h"),
        (["--profile", "faces"], "--data DIR"),
        (["--profile", "faces", "--data", "/nowhere"], "there is no folder /nowhere"),
        (["--profile", "faces", "--data", "/nowhere", "--dry-run"], "there is no folder /nowhere"),
    ],
)
def test_wrong_input_is_one_clear_error_before_anything_starts(arguments, says, capsys):
    assert run(*arguments) == 2
    told = capsys.readouterr().err
    assert says in told and "Traceback" not in told and told.count("\n") == 1
    assert not paths.figures().exists() and not paths.reports().exists()


def test_a_run_says_what_was_changed(capsys):
    assert run("--only", "1", "--dry-run", "--rate", "1000", "-p", "lr", "0.05") == 0
    told = capsys.readouterr().out
    assert "changed: lr 0.05\n" in told and "01_baseline" in told
    assert run("--only", "01", "--dry-run", "--rate", "1000", "-p", "lr", "0.1") == 0
    assert "changed" not in capsys.readouterr().out  # it is the profile's


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--help"], 0), (["--profile", "quik"], 2), (["-p", "repeats", "[1, 2]"], 2)],
)
def test_help_and_a_typo_wait_for_no_heavy_import(arguments, status):
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mint_utils.reproduce", *arguments],
        capture_output=True,
        text=True,
    )
    imported = {line.split("|")[-1].strip() for line in told.stderr.splitlines() if "|" in line}
    assert told.returncode == status and "mint_utils.config" in imported
    assert not imported & {"torch", "pandas", "papermill", "mint_utils.run.batch"}


def test_exponents_are_numbers(capsys):
    config = reproduce.resolve("quick", lr="1e-3")
    assert config.audited.lr == 0.001


def test_dry_run_tells_the_cost_and_trains_nothing(capsys):
    assert run("--dry-run", "-p", "network", "ir_tiny", "-p", "image_size", "16") == 0
    told = capsys.readouterr().out
    assert all(name in told for name in NOTEBOOKS)
    assert all(
        name in told for name in ("Equal steps", "batch 8, scaled", "ArcFace", "dropout 0.6")
    )
    assert "steps" in told and "exposures" in told and "images/s" in told
    assert not (paths.artifacts() / "audited").exists() and not paths.figures().exists()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """One complete small run, shared: its folders and its exit status."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ARTIFACTS", "FIGURES", "REPORTS"):
            patch.setenv(f"MINT_{name}", str(folder / name.lower()))
        yield folder, run(*SMALL), patch


SMALL = shlex.split(
    "-p image_size 16 -p epochs 1 -p mint_seeds 2 -p mint_samples 200 --only 00 --only 01"
)


def results(folder):
    return next((folder / "figures").glob("quick-*"))


def test_a_changed_parameter_never_touches_the_reference(small):
    folder, status, _ = small
    assert status == 0
    assert [path.name.split("-")[0] for path in (folder / "figures").iterdir()] == ["quick"]
    assert not (folder / "figures" / "quick").exists()


def test_tables_figures_record_and_pages_are_there(small):
    folder, _, _ = small
    names = {path.name for path in results(folder).iterdir()}
    for stem in ("table1", "roc", "scores", "loss"):
        assert {f"{stem}.png", f"{stem}.pdf"} <= names, stem
    assert {"table1.csv", "table1.md", "table1.tex", "record.json"} <= names
    record = json.loads((results(folder) / "record.json").read_text())
    assert record["config"]["audited"]["epochs"] == 1
    assert set(record["notebooks"]) == {"00_databases", "01_baseline"}
    assert record["notebooks"]["01_baseline"]["provenance"]["versions"]["torch"]
    report = next((folder / "reports").iterdir())
    assert {"index.html", "01_baseline.html", "01_baseline.ipynb"} <= {
        p.name for p in report.iterdir()
    }


def test_a_second_call_repeats_nothing(small, capsys, monkeypatch):
    folder, _, _patch = small
    monkeypatch.undo()
    for name in ("ARTIFACTS", "FIGURES", "REPORTS"):
        monkeypatch.setenv(f"MINT_{name}", str(folder / name.lower()))
    monkeypatch.setattr(notebooks, "execute", lambda *_: pytest.fail("executed again"))
    monkeypatch.setattr(audit.Audit, "prepare", lambda *_: pytest.fail("trained again"))
    assert run(*SMALL) == 0
    assert "table1" in capsys.readouterr().out


def test_a_lost_result_is_made_again_or_told(small, monkeypatch, capsys):
    folder, _, _ = small
    for name in ("ARTIFACTS", "FIGURES", "REPORTS"):
        monkeypatch.setenv(f"MINT_{name}", str(folder / name.lower()))
    lost = results(folder) / "table1.csv"
    kept = lost.read_text()
    lost.unlink()
    monkeypatch.setattr(notebooks, "execute", lambda *_: None)  # a run that leaves no result
    assert run(*SMALL) == 1
    assert "01_baseline are not complete" in capsys.readouterr().err
    lost.write_text(kept)
