"""The folders of the study, of its artifacts, its figures and its reports."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROFILES = Path(__file__).resolve().parent / "profiles"
MANIFESTS = ROOT / "data_manifests"
NOTEBOOKS = ROOT / "notebooks"


def artifacts() -> Path:
    """Return the folder of expensive results; ``MINT_ARTIFACTS`` sets another one, on a larger disk say."""
    return Path(os.environ.get("MINT_ARTIFACTS") or ROOT / "artifacts")


def figures() -> Path:
    """Return the folder of tables and figures; ``MINT_FIGURES`` sets another one, for tests say."""
    return Path(os.environ.get("MINT_FIGURES") or ROOT / "figures")


def reports() -> Path:
    """Return the folder of executed notebooks and pages; ``MINT_REPORTS`` sets another one."""
    return Path(os.environ.get("MINT_REPORTS") or ROOT / "reports")
