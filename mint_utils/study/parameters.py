"""What a notebook is given by name: parameters that it lists, and those that every notebook takes.

A notebook lists the parameters that its chapter is about; the others of `SHARED` are taken all the same.
Others still are refused, and texts that papermill made nothing of: papermill itself only logs an unknown
parameter, and its ``-p`` gives None for the text None.

In: the sources of the cells that a kernel has run, or a notebook. Out: values; or an error that names
the parameter; the names that there are.
"""

import ast
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mint_utils.config import is_text, unknown
from mint_utils.errors import ParameterError

SHARED = (
    *("network", "image_size", "held_out", "loss", "batch_size", "epochs", "lr", "dropout", "seed"),
    *("mint_samples", "mint_seeds", "split"),
)
INJECTED = "# Parameters\n"  # how papermill begins the cell that it injects


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
        if source.startswith(INJECTED):
            for name in sorted(found.keys() - known - set(SHARED)):
                names = {*known, *SHARED}
                raise ParameterError(f"In this notebook {unknown('parameter', name, names)}")
            for name, node in found.items():
                if _is_text(name, known.get(name)) and ast.unparse(node.value) == "None":
                    raise ParameterError(
                        f"{name} is given as None, which stands for the profile's own value: leave it out. "
                        f"Where the text None is meant, give it by -r {name} None, which is taken as typed."
                    )
        known = found | known  # what declares a parameter comes first


def shared(cells: Sequence[str]) -> dict[str, Any]:
    """Return the values of `SHARED` that a notebook was given: by papermill, or in its cell of parameters.

    Args:
        cells: The sources that the kernel has run. The last that declares the profile is the cell of
            parameters, and nothing before it counts.

    Raises:
        ParameterError: A value is no literal.
    """
    each = [_assigned(source) for source in cells]
    declares = [isinstance(found.get("profile"), ast.AnnAssign) for found in each]
    start = max((i for i, one in enumerate(declares) if one), default=0)
    given: dict[str, Any] = {}
    for source, found in zip(cells[start:], each[start:], strict=True):
        for name in found.keys() & set(SHARED):
            if source.startswith(INJECTED) or isinstance(found[name], ast.AnnAssign):
                given[name] = _literal(name, found[name].value)
    return given


def of_notebook(path: Path) -> set[str]:
    """Return the names of a notebook's parameters: what its cells tagged so assign, and `SHARED`."""
    cells = json.loads(path.read_text())["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return set(SHARED).union(*(_assigned("".join(cell["source"])) for cell in tagged))


def _literal(name: str, node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        told = f"{name} is given as {ast.unparse(node)}: give a number, a text or None."
        raise ParameterError(told) from None


def _is_text(name: str, declared: ast.stmt | None) -> bool:
    if declared is None:  # a parameter that the notebook does not list
        return is_text(name)
    return ast.unparse(getattr(declared, "annotation", declared.value)) == "str"


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
