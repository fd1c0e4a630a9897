"""Where things are: the folder of the study, of its artifacts and of its figures."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROFILES = Path(__file__).resolve().parent / "profiles"
MANIFESTS = ROOT / "data_manifests"
NOTEBOOKS = ROOT / "notebooks"


def artifacts() -> Path:
    """Return the folder of what is expensive; ``MINT_ARTIFACTS`` moves it, to a larger disk say."""
    return Path(os.environ.get("MINT_ARTIFACTS") or ROOT / "artifacts")


def figures() -> Path:
    """Return the folder of tables and figures; ``MINT_FIGURES`` moves it, for tests say."""
    return Path(os.environ.get("MINT_FIGURES") or ROOT / "figures")


def reports() -> Path:
    """Return the folder of executed notebooks and pages, beside the artifacts they were made of."""
    return Path(os.environ.get("MINT_REPORTS") or ROOT / "reports")
