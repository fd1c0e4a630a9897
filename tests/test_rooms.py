"""The rooms of the package stand in an order: each imports only from those before it, and from the root."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from mint_utils.paths import ROOT

PACKAGE = ROOT / "mint_utils"
README = (ROOT / "README.md").read_text()
ORDER = ("data", "audited", "mint", "measure", "report", "study", "run")
COMMON = ("config", "errors", "paths", "store", "workers")  # of the root, open to all
COMMAND = "reproduce"  # of the root too: it comes after all rooms
LONGEST_CLASS, LONGEST_FUNCTION = 200, 50  # lines
# What breaks the order, as (importing file, imported module): nothing today.
EXCEPTIONS: set[tuple[str, str]] = set()


def imported(text: str) -> Iterator[str]:
    """Yield the modules of the package that a source imports, inside functions too."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an import by a relative path"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.startswith("mint_utils."))


def place(name: str) -> int:
    """Return where a module stands: -1 for what is open to all, then the rooms, then the command."""
    return -1 if name in COMMON else (*ORDER, COMMAND).index(name)


def against_the_order(file: Path, text: str) -> set[tuple[str, str]]:
    parts = file.with_suffix("").parts
    own = place(parts[0])
    found = {name for name in imported(text) if place(name.split(".")[1]) > own}
    return {(str(file), name) for name in found}


def sources() -> dict[Path, str]:
    paths = sorted(PACKAGE.rglob("*.py"))
    return {path.relative_to(PACKAGE): path.read_text() for path in paths}


def test_a_room_imports_only_from_those_before_it():
    found = set()
    for file, text in sources().items():
        if file != Path("__init__.py"):
            found |= against_the_order(file, text)
    assert found == EXCEPTIONS


def test_the_package_itself_imports_none_of_its_modules():
    assert not list(imported((PACKAGE / "__init__.py").read_text()))


def test_every_way_to_import_is_seen():
    for line in (
        "import mint_utils.study.audit",
        "from mint_utils import store, study",
        "from mint_utils.study import audit",
        "from mint_utils.study.audit import Audit as A",
        "def f():\n    from mint_utils.study.audit import Audit",
    ):
        assert len(against_the_order(Path("mint/a.py"), line)) == 1, line
        assert not against_the_order(Path("run/a.py"), line), line
    assert against_the_order(Path("store.py"), "from mint_utils.data import images")
    assert against_the_order(Path("run/a.py"), "from mint_utils import reproduce")
    assert not against_the_order(Path("reproduce.py"), "from mint_utils.run import batch")


def test_the_root_holds_few_modules():
    modules = [path.stem for path in PACKAGE.glob("*.py")]
    assert len(modules) <= 8
    assert set(modules) == {"__init__", *COMMON, COMMAND}
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(ORDER)


def test_the_table_of_the_readme_is_what_rooms_import():
    found: dict[str, set[str]] = {room: set() for room in ORDER}
    for file, text in sources().items():
        if len(file.parts) > 1:
            found[file.parts[0]] |= {name.split(".")[1] for name in imported(text)}
    drawn = re.findall(r"^\| `(\w+)` \|.*\| ((?:`\w+`(?:, )?)*) ?\|$", README, re.M)
    assert [room for room, _ in drawn] == list(ORDER)
    for room, names in drawn:
        others = [name for name in ORDER if name in found[room] - {room}]
        assert re.findall(r"\w+", names) == others, f"correct the line of {room} in the README"


def test_every_module_that_the_readme_names_is_there():
    table = README[README.index("| where is |") : README.index("After `import mint_utils.audited`")]
    for name in re.findall(r"`([\w/]+(?:\.py|/))`", table.partition("\n")[2]):
        assert (PACKAGE / name).exists(), name


def test_no_class_and_no_function_is_too_long_to_be_read_at_once():
    limits = {ast.ClassDef: LONGEST_CLASS, ast.FunctionDef: LONGEST_FUNCTION}
    long = [
        f"{file.relative_to(ROOT)}: {node.name}"
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if type(node) in limits and node.end_lineno - node.lineno >= limits[type(node)]
    ]
    assert not long
