"""The benchmarks still run after a change of the package: nothing else in the suite uses them."""

import ast
import importlib
import inspect
import os
from types import ModuleType

import pytest

from benchmarks import contamination, databases, soak
from mint_utils import paths, study
from mint_utils.data import manifest

NAMES = sorted(path.stem for path in (paths.ROOT / "benchmarks").glob("[!_]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_taken_of_modules_is_there(name):
    module = importlib.import_module(f"benchmarks.{name}")
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = vars(module).get(node.value.id)
            if isinstance(owner, ModuleType):
                assert hasattr(owner, node.attr), f"{owner.__name__} has no {node.attr}"


@pytest.mark.parametrize("part", [databases, contamination])
def test_the_roles_of_databases_are_read(part, monkeypatch, capsys):
    small = study.open_study("quick", image_size=16, scale=0.02)
    monkeypatch.setattr(study, "open_study", lambda *_, **__: small)
    part.main()
    printed = capsys.readouterr().out
    assert all(external.name in printed for external in small.images.audited[1:])


def test_soak_reads_what_it_wrote(monkeypatch):
    monkeypatch.setattr(paths, "MANIFESTS", paths.MANIFESTS)
    monkeypatch.setattr(manifest, "PREPARED_BYTES", manifest.PREPARED_BYTES)
    monkeypatch.setenv("MINT_ARTIFACTS", os.environ["MINT_ARTIFACTS"])
    assert min(seconds for seconds, _ in soak.soak(2000).values()) > 0
