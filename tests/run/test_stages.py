"""The stages of a run, each done by a command of its own, and the Snakefile that asks for them."""

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest

from mint_utils import paths, reproduce
from mint_utils.config import resolve
from mint_utils.run import notebooks
from mint_utils.run.stages import Stage, stages
from mint_utils.study import scenarios
from mint_utils.study.audit import Audit
from mint_utils.study.scenarios import NOTEBOOKS
from mint_utils.study.study import Study

TINY = shlex.split("--only 01 -p image_size 16 -p epochs 1 -p mint_seeds 1 -p mint_samples 100")


def found(chosen=tuple(NOTEBOOKS), data=None, **changes) -> dict[str, Stage]:
    return stages(Study(resolve("quick", data, **changes)), chosen, changes)


def of(kind: str, listed: dict[str, Stage]) -> list[Stage]:
    return [stage for id, stage in listed.items() if id.startswith(f"{kind}-")]


def test_every_model_and_notebook_is_a_stage_and_no_database_is_opened():
    listed = found(audited_seeds=2)
    everything = [scenario for of_one in NOTEBOOKS.values() for scenario in of_one]
    needed = scenarios.needed(resolve("quick", audited_seeds=2), everything)
    titles = [stage.title for stage in of("audited", listed)]
    assert titles == [f"audited: {title}" for title, _ in needed.values()]
    assert len(set(titles)) == len(titles) > 20
    assert [s.title for s in of("notebook", listed)] == [f"notebook {name}" for name in NOTEBOOKS]
    assert len(of("databases", listed)) == len(of("closing", listed)) == 1
    assert not paths.artifacts().exists()


def test_a_stage_comes_after_what_it_needs_and_nothing_else():
    listed = found()
    done = set()
    for stage in listed.values():
        assert set(stage.after) <= done, stage.title
        done.add(stage.id)
    (databases,) = of("databases", listed)
    assert all(stage.after == (databases.id,) for stage in of("audited", listed))
    after = {stage.title: [listed[id].title for id in stage.after] for stage in listed.values()}
    assert after["notebook 00_databases"] == ["databases of profile quick"]
    assert after["notebook 05_loss_function"][1:] == [
        "audited: Baseline, seed 0",
        "audited: CosFace, seed 0",
        "audited: ArcFace, seed 0",
    ]
    of_summary = scenarios.needed(resolve("quick"), NOTEBOOKS["07_summary"])
    assert len(after["notebook 07_summary"]) == 1 + len(of_summary)
    assert len(after["notebook 01_baseline"]) == 2 < 1 + len(of("audited", listed))
    assert after["tables and page"] == [f"notebook {name}" for name in NOTEBOOKS]


def test_what_changes_a_result_changes_the_ids(tmp_path):
    ids = found().keys()
    assert found().keys() == ids
    assert not found(epochs=5).keys() & ids
    assert not found(mint_samples=200).keys() & ids
    assert not found(data=str(tmp_path)).keys() & ids


def test_a_model_of_which_more_is_needed_is_another_stage():
    """Table 1 needs the scores of all members of the baseline, Table 2 those of their parts besides."""
    alone, both = (of("audited", found(chosen)) for chosen in (["01_baseline"], NOTEBOOKS))
    assert alone[0].title == both[0].title and alone[0].id != both[0].id


def test_an_edited_notebook_is_another_stage_and_its_models_are_not(tmp_path, monkeypatch):
    before = found()
    copied = shutil.copytree(paths.NOTEBOOKS, tmp_path / "notebooks")
    monkeypatch.setattr(paths, "NOTEBOOKS", copied)
    with open(copied / "01_baseline.ipynb", "a") as file:
        file.write("\n")
    changed = {before[id].title for id in before.keys() - found().keys()}
    assert changed == {"notebook 01_baseline"}


def test_an_edited_package_is_another_run(tmp_path, monkeypatch):
    before = found()
    (tmp_path / "new.py").write_text("")
    monkeypatch.setattr(notebooks, "_package", lambda: (tmp_path / "new.py",))
    assert not found().keys() & before.keys()


def test_a_stage_that_fails_leaves_no_mark_not_even_an_older_one():
    ends = iter([None, MemoryError("killed"), None])

    def work():
        if error := next(ends):
            raise error

    stage = Stage("audited-0", "audited: any", (), work)
    stage.do()
    assert stage.mark.read_text() == "audited: any\n"
    with pytest.raises(MemoryError):
        stage.do()
    assert not stage.mark.exists()
    stage.do()
    assert stage.mark.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--stage", "audited-0"], "There is no stage 'audited-0' here"),
        (["--list", "-p", "epochz", "1"], "Did you mean 'epochs'"),
        (["--list", "--only", "99"], "there is no notebook '99'"),
    ],
)
def test_wrong_input_is_one_line(arguments, says, capsys):
    assert reproduce.main(arguments) == 2
    told = capsys.readouterr()
    assert says in told.err and told.err.count("\n") == 1 and not told.out
    assert not paths.artifacts().exists()


def test_a_stage_of_other_parameters_is_refused(capsys):
    other = of("audited", found(["01_baseline"], epochs=2))[0].id
    assert reproduce.main(["--only", "01", "--stage", other]) == 2
    assert "it was listed for other parameters" in capsys.readouterr().err


def listing(capsys) -> list[dict]:
    assert reproduce.main([*TINY, "--list"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """All stages of a tiny run, each done by its own command: the folders."""
    folder = tmp_path_factory.mktemp("stages")
    with pytest.MonkeyPatch.context() as patch:
        move(patch, folder)
        config = resolve("quick", image_size=16, epochs=1, mint_seeds=1, mint_samples=100)
        listed = stages(Study(config), ["01_baseline"], {})
        for id, stage in listed.items():
            assert not stage.mark.exists()
            assert reproduce.main([*TINY, "--stage", id]) == 0
            assert stage.mark.exists()
    return folder


def move(patch, folder):
    for name in ("ARTIFACTS", "FIGURES", "REPORTS"):
        patch.setenv(f"MINT_{name}", str(folder / name.lower()))


def test_the_stages_leave_nothing_for_the_whole_run_to_do(done, monkeypatch, capsys):
    """So the artifacts, and the tables made of them, are those of `reproduce`, to the last bit."""
    move(monkeypatch, done)
    monkeypatch.setattr(notebooks, "execute", lambda *_: pytest.fail("executed again"))
    monkeypatch.setattr(Audit, "prepare", lambda *_: pytest.fail("trained again"))
    assert reproduce.main(TINY) == 0
    assert "1 of 1 notebooks complete" in capsys.readouterr().out
    assert len(list((done / "artifacts" / "audited").glob("*/record.json"))) == 1
    assert (next((done / "reports").iterdir()) / "index.html").exists()


def test_a_stage_that_is_done_does_nothing(done, monkeypatch, capsys):
    move(monkeypatch, done)
    monkeypatch.setattr(notebooks, "execute", lambda *_: pytest.fail("executed again"))
    for stage in listing(capsys):
        assert reproduce.main([*TINY, "--stage", stage["id"]]) == 0
    assert "table1, profile quick" in capsys.readouterr().out


def test_a_notebook_without_its_results_is_no_success(done, monkeypatch, capsys, tmp_path):
    move(monkeypatch, done)
    monkeypatch.setenv("MINT_FIGURES", str(tmp_path / "none"))
    monkeypatch.setattr(notebooks, "execute", lambda *_: None)  # a run that leaves no result
    stage = next(s for s in listing(capsys) if s["id"].startswith("notebook-"))
    assert reproduce.main([*TINY, "--stage", stage["id"]]) == 2
    assert "The results of 01_baseline are not complete" in capsys.readouterr().err
    assert not os.path.exists(stage["mark"])


def test_the_closing_takes_back_the_mark_of_a_notebook_whose_results_were_lost(
    done, monkeypatch, capsys
):
    move(monkeypatch, done)
    notebook, closing = listing(capsys)[-2:]
    assert reproduce.main([*TINY, "--stage", notebook["id"]]) == 0
    lost = next((done / "figures").glob("*/table1.csv"))
    kept = lost.read_text()
    lost.unlink()
    assert reproduce.main([*TINY, "--stage", closing["id"]]) == 2
    told = capsys.readouterr()
    assert "The results of 01_baseline are not complete" in told.err and "table1," not in told.out
    assert not os.path.exists(notebook["mark"]) and not os.path.exists(closing["mark"])
    lost.write_text(kept)


@pytest.fixture
def snakemake(tmp_path):
    if not importlib.util.find_spec("snakemake"):
        pytest.skip("the extra 'cluster' is not installed")

    def run(*arguments):
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(paths.ROOT / "Snakefile")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        return subprocess.run(
            [*command, "--directory", str(tmp_path), *arguments],
            env=environment, capture_output=True, text=True,
        )  # fmt: skip

    return run


def test_the_snakefile_has_the_jobs_that_the_package_lists(snakemake):
    answer = snakemake("-n", "--config", "only=[01, 05]", "parameters={epochs: 5, lr: 1e-3}")
    assert answer.returncode == 0, answer.stderr
    listed = found(["01_baseline", "05_loss_function"], epochs=5, lr="1e-3")
    told = answer.stdout + answer.stderr
    for id, stage in listed.items():
        assert id.startswith("closing-") or f"{id}.done" in told
        assert stage.title in told
    assert f"total {len(listed)}" in " ".join(told.split())


def test_the_snakefile_says_no_more_than_the_package_to_wrong_input(snakemake):
    answer = snakemake("-n", "--config", "only=01", "parameters={losses: [adaface, softmax]}")
    assert answer.returncode != 0
    assert "error: in 01_baseline there is no parameter 'losses'" in answer.stderr
    assert "Traceback" not in answer.stderr and answer.stderr.count("\n") == 1
