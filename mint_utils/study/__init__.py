"""What the notebooks ask for: the front door of the study, its audits, its results and their checks.

In: a profile and its parameters. Out: tables of scores, claims and controls, from artifacts of the store.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mint_utils.study.study import on_real_faces, open_study

__all__ = ["on_real_faces", "open_study"]


def __getattr__(name: str) -> Any:
    """Import the front door when it is asked for: the other modules here should not take its seconds."""
    if name in __all__:
        return getattr(importlib.import_module("mint_utils.study.study"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
