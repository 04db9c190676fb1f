"""Latent diffusion segmentation (LDSeg, arXiv 2407.12952) of medical images, with uncertainty.

>>> from napari_ldseg import bundled_checkpoints, load_checkpoint, read_scan, segment
>>> posterior = segment(load_checkpoint(bundled_checkpoints()["hippocampus"]), read_scan("scan.nii.gz"))
"""

from __future__ import annotations

import importlib
from typing import Any

# Imported on first use, because importing the package must not import torch.
_MODULES = {
    "Checkpoint": "checkpoint.file",
    "bundled_checkpoints": "checkpoint.bundled",
    "load_checkpoint": "checkpoint.file",
    "save_checkpoint": "checkpoint.file",
    "Posterior": "inference.posterior",
    "PosteriorSampler": "inference.sampler",
    "Scan": "scans.scan",
    "read_channels": "scans.channels",
    "read_scan": "scans.files",
    "segment": "inference.segment",
    "write_like": "scans.files",
    "LDSegError": "errors",
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("napari-ldseg")
    except PackageNotFoundError:
        return "0+unknown"
