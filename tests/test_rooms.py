"""The walls of the house: who may import whom, read from the syntax tree.

Imports run one way, down the list of floors; those inside functions and under `TYPE_CHECKING`
count. CONTRIBUTING.md draws the same map.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "docker_images"

# From the top floor down. A module may import what stands on a lower floor, and, in a room of
# several modules, its neighbours there.
FLOORS = (
    {"__main__"},
    {"cli"},
    {"__init__"},
    {"sync", "metrics", "fleet"},
    {"client"},
    {"watch"},
    {"engine"},
    {"transport"},
    {"endpoint"},
    {"query", "diff", "cleanup"},
    {"arguments"},
    {"images"},
    {"errors"},
    {"address", "text"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# What an image is and what is asked of it does not depend on engines, or on how they are reached.
ARGUMENTS = {"arguments", "images", "text"}
PURE = {
    "images": {"text"},
    "arguments": {"images", "text"},
    "query": ARGUMENTS,
    "diff": ARGUMENTS,
    "cleanup": ARGUMENTS,
}
# An engine for tests stands beside the house: it knows what engines do, not what we make of it.
TESTING = {"images", "testing", "text"}

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / PACKAGE).rglob("*.py"))
}


def room(module: str) -> str:
    """The room of a module: its name below the package."""
    return module.removeprefix(PACKAGE).strip(".").partition(".")[0] or "__init__"


def imports(module: str) -> Iterator[str]:
    """Every module of ours that `module` imports, anywhere in its text."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are written in full"
            names = [
                inner if (inner := f"{node.module}.{alias.name}") in MODULES else str(node.module)
                for alias in node.names
            ]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] == PACKAGE)


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_down_the_floors(module: str) -> None:
    here = room(module)
    for imported in imports(module):
        there = room(imported)
        if there == here:
            continue
        if here == "testing":
            assert there in TESTING, f"{module} imports {imported}"
        elif there == "testing":
            assert here == "cli", f"only the command may start an engine: {module}"
        else:
            assert FLOOR[here] < FLOOR[there], f"{module} imports {imported}, which is not below"
            assert there in PURE.get(here, {there}), f"{module} imports {imported}"


def test_only_the_command_imports_the_metrics() -> None:
    importing = {room(module) for module in MODULES if f"{PACKAGE}.metrics" in imports(module)}
    assert importing <= {"cli"}


def test_no_module_imports_itself_by_way_of_others() -> None:
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way, module))
        if module not in done:
            for imported in imports(module):
                walk(imported, (*way, module))
            done.add(module)

    for module in MODULES:
        walk(module, ())


def test_every_room_stands_on_a_floor() -> None:
    assert {room(module) for module in MODULES} <= {*FLOOR, "testing"}
