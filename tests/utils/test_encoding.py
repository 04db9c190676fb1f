"""Text is UTF-8 whatever the computer's language: every call that reads or writes text names its encoding."""

import ast
from pathlib import Path

import pytest

import napari_ldseg

CALLS = {"open", "read_text", "write_text"}


def text_without_encoding(source):
    """Return the lines of calls that open a file as text without ``encoding``."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        owner = getattr(getattr(node.func, "value", None), "id", "")
        if name not in CALLS or owner in ("Image", "os", "dialog", "archive", "archived"):
            continue
        words = [
            a.value
            for a in [*node.args, *(k.value for k in node.keywords)]
            if isinstance(a, ast.Constant)
        ]
        modes = [word for word in words if isinstance(word, str) and set(word) <= set("rwaxbt+")]
        if not any("b" in mode for mode in modes) and "encoding" not in {
            k.arg for k in node.keywords
        }:
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("p.read_text()", True),
        ("open(p)", True),
        ("p.open('a', newline='')", True),
        ("open(p, 'rb')", False),
    ],
)
def test_the_search_finds(source, found):
    assert bool(text_without_encoding(source)) == found
    assert not text_without_encoding("p.read_text(encoding='utf-8')")


def test_every_text_names_its_encoding():
    package = Path(napari_ldseg.__file__).parent
    found = {
        str(path.relative_to(package)): text_without_encoding(path.read_text(encoding="utf-8"))
        for path in package.rglob("*.py")
    }
    assert not {path: lines for path, lines in found.items() if lines}
