"""The checkpoints that are part of the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ..errors import LDSegError


def bundled_checkpoints() -> dict[str, Path]:
    """Return the paths of the bundled checkpoints by name (the file's stem), in alphabetical order."""
    folder = Path(str(files("napari_ldseg") / "checkpoints"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def find_checkpoint(name_or_path: str) -> Path:
    """Return the path of a bundled checkpoint by name, or ``name_or_path`` itself.

    Raises
    ------
    LDSegError
        If there is no such file.
    """
    bundled = bundled_checkpoints()
    path = bundled.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise LDSegError(
            f"There is no model {name_or_path}; give a .safetensors file or one of "
            f"{', '.join(bundled)}."
        )
    return path
