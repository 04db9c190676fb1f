"""Sample scans for File > Open Sample: phantoms with their ground truth."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from .files import LayerTuple, read_layers


def sample_folder() -> Path:
    """Return the folder of the sample scans: in the installed package, else beside the source code."""
    package = Path(str(files("napari_ldseg")))
    installed = package / "sample_data"
    return installed if installed.is_dir() else package.parent / "sample_data"


def echo_sample() -> list[LayerTuple]:
    """Return the synthetic echocardiogram and its hidden ground truth."""
    return _with_truth("echo_phantom", "echo phantom")


def mri_sample() -> list[LayerTuple]:
    """Return the synthetic MRI volume and its hidden ground truth."""
    return _with_truth("mri_phantom", "MRI phantom")


def _with_truth(stem: str, name: str) -> list[LayerTuple]:
    folder = sample_folder()
    paths = [str(folder / f"{stem}.nii.gz"), str(folder / f"{stem}_label.nii.gz")]
    (image, image_attributes, _), (label, label_attributes, _) = read_layers(paths)
    image_attributes["name"] = name
    label_attributes |= {"name": f"{name} – ground truth", "visible": False}
    return [(image, image_attributes, "image"), (label, label_attributes, "labels")]
