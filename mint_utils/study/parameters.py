"""The parameters that a notebook is given by name.

A notebook lists the parameters of its chapter in a cell tagged ``parameters``, and takes those of `SHARED`
whether it lists them or not. Any other name is refused here, because papermill only logs it. A text that
is None is refused too, because papermill's ``-p`` makes None of the text None.
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
INJECTED = "# Parameters\n"  # the first line of the cell that papermill injects


def run_cells() -> list[str]:
    """Return the sources of the cells that this kernel has run; none outside a notebook."""
    ipython = sys.modules.get("IPython")  # loaded wherever a kernel runs
    shell = ipython.get_ipython() if ipython else None
    return list(shell.user_ns.get("In", [])) if shell else []


def refuse_unknown(cells: Sequence[str]) -> None:
    """Refuse a name that papermill injected and no earlier cell assigns, and None for a text.

    Raises:
        ParameterError: Names the parameter and the nearest one that exists, or the remedy.
    """
    declared: dict[str, ast.Assign | ast.AnnAssign] = {}
    for source in cells:
        assigned = _assigned(source)
        if source.startswith(INJECTED):
            known = {*declared, *SHARED}
            for name in sorted(assigned.keys() - known):
                raise ParameterError(f"In this notebook {unknown('parameter', name, known)}")
            for name, node in assigned.items():
                if _is_text(name, declared.get(name)) and ast.unparse(node.value) == "None":
                    raise ParameterError(
                        f"{name} is given as None, which stands for the profile's own value: leave it out. "
                        f"Where the text None is meant, give it by -r {name} None, which is taken as typed."
                    )
        declared = assigned | declared  # the first assignment declares a parameter


def shared(cells: Sequence[str]) -> dict[str, Any]:
    """Return the values of `SHARED` that papermill injected or that the cell of parameters holds.

    Args:
        cells: The sources that the kernel has run. The last one that declares the profile is the cell of
            parameters; what ran before it does not count.

    Raises:
        ParameterError: A value is no literal.
    """
    assigned = [_assigned(source) for source in cells]
    declares = [isinstance(nodes.get("profile"), ast.AnnAssign) for nodes in assigned]
    start = max((i for i, is_cell in enumerate(declares) if is_cell), default=0)
    given: dict[str, Any] = {}
    for source, nodes in zip(cells[start:], assigned[start:], strict=True):
        for name in nodes.keys() & set(SHARED):
            if source.startswith(INJECTED) or isinstance(nodes[name], ast.AnnAssign):
                given[name] = _literal(name, nodes[name].value)
    return given


def of_notebook(path: Path) -> set[str]:
    """Return the parameters of a notebook: the names in its cells tagged ``parameters``, and `SHARED`."""
    cells = json.loads(path.read_text())["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return set(SHARED).union(*(_assigned("".join(cell["source"])) for cell in tagged))


def _literal(name: str, node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        message = f"{name} is given as {ast.unparse(node)}: give a number, a text or None."
        raise ParameterError(message) from None


def _is_text(name: str, declared: ast.stmt | None) -> bool:
    if declared is None:  # a parameter that the notebook does not list
        return is_text(name)
    return ast.unparse(getattr(declared, "annotation", declared.value)) == "str"


def _assigned(source: str) -> dict[str, ast.Assign | ast.AnnAssign]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a cell with a line magic
        return {}
    assigned = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assigned |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return assigned
