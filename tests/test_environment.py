"""One set of versions: the lock, the conda environment and the package's own requirements."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

from mint_utils.paths import ROOT

CONDA_NAMES = {"pytorch": "torch", "python-fastjsonschema": "fastjsonschema"}


def locked() -> dict[str, set[str]]:
    """Return name -> versions; a package can have one version for each range of Python."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", line):
            found.setdefault(match[1], set()).add(match[2])
    return found


def conda_pins() -> dict[str, str]:
    lines = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pins = dict(line.split("=") for line in lines if isinstance(line, str) and "=" in line)
    return {CONDA_NAMES.get(name, name): version for name, version in pins.items()}


def required() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + extras["book"] + extras["test"]
    return {Requirement(line).name for line in lines}


def test_lock_is_hashed_and_holds_every_requirement():
    text = (ROOT / "requirements.lock").read_text()
    assert required() <= locked().keys()
    assert text.count("==") and "--hash=sha256:" in text
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=" in entry, entry.splitlines()[0]


def test_lock_has_the_matched_pair():
    assert locked()["torch"] == {"2.15.0"} and locked()["torchvision"] == {"0.29.2"}


@pytest.mark.parametrize("name", sorted(required()))
def test_conda_pin_agrees_with_the_lock(name):
    pin = conda_pins()[name]
    assert any(version == pin or version.startswith(pin + ".") for version in locked()[name])


def test_conda_has_nothing_else():
    assert conda_pins().keys() - {"python"} == required()
