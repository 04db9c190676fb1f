"""Starting a model from the weights of another one that may have other classes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..model.ldseg import LDSeg
from ..model.res_unet import ResUNet
from .file import Checkpoint, build_model
from .metadata import Metadata


def inherit(model: LDSeg | ResUNet, metadata: Metadata, start: Checkpoint) -> None:
    """Give ``model``, described by ``metadata``, the weights of ``start``.

    The architectures differ at most in the number of classes. Weights of one class (the first layer of
    the label encoder, the last of the decoder) go to the class of the same name; those of a new class
    stay as they are.
    """
    old = [c.name for c in start.metadata.classes]
    new = [c.name for c in metadata.classes]
    given = start.model.state_dict()
    if old == new:
        model.load_state_dict(given)
        return
    pairs = [(new.index(name), place) for place, name in enumerate(old) if name in new]
    # The background is the first class, whatever it is called.
    pairs = [(0, 0), *(pair for pair in pairs if 0 not in pair)]
    axes = _class_axes(metadata)
    with torch.no_grad():
        for name, weight in model.state_dict().items():
            axis = axes[name]
            if axis is None:
                weight.copy_(given[name])
            else:
                for place, source in pairs:
                    weight.select(axis, place).copy_(given[name].select(axis, source))


def _class_axes(metadata: Metadata) -> dict[str, int | None]:
    """Return for each tensor of the model the axis that counts the classes, None if there is none."""
    count = metadata.architecture.classes

    def shapes(classes: int) -> dict[str, Tensor]:
        described = metadata.model_dump()
        described["architecture"] |= {"classes": classes}
        described["classes"] = [{"name": str(i), "colour": "#000000"} for i in range(classes)]
        described["calibration"] = None
        with torch.device("meta"):
            return build_model(Metadata.model_validate(described)).state_dict()

    one_more = shapes(count + 1)
    axes: dict[str, int | None] = {}
    for name, tensor in shapes(count).items():
        sizes = zip(tensor.shape, one_more[name].shape, strict=True)
        axes[name] = next((axis for axis, (a, b) in enumerate(sizes) if a != b), None)
    return axes
