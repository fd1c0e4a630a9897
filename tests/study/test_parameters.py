"""What is given by name: to a notebook by papermill's own command line, and to reproduce."""

import os
from pathlib import Path

import nbformat
import pytest
from papermill.cli import papermill

from mint_utils import paths, reproduce
from mint_utils.config import parse, resolve
from mint_utils.errors import ParameterError
from mint_utils.study.parameters import SHARED, refuse_unknown, shared

DEFAULTS = 'profile: str = "quick"  # a comment\nlr: float = None\n'


@pytest.mark.parametrize(
    "cells",
    [
        [DEFAULTS, '# Parameters\nprofile = "faces"\nlr = 1e-3\n', "x = 1"],
        # What the user assigns later is nobody's business.
        [DEFAULTS, "# Parameters\nlr = 0.1\n", "other = 2", "%matplotlib inline\nz = 1"],
        ["import os", DEFAULTS],
        [],
    ],
)
def test_known_names_pass_and_a_typo_beside_them_does_not(cells):
    refuse_unknown(cells)
    with pytest.raises(ParameterError, match="no parameter 'profil'"):
        refuse_unknown([*cells, "# Parameters\nprofil = 1\n"])


def test_a_typo_is_refused_with_the_nearest_name():
    with pytest.raises(ParameterError, match=r"no parameter 'profil'\. Did you mean 'profile'"):
        refuse_unknown([DEFAULTS, '# Parameters\nprofil = "faces"\n'])


def test_what_every_notebook_takes_need_not_be_listed():
    cells = ['profile: str = "quick"\n', "# Parameters\nlr = 0.1\nsplit = None\nepochs = 3\n"]
    with pytest.raises(ParameterError, match="split is given as None"):
        refuse_unknown(cells)
    cells[1] = cells[1].replace("split = None\n", "")
    refuse_unknown(cells)
    assert shared(cells) == {"lr": 0.1, "epochs": 3}
    with pytest.raises(ParameterError, match=r"no parameter 'epoch'\. Did you mean 'epochs'"):
        refuse_unknown([*cells, "# Parameters\nepoch = 3\n"])


@pytest.mark.parametrize(
    "path", sorted(paths.NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem
)
def test_each_notebook_says_which_other_parameters_it_takes(path):
    cells = nbformat.read(path, 4).cells
    (cell,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    said = cell.source.split("or by papermill -p: ")[1].split(". What they mean")[0]
    assert tuple(said.replace("\n# ", " ").split(", ")) == SHARED


def test_a_cell_of_parameters_that_is_run_again_stands_for_itself():
    cells = ['profile: str = "quick"\nlr: float = 0.5\n', "loss = 2", "seed: int = 1"]
    assert shared(cells) == {"lr": 0.5, "seed": 1}  # another loss is the notebook's own affair
    assert shared([*cells, 'profile: str = "quick"\n']) == {}
    assert shared([]) == {}
    with pytest.raises(ParameterError, match=r"lr is given as float\('nan'\)"):
        shared(["# Parameters\nlr = float('nan')\n"])


AWKWARD = [
    "007", "7", "-7", "+7", "1_000", " 7", "1e3", "1.0", "nan", "-inf", "0x1F", "0o17", "2024", "2024-05-01",
    "12:30:00", "yes", "no", "True", "false", "None", "null", "~", "#x", "a #b", "a: b", "{a: b}", "[1, 2]",
    "{x}", "'single'", '"double"', """both ' and \"""", "back\\slash", "two\nlines", "&a", "*a", "!x", "| x",
    "%d", "- x", "a,b", "$HOME", "Zo\u00eb M\u00fcller", "Zoe\u0308", "\u738b", "\u0661\u0662", " x ", "~x/y",
]  # fmt: skip
LOST = {"007", "7", "-7", "+7", "1_000", " 7", "1e3", "1.0", "nan", "-inf", "2024", "True", "None"}
LOST |= {"\u0661\u0662"}  # digits to Python


def injected(folder, option: str, name: str, text: str) -> dict:
    """Return what a notebook sees of a value that papermill's command line was given."""
    cell = nbformat.v4.new_code_cell(f"{name}: str = None", metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "language": "python", "display_name": ""}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / "in.ipynb")
    arguments = [str(folder / "in.ipynb"), str(folder / "out.ipynb"), "--prepare-only"]
    papermill([*arguments, option, name, text], standalone_mode=False)
    cells = [cell.source for cell in nbformat.read(folder / "out.ipynb", 4).cells]
    seen = {}
    exec("\n".join(cells), seen)
    refuse_unknown(cells)
    return {name: seen[name]}


@pytest.mark.parametrize("text", AWKWARD)
def test_text_is_what_was_typed_by_papermill_and_by_reproduce(tmp_path, text):
    ours = reproduce._changes([("network", text), ("case", text)])
    assert ours == {"network": text, "case": text}
    config = resolve("quick", **ours)
    assert config.audited.network == text
    home = os.environ.get("HOME", "") if text == "~" else text
    assert config.brought.case == str(Path.cwd().joinpath(home).resolve())
    theirs = injected(tmp_path, "-r", "network", text) | injected(tmp_path, "-r", "case", text)
    assert resolve("quick", **theirs) == config
    if text in LOST:
        with pytest.raises(
            ParameterError, match=r"by -r network (TEXT|None), which is taken as typed"
        ):
            resolve("quick", **injected(tmp_path, "-p", "network", text))
    else:
        assert resolve("quick", **injected(tmp_path, "-p", "network", text)).audited.network == text


@pytest.mark.parametrize("name", ["case", "data", "profile"])
def test_a_number_for_a_text_is_one_line_with_the_remedy(tmp_path, name):
    with pytest.raises(ParameterError, match=f"{name} must be text, not 7 .* by -r {name} TEXT"):
        resolve(**injected(tmp_path, "-p", name, "007"))


def test_what_reproduce_hands_on_by_papermill_is_the_same(tmp_path):
    """A run in batch gives its values to papermill as Python's, which writes them into a cell."""
    from papermill.parameterize import parameterize_notebook

    kernel = {"name": "python3", "language": "python", "display_name": ""}
    for text in AWKWARD:
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel, "papermill": {}})
        seen = {}
        exec(parameterize_notebook(notebook, {"case": text}).cells[0].source, seen)
        assert seen["case"] == text


def test_lists_are_the_same_in_both():
    for name, text, value in (
        ("batch_sizes", "[16, 128]", (16, 128)),
        ("losses", "[adaface, arcface]", ("adaface", "arcface")),
        ("verification", "[007, null, 1e3]", ("007", "null", "1e3")),
    ):
        section = {"verification": "databases"}.get(name, "scenarios")
        for given in (parse(name, text), text):  # papermill's -p hands on the text
            assert getattr(getattr(resolve("quick", **{name: given}), section), name) == value
    with pytest.raises(ParameterError, match="epochs cannot be read as YAML"):
        parse("epochs", "[1")


def test_text_that_is_empty_or_not_utf8_is_refused():
    with pytest.raises(ParameterError, match="case needs a value"):
        resolve(case="")
    with pytest.raises(ParameterError, match=r"case is not UTF-8: 'Zo\\udceb'\. Rename"):
        resolve(case=os.fsdecode(b"Zo\xeb"))
