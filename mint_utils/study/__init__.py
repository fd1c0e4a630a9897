"""What the notebooks ask for: the front door of the study, its audits, its results and their checks.

In: a profile and its parameters. Out: tables of scores, claims and controls, from artifacts of the store.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mint_utils.study.study import open_study

__all__ = ["open_study"]


def __getattr__(name: str) -> Any:
    """Import the front door when it is asked for: the other modules here should not take its seconds."""
    if name == "open_study":
        from mint_utils.study.study import open_study

        return open_study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
