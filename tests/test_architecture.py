"""ARCHITECTURE.md lists the rooms that the import contracts know, in their order."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_table_of_rooms_is_in_the_order_of_the_import_contract():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = settings["tool"]["importlinter"]["contracts"][0]
    floors = [set(layer.split(" | ")) for layer in reversed(contract["layers"])]
    text = (ROOT / "ARCHITECTURE.md").read_text()
    listed = re.findall(r"^\| `(\w+)/?` \|", text, re.MULTILINE)
    assert set(listed) == set().union(*floors)
    floor_of = {room: number for number, floor in enumerate(floors) for room in floor}
    numbers = [floor_of[room] for room in listed]
    assert numbers == sorted(numbers)


def test_every_folder_of_the_package_is_a_room():
    package = ROOT / "napari_ldseg"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    listed = re.findall(r"^\| `(\w+)/` \|", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    assert folders == set(listed)
