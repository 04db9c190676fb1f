"""The checkpoints that travel inside the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def bundled_checkpoints() -> dict[str, Path]:
    """Return name (the file's stem) to path, in alphabetical order."""
    folder = Path(str(files("napari_ldseg") / "checkpoints"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
