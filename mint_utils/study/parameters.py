"""Parameters that a notebook does not have are refused: papermill itself only logs them.

In: the sources of the cells that a kernel has run, or a notebook. Out: nothing, or an error that names the
parameter; the names that there are.
"""

import ast
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from mint_utils.config import unknown
from mint_utils.errors import ParameterError


def run_cells() -> list[str]:
    """Return the sources of the cells that this kernel has run; none outside a notebook."""
    ipython = sys.modules.get("IPython")  # loaded wherever a kernel runs
    shell = ipython.get_ipython() if ipython else None
    return list(shell.user_ns.get("In", [])) if shell else []


def refuse_unknown(cells: Sequence[str]) -> None:
    """Refuse what papermill injected under a name that no earlier cell assigns.

    Raises:
        ParameterError: Naming the parameter and the nearest one that exists.
    """
    known: set[str] = set()
    for source in cells:
        names = _assigned(source)
        if source.startswith("# Parameters\n"):  # how papermill begins the cell that it injects
            for name in sorted(names - known):
                raise ParameterError(f"In this notebook {unknown('parameter', name, known)}")
        known |= names


def of_notebook(path: Path) -> set[str]:
    """Return the names of a notebook's parameters: what its cells tagged so assign."""
    cells = json.loads(path.read_text())["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return set().union(*(_assigned("".join(cell["source"])) for cell in tagged))


def _assigned(source: str) -> set[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a cell with a line magic
        return set()
    targets = []
    for node in tree.body:
        targets += node.targets if isinstance(node, ast.Assign) else []
        targets += [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}
