"""Parameters that a notebook does not have are refused, and texts that papermill made nothing of.

Papermill itself only logs an unknown one, and its ``-p`` gives None for the text None.

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
    """Refuse what papermill injected under a name that no earlier cell assigns, and None for a text.

    Raises:
        ParameterError: Naming the parameter and the nearest one that exists, or the remedy.
    """
    known: dict[str, ast.stmt] = {}
    for source in cells:
        found = _assigned(source)
        if source.startswith("# Parameters\n"):  # how papermill begins the cell that it injects
            for name in sorted(found.keys() - known):
                raise ParameterError(f"In this notebook {unknown('parameter', name, known)}")
            for name, node in found.items():
                declared = ast.unparse(getattr(known[name], "annotation", node.value))
                if declared == "str" and ast.unparse(node.value) == "None":
                    raise ParameterError(
                        f"{name} is given as None, which stands for the profile's own value: leave it out. "
                        f"Where the text None is meant, give it by -r {name} None, which is taken as typed."
                    )
        known = found | known  # what declares a parameter comes first


def of_notebook(path: Path) -> set[str]:
    """Return the names of a notebook's parameters: what its cells tagged so assign."""
    cells = json.loads(path.read_text())["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return set().union(*(_assigned("".join(cell["source"])) for cell in tagged))


def _assigned(source: str) -> dict[str, ast.Assign | ast.AnnAssign]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a cell with a line magic
        return {}
    found = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found
