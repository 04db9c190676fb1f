"""The import order inside the widgets: each tab imports only from earlier rooms, and nothing in circles."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import napari_ldseg.widgets

WIDGETS = Path(napari_ldseg.widgets.__file__).parent
EARLIER = {
    "common": set(),
    "project": {"common"},
    "correct": {"common", "project"},
    "train": {"common", "project"},
    "segment": {"common", "project", "train"},
}


def imported_modules(path):
    """Return the modules inside ``widgets`` that a file imports, as paths relative to it."""
    room = path.parent
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level in (1, 2) and node.module:
            base = room if node.level == 1 else room.parent
            yield base.joinpath(*node.module.split(".")).with_suffix(".py").relative_to(WIDGETS)


@pytest.mark.parametrize("room", EARLIER)
def test_a_room_imports_only_from_earlier_rooms(room):
    for path in (WIDGETS / room).glob("*.py"):
        rooms = {module.parts[0] for module in imported_modules(path)}
        assert rooms <= EARLIER[room] | {room}, path.name


def test_no_module_imports_in_circles():
    """Imports for type checking count too."""
    modules = [path for room in EARLIER for path in (WIDGETS / room).glob("*.py")]
    graph = {path.relative_to(WIDGETS): set(imported_modules(path)) for path in modules}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(modules)
