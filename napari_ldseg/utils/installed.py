"""Whether this installation can compute, or only use a server."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import LDSegError

COMPUTES = ("torch", "monai", "lightning_fabric")  # the extra ``local``
MISSING = "PyTorch is not installed here; choose a server under Device, or run: pip install 'napari-ldseg[local]'."


def can_compute() -> bool:
    """Return whether what computes is installed; imports nothing of it."""
    return all(find_spec(name) is not None for name in COMPUTES)


def explained(error: ImportError) -> LDSegError | None:
    """Return what to do if ``error`` comes from an installation that cannot compute; else None."""
    missing = (error.name or "").partition(".")[0] in COMPUTES
    return LDSegError(MISSING) if missing else None
