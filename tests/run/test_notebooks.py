"""What every notebook keeps to, so that it can be read, run in batch and checked."""

import ast
import dataclasses
import re

import nbformat
import papermill
import pytest

from mint_utils import paths
from mint_utils.config import Brought, Scenarios
from mint_utils.study import parameters
from mint_utils.study.scenarios import NOTEBOOKS as KNOWN

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_reproduce_knows_every_notebook():
    assert [path.stem for path in NOTEBOOKS] == sorted(KNOWN)


def test_prose_stands_around_every_cell(notebook):
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    assert ("code", "code", "code") not in zip(kinds, kinds[1:], kinds[2:], strict=False)


def test_cells_are_short_and_define_nothing(notebook):
    for cell in code(notebook):
        if "parameters" not in cell.metadata.get("tags", []):  # a list, a line each
            assert cell.source.count("\n") < 15, cell.source
        kinds = [type(node) for node in ast.parse(cell.source).body]
        assert ast.FunctionDef not in kinds and ast.ClassDef not in kinds


def test_parameters_are_typed_literals_with_a_word_each(notebook):
    tagged = [cell for cell in code(notebook) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    for node in ast.parse(tagged[0].source).body:
        assert isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant)


def test_a_notebook_lists_what_it_is_about_in_one_order_and_all_is_passed_on():
    found = {path.stem: papermill.inspect_notebook(str(path)) for path in NOTEBOOKS}
    lists = {f.name for kind in (Scenarios, Brought) for f in dataclasses.fields(kind)}
    order = ["profile", "data", *parameters.SHARED]
    for path in NOTEBOOKS:
        ours = found[path.stem]
        listed = [name for name in order if name in ours]
        assert list(ours)[: len(listed)] == listed and listed[:2] == order[:2]
        assert set(ours) - set(order) <= lists
        opening = next(c.source for c in nbformat.read(path, 4).cells if "open_study(" in c.source)
        call = next(n for n in ast.walk(ast.parse(opening)) if isinstance(n, ast.Call) and n.args)
        names = {arg.id for arg in call.args} | {k.arg for k in call.keywords}
        assert names == set(ours)
        assert all(k.arg == k.value.id for k in call.keywords)


def test_the_names_of_parameters_are_those_that_papermill_finds():
    for path in NOTEBOOKS:
        inspected = set(papermill.inspect_notebook(str(path)))
        assert parameters.of_notebook(path) == inspected | set(parameters.SHARED)


def test_stored_outputs_hold_no_error_no_path_and_no_dead_widget(notebook):
    for cell in code(notebook):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert not (output.output_type == "stream" and output.name == "stderr"), output.text
            text = str(output.get("data", output.get("text", "")))
            assert "application/vnd.jupyter.widget" not in text
            assert str(paths.ROOT) not in text and "/home/" not in text


def test_checked_cells_have_outputs_to_be_compared_with(notebook):
    checked = [c for c in code(notebook) if "nbval-check-output" in c.metadata.get("tags", [])]
    assert checked and all(cell.outputs for cell in checked)


def test_nothing_is_trained_in_a_checked_cell(notebook):
    """Training draws bars, which a comparison of outputs would find on a machine that has to train."""
    trains = [
        c for c in code(notebook) if re.search(r"\bs\.(audited|table|performance)\(", c.source)
    ]
    assert not trains or "nbval-check-output" not in trains[0].metadata.get("tags", [])


def test_every_notebook_records_its_end(notebook):
    assert "s.finish(" in code(notebook)[-1].source
