import os
from pathlib import Path

import pytest

from mint_utils.paths import ROOT


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Keep tests away from the artifacts, figures and reports of the user."""
    for name in ("ARTIFACTS", "FIGURES", "REPORTS"):
        monkeypatch.setenv(f"MINT_{name}", str(tmp_path / name.lower()))


@pytest.fixture(scope="session")
def faces() -> Path:
    """The folder of real faces, where this machine has it."""
    folder = Path(os.environ.get("MINT_FACES") or ROOT.parent / "shared" / "faces")
    if not folder.is_dir():
        pytest.skip("no folder of real faces (MINT_FACES)")
    return folder
